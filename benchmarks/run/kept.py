"""The trained agent of a run, kept in the run's folder and read back.

    run<r>/model.safetensors    state of the agent, and the frozen part of its network; nothing of it is unpickled
    run<r>/model.json           what builds them anew, and the SHA-256 of the state; written after it

An agent or a network of a user's own is imported by the name that it has in model.json, as it was for the run.
"""

import hashlib
import json
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lethe.agents import registry
from lethe.agents.base import Agent, Problem
from lethe.agents.networks import build as networks
from lethe.agents.networks.given import digest
from lethe.agents.networks.quantised import quantised
from lethe.agents.networks.registry import get as get_network
from lethe.benchmarks.records import checkpoint
from lethe.benchmarks.run.seeds import derive
from lethe.common.errors import InputError
from lethe.common.files import read_json, write_text
from lethe.dataloaders.stores.encoded import rounded

if TYPE_CHECKING:  # a trial may begin with the weights of a kept agent
    from lethe.benchmarks.run.trial import Trial

FORMAT = 1
STATE, DESCRIPTION = "model.safetensors", "model.json"
_AGAIN = "delete the run's folder to learn it again"
_LARGEST = 65_535  # pixels a side, channels
_NONE_HERE = "keep one with --keep-model (`lethe run DATASET/PARADIGM --agent AGENT --keep-model`)"


@dataclass(frozen=True)
class Model:
    """A trained agent, as a run kept it."""

    agent: Agent[Any]
    classes: tuple[str, ...]
    """Names of the labels 0 .. K-1."""
    image_size: tuple[int, int]
    """(height, width) of the images that it takes."""
    resize: int
    """Shorter side that they are brought to before their centre is cut out (see `decode`); 0: without a crop."""
    config: Mapping[str, Any]
    """Configuration of its trial, as in config.json."""

    def predict(self, x: Tensor) -> Tensor:
        """Scores float32 [B, K], on the CPU, of images uint8 [B, C, H, W]; higher is likelier."""
        return scores(self.agent, x, self.config["feature_dtype"])


@torch.no_grad()
def scores(agent: Agent[Any], x: Tensor, feature_dtype: str = "float32") -> Tensor:
    """Scores float32 [B, K], on the CPU, of `agent` for images uint8 [B, C, H, W]."""
    agent.fill_cache()
    agent.network.eval()
    inputs = agent.network.frozen(x.to(agent.device).contiguous(memory_format=torch.channels_last))
    found = agent.predict(rounded(inputs, feature_dtype)).float().cpu()
    agent.network.train()
    return found


def cannot_keep(trials: "Iterable[Trial]") -> list[str]:
    """A problem for each agent of `trials` of which no state can be saved."""
    unsaved = dict.fromkeys(trial.agent for trial in trials if not registry.get(trial.agent).resumable)
    return [
        f"--keep-model: agent {agent} cannot be saved (resumable is False): leave the option out for it"
        for agent in unsaved
    ]


def is_kept(folder: Path) -> bool:
    """Whether the agent of the run in `folder` was kept."""
    return (folder / DESCRIPTION).exists()


def keep(
    folder: Path, trial: "Trial", number: int, agent: Agent[Any], classes: tuple[str, ...], weights: str
) -> None:
    """Write the trained `agent` of run `number` of `trial` into the run's `folder`.

    `weights` is the fingerprint of the pretrained weights that its network began with, empty without.
    """
    frozen, recipe = agent.network.frozen, get_network(trial.network)
    state = {"agent": agent.state_dict(), "frozen": dict(frozen.state_dict())}
    checkpoint.save(folder / STATE, state)
    description = {
        "format": FORMAT,
        "trial": trial.config(),
        "run": number,
        "classes": list(classes),
        "input_shape": list(agent.problem.input_shape),
        "resize": trial.spec.resize,
        "normalisation": {"mean": list(recipe.mean), "std": list(recipe.std)},
        "pretrained_weights_sha256": weights,
        "frozen_sha256": networks.fingerprint(frozen),
        "state_sha256": digest(folder / STATE),
    }
    write_text(folder / DESCRIPTION, json.dumps(sealed(description), indent=2) + "\n")
    # safetensors makes files that their owner alone can read; who may read the description may read the state.
    (folder / STATE).chmod((folder / DESCRIPTION).stat().st_mode)


def sealed(description: Mapping[str, Any]) -> dict[str, Any]:
    """`description` with the SHA-256 of its content, JSON with sorted keys."""
    content = {key: value for key, value in description.items() if key != "sha256"}
    text = json.dumps(content, sort_keys=True)
    return {**content, "sha256": hashlib.sha256(text.encode()).hexdigest()}


def load(folder: Path, device: torch.device) -> Model:
    """The model in a run's folder, or that of the first run of a trial's folder that has one.

    `InputError` where there is none, where its files are damaged, or where the code makes another agent of them.
    """
    folder = run_of(folder)
    told = described(folder / DESCRIPTION)
    if digest(folder / STATE) != told.state_sha256:
        raise InputError(
            f"{folder / STATE}: is not the file that {DESCRIPTION} beside it describes, or is damaged: {_AGAIN}"
        )
    state = checkpoint.load(folder / STATE)
    agent_class, network_name = registry.get(told.agent), told.network
    seed, classes = derive(told.seed, told.run, "weights"), len(told.classes)
    network, _ = networks.build(
        network_name, classes, cut=told.cut, pretrained=False, seed=seed, device=device
    )
    settings = agent_class.Config.from_settings(told.settings)
    problem = Problem(classes, told.input_shape)
    try:
        if told.codebooks is not None:
            network = quantised(network, torch.zeros_like(state["frozen"]["encode.centroids"], device=device))
        network.frozen.load_state_dict(state["frozen"])
        if networks.fingerprint(network.frozen) != told.frozen_sha256:
            raise ValueError("the frozen part of the network has other layers")
        seed = derive(told.seed, told.run, "agent")
        agent = agent_class(problem, settings, network, seed=seed, device=device)
        agent.load_state_dict(state["agent"])
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"{folder / STATE}: is not the state of agent {told.agent} on network {network_name} as they are now "
            f"({reason}): load it with the code that made it"
        ) from error
    return Model(agent, told.classes, told.image_size, told.resize, told.config)


@dataclass(frozen=True)
class Description:
    """Checked content of model.json."""

    config: Mapping[str, Any]
    agent: str
    settings: Mapping[str, object]
    network: str
    cut: str | None
    codebooks: int | None
    seed: int
    run: int
    classes: tuple[str, ...]
    image_size: tuple[int, int]
    resize: int
    input_shape: tuple[int, int, int]
    frozen_sha256: str
    state_sha256: str


def described(path: Path) -> Description:
    """What the model.json at `path` says; `InputError` where it is damaged or of another version."""
    told = read_json(path)
    if told.get("format") != FORMAT:
        raise InputError(
            f"{path}: expected a model of format {FORMAT}, got {reprlib.repr(told.get('format'))}: "
            "load it with the version that made it"
        )
    if sealed(told) != told:
        raise InputError(f"{path}: damaged (it has changed since it was written): {_AGAIN}")
    try:
        config = told["trial"]
        texts = [config["agent"], config["network"], config["feature_dtype"], config["cut"] or ""]
        texts += [told["frozen_sha256"], told["state_sha256"], *told["classes"]]
        height, width = (int(size) for size in config["image_size"])
        channels, rows, columns = (int(size) for size in told["input_shape"])
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("expected texts")
        if not all(0 < size <= _LARGEST for size in (height, width, channels, rows, columns)):
            raise ValueError(f"expected sizes of 1 to {_LARGEST}")
        resize = told.get("resize", 0)  # which models of earlier versions lack
        if type(resize) is not int or not (resize == 0 or max(height, width) <= resize <= _LARGEST):
            raise ValueError(f"expected resize 0, or {max(height, width)} to {_LARGEST}")
        if not told["classes"]:
            raise ValueError("expected classes")
        return Description(
            config=config,
            agent=config["agent"],
            settings=dict(config["settings"]),
            network=config["network"],
            cut=config["cut"],
            codebooks=None if config.get("codebooks") is None else int(config["codebooks"]),
            seed=int(config["seed"]),
            run=int(told["run"]),
            classes=tuple(told["classes"]),
            image_size=(height, width),
            resize=resize,
            input_shape=(channels, rows, columns),
            frozen_sha256=told["frozen_sha256"],
            state_sha256=told["state_sha256"],
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: damaged ({error}): {_AGAIN}") from None


def run_of(folder: Path) -> Path:
    """The folder of a run with a model: `folder`, or the first such run of the one trial in it or below it.

    `InputError` where there is none, or where several trials below `folder` have one.
    """
    if is_kept(folder):
        return folder
    if not folder.is_dir():
        raise InputError(
            f"{folder}: expected the folder of a trial or of a run, but there is none: {_NONE_HERE}"
        )
    runs = [path.parent for path in folder.rglob(f"run*/{DESCRIPTION}") if path.parent.name[3:].isdecimal()]
    if not runs:
        raise InputError(f"{folder}: no trained agent is kept here: {_NONE_HERE}")
    trials = sorted({run.parent for run in runs})
    if len(trials) > 1:
        named = ", ".join(str(trial.relative_to(folder)) for trial in trials[:3])
        raise InputError(
            f"{folder}: {len(trials)} trials have kept an agent here: give the folder of one, such as {named}"
        )
    return min(runs, key=lambda run: int(run.name[3:]))
