"""`python -m benchmarks speed --data`: every figure is there, and its table and JSON say the same."""

import json

import pytest

from benchmarks import speed
from benchmarks.__main__ import main
from benchmarks.speed import Sizes, Speed

TINY = Sizes(pngs=6, jpegs=3, store_size=(16, 16), runs=1, videos=2, video_seconds=2, repeats=1)


@pytest.fixture(scope="module")
def speeds() -> list[Speed]:
    return speed.measure_data(TINY)


def test_every_way_is_measured_beside_its_plain_one(speeds):
    assert [figure.what for figure in speeds] == [
        "128x128 PNG to pixels",
        "640x480 JPEG to pixels",
        "CORe50 task lists (8)",
        "frames of 960x540 videos (2)",
        "frames of 960x540 videos (2)",
    ]
    assert all(figure.ours > 0 for figure in speeds)
    assert [figure.plain is None for figure in speeds] == [False, False, True, False, False]


def test_a_ratio_is_times_as_fast():
    assert Speed("x", ours=30.0, plain=10.0).ratio == 3
    assert Speed("x", ours=30.0).ratio is None


def test_turns_alternate_and_the_median_counts(monkeypatch):
    ticks = iter([0, 1, 0, 10, 0, 5, 0, 30, 0, 2, 0, 20])
    monkeypatch.setattr(speed.time, "perf_counter", lambda: next(ticks))
    calls = []
    taken = speed._seconds(3, lambda turn: calls.append(("a", turn)), lambda turn: calls.append(("b", turn)))
    assert taken == [2, 20]
    assert calls == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2), ("b", 2)]


def test_the_table_lines_up():
    table = speed.table([Speed("one", 2000.0, 1000.0, "loop", 1.8), Speed("other", 3.0)])
    assert table.splitlines() == [
        "per second    ours   plain  ratio  target  plain way",
        "one         2000.0  1000.0   2.00    1.80  loop",
        "other          3.0",
    ]


def test_the_command_prints_a_table_and_writes_json(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(speed, "measure_data", lambda: [Speed("one", 20.0, 10.0, "loop", 1.8)])
    assert main(["speed", "--data", "--out", str(tmp_path / "speed.json")]) == 0
    assert "one" in capsys.readouterr().out
    content = json.loads((tmp_path / "speed.json").read_text())
    assert content["cores"] >= 1
    assert content["speeds"] == [
        {"what": "one", "ours": 20.0, "plain": 10.0, "plain_way": "loop", "target": 1.8, "ratio": 2.0}
    ]
