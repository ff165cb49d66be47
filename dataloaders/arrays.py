"""Streams from arrays in memory: the paradigms without image files, dirmap or task lists."""

from collections.abc import Sequence
from typing import Protocol, Required, TypedDict

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lethe.common.errors import unknown
from lethe.common.input_problems import raise_any
from lethe.dataloaders.index.spec import MODES, PARADIGMS, Dataset
from lethe.dataloaders.streams import Stream, Task
from lethe.dataloaders.tasks import order, paradigms

_SIZES = {
    "iid": "iid_task_images",
    "class_iid": "task_classes",
    "instance": "task_instances",
    "class_instance": "task_classes",
    "class_ordered": "task_classes",
}
"""The size of a task, by paradigm."""

_CHANNELS = (1, 3, 4)  # likely numbers of channels, for the hint about their axis

Array = np.ndarray | Tensor


class StreamOptions(TypedDict, total=False):
    """The arguments of `stream_of_arrays` beside the arrays."""

    paradigm: Required[str]
    task_classes: int | None
    iid_task_images: int | None
    task_instances: int | None
    sessions: Array | Sequence[int] | None
    run: int
    mode: str
    tasks: int | None
    class_order: Sequence[int] | None
    order_seed: int


class LabelledImages(Protocol):
    """A map-style `torch.utils.data.Dataset` of (image, label) pairs."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[Image.Image | Tensor, int]: ...


def stream_of_arrays(
    x: Array,
    y: Array | Sequence[int],
    *,
    test_x: Array,
    test_y: Array | Sequence[int],
    paradigm: str,
    task_classes: int | None = None,
    iid_task_images: int | None = None,
    task_instances: int | None = None,
    sessions: Array | Sequence[int] | None = None,
    run: int = 0,
    mode: str = "stream",
    tasks: int | None = None,
    class_order: Sequence[int] | None = None,
    order_seed: int = 0,
) -> tuple[Stream, np.ndarray]:
    """The stream of run `run` under `paradigm` (its corrected variant), and the store that its rows refer to.

    Args:
        x: training images, uint8 [N, H, W, C].
        y: their classes, integers [N]; any numbers. Labels 0 .. K-1 follow the order in which the tasks show the
            classes; `Stream.class_of_label` has the class of each.
        test_x: test images, uint8 [M, H, W, C].
        test_y: their classes, integers [M], each among those of `y`.
        paradigm: "iid", "class_iid", "instance", "class_instance" or "class_ordered".
        task_classes: classes per task, for class_iid, class_instance and class_ordered.
        iid_task_images: images per task, for iid.
        task_instances: (class, session) pairs per task, for instance.
        sessions: the session of each training image, integers [N], for instance and class_instance; images of a
            session are shown in the order of `x`.
        run: seed of the random order.
        mode: "stream", or "offline" for tasks that hold the images of all earlier tasks too.
        tasks: the number of tasks, in the place of their size.
        class_order: all classes, in the order in which tasks show them, for class_iid and class_instance, and run 0
            of class_ordered, where the default is ascending.
        order_seed: another seed of the random orders, beside `run`.

    Returns:
        The stream, and the store, uint8 [N + M, H, W, C]: training images, then test images.

    Raises:
        InputError: with every argument of another type, shape or range.

    """
    images, test_images = _numpy(x), _numpy(test_x)
    classes, test_classes = _numpy(y), _numpy(test_y)
    session = np.zeros(len(images), np.int64) if sessions is None else _numpy(sessions)
    sizes = {
        "task_classes": task_classes,
        "iid_task_images": iid_task_images,
        "task_instances": task_instances,
    }
    problems = _image_problems("x", images) + _image_problems("test_x", test_images)
    if not problems and images.shape[1:] != test_images.shape[1:]:
        problems.append(f"test_x: expected images {images.shape[1:]} as in x, got {test_images.shape[1:]}")
    problems += _integer_problems("y", classes, "x", len(images))
    problems += _integer_problems("test_y", test_classes, "test_x", len(test_images))
    problems += _integer_problems("sessions", session, "x", len(images))
    problems += _choice_problems(
        paradigm, mode, run, sizes, with_sessions=sessions is not None, with_size=tasks is not None
    )
    raise_any(problems)

    dataset = Dataset(
        name="arrays",
        title="Arrays",
        classes=tuple(str(name) for name in np.unique(classes)),
        test_sessions=(),
        paradigms=PARADIGMS,
        iid_task_images=iid_task_images or 0,
        task_classes=task_classes or 0,
        task_instances=task_instances or 0,
        instance_images=0,
        image_size=(images.shape[1], images.shape[2]),
        default_variant="corrected",
    )
    names = None if class_order is None else [str(name) for name in class_order]
    dataset = order.ordered(dataset, paradigm, tasks, names, order_seed)
    count, total = len(images), len(images) + len(test_images)
    split = paradigms.coded(
        "test_y",
        classes=np.concatenate([classes, test_classes]).astype(str).astype(object),
        objects=np.zeros(total, np.int64),
        sessions=np.concatenate([session, np.zeros(len(test_images), np.int64)]),
        frames=np.arange(total),
        train=np.arange(count),
        test=np.arange(count, total),
    )
    schedule = paradigms.schedule(split, dataset, paradigm, run, mode, "corrected")

    def task(rows: np.ndarray) -> Task:
        return Task(torch.from_numpy(rows), torch.from_numpy(schedule.labels[split.class_code[rows]]))

    stream = Stream(
        tuple(map(task, schedule.tasks)),
        task(schedule.test),
        len(split.classes),
        tuple(int(split.classes[code]) for code in np.argsort(schedule.labels)),
    )
    return stream, np.concatenate([images, test_images])


def stacked(dataset: LabelledImages) -> tuple[np.ndarray, np.ndarray]:
    """Images, uint8 [N, H, W, C], and labels, int64 [N], of a dataset of (image, label) pairs.

    An image is a PIL image, which is converted to RGB, or a uint8 tensor [C, H, W]. Raises `InputError` for other
    images, and for images of different shapes.
    """
    images: list[np.ndarray] = []
    labels: list[int] = []
    problems: list[str] = []
    for index in range(len(dataset)):
        image, label = dataset[index]
        if isinstance(image, Image.Image):
            images.append(np.asarray(image.convert("RGB")))
        elif isinstance(image, Tensor) and image.dtype == torch.uint8 and image.dim() == 3:
            images.append(image.permute(1, 2, 0).cpu().numpy())
        else:
            got = f"{image.dtype} {tuple(image.shape)}" if isinstance(image, Tensor) else repr(type(image))
            problems.append(
                f"image {index}: expected a PIL image or a uint8 tensor [C, H, W], got {got}: leave out "
                "transforms such as ToTensor and Normalize; networks normalise their own input"
            )
            continue
        if images[-1].shape != images[0].shape:
            problems.append(
                f"image {index}: expected the shape of the first image, {images[0].shape}, got "
                f"{images[-1].shape}: resize all images to one size"
            )
        labels.append(int(label))
    if not images and not problems:
        problems.append("the dataset is empty: expected at least one (image, label) pair")
    raise_any(problems)
    return np.stack(images), np.array(labels, dtype=np.int64)


def _numpy(values: Array | Sequence[int]) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def _image_problems(name: str, images: np.ndarray) -> list[str]:
    """The problem of an array that is not uint8 [N, H, W, C] with at least one image, if any."""
    got = f"{name}: expected images uint8 [N, H, W, C], got {images.dtype} {list(images.shape)}"
    if images.dtype != np.uint8:
        return [f"{got}: give the pixels as 0 to 255; networks normalise their own input"]
    if images.ndim != 4 or 0 in images.shape:
        return [got]
    if images.shape[3] not in _CHANNELS and images.shape[1] in _CHANNELS:
        return [f"{got}: move the channels to the end, {name}.transpose(0, 2, 3, 1)"]
    return []


def _integer_problems(name: str, values: np.ndarray, images: str, count: int) -> list[str]:
    """The problem of an array that is not an integer per image, if any."""
    if values.dtype.kind in "iu" and values.shape == (count,):
        return []
    return [
        f"{name}: expected an integer per image of {images}, [{count}], got {values.dtype} {list(values.shape)}"
    ]


def _choice_problems(
    paradigm: str, mode: str, run: int, sizes: dict[str, int | None], *, with_sessions: bool, with_size: bool
) -> list[str]:
    """Problems of the names and numbers that choose a stream."""
    problems = [f"{name}: expected at least 1, got {size}" for name, size in sizes.items()
                if size is not None and size < 1]  # fmt: skip
    if paradigm not in PARADIGMS:
        problems.append(str(unknown("paradigm", paradigm, PARADIGMS)))
    else:
        name = _SIZES[paradigm]
        if sizes[name] is None and not with_size:
            problems.append(f"{name}: expected the size of a task under {paradigm}")
        if paradigm in ("instance", "class_instance") and not with_sessions:
            problems.append(f"sessions: expected the session of each training image under {paradigm}")
    if mode not in MODES:
        problems.append(str(unknown("mode", mode, MODES)))
    if run < 0:
        problems.append(f"run: expected 0 or more, got {run}")
    return problems
