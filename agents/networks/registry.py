"""Every network by name. A new network is one file and one line here; a user's own is given as `module:build`."""

import inspect
from collections.abc import Mapping
from types import MappingProxyType

from lethe.agents.networks import timm_models
from lethe.agents.networks.recipe import Recipe
from lethe.common.errors import InputError, unknown
from lethe.common.imports import load

NETWORKS: Mapping[str, str] = MappingProxyType(
    {
        "small": "lethe.agents.networks.small:RECIPE",
        "squeezenet": "lethe.agents.networks.squeezenet:RECIPE",
        "resnet18": "lethe.agents.networks.resnet18:RECIPE",
        "mobilenet": "lethe.agents.networks.mobilenet:RECIPE",
        "lite0": "lethe.agents.networks.lite0:RECIPE",
    }
)


def get(name: str) -> Recipe:
    """The recipe of a registered name, of `timm:MODEL`, or of `module:object`, a `Recipe` or a function (see
    `Recipe.build`).

    `InputError` for a name that is none of these.
    """
    if name.startswith(timm_models.PREFIX):
        return timm_models.recipe(name.removeprefix(timm_models.PREFIX))
    if name not in NETWORKS and ":" not in name:
        raise InputError(f"{unknown('network', name, NETWORKS)}; one of your own is given as module:build")
    found = load("network", NETWORKS.get(name, name), name, "module:build, such as my_networks:build")
    if isinstance(found, Recipe):
        return found
    if not callable(found) or not _takes_one_argument(found):
        raise InputError(
            f"network '{name}': expected a function of num_classes that returns an nn.Module, or a "
            f"lethe.agents.networks.recipe.Recipe, got {_described(found)}"
        )
    return Recipe(found)


def default_network(image_size: tuple[int, int]) -> str:
    """The protocol's network for images of (height, width): SqueezeNet, or the small one where it takes them."""
    limit = get("small").max_pixels
    return "small" if limit is not None and max(image_size) <= limit else "squeezenet"


def _takes_one_argument(function: object) -> bool:
    try:
        inspect.signature(function).bind(1)  # type: ignore[arg-type]  # only asked of callables
    except (TypeError, ValueError):
        return False
    return True


def _described(found: object) -> str:
    return (
        f"{found.__name__}{inspect.signature(found)}"
        if inspect.isfunction(found)
        else f"a {type(found).__name__}"
    )
