"""Seal of a finished run: fingerprints in summary.json of its own content and of the tables beside it.

A number that has changed since the run was recorded is told when the record is read.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lethe.benchmarks.records.schema import REMEDY
from lethe.common.errors import Damaged, InputError
from lethe.common.files import read_bytes

_FILES = "*.csv"


def sealed(folder: Path, summary: Mapping[str, Any]) -> dict[str, Any]:
    """`summary` with the SHA-256 of each table (CSV) in the run's `folder`, and of itself."""
    files = {path.name: _sha256(read_bytes(path)) for path in sorted(folder.glob(_FILES))}
    content = {**summary, "files": files}
    return {**content, "sha256": _fingerprint(content)}


def check(folder: Path, summary: Mapping[str, Any]) -> None:
    """`Damaged` if `summary`, or a file that it names, is not as it was sealed; without a seal, nothing is checked."""
    if "sha256" not in summary:
        return
    content = {key: value for key, value in summary.items() if key != "sha256"}
    if _fingerprint(content) != summary["sha256"]:
        raise _changed(folder / "summary.json")
    for name, fingerprint in (content.get("files") or {}).items():
        path = folder / Path(name).name
        try:
            changed = _sha256(read_bytes(path)) != fingerprint
        except InputError as error:
            told = str(error).removeprefix(f"{path}: ")
            raise Damaged(f"{path}: damaged ({told}): {REMEDY}") from error
        if changed:
            raise _changed(path)


def _changed(path: Path) -> Damaged:
    return Damaged(f"{path}: damaged (it has changed since it was written): {REMEDY}")


def _fingerprint(content: Mapping[str, Any]) -> str:
    plain = json.loads(json.dumps(content))  # as it is read back: keys are texts, tuples lists
    return _sha256(json.dumps(plain, sort_keys=True).encode())


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
