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

from lethe.benchmarks.measure.confusion import Confusion
from lethe.benchmarks.records.appended import AppendedFile

CONFUSION = "confusion.csv"


class ConfusionFiles:
    """Writer of both files in a run's folder, and of the clauses on a collapse."""

    def __init__(self, folder: Path):
        self.collapses: list[str] = []
        """`Confusion.collapse` after each task."""
        self._pairs = AppendedFile(folder / CONFUSION)
        self._accuracies = AppendedFile(folder / "class_accuracy.csv")

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
        """Lengths of the files and the clauses, for a checkpoint."""
        sizes = {"confusion_bytes": self._pairs.size(), "class_accuracy_bytes": self._accuracies.size()}
        return {**sizes, "collapses": self.collapses}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on from what `state` told; from nothing without it."""
        self.collapses = list(saved.get("collapses", []))
        self._pairs.cut(saved.get("confusion_bytes", 0))
        self._accuracies.cut(saved.get("class_accuracy_bytes", 0))


def _csv(rows: Iterable[Iterable[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
