"""What agents that learn by stochastic gradient descent share."""

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import TypeVar

from lethe.agents.base import Agent, Network, Problem
from lethe.agents.config import SGDConfig
from lethe.agents.networks.batch_norm import check_first_batch
from lethe.agents.parts.vector_sgd import VectorSGD

S = TypeVar("S", bound=SGDConfig, default=SGDConfig, covariant=True)
"""The type of an agent's configuration."""


def seen_cross_entropy(scores: Tensor, y: Tensor, seen: Tensor) -> Tensor:
    """Mean cross entropy of scores [B, K] and labels [B] over the labels marked in `seen` [K], bool."""
    return F.cross_entropy(scores.masked_fill(~seen, -torch.inf), y)


class SGDAgent(Agent[S]):
    """Trains the plastic part with SGD and momentum; `seen` [K] marks the labels that came by."""

    def __init__(self, problem: Problem, config: S, network: Network, *, seed: int, device: torch.device):
        super().__init__(problem, config, network, seed=seed, device=device)
        check_first_batch(network.plastic, problem.input_shape, config.batch_size_of(0), device)
        self.seen = torch.zeros(problem.num_classes, dtype=torch.bool, device=device)
        self.optimizer = VectorSGD(
            network.plastic.parameters(),
            lr=config.lr,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
        )

    @property
    def theta(self) -> Tensor:
        """θ [P], the parameters of the plastic part as one vector that shares their memory."""
        return self.optimizer.theta

    def gradient(self, loss: Tensor) -> Tensor:
        """The gradient [P] of `loss`, in memory that the next call of `gradient` or `step` overwrites."""
        self.optimizer.zero_grad()
        loss.backward()
        return self.optimizer.collect()

    def step(self, loss: Tensor) -> None:
        """One step of the optimiser down the gradient of `loss`."""
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def predict(self, x: Tensor) -> Tensor:
        """The network's scores."""
        return self.network.plastic(x)
