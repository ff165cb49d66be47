"""A run in the files of REMIND's ImageNet experiment, for scripts that read those (`lethe export remind`).

    accuracies_min_trained_0_max_trained_<m>.json    after each task but the first, m the number of classes seen
    preds_min_trained_0_max_trained_<m>.npy          where the scores were kept: probabilities float32 [N, K]

The six lists of the first file grow with the tasks. Those of base classes and of all seen begin with the first task,
those of new ("non-base") classes with the second. Values are percent. Rows and columns of the second file are ordered
as torchvision's ImageFolder orders test images and classes; a class not yet seen has probability 0. Nothing is pickled.
"""

import json
from pathlib import Path

import numpy as np

from lethe.benchmarks.measure.metrics import new_classes
from lethe.benchmarks.records import predictions, schema
from lethe.benchmarks.records.read import RunRecord, read_config, read_run
from lethe.common.errors import InputError
from lethe.common.files import atomic_write, is_there, write_text


def export(trial: Path, run: int, out: Path) -> tuple[list[Path], list[int]]:
    """Write the files of run `run` of the trial in the folder `trial` into `out`.

    Returns their paths, and the tasks whose scores were not kept. `InputError` where the run has not finished, or has
    no top-5 accuracies, and where `out` cannot be written.
    """
    if not is_there(trial / "config.json"):
        raise InputError(f"{trial}: expected the folder of a trial, <dataset>/<paradigm>/<agent>/<trial>")
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: expected a folder to write into, but it is a file")
    read_config(trial)
    folder = trial / f"run{run}"
    if not is_there(folder / "summary.json"):
        raise InputError(
            f"{folder}: there is no such finished run: learn it with `lethe run ... --runs {run + 1}`"
        )
    record = read_run(folder, run)
    lists = _lists(folder, record)
    written: list[Path] = []
    missing: list[int] = []
    for task, classes in enumerate(record.classes_seen):
        name = f"min_trained_0_max_trained_{classes}"
        if task:
            content = {key: values[: task + 1 - key.startswith("non_base")] for key, values in lists.items()}
            written.append(out / f"accuracies_{name}.json")
            write_text(written[-1], json.dumps(content) + "\n")
        scores = _scores(folder, record, task)
        if scores is None:
            missing.append(task)
            continue
        written.append(out / f"preds_{name}.npy")
        with atomic_write(written[-1]) as temporary, temporary.open("wb") as file:
            np.save(file, scores, allow_pickle=False)
    return written, missing


def _lists(folder: Path, record: RunRecord) -> dict[str, list[float]]:
    """The whole lists, by the published keys."""
    if record.top5 is None or record.groups_top5 is None:
        raise InputError(f"{folder}: has no top-5 accuracies, which are measured above ten classes")
    if not record.group_images:
        raise InputError(f"{folder}: does not say how many test images each group has: {schema.REMEDY}")
    if len(set(record.classes_seen)) < len(record.classes_seen):
        raise InputError(f"{folder}: the files are named by the classes seen, and a task brings no new ones")
    images = np.array(record.group_images)
    return {
        f"{classes}_{top}": values.tolist()
        for top, seen, groups in (
            ("top1", record.accuracy[:, 0], record.accuracy[:, 1:]),
            ("top5", record.top5, record.groups_top5),
        )
        for classes, values in (
            ("base_classes", groups[:, 0]),
            ("non_base_classes", new_classes(groups, images)[1:]),
            ("seen_classes", seen),
        )
    }


def _scores(folder: Path, record: RunRecord, task: int) -> np.ndarray | None:
    """Probabilities float32 [N, K] after `task`; None where its scores were not kept."""
    path = folder / predictions.of_task(task)
    if not is_there(path) and task == len(record.classes_seen) - 1:
        path = folder / predictions.LAST
    if not is_there(path):
        return None
    names = record.summary["classes"]
    found = predictions.read_scores(path, names)
    order = np.argsort(names, kind="stable")
    scores = found["scores"][np.argsort(found["row"], kind="stable")][:, order]
    powers = np.exp(scores - scores.max(1, keepdims=True))
    probabilities: np.ndarray = powers / powers.sum(1, keepdims=True)
    return probabilities
