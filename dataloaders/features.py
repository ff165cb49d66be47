"""The feature store: what a frozen trunk makes of every image, computed once and memory-mapped.

Every agent, run and hyperparameter with the same trunk and images shares one store. It is named after the
fingerprints of the pixels and of the trunk.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dataloaders.pixels import PixelStore
from dataloaders.stores import open_array
from dataloaders.streams import Images

_BATCH = 32
"""Images that pass the trunk together; always as many, so that a store has the same bits whoever needs it."""


@torch.no_grad()
def feature_store(
    pixels: PixelStore,
    trunk: nn.Module,
    fingerprint: str,
    stores: Path,
    device: torch.device,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Features float32 [N, H, W, C] of the images [N, ...] of `pixels`, in the same rows.

    `trunk`, in evaluation mode and on `device`, maps uint8 images [B, 3, H, W] to float32 [B, C, H, W];
    `fingerprint` names its weights and layers.
    """
    images = Images(pixels.pixels, device)
    count = len(pixels.pixels)

    def passed(low: int) -> Tensor:
        return trunk(images[torch.arange(low, min(low + _BATCH, count))]).permute(0, 2, 3, 1)

    def fill(target: Path) -> None:
        features = np.load(target, mmap_mode="r+")
        for low in range(0, count, _BATCH):
            features[low : low + _BATCH] = passed(low).float().cpu().numpy()
            if progress is not None:
                progress(min(low + _BATCH, count), count)
        features.flush()

    shape = (count, *trunk(images[torch.arange(1)]).permute(0, 2, 3, 1).shape[1:])
    folder = stores / f"features-{pixels.fingerprint[:16]}-{fingerprint[:16]}"
    return open_array(folder, shape, np.float32, fill)
