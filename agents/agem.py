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

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from agents.episodic import EpisodicAgent, EpisodicConfig
from agents.settings import setting
from agents.sgd import seen_cross_entropy


@dataclass(frozen=True)
class AGEMConfig(EpisodicConfig):
    """The budget is in images, as in the published protocol."""

    replay_images: int = setting(10, "Images of earlier tasks in the reference gradient.", low=1)


def projected(gradient: Sequence[Tensor], reference: Sequence[Tensor]) -> tuple[Sequence[Tensor], Tensor]:
    """g̃ in the shapes of `gradient`, and whether there was a conflict, a bool scalar (equation 11).

    Both are gradients as sequences of tensors, one a parameter. Without a conflict g̃ is `gradient`.
    """
    product = torch.stack([products.sum() for products in torch._foreach_mul(gradient, reference)]).sum()
    square = torch.stack(torch._foreach_norm(reference)).square().sum()
    conflict = product < 0
    length = torch.where(conflict, -product / square, 0)
    return torch._foreach_addcmul(gradient, reference, [length] * len(reference)), conflict


class AGEM(EpisodicAgent):
    """SGD on the stream along gradients that do not conflict with a random batch of earlier tasks."""

    Config = AGEMConfig

    def project(self) -> Tensor:
        """Make the parameters' gradients the projected one. Returns 1 where there was a conflict, else 0."""
        old_x, old_y = self.buffer.sample_past(self.config.replay_images)
        old_loss = seen_cross_entropy(self.network.plastic(old_x), old_y, self.seen)
        reference = torch.autograd.grad(old_loss, self.parameters)
        gradients, conflict = projected([p.grad for p in self.parameters], reference)
        for p, gradient in zip(self.parameters, gradients, strict=True):
            p.grad = gradient
        return conflict.float()
