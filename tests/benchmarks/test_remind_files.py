"""A run in the files of REMIND's experiment: names, keys, lengths, values, and what cannot be exported."""

import json

import numpy as np
import pytest

from lethe.benchmarks.records import predictions
from lethe.cli import main
from tests.made_records import run, trial, write

IMAGES = (8, 2, 4)
KEYS = {f"{group}_classes_{top}" for group in ("base", "non_base", "seen") for top in ("top1", "top5")}
NAMES = [f"c{number:02}" for number in (7, 3, 11, 1, 9, 5, 0, 10, 2, 8, 4, 6)]  # by label


def table(path, names, rows):
    path.write_text("\n".join([names, *(",".join(map(str, row)) for row in rows)]) + "\n")


@pytest.fixture
def folder(tmp_path):
    """A trial with one run of three tasks, four classes each."""
    made = run(0, [0, 0, 0], classes_seen=[4, 8, 12])
    made.summary.update(group_images=list(IMAGES), classes=NAMES)
    folder = write(tmp_path / "results", trial("remind", made))
    table(folder / "run0" / "accuracy.csv", "task,seen,group_0,group_1,group_2,top5_seen", [
        (0, 90, 90, "", "", 100), (1, 66, 70, 50, "", 88), (2, 1080 / 14, 60, 100, 100, 1180 / 14),
    ])  # fmt: skip
    table(folder / "run0" / "top5_groups.csv", "task,group_0,group_1,group_2", [
        (0, 100, "", ""), (1, 90, 80, ""), (2, 80, 70, 100),
    ])  # fmt: skip
    return folder


def export(folder, out, *more):
    return main(["export", "remind", str(folder), "--out", str(out), *more])


def test_the_lists_grow_and_have_the_published_keys(folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert export(folder, out) == 0
    names = [f"accuracies_min_trained_0_max_trained_{classes}.json" for classes in (8, 12)]
    assert sorted(path.name for path in out.iterdir()) == sorted(names)
    assert "no predictions after task 0, 1, 2" in capsys.readouterr().out
    for task, name in enumerate(names, start=1):
        found = json.loads((out / name).read_text())
        assert found.keys() == KEYS
        assert all(len(values) == task + (not key.startswith("non")) for key, values in found.items())
        assert all(isinstance(value, float) for values in found.values() for value in values)
        for top in ("top1", "top5"):
            base, new, seen = (found[f"{group}_classes_{top}"][-1] for group in ("base", "non_base", "seen"))
            count = sum(IMAGES[1 : task + 1])
            assert seen == pytest.approx((8 * base + count * new) / (8 + count))
    assert found["non_base_classes_top5"] == [80, pytest.approx((2 * 70 + 4 * 100) / 6)]


def test_probabilities_are_in_the_order_of_an_image_folder(folder, tmp_path, capsys):
    generator = np.random.default_rng(0)
    for task, (count, classes) in enumerate(zip((8, 10, 14), (4, 8, 12), strict=True)):
        scores = generator.normal(size=(count, 12)).astype(np.float32) * 30
        scores[:, classes:] = -np.inf
        arrays = {"row": generator.permutation(count), "label": np.zeros(count, np.int64), "scores": scores,
                  "classes": np.array(NAMES)}  # fmt: skip
        name = predictions.LAST if task == 2 else predictions.of_task(task)
        if task:
            predictions.write_scores(folder / "run0" / name, arrays)
    assert export(folder, tmp_path / "out") == 0
    assert "no predictions after task 0, whose" in capsys.readouterr().out
    found = np.load(tmp_path / "out" / "preds_min_trained_0_max_trained_12.npy", allow_pickle=False)
    assert found.dtype == np.float32 and found.shape == (14, 12)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-6)
    for place, row in enumerate(arrays["row"]):
        for label, name in enumerate(NAMES):
            expected = 1 / np.exp(scores[place].astype(float) - scores[place, label]).sum()
            assert found[row, int(name[1:])] == pytest.approx(expected, rel=1e-4, abs=1e-12)
    early = np.load(tmp_path / "out" / "preds_min_trained_0_max_trained_8.npy", allow_pickle=False)
    assert (early[:, [int(name[1:]) for name in NAMES[8:]]] == 0).all()


def test_what_cannot_be_exported_is_told(folder, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    plain = write(tmp_path / "plain", trial("er", run(0, [50, 40])))
    for where, out, more, problem in (
        (tmp_path / "absent", tmp_path / "out", (), "expected the folder of a trial"),
        (folder / "run0", tmp_path / "out", (), "expected the folder of a trial"),
        (folder, tmp_path / "file", (), "expected a folder to write into, but it is a file"),
        (folder, tmp_path / "file" / "below", (), "cannot be written"),
        (folder, tmp_path / "out", ("--run", "1"), "there is no such finished run"),
        (folder, tmp_path / "out", ("--run", "-1"), "--run: expected a number from 0, got -1"),
        (plain, tmp_path / "out", (), "has no top-5 accuracies, which are measured above ten classes"),
    ):
        assert export(where, out, *more) == 2
        assert problem in capsys.readouterr().err
    (folder / "run0" / predictions.LAST).write_bytes(b"none")
    assert export(folder, tmp_path / "out") == 2
    assert "predictions.npz: damaged" in capsys.readouterr().err
    assert not [path for path in (tmp_path / "out").iterdir() if path.suffix not in (".json",)]
