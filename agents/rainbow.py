"""Rainbow Memory: of each class images from the surest to the least sure, at even distances, and passes over them.

Bang et al. 2021, "Rainbow Memory: Continual Learning with a Memory of Diverse Samples" (CVPR, arXiv 2103.17230). An
image x is perturbed T times; with ŷ_t the network's answers its uncertainty is (equations 1 to 3, by votes)

    u(x) = 1 - 1/T max_c Σ_t 1[ŷ_t = c].

At the end of a task the images of each class, of the task and of the memory, are sorted by u, and as many as its share
of the memory are kept: those at even distances, the surest and the least sure included. The stream is learned together
with draws of the memory, with CutMix; passes over the new memory follow.

Differences from the paper:

1. One pass over the stream, in its order; the paper learns many epochs of a task. The head is not drawn anew.
2. Perturbed is each image by one draw of a crop, colour jitter and a black square together, T times; in training CutMix
   alone is used, not AutoAugment.
3. Shares of the budget are whole numbers, one more for the lowest labels. A budget of less than one a class is refused.
4. Labels may come back, and are then chosen anew from their images and old exemplars.

Differences from the published code (other_models/rainbow of AugMem):

1. Tests have the labels of training. There, lists of another run and paradigm are read, so that most labels name other
   objects.
2. Nothing is chosen by test accuracy; there, the best epoch's is what is recorded.
3. Even distances also for fewer than twice as many images as places. There, every (n // m)-th of n sorted images up to
   m is kept, which are the m surest where n < 2m.
4. `replay_epochs` for all tasks; there, 15 for the first and 5 for others.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lethe.agents.base import Needs, Network, Problem, TaskData, TaskInfo
from lethe.agents.card import Card, Style
from lethe.agents.config import SGDConfig, setting
from lethe.agents.parts.augment import CutMix, Cutout, RandomCrop, check_images
from lethe.agents.parts.augment_colour import ColourJitter
from lethe.agents.parts.buffers import check_shares
from lethe.agents.parts.device import to_device
from lethe.agents.parts.exemplars import gather, shares
from lethe.agents.parts.sgd import SGDAgent

_BATCH = 64  # images of one pass without gradients


@dataclass(frozen=True)
class RainbowConfig(SGDConfig):
    """T and CutMix as in the paper, the rate and the passes as in AugMem's scripts; the budget of the other agents."""

    lr: float = setting(4e-3, "Learning rate.", above=0)
    memory_size: int = setting(1200, "Images kept in memory.", low=1)
    replay_images: int = setting(10, "Images replayed with each mini-batch.", low=1)
    perturbations: int = setting(12, "T, how often an image is perturbed for its uncertainty.", low=1)
    cutmix: float = setting(0.5, "Probability with which a step is on images mixed by CutMix.", low=0, high=1)
    replay_epochs: int = setting(5, "Passes over the memory at the end of a task.", low=0)


def perturbed(x: Tensor, generator: torch.Generator) -> Tensor:
    """uint8 images [B, 3, H, W], each shifted, of other colours, and with a black square."""
    side = min(x.shape[2:])
    x = RandomCrop(padding=max(1, side // 8))(x, generator)
    x = ColourJitter(0.4, 0.4, 0.4, 0.1)(x, generator)
    return Cutout(size=max(1, side // 4))(x, generator)


def uncertainty(answers: Tensor) -> Tensor:
    """The uncertainty u [B] of answers [T, B], the labels that T perturbations were given."""
    votes: Tensor = F.one_hot(answers).sum(0)
    return 1 - votes.amax(1) / len(answers)


def spread(uncertain: Tensor, count: int) -> Tensor:
    """At most `count` of N rows at even distances in the order of `uncertain` [N], the first and the last included."""
    order = uncertain.argsort(stable=True)
    if count >= len(order):
        return order
    places = torch.linspace(0, len(order) - 1, count, dtype=torch.float64).round().long()
    return order[places.to(order.device)]


class Rainbow(SGDAgent[RainbowConfig]):
    """Replays a memory that is chosen anew, class by class, at the end of each task."""

    card = Card(
        title="Rainbow Memory",
        family="replay",
        keeps="images, labels",
        source="2103.17230",
        formula="m·(X + 8) + K, m = `memory_size`",
        memory=lambda c, s: s.stored_images(c.memory_size),
        style=Style("purple", "*"),
    )
    needs = Needs(task_boundaries=True, task_data=True)

    def __init__(
        self, problem: Problem, config: RainbowConfig, network: Network, *, seed: int, device: torch.device
    ):
        check_shares(config.memory_size, problem.num_classes)
        check_images(network, problem.input_shape)
        super().__init__(problem, config, network, seed=seed, device=device)
        self.buffer: dict[str, Tensor] = {}
        """The memory: `inputs` [N, ...] and `labels` [N], by label."""

    def observe(self, x: Tensor, y: Tensor) -> Mapping[str, Tensor]:
        """One step on the batch and a draw of the memory."""
        self.seen[y] = True
        if self.buffer:
            drawn = torch.randperm(len(self.buffer["labels"]), generator=self.generator)
            rows = to_device(drawn[: self.config.replay_images], self.device)
            x = torch.cat([x, self.buffer["inputs"][rows]])
            y = torch.cat([y, self.buffer["labels"][rows]])
        return {"loss": self._learn(x, y)}

    def _learn(self, x: Tensor, y: Tensor) -> Tensor:
        """One step, on mixed images now and then; the loss."""
        mixes = torch.rand((), generator=self.generator).item() < self.config.cutmix
        partner, share = y, torch.ones(len(y), device=self.device)
        if mixes:
            x, drawn, share = CutMix()(x, self.generator)
            partner = y[drawn]
        scores = self.network.plastic(x).masked_fill(~self.seen, -torch.inf)
        own, other = (F.cross_entropy(scores, labels, reduction="none") for labels in (y, partner))
        loss = (share * own + (1 - share) * other).mean()
        self.step(loss)
        return loss.detach()

    def end_task(self, task: TaskInfo, data: TaskData) -> None:
        """Choose the memory anew, and pass over it."""
        self.network.eval()
        with torch.no_grad():
            self._choose(data)
        self.network.train()
        inputs, labels = self.buffer["inputs"], self.buffer["labels"]
        for _ in range(self.config.replay_epochs):
            order = torch.randperm(len(labels), generator=self.generator)
            for drawn in order.split(self.config.batch_size):
                rows = to_device(drawn, self.device)
                self._learn(inputs[rows], labels[rows])

    def _choose(self, data: TaskData) -> None:
        """Keep of each label's images, in the task and in memory, its share, at even distances of uncertainty."""
        found = [(uncertainty(self._answers(x)), y) for x, y in self._candidates(data)]
        uncertain, labels = (torch.cat(column) for column in zip(*found, strict=True))
        classes = labels.unique().tolist()
        chosen = []
        for label, share in zip(classes, shares(self.config.memory_size, len(classes)), strict=True):
            rows = (labels == label).nonzero().squeeze(1)
            chosen.append(rows[spread(uncertain[rows], share)])
        rows = torch.cat(chosen)
        # A second pass for the images: those of a whole task need not fit where their uncertainties do.
        self.buffer = {"inputs": gather(self._candidates(data), rows), "labels": labels[rows]}

    def _candidates(self, data: TaskData) -> Iterator[tuple[Tensor, Tensor]]:
        """The memory, then the task's images, with their labels, in batches."""
        if self.buffer:
            yield from zip(
                self.buffer["inputs"].split(_BATCH), self.buffer["labels"].split(_BATCH), strict=True
            )
        yield from data.batches(_BATCH)

    def _answers(self, x: Tensor) -> Tensor:
        """The labels [T, B] that the network gives to perturbed inputs."""
        found = []
        for _ in range(self.config.perturbations):
            scores = self.network.plastic(perturbed(x, self.generator))
            found.append(scores.masked_fill(~self.seen, -torch.inf).argmax(1))
        return torch.stack(found)
