"""Scores of the test images, kept on request: of the last evaluation, or of every one.

run<r>/predictions.npz              of the last evaluation (`--predictions`)
run<r>/predictions_task<t>.npz      of the evaluation after task t (`--predictions each`)

Each holds `row` [N] of the store of images, `label` [N], `scores` float32 [N, K], -inf for classes not yet seen, and
`classes` [K], the names of the labels; N are the test images of the classes seen.
"""

import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from lethe.benchmarks.records.schema import REMEDY
from lethe.common.errors import Damaged, InputError
from lethe.common.files import atomic_write, open_regular

WHEN = ("none", "last", "each")
"""Evaluations whose scores are kept."""
LAST = "predictions.npz"


def of_task(task: int) -> str:
    """Name of the file of the evaluation after `task`."""
    return f"predictions_task{task}.npz"


def size(test_images: Iterable[int], classes: int) -> int:
    """Bytes of scores, before compression, of evaluations on so many `test_images` each."""
    return sum(test_images) * classes * np.dtype(np.float32).itemsize


def write_scores(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write what `Evaluator.predictions` returned; the same arrays give the same bytes."""
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # the stub: all are `allow_pickle`


def read_scores(path: Path, classes: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays in the file at `path`, of a run whose labels have the names `classes`; `Damaged` if it is not."""
    try:
        with open_regular(path) as file, np.load(file, allow_pickle=False) as found:
            arrays = {name: found[name] for name in ("row", "label", "scores", "classes")}
        images = len(arrays["row"])
        if arrays["classes"].tolist() != list(classes):
            raise ValueError("expected the classes of the run")
        if arrays["row"].shape != (images,) or arrays["row"].dtype != np.int64:
            raise ValueError("row: expected whole numbers [N]")
        if arrays["label"].shape != (images,) or arrays["label"].dtype != np.int64:
            raise ValueError(f"label: expected {images} whole numbers")
        if arrays["scores"].shape != (images, len(classes)) or arrays["scores"].dtype != np.float32:
            raise ValueError(f"scores: expected float32 [{images}, {len(classes)}]")
        return arrays
    except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, InputError):
            raise
        raise Damaged(f"{path}: damaged ({error}): {REMEDY}") from error
