"""Task lists: the tasks of one run as text files, in the format that the authors of AugMem published.

A folder `<dataset>_task_filelists/<paradigm>/run<r>/<stream|offline>/` (`<paradigm>,tasks=5` and the like where the
number of tasks, the order of classes or its seed is chosen) holds `train_task_00_filelist.txt`,
..., `test_filelist.txt` (a line per image: path, blank, label), `train_all.txt` (a CSV of all tasks' images
with every column of the dirmap) and `manifest.json` with the parameters of the lists and the SHA-256 of
each file. Labels number the classes in the order in which the tasks show them, so they differ between paradigms, runs
and modes; the manifest's `classes` has the class of each label. Where any image of the dataset has a blank in its
path, the paths of all lists are percent-encoded (`my%20cup.png`), and the manifest says so under `paths`.

`<dataset>_validation_filelists` has lists of the same form for choosing hyperparameters: their test images are
held-out training images, and no test image of the dataset is in any file (see `held_out.py`).

Lists without a manifest, such as a user's or the authors', are read too and never overwritten.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lethe.common import locks
from lethe.common.errors import InputError
from lethe.common.input_problems import raise_any
from lethe.dataloaders.index import dirmap as dirmaps
from lethe.dataloaders.index.spec import Dataset, Order, check_split
from lethe.dataloaders.tasks import held_out, listfiles, paradigms
from lethe.dataloaders.tasks import order as orders
from lethe.dataloaders.tasks.listfiles import MANIFEST, Task, list_names, read_manifest

FORMAT = 1
"""Version of the lists: raised when the code makes other lists, so that old ones are stale."""

_OWN = Order()

_OF_CLASSES = ("task_classes", "first_task_classes")
_PARAMETERS = {
    "iid": ("iid_task_images",),
    "class_iid": _OF_CLASSES,
    "instance": ("task_instances", "instance_images"),
    "class_instance": _OF_CLASSES,
    "class_ordered": _OF_CLASSES,
}


@dataclass(frozen=True, eq=False)
class TaskLists:
    """The checked content of a folder of task lists; labels are 0 .. K-1."""

    tasks: tuple[Task, ...]
    test_paths: list[str]
    test_labels: np.ndarray
    """int64 [m]."""
    class_of_label: tuple[int | str, ...]
    """The dirmap's class of each label; the labels themselves if the lists have no classes."""
    variant: str | None
    """None without a manifest, as is `dirmap_fingerprint`."""
    dirmap_fingerprint: str | None
    fingerprint: str
    """SHA-256 over the task and test files."""

    def paths(self) -> set[str]:
        """Every image that is learned or tested."""
        return set(self.test_paths).union(*(task.paths for task in self.tasks))


class Source:
    """A dirmap made ready for writing lists of any paradigm and run."""

    def __init__(self, dirmap: pd.DataFrame, dataset: Dataset):
        rows = dirmaps.rows_as_text(dirmap)
        self.dataset = dataset
        self.fingerprint = dirmaps.fingerprint_of_rows(dirmap.columns, rows)
        self.split = paradigms.split(dirmap, dataset)
        self.paths = dirmap["im_path"].to_numpy(object)
        self.encoded = re.search(r"\s", "".join(self.paths)) is not None
        self.header = ",".join(["", *dirmap.columns, "task", "label"]) + "\n"
        self.rows = np.array(rows, dtype=object)

    def used_paths(self) -> list[str]:
        """Every image that the lists of any paradigm, run and split can name."""
        return list(self.paths[np.concatenate((self.split.train, self.split.test))])


def top_folder(out: Path, dataset: str, split: str = "test") -> Path:
    """The folder of the lists of all runs below `out`."""
    return out / f"{dataset}_{'task' if split == 'test' else split}_filelists"


def folder_of(
    out: Path, dataset: str, paradigm: str, run: int, mode: str, split: str = "test", order: Order = _OWN
) -> Path:
    """The folder of the lists of one run below `out`."""
    return top_folder(out, dataset, split) / f"{paradigm}{orders.suffix(order)}" / f"run{run}" / mode


def ensure(
    source: Source, paradigm: str, run: int, mode: str, variant: str, out: Path, split: str = "test"
) -> Path:
    """The folder of these lists below `out`; written unless it is complete and made from the same parameters.

    The folder appears, or replaces a stale one, by a rename: a kill leaves no half-written lists. Processes
    that want the same lists write them once. Raises `InputError` for lists that cannot be made (see
    `paradigms.schedule` and `held_out.schedule`) or written, and rather than replace other lists without a manifest.
    """
    paradigms.check(source.dataset, paradigm, mode, variant)
    check_split(split)
    folder = folder_of(out, source.dataset.name, paradigm, run, mode, split, source.dataset.order)
    values = _manifest_values(source, paradigm, run, mode, variant, split)
    if not _is_current(folder, values):
        with _only_writer(folder):
            _make_current(folder, values, source)
    return folder


def load(
    source: Source, paradigm: str, run: int, mode: str, variant: str, out: Path, split: str = "test"
) -> TaskLists:
    """The lists that `ensure` makes, read and checked; raises what `ensure` and `read` raise.

    Lists of both variants share a folder, and another process may write those of the other variant meanwhile: lists
    that were replaced while they were read are read again, under the lock.
    """
    folder = ensure(source, paradigm, run, mode, variant, out, split)
    values = _manifest_values(source, paradigm, run, mode, variant, split)
    with suppress(InputError):  # reported below, if it is not due to a concurrent replacement
        lists = read(folder)
        if (lists.variant, lists.dirmap_fingerprint) == (variant, source.fingerprint):
            return lists
    with _only_writer(folder):
        _make_current(folder, values, source)
        return read(folder)


def read(folder: Path) -> TaskLists:
    """Read and check the lists in `folder`.

    Raises `InputError` with the file and line of every problem: a missing or empty file, a line that is not
    `path label`, a path that could leave its root, labels that are not 0 .. K-1, a test label that no task
    has, a file that is not the one that the manifest describes.
    """
    manifest = read_manifest(folder)
    decode = manifest is not None and manifest.get("paths") == listfiles.ENCODED
    names = list_names(folder)
    problems = listfiles.missing_files(folder, names)
    lists, digests = [], {}
    paths: dict[str, str] = {}  # one string for a path, though offline tasks repeat it
    for name in names:
        if name == listfiles.ALL:  # by far the largest, and not needed
            digests[name], length = listfiles.digest(folder / name)
        else:
            data = listfiles.read_bytes(folder / name)
            digests[name], length = hashlib.sha256(data).hexdigest(), len(data)
        if not length:
            problems.append(listfiles.empty_file(folder / name, manifest))
        elif name != listfiles.ALL:
            found, labels = listfiles.parse_list(folder / name, data, problems, decode=decode)
            lists.append(Task([paths.setdefault(path, path) for path in found], labels))
    if manifest:
        problems += _changed_files(folder, manifest, digests)
    raise_any(problems)
    *tasks, test = lists
    learned = np.unique(np.concatenate([task.labels for task in tasks]))
    raise_any(listfiles.label_problems(folder, learned, test))
    return TaskLists(
        tasks=tuple(tasks),
        test_paths=test.paths,
        test_labels=test.labels,
        class_of_label=_classes(folder, manifest, len(learned)),
        variant=manifest["variant"] if manifest else None,
        dirmap_fingerprint=manifest["dirmap_sha256"] if manifest else None,
        fingerprint=hashlib.sha256(
            "".join(digests[name] for name in names if name != listfiles.ALL).encode()
        ).hexdigest(),
    )


def _changed_files(folder: Path, manifest: dict[str, Any], digests: dict[str, str]) -> list[str]:
    """A problem per file that differs from the manifest, is missing, or is not in it."""
    described = manifest["files"]
    return [
        f"{folder / name}: is not as {MANIFEST} describes it; delete {folder} and write the lists again: "
        f"lethe data tasks {manifest['dataset']}{_option(manifest)}"
        for name in sorted(digests.keys() | described.keys())
        if digests.get(name) != described.get(name)
    ]


def _option(manifest: dict[str, Any]) -> str:
    """The options of the command that writes lists of this kind."""
    options = " --validation" if manifest.get("split") == "validation" else ""
    chosen = manifest.get("parameters")
    chosen = chosen if isinstance(chosen, dict) else {}
    for name in ("tasks", "order_seed", "class_order"):
        if name in chosen:
            value = "FILE" if name == "class_order" else chosen[name]
            options += f" --{name.replace('_', '-')} {value}"
    return options


def _classes(folder: Path, manifest: dict[str, Any] | None, count: int) -> tuple[int | str, ...]:
    """The class of each of `count` labels: by the manifest, else by train_all.txt, else the label itself."""
    if manifest is None:
        table = folder / listfiles.ALL
        return listfiles.classes_of_labels(table, count) if table.exists() else tuple(range(count))
    if len(manifest["classes"]) != count:
        raise InputError(
            f"{folder / MANIFEST}: names {len(manifest['classes'])} classes; the lists have {count}"
        )
    return tuple(manifest["classes"])


def parameters(dataset: Dataset, paradigm: str) -> dict[str, Any]:
    """The values of a dataset's specification that the lists of a paradigm depend on, as JSON values."""
    sizes = (
        {}
        if dataset.order.tasks
        else {name: getattr(dataset, name) for name in _PARAMETERS.get(paradigm, ())}
    )
    if sizes.get("first_task_classes", 0) is None:  # which earlier manifests lack
        del sizes["first_task_classes"]
    own = dataset.class_order if paradigm == "class_ordered" and not dataset.order.classes else None
    return {
        "test_sessions": list(dataset.test_sessions),
        "frames": list(dataset.frames) if dataset.frames else None,
        **sizes,
        **({"class_order_sha256": orders.digest(own)} if own else {}),
        **orders.parameters(dataset.order),
    }


def _manifest_values(
    source: Source, paradigm: str, run: int, mode: str, variant: str, split: str
) -> dict[str, Any]:
    """The part of the manifest that decides whether lists are stale, as JSON values."""
    dataset = source.dataset
    return {
        "format": FORMAT,
        "dataset": dataset.name,
        "paradigm": paradigm,
        "run": run,
        "mode": mode,
        "variant": variant,
        **({} if split == "test" else {"split": split}),  # manifests of test lists have no split
        **({"paths": listfiles.ENCODED} if source.encoded else {}),
        "parameters": parameters(dataset, paradigm),
        "dirmap_sha256": source.fingerprint,
    }


def _is_current(folder: Path, values: dict[str, Any]) -> bool:
    """Whether `folder` holds complete lists with these manifest values."""
    try:
        manifest = read_manifest(folder)
    except InputError:
        return False
    return (
        manifest is not None
        and json.dumps([manifest.get(key) for key in values]) == json.dumps([*values.values()])
        and all((folder / name).is_file() for name in manifest["files"])
    )


def _make_current(folder: Path, values: dict[str, Any], source: Source) -> None:
    """Write the lists with these manifest values unless `folder` holds them; the caller holds its lock."""
    if _is_current(folder, values):
        return
    plan = paradigms.schedule if values.get("split", "test") == "test" else held_out.schedule
    which = (values[key] for key in ("paradigm", "run", "mode", "variant"))
    listfiles.install(
        _write_aside(folder, values, source, plan(source.split, source.dataset, *which)), folder
    )


def _only_writer(folder: Path) -> AbstractContextManager[None]:
    return locks.only_writer(folder.with_name(f".{folder.name}.lock"), folder)


def _write_aside(folder: Path, values: dict[str, Any], source: Source, schedule: paradigms.Schedule) -> Path:
    """Write the files and the manifest to a folder beside `folder`; returns it."""
    aside = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(aside, ignore_errors=True)  # left by a killed process
    aside.mkdir()
    try:
        float_tasks = (values["paradigm"], values["variant"]) == ("iid", "published")
        manifest = values | {
            "classes": [source.split.classes[code] for code in np.argsort(schedule.labels)],
            "images": {"tasks": [len(task) for task in schedule.tasks], "test": len(schedule.test)},
            "files": {
                name: _write(aside / name, parts) for name, parts in _texts(source, schedule, float_tasks)
            },
        }
        (aside / MANIFEST).write_text(listfiles.manifest_text(manifest), encoding="utf-8")
    except OSError:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return aside


def _texts(
    source: Source, schedule: paradigms.Schedule, float_tasks: bool
) -> Iterator[tuple[str, Iterable[str]]]:
    """Name and text, in parts, of each file."""
    code, labels = source.split.class_code, schedule.labels
    ends = np.array([f" {label}\n" for label in labels], dtype=object)
    lines = np.empty(len(source.paths), dtype=object)
    used = np.zeros(len(source.paths), dtype=bool)
    for rows in (*schedule.tasks, schedule.test):
        used[rows] = True
    paths = source.paths[used]
    if source.encoded:
        paths = np.array([*map(listfiles.encoded, paths)], dtype=object)
    lines[used] = paths + ends[code[used]]  # once, though offline tasks repeat each line

    def table() -> Iterator[str]:
        yield source.header
        for task, (rows, names) in enumerate(zip(schedule.tasks, schedule.names, strict=True)):
            number = f"{task}.0" if float_tasks else f"{task}"  # published iid lists have floats
            values = zip(names.tolist(), source.rows[rows].tolist(), labels[code[rows]].tolist(), strict=True)
            yield "".join([f"{name},{row},{number},{label}\n" for name, row, label in values])

    for task, rows in enumerate(schedule.tasks):
        yield listfiles.TASK.format(task), ["".join(lines[rows].tolist())]
    yield listfiles.TEST, ["".join(lines[schedule.test].tolist())]
    yield listfiles.ALL, table()


def _write(path: Path, parts: Iterable[str]) -> str:
    """Write the parts to a file; return its SHA-256."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for part in parts:
            data = part.encode()
            digest.update(data)
            file.write(data)
    return digest.hexdigest()
