"""Records of failed runs: `run<r>/failed.json`, beside the log of the output of the run's process.

The record is removed when the run is started again; a run that never ended leaves none.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from lethe.benchmarks.records import schema
from lethe.common.errors import InputError
from lethe.common.files import is_there, open_regular, write_text
from lethe.common.printable import printable, printable_lines

LOG = "log.txt"
"""In the run's folder: standard output and error of the process that learned it."""
_NAME = "failed.json"
_TAIL = 20
_BYTES = 1 << 16  # of the log that are looked at


@dataclass(frozen=True)
class Failure:
    """Reason of a failed run, and the end of its log, without what a terminal would obey."""

    reason: str
    """One line."""
    log: tuple[str, ...]
    """The last lines that the run's process wrote."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", printable("; ".join(self.reason.splitlines())))
        object.__setattr__(self, "log", tuple(map(printable_lines, self.log)))

    def __str__(self) -> str:
        return "\n    ".join([self.reason, *self.log])


def failure(folder: Path, reason: str) -> Failure:
    """The failure of the run in `folder` for `reason`, with the end of its log."""
    try:
        with open_regular(folder / LOG) as file:
            file.seek(-min(_BYTES, file.seek(0, os.SEEK_END)), os.SEEK_END)
            text = file.read().decode("utf-8", errors="replace")
    except (InputError, OSError):
        text = ""
    return Failure(reason, tuple(text.splitlines()[-_TAIL:]))


def write(folder: Path, found: Failure) -> None:
    """Record that the run in `folder` failed."""
    write_text(folder / _NAME, json.dumps(asdict(found), indent=1) + "\n")


def read(folder: Path) -> Failure | None:
    """The record of failure of the run in `folder`, None where there is none or the run has finished since."""
    path = folder / _NAME
    if not is_there(path) or is_there(folder / "summary.json"):
        return None
    found = schema.read_checked(path, schema.FAILURE, "delete it to try this run again")
    return Failure(found["reason"], tuple(found["log"]))


def clear(folder: Path) -> None:
    """Remove the record of an earlier failure of the run in `folder`."""
    (folder / _NAME).unlink(missing_ok=True)
