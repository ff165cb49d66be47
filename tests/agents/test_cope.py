"""CoPE: its loss against a loop over pairs and Avalanche's, its prototypes in closed form."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lethe.agents.contract.toy import batch, build, scores
from lethe.agents.cope import CoPE, proxy_loss
from lethe.agents.networks.features import features

Y = torch.tensor([0, 1, 0, 3, 3, 3, 1])
SEEN = torch.tensor([True, True, False, True])


def drawn(rows, seed, **kind):
    return F.normalize(torch.randn(rows, 5, generator=torch.Generator().manual_seed(seed), **kind), dim=1)


def loop(f, y, prototypes, seen, temperature, constant_anchors=False):
    """The loss, pair by pair; `f` may want gradients."""

    def e(a, b):
        return (a @ b / temperature).exp()

    def share(a, q, c):
        return e(a, q) / (e(a, q) + sum(e(a, prototypes[k]) for k in range(len(seen)) if seen[k] and k != c))

    total = 0.0
    for i, c in enumerate(y.tolist()):
        near = [f[j].detach() for j in range(len(y)) if j != i and y[j] == c] + [prototypes[c]]
        total = total + (sum(share(f[i], q, c) for q in near) / len(near)).log()
        for j in (j for j in range(len(y)) if y[j] != c):
            anchor = f[i].detach() if constant_anchors else f[i]
            total = total + (1 - (share(f[j], anchor, c) + share(f[j], prototypes[c], c)) / 2).log()
    return -total / len(y)


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_loss_and_gradient_are_those_of_a_loop_over_pairs(constant, temperature):
    ours, theirs = (drawn(7, 0, dtype=torch.float64).requires_grad_() for _ in range(2))
    prototypes = drawn(4, 1, dtype=torch.float64)
    loss = proxy_loss(ours, Y, prototypes, SEEN, temperature, constant)
    expected = loop(theirs, Y, prototypes, SEEN, temperature, constant)
    loss.backward(), expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-8, atol=1e-10)


def test_gradients_pass_through_the_anchors_unless_told_otherwise():
    grads = []
    for constant in (False, True):
        f = drawn(7, 0).requires_grad_()
        proxy_loss(f, Y, drawn(4, 1), SEEN, 1.0, constant).backward()
        grads.append(f.grad)
    assert (grads[0] - grads[1]).abs().max() > 0.01


@pytest.mark.slow
def test_with_constant_anchors_it_is_avalanches():
    from avalanche.training.plugins.cope import PPPloss

    prototypes, every = drawn(4, 1), torch.ones(4, dtype=torch.bool)
    ours, theirs = drawn(7, 0).requires_grad_(), drawn(7, 0).requires_grad_()
    loss = proxy_loss(ours, Y, prototypes, every, 0.5, constant_anchors=True)
    expected = PPPloss({k: prototypes[k : k + 1] for k in range(4)}, T=0.5)(theirs, Y)
    loss.backward(), expected.backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("temperature", [1e-3, 0.1])
def test_one_label_alone_and_low_temperatures_give_numbers(temperature):
    f = drawn(3, 2).requires_grad_()
    one = proxy_loss(f, torch.tensor([1, 1, 1]), drawn(4, 1), torch.arange(4) == 1, temperature)
    one.backward()
    assert one == 0 and (f.grad == 0).all()
    f = drawn(7, 2).requires_grad_()
    proxy_loss(f, Y, drawn(4, 1), SEEN, temperature).backward()
    assert torch.isfinite(f.grad).all()


def test_prototypes_follow_constant_embeddings_in_closed_form():
    agent = build(CoPE, prototype_momentum=0.9, embedding_size=5)
    agent.prototypes = start = drawn(4, 1)
    means = torch.zeros(4, 5)
    means[[2, 0]] = towards = drawn(2, 5)
    for _ in range(3):
        agent._follow(means)
    for label, to in ((2, towards[0]), (0, towards[1])):
        expected = start[label].double().numpy()
        for _ in range(3):
            expected = 0.9 * expected + 0.1 * to.double().numpy()
            expected /= np.linalg.norm(expected)
        np.testing.assert_allclose(agent.prototypes[label], expected, atol=1e-6)
    assert torch.equal(agent.prototypes[[1, 3]], start[[1, 3]])


def test_a_step_learns_from_batch_and_replay_and_moves_their_prototypes():
    agent = build(CoPE, momentum=0.0, weight_decay=0.0, replay_images=50)
    agent.observe(*batch([0, 1, 0]))
    x, y = batch([2, 3], seed=1)
    before = agent.theta.clone()
    together = torch.cat([x, agent.buffer.sample(50)[0]]), torch.cat([y, agent.buffer.sample(50)[1]])
    f = F.normalize(agent.embedding(features(agent.network.plastic, together[0])), dim=1)
    start = torch.stack([F.normalize(f[together[1] == label].mean(0), dim=0) for label in range(4)]).detach()
    start[:2] = agent.prototypes[:2]  # labels 2 and 3 are new, and begin at their means
    loss = loop(f, together[1], start, torch.ones(4, dtype=torch.bool), 0.1)
    gradient = agent.gradient(loss).clone()
    logged = agent.observe(x, y)
    torch.testing.assert_close(logged["loss"], loss.detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(before - agent.theta, agent.config.lr * gradient, rtol=1e-2, atol=1e-5)
    for label in (0, 1):
        mean = F.normalize(f[together[1] == label].mean(0), dim=0)
        moved = F.normalize(0.99 * start[label] + 0.01 * mean, dim=0)
        torch.testing.assert_close(agent.prototypes[label], moved.detach(), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(agent.prototypes[2:], start[2:], rtol=1e-3, atol=1e-4)
    assert len(agent.buffer) == 5


def test_labels_never_seen_are_never_predicted():
    agent = build(CoPE)
    agent.observe(*batch([0, 1, 0]))
    found = scores(agent, batch([0, 1, 2, 3])[0])
    assert (found[:, 2:] == -2).all() and (found[:, :2] >= -1).all()
