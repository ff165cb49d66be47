"""Marks in tables for trials of which a run has collapsed: it answers the same for nearly all test images."""

from collections.abc import Iterable

from lethe.benchmarks.report.entries import Entry

MARK = "†"


def marked(cell: str, entry: Entry) -> str:
    """The `cell` of an entry, with the mark if one of its runs has collapsed."""
    return f"{cell} {MARK}" if entry.collapsed else cell


def notes(entries: Iterable[Entry]) -> tuple[str, ...]:
    """A line below the table for each entry that has the mark."""
    return tuple(
        f"{MARK} {entry.paradigm}: {entry.label} has collapsed in {_runs(entry)}"
        for entry in entries
        if entry.collapsed
    )


def _runs(entry: Entry) -> str:
    numbers = sorted(entry.collapsed)
    which = f"run {numbers[0]}" if len(numbers) == 1 else f"runs {', '.join(map(str, numbers))}"
    among = f" of {len(entry.finished)}" if len(entry.finished) > 1 else ""
    first = f"in run {numbers[0]}, " if len(numbers) > 1 else ""
    return f"{which}{among}: {first}{entry.collapsed[numbers[0]]}"
