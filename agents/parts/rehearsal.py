"""Which stored images are rehearsed, and in which order: balanced over classes, at random or by GRASP.

Both draw in rounds, one image of each class in a round, the classes of a round in random order.

*Uniform*: each image of a class is as likely as any other.

*GRASP* (Harun et al. 2024, "GRASP: A Rehearsal Policy for Efficient Online Continual Learning", CoLLAs, arXiv
2308.13646): of a class whose images i have distances d_i from its mean, i is drawn with probability
(d_i + ε)⁻¹ / Σ_j (d_j + ε)⁻¹, ε = 1e-7; then d_i grows by the largest d_j. So prototypical images come first and harder
ones later.
"""

import torch
from torch import Tensor

from lethe.agents.parts.device import to_device

POLICIES = ("uniform", "grasp")
_EPSILON = 1e-7


def rehearsed(labels: Tensor, count: int, generator: torch.Generator, distances: Tensor | None) -> Tensor:
    """`count` rows of `labels` [n] in the order of rehearsal: GRASP's by `distances` [n], or uniform without.

    Waits for the device once: for the number of images of each class.
    """
    by_class = labels.argsort(stable=True)
    sizes = torch.bincount(labels)
    sizes = sizes[sizes > 0]
    width = int(sizes.max())
    place = (sizes.cumsum(0) - sizes)[:, None] + torch.arange(width, device=labels.device)
    real = torch.arange(width, device=labels.device) < sizes[:, None]
    rows = by_class[place.clamp(max=len(labels) - 1)]  # [K, n_k], padded
    rounds = -(-count // len(sizes))
    order = torch.rand(rounds, len(sizes), generator=generator).argsort(1)
    draws = to_device(torch.rand(rounds, len(sizes), dtype=torch.float64, generator=generator), labels.device)
    chosen = (draws * sizes).long() if distances is None else _grasp(distances.double()[rows], real, draws)
    found = rows.gather(1, chosen.T).T  # [rounds, K]
    return found.gather(1, to_device(order, labels.device)).flatten()[:count]


def _grasp(distances: Tensor, real: Tensor, draws: Tensor) -> Tensor:
    """The columns [rounds, K] that `draws` [rounds, K] of 0 <= u < 1 pick of `distances` [K, n], where `real`."""
    distances = distances.masked_fill(~real, 0)
    last = real.sum(1, keepdim=True) - 1
    found = []
    for draw in draws:
        reach = (1 / (distances + _EPSILON)).masked_fill(~real, 0).cumsum(1)
        column = torch.searchsorted(reach, draw[:, None] * reach[:, -1:], right=True).minimum(last)
        distances = distances.scatter_add(1, column, distances.amax(1, keepdim=True))
        found.append(column.squeeze(1))
    return torch.stack(found)
