"""Learning without forgetting: distils the previous task's network on old classes while learning new ones.

Li & Hoiem 2017, "Learning without Forgetting" (TPAMI 40:2935, arXiv 1606.09282):

    L(θ) = L_new(θ) + λ_o L_old(θ)                                          the objective of their algorithm
    L_new = cross entropy of the stream's labels                                                equation 1
    L_old = cross entropy of the probabilities p'(x; θ) under those of the old network, p'_o(x)  equation 2
    p' = p^(1/T) / Σ_j p_j^(1/T), that is softmax(scores / T)                                    equation 3

The old network is the one at the end of the last task, and L_old runs over the labels that it had seen. No
image is kept: x are those of the stream.

Differences from the paper:

1. One head for all tasks: L_new runs over all labels seen, old ones included, and L_old is one term over all
   old labels, not one for each earlier task.
2. L_old is the Kullback-Leibler divergence, which is the cross entropy less a constant: the gradient is the
   same, and it is 0 where nothing is forgotten.
3. No warm-up, in which the head of new labels is trained alone: an image of the stream comes once.
4. What the old network says is computed when an image comes, in evaluation mode, not for the whole task
   before it is learned.

Differences from the authors' code (other_models/lwf of AugMem):

1. Softmax with a temperature, as in the paper, not a sigmoid for each label.
2. The stream's order and the harness's network. There images are shuffled and shrunk to 32x32, for a
   ResNet-18 trained from scratch, whose head grows; it has attention modules, which are never called.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lethe.agents.base import Needs, Network, Problem, TaskData, TaskInfo
from lethe.agents.card import Card, Style
from lethe.agents.config import SGDConfig, setting
from lethe.agents.parts.sgd import SGDAgent, seen_cross_entropy


@dataclass(frozen=True)
class LwFConfig(SGDConfig):
    """λ_o and T as in the paper."""

    distillation_weight: float = setting(1.0, "λ_o, the weight of the old network's answers.", low=0)
    temperature: float = setting(2.0, "T; higher gives more weight to improbable labels.", above=0)


def distillation(scores: Tensor, old_scores: Tensor, temperature: float) -> Tensor:
    """KL divergence of softmax(scores / T) from softmax(old_scores / T), both [B, k]; mean over images."""
    log_p = F.log_softmax(scores / temperature, dim=1)
    log_old = F.log_softmax(old_scores / temperature, dim=1)
    return F.kl_div(log_p, log_old, reduction="batchmean", log_target=True)


class LwF(SGDAgent[LwFConfig]):
    """SGD on the stream and on the answers of the network that the last task left behind."""

    card = Card(
        title="LwF",
        family="regularisation",
        keeps="the network of the last task",
        source="1606.09282",
        formula="S + 9·K",
        memory=lambda c, s: s.copy + 9 * s.classes,
        style=Style("purple", "*", "dashed", filled=False),
    )
    needs = Needs(task_boundaries=True)

    def __init__(
        self, problem: Problem, config: LwFConfig, network: Network, *, seed: int, device: torch.device
    ):
        super().__init__(problem, config, network, seed=seed, device=device)
        self.old = copy.deepcopy(network.plastic).eval().requires_grad_(False)
        self.old_labels = torch.zeros(0, dtype=torch.int64, device=device)
        """[k], the labels that `old` had seen; none during the first task."""

    def observe(self, x: Tensor, y: Tensor) -> Mapping[str, Tensor]:
        """One step on the batch's labels and on what the old network says of it."""
        self.seen[y] = True
        scores = self.network.plastic(x)
        loss = seen_cross_entropy(scores, y, self.seen)
        if len(self.old_labels) == 0:
            self.step(loss)
            return {"loss": loss.detach()}
        with torch.no_grad():
            old_scores = self.old(x).index_select(1, self.old_labels)
        penalty = distillation(scores.index_select(1, self.old_labels), old_scores, self.config.temperature)
        self.step(loss + self.config.distillation_weight * penalty)
        return {"loss": loss.detach(), "distillation": penalty.detach()}

    def end_task(self, task: TaskInfo, data: TaskData) -> None:
        """The network as it is becomes the old one."""
        self.old.load_state_dict(self.network.plastic.state_dict())
        self.old_labels = self.seen.nonzero().squeeze(1)
