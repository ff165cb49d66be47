"""Cost of the frozen part of a network for one image, measured once per trunk, image size and machine.

A run reads the trunk's output from a store, as do all others; a robot would have to compute it. The time is kept beside
the stores, so that all runs of a machine are told the same.
"""

import hashlib
import json
import os
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from lethe.benchmarks.measure.costs import NO_TRUNK, Trunk
from lethe.benchmarks.measure.flops import forward_flops
from lethe.common import processor
from lethe.common.errors import InputError
from lethe.common.files import read_json, write_text
from lethe.dataloaders.streams import Images

BATCH = 10
"""Images that pass the trunk together: the mini-batch of most agents."""
_REPEATS = 5


def measure(pixels: np.ndarray, trunk: nn.Module, device: torch.device) -> Trunk:
    """The cost of `trunk` for one of the images uint8 [N, H, W, 3]: the median of some passes, after one more."""
    if not list(trunk.children()):
        return NO_TRUNK
    count = min(BATCH, len(pixels))
    x = Images(pixels[:count], device)[torch.arange(count)]
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
    pixels: np.ndarray, trunk: nn.Module, fingerprint: str, stores: Path, device: torch.device
) -> Trunk:
    """As `measure`, or as the file in `stores` has it for this trunk (see `fingerprint`), image size and machine."""
    machine = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else processor.name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "instruction_sets": processor.instruction_sets(),
    }
    height, width = pixels.shape[1:3]
    digest = hashlib.sha256(json.dumps(machine, sort_keys=True).encode()).hexdigest()[:12]
    path = stores / f"trunk-{fingerprint[:16]}-{height}x{width}-{digest}.json"
    if path.exists() and (known := _read(path)) is not None:
        return known
    found = measure(pixels, trunk, device)
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
