"""AugMem: features are read through a small memory of slots, and replayed from the slots that they read.

Zhang et al. 2021, "Hypothesis-driven Stream Learning with Augmented Memory" (arXiv 2104.02206; later versions are
called HAMN and CRUMB). Behind a frozen trunk, every group k of F channels at every position of a feature map X is
replaced by what it reads from N trainable slots M_k:

    a = softmax(β <k, M>),   read = a M.

The plastic layers P judge the features, `direct` = P(X), and their reads, `mem` = P(read(X)), which is the answer. With
labels restricted to those met so far, BCE between sigmoids, and u_k marking slots that a stored image uses, a
mini-batch is one step on

    CE(mem, y) + CE(direct, y) + c_distil BCE(mem, direct) + c_reg Σ_(k: u_k) |M_k - M̂_k|²,

where direct is the teacher and M̂ are the slots at the end of the last task; then, from the second task on, one step
on as many stored images of classes that the mini-batch lacks, o = P(the slots that the image read),

    c_replay (CE(o, y) + c_distil BCE(o, scores stored with the image)).

An image is stored as the index of the winning slot of each read, and its direct scores; no pixels.

Differences from the paper:

1. The first slots are fitted to the reads of the first mini-batch and chosen by distance, softmax(-β |k - M|² / 2s)
   (`parts/fitted_slots.py`). Slots drawn from N(0, 1) and chosen by inner product, as in paper and code, do not
   represent the features of a small network: the error of their reads is 77 % of the features' squares, against 15 %,
   and ten of a hundred slots answer 89 % of them. `slots_from=normal` gives these.
2. The store is filled in a second pass over the task, as in the authors' code; it needs the ends of tasks.
3. Reads that all slots answer alike, such as those of silent channels, are stored as the lowest slot.

Differences from the authors' code, which `augmem_published` reproduces:

1. M̂ stays for a task. There it is renewed after every step, so that the regulariser is zero.
2. Distillation teaches mem from direct, and replayed from stored scores. There the arguments are swapped: direct
   learns from mem, and replay has no distillation at all.
3. Earlier classes give up rows as classes come, so that the budget of images holds. There they keep theirs.
4. The learning rate stays as configured. There it is 0.001 from the third task on.
5. Herding normalises every candidate by itself, not all of them together.
6. Slots without a gradient are left alone in replay steps, as PyTorch 2 does; PyTorch 1, for which the code was
   written, applies momentum and weight decay to them. The code's own random draws are another generator's.
7. The store is filled once, after the last pass over a task, where theirs is after each. In the first task this makes
   no difference to what is learned; in later tasks that are passed over more than once, they replay images of the
   current task from its second pass on. Images are encoded only if they stay in the store.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import TypeVar

from lethe.agents.base import Needs, Network, Problem, TaskData, TaskInfo
from lethe.agents.card import Card, Setting, Style
from lethe.agents.config import SGDConfig, setting
from lethe.agents.networks.quantised import map_shape, maps
from lethe.agents.parts.fitted_slots import FittedSlots
from lethe.agents.parts.sgd import SGDAgent, seen_cross_entropy
from lethe.agents.parts.slot_memory import Rows, SlotMemory, SlotStore, herd
from lethe.common.errors import InputError

STRIDE = 5  # of each class in a mini-batch, the images 0, 5, 10, ... are stored
_LARGEST_GRADIENT = 10.0
_BATCH = 64  # images encoded at once


@dataclass(frozen=True)
class AugMemConfig(SGDConfig):
    """As published for CORe50 class_iid, but for slots fitted to the features, and `lr`, `replay_weight` and
    `regulariser_weight` chosen with these on validation images of core50_mini.
    """

    batch_size: int = setting(21, "Images of one mini-batch of the stream.", low=1)
    epochs_first_task: int | None = setting(10, "Passes over the first task, where it differs.", low=1)
    lr: float = setting(3e-3, "Learning rate.", above=0)
    lr_after_first: float | None = setting(
        None, "Learning rate set at the end of every task but the first; none: it stays.", above=0
    )
    slots: int = setting(100, "N, slots of the memory.", low=1, high=32_768)
    slots_from: str = setting(
        "features",
        "First slots and reads: fitted to the first mini-batch and read by distance, "
        "or drawn from N(0, 1) and read by inner product, as published.",
        choices=("features", "normal"),
    )
    slot_width: int = setting(8, "F, channels of a slot; must divide those of the features.", low=1)
    sharpness: float = setting(5.0, "β, how sharply a read picks the nearest slot.", above=0)
    memory_size: int = setting(200, "Images stored, of all classes together.", low=1)
    herding: bool = setting(
        False, "Store the images whose mean read is nearest to the class's, not the newest."
    )
    replay_weight: float = setting(3.0, "c_replay, weight of the replay loss.", low=0)
    replay_times: int = setting(1, "Replay steps after each mini-batch.", low=0)
    regulariser_weight: float = setting(
        100.0, "c_reg, weight of the drift of used slots; above (1 + momentum) / lr they oscillate.", low=0
    )
    distillation_weight: float = setting(1.0, "c_distil, weight of the distillation losses.", low=0)

    def notes(self) -> tuple[str, ...]:
        """Steps on the regulariser alone overshoot from (1 + momentum) / lr on: its curvature is 2 c_reg."""
        largest = (1 + self.momentum) / self.lr
        if self.optimizer != "sgd" or self.regulariser_weight <= largest:
            return ()
        return (
            f"regulariser_weight={self.regulariser_weight:g} is above (1 + momentum) / lr = {largest:.4g}, "
            "where used slots oscillate instead of being held",
        )


A = TypeVar("A", bound=AugMemConfig, default=AugMemConfig, covariant=True)
"""The type of an agent's configuration."""


SLOTS = "8·N·F + N + K + n·(L + 4·K), N slots of F numbers, L = H·W·C / F indices"


def slot_bytes(c: AugMemConfig, s: Setting, stored: int) -> int:
    """Bytes of the slots and their anchor, and of `stored` rows of indices and scores."""
    channels, height, width = s.shape
    index = 1 if c.slots <= 256 else 2
    row = height * width * channels // c.slot_width * index + 4 * s.classes
    return 8 * c.slots * c.slot_width + c.slots + s.classes + stored * row


class AugMem(SGDAgent[A]):
    """SGD on features, on their reads from the slots, and on replayed slots."""

    card = Card(
        title="AugMem",
        family="augmented memory",
        keeps="slots and their anchor, indices of slots, scores",
        source="2104.02206",
        formula=f"{SLOTS}, n = `memory_size` in equal shares",
        memory=lambda c, s: slot_bytes(c, s, c.memory_size // s.classes * s.classes),
        style=Style("vermillion", "D"),
        published=("AugMem herding storage (ablation)",),  # its only accuracies in numbers
    )
    needs = Needs(task_boundaries=True, task_data=True, frozen_trunk=True)
    cut = "last_block"
    herds_by_whole_norm = False

    def __init__(self, problem: Problem, config: A, network: Network, *, seed: int, device: torch.device):
        _check(map_shape(network, problem.input_shape)[0], problem.num_classes, config)
        super().__init__(problem, config, network, seed=seed, device=device)
        size = (config.slots, config.slot_width, config.sharpness)
        self.memory = (
            FittedSlots(*size, device)
            if config.slots_from == "features"
            else SlotMemory(*size, self.generator, device)
        )
        self.optimizer.add_param_group({"params": [self.memory.slots]})
        self.anchor = self.memory.slots.detach().clone()
        """M̂ [N, F], what used slots are held to."""
        self.used = torch.zeros(config.slots, dtype=torch.bool, device=device)
        """u [N], the slots that an image was ever stored with."""
        self.store = SlotStore(problem.num_classes, self.generator, device)

    def begin_task(self, task: TaskInfo) -> None:
        """The labels of a task take part in its losses from its first mini-batch on."""
        self.seen[list(task.classes)] = True

    def observe(self, x: Tensor, y: Tensor) -> Mapping[str, Tensor]:
        """A step on the batch, then steps on stored images of classes that it lacks."""
        here = set(
            y.tolist()
        )  # the only device synchronisation of the step, done before new kernels are queued
        self.seen[y] = True
        x = maps(self.network, x)
        if isinstance(self.memory, FittedSlots) and self.memory.mean_square is None:
            self.memory.fit(x, self.generator)
            self.anchor = self.memory.slots.detach().clone()
        direct, mem = self.direct_scores(x), self.predict(x)
        drift = (self.memory.slots - self.anchor).square().sum(1) @ self.used.float()
        loss = (
            seen_cross_entropy(mem, y, self.seen)
            + seen_cross_entropy(direct, y, self.seen)
            + self.config.distillation_weight * self.distil(mem, direct)
            + self.config.regulariser_weight * drift
        )
        self.step(loss)
        logged = {"loss": loss.detach(), "drift": drift.detach()}
        absent = [label for label in self.store.labels if label not in here]
        if absent:
            for _ in range(self.config.replay_times):
                logged["replay_loss"] = self.replay(absent, len(y), x.shape[1:])
        return logged

    def replay(self, labels: list[int], count: int, shape: torch.Size) -> Tensor:
        """A step on at least `count` stored images, as many of each of `labels`. Returns the loss."""
        rounds = -(-count // len(labels))
        winners, stored, y = self.store.sample(labels, rounds)
        scores = self.network.plastic(self.memory.decode(winners, shape))
        loss = seen_cross_entropy(scores, y, self.seen)
        loss = self.config.replay_weight * (
            loss + self.config.distillation_weight * self.distil(scores, stored)
        )
        self.step(loss)
        return loss.detach()

    def distil(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Mean BCE of the sigmoids of scores [B, K] over labels met; the teacher gets no gradient."""
        targets = teacher.detach().sigmoid()
        losses = F.binary_cross_entropy_with_logits(student, targets, reduction="none")
        return (losses * self.seen).sum() / (len(losses) * self.seen.sum())

    def step(self, loss: Tensor) -> None:
        """One step of the optimiser, every element of the gradient between -10 and 10."""
        gradient = self.gradient(loss).clamp_(-_LARGEST_GRADIENT, _LARGEST_GRADIENT)
        if self.memory.slots.grad is not None:  # a replay step has none: it reads no slots by attention
            self.memory.slots.grad.clamp_(-_LARGEST_GRADIENT, _LARGEST_GRADIENT)
        self.optimizer.descend(gradient)

    def end_task(self, task: TaskInfo, data: TaskData) -> None:
        """Store images of the task, hold the slots that they use, and set the learning rate."""
        share = self.config.memory_size // len(task.classes)
        choose = self._nearest_mean if self.config.herding else self._newest
        self.network.eval()
        with torch.no_grad():
            new = choose(data, share, self.config.batch_size_of(task.index))
        self.network.train()
        self.store.update(new, self.kept(share))
        for winners, _ in new.values():
            self.used |= torch.bincount(winners.flatten(), minlength=len(self.used)).bool()
        self.anchor = self.memory.slots.detach().clone()
        if task.index > 0 and self.config.lr_after_first is not None:
            for group in self.optimizer.param_groups:
                group["lr"] = self.config.lr_after_first

    def kept(self, share: int) -> slice:
        """Which rows every class keeps: of a herd the first, of a queue the last."""
        return slice(share) if self.config.herding else slice(-share, None)

    def predict(self, x: Tensor) -> Tensor:
        """`mem`, scores of what `x` reads from the slots."""
        scores: Tensor = self.network.plastic(self.memory.read(maps(self.network, x)))
        return scores

    def predict_also(self, x: Tensor) -> Mapping[str, Tensor]:
        """`direct` [B, K], which the published accuracies are of."""
        return {"direct": self.direct_scores(x)}

    def direct_scores(self, x: Tensor) -> Tensor:
        """`direct` [B, K], scores of the features themselves."""
        scores: Tensor = self.network.plastic(x)
        return scores

    def _newest(self, data: TaskData, share: int, batch_size: int) -> dict[int, Rows]:
        """The last `share` images of each class, of every fifth in each mini-batch."""
        queues: dict[int, deque[Tensor]] = {}
        for x, y in self._maps(data, batch_size):
            for label in y.unique().tolist():
                rows = (y == label).nonzero().squeeze(1)[::STRIDE]
                queues.setdefault(label, deque(maxlen=share)).extend(x[rows])
        return {label: self._encode(torch.stack(list(queue))) for label, queue in queues.items()}

    def _nearest_mean(self, data: TaskData, share: int, batch_size: int) -> dict[int, Rows]:
        """`share` images of each class by herding; the reads of the whole task are in memory."""
        found = [
            (self.memory.read(x).flatten(1), *self._encode(x), y) for x, y in self._maps(data, batch_size)
        ]
        reads, winners, scores, labels = (torch.cat(column) for column in zip(*found, strict=True))
        new = {}
        for label in labels.unique().tolist():
            rows = (labels == label).nonzero().squeeze(1)
            rows = rows[herd(reads[rows], share, whole_norm=self.herds_by_whole_norm)]
            new[label] = winners[rows], scores[rows]
        return new

    def _maps(self, data: TaskData, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Maps [B, D, H, W] and labels [B] of the task."""
        return ((maps(self.network, x), y) for x, y in data.batches(batch_size))

    def _encode(self, x: Tensor) -> Rows:
        """Winning slots and direct scores of maps [n, D, H, W]."""
        x = x.contiguous(memory_format=torch.channels_last)
        parts = [(self.memory.winners(part), self.direct_scores(part)) for part in x.split(_BATCH)]
        winners, scores = (torch.cat(column) for column in zip(*parts, strict=True))
        return winners, scores


def _check(channels: int, classes: int, config: AugMemConfig) -> None:
    """`InputError` where slots do not fit, the store has no row for some class, or two rules set the rate."""
    problems = []
    if channels % config.slot_width:
        problems.append(
            f"slot_width: expected a number that divides the {channels} channels, got {config.slot_width}"
        )
    if config.memory_size < classes:
        problems.append(
            f"memory_size: expected at least 1 for each of {classes} classes, got {config.memory_size}"
        )
    if config.schedule != "constant" and config.lr_after_first is not None:
        problems.append(
            f"schedule: expected constant with lr_after_first={config.lr_after_first}, which sets the rate as well, "
            f"got {config.schedule}: set lr_after_first=none or schedule=constant"
        )
    if problems:
        raise InputError(*problems)
