"""The indexer of a user's own images: any tree with a folder per class, described by a dataset.toml.

With the layout `class` an image may be at any depth below its class; a share of each class is held out as session 1,
all other images are session 0. Where test images have a tree of their own, that is
session 1. With an order of classes, the images of a class are in the order of torchvision's
ImageFolder. With `class/object/session` the folders of an object are its
sessions, a session's number is the one its folder's name ends in, and the images in it are its frames.
"""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lethe.common.input_problems import INTEGER, first, not_plain, path_problem, raise_any
from lethe.dataloaders.index.dataset_file import natural
from lethe.dataloaders.index.dirmap import COLUMNS
from lethe.dataloaders.index.prepared import Prepared
from lethe.dataloaders.index.spec import Dataset, DatasetFile
from lethe.dataloaders.stores.faults import faults

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
"""Endings of image files, in upper or lower case; other files are skipped."""

_LAYOUT_DEPTH = 3  # folders above a frame in class/object/session

Image = tuple[str | int, int, int, int, str]
"""A row of the dirmap: class, object, session, im_num, im_path."""


def index(dataset: Dataset, file: DatasetFile, *, skip_broken: bool = False) -> Prepared:
    """The dirmap of the images of `dataset`, which `file` describes, and notes on the files that are no images.

    Reads folders only; with `skip_broken` it decodes all images, and leaves out those that it cannot. Raises
    `InputError` with every problem of the tree: a class without images, without training or without test images, a
    link that leaves the tree or leads to what counts already, a name that task lists cannot carry, what is no file, a
    session without a number.
    """
    problems: list[str] = []
    skipped: list[str] = []
    broken: list[str] = []
    rows: list[Image] = []
    base, *test_base = (Path(dataset.image_folder, tree) for tree in dataset.trees)
    order = natural if dataset.class_order is None else as_image_folder
    numbered = all(re.fullmatch(INTEGER, name) for name in dataset.classes)
    for number, class_ in enumerate(dataset.classes, 1):
        paths, *test_paths = (
            _sound_images(dataset, tree, class_, skipped, problems, broken if skip_broken else None)
            for tree in (base, *test_base)
        )
        if test_base:
            found = _of_trees(dataset.trees, [paths, *test_paths], order)
        elif file.test_fraction is not None:
            found = _split_by_share(paths, file.test_fraction, order)
        else:
            found = _by_sessions(base, class_, paths, problems)
        if test_base:
            problems += _empty([base / class_, test_base[0] / class_], [paths, *test_paths])
        else:
            problems += _shortages(dataset, base / class_, class_, found)
        # In a dirmap, a class that is a number is a position among the classes.
        rows += [(number if numbered else class_, *image) for image in found]
    raise_any(problems)
    values = zip(*rows, strict=True)
    columns = {name: list(column) for name, column in zip(COLUMNS, values, strict=True)}
    frame = pd.DataFrame({"Unnamed: 0": np.arange(len(rows)), **columns})
    frame["class"] = frame["class"].astype("int64" if numbered else object)
    count = "1 broken image was" if len(broken) == 1 else f"{len(broken)} broken images were"
    left_out = [f"{count} left out:", *first(broken)] if broken else []
    return Prepared(frame, notes=(*left_out, *_notes(dataset, file, frame, skipped)))


def as_image_folder(path: str) -> tuple[str, str]:
    """Sort key for the order in which torchvision's ImageFolder has the images of a class."""
    folder, _, name = path.rpartition("/")
    return folder, name


def _sound_images(
    dataset: Dataset,
    base: Path,
    class_: str,
    skipped: list[str],
    problems: list[str],
    broken: list[str] | None,
) -> list[tuple[str, ...]]:
    """`_images` of a class; with a list `broken`, without those that cannot be decoded, which are told there."""
    paths = list(_images(dataset, base, class_, skipped, problems))
    if broken is None:
        return paths
    found = faults(base, ["/".join(path) for path in paths])
    broken += found.values()
    return [path for path in paths if "/".join(path) not in found]


def _images(
    dataset: Dataset, base: Path, class_: str, skipped: list[str], problems: list[str]
) -> Iterator[tuple[str, ...]]:
    """The path of each image of a class, relative to `base`, in parts; other files are appended to `skipped`."""
    if (base / class_).is_symlink() and (problem := _link_problem(dataset, base, base / class_)):
        problems.append(problem)
        return
    pending: list[tuple[str, ...]] = [(class_,)]
    while pending:
        parts = pending.pop()
        folder = base.joinpath(*parts)
        try:
            with os.scandir(folder) as entries:
                found = [entry for entry in entries if not entry.name.startswith(".")]
        except OSError as error:
            problems.append(f"{folder}: cannot be read as a folder: {error.strerror or error}")
            continue
        if not_plain(["/".join(parts)]):
            problems.append(f"{folder}: {path_problem('/'.join(parts))}")  # once, not per image
            continue
        for entry in found:
            if entry.is_symlink() and (problem := _link_problem(dataset, base, Path(entry.path))):
                problems.append(problem)
            elif entry.is_dir():
                pending.append((*parts, entry.name))
            elif not _has_suffix(entry.name):
                skipped.append(entry.path)
            elif not entry.is_file():
                problems.append(f"{entry.path}: expected a file, got a pipe, a socket or a device; delete it")
            elif not_plain([entry.name]):
                problems.append(f"{entry.path}: {path_problem(entry.name)}")
            else:
                yield (*parts, entry.name)


def _link_problem(dataset: Dataset, base: Path, link: Path) -> str:
    """The problem of a link below `base`, or ''. Links to hidden folders are allowed: git-annex keeps images in one."""
    try:
        inside, target = base.resolve(), link.resolve(strict=True)
        step = link.parent.resolve() / link.readlink()  # which may be a link itself
        step = step.parent.resolve() / step.name
    except (OSError, RuntimeError):  # the latter for links in a circle, before Python 3.13
        return (
            f"{link}: is a link that leads nowhere ({link.readlink()}); delete it, or put the original there"
        )
    if not target.is_relative_to(inside):
        return f"{link}: is a link that leaves {base} (to {target}); put the original there instead"
    if target.is_dir():
        return f"{link}: is a link to a folder of the same tree ({target}); its images would count twice"
    twice = [place for place in (step, target) if _is_indexed(dataset, inside, place)]
    if twice and _has_suffix(link.name):
        return (
            f"{link}: is a link to an image of the same tree ({twice[0]}), which would count twice; delete it"
        )
    return ""


def _is_indexed(dataset: Dataset, base: Path, path: Path) -> bool:
    """Whether the file at `path` is indexed as an image of the folder `base`."""
    if not path.is_relative_to(base):
        return False
    parts = path.relative_to(base).parts
    hidden = any(part.startswith(".") for part in parts)
    return parts[0] in dataset.classes and not hidden and _has_suffix(parts[-1])


def _has_suffix(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def _of_trees(
    trees: Sequence[str], paths: Sequence[list[tuple[str, ...]]], order: Callable[[str], Any]
) -> list[tuple[int, int, int, str]]:
    """(0, session, im_num, path) of each image of a class; session 0 has the first tree, session 1 the second."""
    return [
        (0, session, number, f"{tree}/{name}")
        for session, (tree, own) in enumerate(zip(trees, paths, strict=True))
        for number, name in enumerate(sorted(("/".join(path) for path in own), key=order), 1)
    ]


def _empty(folders: Sequence[Path], paths: Sequence[list[tuple[str, ...]]]) -> list[str]:
    """A problem for each class folder without images."""
    return [
        f"{folder}: no image of class {folder.name}; images end in {', '.join(SUFFIXES)}"
        for folder, own in zip(folders, paths, strict=True)
        if not own
    ]


def _split_by_share(
    paths: list[tuple[str, ...]], test_fraction: float, order: Callable[[str], Any]
) -> list[tuple[int, int, int, str]]:
    """(0, session, im_num, path) of each image of a class; `test_fraction` of them are in session 1.

    Test images are those with the lowest SHA-256 of their paths, so that a set that grows keeps nearly all of them.
    """
    names = sorted(("/".join(path) for path in paths), key=order)
    by_hash = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    tested = set(by_hash[: max(1, round(test_fraction * len(names)))])
    parts = [[name for name in names if name not in tested], [name for name in names if name in tested]]
    return [
        (0, session, number, name)
        for session, part in enumerate(parts)
        for number, name in enumerate(part, 1)
    ]


def _by_sessions(
    base: Path, class_: str, paths: list[tuple[str, ...]], problems: list[str]
) -> list[tuple[int, int, int, str]]:
    """(object, session, im_num, path) of each image of a class; objects and frames are counted from 1."""
    tree: dict[str, dict[str, list[str]]] = {}
    for path in paths:
        if len(path) == _LAYOUT_DEPTH + 1:
            tree.setdefault(path[1], {}).setdefault(path[2], []).append(path[3])
        else:
            problems.append(f"{base.joinpath(*path)}: expected class/object/session/frame below {base}")
    found = []
    for object_, name in enumerate(sorted(tree, key=natural), 1):
        numbers = _session_numbers(base / class_ / name, tree[name], problems)
        for session, folder in sorted(numbers.items()):
            frames = sorted(tree[name][folder], key=natural)
            inside = f"{class_}/{name}/{folder}"
            found += [
                (object_, session, number, f"{inside}/{frame}") for number, frame in enumerate(frames, 1)
            ]
    return found


def _session_numbers(folder: Path, sessions: Iterable[str], problems: list[str]) -> dict[int, str]:
    """The session folders of an object, by the number that each name ends in."""
    numbers: dict[int, str] = {}
    for name in sorted(sessions):
        found = re.search("[0-9]{1,9}$", name)
        if found is None:
            problems.append(f"{folder / name}: expected a session, a folder whose name ends in its number")
        elif int(found[0]) in numbers:
            problems.append(f"{folder / name}: has the number of {folder / numbers[int(found[0])]}")
        else:
            numbers[int(found[0])] = name
    return numbers


def _shortages(
    dataset: Dataset, folder: Path, class_: str, found: list[tuple[int, int, int, str]]
) -> list[str]:
    """The problem of a class without training or without test images, if any."""
    tested = sum(image[1] in dataset.test_sessions for image in found)
    if not found:
        return [f"{folder}: no image of class {class_}; images end in {', '.join(SUFFIXES)}"]
    if tested == 0:
        return [f"{folder}: class {class_} has no test image: none of its sessions is in test_sessions"]
    if tested == len(found):
        return [f"{folder}: class {class_} has no training image: all of its {tested} images test"]
    return []


def _notes(dataset: Dataset, file: DatasetFile, frame: pd.DataFrame, skipped: list[str]) -> Iterator[str]:
    """The number of skipped files, and the missing keys of the paradigms that the file gives no task size for."""
    if skipped:
        kinds = Counter(Path(path).suffix or Path(path).name for path in skipped)
        counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(5))
        yield f"{len(skipped)} files are no images and were skipped: {counts}"
    train = frame[~frame["session"].isin(dataset.test_sessions)]
    tasks = -(-len(dataset.classes) // dataset.task_classes)
    sizes = {"iid": ("iid_task_images", len(train))}
    if "class_instance" in dataset.paradigms:
        instances = train.drop_duplicates(["class", "object", "session"])
        sizes["instance"] = ("task_instances", len(instances))
    for paradigm, (key, count) in sizes.items():
        if paradigm not in dataset.paradigms:
            yield f"for {paradigm} in {tasks} tasks, write in {file.path}: {key} = {-(-count // tasks)}"
