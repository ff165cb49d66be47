"""The environment of a trial's runs: env.json in the trial's folder, and its comparison with later runs.

Numbers of runs that were made with other data, another device or another PyTorch do not belong in one mean: such runs
are refused.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lethe.benchmarks.records import schema
from lethe.common.errors import Damaged, InputError
from lethe.common.files import is_there, write_text

_FIXED = ("device", "threads", "portable", "torch", "protocol", "dirmap", "images", "weights", "store")
"""Keys whose values all runs of a trial must share."""
_NAME = "env.json"


def note(folder: Path, now: Mapping[str, object]) -> None:
    """Write `now` to env.json in a trial's `folder`, or compare it with the content of the file.

    `InputError` if a value of `_FIXED` differs; on GPUs, the model of the GPU as well.
    """
    path = folder / _NAME
    if not is_there(path):
        write_text(path, json.dumps(now, indent=2) + "\n")
        return
    # Any GPU of the same model is the same; CPUs of several models may be mixed, as clusters do.
    _refuse_changes(path, now, (*_FIXED, "device_name") if now["device"] == "cuda" else _FIXED)


def check(folder: Path, now: Mapping[str, object]) -> None:
    """`InputError` if a value of `now` differs from that of the earlier runs of the trial in `folder`, if any."""
    path = folder / _NAME
    if is_there(path):
        _refuse_changes(path, now, tuple(now))


def threads_before(folders: Iterable[Path]) -> int | None:
    """CPU threads of all earlier runs of the trials in `folders`; None if there are none, or they differ."""
    paths = [folder / _NAME for folder in folders]
    found = {_read(path).get("threads") for path in paths if is_there(path)}
    return found.pop() if len(found) == 1 else None


def store_before(folder: Path) -> str | None:
    """Where earlier runs of the trial in `folder` read their inputs from; None if there are none, or it is unknown."""
    path = folder / _NAME
    found = _read(path).get("store") if is_there(path) else None
    return found if isinstance(found, str) else None


def _read(path: Path) -> dict[str, Any]:
    return schema.read_checked(path, schema.ENVIRONMENT)


def _refuse_changes(path: Path, now: Mapping[str, object], keys: Sequence[str]) -> None:
    before = _read(path)
    if missing := [key for key in keys if key not in before]:
        raise Damaged(
            f"{path}: damaged ({', '.join(missing)} missing): give another --out, or delete {path.parent} to make "
            "its runs again"
        )
    changed = [
        change for key in keys if before[key] != now[key] for change in _changes(key, before[key], now[key])
    ]
    if changed:
        threads = any(change.startswith("threads: ") for change in changed)
        option = f" (--threads {before['threads']})" if threads else ""
        if any(change.startswith("store: ") for change in changed):
            option += f" (--store {before['store']})"
        raise InputError(
            f"{path}: this trial's earlier runs were made otherwise ({'; '.join(changed)}): "
            f"bring back what was there then{option}, or give another --out"
        )


def _changes(key: str, before: object, now: object) -> list[str]:
    """Each change as "name: before -> now"; of two objects, one per name that differs."""
    if isinstance(before, dict) and isinstance(now, dict):
        names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        return [
            f"{name}: {_abbreviated(before.get(name))} -> {_abbreviated(now.get(name))}" for name in names
        ]
    return [f"{key}: {_abbreviated(before)} -> {_abbreviated(now)}"]


def _abbreviated(value: object) -> object:
    """The first digits of a fingerprint; any other value as it is."""
    return value[:12] if isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) else value
