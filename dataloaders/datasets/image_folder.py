"""The indexer of a user's own images: any tree with a folder for each class, described by a dataset.toml.

With the layout `class` an image may lie at any depth below its class, and a share of each class is held out,
as if it were session 1 and all else session 0. With `class/object/session` the folders of an object are its
sessions, a session's number is the one its folder's name ends in, and the images in it are its frames.
"""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from lethe.common.input_problems import INTEGER, not_plain, path_problem, raise_any
from lethe.dataloaders.index.dataset_file import DatasetFile, natural
from lethe.dataloaders.index.dirmap import COLUMNS
from lethe.dataloaders.index.prepared import Prepared

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
"""What image files end in, in letters of any case; other files are passed over."""

_LAYOUT_DEPTH = 3  # folders above a frame in class/object/session

Image = tuple[str | int, int, int, int, str]
"""A row of the dirmap: class, object, session, im_num, im_path."""


def index(file: DatasetFile) -> Prepared:
    """The dirmap of the images that `file` describes, and how many files are none.

    Reads folders only. Raises `InputError` with every problem of the tree: a class without images, without
    training or without test images, a link that leaves the tree or leads to what counts already, a name that task
    lists cannot carry, a session without a number.
    """
    problems: list[str] = []
    passed_over: list[str] = []
    rows: list[Image] = []
    numbered = all(re.fullmatch(INTEGER, name) for name in file.dataset.classes)
    for number, class_ in enumerate(file.dataset.classes, 1):
        paths = list(_images(file, class_, passed_over, problems))
        arrange = _split_by_share if file.layout == "class" else _by_sessions
        found = arrange(file, class_, paths, problems)
        problems += _shortages(file, class_, found)
        # A dirmap takes names that are numbers for the places of the classes.
        rows += [(number if numbered else class_, *image) for image in found]
    raise_any(problems)
    values = zip(*rows, strict=True)
    columns = {name: list(column) for name, column in zip(COLUMNS, values, strict=True)}
    frame = pd.DataFrame({"Unnamed: 0": np.arange(len(rows)), **columns})
    frame["class"] = frame["class"].astype("int64" if numbered else object)
    return Prepared(frame, notes=tuple(_notes(file, frame, passed_over)))


def _images(
    file: DatasetFile, class_: str, passed_over: list[str], problems: list[str]
) -> Iterator[tuple[str, ...]]:
    """The path of each image of a class, relative to the folder of the images, in parts."""
    base = file.images
    if (base / class_).is_symlink() and (problem := _link_problem(file, base / class_)):
        problems.append(problem)
        return
    pending = [(class_,)]
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
            problems.append(f"{folder}: {path_problem('/'.join(parts))}")  # told once, not for each image
            continue
        for entry in found:
            if entry.is_symlink() and (problem := _link_problem(file, Path(entry.path))):
                problems.append(problem)
            elif entry.is_dir():
                pending.append((*parts, entry.name))
            elif not _has_suffix(entry.name):
                passed_over.append(entry.path)
            elif not_plain([entry.name]):
                problems.append(f"{entry.path}: {path_problem(entry.name)}")
            else:
                yield (*parts, entry.name)


def _link_problem(file: DatasetFile, link: Path) -> str:
    """What is wrong with a link, or nothing: images may lie in a hidden folder, as those of git-annex do."""
    try:
        base, target = file.images.resolve(), link.resolve(strict=True)
        step = link.parent.resolve() / link.readlink()  # which may be a link itself
        step = step.parent.resolve() / step.name
    except (OSError, RuntimeError):  # the latter for links in a circle, before Python 3.13
        return (
            f"{link}: is a link that leads nowhere ({link.readlink()}); delete it, or put the original there"
        )
    if not target.is_relative_to(base):
        return f"{link}: is a link that leaves {file.images} (to {target}); put the original there instead"
    if target.is_dir():
        return f"{link}: is a link to a folder of the same tree ({target}); its images would count twice"
    twice = [place for place in (step, target) if _is_indexed(file, base, place)]
    if twice and _has_suffix(link.name):
        return (
            f"{link}: is a link to an image of the same tree ({twice[0]}), which would count twice; delete it"
        )
    return ""


def _is_indexed(file: DatasetFile, base: Path, path: Path) -> bool:
    """Whether what lies at `path` counts as an image, `base` being the folder of the images."""
    if not path.is_relative_to(base):
        return False
    parts = path.relative_to(base).parts
    hidden = any(part.startswith(".") for part in parts)
    return parts[0] in file.dataset.classes and not hidden and _has_suffix(parts[-1])


def _has_suffix(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def _split_by_share(
    file: DatasetFile, class_: str, paths: list[tuple[str, ...]], problems: list[str]
) -> list[tuple[int, int, int, str]]:
    """(0, session, im_num, path) of each image of a class; `test_fraction` of them are in session 1.

    Which ones follows from their paths alone: those with the lowest SHA-256. So a set that grows keeps nearly
    all of its test images.
    """
    names = sorted(("/".join(path) for path in paths), key=natural)
    by_hash = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    tested = set(by_hash[: max(1, round(file.test_fraction * len(names)))])
    parts = [[name for name in names if name not in tested], [name for name in names if name in tested]]
    return [
        (0, session, number, name)
        for session, part in enumerate(parts)
        for number, name in enumerate(part, 1)
    ]


def _by_sessions(
    file: DatasetFile, class_: str, paths: list[tuple[str, ...]], problems: list[str]
) -> list[tuple[int, int, int, str]]:
    """(object, session, im_num, path) of each image of a class; objects and frames are counted from 1."""
    tree: dict[str, dict[str, list[str]]] = {}
    for path in paths:
        if len(path) == _LAYOUT_DEPTH + 1:
            tree.setdefault(path[1], {}).setdefault(path[2], []).append(path[3])
        else:
            problems.append(
                f"{file.images.joinpath(*path)}: expected {file.layout}/frame below {file.images}"
            )
    found = []
    for object_, name in enumerate(sorted(tree, key=natural), 1):
        numbers = _session_numbers(file.images / class_ / name, tree[name], problems)
        for session, folder in sorted(numbers.items()):
            frames = sorted(tree[name][folder], key=natural)
            inside = f"{class_}/{name}/{folder}"
            found += [
                (object_, session, number, f"{inside}/{frame}") for number, frame in enumerate(frames, 1)
            ]
    return found


def _session_numbers(folder: Path, sessions: Iterable[str], problems: list[str]) -> dict[int, str]:
    """The sessions in an object's `folder`, by the number that its name ends in."""
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


def _shortages(file: DatasetFile, class_: str, found: list[tuple[int, int, int, str]]) -> list[str]:
    """A problem for a class that has nothing to learn or nothing to test."""
    tested = sum(image[1] in file.dataset.test_sessions for image in found)
    folder = file.images / class_
    if not found:
        return [f"{folder}: no image of class {class_}; images end in {', '.join(SUFFIXES)}"]
    if tested == 0:
        return [f"{folder}: class {class_} has no test image: none of its sessions is in test_sessions"]
    if tested == len(found):
        return [f"{folder}: class {class_} has no training image: all of its {tested} images test"]
    return []


def _notes(file: DatasetFile, frame: pd.DataFrame, passed_over: list[str]) -> Iterator[str]:
    """What was passed over, and how to have the paradigms that the file gives no size for."""
    if passed_over:
        kinds = Counter(Path(path).suffix or Path(path).name for path in passed_over)
        told = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(5))
        told = told.encode(errors="backslashreplace").decode()  # of names that are no UTF-8
        yield f"{len(passed_over)} files are no images and were passed over: {told}"
    dataset = file.dataset
    train = frame[~frame["session"].isin(dataset.test_sessions)]
    tasks = -(-len(dataset.classes) // dataset.task_classes)
    sizes = {"iid": ("iid_task_images", len(train))}
    if "class_instance" in dataset.paradigms:
        instances = train.drop_duplicates(["class", "object", "session"])
        sizes["instance"] = ("task_instances", len(instances))
    for paradigm, (key, count) in sizes.items():
        if paradigm not in dataset.paradigms:
            yield f"for {paradigm} in {tasks} tasks, write in {file.path}: {key} = {-(-count // tasks)}"
