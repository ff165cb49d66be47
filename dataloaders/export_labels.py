"""REMIND's label files: for each image of torchvision's ImageFolder, the place of its class in the stream.

As its tool `make_numpy_imagenet_label_files.py` makes them: `imagenet_train_labels.npy` and `imagenet_val_labels.npy`,
int64 [N], values from 0 in the order of the class-order file.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from lethe.common.errors import InputError
from lethe.common.files import atomic_write
from lethe.dataloaders.index.spec import Dataset

SPLITS = ("train", "val")
"""Of the files' names; sessions 0 and 1 of the dirmap."""


def arrays(dataset: Dataset, dirmap: pd.DataFrame) -> dict[str, np.ndarray]:
    """The label file of each of `SPLITS`, int64 [N]; `InputError` for a dataset without two trees and a class order."""
    if dataset.class_order is None or len(dataset.trees) != len(SPLITS):
        raise InputError(
            f"{dataset.name}: expected a dataset with test_images and class_order in its dataset.toml, as "
            "`lethe data prepare imagenet` writes it"
        )
    place = {name: number for number, name in enumerate(dataset.class_order)}
    values = dirmap["class"].map(lambda value: place.get(dataset.class_name(value), -1)).to_numpy(np.int64)
    if (values < 0).any():
        raise InputError(
            f"class_order: the dirmap of {dataset.name} has classes that it lacks: index it again"
        )
    # ImageFolder does not read GIF files.
    read = ~dirmap["im_path"].str.lower().str.endswith(".gif").to_numpy()
    return {
        split: values[read & (dirmap["session"] == session).to_numpy()]
        for session, split in enumerate(SPLITS)
    }


def export(dataset: Dataset, dirmap: pd.DataFrame, out: Path) -> list[Path]:
    """Write the `arrays` to `out/<dataset>_<split>_labels.npy`; returns the files."""
    written = []
    for split, labels in arrays(dataset, dirmap).items():
        path = out / f"{dataset.name}_{split}_labels.npy"
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            np.save(file, labels, allow_pickle=False)
        written.append(path)
    return written
