"""Shared by all programs: how a command is run and ended, and a check of numeric options."""

import argparse
import os
import select
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeAlias

from lethe.common.errors import InputError
from lethe.common.printable import printable, printable_lines

# argparse has no public name for it
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""Result of `add_subparsers`, to which commands are added. They set `command`, a function of the options."""

_PACKAGES = frozenset({
    "avalanche", "faiss", "ffmpeg", "imageio_ffmpeg", "lethe", "matplotlib", "numpy", "pandas", "PIL", "safetensors",
    "scipy", "sklearn", "torch", "torchvision", "tqdm",
})  # fmt: skip
"""Modules that requirements.txt installs."""


def run(
    parser: argparse.ArgumentParser,
    arguments: Sequence[str] | None,
    stopped: str = "stopped; the same command goes on from here",
) -> int:
    """Parse `arguments`, run the command that they name, and return the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    for argument in given:
        if argument.startswith("--") and argument.endswith("=--"):
            parser.error(
                f"{argument}: expected a value after '='"
            )  # argparse would take it for an empty list
    options = parser.parse_args(given)
    return exit_status(lambda: options.command(options), stopped)


def below_one(options: object, *names: str) -> list[str]:
    """The problems of those options of a command line, by attribute name, that are given but less than 1."""
    values = {name.replace("_", "-"): getattr(options, name, None) for name in names}
    return [
        f"--{name}: expected at least 1, got {value}"
        for name, value in values.items()
        if value is not None and value < 1
    ]


def exit_status(
    command: Callable[[], int | None], stopped: str = "stopped; the same command goes on from here"
) -> int:
    """Run a program's command; returns what the program is to exit with.

    0, or what the command returns; 2 after an `InputError` or for a file that the system refuses, and where the
    environment is not active; 130 after Ctrl-C; 1 where a user's module ended the program. All are told on standard
    error. 1 also where the reader of the output, such as `head`, leaves before the command is done.
    """
    try:
        status = command() or 0
    except InputError as error:
        print("\n".join(f"error: {printable_lines(problem)}" for problem in error.problems), file=sys.stderr)
        status = 2
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in _PACKAGES:
            raise  # a module of a user's own, or an error of this project
        print(
            f"error: the package {error.name} is not installed for {sys.executable}: activate the environment "
            "(. .venv/bin/activate), or install the project (pip install .)",
            file=sys.stderr,
        )
        status = 2
    except SystemExit as end:  # commands return their status: this is of code that a user has named
        print(
            f"error: a module that the command has loaded ended the program (sys.exit({end.code!r})): what is missing "
            "was not done: see what it does when it is imported or called",
            file=sys.stderr,
        )
        status = 1
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)
        status = 130
    except BrokenPipeError:
        if not _output_is_unread():
            raise  # of another pipe
        status = 1
    except OSError as error:
        if error.filename is None:
            raise
        print(f"error: {printable(error.filename)}: {error.strerror or error}", file=sys.stderr)
        status = 2
    with suppress(BrokenPipeError):
        print(end="", flush=True)
    if _output_is_unread():  # flushing the rest of the buffer must not fail when the interpreter ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return status


def _output_is_unread() -> bool:
    """Whether standard output is a pipe whose reader is gone."""
    output = select.poll()
    output.register(1, 0)
    return any(event & select.POLLERR for _, event in output.poll(0))
