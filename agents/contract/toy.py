"""A toy problem for contract checks and tests: a tiny network, images of four classes, two tasks.

Nothing here draws from the global generators.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from lethe.agents.base import Agent, Network, Problem, TaskData, TaskInfo, UndeclaredTaskData

PROBLEM = Problem(num_classes=4, input_shape=(3, 8, 8))
CPU = torch.device("cpu")

LEARNING_RATE = 0.02
"""Agents that have one learn from so little with it."""


class Scale(nn.Module):
    """uint8 pixels to -1 .. 1."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] uint8 to float32."""
        return x.float() / 128 - 1


class TinyNet(nn.Sequential):
    """Two convolutions and a linear layer on uint8 images [B, 3, 8, 8]."""

    scale: Scale
    body: nn.Sequential
    head: nn.Linear

    def __init__(self, seed: int = 0, num_classes: int = PROBLEM.num_classes):
        with torch.device("meta"):  # so that the constructors draw nothing from the global generator
            body = nn.Sequential(
                nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU(), nn.Flatten()
            )
            head = nn.Linear(32, num_classes)
        super().__init__(OrderedDict(scale=Scale(), body=body, head=head))
        self.to_empty(device=CPU)
        generator = torch.Generator().manual_seed(seed)
        for p in self.parameters():
            nn.init.uniform_(p, -0.3, 0.3, generator=generator)


def network(seed: int = 0, cut: str | None = None) -> Network:
    """The tiny network: whole (None), cut before the head (32 x 1 x 1), or, for any other stage, after the first
    convolution (8 x 4 x 4).
    """
    whole = TinyNet(seed)
    if cut is None:
        return Network(nn.Identity(), whole)
    scale, body, head = whole.scale, whole.body, whole.head
    if cut == "head":
        return Network(
            nn.Sequential(scale, body, nn.Unflatten(1, (32, 1, 1))), nn.Sequential(nn.Flatten(), head)
        )
    return Network(nn.Sequential(scale, body[:2]), nn.Sequential(body[2:], head))


def build(agent_class: type[Agent], seed: int = 0, **settings: object) -> Agent:
    """An agent on the tiny network, cut where it wants it, with settings at which it learns."""
    known = agent_class.Config.__dataclass_fields__
    card = getattr(agent_class, "card", None)
    defaults = {"lr": LEARNING_RATE, **(card.toy_settings if card else {})}
    settings = {key: value for key, value in defaults.items() if key in known} | settings
    net = network(seed, agent_class.cut)
    blank = torch.zeros(1, *PROBLEM.input_shape, dtype=torch.uint8)
    problem = Problem(PROBLEM.num_classes, tuple(net.frozen(blank).shape[1:]))
    return agent_class(problem, agent_class.Config.from_settings(settings), net, seed=seed, device=CPU)


def batch(labels: Sequence[int], seed: int = 0) -> tuple[Tensor, Tensor]:
    """uint8 images [B, 3, 8, 8] in which the class is the bright quarter, and the labels [B]."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.tensor(labels)
    x = torch.randint(0, 80, (len(y), *PROBLEM.input_shape), generator=generator)
    for image, label in zip(x, y.tolist(), strict=True):
        top, left = divmod(label, 2)
        image[:, 4 * top : 4 * top + 4, 4 * left : 4 * left + 4] += 120
    return x.to(torch.uint8), y


class Batches:
    """Task data over inputs [N, ...] and labels [N]; `read` and `looked_for` tell what was done with it."""

    def __init__(self, x: Tensor, y: Tensor):
        self.x, self.y = x, y
        self.read = False
        self.looked_for: list[str] = []
        """Attributes that were asked of `closed()` beside those of `TaskData`."""

    def __len__(self) -> int:
        return len(self.y)

    def batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and labels in their order; the last batch may be short."""
        self.read = True
        yield from zip(torch.split(self.x, batch_size), torch.split(self.y, batch_size), strict=True)

    def closed(self) -> TaskData:
        """The data as a run hands them over: batches, their number, and no way to anything else."""
        whole = self

        class Data:
            __slots__ = ()

            def __len__(self) -> int:
                return len(whole)

            def batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
                return whole.batches(batch_size)

            def __getattribute__(self, name: str) -> object:
                if name not in ("batches", "__len__", "__class__"):
                    whole.looked_for.append(name)
                return object.__getattribute__(self, name)

        return Data()


def inputs(agent: Agent, x: Tensor) -> Tensor:
    """Inputs of `agent` for the images: they themselves, or its trunk's features."""
    with torch.no_grad():
        features: Tensor = agent.network.frozen(x)
        return features


def observe(agent: Agent, labels: Sequence[int], seed: int = 0) -> Mapping[str, Tensor | float]:
    """Let `agent` learn one batch of these labels; returns what it logs."""
    x, y = batch(labels, seed)
    return agent.observe(inputs(agent, x), y)


def predict(agent: Agent, x: Tensor) -> Tensor:
    """Scores of `agent` for its inputs [B, C, H, W], prepared and called as the loop and the evaluator do."""
    agent.fill_cache()
    agent.network.eval()
    with torch.no_grad():
        scores = agent.predict(x)
    agent.network.train()
    return scores


def further_scores(agent: Agent, x: Tensor) -> Mapping[str, Tensor]:
    """Further scores of `agent` by name for its inputs [B, C, H, W]."""
    agent.fill_cache()
    agent.network.eval()
    with torch.no_grad():
        found = agent.predict_also(x)
    agent.network.train()
    return found


def scores(agent: Agent, images: Tensor) -> Tensor:
    """Scores of `agent` for images [B, 3, 8, 8]."""
    return predict(agent, inputs(agent, images))


def begin_task(agent: Agent, info: TaskInfo) -> None:
    """Tell `agent` that a task begins, if it declares to need that, as a run does."""
    if agent.needs.task_boundaries:
        agent.begin_task(info)


def end_task(agent: Agent, info: TaskInfo, data: Batches) -> None:
    """Tell `agent` that a task has ended, and offer its data, if it declares to need that, as a run does."""
    if agent.needs.task_boundaries:
        agent.end_task(info, data.closed() if agent.needs.task_data else UndeclaredTaskData())


def learn(agent: Agent, tasks: Sequence[int] = (0, 1), steps: range = range(4)) -> list[Batches]:
    """Teach `agent` tasks of two new classes each, with the calls that the loop makes.

    A task has a batch of ten for each of `steps`, which also seeds its images. Returns the tasks' data as they were
    offered to those that declare to need them.
    """
    offered = []
    for task in tasks:
        labels = [2 * task, 2 * task + 1] * 5
        info = TaskInfo(task, tuple(range(2 * task + 2)))
        begin_task(agent, info)
        for step in steps:
            observe(agent, labels, seed=10 * task + step)
        x, y = batch(labels * 2, seed=task)
        offered.append(Batches(inputs(agent, x), y))
        end_task(agent, info, offered[-1])
    return offered
