"""Where a result comes from: commit, versions, machine, fingerprints."""

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

CODE = "LETHE_CODE"
"""Environment variable: what `code` returned where a copy of the code, without its repository, comes from."""
_PACKAGES = ("torch", "torchvision", "numpy", "pandas", "pillow", "safetensors", "avalanche-lib", "faiss-cpu")


def environment(device: torch.device, threads: int) -> dict[str, object]:
    """What may change numbers besides configuration and data, and when the trial began."""
    return {
        **software(),
        "device": device.type,
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name(),
        "threads": threads,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


@functools.cache
def software() -> Mapping[str, object]:
    """Commit, versions and platform of this process; asked once, since a process does not change its code."""
    return {
        **code(),
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES},
        "platform": platform.platform(),
    }


def code() -> Mapping[str, object]:
    """The commit that runs, and whether files differ from it: of this repository, or as `CODE` tells."""
    if told := os.environ.get(CODE):
        return json.loads(told)
    return {"commit": _git("rev-parse", "HEAD"), "dirty": bool(_git("status", "--porcelain"))}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    """What git says of this project, or None where there is no git or no repository."""
    git = shutil.which("git")
    if git is None:
        return None
    here = Path(__file__).parent
    answer = subprocess.run([git, "-C", here, *arguments], capture_output=True, text=True, check=False)  # noqa: S603
    return answer.stdout.strip() if answer.returncode == 0 else None


@functools.cache
def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"
    )
