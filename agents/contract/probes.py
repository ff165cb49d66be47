"""How a check looks at an agent from outside, and how it says what it found."""

import random
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lethe.agents.base import Agent
from lethe.common.tree import leaves, tree_map


class ContractFailure(AssertionError):
    """A broken promise: what was expected, what came, and what to do where that is not plain."""

    def __init__(self, expected: str, got: str, advice: str = ""):
        super().__init__(f"expected {expected}; got {got}{advice and ': '}{advice}")


def bits(value: object) -> object:
    """Nested tensors as values that compare to the bit: content, dtype and shape of each."""

    def content(leaf: object) -> object:
        if not isinstance(leaf, Tensor):
            return leaf
        flat = leaf.detach().cpu().contiguous().flatten()
        return flat.view(torch.uint8).numpy().tobytes(), str(leaf.dtype), tuple(leaf.shape)

    return tree_map(content, value)


def bits_by_name(values: Mapping[str, object]) -> dict[str, object]:
    """`bits` of each value, for `differing`."""
    return {name: bits(value) for name, value in values.items()}


def differing(one: dict[str, object], other: dict[str, object]) -> list[str]:
    """The keys under which two results of `bits_by_name` differ."""
    return [key for key in one | other if key not in one or key not in other or one[key] != other[key]]


def saved(agent: Agent) -> dict[str, object]:
    """The agent's state; nothing of one that cannot be saved, of which its network and its answers have to tell."""
    return dict(agent.state_dict()) if agent.resumable else {}


def odd_types(value: object) -> Iterator[str]:
    """The types in a nested state that a checkpoint cannot hold."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from odd_types(item) if type(key) in (str, int) else (f"{type(key).__name__} as a key",)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from odd_types(item)
    elif not isinstance(value, Tensor | bool | int | float | str | None):
        yield type(value).__name__


def overrides(agent_class: type[Agent], method: str) -> bool:
    """Whether the class, or one between it and Agent, has a `method` of its own."""
    return getattr(agent_class, method) is not getattr(Agent, method)


def kept(agent: Agent) -> list[Tensor]:
    """The tensors among the agent's attributes, one per storage; not the network's, an optimiser's or the cache's."""
    given = {tensor.data_ptr() for tensor in agent.network.state_dict().values()}
    skipped = (torch.optim.Optimizer, torch.Generator)
    values = [
        v
        for name, v in vars(agent).items()
        if name not in ("network", "cache") and not isinstance(v, skipped)
    ]
    found = {tensor.data_ptr(): tensor for tensor in _tensors(values)}
    return [tensor for pointer, tensor in found.items() if pointer not in given]


def kept_bytes(agent: Agent) -> int:
    """The size of what `kept` finds."""
    return sum(tensor.nbytes for tensor in kept(agent))


def _tensors(value: object) -> Iterator[Tensor]:
    for leaf in leaves(value):
        if isinstance(leaf, Tensor):
            yield leaf
        elif hasattr(leaf, "state_dict"):
            yield from _tensors(leaf.state_dict())


@contextmanager
def training_calls(module: nn.Module) -> Iterator[list[str]]:
    """Notes the parts of `module` that are called while they are in training mode."""
    calls: list[str] = []

    def note(part: nn.Module, _: object) -> None:
        if part.training:
            calls.append(type(part).__name__)

    handles = [part.register_forward_pre_hook(note) for part in module.modules()]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def global_seeds(seed: int) -> Iterator[None]:
    """The global generators seeded with `seed`, and afterwards as they were."""
    before = torch.get_rng_state(), np.random.get_state(), random.getstate()
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(before[0])
        np.random.set_state(before[1])
        random.setstate(before[2])


def global_states() -> dict[str, object]:
    """The states of the global generators, by the name of their module."""
    name, keys, *rest = np.random.get_state()
    return {
        "torch": torch.get_rng_state().tolist(),
        "numpy.random": (name, np.asarray(keys).tolist(), *rest),
        "random": random.getstate(),
    }


def told(error: BaseException) -> str:
    """An exception in one line: its type, what it says, and the last line it passed outside installed packages."""
    frames = traceback.extract_tb(error.__traceback__)
    place = [frame for frame in frames if "site-packages" not in frame.filename][-1]
    return f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno}, in {place.name})"
