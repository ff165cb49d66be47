"""The L2 baseline: every parameter is held near its value at the end of the last task, all alike.

Kirkpatrick et al. 2017, "Overcoming catastrophic forgetting in neural networks" (PNAS 114:3521,
arXiv 1612.00796), the control of figure 2: EWC with the same importance for each parameter,

    L(θ) = L_t(θ) + λ Σ_i (θ_i - θ*_i)²

with θ* the parameters at the end of task t - 1; no penalty during the first task.

Differences from the paper:

1. The paper gives no formula. Here one anchor is kept, that of the last task, and there is no factor 1/2:
   this is the scale in which λ = 100 was published. A λ here is worth twice that of `ewc`.

Differences from the authors' code (agents/regularization.py of AugMem): none in the penalty.
"""

from dataclasses import dataclass

import torch

from lethe.agents.base import Needs, Network, Problem, TaskData, TaskInfo
from lethe.agents.card import Card, Style
from lethe.agents.config import SGDConfig, setting
from lethe.agents.parts.quadratic_penalty import HEAVIEST, PenaltyAgent


@dataclass(frozen=True)
class L2Config(SGDConfig):
    """λ without the factor 1/2."""

    penalty_weight: float = setting(100.0, "λ, the weight of the penalty.", low=0, high=HEAVIEST)


class L2(PenaltyAgent[L2Config]):
    """SGD on the stream with a penalty for leaving the solution of the last task."""

    card = Card(
        title="L2",
        family="regularisation",
        keeps="the last solution",
        source="1612.00796",
        formula="P + 4 + K",
        memory=lambda c, s: s.parameters + 4 + s.classes,
        style=Style("vermillion", "p", "dashed", filled=False),
        published=("L2",),
    )
    needs = Needs(task_boundaries=True)

    def __init__(
        self, problem: Problem, config: L2Config, network: Network, *, seed: int, device: torch.device
    ):
        super().__init__(problem, config, network, seed=seed, device=device)
        # One number is enough: all parameters matter alike, not at all in the first task.
        self.importance = torch.zeros((), device=device)

    @property
    def weight(self) -> float:
        """The factor λ."""
        return self.config.penalty_weight

    def end_task(self, task: TaskInfo, data: TaskData) -> None:
        """Hold on to this solution from now on."""
        self.anchor = self.theta.clone()
        self.importance = torch.ones_like(self.importance)
