"""The networks that agents train: SqueezeNet 1.0, ResNet-18, MobileNetV2, and a small one for images up to 64 px.

Inputs are uint8 images [B, 3, H, W]; the first layer normalises them with ImageNet's statistics. Every
random number comes from the seed that `build` is given, dropout's included.
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError  # what a hostile or torn file of weights raises
from types import MappingProxyType
from typing import Any
from urllib.error import URLError

import safetensors.torch
import torch
from torch import Tensor, nn

from lethe.agents.base import Network
from lethe.agents.networks.batch_norm import BatchNorm2d
from lethe.agents.networks.small import FEATURES, small_features
from lethe.common.errors import InputError, unknown

SMALL_WEIGHTS = Path(__file__).parent / "weights" / "small.safetensors"
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


class Normalise(nn.Module):
    """uint8 or float pixels in 0..255, [B, 3, H, W] -> float32, (x / 255 - mean) / std per channel."""

    def __init__(self):
        super().__init__()
        scale = [1 / (255 * std) for std in _STD]
        shift = [-mean / std for mean, std in zip(_MEAN, _STD, strict=True)]
        self.register_buffer("scale", torch.tensor(scale).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("shift", torch.tensor(shift).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x`."""
        return torch.addcmul(self.shift, x.float(), self.scale)


class Dropout(nn.Module):
    """Dropout (Srivastava et al. 2014) that draws from a generator of its own, saved with the weights."""

    def __init__(self, p: float, seed: int, device: torch.device):
        super().__init__()
        self.p = p
        self.generator = torch.Generator(device).manual_seed(seed)

    def forward(self, x: Tensor) -> Tensor:
        """Zero each value with probability p and scale the rest by 1 / (1 - p), in training only."""
        if not self.training:
            return x
        kept = torch.rand(x.shape, generator=self.generator, device=x.device) >= self.p
        return x * kept / (1 - self.p)

    def get_extra_state(self) -> Tensor:
        """The generator's state, uint8."""
        return self.generator.get_state()

    def set_extra_state(self, state: Tensor) -> None:
        """Continue from `get_extra_state()`."""
        self.generator.set_state(state.cpu())

    def __deepcopy__(self, memo: dict) -> "Dropout":
        twin = Dropout(self.p, 0, self.generator.device)
        twin.generator.set_state(self.generator.get_state())
        return twin.train(self.training)


Stages = dict[str, nn.Module]
"""A network as named parts in order. What passes between them is a map [B, C, H, W]; the last is the head, [B, K]."""


def _small(num_classes: int, seed: int, device: torch.device) -> tuple[nn.Module, Stages]:
    body = small_features()
    stages = {f"conv{number + 1}": body[2 * number : 2 * number + 2] for number in range(4)}
    head = nn.Sequential(nn.Flatten(), nn.Linear(FEATURES, num_classes))
    return body, {**stages, "pool": body[8], "head": head}


def _squeezenet(num_classes: int, seed: int, device: torch.device) -> tuple[nn.Module, Stages]:
    """SqueezeNet 1.0 with the head of the AugMem protocol: dropout, 3x3 convolution, ReLU, global average."""
    from torchvision.models import squeezenet1_0

    body = squeezenet1_0(weights=None).features
    head = nn.Sequential(
        Dropout(0.5, seed, device),
        nn.Conv2d(512, num_classes, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    return body, {**{f"features.{number}": layer for number, layer in enumerate(body)}, "head": head}


def _resnet18(num_classes: int, seed: int, device: torch.device) -> tuple[nn.Module, Stages]:
    from torchvision.models import resnet18

    body = resnet18(weights=None, norm_layer=BatchNorm2d)
    body.fc = nn.Identity()
    blocks = {
        f"layer{group}.{number}": block
        for group in range(1, 5)
        for number, block in enumerate(getattr(body, f"layer{group}"))
    }
    stem = nn.Sequential(body.conv1, body.bn1, body.relu, body.maxpool)
    head = nn.Sequential(nn.Flatten(), nn.Linear(512, num_classes))
    return body, {"conv1": stem, **blocks, "pool": body.avgpool, "head": head}


def _mobilenet(num_classes: int, seed: int, device: torch.device) -> tuple[nn.Module, Stages]:
    from torchvision.models import mobilenet_v2

    body = mobilenet_v2(weights=None, norm_layer=BatchNorm2d).features
    stages = {f"features.{number}": layer for number, layer in enumerate(body)}
    head = nn.Sequential(nn.Flatten(), Dropout(0.2, seed, device), nn.Linear(1280, num_classes))
    return body, {**stages, "pool": nn.AdaptiveAvgPool2d(1), "head": head}


def _small_weights() -> dict[str, Tensor]:
    return safetensors.torch.load_file(SMALL_WEIGHTS)


def _squeezenet_weights() -> dict[str, Tensor]:
    from torchvision.models import SqueezeNet1_0_Weights

    return _under("features.", _from_hub(SqueezeNet1_0_Weights.IMAGENET1K_V1))


def _resnet18_weights() -> dict[str, Tensor]:
    from torchvision.models import ResNet18_Weights

    weights = _from_hub(ResNet18_Weights.IMAGENET1K_V1)
    return {name: w for name, w in weights.items() if not name.startswith("fc.")}


def _mobilenet_weights() -> dict[str, Tensor]:
    from torchvision.models import MobileNet_V2_Weights

    return _under("features.", _from_hub(MobileNet_V2_Weights.IMAGENET1K_V1))


def _under(prefix: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)}


@dataclass(frozen=True)
class _Recipe:
    build: Callable[[int, int, torch.device], tuple[nn.Module, Stages]]
    """(num_classes, seed, device) -> the module that the pretrained weights are for, and the stages it is in."""
    weights: Callable[[], dict[str, Tensor]]
    last_block: str
    """The stage from which on a network learns that is mostly frozen; SqueezeNet's and MobileNet's are AugMem's,
    ResNet's is REMIND's."""
    max_pixels: int | None = None


_RECIPES: Mapping[str, _Recipe] = MappingProxyType(
    {
        "small": _Recipe(_small, _small_weights, "conv4", max_pixels=64),
        "squeezenet": _Recipe(_squeezenet, _squeezenet_weights, "features.12"),
        "resnet18": _Recipe(_resnet18, _resnet18_weights, "layer4.1"),
        "mobilenet": _Recipe(_mobilenet, _mobilenet_weights, "features.8"),
    }
)
NETWORKS = tuple(_RECIPES)


def default_network(image_size: tuple[int, int]) -> str:
    """The protocol's network for images of (height, width): SqueezeNet, or the small one up to 64 px."""
    return "small" if max(image_size) <= _RECIPES["small"].max_pixels else "squeezenet"


def check(name: str, image_size: tuple[int, int]) -> None:
    """`InputError` unless `name` is a network that takes images of (height, width)."""
    if name not in _RECIPES:
        raise unknown("network", name, _RECIPES)
    limit = _RECIPES[name].max_pixels
    if limit is not None and max(image_size) > limit:
        raise InputError(
            f"network '{name}' takes images up to {limit} px, these have {image_size}: use squeezenet or resnet18"
        )


def find_cut(name: str, cut: str) -> str:
    """The stage of network `name` that `cut` names: its name, or "last_block"; `InputError` where there is none."""
    stages = _blank(name, num_classes=1, seed=0, device=torch.device("cpu"))[1]
    cut = _RECIPES[name].last_block if cut == "last_block" else cut
    if cut not in stages:
        raise unknown(f"stage to cut {name} at", cut, stages)
    return cut


def freezes(name: str, cut: str | None) -> bool:
    """Whether anything of network `name` lies before `cut`, so that it never trains."""
    stages = _blank(name, num_classes=1, seed=0, device=torch.device("cpu"))[1]
    return cut is not None and find_cut(name, cut) != next(iter(stages))


def build(
    name: str, num_classes: int, *, cut: str | None = None, pretrained: bool, seed: int, device: torch.device
) -> tuple[Network, str]:
    """The network and the SHA-256 of its pretrained weights ("" without).

    The stages before the one that `cut` names are frozen; without `cut`, none. The head, and everything where
    `pretrained` is false, is drawn from `seed`. No global random state is used.
    """
    body, stages = _blank(name, num_classes, seed, device)
    layers = nn.Sequential(*stages.values()).to_empty(device=torch.device("cpu"))
    _initialise(layers, torch.Generator().manual_seed(seed))
    digest = ""
    if pretrained:
        body.load_state_dict(_RECIPES[name].weights())
        digest = fingerprint(body)
    first = 0 if cut is None else list(stages).index(find_cut(name, cut))
    if first == 0:
        network = Network(nn.Identity(), nn.Sequential(Normalise(), *layers))
    else:
        network = Network(nn.Sequential(Normalise(), *layers[:first]), layers[first:])
    return network.to(device, memory_format=torch.channels_last), digest


def _blank(name: str, num_classes: int, seed: int, device: torch.device) -> tuple[nn.Module, Stages]:
    """The module that weights are for, and the stages, without values."""
    if name not in _RECIPES:
        raise unknown("network", name, _RECIPES)
    with torch.device("meta"):  # constructors draw their initial values from the global generator: not here
        return _RECIPES[name].build(num_classes, seed, device)


def features(plastic: nn.Module, x: Tensor) -> Tensor:
    """What the head sees, [B, D], averaged over positions where it is a map: for SqueezeNet [B, 512].

    The head of `plastic`, a sequence of layers, is its last child.
    """
    if not isinstance(plastic, nn.Sequential):
        raise TypeError(
            f"expected an nn.Sequential whose last layer is the head, got a {type(plastic).__name__}: "
            "build the network as one, so that its features can be told from its head"
        )
    for layer in list(plastic)[:-1]:
        x = layer(x)
    return x.mean((2, 3)) if x.ndim == 4 else x


def fingerprint(module: nn.Module) -> str:
    """SHA-256 over the layers of `module` and the names and bytes of its weights."""
    digest = hashlib.sha256(repr(module).encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode() + b"\0" + tensor.contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()


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


def _from_hub(weights: Any) -> dict[str, Tensor]:
    """Weights through torchvision's own API, from its cache or the network; nothing but tensors is unpickled."""
    name = weights.url.rsplit("/", 1)[-1]
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    advice = f"download {weights.url} on a machine with a network and put it at {path}"
    try:
        return weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (URLError, ConnectionError, TimeoutError) as error:
        raise InputError(f"pretrained weights {name} cannot be fetched ({error}): {advice}") from error
    except (OSError, RuntimeError, EOFError, ValueError, UnpicklingError) as error:
        raise InputError(f"{path}: damaged weights: delete the file, or {advice}") from error
