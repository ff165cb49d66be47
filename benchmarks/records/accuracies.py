"""Accuracies of a run as they are measured: a table per output of the agent, written as a CSV file after every task."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lethe.benchmarks.measure.evaluate import Evaluation
from lethe.benchmarks.records.read import accuracy_file, top5_file
from lethe.common.files import write_text


@dataclass
class Accuracies:
    """The accuracies of one output in percent, and those of the further outputs."""

    rows: list[list[float]] = field(default_factory=list)
    """Per task, on all classes seen and on each group of classes."""
    top5: list[float | None] = field(default_factory=list)
    """Per task, on all classes seen; None where it is not measured."""
    groups_top5: list[list[float] | None] = field(default_factory=list)
    """Per task, on each group of classes; None where it is not measured."""
    further: "dict[str, Accuracies]" = field(default_factory=dict)

    @classmethod
    def restored(cls, saved: Mapping[str, Any]) -> "Accuracies":
        """Those of which `state` gave `saved`."""
        further = {name: cls.restored(each) for name, each in saved.get("further", {}).items()}
        return cls(saved["rows"], saved["top5"], saved["groups_top5"], further)

    def state(self) -> dict[str, Any]:
        """All values, for a checkpoint."""
        further = {name: each.state() for name, each in self.further.items()}
        return {
            "rows": self.rows,
            "top5": self.top5,
            "groups_top5": self.groups_top5,
            "further": further,
        }

    def add(self, evaluation: Evaluation) -> None:
        """Append those after another task; `ValueError` if other further outputs are named than before."""
        if self.rows and self.further.keys() != evaluation.further.keys():
            before, now = (", ".join(sorted(names)) or "none" for names in (self.further, evaluation.further))
            raise ValueError(
                f"predict_also gave other outputs than after the first task: {now}, before {before}"
            )
        self.rows.append([evaluation.seen, *evaluation.groups])
        self.top5.append(evaluation.top5)
        top5 = evaluation.groups_top5
        self.groups_top5.append(None if top5 is None else list(top5))
        for name, each in evaluation.further.items():
            self.further.setdefault(name, Accuracies()).add(each)

    def matrix(self) -> np.ndarray:
        """float64 [T, 1 + G]; see `benchmarks.measure.metrics`."""
        return np.array(self.rows)

    def write(self, folder: Path, *, durable: bool) -> None:
        """Write every table into `folder`; `durable` as for `atomic_write`."""
        for name, each in {"": self, **self.further}.items():
            write_text(folder / accuracy_file(name), each.csv(), durable=durable)
            if groups := [row for row in each.groups_top5 if row is not None]:
                write_text(folder / top5_file(name), _groups_csv(groups), durable=durable)

    def csv(self) -> str:
        """The table with a header; a blank where a value is undefined."""
        header = ["task", "seen", *_group_names(len(self.rows[0]) - 1)]
        if self.top5[0] is not None:
            header.append("top5_seen")
        lines = [",".join(header)]
        for task, (row, top) in enumerate(zip(self.rows, self.top5, strict=True)):
            lines.append(",".join([str(task), *_cells(row), *([] if top is None else [repr(top)])]))
        return "\n".join(lines) + "\n"


def _groups_csv(rows: Sequence[Sequence[float]]) -> str:
    """As `Accuracies.csv`, of groups alone."""
    lines = [",".join(["task", *_group_names(len(rows[0]))])]
    lines += [",".join([str(task), *_cells(row)]) for task, row in enumerate(rows)]
    return "\n".join(lines) + "\n"


def _group_names(count: int) -> list[str]:
    return [f"group_{group}" for group in range(count)]


def _cells(values: Sequence[float]) -> list[str]:
    return ["" if math.isnan(value) else repr(value) for value in values]
