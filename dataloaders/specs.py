"""Every dataset as data: its classes, its sessions, and the sizes of the published protocol.

A dataset is a folder of images and a *dirmap*, a table with a row per image (see `dirmap.py`). What the
protocol needs to know beyond that stands here and nowhere else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from errors import unknown

PARADIGMS = ("iid", "class_iid", "instance", "class_instance")
VARIANTS = ("published", "corrected")
MODES = ("stream", "offline")


@dataclass(frozen=True)
class Expected:
    """What a complete dirmap of a dataset holds, per (smallest, largest) count; `check` compares with it."""

    classes: int
    objects_per_class: tuple[int, int]
    sessions_per_object: tuple[int, int]
    images_per_session: tuple[int, int]
    images_per_class: tuple[int, int]


@dataclass(frozen=True)
class Dataset:
    """One dataset of the benchmark.

    Sizes follow the AugMem protocol (arXiv 2104.02206, `dataloaders/task_setup.py` of its authors).
    """

    name: str
    """As on the command line, and as the prefix of its dirmap and its task lists."""
    title: str
    """As in tables and figures."""
    classes: tuple[str, ...]
    """Class names; where the dirmap's class is a number, class k is `classes[k - 1]`."""
    test_sessions: tuple[int, ...]
    """Sessions whose images are the test set; all others train."""
    paradigms: tuple[str, ...]
    """The paradigms that make sense here, in the order of `PARADIGMS`."""
    iid_task_images: int
    """Images of one task under iid."""
    task_classes: int
    """Classes of one task under class_iid and class_instance."""
    task_instances: int
    """(object, session) pairs of one task under instance; 0 where there are no sessions."""
    instance_images: int
    """Images of one (object, session) pair after sampling."""
    image_size: tuple[int, int]
    """(height, width) that every image is resized to, exactly, without a crop."""
    default_variant: str
    """The task lists that are used unless the other variant is asked for."""
    image_folder: str = ""
    """The folder below the dataset's root that the dirmap's paths start from."""
    frames: tuple[int, int, int] | None = None
    """(first, step, stop) of the frame numbers that are kept, or None for all."""
    generated: bool = False
    """Drawn by `python -m dataloaders draw`; nothing to download."""
    expected: Expected | None = None
    """The counts of the complete dirmap; None where nothing is known about them."""


_CORE50_CLASSES = (
    "plug adapter", "mobile phone", "scissors", "light bulb", "can",
    "glass", "ball", "marker", "cup", "remote control",
)  # fmt: skip

_SOLIDS = (
    "cube", "ball", "cone", "cylinder", "octahedron",
    "cross", "dumbbell", "table", "ring", "stairs",
)  # fmt: skip

_DATASETS = (
    Dataset(
        name="core50",
        title="CORe50",
        classes=_CORE50_CLASSES,
        test_sessions=(3, 7, 10),
        paradigms=PARADIGMS,
        iid_task_images=1200,
        task_classes=2,
        task_instances=80,
        instance_images=15,
        image_size=(224, 224),
        default_variant="published",
        image_folder="core50_128x128",
        frames=(10, 20, 300),
    ),
    Dataset(
        name="core50_mini",
        title="CORe50-mini",
        classes=_SOLIDS,
        test_sessions=(3, 7, 10),
        paradigms=PARADIGMS,
        iid_task_images=640,
        task_classes=2,
        task_instances=80,
        instance_images=8,
        image_size=(64, 64),
        default_variant="published",
        image_folder="core50_128x128",
        generated=True,
    ),
    Dataset(
        name="digits",
        title="Digits",
        classes=tuple("0123456789"),
        test_sessions=(1,),
        paradigms=("iid", "class_iid"),
        iid_task_images=289,
        task_classes=2,
        task_instances=0,
        instance_images=0,
        image_size=(32, 32),
        default_variant="corrected",
        generated=True,
    ),
)

DATASETS: Mapping[str, Dataset] = MappingProxyType({dataset.name: dataset for dataset in _DATASETS})


def get(name: str) -> Dataset:
    """The dataset of that name; `InputError` with the nearest name where there is none."""
    try:
        return DATASETS[name]
    except KeyError:
        raise unknown("dataset", name, DATASETS) from None


def check_paradigm(dataset: Dataset, paradigm: str) -> None:
    """`InputError` unless `dataset` knows `paradigm`."""
    if paradigm not in dataset.paradigms:
        raise unknown(f"paradigm of {dataset.name}", paradigm, dataset.paradigms)
