"""An agent that keeps more and more memory ends its own run, with the reason."""

import os
import time

import pytest

from lethe.benchmarks.__main__ import main
from lethe.benchmarks.workers import memory
from lethe.common.errors import InputError


@pytest.mark.parametrize(
    ("asked", "size"),
    [("8GB", 8 * 10**9), ("8 gb", 8 * 10**9), ("1.5MB", 1_500_000), ("700", 700), ("2 KB", 2000), ("1B", 1)],
)
def test_sizes(asked, size):
    assert memory.limit_of(asked, 4) == size


@pytest.mark.parametrize("asked", ["", "GB", "-1GB", "0", "1e9", "٣GB", "8 GBs", "9" * 30, "1.MB"])
def test_what_is_no_size(asked):
    with pytest.raises(InputError, match=r"--max-memory .*: expected a size, such as 8GB"):
        memory.limit_of(asked, 1)


def test_workers_share_most_of_the_machine():
    alone = memory.limit_of(None, 1)
    assert memory.limit_of(None, 4) == pytest.approx(alone / 4, abs=1)
    assert 0 < alone < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_what_a_process_keeps_is_counted_and_what_it_has_mapped_is_not(tmp_path):
    before = memory.used(os.getpid())
    kept = bytearray(64 << 20)
    assert memory.used(os.getpid()) - before > 60 << 20
    del kept
    assert memory.used(2**22 + 1) == 0, "of a process that is gone"


def test_a_block_is_ended_where_it_keeps_too_much():
    kept, words = [], []
    limit = memory.used(os.getpid()) + (100 << 20)
    with (
        pytest.raises(memory.MemoryExceeded, match=r"it kept more than .* GB of memory: give it more"),
        memory.limited(limit, words.append),
    ):
        for _ in range(600):
            kept.append(bytearray(1 << 20))
            time.sleep(0.001)
        time.sleep(5)
    assert not words and len(kept) > 90
    with memory.limited(None, words.append):
        pass


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_that_keeps_too_much_fails_and_the_others_go_on(tmp_path, tmp_path_factory, capfd, workers):
    shared = tmp_path_factory.getbasetemp() / "digits"
    limit = f"{memory.used(os.getpid()) / 1e6 + 900:.0f}MB"
    agents = ["tests.troubled:Hoards", "finetune"]
    status = main([
        *("run", "digits/class_iid", "--agent", *agents, "--no-pretrained", "--set", "lr=0.01"),
        *("--out", str(tmp_path), "--data", str(shared / "data"), "--lists", str(shared / "lists")),
        *("--max-memory", limit, "--workers", str(workers)),
    ])  # fmt: skip
    told = capfd.readouterr()
    assert status == 1
    assert "failed: tests.troubled:Hoards digits/class_iid run 0: it kept more than" in told.err
    assert "finetune digits/class_iid run 0: " in told.out and "Traceback" not in told.err
    assert len(list(tmp_path.rglob("failed.json"))) == 1
