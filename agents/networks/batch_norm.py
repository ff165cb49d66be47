"""Batch-norm for batches of one input, which have no variance where a map has one value per channel."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lethe.common.errors import InputError

_KINDS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class BatchNorm2d(nn.BatchNorm2d):
    """PyTorch's, but in training a batch with one value per channel is normalised as in evaluation.

    PyTorch raises there, which would end a run at the first task whose last mini-batch is one image. Such a
    batch leaves the running statistics as they are; it still contributes to the gradient.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise maps [B, C, H, W]."""
        if self.training and _is_single(x):
            statistics = self.running_mean, self.running_var
            return F.batch_norm(x, *statistics, self.weight, self.bias, training=False, eps=self.eps)
        return super().forward(x)


def check_first_batch(
    plastic: nn.Module, input_shape: tuple[int, int, int], batch_size: int, device: torch.device
) -> None:
    """`InputError` where batch-norm in `plastic` could never take statistics from mini-batches of `batch_size`.

    That is so where a single input of `input_shape`, (C, H, W), leaves some layer one value per channel.
    """
    layers = [layer for layer in plastic.modules() if isinstance(layer, _KINDS)]
    if batch_size > 1 or not layers:
        return
    single = []
    handles = [
        layer.register_forward_pre_hook(lambda _, given: single.append(_is_single(given[0])))
        for layer in layers
    ]
    training = plastic.training
    plastic.eval()  # draws nothing, changes nothing
    try:
        with torch.no_grad():
            plastic(torch.zeros(1, *input_shape, device=device))
    finally:
        plastic.train(training)
        for handle in handles:
            handle.remove()
    if any(single):
        raise InputError(
            "batch size of the first task: expected at least 2, got 1: of one input of "
            f"{' x '.join(map(str, input_shape))} this network's batch-norm sees a single value a channel, which has "
            "no variance: set a larger batch_size (or batch_size_first_task), take larger images, or a network "
            "without batch-norm (small, squeezenet)"
        )


def _is_single(x: Tensor) -> bool:
    """Whether a batch [B, C, ...] has one value per channel."""
    return x.numel() == x.shape[1]
