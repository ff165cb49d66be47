"""GDumb: store greedily and balanced, and train a fresh network on the memory alone when an answer is asked for.

Prabhu et al. 2020, "GDumb: A Simple Approach that Questions Our Progress in Continual Learning" (ECCV). Algorithm 1,
the greedy sampler, with a memory of k images, Y the labels stored and C their counts:

    an image of label y is stored if y is not in Y or C_y < k / |Y|; if the memory is full, a random image of a label
    with the largest count makes room for it.

What is at its quota is dropped, so that the first images of a label stay. The dumb learner then trains the network, as
it was at birth, by SGD with cosine warm restarts and CutMix on what is stored. Nothing else is learned.

The network is trained before every evaluation, in `prepare`, so that no task boundary is needed: a copy of it learns
and answers, and goes when the next image comes. Its cost counts as learning, and grows with the number of evaluations.
The copy, as large as the network, is no part of the memory.

Differences from the paper:

1. The softmax runs over the labels in memory. The paper's mask of a task's labels has no counterpart here.
2. 32 passes by default, not 256, so that a memory of 1,200 images costs no more than a stream of 38,400 before every
   evaluation. After a power of two the rate is at its lowest.
3. No crop and no flip: the stream has no augmentation. CutMix draws a rectangle for each image, not for the mini-batch.
4. "Fresh" is the network as it was given, pretrained where it is, as every other agent's.

Differences from its authors' code (drimpossible/GDumb):

1. The sampler runs on the stream, as algorithm 1 says. There, the first k / K images of each of all K classes are taken
   from the data set, as the stream would leave them only if K were known.
2. The accuracy is that after the last pass. There, the best pass on the test images is reported.
3. float32, not float16; mini-batches of 16, gradients cut at a norm of 10 and rates of 0.05 to 0.0005 are theirs.

The published accuracies are of other networks, with augmentation.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lethe.agents.base import Agent, Network, Problem
from lethe.agents.card import Card, Style
from lethe.agents.config import Config, setting
from lethe.agents.networks.batch_norm import check_first_batch
from lethe.agents.parts.augment import CutMix, check_images
from lethe.agents.parts.buffers import Buffer, check_shares, take
from lethe.agents.parts.device import to_device
from lethe.agents.parts.memory_passes import learner, seeded_by, shuffled
from lethe.agents.parts.sgd import seen_cross_entropy
from lethe.agents.parts.vector_optimizer import VectorSGD

_CLIP = 10.0  # the largest norm of a gradient
_LAST_RATE = 0.01  # the lowest rate, as a share of lr
_WARM_UP = 0.1  # the rate of the first pass, as a share of lr


@dataclass(frozen=True)
class GDumbConfig(Config):
    """The budget is in images, as in the published protocol; how it is trained on is as its authors do."""

    memory_size: int = setting(1200, "k, images kept in memory; at least one for each class.", low=1)
    passes: int = setting(
        32, "Passes over the memory before each evaluation; the rate ends lowest after a power of 2.", low=1
    )
    passes_batch_size: int = setting(16, "Images of one mini-batch of the memory.", low=1)
    lr: float = setting(0.05, "Largest learning rate; the smallest is a hundredth of it.", above=0)
    momentum: float = setting(0.9, "Momentum of SGD.", low=0, high=1)
    weight_decay: float = setting(1e-6, "L2 penalty on all trained parameters.", low=0)
    cutmix: float = setting(
        0.5, "Probability that a mini-batch is mixed by CutMix; 0 where inputs are no images.", low=0, high=1
    )


def warm_restarts(epoch: int) -> float:
    """The rate in pass number `epoch`, from 0, as a share of the largest.

    A tenth in pass 0; then cosines of 1, 2, 4, ... passes from 1 to a hundredth (Loshchilov and Hutter 2017, arXiv
    1608.03983, T_0 = 1, T_mult = 2).
    """
    if epoch == 0:
        return _WARM_UP
    length = 2 ** (epoch.bit_length() - 1)
    return _LAST_RATE + (1 - _LAST_RATE) * (1 + math.cos(math.pi * (epoch - length) / length)) / 2


class GreedyBuffer(Buffer):
    """Algorithm 1 for labels 0 .. `classes` - 1: those below their quota are stored, those above dropped."""

    def __init__(self, classes: int, capacity: int, generator: torch.Generator, device: torch.device):
        super().__init__(capacity, generator, device)
        self.classes = classes

    def __len__(self) -> int:
        """The number of stored rows, which depends on labels: asking waits for the device."""
        return int((self._columns[1][:-1] >= 0).sum()) if self._columns else 0

    def add(self, x: Tensor, y: Tensor) -> None:
        """Offer inputs [B, ...] and labels [B] in this order; nothing waits for the device."""
        if not self._columns:
            self._allocate([x, y])
        draws = to_device(torch.rand(len(y), generator=self.generator, dtype=torch.float64), self.device)
        for number in range(len(y)):
            one = slice(number, number + 1)
            place = greedy_place(self._columns[1][:-1], self.classes, y[one], draws[one])
            self._write(place, [x[one], y[one]])
        self.added += len(y)

    def _allocate(self, like: list[Tensor]) -> None:
        super()._allocate(like)
        self._columns[1].fill_(-1)


def greedy_place(labels: Tensor, classes: int, y: Tensor, draw: Tensor) -> Tensor:
    """The place [1] of a newcomer with label `y` [1] in a memory with these `labels` [k], int64; k: it is dropped.

    labels: of `classes`, -1 where nothing is stored, which is behind all that is. draw: [1] in [0, 1), says which image
    of the largest label, the lowest of several, makes room.
    """
    counts = (labels[:, None] == torch.arange(classes, device=labels.device)).sum(0)
    size, stored, own = len(labels), counts.sum(), counts.index_select(0, y)
    of_largest = (labels == counts.argmax()).cumsum(0)
    evicted = (of_largest <= (draw * of_largest[-1:]).long()).sum()
    wanted = (own == 0) | (own * (counts > 0).sum() < size)
    return torch.where(wanted, torch.where(stored < size, stored, evicted), size)


class GDumb(Agent[GDumbConfig]):
    """A balanced memory, and a copy of the network at birth that is trained on it before each evaluation."""

    card = Card(
        title="GDumb",
        family="replay",
        keeps="images, labels",
        source="",
        formula="m·(X + 8), m = `memory_size`",
        memory=lambda c, s: c.memory_size * (s.input_bytes + 8),
        style=Style("orange", "p"),
        toy_settings=MappingProxyType({"passes": 4}),
    )

    def __init__(
        self, problem: Problem, config: GDumbConfig, network: Network, *, seed: int, device: torch.device
    ):
        check_shares(config.memory_size, problem.num_classes)
        check_first_batch(network.plastic, problem.input_shape, config.passes_batch_size, device)
        if config.cutmix:
            check_images(network, problem.input_shape, "cutmix=0")
        super().__init__(problem, config, network, seed=seed, device=device)
        self.buffer = GreedyBuffer(problem.num_classes, config.memory_size, self.generator, device)

    def observe(self, x: Tensor, y: Tensor) -> Mapping[str, Tensor]:
        """Offer the batch to the memory; nothing is learned, and so nothing logged."""
        self.buffer.add(x, y)
        return {}

    def prepare(self) -> None:
        """Train a copy of the network, which is as it was at birth, on the memory."""
        plastic = learner(self.network.plastic)
        if len(self.buffer):
            self._train(plastic, *self.buffer.sample(self.config.memory_size))
        self.cache["network"] = plastic.eval()

    def predict(self, x: Tensor) -> Tensor:
        """Scores of the trained copy."""
        scores: Tensor = self.cache["network"](x)
        return scores

    def _train(self, plastic: nn.Module, x: Tensor, y: Tensor) -> None:
        c, generator = self.config, seeded_by(self.generator)
        seen = torch.zeros(self.problem.num_classes, dtype=torch.bool, device=self.device)
        seen[y] = True
        optimizer = VectorSGD(plastic.parameters(), lr=c.lr, momentum=c.momentum, weight_decay=c.weight_decay)
        for epoch, rows in shuffled(len(y), c.passes_batch_size, c.passes, generator, self.device):
            optimizer.param_groups[0]["lr"] = c.lr * warm_restarts(epoch)
            loss = self._loss(plastic, take(x, rows), y[rows], seen, generator)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(optimizer.parameters, _CLIP)
            optimizer.step()

    def _loss(
        self, plastic: nn.Module, x: Tensor, y: Tensor, seen: Tensor, generator: torch.Generator
    ) -> Tensor:
        """The mean cross entropy, of mixed images with the configured probability."""
        if torch.rand(1, generator=generator).item() >= self.config.cutmix:
            return seen_cross_entropy(plastic(x), y, seen)
        images, partner, share = CutMix()(x, generator)
        scores = plastic(images).masked_fill(~seen, -torch.inf)
        own = F.cross_entropy(scores, y, reduction="none")
        pasted = F.cross_entropy(scores, y[partner], reduction="none")
        return (share * own + (1 - share) * pasted).mean()
