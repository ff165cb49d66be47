"""What agents share that hold each parameter near an old value, as firmly as it mattered to old tasks."""

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from agents.base import Network, Problem
from agents.settings import SGDConfig
from agents.sgd import SGDAgent, seen_cross_entropy


def zeros(module: nn.Module) -> dict[str, Tensor]:
    """Zeros in the shape of each parameter of `module`, by its name."""
    return {name: torch.zeros_like(p, requires_grad=False) for name, p in module.named_parameters()}


def values(module: nn.Module) -> dict[str, Tensor]:
    """A copy of each parameter of `module`, by its name."""
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def quadratic(module: nn.Module, importance: Mapping[str, Tensor], anchor: Mapping[str, Tensor]) -> Tensor:
    """Σ_i Ω_i (θ_i - θ*_i)² over the parameters θ of `module`, a scalar.

    importance: Ω by parameter name, in a shape that broadcasts to the parameter's; anchor: θ* by name.
    """
    named = dict(module.named_parameters())
    return _Quadratic.apply(
        [importance[name] for name in named], [anchor[name] for name in named], *named.values()
    )


class _Quadratic(torch.autograd.Function):
    """The sum and its gradient 2 Ω (θ - θ*), as one node of the graph.

    The penalty adds a fifth to the 7 ms of a small network's step; left to automatic differentiation, a third.
    """

    @staticmethod
    def forward(ctx, importance: list[Tensor], anchor: list[Tensor], *parameters: Tensor) -> Tensor:
        moved = torch._foreach_sub(parameters, anchor)
        ctx.pull = torch._foreach_mul(importance, moved)
        return torch.stack([(force * by).sum() for force, by in zip(ctx.pull, moved, strict=True)]).sum()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *torch._foreach_mul(ctx.pull, 2 * gradient)


class PenaltyAgent(SGDAgent):
    """SGD on the loss of the stream plus a penalty for leaving `anchor`, the parameters of earlier tasks.

    A subclass says what the penalty is, and changes `anchor` at the end of a task.
    """

    def __init__(
        self, problem: Problem, config: SGDConfig, network: Network, *, seed: int, device: torch.device
    ):
        super().__init__(problem, config, network, seed=seed, device=device)
        self.anchor = values(network.plastic)

    def observe(self, x: Tensor, y: Tensor) -> Mapping[str, Tensor]:
        """One step on the batch's loss and the penalty."""
        self.seen[y] = True
        loss = seen_cross_entropy(self.network.plastic(x), y, self.seen)
        penalty = self.penalty()
        self.step(loss + penalty)
        return {"loss": loss.detach(), "penalty": penalty.detach()}

    @abstractmethod
    def penalty(self) -> Tensor:
        """What is added to the loss, a scalar; zero, with zero gradient, during the first task."""
