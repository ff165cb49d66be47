"""SqueezeNet 1.0 (Iandola et al. 2016, arXiv 1602.07360) with the head and the cut of the AugMem protocol."""

from torch import Tensor, nn

from lethe.agents.networks.hub import fetch, under
from lethe.agents.networks.recipe import IMAGENET_MEAN, IMAGENET_STD, Recipe, Staged


def _build(num_classes: int) -> Staged:
    from torchvision.models import squeezenet1_0

    body = squeezenet1_0(weights=None).features
    head = nn.Sequential(
        nn.Dropout(0.5),
        nn.Conv2d(512, num_classes, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    return Staged({**{f"features.{number}": layer for number, layer in enumerate(body)}, "head": head}, body)


def _weights() -> dict[str, Tensor]:
    from torchvision.models import SqueezeNet1_0_Weights

    return under("features.", fetch(SqueezeNet1_0_Weights.IMAGENET1K_V1))


RECIPE = Recipe(
    _build,
    _weights,
    last_block="features.12",  # AugMem's
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
    pretraining="ImageNet-1k",
    default_values=True,
)
