"""One run learned, whatever happens to it; and the process that learns one after the other for its owner.

What a run prints goes to `run<r>/log.txt`, and how it failed to `run<r>/failed.json` (see `failures.py`).
"""

import errno
import faulthandler
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from lethe.benchmarks.records import failures
from lethe.benchmarks.records.failures import Diverged, Failure
from lethe.benchmarks.records.write import Progress, RunLocked, lock
from lethe.benchmarks.run.experiment import Machine, Places, run
from lethe.benchmarks.run.job import Job
from lethe.common.errors import InputError

_NEWS = 0.5  # seconds between two messages of a run
_FREE = "free some space; the same command goes on from here"


@dataclass(frozen=True)
class Outcome:
    """How a job ended: with the run's summary, or with a failure; or with neither, if another process is at it."""

    job: Job
    summary: dict | None
    failure: Failure | None = None
    seconds: float | None = None
    """On the wall; None if it was not learned here."""

    @property
    def elsewhere(self) -> bool:
        """Whether another process is learning the run."""
        return self.summary is None and self.failure is None


class DiskFull(InputError):
    """Nothing can be recorded any more."""


def attempt(job: Job, places: Places, machine: Machine, progress: Progress | None = None) -> Outcome:
    """Learn the job's run here, unless another process does.

    Whatever an agent raises becomes a failure; `DiskFull` is raised, and `InputError` where the run cannot be locked.
    """
    try:
        with lock(job.folder(places.results)):
            return _learn(job, places, machine, progress)
    except RunLocked:
        return Outcome(job, None)


def logged_attempt(job: Job, places: Places, machine: Machine, progress: Progress) -> Outcome | DiskFull:
    """As `attempt`, with all that is printed in the run's log; `DiskFull` is returned."""
    folder = job.folder(places.results)
    try:
        with lock(folder), _output_to(folder / failures.LOG):
            return _learn(job, places, machine, progress)
    except RunLocked:
        return Outcome(job, None)
    except DiskFull as error:
        return error
    except (InputError, OSError) as error:  # the lock, or the log
        if _is_full(error):
            return DiskFull(f"{error}: {_FREE}")
        return Outcome(job, None, failures.Failure(str(error), ()))


def _learn(job: Job, places: Places, machine: Machine, progress: Progress | None) -> Outcome:
    begun = time.perf_counter()
    folder = job.folder(places.results)
    try:
        failures.clear(folder)
        summary = run(job.trial, job.number, places, machine, progress)
        return Outcome(job, summary, None, time.perf_counter() - begun)
    except (InputError, Diverged) as error:
        if _is_full(error):
            raise DiskFull(f"{error}: {_FREE}") from error
        reason = str(error)
    except (Exception, SystemExit) as error:  # an agent's sys.exit() ends its run, not the others
        if _is_full(error):
            raise DiskFull(f"{folder}: {error}: {_FREE}") from error
        traceback.print_exc()
        reason = "".join(traceback.format_exception_only(error)).strip().splitlines()[0]
    sys.stderr.flush()
    return Outcome(job, None, failures.failure(folder, reason), time.perf_counter() - begun)


@dataclass(frozen=True)
class Learned:
    """What a worker says now and then."""

    images: int
    of: int
    accuracy: float | None


class Teller:
    """A `Progress` that tells the worker's owner, and ends the worker if there is no owner any more."""

    def __init__(self, send: Callable[[Learned], None]):
        self._send = send
        self._images = self._of = 0
        self._told = time.perf_counter()

    def begin(self, images: int, tasks: int) -> None:
        """Note how many images there are to learn."""
        self._of = images

    def update(self, images: int, task: int, accuracy: float | None) -> None:
        """Tell, unless something was told just now."""
        self._images += images
        now = time.perf_counter()
        if now - self._told >= _NEWS:
            self._told = now
            try:
                self._send(Learned(self._images, self._of, accuracy))
            except OSError:
                os._exit(1)


def serve(owner: Connection, places: Places, machine: Machine) -> None:
    """The life of a worker."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it; its run goes on from the checkpoint
    faulthandler.enable()
    while True:
        try:
            job = owner.recv()
        except EOFError:
            return
        owner.send(logged_attempt(job, places, machine, Teller(owner.send)))


@contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """Standard output and error, whoever writes them, go to the file at `path`; an empty one is not kept."""
    kept = os.dup(1), os.dup(2)
    with path.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError):  # what a full disk does not take is lost
                    stream.flush()
            for number, stream in enumerate(kept, start=1):
                os.dup2(stream, number)
                os.close(stream)
    if path.stat().st_size == 0:
        path.unlink()


def _is_full(error: BaseException) -> bool:
    """Whether a full disk is behind an error."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__
    return False
