"""Averaged GEM: a step may not raise the loss on a random batch of the memory of earlier tasks.

Chaudhry et al. 2019, "Efficient Lifelong Learning with A-GEM" (arXiv 1812.00420), algorithm 2: where the
gradient g of a batch points against the gradient g_ref of the memory's batch, gᵀg_ref < 0, it is replaced by
(equation 11)

    g̃ = g - (gᵀ g_ref / g_refᵀ g_ref) g_ref.

Differences from the paper:

1. The number of tasks is not known: the budget is shared by the tasks so far, and earlier memories shrink
   when a task begins. The memory of a task is filled while it is learned, and used from the next one on.
2. One head for all labels: both losses run over all labels seen so far.
3. The projected gradient goes through SGD with momentum and weight decay as in the published protocol; what
   is constrained is the gradient, not the step. `momentum=0` and `weight_decay=0` give the paper's step.

Differences from the authors' code (AGEM in agents/exp_replay.py of AugMem):

1. g_ref is the gradient of the mean loss over a random batch; theirs goes through the whole memory at every
   step, and shrinks images to 64 x 64, for this agent alone, to afford it.
2. Nothing leaves the device: the test for a conflict is part of the formula.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from lethe.agents.card import Card, Style
from lethe.agents.config import setting
from lethe.agents.parts.gradient_projection import EpisodicAgent, EpisodicConfig
from lethe.agents.parts.sgd import seen_cross_entropy


@dataclass(frozen=True)
class AGEMConfig(EpisodicConfig):
    """The budget is in images, as in the published protocol."""

    replay_images: int = setting(10, "Images of earlier tasks in the reference gradient.", low=1)


def without_conflict(gradient: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """g̃ [P], and whether there was a conflict, a bool scalar, for g and g_ref [P] (equation 11).

    Without a conflict g̃ is g.
    """
    product = torch.dot(gradient, reference)
    conflict = product < 0
    length = torch.where(conflict, -product / torch.dot(reference, reference), 0)
    return torch.addcmul(gradient, reference, length), conflict


class AGEM(EpisodicAgent[AGEMConfig]):
    """SGD on the stream along gradients that do not conflict with a random batch of earlier tasks."""

    card = Card(
        title="A-GEM",
        family="replay",
        keeps="images, labels",
        source="1812.00420",
        formula="m·(X + 8) + K, m = `memory_size`",
        memory=lambda c, s: s.stored_images(c.memory_size),
        style=Style("black", "s", "dashed", filled=False),
    )

    def projected(self, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """The projection [P] of `gradient` [P]; 1 where there was a conflict, else 0."""
        old_x, old_y = self.buffer.sample_past(self.config.replay_images)
        old_loss = seen_cross_entropy(self.network.plastic(old_x), old_y, self.seen)
        projection, conflict = without_conflict(gradient, self.gradient(old_loss))
        return projection, conflict.float()
