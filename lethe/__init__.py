"""Lethe: a benchmark harness for stream (online continual) learning on images.

The Python API is in `lethe.api` (docs/api.md); its names are loaded when they are first used, so that
`import lethe` and the command's help load no PyTorch.
"""

import importlib
import os.path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lethe.api import *  # noqa: F403  (what __getattr__ finds)

__version__ = "0.1.0"

API = (
    "Agent", "Config", "Needs", "Run", "check_agent", "evaluate", "learn", "load", "read_accuracies",
    "read_confusions", "read_results", "record", "run", "setting", "stream", "stream_of_arrays",
    "stream_of_dataset", "trial",
)  # fmt: skip
"""The names of `lethe.api`."""

_HERE = os.path.dirname(__file__)  # noqa: PTH120  (pathlib would be most of this import's time)
if not os.path.isdir(os.path.join(_HERE, "agents")):  # noqa: PTH112, PTH118
    # A checkout: `lethe.agents` and the other packages lie beside this folder, and are found with or without an
    # installation, so that a checkout runs its own code whatever else is installed.
    __path__.append(os.path.dirname(_HERE))  # noqa: F405, PTH120


def __getattr__(name: str) -> Any:
    if name in API:
        return getattr(importlib.import_module("lethe.api"), name)
    raise AttributeError(f"module 'lethe' has no attribute '{name}'; it has {', '.join(API)}")


def __dir__() -> list[str]:
    return sorted([*globals(), *API])
