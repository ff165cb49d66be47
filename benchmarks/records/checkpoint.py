"""Nested tensors and plain values in one safetensors file, written atomically; nothing is ever unpickled.

The file holds a CRC-32 of its own content: any bit that has changed is told when it is read.
"""

import json
import os
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lethe.common.errors import Damaged
from lethe.common.files import atomic_write, open_regular

REMEDY = "delete it to restart this run"


def save(path: Path, state: Mapping[str, object]) -> None:
    """Write `state`: tensors, None, bool, int, float, str, and lists and dictionaries (keys str or int) of these.

    Raises `InputError`, caused by the `OSError`, if the file cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    tree = json.dumps(_pack(state, tensors))
    # One value: several are written in an order that differs between processes.
    metadata = {"tree": f"{_crc32(tree, tensors)} {tree}"}
    with atomic_write(path) as temporary:
        try:
            safetensors.torch.save_file(tensors, temporary, metadata=metadata)
        except SafetensorError as error:
            number = re.search(r"\(os error (\d+)\)", str(error))
            if number is None:
                raise
            # Re-raised as the OSError that it is, so that a full disk is distinguished from a failed run.
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def load(path: Path) -> dict[str, Any]:
    """The state that `save` wrote, on the CPU; tensors have the memory formats that they had."""
    try:
        open_regular(path).close()  # a pipe would be waited for
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dictionary)
            crc32, _, tree = file.metadata()["tree"].partition(" ")
        if crc32 != _crc32(tree, tensors):
            raise ValueError("its content has changed since it was written")
        state = _unpack(json.loads(tree), tensors)
        if not isinstance(state, dict):
            raise TypeError("its tree is no dictionary")
        return state
    except (SafetensorError, KeyError, TypeError, ValueError, OSError, RecursionError) as error:
        told = str(error).removeprefix(f"{path}: ")
        raise Damaged(f"{path}: damaged checkpoint ({told}): {REMEDY}") from error


def _crc32(tree: str, tensors: Mapping[str, Tensor]) -> str:
    """CRC-32 of the tree, and of name, dtype, shape and bytes of every tensor."""
    found = zlib.crc32(tree.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        found = zlib.crc32(f"{name} {tensor.dtype} {list(tensor.shape)}".encode(), found)
        found = zlib.crc32(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data, found)
    return f"{found:08x}"


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
