"""Overhead of a search: time per run outside training steps, idle workers, and shared preparation.

Measured on `digits` and `core50_mini` from an empty folder, so that lists, pixels and features are made as well.
"""

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lethe.benchmarks.run.experiment import Machine, Places
from lethe.benchmarks.run.job import Job
from lethe.benchmarks.run.trial import Trial
from lethe.benchmarks.speed.figures import Figure
from lethe.benchmarks.workers import forkserver
from lethe.benchmarks.workers.messages import Failed, Outcome, Stopped
from lethe.benchmarks.workers.pool import cores, prepare_all, run_jobs
from lethe.dataloaders.index import find
from lethe.dataloaders.prepare import ensure_dirmap

UNIT = "seconds"
_MACHINE = Machine("cpu", threads=1)


@dataclass(frozen=True)
class Sizes:
    """Sizes of the measured searches."""

    trivial: int = 200
    """Number of trials of an agent that trains in a fraction of a second, on all cores."""
    points: int = 18
    """Number of trials of a grid on a frozen trunk, on all cores."""
    dataset: str = "core50_mini"
    """Dataset of the grid on a frozen trunk."""


@dataclass
class _Times:
    """A `Watch` that sums times."""

    learning: float = 0.0
    """Seconds of training steps, from the runs' records."""
    running: float = 0.0
    """Seconds of whole runs."""
    runs: int = 0

    def started(self, job: Job) -> None:
        """Nothing to add."""

    def learned(self, job: Job, images: int, of: int, accuracy: float | None) -> None:
        """Nothing to add."""

    def stopped(self, stopped: Stopped) -> None:
        """Nothing to add: these runs go to the end."""

    def ended(self, outcome: Outcome) -> None:
        """Add the run's times."""
        if isinstance(outcome, Failed):
            raise RuntimeError(f"{outcome.job}: {outcome.failure}")
        self.learning += outcome.summary["metrics"]["seconds"]
        self.running += outcome.seconds or 0.0
        self.runs += 1


def measure(sizes: Sizes = Sizes()) -> list[Figure]:
    """The figures, in seconds; those with a target should have at most that ratio."""
    forkserver.start()
    workers = cores()
    with tempfile.TemporaryDirectory() as folder:
        return [
            *_trivial(Path(folder) / "trivial", sizes.trivial, workers),
            _frozen(Path(folder) / "frozen", sizes.dataset, sizes.points, workers),
        ]


def _trivial(folder: Path, count: int, workers: int) -> list[Figure]:
    """Runs of SLDA on the digits, which trains in a fraction of a second."""
    settings = [{"shrinkage": 1e-4 * (1 + number)} for number in range(count)]
    prepared, spent, times = _search(folder, "digits", "slda", settings, workers, pretrained=False)
    own = (spent * workers - times.learning) / times.runs
    return [
        Figure(f"a worker's time for a trivial run ({count} of them)", own + times.learning / times.runs,
               times.learning / times.runs, "its training steps; the rest starts, loads, evaluates, saves"),
        Figure(f"workers' time that no run has ({workers} workers)", spent * workers, times.running,
               "their runs", 1 / 0.9),
        Figure("before the first run", prepared),
    ]  # fmt: skip


def _frozen(folder: Path, dataset: str, count: int, workers: int) -> Figure:
    """A grid whose points share one frozen trunk."""
    settings = [{"lr": 1e-3 * (1 + number)} for number in range(count)]
    prepared, spent, times = _search(folder, dataset, "finetune", settings, workers, cut="last_block")
    what = f"a grid of {count} points on a frozen trunk, from image files to tables"
    return Figure(what, prepared + spent, times.learning / workers, "its training steps alone", 2.0)


def _search(
    folder: Path,
    dataset: str,
    agent: str,
    settings: Sequence[Mapping[str, object]],
    workers: int,
    *,
    pretrained: bool = True,
    cut: str | None = None,
) -> tuple[float, float, _Times]:
    """Seconds of the shared preparation, seconds of all runs on the wall, and the times of the runs themselves."""
    places = Places(folder / "results", folder / "data", folder / "lists")
    trials = [
        Trial.create(dataset, "class_iid", agent, values, split="validation", data=places.data,
                     pretrained=pretrained, cut=cut)
        for values in settings
    ]  # fmt: skip
    jobs = [Job(trial, 0) for trial in trials]
    # Drawing the dataset is no part of a search.
    ensure_dirmap(find.locate(dataset, places.data / dataset, places.lists))
    times, start = _Times(), time.perf_counter()
    prepare_all(jobs, places, _MACHINE)
    ready = time.perf_counter()
    run_jobs(jobs, places, [_MACHINE] * workers, times)
    return ready - start, time.perf_counter() - ready, times
