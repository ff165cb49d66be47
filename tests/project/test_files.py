"""Files are written whole or not at all, whoever else writes them at the same time."""

import os

import pytest

from lethe.common.errors import InputError
from lethe.common.files import atomic_write, write_text


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
