"""Trained agents that runs keep: read back to the bit, checked when read, asked for images from the command line."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import lethe
from lethe.benchmarks.__main__ import main
from lethe.benchmarks.records.write import Recorder
from lethe.benchmarks.run import kept, loop
from lethe.benchmarks.run.experiment import Machine, Places, run
from lethe.benchmarks.run.trial import Trial
from lethe.common.errors import InputError
from lethe.common.files import write_text
from lethe.dataloaders.stores.decode import decode

KEEP = Machine(keep_model=True)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return tmp_path_factory.mktemp("shared")


@pytest.fixture
def places(shared, tmp_path):
    return Places(tmp_path / "results", shared / "data", shared / "lists")


@pytest.fixture(scope="module")
def slda(shared):
    """The run's folder of an SLDA that was kept."""
    trial = a_trial("slda")
    places = Places(shared / "results", shared / "data", shared / "lists")
    run(trial, 0, places, KEEP)
    return trial.folder(places.results) / "run0"


def a_trial(agent, paradigm="class_iid", **options):
    settings = {"slda": {}, "icarl": {"lr": 0.01, "memory_size": 20}, "er": {"lr": 0.01, "batch_size": 100}}
    return Trial.create("digits", paradigm, agent, settings[agent], **options)


@pytest.mark.parametrize(
    ("agent", "options"), [("slda", {}), ("er", {"cut": "conv4"}), ("icarl", {"pretrained": False})]
)
def test_a_kept_agent_predicts_to_the_bit_what_the_trained_one_does(places, agent, options):
    """A trunk that is frozen, a part of the network that is, none; a cache that is made anew."""
    trial = a_trial(agent, **options)
    run(trial, 0, places, KEEP)
    trained = lethe.run(trial, data=places.data, lists=places.lists)
    model = lethe.load(trial.folder(places.results))
    x = trained.stream.test[0]
    assert torch.equal(model.predict(x), trained.predict(x))
    assert model.classes == trained.stream.class_names and model.image_size == (32, 32)
    for name, value in trained.agent.network.plastic.state_dict().items():
        assert torch.equal(model.agent.network.plastic.state_dict()[name], value)
    right = (model.predict(x).argmax(1) == trained.stream.test[1]).float().mean().item()
    assert 100 * right == pytest.approx(trained.accuracy[-1, 0]), "its answers are those that were judged"


def test_features_are_rounded_as_they_were_stored(places, monkeypatch):
    trial = a_trial("er", cut="conv4", feature_dtype="bfloat16")
    run(trial, 0, places, KEEP)
    model = kept.load(trial.folder(places.results) / "run0", CPU)
    given = []
    monkeypatch.setattr(model.agent, "predict", lambda x: given.append(x) or torch.zeros(len(x), 10))
    model.predict(torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8))
    assert torch.equal(given[0], given[0].bfloat16().float()) and given[0].any()


@pytest.mark.parametrize("moment", ["learning", "keeping", "the summary"])
def test_a_killed_run_that_goes_on_keeps_the_same_model(places, monkeypatch, moment):
    def killed(*_, **__):
        raise KeyboardInterrupt

    trial = a_trial("er")
    folder = trial.folder(places.results) / "run0"
    run(trial, 0, places, KEEP)
    whole = {path.name: path.read_bytes() for path in folder.glob("model*")}
    assert len(whole) == 2
    shutil.rmtree(folder)
    where = {
        "learning": (loop, "_data_for"), "keeping": (kept, "write_text"), "the summary": (Recorder, "finish"),
    }  # fmt: skip
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        if moment == "learning":
            patch.setattr(Recorder, "task", _after(Recorder.task, 3, killed))
        else:
            patch.setattr(*where[moment], killed)
        run(trial, 0, places, KEEP)
    assert not (folder / "summary.json").exists()
    assert kept.is_kept(folder) == (moment == "the summary")
    run(trial, 0, places, KEEP)
    assert {path.name: path.read_bytes() for path in folder.glob("model*")} == whole
    assert (folder / "summary.json").exists()


def _after(method, calls, then):
    """`method`, which ends with `then` the `calls`-th time."""
    count = []

    def counted(*arguments):
        method(*arguments)
        count.append(1)
        if len(count) == calls:
            then()

    return counted


def copied(folder, tmp_path):
    return Path(shutil.copytree(folder, tmp_path / "run0"))


def test_every_damaged_byte_is_told(slda, tmp_path):
    folder = copied(slda, tmp_path)
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    for place in np.random.default_rng(0).integers(0, len(whole), 20).tolist():
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"is not the file that model\.json beside it describes"):
            kept.load(folder, CPU)
    path.write_bytes(whole[:-1])
    with pytest.raises(InputError, match="is not the file"):
        kept.load(folder, CPU)
    path.unlink()
    with pytest.raises(InputError, match="cannot be read"):
        kept.load(folder, CPU)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda told: told.pop("classes"), "damaged .'classes'.: delete the run's folder"),
        (lambda told: told.update(classes=[]), "damaged .expected classes"),
        (lambda told: told.update(classes=[1, 2]), "damaged .expected texts"),
        (lambda told: told.update(trial=3), "damaged"),
        (lambda told: told.update(format=2), "expected a model of format 1, got 2"),
        (lambda told: told.update(input_shape=[1, 2]), "damaged"),
        (lambda told: told["trial"].update(image_size=[10**9, 1]), "damaged .expected sizes of 1 to 65535"),
        (lambda told: told.update(resize=31), "damaged .expected resize 0, or 32 to 65535"),
        (lambda told: told.update(resize=True), "damaged .expected resize 0"),
        (lambda told: told["trial"].update(cut=3), "damaged"),
        (lambda told: told["trial"].update(agent="er"), "hyperparameter"),
        (lambda told: told["trial"].update(agent="er", settings={}), "is not the state of agent er on network small"),
        (lambda told: told["trial"].update(network="resnet18", cut="layer4.1"), "is not the state of agent slda on"),
        (lambda told: told.update(frozen_sha256="0"), "the frozen part of the network has other layers"),
        (lambda told: told["trial"].update(agent="os:system"), "'system' is no subclass"),
        (lambda told: told["classes"].append("more"), "is not the state of agent slda"),
    ],
)  # fmt: skip
def test_a_description_that_does_not_fit_is_told_in_a_sentence(slda, tmp_path, change, message):
    folder = copied(slda, tmp_path)
    told = json.loads((folder / "model.json").read_text())
    change(told)
    write_text(folder / "model.json", json.dumps(kept.sealed(told)))
    with pytest.raises(InputError, match=message):
        kept.load(folder, CPU)


def test_a_description_that_has_changed_is_told(slda, tmp_path):
    folder = copied(slda, tmp_path)
    text = (folder / "model.json").read_text()
    write_text(folder / "model.json", text.replace("0.0001", "0.0002"))
    with pytest.raises(InputError, match=r"model\.json: damaged .it has changed since it was written"):
        kept.load(folder, CPU)


def test_a_trials_folder_gives_its_first_run_that_was_kept(slda, tmp_path):
    trial = tmp_path / "trial"
    shutil.copytree(slda, trial / "run10")
    shutil.copytree(slda, trial / "run9")
    told = json.loads((trial / "run9" / "model.json").read_text())
    write_text(trial / "run9" / "model.json", json.dumps(kept.sealed(told | {"classes": list("abcdefghij")})))
    assert kept.load(trial, CPU).classes == tuple("abcdefghij")
    assert kept.run_of(tmp_path) == trial / "run9", "of the one trial below a folder"
    shutil.copytree(slda, tmp_path / "another" / "run0")
    with pytest.raises(InputError, match="2 trials have kept an agent here: give the folder of one"):
        kept.run_of(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no trained agent is kept here: keep one with --keep-model"):
        kept.load(tmp_path / "empty", CPU)
    with pytest.raises(InputError, match="expected the folder of a trial or of a run, but there is none"):
        kept.load(tmp_path / "nothing", CPU)


def test_predict_prints_the_likeliest_classes_of_each_image_and_tells_what_it_cannot_read(
    slda, shared, tmp_path, capsys
):
    told = json.loads((slda / "model.json").read_text())
    folder = copied(slda, tmp_path)
    names = [f"digit {name}" for name in told["classes"]]
    names[told["classes"].index("7")] = "se\033[31mven"
    write_text(folder / "model.json", json.dumps(kept.sealed(told | {"classes": names})))
    images = [str(next((shared / "data" / "digits" / name).iterdir())) for name in "07"]
    blank = tmp_path / "img 003.png"
    Image.new("RGB", (50, 40), "white").save(blank)
    (tmp_path / "bad\033.png").write_bytes(b"x")
    given = [images[0], str(tmp_path / "bad\033.png"), images[1], str(blank), str(tmp_path / "none.png")]
    assert main(["predict", str(folder), *given]) == 2
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert [line.rpartition(": ")[0] for line in lines] == [images[0], images[1], str(blank)]
    assert lines[0].rpartition(": ")[2].startswith("digit 0 ") and "se?[31mven " in lines[1].split(", ")[0]
    assert all(len(line.split(", ")) == 3 for line in lines)
    problems = err.splitlines()
    assert len(problems) == 2 and "\033" not in out + err
    assert "bad?.png: cannot be decoded as an image" in problems[0] and "none.png" in problems[1]
    assert main(["predict", str(folder), images[0]]) == 0


def test_predict_cuts_images_as_the_run_did_and_models_of_earlier_versions_are_read(
    slda, tmp_path, monkeypatch
):
    told = json.loads((slda / "model.json").read_text())
    assert told["resize"] == 0
    image = tmp_path / "wide.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 90, 3), np.uint8)).save(image)
    asked = []
    for name, resize in (("cut", {"resize": 40}), ("earlier", {})):
        folder = copied(slda, tmp_path / name)
        content = {key: value for key, value in told.items() if key != "resize"} | resize
        write_text(folder / "model.json", json.dumps(kept.sealed(content)))
        monkeypatch.setattr(kept.Model, "predict", lambda model, x: asked.append(x[0]) or torch.zeros(1, 10))
        assert main(["predict", str(folder), str(image)]) == 0
    for x, resize in zip(asked, (40, 0), strict=True):
        assert np.array_equal(x.permute(1, 2, 0).numpy(), decode(image, (32, 32), resize))


def test_what_cannot_be_kept_is_told_before_anything_is_learned(shared, tmp_path, capsys):
    places = ["--data", str(shared / "data"), "--lists", str(shared / "lists"), "--out", str(tmp_path)]
    command = ["run", "digits/class_iid", "--agent", "slda", "tests.benchmarks.test_kept:Unsaved", *places]
    assert main([*command, "--keep-model"]) == 2
    assert "agent tests.benchmarks.test_kept:Unsaved cannot be saved" in capsys.readouterr().err
    assert not list(tmp_path.rglob("summary.json"))
    trial = Trial.create("digits", "class_iid", "tests.benchmarks.test_kept:Unsaved")
    with pytest.raises(InputError, match="cannot be saved"):
        run(trial, 0, Places(tmp_path, shared / "data", shared / "lists"), KEEP)


def test_a_run_that_finished_without_keeping_its_agent_is_named(shared, tmp_path, capsys):
    places = ["--data", str(shared / "data"), "--lists", str(shared / "lists"), "--out", str(tmp_path)]
    command = ["run", "digits/class_iid", "--agent", "slda", *places]
    assert main(command) == 0
    capsys.readouterr()
    assert main([*command, "--keep-model", "--runs", "2"]) == 0
    err = capsys.readouterr().err
    assert (
        "slda digits/class_iid run 0: finished before, and its agent was not kept: delete its folder" in err
    )
    assert "run 1" not in err and len(list(tmp_path.rglob("model.json"))) == 1
    lethe.record(
        [a_trial("slda")], runs=3, results=tmp_path, data=places[1], lists=places[3], keep_model=True
    )
    assert len(list(tmp_path.rglob("model.json"))) == 2


class Unsaved(lethe.Agent):
    resumable = False

    def observe(self, x, y):
        return {}

    def predict(self, x):
        return torch.zeros(len(x), self.problem.num_classes)
