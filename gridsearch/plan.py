"""Which runs a grid asks for, which of them are done, and how long the rest will take."""

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from lethe.benchmarks.records import failures
from lethe.benchmarks.records.failures import Failure
from lethe.benchmarks.run.experiment import Places, check_protocol
from lethe.benchmarks.run.job import Job
from lethe.benchmarks.run.trial import Trial
from lethe.benchmarks.workers.pool import Watch, finished
from lethe.common.files import read_json

Engine = Callable[[Sequence[Job], Places, Watch], None]
"""Does all jobs, the first first, and tells the watch; see `benchmarks.workers.pool.run_jobs`."""


@dataclass(frozen=True)
class Plan:
    """The runs of some trials, by what is to be done about them."""

    finished: tuple[Job, ...]
    failed: tuple[tuple[Job, Failure], ...]
    """Those that failed before and are not to be tried again."""
    left: tuple[Job, ...]
    """Those to do, the longest first: it keeps all workers busy to the end."""

    @property
    def total(self) -> int:
        """How many runs there are."""
        return len(self.finished) + len(self.failed) + len(self.left)


def plan(trials: Iterable[Trial], runs: int, places: Places, retry_failed: bool) -> Plan:
    """Runs 0 .. `runs` - 1 of every trial; a trial that is given twice is run once.

    `InputError` where the dataset has been described otherwise since a trial's runs were made.
    """
    done, failed, left = [], [], []
    for trial in {trial.folder(places.results): trial for trial in trials}.values():
        check_protocol(trial, places)
        for job in (Job(trial, number) for number in range(runs)):
            failure = None if retry_failed else failures.read(job.folder(places.results))
            if finished(job, places):
                done.append(job)
            elif failure is not None:
                failed.append((job, failure))
            else:
                left.append(job)
    left.sort(key=lambda job: -job.trial.epochs)
    return Plan(tuple(done), tuple(failed), tuple(left))


class Pace:
    """How long runs take, learned from those that have ended."""

    def __init__(self, done: Iterable[Job], places: Places):
        self._seconds: dict[tuple, list[float]] = defaultdict(list)
        for job in done:
            summary = read_json(job.folder(places.results) / "summary.json")
            self.note(job, summary["metrics"]["wall_seconds"])

    def note(self, job: Job, seconds: float) -> None:
        """A run has taken `seconds`."""
        self._seconds[_alike(job)].append(seconds)

    def left(self, jobs: Iterable[Job], workers: int) -> float | None:
        """Seconds that `jobs` will take; None while no run has ended. Unknown kinds count as the mean of known ones."""
        if not self._seconds:
            return None
        means = {kind: statistics.fmean(seconds) for kind, seconds in self._seconds.items()}
        usual = statistics.fmean(means.values())
        return sum(means.get(_alike(job), usual) for job in jobs) / workers


def duration(seconds: float | None) -> str:
    """A time as a person says it."""
    if seconds is None:
        return "time unknown until a run has ended"
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute"
    return f"about {minutes} min" if minutes < 120 else f"about {minutes / 60:.1f} h"


def _alike(job: Job) -> tuple:
    """Key of runs with about the same duration."""
    trial = job.trial
    return trial.dataset, trial.paradigm, trial.agent, trial.network, trial.epochs
