"""GSS-greedy: a memory of images whose gradients point in different directions.

Aljundi et al. 2019, "Gradient based sample selection for online continual learning" (NeurIPS, arXiv 1903.08671),
algorithm 2. For each image (x, y) of the stream, with g(x, y) the gradient of its own loss, and n images of the memory
drawn at random,

    c = 1 + max_i cos(g(x, y), g(x_i, y_i));

while there is room, it is stored with its score c. In a full memory, and if c < 1, a candidate i is drawn with
probability C_i / Σ_j C_j, and replaced with probability C_i / (C_i + c): by the image, with score c.

Differences from the paper:

1. One draw of n images serves a mini-batch, as do the gradients of one θ, that after its step; an image is compared
   with the earlier ones of its mini-batch that are stored as well, and not with drawn images that were just
   replaced. With `batch_size=1` it is the paper.
2. The score of the very first image, for which the paper has none, is 0.1, as in the authors' code.
3. One step is on batch and replay together, as in `er`; `steps` makes several.
4. Losses run over the labels seen so far, and gradients are taken in evaluation mode. While one label alone was seen,
   they are 0, and so are cosines.

Differences from its authors' code (rahafaljundi/Gradient-based-Sample-Selection, model/GSS_Greedy.py, which AugMem's
other_models/GSS has with few changes):

1. Gradients of single images. There, those of up to n mini-batches of the memory.
2. Each image is judged by its c. There, a full memory changes only if the cosine of the whole mini-batch's gradient is
   below 0; candidates, without repetition, by scores scaled to 0 .. 1; the newcomer wins with the probability of its
   own score, not of the candidate's, so that redundant images replace others.
3. The last, short mini-batch of a task is like any other. There, it is held until the next is there, and the scores of
   its images are given to others.
4. A step on batch and replay, not one on each.

No published accuracy is comparable: AugMem's repository has none for GSS, and its paper's are of other networks.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call, grad, vmap

from lethe.agents.base import Network, Problem
from lethe.agents.card import Card, Setting, Style
from lethe.agents.config import SGDConfig, setting
from lethe.agents.parts.buffers import Buffer, take
from lethe.agents.parts.device import to_device
from lethe.agents.parts.sgd import SGDAgent, seen_cross_entropy

_FIRST_SCORE = 0.1


@dataclass(frozen=True)
class GSSConfig(SGDConfig):
    """Sizes are those of AugMem's script for CORe50; it makes ten steps on each mini-batch."""

    lr: float = setting(1e-3, "Learning rate.", above=0)
    memory_size: int = setting(1000, "Images kept in memory.", low=1)
    replay_images: int = setting(10, "Images replayed with each mini-batch.", low=1)
    compared_images: int = setting(
        10, "n, images of the memory that those of a mini-batch are compared with.", low=1
    )
    steps: int = setting(1, "Steps on each mini-batch, each with a new draw of replay.", low=1)

    def notes(self) -> tuple[str, ...]:
        """A remark where so many are compared with that next to nothing enters a full memory."""
        if 10 * self.compared_images <= self.memory_size:
            return ()
        return (
            f"compared_images={self.compared_images} is more than a tenth of memory_size={self.memory_size}: an image "
            "is nearly always compared with one of its own class, and not kept; take fewer, 3 for a memory of 50",
        )


class DiverseBuffer(Buffer):
    """Rows of input, label and score C, changed by algorithm 2."""

    def add(self, x: Tensor, y: Tensor, drawn: Tensor, cosines: Tensor) -> None:
        """Offer inputs [B, ...] and labels [B] in this order; nothing waits for the device.

        drawn: [N] int64, distinct places of stored rows; cosines: [B, N + B], of the gradients of the inputs with those
        of the drawn rows and of the inputs themselves.
        """
        count = len(y)
        draws = to_device(torch.rand(count, 2, generator=self.generator, dtype=torch.float64), self.device)
        if not self._columns:
            self._allocate([x, y, cosines.new_empty(0)])
        scores = self._columns[2]
        # Where each compared row lies: `capacity`, the place of what is not kept, for those that do not or no longer.
        places = torch.cat([drawn, drawn.new_full((count,), self.capacity)])
        for number in range(count):
            score = redundancy(cosines[number], places < self.capacity)
            free = self.added + number
            if free < self.capacity:
                place = torch.full_like(places[:1], free)
            else:
                place = exchange(scores[: self.capacity], score, draws[number])
            places.masked_fill_(places == place, self.capacity)
            places[len(drawn) + number : len(drawn) + number + 1] = place
            scores.index_copy_(0, place, score)
        self.added += count
        kept = places[len(drawn) :]
        self._write(kept, [x, y, scores.index_select(0, kept)])

    def sample(self, count: int) -> tuple[Tensor, ...]:
        """`count` stored inputs [N, ...] and labels [N], without replacement; all, if fewer are stored."""
        return super().sample(count)[:2]

    def drawn(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Places [N], inputs [N, ...] and labels [N] of `count` stored rows; all, if fewer are stored."""
        order = torch.randperm(len(self), generator=self.generator)[:count]
        places = to_device(order, self.device)
        return places, take(self._columns[0], places), self._columns[1].index_select(0, places)


def redundancy(cosines: Tensor, compared: Tensor) -> Tensor:
    """Score c [1] of an input with these `cosines` [R], of which those `compared` [R], bool, count."""
    score = 1 + cosines.masked_fill(~compared, -torch.inf).max().clamp(min=-1)
    return torch.where(compared.any(), score, _FIRST_SCORE).view(1)


def exchange(scores: Tensor, score: Tensor, draws: Tensor) -> Tensor:
    """The place [1] that a newcomer with `score` [1] takes in a full memory with `scores` [m]; m: it is not kept.

    draws: [2] in [0, 1), the first for the candidate, the second for whether it is replaced.
    """
    weights = scores.double()
    ends = weights.cumsum(0)
    candidate = (ends <= draws[0] * ends[-1]).sum().clamp(max=len(scores) - 1).view(1)
    chosen = weights.index_select(0, candidate)
    replaced = (score < 1) & (draws[1] * (chosen + score) < chosen)
    return torch.where(replaced, candidate, len(scores))


def _memory(c: GSSConfig, s: Setting) -> int:
    return s.stored_images(c.memory_size) + 4 * c.memory_size


class GSS(SGDAgent[GSSConfig]):
    """SGD on the batch and a sample of a memory of images with diverse gradients."""

    card = Card(
        title="GSS",
        family="replay",
        keeps="images, labels, scores of redundancy",
        source="1903.08671",
        formula="m·(X + 12) + K, m = `memory_size`",
        memory=_memory,
        style=Style("green", "d", "dashed", filled=False),
    )

    def __init__(
        self, problem: Problem, config: GSSConfig, network: Network, *, seed: int, device: torch.device
    ):
        super().__init__(problem, config, network, seed=seed, device=device)
        self.buffer = DiverseBuffer(config.memory_size, self.generator, device)

    def observe(self, x: Tensor, y: Tensor) -> Mapping[str, Tensor]:
        """Steps on the batch and its replay; then each of its images is offered to the memory."""
        self.seen[y] = True
        loss = torch.stack([self._replay(x, y) for _ in range(self.config.steps)]).mean()
        if len(self.buffer):
            places, old_x, old_y = self.buffer.drawn(self.config.compared_images)
            directions = self.directions(torch.cat([old_x, x]), torch.cat([old_y, y]))
        else:
            places, directions = y.new_empty(0), self.directions(x, y)
        self.buffer.add(x, y, places, directions[len(places) :] @ directions.T)
        return {"loss": loss}

    def _replay(self, x: Tensor, y: Tensor) -> Tensor:
        """One step on the batch and a draw from the memory; its loss."""
        if len(self.buffer):
            old_x, old_y = self.buffer.sample(self.config.replay_images)
            x, y = torch.cat([x, old_x]), torch.cat([y, old_y])
        loss = seen_cross_entropy(self.network.plastic(x), y, self.seen)
        self.step(loss)
        return loss.detach()

    def directions(self, x: Tensor, y: Tensor) -> Tensor:
        """Unit gradients g / ‖g‖ [B, P], g the gradient of each input's own loss; 0 where that is 0."""
        plastic = self.network.plastic.eval()
        parameters = {name: p.detach() for name, p in plastic.named_parameters()}

        def loss(parameters: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
            scores = functional_call(plastic, parameters, (image.unsqueeze(0),))
            return seen_cross_entropy(scores, label.unsqueeze(0), self.seen)

        gradients = vmap(grad(loss), in_dims=(None, 0, 0))(parameters, x, y)
        plastic.train()
        return F.normalize(torch.cat([g.flatten(1) for g in gradients.values()], dim=1), dim=1)
