"""The options of a command that say where a run's inputs are read from; see `benchmarks/run/stores.py`."""

import argparse

from lethe.common.errors import InputError

_CODES = "codes"
_CODEBOOKS = 32
"""As published for REMIND: a byte of each for every position of a map."""


def add_store(parser: argparse.ArgumentParser) -> None:
    """Add `--store` for commands whose trials say themselves whether they learn from codes."""
    _add(parser, (), "")


def add_store_and_codebooks(parser: argparse.ArgumentParser) -> None:
    """Add `--store`, codes among its choices, and `--codebooks`."""
    _add(parser, (_CODES,), "; codes: learn from the frozen part's output in bytes, by product quantisation")
    parser.add_argument(
        "--codebooks",
        type=int,
        metavar="M",
        help=f"with --store codes: bytes for each position of a map (default {_CODEBOOKS})",
    )


def _add(parser: argparse.ArgumentParser, more: tuple[str, ...], told: str) -> None:
    parser.add_argument(
        "--store",
        choices=("auto", "pixels", "features", "none", *more),
        default="auto",
        help="what is kept on the disk for all runs: decoded images, or what the frozen part of the network makes of "
        f"them; none: images are decoded on the way{told} (default: by size)",
    )


def store(options: argparse.Namespace) -> str:
    """The value of `Machine.store`."""
    return "auto" if options.store == _CODES else str(options.store)


def codebooks(options: argparse.Namespace) -> int | None:
    """The value of `Trial.codebooks`; `InputError` for a number of codebooks without codes."""
    if options.store == _CODES:
        return _CODEBOOKS if options.codebooks is None else int(options.codebooks)
    if options.codebooks is not None:
        raise InputError(f"--codebooks {options.codebooks}: is an option of --store codes: give that as well")
    return None
