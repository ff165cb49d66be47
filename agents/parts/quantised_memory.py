"""A memory of quantised feature maps with a budget, which takes from the class that has most."""

import heapq
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lethe.agents.parts.device import free_bytes, to_device
from lethe.agents.parts.draws import different


class CodeMemory:
    """Codes uint8 [N, H, W, M] on the device and their labels; at most `capacity` of them.

    When it is full, a new code takes the place of a random one of the class that has most, the first by label of
    several, which may be the new one itself (Hayes et al. 2020, section 3). Which rows a class has is known on the CPU
    from then on. An addition costs the same whatever is stored, and waits for the device only where a full memory is
    not told the new labels (see `read`).
    """

    def __init__(self, capacity: int, num_classes: int, generator: torch.Generator, device: torch.device):
        self.capacity = capacity
        self.generator = generator
        self.device = device
        self._stored = 0
        self._codes = torch.empty(0, dtype=torch.uint8, device=device)
        self._labels = torch.empty(0, dtype=torch.int64, device=device)
        self._rows: list[list[int]] = [[] for _ in range(num_classes)]
        """The rows of each class; all empty until the memory is full."""
        self._largest: list[tuple[int, int]] = []
        """Heap of (-rows, label); entries of classes that have changed since are out of date."""

    def __len__(self) -> int:
        return self._stored

    def read(self, labels: Tensor) -> list[int] | None:
        """`labels` [B] on the CPU, where `add` will ask for them; None where there is room for all.

        The one wait for the device; where a mini-batch is added code by code, its labels are read once, at its start.
        With mini-batches of one image, a full memory thus waits at each: labels come on the device.
        """
        return None if self._stored + len(labels) <= self.capacity else labels.tolist()

    def add(self, codes: Tensor, labels: Tensor, known: Sequence[int] | None = None) -> None:
        """Offer codes [B, H, W, M] with labels [B], in this order; `known` are the labels on the CPU, or None."""
        free = min(len(codes), self.capacity - self._stored)
        if free:
            rows = slice(self._stored, self._stored + free)
            self._reserve(rows.stop, codes)
            self._codes[rows], self._labels[rows] = codes[:free], labels[:free]
            self._stored = rows.stop
        if free == len(codes):
            return
        if not self._largest:
            self._know_rows()
        rest = (labels.tolist() if known is None else known)[free:]
        for code, label, number in zip(codes[free:], labels[free:], rest, strict=True):
            row = self._give_up(number)
            if row is not None:
                self._codes[row], self._labels[row] = code, label
                self._rows[number].append(row)
                self._changed(number)

    def sample(self, count: int) -> tuple[Tensor, Tensor]:
        """`count` different codes [N, H, W, M] and their labels [N]; all, if fewer are stored."""
        return self.take(to_device(different(count, self._stored, self.generator), self.device))

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The codes [N, H, W, M] and labels [N] of `rows` [N], numbers from 0 to `len` - 1 on the device."""
        return self._codes[rows], self._labels[rows]

    @property
    def labels(self) -> Tensor:
        """The labels [n] of all rows."""
        return self._labels[: self._stored]

    def memory_bytes(self) -> int:
        """Bytes of the codes and labels that are stored, without the index of which rows a class has."""
        return self._stored * _row_bytes(self._codes) if self._stored else 0

    def state_dict(self) -> dict[str, object]:
        """The stored codes and labels; of a full memory also the rows of all classes, class after class."""
        return {
            "codes": self._codes[: self._stored],
            "labels": self._labels[: self._stored],
            "rows": torch.tensor([row for rows in self._rows for row in rows], dtype=torch.int64),
            "counts": torch.tensor(
                [len(rows) for rows in self._rows] if self._largest else [], dtype=torch.int64
            ),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict()`."""
        codes, labels, counts = state["codes"], state["labels"], state["counts"].tolist()
        self._stored = len(codes)
        self._codes, self._labels = self._codes[:0], self._labels[:0]
        if self._stored:
            self._reserve(self._stored, codes)
            self._codes[: self._stored], self._labels[: self._stored] = codes, labels
        known = state["rows"].split(counts) if counts else []
        self._rows = [rows.tolist() for rows in known] or [[] for _ in self._rows]
        self._sort()

    def _know_rows(self) -> None:
        """Note which rows each class has, when the memory has just become full."""
        for row, label in enumerate(self._labels.tolist()):
            self._rows[label].append(row)
        self._sort()

    def _give_up(self, label: int) -> int | None:
        """Free a row for a code of `label`; None if it is the new code that is not kept."""
        while -self._largest[0][0] != len(self._rows[self._largest[0][1]]):
            heapq.heappop(self._largest)
        (negative, largest), own = self._largest[0], len(self._rows[label]) + 1
        if (-own, label) < (negative, largest):
            negative, largest = -own, label
        rows = self._rows[largest]
        victim = int(torch.randint(-negative, (1,), generator=self.generator))
        if victim == len(rows):
            return None
        row, rows[victim] = rows[victim], rows[-1]
        rows.pop()
        self._changed(largest)
        return row

    def _changed(self, label: int) -> None:
        """Note that class `label` has another number of rows."""
        heapq.heappush(self._largest, (-len(self._rows[label]), label))
        if len(self._largest) > 4 * len(self._rows):  # mostly out of date
            self._sort()

    def _sort(self) -> None:
        self._largest = [(-len(rows), label) for label, rows in enumerate(self._rows) if rows]
        heapq.heapify(self._largest)

    def _reserve(self, rows: int, like: Tensor) -> None:
        """Make room for `rows` codes: for all at once where they leave half of what is free, else by doubling."""
        if rows <= len(self._codes):
            return
        whole = self.capacity * _row_bytes(like) < free_bytes(self.device) / 2
        size = self.capacity if whole else min(max(64, rows, 2 * len(self._codes)), self.capacity)
        codes = torch.empty((size, *like.shape[1:]), dtype=torch.uint8, device=self.device)
        labels = torch.empty(size, dtype=torch.int64, device=self.device)
        if len(self._codes):
            codes[: len(self._codes)], labels[: len(self._labels)] = self._codes, self._labels
        self._codes, self._labels = codes, labels


def _row_bytes(codes: Tensor) -> int:
    """Bytes of a code and its label."""
    return codes[0].nbytes + 8
