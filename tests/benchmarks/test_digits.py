"""Digits: real input without a download, and the first thing that replay must show on it."""

import numpy as np

from lethe.benchmarks.run.experiment import Machine, Places, run
from lethe.benchmarks.run.trial import Trial
from lethe.dataloaders import prepare
from lethe.dataloaders.datasets import digits
from lethe.dataloaders.index import dirmap, find
from lethe.dataloaders.stores.pixels import PixelStore
from lethe.dataloaders.tasks import paradigms

SPEC = find.get("digits")


def test_every_digit_is_drawn_and_indexed(tmp_path):
    from sklearn.datasets import load_digits

    digits.draw(tmp_path)
    table = digits.index(tmp_path)
    assert len(table) == 1797
    assert table["class"].value_counts().sort_index().tolist() == np.bincount(load_digits().target).tolist()
    store = PixelStore.open(tmp_path, table["im_path"].tolist(), (8, 8), tmp_path / "stores")
    eight = load_digits().images[load_digits().target == 8][0]
    ours = store.pixels[store.rows["8/001.png"]]
    assert np.array_equal(ours[:, :, 0], (eight * 255 / 16).round().astype(np.uint8))
    assert (ours == ours[:, :, :1]).all(), "grey"


def test_a_fifth_of_every_class_is_for_testing(tmp_path):
    digits.draw(tmp_path)
    table = digits.index(tmp_path)
    share = table.groupby("class")["session"].mean()
    assert share.between(0.19, 0.2).all()


def test_five_tasks_of_two_classes_or_of_a_fifth_of_the_images(tmp_path):
    path = prepare.ensure_dirmap(find.locate("digits", tmp_path / "digits", tmp_path))
    split = paradigms.split(dirmap.read(path), SPEC)
    for paradigm in SPEC.paradigms:
        schedule = paradigms.schedule(split, SPEC, paradigm, 0, "stream", "corrected")
        sizes = [len(task) for task in schedule.tasks]
        assert len(sizes) == 5 and sum(sizes) == 1442, paradigm
        assert max(sizes) - min(sizes) < 30


def test_replay_ends_thirty_points_above_finetuning_in_class_iid(tmp_path):
    """The published replay baseline fails this: it is fine-tuning."""
    places = Places(tmp_path / "results", tmp_path / "data", tmp_path / "lists")
    last = {}
    for agent in ("finetune", "er"):
        settings = {"lr": 0.01} | ({"memory_size": 200} if agent == "er" else {})
        trial = Trial.create("digits", "class_iid", agent, settings)
        runs = [run(trial, number, places, Machine())["metrics"]["accuracy_last"] for number in range(2)]
        last[agent] = np.mean(runs)
    assert last["er"] > last["finetune"] + 30, last
    assert last["finetune"] < 35, "it remembers little but the last two classes"
