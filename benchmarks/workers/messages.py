"""Messages of a worker to its owner: progress of its run, and the five ways in which a job can end."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lethe.benchmarks.records.failures import Failure
from lethe.benchmarks.run.job import Job
from lethe.benchmarks.run.stopping import Stop


@dataclass(frozen=True)
class Learned:
    """Progress of the run."""

    images: int
    """Learned so far, passes counted."""
    of: int
    """Images of the whole run, passes counted."""
    accuracy: float | None
    """Percent on classes seen, at the last evaluation; None before the first."""


@dataclass(frozen=True)
class Finished:
    """The run's record is complete."""

    job: Job
    summary: Mapping[str, Any]
    """Content of summary.json."""
    seconds: float | None
    """Wall-clock seconds; None if another process learned the run."""


@dataclass(frozen=True)
class Failed:
    """The run ended with an error, or took its worker process with it several times."""

    job: Job
    failure: Failure
    seconds: float | None = None
    """Wall-clock seconds of the last attempt; None where none began."""


@dataclass(frozen=True)
class Stopped:
    """The run stopped on purpose before the end of its stream; its checkpoint is written."""

    job: Job
    stop: Stop


@dataclass(frozen=True)
class Elsewhere:
    """Another process is learning the run."""

    job: Job


@dataclass(frozen=True)
class OutOfSpace:
    """The disk is full; nothing more can be recorded."""

    problem: str


@dataclass(frozen=True)
class Died:
    """The worker process is gone."""

    how: str


Outcome = Finished | Failed
"""End of a job that is counted."""
Message = Learned | Finished | Failed | Stopped | Elsewhere | OutOfSpace | Died
