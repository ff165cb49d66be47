"""Augmentation of uint8 images [B, 3, H, W] on their device: every image of a batch has draws of its own.

A transform draws its parameters with `draw`, on the CPU and from the generator that it is handed (the agent's, so
that a resumed run goes on to the bit), and turns images and parameters into images of the same shape, dtype and memory
format with `apply`, which neither loops over images nor waits for the device. Calling a transform does both:

    x = RandomCrop(padding=4)(x, self.generator)

Given the same parameters, pixels are those of `torchvision.transforms.v2.functional`: exactly for crop, flip, cutout,
CutMix and grey; within one grey level for the resized crop and the colour jitter, where float32 roundings differ
(tests/agents/test_augment.py). Grey and colour jitter are in `augment_colour`.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from lethe.agents.base import Network
from lethe.agents.parts.buffers import take
from lethe.agents.parts.device import to_device
from lethe.common.errors import InputError

P = TypeVar("P")

_TRIES = 10


class Boxes(NamedTuple):
    """A rectangle for each image: rows `top` .. `top + height` - 1, columns `left` .. `left + width` - 1; int64 [B]."""

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor


class Offsets(NamedTuple):
    """The top left corner of each image's crop in the padded image, int64 [B]."""

    top: Tensor
    left: Tensor


class Pasted(NamedTuple):
    """Parameters of `CutMix`."""

    partner: Tensor
    """int64 [B]: the image of the batch that each image's rectangle comes from, a permutation."""
    boxes: Boxes


class Mixed(NamedTuple):
    """Images of `CutMix`; the loss is `share` * loss(y) + (1 - `share`) * loss(y[`partner`]), per image."""

    images: Tensor
    """uint8 [B, 3, H, W]."""
    partner: Tensor
    """int64 [B]."""
    share: Tensor
    """lambda, float32 [B]: the share of the pixels that are the image's own."""


class Transform(ABC, Generic[P]):
    """A random change of images, made of its parameters' draw and their application."""

    @abstractmethod
    def draw(self, x: Tensor, generator: torch.Generator) -> P:
        """Parameters for the batch `x`, of which only the shape counts, on the CPU."""

    @abstractmethod
    def apply(self, x: Tensor, drawn: P) -> Tensor:
        """`x` changed as `drawn` says."""

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """`x` changed at random; `InputError` unless `x` is uint8 [B, 3, H, W]."""
        _check(x)
        return self.apply(x, self.draw(x, generator))


@dataclass(frozen=True)
class RandomCrop(Transform[Offsets]):
    """A crop of the image's own size from the image with a black border of `padding` pixels."""

    padding: int

    def draw(self, x: Tensor, generator: torch.Generator) -> Offsets:
        """Corners, uniform on 0 .. 2 * `padding`."""
        corners = torch.randint(2 * self.padding + 1, (2, len(x)), generator=generator)
        return Offsets(corners[0], corners[1])

    def apply(self, x: Tensor, drawn: Offsets) -> Tensor:
        """The crops."""
        padded = F.pad(x, (self.padding,) * 4)
        windows = padded.unfold(2, x.shape[2], 1).unfold(3, x.shape[3], 1)  # a view: [B, 3, top, left, H, W]
        top, left = to_device(drawn.top, x.device), to_device(drawn.left, x.device)
        return laid_out(windows[torch.arange(len(x), device=x.device), :, top, left], x)


@dataclass(frozen=True)
class RandomResizedCrop(Transform[Boxes]):
    """A crop of random area and aspect ratio, resized to the image's own size, bilinear (Szegedy et al. 2014).

    The distribution is torchvision's: the area is uniform in `scale` (shares of the image), the ratio width / height
    log-uniform in `ratio`, ten tries, then the largest centred crop with a ratio in range. All tries of all
    images are drawn at once, and the first that fits counts. A crop is never larger than the image, so that
    antialiasing, which acts where images shrink, has nothing to do.
    """

    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def draw(self, x: Tensor, generator: torch.Generator) -> Boxes:
        """Rectangles inside the image."""
        rows, columns = x.shape[2:]
        area, shape, down, right = torch.rand(
            (4, len(x), _TRIES), generator=generator, dtype=torch.float64
        ).unbind()
        area = rows * columns * _between(self.scale, area)
        shape = _between((math.log(self.ratio[0]), math.log(self.ratio[1])), shape).exp()
        width, height = (area * shape).sqrt().round().long(), (area / shape).sqrt().round().long()
        fits = (width >= 1) & (width <= columns) & (height >= 1) & (height <= rows)
        first = fits.long().argmax(1, keepdim=True)
        fits, width, height, down, right = (
            values.gather(1, first).squeeze(1) for values in (fits, width, height, down, right)
        )
        centred = _largest(rows, columns, self.ratio)
        height, width = torch.where(fits, height, centred[0]), torch.where(fits, width, centred[1])
        top = torch.where(fits, _below(rows - height + 1, down), (rows - height) // 2)
        left = torch.where(fits, _below(columns - width + 1, right), (columns - width) // 2)
        return Boxes(top, left, height, width)

    def apply(self, x: Tensor, drawn: Boxes) -> Tensor:
        """The crops, resized."""
        rows = _sampled(to_device(drawn.top, x.device), to_device(drawn.height, x.device), x.shape[2])
        columns = _sampled(to_device(drawn.left, x.device), to_device(drawn.width, x.device), x.shape[3])
        size = (len(x), *x.shape[2:])
        grid = torch.stack([columns[:, None, :].expand(size), rows[:, :, None].expand(size)], dim=3)
        # Places never leave the crop, whose outermost pixels are repeated: the mode of padding is never needed.
        resized = F.grid_sample(x.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
        return laid_out(resized.round_().to(torch.uint8), x)


@dataclass(frozen=True)
class RandomFlip(Transform[Tensor]):
    """Left and right exchanged, with `probability`."""

    probability: float = 0.5

    def draw(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """The images that are flipped, bool [B]."""
        return torch.rand(len(x), generator=generator) < self.probability

    def apply(self, x: Tensor, drawn: Tensor) -> Tensor:
        """Images, flipped where `drawn`."""
        return laid_out(torch.where(to_device(drawn, x.device)[:, None, None, None], x.flip(3), x), x)


@dataclass(frozen=True)
class Cutout(Transform[Boxes]):
    """A square of `size` pixels a side made black (DeVries and Taylor 2017, arXiv 1708.04552).

    Its centre is uniform over the image's pixels, and what lies outside is cut off, as in the authors' code. They blank
    normalised images, so that the square has the data's mean colour.
    """

    size: int

    def draw(self, x: Tensor, generator: torch.Generator) -> Boxes:
        """Squares, cut at the image's edge."""
        rows, columns = x.shape[2:]
        y = torch.randint(rows, (len(x),), generator=generator)
        x_ = torch.randint(columns, (len(x),), generator=generator)
        half = self.size // 2
        return _clipped(y - half, x_ - half, y - half + self.size, x_ - half + self.size, rows, columns)

    def apply(self, x: Tensor, drawn: Boxes) -> Tensor:
        """Images with black squares."""
        return laid_out(x.masked_fill(_inside(x, drawn), 0), x)


@dataclass(frozen=True)
class CutMix:
    """A rectangle of each image replaced by that of another (Yun et al. 2019, arXiv 1905.04899).

    lambda is uniform on [0, 1], the paper's Beta(1, 1); the rectangle has sqrt(1 - lambda) of each side, its centre is
    uniform over the pixels, what lies outside is cut off, and lambda becomes the share of pixels that stay. Like the
    paper's code, partners are a random permutation; unlike it, each image has its own lambda and rectangle.
    """

    def draw(self, x: Tensor, generator: torch.Generator) -> Pasted:
        """Partners and rectangles."""
        count, (rows, columns) = len(x), x.shape[2:]
        partner = torch.randperm(count, generator=generator)
        half = 0.5 * torch.rand(count, generator=generator, dtype=torch.float64).sqrt()
        y = torch.randint(rows, (count,), generator=generator)
        x_ = torch.randint(columns, (count,), generator=generator)
        high, wide = (half * rows).long(), (half * columns).long()
        return Pasted(partner, _clipped(y - high, x_ - wide, y + high, x_ + wide, rows, columns))

    def apply(self, x: Tensor, drawn: Pasted) -> Mixed:
        """Mixed images, their partners and shares."""
        partner = to_device(drawn.partner, x.device)
        images = torch.where(_inside(x, drawn.boxes), take(x, partner), x)
        pasted = to_device(drawn.boxes.height * drawn.boxes.width, x.device)
        return Mixed(laid_out(images, x), partner, 1 - pasted / (x.shape[2] * x.shape[3]))

    def __call__(self, x: Tensor, generator: torch.Generator) -> Mixed:
        """`x` mixed at random; `InputError` unless `x` is uint8 [B, 3, H, W]."""
        _check(x)
        return self.apply(x, self.draw(x, generator))


def check_images(network: Network, shape: tuple[int, int, int], without: str = "") -> None:
    """`InputError` where what an agent is handed, of `shape` (C, H, W), is no image; `without` is what to set then.

    Codes of three codebooks would look like images, so that a batch does not tell.
    """
    if shape[0] != 3 or any(True for _ in network.frozen.children()):
        raise InputError(
            f"augmentation: expected images of 3 channels, got inputs of {' x '.join(map(str, shape))}: a network that "
            "is cut hands features or codes to the agent: leave out --cut and --store codes"
            f"{without and f', or set {without}'}"
        )


def _check(x: Tensor) -> None:
    if x.dtype != torch.uint8 or x.ndim != 4 or x.shape[1] != 3:
        raise InputError(
            f"augmentation: expected uint8 images [B, 3, H, W], got {str(x.dtype).removeprefix('torch.')} "
            f"{list(x.shape)}: a network that is cut hands features to the agent: leave out --cut, or augmentation"
        )


def laid_out(out: Tensor, x: Tensor) -> Tensor:
    """`out` in the memory format of `x`."""
    last = x.is_contiguous(memory_format=torch.channels_last)
    return out.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def _between(limits: tuple[float, float], uniform: Tensor) -> Tensor:
    return limits[0] + (limits[1] - limits[0]) * uniform


def _below(count: Tensor, uniform: Tensor) -> Tensor:
    """Whole numbers 0 .. `count` - 1 from numbers in [0, 1)."""
    return torch.minimum((count * uniform).long(), count - 1)


def _largest(rows: int, columns: int, ratio: tuple[float, float]) -> tuple[int, int]:
    """(height, width) of the largest crop whose width / height is in `ratio`."""
    if columns / rows < ratio[0]:
        return round(columns / ratio[0]), columns
    if columns / rows > ratio[1]:
        return rows, round(rows * ratio[1])
    return rows, columns


def _sampled(start: Tensor, length: Tensor, size: int) -> Tensor:
    """Places [B, size] where crops [B] are sampled, in units of `grid_sample`: -1 to 1 over `size` pixels."""
    steps = torch.arange(size, device=start.device) + 0.5
    pixels = steps * (length / size)[:, None] - 0.5
    pixels = torch.minimum(pixels.clamp(min=0), length[:, None] - 1) + start[:, None]
    return (2 * pixels + 1) / size - 1


def _clipped(top: Tensor, left: Tensor, bottom: Tensor, right: Tensor, rows: int, columns: int) -> Boxes:
    top, left, bottom, right = (
        top.clamp(min=0),
        left.clamp(min=0),
        bottom.clamp(max=rows),
        right.clamp(max=columns),
    )
    return Boxes(top, left, bottom - top, right - left)


def _inside(x: Tensor, boxes: Boxes) -> Tensor:
    """Whether a pixel lies in its image's rectangle, bool [B, 1, H, W]."""
    top, left, height, width = (to_device(values, x.device)[:, None] for values in boxes)
    rows, columns = (torch.arange(size, device=x.device) for size in x.shape[2:])
    across = (rows >= top) & (rows < top + height)
    along = (columns >= left) & (columns < left + width)
    return (across[:, :, None] & along[:, None, :])[:, None]
