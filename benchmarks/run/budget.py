"""Budget in bytes: the memory setting with which all that an agent keeps stays within it.

All is the network, the optimiser's state, the memory beyond both by the formula of the agent's card, and the data that
an offline learner is handed: `total_bytes` of a run's record, as it will be at the end of the stream.
"""

import copy
import functools
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields, replace

import torch

from lethe.agents import registry
from lethe.agents.base import Agent, Network, Problem
from lethe.agents.card import Memory, Setting
from lethe.agents.networks import build as networks
from lethe.agents.networks.quantised import blank, decoder
from lethe.benchmarks.measure.costs import network_bytes, optimizers, state_bytes
from lethe.benchmarks.run.experiment import Places, task_lists
from lethe.benchmarks.run.trial import Trial
from lethe.common.errors import InputError
from lethe.common.input_problems import raise_any

_CPU = torch.device("cpu")
_UNITS = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_LABEL_BYTES = 8


def parse(text: str) -> int:
    """Bytes of a text such as `10MB`; `InputError` for any other."""
    found = re.fullmatch(r"\s*(\d{1,15}(?:\.\d{1,6})?)\s*([A-Za-z]{1,3})\s*", text)
    if found is None or found[2] not in _UNITS:
        raise InputError(f"budget: expected a size in {', '.join(_UNITS)}, such as 10MB, got '{text}'")
    return int(float(found[1]) * _UNITS[found[2]])


@dataclass(frozen=True)
class Kept:
    """Bytes that an agent keeps at the end of a stream."""

    network: int
    optimizer: int
    data: int
    memory: int

    @property
    def total(self) -> int:
        """All together."""
        return self.network + self.optimizer + self.data + self.memory

    def __str__(self) -> str:
        parts = {
            "network": self.network,
            "optimiser": self.optimizer,
            "data": self.data,
            "memory": self.memory,
        }
        shown = ", ".join(f"{name} {size:,}" for name, size in parts.items() if size)
        return f"{self.total:,} bytes ({shown})"


def within(trial: Trial, budget: int, places: Places, given: Collection[str] = ()) -> tuple[Trial, Kept]:
    """The trial with the largest memory setting whose agent keeps at most `budget` bytes, and what it keeps.

    Memory that the stream could not fill is not asked for. `given` are the settings that the user named. The stream is
    that of the test lists, also where the trial learns validation lists.

    Raises:
        InputError: if the agent keeps more whatever the setting, has no formula, or the user named the setting.

    """
    agent_class = registry.get(trial.agent)
    formula, name = registry.card(trial.agent).memory, _memory_setting(agent_class)
    who = f"agent {trial.agent}, {trial.dataset}/{trial.paradigm}"
    if formula is None:
        raise InputError(f"{who}: no formula says what it will keep (its card), so no budget can be kept")
    if name in given:
        raise InputError(f"agent {trial.agent}: {name} is what the budget sets: leave out one of both")
    network, setting = _stream(trial, places)
    if name is None:
        least, what = trial, "whatever the memory"
    else:
        least = _least(trial, name, network, setting)
        what = f"at {name}={least.settings[name]}, the least"
    fixed = _fixed(least, network, setting)

    def kept(memory: Trial) -> Kept:
        return replace(fixed, memory=_memory(memory, formula, setting))

    if kept(least).total > budget:
        raise InputError(f"{who}: expected a budget of at least {kept(least)} {what}, got {budget:,} bytes")
    if name is None:
        return trial, kept(trial)
    low = int(str(least.settings[name]))
    high = max(low, setting.images)
    while low < high:  # the largest that fits is in low .. high
        middle = (low + high + 1) // 2
        if kept(_with(trial, name, middle)).total <= budget:
            low = middle
        else:
            high = middle - 1
    found = _with(trial, name, low)
    return found, kept(found)


def all_within(
    trials: Iterable[Trial], budget: int, places: Places, given: Mapping[str, Collection[str]]
) -> tuple[list[Trial], list[str]]:
    """The trials with the memory that the budget allows, and a line on each; all that cannot are one `InputError`.

    `given` are the settings that the user named, by agent.
    """
    found: list[Trial] = []
    lines: list[str] = []
    problems: list[str] = []
    for trial in trials:
        try:
            limited, kept = within(trial, budget, places, given[trial.agent])
        except InputError as error:
            problems += error.problems
        else:
            found.append(limited)
            settings = limited.id.rpartition("-")[0]
            lines.append(f"{trial.dataset}/{trial.paradigm} {trial.agent}: {settings}: will keep {kept}")
    raise_any(problems)
    return found, lines


def _memory_setting(agent_class: type[Agent]) -> str | None:
    """The hyperparameter that bounds an agent's memory: the one called memory_...; None if it has none."""
    names = [
        field.name
        for field in fields(agent_class.Config)
        if field.name.startswith("memory_") and type(field.default) is int
    ]
    return names[0] if names else None


def _with(trial: Trial, name: str, value: int) -> Trial:
    return replace(trial, settings={**trial.settings, name: value})


def _memory(trial: Trial, formula: Memory, setting: Setting) -> int:
    return formula(registry.get(trial.agent).Config.from_settings(trial.settings), setting)


def _stream(trial: Trial, places: Places) -> tuple[Network, Setting]:
    """A network as the trial's, and what its memory depends on beside hyperparameters."""
    tasks, images = _sizes(replace(trial, split="test", settings={}), places)
    return _setting(trial.network, trial.cut, trial.codebooks, trial.image_size, tasks, images)


@functools.lru_cache(maxsize=64)
def _sizes(trial: Trial, places: Places) -> tuple[tuple[int, ...], int]:
    """New classes of each task, and images of the stream, each once; the same in all runs but for the order."""
    lists = task_lists(trial, 0, places)
    met: set[int] = set()
    new = []
    for task in lists.tasks:
        labels = set(task.labels.tolist())
        new.append(len(labels - met))
        met |= labels
    return tuple(new), len({path for task in lists.tasks for path in task.paths})


@functools.lru_cache(maxsize=16)
def _setting(
    network: str,
    cut: str | None,
    codebooks: int | None,
    size: tuple[int, int],
    tasks: tuple[int, ...],
    images: int,
) -> tuple[Network, Setting]:
    built, _ = networks.build(network, sum(tasks), cut=cut, pretrained=False, seed=0, device=_CPU)
    shape = networks.given_shape(network, cut, size)
    if codebooks is not None:
        built = blank(built, codebooks, shape)
    with torch.no_grad():
        given = built.frozen(torch.zeros(1, 3, *size, dtype=torch.uint8))
    return built, Setting(built.plastic, shape, given.nbytes, tasks, images)


def _least(trial: Trial, name: str, network: Network, setting: Setting) -> Trial:
    """The trial with the least memory setting that its agent takes: 1, or one for each class."""
    for value in (1, setting.classes):
        least = _with(trial, name, value)
        try:
            _agent(least, network, setting)
        except InputError:
            if value == setting.classes:
                raise
        else:
            break
    return least


def _agent(trial: Trial, network: Network, setting: Setting) -> Agent:
    """A new agent on a copy of the network, which the optimiser moves."""
    agent_class = registry.get(trial.agent)
    decode = decoder(network)
    shape = setting.shape if decode is None else (decode.codebooks, *setting.shape[1:])
    problem = Problem(setting.classes, shape)
    config = agent_class.Config.from_settings(trial.settings)
    return agent_class(problem, config, copy.deepcopy(network), seed=0, device=_CPU)


def _fixed(trial: Trial, network: Network, setting: Setting) -> Kept:
    """What an agent keeps beside its memory."""
    agent = _agent(trial, network, setting)
    data = setting.images * (setting.input_bytes + _LABEL_BYTES) if agent.needs.offline else 0
    stepped = [_stepped(one) for one in optimizers(agent)]
    return Kept(network_bytes(agent.network), sum(map(state_bytes, stepped)), data, 0)


def _stepped(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """A copy that has made a step, and so has all its state."""
    twin = copy.deepcopy(optimizer)
    twin.zero_grad()
    for group in twin.param_groups:
        for p in group["params"]:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
    twin.step()
    return twin
