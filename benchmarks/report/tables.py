"""Tables of plain strings, agents x paradigms, and their forms as Markdown and as aligned text.

A table is built once and written three ways, LaTeX being the third (`latex.py`). Escaping is the writers' job, so that
no name of an agent, a setting or a dataset can break a table.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lethe.benchmarks.report import collapsed
from lethe.benchmarks.report.comparison import Comparison, agent_order
from lethe.benchmarks.report.entries import Entry, Stat

ABSENT = "–"
BEST, SECOND = " (best)", " (second)"
"""Ends of cells: the best mean of a column, and the second best. LaTeX sets such a cell in bold, or underlines it."""

ACCURACY_TABLES = (
    ("average", "accuracy_mean", "Accuracy on all classes seen so far, average over tasks (%)"),
    ("last", "accuracy_last", "Accuracy on all classes after the last task (%)"),
    ("first_task", "first_task_last", "Accuracy on the first task's classes after the last task (%)"),
)
"""Name, metric and caption of each table of accuracies."""

_MARKDOWN_SPECIAL = re.compile(r"[\\`*\[\]<>|~#&$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


@dataclass(frozen=True)
class Table:
    """A table of plain strings: the first column names the row, all others are numbers or words."""

    name: str
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    """Lines below the table."""


def accuracy_table(
    comparison: Comparison, dataset: str, metric: str, name: str, caption: str, digits: int = 1
) -> Table:
    """Agents x paradigms with mean ± s.e.m. of `metric`, to `digits` after the point; collapsed runs are marked."""
    paradigms = comparison.paradigms(dataset)
    expected = {paradigm: comparison.expected_runs(dataset, paradigm) for paradigm in paradigms}
    cells = {
        (entry.label, paradigm): collapsed.marked(
            metric_cell(entry, metric, expected[paradigm], digits), entry
        )
        for paradigm in paradigms
        for entry in comparison.select(dataset, paradigm)
    }
    header = ("agent", *(f"{paradigm} ({counted(expected[paradigm], 'run')})" for paradigm in paradigms))
    lines = tuple(
        (label, *(cells.get((label, paradigm), ABSENT) for paradigm in paradigms))
        for label in entries_of(comparison, dataset)
    )
    shown = [entry for paradigm in paradigms for entry in comparison.select(dataset, paradigm)]
    return Table(name, caption, header, lines, collapsed.notes(shown))


def metric_cell(entry: Entry, metric: str, expected: int, digits: int = 1) -> str:
    """The cell of a metric of `expected` runs; one that no finished run has is undefined, and no run is missing."""
    stat = entry.stats[metric]
    undefined = entry.finished and not stat.runs
    return accuracy_cell(stat, 0 if undefined else expected, digits)


def accuracy_cell(stat: Stat, expected: int, digits: int = 1) -> str:
    """`61.2 ± 1.3`; a cell with fewer runs than `expected` says so."""
    parts = []
    if stat.mean is not None:
        parts.append(f"{stat.mean:.{digits}f}")
    if stat.sem is not None:
        parts.append(f"± {stat.sem:.{digits}f}")
    if stat.runs < expected:
        parts.append(f"({stat.runs}/{expected} runs)")
    return " ".join(parts) or ABSENT


def counted(number: int, noun: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{number} {noun}{'s' * (number != 1)}"


def format_bytes(count: float) -> str:
    """Bytes in decimal units: `0 B`, `3.1 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if count >= 99.5 or unit == "B" else f"{count:.1f} {unit}"


def format_seconds(seconds: float) -> str:
    """A duration: `4.2 s`, `59 s`, `3 min 05 s`, `2 h 10 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{rest} s"
    hours, minutes_left = divmod(minutes, 60)
    return f"{hours} h {minutes_left:02} min" if hours else f"{minutes} min {rest:02} s"


def markdown(table: Table) -> str:
    """A pipe table of GitHub's Markdown, padded so that it reads unrendered too."""
    lines = [[escape_markdown(cell) for cell in line] for line in (table.header, *table.rows)]
    widths = _widths(lines)
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    body = [f"| {' | '.join(line)} |" for line in _aligned([lines[0], rule, *lines[1:]], widths)]
    return "\n".join(body) + "".join(f"\n\n{escape_markdown(note)}" for note in table.notes)


def plain_text(table: Table) -> str:
    """For a terminal: aligned columns under the caption."""
    lines = [list(line) for line in (table.header, *table.rows)]
    widths = _widths(lines)
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    header, *body = ["  ".join(line).rstrip() for line in _aligned(lines, widths)]
    return "\n".join([table.caption, "", header, rule, *body, *table.notes])


def escape_markdown(text: str) -> str:
    """Escape what Markdown, or HTML inside it, would read as markup."""
    return _MARKDOWN_SPECIAL.sub(r"\\\g<0>", text)


def entries_of(comparison: Comparison, dataset: str) -> dict[str, list[Entry]]:
    """A dataset's entries by label, in the order of the tables' rows."""
    entries = [entry for entry in comparison.entries if entry.dataset == dataset]
    by_label: dict[str, list[Entry]] = {}
    for entry in sorted(entries, key=agent_order):
        by_label.setdefault(entry.label, []).append(entry)
    return by_label


def _widths(lines: Sequence[Sequence[str]]) -> list[int]:
    return [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]


def _aligned(lines: Sequence[Sequence[str]], widths: Sequence[int]) -> list[list[str]]:
    """Pad the first column on the right and the others on the left."""
    return [
        [
            line[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
        ]
        for line in lines
    ]
