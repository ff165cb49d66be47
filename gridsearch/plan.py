"""The runs of a grid by state (finished, failed, left), the estimate of the remaining time, and the engine type."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from lethe.benchmarks.records import failures
from lethe.benchmarks.records.failures import Failure
from lethe.benchmarks.records.read import read_summary
from lethe.benchmarks.run.experiment import Places, check_protocol
from lethe.benchmarks.run.job import Job, check_count
from lethe.benchmarks.run.trial import Trial
from lethe.benchmarks.workers.pool import Watch, damage, finished
from lethe.common.errors import Damaged
from lethe.gridsearch.grid import place_of


class Engine(Protocol):
    """Executes jobs, several at a time."""

    def __call__(self, jobs: Sequence[Job], places: Places, *, watch: Watch) -> None:
        """Execute all jobs, started in their order, and report to `watch`; see `benchmarks.workers.pool.run_jobs`."""


@dataclass(frozen=True)
class Plan:
    """The runs of some trials, by state."""

    finished: tuple[Job, ...]
    failed: tuple[tuple[Job, Failure], ...]
    """Runs that failed in an earlier call and are not retried, and runs whose records are damaged."""
    left: tuple[Job, ...]
    """Runs to execute, in their order: one trial of each dataset, paradigm and agent after the other, and then the next
    of each, so that a search that is stopped knows something of all. Of the trials whose turn it is, those with most
    epochs come first, so that workers finish at about the same time."""

    @property
    def total(self) -> int:
        """Number of runs."""
        return len(self.finished) + len(self.failed) + len(self.left)


def plan(trials: Iterable[Trial], runs: int, places: Places, retry_failed: bool) -> Plan:
    """Runs 0 .. `runs` - 1 of every trial; a trial that is given twice counts once.

    `InputError` where there are too many runs, or a user's own dataset is described differently than when a trial's
    runs were made.
    """
    done, failed, left = [], [], []
    own = dict.fromkeys(trials)
    check_count(len(own), runs)
    for trial in own:
        with suppress(Damaged):  # told with each of its runs
            check_protocol(trial, places)
        for job in (Job(trial, number) for number in range(runs)):
            if damaged := damage(job, places):
                failed.append((job, damaged.failure))
                continue
            failure = None if retry_failed else failures.read(job.folder(places.results))
            if finished(job, places):
                done.append(job)
            elif failure is not None:
                failed.append((job, failure))
            else:
                left.append(job)
    turn = _turns(left)
    left.sort(key=lambda job: (turn[job.trial], -job.trial.epochs))
    return Plan(tuple(done), tuple(failed), tuple(left))


def _turns(left: Iterable[Job]) -> dict[Trial, int]:
    """The turn of each trial with runs left: its position among those of its dataset, paradigm and agent."""
    turns: dict[Trial, int] = {}
    groups: dict[tuple[str, str, str], int] = defaultdict(int)
    for trial in dict.fromkeys(job.trial for job in left):
        turns[trial] = groups[place_of(trial)]
        groups[place_of(trial)] += 1
    return turns


class TimeEstimate:
    """Estimate of the remaining wall time, from the mean time of finished runs of the same kind."""

    def __init__(self, done: Iterable[Job], places: Places):
        self._seconds: dict[tuple[object, ...], list[float]] = defaultdict(list)
        for job in done:
            summary = read_summary(job.folder(places.results))
            self.note(job, summary["metrics"]["wall_seconds"])

    def note(self, job: Job, seconds: float) -> None:
        """Add the wall time of a finished run."""
        self._seconds[_kind(job)].append(seconds)

    def left(self, jobs: Iterable[Job], workers: int) -> float | None:
        """Seconds that `jobs` will take; None before the first run has finished.

        A kind of run that has not finished yet counts as the mean of those that have.
        """
        if not self._seconds:
            return None
        means = {kind: statistics.fmean(seconds) for kind, seconds in self._seconds.items()}
        usual = statistics.fmean(means.values())
        return sum(means.get(_kind(job), usual) for job in jobs) / workers


def duration_text(seconds: float | None) -> str:
    """`about 5 min`, `about 2.3 h`."""
    if seconds is None:
        return "time unknown until a run has ended"
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute"
    return f"about {minutes} min" if minutes < 120 else f"about {minutes / 60:.1f} h"


def _kind(job: Job) -> tuple[object, ...]:
    """The kind of a run: runs of one kind take about the same time."""
    trial = job.trial
    return trial.dataset, trial.paradigm, trial.agent, trial.network, trial.epochs
