"""Exclusive locks on files: between processes, released by the system when their owner ends, however it ends.

A lock file is never written to, and never opened through a symbolic link. It stays where it is: removing it would let
two processes hold "the" lock, on two files of one name.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from lethe.common.errors import InputError


class Locked(InputError):
    """Another process has the lock."""


def lock(path: Path, of: Path, told: str) -> IO[bytes]:
    """Take the lock file at `path`, made with its folders if absent, until the returned file is closed.

    Raises `Locked` with "`of`: `told`" if another process has it, and `InputError`, named after `of` as well, if the
    file cannot be made.
    """
    with _refusals_of(of):
        file = _opened(path)
    if not take(file, wait=False):
        file.close()
        raise Locked(f"{of}: {told}")
    return file


@contextmanager
def only_writer(path: Path, of: Path) -> Iterator[None]:
    """Wait for the lock file at `path` and hold it during the block.

    An `OSError` of the lock or of the block, such as a full disk, becomes an `InputError` that names `of`.
    """
    with _refusals_of(of), _opened(path) as file:
        take(file, wait=True)
        yield


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock file at `path`; False if there is none, or it cannot be read."""
    try:
        with open(path, "rb", opener=_without_links) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # `lock` will say why
        return False
    return False


def take(file: IO[Any], *, wait: bool) -> bool:
    """Lock an open file until it is closed; False if another process has it and `wait` is not set."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


@contextmanager
def _refusals_of(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror or error}") from error


def _opened(path: Path) -> IO[bytes]:
    """The file at `path`, open for writing without being emptied."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return open(path, "ab", opener=_without_links)


def _without_links(path: str, flags: int) -> int:
    try:
        return os.open(path, flags | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, f"its lock {path} is a symbolic link: remove the link") from None
        raise
