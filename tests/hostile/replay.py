"""Replay of hostile inputs over all commands: `python -m tests.hostile.replay`, from the root of the project.

    python -m tests.hostile.replay [--sample N] [--only TEXT] [--list] [--seconds S]

Counts tracebacks, hangs and silent differences, prints each with its case, and exits with 1 if there is any.

Every module `tests/hostile/*_cases.py` has a function `cases(base: Path)`, which yields `Case`s (see `case.py`), or
tuples of their first fields: (name, prepare, expectation), or (name, prepare, expectation, result, clean). `base` is a
folder for what the cases of a module share, made once; cases must not change it (copy from it, or link to it).

`prepare(folder)` gets an empty folder, writes the damaged input there and returns the arguments of `lethe`. These are
executed in a forked child, in that folder as working directory, by `lethe.cli.main`, with a limit of time. Expectation:

    told    status 1 or 2 with a message
    same    status 0, and `result(folder)` equals `clean`
    either  told, or the same
    any     whatever, but for what no command may do

No command may hang, print a traceback, end by a signal or send an escape sequence to the terminal. The command's output
lies in `folder/stdout` and `folder/stderr` when `result` is called.

Cases are drawn with fixed seeds: a name is the same case in every run. `--sample N` takes N of them, spread evenly.
"""

import argparse
import importlib
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tests.hostile.case import EXPECTATIONS, Case, Ended

HERE = Path(__file__).parent
SECONDS = 60.0
MEMORY = 6 << 30


def modules() -> list[str]:
    """The names of the modules of cases."""
    return sorted(path.stem for path in HERE.glob("*_cases.py"))


def all_cases(base: Path, only: str = "") -> Iterator[Case]:
    """Every case of every module whose name contains `only`."""
    for name in modules():
        own = base / name
        own.mkdir()
        for given in importlib.import_module(f"tests.hostile.{name}").cases(own):
            case = given if isinstance(given, Case) else Case(*given)
            if case.expect not in EXPECTATIONS:
                raise ValueError(f"{case.name}: expected one of {EXPECTATIONS}, got {case.expect!r}")
            if only in f"{name}/{case.name}":
                yield case


def execute(arguments: list[str], folder: Path, seconds: float = SECONDS) -> Ended:
    """Execute a command of `lethe` in a forked child, in `folder`."""
    child = os.fork()
    if child == 0:
        _child(arguments, folder)
    limit = time.monotonic() + seconds
    status = None
    while status is None and time.monotonic() < limit:
        ended, code = os.waitpid(child, os.WNOHANG)
        if ended:
            status = os.waitstatus_to_exitcode(code)
        else:
            time.sleep(0.005)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # its workers as well, should they be left
    if status is None:
        os.waitpid(child, 0)
    out, err = ((folder / name).read_text(errors="replace") for name in ("stdout", "stderr"))
    return Ended(status, out, err)


def _child(arguments: list[str], folder: Path) -> None:
    """The child's part: never returns."""
    status = 1
    try:
        os.setsid()
        os.chdir(folder)
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        for name, number in (("stdout", 1), ("stderr", 2)):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        sys.stdout = open(1, "w", closefd=False, errors="surrogateescape")  # noqa: SIM115
        sys.stderr = open(2, "w", closefd=False, errors="backslashreplace")  # noqa: SIM115
        sys.path.append(str(folder))
        from lethe.cli import main

        status = main(arguments)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:
                status = status or 1
        os._exit(status)


def replay(case: Case, root: Path, seconds: float = SECONDS) -> tuple[str | None, Ended]:
    """The verdict on a case, and how its command ended."""
    folder = root / "case"
    folder.mkdir()
    try:
        arguments = case.prepare(folder)
        ended = execute(arguments, folder, seconds)
        return case.verdict(folder, ended), ended
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o700)
    shutil.rmtree(folder)


def _preload() -> None:
    """Import what commands import, so that a fork has it; nothing is computed, since forks share no threads."""
    for name in ("lethe.benchmarks.command", "lethe.benchmarks.report.write", "lethe.gridsearch.command",
                 "lethe.gridsearch.report.write", "lethe.gridsearch.selection", "lethe.agents.contract.checks",
                 "sklearn.datasets", "torchvision", "PIL.Image"):  # fmt: skip
        importlib.import_module(name)


def sampled(cases: list[Case], count: int | None) -> list[Case]:
    """`count` of the cases, spread evenly."""
    if count is None or count >= len(cases):
        return cases
    return [cases[number * len(cases) // count] for number in range(count)]


def main(arguments: list[str] | None = None) -> int:
    """Replay; returns the exit status."""
    parser = argparse.ArgumentParser(description="Replay hostile inputs over all commands.")
    parser.add_argument("--sample", type=int, metavar="N", help="replay N cases only, spread evenly")
    parser.add_argument("--only", default="", metavar="TEXT", help="only cases whose name contains TEXT")
    parser.add_argument("--list", action="store_true", help="print the names")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="limit of each (default %(default)s)")
    options = parser.parse_args(arguments)
    _preload()
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="hostile-") as name:
        root = Path(name)
        cases = sampled(list(all_cases(root, options.only)), options.sample)
        for case in cases:
            if options.list:
                print(case.name)
                continue
            begun = time.monotonic()
            fault, ended = replay(case, root, options.seconds)
            found[(fault or "well").partition(":")[0]] += 1
            if fault:
                last = (ended.err.strip() or ended.out.strip()).splitlines()[-1:]
                print(
                    f"{fault}: {case.name} ({time.monotonic() - begun:.1f} s): {''.join(last)!a}",
                    flush=True,
                )
    told = ", ".join(f"{count} {kind}" for kind, count in sorted(found.items()))
    print(f"{len(cases)} cases: {told or 'listed'}")
    return 0 if set(found) <= {"well"} else 1


if __name__ == "__main__":
    sys.exit(main())
