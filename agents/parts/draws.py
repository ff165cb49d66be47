"""Draws without replacement from many, at the cost of the few that are drawn."""

import torch
from torch import Tensor


def different(count: int, of: int, generator: torch.Generator) -> Tensor:
    """`count` different numbers of 0 .. `of` - 1, int64 on the CPU, in random order; all, if there are fewer."""
    if of <= 4 * count:
        return torch.randperm(of, generator=generator)[:count]
    found: dict[int, None] = {}  # a permutation of a million for fifty of them would cost more than a step
    while len(found) < count:
        found.update(dict.fromkeys(torch.randint(of, (count,), generator=generator).tolist()))
    return torch.tensor(list(found)[:count])
