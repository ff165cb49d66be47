"""Ways to damage a file, each with a name; drawn with fixed seeds."""

import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

Damage = Callable[[Path], object]
DEEP = "[" * 100_000 + "]" * 100_000
WRONG: dict[str, object] = {
    "null": None,
    "text": "\x1b[31mred",
    "list": [[[]]],
    "object": {"x": {}},
    "-1": -1,
    "true": True,
    "1e300": 1e300,
    "5000": 5000,
    "0.5": 0.5,
    "big": 10**30,
}


def _in_place_of(make: Callable[[Path], object]) -> Damage:
    def damage(path: Path) -> None:
        path.unlink()
        make(path)

    return damage


KINDS: dict[str, Damage] = {
    "emptied": lambda path: path.write_bytes(b""),
    "NUL bytes": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "one NUL more": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "no UTF-8": lambda path: path.write_bytes(b"\xff\xfe" + path.read_bytes()),
    "pipe": _in_place_of(os.mkfifo),
    "folder": _in_place_of(Path.mkdir),
    "link loop": _in_place_of(lambda path: path.symlink_to(path.name)),
    "link to a device": _in_place_of(lambda path: path.symlink_to("/dev/zero")),
    "no rights": lambda path: path.chmod(0),
    "another file": lambda path: path.write_text("\x1b[2J" + "garbage,\n" * 50),
    "deep": lambda path: path.write_text(DEEP),
    "deep object": lambda path: path.write_text('{"a":' * 50_000 + "1" + "}" * 50_000),
    "5000 digits": lambda path: path.write_text('{"format": ' + "9" * 5000 + "}"),
    "a list": lambda path: path.write_text("[]"),
    "an empty object": lambda path: path.write_text("{}"),
}


def truncated(share: float) -> Damage:
    """The first `share` of the file."""
    return lambda path: os.truncate(path, int(share * path.stat().st_size))


def flipped(seed: int) -> Damage:
    """One bit of the file is another."""

    def damage(path: Path) -> None:
        content = bytearray(path.read_bytes())
        draw = random.Random(seed)
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(content)

    return damage


def keys(content: object, inside: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path of each value in a JSON value; of lists, that of the first."""
    items = (
        content.items()
        if isinstance(content, dict)
        else enumerate(content[:1])
        if isinstance(content, list)
        else ()
    )
    for key, value in items:
        yield (*inside, key)
        yield from keys(value, (*inside, key))


def edited(change: Callable[[object], object]) -> Damage:
    """The JSON file with a change of its content."""

    def damage(path: Path) -> None:
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return damage


def without(key: tuple[str | int, ...]) -> Damage:
    """The JSON file without a value."""

    def change(content: object) -> None:
        *inside, last = key
        for part in inside:
            content = content[part]
        del content[last]

    return edited(change)


def replaced(key: tuple[str | int, ...], value: object) -> Damage:
    """The JSON file with another value."""

    def change(content: object) -> None:
        *inside, last = key
        for part in inside:
            content = content[part]
        content[last] = value

    return edited(change)
