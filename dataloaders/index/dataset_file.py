"""A dataset of the user's own, described by a file `dataset.toml` in its folder `data/<name>`.

    layout = "class"          # class/**/image, or "class/object/session" for class/object/session/frame
    test_fraction = 0.2       # of each class, without sessions; with them: test_sessions = [3, 7]
    image_size = 64           # pixels, or [height, width]
    task_classes = 2          # classes of a task under class_iid and class_instance
    # iid_task_images = 500   # images of a task under iid; without it there is no iid
    # task_instances = 10     # sessions of a task under instance; without it there is no instance
    # first_task_classes = 4  # classes of the first task; without it, task_classes
    # images = "/where/they/are"   # absolute, or relative to this file; without it, this file's folder
    # test_images = "val"          # with layout = "class": the test images, in the same class folders; in the place of
                                   # test_fraction
    # class_order = "order.txt"    # with layout = "class": a file with a folder name a line, for class_ordered
    # resize = 72                  # the shorter side in pixels, before the centre of image_size is cut out; without it,
                                   # an image becomes image_size, whatever its shape
    # classes = ["cat", "dog"]     # the folders that count; without it, all
    # title = "My pets"            # in tables and figures; without it, the name

Only this file, that of the class order and the names of the class folders are read.
"""

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lethe.common.errors import InputError, unknown
from lethe.common.files import MAX_TOML, parse_toml, read_text
from lethe.common.input_problems import is_printable, raise_any
from lethe.dataloaders.index import class_order
from lethe.dataloaders.index.spec import Dataset, DatasetFile

NAME = "dataset.toml"

LAYOUTS = ("class", "class/object/session")
"""The folder levels below the images' folder; the last level holds the images."""

_LARGEST = 4096  # pixels of a side
_MOST = 999_999_999  # images, classes, sessions
_LONGEST_NAME = 255  # bytes, on all usual file systems
_SHOWN = 100  # signs of a wrong value


def read(path: Path, name: str) -> Dataset:
    """The dataset `name` that the file at `path` describes; `InputError` with the line of every problem in it."""
    return parse(path, read_text(path, MAX_TOML), name)


def parse(path: Path, text: str, name: str, *, order: Path | None = None) -> Dataset:
    """`read` of a file that has, or will have, the content `text`; its class order is read from `order`, if given."""
    values = parse_toml(path, text)
    problems = [(key, str(unknown("key", key[:_SHOWN], _CHECKS))) for key in values.keys() - _CHECKS.keys()]
    faults = {key: _CHECKS[key](value) for key, value in values.items() if key in _CHECKS}
    problems += [
        (key, f"{key} = {repr(values[key])[:_SHOWN]}: expected {fault}")
        for key, fault in faults.items()
        if fault
    ]
    sound = {key: values[key] for key, fault in faults.items() if not fault}
    layout = sound.get("layout")
    problems += [
        (key, f"{key} is missing: expected {_CHECKS[key](None)}")
        for key in _required(layout, "test_images" in values) - values.keys()
    ]
    problems += [
        (key, f'{key} means nothing with layout = "{layout}"; take it out')
        for key in _of_other_layout(layout) & values.keys()
    ]
    if {"test_fraction", "test_images"} <= values.keys() and layout == "class":
        problems.append(
            ("test_fraction", "test_fraction means nothing with test_images; take one of them out")
        )
    if "resize" in sound and sound["resize"] < max(_sides(sound.get("image_size", 1))):
        problem = f"resize = {sound['resize']}: expected at least the longer side of image_size"
        problems.append(("resize", problem))
    trees = [_folder(path, sound.get("images", "."))]
    if "test_images" in sound:
        trees.append(_folder(path, sound["test_images"]))
    classes = _classes(sound, trees, problems)
    for key in ("task_classes", "first_task_classes"):
        if 0 < len(classes) < sound.get(key, 1):
            problems.append((key, f"{key} = {sound[key]}: there are only {len(classes)} classes"))
    shown = _class_order(order or path.parent / sound.get("class_order", ""), sound, classes, problems)
    raise_any([f"{path}{_line(text, key)}: {problem}" for key, problem in sorted(problems)])
    of_file = (sound.get(key) for key in ("test_fraction", "images", "test_images", "class_order"))
    return _dataset(name, sound, classes, trees, shown, DatasetFile(path, sound["layout"], *of_file))


def natural(name: str) -> tuple[list[str | int], str]:
    """Sort key for natural order: `2.png` before `10.png`."""
    parts = re.split("([0-9]+)", name)  # text and digits alternate, text first
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], name


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MOST


def _unless(sound: Callable[[Any], bool], expected: str) -> Callable[[Any], str]:
    """A validator: the expected form if the value is invalid, else ''."""
    return lambda value: "" if sound(value) else expected


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and is_printable(value) and value.strip() != ""


def _is_folder_name(value: Any) -> bool:
    return (
        _is_text(value)
        and "/" not in value
        and value not in (".", "..")
        and len(value.encode(errors="replace")) <= _LONGEST_NAME
    )


def _sides(value: Any) -> Sequence[Any]:
    """(height, width) of a value of `image_size`."""
    return value if isinstance(value, list) else [value, value]


def _is_size(value: Any) -> bool:
    sides = _sides(value)
    return len(sides) == 2 and all(_is_count(side) and side <= _LARGEST for side in sides)


def _is_list_of(value: Any, sound: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and value != [] and all(map(sound, value)) and len({*value}) == len(value)


_CHECKS: dict[str, Callable[[Any], str]] = {
    "title": _unless(_is_text, "a text"),
    "images": _unless(_is_text, "a folder"),
    "test_images": _unless(_is_text, "a folder"),
    "class_order": _unless(_is_text, "a file"),
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
    "resize": _unless(
        lambda value: _is_count(value) and value <= _LARGEST, f"pixels from 1 to {_LARGEST}, such as 256"
    ),
    "task_classes": _unless(_is_count, "a whole number from 1"),
    "first_task_classes": _unless(_is_count, "a whole number from 1"),
    "iid_task_images": _unless(_is_count, "a whole number from 1"),
    "task_instances": _unless(_is_count, "a whole number from 1"),
}
"""Validator per key: returns the expected form if the value is invalid, else ''."""


def _required(layout: str | None, with_test_images: bool) -> set[str]:
    keys = {"layout", "image_size", "task_classes"}
    if layout is None or (layout == "class" and with_test_images):
        return keys
    return keys | {"test_fraction" if layout == "class" else "test_sessions"}


def _of_other_layout(layout: str | None) -> set[str]:
    if layout is None:
        return set()
    of_class = {"test_fraction", "test_images", "class_order"}
    return {"test_sessions", "task_instances"} if layout == "class" else of_class


def _folder(file: Path, value: str) -> Path:
    """The absolute folder that the file at `file` calls `value`, without `..`."""
    folder = file.parent.absolute() / value
    return folder.resolve() if ".." in folder.parts else folder


def _classes(values: dict[str, Any], trees: list[Path], problems: list[tuple[str, str]]) -> tuple[str, ...]:
    """The classes: as listed, or all folders of the trees of images, which must agree.

    In natural order, or with an order of classes in that of torchvision's ImageFolder.
    """
    if len(trees) == 2:
        here, there = (tree.resolve() for tree in trees)
        if here.is_relative_to(there) or there.is_relative_to(here):
            problems.append(
                ("test_images", f"{trees[1]}: expected another folder than {trees[0]}, beside it")
            )
    listed = values.get("classes")
    if listed is None or len(trees) == 2:
        found = [set(_class_folders(tree, name, problems)) for tree, name in zip(trees, _TREES, strict=False)]
        expected = set(listed or set().union(*found))
        problems += [
            (name, f"{tree}: lacks the class folders {', '.join(sorted(missing, key=natural))}")
            for tree, name, own in zip(trees, _TREES, found, strict=False)
            if all(found) and (missing := expected - own)
        ]
        listed = listed or sorted(found[0], key=natural)
    return tuple(listed) if "class_order" not in values else tuple(sorted(listed))


_TREES = ("images", "test_images")


def _class_folders(images: Path, key: str, problems: list[tuple[str, str]]) -> list[str]:
    """Names of the folders in `images`, without hidden ones; problems are those of `key`."""
    try:
        with os.scandir(images) as entries:
            names = [entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir()]
    except (OSError, ValueError) as error:
        told = getattr(error, "strerror", None) or error
        problems.append((key, f"{images}: cannot be read as a folder: {told}"))
        return []
    if not names:
        problems.append((key, f"{images}: holds no folder; expected one for each class"))
    return names


def _class_order(
    file: Path, values: dict[str, Any], classes: tuple[str, ...], problems: list[tuple[str, str]]
) -> tuple[str, ...] | None:
    """The classes in the order of `file`, if there is a `class_order`."""
    if "class_order" not in values:
        return None
    try:
        order = class_order.read(file)
    except InputError as error:
        problems += [("class_order", problem) for problem in error.problems]
        return None
    if classes and (faults := class_order.faults(order, classes)):
        problems.append(("class_order", f"{file}: expected every class folder once; {faults}"))
    return order


def _line(text: str, key: str) -> str:
    """`:line` of the key in the file's text, or '' if it is not there."""
    found = re.search(rf"^\s*{re.escape(key)}\s*=", text, re.MULTILINE)
    return f":{text.count(chr(10), 0, found.end()) + 1}" if found else ""


def _dataset(
    name: str,
    values: dict[str, Any],
    classes: tuple[str, ...],
    trees: Sequence[Path],
    order: tuple[str, ...] | None,
    file: DatasetFile,
) -> Dataset:
    """The dataset of valid values; offers the paradigms whose task size is given and whose sessions have an order."""
    with_sessions = values["layout"] != "class"
    offered = {
        "iid": "iid_task_images" in values,
        "class_iid": True,
        "instance": "task_instances" in values,
        "class_instance": with_sessions,
        "class_ordered": order is not None,
    }
    height, width = _sides(values["image_size"])
    images = os.path.commonpath(trees)
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
        image_size=(height, width),
        default_variant="corrected",
        image_folder=images,
        file=file,
        first_task_classes=values.get("first_task_classes"),
        class_order=order,
        resize=values.get("resize", 0),
        trees=("",) if len(trees) == 1 else tuple(tree.relative_to(images).as_posix() for tree in trees),
    )
