"""The command `run`: from options to trials, and from outcomes to a small table."""

import argparse
import os
import sys
from collections.abc import Sequence

import torch
from tqdm import tqdm

from benchmarks.comparison import compare
from benchmarks.experiment import Machine, Places
from benchmarks.pool import finished, prepare_all, record, run_jobs
from benchmarks.progress import RunLine, live_line
from benchmarks.published_files import write_tables_of
from benchmarks.records import read_trial
from benchmarks.tables import Table, accuracy_cell, plain_text
from benchmarks.trial import Trial
from benchmarks.worker import Job, Outcome, attempt
from errors import InputError

_SHOWN = {
    "accuracy_mean": "mean over tasks",
    "accuracy_last": "last task",
    "first_task_last": "first task's classes",
    "forgetting": "forgetting",
    "images_per_second": "images/s",
}


def run(options: argparse.Namespace) -> int:
    """Run every agent on every stream; 0 only if every run is finished."""
    trials = _trials(options)
    places = Places(options.out, options.data, options.lists)
    # Longest first keeps the workers busy to the end: learners that go over the data several times.
    trials.sort(key=lambda trial: -trial.settings["epochs"])
    jobs = [Job(trial, number) for trial in trials for number in range(options.runs)]
    left = [job for job in jobs if not finished(job, places)]
    if options.dry_run:
        for job in jobs:
            state = "to do" if job in left else "finished"
            print(f"{state:8}  {job}  {job.trial.folder(places.results)}")
        print(f"{len(jobs)} runs, {len(jobs) - len(left)} finished, {len(left)} to do")
        return 0
    machine = _machine(options, trials)
    prepare_all(left, places, machine)
    if options.workers == 1:
        failed = _one_by_one(left, places, machine)
    else:
        with live_line(len(left), "runs", "run") as bar:
            watch = _Watch(bar)
            run_jobs(left, places, [machine] * options.workers, watch)
        failed = watch.failed
    write_tables_of(trial.folder(places.results) for trial in trials)
    print(_table(trials, places))
    return 1 if failed else 0


class _Watch:
    """Tells of every run that ends."""

    def __init__(self, bar: tqdm):
        self.failed = 0
        self._bar = bar

    def started(self, job: Job) -> None:
        """Nothing to tell."""

    def learned(self, job: Job, images: int, of: int, accuracy: float | None) -> None:
        """Nothing to tell."""

    def ended(self, outcome: Outcome) -> None:
        """Count it and print it."""
        self.failed += outcome.failure is not None
        self._bar.update()
        _tell(outcome)


def _one_by_one(jobs: Sequence[Job], places: Places, machine: Machine) -> int:
    """Do the jobs in this process; returns how many failed."""
    failed = 0
    for job in jobs:
        line = RunLine(str(job))
        try:
            outcome = attempt(job, places, machine, line)
        finally:
            line.close()
        if outcome.elsewhere:
            raise InputError(f"{job.folder(places.results)}: another process is working on this run")
        record(outcome, places)
        _tell(outcome)
        failed += outcome.failure is not None
    return failed


def _tell(outcome: Outcome) -> None:
    if outcome.failure is not None:
        print(f"failed: {outcome.job}: {outcome.failure}", file=sys.stderr)
        return
    metrics = outcome.summary["metrics"]
    print(
        f"{outcome.job}: {metrics['accuracy_mean']:.1f} % over tasks, {metrics['accuracy_last']:.1f} % at the "
        f"end, {metrics['images_per_second']:.0f} images/s"
    )


def _trials(options: argparse.Namespace) -> list[Trial]:
    """One trial for each stream and agent; all problems of the command line are one `InputError`."""
    trials, problems = [], []
    if options.runs < 1 or options.workers < 1 or (options.threads or 1) < 1:
        problems.append("--runs, --workers and --threads: expected at least 1")
    for stream in options.streams:
        dataset, slash, paradigm = stream.partition("/")
        if not slash:
            problems.append(f"'{stream}': expected DATASET/PARADIGM, such as core50_mini/class_iid")
            continue
        for agent in options.agent:
            try:
                trials.append(
                    Trial.create(
                        dataset,
                        paradigm,
                        agent,
                        _settings(options.set, agent, options.agent),
                        variant=options.variant,
                        network=options.network,
                        cut=options.cut,
                        pretrained=not options.no_pretrained,
                        seed=options.seed,
                        features=options.features,
                        data=options.data,
                    )
                )
            except InputError as error:
                problems += error.problems
    if problems:
        raise InputError(*dict.fromkeys(problems))
    return trials


def _settings(pairs: Sequence[str], agent: str, agents: Sequence[str]) -> dict[str, str]:
    """What `[AGENT.]KEY=VALUE` pairs say for `agent`; what names one agent wins over what names none."""
    common, own = {}, {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise InputError(f"--set {pair}: expected KEY=VALUE, such as lr=0.01")
        owner, dot, name = key.rpartition(".")
        if dot and owner not in agents:
            raise InputError(f"--set {pair}: '{owner}' is none of the agents to run ({', '.join(agents)})")
        if owner in ("", agent):
            (own if dot else common)[name] = value
    return common | own


def _machine(options: argparse.Namespace, trials: Sequence[Trial]) -> Machine:
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {device}: not available here ({error})") from error
    return Machine(
        device,
        options.threads or _threads(trials, options.workers),
        options.checkpoint_batches,
        options.predictions,
    )


def _threads(trials: Sequence[Trial], workers: int) -> int:
    """Threads of a worker: its share of the cores; one for the small network, whose layers are too small to share."""
    small = all(trial.network == "small" for trial in trials)
    return 1 if small else max(1, (os.cpu_count() or 1) // workers)


def _table(trials: Sequence[Trial], places: Places) -> str:
    """A few numbers of the finished runs of each trial, mean and standard error."""
    comparison = compare([read_trial(trial.folder(places.results)) for trial in trials])
    rows = [
        (
            f"{entry.dataset}/{entry.paradigm} {entry.label}",
            str(len(entry.finished)),
            *(accuracy_cell(entry.stats[name], entry.stats[name].runs) for name in _SHOWN),
        )
        for entry in comparison.entries
    ]
    caption = "Accuracy in percent at the end, mean and standard error over runs"
    return plain_text(Table("run", caption, ("", "runs", *_SHOWN.values()), tuple(rows)))
