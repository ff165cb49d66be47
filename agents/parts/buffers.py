"""Replay buffers: what was seen, kept in tensors on the device within a budget of inputs.

All of them draw on the CPU from the agent's generator, so that no draw waits for the device, and keep inputs
in the dtype in which they came.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lethe.agents.parts.device import to_device
from lethe.common.errors import InputError


class Buffer:
    """At most `capacity` rows: an input, its label, and what else came with them, in one tensor each.

    Subclasses have a method `add`, which is offered rows and decides which are kept.
    """

    def __init__(self, capacity: int, generator: torch.Generator, device: torch.device):
        self.capacity = capacity
        self.generator = generator
        self.device = device
        self.added = 0
        self._columns: list[Tensor] = []

    def __len__(self) -> int:
        return min(self.added, self.capacity)

    def sample(self, count: int) -> tuple[Tensor, ...]:
        """`count` stored inputs [N, ...], labels [N] and so on, without replacement; all, if fewer are stored."""
        return self._sample(0, len(self), count)

    def memory_bytes(self) -> int:
        """Bytes of what is stored."""
        return sum(column[: len(self)].nbytes for column in self._columns)

    def state_dict(self) -> dict[str, object]:
        """The stored rows, and how many were ever added; the generator belongs to the agent."""
        columns = {number: column[: len(self)] for number, column in enumerate(self._columns)}
        return {"added": self.added, "columns": columns}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict()`."""
        self.added = state["added"]
        saved = [state["columns"][number] for number in range(len(state["columns"]))]
        self._allocate(saved)
        for column, rows in zip(self._columns, saved, strict=True):
            column[: len(rows)] = rows.to(self.device)

    def _allocate(self, like: list[Tensor]) -> None:
        # One row more than is kept: a place to write what is not kept, where choosing would wait for the device.
        self._columns = []
        for tensor in like:
            shape = (self.capacity + 1, *tensor.shape[1:])
            layout = torch.channels_last if tensor.ndim == 4 else torch.contiguous_format
            self._columns.append(
                torch.empty(shape, dtype=tensor.dtype, device=self.device, memory_format=layout)
            )

    def _write(self, places: Tensor | slice, rows: list[Tensor]) -> None:
        if not self._columns:
            self._allocate(rows)
        for column, values in zip(self._columns, rows, strict=True):
            column[places] = values

    def _offer(self, first: int, rows: list[Tensor]) -> None:
        """Offer `rows` to the reservoir that lies from place `first` on, `added` having been offered to it before."""
        room, count = self.capacity - first, len(rows[0])
        if self.added + count <= room:  # all stay, in one piece, and nothing need be drawn
            start = first + self.added
            self._write(slice(start, start + count), rows)
        else:
            stay, places = reservoir_places(self.added, count, room, self.generator)
            stay, places = to_device(stay, self.device), to_device(first + places, self.device)
            self._write(places, [take(column, stay) for column in rows])
        self.added += count

    def _sample(self, first: int, end: int, count: int) -> tuple[Tensor, ...]:
        """`count` of the rows `first` .. `end` - 1, or all of them in their order."""
        if first >= end:
            raise ValueError("nothing has been added yet: check len(buffer) first")
        if count >= end - first:
            return tuple(column[first:end] for column in self._columns)
        drawn = torch.randperm(end - first, generator=self.generator)[:count]
        rows = to_device(first + drawn, self.device)
        return tuple(take(column, rows) for column in self._columns)


def take(tensor: Tensor, rows: Tensor) -> Tensor:
    """`tensor`[`rows`] for rows [N]: images come in channels_last, each copied in one piece if they lay so."""
    if tensor.ndim != 4:
        return tensor.index_select(0, rows)
    return tensor.permute(0, 2, 3, 1).index_select(0, rows).permute(0, 3, 1, 2)


def reservoir_places(
    added: int, count: int, capacity: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Algorithm R (Vitter 1985): which of `count` new rows stay, [N], and their places in the reservoir, [N].

    `added` rows were offered before. Both are int64 on the CPU; each place occurs once.
    """
    last = {}
    for row, draw in enumerate(torch.rand(count, generator=generator, dtype=torch.float64).tolist()):
        # The i-th row ever (from 0) goes to a place drawn from 0..i; while there is room, to the next free one.
        number = added + row
        place = number if number < capacity else int(draw * (number + 1))
        if place < capacity:
            last[place] = row
    rows, places = torch.tensor([list(last.values()), list(last)], dtype=torch.int64)
    return rows, places


class ReservoirBuffer(Buffer):
    """A uniform sample of everything added so far, at most `capacity` rows.

    After n additions each of the n rows is kept with probability min(1, capacity / n).
    """

    def add(self, x: Tensor, y: Tensor, *more: Tensor) -> None:
        """Offer inputs [B, ...], labels [B] and whatever shall be kept with them, [B, ...] each."""
        self._offer(0, [x, y, *more])


class BalancedBuffer(Buffer):
    """Equal shares of `capacity` for all labels, and of each label a uniform sample of what was added.

    Each input draws a key from U(0, 1); of each label the inputs with the smallest keys stay, as many as its
    share allows (bottom-k sampling). Shares differ by at most one; what a rare label leaves free, the others
    share. As labels come, shares only shrink, so that nothing that was dropped would be wanted again.
    """

    def add(self, x: Tensor, y: Tensor) -> None:
        """Offer inputs [B, ...] and labels [B]; labels are never looked at outside the device."""
        stored = len(self)
        keys = to_device(torch.rand(len(y), generator=self.generator, dtype=torch.float64), self.device)
        if not self._columns:
            self._allocate([x, y, keys])
        _, old_labels, old_keys = (column[:stored] for column in self._columns)
        self.added += len(y)
        order = fair_order(torch.cat([old_labels, y]), torch.cat([old_keys, keys]))
        stays = torch.zeros(len(order), dtype=torch.bool, device=self.device)
        stays[order[: len(self)]] = True
        # Kept newcomers take the places that are free, in order; the others are written to the spare row.
        taken = torch.zeros(len(self), dtype=torch.uint8, device=self.device)
        taken[:stored] = stays[:stored]
        free_places = taken.argsort(stable=True)
        newcomers = stays[stored:]
        places = torch.where(newcomers, free_places[newcomers.cumsum(0) - 1], self.capacity)
        self._write(places, [x, y, keys])

    def sample(self, count: int) -> tuple[Tensor, ...]:
        """`count` stored inputs [N, ...] and labels [N], without replacement; all, if fewer are stored."""
        return super().sample(count)[:2]


def fair_order(labels: Tensor, keys: Tensor) -> Tensor:
    """Rows [N] such that every beginning holds equal shares of all labels, the smallest keys of each.

    First comes the smallest key of each label, then the second smallest of each, and so on.
    """
    by_key = keys.argsort()
    order = by_key[labels[by_key].argsort(stable=True)]
    in_order = labels[order]
    rank = torch.arange(len(order), device=order.device) - torch.searchsorted(in_order, in_order)
    return order[rank.argsort(stable=True)]


def check_shares(memory_size: int, classes: int) -> None:
    """`InputError` where `memory_size`, shared among `classes` labels, leave some label without any."""
    if memory_size < classes:
        raise InputError(
            f"memory_size: expected at least {classes}, one for each class, got {memory_size}: "
            f"set memory_size={classes} or more"
        )


class EpisodicMemory(Buffer):
    """Equal shares of `capacity` for all tasks, and of each a uniform sample.

    The rows of earlier tasks lie one task after the other, `sizes` of each; behind them lies a reservoir of
    the current task. A new task shrinks the earlier ones, so that the budget holds at every moment.
    """

    def __init__(self, capacity: int, generator: torch.Generator, device: torch.device):
        super().__init__(capacity, generator, device)
        self.sizes: list[int] = []

    @property
    def past(self) -> int:
        """The number of rows of earlier tasks."""
        return sum(self.sizes)

    def __len__(self) -> int:
        return self.past + min(self.added, self.capacity - self.past)

    def add(self, x: Tensor, y: Tensor) -> None:
        """Offer inputs [B, ...] and labels [B] of the current task."""
        self._offer(self.past, [x, y])

    def next_task(self) -> None:
        """The current task becomes an earlier one; all earlier ones make room for a new one."""
        sizes = [*self.sizes, len(self) - self.past]
        share = self.capacity // (len(sizes) + 1)
        starts = [sum(sizes[:task]) for task in range(len(sizes))]
        kept = torch.cat([
            start + torch.randperm(size, generator=self.generator)[:share]
            for start, size in zip(starts, sizes, strict=True)
        ]).to(self.device)  # fmt: skip
        for column in self._columns:
            column[: len(kept)] = column[kept]
        self.sizes = [min(size, share) for size in sizes]
        self.added = 0

    def sample_past(self, count: int) -> tuple[Tensor, ...]:
        """`count` inputs and labels of earlier tasks; all, if fewer are stored."""
        return self._sample(0, self.past, count)

    def of_task(self, task: int, count: int) -> tuple[Tensor, ...]:
        """`count` inputs and labels of an earlier task; all, if fewer are stored."""
        first = sum(self.sizes[:task])
        return self._sample(first, first + self.sizes[task], count)

    def state_dict(self) -> dict[str, object]:
        """The stored rows, and how they belong to tasks."""
        return {**super().state_dict(), "sizes": list(self.sizes)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict()`."""
        self.sizes = list(state["sizes"])
        super().load_state_dict(state)
