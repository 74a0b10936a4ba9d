"""Predictions on a Dask cluster of processes, each with less memory than the model takes."""

import os
import pickle
import signal
import threading
import time
import warnings

import joblib
import numpy as np
import pytest
from sklearn.ensemble import GradientBoostingRegressor, RandomForestRegressor

import shardpickle

distributed = pytest.importorskip("distributed", reason="the extra `dask` is not installed")

pytestmark = [
    pytest.mark.filterwarnings("ignore:Port .* is already in use:UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Dask's own sockets
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

WORKER_MB = 400


@pytest.fixture(scope="module")
def cluster():
    import dask

    with (
        dask.config.set({"distributed.worker.daemon": False}),
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            memory_limit=f"{WORKER_MB}MB",
            dashboard_address=None,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A forest that takes more memory than a worker has; rows, and what it says of them."""
    rng = np.random.default_rng(0)
    features, target = rng.random((40_000, 6)), rng.random(40_000)
    model = RandomForestRegressor(2, random_state=0).fit(features, target)
    rows = rng.random((500, 6))
    one, two = model.estimators_
    model.estimators_ = [_changed(tree, seed) for seed in range(60) for tree in (one, two)]
    model.n_estimators = len(model.estimators_)
    nbytes = sum(tree.tree_.node_count * 72 for tree in model.estimators_)
    assert nbytes > WORKER_MB * 1_000_000
    path = tmp_path_factory.mktemp("shared") / "model"
    shardpickle.dump(model, path, shard_size="16MB")
    return path, rows, model.predict(rows)


def _changed(tree, seed):
    """The same tree with values of its own."""
    other = pickle.loads(pickle.dumps(tree))
    state = other.tree_.__getstate__()
    state["values"] += seed
    return other


@pytest.mark.long
def test_workers_smaller_than_the_model_predict_the_same_bits(cluster, large):
    path, rows, expected = large
    with joblib.parallel_config(backend="dask", wait_for_workers_timeout=60):
        found = shardpickle.predict(path, rows, memory_limit="300MB")
    assert (found == expected).all()
    peaks = cluster.run(_peak)
    assert len(peaks) == 2
    assert max(peaks.values()) < WORKER_MB * 1_000_000


def _peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1000


def test_a_worker_that_is_killed_changes_nothing(cluster, large):
    path, rows, expected = large
    pids = cluster.run(os.getpid)
    killed = threading.Event()

    def kill():
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if any(cluster.processing().values()):
                os.kill(next(iter(pids.values())), signal.SIGKILL)
                killed.set()
                return
            time.sleep(0.01)

    thread = threading.Thread(target=kill)
    thread.start()
    with joblib.parallel_config(backend="dask", wait_for_workers_timeout=60):
        found = shardpickle.predict(path, rows, memory_limit="300MB")
    thread.join()
    assert killed.is_set()
    assert (found == expected).all()
    cluster.wait_for_workers(2, timeout=60)
    assert set(cluster.run(os.getpid).values()) != set(pids.values())


def test_rows_are_spread_where_shards_cannot_be(cluster, tmp_path):
    rng = np.random.default_rng(0)
    features, target = rng.random((300, 4)), rng.random(300)
    model = GradientBoostingRegressor(random_state=0).fit(features, target)
    shardpickle.dump(model, tmp_path / "model")
    with joblib.parallel_config(backend="dask"):
        found = shardpickle.predict(tmp_path / "model", features)
    assert (found == model.predict(features)).all()


def test_a_lazy_model_is_sent_as_a_reference(cluster, large):
    path, rows, expected = large
    lazy = shardpickle.load(path, lazy=True, memory_limit="100MB")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", shardpickle.LazyReferenceWarning)
        assert len(pickle.dumps(lazy)) < 20_000
        future = cluster.submit(_predicted, lazy, rows)
        assert (future.result() == expected).all()


def _predicted(model, rows):
    return model.predict(rows)
