"""Rainbow Memory: uncertainty and choice against loops, and the steps of a task and after it."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from lethe.agents import rainbow
from lethe.agents.base import TaskInfo
from lethe.agents.contract.toy import Batches, batch, build
from lethe.agents.rainbow import Rainbow, perturbed, spread, uncertainty


def test_uncertainty_is_the_share_of_answers_beside_the_commonest():
    answers = torch.randint(4, (12, 30), generator=torch.Generator().manual_seed(0))
    for column, found in zip(answers.T.tolist(), uncertainty(answers).tolist(), strict=True):
        assert found == pytest.approx(1 - max(column.count(label) for label in column) / 12)
    assert (uncertainty(answers[:1]) == 0).all()


@pytest.mark.parametrize(("stored", "count"), [(13, 8), (13, 5), (9, 9), (4, 7), (130, 80), (6, 2), (6, 1)])
def test_rows_are_spread_over_the_order_of_uncertainty(stored, count):
    """Of all choices that hold both ends, that with the least sum of squared gaps; not the m surest."""
    uncertain = torch.rand(stored, generator=torch.Generator().manual_seed(stored))
    ranks = uncertain.argsort(stable=True).argsort()[spread(uncertain, count)].tolist()
    assert len(set(ranks)) == len(ranks) == min(count, stored)
    assert ranks == sorted(ranks) and ranks[0] == 0
    gaps = [after - before for before, after in itertools.pairwise(ranks)]
    assert not gaps or (ranks[-1] == stored - 1 and max(gaps) - min(gaps) <= 1)
    if 2 <= count <= stored <= 13:
        inner = itertools.combinations(range(1, stored - 1), count - 2)
        best = min(
            sum((b - a) ** 2 for a, b in itertools.pairwise([0, *chosen, stored - 1])) for chosen in inner
        )
        assert sum(gap**2 for gap in gaps) == best


def test_images_as_sure_as_each_other_stay_in_the_order_of_the_stream():
    assert spread(torch.zeros(7), 3).tolist() == [0, 3, 6]


def test_a_perturbation_changes_every_image_and_the_next_one_otherwise():
    generator = torch.Generator().manual_seed(0)
    x, _ = batch([0, 1, 2, 3])
    one, other = perturbed(x, generator), perturbed(x, generator)
    assert one.dtype == torch.uint8 and one.shape == x.shape
    assert (one != x).flatten(1).any(1).all() and (one != other).flatten(1).any(1).all()


def taught(agent, task, labels, steps=4):
    """Teach one task; returns its images and labels."""
    agent.begin_task(TaskInfo(task, ()))
    for step in range(steps):
        agent.observe(*batch(labels * 5, seed=10 * task + step))
    x, y = batch(labels * 10, seed=100 + task)
    agent.end_task(TaskInfo(task, ()), Batches(x, y))
    return x, y


def test_a_task_leaves_the_memory_that_its_uncertainties_choose(monkeypatch):
    agent = build(Rainbow, memory_size=10, replay_epochs=0)
    monkeypatch.setattr(
        agent, "_answers", lambda x: (x.flatten(1).long().sum(1) * torch.arange(1, 6)[:, None]) % 7 % 4
    )
    x, y = (torch.cat(both) for both in zip(taught(agent, 0, [0, 1]), taught(agent, 1, [2, 3]), strict=True))
    kept = agent.buffer["inputs"].flatten(1).tolist()
    assert agent.buffer["labels"].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 3, 3]
    u = uncertainty(agent._answers(x))
    for label, share in ((2, 2), (3, 2)):
        rows = sorted((y == label).nonzero().squeeze(1).tolist(), key=lambda row: (u[row].item(), row))
        chosen = [rows[round(place * (len(rows) - 1) / (share - 1))] for place in range(share)]
        start = agent.buffer["labels"].tolist().index(label)
        assert kept[start : start + share] == x[chosen].flatten(1).tolist()
    of_first = x[y == 0].flatten(1).tolist()
    assert all(image in of_first for image in kept[:3])


def test_old_images_are_candidates_with_the_tasks_own():
    agent = build(Rainbow, memory_size=8, replay_epochs=0)
    first, _ = taught(agent, 0, [0, 1])
    again, _ = taught(agent, 1, [0, 1])
    assert len(agent.buffer["labels"]) == 8
    rows = [image in first.flatten(1).tolist() for image in agent.buffer["inputs"].flatten(1).tolist()]
    assert any(rows) and not all(rows)
    assert len(again) == 20


@pytest.mark.parametrize("mixed", [0.0, 1.0])
def test_a_step_weighs_the_losses_of_both_labels_by_their_pixels(mixed, monkeypatch):
    agent = build(Rainbow, cutmix=mixed, momentum=0.0, weight_decay=0.0)
    x, y = batch([0, 1, 2, 3, 0])
    given = []

    class Recorded(rainbow.CutMix):
        def __call__(self, x, generator):
            given.append(super().__call__(x, generator))
            return given[-1]

    monkeypatch.setattr(rainbow, "CutMix", Recorded)
    before, net = agent.theta.clone(), agent.network.plastic
    logged = agent.observe(x, y)
    after = agent.theta.clone()
    agent.theta.copy_(before)
    images, partner, share = given[0] if mixed else (x, torch.arange(5), torch.ones(5))
    loss = (
        sum(
            share[i] * F.cross_entropy(net(images)[i], y[i])
            + (1 - share[i]) * F.cross_entropy(net(images)[i], y[partner[i]])
            for i in range(5)
        )
        / 5
    )
    torch.testing.assert_close(logged["loss"], loss.detach())
    torch.testing.assert_close(before - after, agent.config.lr * agent.gradient(loss), rtol=1e-3, atol=1e-6)


def test_the_memory_is_passed_over_when_a_task_ends():
    agent = build(Rainbow, memory_size=13, replay_epochs=3, batch_size=5)
    steps = []
    learn = agent._learn
    agent._learn = lambda x, y: steps.append(y.tolist()) or learn(x, y)
    taught(agent, 0, [0, 1], steps=0)
    assert [len(labels) for labels in steps] == [5, 5, 3] * 3
    assert sorted(label for labels in steps[:3] for label in labels) == sorted(
        agent.buffer["labels"].tolist()
    )
    assert steps[:3] != steps[3:6]
