"""The report of a results folder: tables, plots, and what is missing."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lethe.benchmarks.records.read import TrialRecord, find_trials
from lethe.benchmarks.report.comparison import CONDITIONS, Comparison, Entry, compare, judged_alike
from lethe.benchmarks.report.costs import instruction_set_notes
from lethe.benchmarks.report.plots import write_plots
from lethe.benchmarks.report.tables import dataset_title, main_table, plain_text, write_tables
from lethe.common.errors import InputError
from lethe.common.input_problems import raise_any

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


def report(results: Path, out: Path) -> ReportSummary:
    """Write the tables and plots of all trials under `results` into `out`.

    `InputError` if there is no trial with a finished run, if records cannot be read (with all problems), or if `out`
    cannot be written.
    """
    if not results.is_dir():
        raise InputError(f"{results}: expected a folder of results, but there is none: {_HOW_TO_RUN}")
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: expected a folder to write the report into, but it is a file")
    trials = find_trials(results)
    if not trials:
        raise InputError(
            f"{results}: no trial found, expected <dataset>/<paradigm>/<agent>/<trial>/config.json: "
            f"{_HOW_TO_RUN}"
        )
    judged = judged_alike(trials)
    if not any(trial.runs for trial in judged):
        raise InputError(
            f"{results}: none of the runs of its {len(judged)} trial(s) has finished: "
            "give the same `lethe run` command again, it goes on where it stopped"
        )
    problems = [problem for trial in trials for problem in problems_of(trial)]
    raise_any(problems)
    begun = {trial.config["dataset"] for trial in judged if trial.runs}
    left_out = sorted({trial.config["dataset"] for trial in judged} - begun)
    comparison = compare([trial for trial in trials if trial.config["dataset"] in begun])
    titled = [
        f"{dataset_title(dataset)}: {plain_text(main_table(comparison, dataset))}"
        for dataset in comparison.datasets()
    ]
    files = (*write_tables(comparison, out), *write_plots(comparison, out))
    told = [
        f"{dataset_title(dataset)}: left out, because none of its runs has finished" for dataset in left_out
    ]
    return ReportSummary("\n\n".join(titled), files, (*notes(comparison), *told))


def problems_of(trial: TrialRecord) -> list[str]:
    """Problems of a trial's records that would break a comparison."""
    config, found = trial.config, []
    path = trial.path / "config.json"
    for key in ("dataset", "paradigm", "variant", "agent", "split"):
        if not isinstance(config.get(key), str):
            found.append(f"{path}: expected a text for '{key}', got {config.get(key)!r}")
    if not isinstance(config.get("settings"), Mapping):
        found.append(f"{path}: expected an object for 'settings', got {config.get('settings')!r}")
    for run in trial.runs:
        folder, metrics = trial.path / f"run{run.run}", run.summary.get("metrics")
        remedy = "delete the run's folder to make it again"
        if run.accuracy.ndim != 2 or min(run.accuracy.shape) < 1 or run.accuracy.shape[1] < 2:
            found.append(f"{folder / 'accuracy.csv'}: expected columns task, seen, group_0, ...: {remedy}")
        if not all(count > 0 for count in run.classes_seen):
            found.append(f"{folder / 'summary.json'}: expected classes_seen above 0: {remedy}")
        if not isinstance(metrics, Mapping) or not all(_is_number(value) for value in metrics.values()):
            found.append(f"{folder / 'summary.json'}: expected numbers in 'metrics': {remedy}")
    return found


def _is_number(value: object) -> bool:
    """Whether a metric is a number, or null for undefined."""
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def notes(comparison: Comparison) -> list[str]:
    """Reservations about the numbers: evaluated images, missing runs, unlike conditions, missing Ω_all."""
    found = []
    if comparison.left_out:
        found.append(
            f"left out: {comparison.left_out} trial(s) judged on validation images, not on test images"
        )
    if comparison.split == "validation":
        found.append("all trials were judged on validation images, held out of training, not on test images")
    for dataset in comparison.datasets():
        for paradigm in comparison.paradigms(dataset):
            entries, place = comparison.select(dataset, paradigm), f"{dataset}/{paradigm}"
            expected = comparison.expected_runs(dataset, paradigm)
            found += [f"{place}: {entry.label} {gap}" for entry in entries if (gap := _gap(entry, expected))]
            variants = sorted({entry.variant for entry in entries})
            if len(variants) > 1:
                found.append(f"{place}: not one stream, but the task lists {' and '.join(variants)}")
            told = (
                *_unlike(entries),
                *_without_omega(entries),
                *_mixed_code(entries),
                *instruction_set_notes(entries),
            )
            found += [f"{place}: {note}" for note in told]
    return found


def _unlike(entries: Sequence[Entry]) -> Iterable[str]:
    """Notes on settings (network, seed, ...) that differ between the compared trials."""
    for name in CONDITIONS:
        having = defaultdict(list)
        for entry in entries:
            if name in entry.conditions:
                having[entry.conditions[name]].append(entry.label)
        if len(having) > 1:
            shown = "; ".join(f"{value} ({', '.join(labels)})" for value, labels in sorted(having.items()))
            yield f"not one {name}, but {shown}"


def _without_omega(entries: Sequence[Entry]) -> Iterable[str]:
    """Notes on entries without Ω_all although there is an offline trial."""
    alike = defaultdict(list)
    for entry in entries:
        alike[entry.reference].append(entry)
    alone = []
    for group in alike.values():
        rivals = sum(entry.offline for entry in group)
        if rivals > 1:
            yield f"omega_all is blank, because {rivals} offline trials could be its reference"
        elif not rivals:
            alone += [entry.label for entry in group]
    if alone and any(entry.offline for entry in entries):
        yield (
            f"omega_all of {', '.join(alone)} is blank, because no offline trial has the same task lists, "
            "network, pretraining and seed"
        )


def _mixed_code(entries: Sequence[Entry]) -> Iterable[str]:
    """Notes on trials whose runs were made by different commits."""
    for entry in entries:
        runs = defaultdict(list)
        for run, code in entry.code.items():
            runs[code].append(str(run))
        if len(runs) > 1:
            shown = "; ".join(f"{code} (run {', '.join(numbers)})" for code, numbers in runs.items())
            yield f"{entry.label} was made by different commits: {shown}"


def _gap(entry: Entry, expected: int) -> str:
    finished = len(entry.finished)
    if entry.unfinished:
        runs = ", ".join(str(run) for run in entry.unfinished)
        return f"has {finished} finished run{'s' * (finished != 1)}, unfinished: run {runs}"
    return f"has {finished} of {expected} runs" if finished < expected else ""
