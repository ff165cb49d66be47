"""The agent contract: what every learner is given, what it must do, and what it gets for free.

An agent implements two methods, `observe` and `predict`. Everything else has a default that is right for
most agents: tasks may begin and end unnoticed, memory is counted and state is saved by looking at the
agent's own attributes.
"""

import copy
import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Concatenate, Generic, ParamSpec, Protocol, final, get_args, get_origin

import torch
from torch import Tensor, nn
from typing_extensions import TypeVar

from lethe.agents import config as configs
from lethe.agents.card import Card
from lethe.common.tree import leaves, tree_map

C = TypeVar("C", bound=configs.Config, default=configs.Config, covariant=True)
"""The type of an agent's configuration."""
A = TypeVar("A", bound="Agent")
P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Problem:
    """The learning problem, as the constructor is told."""

    num_classes: int
    """K: how many labels the whole stream has, 0 .. K-1."""
    input_shape: tuple[int, int, int]
    """(C, H, W) of one input."""


@dataclass(frozen=True)
class TaskInfo:
    """The task that begins or ends."""

    index: int
    """0 for the first task."""
    classes: tuple[int, ...]
    """The labels met up to and including this task, ascending."""
    images: int | None = None
    """Images of one pass over the task, for agents that declare `Needs.task_data` or `offline`; None for others."""


@dataclass(frozen=True)
class Needs:
    """The help an agent asks for beyond the plain stream; shown beside its numbers in every table."""

    task_boundaries: bool = False
    """Acts on `begin_task` or `end_task`, which are called for it alone."""
    task_data: bool = False
    """Makes a second pass over the task just learned, in `end_task`; needs `task_boundaries` too."""
    frozen_trunk: bool = False
    """Learns on the output of a trunk that never trains."""
    offline: bool = False
    """Sees the data of all tasks so far, shuffled, instead of the stream."""


class TaskData(Protocol):
    """The task just learned, for agents that declare `Needs.task_data`."""

    def __len__(self) -> int:
        """The number of images."""

    def batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs [B, C, H, W] and labels [B] in the stream's order; the last batch may be short."""


class UndeclaredTaskData:
    """The task data of an agent that does not declare to need them: reading them raises `TypeError`."""

    def __len__(self) -> int:
        raise TypeError(_UNDECLARED)

    def batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Raise `TypeError`."""
        raise TypeError(_UNDECLARED)


_UNDECLARED = (
    "task data were read by an agent that does not declare to need them: write `needs = Needs(task_data=True)` in its "
    "class, which is shown beside its numbers"
)


class Network(nn.Module):
    """A network in two parts: `frozen` never trains and is computed once for every image, `plastic` learns.

    The harness passes images through `frozen` and hands the agent the result; with nothing frozen, the agent
    gets uint8 images. Either way an agent calls `network.plastic(x)` and gets scores [B, K].
    """

    def __init__(self, frozen: nn.Module, plastic: nn.Module):
        super().__init__()
        self.frozen = frozen.requires_grad_(False)
        self.plastic = plastic
        self.train()

    def train(self, mode: bool = True) -> "Network":
        """Switch the plastic part; the frozen part stays in evaluation mode, batch-norm included."""
        super().train(mode)
        self.frozen.eval()
        return self


class Agent(ABC, Generic[C]):
    """A learner with a configuration of type `C`. Subclasses declare `needs` and implement `observe` and `predict`.

    Attributes that learning changes may be tensors, modules, optimisers, `torch.Generator`s, objects with
    `state_dict` and `load_state_dict`, plain values, and lists, tuples and dictionaries of these. The default
    `state_dict`, `load_state_dict` and `memory_bytes` then hold without further work.
    """

    Config: ClassVar[type[configs.Config]] = configs.Config
    """Configuration class: the parameter in `class ER(SGDAgent[ERConfig])`, unless the class body sets it."""
    needs: ClassVar[Needs] = Needs()
    cut: ClassVar[str | None] = None
    """The network's stage before which all is frozen, unless the user names another; None: all of it learns."""
    card: ClassVar[Card]
    """Facts for tables, plots and documentation, optional; `registry.card` derives one where there is none."""
    resumable: ClassVar[bool] = True
    """Whether `state_dict` works; if False, an interrupted run restarts from scratch."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "Config" not in vars(cls):
            cls.Config = _config_type(cls) or cls.Config
        for name in _WITHOUT_CACHE & vars(cls).keys():
            setattr(cls, name, _without_cache(vars(cls)[name]))

    def __init__(self, problem: Problem, config: C, network: Network, *, seed: int, device: torch.device):
        self.problem = problem
        self.config = config
        self.network = network
        self.device = device
        self.generator = torch.Generator().manual_seed(seed)
        """The agent's own source of randomness, on the CPU whatever the device: draws cost no wait."""
        self.cache: dict[str, Any] = {}
        """Results of `prepare`, for `predict`; empty during learning, neither saved nor counted as memory."""

    @abstractmethod
    def observe(self, x: Tensor, y: Tensor) -> Mapping[str, Tensor | float]:
        """Learn from one mini-batch of the stream, which comes once.

        x: [B, C, H, W], uint8 images or float32 features; y: [B] int64 labels. Returns what to log, scalars
        by name, or {}; a tensor stays on its device, so that nothing waits for it.
        """

    @abstractmethod
    def predict(self, x: Tensor) -> Tensor:
        """Scores [B, K] for inputs [B, C, H, W]; higher is likelier. Must change nothing, which runs check.

        Called without gradients and with `network` in evaluation mode. Scores of labels that the stream has
        not shown yet are ignored.
        """

    def predict_also(self, x: Tensor) -> Mapping[str, Tensor]:
        """Further scores [B, K] for inputs [B, C, H, W] by name, lower-case; {} where `predict` gives the only ones.

        Called right after `predict`, under the same conditions. Their accuracies are recorded beside those of
        `predict`, which the tables show.
        """
        return {}

    def prepare(self) -> None:
        """Compute what `predict` needs for every batch, such as class means, once per evaluation, into `self.cache`.

        Called with gradients and with `network` in training mode, as `observe` is; its time counts as learning.
        The result must depend on the agent's state alone, and nothing but `self.cache` may change: a draw from
        `self.generator` or a batch-norm statistic would make the run depend on when it is evaluated. For
        randomness, seed a generator of its own; for a forward pass with batch-norm, switch the network to
        evaluation mode and back.

        The base empties the cache before and after each `observe`, `begin_task`, `end_task` and `load_state_dict`.
        It wraps these methods of a subclass for that, so that neither an author nor a caller can forget it, and a
        resumed run, whose cache is empty, learns the same.
        """

    @final
    def fill_cache(self) -> None:
        """Run `prepare` unless its results are there; whoever calls `predict` after learning calls this first."""
        if not self.cache:
            self.prepare()

    def begin_task(self, task: TaskInfo) -> None:
        """Called before the first batch of a task, if `Needs.task_boundaries` is declared."""

    def end_task(self, task: TaskInfo, data: TaskData) -> None:
        """Called after the last batch of a task, if `Needs.task_boundaries` is declared.

        `data` are the task's batches once more; reading them raises `TypeError` unless `Needs.task_data` is declared.
        """

    def memory_bytes(self) -> int:
        """Memory in bytes, excluding network parameters, optimiser state and RNG state.

        Replay images, exemplars, importances, counters: every tensor among the agent's attributes. An object
        with a `memory_bytes` method of its own speaks for itself.
        """
        return sum(_bytes(value) for name, value in self._learned().items() if name != "plastic")

    def state_dict(self) -> dict[str, object]:
        """Everything that learning changes, as nested tensors and plain values."""
        return {name: _capture(name, value) for name, value in self._learned().items()}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Continue from `state_dict()` of an agent built with the same arguments, to the bit."""
        self.cache = {}
        learned = self._learned()
        if set(state) != set(learned):
            raise ValueError(f"expected the state of {sorted(learned)}, got that of {sorted(state)}")
        for name, value in learned.items():
            restored = _restore(value, state[name], self.device)
            if restored is not value:
                setattr(self, name, restored)

    def _learned(self) -> dict[str, object]:
        """Attributes that learning may change; of the network, the part that learns."""
        values = {name: value for name, value in vars(self).items() if name not in _NOT_LEARNED}
        return {"plastic": self.network.plastic, **values}


def _config_type(agent_class: type[Agent]) -> type[configs.Config] | None:
    """The configuration that a class statement names, `Agent[SomeConfig]`; of a type variable, its bound."""
    for base in vars(agent_class).get("__orig_bases__", ()):
        if isinstance(get_origin(base), type) and issubclass(get_origin(base), Agent):
            for argument in get_args(base):
                named = getattr(argument, "__bound__", argument)
                if isinstance(named, type) and issubclass(named, configs.Config):
                    return named
    return None


def _without_cache(method: Callable[Concatenate[A, P], R]) -> Callable[Concatenate[A, P], R]:
    """`method` of an agent, which begins and ends with an empty cache: none of it is learned from or kept."""

    @functools.wraps(method)
    def emptied(agent: A, /, *arguments: P.args, **named: P.kwargs) -> R:
        agent.cache = {}
        try:
            return method(agent, *arguments, **named)
        finally:
            agent.cache = {}

    return emptied


_WITHOUT_CACHE = {"observe", "begin_task", "end_task", "load_state_dict"}
"""The methods that may change the state."""
_NOT_LEARNED = {"problem", "config", "network", "device", "cache"}
_SAVED_AS_IT_IS = (Tensor, type(None), bool, int, float, str)


def _capture(name: str, value: object) -> object:
    """`value` of attribute `name` as nested tensors and plain values."""

    def saved(leaf: object) -> object:
        if isinstance(leaf, torch.Generator):
            return leaf.get_state()
        if hasattr(leaf, "state_dict"):
            return copy.copy(leaf.state_dict())
        if isinstance(leaf, _SAVED_AS_IT_IS):
            return leaf
        raise TypeError(
            f"attribute '{name}' holds a {type(leaf).__name__}, which cannot be saved: make it a tensor or a "
            "plain value, give it state_dict and load_state_dict, or override the agent's own"
        )

    return tree_map(saved, value, is_leaf=lambda node: hasattr(node, "state_dict"))


def _restore(value: object, saved: Any, device: torch.device) -> object:
    """The new value of `value`: the object itself, changed in place, where others may hold it.

    `saved` is of the shape that `_capture` gave it, which the type of `value` decides.
    """
    if isinstance(value, torch.Generator):
        value.set_state(saved.cpu())
        return value
    if hasattr(value, "load_state_dict"):
        value.load_state_dict(saved)
        return value
    if isinstance(saved, Tensor):
        return saved.to(device)
    if isinstance(value, list | tuple) and len(value) == len(saved):
        return type(value)(_restore(item, kept, device) for item, kept in zip(value, saved, strict=True))
    if isinstance(value, dict) and value.keys() == saved.keys():
        return {key: _restore(item, saved[key], device) for key, item in value.items()}
    return tree_map(lambda leaf: leaf.to(device) if isinstance(leaf, Tensor) else leaf, saved)


def _bytes(value: object) -> int:
    """Bytes of the tensors in `value`; an object's own `memory_bytes` is taken where it has one."""
    return sum(map(_leaf_bytes, leaves(value, is_leaf=lambda node: hasattr(node, "memory_bytes"))))


def _leaf_bytes(leaf: object) -> int:
    if hasattr(leaf, "memory_bytes"):
        return int(leaf.memory_bytes())
    if isinstance(leaf, nn.Module):
        return _bytes(leaf.state_dict())
    return leaf.nbytes if isinstance(leaf, Tensor) else 0
