"""Inputs of the part of a network that learns: from a store, which is made where it is missing, or made on the way."""

import functools
from pathlib import Path

import torch
from torch import Tensor

from lethe.agents.base import Network
from lethe.agents.networks import build as networks
from lethe.benchmarks.measure import trunk
from lethe.benchmarks.measure.costs import NO_TRUNK, Trunk
from lethe.benchmarks.run import stores
from lethe.common.progress import Bar
from lethe.dataloaders.stores.encoded import EncodedImages
from lethe.dataloaders.stores.features import feature_store, pixels_of
from lethe.dataloaders.stores.part import Part
from lethe.dataloaders.stores.pixels import ImageFiles, PixelStore
from lethe.dataloaders.streams import Images, Inputs


def open_inputs(
    pixels: PixelStore | ImageFiles,
    network: Network,
    test_rows: Tensor,
    store: str,
    feature_dtype: str,
    folder: Path,
    device: torch.device,
) -> tuple[Inputs, Inputs, Trunk]:
    """Inputs by row, those of the test images, and the cost of the frozen part for one image.

    `store` is one of `stores.STORES`, chosen, or `stores.CODES`; stores lie in `folder`. Without one, test images,
    which are read after each task, have a store of their own where it fits. Shows progress bars while stores are built.
    """
    images = pixels.inputs(device)
    if not list(network.frozen.children()):
        if isinstance(pixels, PixelStore):
            return images, images, NO_TRUNK
        height, width = pixels.size
        test: Inputs = images
        rows = test_rows.unique()
        if _fits(len(rows) * height * width * 3, folder):
            with Bar("decoding test images", "image") as bar:
                test = Part(Images(pixels_of(pixels, rows, folder, device, bar.set), device), rows)
        return images, test, NO_TRUNK
    fingerprint = networks.fingerprint(network.frozen)
    some = test_rows[: trunk.BATCH]
    cost = trunk.measured_once(
        lambda: images[some], images.shape[1:], network.frozen, fingerprint, folder, device
    )
    features = functools.partial(
        feature_store, pixels, network.frozen, fingerprint, folder, device, dtype=feature_dtype
    )
    if store in ("features", stores.CODES):
        with Bar("computing features", "image") as bar:
            stored = Images(features(bar.set), device)
        return stored, stored, cost
    encoded = EncodedImages(images, network.frozen, device, feature_dtype)
    rows = test_rows.unique()
    values = torch.Size(encoded.shape).numel()
    if not _fits(len(rows) * values * (2 if feature_dtype == "bfloat16" else 4), folder):
        return encoded, encoded, cost
    with Bar("computing features of test images", "image") as bar:
        return encoded, Part(Images(features(bar.set, rows=rows), device), rows), cost


def _fits(size: int, folder: Path) -> bool:
    return stores.fits(size, stores.free_bytes(folder))
