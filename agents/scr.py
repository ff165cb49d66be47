"""SCR: supervised contrastive replay, with the nearest class mean of the memory as classifier.

Mai et al. 2021, "Supervised Contrastive Replay: Revisiting the Nearest Class Mean Classifier in Online
Class-Incremental Continual Learning" (CVPR workshops, arXiv 2103.13885). Of the images of the mini-batch and of its
replay two views are made. With z the projected features of a view, divided by their length, the loss is (equation 4)

    L = -1/N Σ_i 1/|P(i)| Σ_(p in P(i)) log( exp(z_i·z_p / τ) / Σ_(a ≠ i) exp(z_i·z_a / τ) ),

i over all N views, P(i) the other views of i's label. An image gets the label of the nearest mean: features, before the
projection and divided by their length, of the label's images in memory, averaged and again divided by their length.

Differences from the paper:

1. The mini-batch is learned also while the memory is empty.
2. The mean over views, as in the authors' code (at their τ; another scales their loss by τ / 0.07).
3. Labels without an image in memory have no mean and are never predicted. Means are taken before each evaluation.
4. The head of the network is not used, and its weights only decay.

Differences from the authors' code (RaptorMai/online-continual-learning):

1. `views=one` is theirs: the second view is the image as it is. By default both are augmented.
2. No review of the memory at the end of a task.
3. Each image has its own augmentation (`agents/parts/augment.py`), with the same distributions: resized crop of 20 % to
   100 %, flip, colour jitter (0.4, 0.4, 0.4, 0.1) with probability 0.8, grey with probability 0.2.

AugMem has no SCR.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lethe.agents.base import Network, Problem
from lethe.agents.card import Card, Setting, Style
from lethe.agents.config import SGDConfig, setting
from lethe.agents.networks.features import feature_size, features
from lethe.agents.parts.augment import RandomFlip, RandomResizedCrop, check_images
from lethe.agents.parts.augment_colour import ColourJitter, RandomGrey
from lethe.agents.parts.buffers import ReservoirBuffer
from lethe.agents.parts.linear import linear
from lethe.agents.parts.sgd import SGDAgent

_BATCH = 64  # images of one pass without gradients
_NO_MEAN = -5.0  # below any score: squared distances of unit vectors are at most 4


@dataclass(frozen=True)
class SCRConfig(SGDConfig):
    """Rate, replay and projection as published; the budget is that of the other agents."""

    lr: float = setting(0.1, "Learning rate.", above=0)
    momentum: float = setting(
        0.0, "Momentum of SGD; β1 of the other optimisers, below 1 there.", low=0, high=1
    )
    weight_decay: float = setting(
        0.0, "L2 penalty on all trained parameters; of adamw the decoupled weight decay.", low=0
    )
    memory_size: int = setting(1200, "Images kept in memory.", low=1)
    replay_images: int = setting(100, "Images replayed with each mini-batch.", low=1)
    temperature: float = setting(0.07, "τ of the contrastive loss.", above=0)
    projection_size: int = setting(128, "Numbers of a projected feature.", low=1)
    views: str = setting(
        "two", "Augmented views of an image: two, or one beside the image as it is.", choices=("two", "one")
    )
    smallest_crop: float = setting(
        0.2, "Least share of an image that a random crop keeps; 1: no crops.", above=0, high=1
    )
    flip: bool = setting(True, "Exchange left and right at random; false for letters and digits.")


def contrastive_loss(z: Tensor, y: Tensor, temperature: float) -> Tensor:
    """L of unit vectors z [N, d] with labels y [N]; each label must occur twice or more."""
    itself = torch.eye(len(y), dtype=torch.bool, device=z.device)
    log_p = F.log_softmax((z @ z.T / temperature).masked_fill(itself, -torch.inf), dim=1)
    positive = (y[:, None] == y) & ~itself
    return -(log_p.masked_fill(~positive, 0).sum(1) / positive.sum(1)).mean()


def _memory(c: SCRConfig, s: Setting) -> int:
    d, p = s.features, c.projection_size
    return s.stored_images(c.memory_size) + 4 * (d * d + d + d * p + p)


class SCR(SGDAgent[SCRConfig]):
    """Learns features in which a label's images lie together, and classifies by the means of its memory."""

    card = Card(
        title="SCR",
        family="replay",
        keeps="images, labels, a projection",
        source="2103.13885",
        formula="m·(X + 8) + 4·(D² + D + D·p + p) + K, m = `memory_size`, p = `projection_size`",
        memory=_memory,
        style=Style("green", "H"),
        toy_settings={"flip": False, "smallest_crop": 1.0},  # its labels are the places of bright quarters
    )

    def __init__(
        self, problem: Problem, config: SCRConfig, network: Network, *, seed: int, device: torch.device
    ):
        check_images(network, problem.input_shape)
        super().__init__(problem, config, network, seed=seed, device=device)
        self.size = feature_size(network.plastic, problem.input_shape, device)
        self.projection = nn.Sequential(
            linear(self.size, self.size, self.generator, device),
            nn.ReLU(),
            linear(self.size, config.projection_size, self.generator, device),
        )
        self.train_also(self.projection)
        self.buffer = ReservoirBuffer(config.memory_size, self.generator, device)

    def observe(self, x: Tensor, y: Tensor) -> Mapping[str, Tensor]:
        """One step on two views of the batch and its replay; then the batch is offered to the memory."""
        self.seen[y] = True
        inputs, labels = x, y
        if len(self.buffer):
            old_x, old_y = self.buffer.sample(self.config.replay_images)
            inputs, labels = torch.cat([x, old_x]), torch.cat([y, old_y])
        both = torch.cat([inputs, inputs])
        views = (
            self.augmented(both)
            if self.config.views == "two"
            else torch.cat([self.augmented(inputs), inputs])
        )
        z = F.normalize(self.projection(features(self.network.plastic, views)), dim=1)
        loss = contrastive_loss(z, labels.repeat(2), self.config.temperature)
        self.step(loss)
        self.buffer.add(x, y)
        return {"loss": loss.detach()}

    def augmented(self, x: Tensor) -> Tensor:
        """uint8 images [B, 3, H, W], augmented at random."""
        if self.config.smallest_crop < 1:
            x = RandomResizedCrop((self.config.smallest_crop, 1.0))(x, self.generator)
        if self.config.flip:
            x = RandomFlip()(x, self.generator)
        x = ColourJitter(0.4, 0.4, 0.4, 0.1, probability=0.8)(x, self.generator)
        return RandomGrey(0.2)(x, self.generator)

    def prepare(self) -> None:
        """Take the means [K, D] of the memory, zeros where there is no image, and mark their labels [K] bool."""
        sums = torch.zeros(self.problem.num_classes, self.size, device=self.device)
        if len(self.buffer):
            x, y = self.buffer.sample(len(self.buffer))
            self.network.eval()
            with torch.no_grad():
                for inputs, labels in zip(x.split(_BATCH), y.split(_BATCH), strict=True):
                    sums.index_add_(0, labels, self.unit_features(inputs))
            self.network.train()
        self.cache = {"means": F.normalize(sums, dim=1), "known": sums.any(1)}

    def unit_features(self, x: Tensor) -> Tensor:
        """The features [B, D] of inputs, divided by their length."""
        return F.normalize(features(self.network.plastic, x), dim=1)

    def predict(self, x: Tensor) -> Tensor:
        """-‖φ(x) - μ_y‖² [B, K], μ_y the mean of y's images in memory; a constant below all where there is none."""
        inner = self.unit_features(x) @ self.cache["means"].T
        return torch.where(self.cache["known"], 2 * inner - 2, _NO_MEAN)
