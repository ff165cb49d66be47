"""A trial: one agent with one configuration on one dataset and paradigm, over some runs."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from lethe.agents import registry
from lethe.agents.base import Agent
from lethe.agents.config import Config
from lethe.agents.networks import build as networks
from lethe.agents.networks.registry import get as get_network
from lethe.benchmarks.records.read import FORMAT, fingerprint
from lethe.benchmarks.run import weights as begun
from lethe.benchmarks.run.weights import Origin
from lethe.common.errors import InputError, unknown
from lethe.common.files import is_there, read_json, write_text
from lethe.common.input_problems import InputErrorByKey, Problems
from lethe.dataloaders.index import find, folders
from lethe.dataloaders.index.spec import VARIANTS, Dataset, check_split, check_variant
from lethe.dataloaders.stores.features import FEATURE_DTYPES
from lethe.dataloaders.tasks.order import ordered

_APART = ("spec", "weights_file")
"""Fields of a trial that are not part of its configuration."""


@dataclass(frozen=True)
class Trial:
    """All inputs of a trial's numbers, apart from the data and the software."""

    dataset: str
    paradigm: str
    variant: str
    image_size: tuple[int, int]
    """(height, width) that images are resized to."""
    agent: str
    settings: Mapping[str, object]
    """Every hyperparameter of the agent, defaults included."""
    network: str
    cut: str | None
    """The first stage of the network that learns; None: all of it learns."""
    pretrained: bool
    seed: int
    spec: Dataset = field(repr=False, compare=False)
    """The dataset as specified when the trial was made; not part of the configuration."""
    split: str = "test"
    """Images to evaluate on: "test", or "validation" ones, which are held out of training."""
    feature_dtype: str = "float32"
    """Storage of the frozen part's output: "float32", or "bfloat16" in half the space."""
    codebooks: int | None = None
    """M, codebooks of the quantiser by which the frozen part's output is stored and learned from; None: it is not."""
    tasks: int | None = None
    """Number of tasks; None: as many as the dataset's task sizes make."""
    class_order: tuple[str, ...] | None = None
    """All classes in the order in which tasks show them; None: a random order in each run."""
    order_seed: int = 0
    """Of the random orders of the stream, beside the run's number; 0: of that alone, as published."""
    only_task: int | None = None
    """The one task that is learned, from 0, of a stream whose labels stay as they are; None: all."""
    weights: str | None = None
    """SHA-256 of the file of weights that the network begins with; None: none was given."""
    weights_file: Path | None = field(default=None, repr=False, compare=False)
    """Where that file is; not part of the configuration."""

    @classmethod
    def create(
        cls,
        dataset: str | Dataset,
        paradigm: str,
        agent: str,
        settings: Mapping[str, object] | None = None,
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
        only_task: int | None = None,
        weights: Path | str | None = None,
        data: Path = folders.DATA,
    ) -> "Trial":
        """Fill in the defaults and check every name and value; all problems are one `InputErrorByKey`.

        A dataset given by name is looked up in `data`, which holds a folder per dataset. `weights` is a file, or the
        folder of a kept agent, and stands instead of pretrained weights.
        """
        problems = Problems()
        spec: Dataset | None = None
        agent_class: type[Agent] | None = None
        config: Config | None = None
        with problems.about("split"):
            check_split(split)
        with problems.about("variant"):
            check_variant(variant or VARIANTS[0])
        with problems.about("dataset"):
            spec = find.get(dataset, data / dataset) if isinstance(dataset, str) else dataset
            try:
                spec = ordered(spec, paradigm, tasks, class_order, order_seed)
            except InputErrorByKey as error:
                problems.add(error)
        with problems.about("agent"):
            agent_class = registry.get(agent)
            with problems.about("settings"):
                config = _config(agent, agent_class, settings or {})
        with problems.about("feature_dtype"):
            _check_feature_dtype(feature_dtype)
        with problems.about("network"):
            network = _known_network(network, spec)
            if network and spec:
                with problems.about("network"):
                    networks.check(network, spec.image_size)
            if network and agent_class:
                with problems.about("cut" if cut else "network"):
                    named = cut or agent_class.cut
                    cut = networks.find_cut(network, named) if named else None
                    with problems.about("feature_dtype"):
                        _check_frozen(feature_dtype, network, cut)
                    if codebooks is not None and spec:
                        with problems.about("codebooks"):
                            _check_codebooks(codebooks, feature_dtype, network, cut, spec.image_size)
        with problems.about("only_task"):
            _check_only_task(only_task)
        origin: Origin | None = None
        if weights is not None:
            with problems.about("weights"):
                if not str(weights):  # which a path would take for the folder of the command
                    raise InputError("weights: expected a file or a folder, got an empty text")
                origin = begun.read(Path(weights))
                if network and spec:
                    begun.check(origin, network, spec.classes)
        if problems or spec is None or config is None or network is None:
            raise problems.error()
        return cls(
            dataset=spec.name,
            paradigm=paradigm,
            variant=variant or spec.default_variant,
            image_size=spec.image_size,
            agent=agent,
            settings=asdict(config),
            network=network,
            cut=cut,
            pretrained=pretrained and origin is None and networks.has_weights(network),
            seed=seed,
            spec=spec,
            split=split,
            feature_dtype=feature_dtype,
            codebooks=codebooks,
            tasks=tasks,
            class_order=None if class_order is None else tuple(class_order),
            order_seed=order_seed,
            only_task=only_task,
            weights=None if origin is None else origin.given.sha256,
            weights_file=None if origin is None else origin.given.path.absolute(),
        )

    def __hash__(self) -> int:
        # The generated one would hash `settings`, a dictionary; equal trials have the same items in it.
        return hash((self.dataset, self.paradigm, self.agent, self.seed, frozenset(self.settings.items())))

    def config(self) -> dict[str, object]:
        """The canonical content of config.json."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _APART}
        return {
            "format": FORMAT,
            **values,
            "settings": dict(self.settings),
            "image_size": list(self.image_size),
            "class_order": None if self.class_order is None else list(self.class_order),
        }

    @property
    def epochs(self) -> int:
        """Passes over each task."""
        return registry.get(self.agent).Config.from_settings(self.settings).epochs

    @property
    def notes(self) -> list[str]:
        """Remarks on the settings, each with the agent's name."""
        config = registry.get(self.agent).Config.from_settings(self.settings)
        told = [f"agent {self.agent}: {note}" for note in config.notes()]
        if self.weights is not None:
            on = self.learned_before or "images that are not known"
            told.append(f"agent {self.agent} begins with weights {self.weights[:12]}, learned on {on}")
        return told

    @property
    def learned_before(self) -> str:
        """What given weights were learned from; empty where that is not known. `InputError` as of `origin`."""
        origin = self.origin()
        return "" if origin is None else begun.described(origin, self.network, self.spec.classes)

    def origin(self) -> Origin | None:
        """The given weights; `InputError` where their file has changed."""
        if self.weights_file is None:
            return None
        origin = begun.read(self.weights_file)
        if origin.given.sha256 != self.weights:
            raise InputError(
                f"{self.weights_file}: has changed since the trial was made: give the command again"
            )
        return origin

    @property
    def id(self) -> str:
        """The settings that are not the default, and a hash of the whole configuration."""
        defaults = registry.get(self.agent).Config()
        changed = [f"{k}={v}" for k, v in self.settings.items() if v != getattr(defaults, k)]
        prefix = re.sub(r"[^A-Za-z0-9=.,_+-]", "_", ",".join(changed) or "default")[:80]
        return f"{prefix}-{fingerprint(self.config())}"

    def folder(self, results: Path | str) -> Path:
        """`results/<dataset>/<paradigm>/<agent>/<trial id>`."""
        return Path(results) / self.dataset / self.paradigm / self.agent.replace(":", ".") / self.id


def notes(trials: Iterable[Trial]) -> list[str]:
    """The remarks on the settings of `trials`, each once."""
    return list(dict.fromkeys(f"note: {note}" for trial in trials for note in trial.notes))


def _config(name: str, agent_class: type[Agent], settings: Mapping[str, object]) -> Config:
    """The agent's configuration; an `InputError` names the agent, which is one of several."""
    try:
        config = agent_class.Config.from_settings(settings)
        odd = [
            key
            for key, value in asdict(config).items()
            if not isinstance(value, bool | int | float | str | None)
        ]
        if odd:
            raise InputError(
                f"{', '.join(odd)}: expected a text, a number, True, False or None as its default"
            )
        return config
    except InputError as error:
        raise InputError(*(f"agent {name}: {problem}" for problem in error.problems)) from None


def _known_network(name: str | None, spec: Dataset | None) -> str | None:
    """The network `name`, or the default for the dataset's images; None if the dataset is unknown and `name` None.

    `InputError` if there is no such network.
    """
    if name is None:
        return None if spec is None else networks.default_network(spec.image_size)
    get_network(name)
    return name


def _check_only_task(task: int | None) -> None:
    if task is not None and (type(task) is not int or task < 0):
        raise InputError(f"only_task: expected the number of a task, from 0, got {task!r}")


def _check_feature_dtype(feature_dtype: str) -> None:
    if feature_dtype not in FEATURE_DTYPES:
        raise unknown("feature dtype", feature_dtype, FEATURE_DTYPES)


def _check_frozen(feature_dtype: str, network: str, cut: str | None) -> None:
    """`InputError` where a dtype of features is given and no part of the network is frozen."""
    if feature_dtype in FEATURE_DTYPES and feature_dtype != "float32" and not networks.freezes(network, cut):
        raise InputError(
            f"feature_dtype {feature_dtype}: nothing of the network is frozen, so no features are stored: "
            "freeze a part of it (--cut last_block), or leave it at float32"
        )


def _check_codebooks(
    codebooks: int, feature_dtype: str, network: str, cut: str | None, size: tuple[int, int]
) -> None:
    """`InputError` where the output of a frozen part cannot be quantised by so many codebooks."""
    if not networks.freezes(network, cut):
        raise InputError(
            f"codebooks {codebooks}: nothing of the network is frozen, so there is nothing to be quantised: freeze a "
            "part of it (--cut last_block), or leave out --store codes"
        )
    if feature_dtype != "float32":
        raise InputError(
            f"feature_dtype {feature_dtype}: codes are bytes, with codebooks={codebooks}: leave out one of both"
        )
    channels = networks.given_shape(network, cut, size)[0]
    if not 1 <= codebooks < channels or channels % codebooks:
        raise InputError(
            f"codebooks: expected a number below {channels} that divides these channels of the frozen part's output, "
            f"got {codebooks}"
        )


def begin(trial: Trial, results: Path) -> Path:
    """Make the trial's folder with its config.json; `InputError` if it holds another configuration."""
    folder = trial.folder(results)
    path, config = folder / "config.json", trial.config()
    if is_there(path):
        found = read_json(path)
        differing = sorted(key for key in config.keys() | found.keys() if config.get(key) != found.get(key))
        if differing:
            raise InputError(
                f"{path}: holds another configuration (different: {', '.join(differing)}): "
                "give another --out, or move this folder away"
            )
    else:
        write_text(path, json.dumps(config, indent=2) + "\n")
    return folder
