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

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from agents.base import Needs, Network, Problem, TaskInfo
from agents.buffers import EpisodicMemory
from agents.settings import SGDConfig, setting
from agents.sgd import SGDAgent, seen_cross_entropy


@dataclass(frozen=True)
class AGEMConfig(SGDConfig):
    """The budget is in images, as in the published protocol."""

    memory_images: int = setting(1200, "Images kept in memory, of all tasks together.", low=1)
    replay_images: int = setting(10, "Images of earlier tasks in the reference gradient.", low=1)


def projected(gradient: list[Tensor], reference: list[Tensor]) -> tuple[list[Tensor], Tensor]:
    """g̃ in the shapes of `gradient`, and whether there was a conflict, a bool scalar (equation 11).

    Both are gradients as lists of tensors, one a parameter. Without a conflict g̃ is `gradient`.
    """
    product = _inner(gradient, reference)
    conflict = product < 0
    length = product / _inner(reference, reference)
    pairs = zip(gradient, reference, strict=True)
    return [torch.where(conflict, g - length * r, g) for g, r in pairs], conflict


def _inner(a: list[Tensor], b: list[Tensor]) -> Tensor:
    return torch.stack([(x * y).sum() for x, y in zip(a, b, strict=True)]).sum()


class AGEM(SGDAgent):
    """SGD on the stream along gradients that do not conflict with a random batch of earlier tasks."""

    Config = AGEMConfig
    needs = Needs(task_boundaries=True)

    def __init__(
        self, problem: Problem, config: AGEMConfig, network: Network, *, seed: int, device: torch.device
    ):
        super().__init__(problem, config, network, seed=seed, device=device)
        self.buffer = EpisodicMemory(config.memory_images, self.generator, device)

    def begin_task(self, task: TaskInfo) -> None:
        """What was learned until now becomes an earlier task."""
        if task.index:
            self.buffer.next_task()

    def observe(self, x: Tensor, y: Tensor) -> Mapping[str, Tensor | float]:
        """One step along the projected gradient; then the batch is offered to the memory."""
        self.seen[y] = True
        loss = seen_cross_entropy(self.network.plastic(x), y, self.seen)
        self.optimizer.zero_grad()
        loss.backward()
        conflict = self.project() if self.buffer.past else 0.0
        self.optimizer.step()
        self.buffer.add(x, y)
        return {"loss": loss.detach(), "conflict": conflict}

    def project(self) -> Tensor:
        """Make the parameters' gradients the projected one. Returns 1 where there was a conflict, else 0."""
        parameters = list(self.network.plastic.parameters())
        old_x, old_y = self.buffer.sample_past(self.config.replay_images)
        old_loss = seen_cross_entropy(self.network.plastic(old_x), old_y, self.seen)
        reference = list(torch.autograd.grad(old_loss, parameters))
        gradients, conflict = projected([p.grad for p in parameters], reference)
        for p, g in zip(parameters, gradients, strict=True):
            p.grad.copy_(g)
        return conflict.float()
