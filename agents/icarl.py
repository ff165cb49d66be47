"""iCaRL: exemplars chosen by herding, classification by the nearest mean of exemplars, distillation.

Rebuffi et al. 2017, "iCaRL: Incremental Classifier and Representation Learning" (arXiv 1611.07725). With
g_y(x) = σ(a_y(x)) the sigmoid of score y (equation 1), and q_y(x) = g_y(x) under the network as it was before
the task, the loss of one image is (algorithm 3)

    ℓ = - Σ_(y new) [y is its label] log g_y + [y is not] log(1 - g_y)
        - Σ_(y old) q_y log g_y + (1 - q_y) log(1 - g_y).

After a task, exemplars of its classes are chosen one by one so that their mean feature comes nearest to the
class mean (algorithm 4); those of earlier classes are cut to the first m (algorithm 5). An image gets the
label of the nearest mean of exemplars (equation 2, algorithm 1). Features are those that the head sees,
divided by their length; so are their means.

Differences from the paper:

1. One pass over the stream, not many over its union with the exemplars: each mini-batch is joined with a draw
   from the exemplars.
2. m = memory_size / classes in whole numbers, and the remainder is not wasted: the lowest labels have one
   exemplar more. A budget smaller than the number of classes is refused.
3. Classes may come back. Labels met in this task count as new, whatever was before, all others as old;
   exemplars of a class are then chosen anew from the task's images and its old exemplars. Where no class
   comes back this is the paper.
4. Until the first exemplars are chosen the network's own scores are used. Means are taken once, at the end
   of a task; classes that are met later have none until their task ends.
5. The loss is the sum over labels and the mean over images; SGD and its settings are those of the protocol.

Differences from the authors' code (iCARL in agents/exp_replay.py of AugMem; its budget of 15 images, for all
data sets but CIFAR-100 with 100, is the default here):

1. Features are what the head sees; theirs are the scores themselves.
2. An image is chosen once, and earlier classes are cut; theirs may choose one image many times, and the cut
   is lost.
3. Old scores are those of the same images; theirs belong to others, because exemplars are shuffled in between.
4. Every batch of a task is learned; theirs stop where the exemplars end, after 14 to 26 of 58 in CORe50.
"""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lethe.agents.base import Needs, Network, Problem, TaskData, TaskInfo
from lethe.agents.card import Card, Setting, Style
from lethe.agents.config import SGDConfig, setting
from lethe.agents.networks.features import features
from lethe.agents.parts.buffers import check_shares
from lethe.agents.parts.device import to_device
from lethe.agents.parts.exemplars import gather, shares
from lethe.agents.parts.sgd import SGDAgent

_BATCH = 64  # images of one pass without gradients
_NO_EXEMPLAR = -5.0  # below any score: squared distances of unit vectors are at most 4


@dataclass(frozen=True)
class ICaRLConfig(SGDConfig):
    """The budget is that of the published scripts: far smaller than the other agents'."""

    memory_size: int = setting(15, "Exemplars kept, of all classes together.", low=1)
    replay_images: int = setting(10, "Exemplars joined to each mini-batch.", low=1)


def icarl_loss(scores: Tensor, old_scores: Tensor, y: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """ℓ of algorithm 3, the mean over images.

    scores, old_scores: [B, K], the latter of the network before the task; y: [B]; new, old: [K] bool. A label
    that is both counts as new, one that is neither not at all.
    """
    labels = F.one_hot(y, scores.shape[1]).to(scores)
    targets = torch.where(new, labels, old_scores.sigmoid())
    losses = F.binary_cross_entropy_with_logits(scores, targets, reduction="none")
    return (losses * (new | old)).sum(1).mean()


def herd(vectors: Tensor, count: int) -> Tensor:
    """Rows [count] of unit `vectors` [N, D], in the order in which algorithm 4 chooses them.

    The k-th is the one, of those not yet chosen, that brings the mean of the first k nearest to μ, the mean of
    all, divided by its length. With S the sum of those chosen, ‖μ - (S + φ)/k‖ is least where ⟨kμ - S, φ⟩ is
    largest, because all φ have length one.
    """
    mean = F.normalize(vectors.mean(0), dim=0)
    wanted, free = mean.clone(), torch.zeros(len(vectors), device=vectors.device)
    chosen = []
    for _ in range(min(count, len(vectors))):
        best = (vectors @ wanted + free).argmax()
        free[best] = -torch.inf
        wanted += mean - vectors[best]
        chosen.append(best)
    return torch.stack(chosen) if chosen else torch.empty(0, dtype=torch.int64, device=vectors.device)


def _memory(c: ICaRLConfig, s: Setting) -> int:
    exemplars = c.memory_size * (s.input_bytes + 8)
    return exemplars + 4 * s.classes * s.features + s.copy + 3 * s.classes


class ICaRL(SGDAgent[ICaRLConfig]):
    """Learns with sigmoid outputs and distillation, and classifies by the nearest mean of exemplars."""

    card = Card(
        title="iCaRL",
        family="replay",
        keeps="images, labels, a mean per class, the network of the last task",
        source="1611.07725",
        formula="m·(X + 8) + 4·K·D + S + 3·K, m = `memory_size`",
        memory=_memory,
        style=Style("purple", "P"),
        published=(
            "iCARL",
            "iCaRL",
        ),
    )
    needs = Needs(task_boundaries=True, task_data=True)

    def __init__(
        self, problem: Problem, config: ICaRLConfig, network: Network, *, seed: int, device: torch.device
    ):
        check_shares(config.memory_size, problem.num_classes)
        super().__init__(problem, config, network, seed=seed, device=device)
        self.new = torch.zeros_like(self.seen)
        """[K] bool, the labels met in this task."""
        self.old = torch.zeros_like(self.seen)
        """[K] bool, the labels met before this task."""
        self.old_network = copy.deepcopy(network.plastic).requires_grad_(False).eval()
        """The network as it was at the end of the last task."""
        self.buffer: dict[str, Tensor] = {}
        """Exemplars, `inputs` [N, ...] and `labels` [N]: by label, then in the order in which herding chose."""
        self.means: Tensor | None = None
        """[K, D], the unit means of exemplars; zeros for labels without any."""

    def observe(self, x: Tensor, y: Tensor) -> Mapping[str, Tensor]:
        """One step on the batch and a draw of the exemplars."""
        self.new[y] = True
        self.seen[y] = True
        if self.buffer:
            drawn = torch.randperm(len(self.buffer["labels"]), generator=self.generator)
            rows = to_device(drawn[: self.config.replay_images], self.device)
            x = torch.cat([x, self.buffer["inputs"][rows]])
            y = torch.cat([y, self.buffer["labels"][rows]])
        scores = self.network.plastic(x)
        with torch.no_grad():
            old_scores = self.old_network(x) if self.buffer else torch.zeros_like(scores)
        loss = icarl_loss(scores, old_scores, y, self.new, self.old)
        self.step(loss)
        return {"loss": loss.detach()}

    def end_task(self, task: TaskInfo, data: TaskData) -> None:
        """Choose exemplars and take their means; keep the network for distillation."""
        self.network.eval()
        with torch.no_grad():
            self.choose_exemplars(data)
        self.network.train()
        self.old_network.load_state_dict(self.network.plastic.state_dict())
        self.old = self.seen.clone()
        self.new = torch.zeros_like(self.new)

    def choose_exemplars(self, data: TaskData) -> None:
        """Herd the task's images and its classes' old exemplars; cut the exemplars of all other classes."""
        found = [(self.unit_features(x), y) for x, y in self._candidates(data)]
        vectors, labels = (torch.cat(column) for column in zip(*found, strict=True))
        here = set(labels[-len(data) :].tolist())
        classes = labels.unique().tolist()
        chosen = []
        for label, share in zip(classes, shares(self.config.memory_size, len(classes)), strict=True):
            rows = (labels == label).nonzero().squeeze(1)
            chosen.append(rows[herd(vectors[rows], share)] if label in here else rows[:share])
        rows = torch.cat(chosen)
        # A second pass for the images: those of a whole task need not fit where their features do.
        self.buffer = {"inputs": gather(self._candidates(data), rows), "labels": labels[rows]}
        sums = vectors.new_zeros(self.problem.num_classes, vectors.shape[1])
        self.means = F.normalize(sums.index_add_(0, labels[rows], vectors[rows]), dim=1)

    def _candidates(self, data: TaskData) -> Iterator[tuple[Tensor, Tensor]]:
        """The exemplars, then the task's images, with their labels, in batches."""
        if self.buffer:
            inputs, labels = self.buffer["inputs"], self.buffer["labels"]
            yield from zip(inputs.split(_BATCH), labels.split(_BATCH), strict=True)
        yield from data.batches(_BATCH)

    def unit_features(self, x: Tensor) -> Tensor:
        """The features [B, D] of inputs, divided by their length."""
        return F.normalize(features(self.network.plastic, x), dim=1)

    def predict(self, x: Tensor) -> Tensor:
        """-‖φ(x) - μ_y‖² [B, K], μ_y the mean of y's exemplars; a constant below all where there are none."""
        if self.means is None:
            scores: Tensor = self.network.plastic(x)
            return scores
        vectors = self.unit_features(x)
        inner = vectors @ self.means.T
        distances = vectors.square().sum(1, keepdim=True) - 2 * inner + self.means.square().sum(1)
        known = torch.zeros_like(self.seen)
        known[self.buffer["labels"]] = True
        return torch.where(known, -distances, _NO_EXEMPLAR)
