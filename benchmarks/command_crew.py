"""How the command `run` executes runs in its own process, and the line that it prints as each run ends."""

import sys
import time
from collections.abc import Iterator
from typing import NoReturn

from tqdm import tqdm

from lethe.benchmarks.records import failures
from lethe.benchmarks.run.experiment import Machine, Places
from lethe.benchmarks.run.job import Job
from lethe.benchmarks.workers import memory
from lethe.benchmarks.workers.messages import Elsewhere, Failed, Finished, Outcome, Stopped
from lethe.benchmarks.workers.pool import ELSEWHERE, record
from lethe.benchmarks.workers.worker import attempt
from lethe.common.progress import RunLine


class RunWatch:
    """Prints a line per run that ends, and notes whose runs fail."""

    def __init__(self, bar: "tqdm[NoReturn] | None" = None):
        self.failed: set[str] = set()
        """Agents with a failed run."""
        self.stops = False
        """Whether a run has stopped before the end of its stream."""
        self._bar = bar

    def started(self, job: Job) -> None:
        """Print nothing."""

    def learned(self, job: Job, images: int, of: int, accuracy: float | None) -> None:
        """Print nothing."""

    def ended(self, outcome: Outcome) -> None:
        """Note the outcome and print it."""
        if isinstance(outcome, Failed):
            self.failed.add(outcome.job.trial.agent)
        if self._bar is not None:
            self._bar.update()
        tell(outcome)

    def stopped(self, stopped: Stopped) -> None:
        """Print where the run stands."""
        self.stops = True
        if self._bar is not None:
            self._bar.update()
        stop = stopped.stop
        print(f"{stopped.job}: stopped with {stop.classes} of {stop.of} classes met", flush=True)

    def tell_remedies(self) -> int:
        """Print how runs that stopped go on, and what to do about failed agents of users; 1 if a run failed, else 0."""
        if self.stops:
            print("the same command without --until-class, or with more classes, goes on from there")
        for agent in sorted(self.failed):
            if ":" in agent and not agent.startswith("avalanche:"):
                print(
                    f"`lethe check {agent}` tells what the agent breaks, on a tiny problem", file=sys.stderr
                )
        return 1 if self.failed else 0


class Here:
    """Crew (see `benchmarks.workers.pool`) of this process alone, with a progress line per run."""

    def __init__(self, places: Places, machine: Machine):
        self.job: Job | None = None
        self._places = places
        self._machine = machine

    def give(self, job: Job) -> None:
        """Begin `job` with the next `news`."""
        self.job = job

    def free(self) -> "list[Here]":
        """The process, if it has no job."""
        return [] if self.busy() else [self]

    def busy(self) -> bool:
        """Whether it has a job."""
        return self.job is not None

    def news(self) -> "Iterator[tuple[Here, Finished | Failed | Stopped | Elsewhere]]":
        """Execute the job and yield its outcome; nothing, after a wait, if other processes have all jobs."""
        if self.job is None:
            time.sleep(ELSEWHERE)
            return
        job, line = self.job, RunLine(str(self.job))

        def last_words(reason: str) -> None:
            outcome = Failed(job, failures.failure(job.folder(self._places.results), reason))
            record(outcome, self._places)
            tell(outcome)

        try:
            with memory.limited(self._machine.max_memory, last_words):
                outcome = attempt(job, self._places, self._machine, line)
        finally:
            line.close()
        yield self, outcome

    def stop(self) -> None:
        """Nothing to end."""


def tell(outcome: Outcome) -> None:
    """Print the numbers of a finished run, or the reason of a failed one."""
    if isinstance(outcome, Failed):
        print(f"failed: {outcome.job}: {outcome.failure}", file=sys.stderr)
        return
    metrics = outcome.summary["metrics"]
    print(
        f"{outcome.job}: {metrics['accuracy_mean']:.1f} % over tasks, {metrics['accuracy_last']:.1f} % at the "
        f"end, {metrics['images_per_second']:.0f} images/s",
        flush=True,
    )
