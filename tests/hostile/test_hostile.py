"""Every hostile directory gives one of the library's exceptions, and nothing else happens.

The cases stand in the modules beside this one; `judge` loads each in a process of its own.
"""

import importlib
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
MODULES = ("skeletons", "pieces", "files")
FOUND = [each for each in MODULES if (HERE / f"{each}.py").exists()]
with warnings.catch_warnings(action="ignore"):  # of what is made for a case
    CASES = {
        (module, name): case
        for module in FOUND
        for name, case in importlib.import_module(module).CASES.items()
    }
LIBRARIES = {"numpy", "scipy", "sklearn", "shardpickle", "joblib", "_loss", "_cyutility"}
PARTS_OF_PYTHON = {"encodings", "importlib", "unicodedata", "stringprep", "zoneinfo", "_strptime"}


@pytest.fixture(scope="module")
def judge():
    with subprocess.Popen(
        [sys.executable, HERE / "judge.py"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    ) as process:

        def ask(module, case, folder, lazy):
            question = {"module": module, "case": case, "folder": str(folder), "lazy": lazy}
            process.stdin.write(json.dumps(question) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield ask
        process.stdin.close()


@pytest.mark.parametrize(("module", "name"), CASES)
def test_hostile(judge, tmp_path, module, name):
    _check(judge(module, name, tmp_path, lazy=False), module, name)


@pytest.mark.parametrize(("module", "name"), [each for each in CASES if each[0] == "pieces"])
def test_hostile_lazily(judge, tmp_path, module, name):
    """Models of estimators, taken apart and put together wrongly, part by part on access."""
    _check(judge(module, name, tmp_path, lazy=True), module, name)


def _check(found, module, name):
    assert found["outcome"] in CASES[module, name].may, found
    assert not found["pwned"], found
    assert found["clean"], found
    assert found["growth"] < 1000, found
    tops = {each.split(".")[0] for each in found["modules"]}
    assert tops <= LIBRARIES | PARTS_OF_PYTHON, found
