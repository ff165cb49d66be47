"""The processor and the instruction sets of numerical libraries, on which the last bits of sums depend.

PyTorch, oneDNN, MKL, faiss and OpenBLAS choose their code by the processor when they are loaded. `fix` sets the
environment variables that make them all choose the same on every x86-64 processor with AVX2.
"""

import functools
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from lethe.common.errors import InputError

PORTABLE: Mapping[str, str] = MappingProxyType(
    {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        # MKL's AVX2 branch is another one on processors of Intel and of others; this one is the same on all.
        "MKL_CBWR": "COMPATIBLE",
        "FAISS_SIMD_LEVEL": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
    }
)
"""Environment variables, read when the libraries are loaded."""


def is_portable() -> bool:
    """Whether this process's libraries use the same instruction set on every processor with AVX2."""
    return all(os.environ.get(name) == value for name, value in PORTABLE.items())


def fix() -> None:
    """Make the libraries of this process, and of all that it starts, use AVX2.

    `InputError` where the processor lacks AVX2, or PyTorch is loaded already.
    """
    if is_portable():
        return
    if _level() not in ("AVX2", "AVX512"):
        raise InputError(
            f"--portable: expected an x86-64 processor with AVX2, got {name()}: leave it out here"
        )
    if "torch" in sys.modules:
        variables = " ".join(f"{variable}={value}" for variable, value in PORTABLE.items())
        raise InputError(f"--portable: PyTorch is loaded already: set {variables} before Python starts")
    os.environ.update(PORTABLE)


def instruction_sets() -> dict[str, str]:
    """What PyTorch, oneDNN, MKL and faiss use here.

    PyTorch is asked; the others do not tell: it is what they are limited to, or the highest of the processor.
    """
    import torch

    highest = _level()
    mkl = os.environ.get("MKL_CBWR", highest)
    return {
        "torch": torch.backends.cpu.get_cpu_capability(),
        "onednn": os.environ.get("ONEDNN_MAX_CPU_ISA", highest),
        "mkl": mkl if mkl == PORTABLE["MKL_CBWR"] else f"{mkl} on {_field('vendor_id') or 'unknown'}",
        "faiss": os.environ.get("FAISS_SIMD_LEVEL", highest),
    }


def name() -> str:
    """The processor's model."""
    return _field("model name") or platform.processor() or "unknown"


@functools.cache
def _field(key: str) -> str:
    """The first value of `key` in /proc/cpuinfo; empty where there is none."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def _level() -> str:
    """The highest instruction set of the processor that the libraries tell apart."""
    flags = set(_field("flags").split())
    if flags >= {"avx512f", "avx512bw", "avx512dq", "avx512vl"}:
        return "AVX512"
    return "AVX2" if flags >= {"avx2", "fma"} else platform.machine()
