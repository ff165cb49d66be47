"""Maximally interfered retrieval: what is replayed are the images that the coming step would harm most.

Aljundi et al. 2019, "Online Continual Learning with Maximally Interfered Retrieval" (NeurIPS, arXiv 1908.04742),
algorithm 1 (ER-MIR). For a mini-batch X and C candidates drawn from the memory,

    θv = θ - α ∇L(f_θ(X), Y)                                the virtual step
    s(x, y) = ℓ(f_θv(x), y) - ℓ(f_θ(x), y)                  the rise of a candidate's loss
    θ ← step on X and the b candidates with the largest s.

Differences from the paper:

1. One step on the mean loss of batch and replay together, as in `er`, not on the sum of the two means: with as many
   candidates as are replayed, and the same draws, the agent is `er` to the bit.
2. Losses run over the labels seen so far. The virtual step and the scores are taken in evaluation mode: dropout would
   decide by its noise, and batch-norm would move.
3. Replay begins with the second mini-batch and draws from all that is stored: no task boundary is needed.
4. α is the learning rate of the last step. Momentum and weight decay are no part of the virtual step; other optimisers
   are foreseen as SGD.

Differences from its authors' code (optimass/Maximally_Interfered_Retrieval, mir.py):

1. 1 to 3: there, the step is on the sum, scores are taken in training mode over all labels, and from the second
   task on the images of earlier tasks alone are replayed.
2. The loss that an image had when it was stored is not compared with (their `compare_to_old_logits`, off by default).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lethe.agents.base import Network, Problem
from lethe.agents.card import Card, Style
from lethe.agents.config import SGDConfig, setting
from lethe.agents.parts.buffers import ReservoirBuffer, take
from lethe.agents.parts.sgd import SGDAgent, seen_cross_entropy
from lethe.common.errors import InputError


@dataclass(frozen=True)
class MIRConfig(SGDConfig):
    """The budget is in images, as in the published protocol; b and C are the authors' defaults."""

    memory_size: int = setting(1200, "Images kept in memory.", low=1)
    replay_images: int = setting(10, "b, images replayed with each mini-batch.", low=1)
    candidates: int = setting(
        50, "C, images drawn from memory, of which those most harmed are replayed.", low=1
    )

    def __post_init__(self) -> None:
        if self.candidates < self.replay_images:
            raise InputError(
                f"candidates: expected at least replay_images={self.replay_images}, got {self.candidates}: what is "
                f"replayed is chosen among them; with candidates={self.replay_images} it is a random draw"
            )


class MIR(SGDAgent[MIRConfig]):
    """SGD on the batch and on those images of a memory whose loss the batch alone would raise most."""

    card = Card(
        title="MIR",
        family="replay",
        keeps="images, labels",
        source="1908.04742",
        formula="m·(X + 8) + K, m = `memory_size`",
        memory=lambda c, s: s.stored_images(c.memory_size),
        style=Style("blue", "H", "dashed", filled=False),
    )

    def __init__(
        self, problem: Problem, config: MIRConfig, network: Network, *, seed: int, device: torch.device
    ):
        super().__init__(problem, config, network, seed=seed, device=device)
        self.buffer = ReservoirBuffer(config.memory_size, self.generator, device)

    def observe(self, x: Tensor, y: Tensor) -> Mapping[str, Tensor]:
        """One step on the batch and what is retrieved for it; then the batch is offered to the memory."""
        self.seen[y] = True
        inputs, labels = x, y
        if len(self.buffer):
            old_x, old_y = self.retrieved(x, y)
            inputs, labels = torch.cat([x, old_x]), torch.cat([y, old_y])
        loss = seen_cross_entropy(self.network.plastic(inputs), labels, self.seen)
        self.step(loss)
        self.buffer.add(x, y)
        return {"loss": loss.detach()}

    def retrieved(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and labels of the `replay_images` candidates whose loss a step on the batch would raise most.

        All candidates, in the order of their draw, where there are no more than that.
        """
        old_x, old_y = self.buffer.sample(self.config.candidates)
        if len(old_y) <= self.config.replay_images:
            return old_x, old_y
        rows = self.interference(x, y, old_x, old_y).topk(self.config.replay_images).indices
        return take(old_x, rows), old_y[rows]

    def interference(self, x: Tensor, y: Tensor, old_x: Tensor, old_y: Tensor) -> Tensor:
        """Scores s [N] of candidates [N, ...] with labels [N]; parameters are afterwards as before, to the bit."""
        self.network.eval()
        gradient = self.gradient(seen_cross_entropy(self.network.plastic(x), y, self.seen))
        with torch.no_grad():
            before = self.losses(old_x, old_y)
            kept = self.theta.clone()
            self.theta.sub_(gradient, alpha=self.optimizer.param_groups[0]["lr"])
            after = self.losses(old_x, old_y)
            self.theta.copy_(kept)
        self.network.train()
        return after - before

    def losses(self, x: Tensor, y: Tensor) -> Tensor:
        """The cross entropy [N] of each input over the labels seen."""
        scores = self.network.plastic(x).masked_fill(~self.seen, -torch.inf)
        return F.cross_entropy(scores, y, reduction="none")
