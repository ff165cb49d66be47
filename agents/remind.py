"""REMIND: replay of compressed feature maps, one new image at a time.

Hayes et al. 2020, "REMIND Your Neural Network to Prevent Catastrophic Forgetting" (ECCV, arXiv 1910.02509). A frozen
trunk gives a feature map; product quantisation stores it as H·W·M bytes; with every new image the plastic
layers take one step on it and on a sample of reconstructed old maps, cropped at random and mixed up.

Two stages. *Base initialisation*: during the first task the plastic layers train on its maps as any network does
(`epochs_first_task`, `batch_size_first_task` and `lr`); at its end the codebooks are fitted and all its images are
stored. *Streaming*: everything after that.

Differences from the paper:

1. Base initialisation trains the plastic layers only; the trunk has ImageNet's weights. The paper trains both on the
   base classes: a run of `offline` on the first task (`--only-task 0 --keep-model`), whose network `--weights` then
   loads; with `epochs_first_task` = 0 nothing else is trained before streaming.

Differences from the authors' code:

1. The learning rate of a class is start · γ^⌊n / step⌋, in closed form from the number n of its images so far in
   streaming. The code gives each class a scheduler of one shared optimiser; since PyTorch 1.4 these multiply each
   other's rates and learning stops after the first classes (Ω 0.855 becomes 0.297).
2. The rate is that of the image's own class at once; the code sets it one image late.
3. The plastic layers are built from named stages. There, deleting the first item of a sequence renumbers the
   rest in newer PyTorch, and the wrong block's weights are loaded.
4. With fewer stored maps than asked for, fewer are replayed; the code leaves the rest of the batch uninitialised.
5. The memory's budget holds from the start, and counters and random state are saved with the agent.
6. Losses run over the labels that have come by; the code's run over all labels from the start, as do these with
   `all_labels`.
7. Codebooks are fitted to at most 65,536 vectors, drawn at random in a first pass over the first task. There, all
   maps are in memory for faiss, which then draws as many for each codebook.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lethe.agents.base import Network, Problem
from lethe.agents.card import Card, Style
from lethe.agents.config import setting
from lethe.agents.parts import product_quantiser
from lethe.agents.parts.coded import CodedAgent, CodedConfig, coded_bytes
from lethe.agents.parts.device import to_device


@dataclass(frozen=True)
class REMINDConfig(CodedConfig):
    """As published for ImageNet, but for `start_lr`; `lr` and the first task's fields are of base initialisation."""

    batch_size: int = setting(1, "Images that come together; each is still learned by itself.", low=1)
    replay_images: int = setting(
        50, "Maps replayed with each new one; twice as many are drawn for mixing.", low=1
    )
    start_lr: float = setting(
        0.01, "Learning rate of a class's first images in streaming; published for ImageNet: 0.1.", above=0
    )
    end_lr: float = setting(0.001, "Learning rate of a class after `class_images` images.", above=0)
    class_images: int = setting(1300, "Images of a class over which the rate falls from start to end.", low=1)
    lr_step: int = setting(100, "Images of a class between two falls of its rate.", low=1)
    mixup: float = setting(
        0.1, "α of the Beta distribution that old maps are mixed with; 0: no mixing.", low=0, high=1
    )
    smallest_crop: float = setting(
        2 / 7, "Least share of a map that a random crop keeps; 1: no crops.", above=0, high=1
    )
    all_labels: bool = setting(
        False, "Losses over all labels of the stream from the start, as published; otherwise over those seen."
    )


def class_lr(images: Tensor, config: REMINDConfig) -> Tensor:
    """The rate start · γ^⌊n / step⌋ for n `images` of a class so far, γ = (end / start)^(step / class_images)."""
    gamma: float = (config.end_lr / config.start_lr) ** (config.lr_step / config.class_images)
    return config.start_lr * gamma ** (images // config.lr_step)


def beta_draw(alpha: float, generator: torch.Generator) -> float:
    """One draw from Beta(α, α), α <= 1 (Jöhnk 1964)."""
    u: float
    v: float
    while True:
        u, v = (torch.rand(2, dtype=torch.float64, generator=generator) ** (1 / alpha)).tolist()
        if 0 < u + v <= 1:
            return u / (u + v)


def random_crops(maps: Tensor, smallest: float, generator: torch.Generator) -> Tensor:
    """Each of `maps` [B, C, H, W] cropped at random and resized to H x W (bilinear), in channels-last memory.

    A crop has a share of the area uniform in [smallest, 1] and an aspect log-uniform in [3/4, 4/3]; the first of ten
    tries that fits counts, else the whole map.
    """
    count, channels, height, width = maps.shape
    draws = torch.rand(4, count, 10, generator=generator)
    area = height * width * (smallest + (1 - smallest) * draws[0])
    ratio = torch.exp(math.log(3 / 4) + (math.log(4 / 3) - math.log(3 / 4)) * draws[1])
    w, h = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
    fits = (w >= 1) & (w <= width) & (h >= 1) & (h <= height)
    first = fits.int().argmax(1, keepdim=True)
    whole = ~fits.any(1)
    w, h, left, top = (t.gather(1, first).squeeze(1) for t in (w, h, draws[2], draws[3]))
    w, h = w.masked_fill(whole, width), h.masked_fill(whole, height)
    left, top = (left * (width - w + 1)).floor(), (top * (height - h + 1)).floor()

    def neighbours(low: Tensor, size: Tensor, full: int) -> tuple[Tensor, Tensor]:
        """The two old pixels that each of `full` new ones lies between on an axis, and their shares [B, full, 2]."""
        first, last = low[:, None], (low + size - 1)[:, None]  # of the crop, outside which nothing is read
        at = first + (torch.arange(full) + 0.5) * (size / full)[:, None] - 0.5
        at = torch.minimum(torch.maximum(at, first), last)
        before = at.floor()
        pixels = torch.stack([before, torch.minimum(before + 1, last)], dim=2)
        return pixels.long(), torch.stack([1 - (at - before), at - before], dim=2)

    # A new pixel is a weighted sum of four old ones: a bag of rows, each all channels of a pixel.
    (x, x_share), (y, y_share) = neighbours(left, w, width), neighbours(top, h, height)
    rows = width * y[:, :, None, :, None] + x[:, None, :, None, :]
    rows = (rows.flatten(1) + height * width * torch.arange(count)[:, None]).view(-1, 4)
    shares = (y_share[:, :, None, :, None] * x_share[:, None, :, None, :]).view(-1, 4)
    pixels = maps.permute(0, 2, 3, 1).reshape(-1, channels)
    found = F.embedding_bag(
        to_device(rows, maps.device),
        pixels,
        per_sample_weights=to_device(shares, maps.device),
        mode="sum",
    )
    return found.view(count, height, width, channels).permute(0, 3, 1, 2)


class REMIND(CodedAgent[REMINDConfig]):
    """One step an image, on its own quantised map and on reconstructed old ones."""

    card = Card(
        title="REMIND",
        family="streaming",
        keeps="quantised feature maps, labels, codebooks",
        source="1910.02509",
        formula="n·(H·W·M + 8) + 4·256·C + 9·K, M codebooks, n the smaller of `memory_size` and the stream's images",
        memory=lambda c, s: coded_bytes(c, s) + 9 * s.classes,
        style=Style("green", "^"),
        published=(
            "REMIND (AugMem authors' port, CVPR22 submission)",
            "REMIND original code, PyTorch 1.3.1",
            "REMIND with PR#6 fix, PyTorch 1.12.1",
        ),
        toy_settings={"codebooks": 2},
    )
    sets_rates = "REMIND sets the rate of each SGD step by the image's class (start_lr, end_lr)"

    def __init__(
        self, problem: Problem, config: REMINDConfig, network: Network, *, seed: int, device: torch.device
    ):
        super().__init__(problem, config, network, seed=seed, device=device)
        self.images = torch.zeros(problem.num_classes, dtype=torch.int64, device=device)
        """n [K], the images of each class that were streamed."""

    def stream(self, x: Tensor, y: Tensor, centroids: Tensor) -> Mapping[str, Tensor]:
        """One step for each image."""
        known = self.memory.read(y)
        codes = self.codes(x, centroids)
        losses = [
            self._learn(codes[row], y[row], known and known[row], centroids)
            for row in (slice(number, number + 1) for number in range(len(y)))
        ]
        return {"loss": torch.stack(losses).mean()}

    def loss(self, scores: Tensor, y: Tensor) -> Tensor:
        """As ever, or over all labels."""
        return F.cross_entropy(scores, y) if self.config.all_labels else super().loss(scores, y)

    def _learn(self, code: Tensor, label: Tensor, known: list[int] | None, centroids: Tensor) -> Tensor:
        """One step on a new image's code [1, H, W, M] and replayed ones; then it is stored. Returns the loss.

        `known` is the label [1] on the CPU, where the memory asks for it.
        """
        config = self.config
        mixing = config.mixup > 0
        old, old_labels = self.memory.sample(config.replay_images * (2 if mixing else 1))
        maps = product_quantiser.decode(torch.cat([code, old]), centroids)
        if config.smallest_crop < 1:
            maps = random_crops(maps, config.smallest_crop, self.generator)
        labels = torch.cat([label, old_labels])
        if mixing:
            share, pairs = beta_draw(config.mixup, self.generator), len(old) // 2
            first, second = slice(1, 1 + pairs), slice(1 + pairs, 1 + 2 * pairs)
            maps = torch.cat([maps[:1], maps[second].lerp(maps[first], share)])
            scores = self.network.plastic(maps)
            ours, others = torch.cat([label, labels[first]]), torch.cat([label, labels[second]])
            loss = share * self.loss(scores, ours) + (1 - share) * self.loss(scores, others)
        else:
            loss = self.loss(self.network.plastic(maps), labels)
        self.optimizer.param_groups[0]["lr"] = class_lr(self.images[label], config).squeeze(0)
        self.step(loss)
        self.images[label] += 1
        self.memory.add(code, label, known)
        return loss.detach()
