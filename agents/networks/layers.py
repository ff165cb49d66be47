"""Layers that all networks share: size and normalisation of pixels, and dropout with a generator of its own."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lethe.agents.networks.recipe import IMAGENET_MEAN, IMAGENET_STD


class Normalise(nn.Module):
    """uint8 or float pixels in 0..255, [B, 3, H, W] -> float32, (x / 255 - mean) / std per channel."""

    scale: Tensor
    shift: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        self.mean, self.std = tuple(mean), tuple(std)
        scale = [1 / (255 * s) for s in std]
        shift = [-m / s for m, s in zip(mean, std, strict=True)]
        self.register_buffer("scale", torch.tensor(scale).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("shift", torch.tensor(shift).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x`."""
        return torch.addcmul(self.shift, x.float(), self.scale)

    def extra_repr(self) -> str:
        """Mean and std, so that fingerprints tell networks apart that differ in them alone."""
        if (self.mean, self.std) == (IMAGENET_MEAN, IMAGENET_STD):
            return ""  # keeps the fingerprints, and so the stored features, of networks that were there first
        return f"mean={self.mean}, std={self.std}"


class Resize(nn.Module):
    """uint8 or float pixels [B, 3, H, W] -> float32 [B, 3, *size], bilinear, smoothed where they shrink.

    Stored and augmented images stay small; a trunk that learned from larger ones gets the size that it knows.
    """

    def __init__(self, size: tuple[int, int]):
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Resize `x`; images of the right size are passed on as they are."""
        if x.shape[2:] == self.size:
            return x
        return F.interpolate(x.float(), self.size, mode="bilinear", antialias=True)

    def extra_repr(self) -> str:
        """The size, so that fingerprints tell networks apart that differ in it alone."""
        return f"{self.size[0]}x{self.size[1]}"


class Normalised(nn.Module):
    """A network that is no sequence of stages, with normalised input."""

    def __init__(self, normalise: nn.Module, module: nn.Module):
        super().__init__()
        self.normalise = normalise
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        """Scores [B, K] of images [B, 3, H, W]."""
        scores: Tensor = self.module(self.normalise(x))
        return scores


class Dropout(nn.Module):
    """Dropout (Srivastava et al. 2014) that draws from a generator of its own, saved with the weights."""

    def __init__(self, p: float, seed: int, device: torch.device):
        super().__init__()
        self.p = p
        self.generator = torch.Generator(device).manual_seed(seed)

    def forward(self, x: Tensor) -> Tensor:
        """Zero each value with probability p and scale the rest by 1 / (1 - p), in training only."""
        if not self.training:
            return x
        kept = torch.rand(x.shape, generator=self.generator, device=x.device) >= self.p
        return x * kept / (1 - self.p)

    def get_extra_state(self) -> Tensor:
        """The generator's state, uint8."""
        return self.generator.get_state()

    def set_extra_state(self, state: Tensor) -> None:
        """Continue from `get_extra_state()`."""
        self.generator.set_state(state.cpu())

    def __deepcopy__(self, memo: dict[int, object]) -> "Dropout":
        twin = Dropout(self.p, 0, self.generator.device)
        twin.generator.set_state(self.generator.get_state())
        return twin.train(self.training)


def seed_dropout(module: nn.Module, seed: int, device: torch.device) -> None:
    """Replace each `nn.Dropout` inside `module` by a `Dropout`, the n-th (from 0) seeded with `seed` + n."""
    replaced: dict[nn.Module, Dropout] = {}
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Dropout:
                replaced.setdefault(child, Dropout(child.p, seed + len(replaced), device))
                setattr(parent, name, replaced[child])
