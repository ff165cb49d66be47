"""Mutation testing itself: what is changed, which tests belong to a file, what counts as noticed."""

import subprocess

import pytest

from tests.mutation.__main__ import ROOT, choose, known_equivalents
from tests.mutation.belonging import belonging_tests as belonging_to
from tests.mutation.copied import Copy
from tests.mutation.mutants import mutants

SOURCE = '''"""A docstring with 1 number."""

def f(values: "list[int]", *, ende=10):
    """One more, 2."""
    if len(values) > 1 and not ende:  # ± is two bytes
        raise ValueError(f"expected {ende + 1}, got {min(values, 0)}")
    for value in values[:-1]:
        if value == "±" or (value is None):
            continue
        ende -= max(value, ende)
    return sorted(values, key=str)
'''


def changes(text):
    return {mutant.change(text) for mutant in mutants("f.py", text) if mutant.is_another(text)}


def test_each_mutant_differs_from_the_source_in_one_place():
    found = changes(SOURCE)
    condition = "if len(values) > 1 and not ende: # ± is two bytes"
    for before, after in {
        ("if len(values) > 1 and not ende:", "if len(values) >= 1 and not ende:"),
        ("if len(values) > 1 and not ende:", "if len(values) <= 1 and not ende:"),
        ("if len(values) > 1 and not ende:", "if len(values) > 2 and not ende:"),
        ("if len(values) > 1 and not ende:", "if len(values) > 1 and ende:"),
        ("if len(values) > 1 and not ende:", "if (len(values) > 1 or not ende):"),
        ("if len(values) > 1 and not ende:", "if (len(values) > 1):"),
        ("if len(values) > 1 and not ende:", "if not (len(values) > 1 and (not ende)):"),
    }:
        assert (condition, condition.replace(before, after)) in found, after
    assert {
        ('def f(values: "list[int]", *, ende=10):', 'def f(values: "list[int]", *, ende=9):'),
        ("for value in values[:-1]:", "for value in values[:]:"),
        ("for value in values[:-1]:", "for value in values[:1]:"),
        ('if value == "±" or (value is None):', 'if value == "±" or (value is not None):'),
        ("continue", "pass"),
        ("ende -= max(value, ende)", "ende += max(value, ende)"),
        ("ende -= max(value, ende)", "ende -= min(value, ende)"),
        ("return sorted(values, key=str)", "return sorted(values)"),
    } <= found
    for tripped in (
        ("return sorted(values, key=str)", "pass"),
        ("ende -= max(value, ende)", "ende -= max(value)"),
    ):
        assert tripped not in found


def test_docstrings_annotations_and_messages_stay_and_a_raise_is_only_removed():
    assert changes('"""1"""\nlimit: Literal[1] = 2\n') == {
        ("limit: Literal[1] = 2", "limit: Literal[1] = 3"),
        ("limit: Literal[1] = 2", "limit: Literal[1] = 1"),
    }
    assert changes("raise ValueError(1 + 1)\n") == {("raise ValueError(1 + 1)", "pass")}
    assert (
        changes('name = f"{1 + 1}"\n')
        == changes('path = folder / "name"\n')
        == changes("job = Job(number=number)\n")
        == set()
    )


def test_tests_belong_to_what_they_reach_in_their_room_and_above():
    found = belonging_to(ROOT)
    assert "tests/benchmarks/test_metrics.py" in found["benchmarks/measure/metrics.py"]
    assert "tests/gridsearch/test_selection.py" in found["benchmarks/report/comparison.py"]
    assert "tests/gridsearch/test_grid_command.py" in found["gridsearch/command.py"]  # named in a text
    assert "tests/gridsearch/test_grid_search.py" in found["gridsearch/plan.py"]  # by `-m gridsearch`
    # Here modules are named in docstrings alone.
    assert "tests/project/test_mutation.py" not in found["gridsearch/command.py"]
    assert "tests/benchmarks/test_metrics.py" not in found["benchmarks/report/tables.py"]
    assert not any(test.startswith("tests/agents") for test in found["benchmarks/run/loop.py"])
    rooms = [file for file in found if file.split("/")[0] in ("benchmarks", "gridsearch")]
    product = [file for file in rooms if not file.endswith("__init__.py")]  # a docstring each
    assert not [file for file in product if not found[file]]


def test_the_choice_is_a_function_of_the_seed_and_spread_over_files():
    files = ["benchmarks/measure/metrics.py", "gridsearch/plan.py", "gridsearch/selection.py"]
    chosen = choose(files, 6, 1, set())
    assert chosen == choose(list(reversed(files)), 6, 1, set()) != choose(files, 6, 2, set())
    assert sorted({mutant.path for mutant in chosen[:3]}) == files
    mutant = chosen[0]
    listed = {(mutant.path, *mutant.change((ROOT / mutant.path).read_text()))}
    assert mutant not in choose(files, 6, 1, listed)


def test_mutants_called_equivalent_are_of_the_code_as_it_is():
    for file, before, after in known_equivalents():
        text = (ROOT / file).read_text(encoding="utf-8") if (ROOT / file).exists() else ""
        known = any(mutant.change(text) == (before, after) for mutant in mutants(file, text))
        assert known, f"{file}: '{before}' is no longer there: take it out of tests/mutation/equivalent.toml"


@pytest.fixture
def tree(tmp_path):
    """A tree with one module and two test files, one of which fails."""
    tree = tmp_path / "tree"
    (tree / "tests/common").mkdir(parents=True)
    (tree / "common").mkdir()
    (tree / "common/add.py").write_text(
        "def add(a, b, c=0):\n    while a < 0:\n        a += 1\n    return a + b\n"
    )
    test = "from common.add import add\n\ndef test_{}():\n    assert add(1, 2) == {}\n"
    (tree / "tests/common/test_sum.py").write_text(test.format("sum", 3))
    (tree / "tests/common/test_wrong.py").write_text(test.format("wrong", 4))
    (tree / ".gitignore").write_text("ignored\n")
    (tree / "ignored").write_text("")
    subprocess.run(["git", "init", "--quiet"], cwd=tree, check=True)
    return tree


def test_a_mutant_is_made_in_a_copy_and_noticed_by_a_test_that_passes_without_it(tree, tmp_path, capsys):
    text = (tree / "common/add.py").read_text()
    by_change = {mutant.change(text): mutant for mutant in mutants("common/add.py", text)}
    files = {"tests/common/test_sum.py", "tests/common/test_wrong.py"}
    (tmp_path / "copy").mkdir()
    copy = Copy(tree, tmp_path / "copy")
    assert not (copy.root / "ignored").exists()
    copy.measure(sorted(files))
    assert "test_wrong.py" in capsys.readouterr().out and list(copy.seconds) == ["tests/common/test_sum.py"]
    assert "test_sum" in copy.fails(by_change["return a + b", "return a - b"], files)
    assert copy.fails(by_change["def add(a, b, c=0):", "def add(a, b, c=1):"], files) == ""
    assert (copy.root / "common/add.py").read_text() == (tree / "common/add.py").read_text() == text


def test_what_hangs_is_noticed(tree, tmp_path, monkeypatch):
    monkeypatch.setattr("tests.mutation.copied._SLACK", 4)
    text = (tree / "common/add.py").read_text()
    (hanging,) = [mutant for mutant in mutants("common/add.py", text)
                  if mutant.change(text) == ("while a < 0:", "while a >= 0:")]  # fmt: skip
    (tmp_path / "copy").mkdir()
    copy = Copy(tree, tmp_path / "copy")
    copy.seconds = {"tests/common/test_sum.py": 0.1}
    assert copy.fails(hanging, set(copy.seconds)) == "longer than 4 s"
