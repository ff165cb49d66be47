"""A memory of quantised feature maps with a budget, which takes from the class that has most."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lethe.agents.parts.device import to_device


class CodeMemory:
    """Codes uint8 [N, H, W, M] on the device and their labels; at most `capacity` of them.

    When it is full, a new code takes the place of a random one of the class that has most, which may be the new one
    itself (Hayes et al. 2020, section 3). Labels are looked at on the CPU: an addition waits for the device.
    """

    def __init__(self, capacity: int, num_classes: int, generator: torch.Generator, device: torch.device):
        self.capacity = capacity
        self.generator = generator
        self.device = device
        self._codes = torch.empty(0, dtype=torch.uint8, device=device)
        self._labels = torch.empty(0, dtype=torch.int64, device=device)
        self._rows: list[list[int]] = [[] for _ in range(num_classes)]

    def __len__(self) -> int:
        return sum(map(len, self._rows))

    def add(self, codes: Tensor, labels: Tensor) -> None:
        """Offer codes [B, H, W, M] with labels [B], in this order."""
        for code, label in zip(codes, labels.tolist(), strict=True):
            row = len(self) if len(self) < self.capacity else self._give_up(label)
            if row is not None:
                self._reserve(row, code)
                self._codes[row], self._labels[row] = code, label
                self._rows[label].append(row)

    def sample(self, count: int) -> tuple[Tensor, Tensor]:
        """`count` different codes [N, H, W, M] and their labels [N]; all, if fewer are stored."""
        stored = len(self)
        if stored <= 4 * count:
            chosen = torch.randperm(stored, generator=self.generator)[:count]
        else:  # a permutation of a million rows for fifty of them would cost more than the step
            distinct: dict[int, None] = {}
            while len(distinct) < count:
                draws = torch.randint(stored, (count,), generator=self.generator).tolist()
                distinct.update(dict.fromkeys(draws))
            chosen = torch.tensor(list(distinct)[:count])
        rows = to_device(chosen, self.device)
        return self._codes[rows], self._labels[rows]

    def memory_bytes(self) -> int:
        """Bytes of the codes and labels that are stored."""
        each = self._codes[0].nbytes + self._labels[0].nbytes if len(self) else 0
        return len(self) * each

    def state_dict(self) -> dict[str, object]:
        """The stored codes, their labels, and the rows of each class in the order of their coming."""
        return {"codes": self._codes[: len(self)], "labels": self._labels[: len(self)], "rows": self._rows}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict()`."""
        self._codes, self._labels = state["codes"].to(self.device), state["labels"].to(self.device)
        self._rows = [list(rows) for rows in state["rows"]]

    def _give_up(self, label: int) -> int | None:
        """Free a row for a code of `label`; None if it is the new code that is not kept."""
        counts = [len(rows) + (number == label) for number, rows in enumerate(self._rows)]
        largest = counts.index(max(counts))
        rows = self._rows[largest]
        victim = int(torch.randint(counts[largest], (1,), generator=self.generator))
        if victim == len(rows):
            return None
        row, rows[victim] = rows[victim], rows[-1]
        rows.pop()
        return row

    def _reserve(self, row: int, like: Tensor) -> None:
        """Make room for `row`, doubling what is there."""
        if row < len(self._codes):
            return
        size = min(max(64, 2 * len(self._codes)), self.capacity)
        codes = torch.empty((size, *like.shape), dtype=torch.uint8, device=self.device)
        labels = torch.empty(size, dtype=torch.int64, device=self.device)
        if len(self._codes):
            codes[: len(self._codes)], labels[: len(self._labels)] = self._codes, self._labels
        self._codes, self._labels = codes, labels
