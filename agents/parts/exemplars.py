"""Exemplars that are chosen at the end of a task: their numbers, and their images out of a task's batches."""

from collections.abc import Iterable

import torch
from torch import Tensor


def shares(memory_size: int, classes: int) -> list[int]:
    """Exemplars of each of `classes` classes: equal up to one, `memory_size` together."""
    each, rest = divmod(memory_size, classes)
    return [each + (number < rest) for number in range(classes)]


def gather(batches: Iterable[tuple[Tensor, Tensor]], rows: Tensor) -> Tensor:
    """The inputs [N, ...] of `rows` [N], numbered through all batches."""
    parts, places, low = [], [], 0
    for x, _ in batches:
        inside = ((rows >= low) & (rows < low + len(x))).nonzero().squeeze(1)
        parts.append(x[rows[inside] - low])
        places.append(inside)
        low += len(x)
    return torch.cat(parts)[torch.cat(places).argsort()]
