"""Tables of metrics with the best agent marked and those that do not differ significantly from it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from lethe.benchmarks.report.comparison import Comparison
from lethe.benchmarks.report.differences import LEVEL, Column, Difference, column
from lethe.benchmarks.report.entries import Entry
from lethe.benchmarks.report.omega import Reference
from lethe.benchmarks.report.significance import smallest_p
from lethe.benchmarks.report.tables import (
    ABSENT,
    ACCURACY_TABLES,
    BEST,
    SECOND,
    Table,
    accuracy_table,
    counted,
)

TABLES = (
    *((*table, 1) for table in ACCURACY_TABLES),
    ("forgetting", "forgetting", "Forgetting (percentage points, less is better)", 1),
    ("omega", "omega_all", "Omega_all, accuracy over that of the offline learner, average over tasks", 3),
)
"""Name, metric, caption and digits of each table of a metric."""
_TOP5_TABLES = (
    ("top5", "top5_mean", "Top-5 accuracy on all classes seen so far, average over tasks (%)", 1),
    ("omega_top5", "omega_all_top5", "Omega_all in top-5, average over tasks", 3),
)
OMEGAS: Mapping[str, Callable[[Entry], Reference]] = {
    "omega_all": lambda entry: entry.reference,
    "omega_all_top5": lambda entry: entry.reference_top5,
}
"""What the metrics that are relative to an offline learner are relative to."""
_MARKS = (
    f"{BEST.strip()}: the best mean; {SECOND.strip()}: the second best, where it differs significantly from the best "
    "and from all below; (=): not significantly different from the best; (?): too few runs to tell; "
    "no mark: significantly worse. "
    f"Exact paired permutation test over runs at {LEVEL:.0%}, adjusted for the number of agents (Holm). "
    "Learners from offline lists are bounds and are not compared."
)


def measured_tables(comparison: Comparison, dataset: str) -> list[Table]:
    """The tables of metrics of one dataset."""
    return [tested_table(comparison, dataset, *table) for table in tables_of(comparison, dataset)]


def tables_of(comparison: Comparison, dataset: str) -> list[tuple[str, str, str, int]]:
    """As `TABLES`, of one dataset: those of top-5 where it was measured."""
    entries = [entry for entry in comparison.entries if entry.dataset == dataset]
    return [
        *TABLES,
        *(table for table in _TOP5_TABLES if any(entry.stats[table[1]].runs for entry in entries)),
    ]


def main_table(comparison: Comparison, dataset: str) -> Table:
    """The table to show first: accuracy on seen classes, average over tasks."""
    return tested_table(comparison, dataset, *TABLES[0])


def tested_table(
    comparison: Comparison, dataset: str, name: str, metric: str, caption: str, digits: int
) -> Table:
    """Agents x paradigms of one metric, with marks of the tests and what limits them as notes."""
    table = accuracy_table(
        comparison, dataset, metric, name, f"{caption}, on {comparison.split} images", digits
    )
    columns = [list(cells) for cells in zip(*table.rows, strict=True)]
    notes: list[str] = []
    for index, paradigm in enumerate(comparison.paradigms(dataset), start=1):
        entries = comparison.select(dataset, paradigm)
        tested = column(entries, metric)
        columns[index] = [
            f"{cell}{_mark(tested, label)}" for label, cell in zip(columns[0], columns[index], strict=True)
        ]
        if tested and (lack := _too_few(tested)):
            notes.append(f"{paradigm}: {lack}")
        notes += [f"{paradigm}: {note}" for note in omega_notes(entries, metric)]
    if any(cell.endswith(BEST) for cells in columns[1:] for cell in cells):
        notes.insert(0, _MARKS)
    return replace(table, rows=tuple(zip(*columns, strict=True)), notes=(*notes, *table.notes))


def difference_table(comparison: Comparison, dataset: str) -> Table:
    """Agents x paradigms: the difference from the best agent with its adjusted p-value, average over tasks."""
    paradigms = comparison.paradigms(dataset)
    columns = {
        paradigm: column(comparison.select(dataset, paradigm), "accuracy_mean") for paradigm in paradigms
    }
    caption = (
        "Difference from the best agent (percentage points; adjusted p), average over tasks, "
        f"on {comparison.split} images"
    )
    table = accuracy_table(comparison, dataset, "accuracy_mean", "difference", caption)
    rows = tuple(
        (row[0], *(_difference_cell(columns[paradigm], row[0]) for paradigm in paradigms))
        for row in table.rows
    )
    return replace(table, header=("agent", *paradigms), rows=rows, notes=())


def difference_text(difference: Difference, digits: int = 1) -> str:
    """`-2.0 (p = 0.031)`."""
    if difference.mean is None:
        return "no common run"
    p = f"p = {difference.p_adjusted:.3f}" if difference.p_adjusted >= 0.0005 else "p < 0.001"
    return f"{difference.mean:+.{digits}f} ({p}{', too few runs' if difference.too_few else ''})"


def omega_notes(entries: Sequence[Entry], metric: str = "omega_all") -> list[str]:
    """What Ω_all of `entries`, of one dataset and paradigm, is relative to where that is a choice; why it is blank.

    Empty for a `metric` that is not relative to an offline learner.
    """
    if metric not in OMEGAS:
        return []
    blank: dict[str, list[str]] = {}
    chosen: dict[str, str] = {}
    for entry in entries:
        reference = OMEGAS[metric](entry)
        if reference.from_file and reference.label:
            chosen[reference.label] = f"{metric} is relative to {reference.label}"
        elif reference.blank and entry.finished:
            blank.setdefault(reference.blank, []).append(entry.label)
        elif reference.of > 1:
            chosen[reference.label] = (
                f"{metric} is relative to {reference.label}, the most accurate of {reference.of} offline trials"
            )
    some = sum(bool(entry.finished) for entry in entries)
    return [*chosen.values()] + [
        f"{metric} {'' if len(labels) == some else f'of {_names(labels)} '}is blank, because {reason}"
        for reason, labels in blank.items()
    ]


def _names(labels: Sequence[str], most: int = 6) -> str:
    more = len(labels) - most
    return ", ".join(labels[:most]) + (f" and {more} more" if more > 0 else "")


def _mark(tested: Column | None, label: str) -> str:
    if tested is None or not tested.others:
        return ""
    if label in (tested.best, tested.second):
        return BEST if label == tested.best else SECOND
    difference = tested.others.get(label)
    if difference is None or difference.is_told_apart or _nothing_told(tested):
        return ""
    return " (?)" if difference.too_few else " (=)"


def _nothing_told(tested: Column) -> bool:
    """Whether the runs are too few for any agent to differ significantly from the best."""
    return all(difference.too_few for difference in tested.others.values())


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
        + ("; no mark there but that of the best mean" if _nothing_told(tested) else "")
    )


def _difference_cell(tested: Column | None, label: str) -> str:
    if tested is None or (label != tested.best and label not in tested.others):
        return ABSENT
    if label == tested.best:
        return "best"
    return difference_text(tested.others[label])
