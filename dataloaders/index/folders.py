"""Default folders, relative to the folder in which a command is given."""

from pathlib import Path

from lethe.common.errors import InputError

DATA = Path("data")
"""A folder per dataset, and `stores`, the decoded images and features of all."""
LISTS = DATA / "lists"
"""Dirmaps and task lists."""

_SHOWN = 100  # signs of a path


def usable(path: Path) -> Path:
    """`path`; `InputError` if nothing can be there, because a name in it is too long or a link leads in a circle."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass  # told by what reads or makes it
    except (OSError, ValueError) as error:
        shown = str(path) if len(str(path)) <= _SHOWN else f"{str(path)[:_SHOWN]}..."
        told = getattr(error, "strerror", error)
        raise InputError(f"{shown}: cannot be a file or folder: {told}; give another one") from None
    return path


def is_file(path: Path) -> bool:
    """Whether there is a regular file at `path`; False for a name that no file can have, such as one too long."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
