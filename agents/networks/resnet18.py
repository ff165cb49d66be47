"""ResNet-18 (He et al. 2015, arXiv 1512.03385) with the cut of REMIND."""

from torch import Tensor, nn

from lethe.agents.networks.batch_norm import BatchNorm2d
from lethe.agents.networks.hub import fetch
from lethe.agents.networks.recipe import IMAGENET_MEAN, IMAGENET_STD, Recipe, Staged


def _build(num_classes: int) -> Staged:
    from torchvision.models import resnet18

    body = resnet18(weights=None, norm_layer=BatchNorm2d)
    body.fc = nn.Identity()
    blocks = {
        f"layer{group}.{number}": block
        for group in range(1, 5)
        for number, block in enumerate(getattr(body, f"layer{group}"))
    }
    stem = nn.Sequential(body.conv1, body.bn1, body.relu, body.maxpool)
    head = nn.Sequential(nn.Flatten(), nn.Linear(512, num_classes))
    return Staged({"conv1": stem, **blocks, "pool": body.avgpool, "head": head}, body)


def _weights() -> dict[str, Tensor]:
    from torchvision.models import ResNet18_Weights

    weights = fetch(ResNet18_Weights.IMAGENET1K_V1)
    return {name: w for name, w in weights.items() if not name.startswith("fc.")}


RECIPE = Recipe(
    _build,
    _weights,
    last_block="layer4.1",  # REMIND's
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
    pretraining="ImageNet-1k",
    default_values=True,
)
