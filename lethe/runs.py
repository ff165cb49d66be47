"""Runs in memory for the Python API: a trial or an agent of one's own learns a stream and is handed back."""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from lethe.agents import registry
from lethe.agents.base import Agent, Network, Problem
from lethe.agents.networks import build as networks
from lethe.benchmarks.measure import trunk
from lethe.benchmarks.measure.costs import Trunk
from lethe.benchmarks.measure.evaluate import Evaluation, Evaluator
from lethe.benchmarks.records.read import read_run
from lethe.benchmarks.records.write import Recorder
from lethe.benchmarks.run import experiment, kept, loop
from lethe.benchmarks.run.experiment import Machine, Places
from lethe.benchmarks.run.kept import Model
from lethe.benchmarks.run.seeds import derive
from lethe.benchmarks.run.trial import Trial
from lethe.dataloaders.index import folders
from lethe.dataloaders.stores import features
from lethe.dataloaders.streams import Images, Inputs
from lethe.streams import ImageStream, PathLike, image_stream, parts


@dataclass(frozen=True)
class Run:
    """A run that has ended: the trained agent and its numbers."""

    agent: Agent[Any]
    accuracy: np.ndarray
    """float64 [T, 1 + G], percent after each task: on all classes seen so far, and on each group of classes."""
    metrics: dict[str, float | None]
    """Means over tasks, last values, forgetting, memory, seconds: as in summary.json (docs/results.md)."""
    log: pd.DataFrame
    """Logged values: columns task, step, name, value."""
    stream: ImageStream
    further: Mapping[str, np.ndarray]
    """`accuracy` of each further output of the agent (`Agent.predict_also`), by name."""

    def predict(self, x: Tensor) -> Tensor:
        """Scores float32 [B, K], on the CPU, of images uint8 [B, C, H, W]."""
        return kept.scores(self.agent, x)


def load(folder: PathLike, *, device: str = "cpu") -> Model:
    """The trained agent that a run kept (`lethe run ... --keep-model`), from the folder of the run or of its trial.

    Its predictions are those of the agent at the end of the run, to the bit. Raises `InputError` where there is none,
    or where it is damaged.
    """
    return kept.load(Path(folder), torch.device(device))


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
    codebooks: int | None = None,
    tasks: int | None = None,
    class_order: Sequence[str] | None = None,
    order_seed: int = 0,
    data: PathLike = folders.DATA,
    **settings: object,
) -> Trial:
    """A trial of `agent` on DATASET/PARADIGM with hyperparameters `settings`; the rest as options of `lethe run`.

    Raises `InputError` with every problem of the arguments.
    """
    dataset_name, paradigm = parts(name)
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
        codebooks=codebooks,
        tasks=tasks,
        class_order=class_order,
        order_seed=order_seed,
        data=Path(data),
    )


def run(
    trial: Trial,
    number: int = 0,
    *,
    data: PathLike = folders.DATA,
    lists: PathLike = folders.LISTS,
    device: str = "cpu",
    threads: int = 1,
) -> Run:
    """Learn run `number` of `trial` in this process and return the trained agent; nothing is recorded."""
    places = Places(data=Path(data), lists=Path(lists))
    opened = experiment.open_run(trial, number, places, Machine(device, threads))
    shown = image_stream(experiment.stored_data(trial, number, places))
    return _learn(opened.agent, opened.images, shown, derive(trial.seed, number, "order"), opened.trunk)


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
    some = torch.arange(min(trunk.BATCH, len(pixels)))
    cost = trunk.measure(Images(pixels, on)[some], built.frozen, on)
    return _learn(learner, images, stream, derive(seed, run, "order"), cost)


def evaluate(agent: Agent[Any], stream: ImageStream, task: int | None = None) -> Evaluation:
    """Accuracies in percent of `agent` on the test images of the classes met until `task` (None: the last)."""
    frozen, pixels = agent.network.frozen, stream._pixels
    store = features.compute(pixels, frozen, agent.device) if list(frozen.children()) else pixels
    evaluator = Evaluator(stream._stream, Images(store, agent.device), agent.device, stream.class_names)
    agent.fill_cache()
    return evaluator(agent, len(stream._stream.tasks) - 1 if task is None else task)


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


def _learn(agent: Agent[Any], images: Inputs, stream: ImageStream, order_seed: int, cost: Trunk) -> Run:
    """Learn the stream with the same loop and record as every run; the record is read back and removed."""
    evaluator = Evaluator(stream._stream, images, agent.device, stream.class_names)
    with tempfile.TemporaryDirectory(prefix="lethe-") as name:
        folder = Path(name)
        recorder = Recorder(folder, order_seed, {}, checkpoints=False)
        loop.learn(agent, stream._stream, images, evaluator, recorder)
        recorder.finish(agent, evaluator, predictions=False, trunk=cost)
        done = read_run(folder, 0)
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        log = pd.DataFrame(map(json.loads, lines), columns=["task", "step", "name", "value"])
    return Run(agent, done.accuracy, dict(done.summary["metrics"]), log, stream, done.further)
