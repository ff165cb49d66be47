"""CIFAR-100: from the official archive to a tree of PNG files, and the dirmap of that tree.

CIFAR-100 (Krizhevsky, 2009, https://www.cs.toronto.edu/~kriz/cifar.html) comes as Python pickles. The protocol
reads it as the program cifar2png lays it out: `<train|test>/<class>/<number>.png`, the number counting a
class's images from 1 in the archive's order. `object` is 0, `session` 0 for training and 1 for test images.
"""

import gzip
import hashlib
import io
import itertools
import os
import pickle
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from lethe.common.errors import InputError
from lethe.common.files import open_regular, read_bytes
from lethe.common.input_problems import raise_any
from lethe.dataloaders.index import link_or_copy
from lethe.dataloaders.index.prepared import Prepared
from lethe.dataloaders.index.spec import Dataset, Expected

CLASSES = (
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

FOLDER = "cifar-100-python"
"""The folder in the archive, and the archive's name before `.tar.gz`."""

MD5 = MappingProxyType(
    {"train": "16019d7e3df5f24257cddd939b257f8d", "test": "f0ef6b0ae62326f3e7ffdfab6717acfc"}
)
"""Of the pickles in the archive, as torchvision checks them."""

IMAGES = MappingProxyType({"train": 500, "test": 100})
"""Of a class in each split; a split's session is its position here."""

_LARGEST = 1 << 28  # bytes of a pickle; the larger one has 155 million
_UNPACKED = 1 << 29  # bytes of the unpacked archive
_MEMBERS = 100  # of the archive, which has five

_GLOBALS = {
    (module, name): part
    for module in ("numpy.core.multiarray", "numpy._core.multiarray", "numpy")
    for name, part in (
        ("_reconstruct", np.empty(0).__reduce__()[0]),
        ("ndarray", np.ndarray),
        ("dtype", np.dtype),
    )
}
"""The only names that a pickle of CIFAR-100 may load: the parts of an array."""


def prepare(root: Path, out: Path, workers: int | None) -> Prepared:
    """The tree of PNG files below `out`, from the archive or from such a tree below `root`; and its dirmap.

    The archive may be packed (`cifar-100-python.tar.gz`) or unpacked. Existing PNG files are kept.
    Raises `InputError` where `root` has neither, where a file is not the published one, and where `out`
    cannot be written.
    """
    unpacked, packed = root / FOLDER, root / f"{FOLDER}.tar.gz"
    if unpacked.is_dir() or packed.is_file():
        made = _write_images(_unpacked(unpacked) if unpacked.is_dir() else _packed(packed), out, workers)
        frame = index(out)
        note = f"{made} PNG files were written to {out}, {len(frame) - made} existed already"
        return Prepared(frame, notes=(note,))
    if not (root / "train").is_dir():
        raise InputError(
            f"{root}: no CIFAR-100: expected {FOLDER}.tar.gz (https://www.cs.toronto.edu/~kriz/cifar.html) "
            f"or the folder {FOLDER} that is in it, or the folders train and test that cifar2png makes"
        )
    frame = index(root)
    if out.resolve() == root.resolve():
        return Prepared(frame)
    paths = frame["im_path"].tolist()
    return Prepared(frame, notes=(link_or_copy.files(root, paths, out, paths, workers),))


def index(root: Path) -> pd.DataFrame:
    """The dirmap of the PNG tree below `root`; `InputError` with every missing and every extra image."""
    problems: list[str] = []
    for split, count in IMAGES.items():
        for class_ in CLASSES:
            folder = root / split / class_
            try:
                found = {name for name in os.listdir(folder) if not name.startswith(".")}  # noqa: PTH208
            except OSError as error:
                problems.append(f"{folder}: cannot be read as a folder: {error.strerror or error}")
                continue
            expected = set(_names(count))
            problems += [f"{folder / name}: is missing" for name in sorted(expected - found)]
            problems += [f"{folder / name}: is none of CIFAR-100" for name in sorted(found - expected)]
    raise_any(problems)
    return dirmap()


def dirmap() -> pd.DataFrame:
    """The dirmap of a complete tree, which follows from the classes alone.

    Sorted by class, session and path; `im_num` counts the images of a session from 1. Columns as published:
    unnamed index, class, object, session, im_path, im_num.
    """
    rows = [
        (class_, 0, session, f"{split}/{class_}/{name}", number)
        for class_ in sorted(CLASSES)
        for session, (split, count) in enumerate(IMAGES.items())
        for number, name in enumerate(_names(count), 1)
    ]
    frame = pd.DataFrame(rows, columns=["class", "object", "session", "im_path", "im_num"])
    frame.insert(0, "Unnamed: 0", np.arange(len(frame)))
    return frame


def _names(count: int) -> list[str]:
    """The file names of a class's images in one split, in order."""
    return [f"{number:04d}.png" for number in range(1, count + 1)]


def _unpacked(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Each split and its checked pickle."""
    for split in IMAGES:
        path = folder / split
        yield split, _checked(path, split, read_bytes(path, _LARGEST))


def _packed(path: Path) -> Iterator[tuple[str, bytes]]:
    """As `_unpacked`, from the archive, without unpacking to disk."""
    try:
        with open_regular(path) as packed, gzip.open(packed) as unpacked:
            found = _members(_Bounded(unpacked))
    except Exception as error:  # of damaged archives, tarfile and zlib raise nearly anything
        told = str(error) or type(error).__name__
        raise InputError(
            f"{path}: cannot be read: {told.removeprefix(f'{path}: ')}; download it again"
        ) from error
    for split in IMAGES:
        yield split, _checked(path / FOLDER / split, split, found[split])


def _members(file: "_Bounded") -> dict[str, bytes]:
    """The content of each split's member of an unpacked archive; an exception of any kind where it is damaged."""
    found: dict[str, bytes] = {}
    with tarfile.open(fileobj=file, mode="r:") as archive:
        for member in itertools.islice(archive, _MEMBERS):
            folder, _, split = member.name.rpartition("/")
            if folder != FOLDER or split not in IMAGES or split in found:
                continue
            if not member.isreg() or member.issparse() or not 0 <= member.size <= _LARGEST:
                raise ValueError(f"{member.name}: expected a file of at most {_LARGEST} bytes")
            content = archive.extractfile(member)
            found[split] = content.read() if content else b""
            if len(found) == len(IMAGES):
                break
    if missing := [split for split in IMAGES if split not in found]:
        raise ValueError(f"{FOLDER}/{missing[0]} is missing")
    return found


class _Bounded(io.RawIOBase):
    """The first bytes of an unpacked archive, more than the official one has; what lies behind them is an `OSError`.

    A few packed kilobytes may unpack to any length.
    """

    def __init__(self, file: gzip.GzipFile):
        super().__init__()
        self._file = file

    def read(self, size: int = -1) -> bytes:
        """The next `size` bytes, or fewer at the end."""
        if not 0 <= size <= _UNPACKED - self._file.tell():
            raise OSError(f"it unpacks to more than {_UNPACKED} bytes")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """The new position, from the start."""
        if whence != io.SEEK_SET or not 0 <= offset <= _UNPACKED:
            raise OSError(f"it unpacks to more than {_UNPACKED} bytes")
        return self._file.seek(offset)

    def tell(self) -> int:
        """The position."""
        return self._file.tell()


def _checked(path: Path, split: str, data: bytes) -> bytes:
    """`data`, if it is the published file; `InputError` otherwise."""
    digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if digest != MD5[split]:
        raise InputError(f"{path}: MD5 is {digest}, expected {MD5[split]}: download CIFAR-100 again")
    return data


class _ArrayUnpickler(pickle.Unpickler):
    """Loads arrays and plain containers only: an MD5 sum does not prove who wrote a file."""

    def find_class(self, module: str, name: str) -> Any:
        """The object of that name, if it is a part of an array."""
        if (module, name) not in _GLOBALS:
            raise pickle.UnpicklingError(f"names {module}.{name}, which no array is made of")
        return _GLOBALS[module, name]


def _load(split: str, data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N, 32, 32, 3] and labels int64 [N] of a pickle; label k is the k-th class."""
    try:
        content = _ArrayUnpickler(io.BytesIO(data), encoding="latin1").load()
        pixels, labels = content["data"], np.array(content["fine_labels"])
        count = IMAGES[split]
        if (
            (pixels.dtype, pixels.shape) != (np.uint8, (count * len(CLASSES), 3 * 32 * 32))
            or labels.dtype.kind not in "iu"
            or not np.array_equal(np.sort(labels), np.repeat(np.arange(len(CLASSES)), count))
        ):
            raise ValueError(f"expected {count} images 32 x 32 of each of {len(CLASSES)} classes")
    except Exception as error:  # of a pickle that is another, nearly any
        raise InputError(f"{FOLDER}/{split}: is no split of CIFAR-100: {error}") from error
    return np.ascontiguousarray(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), labels


def _write_images(pickles: Iterable[tuple[str, bytes]], out: Path, workers: int | None) -> int:
    """Write the missing PNG files; returns their number."""
    made = 0
    with link_or_copy.only_writer(out):
        for split, data in pickles:
            pixels, labels = _load(split, data)
            jobs = [
                (out / split / class_, dict(zip(_names(IMAGES[split]), pixels[labels == label], strict=True)))
                for label, class_ in enumerate(CLASSES)
            ]
            with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
                made += sum(link_or_copy.shown(pool.map(_write_class, jobs), len(jobs), f"writing {split}"))
    return made


def _write_class(job: tuple[Path, Mapping[str, np.ndarray]]) -> int:
    """Write the missing images of one class; returns their number."""
    folder, images = job
    try:
        folder.mkdir(parents=True, exist_ok=True)
        missing = images.keys() - set(os.listdir(folder))  # noqa: PTH208
        for name in sorted(missing):
            with link_or_copy.temporary_name(f"{folder}/{name}") as temporary:
                Image.fromarray(images[name]).save(temporary, format="PNG")
    except OSError as error:
        raise InputError(
            f"{error.filename or folder}: cannot be written: {error.strerror or error}; finished files are kept, "
            f"so mend this and repeat the command"
        ) from error
    return len(missing)


DATASET = Dataset(
    name="cifar100",
    title="CIFAR-100",
    classes=CLASSES,
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
    index=index,
    prepare=prepare,
)
