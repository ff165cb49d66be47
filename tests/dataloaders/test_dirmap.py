"""A dirmap is read, checked and written back without a change, and its mistakes are told with their lines."""

import hashlib
from pathlib import Path

import pandas as pd
import pytest

from lethe.common.errors import InputError
from lethe.common.input_problems import first
from lethe.dataloaders.index import dirmap

SHIPPED = Path(__file__).parents[2] / "dataloaders" / "datasets" / "core50_dirmap_sampled.csv"
HEADER = ",class,object,session,im_num,im_path\n"


def written(folder: Path, *lines: str, header: str = HEADER) -> Path:
    path = folder / "set_dirmap.csv"
    path.write_text(header + "".join(line + "\n" for line in lines))
    return path


def problems_of(path: Path) -> tuple[str, ...]:
    with pytest.raises(InputError) as caught:
        dirmap.read(path)
    return caught.value.problems


def test_a_published_file_is_written_back_byte_for_byte(tmp_path):
    dirmap.write(dirmap.read(SHIPPED), tmp_path / "copy.csv")
    assert (tmp_path / "copy.csv").read_bytes() == SHIPPED.read_bytes()


def test_the_fingerprint_is_the_hash_of_the_file():
    assert dirmap.fingerprint(dirmap.read(SHIPPED)) == hashlib.sha256(SHIPPED.read_bytes()).hexdigest()


def test_a_changed_row_changes_the_fingerprint():
    frame = dirmap.read(SHIPPED)
    before = dirmap.fingerprint(frame)
    frame.loc[7, "im_num"] += 1
    assert dirmap.fingerprint(frame) != before


@pytest.mark.parametrize(
    ("header", "line"),
    [
        (HEADER.replace("im_num,im_path", "im_path,im_num"), "0,apple,0,1,test/apple/0001.png,1"),
        (",Unnamed: 0" + HEADER[:-1] + ",rotation\n", "0,7,boat,1,1,1,boat/a.jpg,0012.50"),
        (HEADER, '3,"plug, adapter",1,1,1,"a,""b.png"'),
        (HEADER[1:], "1,1,1,1,a.png"),
    ],
)
def test_columns_and_cells_survive_as_they_are(tmp_path, header, line):
    path = written(tmp_path, line, header=header)
    dirmap.write(dirmap.read(path), tmp_path / "copy.csv")
    assert (tmp_path / "copy.csv").read_text() == path.read_text()


def test_numbers_are_numbers_and_class_names_stay_text(tmp_path):
    frame = dirmap.read(written(tmp_path, "0,1,2,3,4,a.png", "1,NA,2,3,5,b.png"))
    assert frame["class"].tolist() == ["1", "NA"]
    assert frame[["object", "session", "im_num"]].to_numpy().tolist() == [[2, 3, 4], [2, 3, 5]]
    assert dirmap.read(SHIPPED)["class"].dtype == "int64"


def test_all_problems_of_a_file_are_told_with_their_lines(tmp_path):
    path = written(
        tmp_path,
        "0,1,1,1,1,a/1.png",
        "1,1,1,x,2,a/2.png",
        "2,1,-1,1,3,../a/3.png",
        "3,,1,1,4",
        "4,1,1,1,5,a/5.png",
    )
    assert problems_of(path) == (
        f"{path}:4: object '-1' is no whole number from 0 to 999999999",
        f"{path}:3: session 'x' is no whole number from 0 to 999999999",
        f"{path}:5: class '' is empty",
        f"{path}:4: image path '../a/3.png' leaves the folder of the images ('..')",
        f"{path}:5: the image path is empty",
    )


@pytest.mark.parametrize(
    ("image", "fault"),
    [
        ("../x.png", "leaves"),
        ("a/../../x.png", "leaves"),
        ("a/..", "leaves"),
        ("/etc/x.png", "absolute"),
        ("C:/x.png", "absolute"),
        ("a\\x.png", "backslash"),
        ("a\tb.png", "control"),
        ("a\x07.png", "control"),
        ("a\u009bb.png", "control"),
        ("a\u2028b.png", "control"),
        ("./x.png", "shortest"),
        ("a//x.png", "shortest"),
        ("a/", "shortest"),
    ],
)
def test_a_path_that_a_list_cannot_carry_is_refused(tmp_path, image, fault):
    path = written(tmp_path, "0,1,1,1,1,fine.png", f"1,1,1,1,2,{image}")
    (problem,) = problems_of(path)
    assert problem.startswith(f"{path}:3: ")
    assert fault in problem


@pytest.mark.parametrize(
    "image",
    [
        "a..b/.c.png",
        "é/x.png",
        "..a/b...png",
        "s1/o1/C_01_01_010.png",
        "a,b:c.png",
        "a b/ c d.png",
        "e\u202f\u3000.png",
    ],
)
def test_an_unusual_but_safe_path_is_accepted(tmp_path, image):
    assert dirmap.read(written(tmp_path, f'0,1,1,1,1,"{image}"'))["im_path"].tolist() == [image]


def test_a_repeated_frame_is_refused(tmp_path):
    path = written(tmp_path, "0,1,2,3,4,a.png", "1,1,2,3,5,b.png", "2,1,2,3,4,c.png")
    assert problems_of(path) == (
        f"{path}:4: class 1, object 2, session 3, im_num 4 is there already, on line 2",
    )


def test_a_path_may_come_again_in_its_session_but_in_no_other(tmp_path):
    mirrored = ["0,1,1,1,1,a.png", "1,1,1,1,2,b.png", "2,1,1,1,3,a.png"]
    assert len(dirmap.read(written(tmp_path, *mirrored))) == 3
    path = written(tmp_path, *mirrored, "3,1,1,2,1,b.png")
    assert problems_of(path) == (
        f"{path}:5: image path 'b.png' is there already, in another session, on line 3",
    )


def test_missing_columns_are_named(tmp_path):
    path = written(tmp_path, "0,1,1,1,a.png", header=",class,object,session,path\n")
    assert "no column im_num, im_path" in problems_of(path)[0]
    assert problems_of(path)[0].startswith(f"{path}:1: ")


def test_a_file_without_images_is_refused(tmp_path):
    (tmp_path / "empty.csv").touch()
    assert "is empty" in problems_of(tmp_path / "empty.csv")[0]
    assert "no image" in problems_of(written(tmp_path))[0]


def test_what_is_no_table_is_refused(tmp_path):
    assert "cannot be read" in problems_of(tmp_path / "absent.csv")[0]
    ragged = written(tmp_path, "0,1,1,1,1,a.png", "1,1,1,1,2,b.png,more")
    assert problems_of(ragged)[0].startswith(f"{ragged}:3: ")
    wide = written(tmp_path, "0,1,1,1,1,a.png,more")
    assert problems_of(wide)[0].startswith(f"{wide}:2: ")
    binary = tmp_path / "binary.csv"
    binary.write_bytes(HEADER.encode() + b"\xff\xfe,1,1,1,1,a.png\n")
    assert "UTF-8" in problems_of(binary)[0]


def test_of_many_problems_the_first_twenty_are_told(tmp_path):
    problems = problems_of(written(tmp_path, *(f"{i},1,1,1,none,{i}.png" for i in range(50))))
    assert len(problems) == 21
    assert problems[-1] == "and 30 more"


def test_statistics_of_a_small_table():
    rows = [(c, o, s, n) for c in (1, 2) for o in (1, 2) for s in (1, 2, 3) for n in range(1, 16)]
    frame = pd.DataFrame(rows, columns=["class", "object", "session", "im_num"]).assign(im_path="x")
    frame = frame[(frame["class"] == 1) | (frame["object"] == 1)]  # class 2 has one object only
    frame = frame[~((frame["session"] == 3) & (frame["im_num"] > 12))]
    found = dirmap.statistics(frame)
    assert found.images_per_class == {1: 84, 2: 42}
    assert found.objects_per_class == {1: 2, 2: 1}
    assert found.images_per_session == dirmap.Spread(14.0, 12, 15)
    assert found.sessions_per_object == dirmap.Spread(3.0, 3, 3)
    assert found.sessions_per_class == dirmap.Spread(4.5, 3, 6)
    assert (found.images, found.sessions, found.full_sessions) == (126, 9, 6)
    assert "9 sessions, 6 of them" in dirmap.format_statistics(found)


def test_of_many_problems_the_first_are_listed_and_the_others_counted():
    problems = [f"line {number}" for number in range(23)]
    assert first(problems)[19:] == ["line 19", "and 3 more"]
    assert first(problems, 2) == ["line 0", "line 1", "and 21 more"]
    assert first(problems[:2], 2) == problems[:2]
