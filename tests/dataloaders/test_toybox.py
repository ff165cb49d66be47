"""Toybox from its videos: the frames of the published call, the published dirmap, nothing half done, nothing lost."""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lethe.benchmarks.__main__ import main as benchmarks
from lethe.common.errors import InputError
from lethe.dataloaders.__main__ import main
from lethe.dataloaders.datasets import toybox
from lethe.dataloaders.index import dirmap, find, video
from tests import made_toybox

ROOT = Path(__file__).parents[2]
PUBLISHED_SHA256 = "787ec8a228cbc35a9c536e5a9b61e95e1423b63951274a1c0fd54423808e31c5"
CLASSES = find.get("toybox").classes


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("toybox") / "tree"
    made_toybox.draw(root)
    return root


@pytest.fixture(scope="module")
def done(tree) -> Path:
    """A folder with `data/toybox` and `lists`, as one undisturbed `prepare` leaves them."""
    here = tree.parent / "done"
    assert main(command(tree, here)) == 1  # the tree lacks most objects
    return here


@pytest.fixture
def small(tree, tmp_path) -> Path:
    """A tree of one object, to be damaged."""
    shutil.copytree(tree / "vehicles", tmp_path / "tree" / "vehicles")
    return tmp_path / "tree" / "vehicles" / "truck_01_pivothead"


def command(root: Path, here: Path) -> list[str]:
    return ["prepare", "toybox", "--root", str(root), "--out", str(here / "data" / "toybox"),
            "--lists", str(here / "lists")]  # fmt: skip


def files(here: Path) -> dict[str, bytes]:
    """Every file but the journal, whose lines come in any order."""
    found = {str(path.relative_to(here)): path for path in here.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if path.name != video.JOURNAL}


def raw_index(sessions: dict[tuple[str, int, int], int], stems: dict[tuple[str, int], str]) -> pd.DataFrame:
    """The index of videos with as many frames as `sessions` tells of (class, object, session)."""
    supercategory = {name: key for key, names in toybox.SUPERCATEGORIES.items() for name in names}
    rows = [
        (CLASSES.index(name) + 1, object_, session, frame,
         f"{supercategory[name]}/{name}_{object_:02d}_pivothead/{stems.get((name, object_), name)}_{object_:02d}"
         f"_pivothead_{toybox.TRANSFORMATIONS[session - 1]}_{frame}.png")
        for (name, object_, session), frames in sessions.items() for frame in range(1, frames + 1)
    ]  # fmt: skip
    raw = pd.DataFrame(sorted(rows), columns=list(dirmap.COLUMNS))
    raw.insert(0, "Unnamed: 0", np.arange(len(raw)))
    return raw


def sessions_of(objects: int, sessions: int, frames: int) -> dict[tuple[str, int, int], int]:
    return {(name, object_, session): frames for name in CLASSES
            for object_ in range(1, objects + 1) for session in range(1, sessions + 1)}  # fmt: skip


def test_the_published_dirmap_follows_from_a_complete_index(tmp_path):
    sessions = {key: frames + sum(key[1:]) % 7 for key, frames in sessions_of(30, 10, 15).items()}
    for missing in (("duck", 6, 4), ("giraffe", 2, 10), ("car", 3, 1)):
        del sessions[missing]
    sessions["cat", 13, 4] = 9
    balanced = toybox.balance(raw_index(sessions, {("cup", 21): "truck"}))
    dirmap.write(balanced, tmp_path / "toybox_dirmap.csv")
    assert dirmap.fingerprint(dirmap.read(tmp_path / "toybox_dirmap.csv")) == PUBLISHED_SHA256
    assert balanced["Unnamed: 0"].iloc[-1] == 53804


def test_a_short_session_is_mirrored_and_the_index_keeps_the_gaps_of_what_is_left_out():
    sessions = sessions_of(3, 2, 6)
    sessions["cup", 2, 1] = 3
    del sessions["mug", 1, 2]
    balanced = toybox.balance(raw_index(sessions, {}), toybox.Rules(objects=3, sessions=2, images=5))
    cup = balanced[balanced["class"] == 1]
    assert cup["object"].unique().tolist() == [1, 2], "the last of three objects is left out"
    short = cup[(cup["object"] == 2) & (cup["session"] == 1)]
    assert [path.rpartition("_")[2] for path in short["im_path"]] == [f"{n}.png" for n in (1, 2, 3, 2, 1)]
    assert short["im_num"].tolist() == [1, 2, 3, 4, 5]
    mug = balanced[balanced["class"] == 2]
    assert mug["im_path"].str.slice(10, 16).unique().tolist() == ["mug_02", "mug_03"], "one is lost already"
    assert mug["object"].unique().tolist() == [1, 2]
    assert balanced["Unnamed: 0"].tolist()[:20] == list(range(20))
    assert mug["Unnamed: 0"].iloc[0] == 30 + 5


def test_an_object_whose_session_is_too_short_to_be_mirrored_is_left_out():
    sessions = sessions_of(1, 1, 15) | {("cup", 1, 1): 7, ("mug", 1, 1): 8}
    balanced = toybox.balance(raw_index(sessions, {}), toybox.Rules(sessions=1))
    assert balanced["class"].unique().tolist() == list(range(2, 13))


def test_prepare_names_what_the_protocol_names(done, capsys):
    table = dirmap.read(done / "lists" / "toybox_dirmap.csv")
    assert table["class"].value_counts().to_dict() == {1: 300, 5: 150, 6: 150, 10: 150}
    folder = done / "data" / "toybox" / "images"
    assert all((folder / path).is_file() for path in table["im_path"])
    cup = table[(table["class"] == 1) & (table["object"] == 2)]
    assert cup["im_path"].iloc[0] == "household/cup_21_pivothead/truck_21_pivothead_rxplus_1.png"
    cat = table[(table["class"] == 6) & (table["session"] == 4)]
    assert [int(path[:-4].rpartition("_")[2]) for path in cat["im_path"]] == [*range(1, 10), *range(8, 2, -1)]
    duck = table.loc[table["class"] == 5, "im_path"].str.slice(8, 15).unique()
    assert duck.tolist() == ["duck_05"], "duck_06 lacks a session"
    raw = dirmap.read(done / "lists" / "toybox_dirmap_unbalanced.csv")
    assert len(raw) == 59 * made_toybox.SECONDS - (made_toybox.SECONDS - made_toybox.SHORT)


def test_frames_are_those_of_the_published_call(tree, done, tmp_path):
    program, _ = video.program()
    folder = done / "data" / "toybox" / "images" / "household" / "cup_21_pivothead"
    for session in ("rxplus", "hodgepodge"):
        stem = f"truck_21_pivothead_{session}"
        source = tree / "households" / "cup_21_pivothead" / f"{stem}.mp4"
        plain = [
            program,
            "-loglevel",
            "error",
            "-i",
            source,
            "-s",
            "224x224",
            "-vf",
            "fps=1",
            f"{stem}_%d.png",
        ]
        subprocess.run(plain, cwd=tmp_path, check=True)
        frames = sorted(path.name for path in tmp_path.glob(f"{stem}_*"))
        assert len(frames) == made_toybox.SECONDS
        assert frames == sorted(path.name for path in folder.glob(f"{stem}_*"))
        assert all((tmp_path / name).read_bytes() == (folder / name).read_bytes() for name in frames)


def test_index_alone_makes_the_same_dirmap(done, tmp_path):
    assert main(["index", "toybox", "--root", str(done / "data" / "toybox"), "--out", str(tmp_path)]) == 0
    name = "toybox_dirmap.csv"
    assert (tmp_path / name).read_bytes() == (done / "lists" / name).read_bytes()


def test_both_spellings_of_household_give_the_same_paths(tree, tmp_path):
    for spelling in ("household", "households"):
        (tmp_path / spelling).mkdir()
        (tmp_path / spelling / spelling).symlink_to(tree / "households")
    plural, singular = (toybox.find_videos(tmp_path / name)[0] for name in ("households", "household"))
    assert [clip.target for clip in plural] == [clip.target for clip in singular]
    assert plural[0].target == "household/cup_01_pivothead/cup_01_pivothead_rxplus"


def test_what_is_extracted_is_kept(tree, done, capsys):
    images = done / "data" / "toybox" / "images"
    before = {path: path.stat().st_mtime_ns for path in images.rglob("*.png")}
    assert main(command(tree, done)) == 1
    assert "59 videos were done already" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in images.rglob("*.png")} == before


def test_a_lost_frame_and_a_changed_video_are_extracted_again(small, tmp_path):
    clips, _ = toybox.find_videos(small.parents[1])
    whole = video.extract(clips[:2], tmp_path / "images", 2)
    assert (whole.frames, whole.kept, whole.broken) == (32, 0, ())
    clips[0].frame(tmp_path / "images", 5).unlink()
    made_toybox.encode({clips[1].video: 4})
    again = video.extract(clips[:2], tmp_path / "images", 2)
    assert (again.frames, again.kept) == (20, 0)
    assert clips[0].frame(tmp_path / "images", 5).exists()
    left = [number for number in range(1, 17) if clips[1].frame(tmp_path / "images", number).exists()]
    assert left == [1, 2, 3, 4], "the new video is shorter"


def damage(folder: Path) -> dict[str, str]:
    """Damage videos in as many ways; returns what each one's message must say."""
    program, _ = video.program()

    def rewrite(path: Path, *options: str) -> bytes:
        copy = path.with_name("copy.mp4")
        subprocess.run([program, "-loglevel", "error", "-i", path, *options, copy], check=True)
        content = copy.read_bytes()
        copy.unlink()
        return content

    stem = folder / folder.name
    videos = {session: stem.with_name(f"{stem.name}_{session}.mp4") for session in toybox.TRANSFORMATIONS}
    start_first = rewrite(videos["rxplus"], "-c", "copy", "-movflags", "+faststart")
    videos["rxplus"].write_bytes(start_first[: len(start_first) * 2 // 3])
    end_last = videos["ryplus"].read_bytes()
    videos["ryplus"].write_bytes(end_last[: len(end_last) * 2 // 3])
    videos["rzplus"].write_bytes(b"")
    videos["tx"].write_text("this is no video\n")
    subprocess.run([program, "-loglevel", "error", "-y", "-f", "lavfi", "-i", "sine=duration=3", videos["ty"]],
                   check=True)  # fmt: skip
    return {"rxplus": "truncated", "ryplus": "moov atom", "rzplus": "broken", "tx": "broken", "ty": "stream"}


def test_broken_videos_are_named_and_counted_and_the_rest_is_done(tree, done, tmp_path, capsys):
    shutil.copytree(tree, tmp_path / "tree")
    messages = damage(tmp_path / "tree" / "vehicles" / "truck_01_pivothead")
    here = shutil.copytree(done, tmp_path / "here")
    shutil.rmtree(here / "data" / "toybox" / "images" / "vehicles")
    assert main(command(tmp_path / "tree", here)) == 1
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "problem: 5 of 59 videos could not be extracted:"
    for line, (session, message) in zip(told[1:6], sorted(messages.items()), strict=True):
        assert f"truck_01_pivothead_{session}.mp4: " in line and message in line
    table = dirmap.read(here / "lists" / "toybox_dirmap.csv")
    assert table["class"].value_counts().to_dict() == {1: 300, 5: 150, 6: 150}
    folder = here / "data" / "toybox" / "images" / "vehicles" / "truck_01_pivothead"
    assert {path.name.split("_")[3] for path in folder.iterdir()} == {*toybox.TRANSFORMATIONS} - {*messages}
    for session in messages:  # the download is repeated
        name = f"vehicles/truck_01_pivothead/truck_01_pivothead_{session}.mp4"
        shutil.copy(tree / name, tmp_path / "tree" / name)
    main(command(tmp_path / "tree", here))
    assert files(here) == files(done)


@pytest.mark.parametrize(
    "script", ["ffconcat version 1.0\nfile {name}\n", "#EXTM3U\n#EXTINF:9,\n{name}\n#EXT-X-ENDLIST\n"]
)
def test_a_script_that_names_another_video_is_no_video(script, small, tmp_path):
    """Of its own accord, ffmpeg tells a file's kind by its content and follows what a script names."""
    whole, *_ = sorted(small.rglob("*_tx.mp4"))
    path = whole.with_name("script.mp4")
    path.write_text(script.format(name=whole.name))
    found = video.extract([video.Clip(path, "x/script")], tmp_path / "out")
    assert found.frames == 0 and len(found.broken) == 1 and str(path) in found.broken[0]
    assert not list((tmp_path / "out").rglob("*.png"))


@pytest.mark.parametrize("place", ["video", "journal"])
def test_a_pipe_is_told_at_once(place, small, tmp_path):
    path = next(small.rglob("*_tx.mp4")) if place == "video" else tmp_path / "out" / "images" / video.JOURNAL
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    told = (
        "_tx.mp4: expected a file" if place == "video" else "extracted.tsv: cannot be read: expected a file"
    )
    with pytest.raises(InputError, match=told):
        toybox.prepare(small.parents[1], tmp_path / "out")


def test_a_damaged_video_that_decodes_to_its_end_is_kept_and_named(small, tmp_path):
    path = small / "truck_01_pivothead_tx.mp4"
    content = bytearray(path.read_bytes())
    middle = content.index(b"mdat") + 3000
    content[middle : middle + 40] = bytes(40)
    path.write_bytes(content)
    found = video.extract([video.Clip(path, "a/b")], tmp_path / "images")
    assert found.frames == made_toybox.SECONDS and not found.broken
    assert len(found.damaged) == 1 and found.damaged[0].startswith(f"{path}: damaged")


def empty_videos(root: Path, objects: int) -> list[Path]:
    """Empty files in the layout of `objects` cats."""
    paths = [
        root / "animals" / f"cat_{number:02d}_pivothead" / f"cat_{number:02d}_pivothead_{name}.mp4"
        for number in range(1, objects + 1)
        for name in (*toybox.TRANSFORMATIONS, "absent", "present")
    ]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return paths


def test_a_few_misnamed_videos_are_problems_and_many_are_an_error(tmp_path):
    paths = empty_videos(tmp_path, objects=20)
    (paths[0].parent / "._hidden.mp4").touch()
    (paths[0].parent / "truck_01_pivothead_tx.mp4").touch()
    paths[1].rename(paths[1].with_name("cat_01_pivothead_spin.mp4"))
    clips, problems = toybox.find_videos(tmp_path)
    assert len(clips) == 199
    spin, truck = problems[:2]
    assert "cat_01_pivothead_spin.mp4: expected a name that ends in one of rxplus, " in spin
    assert "truck_01_pivothead_tx.mp4: cat_01_pivothead_tx.mp4 is the video of tx already" in truck
    assert problems[2:4] == [f"{tmp_path}: no video of cup 1 to 30", f"{tmp_path}: no video of mug 1 to 30"]
    assert f"{tmp_path}: no video of cat 21 to 30" in problems
    paths[2].rename(paths[2].with_name("cat\t01_rzplus.mp4"))
    with pytest.raises(InputError) as caught:
        toybox.find_videos(tmp_path)
    assert caught.value.problems[0] == "3 of 241 videos have names that do not fit:"
    assert "cannot be printed" in str(caught.value)


def test_a_folder_without_toybox_is_refused(tmp_path, capsys):
    assert main(command(tmp_path, tmp_path)) == 2
    assert (
        "no Toybox videos: none of household, animals, vehicles is a folder in it" in capsys.readouterr().err
    )
    assert not list(tmp_path.iterdir())


def test_without_a_complete_object_there_is_no_dirmap(small, tmp_path, capsys):
    for path in small.glob("*_t?.mp4"):
        path.write_text("this is no video\n")
    assert main(command(small.parents[1], tmp_path)) == 2
    told = capsys.readouterr().err
    assert "3 of 10 videos could not be extracted:" in told and "truck_01_pivothead_ty.mp4: broken" in told
    assert "no object has 15 frames of each of its 10 sessions" in told
    assert not (tmp_path / "lists").exists()


def test_sessions_with_a_hole_are_refused_by_the_index(done, tmp_path):
    images = shutil.copytree(done / "data" / "toybox" / "images" / "animals", tmp_path / "images" / "animals")
    (images / "cat_13_pivothead" / "cat_13_pivothead_tx_4.png").unlink()
    with pytest.raises(InputError, match="expected frames 1 to 15 of one video of tx, got others"):
        toybox.index(tmp_path)


def test_an_output_that_cannot_be_written_is_told_once(small, tmp_path, capsys):
    (tmp_path / "data").write_text("a file where a folder must be\n")
    assert main(command(small.parents[1], tmp_path)) == 2
    assert f"error: {tmp_path}/data/toybox/images: cannot be written: " in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_output_is_told_once(small, tmp_path, capsys):
    (tmp_path / "data" / "toybox").mkdir(parents=True)
    (tmp_path / "data" / "toybox").chmod(0o555)
    assert main(command(small.parents[1], tmp_path)) == 2
    assert "cannot be written: Permission denied" in capsys.readouterr().err


def test_a_full_disk_stops_everything_and_loses_nothing(small, tmp_path, monkeypatch):
    """The program fails as it does on a full disk: from the fourth video on, after half a frame."""
    clips, _ = toybox.find_videos(small.parents[1])
    real, version = video.program()
    fake = tmp_path / "ffmpeg"
    fake.write_text(
        f'#!/bin/sh\n[ $(ls -d {tmp_path}/images/vehicles/*/*_1.png 2>/dev/null | wc -l) -lt 3 ] && exec {real} "$@"\n'
        "printf half > 1.png\necho '[image2 @ 0x1] Error muxing: No space left on device' >&2\nexit 228\n"
    )
    fake.chmod(0o755)
    monkeypatch.setattr(video, "program", lambda: (str(fake), version))
    with pytest.raises(InputError, match="cannot be written: Error muxing: No space left on device"):
        video.extract(clips, tmp_path / "images", 1)
    assert not (tmp_path / "images" / ".extracting").exists()
    monkeypatch.setattr(video, "program", lambda: (real, version))
    again = video.extract(clips, tmp_path / "images", 2)
    assert (again.kept, again.frames, again.broken) == (3, 7 * made_toybox.SECONDS, ())


def test_a_stop_amid_the_renames_is_seen_by_the_index_and_mended(small, tmp_path, monkeypatch):
    clips, _ = toybox.find_videos(small.parents[1])
    replace, calls = Path.replace, []

    def stop_at_the_sixth(path, target):
        calls.append(path)
        if len(calls) == 6:
            raise OSError("stopped")
        return replace(path, target)

    with monkeypatch.context() as patch, pytest.raises(InputError, match="cannot be written: stopped"):
        patch.setattr(Path, "replace", stop_at_the_sixth)
        video.extract(clips[:1], tmp_path / "images", 1)
    with pytest.raises(InputError, match="expected frames 1 to 5 of one video of rxplus, got others"):
        toybox.index_frames(tmp_path / "images")
    assert video.extract(clips[:1], tmp_path / "images").frames == made_toybox.SECONDS
    assert len(toybox.index_frames(tmp_path / "images")) == made_toybox.SECONDS


def test_two_at_a_time_in_one_folder_are_refused(small, tmp_path):
    clips, _ = toybox.find_videos(small.parents[1])
    with (
        video._alone(tmp_path / "images"),
        pytest.raises(InputError, match="another process extracts videos into it"),
    ):
        video.extract(clips, tmp_path / "images")


def start(root: Path, here: Path) -> subprocess.Popen:
    """`prepare` in a process of its own, and in a group of its own, as a shell starts it."""
    return subprocess.Popen(
        [sys.executable, "-m", "dataloaders", *command(root, here), "--workers", "2"],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def wait_for(here: Path, videos: int) -> None:
    journal = here / "data" / "toybox" / "images" / video.JOURNAL
    deadline = time.monotonic() + 60
    while not journal.exists() or journal.read_bytes().count(b"\n") < videos:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def animals_only(tree: Path, done: Path, here: Path) -> tuple[Path, Path]:
    """A tree of the animals, and what an undisturbed `prepare` makes of it."""
    few, whole = here / "few", shutil.copytree(done, here / "whole")
    few.mkdir()
    (few / "animals").symlink_to(tree / "animals")
    for other in ("household", "vehicles"):
        shutil.rmtree(whole / "data" / "toybox" / "images" / other)
    shutil.rmtree(whole / "lists")
    assert main(command(few, whole)) == 1
    return few, whole


def test_stopped_at_any_moment_and_repeated_it_ends_in_the_same_bytes(tree, done, tmp_path):
    few, whole = animals_only(tree, done, tmp_path)
    here = tmp_path / "here"
    images = here / "data" / "toybox" / "images"
    stops = ((signal.SIGKILL, 0.0), (signal.SIGINT, 0.1), (signal.SIGKILL, 0.05))
    for number, (stop, pause) in enumerate(stops, 1):
        process = start(few, here)
        wait_for(here, 6 * number)
        time.sleep(pause)
        if stop == signal.SIGINT:  # as from a keyboard: the decoders get it, too
            os.killpg(process.pid, stop)
            assert process.communicate()[1] == "stopped; the same command goes on from here\n"
            assert process.returncode == 130
            assert not (images / ".extracting").exists()
        else:
            process.kill()
            process.communicate()
            assert process.returncode == -stop, "it was at work"
        for path in images.rglob("*_pivothead_*.png"):
            assert Image.open(path).size == (224, 224) and path.read_bytes().endswith(video._PNG_END)
        assert not (here / "lists").exists()
    assert main(command(few, here)) == 1
    assert files(here) == files(whole)


def test_a_cut_line_of_the_journal_costs_one_video(small, tmp_path):
    clips, _ = toybox.find_videos(small.parents[1])
    video.extract(clips[:3], tmp_path / "images", 1)
    journal = tmp_path / "images" / video.JOURNAL
    journal.write_bytes(journal.read_bytes()[:-1])
    assert video.extract(clips[:3], tmp_path / "images").kept == 2
    assert video.extract(clips[:3], tmp_path / "images").kept == 3


def test_from_videos_to_a_trained_agent(done, tmp_path, monkeypatch):
    # At 32 instead of 224 pixels, because an untrained SqueezeNet on two cores needs minutes; all else is as always.
    dataset = dataclasses.replace(find.get("toybox"), image_size=(32, 32))
    monkeypatch.setattr(toybox, "DATASET", dataset)
    options = ["run", "toybox/class_instance", "--agent", "finetune", "--no-pretrained", "--set", "lr=0.01",
               "--data", str(done / "data"), "--lists", str(done / "lists"), "--out", str(tmp_path)]  # fmt: skip
    assert benchmarks(options) == 0
    (accuracy,) = tmp_path.rglob("run0/accuracy.csv")
    assert len(accuracy.read_text().splitlines()) == 3, "a header and two tasks of two classes"
    (lists,) = (done / "lists").rglob("class_instance/run0/stream")
    assert sum(len(path.read_text().splitlines()) for path in lists.glob("train_task_*")) == 5 * 7 * 15
