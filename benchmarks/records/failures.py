"""Records of failed runs: `run<r>/failed.json`, beside the log of the output of the run's process.

The record is removed when the run is started again; a run that never ended leaves none.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from lethe.common.errors import InputError
from lethe.common.files import read_json, write_text

LOG = "log.txt"
"""In the run's folder: standard output and error of the process that learned it."""
_NAME = "failed.json"
_TAIL = 20


@dataclass(frozen=True)
class Failure:
    """Reason of a failed run, and the end of its log."""

    reason: str
    """One line."""
    log: tuple[str, ...]
    """The last lines that the run's process wrote."""

    def __str__(self) -> str:
        return "\n    ".join([self.reason, *self.log])


def failure(folder: Path, reason: str) -> Failure:
    """The failure of the run in `folder` for `reason`, with the end of its log."""
    try:
        text = (folder / LOG).read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    return Failure(reason, tuple(text.splitlines()[-_TAIL:]))


def write(folder: Path, found: Failure) -> None:
    """Record that the run in `folder` failed."""
    write_text(folder / _NAME, json.dumps(asdict(found), indent=1) + "\n")


def read(folder: Path) -> Failure | None:
    """The record of failure of the run in `folder`, None where there is none or the run has finished since."""
    path = folder / _NAME
    if not path.exists() or (folder / "summary.json").exists():
        return None
    found = read_json(path)
    try:
        return Failure(str(found["reason"]), tuple(str(line) for line in found["log"]))
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: damaged ({error}): delete it to try this run again") from error


def clear(folder: Path) -> None:
    """Remove the record of an earlier failure of the run in `folder`."""
    (folder / _NAME).unlink(missing_ok=True)
