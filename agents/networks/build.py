"""Building of networks: initial values, pretrained weights, the cut in a frozen and a learning part; fingerprints.

Inputs are uint8 images [B, 3, H, W]; the first layer resizes and normalises them as the network's recipe says.
Every random number comes from the seed that `build` is given, dropout's included.
"""

import copy
import functools
import hashlib
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from lethe.agents.base import Network
from lethe.agents.networks.features import features
from lethe.agents.networks.layers import Normalise, Normalised, Resize, seed_dropout
from lethe.agents.networks.recipe import HALF, Recipe, Staged
from lethe.agents.networks.registry import NETWORKS, default_network, get
from lethe.common.errors import InputError, unknown

__all__ = [
    "NETWORKS", "build", "check", "default_network", "features", "find_cut", "fingerprint", "freezes", "from_module",
    "given_shape", "has_weights", "pretraining",
]  # fmt: skip

_CPU = torch.device("cpu")
_KNOWN = ("torch", "torchvision", "lethe")
"""Packages whose versions a run records, so that a fingerprint need not hold their source."""


def check(name: str, image_size: tuple[int, int]) -> None:
    """`InputError` unless `name` is a network that takes images of (height, width); one of a user's own is tried."""
    recipe = get(name)
    limit = recipe.max_pixels
    if limit is not None and max(image_size) > limit:
        raise InputError(
            f"network '{name}' takes images up to {limit} px, these have {image_size}: use squeezenet or resnet18"
        )
    if name not in NETWORKS:
        _try(name, recipe, image_size)


def has_weights(name: str) -> bool:
    """Whether there are pretrained weights of network `name`."""
    return get(name).weights is not None


def pretraining(name: str) -> str:
    """What the pretrained weights of network `name` were learned from; empty where that is not said."""
    return get(name).pretraining


def find_cut(name: str, cut: str) -> str:
    """The stage of network `name` that `cut` names: its name, or "last_block"; `InputError` where there is none."""
    recipe = get(name)
    stages = _stage_names(name, recipe)
    if not stages:
        raise InputError(f"network '{name}' cannot be cut: build it as an nn.Sequential, or leave out --cut")
    if cut == "last_block":
        if recipe.last_block is None:
            raise InputError(
                f"network '{name}' names no last_block: give a stage, --cut {' | '.join(stages)}"
            )
        cut = recipe.last_block
    if cut not in stages:
        raise unknown(f"stage to cut {name} at", cut, stages)
    return cut


def freezes(name: str, cut: str | None) -> bool:
    """Whether anything of network `name` lies before `cut`, so that it never trains."""
    return cut is not None and find_cut(name, cut) != _stage_names(name, get(name))[0]


@functools.lru_cache(maxsize=64)  # asked for every trial of a grid
def given_shape(name: str, cut: str | None, image_size: tuple[int, int]) -> tuple[int, int, int]:
    """(C, H, W) of what the part of network `name` from `cut` on is given, for images of (height, width)."""
    frozen = build(name, 2, cut=cut, pretrained=False, seed=0, device=_CPU)[0].frozen
    with torch.no_grad():
        channels, height, width = frozen(torch.zeros(1, 3, *image_size, dtype=torch.uint8)).shape[1:]
    return channels, height, width


def build(
    name: str, num_classes: int, *, cut: str | None = None, pretrained: bool, seed: int, device: torch.device
) -> tuple[Network, str]:
    """The network and the SHA-256 of its pretrained weights ("" without).

    The stages before the one that `cut` names are frozen; without `cut`, none. The head, and everything where
    `pretrained` is false, is drawn from `seed`. The global random state stays as it is.

    Raises:
        InputError: for an unknown network or stage, or one of a user's own that is no network.

    """
    recipe = get(name)
    made = _made(name, recipe, num_classes, seed)
    digest = ""
    if pretrained and recipe.weights is not None:
        made.body.load_state_dict(recipe.weights())
        digest = fingerprint(made.body)
    first = None if cut is None else find_cut(name, cut)
    return _assembled(made, first, _input_layer(recipe), seed, device), digest


def from_module(
    module: nn.Module,
    num_classes: int,
    image_size: tuple[int, int],
    *,
    cut: str | None = None,
    mean: Sequence[float] = HALF,
    std: Sequence[float] = HALF,
    seed: int = 0,
    device: torch.device = _CPU,
) -> Network:
    """The network of a copy of `module`, with the values that `module` has.

    `module` takes normalised float32 images [B, 3, H, W] and gives scores [B, K]; with `cut`, the name of a child, it
    is an `nn.Sequential` whose last child is the head. `image_size` is (height, width); `seed` is dropout's.

    Raises:
        InputError: for a stage that there is not, or scores of another shape than [B, `num_classes`].

    """
    made = _staged("given", copy.deepcopy(module).to(_CPU))
    if cut is not None and cut not in made.stages:
        raise unknown("stage to cut the network at", cut, made.stages)
    tried = _assembled(copy.deepcopy(made), cut, Normalise(mean, std), seed, _CPU)
    _check_scores("given", tried, num_classes, image_size)
    return _assembled(made, cut, Normalise(mean, std), seed, device)


def fingerprint(module: nn.Module) -> str:
    """SHA-256 over the layers of `module`, the names and bytes of its weights, and the files of a user's own layers."""
    digest = hashlib.sha256(repr(module).encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode() + b"\0" + tensor.contiguous().cpu().numpy().tobytes())
    names = {type(layer).__module__ for layer in module.modules()}
    for name in sorted(name for name in names if name.partition(".")[0] not in _KNOWN):
        source = getattr(sys.modules.get(name), "__file__", None)
        if source is not None:  # else typed at a prompt
            digest.update(Path(source).read_bytes())
    return digest.hexdigest()


def _made(name: str, recipe: Recipe, num_classes: int, seed: int) -> Staged:
    """The stages with their initial values, on the CPU."""
    if recipe.default_values:
        made = _blank(name, recipe, num_classes)
        layers = nn.Sequential(*made.stages.values()).to_empty(device=_CPU)
        _initialise(layers, torch.Generator().manual_seed(seed))
        return made
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed GPUs as well
        return _staged(name, recipe.build(num_classes))


def _blank(name: str, recipe: Recipe, num_classes: int) -> Staged:
    """The stages without values."""
    with torch.device("meta"):  # constructors draw their initial values from the global generator: not here
        return _staged(name, recipe.build(num_classes))


@functools.lru_cache(maxsize=64)  # asked for every trial of a grid
def _stage_names(name: str, recipe: Recipe) -> tuple[str, ...]:
    made = _blank(name, recipe, 2) if recipe.default_values else _made(name, recipe, 2, seed=0)
    return tuple(made.stages)


def _staged(name: str, built: object) -> Staged:
    """Stages of what a recipe's function returned: the children of an `nn.Sequential`, or one stage."""
    if isinstance(built, Staged):
        return built
    if not isinstance(built, nn.Module):
        raise InputError(f"network '{name}': expected an nn.Module, got a {type(built).__name__}")
    if isinstance(built, nn.Sequential) and type(built).forward is nn.Sequential.forward:
        # Not from named_children, which leaves out a layer's second place.
        return Staged({stage: layer for stage, layer in built._modules.items() if layer is not None}, built)
    return Staged({}, built)


def _assembled(
    made: Staged, cut: str | None, normalise: nn.Module, seed: int, device: torch.device
) -> Network:
    """The network with everything before stage `cut` frozen, on `device`."""
    layers = nn.Sequential(*made.stages.values()) if made.stages else Normalised(normalise, made.body)
    seed_dropout(layers, seed, device)
    if isinstance(layers, Normalised):
        network = Network(nn.Identity(), layers)
    else:
        first = 0 if cut is None else list(made.stages).index(cut)
        frozen = nn.Sequential(normalise, *list(layers)[:first]) if first else nn.Identity()
        network = Network(frozen, layers[first:] if first else nn.Sequential(normalise, *layers))
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    return network


def _input_layer(recipe: Recipe) -> nn.Module:
    """What brings pixels to the size and the values that the network learned from."""
    normalise = Normalise(recipe.mean, recipe.std)
    return normalise if recipe.size is None else nn.Sequential(Resize(recipe.size), normalise)


def _initialise(module: nn.Module, generator: torch.Generator) -> None:
    """PyTorch's default initialisation (uniform, bound 1 / sqrt(fan-in)), from `generator`."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            bound = 1 / math.sqrt(layer.weight[0].numel())
            for tensor in (layer.weight, layer.bias):
                if tensor is not None:
                    nn.init.uniform_(tensor, -bound, bound, generator=generator)
        elif isinstance(layer, nn.BatchNorm2d | nn.GroupNorm):
            layer.reset_parameters()  # constants, no draws


@functools.lru_cache(maxsize=64)  # asked for every trial of a grid
def _try(name: str, recipe: Recipe, image_size: tuple[int, int]) -> None:
    """`InputError` unless a user's own network works, for three classes."""
    made = _made(name, recipe, 3, seed=0)
    network = _assembled(made, None, _input_layer(recipe), 0, _CPU)
    _check_scores(name, network, 3, image_size)


def _check_scores(name: str, network: Network, num_classes: int, image_size: tuple[int, int]) -> None:
    """`InputError` unless images of (height, width) give scores [B, `num_classes`], by the network's own generators.

    `network`, in training, is spent: batch-norm and dropout go on.
    """
    x = torch.zeros(2, 3, *image_size, dtype=torch.uint8)
    before = torch.get_rng_state()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        try:
            scores = network.plastic(network.frozen(x))
        except (RuntimeError, ValueError) as error:
            raise InputError(f"network '{name}' fails on images {list(x.shape)}: {error}") from error
        drew = not torch.equal(torch.get_rng_state(), before)
    if not isinstance(scores, Tensor) or scores.shape != (2, num_classes):
        got = list(scores.shape) if isinstance(scores, Tensor) else f"a {type(scores).__name__}"
        raise InputError(
            f"network '{name}': expected scores [B, num_classes] = [2, {num_classes}] for images {list(x.shape)}, "
            f"got {got}: end it with a layer of num_classes outputs, flattened"
        )
    if drew:
        raise InputError(
            f"network '{name}' draws from torch's global generator in training, which a resumed run could not "
            "continue: use nn.Dropout, which gets a generator of its own, instead of other random layers and "
            "functions"
        )
