"""CIFAR-100: the published dirmap and lists to the byte, and an archive that is not trusted."""

import errno
import hashlib
import io
import os
import pickle
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lethe.benchmarks.__main__ import main as benchmarks
from lethe.common.errors import InputError
from lethe.dataloaders.__main__ import main
from lethe.dataloaders.datasets import cifar100
from lethe.dataloaders.index import dirmap, find, link_or_copy
from lethe.dataloaders.index.spec import MODES
from lethe.dataloaders.tasks import tasklists
from tests import made_cifar

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "cifar100_task_lists_sha256.txt"
DIRMAP_SHA256 = "585af4b75034ee1e4ad87717ba909c15736905843f3362a02dd07a3ae20d45af"
FEW = {"train": 2, "test": 1}


@pytest.fixture
def few(monkeypatch) -> None:
    """A data set of few images."""
    monkeypatch.setattr(cifar100, "IMAGES", FEW)


@pytest.fixture
def archive(tmp_path, few, monkeypatch) -> Path:
    root = tmp_path / "archive"
    monkeypatch.setattr(cifar100, "MD5", made_cifar.write(root, FEW))
    return root


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".link_or_copy.lock"
    }


def test_the_dirmap_is_the_published_one(tmp_path):
    dirmap.write(cifar100.dirmap(), tmp_path / "dirmap.csv")
    assert hashlib.sha256((tmp_path / "dirmap.csv").read_bytes()).hexdigest() == DIRMAP_SHA256


@pytest.mark.parametrize(
    "runs", [(0, 1), pytest.param((2, 3, 4), marks=pytest.mark.slow)], ids=["runs 0-1", "runs 2-4"]
)
def test_published_lists_are_the_authors_bytes(runs, tmp_path):
    expected: dict[str, dict[str, str]] = {}
    for line in GOLDEN.read_text().splitlines():
        digest, path = line.split()
        expected.setdefault(str(Path(path).parent), {})[Path(path).name] = digest
    assert sum(map(len, expected.values())) == 220
    source = tasklists.Source(cifar100.dirmap(), find.get("cifar100"))
    for run in runs:
        for mode in MODES:
            folder = tasklists.ensure(source, "class_iid", run, mode, "published", tmp_path)
            files = expected[folder.relative_to(tmp_path).as_posix()]
            found = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in files}
            assert found == files
            assert len(files) == 22


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "tar.gz"])
def test_the_archive_becomes_the_tree_of_cifar2png(packed, tmp_path, few, monkeypatch):
    """Numbers count the images of a class in the archive's order; pixels are the archive's."""
    root, out = tmp_path / "archive", tmp_path / "out"
    monkeypatch.setattr(cifar100, "MD5", made_cifar.write(root / "plain", FEW))
    made_cifar.write(root / "tar", FEW, packed=True)
    prepared = cifar100.prepare(root / ("tar" if packed else "plain"), out, None)
    assert prepared.dirmap.equals(cifar100.dirmap())
    assert prepared.notes == (f"300 PNG files were written to {out}, 0 existed already",)
    content = pickle.loads((root / "plain" / cifar100.FOLDER / "train").read_bytes(), encoding="latin1")
    seen: dict[int, int] = {}
    for label, row in zip(content["fine_labels"], content["data"], strict=True):
        seen[label] = seen.get(label, 0) + 1
        path = out / "train" / made_cifar.CLASSES[label] / f"{seen[label]:04d}.png"
        with Image.open(path) as image:
            assert np.array_equal(np.asarray(image), row.reshape(3, 32, 32).transpose(1, 2, 0))
    assert len(list(out.rglob("*.png"))) == 300


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_file_that_is_not_the_published_one_is_refused_unread(split, archive, tmp_path, monkeypatch):
    path = archive / cifar100.FOLDER / split
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    read, load = [], cifar100._load
    monkeypatch.setattr(cifar100, "_load", lambda name, data: read.append(name) or load(name, data))
    with pytest.raises(InputError, match=rf"cifar-100-python/{split}: MD5 is [0-9a-f]{{32}}, expected"):
        cifar100.prepare(archive, tmp_path / "out", None)
    assert split not in read


class Command:
    """What a hostile pickle holds: something that runs on being read."""

    def __reduce__(self):
        return os.mkdir, ("owned",)


def test_a_pickle_that_names_anything_but_arrays_is_refused(archive, tmp_path, monkeypatch):
    """Even with the right MD5, which somebody may have forged."""
    monkeypatch.chdir(tmp_path)
    data = pickle.dumps({"data": Command(), "fine_labels": []}, protocol=2)
    (archive / cifar100.FOLDER / "train").write_bytes(data)
    monkeypatch.setattr(cifar100, "MD5", {**cifar100.MD5, "train": hashlib.md5(data).hexdigest()})
    with pytest.raises(InputError, match=r"names posix.mkdir, which no array is made of"):
        cifar100.prepare(archive, tmp_path / "out", None)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("data", [b"", b"\x1f\x8b no archive", b"text"])
def test_a_broken_archive_is_named(data, tmp_path):
    (tmp_path / f"{cifar100.FOLDER}.tar.gz").write_bytes(data)
    with pytest.raises(InputError, match=r"cifar-100-python.tar.gz: cannot be read: .*download it again"):
        cifar100.prepare(tmp_path, tmp_path / "out", None)


def packed(root: Path, *members: tuple[tarfile.TarInfo, bytes]) -> None:
    """An archive of these members below `root`."""
    with tarfile.open(root / f"{cifar100.FOLDER}.tar.gz", "w:gz", compresslevel=1) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))


def member(name: str, size: int = 0, **values) -> tarfile.TarInfo:
    info = tarfile.TarInfo(f"{cifar100.FOLDER}/{name}")
    info.size = size
    for key, value in values.items():
        setattr(info, key, value)
    return info


HOSTILE = {
    "a loop of links": [
        (member("train", type=tarfile.SYMTYPE, linkname="test"), b""),
        (member("test", type=tarfile.LNKTYPE, linkname=f"{cifar100.FOLDER}/train"), b""),
    ],
    "a folder": [(member("train", type=tarfile.DIRTYPE), b"")],
    "one split": [(member("train", 4), b"data")],
    "many members": [(member(f"x{number}"), b"") for number in range(200)],
    "nothing": [],
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_archive_is_one_sentence(kind, tmp_path):
    packed(tmp_path, *HOSTILE[kind])
    with pytest.raises(
        InputError, match=r"cifar-100-python.tar.gz: cannot be read: .*; download it again"
    ) as caught:
        cifar100.prepare(tmp_path, tmp_path / "out", None)
    assert len(caught.value.problems) == 1


def test_a_long_header_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar100, "_UNPACKED", 5000)
    packed(tmp_path, (member("train", pax_headers={"comment": "x" * 9000}), b""))
    with pytest.raises(InputError, match=r"unpacks to more than 5000 bytes"):
        cifar100.prepare(tmp_path, tmp_path / "out", None)


@pytest.mark.parametrize("name", ["train", "other"])
def test_a_member_that_is_too_large_is_not_unpacked(name, tmp_path, monkeypatch):
    monkeypatch.setattr(cifar100, "_LARGEST", 1000)
    monkeypatch.setattr(cifar100, "_UNPACKED", 5000)
    packed(tmp_path, (member(name, 50_000), bytes(50_000)), (member("test", 4), b"data"))
    with pytest.raises(InputError, match=r"at most 1000 bytes|unpacks to more than 5000 bytes"):
        cifar100.prepare(tmp_path, tmp_path / "out", None)


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        {"data": np.zeros((200, 3072), np.uint8)},
        {"data": np.zeros((200, 3072), np.float32), "fine_labels": [*range(100)] * 2},
        {"data": np.zeros((200, 30), np.uint8), "fine_labels": [*range(100)] * 2},
        {"data": np.zeros((200, 3072), np.uint8), "fine_labels": [0] * 200},
        {"data": "text", "fine_labels": [*range(100)] * 2},
        {"data": np.zeros((200, 3072), np.uint8), "fine_labels": "text"},
    ],
)
def test_a_pickle_of_another_content_is_one_sentence(content, archive, tmp_path, monkeypatch):
    data = made_cifar.pickled(content)
    (archive / cifar100.FOLDER / "train").write_bytes(data)
    monkeypatch.setattr(cifar100, "MD5", {**cifar100.MD5, "train": hashlib.md5(data).hexdigest()})
    with pytest.raises(InputError, match=r"cifar-100-python/train: is no split of CIFAR-100") as caught:
        cifar100.prepare(archive, tmp_path / "out", None)
    assert len(caught.value.problems) == 1


def test_a_root_without_the_data_set_is_told_what_was_looked_for(tmp_path):
    with pytest.raises(InputError, match=r"no CIFAR-100: expected cifar-100-python.tar.gz"):
        cifar100.prepare(tmp_path, tmp_path / "out", None)
    (tmp_path / cifar100.FOLDER).mkdir()
    with pytest.raises(InputError, match="cifar-100-python/train: cannot be read: No such file"):
        cifar100.prepare(tmp_path, tmp_path / "out", None)


def test_a_tree_is_used_where_it_is_or_linked(tmp_path, few):
    root = made_cifar.write_tree(tmp_path / "tree", FEW)
    assert cifar100.prepare(root, root, None).notes == ()
    prepared = cifar100.prepare(root, tmp_path / "out", None)
    assert "300 images are hard links" in prepared.notes[0]
    assert contents(tmp_path / "out") == contents(root)


def test_images_that_are_missing_or_too_many_are_named(tmp_path, few):
    root = made_cifar.write_tree(tmp_path, FEW)
    (root / "train" / "apple" / "0002.png").unlink()
    (root / "test" / "worm" / "0002.png").touch()
    for path in (root / "test" / "bee").iterdir():
        path.unlink()
    (root / "test" / "bee").rmdir()
    with pytest.raises(InputError) as caught:
        cifar100.index(root)
    assert caught.value.problems == (
        f"{root}/train/apple/0002.png: is missing",
        f"{root}/test/bee: cannot be read as a folder: No such file or directory",
        f"{root}/test/worm/0002.png: is none of CIFAR-100",
    )


KILLED = """
import os, sys, time
from pathlib import Path
from lethe.dataloaders.datasets import cifar100
cifar100.IMAGES = {"train": 2, "test": 1}
cifar100.MD5 = dict(zip(("train", "test"), sys.argv[3:]))
replace = os.replace
def slow(*arguments):
    time.sleep(0.005)
    replace(*arguments)
os.replace = slow
cifar100.prepare(Path(sys.argv[1]), Path(sys.argv[2]), 2)
"""


def test_a_killed_prepare_repeated_ends_in_the_same_files(archive, tmp_path):
    cifar100.prepare(archive, tmp_path / "whole", None)
    expected = contents(tmp_path / "whole")
    out = tmp_path / "out"
    command = [sys.executable, "-c", KILLED, archive, out, *cifar100.MD5.values()]
    process = subprocess.Popen(command, cwd=ROOT)
    while len(list(out.rglob("*.png"))) < 100 and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    final = {name: data for name, data in contents(out).items() if not Path(name).name.startswith(".")}
    assert 0 < len(final) < 300
    assert final.items() <= expected.items()
    kept = {name: (out / name).stat().st_mtime_ns for name in final}
    cifar100.prepare(archive, out, None)
    assert contents(out) == expected
    assert {name: (out / name).stat().st_mtime_ns for name in kept} == kept


def test_a_full_disk_is_named_and_leaves_no_half_image(archive, tmp_path, monkeypatch):
    real = Image.Image.save

    def half(image, path, **options):
        if "worm" in path:
            Path(path).write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device", path)
        real(image, path, **options)

    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(
        InputError, match="cannot be written: No space left on device; finished files are kept"
    ):
        cifar100.prepare(archive, tmp_path / "out", 1)
    names = contents(tmp_path / "out")
    assert not any("worm" in name for name in names)
    assert len(names) == 198
    monkeypatch.setattr(Image.Image, "save", real)
    assert cifar100.prepare(archive, tmp_path / "out", 1).notes[0].endswith("/out, 198 existed already")


def test_a_read_only_folder_is_named(archive, tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(InputError, match="out: cannot be written: Permission denied"):
        cifar100.prepare(archive, tmp_path / "out", None)


def test_two_processes_do_not_write_at_once(tmp_path):
    with link_or_copy.only_writer(tmp_path):
        code = "import fcntl, sys\nfcntl.flock(open(sys.argv[1], 'w'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
        command = [sys.executable, "-c", code, tmp_path / ".link_or_copy.lock"]
        assert b"BlockingIOError" in subprocess.run(command, capture_output=True).stderr


def test_from_the_archive_to_a_trained_agent(archive, tmp_path, monkeypatch, capsys):
    spec = replace(find.get("cifar100"), image_size=(32, 32))
    monkeypatch.setattr(cifar100, "DATASET", spec)
    monkeypatch.chdir(tmp_path)
    assert main(["prepare", "cifar100", "--root", str(archive)]) == 0
    command = ["run", "cifar100/class_iid", "--agent", "finetune", "--no-pretrained", "--set", "lr=0.01"]
    assert benchmarks(command) == 0, capsys.readouterr().err
    assert "cifar100/class_iid finetune" in capsys.readouterr().out
    lists = tasklists.read(Path("data/lists/cifar100_task_filelists/class_iid/run0/stream"))
    assert [len(task.paths) for task in lists.tasks] == [10] * 20
