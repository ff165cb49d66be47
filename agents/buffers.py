"""Replay buffers: what was seen, kept in tensors on the device within a budget of images."""

from collections.abc import Mapping

import torch
from torch import Tensor


class ReservoirBuffer:
    """A uniform sample of everything added so far (algorithm R; Vitter 1985), at most `capacity` inputs.

    After n additions each of the n inputs is kept with probability min(1, capacity / n). Indices are drawn
    on the CPU from `generator`, so that no draw waits for the device; inputs keep their dtype.
    """

    def __init__(self, capacity: int, generator: torch.Generator, device: torch.device):
        self.capacity = capacity
        self.generator = generator
        self.device = device
        self.added = 0
        self._inputs: Tensor | None = None
        self._labels: Tensor | None = None

    def __len__(self) -> int:
        return min(self.added, self.capacity)

    def add(self, x: Tensor, y: Tensor) -> None:
        """Offer inputs [B, ...] and labels [B] in this order."""
        if self._inputs is None:
            self._allocate(x)
        count = len(y)
        order = torch.arange(self.added, self.added + count)
        # The i-th input ever (from 0) goes to a place drawn from 0..i; while there is room, to the next free one.
        draws = (torch.rand(count, generator=self.generator, dtype=torch.float64) * (order + 1)).long()
        places = torch.where(order < self.capacity, order, draws)
        last = {place: row for row, place in enumerate(places.tolist()) if place < self.capacity}
        self.added += count
        if last:
            rows = torch.tensor(list(last.values()), device=self.device)
            kept = torch.tensor(list(last), device=self.device)
            self._inputs[kept] = x[rows]
            self._labels[kept] = y[rows]

    def sample(self, count: int) -> tuple[Tensor, Tensor]:
        """`count` stored inputs [N, ...] and labels [N], drawn without replacement; all, if fewer are stored."""
        if self._inputs is None:
            raise ValueError("nothing has been added yet: check len(buffer) first")
        if count < len(self):
            rows = torch.randperm(len(self), generator=self.generator)[:count].to(self.device)
        else:
            rows = torch.arange(len(self), device=self.device)
        return self._inputs[rows], self._labels[rows]

    def memory_bytes(self) -> int:
        """Bytes of the inputs and labels that are stored."""
        if self._inputs is None:
            return 0
        return len(self) * (self._inputs[0].nbytes + self._labels[0].nbytes)

    def state_dict(self) -> dict[str, object]:
        """The stored inputs and labels, and how many were ever added; the generator belongs to the agent."""
        if self._inputs is None:
            return {"added": 0, "inputs": None, "labels": None}
        return {
            "added": self.added,
            "inputs": self._inputs[: len(self)],
            "labels": self._labels[: len(self)],
        }

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Continue from `state_dict()`."""
        self.added = state["added"]
        if state["inputs"] is None:
            self._inputs = self._labels = None
            return
        self._allocate(state["inputs"])
        self._inputs[: len(self)] = state["inputs"].to(self.device)
        self._labels[: len(self)] = state["labels"].to(self.device)

    def _allocate(self, like: Tensor) -> None:
        shape = (self.capacity, *like.shape[1:])
        channels_last = torch.channels_last if like.ndim == 4 else torch.contiguous_format
        self._inputs = torch.empty(shape, dtype=like.dtype, device=self.device, memory_format=channels_last)
        self._labels = torch.empty(self.capacity, dtype=torch.int64, device=self.device)
