"""Two trees of images and an order of classes: rows, tasks and labels of class_ordered, and what is refused."""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import ImageFolder

import lethe
from lethe.benchmarks.run.experiment import Machine, Places, check_protocol, run
from lethe.benchmarks.run.trial import Trial
from lethe.common.errors import InputError
from lethe.dataloaders import prepare
from lethe.dataloaders.__main__ import main
from lethe.dataloaders.index import dataset_file, dirmap, find
from lethe.dataloaders.index.find import Located
from lethe.dataloaders.stores.decode import decode
from lethe.dataloaders.tasks import held_out, order, paradigms, tasklists
from tests import imagenet_trees as trees

CLASSES, TRAIN, VAL = 7, 3, 2
TEXT = """layout = "class"
images = "train"
test_images = "val"
class_order = "imagenet_class_order.txt"
image_size = 8
task_classes = 2
"""


def made(root: Path, text: str = TEXT, classes: int = CLASSES) -> Path:
    """A small pair of trees and its dataset.toml in `root`."""
    trees.tree(root, classes, TRAIN, VAL, 8)
    (root / dataset_file.NAME).write_text(text)
    return root


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """The working folder, with a dataset `net` in `data/net`."""
    monkeypatch.chdir(tmp_path)
    return made(tmp_path / "data" / "net")


def indexed(root: Path, text: str | None = None):
    """The dataset in `root` and its dirmap, written anew."""
    if text is not None:
        (root / dataset_file.NAME).write_text(text)
    dataset = find.get("net", root)
    return dataset, prepare.index(Located(dataset, root)).dirmap


def scheduled(root: Path, run: int = 0, mode: str = "stream", text: str | None = None, **choice):
    """The dirmap's split and the schedule of class_ordered."""
    dataset, frame = indexed(root, text)
    split = paradigms.split(frame, dataset)
    dataset = order.ordered(dataset, "class_ordered", **choice)
    return frame, split, paradigms.schedule(split, dataset, "class_ordered", run, mode, "corrected")


def classes_of(frame, rows: np.ndarray) -> list[str]:
    """The class of each row."""
    return frame["class"].to_numpy()[rows].tolist()


def problems_of(root: Path, text: str) -> list[str]:
    """The problems of a dataset.toml, without the name of the file."""
    (root / dataset_file.NAME).write_text(text)
    with pytest.raises(InputError) as caught:
        find.get("net", root)
    return [problem.removeprefix(str(root / dataset_file.NAME)) for problem in caught.value.problems]


# The index


def test_rows_are_in_the_order_of_torchvisions_imagefolder(here):
    for name in ("10.JPEG", "9.JPEG", "B.jpeg", "a.JPG", "deep/z.JPEG", "deep-er/y.JPEG", "deep/er/x.JPEG"):
        path = here / "train" / "n01730007" / name
        path.parent.mkdir(exist_ok=True)
        trees.plain(1, 1, 8).save(path, format="JPEG")
    _, frame = indexed(here)
    for session, tree in enumerate(("train", "val")):
        theirs = ImageFolder(here / tree)
        ours = frame[frame["session"] == session]
        assert [str(here / path) for path in ours["im_path"]] == [path for path, _ in theirs.samples]
        assert [theirs.class_to_idx[name] for name in ours["class"]] == theirs.targets


def test_without_a_class_order_images_are_in_natural_order_as_before(here):
    for number in (9, 10):
        trees.plain(1, 1, 8).save(here / "train" / "n01730007" / f"{number}.JPEG")
    text = re.sub("class_order.*\n", "", TEXT)
    _, frame = indexed(here, text)
    names = frame[(frame["class"] == "n01730007") & (frame["session"] == 0)]["im_path"].tolist()
    assert names.index("train/n01730007/9.JPEG") < names.index("train/n01730007/10.JPEG")


def test_two_trees_anywhere_have_paths_from_their_common_parent(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = made(tmp_path / "data" / "net")
    (tmp_path / "disk" / "one").mkdir(parents=True)
    (root / "train").rename(tmp_path / "disk" / "one" / "learn")
    (root / "val").rename(tmp_path / "disk" / "judge")
    text = TEXT.replace('"train"', f'"{tmp_path}/disk/one/learn"').replace('"val"', '"../../disk/judge"')
    dataset, frame = indexed(root, text)
    assert dataset.image_folder == str(tmp_path / "disk")
    assert set(frame["im_path"].str.extract("(.*)/n[0-9]*/")[0]) == {"one/learn", "judge"}
    assert main(["check", "net"]) == 0


def test_tasks_are_as_the_file_says_classes_alphabetical_within(here):
    frame, split, found = scheduled(here)
    shown = trees.class_order(CLASSES)
    wanted = [sorted(shown[start : start + 2]) for start in range(0, CLASSES, 2)]
    assert [list(dict.fromkeys(classes_of(frame, rows))) for rows in found.tasks] == wanted
    for rows in found.tasks:
        assert rows.tolist() == sorted(rows)  # the dirmap has ImageFolder's order
    flat = [name for names in wanted for name in names]
    labels = {name: found.labels[code] for code, name in enumerate(split.classes)}
    assert sorted(labels, key=labels.get) == flat


def test_an_offline_task_holds_all_classes_so_far_with_the_labels_of_the_stream(here):
    _, _, stream = scheduled(here)
    _, _, found = scheduled(here, mode="offline")
    for end, rows in enumerate(found.tasks, 1):
        assert rows.tolist() == sorted(np.concatenate(stream.tasks[:end]))
    assert found.labels.tolist() == stream.labels.tolist()


@pytest.mark.parametrize("run", [1, 5])
def test_later_runs_permute_the_file_by_their_number(here, run):
    frame, _, found = scheduled(here, run=run)
    shown = trees.class_order(CLASSES)
    shown = [shown[place] for place in np.random.RandomState(run).permutation(CLASSES)]
    assert [sorted(set(classes_of(frame, rows))) for rows in found.tasks] == [
        sorted(shown[start : start + 2]) for start in range(0, CLASSES, 2)
    ]


def test_a_seed_of_the_orders_permutes_run_0_as_well(here):
    frame, _, found = scheduled(here, order_seed=3)
    shown = trees.class_order(CLASSES)
    shown = [shown[place] for place in np.random.RandomState([3, 0]).permutation(CLASSES)]
    assert sorted(set(classes_of(frame, found.tasks[0]))) == sorted(shown[:2])


def test_an_order_given_stands_in_the_place_of_the_file(here):
    backwards = trees.wnids(CLASSES)[::-1]
    frame, _, found = scheduled(here, class_order=backwards)
    assert sorted(set(classes_of(frame, found.tasks[0]))) == sorted(backwards[:2])
    frame, _, found = scheduled(here, tasks=2)
    assert [len(set(classes_of(frame, rows))) for rows in found.tasks] == [4, 3]


@pytest.mark.parametrize("paradigm", ["class_ordered", "class_iid"])
@pytest.mark.parametrize(("first", "sizes"), [(3, [3, 2, 2]), (1, [1, 2, 2, 2]), (6, [6, 1]), (7, [7])])
def test_the_first_task_has_a_size_of_its_own(here, paradigm, first, sizes):
    dataset, frame = indexed(here, TEXT + f"first_task_classes = {first}\n")
    split = paradigms.split(frame, dataset)
    for mode in ("stream", "offline"):
        found = paradigms.schedule(split, dataset, paradigm, 0, mode, "corrected")
        counts = [len(set(classes_of(frame, rows))) for rows in found.tasks]
        assert counts == (sizes if mode == "stream" else np.cumsum(sizes).tolist())
    assert paradigms.task_count(split, dataset, paradigm, "corrected") == len(sizes)
    chosen = order.ordered(dataset, paradigm, tasks=7)
    assert len(paradigms.schedule(split, chosen, paradigm, 0, "stream", "corrected").tasks) == 7


def test_held_out_images_leave_the_tasks_their_classes(here):
    dataset, frame = indexed(here)
    split = paradigms.split(frame, dataset)
    full = paradigms.schedule(split, dataset, "class_ordered", 0, "stream", "corrected")
    kept = held_out.schedule(split, dataset, "class_ordered", 0, "stream", "corrected")
    for all_rows, rows in zip(full.tasks, kept.tasks, strict=True):
        assert rows.tolist() == [row for row in all_rows if row not in kept.test]
    assert len(kept.test) == CLASSES and not set(kept.test) & set(split.test)


def test_what_decides_the_lists_is_in_their_manifest_and_changes_make_them_stale(here):
    def parameters(text: str, **choice) -> dict:
        dataset, _ = indexed(here, text)
        return tasklists.parameters(order.ordered(dataset, "class_ordered", **choice), "class_ordered")

    first = parameters(TEXT)
    digest = hashlib.sha256("\n".join(trees.class_order(CLASSES)).encode()).hexdigest()
    assert first["class_order_sha256"] == digest and first["task_classes"] == 2
    assert "first_task_classes" not in first  # as in the manifests of earlier versions
    assert parameters(TEXT + "first_task_classes = 3\n")["first_task_classes"] == 3
    chosen = parameters(TEXT, class_order=trees.wnids(CLASSES))
    assert chosen["class_order"] == trees.wnids(CLASSES) and "class_order_sha256" not in chosen
    assert main(["tasks", "net", "--paradigm", "class_ordered", "--runs", "1"]) == 0
    folder = here.parent / "lists" / "net_task_filelists" / "class_ordered" / "run0" / "stream"
    before = tasklists.read(folder).fingerprint
    (here / trees.ORDER).write_text("\n".join(trees.wnids(CLASSES)))
    assert main(["tasks", "net", "--paradigm", "class_ordered", "--runs", "1"]) == 0
    assert tasklists.read(folder).fingerprint != before


def test_a_run_learns_the_stream_from_files(here, capsys):
    assert main(["index", "net"]) == 0
    assert f"{CLASSES} classes: " in capsys.readouterr().out
    stream = lethe.stream("net/class_ordered")
    shown = trees.class_order(CLASSES)
    assert stream.class_names == tuple(
        name for start in range(0, CLASSES, 2) for name in sorted(shown[start : start + 2])
    )
    assert [len(task) for task in stream.tasks] == [6, 6, 6, 3] and len(stream.test[1]) == CLASSES * VAL


def test_a_dataset_without_an_order_is_told_how_to_name_one(here):
    dataset, _ = indexed(here, re.sub("class_order.*\n", "", TEXT))
    assert dataset.paradigms == ("class_iid",)
    with pytest.raises(
        InputError, match="net has no order of its classes; for images of your own, class_order in"
    ):
        order.ordered(dataset, "class_ordered")


# What is refused


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (TEXT + "test_fraction = 0.2\n", ":7: test_fraction means nothing with test_images"),
        (TEXT.replace('"val"', '"none"'), "/none: cannot be read as a folder: No such file"),
        (TEXT.replace('"val"', '"train"'), "/train: expected another folder than"),
        (TEXT.replace('"val"', '"train/n01730007"'), "/train/n01730007: expected another folder than"),
        (TEXT.replace('"val"', '"."'), "expected another folder than"),
        (TEXT.replace('"val"', "3"), ":3: test_images = 3: expected a folder"),
        (TEXT.replace('"imagenet_class_order.txt"', "[]"), ":4: class_order = []: expected a file"),
        (TEXT.replace("imagenet_class", "no"), ":4: "),
        (
            TEXT.replace("imagenet_class_order.txt", "train"),
            "train: cannot be read: expected a file, got a folder",
        ),
        (TEXT + "first_task_classes = 8\n", ":7: first_task_classes = 8: there are only 7 classes"),
        (TEXT + "first_task_classes = 0\n", ":7: first_task_classes = 0: expected a whole number from 1"),
        (TEXT + "resize = 7\n", ":7: resize = 7: expected at least the longer side of image_size"),
        (TEXT + "resize = true\n", ":7: resize = True: expected pixels from 1 to 4096"),
        (TEXT + "resize = 5000\n", ":7: resize = 5000: expected pixels from 1 to 4096"),
    ],
)
def test_mistakes_in_the_file_are_told_with_their_lines(here, text, told):
    assert any(told in problem for problem in problems_of(here, text)), problems_of(here, text)


def test_keys_of_the_other_layout_are_told(here):
    text = TEXT.replace('"class"', '"class/object/session"') + "test_sessions = [1]\n"
    found = "\n".join(problems_of(here, text))
    assert ':4: class_order means nothing with layout = "class/object/session"' in found
    assert ':3: test_images means nothing with layout = "class/object/session"' in found


def test_all_class_folders_that_differ_between_the_trees_are_named(here):
    names = trees.wnids(CLASSES)
    for name in names[:2]:
        (here / "val" / name).rename(here / "val" / f"x{name}")
    (here / "train" / names[5]).rename(here.parent / "away")
    found = problems_of(here, TEXT)
    assert f":2: {here}/train: lacks the class folders {names[5]}, x{names[0]}, x{names[1]}" in found
    assert f":3: {here}/val: lacks the class folders {names[0]}, {names[1]}" in found


def test_listed_classes_must_be_in_both_trees(here):
    names = trees.wnids(CLASSES)
    (here / "val" / names[1]).rename(here.parent / "away")
    (here / trees.ORDER).write_text(f"{names[2]}\n{names[0]}\n")
    text = TEXT.replace("task_classes = 2", "task_classes = 1")
    dataset, _ = indexed(here, text + f'classes = ["{names[2]}", "{names[0]}"]\n')
    assert dataset.classes == (names[0], names[2])
    (problem,) = problems_of(
        here, re.sub("class_order.*\n", "", text) + f'classes = ["{names[0]}", "{names[1]}"]\n'
    )
    assert problem == f":3: {here}/val: lacks the class folders {names[1]}"


def test_an_order_file_is_checked_in_both_directions(here):
    names = trees.wnids(CLASSES)
    (here / trees.ORDER).write_text("\n".join([*names[1:], names[1], "n99", "n98", ""]))
    (problem,) = problems_of(here, TEXT)
    assert problem.startswith(
        f":4: {here}/{trees.ORDER}: expected every class folder once; unknown class 'n99'"
    )
    assert "unknown as well: n98" in problem
    assert f"there more than once: {names[1]}" in problem and f"missing: {names[0]}" in problem
    (here / trees.ORDER).write_text("\n")
    (problem,) = problems_of(here, TEXT)
    assert "names no class" in problem


def test_a_class_folder_without_images_is_named_in_its_tree(here):
    for tree, name in (("train", "n01730000"), ("val", "n01730014")):
        for path in (here / tree / name).iterdir():
            path.unlink()
    dataset = find.get("net", here)
    with pytest.raises(InputError) as caught:
        prepare.index(Located(dataset, here))
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [
        f"{here}/train/n01730000",
        f"{here}/val/n01730014",
    ]


def test_a_link_between_the_trees_is_refused_by_the_index_and_after_it(here):
    path = here / "val" / "n01730000" / "ILSVRC2012_val_00000003.JPEG"
    other = here / "train" / "n01730000" / "n01730000_0.JPEG"
    indexed(here)
    path.unlink()
    path.symlink_to(other)
    with pytest.raises(InputError, match="a link leads out of"):
        lethe.stream("net/class_ordered")
    assert main(["check", "net"]) == 1
    with pytest.raises(InputError, match=f"is a link that leaves {here}/val"):
        indexed(here)


def test_a_tree_may_be_a_link_itself(here):
    (here / "train").rename(here.parent.parent / "elsewhere")
    (here / "train").symlink_to(here.parent.parent / "elsewhere")
    indexed(here)
    assert len(lethe.stream("net/class_ordered").tasks) == 4


def test_the_index_is_asked_for_again_when_the_trees_change(here):
    indexed(here)
    (here / "val").rename(here / "judge")
    (here / dataset_file.NAME).write_text(TEXT.replace('"val"', '"judge"'))
    with pytest.raises(InputError, match='test_images is "judge"; it was "val" when the dirmap was made'):
        lethe.stream("net/class_ordered")


def test_stamps_of_earlier_versions_are_current(here):
    text = re.sub("class_order.*\n", "", TEXT).replace('test_images = "val"', "test_fraction = 0.3")
    dataset, _ = indexed(here, text)
    stamp = here.parent / "lists" / "net_dirmap.json"
    lines = [
        line
        for line in stamp.read_text().split("\n")
        if "test_images" not in line and "class_order" not in line
    ]
    stamp.write_text("\n".join(lines))
    assert prepare.changes(dataset, stamp.with_suffix(".csv")) == []
    assert len(dirmap.read(stamp.with_suffix(".csv"))) == CLASSES * TRAIN


# Cut images


def test_a_run_learns_cut_images_and_notes_the_rule(here):
    trees.striped(1, 0, 30).resize((40, 20)).save(here / "train" / "n01730000" / "n01730000_0.JPEG")
    indexed(here, TEXT + "resize = 9\n")
    found = lethe.stream("net/class_ordered", class_order=trees.wnids(CLASSES))
    first = next(iter(found.tasks[0].batches(1)))[0][0].permute(1, 2, 0).numpy()
    assert np.array_equal(first, decode(here / "train" / "n01730000" / "n01730000_0.JPEG", (8, 8), 9))
    trial = Trial.create("net", "class_ordered", "finetune", {"lr": 0.01}, network="small")
    run(trial, 0, Places(), Machine(keep_model=True))
    folder = trial.folder("results")
    assert json.loads((folder / "env.json").read_text())["protocol"]["resize"] == 9
    assert json.loads((folder / "run0" / "model.json").read_text())["resize"] == 9
    assert lethe.load(folder).resize == 9
    (here / dataset_file.NAME).write_text(TEXT + "resize = 10\n")
    other = Trial.create("net", "class_ordered", "finetune", {"lr": 0.01}, network="small")
    with pytest.raises(InputError, match="resize: 9 -> 10"):
        check_protocol(other, Places())


MILLION = """
import resource, time
from pathlib import Path
import numpy as np, pandas as pd
from lethe.dataloaders.index import dirmap
from lethe.dataloaders.index.spec import Dataset
from lethe.dataloaders.tasks import tasklists
names = [f"n{k:08d}" for k in range(1000)]
rows = [(name, 0, session, k, f"{tree}/{name}/ILSVRC2012_{name}_{k:08d}.JPEG")
        for name in names for session, tree, count in ((0, "train", 1282), (1, "val", 50)) for k in range(count)]
dirmap.write(pd.DataFrame(rows, columns=dirmap.COLUMNS), Path("imagenet_dirmap.csv"))
del rows
order = tuple(names[k] for k in np.random.RandomState(0).permutation(1000))
dataset = Dataset("imagenet", "ImageNet", tuple(names), (1,), ("class_ordered",), 0, 100, 0, 0, (224, 224),
                  "corrected", class_order=order, trees=("train", "val"))
begun = time.process_time()
source = tasklists.Source(dirmap.read(Path("imagenet_dirmap.csv")), dataset)
lists = tasklists.load(source, "class_ordered", 0, "stream", "corrected", Path("lists"))
print(sum(len(task.paths) for task in lists.tasks), len(lists.test_paths), time.process_time() - begun,
      resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_lists_of_imagenets_size_take_seconds_and_little_memory(tmp_path):
    """Of 1,282,000 training and 50,000 test rows, from a dirmap to lists read back, in seconds of one core."""
    command = [sys.executable, "-c", MILLION]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    train, test, seconds, kilobytes = map(float, done.stdout.split())
    assert (train, test) == (1_282_000, 50_000)
    assert seconds < 20 and kilobytes < 2_000_000
