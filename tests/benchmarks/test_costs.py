"""The tables of costs: every column recomputed from raw records; marks and notes where runs are unlike."""

import json
from statistics import fmean

import pytest
import torch

from lethe.agents import registry
from lethe.agents.contract import toy
from lethe.benchmarks.measure import trunk
from lethe.benchmarks.measure.costs import Trunk, optimizer_bytes
from lethe.benchmarks.records.read import find_trials
from lethe.benchmarks.report.comparison import compare
from lethe.benchmarks.report.costs import cost_tables, format_brief, format_flops
from lethe.benchmarks.report.tables import format_bytes, format_seconds
from lethe.benchmarks.report.write import notes
from lethe.benchmarks.run.experiment import Machine, Places, run
from lethe.benchmarks.run.trial import Trial
from tests import made_records

RUNS = 2
SETTINGS = {
    "finetune": {"batch_size": 50, "epochs_first_task": 3},
    "er": {"batch_size": 50, "memory_size": 100},
    "slda": {"batch_size": 50},
    "offline": {"batch_size": 50, "epochs": 2},
}

# The small network on digits, 32 x 32: multiply-adds of its layers and its parameters.
LAYERS = [(8 * 8, 16, 3 * 64), (4 * 4, 48, 16 * 9), (2 * 2, 96, 48 * 9), (2 * 2, 128, 96 * 9), (1, 10, 128)]
FORWARD = [2 * places * out * into for places, out, into in LAYERS]
PARAMETERS = sum(out * into + out for _, out, into in LAYERS)
NORMALISE = 2 * 3 * 4  # bytes of its shift and scale
BOTH_WAYS = 3 * sum(FORWARD) - FORWARD[0]  # nobody asks for the gradient of the pixels
PIXELS = 32 * 32 * 3
K, C = 10, 128


def cells(tables):
    """By agent and column, over all tables."""
    found = {}
    for table in tables:
        for line in table.rows:
            found.setdefault(line[0], {}).update(zip(table.header, line, strict=True))
    return found


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    root = tmp_path_factory.mktemp("costs")
    places = Places(root / "results", root / "data", root / "lists")
    for agent, settings in SETTINGS.items():
        for number in range(RUNS):
            run(Trial.create("digits", "class_iid", agent, settings), number, places, Machine())
    return root


def test_every_column_is_what_the_raw_records_say(learned):
    shown = cells(cost_tables(compare(find_trials(learned / "results")), "digits"))
    assert list(shown) == ["finetune", "er", "slda", "offline"]
    (trunk_file,) = (learned / "data" / "stores").glob("trunk-*.json")
    trunk_seconds = json.loads(trunk_file.read_text())["seconds_per_image"]
    for agent in SETTINGS:
        (folder,) = (learned / "results" / "digits" / "class_iid" / agent).iterdir()
        needs = json.loads((folder / "env.json").read_text())["needs"]
        settings = json.loads((folder / "config.json").read_text())["settings"]
        mode = "offline" if needs["offline"] else "stream"
        lists = learned / "lists" / "digits_task_filelists" / "class_iid"
        tasks = [
            [
                path.read_text().splitlines()
                for path in sorted((lists / f"run{r}" / mode).glob("train_task_*"))
            ]
            for r in range(RUNS)
        ]
        once = len({line for task in tasks[0] for line in task})
        summaries = [json.loads((folder / f"run{r}" / "summary.json").read_text()) for r in range(RUNS)]
        seconds = fmean(summary["metrics"]["seconds"] for summary in summaries)

        assert [shown[agent][name] for name in ("task boundaries", "task data again", "frozen trunk")] == [
            "yes" if needs[need] else "no" for need in ("task_boundaries", "task_data", "frozen_trunk")
        ]
        assert (shown[agent]["offline lists"] == "yes") == (agent == "offline")
        kept = {
            "memory": {
                "finetune": K,
                "er": 100 * (PIXELS + 8) + K,
                "slda": 8 * (K * C + C * C + K),
                "offline": K,
            }[agent],
            "network": 4 * PARAMETERS + NORMALISE,
            "optimiser": 0 if agent == "slda" else 4 * PARAMETERS,  # the momentum
            "data": once * (PIXELS + 8) if agent == "offline" else 0,
        }
        for column, count in (kept | {"total": sum(kept.values())}).items():
            assert shown[agent][column] == format_bytes(count), (agent, column)

        learned_images = fmean(
            sum(len(task) * (settings["epochs_first_task"] or settings["epochs"] if not number
                             else settings["epochs"]) for number, task in enumerate(of_run))
            for of_run in tasks
        )  # fmt: skip
        passes = f"{learned_images / once:.3g}"
        first = {"finetune": " (first task 3)", "offline": " (first task 2)"}.get(agent, "")
        assert shown[agent]["passes"] == passes + first
        learning = learned_images * BOTH_WAYS
        if agent == "er":  # ten old images with each batch but the first
            learning += 10 * (fmean(sum(-(-len(task) // 50) for task in t) for t in tasks) - 1) * BOTH_WAYS
        if agent == "slda":
            batches = fmean(sum(-(-len(task) // 50) for task in of_run) for of_run in tasks)
            learning = 2 * C * (K + C) * once + 2 * C * C * K * batches + sum(FORWARD[:4]) * once
        predicting = sum(FORWARD) + (2 / 3 * C**3 + 2 * C * C * K) / 64 * (agent == "slda")
        for column, flops in (("learning FLOPs", learning / once), ("prediction FLOPs", predicting)):
            exact = fmean(
                s["metrics"][{"l": "learn_flops", "p": "predict_flops"}[column[0]]] for s in summaries
            )
            assert exact == pytest.approx(flops, rel=1e-3), (agent, column)
            assert shown[agent][column] == format_flops(exact)

        mark = " ‡" if shown[agent]["wall time"].endswith("‡") else ""
        assert shown[agent]["learning time"] == format_brief(seconds / once) + mark
        assert shown[agent]["trunk time"] == format_brief(trunk_seconds if agent == "slda" else 0)
        assert shown[agent]["training time"] == format_seconds(seconds) + mark
        wall = fmean(summary["metrics"]["wall_seconds"] for summary in summaries)
        assert shown[agent]["wall time"] == format_seconds(wall) + mark
        assert shown[agent]["runs"] == str(RUNS)


def test_a_run_notes_the_conditions_of_its_process(learned):
    (folder,) = (learned / "results" / "digits" / "class_iid" / "er").iterdir()
    (noted,) = json.loads((folder / "run0" / "summary.json").read_text())["conditions"]
    assert set(noted) == {"load_average", "cores", "threads", "cpu", "instruction_sets"}
    assert set(noted["instruction_sets"]) == {"torch", "onednn", "mkl", "faiss"}
    assert noted["threads"] == 1 and noted["load_average"] >= 0 and noted["cpu"]
    environment = json.loads((folder / "env.json").read_text())
    assert environment["portable"] is False and environment["instruction_sets"] == noted["instruction_sets"]


def record(number, seconds=0.001, load=0.5, torch_set="AVX2"):
    """A run that took `seconds` an image on two cores."""
    made = made_records.run(number, [50.0], learn_seconds_per_image=seconds)
    sets = {"torch": torch_set, "onednn": "AVX2"}
    made.summary["conditions"] = [{"load_average": load, "cores": 2, "instruction_sets": sets}]
    return made


@pytest.mark.parametrize(
    ("second", "told"),
    [
        ({"seconds": 0.0014}, ""),
        ({"seconds": 0.0016}, "1.0 ms to 1.6 ms an image"),
        ({"load": 2.9}, ""),  # 1.45 a core, and nobody waits below one
        ({"load": 4.0}, "load 1.0 to 2.0 per core"),
    ],
)
def test_times_of_unlike_runs_are_marked_and_told(second, told):
    tables = cost_tables(compare([made_records.trial("er", record(0), record(1, **second))]), "core50")
    shown, below = cells(tables)["er"], tables[-1].notes
    for column in ("learning time", "training time", "wall time"):
        assert shown[column].endswith(" ‡") == bool(told)
    assert below == ((f"‡: runs under conditions that differ by more than a factor of 1.5: er, class_iid: {told}",)
                     if told else ())  # fmt: skip


def test_a_mean_over_several_instruction_sets_says_so():
    comparison = compare([made_records.trial("er", record(0), record(1, torch_set="AVX512"))])
    told = (
        "er: runs with different instruction sets, which differ for that too: "
        "onednn AVX2, torch AVX2 (run 0); onednn AVX2, torch AVX512 (run 1)"
    )
    assert f"core50/class_iid: {told}" in notes(comparison)
    assert cost_tables(comparison, "core50")[-1].notes == (told,)
    alike = compare([made_records.trial("er", record(0), record(1))])
    assert not [note for note in notes(alike) if "instruction" in note]


def test_conditions_that_are_not_all_known_are_no_error():
    for known in (
        None,
        [],
        [{}],
        [{"load_average": None, "cores": 2, "instruction_sets": {"x": "\x1b[31m|&"}}],
    ):
        made = made_records.run(0, [50.0])
        made.summary["conditions"] = known
        assert cells(cost_tables(compare([made_records.trial("er", made)]), "core50"))["er"]["runs"] == "1"


@pytest.mark.parametrize(
    ("settings", "vectors", "numbers"),
    [({}, 1, 0), ({"momentum": 0.0}, 0, 0), ({"optimizer": "adam"}, 2, 1), ({"optimizer": "adamax"}, 2, 1)],
)
def test_the_optimisers_state_is_counted(settings, vectors, numbers):
    agent = toy.build(registry.get("finetune"), **settings)
    toy.learn(agent)
    assert optimizer_bytes(agent) == 4 * (vectors * len(agent.theta) + numbers)


def test_the_state_of_an_optimiser_of_another_library_is_counted():
    agent = toy.build(registry.get("avalanche:Naive"))
    toy.learn(agent)
    parameters = sum(p.nbytes for p in agent.network.plastic.parameters())
    assert optimizer_bytes(agent) == parameters


def test_a_trunk_is_measured_once_for_each_machine(tmp_path, monkeypatch):
    frozen = toy.network(cut="head").frozen

    def measured():
        images = torch.zeros(3, 3, 8, 8, dtype=torch.uint8)
        return trunk.measured_once(lambda: images, (8, 8), frozen, "f" * 64, tmp_path, toy.CPU)

    first = measured()
    assert first.seconds > 0 and first.flops == 2 * (16 * 8 * 3 * 9 + 4 * 8 * 8 * 9)
    assert measured() == first
    (path,) = tmp_path.iterdir()
    path.write_text('{"seconds_per_image": -1.0, "flops_per_image": 3}')
    assert measured().seconds > 0, "damaged: again"
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(before + 1)
        measured()
    finally:
        torch.set_num_threads(before)
    assert len(list(tmp_path.iterdir())) == 2


def test_without_a_trunk_there_is_nothing_to_measure(tmp_path):
    pixels = torch.zeros(3, 3, 8, 8, dtype=torch.uint8)
    assert trunk.measure(pixels, toy.network().frozen, toy.CPU) == Trunk(0.0, 0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (3.51e-5, "35 µs"), (0.00141, "1.4 ms"), (0.1, "100 ms"), (0.9999, "1.0 s"), (12.3, "12 s")],
)
def test_short_times(seconds, text):
    assert format_brief(seconds) == text


@pytest.mark.parametrize(
    ("flops", "text"), [(0, "0"), (999, "999"), (51_400, "51 k"), (7_410_000, "7.4 M"), (3e15, "3000 T")]
)
def test_flops_have_units(flops, text):
    assert format_flops(flops) == text
