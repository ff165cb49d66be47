"""The command `predict`: the likeliest classes of images, by a trained agent that a run kept."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from lethe.benchmarks.run import kept
from lethe.common.printable import printable
from lethe.dataloaders.stores.decode import Undecodable, decode

_SHOWN = 3  # classes
_BATCH = 32  # images


def predict(folder: Path, images: Sequence[Path]) -> int:
    """Print a line per image; returns 2 if some could not be read, each told on standard error, else 0."""
    model = kept.load(folder, torch.device("cpu"))
    failed = False
    for start in range(0, len(images), _BATCH):
        read, pixels = [], []
        for path in images[start : start + _BATCH]:
            try:
                pixels.append(decode(path, model.image_size, model.resize))
                read.append(path)
            except Undecodable as error:
                failed = True
                print(f"error: {printable(error)}", file=sys.stderr)
        with suppress(BrokenPipeError):  # a reader such as `head` may have left
            for path, line in zip(read, _lines(model, pixels), strict=True):
                print(f"{printable(path)}: {line}")
    return 2 if failed else 0


def _lines(model: kept.Model, pixels: Sequence[np.ndarray]) -> Iterator[str]:
    """For each image, the likeliest classes with their scores, the likeliest first."""
    if not pixels:
        return
    x = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)
    best = model.predict(x).topk(min(_SHOWN, len(model.classes)), dim=1)
    for values, labels in zip(best.values.tolist(), best.indices.tolist(), strict=True):
        yield ", ".join(
            f"{printable(model.classes[label])} {value:.4g}"
            for value, label in zip(values, labels, strict=True)
        )
