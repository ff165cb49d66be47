"""Stream and images of a run: its task lists, made where they are missing, and where its images are."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lethe.common.progress import Bar
from lethe.dataloaders.index import dirmap
from lethe.dataloaders.index.find import Located
from lethe.dataloaders.index.spec import Dataset
from lethe.dataloaders.prepare import ensure_dirmap, remedy
from lethe.dataloaders.stores.pixels import ImageFiles, PixelStore
from lethe.dataloaders.streams import Stream
from lethe.dataloaders.tasks import tasklists


@dataclass(frozen=True)
class RunData:
    """Stream and images of a run, whatever the agent; shared by the runs of a process, and never changed."""

    stream: Stream
    pixels: PixelStore | ImageFiles
    lists: str
    """Fingerprint of the task lists."""
    dirmap: str | None
    """Fingerprint of the dirmap that they were made from."""
    classes: tuple[str, ...]
    """Names of the labels."""


# What follows reads files that do not change while a process lives: each is read once for many runs.


@functools.lru_cache(maxsize=16)
def load(
    located: Located, which: tuple[str, int, str, str], split: str, size: tuple[int, int], folder: Path | None
) -> RunData:
    """The stream of the lists `which` (paradigm, run, mode, variant), made if they are not there.

    Images are decoded into a store in `folder`, if one is given.
    """
    read = tasklists.load(source(located), *which, located.lists, split)
    pixels = _files(located, size) if folder is None else _pixels(located, size, folder)
    stream = Stream.bind(read, pixels.rows)
    names = class_names(stream.class_of_label, located.dataset)
    return RunData(stream, pixels, read.fingerprint, read.dirmap_fingerprint, names)


def class_names(class_of_label: Sequence[int | str], dataset: Dataset) -> tuple[str, ...]:
    """Names by label. Lists that tell no classes have the labels, from 0, in the place of the dirmap's classes."""
    known = set(range(1, len(dataset.classes) + 1)).issuperset(class_of_label)
    return tuple(dataset.class_name(one) if known else str(one) for one in class_of_label)


@functools.lru_cache(maxsize=4)
def source(located: Located) -> tasklists.Source:
    """The dirmap that lists are made from; a generated dataset is drawn if it is not there."""
    return tasklists.Source(dirmap.read(ensure_dirmap(located)), located.dataset)


@functools.lru_cache(maxsize=4)
def _pixels(located: Located, size: tuple[int, int], stores: Path) -> PixelStore:
    """The decoded images of every list of the dataset, of whatever split: one store serves them all."""
    with Bar(f"decoding {located.dataset.name}", "image") as bar:
        return PixelStore.open(
            located.images,
            source(located).used_paths(),
            size,
            stores,
            resize=located.dataset.resize,
            progress=bar.set,
            remedy=remedy(located),
            confined=located.dataset.confined,
        )


@functools.lru_cache(maxsize=4)
def _files(located: Located, size: tuple[int, int]) -> ImageFiles:
    """The images of every list of the dataset, none of them decoded."""
    return ImageFiles.open(
        located.images,
        source(located).used_paths(),
        size,
        resize=located.dataset.resize,
        remedy=remedy(located),
        confined=located.dataset.confined,
    )
