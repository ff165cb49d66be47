"""Stable SGD: plain SGD whose rate is large in the first task and falls from task to task, to end in wide minima.

Mirzadeh et al. 2020, "Understanding the Role of Training Regimes in Continual Learning" (NeurIPS, arXiv 2006.06958).
The rate in task t = 0, 1, ... is

    lr_t = max(lr · γ^t, lr_floor),

with small batches and dropout. The loss is the cross entropy of the stream; no image is kept.

Differences from the paper:

1. One head for all tasks, and a label is sought among all that were seen. The paper is given the task of each image in
   training and in tests; `mask=task` restores the former: the loss then runs over the labels of the running task alone.
2. Dropout is the network's own (squeezenet has it, with a probability of 0.5), not a setting.
3. Momentum goes on from task to task, where the paper's code begins a new optimiser.

Differences from the published code (other_models/stable_sgd of AugMem, whose Toybox script has the default lr, γ and
momentum):

1. The first task has the rate lr; theirs already has lr · γ.
2. Every weight learns. The second convolution of each block of their ResNet is never used.
3. Labels are judged among all seen. Theirs masks scores by the task in tests too, and with its package for CORe50,
   Toybox and iLab-2M-Light masks the label itself while training.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lethe.agents.base import Needs, Network, Problem, TaskInfo
from lethe.agents.card import Card, Style
from lethe.agents.config import SGDConfig, setting
from lethe.agents.parts.sgd import SGDAgent, check_plain_sgd, seen_cross_entropy


@dataclass(frozen=True)
class StableSGDConfig(SGDConfig):
    """Values of the published script for Toybox."""

    lr: float = setting(0.015, "Learning rate of the first task.", above=0)
    momentum: float = setting(0.8, "Momentum of SGD.", low=0, high=1)
    weight_decay: float = setting(0.0, "L2 penalty on all trained parameters.", low=0)
    decay: float = setting(0.85, "γ, factor of the rate from task to task.", above=0, high=1)
    lr_floor: float = setting(5e-5, "The least rate; one above lr makes the rate constant.", low=0)
    mask: str = setting(
        "seen",
        "Labels over which the loss runs: all seen so far, or those seen in the running task.",
        choices=("seen", "task"),
    )


class StableSGD(SGDAgent[StableSGDConfig]):
    """One step of SGD on each mini-batch, at a rate that falls from task to task."""

    card = Card(
        title="Stable SGD",
        family="regularisation",
        keeps="nothing",
        source="2006.06958",
        formula="2·K",
        memory=lambda c, s: 2 * s.classes,
        style=Style("black", "8", "dashed", filled=False),
    )
    needs = Needs(task_boundaries=True)

    def __init__(
        self, problem: Problem, config: StableSGDConfig, network: Network, *, seed: int, device: torch.device
    ):
        check_plain_sgd(config, "stable_sgd sets the rate of each task")
        super().__init__(problem, config, network, seed=seed, device=device)
        self.of_task = torch.zeros_like(self.seen)
        """[K] bool, the labels met in this task."""

    def begin_task(self, task: TaskInfo) -> None:
        """Set the rate of the task."""
        rate = self.config.lr * self.config.decay**task.index
        self.optimizer.param_groups[0]["lr"] = max(rate, self.config.lr_floor)
        self.of_task.zero_()

    def observe(self, x: Tensor, y: Tensor) -> Mapping[str, Tensor]:
        """One step on the batch."""
        self.seen[y] = True
        self.of_task[y] = True
        labels = self.of_task if self.config.mask == "task" else self.seen
        loss = seen_cross_entropy(self.network.plastic(x), y, labels)
        self.step(loss)
        return {"loss": loss.detach()}
