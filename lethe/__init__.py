"""Lethe: a benchmark harness for stream (online continual) learning on images."""

import os.path

__version__ = "0.1.0"

_HERE = os.path.dirname(__file__)  # noqa: PTH120  (pathlib would be most of this import's time)
if not os.path.isdir(os.path.join(_HERE, "agents")):  # noqa: PTH112, PTH118
    # A checkout: `lethe.agents` and the other packages lie beside this folder, and are found with or without an
    # installation, so that a checkout runs its own code whatever else is installed.
    __path__.append(os.path.dirname(_HERE))  # noqa: PTH120
