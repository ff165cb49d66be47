"""A dataset of the user's own, described by a file `dataset.toml` in its folder `data/<name>`.

    layout = "class"          # class/**/image, or "class/object/session" for class/object/session/frame
    test_fraction = 0.2       # of each class, without sessions; with them: test_sessions = [3, 7]
    image_size = 64           # pixels, or [height, width]
    task_classes = 2          # classes of a task under class_iid and class_instance
    # iid_task_images = 500   # images of a task under iid; without it there is no iid
    # task_instances = 10     # sessions of a task under instance; without it there is no instance
    # images = "/where/they/are"   # absolute, or relative to this file; without it, this file's folder
    # classes = ["cat", "dog"]     # the folders that count; without it, all
    # title = "My pets"            # in tables and figures; without it, the name

Reads this file and the names of the class folders, nothing else, and imports little.
"""

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lethe.common.errors import InputError, unknown
from lethe.common.files import read_text
from lethe.common.input_problems import raise_any
from lethe.dataloaders.index import catalogue
from lethe.dataloaders.index.catalogue import Dataset

NAME = "dataset.toml"

LAYOUTS = ("class", "class/object/session")
"""What the folders below the images are; the last ones hold the images."""

_LARGEST = 4096  # pixels of a side

_INDEXED = ("layout", "test_fraction", "images")


@dataclass(frozen=True)
class DatasetFile:
    """What a dataset.toml says."""

    path: Path
    dataset: Dataset
    images: Path
    """The folder that holds a folder for each class."""
    layout: str
    test_fraction: float | None
    """Share of each class's images that test; None where sessions are held out."""
    indexed: Mapping[str, Any]
    """What a dirmap follows from, besides the images: the values of `_INDEXED` and the classes, as in JSON."""


def find(name: str, root: Path) -> DatasetFile:
    """`read` of `root/dataset.toml`; `InputError` with the nearest known dataset where there is none."""
    path = root / NAME
    if re.fullmatch("[A-Za-z0-9_-]+", name) and path.is_file():
        return read(path, name)
    others = sorted(file.parent.name for file in root.parent.glob(f"*/{NAME}"))
    raise InputError(
        f"{unknown('dataset', name, [*catalogue.DATASETS, *others])}; {path} would describe one of your own"
    )


def read(path: Path, name: str) -> DatasetFile:
    """The file of the dataset `name`; `InputError` with the line of every problem in it."""
    text = read_text(path)
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: is no TOML: {error}") from None
    problems = [(key, str(unknown("key", key, _CHECKS))) for key in values.keys() - _CHECKS.keys()]
    faults = {key: _CHECKS[key](value) for key, value in values.items() if key in _CHECKS}
    problems += [
        (key, f"{key} = {values[key]!r}: expected {fault}") for key, fault in faults.items() if fault
    ]
    sound = {key: values[key] for key, fault in faults.items() if not fault}
    layout = sound.get("layout")
    problems += [
        (key, f"{key} is missing: expected {_CHECKS[key](None)}") for key in _required(layout) - values.keys()
    ]
    problems += [
        (key, f'{key} means nothing with layout = "{layout}"; take it out')
        for key in _of_other_layout(layout) & values.keys()
    ]
    images = path.parent.absolute() / sound.get("images", ".")
    classes = tuple(sound.get("classes") or _class_folders(images, problems))
    if 0 < len(classes) < sound.get("task_classes", 1):
        told = f"task_classes = {sound['task_classes']}: there are only {len(classes)} classes"
        problems.append(("task_classes", told))
    raise_any([f"{path}{_line(text, key)}: {problem}" for key, problem in sorted(problems)])
    dataset = _dataset(name, sound, classes, images)
    indexed = {key: sound.get(key) for key in _INDEXED} | {"classes": list(classes)}
    return DatasetFile(path, dataset, images, layout, sound.get("test_fraction"), indexed)


def natural(name: str) -> tuple[list[str | int], str]:
    """A key that sorts names as people count: `2.png` before `10.png`."""
    parts = re.split("([0-9]+)", name)  # text and digits in turn, text first
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], name


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _unless(sound: Callable[[Any], bool], expected: str) -> Callable[[Any], str]:
    """A check: what was expected, or nothing if the value is sound."""
    return lambda value: "" if sound(value) else expected


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable() and value.strip() != ""


def _is_folder_name(value: Any) -> bool:
    return _is_text(value) and "/" not in value and value not in (".", "..")


def _is_size(value: Any) -> bool:
    sides = value if isinstance(value, list) else [value, value]
    return len(sides) == 2 and all(_is_count(side) and side <= _LARGEST for side in sides)


def _is_list_of(value: Any, sound: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and value != [] and all(map(sound, value)) and len({*value}) == len(value)


_CHECKS: dict[str, Callable[[Any], str]] = {
    "title": _unless(_is_text, "a text"),
    "images": _unless(_is_text, "a folder"),
    "layout": _unless(lambda value: value in LAYOUTS, " or ".join(f'"{layout}"' for layout in LAYOUTS)),
    "classes": _unless(
        lambda value: _is_list_of(value, _is_folder_name), "a list of different names of folders"
    ),
    "test_sessions": _unless(
        lambda value: _is_list_of(value, lambda n: _is_count(n) or (n == 0 and n is not False)),
        "a list of different session numbers, such as [3, 7]",
    ),
    "test_fraction": _unless(
        lambda value: isinstance(value, float) and 0 < value < 1, "a number between 0 and 1, such as 0.2"
    ),
    "image_size": _unless(_is_size, f"pixels from 1 to {_LARGEST}, such as 64, or [height, width]"),
    "task_classes": _unless(_is_count, "a whole number from 1"),
    "iid_task_images": _unless(_is_count, "a whole number from 1"),
    "task_instances": _unless(_is_count, "a whole number from 1"),
}
"""Each key, and what is told where its value is none that it can have."""


def _required(layout: str | None) -> set[str]:
    keys = {"layout", "image_size", "task_classes"}
    if layout is None:
        return keys
    return keys | {"test_fraction" if layout == "class" else "test_sessions"}


def _of_other_layout(layout: str | None) -> set[str]:
    if layout is None:
        return set()
    return {"test_sessions", "task_instances"} if layout == "class" else {"test_fraction"}


def _class_folders(images: Path, problems: list[tuple[str, str]]) -> list[str]:
    """Names of the folders in `images`, as people count, without hidden ones."""
    try:
        with os.scandir(images) as entries:
            names = [entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir()]
    except OSError as error:
        problems.append(("images", f"{images}: cannot be read as a folder: {error.strerror or error}"))
        return []
    if not names:
        problems.append(("images", f"{images}: holds no folder; expected one for each class"))
    return sorted(names, key=natural)


def _line(text: str, key: str) -> str:
    """`:line` of the key in a file, or nothing where it does not stand there."""
    found = re.search(rf"^\s*{re.escape(key)}\s*=", text, re.MULTILINE)
    return f":{text.count(chr(10), 0, found.end()) + 1}" if found else ""


def _dataset(name: str, values: dict[str, Any], classes: tuple[str, ...], images: Path) -> Dataset:
    """The dataset of sound values; a paradigm is offered where its tasks have a size and sessions an order."""
    with_sessions = values["layout"] != "class"
    offered = {
        "iid": "iid_task_images" in values,
        "class_iid": True,
        "instance": "task_instances" in values,
        "class_instance": with_sessions,
    }
    size = values["image_size"]
    return Dataset(
        name=name,
        title=values.get("title", name),
        classes=classes,
        test_sessions=tuple(values["test_sessions"]) if with_sessions else (1,),
        paradigms=tuple(paradigm for paradigm, possible in offered.items() if possible),
        iid_task_images=values.get("iid_task_images", 0),
        task_classes=values["task_classes"],
        task_instances=values.get("task_instances", 0),
        instance_images=0,
        image_size=(size, size) if isinstance(size, int) else (size[0], size[1]),
        default_variant="corrected",
        image_folder=str(images),
    )
