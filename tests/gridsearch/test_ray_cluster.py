"""Runs on a Ray cluster of two nodes, started here, end as they do on this machine, whatever happens to a node."""

import argparse
import importlib.util
import json
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lethe.benchmarks.measure.costs import TIMED
from lethe.benchmarks.records import failures
from lethe.benchmarks.records.lock import is_locked
from lethe.benchmarks.records.write import checkpointed
from lethe.benchmarks.run.experiment import Machine, Places
from lethe.benchmarks.run.job import Job
from lethe.benchmarks.run.trial import Trial
from lethe.benchmarks.workers import pool
from lethe.benchmarks.workers.messages import Failed, Finished, Outcome, OutOfSpace
from lethe.common.errors import InputError

ROOT = Path(__file__).parents[2]
MACHINE = Machine(threads=1, checkpoint_batches=40)
MINE = """
from lethe.agents.finetune import Finetune


class Mine(Finetune):
    pass
"""
NODE = {"num_cpus": 1, "object_store_memory": 100_000_000, "include_dashboard": False}

pytestmark = pytest.mark.skipif(not importlib.util.find_spec("ray"), reason="needs requirements-ray.txt")


class Seen:
    """A watch that remembers, and may do something at every news of a run."""

    def __init__(self, at_news=lambda running: None):
        self.begun: list[Job] = []
        self.outcomes: list[Outcome] = []
        self.running: list[Job] = []
        self.at_news = at_news

    def started(self, job):
        self.begun.append(job)
        self.running.append(job)

    def learned(self, job, images, of, accuracy):
        assert 0 < images <= of
        self.at_news(self.running)

    def ended(self, outcome):
        self.running.remove(outcome.job)
        self.outcomes.append(outcome)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where commands are given: it holds a user's own agents."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "my_agents.py").write_text(MINE)
    shutil.copy(ROOT / "tests" / "troubled.py", folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        yield folder


@pytest.fixture(scope="module")
def cluster(folder):
    """A cluster of two nodes that do one run each."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    cluster.add_node(**NODE)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def places(tmp_path, folder):
    return Places(tmp_path / "results", folder / "data", folder / "lists")


def job(agent: str, number: int = 0, **settings) -> Job:
    trial = Trial.create("digits", "class_iid", agent, {"lr": 0.01, **settings})
    return Job(trial, number)


def long_jobs() -> list[Job]:
    return [job("finetune", epochs=3), job("er", memory_size=100, epochs=2)]


def short_jobs() -> list[Job]:
    return [job("my_agents:Mine"), job("troubled:Crashes")]


@pytest.fixture(scope="module")
def learned_here(folder):
    """The records of all these jobs as the local engine makes them."""
    here = Places(folder / "here", folder / "data", folder / "lists")
    jobs = long_jobs() + short_jobs()
    pool.prepare_all(jobs, here, MACHINE)
    pool.run_jobs(jobs, here, [MACHINE] * 2, Seen())
    return here.results


def content(results: Path, jobs: list[Job]) -> dict[str, object]:
    """All files of the jobs' trials, without what depends on the clock and on where code and images lie.

    A checkpoint that a failed run leaves stays where the run was learned.
    """
    trials = {job.trial.folder(results) for job in jobs}
    paths = [path for trial in trials for path in trial.rglob("*") if path.is_file()]
    paths = [path for path in paths if path.name[0] != "." and path.parent.name != "checkpoint"]
    files = {str(path.relative_to(results)): path.read_bytes() for path in paths}
    for name in files:
        if name.endswith(".json"):
            files[name] = json.loads(files[name])
            files[name].pop("started", None)
            files[name].pop("sha256", None)  # of the times as well
            files[name].pop("conditions", None)
            for changing in TIMED:
                files[name].get("metrics", {}).pop(changing, None)
        if name.endswith(("log.txt", "failed.json")):
            files[name] = "one thing too many" in str(files[name])
    return files


def engine(cluster):
    from lethe.gridsearch.engines.ray_cluster import ray_engine

    asked = {
        "workers": None, "threads": 1, "gpus": None, "trials_per_gpu": 1, "checkpoint_batches": 40,
        "keep_model": False, "store": "auto",
    }  # fmt: skip
    return ray_engine(argparse.Namespace(address=cluster.address, **asked))


def test_a_node_is_killed_and_every_run_ends_in_the_same_bytes_as_here(cluster, places, learned_here):
    jobs = long_jobs()
    (node,) = cluster.worker_nodes

    def kill(running: list[Job]) -> None:
        """Kill the second node while both are at work, each on a run that can go on."""
        both = len(running) == 2 and all(checkpointed(one.folder(places.results)) for one in running)
        if both and cluster.worker_nodes:
            cluster.remove_node(node, allow_graceful=False)

    seen = Seen(kill)
    run, machines = engine(cluster)
    assert machines == [MACHINE] * 2
    run(jobs, places, seen)
    assert not cluster.worker_nodes, "no run was long enough to be interrupted"
    assert len(seen.begun) == len(jobs) + 1
    assert [type(outcome) for outcome in seen.outcomes] == [Finished] * len(jobs)
    assert content(places.results, jobs) == content(learned_here, jobs)


def test_a_node_that_does_not_see_the_results_folder_sends_what_it_learned(
    cluster, places, learned_here, monkeypatch
):
    from lethe.gridsearch.engines import ray_cluster

    jobs, sent, keep = short_jobs(), [], ray_cluster.keep

    def spy(message, places):
        assert is_locked(message.outcome.job.folder(places.results)), "nobody else may learn it meanwhile"
        sent.append(message)
        return keep(message, places)

    monkeypatch.setattr(ray_cluster, "keep", spy)
    run, _ = engine(cluster)
    # In another process these paths lead somewhere else, as those of another machine would.
    monkeypatch.chdir(places.results.parent)
    here = Path("/proc/self/cwd")
    seen = Seen()
    run(jobs, Places(here / "results", here / "data", here / "lists"), seen)
    assert len(sent) == len(seen.outcomes) == len(jobs)
    (failure,) = [outcome.failure for outcome in seen.outcomes if isinstance(outcome, Failed)]
    assert failure.reason == "ZeroDivisionError: one thing too many"
    assert "the last words of Crashes" in failure.log
    assert failures.read(jobs[1].folder(places.results)) == failure
    assert content(places.results, jobs) == content(learned_here, jobs)
    assert not any(is_locked(job.folder(places.results)) for job in jobs)


def test_an_agent_that_the_nodes_do_not_have_is_the_failure_of_its_runs(
    cluster, places, tmp_path, monkeypatch
):
    (tmp_path / "only_here.py").write_text(MINE)
    run, _ = engine(cluster)
    monkeypatch.syspath_prepend(tmp_path)
    seen = Seen()
    run([job("only_here:Mine")], places, seen)
    (outcome,) = seen.outcomes
    assert "module 'only_here' is not found" in outcome.failure.reason


def test_an_agent_that_ends_its_program_fails_and_ends_no_actor(cluster, places):
    run, _ = engine(cluster)
    seen = Seen()
    run([job("troubled:Leaves")], places, seen)
    (outcome,) = seen.outcomes
    assert outcome.failure.reason == "SystemExit: 0"
    assert len(seen.begun) == 1


def test_a_full_disk_of_a_node_is_told_as_one_of_this_machine():
    told = pickle.loads(pickle.dumps(OutOfSpace("no space")))  # as Ray hands over what an actor returns
    assert told == OutOfSpace("no space")


def test_files_that_are_none_of_a_run_are_not_taken_from_a_node(places):
    from lethe.gridsearch.engines.ray_actor import Sent, keep

    one = job("finetune")
    for name in ("../escaped", "/tmp/escaped", "..", ".lock", ""):
        with pytest.raises(InputError, match="not those of a run"):
            keep(Sent(Finished(one, {}, None), None, {name: b""}), places)
    assert not places.results.exists()


GRID = """
datasets = ["digits"]
paradigms = ["class_iid"]
pretrained = false
[agents.finetune]
lr = 0.01
epochs = 10000
"""


def command(address: str, places: Places) -> list[str]:
    grid = places.results.with_name("grid.toml")
    grid.write_text(GRID)
    folders = [f"--out={places.results}", f"--data={places.data}", f"--lists={places.lists}"]
    options = ["--engine=ray", f"--address={address}", "--checkpoint-batches=1", *folders]
    return [sys.executable, "-m", "gridsearch", "run", str(grid), *options]


def test_ctrl_c_ends_runs_on_the_cluster_and_says_how_to_go_on(cluster, places):
    run = subprocess.Popen(
        command(cluster.address, places),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while not list(places.results.rglob("state.safetensors")):
        assert run.poll() is None, run.communicate()
        time.sleep(0.1)
    run.send_signal(signal.SIGINT)
    told, _ = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "the same command goes on from here" in told
    assert "Traceback" not in told
    (state,) = places.results.rglob("state.safetensors")
    deadline = time.monotonic() + 10
    while is_locked(state.parents[1]):
        assert time.monotonic() < deadline, "the run goes on"
        time.sleep(0.1)


def test_without_a_cluster_it_is_told_how_to_start_one(places):
    done = subprocess.run(
        command("127.0.0.1:1", places), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "error: --address 127.0.0.1:1: no Ray cluster there" in done.stderr
    assert "ray start --head" in done.stderr and "ray start --address=HEAD:6379" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_ray_it_is_told_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "lethe.gridsearch.engines.ray_cluster", raising=False)
    with pytest.raises(InputError, match=r"pip install -r requirements-ray\.txt"):
        importlib.import_module("lethe.gridsearch.engines.ray_cluster")
