"""What every registered agent must keep to, whatever it learns by: each check of the contract on each agent."""

import pytest

from lethe.agents import registry
from lethe.agents.contract import toy
from lethe.agents.contract.checks import CHECKS
from lethe.agents.contract.probes import kept_bytes
from lethe.agents.contract.state import resumes
from lethe.benchmarks.records import checkpoint

AGENTS = sorted(registry.AGENTS)


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
@pytest.mark.parametrize("name", AGENTS)
def test_a_registered_agent_keeps_the_contract(name, check):
    check(registry.get(name))


@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_restored_from_a_file_goes_on_to_the_bit(name, tmp_path):
    def through_a_file(state):
        checkpoint.save(tmp_path / "state.safetensors", state)
        return checkpoint.load(tmp_path / "state.safetensors")

    resumes(registry.get(name), carry=through_a_file)


@pytest.mark.parametrize("name", AGENTS)
def test_memory_bytes_are_those_of_the_tensors_kept(name):
    agent = toy.build(registry.get(name))
    toy.learn(agent)
    assert agent.memory_bytes() == kept_bytes(agent) > 0
