"""Ridge regression of labels on random features of a stream: exact sums, at the cost of few large products.

With h = max(0, Wᵀ x) [R] the random features of a feature x [D], W fixed, and y [K] its one-hot label, the solution
over all images so far is (G + λ I)⁻¹ Q with G = Σ h hᵀ and Q = Σ h yᵀ. Rows wait until there are `ROWS` of them: G is
far larger than the cache of a processor, and is passed over once for all of them. What waits is always added in the
same portions, so that results do not depend on the sizes of mini-batches, to the bit.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import TypeVar

from lethe.agents.base import Agent, Needs, Network, Problem
from lethe.agents.card import Setting
from lethe.agents.config import Config, setting
from lethe.agents.networks.quantised import map_shape
from lethe.agents.parts import flops
from lethe.agents.parts.device import to_device
from lethe.agents.slda import pooled

ROWS = 320
"""Images that wait; a multiple of `FIFTHS`."""
FIFTHS = 5
_COLUMNS = 256  # of one product: the lower triangle of G is made of strips, half the work of all of it


@dataclass(frozen=True)
class RidgeConfig(Config):
    """The width of the random layer."""

    random_features: int = setting(
        2000, "R, random features; memory grows with the square of R, a solution with its cube.", low=1
    )


C = TypeVar("C", bound=RidgeConfig, default=RidgeConfig, covariant=True)


class RidgeAgent(Agent[C]):
    """Keeps G and Q; with `held_out`, those of every fifth image apart from those of all others."""

    needs = Needs(frozen_trunk=True)
    cut = "head"
    held_out: ClassVar[bool] = False

    def __init__(self, problem: Problem, config: C, network: Network, *, seed: int, device: torch.device):
        super().__init__(problem, config, network, seed=seed, device=device)
        size = map_shape(network, problem.input_shape)[0]
        wide, classes = config.random_features, problem.num_classes
        parts = 2 if self.held_out else 1
        self.projection = self.draw(size, wide).to(device)
        """W [D, R], float32."""
        self.waiting = torch.zeros(ROWS, size, dtype=torch.float64, device=device)
        self.waiting_labels = torch.zeros(ROWS, dtype=torch.int64, device=device)
        self.rows = 0
        """Images that wait."""
        self.gram = torch.zeros(parts, wide, wide, dtype=torch.float64, device=device)
        """G of each part, right in and below its diagonal; what is above is left as it is."""
        self.sums = torch.zeros(parts, wide, classes, dtype=torch.float64, device=device)
        """Q of each part."""

    @abstractmethod
    def draw(self, size: int, wide: int) -> Tensor:
        """W [size, wide], float32, from `self.generator`."""

    def observe(self, x: Tensor, y: Tensor) -> Mapping[str, Tensor]:
        """Let the batch wait, and add what waits to the sums whenever there are `ROWS` images of it."""
        size, wide = self.projection.shape
        flops.tell(len(y) * (2 * size * wide + wide * wide + 2 * wide * self.problem.num_classes))
        for vectors, labels in zip(*self._portions(pooled(self.network, x), y), strict=True):
            place = slice(self.rows, self.rows + len(labels))
            self.waiting[place], self.waiting_labels[place] = vectors, labels
            self.rows += len(labels)
            if self.rows == ROWS:
                self._add_waiting(self.gram, self.sums)
                self.rows = 0
        return {}

    def totals(self) -> tuple[Tensor, Tensor]:
        """Copies of G [parts, R, R], its lower triangle alone, and Q [parts, R, K], over all images so far."""
        gram, sums = self.gram.clone(), self.sums.clone()
        self._add_waiting(gram, sums)
        return gram.tril_(), sums

    def random_features(self, vectors: Tensor) -> Tensor:
        """The random features h [B, R] of features [B, D], float64."""
        return (vectors @ self.projection.double()).relu_()

    def predict(self, x: Tensor) -> Tensor:
        """hᵀ (G + λ I)⁻¹ Q for every class."""
        scores: Tensor = self.random_features(pooled(self.network, x)) @ self.cache["weights"]
        return scores

    def _portions(self, vectors: Tensor, labels: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """A batch in pieces of which the first fills what waits up, and the others fill it anew."""
        first = min(ROWS - self.rows, len(labels))
        sizes = [first, *(min(ROWS, len(labels) - low) for low in range(first, len(labels), ROWS))]
        return vectors.split(sizes), labels.split(sizes)

    def _add_waiting(self, gram: Tensor, sums: Tensor) -> None:
        """Add what waits to G and Q; its cost was told when it came, whenever it is paid."""
        with flops.uncounted():
            wide = self.random_features(self.waiting[: self.rows])
            targets = F.one_hot(self.waiting_labels[: self.rows], self.problem.num_classes).double()
            for part, mine in enumerate(self._rows_of_parts()):
                rows, of = wide.index_select(0, mine), targets.index_select(0, mine)
                for low in range(0, wide.shape[1], _COLUMNS):
                    strip = slice(low, low + _COLUMNS)
                    gram[part, low:, strip].addmm_(rows[:, low:].T, rows[:, strip])
                sums[part].addmm_(rows.T, of)

    def _rows_of_parts(self) -> list[Tensor]:
        """The numbers of the rows that belong to each part; since `ROWS` is a multiple of five, of the stream's too."""
        number = torch.arange(self.rows)
        last = number % FIFTHS == FIFTHS - 1
        parts = [number[~last], number[last]] if self.held_out else [number]
        return [to_device(rows, self.device) for rows in parts]


def solve(gram: Tensor, sums: Tensor, ridge: float) -> Tensor | None:
    """(G + λ I)⁻¹ Q [R, K] of the lower triangle of G; None where rounding has made G + λ I indefinite."""
    matrix = gram.clone()
    matrix.diagonal().add_(ridge)
    factor, failed = torch.linalg.cholesky_ex(matrix)
    return None if failed else torch.cholesky_solve(sums, factor)


def memory(config: RidgeConfig, s: Setting, parts: int) -> int:
    """Bytes of W, of what waits, and of the sums of each part."""
    size, wide = s.shape[0], config.random_features
    return 4 * size * wide + 8 * ROWS * (size + 1) + 8 * parts * wide * (wide + s.classes)
