"""Two results folders side by side: the difference of each trial that both have, over the runs that both have."""

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lethe.benchmarks.report.comparison import Comparison
from lethe.benchmarks.report.differences import COMPARED, LEVEL, Difference, run_differences, tested
from lethe.benchmarks.report.entries import Entry
from lethe.benchmarks.report.tables import ABSENT, Table
from lethe.benchmarks.report.tested_tables import difference_text, tables_of
from lethe.common.files import atomic_write

_HEADER = (
    "dataset", "paradigm", "agent", "metric", "first", "second", "mean_first", "mean_second",
    "difference", "pairs", "p", "p_adjusted",
)  # fmt: skip


def folder_names(roots: Sequence[Path]) -> list[str]:
    """A name for each results folder: its own, or its path where two have the same."""
    names = [Path(os.path.abspath(root)).name for root in roots]  # noqa: PTH100  (`resolve` raises at loops of links)
    return names if len(set(names)) == len(names) else [str(root) for root in roots]


def difference_tables(comparison: Comparison, dataset: str) -> list[Table]:
    """For each metric, trials x paradigms: the mean of the second folder minus that of the first."""
    first, second = comparison.sources
    paradigms = comparison.paradigms(dataset)
    tables = []
    for name, metric, caption, digits in tables_of(comparison, dataset):
        columns = {paradigm: _differences(comparison, dataset, paradigm, metric) for paradigm in paradigms}
        rows = tuple(
            (label, *(_cell(columns[paradigm].get(label), digits) for paradigm in paradigms))
            for label in dict.fromkeys(label for column in columns.values() for label in column)
        )
        note = (
            f"Mean difference over the runs that both have; exact paired permutation test, adjusted for the number of "
            f"trials in the column (Holm); significant at p up to {LEVEL:.0%}."
        )
        about = f"{caption}: {second} minus {first}, on {comparison.split} images"
        if rows:
            tables.append(Table(f"between_{name}", about, ("agent", *paradigms), rows, (note,)))
    return tables


def lone_trials(comparison: Comparison) -> list[str]:
    """A note for each dataset and paradigm on the trials that one folder alone has."""
    found = []
    for dataset in comparison.datasets():
        for paradigm in comparison.paradigms(dataset):
            entries = comparison.select(dataset, paradigm)
            both = _pairs(comparison, dataset, paradigm)
            for source in comparison.sources:
                alone = [entry.name for entry in entries if entry.source == source and entry.name not in both]
                if alone:
                    found.append(f"{dataset}/{paradigm}: only in {source}: {', '.join(alone)}")
    return found


def write_differences(comparison: Comparison, path: Path) -> Path:
    """Write a line per trial and metric that both folders have; return `path`."""
    first, second = comparison.sources
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_HEADER)
        for dataset in comparison.datasets():
            for paradigm in comparison.paradigms(dataset):
                pairs = _pairs(comparison, dataset, paradigm)
                for metric in _metrics(pairs.values()):
                    for label, found in _differences(comparison, dataset, paradigm, metric).items():
                        means = (entry.stats[metric].mean for entry in pairs[label])
                        writer.writerow(
                            (dataset, paradigm, label, metric, first, second, *means,
                             found.mean, found.pairs, found.p, found.p_adjusted)
                        )  # fmt: skip
    return path


def _metrics(pairs: Iterable[tuple[Entry, Entry]]) -> list[str]:
    """The compared metrics, without those of top-5 that no trial has."""
    entries = [entry for pair in pairs for entry in pair]
    return [
        name for name in COMPARED if "top5" not in name or any(entry.stats[name].runs for entry in entries)
    ]


def _pairs(comparison: Comparison, dataset: str, paradigm: str) -> Mapping[str, tuple[Entry, Entry]]:
    """By name, the entries of the first and the second folder of the trials that both have."""
    first, second = (
        {entry.name: entry for entry in comparison.select(dataset, paradigm) if entry.source == source}
        for source in comparison.sources
    )
    return {name: (entry, second[name]) for name, entry in first.items() if name in second}


def _differences(
    comparison: Comparison, dataset: str, paradigm: str, metric: str
) -> Mapping[str, Difference]:
    pairs = _pairs(comparison, dataset, paradigm)
    return tested({name: run_differences(second, first, metric) for name, (first, second) in pairs.items()})


def _cell(difference: Difference | None, digits: int) -> str:
    return ABSENT if difference is None else difference_text(difference, digits)
