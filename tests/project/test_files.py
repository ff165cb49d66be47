"""Files are written whole or not at all, whoever else writes them at the same time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lethe.common.errors import InputError
from lethe.common.files import atomic_write, open_regular, read_json, read_toml, write_text
from lethe.common.printable import printable, printable_lines


def test_writers_with_one_process_number_on_two_machines_do_not_meet(tmp_path, monkeypatch):
    """As in two containers that share a folder: each has a process of the same number."""
    monkeypatch.setattr(os, "getpid", lambda: 17)
    path = tmp_path / "file"
    with atomic_write(path) as one, atomic_write(path) as other:
        one.write_text("one")
        other.write_text("other")
        assert one.read_text() == "one"
    assert path.read_text() == "one" and list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError), atomic_write(path) as temporary:
        temporary.write_text("new")
        raise ZeroDivisionError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_is_named(tmp_path):
    (tmp_path / "folder").touch()
    with pytest.raises(InputError, match=r"folder/file: cannot be written: "):
        write_text(tmp_path / "folder" / "file", "text")


def test_the_temporary_file_of_a_killed_process_is_removed_by_the_next_that_writes_there(tmp_path):
    program = (
        "import os, sys; from pathlib import Path; from lethe.common.files import atomic_write\n"
        "with atomic_write(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half'); print('there', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, tmp_path / "file"]
    dead, alive = (subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2))
    for process in (dead, alive):
        assert process.stdout.readline() == b"there\n"
    left = set(tmp_path.iterdir())
    dead.kill()
    dead.communicate()
    like = tmp_path / ".mine.0123.tmp"
    like.touch()
    write_text(tmp_path / "other", "text")
    found = set(tmp_path.iterdir()) - {tmp_path / "other", like}
    assert len(left) == 2 and len(found) == 1 and like.exists()
    alive.communicate(b"")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mine.0123.tmp", "file", "other"]


def test_content_and_name_are_on_the_disk_before_and_after_the_rename(tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(os, "fsync", lambda file: done.append(Path(f"/proc/self/fd/{file}").readlink().name))
    write_text(tmp_path / "file", "text")
    assert done[0].startswith(".file.") and done[1:] == [tmp_path.name]
    with atomic_write(tmp_path / "file", durable=False) as temporary:
        temporary.write_text("image")
    assert len(done) == 2


@pytest.mark.parametrize("mode", ["rb", "wb", "ab"])
def test_only_regular_files_are_opened_and_none_is_waited_for(tmp_path, mode):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=r"pipe: cannot be (read|written): "):
        open_regular(tmp_path / "pipe", mode)
    with pytest.raises(InputError, match=r"folder: cannot be (read|written): "):
        open_regular(tmp_path / "folder", mode)
    with pytest.raises(InputError, match=r"cannot be (read|written): .*null byte"):
        open_regular(tmp_path / "a\0b", mode)


def test_the_target_of_a_link_is_not_emptied(tmp_path):
    (tmp_path / "target").write_text("worth keeping")
    (tmp_path / "link").symlink_to("target")
    with pytest.raises(InputError, match="link: is a symbolic link: remove it"):
        open_regular(tmp_path / "link", "wb", links=False)
    assert (tmp_path / "target").read_text() == "worth keeping"
    with open_regular(tmp_path / "link") as file:
        assert file.read() == b"worth keeping"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "damaged"),
        ("[1]", "expected a JSON object"),
        ('{"x": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested deeper than 64 levels"),
        ('{"x": ' + "[" * 70 + "]" * 70 + "}", "nested deeper than 64 levels"),
        ('{"x": ' + "9" * 5000 + "}", "a number of 5000 digits"),
        ('{"x": NaN}', "the number NaN is not finite"),
        ('{"x": 1e999}', "the number 1e999 is not finite"),
        ('{"x": "\xff"}', "is no UTF-8 text"),
    ],
)
def test_a_json_file_is_bounded(tmp_path, text, problem):
    path = tmp_path / "file.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=problem) as told:
        read_json(path)
    assert len(told.value.problems) == 1 and "\n" not in str(told.value)
    assert str(told.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x =", "is not valid TOML: "),
        ("x = " + "[" * 100_000 + "]" * 100_000, "nested deeper than 64 levels"),
        ("a." * 70 + "a = 1", "nested deeper than 64 levels"),
        ("x = " + "9" * 5000, "a number has too many digits"),
        ("x = [" + "9" * 100 + "]", "a number of more than 40 digits"),
        ("x = 1\n" * 200_000, "expected at most 1048576 bytes"),
    ],
)
def test_a_toml_file_is_bounded(tmp_path, text, problem):
    path = tmp_path / "file.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=problem) as told:
        read_toml(path)
    assert len(told.value.problems) == 1 and "\n" not in str(told.value)


def test_escape_sequences_of_names_do_not_reach_the_terminal():
    assert printable("a\x1b[2Jb\u202ec\nd") == "a?[2Jb?c?d"
    assert printable_lines("a\n\tb\x1b]0;\x07\r") == "a\n\tb?]0;??"
