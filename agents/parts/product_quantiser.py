"""Product quantisation (Jégou et al. 2011): codes, and the codebooks that faiss fits."""

from collections.abc import Iterable

import faiss
import torch
from torch import Tensor

from lethe.agents.networks.codes import CENTROIDS, check_codebooks, decode, encode
from lethe.agents.parts import flops
from lethe.agents.parts.draws import different
from lethe.common.errors import InputError

__all__ = [
    "CENTROIDS",
    "FITTED",
    "check_codebooks",
    "check_vectors",
    "chosen",
    "decode",
    "encode",
    "fit",
    "fit_flops",
    "taken",
]

FITTED = 256 * CENTROIDS
"""Vectors that codebooks are fitted to, at most; of more, faiss takes as many."""


def check_vectors(count: int, of: str) -> None:
    """`InputError` where `count` vectors, which are those `of` something, are fewer than a codebook's centroids."""
    if count < CENTROIDS:
        raise InputError(
            f"codebooks: expected at least {CENTROIDS} vectors to fit the {CENTROIDS} centroids of each, "
            f"got {count} ({of}): take a first task of more images, or cut the network where maps are larger"
        )


def chosen(count: int, generator: torch.Generator) -> Tensor:
    """Which of `count` vectors to fit to, int64, ascending: all, or `FITTED` different ones at random of more."""
    return different(FITTED, count, generator).sort().values if count > FITTED else torch.arange(count)


def taken(maps: Iterable[Tensor], chosen: Tensor) -> Tensor:
    """Vectors [N, C] of `maps`, batches [B, C, H, W], of which one is in memory at a time: the `chosen`, in order.

    Vectors are numbered by map, then position, row by row.
    """
    found, first = [], 0
    for batch in maps:
        vectors = batch.permute(0, 2, 3, 1).reshape(-1, batch.shape[1])
        low, high = torch.searchsorted(chosen, torch.tensor([first, first + len(vectors)])).tolist()
        found.append(vectors[(chosen[low:high] - first).to(vectors.device)])
        first += len(vectors)
    return torch.cat(found)


def fit(vectors: Tensor, codebooks: int) -> Tensor:
    """Codebooks [M, 256, D / M] float32 for `vectors` [N, D], by k-means on each of M parts of the dimensions.

    The same vectors give the same codebooks: faiss draws from a fixed seed, and here on one thread. `InputError`
    where M does not divide D or there are fewer vectors than centroids.
    """
    count, size = vectors.shape
    check_codebooks(size, codebooks)
    check_vectors(count, "those to fit")
    quantiser = faiss.ProductQuantizer(size, codebooks, 8)
    quantiser.cp.min_points_per_centroid = 1  # fewer than faiss would like is no reason for a warning
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        quantiser.train(vectors.float().cpu().contiguous().numpy())
    finally:
        faiss.omp_set_num_threads(threads)
    flops.tell(fit_flops(count, size, quantiser.cp.niter, quantiser.cp.max_points_per_centroid))
    centroids = torch.from_numpy(faiss.vector_to_array(quantiser.centroids).copy())
    return centroids.view(codebooks, CENTROIDS, size // codebooks).to(vectors.device)


def fit_flops(count: int, size: int, rounds: int, most: int) -> int:
    """FLOPs of k-means on all parts of `count` vectors [size]: the distances to 256 centroids in each round.

    faiss takes at most `most` vectors per centroid.
    """
    return 2 * min(count, most * CENTROIDS) * CENTROIDS * size * rounds
