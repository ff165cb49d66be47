"""The feature store: the output of a frozen trunk for every image, computed once and memory-mapped.

All agents, runs and hyperparameters with the same trunk and images share one store. Its name has the fingerprints of
the pixels and of the trunk, and everything that the last bits of a sum depend on: the kind of device, the number of
threads, the instruction sets of PyTorch's libraries and its version. Otherwise a run's numbers would depend on which
machine computed the features first.
"""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lethe.common import processor
from lethe.dataloaders.stores.array import open_array
from lethe.dataloaders.stores.pixels import PixelStore
from lethe.dataloaders.streams import Images

FEATURE_DTYPES = ("float32", "bfloat16")
"""Storage types of features; bfloat16, which NumPy lacks, as its bits in uint16."""

_BATCH = 32
"""Images that pass the trunk together; a fixed number, so that a store has the same bits for all."""


@torch.no_grad()
def feature_store(
    pixels: PixelStore,
    trunk: nn.Module,
    fingerprint: str,
    stores: Path,
    device: torch.device,
    progress: Callable[[int, int], None] | None = None,
    *,
    dtype: str = "float32",
) -> np.ndarray:
    """Features [N, H, W, C] of the images [N, ...] of `pixels`, in the same rows, as `dtype` (see `FEATURE_DTYPES`).

    `trunk`, in evaluation mode and on `device`, maps uint8 images [B, 3, H, W] to float32 [B, C, H, W];
    `fingerprint` names its weights and layers.
    """
    count = len(pixels.pixels)

    def passed(images: Images, low: int, high: int) -> Tensor:
        features: Tensor = trunk(images[torch.arange(low, high)])
        return features.permute(0, 2, 3, 1)

    def fill(target: Path) -> None:
        images, features = Images(pixels.pixels, device), np.load(target, mmap_mode="r+")
        for low in range(0, count, _BATCH):
            high = min(low + _BATCH, count)
            features[low:high] = _stored(passed(images, low, high), dtype)
            if progress is not None:
                progress(high, count)
        features.flush()

    one = _stored(passed(Images(pixels.pixels[:1], device), 0, 1), dtype)
    maker = f"{device.type}{_processor() if device.type == 'cpu' else ''}-torch{torch.__version__}"
    suffix = "" if dtype == "float32" else f"-{dtype}"
    folder = stores / f"features-{pixels.fingerprint[:16]}-{fingerprint[:16]}-{maker}{suffix}"
    return open_array(folder, (count, *one.shape[1:]), one.dtype, fill)


@torch.no_grad()
def compute(pixels: np.ndarray, trunk: nn.Module, device: torch.device) -> np.ndarray:
    """Features, float32 [N, H, W, C], of images uint8 [N, H, W, 3], in memory; the same bits as a store's."""
    images, count = Images(pixels, device), len(pixels)
    parts = [trunk(images[torch.arange(low, min(low + _BATCH, count))]) for low in range(0, count, _BATCH)]
    return _stored(torch.cat(parts).permute(0, 2, 3, 1), "float32")


def rounded(features: Tensor, dtype: str) -> Tensor:
    """Features with the values that a store of `dtype` gives back; what is none, such as pixels, as it is."""
    return features.bfloat16().float() if dtype == "bfloat16" else features


def _processor() -> str:
    """Number of threads and name of the instruction sets that PyTorch's sums depend on."""
    sets = processor.instruction_sets()
    used = "-".join(dict.fromkeys(sets[library] for library in ("torch", "onednn", "mkl")))
    return f"{torch.get_num_threads()}-{re.sub('[^A-Za-z0-9]+', '', used)}"


def _stored(features: Tensor, dtype: str) -> np.ndarray:
    """Features as they are stored, on the CPU: float32, or the bits of bfloat16, rounded to nearest."""
    if dtype == "float32":
        return features.float().cpu().numpy()
    return features.bfloat16().cpu().view(torch.uint16).numpy()
