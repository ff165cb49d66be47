"""The loop and the record: who is handed what, what is measured, and going on after any interruption."""

import itertools
import json
import time
import types
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from lethe.agents.base import Agent, Needs, Problem
from lethe.agents.contract.toy import CPU, batch, network
from lethe.agents.er import ER
from lethe.agents.ewc import EWC
from lethe.agents.offline import Offline
from lethe.benchmarks.measure.costs import TIMED
from lethe.benchmarks.measure.evaluate import Diverged, Evaluator
from lethe.benchmarks.measure.unchanged import StateChanged
from lethe.benchmarks.records import checkpoint, confusions
from lethe.benchmarks.records.lock import lock
from lethe.benchmarks.records.read import read_run
from lethe.benchmarks.records.write import Recorder
from lethe.benchmarks.run.loop import learn
from lethe.common.errors import InputError
from lethe.common.locks import Locked
from lethe.dataloaders.streams import Images, Stream, Task

LABELS = [[0, 1, 0, 1, 0, 1, 0], [2, 3, 2, 3, 2, 3, 2]]


def world(labels=LABELS):
    """A stream of `labels` a task, with two test images a class; row i of the images is image i."""
    flat = [label for task in labels for label in task]
    tested = sorted(set(flat)) * 2
    x, y = batch(flat + tested)
    images = Images(x.permute(0, 2, 3, 1).contiguous().numpy(), CPU)
    ends = np.cumsum([len(task) for task in labels])
    tasks = tuple(
        Task(torch.arange(end - len(task), end), y[end - len(task) : end])
        for end, task in zip(ends, labels, strict=True)
    )
    rows = torch.arange(len(flat), len(y))
    return Stream(tasks, Task(rows, y[rows]), max(flat) + 1), images


def make(agent_class, **settings):
    config = agent_class.Config.from_settings({"batch_size": 3, **settings})
    return agent_class(Problem(4, (3, 8, 8)), config, network(), seed=0, device=CPU)


def go(agent, folder, stream, images, classes=None, **options):
    """One run from wherever `folder` stands; returns its summary."""
    evaluator = Evaluator(stream, images, CPU, classes)
    recorder = Recorder(folder, seed=7, identity={"run": 0}, **options)
    recorder.restore(agent, [len(task) for task in stream.tasks])
    learn(agent, stream, images, evaluator, recorder)
    return recorder.finish(agent, evaluator, predictions=True)


class Witness(Agent):
    """Notes every call; predicts from a table of scores by label."""

    needs = Needs(task_boundaries=True)
    scores = torch.eye(4)

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.calls = []

    def observe(self, x, y):
        assert x.shape[1:] == (3, 8, 8) and x.dtype == torch.uint8
        self.calls.append(["observe", *y.tolist()])
        return {"count": float(len(y))}

    def predict(self, x):
        assert not torch.is_grad_enabled() and not self.network.plastic.training
        quarters = x.float().mean(1).view(-1, 2, 4, 2, 4).mean((2, 4)).view(-1, 4)
        return self.scores[quarters.argmax(1)]

    def begin_task(self, task):
        assert (task.images is not None) == (self.needs.task_data or self.needs.offline)
        self.calls.append(["begin", task.index, *task.classes])

    def end_task(self, task, data):
        self.calls.append(["end", [y.tolist() for _, y in data.batches(4)] if self.needs.task_data else None])


def test_an_agent_is_handed_the_stream_once_in_order_and_nothing_else(tmp_path):
    agent = make(Witness)
    go(agent, tmp_path, *world())
    assert agent.calls == [
        ["begin", 0, 0, 1], ["observe", 0, 1, 0], ["observe", 1, 0, 1], ["observe", 0], ["end", None],
        ["begin", 1, 0, 1, 2, 3], ["observe", 2, 3, 2], ["observe", 3, 2, 3], ["observe", 2], ["end", None],
    ]  # fmt: skip


def test_task_data_is_handed_only_to_those_who_declare_it(tmp_path):
    class Needy(Witness):
        needs = Needs(task_boundaries=True, task_data=True)

        def begin_task(self, task):
            assert task.images == 7
            super().begin_task(task)

    agent = make(Needy)
    go(agent, tmp_path, *world())
    first, second = [call[1] for call in agent.calls if call[0] == "end"]
    assert first == [[0, 1, 0, 1], [0, 1, 0]]
    assert second == [[2, 3, 2, 3], [2, 3, 2]]


@pytest.mark.parametrize("kind", ["step", "cosine"])
def test_a_schedule_by_epochs_begins_anew_at_each_task_whatever_its_length(tmp_path, kind):
    class Watched(Offline):
        def observe(self, x, y):
            logged = super().observe(x, y)
            rates.append(self.optimizer.param_groups[0]["lr"])
            return logged

    rates, lr = [], 0.5
    labels = [LABELS[0], LABELS[0] + LABELS[1]]
    settings = {"epochs": 5, "schedule": kind, "schedule_epochs": 2, "schedule_factor": 0.1, "lr": lr}
    go(make(Watched, **settings), tmp_path, *world(labels))
    shares = {"step": [1, 1, 0.1, 0.1, 0.01], "cosine": [1, 0.55, 0.1, 0.1, 0.1]}[kind]
    steps = [3, 5]  # batches of 3 of 7 and of 14 images
    assert rates == pytest.approx([lr * share for count in steps for share in shares for _ in range(count)])


def reachable(*roots):
    """Every object that attributes, items and iteration lead to; not the variables of functions, nor modules."""
    functions = {"__closure__", "__globals__", "__builtins__", "f_globals", "f_builtins", "f_back"}
    hidden = functions | {"__subclasses__", "__module__", "__weakref__", "__doc__"}
    kinds = (
        int,
        float,
        str,
        bytes,
        type,
        type(None),
        types.ModuleType,
        types.BuiltinMethodType,
        types.MethodWrapperType,
    )
    found, ahead = {}, list(roots)
    while ahead:
        item = ahead.pop()
        if id(item) in found or isinstance(item, kinds):
            continue
        found[id(item)] = item
        if isinstance(item, (list, tuple, set)):
            ahead += item
        elif isinstance(item, dict):
            ahead += [*item.keys(), *item.values()]
        elif isinstance(item, (torch.Tensor, np.ndarray)):
            ahead += [item._base] if isinstance(item, torch.Tensor) else [item.base]
        else:
            names = {*dir(item), "gi_frame", "f_locals"} - hidden
            ahead += [getattr(item, name, None) for name in names]
    return list(found.values())


def test_task_data_leads_to_its_own_rows_and_to_nothing_else(tmp_path):
    """Test images are white here, and the labels of other tasks are others."""
    stream, _ = world()
    pixels = torch.zeros(22, 8, 8, 3, dtype=torch.uint8)
    pixels[stream.test.rows] = 255
    images = Images(pixels.numpy(), CPU)
    handed = []

    class Collects(Witness):
        needs = Needs(task_boundaries=True, task_data=True)

        def observe(self, x, y):
            handed.extend([x, y])
            return super().observe(x, y)

        def end_task(self, task, data):
            begun = data.batches(3)
            next(begun)
            first = reachable(data, begun, data.batches, list(data.batches(3)), data.batches(3))
            assert not any(isinstance(item, (Images, Stream, Task, np.ndarray)) for item in first)
            tensors = [item for item in first if isinstance(item, torch.Tensor)]
            assert len(tensors) >= 6
            handed.extend(tensors)

        def predict(self, x):
            return torch.zeros(len(x), 4)

    go(make(Collects), tmp_path, stream, images)
    for tensor in handed:
        whole = torch.empty(0, dtype=tensor.dtype).set_(tensor.untyped_storage())  # views reach all of it
        if tensor.dtype == torch.uint8:
            assert whole.numel() == tensor.numel() and not whole.any(), "a test image"
        else:
            assert whole.numel() == tensor.numel() <= 3


def test_the_walk_finds_what_an_open_object_carries():
    """The negative control: an object with the store among its attributes, a generator with it in its frame."""
    stream, images = world()

    def batches():
        yield images[stream.test.rows]

    begun = batches()
    for open_object in (types.SimpleNamespace(images=images), begun, images):
        assert any(isinstance(item, Images) for item in reachable(open_object))


def test_epochs_are_repeated_and_offline_learners_get_them_shuffled(tmp_path):
    class Patient(Witness):
        needs = Needs(task_boundaries=True, offline=True)

    seen = {}
    for agent_class in (Witness, Patient):
        agent = make(agent_class, epochs=2, epochs_first_task=3, batch_size=7)
        go(agent, tmp_path / agent_class.__name__, *world([[0, 1, 2, 3, 0, 1, 2], [0, 1, 2, 3]]))
        seen[agent_class] = [call[1:] for call in agent.calls if call[0] == "observe"]
    assert seen[Witness] == [[0, 1, 2, 3, 0, 1, 2]] * 3 + [[0, 1, 2, 3]] * 2
    assert [sorted(batch) for batch in seen[Patient]] == [sorted(batch) for batch in seen[Witness]]
    assert len({tuple(batch) for batch in seen[Patient]}) > 2, "every epoch is shuffled anew"


def test_accuracy_counts_only_classes_seen_and_groups_them_by_task(tmp_path):
    class OftenWrong(Witness):
        # Class 0 is taken for 3, until 3 has come by a wrong answer that cannot be given; 1 always for 0.
        scores = torch.tensor([[0.5, 0.1, 0.2, 1], [1, 0.5, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])

    summary = go(make(OftenWrong), tmp_path, *world())
    assert (tmp_path / "accuracy.csv").read_text() == (
        "task,seen,group_0,group_1\n0,50.0,50.0,\n1,50.0,0.0,100.0\n"
    )
    assert summary["metrics"]["forgetting"] == 50
    assert summary["metrics"]["accuracy_mean"] == 50
    assert summary["classes_seen"] == [2, 4]
    scores = np.load(tmp_path / "predictions.npz", allow_pickle=False)["scores"]
    assert scores.shape == (8, 4)


def test_tasks_that_share_their_classes_are_one_group(tmp_path):
    summary = go(make(Witness), tmp_path, *world([[0, 1, 2, 3], [3, 2, 1, 0]]))
    assert (tmp_path / "accuracy.csv").read_text() == "task,seen,group_0\n0,100.0,100.0\n1,100.0,100.0\n"
    assert summary["metrics"]["forgetting"] is None


@pytest.mark.parametrize(("classes", "top5"), [(10, None), (11, 100), (12, 100)])
def test_top5_is_measured_above_ten_classes(classes, top5):
    labels = list(range(classes))
    x = torch.zeros(2 * classes, 8, 8, 3, dtype=torch.uint8)
    x[:, 0, 0, 0] = torch.tensor(labels * 2)
    given, rows = torch.tensor(labels), torch.arange(2 * classes)
    stream = Stream((Task(rows[:classes], given),), Task(rows[classes:], given), classes)

    class FifthChoice(Witness):
        def predict(self, x):
            label = x[:, 0, 0, 0].long()
            return -(
                (torch.arange(classes) - label[:, None] + 4) % classes
            ).float()  # the right one comes fifth

    config = FifthChoice.Config()
    agent = FifthChoice(Problem(classes, (3, 8, 8)), config, network(), seed=0, device=CPU)
    evaluation = Evaluator(stream, Images(x.numpy(), CPU), CPU)(agent, 0)
    assert (evaluation.seen, evaluation.top5) == (0, top5)
    assert evaluation.groups_top5 == (None if top5 is None else (top5,))


def test_top5_of_groups_is_recorded_for_every_output_and_survives_an_interruption(tmp_path):
    labels = [[0, 1, 2, 3, 4, 5], [6, 7, 8], [9, 10, 11]]
    flat = [label for task in labels for label in task]
    tested = [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    x = torch.zeros(len(flat + tested), 8, 8, 3, dtype=torch.uint8)
    x[:, 0, 0, 0] = torch.tensor(flat + tested)
    y = torch.tensor(flat + tested)
    ends = np.cumsum([len(task) for task in labels]).tolist()
    tasks = tuple(
        Task(torch.arange(end - len(task), end), y[end - len(task) : end])
        for end, task in zip(ends, labels, strict=True)
    )
    rows = torch.arange(len(flat), len(y))
    stream, images = Stream(tasks, Task(rows, y[rows]), 12), Images(x.numpy(), CPU)

    class Lowest(Witness):
        """Whatever it sees, the lowest labels are the likeliest: 0 to 4 are among the first five, no other."""

        def predict(self, x):
            return -torch.arange(12.0).expand(len(x), 12)

        def predict_also(self, x):
            return {"reverse": torch.arange(12.0).expand(len(x), 12)}

    class Stops(Lowest):
        def begin_task(self, info):
            if info.index == 2:
                raise KeyboardInterrupt

    def make(agent_class):
        config = agent_class.Config.from_settings({"batch_size": 3})
        return agent_class(Problem(12, (3, 8, 8)), config, network(), seed=0, device=CPU)

    with pytest.raises(KeyboardInterrupt):
        go(make(Stops), tmp_path / "stopped", stream, images)
    summary = go(make(Lowest), tmp_path / "stopped", stream, images)
    go(make(Lowest), tmp_path / "whole", stream, images)
    for name in ("top5_groups.csv", "top5_groups_reverse.csv"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
        assert name in summary["files"]
    expected = [[600 / 7, np.nan, np.nan], [600 / 7, 0, np.nan], [600 / 7, 0, 0]]
    np.testing.assert_allclose(
        pd.read_csv(tmp_path / "stopped" / "top5_groups.csv").to_numpy()[:, 1:], expected
    )
    reverse = pd.read_csv(tmp_path / "stopped" / "top5_groups_reverse.csv").to_numpy()[:, 1:]
    np.testing.assert_allclose(
        reverse, [[500 / 7, np.nan, np.nan], [200 / 7, 100, np.nan], [0, 200 / 3, 100]]
    )
    assert summary["group_images"] == [7, 3, 3]
    record = read_run(tmp_path / "stopped", 0)
    seen = np.nansum(record.groups_top5 * [7, 3, 3], axis=1) / [7, 10, 13]
    np.testing.assert_allclose(record.top5, seen)
    assert summary["metrics"]["top5_mean"] == pytest.approx(seen.mean())


def test_what_an_agent_does_at_the_end_of_a_task_shows_in_its_accuracy_after_it(tmp_path):
    class LearnsLate(Witness):
        """Knows the classes of a task from its end on."""

        def predict(self, x):
            scores = super().predict(x)
            return scores if self.calls[-1][0] == "end" else scores.flip(1)

    summary = go(make(LearnsLate), tmp_path, *world())
    assert (tmp_path / "accuracy.csv").read_text() == (
        "task,seen,group_0,group_1\n0,100.0,100.0,\n1,100.0,100.0,100.0\n"
    )
    assert summary["metrics"]["accuracy_mean"] == 100


class OftenWrong(Witness):
    """Takes class 0 for 3, until 3 has come by for 1, and 1 always for 0."""

    scores = torch.tensor([[0, 0.1, 0.05, 1], [1, 0.5, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])


def test_the_confusion_matrix_has_the_names_of_the_classes_after_every_task(tmp_path):
    names = ["cup", 'a "red", cup', "plate", "old\nfork"]
    summary = go(make(OftenWrong), tmp_path, *world(), classes=names)
    found = pd.read_csv(tmp_path / "confusion.csv")
    assert found.to_numpy().tolist() == [
        [0, names[0], names[1], 2], [0, names[1], names[0], 2],
        [1, names[0], names[3], 2], [1, names[1], names[0], 2], [1, names[2], names[2], 2],
        [1, names[3], names[3], 2],
    ]  # fmt: skip
    found = pd.read_csv(tmp_path / "class_accuracy.csv")
    assert list(found) == ["task", *names]
    assert np.array_equal(found.to_numpy(), [[0, 0, 0, np.nan, np.nan], [1, 0, 0, 100, 100]], equal_nan=True)
    assert summary["classes"] == names
    with np.load(tmp_path / "predictions.npz", allow_pickle=False) as kept:
        assert kept["classes"].tolist() == names


@pytest.mark.parametrize("name", ["confusion.csv", "class_accuracy.csv"])
@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda content: content[:-2] + b"9\n"])
def test_a_file_other_than_at_the_checkpoint_stops_the_run(tmp_path, name, damage):
    stream, images = world()
    with pytest.raises(KeyboardInterrupt):
        go(make(stopping(Witness, 5)), tmp_path, stream, images)
    (tmp_path / name).write_bytes(damage((tmp_path / name).read_bytes()))
    with pytest.raises(InputError, match=f"{name}: damaged .it .* delete this run's folder"):
        go(make(Witness), tmp_path, stream, images)


def test_a_finished_confusion_matrix_that_has_changed_is_told(tmp_path):
    summary = go(make(OftenWrong), tmp_path, *world())
    assert confusions.read(tmp_path, summary)["count"].sum() == 4 + 8
    path = tmp_path / "confusion.csv"
    path.write_bytes(path.read_bytes()[:-2] + b"3\n")
    with pytest.raises(InputError, match=r"confusion\.csv: damaged .it has changed"):
        confusions.read(tmp_path, summary)
    path.unlink()
    with pytest.raises(InputError, match=r"confusion\.csv: cannot be read"):
        confusions.read(tmp_path, summary)
    with pytest.raises(InputError, match=r"confusion\.csv: damaged .'appended'"):
        confusions.read(tmp_path, {})


@pytest.mark.parametrize(
    ("scores", "collapsed"),
    [
        (torch.eye(4), None),
        (torch.eye(4)[[2, 2, 2, 2]], "class c was predicted for 100 % of the test images after task 2"),
        (torch.ones(4, 4), "all classes had the same score on 100 % of the test images after task 2, and after 2 of 2"),
    ],
)  # fmt: skip
def test_a_collapsed_run_says_so(tmp_path, scores, collapsed):
    class Fixed(Witness):
        pass

    Fixed.scores = scores
    summary = go(make(Fixed), tmp_path, *world(), classes=list("abcd"))
    told = summary["collapsed"]
    assert told is None if collapsed is None else told.startswith(collapsed)


def test_what_is_handed_out_again_is_counted_across_interruptions(tmp_path):
    class Needy(Witness):
        needs = Needs(task_boundaries=True, task_data=True)

        def end_task(self, task, data):
            batches = data.batches(5)
            next(batches)
            if task.index:
                list(batches)

    stream, images = world()
    with pytest.raises(KeyboardInterrupt):
        go(make(stopping(Needy, 5)), tmp_path, stream, images)
    summary = go(make(Needy), tmp_path, stream, images)
    assert (summary["images_again"], summary["images"]) == (5 + 7, 14)
    assert go(make(Witness), tmp_path / "other", stream, images)["images_again"] == 0


def test_task_boundaries_are_told_to_those_who_declare_them(tmp_path):
    class Plain(Agent):
        def observe(self, x, y):
            return {}

        def predict(self, x):
            return torch.rand(len(x), 4, generator=torch.Generator().manual_seed(0))

    class Acts(Plain):
        def begin_task(self, task):
            raise AssertionError

    with pytest.raises(InputError, match="agent Acts has begin_task, and does not declare to need task boun"):
        go(make(Acts), tmp_path, *world())

    class Undeclared(Plain):
        needs = Needs(task_data=True)

    with pytest.raises(InputError, match="agent Undeclared has task_data among its needs, which come with"):
        go(make(Undeclared), tmp_path, *world())


class Remembers(Witness):
    """Keeps test images: those of the first evaluation, where it is asked to."""

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.kept = torch.zeros(0)
        self.noted = {"rows": [0]}

    def keep(self, x):
        self.kept = x.float()[:1]


def keeps_in_predict_also(agent, x):
    agent.keep(x)
    return {}


@pytest.mark.parametrize(
    ("method", "does", "changed"),
    [
        ("predict", lambda agent, x: agent.keep(x) or torch.eye(4)[[0] * len(x)], "kept"),
        ("predict", lambda agent, x: agent.noted["rows"].append(1) or torch.eye(4)[[0] * len(x)], "noted"),
        ("predict", lambda agent, x: torch.rand(len(x), 4, generator=agent.generator), "generator"),
        ("predict_also", keeps_in_predict_also, "kept"),
    ],
)
def test_predicting_that_changes_the_agent_stops_the_run(tmp_path, method, does, changed):
    guilty = type("Guilty", (Remembers,), {method: does})
    with pytest.raises(StateChanged, match=rf"changed the agent's state \({changed}\), and sees test images"):
        go(make(guilty), tmp_path, *world())
    assert not (tmp_path / "accuracy.csv").exists()


@pytest.mark.parametrize("guilty", [False, True])
def test_an_agent_that_cannot_be_saved_is_held_to_its_network(tmp_path, guilty):
    class Unsaved(Witness):
        resumable = False

        def predict(self, x):
            if guilty:
                self.network.plastic.head.bias.add_(1)
            return super().predict(x)

    if guilty:
        with pytest.raises(StateChanged, match=r"state \(plastic\)"):
            go(make(Unsaved), tmp_path, *world())
    else:
        go(make(Unsaved), tmp_path, *world())


class TwoAnswers(Witness):
    """Answers rightly, and beside that always with the lowest class of the first task."""

    def predict_also(self, x):
        assert not torch.is_grad_enabled() and not self.network.plastic.training
        return {"lowest": torch.tensor([[1.0, 0, 0, 0]]).expand(len(x), 4)}


def test_further_outputs_have_tables_and_metrics_of_their_own(tmp_path):
    summary = go(make(TwoAnswers), tmp_path, *world())
    assert (tmp_path / "accuracy_lowest.csv").read_text() == (
        "task,seen,group_0,group_1\n0,50.0,50.0,\n1,25.0,50.0,0.0\n"
    )
    assert summary["further"]["lowest"]["accuracy_mean"] == 37.5
    assert summary["metrics"]["accuracy_mean"] == 100, "the answer's, as without another output"
    record = read_run(tmp_path, 0)
    assert np.array_equal(record.further["lowest"][:, 0], [50, 25])
    assert np.array_equal(record.accuracy[:, 0], [100, 100])


def test_a_further_output_without_a_table_is_a_damaged_record(tmp_path):
    go(make(TwoAnswers), tmp_path, *world())
    (tmp_path / "accuracy_lowest.csv").unlink()
    with pytest.raises(InputError, match=r"accuracy_lowest\.csv: damaged .cannot be read"):
        read_run(tmp_path, 0)
    summary = json.loads((tmp_path / "summary.json").read_text())
    del summary["sha256"]
    (tmp_path / "summary.json").write_text(json.dumps(summary | {"further": {"../accuracy": {}}}))
    with pytest.raises(InputError, match=r"summary.json: damaged .*further output '../accuracy'"):
        read_run(tmp_path, 0)


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (lambda agent, x: {"../up": agent.predict(x)}, "further output '../up': expected a name"),
        (lambda agent, x: {f"at_{len(agent.calls) > 6}".lower(): agent.predict(x)}, "gave other outputs"),
        (lambda agent, x: {"bad": agent.predict(x) * torch.nan}, "8 of 8|4 of 4"),
    ],
)
def test_further_outputs_that_are_none_stop_the_run(tmp_path, answers, message):
    class Odd(Witness):
        predict_also = answers

    with pytest.raises((ValueError, Diverged), match=message):
        go(make(Odd), tmp_path, *world())


class Silent(Witness):
    """Logs nothing."""

    def observe(self, x, y):
        super().observe(x, y)
        return {}


class Prepares(ER):
    """Shifts its scores by what it prepares, the mean weight of each class; notes how often it prepares."""

    needs = Needs(task_boundaries=True)
    made = 0

    def prepare(self):
        assert torch.is_grad_enabled() and self.network.plastic.training
        type(self).made += 1
        self.cache["mean"] = self.network.plastic.head.weight.mean(1).detach()

    def predict(self, x):
        return super().predict(x) + self.cache["mean"]

    def begin_task(self, task):
        assert not self.cache

    def end_task(self, task, data):
        assert not self.cache


def test_an_agent_that_logs_nothing_has_an_empty_log_and_a_whole_record(tmp_path):
    summary = go(make(Silent), tmp_path, *world(), checkpoint_batches=2)
    assert (tmp_path / "metrics.jsonl").read_bytes() == b""
    assert (summary["steps"], summary["metrics"]["accuracy_mean"]) == (6, 100)


def test_what_an_agent_prepares_is_made_once_per_evaluation_and_kept_for_the_predictions(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(Prepares, "made", 0)
    agent = make(Prepares)
    go(agent, tmp_path, *world())
    assert Prepares.made == 2, "once per task"
    assert list(agent.cache) == ["mean"]
    assert "cache" not in agent.state_dict()
    x, y = batch([2, 3])
    agent.observe(x, y)
    assert agent.cache == {}


def test_preparing_counts_as_learning(tmp_path):
    class Slow(Prepares):
        def prepare(self):
            super().prepare()
            time.sleep(0.3)

    metrics = go(make(Slow), tmp_path, *world())["metrics"]
    assert metrics["seconds"] >= 0.6


@pytest.mark.parametrize("last", ["the last evaluation", "the predictions"])
def test_a_run_killed_after_its_last_task_prepares_again(tmp_path, monkeypatch, last):
    stream, images = world()
    go(make(Prepares), tmp_path / "whole", stream, images)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):

        def killed(*_, **__):
            raise KeyboardInterrupt

        if last == "the predictions":
            patch.setattr(Evaluator, "predictions", killed)
        else:
            patch.setattr(Recorder, "finish", killed)
        go(make(Prepares), tmp_path / "killed", stream, images)
    monkeypatch.setattr(Prepares, "made", 0)
    go(make(Prepares), tmp_path / "killed", stream, images)
    assert Prepares.made == 1
    assert finished_files(tmp_path / "killed") == finished_files(tmp_path / "whole")


def finished_files(folder: Path) -> dict[str, bytes | dict]:
    """What must not depend on interruptions: every file's bytes, without the times of the summary."""
    files = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file() and p.name != "predictions.npz"}
    summary = json.loads(files.pop("summary.json"))
    del summary["sha256"]  # of the times as well
    for timed in TIMED:
        del summary["metrics"][timed]
    scores = np.load(folder / "predictions.npz", allow_pickle=False)
    return files | {"summary": summary, "scores": scores["scores"].tobytes()}


def stopping(agent_class, stop):
    """The same agent, stopped right after its `stop`-th step."""
    count = itertools.count(1)

    class Stopping(agent_class):
        def observe(self, x, y):
            logged = super().observe(x, y)
            if next(count) == stop:
                raise KeyboardInterrupt
            return logged

    return Stopping


@pytest.mark.parametrize(
    ("agent_class", "every"),
    [
        (ER, None),
        (ER, 1),
        (EWC, 1),
        (Offline, 2),
        (Witness, 1),
        (TwoAnswers, 2),
        (Silent, 2),
        (Prepares, 1),
        (Prepares, None),
    ],
)
def test_interrupted_at_any_step_and_resumed_it_ends_in_the_same_bytes(tmp_path, agent_class, every):
    stream, images = world()
    settings = {"epochs": 2} if agent_class is Offline else {}
    go(make(agent_class, **settings), tmp_path / "whole", stream, images, checkpoint_batches=every)
    whole = finished_files(tmp_path / "whole")
    steps = json.loads((tmp_path / "whole" / "summary.json").read_text())["steps"]
    assert steps >= 6

    for stop in range(1, steps + 1):
        folder = tmp_path / f"stopped-{stop}"
        agent = make(stopping(agent_class, stop), **settings)
        with pytest.raises(KeyboardInterrupt):
            go(agent, folder, stream, images, checkpoint_batches=every)
        assert not (folder / "summary.json").exists()
        go(make(agent_class, **settings), folder, stream, images, checkpoint_batches=every)
        assert finished_files(folder) == whole, f"stopped after step {stop}"


def test_a_checkpoint_of_other_lists_is_refused_and_kept(tmp_path):
    class Stops(Witness):
        def observe(self, x, y):
            if int(y.max()) > 1:
                raise KeyboardInterrupt
            return super().observe(x, y)

    stream, images = world()
    with pytest.raises(KeyboardInterrupt):
        go(make(Stops), tmp_path, stream, images)
    before = (tmp_path / "checkpoint" / "state.safetensors").read_bytes()
    recorder = Recorder(tmp_path, 7, {"run": 0, "lists": "others"})
    with pytest.raises(InputError, match="made with"):
        recorder.restore(make(Witness), [7, 7])
    assert (tmp_path / "checkpoint" / "state.safetensors").read_bytes() == before


def test_two_processes_cannot_work_on_one_run(tmp_path):
    with lock(tmp_path), pytest.raises(Locked, match="another process"):
        lock(tmp_path)
    lock(tmp_path).close()  # it is free again


def test_a_loss_that_is_no_number_stops_the_run_and_says_where(tmp_path):
    class Explodes(Witness):
        def observe(self, x, y):
            super().observe(x, y)
            return {"loss": torch.tensor(0.5 if len(self.calls) < 8 else float("nan"))}

    with pytest.raises(Diverged, match=r"became nan in task 1, step 5; the last finite one was 0.5"):
        go(make(Explodes), tmp_path, *world())
    assert logged(tmp_path)[3:] == [(1, 4, "loss", 0.5), (1, 5, "loss", None)], "all steps up to the bad one"
    assert (tmp_path / "accuracy.csv").read_text().count("\n") >= 2, "what was finished is kept"
    assert not (tmp_path / "summary.json").exists()


def test_the_last_finite_loss_is_told_though_steps_between_logged_none(tmp_path):
    class Gaps(Witness):
        def observe(self, x, y):
            super().observe(x, y)
            step = sum(call[0] == "observe" for call in self.calls)
            return {4: {"loss": 0.25}, 6: {"loss": float("nan")}}.get(step, {})

    with pytest.raises(Diverged, match=r"became nan in task 1, step 6; the last finite one was 0.25"):
        go(make(Gaps), tmp_path, *world())
    assert logged(tmp_path) == [(1, 4, "loss", 0.25), (1, 6, "loss", None)]


def logged(folder):
    """(task, step, name, value) of each line of the log."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [tuple(json.loads(line, parse_constant=pytest.fail).values()) for line in lines]


def test_what_is_logged_and_is_no_number_is_null(tmp_path):
    class Odd(Witness):
        def observe(self, x, y):
            super().observe(x, y)
            return {"ratio": torch.tensor(float("nan")), "bound": torch.tensor(float("inf")), "norm": 1.0}

    go(make(Odd), tmp_path, *world())
    assert logged(tmp_path)[:3] == [(0, 1, "bound", None), (0, 1, "norm", 1.0), (0, 1, "ratio", None)]


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("when", [3, 6])
def test_scores_that_are_no_finite_numbers_stop_the_run(tmp_path, when, value):
    """They would be judged as a right or a wrong class, whichever the sort puts first."""

    class Unsure(Witness):
        def predict(self, x):
            scores = super().predict(x)
            if sum(call[0] == "observe" for call in self.calls) == when:
                scores[0, 1] = value
            return scores

    tested = {3: 4, 6: 8}[when]
    message = rf"1 of {tested} test images have scores that are no finite numbers, after task {when // 3 - 1}"
    with pytest.raises(Diverged, match=message):
        go(make(Unsure), tmp_path, *world())


def test_a_class_may_be_ruled_out_and_not_all_of_them(tmp_path):
    class Sure(Witness):
        scores = torch.eye(4).log()

    assert go(make(Sure), tmp_path / "sure", *world())["metrics"]["accuracy_mean"] == 100

    class Lost(Witness):
        scores = torch.full((4, 4), -torch.inf)

    with pytest.raises(Diverged, match="4 of 4 test images have scores that are no finite numbers"):
        go(make(Lost), tmp_path / "lost", *world())


def test_scores_of_classes_not_met_may_be_anything(tmp_path):
    class Blank(Witness):
        def predict(self, x):
            scores = super().predict(x)
            if len(self.calls) < 6:  # in the first task
                scores[:, 2:] = torch.nan
            return scores

    assert go(make(Blank), tmp_path, *world())["metrics"]["accuracy_mean"] == 100


@pytest.mark.parametrize(
    ("labels", "shared"),
    [
        (LABELS, False),
        ([[0, 1, 0, 1], [0, 2, 3, 1]], True),  # two groups of classes, and yet they are shared
        ([[0, 1, 0, 1, 2, 3], [0, 0, 1]], True),
    ],
)
@pytest.mark.parametrize("cumulative", [False, True])
def test_forgetting_is_defined_only_where_no_class_comes_again(tmp_path, labels, shared, cumulative):
    class Learner(Witness):
        needs = Needs(task_boundaries=True, offline=cumulative)

    stream, images = world(labels)
    if cumulative:
        first, second = stream.tasks
        both = Task(torch.cat([second.rows, first.rows]), torch.cat([second.labels, first.labels]))
        stream = Stream((first, both), stream.test, stream.num_classes)
    metrics = go(make(Learner), tmp_path, stream, images)["metrics"]
    assert [metrics[name] is None for name in ("forgetting", "backward_transfer")] == [shared] * 2


def test_the_summary_tells_all_the_software_that_a_run_was_learned_with(tmp_path):
    stream, images = world()
    one, other = {"commit": "a", "dirty": False}, {"commit": "b", "dirty": None}
    for software in (one, one, other):
        with pytest.raises(KeyboardInterrupt):
            go(make(stopping(ER, 2)), tmp_path, stream, images, checkpoint_batches=1, software=software)
    assert go(make(ER), tmp_path, stream, images, software=other)["software"] == [one, other]


def test_a_checkpoint_that_does_not_tell_its_software_goes_on(tmp_path):
    stream, images = world()
    with pytest.raises(KeyboardInterrupt):
        go(make(stopping(ER, 4)), tmp_path, stream, images, software={"commit": "a"})
    path = tmp_path / "checkpoint" / "state.safetensors"
    saved = checkpoint.load(path)
    del saved["software"]
    checkpoint.save(path, saved)
    assert go(make(ER), tmp_path, stream, images, software={"commit": "b"})["software"] == [{"commit": "b"}]
