"""Tables of a grid search: the chosen configurations with reasons, and their results on test images."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from lethe.benchmarks.report.comparison import Comparison
from lethe.benchmarks.report.costs import cost_tables
from lethe.benchmarks.report.entries import Stat
from lethe.benchmarks.report.published_numbers import Key, Published
from lethe.benchmarks.report.tables import ABSENT, Table, accuracy_cell, counted
from lethe.benchmarks.report.tested_tables import difference_table, tables_of, tested_table
from lethe.gridsearch.grid import searched
from lethe.gridsearch.selection import Choice, changed, settings_text


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
    notes = ["Validation images are held out of training; test images had no part in the choice."]
    for choice in choices:
        place = f"{choice.trial.agent} in {choice.trial.paradigm}"
        if how := choice.ranking[0].collapsed:
            notes.append(f"the chosen configuration of {place} has collapsed in {'; '.join(how)}")
        others = sum(bool(candidate.collapsed) for candidate in choice.ranking[1:])
        if others:
            notes.append(f"{counted(others, 'other candidate')} of {place} collapsed: search.csv says how")
    caption = "Chosen configurations: accuracy on all classes seen so far, average over tasks"
    return Table("chosen", caption, header, tuple(rows), tuple(notes))


def chosen_settings(choice: Choice) -> str:
    """Chosen values of the hyperparameters that were searched or are not at their defaults."""
    shown = {*searched([candidate.trial for candidate in choice.ranking]), *changed(choice.trial)}
    return settings_text(choice.trial, [key for key in choice.trial.settings if key in shown])


def final_tables(comparison: Comparison, dataset: str, published: Mapping[Key, Published]) -> list[Table]:
    """The tables of one dataset: metrics with the best marked, the tests behind the marks, the cost."""
    measured = [
        _with_published(
            comparison, dataset, published, tested_table(comparison, dataset, *table), *table[1::2]
        )
        for table in tables_of(comparison, dataset)
    ]
    return [*measured, difference_table(comparison, dataset), *cost_tables(comparison, dataset)]


def _with_published(
    comparison: Comparison,
    dataset: str,
    published: Mapping[Key, Published],
    table: Table,
    metric: str,
    digits: int,
) -> Table:
    """`table` of one metric with the published numbers in a column beside each paradigm that has any."""
    columns = list(zip(table.header, *table.rows, strict=True))
    agents = {entry.label: entry.agent for entry in comparison.entries if entry.dataset == dataset}
    notes = list(table.notes)
    warnings: list[str] = []
    shown = [columns[0]]
    for paradigm, cells in zip(comparison.paradigms(dataset), columns[1:], strict=True):
        shown.append(cells)
        classes = {seen[-1] for entry in comparison.entries for seen in entry.classes_seen.values()}
        found = [
            number
            if (number := published.get((dataset, paradigm, agents[row[0]], metric)))
            and (number.classes is None or classes == {number.classes})
            else None
            for row in table.rows
        ]
        if any(found):
            shown.append(("published", *(_published_cell(number, warnings, digits) for number in found)))
            variants = {entry.variant for entry in comparison.select(dataset, paradigm)} - {"published"}
            if variants:
                notes.append(
                    f"{paradigm}: the published numbers are of the published task lists, ours of "
                    f"{', '.join(sorted(variants))}"
                )
    notes += [f"({number}) {warning}" for number, warning in enumerate(warnings, start=1)]
    header, *rows = zip(*shown, strict=True)
    return replace(table, header=header, rows=tuple(rows), notes=tuple(notes))


def _published_cell(number: Published | None, warnings: list[str], digits: int) -> str:
    """The number with a footnote mark; its warning is added to `warnings`."""
    if number is None:
        return ABSENT
    if number.warning not in warnings:
        warnings.append(number.warning)
    value = accuracy_cell(Stat(number.value, number.sem, 1), 1, digits)
    return f"{value} ({warnings.index(number.warning) + 1})"
