"""Choice of the engine that executes runs: worker processes on this machine, or a Ray cluster.

Both give the same results to the bit, given the same number of CPU threads per run and the same instruction sets.
"""

import argparse
import functools

import torch

from lethe.benchmarks.run.experiment import Machine
from lethe.benchmarks.workers import memory
from lethe.benchmarks.workers.pool import cores, run_jobs
from lethe.common.command_line import below_one
from lethe.common.errors import InputError
from lethe.gridsearch.plan import Engine


def engine(options: argparse.Namespace) -> tuple[Engine, list[Machine]]:
    """The engine for the options of a command, and the `Machine` of each of its workers."""
    problems = below_one(options, "runs", "workers", "threads", "trials_per_gpu", "checkpoint_batches")
    if options.address and options.engine != "ray":
        problems.append("--address is an option of --engine ray")
    if problems:
        raise InputError(*problems)
    if options.engine == "ray":
        from lethe.gridsearch.engines.ray_cluster import ray_engine

        return ray_engine(options)
    machines = _machines(options)
    return functools.partial(run_jobs, machines=machines), machines


def _machines(options: argparse.Namespace) -> list[Machine]:
    """A `Machine` for each worker process: its device and threads."""
    gpus = _gpus(options.gpus)
    if not gpus:
        count = options.workers or max(1, cores() // options.threads)
        limit = memory.limit_of(options.max_memory, count)
        return [_machine(options, "cpu", limit)] * count
    if options.workers:
        raise InputError("--workers counts runs on the CPU; on GPUs say --trials-per-gpu")
    # One worker of each GPU, then the second of each: few runs spread over all of them.
    devices = [f"cuda:{gpu}" for _ in range(options.trials_per_gpu) for gpu in gpus]
    limit = memory.limit_of(options.max_memory, len(devices))
    return [_machine(options, device, limit) for device in devices]


def _machine(options: argparse.Namespace, device: str, limit: int | None) -> Machine:
    return Machine(
        device,
        options.threads,
        options.checkpoint_batches,
        keep_model=options.keep_model,
        max_memory=limit,
        store=options.store,
    )


def _gpus(asked: str | None) -> list[int]:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if asked is None:
        return list(range(count))
    if asked == "none":
        return []
    names = asked.split(",")
    if not all(name.isdecimal() and int(name) < count for name in names):
        there = f"numbers below {count}" if count else "none: there is no GPU here"
        raise InputError(f"--gpus {asked}: expected {there}")
    return [int(name) for name in names]
