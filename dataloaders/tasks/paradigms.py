"""The paradigms: the training images of each task, in order.

Pure functions of a dirmap and a run number. Each comes in two modes: in `stream` a task holds its own
images only, in `offline` task b holds the images of tasks 0..b. And in two variants:

`published` gives the very lists that the authors of AugMem (arXiv 2104.02206) published, quirks included:

1. consecutive iid tasks share one image;
2. `instance` takes an instance to be an (object, session) pair whatever its class, so that on datasets that
   number the objects of each class from 1 a pair mixes all classes, and task 0 holds everything;
3. for the same reason `class_instance` interleaves the sessions of same-numbered objects frame by frame;
4. where frame numbers of a pair are equal, their order is that of an unstable sort (see `introsort.py`).

`corrected` has disjoint iid tasks, takes an instance to be a (class, object, session), and sorts stably.
On datasets whose objects are numbered across classes, such as CORe50, the variants differ under iid only.

`class_ordered` is REMIND's (arXiv 1910.02509): tasks of classes in the order of a file in run 0, permuted in later
runs; in a task class after class and image after image as the dataset orders them. Its variants do not differ.

Random numbers come from two legacy generators of NumPy, both seeded by the run: `RandomState(run)
.permutation(n)`, restarted for each permutation of rows, and one `RandomState(run)` whose `shuffle` is
called for classes and instances one after the other.
With an `Order.seed` other than 0 both are seeded by it and the run. Orders of class_ordered are a `permutation`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from lethe.common.errors import InputError, unknown
from lethe.dataloaders.index.spec import MODES, Dataset, check_paradigm, check_variant
from lethe.dataloaders.tasks import introsort
from lethe.dataloaders.tasks.cuts import class_ends, ends_of, places_in


@dataclass(frozen=True, eq=False)
class Split:
    """Images cut into training and test set, coded for the paradigms; made from a dirmap or from arrays.

    Rows are positions of images, ascending; the other arrays have an entry per image.
    """

    train: np.ndarray
    """int64 [N]."""
    test: np.ndarray
    """int64 [M]."""
    classes: tuple[int | str, ...]
    """In order of first appearance among the training images; a class's code is its place here."""
    class_code: np.ndarray
    """int64; -1 where a class has no training image."""
    object_code: np.ndarray
    """int64; dense rank of (class code, object)."""
    pair: np.ndarray
    """int64; dense rank of (object, session)."""
    instance: np.ndarray
    """int64; dense rank of (class code, object, session)."""
    frame: np.ndarray
    """int64; the image's number within its session."""


@dataclass(frozen=True, eq=False)
class Schedule:
    """The tasks of one run. Rows are positions in the dirmap."""

    tasks: tuple[np.ndarray, ...]
    """Per task its rows in the order in which they are learned, int64 [n]."""
    names: tuple[np.ndarray, ...]
    """Per task the row names of the published `train_all.txt`, int64 [n]: under iid the place in the
    shuffled training set, otherwise a running number."""
    labels: np.ndarray
    """Label of each class code, int64 [K]: classes are labelled in the order in which the tasks show them."""
    test: np.ndarray
    """Rows of the test images, int64 [M]."""


def split(dirmap: pd.DataFrame, dataset: Dataset) -> Split:
    """Cut a dirmap by `dataset.test_sessions` and `dataset.frames`.

    Raises `InputError` if there is nothing to learn, nothing to test, or a class is tested but never learned.
    """
    frame = dirmap["im_num"].to_numpy(np.int64)
    kept = np.ones(len(frame), dtype=bool)
    if dataset.frames:
        first, step, stop = dataset.frames
        kept = np.isin(frame, np.arange(first, stop, step))
    tested = np.isin(dirmap["session"].to_numpy(), dataset.test_sessions)
    train, test = np.flatnonzero(kept & ~tested), np.flatnonzero(kept & tested)
    for rows, what in ((train, "training"), (test, "test")):
        if not len(rows):
            raise InputError(
                f"the dirmap of {dataset.name} has no {what} image: sessions {dataset.test_sessions} test, "
                f"all others train"
                + (f"; frames {first}, {first + step}, ... count" if dataset.frames else "")
            )
    return coded(
        dataset.name,
        classes=dirmap["class"].to_numpy(object),
        objects=dirmap["object"].to_numpy(np.int64),
        sessions=dirmap["session"].to_numpy(np.int64),
        frames=frame,
        train=train,
        test=test,
    )


def coded(
    what: str,
    *,
    classes: np.ndarray,
    objects: np.ndarray,
    sessions: np.ndarray,
    frames: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
) -> Split:
    """The `Split` of images with these classes, objects, sessions and frame numbers, an entry per image.

    `train` and `test` are ascending positions. Raises `InputError`, about `what`, if a class is tested but never
    learned.
    """
    _, learned = pd.factorize(classes[train])
    class_code = pd.Index(learned).get_indexer(pd.Index(classes))
    if (class_code[test] < 0).any():
        unlearned = sorted({str(name) for name in classes[test][class_code[test] < 0]})
        raise InputError(f"{what}: classes with test but no training images: {', '.join(unlearned)}")
    pair = _joint_rank(objects, sessions)
    return Split(
        train=train,
        test=test,
        classes=tuple(learned),
        class_code=class_code,
        object_code=_joint_rank(class_code, objects),
        pair=pair,
        instance=_joint_rank(class_code, pair),
        frame=frames,
    )


def check(dataset: Dataset, paradigm: str, mode: str, variant: str) -> None:
    """`InputError` with the nearest name unless `dataset` has the paradigm, and mode and variant exist."""
    check_paradigm(dataset, paradigm)
    if mode not in MODES:
        raise unknown("mode", mode, MODES)
    check_variant(variant)
    if (paradigm, variant) == ("instance", "published") and not dataset.instance_images:
        raise InputError(
            f"{dataset.name} has no published instance lists, because its sessions differ in length: "
            "use the corrected ones (--variant corrected)"
        )


def schedule(split: Split, dataset: Dataset, paradigm: str, run: int, mode: str, variant: str) -> Schedule:
    """The tasks of run `run`, made by `dataset`'s sizes.

    Raises `InputError` for a paradigm that `dataset` does not know, an unknown mode or variant, and where
    the published variant never shows a class that is tested.
    """
    check(dataset, paradigm, mode, variant)
    tasks = tuple(_PARADIGMS[paradigm](split, dataset, run, mode == "offline", variant == "published"))
    if paradigm == "iid":
        names = tuple(_iid_places(len(split.train), dataset, run, mode == "offline", variant == "published"))
    else:
        ends = np.cumsum([len(task) for task in tasks])
        names = tuple(np.arange(end - len(task), end) for task, end in zip(tasks, ends, strict=True))
    return Schedule(tasks, names, _labels(split, tasks), split.test)


def task_count(split: Split, dataset: Dataset, paradigm: str, variant: str) -> int:
    """Number of tasks of `split`; the last may be smaller than the others."""
    if dataset.order.tasks:
        return dataset.order.tasks
    if paradigm == "iid":
        size = dataset.iid_task_images
    elif paradigm == "instance":
        size = dataset.task_instances * (dataset.instance_images if variant == "published" else 1)
    else:
        return len(class_ends(dataset, len(split.classes)))
    return -(-extent(split, paradigm, variant) // size)


def extent(split: Split, paradigm: str, variant: str) -> int:
    """Number of units that tasks are cut from: images, instances or classes."""
    if paradigm == "iid" or (paradigm, variant) == ("instance", "published"):
        return len(split.train)
    return len(np.unique(split.instance[split.train])) if paradigm == "instance" else len(split.classes)


def _iid_places(
    count: int, dataset: Dataset, run: int, offline: bool, published: bool
) -> Iterator[np.ndarray]:
    """Per task its positions in the shuffled training set."""
    ends = ends_of(dataset, "images", count, dataset.iid_task_images)
    for start, end in pairwise([0, *ends]):
        # A published task ends with the first image of the next one.
        stop = min(end + published, count)
        yield _random(dataset, run).permutation(stop) if offline else np.arange(start, stop)


def _iid(split: Split, dataset: Dataset, run: int, offline: bool, published: bool) -> Iterator[np.ndarray]:
    count = len(split.train)
    # The order in which `DataFrame.sample(frac=1, random_state=run)` puts the rows.
    shuffled = split.train[_random(dataset, run).permutation(count)]
    for places in _iid_places(count, dataset, run, offline, published):
        yield shuffled[places]


def _class_iid(
    split: Split, dataset: Dataset, run: int, offline: bool, published: bool
) -> Iterator[np.ndarray]:
    generator = _random(dataset, run)
    order, ends = _classes(split, dataset, generator)
    for chosen in _chunks(order, ends, offline, generator):
        rows = _rows_of(split, chosen)
        yield rows[_random(dataset, run).permutation(len(rows))]


def _instance(
    split: Split, dataset: Dataset, run: int, offline: bool, published: bool
) -> Iterator[np.ndarray]:
    generator = _random(dataset, run)
    instances = _instances(split, split.train, published)
    order = np.arange(len(instances))
    generator.shuffle(order)
    count = task_count(split, dataset, "instance", "published" if published else "corrected")
    ends = ends_of(dataset, "instances", len(instances), dataset.task_instances, count)
    for chosen in _chunks(order, ends, offline, generator):
        yield np.concatenate([np.empty(0, np.int64), *(instances[place] for place in chosen)])


def _class_instance(
    split: Split, dataset: Dataset, run: int, offline: bool, published: bool
) -> Iterator[np.ndarray]:
    generator = _random(dataset, run)
    classes, ends = _classes(split, dataset, generator)
    for chosen in _chunks(classes, ends, offline, generator):
        instances = _instances(split, _rows_of(split, chosen), published)
        order = np.arange(len(instances))
        generator.shuffle(order)
        yield np.concatenate([instances[place] for place in order])


def _class_ordered(
    split: Split, dataset: Dataset, run: int, offline: bool, published: bool
) -> Iterator[np.ndarray]:
    names = [dataset.class_name(value) for value in split.classes]
    shown = np.argsort(
        places_in(dataset, names, dataset.order.classes or dataset.class_order or dataset.classes)
    )
    if run or dataset.order.seed:
        shown = shown[_random(dataset, run).permutation(len(shown))]
    place = places_in(dataset, names, dataset.classes)
    for start, end in pairwise([0, *class_ends(dataset, len(shown))]):
        rows = _rows_of(split, shown[0 if offline else start : end])
        yield rows[np.argsort(place[split.class_code[rows]], kind="stable")]


_PARADIGMS = {
    "iid": _iid,
    "class_iid": _class_iid,
    "instance": _instance,
    "class_instance": _class_instance,
    "class_ordered": _class_ordered,
}


def _random(dataset: Dataset, run: int) -> np.random.RandomState:
    """A new generator of the random orders of a run."""
    seed = dataset.order.seed
    return np.random.RandomState([seed, run] if seed else run)


def _classes(
    split: Split, dataset: Dataset, generator: np.random.RandomState
) -> tuple[np.ndarray, Sequence[int]]:
    """Class codes in the order in which tasks show them, and the place where each task ends."""
    order = np.arange(len(split.classes))
    generator.shuffle(order)  # with an order of classes as well, so that what is drawn next is the same
    if dataset.order.classes:
        names = [dataset.class_name(value) for value in split.classes]
        order = np.argsort(places_in(dataset, names, dataset.order.classes))
    return order, class_ends(dataset, len(order))


def _chunks(
    order: np.ndarray, ends: Sequence[int], offline: bool, generator: np.random.RandomState
) -> Iterator[np.ndarray]:
    """Per task its part of `order`; offline, all up to its part, shuffled in place: orders accumulate."""
    for start, end in pairwise([0, *ends]):
        if offline:
            generator.shuffle(order[:end])
            yield order[:end]
        else:
            yield order[start:end]


def _rows_of(split: Split, classes: np.ndarray) -> np.ndarray:
    """Training rows of the classes with these codes, in the dirmap's order."""
    chosen = np.zeros(len(split.classes), dtype=bool)
    chosen[classes] = True
    rows: np.ndarray = split.train[chosen[split.class_code[split.train]]]
    return rows


def _instances(split: Split, rows: np.ndarray, published: bool) -> list[np.ndarray]:
    """`rows` cut into instances, each in the order of its frame numbers."""
    keys, frames = (split.pair if published else split.instance)[rows], split.frame[rows]
    order = np.lexsort((frames, keys))
    keys, frames, rows = keys[order], frames[order], rows[order]
    cuts = np.flatnonzero(np.diff(keys)) + 1
    instances = np.split(rows, cuts)
    if published:
        tied = keys[1:][(np.diff(keys) == 0) & (np.diff(frames) == 0)]
        for place in np.unique(np.searchsorted(np.unique(keys), tied)):
            if len(instances[place]) > introsort.STABLE_SIZE:
                instances[place] = _unstably_sorted(np.sort(instances[place]), split.frame)
    return instances


def _unstably_sorted(rows: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """`rows` by frame number, equal ones in the order of the published lists."""
    return rows[list(introsort.argsort(tuple(frame[rows].tolist())))]


def _labels(split: Split, tasks: tuple[np.ndarray, ...]) -> np.ndarray:
    """Label of each class code, by first appearance in the tasks."""
    order: dict[int, int] = {}
    for task in tasks:
        for code in pd.unique(split.class_code[task]):
            order.setdefault(int(code), len(order))
        if len(order) == len(split.classes):
            return np.array([order[code] for code in range(len(order))], dtype=np.int64)
    never = ", ".join(str(name) for code, name in enumerate(split.classes) if code not in order)
    raise InputError(
        f"the published lists never show class {never}, because sessions have fewer images than the protocol "
        f"assumes; use the corrected lists (--variant corrected)"
    )


def _joint_rank(major: np.ndarray, minor: np.ndarray) -> np.ndarray:
    """Dense rank of (major, minor), lexicographic."""
    _, major = np.unique(major, return_inverse=True)
    _, minor = np.unique(minor, return_inverse=True)
    _, ranks = np.unique(major * (minor.max() + 1) + minor, return_inverse=True)
    return ranks
