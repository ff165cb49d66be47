"""--portable: the same bits whatever instruction sets the environment asks for, and a record that says so."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from lethe.agents.base import Needs
from lethe.benchmarks.__main__ import main
from lethe.benchmarks.records import environment
from lethe.common import processor
from lethe.common.errors import InputError

ROOT = Path(__file__).parents[2]
OTHERS = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "AVX2"}
AVX2 = pytest.mark.skipif(
    processor._level() not in ("AVX2", "AVX512"), reason="the processor lacks AVX2, which --portable is about"
)


def learned(folder: Path, variables: dict[str, str], *options: str) -> tuple[str, Path]:
    """Digest of what a run of convolutions, of matrix products and of a covariance leaves; and its results folder."""
    out = folder / "-".join(["out", *variables.values(), *options])
    command = [
        *(sys.executable, "-m", "benchmarks", "run", "digits/class_iid", "--agent", "er", "slda", *options),
        *("--set", "batch_size=100", "--out", out, "--data", folder / "data", "--lists", folder / "lists"),
    ]
    plain = {name: value for name, value in os.environ.items() if name not in processor.PORTABLE}
    done = subprocess.run(
        command, env={**plain, **variables}, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    files = sorted([*out.rglob("accuracy.csv"), *out.rglob("metrics.jsonl")])
    assert len(files) == 4
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest(), out


@pytest.mark.slow
@AVX2
def test_the_same_bits_whatever_the_environment_asks_for(tmp_path):
    one, out = learned(tmp_path, {}, "--portable")
    other, _ = learned(tmp_path, OTHERS, "--portable", "--workers", "2")
    assert one == other
    assert learned(tmp_path, OTHERS)[0] != one, (
        "or the environment makes no difference and the test says nothing"
    )
    noted = json.loads(next(out.rglob("env.json")).read_text())
    sets = {"torch": "AVX2", "onednn": "AVX2", "mkl": "COMPATIBLE", "faiss": "AVX2"}
    assert noted["portable"] is True and noted["instruction_sets"] == sets


def test_it_is_too_late_once_pytorch_is_loaded(capsys, monkeypatch):
    for name in processor.PORTABLE:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(processor, "_level", lambda: "AVX2")
    assert main(["run", "digits/iid", "--agent", "er", "--portable", "--dry-run"]) == 2
    told = capsys.readouterr().err
    assert "error: --portable: PyTorch is loaded already: set ATEN_CPU_CAPABILITY=avx2 " in told
    assert not set(processor.PORTABLE) & set(os.environ)


def test_a_processor_without_avx2_is_refused(monkeypatch):
    monkeypatch.setattr(processor, "is_portable", lambda: False)
    monkeypatch.setattr(processor, "_level", lambda: "aarch64")
    with pytest.raises(InputError, match="--portable: expected an x86-64 processor with AVX2"):
        processor.fix()


def test_it_is_on_only_where_all_libraries_are_told(monkeypatch):
    for name in processor.PORTABLE:
        monkeypatch.delenv(name, raising=False)
    for name, value in processor.PORTABLE.items():
        assert not processor.is_portable()
        monkeypatch.setenv(name, value)
    assert processor.is_portable()
    processor.fix()  # there is nothing left to do
    assert processor.instruction_sets()["mkl"] == "COMPATIBLE"


def test_runs_of_a_trial_are_all_portable_or_none_is(tmp_path):
    noted = {
        "needs": asdict(Needs()), "device": "cpu", "threads": 1, "portable": False, "torch": "2", "protocol": {},
        "dirmap": "d", "images": "i", "weights": "", "store": "pixels",
    }  # fmt: skip
    environment.note(tmp_path, noted)
    with pytest.raises(InputError, match=r"portable: False -> True"):
        environment.note(tmp_path, noted | {"portable": True})
    environment.note(tmp_path, noted)
