"""Nested tensors and plain values in one safetensors file, written atomically; nothing is ever unpickled."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lethe.common.errors import InputError
from lethe.common.files import atomic_write


def save(path: Path, state: Mapping[str, object]) -> None:
    """Write `state`: tensors, None, bool, int, float, str, and lists and dictionaries (keys str or int) of these.

    Raises `InputError`, caused by the `OSError`, if the file cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    tree = json.dumps(_pack(state, tensors))
    with atomic_write(path) as temporary:
        try:
            safetensors.torch.save_file(tensors, temporary, metadata={"tree": tree})
        except SafetensorError as error:
            number = re.search(r"\(os error (\d+)\)", str(error))
            if number is None:
                raise
            # Re-raised as the OSError that it is, so that a full disk is distinguished from a failed run.
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def load(path: Path) -> dict[str, Any]:
    """The state that `save` wrote, on the CPU; tensors have the memory formats that they had."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dictionary)
            state = _unpack(json.loads(file.metadata()["tree"]), tensors)
            if not isinstance(state, dict):
                raise TypeError("its tree is no dictionary")
            return state
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: damaged checkpoint ({error}): delete it to restart this run") from error


def _pack(value: object, tensors: dict[str, Tensor]) -> object:
    if isinstance(value, Tensor):
        name = str(len(tensors))
        channels_last = value.ndim == 4 and not value.is_contiguous()
        # A copy: safetensors refuses tensors that share memory, and packs only contiguous ones.
        tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {"tensor": name, "channels_last": channels_last}
    if isinstance(value, dict):
        return {"items": [[key, _pack(item, tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return [_pack(item, tensors) for item in value]
    if isinstance(value, bool | int | float | str | None):
        return value
    raise TypeError(f"cannot save a {type(value).__name__} in a checkpoint")


def _unpack(tree: object, tensors: dict[str, Tensor]) -> object:
    if isinstance(tree, list):
        return [_unpack(item, tensors) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if "items" in tree:
        return {key: _unpack(item, tensors) for key, item in tree["items"]}
    tensor = tensors[tree["tensor"]]
    return tensor.contiguous(memory_format=torch.channels_last) if tree["channels_last"] else tensor
