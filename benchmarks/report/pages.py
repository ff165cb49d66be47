"""The comparison as files: comparison.csv (long form), comparison.md and comparison.tex (agents x paradigms)."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from lethe.benchmarks.report.comparison import Comparison, Row, rows
from lethe.benchmarks.report.costs import cost_tables
from lethe.benchmarks.report.increments import increment_tables
from lethe.benchmarks.report.latex import latex_page
from lethe.benchmarks.report.notes import notes
from lethe.benchmarks.report.published_numbers import read_curves
from lethe.benchmarks.report.tables import Table, escape_markdown, markdown
from lethe.benchmarks.report.tested_tables import difference_table, measured_tables
from lethe.common.files import atomic_write, write_text


def write_tables(comparison: Comparison, out: Path) -> list[Path]:
    """Write comparison.csv, comparison.md and comparison.tex into `out`; return their paths."""
    paths = [out / f"comparison.{suffix}" for suffix in ("csv", "md", "tex")]
    write_long_form(paths[0], rows(comparison))
    published = read_curves()
    tables = {
        dataset: [*dataset_tables(comparison, dataset), *increment_tables(comparison, dataset, published)]
        for dataset in comparison.datasets()
    }
    write_text(paths[1], markdown_page("Comparison", comparison, tables))
    write_text(paths[2], latex_page(comparison, tables))
    return paths


def write_long_form(path: Path, lines: Sequence[Row]) -> None:
    """Write one line per mean, with a header; undefined values are blank, tasks count from 1."""
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        names = [field.name for field in fields(Row)]
        writer.writerow(names)
        writer.writerows([getattr(line, name) for name in names] for line in lines)


def dataset_tables(comparison: Comparison, dataset: str) -> list[Table]:
    """The tables of one dataset: metrics with the best marked, the tests behind the marks, needs and costs."""
    tables = measured_tables(comparison, dataset)
    return [*tables, difference_table(comparison, dataset), *cost_tables(comparison, dataset)]


def markdown_page(title: str, comparison: Comparison, tables: Mapping[str, Sequence[Table]]) -> str:
    """A page with the tables of each dataset, and the reservations about the numbers."""
    parts = [f"# {escape_markdown(title)}", "Mean ± standard error of the mean over runs."]
    for dataset, members in tables.items():
        parts.append(f"## {escape_markdown(comparison.title(dataset))}")
        for table in members:
            parts += [f"### {escape_markdown(table.caption)}", markdown(table)]
    if told := notes(comparison):
        parts += ["## Notes", "\n".join(f"- {escape_markdown(note)}" for note in told)]
    return "\n\n".join(parts) + "\n"
