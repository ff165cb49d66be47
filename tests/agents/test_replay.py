"""Replay agents against their formulas, their solvers against brute force, and all of them against forgetting."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lethe.agents import registry
from lethe.agents.agem import AGEM, without_conflict
from lethe.agents.base import TaskInfo, UndeclaredTaskData
from lethe.agents.contract.toy import CPU, Batches, batch, build
from lethe.agents.derpp import DERpp
from lethe.agents.er import ER, ERConfig
from lethe.agents.finetune import Finetune
from lethe.agents.gem import GEM, dual
from lethe.agents.parts.buffers import BalancedBuffer, EpisodicMemory
from lethe.common.errors import InputError
from tests.agents.test_buffers import numbered


def flat(tensors):
    return torch.cat([t.reshape(-1) for t in tensors])


# The balanced buffer: equal shares, uniform within each.


def balanced(capacity, labels, seed, size=7):
    """A buffer that was offered inputs numbered in their order, with these labels."""
    buffer = BalancedBuffer(capacity, torch.Generator().manual_seed(seed), CPU)
    x, _ = numbered(0, len(labels))
    for part, y in zip(x.split(size), torch.tensor(labels).split(size), strict=True):
        buffer.add(part, y)
    return buffer


def test_labels_have_equal_shares_and_what_a_rare_one_leaves_goes_to_the_others():
    labels = [0] * 200 + [2] * 3 + [1] * 50 + [3] * 100
    x, y = balanced(20, labels, seed=0).sample(20)
    assert y.bincount().tolist() == [6, 6, 3, 5]
    assert [labels[int(number)] for number in x[:, 0]] == y.tolist(), "inputs stay with their labels"
    assert len(set(x[:, 0].tolist())) == 20


def test_the_balanced_buffer_keeps_all_while_there_is_room_and_never_more_than_its_budget():
    buffer = BalancedBuffer(10, torch.Generator().manual_seed(0), CPU)
    for low in range(0, 60, 4):
        x, y = numbered(low, low + 4)
        buffer.add(x, y % 3)
        assert len(buffer) == min(low + 4, 10)
        if len(buffer) < 10:
            assert set(buffer.sample(10)[0][:, 0].tolist()) == set(range(low + 4))
    assert buffer.memory_bytes() == 10 * (4 + 8 + 8), "a float input, its label and its key"


def test_every_input_of_a_label_is_kept_with_the_same_probability():
    """Chi-square over 2 labels of 20 inputs, 800 fillings: 38 degrees of freedom, 99.99 % quantile 79.3."""
    labels, fillings, counts = [0] * 20 + [1] * 20, 800, torch.zeros(40)
    for seed in range(fillings):
        counts[balanced(10, labels, seed, size=15).sample(10)[0][:, 0].long()] += 1
    expected = fillings * 5 / 20
    chi_square = ((counts - expected) ** 2 / (expected * (1 - 5 / 20))).sum() * 19 / 20
    assert 12 < chi_square < 79.3


def test_a_restored_balanced_buffer_goes_on_to_the_bit():
    buffer, twin = balanced(10, [0, 1, 2] * 20, seed=4), BalancedBuffer(10, torch.Generator(), CPU)
    twin.load_state_dict(buffer.state_dict())
    twin.generator.set_state(buffer.generator.get_state())
    for each in (buffer, twin):
        each.add(*numbered(100, 150))
    assert torch.equal(buffer.sample(10)[0], twin.sample(10)[0])


@pytest.mark.parametrize("buffer", ["reservoir", "balanced"])
def test_an_er_step_is_on_the_batch_and_its_replay_and_stores_the_batch_alone(buffer):
    agent = build(ER, buffer=buffer, replay_images=7, momentum=0.0, weight_decay=0.0)
    for step in range(3):
        agent.observe(*batch([0, 1, 3], seed=step))
    x, y = batch([0, 1], seed=9)
    state, before = agent.generator.get_state(), agent.theta.clone()
    old_x, old_y = agent.buffer.sample(7)
    assert len(old_y) == 7
    columns = [0, 1, 3]  # the labels that came by
    labels = torch.tensor([columns.index(label) for label in [*y.tolist(), *old_y.tolist()]])
    loss = F.cross_entropy(agent.network.plastic(torch.cat([x, old_x]))[:, columns], labels)
    parameters = list(agent.network.plastic.parameters())
    gradient = flat(torch.autograd.grad(loss, parameters))
    agent.generator.set_state(state)
    torch.testing.assert_close(agent.observe(x, y)["loss"], loss.detach())
    torch.testing.assert_close(before - agent.theta, agent.config.lr * gradient, rtol=1e-4, atol=1e-6)
    offered = torch.cat([batch([0, 1, 3], seed=step)[0] for step in range(3)] + [x])
    stored = agent.buffer.sample(100)[0]
    assert len(stored) == len(offered) == 11
    assert sorted(stored.flatten(1).tolist()) == sorted(offered.flatten(1).tolist())


def test_er_knows_both_buffers_and_names_the_nearest():
    assert ERConfig().buffer == "reservoir"
    assert type(build(registry.get("er"), buffer="balanced").buffer) is BalancedBuffer
    with pytest.raises(InputError, match="did you mean 'balanced'"):
        ERConfig.from_settings({"buffer": "balancd"})


def test_shares_of_fewer_images_than_classes_are_refused():
    with pytest.raises(InputError, match="memory_size: expected at least 4, one for each class, got 3: set"):
        build(registry.get("er"), buffer="balanced", memory_size=3)
    build(registry.get("er"), buffer="balanced", memory_size=4)
    build(registry.get("er"), buffer="reservoir", memory_size=3)  # a uniform sample may be of any size


# The episodic memory: equal shares of tasks.


def test_tasks_share_the_budget_at_every_moment_and_of_each_a_uniform_sample_is_kept():
    """Chi-square over 3 tasks of 30 inputs, 600 fillings: 87 degrees of freedom, 99.99 % quantile 143."""
    counts, fillings = torch.zeros(90), 600
    for seed in range(fillings):
        memory = EpisodicMemory(20, torch.Generator().manual_seed(seed), CPU)
        for task in range(3):
            if task:
                memory.next_task()
            for low in range(30 * task, 30 * task + 30, 15):
                memory.add(*numbered(low, low + 15))
                assert len(memory) <= 20
        memory.next_task()
        assert memory.sizes == [5, 5, 5]
        for task in range(3):
            _, numbers = memory.of_task(task, 20)
            assert (numbers // 30 == task).all()
            counts[numbers] += 1
    expected = fillings * 5 / 30
    chi_square = ((counts - expected) ** 2 / (expected * (1 - 5 / 30))).sum() * 29 / 30
    assert 40 < chi_square < 143


def test_a_restored_episodic_memory_goes_on_to_the_bit():
    memory, twin = (EpisodicMemory(10, torch.Generator().manual_seed(seed), CPU) for seed in (1, 2))
    memory.add(*numbered(0, 30))
    memory.next_task()
    memory.add(*numbered(30, 40))
    twin.load_state_dict(memory.state_dict())
    twin.generator.set_state(memory.generator.get_state())
    for each in (memory, twin):
        each.add(*numbered(40, 60))
        each.next_task()
        each.add(*numbered(60, 70))
    assert memory.sizes == twin.sizes == [3, 3]
    assert torch.equal(memory.sample(10)[1], twin.sample(10)[1])
    assert set(memory.sample_past(10)[1].tolist()).isdisjoint(range(60, 70))


# GEM.


def brute_force(gram, products, margin):
    """The least value of ½ vᵀAv + bᵀv over v >= margin: every choice of which bounds are met with equality."""
    count, best = len(gram), np.inf
    for bound in itertools.product([False, True], repeat=count):
        v, free = np.full(count, margin), ~np.array(bound)
        if free.any():
            right = -(products + margin * gram[:, ~free].sum(1))[free]
            v[free] = np.linalg.lstsq(gram[np.ix_(free, free)], right)[0]
        if (v >= margin - 1e-12).all():
            best = min(best, v @ gram @ v / 2 + products @ v)
    return best


@pytest.mark.parametrize("margin", [0.0, 0.5])
@pytest.mark.parametrize(("tasks", "parameters"), [(1, 5), (2, 5), (3, 20), (5, 8), (4, 2)])
def test_the_dual_is_solved_whatever_bounds_are_met(tasks, parameters, margin):
    """The last case has more memories than parameters: v is not unique, its value is."""
    for seed in range(40):
        random = np.random.RandomState(seed)
        memories = random.randn(tasks, parameters) * 10 ** random.uniform(-4, 2)
        memories[-1] += memories[0] * random.choice([0, 3, -3])
        proposed = random.randn(parameters)
        gram, products = memories @ memories.T, memories @ proposed
        v = dual(gram, products, margin)
        assert (v >= margin).all()
        value = v @ gram @ v / 2 + products @ v
        best = brute_force(gram, products, margin)
        assert value <= best + 1e-6 * (abs(best) + np.trace(gram) * margin + 1e-12)
        if margin == 0:
            scale = np.linalg.norm(memories, axis=1) * np.linalg.norm(proposed)
            assert (memories @ (memories.T @ v + proposed) >= -1e-4 * scale).all()


@pytest.mark.parametrize("margin", [0.0, 0.5])
def test_memories_without_a_gradient_are_given_the_margin(margin):
    np.testing.assert_allclose(dual(np.zeros((3, 3)), np.zeros(3), margin), np.full(3, margin), atol=1e-9)


def in_third_task(agent_class, **settings):
    """An agent with two earlier tasks in memory, at the beginning of a third."""
    agent = build(agent_class, **settings)
    for task, labels in enumerate([[0, 1], [2, 3], [1, 2]]):
        agent.begin_task(TaskInfo(task, tuple(labels)))
        for step in range(10):
            if task < 2:
                agent.observe(*batch(labels * 4, seed=step))
    return agent


def test_gem_steps_along_a_gradient_that_no_memory_objects_to():
    agent = in_third_task(GEM, margin=0.0)
    x, y = batch([0] * 10, seed=50)
    memories = torch.stack([agent.memory_gradient(task).clone() for task in range(2)])
    before = agent.gradient(F.cross_entropy(agent.network.plastic(x), y)).clone()
    assert (memories @ before).min() < 0
    after, conflicts = agent.projected(before)
    assert conflicts == (memories @ before < 0).sum()
    assert (memories @ after >= -1e-4 * memories.norm(dim=1) * after.norm()).all()
    v = dual((memories @ memories.T).double().numpy(), (memories @ before).double().numpy(), 0.0)
    torch.testing.assert_close(after, before + torch.from_numpy(v).float() @ memories, rtol=1e-3, atol=1e-5)


def test_the_gradient_of_a_memory_is_that_of_its_mean_loss_also_in_parts():
    agent = build(GEM)
    for step in range(25):
        agent.observe(*batch([0, 1] * 5, seed=step))
    agent.buffer.next_task()
    x, y = agent.buffer.of_task(0, 1000)
    assert len(y) == 250
    loss = F.cross_entropy(agent.network.plastic(x)[:, :2], y)
    whole = flat(torch.autograd.grad(loss, list(agent.network.plastic.parameters())))
    torch.testing.assert_close(agent.memory_gradient(0), whole, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("agent_class", [GEM, AGEM])
def test_without_conflicts_it_is_finetune_to_the_bit_and_with_them_it_is_not(agent_class):
    agent, plain = build(agent_class), build(Finetune)
    conflicts = [0.0, 0.0, 0.0]
    # The second task is like the first, the third its opposite.
    for task, swap in enumerate([False, False, True]):
        agent.begin_task(TaskInfo(task, (0, 1)))
        for step in range(5):
            x, y = batch([0, 1] * 5, seed=step)
            y = 1 - y if swap else y
            conflicts[task] += float(agent.observe(x, y)["conflicts"])
            plain.observe(x, y)
        same = torch.equal(flat(agent.network.parameters()), flat(plain.network.parameters()))
        assert same == (not swap)
    assert conflicts[:2] == [0, 0] and conflicts[2] > 0


@pytest.mark.parametrize("agent_class", [GEM, AGEM])
def test_a_memory_that_leaves_a_class_or_a_task_without_images_is_refused(agent_class):
    with pytest.raises(InputError, match="memory_size: expected at least 4, one for each class, got 3: set"):
        build(agent_class, memory_size=3)
    agent = build(agent_class, memory_size=4)
    for task in range(4):
        agent.begin_task(TaskInfo(task, (0, 1)))
        agent.observe(*batch([0, 1] * 5, seed=task))
    assert agent.buffer.sizes == [1, 1, 1]
    with pytest.raises(InputError, match="memory_size: expected at least 5, one for each task so far, got 4"):
        agent.begin_task(TaskInfo(4, (0, 1)))


# A-GEM.


def test_agem_projects_as_the_formula_says():
    generator, conflicts = torch.Generator().manual_seed(0), 0
    for _ in range(20):
        g, ref = torch.randn(2, 17, generator=generator)
        ours, conflict = without_conflict(g, ref)
        a, b = g.double().numpy(), ref.double().numpy()
        expected = a - min(a @ b, 0) / (b @ b) * b
        np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-4, atol=1e-6)
        assert ours.numpy() @ b >= -1e-5
        assert bool(conflict) == (a @ b < 0)
        assert bool(conflict) or torch.equal(ours, g)
        conflicts += bool(conflict)
    assert 0 < conflicts < 20


def test_agem_compares_with_a_batch_of_earlier_tasks_alone():
    agent = in_third_task(AGEM, replay_images=6)
    for step in range(3):
        agent.observe(*batch([1, 2] * 4, seed=20 + step))
    state = agent.generator.get_state()
    x, y = agent.buffer.sample_past(6)
    assert len(y) == 6
    parameters = list(agent.network.plastic.parameters())
    reference = flat(torch.autograd.grad(F.cross_entropy(agent.network.plastic(x), y), parameters))
    before = -2 * reference + 0.01 * reference.flip(0)  # a step that surely conflicts
    agent.generator.set_state(state)
    ours, conflict = agent.projected(before)
    assert conflict == 1
    torch.testing.assert_close(ours, without_conflict(before, reference)[0])


# DER++.


def test_derpp_keeps_the_scores_of_the_step_in_which_an_image_came():
    agent, expected = build(DERpp), []
    for step in range(3):
        x, y = batch([0, 1, 2], seed=step)
        expected.append(agent.network.plastic(x).detach())
        agent.observe(x, y)
    x, _, scores = agent.buffer.sample(100)
    torch.testing.assert_close(scores, torch.cat(expected))
    assert (agent.network.plastic(x) - scores).abs().max() > 0.01, "the network has moved on"


def test_derpp_learns_by_equation_6():
    agent = build(DERpp, alpha=0.7, beta=0.3, replay_images=4)
    for step in range(5):
        agent.observe(*batch([0, 1, 3], seed=step))
    x, y = batch([0, 1], seed=9)
    state = agent.generator.get_state()
    _, loss = agent.replayed_loss(x, y)
    agent.generator.set_state(state)
    x1, _, z1 = agent.buffer.sample(4)
    x2, y2, _ = agent.buffer.sample(4)
    assert not torch.equal(x1, x2)
    h, h1, h2 = (agent.network.plastic(part).detach().double().numpy() for part in (x, x1, x2))

    def cross_entropy(scores, labels):
        seen = scores[:, [0, 1, 3]]
        return (np.log(np.exp(seen).sum(1)) - scores[np.arange(len(labels)), labels]).mean()

    expected = cross_entropy(h, y.numpy()) + 0.3 * cross_entropy(h2, y2.numpy())
    expected += 0.7 * ((h1 - z1.double().numpy()) ** 2).mean()
    assert loss.item() == pytest.approx(expected, rel=1e-5)


# All of them.


def accuracy_after_two_tasks(name, seed, **settings):
    """Accuracy on four classes that came two by two; chance is 0.25, the last task alone 0.5."""
    agent = build(registry.get(name), seed=seed, **settings)
    for task in range(2):
        info = TaskInfo(task, tuple(range(2 * task + 2)))
        agent.begin_task(info)
        batches = [batch([2 * task, 2 * task + 1] * 5, seed=100 * task + step) for step in range(30)]
        for x, y in batches:
            agent.observe(x, y)
        data = Batches(*(torch.cat(column) for column in zip(*batches, strict=True)))
        agent.end_task(info, data if agent.needs.task_data else UndeclaredTaskData())
    x, y = batch([0, 1, 2, 3] * 25, seed=999)
    agent.network.eval()
    with torch.no_grad():
        return (agent.predict(x).argmax(1) == y).float().mean().item()


PLAIN = {"momentum": 0.0, "weight_decay": 0.0}  # what GEM and A-GEM constrain is then the step itself


@pytest.mark.parametrize(
    ("name", "settings", "shared", "margin"),
    [
        ("er", {}, {}, 0.4),
        ("er", {"buffer": "balanced", "memory_size": 20}, {}, 0.4),
        ("derpp", {}, {}, 0.4),
        ("icarl", {}, {}, 0.4),
        ("gem", {}, PLAIN, 0.3),
        ("agem", {}, {**PLAIN, "lr": 0.1}, 0.15),
    ],
)
def test_replay_beats_finetune_where_classes_come_task_by_task(name, settings, shared, margin):
    """Mean over three seeds, in parts of one; A-GEM is known to do little with one head for all labels."""
    ours = np.mean([accuracy_after_two_tasks(name, seed, **settings, **shared) for seed in range(3)])
    plain = np.mean([accuracy_after_two_tasks("finetune", seed, **shared) for seed in range(3)])
    assert ours > plain + margin
