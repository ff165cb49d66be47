"""The number of tasks, the order of the classes and the seed of the random orders, where a user chooses them."""

import argparse
import hashlib
from collections.abc import Sequence
from dataclasses import replace

from lethe.common.errors import InputError
from lethe.common.input_problems import Problems
from lethe.dataloaders.index import class_order as class_orders
from lethe.dataloaders.index.spec import Dataset, Order, check_paradigm

LARGEST = 2**32 - 1
"""The largest seed of NumPy's legacy generators."""

_OF_CLASSES = ("class_iid", "class_instance", "class_ordered")  # paradigms whose tasks are classes


def ordered(
    dataset: Dataset,
    paradigm: str,
    tasks: int | None = None,
    class_order: Sequence[str] | None = None,
    order_seed: int = 0,
) -> Dataset:
    """`dataset` with this number of tasks, order of its classes and seed (see `spec.Order`).

    With a number of tasks, paradigms that `dataset` lacks for want of a task size are there too. Raises
    `InputErrorByKey` with the problem of each value that does not fit the dataset and the paradigm.
    """
    problems = Problems()
    if tasks is not None:
        dataset = replace(dataset, paradigms=_with_tasks(dataset))
    with problems.about("paradigm"):
        check_paradigm(dataset, paradigm)
    with problems.about("tasks"):
        _check_tasks(dataset, paradigm, tasks)
    with problems.about("class_order"):
        if class_order is not None:
            _check_classes(dataset, paradigm, class_order)
    with problems.about("order_seed"):
        if type(order_seed) is not int or not 0 <= order_seed <= LARGEST:
            raise InputError(f"order_seed: expected 0 to {LARGEST}, got {order_seed!r}")
    if problems:
        raise problems.error()
    classes = None if class_order is None else tuple(class_order)
    return replace(dataset, order=Order(tasks, classes, order_seed))


def of_options(dataset: Dataset, paradigm: str, options: argparse.Namespace) -> Dataset:
    """`ordered` by the options that `dataloaders/order_options.py` adds."""
    classes = class_orders.read(options.class_order) if options.class_order else None
    return ordered(dataset, paradigm, options.tasks, classes, options.order_seed)


def suffix(order: Order) -> str:
    """What the name of a folder of lists has behind the paradigm: `,tasks=5,order_seed=3`; empty by default."""
    parts = [f"tasks={order.tasks}"] if order.tasks else []
    parts += [f"order_seed={order.seed}"] if order.seed else []
    if order.classes:
        parts.append(f"class_order={digest(order.classes)[:10]}")
    return "".join(f",{part}" for part in parts)


def digest(classes: Sequence[str]) -> str:
    """SHA-256 of an order of classes, in hexadecimal digits."""
    return hashlib.sha256("\n".join(classes).encode()).hexdigest()


def parameters(order: Order) -> dict[str, object]:
    """The values that are not the default, as JSON values."""
    values = {
        "tasks": order.tasks,
        "class_order": list(order.classes or ()),
        "order_seed": order.seed,
    }
    return {name: value for name, value in values.items() if value}


def offered(dataset: Dataset, options: argparse.Namespace) -> list[str]:
    """The paradigms of `dataset` for which the options that `dataloaders/order_options.py` adds have a meaning."""
    known = _with_tasks(dataset) if options.tasks else dataset.paradigms
    return [name for name in known if name in _OF_CLASSES or not options.class_order]


def _with_tasks(dataset: Dataset) -> tuple[str, ...]:
    """The paradigms of `dataset` where a number of tasks stands for their sizes."""
    known = dataset.paradigms
    possible = [name for name in ("iid", "instance") if name == "iid" or "class_instance" in known]
    return (*known, *(name for name in possible if name not in known))


def _check_tasks(dataset: Dataset, paradigm: str, tasks: int | None) -> None:
    if tasks is None:
        return
    if type(tasks) is not int or tasks < 1:
        raise InputError(f"tasks: expected a number from 1, got {tasks!r}")
    if paradigm in _OF_CLASSES and tasks > len(dataset.classes):
        raise InputError(
            f"tasks = {tasks}: expected at most {len(dataset.classes)}, the number of classes of {dataset.name}"
        )


def _check_classes(dataset: Dataset, paradigm: str, class_order: Sequence[str]) -> None:
    if paradigm not in _OF_CLASSES:
        raise InputError(
            f"class_order: means nothing under {paradigm}, whose tasks are not of classes; leave it out"
        )
    if isinstance(class_order, str) or not all(isinstance(name, str) for name in class_order):
        raise InputError(f"class_order: expected the names of classes, got {class_order!r}")
    if faults := class_orders.faults(class_order, dataset.classes):
        raise InputError(f"class_order: expected every class of {dataset.name} once; {faults}")
