"""test.csv, val.csv and hyperparams.csv: the shape that analysis scripts of the published experiments read."""

import csv
import json

import pandas as pd
import pytest

from lethe.benchmarks.records.augmem_files import write_published_tables
from lethe.benchmarks.run.trial import Trial, begin
from tests.made_records import run, trial, write

RUNS = (run(0, [90.0, 50.5], [90.0, 40.25]), run(1, [80.0, 40.0], [80.0, 30.0]))


def finished(tmp_path, agent="er", **options):
    """The folder of a real trial's configuration with two made runs."""
    made = write(tmp_path / "made", trial(agent, *RUNS, unfinished=[2]))
    folder = begin(Trial.create("core50_mini", "class_iid", agent, **options), tmp_path / "results")
    for path in made.glob("run*"):
        path.rename(folder / path.name)
    (made / "env.json").rename(folder / "env.json")
    return folder


def hyperparameters(folder):
    with (folder / "hyperparams.csv").open(newline="") as file:
        return dict(csv.reader(file))


def test_tables_are_finished_runs_by_tasks_without_a_header(tmp_path):
    folder = finished(tmp_path)
    write_published_tables(folder)
    assert (folder / "test.csv").read_text() == "90.0,50.5\n80.0,40.0\n"
    assert (folder / "test_task1.csv").read_text() == "90.0,40.25\n80.0,30.0\n"
    assert not list(folder.glob("val*"))


def test_a_trial_judged_on_validation_images_has_no_test_table(tmp_path):
    folder = finished(tmp_path, split="validation")
    write_published_tables(folder)
    assert (folder / "val.csv").read_text() == "90.0,50.5\n80.0,40.0\n"
    assert (folder / "val_task1.csv").read_text() == "90.0,40.25\n80.0,30.0\n"
    assert not list(folder.glob("test*"))
    assert hyperparameters(folder)["split"] == "validation"


def test_hyperparameters_have_the_published_names(tmp_path):
    settings = {"lr": 0.01, "memory_size": 15, "epochs_first_task": 3, "batch_size": 20}
    folder = finished(tmp_path, settings=settings, cut="conv4", seed=7)
    write_published_tables(folder)
    found = hyperparameters(folder)
    published = {
        "dataset": "core50_mini",
        "scenario": "class_iid",
        "n_runs": "2",
        "agent_name": "er",
        "model_name": "small",
        "lr": "0.01",
        "momentum": "0.9",
        "weight_decay": "0.0001",
        "batch_size": "20",
        "n_epoch": "1",
        "n_epoch_first_task": "3",
        "memory_size": "15",
        "pretrained": "True",
        "freeze_feature_extract": "True",
        "offline": "False",
    }
    assert published.items() <= found.items()
    own = {
        "replay_images": "10",
        "cut": "conv4",
        "seed": "7",
        "image_size": "[64, 64]",
        "feature_dtype": "float32",
    }
    assert own.items() <= found.items()
    assert not {"epochs", "penalty_weight", "paradigm", "agent", "format"} & found.keys()


@pytest.mark.parametrize(("agent", "setting"), [("ewc", "penalty_weight"), ("augmem", "regulariser_weight")])
def test_the_weight_of_a_penalty_is_reg_coef(tmp_path, agent, setting):
    folder = finished(tmp_path, agent, settings={setting: 12.5})
    write_published_tables(folder)
    assert hyperparameters(folder)["reg_coef"] == "12.5"


def test_values_with_commas_are_quoted(tmp_path):
    folder = finished(tmp_path)
    write_published_tables(folder)
    assert 'image_size,"[64, 64]"\n' in (folder / "hyperparams.csv").read_text()
    table = pd.read_csv(folder / "hyperparams.csv", header=None, index_col=0)
    assert table.loc["agent_name", 1] == "er"
    assert json.loads(table.loc["image_size", 1]) == [64, 64]
