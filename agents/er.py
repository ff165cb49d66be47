"""Experience replay: each batch is learned together with as many images from a memory.

Chaudhry et al. 2019, "On Tiny Episodic Memories in Continual Learning" (arXiv 1902.10486), algorithm 1 with
reservoir sampling, or with a memory that gives all classes equal shares.

Differences from the paper:

1. Replayed images are drawn before the batch enters the memory, so that none appears twice in a step.
2. The balanced memory keeps a uniform sample of each class, where the paper's ring buffer keeps the last
   images; and what a class does not fill is left to the others.

Differences from the authors' code (NaiveRehearsal in agents/exp_replay.py of AugMem):

1. It replays. There, the method that replays is defined inside the constructor and never becomes a method,
   so the published baseline is plain fine-tuning.
2. One step on the union of batch and replay, rather than one step on each; a reservoir or equal shares a
   class, rather than equal shares a task, so that no task boundary is needed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lethe.agents.base import Network, Problem
from lethe.agents.card import Card, Style
from lethe.agents.config import SGDConfig, setting
from lethe.agents.parts.buffers import BalancedBuffer, ReservoirBuffer, check_shares
from lethe.agents.parts.sgd import SGDAgent, seen_cross_entropy

BUFFERS = {"reservoir": ReservoirBuffer, "balanced": BalancedBuffer}


@dataclass(frozen=True)
class ERConfig(SGDConfig):
    """The budget is in images, as in the published protocol."""

    memory_size: int = setting(1200, "Images kept in memory.", low=1)
    replay_images: int = setting(10, "Images replayed with each mini-batch.", low=1)
    buffer: str = setting(
        "reservoir",
        "What is kept: a uniform sample, or one of each class in equal shares.",
        choices=tuple(BUFFERS),
    )


class ER(SGDAgent[ERConfig]):
    """SGD on the batch and a sample of a memory of raw images."""

    card = Card(
        title="ER",
        family="replay",
        keeps="images, labels",
        source="1902.10486",
        formula="m·(X + 8) + K, m = `memory_size`",
        memory=lambda c, s: s.stored_images(c.memory_size),
        style=Style("blue", "o"),
        published=("NaiveRehearsal",),
    )

    def __init__(
        self, problem: Problem, config: ERConfig, network: Network, *, seed: int, device: torch.device
    ):
        if config.buffer == "balanced":
            check_shares(config.memory_size, problem.num_classes)
        super().__init__(problem, config, network, seed=seed, device=device)
        self.buffer = BUFFERS[config.buffer](config.memory_size, self.generator, device)

    def observe(self, x: Tensor, y: Tensor) -> Mapping[str, Tensor]:
        """One step on the batch and its replay; then the batch is offered to the memory."""
        self.seen[y] = True
        inputs, labels = x, y
        if len(self.buffer):
            old_x, old_y = self.buffer.sample(self.config.replay_images)
            inputs, labels = torch.cat([x, old_x]), torch.cat([y, old_y])
        loss = seen_cross_entropy(self.network.plastic(inputs), labels, self.seen)
        self.step(loss)
        self.buffer.add(x, y)
        return {"loss": loss.detach()}
