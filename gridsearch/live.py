"""Progress display of a search: a line per finished run; on a terminal also the runs in progress and best results."""

import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NoReturn, Self

from tqdm import tqdm

from lethe.benchmarks.records.read import read_summary
from lethe.benchmarks.run.experiment import Places
from lethe.benchmarks.run.job import Job
from lethe.benchmarks.run.trial import Trial
from lethe.benchmarks.workers.messages import Failed, Outcome, Stopped
from lethe.common.printable import printable
from lethe.gridsearch.grid import place_of
from lethe.gridsearch.plan import Plan, TimeEstimate, duration_text

_REFRESH = 0.5  # seconds
_MOST_LINES = 12  # of the best so far


class Live:
    """Progress display: a `Watch`, and a context manager that clears the terminal at the end.

    `runs` is the number of runs of a complete trial; incomplete trials do not count for the best so far.
    """

    def __init__(self, plan: Plan, runs: int, workers: int, places: Places):
        self.failed = len(plan.failed)
        self._done = len(plan.finished)
        self._total = plan.total
        self._runs = runs
        self._workers = workers
        self._places = places
        self._left = dict.fromkeys(plan.left)
        self._pace = TimeEstimate(plan.finished, places)
        self._running: dict[Job, str] = {}
        self._accuracies: dict[tuple[str, str, str], dict[str, list[float]]] = defaultdict(
            lambda: defaultdict(list)
        )
        for job in plan.finished:
            self._note(job, read_summary(job.folder(places.results)))
        self._lines: list[tqdm[NoReturn]] = []
        self._drawn = 0.0

    def __enter__(self) -> Self:
        self._draw()
        return self

    def __exit__(self, *exception: object) -> None:
        for line in reversed(self._lines):
            line.close()

    def started(self, job: Job) -> None:
        """Add the job to the runs in progress."""
        self._running[job] = ""
        self._draw()

    def learned(self, job: Job, images: int, of: int, accuracy: float | None) -> None:
        """Update the progress of the job."""
        so_far = "" if accuracy is None else f", accuracy so far {accuracy:.1f} %"
        self._running[job] = f"{100 * images // max(of, 1):3d} %{so_far}"
        if time.perf_counter() - self._drawn >= _REFRESH:
            self._draw()

    def stopped(self, stopped: Stopped) -> None:
        """Print nothing: the runs of a search go to the end."""

    def ended(self, outcome: Outcome) -> None:
        """Print the result of the job, or the reason of its failure."""
        job = outcome.job
        self._running.pop(job, None)
        self._left.pop(job, None)
        if isinstance(outcome, Failed):
            self.failed += 1
            told = f"failed: {outcome.failure.reason}"
        else:
            self._done += 1
            self._note(job, outcome.summary)
            told = f"{outcome.summary['metrics']['accuracy_mean']:.1f} %"
            if how := outcome.summary.get("collapsed"):
                told += f", collapsed: {printable(how)}"
            if outcome.seconds is None:
                told += ", by another process"
            else:
                self._pace.note(job, outcome.seconds)
                told += f", {outcome.seconds:.1f} s"
        count = self._done + self.failed
        tqdm.write(f"[{count}/{self._total}] {run_label(job)}: {told}", file=sys.stdout)
        sys.stdout.flush()  # so that a reader such as `tee` gets each line at once
        self._draw()

    def best(self) -> list[str]:
        """A line per dataset and paradigm: accuracy of the best complete trial of each agent, the best agent first."""
        places = defaultdict(list)
        for (dataset, paradigm, agent), trials in self._accuracies.items():
            means = [statistics.fmean(found) for found in trials.values() if len(found) >= self._runs]
            if means:
                places[dataset, paradigm].append((max(means), agent))
        return [
            f"{dataset}/{paradigm}: "
            + ", ".join(f"{agent} {mean:.1f}" for mean, agent in sorted(found, reverse=True))
            for (dataset, paradigm), found in places.items()
        ]

    def _note(self, job: Job, summary: Mapping[str, Any]) -> None:
        self._accuracies[place_of(job.trial)][job.trial.id].append(summary["metrics"]["accuracy_mean"])

    def _draw(self) -> None:
        """Rewrite the lines at the bottom; without a terminal, nothing is drawn."""
        self._drawn = time.perf_counter()
        left = duration_text(self._pace.left(self._left, self._workers))
        texts = [
            f"{self._done} of {self._total} runs done, {self.failed} failed, {len(self._left)} left, {left}"
        ]
        texts += [f"  {run_label(job)}  {state}" for job, state in self._running.items()]
        best = self.best()
        texts += ["best so far, in %:", *(f"  {line}" for line in best[:_MOST_LINES])] if best else []
        while len(self._lines) < len(texts):
            self._lines.append(tqdm(bar_format="{desc}", leave=False, disable=None, dynamic_ncols=True,
                                    position=len(self._lines)))  # fmt: skip
        for number, line in enumerate(self._lines):
            line.set_description_str(texts[number] if number < len(texts) else "")


def label(trial: Trial) -> str:
    """A name of the trial that is unique in its grid."""
    return f"{trial.dataset}/{trial.paradigm} {trial.agent} {trial.id.rpartition('-')[0]}"


def run_label(job: Job) -> str:
    """A name of the run that is unique in its grid."""
    return f"{label(job.trial)} run {job.number}"
