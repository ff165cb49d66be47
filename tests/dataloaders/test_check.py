"""`lethe data check`: right data is called right, and everything that is wrong is named."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from lethe.dataloaders import check, prepare
from lethe.dataloaders.__main__ import main
from lethe.dataloaders.datasets import core50_mini
from lethe.dataloaders.index import dirmap, find
from lethe.dataloaders.tasks import tasklists
from tests.made_images import DATASET, make


@pytest.fixture
def frame(tmp_path):
    return make(tmp_path / "images")


def verdicts(frame, tmp_path, dataset=DATASET, **options) -> list[check.Verdict]:
    located = find.Located(dataset, tmp_path / "images", tmp_path / "lists")
    return list(check.check(located, frame, **options))


def wrong(frame, tmp_path, **options) -> list[str]:
    return [problem for verdict in verdicts(frame, tmp_path, **options) for problem in verdict.problems]


def write_lists(frame, tmp_path):
    source = tasklists.Source(frame, DATASET)
    return tasklists.ensure(source, "class_iid", 0, "stream", "corrected", tmp_path / "lists")


def test_a_whole_dataset_is_all_right(frame, tmp_path):
    write_lists(frame, tmp_path)
    told = [str(verdict) for verdict in verdicts(frame, tmp_path)]
    assert told[:7] == [
        "ok     classes: 2",
        "ok     images a class: 12",
        "ok     images a session: 3",
        "ok     sessions an object: 2",
        "ok     objects a class: 2",
        f"ok     24 of 24 image files are in {tmp_path / 'images'}",
        "ok     24 of all 24 images can be decoded",
    ]
    assert told[7].startswith("ok     class_iid: 1 folders of task lists")


def test_counts_that_differ_are_told_with_what_was_expected_and_where(frame, tmp_path):
    problems = wrong(frame.iloc[1:], tmp_path)
    assert problems == [
        "expected 12", "class 1: 11", "expected 3", "class 1, object 1, session 1: 2",
    ]  # fmt: skip


def test_an_image_too_many_is_wrong_as_well(frame):
    more = pd.concat([frame, frame.iloc[[0]].assign(im_num=4)])
    problems = [problem for verdict in check.counts(DATASET, more) for problem in verdict.problems]
    assert problems == ["expected 12", "class 1: 13", "expected 3", "class 1, object 1, session 1: 4"]


def test_only_frames_that_are_kept_count(frame):
    dataset = replace(DATASET, frames=(1, 1, 3))
    told = {verdict.found for verdict in check.counts(dataset, frame)}
    assert "frames 1, 2, ... count: 16 images" in told
    assert "images a session: 2" in told


def test_a_dataset_without_known_counts_gets_no_verdict_on_them(frame):
    (verdict,) = check.counts(replace(DATASET, expected=None), frame)
    assert str(verdict).startswith("-      2 classes")


def test_a_missing_and_a_broken_image_are_named(frame, tmp_path):
    images = tmp_path / "images"
    (images / "1_1_1_1.png").unlink()
    (images / "1_1_1_2.png").write_bytes((images / "1_1_1_2.png").read_bytes()[:50])
    missing, broken, advice = wrong(frame, tmp_path)
    assert missing == f"{images / '1_1_1_1.png'}: no such image"
    assert broken.startswith(f"{images / '1_1_1_2.png'}: cannot be decoded")
    assert advice.startswith("delete broken images, then draw what is missing")


def test_a_sample_is_always_the_same_and_all_is_all(frame, tmp_path, monkeypatch):
    monkeypatch.setattr(check, "SAMPLE", 5)
    seen = []
    monkeypatch.setattr("lethe.dataloaders.stores.faults.fault", lambda path: seen.append(path))
    verdicts(frame, tmp_path)
    verdicts(frame, tmp_path)
    assert len(seen) == 10 and sorted(seen[:5]) == sorted(seen[5:])
    assert "5 drawn of the 24" in str(verdicts(frame, tmp_path)[6])
    assert "all 24" in str(verdicts(frame, tmp_path, everything=True)[6])


def test_lists_that_were_changed_or_made_from_another_dirmap_are_wrong(frame, tmp_path):
    folder = write_lists(frame, tmp_path)
    (problem,) = wrong(frame.assign(extra="x"), tmp_path)
    assert problem.startswith(f"{folder}: made from another dirmap")
    with (folder / "test_filelist.txt").open("a") as file:
        file.write("1_1_2_1.png 0\n")
    assert any("is not as manifest.json describes it" in problem for problem in wrong(frame, tmp_path))


@pytest.fixture
def command(frame, tmp_path, monkeypatch) -> list[str]:
    monkeypatch.setattr(core50_mini, "DATASET", DATASET)
    dirmap.write(frame, tmp_path / "lists" / "core50_mini_dirmap.csv")
    return ["check", "core50_mini", "--root", str(tmp_path / "images"), "--lists", str(tmp_path / "lists")]


def test_the_status_tells_right_from_wrong_from_misused_and_nothing_is_changed(command, tmp_path, capsys):
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert main(command) == 0
    assert main([*command, "--all"]) == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert "24 images in 2 classes" in capsys.readouterr().out
    (tmp_path / "images" / "1_1_1_1.png").unlink()
    assert main(command) == 1
    assert "wrong  23 of 24 image files" in capsys.readouterr().out
    assert main(["check", "core50_min"]) == 2
    assert main(["check", "core50_mini", "--lists", str(tmp_path / "none")]) == 2
    assert "no dirmap of core50_mini; make it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "per_class", "session", "sessions", "objects"),
    [("toybox", 4350, 15, 10, 29), ("ilab2mlight", 3360, 15, 8, 28), ("core50", 825, 15, 11, 5)],
)
def test_expected_counts_are_those_of_the_published_protocol(name, per_class, session, sessions, objects):
    expected = find.get(name).expected
    assert expected.images_per_class == (per_class, per_class)
    assert expected.images_per_session == (session, session)
    assert expected.sessions_per_object == (sessions, sessions)
    assert expected.objects_per_class == (objects, objects)
    assert expected.classes == len(find.get(name).classes)


def test_the_shipped_dirmap_has_the_counts_of_core50():
    frame = dirmap.read(prepare.find_dirmap(find.locate("core50", lists=Path("nowhere"))))
    assert not [verdict for verdict in check.counts(find.get("core50"), frame) if verdict.problems]
