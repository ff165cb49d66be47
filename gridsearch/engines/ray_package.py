"""A copy of the package `lethe`, for Ray to send to its nodes: the same from a checkout and from an installed wheel.

In a checkout the subpackages lie beside the folder `lethe`, not in it, and so do tests, data and results. Ray names
what it is sent by its content: the copy of an unchanged package, wherever it lies, is not sent twice.
"""

import importlib.util
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lethe

PACKAGES = ("agents", "benchmarks", "common", "dataloaders", "gridsearch")
"""Subpackages of `lethe` that a run needs, with the data files in them. `lethe.results` is only for reports."""
_LEFT_OUT = shutil.ignore_patterns("__pycache__", ".*")


@contextmanager
def package_copy() -> Iterator[Path]:
    """A temporary folder that holds the package under its name and nothing else; removed at the end."""
    with tempfile.TemporaryDirectory(prefix="lethe-") as folder:
        copy = Path(folder, lethe.__name__)
        copy.mkdir()
        for file in Path(lethe.__file__).parent.iterdir():
            if file.is_file():
                shutil.copy(file, copy)
        for name in PACKAGES:
            shutil.copytree(_folder(name), copy / name, ignore=_LEFT_OUT)
        yield Path(folder)


def _folder(name: str) -> str:
    spec = importlib.util.find_spec(f"{lethe.__name__}.{name}")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"lethe.{name}: expected a package beside this module: install lethe anew")
    return spec.submodule_search_locations[0]
