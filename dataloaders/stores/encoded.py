"""The output of a frozen trunk without a store: computed when it is wanted, from images in groups of one size."""

from collections import deque
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from lethe.dataloaders.streams import Inputs, Task

GROUP = 32
"""Images that pass the trunk together. The last bits of an output depend on how many these are, not on which: so the
same bits come of every batch size, and from a store as from here."""


@torch.no_grad()
def passed(trunk: nn.Module, x: Tensor) -> Tensor:
    """The output [B, C, H, W] of `trunk` for at most `GROUP` images [B, ...], with the bits of a whole group."""
    count = len(x)
    if count < GROUP:
        x = torch.cat([x, x[-1:].expand(GROUP - count, *x.shape[1:])])
    found: Tensor = trunk(x.contiguous(memory_format=torch.channels_last))
    return found[:count]


class EncodedImages:
    """The output of `trunk` by row, in channels-last memory on the device, for `images` that it takes.

    `trunk`, in evaluation mode, maps uint8 images [B, 3, H, W] to [B, C, H, W]. With `dtype` bfloat16, values are
    rounded as a store of that type rounds them.
    """

    def __init__(self, images: Inputs, trunk: nn.Module, device: torch.device, dtype: str = "float32"):
        self._images = images
        self._trunk = trunk
        self._dtype = dtype
        blank = torch.zeros(1, *images.shape, dtype=torch.uint8, device=device)
        with torch.no_grad():
            one = trunk(blank)
        self._shape, self.dtype = one.shape[1:], one.dtype
        """The type of outputs: float32, or uint8 of codes."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one output."""
        channels, height, width = self._shape
        return channels, height, width

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Outputs [B, C, H, W] for `rows` [B] int64 on the CPU."""
        return next(self.batches([Task(rows, rows)]))[1]

    def batches(self, parts: Iterable[Task]) -> Iterator[tuple[Task, Tensor]]:
        """Each of `parts` with its outputs, in order; images of the next parts are being made meanwhile."""
        wanted: deque[Task] = deque()
        made: deque[Tensor] = deque()
        count = 0  # outputs in `made`
        for _, x in self._images.batches(_groups(parts, wanted)):
            made.append(rounded(passed(self._trunk, x), self._dtype))
            count += len(x)
            while wanted and len(wanted[0]) <= count:
                part = wanted.popleft()
                count -= len(part)
                yield part, _take(made, len(part))


def rounded(features: Tensor, dtype: str) -> Tensor:
    """Features with the values that a store of `dtype` gives back; what is none, such as pixels, as it is."""
    return features.bfloat16().float() if dtype == "bfloat16" else features


def _groups(parts: Iterable[Task], wanted: deque[Task]) -> Iterator[Task]:
    """The rows of all `parts` in groups of `GROUP`, the last one smaller; each part is noted in `wanted` first."""
    left: list[Task] = []
    for part in parts:
        wanted.append(part)
        left.append(part)
        if sum(map(len, left)) >= GROUP:
            *whole, last = _joined(left).batches(GROUP)
            yield from whole
            left = [last]
            if len(last) == GROUP:
                yield last
                left = []
    if left:
        yield _joined(left)


def _joined(parts: list[Task]) -> Task:
    return Task(torch.cat([part.rows for part in parts]), torch.cat([part.labels for part in parts]))


def _take(made: deque[Tensor], count: int) -> Tensor:
    """The first `count` outputs, off `made`: copies, since a view leads to what comes next."""
    taken = []
    while count:
        first = made.popleft()
        taken.append(first[:count])
        if count < len(first):
            made.appendleft(first[count:])
        count -= len(taken[-1])
    return torch.cat(taken).contiguous(memory_format=torch.channels_last)
