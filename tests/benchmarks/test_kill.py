"""A run that is killed with SIGKILL at random moments, and started again, ends in the numbers of one that was not.

So does one that stops on purpose (`until_class`) between kills.

The runs are real ones of the harness on the digits, in processes forked from one that has everything imported,
so that many kills cost little.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lethe.benchmarks.measure.costs import TIMED

ROOT = Path(__file__).parents[2]
KILLS = 12

SCRIPT = """
import json, os, random, signal, sys, time
from dataclasses import replace
from pathlib import Path
from lethe.benchmarks.run.experiment import Machine, Places, run
from lethe.benchmarks.run.trial import Trial

root, kills = Path(sys.argv[1]), int(sys.argv[2])
trial = Trial.create("digits", "class_iid", "er", {"lr": "0.01", "memory_size": "100"}, pretrained=False)
machine = Machine(threads=1, checkpoint_batches=7, predictions="each")

def places(name):
    return Places(root / name, root / "data", root / "lists")

def is_finished(name):
    return (trial.folder(root / name) / "run0" / "summary.json").exists()

def attempt(name, delay=None, until=None):
    child = os.fork()
    if child == 0:
        run(trial, 0, places(name), replace(machine, until_class=until))
        os._exit(0)
    if delay is not None:
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1] == 0

assert attempt("first")  # draws the digits, writes the lists, decodes
begun = time.perf_counter()
assert attempt("whole")
length = time.perf_counter() - begun
generator, done = random.Random(0), 0
# Runs grow shorter with every kill: each begins where the last one was. Kill early and often, over several runs.
for number in range(kills):
    name = f"killed{number // 4}"
    done += not attempt(name, generator.uniform(0, 0.4) * length, generator.choice([None, 6, 8]))
    if number % 4 == 3:
        assert attempt(name, until=8)
        assert not is_finished(name)
        assert attempt(name)
print(json.dumps({"killed": done, "folder": str(trial.folder(Path("."))), "runs": kills // 4}))
"""


def content(folder: Path) -> dict[str, object]:
    """All that must not depend on kills: every file but those of the clock."""
    files = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")}
    summary = json.loads(files.pop("summary.json"))
    del summary["sha256"]  # of the times as well
    for timed in TIMED:
        del summary["metrics"][timed]
    del summary["conditions"]
    return files | {"summary": summary}


def test_killed_and_started_again_it_ends_in_the_same_numbers(tmp_path):
    command = [sys.executable, "-c", SCRIPT, tmp_path, str(KILLS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["killed"] >= KILLS * 3 // 4, "too few kills hit a living run to say anything"
    whole = content(tmp_path / "whole" / told["folder"] / "run0")
    assert whole["accuracy.csv"].count(b"\n") == 6
    assert {f"predictions_task{task}.npz" for task in range(5)} <= whole.keys()
    for number in range(told["runs"]):
        assert content(tmp_path / f"killed{number}" / told["folder"] / "run0") == whole


def test_ctrl_c_stops_workers_at_once_and_says_how_to_go_on(tmp_path):
    settings = ["lr=0.01", "epochs=1000"]
    command = [
        *(
            sys.executable,
            "-m",
            "benchmarks",
            "run",
            "digits/class_iid",
            "--agent",
            "finetune",
            "--no-pretrained",
        ),
        *("--runs", "2", "--workers", "2", "--set", *settings, "--checkpoint-batches", "1"),
        *("--out", tmp_path / "out", "--data", tmp_path / "data", "--lists", tmp_path / "lists"),
    ]
    run = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while not list(tmp_path.rglob("state.safetensors")):
        assert run.poll() is None, run.communicate()
        time.sleep(0.1)
    os.killpg(run.pid, signal.SIGINT)
    told, _ = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "the same command goes on from here" in told
    assert "Traceback" not in told
    assert not list(tmp_path.rglob("summary.json"))


def processes_of(session):
    """Processes of a session that live, by what their command line says."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            if int(fields[3]) == session and fields[0] != "Z":
                found[int(folder.name)] = (folder / "cmdline").read_text()
        except OSError:  # it has ended meanwhile
            continue
    return found


@pytest.mark.parametrize(("how", "workers"), [(signal.SIGINT, 1), (signal.SIGKILL, 2)])
def test_a_run_that_decodes_images_on_the_way_leaves_no_process_behind(tmp_path, how, workers):
    """Ctrl-C reaches all processes of the terminal; a kill, of the command alone, none of those that it started."""
    places = ("--out", tmp_path / "out", "--data", tmp_path / "data", "--lists", tmp_path / "lists")
    what = ("digits/class_iid", "--agent", "finetune", "--no-pretrained", "--store", "none")
    options = (
        "--runs",
        "2",
        "--workers",
        str(workers),
        "--set",
        "epochs=100000",
        "--checkpoint-batches",
        "1",
    )
    run = subprocess.Popen(
        [sys.executable, "-m", "lethe", "run", *what, *options, *places],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        while len(list(tmp_path.rglob("state.safetensors"))) < workers:
            assert run.poll() is None, run.communicate()
            time.sleep(0.1)
        there = processes_of(run.pid)
        assert sum("stores.decoder" in line for line in there.values()) >= workers
        if how == signal.SIGINT:
            os.killpg(run.pid, how)
        else:
            run.kill()
        assert run.wait(timeout=60) == (130 if how == signal.SIGINT else -how)
        end = time.monotonic() + 20
        while processes_of(run.pid) and time.monotonic() < end:
            time.sleep(0.1)
        assert not processes_of(run.pid)
    finally:
        for pid in processes_of(run.pid):
            os.kill(pid, signal.SIGKILL)
    told = run.stdout.read()
    assert "Traceback" not in told
    assert not list(tmp_path.rglob("summary.json"))
