"""The options of a command that choose the order of a stream's tasks; see `dataloaders/tasks/order.py`."""

import argparse
from pathlib import Path


def add_order(parser: argparse.ArgumentParser) -> None:
    """Add `--tasks`, `--class-order` and `--order-seed`."""
    parser.add_argument(
        "--tasks", type=int, metavar="N", help="number of tasks (default: as the dataset's task sizes make)"
    )
    parser.add_argument(
        "--class-order",
        type=Path,
        metavar="FILE",
        help="names of all classes, one a line, in the order in which tasks show them (default: random in each run)",
    )
    parser.add_argument(
        "--order-seed",
        type=int,
        default=0,
        metavar="S",
        help="other random orders of tasks and images; 0: those of the run's number alone (default %(default)s)",
    )
