"""Folders of a grid search that never ran: trials of a real grid file with made numbers."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from lethe.agents import registry
from lethe.benchmarks.records import failures
from lethe.benchmarks.records.read import RunRecord
from lethe.benchmarks.run.trial import Trial, begin
from lethe.gridsearch.grid import Grid, read


def grid(folder: Path, text: str) -> Grid:
    """The grid of a file with that text."""
    path = folder / "made.toml"
    path.write_text(text, encoding="utf-8")
    return read(path)


def finish(results: Path, trial: Trial, *runs: RunRecord) -> Path:
    """Write finished runs of `trial` where real ones would lie."""
    folder = begin(trial, results)
    (folder / "env.json").write_text(json.dumps({"needs": asdict(registry.get(trial.agent).needs)}))
    for record in runs:
        place = folder / f"run{record.run}"
        place.mkdir()
        rows = [f"{task},{seen!r},{first!r}" for task, (seen, first) in enumerate(record.accuracy.tolist())]
        (place / "accuracy.csv").write_text("\n".join(["task,seen,group_0", *rows]) + "\n")
        (place / "summary.json").write_text(json.dumps(record.summary))
    return folder


def fail(results: Path, trial: Trial, reasons: Mapping[int, str]) -> None:
    """Record that runs of `trial` failed."""
    folder = begin(trial, results)
    for run, reason in reasons.items():
        (folder / f"run{run}").mkdir()
        failures.write(folder / f"run{run}", failures.Failure(reason, ("Traceback",)))


def pick(trials: Sequence[Trial], **settings: object) -> Trial:
    """The one trial with those settings."""
    (found,) = [
        trial for trial in trials if all(trial.settings[key] == value for key, value in settings.items())
    ]
    return found
