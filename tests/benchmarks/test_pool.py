"""Worker processes: what goes wrong with one run is recorded with it, and the others go on."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import safetensors.torch
from safetensors import SafetensorError

from lethe.benchmarks.records import failures
from lethe.benchmarks.records.augmem_files import write_tables_of
from lethe.benchmarks.run.experiment import Machine, Places
from lethe.benchmarks.run.job import Job
from lethe.benchmarks.run.trial import Trial
from lethe.benchmarks.workers import pool
from lethe.benchmarks.workers.messages import Finished, Outcome, OutOfSpace
from lethe.benchmarks.workers.worker import DiskFull, attempt, logged_attempt
from lethe.common.errors import InputError

MACHINE = Machine(threads=1)


class Seen:
    """A watch that remembers."""

    def __init__(self):
        self.begun: list[Job] = []
        self.outcomes: list[Outcome] = []
        self.news = 0

    def started(self, job):
        self.begun.append(job)

    def learned(self, job, images, of, accuracy):
        assert 0 < images <= of
        self.news += 1

    def ended(self, outcome):
        self.outcomes.append(outcome)

    def of(self, agent: str) -> Outcome:
        (found,) = [outcome for outcome in self.outcomes if outcome.job.trial.agent == agent]
        return found


@pytest.fixture
def places(tmp_path, tmp_path_factory):
    shared = tmp_path_factory.getbasetemp() / "digits"
    return Places(tmp_path / "results", shared / "data", shared / "lists")


def job(agent: str, number: int = 0, **settings) -> Job:
    trial = Trial.create("digits", "class_iid", agent, {"lr": 0.01, **settings}, pretrained=False)
    return Job(trial, number)


def do(jobs: list[Job], places: Places, workers: int = 2) -> Seen:
    seen = Seen()
    pool.prepare_all(jobs, places, MACHINE)
    pool.run_jobs(jobs, places, [MACHINE] * workers, seen)
    return seen


def test_a_run_that_crashes_or_diverges_is_recorded_and_the_others_go_on(places):
    jobs = [job("tests.troubled:Crashes"), job("finetune", lr=1e30), job("finetune")]
    seen = do(jobs, places)
    crashed = seen.of("tests.troubled:Crashes").failure
    assert crashed.reason == "ZeroDivisionError: one thing too many"
    assert "the last words of Crashes" in crashed.log
    assert any("troubled.py" in line for line in crashed.log), "where it happened"
    assert failures.read(jobs[0].folder(places.results)) == crashed
    diverged = failures.read(jobs[1].folder(places.results))
    assert "loss became" in diverged.reason and "smaller learning rate" in diverged.reason
    assert pool.finished(jobs[2], places)
    assert {outcome.job for outcome in seen.outcomes} == set(jobs)
    assert failures.read(jobs[2].folder(places.results)) is None


def test_a_worker_that_is_killed_is_replaced_and_its_run_ends_as_if_nothing_had_happened(places, tmp_path):
    dies, calm = (job("tests.troubled:DiesOnce", batch=batch, folder=str(tmp_path)) for batch in (20, 10**6))
    seen = do([dies, calm], places, workers=1)
    assert [type(outcome) for outcome in seen.outcomes] == [Finished, Finished]
    assert len(seen.begun) == 3
    same = [
        (one.folder(places.results) / "metrics.jsonl").read_bytes()
        + (one.folder(places.results) / "accuracy.csv").read_bytes()
        for one in (dies, calm)
    ]
    assert same[0] == same[1]


def test_a_run_that_kills_its_worker_every_time_is_given_up(places):
    dying, calm = job("tests.troubled:Dies"), job("finetune")
    seen = do([dying, calm], places, workers=1)
    failure = seen.of("tests.troubled:Dies").failure
    assert "SIGKILL" in failure.reason and "memory" in failure.reason
    assert "the last words of Dies" in failure.log
    assert seen.begun.count(dying) == pool.TRIES
    assert pool.finished(calm, places)


def test_a_signal_without_a_name_is_told_by_its_number(places):
    dying, calm = job("tests.troubled:DiesUnnamed"), job("finetune")
    seen = do([dying, calm], places, workers=1)
    assert f"by signal {signal.SIGRTMIN + 6}," in seen.of("tests.troubled:DiesUnnamed").failure.reason
    assert pool.finished(calm, places)


def test_an_agent_that_ends_its_program_fails_and_the_others_go_on(places):
    leaving, calm = job("tests.troubled:Leaves"), job("finetune")
    seen = do([leaving, calm], places, workers=1)
    failure = seen.of("tests.troubled:Leaves").failure
    assert failure.reason == "SystemExit: 0"
    assert any("troubled.py" in line for line in failure.log), "where it happened"
    assert pool.finished(calm, places)


def test_a_run_that_comes_further_between_deaths_is_not_given_up(places):
    victim = job("finetune", epochs=5)
    folder = victim.folder(places.results)
    seen, kills = Seen(), 0
    pool.prepare_all([victim], places, MACHINE)
    machine = Machine(threads=1, checkpoint_batches=10)
    runner = threading.Thread(target=pool.run_jobs, args=([victim], places, [machine], seen))
    runner.start()
    reached = None
    while runner.is_alive() and kills < pool.TRIES + 1:
        now = pool.checkpointed(folder)
        if now is not None and now != reached:
            reached = now
            os.kill(_learning(folder), signal.SIGKILL)
            kills += 1
        time.sleep(0.01)
    runner.join()
    assert kills == pool.TRIES + 1, "too few kills hit a living run to say anything"
    assert pool.finished(victim, places)


def test_a_run_that_another_process_learns_is_waited_for(places, tmp_path):
    slow = job("tests.troubled:Waits", folder=str(tmp_path))
    pool.prepare_all([slow], places, MACHINE)
    first, second = Seen(), Seen()
    runners = [threading.Thread(target=pool.run_jobs, args=([slow], places, [MACHINE], first))]
    runners[0].start()
    while not (tmp_path / "waiting").exists():
        time.sleep(0.02)
    runners.append(threading.Thread(target=pool.run_jobs, args=([slow], places, [MACHINE], second)))
    runners[1].start()
    time.sleep(0.5)
    (tmp_path / "go").touch()
    for runner in runners:
        runner.join()
    assert [len(seen.begun) for seen in (first, second)] == [1, 0]
    assert first.of("tests.troubled:Waits").seconds > 0
    assert second.of("tests.troubled:Waits").seconds is None
    assert second.of("tests.troubled:Waits").summary == first.of("tests.troubled:Waits").summary


def test_a_full_disk_stops_everything_and_blames_no_run(places):
    full = job("tests.troubled:FillsTheDisk")
    with pytest.raises(DiskFull, match=r"No space left.*free some space"):
        do([full, job("finetune", number=1), job("finetune")], places, workers=1)
    assert failures.read(full.folder(places.results)) is None


def test_a_failure_is_forgotten_when_the_run_begins_anew(places):
    one = job("finetune")
    folder = one.folder(places.results)
    folder.mkdir(parents=True)
    failures.write(folder, failures.failure(folder, "an old reason"))
    assert failures.read(folder).reason == "an old reason"
    do([one], places, workers=1)
    assert not (folder / "failed.json").exists()


def _learning(folder: Path) -> int:
    """The process that holds the lock of the run in `folder`."""
    inode = (folder / ".lock").stat().st_ino
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        if fields[1] == "FLOCK" and fields[5].endswith(f":{inode}"):
            return int(fields[4])
    raise AssertionError(f"nobody holds the lock in {folder}")


def test_a_disk_that_is_full_when_a_checkpoint_is_written_blames_no_run(places, monkeypatch):
    def full(*arguments, **options):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    one = job("finetune")
    with pytest.raises(DiskFull, match=r"cannot be written: No space left.*free some space"):
        attempt(one, places, MACHINE)
    assert failures.read(one.folder(places.results)) is None


def test_a_run_whose_folder_cannot_be_made_is_told_in_words(places):
    one = job("finetune")
    folder = one.folder(places.results)
    folder.parent.mkdir(parents=True)
    folder.touch()
    with pytest.raises(InputError, match=r"run0: cannot be written: File exists"):
        attempt(one, places, MACHINE)
    assert "cannot be written: File exists" in logged_attempt(one, places, MACHINE, None).failure.reason
    with pytest.raises(InputError, match=r"failed\.json: cannot be written"):
        pool.run_jobs([one], places, [MACHINE], Seen())


@pytest.mark.parametrize(
    "refused", ["lethe.benchmarks.workers.worker.lock", "lethe.benchmarks.workers.worker._output_to"]
)
def test_a_disk_that_is_full_when_a_run_begins_blames_no_run(places, monkeypatch, refused):
    def full(path):
        try:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        except OSError as error:
            raise InputError(str(error)) from error

    monkeypatch.setattr(refused, full)
    told = logged_attempt(job("finetune"), places, MACHINE, None)
    assert isinstance(told, OutOfSpace) and "free some space" in told.problem


def test_what_a_run_prints_on_a_full_disk_is_lost_without_a_word(tmp_path):
    script = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from lethe.benchmarks.workers.worker import _output_to\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "with _output_to(Path(sys.argv[1])):\n    print('a word')\n"
        "print('the next', file=sys.stderr)"
    )
    log = tmp_path / "log.txt"
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        [sys.executable, "-c", script, log], env=buffered, capture_output=True, text=True, check=False
    )
    assert "OSError" not in done.stderr and "the next" in done.stderr


def test_a_damaged_record_stops_no_run_and_is_told_in_the_end(places):
    damaged, next_one, other = job("finetune"), job("finetune", number=1), job("er")
    do([damaged], places, workers=1)
    (damaged.folder(places.results) / "accuracy.csv").write_bytes(b"")
    seen = do([next_one, other], places, workers=1)
    assert [type(outcome) for outcome in seen.outcomes] == [Finished, Finished]
    folders = [one.trial.folder(places.results) for one in (next_one, other)]
    (folders[1] / "test.csv").unlink()
    with pytest.raises(InputError, match=r"run0/accuracy\.csv: damaged.*delete its folder"):
        write_tables_of(folders)
    assert (folders[1] / "test.csv").read_text().count("\n") == 1, "the others have their tables"


def test_a_log_is_not_written_through_a_link(places, tmp_path):
    one = job("finetune")
    (tmp_path / "notes.txt").write_text("worth keeping")
    folder = one.folder(places.results)
    folder.mkdir(parents=True)
    (folder / "log.txt").symlink_to(tmp_path / "notes.txt")
    (outcome,) = do([one], places, workers=1).outcomes
    assert "log.txt: is a symbolic link: remove it" in outcome.failure.reason
    assert (tmp_path / "notes.txt").read_text() == "worth keeping"


def test_a_results_folder_that_is_removed_under_a_run_is_told_and_not_made_again(places):
    one = job("tests.troubled:RemovesItsRecord", folder=str(places.results))
    (outcome,) = do(
        [one, job("tests.troubled:RemovesItsRecord", folder="nowhere")], places, workers=1
    ).outcomes[:1]
    assert outcome.failure.reason.endswith("was removed while its run was learning: give the command again")
