"""CORe50 at 350 px: the same dirmap as at 128 px, and its images are found."""

import shutil
from pathlib import Path

import pytest

from lethe.dataloaders.datasets import core50
from lethe.dataloaders.index import find


@pytest.fixture
def small(tmp_path) -> Path:
    """A root with the 128 px tree: one empty frame of every session."""
    root = tmp_path / "small"
    for session in range(1, 12):
        for object_ in range(1, 51):
            folder = root / core50.FOLDER / f"s{session}" / f"o{object_}"
            folder.mkdir(parents=True)
            (folder / f"C_{session:02d}_{object_:02d}_010.png").touch()
    return root


def test_the_larger_images_have_the_same_dirmap(small, tmp_path):
    large = tmp_path / "large"
    shutil.copytree(small / core50.FOLDER, large / core50.LARGER)
    assert core50.index(large).equals(core50.index(small))
    assert find.locate("core50", large).images == large / core50.LARGER
    assert (find.locate("core50", large).images / core50.index(large)["im_path"][0]).is_file()


def test_the_published_size_comes_first(small):
    (small / core50.LARGER / "s1").mkdir(parents=True)
    assert find.locate("core50", small).images == small / core50.FOLDER


def test_a_folder_of_the_published_name_that_is_empty_does_not_hide_the_larger_images(small):
    (small / core50.FOLDER).rename(small / core50.LARGER)
    (small / core50.FOLDER).mkdir()
    path = core50.index(small)["im_path"][0]
    assert (find.locate("core50", small).images / path).is_file()
