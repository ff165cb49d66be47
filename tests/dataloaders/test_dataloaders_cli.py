"""The commands of `lethe data`: what they write, print and refuse."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lethe.common.errors import InputError
from lethe.dataloaders import prepare
from lethe.dataloaders.__main__ import main
from lethe.dataloaders.datasets import core50, digits, toybox
from lethe.dataloaders.index import catalogue, dirmap, find
from lethe.dataloaders.index.prepared import Prepared
from lethe.dataloaders.tasks import tasklists

ROOT = Path(__file__).parents[2]


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def images(here) -> Path:
    """Two frames of every CORe50 session, as empty files."""
    for session in range(1, 12):
        for object_ in range(1, 51):
            folder = here / "data" / "core50" / core50.FOLDER / f"s{session}" / f"o{object_}"
            folder.mkdir(parents=True)
            for frame in (10, 11):
                (folder / f"C_{session:02d}_{object_:02d}_{frame:03d}.png").touch()
    return here / "data" / "core50"


def refused(capsys, *arguments: str) -> str:
    """The message of a command that fails as users' mistakes do."""
    assert main(list(arguments)) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert not captured.out
    return captured.err


def test_index_writes_a_dirmap_and_prints_its_statistics(images, capsys):
    assert main(["index", "core50"]) == 0
    path = Path("data/lists/core50_dirmap.csv")
    assert len(dirmap.read(path)) == 1100
    printed = capsys.readouterr().out
    assert "1100 images in 10 classes" in printed
    assert f"written to {path}" in printed


def test_index_takes_a_root_and_an_out_folder(images, here):
    assert main(["index", "core50_mini", "--root", str(images), "--out", "elsewhere"]) == 0
    assert (here / "elsewhere" / "core50_mini_dirmap.csv").exists()
    assert not (here / "dataloaders").exists()


def test_a_failed_index_leaves_the_old_dirmap(images, capsys):
    main(["index", "core50"])
    before = Path("data/lists/core50_dirmap.csv").read_bytes()
    shutil.rmtree(images / core50.FOLDER / "s3" / "o4")
    capsys.readouterr()
    assert "object 4 has no image in session 3" in refused(capsys, "index", "core50")
    assert Path("data/lists/core50_dirmap.csv").read_bytes() == before


def test_tasks_of_core50_need_no_index(here, capsys):
    assert main(["tasks", "core50", "--paradigm", "iid", "instance", "--runs", "2"]) == 0
    folders = sorted(path.parent for path in Path("data/lists").rglob("manifest.json"))
    assert folders == [
        Path("data/lists/core50_task_filelists") / paradigm / f"run{run}" / mode
        for paradigm in ("iid", "instance")
        for run in (0, 1)
        for mode in ("offline", "stream")
    ]
    assert all(tasklists.read(folder).variant == "published" for folder in folders)
    _, iid, instance = capsys.readouterr().out.splitlines()
    assert iid.startswith(
        "iid            5 tasks of 1200 to 1201 images (offline 1201 to 6000), 2250 test images"
    )
    assert instance.startswith("instance       5 tasks of 1200 images")


def test_tasks_prefer_the_dirmap_of_the_out_folder(images, capsys):
    main(["index", "core50", "--out", "mine"])
    assert main(["tasks", "core50", "--out", "mine", "--paradigm", "class_iid", "--runs", "1"]) == 0
    assert "5 tasks of 80 images" in capsys.readouterr().out


def test_tasks_take_a_dirmap_and_a_variant(here, capsys):
    shipped = ROOT / "dataloaders" / "datasets" / "core50_dirmap_sampled.csv"
    command = ["tasks", "core50", "--dirmap", str(shipped), "--variant", "corrected", "--runs", "1"]
    assert main([*command, "--paradigm", "iid"]) == 0
    assert "5 tasks of 1200 images" in capsys.readouterr().out


def test_tasks_of_a_dataset_without_a_dirmap_name_the_command(here, capsys):
    message = refused(capsys, "tasks", "core50_mini", "--out", "mine")
    assert "lethe data index core50_mini --root data/core50_mini --out mine" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tasks", "core5"], "did you mean 'core50'"),
        (["tasks", "core50", "--paradigm", "instances"], "did you mean 'instance'"),
        (["tasks", "core50", "--variant", "correct"], "did you mean 'corrected'"),
        (["tasks", "core50", "--runs", "0"], "--runs 0"),
        (["tasks", "core50", "--dirmap", "absent.csv"], "absent.csv"),
        (["index", "core_50"], "did you mean 'core50'"),
        (["index", "core50", "--root", "absent"], "absent"),
        (["prepare", "toyboxes"], "did you mean 'toybox'"),
        (["prepare", "toybox", "--workers", "0"], "--workers 0"),
        (["prepare", "core50", "--out", "mine"], "used where they are"),
        (["prepare", "digits", "--root", "mine"], "give --out"),
        (["tasks", "toybox"], "lethe data prepare toybox --root data/toybox"),
        (["draw", "digit"], "did you mean 'digits'"),
        (["draw", "core50"], "core50_mini"),
    ],
)
def test_mistakes_are_one_message_and_status_2(here, capsys, arguments, message):
    assert message in refused(capsys, *arguments)
    assert not list(here.iterdir())


def test_a_mistake_ends_the_process_with_status_2_and_no_traceback(here):
    command = [sys.executable, "-m", "dataloaders", "tasks", "core50", "--dirmap", "absent.csv"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "error: absent.csv: cannot be read: No such file or directory\n"


def fake_drawer(monkeypatch) -> list[Path]:
    """Replace the drawing of `digits`, which needs a second, by two small images; returns its calls."""
    calls = []

    def draw(root: Path, seed: int, workers: int | None) -> None:
        calls.append(root)
        for name in ("a.png", "b.png"):
            root.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.zeros((2, 2), np.uint8)).save(root / name)

    def index(root: Path):
        import pandas as pd

        names = sorted(path.name for path in root.iterdir())
        numbers = list(range(len(names)))
        return pd.DataFrame({"class": 1, "object": 0, "session": numbers, "im_num": 1, "im_path": names})

    monkeypatch.setattr(digits, "DATASET", replace(digits.DATASET, draw=draw, index=index))
    return calls


def test_a_generated_dataset_is_drawn_and_indexed_once(here, monkeypatch):
    calls = fake_drawer(monkeypatch)
    root, out = here / "data", here / "lists"
    located = find.locate("digits", root, out)
    assert prepare.ensure_dirmap(located) == out / "digits_dirmap.csv"
    assert dirmap.read(out / "digits_dirmap.csv")["im_path"].tolist() == ["a.png", "b.png"]
    prepare.ensure_dirmap(located)
    assert calls == [root]


def test_a_generated_dataset_that_lost_an_image_is_drawn_again(here, monkeypatch):
    calls = fake_drawer(monkeypatch)
    root = here / "data"
    located = find.locate("digits", root, here / "lists")
    prepare.ensure_dirmap(located)
    (root / "b.png").unlink()
    prepare.ensure_dirmap(located)
    assert len(calls) == 2
    assert (root / "b.png").exists()


def test_a_real_dataset_is_never_drawn(here):
    assert prepare.ensure_dirmap(find.locate("core50", here, here)).name == "core50_dirmap_sampled.csv"
    with pytest.raises(InputError, match="known: core50_mini, digits"):
        prepare.draw(core50.DATASET, here)


def test_prepare_indexes_a_dataset_that_needs_no_more(images, here):
    assert main(["prepare", "core50", "--lists", "prepared"]) == 0
    assert main(["index", "core50", "--out", "indexed"]) == 0
    name = "core50_dirmap.csv"
    assert (here / "prepared" / name).read_bytes() == (here / "indexed" / name).read_bytes()


def test_prepare_draws_a_generated_dataset(here, monkeypatch):
    calls = fake_drawer(monkeypatch)
    assert main(["prepare", "digits", "--out", "mine", "--lists", "lists"]) == 0
    assert calls == [Path("mine")]
    assert dirmap.read(here / "lists" / "digits_dirmap.csv")["im_path"].tolist() == ["a.png", "b.png"]


def test_what_prepare_could_not_do_is_told_and_is_status_1(images, here, monkeypatch, capsys):
    done = Prepared(core50.index(images), {"raw": core50.index(images)}, ("a note",), ("no b",) * 25)
    monkeypatch.setattr(toybox, "DATASET", replace(toybox.DATASET, prepare=lambda root, out, workers: done))
    assert main(["prepare", "toybox", "--lists", "lists"]) == 1
    told = capsys.readouterr()
    assert told.err.splitlines() == ["problem: no b"] * 20 + ["problem: and 5 more"]
    assert "\na note\nwritten to lists/toybox_dirmap.csv\n" in told.out
    written = {path.name for path in (here / "lists").iterdir()}
    assert written == {"toybox_dirmap.csv", "toybox_dirmap_raw.csv"}


def test_every_dataset_of_the_project_can_be_indexed_and_comes_from_somewhere():
    for dataset in map(find.get, catalogue.NAMES):
        assert callable(dataset.index)
        assert dataset.draw or dataset.prepare or dataset.download


def test_a_dataset_file_that_defines_another_name_is_refused(monkeypatch):
    monkeypatch.setattr(digits, "DATASET", toybox.DATASET)
    with pytest.raises(TypeError, match="expected DATASET to be a Dataset named 'digits'"):
        find.get("digits")


def test_finding_one_dataset_imports_no_other():
    script = (
        "import sys; from lethe.dataloaders.index import find; find.get('digits')\n"
        "print([name for name in sys.modules if 'dataloaders.datasets.' in name])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "['lethe.dataloaders.datasets.digits']\n"


@pytest.mark.parametrize(
    "command",
    [
        ["prepare", "cifar100", "--root"],
        ["prepare", "digits", "--out"],
        ["draw", "digits", "--root"],
        ["index", "core50", "--out"],
        ["check", "digits", "--lists"],
        ["tasks", "digits", "--out"],
    ],
)
def test_a_name_that_no_file_can_have_is_one_short_sentence(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*command, "x" * 300]) == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert "cannot be a file or folder: File name too long; give another one" in told and len(told) < 200
    assert not list(tmp_path.iterdir())


def test_names_cannot_command_the_terminal(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["tasks", "core50", "--runs", "1", "--paradigm", "class_iid", "--out", "\x1b[2J"]) == 0
    assert main(["tasks", "core50", "--runs", "1", "--dirmap", "\x1b[2J"]) == 2
    assert main(["index", "\x1b[2J"]) == 2
    told = capsys.readouterr()
    assert "\x1b" not in told.out + told.err and "?[2J" in told.err
