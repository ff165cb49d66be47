"""The commands on grid files; each takes the options of `gridsearch.command_line` and returns the exit status."""

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress

from lethe.benchmarks.records.augmem_files import write_tables_of
from lethe.benchmarks.records.write import tidy
from lethe.benchmarks.run.construction import refusals
from lethe.benchmarks.run.experiment import Places
from lethe.benchmarks.run.job import Job
from lethe.benchmarks.run.trial import Trial, notes
from lethe.benchmarks.workers.pool import prepare_all
from lethe.common.errors import InputError
from lethe.common.input_problems import first
from lethe.common.printable import printable_lines
from lethe.gridsearch import grid
from lethe.gridsearch.engines import choose as engines
from lethe.gridsearch.live import Live, label, run_label
from lethe.gridsearch.plan import Plan, TimeEstimate, duration_text, plan


def search(options: argparse.Namespace) -> int:
    """Run every trial on the validation lists; 0 only if every run is finished."""
    return max([_learn(found.name, found.trials, found.runs, options) for found in _grids(options)])


def best(options: argparse.Namespace) -> int:
    """Print the winners and write them as grid files."""
    from lethe.common.files import write_text
    from lethe.gridsearch.selection import best_toml, choose_all

    for found in _grids_of_names(options):
        path = options.into / f"{found.name}.toml"
        if path.resolve() == found.path.resolve():
            raise InputError(f"{path}: the winners would overwrite their own grid file: give another --into")
        text = best_toml(choose_all(found, options.out), found.shared)
        write_text(path, text)
        with suppress(BrokenPipeError):  # all files are written, even if the reader of stdout has left
            print(text, end="")
        print(f"{path}: written", file=sys.stderr)
    return 0


def final(options: argparse.Namespace) -> int:
    """Run the winners of the search on the test lists; 0 only if every run is finished."""
    from lethe.gridsearch.selection import choose_all

    choices = [choice for found in _grids(options) for choice in choose_all(found, options.out)]
    for choice in choices:
        if len(choice.ranking) > 1:
            print(f"{label(choice.trial)}: {choice.reason}")
    return _learn("final", [grid.for_test(choice.trial) for choice in choices], options.runs, options)


def table(options: argparse.Namespace) -> int:
    """Write tables and plots of the search and of the final runs so far."""
    from lethe.gridsearch.report.write import report

    for found in _grids_of_names(options):
        into = options.into or options.out / "grids"
        if options.into is None or len(options.grids) > 1:
            into /= found.name
        summary = report(found, options.out, into)
        with suppress(BrokenPipeError):  # all files are written, even if the reader of stdout has left
            print(summary.table, *(f"note: {note}" for note in summary.notes), *summary.files, sep="\n")
    return 0


def _grids(options: argparse.Namespace) -> list[grid.Grid]:
    return [grid.read(path, options.data, options.lists) for path in options.grids]


def _grids_of_names(options: argparse.Namespace) -> list[grid.Grid]:
    """The grids; `InputError` where two have the same name, by which their results are written."""
    found, paths = _grids(options), defaultdict(list)
    for one in found:
        paths[one.name].append(str(one.path))
    problems = [
        f"{', '.join(alike)}: expected grids of different names, or one would replace the other: give one at a time"
        for alike in paths.values()
        if len(alike) > 1
    ]
    if problems:
        raise InputError(*problems)
    return found


def _learn(title: str, trials: Sequence[Trial], runs: int, options: argparse.Namespace) -> int:
    """Execute the runs of `trials` that are left; 0 only if every run is finished."""
    places = Places(options.out, options.data, options.lists)
    engine, machines = engines.engine(options)
    todo = plan(trials, runs, places, options.retry_failed)
    counts = _counts(todo, places, len(machines))
    remarks = "".join(f"{note}\n" for note in notes(job.trial for job in todo.left))
    print(f"{remarks}{title}: {todo.total // runs} trials x {runs} runs: {counts}", flush=True)
    if options.dry_run:
        _print_all(todo)
        _build_all(todo)
        return 0
    failed = len(todo.failed)
    if todo.left:
        for line in prepare_all(todo.left, places, machines[0]):
            print(printable_lines(line), flush=True)
        with Live(todo, runs, len(machines), places) as live:
            engine(todo.left, places, watch=live)
        failed = live.failed
        print("\n".join(f"best {line}" for line in live.best()))
    tidy(trial.folder(places.results) for trial in trials)
    problems: list[str] = []
    try:
        write_tables_of(trial.folder(places.results) for trial in trials)
    except InputError as error:
        problems += error.problems
    for problem in (found for found in problems if all(found != reason.reason for _, reason in todo.failed)):
        print(f"error: {printable_lines(problem)}", file=sys.stderr)
    for job, failure in todo.failed:
        print(f"failed before: {run_label(job)}: {failure.reason}", file=sys.stderr)
    if failed:
        told = f"{failed} of {todo.total} runs failed; failed.json and log.txt in their folders say why"
        print(f"{told}; the same command with --retry-failed tries them again", file=sys.stderr)
    return 1 if failed or problems else 0


def _counts(todo: Plan, places: Places, workers: int) -> str:
    left = f"{len(todo.left)} to do"
    if todo.left:
        time = duration_text(TimeEstimate(todo.finished, places).left(todo.left, workers))
        left += f" with {workers} worker{'s' * (workers != 1)}, {time}"
    return f"{len(todo.finished)} finished, {len(todo.failed)} failed, {left}"


def _build_all(todo: Plan) -> None:
    """`InputError` with the trials whose agents cannot be built."""
    refused, notes = refusals(job.trial for job in todo.left)
    for note in notes:
        print(f"note: {note}")
    if refused:
        raise InputError(*first([f"{label(trial)}: {reason}" for trial, reason in refused.items()]))


def _print_all(todo: Plan) -> None:
    states: list[tuple[str, Job]] = [("finished", job) for job in todo.finished]
    states += [("failed", job) for job, _ in todo.failed] + [("to do", job) for job in todo.left]
    for state, job in states:
        print(f"{state:8}  {run_label(job)}")
