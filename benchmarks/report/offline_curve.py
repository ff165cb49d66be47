"""The curve of an offline learner in a file, as the reference of Ω_all without offline runs of one's own.

A CSV file with the columns `classes` and `top1`, `top5` or both: accuracy in percent of a learner from all data on so
many classes. Between two rows the curve is a straight line, beyond them it has no value. Lines that begin with # are
comments.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lethe.common.errors import InputError
from lethe.common.files import read_text
from lethe.common.input_problems import first

MEASURES = ("top1", "top5")
_HEADERS = [
    ["classes", "top1"],
    ["classes", "top5"],
    ["classes", "top1", "top5"],
    ["classes", "top5", "top1"],
]
_LARGEST = 1 << 20  # bytes
_MOST_CLASSES = 1 << 31


@dataclass(frozen=True)
class OfflineCurve:
    """Accuracy of an offline learner by the number of classes."""

    name: str
    """Of the file."""
    classes: tuple[int, ...]
    """Ascending."""
    percent: Mapping[str, tuple[float, ...]]
    """For the names of `MEASURES` that the file has, the accuracy on so many classes."""

    def at(self, measure: str, classes: Sequence[int]) -> np.ndarray | None:
        """The accuracy on so many `classes`, float64 [T]; None where one is beyond the curve's ends."""
        if not classes or min(classes) < self.classes[0] or max(classes) > self.classes[-1]:
            return None
        return np.interp(classes, self.classes, self.percent[measure])


def read_offline_curve(path: Path) -> OfflineCurve:
    """The curve in the file at `path`; `InputError` with all its problems, with their lines."""
    lines = read_text(path, _LARGEST).removeprefix("\ufeff").split("\n")
    told = [
        (number, line) for number, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")
    ]
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader([line for _, line in told], strict=True)]
    except csv.Error as error:
        raise InputError(f"{path}: is no CSV file: {error}") from None
    if not rows or rows[0] not in _HEADERS or len(rows) != len(told):
        got = ",".join(rows[0])[:60] if rows else "nothing"
        raise InputError(
            f"{path}: expected columns classes and top1, top5 or both in its first line, got {got!r}"
        )
    if len(rows) == 1:
        raise InputError(f"{path}: expected a row for each number of classes, got none")
    header, problems, table = rows[0], [], []
    for (number, _), row in zip(told[1:], rows[1:], strict=True):
        try:
            table.append(_values(row, len(header)))
            if len(table) > 1 and table[-1][0] <= table[-2][0]:
                problems.append(
                    f"{path}:{number}: expected more classes than in the row before, got {row[0]}"
                )
        except ValueError as error:
            problems.append(f"{path}:{number}: {error}")
    if problems:
        raise InputError(*first(problems))
    columns = dict(zip(header, zip(*table, strict=True), strict=True))
    classes = tuple(int(value) for value in columns.pop("classes"))
    return OfflineCurve(path.name, classes, columns)


def _values(row: Sequence[str], columns: int) -> list[float]:
    if len(row) != columns:
        raise ValueError(f"expected {columns} values, got {len(row)}")
    if (
        not (row[0].isascii() and row[0].isdecimal())
        or len(row[0]) > 10
        or not 1 <= int(row[0]) < _MOST_CLASSES
    ):
        raise ValueError(f"expected a whole number of classes, got {row[0][:40]!r}")
    values: list[float] = [int(row[0])]
    for cell in row[1:]:
        try:
            value = float(cell)
        except ValueError:
            value = -1
        if not 0 < value <= 100:
            raise ValueError(f"expected an accuracy above 0, up to 100 percent, got {cell[:40]!r}")
        values.append(value)
    return values
