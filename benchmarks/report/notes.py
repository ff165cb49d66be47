"""Reservations about the numbers of a comparison, a sentence each."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from lethe.benchmarks.report.comparison import Comparison
from lethe.benchmarks.report.costs import instruction_set_notes
from lethe.benchmarks.report.entries import CONDITIONS, Entry
from lethe.benchmarks.report.tested_tables import OMEGAS, omega_notes


def notes(comparison: Comparison) -> list[str]:
    """Reservations about the numbers: evaluated images, pretraining, missing runs, unlike conditions, missing Ω_all."""
    found = []
    if comparison.left_out:
        found.append(
            f"left out: {comparison.left_out} trial(s) judged on validation images, not on test images"
        )
    if comparison.split == "validation":
        found.append("all trials were judged on validation images, held out of training, not on test images")
    pretrained = sorted({entry.pretrained for entry in comparison.entries if entry.pretrained})
    if pretrained:
        found.append(f"pretrained: {'; '.join(pretrained)}")
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
    """Notes on Ω_all, where there is an offline trial, or a curve from a file, that it could be relative to."""
    for metric, reference in OMEGAS.items():
        if any(entry.offline or reference(entry).from_file for entry in entries):
            yield from omega_notes(entries, metric)


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
