"""The Python API gives the numbers of the command line, and says what is wrong with its arguments."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import lethe
from lethe.cli import main
from lethe.common.errors import InputError


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Folders of data and lists, shared by the tests."""
    folder = tmp_path_factory.mktemp("api")
    return {"data": folder / "data", "lists": folder / "lists"}


def arrays(count=40):
    """Noise in which the class, 0 .. 3, is the bright quarter."""
    x = np.random.default_rng(0).integers(0, 80, (count, 8, 8, 3), dtype=np.uint8)
    y = np.arange(count) % 4
    for image, label in zip(x, y, strict=True):
        top, left = 4 * (label // 2), 4 * (label % 2)
        image[top : top + 4, left : left + 4] += 120
    return x, y


def test_a_run_in_memory_has_the_numbers_and_the_log_of_a_recorded_one(places, tmp_path):
    options = ["--out", str(tmp_path), "--data", str(places["data"]), "--lists", str(places["lists"])]
    assert (
        main(["run", "digits/class_iid", "--agent", "er", "--set", "lr=0.01", "memory_size=50", *options])
        == 0
    )
    (folder,) = tmp_path.glob("*/*/*/*/run0")
    trial = lethe.trial("digits/class_iid", "er", lr=0.01, memory_size=50, data=places["data"])
    assert folder.parent == trial.folder(tmp_path)
    run = lethe.run(trial, **places)
    curves = lethe.read_accuracies(tmp_path)
    assert run.accuracy[:, 0].tolist() == curves["seen"].tolist()
    logged = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert run.log.to_dict("records") == logged
    (row,) = lethe.read_results(tmp_path).to_dict("records")
    assert row["accuracy_last"] == run.metrics["accuracy_last"] and row["lr"] == 0.01 and row["run"] == 0
    assert lethe.evaluate(run.agent, run.stream).seen == run.accuracy[-1, 0]
    confusions = lethe.read_confusions(tmp_path)
    last = confusions[confusions["task"] == 4]
    right = last[last["true"] == last["predicted"]]["count"].sum()
    assert 100 * right / last["count"].sum() == pytest.approx(run.accuracy[-1, 0])
    assert lethe.evaluate(run.agent, run.stream).confusion.matrix().trace() == right
    assert set(last["true"]) == set(run.stream.class_names) and set(confusions["agent"]) == {"er"}
    x, y = run.stream.test
    assert 100 * (run.predict(x).argmax(1) == y).double().mean().item() == pytest.approx(run.accuracy[-1, 0])


def test_a_trunk_is_frozen_in_memory_as_it_is_in_a_store(places):
    trial = lethe.trial("digits/class_iid", "slda", data=places["data"])
    recorded, given = (
        lethe.run(trial, **places),
        lethe.learn(lethe.stream("digits/class_iid", **places), "slda"),
    )
    assert np.array_equal(recorded.accuracy, given.accuracy, equal_nan=True)


def test_runs_are_recorded_once_and_failures_raise_after_all_others(places, tmp_path):
    good = lethe.trial("digits/class_iid", "slda", data=places["data"])
    bad = lethe.trial("digits/class_iid", "tests.troubled:Crashes", data=places["data"])
    with pytest.raises(RuntimeError, match="Crashes digits/class_iid run 0: "):
        lethe.record([bad, good], results=tmp_path, **places)
    (summary,) = tmp_path.glob("*/*/slda/*/run0/summary.json")
    before = summary.stat().st_mtime_ns
    lethe.record([good], results=tmp_path, **places)
    assert summary.stat().st_mtime_ns == before


def test_arrays_networks_and_agents_of_a_users_own():
    x, y = arrays()
    stream = lethe.stream_of_arrays(x, y, test_x=x, test_y=y, paradigm="class_iid", task_classes=2)
    assert [len(task) for task in stream.tasks] == [20, 20] and stream.num_classes == 4
    assert sorted(stream.class_names) == ["0", "1", "2", "3"]

    class Silent(lethe.Agent):
        seen = 0

        def observe(self, x, y):
            self.seen = self.seen + len(y)
            return {}

        def predict(self, x):
            return self.network.plastic(x)

    before = torch.random.get_rng_state()
    run = lethe.learn(
        stream, Silent, network=lambda classes: nn.Sequential(nn.Flatten(), nn.Linear(192, classes))
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    assert run.agent.seen == 40 and run.log.empty
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    weights = network[1].weight.clone()
    again = lethe.learn(stream, "er", network=network, lr=0.003, epochs=20)
    assert again.metrics["accuracy_last"] > 60
    assert torch.equal(network[1].weight, weights), "the module given is copied"


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda: lethe.stream("digits"), "expected DATASET/PARADIGM"),
        (lambda: lethe.trial("digits/class_iid", "err"), "did you mean 'er'?"),
        (lambda: lethe.nothing, "has no attribute 'nothing'"),
    ],
)
def test_mistakes_are_told(mistake, message):
    with pytest.raises((InputError, AttributeError)) as told:
        mistake()
    assert message in str(told.value)


def test_the_names_of_the_package_are_those_of_the_api():
    from lethe import api

    assert set(lethe.API) == set(api.__all__) <= set(dir(lethe))
