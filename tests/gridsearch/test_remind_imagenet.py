"""REMIND's ImageNet experiment on two made trees, by the commands of scripts/remind_imagenet.sh."""

import csv
import json
from pathlib import Path

import pytest

from lethe.api import load
from lethe.cli import main
from tests import imagenet_trees as trees

ROOT = Path(__file__).parents[2]
SMALL = ROOT / "scripts" / "grids" / "imagenet_small"


def lethe(*arguments: object) -> None:
    assert main([str(argument) for argument in arguments]) == 0


def accuracies(agent: str) -> list[dict[str, float]]:
    """The rows of accuracy.csv of an agent of the stream."""
    (path,) = Path("results/imagenet/stream/imagenet/class_ordered", agent).glob("*/run0/accuracy.csv")
    with path.open() as file:
        return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]


def test_the_script_gives_the_commands_that_are_tested_here():
    script = (ROOT / "scripts" / "remind_imagenet.sh").read_text()
    told = [line.split("-m lethe ")[1].split()[:2] for line in script.splitlines() if "-m lethe " in line]
    assert told == [
        ["data", "prepare"], ["final", '"$base"'], ["final", '"$stream"'], ["export", "remind"],
        ["report", '"$out/stream"'],
    ]  # fmt: skip
    assert (
        "base=scripts/grids/imagenet_small/base.toml stream=scripts/grids/imagenet_small/stream.toml"
        in script
    )


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_from_files_to_the_table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trees.tree_a(tmp_path / "download")
    out = Path("results/imagenet")
    lethe("data", "prepare", "imagenet", "--root", "download")
    lethe("final", SMALL / "base.toml", "--runs", 1, "--keep-model", "--out", out / "base", "--workers", 1)
    lethe("final", SMALL / "stream.toml", "--runs", 1, "--out", out / "stream")
    (trial,) = (out / "stream/imagenet/class_ordered/remind").iterdir()
    lethe("export", "remind", trial, "--out", out / "files")
    lethe("report", out / "stream", "--out", out / "report")

    remind, finetune, offline = map(accuracies, ("remind", "finetune", "offline"))
    for number, classes in enumerate((8, 12, 16, 20), start=1):
        path = out / "files" / f"accuracies_min_trained_0_max_trained_{classes}.json"
        told = json.loads(path.read_text())
        for top in ("top1", "top5"):
            base, new, seen = (told[f"{part}_classes_{top}"] for part in ("base", "non_base", "seen"))
            assert (len(base), len(new), len(seen)) == (number + 1, number, number + 1)
            # As many validation images of each class.
            assert seen[-1] == pytest.approx((4 * base[-1] + (classes - 4) * new[-1]) / classes)
        assert told["seen_classes_top1"] == [row["seen"] for row in remind[: number + 1]]
    # Chance is 5 % of the base classes.
    assert remind[-1]["group_0"] >= 40
    assert remind[-1]["group_0"] >= finetune[-1]["group_0"] + 20
    assert remind[-1]["seen"] >= finetune[-1]["seen"] + 15
    found = json.loads((trial / "run0" / "summary.json").read_text())["metrics"]["accuracy_mean"]
    assert found == pytest.approx(sum(row["seen"] for row in remind) / 5)
    shares = [mine["seen"] / bound["seen"] for mine, bound in zip(remind, offline, strict=True)]
    with (out / "report" / "comparison.csv").open() as file:
        (row,) = [r for r in csv.DictReader(file) if (r["agent"], r["metric"]) == ("remind", "omega_all")]
    assert float(row["mean"]) == pytest.approx(sum(shares) / 5)
    assert (
        "resnet18 on imagenet/class_ordered by offline, task 0 alone"
        in (out / "report/comparison.md").read_text()
    )


@pytest.mark.slow
def test_a_thousand_classes_in_ten_increments_with_a_full_memory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trees.tree_b(tmp_path / "download")
    # It is ready for use, though ImageNet has more images of each class, which is told.
    assert main(["data", "prepare", "imagenet", "--root", "download", "--image-size", "32"]) == 1
    settings = ("epochs_first_task=1", "replay_images=5", "memory_size=500", "all_labels=true")
    run = (
        "run",
        "imagenet/class_ordered",
        "--agent",
        "remind",
        "--network",
        "small",
        "--set",
        *settings,
        "--keep-model",
    )
    lethe(*run, "--until-class", 300)
    lethe(*run)
    (trial,) = Path("results/imagenet/class_ordered/remind").iterdir()
    with (trial / "run0" / "accuracy.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["task"] for row in rows] == [str(task) for task in range(10)]
    assert list(rows[-1])[-2] == "group_9" and rows[0]["group_1"] in ("", "nan")
    agent = load(trial).agent
    assert len(agent.memory) == 500
    # A class that has most gives one up: with two images of each of 1,000 classes, none of 500 keeps two.
    assert agent.memory.state_dict()["labels"].bincount().max() == 1
    lethe("export", "remind", trial, "--out", "files")
    told = json.loads(Path("files/accuracies_min_trained_0_max_trained_1000.json").read_text())
    assert [len(told[f"{part}_classes_top5"]) for part in ("base", "non_base", "seen")] == [10, 9, 10]
