"""Construction of the agents of trials without data, so that what a constructor refuses is known before the runs."""

from collections.abc import Iterable

import torch

from lethe.agents import registry
from lethe.agents.base import Problem
from lethe.agents.networks import build as networks
from lethe.agents.networks.quantised import blank
from lethe.benchmarks.run.seeds import derive
from lethe.benchmarks.run.trial import Trial
from lethe.common.errors import InputError
from lethe.common.progress import Bar

MOST = 1000
"""Agents that are built; a second or less each, of the largest networks."""


def refusals(trials: Iterable[Trial]) -> tuple[dict[Trial, str], list[str]]:
    """The trials whose agent cannot be built, with the reason, and notes on agents that were not tried.

    Each configuration of an agent on a network and dataset is built once, on the CPU, with untrained weights; no image
    is read for it.
    """
    kinds: dict[object, Trial] = {}
    for trial in trials:
        key = (
            trial.agent,
            tuple(trial.settings.items()),
            trial.network,
            trial.cut,
            trial.dataset,
            trial.codebooks,
        )
        kinds.setdefault(key, trial)
    known = [trial for trial in kinds.values() if trial.spec.classes]
    refused: dict[Trial, str] = {}
    with Bar("building agents", "agent") as bar:
        for done, trial in enumerate(known[:MOST], start=1):
            if reason := _refusal(trial):
                refused[trial] = reason
            bar.set(done, min(len(known), MOST))
    notes = [
        f"{dataset}: no agent is built, because its classes are not known before its images are there"
        for dataset in sorted({trial.dataset for trial in kinds.values() if not trial.spec.classes})
    ]
    if len(known) > MOST:
        notes.append(f"only the first {MOST:,} of {len(known):,} agents were built")
    return refused, notes


def _refusal(trial: Trial) -> str:
    """Why the agent of `trial` cannot be built; empty if it can."""
    classes, device = len(trial.spec.classes), torch.device("cpu")
    try:
        agent_class = registry.get(trial.agent)
        network, _ = networks.build(
            trial.network,
            classes,
            cut=trial.cut,
            pretrained=False,
            seed=derive(trial.seed, 0, "weights"),
            device=device,
        )
        shape = networks.given_shape(trial.network, trial.cut, trial.image_size)
        if trial.codebooks is not None:
            network = blank(network, trial.codebooks, shape)
            shape = (trial.codebooks, *shape[1:])
        problem = Problem(classes, shape)
        config = agent_class.Config.from_settings(trial.settings)
        agent_class(problem, config, network, seed=derive(trial.seed, 0, "agent"), device=device)
    except InputError as error:
        return str(error)
    except (Exception, SystemExit) as error:  # whatever an agent raises is its answer
        return f"{type(error).__name__}: {error}"
    return ""
