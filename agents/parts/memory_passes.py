"""Passes over a memory before an evaluation: a copy of the network learns, and the agent stays as it is."""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from lethe.agents.parts.device import to_device


def learner(plastic: nn.Module) -> nn.Module:
    """A copy of `plastic` in training mode, to be trained and kept in `Agent.cache`."""
    return copy.deepcopy(plastic).train()


def seeded_by(generator: torch.Generator) -> torch.Generator:
    """A generator on the CPU that depends on the state of `generator`, which stays as it is."""
    twin = torch.Generator()
    twin.set_state(generator.get_state())
    return torch.Generator().manual_seed(int(torch.randint(2**62, (1,), generator=twin)))


def shuffled(
    count: int, batch_size: int, epochs: int, generator: torch.Generator, device: torch.device
) -> Iterator[tuple[int, Tensor]]:
    """Number of the pass, from 0, and rows [B] of a mini-batch; a pass has all of 0 .. `count` - 1 in a new order."""
    for epoch in range(epochs):
        order = to_device(torch.randperm(count, generator=generator), device)
        for rows in order.split(batch_size):
            yield epoch, rows
