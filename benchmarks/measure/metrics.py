"""Metrics of a run, as pure functions of its accuracy matrix.

The matrix is float64 [T, 1 + G], in percent, NaN where undefined. Row t: after task t. Column 0: all classes
seen so far. Column 1 + g: group g, the classes first met in task g (for g <= t). Where all tasks share their
classes there is one group, and column 1 equals column 0.
"""

import math

import numpy as np


def groups_of(classes_met: list[tuple[int, ...]]) -> dict[int, int]:
    """The group of each label: the first task after which it is among `classes_met`, numbered without gaps."""
    first: dict[int, int] = {}
    for task, labels in enumerate(classes_met):
        for label in labels:
            first.setdefault(label, task)
    numbers = {task: group for group, task in enumerate(sorted(set(first.values())))}
    return {label: numbers[task] for label, task in first.items()}


def chance(classes_seen: int, among: int = 1) -> float:
    """Accuracy of `among` guesses among `classes_seen` equally frequent classes, in percent."""
    return 100 * min(1, among / classes_seen)


def accuracy_mean(matrix: np.ndarray) -> float:
    """(1/T) Σ_t R[t, seen]: accuracy on all classes seen so far, averaged over tasks."""
    return float(matrix[:, 0].mean())


def accuracy_last(matrix: np.ndarray) -> float:
    """R[T-1, seen]: accuracy on all classes, after the last task."""
    return float(matrix[-1, 0])


def first_task_mean(matrix: np.ndarray) -> float:
    """(1/T) Σ_t R[t, 0]: accuracy on the classes of the first task, averaged over tasks."""
    return float(matrix[:, 1].mean())


def first_task_last(matrix: np.ndarray) -> float:
    """R[T-1, 0]: accuracy on the classes of the first task, after the last task."""
    return float(matrix[-1, 1])


def forgetting(matrix: np.ndarray) -> float | None:
    """(1/(G-1)) Σ_{g<G-1} max_{t<T-1} R[t, g] - R[T-1, g] (Chaudhry et al. 2018, arXiv 1801.10112, eq. 3).

    Of tasks that share no class; None for a single group.
    """
    groups = matrix[:, 1:]
    if groups.shape[1] < 2:
        return None
    earlier = np.nanmax(groups[:-1, :-1], axis=0)
    return float((earlier - groups[-1, :-1]).mean())


def backward_transfer(matrix: np.ndarray) -> float | None:
    """(1/(G-1)) Σ_{g<G-1} R[T-1, g] - R[t_g, g], t_g the task that brought g (Lopez-Paz and Ranzato 2017).

    arXiv 1706.08840, eq. 3. Of tasks that share no class; None for a single group.
    """
    groups = matrix[:, 1:]
    if groups.shape[1] < 2:
        return None
    met_in = np.argmax(~np.isnan(groups), axis=0)
    learned = groups[met_in, np.arange(groups.shape[1])]
    return float((groups[-1] - learned)[:-1].mean())


def omega_all(accuracy: np.ndarray, offline: np.ndarray) -> float | None:
    """Ω_all = (1/T) Σ_t α_t / α_offline,t (Hayes et al. 2020, REMIND, arXiv 1910.02509).

    accuracy, offline: [T] accuracy on all classes seen so far. None where the offline learner is at zero.
    """
    if not (offline > 0).all():
        return None
    return float((accuracy / offline).mean())


def new_classes(groups: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Σ_{g≥1} n_g R[t, g] / Σ_{g≥1} n_g over the groups met until t: accuracy on all classes but the first task's, [T].

    groups: [T, G] accuracy on each group, NaN where undefined; images: [G] test images n_g of each. NaN before another
    group than the first is met.
    """
    later, weights = groups[:, 1:], np.where(np.isnan(groups[:, 1:]), 0, images[1:])
    totals = weights.sum(1)
    return np.where(totals > 0, (np.nan_to_num(later) * weights).sum(1) / np.maximum(totals, 1), np.nan)


def summary(matrix: np.ndarray, *, tasks_share_classes: bool) -> dict[str, float | None]:
    """All metrics of a run that need no other run.

    Where tasks share classes, forgetting and backward transfer are None: there is nothing that only an earlier task
    has taught, even if a class that is missing from the first task makes a second group.
    """
    values = {
        "accuracy_mean": accuracy_mean(matrix),
        "accuracy_last": accuracy_last(matrix),
        "first_task_mean": first_task_mean(matrix),
        "first_task_last": first_task_last(matrix),
        "forgetting": None if tasks_share_classes else forgetting(matrix),
        "backward_transfer": None if tasks_share_classes else backward_transfer(matrix),
    }
    return {name: None if value is None or math.isnan(value) else value for name, value in values.items()}
