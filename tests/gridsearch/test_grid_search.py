"""`lethe search`, `best` and `final`: the runs they make, the data they never read, and recovery from a kill."""

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from lethe.dataloaders.index import find

ROOT = Path(__file__).parents[2]

GRID = """
datasets = ["digits"]
paradigms = ["class_iid"]
runs = 2
pretrained = false

[agents.finetune]
lr = [1e-3, 1e-2]

[agents.er]
lr = [1e-2]
memory_size = [20, 100]

[agents.slda]
"""


class Project:
    """A folder with a grid file, and the commands on it."""

    def __init__(self, folder: Path, shared: Path, text: str = GRID):
        self.folder = folder
        self.out = folder / "out"
        self.grid = folder / "small.toml"
        self.grid.write_text(text)
        self.places = ["--out", self.out, "--data", shared / "data", "--lists", shared / "lists"]

    def command(self, name: str, *options: object) -> list[object]:
        return [sys.executable, "-m", "gridsearch", name, self.grid, *self.places, *map(str, options)]

    def do(self, name: str, *options: object, status: int = 0) -> str:
        """Standard output and error of a command, which ends with `status`."""
        done = subprocess.run(
            self.command(name, *options), cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    def start(self, name: str, *options: object) -> subprocess.Popen:
        return subprocess.Popen(
            self.command(name, *options),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    def numbers(self) -> dict[str, bytes]:
        """Every file with numbers that must not depend on what happened on the way."""
        names = ("accuracy.csv", "metrics.jsonl", "val.csv", "test.csv", "hyperparams.csv")
        return {
            str(path.relative_to(self.out)): path.read_bytes()
            for path in sorted(self.out.rglob("*"))
            if path.name in names
        }

    def runs(self, name: str = "summary.json") -> list[Path]:
        # Not by `rglob`, which stumbles over folders of checkpoints that vanish while it looks.
        return sorted(path.parent for path in self.out.glob(f"*/*/*/*/run*/{name}"))


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Where dataset and lists lie, made once."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture
def project(tmp_path, shared):
    return Project(tmp_path, shared)


@pytest.fixture(scope="module")
def searched(tmp_path_factory, shared):
    """A grid whose search nobody has disturbed."""
    project = Project(tmp_path_factory.mktemp("searched"), shared)
    project.told = project.do("run", "--workers", 2)
    project.search_numbers = project.numbers()
    return project


def test_a_search_learns_every_trial_and_says_which_are_best(searched):
    assert "small: 5 trials x 2 runs: 0 finished, 0 failed, 10 to do" in searched.told
    assert "[10/10] digits/class_iid" in searched.told
    assert "best digits/class_iid: " in searched.told
    assert len(searched.runs()) == 10


def test_a_finished_search_has_nothing_to_do(searched):
    before = searched.numbers()
    told = searched.do("run")
    assert "10 finished, 0 failed, 0 to do" in told
    assert "[1/10]" not in told
    assert searched.numbers() == before


def test_a_dry_run_lists_the_runs_and_touches_nothing(project, searched):
    told = project.do("run", "--dry-run")
    assert told.count("to do  ") == 10
    assert "er memory_size=20" in told.replace("lr=0.01,", "")
    assert not project.out.exists()
    assert searched.do("run", "--dry-run").count("finished  ") == 10


def test_no_test_image_is_learned_listed_or_judged_in_a_search(searched, shared):
    assert not list(searched.out.rglob("test*.csv"))
    for config in searched.out.rglob("config.json"):
        assert json.loads(config.read_text())["split"] == "validation"
    with (shared / "lists" / "digits_dirmap.csv").open(newline="") as file:
        session = {row["im_path"]: int(row["session"]) for row in csv.DictReader(file)}
    lists = list((shared / "lists" / "digits_validation_filelists").rglob("*_filelist.txt"))
    listed = {line.rpartition(" ")[0] for path in lists for line in path.read_text().splitlines()}
    assert len(listed) > 1000
    assert {session[path] for path in listed}.isdisjoint(find.get("digits").test_sessions)


def test_the_winners_are_written_as_a_grid_and_learned_on_the_test_lists(searched, tmp_path):
    told = searched.do("best", "--into", tmp_path)
    written = (tmp_path / "small.toml").read_text()
    assert written in told
    assert written.count("[[agents.") == 3
    told = searched.do("final", "--runs", 2, "--workers", 2)
    final = [path for path in searched.out.rglob("test.csv") if path.read_text().strip()]
    assert len(final) == 3
    assert all(len(path.read_text().splitlines()) == 2 for path in final)
    report = searched.do("table", "--into", tmp_path / "report")
    assert "finetune" in report
    assert list((tmp_path / "report").glob("*.tex"))
    assert list((tmp_path / "report").glob("*.png"))


def test_runs_of_the_winners_are_at_least_one(searched):
    told = searched.do("final", "--runs", 0, status=2)
    assert told.splitlines()[-1] == "error: --runs: expected at least 1, got 0"


def test_the_winners_need_a_finished_search(project):
    told = project.do("best", status=2)
    assert "error: " in told
    assert "not finished" in told
    assert "Traceback" not in told


def test_what_fails_is_recorded_and_tried_again_only_when_asked(tmp_path, shared):
    text = GRID.replace("[agents.slda]", '[agents."tests.troubled:Crashes"]').replace("runs = 2", "runs = 1")
    project = Project(tmp_path, shared, text)
    told = project.do("run", status=1)
    assert "failed: ZeroDivisionError: one thing too many" in told
    assert "--retry-failed" in told
    (failed,) = project.runs("failed.json")
    assert "the last words of Crashes" in (failed / "log.txt").read_text()
    told = project.do("run", status=1)
    assert "4 finished, 1 failed, 0 to do" in told
    assert "failed before: digits/class_iid tests.troubled:Crashes" in told
    assert "4 finished, 0 failed, 1 to do" in project.do("run", "--retry-failed", status=1)


def test_killed_again_and_again_it_ends_in_the_same_tables(project, searched):
    generator, runners_killed, workers_killed = random.Random(0), 0, Counter()
    for _ in range(4):
        runner = project.start("run", "--workers", 2, "--checkpoint-batches", 20)
        before = len(project.runs())
        while runner.poll() is None and len(project.runs()) < before + 2:
            time.sleep(0.02)
            for run, worker in _learners(project.out).items():
                # A run whose worker dies three times before it comes any further is given up, and rightly so.
                if workers_killed[run] < 2 and generator.random() < 0.1:
                    os.kill(worker, signal.SIGKILL)
                    workers_killed[run] += 1
        if runner.poll() is None:
            runner.kill()
            runners_killed += 1
        runner.communicate()
    project.do("run", "--workers", 2)
    assert runners_killed >= 2
    assert workers_killed.total() >= 3
    assert len(project.runs()) == 10
    assert project.numbers() == searched.search_numbers


def test_two_runners_share_the_work(project, searched):
    runners = [project.start("run", "--workers", 1) for _ in range(2)]
    told = [runner.communicate(timeout=300)[0] for runner in runners]
    assert [runner.returncode for runner in runners] == [0, 0], told
    learned = [
        sum("] digits" in line and "by another" not in line for line in text.splitlines()) for text in told
    ]
    assert sum(learned) == 10, "\n".join(told)
    assert min(learned) > 0, told
    assert project.numbers() == searched.search_numbers


def test_ctrl_c_stops_at_once_and_says_how_to_go_on(project):
    runner = project.start("run", "--workers", 2)
    while not _learners(project.out):
        assert runner.poll() is None, runner.communicate()
        time.sleep(0.02)
    os.killpg(runner.pid, signal.SIGINT)
    told, _ = runner.communicate(timeout=30)
    assert runner.returncode == 130
    assert "the same command goes on from here" in told
    assert "Traceback" not in told


def test_a_reader_that_leaves_early_stops_a_search_whose_status_says_that_work_is_left(project):
    runner = project.start("run", "--workers", 1)
    runner.stdout.readline()
    runner.stdout.close()
    assert runner.wait(timeout=120) == 1
    assert len(project.runs()) < 10


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--workers", "0"], "--workers: expected at least 1, got 0"),
        (["--checkpoint-batches", "0"], "--checkpoint-batches: expected at least 1, got 0"),
        (["--gpus", "77"], "--gpus 77: expected "),
        (["--address", "auto"], "--address is an option of --engine ray"),
    ],
)
def test_bad_options_are_told(project, options, told):
    assert f"error: {told}" in project.do("run", *options, status=2)


def test_results_of_another_version_are_refused(project, searched):
    configs = {path.parent: json.loads(path.read_text()) for path in searched.out.rglob("config.json")}
    # Other tests have learned trials of `final` there, which are none of the search.
    folder = next(folder for folder, config in configs.items() if config["split"] == "validation")
    twin = project.out / folder.relative_to(searched.out)
    twin.mkdir(parents=True)
    (twin / "config.json").write_text(json.dumps(configs[folder] | {"format": 1}))
    told = project.do("run", status=2)
    assert "holds another configuration (different: format)" in told


def test_runs_of_a_trial_share_their_threads(tmp_path, shared, searched):
    text = GRID.replace("runs = 2", "runs = 3")
    twin = Project(tmp_path, shared, text)
    twin.places[1] = searched.out
    told = twin.do("run", "--threads", 2, status=2)
    assert "threads: 1 -> 2" in told


def _learners(out: Path) -> dict[Path, int]:
    """The folder of each run below `out` that is being learned, and the process that holds its lock."""
    folders = {path.stat().st_ino: path.parent for path in out.glob("*/*/*/*/run*/.lock")}
    rows = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    held = {int(row[5].rpartition(":")[2]): int(row[4]) for row in rows if row[1] == "FLOCK"}
    return {folder: held[inode] for inode, folder in folders.items() if inode in held}


@pytest.mark.parametrize("damage", ["", "[1]", '{"metrics": {"accuracy_mean": 5000}}', "folder"])
def test_a_damaged_record_fails_its_own_run_and_the_others_go_on(project, searched, damage):
    shutil.copytree(searched.out, project.out)
    for config in project.out.glob("*/*/*/*/config.json"):
        if json.loads(config.read_text())["split"] == "test":  # of a test before this one
            shutil.rmtree(config.parent)
    first, *others = project.runs()
    path = first / "summary.json"
    path.unlink()
    path.mkdir() if damage == "folder" else path.write_text(damage)
    lost = next(run for run in others if run.parent != first.parent)
    shutil.rmtree(lost)
    told = project.do("run", status=1)
    assert "8 finished, 1 failed, 1 to do" in told and "best digits/class_iid: " in told
    assert f"{path}: " in told and "delete its folder to make it again" in told
    assert (lost / "summary.json").exists()
    assert "Traceback" not in told
    shutil.rmtree(first)
    assert "9 finished, 0 failed, 1 to do" in project.do("run")
    assert project.numbers() == searched.search_numbers
