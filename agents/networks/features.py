"""The features of a network: the input of its head."""

from torch import Tensor, nn


def features(plastic: nn.Module, x: Tensor) -> Tensor:
    """Input of the head, [B, D], averaged over positions where it is a map: for SqueezeNet [B, 512].

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
