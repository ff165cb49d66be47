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

VECTORS = 256 * CENTROIDS
"""Vectors that codebooks are fitted to at most, 256 for each centroid."""


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
        chosen = _chosen(count, derive(seed, 0, "codebooks"))
        vectors = torch.cat(list(_vectors(images, rows, chosen, progress)))
        np.load(target, mmap_mode="r+")[:] = product_quantiser.fit(vectors, codebooks).cpu().numpy()

    trunk = networks.fingerprint(network.frozen)
    key = hashlib.sha256(rows.numpy().tobytes() + f"{codebooks}/{seed}".encode()).hexdigest()
    folder = stores / f"codebooks-{pixels.fingerprint[:16]}-{trunk[:16]}-{key[:16]}-{maker(device)}"
    found = open_array(folder, (codebooks, CENTROIDS, channels // codebooks), np.float32, fill)
    return quantised(network, torch.from_numpy(np.array(found)).to(device))


def _chosen(count: int, seed: int) -> Tensor:
    """Which of `count` vectors are fitted to, ascending: all, or `VECTORS` drawn from `seed`."""
    if count <= VECTORS:
        return torch.arange(count)
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:VECTORS].sort().values


def _vectors(
    images: EncodedImages, rows: Tensor, chosen: Tensor, progress: Callable[[int, int], None] | None
) -> Iterator[Tensor]:
    """The `chosen` vectors [N] of the maps of `rows`, numbered by image, then position: parts [n, C]."""
    _, height, width = images.shape
    image, place = chosen // (height * width), chosen % (height * width)
    wanted, number = image.unique(return_inverse=True)
    done = 0
    for part, x in images.batches(Task(rows[wanted], rows[wanted]).batches(GROUP)):
        low, high = torch.searchsorted(number, torch.tensor([done, done + len(part)])).tolist()
        flat = x.permute(0, 2, 3, 1).flatten(1, 2)
        yield flat[(number[low:high] - done).to(x.device), place[low:high].to(x.device)]
        done += len(part)
        if progress is not None:
            progress(done, len(wanted))
