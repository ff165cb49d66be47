"""Experience replay: each batch is learned together with as many images from a memory.

Chaudhry et al. 2019, "On Tiny Episodic Memories in Continual Learning" (arXiv 1902.10486), algorithm 1 with
reservoir sampling, or with a memory that gives all classes equal shares.

With `steps`, `augmentation`, `buffer=balanced` and `review_epochs` it is the tuned ER that others compare with:

* several steps on each mini-batch, each with a new draw of replay and of augmentation: repeated augmented
  rehearsal, Zhang et al. 2022, "A Simple but Strong Baseline for Online Continual Learning" (arXiv 2209.13917);
* a class-balanced memory: Buzzega et al. 2021, "Rethinking Experience Replay: a Bag of Tricks for Continual
  Learning" (arXiv 2010.05595);
* a review of the memory at a tenth of the learning rate: the review trick of Mai et al. 2022, "Online Continual
  Learning in Image Classification: An Empirical Survey" (arXiv 2101.10423).

Differences from the paper:

1. Replayed images are drawn before the batch enters the memory, so that none appears twice in a step.
2. The balanced memory keeps a uniform sample of each class, where the paper's ring buffer keeps the last
   images; and what a class does not fill is left to the others.

Differences of the options from their papers:

1. Batch and replay are augmented alike, by a crop, or a crop and a flip, not by RandAugment.
2. Before every evaluation a copy of the network reviews the memory and answers, and the stream goes on with the
   network as it was; there, the network itself reviews at the end of each task. No task boundary is needed.
3. The balanced memory is the one above, not a reservoir that gives up rows of the largest class.

Differences from the authors' code (NaiveRehearsal in agents/exp_replay.py of AugMem):

1. It replays. There, the method that replays is defined inside the constructor and never becomes a method,
   so the published baseline is plain fine-tuning.
2. One step on the union of batch and replay, rather than one step on each; a reservoir or equal shares a
   class, rather than equal shares a task, so that no task boundary is needed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from lethe.agents.base import Network, Problem
from lethe.agents.card import Card, Style
from lethe.agents.config import SGDConfig, setting
from lethe.agents.parts.augment import RandomCrop, RandomFlip, check_images
from lethe.agents.parts.buffers import BalancedBuffer, ReservoirBuffer, check_shares, take
from lethe.agents.parts.memory_passes import learner, seeded_by, shuffled
from lethe.agents.parts.sgd import SGDAgent, build_optimizer, seen_cross_entropy

BUFFERS = {"reservoir": ReservoirBuffer, "balanced": BalancedBuffer}
AUGMENTATIONS = ("none", "crop", "crop_flip")
_PADDING = 8  # a crop's border is this part of the image's height: the usual 4 pixels of 32
_REVIEW_RATE = 0.1  # a review's learning rate, as a share of lr


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
    steps: int = setting(1, "Steps on each mini-batch, each with a new draw of replay.", low=1)
    augmentation: str = setting(
        "none", "Random changes of batch and replay in each step.", choices=AUGMENTATIONS
    )
    review_epochs: int = setting(
        0, "Passes of a copy of the network over the memory, at a tenth of lr, before each evaluation.", low=0
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
        if config.augmentation != "none":
            check_images(network, problem.input_shape, "augmentation=none")
        super().__init__(problem, config, network, seed=seed, device=device)
        self.buffer = BUFFERS[config.buffer](config.memory_size, self.generator, device)

    def observe(self, x: Tensor, y: Tensor) -> Mapping[str, Tensor]:
        """Steps on the batch and its replay; then the batch is offered to the memory."""
        self.seen[y] = True
        loss = torch.stack([self._replay(x, y) for _ in range(self.config.steps)]).mean()
        self.buffer.add(x, y)
        return {"loss": loss}

    def _replay(self, x: Tensor, y: Tensor) -> Tensor:
        """One step on the batch and a draw from the memory; its loss."""
        if len(self.buffer):
            old_x, old_y = self.buffer.sample(self.config.replay_images)
            x, y = torch.cat([x, old_x]), torch.cat([y, old_y])
        loss = seen_cross_entropy(self.network.plastic(self._augmented(x)), y, self.seen)
        self.step(loss)
        return loss.detach()

    def _augmented(self, x: Tensor) -> Tensor:
        if self.config.augmentation != "none":
            x = RandomCrop(x.shape[2] // _PADDING)(x, self.generator)
        if self.config.augmentation == "crop_flip":
            x = RandomFlip()(x, self.generator)
        return x

    def prepare(self) -> None:
        """Review the memory, where that is asked for."""
        if self.config.review_epochs and len(self.buffer):
            self.cache["network"] = self._reviewed()

    def _reviewed(self) -> nn.Module:
        """A copy of the network that has passed over the memory, in mini-batches of `replay_images`."""
        c, generator, plastic = self.config, seeded_by(self.generator), learner(self.network.plastic)
        optimizer = build_optimizer(
            replace(c, lr=_REVIEW_RATE * c.lr, schedule="constant"), plastic.parameters()
        )
        x, y = self.buffer.sample(c.memory_size)
        for _, rows in shuffled(len(y), c.replay_images, c.review_epochs, generator, self.device):
            optimizer.zero_grad()
            torch.autograd.backward(seen_cross_entropy(plastic(take(x, rows)), y[rows], self.seen))
            optimizer.step()
        return plastic.eval()

    def predict(self, x: Tensor) -> Tensor:
        """Scores of the network, or of its copy that has reviewed the memory."""
        scores: Tensor = self.cache.get("network", self.network.plastic)(x)
        return scores
