"""CoPE: prototypes that evolve with the features, and a loss that draws images to them and to each other.

De Lange and Tuytelaars 2021, "Continual Prototype Evolution: Learning Online from Non-Stationary Data Streams" (ICCV,
arXiv 2009.00919). f_i are embeddings divided by their length, p^c the unit prototype of label c, N the images of batch
and replay, and e(a, b) = exp(a·b / T). The pseudo-prototypical proxy loss is (equations 3 to 6)

    P_i  = mean over q of e(f_i, q) / (e(f_i, q) + Σ_(k ≠ c) e(f_i, p^k)),   q: p^c and the f_j of i's label c, j ≠ i
    R_ij = ½ Σ_(q = f_i, p^c) e(f_j, q) / (e(f_j, q) + Σ_(k ≠ c) e(f_j, p^k)),   j of any other label
    L    = -1/N ( Σ_i log P_i + Σ_i Σ_j log(1 - R_ij) ).

Prototypes and the f_j in P_i are constants. After the step p^c becomes α p^c + (1 - α) f̄^c, divided by its length,
where f̄^c is the mean embedding of c in the step, divided by its own (equation 2). An image gets the label of the
largest p^c·f.

Differences from the paper:

1. The embedding is a linear layer of the agent's own on the features that the head would see; the head is not used.
2. A prototype begins as the mean embedding, divided by its length, of its label in the mini-batch that first shows it,
   not in a random direction, which it would leave slowly.
3. The balanced memory is a uniform sample of each class, and what a class does not fill is left to the others.

Differences from the published code (other_models/COPE of AugMem):

1. It replays: there, the memory has no places by default.
2. Prototypes begin where the images are, not in random directions of positive coordinates.
3. Logarithms are taken of sums of exponentials, so that no temperature ends the process. T is the paper's 0.1, theirs
   1.
4. An embedding of 256 numbers; theirs has as many as there are labels.
5. The stream's order. Theirs is shuffled, with ten passes over each task.

Gradients go through f_i in R_ij, as in that code and in the authors'. Avalanche 0.6.0 takes it for a constant:
`constant_anchors=true`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lethe.agents.base import Network, Problem
from lethe.agents.card import Card, Setting, Style
from lethe.agents.config import SGDConfig, setting
from lethe.agents.networks.features import feature_size, features
from lethe.agents.parts.buffers import BalancedBuffer, check_shares
from lethe.agents.parts.linear import linear
from lethe.agents.parts.sgd import SGDAgent

_ABSENT = -1e9  # the exponent of nothing, whose gradient is a number also where all are absent


@dataclass(frozen=True)
class CoPEConfig(SGDConfig):
    """α and T as in the paper, the rest as in AugMem's code; the budget is that of the other agents."""

    lr: float = setting(1e-3, "Learning rate.", above=0)
    momentum: float = setting(
        0.0, "Momentum of SGD; β1 of the other optimisers, below 1 there.", low=0, high=1
    )
    weight_decay: float = setting(
        0.0, "L2 penalty on all trained parameters; of adamw the decoupled weight decay.", low=0
    )
    memory_size: int = setting(1200, "Images kept in memory.", low=1)
    replay_images: int = setting(10, "Images replayed with each mini-batch.", low=1)
    embedding_size: int = setting(256, "Numbers of an embedding.", low=2)
    prototype_momentum: float = setting(0.99, "α, what a prototype keeps of itself in a step.", low=0, high=1)
    temperature: float = setting(0.1, "T; lower makes near prototypes count more.", above=0)
    constant_anchors: bool = setting(False, "Take f_i in R_ij for a constant, as Avalanche does.")


def proxy_loss(
    f: Tensor, y: Tensor, prototypes: Tensor, seen: Tensor, temperature: float, constant_anchors: bool = False
) -> Tensor:
    """L of unit embeddings f [N, d], labels y [N] and unit prototypes [K, d], of which those `seen` [K] bool count."""
    same = y[:, None] == y
    to_prototypes = f @ prototypes.T / temperature
    others = torch.arange(len(seen), device=y.device) != y[:, None]  # [N, K]: the labels that i has not
    # [j, i]: log Σ_(k ≠ c) e(f_j, p^k), c the label of i.
    rest = to_prototypes[:, None].masked_fill(~(others & seen), _ABSENT).logsumexp(2)
    own = to_prototypes[:, y]  # [j, i]: exponent of e(f_j, p^c)
    attraction = _attraction(f @ f.detach().T / temperature, own.diagonal(), rest.diagonal(), same)
    repulsion = f @ (f.detach() if constant_anchors else f).T / temperature
    # log(1 - R), R = ½ (σ(a) + σ(b)), is log(½ (σ(-a) + σ(-b))).
    not_drawn = torch.logaddexp(F.logsigmoid(rest - repulsion), F.logsigmoid(rest - own)) - math.log(2)
    return -(attraction.sum() + not_drawn.masked_fill(same, 0).sum()) / len(y)


def _attraction(to_others: Tensor, own: Tensor, rest: Tensor, same: Tensor) -> Tensor:
    """The log P_i [N], of exponents to all embeddings [N, N], to i's prototype [N] and to all other prototypes [N]."""
    itself = torch.eye(len(own), dtype=torch.bool, device=own.device)
    terms = F.logsigmoid(to_others - rest[:, None]).masked_fill(~same | itself, -torch.inf)
    terms = torch.cat([terms, F.logsigmoid(own - rest)[:, None]], dim=1)
    return terms.logsumexp(1) - same.sum(1).to(own).log()


def _memory(c: CoPEConfig, s: Setting) -> int:
    e = c.embedding_size
    return c.memory_size * (s.input_bytes + 16) + 4 * e * (s.features + 1 + s.classes) + s.classes


class CoPE(SGDAgent[CoPEConfig]):
    """Embeds images near the prototype of their label, which follows them slowly."""

    card = Card(
        title="CoPE",
        family="replay",
        keeps="images, labels, keys of a draw, an embedding, a prototype per class",
        source="2009.00919",
        formula="m·(X + 16) + 4·e·(D + 1 + K) + K, m = `memory_size`, e = `embedding_size`",
        memory=_memory,
        style=Style("sky", "d"),
    )

    def __init__(
        self, problem: Problem, config: CoPEConfig, network: Network, *, seed: int, device: torch.device
    ):
        check_shares(config.memory_size, problem.num_classes)
        super().__init__(problem, config, network, seed=seed, device=device)
        size = feature_size(network.plastic, problem.input_shape, device)
        self.embedding = linear(size, config.embedding_size, self.generator, device)
        self.train_also(self.embedding)
        self.prototypes = torch.zeros(problem.num_classes, config.embedding_size, device=device)
        """[K, d], unit vectors; zeros for labels not `seen`."""
        self.buffer = BalancedBuffer(config.memory_size, self.generator, device)

    def observe(self, x: Tensor, y: Tensor) -> Mapping[str, Tensor]:
        """One step on the batch and its replay; prototypes follow; then the batch is offered to the memory."""
        fresh = ~self.seen
        self.seen[y] = True
        inputs, labels = x, y
        if len(self.buffer):
            old_x, old_y = self.buffer.sample(self.config.replay_images)
            inputs, labels = torch.cat([x, old_x]), torch.cat([y, old_y])
        f = self.embedded(inputs)
        means = F.normalize(torch.zeros_like(self.prototypes).index_add_(0, labels, f.detach()), dim=1)
        self.prototypes = torch.where(fresh[:, None], means, self.prototypes)
        loss = proxy_loss(
            f, labels, self.prototypes, self.seen, self.config.temperature, self.config.constant_anchors
        )
        self.step(loss)
        self._follow(means)
        self.buffer.add(x, y)
        return {"loss": loss.detach()}

    def _follow(self, means: Tensor) -> None:
        """Move prototypes towards the unit `means` [K, d] of the step's embeddings, zeros for labels not in it."""
        keep = self.config.prototype_momentum
        moved = F.normalize(keep * self.prototypes + (1 - keep) * means, dim=1)
        self.prototypes = torch.where(means.any(1, keepdim=True), moved, self.prototypes)

    def embedded(self, x: Tensor) -> Tensor:
        """Embeddings [B, d] of inputs, divided by their length."""
        return F.normalize(self.embedding(features(self.network.plastic, x)), dim=1)

    def predict(self, x: Tensor) -> Tensor:
        """p^c·f for every label [B, K]; below all others where the label has no prototype."""
        return torch.where(self.seen, self.embedded(x) @ self.prototypes.T, -2.0)
