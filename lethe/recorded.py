"""Recorded runs for the Python API: written as the command `lethe run` writes them, read into pandas."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lethe.benchmarks.records import confusions
from lethe.benchmarks.records.augmem_files import write_tables_of
from lethe.benchmarks.records.read import RunRecord, TrialRecord, find_trials
from lethe.benchmarks.run.device import check_device
from lethe.benchmarks.run.experiment import Machine, Places
from lethe.benchmarks.run.job import Job
from lethe.benchmarks.run.trial import Trial
from lethe.benchmarks.workers.messages import Elsewhere, Failed, Stopped
from lethe.benchmarks.workers.pool import finished, prepare_all
from lethe.benchmarks.workers.pool import record as keep
from lethe.benchmarks.workers.worker import attempt
from lethe.dataloaders.index import folders
from lethe.streams import PathLike


def record(
    trials: Sequence[Trial],
    *,
    runs: int = 1,
    results: PathLike = "results",
    data: PathLike = folders.DATA,
    lists: PathLike = folders.LISTS,
    device: str = "cpu",
    threads: int = 1,
    keep_model: bool = False,
) -> None:
    """Learn runs 0 .. runs - 1 of each trial in this process and record them, as `lethe run` does.

    Finished runs are skipped, interrupted ones go on, runs that another process is learning are left to it; several
    processes may share the work. With `keep_model`, the trained agent of each run is kept, for `load`. Raises
    `RuntimeError` after all others have ended where some runs failed; why is in `run<r>/failed.json`.
    """
    check_device(device)
    places = Places(Path(results), Path(data), Path(lists))
    machine = Machine(device, threads, keep_model=keep_model)
    jobs = [Job(one, number) for one in trials for number in range(runs)]
    left = [job for job in jobs if not finished(job, places)]
    prepare_all(left, places, machine)
    failed = []
    for job in left:
        outcome = attempt(job, places, machine)
        if not isinstance(outcome, Elsewhere | Stopped):
            keep(outcome, places)
        if isinstance(outcome, Failed):
            failed.append(f"{job}: {outcome.failure.reason}")
    write_tables_of(one.folder(places.results) for one in trials)
    if failed:
        raise RuntimeError("\n".join(failed))


def read_results(results: PathLike = "results") -> pd.DataFrame:
    """A row per finished run below `results`: dataset, paradigm, agent, split, trial, run, metrics, settings."""
    rows = [
        {**_place(one, done), **done.summary["metrics"], **one.config["settings"]}
        for one in find_trials(Path(results))
        for done in one.runs
    ]
    return pd.DataFrame(rows)


def read_accuracies(results: PathLike = "results") -> pd.DataFrame:
    """A row per run and task: `seen`, accuracy on all classes seen so far, and `group_0`, ..., in percent."""
    rows = []
    for one in find_trials(Path(results)):
        for done in one.runs:
            names = ["seen", *(f"group_{group}" for group in range(done.accuracy.shape[1] - 1))]
            for task, values in enumerate(done.accuracy.tolist()):
                rows.append({**_place(one, done), "task": task, **dict(zip(names, values, strict=True))})
    return pd.DataFrame(rows)


def read_confusions(results: PathLike = "results") -> pd.DataFrame:
    """A row per run, task and pair of classes that occurred: true and predicted class, and count of test images."""
    frames = []
    for one in find_trials(Path(results)):
        for done in one.runs:
            found = confusions.read(one.path / f"run{done.run}", done.summary)
            for name, value in reversed(_place(one, done).items()):
                found.insert(0, name, value)
            frames.append(found)
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _place(one: TrialRecord, done: RunRecord) -> dict[str, Any]:
    config = one.config
    names = ("dataset", "paradigm", "agent", "split")
    return {**{name: config[name] for name in names}, "trial": one.path.name, "run": done.run}
