"""Texts from outside, such as names of files and of agents, without what a terminal would obey."""


def printable(text: object) -> str:
    """`text` as one line without control characters: escape sequences, line feeds, marks of writing direction."""
    return "".join(character if character.isprintable() else "?" for character in str(text))


def printable_lines(text: object) -> str:
    """`text` with its lines and tabs, each line as `printable` has it."""
    return "\n".join("\t".join(map(printable, line.split("\t"))) for line in str(text).split("\n"))
