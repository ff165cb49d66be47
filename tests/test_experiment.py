"""What runs share is made once, from the lists that the trial asks for, in the type that it asks for."""

import json

import pytest
import torch

from benchmarks import experiment
from benchmarks.__main__ import main
from benchmarks.experiment import Machine, Places, prepare, run
from benchmarks.trial import Trial
from dataloaders import tasklists
from errors import InputError

MACHINE = Machine()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Folders of data and lists that the tests of this file share."""
    folder = tmp_path_factory.mktemp("shared")
    return folder / "data", folder / "lists"


@pytest.fixture
def places(shared, tmp_path):
    return Places(tmp_path / "results", *shared)


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

    def noting(agent, stream, images, evaluator, recorder):
        rows.append((torch.cat([task.rows for task in stream.tasks]), evaluator.test.rows))
        learn(agent, stream, images, evaluator, recorder)

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


def test_prepare_makes_everything_but_results(places, monkeypatch):
    key = prepare(trial("iid"), 1, places, MACHINE)
    assert not places.results.exists()
    assert (places.lists / "digits_task_filelists" / "iid" / "run1" / "stream" / "manifest.json").exists()
    before = {path: path.stat().st_mtime_ns for path in places.data.rglob("stores/*/*")}
    assert any(key[0][:16] in str(path) and key[1][:16] in str(path) for path in before)
    run(trial("iid"), 1, places, MACHINE)
    assert {path: path.stat().st_mtime_ns for path in places.data.rglob("stores/*/*")} == before


def test_trials_with_the_same_trunk_and_images_share_their_stores(places):
    key = prepare(trial(), 0, places, MACHINE)
    assert key == prepare(trial("iid", "er", split="validation", settings={}), 3, places, MACHINE)
    assert hash(key) == hash(prepare(trial(agent="offline", settings={}), 0, places, MACHINE))
    others = [
        prepare(other, 0, places, MACHINE)
        for other in (
            trial(cut=None),
            trial(cut="conv3"),
            trial(pretrained=False),
            trial(features="bfloat16"),
        )
    ]
    assert len({key, *others}) == 5
    assert {other[0] for other in others} == {key[0]}, "one set of images"
    assert others[0][1] is None


def test_a_second_run_in_a_process_reads_no_file_of_the_data_again(places, monkeypatch):
    prepare(trial(), 0, places, MACHINE)
    for name in ("ensure", "read", "Source"):
        monkeypatch.setattr(tasklists, name, None)
    monkeypatch.setattr(experiment.PixelStore, "open", None)
    assert run(trial(), 0, places, MACHINE)["metrics"]["accuracy_last"] >= 0


# bfloat16 features


def test_features_in_bfloat16_are_half_as_large_and_learned_from(places, capsys):
    options = ["--out", str(places.results), "--data", str(places.data), "--lists", str(places.lists)]
    options += ["--agent", "finetune", "--set", "lr=0.01", "batch_size=100", "--cut", "conv3"]
    for features in ("float32", "bfloat16"):
        assert main(["run", "digits/class_iid", *options, "--features", features]) == 0
    key = prepare(trial(cut="conv3", features="bfloat16"), 0, places, MACHINE)
    (exact, coarse) = sorted((places.data / "stores").glob(f"features-*-{key[1][:16]}*/array.npy"))
    assert coarse.parent.name.endswith("-bfloat16")
    assert coarse.stat().st_size < 0.51 * exact.stat().st_size
    configs = [json.loads(path.read_text()) for path in places.results.rglob("config.json")]
    assert {config["features"] for config in configs} == {"float32", "bfloat16"}
    logs = {path.read_bytes() for path in places.results.rglob("metrics.jsonl")}
    assert len(logs) == 2, "the rounding is felt"


@pytest.mark.parametrize("cut", [None, "conv1"])
def test_features_without_a_frozen_part_are_refused(cut):
    with pytest.raises(InputError, match="features bfloat16: nothing of the network is frozen"):
        trial(cut=cut, features="bfloat16")


def test_an_unknown_type_of_features_is_refused_with_all_other_problems():
    with pytest.raises(InputError) as caught:
        trial(features="float16", split="tests", variant="corect")
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "unknown split 'tests'", "unknown variant 'corect'", "unknown type of features 'float16'",
    ]  # fmt: skip


# The environment


def test_gpus_of_one_model_count_as_the_same(tmp_path, monkeypatch):
    models = {0: "H200", 1: "H200", 2: "A100"}
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: models[device.index])
    facts = {"dirmap": "d", "weights": "w"}

    def check(index: int) -> None:
        device = torch.device("cuda", index)
        experiment._check_environment(tmp_path, Machine(str(device)), device, facts)

    check(0)
    check(1)
    environment = json.loads((tmp_path / "env.json").read_text())
    assert (environment["device"], environment["device_name"]) == ("cuda", "H200")
    with pytest.raises(InputError, match="device_name: H200 -> A100"):
        check(2)
