"""CIFAR-100 in the official archive's form, with few images: pickles as Python 2 and its NumPy wrote them."""

import hashlib
import io
import pickle
import tarfile
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image

from lethe.dataloaders.datasets import cifar100
from lethe.dataloaders.index import find

CLASSES = find.get("cifar100").classes


class _OldPickler(pickle._Pickler):
    """Writes bytes and text as the strings of Python 2, which knew no difference."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_old_string(self, value) -> None:
        data = value if isinstance(value, bytes) else value.encode("latin1")
        self.write(pickle.BINSTRING + len(data).to_bytes(4, "little") + data)
        self.memoize(value)

    dispatch[bytes] = save_old_string
    dispatch[str] = save_old_string


def pickled(value: object) -> bytes:
    """`value` as the archive's pickles have it."""
    file = io.BytesIO()
    _OldPickler(file, protocol=2).dump(value)
    return file.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def write(root: Path, images: dict[str, int], *, packed: bool = False) -> dict[str, str]:
    """The archive below `root`, with so many images of each class in each split; returns its MD5 sums.

    A class has a colour of its own; a split is in a random order.
    """
    generator = np.random.default_rng(0)
    sums = {}
    folder = root / cifar100.FOLDER
    folder.mkdir(parents=True)
    for split, count in images.items():
        labels = generator.permutation(np.repeat(np.arange(100), count))
        colours = np.stack([labels * 2, 255 - labels, labels % 10 * 25], axis=1)
        noise = generator.integers(0, 20, (len(labels), 3, 1024))
        pixels = np.clip(colours[:, :, None] + noise, 0, 255).astype(np.uint8).reshape(len(labels), 3072)
        data = pickled({"fine_labels": labels.tolist(), "data": pixels, "batch_label": split})
        (folder / split).write_bytes(data)
        sums[split] = hashlib.md5(data).hexdigest()
    if packed:
        with tarfile.open(root / f"{cifar100.FOLDER}.tar.gz", "w:gz") as archive:
            archive.add(folder, cifar100.FOLDER)
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    return sums


def write_tree(root: Path, images: dict[str, int]) -> Path:
    """The tree that cifar2png makes, with so many images of each class; returns `root`."""
    for split, count in images.items():
        for class_ in CLASSES:
            (root / split / class_).mkdir(parents=True)
            for number in range(1, count + 1):
                Image.new("RGB", (32, 32)).save(root / split / class_ / f"{number:04d}.png")
    return root
