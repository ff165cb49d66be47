"""Whether predicting changes an agent: what it predicts on are test images, of which it may keep nothing."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from lethe.agents.base import Agent
from lethe.common.errors import InputError
from lethe.common.tree import tree_map


class StateChanged(InputError):
    """An agent's state is another after it predicted."""


@contextmanager
def unchanged(agent: Agent) -> Iterator[None]:
    """`StateChanged` if the state of `agent` is not the same to the bit at the end of the block."""
    before = _digests(agent)
    yield
    after = _digests(agent)
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    if changed:
        raise StateChanged(
            f"predict or predict_also changed the agent's state ({', '.join(changed)}), and sees test images: "
            "change it in observe or end_task alone"
        )


def _digests(agent: Agent) -> dict[str, object]:
    """Digests of each part of the state; of an agent that cannot be saved, of its network alone."""
    state = dict(agent.state_dict()) if agent.resumable else {"plastic": agent.network.plastic.state_dict()}
    return {name: tree_map(_digest, value) for name, value in state.items()}


def _digest(leaf: object) -> object:
    """A value that compares to the bit: SHA-256 of a tensor, the text of a plain value."""
    if not isinstance(leaf, Tensor):
        return repr(leaf)
    flat = leaf.detach().cpu().contiguous().flatten()
    return hashlib.sha256(flat.view(torch.uint8).numpy().data).hexdigest(), str(leaf.dtype), tuple(leaf.shape)
