"""What the documents say runs: the README's code, the docstrings' examples, the links."""

import doctest
import importlib
import pkgutil
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from estimators import LABELS, X
from sklearn.ensemble import RandomForestClassifier

import shardpickle
from shardpickle import cli

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MODULES = sorted(
    each.name
    for each in pkgutil.walk_packages(shardpickle.__path__, "shardpickle.")
    if not each.name.endswith(("__main__", ".mlflow"))  # tests/test_mlflow.py runs those
)


@pytest.mark.long
def test_the_readmes_code_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    space = {}
    exec(code, space)
    rows, labels = space["X"], space["y"]
    expected = RandomForestClassifier(200, random_state=0).fit(rows, labels).predict_proba(rows)
    assert space["model"].predict_proba(rows).tobytes() == expected.tobytes()
    assert "RandomForestClassifier" in capsys.readouterr().out


ELSEWHERE = {"README.md", "mlflow.md"}  # the test above; tests/test_mlflow.py
RUNNING = [page for page in PAGES if "```python" in page.read_text() and page.name not in ELSEWHERE]


@pytest.mark.long
@pytest.mark.parametrize("page", RUNNING, ids=lambda page: page.name)
def test_a_pages_code_runs_in_its_order(page, tmp_path, monkeypatch):
    """And its commands, where the files that they name are there by then."""
    monkeypatch.chdir(tmp_path)
    forest = RandomForestClassifier(3, random_state=0).fit(X, LABELS)
    shardpickle.dump(forest, "model_dir")
    np.save("X.npy", np.zeros((4, 64)))
    np.savez("validation.npz", X=np.zeros((20, 9)), y=np.arange(20) % 10)  # of docs/smaller.md
    space = {"shardpickle": shardpickle, "model": forest}
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    for block in [block for kind, block in blocks if kind == "python"]:  # the files come from it
        exec(compile(block, str(page), "exec"), space)
    for block in [block for kind, block in blocks if not kind]:
        for line in block.splitlines():
            if line.startswith("python -m shardpickle "):
                assert cli.main(shlex.split(line)[3:]) == 0, line


def test_every_page_with_code_for_here_is_run():
    """`py` marks code for somebody's cluster or server, which no test can run as it stands."""
    assert len(RUNNING) >= 6
    marked = {page.name for page in PAGES if "```py\n" in page.read_text()}
    assert marked <= {"clusters.md", "serving.md"}


@pytest.mark.parametrize("name", ["shardpickle", *MODULES])
def test_docstring_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0


def test_every_public_function_has_an_example():
    finder = doctest.DocTestFinder(exclude_empty=False)
    for name in ("dump", "load", "inspect", "verify"):
        (found,) = finder.find(getattr(shardpickle, name), name, globs={})
        assert found.examples, name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_benchmarks_that_the_docs_name_exist():
    named = set(re.findall(r"python (benchmarks/\w+\.py)", "".join(p.read_text() for p in PAGES)))
    assert named
    assert all((ROOT / name).exists() for name in named)


def test_the_readme_has_two_commands_that_ci_runs():
    text = (ROOT / "README.md").read_text()
    commands = re.findall(r"<!-- (\w+) command -->\n```bash\n(.*)\n```", text)
    assert [name for name, _ in commands] == ["demo", "test"]
    for _, command in commands:
        assert shlex.split(command)[:3] == ["python3", "-m", "venv"]
    assert "<!-- test command -->" in (ROOT / ".ci" / "run").read_text()


def test_the_readme_is_short():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) < 120
    assert "pip install shardpickle" in lines[:8]


def test_all_is_sorted_and_real():
    names = shardpickle.__all__
    assert names == sorted(names)
    assert all(hasattr(shardpickle, name) for name in names)
    errors = {each for each in vars(shardpickle.errors) if each.endswith("Error")}
    assert errors <= set(names)


def test_the_api_page_has_every_public_name_once():
    named = re.findall(r"^::: shardpickle\.(\w+)$", (ROOT / "docs" / "api.md").read_text(), re.M)
    assert sorted(named) == sorted(set(shardpickle.__all__) - {"__version__"})


def test_the_site_has_every_page():
    config = (ROOT / ".mkdocs.yml").read_text()
    listed = re.findall(r": (\S+\.md)$", config, re.MULTILINE)
    assert sorted(listed) == sorted(page.name for page in (ROOT / "docs").glob("*.md"))
