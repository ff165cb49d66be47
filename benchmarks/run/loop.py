"""The one loop: every agent learns every stream here. It is also the information barrier.

An agent is handed mini-batches, and what it declared to need: it is told of task boundaries, and offered the data of a
task once more, only if its `needs` say so. It never sees the stream, a path or a future task. Test images come to
`predict` and `predict_also` alone, which must change nothing: the first evaluation compares the state before and after.
"""

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor

from lethe.agents.base import Agent, TaskData, TaskInfo, UndeclaredTaskData
from lethe.agents.contract.probes import overrides
from lethe.benchmarks.measure.evaluate import Evaluator
from lethe.benchmarks.records.write import Position, Recorder
from lethe.benchmarks.run.seeds import derive
from lethe.benchmarks.run.stopping import Stop, stop_before
from lethe.common.errors import InputError
from lethe.dataloaders.streams import Inputs, Stream, Task


def task_data(task: Task, images: Inputs, device: torch.device, recorder: Recorder) -> TaskData:
    """The batches of `task` for agents that declare `Needs.task_data`, and nothing else; `recorder` counts them.

    No attribute of the object, of its iterators or of their tensors leads to other images or labels; rows are
    gathered batch by batch. (What Python hides nowhere, such as the cells of a closure, stays open to who digs for it.)
    """

    class Data:
        __slots__ = ()

        def __len__(self) -> int:
            return len(task)

        def batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
            taken = _taken(images, task.batches(batch_size), recorder)

            def handed() -> tuple[Tensor, Tensor] | None:
                batch, x = next(taken, (None, None))
                if batch is None or x is None:
                    return None
                recorder.again(len(batch))
                return x, _labels(batch, device)

            # Not a generator, whose frame shows its variables.
            return cast("Iterator[tuple[Tensor, Tensor]]", iter(handed, None))

    return Data()


def learn(
    agent: Agent,
    stream: Stream,
    images: Inputs,
    evaluator: Evaluator,
    recorder: Recorder,
    until_class: int | None = None,
) -> Stop | None:
    """Teach `agent` the stream from where `recorder` stands, evaluating after every task.

    It stops after the task with which `until_class` classes have been met, if others follow, and returns where; None at
    the stream's end.
    """
    check_needs(type(agent))
    start = recorder.start
    for index in range(start.task, len(stream.tasks)):
        if stop := stop_before(index, evaluator.classes_met, until_class):
            return stop
        task = stream.tasks[index]
        images_told = len(task) if agent.needs.task_data or agent.needs.offline else None
        info = TaskInfo(index, evaluator.classes_met[index], images_told)
        if start == Position(index) and agent.needs.task_boundaries:
            with recorder.flops.whole():
                agent.begin_task(info)
        for epoch in range(start.epoch, agent.config.epochs_of(index)):
            order = shuffled(len(task), recorder.seed, index, epoch) if agent.needs.offline else None
            parts = task.batches(agent.config.batch_size_of(index), order, start.batch)
            for number, (batch, x) in enumerate(_taken(images, parts, recorder), start.batch + 1):
                with recorder.flops.step(len(batch)):
                    logged = agent.observe(x, _labels(batch, agent.device))
                recorder.step(Position(index, epoch, number), len(batch), logged, agent)
            start = Position(index, epoch + 1)
        recorder.flush()
        with recorder.flops.whole():
            if agent.needs.task_boundaries:
                agent.end_task(info, _data_for(agent, task, images, recorder))
            agent.fill_cache()
        recorder.pause()
        start = Position(index + 1)
        recorder.task(start, evaluator(agent, index), agent)
    return None


def _data_for(agent: Agent, task: Task, images: Inputs, recorder: Recorder) -> TaskData:
    if not agent.needs.task_data:
        return UndeclaredTaskData()
    return task_data(task, images, agent.device, recorder)


def check_needs(agent_class: type[Agent]) -> None:
    """`InputError` for an agent that acts at task boundaries, of which it would not be told, undeclared."""
    wanted = [name for name in ("begin_task", "end_task") if overrides(agent_class, name)]
    if not agent_class.needs.task_boundaries and (wanted or agent_class.needs.task_data):
        acts = " and ".join(wanted) or "task_data among its needs, which come with end_task,"
        raise InputError(
            f"agent {agent_class.__name__} has {acts}, and does not declare to need task boundaries: write "
            "task_boundaries=True in its Needs, which are shown beside its numbers"
        )


def _taken(images: Inputs, parts: Iterator[Task], recorder: Recorder) -> Iterator[tuple[Task, Tensor]]:
    """As `images.batches(parts)`; making the inputs is none of the agent's work, and not counted as such."""
    batches = images.batches(parts)
    while True:
        with recorder.preparing():
            found = next(batches, None)
        if found is None:
            return
        yield found


def _labels(batch: Task, device: torch.device) -> Tensor:
    """Labels [B]; a copy, since a view leads to the labels of all that is yet to come."""
    return batch.labels.to(device, copy=True)


def shuffled(count: int, seed: int, task: int, epoch: int) -> Tensor:
    """A permutation of `count` images, a function of the run's seed, the task and the epoch alone."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(derive(seed, task, f"epoch{epoch}")))
