"""Line numbers of the keys of a grid file, which `tomllib` does not give, for error messages."""

import re

_NAME = r"""\s*("[^"]*"|'[^']*'|[\w-]+)\s*"""
_HEADER = re.compile(rf"\s*\[\[?((?:{_NAME}\.)*{_NAME})\]\]?")
_KEY = re.compile(rf"{_NAME}=")


Where = tuple[str | int, ...]
"""(key,), ("agents", agent), ("agents", agent, block) or ("agents", agent, block, key); blocks count from 0."""


def lines(text: str) -> dict[Where, int]:
    """The line of each key, table and array of tables, from 1."""
    found: dict[Where, int] = {}
    table: Where = ()
    blocks: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            names = tuple(name.strip("\"'") for name in re.findall(_NAME, header[1]))
            table = names
            if names[:1] == ("agents",) and len(names) > 1:
                agent, inner = names[1], names[2:]
                blocks[agent] = blocks.get(agent, -1) + (not inner)
                table = ("agents", agent, max(blocks[agent], 0), *inner)
                found.setdefault(table[:2], number)
            found.setdefault(table, number)
        elif key := _KEY.match(line):
            found.setdefault((*table, key[1].strip("\"'")), number)
    return found
