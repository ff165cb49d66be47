"""Streaming linear discriminant analysis on the features of a frozen network.

Hayes and Kanan 2020, "Lifelong Machine Learning with Deep Streaming Linear Discriminant Analysis" (CVPR
workshops, arXiv 1909.01520). Class means μ_k and one covariance Σ for all classes are kept up to date with every
image (equations 2 and 3); an image x gets the class with the largest (equation 4)

    w_k · x + b_k,   w_k = Λ μ_k,   b_k = -1/2 μ_k · Λ μ_k,   Λ = ((1 - ε) Σ + ε I)⁻¹.

Differences from the paper:

1. Σ is the pooled scatter within classes, exactly: each image counts with n/(n+1), n the images of its own class so
   far, where equation 3 takes the images of all classes. So the result is that of linear discriminant analysis
   on all data at once, in whatever order they came.

Differences from the authors' code (SLDA_Model.py):

1. A mini-batch is one update, with the result of one image at a time.
2. A linear system is solved where the code computes a pseudo-inverse.
3. No offline base initialisation of Σ: it starts at zero, and ε I stands in until images come.
4. The first image of a class adds nothing to Σ. There, it is compared with a mean that is still zero, so that it adds
   x xᵀ n/(n+1), n the images of all classes so far: the features' distance from the origin counts as scatter.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lethe.agents.base import Agent, Needs, Network, Problem
from lethe.agents.card import Card, Style
from lethe.agents.config import Config, setting
from lethe.agents.networks.quantised import map_shape, maps


@dataclass(frozen=True)
class SLDAConfig(Config):
    """ε as in the paper."""

    shrinkage: float = setting(1e-4, "ε, the weight of the identity in the covariance.", above=0, high=1)


class SLDA(Agent[SLDAConfig]):
    """Class means and a shared covariance, kept in float64: sums over long streams lose nothing."""

    card = Card(
        title="SLDA",
        family="streaming",
        keeps="a mean per class, a covariance",
        source="1909.01520",
        formula="8·(K·C + C² + K)",
        memory=lambda c, s: 8 * (s.classes * s.shape[0] + s.shape[0] ** 2 + s.classes),
        style=Style("sky", "v"),
        published=("SLDA plastic cov",),
    )
    needs = Needs(frozen_trunk=True)
    cut = "head"

    def __init__(
        self, problem: Problem, config: SLDAConfig, network: Network, *, seed: int, device: torch.device
    ):
        super().__init__(problem, config, network, seed=seed, device=device)
        size = map_shape(network, problem.input_shape)[0]
        self.means = torch.zeros(problem.num_classes, size, dtype=torch.float64, device=device)
        self.counts = torch.zeros(problem.num_classes, dtype=torch.float64, device=device)
        self.scatter = torch.zeros(size, size, dtype=torch.float64, device=device)

    def observe(self, x: Tensor, y: Tensor) -> Mapping[str, Tensor]:
        """Merge the batch's means and scatter with those so far (Chan et al. 1983)."""
        x = pooled(maps(self.network, x))
        one_hot = F.one_hot(y, self.problem.num_classes).double()
        counts = one_hot.sum(0)
        means = one_hot.T @ x / counts.clamp(min=1).unsqueeze(1)
        centred, shift = x - means[y], means - self.means
        total = self.counts + counts
        between = self.counts * counts / total.clamp(min=1)
        self.scatter += centred.T @ centred + shift.T @ (shift * between.unsqueeze(1))
        self.means += shift * (counts / total.clamp(min=1)).unsqueeze(1)
        self.counts = total
        return {"classes": (total > 0).sum()}

    def predict(self, x: Tensor) -> Tensor:
        """w_k · x + b_k for every class."""
        epsilon = self.config.shrinkage
        covariance = self.scatter / self.counts.sum().clamp(min=1)
        identity = torch.eye(len(covariance), dtype=torch.float64, device=self.device)
        weights = torch.linalg.solve((1 - epsilon) * covariance + epsilon * identity, self.means.T)
        scores: Tensor = pooled(maps(self.network, x)) @ weights - (self.means.T * weights).sum(0) / 2
        return scores


def pooled(x: Tensor) -> Tensor:
    """Feature maps [B, C, H, W] averaged over positions: [B, C], float64."""
    return x.double().mean((2, 3))
