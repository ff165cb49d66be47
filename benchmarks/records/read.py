"""Reading what runs have left: the trials of a results folder, with their finished runs."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lethe.common.errors import InputError
from lethe.common.files import read_json

FORMAT = 3
"""Of a trial's folder; a change that older code cannot read is a new number."""


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


def find_trials(root: Path) -> list[TrialRecord]:
    """Every trial below `root`, sorted by path; `InputError` with all problems if records are damaged."""
    trials, problems = [], []
    for config in sorted(root.glob("*/*/*/*/config.json")):
        try:
            trials.append(read_trial(config.parent))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(*problems)
    return trials


def read_trial(folder: Path) -> TrialRecord:
    """The trial in `folder`; `InputError` with all problems if its records are damaged."""
    config = read_json(folder / "config.json")
    if config.get("format") != FORMAT:
        raise InputError(
            f"{folder}: expected results of format {FORMAT}, got {config.get('format')}: "
            "read them with the version that made them"
        )
    runs, unfinished, problems = [], [], []
    for path in folder.glob("run*"):
        number = path.name.removeprefix("run")
        if not number.isdecimal():
            continue
        if not (path / "summary.json").exists():
            unfinished.append(int(number))
            continue
        try:
            runs.append(read_run(path, int(number)))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(*problems)
    runs.sort(key=lambda record: record.run)
    environment = folder / "env.json"
    needs = read_json(environment).get("needs", {}) if environment.exists() else {}
    return TrialRecord(folder, config, needs, tuple(runs), tuple(sorted(unfinished)))


def read_run(folder: Path, number: int) -> RunRecord:
    """The finished run in `folder`; `InputError` if its record is damaged."""
    summary = read_json(folder / "summary.json")
    path = folder / "accuracy.csv"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = list(csv.reader(file))
        table = np.array([[float(cell) if cell else np.nan for cell in row[1:]] for row in rows])
        groups = len(header) - 2 - ("top5_seen" in header)
        accuracy, top5 = table[:, : 1 + groups], table[:, -1] if "top5_seen" in header else None
        classes_seen = tuple(int(count) for count in summary["classes_seen"])
        if len(classes_seen) != len(accuracy):
            raise ValueError(f"expected {len(classes_seen)} tasks, got {len(accuracy)}")
    except (OSError, ValueError, IndexError, KeyError, TypeError) as error:
        raise InputError(f"{path}: damaged ({error}): delete its folder to make it anew") from error
    return RunRecord(number, accuracy, top5, classes_seen, summary)
