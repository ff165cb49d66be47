"""What a preparer hands back."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd


@dataclass(frozen=True)
class Prepared:
    """A dataset that is ready: its dirmap, and what a person should know about how it came to be."""

    dirmap: pd.DataFrame
    """Written as `<dataset>_dirmap.csv`; see `dirmap.py`."""
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    """Further indexes, such as the one before sampling: `unbalanced` is `<dataset>_dirmap_unbalanced.csv`."""
    notes: tuple[str, ...] = ()
    """What was done, a line each."""
    problems: tuple[str, ...] = ()
    """What could not be done, a line each, while the rest was; the program ends with status 1 if there is any."""
