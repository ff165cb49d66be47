"""The command `run`: from options to trials, and from outcomes to a small table."""

import argparse
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import fields

import numpy as np
import torch

from lethe.agents import registry
from lethe.benchmarks import store_options
from lethe.benchmarks.command_crew import Here, RunWatch, tell
from lethe.benchmarks.records import predictions
from lethe.benchmarks.records.augmem_files import write_tables_of
from lethe.benchmarks.records.environment import threads_before
from lethe.benchmarks.records.read import read_trial
from lethe.benchmarks.records.write import tidy
from lethe.benchmarks.report import collapsed
from lethe.benchmarks.report.comparison import compare
from lethe.benchmarks.report.tables import Table, format_bytes, metric_cell, plain_text
from lethe.benchmarks.run import budget, kept
from lethe.benchmarks.run.construction import refusals
from lethe.benchmarks.run.device import check_device
from lethe.benchmarks.run.experiment import Machine, Places, check_protocol, task_lists
from lethe.benchmarks.run.job import Job, check_count
from lethe.benchmarks.run.stopping import cannot_stop
from lethe.benchmarks.run.trial import Trial, notes
from lethe.benchmarks.workers import memory
from lethe.benchmarks.workers.messages import Failed
from lethe.benchmarks.workers.pool import (
    cores,
    damage,
    do_all,
    finished,
    prepare_all,
    run_jobs,
)
from lethe.common.command_line import below_one
from lethe.common.errors import Damaged, InputError
from lethe.common.input_problems import first, raise_any
from lethe.common.printable import printable
from lethe.common.progress import live_line
from lethe.dataloaders.index import class_order as class_orders
from lethe.dataloaders.index import find
from lethe.dataloaders.index.spec import Dataset

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
    if options.budget is not None:
        given = {agent: _settings(options.set, agent, options.agent) for agent in options.agent}
        trials, lines = budget.all_within(trials, budget.parse(options.budget), places, given)
        print("\n".join(lines))
    # Longest first keeps the workers busy to the end: learners that go over the data several times.
    trials.sort(key=lambda trial: trial.epochs, reverse=True)
    check_count(len(trials), options.runs)
    jobs = [Job(trial, number) for trial in trials for number in range(options.runs)]
    for trial in trials:
        with suppress(Damaged):  # told with each of its runs
            check_protocol(trial, places)
    _check_savable(options, trials)
    broken = [failed for job in jobs if (failed := damage(job, places))]
    damaged = {failed.job for failed in broken}
    left = [job for job in jobs if job not in damaged and not finished(job, places)]
    for note in notes(job.trial for job in left):
        print(printable(note))
    done = len(jobs) - len(left) - len(broken)
    if options.dry_run:
        states = dict.fromkeys(jobs, "finished") | dict.fromkeys(left, "to do")
        states |= dict.fromkeys(damaged, "damaged")
        for job in jobs:
            print(printable(f"{states[job]:8}  {job}  {job.trial.folder(places.results)}"))
        told = f", {len(broken)} damaged" if broken else ""
        print(f"{len(jobs)} runs, {done} finished{told}, {len(left)} to do")
        _build_all(left)
        return _tell_all(broken)
    if done:
        print(f"{done} of {len(jobs)} runs were finished before", flush=True)
    machine = _machine(options, [job.trial for job in left] or trials, places)
    for line in prepare_all(left, places, machine):
        print(printable(line), flush=True)
    _tell_size(options.predictions, left, places)
    if options.workers == 1:
        watch = RunWatch()
        do_all(left, places, Here(places, machine), watch)
    else:
        with live_line(len(left), "runs", "run") as bar:
            watch = RunWatch(bar)
            run_jobs(left, places, [machine] * options.workers, watch)
    status = _tell_all(broken)
    whole = [trial for trial in trials if not any(failed.job.trial is trial for failed in broken)]
    tidy(trial.folder(places.results) for trial in trials)
    write_tables_of(trial.folder(places.results) for trial in whole)
    if options.keep_model:
        _tell_unkept([job for job in jobs if job not in left and job not in damaged], places)
    if whole:
        print(_table(whole, places))
    return watch.tell_remedies() or status


def _build_all(left: Sequence[Job]) -> None:
    """`InputError` with the trials whose agents cannot be built."""
    refused, remarks = refusals(job.trial for job in left)
    for remark in remarks:
        print(f"note: {remark}")
    if refused:
        raise InputError(
            *first(
                [f"{trial.agent} {trial.dataset}/{trial.paradigm}: {why}" for trial, why in refused.items()]
            )
        )


def _tell_all(broken: Sequence[Failed]) -> int:
    """Print the damage of finished runs; 1 if there is any, else 0."""
    for failed in broken:
        tell(failed)
    return 1 if broken else 0


def _check_savable(options: argparse.Namespace, trials: Sequence[Trial]) -> None:
    """`InputError` for agents that cannot be saved, where an option needs that."""
    problems = kept.cannot_keep(trials) if options.keep_model else []
    if options.until_class is not None:
        problems += cannot_stop(trials)
    raise_any(problems)


def _tell_size(scores: str, jobs: Sequence[Job], places: Places) -> None:
    """Print the bytes that the scores of all evaluations take, a line for each stream of `jobs`."""
    if scores != "each":
        return
    found: dict[str, None] = {}
    for job in jobs:
        lists = task_lists(job.trial, job.number, places)
        met = [
            np.concatenate([labels for _, labels in lists.tasks[: end + 1]])
            for end in range(len(lists.tasks))
        ]
        tested = [int(np.isin(lists.test_labels, labels).sum()) for labels in met]
        size = format_bytes(predictions.size(tested, len(np.unique(met[-1]))))
        found[f"note: --predictions each: up to {size} a run of {job.trial.dataset}/{job.trial.paradigm}"] = (
            None
        )
    print("\n".join(found), flush=True)


def _tell_unkept(jobs: Sequence[Job], places: Places) -> None:
    """Name the runs that had finished before, without keeping their agents."""
    for job in jobs:
        folder = job.folder(places.results)
        if finished(job, places) and not kept.is_kept(folder):
            told = "finished before, and its agent was not kept: delete its folder to learn it again"
            print(f"note: {job}: {told}: {folder}", file=sys.stderr)


def _trials(options: argparse.Namespace) -> list[Trial]:
    """One trial for each stream and agent; all problems of the command line are one `InputError`."""
    trials: list[Trial] = []
    specs: dict[str, Dataset] = {}
    problems = below_one(options, "runs", "workers", "threads", "checkpoint_batches", "until_class")
    misplaced = _misplaced(options.set, options.agent)
    problems += misplaced.values()
    codebooks: int | None = None
    try:
        codebooks = store_options.codebooks(options)
    except InputError as error:
        problems += error.problems
    class_order: tuple[str, ...] | None = None
    try:
        class_order = class_orders.read(options.class_order) if options.class_order else None
    except InputError as error:
        problems += error.problems
    pairs = [pair for pair in options.set if pair not in misplaced]
    for stream in options.streams:
        dataset, slash, paradigm = stream.partition("/")
        if not slash:
            problems.append(f"'{stream}': expected DATASET/PARADIGM, such as core50_mini/class_iid")
            continue
        with suppress(InputError):  # Trial.create reports it, together with all other problems
            specs[dataset] = specs.get(dataset) or find.get(dataset, options.data / dataset)
        for agent in options.agent:
            try:
                trials.append(
                    Trial.create(
                        specs.get(dataset, dataset),
                        paradigm,
                        agent,
                        _settings(pairs, agent, options.agent),
                        variant=options.variant,
                        network=options.network,
                        cut=options.cut,
                        pretrained=not options.no_pretrained,
                        seed=options.seed,
                        feature_dtype=options.feature_dtype,
                        codebooks=codebooks,
                        tasks=options.tasks,
                        class_order=class_order,
                        order_seed=options.order_seed,
                        only_task=options.only_task,
                        weights=options.weights,
                        data=options.data,
                    )
                )
            except InputError as error:
                problems += error.problems
    if problems:
        raise InputError(*dict.fromkeys(problems))
    return trials


def _misplaced(pairs: Sequence[str], agents: Sequence[str]) -> dict[str, str]:
    """Problem of each `KEY=VALUE` pair that is given to all agents but known only to some."""
    known = {}
    for agent in agents:
        with suppress(InputError):  # an unknown agent is reported with the trials
            known[agent] = {field.name for field in fields(registry.get(agent).Config)}
    found = {}
    for pair in pairs:
        key = pair.partition("=")[0]
        having = [agent for agent, names in known.items() if key in names]
        lacking = [agent for agent in known if agent not in having]
        if having and lacking:
            instead = " ".join(f"{agent}.{pair}" for agent in having)
            found[pair] = f"--set {pair}: no hyperparameter of {', '.join(lacking)}: give it as {instead}"
    return found


def _settings(pairs: Sequence[str], agent: str, agents: Sequence[str]) -> dict[str, str]:
    """Settings of `agent` from `[AGENT.]KEY=VALUE` pairs; pairs that name the agent win over pairs that name none."""
    common: dict[str, str] = {}
    own: dict[str, str] = {}
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


def _machine(options: argparse.Namespace, trials: Sequence[Trial], places: Places) -> Machine:
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    check_device(device)
    return Machine(
        device,
        options.threads
        or threads_before(trial.folder(places.results) for trial in trials)
        or _threads(trials, options.workers),
        options.checkpoint_batches,
        options.predictions,
        options.keep_model,
        memory.limit_of(options.max_memory, options.workers),
        until_class=options.until_class,
        store=store_options.store(options),
    )


def _threads(trials: Sequence[Trial], workers: int) -> int:
    """Threads per worker: its share of the cores; one for the small network, whose layers are too small to share."""
    small = all(trial.network == "small" for trial in trials)
    return 1 if small else max(1, cores() // workers)


def _table(trials: Sequence[Trial], places: Places) -> str:
    """A few numbers of the finished runs of each trial, mean and standard error."""
    comparison = compare([read_trial(trial.folder(places.results)) for trial in trials])
    rows = [
        (
            collapsed.marked(f"{entry.dataset}/{entry.paradigm} {entry.label}", entry),
            str(len(entry.finished)),
            *(metric_cell(entry, name, len(entry.finished)) for name in _SHOWN),
        )
        for entry in comparison.entries
    ]
    caption = "Accuracy and forgetting in percent, and speed; mean and standard error over runs"
    notes = collapsed.notes(comparison.entries)
    return plain_text(Table("run", caption, ("", "runs", *_SHOWN.values()), tuple(rows), notes))
