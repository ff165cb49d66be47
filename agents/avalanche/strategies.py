"""Avalanche's strategies: which can be agents, why others cannot, and what can be set.

The configuration of a strategy is made from its constructor: every parameter that is a number, a word or a switch
becomes a hyperparameter, beside those of SGD.
"""

import dataclasses
import inspect
from collections.abc import Mapping
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any, get_args

import avalanche.training.supervised as library
from avalanche.training.templates.base import BaseTemplate

from lethe.agents.config import SGDConfig, setting
from lethe.agents.scr import SCRConfig
from lethe.common.errors import InputError, unknown

DEFAULTS: Mapping[str, Mapping[str, object]] = MappingProxyType(
    {
        "AGEM": {"patterns_per_exp": 100},
        "EWC": {"ewc_lambda": 1.0},
        "GEM": {"patterns_per_exp": 100},
        "ICaRL": {"memory_size": 2000, "fixed_memory": True},
        "LwF": {"alpha": 1.0, "temperature": 2.0},
        "MIR": {"mem_size": 200, "subsample": 200},
        "SynapticIntelligence": {"si_lambda": 1.0},
    }
)
"""Values of parameters that Avalanche gives none. LwF's and MIR's are its plugins' own; iCaRL's is the paper's for
CIFAR-100; the others are places for a search to begin."""

UNFIT: Mapping[str, str] = MappingProxyType(
    {
        "AETraining": "it trains an autoencoder, not a classifier",
        "AR1": "it brings its own MobileNet and fetches weights for it",
        "BiC": "its bias correction passes `verbose` to MultiStepLR, which PyTorch 2.11 no longer takes: use bic",
        "CWRStar": "it needs the name of a linear last layer, which not every network here has",
        "ExpertGateStrategy": "it brings its own AlexNet, and needs the task of each image",
        "FeatureReplay": "it needs a network with an attribute `classifier`",
        "GenerativeReplay": "it needs a generator of the images; Avalanche's is for 28x28 grey ones",
        "JointTraining": "it trains once, on all experiences together: use `offline`",
        "LFL": "it needs a network with a method `get_features`",
        "LearningToPrompt": "it brings its own vision transformer and fetches weights for it",
        "PNNStrategy": "it needs a progressive network, and the task of each image",
        "PackNet": "it needs a network of packed layers, and the task of each image",
        "VAETraining": "it trains an autoencoder, not a classifier",
    }
)
"""Strategies that cannot be agents here, and why."""

WRONG: Mapping[str, str] = MappingProxyType(
    {
        "ER_ACE": "its memory takes a whole task in before the task is learned, and in the first nothing is replayed: "
        "use er_ace",
        "GSS_greedy": "empty places of its memory are replayed as black images of label 0, and the gradient of the "
        "last scored image is added to every step: use gss",
        "MIR": "it replays only classes that the last mini-batch of the task before did not have: use mir",
        "SynapticIntelligence": "on the CPU it does nothing for contiguous weights, such as those of linear layers: "
        "use si",
    }
)
"""Strategies that run and do not do what their papers say (avalanche-lib 0.6.0), and what is wrong."""

AUGMENTATION = ("smallest_crop", "flip")
"""Settings of the agent `scr` that SCR has as well."""
_SHUFFLED = {"Cumulative", "ICaRL"}
"""Strategies that mix memory into the task by shuffling alone."""
_GIVEN = {
    "self", "model", "slda_model", "feature_extractor", "classifier", "optimizer", "criterion", "device",
    "train_mb_size", "train_epochs", "eval_mb_size", "plugins", "evaluator", "eval_every", "peval_mode",
    "buffer_transform", "augmentations", "output_layer_name", "input_size", "num_classes", "n_classes", "verbose",
    "kwargs", "base_kwargs",
}  # fmt: skip
"""Parameters that are not a user's to set."""


def strategies() -> dict[str, type[BaseTemplate]]:
    """Avalanche's strategies that can be agents, by name."""
    return {
        name: found
        for name, found in vars(library).items()
        if isinstance(found, type) and issubclass(found, BaseTemplate) and name not in UNFIT
    }


def find(name: str) -> type[BaseTemplate]:
    """The strategy `name`; `InputError` where there is none, or where it cannot be an agent."""
    if name in UNFIT:
        raise InputError(f"avalanche:{name} cannot be an agent: {UNFIT[name]}")
    if name == "GEM" and find_spec("quadprog") is None:
        raise InputError(
            "avalanche:GEM needs the solver quadprog: pip install quadprog, or use the agent 'gem'"
        )
    known = strategies()
    if name not in known:
        raise unknown("avalanche strategy", name, known)
    return known[name]


@dataclasses.dataclass(frozen=True)
class StrategyConfig(SGDConfig):
    """The setting that all strategies share; their own are added by `config_class`."""

    shuffle: bool = setting(
        False,
        "Shuffle a task's images, as Avalanche does by itself; otherwise they come in the stream's order.",
    )


def config_class(strategy: type[BaseTemplate]) -> type[StrategyConfig]:
    """The configuration of a strategy: the numbers, words and switches of its constructor."""
    shuffled = strategy.__name__ in _SHUFFLED
    (shuffle,) = (field for field in dataclasses.fields(StrategyConfig) if field.name == "shuffle")
    fields: list[tuple[str, Any, Any]] = [("shuffle", bool, setting(shuffled, shuffle.metadata["help"]))]
    if strategy.__name__ == "SCR":
        fields += [
            (f.name, type(f.default), dataclasses.field(default=f.default, metadata=f.metadata))
            for f in dataclasses.fields(SCRConfig)
            if f.name in AUGMENTATION
        ]
    for name, (kind, default) in tunable(strategy).items():
        low = 1 if kind is int else None
        text = f"As `{name}` of avalanche.training.supervised.{strategy.__name__}."
        fields.append((field_name(name), kind, setting(default, text, low=low)))
    wrong = WRONG.get(strategy.__name__)
    told = () if wrong is None else (f"Avalanche's {strategy.__name__} is not that of its paper: {wrong}",)
    return dataclasses.make_dataclass(
        f"{strategy.__name__}Config",
        fields,
        bases=(StrategyConfig,),
        frozen=True,
        namespace={"__module__": __name__, "notes": lambda self: told},
    )


def field_name(parameter: str) -> str:
    """The name in the configuration of a strategy's parameter."""
    taken = {field.name for field in dataclasses.fields(SGDConfig)}
    return f"strategy_{parameter}" if parameter in taken else parameter


def tunable(strategy: type[BaseTemplate]) -> dict[str, tuple[Any, object]]:
    """Type and default by name of the parameters that a user may set."""
    found: dict[str, tuple[Any, object]] = {}
    for name, parameter in inspect.signature(strategy.__init__).parameters.items():
        if name in _GIVEN:
            continue
        default = DEFAULTS.get(strategy.__name__, {}).get(name, parameter.default)
        if default is None:  # an Optional of a number or a word
            found[name] = (
                next(k for k in get_args(parameter.annotation) if k is not type(None)) | None,
                None,
            )
        elif isinstance(default, bool | int | float | str):
            declared = parameter.annotation is float and not isinstance(default, bool)
            found[name] = (float, float(default)) if declared else (type(default), default)
        else:
            raise InputError(
                f"avalanche:{strategy.__name__} cannot be an agent: nothing is known for its parameter '{name}'"
            )
    return found
