"""Offline learning: all data of all tasks so far, shuffled, several epochs; at convergence the upper bound.

The same network goes on from task to task, as in the published protocol. With `retrain` each task begins with
the weights of the first, a new optimiser and no label met: at task t the agent is, to the bit, a new one that
is given the data of tasks 0 .. t at once. Early data are then seen no more often than late ones.

Differences from the authors' code (agents/default.py and experiment.py of AugMem):

1. The data are shuffled anew in every epoch. The authors keep the order of the lists, which under
   class_instance shows one video after the other: their own "upper bound" on Toybox then averages 46 %
   over tasks, against 93 % under class_iid.
2. `retrain` is not theirs: they only go on.
3. Ten epochs of mini-batches of 20. Their five of 100 are 20 steps in a first task of 400 images, long before
   convergence.
4. `augmentation` and `schedule_epochs` are not theirs. With them, a run on the first task alone is the base
   initialisation of REMIND (arXiv 1910.02509); there, crops are taken of the original images.
"""

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lethe.agents.base import Needs, Network, Problem, TaskInfo
from lethe.agents.card import Card, Style
from lethe.agents.config import SGDConfig, setting
from lethe.agents.finetune import Finetune
from lethe.agents.parts.augment import RandomFlip, RandomResizedCrop, check_images
from lethe.agents.parts.sgd import build_optimizer
from lethe.common.errors import InputError


@dataclass(frozen=True)
class OfflineConfig(SGDConfig):
    """Enough steps for convergence also in a small first task, at a fitting `lr`."""

    batch_size: int = setting(20, "Images of one mini-batch.", low=1)
    epochs: int = setting(10, "Passes over the data of all tasks so far, at each task.", low=1)
    retrain: bool = setting(
        False, "Begin anew from the initial weights at each task; otherwise the network goes on."
    )
    augmentation: str = setting(
        "none",
        "Random changes of images: none, or crops of 8 % to 100 % of the area, resized, and flips.",
        choices=("none", "resized_crop_flip"),
    )
    schedule_epochs: int | None = setting(
        None,
        "Epochs between two falls (step), or until the last rate (cosine), from lr anew at each task; none: "
        "schedule_steps counts.",
        low=1,
    )

    def notes(self) -> tuple[str, ...]:
        """Where a schedule by epochs is given, and no schedule."""
        if self.schedule_epochs is None or self.schedule != "constant":
            return ()
        return ("schedule_epochs changes nothing with schedule=constant: give schedule=step or cosine",)


class Offline(Finetune[OfflineConfig]):
    """SGD on the cumulative data, which the harness hands out because `Needs.offline` asks for it."""

    card = Card(
        title="Offline",
        family="bound",
        keeps="nothing of its own; it is handed all data so far",
        formula="K, with `retrain` S + K",
        memory=lambda c, s: s.classes + (s.copy if c.retrain else 0),
        style=Style("grey", "^", "dash-dotted", filled=False),
        published=("NormalNN upper bound (offline)",),
    )
    needs = Needs(offline=True, task_boundaries=True)

    def __init__(
        self, problem: Problem, config: OfflineConfig, network: Network, *, seed: int, device: torch.device
    ):
        if config.augmentation != "none":
            check_images(network, problem.input_shape, "augmentation=none")
        super().__init__(problem, config, network, seed=seed, device=device)
        if config.schedule_epochs is not None:
            by_epochs = replace(config, schedule_steps=config.schedule_epochs)
            self.optimizer = build_optimizer(by_epochs, network.plastic.parameters())
        self.initial: dict[str, Tensor] = {}
        """The network at birth, dropout's random state included; empty where it is not asked for."""
        if config.retrain:
            self.initial = copy.deepcopy(network.plastic.state_dict())

    def begin_task(self, task: TaskInfo) -> None:
        """With `retrain`, forget all that was learned; begin a schedule by epochs."""
        if self.config.retrain:
            self.network.plastic.load_state_dict(self.initial)
            self.optimizer.restart()
            self.seen.zero_()
        if self.config.schedule_epochs is not None:
            if task.images is None:
                raise InputError(
                    "schedule_epochs: expected to be told the images of a pass (TaskInfo.images), got none"
                )
            self.optimizer.begin_schedule(math.ceil(task.images / self.config.batch_size_of(task.index)))

    def observe(self, x: Tensor, y: Tensor) -> Mapping[str, Tensor]:
        """One step on the batch, with `augmentation` of images changed at random."""
        if self.config.augmentation == "resized_crop_flip":
            x = RandomFlip()(RandomResizedCrop()(x, self.generator), self.generator)
        return super().observe(x, y)
