"""Task lists: the published bytes, the corrected variant's promises, whole folders, and what is refused."""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lethe.common.errors import InputError
from lethe.dataloaders.index import dirmap, find
from lethe.dataloaders.index.spec import MODES, RANDOM_PARADIGMS, VARIANTS, Dataset
from lethe.dataloaders.tasks import introsort, paradigms, tasklists

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "core50_task_lists_sha256.txt"
CORE50 = find.get("core50")
TOYBOX = replace(
    CORE50,
    name="toybox",
    test_sessions=(3, 6, 9),
    iid_task_images=6090,
    task_instances=406,
    frames=None,
)
SMALL = replace(
    TOYBOX, name="small", test_sessions=(3,), iid_task_images=40, task_instances=4, instance_images=5
)


def table(classes: int, objects: int, sessions: int, frames: int) -> pd.DataFrame:
    """A dirmap in which each class numbers its objects from 1, as Toybox and iLab do."""
    grid = np.meshgrid(*(np.arange(1, n + 1) for n in (classes, objects, sessions, frames)), indexing="ij")
    frame = pd.DataFrame(
        dict(zip(("class", "object", "session", "im_num"), (part.ravel() for part in grid), strict=True))
    )
    frame["im_path"] = [f"{c}/{o}/{s}/{n}.png" for c, o, s, n in frame.to_numpy().tolist()]
    frame.insert(0, "Unnamed: 0", np.arange(len(frame)))
    return frame


@pytest.fixture(scope="module")
def core50() -> tasklists.Source:
    return tasklists.Source(
        dirmap.read(ROOT / "dataloaders" / "datasets" / "core50_dirmap_sampled.csv"), CORE50
    )


@pytest.fixture(scope="module")
def toybox() -> pd.DataFrame:
    return table(classes=12, objects=29, sessions=10, frames=15)


@pytest.fixture(scope="module")
def small() -> tasklists.Source:
    return tasklists.Source(table(classes=4, objects=2, sessions=3, frames=5), SMALL)


def tasks_of(frame: pd.DataFrame, dataset: Dataset, *choice) -> list[np.ndarray]:
    return list(paradigms.schedule(paradigms.split(frame, dataset), dataset, *choice).tasks)


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


# The published lists


def test_published_core50_lists_are_the_authors_bytes(core50, tmp_path):
    expected: dict[str, dict[str, str]] = {}
    for line in GOLDEN.read_text().splitlines():
        digest, path = line.split()
        expected.setdefault(str(Path(path).parent), {})[Path(path).name] = digest
    assert sum(map(len, expected.values())) == 280
    for place, files in expected.items():
        _, paradigm, run, mode = Path(place).parts
        folder = tasklists.ensure(core50, paradigm, int(run[3:]), mode, "published", tmp_path)
        assert folder == tmp_path / place
        found = hashes(folder)
        assert found.keys() == files.keys() | {"manifest.json"}
        assert {name: found[name] for name in files} == files


def test_making_lists_neither_reads_nor_changes_global_random_state(small):
    for seed in (1, 2):
        np.random.seed(seed)
        before = np.random.get_state()[1].tolist()
        made = paradigms.schedule(small.split, SMALL, "class_instance", 0, "offline", "published")
        assert np.random.get_state()[1].tolist() == before
        again = paradigms.schedule(small.split, SMALL, "class_instance", 0, "offline", "published")
        assert all(np.array_equal(a, b) for a, b in zip(made.tasks, again.tasks, strict=True))


@pytest.mark.parametrize("paradigm", RANDOM_PARADIGMS)
def test_runs_differ(small, paradigm):
    runs = [paradigms.schedule(small.split, SMALL, paradigm, r, "stream", "published").tasks for r in (0, 1)]
    assert not np.array_equal(np.concatenate(runs[0]), np.concatenate(runs[1]))


def test_published_instance_collapses_where_classes_number_their_own_objects(toybox):
    sizes = {
        mode: [len(task) for task in tasks_of(toybox, TOYBOX, "instance", 0, mode, "published")]
        for mode in MODES
    }
    assert sizes == {"stream": [36540, 0, 0, 0, 0, 0], "offline": [36540] * 6}


def test_published_ties_are_ordered_as_by_the_authors_numpy(toybox, monkeypatch):
    made = tasks_of(toybox, TOYBOX, "class_instance", 0, "stream", "published")
    monkeypatch.setattr(
        paradigms, "_unstably_sorted", lambda rows, frame: rows[np.argsort(frame[rows], kind="stable")]
    )
    stable = tasks_of(toybox, TOYBOX, "class_instance", 0, "stream", "published")
    assert (np.concatenate(made) != np.concatenate(stable)).sum() == 12180


# The order of ties


def test_introsort_is_numpys_scalar_sort():
    """No build of NumPy has vector instructions for long doubles: their argsort is the one of NumPy 1.19."""
    random = np.random.RandomState(0)
    for _ in range(300):
        keys = random.randint(0, 20, random.randint(1, 250))
        expected = np.argsort(keys.astype(np.longdouble), kind="quicksort").tolist()
        assert list(introsort.argsort(tuple(keys.tolist()))) == expected


def test_introsort_of_a_vector_sorted_by_hand():
    # 17 equal keys. The middle, 8, is parked at 15, which brings 15 to 8. Both scans stop at every key, so
    # 1..7 and 14..8 change places; they cross at 8, where the pivot returns and sends 7 to 15. Both sides
    # are then short enough for insertion, which moves nothing.
    expected = (0, 14, 13, 12, 11, 10, 9, 15, 8, 6, 5, 4, 3, 2, 1, 7, 16)
    assert introsort.argsort((5,) * 17) == expected


def test_introsort_sorts_up_to_sixteen_keys_stably():
    keys = (2, 1) * 8
    assert introsort.argsort(keys) == tuple(np.argsort(keys, kind="stable"))
    assert introsort.argsort((*keys, 2)) != tuple(np.argsort((*keys, 2), kind="stable"))


# The corrected lists


def test_corrected_iid_tasks_share_no_image(core50):
    chosen = ("iid", 3, "stream")
    tasks = paradigms.schedule(core50.split, CORE50, *chosen, "corrected").tasks
    assert [len(task) for task in tasks] == [1200] * 5
    assert np.array_equal(np.sort(np.concatenate(tasks)), core50.split.train)
    published = paradigms.schedule(core50.split, CORE50, *chosen, "published").tasks
    assert len(np.intersect1d(published[0], published[1])) == 1


def test_corrected_iid_writes_whole_task_numbers(small, tmp_path):
    columns = {}
    for variant in VARIANTS:
        folder = tasklists.ensure(small, "iid", 0, "stream", variant, tmp_path / variant)
        columns[variant] = pd.read_csv(folder / "train_all.txt", dtype=str)["task"].unique().tolist()
    assert columns == {"published": ["0.0", "1.0"], "corrected": ["0", "1"]}


@pytest.mark.parametrize("paradigm", ["instance", "class_instance"])
def test_corrected_sessions_are_contiguous_and_in_order(toybox, paradigm):
    tasks = tasks_of(toybox, TOYBOX, paradigm, 0, "stream", "corrected")
    assert [len(task) for task in tasks] == [6090] * 6
    stream = toybox.iloc[np.concatenate(tasks)]
    assert len(stream.drop_duplicates("im_path")) == 36540
    keys = stream[["class", "object", "session"]].to_numpy()
    changes = (keys[1:] != keys[:-1]).any(axis=1).sum()
    assert changes + 1 == 12 * 29 * 7
    assert stream["im_num"].tolist() == list(range(1, 16)) * (12 * 29 * 7)


def test_corrected_instance_tasks_mix_classes_and_class_instance_tasks_do_not(toybox):
    classes = {
        paradigm: [
            toybox["class"].iloc[task].nunique()
            for task in tasks_of(toybox, TOYBOX, paradigm, 0, "stream", "corrected")
        ]
        for paradigm in ("instance", "class_instance")
    }
    assert classes == {"instance": [12] * 6, "class_instance": [2] * 6}


def test_corrected_counts_tasks_by_instances(small):
    tasks = paradigms.schedule(
        small.split, replace(SMALL, task_instances=5), "instance", 0, "stream", "corrected"
    ).tasks
    assert [len(task) for task in tasks] == [25, 25, 25, 5]  # 16 instances of 5 images


@pytest.mark.parametrize("paradigm", RANDOM_PARADIGMS)
def test_offline_tasks_hold_all_that_the_stream_has_shown(toybox, paradigm):
    stream = tasks_of(toybox, TOYBOX, paradigm, 1, "stream", "corrected")
    offline = tasks_of(toybox, TOYBOX, paradigm, 1, "offline", "corrected")
    for task, rows in enumerate(offline):
        if paradigm != "instance":  # its offline orders accumulate, so that a prefix is another one
            assert np.array_equal(np.sort(rows), np.sort(np.concatenate(stream[: task + 1])))
        assert len(rows) == len(np.unique(rows)) == 6090 * (task + 1)


@pytest.mark.parametrize("paradigm", ["instance", "class_instance", "class_iid"])
def test_the_variants_agree_where_objects_are_numbered_across_classes(core50, paradigm):
    made = [
        paradigms.schedule(core50.split, CORE50, paradigm, 2, "stream", variant).tasks for variant in VARIANTS
    ]
    assert all(np.array_equal(a, b) for a, b in zip(*made, strict=True))


def test_class_names_may_be_text(toybox):
    named = toybox.assign(**{"class": "class " + toybox["class"].astype(str).str.zfill(2)})
    for paradigm in RANDOM_PARADIGMS:
        choice = (paradigm, 0, "offline", "corrected")
        pairs = zip(tasks_of(named, TOYBOX, *choice), tasks_of(toybox, TOYBOX, *choice), strict=True)
        assert all(np.array_equal(a, b) for a, b in pairs)


# What cannot be made


def test_a_dirmap_without_test_or_training_images_is_refused(small):
    frame = table(2, 2, 2, 5)
    with pytest.raises(InputError, match="no test image"):
        paradigms.split(frame, SMALL)
    with pytest.raises(InputError, match="no training image"):
        paradigms.split(frame, replace(SMALL, test_sessions=(1, 2)))


def test_a_class_that_is_tested_but_never_learned_is_refused():
    frame = table(3, 1, 3, 5)
    frame = frame[(frame["class"] != 2) | (frame["session"] == 3)]
    with pytest.raises(InputError, match="no training images: 2"):
        paradigms.split(frame, SMALL)


def test_published_lists_that_never_show_a_class_point_to_the_corrected_ones():
    frame = table(6, 1, 3, 1)
    frame["object"] = frame["class"]  # 12 pairs of 1 image, of which 12 / (1 * 5) tasks show 3
    with pytest.raises(InputError, match="--variant corrected"):
        tasks_of(frame, replace(SMALL, task_instances=1), "instance", 0, "stream", "published")


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (("class_id", 0, "stream", "published"), "did you mean 'class_iid'"),
        (("iid", 0, "streams", "published"), "did you mean 'stream'"),
        (("iid", 0, "stream", "publish"), "did you mean 'published'"),
    ],
)
def test_unknown_names_are_told_with_the_nearest(small, choice, message):
    with pytest.raises(InputError, match=message):
        paradigms.schedule(small.split, SMALL, *choice)


# Folders


def test_a_second_call_writes_nothing(small, tmp_path):
    folder = tasklists.ensure(small, "iid", 0, "stream", "published", tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert tasklists.ensure(small, "iid", 0, "stream", "published", tmp_path) == folder
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_stale_lists_are_replaced_whole(small, tmp_path):
    def images(source: tasklists.Source, variant: str) -> list[int]:
        folder = tasklists.ensure(source, "iid", 0, "stream", variant, tmp_path)
        assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == ["stream"]
        tasklists.read(folder)
        return tasklists.read_manifest(folder)["images"]["tasks"]

    frame = table(classes=4, objects=2, sessions=3, frames=5)
    assert images(small, "published") == [41, 40]
    assert images(small, "corrected") == [40, 40]
    assert images(tasklists.Source(frame, replace(SMALL, iid_task_images=20)), "corrected") == [20] * 4
    assert images(tasklists.Source(frame, replace(SMALL, iid_task_images=50)), "corrected") == [50, 30]
    changed = tasklists.Source(frame.iloc[:-5], replace(SMALL, iid_task_images=50))
    folder = tasklists.ensure(changed, "iid", 0, "stream", "corrected", tmp_path)
    assert tasklists.read(folder).dirmap_fingerprint == changed.fingerprint != small.fingerprint


def test_a_missing_file_is_written_again(small, tmp_path):
    folder = tasklists.ensure(small, "iid", 0, "stream", "published", tmp_path)
    before = hashes(folder)
    (folder / "test_filelist.txt").unlink()
    tasklists.ensure(small, "iid", 0, "stream", "published", tmp_path)
    assert hashes(folder) == before


def test_lists_without_a_manifest_are_adopted_if_equal_and_kept_if_not(small, tmp_path):
    folder = tasklists.ensure(small, "iid", 0, "stream", "published", tmp_path)
    (folder / "manifest.json").unlink()
    with pytest.raises(InputError, match=r"is kept: move .* away"):
        tasklists.ensure(small, "iid", 0, "stream", "corrected", tmp_path)
    assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == ["stream"]
    kept = hashes(folder)
    tasklists.ensure(small, "iid", 0, "stream", "published", tmp_path)
    assert hashes(folder).items() > kept.items()


def test_what_a_user_has_put_beside_lists_outlives_them(small, tmp_path):
    folder = tasklists.ensure(small, "iid", 0, "stream", "published", tmp_path)
    (folder / "manifest.json").unlink()
    (folder / "NOTES.md").write_text("mine")
    (folder / "figures").mkdir()
    (folder / "figures" / "1.txt").write_text("one")
    (folder / "train_task_99_filelist.old").symlink_to("nowhere")
    for variant in ("published", "corrected"):  # adopted, then replaced
        tasklists.ensure(small, "iid", 0, "stream", variant, tmp_path)
        assert tasklists.read(folder).variant == variant
        assert (folder / "NOTES.md").read_text() == "mine"
        assert (folder / "figures" / "1.txt").read_text() == "one"
        assert (folder / "train_task_99_filelist.old").is_symlink()
    assert not list(folder.parent.glob(".stream.[!l]*"))


KILLED = """
import os, signal, sys
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.dataloaders import test_task_lists as t
source = t.tasklists.Source(t.table(4, 2, 3, 5), t.SMALL)
calls = 0
def counted(function):
    def call(*arguments):
        global calls
        calls += 1
        if calls == {call}:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments)
    return call
t.tasklists._write = counted(t.tasklists._write)
Path.rename = counted(Path.rename)
t.tasklists.ensure(source, "iid", 0, "stream", "corrected", Path({out!r}))
"""


@pytest.mark.parametrize("call", [1, 3, 5, 6])  # first file, third file, either rename
def test_a_kill_leaves_the_old_lists_or_none(small, tmp_path, call):
    folder = tasklists.ensure(small, "iid", 0, "stream", "published", tmp_path)
    before = hashes(folder)
    (folder / "NOTES.md").write_text("mine")
    script = KILLED.format(root=str(ROOT), call=call, out=str(tmp_path))
    assert subprocess.run([sys.executable, "-c", script]).returncode == -signal.SIGKILL
    assert not folder.exists() if call == 6 else before.items() <= hashes(folder).items()
    assert tasklists.ensure(small, "iid", 0, "stream", "corrected", tmp_path) == folder
    assert tasklists.read(folder).variant == "corrected"
    assert (folder / "NOTES.md").read_text() == "mine"


def test_a_writer_waits_for_another_one(small, tmp_path):
    folder = tasklists.folder_of(tmp_path, "small", "iid", 0, "stream")
    second = threading.Thread(
        target=tasklists.ensure, args=(small, "iid", 0, "stream", "published", tmp_path)
    )
    with tasklists._only_writer(folder):
        second.start()
        second.join(0.5)  # without the lock it is done in a tenth of that
        assert not folder.exists()
    second.join()
    assert folder.exists()


@pytest.mark.parametrize(
    "module, name, call", [(tasklists, "read", 1), (tasklists.listfiles, "read_bytes", 3)]
)
def test_lists_that_another_command_replaces_meanwhile_are_never_mixed_up(
    small, tmp_path, monkeypatch, module, name, call
):
    """Both variants lie in one folder: whoever asks for one gets that one, whole."""
    expected = tasklists.load(small, "iid", 0, "stream", "published", tmp_path / "alone")
    function, calls = getattr(module, name), []

    def interrupted(path):
        calls.append(path)
        if len(calls) == call:
            tasklists.ensure(small, "iid", 0, "stream", "corrected", tmp_path / "shared")
        return function(path)

    monkeypatch.setattr(module, name, interrupted)
    ours = tasklists.load(small, "iid", 0, "stream", "published", tmp_path / "shared")
    assert len(calls) > call
    assert (ours.variant, ours.fingerprint) == ("published", expected.fingerprint)
    other = tasklists.load(small, "iid", 0, "stream", "corrected", tmp_path / "shared")
    assert other.fingerprint != expected.fingerprint


def test_a_failing_disk_is_one_message_and_leaves_nothing(small, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tasklists, "_write", full)
    with pytest.raises(InputError, match="No space left on device"):
        tasklists.ensure(small, "iid", 0, "stream", "published", tmp_path)
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {".stream.lock"}


# Reading


@pytest.fixture
def lists(small, tmp_path) -> Path:
    return tasklists.ensure(small, "class_iid", 0, "stream", "corrected", tmp_path)


@pytest.fixture
def own(lists) -> Path:
    """The same lists as a user's own."""
    (lists / "manifest.json").unlink()
    return lists


def problems_of(folder: Path) -> tuple[str, ...]:
    with pytest.raises(InputError) as caught:
        tasklists.read(folder)
    return caught.value.problems


def replace_line(path: Path, number: int, line: str) -> None:
    lines = path.read_text().splitlines()
    lines[number - 1] = line
    path.write_text("\n".join(lines) + "\n")


def test_what_is_read_is_what_was_planned(small, lists):
    plan = paradigms.schedule(small.split, SMALL, "class_iid", 0, "stream", "corrected")
    read = tasklists.read(lists)
    code = small.split.class_code
    for (paths, labels), rows in zip(read.tasks, plan.tasks, strict=True):
        assert paths == small.paths[rows].tolist()
        assert labels.dtype == np.int64
        assert labels.tolist() == plan.labels[code[rows]].tolist()
    assert read.test_paths == small.paths[plan.test].tolist()
    assert [str(read.class_of_label[k]) for k in read.test_labels] == [p[0] for p in read.test_paths]
    assert read.paths() == set(small.paths)
    assert (read.variant, read.dirmap_fingerprint) == ("corrected", small.fingerprint)


def test_a_users_own_lists_are_read_too(small, lists):
    written = tasklists.read(lists)
    (lists / "manifest.json").unlink()
    own = tasklists.read(lists)
    assert own.class_of_label == written.class_of_label
    assert own.fingerprint == written.fingerprint
    assert (own.variant, own.dirmap_fingerprint) == (None, None)
    (lists / "train_all.txt").unlink()
    assert tasklists.read(lists).class_of_label == (0, 1, 2, 3)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("1/1/1/1.png one", "expected 'path label' with a label from 0, got '1/1/1/1.png one'"),
        ("1/1/1/1.png -1", "expected 'path label'"),
        ("1/1/1/1.png 1.0", "expected 'path label'"),
        ("1/1/1/1.png", "expected 'path label'"),
        ("", "expected 'path label'"),
        ("../1.png 1", "leaves the folder"),
        ("a/../../1.png 1", "leaves the folder"),
        ("/etc/passwd 1", "absolute"),
        ("a b.png 1", "blank"),
        ("1/1/1/1.png  1", "blank"),
        ("a\\b.png 1", "backslash"),
    ],
)
@pytest.mark.parametrize("name", ["train_task_01_filelist.txt", "test_filelist.txt"])
def test_a_bad_line_is_told_with_its_file_and_number(own, name, line, fault):
    replace_line(own / name, 3, line)
    (problem,) = problems_of(own)
    assert problem.startswith(f"{own / name}:3: ")
    assert fault in problem


def test_two_bad_lines_do_not_make_a_good_one(own):
    replace_line(own / "test_filelist.txt", 1, "1/1/3/1.png")
    replace_line(own / "test_filelist.txt", 2, "0 1/1/3/1.png 0")
    assert [problem.split(": ")[0][-2:] for problem in problems_of(own)] == [":1", ":2"]


def test_files_that_are_missing_are_named(own, tmp_path):
    (own / "train_task_00_filelist.txt").unlink()
    (own / "test_filelist.txt").unlink()
    assert problems_of(own) == (f"{own}: no train_task_00_filelist.txt", f"{own}: no test_filelist.txt")
    assert "no task lists" in problems_of(tmp_path / "nowhere")[0]


@pytest.mark.parametrize("name", ["train_task_01_filelist.txt", "test_filelist.txt"])
def test_an_empty_list_is_refused(own, name):
    (own / name).write_text("")
    assert f"{own / name}: " in problems_of(own)[0]
    assert "is empty" in problems_of(own)[0]


def test_a_task_that_is_empty_as_published_points_to_the_corrected_lists(small, tmp_path):
    folder = tasklists.ensure(small, "instance", 0, "stream", "published", tmp_path)
    (first, *_) = problems_of(folder)
    assert "task 1 is empty" in first
    assert "--variant corrected" in first


def test_a_label_that_is_only_tested_is_refused(own):
    replace_line(own / "test_filelist.txt", 2, "1/1/3/2.png 4")
    assert problems_of(own) == (f"{own / 'test_filelist.txt'}:2: label 4 is in no task",)


def test_labels_with_a_gap_are_refused(own):
    path = own / "train_task_00_filelist.txt"
    path.write_text(path.read_text().replace(" 1\n", " 7\n"))
    assert f"{own}: labels are to be 0, 1, 2, ...: 1 is in no task, 7 is" in problems_of(own)


def test_a_list_that_was_changed_after_writing_is_refused(lists):
    with (lists / "train_task_00_filelist.txt").open("a") as file:
        file.write("1/1/1/1.png 0\n")
    shutil.copy(lists / "train_task_00_filelist.txt", lists / "train_task_02_filelist.txt")
    problems = problems_of(lists)
    assert [Path(problem.split(":")[0]).name for problem in problems] == [
        "train_task_00_filelist.txt",
        "train_task_02_filelist.txt",
    ]
    assert all("is not as manifest.json describes it" in problem for problem in problems)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"dataset": 1}', "\xff"])
def test_a_damaged_manifest_is_refused(lists, content):
    (lists / "manifest.json").write_bytes(content.encode("latin-1"))
    assert problems_of(lists) == (
        f"{lists / 'manifest.json'}: is damaged; delete {lists} and write the lists again",
    )


@pytest.mark.parametrize("key", ["run", "classes", "images", "files", "parameters"])
def test_a_manifest_with_a_changed_value_is_refused(lists, key):
    manifest = json.loads((lists / "manifest.json").read_text())
    value = manifest[key]
    manifest[key] = (
        value[::-1] if key == "classes" else {**value, "test": 1} if key == "images" else value and {}
    )
    assert manifest[key] != value or key == "run"
    (lists / "manifest.json").write_text(json.dumps(manifest | ({"run": 7} if key == "run" else {})))
    with pytest.raises(InputError, match=r"manifest.json: is damaged"):
        tasklists.read(lists)


def test_the_manifest_says_what_the_lists_were_made_from(small, lists):
    manifest = json.loads((lists / "manifest.json").read_text())
    assert manifest["parameters"] == {"test_sessions": [3], "frames": None, "task_classes": 2}
    assert manifest["dirmap_sha256"] == small.fingerprint
    found = hashes(lists)
    del found["manifest.json"]
    assert manifest["files"] == found


def test_contradicting_classes_of_a_label_are_refused(own):
    table = pd.read_csv(own / "train_all.txt")
    table.loc[3, "class"] = 9
    table.to_csv(own / "train_all.txt", index=False)
    assert problems_of(own)[0].startswith(f"{own / 'train_all.txt'}:")


# Size


MILLION = """
import resource, shutil, sys, time
from dataclasses import replace
from pathlib import Path
from lethe.dataloaders.index import dirmap
from lethe.dataloaders.tasks import tasklists
from tests.dataloaders.test_task_lists import RANDOM_PARADIGMS, SMALL, table
here = Path(sys.argv[1])
frame = table(classes=10, objects=40, sessions=11, frames=296)
frame["object"] += 40 * (frame["class"] - 1)
dirmap.write(frame, here / "large_dirmap.csv")
large = replace(SMALL, name="large", iid_task_images=len(frame) // 6, task_instances=700, instance_images=296)
images = len(frame)
del frame
seconds = []
start = time.process_time()
source = tasklists.Source(dirmap.read(here / "large_dirmap.csv"), large)
reading = time.process_time() - start
for paradigm in RANDOM_PARADIGMS:
    start = time.process_time()
    folder = tasklists.ensure(source, paradigm, 0, "stream", "published", here)
    seconds.append(reading + time.process_time() - start)
    shutil.rmtree(folder)
print(images, max(seconds), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_a_million_images_take_seconds(tmp_path):
    """1.3 million rows through each paradigm, from file to checked files, in 20 s and 2 GB each."""
    pytest.importorskip("resource")
    command = [
        sys.executable,
        "-c",
        MILLION,
        str(tmp_path),
    ]  # a process of its own: memory is that of a process
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    images, seconds, kib = map(float, done.stdout.split())
    assert images > 1_300_000
    assert seconds < 20
    assert kib < 2 << 20
