"""Many runs, several at a time, in worker processes that serve one run after the other.

A worker that dies takes one run down with it; another takes its place, and the run goes on from its last checkpoint,
until `TRIES` deaths have brought no new one. Whatever else goes wrong with a run is recorded with it, and the others
go on.
"""

import os
import signal
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Protocol

from lethe.agents import registry
from lethe.benchmarks.records import failures
from lethe.benchmarks.records.augmem_files import write_published_tables
from lethe.benchmarks.records.write import checkpointed, is_locked
from lethe.benchmarks.run.experiment import Machine, Places, check_machine, prepare
from lethe.benchmarks.run.job import Job
from lethe.benchmarks.run.trial import begin
from lethe.benchmarks.workers import forkserver
from lethe.benchmarks.workers.worker import DiskFull, Learned, Outcome, serve
from lethe.common.errors import InputError
from lethe.common.files import read_json

TRIES = 3
"""How often a run may lose its process without coming further."""

ELSEWHERE = 1.0
"""Seconds until a run is looked at again that another process is learning."""


class Watch(Protocol):
    """Somebody who looks on while jobs are done."""

    def started(self, job: Job) -> None:
        """A worker has begun the job."""

    def learned(self, job: Job, images: int, of: int, accuracy: float | None) -> None:
        """The run has learned `images` `of` all, passes counted; accuracy in percent at its last evaluation."""

    def ended(self, outcome: Outcome) -> None:
        """The job has ended."""


class Worker(Protocol):
    """Who does one job after the other."""

    job: Job | None

    def give(self, job: Job) -> None:
        """Let it begin `job`."""


class Crew(Protocol):
    """Workers, wherever they are."""

    def free(self) -> Sequence[Worker]:
        """Those that can be given a job now."""

    def busy(self) -> bool:
        """Whether any of them has a job."""

    def news(self) -> Iterable[tuple[Worker, "Learned | Outcome | DiskFull | Died"]]:
        """What those with a job say, after a wait of at most `ELSEWHERE`; the dead are replaced."""

    def stop(self) -> None:
        """End them all."""


@dataclass(frozen=True)
class Died:
    """What is heard of a worker that is no more."""

    how: str


def cores() -> int:
    """How many CPU cores this process may use, which may be fewer than the machine has."""
    return len(os.sched_getaffinity(0))


def prepare_all(jobs: Sequence[Job], places: Places, machine: Machine) -> None:
    """Make what several jobs share (lists, decoded images, features of frozen trunks) first, once."""
    for trial in dict.fromkeys(job.trial for job in jobs):
        check_machine(begin(trial, places.results), machine)
    for job in {_shares(job): job for job in jobs}.values():
        prepare(job.trial, job.number, places, machine)


def finished(job: Job, places: Places) -> bool:
    """Whether the run's record is complete."""
    return (job.folder(places.results) / "summary.json").exists()


def record(outcome: Outcome, places: Places) -> None:
    """Keep what must be kept of a job that has ended."""
    if outcome.failure is not None:
        failures.write(outcome.job.folder(places.results), outcome.failure)
    else:
        # A damaged record stops no other run; `write_tables_of` tells of it at the end.
        with suppress(InputError):
            write_published_tables(outcome.job.trial.folder(places.results))


def run_jobs(jobs: Sequence[Job], places: Places, machines: Sequence[Machine], watch: Watch) -> None:
    """Do all jobs in as many worker processes as there are `machines`, the first job first.

    A run that another process is learning is left to it, and its end waited for. Raises `DiskFull`; what was
    learned up to the last checkpoint is kept then, as it is when this process is interrupted or killed.
    """
    do_all(jobs, places, _Processes(places, machines[: len(jobs)]), watch)


def do_all(jobs: Sequence[Job], places: Places, crew: Crew, watch: Watch) -> None:
    """Do all jobs with the workers of `crew`, and stop them; see `run_jobs`."""
    waiting, deaths = deque(jobs), _Deaths(places)
    try:
        while waiting or crew.busy():
            for worker in crew.free():
                job = _next(waiting, places, watch)
                if job is not None:
                    watch.started(job)
                    worker.give(job)
            for worker, message in crew.news():
                if isinstance(message, Learned):
                    watch.learned(worker.job, message.images, message.of, message.accuracy)
                    continue
                job, worker.job = worker.job, None
                if isinstance(message, Died):
                    if deaths.count(job) < TRIES:
                        waiting.appendleft(job)
                        continue
                    reason = f"{message.how}, {TRIES} times"
                    message = Outcome(job, None, failures.failure(job.folder(places.results), reason))
                if isinstance(message, DiskFull):
                    raise message
                if message.elsewhere:
                    waiting.append(job)
                else:
                    record(message, places)
                    watch.ended(message)
    finally:
        crew.stop()


class _Processes:
    """A crew of worker processes on this machine."""

    def __init__(self, places: Places, machines: Sequence[Machine]):
        self._places = places
        self._workers = [_Worker.start(places, machine) for machine in machines]

    def free(self) -> list["_Worker"]:
        return [worker for worker in self._workers if worker.job is None]

    def busy(self) -> bool:
        return any(worker.job for worker in self._workers)

    def news(self) -> Iterator[tuple["_Worker", object]]:
        busy = {worker.connection: worker for worker in self._workers if worker.job}
        if not busy:
            time.sleep(ELSEWHERE)
        for ready in connection.wait(list(busy), timeout=ELSEWHERE) if busy else ():
            worker = busy[ready]
            message = worker.receive()
            if isinstance(message, Died):
                self._workers[self._workers.index(worker)] = _Worker.start(self._places, worker.machine)
            yield worker, message

    def stop(self) -> None:
        for worker in self._workers:
            worker.stop()


@dataclass
class _Worker:
    """A process and the job that it does, as its owner sees them."""

    process: BaseProcess
    connection: Connection
    machine: Machine
    job: Job | None = field(default=None)

    @classmethod
    def start(cls, places: Places, machine: Machine) -> "_Worker":
        context = forkserver.context()
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs, places, machine), daemon=True)
        process.start()
        theirs.close()  # so that the worker's death ends the connection
        return cls(process, ours, machine)

    def give(self, job: Job) -> None:
        self.job = job
        with suppress(OSError):  # it is dead already, which `receive` will find
            self.connection.send(job)

    def receive(self) -> object:
        """What the worker says."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            return Died(_end(self.process.exitcode))

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


class _Deaths:
    """How often a job's worker has died since the job last came further."""

    def __init__(self, places: Places):
        self._places = places
        self._seen: dict[Job, tuple[int | None, int]] = {}

    def count(self, job: Job) -> int:
        """One more; how many there are now since the run's last new checkpoint."""
        reached = checkpointed(job.folder(self._places.results))
        before, deaths = self._seen.get(job, (None, 0))
        deaths = deaths + 1 if reached == before else 1
        self._seen[job] = (reached, deaths)
        return deaths


def _next(waiting: deque[Job], places: Places, watch: Watch) -> Job | None:
    """The next job that nobody has done and nobody does; those that others do are looked at later."""
    for _ in range(len(waiting)):
        job = waiting.popleft()
        folder = job.folder(places.results)
        if finished(job, places):
            watch.ended(Outcome(job, read_json(folder / "summary.json")))
        elif is_locked(folder):
            waiting.append(job)
        else:
            return job
    return None


def _end(code: int | None) -> str:
    """How a process ended, of its exit status."""
    how = f"by {_signal(-code)}" if code is not None and code < 0 else f"with status {code}"
    memory = ", as the kernel does when memory runs out" if code == -signal.SIGKILL else ""
    return f"its process ended {how}{memory}"


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal: only the first and the last have names
        return f"signal {number}"


_DECIDING = ("dataset", "paradigm", "variant", "split", "image_size")
_DECIDING += ("network", "cut", "pretrained", "feature_dtype", "seed")


def _shares(job: Job) -> tuple:
    """What decides a job's lists and stores."""
    trial = job.trial
    offline = registry.get(trial.agent).needs.offline
    return (*(getattr(trial, name) for name in _DECIDING), offline, job.number)
