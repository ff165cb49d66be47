"""ImageNet-2012, or a smaller set in its form: from `train/` and `val/` to a `dataset.toml` for REMIND's protocol.

ILSVRC-2012 (Russakovsky et al., IJCV 2015) has 1,000 classes, 1,281,167 training and 50,000 validation images.
REMIND (arXiv 1910.02509) learns its classes in the order of a file, 100 at a time, from images whose shorter side is
brought to 256 pixels and whose centre of 224 is cut out. All of it is written as a dataset of the user's own (see
`dataset_file.py`), in a folder of Lethe's; the folder of the download is only read.
"""

import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lethe.common.errors import InputError
from lethe.common.files import read_text, write_text
from lethe.common.input_problems import raise_any
from lethe.dataloaders import prepare as preparation
from lethe.dataloaders.datasets import imagenet_val
from lethe.dataloaders.datasets.image_folder import SUFFIXES, as_image_folder
from lethe.dataloaders.index import class_order, dataset_file
from lethe.dataloaders.index.find import Located
from lethe.dataloaders.index.prepared import Prepared
from lethe.dataloaders.index.spec import Dataset
from lethe.dataloaders.stores.decode import Undecodable, shorter_side

NAME = "imagenet"
ORDER = "imagenet_class_order.txt"
"""REMIND's name of the class order, one folder name a line."""

CLASSES, TRAIN, VAL = 1000, 1_281_167, 50_000
"""Counts of the complete set."""

_SIZE, _RESIZE = 224, 256  # pixels, as published
_TASK_CLASSES = 100  # of 1,000 classes, as published
_TASKS = 5  # of a smaller set
_SAMPLE = 50  # images whose size is looked at, each of another class
_FIRST_LINE = (
    "# Written by `lethe data prepare imagenet`, and again by each repeat: give other sizes by its options.\n"
)


@dataclass(frozen=True)
class Choices:
    """What a user may choose; None: as published, or as suits a smaller set."""

    task_classes: int | None = None
    first_task_classes: int | None = None
    image_size: int | None = None
    class_order: Path | None = None
    """File of the class order; None: `ORDER` in the folder of the download."""
    val_labels: Path | None = None
    """File with the class of each validation image, for a `val/` without class folders."""
    synsets: Path | None = None
    """File with the class of each number that `val_labels` has, if it has numbers."""


def prepare(
    root: Path,
    out: Path,
    lists: Path,
    choices: Choices,
    workers: int | None = None,
    *,
    skip_broken: bool = False,
) -> tuple[Located, Prepared]:
    """Write `out/dataset.toml` for `root/train` and `root/val`, and index their images.

    `train` and `val` become links in `out`; a `val` without class folders becomes a folder of links to its images,
    sorted by class (see `imagenet_val.py`). Notes and problems of the result tell what the complete set has in
    addition. Raises `InputError` where a folder or the class order is missing or does not fit, before
    `dataset.toml` is written. What is there already is kept, so that the command can be repeated.
    """
    raise_any([f"{root / name}: no such folder; --root is the folder that holds train and val"
               for name in ("train", "val") if not (root / name).is_dir()])  # fmt: skip
    description = out / dataset_file.NAME
    if os.path.lexists(description) and not read_text(description).startswith(_FIRST_LINE):
        raise InputError(
            f"{description}: was not written by this command: move it away, or give another --out"
        )
    classes = _folders(root / "train")
    if not classes:
        raise InputError(f"{root / 'train'}: holds no folder; expected one for each class")
    order = _order(root, choices, classes)
    notes = []
    _link(out / "train", root / "train")
    if _folders(root / "val"):
        _link(out / "val", root / "val")
    else:
        labels = imagenet_val.labels(root, choices.val_labels, choices.synsets, classes)
        notes.append(imagenet_val.sort(root / "val", out / "val", labels, workers))
    text = _FIRST_LINE + _description(root / "train", classes, choices)
    dataset = _checked(description, text, order)
    if not _same(order, out / ORDER):
        write_text(out / ORDER, read_text(order))
    write_text(description, text)
    located = Located(replace(dataset, class_order=class_order.read(out / ORDER)), out, lists)
    indexed = preparation.index(located, skip_broken=skip_broken)
    kept = [
        note for note in indexed.notes if not note.startswith("for iid ")
    ]  # which says to edit dataset.toml
    found_notes, problems = _shortages(indexed, len(classes))
    return located, replace(
        indexed, notes=(*notes, *kept, *found_notes), problems=(*indexed.problems, *problems)
    )


def _folders(folder: Path) -> list[str]:
    """Names of the folders in `folder`, sorted, without hidden ones."""
    try:
        with os.scandir(folder) as entries:
            return sorted(
                entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")
            )
    except OSError as error:
        raise InputError(f"{folder}: cannot be read as a folder: {error.strerror or error}") from None


def _order(root: Path, choices: Choices, classes: Sequence[str]) -> Path:
    """The checked file of the class order."""
    path = choices.class_order or root / ORDER
    if choices.class_order is None and not os.path.lexists(path):
        raise InputError(
            f"{path}: no such file; it has the order of the classes, a folder name a line: give one with --class-order"
        )
    if faults := class_order.faults(class_order.read(path), classes):
        raise InputError(f"{path}: expected every folder of {root / 'train'} once; {faults}")
    return path


def _same(one: Path, other: Path) -> bool:
    return other.exists() and one.samefile(other)


def _link(place: Path, folder: Path) -> None:
    """Make `place` a link to `folder`, in the place of another link; `InputError` if something else is there."""
    if _same(folder, place):
        return
    if os.path.lexists(place) and not place.is_symlink():
        raise InputError(f"{place}: expected a link to {folder}, or nothing: move it away")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = place.with_name(f".{place.name}.link")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(folder.resolve(), target_is_directory=True)
        temporary.replace(place)
    except OSError as error:
        raise InputError(f"{place}: cannot be made a link: {error.strerror or error}") from error


def _description(train: Path, classes: Sequence[str], choices: Choices) -> str:
    """The text of dataset.toml below its first line."""
    shorter = _shorter_side(train, classes)
    size = choices.image_size or min(_SIZE, shorter)
    values = {
        "image_size": size,
        "resize": max(size, min(round(size * _RESIZE / _SIZE), shorter)),
        "task_classes": choices.task_classes
        or (_TASK_CLASSES if len(classes) == CLASSES else -(-len(classes) // _TASKS)),
        "first_task_classes": choices.first_task_classes,
    }
    title = 'title = "ImageNet-2012"\n' if len(classes) == CLASSES else ""
    return (
        f'{title}layout = "class"\nimages = "train"\ntest_images = "val"\nclass_order = "{ORDER}"\n'
        + "".join(f"{key} = {value}\n" for key, value in values.items() if value is not None)
    )


def _shorter_side(train: Path, classes: Sequence[str]) -> int:
    """The median of the shorter sides, in pixels, of an image of each of `_SAMPLE` classes."""
    sides = []
    for name in classes[:: -(-len(classes) // _SAMPLE)]:
        with os.scandir(train / name) as entries:
            images = [entry.name for entry in entries if entry.name.lower().endswith(SUFFIXES)]
        try:
            sides += [shorter_side(train / name / min(images, key=as_image_folder))] if images else []
        except Undecodable:  # told by what decodes it
            continue
    return statistics.median_low(sides) if sides else _RESIZE


def _checked(description: Path, text: str, order: Path) -> Dataset:
    """The dataset that `text` describes, its class order read from `order`; `InputError` if the trees do not fit."""
    try:
        return dataset_file.parse(description, text, NAME, order=order)
    except InputError as error:
        told = [problem.removeprefix(str(description)).partition(": ")[2] for problem in error.problems]
        raise InputError(*told) from None


def _shortages(indexed: Prepared, classes: int) -> tuple[list[str], list[str]]:
    """Notes and problems: the images that the complete set has in addition.

    A set with another number of classes is meant to be smaller.
    """
    test = indexed.dirmap["session"] == 1
    train, val = int((~test).sum()), int(test.sum())
    if classes != CLASSES:
        complete = f"ImageNet-2012 has {CLASSES:,} classes, {TRAIN:,} and {VAL:,} images"
        return [
            f"a smaller set: {classes} classes, {train:,} training and {val:,} test images ({complete})"
        ], []
    problems = [
        f"{name}: {count:,} images, expected {wanted:,}: {abs(wanted - count):,} "
        + ("are missing" if count < wanted else "too many")
        for name, count, wanted in (("train", train, TRAIN), ("val", val, VAL))
        if count != wanted
    ]
    each = VAL // CLASSES
    counts = indexed.dirmap[test].groupby("class", sort=False).size()
    other = [
        f"val/{name}: {count} images, expected {each}" for name, count in counts.items() if count != each
    ]
    return [], [*problems, *other]
