"""The record of one run as it is made: log, accuracies, checkpoint, summary.

    run<r>/metrics.jsonl    values that the agent logs, one line per step and name, appended as it learns
    run<r>/accuracy.csv     percent after each task: all classes seen, each group of classes
    run<r>/top5_groups.csv  top-5 percent after each task of each group of classes, above ten classes
    run<r>/accuracy_NAME.csv, top5_groups_NAME.csv    the same of a further output of the agent, where it has one
    run<r>/confusion.csv    and class_accuracy.csv: see `confusions.py`
    run<r>/checkpoint/      state to continue from; removed when the run is finished
    run<r>/summary.json     written last: its presence means that the run is finished

A run that is killed anywhere continues from its last checkpoint, or restarts from scratch if its agent cannot be saved
(`Agent.resumable`), and ends in the same bytes.
"""

import json
import math
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from lethe.agents.base import Agent
from lethe.benchmarks.measure import costs, metrics
from lethe.benchmarks.measure.confusion import collapse_of_run
from lethe.benchmarks.measure.costs import NO_TRUNK, Trunk
from lethe.benchmarks.measure.evaluate import Diverged, Evaluation, Evaluator
from lethe.benchmarks.measure.flops import FlopMeter
from lethe.benchmarks.records import checkpoint, going_on, seal
from lethe.benchmarks.records.accuracies import Accuracies
from lethe.benchmarks.records.appended import AppendedFile
from lethe.benchmarks.records.conditions import Conditions
from lethe.benchmarks.records.confusions import ConfusionFiles
from lethe.benchmarks.records.predictions import LAST, of_task, write_scores
from lethe.common.errors import InputError
from lethe.common.files import is_there, write_text

_CHECKPOINT = Path("checkpoint", "state.safetensors")


@dataclass(frozen=True)
class Position:
    """Position in a run: next task, next pass over the task, and number of batches of that pass already learned."""

    task: int = 0
    epoch: int = 0
    batch: int = 0


class Progress(Protocol):
    """Receiver of a run's progress."""

    def begin(self, images: int, tasks: int) -> None:
        """The run has `images` to learn, all passes counted, in `tasks`."""

    def update(self, images: int, task: int, accuracy: float | None) -> None:
        """`images` more were learned, in `task`; accuracy in percent on classes seen at the last evaluation."""


def checkpointed(folder: Path) -> int | None:
    """Time of the last checkpoint of the run in `folder`, in nanoseconds; None if there is none."""
    try:
        return (folder / _CHECKPOINT).stat().st_mtime_ns
    except FileNotFoundError:
        return None


def tidy(folders: Iterable[Path]) -> None:
    """Remove the checkpoints of finished runs of the trials in `folders`.

    A process may have been killed between the summary of a run and the removal of its checkpoint.
    """
    for folder in folders:
        for path in folder.glob(f"run*/{_CHECKPOINT.parent}"):
            if is_there(path.parent / "summary.json"):
                shutil.rmtree(path, ignore_errors=True)


class Recorder:
    """Writer of one run's folder, which its owner has locked (see `lock`).

    `identity` (lists, number of the run) must be equal for a checkpoint to be continued. `software` is that of this
    process; the summary lists the software of all processes that learned the run, and the `conditions` of each. Without
    `checkpoints`, a run that is interrupted cannot be continued.
    """

    def __init__(
        self,
        folder: Path,
        seed: int,
        identity: Mapping[str, object],
        *,
        software: Mapping[str, object] | None = None,
        conditions: Conditions | None = None,
        checkpoint_batches: int | None = None,
        checkpoints: bool = True,
        progress: Progress | None = None,
    ):
        self.folder = folder
        self.seed = seed
        self.start = Position()
        self._identity = dict(identity)
        self._software = [dict(software)] if software else []
        self._conditions = conditions
        self._conditions_before: list[dict[str, object]] = []
        self.flops = FlopMeter()
        self._every = checkpoint_batches
        self._checkpoints = checkpoints
        self._progress = progress
        folder.mkdir(parents=True, exist_ok=True)
        self._accuracies = Accuracies()
        self._confusions = ConfusionFiles(folder)
        self._log = AppendedFile(folder / "metrics.jsonl")
        self._pending: list[tuple[int, int, Mapping[str, Tensor | float]]] = []
        self._steps = self._images = self._images_again = 0
        self._seconds, self._mark = 0.0, time.perf_counter()
        self._earlier, self._begun = 0.0, time.perf_counter()

    def restore(self, agent: Agent, tasks: Sequence[int]) -> None:
        """Set `agent` and `start` to the last checkpoint and cut the log to its length then.

        `tasks` is the number of images of each. `InputError` if the checkpoint is of other data, `Damaged` if it or
        the log before it is.
        """
        saved: dict[str, Any] = {}
        if is_there(self._checkpoint):
            saved = checkpoint.load(self._checkpoint)
            going_on.check(self._checkpoint, saved, self._identity, agent.config, tasks)
            self.start = Position(*saved["position"])
            self._accuracies = Accuracies.restored(saved)
            self._steps, self._images, self._seconds = saved["steps"], saved["images"], saved["seconds"]
            self._images_again = saved["images_again"]
            self._earlier = saved["wall_seconds"]
            earlier = saved.get("software") or []
            self._software = earlier + [one for one in self._software if one not in earlier]
            self._conditions_before = saved["conditions"]
            self.flops.restore(saved["flops"])
            going_on.load(self._checkpoint, saved["agent"], agent)
            if self._progress is not None:
                self._report(self._images, self.start.task)
        self._confusions.restore(saved)
        self._log.restore((saved.get("log_bytes", 0), saved.get("log_crc32", 0)))
        self._mark = time.perf_counter()

    def step(
        self, position: Position, images: int, logged: Mapping[str, Tensor | float], agent: Agent
    ) -> None:
        """Record one batch of `images`; write a checkpoint if one is due."""
        self._steps += 1
        self._images += images
        self._pending.append((position.task, self._steps, logged))
        self._report(images, position.task)
        if self._every is not None and position.batch % self._every == 0:
            self.pause()
            self._save(position, agent)
            self._mark = time.perf_counter()

    def again(self, images: int) -> None:
        """Count `images` that were handed out a second time, as data of their task."""
        self._images_again += images

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """Context in which an agent's inputs are made: neither its seconds nor its FLOPs are those of learning."""
        start = time.perf_counter()
        with self.flops.uncounted():
            yield
        self._mark += time.perf_counter() - start

    def flush(self) -> None:
        """Write the log so far. At a loss that is not finite, the log ends there and `Diverged` is raised."""
        lines, fault = _log_lines(self._pending)
        self._check_folder()
        self._log.append(lines)
        self._pending.clear()
        if fault:
            raise Diverged(fault)

    def pause(self) -> None:
        """Stop the clock of learning: what follows is evaluation or writing."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self._seconds += time.perf_counter() - self._mark

    def task(self, position: Position, evaluation: Evaluation, agent: Agent) -> None:
        """Record the evaluation after a task, and write a checkpoint from which the next task begins."""
        if self._conditions is not None:
            self._conditions.look()
        self._accuracies.add(evaluation)
        self._check_folder()
        self._accuracies.write(self.folder, durable=False)
        self._confusions.add(evaluation.confusion)
        if evaluation.predictions is not None:
            write_scores(self.folder / of_task(position.task - 1), evaluation.predictions)
        self._save(position, agent)
        self._report(0, position.task - 1)
        self._mark = time.perf_counter()

    def finish(
        self, agent: Agent, evaluator: Evaluator, predictions: bool, trunk: Trunk = NO_TRUNK
    ) -> dict[str, Any]:
        """Write the scores of the last evaluation if `predictions`, then the summary; remove the checkpoint.

        Returns the summary.
        """
        self._mark = time.perf_counter()
        agent.fill_cache()  # the last evaluation's is lost where another process made it
        self.pause()
        if predictions:
            scores = evaluator.predictions(agent, len(self._accuracies.rows) - 1)
            write_scores(self.folder / LAST, scores)
        shared = evaluator.tasks_share_classes(cumulative=agent.needs.offline)
        values = _metrics(self._accuracies, shared) | costs.measured(
            agent,
            evaluator,
            images=self._images,
            seconds=self._seconds,
            flops=self.flops.total,
            trunk=trunk,
        )
        values |= {"seconds": self._seconds, "wall_seconds": self._wall}
        summary = {
            "metrics": values,
            "further": {name: _metrics(each, shared) for name, each in self._accuracies.further.items()},
            "collapsed": collapse_of_run(self._confusions.collapses),
            "classes": list(evaluator.classes),
            "classes_seen": [len(met) for met in evaluator.classes_met],
            "group_images": evaluator.group_images,
            "images": self._images,
            "images_again": self._images_again,
            "steps": self._steps,
            "appended": self._confusions.state()["appended"],
            **self._identity,
            "software": self._software,
            "conditions": self._all_conditions,
        }
        self._check_folder()
        self._accuracies.write(self.folder, durable=True)
        summary = seal.sealed(self.folder, summary)
        write_text(self.folder / "summary.json", json.dumps(summary, indent=2) + "\n")
        shutil.rmtree(self._checkpoint.parent, ignore_errors=True)
        return summary

    @property
    def _wall(self) -> float:
        """Wall-clock seconds of the run, evaluation and writing included, without the work that kills have undone."""
        return self._earlier + time.perf_counter() - self._begun

    @property
    def _all_conditions(self) -> list[dict[str, object]]:
        """Those of every process that learned the run, this one last."""
        return self._conditions_before + ([self._conditions.record()] if self._conditions else [])

    @property
    def _checkpoint(self) -> Path:
        return self.folder / _CHECKPOINT

    def _check_folder(self) -> None:
        """`InputError` if the folder is gone: what is written from here on would be of no trial."""
        if not self.folder.is_dir():
            raise InputError(f"{self.folder}: was removed while its run was learning: give the command again")

    def _report(self, images: int, task: int) -> None:
        if self._progress is not None:
            rows = self._accuracies.rows
            self._progress.update(images, task, rows[-1][0] if rows else None)

    def _save(self, position: Position, agent: Agent) -> None:
        """Write a checkpoint if the agent can be saved; the log first, since the checkpoint holds its length."""
        self.flush()
        if not (self._checkpoints and agent.resumable):
            return
        state = {
            "identity": self._identity,
            "position": list(astuple(position)),
            "images_again": self._images_again,
            **self._accuracies.state(),
            **self._confusions.state(),
            "steps": self._steps,
            "images": self._images,
            "seconds": self._seconds,
            "wall_seconds": self._wall,
            "software": self._software,
            "log_bytes": self._log.size,
            "log_crc32": self._log.crc32,
            "conditions": self._all_conditions,
            "flops": self.flops.state(),
            "agent": agent.state_dict(),
        }
        checkpoint.save(self._checkpoint, state)


def _metrics(accuracies: Accuracies, tasks_share_classes: bool) -> dict[str, Any]:
    """Metrics of one output."""
    values = metrics.summary(accuracies.matrix(), tasks_share_classes=tasks_share_classes)
    top5 = [value for value in accuracies.top5 if value is not None]
    return {**values, "top5_last": top5[-1], "top5_mean": math.fsum(top5) / len(top5)} if top5 else values


def _log_lines(pending: list[tuple[int, int, Mapping[str, Tensor | float]]]) -> tuple[str, str]:
    """JSON lines of the logged values, null for values that are not finite; and a message if a loss is not finite.

    The lines end with the first such step; without one, the message is empty. Waits for the device once per name.
    """
    names = sorted({name for _, _, logged in pending for name in logged})
    columns = {}
    for name in names:
        values = [torch.as_tensor(logged.get(name, math.nan)) for _, _, logged in pending]
        device = next((value.device for value in values if value.device.type != "cpu"), "cpu")
        columns[name] = torch.stack([value.to(device).float() for value in values]).tolist()
    lines, fault = [], ""
    for row, (task, step, logged) in enumerate(pending):
        for name in sorted(logged):
            value = columns[name][row]
            known = value if math.isfinite(value) else None  # JSON has no other numbers
            lines.append(json.dumps({"task": task, "step": step, "name": name, "value": known}) + "\n")
            if name == "loss" and known is None:
                finite = [before for before in columns[name][:row] if math.isfinite(before)]
                last = f"; the last finite one was {finite[-1]:.4g}" if finite else ""
                fault = (
                    f"the loss became {value} in task {task}, step {step}{last}: try a smaller learning rate"
                )
        if fault:
            break
    return "".join(lines), fault
