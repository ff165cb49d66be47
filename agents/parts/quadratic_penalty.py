"""Base class for importance-weighted quadratic regularisation (L2, EWC, SI, MAS)."""

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from lethe.agents.base import Network, Problem
from lethe.agents.parts.sgd import S, SGDAgent, seen_cross_entropy

HEAVIEST = 1e30
"""The largest weight of a penalty: times two it still fits float32."""


class PenaltyAgent(SGDAgent[S]):
    """SGD on the loss of the stream plus w Σ_i Ω_i (θ_i - θ*_i)², a penalty for leaving earlier solutions.

    A subclass says what w is, and changes Ω, the `importance` of parameters, and θ*, their `anchor`, at the end
    of a task. Ω is zero during the first.
    """

    def __init__(self, problem: Problem, config: S, network: Network, *, seed: int, device: torch.device):
        super().__init__(problem, config, network, seed=seed, device=device)
        self.anchor = self.theta.clone()
        self.importance = torch.zeros_like(self.theta)

    @property
    @abstractmethod
    def weight(self) -> float:
        """The factor w before the sum."""

    def observe(self, x: Tensor, y: Tensor) -> Mapping[str, Tensor]:
        """One step on the batch's loss and the penalty."""
        self.seen[y] = True
        loss = seen_cross_entropy(self.network.plastic(x), y, self.seen)
        penalised, penalty = self.penalised(self.gradient(loss))
        self.optimizer.descend(penalised)
        return {"loss": loss.detach(), "penalty": penalty}

    def penalised(self, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """The gradient [P] of loss and penalty together, from that of the loss, and the penalty, a scalar.

        The penalty's own gradient is known, so that none of it need be left to automatic differentiation.
        """
        moved = self.theta - self.anchor
        pull = moved * self.importance
        penalty = self.weight * torch.dot(pull, moved)
        return torch.add(gradient, pull, alpha=2 * self.weight, out=pull), penalty
