"""Every agent by name. A new agent is one file and one line here."""

import importlib
import warnings
from collections.abc import Mapping
from types import MappingProxyType

from lethe.agents.base import Agent
from lethe.common.errors import InputError, unknown

AGENTS: Mapping[str, str] = MappingProxyType(
    {
        "agem": "lethe.agents.agem:AGEM",
        "augmem": "lethe.agents.augmem:AugMem",
        "augmem_published": "lethe.agents.augmem_published:AugMemPublished",
        "derpp": "lethe.agents.derpp:DERpp",
        "er": "lethe.agents.er:ER",
        "ewc": "lethe.agents.ewc:EWC",
        "ewc_online": "lethe.agents.ewc_online:EWCOnline",
        "finetune": "lethe.agents.finetune:Finetune",
        "gem": "lethe.agents.gem:GEM",
        "icarl": "lethe.agents.icarl:ICaRL",
        "l2": "lethe.agents.l2:L2",
        "lwf": "lethe.agents.lwf:LwF",
        "mas": "lethe.agents.mas:MAS",
        "offline": "lethe.agents.offline:Offline",
        "remind": "lethe.agents.remind:REMIND",
        "si": "lethe.agents.si:SI",
        "slda": "lethe.agents.slda:SLDA",
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
    module_name, _, class_name = AGENTS.get(name, name).partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), class_name)):
        raise InputError(f"agent '{name}': expected module:Class, such as my_agents.nearest:NearestMean")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise InputError(f"agent '{name}': {_not_imported(module_name, error)}") from error
    found = getattr(module, class_name, None)
    if found is None:
        raise InputError(f"agent '{name}': {module_name} has no class {class_name}")
    if not (isinstance(found, type) and issubclass(found, Agent)):
        raise InputError(
            f"agent '{name}': '{class_name}' is no subclass of lethe.agents.base.Agent in {module_name}"
        )
    return found


def _not_imported(module_name: str, error: ModuleNotFoundError) -> str:
    """What is wrong: that there is no such module, or that it imports one that is not there."""
    if f"{module_name}.".startswith(f"{error.name}."):
        place = module_name.replace(".", "/")
        return (
            f"module '{error.name}' is not found: expected {place}.py in the current folder, or an installed "
            "module"
        )
    return f"{module_name} is there, but what it imports is not installed: {error}"


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
