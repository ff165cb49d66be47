"""The lock of a run: one process at a time learns it."""

from pathlib import Path
from typing import IO

from lethe.common import locks

_NAME = ".lock"


def lock(folder: Path) -> IO[bytes]:
    """Lock the run in `folder`, made if absent, until the returned file is closed or the process ends.

    Raises `Locked` if another process has the lock, and `InputError` if nothing can be written.
    """
    return locks.lock(folder / _NAME, folder, "another process is working on this run: wait for it")


def is_locked(folder: Path) -> bool:
    """Whether a process is working on the run in `folder`."""
    return locks.is_locked(folder / _NAME)
