"""Weights that a user gives: read from a file without unpickling, and loaded strictly by the names of stages.

A file has the state of a whole network, head included: a safetensors file, or what `torch.save` wrote of a state dict,
alone or under `state_dict` or `model_state`. Names are those of the network's stages ("layer4.1.conv1.weight") or, as
in torchvision's files and REMIND's, those of its body, with any names for the head's; `module.` and `model.` before
all of them are taken off.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from lethe.agents.networks.recipe import Staged
from lethe.common.errors import InputError
from lethe.common.files import open_regular
from lethe.common.input_problems import first

_INSIDE = ("state_dict", "model_state")
_PREFIXES = ("module.", "model.")
_NEUTRAL = ("num_batches_tracked", "_extra_state")
"""Ends of names whose values no pass depends on: a count that nothing reads, and a generator's state."""


_SHOWN = 4  # differences that are named


@dataclass(frozen=True)
class Given:
    """The state of a network, as it came from a file."""

    path: Path
    sha256: str
    state: Mapping[str, Tensor]
    classes: tuple[str, ...] | None = None
    """Names of the head's outputs; None where the file does not tell."""

    def classes_among(self, num_classes: int, classes: Sequence[str], outputs: int) -> tuple[str, ...]:
        """Names of the head's `outputs`, for a stream of `classes`; none where they are unknown.

        A file that does not tell has the order of ImageFolder, sorted names, where it has as many as the stream.
        """
        if self.classes is not None:
            return self.classes if len(self.classes) == outputs else ()
        return tuple(sorted(classes)) if outputs == num_classes == len(classes) else ()


def read(path: Path) -> Given:
    """The weights in a file of a state dict; `InputError` where it is none or is damaged. Code in it never runs."""
    sha256 = digest(path)
    try:
        if path.suffix == ".safetensors":
            content: object = safetensors.torch.load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, MemoryError) as error:
        raise InputError(f"{path}: cannot be read as weights: {error}") from error
    except Exception as error:  # a torn or hostile file raises whatever it makes the reader raise
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"{path}: cannot be read as weights (a state dict of tensors): {reason:.200}"
        ) from error
    for name in _INSIDE:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    state = dict(content) if isinstance(content, Mapping) else {}
    if not state or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        raise InputError(
            f"{path}: expected a state dict, tensors by name, alone or under {' or '.join(_INSIDE)}, "
            "of a whole network"
        )
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return Given(path, sha256, state)


def digest(path: Path) -> str:
    """SHA-256 of a file; `InputError` where it cannot be read."""
    found = hashlib.sha256()
    with open_regular(path) as file:
        try:
            while block := file.read(1 << 20):
                found.update(block)
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    return found.hexdigest()


def load(
    name: str, made: Staged, larger: Staged, given: Given, num_classes: int, classes: Sequence[str]
) -> int:
    """Load `given` into the stages of network `name`, in place; the head's outputs are matched by the classes' names.

    `made` has an output for each of the `num_classes`, which `classes` names by label; `larger` is the same network
    with one output more, which shows where the outputs lie. Returns how many outputs were found; the others keep their
    values. `InputError` with what differs, if the weights are not those of the network; nothing is loaded then.
    """
    own, outputs = _tensors(made), set()
    for key, tensor in _tensors(larger).items():
        if own[key].shape != tensor.shape:
            outputs.add(key)
    found, faults = _named(made, own, given.state)
    faults += [
        f"{key} is {list(found[key].shape)}, expected {list(tensor.shape)}"
        for key, tensor in own.items()
        if key in found and _shape(found[key], key in outputs) != _shape(tensor, key in outputs)
    ]
    counts = {len(found[key]) for key in outputs if key in found and found[key].ndim}
    if len(counts) > 1:
        faults.append(f"the head has {' and '.join(map(str, sorted(counts)))} outputs")
    if faults:
        raise InputError(
            f"{given.path}: expected weights of network {name}, got others: {'; '.join(first(faults, _SHOWN))}"
        )
    names = given.classes_among(num_classes, classes, *counts) if counts else ()
    places = {one: row for row, one in enumerate(names)}
    rows = {label: places[one] for label, one in enumerate(classes) if one in places}
    for key, tensor in own.items():
        if key not in found:
            continue
        if key in outputs:
            tensor[list(rows)] = found[key][list(rows.values())].to(tensor.dtype)
        else:
            tensor.copy_(found[key])
    return len(rows)


def _tensors(made: Staged) -> dict[str, Tensor]:
    """All tensors of a network's state, by the name of their stage; they share its memory."""
    stages = made.stages or {"": made.body}
    return {
        f"{stage}.{key}".removeprefix("."): tensor
        for stage, layer in stages.items()
        for key, tensor in layer.state_dict().items()
        if not key.endswith("_extra_state")
    }


def _named(
    made: Staged, own: Mapping[str, Tensor], state: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """`state` by the names of `own`, and what is missing or unknown."""
    places = {tensor.data_ptr(): key for key, tensor in own.items()}
    of_body = {key: places.get(tensor.data_ptr()) for key, tensor in made.body.state_dict().items()}
    found, others = {}, {}
    for key, tensor in state.items():
        place = key if key in own else of_body.get(key)
        if place is not None:
            found[place] = tensor
        elif not key.endswith(_NEUTRAL):
            others[key] = tensor
    missing = [key for key in own if key not in found and not key.endswith(_NEUTRAL)]
    last = f"{list(made.stages)[-1]}." if made.stages else ""
    theirs = sorted(others, key=_end)  # in their order; files of safetensors have a bias before its weight
    ours = sorted(missing, key=_end)
    if all(key.startswith(last) for key in ours) and [*map(_end, ours)] == [*map(_end, theirs)]:
        found.update(
            {key: others[name] for key, name in zip(ours, theirs, strict=True)}
        )  # a head by other names
        others, missing = {}, []
    return found, [f"{key} is missing" for key in missing] + [f"{key} is unknown" for key in others]


def _shape(tensor: Tensor, outputs: bool) -> list[int | str]:
    """The shape of a tensor, without the number of `outputs` that it begins with."""
    return ["outputs", *tensor.shape[1:]] if outputs and tensor.ndim else list(tensor.shape)


def _end(name: str) -> str:
    """The last part of a tensor's name, such as weight or bias."""
    return name.rpartition(".")[2]
