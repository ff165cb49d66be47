"""Every dataset as data: its classes, its sessions, and the sizes of the published protocol.

A dataset is a folder of images and a *dirmap*, a table with a row per image (see `dirmap.py`). What the
protocol needs to know beyond that stands here and nowhere else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from lethe.common.errors import InputError, unknown
from lethe.dataloaders.index import folders

PARADIGMS = ("iid", "class_iid", "instance", "class_instance")
VARIANTS = ("published", "corrected")
MODES = ("stream", "offline")
SPLITS = ("test", "validation")
"""What is judged: the test images, or training images that are held out to choose hyperparameters."""


@dataclass(frozen=True)
class Expected:
    """The counts of a complete dirmap, of the frames that are kept; but for `classes`, (smallest, largest)."""

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
    larger_images: str = ""
    """A folder with the same images at a larger size, used where `image_folder` is not there."""
    frames: tuple[int, int, int] | None = None
    """(first, step, stop) of the frame numbers that are kept, or None for all."""
    generated: bool = False
    """Drawn by `lethe data draw`; nothing to download."""
    expected: Expected | None = None
    """The counts of the complete dirmap; None where nothing is known about them."""

    def images_below(self, root: Path) -> Path:
        """The folder that the dirmap's paths start from.

        `image_folder` or else `larger_images` below `root`, whichever has folders in it, or else `root` itself.
        """
        for name in filter(None, (self.image_folder, self.larger_images)):
            if _has_folder(root / name):
                return root / name
        return root


def _has_folder(path: Path) -> bool:
    try:
        return any(inner.is_dir() for inner in path.iterdir())
    except OSError:  # it is not there, or cannot be read
        return False


_CORE50_CLASSES = (
    "plug adapter", "mobile phone", "scissors", "light bulb", "can",
    "glass", "ball", "marker", "cup", "remote control",
)  # fmt: skip

_TOYBOX_CLASSES = (
    "cup", "mug", "spoon", "ball", "duck", "cat",
    "horse", "giraffe", "car", "truck", "airplane", "helicopter",
)  # fmt: skip

_ILAB2MLIGHT_CLASSES = (
    "boat", "bus", "car", "equip", "f1car", "heli", "mil",
    "monster", "pickup", "plane", "tank", "train", "ufo", "van",
)  # fmt: skip

_CIFAR100_CLASSES = (
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl",
    "boy", "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair",
    "chimpanzee", "clock", "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin",
    "elephant", "flatfish", "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp",
    "lawn_mower", "leopard", "lion", "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain",
    "mouse", "mushroom", "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck",
    "pine_tree", "plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray", "road",
    "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail", "snake", "spider",
    "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone", "television",
    "tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf",
    "woman", "worm",
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
        larger_images="core50_350x350",
        frames=(10, 20, 300),
        expected=Expected(
            classes=10,
            objects_per_class=(5, 5),
            sessions_per_object=(11, 11),
            images_per_session=(15, 15),
            images_per_class=(825, 825),
        ),
    ),
    Dataset(
        name="core50_mini",
        title="CORe50-mini",
        classes=_SOLIDS,
        test_sessions=(3, 7, 10),
        paradigms=PARADIGMS,
        iid_task_images=400,
        task_classes=2,
        task_instances=80,
        instance_images=5,
        image_size=(64, 64),
        default_variant="corrected",
        image_folder="core50_128x128",
        generated=True,
        expected=Expected(
            classes=10,
            objects_per_class=(5, 5),
            sessions_per_object=(11, 11),
            images_per_session=(5, 5),
            images_per_class=(275, 275),
        ),
    ),
    Dataset(
        name="toybox",
        title="Toybox",
        classes=_TOYBOX_CLASSES,
        test_sessions=(3, 6, 9),
        paradigms=PARADIGMS,
        iid_task_images=6090,
        task_classes=2,
        task_instances=406,
        instance_images=15,
        image_size=(224, 224),
        default_variant="corrected",
        image_folder="images",
        expected=Expected(
            classes=12,
            objects_per_class=(29, 29),
            sessions_per_object=(10, 10),
            images_per_session=(15, 15),
            images_per_class=(4350, 4350),
        ),
    ),
    Dataset(
        name="ilab2mlight",
        title="iLab-2M-Light",
        classes=_ILAB2MLIGHT_CLASSES,
        test_sessions=(4, 8),
        paradigms=PARADIGMS,
        iid_task_images=5040,
        task_classes=2,
        task_instances=336,
        instance_images=15,
        image_size=(224, 224),
        default_variant="corrected",
        expected=Expected(
            classes=14,
            objects_per_class=(28, 28),
            sessions_per_object=(8, 8),
            images_per_session=(15, 15),
            images_per_class=(3360, 3360),
        ),
    ),
    Dataset(
        name="cifar100",
        title="CIFAR-100",
        classes=_CIFAR100_CLASSES,
        test_sessions=(1,),
        paradigms=("iid", "class_iid"),
        iid_task_images=2500,
        task_classes=5,
        task_instances=0,
        instance_images=0,
        image_size=(224, 224),
        default_variant="published",
        expected=Expected(
            classes=100,
            objects_per_class=(1, 1),
            sessions_per_object=(2, 2),
            images_per_session=(100, 500),
            images_per_class=(600, 600),
        ),
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
        expected=Expected(
            classes=10,
            objects_per_class=(1, 1),
            sessions_per_object=(2, 2),
            images_per_session=(34, 147),
            images_per_class=(174, 183),
        ),
    ),
)

DATASETS: Mapping[str, Dataset] = MappingProxyType({dataset.name: dataset for dataset in _DATASETS})


def get(name: str, root: Path | None = None) -> Dataset:
    """The dataset of that name; `InputError` with the nearest name where there is none.

    A user's own is described by `root/dataset.toml` (see `dataset_file.py`), `root` being `data/<name>` unless
    another folder is given. It cannot have the name of one of `DATASETS`.
    """
    root = root or folders.DATA / name
    if name in DATASETS:
        check_name_is_free(name, root)
        return DATASETS[name]
    from lethe.dataloaders.index import dataset_file  # which needs Dataset

    return dataset_file.find(name, root).dataset


def check_name_is_free(name: str, root: Path) -> None:
    """`InputError` where `root` describes a dataset of a user's own under the `name` of one of `DATASETS`."""
    from lethe.dataloaders.index import dataset_file  # which needs Dataset

    if (root / dataset_file.NAME).is_file():
        raise InputError(
            f"{root / dataset_file.NAME}: the name {name} is taken, by a dataset of the project: rename the folder"
        )


def check_paradigm(dataset: Dataset, paradigm: str) -> None:
    """`InputError` unless `dataset` knows `paradigm`."""
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
