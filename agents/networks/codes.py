"""Codes of product quantisation (Jégou et al. 2011) as tensor operations."""

import torch
import torch.nn.functional as F
from torch import Tensor

from lethe.common.errors import InputError

CENTROIDS = 256
"""Of each codebook: a code is one byte."""


def check_codebooks(channels: int, codebooks: int) -> None:
    """`InputError` where `codebooks` does not divide the channels."""
    if channels % codebooks:
        raise InputError(
            f"codebooks: expected a number that divides the {channels} channels, got {codebooks}"
        )


def encode(maps: Tensor, centroids: Tensor) -> Tensor:
    """Codes uint8 [B, H, W, M] of feature maps [B, C, H, W]: in each codebook the nearest centroid."""
    batch, _, height, width = maps.shape
    codebooks, _, size = centroids.shape
    parts = maps.permute(0, 2, 3, 1).reshape(-1, codebooks, size).transpose(0, 1)  # [M, B·H·W, D/M]
    # |x - c|² less |x|², which does not change the nearest.
    distances = torch.baddbmm(
        centroids.square().sum(2).unsqueeze(1), parts, centroids.transpose(1, 2), alpha=-2
    )
    return distances.argmin(2).to(torch.uint8).T.reshape(batch, height, width, codebooks)


def decode(codes: Tensor, centroids: Tensor) -> Tensor:
    """Feature maps [B, C, H, W] float32, in channels-last memory, of codes [B, H, W, M]: one gather."""
    first = CENTROIDS * torch.arange(len(centroids), device=codes.device)
    return F.embedding(codes.long() + first, centroids.flatten(0, 1)).flatten(3).permute(0, 3, 1, 2)
