"""Pretrained weights through torchvision's own download and cache."""

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError  # raised by a hostile or torn file of weights
from typing import TYPE_CHECKING
from urllib.error import URLError

import torch
from torch import Tensor

from lethe.common.errors import InputError

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum


def fetch(weights: "WeightsEnum") -> dict[str, Tensor]:
    """Weights from torchvision's cache or the network; nothing but tensors is unpickled.

    `InputError` where they can be neither found nor fetched, or the file is damaged.
    """
    name = weights.url.rsplit("/", 1)[-1]
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    advice = f"download {weights.url} on a machine with a network and put it at {path}"
    try:
        found: dict[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (URLError, ConnectionError, TimeoutError) as error:
        raise InputError(f"pretrained weights {name} cannot be fetched ({error}): {advice}") from error
    except (OSError, RuntimeError, EOFError, ValueError, UnpicklingError) as error:
        raise InputError(f"{path}: damaged weights: delete the file, or {advice}") from error
    return found


def under(prefix: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights whose names begin with `prefix`, which is taken off."""
    return {name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)}
