"""Loaded models in forked workers: one copy of the trees."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor

import shardpickle

SERVER = """
import json, os, re, sys
import numpy as np
import shardpickle

path, lazy = sys.argv[1], sys.argv[2] == "lazy"
model = shardpickle.load(path, lazy=lazy)
rows = np.load(path + "/../rows.npy")
expected = np.load(path + "/../expected.npy")
if lazy:
    model.predict(rows)


def pss(pid):
    text = open(f"/proc/{pid}/smaps_rollup").read()
    return int(re.search(r"^Pss:\\s+(\\d+) kB", text, re.M).group(1)) * 1024


master = pss(os.getpid())
ready, go_on = os.pipe(), os.pipe()
workers = []
for _ in range(8):
    pid = os.fork()
    if pid == 0:
        right = all((model.predict(rows) == expected).all() for _ in range(3))
        os.write(ready[1], b"1" if right else b"0")
        os.read(go_on[0], 1)
        os._exit(0)
    workers.append(pid)
said = b""
while len(said) < 8:
    said += os.read(ready[0], 8)
total = pss(os.getpid()) + sum(map(pss, workers))
os.write(go_on[1], b"x" * 8)
for pid in workers:
    os.waitpid(pid, 0)
print(json.dumps({"master": master, "total": total, "said": said.decode()}))
"""

HANGS = """
import os, signal, sys
import numpy as np
import shardpickle

model = shardpickle.load(sys.argv[1])
pid = os.fork()
if pid == 0:
    signal.alarm(60)
    model.predict(np.zeros((20_000, 3)))
    os._exit(0)
print(os.waitpid(pid, 0)[1])
"""


@pytest.mark.long
@pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").exists(), reason="only Linux tells what processes share"
)
@pytest.mark.parametrize("kind", ["full", "lazy"])
def test_eight_forked_workers_share_one_model(kind, tmp_path):
    rng = np.random.default_rng(0)
    features, target = rng.random((50_000, 5)), rng.random(50_000)
    model = RandomForestRegressor(2, random_state=0).fit(features, target)
    model.estimators_ *= 24
    model.n_estimators = len(model.estimators_)
    nbytes = sum(tree.tree_.node_count * 72 for tree in model.estimators_)
    rows = rng.random((100, 5))
    np.save(tmp_path / "rows.npy", rows)
    np.save(tmp_path / "expected.npy", model.predict(rows))
    model.estimators_ = [_copied(tree, number) for number, tree in enumerate(model.estimators_)]
    assert nbytes > 200_000_000
    shardpickle.dump(model, tmp_path / "model")
    done = subprocess.run(
        [sys.executable, "-c", SERVER, str(tmp_path / "model"), kind],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["said"] == "1" * 8
    assert found["master"] > nbytes
    assert found["total"] <= found["master"] + 8 * 60_000_000


def _copied(tree, number):
    """The same tree in memory of its own."""
    other = type(tree)(**tree.get_params())
    state = tree.tree_.__getstate__()
    grown = type(tree.tree_)(tree.n_features_in_, np.array([1], np.intp), 1)
    grown.__setstate__(state)
    other.__dict__.update({**tree.__dict__, "tree_": grown, "number": number})
    return other


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="forks")
def test_loading_leaves_openmp_usable_in_forked_workers(tmp_path):
    rng = np.random.default_rng(0)
    features, target = rng.random((2000, 3)), rng.random(2000)
    model = HistGradientBoostingRegressor(max_iter=20, random_state=0).fit(features, target)
    shardpickle.dump(model, tmp_path / "model")
    done = subprocess.run(
        [sys.executable, "-c", HANGS, str(tmp_path / "model")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "0", done.stderr
