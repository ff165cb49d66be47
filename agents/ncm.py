"""Nearest class mean on the features of a frozen network.

Mensink et al. 2013, "Distance-Based Image Classification" (TPAMI); for streams Janson et al. 2022, "A Simple Baseline
that Questions the Use of Pretrained-Models in Continual Learning" (arXiv 2210.04428), and, with cosines, Zhou et al.
2023, "Revisiting Class-Incremental Learning with Pre-Trained Models" (SimpleCIL, arXiv 2303.07338). With μ_k the mean
feature of class k, an image x gets the class with

    the smallest ‖x - μ_k‖ (euclidean), or the largest cos(x, μ_k) (cosine).

Differences from the papers:

1. Means are running sums over the stream: exact in any order, also of classes that come back.
2. Features are those that the head sees, averaged over positions where they are a map.

Differences from the authors' code (of SimpleCIL):

1. There, the mean of a class replaces the one before it, so that a class that comes back is the mean of its last task.
2. Sums are in float64.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lethe.agents.base import Agent, Needs, Network, Problem
from lethe.agents.card import Card, Style
from lethe.agents.config import Config, setting
from lethe.agents.networks.quantised import map_shape
from lethe.agents.slda import pooled


@dataclass(frozen=True)
class NCMConfig(Config):
    """The distance of Janson et al."""

    distance: str = setting(
        "euclidean", "Nearness of an image to a class mean.", choices=("euclidean", "cosine")
    )


class NCM(Agent[NCMConfig]):
    """One sum of features and one count a class, in float64."""

    card = Card(
        title="NCM",
        family="streaming",
        keeps="a mean per class",
        source="2210.04428",
        formula="8·(K·C + K)",
        memory=lambda c, s: 8 * (s.classes * s.shape[0] + s.classes),
        style=Style("orange", "<"),
    )
    needs = Needs(frozen_trunk=True)
    cut = "head"

    def __init__(
        self, problem: Problem, config: NCMConfig, network: Network, *, seed: int, device: torch.device
    ):
        super().__init__(problem, config, network, seed=seed, device=device)
        classes, size = problem.num_classes, map_shape(network, problem.input_shape)[0]
        self.sums = torch.zeros(classes, size, dtype=torch.float64, device=device)
        self.counts = torch.zeros(classes, dtype=torch.float64, device=device)

    def observe(self, x: Tensor, y: Tensor) -> Mapping[str, Tensor]:
        """Add the batch to the sums of its classes."""
        one_hot = F.one_hot(y, self.problem.num_classes).double()
        self.sums += one_hot.T @ pooled(self.network, x)
        self.counts += one_hot.sum(0)
        return {"classes": (self.counts > 0).sum()}

    def predict(self, x: Tensor) -> Tensor:
        """-‖x - μ_k‖² + ‖x‖², or the cosine of x and μ_k, for every class."""
        vectors, means = pooled(self.network, x), self.sums / self.counts.clamp(min=1).unsqueeze(1)
        if self.config.distance == "cosine":
            return F.normalize(vectors, dim=1) @ F.normalize(means, dim=1).T
        scores: Tensor = 2 * vectors @ means.T - means.square().sum(1)
        return scores
