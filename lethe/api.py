"""The Python API: streams, trials, trained agents, results in pandas; own arrays, networks and agents (docs/api.md).

Numbers are those of the command line, to the bit: a run depends on its trial and its number alone.
"""

from typing import Any

from lethe.agents import registry
from lethe.agents.base import Agent, Needs
from lethe.agents.config import Config, setting
from lethe.agents.contract import checks
from lethe.recorded import read_accuracies, read_confusions, read_results, record
from lethe.runs import Run, evaluate, learn, load, run, trial
from lethe.streams import stream, stream_of_arrays, stream_of_dataset

__all__ = [
    "Agent", "Config", "Needs", "Run", "check_agent", "evaluate", "learn", "load", "read_accuracies",
    "read_confusions", "read_results", "record", "run", "setting", "stream", "stream_of_arrays",
    "stream_of_dataset", "trial",
]  # fmt: skip


def check_agent(agent: str | type[Agent[Any]]) -> dict[str, str]:
    """The broken promises of `agent`: what fails and what to do, by check; empty where the contract is kept."""
    agent_class = registry.get(agent) if isinstance(agent, str) else agent
    return {found.check: found.failure for found in checks.verdicts(agent_class) if found.failure is not None}
