"""Results of a trial in the files of the published experiments (AugMem), for scripts that read those.

    test.csv, test_task1.csv    runs x tasks, percent, no header: on the classes seen so far, on the first task's
    val.csv, val_task1.csv      the same of a trial judged on validation images; it has no test.csv
    hyperparams.csv             name,value lines, no header

A hyperparameter has the name of the published option where one means the same, else its name here.
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from lethe.benchmarks.records.read import TrialRecord, read_trial
from lethe.common.errors import InputError
from lethe.common.files import is_there, write_text

_TABLES = {
    "test": {"test.csv": 0, "test_task1.csv": 1},
    "validation": {"val.csv": 0, "val_task1.csv": 1},
}
"""Per split, the files and their columns of `RunRecord.accuracy`."""

_NETWORKS = {"squeezenet": "SqueezeNet", "resnet18": "ResNet18", "mobilenet": "MobileNet"}

_OPTIONS = {
    "epochs": "n_epoch",
    "epochs_first_task": "n_epoch_first_task",
    "penalty_weight": "reg_coef",
    "regulariser_weight": "reg_coef",
    "slots": "memory_Nslots",
    "slot_width": "memory_Nfeat",
    "sharpness": "mem_sparse",
    "replay_weight": "replay_coef",
    "distillation_weight": "logit_coef",
    "herding": "herding_mode",
}
"""The published option of each setting that has another name there."""


def write_published_tables(folder: Path) -> None:
    """Write these files beside the runs of the trial in `folder`."""
    trial = read_trial(folder)
    for name, column in _TABLES[trial.config["split"]].items():
        rows = [",".join(repr(float(value)) for value in run.accuracy[:, column]) for run in trial.runs]
        write_text(folder / name, "".join(f"{row}\n" for row in rows))
    write_text(folder / "hyperparams.csv", _csv(_options(trial)))


def write_tables_of(folders: Iterable[Path]) -> None:
    """Write the tables of every trial that has begun: a process may have ended between a run and its tables.

    `InputError` with all problems if records are damaged; tables of the other trials are written all the same.
    """
    problems: list[str] = []
    for folder in folders:
        if is_there(folder / "config.json"):
            try:
                write_published_tables(folder)
            except InputError as error:
                problems += error.problems
    if problems:
        raise InputError(*dict.fromkeys(problems))


def _options(trial: TrialRecord) -> dict[str, object]:
    """Configuration of the trial by published option."""
    config = {key: value for key, value in trial.config.items() if key != "format"}
    settings, network = config.pop("settings"), config.pop("network")
    return {
        "dataset": config.pop("dataset"),
        "offline": trial.needs.get("offline", False),
        "scenario": config.pop("paradigm"),
        "n_runs": len(trial.runs),
        "model_name": _NETWORKS.get(network, network),
        "agent_name": config.pop("agent"),
        "pretrained": config.pop("pretrained"),
        "freeze_feature_extract": config["cut"] is not None,
        **{_OPTIONS.get(name, name): value for name, value in settings.items()},
        **config,
    }


def _csv(options: Mapping[str, object]) -> str:
    """`name,value` lines; lists and other nested values as JSON, quoted where they hold a comma."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    for name, value in options.items():
        plain = value is None or isinstance(value, bool | int | float | str)
        lines.writerow([name, str(value) if plain else json.dumps(value)])
    return text.getvalue()
