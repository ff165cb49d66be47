"""The files of a folder of task lists: their names, the manifest, and the lines of a list."""

import csv
import filecmp
import hashlib
import io
import json
import re
import shutil
from os.path import lexists  # which no name makes fail
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import numpy as np

from lethe.common import files
from lethe.common.errors import InputError
from lethe.common.files import parse_json
from lethe.common.input_problems import INTEGER, PLAIN_PATH, not_plain, path_problem

TASK = "train_task_{:02d}_filelist.txt"
TEST = "test_filelist.txt"
ALL = "train_all.txt"
MANIFEST = "manifest.json"
_TASK = re.compile(r"train_task_([0-9]{2}|[1-9][0-9]{2,5})_filelist\.txt")
ENCODED = "percent-encoded"
"""In a manifest, the form of the lists' paths where any image has a blank in its name."""

_DIGEST = "sha256"
_LARGEST = 1 << 30  # bytes of a list
_TO_ENCODE = re.compile(r"[%\s]")
_LINE = re.compile(f"^({PLAIN_PATH}) ({INTEGER})$", re.MULTILINE)


class Task(NamedTuple):
    """Images and their labels, in the order in which they are learned."""

    paths: list[str]
    """Relative to the folder of the dataset's images."""
    labels: np.ndarray
    """int64 [n]."""


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a folder of lists, None if there is none; `InputError` if it is damaged."""
    path = folder / MANIFEST
    if not lexists(path):
        return None
    try:
        manifest: dict[str, Any] = parse_json(files.read_bytes(path))
        _check_manifest(manifest)
    # An InputError, where the file cannot be read, is a ValueError.
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{path}: is damaged; delete {folder} and write the lists again") from None
    return manifest


def manifest_text(values: dict[str, Any]) -> str:
    """The text of a manifest with these values, and the SHA-256 of them."""
    return json.dumps({**values, _DIGEST: _digest(values)}, indent=1) + "\n"


def _digest(values: dict[str, Any]) -> str:
    own = {key: value for key, value in values.items() if key != _DIGEST}
    return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()


def _check_manifest(manifest: dict[str, Any]) -> None:
    """One of several exceptions where a value that is read is missing or of a wrong type, or any has changed."""
    described, images = manifest["files"], manifest["images"]
    texts = [*(manifest[key] for key in ("dataset", "variant", "dirmap_sha256")), *described.values()]
    sound = (
        all(isinstance(text, str) for text in texts)
        and isinstance(manifest["classes"], list)
        and all(isinstance(name, str) or type(name) is int for name in manifest["classes"])
        and all(_TASK.fullmatch(name) or name in (TEST, ALL) for name in described)
        and isinstance(images["tasks"], list)
        and all(type(count) is int and count >= 0 for count in (*images["tasks"], images["test"]))
        and len(images["tasks"]) > 0
        and manifest.get("paths", ENCODED) == ENCODED
        and manifest.get(_DIGEST, _digest(manifest)) == _digest(manifest)  # earlier versions wrote none
    )
    if not sound:
        raise TypeError


def image_counts(folder: Path) -> dict[str, Any]:
    """Of lists with a manifest, the number of images: a list `tasks`, one per task, and `test`."""
    manifest = read_manifest(folder)
    if manifest is None:
        raise InputError(f"{folder}: no {MANIFEST}")
    counts: dict[str, Any] = manifest["images"]
    return counts


def list_names(folder: Path) -> list[str]:
    """Names of the lists in `folder`: tasks by number, test, all."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    tasks = sorted((name for name in names if _TASK.fullmatch(name)), key=_task_number)
    return tasks + [name for name in (TEST, ALL) if name in names]


def _task_number(name: str) -> int:
    """The number of the task whose list has that name, which matches `_TASK`."""
    return int(_TASK.sub(r"\1", name))


def missing_files(folder: Path, names: list[str]) -> list[str]:
    """Problems of the set of files; raises `InputError` if there is no list at all."""
    if not names:
        raise InputError(f"{folder}: no task lists; write them: lethe data tasks DATASET")
    numbers = [_task_number(name) for name in names if _TASK.fullmatch(name)]
    gaps = sorted(set(range(max(numbers, default=0) + 1)) - set(numbers))
    problems = [f"{folder}: no {TASK.format(task)}" for task in gaps]
    if TEST not in names:
        problems.append(f"{folder}: no {TEST}")
    return problems


def read_bytes(path: Path) -> bytes:
    """The content of a list; `InputError` where it cannot be read."""
    return files.read_bytes(path, _LARGEST)


def digest(path: Path) -> tuple[str, int]:
    """SHA-256 and length of a list, of which no more than a block is in memory; `InputError` as `read_bytes`."""
    sha, length = hashlib.sha256(), 0
    with files.open_regular(path) as file:
        try:
            while block := file.read(1 << 20):
                sha.update(block)
                length += len(block)
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    return sha.hexdigest(), length


def empty_file(path: Path, manifest: dict[str, Any] | None) -> str:
    """The problem of a file without a line."""
    what = f"task {_task_number(path.name)}" if _TASK.fullmatch(path.name) else "it"
    if manifest and manifest["variant"] == "published":
        return (
            f"{path}: {what} is empty, as published: this paradigm collapses where each class numbers its "
            f"objects from 1; use the corrected lists (--variant corrected)"
        )
    return f"{path}: {what} is empty; expected at least one line 'path label'"


def encoded(path: str) -> str:
    """The path with its blanks and percent signs as `%20` and the like, one word of a list."""
    return _TO_ENCODE.sub(lambda sign: quote(sign[0]), path)


def parse_list(path: Path, data: bytes, problems: list[str], *, decode: bool = False) -> Task:
    """The images and labels of one list; the problems of other lines are appended to `problems`.

    `decode`: its paths are percent-encoded.
    """
    try:
        text = data.decode().replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        problems.append(f"{path}:{data[: error.start].count(10) + 1}: is no UTF-8 text")
        return Task([], np.empty(0, np.int64))
    found = _LINE.findall(text)
    if len(found) != text.count("\n") + (not text.endswith("\n") and text != ""):
        for number, line in enumerate(text.removesuffix("\n").split("\n"), start=1):
            if not _LINE.fullmatch(line):
                problems.append(f"{path}:{number}: {_line_problem(line)}")
    labels = np.fromiter((int(label) for _, label in found), dtype=np.int64, count=len(found))
    images = [image for image, _ in found]
    return Task(_decoded(path, images, problems) if decode else images, labels)


def _decoded(path: Path, images: list[str], problems: list[str]) -> list[str]:
    """Percent-encoded paths as the files are called; what `encoded` does not write is a problem."""
    names = [unquote(image) for image in images]
    problems += [
        f"{path}: {image!r} is no percent-encoded image path, such as my%20cup.png"
        for image, name in zip(images, names, strict=True)
        if encoded(name) != image or not_plain([name])
    ]
    return names


def _line_problem(line: str) -> str:
    image, _, label = line.rpartition(" ")
    if not re.fullmatch(INTEGER, label):
        return f"expected 'path label' with a label from 0, got {line!r}"
    if re.search(r"\s", image):
        return f"image path {image!r} has a blank, which ends a path here; rename the file"
    return path_problem(image)


def label_problems(folder: Path, known: np.ndarray, test: Task) -> list[str]:
    """Problems of labels that are not 0 .. K-1, and of test labels that no task has."""
    problems = []
    if not np.array_equal(known, np.arange(len(known))):
        missing = int(np.flatnonzero(np.append(known, -1)[: len(known)] != np.arange(len(known)))[0])
        problems.append(f"{folder}: labels are to be 0, 1, 2, ...: {missing} is in no task, {known[-1]} is")
    problems += [
        f"{folder / TEST}:{row + 1}: label {test.labels[row]} is in no task"
        for row in np.flatnonzero(~np.isin(test.labels, known))
    ]
    return problems


def classes_of_labels(path: Path, count: int) -> tuple[int | str, ...]:
    """The class of each label by a `train_all.txt`."""
    classes: dict[str, str] = {}
    table = csv.DictReader(io.StringIO(files.read_text(path, _LARGEST), newline=""))
    try:
        for row in table:
            name, label = row.get("class"), row.get("label")
            if not name or not label or classes.setdefault(label, name) != name:
                raise InputError(
                    f"{path}:{table.line_num}: expected a class and a label of its own, got {str(row)[:200]}"
                )
    except csv.Error as error:
        raise InputError(f"{path}:{table.line_num}: is no CSV table: {error}") from None
    if sorted(classes) != sorted(map(str, range(count))):
        raise InputError(f"{path}: has labels {', '.join(sorted(classes))}; the tasks have 0 to {count - 1}")
    numbers = all(re.fullmatch(INTEGER, name) for name in classes.values())
    return tuple(int(classes[str(k)]) if numbers else classes[str(k)] for k in range(count))


def install(aside: Path, folder: Path) -> None:
    """Rename the folder `aside` to `folder`, unless that holds other lists without a manifest."""
    if not (folder / MANIFEST).exists():
        for name in list_names(folder):
            twin = aside / name
            if not twin.exists() or not filecmp.cmp(folder / name, twin, shallow=False):
                shutil.rmtree(aside)
                raise InputError(
                    f"{folder / name}: differs from the list asked for and has no {MANIFEST}, so it was not "
                    f"written here and is kept: move {folder} away, or choose another folder for lists"
                )
    old = folder.with_name(f".{folder.name}.old")
    # If there is none, a process may have been killed between the two renames.
    _keep_others(folder if folder.exists() else old, aside)
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    aside.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _keep_others(folder: Path, aside: Path) -> None:
    """Copy a user's own files beside the lists in `folder`, if any, to `aside`."""
    ours = {MANIFEST, *list_names(folder)}
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name in ours:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.copytree(path, aside / path.name, symlinks=True)
        else:
            shutil.copy2(path, aside / path.name, follow_symlinks=False)
