"""Inputs of some rows, from a store of these alone."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from lethe.dataloaders.streams import Inputs, Task


class Part:
    """Inputs of `rows` [N], ascending, which lie in rows 0 .. N-1 of `images`."""

    def __init__(self, images: Inputs, rows: Tensor):
        self._images = images
        self._rows = rows

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one input."""
        return self._images.shape

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Inputs [B, C, H, W] of `rows` [B], each one of those that there are."""
        return self._images[torch.searchsorted(self._rows, rows)]

    def batches(self, parts: Iterable[Task]) -> Iterator[tuple[Task, Tensor]]:
        """Each of `parts` with its inputs, in order."""
        return ((part, self[part.rows]) for part in parts)
