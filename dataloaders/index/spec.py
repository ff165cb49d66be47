"""The types of a dataset's specification, and the names of paradigms, variants, modes and splits.

A dataset is a folder of images and a *dirmap*, a table with a row per image (see `dirmap.py`). Its `Dataset` holds
the classes, the sessions and the sizes of the protocol. Those of the project are in `datasets/<name>.py`, those of
users in `dataset.toml` files (see `dataset_file.py`); `find.py` looks both up.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lethe.common.errors import InputError, unknown

if TYPE_CHECKING:  # pandas takes a third of a second, and --help needs the names in this file
    import pandas as pd

    from lethe.dataloaders.index.prepared import Prepared

RANDOM_PARADIGMS = ("iid", "class_iid", "instance", "class_instance")
"""The paradigms of the AugMem protocol, whose tasks come in a random order."""
PARADIGMS = (*RANDOM_PARADIGMS, "class_ordered")
VARIANTS = ("published", "corrected")
MODES = ("stream", "offline")
SPLITS = ("test", "validation")
"""The evaluated images: the test set, or training images held out for choosing hyperparameters."""


@dataclass(frozen=True)
class Expected:
    """The counts of a complete dirmap, restricted to the frames that are kept; all but `classes` as (min, max)."""

    classes: int
    objects_per_class: tuple[int, int]
    sessions_per_object: tuple[int, int]
    images_per_session: tuple[int, int]
    images_per_class: tuple[int, int]


@dataclass(frozen=True)
class DatasetFile:
    """The part of a user's `dataset.toml` that indexing needs (see `dataset_file.py`)."""

    path: Path
    layout: str
    """One of `dataset_file.LAYOUTS`."""
    test_fraction: float | None
    """Share of each class's images in the test set; None where whole sessions are held out."""
    images: str | None
    """The folder of the class folders as written in the file; None if that is the file's own folder."""
    test_images: str | None = None
    """The folder of the test images' class folders as written in the file; None where there is none of their own."""
    class_order: str | None = None
    """The file of the class order as written in the file; None without one."""


@dataclass(frozen=True)
class Order:
    """How the tasks of a stream are ordered, where that is not the dataset's own (see `dataloaders/tasks/order.py`)."""

    tasks: int | None = None
    """Number of tasks, of sizes that differ by one unit at most; None: as many as the dataset's sizes make."""
    classes: tuple[str, ...] | None = None
    """All classes, in the order in which tasks show them; None: in a random order, another one in each run."""
    seed: int = 0
    """Of all random orders, together with the run; 0: of the run alone, as published."""


@dataclass(frozen=True)
class Dataset:
    """The specification of one dataset.

    Sizes follow the AugMem protocol (arXiv 2104.02206, `dataloaders/task_setup.py` of its authors).
    """

    name: str
    """The name on the command line, and the prefix of the dirmap and the task lists."""
    title: str
    """The name in tables and figures."""
    classes: tuple[str, ...]
    """Class names; where the dirmap's class is a number, class k is `classes[k - 1]`."""
    test_sessions: tuple[int, ...]
    """Sessions whose images are the test set; all others train."""
    paradigms: tuple[str, ...]
    """The paradigms that make sense here, in the order of `PARADIGMS`."""
    iid_task_images: int
    """Images per task under iid."""
    task_classes: int
    """Classes per task under class_iid, class_instance and class_ordered."""
    task_instances: int
    """(object, session) pairs per task under instance; 0 where there are no sessions."""
    instance_images: int
    """Images per (object, session) pair after sampling; 0 where sessions differ in length."""
    image_size: tuple[int, int]
    """(height, width) in pixels of every image: resized to it exactly, without a crop, unless `resize` is given."""
    default_variant: str
    """The task lists that are used unless the other variant is asked for."""
    image_folder: str = ""
    """The folder below the dataset's root that the dirmap's paths start from."""
    larger_images: str = ""
    """A folder with the same images at a larger size, used where `image_folder` is absent."""
    frames: tuple[int, int, int] | None = None
    """(first, step, stop) of the frame numbers that are kept, or None for all."""
    expected: Expected | None = None
    """The counts of the complete dirmap; None if unknown."""
    index: "Callable[[Path], pd.DataFrame] | None" = None
    """The dirmap of the images below a root folder; None for a user's dataset (see `datasets/image_folder.py`)."""
    draw: Callable[[Path, int, int | None], None] | None = None
    """Of a generated dataset: draws it below `root`, from `seed`, with that many `workers`; existing files are kept."""
    prepare: "Callable[[Path, Path, int | None], Prepared] | None" = None
    """Of a dataset whose images are made from a download: reads `root`, writes images below `out` with that many
    `workers`; existing files are kept."""
    download: str = ""
    """How to get the images, for a dataset that is used as downloaded."""
    shipped_dirmap: Path | None = None
    """A dirmap that comes with the project, used for task lists where no other has been made."""
    file: DatasetFile | None = None
    """The description of a user's own dataset; None for a dataset of the project."""
    first_task_classes: int | None = None
    """Classes of the first task, where it has another number of them than `task_classes`."""
    class_order: tuple[str, ...] | None = None
    """All classes in the order in which run 0 of class_ordered shows them; None: there is no such paradigm."""
    resize: int = 0
    """Pixels of the shorter side of an image before the centre of `image_size` is cut out of it; 0: no crop."""
    trees: tuple[str, ...] = ("",)
    """The folders of a user's own images, relative to the folder that the dirmap's paths start from."""
    order: Order = Order()
    """Number of tasks and order of the classes, where they are not the dataset's own."""

    @property
    def generated(self) -> bool:
        """Whether the dataset is drawn by `lethe data draw`; nothing to download."""
        return self.draw is not None

    @property
    def confined(self) -> tuple[str, ...]:
        """The folders that no link may lead out of, as a user's own images are indexed and drawn ones made.

        Empty for downloads, which may be spread over disks by links.
        """
        return self.trees if self.file is not None or self.generated else ()

    def class_name(self, value: int | str) -> str:
        """The name of a dirmap's class, which is its name or its number from 1."""
        return (
            self.classes[value - 1]
            if isinstance(value, int) and 0 < value <= len(self.classes)
            else str(value)
        )

    def images_below(self, root: Path) -> Path:
        """The folder that the dirmap's paths start from.

        `image_folder` or else `larger_images` below `root`, whichever has folders in it, or else `root` itself.
        """
        for name in filter(None, (self.image_folder, self.larger_images)):
            if _has_folder(root / name):
                return root / name
        return root


def check_paradigm(dataset: Dataset, paradigm: str) -> None:
    """`InputError` unless `dataset` offers `paradigm`."""
    if paradigm == "class_ordered" and paradigm not in dataset.paradigms:
        raise InputError(
            f"class_ordered: {dataset.name} has no order of its classes; for images of your own, class_order in "
            "dataset.toml names a file with one"
        )
    if paradigm not in dataset.paradigms:
        raise unknown(f"paradigm of {dataset.name}", paradigm, dataset.paradigms)


def check_variant(variant: str) -> None:
    """`InputError` unless `variant` is one of `VARIANTS`."""
    if variant not in VARIANTS:
        raise unknown("variant", variant, VARIANTS)


def check_split(split: str) -> None:
    """`InputError` unless `split` is one of `SPLITS`."""
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)


def _has_folder(path: Path) -> bool:
    try:
        return any(inner.is_dir() for inner in path.iterdir())
    except OSError:  # absent or unreadable
        return False
