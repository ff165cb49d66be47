"""Linear layers of an agent's own, drawn from its generator."""

import math

import torch
from torch import Tensor, nn


def linear(inputs: int, outputs: int, generator: torch.Generator, device: torch.device) -> nn.Linear:
    """A linear layer on `device`, initialised as PyTorch does (uniform, bound 1 / sqrt(inputs)) from `generator`."""
    layer = nn.Linear(inputs, outputs, device="meta").to_empty(device=device)
    bound = 1 / math.sqrt(inputs)
    with torch.no_grad():
        for p in layer.parameters():
            drawn: Tensor = torch.rand(p.shape, generator=generator)
            p.copy_(bound * (2 * drawn - 1))
    return layer
