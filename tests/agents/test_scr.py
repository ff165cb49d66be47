"""SCR: its loss against a double loop and Avalanche's, its means against NumPy, and what learns."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lethe.agents.contract import toy
from lethe.agents.contract.toy import batch, build
from lethe.agents.networks.features import features
from lethe.agents.scr import SCR, contrastive_loss

Y = torch.tensor([0, 1, 0, 2, 2, 2])


def views(seed=0):
    """Unit vectors [12, 5]: two views of six images."""
    drawn = torch.randn(12, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return F.normalize(drawn, dim=1)


def test_the_loss_is_that_of_a_double_loop():
    z, y = views().numpy(), Y.repeat(2).tolist()
    total = 0.0
    for i in range(12):
        others = [a for a in range(12) if a != i]
        below = sum(np.exp(z[i] @ z[a] / 0.2) for a in others)
        positive = [a for a in others if y[a] == y[i]]
        total -= sum(np.log(np.exp(z[i] @ z[p] / 0.2) / below) for p in positive) / len(positive)
    assert contrastive_loss(views(), Y.repeat(2), 0.2).item() == pytest.approx(total / 12, abs=1e-10)


@pytest.mark.slow
def test_loss_and_gradient_are_avalanches():
    from avalanche.training.losses import SCRLoss

    ours, theirs = views().float().requires_grad_(), views().float().requires_grad_()
    loss = contrastive_loss(ours, Y.repeat(2), 0.1)
    expected = SCRLoss(temperature=0.1, base_temperature=0.1)(torch.stack(theirs.split(6), dim=1), Y)
    torch.testing.assert_close(loss, expected)
    loss.backward(), expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)


def test_body_and_projection_learn_and_the_head_does_not():
    agent = build(SCR)
    before = {name: p.clone() for name, p in agent.network.plastic.named_parameters()}
    projected = [p.clone() for p in agent.projection.parameters()]
    agent.observe(*batch([0, 1, 0, 1]))
    moved = {name for name, p in agent.network.plastic.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {name for name in before if name.startswith("body")}
    assert not any(
        torch.equal(p, old) for p, old in zip(agent.projection.parameters(), projected, strict=True)
    )


def test_a_step_is_on_two_views_of_batch_and_replay(monkeypatch):
    agent = build(SCR, replay_images=3)
    agent.observe(*batch([0, 1, 1, 0]))
    given = []
    monkeypatch.setattr(agent, "augmented", lambda x: given.append(x) or x)
    agent.observe(*batch([2, 3], seed=1))
    agent.config.__dict__["views"] = "one"
    agent.observe(*batch([2, 3], seed=2))
    assert [len(x) for x in given] == [10, 5]
    assert len(agent.buffer) == 8
    x, _ = batch([2, 3], seed=1)
    assert torch.equal(given[0][:2], x) and torch.equal(given[0][:5], given[0][5:])


def test_two_views_differ_and_flips_and_crops_can_be_left_out():
    x, _ = batch([0, 1, 2, 3])
    agent = build(SCR, smallest_crop=0.2, flip=True)
    assert not torch.equal(agent.augmented(x), agent.augmented(x))
    agent = build(SCR)
    brightest = agent.augmented(x).float().mean(1).unfold(1, 4, 4).unfold(2, 4, 4).mean((3, 4)).flatten(1)
    assert brightest.argmax(1).tolist() == [0, 1, 2, 3], "each label's quarter stays where it was"


def test_an_image_has_the_label_of_the_nearest_mean_of_the_memory():
    agent = build(SCR)
    toy.learn(agent, tasks=(0,))
    stored, labels = agent.buffer.sample(1000)
    x, _ = batch([0, 1, 2, 3, 0], seed=77)
    found = toy.scores(agent, x)
    with torch.no_grad():
        kept, queries = (features(agent.network.plastic, images).numpy() for images in (stored, x))
    unit = kept / np.linalg.norm(kept, axis=1, keepdims=True)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    for label in (0, 1):
        mean = unit[labels == label].mean(0)
        mean /= np.linalg.norm(mean)
        np.testing.assert_allclose(found[:, label], -((queries - mean) ** 2).sum(1), atol=1e-5)
    assert (found[:, 2:] == -5).all() and (found[:, :2] > -5).all()


def test_without_an_image_in_memory_no_label_is_preferred():
    assert (toy.scores(build(SCR), batch([0, 1])[0]) == -5).all()
