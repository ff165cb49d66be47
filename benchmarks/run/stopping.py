"""A run that stops on purpose before its stream has ended (`--until-class`), to go on from its checkpoint later."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lethe.agents import registry
from lethe.benchmarks.run.trial import Trial


@dataclass(frozen=True)
class Stop:
    """Where a run has stopped."""

    classes: int
    """Classes met until there."""
    of: int
    """Classes of the whole stream."""


def stop_before(task: int, classes_met: Sequence[Sequence[int]], until_class: int | None) -> Stop | None:
    """The stop before `task`, if the tasks before it met `until_class` classes; `classes_met` until each task."""
    if until_class is None or task == 0 or len(classes_met[task - 1]) < until_class:
        return None
    return Stop(len(classes_met[task - 1]), len(classes_met[-1]))


def cannot_stop(trials: Iterable[Trial]) -> list[str]:
    """A problem for each agent of `trials` that could not go on, since its state cannot be saved."""
    unsaved = dict.fromkeys(trial.agent for trial in trials if not registry.get(trial.agent).resumable)
    return [
        f"--until-class: agent {agent} cannot be saved (resumable is False) and would begin anew: leave the option "
        "out for it"
        for agent in unsaved
    ]
