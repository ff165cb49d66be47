"""Every example of docs/api.md runs as it stands there, in order, in one folder."""

import re
import runpy
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
EXAMPLES = re.findall(
    r"^## (.*?)\n.*?```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
)


def test_each_job_has_an_example_of_at_most_fifteen_lines():
    assert len(EXAMPLES) == 8
    assert all(sum(map(bool, code.splitlines())) <= 15 for _, code in EXAMPLES)


@pytest.mark.parametrize(("title", "code"), EXAMPLES, ids=[title for title, _ in EXAMPLES])
def test_an_example_runs(title, code, tmp_path_factory, monkeypatch, capsys):
    folder = tmp_path_factory.getbasetemp() / "api_page"
    folder.mkdir(exist_ok=True)
    monkeypatch.chdir(folder)
    script = folder / "example.py"
    script.write_text(code, encoding="utf-8")
    runpy.run_path(str(script), run_name="__main__")
    assert capsys.readouterr().out.strip()
