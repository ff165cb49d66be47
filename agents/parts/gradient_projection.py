"""Base class for gradient-projection methods with a per-task episodic memory (GEM, A-GEM)."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import TypeVar

from lethe.agents.base import Needs, Network, Problem, TaskInfo
from lethe.agents.config import SGDConfig, setting
from lethe.agents.parts.buffers import EpisodicMemory, check_shares
from lethe.agents.parts.sgd import SGDAgent, seen_cross_entropy
from lethe.common.errors import InputError


@dataclass(frozen=True)
class EpisodicConfig(SGDConfig):
    """The budget is in images, as in the published protocol."""

    memory_size: int = setting(1200, "Images kept in memory, of all tasks together.", low=1)


E = TypeVar("E", bound=EpisodicConfig, default=EpisodicConfig, covariant=True)
"""The type of an agent's configuration."""


class EpisodicAgent(SGDAgent[E]):
    """SGD along gradients that a subclass projects, with a memory that all tasks share.

    The memory of a task is filled while it is learned, and used from the next one on.
    """

    needs = Needs(task_boundaries=True)

    def __init__(self, problem: Problem, config: E, network: Network, *, seed: int, device: torch.device):
        check_shares(config.memory_size, problem.num_classes)
        super().__init__(problem, config, network, seed=seed, device=device)
        self.buffer = EpisodicMemory(config.memory_size, self.generator, device)

    def begin_task(self, task: TaskInfo) -> None:
        """The task learned until now becomes an earlier one."""
        if task.index >= self.config.memory_size:
            raise InputError(
                f"memory_size: expected at least {task.index + 1}, one for each task so far, "
                f"got {self.config.memory_size}: set memory_size to the number of tasks or more"
            )
        if task.index:
            self.buffer.next_task()

    def observe(self, x: Tensor, y: Tensor) -> Mapping[str, Tensor | float]:
        """One step along the projected gradient; then the batch is offered to the memory."""
        self.seen[y] = True
        loss = seen_cross_entropy(self.network.plastic(x), y, self.seen)
        gradient = self.gradient(loss)
        conflicts: Tensor | float = 0.0
        if self.buffer.past:
            gradient, conflicts = self.projected(gradient.clone())
        self.optimizer.descend(gradient)
        self.buffer.add(x, y)
        return {"loss": loss.detach(), "conflicts": conflicts}

    @abstractmethod
    def projected(self, gradient: Tensor) -> tuple[Tensor, Tensor | float]:
        """The projection [P] of `gradient` [P], and with how many memories it was in conflict."""
