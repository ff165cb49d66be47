"""Codes as a store: codebooks fitted on the first task of a run, and with them a network that learns from codes.

All agents, runs and grid points with the same images, trunk, first task, number of codebooks and seed share both.
"""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lethe.agents.base import Network
from lethe.agents.networks import build as networks
from lethe.agents.networks.quantised import quantised
from lethe.agents.parts import product_quantiser
from lethe.agents.parts.product_quantiser import CENTROIDS
from lethe.benchmarks.run.seeds import derive
from lethe.dataloaders.stores.array import open_array
from lethe.dataloaders.stores.encoded import GROUP, EncodedImages
from lethe.dataloaders.stores.features import maker
from lethe.dataloaders.stores.pixels import ImageFiles, PixelStore
from lethe.dataloaders.streams import Task


def quantised_by_first_task(
    network: Network,
    pixels: PixelStore | ImageFiles,
    first: Task,
    codebooks: int,
    seed: int,
    stores: Path,
    device: torch.device,
    progress: Callable[[int, int], None] | None = None,
) -> Network:
    """`network`, which learns from codes by codebooks fitted to what its frozen part makes of the task `first` alone.

    The codebooks are kept in `stores`. `InputError` where the task has fewer vectors than a codebook has centroids.
    """
    rows = first.rows.unique()
    images = EncodedImages(pixels.inputs(device), network.frozen, device)
    channels, height, width = images.shape
    count = len(rows) * height * width
    product_quantiser.check_codebooks(channels, codebooks)
    product_quantiser.check_vectors(count, f"{len(rows)} maps of {height} x {width} in the first task")

    def fill(target: Path) -> None:
        generator = torch.Generator().manual_seed(derive(seed, 0, "codebooks"))
        chosen = product_quantiser.chosen(count, generator)
        wanted, number = (chosen // (height * width)).unique(
            return_inverse=True
        )  # images without one are not made
        places = number * height * width + chosen % (height * width)
        vectors = product_quantiser.taken(_maps(images, rows[wanted], progress), places)
        np.load(target, mmap_mode="r+")[:] = product_quantiser.fit(vectors, codebooks).cpu().numpy()

    trunk = networks.fingerprint(network.frozen)
    key = hashlib.sha256(rows.numpy().tobytes() + f"{codebooks}/{seed}".encode()).hexdigest()
    folder = stores / f"codebooks-{pixels.fingerprint[:16]}-{trunk[:16]}-{key[:16]}-{maker(device)}"
    found = open_array(folder, (codebooks, CENTROIDS, channels // codebooks), np.float32, fill)
    return quantised(network, torch.from_numpy(np.array(found)).to(device))


def _maps(
    images: EncodedImages, rows: Tensor, progress: Callable[[int, int], None] | None
) -> Iterator[Tensor]:
    """The maps [B, C, H, W] of `rows`, in order."""
    done = 0
    for part, x in images.batches(Task(rows, rows).batches(GROUP)):
        yield x
        done += len(part)
        if progress is not None:
            progress(done, len(rows))
