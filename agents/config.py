"""Hyperparameters: a frozen dataclass per agent, from which the command line and grid files are derived."""

import dataclasses
import math
import operator
import types
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, get_args, get_type_hints

from lethe.common.errors import InputError, unknown
from lethe.common.imports import told

MAX_WHOLE = 2**63 - 1
"""The largest whole number of a setting, as that of a tensor's."""


def setting(
    default: Any,
    help: str,
    *,
    above: float | None = None,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] | None = None,
) -> Any:
    """A field of a `Config`: its default, one sentence, and its range (`above` exclusive, `low`, `high` inclusive)."""
    limits = {"above": above, "low": low, "high": high, "choices": choices}
    return dataclasses.field(default=default, metadata={"help": help, **limits})


@dataclass(frozen=True)
class Config:
    """Settings of every agent: batches and passes of the loop."""

    batch_size: int = setting(10, "Images of one mini-batch of the stream.", low=1)
    batch_size_first_task: int | None = setting(
        None, "Mini-batch size in the first task; batch_size where it is none.", low=1
    )
    epochs: int = setting(1, "Passes over each task; 1 is stream learning.", low=1)
    epochs_first_task: int | None = setting(None, "Passes over the first task, where it differs.", low=1)

    @classmethod
    def from_settings(cls, settings: Mapping[str, object]) -> Self:
        """The configuration with `settings` (text from a command line, or typed values) over the defaults.

        An unknown key, a value of the wrong type or out of range is an `InputError`, which lists all problems.
        """
        fields = {field.name: field for field in dataclasses.fields(cls)}
        hints = cls.types()
        values: dict[str, Any] = {}
        problems: list[str] = []
        for key, value in settings.items():
            try:
                if key not in fields or key not in hints:
                    raise unknown("hyperparameter", key, fields)
                values[key] = _checked(fields[key], _typed(key, value, hints[key]))
            except InputError as error:
                problems += error.problems
        if problems:
            raise InputError(*problems)
        try:
            return cls(**values)
        except InputError:
            raise
        except Exception as error:  # a check of a user's own, or a class that is no dataclass
            raise InputError(f"{cls.__name__}: cannot be made: {told(error)}") from error

    @classmethod
    def types(cls) -> dict[str, Any]:
        """The type of each setting; `InputError` where an annotation cannot be read."""
        try:
            return get_type_hints(cls)
        except Exception as error:  # a name that an annotation has and its module has not
            raise InputError(f"{cls.__name__}: its types cannot be read: {told(error)}") from error

    def notes(self) -> tuple[str, ...]:
        """Remarks, a sentence each, on values that are allowed and rarely meant; told once, before learning."""
        return ()

    def epochs_of(self, task: int) -> int:
        """Passes over task number `task`."""
        return self.epochs if task or self.epochs_first_task is None else self.epochs_first_task

    def batch_size_of(self, task: int) -> int:
        """Images of a mini-batch in task number `task`."""
        return self.batch_size if task or self.batch_size_first_task is None else self.batch_size_first_task


OPTIMIZERS = ("sgd", "adam", "adamw", "adamax")
SCHEDULES = ("constant", "step", "cosine")


@dataclass(frozen=True)
class SGDConfig(Config):
    """An agent that learns by stochastic gradient descent."""

    lr: float = setting(1e-4, "Learning rate.", above=0)
    momentum: float = setting(
        0.9, "Momentum of SGD; β1 of the other optimisers, below 1 there.", low=0, high=1
    )
    weight_decay: float = setting(
        1e-4, "L2 penalty on all trained parameters; of adamw the decoupled weight decay.", low=0
    )
    optimizer: str = setting("sgd", "Optimiser, as PyTorch has it.", choices=OPTIMIZERS)
    schedule: str = setting(
        "constant",
        "Learning rate over the run's optimiser steps: constant, falling in steps, or along a cosine.",
        choices=SCHEDULES,
    )
    schedule_steps: int = setting(
        1000, "Optimiser steps between two falls (step), or until the last rate (cosine).", low=1
    )
    schedule_factor: float = setting(
        0.1, "Factor of each fall (step), or the last rate as a share of lr (cosine).", low=0, high=1
    )


_WORDS = {"true": True, "false": False}


def _typed(key: str, value: object, hint: Any) -> object:
    """`value` as the type that `hint` names: int, float, bool or str, or one of these or None."""
    kind = hint
    if isinstance(hint, types.UnionType):
        if value is None or value == "none":
            return None
        kind = next(option for option in get_args(hint) if option is not types.NoneType)
    wrong = InputError(f"{key}: expected {getattr(hint, '__name__', hint)}, got {value!r}")
    if isinstance(value, str) and kind is not str:
        try:
            return _WORDS[value.lower()] if kind is bool else kind(value)
        except (KeyError, TypeError, ValueError):
            raise wrong from None
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise wrong
    return value


def _checked(field: dataclasses.Field[Any], value: object) -> object:
    """`value` if it is in the field's range."""
    limits = defaultdict(lambda: None, field.metadata)  # a field of a user's own may be a plain one
    if limits["choices"] is not None and value not in limits["choices"]:
        raise unknown(f"value of {field.name}", str(value), limits["choices"])
    if not isinstance(value, int | float):
        return value
    if isinstance(value, int) and abs(value) > MAX_WHOLE:
        raise InputError(
            f"{field.name}: expected a number of at most {MAX_WHOLE}, got one of {len(str(value))} digits"
        )
    if not math.isfinite(value):
        raise InputError(f"{field.name}: expected a finite number, got {value}")
    for bound, holds, words in (
        ("above", operator.gt, "more than"),
        ("low", operator.ge, "at least"),
        ("high", operator.le, "at most"),
    ):
        if limits[bound] is not None and not holds(value, limits[bound]):
            raise InputError(f"{field.name}: expected {words} {limits[bound]}, got {value}")
    return value
