"""Default folders, relative to the folder in which a command is given."""

from pathlib import Path

DATA = Path("data")
"""A folder per dataset, and `stores`, the decoded images and features of all."""
LISTS = DATA / "lists"
"""Dirmaps and task lists."""
