"""The features of a network: the input of its head."""

import torch
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


@torch.no_grad()
def feature_size(plastic: nn.Module, input_shape: tuple[int, int, int], device: torch.device) -> int:
    """D, the number of features that the head of `plastic` sees for inputs (C, H, W); nothing is drawn or changed."""
    training = plastic.training
    plastic.eval()
    try:
        return features(plastic, torch.zeros(1, *input_shape, device=device)).shape[1]
    finally:
        plastic.train(training)
