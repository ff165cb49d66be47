"""Fine-tuning: plain SGD on the stream, the lower bound.

Differences from the authors' code (agents/default.py of AugMem):

1. The loss runs over the labels that have come by, not over all labels of the current task: the agent is
   not told that a task has begun. The two differ only until each class of a task has shown its first image.
"""

from collections.abc import Mapping

from torch import Tensor

from lethe.agents.card import Card, Style
from lethe.agents.parts.sgd import S, SGDAgent, seen_cross_entropy


class Finetune(SGDAgent[S]):
    """One step of SGD on each mini-batch; nothing is done against forgetting."""

    card = Card(
        title="Fine-tuning",
        family="bound",
        keeps="nothing",
        formula="K",
        memory=lambda c, s: s.classes,
        style=Style("grey", "v", "dashed", filled=False),
        published=("NormalNN lower bound",),
    )

    def observe(self, x: Tensor, y: Tensor) -> Mapping[str, Tensor]:
        """One step on the batch."""
        self.seen[y] = True
        loss = seen_cross_entropy(self.network.plastic(x), y, self.seen)
        self.step(loss)
        return {"loss": loss.detach()}
