"""The options of `lethe data prepare imagenet`; see `dataloaders/datasets/imagenet.py`."""

import argparse
from pathlib import Path

IMAGENET = ("task_classes", "first_task_classes", "image_size", "class_order", "val_labels", "synsets")
"""Options of `prepare imagenet` alone; fields of `datasets.imagenet.Choices`."""


def add_imagenet(parser: argparse.ArgumentParser) -> None:
    """Add them as a group of their own."""
    group = parser.add_argument_group(
        "imagenet only", "train/ and val/ of ImageNet-2012, or of a smaller set"
    )
    group.add_argument(
        "--task-classes",
        type=int,
        metavar="N",
        help="classes of a task (default: 100 of 1,000, else a fifth)",
    )
    group.add_argument(
        "--first-task-classes",
        type=int,
        metavar="N",
        help="classes of the first task (default: as of the others)",
    )
    group.add_argument(
        "--image-size",
        type=int,
        metavar="N",
        help="pixels of a side (default: 224, or what smaller images have)",
    )
    group.add_argument(
        "--class-order",
        type=Path,
        metavar="FILE",
        help="names of all class folders, one a line (default: imagenet_class_order.txt in the root)",
    )
    group.add_argument(
        "--val-labels",
        type=Path,
        metavar="FILE",
        help="for a val/ without class folders: the folder name or number of the class of image k on line k",
    )
    group.add_argument(
        "--synsets",
        type=Path,
        metavar="FILE",
        help="the folder name of class number k on line k, as map_clsloc.txt",
    )
