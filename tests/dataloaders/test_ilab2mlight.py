"""iLab-2M-Light: the published draws exactly, images placed whole or not at all, and every shortage named."""

import errno
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lethe.benchmarks.__main__ import main as benchmarks
from lethe.common.errors import InputError
from lethe.dataloaders.__main__ import main
from lethe.dataloaders.datasets import ilab2mlight
from lethe.dataloaders.datasets.ilab2mlight import FOLDER, PARTS, Sizes
from lethe.dataloaders.index import dirmap, find, link_or_copy
from lethe.dataloaders.tasks import tasklists
from tests import made_ilab

ROOT = Path(__file__).parents[2]
SMALL = Sizes(objects=2, sessions=4, images=3)


@pytest.fixture(scope="module")
def dump(tmp_path_factory) -> Path:
    return made_ilab.write(tmp_path_factory.mktemp("ilab"), SMALL)


@pytest.fixture
def small(monkeypatch) -> None:
    """A protocol of few and small images."""
    monkeypatch.setattr(ilab2mlight, "SIZES", SMALL)
    spec = replace(
        find.get("ilab2mlight"),
        test_sessions=(4,),
        iid_task_images=36,
        task_instances=14,
        image_size=(16, 16),
    )
    monkeypatch.setattr(ilab2mlight, "DATASET", spec)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".link_or_copy.lock"
    }


def parsed(names: list[str]) -> pd.DataFrame:
    frame, misnamed = ilab2mlight.parse(sorted(names))
    assert not misnamed
    return frame


# The published steps once more, in plain Python, row by row.


def oracle_row(name: str) -> dict:
    row = {"class": name[: name.index("-")], "im_path": f"{FOLDER}/{name}"}
    for part, letter in PARTS.items():
        begin = name.index("-" + letter) + 2
        row[part] = int(name[begin : name.index("-", begin)])
    return row


def oracle_reindex(rows: list[dict]) -> list[dict]:
    rows = sorted(rows, key=lambda row: (row["class"], *(row[part] for part in PARTS), row["im_path"]))
    objects, sessions, counts = {}, {}, {}
    done = []
    for row in rows:
        numbers = objects.setdefault(row["class"], {})
        object_ = numbers.setdefault(row["instance"], len(numbers) + 1)
        numbers = sessions.setdefault((row["class"], row["instance"]), {})
        session = numbers.setdefault(row["background"], len(numbers) + 1)
        key = (row["class"], object_, session)
        counts[key] = counts.get(key, 0) + 1
        done.append({**row, "object": object_, "session": session, "im_num": counts[key]})
    return done


def session_of(row: dict) -> tuple:
    return row["class"], row["object"], row["session"]


def oracle_sample(rows: list[dict]) -> list[dict]:
    generator = random.Random(0)
    rows = oracle_reindex([row for row in rows if row["class"] != "semi"])
    sizes = {}
    for row in rows:
        sizes[session_of(row)] = sizes.get(session_of(row), 0) + 1
    rows = oracle_reindex([row for row in rows if sizes[session_of(row)] >= 15])
    sessions = {}
    for row in rows:
        sessions.setdefault((row["class"], row["object"]), set()).add(row["session"])
    rows = oracle_reindex([row for row in rows if len(sessions[row["class"], row["object"]]) >= 8])
    rows = [row for row in rows if row["session"] <= 8 and row["object"] <= 28]
    largest = {}
    for row in rows:
        largest[session_of(row)] = max(row["im_num"], largest.get(session_of(row), 0))
    starts = {key: generator.randint(1, largest[key] - 15 + 1) for key in sorted(largest)}
    return oracle_reindex(
        [row for row in rows if starts[session_of(row)] <= row["im_num"] <= starts[session_of(row)] + 14]
    )


def test_the_sample_is_that_of_the_published_steps():
    names = made_ilab.names(objects=34)
    sampled = ilab2mlight.sample(parsed(names), Sizes())
    expected = oracle_sample([oracle_row(name) for name in names])
    assert len(sampled) == 47040
    assert sampled.to_dict("records") == [{name: row[name] for name in sampled.columns} for row in expected]


def test_reindexing_is_that_of_the_published_helper():
    names = made_ilab.names(3, objects=4, sessions=5, images=6)
    shuffled = parsed(names).sample(frac=1, random_state=0).sort_values("im_path", kind="stable")
    found = ilab2mlight.reindex(shuffled.sample(frac=1, random_state=1))
    expected = oracle_reindex([oracle_row(name) for name in names])
    assert found.to_dict("records") == [{name: row[name] for name in found.columns} for row in expected]


def test_images_that_differ_in_focus_alone_are_in_the_order_of_their_names():
    names = [f"car-i0001-b0001-c00-r00-l0-f{focus}.jpg" for focus in (2, 0, 1)]
    assert ilab2mlight.reindex(parsed(names))["im_path"].tolist() == [f"{FOLDER}/{n}" for n in sorted(names)]


def test_sampling_neither_reads_nor_changes_global_random_state():
    frame = parsed(made_ilab.names(objects=34))
    random.seed(5)
    before = random.getstate()
    first = ilab2mlight.sample(frame, Sizes())
    assert random.getstate() == before
    random.seed(6)
    assert ilab2mlight.sample(frame, Sizes()).equals(first)


@pytest.mark.parametrize(
    "name",
    [
        "car.jpg",
        "lorry-i0001-b0001-c00-r00-l0-f0.jpg",
        "car-i-b0001-c00-r00-l0-f0.jpg",
        "car-i0001-b0001-c00-r00-f0.jpg",
        "car-i0001-b0x01-c00-r00-l0-f0.jpg",
        "car-i0001-b0001-c00-r00-l0.jpg",
        "car-i1234567890-b0001-c00-r00-l0-f0.jpg",
        "car-ï0001-b0001-c00-r00-l0-f0.jpg",
    ],
)
def test_a_name_of_another_form_does_not_parse(name):
    good = made_ilab.name("car", 1, 2, 3)
    frame, misnamed = ilab2mlight.parse([name, good])
    assert misnamed == [name]
    assert frame["im_path"].tolist() == [f"{FOLDER}/{good}"]


def test_numbers_come_from_the_first_occurrence_of_their_letter():
    frame, _ = ilab2mlight.parse(["car-i12-b34-c56-r78-l9-i99-b99-l99-f0.jpg"])
    assert frame.iloc[0][list(PARTS)].tolist() == [12, 34, 56, 78, 9]


def test_a_class_with_too_few_objects_or_sessions_is_named():
    frame = parsed([name for name in made_ilab.names(objects=34) if not name.startswith("bus-")])
    some_sessions = frame["background"] < 200
    frame = frame[(frame["class"] != "tank") | some_sessions]
    with pytest.raises(InputError) as caught:
        ilab2mlight.sample(frame, Sizes())
    bus, tank = caught.value.problems
    assert bus == (
        "class bus: 0 of its 0 objects have at least 8 sessions (backgrounds) of at least 15 images; "
        "expected 28 or more"
    )
    assert tank.startswith("class tank: ") and "of its 34 objects" in tank


# From files to files


def test_prepare_makes_links_a_dirmap_and_says_so(dump, small, tmp_path, capsys):
    out, lists = tmp_path / "out", tmp_path / "lists"
    command = ["prepare", "ilab2mlight", "--root", str(dump), "--out", str(out), "--lists", str(lists)]
    assert main(command) == 0
    told = capsys.readouterr().out
    assert "900 images indexed, 336 of them sampled" in told
    assert f"336 images are hard links in {out}" in told
    path = lists / "ilab2mlight_dirmap.csv"
    header = ",Unnamed: 0,class,object,session,im_num,im_path,instance,background,camera,rotation,lighting"
    first, row, *_ = path.read_text().splitlines()
    assert first == header
    assert row.startswith("0,0,boat,1,1,1,boat/obj_1/sess_1/boat-i0003-b0007-c0")
    frame = dirmap.read(path)
    assert dirmap.fingerprint(frame) == dirmap.fingerprint(ilab2mlight.index(out))
    for image in frame["im_path"]:
        assert (out / image).samefile(dump / FOLDER / Path(image).name)


def test_where_links_cannot_be_made_images_are_copied(dump, small, tmp_path, monkeypatch):
    linked = ilab2mlight.prepare(dump, tmp_path / "linked", None)

    def refuse(source, target):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    copied = ilab2mlight.prepare(dump, tmp_path / "copied", None)
    assert f"336 images were copied to {tmp_path / 'copied'}" in copied.notes[1]
    assert copied.dirmap.equals(linked.dirmap)
    assert contents(tmp_path / "copied") == contents(tmp_path / "linked")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "copied").rglob("*.jpg")}
    inodes = {path: path.stat().st_ino for path in before}
    ilab2mlight.prepare(dump, tmp_path / "copied", None)
    assert {path: path.stat().st_ino for path in before} == inodes, "what is there is kept"


def test_a_file_that_is_not_its_source_is_replaced(dump, small, tmp_path):
    frame = ilab2mlight.prepare(dump, tmp_path, None).dirmap
    victim = tmp_path / frame["im_path"][7]
    victim.unlink()
    victim.write_bytes(b"half an image")
    ilab2mlight.prepare(dump, tmp_path, None)
    assert victim.samefile(dump / FOLDER / victim.name)


def part_of(dump: Path, folder: Path) -> Path:
    """A download that lacks the first object of the first class."""
    (folder / FOLDER).mkdir(parents=True)
    for path in (dump / FOLDER).iterdir():
        if not path.name.startswith("boat-i0003"):
            os.link(path, folder / FOLDER / path.name)
    return folder


@pytest.mark.parametrize("linked", [True, False])
def test_what_a_download_that_was_not_whole_left_is_removed(linked, dump, small, tmp_path, monkeypatch):
    monkeypatch.setattr(link_or_copy, "_can_link", lambda source, out: linked)
    out = tmp_path / "out"
    ilab2mlight.prepare(part_of(dump, tmp_path / "part"), out, None)
    whole = ilab2mlight.prepare(dump, out, None)
    assert whole.notes[2].endswith(f"images of an earlier sample were removed from {out}")
    assert not whole.problems
    assert sorted(contents(out)) == sorted(whole.dirmap["im_path"])
    assert ilab2mlight.index(out).equals(whole.dirmap)
    assert len(list((dump / FOLDER).iterdir())) == 900, "the originals are kept"
    assert len(ilab2mlight.prepare(dump, out, None).notes) == 2


def test_files_that_are_not_of_the_download_are_named_and_kept(dump, small, tmp_path, capsys):
    out, lists = tmp_path / "out", tmp_path / "lists"
    frame = ilab2mlight.prepare(dump, out, None).dirmap
    folder = (out / frame["im_path"][0]).parent
    (folder / "mine.jpg").write_bytes(b"mine")
    (folder / made_ilab.name("boat", 3, 99, 0)).write_bytes(b"mine too")
    other = next((dump / FOLDER).glob("van-*")).name
    (folder / other).write_bytes(b"of another size")
    command = ["prepare", "ilab2mlight", "--root", str(dump), "--out", str(out), "--lists", str(lists)]
    assert main(command) == 1
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 3 and f"problem: {folder / 'mine.jpg'}: is not of the sample" in "".join(told)
    assert (folder / "mine.jpg").read_bytes() == b"mine"
    (folder / "mine.jpg").unlink()
    with pytest.raises(
        InputError, match="is not where `lethe data prepare` puts it; repeat that: lethe data"
    ):
        ilab2mlight.index(out)


def test_a_download_of_links_is_told_that_they_are_not_followed(dump, tmp_path):
    (tmp_path / FOLDER).mkdir()
    for path in sorted((dump / FOLDER).iterdir())[:3]:
        (tmp_path / FOLDER / path.name).symlink_to(path)
    with pytest.raises(InputError, match=r"no \.jpg file in it, but 3 links, which are not followed"):
        ilab2mlight.prepare(tmp_path, tmp_path / "out", None)


KILLED = """
import errno, os, sys, time
from pathlib import Path
from lethe.dataloaders.index import link_or_copy

def slow(function):
    def run(*arguments):
        time.sleep(0.002)
        return function(*arguments)
    return run

def refuse(*arguments):
    raise OSError(errno.EXDEV, "Invalid cross-device link")

os.link = slow(os.link) if sys.argv[3] == "link" else refuse
os.replace = slow(os.replace)
pairs = [line.split() for line in sys.stdin]
link_or_copy.files(Path(sys.argv[1]), [a for a, _ in pairs], Path(sys.argv[2]), [b for _, b in pairs], 2)
"""


@pytest.mark.parametrize("how", ["link", "copy"])
def test_a_killed_prepare_repeated_ends_in_the_same_files(how, dump, small, tmp_path):
    """Killed at several moments; between them no image is there half."""
    whole = ilab2mlight.prepare(dump, tmp_path / "whole", None).dirmap
    expected = contents(tmp_path / "whole")
    out = tmp_path / "out"
    pairs = "".join(f"{FOLDER}/{Path(path).name} {path}\n" for path in whole["im_path"])
    for share in (0, 0.3, 0.7, 2):
        command = [sys.executable, "-c", KILLED, dump, out, how]
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, text=True)
        process.stdin.write(pairs)
        process.stdin.close()
        while len(list(out.rglob("*.jpg"))) <= share * 336 and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        found = contents(out)
        final = {name for name in found if not Path(name).name.startswith(".")}
        assert all(found[name] == expected[name] for name in final)
        assert len(final) == 336 or (share < 1 and len(final) < 336)
    assert contents(out) == expected
    assert ilab2mlight.index(out).equals(whole)


def test_a_full_disk_is_named_and_what_was_placed_stays(dump, small, tmp_path, monkeypatch):
    real, calls = os.link, []

    def fill_up(source, target):
        calls.append(target)
        if len(calls) > 100:
            raise OSError(errno.ENOSPC, "No space left on device", source, None, target)
        real(source, target)

    monkeypatch.setattr(os, "link", fill_up)
    with pytest.raises(
        InputError, match=r"\.jpg: cannot be made: No space left on device; finished files are kept"
    ):
        ilab2mlight.prepare(dump, tmp_path, 1)
    monkeypatch.setattr(os, "link", real)
    assert 90 < len(list(tmp_path.rglob("*.jpg"))) <= 100
    ilab2mlight.prepare(dump, tmp_path, 1)
    assert len(list(tmp_path.rglob("*.jpg"))) == 336


def test_a_disk_that_fills_up_leaves_no_half_copy(dump, small, tmp_path, monkeypatch):
    monkeypatch.setattr(link_or_copy, "_can_link", lambda source, out: False)

    def half(source, target):
        Path(target).write_bytes(Path(source).read_bytes()[:50])
        raise OSError(errno.ENOSPC, "No space left on device", target)

    monkeypatch.setattr(link_or_copy.shutil, "copy2", half)
    with pytest.raises(InputError, match="No space left"):
        ilab2mlight.prepare(dump, tmp_path, 1)
    assert contents(tmp_path) == {}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_named_by_the_system(dump, small, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="Permission denied"):
        ilab2mlight.prepare(dump, tmp_path / "out", None)


def test_a_read_only_folder_is_named(dump, small, tmp_path, monkeypatch, capsys):
    def refuse(*arguments, **options):
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "out"))

    monkeypatch.setattr(Path, "mkdir", refuse)
    command = ["prepare", "ilab2mlight", "--root", str(dump), "--out", str(tmp_path / "out")]
    assert main(command) == 2
    assert capsys.readouterr().err == f"error: {tmp_path / 'out'}: cannot be written: Permission denied\n"


def test_a_few_misnamed_files_are_passed_over_and_told(dump, small, tmp_path):
    folder = tmp_path / FOLDER
    folder.mkdir()
    for path in (dump / FOLDER).iterdir():
        os.link(path, folder / path.name)
    whole = ilab2mlight.prepare(tmp_path, tmp_path / "one", None)
    (folder / "holiday.jpg").touch()
    (folder / "notes.txt").touch()
    (folder / made_ilab.name("car", 1, 1, 1)).symlink_to("/etc/hostname")
    told = ilab2mlight.prepare(tmp_path, tmp_path / "two", None)
    assert told.notes[-1] == "1 names do not parse and were skipped: holiday.jpg"
    assert told.dirmap.equals(whole.dirmap)
    for number in range(20):
        (folder / f"holiday{number:02d}.jpg").touch()
    with pytest.raises(
        InputError, match=r"21 of 921 names do not parse, more than 1%.*got holiday.jpg, holiday00"
    ):
        ilab2mlight.prepare(tmp_path, tmp_path / "three", None)
    assert not (tmp_path / "three").exists()


def test_a_root_without_the_dump_is_told_what_was_looked_for(tmp_path):
    with pytest.raises(InputError, match=f"{FOLDER}: cannot be read as a folder.*iLab-2M-Light was unpacked"):
        ilab2mlight.prepare(tmp_path, tmp_path, None)
    (tmp_path / FOLDER).mkdir()
    with pytest.raises(InputError, match=r"no \.jpg file in it"):
        ilab2mlight.prepare(tmp_path, tmp_path, None)


def test_images_are_found_by_one_look_at_the_folder(dump, monkeypatch):
    """No file's status is asked for: there are two million."""

    def never(*arguments, **options):
        raise AssertionError("a look at a file")

    monkeypatch.setattr(os, "stat", never)
    monkeypatch.setattr(Path, "stat", never)
    assert len(ilab2mlight.scan(dump / FOLDER)) == 900


def test_an_index_of_an_empty_tree_names_the_command(tmp_path):
    with pytest.raises(InputError, match="lethe data prepare ilab2mlight"):
        ilab2mlight.index(tmp_path)


def test_the_lists_of_the_protocol_have_its_sizes():
    placed = ilab2mlight.dirmap(ilab2mlight.sample(parsed(made_ilab.names(objects=34)), Sizes()))
    spec = find.get("ilab2mlight")
    source = tasklists.Source(placed, spec)
    assert (len(source.split.train), len(source.split.test)) == (35280, 11760)
    statistics = dirmap.statistics(placed)
    assert set(statistics.images_per_class.values()) == {3360}
    assert set(statistics.objects_per_class.values()) == {28}
    assert np.array_equal(placed["Unnamed: 0"], np.arange(47040))


def test_from_files_to_a_trained_agent(dump, small, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["prepare", "ilab2mlight", "--root", str(dump)]) == 0
    command = ["run", "ilab2mlight/class_instance", "--agent", "finetune", "--no-pretrained"]
    assert benchmarks([*command, "--set", "lr=0.01", "batch_size=9"]) == 0
    (summary,) = Path("results/ilab2mlight/class_instance").rglob("summary.json")
    assert "ilab2mlight/class_instance finetune" in capsys.readouterr().out
    folder = Path("data/lists/ilab2mlight_task_filelists/class_instance/run0/stream")
    lists = tasklists.read(folder)
    assert [len(task.paths) for task in lists.tasks] == [36] * 7
    assert summary.exists()
    with Image.open(Path("data/ilab2mlight") / lists.test_paths[0]) as image:
        assert image.size == (16, 16)
