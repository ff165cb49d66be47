r"""The tables as LaTeX floats.

A table that is wider than the text is scaled down to it, one with more rows than a page holds is split, and long texts
wrap. The best mean is bold and the second best underlined where the tests tell them apart; agents have the names that
papers give them. A document needs booktabs and graphicx.
"""

import re
from collections.abc import Mapping, Sequence

from lethe.agents import registry
from lethe.benchmarks.report.comparison import Comparison
from lethe.benchmarks.report.tables import BEST, SECOND, Table

_MARKS = {BEST: (r"\textbf", "bold"), SECOND: (r"\underline", "underlined")}
_MOST_ROWS = 40  # of a page
_LONGEST_CELL = 45  # signs of a cell that does not wrap
_WRAPPED = "p{5cm}"
# A row that starts with a bracket or a star would be read as an option of the line break before it.
_LATEX_SPECIAL = {
    "\\": r"\textbackslash{}",
    **{character: "\\" + character for character in "{}#$%&_"},
    **{character: f"{{{character}}}" for character in "[]*"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "–": "--",
    "†": r"$\dagger$",
    "‡": r"$\ddagger$",
    "µ": r"$\mu$",
}


def latex_page(comparison: Comparison, tables: Mapping[str, Sequence[Table]], prefix: str = "") -> str:
    """The tables of each dataset as floats; labels are `tab:<prefix>-<dataset>-<table>`, no two of them alike."""
    parts = [r"% Needs \usepackage{booktabs,graphicx}. Mean and standard error of the mean over runs."]
    names, taken = display_names(comparison), set[str]()
    for dataset, members in tables.items():
        for table in members:
            label = _unlike("-".join(filter(None, (prefix, dataset, table.name))), taken)
            parts += floats(table, f"{comparison.title(dataset)}: {table.caption}.", label, names)
    return "\n\n".join(parts) + "\n"


def floats(table: Table, caption: str, label: str, names: Mapping[str, str]) -> list[str]:
    """`table` as one float, or as several where its rows are more than a page holds."""
    pieces = [table.rows[start : start + _MOST_ROWS] for start in range(0, len(table.rows), _MOST_ROWS)]
    kinds = [_kind(cells) for cells in zip(table.header, *table.rows, strict=True)]
    found = []
    for number, piece in enumerate(pieces, start=1):
        part = f" Part {number} of {len(pieces)}." if len(pieces) > 1 else ""
        body = [[escape_latex(names.get(row[0], row[0])), *map(_cell, row[1:])] for row in piece]
        notes = [_note(note) for note in table.notes] if number == len(pieces) else []
        found.append(
            "\n".join(
                [
                    r"\begin{table}",
                    r"  \centering",
                    rf"  \caption{{{escape_latex(caption + part)}}}",
                    rf"  \label{{tab:{label}{'' if number == 1 else f'-part{number}'}}}",
                    r"  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
                    rf"  \begin{{tabular}}{{l{''.join(kinds[1:])}}}",
                    r"    \toprule",
                    f"    {' & '.join(map(escape_latex, table.header))} \\\\",
                    r"    \midrule",
                    *(f"    {' & '.join(line)} \\\\" for line in body),
                    r"    \bottomrule",
                    r"  \end{tabular}}",
                    *(rf"  \par\footnotesize {note}" for note in notes),
                    r"\end{table}",
                ]
            )
        )
    return found


def display_names(comparison: Comparison) -> dict[str, str]:
    """The names of methods as papers write them, by agent and by label; those that two agents share are left out."""
    titles = {entry.agent: _title(entry.agent) for entry in comparison.entries}
    shared = {title for title in titles.values() if list(titles.values()).count(title) > 1}
    titles = {agent: title for agent, title in titles.items() if title not in shared}
    labels = {
        entry.label: titles[entry.agent] + entry.label.removeprefix(entry.agent)
        for entry in comparison.entries
        if entry.agent in titles
    }
    return titles | labels


def escape_latex(text: str) -> str:
    """Escape what LaTeX would read as a command."""
    return "".join(_LATEX_SPECIAL.get(character, character) for character in text)


def _title(agent: str) -> str:
    """The title on the card of a registered agent. Of others no module is imported for the sake of a name."""
    if agent in registry.AGENTS:
        return registry.card(agent).title
    module, colon, name = agent.rpartition(":")
    return f"{name} (Avalanche)" if module == "avalanche" else name if colon else agent


def _cell(text: str) -> str:
    for mark, (command, _) in _MARKS.items():
        if text.endswith(mark):
            return f"{command}{{{escape_latex(text.removesuffix(mark))}}}"
    return escape_latex(text)


def _note(text: str) -> str:
    for mark, (_, word) in _MARKS.items():
        text = text.replace(mark.strip(), word)
    return escape_latex(text)


def _kind(cells: Sequence[str]) -> str:
    """The kind of a column: numbers stand at the right, long texts wrap."""
    return _WRAPPED if max(map(len, cells)) > _LONGEST_CELL else "r"


def _unlike(text: str, taken: set[str]) -> str:
    """`text` as a label that is not in `taken`, to which it is added."""
    plain = re.sub("[^A-Za-z0-9]+", "-", text)
    number, label = 1, plain
    while label in taken:
        number += 1
        label = f"{plain}-{number}"
    taken.add(label)
    return label
