"""Gradient episodic memory: a step may not raise the loss on the memory of any earlier task.

Lopez-Paz & Ranzato 2017, "Gradient Episodic Memory for Continual Learning" (arXiv 1706.08840), algorithm 1.
Where the gradient g of a batch points against the gradient g_k on the memory of an earlier task k,
⟨g, g_k⟩ < 0, it is replaced by its projection g̃ = Gᵀ v + g, with the g_k as the rows of G and v from the
dual quadratic programme (equation 11)

    minimise over v >= γ:  ½ vᵀ G Gᵀ v + gᵀ Gᵀ v.

At γ = 0, g̃ is the vector closest to g that has ⟨g̃, g_k⟩ >= 0 for all k; the margin γ favours old tasks.

Differences from the paper:

1. The number of tasks is not known: the budget is shared by the tasks so far, and earlier memories shrink
   when a task begins. Of each task a uniform sample is kept, not the last images.
2. One head for all labels: memory losses run over all labels seen so far, as the batch's loss does.
3. The projected gradient goes through SGD with momentum and weight decay as in the published protocol; what
   is constrained is the gradient, not the step. `momentum=0` and `weight_decay=0` give the paper's step.
4. `replay_images` may limit the images of each task that a step looks at; the paper takes all, the default
   here. A step then costs a pass over the whole memory.

Differences from the paper's authors' code (GradientEpisodicMemory, model/gem.py):

1. GGᵀ gets a ridge of 1e-9 of its mean diagonal, not of 1e-3 whatever its scale, which for small gradients
   outweighs the programme itself.

Differences from the authors' code (agents/exp_replay.py of AugMem):

1. It is GEM. There, memories are never filled, so the published baseline is plain fine-tuning.
2. The margin is the paper's 0.5; they pass 1.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import nnls
from torch import Tensor

from lethe.agents.card import Card, Style
from lethe.agents.config import setting
from lethe.agents.parts.gradient_projection import EpisodicAgent, EpisodicConfig
from lethe.agents.parts.sgd import seen_cross_entropy

_RIDGE = 1e-9
_CHUNK = 100  # images of one forward and backward pass: a memory of many would not fit on a device


@dataclass(frozen=True)
class GEMConfig(EpisodicConfig):
    """The budget is in images, as in the published protocol."""

    replay_images: int | None = setting(
        None, "Images of each earlier task in its gradient; none takes all, as the paper does.", low=1
    )
    margin: float = setting(0.5, "γ, how much each earlier task's gradient is favoured.", low=0)


def dual(gram: NDArray[np.float64], products: NDArray[np.float64], margin: float) -> NDArray[np.float64]:
    """The v [t] that minimises ½ vᵀ `gram` v + `products`ᵀ v over v >= `margin` (equation 11).

    gram: G Gᵀ [t, t]; products: G g [t]. With u = v - γ >= 0 and G Gᵀ = RᵀR, it is the least-squares problem
    min ‖R u + R⁻ᵀ (G g + γ G Gᵀ 1)‖².
    """
    count = len(gram)
    gram = gram + (_RIDGE * np.trace(gram) / count or _RIDGE) * np.eye(
        count
    )  # all of 0 has no scale of its own
    root = cholesky(gram)
    shifted = products + margin * gram.sum(1)
    return nnls(root, -solve_triangular(root, shifted, trans="T"))[0] + margin


class GEM(EpisodicAgent[GEMConfig]):
    """SGD on the stream along gradients that do not conflict with the memory of any earlier task."""

    card = Card(
        title="GEM",
        family="replay",
        keeps="images, labels",
        source="1706.08840",
        formula="m·(X + 8) + K, m = `memory_size`",
        memory=lambda c, s: s.stored_images(c.memory_size),
        style=Style("black", "X"),
        published=("GEM",),
    )

    def projected(self, gradient: Tensor) -> tuple[Tensor, float]:
        """The projection [P] of `gradient` [P], and the number of tasks in conflict.

        The only wait for the device in a step is for t² + t products; the programme is solved on the CPU.
        """
        tasks = [task for task, size in enumerate(self.buffer.sizes) if size]
        memories = torch.stack([self.memory_gradient(task) for task in tasks])
        # In float64: gradients of similar tasks are nearly parallel, and rounding could make GGᵀ indefinite.
        together = torch.cat([memories, gradient.unsqueeze(0)]).double()
        table = (together[:-1] @ together.T).cpu().numpy()
        gram, products = table[:, :-1], table[:, -1]
        conflicts = float((products < 0).sum())
        if conflicts and np.isfinite(table).all():  # Recorder.flush reports a loss that is not finite
            v = torch.from_numpy(dual(gram, products, self.config.margin)).to(memories)
            gradient = gradient + v @ memories
        return gradient, conflicts

    def memory_gradient(self, task: int) -> Tensor:
        """g_k [P], the gradient of the mean loss over the memory of an earlier task."""
        x, y = self.buffer.of_task(task, self.config.replay_images or self.buffer.capacity)
        self.optimizer.zero_grad()
        for inputs, labels in zip(x.split(_CHUNK), y.split(_CHUNK), strict=True):
            loss = seen_cross_entropy(self.network.plastic(inputs), labels, self.seen) * (
                len(labels) / len(y)
            )
            loss.backward()
        return self.optimizer.collect().clone()
