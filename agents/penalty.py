"""What agents share that hold each parameter near an old value, as firmly as it mattered to old tasks."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from agents.base import Network, Problem
from agents.settings import SGDConfig
from agents.sgd import SGDAgent, seen_cross_entropy

HEAVIEST = 1e30
"""The largest weight of a penalty: times two it still fits float32."""


def zeros(module: nn.Module) -> dict[str, Tensor]:
    """Zeros in the shape of each parameter of `module`, by its name."""
    return {name: torch.zeros_like(p, requires_grad=False) for name, p in module.named_parameters()}


def values(module: nn.Module) -> dict[str, Tensor]:
    """A copy of each parameter of `module`, by its name."""
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def quadratic(
    parameters: Sequence[Tensor], importance: Sequence[Tensor], anchor: Sequence[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """Σ_i Ω_i (θ_i - θ*_i)², a scalar, and half its gradient, Ω_i (θ_i - θ*_i), one tensor a parameter.

    parameters: θ; importance: Ω, each in a shape that broadcasts to its parameter's; anchor: θ*.
    """
    with torch.no_grad():
        moved = torch._foreach_sub(parameters, anchor)
        pull = torch._foreach_mul(moved, importance)
        torch._foreach_mul_(moved, pull)
        return torch.stack([squares.sum() for squares in moved]).sum(), pull


class PenaltyAgent(SGDAgent):
    """SGD on the loss of the stream plus w Σ_i Ω_i (θ_i - θ*_i)², a penalty for leaving earlier solutions.

    A subclass says what w is, and changes Ω, the `importance` of parameters, and θ*, their `anchor`, at the end
    of a task. Ω is zero during the first.
    """

    def __init__(
        self, problem: Problem, config: SGDConfig, network: Network, *, seed: int, device: torch.device
    ):
        super().__init__(problem, config, network, seed=seed, device=device)
        self.anchor = values(network.plastic)
        self.importance = zeros(network.plastic)

    @property
    @abstractmethod
    def weight(self) -> float:
        """The factor w before the sum."""

    def observe(self, x: Tensor, y: Tensor) -> Mapping[str, Tensor]:
        """One step on the batch's loss and the penalty."""
        self.seen[y] = True
        loss = seen_cross_entropy(self.network.plastic(x), y, self.seen)
        self.optimizer.zero_grad()
        loss.backward()
        penalty = self.add_penalty()
        self.optimizer.step()
        return {"loss": loss.detach(), "penalty": penalty}

    def add_penalty(self) -> Tensor:
        """Give the parameters new gradients, of loss and penalty together. Returns the penalty, a scalar.

        Its gradient is known, so that none of it need be left to automatic differentiation.
        """
        parameters = self.parameters
        total, pull = quadratic(parameters, list(self.importance.values()), list(self.anchor.values()))
        gradients = torch._foreach_add([p.grad for p in parameters], pull, alpha=2 * self.weight)
        for p, gradient in zip(parameters, gradients, strict=True):
            p.grad = gradient
        return self.weight * total
