"""From the records of a trial to its entry in the comparison: means and standard errors over runs.

Nothing here reads or writes a file. A number that is not defined (forgetting where tasks share classes) or
not there (a run that has not finished) is None, never zero, and every mean carries how many runs it is over.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lethe.benchmarks.measure.metrics import new_classes, omega_all
from lethe.benchmarks.records.read import RunRecord, TrialRecord
from lethe.benchmarks.report.omega import Reference, accuracy
from lethe.benchmarks.report.trial_names import text_of
from lethe.common.printable import printable

METRICS = (
    "accuracy_mean",
    "accuracy_last",
    "first_task_mean",
    "first_task_last",
    "forgetting",
    "backward_transfer",
    "omega_all",
    "top5_last",
    "top5_mean",
    "omega_all_top5",
    "memory_bytes",
    "images_again",
    "images_per_second",
    "seconds",
    "wall_seconds",
    "network_bytes",
    "optimizer_bytes",
    "data_bytes",
    "total_bytes",
    "stream_images",
    "passes",
    "passes_first_task",
    "learn_seconds_per_image",
    "trunk_seconds_per_image",
    "learn_flops",
    "predict_flops",
)
"""One number per run, in the order of the long table. Accuracies are percent, omega_all is a ratio; `images_again` were
handed out once more as data of their task; `seconds` are those of learning alone, `wall_seconds` those of the whole
run; those per image and the FLOPs are per image of the stream."""

CONDITIONS = (
    "network",
    "pretrained",
    "feature_dtype",
    "codebooks",
    "seed",
    "tasks",
    "class_order",
    "order_seed",
    "only_task",
)
"""Keys of a configuration, beside stream and agent, that may change the numbers of all agents."""

CURVES: Mapping[str, Callable[[RunRecord], np.ndarray | None]] = {
    "accuracy": lambda run: run.accuracy[:, 0],
    "first_task": lambda run: run.accuracy[:, 1],
    "new_classes": lambda run: _new_classes(run, run.accuracy[:, 1:]),
    "top5": lambda run: run.top5,
    "first_task_top5": lambda run: None if run.groups_top5 is None else run.groups_top5[:, 0],
    "new_classes_top5": lambda run: _new_classes(run, run.groups_top5),
}
"""One number per run and task, float64 [T], where it was measured: accuracy on all classes seen, on the classes of the
first task, on all later ones; and the same in top-5."""


@dataclass(frozen=True)
class Stat:
    """A mean over runs."""

    mean: float | None
    """None where no run has a value."""
    sem: float | None
    """Standard error of the mean, std (ddof 1) / sqrt(runs); None below two runs."""
    runs: int
    """Number of runs that the mean is over."""


@dataclass(frozen=True)
class Entry:
    """One trial as the comparison shows it."""

    dataset: str
    paradigm: str
    variant: str
    """Of the task lists."""
    agent: str
    label: str
    """Name of the trial (see `trial_names`)."""
    needs: Mapping[str, bool]
    finished: tuple[int, ...]
    unfinished: tuple[int, ...]
    numbers: Mapping[int, Mapping[str, float | None]]
    """For every finished run, its number for every name of `METRICS` that it has; None where it is undefined."""
    stats: Mapping[str, Stat]
    """For every name of `METRICS`."""
    curves: Mapping[str, tuple[Stat, ...]]
    """For every name of `CURVES`, a stat per task."""
    classes_seen: Mapping[int, tuple[int, ...]]
    """For every finished run, the number of classes seen after each task."""
    conditions: Mapping[str, str]
    """For every name of `CONDITIONS` that the configuration has, its value."""
    reference: Reference
    """What Ω_all is relative to."""
    reference_top5: Reference
    """What Ω_all in top-5 is relative to."""
    code: Mapping[int, str]
    """For every finished run of which it is known, the commit of this project that made it."""
    collapsed: Mapping[int, str] = field(default_factory=dict)
    """For every finished run that has collapsed, a clause on how."""
    further: Mapping[str, Mapping[str, Stat]] = field(default_factory=dict)
    """For every further output of the agent, its rows of the long form by metric; the tables show its answer alone."""
    source: str = ""
    """Name of the results folder that the trial is from, where two are compared."""
    pretrained: str = ""
    """What the network's weights were learned from, and their fingerprint; empty where it began with random ones."""
    processes: Mapping[int, tuple[Mapping[str, Any], ...]] = field(default_factory=dict)
    """For every finished run, the conditions of each process that learned it, as recorded."""

    @property
    def offline(self) -> bool:
        """Whether the agent is the upper bound, which learns from cumulative lists."""
        return self.needs.get("offline", False)

    @property
    def name(self) -> str:
        """The label without the results folder."""
        return self.label.removesuffix(f" ({self.source})")


def entry_of(
    trial: TrialRecord, label: str, source: str, reference: Reference, reference_top5: Reference
) -> Entry:
    """The entry of `trial`, under `label`; Ω_all is relative to the references."""
    numbers = {run.run: _numbers(run, reference, reference_top5) for run in trial.runs}
    return Entry(
        dataset=printable(trial.config["dataset"]),
        paradigm=printable(trial.config["paradigm"]),
        variant=printable(trial.config["variant"]),
        agent=printable(trial.config["agent"]),
        label=label,
        needs=dict(trial.needs),
        finished=tuple(run.run for run in trial.runs),
        unfinished=tuple(trial.unfinished),
        numbers=numbers,
        stats={name: summarise(run.get(name) for run in numbers.values()) for name in METRICS},
        curves={name: _by_run([curve(run) for run in trial.runs]) for name, curve in CURVES.items()},
        classes_seen={run.run: tuple(run.classes_seen) for run in trial.runs},
        conditions={
            name: printable(text_of(trial.config[name])) for name in CONDITIONS if name in trial.config
        },
        reference=reference,
        reference_top5=reference_top5,
        code={run.run: code for run in trial.runs if (code := _code(run.summary))},
        collapsed={run.run: printable(how) for run in trial.runs if (how := run.summary.get("collapsed"))},
        further=_further(trial),
        source=source,
        pretrained=_pretrained(trial),
        processes={run.run: tuple(run.summary.get("conditions") or ()) for run in trial.runs},
    )


def _by_run(curves: Sequence[np.ndarray | None]) -> tuple[Stat, ...]:
    """Means per task over the runs that have it, of a curve of each run; empty where no run has one."""
    known = [curve for curve in curves if curve is not None]
    tasks = max((len(curve) for curve in known), default=0)
    return tuple(summarise(curve[task] for curve in known if task < len(curve)) for task in range(tasks))


def _pretrained(trial: TrialRecord) -> str:
    if not trial.weights:
        return ""
    told = f"{trial.config['network']} on {trial.pretraining or 'images that are not known'}"
    return printable(f"{told} (weights {trial.weights[:12]})")


def summarise(values: Iterable[float | None]) -> Stat:
    """Mean and standard error over the runs that have a value (None and NaN are no value)."""
    known = np.array([value for value in values if value is not None and not math.isnan(value)], np.float64)
    if known.size == 0:
        return Stat(None, None, 0)
    sem = float(known.std(ddof=1) / math.sqrt(known.size)) if known.size > 1 else None
    return Stat(float(known.mean()), sem, int(known.size))


def by_task(curves: Mapping[str, Sequence[Stat]]) -> dict[str, Stat]:
    """The stats of curves by the metric's name and the task's number, from 1."""
    return {
        f"{name}_task_{task}": stat
        for name, stats in curves.items()
        for task, stat in enumerate(stats, start=1)
        if stat.runs or name in ("accuracy", "first_task")
    }


def _further(trial: TrialRecord) -> dict[str, dict[str, Stat]]:
    """Rows of the long form of each further output of the agent."""
    found = {}
    for output in sorted({name for run in trial.runs for name in run.further}):
        runs = [run for run in trial.runs if output in run.further]
        told = [run.summary["further"][output] for run in runs]
        metrics = {name: summarise(one.get(name) for one in told) for name in METRICS}
        curves = {
            name: _by_run([run.further[output][:, column] for run in runs])
            for name, column in {"accuracy": 0, "first_task": 1}.items()
        }
        found[output] = {name: stat for name, stat in metrics.items() if stat.runs} | by_task(curves)
    return found


def _new_classes(run: RunRecord, groups: np.ndarray | None) -> np.ndarray | None:
    """Accuracy [T] on the classes of all groups but the first, from that on groups [T, G]; None where it is unknown."""
    return None if groups is None or not run.group_images else new_classes(groups, np.array(run.group_images))


def _numbers(run: RunRecord, reference: Reference, reference_top5: Reference) -> dict[str, float | None]:
    """The metrics of one run; Ω_all is the one that needs a reference."""
    again = run.summary.get("images_again")
    return {
        **run.summary["metrics"],
        "omega_all": _omega(accuracy(run, "top1"), reference.curve),
        "omega_all_top5": _omega(accuracy(run, "top5"), reference_top5.curve),
        "images_again": again,
    }


def _omega(own: np.ndarray | None, offline: np.ndarray | None) -> float | None:
    if own is None or offline is None or len(own) != len(offline):
        return None
    return omega_all(own, offline)


def _code(summary: Mapping[str, Any]) -> str | None:
    """Commits, or versions of an installed package, that a run was learned with, in order; None if unknown."""
    told = summary.get("software")
    texts = [_code_of(one) for one in (told if isinstance(told, list) else ()) if isinstance(one, Mapping)]
    return printable(", then ".join(dict.fromkeys(filter(None, texts)))) or None


def _code_of(software: Mapping[str, Any]) -> str:
    commit, version = software.get("commit"), software.get("version")
    if isinstance(commit, str):
        return f"{commit[:10]}{' with changes' if software.get('dirty') else ''}"
    return f"version {version}" if isinstance(version, str) else ""
