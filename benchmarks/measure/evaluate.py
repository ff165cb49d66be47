"""Evaluation: one pass over the test images of all classes seen so far gives every accuracy."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lethe.agents.base import Agent
from lethe.benchmarks.measure import metrics
from lethe.dataloaders.streams import Images, Stream, Task

_TOP5_ABOVE = 10  # classes; with fewer, top-5 says little
_BATCH = {"cpu": 64, "cuda": 512}  # larger batches are slower on a CPU


class Diverged(RuntimeError):
    """The loss or a score became infinite or no number."""


@dataclass(frozen=True)
class Evaluation:
    """Accuracies in percent after a task."""

    seen: float
    """On all classes seen so far."""
    groups: tuple[float, ...]
    """On each group, the classes first met in a task; NaN for a group that has no test image."""
    top5: float | None
    """On all classes seen so far; None up to ten classes in all."""


class Evaluator:
    """Evaluation of an agent on the test images of a stream."""

    def __init__(self, stream: Stream, images: Images, device: torch.device):
        self.images = images
        self.device = device
        self.test = stream.test
        self.num_classes = stream.num_classes
        self.classes_met = [stream.classes_met(task) for task in range(len(stream.tasks))]
        groups = metrics.groups_of(self.classes_met)
        self.num_groups = max(groups.values()) + 1
        self._tasks = stream.tasks
        self.stream_images = len(torch.cat([task.rows for task in stream.tasks]).unique())
        self._group = torch.tensor([groups[label] for label in range(stream.num_classes)])

    def __call__(self, agent: Agent, task: int) -> Evaluation:
        """Accuracy of `agent` after `task`, predictions limited to the classes met until then.

        `Diverged` where a score of these is no number.
        """
        part, seen = self._part(task)
        top = 5 if self.num_classes > _TOP5_ABOVE else 1
        judged = torch.cat([
            _judged(scores, labels.to(self.device), min(top, len(seen)))
            for scores, labels in self._scores(agent, part, seen)
        ]).cpu()  # fmt: skip
        hits, faults = judged[:, :-1], int(judged[:, -1].sum())
        if faults:
            raise Diverged(
                f"{faults} of {len(part)} test images have scores that are no numbers, after task {task}: "
                "try a smaller learning rate"
            )
        correct, groups = hits[:, 0].double(), self._group[part.labels]
        totals = torch.bincount(groups, minlength=self.num_groups)
        rights = torch.bincount(groups, weights=correct, minlength=self.num_groups)
        return Evaluation(
            seen=100 * correct.mean().item(),
            groups=tuple((100 * rights / totals).tolist()),
            top5=100 * hits.any(1).double().mean().item() if top == 5 else None,
        )

    def predictions(self, agent: Agent, task: int) -> dict[str, np.ndarray]:
        """Rows of the store [N], labels [N] and scores float32 [N, K] (-inf for unseen classes)."""
        part, seen = self._part(task)
        scores = torch.cat([scores.float().cpu() for scores, _ in self._scores(agent, part, seen)])
        return {"row": part.rows.numpy(), "label": part.labels.numpy(), "scores": scores.numpy()}

    def tasks_share_classes(self, *, cumulative: bool) -> bool:
        """Whether a class is in two tasks; or in the new images of two, where each task repeats all before it."""
        met: set[int] = set()
        repeated = torch.empty(0, dtype=torch.int64)
        for task in self._tasks:
            labels = set(task.labels[~torch.isin(task.rows, repeated)].tolist())
            if met & labels:
                return True
            met |= labels
            if cumulative:
                repeated = task.rows
        return False

    def _part(self, task: int) -> tuple[Task, Tensor]:
        """The test images of the classes met until `task`, and these classes."""
        seen = torch.tensor(self.classes_met[task])
        chosen = torch.isin(self.test.labels, seen)
        return Task(self.test.rows[chosen], self.test.labels[chosen]), seen

    @torch.no_grad()
    def _scores(self, agent: Agent, part: Task, seen: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield masked scores [B, K] on the device and labels [B], in batches."""
        unseen = torch.ones(self.num_classes, dtype=torch.bool)
        unseen[seen] = False
        unseen = unseen.to(self.device)
        agent.network.eval()
        for batch in part.batches(_BATCH[self.device.type]):
            yield agent.predict(self.images[batch.rows]).masked_fill(unseen, -torch.inf), batch.labels
        agent.network.train()


def _judged(scores: Tensor, labels: Tensor, top: int) -> Tensor:
    """Whether the k-th likeliest class is the right one, and, last, whether a score is NaN: bool [B, top + 1]."""
    hits = scores.topk(top, dim=1).indices == labels.unsqueeze(1)
    return torch.cat((hits, scores.isnan().any(dim=1, keepdim=True)), dim=1)
