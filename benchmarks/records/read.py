"""Reading of results: the trials of a results folder, with their finished runs."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lethe.agents.outputs import check_name
from lethe.common.errors import InputError
from lethe.common.files import read_json

FORMAT = 3
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


def accuracy_file(output: str = "") -> str:
    """The name of the file with the accuracies of an agent's answer (""), or of a further output."""
    if output:
        check_name(output)
        return f"accuracy_{output}.csv"
    return "accuracy.csv"


def find_trials(root: Path) -> list[TrialRecord]:
    """Every trial below `root`, sorted by path; `InputError` with all problems if records are damaged."""
    trials: list[TrialRecord] = []
    problems: list[str] = []
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
    runs: list[RunRecord] = []
    unfinished: list[int] = []
    problems: list[str] = []
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
    try:
        classes_seen = tuple(int(count) for count in summary["classes_seen"])
        further_files = {name: accuracy_file(name) for name in summary.get("further", {})}
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(folder / "summary.json", error) from error
    accuracy, top5 = _accuracies(folder / accuracy_file(), len(classes_seen))
    further = {name: _accuracies(folder / file, len(classes_seen))[0] for name, file in further_files.items()}
    return RunRecord(number, accuracy, top5, classes_seen, summary, further)


def _accuracies(path: Path, tasks: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Accuracies [T, 1 + G] and, where measured, top-5 [T] of the table at `path`."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = list(csv.reader(file))
        table = np.array([[float(cell) if cell else np.nan for cell in row[1:]] for row in rows])
        groups = len(header) - 2 - ("top5_seen" in header)
        accuracy, top5 = table[:, : 1 + groups], table[:, -1] if "top5_seen" in header else None
        if tasks != len(accuracy):
            raise ValueError(f"expected {tasks} tasks, got {len(accuracy)}")
    except (OSError, ValueError, IndexError, KeyError, TypeError) as error:
        raise _damaged(path, error) from error
    return accuracy, top5


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(f"{path}: damaged ({error}): delete its folder to make it again")
