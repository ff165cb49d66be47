"""The report of a grid search: chosen configurations and their test results, as tables, CSV files and plots."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lethe.benchmarks.report import published_numbers
from lethe.benchmarks.report.comparison import Comparison
from lethe.benchmarks.report.cost_plots import FIGURES, write_cost_plots
from lethe.benchmarks.report.differences import COMPARED, column
from lethe.benchmarks.report.entries import METRICS
from lethe.benchmarks.report.latex import latex_page
from lethe.benchmarks.report.notes import notes
from lethe.benchmarks.report.pages import markdown_page
from lethe.benchmarks.report.tables import plain_text
from lethe.benchmarks.report.tested_tables import main_table
from lethe.benchmarks.report.write import ReportSummary
from lethe.common.files import atomic_write, write_text
from lethe.gridsearch.grid import Grid
from lethe.gridsearch.report.final_results import final_comparison
from lethe.gridsearch.report.final_tables import chosen_settings, chosen_table, final_tables
from lethe.gridsearch.report.search_plots import write_search_plots
from lethe.gridsearch.selection import Choice, choose_all, settings_text

_SEARCH_HEADER = (
    "dataset", "paradigm", "agent", "settings", "validation_accuracy_mean", "sem", "runs", "failed", "collapsed",
    "chosen", "reason",
)  # fmt: skip
_FINAL_HEADER = (
    "dataset", "paradigm", "agent", "settings", "metric", "mean", "sem", "runs",
    "best", "difference", "pairs", "p", "p_adjusted", "published", "published_sem", "published_note",
)  # fmt: skip


def report(grid: Grid, results: Path, out: Path) -> ReportSummary:
    """Write tables.md, tables.tex, search.csv, final.csv and the plots of `grid` into `out`.

    `InputError` where the search is not finished, or a record cannot be read. Test results that are missing are
    shown as missing, and noted.
    """
    choices = choose_all(grid, results)
    comparison = final_comparison(choices, results)
    known = published_numbers.read()
    tables, shown = {}, []
    for dataset in comparison.datasets():
        chosen = chosen_table([choice for choice in choices if choice.trial.dataset == dataset])
        tables[dataset] = [chosen, *final_tables(comparison, dataset, known)]
        shown += [
            f"{comparison.title(dataset)}: {plain_text(table)}"
            for table in (chosen, main_table(comparison, dataset))
        ]
    paths = [out / name for name in ("tables.md", "tables.tex", "search.csv", "final.csv")]
    write_text(paths[0], markdown_page(f"Grid search: {grid.name}", comparison, tables))
    write_text(paths[1], latex_page(comparison, tables, grid.name))
    _write_csv(paths[2], _SEARCH_HEADER, _search_lines(choices))
    _write_csv(paths[3], _FINAL_HEADER, _final_lines(choices, comparison, known))
    drawn, undrawn = write_cost_plots(comparison, out, tuple(FIGURES))
    paths += [*write_search_plots(choices, out), *drawn]
    return ReportSummary("\n\n".join(shown), tuple(paths), (*_notes(grid, comparison), *undrawn))


def _notes(grid: Grid, comparison: Comparison) -> list[str]:
    """Notes for the reader: missing runs, and conditions that differ between the compared trials."""
    missing = sum(not entry.finished for entry in comparison.entries)
    found = notes(comparison)
    if missing:
        found.insert(
            0,
            f"{missing} of {len(comparison.entries)} chosen configurations have no finished run on test images: "
            f"`lethe final {grid.path}` learns them, with --retry-failed those that failed as well",
        )
    return found


def _search_lines(choices: Sequence[Choice]) -> Iterable[tuple[object, ...]]:
    """A line per candidate, the chosen one of each group first."""
    for choice in choices:
        for candidate in choice.ranking:
            trial, stat, is_chosen = candidate.trial, candidate.validation, candidate.trial == choice.trial
            yield (
                trial.dataset, trial.paradigm, trial.agent, settings_text(trial, trial.settings),
                stat.mean, stat.sem, stat.runs, "; ".join(candidate.failed), "; ".join(candidate.collapsed),
                "yes" if is_chosen else "no", choice.reason if is_chosen else "",
            )  # fmt: skip


def _final_lines(
    choices: Sequence[Choice],
    comparison: Comparison,
    known: Mapping[published_numbers.Key, published_numbers.Published],
) -> Iterable[tuple[object, ...]]:
    """A line per entry and metric; empty cells where there is no number."""
    settings = {
        (choice.trial.dataset, choice.trial.paradigm, choice.trial.agent): chosen_settings(choice)
        for choice in choices
    }
    columns = {
        (dataset, paradigm, metric): column(comparison.select(dataset, paradigm), metric)
        for dataset in comparison.datasets()
        for paradigm in comparison.paradigms(dataset)
        for metric in COMPARED
    }
    for entry in comparison.entries:
        place = entry.dataset, entry.paradigm, entry.agent
        for metric in METRICS:
            stat, tested = entry.stats[metric], columns.get((entry.dataset, entry.paradigm, metric))
            difference = tested.others.get(entry.label) if tested else None
            number = known.get((*place, metric))
            yield (
                *place, settings[place], metric, stat.mean, stat.sem, stat.runs,
                tested.best if tested else "",
                *((difference.mean, difference.pairs, difference.p, difference.p_adjusted)
                  if difference else ("",) * 4),
                *((number.value, number.sem, number.warning) if number else ("",) * 3),
            )  # fmt: skip


def _write_csv(path: Path, header: Sequence[str], lines: Iterable[tuple[object, ...]]) -> None:
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(lines)
