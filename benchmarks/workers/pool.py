"""Scheduling of many runs over worker processes, each of which executes one run after the other.

A worker process that dies is replaced, and its run goes on from the last checkpoint, until `TRIES` deaths in a row have
brought no new checkpoint. Any other failure of a run is recorded with it, and the other runs go on.
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
from operator import attrgetter
from pathlib import Path
from typing import Protocol

from lethe.agents import registry
from lethe.benchmarks.records import failures, schema
from lethe.benchmarks.records.augmem_files import write_published_tables
from lethe.benchmarks.records.environment import threads_before
from lethe.benchmarks.records.lock import is_locked
from lethe.benchmarks.records.read import read_summary
from lethe.benchmarks.records.write import checkpointed
from lethe.benchmarks.run.experiment import Machine, Places, check_machine, prepare
from lethe.benchmarks.run.job import Job
from lethe.benchmarks.run.trial import begin
from lethe.benchmarks.workers import forkserver, memory
from lethe.benchmarks.workers.messages import (
    Died,
    Elsewhere,
    Failed,
    Finished,
    Learned,
    Message,
    Outcome,
    OutOfSpace,
    Stopped,
)
from lethe.benchmarks.workers.worker import DiskFull, serve
from lethe.common.errors import Damaged, InputError
from lethe.common.files import is_there

TRIES = 3
"""Deaths of a run's process without a new checkpoint between them, after which the run has failed."""

ELSEWHERE = 1.0
"""Seconds between two looks at runs that other processes are learning."""


class Watch(Protocol):
    """Receiver of the progress of jobs."""

    def started(self, job: Job) -> None:
        """A worker has begun the job."""

    def learned(self, job: Job, images: int, of: int, accuracy: float | None) -> None:
        """The run has learned `images` `of` all; see `messages.Learned`."""

    def ended(self, outcome: Outcome) -> None:
        """The job has ended."""

    def stopped(self, stopped: Stopped) -> None:
        """The run has stopped on purpose, as `Machine.until_class` says."""


class Worker(Protocol):
    """One worker of a crew; it executes one job at a time."""

    job: Job | None

    def give(self, job: Job) -> None:
        """Begin `job`."""


class Crew(Protocol):
    """A set of workers: processes of this machine, actors of a cluster, or this process alone."""

    def free(self) -> Sequence[Worker]:
        """Workers that can begin a job now."""

    def busy(self) -> bool:
        """Whether any worker has a job."""

    def news(self) -> Iterable[tuple[Worker, Message]]:
        """Messages of the workers that have a job, after a wait of at most `ELSEWHERE`; dead workers are replaced."""

    def stop(self) -> None:
        """End all workers."""


def cores() -> int:
    """Number of CPU cores that this process may use, which may be fewer than the machine has."""
    return len(os.sched_getaffinity(0))


def prepare_all(jobs: Sequence[Job], places: Places, machine: Machine) -> list[str]:
    """Make the data that jobs share (lists, decoded images, features of frozen trunks), each once.

    Returns a line on each kind of store.
    """
    for trial in dict.fromkeys(job.trial for job in jobs):
        check_machine(begin(trial, places.results), machine)
    shared = {_shares(job): job for job in jobs}.values()
    return list(dict.fromkeys(prepare(job.trial, job.number, places, machine) for job in shared))


def finished(job: Job, places: Places) -> bool:
    """Whether the run's record is complete."""
    return is_there(job.folder(places.results) / "summary.json")


def damage(job: Job, places: Places) -> Failed | None:
    """The failure of a job whose records are damaged, so that it can neither count as finished nor go on."""
    folder = job.folder(places.results)
    config = folder.parent / "config.json"
    try:
        if is_there(config):
            schema.read_checked(config, schema.CONFIG)
        threads_before([folder.parent])
        if finished(job, places):
            read_summary(folder)
        else:
            failures.read(folder)
    except Damaged as error:
        return Failed(job, failures.Failure(str(error), ()))
    return None


def record(outcome: Outcome, places: Places) -> None:
    """Write the record of a failure, or the published tables of a trial with one more finished run."""
    folder = outcome.job.folder(places.results)
    if isinstance(outcome, Failed):
        if is_there(folder):  # else removed by its user
            failures.write(folder, outcome.failure)
    else:
        # A damaged record must not stop other runs; `write_tables_of` reports it at the end.
        with suppress(InputError):
            write_published_tables(folder.parent)


def run_jobs(jobs: Sequence[Job], places: Places, machines: Sequence[Machine], watch: Watch) -> None:
    """Execute all jobs, the first one first, in as many worker processes as there are `machines`.

    A run that another process is learning is left to that process, and its end is waited for. Raises `DiskFull`;
    checkpoints are kept then, as they are when this process is interrupted or killed.
    """
    do_all(jobs, places, _Processes(places, machines[: len(jobs)]), watch)


def do_all(jobs: Sequence[Job], places: Places, crew: Crew, watch: Watch) -> None:
    """Execute all jobs with the workers of `crew`, then stop them; see `run_jobs`."""
    waiting, deaths = deque(jobs), _Deaths(places)
    try:
        while waiting or crew.busy():
            for worker in crew.free():
                job = _next(waiting, places, watch)
                if job is not None:
                    watch.started(job)
                    worker.give(job)
            for worker, message in crew.news():
                job = worker.job
                if job is None:  # no message without a job
                    continue
                if isinstance(message, Learned):
                    watch.learned(job, message.images, message.of, message.accuracy)
                    continue
                worker.job = None
                match message:
                    case Elsewhere():
                        waiting.append(job)
                    case Died() if deaths.count(job) < TRIES:
                        waiting.appendleft(job)
                    case OutOfSpace(problem):
                        raise DiskFull(problem)
                    case Died(how):
                        failure = failures.failure(job.folder(places.results), f"{how}, {TRIES} times")
                        _end(Failed(job, failure), places, watch)
                    case Finished() | Failed() | Stopped():
                        _end(message, places, watch)
    finally:
        crew.stop()


def _end(outcome: Outcome | Stopped, places: Places, watch: Watch) -> None:
    if isinstance(outcome, Stopped):
        watch.stopped(outcome)
        return
    record(outcome, places)
    watch.ended(outcome)


class _Processes:
    """Crew of worker processes on this machine."""

    def __init__(self, places: Places, machines: Sequence[Machine]):
        self._places = places
        self._workers = [_Worker.start(places, machine) for machine in machines]

    def free(self) -> list["_Worker"]:
        return [worker for worker in self._workers if worker.job is None]

    def busy(self) -> bool:
        return any(worker.job for worker in self._workers)

    def news(self) -> Iterator[tuple["_Worker", Message]]:
        busy = {worker.connection: worker for worker in self._workers if worker.job}
        if not busy:
            time.sleep(ELSEWHERE)
        ready = connection.wait(list(busy), timeout=memory.LOOK) if busy else []
        for end, worker in busy.items():
            if end in ready:
                message = worker.receive()
            elif worker.job and worker.takes_too_much():
                message = worker.end_for_memory(worker.job, self._places)
            else:
                continue
            if isinstance(message, Died) or not worker.process.is_alive():
                self._workers[self._workers.index(worker)] = _Worker.start(self._places, worker.machine)
            yield worker, message

    def stop(self) -> None:
        for worker in self._workers:
            worker.stop()


@dataclass
class _Worker:
    """A worker process and its job, on the owner's side of the connection."""

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
        with suppress(OSError):  # the process is dead already; `receive` will find out
            self.connection.send(job)

    def receive(self) -> Message:
        """The worker's next message."""
        try:
            message: Message = self.connection.recv()
            return message
        except (EOFError, OSError):
            self.process.join()
            return Died(_how_it_ended(self.process.exitcode))

    def takes_too_much(self) -> bool:
        """Whether the process keeps more memory than it may."""
        limit = self.machine.max_memory
        return limit is not None and self.process.pid is not None and memory.used(self.process.pid) > limit

    def end_for_memory(self, job: Job, places: Places) -> Failed:
        """End the process and its job."""
        self.stop()
        reason = memory.exceeded(self.machine.max_memory or 0)
        return Failed(job, failures.failure(job.folder(places.results), reason))

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


class _Deaths:
    """Deaths of each job's worker since the job's last new checkpoint."""

    def __init__(self, places: Places):
        self._places = places
        self._seen: dict[Job, tuple[int | None, int]] = {}

    def count(self, job: Job) -> int:
        """Count one more death of the job's worker; returns the deaths since the run's last new checkpoint."""
        reached = checkpointed(job.folder(self._places.results))
        before, deaths = self._seen.get(job, (None, 0))
        deaths = deaths + 1 if reached == before else 1
        self._seen[job] = (reached, deaths)
        return deaths


def _next(waiting: deque[Job], places: Places, watch: Watch) -> Job | None:
    """The next job that is neither finished nor locked by another process; locked ones go to the end."""
    for _ in range(len(waiting)):
        job = waiting.popleft()
        folder = job.folder(places.results)
        if finished(job, places):
            _end_elsewhere(job, folder, watch)
        elif is_locked(folder):
            waiting.append(job)
        else:
            return job
    return None


def _end_elsewhere(job: Job, folder: Path, watch: Watch) -> None:
    """Report a run that another process has finished."""
    try:
        watch.ended(Finished(job, read_summary(folder), None))
    except Damaged as error:
        watch.ended(Failed(job, failures.Failure(str(error), ())))


def _how_it_ended(code: int | None) -> str:
    """The end of a process in words, from its exit status."""
    how = f"by {_signal(-code)}" if code is not None and code < 0 else f"with status {code}"
    memory = ", as the kernel does when memory runs out" if code == -signal.SIGKILL else ""
    return f"its process ended {how}{memory}"


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal: only the first and the last have names
        return f"signal {number}"


def _shares(job: Job) -> tuple[object, ...]:
    """Key of the lists and stores that a job needs: equal for jobs that share them."""
    offline = registry.get(job.trial.agent).needs.offline
    lists = (
        *attrgetter("dataset", "paradigm", "variant", "split", "image_size")(job.trial),
        *attrgetter("tasks", "class_order", "order_seed")(job.trial),
        offline,
        job.number,
    )
    return (
        *lists,
        *attrgetter("network", "cut", "pretrained", "weights", "feature_dtype", "codebooks", "seed")(
            job.trial
        ),
    )
