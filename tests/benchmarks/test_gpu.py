"""The same runs on a CUDA device: they learn as on the CPU."""

import pytest

from lethe.agents import registry
from lethe.benchmarks.run.experiment import Machine, Places, run
from lethe.benchmarks.run.trial import Trial


@pytest.mark.gpu
@pytest.mark.parametrize("agent", sorted(registry.AGENTS))
def test_an_agent_learns_on_cuda_about_what_it_learns_on_the_cpu(agent, tmp_path):
    config = registry.get(agent).Config.__dataclass_fields__
    settings = {"lr": 0.003} if "lr" in config and agent != "augmem" else {}
    trial = Trial.create("digits", "iid", agent, settings)
    last = {}
    for device in ("cpu", "cuda"):
        places = Places(tmp_path / device, tmp_path / "data", tmp_path / "lists")
        last[device] = run(trial, 0, places, Machine(device))["metrics"]["accuracy_last"]
    assert abs(last["cuda"] - last["cpu"]) < 10, last
