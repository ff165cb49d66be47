"""The Python API: streams, trials, trained agents, results in pandas; own arrays, networks and agents (docs/api.md).

Numbers are those of the command line, to the bit: a run depends on its trial and its number alone.
"""

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from lethe.agents import registry
from lethe.agents.base import Agent, Needs, Network, Problem
from lethe.agents.config import Config, setting
from lethe.agents.contract import checks
from lethe.agents.networks import build as networks
from lethe.benchmarks.measure.evaluate import Evaluation, Evaluator
from lethe.benchmarks.records.augmem_files import write_tables_of
from lethe.benchmarks.records.read import RunRecord, TrialRecord, find_trials, read_run
from lethe.benchmarks.records.write import Recorder
from lethe.benchmarks.run import experiment, loop
from lethe.benchmarks.run.experiment import Machine, Places
from lethe.benchmarks.run.job import Job
from lethe.benchmarks.run.seeds import derive
from lethe.benchmarks.run.trial import Trial
from lethe.benchmarks.workers.messages import Elsewhere, Failed
from lethe.benchmarks.workers.pool import finished, prepare_all
from lethe.benchmarks.workers.pool import record as keep
from lethe.benchmarks.workers.worker import attempt
from lethe.common.errors import InputError
from lethe.dataloaders import arrays
from lethe.dataloaders.arrays import Array, LabelledImages
from lethe.dataloaders.index import find, folders
from lethe.dataloaders.index.spec import Dataset, check_paradigm
from lethe.dataloaders.stores import features
from lethe.dataloaders.streams import Images, Stream, Task

__all__ = [
    "Agent", "Config", "Needs", "Run", "check_agent", "evaluate", "learn", "read_accuracies", "read_results", "record",
    "run", "setting", "stream", "stream_of_arrays", "stream_of_dataset", "trial",
]  # fmt: skip

CPU = torch.device("cpu")
Path_ = str | Path


@dataclass(frozen=True)
class TaskImages:
    """The images of a task in the order of the stream."""

    _task: Task = field(repr=False)
    _images: Images = field(repr=False)

    def __len__(self) -> int:
        return len(self._task)

    def batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Images uint8 [B, C, H, W] and labels int64 [B], on the CPU; the last batch may be short."""
        for batch in self._task.batches(batch_size):
            yield self._images[batch.rows], batch.labels


@dataclass(frozen=True)
class ImageStream:
    """A stream of tasks with its images and its test set, on the CPU."""

    class_names: tuple[str, ...]
    """Of each label."""
    _stream: Stream = field(repr=False)
    _pixels: np.ndarray = field(repr=False)
    """uint8 [N, H, W, C]."""

    @property
    def num_classes(self) -> int:
        """K: labels are 0 .. K-1, numbered in the order in which the stream shows them."""
        return self._stream.num_classes

    @property
    def tasks(self) -> tuple[TaskImages, ...]:
        """The tasks, in order."""
        images = Images(self._pixels, CPU)
        return tuple(TaskImages(task, images) for task in self._stream.tasks)

    @property
    def test(self) -> tuple[Tensor, Tensor]:
        """Test images uint8 [M, C, H, W] and labels int64 [M]."""
        return Images(self._pixels, CPU)[self._stream.test.rows], self._stream.test.labels


@dataclass(frozen=True)
class Run:
    """A run that has ended: the trained agent and its numbers."""

    agent: Agent[Any]
    accuracy: np.ndarray
    """float64 [T, 1 + G], percent after each task: on all classes seen so far, and on each group of classes."""
    metrics: dict[str, float | None]
    """Means over tasks, last values, forgetting, memory, seconds: as in summary.json (docs/data.md)."""
    log: pd.DataFrame
    """What the agent logged: columns task, step, name, value."""
    stream: ImageStream

    def predict(self, x: Tensor) -> Tensor:
        """Scores float32 [B, K], on the CPU, of images uint8 [B, C, H, W]."""
        network = self.agent.network
        self.agent.fill_cache()
        network.eval()
        with torch.no_grad():
            inputs = network.frozen(x.to(self.agent.device).contiguous(memory_format=torch.channels_last))
            scores = self.agent.predict(inputs).float().cpu()
        network.train()
        return scores


def stream(
    name: str,
    *,
    run: int = 0,
    mode: str = "stream",
    variant: str | None = None,
    split: str = "test",
    data: Path_ = folders.DATA,
    lists: Path_ = folders.LISTS,
) -> ImageStream:
    """The stream of run `run` of DATASET/PARADIGM; a generated dataset is drawn, lists are written if missing.

    Args:
        name: such as "core50/class_instance".
        run: number of the random order.
        mode: "stream", or "offline" for tasks that hold the images of all earlier tasks too.
        variant: of the task lists, "published" or "corrected"; None: the dataset's default.
        split: "test", or "validation" for lists on which hyperparameters are chosen.
        data: folder with a folder per dataset.
        lists: folder of dirmaps and task lists.

    Raises:
        InputError: for an unknown name, or data that is missing or damaged, with what to do.

    """
    dataset_name, paradigm = _parts(name)
    located = find.locate(dataset_name, Path(data) / dataset_name, Path(lists))
    dataset = located.dataset
    check_paradigm(dataset, paradigm)
    which = (paradigm, run, mode, variant or dataset.default_variant)
    loaded = experiment.load(located, which, split, dataset.image_size, Path(data) / "stores")
    return _image_stream(loaded, dataset)


def stream_of_arrays(
    x: Array,
    y: Array | Sequence[int],
    *,
    test_x: Array,
    test_y: Array | Sequence[int],
    paradigm: str,
    task_classes: int | None = None,
    iid_task_images: int | None = None,
    task_instances: int | None = None,
    sessions: Array | Sequence[int] | None = None,
    run: int = 0,
    mode: str = "stream",
) -> ImageStream:
    """A stream of arrays: images uint8 [N, H, W, C], their classes [N]; see `lethe.dataloaders.arrays`."""
    bound, pixels = arrays.stream_of_arrays(
        x,
        y,
        test_x=test_x,
        test_y=test_y,
        paradigm=paradigm,
        task_classes=task_classes,
        iid_task_images=iid_task_images,
        task_instances=task_instances,
        sessions=sessions,
        run=run,
        mode=mode,
    )
    return ImageStream(tuple(map(str, bound.class_of_label)), bound, pixels)


def stream_of_dataset(
    train: LabelledImages,
    test: LabelledImages,
    *,
    paradigm: str,
    task_classes: int | None = None,
    iid_task_images: int | None = None,
    task_instances: int | None = None,
    sessions: Array | Sequence[int] | None = None,
    run: int = 0,
    mode: str = "stream",
) -> ImageStream:
    """A stream of two datasets of (PIL image or uint8 tensor [C, H, W], label) pairs, such as torchvision's."""
    x, y = arrays.stacked(train)
    test_x, test_y = arrays.stacked(test)
    return stream_of_arrays(
        x,
        y,
        test_x=test_x,
        test_y=test_y,
        paradigm=paradigm,
        task_classes=task_classes,
        iid_task_images=iid_task_images,
        task_instances=task_instances,
        sessions=sessions,
        run=run,
        mode=mode,
    )


def trial(
    name: str,
    agent: str,
    *,
    variant: str | None = None,
    network: str | None = None,
    cut: str | None = None,
    pretrained: bool = True,
    seed: int = 0,
    split: str = "test",
    feature_dtype: str = "float32",
    data: Path_ = folders.DATA,
    **settings: object,
) -> Trial:
    """A trial of `agent` on DATASET/PARADIGM with hyperparameters `settings`; the rest as options of `lethe run`.

    Raises `InputError` with every problem of the arguments.
    """
    dataset_name, paradigm = _parts(name)
    return Trial.create(
        dataset_name,
        paradigm,
        agent,
        settings,
        variant=variant,
        network=network,
        cut=cut,
        pretrained=pretrained,
        seed=seed,
        split=split,
        feature_dtype=feature_dtype,
        data=Path(data),
    )


def run(
    trial: Trial,
    number: int = 0,
    *,
    data: Path_ = folders.DATA,
    lists: Path_ = folders.LISTS,
    device: str = "cpu",
    threads: int = 1,
) -> Run:
    """Learn run `number` of `trial` in this process and return the trained agent; nothing is recorded."""
    places = Places(data=Path(data), lists=Path(lists))
    opened = experiment.open_run(trial, number, places, Machine(device, threads))
    shown = _image_stream(opened.data, trial.spec)
    return _learn(opened.agent, opened.images, shown, derive(trial.seed, number, "order"))


def learn(
    stream: ImageStream,
    agent: str | type[Agent[Any]],
    *,
    network: str | nn.Sequential | Callable[[int], nn.Sequential] | None = None,
    cut: str | None = None,
    pretrained: bool = True,
    seed: int = 0,
    run: int = 0,
    device: str = "cpu",
    **settings: object,
) -> Run:
    """Let `agent` learn `stream` in this process and return it with its numbers.

    Args:
        stream: from `lethe.stream`, `lethe.stream_of_arrays` or `lethe.stream_of_dataset`. An agent that needs all data
            (offline) wants one with `mode="offline"`.
        agent: a registered name, or a class derived from `lethe.Agent`.
        network: a name ("small", "squeezenet", ...; default by image size), an `nn.Sequential` whose last child is the
            head, [B, K], or a function of the number of classes that builds one; such modules are taken with their
            values, and get pixels as (x / 255 - 0.5) / 0.5.
        cut: the first child or stage that learns; None: the agent's own, or all of it.
        pretrained: whether a named network starts from its pretrained weights.
        seed: of the experiment.
        run: number of the run; weights and draws are functions of seed and run.
        device: "cpu", "cuda", ...
        settings: hyperparameters of the agent.

    Raises:
        InputError: for unknown names and settings, and an agent whose needs the stream does not meet.

    """
    agent_class = registry.get(agent) if isinstance(agent, str) else agent
    config = agent_class.Config.from_settings(settings)
    on = torch.device(device)
    pixels, stages = stream._pixels, cut or agent_class.cut
    built = _network(network, stages, stream, pretrained, derive(seed, run, "weights"), on)
    store = features.compute(pixels, built.frozen, on) if list(built.frozen.children()) else pixels
    images = Images(store, on)
    problem = Problem(stream.num_classes, images.shape)
    learner = agent_class(problem, config, built, seed=derive(seed, run, "agent"), device=on)
    return _learn(learner, images, stream, derive(seed, run, "order"))


def evaluate(agent: Agent[Any], stream: ImageStream, task: int | None = None) -> Evaluation:
    """Accuracies in percent of `agent` on the test images of the classes met until `task` (None: the last)."""
    frozen, pixels = agent.network.frozen, stream._pixels
    store = features.compute(pixels, frozen, agent.device) if list(frozen.children()) else pixels
    evaluator = Evaluator(stream._stream, Images(store, agent.device), agent.device)
    agent.fill_cache()
    return evaluator(agent, len(stream._stream.tasks) - 1 if task is None else task)


def record(
    trials: Sequence[Trial],
    *,
    runs: int = 1,
    results: Path_ = "results",
    data: Path_ = folders.DATA,
    lists: Path_ = folders.LISTS,
    device: str = "cpu",
    threads: int = 1,
) -> None:
    """Learn runs 0 .. runs - 1 of each trial in this process and record them, as `lethe run` does.

    Finished runs are skipped, interrupted ones go on, runs that another process is learning are left to it; several
    processes may share the work. Raises `RuntimeError` after all others have ended where some runs failed; why is in
    `run<r>/failed.json`.
    """
    places, machine = Places(Path(results), Path(data), Path(lists)), Machine(device, threads)
    jobs = [Job(one, number) for one in trials for number in range(runs)]
    left = [job for job in jobs if not finished(job, places)]
    prepare_all(left, places, machine)
    failed = []
    for job in left:
        outcome = attempt(job, places, machine)
        if not isinstance(outcome, Elsewhere):
            keep(outcome, places)
        if isinstance(outcome, Failed):
            failed.append(f"{job}: {outcome.failure.reason}")
    write_tables_of(one.folder(places.results) for one in trials)
    if failed:
        raise RuntimeError("\n".join(failed))


def read_results(results: Path_ = "results") -> pd.DataFrame:
    """A row per finished run below `results`: dataset, paradigm, agent, split, trial, run, metrics, settings."""
    rows = [
        {**_place(one, done), **done.summary["metrics"], **one.config["settings"]}
        for one in find_trials(Path(results))
        for done in one.runs
    ]
    return pd.DataFrame(rows)


def read_accuracies(results: Path_ = "results") -> pd.DataFrame:
    """A row per run and task: `seen`, accuracy on all classes seen so far, and `group_0`, ..., in percent."""
    rows = []
    for one in find_trials(Path(results)):
        for done in one.runs:
            names = ["seen", *(f"group_{group}" for group in range(done.accuracy.shape[1] - 1))]
            for task, values in enumerate(done.accuracy.tolist()):
                rows.append({**_place(one, done), "task": task, **dict(zip(names, values, strict=True))})
    return pd.DataFrame(rows)


def check_agent(agent: str | type[Agent[Any]]) -> dict[str, str]:
    """The broken promises of `agent`: what fails and what to do, by check; empty where the contract is kept."""
    agent_class = registry.get(agent) if isinstance(agent, str) else agent
    return {found.check: found.failure for found in checks.verdicts(agent_class) if found.failure is not None}


def _parts(name: str) -> tuple[str, str]:
    dataset, slash, paradigm = name.partition("/")
    if not slash:
        raise InputError(f"'{name}': expected DATASET/PARADIGM, such as core50_mini/class_iid")
    return dataset, paradigm


def _image_stream(loaded: experiment.RunData, dataset: Dataset) -> ImageStream:
    return ImageStream(_class_names(loaded.stream, dataset), loaded.stream, loaded.pixels.pixels)


def _class_names(stream: Stream, dataset: Dataset) -> tuple[str, ...]:
    """Names by label; in a dirmap a class is its name, or a number from 1."""
    return tuple(dataset.classes[one - 1] if isinstance(one, int) else one for one in stream.class_of_label)


def _network(
    network: str | nn.Sequential | Callable[[int], nn.Sequential] | None,
    cut: str | None,
    stream: ImageStream,
    pretrained: bool,
    seed: int,
    device: torch.device,
) -> Network:
    height, width = stream._pixels.shape[1:3]
    if network is None or isinstance(network, str):
        name = network or networks.default_network((height, width))
        networks.check(name, (height, width))
        return networks.build(
            name, stream.num_classes, cut=cut, pretrained=pretrained, seed=seed, device=device
        )[0]
    if not isinstance(network, nn.Module):
        # Draws of the function from the global generator follow from the run's seed, and leave it as it was.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = network(stream.num_classes)
    return networks.from_module(
        network, stream.num_classes, (height, width), cut=cut, seed=seed, device=device
    )


def _learn(agent: Agent[Any], images: Images, stream: ImageStream, order_seed: int) -> Run:
    """Learn the stream with the same loop and record as every run; the record is read back and removed."""
    evaluator = Evaluator(stream._stream, images, agent.device)
    with tempfile.TemporaryDirectory(prefix="lethe-") as name:
        folder = Path(name)
        recorder = Recorder(folder, order_seed, {}, checkpoints=False)
        loop.learn(agent, stream._stream, images, evaluator, recorder)
        recorder.finish(agent, evaluator, predictions=False)
        done = read_run(folder, 0)
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        log = pd.DataFrame(map(json.loads, lines), columns=["task", "step", "name", "value"])
    return Run(agent, done.accuracy, dict(done.summary["metrics"]), log, stream)


def _place(one: TrialRecord, done: RunRecord) -> dict[str, object]:
    config = one.config
    names = ("dataset", "paradigm", "agent", "split")
    return {**{name: config[name] for name in names}, "trial": one.path.name, "run": done.run}
