"""ExStream: all prototypes of a stream clustering are replayed with every image, on the features of a frozen network.

Hayes et al. 2019, "Memory Efficient Experience Replay for Streaming Learning" (ICRA, arXiv 1809.05922). Each class
keeps at most b prototypes, and how many features each stands for. A feature x becomes a prototype of its class that
stands for one. Where b are kept already, the two nearest of them are first replaced by their mean (algorithm 1),

    p ← (n₁ p₁ + n₂ p₂) / (n₁ + n₂),   n ← n₁ + n₂,

and then the head takes one pass over all prototypes of all classes, shuffled.

Differences from the paper:

1. What learns is the network's head, a linear layer, not one of 350 and 300 hidden units with batch norm and dropout.
2. Losses run over the labels that have come by.

Differences from the authors' code (ExStream.py):

1. With fewer prototypes than fill whole mini-batches the last one is short; there, it repeats rows of the one before.
2. The first prototype is learned by itself; there, learning waits for the second.
3. Features are not divided by their length; there, those of CUB-200 are, before they come.
4. Of equally near pairs, the one kept first is merged, as there.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lethe.agents.base import Needs, Network, Problem
from lethe.agents.card import Card, Style
from lethe.agents.config import SGDConfig, setting
from lethe.agents.networks.quantised import map_shape
from lethe.agents.parts.device import to_device
from lethe.agents.parts.sgd import SGDAgent, seen_cross_entropy
from lethe.agents.slda import pooled
from lethe.common.errors import InputError


@dataclass(frozen=True)
class ExStreamConfig(SGDConfig):
    """Optimiser, rate and mini-batch of replay as published for CUB-200, with the largest b that was tried there."""

    optimizer: str = setting(
        "adam", "Optimiser, as PyTorch has it.", choices=("sgd", "adam", "adamw", "adamax")
    )
    lr: float = setting(2e-3, "Learning rate.", above=0)
    weight_decay: float = setting(
        0.0, "L2 penalty on all trained parameters; of adamw the decoupled weight decay.", low=0
    )
    prototypes: int = setting(16, "b, prototypes kept of each class.", low=2)
    replay_images: int = setting(100, "Prototypes of one mini-batch of replay.", low=1)


def merged(prototypes: Tensor, counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The nearest two of `prototypes` [b, D], b > 1, become one, which stands for as many as both in `counts` [b].

    Returns new prototypes and counts, in which the second place of the two has their mean, and the first place, a
    scalar, which is free.
    """
    distances = torch.cdist(prototypes, prototypes, compute_mode="donot_use_mm_for_euclid_dist")
    places = torch.arange(len(prototypes), device=prototypes.device)
    nearest = distances.masked_fill(places[:, None] >= places, torch.inf).argmin()
    first, second = nearest // len(places), nearest % len(places)
    total = counts[first] + counts[second]
    mean = (counts[first] * prototypes[first] + counts[second] * prototypes[second]) / total
    at_second = places == second
    return torch.where(at_second[:, None], mean, prototypes), torch.where(at_second, total, counts), first


class ExStream(SGDAgent[ExStreamConfig]):
    """Prototypes of pooled features in float32, in the order in which places were taken."""

    card = Card(
        title="ExStream",
        family="streaming",
        keeps="prototypes of features and their counts",
        source="1809.05922",
        formula="4·K·b·(C + 1) + K, b = `prototypes`",
        memory=lambda c, s: 4 * s.classes * c.prototypes * (s.shape[0] + 1) + s.classes,
        style=Style("purple", "h"),
    )
    needs = Needs(frozen_trunk=True)
    cut = "head"

    def __init__(
        self, problem: Problem, config: ExStreamConfig, network: Network, *, seed: int, device: torch.device
    ):
        super().__init__(problem, config, network, seed=seed, device=device)
        classes, size = problem.num_classes, map_shape(network, problem.input_shape)[0]
        _check_head(network, size, device)
        self.prototypes = torch.zeros(classes, config.prototypes, size, device=device)
        self.counts = torch.zeros(classes, config.prototypes, device=device)
        self.stored = [0] * classes
        """Prototypes of each class."""

    def observe(self, x: Tensor, y: Tensor) -> Mapping[str, Tensor]:
        """Store each image, and take a pass over all prototypes after it."""
        losses = []
        # Labels decide how many prototypes there are, and so how many steps: the one wait for the device.
        for vector, label in zip(pooled(self.network, x).float(), y.tolist(), strict=True):
            self.seen[label] = True
            self.store(vector, label)
            losses.append(self._replay())
        return {"loss": torch.stack(losses).mean()}

    def store(self, vector: Tensor, label: int) -> None:
        """Make the feature [D] a prototype of its class, where the nearest two make room for it if need be."""
        prototypes, counts = self.prototypes[label], self.counts[label]
        place: Tensor | int = self.stored[label]
        if place == len(counts):
            new, new_counts, place = merged(prototypes, counts)
            prototypes.copy_(new)
            counts.copy_(new_counts)
        else:
            self.stored[label] += 1
        prototypes[place], counts[place] = vector, 1.0

    def predict(self, x: Tensor) -> Tensor:
        """The head's scores of the pooled features."""
        scores: Tensor = self.network.plastic(pooled(self.network, x).float()[:, :, None, None])
        return scores

    def _replay(self) -> Tensor:
        """One pass over all prototypes, shuffled, in steps of `replay_images`; the mean loss of its steps."""
        capacity = self.config.prototypes
        places = torch.tensor([
            label * capacity + place for label, stored in enumerate(self.stored) for place in range(stored)
        ])  # fmt: skip
        order = places[torch.randperm(len(places), generator=self.generator)]
        losses = []
        for rows in to_device(order, self.device).split(self.config.replay_images):
            vectors = self.prototypes.flatten(0, 1).index_select(0, rows)[:, :, None, None]
            loss = seen_cross_entropy(self.network.plastic(vectors), rows // capacity, self.seen)
            self.step(loss)
            losses.append(loss.detach())
        return torch.stack(losses).mean()


def _check_head(network: Network, size: int, device: torch.device) -> None:
    """`InputError` unless what learns takes pooled features [B, D, 1, 1]."""
    network.plastic.eval()
    try:
        with torch.no_grad():
            network.plastic(torch.zeros(2, size, 1, 1, device=device))
    except RuntimeError as error:
        raise InputError(
            f"exstream learns on features averaged over positions, {size} x 1 x 1, which this network's stages after "
            f"the cut do not take ({error}): cut it at its head"
        ) from error
    finally:
        network.plastic.train()
