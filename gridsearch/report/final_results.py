"""Test results of the chosen configurations."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from lethe.agents import registry
from lethe.benchmarks.records.read import TrialRecord, read_trial
from lethe.benchmarks.report.comparison import Comparison, compare
from lethe.benchmarks.run.trial import Trial
from lethe.gridsearch.grid import for_test
from lethe.gridsearch.selection import Choice


def final_comparison(choices: Sequence[Choice], results: Path) -> Comparison:
    """The comparison of the chosen configurations on test images; an entry without runs where none was learned."""
    records = [_record(for_test(choice.trial), results) for choice in choices]
    return compare(records, titles={choice.trial.dataset: choice.trial.spec.title for choice in choices})


def _record(trial: Trial, results: Path) -> TrialRecord:
    folder, needs = trial.folder(results), asdict(registry.get(trial.agent).needs)
    if not (folder / "config.json").exists():
        return TrialRecord(folder, trial.config(), needs, (), ())
    record = read_trial(folder)
    return replace(record, needs=record.needs or needs)
