"""Validation lists: which images are held out, that no test image is near them, and that tasks stay as many."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lethe.common.errors import InputError
from lethe.dataloaders.__main__ import main
from lethe.dataloaders.datasets import cifar100
from lethe.dataloaders.index import dirmap, find
from lethe.dataloaders.index.spec import MODES, RANDOM_PARADIGMS, VARIANTS, Dataset
from lethe.dataloaders.tasks import held_out, paradigms, tasklists
from tests.dataloaders.test_task_lists import CORE50, ROOT, SMALL, TOYBOX, hashes, table

CIFAR100 = find.get("cifar100")
MINI = find.get("core50_mini")
CHOICES = [
    (paradigm, mode, variant) for paradigm in RANDOM_PARADIGMS for mode in MODES for variant in VARIANTS
]


def mini_dirmap() -> pd.DataFrame:
    """The dirmap of core50_mini without its images: objects are numbered across classes."""
    frame = table(classes=10, objects=5, sessions=11, frames=5)
    frame["object"] += 5 * (frame["class"] - 1)
    frame["im_path"] = [f"s{s}/o{o}/{n}.png" for o, s, n in frame[["object", "session", "im_num"]].to_numpy()]
    return frame


@pytest.fixture(scope="module")
def core50() -> pd.DataFrame:
    return dirmap.read(ROOT / "dataloaders" / "datasets" / "core50_dirmap_sampled.csv")


@pytest.fixture(scope="module", params=["core50", "core50_mini", "cifar100", "toybox"])
def case(request, core50) -> tuple[pd.DataFrame, Dataset]:
    """Sessions with objects numbered across classes (twice), no sessions, objects numbered in each class."""
    return {
        "core50": lambda: (core50, CORE50),
        "core50_mini": lambda: (mini_dirmap(), MINI),
        "cifar100": lambda: (cifar100.dirmap(), CIFAR100),
        "toybox": lambda: (table(classes=12, objects=6, sessions=10, frames=15), SMALL_TOYBOX),
    }[request.param]()


SMALL_TOYBOX = replace(TOYBOX, iid_task_images=1260, task_instances=84)


def held_out_images(frame: pd.DataFrame, dataset: Dataset, run: int) -> pd.DataFrame:
    return frame.iloc[held_out.hold_out(paradigms.split(frame, dataset), run).test]


# What is held out


def test_what_is_learned_and_what_is_held_out_are_the_training_images(case):
    full = paradigms.split(*case)
    for run in (0, 1):
        kept = held_out.hold_out(full, run)
        assert np.array_equal(np.sort(np.concatenate((kept.train, kept.test))), full.train)
        assert (
            set(kept.class_code[kept.train])
            == set(kept.class_code[kept.test])
            == set(range(len(full.classes)))
        )


@pytest.mark.parametrize("dataset", ["core50", "core50_mini", "toybox"])
def test_one_session_of_each_object_is_held_out_whole(dataset, core50):
    frame, spec = {
        "core50": (core50, CORE50),
        "core50_mini": (mini_dirmap(), MINI),
        "toybox": (table(classes=12, objects=6, sessions=10, frames=15), SMALL_TOYBOX),
    }[dataset]
    split = paradigms.split(frame, spec)
    held = held_out_images(frame, spec, 0)
    train = frame.iloc[split.train]
    objects = train.groupby(["class", "object"])["session"]
    assert (held.groupby(["class", "object"])["session"].nunique() == 1).all()
    assert held.groupby(["class", "object"]).ngroups == objects.ngroups
    assert not set(held["session"]) & set(spec.test_sessions)
    whole = train.merge(held[["class", "object", "session"]].drop_duplicates())
    assert sorted(whole["im_path"]) == sorted(held["im_path"])
    assert held["session"].nunique() > 1, "each object its own"


def test_a_tenth_of_each_class_is_held_out_where_there_are_no_sessions():
    held = held_out_images(cifar100.dirmap(), CIFAR100, 0)
    assert (held["class"].value_counts() == 50).all() and held["class"].nunique() == 100
    assert set(held["session"]).isdisjoint(CIFAR100.test_sessions)


def test_a_class_without_a_session_to_spare_gives_images_and_the_others_sessions():
    frame = table(classes=2, objects=2, sessions=3, frames=12)
    frame = frame[
        (frame["class"] != 2) | (frame["session"] != 2)
    ]  # objects of class 2 train in session 1 alone
    held = held_out_images(frame, SMALL, 0)
    assert held.groupby(["class", "object"]).size().tolist() == [12, 12, 1, 1]


def test_an_object_with_one_session_keeps_it_where_another_of_its_class_has_two():
    frame = table(classes=2, objects=2, sessions=3, frames=12)
    frame = frame[(frame["object"] != 2) | (frame["session"] != 2)]
    assert held_out_images(frame, SMALL, 0).groupby(["class", "object"]).size().to_dict() == {
        (1, 1): 12,
        (2, 1): 12,
    }


def test_held_out_images_depend_on_the_run_alone(core50):
    held = [held_out_images(core50, CORE50, run)["im_path"].tolist() for run in (0, 0, 1)]
    assert held[0] == held[1] != held[2]
    digest = hashlib.sha256("\n".join(held[0]).encode()).hexdigest()
    assert digest == "2c7b09dc9118d8cb038d3bdb8384f6aa69dcce305a8832189179af90310dec79"


def test_a_class_that_would_have_nothing_to_learn_is_named():
    frame = table(classes=3, objects=1, sessions=3, frames=1)
    frame = frame[(frame["class"] != 2) | (frame["session"] != 2)]
    with pytest.raises(InputError, match="class 2: nothing is left to learn") as caught:
        held_out_images(frame, SMALL, 0)
    assert len(caught.value.problems) == 1


# The tasks


def test_there_are_as_many_tasks_as_in_the_test_lists(case):
    frame, dataset = case
    split = paradigms.split(frame, dataset)
    held = held_out.hold_out(split, 1)
    for paradigm, mode, variant in CHOICES:
        if paradigm not in dataset.paradigms:
            continue
        choice = (split, dataset, paradigm, 1, mode, variant)
        full, short = paradigms.schedule(*choice), held_out.schedule(*choice)
        assert len(short.tasks) == len(full.tasks) > 1
        assert np.array_equal(short.test, held.test)
        assert np.array_equal(np.unique(np.concatenate(short.tasks)), held.train)


def test_tasks_shrink_with_the_training_set(core50):
    full = paradigms.split(core50, CORE50)
    kept = held_out.hold_out(full, 0)
    sizes = [held_out.resized(CORE50, full, kept, paradigm, "published") for paradigm in ("iid", "instance")]
    assert (sizes[0].iid_task_images, sizes[1].task_instances) == (1050, 70)  # 7 of 8 sessions
    assert held_out.resized(CORE50, full, kept, "class_iid", "published") == CORE50


def test_any_size_of_task_is_scaled_to_as_many_tasks_or_refused():
    frame = table(classes=2, objects=1, sessions=2, frames=50)
    full = paradigms.split(frame, replace(SMALL, test_sessions=(2,)))
    kept = held_out.hold_out(full, 0)
    assert (len(full.train), len(kept.train)) == (100, 90)
    refused = []
    for size in range(1, 101):
        dataset = replace(SMALL, iid_task_images=size)
        tasks = -(-100 // size)
        possible = [other for other in range(1, 101) if -(-90 // other) == tasks]
        try:
            found = held_out.resized(dataset, full, kept, "iid", "corrected").iid_task_images
        except InputError as error:
            assert not possible and f"cannot be cut into {tasks} tasks" in str(error)
            refused.append(size)
            continue
        assert found == max(other for other in possible if other < 0.9 * size + 1)
    assert 0 < len(refused) < 10


def test_a_task_of_instances_is_scaled_by_instances_and_not_by_images():
    """Class 2 gives images, not sessions: its instances stay."""
    frame = table(classes=2, objects=8, sessions=5, frames=10)
    frame = frame[(frame["class"] != 2) | frame["session"].isin([1, 3])]
    dataset = replace(SMALL, task_instances=8, instance_images=10)  # 8 * 4 + 8 instances
    full = paradigms.split(frame, dataset)
    kept = held_out.hold_out(full, 0)
    assert held_out.resized(dataset, full, kept, "instance", "corrected").task_instances == 7  # 8 * 32 / 40


# Files


@pytest.fixture(scope="module")
def written(core50, tmp_path_factory) -> tuple[tasklists.Source, Path]:
    out = tmp_path_factory.mktemp("lists")
    source = tasklists.Source(core50, CORE50)
    for paradigm, mode, variant in CHOICES:
        tasklists.ensure(source, paradigm, 0, mode, variant, out / variant, "validation")
    return source, out


@pytest.mark.parametrize(("paradigm", "mode", "variant"), CHOICES)
def test_no_file_names_a_test_image(written, paradigm, mode, variant):
    source, out = written
    folder = out / variant / "core50_validation_filelists" / paradigm / "run0" / mode
    tested = set(source.paths[source.split.test])
    assert len(tested) == 2250
    words = {word for path in folder.iterdir() for word in path.read_text().replace(",", " ").split()}
    assert not words & tested
    lists = tasklists.read(folder)
    assert lists.paths() == set(source.paths[source.split.train])
    assert not set(lists.test_paths) & {path for task in lists.tasks for path in task.paths}
    assert len(lists.test_paths) == 750 and sorted(set(lists.test_labels)) == list(range(10))


def test_all_lists_of_a_run_hold_out_the_same_images(written):
    _, out = written
    held = {tuple(tasklists.read(path.parent).test_paths) for path in out.rglob("manifest.json")}
    assert len(list(out.rglob("manifest.json"))) == len(CHOICES) and len(held) == 1


def test_train_all_has_the_tasks_row_by_row(written):
    _, out = written
    folder = tasklists.folder_of(out / "published", "core50", "class_instance", 0, "stream", "validation")
    every = pd.read_csv(folder / "train_all.txt", index_col=0)
    tasks = tasklists.read(folder).tasks
    assert every["im_path"].tolist() == [path for task in tasks for path in task.paths]
    assert every["label"].tolist() == [label for task in tasks for label in task.labels]
    assert every["task"].tolist() == [number for number, task in enumerate(tasks) for _ in task.paths]
    assert not set(every["session"]) & {3, 7, 10}


def test_the_manifest_says_which_split(written):
    _, out = written
    folder = tasklists.folder_of(out / "published", "core50", "iid", 0, "stream", "validation")
    assert tasklists.read_manifest(folder)["split"] == "validation"
    assert tasklists.read_manifest(folder)["images"] == {"tasks": [1051] * 4 + [1050], "test": 750}


def test_the_same_lists_are_written_again_and_not_beside_test_lists(written, tmp_path):
    source, out = written
    again = tasklists.ensure(source, "instance", 0, "offline", "published", tmp_path, "validation")
    twin = tasklists.folder_of(out / "published", "core50", "instance", 0, "offline", "validation")
    assert hashes(again) == hashes(twin)
    test = tasklists.ensure(source, "instance", 0, "offline", "published", tmp_path)
    assert test == tmp_path / "core50_task_filelists" / "instance" / "run0" / "offline"
    assert "split" not in tasklists.read_manifest(test)
    assert hashes(again) == hashes(twin)


def test_an_unknown_split_is_told(written, tmp_path):
    source, _ = written
    with pytest.raises(InputError, match="unknown split 'tests': did you mean 'test'"):
        tasklists.ensure(source, "iid", 0, "stream", "published", tmp_path, "tests")


def test_the_command_writes_them(tmp_path, capsys):
    command = ["tasks", "core50", "--validation", "--runs", "2", "--paradigm", "iid", "--out", str(tmp_path)]
    assert main(command) == 0
    told = capsys.readouterr().out
    assert "validation lists" in told and "5 tasks of 1050 to 1051 images" in told
    assert "750 validation images" in told
    assert {path.name for path in tmp_path.iterdir()} == {"core50_validation_filelists"}
    assert len(list(tmp_path.rglob("manifest.json"))) == 4


def test_a_changed_validation_list_names_the_command_that_mends_it(written, tmp_path):
    source, _ = written
    folder = tasklists.ensure(source, "iid", 0, "stream", "published", tmp_path, "validation")
    with (folder / "test_filelist.txt").open("a") as file:
        file.write("s3/o1/C_03_01_010.png 0\n")
    with pytest.raises(InputError, match="lethe data tasks core50 --validation"):
        tasklists.read(folder)
