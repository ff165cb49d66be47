"""Evaluation: one pass over the test images of all classes seen so far gives every accuracy."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from lethe.agents.base import Agent
from lethe.agents.outputs import check_name
from lethe.benchmarks.measure import metrics
from lethe.benchmarks.measure.confusion import Confusion
from lethe.benchmarks.measure.unchanged import unchanged
from lethe.common.errors import InputError
from lethe.dataloaders.streams import Inputs, Stream, Task

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
    groups_top5: tuple[float, ...] | None
    """`groups` in top-5; None up to ten classes in all."""
    confusion: Confusion = field(repr=False, compare=False)
    """What the test images of each class were taken for."""
    further: "Mapping[str, Evaluation]" = field(default_factory=dict)
    """The same of each further output of the agent (`Agent.predict_also`), by name."""
    predictions: Mapping[str, np.ndarray] | None = field(default=None, repr=False, compare=False)
    """What `Evaluator.predictions` returns, if the evaluator keeps scores."""


class Evaluator:
    """Evaluation of an agent on the test images of a stream; `classes` are the names of labels 0 .. K-1.

    With `keep_scores`, every evaluation has its `predictions`.
    """

    def __init__(
        self,
        stream: Stream,
        images: Inputs,
        device: torch.device,
        classes: Sequence[str] | None = None,
        *,
        keep_scores: bool = False,
    ):
        self.classes = tuple(classes or map(str, range(stream.num_classes)))
        self.images = images
        self.device = device
        self.test = stream.test
        self.num_classes = stream.num_classes
        self.classes_met = [stream.classes_met(task) for task in range(len(stream.tasks))]
        groups = metrics.groups_of(self.classes_met)
        self.num_groups = max(groups.values()) + 1
        self._tasks = stream.tasks
        self._checked = False
        self._keep_scores = keep_scores
        self.stream_images = len(torch.cat([task.rows for task in stream.tasks]).unique())
        self._group = torch.tensor([groups.get(label, -1) for label in range(stream.num_classes)])
        tested = self._group[stream.test.labels]
        self.group_images: list[int] = torch.bincount(tested[tested >= 0], minlength=self.num_groups).tolist()

    @torch.no_grad()
    def __call__(self, agent: Agent, task: int) -> Evaluation:
        """Accuracy of `agent` after `task`, predictions limited to the classes met until then.

        `Diverged` where a score of these is no number, or the highest infinite. The first time, `StateChanged` where
        predicting changed the agent.
        """
        if not self._checked:
            with unchanged(agent):
                evaluation = self._judge(agent, task)
            self._checked = True
            return evaluation
        return self._judge(agent, task)

    def _judge(self, agent: Agent, task: int) -> Evaluation:
        part, unseen = self._part(task)
        top = min(5 if self.num_classes > _TOP5_ABOVE else 1, len(self.classes_met[task]))
        judged: dict[str, list[Tensor]] = defaultdict(list)
        kept: list[Tensor] = []
        for x in self._batches(agent, part):
            outputs = {"": agent.predict(x), **_further(agent, x)}
            for name, scores in outputs.items():
                judged[name].append(_judged(_sound(scores, len(x), len(unseen)), unseen, top))
            if self._keep_scores:
                kept.append(_limited(outputs[""], unseen))
        answer, *further = (self._evaluation(torch.cat(parts).cpu(), part, task) for parts in judged.values())
        return replace(
            answer,
            further=dict(zip(list(judged)[1:], further, strict=True)),
            predictions=self._arrays(part, kept) if kept else None,
        )

    def _evaluation(self, judged: Tensor, part: Task, task: int) -> Evaluation:
        """Accuracies from what `_judged` found of the test images `part`."""
        predicted, tied, faults = judged[:, :-2], int(judged[:, -2].sum()), int(judged[:, -1].sum())
        if faults:
            raise Diverged(
                f"{faults} of {len(part)} test images have scores that are no finite numbers, after task {task}: "
                "try a smaller learning rate"
            )
        hits = predicted == part.labels.unsqueeze(1)
        correct, among = hits[:, 0].double(), hits.any(1).double()
        has_top5 = self.num_classes > _TOP5_ABOVE
        return Evaluation(
            seen=100 * correct.mean().item(),
            groups=self._by_group(correct, part.labels),
            top5=100 * among.mean().item() if has_top5 else None,
            groups_top5=self._by_group(among, part.labels) if has_top5 else None,
            confusion=Confusion.of(self.classes, part.labels.numpy(), predicted[:, 0].numpy(), tied),
        )

    def _by_group(self, correct: Tensor, labels: Tensor) -> tuple[float, ...]:
        """Percent of the images of each group that are `correct`, float64 [N] of 0 and 1; NaN without images."""
        groups = self._group[labels]
        totals = torch.bincount(groups, minlength=self.num_groups)
        rights = torch.bincount(groups, weights=correct, minlength=self.num_groups)
        return tuple((100 * rights / totals).tolist())

    @torch.no_grad()
    def predictions(self, agent: Agent, task: int) -> dict[str, np.ndarray]:
        """Rows of the store [N], labels [N], scores float32 [N, K] (-inf for unseen classes), class names [K]."""
        part, unseen = self._part(task)
        scores = [
            _limited(_sound(agent.predict(x), len(x), len(unseen)), unseen)
            for x in self._batches(agent, part)
        ]
        return self._arrays(part, scores)

    def _arrays(self, part: Task, scores: Sequence[Tensor]) -> dict[str, np.ndarray]:
        return {
            "row": part.rows.numpy(),
            "label": part.labels.numpy(),
            "scores": torch.cat(list(scores)).numpy(),
            "classes": np.array(self.classes, np.str_),
        }

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
        """The test images of the classes met until `task`, and which classes are not among these, bool [K]."""
        seen = torch.tensor(self.classes_met[task])
        chosen = torch.isin(self.test.labels, seen)
        unseen = torch.ones(self.num_classes, dtype=torch.bool)
        unseen[seen] = False
        return Task(self.test.rows[chosen], self.test.labels[chosen]), unseen.to(self.device)

    def _batches(self, agent: Agent, part: Task) -> Iterator[Tensor]:
        """Yield the inputs of `part` on the device, in batches, with the network in evaluation mode."""
        agent.network.eval()
        for _, x in self.images.batches(part.batches(_BATCH[self.device.type])):
            yield x
        agent.network.train()


def _further(agent: Agent, x: Tensor) -> Mapping[str, Tensor]:
    """Further scores of `agent`; `ValueError` for names that name no file."""
    found = agent.predict_also(x)
    for name in found:
        check_name(name)
    return found


def _sound(scores: Tensor, count: int, classes: int) -> Tensor:
    """`scores`, if they are floating-point numbers [count, classes]; else they would be spread over other classes."""
    if not isinstance(scores, Tensor) or not scores.is_floating_point() or scores.shape != (count, classes):
        got = f"{scores.dtype} {list(scores.shape)}" if isinstance(scores, Tensor) else type(scores).__name__
        raise InputError(f"predict: expected floating-point scores [{count}, {classes}], got {got}")
    return scores


def _limited(scores: Tensor, unseen: Tensor) -> Tensor:
    """`scores` float32 [B, K] on the CPU, -inf for unseen classes."""
    return scores.masked_fill(unseen, -torch.inf).float().cpu()


def _judged(scores: Tensor, unseen: Tensor, top: int) -> Tensor:
    """Of scores [B, K], limited to the classes that are not `unseen`, int64 [B, top + 2].

    The likeliest classes, in order; whether all scores are equal, where there are several; and whether they cannot be
    judged, because one is NaN or the highest infinite.
    """
    limited = scores.masked_fill(unseen, -torch.inf)
    likeliest = limited.topk(top, dim=1)
    highest, lowest = likeliest.values[:, 0], scores.masked_fill(unseen, torch.inf).amin(1)
    tied = (highest == lowest) & (unseen.numel() - unseen.sum() > 1)
    fault = limited.isnan().any(1) | ~highest.isfinite()
    return torch.cat((likeliest.indices, tied.unsqueeze(1), fault.unsqueeze(1)), dim=1)
