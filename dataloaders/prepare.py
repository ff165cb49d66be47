"""Getting a dataset ready: which code draws or indexes it, and where its dirmap is."""

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from dataloaders import dirmap as dirmaps
from dataloaders import specs
from errors import InputError, unknown

INDEXERS: Mapping[str, str] = MappingProxyType(
    {
        "core50": "dataloaders.core50:index",
        "core50_mini": "dataloaders.core50:index",
        "digits": "dataloaders.digits:index",
    }
)
"""`module:function` per dataset; the function takes the dataset's root and returns its dirmap."""

DRAWERS: Mapping[str, str] = MappingProxyType(
    {
        "core50_mini": "dataloaders.core50_mini:draw",
        "digits": "dataloaders.digits:draw",
    }
)
"""`module:function` per generated dataset; it takes (root, seed, workers) and keeps what is there."""

_SHIPPED = {"core50": Path(__file__).with_name("core50_dirmap_sampled.csv")}
"""Dirmaps that come with the project: enough for the task lists."""


def default_root(dataset: str) -> Path:
    """Where the images of a dataset are looked for unless another folder is named."""
    return Path("data") / dataset


def dirmap_path(dataset: str, out: Path) -> Path:
    """Where the dirmap of a dataset is written below `out`."""
    return out / f"{dataset}_dirmap.csv"


def image_folder(dataset: str, root: Path) -> Path:
    """The folder that the dirmap's paths start from: the published one below `root`, or `root` itself."""
    inner = root / specs.get(dataset).image_folder
    return inner if inner.is_dir() else root


def draw(dataset: str, root: Path, seed: int = 0, workers: int | None = None) -> None:
    """Draw a generated dataset below `root`; what is there is kept."""
    _load("generated dataset", dataset, DRAWERS)(root, seed, workers)


def index(dataset: str, root: Path, out: Path) -> tuple[Path, pd.DataFrame]:
    """Index the images below `root` and write the dirmap below `out`; returns its path and content."""
    frame = _load("dataset with an indexer", dataset, INDEXERS)(root)
    path = dirmap_path(dataset, out)
    dirmaps.write(frame, path)
    return path, frame


def find_dirmap(dataset: str, out: Path) -> Path:
    """The dirmap below `out`, else the shipped one; `InputError` with the command that makes it."""
    path = dirmap_path(dataset, out)
    if path.exists():
        return path
    if dataset in _SHIPPED:
        return _SHIPPED[dataset]
    option = "" if out == Path("dataloaders") else f" --out {out}"
    raise InputError(
        f"{path}: no dirmap of {dataset}; make it: python -m dataloaders index {dataset} "
        f"--root {default_root(dataset)}{option}"
    )


def ensure_dirmap(dataset: str, root: Path, out: Path) -> Path:
    """`find_dirmap`; a generated dataset is drawn and indexed first, unless it is there whole."""
    if specs.get(dataset).generated and not _is_whole(dataset, root, out):
        draw(dataset, root)
        return index(dataset, root, out)[0]
    return find_dirmap(dataset, out)


def _is_whole(dataset: str, root: Path, out: Path) -> bool:
    """Whether there is a dirmap and every image that it names."""
    path = dirmap_path(dataset, out)
    if not path.exists():
        return False
    folder = image_folder(dataset, root)
    return all((folder / image).is_file() for image in dirmaps.read(path)["im_path"])


def _load(kind: str, dataset: str, table: Mapping[str, str]) -> Callable:
    """The function that `table` names for `dataset`, imported now."""
    if dataset not in table:
        raise unknown(kind, dataset, table)
    module, _, function = table[dataset].partition(":")
    return getattr(importlib.import_module(module), function)
