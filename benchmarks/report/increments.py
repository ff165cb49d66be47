"""Accuracies after each task, on base classes, new classes and all seen, in top-1 and top-5: as a file, and as a table.

Base classes are those of the first task, new classes all later ones. The file has every stream; the table those whose
classes come in a given order, or of which somebody has published such numbers, with these below one's own.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from lethe.benchmarks.report.comparison import Comparison
from lethe.benchmarks.report.entries import Entry, Stat
from lethe.benchmarks.report.published_numbers import PublishedCurve
from lethe.benchmarks.report.tables import ABSENT, Table
from lethe.common.files import atomic_write

CURVES = {
    "base_top1": "first_task",
    "new_top1": "new_classes",
    "seen_top1": "accuracy",
    "base_top5": "first_task_top5",
    "new_top5": "new_classes_top5",
    "seen_top5": "top5",
}
"""Name of each column of the file: the curve (of `comparison.CURVES`) that it shows."""
_OMEGAS = {"seen_top1": "omega_all", "seen_top5": "omega_all_top5"}
"""The metric that compares a curve with that of an offline learner."""
_ORDERED = "class_ordered"
Published = Mapping[tuple[str, str, str], Sequence[PublishedCurve]]
"""By dataset, paradigm and agent."""


def write_increments(comparison: Comparison, path: Path) -> Path:
    """Write a line per trial and task, with a mean and a standard error over runs per curve; return `path`."""
    columns = [column for name in CURVES for column in (name, f"{name}_sem")]
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("dataset", "paradigm", "agent", "task", "classes", "runs", *columns))
        for entry in comparison.entries:
            for task, classes in enumerate(_classes(entry)):
                stats = [_stat(entry, curve, task) for curve in CURVES.values()]
                runs = _stat(entry, "accuracy", task).runs
                values = [value for stat in stats for value in (stat.mean, stat.sem)]
                writer.writerow(
                    (entry.dataset, entry.paradigm, entry.label, task + 1, classes, runs, *values)
                )
    return path


def increment_tables(comparison: Comparison, dataset: str, published: Published) -> list[Table]:
    """A table for each paradigm of `dataset` that is to have one: curves x classes seen, in percent."""
    tables = []
    for paradigm in comparison.paradigms(dataset):
        entries = [entry for entry in comparison.select(dataset, paradigm) if entry.finished]
        known = {
            entry.label: [
                curve
                for curve in published.get((dataset, paradigm, entry.agent), ())
                if comparison.split == "test" and curve.classes == _classes(entry)
            ]
            for entry in entries
        }
        if entries and (paradigm == _ORDERED or any(known.values())):
            tables.append(_table(comparison, paradigm, entries, known))
    return tables


def _table(
    comparison: Comparison,
    paradigm: str,
    entries: Sequence[Entry],
    published: Mapping[str, Sequence[PublishedCurve]],
) -> Table:
    classes = max((_classes(entry) for entry in entries), key=lambda seen: (len(seen), seen))
    rows, notes = [], dict[str, None]()
    for entry in entries:
        stats = {name: entry.curves[curve] for name, curve in CURVES.items()}
        rows += [
            (
                f"{entry.label}, {_words(name)}",
                *_cells([stat.mean for stat in found], len(classes)),
                _ratio(entry.stats[_OMEGAS[name]].mean if name in _OMEGAS else None),
            )
            for name, found in stats.items()
            if any(stat.runs for stat in found)
        ]
        for curve in published[entry.label]:
            notes[curve.warning] = None
            mark = list(notes).index(curve.warning) + 1
            name = f"{entry.agent} as published ({mark}), seen top-5"
            rows.append((name, *_cells(curve.percent, len(classes)), _ratio(curve.omega)))
    numbers = sorted({len(entry.finished) for entry in entries})
    runs = " to ".join(str(number) for number in dict.fromkeys((numbers[0], numbers[-1])))
    told = [
        f"Columns: classes seen; means of {runs} run(s). Base classes are those of the first task, new classes all "
        "later ones."
    ]
    told += [f"({number}) {note}" for number, note in enumerate(notes, start=1)]
    caption = f"{paradigm}: accuracy after each task (%), on {comparison.split} images"
    header = ("curve", *map(str, classes), "mean", "omega_all")
    return Table(f"increments_{paradigm}", caption, header, tuple(rows), tuple(told))


def _cells(values: Sequence[float | None], count: int) -> list[str]:
    """A cell per task, and the mean over tasks."""
    cells = [ABSENT if value is None else f"{value:.2f}" for value in values]
    known = [value for value in values if value is not None]
    return [*cells, *[ABSENT] * (count - len(cells)), f"{sum(known) / len(known):.2f}" if known else ABSENT]


def _ratio(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.3f}"


def _words(name: str) -> str:
    """`base top-5` for `base_top5`."""
    return name.replace("_top", " top-")


def _classes(entry: Entry) -> tuple[int, ...]:
    """Classes seen after each task, of the run with most tasks."""
    return max(entry.classes_seen.values(), key=len, default=())


def _stat(entry: Entry, curve: str, task: int) -> Stat:
    stats = entry.curves[curve]
    return stats[task] if task < len(stats) else Stat(None, None, 0)
