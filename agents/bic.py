"""BiC: replay and distillation, then a correction of the new labels' scores that is learned on held-out images.

Wu et al. 2019, "Large Scale Incremental Learning" (CVPR, arXiv 1905.13260). With n old labels, m new ones and scores
f, the first stage learns from batch and replay with

    L = λ L_d + (1 - λ) L_c,   λ = n / (n + m)                                                     equation 3
    L_d = -Σ_(k old) π̂_k(x) log π_k(x),   π, π̂ = softmax of the old labels' scores / T          equations 1, 2

where π is the network's and π̂ that of the last task's network, corrected as it was used, and L_c is the cross entropy.
The second stage, at the end of a task, freezes the network and corrects the new labels' scores,

    q_k = f_k (k old),   q_k = α f_k + β (k new),                                                   equation 4

with the α and β of the least cross entropy of softmax(q) on held-out images, as many of each label (equation 5). An
image gets the label with the largest q_k. Held-out images are never trained on.

Differences from the paper:

1. One pass over the stream: of each `holdout_every` images one, drawn at random, is held out when it comes, and is
   never learned. Held-out images share the budget: a `holdout_every`-th part of it, at least one for each label where
   that leaves half of the budget.
2. Labels that come back count as new in every task in which they come. Without old labels nothing is corrected or
   distilled.
3. α and β have a small quadratic penalty (10^-3, around 1 and 0), so that they are finite where few images are told
   apart without error; they are solved for (Newton), not learned by descent. Where labels have unequal numbers of
   held-out images each label still has the same weight.
4. Only the last task's correction is in force, as in the authors' code.
5. L_d is the Kullback-Leibler divergence, which differs by a constant. Memories are uniform samples of each class.

Differences from the published code (other_models/BiC of AugMem):

1. Held-out images are no training images. There the two lists are the same object, so that the second stage sees no
   bias; and it moves α by no more than 0.001 for each label seen.
2. Labels are counted, where 5 a task are hard-coded; L_d runs over old labels alone.
3. A memory of `memory_size` images, where theirs has one image of a class.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lethe.agents.base import Needs, Network, Problem, TaskData, TaskInfo
from lethe.agents.card import Card, Setting, Style
from lethe.agents.config import SGDConfig, setting
from lethe.agents.parts.buffers import BalancedBuffer, check_shares
from lethe.agents.parts.device import to_device
from lethe.agents.parts.sgd import SGDAgent, seen_cross_entropy

_BATCH = 64  # images of one pass without gradients
_RIDGE = 1e-3
_ABSENT = -1e9  # a score of probability 0 whose gradient is a number, also where all labels have it


@dataclass(frozen=True)
class BiCConfig(SGDConfig):
    """T and the held-out share are those of the paper; the budget is that of the other agents."""

    memory_size: int = setting(1200, "Images kept in memory, held-out ones included.", low=2)
    replay_images: int = setting(10, "Images replayed with each mini-batch.", low=1)
    holdout_every: int = setting(10, "Of so many images of the stream one is held out.", low=2)
    temperature: float = setting(2.0, "T; higher gives more weight to improbable labels.", above=0)


def distillation(scores: Tensor, old_scores: Tensor, old: Tensor, temperature: float) -> Tensor:
    """Kullback-Leibler divergence of π from π̂ over the labels `old` [K] bool, mean over images; 0 where none is old.

    scores, old_scores: [B, K], those of the network and, corrected, of the last task's.
    """
    log_p, log_old = (
        F.log_softmax(given.masked_fill(~old, _ABSENT) / temperature, dim=1) for given in (scores, old_scores)
    )
    return F.kl_div(log_p, log_old, reduction="batchmean", log_target=True)


def corrected(scores: Tensor, correction: Tensor, labels: Tensor) -> Tensor:
    """Scores q [B, K]: α f + β for the `labels` [K] bool, f for all others; correction: (α, β)."""
    return torch.where(labels, correction[0] * scores + correction[1], scores)


def fit_correction(scores: Tensor, y: Tensor, new: Tensor) -> Tensor:
    """(α, β), float64 [2], for scores [N, K] of labels seen, y [N] and the new labels [K] bool; see equation 5.

    The problem is convex. Newton's method with step halving ends where the gradient is below 10^-10.
    """
    f, at = scores.double(), F.one_hot(y, scores.shape[1]).double()
    counts = at.sum(0)
    weights = 1 / counts[y]
    weights /= weights.sum()
    moved = torch.stack([f * new, new.double().expand_as(f)])  # ∂q/∂α, ∂q/∂β: [2, N, K]
    identity = torch.tensor([1.0, 0.0], dtype=torch.float64, device=f.device)

    def loss(point: Tensor) -> Tensor:
        losses = F.cross_entropy(corrected(f, point, new), y, reduction="none")
        return (weights * losses).sum() + _RIDGE / 2 * (point - identity).square().sum()

    point = identity.clone()
    for _ in range(100):
        p = corrected(f, point, new).softmax(1)
        gradient = torch.einsum("n,nk,jnk->j", weights, p - at, moved) + _RIDGE * (point - identity)
        if gradient.abs().max() < 1e-10:
            break
        mean = torch.einsum("nk,jnk->jn", p, moved)
        hessian = torch.einsum("n,nk,jnk,lnk->jl", weights, p, moved, moved)
        hessian += -torch.einsum("n,jn,ln->jl", weights, mean, mean) + _RIDGE * torch.eye(2).to(hessian)
        step = torch.linalg.solve(hessian, gradient)
        here, size = loss(point), 1.0
        while loss(point - size * step) > here and size > 1e-8:
            size /= 2
        point = point - size * step
    return point


def holdout_share(memory_size: int, holdout_every: int, classes: int) -> int:
    """Places of held-out images: their share of the budget, but one for each class where half of it allows that."""
    return max(memory_size // holdout_every, min(classes, memory_size // 2))


def _memory(c: BiCConfig, s: Setting) -> int:
    return c.memory_size * (s.input_bytes + 16) + s.copy + 4 * s.classes + 16


class BiC(SGDAgent[BiCConfig]):
    """Replay and distillation; the scores of the last task's labels are corrected on held-out images."""

    card = Card(
        title="BiC",
        family="replay",
        keeps="images, labels, keys of a draw, the network of the last task",
        source="1905.13260",
        formula="m·(X + 16) + S + 4·K + 16, m = `memory_size`",
        memory=_memory,
        style=Style("orange", "8"),
    )
    needs = Needs(task_boundaries=True)

    def __init__(
        self, problem: Problem, config: BiCConfig, network: Network, *, seed: int, device: torch.device
    ):
        check_shares(config.memory_size, problem.num_classes)
        super().__init__(problem, config, network, seed=seed, device=device)
        held = holdout_share(config.memory_size, config.holdout_every, problem.num_classes)
        self.buffer = BalancedBuffer(config.memory_size - held, self.generator, device)
        self.held_out = BalancedBuffer(held, self.generator, device)
        self.position = 0
        """Images since the last block of `holdout_every` began; `chosen` is the one that is held out."""
        self.chosen = 0
        self.old = torch.zeros_like(self.seen)
        """[K] bool, the labels met before this task and not in it."""
        self.new = torch.zeros_like(self.seen)
        """[K] bool, the labels met in this task."""
        self.old_network = copy.deepcopy(network.plastic).requires_grad_(False).eval()
        """The network as it was at the end of the last task."""
        self.distils = False
        """Whether a task has ended, so that there may be old labels."""
        self.correction = torch.tensor([1.0, 0.0], dtype=torch.float64, device=device)
        """(α, β) of the last task, for the labels `corrects` [K] bool."""
        self.corrects = torch.zeros_like(self.seen)

    def observe(self, x: Tensor, y: Tensor) -> Mapping[str, Tensor]:
        """Hold out an image now and then; one step on the others and a draw of the memory."""
        self.seen[y] = True
        self.new[y] = True
        self.old &= ~self.new
        held = torch.tensor(self._held_out(len(y)))
        aside, learned = (to_device(rows.nonzero().squeeze(1), self.device) for rows in (held, ~held))
        if len(aside):
            self.held_out.add(x[aside], y[aside])
        x, y = x[learned], y[learned]
        inputs, labels = x, y
        if len(self.buffer):
            old_x, old_y = self.buffer.sample(self.config.replay_images)
            inputs, labels = torch.cat([x, old_x]), torch.cat([y, old_y])
        if len(y):
            self.buffer.add(x, y)
        return self._learn(inputs, labels) if len(labels) else {}

    def _held_out(self, count: int) -> list[bool]:
        """Which of the next `count` images are held out: one at random of each block of `holdout_every`."""
        found = []
        for _ in range(count):
            if self.position == 0:
                self.chosen = int(torch.randint(self.config.holdout_every, (), generator=self.generator))
            found.append(self.position == self.chosen)
            self.position = (self.position + 1) % self.config.holdout_every
        return found

    def _learn(self, x: Tensor, y: Tensor) -> Mapping[str, Tensor]:
        scores = self.network.plastic(x)
        loss = seen_cross_entropy(scores, y, self.seen)
        if not self.distils:
            self.step(loss)
            return {"loss": loss.detach()}
        with torch.no_grad():
            old_scores = corrected(self.old_network(x), self.correction.float(), self.corrects)
        share = self.old.sum() / self.seen.sum()
        kept = distillation(scores, old_scores, self.old, self.config.temperature)
        loss = share * kept + (1 - share) * loss
        self.step(loss)
        return {"loss": loss.detach(), "distillation": kept.detach()}

    def end_task(self, task: TaskInfo, data: TaskData) -> None:
        """Correct the scores of this task's labels; keep the network for distillation."""
        self.network.eval()
        with torch.no_grad():
            self._correct()
        self.network.train()
        self.old_network.load_state_dict(self.network.plastic.state_dict())
        self.distils = True
        self.old = self.seen.clone()
        self.new = torch.zeros_like(self.new)

    def _correct(self) -> None:
        self.correction = torch.tensor([1.0, 0.0], dtype=torch.float64, device=self.device)
        self.corrects = torch.zeros_like(self.seen)
        if not len(self.held_out):
            return
        x, y = self.held_out.sample(len(self.held_out))
        new = self.new[y]
        if new.all() or not new.any():
            return
        scores = torch.cat([self.network.plastic(part) for part in x.split(_BATCH)])
        labels = self.seen.nonzero().squeeze(1)
        place = torch.searchsorted(labels, y)
        self.correction = fit_correction(scores.index_select(1, labels), place, self.new[labels])
        self.corrects = self.new.clone()

    def predict(self, x: Tensor) -> Tensor:
        """Corrected scores q [B, K]."""
        return corrected(self.network.plastic(x), self.correction.float(), self.corrects)
