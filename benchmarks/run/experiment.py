"""Execution of one run of a trial: lists, images, a new agent, the loop, the record."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from lethe.agents import registry
from lethe.agents.base import Agent, Network, Problem
from lethe.agents.networks import build as networks
from lethe.benchmarks.measure.costs import Trunk
from lethe.benchmarks.measure.evaluate import Evaluator
from lethe.benchmarks.records import environment, provenance
from lethe.benchmarks.records.conditions import Conditions
from lethe.benchmarks.records.read import read_summary
from lethe.benchmarks.records.write import Progress, Recorder
from lethe.benchmarks.run import codes, kept, stores
from lethe.benchmarks.run.data import RunData, load, source
from lethe.benchmarks.run.inputs import open_inputs
from lethe.benchmarks.run.loop import learn
from lethe.benchmarks.run.seeds import derive
from lethe.benchmarks.run.stopping import Stop, cannot_stop
from lethe.benchmarks.run.trial import Trial, begin
from lethe.common import processor
from lethe.common.files import is_there
from lethe.common.input_problems import raise_any
from lethe.common.progress import Bar
from lethe.dataloaders.index import folders
from lethe.dataloaders.index.find import Located
from lethe.dataloaders.streams import Inputs
from lethe.dataloaders.tasks import tasklists


@dataclass(frozen=True)
class Places:
    """Folders of results, data and lists."""

    results: Path = Path("results")
    data: Path = folders.DATA
    """Datasets are looked for, and generated ones drawn, in `data/<dataset>`; stores lie in `data/stores`."""
    lists: Path = folders.LISTS
    """Dirmaps and task lists."""


@dataclass(frozen=True)
class Machine:
    """Device and threads of a run; checkpoints and scores to write."""

    device: str = "cpu"
    threads: int = 1
    checkpoint_batches: int | None = None
    """Mini-batches between checkpoints; None: only at the end of each task."""
    predictions: str = "none"
    """Evaluations whose scores are written: "none", "last" or "each"."""
    keep_model: bool = False
    """Whether the trained agent is written."""
    max_memory: int | None = None
    """Bytes that the run's process may keep for itself; None: as much as it gets."""
    until_class: int | None = None
    """The run stops after the task with which so many classes have been met; None: it goes to the stream's end."""
    store: str = "auto"
    """Where inputs are read from (`stores.STORES`); no part of the trial, whose numbers do not depend on it."""


@dataclass(frozen=True)
class OpenRun:
    """A run about to begin: its data and a new agent."""

    data: RunData
    agent: Agent
    images: Inputs
    """Inputs of the plastic part: the pixels, or the output of the frozen part, stored or made on the way."""
    test: Inputs
    """The same of the test images, which are read after each task."""
    store: str
    """Where the inputs are read from: one of `stores.STORES`, chosen, or `stores.CODES`."""
    weights: str
    """Fingerprint of the pretrained or given weights; empty without."""
    trunk: Trunk
    """Cost of the network's frozen part for one image."""


def run(
    trial: Trial, number: int, places: Places, machine: Machine, progress: Progress | None = None
) -> dict[str, Any] | Stop:
    """Learn run `number` of `trial`, or go on where it stopped, or read it if it is finished.

    Returns the run's summary, or where it has stopped before the stream's end (`Machine.until_class`). Numbers depend
    on the trial and `number` alone. Where other processes may want the same run, the caller holds its lock (see
    `benchmarks.workers.worker.attempt`).
    """
    folder = begin(trial, places.results)
    finished = folder / f"run{number}" / "summary.json"
    if is_there(finished):
        return read_summary(finished.parent)
    if machine.keep_model:
        raise_any(kept.cannot_keep([trial]))
    if machine.until_class is not None:
        raise_any(cannot_stop([trial]))
    opened = open_run(trial, number, places, machine)
    device, stream, agent = torch.device(machine.device), opened.data.stream, opened.agent
    facts = {
        "needs": asdict(agent.needs),
        "protocol": _protocol(trial),
        "dirmap": opened.data.dirmap,
        "images": opened.data.pixels.content,
        "weights": opened.weights,
        "store": opened.store,
        "pretraining": _pretraining(trial) if opened.weights else "",
    }
    environment.note(folder, provenance.environment(device, machine.threads) | facts)
    keep_each = machine.predictions == "each"
    evaluator = Evaluator(stream, opened.test, device, opened.data.classes, keep_scores=keep_each)
    if progress is not None:
        passes = [agent.config.epochs_of(index) * len(task) for index, task in enumerate(stream.tasks)]
        progress.begin(sum(passes), len(stream.tasks))
    recorder = Recorder(
        folder / f"run{number}",
        derive(trial.seed, number, "order"),
        {"run": number, "lists": opened.data.lists},
        software=provenance.software(),
        conditions=Conditions(machine.threads),
        checkpoint_batches=machine.checkpoint_batches,
        progress=progress,
    )
    recorder.restore(agent, [len(task) for task in stream.tasks])
    if stop := learn(agent, stream, opened.images, evaluator, recorder, machine.until_class):
        return stop
    if machine.keep_model:
        kept.keep(recorder.folder, trial, number, agent, opened.data.classes, opened.weights)
    return recorder.finish(agent, evaluator, machine.predictions == "last", opened.trunk)


def _pretraining(trial: Trial) -> str:
    """What the weights that a run begins with were learned from; empty where that is not known."""
    return networks.pretraining(trial.network) if trial.weights is None else trial.learned_before


def open_run(trial: Trial, number: int, places: Places, machine: Machine) -> OpenRun:
    """Data and a new agent of run `number` of `trial`; lists and stores are made where they are missing."""
    made = _open(trial, number, places, machine)
    problem = Problem(made.data.stream.num_classes, made.images.shape)
    agent = _agent(trial, number, problem, made.network, torch.device(machine.device))
    return OpenRun(made.data, agent, made.images, made.test, made.store, made.weights, made.trunk)


def prepare(trial: Trial, number: int, places: Places, machine: Machine) -> str:
    """Make the lists, decoded images and features of run `number` of `trial` that are missing; tell of the store.

    `machine` may be another one, with a GPU that this one lacks: features, whose bits depend on the device, are left
    to that machine then.
    """
    store, sizes = _store(trial, places, machine)
    if torch.device(machine.device).type == "cuda" and not torch.cuda.is_available():
        _data_of(trial, number, places, store)
    else:
        _open(trial, number, places, machine)
    return stores.told(trial.dataset, store, sizes)


@dataclass(frozen=True)
class _Made:
    """What a run needs of stores and networks, before there is an agent."""

    data: RunData
    network: Network
    images: Inputs
    test: Inputs
    store: str
    weights: str
    trunk: Trunk


def _open(trial: Trial, number: int, places: Places, machine: Machine) -> _Made:
    """Data, a new network and its inputs; shows progress bars while stores are built."""
    torch.set_num_threads(machine.threads)
    device, folder = torch.device(machine.device), places.data / "stores"
    store, _ = _store(trial, places, machine)
    data, origin = _data_of(trial, number, places, store), trial.origin()
    network, weights = networks.build(
        trial.network,
        data.stream.num_classes,
        cut=trial.cut,
        pretrained=trial.pretrained,
        seed=derive(trial.seed, number, "weights"),
        device=device,
        given=None if origin is None else origin.given,
        classes=data.classes,
    )
    if trial.codebooks is not None:
        first = data.stream.tasks[0]
        with Bar("fitting codebooks", "image") as bar:
            network = codes.quantised_by_first_task(
                network, data.pixels, first, trial.codebooks, trial.seed, folder, device, bar.set
            )
    images, test, cost = open_inputs(
        data.pixels, network, data.stream.test.rows, store, trial.feature_dtype, folder, device
    )
    return _Made(data, network, images, test, store, weights, cost)


def _store(trial: Trial, places: Places, machine: Machine) -> tuple[str, stores.Sizes]:
    """Where runs of `trial` read their inputs from, and what a store takes.

    That is what earlier runs of the trial read from, where `machine` leaves it open.
    """
    frozen = networks.freezes(trial.network, trial.cut)
    stores.check_store(machine.store, frozen=frozen, codebooks=trial.codebooks)
    located = Located(trial.spec, places.data / trial.dataset, places.lists)
    count, (height, width) = len(source(located).used_paths()), trial.image_size
    features = 0
    if frozen:
        channels, rows, columns = networks.given_shape(trial.network, trial.cut, trial.image_size)
        each = trial.codebooks or channels * (4 if trial.feature_dtype == "float32" else 2)
        features = count * each * rows * columns
    sizes = stores.Sizes(count, count * height * width * 3, features)
    if trial.codebooks is not None:
        return stores.CODES, sizes
    if machine.store != "auto":
        return machine.store, sizes
    before = environment.store_before(trial.folder(places.results))
    return before or stores.by_size(sizes, places.data / "stores"), sizes


def task_lists(trial: Trial, number: int, places: Places) -> tasklists.TaskLists:
    """The task lists of run `number` of `trial`, made if they are not there; no image is decoded."""
    located = Located(trial.spec, places.data / trial.dataset, places.lists)
    mode = "offline" if registry.get(trial.agent).needs.offline else "stream"
    return tasklists.load(
        source(located), trial.paradigm, number, mode, trial.variant, located.lists, trial.split
    )


def stored_data(trial: Trial, number: int, places: Places) -> RunData:
    """The stream of run `number` of `trial`, and a store of its decoded images."""
    return _data_of(trial, number, places, "pixels")


def _data_of(trial: Trial, number: int, places: Places, store: str) -> RunData:
    """The stream of run `number` of `trial`, and its images: decoded, where `store` is one of pixels or made of it."""
    mode = "offline" if registry.get(trial.agent).needs.offline else "stream"
    which = (trial.paradigm, number, mode, trial.variant)
    located = Located(trial.spec, places.data / trial.dataset, places.lists)
    height, width = trial.image_size
    small = len(source(located).used_paths()) * height * width * 3 <= stores.LARGEST
    decoded = store == "pixels" or (store == "features" and small)
    data = load(located, which, trial.split, trial.image_size, places.data / "stores" if decoded else None)
    return data if trial.only_task is None else replace(data, stream=data.stream.only(trial.only_task))


def _agent(trial: Trial, number: int, problem: Problem, network: Network, device: torch.device) -> Agent:
    """A new agent for run `number`."""
    agent_class = registry.get(trial.agent)
    config = agent_class.Config.from_settings(trial.settings)
    return agent_class(problem, config, network, seed=derive(trial.seed, number, "agent"), device=device)


def check_machine(folder: Path, machine: Machine) -> None:
    """`InputError` if earlier runs of the trial in `folder` were made on another kind of machine than this."""
    now = {
        "device": torch.device(machine.device).type,
        "threads": machine.threads,
        "portable": processor.is_portable(),
        "torch": torch.__version__,
    }
    if machine.store != "auto":
        now["store"] = machine.store
    environment.check(folder, now)


def check_protocol(trial: Trial, places: Places) -> None:
    """`InputError` if earlier runs of `trial` had tasks of another kind than its dataset describes now."""
    environment.check(trial.folder(places.results), {"protocol": _protocol(trial)})


def _protocol(trial: Trial) -> dict[str, object]:
    """Task sizes and other values of the dataset's specification that are not part of the trial's configuration."""
    crop = {"resize": trial.spec.resize} if trial.spec.resize else {}  # which earlier records lack
    return tasklists.parameters(trial.spec, trial.paradigm) | crop
