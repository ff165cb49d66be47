"""Files: atomic and durable writing; reading of text, JSON and TOML with bounds, and errors that name the file.

A temporary file is locked by its writer for as long as it is written. One that nobody holds was left by a killed
process; the first write of a process into a folder removes those.
"""

import fcntl
import functools
import json
import math
import os
import re
import secrets
import stat
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Literal

from lethe.common.errors import Damaged, InputError

MAX_TEXT = 1 << 26
"""Bytes of a text or JSON file: 64 MiB."""
MAX_TOML = 1 << 20
"""Bytes of a TOML file, which users write by hand: 1 MiB."""
MAX_DEPTH = 64
"""Lists and tables within each other."""
MAX_DIGITS = 40
"""Digits of a whole number in a JSON or TOML file."""

_FLAGS = {"rb": os.O_RDONLY, "wb": os.O_WRONLY | os.O_CREAT, "ab": os.O_WRONLY | os.O_CREAT | os.O_APPEND}
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{16}\.tmp", re.DOTALL)


@contextmanager
def atomic_write(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block ends well, rename it to `path`.

    A reader sees the old file or the whole new one, after a power cut as well: content and name are on the disk when
    the block has ended. Without `durable`, which saves the milliseconds that the disk takes, a power cut may leave an
    empty file: for images, whose damage is told when they are decoded, and for what will be written again.

    An error in the block removes the temporary file. A full disk or a read-only folder becomes an `InputError` that
    names the file.
    """
    held = -1
    temporary = path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path.parent.absolute())
        held, temporary = _held_temporary(path)
        yield temporary
        if durable:
            to_disk(temporary)
        temporary.replace(path)
        if durable:
            to_disk(path.parent)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        if held >= 0:
            with suppress(OSError):  # gone after a rename
                temporary.unlink()
            os.close(held)


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Write `text` to `path` in UTF-8, atomically; `durable` as for `atomic_write`."""
    with atomic_write(path, durable=durable) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def to_disk(path: Path) -> None:
    """Return when the content of the file, or the names in the folder, at `path` would survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_there(path: Path) -> bool:
    """Whether there is something at `path`: a link as well that leads nowhere, which is not the same as nothing."""
    return os.path.lexists(path)


def open_regular(path: Path, mode: Literal["rb", "wb", "ab"] = "rb", *, links: bool = True) -> IO[bytes]:
    """Open a regular file, never waiting as for the writer of a pipe; an `InputError` says what else it is.

    Without `links`, a symbolic link is refused; its target is neither made nor emptied.
    """
    doing = "read" if mode == "rb" else "written"
    flags = _FLAGS[mode] | os.O_NONBLOCK | os.O_CLOEXEC | (0 if links else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags, 0o666)
    except (OSError, ValueError) as error:  # a name with a NUL byte is a ValueError
        if not links and path.is_symlink():
            raise InputError(
                f"{path}: is a symbolic link: remove it, so that a file can be made there"
            ) from None
        raise InputError(f"{path}: cannot be {doing}: {getattr(error, 'strerror', error)}") from error
    kind = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(kind):
        os.close(descriptor)
        what = "a folder" if stat.S_ISDIR(kind) else "a pipe or a device"
        raise InputError(f"{path}: cannot be {doing}: expected a file, got {what}")
    if mode == "wb":
        os.ftruncate(descriptor, 0)
    return os.fdopen(descriptor, mode)


def read_bytes(path: Path, limit: int = MAX_TEXT) -> bytes:
    """The content of a regular file; `InputError` if it cannot be read or has more than `limit` bytes."""
    with open_regular(path) as file:
        try:
            content = file.read(limit + 1)
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    if len(content) > limit:
        raise InputError(f"{path}: expected at most {limit} bytes, got more: it is no file of this kind")
    return content


def read_text(path: Path, limit: int = MAX_TEXT) -> str:
    """The content of a user's text file; `InputError` if it cannot be read or is not UTF-8."""
    try:
        return read_bytes(path, limit).decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is no UTF-8 text (byte {error.start})") from None


def read_json(path: Path, remedy: str = "delete its folder to make it again") -> dict[str, Any]:
    """The object in a JSON file that this project wrote; `Damaged` with the `remedy` if it is damaged.

    Numbers are finite and have at most `MAX_DIGITS` digits; nothing is nested deeper than `MAX_DEPTH`.
    """
    try:
        content = parse_json(read_text(path))
    except InputError as error:
        # The path is said once; the system's error stays the cause.
        told = str(error).removeprefix(f"{path}: ")
        raise Damaged(f"{path}: damaged ({told}): {remedy}") from error.__cause__
    except ValueError as error:
        raise Damaged(f"{path}: damaged ({error}): {remedy}") from None
    if not isinstance(content, dict):
        raise Damaged(f"{path}: expected a JSON object: {remedy}")
    return content


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text, within the bounds of `read_json`; `ValueError` where it is no such text."""
    try:
        content = json.loads(text, parse_int=_whole, parse_float=_finite, parse_constant=_finite)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    _check_depth(content)
    return content


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a user's TOML file; `InputError` in one sentence if it is none, within the bounds above."""
    return parse_toml(path, read_text(path, MAX_TOML))


def parse_toml(path: Path, text: str) -> dict[str, Any]:
    """The content of the TOML `text` of the file at `path`; errors as those of `read_toml`."""
    try:
        content = tomllib.loads(text)
        _check_depth(content)
    except RecursionError:
        raise InputError(f"{path}: is not valid TOML: {_TOO_DEEP}") from None
    except ValueError as error:  # a TOMLDecodeError, or a number that has too many digits
        told = "a number has too many digits" if "integer string conversion" in str(error) else error
        raise InputError(f"{path}: is not valid TOML: {told}") from None
    return content


_TOO_DEEP = f"it is nested deeper than {MAX_DEPTH} levels"


def _whole(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:MAX_DIGITS]} is not finite")
    return value


def _check_depth(content: object) -> None:
    """`ValueError` where lists and dictionaries are nested too deep, or a whole number is too long.

    Level by level: what came is deep enough to exhaust the stack.
    """
    level = [content]
    for _ in range(MAX_DEPTH + 1):
        if not level:
            return
        below: list[object] = []
        for item in level:
            if isinstance(item, dict):
                below += item.values()
            elif isinstance(item, list):
                below += item
            elif isinstance(item, int) and abs(item) >= 10**MAX_DIGITS:
                raise ValueError(f"a number of more than {MAX_DIGITS} digits")
        level = below
    raise ValueError(_TOO_DEEP)


def _held_temporary(path: Path) -> tuple[int, Path]:
    """A new file beside `path`, locked until its descriptor is closed, and its path."""
    while True:
        # No process number: two containers that share the folder may have the same.
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
        descriptor = os.open(
            temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666
        )
        try:
            with suppress(OSError):  # no locks on this file system: nothing is removed there either
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:  # else removed before it was locked
                return descriptor, temporary
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


@functools.lru_cache(maxsize=4096)
def _remove_abandoned(folder: Path) -> None:
    """Remove the temporary files in `folder` that no process holds; once per process and folder."""
    for path in folder.iterdir():
        if _TEMPORARY.fullmatch(path.name) is None:
            continue
        with suppress(OSError, InputError), open_regular(path, "ab", links=False) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
