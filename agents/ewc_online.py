"""Online elastic weight consolidation: one quadratic penalty, around the last solution, that fades with time.

Schwarz et al. 2018, "Progress & Compress: A scalable framework for continual learning" (ICML,
arXiv 1805.06370), section "Online EWC":

    L(θ) = L_t(θ) + λ/2 Σ_i Ω_i (θ_i - θ*_i)²,  and at the end of task t:  Ω ← γ Ω + F_t,  θ* ← θ

F_t is the diagonal of the Fisher information at the end of task t, computed as by `ewc`. After one task the
penalty is that of `ewc`; after more it is not, even with γ = 1: there each F_k has its own θ*_k.

Differences from the paper:

1. The paper's penalty during task t has γ Ω for Ω: its λ times γ is the λ here.
2. The paper scales each F_t to the same size, so that no task outweighs another. Here F_t stays as it is, so
   that λ means what it means to `ewc`.
3. The network that learns is the one that is protected: no second network is distilled into it.

Differences from the authors' code (EWC_online in agents/regularization.py of AugMem):

1. γ is a hyperparameter. There is none there, hence the default of 1.
2. F_t is added once a task, not after each pass over it.
3. Those of `ewc`.
"""

from dataclasses import dataclass

from lethe.agents.base import TaskData, TaskInfo
from lethe.agents.card import Card, Style
from lethe.agents.config import setting
from lethe.agents.ewc import EWC, EWCConfig


@dataclass(frozen=True)
class EWCOnlineConfig(EWCConfig):
    """λ with the factor 1/2."""

    decay: float = setting(1.0, "γ, what is left of older importance when a task ends.", low=0, high=1)


class EWCOnline(EWC[EWCOnlineConfig]):
    """EWC with a single anchor and an importance that decays."""

    card = Card(
        title="Online EWC",
        family="regularisation",
        keeps="the last solution, an importance per parameter",
        source="1805.06370",
        formula="2·P + K",
        memory=lambda c, s: 2 * s.parameters + s.classes,
        style=Style("orange", "o", "dashed", filled=False),
    )

    def end_task(self, task: TaskInfo, data: TaskData) -> None:
        """Ω ← γ Ω + F_t and θ* ← θ."""
        self.importance = self.config.decay * self.importance + self.fisher(data)
        self.anchor = self.theta.clone()
