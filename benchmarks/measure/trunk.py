"""Cost of the frozen part of a network for one image, measured once per trunk, image size and machine.

A run reads the trunk's output from a store, as do all others; a robot would have to compute it. The time is kept beside
the stores, so that all runs of a machine are told the same.
"""

import hashlib
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from lethe.benchmarks.measure.costs import NO_TRUNK, Trunk
from lethe.benchmarks.measure.flops import forward_flops
from lethe.common import processor
from lethe.common.errors import InputError
from lethe.common.files import read_json, write_text

BATCH = 10
"""Images that pass the trunk together: the mini-batch of most agents."""
_REPEATS = 5


def measure(x: Tensor, trunk: nn.Module, device: torch.device) -> Trunk:
    """The cost of `trunk` for one of at most `BATCH` images uint8 [N, 3, H, W]: the median of some passes, after one
    more.
    """
    if not list(trunk.children()):
        return NO_TRUNK
    count = len(x)
    flops = forward_flops(trunk, x) // count
    times = []
    with torch.no_grad():
        for _ in range(_REPEATS):
            start = time.perf_counter()
            trunk(x)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times.append(time.perf_counter() - start)
    return Trunk(statistics.median(times) / count, flops)


def measured_once(
    images: Callable[[], Tensor],
    size: tuple[int, int],
    trunk: nn.Module,
    fingerprint: str,
    stores: Path,
    device: torch.device,
) -> Trunk:
    """As `measure`, or as the file in `stores` has it for this trunk (see `fingerprint`), image size and machine.

    `images` gives those to measure with, of `size` (height, width).
    """
    machine = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else processor.name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "instruction_sets": processor.instruction_sets(),
    }
    height, width = size
    digest = hashlib.sha256(json.dumps(machine, sort_keys=True).encode()).hexdigest()[:12]
    path = stores / f"trunk-{fingerprint[:16]}-{height}x{width}-{digest}.json"
    if path.exists() and (known := _read(path)) is not None:
        return known
    found = measure(images(), trunk, device)
    content = {
        "seconds_per_image": found.seconds,
        "flops_per_image": found.flops,
        **machine,
        "load_average": os.getloadavg()[0],
    }
    write_text(path, json.dumps(content, indent=2) + "\n")
    return found


def _read(path: Path) -> Trunk | None:
    """The cost in a file; None where it is damaged: it is measured again then."""
    try:
        content = read_json(path)
    except InputError:
        return None
    seconds, flops = content.get("seconds_per_image"), content.get("flops_per_image")
    if type(seconds) is not float or not 0 < seconds < 1e6 or type(flops) is not int or flops < 0:
        return None
    return Trunk(seconds, flops)
