"""Records of runs that never ran, with numbers that a reader can check by hand."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lethe.benchmarks.records.read import FORMAT, RunRecord, TrialRecord
from lethe.dataloaders.index.spec import RANDOM_PARADIGMS

NO_NEEDS = {"task_boundaries": False, "task_data": False, "frozen_trunk": False, "offline": False}
MANY = ("finetune", "l2", "ewc", "si", "mas", "er", "gem", "agem", "derpp", "icarl", "slda", "remind")
"""The agents of `search_of`."""


def run(
    number: int,
    seen: Sequence[float],
    first: Sequence[float] | None = None,
    classes_seen: Sequence[int] | None = None,
    software: Sequence[Mapping[str, object]] = (),
    collapsed: str | None = None,
    images_again: int | None = None,
    top5: Sequence[float] | None = None,
    **metrics: float | None,
) -> RunRecord:
    """A finished run with accuracy `seen` after each task; `first` on the first task's classes."""
    first = seen if first is None else first
    values = {
        "accuracy_mean": float(np.mean(seen)),
        "accuracy_last": seen[-1],
        "first_task_mean": float(np.mean(first)),
        "first_task_last": first[-1],
        "forgetting": 5.0,
        "backward_transfer": -5.0,
        "memory_bytes": 1000,
        "images_per_second": 100.0,
        "seconds": 10.0,
        "wall_seconds": 15.0,
        **metrics,
    }
    classes = tuple(classes_seen or range(2, 2 * len(seen) + 1, 2))
    accuracy = np.array([seen, first], np.float64).T
    summary = {
        "metrics": values,
        "classes_seen": list(classes),
        "software": list(software),
        "collapsed": collapsed,
        "images_again": images_again,
    }
    if top5 is not None:
        values |= {"top5_last": top5[-1], "top5_mean": float(np.mean(top5))}
    return RunRecord(number, accuracy, None if top5 is None else np.array(top5), classes, summary)


def trial(
    agent: str,
    *runs: RunRecord,
    dataset: str = "core50",
    paradigm: str = "class_iid",
    variant: str = "published",
    settings: Mapping[str, object] | None = None,
    network: str = "small",
    split: str = "test",
    offline: bool = False,
    unfinished: Sequence[int] = (),
    folder: str = "default-0",
    **more: object,
) -> TrialRecord:
    """A trial of those runs; `more` of its configuration."""
    config = {
        "format": FORMAT,
        "dataset": dataset,
        "paradigm": paradigm,
        "variant": variant,
        "agent": agent,
        "network": network,
        "settings": dict(settings or {}),
        "seed": 0,
        "split": split,
        **more,
    }
    path = Path("results") / dataset / paradigm / agent.replace("/", ".") / folder
    return TrialRecord(path, config, {**NO_NEEDS, "offline": offline}, runs, tuple(unfinished))


def write(root: Path, record: TrialRecord) -> Path:
    """Write a trial's folder below `root`, as a real one would lie there."""
    config = record.config
    folder = root / config["dataset"] / config["paradigm"] / "agent" / record.path.name
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "env.json").write_text(json.dumps({"needs": dict(record.needs)}))
    for finished in record.runs:
        place = folder / f"run{finished.run}"
        place.mkdir()
        rows = [f"{task},{seen!r},{first!r}" for task, (seen, first) in enumerate(finished.accuracy.tolist())]
        header = "task,seen,group_0"
        if finished.top5 is not None:  # the one group has the accuracy on all classes seen
            values = finished.top5.tolist()
            rows, header = (
                [f"{row},{value!r}" for row, value in zip(rows, values, strict=True)],
                f"{header},top5_seen",
            )
            groups = [f"{task},{value!r}" for task, value in enumerate(values)]
            (place / "top5_groups.csv").write_text("\n".join(["task,group_0", *groups]) + "\n")
        (place / "accuracy.csv").write_text("\n".join([header, *rows]) + "\n")
        (place / "summary.json").write_text(json.dumps(finished.summary))
    for number in record.unfinished:
        (folder / f"run{number}").mkdir()
    return folder


def search_of(trials: int, runs: int, tasks: int = 5, agents: Sequence[str] = MANY) -> list[TrialRecord]:
    """Records of as many trials, spread over four paradigms and `agents`, each with settings of its own."""
    random = np.random.default_rng(0)
    made = []
    for number in range(trials):
        turn, paradigm = divmod(number, len(RANDOM_PARADIGMS))
        rate, agent = divmod(turn, len(agents))
        level = random.uniform(20, 90)
        curves = np.clip(level + random.normal(0, 3, (runs, tasks)), 0, 100).tolist()
        made.append(
            trial(
                agents[agent],
                *(
                    run(
                        r,
                        curve,
                        memory_bytes=1000 + rate,
                        learn_flops=1e6 * (agent + 1),
                        total_bytes=100_000 * (13 - agent),
                    )
                    for r, curve in enumerate(curves)
                ),
                dataset="core50_mini",
                paradigm=RANDOM_PARADIGMS[paradigm],
                settings={"lr": 0.001 * (rate + 1), "momentum": 0.9},
                folder=f"{agents[agent]}-{rate}",
            )
        )
    return made
