"""Two small trees in the form of ImageNet-2012's: `train/<wnid>/*.JPEG`, `val/<wnid>/*.JPEG`, and a class order file.

The pictures of tree A are stripes whose colour, direction and width tell the class, so that a small network can learn
it; those of tree B are plain colours. Same picture, same bytes, on every call.
"""

from colorsys import hsv_to_rgb
from pathlib import Path

import numpy as np
from PIL import Image

ORDER = "imagenet_class_order.txt"
"""REMIND's name of the file with one folder name a line, in the order in which the stream shows them."""

CLASSES_A, TASK_CLASSES_A, TRAIN_A, VAL_A, SIZE_A = 20, 4, 40, 10, 64
CLASSES_B, TRAIN_B, VAL_B, SIZE_B = 1000, 2, 1, 32

_HUES = 5


def wnids(classes: int) -> list[str]:
    """Folder names like ImageNet's, ascending: n01730000, n01730007, ..."""
    return [f"n{1730000 + 7 * number:08d}" for number in range(classes)]


def class_order(classes: int, seed: int = 0) -> list[str]:
    """`wnids` in the shuffled order that the file has."""
    names = wnids(classes)
    return [names[place] for place in np.random.RandomState(seed).permutation(classes)]


def tree_a(root: Path) -> Path:
    """20 classes, 40 + 10 images each at 64 x 64 pixels, with an order file for 5 increments of 4; returns `root`."""
    return tree(root, CLASSES_A, TRAIN_A, VAL_A, SIZE_A, picture=striped)


def tree_b(root: Path) -> Path:
    """1,000 classes, 2 + 1 images each at 32 x 32 pixels, with an order file; returns `root`."""
    return tree(root, CLASSES_B, TRAIN_B, VAL_B, SIZE_B, picture=plain)


def tree(root: Path, classes: int, train: int, val: int, size: int, picture=None) -> Path:
    """Draw `train/` and `val/` with that many images a class, and the order file beside them; returns `root`."""
    picture = picture or plain
    for number, wnid in enumerate(wnids(classes)):
        for part, first, count in (("train", 0, train), ("val", train, val)):
            folder = root / part / wnid
            folder.mkdir(parents=True, exist_ok=True)
            for place in range(first, first + count):
                # As in ImageNet: names of training images have the wnid, those of validation images a running number.
                name = f"{wnid}_{place}" if part == "train" else f"ILSVRC2012_val_{number * val + place:08d}"
                picture(number, place, size).save(folder / f"{name}.JPEG", quality=90)
    (root / ORDER).write_text("\n".join(class_order(classes)) + "\n")
    return root


def striped(number: int, place: int, size: int) -> Image.Image:
    """Stripes of class `number`: its hue, direction and width, at a random phase, brightness and noise."""
    random = np.random.RandomState([number, place])
    hue, kind = number % _HUES, number // _HUES % 4
    colour = np.array(hsv_to_rgb(hue / _HUES, 0.8, 1.0)) * random.uniform(150, 250)
    y, x = np.mgrid[:size, :size] / size
    along = (x, y, x + y, x - y)[kind]
    waves = 0.5 + 0.5 * np.sin(2 * np.pi * ((4, 4, 3, 6)[kind] * along + random.uniform()))
    pixels = waves[..., None] * colour + random.normal(0, 12, (size, size, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def plain(number: int, place: int, size: int) -> Image.Image:
    """One colour, of class `number` and image `place`."""
    return Image.new(
        "RGB", (size, size), (number % 32 * 8, number // 32 * 8, (53 * number + 97 * place) % 256)
    )
