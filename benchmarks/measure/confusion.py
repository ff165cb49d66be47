"""What the test images of each class were taken for, and whether an agent has collapsed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

COLLAPSED = 0.9
"""Share of the test images from which on one answer for them is a collapse."""


@dataclass(frozen=True, eq=False)
class Confusion:
    """The confusion matrix of an evaluation: test images by true and predicted label."""

    classes: tuple[str, ...]
    """Names of the labels 0 .. K-1."""
    counts: np.ndarray
    """int64 [n, 3], rows (true label, predicted label, images), ascending, of the pairs that occurred."""
    tied: int = 0
    """Test images of which all classes seen, of several, had the same score."""

    @classmethod
    def of(
        cls, classes: tuple[str, ...], true: np.ndarray, predicted: np.ndarray, tied: int = 0
    ) -> "Confusion":
        """That of labels int64 [N]."""
        pairs, counts = np.unique(true * len(classes) + predicted, return_counts=True)
        return cls(classes, np.column_stack((*divmod(pairs, len(classes)), counts)), tied)

    def matrix(self) -> np.ndarray:
        """int64 [K, K], images by true (row) and predicted label (column)."""
        matrix = np.zeros((len(self.classes), len(self.classes)), np.int64)
        matrix[self.counts[:, 0], self.counts[:, 1]] = self.counts[:, 2]
        return matrix

    def class_accuracies(self) -> np.ndarray:
        """float64 [K], percent of each class's test images; NaN for a class that has none."""
        true, predicted, counts = self.counts.T
        images = np.bincount(true, counts, minlength=len(self.classes))
        right = np.bincount(true, counts * (true == predicted), minlength=len(self.classes))
        percent = np.full(len(images), np.nan)
        np.divide(100 * right, images, out=percent, where=images > 0)
        return percent

    def collapse(self) -> str:
        """One clause where the agent has collapsed, empty where it has not.

        It has where all scores are equal on `COLLAPSED` of the test images, or where one class is predicted for this
        share of the images of all classes and for this share of those of the other classes. Of one class, never.
        """
        true, predicted, counts = self.counts.T
        images = counts.sum()
        if len(np.unique(true)) < 2:
            return ""
        if self.tied >= COLLAPSED * images:
            return f"all classes had the same score on {100 * self.tied / images:.0f} % of the test images"
        given = np.bincount(predicted, counts)
        label = int(given.argmax())
        wrong, others = counts[(predicted == label) & (true != label)].sum(), counts[true != label].sum()
        if given[label] < COLLAPSED * images or wrong < COLLAPSED * others:
            return ""
        share = 100 * given[label] / images
        return f"class {self.classes[label]} was predicted for {share:.0f} % of the test images"


def collapse_of_run(clauses: Sequence[str]) -> str | None:
    """A sentence where a run has collapsed, from `Confusion.collapse` after each task.

    It has where the agent had after the last task, or after more than half of them.
    """
    tasks = [task for task, clause in enumerate(clauses, start=1) if clause]
    if not tasks or not (clauses[-1] or 2 * len(tasks) > len(clauses)):
        return None
    often = f", and after {len(tasks)} of {len(clauses)} tasks in all" if len(tasks) > 1 else ""
    return f"{clauses[tasks[-1] - 1]} after task {tasks[-1]}{often}"
