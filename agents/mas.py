"""Memory aware synapses: a parameter is important if the network's output is sensitive to it.

Aljundi et al. 2018, "Memory Aware Synapses: Learning what (not) to forget" (ECCV, arXiv 1711.09601),
section 4.1:

    Ω_i = 1/N Σ_n | ∂ ‖f(x_n)‖² / ∂θ_i |                                    equation 2, for a squared norm
    L(θ) = L_t(θ) + λ Σ_i Ω_i (θ_i - θ*_i)²                                                     equation 3

f(x) are the scores before the softmax; no label is used. The Ω of all tasks are added up, and θ* are the
parameters at the end of the last task.

Differences from the paper:

1. f(x) are the scores of the labels that have come by: the others are not yet a function worth keeping.

Differences from the authors' code (MAS in agents/regularization.py of AugMem):

1. The absolute gradient of each image, not that of the mean over a batch, in which images cancel.
2. The sum of the squared scores, as in the paper, not their mean over the |A| labels: a λ there is worth
   1/|A| of one here.
3. Ω is added once a task, not after each pass over it.
"""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from lethe.agents.base import Needs, TaskData, TaskInfo
from lethe.agents.card import Card, Style
from lethe.agents.config import SGDConfig, setting
from lethe.agents.parts.quadratic_penalty import HEAVIEST, PenaltyAgent

_BATCH = 64  # images whose gradients are in memory at a time


@dataclass(frozen=True)
class MASConfig(SGDConfig):
    """λ without a factor 1/2, as in the paper."""

    penalty_weight: float = setting(1.0, "λ, the weight of the penalty.", low=0, high=HEAVIEST)


def absolute_gradients(module: nn.Module, x: Tensor, seen: Tensor) -> dict[str, Tensor]:
    """Σ over images of |∂ ‖f(x)‖² / ∂θ|, by parameter name, in the shape of the parameter.

    x: [B, ...]; seen: [K] bool, the labels whose scores are f(x).
    """
    parameters = {name: p.detach() for name, p in module.named_parameters()}

    def squared_norm(parameters: dict[str, Tensor], image: Tensor) -> Tensor:
        scores = functional_call(module, parameters, (image.unsqueeze(0),))
        squares: Tensor = scores.masked_fill(~seen, 0).square()
        return squares.sum()

    gradients = vmap(grad(squared_norm), in_dims=(None, 0))(parameters, x)
    return {name: g.abs().sum(0) for name, g in gradients.items()}


class MAS(PenaltyAgent[MASConfig]):
    """SGD on the stream with a quadratic penalty weighted by the sensitivity of the output."""

    card = Card(
        title="MAS",
        family="regularisation",
        keeps="the last solution, an importance per parameter",
        source="1711.09601",
        formula="2·P + K",
        memory=lambda c, s: 2 * s.parameters + s.classes,
        style=Style("sky", "X", "dashed", filled=False),
        published=("MAS",),
    )
    needs = Needs(task_boundaries=True, task_data=True)

    @property
    def weight(self) -> float:
        """The factor λ."""
        return self.config.penalty_weight

    def end_task(self, task: TaskInfo, data: TaskData) -> None:
        """Add the sensitivity on this task's images, and hold on to this solution from now on."""
        plastic = self.network.plastic.eval()
        for x, _ in data.batches(_BATCH):
            total = self.optimizer.gather(absolute_gradients(plastic, x, self.seen).values())
            self.importance += total / len(data)
        self.anchor = self.theta.clone()
        plastic.train()
