"""Check of a device before anything is learned or written."""

import torch

from lethe.common.errors import InputError


def check_device(name: str) -> None:
    """`InputError` unless runs can learn on the device `name` here: the CPU, or a CUDA device that is there."""
    try:
        known = torch.device(name).type in ("cpu", "cuda")
    except (RuntimeError, TypeError):
        known = False
    if not known:
        raise InputError(
            f"--device {name}: not available here: expected cpu, cuda, or one of several GPUs, such as cuda:1"
        )
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        told = str(error).strip().partition("\n")[0]
        raise InputError(f"--device {name}: not available here ({told})") from error
