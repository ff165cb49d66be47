"""The Ray engine: runs on the nodes of a Ray cluster, in actors that each execute one run after the other.

The package is sent to the nodes. Data and results are looked for under the same absolute paths as here. A node that
cannot write to the results folder writes to a folder of its own and sends the run's files at the end; the run is locked
by this process meanwhile. An actor that dies, alone or with its node, is replaced as soon as the cluster has free
resources, and its run goes on from the last checkpoint in the results folder.
"""

import argparse
import functools
import json
import logging
import os
import re
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol, cast

from lethe.benchmarks.records import failures, provenance
from lethe.benchmarks.records.lock import lock
from lethe.benchmarks.run.experiment import Machine, Places
from lethe.benchmarks.run.job import Job
from lethe.benchmarks.run.trial import begin
from lethe.benchmarks.workers.forkserver import KEEP_PAGES
from lethe.benchmarks.workers.messages import Died, Elsewhere, Learned, Message
from lethe.benchmarks.workers.pool import ELSEWHERE, TRIES, Watch, do_all
from lethe.common import processor
from lethe.common.errors import InputError
from lethe.common.files import read_json
from lethe.common.locks import Locked
from lethe.gridsearch.engines.ray_actor import Actor, Sent, keep
from lethe.gridsearch.engines.ray_package import package_copy
from lethe.gridsearch.plan import Engine

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # read when Ray is loaded
try:
    import ray
    from ray.actor import ActorHandle
    from ray.exceptions import RayError
except ModuleNotFoundError as error:
    raise InputError("--engine ray needs Ray: pip install -r requirements-ray.txt") from error

_START = (
    "start one with `ray start --head --port=6379`, `ray start --address=HEAD:6379` on every other machine"
)
_CONNECT_SECONDS = 5.0


def ray_engine(options: argparse.Namespace) -> tuple[Engine, list[Machine]]:
    """The engine on the cluster at `options.address`, and the `Machine` of each run that it executes at a time.

    `InputError` where there is no cluster, or no node has enough resources for a run.
    """
    if options.gpus not in (None, "none"):
        raise InputError(f"--gpus {options.gpus}: Ray chooses the GPUs: leave the option out, or give none")
    if not ray.is_initialized():
        _connect(options.address or "auto")
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]  # Ray's
    on_gpus = options.gpus is None and any(node.get("GPU") for node in nodes)
    per_gpu = options.trials_per_gpu if on_gpus else None
    slots = sum(_slots(node, options.threads, per_gpu) for node in nodes)
    if not slots:
        wanted = f"{options.threads} CPUs (--threads)" + (" and a GPU" if on_gpus else "")
        there = ", ".join(f"{node.get('CPU', 0):.0f}" for node in nodes)
        raise InputError(f"--engine ray: expected a node with {wanted}, got nodes with {there} CPUs")
    count = min(slots, options.workers or slots)
    device = "cuda:0" if on_gpus else "cpu"
    machine = Machine(
        device,
        options.threads,
        options.checkpoint_batches,
        keep_model=options.keep_model,
        store=options.store,
    )
    gpus = 1 / per_gpu if per_gpu else 0.0
    return functools.partial(_run_jobs, machine=machine, gpus=gpus, count=count), [machine] * count


def _run_jobs(
    jobs: Sequence[Job],
    places: Places,
    watch: Watch,
    *,
    machine: Machine,
    gpus: float,
    count: int,
) -> None:
    """As `benchmarks.workers.pool.run_jobs`, with `count` actors on nodes like `machine`, each with `gpus` of a GPU."""
    places = Places(places.results.absolute(), places.data.absolute(), places.lists.absolute())
    places.results.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(prefix=".seen-", dir=places.results) as token:
        crew = _Cluster(places, Path(token.name), machine, gpus, min(count, len(jobs)))
        do_all(jobs, places, crew, watch)


def _slots(node: Mapping[str, float], threads: int, per_gpu: int | None) -> int:
    """The number of runs that a node with these resources can execute at a time."""
    slots = int(node.get("CPU", 0)) // threads
    return slots if per_gpu is None else min(slots, int(node.get("GPU", 0)) * per_gpu)


def _connect(address: str) -> None:
    """Connect to the cluster and send it the package; `InputError` where there is none."""
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS", "auto")
    if address != "auto":
        _check_reachable(address)
    # Errors on a node are reported here, in one line per run; Ray has no setting that stops it from printing them too.
    ray._private.worker._worker_logs_enabled = False
    variables = {
        # A user's own agents are found in the folder in which the command is given.
        "PYTHONPATH": str(Path.cwd()),
        "GLIBC_TUNABLES": os.environ.get("GLIBC_TUNABLES", KEEP_PAGES),
        provenance.CODE: json.dumps(provenance.code()),
        **(processor.PORTABLE if processor.is_portable() else {}),
    }
    try:
        with package_copy() as code:  # sent by the time that `init` returns
            ray.init(
                address=address,
                runtime_env={"working_dir": str(code), "env_vars": variables},
                log_to_driver=False,
                logging_level=logging.CRITICAL,
            )
    except (OSError, RuntimeError, ValueError) as error:  # a ConnectionError is an OSError
        told = str(error).strip().partition("\n")[0]
        raise InputError(f"--address {address}: no Ray cluster: {told}: {_START}") from error


def _check_reachable(address: str) -> None:
    """`InputError` unless something listens at HOST:PORT: Ray would retry for two minutes, then end the process."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise InputError(f"--address {address}: expected auto or HOST:PORT, such as 192.168.0.1:6379")
    try:
        socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"--address {address}: no Ray cluster there ({error}): {_START}") from error


class _Method(Protocol):
    """A method of a remote actor."""

    def remote(self, *arguments: object) -> "ray.ObjectRef[Any]":
        """Call it, without waiting for the result."""


class _Handle(Protocol):
    """Handle of a remote `Actor`."""

    sees_results: _Method
    learn: _Method
    news: _Method


@dataclass(eq=False)
class _Slot:
    """A remote actor and its job."""

    places: Places
    actor: _Handle
    answer: "ray.ObjectRef[Any] | None"
    """Result of the last call of the actor; None when it is idle."""
    job: Job | None = None
    sees_results: bool | None = None
    """None until the actor has started."""
    lock: IO[bytes] | None = None
    """Lock of the job's run, where the actor does not see the results folder."""

    def give(self, job: Job) -> None:
        """Start `job` in the actor."""
        self.job, environment = job, None
        if not self.sees_results:
            folder = begin(job.trial, self.places.results)
            try:
                self.lock = lock(job.folder(self.places.results))
            except Locked:
                self.answer = ray.put(Elsewhere(job))
                return
            failures.clear(job.folder(self.places.results))
            environment = read_json(folder / "env.json") if (folder / "env.json").exists() else None
        self.answer = self.actor.learn.remote(job, environment)

    def receive(self, answer: "ray.ObjectRef[Any]") -> Message | bool:
        """The actor's message, or that it has started; raises a `RayError` if it is dead."""
        message: Message | Sent | bool = ray.get(answer)
        if isinstance(message, Learned):
            self.answer = self.actor.news.remote()
            return message
        self.answer = None
        if isinstance(message, Sent):
            message = keep(message, self.places)
        self.release()
        return message

    def release(self) -> None:
        """Unlock the run."""
        if self.lock is not None:
            self.lock.close()
            self.lock = None

    def kill(self) -> None:
        """Kill the actor and unlock the run."""
        ray.kill(cast("ActorHandle[Actor]", self.actor))
        self.release()


class _Cluster:
    """A crew (see `benchmarks.workers.pool`) of `count` actors."""

    def __init__(self, places: Places, token: Path, machine: Machine, gpus: float, count: int):
        self._places = places
        self._class = ray.remote(num_cpus=machine.threads, num_gpus=gpus)(Actor)
        self._arguments = (places, token, machine)
        self._stillborn = 0
        self._slots = [self._start() for _ in range(count)]

    def _start(self) -> _Slot:
        actor = cast(_Handle, self._class.remote(*self._arguments))
        return _Slot(self._places, actor, actor.sees_results.remote())

    def free(self) -> list[_Slot]:
        """The slots with an idle actor."""
        return [slot for slot in self._slots if slot.answer is None]

    def busy(self) -> bool:
        """Whether any actor has a job."""
        return any(slot.job for slot in self._slots)

    def news(self) -> Iterator[tuple[_Slot, Message]]:
        """Messages of actors with a job; dead actors are replaced."""
        asked = {slot.answer: slot for slot in self._slots if slot.answer is not None}
        if not asked:
            time.sleep(ELSEWHERE)
            return
        for answer in ray.wait(list(asked), timeout=ELSEWHERE)[0]:
            slot = asked[answer]
            message: Message | bool
            try:
                message = slot.receive(answer)
            except RayError as error:
                message = self._replace(slot, error)
            if isinstance(message, bool):  # the actor has started
                slot.sees_results, self._stillborn = message, 0
            elif slot.job is not None:
                yield slot, message

    def stop(self) -> None:
        """Kill all actors; the last checkpoints of their runs are kept."""
        for slot in self._slots:
            slot.kill()

    def _replace(self, slot: _Slot, error: RayError) -> Died:
        """Replace an actor that is dead or cannot be reached."""
        how = _told(error)
        self._stillborn += slot.sees_results is None
        if self._stillborn > TRIES * len(self._slots):
            raise InputError(f"--engine ray: no worker can start on the cluster: {how}") from error
        slot.kill()
        self._slots[self._slots.index(slot)] = self._start()
        return Died(how)


def _told(error: RayError) -> str:
    """A Ray error in one line."""
    text = str(error).strip()
    dead = re.search(r"The actor is dead because (its [^.]*)\.", text)
    return f"its Ray worker is gone: {dead[1]}" if dead else text.splitlines()[-1]
