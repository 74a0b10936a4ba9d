"""The same model gives the same files; a grown one writes only what is new."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from estimators import LABELS, TARGET, X
from sklearn.ensemble import (
    GradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import shardpickle


def forest(count=30, **arguments):
    return RandomForestClassifier(count, random_state=0, **arguments).fit(X, LABELS)


def files(path):
    return {str(each.relative_to(path)): each.read_bytes() for each in path.rglob("*.*")}


MODELS = {
    "forest": lambda: forest(),
    "boosting": lambda: GradientBoostingRegressor(n_estimators=20, random_state=0).fit(X, TARGET),
    "pipeline": lambda: make_pipeline(StandardScaler(), forest(8)).fit(X, LABELS),
    "array": lambda: np.random.default_rng(0).random(300_000),
}


@pytest.mark.parametrize("case", MODELS)
def test_any_number_of_workers_and_any_dump_gives_the_same_bytes(case, tmp_path):
    model = MODELS[case]()
    for workers in (1, 2, 8):
        shardpickle.dump(model, tmp_path / str(workers), workers=workers, shard_size="50kB")
    shardpickle.dump(model, tmp_path / "again", workers=2, shard_size="50kB")
    expected = files(tmp_path / "1")
    assert len(expected) > 1
    for other in ("2", "8", "again"):
        assert files(tmp_path / other) == expected


@pytest.mark.parametrize("case", MODELS)
def test_a_loaded_model_gives_the_same_bytes(case, tmp_path):
    shardpickle.dump(MODELS[case](), tmp_path / "first", shard_size="50kB")
    loaded = shardpickle.load(tmp_path / "first")
    shardpickle.dump(loaded, tmp_path / "second", shard_size="50kB")
    assert files(tmp_path / "first") == files(tmp_path / "second")


def test_another_process_gives_the_same_bytes(tmp_path):
    code = (
        "import sys, shardpickle, test_bytes;"
        "shardpickle.dump(test_bytes.forest(), sys.argv[1], shard_size='50kB')"
    )
    for seed in ("1", "2"):
        command = [sys.executable, "-c", code, str(tmp_path / seed)]
        environment = os.environ | {"PYTHONHASHSEED": seed}
        subprocess.run(command, check=True, cwd=Path(__file__).parent, env=environment)
    assert files(tmp_path / "1") == files(tmp_path / "2")


@pytest.mark.parametrize("reload", [False, True])
def test_a_grown_forest_writes_only_its_new_trees(reload, tmp_path):
    model = forest(40, warm_start=True)
    first = shardpickle.dump(model, tmp_path / "model", shard_size="15kB")
    before = set((tmp_path / "model" / "shards").iterdir())
    if reload:
        model = shardpickle.load(tmp_path / "model")
    model.set_params(n_estimators=44).fit(X, LABELS)
    second = shardpickle.dump(model, tmp_path / "model", shard_size="15kB")
    kept = before & set((tmp_path / "model" / "shards").iterdir())
    assert first.shards_written >= 6
    # All full shards stay; the last, partly filled one and the root's are written again.
    assert second.shards_reused >= first.shards_written - 2
    assert second.shards_written <= 4
    assert len(kept) == first.shards_written
    loaded = shardpickle.load(tmp_path / "model")
    assert np.array_equal(loaded.predict_proba(X), model.predict_proba(X))


def test_an_unchanged_model_writes_nothing(tmp_path):
    model = RandomForestRegressor(5, random_state=0).fit(X, TARGET)
    shardpickle.dump(model, tmp_path / "model")
    stamps = {each: each.stat().st_mtime_ns for each in (tmp_path / "model").rglob("*")}
    report = shardpickle.dump(model, tmp_path / "model")
    assert report.shards_written == 0
    assert {each: each.stat().st_mtime_ns for each in stamps if each.is_file()} == {
        each: stamp for each, stamp in stamps.items() if each.is_file()
    }


def test_level_and_shard_size_change_the_files_and_not_the_model(tmp_path):
    model = forest(20)
    small = shardpickle.dump(model, tmp_path / "small", level=19)
    fast = shardpickle.dump(model, tmp_path / "fast", level=1)
    cut = shardpickle.dump(model, tmp_path / "cut", shard_size="20KiB")
    assert small.stored_bytes < fast.stored_bytes
    assert cut.shards_written > small.shards_written
    for name in ("small", "fast", "cut"):
        loaded = shardpickle.load(tmp_path / name)
        assert np.array_equal(loaded.predict_proba(X), model.predict_proba(X))
