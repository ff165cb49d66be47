"""A small convolutional network for images up to 64 pixels a side; its weights ship with the project.

About 3.7 million multiply-adds for a 64 x 64 image: cheap enough to learn a stream on a CPU. It normalises
nothing over a batch: the batches of a stream are no fair samples, and the gradients of single samples need
samples that do not see each other.
"""

from pathlib import Path

import safetensors.torch
from torch import Tensor, nn

from lethe.agents.networks.recipe import IMAGENET_MEAN, IMAGENET_STD, Recipe, Staged

FEATURES = 128
"""The number of pooled features."""
SMALL_WEIGHTS = Path(__file__).parent / "weights" / "small.safetensors"


def small_features() -> nn.Sequential:
    """The feature extractor: normalised images, float [B, 3, H, W] with H, W <= 64, to [B, `FEATURES`]."""
    return nn.Sequential(
        nn.Conv2d(3, 16, kernel_size=8, stride=4, padding=2),
        nn.ReLU(),
        nn.Conv2d(16, 48, kernel_size=3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(48, 96, kernel_size=3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(96, FEATURES, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


def _build(num_classes: int) -> Staged:
    body = small_features()
    stages = {f"conv{number + 1}": body[2 * number : 2 * number + 2] for number in range(4)}
    head = nn.Sequential(nn.Flatten(), nn.Linear(FEATURES, num_classes))
    return Staged({**stages, "pool": body[8], "head": head}, body)


def _weights() -> dict[str, Tensor]:
    return safetensors.torch.load_file(SMALL_WEIGHTS)


RECIPE = Recipe(
    _build,
    _weights,
    last_block="conv4",
    max_pixels=64,
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
    pretraining="drawn shapes",
    default_values=True,
)
