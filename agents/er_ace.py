"""ER-ACE: replay with an asymmetric cross entropy, in which new classes do not push old ones away.

Caccia et al. 2022, "New Insights on Reducing Abrupt Representation Change in Online Continual Learning" (ICLR, arXiv
2104.05025). The loss of a mini-batch X_in and its replay X_bf is

    L = L_ce(X_in; C_curr) + L_ce(X_bf; C_old ∪ C_curr),

where L_ce(X; C) is the mean cross entropy of X with a softmax over the labels C alone, C_curr are the labels of X_in
and C_old ∪ C_curr all labels seen. A label that is not in the mini-batch gets no gradient from it: at a change of
classes the new images do not move the features of old ones, and only replay weighs new against old.

Where all images of a mini-batch have one label, as often under class_instance, the first term is 0 and the step learns
from replay alone; `incoming` in the log shows it.

Differences from the paper:

1. None known in the loss. Memory, draws and order are those of `er`: a reservoir, drawn from before the batch enters.

Differences from its authors' code (pclucas14/AML, methods/er_ace.py and er.py):

1. Labels that have never come are left out of both terms. There, the first term also runs over the labels above the
   largest one that came, and the second over all, so that a mini-batch of one label has a loss there while labels are
   left to come.
2. Batch and replay go through the network together, which where there is batch-norm gives them common statistics.
3. No augmentation: the stream has none.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lethe.agents.base import Network, Problem
from lethe.agents.card import Card, Style
from lethe.agents.config import SGDConfig, setting
from lethe.agents.parts.buffers import ReservoirBuffer
from lethe.agents.parts.sgd import SGDAgent, seen_cross_entropy


@dataclass(frozen=True)
class ERACEConfig(SGDConfig):
    """The budget is in images, as in the published protocol; as many are replayed as come, as in the paper."""

    memory_size: int = setting(1200, "Images kept in memory.", low=1)
    replay_images: int = setting(10, "Images replayed with each mini-batch.", low=1)


class ERACE(SGDAgent[ERACEConfig]):
    """SGD on the batch over its own labels, and on a sample of a memory over all labels seen."""

    card = Card(
        title="ER-ACE",
        family="replay",
        keeps="images, labels",
        source="2104.05025",
        formula="m·(X + 8) + K, m = `memory_size`",
        memory=lambda c, s: s.stored_images(c.memory_size),
        style=Style("sky", "p", "dash-dotted", filled=False),
    )

    def __init__(
        self, problem: Problem, config: ERACEConfig, network: Network, *, seed: int, device: torch.device
    ):
        super().__init__(problem, config, network, seed=seed, device=device)
        self.buffer = ReservoirBuffer(config.memory_size, self.generator, device)

    def observe(self, x: Tensor, y: Tensor) -> Mapping[str, Tensor]:
        """One step on L; then the batch is offered to the memory."""
        self.seen[y] = True
        incoming, replayed = self.losses(x, y)
        self.step(incoming + replayed)
        self.buffer.add(x, y)
        return {"incoming": incoming.detach(), "replayed": replayed.detach()}

    def losses(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The two terms of L; the second is 0 while the memory is empty."""
        here = torch.zeros_like(self.seen)
        here[y] = True
        if not len(self.buffer):
            incoming = seen_cross_entropy(self.network.plastic(x), y, here)
            return incoming, torch.zeros_like(incoming)
        old_x, old_y = self.buffer.sample(self.config.replay_images)
        scores, old_scores = self.network.plastic(torch.cat([x, old_x])).split([len(x), len(old_x)])
        return seen_cross_entropy(scores, y, here), seen_cross_entropy(old_scores, old_y, self.seen)
