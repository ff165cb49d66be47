"""Many runs, one after the other or several at a time in worker processes."""

import os
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context

from benchmarks.experiment import Machine, Places, open_store, run, task_lists
from benchmarks.progress import RunLine, live_line
from benchmarks.recorder import Diverged
from benchmarks.trial import Trial, begin
from errors import InputError


@dataclass(frozen=True)
class Job:
    """One run of a trial."""

    trial: Trial
    number: int

    def __str__(self) -> str:
        return f"{self.trial.agent} {self.trial.dataset}/{self.trial.paradigm} run {self.number}"


@dataclass(frozen=True)
class Outcome:
    """How a job ended: with the run's summary, or with a reason."""

    job: Job
    summary: dict | None
    failure: str | None = None


# glibc gives large freed blocks back to the system and faults them in again at the next step. Workers keep them.
_KEEP_PAGES = ":".join(
    f"glibc.malloc.{name}" for name in ("mmap_threshold=4294967296", "trim_threshold=4294967296", "hugetlb=1")
)


# Ctrl-C ends a worker at once and without a traceback; its run goes on from the last checkpoint.
_DIE_ON_INTERRUPT = (signal.SIGINT, signal.SIG_DFL)


def run_all(
    jobs: Sequence[Job], places: Places, machine: Machine, workers: int, report: Callable[[Outcome], None]
) -> None:
    """Do all jobs, and `report` each as it ends. One failure does not stop the others.

    What several jobs share (lists, decoded images) is made first, once.
    """
    for trial in {id(job.trial): job.trial for job in jobs}.values():
        begin(trial, places.results)
    stores = set()
    for job in jobs:
        lists = task_lists(job.trial, job.number, places)
        if job.trial.dataset not in stores:
            open_store(job.trial, lists, places)
            stores.add(job.trial.dataset)
    outcomes = _here(jobs, places, machine) if workers == 1 else _in_workers(jobs, places, machine, workers)
    for outcome in outcomes:
        report(outcome)


def _here(jobs: Sequence[Job], places: Places, machine: Machine) -> Iterator[Outcome]:
    for job in jobs:
        line = RunLine(str(job))
        try:
            outcome = _attempt(job, places, machine, line)
        finally:
            line.close()
        yield outcome


def _in_workers(jobs: Sequence[Job], places: Places, machine: Machine, workers: int) -> Iterator[Outcome]:
    os.environ.setdefault("GLIBC_TUNABLES", _KEEP_PAGES)  # read when a process starts: by the workers alone
    with (
        ProcessPoolExecutor(workers, get_context("spawn"), signal.signal, _DIE_ON_INTERRUPT) as pool,
        live_line(len(jobs), "runs", "run") as bar,
    ):
        futures = {pool.submit(_attempt, job, places, machine): job for job in jobs}
        for future in as_completed(futures):
            try:
                yield future.result()
            except BrokenProcessPool:
                yield Outcome(futures[future], None, "a worker process was killed; start again to go on")
            bar.update()


def _attempt(job: Job, places: Places, machine: Machine, line: RunLine | None = None) -> Outcome:
    """The run's outcome; whatever an agent raises is told, not hidden."""
    try:
        return Outcome(job, run(job.trial, job.number, places, machine, line))
    except (InputError, Diverged) as error:
        return Outcome(job, None, str(error))
    except Exception:
        return Outcome(job, None, traceback.format_exc())
