"""The comparison as files: comparison.csv (long form), comparison.md and comparison.tex (agents x paradigms).

A table is built once, of plain strings, and written three ways: Markdown, LaTeX and aligned text. Escaping is
the writers' job, so that no name of an agent, a setting or a dataset can break a table.
"""

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

from lethe.benchmarks.report import collapsed
from lethe.benchmarks.report.comparison import Comparison, Entry, Row, Stat, agent_order, rows
from lethe.common.files import atomic_write, write_text
from lethe.dataloaders.index import find

ABSENT = "–"

ACCURACY_TABLES = (
    ("average", "accuracy_mean", "Accuracy on all classes seen so far, average over tasks (%)"),
    ("last", "accuracy_last", "Accuracy on all classes after the last task (%)"),
    ("first_task", "first_task_last", "Accuracy on the first task's classes after the last task (%)"),
)
"""Name, metric and caption of each table of accuracies."""
_NEEDS = {
    "task_boundaries": "task boundaries",
    "task_data": "task data again",
    "frozen_trunk": "frozen trunk",
    "offline": "offline lists",
}

_MARKDOWN_SPECIAL = re.compile(r"[\\`*\[\]<>|~#&$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
# A row that starts with a bracket or a star would be read as an option of the line break before it.
_LATEX_SPECIAL = {
    "\\": r"\textbackslash{}",
    **{character: "\\" + character for character in "{}#$%&_"},
    **{character: f"{{{character}}}" for character in "[]*"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "–": "--",
    "†": r"$\dagger$",
}


@dataclass(frozen=True)
class Table:
    """A table of plain strings: the first column names the row, all others are numbers or words."""

    name: str
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    """Lines below the table."""


def write_tables(comparison: Comparison, out: Path) -> list[Path]:
    """Write comparison.csv, comparison.md and comparison.tex into `out`; return their paths."""
    paths = [out / f"comparison.{suffix}" for suffix in ("csv", "md", "tex")]
    write_long_form(paths[0], rows(comparison))
    tables = {dataset: dataset_tables(comparison, dataset) for dataset in comparison.datasets()}
    write_text(paths[1], markdown_page("Comparison", tables))
    write_text(paths[2], latex_page(tables))
    return paths


def write_long_form(path: Path, lines: Sequence[Row]) -> None:
    """Write one line per mean, with a header; undefined values are blank, tasks count from 1."""
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([field.name for field in fields(Row)])
        writer.writerows(astuple(line) for line in lines)


def dataset_tables(comparison: Comparison, dataset: str) -> list[Table]:
    """The tables of one dataset: three of accuracies, one of needs and costs."""
    accuracy = [
        accuracy_table(comparison, dataset, metric, name, caption)
        for name, metric, caption in ACCURACY_TABLES
    ]
    return [*accuracy, cost_table(comparison, dataset)]


def main_table(comparison: Comparison, dataset: str) -> Table:
    """The table to show first: accuracy on seen classes, average over tasks."""
    name, metric, caption = ACCURACY_TABLES[0]
    return accuracy_table(comparison, dataset, metric, name, caption)


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
    header = ("agent", *(f"{paradigm} ({_runs(expected[paradigm])})" for paradigm in paradigms))
    lines = tuple(
        (label, *(cells.get((label, paradigm), ABSENT) for paradigm in paradigms))
        for label in _entries_of(comparison, dataset)
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


def cost_table(comparison: Comparison, dataset: str) -> Table:
    """Needs, memory and time of each agent; ranges where paradigms differ."""
    header = ("agent", *_NEEDS.values(), "memory", "images/s", "training time", "wall time", "runs")
    lines = []
    for label, entries in _entries_of(comparison, dataset).items():
        needs = [_need(entries, need) for need in _NEEDS]
        finished = sum(len(entry.finished) for entry in entries)
        expected = sum(comparison.expected_runs(dataset, entry.paradigm) for entry in entries)
        costs = (
            _span(entries, "memory_bytes", format_bytes),
            _span(entries, "images_per_second", "{:,.0f}".format),
            _span(entries, "seconds", format_seconds),
            _span(entries, "wall_seconds", format_seconds),
            str(finished) if finished == expected else f"{finished}/{expected}",
        )
        lines.append((label, *needs, *costs))
    caption = (
        "Needs and cost: memory beyond the network's parameters; time of a run, in training steps and on the wall, "
        "evaluation and writing included; ranges span the paradigms"
    )
    return Table("cost", caption, header, tuple(lines))


def _need(entries: Sequence[Entry], need: str) -> str:
    """Whether the agent has the need; of task data, how many images of a run it was handed once more."""
    if not entries[0].needs.get(need):
        return "no"
    again = _span(entries, "images_again", "{:,.0f}".format) if need == "task_data" else ABSENT
    return "yes" if again == ABSENT else f"{again} images"


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


def latex(table: Table, label: str) -> str:
    """A `table` float; the document needs the booktabs package."""
    header, *body = [[escape_latex(cell) for cell in line] for line in (table.header, *table.rows)]
    return "\n".join(
        [
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{escape_latex(table.caption)}}}",
            rf"  \label{{tab:{re.sub('[^A-Za-z0-9]+', '-', label)}}}",
            rf"  \begin{{tabular}}{{l{'r' * (len(header) - 1)}}}",
            r"    \toprule",
            f"    {' & '.join(header)} \\\\",
            r"    \midrule",
            *(f"    {' & '.join(line)} \\\\" for line in body),
            r"    \bottomrule",
            r"  \end{tabular}",
            *(rf"  \par\footnotesize {escape_latex(note)}" for note in table.notes),
            r"\end{table}",
        ]
    )


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


def escape_latex(text: str) -> str:
    """Escape what LaTeX would read as a command."""
    return "".join(_LATEX_SPECIAL.get(character, character) for character in text)


def dataset_title(dataset: str) -> str:
    """A dataset's name in figures and tables."""
    return find.title(dataset)


def markdown_page(title: str, tables: Mapping[str, Sequence[Table]]) -> str:
    """A page with the tables of each dataset."""
    parts = [f"# {escape_markdown(title)}", "Mean ± standard error of the mean over runs."]
    for dataset, members in tables.items():
        parts.append(f"## {escape_markdown(dataset_title(dataset))}")
        for table in members:
            parts += [f"### {escape_markdown(table.caption)}", markdown(table)]
    return "\n\n".join(parts) + "\n"


def latex_page(tables: Mapping[str, Sequence[Table]]) -> str:
    """The tables of each dataset as floats, for a document that loads booktabs."""
    parts = [r"% Needs \usepackage{booktabs}. Mean and standard error of the mean over runs."]
    for dataset, members in tables.items():
        for table in members:
            titled = replace(table, caption=f"{dataset_title(dataset)}: {table.caption}.")
            parts.append(latex(titled, f"{dataset}-{table.name}"))
    return "\n\n".join(parts) + "\n"


def _entries_of(comparison: Comparison, dataset: str) -> dict[str, list[Entry]]:
    """A dataset's entries by label, in the order of the tables' rows."""
    entries = [entry for entry in comparison.entries if entry.dataset == dataset]
    by_label: dict[str, list[Entry]] = {}
    for entry in sorted(entries, key=agent_order):
        by_label.setdefault(entry.label, []).append(entry)
    return by_label


def _span(entries: Sequence[Entry], metric: str, show: Callable[[float], str]) -> str:
    means = sorted(mean for entry in entries if (mean := entry.stats[metric].mean) is not None)
    if not means:
        return ABSENT
    least, greatest = show(means[0]), show(means[-1])
    return least if least == greatest else f"{least} – {greatest}"


def _runs(count: int) -> str:
    return f"{count} run" if count == 1 else f"{count} runs"


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
