"""A small convolutional network for images up to 64 pixels a side; its weights ship with the project.

About 3.7 million multiply-adds for a 64 x 64 image: cheap enough to learn a stream on a CPU. It normalises
nothing over a batch: the batches of a stream are no fair samples, and the gradients of single samples need
samples that do not see each other.
"""

from torch import nn

FEATURES = 128
"""The number of pooled features."""


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
