"""FeCAM: nearest class mean by the Mahalanobis distance of each class, on the features of a frozen network.

Goswami et al. 2023, "FeCAM: Exploiting the Heterogeneity of Class Distributions in Exemplar-Free Continual Learning"
(NeurIPS, arXiv 2309.14062). Features are made more Gaussian by Tukey's transform x ← x^β. With μ_k and Σ_k the mean and
covariance of class k, V₁ and V₂ the means of the entries of Σ_k on and off its diagonal, and hats for unit vectors

    Σ_k ← Σ_k + γ₁ V₁ I + γ₂ V₂ (1 - I)                                         shrinkage
    Σ_k(i, j) ← Σ_k(i, j) / √(Σ_k(i, i) Σ_k(j, j))                              normalisation
    score of x = -(x̂ - μ̂_k)ᵀ Σ_k⁻¹ (x̂ - μ̂_k).

Differences from the paper:

1. Sums of x and x xᵀ of each class are kept up to date, in float64: exact in any order, also of classes that come back.
2. The transform of a negative feature is that of its size, with its sign; the paper leaves it out for such networks.
3. A class with one image has no covariance: the identity stands in.

Differences from the authors' code (models/fecam.py, utils/maha_utils.py):

1. The covariance is shrunk as often as `shrinkings` says; twice as there, once in the paper's equation.
2. The mean is that of transformed features; there, the mean of features is transformed.
3. V₂ is the mean over all places off the diagonal, not over those that are not zero.
4. In the first task, there, distances are Euclidean, of the network's learned prototypes.
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
from lethe.agents.parts import flops
from lethe.agents.slda import pooled

_AT_ONCE = 16  # images whose outer products are in memory at once
_TINY = 1e-12  # a variance beside which those of features are large, and which makes the identity of none


@dataclass(frozen=True)
class FeCAMConfig(Config):
    """As published for CIFAR-100."""

    tukey: float = setting(0.5, "β, the power of Tukey's transform; 1: none.", above=0, high=1)
    shrink_diagonal: float = setting(1.0, "γ₁, the weight of the mean variance in the covariance.", above=0)
    shrink_off_diagonal: float = setting(1.0, "γ₂, the weight of the mean covariance of two features.", low=0)
    shrinkings: int = setting(2, "How often the covariance is shrunk.", low=1)


class FeCAM(Agent[FeCAMConfig]):
    """Sums of features and of their outer products for every class, in float64."""

    card = Card(
        title="FeCAM",
        family="streaming",
        keeps="a mean and a covariance per class",
        source="2309.14062",
        formula="8·(K·C² + K·C + K)",
        memory=lambda c, s: 8 * s.classes * (s.shape[0] ** 2 + s.shape[0] + 1),
        style=Style("green", ">", "dashed", filled=False),
    )
    needs = Needs(frozen_trunk=True)
    cut = "head"

    def __init__(
        self, problem: Problem, config: FeCAMConfig, network: Network, *, seed: int, device: torch.device
    ):
        super().__init__(problem, config, network, seed=seed, device=device)
        classes, size = problem.num_classes, map_shape(network, problem.input_shape)[0]
        self.counts = torch.zeros(classes, dtype=torch.float64, device=device)
        self.sums = torch.zeros(classes, size, dtype=torch.float64, device=device)
        self.products = torch.zeros(classes, size, size, dtype=torch.float64, device=device)

    def observe(self, x: Tensor, y: Tensor) -> Mapping[str, Tensor]:
        """Add the batch to the sums of its classes."""
        vectors = self.transformed(x)
        flops.tell(2 * vectors.numel() * vectors.shape[1])
        one_hot = F.one_hot(y, self.problem.num_classes).double()
        self.counts += one_hot.sum(0)
        self.sums += one_hot.T @ vectors
        for part, labels in zip(vectors.split(_AT_ONCE), y.split(_AT_ONCE), strict=True):
            self.products.index_add_(0, labels, part.unsqueeze(2) * part.unsqueeze(1))
        return {"classes": (self.counts > 0).sum()}

    def prepare(self) -> None:
        """μ̂_k [K, C] and Σ_k⁻¹ [K, C, C], shrunk and normalised."""
        counts = self.counts.clamp(min=1)[:, None]
        means = self.sums / counts
        centred = self.products - counts[:, :, None] * means.unsqueeze(2) * means.unsqueeze(1)
        covariances = centred / (counts[:, :, None] - 1).clamp(min=1)
        for _ in range(self.config.shrinkings):
            covariances = shrunk(covariances, self.config)
        self.cache.update(means=F.normalize(means, dim=1), inverses=torch.linalg.inv(normalised(covariances)))

    def predict(self, x: Tensor) -> Tensor:
        """The negative squared Mahalanobis distance to every class."""
        vectors = F.normalize(self.transformed(x), dim=1)
        away = vectors - self.cache["means"].unsqueeze(1)
        distances: Tensor = ((away @ self.cache["inverses"]) * away).sum(2)
        return -distances.T

    def transformed(self, x: Tensor) -> Tensor:
        """The features [B, C] of inputs after Tukey's transform, float64."""
        vectors = pooled(self.network, x)
        return vectors.sign() * vectors.abs() ** self.config.tukey


def shrunk(covariances: Tensor, config: FeCAMConfig) -> Tensor:
    """Covariances [K, C, C] with the mean of their diagonal added there, and the mean of the other places to these."""
    size = covariances.shape[1]
    identity = torch.eye(size, dtype=torch.float64, device=covariances.device)
    trace = covariances.diagonal(dim1=1, dim2=2).sum(1)
    off_diagonal = (covariances.sum((1, 2)) - trace) / max(1, size * (size - 1))
    added = config.shrink_diagonal * trace[:, None, None] / size * identity
    return covariances + added + config.shrink_off_diagonal * off_diagonal[:, None, None] * (1 - identity)


def normalised(covariances: Tensor) -> Tensor:
    """The correlations [K, C, C] of covariances; the identity where there is no variance."""
    variances = covariances.diagonal(dim1=1, dim2=2) + _TINY
    deviations = variances.sqrt()
    correlations = covariances / (deviations.unsqueeze(2) * deviations.unsqueeze(1))
    correlations.diagonal(dim1=1, dim2=2).copy_(torch.ones_like(variances))
    return correlations
