"""One task alone, and runs that begin with the weights of another, from the configuration to the note in a table."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

import lethe
from lethe.benchmarks.__main__ import main
from lethe.benchmarks.run import experiment, kept
from lethe.benchmarks.run.experiment import Machine, Places, run
from lethe.benchmarks.run.trial import Trial
from lethe.common.errors import InputError
from lethe.gridsearch import grid

KEEP = Machine(keep_model=True)
BASE = {"epochs": 5, "lr": 0.03, "batch_size": 20}
REMIND = {"epochs_first_task": 0, "codebooks": 16}


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    shared = tmp_path_factory.mktemp("shared")
    return Places(shared / "results", shared / "data", shared / "lists")


def base_trial(**options):
    return Trial.create("digits", "class_iid", "offline", BASE, pretrained=False, **options)


@pytest.fixture(scope="module")
def base(places):
    """The folder of a base initialisation: the first task alone, offline."""
    trial = base_trial(only_task=0)
    run(trial, 0, places, KEEP)
    return trial.folder(places.results)


def test_a_task_alone_is_learned_as_the_first_of_all_is(places, base):
    whole, alone = lethe.run(base_trial(), data=places.data, lists=places.lists), lethe.load(base)
    record = lethe.read_accuracies(places.results)
    assert set(record.task) == {0}
    assert record.seen.item() == whole.accuracy[0, 0]
    assert alone.classes == whole.stream.class_names and alone.agent.problem.num_classes == 10
    assert alone.agent.seen.sum() == 2, "labels are those of the whole stream"


def test_a_later_task_alone_has_its_own_labels(places):
    trial = Trial.create("digits", "class_iid", "finetune", {"lr": 0.01}, pretrained=False, only_task=3)
    found = lethe.run(trial, data=places.data, lists=places.lists)
    assert found.agent.seen.nonzero().flatten().tolist() == [6, 7] and found.accuracy.shape == (1, 2)
    with pytest.raises(
        InputError, match="only_task 5: expected the number of a task, 0 to 4, of this stream"
    ):
        lethe.run(
            Trial.create("digits", "class_iid", "finetune", {}, only_task=5),
            data=places.data,
            lists=places.lists,
        )
    for wrong in (-1, "0", True):
        with pytest.raises(InputError, match="only_task: expected the number of a task"):
            base_trial(only_task=wrong)


def stream_trial(agent, settings, weights, **options):
    return Trial.create("digits", "class_iid", agent, settings, weights=weights, **options)


def test_a_stream_begins_with_the_network_of_its_base_initialisation(places, base):
    """The trunk and the plastic part to the bit, the outputs by the names of classes, whose labels differ."""
    before = lethe.load(base).agent.network.plastic
    trial = stream_trial("remind", REMIND, base)
    opened = experiment.open_run(trial, 0, places, Machine())
    network, classes = opened.agent.network, opened.data.classes
    assert classes != lethe.load(base).classes, "the lists of offline learning number classes otherwise"
    layers = [layer for layer in [*network.frozen, *network.plastic] if list(layer.parameters())]
    theirs = [layer for layer in before if list(layer.parameters())]
    for ours, layer in zip(layers[:-1], theirs[:-1], strict=True):
        assert all(map(torch.equal, ours.state_dict().values(), layer.state_dict().values()))
    rows = [lethe.load(base).classes.index(name) for name in classes]
    assert rows != sorted(rows)
    assert torch.equal(network.plastic[-1][1].weight, before[-1][1].weight[rows])
    stored = lethe.run(replace(trial, only_task=0), data=places.data, lists=places.lists)
    assert stored.accuracy[0, 0] > 90, "without a step in the first task"


def test_the_weights_are_part_of_a_trial_and_their_place_is_not(tmp_path, base):
    trial = stream_trial("finetune", {}, base)
    moved = tmp_path / "moved"
    shutil.copytree(base / "run0", moved)
    for same in (base / "run0", base / "run0" / kept.STATE, moved, moved / kept.STATE):
        twin = stream_trial("finetune", {}, same)
        assert twin == trial and twin.id == trial.id
    assert trial.config()["weights"] == trial.weights and len(trial.weights) == 64
    assert trial.config()["pretrained"] is False and str(base) not in json.dumps(trial.config())
    assert trial.id != stream_trial("finetune", {}, None).id
    (moved / kept.STATE).rename(moved / "w.safetensors")
    with pytest.raises(InputError, match="but there is none"):
        stream_trial("finetune", {}, moved)
    with pytest.raises(InputError, match="expected a file or a folder, got an empty text"):
        stream_trial("finetune", {}, "")


def test_weights_that_have_changed_are_told(tmp_path, places, base):
    path = tmp_path / "w.pth"
    torch.save({"a": torch.zeros(1)}, path)
    with pytest.raises(InputError, match="expected weights of network small, got others"):
        stream_trial("finetune", {}, path)
    other = tmp_path / "run0"
    shutil.copytree(base / "run0", other)
    trial = stream_trial("finetune", {}, other)
    data = bytearray((other / kept.STATE).read_bytes())
    data[-1] ^= 1
    (other / kept.STATE).write_bytes(data)
    with pytest.raises(InputError, match=r"is not the file that model\.json beside it describes"):
        run(trial, 0, places, Machine())


def test_weights_of_another_network_are_refused_before_anything_is_learned(tmp_path, places, base, capsys):
    arguments = ["run", "digits/class_iid", "--agent", "finetune", "--network", "resnet18"]
    arguments += ["--weights", str(base), "--out", str(tmp_path), "--data", str(places.data)]
    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert "expected weights of network resnet18, got those of small" in told and "--network small" in told
    for wrong in (tmp_path / "none", tmp_path, "/dev/null"):
        assert main([*arguments[:4], "--weights", str(wrong), *arguments[8:]]) == 2
    assert not list(tmp_path.iterdir())


def test_what_a_network_learned_before_stands_beside_its_numbers(tmp_path, places, base, capsys):
    out = tmp_path / "results"
    shared = ["--out", str(out), "--data", str(places.data), "--lists", str(places.lists)]
    settings = [f"offline.{key}={value}" for key, value in BASE.items()]
    assert main(["run", "digits/class_iid", "--agent", "finetune", "--weights", str(base), *shared]) == 0
    words = "on digits/class_iid by offline, task 0 alone, run 0"
    assert words in capsys.readouterr().out
    arguments = ["run", "digits/class_iid", "--agent", "offline", "--no-pretrained", "--only-task", "0"]
    assert main([*arguments, "--set", *settings, *shared]) == 0
    assert main(["report", str(out), "--out", str(tmp_path / "report")]) == 0
    told = capsys.readouterr().out
    weights = stream_trial("finetune", {}, base).weights[:12]
    assert f"pretrained: small {words} (weights {weights})" in told
    assert "omega_all of finetune is blank, because no offline trial has the same only task" in told


def test_grid_files_and_the_api_take_weights_too(tmp_path, base):
    path = tmp_path / "grid.toml"
    text = f'datasets = ["digits"]\nparadigms = ["class_iid"]\nweights = "{base}"\n[agents.finetune]\n'
    path.write_text(text)
    (trial,) = grid.read(path).trials
    assert trial.weights == stream_trial("finetune", {}, base).weights
    assert lethe.trial("digits/class_iid", "finetune", weights=base) == stream_trial("finetune", {}, base)
    path.write_text(text.replace(str(base), "nowhere"))
    with pytest.raises(InputError, match=r"grid\.toml:3: nowhere: expected weights"):
        grid.read(path)
