"""Digits: the 1,797 handwritten digits (8 x 8) that scikit-learn ships; real input without a download.

E. Alpaydin and C. Kaynak, "Optical recognition of handwritten digits", UCI machine learning repository, 1998.
Every fifth image of a class is for testing (session 1), the others are for training (session 0).
"""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from lethe.common.errors import InputError
from lethe.common.files import atomic_write
from lethe.dataloaders.index.spec import Dataset, Expected

_TEST_EVERY = 5


def draw(root: Path, seed: int = 0, workers: int | None = None) -> None:
    """Write the digits as 8 x 8 grey PNG files, `root/<class>/<number>.png`; existing files are kept.

    `seed` and `workers` have no effect: every generated dataset takes them, but nothing here is random.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    numbers = _numbers(digits.target)
    for image, label, number in zip(digits.images, digits.target, numbers, strict=True):
        path = root / _path(label, number)
        if not path.exists():
            with atomic_write(path, durable=False) as temporary:
                Image.fromarray((image * 255 / 16).round().astype(np.uint8)).save(temporary, format="png")


def index(root: Path) -> pd.DataFrame:
    """The dirmap of the digits drawn below `root`; `InputError` if they are not all there."""
    from sklearn.datasets import load_digits

    labels = load_digits().target
    numbers = _numbers(labels)
    missing = [path for path in map(_path, labels, numbers) if not (root / path).is_file()]
    if missing:
        raise InputError(
            f"{root}: {len(missing)} of {len(labels)} digits are missing, {missing[0]} among them: "
            f"draw them with `lethe data draw digits --root {root}`"
        )
    table = pd.DataFrame(
        {
            "class": labels + 1,
            "object": 0,
            "session": (numbers % _TEST_EVERY == 0).astype(int),
            "im_num": numbers,
            "im_path": [_path(label, number) for label, number in zip(labels, numbers, strict=True)],
        }
    )
    return table.sort_values(["class", "object", "session", "im_num"], ignore_index=True)


def _numbers(labels: np.ndarray) -> np.ndarray:
    """1, 2, ... within each class, in the order of the archive."""
    return pd.Series(labels).groupby(labels).cumcount().to_numpy() + 1


def _path(label: int, number: int) -> str:
    return f"{label}/{number:03d}.png"


DATASET = Dataset(
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
    expected=Expected(
        classes=10,
        objects_per_class=(1, 1),
        sessions_per_object=(2, 2),
        images_per_session=(34, 147),
        images_per_class=(174, 183),
    ),
    index=index,
    draw=draw,
)
