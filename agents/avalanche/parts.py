"""Adapters between this project and Avalanche's strategies: small modules, experiences, and a count of bytes."""

from types import SimpleNamespace
from typing import Any, Self

import torch
from avalanche.benchmarks.utils import AvalancheDataset
from avalanche.training.templates import BaseSGDTemplate
from torch import Tensor, nn


class Experience(SimpleNamespace):
    """Data of one task, and what Avalanche asks about them."""

    def logging(self) -> Self:
        """The experience as an evaluation may see it."""
        return self


class NeverZero(nn.CrossEntropyLoss):
    """Cross entropy; MAS takes a loss of exactly 0 for a missing one."""

    def forward(self, scores: Tensor, y: Tensor) -> Tensor:
        """The mean over scores [B, K] and labels [B]."""
        return super().forward(scores, y) + 1e-30  # in float32 absorbed by any other value


class Features(nn.Module):
    """Input of the head of `plastic`, averaged over positions: [B, D]."""

    def __init__(self, plastic: nn.Sequential):
        super().__init__()
        self.layers = nn.Sequential(*list(plastic)[:-1])

    def forward(self, x: Tensor) -> Tensor:
        """Features of inputs [B, C, H, W]."""
        x = self.layers(x)
        return x.mean((2, 3)) if x.ndim == 4 else x


class Shuffled:
    """A storage policy whose buffer comes in random order, so that an ordered pass over it is a random draw."""

    def __init__(self, policy: Any):
        self.policy = policy

    def __getattr__(self, name: str) -> Any:
        return getattr(self.policy, name)

    @property
    def buffer(self) -> AvalancheDataset:
        """All that is kept, in a new order at each call."""
        found = self.policy.buffer
        return found.subset(torch.randperm(len(found)).tolist())


def size_bytes(value: Tensor | nn.Module) -> int:
    """Bytes of a tensor, or of a module's parameters and buffers."""
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    return sum(size_bytes(tensor) for tensor in (*value.parameters(), *value.buffers()))


def kept_bytes(strategy: BaseSGDTemplate) -> int:
    """Bytes of the tensors, modules and datasets that a strategy holds, its model and optimiser left out."""
    model = strategy.model
    left_out = [model, *model.parameters(), strategy.optimizer, strategy.evaluator, strategy.loss]
    seen = {id(value) for value in left_out}
    total, waiting = 0, [strategy]
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Tensor | nn.Module):
            total += size_bytes(value)
        elif isinstance(value, AvalancheDataset):
            total += (
                len(value) * sum(size_bytes(torch.as_tensor(part)) for part in value[0]) if len(value) else 0
            )
        elif isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list | tuple | set):
            waiting += value
        elif type(value).__module__.split(".")[0] == "avalanche" or isinstance(value, Shuffled):
            waiting += vars(value).values() if hasattr(value, "__dict__") else ()
    return total
