"""Weights to begin with (`--weights`): of an agent that a run kept, or of a file of another program."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from lethe.agents.networks import build as networks
from lethe.agents.networks import given
from lethe.agents.networks.given import Given
from lethe.benchmarks.records import checkpoint
from lethe.benchmarks.run import kept
from lethe.common.errors import InputError


@dataclass(frozen=True, eq=False)
class Origin:
    """Weights, and what their network learned before."""

    given: Given
    network: str | None
    """Its name; None where the file does not tell."""
    learned: str
    """What it learned, in words; empty where the file does not tell."""


def read(path: Path) -> Origin:
    """The weights of the kept agent in a folder of a run or trial, or of its model.safetensors, or of any state dict.

    `InputError` where there are none, or they are damaged.
    """
    file = kept.run_of(path) / kept.STATE if path.is_dir() else path
    try:
        changed = file.stat().st_mtime_ns, file.stat().st_size
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: expected weights, a file or the folder of a run that kept its agent, but there is none"
        ) from error
    return _read(file, changed)


@functools.lru_cache(maxsize=2)  # a network is tens of megabytes; one command has one
def _read(file: Path, changed: tuple[int, int]) -> Origin:
    if file.name == kept.STATE and (file.parent / kept.DESCRIPTION).exists():
        return _kept(file)
    found = given.read(file)
    return Origin(found, None, "")


def _kept(file: Path) -> Origin:
    told, sha256 = kept.described(file.parent / kept.DESCRIPTION), given.digest(file)
    if sha256 != told.state_sha256:
        raise InputError(
            f"{file}: is not the file that {kept.DESCRIPTION} beside it describes, or is damaged"
        )
    state = checkpoint.load(file)
    agent = state.get("agent")
    plastic: Mapping[str, Tensor] | None = agent.get("plastic") if isinstance(agent, dict) else None
    if not isinstance(plastic, dict) or not isinstance(state.get("frozen"), dict):
        raise InputError(f"{file}: agent {told.agent} keeps no network that another could begin with")
    by_stage = networks.by_stage(told.network, told.cut, state["frozen"], plastic)
    return Origin(Given(file, sha256, by_stage, told.classes), told.network, _learned(told.config, told.run))


def _learned(config: Mapping[str, Any], run: int) -> str:
    """What an agent learned, from the configuration of its trial."""
    only = config.get("only_task")
    before = f", itself from {config['weights'][:10]}" if config.get("weights") else ""
    return (
        f"{config.get('dataset')}/{config.get('paradigm')} by {config['agent']}, "
        f"{'all tasks' if only is None else f'task {only} alone'}, run {run}{before}"
    )


@functools.lru_cache(maxsize=16)  # asked for every trial of a grid
def check(origin: Origin, network: str, classes: tuple[str, ...]) -> int:
    """How many of `classes` the weights have an output for; `InputError` unless they are of `network`."""
    if origin.network is not None and origin.network != network:
        raise InputError(
            f"{origin.given.path}: expected weights of network {network}, got those of {origin.network}: "
            f"give --network {origin.network}, or other weights"
        )
    return networks.check_given(network, origin.given, classes)


def described(origin: Origin, network: str, classes: tuple[str, ...]) -> str:
    """What a `network` that begins with the weights has learned, in words, for a stream of `classes`."""
    outputs = check(origin, network, classes)
    head = (
        ""
        if outputs == len(classes)
        else f"outputs of {outputs} of the {len(classes)} classes, others are drawn"
    )
    return "; ".join(filter(None, (origin.learned, head)))
