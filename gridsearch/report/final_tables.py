"""Tables of a grid search: the chosen configurations with reasons, and their results on test images."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from lethe.benchmarks.report.comparison import Comparison, Stat
from lethe.benchmarks.report.costs import cost_tables
from lethe.benchmarks.report.tables import (
    ABSENT,
    ACCURACY_TABLES,
    Table,
    accuracy_cell,
    accuracy_table,
)
from lethe.gridsearch.grid import searched
from lethe.gridsearch.report.final_results import LEVEL, Column, Difference, column
from lethe.gridsearch.report.published_numbers import Key, Published
from lethe.gridsearch.report.significance import smallest_p
from lethe.gridsearch.selection import Choice, changed, counted, settings_text

_MARKS = (
    "(best): the best mean; (=): not significantly different from it; (?): too few runs to tell; "
    "no mark: significantly worse. "
    f"Exact paired permutation test over runs at {LEVEL:.0%}, adjusted for the number of agents (Holm). "
    "Learners from offline lists are bounds and are not compared."
)
_TABLES = (
    *((*table, 1) for table in ACCURACY_TABLES),
    ("forgetting", "forgetting", "Forgetting (percentage points, less is better)", 1),
    ("omega", "omega_all", "Omega_all, accuracy over that of the offline learner, average over tasks", 3),
)


def chosen_table(choices: Sequence[Choice]) -> Table:
    """The configuration of each agent and paradigm, its validation accuracy, and why it was chosen."""
    header = ("agent", "paradigm", "settings", "validation accuracy (%)", "runs", "candidates", "chosen as")
    rows = [
        (
            choice.trial.agent,
            choice.trial.paradigm,
            chosen_settings(choice),
            accuracy_cell(choice.validation, choice.validation.runs, 2),
            str(choice.validation.runs),
            str(len(choice.ranking)),
            choice.reason,
        )
        for choice in choices
    ]
    note = "Validation images are held out of training; test images had no part in the choice."
    caption = "Chosen configurations: accuracy on all classes seen so far, average over tasks"
    return Table("chosen", caption, header, tuple(rows), (note,))


def chosen_settings(choice: Choice) -> str:
    """Chosen values of the hyperparameters that were searched or are not at their defaults."""
    shown = {*searched([candidate.trial for candidate in choice.ranking]), *changed(choice.trial)}
    return settings_text(choice.trial, [key for key in choice.trial.settings if key in shown])


def final_tables(comparison: Comparison, dataset: str, published: Mapping[Key, Published]) -> list[Table]:
    """The tables of one dataset: metrics with the best marked, the tests behind the marks, the cost."""
    measured = [_final_table(comparison, dataset, published, *table) for table in _TABLES]
    return [*measured, difference_table(comparison, dataset), *cost_tables(comparison, dataset)]


def main_table(comparison: Comparison, dataset: str) -> Table:
    """The table to show first: accuracy on seen classes, average over tasks, without published numbers."""
    return _final_table(comparison, dataset, {}, *_TABLES[0])


def difference_table(comparison: Comparison, dataset: str) -> Table:
    """Agents x paradigms: the difference from the best agent with its adjusted p-value, average over tasks."""
    paradigms = comparison.paradigms(dataset)
    columns = {
        paradigm: column(comparison.select(dataset, paradigm), "accuracy_mean") for paradigm in paradigms
    }
    caption = (
        "Difference from the best agent (percentage points; adjusted p), average over tasks, on test images"
    )
    table = accuracy_table(comparison, dataset, "accuracy_mean", "difference", caption)
    rows = tuple(
        (row[0], *(_difference_cell(columns[paradigm], row[0]) for paradigm in paradigms))
        for row in table.rows
    )
    return replace(table, header=("agent", *paradigms), rows=rows)


def _final_table(
    comparison: Comparison,
    dataset: str,
    published: Mapping[Key, Published],
    name: str,
    metric: str,
    caption: str,
    digits: int,
) -> Table:
    """Agents x paradigms of one metric; the published numbers in a column beside each paradigm that has any."""
    table = accuracy_table(comparison, dataset, metric, name, f"{caption}, on test images", digits)
    header, rows = [table.header[0]], [[row[0]] for row in table.rows]
    agents = {entry.label: entry.agent for entry in comparison.entries if entry.dataset == dataset}
    notes: list[str] = []
    warnings: list[str] = []
    for index, paradigm in enumerate(comparison.paradigms(dataset), start=1):
        entries = comparison.select(dataset, paradigm)
        tested = column(entries, metric)
        header.append(table.header[index])
        for row, plain in zip(rows, table.rows, strict=True):
            row.append(f"{plain[index]}{_mark(tested, plain[0])}")
        if tested and (lack := _too_few(tested)):
            notes.append(f"{paradigm}: {lack}")
        found = [published.get((dataset, paradigm, agents[row[0]], metric)) for row in rows]
        if any(found):
            header.append("published")
            for row, number in zip(rows, found, strict=True):
                row.append(_published_cell(number, warnings, digits))
            if variants := sorted({entry.variant for entry in entries} - {"published"}):
                notes.append(
                    f"{paradigm}: the published numbers are of the published task lists, ours of {', '.join(variants)}"
                )
    if any("(best)" in cell for row in rows for cell in row[1:]):
        notes.insert(0, _MARKS)
    notes += [f"({number}) {warning}" for number, warning in enumerate(warnings, start=1)]
    return replace(table, header=tuple(header), rows=tuple(map(tuple, rows)), notes=tuple(notes))


def _mark(tested: Column | None, label: str) -> str:
    if tested is None or not tested.others:
        return ""
    if label == tested.best:
        return " (best)"
    difference = tested.others.get(label)
    if difference is None or difference.is_told_apart:
        return ""
    return " (?)" if difference.too_few else " (=)"


def _too_few(tested: Column) -> str:
    """A note where there are too few runs for some agent to differ significantly from the best; else empty."""
    few = [difference for difference in tested.others.values() if difference.too_few]
    if not few:
        return ""
    comparisons, nearest = len(tested.others), min(few, key=lambda difference: difference.least)
    enough = next(runs for runs in range(1, 64) if smallest_p(runs, comparisons) <= LEVEL)
    return (
        f"too few runs to reach {LEVEL:.0%}: {counted(nearest.pairs, 'common run')} and "
        f"{counted(comparisons, 'comparison')} reach p = {nearest.least:.2g} at the least; {enough} runs would do"
    )


def _difference_cell(tested: Column | None, label: str) -> str:
    if tested is None or (label != tested.best and label not in tested.others):
        return ABSENT
    if label == tested.best:
        return "best"
    return _difference_text(tested.others[label])


def _difference_text(difference: Difference) -> str:
    if difference.mean is None:
        return "no common run"
    p = f"p = {difference.p_adjusted:.3f}" if difference.p_adjusted >= 0.0005 else "p < 0.001"
    return f"{difference.mean:+.1f} ({p}{', too few runs' if difference.too_few else ''})"


def _published_cell(number: Published | None, warnings: list[str], digits: int) -> str:
    """The number with a footnote mark; its warning is added to `warnings`."""
    if number is None:
        return ABSENT
    if number.warning not in warnings:
        warnings.append(number.warning)
    value = accuracy_cell(Stat(number.value, number.sem, 1), 1, digits)
    return f"{value} ({warnings.index(number.warning) + 1})"
