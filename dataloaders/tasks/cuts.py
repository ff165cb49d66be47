"""Where tasks end among their units, and the places of classes in an order."""

from collections.abc import Sequence

import numpy as np

from lethe.common.errors import InputError
from lethe.dataloaders.index.spec import Dataset


def places_in(dataset: Dataset, names: Sequence[str], order: Sequence[str]) -> np.ndarray:
    """The place of each of the dirmap's classes in `order`, int64 [K]."""
    places = {name: place for place, name in enumerate(order)}
    if strange := [name for name in names if name not in places]:
        raise InputError(f"class_order: the dirmap of {dataset.name} has classes that it lacks: {strange}")
    return np.array([places[name] for name in names], dtype=np.int64)


def class_ends(dataset: Dataset, classes: int) -> Sequence[int]:
    """The place where each task of classes ends; the first may have a size of its own."""
    if dataset.order.tasks or dataset.first_task_classes is None:
        return ends_of(dataset, "classes", classes, dataset.task_classes)
    first = min(dataset.first_task_classes, classes)
    return [
        first,
        *(first + end for end in ends_of(dataset, "classes", classes - first, dataset.task_classes)),
    ]


def ends_of(dataset: Dataset, what: str, units: int, size: int, count: int | None = None) -> Sequence[int]:
    """The place where each task ends among `units`: `count` tasks of `size`, or `Order.tasks` of like sizes."""
    tasks = dataset.order.tasks
    if tasks is None:
        return [(task + 1) * size for task in range(-(-units // size) if count is None else count)]
    if tasks > units:
        raise InputError(f"tasks = {tasks}: expected at most {units}, the number of training {what}")
    return [-(-units * (task + 1) // tasks) for task in range(tasks)]
