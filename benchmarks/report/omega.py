"""The reference of Ω_all for every trial: the offline learner of the same stream and network, or why there is none.

Of several, such as `offline` and `offline` with `retrain`, the most accurate one is the reference: a bound is as high
as the best learner that is known. A curve from a file takes the place of offline trials, for what it has.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lethe.benchmarks.records.read import RunRecord, TrialRecord
from lethe.benchmarks.report.offline_curve import OfflineCurve

_ALIKE = (
    "variant",
    "image_size",
    "network",
    "pretrained",
    "seed",
    "tasks",
    "class_order",
    "order_seed",
    "only_task",
)
"""Keys of a configuration, beside dataset and paradigm, that a reference shares with the trial. The cut is none of
them: it belongs to some agents, and the upper bound learns the whole network."""


@dataclass(frozen=True)
class Reference:
    """The offline trial that Ω_all of a trial is relative to."""

    curve: np.ndarray | None = None
    """float64 [T], its accuracy on seen classes, mean over runs; None where there is no reference."""
    label: str = ""
    """Name of the trial, or of the file."""
    of: int = 0
    """Number of offline trials that could be the reference."""
    blank: str = ""
    """Why Ω_all is blank, as the end of a sentence; empty where it is not."""
    from_file: bool = False
    """Whether it is a curve from a file, or should have been."""


def references(
    trials: Sequence[TrialRecord],
    labels: Sequence[str],
    sources: Sequence[str],
    measure: str = "top1",
    curve: OfflineCurve | None = None,
) -> list[Reference]:
    """The reference of each trial, of its "top1" or "top5" accuracy.

    `labels` are the trials' names, `sources` the results folders that they are from.
    """
    if curve is not None and measure in curve.percent:
        return [_from_file(trial, measure, curve) for trial in trials]
    places = [
        (source, trial.config["dataset"], trial.config["paradigm"])
        for trial, source in zip(trials, sources, strict=True)
    ]
    offline: dict[tuple[str, ...], list[tuple[TrialRecord, str]]] = {}
    for trial, label, place in zip(trials, labels, places, strict=True):
        if trial.needs.get("offline"):
            offline.setdefault(place, []).append((trial, label))
    return [
        _reference(trial, offline.get(place, []), measure)
        for trial, place in zip(trials, places, strict=True)
    ]


def accuracy(run: RunRecord, measure: str) -> np.ndarray | None:
    """Accuracy of a run on seen classes, float64 [T]: "top1", or "top5" where it was measured."""
    return run.accuracy[:, 0] if measure == "top1" else run.top5


def _from_file(trial: TrialRecord, measure: str, curve: OfflineCurve) -> Reference:
    if not trial.runs:
        return Reference(from_file=True)
    if all(accuracy(run, measure) is None for run in trial.runs):
        return Reference(blank="top-5 is measured above ten classes", from_file=True)
    seen = {tuple(run.classes_seen) for run in trial.runs}
    if len(seen) > 1:
        return Reference(blank="its runs have unlike numbers of classes after a task", from_file=True)
    (classes,) = seen
    found = curve.at(measure, classes)
    if found is None:
        low, high = curve.classes[0], curve.classes[-1]
        told = f"the curve in {curve.name} is of {low} to {high} classes, the stream of {classes[0]} to {classes[-1]}"
        return Reference(blank=told, from_file=True)
    return Reference(found, f"the curve in {curve.name}", from_file=True)


def _reference(trial: TrialRecord, offline: Sequence[tuple[TrialRecord, str]], measure: str) -> Reference:
    if measure != "top1" and all(accuracy(run, measure) is None for run in trial.runs):
        return Reference()
    if not offline:
        return Reference(blank="there is no offline trial")
    alike = [(rival, label) for rival, label in offline if not _unlike(trial, rival)]
    if not alike:
        nearest = min((_unlike(trial, rival) for rival, _ in offline), key=len)
        return Reference(blank=f"no offline trial has the same {' and '.join(nearest)}")
    begun = [(rival, label) for rival, label in alike if rival.runs]
    if not begun:
        return Reference(blank="no run of the offline trial has finished")
    curves = [(curve, label) for rival, label in begun if (curve := _mean_curve(rival, measure)) is not None]
    if not curves:
        return Reference(blank="the runs of the offline trial have unlike numbers of tasks")
    curve, label = max(curves, key=lambda found: float(found[0].mean()))
    if trial.runs and all(len(run.accuracy) != len(curve) for run in trial.runs):
        tasks = len(trial.runs[0].accuracy)
        return Reference(blank=f"the offline trial has {len(curve)} tasks, not {tasks}")
    if not (curve > 0).all():
        return Reference(blank="the offline trial has an accuracy of 0 after a task")
    return Reference(curve, label, len(curves))


def _unlike(trial: TrialRecord, rival: TrialRecord) -> list[str]:
    """Names of the keys in which a reference must not differ, and does."""
    return [
        name.replace("_", " ")
        for name in _ALIKE
        if json.dumps(trial.config.get(name)) != json.dumps(rival.config.get(name))
    ]


def _mean_curve(trial: TrialRecord, measure: str) -> np.ndarray | None:
    """Mean accuracy on seen classes [T] over finished runs; None where T differs."""
    curves = [curve for run in trial.runs if (curve := accuracy(run, measure)) is not None]
    return np.mean(curves, axis=0) if len({len(curve) for curve in curves}) == 1 else None
