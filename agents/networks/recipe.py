"""Recipe of a network: how it is built, its pretrained weights, and the normalisation of its input."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)
"""Mean and std that bring pixels to -1 .. 1, where nothing is known of them."""


@dataclass(frozen=True)
class Staged:
    """A network as named stages in order; unlike children of an `nn.Sequential`, they may be named "layer4.1"."""

    stages: Mapping[str, nn.Module]
    """Between stages a map [B, C, H, W] is passed on; the last is the head, which gives scores [B, K]."""
    body: nn.Module
    """The module that pretrained weights are for; it shares its layers with the stages."""


@dataclass(frozen=True)
class Recipe:
    """A network that can be built for any number of classes."""

    build: Callable[[int], nn.Module | Staged]
    """num_classes K -> a network that takes normalised float32 images [B, 3, H, W] and gives scores [B, K].

    An `nn.Sequential` can be cut at its children, by name, and its last child is the head; other modules are not cut.
    Random numbers come from torch's global CPU generator, which is seeded before and restored afterwards.
    """
    weights: Callable[[], Mapping[str, Tensor]] | None = None
    """Pretrained weights for `Staged.body`, or for the module that `build` returned; None: there are none."""
    last_block: str | None = None
    """The stage from which on a network learns that is mostly frozen, which agents name "last_block"."""
    max_pixels: int | None = None
    """The longest side of images that the network takes; None: any."""
    mean: tuple[float, float, float] = HALF
    std: tuple[float, float, float] = HALF
    """Mean and standard deviation per channel (red, green, blue) of pixels in 0..1."""
    size: tuple[int, int] | None = None
    """(height, width) that images are resized to on the device, before they are normalised; None: as they are."""
    pretraining: str = ""
    """What `weights` were learned from, which stands beside the numbers: images of a test set may have been in it."""
    default_values: bool = False
    """Whether parameters get PyTorch's default initialisation, drawn from the seed, whatever values `build` gives
    them; it then runs on the meta device, so that no values are made twice."""
