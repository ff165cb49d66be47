"""The upper bound goes on from task to task, or begins anew at each."""

from dataclasses import dataclass

import pytest
import torch

from lethe.agents.base import Problem, TaskInfo
from lethe.agents.card import Setting
from lethe.agents.config import setting
from lethe.agents.contract.checks import CHECKS
from lethe.agents.contract.probes import bits, kept_bytes
from lethe.agents.contract.state import resumes
from lethe.agents.contract.toy import CPU, build, learn
from lethe.agents.networks import build as networks
from lethe.agents.offline import Offline, OfflineConfig
from lethe.benchmarks.records import checkpoint


@dataclass(frozen=True)
class RetrainedConfig(OfflineConfig):
    retrain: bool = setting(True, "Begin anew at each task.")


class Retrained(Offline):
    Config = RetrainedConfig


def squeezenet(retrain):
    """An agent on a network with dropout, whose random numbers count as well."""
    network, _ = networks.build("squeezenet", 4, cut="head", pretrained=False, seed=0, device=CPU)
    config = OfflineConfig(retrain=retrain, lr=0.1)
    return Offline(Problem(4, (512, 3, 3)), config, network, seed=0, device=CPU)


def taught(agent, tasks):
    """Give an agent the cumulative data of these tasks."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, 20, 512, 3, 3, generator=generator)
    y = torch.tensor([3, 2, 1, 0]).repeat_interleave(5)  # old labels come last: until then they are not known
    for task in tasks:
        agent.begin_task(TaskInfo(task, tuple(range(2 * task + 2))))
        for inputs, labels in zip(x[task].split(10), y.split(10), strict=True):
            agent.observe(inputs, labels % (2 * task + 2))
    return bits(agent.state_dict())


def test_retrained_it_is_at_each_task_a_new_agent_with_all_the_data():
    assert taught(squeezenet(True), (0, 1)) == taught(squeezenet(True), (1,))


def test_otherwise_it_goes_on():
    assert taught(squeezenet(False), (0, 1)) != taught(squeezenet(False), (1,))
    agent = squeezenet(False)
    taught(agent, (0,))
    before = bits(agent.state_dict())
    agent.begin_task(TaskInfo(1, (0, 1, 2, 3)))
    assert bits(agent.state_dict()) == before


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_retrained_it_keeps_the_contract(check):
    check(Retrained)


def test_restored_from_a_file_it_goes_on_to_the_bit_and_returns_to_the_same_initial_weights(tmp_path):
    def through_a_file(state):
        checkpoint.save(tmp_path / "state.safetensors", state)
        return checkpoint.load(tmp_path / "state.safetensors")

    resumes(Retrained, carry=through_a_file)


def test_the_initial_weights_are_counted_as_memory():
    agent = build(Retrained)
    learn(agent)
    s = Setting(agent.network.plastic, agent.problem.input_shape, 192, (2, 2), 40)
    formula = Offline.card.memory(agent.config, s)
    assert agent.memory_bytes() == kept_bytes(agent) == formula
    assert formula == build(Offline).memory_bytes() + s.copy
