"""The CORe50 indexer finds every image, in the published order, and names what is missing or misnamed."""

import shutil
from pathlib import Path

import pytest

from lethe.common.errors import InputError
from lethe.dataloaders.datasets import core50
from lethe.dataloaders.index import dirmap

SHIPPED = Path(__file__).parents[2] / "dataloaders" / "datasets" / "core50_dirmap_sampled.csv"


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """Empty files in CORe50's layout: frames 10 and 230 of all sessions."""
    root = tmp_path_factory.mktemp("core50")
    for session in range(1, 12):
        for object_ in range(1, 51):
            folder = root / core50.FOLDER / f"s{session}" / f"o{object_}"
            folder.mkdir(parents=True)
            for frame in (230, 10):
                (folder / f"C_{session:02d}_{object_:02d}_{frame:03d}.png").touch()
    (root / core50.FOLDER / "paths.pkl").touch()  # the published archive's company
    (folder / ".DS_Store").touch()
    return root


@pytest.fixture
def damaged(tree, tmp_path) -> Path:
    return shutil.copytree(tree, tmp_path / "copy") / core50.FOLDER


def problems_of(root: Path) -> tuple[str, ...]:
    with pytest.raises(InputError) as caught:
        core50.index(root)
    return caught.value.problems


def test_rows_are_those_of_the_published_lists(tree):
    published = dirmap.read(SHIPPED)
    published = published[published["im_num"].isin((10, 230))].reset_index(drop=True)
    found = core50.index(tree)
    columns = list(dirmap.COLUMNS)
    assert found[columns].to_numpy().tolist() == published[columns].to_numpy().tolist()
    assert list(found.columns) == list(published.columns)
    assert found["Unnamed: 0"].tolist() == list(range(1100))


def test_the_sessions_may_lie_in_the_root_itself(tree):
    assert core50.index(tree / core50.FOLDER).equals(core50.index(tree))


def test_a_root_without_the_dataset_is_told_what_was_looked_for(tmp_path):
    (problem,) = problems_of(tmp_path)
    assert str(tmp_path / core50.FOLDER / "s1") in problem
    assert "core50_128x128.zip" in problem


def test_missing_sessions_are_named(damaged):
    shutil.rmtree(damaged / "s4" / "o7")
    (damaged / "s11" / "o50" / "C_11_50_010.png").unlink()
    (damaged / "s11" / "o50" / "C_11_50_230.png").unlink()
    assert problems_of(damaged) == (
        f"{damaged}/s4/o7: object 7 has no image in session 4",
        f"{damaged}/s11/o50: object 50 has no image in session 11",
    )


def test_a_name_that_does_not_parse_is_named(damaged):
    (damaged / "s2" / "o3" / "C_02_03_10.png").touch()
    (problem,) = problems_of(damaged)
    assert problem == f"{damaged}/s2/o3/C_02_03_10.png: expected a name like C_02_03_000.png"


def test_a_name_that_contradicts_its_folder_is_named(damaged):
    (damaged / "s2" / "o3" / "C_02_04_011.png").touch()
    (problem,) = problems_of(damaged)
    assert "its name says session 2, object 4; its folder says session 2, object 3" in problem


@pytest.mark.parametrize(
    ("folder", "expected"), [("s12", "s1 to s11"), ("s3/o51", "o1 to o50"), ("s3/o0", "o1")]
)
def test_a_number_out_of_range_is_named(damaged, folder, expected):
    (damaged / folder).mkdir()
    (problem,) = problems_of(damaged)
    assert problem.startswith(f"{damaged / folder}: expected {expected}")


def test_a_file_in_the_place_of_a_folder_is_named(damaged):
    shutil.rmtree(damaged / "s2" / "o3")
    (damaged / "s2" / "o3").touch()
    assert problems_of(damaged)[0].startswith(f"{damaged}/s2/o3: cannot be read as a folder")
