"""`lethe data show`: the sheet shows the images, classes and sessions of the stream, in its order."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from lethe.common.errors import InputError
from lethe.dataloaders import contact_sheet
from lethe.dataloaders.__main__ import main
from lethe.dataloaders.contact_sheet import Which
from lethe.dataloaders.datasets import core50_mini
from lethe.dataloaders.index import dirmap
from tests.made_images import BRIGHTNESS, DATASET, make

LEFT = contact_sheet._MARGIN + contact_sheet._LEFT
TOP = 110 + contact_sheet._LEGEND_LINE
FIRST, SECOND = (tuple(colour) for colour in contact_sheet._colours(2))


@pytest.fixture
def frame(tmp_path):
    return make(tmp_path / "images")


def sheet_of(frame, tmp_path, paradigm, dataset=DATASET, mode="stream") -> np.ndarray:
    which = Which(paradigm, 0, mode, "corrected")
    return np.asarray(contact_sheet.draw(dataset, frame, tmp_path / "images", which))


def ribbon(sheet: np.ndarray, task: int, which: int) -> list[tuple[int, ...]]:
    """The runs of colours of a ribbon of a task: 0 by class, 1 by session."""
    y = TOP + task * contact_sheet._ROW + which * contact_sheet._RIBBON + 3
    row = [tuple(map(int, pixel)) for pixel in sheet[y, LEFT : LEFT + contact_sheet._WIDTH]]
    return [colour for k, colour in enumerate(row) if k == 0 or row[k - 1] != colour]


def test_a_task_of_one_class_has_one_colour_and_the_next_task_the_other(frame, tmp_path):
    sheet = sheet_of(frame, tmp_path, "class_instance")
    assert {*ribbon(sheet, 0, 0), *ribbon(sheet, 1, 0)} == {FIRST, SECOND}
    assert len(ribbon(sheet, 0, 0)) == len(ribbon(sheet, 1, 0)) == 1


def test_the_second_ribbon_changes_with_every_session(frame, tmp_path):
    assert len(ribbon(sheet_of(frame, tmp_path, "class_instance"), 0, 1)) == 2
    assert len(ribbon(sheet_of(frame, tmp_path, "iid"), 0, 1)) > 2


def test_images_are_framed_by_the_colour_of_their_class(frame, tmp_path):
    sheet = sheet_of(frame, tmp_path, "iid")
    y = TOP + 2 * contact_sheet._RIBBON + 6
    for number in range(6):
        x = LEFT + number * contact_sheet._PITCH
        colour = tuple(map(int, sheet[y + 1, x + 1]))
        inside = int(sheet[y + contact_sheet._CELL // 2, x + contact_sheet._CELL // 2, 0])
        assert inside == BRIGHTNESS[1 if colour == FIRST else 2]


def test_the_images_shown_are_in_order_and_spread_over_the_task():
    assert np.concatenate(contact_sheet._places(20)).tolist() == list(range(20))
    places = contact_sheet._places(1200)
    assert [stretch.tolist() for stretch in (places[0], places[-1])] == [
        list(range(6)),
        list(range(1194, 1200)),
    ]
    assert contact_sheet._places(0)[0].tolist() == []


def test_a_row_per_task_and_many_classes_fit(frame, tmp_path):
    assert len(sheet_of(frame, tmp_path, "class_iid")) == TOP + 2 * contact_sheet._ROW + contact_sheet._MARGIN
    assert len(set(contact_sheet._colours(100))) == 100


def test_names_are_plain_text_of_bounded_length():
    dataset = replace(DATASET, classes=("a\nb\x1b[31m", "x" * 99))
    assert contact_sheet._name(dataset, 1) == "a?b?[31m"
    assert contact_sheet._name(dataset, 2) == "x" * 22
    assert contact_sheet._name(dataset, "<b>cat</b>") == "<b>cat</b>"


def test_images_that_are_missing_or_broken_are_named(frame, tmp_path):
    (tmp_path / "images" / "1_1_1_1.png").unlink()
    (tmp_path / "images" / "1_1_1_2.png").write_text("no image")
    with pytest.raises(InputError) as caught:
        sheet_of(frame, tmp_path, "iid")
    assert len(caught.value.problems) == 2 and "cannot be" in caught.value.problems[0]


def test_the_command_writes_a_png_and_refuses_what_does_not_exist(frame, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(core50_mini, "DATASET", DATASET)
    dirmap.write(frame, tmp_path / "data" / "lists" / "core50_mini_dirmap.csv")
    places = ["--root", str(tmp_path / "images")]
    assert main(["show", "core50_mini", "instance", "--run", "1", *places]) == 0
    with Image.open(tmp_path / "core50_mini_instance.png") as image:
        assert image.format == "PNG"
    assert main(["show", "core50_mini", "iid", "--mode", "offline", "--out", "o.png", *places]) == 0
    for wrong in (["instanc"], ["iid", "--run", "-1"], ["iid", "--mode", "of"], ["iid", "--variant", "x"]):
        assert main(["show", "core50_mini", *wrong, *places]) == 2
    assert "did you mean 'instance'" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {
        "images", "data", "core50_mini_instance.png", "o.png",
    }  # fmt: skip
