"""`lethe data prepare imagenet` and `export-labels`: what is written, repeated and refused, on small trees."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

import lethe
from lethe.dataloaders import export_labels
from lethe.dataloaders.__main__ import main
from lethe.dataloaders.datasets import imagenet
from lethe.dataloaders.index import find
from lethe.dataloaders.index.spec import Dataset
from tests import imagenet_trees as trees

CLASSES, TRAIN, VAL = 6, 3, 2
PREPARE = ["prepare", "imagenet", "--root", "download"]
NAMES = trees.wnids(CLASSES)


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """The working folder, with a small set in `download`."""
    monkeypatch.chdir(tmp_path)
    trees.tree(tmp_path / "download", CLASSES, TRAIN, VAL, 40)
    return tmp_path


def content(folder: Path) -> dict[str, bytes]:
    """Every file below `folder`, links not followed."""
    return {
        str(path.relative_to(folder)): b"" if path.is_dir() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
    }


def description() -> dict[str, str]:
    lines = Path("data/imagenet/dataset.toml").read_text().splitlines()[1:]
    return dict(line.split(" = ") for line in lines)


def flat(root: Path) -> list[str]:
    """Make `root/val` one folder, its images numbered in another order than by class; returns their classes."""
    images = sorted((root / "val").glob("*/*.JPEG"))
    places = np.random.RandomState(1).permutation(len(images))
    classes = []
    for number, place in enumerate(places, 1):
        classes.append(images[place].parent.name)
        images[place].rename(root / "val" / f"ILSVRC2012_val_{number:08d}.JPEG")
    for name in NAMES:
        (root / "val" / name).rmdir()
    return classes


def errors(capsys) -> list[str]:
    return [line.removeprefix("error: ") for line in capsys.readouterr().err.splitlines()]


# From a download to a stream


def test_a_smaller_set_is_ready_after_one_command_that_can_be_repeated(here, capsys):
    before = content(here / "download")
    assert main(PREPARE) == 0
    told = capsys.readouterr().out
    assert "a smaller set: 6 classes, 18 training and 12 test images (ImageNet-2012 has 1,000 classes" in told
    assert description() == {
        "layout": '"class"', "images": '"train"', "test_images": '"val"', "task_classes": "2",
        "class_order": '"imagenet_class_order.txt"', "image_size": "40", "resize": "40",
    }  # fmt: skip
    stream = lethe.stream("imagenet/class_ordered")
    order = trees.class_order(CLASSES)
    assert stream.class_names == tuple(name for k in (0, 2, 4) for name in sorted(order[k : k + 2]))
    written = content(here / "data" / "imagenet")
    assert main(PREPARE) == 0 and content(here / "data" / "imagenet") == written
    assert content(here / "download") == before


def test_options_choose_the_sizes_and_a_repeat_changes_them(here):
    assert main(PREPARE) == 0
    order = here / "other.txt"
    order.write_text("\n".join(NAMES))
    options = [
        "--task-classes",
        "1",
        "--first-task-classes",
        "3",
        "--image-size",
        "14",
        "--class-order",
        "other.txt",
    ]
    assert main([*PREPARE, *options]) == 0
    found = find.get("imagenet")
    assert (found.task_classes, found.first_task_classes, found.image_size) == (1, 3, (14, 14))
    assert found.resize == 16 and found.class_order == tuple(NAMES)  # 256 / 224 of 14


def test_larger_images_are_cut_as_published(here):
    for name in NAMES[:4]:
        Image.new("RGB", (300, 400)).save(here / "download" / "train" / name / f"{name}_0.JPEG")
    assert main(PREPARE) == 0
    assert (description()["image_size"], description()["resize"]) == ("224", "256")


def test_the_download_may_lie_in_the_folder_itself(here):
    (here / "data").mkdir()
    (here / "download").rename(here / "data" / "imagenet")
    before = content(here / "data" / "imagenet")
    assert main(["prepare", "imagenet"]) == 0
    now = content(here / "data" / "imagenet")
    assert {name: now[name] for name in before} == before and now.keys() - before.keys() == {"dataset.toml"}


@pytest.mark.parametrize("kind", ["names", "numbers", "devkit"])
def test_a_flat_val_is_sorted_by_links_and_the_download_is_not_touched(here, kind):
    root = here / "download"
    classes = flat(root)
    shuffled = trees.class_order(CLASSES, seed=5)
    options = []
    if kind == "names":
        (root / "imagenet_2012_validation_synset_labels.txt").write_text("\n".join(classes) + "\n")
    elif kind == "numbers":
        (here / "truth.txt").write_text("\n".join(str(shuffled.index(name) + 1) for name in classes))
        (here / "names.txt").write_text("\n".join(shuffled))
        options = ["--val-labels", "truth.txt", "--synsets", "names.txt"]
    else:
        data = root / "ILSVRC2012_devkit_t12" / "data"
        data.mkdir(parents=True)
        (data / "ILSVRC2012_validation_ground_truth.txt").write_text(
            "".join(f"{shuffled.index(name) + 1}\n" for name in classes)
        )
        (data / "map_clsloc.txt").write_text("".join(f"{n} {k} thing\n" for k, n in enumerate(shuffled, 1)))
    before = content(root)
    for _ in range(2):
        assert main([*PREPARE, *options]) == 0
        found = sorted((here / "data" / "imagenet" / "val").glob("*/*.JPEG"))
        assert len(found) == CLASSES * VAL
        for path in found:
            number = int(path.stem.rpartition("_")[2])
            assert path.parent.name == classes[number - 1] and path.samefile(root / "val" / path.name)
    assert content(root) == before
    assert len(lethe.stream("imagenet/class_ordered").test[1]) == CLASSES * VAL


def test_other_labels_move_the_links_and_other_files_are_named(here, capsys):
    root = here / "download"
    classes = flat(root)
    labels = here / "labels.txt"
    command = [*PREPARE, "--val-labels", "labels.txt"]
    labels.write_text("\n".join(classes))
    assert main(command) == 0
    labels.write_text("\n".join(classes[::-1]))
    assert main(command) == 0
    sorted_ = here / "data" / "imagenet" / "val"
    assert {path.name: path.parent.name for path in sorted_.glob("*/*.JPEG")} == {
        f"ILSVRC2012_val_{number:08d}.JPEG": name for number, name in enumerate(classes[::-1], 1)
    }
    trees.plain(0, 0, 40).save(sorted_ / NAMES[0] / "mine.png")
    assert main(command) == 2
    assert errors(capsys) == [
        f"data/imagenet/val/{NAMES[0]}/mine.png: is none of the images of download/val: remove it"
    ]


def test_a_val_that_gets_class_folders_or_loses_them(here):
    assert main(PREPARE) == 0  # a link
    classes = flat(here / "download")
    (here / "labels.txt").write_text("\n".join(classes))
    assert main([*PREPARE, "--val-labels", "labels.txt"]) == 0
    assert not (here / "data" / "imagenet" / "val").is_symlink()


# What is missing


def test_of_a_complete_set_every_shortage_is_a_problem(here, capsys, monkeypatch):
    for name, count in (("CLASSES", CLASSES), ("TRAIN", CLASSES * TRAIN), ("VAL", CLASSES * VAL)):
        monkeypatch.setattr(imagenet, name, count)
    monkeypatch.setattr(imagenet, "_TASK_CLASSES", 3)
    assert main(PREPARE) == 0
    assert description()["title"] == '"ImageNet-2012"' and description()["task_classes"] == "3"
    capsys.readouterr()
    (here / "download" / "train" / NAMES[1] / f"{NAMES[1]}_0.JPEG").unlink()
    sorted((here / "download" / "val" / NAMES[2]).iterdir())[0].unlink()
    assert main(PREPARE) == 1
    assert capsys.readouterr().err.splitlines() == [
        "problem: train: 17 images, expected 18: 1 are missing",
        "problem: val: 11 images, expected 12: 1 are missing",
        f"problem: val/{NAMES[2]}: 1 images, expected 2",
    ]


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (
            lambda root: (root / "val").rename(root / "test"),
            "download/val: no such folder; --root is the folder that",
        ),
        (
            lambda root: (root / trees.ORDER).unlink(),
            f"download/{trees.ORDER}: no such file; it has the order of the",
        ),
        (lambda root: (root / trees.ORDER).write_text("\n".join(NAMES[1:])), f"missing: {NAMES[0]}"),
        (
            lambda root: (root / trees.ORDER).write_text("\n".join([*NAMES, NAMES[0]])),
            "there more than once: n0173",
        ),
        (
            lambda root: (root / "val" / NAMES[3]).rename(root / "gone"),
            f"val: lacks the class folders {NAMES[3]}",
        ),
        (
            lambda root: (root / "train" / NAMES[3]).rename(root / "gone"),
            "expected every folder of download/train once",
        ),
        (
            lambda root: [path.unlink() for path in (root / "val" / NAMES[3]).iterdir()],
            f"no image of class {NAMES[3]}",
        ),
    ],
)
def test_what_does_not_fit_is_told_in_a_sentence(here, damage, told, capsys):
    damage(here / "download")
    assert main(PREPARE) == 2
    (problem,) = errors(capsys)
    assert told in problem


def test_nothing_is_written_over_a_description_of_another_hand(here, capsys):
    assert main(PREPARE) == 0
    path = here / "data" / "imagenet" / "dataset.toml"
    path.write_text(path.read_text().partition("\n")[2])
    before = path.read_text()
    assert main(PREPARE) == 2 and path.read_text() == before
    assert errors(capsys)[0].startswith("data/imagenet/dataset.toml: was not written by this command")


def test_a_description_that_would_be_wrong_is_not_written(here, capsys):
    assert main([*PREPARE, "--task-classes", "7"]) == 2
    assert errors(capsys) == ["task_classes = 7: there are only 6 classes"]
    assert not (here / "data" / "imagenet" / "dataset.toml").exists()
    assert main([*PREPARE, "--task-classes", "0", "--image-size", "-3"]) == 2
    assert errors(capsys) == ["--task-classes 0: expected at least 1", "--image-size -3: expected at least 1"]


@pytest.mark.parametrize(
    ("lines", "synsets", "told"),
    [
        (None, None, "to sort its images, give --val-labels FILE"),
        ([""], None, "labels.txt:1: is empty; expected a class"),
        (["n99"] * 12, None, "labels.txt:1: 'n99' is no folder of train"),
        ([NAMES[0]] * 11, None, "ILSVRC2012_val_00000012.JPEG: has number 12; there are classes for 1 to 11"),
        (["1"] * 12, None, "labels.txt: has numbers; give --synsets FILE"),
        (["7"] * 12, NAMES, "labels.txt:1: expected a number from 1 to 6, got '7'"),
        (["1", "x"] * 6, NAMES, "labels.txt:2: expected a number from 1 to 6, got 'x'"),
        (["1"] * 12, ["n98"], "names.txt:1: 'n98' is no folder of train"),
    ],
)
def test_labels_of_a_flat_val_that_do_not_fit_are_told(here, lines, synsets, told, capsys):
    flat(here / "download")
    command = list(PREPARE)
    if lines is not None:
        (here / "labels.txt").write_text("\n".join(lines))
        command += ["--val-labels", "labels.txt"]
    if synsets is not None:
        (here / "names.txt").write_text("\n".join(synsets))
        command += ["--synsets", "names.txt"]
    assert main(command) == 2
    assert told in errors(capsys)[0]


def test_an_alphabetical_list_in_the_place_of_the_devkits_is_refused(here, capsys):
    flat(here / "download")
    (here / "download" / "train" / NAMES[5]).rename(here / "download" / "train" / "n02119789")
    order = here / "download" / trees.ORDER
    order.write_text(order.read_text().replace(NAMES[5], "n02119789"))
    (here / "truth.txt").write_text("1\n" * 12)
    (here / "names.txt").write_text("\n".join([*NAMES[:5], "n02119789"]))
    assert main([*PREPARE, "--val-labels", "truth.txt", "--synsets", "names.txt"]) == 2
    assert "names.txt: is not in the devkit's order, in which n02119789 is the first" in errors(capsys)[0]


def test_images_of_a_flat_val_without_a_number_or_with_one_twice_are_named(here, capsys):
    classes = flat(here / "download")
    (here / "labels.txt").write_text("\n".join(classes))
    val = here / "download" / "val"
    (val / "ILSVRC2012_val_00000001.JPEG").rename(val / "first.JPEG")
    (val / "ILSVRC2012_val_00000002.JPEG").rename(val / "other_00000003.JPEG")
    (val / "link_00000001.JPEG").symlink_to(val / "first.JPEG")
    assert main([*PREPARE, "--val-labels", "labels.txt"]) == 2
    told = "\n".join(errors(capsys))
    assert "first.JPEG: expected a name that ends in a number" in told
    assert "other_00000003.JPEG: has the number of" in told
    assert "link_00000001.JPEG: is no file, or a link" in told


def test_a_flat_val_in_the_folder_itself_and_a_folder_in_the_place_of_a_link_are_refused(here, capsys):
    classes = flat(here / "download")
    (here / "labels.txt").write_text("\n".join(classes))
    before = content(here / "download")
    assert main([*PREPARE, "--val-labels", "labels.txt", "--out", "download"]) == 2
    assert "download/val: cannot be sorted in its own place" in errors(capsys)[0]
    assert content(here / "download") == before
    (here / "data" / "imagenet" / "train").mkdir(parents=True)
    assert main([*PREPARE, "--val-labels", "labels.txt"]) == 2
    assert "data/imagenet/train: expected a link to download/train, or nothing" in errors(capsys)[0]


def test_options_of_imagenet_mean_nothing_for_other_datasets(here, capsys):
    assert main(["prepare", "digits", "--task-classes", "2", "--val-labels", "x"]) == 2
    assert errors(capsys)[0].startswith("--task-classes, --val-labels: only for imagenet")


def test_before_it_is_prepared_every_command_says_how(here, capsys):
    assert main(["check", "imagenet"]) == 2
    assert "there is none yet; make it: lethe data prepare imagenet --root DIR" in errors(capsys)[0]


# REMIND's label files


def test_label_files_have_the_place_of_each_imagefolder_samples_class(here):
    assert main(PREPARE) == 0
    gif = here / "download" / "train" / NAMES[0] / "0.gif"  # which ImageFolder does not read
    trees.plain(0, 0, 8).save(gif)
    assert main(PREPARE) == 0
    assert main(["export-labels", "imagenet", "--out", "labels"]) == 0
    order = trees.class_order(CLASSES)
    for split in ("train", "val"):
        theirs = ImageFolder(here / "download" / split)
        wanted = [order.index(theirs.classes[target]) for target in theirs.targets]
        found = np.load(here / "labels" / f"imagenet_{split}_labels.npy", allow_pickle=False)
        assert found.dtype == np.int64 and found.tolist() == wanted


def test_datasets_without_two_trees_and_an_order_have_no_label_files(here, capsys):
    assert main(["prepare", "digits"]) == 0
    assert main(["export-labels", "digits"]) == 2
    assert "digits: expected a dataset with test_images and class_order" in errors(capsys)[0]


def test_a_killed_export_leaves_no_file(here, monkeypatch):
    assert main(PREPARE) == 0

    def fail(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(export_labels.np, "save", fail)
    assert main(["export-labels", "imagenet", "--out", "labels"]) == 130
    assert list((here / "labels").iterdir()) == []


@pytest.mark.skipif(
    "LETHE_IMAGENET_ORDER" not in os.environ, reason="needs the published order of ImageNet's classes"
)
def test_the_authors_validation_labels_to_the_bit():
    """SHA-256 of the bytes of `imagenet_val_labels.npy`'s array as the authors of REMIND ship it."""
    order = tuple(Path(os.environ["LETHE_IMAGENET_ORDER"]).read_text().split())
    names = np.repeat(sorted(order), 50)
    frame = pd.DataFrame({"class": names, "session": 1, "im_path": [f"val/{n}/x.JPEG" for n in names]})
    dataset = Dataset(
        "imagenet", "ImageNet", tuple(sorted(order)), (1,), ("class_ordered",), 0, 100, 0, 0, (224, 224), "corrected",
        class_order=order, trees=("train", "val"),
    )  # fmt: skip
    found = export_labels.arrays(dataset, frame)["val"]
    digest = hashlib.sha256(found.tobytes()).hexdigest()
    assert digest == "91e155ee26a4f2d07b0e44c825f0f23437b7b37420323388c019d420b184da5f"
