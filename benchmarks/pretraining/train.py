"""Pretraining of the small network: draw solids that are no class of `core50_mini`, learn to name them.

The features are kept, the head is not. Every image has its own object, background, light and pose, so that
what is learned is shape. The result depends on the seed and the versions alone.
"""

import math
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from lethe.agents.networks.layers import Normalise
from lethe.agents.networks.recipe import IMAGENET_MEAN, IMAGENET_STD
from lethe.agents.networks.small import FEATURES, small_features
from lethe.benchmarks.pretraining.shapes import sample, shapes
from lethe.common.files import atomic_write
from lethe.common.progress import live_line
from lethe.dataloaders.datasets.core50_mini import SIZE

_BATCH = 64
_LEARNING_RATE = 2e-3  # of AdamW, after the warm-up; falls to 0 along half a cosine
_WEIGHT_DECAY = 0.02
_WARM_UP = 200  # steps
_SHIFT = 4  # pixels, at most, by which a batch is moved


def pretrain(out: Path, seed: int = 0, images: int = 28_000, epochs: int = 12, workers: int = 2) -> float:
    """Train the small network on `images` drawn solids and write its features' weights to `out`.

    Returns the share of further, unseen images (a twentieth of `images`) that it names rightly. The shipped
    weights are those of the defaults. `workers` processes draw; one thread trains, so that the result does
    not depend on the number of cores.

    Raises:
        InputError: where `out` cannot be written.

    """
    unseen = images // 20
    data = _draw(seed, images + unseen, workers)
    labels = torch.arange(len(data)) % len(shapes())
    network = _network(torch.Generator().manual_seed(seed))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        _train(network, data[:images], labels[:images], epochs, torch.Generator().manual_seed(seed + 1))
        accuracy = _accuracy(network, data[images:], labels[images:])
    finally:
        torch.set_num_threads(before)
    weights = {name: value.contiguous().clone() for name, value in network[1].state_dict().items()}
    with atomic_write(out) as temporary:
        save_file(weights, temporary)
    return accuracy


def _draw(seed: int, count: int, workers: int) -> Tensor:
    """The first `count` images, uint8 [count, 3, 64, 64]."""
    data = torch.empty((count, 3, SIZE, SIZE), dtype=torch.uint8)
    with (
        ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool,
        live_line(count, "drawing", "image") as bar,
    ):
        for number, image in enumerate(pool.map(partial(sample, seed), range(count), chunksize=100)):
            data[number] = torch.from_numpy(image).permute(2, 0, 1)
            bar.update()
    return data


def _network(generator: torch.Generator) -> nn.Sequential:
    """Normalisation, features and a head, with He's initial weights from `generator`."""
    with torch.device("meta"):  # so that the constructors draw nothing from the global generator
        layers = nn.Sequential(small_features(), nn.Linear(FEATURES, len(shapes())))
    network = nn.Sequential(Normalise(IMAGENET_MEAN, IMAGENET_STD), *layers.to_empty(device="cpu"))
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        else:
            nn.init.kaiming_normal_(parameter, nonlinearity="relu", generator=generator)
    return network.to(memory_format=torch.channels_last)


def _train(network: nn.Module, data: Tensor, labels: Tensor, epochs: int, generator: torch.Generator) -> None:
    """Cross-entropy in shuffled batches that are mirrored, moved and recoloured at random."""
    steps = epochs * (len(data) // _BATCH)
    optimiser = torch.optim.AdamW(network.parameters(), _LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1.0, (step + 1) / _WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / steps))
    )
    with live_line(steps, "pretraining", "batch") as bar:
        for _ in range(epochs):
            order = torch.randperm(len(data), generator=generator)
            for rows in order[: len(data) // _BATCH * _BATCH].split(_BATCH):
                images = _changed(data[rows], generator)
                optimiser.zero_grad()
                functional.cross_entropy(network(images), labels[rows]).backward()
                optimiser.step()
                schedule.step()
                bar.update()


def _changed(images: Tensor, generator: torch.Generator) -> Tensor:
    """The batch, mirrored or not, moved by a few pixels (around the edge) and with its channels permuted."""
    mirror, down, right = torch.randint(0, 2 * _SHIFT + 1, (3,), generator=generator).tolist()
    images = images[:, torch.randperm(3, generator=generator)]
    images = torch.roll(images, (down - _SHIFT, right - _SHIFT), (2, 3))
    images = images.flip(3) if mirror % 2 else images
    return images.contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def _accuracy(network: nn.Module, data: Tensor, labels: Tensor) -> float:
    """The share of images that are named rightly."""
    right = sum(
        int((network(images).argmax(1) == names).sum())
        for images, names in zip(data.split(_BATCH), labels.split(_BATCH), strict=True)
    )
    return right / max(len(data), 1)
