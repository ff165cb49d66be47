"""What every agent must keep to, as checks that explain what is wrong.

A check takes an agent class, lets it learn the problem of `agents.toy`, and raises `ContractFailure` where the agent
breaks a promise of `agents.base`. `python -m agents check` runs all of them on any agent, and the tests run them on
every registered one.
"""

from collections.abc import Callable, Iterator

from agents import contract_learning as learning
from agents import contract_state as state
from agents.base import Agent
from agents.contract_probes import ContractFailure, told

Check = Callable[[type[Agent]], None]

CHECKS: dict[str, Check] = {
    check.__name__: check
    for check in (
        learning.config,
        learning.runs,
        learning.logs,
        learning.scores,
        learning.short_batches,
        learning.judged_alone,
        learning.learns,
        learning.needs_declared,
        learning.needs_used,
        state.state_saved,
        state.predict_pure,
        state.same_seed,
        state.global_random,
        state.resumes,
        state.memory_counted,
        state.memory_budget,
    )
}
"""All checks by name; the first line of each one's docstring is its promise."""

PRESUPPOSED = {"config", "runs", "scores", "short_batches", "state_saved", "same_seed", "memory_counted"}
"""The checks without which those after them say nothing."""


def verdicts(agent_class: type[Agent]) -> Iterator[tuple[str, str | None]]:
    """The name of each check and what it finds wrong, None for nothing; up to a failure that ends the matter."""
    for name, check in CHECKS.items():
        failure = _failure(check, agent_class)
        yield name, failure
        if failure is not None and name in PRESUPPOSED:
            return


def _failure(check: Check, agent_class: type[Agent]) -> str | None:
    try:
        check(agent_class)
    except ContractFailure as failure:
        return str(failure)
    except Exception as error:  # whatever an agent's code can raise
        return f"expected no exception; got {told(error)}"
    return None
