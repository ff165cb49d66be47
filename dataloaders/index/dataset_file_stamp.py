"""What of a dataset.toml is in a dirmap, noted beside it, so that a change after the index is noticed."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lethe.common.files import read_text, write_text
from lethe.dataloaders.index.dataset_file import DatasetFile

_SHOWN = 5  # names of classes


def note_path(dirmap: Path) -> Path:
    """The note beside a dirmap: `pets_dirmap.json`."""
    return dirmap.with_suffix(".json")


def note(file: DatasetFile, dirmap: Path) -> None:
    """Write down that `dirmap` was made as `file` says now."""
    write_text(note_path(dirmap), json.dumps(file.indexed, indent=1) + "\n")


def changes(file: DatasetFile, dirmap: Path) -> list[str] | None:
    """What in `file` is not as it was when `dirmap` was made, a line each; None where nothing is noted."""
    path = note_path(dirmap)
    if not path.exists():
        return None
    try:
        then = json.loads(read_text(path))
        found = [told for key, now in file.indexed.items() for told in _differences(key, then[key], now)]
    # A file that cannot be read is an InputError, which is a ValueError.
    except (ValueError, LookupError, TypeError):
        return [f"{path}: is damaged"]
    return [f"{file.path}: {told}" for told in found]


def _differences(key: str, then: Any, now: Any) -> Iterator[str]:
    if then == now:
        return
    if key != "classes":
        yield f"{key} is {_value(now)}; it was {_value(then)} when the dirmap was made"
        return
    added, gone = ([name for name in a if name not in set(b)] for a, b in ((now, then), (then, now)))
    if added:
        yield f"the dirmap lacks the class folders {_names(added)}"
    if gone:
        yield f"the dirmap has classes that are no more: {_names(gone)}"
    if not added and not gone:
        yield "the classes are in another order than in the dirmap"


def _value(value: Any) -> str:
    return "not there" if value is None else json.dumps(value)


def _names(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
