"""Locks on files: one owner at a time, released however it ends, and harmless to what a link leads to."""

import errno
import signal
import subprocess
import sys
import threading
import time

import pytest

from lethe.common import locks
from lethe.common.errors import InputError

HOLDS = """
import sys, time
from pathlib import Path
from lethe.common import locks
held = locks.lock(Path(sys.argv[1]), Path("this"), "is taken")
print("held", flush=True)
time.sleep(600)
"""


def test_a_lock_is_refused_while_another_process_has_it_and_free_once_that_is_killed(tmp_path):
    path = tmp_path / "made" / ".lock"
    assert not locks.is_locked(path)
    owner = subprocess.Popen([sys.executable, "-c", HOLDS, path], stdout=subprocess.PIPE)
    assert owner.stdout.readline() == b"held\n"
    assert locks.is_locked(path)
    with pytest.raises(locks.Locked, match="that: is taken"):
        locks.lock(path, "that", "is taken")
    owner.send_signal(signal.SIGKILL)
    owner.communicate()
    assert not locks.is_locked(path)
    with locks.lock(path, "that", "is taken"):
        assert locks.is_locked(path)
    assert not locks.is_locked(path)


def test_a_writer_waits_for_the_one_before(tmp_path):
    path, done = tmp_path / ".lock", []

    def write():
        with locks.only_writer(path, tmp_path):
            done.append("second")

    second = threading.Thread(target=write)
    with locks.only_writer(path, tmp_path):
        second.start()
        time.sleep(0.2)
        done.append("first")
    second.join()
    assert done == ["first", "second"]


@pytest.mark.parametrize("target", ["notes.txt", "not_there.txt"])
def test_a_symbolic_link_is_not_followed(tmp_path, target):
    notes, link = tmp_path / "notes.txt", tmp_path / ".lock"
    notes.write_text("worth keeping")
    link.symlink_to(tmp_path / target)
    for take in (lambda: locks.lock(link, tmp_path, "is taken"),
                 lambda: locks.only_writer(link, tmp_path).__enter__()):  # fmt: skip
        with pytest.raises(InputError, match=r"cannot be written: its lock .* is a symbolic link: remove"):
            take()
    assert notes.read_text() == "worth keeping"
    assert not (tmp_path / "not_there.txt").exists()
    assert not locks.is_locked(link)


def test_a_lock_file_is_not_emptied(tmp_path):
    path = tmp_path / ".lock"
    path.write_text("worth keeping")
    locks.lock(path, tmp_path, "is taken").close()
    with locks.only_writer(path, tmp_path):
        pass
    assert path.read_text() == "worth keeping"


def test_what_the_system_refuses_names_what_the_lock_is_of(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"the run: cannot be written: (File exists|Not a directory)"):
        locks.lock(tmp_path / "file" / ".lock", "the run", "is taken")
    with (
        pytest.raises(InputError, match="the lists: cannot be written: No space left") as caught,
        locks.only_writer(tmp_path / ".lock", "the lists"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.__cause__.errno == errno.ENOSPC
    assert not locks.is_locked(tmp_path / ".lock")
