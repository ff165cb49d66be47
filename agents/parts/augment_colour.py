"""Augmentation of colours: grey and colour jitter, made as the transforms of `augment` are."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from lethe.agents.parts.augment import RandomFlip, RandomResizedCrop, Transform, laid_out
from lethe.agents.parts.device import to_device

_GREY = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in a grey level (ITU-R BT.601), as torchvision rounds them."""


class Jitter(NamedTuple):
    """Parameters of `ColourJitter`."""

    chosen: Tensor
    """bool [B]: the images that are changed at all."""
    factors: Tensor
    """float32 [B, 4]: factors of brightness, contrast and saturation, and the shift of the hue in turns."""
    order: Tensor
    """int64 [B, 4]: the order in which each image's four changes are made, as columns of `factors`."""


@dataclass(frozen=True)
class RandomGrey(Transform[Tensor]):
    """All three channels become the grey level (0.2989 R + 0.587 G + 0.114 B, rounded down), with `probability`."""

    probability: float = 0.1

    def draw(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """The images that become grey, bool [B]."""
        return torch.rand(len(x), generator=generator) < self.probability

    def apply(self, x: Tensor, drawn: Tensor) -> Tensor:
        """Images, grey where `drawn`."""
        grey = _grey(x.float()).to(torch.uint8)
        return laid_out(torch.where(to_device(drawn, x.device)[:, None, None, None], grey, x), x)


@dataclass(frozen=True)
class ColourJitter(Transform[Jitter]):
    """Brightness, contrast, saturation and hue changed in random order, all with `probability`, else none.

    For a strength s, factors are uniform in [max(0, 1 - s), 1 + s]; the hue's shift in [-`hue`, `hue`] turns, at most
    0.5. A strength of 0 leaves out that change. As in torchvision, pixels are whole grey levels, rounded down, after
    each change. torchvision draws once per call; here each image has its own factors and order.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    probability: float = 1.0

    def draw(self, x: Tensor, generator: torch.Generator) -> Jitter:
        """Factors and orders."""
        chosen = torch.rand(len(x), generator=generator) < self.probability
        order = torch.rand((len(x), 4), generator=generator).argsort(1)
        strength = (self.brightness, self.contrast, self.saturation)
        low = torch.tensor([*(max(0.0, 1 - s) for s in strength), -self.hue])
        high = torch.tensor([*(1 + s for s in strength), self.hue])
        factors = low + (high - low) * torch.rand((len(x), 4), generator=generator)
        return Jitter(chosen, factors, order)

    def apply(self, x: Tensor, drawn: Jitter) -> Tensor:
        """Images, changed where `drawn.chosen`."""
        strengths = (self.brightness, self.contrast, self.saturation, self.hue)
        factors = to_device(drawn.factors, x.device)
        changed = x.float()
        for kinds in drawn.order.unbind(1):
            for kind in (kind for kind, strength in enumerate(strengths) if strength):
                # Found on the CPU, so that nothing waits; together the four kinds pass over each image once.
                rows = to_device((kinds == kind).nonzero().squeeze(1), x.device)
                factor = factors.index_select(0, rows)[:, kind, None, None, None]
                changed[rows] = _CHANGES[kind](changed.index_select(0, rows), factor)
        chosen = to_device(drawn.chosen, x.device)[:, None, None, None]
        return laid_out(torch.where(chosen, changed.to(torch.uint8), x), x)


def contrastive_view(x: Tensor, generator: torch.Generator, *, smallest_crop: float, flip: bool) -> Tensor:
    """uint8 images [B, 3, H, W], augmented as for SCR (Mai et al. 2021).

    A resized crop of `smallest_crop` (1: no crops) to 100 % of the image, where `flip` an exchange of left and right,
    colour jitter (0.4, 0.4, 0.4, 0.1) with probability 0.8, grey with probability 0.2.
    """
    if smallest_crop < 1:
        x = RandomResizedCrop((smallest_crop, 1.0))(x, generator)
    if flip:
        x = RandomFlip()(x, generator)
    x = ColourJitter(0.4, 0.4, 0.4, 0.1, probability=0.8)(x, generator)
    return RandomGrey(0.2)(x, generator)


def _grey(x: Tensor) -> Tensor:
    """Grey levels of float32 images, rounded down, [B, 1, H, W]."""
    red, green, blue = x[:, :1], x[:, 1:2], x[:, 2:]
    grey: Tensor = (red * _GREY[0]).add_(green, alpha=_GREY[1]).add_(blue, alpha=_GREY[2])
    return grey.floor_()


def _brighter(x: Tensor, factor: Tensor) -> Tensor:
    return (x * factor).clamp_(0, 255).floor_()


def _contrasted(x: Tensor, factor: Tensor) -> Tensor:
    mean = _grey(x).mean((1, 2, 3), keepdim=True)
    return (x * factor).add_(mean * (1 - factor)).clamp_(0, 255).floor_()


def _saturated(x: Tensor, factor: Tensor) -> Tensor:
    return (x * factor).add_(_grey(x) * (1 - factor)).clamp_(0, 255).floor_()


def _turned(x: Tensor, shift: Tensor) -> Tensor:
    """The hue turned by `shift`; largest and smallest channel stay, so that saturation and value need no computing.

    With h the hue in sixths of a turn, a channel is max - (max - min) * clamp(min(k, 4 - k), 0, 1),
    k = (n + h) mod 6, n = 5, 3, 1 for red, green, blue (the formula of HSV without cases).
    """
    low, high = x.aminmax(dim=1, keepdim=True)
    span = high - low
    scaled = x / span.clamp(min=1)
    red, green, blue = scaled[:, :1], scaled[:, 1:2], scaled[:, 2:]
    is_red, is_green = high == x[:, :1], high == x[:, 1:2]
    hue = torch.where(is_red, green - blue, torch.where(is_green, blue - red + 2, red - green + 4))
    first = torch.tensor([5.0, 3.0, 1.0]).view(1, 3, 1, 1)
    k = (to_device(first, x.device) + (hue + 6 * shift)).remainder_(6)
    turned = high - span * torch.minimum(k, 4 - k).clamp_(0, 1)
    return turned.mul_(255.999 / 255).floor_()  # 255.999: torchvision's way from [0, 1] back to grey levels


_CHANGES = (_brighter, _contrasted, _saturated, _turned)
