"""Synaptic intelligence: a parameter is important if its moves brought the loss down while a task was learned.

Zenke, Poole & Ganguli 2017, "Continual Learning Through Synaptic Intelligence" (ICML, arXiv 1703.04200):

    w_i = - Σ_steps g_i Δθ_i                            equation 3: what θ_i contributed to the fall of L_t
    Ω_i = Σ_tasks w_i / ((θ_i at its end - θ_i at its start)² + ξ)                              equation 5
    L(θ) = L_t(θ) + c Σ_i Ω_i (θ_i - θ*_i)²                                                     equation 4

g is the gradient of L_t alone, Δθ the whole change that the step made (momentum, weight decay and penalty
included), θ* the parameters at the end of the last task.

Differences from the paper:

1. A task's w_i below 0 counts as 0: a parameter whose moves raised the loss is not important, and with a
   negative Ω_i the penalty would push it away without bound. The code of the paper's authors clips the sum
   over tasks instead, so that one task can take back what another gave.

Differences from the authors' code (SI in agents/regularization.py of AugMem):

1. A task's w_i runs over all passes over the task. There it is set to 0 after each, while the distance in the
   denominator is that of all passes.
2. There w_i below 0 is kept.
3. g is taken from the one backward pass on L_t, not from a second forward and backward pass.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lethe.agents.base import Needs, Network, Problem, TaskData, TaskInfo
from lethe.agents.card import Card, Style
from lethe.agents.config import SGDConfig, setting
from lethe.agents.parts.quadratic_penalty import HEAVIEST, PenaltyAgent
from lethe.agents.parts.sgd import seen_cross_entropy


@dataclass(frozen=True)
class SIConfig(SGDConfig):
    """c without a factor 1/2, as in the paper."""

    penalty_weight: float = setting(0.01, "c, the weight of the penalty.", low=0, high=HEAVIEST)
    damping: float = setting(0.1, "ξ, added to squared distances so that small ones do not explode.", above=0)


class SI(PenaltyAgent[SIConfig]):
    """SGD on the stream with a quadratic penalty weighted by each parameter's part in learning."""

    card = Card(
        title="SI",
        family="regularisation",
        keeps="the last solution, an importance and a path integral per parameter",
        source="1703.04200",
        formula="3·P + K",
        memory=lambda c, s: 3 * s.parameters + s.classes,
        style=Style("green", "P", "dashed", filled=False),
        published=("SI",),
    )
    needs = Needs(task_boundaries=True)

    def __init__(
        self, problem: Problem, config: SIConfig, network: Network, *, seed: int, device: torch.device
    ):
        super().__init__(problem, config, network, seed=seed, device=device)
        self.path = torch.zeros_like(self.theta)
        """w [P] of the task that is being learned."""

    def observe(self, x: Tensor, y: Tensor) -> Mapping[str, Tensor]:
        """One step on the batch's loss and the penalty, which adds to w."""
        self.seen[y] = True
        loss = seen_cross_entropy(self.network.plastic(x), y, self.seen)
        gradient = self.gradient(loss)
        penalised, penalty = self.penalised(gradient)
        before = self.theta.clone()
        self.optimizer.descend(penalised)
        self.path.addcmul_(gradient, before.sub_(self.theta))  # before - θ is -Δθ
        return {"loss": loss.detach(), "penalty": penalty}

    @property
    def weight(self) -> float:
        """The factor c."""
        return self.config.penalty_weight

    def end_task(self, task: TaskInfo, data: TaskData) -> None:
        """Turn w into importance, and hold on to this solution from now on."""
        # The anchor is where the task began: parameters stand still between tasks.
        distance = self.theta - self.anchor
        self.importance += self.path.clamp(min=0) / (distance.square() + self.config.damping)
        self.anchor = self.theta.clone()
        self.path.zero_()
