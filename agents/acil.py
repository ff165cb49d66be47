"""ACIL: recursive least squares on random features of a frozen network, equal to ridge regression on all images.

Zhuang et al. 2022, "ACIL: Analytic Class-Incremental Learning with Absolute Memorization and Privacy Protection"
(NeurIPS, arXiv 2205.14922); for mini-batches and classes that come back, G-ACIL (arXiv 2403.15706). A feature x is
widened to h = max(0, Wᵀ x) [R], W random and fixed. With X the rows h of a batch, Y its one-hot labels and R₀ = I / γ

    Rₖ = Rₖ₋₁ - Rₖ₋₁ Xᵀ (I + X Rₖ₋₁ Xᵀ)⁻¹ X Rₖ₋₁                                equation 10
    Vₖ = Vₖ₋₁ + Rₖ Xᵀ (Y - X Vₖ₋₁)                                              equation 9

so that after any batches V is the ridge solution (Σ h hᵀ + γ I)⁻¹ Σ h yᵀ on all images, and scores are hᵀ V.

Differences from the paper:

1. The recursion is that of Rₖ⁻¹, which is a sum, Rₖ⁻¹ = Rₖ₋₁⁻¹ + Xᵀ X; V is solved for before an evaluation. The result
   is the same in exact arithmetic, takes a third of the work an image, and loses no digits over long streams. The tests
   compare it with the equations above.
2. R is 2,000 by default, not 8,192 or more, at which the sum takes 537 MB in float64.
3. γ is 10 by default, not 0.1: where images are no more than random features, so small a penalty fits each of them.
4. The network is that of the other agents; it is not trained on base classes at first.

Differences from the authors' code (analytic/AnalyticLinear.py): none beyond these. W is drawn as there, from
U(-1/√D, 1/√D), D the length of x.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lethe.agents.card import Card, Style
from lethe.agents.config import setting
from lethe.agents.parts.ridge import RidgeAgent, RidgeConfig, memory, solve
from lethe.common.errors import InputError


@dataclass(frozen=True)
class ACILConfig(RidgeConfig):
    """γ is for streams of few images; the published one is for 50,000."""

    ridge: float = setting(10.0, "γ, the penalty of the ridge regression; published: 0.1.", above=0)


class ACIL(RidgeAgent[ACILConfig]):
    """The inverse of the paper's R, and the sums that it is applied to."""

    card = Card(
        title="ACIL",
        family="streaming",
        keeps="products of random features",
        source="2205.14922",
        formula="4·C·R + 8·320·(C + 1) + 8·R·(R + K), R = `random_features`",
        memory=lambda c, s: memory(c, s, parts=1),
        style=Style("vermillion", ">"),
        toy_settings={"random_features": 64},
    )

    def draw(self, size: int, wide: int) -> Tensor:
        """W from U(-1/√D, 1/√D)."""
        return (2 * torch.rand(size, wide, generator=self.generator) - 1) / math.sqrt(size)

    def prepare(self) -> None:
        """The ridge solution of all images; `InputError` where γ is too small for it."""
        gram, sums = self.totals()
        weights = solve(gram[0], sums[0], self.config.ridge)
        if weights is None:
            raise InputError(
                f"ridge: expected a penalty that float64 can tell beside features of this size, got "
                f"{self.config.ridge:g}: try {100 * self.config.ridge:g}"
            )
        self.cache.update(weights=weights)
