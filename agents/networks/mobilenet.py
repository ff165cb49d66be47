"""MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381) with the cut of AugMem."""

from torch import Tensor, nn

from lethe.agents.networks.batch_norm import BatchNorm2d
from lethe.agents.networks.hub import fetch, under
from lethe.agents.networks.recipe import IMAGENET_MEAN, IMAGENET_STD, Recipe, Staged


def _build(num_classes: int) -> Staged:
    from torchvision.models import mobilenet_v2

    body = mobilenet_v2(weights=None, norm_layer=BatchNorm2d).features
    stages = {f"features.{number}": layer for number, layer in enumerate(body)}
    head = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(1280, num_classes))
    return Staged({**stages, "pool": nn.AdaptiveAvgPool2d(1), "head": head}, body)


def _weights() -> dict[str, Tensor]:
    from torchvision.models import MobileNet_V2_Weights

    return under("features.", fetch(MobileNet_V2_Weights.IMAGENET1K_V1))


RECIPE = Recipe(
    _build,
    _weights,
    last_block="features.8",  # AugMem's
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
    pretraining="ImageNet-1k",
    default_values=True,
)
