"""The grid files that come with the project hold the published settings, and each can be run as it is."""

import hashlib
import subprocess
from pathlib import Path

import pytest
import torch
import torchvision

from lethe.benchmarks.run.trial import Trial
from lethe.common.errors import InputError
from lethe.dataloaders.__main__ import main as prepare
from lethe.gridsearch import grid
from tests import imagenet_trees as trees

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts"
IMAGENET = SCRIPTS / "optimal" / "imagenet"
OPTIMAL = sorted(path for path in (SCRIPTS / "optimal").glob("*/*.toml") if path.parent != IMAGENET)
ABLATIONS = sorted((SCRIPTS / "ablations").glob("*.toml"))
GRIDS = sorted((SCRIPTS / "grids").glob("*.toml"))

BOTH = {"class_iid", "class_instance"}
ABLATED = {
    "fittedslots": {"slots_from": "features"},
    "herding": {"herding": True},
    "memslot50": {"slots": 50},
    "memsz100": {"memory_size": 100},
    "mobilenet": {"network": "mobilenet", "cut": "features.8"},
    "nologits": {"distillation_weight": 0.0},
    "noreg": {"regulariser_weight": 0.0},
    "noreplay": {"replay_weight": 0.0, "replay_times": 0},
    "sparse": {"sharpness": 1.0},
    "unablated": {},
}


def name_of(path: Path) -> str:
    return path.relative_to(SCRIPTS).as_posix()


def by_paradigm(path: Path) -> dict[str, Trial]:
    """The trial of each paradigm; fails where there are several, among which a search would have to choose."""
    trials = grid.read(path).trials
    found = {trial.paradigm: trial for trial in trials}
    assert len(found) == len(trials)
    return found


def flat(trial: Trial) -> dict[str, object]:
    config = trial.config()
    settings = config.pop("settings")
    return {**config, **settings}


@pytest.mark.parametrize("path", GRIDS, ids=name_of)
def test_a_grid_is_read(path):
    assert grid.read(path).trials


@pytest.mark.parametrize("path", OPTIMAL, ids=name_of)
def test_optimal_settings_are_one_configuration_a_paradigm_of_what_the_file_is_named_after(path):
    trials = by_paradigm(path)
    assert {(trial.dataset, trial.agent) for trial in trials.values()} == {(path.parent.name, path.stem)}
    assert {trial.network for trial in trials.values()} == {"squeezenet"}
    assert {trial.cut for trial in trials.values()} == {"features.12" if path.stem == "augmem" else None}
    assert trials.keys() >= ({"class_iid"} if path.parent.name == "cifar100" else BOTH)


def test_every_dataset_has_every_published_agent():
    agents = {"finetune", "offline", "ewc", "l2", "mas", "si", "er", "gem", "icarl", "augmem"}
    found: dict[str, set[str]] = {}
    for path in OPTIMAL:
        found.setdefault(path.parent.name, set()).add(path.stem)
    expected = dict.fromkeys(("core50", "toybox", "ilab2mlight"), agents)
    assert found == {**expected, "cifar100": agents | {"agem"}}


@pytest.mark.parametrize(
    ("file", "paradigm", "published"),
    [
        (
            "core50/augmem",
            "class_iid",
            {"lr": 1e-3, "epochs_first_task": 10, "slots": 100, "slots_from": "normal"},
        ),
        ("core50/augmem", "class_instance", {"lr": 2.5e-4, "epochs_first_task": 10, "batch_size": 21}),
        ("core50/augmem", "instance", {"lr": 1e-3, "epochs_first_task": 1, "replay_weight": 1.0}),
        ("toybox/augmem", "class_instance", {"lr": 1e-4, "slots": 500, "epochs_first_task": 1}),
        ("ilab2mlight/augmem", "class_iid", {"lr": 1e-5, "sharpness": 1.0, "batch_size": 20}),
        ("cifar100/augmem", "class_iid", {"slots": 1000, "slot_width": 128, "memory_size": 2000}),
        ("core50/mas", "class_iid", {"lr": 1e-3, "penalty_weight": 1.0}),
        ("toybox/mas", "class_iid", {"lr": 1e-4, "penalty_weight": 1.0}),
        ("core50/ewc", "class_instance", {"lr": 1e-4, "penalty_weight": 100.0}),
        ("core50/ewc", "iid", {"lr": 1e-3, "penalty_weight": 1.0}),
        ("ilab2mlight/si", "class_instance", {"lr": 1e-4, "penalty_weight": 0.01}),
        ("core50/offline", "class_instance", {"batch_size": 200, "epochs": 5}),
        ("cifar100/offline", "class_iid", {"batch_size": 100, "epochs": 10}),
        ("core50/icarl", "class_iid", {"memory_size": 15}),
        ("cifar100/icarl", "class_iid", {"memory_size": 100, "epochs_first_task": 10}),
        ("toybox/gem", "class_iid", {"memory_size": 1200, "margin": 1.0}),
        ("cifar100/agem", "class_iid", {"memory_size": 1200, "lr": 1e-4}),
    ],
)
def test_optimal_settings_are_the_published(file, paradigm, published):
    settings = by_paradigm(SCRIPTS / "optimal" / f"{file}.toml")[paradigm].settings
    assert {key: settings[key] for key in published} == published


WEIGHTS = Path("results/imagenet/base")


@pytest.fixture
def imagenet(tmp_path, monkeypatch) -> Path:
    """The working folder, with a small set in the form of ImageNet, and the weights that remind.toml names."""
    monkeypatch.chdir(tmp_path)
    trees.tree(tmp_path / "download", 20, 1, 1, 32)
    assert prepare(["prepare", "imagenet", "--root", "download", "--image-size", "224"]) == 0
    theirs = torchvision.models.resnet18(num_classes=20).state_dict()
    WEIGHTS.parent.mkdir(parents=True)
    torch.save({"state_dict": {f"model.{name}": tensor for name, tensor in theirs.items()}}, WEIGHTS)
    return tmp_path


def test_the_settings_of_imagenet_are_the_published(imagenet):
    (base,), (remind,) = (grid.read(IMAGENET / f"{name}.toml").trials for name in ("base", "remind"))
    published = {
        "batch_size": 256, "epochs": 40, "lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4, "schedule": "step",
        "schedule_epochs": 15, "schedule_factor": 0.1, "augmentation": "resized_crop_flip", "retrain": False,
        "optimizer": "sgd",
    }  # fmt: skip
    assert {key: base.settings[key] for key in published} == published
    published = {
        "replay_images": 50, "memory_size": 959_665, "codebooks": 32, "start_lr": 0.1, "end_lr": 0.001, "lr_step": 100,
        "class_images": 1300, "weight_decay": 1e-5, "momentum": 0.9, "mixup": 0.1, "smallest_crop": 2 / 7,
        "all_labels": True, "epochs_first_task": 0,
    }  # fmt: skip
    assert {key: remind.settings[key] for key in published} == published
    assert (base.agent, base.only_task, base.cut, base.weights) == ("offline", 0, None, None)
    assert (remind.agent, remind.only_task, remind.cut) == ("remind", None, "layer4.1")
    assert remind.weights == hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
    for trial in (base, remind):
        assert (trial.dataset, trial.paradigm, trial.network) == ("imagenet", "class_ordered", "resnet18")
        assert not trial.pretrained and trial.seed == 0


def test_weights_of_a_grid_are_in_the_folder_of_the_command_and_missing_ones_are_told_with_their_line(
    imagenet,
):
    WEIGHTS.rename("elsewhere")
    with pytest.raises(
        InputError, match=r"remind.toml:\d+: results/imagenet/base: expected weights, .* there is none"
    ):
        grid.read(IMAGENET / "remind.toml")


def test_the_toybox_grid_is_the_published():
    found = grid.read(SCRIPTS / "grids" / "toybox.toml")
    sizes = {(trials[0].agent, trials[0].paradigm): len(trials) for trials in found.groups()}
    with_penalty = dict.fromkeys(("ewc", "l2", "mas", "si"), 9)
    others = dict.fromkeys(("icarl", "gem", "er", "finetune", "offline"), 3)
    assert sizes == {(agent, p): n for agent, n in (with_penalty | others).items() for p in BOTH}
    assert found.runs == 2
    assert {trial.settings["lr"] for trial in found.trials} == {1e-3, 1e-4, 1e-5}
    assert {trial.settings.get("penalty_weight") for trial in found.trials} == {1.0, 100.0, 500.0, None}
    assert {trial.settings["batch_size"] for trial in found.trials} == {20}
    assert {trial.settings.get("memory_size") for trial in found.trials} == {15, None}
    assert {trial.settings["epochs"] for trial in found.trials if trial.agent == "offline"} == {10}


def test_there_are_nine_ablations_and_one_of_the_projects_own():
    assert {path.stem for path in ABLATIONS} == ABLATED.keys()


@pytest.mark.parametrize("path", ABLATIONS, ids=name_of)
def test_an_ablation_differs_from_the_unablated_agent_in_what_it_ablates_alone(path):
    whole, ablated = by_paradigm(SCRIPTS / "ablations" / "unablated.toml"), by_paradigm(path)
    assert ablated.keys() == BOTH
    for paradigm, trial in ablated.items():
        base = flat(whole[paradigm])
        assert {key: value for key, value in flat(trial).items() if value != base[key]} == ABLATED[path.stem]


def test_the_unablated_agent_is_the_optimal_one():
    optimal = by_paradigm(SCRIPTS / "optimal" / "core50" / "augmem.toml")
    unablated = by_paradigm(SCRIPTS / "ablations" / "unablated.toml")
    assert unablated == {paradigm: optimal[paradigm] for paradigm in BOTH}


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ([], "a dataset (cifar100 core50 ilab2mlight imagenet toybox), got ''"),
        (["../grids", "toybox"], "a dataset (cifar100 core50 ilab2mlight imagenet toybox), got '../grids'"),
        (
            ["core50", "agem"],
            "an agent of core50 (all augmem er ewc finetune gem icarl l2 mas offline si), got 'agem'",
        ),
    ],
)
def test_run_optimal_lists_what_there_is(arguments, names):
    script = ["bash", str(SCRIPTS / "run_optimal.sh"), *arguments]
    done = subprocess.run(script, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert f"error: expected {names}" in done.stderr
