"""What agents that learn by stochastic gradient descent share."""

import torch
import torch.nn.functional as F
from torch import Tensor

from lethe.agents.base import Agent, Network, Problem
from lethe.agents.config import SGDConfig
from lethe.agents.parts.vector_sgd import VectorSGD


def seen_cross_entropy(scores: Tensor, y: Tensor, seen: Tensor) -> Tensor:
    """Mean cross entropy of scores [B, K] and labels [B] over the labels marked in `seen` [K], bool."""
    return F.cross_entropy(scores.masked_fill(~seen, -torch.inf), y)


class SGDAgent(Agent):
    """Trains the plastic part with SGD and momentum; `seen` [K] marks the labels that came by."""

    Config = SGDConfig

    def __init__(
        self, problem: Problem, config: SGDConfig, network: Network, *, seed: int, device: torch.device
    ):
        super().__init__(problem, config, network, seed=seed, device=device)
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
