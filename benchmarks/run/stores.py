"""Which store a run reads its inputs from: chosen by size, where it is not said."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from lethe.common.errors import InputError, unknown

STORES = ("auto", "pixels", "features", "none")
"""Chosen by size; the decoded images; what the frozen part of the network makes of them; nothing."""
CODES = "codes"
"""The store of a trial with codebooks."""
LARGEST = 64 * 10**9
"""Bytes of a store that is chosen without being asked for."""
_SPARE = 10**9  # bytes of the disk that are left free


@dataclass(frozen=True)
class Sizes:
    """What the images of a dataset would take, in bytes."""

    images: int
    pixels: int
    features: int
    """0 where nothing of the network is frozen."""


def check_store(store: str, *, frozen: bool, codebooks: int | None) -> None:
    """`InputError` for a store that there is not, or that a trial cannot have."""
    if store not in STORES:
        raise unknown("store", store, STORES)
    if codebooks is not None and store != "auto":
        raise InputError(
            f"--store {store}: codes are the store of a trial with codebooks: leave out one of both"
        )
    if store == "features" and not frozen:
        raise InputError(
            "--store features: nothing of the network is frozen, so there are no features: freeze a part of it "
            "(--cut last_block), or give --store pixels"
        )


def by_size(sizes: Sizes, stores: Path) -> str:
    """The store that fits: features, where a part of the network is frozen, else pixels, else none."""
    free = free_bytes(stores)
    if sizes.features and fits(sizes.features, free) and fits(sizes.features + pixels_kept(sizes), free):
        return "features"
    return "pixels" if fits(sizes.pixels, free) else "none"


def pixels_kept(sizes: Sizes) -> int:
    """Bytes of the pixel store from which features are made; 0 where it would be too large, and images are decoded on
    the way.
    """
    return sizes.pixels if sizes.pixels <= LARGEST else 0


def fits(size: int, free: int) -> bool:
    """Whether a store of `size` bytes is made unasked on a disk with `free` bytes."""
    return size <= LARGEST and size + _SPARE <= free


def free_bytes(folder: Path) -> int:
    """Free bytes of the disk that `folder` is on, or will be."""
    there = next((one for one in (folder, *folder.absolute().parents) if one.exists()), Path("/"))
    return shutil.disk_usage(there).free


def told(dataset: str, store: str, sizes: Sizes) -> str:
    """One line on the choice."""
    images = f"{sizes.images:,} images of {dataset}"
    if store == "features":
        return f"store features: {images}, {_text(sizes.features)}"
    if store == "pixels":
        return f"store pixels: {images}, {_text(sizes.pixels)}"
    if store == CODES:
        return f"store codes: {images}, {_text(sizes.features)}"
    return f"store none: {images} are decoded on the way; pixels would take {_text(sizes.pixels)}"


def _text(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"
