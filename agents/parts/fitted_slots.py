"""Slots that represent the features they are to stand for: fitted to the first ones, and chosen by distance.

The first slots are the centres of k-means (Lloyd 1982) over the reads of the first mini-batch, from the start of
k-means++ (Arthur & Vassilvitskii 2007); one is zero, for groups of channels that are silent. A read weighs the slots by

    softmax(-β |k - M|² / 2s) = softmax(β (<k, M> - |M|²/2) / s),

s the mean square of the numbers of the reads that were fitted, so that β means the same at every scale.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lethe.agents.parts.slot_memory import TILE, SlotMemory

_READS_PER_SLOT = 256  # of the first mini-batch, as many as faiss takes for a centre
_ROUNDS = 10  # of Lloyd's


class FittedSlots(SlotMemory):
    """N trainable slots M [N, F], zero until `fit` has seen a mini-batch."""

    def __init__(self, slots: int, width: int, sharpness: float, device: torch.device):
        nn.Module.__init__(self)
        self.slots = nn.Parameter(torch.zeros(slots, width, device=device))
        self.sharpness = sharpness
        self.mean_square: float | None = None
        """s; None before `fit`. A plain number: a read does not wait for the device."""

    def fit(self, x: Tensor, generator: torch.Generator) -> None:
        """Set slots and s to fit maps [B, D, H, W]; on the CPU, in float64, whatever the device of `x`.

        Where there are fewer different reads than slots, the other slots are drawn from N(0, s).
        """
        reads = self._groups(x).flatten(0, 1).cpu().double()
        self.mean_square = reads.square().mean().item() or 1.0
        heard = reads[reads.any(1)]
        count, width = self.slots.shape
        if len(heard) > _READS_PER_SLOT * count:
            heard = heard[torch.randperm(len(heard), generator=generator)[: _READS_PER_SLOT * count]]
        centres = k_means(heard, count - 1, generator)
        rest = torch.randn(count - 1 - len(centres), width, dtype=torch.float64, generator=generator)
        slots = torch.cat([torch.zeros(1, width), centres, self.mean_square**0.5 * rest])
        with torch.no_grad():
            self.slots.copy_(slots)

    def read(self, x: Tensor) -> Tensor:
        """Maps of the shape of `x` with each group k replaced by softmax(-β |k - M|² / 2s) M.

        The distance is an inner product of [k, 1] and [M, -|M|²/2], so that attention stays fused, both ways.
        """
        groups = F.pad(self._groups(x), (0, 1), value=1.0).unsqueeze(1)
        keys = torch.cat([self.slots, self._bias()], 1).expand(len(x), 1, -1, -1)
        values = F.pad(self.slots, (0, 1)).expand(len(x), 1, -1, -1)
        scale = self.sharpness / (self.mean_square or 1.0)
        reads = F.scaled_dot_product_attention(groups, keys, values, scale=scale)
        return self._maps(reads[..., :-1], x.shape)

    def get_extra_state(self) -> float | None:
        """s, which `state_dict` holds beside the slots."""
        return self.mean_square

    def set_extra_state(self, state: float | None) -> None:
        """Take s back."""
        self.mean_square = state

    def _nearness(self, reads: Tensor) -> Tensor:
        return torch.addmm(self._bias().detach().T, reads, self.slots.detach().T)

    def _bias(self) -> Tensor:
        """-|M|²/2 [N, 1]."""
        return self.slots.square().sum(1, keepdim=True) / -2


def k_means(points: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Centres [n, F] of `points` [P, F], float64 on the CPU; n is `count`, or less with fewer different points.

    The same points and generator give the same centres, whatever the number of threads.
    """
    centres = _far_apart(points, count, generator)
    for _ in range(_ROUNDS if len(centres) else 0):
        nearest = torch.cat([_distances(tile, centres).argmin(1) for tile in points.split(TILE)])
        sums = torch.zeros_like(centres).index_add_(0, nearest, points)
        sizes = torch.bincount(nearest, minlength=len(centres)).unsqueeze(1)
        centres = torch.where(sizes > 0, sums / sizes.clamp(min=1), centres)
    return centres


def _far_apart(points: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """The start of k-means++: each next centre a point drawn by its squared distance from the nearest before."""
    chosen: list[Tensor] = []
    weights = torch.ones(len(points), dtype=torch.float64)
    for draw in torch.rand(count, dtype=torch.float64, generator=generator):
        reach = weights.cumsum(0)
        if not len(points) or reach[-1] <= 0:
            break
        row = int(torch.searchsorted(reach, draw * reach[-1], right=True))
        chosen.append(points[min(row, len(points) - 1)])
        distances = (points - chosen[-1]).square().sum(1)
        weights = distances if len(chosen) == 1 else torch.minimum(weights, distances)
    return torch.stack(chosen) if chosen else points.new_empty(0, points.shape[1])


def _distances(points: Tensor, centres: Tensor) -> Tensor:
    """|p - c|² less |p|² [P, N]."""
    return torch.addmm(centres.square().sum(1), points, centres.T, alpha=-2)
