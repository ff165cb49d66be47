"""A user's own images: a small file and a tree of folders become a dataset, and every mistake is named."""

import os
import pickle
import re
import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lethe.benchmarks.__main__ import main as benchmarks
from lethe.benchmarks.run import data
from lethe.benchmarks.run.experiment import Machine, Places, run
from lethe.benchmarks.run.experiment import prepare as prepare_run
from lethe.benchmarks.run.trial import Trial
from lethe.common.errors import InputError
from lethe.dataloaders import prepare
from lethe.dataloaders.__main__ import main
from lethe.dataloaders.datasets import image_folder
from lethe.dataloaders.index import catalogue, dataset_file, dirmap, find
from lethe.dataloaders.index.prepared import Prepared
from lethe.dataloaders.index.spec import RANDOM_PARADIGMS, Dataset
from lethe.dataloaders.tasks import listfiles, tasklists

CLASSES = """
layout = "class"
test_fraction = 0.25
image_size = 16
task_classes = 2
"""
SESSIONS = """
layout = "class/object/session"
test_sessions = [2]
image_size = [16, 24]
task_classes = 2
"""


def draw(path: Path, colour: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8, 3), colour, np.uint8)).save(path)


def by_class(root: Path, count: int = 8) -> Path:
    """Four classes of `count` images, some of them deeper, beside things that are no images."""
    for number, class_ in enumerate(("cat", "dog", "emu", "fox")):
        for image in range(count):
            below = "more" if image % 2 else ""
            draw(root / class_ / below / f"{image}.png", 60 * number + image)
    (root / "cat" / "notes.txt").touch()
    (root / "cat" / ".hidden.png").touch()
    return root


def by_sessions(root: Path) -> Path:
    """Three classes of two objects, filmed in three sessions of four frames."""
    for number, class_ in enumerate(("cup", "jug", "pan")):
        for object_ in ("toy10", "toy2"):
            for session in (1, 2, 10):
                for frame in (1, 2, 9, 10):
                    draw(root / class_ / object_ / f"day{session}" / f"f{frame}.png", 80 * number + frame)
    return root


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def described(root: Path, text: str) -> Dataset:
    root.mkdir(parents=True, exist_ok=True)
    (root / dataset_file.NAME).write_text(text)
    return find.get("pets", root)


def index(dataset: Dataset) -> Prepared:
    return image_folder.index(dataset, dataset.file)


def index_problems(root: Path, text: str) -> tuple[str, ...]:
    with pytest.raises(InputError) as caught:
        index(described(root, text))
    return caught.value.problems


def file_problems(root: Path, text: str) -> list[str]:
    """The problems of a dataset.toml, without the name of the file."""
    with pytest.raises(InputError) as caught:
        described(root, text)
    return [problem.removeprefix(str(root / dataset_file.NAME)) for problem in caught.value.problems]


# From files to a trained agent


@pytest.mark.parametrize(
    ("make", "text", "stream"),
    [(by_class, CLASSES, "pets/class_iid"), (by_sessions, SESSIONS, "films/class_instance")],
)
def test_two_commands_from_a_folder_to_a_trained_agent(make, text, stream, here, capsys):
    root = make(here / "elsewhere")
    (root / dataset_file.NAME).write_text(text)
    name = stream.split("/")[0]
    assert main(["index", name, "--root", "elsewhere"]) == 0
    assert f"data/{name} is now a link to {root}, so that" in capsys.readouterr().out
    command = ["run", stream, "--agent", "finetune", "--no-pretrained", "--set", "lr=0.01"]
    assert benchmarks(command) == 0, capsys.readouterr().err
    assert f"{stream} finetune" in capsys.readouterr().out
    assert len(list((here / "results").rglob("summary.json"))) == 1


def test_prepare_indexes_as_well_and_prints_what_it_passed_over(here, capsys):
    (by_class(here / "data" / "pets") / dataset_file.NAME).write_text(CLASSES)
    assert main(["prepare", "pets"]) == 0
    told = capsys.readouterr().out
    assert "1 files are no images and were skipped: 1 .txt" in told
    assert "for iid in 2 tasks, write in data/pets/dataset.toml: iid_task_images = 12" in told
    assert "written to data/lists/pets_dirmap.csv" in told
    assert len(dirmap.read(Path("data/lists/pets_dirmap.csv"))) == 32


def test_a_name_that_is_another_folder_is_refused(here, capsys):
    (by_class(here / "one") / dataset_file.NAME).write_text(CLASSES)
    (here / "data" / "pets").mkdir(parents=True)
    assert main(["index", "pets", "--root", "one"]) == 2
    assert "data/pets: is not one" in capsys.readouterr().err
    assert not (here / "dataloaders").exists()


def test_images_may_lie_elsewhere(here):
    by_class(here / "far" / "away")
    described(Path("data/pets"), CLASSES + 'images = "../../far/away"\n')
    prepare.index(find.locate("pets"))
    folder = find.locate("pets").images
    paths = dirmap.read(Path("data/lists/pets_dirmap.csv"))["im_path"]
    assert all((folder / path).is_file() for path in paths)


def test_names_with_blanks_go_from_the_index_to_a_record(here, capsys):
    root = here / "data" / "pets"
    for number, class_ in enumerate(("coffee cup", "50% mug", "caf\u00e9\u202fau lait")):
        for image in range(8):
            draw(root / class_ / "one more" / f"img {image:03d} 100%25.png", 60 * number + image)
    described(root, CLASSES)
    assert main(["index", "pets"]) == 0
    assert main(["check", "pets", "--all"]) == 0
    assert main(["show", "pets", "class_iid"]) == 0
    assert main(["tasks", "pets", "--runs", "1"]) == 0
    assert main(["check", "pets"]) == 0
    folder = Path("data/lists/pets_task_filelists/class_iid/run0/stream")
    lines = (folder / "train_task_00_filelist.txt").read_text().splitlines()
    assert all(len(line.split()) == 2 for line in lines)  # as every reader of the published lists cuts them
    names = {str(path.relative_to(root)) for path in root.rglob("*.png")}
    assert tasklists.read(folder).paths() == names
    assert tasklists.read(folder).class_of_label[0] in ("coffee cup", "50% mug", "caf\u00e9\u202fau lait")
    assert benchmarks(["run", "pets/class_iid", "--agent", "finetune", "--no-pretrained"]) == 0
    assert len(list((here / "results").rglob("summary.json"))) == 1


def test_names_without_blanks_are_written_as_they_are(indexed):
    draw(indexed / "cat" / "100%25.png", 1)
    assert main(["index", "pets"]) == 0
    assert main(TASKS) == 0
    folder = Path("data/lists/pets_task_filelists/class_iid/run0/stream")
    assert "paths" not in listfiles.read_manifest(folder)
    assert "cat/100%25.png" in tasklists.read(folder).paths()


@pytest.mark.parametrize(
    "path", ["a%zz.png", "a%2fb.png", "%2e%2e/b.png", "a%09b.png", "a%0A1.png", "%ff.png"]
)
def test_encoded_paths_that_are_none_are_problems(path, tmp_path):
    problems: list[str] = []
    listfiles.parse_list(tmp_path / "x.txt", f"{path} 0\n".encode(), problems, decode=True)
    assert len(problems) == 1 and "no percent-encoded image path" in problems[0]


# Changes after the index


@pytest.fixture
def indexed(here, capsys) -> Path:
    """The indexed folder data/pets."""
    root = by_class(here / "data" / "pets")
    described(root, CLASSES)
    assert main(["index", "pets"]) == 0
    capsys.readouterr()
    return root


CHANGES = [
    (("test_fraction = 0.25", "test_fraction = 0.5"), "test_fraction is 0.5; it was 0.25 when"),
    (
        ('layout = "class"', 'classes = ["cat", "dog"]\nlayout = "class"'),
        "classes whose folders are gone: emu, fox",
    ),
    (('layout = "class"', 'images = "."\nlayout = "class"'), 'images is "."; it was absent when'),
    (
        ('layout = "class"\ntest_fraction = 0.25', 'layout = "class/object/session"\ntest_sessions = [2]'),
        'layout is "class/object/session"; it was "class" when',
    ),
]
TASKS = ["tasks", "pets", "--runs", "1"]


@pytest.mark.parametrize(("change", "told"), CHANGES)
@pytest.mark.parametrize("command", [TASKS, ["show", "pets", "class_iid"]])
def test_what_a_dirmap_follows_from_cannot_change_unnoticed(command, change, told, indexed, capsys):
    assert main(command) == 0
    described(indexed, CLASSES.replace(*change))
    assert main(command) == 2
    error = capsys.readouterr().err
    assert told in error and "lethe data index pets\n" in error
    assert main(["check", "pets"]) == 1
    assert told in capsys.readouterr().out


def test_a_run_refuses_a_changed_description_until_it_is_indexed_again(indexed):
    described(indexed, CLASSES.replace("0.25", "0.5"))
    with pytest.raises(InputError, match=r"test_fraction is 0\.5"):
        prepare.ensure_dirmap(find.locate("pets"))
    assert main(["index", "pets"]) == 0
    assert prepare.ensure_dirmap(find.locate("pets")) == Path("data/lists/pets_dirmap.csv")


def test_what_no_dirmap_follows_from_may_change(indexed):
    described(
        indexed, CLASSES.replace("task_classes = 2", "task_classes = 1\niid_task_images = 5\ntitle = 'P'")
    )
    assert main(TASKS) == 0


def test_a_class_folder_that_the_dirmap_lacks_is_named(indexed, capsys):
    assert main(["check", "pets"]) == 0
    assert "ok     data/lists/pets_dirmap.csv was made from data/pets/dataset.toml" in capsys.readouterr().out
    draw(indexed / "gnu" / "0.png", 1)
    draw(indexed / "gnu" / "1.png", 1)
    assert main(["check", "pets"]) == 1
    assert "the dirmap lacks the class folders gnu" in capsys.readouterr().out
    assert main(["index", "pets"]) == 0
    assert main(["check", "pets"]) == 0


def test_a_dirmap_that_lost_a_line_is_told_and_edited_ones_are_used_on_request(indexed, capsys):
    path = Path("data/lists/pets_dirmap.csv")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    assert main(TASKS) == 2
    told = capsys.readouterr().err
    assert (
        "pets_dirmap.csv: is not as it was indexed; if it was edited on purpose, delete data/lists/pets"
        in told
    )
    path.with_suffix(".json").unlink()
    assert main(TASKS) == 0


def test_classes_in_another_order_are_another_index(indexed, capsys):
    described(indexed, CLASSES + 'classes = ["fox", "cat", "dog", "emu"]\n')
    assert main(TASKS) == 2
    assert "the classes are in another order than in the dirmap" in capsys.readouterr().err


def test_a_dirmap_that_nobody_noted_anything_about_is_used(indexed, capsys):
    note = Path("data/lists/pets_dirmap.json")
    note.write_text("{")
    assert main(TASKS) == 2
    assert "pets_dirmap.json: is damaged" in capsys.readouterr().err
    note.unlink()
    assert main(TASKS) == 0
    assert main(["check", "pets"]) == 0
    assert "-      no record of what data/lists/pets_dirmap.csv was made from" in capsys.readouterr().out


@pytest.mark.parametrize("command", [["index"], ["prepare"], ["draw"], ["tasks"], ["check"]])
def test_the_name_of_a_dataset_of_the_project_is_taken(command, here, capsys):
    root = by_class(here / "data" / "digits")
    (root / dataset_file.NAME).write_text(CLASSES)
    assert main([*command, "digits"]) == 2
    assert "data/digits/dataset.toml: the name digits is taken" in capsys.readouterr().err
    assert not (root / "0").exists()


@pytest.mark.parametrize("where", ["cat/0.png", "cat"])
def test_an_image_replaced_by_a_link_out_of_the_tree_is_refused_by_every_command(
    where, indexed, here, capsys
):
    (indexed / where).rename(here / "outside")
    (indexed / where).symlink_to(here / "outside")
    assert main(["show", "pets", "class_iid"]) == 2
    assert main(["check", "pets"]) == 1
    assert benchmarks(["run", "pets/class_iid", "--agent", "finetune", "--no-pretrained"]) != 0
    told = capsys.readouterr()
    assert told.err.count("cat/0.png: a link leads out of") == 2 and "images are outside of" in told.out


def test_counts_are_in_the_words_of_a_folder_of_images(indexed, capsys):
    for command in ("index", "check"):
        assert main([command, "pets"]) == 0
        told = capsys.readouterr().out
        assert "4 classes: 32 images, 24 train, 8 test\n  cat: 8 images, 6 train, 2 test\n" in told
        assert "session" not in told and "object" not in told


def test_broken_images_are_left_out_on_request_by_name(indexed, capsys):
    (indexed / "cat" / "2.png").write_bytes(b"no image")
    (indexed / "dog" / "more" / "3.png").write_bytes((indexed / "dog" / "more" / "3.png").read_bytes()[:50])
    run = ["run", "pets/class_iid", "--agent", "finetune", "--no-pretrained"]
    assert benchmarks(run) != 0
    told = capsys.readouterr().err
    assert "cat/2.png: cannot be decoded" in told and "lethe data index pets --skip-broken" in told
    assert main(["check", "pets"]) == 1
    assert "lethe data index pets --skip-broken" in capsys.readouterr().out
    assert main(["index", "pets", "--skip-broken"]) == 0
    told = capsys.readouterr().out
    assert "30 images" in told and "2 broken images were left out:" in told
    assert "cat/2.png: cannot be decoded" in told and "dog/more/3.png: cannot be decoded" in told
    assert not set(dirmap.read(Path("data/lists/pets_dirmap.csv"))["im_path"]) & {
        "cat/2.png",
        "dog/more/3.png",
    }
    assert main(["prepare", "pets", "--skip-broken"]) == 0
    data.source.cache_clear()  # as in a process of its own
    assert benchmarks(run) == 0
    assert main(["check", "pets", "--all"]) == 0


def test_published_datasets_have_no_broken_images_to_leave_out(here, capsys):
    for command in (["prepare", "digits"], ["index", "core50"], ["prepare", "cifar100"]):
        assert main([*command, "--skip-broken"]) == 2
        assert "--skip-broken: is for images of your own" in capsys.readouterr().err
    assert not (here / "data" / "digits").exists()


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: socket.socket(socket.AF_UNIX).bind(path)])
def test_a_pipe_or_socket_in_a_class_folder_is_named(make, tmp_path, monkeypatch):
    root = by_class(tmp_path)
    monkeypatch.chdir(root / "cat")
    make("pipe.png")
    (problem,) = index_problems(root, CLASSES)
    assert "cat/pipe.png: expected a file, got a pipe, a socket or a device" in problem


# What the index holds


def test_a_share_of_each_class_is_held_out_and_stays_when_the_set_grows(tmp_path):
    file = described(by_class(tmp_path, count=40), CLASSES)
    frame = index(file).dirmap
    tested = set(frame["im_path"][frame["session"] == 1])
    assert frame[frame["session"] == 1].groupby("class").size().tolist() == [10] * 4
    by_class(tmp_path, count=44)
    grown = index(file).dirmap
    still = set(grown["im_path"][grown["session"] == 1])
    assert len(still) == 44
    assert len(tested & still) >= 30


def test_sessions_objects_and_frames_are_in_the_order_in_which_people_count(tmp_path):
    frame = index(described(by_sessions(tmp_path), SESSIONS)).dirmap
    first = frame[(frame["class"] == "cup") & (frame["object"] == 1)]
    assert first["session"].tolist() == [1] * 4 + [2] * 4 + [10] * 4
    assert first["im_num"].tolist() == [1, 2, 3, 4] * 3
    assert first["im_path"].tolist()[:4] == [f"cup/toy2/day1/f{n}.png" for n in (1, 2, 9, 10)]
    assert sorted(frame["object"].unique()) == [1, 2]


def test_an_index_read_back_is_the_index(tmp_path):
    for folder, make, text in (("a", by_class, CLASSES), ("b", by_sessions, SESSIONS)):
        frame = index(described(make(tmp_path / folder), text)).dirmap
        dirmap.write(frame, tmp_path / "x.csv")
        read = dirmap.read(tmp_path / "x.csv")
        assert dirmap.fingerprint(read) == dirmap.fingerprint(frame)
        assert read["session"].tolist() == frame["session"].tolist()


def test_classes_that_are_numbers_become_the_places_of_their_names(tmp_path):
    for class_ in ("10", "9", "0"):
        for image in range(4):
            draw(tmp_path / class_ / f"{image}.png", image)
    file = described(tmp_path, CLASSES)
    frame = index(file).dirmap
    assert file.classes == ("0", "9", "10")
    assert sorted(frame["class"].unique()) == [1, 2, 3]
    assert all(file.classes[row["class"] - 1] == row["im_path"].split("/")[0] for _, row in frame.iterrows())


def test_only_paradigms_that_make_sense_are_offered(tmp_path):
    offered = {
        text: described(tmp_path, text).paradigms
        for text in (CLASSES, CLASSES + "iid_task_images = 9", SESSIONS, SESSIONS + "task_instances = 2")
        if (by_class(tmp_path), by_sessions(tmp_path))
    }
    assert list(offered.values()) == [
        ("class_iid",),
        ("iid", "class_iid"),
        ("class_iid", "class_instance"),
        ("class_iid", "instance", "class_instance"),
    ]


def test_the_suggested_sizes_give_as_many_tasks_as_there_are_class_tasks(tmp_path):
    file = described(by_sessions(tmp_path), SESSIONS)
    notes = "\n".join(index(file).notes)
    sizes = dict(re.findall(r"(\w+) = (\d+)", notes))
    text = SESSIONS + "".join(f"{key} = {value}\n" for key, value in sizes.items())
    file = described(tmp_path, text)
    source = tasklists.Source(index(file).dirmap, file)
    for paradigm in RANDOM_PARADIGMS:
        folder = tasklists.ensure(source, paradigm, 0, "stream", "corrected", tmp_path / "lists")
        assert len(tasklists.read(folder).tasks) == 2


# Mistakes in the tree


def test_links_that_leave_the_tree_or_lead_to_one_of_its_folders_are_refused(tmp_path):
    root = by_class(tmp_path / "in")
    draw(tmp_path / "out" / "0.png", 1)
    (root / "cat" / "away.png").symlink_to(tmp_path / "out" / "0.png")
    (root / "cat" / "all").symlink_to(tmp_path / "out")
    (root / "dog" / "twice").symlink_to(root / "cat")
    problems = index_problems(root, CLASSES)
    assert len(problems) == 3
    assert sum("is a link that leaves" in problem for problem in problems) == 2
    assert sum("its images would count twice" in problem for problem in problems) == 1


def test_a_link_to_an_image_of_the_tree_is_refused_because_both_would_count(tmp_path):
    root = by_class(tmp_path)
    (root / "emu" / "again.png").symlink_to("0.png")
    (root / "emu" / "other.png").symlink_to(root / "dog" / "more" / "1.png")
    (root / ".store").mkdir()
    (root / ".store" / "hop").symlink_to("../fox/0.png")
    (root / "fox" / "hop.png").symlink_to("../.store/hop")
    problems = index_problems(root, CLASSES)
    wanted = {"emu/again.png": "emu/0.png", "emu/other.png": "dog/more/1.png", "fox/hop.png": "fox/0.png"}
    assert sorted(problems) == [
        f"{root}/{link}: is a link to an image of the same tree ({root}/{target}), which would count twice; delete it"
        for link, target in wanted.items()
    ]


def test_links_to_a_hidden_folder_count_once_and_links_to_them_are_refused(tmp_path):
    """As git-annex keeps files."""
    root = by_class(tmp_path)
    draw(root / ".git" / "annex" / "objects" / "key.png", 1)
    (root / "emu" / "annexed.png").symlink_to("../.git/annex/objects/key.png")
    (root / "emu" / "latest").symlink_to("0.png")
    paths = index(described(root, CLASSES)).dirmap["im_path"].tolist()
    assert paths.count("emu/annexed.png") == 1 and len(paths) == 33
    (root / "cat" / "more" / "copy.png").symlink_to("../../emu/annexed.png")
    (problem,) = index_problems(root, CLASSES)
    assert f"to an image of the same tree ({root}/emu/annexed.png)" in problem


def test_links_that_lead_nowhere_are_named(tmp_path):
    root = by_class(tmp_path)
    (root / "cat" / "loop.png").symlink_to("loop.png")
    (root / "dog" / "broken.png").symlink_to("absent.png")
    problems = index_problems(root, CLASSES)
    assert [problem.partition("; ")[0] for problem in problems] == [
        f"{root}/cat/loop.png: is a link that leads nowhere (loop.png)",
        f"{root}/dog/broken.png: is a link that leads nowhere (absent.png)",
    ]


@pytest.mark.parametrize(("make", "text"), [(by_class, CLASSES), (by_sessions, SESSIONS)])
def test_names_that_are_no_utf_8_are_named(make, text, tmp_path):
    folders = sorted(path.parent for path in make(tmp_path).rglob("*.png"))
    draw(folders[0] / os.fsdecode(b"caf\xe9.png"), 1)
    draw(folders[-1] / os.fsdecode(b"\xff") / "0.png", 1)
    problems = index_problems(tmp_path, text)
    assert len(problems) == 2
    assert all("is no UTF-8, which task lists are; rename the file" in problem for problem in problems)


def test_what_was_passed_over_is_told_whatever_its_name(here, capsys):
    root = by_class(here / "data" / "pets")
    described(root, CLASSES)
    (root / "cat" / os.fsdecode(b"notes.caf\xe9")).touch()
    assert main(["index", "pets"]) == 0
    assert "1 .caf?" in capsys.readouterr().out


def test_a_class_folder_that_leaves_the_tree_is_refused(tmp_path):
    root = by_class(tmp_path / "in")
    by_class(tmp_path / "out")
    (root / "gnu").symlink_to(tmp_path / "out" / "cat")
    assert any("gnu: is a link that leaves" in problem for problem in index_problems(root, CLASSES))


@pytest.mark.parametrize("classes", ["../out", "/etc", "a/b", ".."])
def test_classes_are_names_of_folders(tmp_path, classes):
    text = CLASSES + f'classes = ["{classes}", "cat", "dog"]\n'
    (problem,) = file_problems(by_class(tmp_path), text)
    assert problem.startswith(":6: classes = ") and "names of folders" in problem


def test_names_with_control_characters_are_named_once_a_folder(tmp_path):
    root = by_class(tmp_path)
    (root / "cat" / "more").rename(root / "cat" / "even\tmore")
    draw(root / "dog" / "a\x1bb.png", 1)
    problems = index_problems(root, CLASSES)
    assert len(problems) == 2
    assert all("has a tab" in problem for problem in problems)


def test_a_class_without_images_or_with_one_is_named(tmp_path):
    root = by_class(tmp_path)
    (root / "gnu").mkdir()
    draw(root / "hen" / "only.png", 1)
    gnu, hen = index_problems(root, CLASSES)
    assert gnu.startswith(f"{root}/gnu: no image of class gnu")
    assert hen == f"{root}/hen: class hen has no training image: all of its 1 images test"


def test_sessions_that_are_none_are_named(tmp_path):
    root = by_sessions(tmp_path)
    draw(root / "cup" / "toy2" / "night" / "1.png", 1)
    draw(root / "cup" / "toy2" / "eve02" / "1.png", 1)
    draw(root / "cup" / "loose.png", 1)
    for object_ in ("toy10", "toy2"):
        (root / "jug" / object_ / "day2").rename(root / "jug" / object_ / "day3")
    loose, eve, night, jug = sorted(index_problems(root, SESSIONS), key=lambda text: "jug" in text)
    assert loose == f"{root}/cup/loose.png: expected class/object/session/frame below {root}"
    assert eve == f"{root}/cup/toy2/eve02: has the number of {root}/cup/toy2/day2"
    assert night == f"{root}/cup/toy2/night: expected a session, a folder whose name ends in its number"
    assert jug == f"{root}/jug: class jug has no test image: none of its sessions is in test_sessions"


def test_a_class_that_is_listed_but_not_there_is_named(tmp_path):
    text = CLASSES + 'classes = ["cat", "dgo"]\n'
    (problem, *_) = index_problems(by_class(tmp_path), text)
    assert problem == f"{tmp_path}/dgo: cannot be read as a folder: No such file or directory"


# Mistakes in the file


def test_all_problems_of_a_file_are_told_at_once_with_their_lines(tmp_path):
    text = 'layuot = "class"\ntest_fraction = 2.0\nimage_size = [16]\ntask_classes = 0\ntitle = ""\n'
    text += 'classes = ["a", "a"]\n'
    problems = file_problems(by_class(tmp_path), text)
    assert problems == [
        ":6: classes = ['a', 'a']: expected a list of different names of folders",
        ":3: image_size = [16]: expected pixels from 1 to 4096, such as 64, or [height, width]",
        ': layout is missing: expected "class" or "class/object/session"',
        f":1: unknown key 'layuot': did you mean 'layout'? known: {', '.join(sorted(dataset_file._CHECKS))}",
        ":4: task_classes = 0: expected a whole number from 1",
        ":2: test_fraction = 2.0: expected a number between 0 and 1, such as 0.2",
        ":5: title = '': expected a text",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (CLASSES + "task_classes", "is not valid TOML: "),
        (CLASSES.replace("task_classes = 2", "task_classes = 5"), ":5: task_classes = 5: there are only 4"),
        (CLASSES.replace("test_fraction = 0.25", ""), ": test_fraction is missing: expected a number"),
        (CLASSES + "test_sessions = [1]", ':6: test_sessions means nothing with layout = "class"'),
        (CLASSES.replace("image_size = 16", "image_size = true"), ":4: image_size = True: expected pixels"),
        (CLASSES + 'images = "absent"', "absent: cannot be read as a folder"),
        (SESSIONS.replace("[2]", "[2, 2]"), ":3: test_sessions = [2, 2]: expected a list of different"),
        (SESSIONS.replace("[2]", "[false]"), ":3: test_sessions = [False]: expected a list"),
    ],
)
def test_a_mistake_in_a_file_is_told_with_what_was_expected(tmp_path, text, problem):
    (told,) = file_problems(by_class(tmp_path), text)
    assert problem in told


def test_a_folder_without_classes_is_told(tmp_path):
    (problem,) = file_problems(tmp_path, CLASSES)
    assert problem == f": {tmp_path}: holds no folder; expected one for each class"


@pytest.mark.parametrize("name", ["pest", "../pets", "pets/", ""])
def test_an_unknown_name_is_told_with_the_nearest_and_what_would_describe_it(here, name):
    described(here / "data" / "pets", CLASSES) if by_class(here / "data" / "pets") else None
    with pytest.raises(InputError) as caught:
        find.get(name)
    assert f"unknown dataset '{name}'" in str(caught.value)
    if name == "pest":
        assert "did you mean 'pets'?" in str(caught.value)
        assert "data/pest/dataset.toml would describe one of your own" in str(caught.value)


def test_an_unreadable_file_is_told(tmp_path):
    with pytest.raises(InputError, match="is no UTF-8 text"):
        (tmp_path / dataset_file.NAME).write_bytes(b"title = '\xff'")
        find.get("pets", tmp_path)


def test_the_order_of_the_files_on_disk_does_not_matter(tmp_path, monkeypatch):
    file = described(by_class(tmp_path), CLASSES)
    frame = index(file).dirmap
    scandir = os.scandir

    class Reversed(list):
        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

    monkeypatch.setattr(image_folder.os, "scandir", lambda path: Reversed(reversed(list(scandir(path)))))
    assert index(file).dirmap.equals(frame)


def test_a_run_on_broken_or_missing_images_ends_with_what_to_do(here, capsys):
    root = by_class(here / "data" / "birds")
    (root / "dataset.toml").write_text(CLASSES)
    assert main(["index", "birds", "--out", "lists"]) == 0
    (root / "cat" / "0.png").write_text("no image")
    command = ["run", "birds/class_iid", "--agent", "finetune", "--no-pretrained", "--lists", "lists"]
    assert benchmarks(command) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2 and "cat/0.png" in told[0]
    remedy = "error: mend or delete broken images, then index the remaining ones: lethe data index birds"
    assert told[1].startswith(f"{remedy} --out lists; to leave broken ones out")
    (root / "cat" / "0.png").unlink()
    assert benchmarks(command) == 2
    told = capsys.readouterr().err.splitlines()
    assert "1 of 32 images are missing below" in told[0] and told[-1].startswith(f"{remedy} --out lists")


@pytest.mark.parametrize(
    ("dataset", "told"),
    [
        ("birds", "lethe data index birds --root here --out lists"),
        ("digits", "lethe data draw digits --root here"),
        ("toybox", "lethe data prepare toybox --root DOWNLOADED --out here"),
        ("core50", "core50_350x350.zip"),
    ],
)
def test_images_come_back_by_another_command_for_each_kind_of_dataset(here, dataset, told):
    described(by_class(here / "here"), CLASSES)
    root = Path("here") if dataset == "birds" else Path("elsewhere")
    located = find.Located(find.get(dataset, root), Path("here"), Path("lists"))
    assert told in prepare.remedy(located)


def test_a_remedy_is_known_for_every_dataset():
    assert all(prepare.remedy(find.locate(name, Path("here"))) for name in catalogue.NAMES)


def counted_reads(monkeypatch) -> list[Path]:
    """The dataset.toml files that are read from now on."""
    reads = []
    read_text = dataset_file.read_text
    monkeypatch.setattr(
        dataset_file, "read_text", lambda path, *limit: reads.append(path) or read_text(path, *limit)
    )
    return reads


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_run_reads_the_description_of_a_dataset_once(here, monkeypatch, workers):
    root = by_class(here / "data" / "pets")
    (root / "dataset.toml").write_text(CLASSES)
    assert main(["index", "pets"]) == 0
    reads = counted_reads(monkeypatch)
    command = ["run", "pets/class_iid", "--agent", "finetune", "er", "--no-pretrained", "--runs", "2"]
    assert benchmarks([*command, "--workers", workers]) == 0
    assert reads == [Path("data/pets/dataset.toml")]


def test_a_worker_is_handed_the_dataset_and_reads_no_description(here):
    root = by_class(here / "data" / "pets")
    (root / "dataset.toml").write_text(CLASSES)
    assert main(["index", "pets"]) == 0
    trial = Trial.create("pets", "class_iid", "finetune", pretrained=False)
    prepare_run(trial, 0, Places(), Machine())
    (root / "dataset.toml").unlink()
    received = pickle.loads(pickle.dumps(trial))
    assert received.spec == trial.spec
    assert run(received, 0, Places(), Machine())["run"] == 0


@pytest.mark.parametrize("command", [["index"], ["tasks", "--runs", "1"], ["check"], ["show"]])
def test_a_data_command_reads_the_description_once(indexed, monkeypatch, command):
    reads = counted_reads(monkeypatch)
    name, *options = command
    paradigm = ["class_iid"] if name == "show" else []
    assert main([name, "pets", *paradigm, *options]) == 0
    assert len(reads) == 1
