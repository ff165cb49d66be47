"""Streams from arrays: the same tasks as from a dirmap, and every wrong argument is named."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from lethe.common.errors import InputError
from lethe.dataloaders.arrays import stacked, stream_of_arrays
from lethe.dataloaders.index.spec import MODES, PARADIGMS
from lethe.dataloaders.streams import Images
from lethe.dataloaders.tasks import paradigms
from tests.made_images import DATASET

SIZES = {"task_classes": 2, "iid_task_images": 11, "task_instances": 3}
RANDOM = np.random.default_rng(0)
Y = RANDOM.permutation(np.repeat([40, 10, 30, 20], 9))
TEST_Y = np.repeat([10, 20, 30, 40], 2)
X = np.arange(36, dtype=np.uint8)[:, None, None, None] + np.zeros((36, 4, 5, 3), np.uint8)
TEST_X = np.arange(100, 108, dtype=np.uint8)[:, None, None, None] + np.zeros((8, 4, 5, 3), np.uint8)
SESSIONS = RANDOM.integers(1, 4, 36)


def stream_of(paradigm: str = "class_iid", **changed):
    arguments = {"x": X, "y": Y, "test_x": TEST_X, "test_y": TEST_Y, "sessions": SESSIONS, **SIZES, **changed}
    return stream_of_arrays(arguments.pop("x"), arguments.pop("y"), paradigm=paradigm, **arguments)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("paradigm", PARADIGMS)
def test_the_tasks_are_those_of_a_dirmap_with_the_same_rows(paradigm, mode):
    """Witness: the same images as a dirmap, in which session 0 tests."""
    frame = pd.DataFrame({"class": [*map(str, [*Y, *TEST_Y])], "object": 0, "session": [*SESSIONS, *[0] * 8],
                          "im_num": range(44), "im_path": [f"{n}.png" for n in range(44)]})  # fmt: skip
    classes = tuple(map(str, sorted({*Y})))
    dataset = replace(DATASET, classes=classes, paradigms=PARADIGMS, test_sessions=(0,), **SIZES)
    split = paradigms.split(frame, dataset)
    wanted = paradigms.schedule(split, dataset, paradigm, 3, mode, "corrected")
    stream, _ = stream_of(paradigm, run=3, mode=mode)
    assert [task.rows.tolist() for task in stream.tasks] == [rows.tolist() for rows in wanted.tasks]
    for task, rows in zip((*stream.tasks, stream.test), (*wanted.tasks, wanted.test), strict=True):
        assert task.labels.tolist() == wanted.labels[split.class_code[rows]].tolist()
    assert stream.num_classes == 4


def test_labels_count_the_classes_as_they_are_shown_and_rows_lead_to_the_images():
    stream, store = stream_of("class_iid", run=1)
    images = Images(store, torch.device("cpu"))
    assert images.shape == (3, 4, 5)
    shown = torch.cat([task.labels for task in stream.tasks]).tolist()
    assert list(dict.fromkeys(shown)) == [0, 1, 2, 3]
    for task in stream.tasks:
        pixels = images[task.rows][:, 0, 0, 0]
        assert [stream.class_of_label[label] for label in task.labels] == Y[pixels].tolist()
    tested = images[stream.test.rows][:, 0, 0, 0] - 100
    assert [stream.class_of_label[label] for label in stream.test.labels] == TEST_Y[tested].tolist()


def test_sessions_stay_together_and_in_order():
    stream, _ = stream_of("class_instance")
    for task in stream.tasks:
        rows = task.rows.numpy()
        instances = list(zip(Y[rows], SESSIONS[rows], strict=True))
        starts = [k for k in range(len(rows)) if k == 0 or instances[k] != instances[k - 1]]
        assert len(starts) == len(set(instances))
        assert all(rows[k] > rows[k - 1] for k in range(1, len(rows)) if k not in starts)


@pytest.mark.parametrize("order", [None, [30, 10, 40, 20]])
def test_class_ordered_shows_class_after_class_within_a_task(order):
    stream, _ = stream_of("class_ordered", class_order=order)
    shown = order or [10, 20, 30, 40]
    for start, task in zip((0, 2), stream.tasks, strict=True):
        rows = task.rows.numpy()
        wanted = [row for name in sorted(shown[start : start + 2]) for row in np.flatnonzero(name == Y)]
        assert rows.tolist() == wanted


def test_tensors_and_lists_are_taken_as_well():
    stream, store = stream_of(x=torch.from_numpy(X), y=Y.tolist(), test_y=torch.from_numpy(TEST_Y))
    other, same = stream_of()
    assert np.array_equal(store, same) and store.dtype == np.uint8
    assert all(torch.equal(a.rows, b.rows) for a, b in zip(stream.tasks, other.tasks, strict=True))


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"x": X / np.float32(255)}, "x: expected images uint8 [N, H, W, C], got float32 [36, 4, 5, 3]"),
        ({"x": X[0]}, "got uint8 [4, 5, 3]"),
        ({"x": X.transpose(0, 3, 1, 2)}, "move the channels to the end, x.transpose(0, 2, 3, 1)"),
        ({"x": X[:0], "y": [], "sessions": []}, "got uint8 [0, 4, 5, 3]"),
        ({"test_x": TEST_X[:, :2]}, "test_x: expected images (4, 5, 3) as in x, got (2, 5, 3)"),
        ({"y": Y[1:]}, "y: expected an integer per image of x, [36], got int64 [35]"),
        ({"test_y": TEST_Y / 2}, "test_y: expected an integer per image of test_x, [8], got float64"),
        ({"test_y": TEST_Y + 1}, "test_y: classes with test but no training images: 11, 21, 31, 41"),
        ({"sessions": None, "paradigm": "instance"}, "sessions: expected the session of each training image"),
        ({"task_classes": None}, "task_classes: expected the size of a task under class_iid"),
        ({"task_classes": 0}, "task_classes: expected at least 1, got 0"),
        ({"paradigm": "class_id"}, "did you mean 'class_iid'"),
        ({"mode": "streams"}, "did you mean 'stream'"),
        ({"run": -1}, "run: expected 0 or more, got -1"),
    ],
)
def test_a_wrong_argument_is_named(changed, problem):
    with pytest.raises(InputError) as caught:
        stream_of(**changed)
    assert any(problem in line for line in caught.value.problems), caught.value


def test_all_problems_are_told_at_once():
    with pytest.raises(InputError) as caught:
        stream_of(y=Y[1:], mode="no", run=-1)
    assert len(caught.value.problems) == 3


class Pairs(torch.utils.data.Dataset):
    """A dataset of given pairs."""

    def __init__(self, *pairs):
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int):
        return self.pairs[index]


def test_a_dataset_of_pil_images_or_uint8_tensors_is_stacked_channels_last():
    pixels = RANDOM.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    x, y = stacked(Pairs((Image.fromarray(pixels), 7), (tensor, torch.tensor(2))))
    assert np.array_equal(x, np.stack([pixels, pixels])) and x.dtype == np.uint8
    assert y.tolist() == [7, 2] and y.dtype == np.int64
    grey, _ = stacked(Pairs((Image.new("L", (5, 4), 9), 0)))
    assert grey.shape == (1, 4, 5, 3) and (grey == 9).all()


@pytest.mark.parametrize(
    ("pairs", "problem"),
    [
        ([(torch.zeros(3, 4, 5), 0)], "image 0: expected a PIL image or a uint8 tensor [C, H, W], got torch.float32"),
        ([(Image.new("L", (5, 4)), 0), (Image.new("L", (4, 4)), 0)], "image 1: expected the shape of the first"),
        ([("path.png", 0)], "got <class 'str'>"),
        ([], "the dataset is empty"),
    ],
)  # fmt: skip
def test_a_dataset_that_cannot_be_stacked_is_told(pairs, problem):
    with pytest.raises(InputError) as caught:
        stacked(Pairs(*pairs))
    assert problem in str(caught.value)
