"""Elastic weight consolidation: parameters that mattered to earlier tasks are held near their old values.

Kirkpatrick et al. 2017, "Overcoming catastrophic forgetting in neural networks" (PNAS 114:3521,
arXiv 1612.00796), equation 3 with one term for each earlier task:

    L(θ) = L_t(θ) + λ/2 Σ_k Σ_i F_k,i (θ_i - θ*_k,i)²

F_k is the diagonal of the Fisher information at the end of task k: the mean over the task's images of the
squared gradient of log p(y | x), with y drawn from the network's own prediction.

Differences from the paper:

1. The terms are kept as one: Σ_k F_k (θ - θ*_k)² = S (θ - m)² + constant, with S = Σ_k F_k and m the mean of
   the θ*_k weighted by F_k. Gradients are the same and memory does not grow with the number of tasks.

Differences from the authors' code (agents/regularization.py of AugMem):

1. Squared gradients of single images, not the square of a batch's mean gradient: the latter is too small by
   up to the batch size and depends on it.
2. y is drawn from the prediction, not its argmax, which makes a confident network look indifferent.
3. The factor 1/2 of the paper; a λ of theirs is half of one here.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from typing_extensions import TypeVar

from lethe.agents.base import Needs, TaskData, TaskInfo
from lethe.agents.card import Card, Style
from lethe.agents.config import SGDConfig, setting
from lethe.agents.parts.quadratic_penalty import HEAVIEST, PenaltyAgent
from lethe.agents.parts.sgd import seen_cross_entropy

_BATCH = 64  # images whose gradients are in memory at a time


@dataclass(frozen=True)
class EWCConfig(SGDConfig):
    """λ in the paper's scale."""

    penalty_weight: float = setting(100.0, "λ, the weight of the penalty.", low=0, high=HEAVIEST)


def squared_gradients(module: nn.Module, x: Tensor, y: Tensor, seen: Tensor) -> dict[str, Tensor]:
    """Σ over images of (∂ log p(y | x) / ∂θ)², by parameter name, in the shape of the parameter.

    x: [B, ...]; y: [B] labels; seen: [K] bool, the labels that p runs over.
    """
    parameters = {name: p.detach() for name, p in module.named_parameters()}

    def loss(parameters: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        scores = functional_call(module, parameters, (image.unsqueeze(0),))
        return seen_cross_entropy(scores, label.unsqueeze(0), seen)

    gradients = vmap(grad(loss), in_dims=(None, 0, 0))(parameters, x, y)
    return {name: g.square().sum(0) for name, g in gradients.items()}


E = TypeVar("E", bound=EWCConfig, default=EWCConfig, covariant=True)
"""The type of an agent's configuration."""


class EWC(PenaltyAgent[E]):
    """SGD on the stream with a quadratic penalty around the solutions of earlier tasks."""

    card = Card(
        title="EWC",
        family="regularisation",
        keeps="the weighted mean solution, an importance per parameter",
        source="1612.00796",
        formula="2·P + K",
        memory=lambda c, s: 2 * s.parameters + s.classes,
        style=Style("orange", "s"),
        published=("EWC",),
    )
    needs = Needs(task_boundaries=True, task_data=True)

    @property
    def weight(self) -> float:
        """The factor λ/2."""
        return self.config.penalty_weight / 2

    def end_task(self, task: TaskInfo, data: TaskData) -> None:
        """Add the Fisher information of this task to S, and this solution to m."""
        fisher = self.fisher(data)
        total = self.importance + fisher
        share = torch.where(total > 0, fisher / total, 1)
        self.anchor.lerp_(self.theta, share)
        self.importance = total

    def fisher(self, data: TaskData) -> Tensor:
        """The diagonal [P] of the Fisher information over the task's images."""
        plastic = self.network.plastic.eval()
        total = torch.zeros_like(self.theta)
        for x, _ in data.batches(_BATCH):
            with torch.no_grad():
                p = F.softmax(plastic(x).masked_fill(~self.seen, -torch.inf), dim=1).cpu()
            p = p.nan_to_num(nan=1.0)  # Recorder.flush reports a loss that is not finite
            y = torch.multinomial(p, 1, generator=self.generator).squeeze(1).to(self.device)
            total += self.optimizer.gather(squared_gradients(plastic, x, y, self.seen).values())
        plastic.train()
        return total / len(data)
