"""What agents work out at the end of a task, they work out without dropout; then they go on learning with it."""

import pytest
import torch
from torch import nn

from lethe.agents import registry
from lethe.agents.base import Network, TaskInfo
from lethe.agents.contract.toy import CPU, PROBLEM, Batches, TinyNet, batch
from lethe.agents.networks.layers import Dropout


def after_a_task(name, p):
    """An agent after a task in which its network did not move, with dropout of `p` before its head."""
    plastic = TinyNet()
    plastic.body.append(Dropout(p, seed=0, device=CPU))
    agent_class = registry.get(name)
    agent = agent_class(PROBLEM, agent_class.Config(), Network(nn.Identity(), plastic), seed=0, device=CPU)
    agent.seen[:] = True
    agent.network.train()
    agent.end_task(TaskInfo(0, (0, 1, 2, 3)), Batches(*batch([0, 1, 2, 3] * 10, seed=1)))
    return agent


@pytest.mark.parametrize("name", ["ewc", "ewc_online", "mas"])
def test_importance_is_that_of_the_network_without_dropout(name):
    with_, without = after_a_task(name, 0.5), after_a_task(name, 0.0)
    assert without.importance.max() > 0
    torch.testing.assert_close(with_.importance, without.importance)


def test_exemplars_are_chosen_and_averaged_without_dropout():
    with_, without = after_a_task("icarl", 0.5), after_a_task("icarl", 0.0)
    assert torch.equal(with_.buffer["inputs"], without.buffer["inputs"])
    torch.testing.assert_close(with_.means, without.means)


@pytest.mark.parametrize("name", ["ewc", "ewc_online", "mas", "icarl", "si", "l2", "lwf"])
def test_learning_goes_on_with_dropout(name):
    assert all(module.training for module in after_a_task(name, 0.5).network.plastic.modules())
