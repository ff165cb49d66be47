"""Streams of images for the Python API: of a dataset by name, of arrays, of torch datasets."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Unpack

from lethe.benchmarks.run.data import RunData, load
from lethe.common.errors import InputError
from lethe.dataloaders import arrays
from lethe.dataloaders.arrays import Array, LabelledImages, StreamOptions
from lethe.dataloaders.index import find, folders
from lethe.dataloaders.stores.pixels import PixelStore
from lethe.dataloaders.streams import Images, Stream, Task
from lethe.dataloaders.tasks.order import ordered

CPU = torch.device("cpu")
PathLike = str | Path


@dataclass(frozen=True)
class TaskImages:
    """The images of a task in the order of the stream."""

    _task: Task = field(repr=False)
    _images: Images = field(repr=False)

    def __len__(self) -> int:
        return len(self._task)

    def batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Images uint8 [B, C, H, W] and labels int64 [B], on the CPU; the last batch may be short."""
        for batch in self._task.batches(batch_size):
            yield self._images[batch.rows], batch.labels


@dataclass(frozen=True)
class ImageStream:
    """A stream of tasks with its images and its test set, on the CPU."""

    class_names: tuple[str, ...]
    """Of each label."""
    _stream: Stream = field(repr=False)
    _pixels: np.ndarray = field(repr=False)
    """uint8 [N, H, W, C]."""

    @property
    def num_classes(self) -> int:
        """K: labels are 0 .. K-1, numbered in the order in which the stream shows them."""
        return self._stream.num_classes

    @property
    def tasks(self) -> tuple[TaskImages, ...]:
        """The tasks, in order."""
        images = Images(self._pixels, CPU)
        return tuple(TaskImages(task, images) for task in self._stream.tasks)

    @property
    def test(self) -> tuple[Tensor, Tensor]:
        """Test images uint8 [M, C, H, W] and labels int64 [M]."""
        return Images(self._pixels, CPU)[self._stream.test.rows], self._stream.test.labels


def stream(
    name: str,
    *,
    run: int = 0,
    mode: str = "stream",
    variant: str | None = None,
    split: str = "test",
    tasks: int | None = None,
    class_order: Sequence[str] | None = None,
    order_seed: int = 0,
    data: PathLike = folders.DATA,
    lists: PathLike = folders.LISTS,
) -> ImageStream:
    """The stream of run `run` of DATASET/PARADIGM; a generated dataset is drawn, lists are written if missing.

    Args:
        name: such as "core50/class_instance".
        run: number of the random order.
        mode: "stream", or "offline" for tasks that hold the images of all earlier tasks too.
        variant: of the task lists, "published" or "corrected"; None: the dataset's default.
        split: "test", or "validation" for lists on which hyperparameters are chosen.
        tasks: the number of tasks; None: as many as the dataset's task sizes make.
        class_order: names of all classes, in the order in which tasks show them; None: a random order for each run.
        order_seed: another seed of the random orders, beside `run`.
        data: folder with a folder per dataset.
        lists: folder of dirmaps and task lists.

    Raises:
        InputError: for an unknown name, or data that is missing or damaged, with what to do.

    """
    dataset_name, paradigm = parts(name)
    located = find.locate(dataset_name, Path(data) / dataset_name, Path(lists))
    dataset = ordered(located.dataset, paradigm, tasks, class_order, order_seed)
    located = replace(located, dataset=dataset)
    which = (paradigm, run, mode, variant or dataset.default_variant)
    loaded = load(located, which, split, dataset.image_size, Path(data) / "stores")
    return image_stream(loaded)


def stream_of_arrays(
    x: Array,
    y: Array | Sequence[int],
    *,
    test_x: Array,
    test_y: Array | Sequence[int],
    **options: Unpack[StreamOptions],
) -> ImageStream:
    """A stream of images uint8 [N, H, W, C] and their classes, integers [N].

    `options`: paradigm, and the size of its tasks (task_classes, iid_task_images or task_instances); sessions, an
    integer per training image, for instance and class_instance; run; mode; tasks, class_order, order_seed. See
    `lethe.dataloaders.arrays.stream_of_arrays`.
    """
    bound, pixels = arrays.stream_of_arrays(x, y, test_x=test_x, test_y=test_y, **options)
    return ImageStream(tuple(map(str, bound.class_of_label)), bound, pixels)


def stream_of_dataset(
    train: LabelledImages, test: LabelledImages, **options: Unpack[StreamOptions]
) -> ImageStream:
    """A stream of two datasets of (PIL image or uint8 tensor [C, H, W], label) pairs, such as torchvision's.

    `options` are those of `stream_of_arrays`.
    """
    x, y = arrays.stacked(train)
    test_x, test_y = arrays.stacked(test)
    return stream_of_arrays(x, y, test_x=test_x, test_y=test_y, **options)


def parts(name: str) -> tuple[str, str]:
    """DATASET and PARADIGM of "DATASET/PARADIGM"."""
    dataset, slash, paradigm = name.partition("/")
    if not slash:
        raise InputError(f"'{name}': expected DATASET/PARADIGM, such as core50_mini/class_iid")
    return dataset, paradigm


def image_stream(loaded: RunData) -> ImageStream:
    """The stream of a dataset as users see it."""
    if not isinstance(loaded.pixels, PixelStore):
        raise TypeError("a stream as users see it has decoded images")
    return ImageStream(loaded.classes, loaded.stream, loaded.pixels.pixels)
