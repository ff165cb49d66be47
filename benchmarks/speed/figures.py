"""Shared by measurements of speed: alternating timing of several ways, figures with ratios, a table and JSON.

Absolute figures depend on the machine and its load; the ratios hardly do, because the ways alternate in one run.
"""

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Figure:
    """One measurement, beside the same done the plain way."""

    what: str
    ours: float
    plain: float | None = None
    """None where there is no plain way."""
    plain_way: str = ""
    target: float | None = None
    """Bound of `ratio`: at least this for a rate, at most this for a time."""

    @property
    def ratio(self) -> float | None:
        """Ours by plain: times as fast for a rate, times as long for a time."""
        return None if self.plain is None else self.ours / self.plain


def seconds(repeats: int, *ways: Callable[[int], object]) -> list[float]:
    """Median seconds of each of the ways, which alternate; each gets the number of the turn."""
    taken: list[list[float]] = [[] for _ in ways]
    for turn in range(repeats):
        for way, times in zip(ways, taken, strict=True):
            start = time.perf_counter()
            way(turn)
            times.append(time.perf_counter() - start)
    return [statistics.median(times) for times in taken]


def table(figures: Sequence[Figure], unit: str) -> str:
    """The figures, in `unit`, as a table of aligned text."""
    head = (unit, "ours", "plain", "ratio", "target", "plain way")
    rows = [
        (
            figure.what,
            f"{figure.ours:.1f}",
            "" if figure.plain is None else f"{figure.plain:.1f}",
            "" if figure.ratio is None else f"{figure.ratio:.2f}",
            "" if figure.target is None else f"{figure.target:.2f}",
            figure.plain_way,
        )
        for figure in figures
    ]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        numbers = (cell.rjust(width) for cell, width in zip(cells[1:5], widths[1:5], strict=True))
        return "  ".join((cells[0].ljust(widths[0]), *numbers, cells[5])).rstrip()

    return "\n".join(map(line, (head, *rows)))


def as_json(figures: Sequence[Figure], unit: str) -> dict[str, object]:
    """The figures with their unit and the number of cores, for JSON."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "unit": unit,
        "figures": [asdict(figure) | {"ratio": figure.ratio} for figure in figures],
    }
