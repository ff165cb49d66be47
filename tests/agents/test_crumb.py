"""CRUMB: what is read and rebuilt against a brute-force search, steps against the formula, the store's shares."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lethe.agents.base import Network, Problem, TaskInfo
from lethe.agents.contract.toy import CPU, Batches
from lethe.agents.crumb import CRUMB, Blocks
from lethe.common.errors import InputError

C, SIDE, K = 8, 3, 4


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def batch(labels, seed=0):
    """Maps whose class is the channel that is high, some of them silent."""
    x = 0.3 * torch.rand(len(labels), C, SIDE, SIDE, generator=generator(seed))
    x[torch.arange(len(labels)), labels] += 2
    x[:, 4:, 0] = 0
    return x, torch.tensor(labels)


def build(**settings):
    config = CRUMB.Config.from_settings({"blocks": 12, "block_width": 4, "lr": 0.05, **settings})
    head = nn.Sequential(nn.Flatten(), nn.Linear(C * SIDE * SIDE, K))
    nn.init.zeros_(head[1].weight)
    return CRUMB(Problem(K, (C, SIDE, SIDE)), config, Network(nn.Identity(), head), seed=0, device=CPU)


def started(**settings):
    """An agent after a first task of classes 0 and 1."""
    agent = build(**settings)
    x, y = batch([0, 1] * 20)
    for low in range(0, 40, 10):
        agent.observe(x[low : low + 10], y[low : low + 10])
    agent.end_task(TaskInfo(0, (0, 1)), Batches(x, y))
    return agent


def test_what_is_read_is_the_nearest_block_of_each_group_at_each_position():
    codebook, (x, _) = Blocks(12, 4, CPU), batch([0, 1, 2, 3, 0])
    codebook.fit(x, generator())
    with torch.no_grad():
        codebook.slots.add_(0.01 * torch.randn(12, 4, generator=generator(1)))
    expected, indices = torch.empty_like(x), []
    for image in range(5):
        for row in range(SIDE):
            for column in range(SIDE):
                for group in (slice(0, 4), slice(4, 8)):
                    distances = [
                        float((x[image, group, row, column] - m).norm()) for m in codebook.slots.detach()
                    ]
                    nearest = distances.index(min(distances))
                    indices.append(nearest)
                    expected[image, group, row, column] = codebook.slots[nearest].detach()
    assert codebook.winners(x).flatten().tolist() == indices and len(set(indices)) > 5
    assert torch.equal(codebook.read(x), expected)
    assert torch.equal(codebook.rebuilt(codebook.winners(x), x.shape[1:]), expected)


def test_blocks_learn_from_what_was_read_with_them():
    codebook, (x, _) = Blocks(12, 4, CPU), batch([0, 1])
    codebook.fit(x, generator())
    weights = torch.randn(x.shape, generator=generator(2))
    (codebook.read(x) * weights).sum().backward()
    expected = torch.zeros(12, 4)
    parts = weights.permute(0, 2, 3, 1).reshape(-1, 4)
    for part, winner in zip(parts, codebook.winners(x).flatten().tolist(), strict=True):
        expected[winner] += part
    torch.testing.assert_close(codebook.slots.grad, expected)


@pytest.mark.parametrize("weight", [0.0, 1.0])
@pytest.mark.parametrize("later", [False, True])
def test_steps_are_those_of_the_formula(weight, later):
    """One on the batch, one on replayed images; in the first task `direct` always counts, and nothing is replayed."""
    settings = {"direct_weight": weight, "momentum": 0.0, "weight_decay": 0.0, "replay_weight": 2.0}
    agent = started(**settings) if later else build(**settings)
    x, y = batch([2, 3, 2] if later else [0, 1, 0], seed=5)
    if not later:
        agent.codebook.fit(x, agent.generator)
    state, twin = agent.generator.get_state(), copy.deepcopy(agent)

    seen = [0, 1, 2, 3] if later else [0, 1]

    def loss(scores, y):
        return F.cross_entropy(scores[:, seen], y)

    head, blocks = twin.network.plastic, twin.codebook.slots
    parameters = [*head.parameters(), blocks]

    def read(winners):
        return blocks[winners.long()].view(-1, SIDE, SIDE, C).permute(0, 3, 1, 2)

    def step(found):
        for p, g in zip(parameters, torch.autograd.grad(found, parameters, allow_unused=True), strict=True):
            if g is not None:
                p.data -= 0.05 * g.clamp(-10, 10)

    first = loss(head(read(twin.codebook.winners(x))), y)
    if weight or not later:
        first = first + loss(head(x), y)
    step(first)
    if later:
        twin.generator.set_state(state)
        winners, _, old = twin.store.sample([0, 1], 2)
        assert len(old) == 4
        second = 2.0 * loss(head(read(winners)), old)
        step(second)

    agent.generator.set_state(state)
    logged = agent.observe(x, y)
    torch.testing.assert_close(logged["loss"], first.detach())
    assert ("replay_loss" in logged) is later
    if later:
        torch.testing.assert_close(logged["replay_loss"], second.detach())
    torch.testing.assert_close(agent.codebook.slots, blocks)
    for ours, theirs in zip(agent.network.plastic.parameters(), head.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_gradients_are_clamped_element_by_element():
    agent = build(momentum=0.0, weight_decay=0.0)
    before = agent.theta.clone()
    weights = agent.network.plastic[1].bias
    agent.step(100.0 * weights[0] - 30.0 * weights[1] + 3.0 * weights[2])
    moved = (before - agent.theta)[agent.theta != before]
    torch.testing.assert_close(moved, 0.05 * torch.tensor([10.0, -10, 3]))


def test_classes_have_equal_shares_of_the_store_at_any_time():
    agent = started(memory_size=17)
    assert agent.store.sizes == [8, 8, 0, 0]
    x, y = batch([0, 1] * 20)
    keys = torch.rand(40, 1, generator=copy.deepcopy(agent.generator))[y == 1]
    agent.end_task(TaskInfo(0, (0, 1)), Batches(x, y))
    assert agent.store.of(1)[1].max() <= keys.sort(0).values[7], "of all keys, the lowest"
    earlier = [set(map(tuple, agent.store.of(label)[0].tolist())) for label in (0, 1)]
    x, y = batch([2, 3] * 3 + [2] * 20 + [0] * 40, seed=7)
    agent.end_task(TaskInfo(1, (0, 1, 2, 3)), Batches(x, y))
    assert agent.store.sizes == [4, 4, 4, 3]
    assert set(map(tuple, agent.store.of(1)[0].tolist())) < earlier[1], "earlier classes give up images"
    for label in (0, 1, 2, 3):
        keys = agent.store.of(label)[1].squeeze(1)
        assert torch.equal(keys, keys.sort().values), "the lowest of all so far come first"
    assert agent.memory_bytes() == 4 * 12 * 4 + K + 15 * (SIDE * SIDE * 2 + 4)


def test_the_store_is_a_fair_sample_of_a_class_that_comes_back():
    """Of 10 images before and 30 now, a quarter of the stored are of before."""
    x, y = batch([0] * 10, seed=1), batch([0] * 30, seed=2)
    agent, before = build(memory_size=8), 0
    agent.codebook.fit(torch.cat([x[0], y[0]]), generator())
    old = set(map(tuple, agent.codebook.winners(x[0]).tolist()))
    assert not old & set(map(tuple, agent.codebook.winners(y[0]).tolist()))
    for _ in range(200):
        agent.store.load_state_dict(build().store.state_dict())
        agent.end_task(TaskInfo(0, (0,)), Batches(*x))
        agent.end_task(TaskInfo(1, (0,)), Batches(*y))
        before += sum(tuple(row) in old for row in agent.store.of(0)[0].tolist())
    assert abs(before / (200 * 8) - 0.25) < 0.04


def test_it_learns_new_classes_and_keeps_the_old():
    agent = started()
    x, y = batch([2, 3] * 40, seed=1)
    for low in range(0, 80, 10):
        agent.observe(x[low : low + 10], y[low : low + 10])
    x, y = batch([0, 1, 2, 3] * 10, seed=2)
    for scores in (agent.predict(x), agent.predict_also(x)["mem"]):
        assert (scores.argmax(1) == y).float().mean() > 0.9


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="block_width: expected a number that divides the 8 channels, got 3"):
        build(block_width=3)
    with pytest.raises(InputError, match="at least 1 for each of 4 classes, got 3"):
        build(memory_size=3)
