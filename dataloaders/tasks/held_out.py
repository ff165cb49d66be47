"""Held-out training images, on which hyperparameters are chosen without any test image.

One training session per object is held out; an object with only one session keeps it. If no object of a class has
two, as in datasets without sessions, a tenth of each object's images is held out, at least one. The choice depends on
the run alone: all agents, paradigms, modes and variants hold out the same images.
"""

from dataclasses import replace

import numpy as np

from lethe.common.errors import InputError
from lethe.common.input_problems import raise_any
from lethe.dataloaders.index.spec import Dataset
from lethe.dataloaders.tasks import paradigms
from lethe.dataloaders.tasks.paradigms import Schedule, Split, extent, task_count

_SHARE = 10
"""Of objects with a single session, one image in this many is held out."""

_SIZES = {"iid": "iid_task_images", "instance": "task_instances"}
"""The field of `Dataset` with the size of a task, for paradigms whose tasks are not a number of classes."""


def schedule(split: Split, dataset: Dataset, paradigm: str, run: int, mode: str, variant: str) -> Schedule:
    """`paradigms.schedule` of the remaining training images, in as many tasks; its test images are those held out."""
    kept = hold_out(split, run)
    smaller = resized(dataset, split, kept, paradigm, variant)
    return paradigms.schedule(kept, smaller, paradigm, run, mode, variant)


def hold_out(split: Split, run: int) -> Split:
    """`split` with held-out training images in place of the test images; classes keep their codes.

    Random numbers come from a legacy `RandomState(run)`, classes and their objects in order. Raises `InputError` with
    every class that would have nothing left to learn.
    """
    generator = np.random.RandomState(run)
    held, problems = [], []
    for name, rows in zip(split.classes, _groups(split.train, split.class_code), strict=True):
        chosen = _chosen(split, rows, generator)
        held.append(chosen)
        if len(chosen) == len(rows):
            problems.append(
                f"class {name}: nothing is left to learn when one image of each object is held out for "
                "validation: it needs a second session of an object, or more images of one"
            )
    raise_any(problems)
    test = np.sort(np.concatenate(held))
    return replace(split, train=np.setdiff1d(split.train, test), test=test)


def resized(dataset: Dataset, full: Split, kept: Split, paradigm: str, variant: str) -> Dataset:
    """`dataset` with smaller tasks, so that `kept` makes as many of them as `full`.

    Sizes in images or instances shrink with the training set; tasks of classes hold as many classes as before.
    Raises `InputError` where no size gives that number.
    """
    if paradigm not in _SIZES or dataset.order.tasks:
        return dataset
    name = _SIZES[paradigm]
    tasks, size = task_count(full, dataset, paradigm, variant), int(getattr(dataset, name))
    before, now = (extent(part, paradigm, variant) for part in (full, kept))
    for smaller in range(-(-size * now // before), 0, -1):  # the share, rounded up, never makes more tasks
        shrunk = (
            replace(dataset, iid_task_images=smaller)
            if paradigm == "iid"
            else replace(dataset, task_instances=smaller)
        )
        found = task_count(kept, shrunk, paradigm, variant)
        if found == tasks:
            return shrunk
        if found > tasks:
            break
    raise InputError(
        f"{dataset.name}: what is left to learn under {paradigm} when validation images are held out cannot be "
        f"cut into {tasks} tasks, as all of it is: change its {name} = {size}"
    )


def _chosen(split: Split, rows: np.ndarray, generator: np.random.RandomState) -> np.ndarray:
    """The held-out rows of a class with the training rows `rows`."""
    objects = _groups(rows, split.object_code)
    sessions = [_groups(own, split.instance) for own in objects]
    if any(len(own) > 1 for own in sessions):
        return np.concatenate([own[generator.randint(len(own))] for own in sessions if len(own) > 1])
    return np.concatenate([generator.permutation(own)[: max(1, round(len(own) / _SHARE))] for own in objects])


def _groups(rows: np.ndarray, keys: np.ndarray) -> list[np.ndarray]:
    """`rows` cut by their values in `keys`, ascending; each in the order given."""
    order = np.argsort(keys[rows], kind="stable")
    rows = rows[order]
    return np.split(rows, np.flatnonzero(np.diff(keys[rows])) + 1)
