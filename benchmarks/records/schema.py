"""What the records of trials and runs hold: keys, types and ranges, checked whenever a record is read.

A record may hold more than is said here. A key marked with `Maybe` may be absent or null.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lethe.common.errors import Damaged
from lethe.common.files import read_json

REMEDY = "delete its folder to make it again"


class Kind(Protocol):
    """A kind of value."""

    def check(self, value: object, where: str) -> None:
        """`ValueError` if `value`, found at `where`, is not of the kind."""


@dataclass(frozen=True)
class Number:
    """A finite number from `low` to `high`; a whole one if `whole`."""

    low: float = -math.inf
    high: float = math.inf
    whole: bool = False
    undefined: bool = False
    """Whether NaN is allowed."""

    def check(self, value: object, where: str) -> None:
        """`ValueError` if `value` is no such number."""
        if self.undefined and isinstance(value, float) and math.isnan(value):
            return
        number = isinstance(value, int if self.whole else int | float) and not isinstance(value, bool)
        if not (number and self._holds(value)):
            raise ValueError(f"{where}: expected {self}, got {_shown(value)}")

    def _holds(self, value: Any) -> bool:
        return math.isfinite(value) and self.low <= value <= self.high

    def __str__(self) -> str:
        name = "a whole number" if self.whole else "a number"
        if math.isfinite(self.high):
            return f"{name} from {self.low:g} to {self.high:g}"
        return f"{name} of at least {self.low:g}" if math.isfinite(self.low) else name


@dataclass(frozen=True)
class Text:
    """A text; one of `choices` if there are any."""

    choices: tuple[str, ...] = ()

    def check(self, value: object, where: str) -> None:
        """`ValueError` if `value` is no such text."""
        if not isinstance(value, str) or (self.choices and value not in self.choices):
            expected = f"one of {', '.join(self.choices)}" if self.choices else "a text"
            raise ValueError(f"{where}: expected {expected}, got {_shown(value)}")


@dataclass(frozen=True)
class Flag:
    """True or false."""

    def check(self, value: object, where: str) -> None:
        """`ValueError` if `value` is neither."""
        if not isinstance(value, bool):
            raise ValueError(f"{where}: expected true or false, got {_shown(value)}")


@dataclass(frozen=True)
class Plain:
    """A value of a setting: text, number, true, false or null."""

    def check(self, value: object, where: str) -> None:
        """`ValueError` if `value` is nested."""
        if isinstance(value, list | dict):
            raise ValueError(f"{where}: expected a plain value, got {_shown(value)}")


@dataclass(frozen=True)
class Maybe:
    """A value of a kind, null, or nothing."""

    kind: Kind

    def check(self, value: object, where: str) -> None:
        """`ValueError` if `value` is neither null nor of the kind."""
        if value is not None:
            self.kind.check(value, where)


@dataclass(frozen=True)
class List:
    """A list of `low` or more values of one kind."""

    kind: Kind
    low: int = 0

    def check(self, value: object, where: str) -> None:
        """`ValueError` if `value` is no such list."""
        if not isinstance(value, list) or len(value) < self.low:
            raise ValueError(
                f"{where}: expected a list{' with values' * bool(self.low)}, got {_shown(value)}"
            )
        for number, item in enumerate(value):
            self.kind.check(item, f"{where}[{number}]")


@dataclass(frozen=True)
class Table:
    """An object with these `keys`, and others of the kind `rest`, if that is given."""

    keys: Mapping[str, Kind]
    rest: Kind | None = None

    def check(self, value: object, where: str) -> None:
        """`ValueError` if `value` is no such object."""
        if not isinstance(value, Mapping):
            raise ValueError(f"{where or 'it'}: expected an object, got {_shown(value)}")
        for key, kind in self.keys.items():
            name = f"{where}.{key}" if where else key
            if key in value:
                kind.check(value[key], name)
            elif not isinstance(kind, Maybe):
                raise ValueError(f"{name} is missing")
        if self.rest is not None:
            for key in value.keys() - self.keys.keys():
                self.rest.check(value[key], f"{where}.{key}" if where else key)


COUNT = Number(0, 1 << 62, whole=True)
PERCENT = Number(0, 100)
_AMOUNT = Number(0)
_DIFFERENCE = Number(-100, 100)

_METRICS = Table(
    {
        "accuracy_mean": PERCENT,
        "accuracy_last": PERCENT,
        "first_task_mean": PERCENT,
        "first_task_last": PERCENT,
        "forgetting": Maybe(_DIFFERENCE),
        "backward_transfer": Maybe(_DIFFERENCE),
        "top5_last": Maybe(PERCENT),
        "top5_mean": Maybe(PERCENT),
        "memory_bytes": COUNT,
        "images_per_second": _AMOUNT,
        "seconds": _AMOUNT,
        "wall_seconds": _AMOUNT,
        **dict.fromkeys(("network_bytes", "optimizer_bytes", "data_bytes", "total_bytes"), Maybe(COUNT)),
        **dict.fromkeys(("stream_images", "passes", "passes_first_task"), Maybe(_AMOUNT)),
        **dict.fromkeys(("learn_flops", "predict_flops"), Maybe(_AMOUNT)),
        **dict.fromkeys(("learn_seconds_per_image", "trunk_seconds_per_image"), Maybe(_AMOUNT)),
    },
    rest=Maybe(Number()),
)

_CONDITIONS = Table(
    {
        "load_average": Maybe(_AMOUNT),
        "cores": Maybe(Number(1, 1 << 20, whole=True)),
        "threads": Maybe(Number(1, 1 << 20, whole=True)),
        "cpu": Maybe(Text()),
        "instruction_sets": Maybe(Table({}, rest=Text())),
    }
)

_APPENDED = Table({}, rest=List(COUNT, low=2))
"""Length and CRC-32 of files by name."""

SUMMARY = Table(
    {
        "metrics": _METRICS,
        "classes_seen": List(Number(1, 1 << 31, whole=True), low=1),
        "images": Maybe(COUNT),
        "images_again": Maybe(COUNT),
        "steps": Maybe(COUNT),
        "classes": Maybe(List(Text(), low=1)),
        "group_images": Maybe(List(COUNT, low=1)),
        "appended": Maybe(_APPENDED),
        "run": Maybe(COUNT),
        "lists": Maybe(Text()),
        "software": Maybe(List(Table({}))),
        "conditions": Maybe(List(_CONDITIONS)),
        "collapsed": Maybe(Text()),
        "further": Maybe(Table({}, rest=Table({}, rest=Maybe(Number())))),
        "files": Maybe(Table({}, rest=Text())),
        "sha256": Maybe(Text()),
    }
)
"""Of summary.json, which says that a run is finished."""

CONFIG = Table(
    {
        "dataset": Text(),
        "paradigm": Text(),
        "variant": Text(),
        "agent": Text(),
        "settings": Table({}, rest=Plain()),
        "network": Text(),
        "seed": Number(whole=True),
        "split": Text(("test", "validation")),
        "image_size": Maybe(List(Number(1, 1 << 20, whole=True), low=2)),
        "cut": Maybe(Text()),
        "pretrained": Maybe(Flag()),
        "feature_dtype": Maybe(Text()),
        "only_task": Maybe(COUNT),
        "weights": Maybe(Text()),
        "codebooks": Maybe(Number(1, 1 << 16, whole=True)),
    }
)
"""Of config.json, the configuration of a trial."""

ENVIRONMENT = Table(
    {
        "needs": Table(
            dict.fromkeys(("task_boundaries", "task_data", "frozen_trunk", "offline"), Flag()), rest=Flag()
        ),
        "device": Maybe(Text()),
        "device_name": Maybe(Text()),
        "threads": Maybe(Number(1, 1 << 20, whole=True)),
        "portable": Maybe(Flag()),
        "instruction_sets": Maybe(Table({}, rest=Text())),
        "torch": Maybe(Text()),
        "protocol": Maybe(Table({})),
        "dirmap": Maybe(Text()),
        "images": Maybe(Text()),
        "weights": Maybe(Text()),
        "store": Maybe(Text()),
        "pretraining": Maybe(Text()),
        "versions": Maybe(Table({}, rest=Maybe(Text()))),
    }
)
"""Of env.json, the environment of a trial's runs."""

FAILURE = Table({"reason": Text(), "log": List(Text())})
"""Of failed.json."""

_UNDEFINED_TOO = Number(0, 100, undefined=True)
_ACCURACIES: dict[str, Kind] = {
    "rows": List(List(_UNDEFINED_TOO, low=2)),
    "top5": List(Maybe(PERCENT)),
    "groups_top5": List(Maybe(List(_UNDEFINED_TOO, low=1))),
}

CHECKPOINT = Table(
    {
        "identity": Table({}),
        "position": List(COUNT, low=3),
        **_ACCURACIES,
        "steps": COUNT,
        "images": COUNT,
        "seconds": _AMOUNT,
        "wall_seconds": _AMOUNT,
        "log_bytes": COUNT,
        "log_crc32": COUNT,
        "images_again": COUNT,
        "collapses": List(Text()),
        "appended": _APPENDED,
        "further": Table({}, rest=Table(_ACCURACIES)),
        "software": Maybe(List(Table({}))),
        "conditions": List(_CONDITIONS),
        "flops": Table({"total": _AMOUNT, "steps": Table({}, rest=List(COUNT, low=3))}),
        "agent": Table({}),
    }
)
"""Of the state in a checkpoint."""


def read_checked(path: Path, table: Table, remedy: str = REMEDY) -> dict[str, Any]:
    """The content of the JSON file at `path`; `Damaged` with the `remedy` if it is not as `table` has it."""
    content = read_json(path, remedy)
    check(path, content, table, remedy)
    return content


def check(path: Path, content: Mapping[str, Any], table: Table, remedy: str = REMEDY) -> None:
    """`Damaged` if the `content` of the record at `path` is not as `table` has it."""
    try:
        table.check(content, "")
    except ValueError as error:
        raise Damaged(f"{path}: damaged ({error}): {remedy}") from None


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
