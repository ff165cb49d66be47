"""Mutants of a source file: every small change that a test should notice, one at a time.

A change replaces the text of one node of the syntax tree, so that a mutant differs from its original in nothing else.
Left alone: annotations, decorators, docstrings, f-strings (Python 3.11 does not know where their parts lie) and what is
raised, since no test should hold the wording of a message by heart; and what every run would trip over (a path
multiplied, a required argument left out), which says nothing of the tests.
"""

import ast
import difflib
import itertools
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass

_COMPARISONS = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}  # fmt: skip
_ARITHMETIC = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult,
    ast.BitAnd: ast.Sub,
}  # fmt: skip
_SWAPPED = {
    "min": "max", "max": "min", "nanmin": "nanmax", "nanmax": "nanmin", "any": "all", "all": "any", "ceil": "floor",
    "floor": "ceil", "mean": "sum", "argmin": "argmax", "argmax": "argmin", "eval": "train", "train": "eval",
    "ljust": "rjust", "rjust": "ljust",
}  # fmt: skip
_LAST_IS_OPTIONAL = {
    "enumerate",
    "get",
    "getattr",
    "index",
    "next",
    "pop",
    "range",
    "replace",
    "round",
    "split",
    "sum",
}
_OFTEN_IDLE = {"encoding", "newline", "strict"}
"""Arguments against what does not happen here."""


@dataclass(frozen=True)
class Mutant:
    """One change of one file: `text[start:end]` becomes `replacement`."""

    path: str
    """Of the file, relative to the root of the repository."""
    line: int
    kind: str
    start: int
    end: int
    replacement: str

    def apply(self, text: str) -> str:
        return text[: self.start] + self.replacement + text[self.end :]

    def is_another(self, text: str) -> bool:
        """Whether the mutant is a program, and another one than `text`."""
        try:
            return ast.dump(ast.parse(self.apply(text))) != ast.dump(ast.parse(text))
        except SyntaxError:
            return False

    def change(self, text: str) -> tuple[str, str]:
        """The lines that differ, before and after, with single blanks: the name of the mutant wherever it stands."""
        lines = self._diff(text, 0)
        before, after = (
            [word for line in lines if line[0] == sign for word in line[1:].split()] for sign in "-+"
        )
        return " ".join(before), " ".join(after)

    def diff(self, text: str) -> str:
        return "\n".join(self._diff(text, 1))

    def _diff(self, text: str, context: int) -> list[str]:
        """Changed lines, their places and that many lines around them, without the names of the files."""
        before, after = text.split("\n"), self.apply(text).split("\n")
        return list(difflib.unified_diff(before, after, n=context, lineterm=""))[2:]


def mutants(path: str, text: str) -> list[Mutant]:
    """All changes of the file at `path` with that text; a few are no program, or the same one (see `is_another`)."""
    offsets, found = _line_offsets(text), []
    for node in _nodes(ast.parse(text)):
        for kind, old, new in _changes(node):
            start, end = _place(old, text, offsets)
            found.append(
                Mutant(path, old.lineno, kind, start, end, new if isinstance(new, str) else ast.unparse(new))
            )
    return found


def _nodes(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes below `node` that may be changed."""
    if isinstance(node, ast.JoinedStr | ast.Raise):
        return
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_params"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                if not (
                    isinstance(node, ast.FunctionDef) and isinstance(child, ast.Return)
                ):  # its last statement
                    yield child
                yield from _nodes(child)


def _changes(node: ast.AST) -> Iterator[tuple[str, ast.AST, ast.AST | str]]:
    """(kind, node to replace, what replaces it) of the changes at `node`."""
    match node:
        case ast.Compare(ops=[op]):
            for other in _COMPARISONS[type(op)]:
                yield "comparison", node, _with(node, ops=[other()])
        case ast.BinOp() if type(node.op) in _ARITHMETIC and not (
            _is_text(node.left) or _is_text(node.right)
        ):
            yield "arithmetic", node, _with(node, op=_ARITHMETIC[type(node.op)]())
        case ast.AugAssign():
            if type(node.op) in _ARITHMETIC and not _is_text(node.value):
                yield "arithmetic", node, _with(node, op=_ARITHMETIC[type(node.op)]())
            yield "statement removed", node, "pass"
        case ast.BoolOp():
            other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            yield "and, or", node, f"({ast.unparse(_with(node, op=other))})"
            for index in range(len(node.values)):
                left = [value for number, value in enumerate(node.values) if number != index]
                kept = left[0] if len(left) == 1 else _with(node, values=left)
                yield "condition dropped", node, f"({ast.unparse(kept)})"
        case ast.Call():
            yield from _other_calls(node)
        case (
            ast.Expr()
            | ast.Raise()
            | ast.Return()
            | ast.Continue()
            | ast.Break()
            | ast.Delete()
            | ast.Assign()
        ):
            yield from _other_statements(node)
        case _:
            yield from _other_parts(node)


def _other_parts(node: ast.AST) -> Iterator[tuple[str, ast.AST, ast.AST | str]]:
    match node:
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield "sign", node, node.operand
        case ast.Constant():
            yield from (("constant", node, other) for other in _other_constants(node.value))
        case ast.If() | ast.While() | ast.IfExp():
            yield "condition negated", node.test, f"not ({ast.unparse(node.test)})"
        case ast.comprehension():
            yield from (("filter removed", test, "True") for test in node.ifs)
        case ast.Slice():
            for bound in ("lower", "upper", "step"):
                if getattr(node, bound) is not None:
                    yield "bound dropped", node, ast.unparse(_with(node, **{bound: None}))


def _other_constants(value: object) -> list[str]:
    if isinstance(value, bool):
        return [repr(not value)]
    if isinstance(value, int):
        return [str(value + 1), *([str(value - 1)] if value else [])]
    return [repr(2 * value or 1.0)] if isinstance(value, float) else []


def _other_calls(node: ast.Call) -> Iterator[tuple[str, ast.AST, ast.AST | str]]:
    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
    for index, keyword in enumerate(node.keywords):
        if (
            keyword.arg is not None and keyword.arg not in _OFTEN_IDLE and name[:1].islower()
        ):  # a class needs it
            yield "argument dropped", node, _with(node, keywords=_without(node.keywords, index))
    if len(node.args) > 1 and name in _LAST_IS_OPTIONAL:
        yield "argument dropped", node, _with(node, args=node.args[:-1])
    match node.func:
        case ast.Name(id=name) if name in _SWAPPED:
            yield "function swapped", node, _with(node, func=ast.Name(_SWAPPED[name]))
        case ast.Attribute(attr=name) if name in _SWAPPED:
            yield "function swapped", node, _with(node, func=_with(node.func, attr=_SWAPPED[name]))
        case ast.Name(id="sorted") if not node.keywords:
            yield "function swapped", node, _with(node, func=ast.Name("list"))


def _other_statements(node: ast.AST) -> Iterator[tuple[str, ast.AST, ast.AST | str]]:
    match node:
        case ast.Expr(value=ast.Constant()):
            return  # a docstring
        case ast.Assign(targets=[ast.Name() | ast.Tuple(), *_]):
            return  # what follows has no such name
        case _:
            yield "statement removed", node, "pass"


def _is_text(node: ast.AST) -> bool:
    """Whether `node` is a text or a collection, with which one cannot calculate."""
    collections = ast.List | ast.ListComp | ast.Set | ast.SetComp | ast.Tuple
    return isinstance(node, collections | ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)
    )


def _with(node: ast.AST, **values: object) -> ast.AST:
    changed = copy(node)
    for name, value in values.items():
        setattr(changed, name, value)
    return changed


def _without(values: list[ast.keyword], index: int) -> list[ast.keyword]:
    return [*values[:index], *values[index + 1 :]]


def _line_offsets(text: str) -> list[int]:
    return [0, *itertools.accumulate(len(line) + 1 for line in text.split("\n"))]


def _place(node: ast.AST, text: str, offsets: list[int]) -> tuple[int, int]:
    """Where the text of `node` begins and ends; the tree counts columns in bytes of UTF-8."""

    def at(line: int, column: int) -> int:
        start = offsets[line - 1]
        return start + len(text[start : offsets[line]].encode()[:column].decode())

    return at(node.lineno, node.col_offset), at(node.end_lineno, node.end_col_offset)
