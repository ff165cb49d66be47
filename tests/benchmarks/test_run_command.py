"""`lethe run` and `report`, from the command line to the files; and every mistake in between."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lethe.benchmarks import command
from lethe.benchmarks.__main__ import main
from lethe.benchmarks.records.lock import lock
from lethe.benchmarks.records.read import find_trials
from lethe.benchmarks.run.experiment import Places
from lethe.benchmarks.run.trial import Trial, begin
from tests.made_records import run as made_run
from tests.made_records import trial as made_trial
from tests.made_records import write

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Options that share drawn digits, lists and decoded images between the tests of this file."""
    shared = tmp_path_factory.mktemp("shared")
    return ["--data", str(shared / "data"), "--lists", str(shared / "lists")]


def run(places, out, *options, stream="digits/class_iid"):
    small = ["--set", "lr=0.01", "batch_size=50", "--no-pretrained"]
    return main(["run", stream, "--out", str(out), *places, *small, *options])


def test_a_trial_leaves_the_folder_that_the_design_promises(places, tmp_path, capsys):
    assert run(places, tmp_path, "--agent", "finetune", "--runs", "2", "--predictions") == 0
    assert "digits/class_iid finetune" in capsys.readouterr().out
    (folder,) = (tmp_path / "digits" / "class_iid" / "finetune").iterdir()
    assert folder.name.startswith("batch_size=50,lr=0.01-")
    config = json.loads((folder / "config.json").read_text())
    assert config["settings"]["momentum"] == 0.9 and config["agent"] == "finetune"
    environment = json.loads((folder / "env.json").read_text())
    assert environment["versions"]["torch"] and environment["threads"] == 1 and environment["dirmap"]
    assert sorted(p.name for p in (folder / "run1").iterdir() if not p.name.startswith(".")) == [
        "accuracy.csv", "class_accuracy.csv", "confusion.csv", "metrics.jsonl", "predictions.npz", "summary.json",
    ]  # fmt: skip
    for name in ("test.csv", "test_task1.csv"):
        rows = (folder / name).read_text().splitlines()
        assert len(rows) == 2 and all(len(row.split(",")) == 5 for row in rows)
    summary = json.loads((folder / "run1" / "summary.json").read_text())
    (software,) = summary["software"]
    assert {name: environment[name] for name in software} == software
    assert {"commit", "dirty", "versions"} <= software.keys()
    steps = [json.loads(line) for line in (folder / "run0" / "metrics.jsonl").read_text().splitlines()]
    assert {(line["task"], line["name"]) for line in steps} == {(task, "loss") for task in range(5)}


def test_what_the_network_was_pretrained_on_is_recorded_and_read(places, tmp_path):
    assert main(["run", "digits/class_iid", "--agent", "slda", "--out", str(tmp_path / "a"), *places]) == 0
    assert run(places, tmp_path / "b", "--agent", "finetune") == 0
    ((pretrained,), (random,)) = (find_trials(tmp_path / name) for name in "ab")
    assert pretrained.pretraining == "drawn shapes" and pretrained.weights.startswith("57eb7cee08bd")
    assert (random.pretraining, random.weights) == ("", "")


def test_finished_runs_are_skipped_and_more_can_be_added(places, tmp_path, capsys):
    assert run(places, tmp_path, "--agent", "finetune") == 0
    (summary,) = tmp_path.rglob("summary.json")
    before = summary.read_bytes(), summary.stat().st_mtime_ns
    capsys.readouterr()
    assert run(places, tmp_path, "--agent", "finetune", "--runs", "2", "--dry-run") == 0
    assert "2 runs, 1 finished, 1 to do" in capsys.readouterr().out
    assert len(list(tmp_path.rglob("summary.json"))) == 1, "a dry run does nothing"
    assert run(places, tmp_path, "--agent", "finetune", "--runs", "2") == 0
    assert capsys.readouterr().out.startswith("1 of 2 runs were finished before\n")
    assert (summary.read_bytes(), summary.stat().st_mtime_ns) == before
    assert len(list(tmp_path.rglob("summary.json"))) == 2


def test_a_setting_that_is_rarely_meant_is_noted_once(places, tmp_path, capsys):
    shown = ["--agent", "augmem", "finetune", "--runs", "2", "--dry-run"]
    assert run(places, tmp_path, *shown, "--set", "augmem.regulariser_weight=191") == 0
    note = "note: agent augmem: regulariser_weight=191 is above (1 + momentum) / lr = 190,"
    told = capsys.readouterr().out
    assert told.count("note:") == told.count(note) == 1
    assert run(places, tmp_path, *shown, "--set", "augmem.regulariser_weight=190") == 0
    assert "note:" not in capsys.readouterr().out


def test_same_numbers_in_other_processes_in_another_order(places, tmp_path):
    """Run 1 alone, after run 0, and in two worker processes beside others: the same bytes."""
    assert run(places, tmp_path / "one", "--agent", "er", "finetune", "--runs", "2") == 0
    code = (
        "from pathlib import Path\nimport sys\nfrom lethe.benchmarks.run.experiment import Machine, Places, run\n"
        "from lethe.benchmarks.run.trial import Trial\n"
        "trial = Trial.create('digits', 'class_iid', 'er', {'lr': 0.01, 'batch_size': 50}, pretrained=False)\n"
        "run(trial, 1, Places(*map(Path, sys.argv[1:])), Machine())\n"
    )
    command = [sys.executable, "-c", code, tmp_path / "two", places[1], places[3]]
    subprocess.run(command, cwd=ROOT, check=True)
    assert run(places, tmp_path / "three", "--agent", "finetune", "er", "--runs", "2", "--workers", "2") == 0

    def files(name):
        found = {
            p.relative_to(tmp_path / name): p.read_bytes() for p in (tmp_path / name).rglob("run1/*.[cj]s*")
        }
        return {path: content for path, content in found.items() if path.name != "summary.json"}

    one, two, three = files("one"), files("two"), files("three")
    assert len(one) == 8 and len(two) == 4
    assert one == three
    assert two.items() <= one.items()
    runs = {p.parent.name: p.read_bytes() for p in (tmp_path / "one").rglob("finetune/*/*/accuracy.csv")}
    assert runs["run0"] != runs["run1"], "runs are different orders"


def test_a_frozen_trunk_is_computed_once_and_its_store_shared(places, tmp_path, capsys):
    stores = Path(places[1]) / "stores"
    others = {*stores.glob("features-*")}  # of tests that share the places
    assert run(places, tmp_path, "--agent", "finetune", "er", "--cut", "conv4") == 0
    (store,) = {*stores.glob("features-*")} - others
    built = (store / "array.npy").stat().st_mtime_ns
    assert run(places, tmp_path, "--agent", "finetune", "--cut", "conv4", "--runs", "2") == 0
    assert len({*stores.glob("features-*")} - others) == 2, "random weights: each run has a trunk of its own"
    assert (store / "array.npy").stat().st_mtime_ns == built
    assert {json.loads(p.read_text())["cut"] for p in tmp_path.rglob("config.json")} == {"conv4"}
    assert run(places, tmp_path, "--agent", "er", "--cut", "conv5") == 2
    assert "unknown stage to cut small at 'conv5': did you mean 'conv" in capsys.readouterr().err


def test_a_failing_agent_is_reported_and_the_others_go_on(places, tmp_path, capsys, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "fragile.py").write_text(
        "from lethe.agents.finetune import Finetune\n"
        "class Fragile(Finetune):\n"
        "    def observe(self, x, y):\n"
        "        raise RuntimeError('out of luck')\n"
    )
    assert run(places, tmp_path / "out", "--agent", "fragile:Fragile", "finetune") == 1
    told = capsys.readouterr()
    assert "out of luck" in told.err and told.err.endswith(
        "`lethe check fragile:Fragile` tells what the agent breaks, on a tiny problem\n"
    )
    assert "finetune digits/class_iid run 0:" in told.out
    assert not list((tmp_path / "out").rglob("fragile.Fragile/**/summary.json"))


def test_an_agent_that_ends_its_program_fails_its_run_alone(places, tmp_path, capsys):
    assert run(places, tmp_path, "--agent", "tests.troubled:Leaves", "finetune") == 1
    told = capsys.readouterr()
    assert "run 0: SystemExit: 0" in told.err
    assert "finetune digits/class_iid run 0:" in told.out


def test_a_run_that_another_process_learns_is_left_for_later_and_its_end_waited_for(places, tmp_path, capsys):
    settings = {"lr": 0.01, "batch_size": 50}
    trial = Trial.create("digits", "class_iid", "finetune", settings, pretrained=False)
    folder = trial.folder(tmp_path)
    held = lock(folder / "run0")

    def let_go():
        while not (folder / "run1" / "summary.json").exists():
            time.sleep(0.02)
        held.close()

    other = threading.Thread(target=let_go, daemon=True)
    other.start()
    assert run(places, tmp_path, "--agent", "finetune", "--runs", "2") == 0
    told = capsys.readouterr().out
    assert told.index("run 1: ") < told.index("run 0: ")


def test_workers_share_the_cores_that_the_process_may_use(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {1, 3, 5, 7})
    large = Trial.create("core50", "iid", "finetune", {}, network="resnet18")
    assert command._threads([large], workers=2) == 2


def test_report_writes_tables_and_plots(places, tmp_path, capsys):
    assert run(places, tmp_path / "runs", "--agent", "finetune", "er", "--runs", "2") == 0
    assert main(["report", str(tmp_path / "runs"), "--out", str(tmp_path / "report")]) == 0
    assert sorted(p.name for p in (tmp_path / "report").iterdir()) == [
        "comparison.csv", "comparison.md", "comparison.tex",
        "first_task.pdf", "first_task.png", "first_task.txt", "increments.csv",
        "paradigms.pdf", "paradigms.png", "paradigms.txt",
        "pareto_digits.pdf", "pareto_digits.png", "pareto_digits.txt",
    ]  # fmt: skip
    assert "digits,class_iid,er,accuracy_mean," in (tmp_path / "report" / "comparison.csv").read_text()
    assert "paradigms.png" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        (["digits/class_iid", "--agent", "finetun"], ["unknown agent 'finetun': did you mean 'finetune'?"]),
        (["digit/class_iid", "--agent", "er"], ["unknown dataset 'digit': did you mean 'digits'?"]),
        (["digits/class-iid", "--agent", "er"], ["paradigm of digits 'class-iid'", "did you mean 'class_iid'?"]),
        (["digits/instance", "--agent", "er"], ["unknown paradigm of digits 'instance'"]),
        (["digits", "--agent", "er"], ["'digits': expected DATASET/PARADIGM"]),
        (["digits/iid", "--agent", "er", "--set", "memry=1"], ["unknown hyperparameter 'memry'"]),
        (
            ["digits/iid", "--agent", "er", "slda", "--set", "x=1"],
            ["agent er: unknown hyperparameter 'x'", "agent slda: unknown hyperparameter 'x'"],
        ),
        (
            ["digits/iid", "--agent", "er", "slda", "finetune", "--set", "lr=0.003"],
            ["--set lr=0.003: no hyperparameter of slda: give it as er.lr=0.003 finetune.lr=0.003"],
        ),
        (["digits/iid", "--agent", "er", "--set", "lr"], ["--set lr: expected KEY=VALUE"]),
        (["digits/iid", "--agent", "er", "--set", "ewc.lr=1"], ["'ewc' is none of the agents to run (er)"]),
        (["digits/iid", "--agent", "er", "--network", "resnet50"], ["unknown network 'resnet50'"]),
        (["core50/iid", "--agent", "er", "--network", "small"], ["takes images up to 64 px"]),
        (
            ["digits/iid", "--agent", "er", "--runs", "0", "--workers", "-1", "--threads", "0"],
            ["--runs: expected at least 1, got 0", "--workers: ", "--threads: "],
        ),
        (["digits/iid", "--agent", "er", "--checkpoint-batches", "0"], ["--checkpoint-batches: expected at "]),
        (["digits/iid", "--agent", "er", "--device", "abacus"], ["--device abacus: not available"]),
        (
            ["digits/iid", "nowhere/iid", "--agent", "er", "nobody", "--set", "lr=0"],
            ["lr: expected more than 0", "unknown dataset 'nowhere'", "unknown agent 'nobody'"],
        ),
    ],
)  # fmt: skip
def test_a_mistake_ends_in_one_message_and_status_2(arguments, messages, places, tmp_path, capsys):
    assert main(["run", *arguments, *places, "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert all(line.startswith("error: ") for line in told.splitlines())
    assert all(message in told for message in messages), told
    assert not (tmp_path / "out").exists()


def test_a_missing_dataset_says_what_to_do(places, tmp_path, capsys):
    assert (
        main(["run", "core50/iid", "--agent", "er", *places, "--out", str(tmp_path), "--data", str(tmp_path)])
        == 2
    )
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2
    assert told[0] == f"error: 8250 of 8250 images are missing below {tmp_path / 'core50'}"
    assert (
        "unpack core50_128x128.zip or core50_350x350.zip (https://vlomonaco.github.io/core50/) in" in told[1]
    )


def test_a_folder_of_another_configuration_is_refused_and_kept(places, tmp_path, capsys):
    assert run(places, tmp_path, "--agent", "finetune") == 0
    (config,) = tmp_path.rglob("config.json")
    config.write_text(config.read_text().replace('"lr": 0.01', '"lr": 0.5'))
    before = config.read_bytes()
    assert run(places, tmp_path, "--agent", "finetune", "--runs", "2") == 2
    assert "holds another configuration (different: settings)" in capsys.readouterr().err
    assert config.read_bytes() == before


def test_runs_made_otherwise_are_not_mixed(places, tmp_path, capsys):
    assert run(places, tmp_path, "--agent", "finetune", "--threads", "1") == 0
    assert run(places, tmp_path, "--agent", "finetune", "--threads", "2", "--runs", "2") == 2
    told = capsys.readouterr().err
    assert "threads: 1 -> 2" in told and "bring back what was there then (--threads 1)" in told


def test_more_runs_take_the_threads_of_earlier_ones_whatever_the_default_is_now(places, tmp_path):
    assert run(places, tmp_path, "--agent", "finetune", "--threads", "2") == 0
    assert run(places, tmp_path, "--agent", "finetune", "--runs", "2") == 0
    (environment,) = tmp_path.rglob("env.json")
    assert json.loads(environment.read_text())["threads"] == 2
    assert len(list(tmp_path.rglob("summary.json"))) == 2


def test_every_file_that_a_user_meets_is_in_the_readme_of_the_results(places, tmp_path):
    assert (
        run(places, tmp_path, "--agent", "tests.troubled:Leaves", "finetune", "--predictions", "--keep-model")
        == 1
    )
    text = (ROOT / "results" / "README.md").read_text()
    met = {p.name for p in tmp_path.rglob("[!.]*.*") if p.is_file() and p.parent.name != "checkpoint"}
    assert {"failed.json", "hyperparams.csv", "model.json", "predictions.npz", "test_task1.csv"} <= met
    assert not [name for name in (*met, "log.txt", "val.csv", "val_task1.csv") if f"{name}`" not in text]


def test_damaged_records_are_named_by_the_report(places, tmp_path, capsys):
    assert run(places, tmp_path / "runs", "--agent", "finetune") == 0
    (summary,) = tmp_path.rglob("summary.json")
    summary.write_text("{")
    assert main(["report", str(tmp_path / "runs"), "--out", str(tmp_path / "report")]) == 2
    assert "summary.json: damaged" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


def test_the_table_at_the_end_says_of_a_number_that_some_runs_lack_it(tmp_path):
    one = Trial.create("digits", "class_iid", "er")
    folder = begin(one, tmp_path)
    made = write(tmp_path / "made", made_trial("er", made_run(0, [50]), made_run(1, [50], forgetting=None)))
    for path in made.glob("run*"):
        path.rename(folder / path.name)
    line = command._table([one], Places(tmp_path)).splitlines()[-1]
    assert "5.0 (1/2 runs)" in line


@pytest.mark.parametrize("device", ["meta", "hpu", "mps", "xla", "nonsense", ""])
def test_a_device_that_cannot_learn_is_refused_before_anything_is_written(device, places, tmp_path, capsys):
    assert run(places, tmp_path, "--agent", "finetune", f"--device={device}") == 2
    told = capsys.readouterr().err
    assert (
        told.startswith(f"error: --device {device}: not available here: expected cpu, cuda")
        and told.count("\n") == 1
    )
    assert not list(tmp_path.iterdir())


def test_more_runs_than_anyone_waits_for_are_refused(places, tmp_path, capsys):
    assert run(places, tmp_path, "--agent", "finetune", "--runs", "9" * 30, "--dry-run") == 2
    assert "expected at most 100,000 runs at a time" in capsys.readouterr().err


def test_settings_that_ask_for_too_much_memory_fail_their_run_in_one_sentence(places, tmp_path, capsys):
    assert run(places, tmp_path, "--agent", "er", "finetune", "--set", f"er.memory_size={10**12}") == 1
    told = capsys.readouterr()
    assert "failed: er digits/class_iid run 0: not enough memory, with these settings" in told.err
    assert "Traceback" not in told.err and "finetune digits/class_iid run 0" in told.out


def test_a_damaged_record_fails_its_run_and_the_others_go_on(places, tmp_path, capsys):
    assert run(places, tmp_path, "--agent", "finetune") == 0
    (summary,) = tmp_path.rglob("summary.json")
    summary.write_text("{}")
    capsys.readouterr()
    assert run(places, tmp_path, "--agent", "finetune", "er", "--runs", "2", "--dry-run") == 1
    assert "4 runs, 0 finished, 1 damaged, 3 to do" in capsys.readouterr().out
    assert run(places, tmp_path, "--agent", "finetune", "er", "--runs", "2") == 1
    told = capsys.readouterr()
    assert f"{summary}: damaged (metrics is missing): delete its folder to make it again" in told.err
    assert len(list(tmp_path.rglob("summary.json"))) == 4 and "er digits/class_iid run 1" in told.out


def test_the_checkpoint_of_a_run_that_was_killed_at_its_end_is_removed_by_the_next_command(places, tmp_path):
    assert run(places, tmp_path, "--agent", "finetune") == 0
    (summary,) = tmp_path.rglob("summary.json")
    (summary.parent / "checkpoint").mkdir()
    (summary.parent / "checkpoint" / "state.safetensors").touch()
    assert run(places, tmp_path, "--agent", "finetune") == 0
    assert not (summary.parent / "checkpoint").exists()
