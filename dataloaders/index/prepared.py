"""The result of preparing or indexing a dataset."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd


@dataclass(frozen=True)
class Prepared:
    """A dataset that is ready: its dirmap, and notes and problems of its preparation."""

    dirmap: pd.DataFrame
    """Written as `<dataset>_dirmap.csv`; see `dirmap.py`."""
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    """Further indexes, such as the one before sampling: `unbalanced` is `<dataset>_dirmap_unbalanced.csv`."""
    notes: tuple[str, ...] = ()
    """Notes on what was done, a line each."""
    problems: tuple[str, ...] = ()
    """Failures that did not stop the preparation, a line each; with any, the program ends with status 1."""
