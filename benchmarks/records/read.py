"""Reading of results: the trials of a results folder, with their finished runs."""

import csv
import hashlib
import io
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lethe.agents.outputs import check_name
from lethe.benchmarks.records import schema, seal
from lethe.common.errors import Damaged, InputError
from lethe.common.files import is_there, read_json, read_text

FORMAT = 5
"""Format number of a trial's folder; increased by every change that older code cannot read."""


@dataclass(frozen=True)
class RunRecord:
    """One finished run."""

    run: int
    accuracy: np.ndarray
    """float64 [T, 1 + G], percent; see `benchmarks.measure.metrics`."""
    top5: np.ndarray | None
    """float64 [T], percent, where it was measured."""
    classes_seen: tuple[int, ...]
    """After each task."""
    summary: Mapping[str, Any]
    further: Mapping[str, np.ndarray] = field(default_factory=dict)
    """`accuracy` of each further output of the agent (`Agent.predict_also`), by name."""
    groups_top5: np.ndarray | None = None
    """float64 [T, G], percent, top-5 on each group of classes, where it was measured."""
    group_images: tuple[int, ...] = ()
    """Test images of each group [G]."""


@dataclass(frozen=True)
class TrialRecord:
    """One trial's folder."""

    path: Path
    config: Mapping[str, Any]
    needs: Mapping[str, bool]
    runs: tuple[RunRecord, ...]
    """Finished runs, ascending."""
    unfinished: tuple[int, ...]
    """Runs that were begun and not finished, ascending."""
    weights: str = ""
    """Fingerprint of the pretrained weights; empty without."""
    pretraining: str = ""
    """What they were learned from; empty where that is not known."""


def accuracy_file(output: str = "") -> str:
    """The name of the file with the accuracies of an agent's answer (""), or of a further output."""
    if output:
        check_name(output)
        return f"accuracy_{output}.csv"
    return "accuracy.csv"


def top5_file(output: str = "") -> str:
    """As `accuracy_file`, of the top-5 accuracies of groups."""
    return accuracy_file(output).replace("accuracy", "top5_groups", 1)


def find_trials(root: Path) -> list[TrialRecord]:
    """Every trial below `root`, sorted by path; `InputError` with all problems if records are damaged."""
    trials: list[TrialRecord] = []
    problems: list[str] = []
    for folder in sorted(root.glob("*/*/*/*/")):
        if not is_there(folder / "config.json"):
            continue
        try:
            trials.append(read_trial(folder))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(*problems)
    return trials


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration of the trial in `folder`; `InputError` if it has another format, or is damaged.

    A folder's name ends in the fingerprint of its configuration; one that a user has renamed is not compared.
    """
    path = folder / "config.json"
    config = read_json(path)
    if config.get("format") != FORMAT:
        raise InputError(
            f"{folder}: expected results of format {FORMAT}, got {config.get('format')!r:.60}: "
            "read them with the version that made them"
        )
    schema.check(path, config, schema.CONFIG)
    named = re.fullmatch(r".*-([0-9a-f]{10})", folder.name, re.DOTALL)
    if named and named[1] != fingerprint(config):
        raise Damaged(f"{path}: damaged (it is not what the folder is named after): {schema.REMEDY}")
    return config


def fingerprint(config: Mapping[str, Any]) -> str:
    """Ten hexadecimal digits that stand for a configuration in the name of its folder."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:10]


def read_trial(folder: Path) -> TrialRecord:
    """The trial in `folder`; `InputError` with all problems if its records are damaged."""
    config = read_config(folder)
    runs: list[RunRecord] = []
    unfinished: list[int] = []
    problems: list[str] = []
    for path in folder.glob("run*"):
        number = path.name.removeprefix("run")
        if not re.fullmatch("0|[1-9][0-9]{0,8}", number):
            continue
        if not is_there(path / "summary.json"):
            unfinished.append(int(number))
            continue
        try:
            runs.append(read_run(path, int(number)))
        except InputError as error:
            problems += error.problems
    if problems:
        raise Damaged(*problems)
    runs.sort(key=lambda record: record.run)
    path = folder / "env.json"
    environment = schema.read_checked(path, schema.ENVIRONMENT) if is_there(path) else {}
    return TrialRecord(
        folder,
        config,
        environment.get("needs") or {},
        tuple(runs),
        tuple(sorted(unfinished)),
        weights=environment.get("weights") or "",
        pretraining=environment.get("pretraining") or "",
    )


def read_summary(folder: Path) -> dict[str, Any]:
    """The summary of the finished run in `folder`; `Damaged` if it, or a file of accuracies, is."""
    summary = schema.read_checked(folder / "summary.json", schema.SUMMARY)
    seal.check(folder, summary)
    return summary


def read_run(folder: Path, number: int) -> RunRecord:
    """The finished run in `folder`; `Damaged` if its record is."""
    summary = read_summary(folder)
    seen = tuple(summary["classes_seen"])
    accuracy, top5 = _accuracies(folder / accuracy_file(), len(seen))
    try:
        files = {name: accuracy_file(name) for name in summary.get("further") or ()}
    except ValueError as error:
        raise Damaged(f"{folder / 'summary.json'}: damaged ({error}): {schema.REMEDY}") from error
    further = {name: _accuracies(folder / file, len(seen))[0] for name, file in files.items()}
    images = tuple(summary.get("group_images") or ())
    if images and len(images) != accuracy.shape[1] - 1:
        groups = accuracy.shape[1] - 1
        raise Damaged(
            f"{folder / 'summary.json'}: damaged (group_images: expected {groups} numbers, got {len(images)}): "
            f"{schema.REMEDY}"
        )
    groups_top5 = None if top5 is None else _groups_top5(folder / top5_file(), accuracy.shape)
    return RunRecord(number, accuracy, top5, seen, summary, further, groups_top5, images)


def _groups_top5(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Top-5 accuracies of groups [T, G] beside accuracies of `shape` [T, 1 + G]; `Damaged` if the file has others."""
    names = [f"group_{group}" for group in range(shape[1] - 1)]
    _, table = _read_table(path, lambda _: names, blank_from=0)
    if len(table) != shape[0]:
        raise Damaged(f"{path}: damaged (expected {shape[0]} tasks, got {len(table)}): {schema.REMEDY}")
    return table


def _accuracies(path: Path, tasks: int) -> tuple[np.ndarray, np.ndarray | None]:
    """As `read_accuracy`; `Damaged` if the table is not over so many `tasks`."""
    accuracy, top5 = read_accuracy(path)
    if tasks != len(accuracy):
        raise Damaged(f"{path}: damaged (expected {tasks} tasks, got {len(accuracy)}): {schema.REMEDY}")
    return accuracy, top5


def read_accuracy(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Accuracies in percent after each task [T, 1 + G], NaN where undefined, and top-5 accuracies [T], if there are.

    `Damaged` if the file is: other columns, tasks out of order, or a value that is no percentage.
    """
    header, table = _read_table(path, _accuracy_columns, blank_from=1)
    groups = len(header) - 2 - ("top5_seen" in header)
    return table[:, : 1 + groups], table[:, -1] if "top5_seen" in header else None


def _accuracy_columns(header: Sequence[str]) -> list[str]:
    """The columns, after the task, that a table of accuracies must have to have this `header`."""
    top5 = header[-1:] == ["top5_seen"]
    groups = max(1, len(header) - 2 - top5)
    return ["seen", *(f"group_{group}" for group in range(groups)), *["top5_seen"] * top5]


def _read_table(
    path: Path, columns: Callable[[Sequence[str]], Sequence[str]], blank_from: int
) -> tuple[list[str], np.ndarray]:
    """Header, and percentages [T, C], of a table with a row a task; NaN for a blank, from column `blank_from` on.

    `columns` gives the names expected after the task, from the header. `Damaged` if the file is.
    """
    try:
        header, *rows = csv.reader(io.StringIO(read_text(path)))
        names = ["task", *columns(header)]
        if header != names or not rows:
            raise ValueError(
                f"expected columns {', '.join(names[:3])}, ... and a row a task, got {header[:4]}"
            )
        if any(len(row) != len(header) for row in rows):
            raise ValueError(f"expected {len(header)} values in each row")
        if [row[0] for row in rows] != [str(task) for task in range(len(rows))]:
            raise ValueError("expected tasks 0, 1, ... in order")
        cells = [
            [_percent(cell, blank=place >= blank_from) for place, cell in enumerate(row[1:])] for row in rows
        ]
        return header, np.array(cells)
    except (InputError, ValueError, csv.Error) as error:
        told = str(error).removeprefix(f"{path}: ")
        raise Damaged(f"{path}: damaged ({told}): {schema.REMEDY}") from error


def _percent(cell: str, *, blank: bool) -> float:
    if blank and not cell:
        return math.nan
    value = float(cell)
    schema.PERCENT.check(value, "accuracy")
    return value
