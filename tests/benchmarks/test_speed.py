"""`lethe speed`: every figure is there, and its table and JSON say the same."""

import json

import pytest
import torch

from lethe.agents import registry
from lethe.benchmarks.__main__ import main
from lethe.benchmarks.speed import agents, data, remind
from lethe.benchmarks.speed import figures as speed
from lethe.benchmarks.speed.figures import Figure

TINY_DATA = data.Sizes(pngs=6, jpegs=3, store_size=(16, 16), runs=1, videos=2, video_seconds=2, repeats=1)
TINY_AGENTS = agents.Sizes(
    remind_map=(512, 2, 2),
    remind_maps=70,
    replay=4,
    augmem_map=(512, 3, 3),
    augmem_batch=11,
    task_batches=2,
    image_side=16,
    batch=4,
    memory_batches=5,
    heavy_repeats=1,
    light_repeats=1,
)


def test_every_way_to_prepare_data_is_measured_beside_its_plain_one():
    figures = data.measure(TINY_DATA)
    assert [figure.what for figure in figures] == [
        "128x128 PNG to pixels",
        "640x480 JPEG to pixels",
        "CORe50 task lists (8)",
        "frames of 960x540 videos (2)",
        "frames of 960x540 videos (2)",
    ]
    assert all(figure.ours > 0 for figure in figures)
    assert [figure.plain is None for figure in figures] == [False, False, True, False, False]


WITHOUT_STEPS = {
    f"{name}, small network"
    for name in ("slda", "ncm", "ranpac", "acil", "fecam", "fsa", "gdumb", "gss", "siesta")
}
"""They take no step on the network, or one on gradients of single images, so that no bare step is beside theirs."""


@pytest.fixture(scope="module")
def steps() -> dict[str, Figure]:
    return {figure.what: figure for figure in agents.measure(TINY_AGENTS)}


def test_every_agent_is_measured_beside_its_bare_work(steps):
    others = {f"{name}, small network" for name in registry.AGENTS} - {
        f"{name}, small network" for name in ("remind", "augmem", "augmem_published")
    }
    assert set(steps) == others | {
        "augmem_published, a step",
        "remind, an image with 4 replayed",
        "augmem, a step",
        "augmem, a step with replay",
        "augmem, filling the store",
    }
    assert all(figure.ours > 0 and figure.plain > 0 for figure in steps.values())
    carded = [name for name in registry.AGENTS if "card" in vars(registry.get(name))]
    told = {f"{name}, small network" for name in carded}  # another agent may train no network, as SLDA
    assert {
        what: step.target for what, step in steps.items() if step.target and what not in others - told
    } == {
        **dict.fromkeys(others & told - WITHOUT_STEPS, 1 / 0.9),
        "augmem_published, a step": 1.15,
        "remind, an image with 4 replayed": 1.1,
        "augmem, a step": 1.15,
        "augmem, filling the store": 0.05,
    }


@pytest.mark.parametrize(
    ("name", "learning", "looking"),
    [
        *(
            (name, "4", "")
            for name in ("finetune", "offline", "l2", "ewc", "ewc_online", "si", "mas", "slda")
        ),
        ("lwf", "4", "4"),  # the old network's answers
        ("icarl", "14", "14"),  # the batch and ten exemplars, which the old network answers for as well
        ("er", "14", ""),  # the batch and ten replayed images
        ("er_ace", "14", ""),
        ("mir", "4 + 14", "20 + 20"),  # the virtual step, and the whole memory before and after it
        ("gss", "14 + 1", ""),  # and gradients of single images, all in one call
        ("gdumb", "4", ""),
        ("derpp", "24", ""),  # the batch and two samples
        ("agem", "4 + 10", ""),  # the gradient of the batch and that of a sample of the memory
        ("gem", "4 + 20", ""),  # the gradient of the batch and that of the whole memory of the first task
    ],
)
def test_an_agent_is_measured_beside_the_passes_of_its_paper_and_no_more(steps, name, learning, looking):
    also = f"forward on {looking}, " if looking else ""
    told = f"forward and backward on {learning}, {also}step"
    assert steps[f"{name}, small network"].plain_way == told


def test_the_bare_passes_are_those_that_are_told():
    """A network that counts: how many images, and how often a gradient came back."""
    plastic, seen = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 4)), []
    given = [(torch.rand(n, 3, 2, 2), torch.zeros(n, dtype=torch.int64), n != 7) for n in (5, 7, 6)]
    handle = torch.nn.modules.module.register_module_forward_hook(
        lambda module, x, scores: (
            seen.append((len(scores), scores.requires_grad)) if isinstance(module, torch.nn.Linear) else None
        )
    )
    agents.bare_step(plastic, given)(0)
    handle.remove()
    assert seen == [(5, True), (7, False), (6, True)]


def test_the_bare_attention_is_the_one_of_the_agent():
    """The same reads and the same gradient to the slots, or the ratio would compare with other work."""
    agent = agents._agent(
        registry.get("augmem_published"), agents._network("squeezenet", "last_block"), (512, 3, 3)
    )
    x = agents.maps_of_relu(2, (512, 3, 3))
    gradient = agents._attention(x, agent.memory.slots.detach())(0)
    agent.memory.read(x).sum().backward()
    torch.testing.assert_close(gradient, agent.memory.slots.grad)


def test_remind_is_measured_with_a_full_memory_and_what_that_takes(monkeypatch):
    filled = []
    monkeypatch.setattr(
        remind, "_filled", lambda sizes, made=remind._filled: filled.append(made(sizes)) or filled[0]
    )
    monkeypatch.setattr(remind, "_PART", 64)
    step, kept, peak = remind.measure(remind.Sizes((512, 2, 2), 20, codes=100, replay=4, repeats=2))
    assert step.what == "a step of an image with 4 replayed, 100 codes in memory"
    assert step.ours > 0 and step.plain > 0 and step.plain_way == "forward, backward, step on 5 maps"
    (agent,) = filled
    assert len(agent.memory) == 100 == agent.config.memory_size and agent.images.sum() == 3, (
        "streamed, and full"
    )
    assert kept.ours * 1e6 == agent.memory_bytes() == 100 * (2 * 2 * 32 + 8) + 4 * 256 * 512 + 9 * 20
    assert 100 < peak.ours < 1e5


def test_a_ratio_is_ours_by_plain():
    assert Figure("x", ours=30.0, plain=10.0).ratio == 3
    assert Figure("x", ours=30.0).ratio is None


def test_turns_alternate_and_the_median_counts(monkeypatch):
    ticks = iter([0, 1, 0, 10, 0, 5, 0, 30, 0, 2, 0, 20])
    monkeypatch.setattr(speed.time, "perf_counter", lambda: next(ticks))
    calls = []
    taken = speed.seconds(3, lambda turn: calls.append(("a", turn)), lambda turn: calls.append(("b", turn)))
    assert taken == [2, 20]
    assert calls == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2), ("b", 2)]


def test_the_table_lines_up():
    table = speed.table([Figure("one", 2000.0, 1000.0, "loop", 1.8), Figure("other", 3.0)], "per second")
    assert table.splitlines() == [
        "per second    ours   plain  ratio  target  plain way",
        "one         2000.0  1000.0   2.00    1.80  loop",
        "other          3.0",
    ]


@pytest.mark.parametrize(
    ("option", "part", "unit"),
    [
        ("--data", data, "per second"),
        ("--agents", agents, "milliseconds"),
        ("--remind", remind, "milliseconds or MB"),
    ],
)
def test_the_command_prints_a_table_and_writes_json(monkeypatch, tmp_path, capsys, option, part, unit):
    monkeypatch.setattr(part, "measure", lambda: [Figure("one", 20.0, 10.0, "loop", 1.8)])
    assert main(["speed", option, "--out", str(tmp_path / "speed.json")]) == 0
    assert capsys.readouterr().out.startswith(unit)
    content = json.loads((tmp_path / "speed.json").read_text())
    assert content["cores"] >= 1
    assert content["unit"] == unit
    assert content["figures"] == [
        {"what": "one", "ours": 20.0, "plain": 10.0, "plain_way": "loop", "target": 1.8, "ratio": 2.0}
    ]


@pytest.mark.parametrize("options", [[], ["--data", "--agents"]])
def test_one_part_is_measured_at_a_time(options):
    with pytest.raises(SystemExit) as end:
        main(["speed", *options])
    assert end.value.code == 2
