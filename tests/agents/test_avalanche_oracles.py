"""Importances and losses against avalanche-lib's, where both define the same thing.

Marked slow: importing avalanche takes seconds. What differs by definition is set so that it does not matter,
and said.
"""

import copy
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from lethe.agents.contract.toy import Batches, TinyNet, batch, build
from lethe.agents.ewc import squared_gradients
from lethe.agents.ewc_online import EWCOnline
from lethe.agents.lwf import distillation
from lethe.agents.mas import absolute_gradients
from lethe.agents.si import SI
from tests.agents.vectors import by_name

pytestmark = pytest.mark.slow
ALL = torch.ones(4, dtype=torch.bool)  # avalanche has no notion of labels that were not seen yet


def triples(x, y):
    """A data set as avalanche reads it: input, label, task."""
    return [(image, label, 0) for image, label in zip(x, y, strict=True)]


def same(ours, theirs, rtol=1e-4, atol=1e-7):
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        other = value.data.view(ours[name].shape)
        assert other.abs().max() > 0
        torch.testing.assert_close(ours[name], other, rtol=rtol, atol=atol)


def test_ewc_squared_gradients():
    """One image a batch, where the square of a batch's gradient is that of an image; given labels."""
    from avalanche.training.plugins import EWCPlugin

    module, (x, y) = TinyNet(), batch([0, 1, 3, 2, 0], seed=1)
    sgd = torch.optim.SGD(module.parameters(), lr=0.1)
    theirs = EWCPlugin(1.0).compute_importances(module, F.cross_entropy, sgd, triples(x, y), "cpu", 1)
    ours = {name: g / len(y) for name, g in squared_gradients(module, x, y, ALL).items()}
    same(ours, theirs)


def test_online_ewc_decay():
    from avalanche.training.plugins import EWCPlugin
    from avalanche.training.utils import ParamData

    plugin, agent = EWCPlugin(1.0, mode="online", decay_factor=0.7), build(EWCOnline, decay=0.7)
    for task, labels in enumerate([[0, 1], [2, 3], [0, 3]]):
        x, y = batch(labels * 10, seed=task)
        agent.observe(x, y)
        state = agent.generator.get_state()
        fisher = by_name(agent, agent.fisher(Batches(x, y)))
        agent.generator.set_state(state)  # so that the same labels are drawn again
        agent.end_task(None, Batches(x, y))
        plugin.update_importances({n: ParamData(n, init_tensor=f) for n, f in fisher.items()}, task)
        same(by_name(agent, agent.importance), plugin.importances[task])


def test_mas_sensitivity():
    """One image a batch, where the absolute gradient of a batch is that of an image."""
    from avalanche.training.plugins import MASPlugin

    module, (x, y) = TinyNet(), batch([0, 1, 3, 2, 0], seed=1)
    strategy = SimpleNamespace(
        model=module,
        experience=SimpleNamespace(dataset=triples(x, y)),
        train_mb_size=1,
        device="cpu",
        optimizer=torch.optim.SGD(module.parameters(), lr=0.1),
    )
    theirs = MASPlugin()._get_importance(strategy)
    ours = {name: g / len(x) for name, g in absolute_gradients(module, x, ALL).items()}
    same(ours, theirs, atol=1e-5)


def test_si_path_and_importance():
    """Without penalty, since avalanche integrates the gradient of the loss and the penalty; of each task what
    it adds, clipped at 0 here, since avalanche clips from above."""
    from avalanche.training.plugins import SynapticIntelligencePlugin as Plugin

    agent = build(SI, penalty_weight=0.0, damping=0.01)
    module, ewc_data = agent.network.plastic, ({}, {})
    kinds = ("old_theta", "new_theta", "grad", "trajectory", "cum_trajectory")
    syn_data = {kind: {} for kind in kinds}
    total = by_name(agent, torch.zeros_like(agent.theta))
    negative = 0
    for task, labels in enumerate([[0, 1], [2, 3], [0, 3]]):
        Plugin.create_syn_data(module, ewc_data, syn_data, set())
        # Copies: the plugin keeps views of the parameters, which on the CPU a step changes in place, so that
        # it sees no change at all.
        Plugin.init_batch(copy.deepcopy(module), ewc_data, syn_data, set())
        before = {name: data.data.clone() for name, data in syn_data["cum_trajectory"].items()}
        for step in range(5):
            Plugin.pre_update(copy.deepcopy(module), syn_data, set())
            agent.observe(*batch(labels * 5, seed=10 * task + step))
            Plugin.post_update(module, syn_data, set())
        same(by_name(agent, -agent.path), syn_data["trajectory"], rtol=1e-3, atol=1e-8)
        Plugin.update_ewc_data(module, ewc_data, syn_data, float("inf"), set(), c=1, eps=0.01)
        for name, data in syn_data["cum_trajectory"].items():
            added = -(data.data - before[name]).view(total[name].shape)
            negative += (added < 0).sum().item()
            total[name] += added.clamp(min=0)
        agent.end_task(None, None)
        same(by_name(agent, agent.importance), total, rtol=1e-3)
    assert negative


def test_lwf_loss():
    from avalanche.training import LearningWithoutForgetting

    x, _ = batch([0, 1, 3, 2, 0], seed=1)
    old, new = TinyNet(seed=1), TinyNet(seed=2)
    theirs = LearningWithoutForgetting(alpha=1, temperature=2)
    theirs.prev_model = old
    theirs.prev_classes_by_task[0] = {0, 1, 3}
    scores, labels = new(x), torch.tensor([0, 1, 3])
    oracle = theirs(x, scores, new)
    ours = distillation(scores[:, labels], old(x)[:, labels].detach(), 2.0)
    torch.testing.assert_close(ours, oracle)
    gradients = (torch.autograd.grad(loss, scores, retain_graph=True)[0] for loss in (ours, oracle))
    torch.testing.assert_close(*gradients)
