"""What runs share is made once, from the lists that the trial asks for, in the type that it asks for."""

import json
import os
import shutil
from dataclasses import asdict, replace

import pytest
import torch
from PIL import Image, ImageOps

from lethe.agents.base import Needs
from lethe.benchmarks.__main__ import main
from lethe.benchmarks.records import environment, provenance
from lethe.benchmarks.run import data, experiment
from lethe.benchmarks.run.experiment import Machine, Places, prepare, run
from lethe.benchmarks.run.trial import Trial
from lethe.common.errors import InputError
from lethe.dataloaders.datasets import digits
from lethe.dataloaders.tasks import tasklists
from lethe.gridsearch.plan import plan

MACHINE = Machine()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Folders of data and lists that the tests of this file share."""
    folder = tmp_path_factory.mktemp("shared")
    return folder / "data", folder / "lists"


@pytest.fixture
def places(shared, tmp_path):
    return Places(tmp_path / "results", *shared)


@pytest.fixture
def fresh(tmp_path):
    """Places where nothing is."""
    return Places(tmp_path / "results", tmp_path / "data", tmp_path / "lists")


def trial(paradigm="class_iid", agent="finetune", **options) -> Trial:
    options = {"settings": {"lr": 0.01, "batch_size": 100}, "cut": "conv4", **options}
    return Trial.create("digits", paradigm, agent, **options)


# Validation


def test_a_split_is_part_of_the_configuration_and_of_the_id():
    tested, validated = trial(), trial(split="validation")
    assert (tested.config()["split"], validated.config()["split"]) == ("test", "validation")
    assert tested.id != validated.id
    with pytest.raises(InputError, match="unknown split 'valid': did you mean 'validation'"):
        trial(split="valid")


def test_a_validation_trial_learns_and_is_judged_on_validation_lists(places, monkeypatch):
    rows = []
    learn = experiment.learn

    def noting(agent, stream, images, evaluator, recorder, until_class):
        rows.append((torch.cat([task.rows for task in stream.tasks]), evaluator.test.rows))
        return learn(agent, stream, images, evaluator, recorder, until_class)

    monkeypatch.setattr(experiment, "learn", noting)
    summaries = [run(trial(split=split), 0, places, MACHINE) for split in ("test", "validation")]
    folder = tasklists.folder_of(places.lists, "digits", "class_iid", 0, "stream", "validation")
    assert summaries[1]["lists"] == tasklists.read(folder).fingerprint != summaries[0]["lists"]
    (train, test), (learned, judged) = (
        ({*part.tolist()} for part in rows[0]),
        ({*part.tolist()} for part in rows[1]),
    )
    assert learned | judged == train and not learned & judged
    assert not (learned | judged) & test


# What is shared


def stores(places):
    """The stores that are there, by kind: of pixels, of features."""
    names = {path.name for path in (places.data / "stores").iterdir() if path.is_dir()}
    return [{name for name in names if name.startswith(kind)} for kind in ("pixels", "features")]


def test_prepare_makes_everything_but_results(fresh):
    prepare(trial("iid"), 1, fresh, MACHINE)
    assert not fresh.results.exists()
    assert (fresh.lists / "digits_task_filelists" / "iid" / "run1" / "stream" / "manifest.json").exists()
    before = {path: path.stat().st_mtime_ns for path in fresh.data.rglob("stores/*/*")}
    assert [len(kind) for kind in stores(fresh)] == [1, 1]
    run(trial("iid"), 1, fresh, MACHINE)
    assert {path: path.stat().st_mtime_ns for path in fresh.data.rglob("stores/*/*")} == before


def test_prepare_leaves_features_to_the_machine_that_has_the_gpu(fresh, monkeypatch):
    """Their bits depend on the device: made here, they would be made again there."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    prepare(trial("iid"), 1, fresh, replace(MACHINE, device="cuda"))
    assert (fresh.lists / "digits_task_filelists" / "iid" / "run1" / "stream" / "manifest.json").exists()
    assert [len(kind) for kind in stores(fresh)] == [1, 0]


def test_trials_with_the_same_trunk_and_images_share_their_stores(fresh):
    prepare(trial(), 0, fresh, MACHINE)
    first = stores(fresh)
    prepare(trial("iid", "er", split="validation", settings={}), 3, fresh, MACHINE)
    prepare(trial(agent="offline", settings={}), 0, fresh, MACHINE)
    prepare(trial(cut=None), 0, fresh, MACHINE)
    assert stores(fresh) == first
    for other in (trial(cut="conv3"), trial(pretrained=False), trial(feature_dtype="bfloat16")):
        prepare(other, 0, fresh, MACHINE)
    assert [len(kind) for kind in stores(fresh)] == [1, 4], "one set of images"


def test_a_second_run_in_a_process_reads_no_file_of_the_data_again(places, monkeypatch):
    prepare(trial(), 0, places, MACHINE)
    for name in ("load", "ensure", "read", "Source"):
        monkeypatch.setattr(tasklists, name, None)
    monkeypatch.setattr(data.PixelStore, "open", None)
    assert run(trial(), 0, places, MACHINE)["metrics"]["accuracy_last"] >= 0


# bfloat16 features


def test_features_in_bfloat16_are_half_as_large_and_learned_from(fresh, capsys):
    options = ["--out", str(fresh.results), "--data", str(fresh.data), "--lists", str(fresh.lists)]
    options += ["--agent", "finetune", "--set", "lr=0.01", "batch_size=100", "--cut", "conv3"]
    for features in ("float32", "bfloat16"):
        assert main(["run", "digits/class_iid", *options, "--feature-dtype", features]) == 0
    (exact, coarse) = sorted((fresh.data / "stores").glob("features-*/array.npy"))
    assert coarse.parent.name.endswith("-bfloat16")
    assert coarse.stat().st_size < 0.51 * exact.stat().st_size
    configs = [json.loads(path.read_text()) for path in fresh.results.rglob("config.json")]
    assert {config["feature_dtype"] for config in configs} == {"float32", "bfloat16"}
    logs = {path.read_bytes() for path in fresh.results.rglob("metrics.jsonl")}
    assert len(logs) == 2, "the rounding is felt"


@pytest.mark.parametrize("cut", [None, "conv1"])
def test_features_without_a_frozen_part_are_refused(cut):
    with pytest.raises(InputError, match="feature_dtype bfloat16: nothing of the network is frozen"):
        trial(cut=cut, feature_dtype="bfloat16")


def test_an_unknown_type_of_features_is_refused_with_all_other_problems():
    with pytest.raises(InputError) as caught:
        trial(feature_dtype="float16", split="tests", variant="corect")
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "unknown split 'tests'", "unknown variant 'corect'", "unknown feature dtype 'float16'",
    ]  # fmt: skip


# The environment


@pytest.mark.parametrize("runs", ["1", "2"])
def test_runs_of_other_tasks_are_never_taken_for_those_of_a_trial(fresh, monkeypatch, capsys, runs):
    """Neither one that is finished nor a new one beside it, once the dataset is described otherwise."""
    options = ["--out", str(fresh.results), "--data", str(fresh.data), "--lists", str(fresh.lists)]
    options += ["--agent", "finetune", "--set", "batch_size=100"]
    assert main(["run", "digits/class_iid", *options, "--runs", "1"]) == 0
    assert main(["run", "digits/class_iid", *options, "--runs", "1"]) == 0
    monkeypatch.setattr(digits, "DATASET", replace(digits.DATASET, task_classes=5))
    capsys.readouterr()
    assert main(["run", "digits/class_iid", *options, "--runs", runs]) == 2
    told = capsys.readouterr().err
    assert "earlier runs were made otherwise (task_classes: 2 -> 5)" in told and "--out" in told
    assert main(["run", "digits/iid", *options, "--runs", runs]) == 0, "which has no such tasks"
    with pytest.raises(InputError, match="task_classes: 2 -> 5"):
        plan([trial(settings={"batch_size": 100}, cut=None)], 1, fresh, retry_failed=False)


FACTS = {
    "needs": asdict(Needs()), "protocol": {}, "dirmap": "d", "images": "i", "weights": "w", "store": "pixels",
}  # fmt: skip
"""What a run notes of its environment, beside that of its process."""


def test_gpus_of_one_model_count_as_the_same(tmp_path, monkeypatch):
    models = {0: "H200", 1: "H200", 2: "A100"}
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: models[device.index])

    def check(index: int) -> None:
        environment.note(tmp_path, provenance.environment(torch.device("cuda", index), 1) | FACTS)

    check(0)
    check(1)
    noted = json.loads((tmp_path / "env.json").read_text())
    assert (noted["device"], noted["device_name"]) == ("cuda", "H200")
    with pytest.raises(InputError, match="device_name: H200 -> A100"):
        check(2)


# The images


def test_runs_from_other_images_are_refused_and_from_copies_of_the_same_are_not(places, tmp_path):
    images = shutil.copytree(places.data / "digits", tmp_path / "data" / "digits")
    places = replace(places, data=tmp_path / "data")
    one = trial(cut=None, pretrained=False)

    def learn(number: int) -> dict:
        data._pixels.cache_clear()  # as in another process
        data.load.cache_clear()
        return run(one, number, places, MACHINE)

    learn(0)
    for path in images.rglob("*.png"):
        os.utime(path, ns=(0, 0))
    learn(1)
    for path in images.rglob("*.png"):
        ImageOps.invert(Image.open(path).convert("L")).save(path)
    with pytest.raises(
        InputError, match=r"env\.json.*images: \w{12} -> \w{12}.*bring back.*or give another --out"
    ):
        learn(2)
    learn(0)  # a finished run is not looked at


def test_an_environment_that_lacks_what_runs_must_share_is_damaged(tmp_path):
    now = provenance.environment(torch.device("cpu"), 1) | FACTS
    environment.note(tmp_path, now)
    environment.note(tmp_path, now)
    (tmp_path / "env.json").write_text(
        json.dumps({key: value for key, value in now.items() if key != "images"})
    )
    with pytest.raises(InputError, match=r"env.json: damaged \(images missing\)"):
        environment.note(tmp_path, now)


@pytest.mark.parametrize(
    ("class_of_label", "found"),
    [
        ((2, 1), ("pen", "cup")),
        (("pen", "cup"), ("pen", "cup")),
        ((0, 1), ("0", "1")),  # lists that tell no classes
        ((3, 1), ("3", "1")),  # a class that the dataset does not name
        ((), ()),
    ],
)
def test_labels_have_the_names_of_their_classes(class_of_label, found):
    dataset = replace(digits.DATASET, classes=("cup", "pen"))
    assert data.class_names(class_of_label, dataset) == found
