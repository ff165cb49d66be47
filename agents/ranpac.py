"""RanPAC: ridge regression on random features of a frozen network, its penalty chosen on held-out images.

McDonnell et al. 2023, "RanPAC: Random Projections and Pre-trained Models for Continual Learning" (NeurIPS, arXiv
2307.02251), without its adaptation of the network in the first session. A feature x is widened to h = max(0, Wᵀ x) [R],
W drawn once from N(0, 1); with the one-hot label y

    G = Σ h hᵀ,   Q = Σ h yᵀ                                                    equation 4
    scores of x = hᵀ (G + λ I)⁻¹ Q                                              equation 5

and λ is the one of 10⁻⁸ .. 10⁸ with the least squared error on a fifth of the images, of a solution of the others.

Differences from the paper:

1. R is 2,000 by default, not 10,000, at which G alone takes 800 MB in float64.
2. The held-out fifth is every fifth image of the whole stream, kept in a second pair of G and Q. There, it is the last
   fifth of the current task's images, and λ that of the last task. No task boundary and no second pass is needed.
3. Penalties are tried from the largest down until the error has risen three times in a row. Of those with the same
   error, the largest is taken; with fewer than five images there is no error.

Differences from the authors' code (RanPAC.py):

1. Sums are in float64, and a penalty that leaves G + λ I indefinite after rounding is passed over.
2. All images, the held-out ones included, are in the solution, as there.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lethe.agents.card import Card, Style
from lethe.agents.parts.ridge import RidgeAgent, RidgeConfig, memory, solve

RIDGES = tuple(10.0**power for power in range(8, -9, -1))
"""λ as published, the largest first."""
RISES = 3
"""Rises of the error, one after the other, at which the search for λ ends: a decomposition of G saved for each."""


@dataclass(frozen=True)
class RanPACConfig(RidgeConfig):
    """The penalty is no setting: it is chosen on the stream's own images."""


class RanPAC(RidgeAgent[RanPACConfig]):
    """Sums of every fifth image are kept apart from those of the others, and both make the solution."""

    card = Card(
        title="RanPAC",
        family="streaming",
        keeps="products of random features, for images learned and held out",
        source="2307.02251",
        formula="4·C·R + 8·320·(C + 1) + 16·R·(R + K), R = `random_features`",
        memory=lambda c, s: memory(c, s, parts=2),
        style=Style("blue", "<", "dashed", filled=False),
        toy_settings={"random_features": 64},
    )
    held_out = True

    def draw(self, size: int, wide: int) -> Tensor:
        """W from N(0, 1)."""
        return torch.randn(size, wide, generator=self.generator)

    def prepare(self) -> None:
        """The solution (G + λ I)⁻¹ Q of all images, for the best λ."""
        gram, sums = self.totals()
        whole_gram, whole_sums = gram.sum(0), sums.sum(0)
        for ridge in by_error(gram, sums):
            weights = solve(whole_gram, whole_sums, ridge)
            if weights is not None:
                self.cache.update(weights=weights, ridge=ridge)
                return


def by_error(gram: Tensor, sums: Tensor) -> list[float]:
    """The penalties by their squared error on held-out images, the least first.

    gram: [2, R, R], lower triangles of those learned from and those held out; sums: [2, R, K]. The error is
    Σ ‖Vᵀ h - y‖² = tr(Vᵀ G V) - 2 tr(Vᵀ Q) and a constant, V the solution of the others. Among equals the largest
    penalty, which never fails, is first.
    """
    held = gram[1] + gram[1].tril(-1).T
    errors: dict[float, float] = {}
    rises, before = 0, math.inf
    for ridge in RIDGES:
        weights = solve(gram[0], sums[0], ridge)
        if weights is None:
            break
        error = errors[ridge] = float((weights * (held @ weights - 2 * sums[1])).sum())
        rises = rises + 1 if error > before else 0
        if rises == RISES:
            break
        before = error
    return sorted(errors, key=errors.__getitem__)
