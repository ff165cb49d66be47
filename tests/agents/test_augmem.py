"""AugMem against a slow transcription of its equations, in float64 and with every tensor spelled out."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from lethe.agents import registry
from lethe.agents.augmem import AugMem
from lethe.agents.augmem_published import AugMemPublished
from lethe.agents.base import Network, Problem, TaskInfo
from lethe.agents.contract.toy import CPU, Batches
from lethe.agents.networks import build as networks
from lethe.agents.networks.layers import Dropout
from lethe.agents.parts.fitted_slots import FittedSlots, k_means
from lethe.agents.parts.slot_memory import SlotMemory, SlotStore, herd
from lethe.common.errors import InputError
from tests.agents.augmem_witness import GROUPS, SIDE, WIDTH, D, Witness, fitted

SLOTS, K = 7, 7
TASKS = [(0, 1), (2, 3), (4, 5)]  # label 6 never comes
SMALL = {
    "slots": SLOTS,
    "slot_width": WIDTH,
    "sharpness": 2.0,
    "memory_size": 12,
    "batch_size": 12,
    "lr": 0.002,
    "regulariser_weight": 50.0,
}
BOTH = pytest.mark.parametrize("agent_class", [AugMem, AugMemPublished])


class Plastic(nn.Sequential):
    """A convolution and a linear layer, without dropout."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(D, 5, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, K)
        )
        generator = torch.Generator().manual_seed(1)
        for p in self.parameters():
            nn.init.uniform_(p, -1, 1, generator=generator)


def build(agent_class, **settings):
    config = agent_class.Config.from_settings({**SMALL, **settings})
    return agent_class(
        Problem(K, (D, SIDE, SIDE)), config, Network(nn.Identity(), Plastic()), seed=3, device=CPU
    )


def task_data(index, count=60):
    """Maps whose class shows in the mean of some channels; labels in disorder, after a batch of one class."""
    generator = torch.Generator().manual_seed(index)
    y = torch.tensor(TASKS[index])[torch.randint(2, (count,), generator=generator)]
    y[:12] = TASKS[index][0]
    x = torch.randn(count, D, SIDE, SIDE, generator=generator)
    return x + 0.3 * y.view(-1, 1, 1, 1) * torch.linspace(-1, 1, D).view(1, -1, 1, 1), y


def info(index):
    return TaskInfo(index, tuple(range(2 * index + 2)))


def learn(agent, tasks=(0, 1, 2)):
    logged = []
    for index in tasks:
        x, y = task_data(index)
        agent.begin_task(info(index))
        size = agent.config.batch_size
        logged += [agent.observe(*part) for part in zip(x.split(size), y.split(size), strict=True)]
        agent.end_task(info(index), Batches(x, y))
    return logged


def both_learn(agent_class, **settings):
    agent = build(agent_class, **settings)
    witness = Witness(agent, agent_class is AugMemPublished)
    for index in range(len(TASKS)):
        x, y = task_data(index)
        for part in zip(
            x.double().split(agent.config.batch_size), y.split(agent.config.batch_size), strict=True
        ):
            witness.observe(*part, index)
        witness.end_task(x.double(), y, index)
    return agent, witness, learn(agent)


def assert_equal(agent, witness, logged):
    losses = [v.item() for entry in logged for name, v in entry.items() if name in ("loss", "replay_loss")]
    assert len(losses) == len(witness.log)
    np.testing.assert_allclose(losses, witness.log, rtol=1e-5, atol=1e-5)
    ours = [*agent.network.plastic.parameters(), agent.memory.slots]
    for p, q in zip(ours, witness.p, strict=True):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), atol=1e-5)
    np.testing.assert_allclose(agent.anchor.numpy(), witness.anchor.numpy(), atol=1e-5)
    assert set(agent.used.nonzero().flatten().tolist()) == witness.used
    assert agent.store.labels == sorted(witness.store)
    for label, rows in witness.store.items():
        winners, scores = agent.store.of(label)
        assert winners.tolist() == [indices for indices, _ in rows]
        np.testing.assert_allclose(scores.numpy(), torch.stack([s for _, s in rows]).numpy(), atol=1e-5)


@BOTH
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"replay_weight": 0.0, "replay_times": 0},
        {"regulariser_weight": 0.0},
        {"distillation_weight": 0.0},
        {"sharpness": 1.0},
        {"memory_size": 7},
        {"slots": 4},
        {"replay_times": 2},
        {"replay_weight": 60.0},
        {"herding": True},
        {"batch_size": 13, "lr_after_first": 0.01},
        {"slots_from": "normal"},
        {"slots_from": "features"},
        {"slots_from": "normal", "herding": True},
        {"slots_from": "features", "slots": 12, "sharpness": 0.5},
    ],
    ids=str,
)
def test_three_tasks_are_those_of_the_equations(agent_class, settings):
    agent, witness, logged = both_learn(agent_class, **settings)
    assert_equal(agent, witness, logged)
    assert (witness.largest > 10) == (agent.config.replay_weight == 60), "one of the settings cuts gradients"


def relu_maps(count=6, seed=0):
    """Maps of which a part of the groups is silent, of the scale of a network's features."""
    x = 20 * torch.randn(count, D, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    return x.relu()


@pytest.mark.parametrize("slots", [1, 2, 30, 200])
def test_first_slots_are_those_of_k_means_over_the_reads(slots):
    """With 200 there are fewer reads than slots."""
    x = relu_maps()
    memory = FittedSlots(slots, WIDTH, 5.0, CPU)
    memory.fit(x, torch.Generator().manual_seed(1))
    reads = x.permute(0, 2, 3, 1).reshape(-1, WIDTH).double().numpy()
    expected, scale = fitted(reads, slots, torch.Generator().manual_seed(1))
    np.testing.assert_allclose(memory.slots.detach().numpy(), expected, rtol=1e-5)
    assert memory.mean_square == pytest.approx(scale, rel=1e-12)
    assert (expected[1:] ** 2).sum(1).all() and not expected[0].any(), "one slot alone is for silent groups"


def test_fitted_slots_represent_the_features_and_drawn_ones_do_not():
    x = relu_maps(20)
    fitted_slots, drawn = FittedSlots(30, WIDTH, 5.0, CPU), SlotMemory(30, WIDTH, 5.0, generator(1), CPU)
    fitted_slots.fit(x, generator(1))
    errors, used = [], []
    for memory in (fitted_slots, drawn):
        errors.append(((memory.read(x) - x).square().sum() / x.square().sum()).item())
        used.append(len(memory.winners(x).unique()))
    assert errors[0] < 0.1 < 0.5 < errors[1]
    assert used[0] == 30 > 2 * used[1]


def generator(seed):
    return torch.Generator().manual_seed(seed)


def test_reads_by_distance_and_winners_are_those_of_numpy():
    memory = FittedSlots(300, 4, 5.0, CPU)
    x = torch.cat([relu_maps(2, seed) for seed in range(4)], dim=1)[:, :20]
    memory.fit(x, generator(0))
    slots, pixels = memory.slots.detach().double().numpy(), x.double().numpy()
    reads, winners = np.zeros_like(pixels), []
    for b, i, j, g in np.ndindex(2, SIDE, SIDE, 5):
        distance = ((slots - pixels[b, 4 * g : 4 * g + 4, i, j]) ** 2).sum(1)
        weight = np.exp(-5 * (distance - distance.min()) / (2 * memory.mean_square))
        reads[b, 4 * g : 4 * g + 4, i, j] = weight / weight.sum() @ slots
        winners.append(int(distance.argmin()))
    np.testing.assert_allclose(memory.read(x).detach().numpy(), reads, rtol=1e-4, atol=1e-3)
    assert memory.winners(x).flatten().tolist() == winners


@pytest.mark.parametrize("x", [torch.zeros(2, D, SIDE, SIDE), torch.ones(2, D, SIDE, SIDE)], ids=["0", "1"])
def test_maps_without_variety_are_learned(x):
    agent = build(AugMem)
    logged = agent.observe(x, torch.tensor([0, 1]))
    assert torch.isfinite(logged["loss"]) and torch.isfinite(agent.memory.slots).all()
    assert len(agent.memory.slots.unique(dim=0)) == SLOTS, "no two slots are the same and stay so"


def test_many_reads_are_sampled():
    """More than 256 a slot: those that k-means sees are drawn, and the scale is still that of all."""
    x = relu_maps(200)
    memory = FittedSlots(4, WIDTH, 5.0, CPU)
    memory.fit(x, generator(0))
    assert memory.mean_square == pytest.approx(x.double().square().mean().item())
    again = FittedSlots(4, WIDTH, 5.0, CPU)
    again.fit(x, generator(0))
    assert torch.equal(memory.slots, again.slots)
    first = x.permute(0, 2, 3, 1).reshape(-1, WIDTH)[: 4 * 256].double()
    assert (memory.slots.double() - k_means(first, 3, generator(0)).mean(0)).abs().min() > 0


def test_the_scale_is_saved_and_restored_to_the_bit():
    agent = learn_one()
    twin = build(AugMem)
    twin.load_state_dict(deepcopy(agent.state_dict()))
    assert twin.memory.mean_square == agent.memory.mean_square is not None
    x, y = task_data(1, 12)
    for each in (agent, twin):
        each.observe(x, y)
    assert torch.equal(agent.memory.slots, twin.memory.slots)
    assert torch.equal(agent.predict(x), twin.predict(x))


def test_slots_are_fitted_once_and_by_the_first_mini_batch():
    agent = build(AugMem, lr=1e-9)
    x, y = task_data(0, 24)
    agent.observe(x[:12], y[:12])
    slots, scale = agent.memory.slots.detach().clone(), agent.memory.mean_square
    agent.observe(100 * x[12:], y[12:])
    assert agent.memory.mean_square == scale
    torch.testing.assert_close(agent.memory.slots.detach(), slots)
    torch.testing.assert_close(agent.anchor, slots)


def test_gradients_of_slots_are_cut_as_well():
    """A step of its own: where the regulariser makes them so steep, three tasks are chaos."""
    agent = build(AugMem, momentum=0.0, weight_decay=0.0)
    before = agent.memory.slots.detach().clone()
    agent.step(100 * agent.memory.slots.sum())
    torch.testing.assert_close(agent.memory.slots.detach(), before - 10 * agent.config.lr)


def test_reads_and_winners_are_those_of_numpy():
    generator = torch.Generator().manual_seed(0)
    memory = SlotMemory(300, 4, 5.0, generator, CPU)
    x = torch.randn(2, 8, 3, 5, generator=generator)
    x[0, 4:, 1, 2] = 0  # all slots tie
    slots, pixels = memory.slots.detach().double().numpy(), x.double().numpy()
    reads, winners = np.zeros_like(pixels), []
    for b, i, j, g in np.ndindex(2, 3, 5, 2):
        score = slots @ pixels[b, 4 * g : 4 * g + 4, i, j]
        weight = np.exp(5 * (score - score.max()))
        reads[b, 4 * g : 4 * g + 4, i, j] = weight / weight.sum() @ slots
        winners.append(int(score.argmax()))
    np.testing.assert_allclose(memory.read(x).detach().numpy(), reads, atol=1e-5)
    found = memory.winners(x)
    assert found.dtype == torch.int16 and found.flatten().tolist() == winners
    assert found[0, (1 * 5 + 2) * 2 + 1] == 0
    decoded = memory.decode(found, x.shape[1:])
    assert not decoded.requires_grad
    best = slots[winners].reshape(2, 3, 5, 8).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(decoded.numpy(), best, atol=1e-6)


@pytest.mark.parametrize("slots_from", ["normal", "features"])
def test_attention_is_fused_forward_and_backward(slots_from):
    """Weights of all slots would be a tensor of 4 x 32 x 2000 x 50; what autograd keeps is far smaller."""
    memory = SlotMemory(50, 2, 5.0, generator(0), CPU)
    x = torch.randn(4, 64, 20, 100, generator=generator(1))
    if slots_from == "features":
        memory = FittedSlots(50, 2, 5.0, CPU)
        memory.fit(x[:1, :, :2], generator(0))
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        memory.read(x).sum().backward()
    assert max(kept) <= 4 * 32 * 2000 * (2 + 1)  # reads, with the channel that carries the slots' norms
    assert torch.isfinite(memory.slots.grad).all() and memory.slots.grad.any()


def test_the_regulariser_works_but_in_the_published_code():
    drifts = {c: [entry["drift"].item() for entry in learn(build(c))] for c in (AugMem, AugMemPublished)}
    assert set(drifts[AugMemPublished]) == {0.0}
    assert set(drifts[AugMem][:6]) == {0.0}, "up to the first step of the second task"
    assert min(drifts[AugMem][6:10]) > 0


def test_it_holds_the_slots():
    free, held = (build(AugMem, regulariser_weight=c) for c in (0.0, 50.0))
    for agent in (free, held):
        learn(agent, tasks=(0,))
        agent.start = agent.memory.slots.detach().clone()
        learn(agent, tasks=(1,))
    moved = [((a.memory.slots - a.start).norm(dim=1) * a.used).sum().item() for a in (free, held)]
    assert moved[1] < 0.5 * moved[0]


@pytest.mark.parametrize(("agent_class", "taught"), [(AugMem, "mem"), (AugMemPublished, "direct")])
def test_distillation_teaches_one_output(agent_class, taught):
    agent = build(agent_class)
    agent.begin_task(info(0))
    mem, direct = (torch.ones(2, K, requires_grad=True) for _ in range(2))
    agent.distil(mem, direct).backward()
    assert (mem.grad is not None, direct.grad is not None) == (taught == "mem", taught == "direct")


def test_replay_distillation_changes_what_is_learned_but_in_the_published_code():
    def after(agent_class, weight):
        agent = build(agent_class)
        learn(agent, tasks=(0,))
        agent.config = replace(agent.config, distillation_weight=weight)
        agent.replay([0, 1], 6, torch.Size((D, SIDE, SIDE)))
        return agent.network.plastic[4].weight

    assert torch.equal(after(AugMemPublished, 0.0), after(AugMemPublished, 1.0))
    assert not torch.equal(after(AugMem, 0.0), after(AugMem, 1.0))


@pytest.mark.parametrize("herding", [False, True])
def test_the_store_keeps_its_budget_but_in_the_published_code(herding):
    sizes = {}
    for agent_class in (AugMem, AugMemPublished):
        agent = build(agent_class, herding=herding)
        sizes[agent_class] = [learn(agent, (index,)) and list(agent.store.sizes) for index in range(3)]
    budget = [[6, 6, 0, 0, 0, 0, 0], [3, 3, 3, 3, 0, 0, 0], [2, 2, 2, 2, 2, 2, 0]]
    untrimmed = [[6, 6, 0, 0, 0, 0, 0], [6, 6, 3, 3, 0, 0, 0], [6, 6, 3, 3, 2, 2, 0]]
    assert sizes[AugMem] == budget
    assert sizes[AugMemPublished] == (budget if herding else untrimmed)


def test_core50_of_the_published_code_keeps_456_images():
    store = SlotStore(10, torch.Generator(), CPU)
    for task in range(5):
        share = 200 // (2 * task + 2)
        rows = torch.zeros(share, 4, dtype=torch.uint8), torch.zeros(share, 10)
        store.update({2 * task: rows, 2 * task + 1: rows}, slice(None))
    assert len(store) == 456


def test_a_herd_follows_the_mean():
    """Directions in the plane, their mean at 0: the nearest to it, then the one that balances that, and so on."""
    angles = torch.tensor([0.9, 0.1, -0.7, -0.2, -0.1])
    rows = herd(torch.stack([angles.cos(), angles.sin()], 1), 9, whole_norm=False).tolist()
    assert rows[:2] in ([1, 4], [4, 1])
    assert sorted(rows) == [0, 1, 2, 3, 4]


def test_the_second_task_of_the_published_code_sets_the_learning_rate():
    published, corrected = build(AugMemPublished, lr=0.0002), build(AugMem, lr=0.0002)
    rates = {}
    for agent in (published, corrected):
        rates[agent] = [
            learn(agent, (i,)) and {g["lr"] for g in agent.optimizer.param_groups} for i in range(3)
        ]
    assert rates[published] == [{0.0002}, {0.001}, {0.001}]
    assert rates[corrected] == [{0.0002}] * 3


@BOTH
def test_classes_of_the_batch_are_not_replayed(agent_class):
    agent = build(agent_class)
    learn(agent, tasks=(0, 1))
    asked = []
    agent.replay = lambda labels, count, shape: asked.append((labels, count)) or torch.tensor(0.0)
    x, _ = task_data(1)
    agent.begin_task(info(1))
    agent.observe(x[:5], torch.tensor([3, 3, 0, 3, 3]))
    agent.observe(x[:4], torch.tensor([0, 1, 2, 3]))
    assert asked == [([1, 2], 5)]


def test_memory_is_slots_anchor_flags_and_rows():
    agent = build(AugMem)
    empty = 2 * SLOTS * WIDTH * 4 + SLOTS + K
    assert agent.memory_bytes() == empty
    learn(agent)
    assert agent.memory_bytes() == empty + 12 * (SIDE * SIDE * GROUPS + 4 * K)


def test_scores_are_those_of_reads_and_direct_ones_those_of_features():
    agent = learn_one()
    x, _ = task_data(0, 4)
    assert torch.equal(agent.predict(x), agent.network.plastic(agent.memory.read(x)))
    assert torch.equal(agent.direct_scores(x), agent.network.plastic(x))
    assert list(agent.predict_also(x)) == ["direct"]
    assert torch.equal(agent.predict_also(x)["direct"], agent.direct_scores(x))


def learn_one():
    agent = build(AugMem)
    learn(agent, tasks=(0,))
    return agent


@BOTH
def test_what_cannot_work_is_refused_at_birth(agent_class):
    with pytest.raises(InputError) as caught:
        build(agent_class, slot_width=4, memory_size=6)
    assert caught.value.problems == (
        "slot_width: expected a number that divides the 6 channels, got 4",
        "memory_size: expected at least 1 for each of 7 classes, got 6",
    )


def test_defaults_are_those_of_the_core50_script_but_for_what_fitted_slots_change():
    published, mended = (registry.get(name).Config() for name in ("augmem_published", "augmem"))
    for c in (published, mended):
        assert (c.slots, c.slot_width, c.sharpness, c.memory_size) == (100, 8, 5, 200)
        assert (c.replay_times, c.distillation_weight, c.momentum, c.weight_decay) == (1, 1, 0.9, 1e-4)
        assert (c.batch_size, c.epochs, c.epochs_of(0), c.epochs_of(1), c.herding) == (21, 1, 10, 1, False)
    assert (published.lr, published.lr_after_first, published.slots_from) == (1e-3, 0.001, "normal")
    assert (published.replay_weight, published.regulariser_weight) == (5, 1000)
    assert (mended.lr, mended.lr_after_first, mended.slots_from) == (3e-3, None, "features")
    assert (mended.replay_weight, mended.regulariser_weight) == (3, 100)


def test_a_regulariser_that_overshoots_is_noted_and_does_overshoot():
    """On the regulariser alone: below (1 + momentum) / lr a used slot returns to its anchor, above it flies off."""
    far = {}
    for weight in (180.0, 200.0):
        agent = build(AugMem, lr=0.01, weight_decay=0.0, regulariser_weight=weight)
        assert bool(agent.config.notes()) == (weight > 190)
        agent.used[0] = True
        with torch.no_grad():
            agent.memory.slots[0] += 1e-9
        for _ in range(400):
            drift = (agent.memory.slots - agent.anchor).square().sum(1) @ agent.used.float()
            agent.step(weight * drift + 0 * agent.theta.sum())
        far[weight] = (agent.memory.slots - agent.anchor).norm().item()
    assert far[180.0] < 1e-9 < far[200.0]
    assert not build(AugMemPublished, lr=0.01, regulariser_weight=200.0).config.notes()


def test_stored_scores_are_those_without_dropout():
    head = nn.Sequential(Dropout(0.5, 0, CPU), nn.Flatten(), nn.Linear(D * SIDE * SIDE, K))
    config = AugMem.Config.from_settings(SMALL)
    agent = AugMem(Problem(K, (D, SIDE, SIDE)), config, Network(nn.Identity(), head), seed=0, device=CPU)
    x, _ = task_data(0, 1)
    agent.end_task(info(0), Batches(x, torch.tensor([0])))
    assert agent.network.plastic.training
    agent.network.eval()
    assert torch.equal(agent.store.of(0)[1], agent.direct_scores(x))


@pytest.mark.parametrize(("name", "shape"), [("squeezenet", (512, 13, 13)), ("mobilenet", (64, 14, 14))])
def test_both_published_trunks_learn_by_default_settings(name, shape):
    network, _ = networks.build(name, 4, cut=AugMem.cut, pretrained=False, seed=0, device=CPU)
    agent = AugMem(Problem(4, shape), AugMem.Config(), network, seed=0, device=CPU)
    x = torch.rand(4, *shape, generator=torch.Generator().manual_seed(0))
    agent.observe(x[:2], torch.tensor([0, 1]))
    agent.end_task(info(0), Batches(x[:2], torch.tensor([0, 1])))
    logged = agent.observe(x[2:], torch.tensor([2, 3]))
    assert set(logged) == {"loss", "drift", "replay_loss"}
    assert all(torch.isfinite(value) for value in logged.values())
