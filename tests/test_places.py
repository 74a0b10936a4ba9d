"""A model stays where it is: after chdir, in children, and whatever stands in its place."""

import gc
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import joblib
import numpy as np
import pytest
from estimators import LABELS, TARGET, X
from graphs import assert_same
from settling import settle, settled_below
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier

import shardpickle
from shardpickle import api
from shardpickle.io import open_model, reader
from shardpickle.lazy import CACHE

posix = pytest.mark.skipif(sys.platform == "win32", reason="fork, pipes and sockets")


@pytest.fixture
def forest():
    return RandomForestClassifier(24, random_state=0).fit(X, LABELS)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A current directory that the test leaves for another one."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "first")
    return tmp_path


@pytest.fixture
def lazy(request, forest, here):
    """A lazy model of a relative path, after the process has gone elsewhere."""
    given = {
        "directory": "model",
        "path": Path("model"),
        "dots": os.path.join("..", "first", ".", "model"),
        "packed": "model.shpk",
        "packed dots": os.path.join(os.pardir, "first", "model.shpk"),
        "URL": "file://model",
        "cached": f"file://{here}/first/model",
    }[request.param]
    shardpickle.dump(forest, "model", shard_size="10kB")
    shardpickle.pack("model", "model.shpk")
    options = {"cache_dir": "cache"} if request.param == "cached" else {}
    found = shardpickle.load(given, lazy=True, memory_limit="20MB", **options)
    os.chdir(here / "second")
    return found


WAYS = ["directory", "path", "dots", "packed", "packed dots", "URL", "cached"]
everywhere = pytest.mark.parametrize("lazy", WAYS, indirect=True)


@everywhere
def test_a_lazy_model_stays_where_it_was(lazy, forest, here):
    assert_same(lazy.predict_proba(X), forest.predict_proba(X))
    assert os.listdir(here / "second") == []


@everywhere
def test_it_is_made_whole_and_dumped_elsewhere(lazy, forest, here):
    shardpickle.dump(lazy, "copy", shard_size="10kB")
    assert shardpickle.inspect("copy").digest == shardpickle.inspect(here / "first/model").digest
    assert os.listdir(here / "second") == ["copy"]
    os.chdir(here)
    assert_same(shardpickle.load("second/copy").predict_proba(X), forest.predict_proba(X))
    whole = shardpickle.materialize(lazy)
    assert_same(whole.predict_proba(X), forest.predict_proba(X))
    assert_same(shardpickle.prune(lazy, n_estimators=3).predict(X), forest_of(forest, 3).predict(X))


def forest_of(forest, count):
    smaller = RandomForestClassifier(count, random_state=0).fit(X, LABELS)
    assert_same(
        [each.tree_.__getstate__() for each in smaller.estimators_],
        [each.tree_.__getstate__() for each in forest.estimators_[:count]],
    )
    return smaller


@pytest.mark.long
@everywhere
def test_references_lead_there_too(lazy, forest, here):
    with pytest.warns(shardpickle.LazyReferenceWarning):
        data = pickle.dumps(lazy)
    del lazy
    gc.collect()
    os.chdir("/")
    assert_same(pickle.loads(data).predict_proba(X), forest.predict_proba(X))
    code = (
        "import pickle, sys, numpy as np\n"
        "print(pickle.load(sys.stdin.buffer).predict(np.load(sys.argv[1])).tolist())\n"
    )
    np.save(here / "X.npy", X[:9])
    done = subprocess.run(
        [sys.executable, "-c", code, str(here / "X.npy")],
        input=data,
        cwd=here / "second",
        capture_output=True,
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout.decode().strip() == str(forest.predict(X[:9]).tolist())


@pytest.mark.parametrize("lazy", ["directory", "packed", "cached"], indirect=True)
@pytest.mark.parametrize("backend", ["loky", "multiprocessing", "threading"])
def test_tasks_find_it(lazy, backend, forest, here):
    with joblib.parallel_config(backend=backend, n_jobs=2), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads, Python 3.12
        found = shardpickle.predict(lazy, X, method="predict_proba", out="answers.npy")
    assert_same(np.array(found), forest.predict_proba(X))
    assert os.listdir(here / "second") == ["answers.npy"]


def test_boosting_too(here):
    model = GradientBoostingRegressor(n_estimators=8, random_state=0).fit(X, TARGET)
    shardpickle.dump(model, "model", shard_size="10kB")
    lazy = shardpickle.load("model", lazy=True)
    os.chdir(here)
    assert_same(lazy.predict(X), model.predict(X))


def test_a_file_is_written_where_it_was_asked_for(forest, here):
    shardpickle.dump(forest, "model")
    target = here / "first" / "answers.npy"

    def leave(event):
        os.chdir(here / "second")

    shardpickle.predict("model", X, out="answers.npy", workers=1, on_progress=leave)
    assert_same(np.load(target), forest.predict(X))
    os.chdir(here / "first")
    shardpickle.dump(forest, "another", shard_size="10kB", on_progress=leave)
    assert os.listdir(here / "second") == []
    assert_same(shardpickle.load(here / "first" / "another").predict(X), forest.predict(X))


@posix
def test_a_directory_that_was_removed_or_cannot_be_reached_by_its_name(here):
    shardpickle.dump([1], "model")
    if os.geteuid() == 0:  # as a daemon that has given up its rights
        code = (
            "import os, sys, shardpickle\n"
            "os.chdir(sys.argv[1]); shardpickle.load('model')\n"
            "os.chmod('..', 0o700); os.seteuid(65534)\n"
            "print(shardpickle.load('model'))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(here / "first")], capture_output=True, text=True
        )
        assert done.stdout == "[1]\n", done.stderr
    (here / "gone").mkdir()
    os.chdir(here / "gone")
    (here / "gone").rmdir()
    with pytest.raises(shardpickle.ModelNotFoundError):
        shardpickle.load("model")
    with pytest.raises(shardpickle.StorageError):
        shardpickle.dump([1], "model")
    assert shardpickle.load(here / "first" / "model") == [1]


# --- Limits of one call ---


@pytest.mark.long
@pytest.mark.parametrize("before", [None, 30_000_000])
def test_a_call_leaves_the_limit_of_the_process_as_it_was(before, forest, here):
    shardpickle.dump(forest, "model", shard_size="10kB")
    lazy = shardpickle.load("model", lazy=True)
    CACHE.limit = before
    calls = (
        lambda: shardpickle.tradeoff("model", X, LABELS, progress=False),
        lambda: shardpickle.tradeoff("model", X, LABELS, memory_limit="10MB", progress=False),
        lambda: shardpickle.predict("model", X, workers=1, memory_limit="5MB"),
        lambda: shardpickle.predict(lazy, X, workers=1, memory_limit="5MB"),
    )
    for call in calls:
        call()
        assert CACHE.limit == before
    with joblib.parallel_config(backend="threading", n_jobs=2):
        shardpickle.predict(lazy, X, memory_limit="5MB")
    assert CACHE.limit == before
    with pytest.raises(ValueError, match="features"):
        shardpickle.tradeoff("model", X[:, :2], LABELS, progress=False)
    with pytest.raises(shardpickle.MemoryLimitError):
        shardpickle.tradeoff("model", X, LABELS, memory_limit=1000, progress=False)
    with pytest.raises(shardpickle.MemoryLimitError):
        shardpickle.predict("model", X, memory_limit=1000)
    assert CACHE.limit == before


def test_limits_of_calls_and_of_the_process_do_not_mix(forest, here):
    shardpickle.dump(forest, "model", shard_size="10kB")
    with CACHE.within(5_000_000):
        assert CACHE.limit == 5_000_000
        with CACHE.within(4_000_000):
            assert CACHE.limit == 4_000_000
        shardpickle.load("model", lazy=True, memory_limit="9MB")  # meant to stay
        assert CACHE.limit == 5_000_000
    assert CACHE.limit == 9_000_000
    one, other = CACHE.within(1_000_000), CACHE.within(2_000_000)
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)  # calls of two threads end in any order
    assert CACHE.limit == 2_000_000
    other.__exit__(None, None, None)
    assert CACHE.limit == 9_000_000


def test_a_limit_of_a_call_holds_in_it(forest, here):
    shardpickle.dump(forest, "model", shard_size="10kB")
    settle()
    others = CACHE.used  # of models that other tests hold
    lazy = shardpickle.load("model", lazy=True)
    lazy.predict(X)
    settle()
    half = others + (CACHE.used - others) // 2
    with CACHE.within(half):
        assert settled_below(half)
        lazy.predict(X)
        assert settled_below(half)


# --- Pipes, sockets and devices ---


def pipe(path):
    os.mkfifo(path)


def listening(path):
    with socket.socket(socket.AF_UNIX) as sock:
        folder = os.getcwd()
        os.chdir(path.parent)  # names of sockets are short
        try:
            sock.bind(path.name)
        finally:
            os.chdir(folder)


def device(path):
    path.symlink_to("/dev/zero")


def directory(path):
    path.mkdir()


ODD = {"pipe": pipe, "socket": listening, "device": device, "directory": directory}
READERS = {
    "load": shardpickle.load,
    "load, lazily": lambda path: shardpickle.load(path, lazy=True),
    "load of a part": lambda path: shardpickle.load(path, estimators=slice(0, 3)),
    "load without damage": lambda path: shardpickle.load(path, skip_damaged=True),
    "inspect": shardpickle.inspect,
    "diff": lambda path: shardpickle.diff(path, path),
    "pack": lambda path: shardpickle.pack(path, path.with_name("never.shpk")),
    "unpack": lambda path: shardpickle.unpack(path, path.with_name("never")),
    "predict": lambda path: shardpickle.predict(path, X),
    "tradeoff": lambda path: shardpickle.tradeoff(path, X, LABELS),
    "export": lambda path: shardpickle.export(path, path.with_name("never.pkl")),
    "gc": api.collect_garbage,
}


@posix
@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("place", ["manifest", "shards", "packed", "itself"])
def test_what_is_no_file_is_refused_at_once(kind, place, forest, here):
    target = here / "model"
    shardpickle.dump(forest, target, shard_size="10kB")
    files = {
        "manifest": [target / "manifest.json"],
        "shards": sorted((target / "shards").iterdir()),
        "packed": [here / "model.shpk"],
        "itself": [here / "model.odd"],
    }[place]
    for file in files:
        file.unlink(missing_ok=True)
        ODD[kind](file)
    path = target if place in ("manifest", "shards") else files[0]
    words = r"pipe|socket|device|director|No such device|not a shardpickle model"
    for name, read in READERS.items():
        if name in ("gc", "diff") and place == "shards":
            continue  # these read the manifests only, if they are equal
        with pytest.raises(shardpickle.ShardpickleError, match=words) as caught:
            read(path)
        assert any(file.name in str(caught.value) for file in files) or path.name in str(
            caught.value
        )
    if place == "shards":
        report = shardpickle.verify(target)
        assert not report.ok
        assert len(report.problems) == len(files)
    else:
        with pytest.raises(shardpickle.ShardpickleError, match=words):
            shardpickle.verify(path)
    assert not list(here.glob("never*"))
    if place == "manifest":
        with pytest.raises(shardpickle.StorageError, match=r"pipe|socket|device|director|No such"):
            shardpickle.dump([1], target)
    elif place == "shards":
        if kind == "directory":  # which a file cannot replace
            with pytest.raises(shardpickle.StorageError, match="a directory has this name"):
                shardpickle.dump(forest, target, shard_size="10kB")
            return
        report = shardpickle.dump(forest, target, shard_size="10kB")
        assert report.shards_written == len(files)
        assert shardpickle.verify(target, deep=True)


@posix
@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ODD)
def test_what_is_no_file_is_not_converted(kind, here):
    for suffix in (".pkl", ".joblib", ".skops", ".pkl.gz"):
        source = here / f"source{suffix}"
        ODD[kind](source)
        with pytest.raises(shardpickle.ShardpickleError, match=r"source\.") as caught:
            shardpickle.convert(source, here / "never")
        assert "directory" in str(caught.value) or isinstance(
            caught.value, shardpickle.StorageError
        )
    assert not (here / "never").exists()


@posix
@pytest.mark.timeout(60)
def test_a_pipe_that_appears_later_is_not_waited_for(forest, here):
    shardpickle.dump(forest, "model", shard_size="10kB")
    lazy = shardpickle.load("model", lazy=True)
    for shard in Path("model/shards").iterdir():
        shard.unlink()
        os.mkfifo(shard)
    with pytest.raises(shardpickle.StorageError, match="it is a pipe"):
        lazy.predict(X)


# --- Forks ---


def in_a_child(task):
    """Run a task in a forked child; whether it ended by itself, and well."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads, Python 3.12
        child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(20)  # a child that waits is killed
            code = 0 if task() else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


class Held:
    """A thread that has stopped inside a function, with the locks that it took."""

    def __init__(self, monkeypatch, place, name):
        self.there, self.go = threading.Event(), threading.Event()
        self.home = os.getpid()
        original = getattr(place, name)

        def waiting(*args, **kwargs):
            if os.getpid() == self.home and threading.current_thread() is self.thread:
                self.there.set()
                assert self.go.wait(60)
            return original(*args, **kwargs)

        monkeypatch.setattr(place, name, waiting)

    def run(self, task):
        self.thread = threading.Thread(target=task)
        self.thread.start()
        assert self.there.wait(60)

    def finish(self):
        self.go.set()
        self.thread.join(60)
        assert not self.thread.is_alive()


@posix
@pytest.mark.parametrize("place", ["opening a reference", "the cache", "a shard under way"])
def test_a_lock_that_is_held_at_a_fork_does_not_stop_the_child(place, forest, here, monkeypatch):
    shardpickle.dump(forest, "model", shard_size="10kB")
    expected = forest.predict_proba(X)
    lazy = shardpickle.load("model", lazy=True)
    with pytest.warns(shardpickle.LazyReferenceWarning):
        data = pickle.dumps(lazy)
    if place == "opening a reference":
        del lazy
        gc.collect()
        held = Held(monkeypatch, open_model.ModelReader, "open")
        held.run(lambda: pickle.loads(data))
        assert open_model._REOPENING.locked()
    elif place == "the cache":
        held = Held(monkeypatch, CACHE, "_visit")

        def hold():
            with CACHE.lock:
                lazy.estimators_[3]

        held.run(hold)
    else:
        held = Held(monkeypatch, reader, "check_file")
        held.run(lambda: lazy.estimators_[3])
    children = [
        lambda: bool((pickle.loads(data).predict_proba(X) == expected).all()),
        lambda: bool((shardpickle.load("model", lazy=True).predict_proba(X) == expected).all()),
    ]
    if place != "opening a reference":
        children.append(lambda: bool((lazy.predict_proba(X) == expected).all()))
    codes = [in_a_child(task) for task in children]
    held.finish()
    assert codes == [0] * len(children)
    assert_same(pickle.loads(data).predict_proba(X), expected)


@posix
def test_a_child_keeps_the_limit_of_the_call_it_was_forked_in(here):
    with CACHE.within(3_000_000):
        assert in_a_child(lambda: CACHE.limit == 3_000_000) == 0
    assert CACHE.limit is None
