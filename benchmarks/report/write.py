"""The report of one results folder, or of two side by side: tables, plots, and what is missing."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lethe.benchmarks.records import failures
from lethe.benchmarks.records.read import TrialRecord, find_trials
from lethe.benchmarks.report.comparison import compare, judged_alike
from lethe.benchmarks.report.cost_plots import write_cost_plots
from lethe.benchmarks.report.increments import increment_tables, write_increments
from lethe.benchmarks.report.notes import notes
from lethe.benchmarks.report.offline_curve import read_offline_curve
from lethe.benchmarks.report.pages import write_tables
from lethe.benchmarks.report.plots import write_plots
from lethe.benchmarks.report.published_numbers import read_curves
from lethe.benchmarks.report.tables import plain_text
from lethe.benchmarks.report.tested_tables import main_table
from lethe.benchmarks.report.two_folders import (
    difference_tables,
    folder_names,
    lone_trials,
    write_differences,
)
from lethe.common.errors import InputError
from lethe.common.input_problems import first
from lethe.common.printable import printable
from lethe.dataloaders.index import find, folders

_HOW_TO_RUN = "make one with `lethe run DATASET/PARADIGM --agent AGENT`"


@dataclass(frozen=True)
class ReportSummary:
    """Result of a report, as printed on the terminal."""

    table: str
    """For every dataset, accuracy on seen classes averaged over tasks, agents x paradigms."""
    files: tuple[Path, ...]
    """Files written."""
    notes: tuple[str, ...]
    """One sentence per reservation about the numbers."""


def report(
    results: Path,
    out: Path,
    other: Path | None = None,
    data: Path = folders.DATA,
    offline_curve: Path | None = None,
) -> ReportSummary:
    """Write the tables and plots of all trials under `results` into `out`, beside those under `other` if it is given.

    Ω_all is relative to the curve in the file `offline_curve` if that is given (see `offline_curve.py`).
    `data` holds a folder per dataset; a user's own has its title in its `dataset.toml`.

    `InputError` if there is no trial with a finished run, if records cannot be read (with all problems), or if `out`
    cannot be written.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: expected a folder to write the report into, but it is a file")
    curve = read_offline_curve(offline_curve) if offline_curve else None
    roots = [results] if other is None else [results, other]
    names = folder_names(roots)
    found = [(trial, name) for root, name in zip(roots, names, strict=True) for trial in _trials(root)]
    told, kept = [], []
    for trial, source in found:
        if reason := _failure(trial):
            place = f"{trial.config['dataset']}/{trial.config['paradigm']}"
            name = f"{trial.config['agent']} [{trial.path.name}]{f' ({source})' if other else ''}"
            told.append(printable(f"{place}: {name} is left out, {reason}"))
        else:
            kept.append((trial, source))
    judged = judged_alike([trial for trial, _ in found])
    begun = {trial.config["dataset"] for trial in judged if trial.runs}
    if not begun:
        raise InputError(
            f"{results}: none of the runs of its {len(judged)} trial(s) has finished: "
            "give the same `lethe run` command again, it goes on where it stopped"
        )
    kept = [(trial, source) for trial, source in kept if trial.config["dataset"] in begun]
    comparison = compare(
        [trial for trial, _ in kept],
        [source for _, source in kept] if other else (),
        {dataset: title for dataset in begun if (title := _title(dataset, data))},
        curve,
    )
    left_out = sorted({trial.config["dataset"] for trial in judged} - begun)
    silent = [
        f"{_title(dataset, data) or find.title(dataset)}: left out, because none of its runs has finished"
        for dataset in left_out
    ]
    published, shown, files = read_curves(), [], write_tables(comparison, out)
    files.append(write_increments(comparison, out / "increments.csv"))
    for dataset in comparison.datasets():
        tables = [main_table(comparison, dataset), *increment_tables(comparison, dataset, published)]
        if other:
            tables += difference_tables(comparison, dataset)[:1]
        shown += [f"{comparison.title(dataset)}: {plain_text(table)}" for table in tables]
    if other:
        files.append(write_differences(comparison, out / "differences.csv"))
    drawn, undrawn = write_cost_plots(comparison, out)
    files += [*write_plots(comparison, out), *drawn]
    return ReportSummary(
        "\n\n".join(shown),
        tuple(files),
        (*notes(comparison), *(lone_trials(comparison) if other else ()), *first(told), *silent, *undrawn),
    )


def _trials(root: Path) -> list[TrialRecord]:
    if not root.is_dir():
        raise InputError(f"{root}: expected a folder of results, but there is none: {_HOW_TO_RUN}")
    if not (found := find_trials(root)):
        raise InputError(
            f"{root}: no trial found, expected <dataset>/<paradigm>/<agent>/<trial>/config.json: {_HOW_TO_RUN}"
        )
    return found


def _failure(trial: TrialRecord) -> str:
    """Why no run of `trial` has a number, if all that were begun have failed; else empty."""
    if trial.runs:
        return ""
    reasons = [(run, failures.read(trial.path / f"run{run}")) for run in trial.unfinished]
    if not reasons:
        return "because no run was begun"
    run, failure = reasons[0]
    if failure is None or any(found is None for _, found in reasons):
        return ""
    return f"because run {run} failed: {failure.reason}"


def _title(dataset: str, data: Path) -> str:
    """The title of a user's own dataset; empty where its description is not there or says nothing."""
    with suppress(InputError):
        return find.get(dataset, data / dataset).title
    return ""
