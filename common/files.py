"""Atomic writing of files, and reading of text and JSON files with errors that name the file."""

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lethe.common.errors import InputError


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block ends well, rename it to `path`.

    A reader sees the old file or the whole new one. An error in the block removes the temporary file;
    a kill leaves it behind under a name that nothing reads. A full disk or a read-only folder becomes an
    `InputError` that names the file.
    """
    # No process number: two containers that share the folder may have the same.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # gone after a rename, or never made for want of its folder
            temporary.unlink()


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` in UTF-8, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def read_text(path: Path) -> str:
    """The content of a user's text file; `InputError` if it cannot be read or is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is no UTF-8 text (byte {error.start})") from None


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file that this project wrote; `InputError` if it is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: damaged ({error}): delete its folder to make it again") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a JSON object: delete its folder to make it again")
    return content
