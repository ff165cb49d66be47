"""Streams: tasks as rows of a store and labels.

The harness reads images and labels here and nowhere else; an agent never sees a stream.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from lethe.common.errors import InputError
from lethe.dataloaders.tasks.tasklists import TaskLists


class Inputs(Protocol):
    """Inputs of the part of a network that learns, by row, on the device: stored ones, or made when they are wanted."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one input."""

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Inputs [B, C, H, W], in channels-last memory and in memory of their own, of `rows` [B] int64 on the CPU."""

    def batches(self, parts: "Iterable[Task]") -> "Iterator[tuple[Task, Tensor]]":
        """Each of `parts` with its inputs, in order; what is made on the way is begun before it is asked for."""


class Images:
    """Inputs by row, on the device: the whole store if it fits there, otherwise batch by batch from the CPU.

    A store is an array [N, H, W, C], in memory or memory-mapped: uint8 pixels, or features of a frozen trunk, in
    float32 or as the bits of bfloat16 in uint16. Batches are uint8 or float32.
    """

    def __init__(self, store: np.ndarray, device: torch.device):
        self._store = torch.from_numpy(store)
        if self._store.dtype == torch.uint16:
            self._store = self._store.view(torch.bfloat16)
        self._device = device
        if device.type == "cuda" and self._store.nbytes < torch.cuda.mem_get_info(device)[0] / 2:
            self._store = self._store.to(device)

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Inputs [B, C, H, W], in channels-last memory, of `rows` [B] int64 on the CPU."""
        batch = self._store[rows.to(self._store.device)].to(self._device, non_blocking=True)
        if batch.dtype == torch.bfloat16:
            batch = batch.float()
        return batch.permute(0, 3, 1, 2)

    def batches(self, parts: "Iterable[Task]") -> "Iterator[tuple[Task, Tensor]]":
        """Each of `parts` with its inputs, in order."""
        for part in parts:
            yield part, self[part.rows]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one input."""
        height, width, channels = self._store.shape[1:]
        return channels, height, width


@dataclass(frozen=True)
class Task:
    """Rows of the store and labels, int64 [N] on the CPU, in the order of the stream."""

    rows: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def batches(self, batch_size: int, order: Tensor | None = None, start: int = 0) -> Iterator["Task"]:
        """Mini-batches in the stream's order, or in that of the permutation `order`; the last may be short.

        `start` skips that many batches.
        """
        for low in range(start * batch_size, len(self), batch_size):
            chosen = slice(low, low + batch_size) if order is None else order[low : low + batch_size]
            yield Task(self.rows[chosen], self.labels[chosen])


@dataclass(frozen=True)
class Stream:
    """The tasks of one run and the test set, with labels 0 .. num_classes - 1."""

    tasks: tuple[Task, ...]
    test: Task
    num_classes: int
    class_of_label: tuple[int | str, ...] = ()
    """The dataset's class of each label; empty if unknown."""

    @classmethod
    def bind(cls, lists: TaskLists, rows: Mapping[str, int]) -> "Stream":
        """The stream of `lists` over a store with `rows` by path; see `arrays.py` for streams without lists."""

        def task(paths: list[str], labels: np.ndarray) -> Task:
            try:
                return Task(torch.tensor([rows[path] for path in paths]), torch.from_numpy(labels))
            except KeyError as error:
                raise InputError(f"task lists: {error.args[0]} is none of the dirmap's images") from None

        tasks = tuple(task(paths, labels) for paths, labels in lists.tasks)
        test = task(lists.test_paths, lists.test_labels)
        highest = max(int(part.labels.max()) for part in (*tasks, test))
        return cls(tasks, test, highest + 1, lists.class_of_label)

    def classes_met(self, task: int) -> tuple[int, ...]:
        """The labels of tasks 0 .. `task`, ascending."""
        met = np.unique(np.concatenate([part.labels.numpy() for part in self.tasks[: task + 1]]))
        return tuple(met.tolist())
