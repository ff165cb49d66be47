"""Dark experience replay ++: replayed images keep their labels and the scores they had when they were stored.

Buzzega et al. 2020, "Dark Experience for General Continual Learning: a Strong, Simple Baseline"
(arXiv 2004.07211), equation 6 and algorithm 2: with two independent samples of a reservoir M,

    L = ℓ(y, f(x)) + α E_(x', y', z')~M ‖z' - h(x')‖² + β E_(x'', y'', z'')~M ℓ(y'', f(x'')),

h(x) being the scores, f their softmax, ℓ the cross entropy and z' the scores h(x') of the step in which x'
entered the memory.

Differences from the paper:

1. ‖·‖² is the mean over the K labels, not the sum, as in its authors' code, to whose scale α belongs.
2. The cross entropies run over the labels seen so far; the scores of all K labels are kept.
3. No augmentation: the stream has none.

Differences from its authors' code (mammoth, models/derpp.py):

1. Batch and samples go through the network together, which where there is batch-norm gives them common
   statistics.
2. α = 0.2 and β = 0.5 by default, theirs for CIFAR-10 with 500 images; they search both for each benchmark.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lethe.agents.base import Network, Problem
from lethe.agents.card import Card, Style
from lethe.agents.config import SGDConfig, setting
from lethe.agents.parts.buffers import ReservoirBuffer
from lethe.agents.parts.sgd import SGDAgent, seen_cross_entropy


@dataclass(frozen=True)
class DERppConfig(SGDConfig):
    """The budget is in images, as in the published protocol; each comes with K scores in float32."""

    memory_size: int = setting(1200, "Images kept in memory.", low=1)
    replay_images: int = setting(10, "Images of each of the two samples replayed with a mini-batch.", low=1)
    alpha: float = setting(0.2, "α, the weight of the distance to the scores in memory.", low=0)
    beta: float = setting(0.5, "β, the weight of the cross entropy of replayed images.", low=0)


class DERpp(SGDAgent[DERppConfig]):
    """SGD on the batch, on remembered scores and on remembered labels."""

    card = Card(
        title="DER++",
        family="replay",
        keeps="images, labels, scores",
        source="2004.07211",
        formula="m·(X + 8 + 4·K) + K, m = `memory_size`",
        memory=lambda c, s: s.stored_images(c.memory_size) + 4 * c.memory_size * s.classes,
        style=Style("blue", "D", "dashed", filled=False),
    )

    def __init__(
        self, problem: Problem, config: DERppConfig, network: Network, *, seed: int, device: torch.device
    ):
        super().__init__(problem, config, network, seed=seed, device=device)
        self.buffer = ReservoirBuffer(config.memory_size, self.generator, device)

    def observe(self, x: Tensor, y: Tensor) -> Mapping[str, Tensor]:
        """One step on equation 6; then the batch and its scores are offered to the memory."""
        self.seen[y] = True
        if len(self.buffer):
            scores, loss = self.replayed_loss(x, y)
        else:
            scores = self.network.plastic(x)
            loss = seen_cross_entropy(scores, y, self.seen)
        self.step(loss)
        self.buffer.add(x, y, scores.detach())
        return {"loss": loss.detach()}

    def replayed_loss(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The batch's scores [B, K], and L (equation 6)."""
        x1, _, z1 = self.buffer.sample(self.config.replay_images)
        x2, y2, _ = self.buffer.sample(self.config.replay_images)
        scores, scores1, scores2 = self.network.plastic(torch.cat([x, x1, x2])).split(
            [len(x), len(x1), len(x2)]
        )
        loss = seen_cross_entropy(scores, y, self.seen)
        distance = F.mse_loss(scores1, z1)
        replayed = seen_cross_entropy(scores2, y2, self.seen)
        return scores, loss + self.config.alpha * distance + self.config.beta * replayed
