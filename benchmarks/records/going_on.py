"""Checks of what an interrupted run goes on from: its checkpoint, and the log that was written before it."""

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lethe.agents.base import Agent
from lethe.agents.config import Config
from lethe.benchmarks.records import schema
from lethe.benchmarks.records.checkpoint import REMEDY
from lethe.common.errors import Damaged, InputError
from lethe.common.files import open_regular

_CHUNK = 1 << 20
_TABLES = ("rows", "top5", "groups_top5")
"""Accuracies of each output, a row a task."""


def check(
    path: Path,
    saved: Mapping[str, Any],
    identity: Mapping[str, object],
    config: Config,
    tasks: Sequence[int],
) -> None:
    """`Damaged` unless the state `saved` at `path` can be that of a run of `config` over `tasks`, in images.

    Position, images, steps and rows say the same in several ways: all must agree. `InputError` if it was made with
    other lists or as another run than `identity` says.
    """
    schema.check(path, saved, schema.CHECKPOINT, REMEDY)
    if saved["identity"] != identity:
        raise InputError(
            f"{path}: made with {saved['identity']}, now there is {identity}: "
            "restore the data it was made with, or delete this run's folder"
        )
    try:
        _check_position(saved, config, tasks)
    except ValueError as error:
        raise Damaged(f"{path}: damaged checkpoint ({error}): {REMEDY}") from None


def _check_position(saved: Mapping[str, Any], config: Config, tasks: Sequence[int]) -> None:
    task, epoch, batch = saved["position"]
    passes = [config.epochs_of(index) for index in range(len(tasks))]
    batches = [-(-count // config.batch_size_of(index)) for index, count in enumerate(tasks)]
    within = (task, epoch, batch) == (len(tasks), 0, 0) or (
        task < len(tasks) and epoch < passes[task] and batch <= batches[task]
    )
    if not within:
        raise ValueError(f"position {task}, {epoch}, {batch} is not in the stream")
    steps = sum(times * count for times, count in zip(passes[:task], batches[:task], strict=True))
    images = sum(times * count for times, count in zip(passes[:task], tasks[:task], strict=True))
    if task < len(tasks):
        steps += epoch * batches[task] + batch
        images += epoch * tasks[task] + min(batch * config.batch_size_of(task), tasks[task])
    tables = {"": saved, **{f"further.{name}.": each for name, each in saved["further"].items()}}
    for name, expected, found in (
        ("steps", steps, saved["steps"]),
        ("images", images, saved["images"]),
        *((f"{place}{name}", task, len(each[name])) for place, each in tables.items() for name in _TABLES),
        ("collapses", task, len(saved["collapses"])),
    ):
        if expected != found:
            raise ValueError(f"{name}: expected {expected} at position {task}, {epoch}, {batch}, got {found}")
    for each in tables.values():
        groups = [row for row in each["groups_top5"] if row is not None]
        if any(len(row) != len(saved["rows"][0]) for row in each["rows"]):
            raise ValueError("rows: expected one length")
        if any(len(row) + 1 != len(saved["rows"][0]) for row in groups):
            raise ValueError("groups_top5: expected one length")
        if len(groups) not in (0, task) or len(groups) != sum(value is not None for value in each["top5"]):
            raise ValueError("groups_top5: expected one row for each value of top5, of all tasks or none")


def check_log(path: Path, length: int, crc32: int) -> None:
    """`Damaged` unless the first `length` bytes of the log at `path` are those that were written."""
    found, left = 0, length
    try:
        with open_regular(path) as file:
            while left and (chunk := file.read(min(left, _CHUNK))):
                found, left = zlib.crc32(chunk, found), left - len(chunk)
    except InputError as error:
        if length:
            raise Damaged(f"{error}: delete this run's folder to restart it") from error
    if left or found != crc32:
        what = f"is {left} bytes too short" if left else "has changed since it was written"
        raise Damaged(f"{path}: damaged (it {what}): delete this run's folder to restart it")


def load(path: Path, state: Mapping[str, object], agent: Agent) -> None:
    """Give `agent` the state saved at `path`; `Damaged` where it is that of another agent."""
    try:
        agent.load_state_dict(state)
    except Exception as error:  # whatever an agent's own method raises for a state that it did not make
        told = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise Damaged(
            f"{path}: damaged checkpoint, or one of another version of the agent ({told}): {REMEDY}"
        ) from error
