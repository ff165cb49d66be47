"""Card of an agent: facts for tables, plots and documentation that its code does not say, and its memory as a formula.

An agent's class has its card as the attribute `card`; `registry.card` gives one for any agent, derived where there is
none.
"""

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import nn

from lethe.agents.networks.features import features

FAMILIES = ("bound", "regularisation", "replay", "streaming", "augmented memory", "other")
"""Families in the order of tables; within one, agents are in the order of the registry."""
COLOURS: Mapping[str, str] = MappingProxyType(
    {
        "blue": "#0072B2",
        "vermillion": "#D55E00",
        "green": "#009E73",
        "purple": "#CC79A7",
        "orange": "#E69F00",
        "sky": "#56B4E9",
        "black": "#000000",
        "grey": "#7F7F7F",
    }
)
"""Those of Okabe and Ito (2008), which the colour-blind can tell apart, and grey for bounds."""


@dataclass(frozen=True)
class Style:
    """How the curve of an agent is drawn; marker and filling are its own, and tell it apart in grey print."""

    colour: str
    """A name of `COLOURS`."""
    marker: str
    """As matplotlib names it."""
    line: Literal["solid", "dashed", "dash-dotted"] = "solid"
    filled: bool = True


@dataclass(frozen=True)
class Setting:
    """Network and stream that memory depends on beside the hyperparameters; the stream fills every budget."""

    plastic: nn.Module
    """The part of the network that learns."""
    shape: tuple[int, int, int]
    """(C, H, W) of an input; of codes, that of the map that they stand for."""
    input_bytes: int
    """X: uint8 images and codes have a byte per value, float32 features four."""
    tasks: tuple[int, ...]
    """New classes of each task."""
    images: int
    """Images of the whole stream."""

    @property
    def classes(self) -> int:
        """K, of the whole stream."""
        return sum(self.tasks)

    @property
    def parameters(self) -> int:
        """P, bytes of the parameters that learn."""
        return sum(int(p.nbytes) for p in self.plastic.parameters())

    @property
    def copy(self) -> int:
        """S, bytes of a copy of what learns: P, and the state of its dropout's generator where it has one."""
        return sum(int(tensor.nbytes) for tensor in self.plastic.state_dict().values())

    @property
    def features(self) -> int:
        """D, numbers that the head sees."""
        with torch.no_grad():
            return features(self.plastic, torch.zeros(1, *self.shape)).shape[1]

    def stored_images(self, count: int) -> int:
        """Bytes of `count` inputs with their labels, and a flag per class."""
        return count * (self.input_bytes + 8) + self.classes


Memory = Callable[[Any, Setting], int]
"""Bytes that an agent keeps, for its configuration and a setting."""


@dataclass(frozen=True)
class Card:
    """Facts about an agent."""

    title: str
    """The method's name as papers write it."""
    family: str
    """One of `FAMILIES`."""
    keeps: str
    """Contents of its memory, beyond the network, in words."""
    source: str = ""
    """The arXiv number of its paper; empty for a bound, which has none."""
    formula: str = ""
    """`memory` as text, in the symbols of docs/agents.md."""
    memory: Memory | None = None
    """None: it is not known beforehand."""
    style: Style | None = None
    """None: a style that depends on the agent's name."""
    published: tuple[str, ...] = ()
    """The systems of `results/published.csv`, without their settings, whose counterpart the agent is."""
    toy_settings: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    """Settings without which it cannot learn the toy problem of `agents.contract`."""

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise ValueError(
                f"family of {self.title}: expected one of {', '.join(FAMILIES)}, got {self.family}"
            )
        if self.style is not None and self.style.colour not in COLOURS:
            raise ValueError(
                f"colour of {self.title}: expected one of {', '.join(COLOURS)}, got {self.style.colour}"
            )


def card_of(agent_class: type) -> Card:
    """The card that `agent_class` has itself, or one derived from its name and its module's docstring.

    A card is not inherited: an agent derived from another is another one.
    """
    own = vars(agent_class).get("card")
    if isinstance(own, Card):
        return own
    described = getattr(sys.modules.get(agent_class.__module__), "__doc__", None) or ""
    source = re.search(r"arXiv[: ]*(\d{4}\.\d{4,5})", described)
    return Card(agent_class.__name__, "other", "", source[1] if source else "")
