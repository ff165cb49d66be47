"""Default folders, relative to the folder in which a command is given."""

from pathlib import Path

DATA = Path("data")
"""A folder per dataset, and `stores`, the decoded images and features of all."""
LISTS = DATA / "lists"
"""Dirmaps and task lists."""


def is_file(path: Path) -> bool:
    """Whether there is a regular file at `path`; False for a name that no file can have, such as one too long."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
