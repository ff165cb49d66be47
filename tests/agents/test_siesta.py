"""SIESTA: rows against means by hand, GRASP's order against a plain loop, a sleep against PyTorch's optimiser."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lethe.agents.base import Network, Problem, TaskInfo
from lethe.agents.contract.toy import CPU, Batches
from lethe.agents.networks.quantised import quantised
from lethe.agents.parts import product_quantiser
from lethe.agents.parts.rehearsal import rehearsed
from lethe.agents.remind import REMIND
from lethe.agents.siesta import SIESTA, one_cycle
from lethe.common.errors import InputError

C, SIDE, K, D = 12, 5, 4, 6


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def batch(labels, seed=0):
    """Maps whose class is the channel that is high."""
    x = 0.3 * torch.randn(len(labels), C, SIDE, SIDE, generator=generator(seed))
    x[torch.arange(len(labels)), labels] += 2
    return x, torch.tensor(labels)


def layers():
    made = nn.Sequential(nn.Flatten(), nn.Linear(C * SIDE * SIDE, D), nn.ReLU(), nn.Linear(D, K))
    with torch.no_grad():
        for number, p in enumerate(made.parameters()):
            p.copy_(0.1 * torch.randn(p.shape, generator=generator(number)))
        made[1].bias.add_(0.5)
    return made


def build(agent_class=SIESTA, network=None, shape=(C, SIDE, SIDE), **settings):
    config = agent_class.Config.from_settings({"codebooks": 4, "lr": 0.02, **settings})
    network = network or Network(nn.Identity(), layers())
    return agent_class(Problem(K, shape), config, network, seed=0, device=CPU)


def started(**settings):
    """An agent after base initialisation on classes 0 and 1."""
    agent = build(**{"sleep_every": 1000, **settings})
    x, y = batch([0, 1] * 20)
    for low in range(0, 40, 10):
        agent.observe(x[low : low + 10], y[low : low + 10])
    agent.end_task(TaskInfo(0, (0, 1)), Batches(x, y))
    return agent


def unit_features(agent, x):
    """z / |z| of maps that were quantised, in NumPy's float64."""
    coded = product_quantiser.decode(product_quantiser.encode(x, agent.centroids), agent.centroids)
    with torch.no_grad():
        z = agent.network.plastic[:3](coded).double().numpy()
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def test_awake_rows_are_running_means_of_unit_features_and_nothing_else_learns():
    agent = started()
    assert agent.counts.tolist() == [20, 20, 0, 0]
    before, rows = (
        copy.deepcopy(agent.network.plastic.state_dict()),
        agent.head.rows.detach().double().numpy(),
    )
    torch.testing.assert_close(agent.head.rows.norm(dim=1), torch.ones(K))
    x, y = batch([2, 3, 2, 2, 0, 3, 2], seed=3)
    z = unit_features(agent, x)
    for part in (slice(0, 1), slice(1, 5), slice(5, 7)):
        agent.observe(x[part], y[part])
    expected = [(20 * rows[0] + z[4]) / 21, rows[1], z[[0, 2, 3, 6]].mean(0), z[[1, 5]].mean(0)]
    np.testing.assert_allclose(agent.head.rows.detach().numpy(), expected, atol=1e-6)
    assert agent.counts.tolist() == [21, 20, 4, 2]
    after = agent.network.plastic.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert len(agent.memory) == 47 and agent.awake == 7


def test_scores_are_scaled_cosines_of_quantised_maps():
    agent = started()
    x, _ = batch([0, 1, 2], seed=4)
    rows = agent.head.rows.detach().double().numpy()
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    expected = agent.head.scale.item() * unit_features(agent, x) @ rows.T
    np.testing.assert_allclose(agent.predict(x).detach().numpy(), expected, rtol=1e-4, atol=1e-5)


def test_without_base_initialisation_the_first_rows_are_means_too():
    agent, (x, y) = build(epochs_first_task=0), batch([0, 1, 1] * 10)
    agent.end_task(TaskInfo(0, (0, 1)), Batches(x, y))
    z = unit_features(agent, x)
    for label in (0, 1):
        mean = z[y.numpy() == label].mean(0)
        np.testing.assert_allclose(
            agent.head.rows[label].detach().numpy(), mean / np.linalg.norm(mean), atol=1e-5
        )
    assert agent.counts.tolist() == [10, 20, 0, 0]


def test_it_sleeps_when_enough_images_have_come():
    agent = started(sleep_every=10, sleep_steps=3, sleep_batch=8)
    slept = []
    for number in range(6):
        logged = agent.observe(*batch([2, 3, 2, 3], seed=number))
        slept.append("sleep_loss" in logged)
    assert slept == [False, False, True, False, False, True]
    torch.testing.assert_close(agent.head.rows.norm(dim=1), torch.ones(K))


@pytest.mark.parametrize("policy", ["uniform", "grasp"])
def test_a_sleep_is_plain_sgd_on_the_codes_drawn(policy):
    agent = started(policy=policy, sleep_every=12, sleep_steps=3, sleep_batch=5)
    agent.observe(*batch([2, 3] * 6, seed=8))  # a sleep, whose momentum is forgotten
    x, y = batch([2, 3] * 6, seed=1)
    agent.observe(x[:11], y[:11])
    twin = copy.deepcopy(agent)
    agent.observe(x[11:], y[11:])

    twin.awake = -1  # so that it stays awake
    twin.observe(x[11:], y[11:])
    count = len(twin.memory)
    codes, labels = twin.memory.take(torch.arange(count))
    maps, distances = product_quantiser.decode(codes, twin.centroids), None
    body, head = twin.network.plastic[:3], twin.head
    if policy == "grasp":
        z = body(maps).detach()
        means = torch.stack([z[labels == label].mean(0) for label in range(4)])
        distances = 1 - F.cosine_similarity(z, means[labels])
    rows = rehearsed(labels, 15, twin.generator, distances)
    parameters = [*body.parameters(), *head.parameters()]
    oracle = torch.optim.SGD(parameters, lr=1, momentum=0.9, weight_decay=1e-5)
    for step in range(3):
        some = rows[5 * step : 5 * step + 5]
        for group in oracle.param_groups:
            group["lr"] = one_cycle(step, 3, 0.2)
        cosines = F.normalize(body(maps[some]), dim=1) @ F.normalize(head.rows, dim=1).T
        oracle.zero_grad()
        F.cross_entropy(head.scale * cosines, labels[some]).backward()
        oracle.step()
    torch.testing.assert_close(agent.head.rows, F.normalize(head.rows, dim=1), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(agent.head.scale, head.scale)
    for ours, theirs in zip(agent.network.plastic[:3].parameters(), body.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("steps", [2, 10, 33, 200])
def test_rates_of_a_sleep_are_pytorchs_one_cycle(steps):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1, momentum=0.9)
    oracle = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.2, total_steps=steps)
    for step in range(steps):
        expected = optimizer.param_groups[0]["lr"]
        assert one_cycle(step, steps, 0.2) == pytest.approx(expected, rel=1e-6, abs=1e-12)
        optimizer.step()
        if step < steps - 1:
            oracle.step()
    assert one_cycle(0, 1, 0.2) == pytest.approx(0.2)


def test_grasps_order_is_that_of_a_plain_loop():
    labels = torch.tensor([5, 2, 5, 5, 2, 7, 5])
    distances = torch.tensor([0.3, 0.1, 0.05, 0.6, 0.4, 0.2, 0.0])
    found = rehearsed(labels, 50, generator(3), distances).tolist()

    draws = generator(3)
    order = torch.rand(17, 3, generator=draws).argsort(1).tolist()
    u = torch.rand(17, 3, dtype=torch.float64, generator=draws).tolist()
    members = [[i for i, label in enumerate(labels.tolist()) if label == k] for k in (2, 5, 7)]
    d = [[float(distances[i].double()) for i in rows] for rows in members]
    expected = []
    for turn in range(17):
        chosen = []
        for k, rows in enumerate(members):
            weights = [1 / (value + 1e-7) for value in d[k]]
            reach, place = weights[0], 0
            while reach <= u[turn][k] * sum(weights) and place < len(rows) - 1:
                place += 1
                reach += weights[place]
            d[k][place] += max(d[k])
            chosen.append(rows[place])
        expected += [chosen[k] for k in order[turn]]
    assert found == expected[:50]


def test_grasp_begins_with_easy_images_and_comes_to_all():
    n = 40
    distances = torch.linspace(0.01, 1, n)
    early, late = [], []
    for seed in range(200):
        rows = rehearsed(torch.zeros(n, dtype=torch.int64), 4 * n, generator(seed), distances)
        early.append(distances[rows[:4]].mean())
        late.append(distances[rows[-4:]].mean())
    assert torch.stack(early).mean() < 0.5 * torch.stack(late).mean()


def test_uniform_draws_are_balanced_over_classes_and_even_within():
    labels = torch.tensor([0] * 30 + [3] * 3)
    rows = rehearsed(labels, 6000, generator(), None)
    counts = torch.bincount(rows, minlength=33).double()
    assert counts[:30].sum() == counts[30:].sum() == 3000
    expected = torch.tensor([100.0] * 30 + [1000.0] * 3)
    assert ((counts - expected) ** 2 / expected).sum() < 60, "chi-square with 31 degrees of freedom"


def test_base_initialisation_is_that_of_remind():
    """The same codebooks and codes from the same maps, with as many passes and draws."""
    x, y = batch([0, 1] * 20)
    agents = [build(kind, epochs_first_task=0) for kind in (SIESTA, REMIND)]
    for agent in agents:
        agent.end_task(TaskInfo(0, (0, 1)), Batches(x, y))
    ours, theirs = agents
    assert torch.equal(ours.centroids, theirs.centroids)
    rows = torch.arange(40)
    assert torch.equal(ours.memory.take(rows)[0], theirs.memory.take(rows)[0])
    assert torch.equal(ours.memory.labels, y)


def test_codes_that_are_given_are_used_as_they_are():
    x, y = batch([0, 1] * 20)
    ours = build(epochs_first_task=0, sleep_every=10, sleep_steps=2)
    ours.end_task(TaskInfo(0, (0, 1)), Batches(x, y))
    network = quantised(Network(nn.Sequential(nn.Identity()), layers()), ours.centroids)
    given = build(network=network, shape=(4, SIDE, SIDE), epochs_first_task=0, sleep_every=10, sleep_steps=2)
    codes = network.frozen(x)
    given.end_task(TaskInfo(0, (0, 1)), Batches(codes, y))
    x, y = batch([2, 3] * 5, seed=1)
    ours.observe(x, y)
    given.observe(network.frozen(x), y)
    x, _ = batch([0, 1, 2, 3], seed=2)
    torch.testing.assert_close(ours.predict(x), given.predict(network.frozen(x)))


@pytest.mark.parametrize("policy", ["uniform", "grasp"])
def test_it_learns_new_classes_and_keeps_the_old(policy):
    agent = started(policy=policy, sleep_every=20, sleep_steps=10, sleep_batch=16)
    for seed in range(4):
        agent.observe(*batch([2, 3] * 10, seed=seed))
    x, y = batch([0, 1, 2, 3] * 10, seed=9)
    assert (agent.predict(x).argmax(1) == y).float().mean() > 0.9


def test_other_optimisers_are_refused():
    with pytest.raises(InputError, match="SIESTA sets the rate of each step of a sleep"):
        build(optimizer="adam")
