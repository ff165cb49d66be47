"""A job: one run of a trial, as given to workers."""

from dataclasses import dataclass
from pathlib import Path

from lethe.benchmarks.run.trial import Trial
from lethe.common.errors import InputError

MOST_RUNS = 100_000
"""Runs that one command takes, all its trials together."""


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


def check_count(trials: int, runs: int) -> None:
    """`InputError` if `runs` runs of each of `trials` trials are more than a command takes."""
    if trials * runs > MOST_RUNS:
        raise InputError(
            f"{trials:,} trials x {runs:,} runs: expected at most {MOST_RUNS:,} runs at a time: "
            "give fewer runs or fewer values of the hyperparameters"
        )
