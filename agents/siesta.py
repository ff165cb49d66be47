"""SIESTA: class means while awake, a fixed number of replay steps asleep.

Harun et al. 2023, "SIESTA: Efficient Online Continual Learning with Sleep" (TMLR, arXiv 2303.10725). A frozen trunk
gives a feature map, which is stored as the codes of a product quantiser, as `remind` does. The plastic layers F
turn it into features z, and the scores are σ cos(z, w_k). Three stages:

*Base initialisation*, in the first task: F, w and σ train as any network does; at its end the codebooks are fitted
(`parts/coded.py`, shared with `remind`).

*Awake*, for each image of class k: its code is stored, and with z / |z| of the map that the code gives back

    w_k ← (c_k w_k + z / |z|) / (c_k + 1),   c_k ← c_k + 1,

so that the row of a new class is the mean of its unit features. Nothing is learned by gradients.

*Asleep*, whenever `sleep_every` images have come by: `sleep_steps` steps of SGD on F, w and σ, each on `sleep_batch`
stored codes, balanced over classes, uniform or in GRASP's order (`parts/rehearsal.py`). The rate rises
and falls within a sleep (`one_cycle`). At its end, and that of base initialisation, each w_k is divided by its length.

Differences from the paper:

1. Product quantisation without a rotation before it (OPQ), shared with `remind`.
2. Base initialisation trains the plastic layers only; the trunk has been pretrained on other data, where the paper
   trains both on the base classes.
3. Sleep comes after so many images, whatever their classes. The paper's comes after as many of ImageNet's classes.
4. No augmentation of replayed codes: the paper's variant without.

Differences from the authors' code:

1. The features that means are of are those that the head sees. There, they are taken before the last activation.
2. The rows have no biases; there, a feature that is always one is appended.
3. A row that a sleep has trained goes on from there, as c_k unit features. There, the mean of all features since the
   beginning, of F as it was when they came, takes its place as soon as an image of the class comes.
4. σ starts at `scale`, not at 1.
5. Momentum is constant. There, the schedule lowers it from 0.95 to 0.85 as the rate rises.
6. Losses run over the labels that have come by.
7. The classes of a round of draws are in random order, for both policies. There, uniform draws are shuffled as a whole,
   and GRASP's are in the order of labels.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lethe.agents.base import Network, Problem, TaskData, TaskInfo
from lethe.agents.card import Card, Style
from lethe.agents.config import setting
from lethe.agents.networks.features import feature_size, features
from lethe.agents.parts import product_quantiser
from lethe.agents.parts.coded import BATCH, CodedAgent, CodedConfig, coded_bytes
from lethe.agents.parts.rehearsal import POLICIES, rehearsed


@dataclass(frozen=True)
class SIESTAConfig(CodedConfig):
    """Sleep replays about ten images for each new one, as published: 2,502 steps of 512 for 128,000 images of ImageNet.

    `sleep_lr` is the published one.
    """

    batch_size: int = setting(21, "Images that come together.", low=1)
    lr: float = setting(0.03, "Learning rate of base initialisation.", above=0)
    scale: float = setting(10.0, "First value of σ, which multiplies cosines.", above=0)
    sleep_every: int = setting(200, "Images between two sleeps.", low=1)
    sleep_steps: int = setting(32, "Steps of a sleep.", low=1)
    sleep_batch: int = setting(64, "Codes of a step.", low=1)
    sleep_lr: float = setting(0.2, "Largest learning rate of a sleep.", above=0)
    policy: str = setting(
        "uniform",
        "Codes that a sleep replays, as many of each class: any, or easy before hard ones.",
        choices=POLICIES,
    )


def one_cycle(step: int, steps: int, largest: float) -> float:
    """The rate of `step`, 0 .. `steps` - 1: from largest / 25 to `largest`, then down to its 250,000th, on cosines.

    It is up after 30 % of the steps, as in `torch.optim.lr_scheduler.OneCycleLR` (Smith & Topin 2018).
    """
    first, last, top = largest / 25, largest / 250_000, 0.3 * steps - 1

    def between(a: float, b: float, share: float) -> float:
        return b + (a - b) * (1 + math.cos(math.pi * share)) / 2

    if step <= top:
        return between(first, largest, step / top if top else 1)
    return between(largest, last, (step - top) / (steps - 1 - top)) if steps > 1 else largest


class CosineHead(nn.Module):
    """σ cos(z, w_k)."""

    def __init__(
        self, size: int, classes: int, scale: float, generator: torch.Generator, device: torch.device
    ):
        super().__init__()
        self.rows = nn.Parameter(
            F.normalize(torch.randn(classes, size, generator=generator), dim=1).to(device)
        )
        """w [K, D]."""
        self.scale = nn.Parameter(torch.tensor(scale, device=device))
        """σ."""

    def forward(self, z: Tensor) -> Tensor:
        """Scores [B, K] of features [B, D]."""
        return self.scale * F.linear(F.normalize(z, dim=1), F.normalize(self.rows, dim=1))


class SIESTA(CodedAgent[SIESTAConfig]):
    """Averages features into rows of a cosine head; replays codes when enough images have come."""

    card = Card(
        title="SIESTA",
        family="streaming",
        keeps="quantised feature maps, labels, codebooks, a cosine head and counts",
        source="2303.10725",
        formula="n·(H·W·M + 8) + 4·256·C + K·(4·D + 9) + 4, M codebooks, n the smaller of `memory_size` and the "
        "stream's images",
        memory=lambda c, s: coded_bytes(c, s) + s.classes * (4 * s.features + 9) + 4,
        style=Style("green", "v", "dashed"),
        toy_settings={"codebooks": 2},
    )
    sets_rates = "SIESTA sets the rate of each step of a sleep (sleep_lr)"

    def __init__(
        self, problem: Problem, config: SIESTAConfig, network: Network, *, seed: int, device: torch.device
    ):
        super().__init__(problem, config, network, seed=seed, device=device)
        size = feature_size(network.plastic, problem.input_shape, device)
        self.head = CosineHead(size, problem.num_classes, config.scale, self.generator, device)
        self.train_also(self.head)
        self.counts = torch.zeros(problem.num_classes, dtype=torch.int64, device=device)
        """c [K], the images that a row stands for."""
        self.awake = 0
        """Images since the last sleep."""

    def scores(self, x: Tensor) -> Tensor:
        """σ cos(z, w_k) [B, K]."""
        found: Tensor = self.head(features(self.network.plastic, x))
        return found

    def stream(self, x: Tensor, y: Tensor, centroids: Tensor) -> Mapping[str, Tensor | float]:
        """Store the codes and average their features; sleep, if it is time."""
        codes = self.codes(x, centroids)
        self.memory.add(codes, y)
        self._average(codes, y, centroids)
        self.awake += len(y)
        if self.awake < self.config.sleep_every:
            return {}
        self.awake = 0
        return {"sleep_loss": self._sleep(centroids)}

    def end_task(self, task: TaskInfo, data: TaskData) -> None:
        """As ever; base initialisation leaves unit rows."""
        first = self.centroids is None
        super().end_task(task, data)
        if first:
            self._unit_rows()

    def store(self, codes: Tensor, y: Tensor) -> None:
        """As ever; rows that were not trained become means."""
        super().store(codes, y)
        if self.config.epochs_of(0) == 0 and self.centroids is not None:
            self._average(codes, y, self.centroids)
        else:
            self.counts += torch.bincount(y, minlength=len(self.counts))

    @torch.no_grad()
    def _average(self, codes: Tensor, y: Tensor, centroids: Tensor) -> None:
        """W and c after codes [B, H, W, M] with labels [B]."""
        z = F.normalize(self._features(codes, centroids), dim=1)
        rows, old = self.head.rows, self.counts
        self.counts = old + torch.bincount(y, minlength=len(old))
        sums = (old[:, None] * rows).index_add(0, y, z)
        rows.copy_(torch.where(self.counts[:, None] > old[:, None], sums / self.counts[:, None], rows))

    def _features(self, codes: Tensor, centroids: Tensor) -> Tensor:
        """Z [B, D] of codes, in evaluation mode and without gradients."""
        self.network.eval()
        with torch.no_grad():
            found = features(self.network.plastic, product_quantiser.decode(codes, centroids))
        self.network.train()
        return found

    def _sleep(self, centroids: Tensor) -> Tensor:
        """The steps of a sleep. Returns their mean loss."""
        config, losses = self.config, []
        distances = self._distances(centroids) if config.policy == "grasp" else None
        rows = rehearsed(
            self.memory.labels, config.sleep_steps * config.sleep_batch, self.generator, distances
        )
        self.optimizer.restart()
        for step, batch in enumerate(rows.split(config.sleep_batch)):
            codes, y = self.memory.take(batch)
            for group in self.optimizer.param_groups:
                group["lr"] = one_cycle(step, config.sleep_steps, config.sleep_lr)
            loss = self.loss(self.scores(product_quantiser.decode(codes, centroids)), y)
            self.step(loss)
            losses.append(loss.detach())
        self._unit_rows()
        return torch.stack(losses).mean()

    def _distances(self, centroids: Tensor) -> Tensor:
        """1 - cos(z, mean z of the class) [n] of all stored codes."""
        y = self.memory.labels
        parts = torch.arange(len(y), device=y.device).split(BATCH)
        z = torch.cat([self._features(self.memory.take(rows)[0], centroids) for rows in parts])
        sums = torch.zeros_like(self.head.rows.detach()).index_add_(
            0, y, z
        )  # as long as means: of no matter here
        return 1 - F.cosine_similarity(z, sums[y], dim=1)

    @torch.no_grad()
    def _unit_rows(self) -> None:
        """Divide each row by its length, which the scores do not depend on."""
        self.head.rows.copy_(F.normalize(self.head.rows, dim=1))
