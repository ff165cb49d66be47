"""Costs of a run beside its accuracy: bytes of all that is kept, FLOPs and seconds per image of the stream.

docs/costs.md defines each number.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lethe.agents.base import Agent, Network
from lethe.benchmarks.measure.evaluate import Evaluator
from lethe.benchmarks.measure.flops import FlopCount
from lethe.common.tree import leaves

TIMED = (
    "seconds",
    "wall_seconds",
    "images_per_second",
    "learn_seconds_per_image",
    "trunk_seconds_per_image",
)
"""Metrics of a run that are measured by the clock, and differ each time."""


PREDICTED = 64
"""Test images that are judged together, as in an evaluation on a CPU."""


@dataclass(frozen=True)
class Trunk:
    """What the frozen part of a network costs for one image; nothing, where there is none."""

    seconds: float = 0.0
    flops: int = 0


NO_TRUNK = Trunk()


def network_bytes(network: Network) -> int:
    """Bytes of the parameters and buffers of both parts of a network."""
    return sum(tensor.nbytes for tensor in _distinct((*network.parameters(), *network.buffers())))


def optimizers(agent: Agent) -> list[torch.optim.Optimizer]:
    """The agent's optimisers; a learner of another library among its attributes holds its own."""
    found: dict[int, torch.optim.Optimizer] = {}
    for value in leaves(vars(agent)):
        for one in (value, None if isinstance(value, nn.Module) else getattr(value, "optimizer", None)):
            if isinstance(one, torch.optim.Optimizer):
                found[id(one)] = one
    return list(found.values())


def state_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Bytes of an optimiser's state, such as momentum; gradients are no state."""
    return sum(leaf.nbytes for leaf in leaves(list(optimizer.state.values())) if isinstance(leaf, Tensor))


def optimizer_bytes(agent: Agent) -> int:
    """Bytes of the state of the agent's optimisers."""
    return sum(map(state_bytes, optimizers(agent)))


def data_bytes(agent: Agent, images: int, one: Tensor) -> int:
    """Bytes of the `images` that an offline learner is handed, of inputs like `one` [C, H, W], with their labels."""
    return images * (one.nbytes + 8) if agent.needs.offline else 0


@torch.no_grad()
def predict_flops(agent: Agent, evaluator: Evaluator) -> float:
    """FLOPs of judging a test image, of `PREDICTED` that are judged together; the agent's cache is filled."""
    batch = evaluator.images[evaluator.test.rows[:PREDICTED]]
    agent.network.eval()
    with FlopCount() as count:
        agent.predict(batch)
    agent.network.train()
    return count.flops / len(batch)


def measured(
    agent: Agent, evaluator: Evaluator, *, images: int, seconds: float, flops: float, trunk: Trunk
) -> dict[str, float]:
    """The costs of a run that has ended, by name, from what it learned and what that took.

    `images` are those of all mini-batches; `seconds` and `flops` are those of learning, without the trunk.
    """
    once = evaluator.stream_images
    one = evaluator.images[evaluator.test.rows[:1]][0]
    kept = {
        "memory_bytes": agent.memory_bytes(),
        "network_bytes": network_bytes(agent.network),
        "optimizer_bytes": optimizer_bytes(agent),
        "data_bytes": data_bytes(agent, once, one),
    }
    return {
        **kept,
        "total_bytes": sum(kept.values()),
        "stream_images": once,
        "passes": images / once,
        "passes_first_task": agent.config.epochs_of(0),
        "learn_seconds_per_image": seconds / once,
        "trunk_seconds_per_image": trunk.seconds,
        "images_per_second": 1 / (seconds / once + trunk.seconds),
        "learn_flops": flops / once + trunk.flops,
        "predict_flops": predict_flops(agent, evaluator) + trunk.flops,
    }


def _distinct(tensors: Iterable[Tensor]) -> Iterable[Tensor]:
    return {id(tensor): tensor for tensor in tensors}.values()
