"""Looking datasets up by name: those of the project in `catalogue.py`, users' own by their `dataset.toml`."""

import importlib
import re
from dataclasses import dataclass
from pathlib import Path

from lethe.common.errors import InputError, unknown
from lethe.dataloaders.index import catalogue, dataset_file, folders
from lethe.dataloaders.index.spec import Dataset


@dataclass(frozen=True)
class Located:
    """A dataset, the folder of its images, and the folder of its dirmap and task lists."""

    dataset: Dataset
    root: Path
    lists: Path = folders.LISTS

    @property
    def images(self) -> Path:
        """The folder that the dirmap's paths start from; see `Dataset.images_below`."""
        return self.dataset.images_below(self.root)

    @property
    def dirmap(self) -> Path:
        """The file that the dirmap is written to."""
        return self.lists / f"{self.dataset.name}_dirmap.csv"


def default_root(name: str) -> Path:
    """The folder of a dataset's images unless another one is given: `data/<name>`."""
    return folders.DATA / name


def locate(name: str, root: Path | None = None, lists: Path = folders.LISTS) -> Located:
    """The dataset of that name (see `get`) with its folders; `root` is `data/<name>` by default."""
    root = folders.usable(root or default_root(name))
    return Located(get(name, root), root, folders.usable(lists))


def get(name: str, root: Path | None = None) -> Dataset:
    """The dataset of that name; `InputError` with the nearest name if there is none.

    A user's own is described by `root/dataset.toml` (see `dataset_file.py`), `root` being `data/<name>` by default.
    It cannot have the name of a dataset of the project. Imports no other dataset than that one.
    """
    path = (root or default_root(name)) / dataset_file.NAME
    if name in catalogue.NAMES:
        if folders.is_file(path):
            raise InputError(
                f"{path}: the name {name} is taken, by a dataset of the project: rename the folder"
            )
        return _of_the_project(name)
    if re.fullmatch("[A-Za-z0-9_-]{1,200}", name) and folders.is_file(path):
        return dataset_file.read(path, name)
    if name == "imagenet":
        raise InputError(
            f"{path}: there is none yet; make it: lethe data prepare imagenet --root DIR, where DIR holds train and val"
        )
    known = [*catalogue.NAMES, *_others(path.parent.parent)]
    raise InputError(f"{unknown('dataset', name, known)}; {path} would describe one of your own")


def _others(folder: Path) -> list[str]:
    """The names of users' own datasets in `folder`."""
    try:
        return sorted(file.parent.name for file in folder.glob(f"*/{dataset_file.NAME}"))
    except (OSError, ValueError):  # no folder by its name, as one that is too long
        return []


def title(name: str) -> str:
    """The title of a dataset of the project in tables and figures; of any other dataset, its name."""
    return _of_the_project(name).title if name in catalogue.NAMES else name


def generated() -> list[str]:
    """Names of the generated datasets."""
    return [name for name in catalogue.NAMES if _of_the_project(name).generated]


def _of_the_project(name: str) -> Dataset:
    dataset = importlib.import_module(f"lethe.dataloaders.datasets.{name}").DATASET
    if not isinstance(dataset, Dataset) or dataset.name != name:
        raise TypeError(
            f"datasets/{name}.py: expected DATASET to be a Dataset named {name!r}, got {dataset!r}"
        )
    return dataset
