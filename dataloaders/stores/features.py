"""The feature store: the output of a frozen trunk for every image, computed once and memory-mapped.

All agents, runs and hyperparameters with the same trunk and images share one store. Its name has the fingerprints of
the pixels and of the trunk, and everything that the last bits of a sum depend on: the kind of device, the number of
threads, the instruction sets of PyTorch's libraries and its version. Otherwise a run's numbers would depend on which
machine computed the features first.
"""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lethe.common import processor
from lethe.dataloaders.stores.array import open_array
from lethe.dataloaders.stores.encoded import GROUP, EncodedImages, passed
from lethe.dataloaders.stores.pixels import ImageFiles, PixelStore
from lethe.dataloaders.streams import Images, Inputs, Task

FEATURE_DTYPES = ("float32", "bfloat16")
"""Storage types of features; bfloat16, which NumPy lacks, as its bits in uint16."""

Report = Callable[[int, int], None]
"""Told how many images are done, of how many."""


def feature_store(
    pixels: PixelStore | ImageFiles,
    trunk: nn.Module,
    fingerprint: str,
    stores: Path,
    device: torch.device,
    progress: Report | None = None,
    *,
    dtype: str = "float32",
    rows: Tensor | None = None,
) -> np.ndarray:
    """What `trunk` makes of the images of `pixels`, [N, H, W, C] in the same rows; or of `rows` [N], in their order.

    `trunk`, in evaluation mode and on `device`, maps uint8 images [B, 3, H, W] to [B, C, H, W], features that are
    stored as `dtype` (see `FEATURE_DTYPES`) or codes in uint8; `fingerprint` names its weights and layers. No more than
    some groups of images are in memory.
    """
    images = EncodedImages(pixels.inputs(device), trunk, device)
    suffix = "" if dtype == "float32" else f"-{dtype}"
    name = f"features-{pixels.fingerprint[:16]}-{fingerprint[:16]}-{maker(device)}{suffix}"
    channels, height, width = images.shape
    if rows is None:
        rows = torch.arange(len(pixels.rows))
    else:
        name += f"-of-{_digest(rows)}"
    shape = (len(rows), height, width, channels)
    kind = _stored(torch.empty(0, dtype=images.dtype), dtype).dtype
    return open_array(stores / name, shape, kind, _filler(images, rows, dtype, progress))


def pixels_of(
    files: ImageFiles, rows: Tensor, stores: Path, device: torch.device, progress: Report | None = None
) -> np.ndarray:
    """The decoded images of `rows` [N] alone, uint8 [N, H, W, 3], as a store of their own."""
    images = files.inputs(device)
    height, width = files.size
    folder = stores / f"{files.store_name}-of-{_digest(rows)}"
    fill = _filler(images, rows, "float32", progress)
    return open_array(folder, (len(rows), height, width, 3), np.uint8, fill)


@torch.no_grad()
def compute(pixels: np.ndarray, trunk: nn.Module, device: torch.device) -> np.ndarray:
    """Outputs [N, H, W, C] of images uint8 [N, H, W, 3], in memory; the same bits as a store's."""
    images, count = Images(pixels, device), len(pixels)
    parts = [
        passed(trunk, images[torch.arange(low, min(low + GROUP, count))]) for low in range(0, count, GROUP)
    ]
    return _stored(torch.cat(parts).permute(0, 2, 3, 1), "float32")


def maker(device: torch.device) -> str:
    """What the last bits of a sum depend on, as part of a file's name."""
    return f"{device.type}{_processor() if device.type == 'cpu' else ''}-torch{torch.__version__}"


def _filler(images: Inputs, rows: Tensor, dtype: str, progress: Report | None) -> Callable[[Path], None]:
    """A function that writes the inputs of `rows` into the .npy file that it is given."""

    def fill(target: Path) -> None:
        array, done = np.load(target, mmap_mode="r+"), 0
        for part, x in images.batches(Task(rows, rows).batches(GROUP)):
            array[done : done + len(part)] = _stored(x.permute(0, 2, 3, 1), dtype)
            done += len(part)
            if progress is not None:
                progress(done, len(rows))
        array.flush()

    return fill


def _digest(rows: Tensor) -> str:
    return hashlib.sha256(rows.numpy().tobytes()).hexdigest()[:16]


def _processor() -> str:
    """Number of threads and name of the instruction sets that PyTorch's sums depend on."""
    sets = processor.instruction_sets()
    used = "-".join(dict.fromkeys(sets[library] for library in ("torch", "onednn", "mkl")))
    return f"{torch.get_num_threads()}-{re.sub('[^A-Za-z0-9]+', '', used)}"


def _stored(features: Tensor, dtype: str) -> np.ndarray:
    """Features as they are stored, on the CPU: float32, or the bits of bfloat16, rounded to nearest; codes, pixels."""
    if features.dtype == torch.uint8:
        return features.cpu().numpy()
    if dtype == "float32":
        return features.float().cpu().numpy()
    return features.bfloat16().cpu().view(torch.uint16).numpy()
