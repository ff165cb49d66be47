"""The pieces of AugMem: a memory of slots that features are read through, and a store of which slots were read.

A feature map [B, D, H, W] is cut along its channels into G = D / F groups of F, group g the channels gF .. gF+F-1.
A group at a position is one read; an image has L = H·W·G of them, in (row, column, group) order.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lethe.agents.parts.device import to_device

TILE = 8192  # reads whose scores of all slots are in memory at once

Rows = tuple[Tensor, Tensor]
"""Images as they are stored: winning slots [n, L], uint8 or int16, and scores [n, K]."""


class SlotMemory(nn.Module):
    """N trainable slots M [N, F], drawn from N(0, 1)."""

    def __init__(
        self, slots: int, width: int, sharpness: float, generator: torch.Generator, device: torch.device
    ):
        super().__init__()
        self.slots = nn.Parameter(torch.randn(slots, width, generator=generator).to(device))
        self.sharpness = sharpness

    def read(self, x: Tensor) -> Tensor:
        """Maps of the shape of `x` with each group k replaced by softmax(β M k) M.

        Fused: the weights [B, H, W, G, N] are never in memory.
        """
        groups = self._groups(x).unsqueeze(1)
        slots = self.slots.expand(len(x), 1, -1, -1)
        reads = F.scaled_dot_product_attention(groups, slots, slots, scale=self.sharpness)
        return self._maps(reads, x.shape)

    def winners(self, x: Tensor) -> Tensor:
        """The slot [B, L] with the largest weight in each read of maps `x`; of equal ones, the lowest."""
        tiles = self._groups(x).flatten(0, 1).split(TILE)
        found = torch.cat([self._nearness(tile).argmax(1) for tile in tiles]).view(len(x), -1)
        return found.to(torch.uint8 if len(self.slots) <= 256 else torch.int16)

    def decode(self, winners: Tensor, shape: torch.Size) -> Tensor:
        """Maps [B, *shape] made of the winning slots [B, L] as they are now, without gradient to them."""
        return self._maps(F.embedding(winners.int(), self.slots.detach()), (len(winners), *shape))

    def _nearness(self, reads: Tensor) -> Tensor:
        """Scores [n, N] of all slots for reads [n, F], in the order of their weights."""
        return reads @ self.slots.detach().T

    def _groups(self, x: Tensor) -> Tensor:
        """Maps as reads [B, L, F]: a view, where they are channels_last."""
        return x.permute(0, 2, 3, 1).reshape(len(x), -1, self.slots.shape[1])

    @staticmethod
    def _maps(reads: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Reads [..., L, F] as maps [B, D, H, W], channels_last."""
        batch, channels, height, width = shape
        return reads.reshape(batch, height, width, channels).permute(0, 3, 1, 2)


class SlotStore:
    """Rows of all classes, those of one class together, by label; the oldest first."""

    def __init__(self, num_classes: int, generator: torch.Generator, device: torch.device):
        self.generator = generator
        self.device = device
        self.sizes = [0] * num_classes
        """Rows of each label."""
        self._winners = torch.empty(0, dtype=torch.uint8, device=device)
        self._scores = torch.empty(0, device=device)

    def __len__(self) -> int:
        return sum(self.sizes)

    @property
    def labels(self) -> list[int]:
        """The labels that have rows, ascending."""
        return [label for label, size in enumerate(self.sizes) if size]

    def of(self, label: int) -> Rows:
        """The rows of one label."""
        start = sum(self.sizes[:label])
        rows = slice(start, start + self.sizes[label])
        return self._winners[rows], self._scores[rows]

    def update(self, new: Mapping[int, Rows], kept: slice) -> None:
        """Replace the rows of the labels in `new`; then keep the slice `kept` of every label's rows."""
        labels = sorted(new.keys() | set(self.labels))
        rows = [tuple(column[kept] for column in new.get(label) or self.of(label)) for label in labels]
        self._winners, self._scores = (torch.cat(column) for column in zip(*rows, strict=True))
        for label, (winners, _) in zip(labels, rows, strict=True):
            self.sizes[label] = len(winners)

    def sample(self, labels: list[int], rounds: int) -> tuple[Tensor, Tensor, Tensor]:
        """Winning slots, scores and labels of rounds · len(labels) rows: in every round, a random one of each label."""
        sizes = torch.tensor([self.sizes[label] for label in labels])
        starts = torch.tensor([sum(self.sizes[:label]) for label in labels])
        draws = torch.rand(rounds, len(labels), dtype=torch.float64, generator=self.generator)
        rows = to_device((starts + (draws * sizes).long()).view(-1), self.device)
        replayed = to_device(torch.tensor(labels * rounds), self.device)
        return self._winners[rows], self._scores[rows], replayed

    def memory_bytes(self) -> int:
        """Bytes of the winning slots and scores that are stored."""
        return self._winners.nbytes + self._scores.nbytes

    def state_dict(self) -> dict[str, object]:
        """The rows, and how many each label has."""
        return {"winners": self._winners, "scores": self._scores, "sizes": list(self.sizes)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict()`; the generator is the agent's, and restored with it."""
        self._winners, self._scores = (state[name].to(self.device) for name in ("winners", "scores"))
        self.sizes = list(state["sizes"])


def herd(reads: Tensor, count: int, *, whole_norm: bool) -> Tensor:
    """Rows [count] of `reads` [n, D] whose running mean stays nearest to that of all, in the order of choice.

    With φ_i the unit vectors of `reads`, μ the unit vector of their mean and S the sum of those chosen, the next is
    the i, not yet chosen, whose φ_i + S, divided by its length, is nearest to μ; with `whole_norm`, divided by the
    Frobenius norm of the matrix of all φ_i + S instead. Only inner products of the φ_i are needed.
    """
    vectors = F.normalize(reads, dim=1)
    inner = (vectors @ vectors.T).double()
    along = inner.mean(1) / inner.mean().sqrt()  # <φ_i, μ>
    taken = torch.zeros_like(along)
    chosen = []
    for _ in range(min(count, len(reads))):
        with_sum = inner @ taken  # <φ_i, S>
        squares = inner.diagonal() + 2 * with_sum + taken @ with_sum  # |φ_i + S|²
        norm = squares.sum().sqrt() if whole_norm else squares.sqrt()
        distances = squares / norm**2 - 2 * (along + taken @ along) / norm
        best = distances.masked_fill(taken.bool(), torch.inf).argmin()
        taken[best] = 1
        chosen.append(best)
    return torch.stack(chosen)
