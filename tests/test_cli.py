"""Commands, as a user types them."""

import json
import subprocess
import sys

import numpy as np
import pytest
from estimators import LABELS, X
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import shardpickle
from shardpickle import cli
from shardpickle.codecs import _backend


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "model"
    model = make_pipeline(StandardScaler(), RandomForestClassifier(100, random_state=0))
    shardpickle.dump(model.fit(X, LABELS), path, metadata={"commit": "abc123"})
    return path


def run(*arguments, **options):
    command = [sys.executable, "-m", "shardpickle", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def test_inspect(stored, capsys):
    assert cli.main(["inspect", str(stored)]) == 0
    page = capsys.readouterr().out
    lines = page.splitlines()
    assert max(map(len, lines[1:])) <= 80  # the first is the path
    assert "Pipeline" in lines
    assert "  StandardScaler" in lines
    assert "  RandomForestClassifier › 100 × DecisionTreeClassifier" in lines
    assert "metadata commit: abc123" in lines
    assert next(line for line in lines if line.startswith("names in")).endswith("not trusted: 0")
    assert cli.main(["inspect", str(stored), "--trust"]) == 0
    assert "vetted    sklearn.pipeline.Pipeline" in capsys.readouterr().out.splitlines()
    for word in ("threshold", "feature", "skeletons", "largest parts", "sha256:", "numpy"):
        assert word in page


def test_inspect_for_machines(stored, capsys):
    assert cli.main(["inspect", str(stored), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    info = shardpickle.inspect(stored)
    assert found["model"] == "sklearn.pipeline.Pipeline"
    assert found["ratio"] == pytest.approx(info.ratio)
    files = [each for each in stored.rglob("*") if each.is_file()]
    assert found["stored_bytes"] == sum(each.stat().st_size for each in files)
    assert found["shards"] == len(files) - 1
    assert found["environment"]["numpy"] == np.__version__
    assert found["tree"]["children"][1]["children"][0]["count"] == 100


def test_raw_bytes_are_the_models_own(stored):
    forest = shardpickle.load(stored)[-1]
    trees = sum(
        tree.tree_.__getstate__()["nodes"].nbytes + tree.tree_.value.nbytes
        for tree in forest.estimators_
    )
    skeletons = 101 * 900  # at most
    assert trees < shardpickle.inspect(stored).raw_bytes < trees + skeletons


def test_inspect_and_verify_import_nothing_that_the_file_names(tmp_path):
    (tmp_path / "trap.py").write_text("open('sprung', 'w')\nclass Trap: pass\n")
    dump = "import shardpickle, trap; shardpickle.dump(trap.Trap(), 'model')"
    subprocess.run([sys.executable, "-c", dump], cwd=tmp_path, check=True)
    (tmp_path / "sprung").unlink()
    for command in (["inspect"], ["inspect", "--json"], ["verify"], ["verify", "--deep"]):
        done = run(*command, "model", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert not (tmp_path / "sprung").exists()


def test_verify(stored, tmp_path, capsys):
    assert cli.main(["verify", str(stored), "--deep"]) == 0
    assert "sound" in capsys.readouterr().out
    shardpickle.dump([1, 2, 3], tmp_path / "model")
    (shard,) = (tmp_path / "model" / "shards").iterdir()
    shard.write_bytes(shard.read_bytes()[:-1])
    assert cli.main(["verify", str(tmp_path / "model")]) == 1
    assert shard.name in capsys.readouterr().out
    assert cli.main(["verify", str(tmp_path / "model"), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is False
    assert found["problems"][0]["file"] == f"shards/{shard.name}"
    assert cli.main(["verify", str(tmp_path / "nothing")]) == 2
    assert "ModelNotFoundError" in capsys.readouterr().err


def test_deep_verify_finds_what_digests_cannot(tmp_path, monkeypatch):
    # A shard that is what the manifest says, but whose manifest says something else of its parts.
    from shardpickle.io import dump as dumping

    original = dumping.PartEntry

    def lying(**fields):
        return original(**{**fields, "names": ()})

    monkeypatch.setattr(dumping, "PartEntry", lying)
    shardpickle.dump(np.random.RandomState(0), tmp_path / "model")
    assert shardpickle.verify(tmp_path / "model").ok
    report = shardpickle.verify(tmp_path / "model", deep=True)
    assert "not listed" in report.problems[0].reason
    with pytest.raises(shardpickle.CorruptShardError, match="does not list"):
        shardpickle.load(tmp_path / "model")


def test_gc(tmp_path, capsys):
    target = tmp_path / "model"
    shardpickle.dump([1], target)
    shardpickle.dump([2], target)
    (target / "shards" / ".shard-0123456789abcdef.tmp").write_bytes(b"left by a killed dump")
    (target / "shards" / "mine.txt").write_text("not ours")
    assert len(list((target / "shards").iterdir())) == 4
    assert cli.main(["gc", str(target)]) == 0
    assert "2 files removed" in capsys.readouterr().out
    assert len(list((target / "shards").iterdir())) == 2
    assert shardpickle.load(target) == [2]


def test_the_module_runs(stored):
    loops = _backend.loops.NAME
    expected = f"shardpickle {shardpickle.__version__} (trees are coded by {loops})\n"
    assert run("--version").stdout == expected
    assert f"decoding {loops}" in run("inspect", stored).stdout
    assert "inspect" in run("--help").stdout
    assert run("frobnicate", stored).returncode == 2
    done = run("inspect", stored, env={"PYTHONIOENCODING": "ascii", "PATH": ""})
    assert done.returncode == 0
    assert "RandomForestClassifier ? 100 ? DecisionTreeClassifier" in done.stdout


def test_a_closed_pipe_is_no_error(stored):
    command = f"{sys.executable} -m shardpickle inspect {stored} | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert done.stderr == ""
