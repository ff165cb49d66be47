"""The stamp beside a dirmap: the values of dataset.toml that it was indexed with, and its SHA-256.

So later edits and damage are noticed.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lethe.common.files import parse_json, read_bytes, read_text, write_text
from lethe.common.input_problems import first
from lethe.dataloaders.index.spec import Dataset, DatasetFile

_DIGEST = "dirmap_sha256"
_SHOWN = 5  # names of classes
_LATER = ("test_images", "class_order")
"""Keys that stamps of earlier versions lack."""


def stamp_path(dirmap: Path) -> Path:
    """The stamp beside a dirmap: `pets_dirmap.json`."""
    return dirmap.with_suffix(".json")


def write(dataset: Dataset, file: DatasetFile, dirmap: Path) -> None:
    """Stamp `dirmap`, which has been written, with the current values of `file`, which describes `dataset`."""
    stamp = {**_values(dataset, file), _DIGEST: _digest(dirmap)}
    write_text(stamp_path(dirmap), json.dumps(stamp, indent=1) + "\n")


def changes(dataset: Dataset, file: DatasetFile, dirmap: Path) -> list[str] | None:
    """Differences between `file` now and when `dirmap` was indexed, one per line; None if there is no stamp."""
    path = stamp_path(dirmap)
    if not os.path.lexists(path):
        return None
    try:
        then = parse_json(read_text(path))
        found = [
            difference
            for key, now in _values(dataset, file).items()
            for difference in _differences(key, then.get(key) if key in _LATER else then[key], now)
        ]
        damaged = then[_DIGEST] != _digest(dirmap)
    # InputError, for a file that cannot be read, is a ValueError.
    except (ValueError, LookupError, TypeError):
        return [f"{path}: is damaged"]
    changed = f"{dirmap}: is not as it was indexed; if it was edited on purpose, delete {path}"
    return [*(f"{file.path}: {difference}" for difference in found), *([changed] if damaged else [])]


def _values(dataset: Dataset, file: DatasetFile) -> dict[str, Any]:
    """Everything besides the images that a dirmap depends on, as JSON values."""
    return {
        "layout": file.layout,
        "test_fraction": file.test_fraction,
        "images": file.images,
        "classes": list(dataset.classes),
        "test_images": file.test_images,
        "class_order": file.class_order,
    }


def _digest(dirmap: Path) -> str:
    return hashlib.sha256(read_bytes(dirmap)).hexdigest()


def _differences(key: str, then: Any, now: Any) -> Iterator[str]:
    if then == now:
        return
    if key != "classes":
        yield f"{key} is {_value(now)}; it was {_value(then)} when the dirmap was made"
        return
    added, gone = ([name for name in a if name not in set(b)] for a, b in ((now, then), (then, now)))
    if added:
        yield f"the dirmap lacks the class folders {', '.join(first(added, _SHOWN))}"
    if gone:
        yield f"the dirmap has classes whose folders are gone: {', '.join(first(gone, _SHOWN))}"
    if not added and not gone:
        yield "the classes are in another order than in the dirmap"


def _value(value: Any) -> str:
    return "absent" if value is None else json.dumps(value)
