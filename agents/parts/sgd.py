"""Base of agents that learn by stochastic gradient descent: optimiser, schedule, loss over seen labels."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import TypeVar

from lethe.agents.base import Agent, Network, Problem
from lethe.agents.config import SGDConfig
from lethe.agents.networks.batch_norm import check_first_batch
from lethe.agents.parts.vector_optimizer import (
    Schedule,
    VectorAdam,
    VectorAdamax,
    VectorAdamW,
    VectorOptimizer,
    VectorSGD,
    cosine_schedule,
    step_schedule,
)
from lethe.common.errors import InputError

S = TypeVar("S", bound=SGDConfig, default=SGDConfig, covariant=True)
"""The type of an agent's configuration."""


def seen_cross_entropy(scores: Tensor, y: Tensor, seen: Tensor) -> Tensor:
    """Mean cross entropy of scores [B, K] and labels [B] over the labels marked in `seen` [K], bool."""
    return F.cross_entropy(scores.masked_fill(~seen, -torch.inf), y)


_OPTIMIZERS: dict[str, type[VectorOptimizer]] = {
    "sgd": VectorSGD,
    "adam": VectorAdam,
    "adamw": VectorAdamW,
    "adamax": VectorAdamax,
}


def build_optimizer(config: SGDConfig, parameters: Iterable[nn.Parameter]) -> VectorOptimizer:
    """The optimiser and schedule that `config` names; `InputError` where its momentum is none of that optimiser."""
    if config.optimizer != "sgd" and config.momentum >= 1:
        raise InputError(
            f"momentum: expected less than 1 with optimizer={config.optimizer}, whose β1 it is, got {config.momentum}"
        )
    return _OPTIMIZERS[config.optimizer](
        parameters,
        lr=config.lr,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        schedule=_schedule(config),
    )


def _schedule(config: SGDConfig) -> Schedule | None:
    if config.schedule == "constant":
        return None
    build = {"step": step_schedule, "cosine": cosine_schedule}[config.schedule]
    return build(config.schedule_steps, config.schedule_factor)


def check_plain_sgd(config: SGDConfig, reason: str) -> None:
    """`InputError`, with the reason, for any optimiser but sgd and any schedule but constant."""
    expected = {"optimizer": "sgd", "schedule": "constant"}
    problems = [
        f"{name}: expected {value}, got {getattr(config, name)}: {reason}"
        for name, value in expected.items()
        if getattr(config, name) != value
    ]
    if problems:
        raise InputError(*problems)


class SGDAgent(Agent[S]):
    """Trains the plastic part with the configured optimiser; `seen` [K], bool: classes observed so far."""

    def __init__(self, problem: Problem, config: S, network: Network, *, seed: int, device: torch.device):
        super().__init__(problem, config, network, seed=seed, device=device)
        check_first_batch(network.plastic, problem.input_shape, config.batch_size_of(0), device)
        self.seen = torch.zeros(problem.num_classes, dtype=torch.bool, device=device)
        self.optimizer = build_optimizer(config, network.plastic.parameters())

    def train_also(self, module: nn.Module) -> None:
        """Let the optimiser train a module of the agent's own beside the plastic part; part of construction."""
        parameters = [*self.network.plastic.parameters(), *module.parameters()]
        self.optimizer = build_optimizer(self.config, parameters)

    @property
    def theta(self) -> Tensor:
        """θ [P], the parameters that learn as one vector that shares their memory."""
        return self.optimizer.theta

    def gradient(self, loss: Tensor) -> Tensor:
        """The gradient [P] of `loss`, in memory that the next call of `gradient` or `step` overwrites."""
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        return self.optimizer.collect()

    def step(self, loss: Tensor) -> None:
        """One step of the optimiser down the gradient of `loss`."""
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        self.optimizer.step()

    def predict(self, x: Tensor) -> Tensor:
        """The network's scores."""
        scores: Tensor = self.network.plastic(x)
        return scores
