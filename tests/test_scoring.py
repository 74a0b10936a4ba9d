"""Predictions shard by shard: scikit-learn's own, bit for bit, on any backend."""

import os
import signal
import subprocess
import sys
import time

import joblib
import numpy as np
import pandas as pd
import pytest
from estimators import LABELS, TARGET, X
from graphs import assert_same
from sklearn.ensemble import (
    AdaBoostRegressor,
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    VotingClassifier,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

import shardpickle
from shardpickle.lazy import CACHE, place
from shardpickle.lazy.materialize import stand_ins

SEED = {"random_state": 0}
MODELS = {
    "forest": RandomForestClassifier(20, n_jobs=2, **SEED),
    "regression": RandomForestRegressor(20, **SEED),
    "extra trees": ExtraTreesClassifier(20, **SEED),
    "bagging": BaggingClassifier(DecisionTreeClassifier(), max_features=0.5, **SEED),
    "isolation": IsolationForest(n_estimators=20, **SEED),
    "isolation of features": IsolationForest(n_estimators=20, max_features=0.5, **SEED),
    "AdaBoost": AdaBoostRegressor(n_estimators=8, **SEED),
    "gradient boosting": GradientBoostingClassifier(n_estimators=8, **SEED),
    "histogram boosting": HistGradientBoostingClassifier(max_iter=12),
    "voting": VotingClassifier(
        [("a", RandomForestClassifier(6, **SEED)), ("b", ExtraTreesClassifier(6, **SEED))],
        voting="soft",
    ),
    "pipeline": make_pipeline(StandardScaler(), RandomForestClassifier(8, **SEED)),
}


@pytest.fixture(scope="module", autouse=True)
def few_workers_left():
    yield
    joblib.externals.loky.get_reusable_executor().shutdown(kill_workers=True)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("name", MODELS)
def test_predictions_are_those_of_scikit_learn(name, workers, tmp_path):
    model = MODELS[name]
    regression = name in ("regression", "AdaBoost")
    model.fit(X, TARGET if regression else LABELS)
    shardpickle.dump(model, tmp_path / "model", shard_size="10kB")
    with joblib.parallel_config(backend="sequential"):  # in order, where n_jobs is 2
        expected = {
            method: getattr(model, method)(X)
            for method in ("predict", "predict_proba", "decision_function", "score_samples")
            if hasattr(model, method)
        }
    for method, answer in expected.items():
        found = shardpickle.predict(tmp_path / "model", X, method=method, workers=workers)
        assert_same(found, answer)


@pytest.fixture
def stored(tmp_path):
    model = RandomForestClassifier(24, **SEED).fit(X, LABELS)
    shardpickle.dump(model, tmp_path / "forest", shard_size="10kB")
    return model, tmp_path / "forest"


@pytest.mark.parametrize("backend", ["loky", "threading", "sequential", "multiprocessing"])
def test_backends(backend, stored):
    model, path = stored
    lazy = shardpickle.load(path, lazy=True)
    with joblib.parallel_config(backend=backend, n_jobs=2):
        found = shardpickle.predict(lazy, X, method="predict_proba")
    assert (found == model.predict_proba(X)).all()


def test_tasks_open_their_own_shards_only(stored):
    _, path = stored
    lazy = shardpickle.load(path, lazy=True, memory_limit="10MB")
    CACHE.hits = CACHE.ahead = CACHE.misses = 0
    shardpickle.predict(lazy, X, workers=2)
    # The trees were asked elsewhere; scikit-learn asks the first one about missing values.
    assert CACHE.hits <= 1
    assert CACHE.ahead == CACHE.misses == 0


@pytest.mark.parametrize(
    "name", ["bagging", "isolation of features", "gradient boosting", "boosting in a pipeline"]
)
def test_tasks_take_rows_where_trees_are_not_asked_by_themselves(name, tmp_path):
    models = MODELS | {
        "boosting in a pipeline": make_pipeline(
            StandardScaler(), GradientBoostingClassifier(n_estimators=5, **SEED)
        )
    }
    model = models[name].fit(X, LABELS)
    shardpickle.dump(model, tmp_path / "model", shard_size="10kB")
    lazy = shardpickle.load(tmp_path / "model", lazy=True, memory_limit="50MB")
    rows = np.tile(X, (4, 1))
    frame = pd.DataFrame(rows)
    CACHE.hits = CACHE.ahead = CACHE.misses = 0
    for method in ("predict", "decision_function", "predict_proba"):
        if hasattr(model, method):
            found = shardpickle.predict(lazy, rows, method=method, workers=2)
            assert_same(found, getattr(model, method)(rows))
            assert_same(shardpickle.predict(lazy, frame, method=method, workers=2), found)
    # A pipeline's last step may be on disk too, and is loaded, without its trees.
    assert CACHE.misses <= (name == "boosting in a pipeline")
    # Within so little, only one task has what it needs: this process.
    few = shardpickle.load(tmp_path / "model", lazy=True)
    least = max(place(one)[0].least for one in stand_ins(few))
    CACHE.set_limit(least + 1)
    assert_same(shardpickle.predict(few, rows, workers=2), model.predict(rows))
    assert CACHE.hits + CACHE.ahead + CACHE.misses > 0


def test_chunks_frames_and_files(stored, tmp_path, monkeypatch):
    model, path = stored
    monkeypatch.setattr("shardpickle.lazy.predict._ROWS", 50)
    expected = model.predict_proba(X)
    seen = []
    options = {"method": "predict_proba", "workers": 1}
    found = shardpickle.predict(path, X, on_progress=seen.append, **options)
    assert (found == expected).all()
    assert (seen[-1].action, seen[-1].done, seen[-1].total) == ("predict", len(X), len(X))
    chunks = (X[start : start + 70] for start in range(0, len(X), 70))
    assert (shardpickle.predict(path, chunks, **options) == expected).all()
    np.save(tmp_path / "X.npy", X)
    mapped = shardpickle.predict(
        path, np.load(tmp_path / "X.npy", mmap_mode="r"), out=tmp_path / "y.npy", **options
    )
    assert isinstance(mapped, np.memmap)
    assert (np.load(tmp_path / "y.npy") == expected).all()
    frame = pd.DataFrame(X, columns=[f"x{number}" for number in range(X.shape[1])])
    named = RandomForestClassifier(5, **SEED).fit(frame, LABELS)
    shardpickle.dump(named, tmp_path / "named")
    found = shardpickle.predict(tmp_path / "named", frame, workers=1)
    assert (found == named.predict(frame)).all()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["X.npy", "forest", "named", "y.npy"]


def test_mistakes(stored, tmp_path):
    _, path = stored
    with pytest.raises(ValueError, match="method has to be one of"):
        shardpickle.predict(path, X, method="fit")
    with pytest.raises(ValueError, match="no rows"):
        shardpickle.predict(path, iter(()), workers=1)
    with pytest.raises(ValueError, match="features"):
        shardpickle.predict(path, X[:, :2], workers=1, out=tmp_path / "y.npy")
    assert not list(tmp_path.glob("*.npy")) and not list(tmp_path.glob(".*"))  # noqa: PT018


def command(*arguments):
    return [sys.executable, "-m", "shardpickle", *map(str, arguments)]


@pytest.mark.long
@pytest.mark.parametrize("kind", ["npy", "csv", "parquet"])
def test_the_command(kind, stored, tmp_path):
    if kind == "parquet":
        pytest.importorskip("pyarrow", reason="pandas reads Parquet through pyarrow")
    model, path = stored
    features = tmp_path / f"X.{kind}"
    if kind == "npy":
        np.save(features, X)
    else:
        frame = pd.DataFrame(X)
        frame.columns = frame.columns.astype(str)
        frame.to_csv(features, index=False) if kind == "csv" else frame.to_parquet(features)
    done = subprocess.run(
        command("predict", path, features, "-o", tmp_path / "y.npy", "--workers", 1),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"predict of {len(X)} rows" in done.stdout
    assert (np.load(tmp_path / "y.npy") == model.predict(X)).all()
    done = subprocess.run(
        command("predict", path, tmp_path / "none.npy", "-o", tmp_path / "z.npy"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "none.npy" in done.stderr and "Traceback" not in done.stderr  # noqa: PT018


@pytest.fixture
def interruptible():
    """Children inherit a SIGINT that is ignored, as it is where a shell runs the tests with `&`."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="signals to groups of processes")
def test_an_interrupt_leaves_no_process(tmp_path, interruptible):
    rng = np.random.default_rng(0)
    features, target = rng.random((2000, 5)), rng.random(2000)
    model = RandomForestRegressor(100, **SEED).fit(features, target)
    shardpickle.dump(model, tmp_path / "model", shard_size="1MB")
    np.save(tmp_path / "X.npy", rng.random((4_000_000, 5)))
    arguments = command(
        "predict", tmp_path / "model", tmp_path / "X.npy", "-o", tmp_path / "y.npy", "--workers", 2
    )
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, start_new_session=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".y.npy-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(2)  # tasks are under way
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode != 0
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            break
        time.sleep(0.1)
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["X.npy", "model"]


@pytest.mark.long
@pytest.mark.parametrize("size", ["1kB", "30kB"])
def test_what_has_no_probabilities_is_asked_for_none(size, tmp_path):
    """Bagging asks a pipeline whether it has them; its last step has not."""
    pipeline = make_pipeline(StandardScaler(), SVC())
    model = BaggingClassifier(pipeline, 3, random_state=0).fit(X, LABELS)
    shardpickle.dump(model, tmp_path / "model", shard_size=size)
    found = shardpickle.predict(tmp_path / "model", X, workers=1)
    assert (found == model.predict(X)).all()
