"""Models of timm (PyTorch Image Models, R. Wightman, Apache 2.0) as trunks, by the name `timm:NAME` or `timm:NAME.TAG`.

A model has three stages: `trunk` gives its last map (the tokens of a transformer as a map of one column), `pool` the
features that its classifier would get, `head` is a new linear layer. Size and normalisation of its input are timm's.

Weights are read from NAME.safetensors or NAME.pth, with timm's names, in the folder `timm` of PyTorch's cache; where
there is no such file, timm fetches them. Its default TAG has changed between versions: both are recorded.
"""

import copy
import difflib
import functools
import importlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType

import safetensors.torch
import torch
from torch import Tensor, nn

from lethe.agents.networks.recipe import Recipe, Staged
from lethe.common.errors import InputError
from lethe.common.imports import told

PREFIX = "timm:"


@functools.cache
def recipe(name: str) -> Recipe:
    """The recipe of the model `name` of timm; `InputError` where timm or the model is missing."""
    timm = _timm(name)
    known, (architecture, _, tag) = timm.list_models(), name.partition(".")
    if architecture not in known:
        near = difflib.get_close_matches(architecture, known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise InputError(
            f"network '{PREFIX}{name}': timm has no such model: {hint}timm.list_models() names all"
        )
    if tag and name not in (tags := timm.models.get_arch_pretrained_cfgs(name)):
        listed = ", ".join(sorted(tags)) or "no weights"
        raise InputError(
            f"network '{PREFIX}{name}': timm has no such weights of {architecture}: it has {listed}"
        )
    given = timm.models.get_pretrained_cfg(name)
    if given is None or len(given.input_size) != 3 or given.input_size[0] != 3:
        raise InputError(
            f"network '{PREFIX}{name}': expected a model of RGB images with a known size of its input"
        )
    size = (int(given.input_size[1]), int(given.input_size[2]))
    weights = functools.partial(_weights, name) if given.has_weights or _file(name) else None
    return Recipe(
        functools.partial(_build, name, size),
        weights,
        last_block="head",
        mean=tuple(given.mean),
        std=tuple(given.std),
        size=size,
        pretraining=f"{given.tag or 'unknown images'} of timm {timm.__version__}",
    )


class _Stage(nn.Module):
    """A part of a model, of which it calls one method; its maps are [B, C, H, W], whatever the model's own are."""

    def __init__(self, part: nn.Module, tokens: bool, channels_last: bool):
        super().__init__()
        self.part, self.tokens, self.channels_last = part, tokens, channels_last


class _Trunk(_Stage):
    """Normalised images to the last map; tokens [B, N, C] as [B, C, N, 1]."""

    def forward(self, x: Tensor) -> Tensor:
        """Pass images [B, 3, H, W]."""
        x = self.part.forward_features(x)  # type: ignore[operator]
        if self.tokens:
            return x.transpose(1, 2).unsqueeze(3)
        return x.permute(0, 3, 1, 2) if self.channels_last else x


class _Pool(_Stage):
    """The map of `_Trunk` to the features that the model's classifier would get, [B, D, 1, 1]."""

    def forward(self, x: Tensor) -> Tensor:
        """Pass maps [B, C, H, W]."""
        if self.tokens:
            x = x.squeeze(3).transpose(1, 2)
        elif self.channels_last:
            x = x.permute(0, 2, 3, 1)
        pooled: Tensor = self.part.forward_head(x)  # type: ignore[operator]
        return pooled[:, :, None, None]


def _build(name: str, size: tuple[int, int], num_classes: int) -> Staged:
    body = _timm(name).create_model(name, pretrained=False, num_classes=0)
    shape, width, used = _tried(name, body, size)
    form = len(shape) == 3, len(shape) == 4 and getattr(body, "output_fmt", "NCHW") == "NHWC"
    trunk = [child for child in body._modules if child not in used]
    stages = {
        "trunk": _Trunk(_part(body, trunk, dict(body._parameters)), *form),
        "pool": _Pool(_part(body, sorted(used), {}), *form),
        "head": nn.Sequential(nn.Flatten(), nn.Linear(width, num_classes)),
    }
    return Staged(stages, body)


def _tried(name: str, body: nn.Module, size: tuple[int, int]) -> tuple[torch.Size, int, set[str]]:
    """The shape of the last map, the number of pooled features, and the children that pool: without computing."""
    tried = copy.deepcopy(body).to("meta").eval()
    used: set[str] = set()
    for child, top in tried.named_children():
        for layer in top.modules():
            layer.register_forward_hook(lambda *_, child=child: used.add(child))
    try:
        with torch.no_grad():
            found = tried.forward_features(torch.zeros(1, 3, *size, device="meta"))  # type: ignore[operator]
            used.clear()
            width = int(tried.forward_head(found).shape[1])  # type: ignore[operator]
            if found.ndim not in (3, 4):
                raise ValueError(f"its last map has the shape {list(found.shape)}")
    except Exception as error:
        raise InputError(
            f"network '{PREFIX}{name}': cannot be parted in a trunk and a head ({told(error)}): take another model"
        ) from error
    return found.shape, width, used


def _part(body: nn.Module, children: Iterable[str], parameters: dict[str, nn.Parameter | None]) -> nn.Module:
    """`body` with some of its children and parameters, which are shared."""
    part = copy.copy(body)
    part._modules = {child: body._modules[child] for child in children}
    part._parameters = parameters
    part._buffers = dict(body._buffers) if parameters else {}
    return part


def _weights(name: str) -> Mapping[str, Tensor]:
    """The weights of a model without its classifier, from a file or as timm fetches them."""
    timm, path = _timm(name), _file(name)
    try:
        given = {"pretrained_cfg_overlay": {"state_dict": _read(path)}} if path else {}
        with torch.random.fork_rng(devices=[]):  # initial values are drawn, and replaced
            model = timm.create_model(name, pretrained=True, **given)
    except Exception as error:  # of timm, huggingface_hub, its client, or the file
        where = (
            f"{path}: are no weights" if path else f"network '{PREFIX}{name}': timm cannot fetch the weights"
        )
        raise InputError(
            f"{where} of {name} ({told(error)}): put weights with timm's names at {_place(name)}.safetensors, or start "
            "from random weights (--no-pretrained)"
        ) from error
    model.reset_classifier(0)
    weights: Mapping[str, Tensor] = model.state_dict()
    return weights


def _place(name: str) -> Path:
    """The file of the weights, without its ending."""
    return Path(torch.hub.get_dir()) / "checkpoints" / "timm" / name


def _file(name: str) -> Path | None:
    """The file of the weights; None where there is none."""
    place = _place(name)
    paths = (place.with_name(f"{place.name}{ending}") for ending in (".safetensors", ".pth"))
    return next((path for path in paths if path.is_file()), None)


def _read(path: Path) -> dict[str, Tensor]:
    """Weights by name; nothing but tensors is unpickled."""
    if path.suffix == ".safetensors":
        return safetensors.torch.load_file(path)
    found = torch.load(path, map_location="cpu", weights_only=True)
    weights: dict[str, Tensor] = found.get("state_dict", found.get("model", found))
    return weights


def _timm(name: str) -> ModuleType:
    """timm, which takes as long to import as PyTorch."""
    try:
        module = importlib.import_module("timm")
    except ModuleNotFoundError as error:
        raise InputError(
            f"network '{PREFIX}{name}': module '{error.name}' is not found: pip install -r requirements-trunks.txt"
        ) from error
    return module
