"""Networks that learn from codes: the frozen part's output as the indices of product quantisation (Jégou et al. 2011).

The frozen part ends in an `Encode`, the part that learns begins with a `Decode` of the same codebooks. What an agent is
given, keeps and replays is codes, uint8 [B, M, H, W]; the layers that learn see the maps that these stand for.
"""

import torch
from torch import Tensor, nn

from lethe.agents.base import Network
from lethe.agents.networks import codes
from lethe.common.errors import InputError


class _Quantiser(nn.Module):
    """Codebooks, `centroids` float32 [M, 256, C / M], which never learn."""

    centroids: Tensor

    def __init__(self, centroids: Tensor):
        super().__init__()
        self.register_buffer("centroids", centroids)

    @property
    def codebooks(self) -> int:
        """M."""
        return len(self.centroids)

    @property
    def channels(self) -> int:
        """C, of the maps."""
        return self.codebooks * self.centroids.shape[2]

    def extra_repr(self) -> str:
        """The sizes, which the fingerprint of a network has of its layers."""
        return f"codebooks={self.codebooks}, channels={self.channels}"


class Encode(_Quantiser):
    """Feature maps float32 [B, C, H, W] -> codes uint8 [B, M, H, W], in channels-last memory."""

    def forward(self, x: Tensor) -> Tensor:
        """Codes of maps `x`."""
        return codes.encode(x, self.centroids).permute(0, 3, 1, 2)


class Decode(_Quantiser):
    """Codes [B, M, H, W] -> feature maps float32 [B, C, H, W], in channels-last memory; maps stay as they are.

    Codes are uint8, or the same numbers in floating point where a memory keeps nothing else.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Maps of codes `x`, or `x` itself where it is maps: of an agent that works on these."""
        if x.is_floating_point() and x.shape[1] == self.channels:
            return x
        return codes.decode(x.permute(0, 2, 3, 1), self.centroids)


def quantised(network: Network, centroids: Tensor) -> Network:
    """A network that learns from codes by codebooks [M, 256, C / M], with the layers of `network`, cut as it is.

    `InputError` where nothing is frozen, or where a code would be as long as what it stands for.
    """
    if centroids.shape[2] < 2:
        raise InputError(
            f"codebooks: expected fewer than the {len(centroids)} channels of the frozen part's output, got "
            f"{len(centroids)}"
        )
    frozen, plastic = network.frozen, network.plastic
    if not (isinstance(frozen, nn.Sequential) and isinstance(plastic, nn.Sequential)):
        raise InputError("codebooks: nothing of the network is frozen, so there is nothing to be quantised")
    made = Network(nn.Sequential(), nn.Sequential())
    for name, layer in (*frozen.named_children(), ("encode", Encode(centroids))):
        made.frozen.add_module(name, layer)
    # Named as they were: by these names weights are loaded.
    for name, layer in (("decode", Decode(centroids)), *plastic._modules.items()):
        made.plastic.add_module(name, layer)
    return made.train()


def blank(network: Network, codebooks: int, shape: tuple[int, ...]) -> Network:
    """As `quantised`, with codebooks of zeros, for a frozen part whose output has `shape` (C, ...).

    `InputError` where `codebooks` does not divide the channels.
    """
    codes.check_codebooks(shape[0], codebooks)
    return quantised(network, torch.zeros(codebooks, codes.CENTROIDS, shape[0] // codebooks))


def decoder(network: Network) -> Decode | None:
    """The network's `Decode`, where it learns from codes."""
    plastic = network.plastic
    first = plastic[0] if isinstance(plastic, nn.Sequential) and len(plastic) else None
    return first if isinstance(first, Decode) else None


def maps(network: Network, x: Tensor) -> Tensor:
    """Inputs as an agent sees them that looks at features: of codes, the maps [B, C, H, W] that they stand for."""
    decode = decoder(network)
    found: Tensor = x if decode is None else decode(x)
    return found


def map_shape(network: Network, shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """(C, H, W) of `maps`, for inputs of `shape`."""
    decode = decoder(network)
    return shape if decode is None else (decode.channels, *shape[1:])
