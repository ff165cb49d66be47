"""A copy of the working tree, in which tests run with one change at a time."""

import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from xml.etree import ElementTree

from tests.mutation.mutants import Mutant

_SLACK = 60
"""Seconds beyond four times the usual ones: other work on the machine, PyTorch's import."""
_MEMORY = 12 << 30
"""Bytes that a test process may take: a change can make a loop that allocates for ever."""


class Copy:
    """A copy of the working tree, in which tests run."""

    def __init__(self, tree: Path, folder: Path):
        self.root = folder / "lethe"
        self.temporary = folder / "t"  # short: sockets lie in it
        self.temporary.mkdir()
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        listed = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=True)
        for name in listed.stdout.split("\0"):
            if name and (tree / name).is_file():
                (self.root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(tree / name, self.root / name)
        self.seconds: dict[str, float] = {}
        """Of each test file that passes without a change."""

    def measure(self, files: Sequence[str]) -> None:
        """Run the files' tests unchanged, for their times; files with a test that fails are of no use, and named."""
        report = self.temporary / "report.xml"
        self._pytest([*files, f"--junitxml={report}"], None)
        failed = set()
        for case in ElementTree.parse(report).iter("testcase"):
            file = case.get("classname", "").replace(".", "/") + ".py"
            self.seconds[file] = self.seconds.get(file, 0.0) + float(case.get("time", 0))
            if case.find("failure") is not None or case.find("error") is not None:
                failed.add(file)
        for file in sorted(failed):
            print(f"left out, because it fails without a change: {file}", flush=True)
            del self.seconds[file]

    def fails(self, mutant: Mutant, files: set[str]) -> str:
        """The first test that fails with `mutant`, or that it hangs; empty if it survives."""
        target = self.root / mutant.path
        text = target.read_text(encoding="utf-8")
        order = sorted(files & self.seconds.keys(), key=lambda file: self.seconds[file])
        if not order:
            return ""
        target.write_text(mutant.apply(text), encoding="utf-8")
        try:
            return self._pytest(["-x", *order], 4 * sum(self.seconds[file] for file in order) + _SLACK)
        finally:
            target.write_text(text, encoding="utf-8")

    def _pytest(self, arguments: Sequence[str], limit: float | None) -> str:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
        # Without bytecode: that of a mutant of the same second and size would pass for that of the next one.
        settings = {"PYTHONPATH": str(self.root), "TMPDIR": str(self.temporary), "OMP_NUM_THREADS": "1",
                    "PYTHONDONTWRITEBYTECODE": "1"}  # fmt: skip
        process = subprocess.Popen(
            command, cwd=self.root, env=os.environ | settings, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY)),
        )  # fmt: skip
        try:
            told, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            return f"longer than {limit:.0f} s"
        finally:
            _end(process)
        if process.returncode == 0:
            return ""
        first = (line for line in told.splitlines() if line.startswith(("FAILED ", "ERROR ")))
        return next(first, told[-300:]).split(" - ")[0]


def _end(process: subprocess.Popen) -> None:
    """End the whole group, so that nothing of a test that was stopped goes on."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
