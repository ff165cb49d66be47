"""Host-to-device copies that do not synchronise the stream."""

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor`, from the CPU, on `device`, without a wait for the work that is queued there.

    A copy from ordinary memory to a GPU waits for all of it; one from pinned memory takes its place in the queue.
    """
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
