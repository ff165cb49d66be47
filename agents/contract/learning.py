"""Checks of what an agent is told, what it answers and what it asks for; see `agents.contract.checks`."""

import dataclasses
import json
from collections.abc import Mapping
from inspect import isabstract

import torch
from torch import Tensor

from lethe.agents.base import Agent, TaskInfo
from lethe.agents.config import Config
from lethe.agents.contract import toy
from lethe.agents.contract.probes import ContractFailure, overrides, told
from lethe.agents.outputs import check_name

K = toy.PROBLEM.num_classes
FIRST = TaskInfo(0, (0, 1))


def _begun(agent_class: type[Agent]) -> Agent:
    """An agent told that the first task begins."""
    agent = toy.build(agent_class)
    toy.begin_task(agent, FIRST)
    return agent


def config(agent_class: type[Agent]) -> None:
    """Its Config is a frozen dataclass of explained plain values."""
    chosen = agent_class.Config
    made_by = vars(chosen).get("__dataclass_params__") if issubclass(chosen, Config) else None
    if made_by is None or not made_by.frozen:
        raise ContractFailure(
            "Config to be a frozen dataclass derived from lethe.agents.config.Config",
            f"{chosen.__name__}, which is none",
            "put @dataclass(frozen=True) above it; agents/er.py shows one",
        )
    unexplained = [field.name for field in dataclasses.fields(chosen) if "help" not in field.metadata]
    if unexplained:
        raise ContractFailure(
            "a sentence and a range for every field of Config",
            f"none for {', '.join(unexplained)}",
            'write it as name: type = setting(default, "What it does.", low=...)',
        )
    values = dataclasses.asdict(chosen())
    try:
        read_back = json.loads(json.dumps(values))
    except TypeError:
        read_back = {}
    changed = [name for name, value in values.items() if name not in read_back or read_back[name] != value]
    if changed:
        raise ContractFailure(
            "defaults of Config that JSON gives back as they were",
            f"others for {', '.join(changed)}",
            "use int, float, bool, str or None",
        )


def runs(agent_class: type[Agent]) -> None:
    """It is built, learns two tasks and predicts, without an exception."""
    if isabstract(agent_class):
        missing = sorted(agent_class.__abstractmethods__)
        advice = f"define {' and '.join(missing)} as agents/base.py has it"
        raise ContractFailure("a class that defines all of Agent", f"no {' and no '.join(missing)}", advice)
    try:
        agent = toy.build(agent_class)
        toy.learn(agent)
        toy.scores(agent, toy.batch([0, 1, 2, 3])[0])
    except Exception as error:  # whatever an agent's code can raise
        wanted = "two tasks to be learned without an exception"
        raise ContractFailure(wanted, told(error), _advice(error)) from error


def _advice(error: Exception) -> str:
    """Advice on an exception of an agent; empty where only its own text helps."""
    if isinstance(error, RuntimeError | ValueError):  # PyTorch's of shapes, and an InputError of settings
        return (
            f"if defaults of Config do not fit {K} classes and images of 8x8 pixels, change them in a subclass, "
            "and check that"
        )
    return ""


def logs(agent_class: type[Agent]) -> None:
    """The values that observe returns can be logged."""
    logged = toy.observe(_begun(agent_class), [0, 1] * 5)
    if not isinstance(logged, Mapping):
        raise ContractFailure(
            "observe to return what to log, scalars by name, or {}",
            repr(logged),
            'return {"loss": loss.detach()}; a loss that is no number is noticed there',
        )
    for name, value in logged.items():
        _check_logged(name, value)


def _check_logged(name: str, value: object) -> None:
    if not isinstance(value, Tensor | int | float):
        raise ContractFailure(f"a number to log as '{name}'", repr(value), "log numbers and scalar tensors")
    tensor = torch.as_tensor(value)
    if tensor.ndim:
        got = f"a tensor of shape {list(tensor.shape)}"
        raise ContractFailure(f"a scalar to log as '{name}'", got, "log its mean or its sum")
    if tensor.requires_grad:
        raise ContractFailure(
            f"'{name}' to be logged without its graph",
            "a tensor that requires gradients, and holds the memory of its step",
            "log it with .detach()",
        )
    if not torch.isfinite(tensor):
        raise ContractFailure(
            f"a finite number to log as '{name}'",
            f"{tensor.item()}",
            "look for a division by zero or a log of 0",
        )


def scores(agent_class: type[Agent]) -> None:
    """Finite scores [B, K] are what predict gives."""
    agent = _begun(agent_class)
    toy.observe(agent, [0, 1] * 5)
    found = toy.scores(agent, toy.batch([0, 1] * 5)[0])
    _check_shape(found, 10)
    if not torch.isfinite(found[:, :2]).all():
        raise ContractFailure(
            "finite scores of the labels that came by",
            f"{found[:, :2].tolist()[0]} for the first image",
            "mask only labels that did not come by, and look for a division by zero or a log of 0",
        )


def further_scores(agent_class: type[Agent]) -> None:
    """Finite scores [B, K] by name are what predict_also gives, the same names at all times."""
    agent = _begun(agent_class)
    toy.observe(agent, [0, 1] * 5)
    x = toy.batch([0, 1] * 5)[0]
    once: object = toy.further_scores(agent, toy.inputs(agent, x))
    if not isinstance(once, Mapping):
        advice = "return scores [B, K] by name, or leave the method out"
        raise ContractFailure("predict_also to give scores by name, or {}", type(once).__name__, advice)
    for name, found in once.items():
        try:
            check_name(name)
        except ValueError as error:
            raise ContractFailure("a plain name of each further output", str(error)) from error
        _check_shape(found, 10, "predict_also")
        if not torch.isfinite(found[:, :2]).all():
            got = f"{found[:, :2].tolist()[0]} of '{name}' for the first image"
            raise ContractFailure("finite further scores of the labels that came by", got)
    toy.learn(agent, tasks=(1,))
    again = toy.further_scores(agent, toy.inputs(agent, x))
    if again.keys() != once.keys():
        raise ContractFailure(
            "predict_also to name the same outputs after every task",
            f"{', '.join(again) or 'none'} after another, {', '.join(once) or 'none'} before",
            "their accuracies form one table each: give every output from the first task on",
        )


def _check_shape(found: object, count: int, method: str = "predict") -> None:
    if not isinstance(found, Tensor) or found.shape != (count, K) or not found.is_floating_point():
        got = f"{found.dtype} {list(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        raise ContractFailure(
            f"{method} to give floating-point scores [{count}, {K}] for {count} images of {K} classes",
            got,
            "return one row an image and one column a class of problem.num_classes, not labels",
        )


def short_batches(agent_class: type[Agent]) -> None:
    """Batches of any size are learned and judged, one image alone included."""
    for sizes in ((1, 10), (10, 3, 1)):  # a stream may begin with one image, and a task may end with few
        agent = _begun(agent_class)
        for size in sizes:
            labels = [0, 1] * 5
            try:
                toy.observe(agent, labels[:size])
                found = toy.scores(agent, toy.batch(labels[:size])[0])
            except Exception as error:
                raise ContractFailure(
                    f"a batch of {size} to be learned and judged",
                    told(error),
                    "take the size from x, not from config.batch_size, and squeeze no dimension of unknown size; "
                    "batch-norm in training needs more than one image",
                ) from error
            _check_shape(found, size)


def judged_alone(agent_class: type[Agent]) -> None:
    """The scores of an image do not depend on the others of its batch."""
    agent = toy.build(agent_class)
    toy.learn(agent)
    x, _ = toy.batch([0, 1, 2, 3, 0])
    together = toy.scores(agent, x.clone())  # that predict leaves its input alone is another check's matter
    alone = torch.cat([toy.scores(agent, image[None]) for image in x])
    if not torch.allclose(together, alone, rtol=1e-4, atol=1e-5, equal_nan=True):
        raise ContractFailure(
            "the same scores for an image alone and among others",
            f"scores that differ by up to {(together - alone).nan_to_num().abs().max():.3g}",
            "judge each row by itself: no mean, maximum or batch-norm statistics over the batch",
        )


def learns(agent_class: type[Agent]) -> None:
    """It learns to tell two classes apart."""
    agent = _begun(agent_class)
    batches = [toy.batch([0, 1] * 5, seed=step) for step in range(60)]
    given = [(toy.inputs(agent, x), y) for x, y in batches]
    for x, y in given:
        agent.observe(x, y)
    task = toy.Batches(*(torch.cat(column) for column in zip(*given, strict=True)))
    toy.end_task(agent, FIRST, task)
    x, y = toy.batch([0, 1] * 20, seed=999)
    right = (toy.scores(agent, x)[:, :2].argmax(1) == y).float().mean().item()
    if right <= 0.9:
        raise ContractFailure(
            "more than 90 % of new images right after a task of 60 batches of ten, two classes in turn",
            f"{100 * right:.0f} %",
            "see that observe, or end_task, takes its steps on network.plastic and that higher scores mean likelier; "
            "if only its hyperparameters do not fit images this small, check a subclass with other defaults",
        )


def needs_declared(agent_class: type[Agent]) -> None:
    """It uses no help that its needs do not declare."""
    needs = agent_class.needs
    overridden = [name for name in ("begin_task", "end_task") if overrides(agent_class, name)]
    if overridden and not needs.task_boundaries:
        raise ContractFailure(
            "an agent that acts at task boundaries to declare it",
            f"{' and '.join(overridden)} without it",
            "add needs = Needs(task_boundaries=True): tables show it beside its numbers",
        )
    if needs.task_data and not needs.task_boundaries:
        raise ContractFailure(
            "an agent that needs the data of a task again to declare task boundaries, at which they come",
            "task_data without task_boundaries",
            "write Needs(task_boundaries=True, task_data=True)",
        )
    if agent_class.cut is not None and not needs.frozen_trunk:
        raise ContractFailure(
            "an agent that names a cut to declare its frozen trunk",
            f"cut = '{agent_class.cut}' without it",
            "add frozen_trunk=True to its Needs, or let cut be None",
        )


def needs_used(agent_class: type[Agent]) -> None:
    """It uses all the help that its needs declare."""
    needs = agent_class.needs
    if needs.task_boundaries and not any(overrides(agent_class, n) for n in ("begin_task", "end_task")):
        raise _unused("task_boundaries", "neither begin_task nor end_task is overridden")
    if needs.frozen_trunk and agent_class.cut is None:
        raise _unused("frozen_trunk", "cut is None")
    told = needs.task_boundaries  # else the data never come, as `needs_declared` says
    if needs.task_data and told and not any(data.read for data in toy.learn(toy.build(agent_class))):
        raise _unused("task_data", "end_task never calls data.batches")


def data_alone(agent_class: type[Agent]) -> None:
    """Of a task's data it takes the batches and their number, and nothing else."""
    looked_for = {name for data in toy.learn(toy.build(agent_class)) for name in data.looked_for}
    if looked_for:
        raise ContractFailure(
            "end_task to take data.batches(...) and len(data), which is all that a run hands over",
            f"a look for {', '.join(sorted(looked_for))}",
            "keep what the agent needs later in attributes of its own; they count as memory",
        )


def _unused(need: str, got: str) -> ContractFailure:
    return ContractFailure(
        f"the declared need {need} to be used", got, f"use it, or take {need} out of Needs"
    )
