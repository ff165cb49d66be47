"""Running a run of a trial: its lists, its images, a new agent, the loop, the record."""

import functools
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from agents import networks, registry
from agents.base import Agent, Network, Problem
from benchmarks import provenance
from benchmarks.evaluate import Evaluator
from benchmarks.loop import learn
from benchmarks.progress import Bar
from benchmarks.recorder import Progress, Recorder
from benchmarks.seeds import derive
from benchmarks.trial import Trial, begin
from dataloaders import dirmap, prepare, specs, tasklists
from dataloaders.features import feature_store
from dataloaders.files import read_json, write_text
from dataloaders.pixels import PixelStore
from dataloaders.streams import Images, Stream
from errors import InputError

_FIXED = ("device", "threads", "torch", "dirmap", "weights")
"""What of a trial's environment its runs must share, or their numbers do not belong in one mean."""


@dataclass(frozen=True)
class Places:
    """Where things lie."""

    results: Path = Path("results")
    data: Path = Path("data")
    """Datasets are looked for, and generated ones drawn, in `data/<dataset>`; stores lie in `data/stores`."""
    lists: Path = Path("dataloaders")
    """Dirmaps and task lists."""


@dataclass(frozen=True)
class Machine:
    """What a run is computed on."""

    device: str = "cpu"
    threads: int = 1
    checkpoint_batches: int | None = None
    """Write a checkpoint every so many mini-batches as well; at the end of each task always."""
    predictions: bool = False
    """Keep the scores of the last evaluation."""


def run(
    trial: Trial, number: int, places: Places, machine: Machine, progress: Progress | None = None
) -> dict:
    """Learn run `number` of `trial`, or go on where it stopped, or read it if it is finished.

    Returns the run's summary. Numbers depend on the trial and `number` alone.
    """
    folder = begin(trial, places.results)
    finished = folder / f"run{number}" / "summary.json"
    if finished.exists():
        return read_json(finished)
    torch.set_num_threads(machine.threads)
    device = torch.device(machine.device)
    lists = task_lists(trial, number, places)
    pixels = open_store(trial, lists, places)
    stream = Stream.bind(lists, pixels.rows)
    network, weights = networks.build(
        trial.network,
        stream.num_classes,
        cut=trial.cut,
        pretrained=trial.pretrained,
        seed=derive(trial.seed, number, "weights"),
        device=device,
    )
    images = Images(_inputs(pixels, network, places, device), device)
    agent = _agent(trial, number, Problem(stream.num_classes, images.shape), network, device)
    facts = {
        "needs": asdict(agent.needs),
        "dirmap": lists.dirmap_fingerprint,
        "pixels": pixels.fingerprint,
        "weights": weights,
    }
    _check_environment(folder, machine, device, facts)
    evaluator = Evaluator(stream, images, device)
    if progress is not None:
        passes = [agent.config.epochs_of(index) * len(task) for index, task in enumerate(stream.tasks)]
        progress.begin(sum(passes), len(stream.tasks))
    with Recorder(
        folder / f"run{number}",
        derive(trial.seed, number, "order"),
        {"run": number, "lists": lists.fingerprint},
        checkpoint_batches=machine.checkpoint_batches,
        progress=progress,
    ) as recorder:
        recorder.restore(agent)
        learn(agent, stream, images, evaluator, recorder)
        return recorder.finish(agent, evaluator, machine.predictions)


def task_lists(trial: Trial, number: int, places: Places) -> tasklists.TaskLists:
    """The task lists of a run, made if they are not there; a generated dataset is drawn if it is not."""
    mode = "offline" if registry.get(trial.agent).needs.offline else "stream"
    source = _source(trial.dataset, places)
    return tasklists.read(tasklists.ensure(source, trial.paradigm, number, mode, trial.variant, places.lists))


@functools.lru_cache(maxsize=4)
def _source(dataset: str, places: Places) -> tasklists.Source:
    """The dirmap that lists are made from, read once in a process."""
    root = places.data / dataset
    path = prepare.ensure_dirmap(dataset, root, places.lists)
    return tasklists.Source(dirmap.read(path), specs.get(dataset, root))


def open_store(trial: Trial, lists: tasklists.TaskLists, places: Places) -> PixelStore:
    """The decoded images of `lists`, built with a progress bar on the first call."""
    root = prepare.image_folder(trial.dataset, places.data / trial.dataset)
    with Bar(f"decoding {trial.dataset}", "image") as bar:
        return PixelStore.open(
            root, sorted(lists.paths()), trial.image_size, places.data / "stores", progress=bar.set
        )


def _inputs(pixels: PixelStore, network: Network, places: Places, device: torch.device) -> np.ndarray:
    """What the plastic part gets, [N, H, W, C]: the pixels, or the features of the frozen part, computed once."""
    if not list(network.frozen.children()):
        return pixels.pixels
    name = networks.fingerprint(network.frozen)
    with Bar("computing features", "image") as bar:
        return feature_store(pixels, network.frozen, name, places.data / "stores", device, bar.set)


def _agent(trial: Trial, number: int, problem: Problem, network: Network, device: torch.device) -> Agent:
    """A new agent for run `number`."""
    agent_class = registry.get(trial.agent)
    config = agent_class.Config.from_settings(trial.settings)
    return agent_class(problem, config, network, seed=derive(trial.seed, number, "agent"), device=device)


def _check_environment(
    folder: Path, machine: Machine, device: torch.device, facts: Mapping[str, object]
) -> None:
    """Write env.json for the first run; for later ones, `InputError` where what `_FIXED` names has changed."""
    path = folder / "env.json"
    now = provenance.environment(device, machine.threads) | facts
    now["torch"] = torch.__version__
    if not path.exists():
        write_text(path, json.dumps(now, indent=2) + "\n")
        return
    before = read_json(path)
    changed = [f"{key}: {before.get(key)} -> {now[key]}" for key in _FIXED if before.get(key) != now[key]]
    if changed:
        raise InputError(
            f"{path}: this trial's earlier runs were made otherwise ({'; '.join(changed)}): "
            "make all its runs alike, or give another --out"
        )
