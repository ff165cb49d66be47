"""Every agent by name. A new agent is one file and one line here; tables show a family's agents in this order."""

import types
import warnings
from collections.abc import Mapping
from types import MappingProxyType

from lethe.agents.base import Agent, Needs
from lethe.agents.card import FAMILIES, Card, card_of
from lethe.agents.config import Config
from lethe.common.errors import InputError, unknown
from lethe.common.imports import load

AGENTS: Mapping[str, str] = MappingProxyType(
    {
        "finetune": "lethe.agents.finetune:Finetune",
        "offline": "lethe.agents.offline:Offline",
        "l2": "lethe.agents.l2:L2",
        "ewc": "lethe.agents.ewc:EWC",
        "ewc_online": "lethe.agents.ewc_online:EWCOnline",
        "si": "lethe.agents.si:SI",
        "mas": "lethe.agents.mas:MAS",
        "lwf": "lethe.agents.lwf:LwF",
        "stable_sgd": "lethe.agents.stable_sgd:StableSGD",
        "er": "lethe.agents.er:ER",
        "er_ace": "lethe.agents.er_ace:ERACE",
        "mir": "lethe.agents.mir:MIR",
        "gss": "lethe.agents.gss:GSS",
        "gdumb": "lethe.agents.gdumb:GDumb",
        "gem": "lethe.agents.gem:GEM",
        "agem": "lethe.agents.agem:AGEM",
        "icarl": "lethe.agents.icarl:ICaRL",
        "derpp": "lethe.agents.derpp:DERpp",
        "bic": "lethe.agents.bic:BiC",
        "scr": "lethe.agents.scr:SCR",
        "cope": "lethe.agents.cope:CoPE",
        "rainbow": "lethe.agents.rainbow:Rainbow",
        "slda": "lethe.agents.slda:SLDA",
        "ncm": "lethe.agents.ncm:NCM",
        "ranpac": "lethe.agents.ranpac:RanPAC",
        "acil": "lethe.agents.acil:ACIL",
        "fecam": "lethe.agents.fecam:FeCAM",
        "exstream": "lethe.agents.exstream:ExStream",
        "fsa": "lethe.agents.fsa:FSA",
        "remind": "lethe.agents.remind:REMIND",
        "siesta": "lethe.agents.siesta:SIESTA",
        "augmem": "lethe.agents.augmem:AugMem",
        "crumb": "lethe.agents.crumb:CRUMB",
        "augmem_published": "lethe.agents.augmem_published:AugMemPublished",
    }
)
AVALANCHE = (
    "AGEM", "CoPE", "Cumulative", "DER", "ER_ACE", "ER_AML", "EWC", "FromScratchTraining", "GDumb", "GEM",
    "GSS_greedy", "ICaRL", "LwF", "MAS", "MER", "MIR", "Naive", "Replay", "SCR", "StreamingLDA",
    "SynapticIntelligence",
)  # fmt: skip
"""The strategies of avalanche-lib that are agents, `avalanche:<Strategy>`: a list of them takes no slow import."""


def get(name: str) -> type[Agent]:
    """The agent class of a registered name, of `avalanche:Strategy`, or of `module:Class` for any other.

    `InputError` for a name that is none of these.
    """
    if name.startswith("avalanche:"):
        return _from_avalanche(name)
    if name not in AGENTS and ":" not in name:
        raise InputError(f"{unknown('agent', name, AGENTS)}; one of your own is given as module:Class")
    found = load("agent", AGENTS.get(name, name), name, "module:Class, such as my_agents.nearest:NearestMean")
    if not (isinstance(found, type) and issubclass(found, Agent)):
        class_name = name.rpartition(":")[2]
        raise InputError(f"agent '{name}': '{class_name}' is no subclass of lethe.agents.base.Agent")
    _check_declared(name, found)
    return found


_DECLARED: Mapping[str, tuple[type | types.UnionType, str]] = MappingProxyType(
    {
        "needs": (Needs, "Needs(...)"),
        "Config": (type, "a class derived from lethe.agents.config.Config"),
        "cut": (str | None, "the name of a stage or None"),
        "resumable": (bool, "True or False"),
    }
)


def _check_declared(name: str, agent_class: type[Agent]) -> None:
    """`InputError` with all that the class declares otherwise than `Agent` says; what the harness reads of it."""
    declared: dict[str, object] = {key: getattr(agent_class, key) for key in _DECLARED}
    problems = [
        f"{key}: expected {expected}, got {declared[key]!r:.60}"
        for key, (kind, expected) in _DECLARED.items()
        if not isinstance(declared[key], kind)
    ]
    given = declared["Config"]
    if isinstance(given, type) and not issubclass(given, Config):
        problems.append(f"Config: expected {_DECLARED['Config'][1]}, got {given!r:.60}")
    if problems:
        raise InputError(*(f"agent '{name}': {problem}" for problem in problems))


def card(name: str) -> Card:
    """The card of an agent, derived where it has none; `InputError` as `get`."""
    return card_of(get(name))


def by_family() -> tuple[str, ...]:
    """The registered agents, in the order of tables."""
    return tuple(sorted(AGENTS, key=lambda name: FAMILIES.index(card(name).family)))


def _from_avalanche(name: str) -> type[Agent]:
    """A strategy of avalanche-lib, which takes seconds to import and is not needed otherwise."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it tells of solvers and loggers that nothing here asks for
            from lethe.agents.avalanche.agent import agent_class
    except ModuleNotFoundError as error:
        raise InputError(
            f"agent '{name}': module '{error.name}' is not found: pip install -r requirements.txt"
        ) from error
    return agent_class(name.removeprefix("avalanche:"))
