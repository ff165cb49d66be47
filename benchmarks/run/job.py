"""A job: one run of a trial, as given to workers."""

from dataclasses import dataclass
from pathlib import Path

from lethe.benchmarks.run.trial import Trial


@dataclass(frozen=True)
class Job:
    """One run of a trial; equal jobs are the same run."""

    trial: Trial
    number: int
    """Of the run, from 0."""

    def __str__(self) -> str:
        return f"{self.trial.agent} {self.trial.dataset}/{self.trial.paradigm} run {self.number}"

    def folder(self, results: Path) -> Path:
        """The folder of the run's record."""
        return self.trial.folder(results) / f"run{self.number}"
