"""The order of a dataset's classes in a file: one name a line, every class once."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from lethe.common.errors import InputError, unknown
from lethe.common.files import read_text
from lethe.common.input_problems import first


def read(path: Path) -> tuple[str, ...]:
    """The class names in a file, one a line, without blanks around them; empty lines do not count."""
    names = tuple(line.strip() for line in read_text(path).split("\n") if line.strip())
    if not names:
        raise InputError(f"{path}: names no class: expected one a line, every class once")
    return names


def faults(order: Sequence[str], classes: Sequence[str]) -> str:
    """The differences between `order` and `classes`, each once in any order, in words; '' if there is none."""
    counts, known = Counter(order), set(classes)
    found = []
    if strange := [name for name in counts if name not in known]:
        found.append(str(unknown("class", strange[0], classes)))
        if others := strange[1:]:
            found.append(f"unknown as well: {', '.join(first(others))}")
    if twice := [name for name, count in counts.items() if count > 1]:
        found.append(f"there more than once: {', '.join(first(twice))}")
    if missing := [name for name in classes if name not in counts]:
        found.append(f"missing: {', '.join(first(missing))}")
    return "; ".join(found)
