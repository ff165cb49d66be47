"""Line numbers of the keys of a grid file, which `tomllib` does not give, for error messages."""

import re

_NAME = r"""\s*("[^"]*"|'[^']*'|[\w-]+)\s*"""
_HEADER = re.compile(rf"\s*\[\[?((?:{_NAME}\.)*{_NAME})\]\]?")
_KEY = re.compile(rf"{_NAME}=")


def lines(text: str) -> dict[tuple[str | int, ...], int]:
    """The line of each key by where it stands: (key,), ("agents", agent), ("agents", agent, block, key)."""
    found: dict[tuple[str | int, ...], int] = {}
    table: tuple[str | int, ...] = ()
    blocks: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            table = tuple(name.strip("\"'") for name in re.findall(_NAME, header[1]))
            if table[:1] == ("agents",) and len(table) > 1:
                agent, inner = table[1], table[2:]
                blocks[agent] = blocks.get(agent, -1) + (not inner)
                table = ("agents", agent, max(blocks[agent], 0), *inner)
                found.setdefault(table[:2], number)
            found.setdefault(table, number)
        elif key := _KEY.match(line):
            found.setdefault((*table, key[1].strip("\"'")), number)
    return found
