"""Checks of the agent contract (`agents.base`); a failure says what was expected, what came and what to do.

A check takes an agent class, lets it learn the problem of `toy.py`, and raises `ContractFailure`. `lethe check` runs
all checks on any agent, and the tests run them on every registered one.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lethe.agents.base import Agent
from lethe.agents.contract import learning, state
from lethe.agents.contract.probes import ContractFailure, told
from lethe.common.imports import RAISED

Check = Callable[[type[Agent]], None]

CHECKS: dict[str, Check] = {
    check.__name__: check
    for check in (
        learning.config,
        learning.runs,
        learning.logs,
        learning.scores,
        learning.further_scores,
        learning.short_batches,
        learning.judged_alone,
        learning.learns,
        learning.needs_declared,
        learning.needs_used,
        learning.data_alone,
        state.state_saved,
        state.predict_pure,
        state.prepare_pure,
        state.same_seed,
        state.global_random,
        state.resumes,
        state.memory_counted,
        state.memory_budget,
    )
}
"""All checks by name; the first line of each one's docstring is its promise."""

PRESUPPOSED = {"config", "runs", "scores", "short_batches", "state_saved", "same_seed", "memory_counted"}
"""Checks that later checks depend on; the first failure stops the sequence."""


OF_SAVED_STATE = {"state_saved", "resumes"}
"""The checks of `state_dict` itself, which an agent with `resumable = False` need not have."""


@dataclass(frozen=True)
class Verdict:
    """Result of a check: it holds, it fails, or it was skipped."""

    check: str
    failure: str | None = None
    """The failure; None where the check holds."""
    skipped: str | None = None
    """Why it was not run; None if it was."""


def verdicts(agent_class: type[Agent]) -> Iterator[Verdict]:
    """The verdict of each check; up to a failure that ends the matter."""
    for name, check in CHECKS.items():
        if name in OF_SAVED_STATE and not agent_class.resumable:
            yield Verdict(name, skipped="resumable is False: an interrupted run begins anew")
            continue
        failure = _failure(check, agent_class)
        yield Verdict(name, failure)
        if failure is not None and name in PRESUPPOSED:
            return


def _failure(check: Check, agent_class: type[Agent]) -> str | None:
    try:
        check(agent_class)
    except ContractFailure as failure:
        return str(failure)
    except RAISED as error:  # whatever an agent's code can raise
        return f"expected no exception; got {told(error)}"
    return None
