"""CRUMB: feature maps are rebuilt from a codebook of trainable blocks, and replayed from the blocks' indices.

Talbot et al. 2023, "Tuned Compositional Feature Replays for Efficient Stream Learning" (TNNLS, arXiv 2104.02206v6), the
successor of AugMem. Behind a frozen trunk, every group k of F channels at every position of a feature map X is replaced
by the nearest of N trainable blocks M,

    read(X): k → M_i,   i = argmin_i |k - M_i|,

and the plastic layers P judge features, `direct` = P(X), and what is read, `mem` = P(read(X)). A mini-batch is one step
on CE(mem, y) + c_direct CE(direct, y), whose gradient reaches the blocks that were read; then, from the second task on,
one step on as many stored images, c_replay CE(P(their blocks), y). An image is stored as the indices i; the answer is
`direct`, as in the paper.

Differences from the paper:

1. Codebook and network are pretrained together on the first task, with c_direct = 1. This is the loss of the paper's
   pretraining, ten passes over ImageNet. A trunk here has been pretrained without a codebook.
2. The first blocks are k-means centres of the groups of the first mini-batch (`parts/fitted_slots.py`), one of
   them zero, for silent channels. The paper's are drawn to have the spread and sparsity of features.
3. Blocks are chosen by distance. The paper's are chosen by <k, M_i> / |M_i|, which looks at the direction alone:
   without its pretraining, what is read is further from the features of the small network than zeros are.
4. c_direct is `direct_weight` after the first task too; 0 is as published, and what judges is then not trained on the
   features that it judges.

Differences from the authors' code:

1. The store is a random sample of each class's images, `memory_size` in equal shares of the classes so far, drawn in a
   second pass over the task. There, a class's share is filled from every so many images of a batch and shuffled,
   so that later ones are likelier to stay.
2. Replayed images are of all stored classes. There, they are of those that the mini-batch lacks: the same, unless
   classes come back. Here, no step waits for the device to tell labels.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lethe.agents.base import Needs, Network, Problem, TaskData, TaskInfo
from lethe.agents.card import Card, Setting, Style
from lethe.agents.config import SGDConfig, setting
from lethe.agents.networks.quantised import map_shape, maps
from lethe.agents.parts.fitted_slots import FittedSlots
from lethe.agents.parts.sgd import SGDAgent, seen_cross_entropy
from lethe.agents.parts.slot_memory import Rows, SlotStore
from lethe.common.errors import InputError

_LARGEST_GRADIENT = 10.0
_BATCH = 64  # images encoded at once


@dataclass(frozen=True)
class CRUMBConfig(SGDConfig):
    """As published for CORe50 and Toybox, but for `lr` (published: 0.001), `block_width` and `direct_weight`."""

    batch_size: int = setting(21, "Images of one mini-batch of the stream.", low=1)
    epochs_first_task: int | None = setting(10, "Passes over the first task, where it differs.", low=1)
    lr: float = setting(3e-3, "Learning rate.", above=0)
    blocks: int = setting(256, "N, blocks of the codebook.", low=2, high=32_768)
    block_width: int = setting(
        8, "F, channels of a block; must divide those of the features; published: 16.", low=1
    )
    memory_size: int = setting(417, "Images stored, of all classes together.", low=1)
    replay_weight: float = setting(5.0, "c_replay, weight of the replay loss.", low=0)
    direct_weight: float = setting(
        1.0, "Weight of the loss of `direct` after the first task; published: 0.", low=0
    )


class Blocks(FittedSlots):
    """Blocks M [N, F], of which each group of channels is replaced by the nearest."""

    def __init__(self, blocks: int, width: int, device: torch.device):
        super().__init__(blocks, width, 1.0, device)

    def read(self, x: Tensor) -> Tensor:
        """`x` [B, D, H, W] rebuilt from blocks, with gradients to these."""
        return self.rebuilt(self.winners(x), x.shape[1:])

    def rebuilt(self, winners: Tensor, shape: torch.Size) -> Tensor:
        """Maps [B, *shape] of indices [B, L], with gradients to the blocks."""
        return self._maps(F.embedding(winners.int(), self.slots), (len(winners), *shape))


def _memory(c: CRUMBConfig, s: Setting) -> int:
    channels, height, width = s.shape
    index = 1 if c.blocks <= 256 else 2
    stored = c.memory_size // s.classes * s.classes
    row = height * width * channels // c.block_width * index + 4
    return 4 * c.blocks * c.block_width + s.classes + stored * row


class CRUMB(SGDAgent[CRUMBConfig]):
    """SGD on rebuilt features, and on stored ones rebuilt from blocks as they are now."""

    card = Card(
        title="CRUMB",
        family="augmented memory",
        keeps="blocks, indices of blocks, keys of a draw",
        source="2104.02206",
        formula="4·N·F + K + n·(L + 4), N blocks of F numbers, L = H·W·C / F indices, "
        "n = `memory_size` in equal shares",
        memory=_memory,
        style=Style("vermillion", "s", "dashed"),
        toy_settings={"block_width": 4},
    )
    needs = Needs(task_boundaries=True, task_data=True, frozen_trunk=True)
    cut = "last_block"

    def __init__(
        self, problem: Problem, config: CRUMBConfig, network: Network, *, seed: int, device: torch.device
    ):
        _check(map_shape(network, problem.input_shape)[0], problem.num_classes, config)
        super().__init__(problem, config, network, seed=seed, device=device)
        self.codebook = Blocks(config.blocks, config.block_width, device)
        self.train_also(self.codebook)
        self.store = SlotStore(problem.num_classes, self.generator, device)
        """Indices of blocks, and keys [n, 1] of the draw: of each class those with the lowest are kept."""
        self.pretrained = False
        """Whether the first task has ended."""

    def observe(self, x: Tensor, y: Tensor) -> Mapping[str, Tensor]:
        """A step on the batch, and one on as many stored images."""
        self.seen[y] = True
        x = maps(self.network, x)
        if self.codebook.mean_square is None:
            self.codebook.fit(x, self.generator)  # on the CPU, this once
        loss = self._loss(self.network.plastic(self.codebook.read(x)), y)
        weight = self.config.direct_weight if self.pretrained else 1.0
        if weight:
            loss = loss + weight * self._loss(self.network.plastic(x), y)
        self.step(loss)
        logged = {"loss": loss.detach()}
        labels = self.store.labels
        if labels:
            winners, _, old = self.store.sample(labels, -(-len(y) // len(labels)))
            rebuilt = self.codebook.rebuilt(winners, x.shape[1:])
            loss = self.config.replay_weight * self._loss(self.network.plastic(rebuilt), old)
            self.step(loss)
            logged["replay_loss"] = loss.detach()
        return logged

    def step(self, loss: Tensor) -> None:
        """One step of the optimiser, every element of the gradient between -10 and 10."""
        self.optimizer.descend(self.gradient(loss).clamp_(-_LARGEST_GRADIENT, _LARGEST_GRADIENT))

    def end_task(self, task: TaskInfo, data: TaskData) -> None:
        """Store a random sample of each class, smaller ones of earlier classes."""
        self.pretrained = True
        share = self.config.memory_size // len(task.classes)
        new: dict[int, Rows] = {}
        for x, y in data.batches(_BATCH):
            found = self.codebook.winners(maps(self.network, x))
            keys = torch.rand(len(y), 1, generator=self.generator).to(self.device)
            for label in y.unique().tolist():
                before, rows = new.get(label) or self.store.of(label), y == label
                joined = [torch.cat(pair) for pair in zip(before, (found[rows], keys[rows]), strict=True)]
                kept = joined[1].squeeze(1).argsort(stable=True)[:share]
                new[label] = joined[0][kept], joined[1][kept]
        self.store.update(new, slice(share))

    def predict(self, x: Tensor) -> Tensor:
        """`direct` [B, K], scores of the features."""
        scores: Tensor = self.network.plastic(x)
        return scores

    def predict_also(self, x: Tensor) -> Mapping[str, Tensor]:
        """`mem` [B, K], scores of the rebuilt features."""
        return {"mem": self.network.plastic(self.codebook.read(maps(self.network, x)))}

    def _loss(self, scores: Tensor, y: Tensor) -> Tensor:
        return seen_cross_entropy(scores, y, self.seen)


def _check(channels: int, classes: int, config: CRUMBConfig) -> None:
    """`InputError` where blocks do not fit, or the store has no row for some class."""
    problems = []
    if channels % config.block_width:
        problems.append(
            f"block_width: expected a number that divides the {channels} channels, got {config.block_width}"
        )
    if config.memory_size < classes:
        problems.append(
            f"memory_size: expected at least 1 for each of {classes} classes, got {config.memory_size}"
        )
    if problems:
        raise InputError(*problems)
