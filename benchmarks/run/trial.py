"""A trial: one agent with one configuration on one dataset and paradigm, over some runs."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from lethe.agents import registry
from lethe.agents.base import Agent
from lethe.agents.config import Config
from lethe.agents.networks import build as networks
from lethe.benchmarks.records.read import FORMAT
from lethe.common.errors import InputError, unknown
from lethe.common.files import read_json, write_text
from lethe.dataloaders.index import find, folders
from lethe.dataloaders.index.spec import VARIANTS, Dataset, check_paradigm, check_split, check_variant
from lethe.dataloaders.stores.features import FEATURE_DTYPES


@dataclass(frozen=True)
class Trial:
    """Everything that decides a trial's numbers, apart from the data and the software."""

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
    """What is judged: "test" images, or "validation" ones, which are held out of training."""
    feature_dtype: str = "float32"
    """How the frozen part's output is stored: "float32", or "bfloat16" in half the space."""

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
        data: Path = folders.DATA,
    ) -> "Trial":
        """Fill in the defaults and check every name and value; all problems are one `InputError`.

        A dataset given by name is looked up in `data`, which holds a folder per dataset.
        """
        problems: list[str] = []

        def checked(function: Callable, *arguments: Any) -> Any:
            try:
                return function(*arguments)
            except InputError as error:
                problems.extend(problem for problem in error.problems if problem not in problems)

        checked(check_split, split)
        checked(check_variant, variant or VARIANTS[0])
        spec = checked(find.get, dataset, data / dataset) if isinstance(dataset, str) else dataset
        agent_class = checked(registry.get, agent)
        config = checked(_config, agent, agent_class, settings or {}) if agent_class else None
        if spec:
            checked(check_paradigm, spec, paradigm)
            network = network or networks.default_network(spec.image_size)
            checked(networks.check, network, spec.image_size)
        if agent_class and network:
            cut = cut or agent_class.cut
            cut = checked(networks.find_cut, network, cut) if cut else None
            checked(_check_feature_dtype, feature_dtype, network, cut)
        if problems:
            raise InputError(*problems)
        return cls(
            dataset=spec.name,
            paradigm=paradigm,
            variant=variant or spec.default_variant,
            image_size=spec.image_size,
            agent=agent,
            settings=asdict(config),
            network=network,
            cut=cut,
            pretrained=pretrained and networks.has_weights(network),
            seed=seed,
            spec=spec,
            split=split,
            feature_dtype=feature_dtype,
        )

    def __hash__(self) -> int:
        # The generated one would hash `settings`, a dictionary; equal trials have the same items in it.
        return hash((self.dataset, self.paradigm, self.agent, self.seed, frozenset(self.settings.items())))

    def config(self) -> dict[str, object]:
        """The canonical content of config.json."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "spec"}
        return {
            "format": FORMAT,
            **values,
            "settings": dict(self.settings),
            "image_size": list(self.image_size),
        }

    @property
    def id(self) -> str:
        """The settings that are not the default, and a hash of the whole configuration."""
        defaults = registry.get(self.agent).Config()
        changed = [f"{k}={v}" for k, v in self.settings.items() if v != getattr(defaults, k)]
        prefix = re.sub(r"[^A-Za-z0-9=.,_+-]", "_", ",".join(changed) or "default")[:80]
        digest = hashlib.sha256(json.dumps(self.config(), sort_keys=True).encode()).hexdigest()
        return f"{prefix}-{digest[:10]}"

    def folder(self, results: Path) -> Path:
        """`results/<dataset>/<paradigm>/<agent>/<trial id>`."""
        return results / self.dataset / self.paradigm / self.agent.replace(":", ".") / self.id


def _config(name: str, agent_class: type[Agent], settings: Mapping[str, object]) -> Config:
    """The agent's configuration; an `InputError` names the agent, which is one of several."""
    try:
        return agent_class.Config.from_settings(settings)
    except InputError as error:
        raise InputError(*(f"agent {name}: {problem}" for problem in error.problems)) from None


def _check_feature_dtype(feature_dtype: str, network: str, cut: str | None) -> None:
    """`InputError` unless `feature_dtype` is known, and something is frozen where it is not the default."""
    if feature_dtype not in FEATURE_DTYPES:
        raise unknown("feature dtype", feature_dtype, FEATURE_DTYPES)
    if feature_dtype != "float32" and not networks.freezes(network, cut):
        raise InputError(
            f"feature_dtype {feature_dtype}: nothing of the network is frozen, so no features are stored: "
            "freeze a part of it (--cut last_block), or leave it at float32"
        )


def begin(trial: Trial, results: Path) -> Path:
    """Make the trial's folder with its config.json; `InputError` if it holds another configuration."""
    folder = trial.folder(results)
    path, config = folder / "config.json", trial.config()
    if path.exists():
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
