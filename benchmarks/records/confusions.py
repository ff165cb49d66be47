"""Confusion matrices of a run, and its accuracies per class: two files that grow by every task.

run<r>/confusion.csv         test images by task, true and predicted class; pairs that did not occur have no line
run<r>/class_accuracy.csv    percent after each task, a column per class; a blank for a class without test images
"""

import csv
import io
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from lethe.benchmarks.measure.confusion import Confusion
from lethe.benchmarks.records.appended import AppendedFile
from lethe.benchmarks.records.going_on import check_log
from lethe.common.errors import Damaged

CONFUSION = "confusion.csv"


class ConfusionFiles:
    """Writer of both files in a run's folder, and of the clauses on a collapse."""

    def __init__(self, folder: Path):
        self.collapses: list[str] = []
        """`Confusion.collapse` after each task."""
        self._pairs = AppendedFile(folder / CONFUSION)
        self._accuracies = AppendedFile(folder / "class_accuracy.csv")
        self._files = (self._pairs, self._accuracies)

    def add(self, confusion: Confusion) -> None:
        """Append what was found after another task."""
        task, names = len(self.collapses), confusion.classes
        if task == 0:
            self._pairs.append(_csv([("task", "true", "predicted", "count")]))
            self._accuracies.append(_csv([("task", *names)]))
        rows = (
            (task, names[true], names[predicted], count)
            for true, predicted, count in confusion.counts.tolist()
        )
        self._pairs.append(_csv(rows))
        percent = [
            "" if math.isnan(value) else repr(value) for value in confusion.class_accuracies().tolist()
        ]
        self._accuracies.append(_csv([(task, *percent)]))
        self.collapses.append(confusion.collapse())

    def state(self) -> dict[str, Any]:
        """The clauses, and what is noted of the files, for a checkpoint."""
        return {
            "collapses": self.collapses,
            "appended": {file.path.name: file.state() for file in self._files},
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on from what `state` told; from nothing without it. `Damaged` where it tells of tasks, and of no file."""
        self.collapses = list(saved.get("collapses", []))
        for file in self._files:
            size, crc32 = saved.get("appended", {}).get(file.path.name, (0, 0))
            if self.collapses and not size:
                raise Damaged(
                    f"{file.path}: the checkpoint of this run does not tell its length after "
                    f"{len(self.collapses)} tasks: delete the run's folder to restart it"
                )
            file.restore((size, crc32))


def read(folder: Path, summary: Mapping[str, Any]) -> pd.DataFrame:
    """The content of confusion.csv in a finished run's `folder`; `Damaged` if it is not as its `summary` notes."""
    path = folder / CONFUSION
    try:
        size, crc32 = (int(value) for value in summary["appended"][CONFUSION])
        check_log(path, size, crc32)
        return pd.read_csv(path, dtype={"true": str, "predicted": str}, keep_default_na=False)
    except (KeyError, OSError, TypeError, ValueError) as error:
        raise Damaged(f"{path}: damaged ({error}): delete its folder to make it again") from error


def _csv(rows: Iterable[Iterable[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
