"""A sample of the hostile inputs, as part of the suite; `python -m tests.hostile.replay` replays them all."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.hostile.case import Case, Ended

ROOT = Path(__file__).parents[2]


def replay(*options: str) -> str:
    command = [sys.executable, "-m", "tests.hostile.replay", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_few_command_lines():
    assert replay("--only", "command_line_cases", "--sample", "20").endswith("20 cases: 20 well\n")


@pytest.mark.slow
def test_a_few_of_every_kind():
    assert replay("--sample", "60").endswith("60 cases: 60 well\n")


@pytest.mark.parametrize(
    ("expect", "ended", "verdict"),
    [
        ("told", Ended(2, "", "error: no"), None),
        ("told", Ended(2, "", ""), "no message"),
        ("told", Ended(0, "", ""), "silent: status 0"),
        ("either", Ended(0, "", ""), "silent: another result"),
        ("either", Ended(1, "", "error: no"), None),
        ("same", Ended(1, "", "error: no"), "status 1 where the result was to be had"),
        ("any", Ended(1, "", "x\nTraceback (most recent call last):\n"), "traceback"),
        ("any", Ended(0, "\x1b[2J", ""), "escape sequence"),
        ("any", Ended(None, "", ""), "hang"),
        ("any", Ended(-9, "", ""), "killed by signal 9"),
    ],
)
def test_verdicts(expect, ended, verdict, tmp_path):
    case = Case("x", lambda folder: [], expect, lambda folder: 1, 2)
    assert case.verdict(tmp_path, ended) == verdict
