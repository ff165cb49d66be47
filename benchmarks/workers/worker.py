"""Execution of one run, any exception turned into a recorded failure; and the main loop of a worker process.

Output of a run goes to `run<r>/log.txt`, the reason of a failure to `run<r>/failed.json` (see `failures.py`).
"""

import errno
import faulthandler
import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from lethe.benchmarks.measure.evaluate import Diverged
from lethe.benchmarks.records import failures
from lethe.benchmarks.records.failures import Failure
from lethe.benchmarks.records.lock import lock
from lethe.benchmarks.records.write import Progress
from lethe.benchmarks.run.experiment import Machine, Places, run
from lethe.benchmarks.run.job import Job
from lethe.benchmarks.run.stopping import Stop
from lethe.benchmarks.workers.memory import MemoryExceeded
from lethe.benchmarks.workers.messages import (
    Elsewhere,
    Failed,
    Finished,
    Learned,
    Outcome,
    OutOfSpace,
    Stopped,
)
from lethe.common.errors import InputError
from lethe.common.files import open_regular
from lethe.common.imports import RAISED
from lethe.common.locks import Locked
from lethe.common.printable import printable_lines

_NEWS = 0.5  # seconds between two messages of a run
_NO_MEMORY = re.compile(
    "can't allocate memory|Storage size calculation overflowed|Overflow when unpacking|invalid size|out of memory"
)
"""How PyTorch words it on a CPU, where it raises errors of no kind of their own."""
_FREE = "free some space; the same command goes on from here"


class DiskFull(InputError):
    """The disk is full; nothing more can be recorded."""


def attempt(
    job: Job, places: Places, machine: Machine, progress: Progress | None = None
) -> Finished | Failed | Stopped | Elsewhere:
    """Learn the job's run in this process, unless another process does.

    Whatever an agent raises becomes `Failed`. Raises `DiskFull`, and `InputError` where the run cannot be locked.
    """
    try:
        with lock(job.folder(places.results)):
            return _learn(job, places, machine, progress)
    except Locked:
        return Elsewhere(job)


def logged_attempt(
    job: Job, places: Places, machine: Machine, progress: Progress
) -> Finished | Failed | Stopped | Elsewhere | OutOfSpace:
    """As `attempt`, with the output of the run in its log, and every error as a message."""
    folder = job.folder(places.results)
    try:
        with lock(folder), _output_to(folder / failures.LOG):
            return _learn(job, places, machine, progress)
    except Locked:
        return Elsewhere(job)
    except DiskFull as error:
        return OutOfSpace(str(error))
    except (InputError, OSError) as error:  # the lock, or the log
        if _is_full(error):
            return OutOfSpace(f"{error}: {_FREE}")
        return Failed(job, Failure(str(error), ()))


def _learn(job: Job, places: Places, machine: Machine, progress: Progress | None) -> Outcome | Stopped:
    begun = time.perf_counter()
    folder = job.folder(places.results)
    try:
        failures.clear(folder)
        done = run(job.trial, job.number, places, machine, progress)
        if isinstance(done, Stop):
            return Stopped(job, done)
        return Finished(job, done, time.perf_counter() - begun)
    except (InputError, Diverged, MemoryExceeded) as error:
        if _is_full(error):
            raise DiskFull(f"{error}: {_FREE}") from error
        reason = str(error)
    except RAISED as error:  # an agent's sys.exit() ends its own run only
        if _is_full(error):
            raise DiskFull(f"{folder}: {error}: {_FREE}") from error
        reason = _too_large(error)
        if not reason:
            print(printable_lines(traceback.format_exc()), file=sys.stderr)
            reason = "".join(traceback.format_exception_only(error)).strip().splitlines()[0]
    sys.stderr.flush()
    return Failed(job, failures.failure(folder, reason), time.perf_counter() - begun)


class Teller:
    """A `Progress` that sends `Learned` to the worker's owner, and ends the process once the owner is gone."""

    def __init__(self, send: Callable[[Learned], None]):
        self._send = send
        self._images = self._of = 0
        self._told = time.perf_counter()

    def begin(self, images: int, tasks: int) -> None:
        """Note how many images there are to learn."""
        self._of = images

    def update(self, images: int, task: int, accuracy: float | None) -> None:
        """Send a message, at most one per `_NEWS` seconds."""
        self._images += images
        now = time.perf_counter()
        if now - self._told >= _NEWS:
            self._told = now
            try:
                self._send(Learned(self._images, self._of, accuracy))
            except OSError:
                os._exit(1)


def serve(owner: Connection, places: Places, machine: Machine) -> None:
    """Main loop of a worker process: jobs come through `owner`, messages go back; ends with the connection."""
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
    """Redirect standard output and error, of libraries in C as well, to the file at `path`; an empty one is removed."""
    with open_regular(path, "wb", links=False) as file:
        kept = os.dup(1), os.dup(2)
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
        empty = os.fstat(file.fileno()).st_size == 0
    if empty:
        path.unlink(missing_ok=True)


def _too_large(error: BaseException) -> str:
    """The reason of a run that asked for more memory than there is; empty for any other error."""
    told = str(error).partition("\n")[0]
    if not isinstance(error, MemoryError | torch.OutOfMemoryError) and not _NO_MEMORY.search(told):
        return ""
    return f"not enough memory, with these settings of the agent and this batch_size: {told or 'an allocation failed'}"


def _is_full(error: BaseException | None) -> bool:
    """Whether a full disk caused an error."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__
    return False
