"""ER-ACE, MIR and the options of ER against plain loops, PyTorch's optimiser and avalanche-lib."""

import copy
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lethe.agents.base import Network, Problem
from lethe.agents.config import setting
from lethe.agents.contract.checks import CHECKS
from lethe.agents.contract.toy import CPU, batch, build
from lethe.agents.er import ER, ERConfig
from lethe.agents.er_ace import ERACE
from lethe.agents.mir import MIR
from lethe.agents.parts.augment import RandomCrop, RandomFlip
from lethe.agents.parts.memory_passes import seeded_by
from lethe.common.errors import InputError

STREAM = [
    ([0, 1, 0, 1], 1),
    ([1, 1, 1, 1], 2),
    ([2, 3, 3, 2], 3),
    ([2, 3, 0, 3], 4),
    ([3, 3, 3, 3], 5),
    ([0, 2, 2, 2], 6),
]


def plain_cross_entropy(scores, labels, allowed):
    """The mean of -log p(y) over labels in `allowed`, an image and a label at a time."""
    total = 0.0
    for row, label in zip(scores, labels.tolist(), strict=True):
        total = total - row[label] + torch.log(sum(torch.exp(row[k]) for k in sorted(allowed)))
    return total / len(labels)


class DoubleScale(torch.nn.Module):
    """uint8 pixels to -1 .. 1 in float64."""

    def forward(self, x):
        return x.double() / 128 - 1


def twin_of(agent):
    """A float64 copy of the network and PyTorch's SGD on it."""
    module = copy.deepcopy(agent.network.plastic).double()
    module.scale = DoubleScale()
    c = agent.config
    return module, torch.optim.SGD(module.parameters(), c.lr, c.momentum, weight_decay=c.weight_decay)


def drawn(agent, count):
    """What the agent's next draw from its memory will be; nothing, while that is empty."""
    if not len(agent.buffer):
        return torch.empty(0, 3, 8, 8, dtype=torch.uint8), torch.empty(0, dtype=torch.int64)
    state = agent.generator.get_state()
    x, y = agent.buffer.sample(count)
    agent.generator.set_state(state)
    return x.clone(), y.clone()


def same_weights(agent, module):
    for ours, theirs in zip(agent.network.plastic.parameters(), module.parameters(), strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-3, atol=1e-5)


# ER-ACE.


def test_er_ace_is_a_plain_loop_over_labels_of_the_batch_and_labels_seen():
    agent = build(ERACE, memory_size=9, replay_images=5)
    module, optimizer = twin_of(agent)
    seen = set()
    for labels, seed in STREAM * 3:
        x, y = batch(labels, seed)
        old_x, old_y = drawn(agent, 5)
        seen |= set(labels)
        loss = plain_cross_entropy(module(x), y, set(labels))
        if len(old_y):
            loss = loss + plain_cross_entropy(module(old_x), old_y, seen)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        logged = agent.observe(x, y)
        assert float(logged["incoming"] + logged["replayed"]) == pytest.approx(
            loss.item(), rel=1e-3, abs=1e-5
        )
        same_weights(agent, module)


def test_a_label_that_is_not_in_the_batch_gets_no_gradient_from_it():
    agent = build(ERACE)
    for labels, seed in STREAM:
        agent.observe(*batch(labels, seed))
    head = agent.network.plastic.head
    incoming, replayed = agent.losses(*batch([1, 3, 3], seed=9))
    rows = torch.autograd.grad(incoming, head.weight, retain_graph=True)[0].abs().sum(1)
    assert rows[[0, 2]].tolist() == [0, 0] and (rows[[1, 3]] > 0).all()
    assert (torch.autograd.grad(replayed, head.weight)[0].abs().sum(1) > 0).all()


def test_a_batch_of_one_label_learns_from_replay_alone():
    agent = build(ERACE)
    assert agent.observe(*batch([0, 0, 0]))["incoming"] == 0
    logged = agent.observe(*batch([1, 1, 1], seed=1))
    assert logged["incoming"] == 0 and logged["replayed"] > 0


@pytest.mark.slow
def test_er_ace_is_twice_avalanches_criterion_where_all_labels_were_seen():
    """Its criterion is half the sum, and runs over all outputs for the images of the memory."""
    from avalanche.training.regularization import ACECriterion

    agent = build(ERACE, replay_images=6)
    for labels, seed in STREAM:
        agent.observe(*batch(labels, seed))
    x, y = batch([1, 3, 3], seed=9)
    old_x, old_y = drawn(agent, 6)
    plastic = agent.network.plastic
    oracle = 2 * ACECriterion()(plastic(x), y, plastic(old_x), old_y)
    torch.testing.assert_close(sum(agent.losses(x, y)), oracle)


# MIR.


def plain_retrieval(module, agent, x, y, old_x, old_y, seen):
    """The rows of the candidates that a plain loop over virtual losses chooses."""
    gradients = torch.autograd.grad(plain_cross_entropy(module(x), y, seen), list(module.parameters()))
    virtual = copy.deepcopy(module)
    with torch.no_grad():
        for p, g in zip(virtual.parameters(), gradients, strict=True):
            p -= agent.config.lr * g
        rise = [
            (
                plain_cross_entropy(virtual(image), label, seen)
                - plain_cross_entropy(module(image), label, seen)
            ).item()
            for image, label in zip(old_x.split(1), old_y.split(1), strict=True)
        ]
    return sorted(range(len(rise)), key=lambda row: -rise[row])[: agent.config.replay_images]


def test_mir_is_a_plain_loop_over_candidates():
    agent = build(MIR, memory_size=12, replay_images=3, candidates=8)
    module, optimizer = twin_of(agent)
    seen, chosen_from = set(), 0
    for labels, seed in STREAM * 3:
        x, y = batch(labels, seed)
        old_x, old_y = drawn(agent, 8)
        seen |= set(labels)
        if len(old_y) > 3:
            rows = plain_retrieval(module, agent, x, y, old_x, old_y, seen)
            chosen_from += 1
            old_x, old_y = old_x[rows], old_y[rows]
        loss = plain_cross_entropy(module(torch.cat([x, old_x])), torch.cat([y, old_y]), seen)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        agent.observe(x, y)
        same_weights(agent, module)
    assert chosen_from > 10


class LinearNet(torch.nn.Sequential):
    """Scores W x of pixels in 0 .. 1."""

    def __init__(self):
        super().__init__(torch.nn.Flatten(), torch.nn.Linear(12, 3, bias=False))

    def forward(self, x):
        return super().forward(x.float() / 255)


def test_mir_chooses_by_the_closed_form_of_a_linear_softmax():
    """W' = W - lr (p - onehot) xᵀ / B, and a search over all candidates, in NumPy."""
    random = torch.Generator().manual_seed(3)
    config = MIR.Config(lr=0.5, memory_size=40, replay_images=4, candidates=40)
    agent = MIR(Problem(3, (3, 2, 2)), config, Network(torch.nn.Identity(), LinearNet()), seed=0, device=CPU)
    images, labels = (
        torch.randint(0, 256, (35, 3, 2, 2), generator=random).to(torch.uint8),
        torch.arange(35) % 3,
    )
    agent.seen[:] = True
    agent.buffer.add(images[:30], labels[:30])
    weights = agent.network.plastic[1].weight.detach().double().numpy().copy()

    def probabilities(w, x):
        scores = np.exp(x.reshape(len(x), -1).numpy() / 255.0 @ w.T)
        return scores / scores.sum(1, keepdims=True)

    x, y = images[30:], labels[30:]
    error = probabilities(weights, x) - np.eye(3)[y]
    virtual = weights - 0.5 * error.T @ (x.reshape(5, -1).numpy() / 255.0) / 5
    rise = [
        np.log(probabilities(weights, image)[0, label] / probabilities(virtual, image)[0, label])
        for image, label in zip(images[:30].split(1), labels[:30].tolist(), strict=True)
    ]
    best = images[np.argsort(rise)[::-1][:4].copy()]
    torch.testing.assert_close(
        agent.interference(x, y, images[:30], labels[:30]).double(), torch.tensor(rise), rtol=1e-3, atol=1e-5
    )
    chosen, _ = agent.retrieved(x, y)
    assert sorted(chosen.flatten(1).tolist()) == sorted(best.flatten(1).tolist())
    assert torch.equal(agent.network.plastic[1].weight.detach().double(), torch.tensor(weights)), "not moved"


def test_mir_with_as_many_candidates_as_are_replayed_is_er_to_the_bit():
    agent, plain = build(MIR, replay_images=4, candidates=4), build(ER, replay_images=4)
    for labels, seed in STREAM * 2:
        for one in (agent, plain):
            one.observe(*batch(labels, seed))
    assert torch.equal(agent.theta, plain.theta)
    with pytest.raises(InputError, match="candidates: expected at least replay_images=4, got 3"):
        build(MIR, replay_images=4, candidates=3)


def test_asking_for_the_interference_changes_nothing():
    agent = build(MIR, replay_images=2)
    for labels, seed in STREAM:
        agent.observe(*batch(labels, seed))
    before = agent.theta.clone()
    agent.retrieved(*batch([0, 1], seed=7))
    assert torch.equal(agent.theta, before) and agent.network.plastic.training


@pytest.mark.slow
def test_mir_replays_what_avalanche_does():
    """Its plugin is handed the same candidates, and adds the mean loss of those chosen. All labels were seen."""
    from avalanche.training.plugins import MIRPlugin

    agent = build(MIR, replay_images=3, candidates=20, momentum=0.0)
    for labels, seed in STREAM:
        agent.observe(*batch(labels, seed))
    x, y = batch([0, 3, 2, 2], seed=11)
    old_x, old_y = drawn(agent, 20)
    module = copy.deepcopy(agent.network.plastic)
    plugin = MIRPlugin(batch_size_mem=3)
    plugin.replay_loader = iter([(old_x, old_y, torch.zeros_like(old_y))])
    loss = F.cross_entropy(module(x), y)
    strategy = SimpleNamespace(
        model=module,
        loss=loss.clone(),
        device=CPU,
        _criterion=torch.nn.CrossEntropyLoss(),
        optimizer=torch.optim.SGD(module.parameters(), agent.config.lr),
    )
    plugin.before_backward(strategy)
    chosen_x, chosen_y = agent.retrieved(x, y)
    torch.testing.assert_close(strategy.loss - loss, F.cross_entropy(module(chosen_x), chosen_y))


# The options of ER.


def test_several_steps_are_plain_steps_each_with_a_new_draw():
    agent = build(ER, steps=3, replay_images=2)
    module, optimizer = twin_of(agent)
    draws = []
    sample = agent.buffer.sample
    agent.buffer.sample = lambda count: draws.append(sample(count)) or draws[-1]
    for labels, seed in STREAM[:3]:
        x, y = batch(labels, seed)
        seen = agent.seen.clone()
        draws.clear()
        agent.observe(x, y)
        seen[y] = True
        for old_x, old_y in draws or [(x[:0], y[:0])] * 3:
            loss = F.cross_entropy(
                module(torch.cat([x, old_x])).masked_fill(~seen, -torch.inf), torch.cat([y, old_y])
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        same_weights(agent, module)
    assert len(draws) == 3 and any(not torch.equal(draws[0][1], other[1]) for other in draws[1:])
    assert agent.buffer.added == 12, "a batch is stored once"


@pytest.mark.parametrize("augmentation", ["none", "crop", "crop_flip"])
def test_batch_and_replay_are_augmented_and_what_is_stored_is_not(augmentation):
    agent = build(ER, augmentation=augmentation, replay_images=2)
    agent.observe(*batch([0, 1, 2], seed=1))
    given = []
    agent.network.plastic.register_forward_pre_hook(lambda module, inputs: given.append(inputs[0]))
    x, y = batch([3, 1, 2], seed=2)
    twin = torch.Generator()
    twin.set_state(agent.generator.get_state())
    old_x, _ = drawn(agent, 2)
    torch.randperm(3, generator=twin)
    expected = torch.cat([x, old_x])
    if augmentation != "none":
        expected = RandomCrop(1)(expected, twin)
    if augmentation == "crop_flip":
        expected = RandomFlip()(expected, twin)
    agent.observe(x, y)
    assert torch.equal(given[0], expected)
    assert torch.equal(agent.buffer.sample(10)[0], torch.cat([batch([0, 1, 2], seed=1)[0], x]))


def test_augmentation_of_features_is_refused():
    problem = Problem(4, (32, 1, 1))
    net = Network(torch.nn.Identity(), torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(32, 4)))
    with pytest.raises(InputError, match=r"expected images of 3 channels, got inputs of 32 x 1 x 1: .*=none"):
        ER(problem, ERConfig(augmentation="crop"), net, seed=0, device=CPU)
    ER(problem, ERConfig(), net, seed=0, device=CPU)


def test_a_review_is_sgd_over_the_memory_at_a_tenth_of_the_rate_and_leaves_the_agent_as_it_was():
    agent = build(ER, review_epochs=2, replay_images=4, memory_size=10)
    for labels, seed in STREAM * 2:
        agent.observe(*batch(labels, seed))
    before = copy.deepcopy(agent.state_dict())
    module, _ = twin_of(agent)
    c = agent.config
    optimizer = torch.optim.SGD(module.parameters(), c.lr / 10, c.momentum, weight_decay=c.weight_decay)
    x, y = agent.buffer.sample(10)
    generator = seeded_by(agent.generator)
    for _ in range(2):
        order = torch.randperm(10, generator=generator)
        for rows in (order[:4], order[4:8], order[8:]):
            optimizer.zero_grad()
            F.cross_entropy(module(x[rows]), y[rows]).backward()
            optimizer.step()
    agent.fill_cache()
    with torch.no_grad():
        torch.testing.assert_close(agent.predict(x).double(), module(x), rtol=1e-4, atol=1e-5)
        assert not torch.allclose(agent.predict(x), agent.network.plastic(x), atol=1e-3)
    after = agent.state_dict()
    assert all(torch.equal(before["plastic"][name], value) for name, value in after["plastic"].items())
    assert torch.equal(before["generator"], after["generator"])


@dataclass(frozen=True)
class TunedConfig(ERConfig):
    """All options of tuned replay."""

    buffer: str = setting("balanced", "As ER's.")
    steps: int = setting(2, "As ER's.")
    augmentation: str = setting("crop_flip", "As ER's.")
    review_epochs: int = setting(1, "As ER's.")


class Tuned(ER):
    """ER with all its options."""

    Config = TunedConfig


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_er_keeps_the_contract_with_all_its_options(check):
    check(Tuned)
