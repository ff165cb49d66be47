"""Getting a dataset ready: which code draws or indexes it, and where its dirmap is."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from lethe.common.errors import InputError, unknown
from lethe.common.input_problems import raise_any
from lethe.dataloaders.index import catalogue, folders
from lethe.dataloaders.index import dirmap as dirmaps
from lethe.dataloaders.index.prepared import Prepared

INDEXERS: Mapping[str, str] = MappingProxyType(
    {
        "core50": "lethe.dataloaders.datasets.core50:index",
        "core50_mini": "lethe.dataloaders.datasets.core50:index",
        "digits": "lethe.dataloaders.datasets.digits:index",
        "toybox": "lethe.dataloaders.datasets.toybox:index",
        "ilab2mlight": "lethe.dataloaders.datasets.ilab2mlight:index",
        "cifar100": "lethe.dataloaders.datasets.cifar100:index",
    }
)
"""`module:function` per dataset; the function takes the dataset's root and returns its dirmap."""

DRAWERS: Mapping[str, str] = MappingProxyType(
    {
        "core50_mini": "lethe.dataloaders.datasets.core50_mini:draw",
        "digits": "lethe.dataloaders.datasets.digits:draw",
    }
)
"""`module:function` per generated dataset; it takes (root, seed, workers) and keeps what is there."""

PREPARERS: Mapping[str, str] = MappingProxyType(
    {
        "toybox": "lethe.dataloaders.datasets.toybox:prepare",
        "ilab2mlight": "lethe.dataloaders.datasets.ilab2mlight:prepare",
        "cifar100": "lethe.dataloaders.datasets.cifar100:prepare",
    }
)
"""`module:function` per dataset whose images must be made from what is downloaded; the function takes
(root, out, workers), writes images below `out` and returns a `Prepared`. What is made already is kept."""

_SHIPPED = {"core50": Path(__file__).parent / "datasets" / "core50_dirmap_sampled.csv"}
"""Dirmaps that come with the project: enough for the task lists."""

_DOWNLOADS = {
    "core50": "unpack core50_128x128.zip or core50_350x350.zip (https://vlomonaco.github.io/core50/)",
}
"""How to get the images of the other datasets."""


def default_root(dataset: str) -> Path:
    """Where the images of a dataset are looked for unless another folder is named."""
    return folders.DATA / dataset


def dirmap_path(dataset: str, out: Path) -> Path:
    """Where the dirmap of a dataset is written below `out`."""
    return out / f"{dataset}_dirmap.csv"


def image_folder(dataset: str, root: Path) -> Path:
    """The folder that the dirmap's paths start from; see `Dataset.images_below`."""
    return catalogue.get(dataset, root).images_below(root)


def draw(dataset: str, root: Path, seed: int = 0, workers: int | None = None) -> None:
    """Draw a generated dataset below `root`; what is there is kept."""
    drawer = _load("generated dataset", dataset, DRAWERS)
    catalogue.check_name_is_free(dataset, root)
    drawer(root, seed, workers)


def index(dataset: str, root: Path, out: Path) -> Prepared:
    """Index the images below `root` and write the dirmap below `out`.

    A user's own dataset is described by `root/dataset.toml`; where `root` is not `data/<dataset>`, that is made
    a link to it, so that all commands find the dataset by its name.
    """
    path = dirmap_path(dataset, out)
    if dataset in catalogue.DATASETS:
        catalogue.check_name_is_free(dataset, root)
        indexed = Prepared(_load("dataset with an indexer", dataset, INDEXERS)(root))
        dirmaps.write(indexed.dirmap, path)
        return indexed
    from lethe.dataloaders.datasets import image_folder
    from lethe.dataloaders.index import dataset_file, dataset_file_stamp

    file = dataset_file.find(dataset, root)
    indexed = image_folder.index(file)
    notes = _link(default_root(dataset), root)
    dirmaps.write(indexed.dirmap, path)
    dataset_file_stamp.note(file, path)
    return replace(indexed, notes=(*indexed.notes, *notes))


def prepare(dataset: str, root: Path, out: Path, lists: Path, workers: int | None = None) -> Prepared:
    """Everything from what is downloaded below `root` to images below `out` and tables below `lists`.

    A dataset without a preparer is used where it is: a generated one is drawn below `out`, others are
    indexed below `root`.
    """
    if dataset not in PREPARERS:
        if dataset in DRAWERS:
            draw(dataset, out, workers=workers)
            root = out
        return index(dataset, root, lists)
    prepared = _load("dataset with a preparer", dataset, PREPARERS)(root, out, workers)
    for name, frame in prepared.tables.items():
        dirmaps.write(frame, lists / f"{dataset}_dirmap_{name}.csv")
    dirmaps.write(prepared.dirmap, dirmap_path(dataset, lists))
    return prepared


def find_dirmap(dataset: str, out: Path) -> Path:
    """The dirmap below `out`, else the shipped one; `InputError` with the command that makes it."""
    path = dirmap_path(dataset, out)
    if path.exists():
        return path
    if dataset in _SHIPPED:
        return _SHIPPED[dataset]
    command, option = ("prepare", "--lists") if dataset in PREPARERS else ("index", "--out")
    where = "" if out == folders.LISTS else f" {option} {out}"
    raise InputError(
        f"{path}: no dirmap of {dataset}; make it: lethe data {command} {dataset} "
        f"--root {default_root(dataset)}{where}"
    )


def current_dirmap(dataset: str, root: Path, out: Path) -> Path:
    """`find_dirmap`; `InputError` where the dataset's own file has been changed since."""
    path = find_dirmap(dataset, out)
    raise_any(changes(dataset, root, path) or [])
    return path


def changes(dataset: str, root: Path, dirmap: Path) -> list[str] | None:
    """Why the dirmap of a user's own dataset has to be made anew, in lines; None where nobody can tell."""
    if dataset in catalogue.DATASETS:
        return None
    from lethe.dataloaders.index import dataset_file, dataset_file_stamp

    found = dataset_file_stamp.changes(dataset_file.find(dataset, root), dirmap)
    if not found:
        return found
    where = "" if dirmap.parent == folders.LISTS else f" --out {dirmap.parent}"
    return [*found, f"{dirmap}: is to be made anew: lethe data index {dataset}{where}"]


def remedy(dataset: str, root: Path, lists: Path) -> str:
    """What to do where images of a dataset are missing below `root`, or broken."""
    command = f"lethe data {{}} {dataset}{'' if root == default_root(dataset) else f' --root {root}'}"
    where = "" if lists == folders.LISTS else f" --out {lists}"
    if dataset not in catalogue.DATASETS:
        return f"mend or delete broken images, then index what there is: {command.format('index')}{where}"
    if dataset in DRAWERS:
        return f"delete broken images, then draw what is missing: {command.format('draw')}"
    if dataset in PREPARERS:
        made = f"lethe data prepare {dataset} --root DOWNLOADED --out {root}"
        return f"delete broken images, then make what is missing: {made}"
    return f"{_DOWNLOADS[dataset]} in {root}; lethe data check {dataset} says what is there"


def ensure_dirmap(dataset: str, root: Path, out: Path) -> Path:
    """`current_dirmap`; a generated dataset is drawn and indexed first, unless it is there whole."""
    if catalogue.get(dataset, root).generated and not _is_whole(dataset, root, out):
        draw(dataset, root)
        index(dataset, root, out)
    return current_dirmap(dataset, root, out)


def _is_whole(dataset: str, root: Path, out: Path) -> bool:
    """Whether there is a dirmap and every image that it names."""
    path = dirmap_path(dataset, out)
    if not path.exists():
        return False
    folder = image_folder(dataset, root)
    return all((folder / image).is_file() for image in dirmaps.read(path)["im_path"])


def _link(usual: Path, root: Path) -> list[str]:
    """Make `usual` a link to `root`, unless it is that folder, and say so; `InputError` if it is another one."""
    if usual.resolve() == root.resolve():
        return []
    if usual.is_symlink() or usual.exists():
        raise InputError(
            f"{usual}: is not {root}, but where all commands look for {usual.name}: move it away, or give "
            f"{root} another name"
        )
    try:
        usual.parent.mkdir(parents=True, exist_ok=True)
        usual.symlink_to(root.resolve(), target_is_directory=True)
    except OSError as error:
        raise InputError(f"{usual}: cannot be made a link: {error.strerror or error}") from error
    return [f"{usual} is now a link to {root.resolve()}, so that all commands find {usual.name}"]


def _load(kind: str, dataset: str, table: Mapping[str, str]) -> Callable:
    """The function that `table` names for `dataset`, imported now."""
    if dataset not in table:
        raise unknown(kind, dataset, table)
    module, _, function = table[dataset].partition(":")
    return getattr(importlib.import_module(module), function)
