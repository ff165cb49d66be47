"""Preloaded by the fork server: all modules that the first run in a process would import.

The first optimiser and the first module on the meta device make PyTorch import more modules, which takes seconds.
"""

import torch
import torchvision

from lethe.agents.networks import build as networks
from lethe.benchmarks.workers import worker

__all__ = ["networks", "torchvision", "worker"]

torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
torch.nn.Linear(1, 1, device="meta").to_empty(device="cpu")
