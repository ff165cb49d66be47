"""A step of REMIND at the size of its ImageNet protocol, and the memory that it takes: 1.5 GB of codes.

The memory is full, as in the last quarter of the published stream, so that each new code takes another's place. Maps,
codes and codebooks are random; neither data nor weights are needed.
"""

import resource
import sys
from dataclasses import dataclass

import torch

from lethe.agents.base import Problem
from lethe.agents.networks import build as networks
from lethe.agents.networks.codes import CENTROIDS
from lethe.agents.remind import REMIND, REMINDConfig
from lethe.benchmarks.speed.agents import bare_step, maps_of_relu
from lethe.benchmarks.speed.figures import Figure, seconds
from lethe.common.progress import live_line

UNIT = "milliseconds or MB"
TARGET = 1.1
_CPU = torch.device("cpu")
_PART = 4096  # codes made at once


@dataclass(frozen=True)
class Sizes:
    """Amounts to measure, as published."""

    shape: tuple[int, int, int] = (512, 7, 7)
    """(C, H, W) of the input of ResNet-18's last block for 224 x 224 pixels."""
    classes: int = 1000
    codes: int = 959_665
    """In memory, which is full."""
    replay: int = 50
    """Maps replayed with each new one; twice as many are drawn and mixed."""
    repeats: int = 15
    """Steps; the median counts."""


def measure(sizes: Sizes = Sizes()) -> list[Figure]:
    """A step beside the bare passes on as many maps; MB of the full memory, and the most that the process took."""
    agent = _filled(sizes)
    batch = 1 + sizes.replay
    x, y = maps_of_relu(batch, sizes.shape), torch.arange(batch) % sizes.classes
    agent.observe(x[:1], y[:1])  # the first addition to a full memory notes which rows each class has
    ours, plain = seconds(
        sizes.repeats,
        lambda turn: agent.observe(x[turn % batch :][:1], y[turn % batch :][:1]),
        bare_step(agent.network.plastic, [(x, y, True)]),
    )
    what = f"a step of an image with {sizes.replay} replayed, {sizes.codes:,} codes in memory"
    passes = f"forward, backward, step on {batch} maps"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return [
        Figure(what, 1e3 * ours, 1e3 * plain, passes, TARGET),
        Figure("memory of the agent, MB", agent.memory_bytes() / 1e6),
        Figure("most memory of the process, MB", peak / 1e6),
    ]


def _filled(sizes: Sizes) -> REMIND:
    """The agent in streaming, with random codebooks and as many random codes as its memory takes."""
    network, _ = networks.build(
        "resnet18", sizes.classes, cut=REMIND.cut, pretrained=False, seed=0, device=_CPU
    )
    config = REMINDConfig.from_settings({
        "replay_images": sizes.replay, "memory_size": sizes.codes, "all_labels": True,
    })  # fmt: skip
    problem = Problem(sizes.classes, sizes.shape)
    agent = REMIND(problem, config, network, seed=0, device=_CPU)
    channels, height, width = sizes.shape
    random = torch.Generator().manual_seed(0)
    agent.centroids = torch.rand(config.codebooks, CENTROIDS, channels // config.codebooks, generator=random)
    with live_line(sizes.codes, "filling the memory", "code") as bar:
        for first in range(0, sizes.codes, _PART):
            count = min(_PART, sizes.codes - first)
            shape = (count, height, width, config.codebooks)
            codes = torch.randint(CENTROIDS, shape, dtype=torch.uint8, generator=random)
            agent.memory.add(codes, (first + torch.arange(count)) % sizes.classes)
            bar.update(count)
    return agent
