"""Time of the agents' steps, each beside the bare work that cannot be left out, in one run on one machine.

Inputs are random; no data set and no pretrained weights are needed. On the small network the bare work is the passes
that the agent's algorithm consists of: as many, on as many images, with a backward pass where it needs the gradient,
and one step of SGD. So the forward pass through an old network, or the backward pass on a memory, is no bookkeeping;
all the rest of a step is: masks and penalties, projections, sums for the log, drawing from memories and filling them.
The passes are counted in the agent, and shown beside its figures.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lethe.agents import registry
from lethe.agents.augmem import AugMem, AugMemConfig
from lethe.agents.augmem_published import AugMemPublished
from lethe.agents.base import Agent, Network, Problem, TaskInfo, UndeclaredTaskData
from lethe.agents.networks import build as networks
from lethe.agents.parts import product_quantiser
from lethe.agents.remind import REMIND
from lethe.benchmarks.speed.figures import Figure, seconds
from lethe.common.progress import live_line

UNIT = "milliseconds"
REMIND_TARGET = 1.1
AUGMEM_TARGET = 1.15
STORE_TARGET = 0.05
BOOKKEEPING_TARGET = 1 / 0.9
"""Bookkeeping is under a tenth of a step."""
SINGLE_GRADIENTS = frozenset({"gss"})
"""Agents that take gradients of single images, which no bare pass over a mini-batch has: their steps have no target."""
CLASSES = 10
_VECTORS = product_quantiser.CENTROIDS
_CPU = torch.device("cpu")


A = TypeVar("A", bound=Agent[Any])


@dataclass(frozen=True)
class Sizes:
    """Amounts to measure; the shapes are those of the published protocols."""

    remind_map: tuple[int, int, int] = (512, 7, 7)
    """(C, H, W) of the input of ResNet-18's last block for 224 x 224 pixels."""
    remind_maps: int = 200
    """Of base initialisation; all are stored."""
    replay: int = 50
    """Maps replayed with each new one: a batch of 51."""
    augmem_map: tuple[int, int, int] = (512, 13, 13)
    """(C, H, W) of the input of SqueezeNet's `features.12`."""
    augmem_batch: int = 21
    task_batches: int = 58
    """Mini-batches of a task: CORe50's has 1,200 images."""
    image_side: int = 64
    """Of the small network's images."""
    batch: int = 10
    memory_batches: int = 30
    """Mini-batches of the small network's first task, with which memories are filled."""
    heavy_repeats: int = 7
    """Of each measurement on a large network; the median counts."""
    light_repeats: int = 60
    """The same on the small network."""


def measure(sizes: Sizes = Sizes()) -> list[Figure]:
    """Measure `remind` and both `augmem` at their published sizes, and all other agents on the small network."""
    others = sorted(set(registry.AGENTS) - {"remind", "augmem", "augmem_published"})
    with live_line(2 + len(others), "measuring", "part") as bar:
        figures = [_remind(sizes)]
        bar.update()
        figures += _augmem(sizes)
        bar.update()
        for name in others:
            figures.append(_bookkeeping(name, sizes))
            bar.update()
    return figures


@dataclass(frozen=True)
class _Repeated:
    """The same images again and again: task data of a long task that need little memory."""

    x: Tensor
    y: Tensor
    times: int

    def __len__(self) -> int:
        return self.times * len(self.y)

    def batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs [B, C, H, W] and labels [B]; the last of each round may be short."""
        for _ in range(self.times):
            yield from zip(self.x.split(batch_size), self.y.split(batch_size), strict=True)


def _agent(agent_class: type[A], network: Network, shape: tuple[int, int, int], **settings: object) -> A:
    """An agent for inputs [B, *shape], with its published settings but for `settings`."""
    config = agent_class.Config.from_settings(settings)
    return agent_class(Problem(CLASSES, shape), config, copy.deepcopy(network), seed=0, device=_CPU)


def _network(name: str, cut: str | None) -> Network:
    return networks.build(name, CLASSES, cut=cut, pretrained=False, seed=0, device=_CPU)[0]


def maps_of_relu(count: int, shape: tuple[int, int, int]) -> Tensor:
    """Random maps [count, C, H, W] as a ReLU leaves them, channels_last."""
    drawn = torch.randn(count, *shape, generator=torch.Generator().manual_seed(0)).relu()
    return drawn.contiguous(memory_format=torch.channels_last)


def _labels(count: int, first: int, end: int) -> Tensor:
    """Labels `first` .. `end` - 1 in turn."""
    return first + torch.arange(count) % (end - first)


def bare_step(plastic: nn.Module, batches: Sequence[tuple[Tensor, Tensor, bool]]) -> Callable[[int], None]:
    """Forward and, where the flag says so, backward on each of the batches, one step, and nothing else."""
    plastic = copy.deepcopy(plastic)
    optimizer = torch.optim.SGD(plastic.parameters(), lr=1e-4, momentum=0.9, weight_decay=1e-4, fused=True)

    def step(turn: int) -> None:
        optimizer.zero_grad()
        for x, y, learns in batches:
            with torch.set_grad_enabled(learns):
                scores = plastic(x)
            if learns:
                F.cross_entropy(scores, y).backward()
        optimizer.step()

    return step


def _remind(sizes: Sizes) -> Figure:
    """One new map with its replay against the plastic part on as many maps that are there already."""
    network = _network("resnet18", REMIND.cut)
    maps, y = maps_of_relu(sizes.remind_maps, sizes.remind_map), _labels(sizes.remind_maps, 0, CLASSES)
    agent = _agent(REMIND, network, sizes.remind_map, replay_images=sizes.replay)
    agent.seen[:] = True
    agent.end_task(TaskInfo(0, tuple(range(CLASSES))), _Repeated(maps, y, 1))
    batch = 1 + sizes.replay
    ours, bare = seconds(
        sizes.heavy_repeats,
        lambda turn: agent.observe(maps[:1], y[:1]),
        bare_step(
            network.plastic,
            [(maps[:batch].contiguous(memory_format=torch.channels_last), y[:batch], True)],
        ),
    )
    what = f"remind, an image with {sizes.replay} replayed"
    return Figure(what, 1e3 * ours, 1e3 * bare, f"forward, backward, step on {batch} maps", REMIND_TARGET)


def _augmem(sizes: Sizes) -> list[Figure]:
    """A step without and with replay against its parts, and filling the store against the steps of a task."""
    network = _network("squeezenet", AugMem.cut)
    x, y = maps_of_relu(sizes.augmem_batch, sizes.augmem_map), _labels(sizes.augmem_batch, 0, CLASSES)
    # The first task never replays; in the second, one class is missing in every batch, and replayed.
    first, later, published = (
        _agent(agent_class, network, sizes.augmem_map) for agent_class in (AugMem, AugMem, AugMemPublished)
    )
    tasks = [TaskInfo(index, tuple(range(CLASSES))) for index in range(2)]
    for agent in (first, later, published):
        agent.begin_task(tasks[0])
    later.end_task(tasks[0], _Repeated(x, y, sizes.task_batches))
    y_later = _labels(sizes.augmem_batch, 1, CLASSES)
    step, with_replay, step_published, read, plastic, replayed = seconds(
        sizes.heavy_repeats,
        lambda turn: first.observe(x, y),
        lambda turn: later.observe(x, y_later),
        lambda turn: published.observe(x, y),
        _attention(
            x, published.memory.slots.detach()
        ),  # distances, as `augmem` reads, are no more to wait for
        _both(network.plastic, x, y),
        bare_step(network.plastic, [(x, y, True)]),
    )
    (filling,) = seconds(
        sizes.heavy_repeats,
        lambda turn: first.end_task(tasks[1], _Repeated(x, y, sizes.task_batches)),
    )
    parts = "attention, plastic part on direct and read maps"
    return [
        Figure("augmem, a step", 1e3 * step, 1e3 * (read + plastic), parts, AUGMEM_TARGET),
        Figure(
            "augmem_published, a step", 1e3 * step_published, 1e3 * (read + plastic), parts, AUGMEM_TARGET
        ),
        Figure(
            "augmem, a step with replay",
            1e3 * with_replay,
            1e3 * (read + plastic + replayed),
            f"{parts}, and on replayed ones",
        ),
        Figure(
            "augmem, filling the store",
            1e3 * filling,
            1e3 * sizes.task_batches * step,
            f"the {sizes.task_batches} steps of a task, without replay",
            STORE_TARGET,
        ),
    ]


def _attention(x: Tensor, slots: Tensor) -> Callable[[int], Tensor | None]:
    """One fused attention read of maps `x` [B, C, H, W] from `slots` [N, F], forward and backward: their gradient."""
    groups = x.permute(0, 2, 3, 1).reshape(len(x), 1, -1, slots.shape[1])
    gradient = torch.ones_like(groups)
    sharpness = AugMemConfig().sharpness

    def read(turn: int) -> Tensor | None:
        leaf = slots.clone().requires_grad_()
        keys = leaf.expand(len(x), 1, -1, -1)
        F.scaled_dot_product_attention(groups, keys, keys, scale=sharpness).backward(gradient)
        return leaf.grad

    return read


def _both(plastic: nn.Module, x: Tensor, y: Tensor) -> Callable[[int], None]:
    """The plastic part forward and backward on two batches as large as `x`, one with a gradient to its maps."""
    read = x.clone().requires_grad_()

    def step(turn: int) -> None:
        plastic.zero_grad()
        read.grad = None
        (F.cross_entropy(plastic(x), y) + F.cross_entropy(plastic(read), y)).backward()

    return step


def _bookkeeping(name: str, sizes: Sizes) -> Figure:
    """A step in the second task, its memory filled, against the bare passes that it contains.

    Agents that train no network in a step, such as SLDA and GDumb, stand beside that of the network, without target.
    """
    agent_class = registry.get(name)
    network = _network("small", agent_class.cut)
    generator = torch.Generator().manual_seed(0)
    count, side = sizes.memory_batches * sizes.batch, sizes.image_side
    images = torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)
    with torch.no_grad():
        x = network.frozen(images.contiguous(memory_format=torch.channels_last))
    agent, y = _agent(agent_class, network, tuple(x.shape[1:])), _labels(count, 0, 2)
    agent.begin_task(TaskInfo(0, (0, 1)))
    for inputs, labels in zip(x.split(sizes.batch), y.split(sizes.batch), strict=True):
        agent.observe(inputs, labels)
    # As many as codebooks are fitted to, where the maps of small images are a pixel.
    rounds = -(-_VECTORS // (count * x.shape[2] * x.shape[3]))
    agent.end_task(
        TaskInfo(0, (0, 1)), _Repeated(x, y, rounds) if agent.needs.task_data else UndeclaredTaskData()
    )
    agent.begin_task(TaskInfo(1, (0, 1, 2, 3)))
    inputs, labels = x[: sizes.batch], _labels(sizes.batch, 2, 4)
    made = passes(agent, inputs, labels)
    plain_passes = made or [Pass(sizes.batch, learns=True)]
    ours, plain = seconds(
        sizes.light_repeats,
        lambda turn: agent.observe(inputs, labels),
        bare_step(network.plastic, [(*_images(x, each.images), each.learns) for each in plain_passes]),
    )
    target = BOOKKEEPING_TARGET if made and name not in SINGLE_GRADIENTS else None
    return Figure(f"{name}, small network", 1e3 * ours, 1e3 * plain, _told(plain_passes), target)


def _images(x: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """`count` of the images `x`, again from the first where there are fewer, and labels."""
    rows = torch.arange(count) % len(x)
    return x[rows].contiguous(memory_format=torch.channels_last), _labels(count, 0, 4)


@dataclass(frozen=True)
class Pass:
    """One pass through a network."""

    images: int
    learns: bool
    """Whether a backward pass follows."""


def passes(agent: Agent, x: Tensor, y: Tensor) -> list[Pass]:
    """The passes of one step on a mini-batch, through the plastic part and through copies that the agent holds."""
    found: list[Pass] = []
    own = [
        value for value in vars(agent).values() if isinstance(value, nn.Module) and value is not agent.network
    ]
    hooks = [
        module.register_forward_pre_hook(
            lambda module, given: found.append(Pass(len(given[0]), torch.is_grad_enabled()))
        )
        for module in (agent.network.plastic, *own)
    ]
    agent.observe(x, y)
    for hook in hooks:
        hook.remove()
    return found


def _told(made: Sequence[Pass]) -> str:
    """Description of the passes."""
    learning, looking = (
        " + ".join(str(each.images) for each in made if each.learns is learns) for learns in (True, False)
    )
    return f"forward and backward on {learning}, {f'forward on {looking}, ' if looking else ''}step"
