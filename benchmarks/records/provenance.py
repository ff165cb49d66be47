"""Provenance of a result: version and commit of this project, versions of packages, the machine."""

import functools
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import torch

import lethe
from lethe.common import processor

CODE = "LETHE_CODE"
"""Environment variable with the JSON of `code()`, for copies of the code that are sent without their repository."""
_PACKAGES = (
    "torch", "torchvision", "timm", "numpy", "pandas", "pillow", "safetensors", "avalanche-lib", "faiss-cpu",
)  # fmt: skip


def environment(device: torch.device, threads: int) -> dict[str, object]:
    """Software and machine, which may change numbers besides configuration and data; and the trial's begin."""
    return {
        **software(),
        "device": device.type,
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else processor.name(),
        "threads": threads,
        "portable": processor.is_portable(),
        "instruction_sets": processor.instruction_sets(),
        "torch": torch.__version__,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


@functools.cache
def software() -> Mapping[str, object]:
    """Commit, versions and platform of this process; computed once, since a process does not change its code."""
    return {
        **code(),
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES},
        "platform": platform.platform(),
    }


def code() -> Mapping[str, object]:
    """Version of this project, the commit of its checkout, and whether files differ from that commit (`dirty`).

    Commit and `dirty` are None without a checkout, as in an installed wheel. Where `CODE` is set, its content.
    """
    if told := os.environ.get(CODE):
        sent: dict[str, object] = json.loads(told)
        return sent
    return {"version": lethe.__version__, **checkout(Path(__file__).parents[2])}


def checkout(root: Path) -> dict[str, object]:
    """Commit of the project in `root`, and whether files below `root` differ from it; None for both if unknown.

    A repository that merely holds `root`, as that of a user whose virtual environment lies in the project's folder, is
    not the project's own: only one that tracks the project's pyproject.toml is.
    """
    if _git(root, "ls-files", "--error-unmatch", "pyproject.toml") is None:
        return {"commit": None, "dirty": None}
    return {
        "commit": _git(root, "rev-parse", "HEAD"),
        "dirty": bool(_git(root, "status", "--porcelain", ".")),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(folder: Path, *arguments: str) -> str | None:
    """Output of a git command in `folder`; None without git, or if the command fails."""
    git = shutil.which("git")
    if git is None:
        return None
    answer = subprocess.run([git, "-C", folder, *arguments], capture_output=True, text=True, check=False)  # noqa: S603
    return answer.stdout.strip() if answer.returncode == 0 else None
