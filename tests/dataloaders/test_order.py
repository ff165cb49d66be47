"""A number of tasks, an order of classes, a seed of the orders: what they promise, and that trials have them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import lethe
from lethe.benchmarks.__main__ import main as benchmarks
from lethe.benchmarks.run.job import Job
from lethe.benchmarks.run.trial import Trial
from lethe.benchmarks.workers.pool import _shares
from lethe.common.errors import InputError
from lethe.dataloaders.__main__ import main
from lethe.dataloaders.index import dirmap, find
from lethe.dataloaders.index.spec import RANDOM_PARADIGMS, VARIANTS, Dataset, Order
from lethe.dataloaders.tasks import held_out, order, paradigms, tasklists
from lethe.gridsearch import grid

ROOT = Path(__file__).parents[2]
CORE50 = find.get("core50")
CLASSES = CORE50.classes
BACKWARDS = CLASSES[::-1]


@pytest.fixture(scope="module")
def split() -> paradigms.Split:
    frame = dirmap.read(ROOT / "dataloaders" / "datasets" / "core50_dirmap_sampled.csv")
    return paradigms.split(frame, CORE50)


def scheduled(split, dataset: Dataset, paradigm: str, run=0, mode="stream", variant="corrected"):
    return paradigms.schedule(split, dataset, paradigm, run, mode, variant)


def with_order(paradigm: str, **choice) -> Dataset:
    return order.ordered(CORE50, paradigm, **choice)


def classes_of(split, schedule) -> list[set[str]]:
    """Names of the classes of each task."""
    return [{CLASSES[split.classes[code] - 1] for code in split.class_code[task]} for task in schedule.tasks]


@pytest.mark.parametrize("paradigm", RANDOM_PARADIGMS)
@pytest.mark.parametrize("tasks", [1, 3, 7, 10])
def test_a_number_of_tasks_shares_everything_among_them(split, paradigm, tasks):
    for variant in VARIANTS:
        schedule = scheduled(split, with_order(paradigm, tasks=tasks), paradigm, variant=variant)
        assert len(schedule.tasks) == tasks
        assert set(np.concatenate(schedule.tasks)) == set(split.train)
    units = {
        "iid": [len(task) for task in schedule.tasks],
        "instance": [len(np.unique(split.instance[task])) for task in schedule.tasks],
    }.get(paradigm, [len(names) for names in classes_of(split, schedule)])
    assert max(units) - min(units) <= 1 + (paradigm == "iid")  # a published iid task has one of the next


@pytest.mark.parametrize("paradigm", RANDOM_PARADIGMS)
def test_held_out_images_leave_as_many_tasks(split, paradigm):
    schedule = held_out.schedule(split, with_order(paradigm, tasks=7), paradigm, 1, "stream", "corrected")
    assert len(schedule.tasks) == 7
    assert not set(schedule.test) & set(np.concatenate(schedule.tasks))


@pytest.mark.parametrize("paradigm", ["class_iid", "class_instance"])
@pytest.mark.parametrize("run", [0, 3])
def test_classes_come_in_the_order_given(split, paradigm, run):
    dataset = with_order(paradigm, class_order=BACKWARDS)
    found = classes_of(split, scheduled(split, dataset, paradigm, run))
    assert found == [set(BACKWARDS[start : start + 2]) for start in range(0, 10, 2)]
    grown = classes_of(split, scheduled(split, dataset, paradigm, run, "offline"))
    assert grown == [set(BACKWARDS[:end]) for end in range(2, 11, 2)]


@pytest.mark.parametrize("paradigm", RANDOM_PARADIGMS)
def test_each_seed_has_its_own_orders_and_seed_0_those_of_the_run(split, paradigm):
    def stream(seed: int, run: int) -> bytes:
        dataset = with_order(paradigm, order_seed=seed)
        return np.concatenate(scheduled(split, dataset, paradigm, run).tasks).tobytes()

    plain = [np.concatenate(scheduled(split, CORE50, paradigm, run).tasks).tobytes() for run in (0, 1)]
    assert [stream(0, 0), stream(0, 1)] == plain
    assert len({stream(seed, run) for seed in (0, 1, 2) for run in (0, 1, 2)}) == 9


@pytest.mark.parametrize(
    ("paradigm", "choice", "told"),
    [
        ("class_iid", {"tasks": 0}, "tasks: expected a number from 1, got 0"),
        ("class_iid", {"tasks": 11}, "expected at most 10, the number of classes of core50"),
        ("class_iid", {"tasks": True}, "expected a number from 1, got True"),
        ("class_iid", {"order_seed": -1}, "order_seed: expected 0 to"),
        ("class_iid", {"order_seed": 2**32}, "order_seed: expected 0 to"),
        ("iid", {"class_order": CLASSES}, "class_order: means nothing under iid"),
        ("class_iid", {"class_order": CLASSES[1:]}, "once; missing: plug adapter"),
        ("class_iid", {"class_order": (*CLASSES, "cup")}, "once; there more than once: cup"),
        ("class_iid", {"class_order": ("cupp", *CLASSES)}, "did you mean 'cup'?"),
        ("class_iid", {"class_order": "cup"}, "expected the names of classes, got 'cup'"),
        ("class_iid", {"class_order": [1, 2]}, "expected the names of classes, got [1, 2]"),
    ],
)
def test_what_does_not_fit_is_told_in_one_sentence(paradigm, choice, told):
    with pytest.raises(InputError) as caught:
        Trial.create("core50", paradigm, "finetune", **choice)
    (problem,) = caught.value.problems
    assert told in problem


def test_more_tasks_than_images_are_refused(split):
    with pytest.raises(
        InputError, match=r"tasks = 6001: expected at most 6000, the number of training images"
    ):
        scheduled(split, with_order("iid", tasks=6001), "iid")


def test_they_are_part_of_the_trial_its_folder_and_its_lists(tmp_path):
    plain = Trial.create("core50", "class_iid", "finetune")
    others = [
        Trial.create("core50", "class_iid", "finetune", **choice)
        for choice in ({"tasks": 5}, {"tasks": 2}, {"class_order": BACKWARDS}, {"order_seed": 1})
    ]
    assert len({trial.id for trial in (plain, *others)}) == 5
    assert json.loads(json.dumps(others[2].config())) == others[2].config()
    assert len({_shares(Job(trial, 0)) for trial in (plain, *others)}) == 5  # each needs lists of its own
    assert plain.spec.order == Order() and others[1].spec.order.tasks == 2
    folders = {
        tasklists.folder_of(tmp_path, "core50", "class_iid", 0, "stream", "test", trial.spec.order)
        for trial in (plain, *others)
    }
    assert len(folders) == 5
    assert tmp_path / "core50_task_filelists/class_iid,tasks=2/run0/stream" in folders
    assert tasklists.folder_of(tmp_path, "core50", "class_iid", 0, "stream") in folders


def test_a_grid_has_them_as_keys(tmp_path):
    path = tmp_path / "grid.toml"
    top = f'datasets = ["core50"]\nparadigms = ["class_iid"]\ntasks = 2\nclass_order = {json.dumps(BACKWARDS)}\n'
    path.write_text(f"{top}order_seed = 4\n[agents.finetune]\n")
    (trial,) = grid.read(path).trials
    assert (trial.tasks, trial.class_order, trial.order_seed) == (2, BACKWARDS, 4)
    path.write_text('datasets = ["core50"]\ntasks = 99\n[agents.finetune]\n')
    with pytest.raises(InputError, match=r"grid.toml:2: tasks = 99: expected at most 10"):
        grid.read(path)


def test_from_the_command_line_to_the_record(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = find.get("digits").classes[::-1]
    Path("order.txt").write_text("\n".join(names) + "\n\n", encoding="utf-8")
    choice = ["--tasks", "2", "--class-order", "order.txt", "--order-seed", "3"]
    assert benchmarks(["run", "digits/class_iid", "--agent", "finetune", *choice]) == 0
    (config,) = Path("results").rglob("config.json")
    found = json.loads(config.read_text())
    assert (found["tasks"], found["class_order"], found["order_seed"]) == (2, list(names), 3)
    (summary,) = Path("results").rglob("summary.json")
    assert len(Path(summary.parent / "accuracy.csv").read_text().splitlines()) == 3
    assert main(["check", "digits"]) == 0
    assert "class_iid,tasks=2,order_seed=3,class_order=" in capsys.readouterr().out
    stream = lethe.stream("digits/class_iid", tasks=2, class_order=names, order_seed=3)
    assert {stream.class_names[label] for _, y in stream.tasks[0].batches(99) for label in y} == set(
        names[:5]
    )
    assert main(["tasks", "digits", "--runs", "1", "--paradigm", "class_iid", *choice]) == 0
    assert (
        main(["tasks", "digits", "--runs", "1", *choice]) == 0
    )  # under those paradigms that have such an order
    Path("order.txt").write_text("zero\n")
    assert main(["tasks", "digits", "--runs", "1", "--paradigm", "class_iid", *choice]) == 2
    assert main(["show", "digits", "class_iid", "--class-order", "absent.txt"]) == 2
    assert "absent.txt: cannot be read" in capsys.readouterr().err


def test_changed_lists_name_the_command_that_writes_them(tmp_path):
    frame = dirmap.read(ROOT / "dataloaders" / "datasets" / "core50_dirmap_sampled.csv")
    source = tasklists.Source(frame, with_order("class_iid", tasks=2, order_seed=5))
    folder = tasklists.ensure(source, "class_iid", 0, "stream", "corrected", tmp_path)
    with (folder / "test_filelist.txt").open("a") as file:
        file.write("s1/o1/C_01_01_010.png 0\n")
    with pytest.raises(InputError, match=r"lethe data tasks core50 --tasks 2 --order-seed 5$"):
        tasklists.read(folder)


def test_streams_of_arrays_have_them_too():
    x = np.zeros((40, 4, 4, 3), np.uint8)
    y = np.repeat([7, 1, 0, 3], 10)
    given = {"test_x": x, "test_y": y, "paradigm": "class_iid"}
    found = lethe.stream_of_arrays(x, y, **given, tasks=2, class_order=[3, 0, 7, 1])
    assert [{found.class_names[k] for _, y in task.batches(9) for k in y} for task in found.tasks] == [
        {"3", "0"},
        {"7", "1"},
    ]
    with pytest.raises(InputError, match=r"class_order: expected every class"):
        lethe.stream_of_arrays(x, y, **given, tasks=2, class_order=[3, 0, 7])


def test_a_number_of_tasks_stands_for_a_task_size_that_is_missing():
    own = replace(CORE50, paradigms=("class_iid",), iid_task_images=0)
    with pytest.raises(InputError, match="unknown paradigm of core50 'iid'"):
        order.ordered(own, "iid")
    assert order.ordered(own, "iid", tasks=3).order.tasks == 3
    with pytest.raises(InputError, match="unknown paradigm of core50 'instance'"):
        order.ordered(own, "instance", tasks=3)
