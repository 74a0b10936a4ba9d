"""Errors arrive whole in other processes, name the file, and give the advice that fits."""

import collections
import concurrent.futures
import contextlib
import copy
import errno
import functools
import importlib
import inspect
import json
import multiprocessing
import os
import pickle
import queue
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import weakref

import cloudpickle
import joblib
import numpy as np
import pytest
from estimators import LABELS, X
from sklearn.ensemble import BaggingClassifier, RandomForestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier

import shardpickle
import shardpickle.cli
from shardpickle import errors

# --- Every error and warning can be pickled and copied ---

PROBLEMS = [("model.steps[0]", "TypeError: no"), ("model.x", "PicklingError: no")]
EXAMPLES = {
    "ShardpickleError": lambda: errors.ShardpickleError("something"),
    "UnpicklableError": lambda: errors.UnpicklableError(PROBLEMS, ["Remove it."]),
    "ReadBackError": lambda: errors.ReadBackError("another column"),
    "StorageError": lambda: errors.StorageError(errno.ENOSPC, "disk full", "/there/model"),
    "StoragePermissionError": lambda: errors.StoragePermissionError(errno.EACCES, "no", "/there"),
    "ModelNotFoundError": lambda: errors.ModelNotFoundError("there is no file x"),
    "NotADirectoryModelError": lambda: errors.NotADirectoryModelError(errno.ENOTDIR, "a file", "x"),
    "ForeignDirectoryError": lambda: errors.ForeignDirectoryError(errno.EEXIST, "not ours", "x"),
    "BusyDirectoryError": lambda: errors.BusyDirectoryError(errno.EAGAIN, "busy", "x"),
    "FormatError": lambda: errors.FormatError("no format"),
    "NotAModelError": lambda: errors.NotAModelError("a pickle"),
    "ForeignFileError": lambda: errors.ForeignFileError("not read"),
    "UnknownFormatError": lambda: errors.UnknownFormatError("version 7"),
    "CorruptModelError": lambda: errors.CorruptModelError("too deep"),
    "CorruptManifestError": lambda: errors.CorruptManifestError("large", file="m", actual=9),
    "CorruptShardError": lambda: errors.CorruptShardError(
        "damaged", file="shards/a.shard", expected="0" * 64, actual="1" * 64
    ),
    "UnexpectedModelError": lambda: errors.UnexpectedModelError("model", "sha256:1", "sha256:2"),
    "MissingShardError": lambda: errors.MissingShardError("missing").in_file("shards/a.shard"),
    "MissingNameError": lambda: errors.MissingNameError([("mypkg.A", "ImportError: no")]),
    "RefusedError": lambda: errors.RefusedError(
        "a call of f", ["m.f"], path="/there/model", place="model.a"
    ),
    "UntrustedTypeError": lambda: errors.UntrustedTypeError(
        "m", {"mypkg.A": "part 1", "mypkg.B": "part 2"}
    ),
    "UnsafeForbiddenError": lambda: errors.UnsafeForbiddenError("unsafe=True", "FORBID"),
    "RebuildError": lambda: errors.RebuildError("refused its state"),
    "ModelTooLargeError": lambda: errors.ModelTooLargeError("model", 10**10, 10**9),
    "MemoryLimitError": lambda: errors.MemoryLimitError("model", 10, 1000),
    "ModelReplacedError": lambda: errors.ModelReplacedError("model"),
    "WorkerLostError": lambda: errors.WorkerLostError(),
}
CLASSES = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, BaseException) and not name.startswith("_")
}
OF_C = ("errno", "strerror", "filename", "filename2", "msg", "name", "path", "characters_written")


def example(name):
    kind = CLASSES[name]
    return kind("a warning") if issubclass(kind, Warning) else EXAMPLES[name]()


def ways():
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        yield lambda error, protocol=protocol: pickle.loads(pickle.dumps(error, protocol))
    yield copy.copy
    yield copy.deepcopy
    yield lambda error: pickle.loads(cloudpickle.dumps(error))


def state(error):
    """All that can be seen of an error."""
    of_c = {name: getattr(error, name) for name in OF_C if hasattr(error, name)}
    return type(error), str(error), repr(error), error.args, vars(error), of_c


def assert_arrives(error):
    error.__cause__ = RuntimeError("what led to it")  # stays behind, as with every exception
    for way in ways():
        again = way(error)
        assert again is not error
        assert state(again) == state(error)
    noted = copy.copy(error)
    noted.add_note("while the test ran")
    assert pickle.loads(pickle.dumps(noted)).__notes__ == ["while the test ran"]


def test_there_is_an_example_of_each_error():
    assert set(EXAMPLES) == {
        name for name, kind in CLASSES.items() if not issubclass(kind, Warning)
    }
    assert all(type(example(name)) is kind for name, kind in CLASSES.items())
    assert {name for name in shardpickle.__all__ if name in CLASSES} >= set(CLASSES) - {
        "FormatError"
    }


@pytest.mark.parametrize("name", CLASSES)
def test_an_error_can_be_pickled_and_copied(name):
    assert_arrives(example(name))


class WithAFieldError(errors.UntrustedTypeError):
    """As a later one may be: another signature, a slot, a field."""

    __slots__ = ("slot",)

    def __init__(self, one, *, two):
        super().__init__("model", {one: "part 0"})
        self.slot, self.two = [one], {"two": two}


def test_so_can_one_that_is_yet_to_come():
    error = WithAFieldError("mypkg.A", two=2)
    assert_arrives(error)
    again = pickle.loads(pickle.dumps(error))
    assert (again.slot, again.two, again.names) == (["mypkg.A"], {"two": 2}, {"mypkg.A": "part 0"})


def test_copies_share_nothing_when_deep():
    error = EXAMPLES["UnpicklableError"]()
    assert copy.copy(error).problems is error.problems
    assert copy.deepcopy(error).problems is not error.problems


# --- Other processes ---


@pytest.fixture
def untrusted(tmp_path, monkeypatch):
    """A model of a class that nobody vouches for."""
    (tmp_path / "theirs.py").write_text(
        "from sklearn.linear_model import Ridge\nclass Theirs(Ridge): pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    model = importlib.import_module("theirs").Theirs().fit(np.eye(3), [1, 2, 3])
    shardpickle.dump(model, tmp_path / "model")
    yield tmp_path / "model"
    sys.modules.pop("theirs", None)


def in_futures(path):
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, spawn) as executor:
        return executor.submit(shardpickle.load, path).result()


def in_joblib(backend, path):
    load = joblib.delayed(shardpickle.load)
    return joblib.Parallel(2, backend=backend)(load(path) for _ in range(2))


POOLS = {
    "concurrent.futures": in_futures,
    "loky": functools.partial(in_joblib, "loky"),
    "multiprocessing": functools.partial(in_joblib, "multiprocessing"),
}


@pytest.mark.long
@pytest.mark.parametrize("pool", POOLS)
def test_a_refusal_arrives_from_a_worker(pool, untrusted):
    with pytest.raises(shardpickle.ShardpickleError) as here:
        shardpickle.load(untrusted)
    with pytest.raises(shardpickle.UntrustedTypeError) as caught:
        POOLS[pool](untrusted)
    assert str(caught.value) == str(here.value)
    assert caught.value.names == here.value.names
    assert list(caught.value.names) == ["theirs.Theirs"]


@pytest.mark.long
@pytest.mark.parametrize("kind", ["shards", "rows"])
def test_predict_passes_on_what_a_task_met(kind, tmp_path, monkeypatch):
    forest = RandomForestClassifier(12, random_state=0)
    bagging = BaggingClassifier(DecisionTreeClassifier(), 12, max_features=0.5, random_state=0)
    model = (forest if kind == "shards" else bagging).fit(X, LABELS)
    shardpickle.dump(model, tmp_path / "model", shard_size="10kB")
    lazy = shardpickle.load(tmp_path / "model", lazy=True)
    rows = np.tile(X, (3, 1))
    for shard in (tmp_path / "model" / "shards").iterdir():
        shard.unlink()
    # Workers open the model themselves, and miss what this process has not needed yet.
    with pytest.raises(shardpickle.MissingShardError, match="missing"):
        shardpickle.predict(lazy, rows, workers=2)
    shutil.rmtree(tmp_path / "model")
    with pytest.raises(shardpickle.ModelNotFoundError):
        shardpickle.predict(lazy, rows, workers=2)


THEIRS = """
from sklearn.tree import DecisionTreeClassifier
class Quota(Exception):
    def __init__(self, used, most):  # as many have: pickle calls it with one argument
        super().__init__(f"{used} of {most} calls")
class Picky(DecisionTreeClassifier):
    def predict_proba(self, X, check_input=True):
        raise Quota(3, 2)
"""


@pytest.mark.long
def test_an_error_that_cannot_be_pickled_is_told_in_words(tmp_path):
    (tmp_path / "quota.py").write_text(THEIRS)
    code = (
        "import sys, numpy as np, joblib, shardpickle as sp, quota\n"
        "from sklearn.ensemble import BaggingClassifier\n"
        "X = np.random.default_rng(0).random((200, 3)); y = (X[:, 0] > .5).astype(int)\n"
        "sp.dump(BaggingClassifier(quota.Picky(), 8).fit(X, y), 'model', shard_size='1kB')\n"
        "for backend in ('loky', 'threading'):\n"
        "    with joblib.parallel_config(backend=backend):\n"
        "        try: sp.predict('model', X, workers=2, trusted=['quota.Picky'])\n"
        "        except Exception as error: print(backend, type(error).__name__, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
    )
    lines = done.stdout.splitlines()
    assert all(line.endswith("3 of 2 calls") for line in lines)
    assert [line.split()[0] for line in lines] == ["loky", "threading"]
    assert "memory" not in done.stdout


# --- What cannot be pickled, and what to do about it ---


class Holder:
    """What a test hangs things on."""

    def __init__(self, held):
        self.held = held


def local_function():
    def inner():
        pass

    return inner


def local_class():
    class Inner:
        pass

    return Inner()


def decorated(function):
    @functools.wraps(function)
    def wrapped():
        return function()

    return wrapped


@decorated
def plain():
    pass


class Replaced:
    pass


FIRST = Replaced()


class Replaced:  # as a notebook's cell that was run again
    pass


class EndlessProxy:
    def __reduce_ex__(self, protocol):
        return self.__reduce_ex__(protocol)


def renamed():
    return collections.namedtuple("Elsewhere", "a")(1)


def nested(depth):
    found = []
    for _ in range(depth):
        found = [found]
    return found


def in_dicts(depth):
    found = {}
    for _ in range(depth):
        found = {"a rather long name of a key": found}
    return found


def in_objects(depth):
    found = Holder(None)
    for _ in range(depth):
        found = Holder(found)
    return found


OF_THE_PROCESS = "belong to this process"
REFUSED = {
    "lambda": (lambda: lambda: 0, "lambda"),
    "partial of a lambda": (lambda: functools.partial(lambda: 0, 1), "lambda"),
    "local function": (local_function, "local function"),
    "local class": (local_class, "local class"),
    "method of a local class": (lambda: local_class().__init__, "local class"),
    "class defined again": (lambda: FIRST, "defined again.*restart Python, or recreate"),
    "undecorated": (lambda: plain.__wrapped__, "decorator"),
    "other name": (renamed, "not found under this name"),
    "lock": (threading.Lock, OF_THE_PROCESS),
    "re-entrant lock": (threading.RLock, OF_THE_PROCESS),
    "event": (threading.Event, OF_THE_PROCESS),
    "queue": (queue.Queue, OF_THE_PROCESS),
    "simple queue": (queue.SimpleQueue, OF_THE_PROCESS),
    "thread": (threading.Thread, OF_THE_PROCESS),
    "thread's own": (threading.local, OF_THE_PROCESS),
    "text file": (lambda: open(os.devnull, encoding="utf-8"), OF_THE_PROCESS),  # noqa: SIM115
    "file": (lambda: open(os.devnull, "rb"), OF_THE_PROCESS),  # noqa: SIM115
    "socket": (socket.socket, OF_THE_PROCESS),
    "generator": (lambda: (each for each in "ab"), "keep a list"),
    "keys": (lambda: {1: 2}.keys(), "keep a list"),
    "module": (lambda: json, "import it where it is used"),
    "connection": (lambda: sqlite3.connect(":memory:"), "database connection"),
    "cursor": (lambda: sqlite3.connect(":memory:").cursor(), "database connection"),
    "weak reference": (lambda: weakref.ref(Holder), "or give their classes"),
    "deep list": (lambda: nested(100_000), "setrecursionlimit"),
    "deep dicts": (lambda: in_dicts(5_000), "setrecursionlimit"),
    "deep objects": (lambda: in_objects(5_000), "setrecursionlimit"),
    "endless": (EndlessProxy, "EndlessProxy.__reduce_ex__ calls itself"),
    "long names": (lambda: {"k" * 9_000: lambda: 0}, "lambda"),
    "many": (lambda: [(lambda: 0) for _ in range(50)], "lambda"),
    "one of each": (
        lambda: [lambda: 0, local_function(), local_class(), threading.Lock(), json, FIRST],
        "lambda",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_the_advice_fits_the_cause(name, tmp_path):
    make, words = REFUSED[name]
    held = make()
    with contextlib.closing(held) if hasattr(held, "close") else contextlib.nullcontext():
        with pytest.raises((pickle.PicklingError, TypeError, AttributeError, RecursionError)):
            pickle.dumps(held)
        with pytest.raises(shardpickle.UnpicklableError, match=words) as caught:
            shardpickle.dump(Holder([held]), tmp_path / "model")
    message = str(caught.value)
    assert len(message) < 1500
    assert "model.held[0]" in message
    assert all("model.held[0]" in path for path, _ in caught.value.problems)
    others = {words for _, words in REFUSED.values()} - {words, "lambda"}
    if name not in ("thread", "one of each"):  # which hold several
        assert not [other for other in others if other in message]
    assert list(tmp_path.iterdir()) == []
    while isinstance(held, (list, dict)) and held:  # Python's own recursion would not bear it
        held = held.popitem()[1] if isinstance(held, dict) else held.pop()


def test_the_advice_for_depth_works(tmp_path):
    model = in_objects(400)
    limit = sys.getrecursionlimit()
    try:
        sys.setrecursionlimit(len(inspect.stack()) + 250)
        with pytest.raises(shardpickle.UnpicklableError, match="setrecursionlimit") as caught:
            shardpickle.dump(model, tmp_path / "model")
        asked = int(str(caught.value).partition("setrecursionlimit(")[2].partition(")")[0])
        sys.setrecursionlimit(asked)
        shardpickle.dump(model, tmp_path / "model")
    finally:
        sys.setrecursionlimit(limit)
    found = shardpickle.load(tmp_path / "model", trusted=[Holder])
    depth = 0
    while found.held is not None:
        found, depth = found.held, depth + 1
    assert depth == 400


def test_a_class_of_a_module_that_was_reloaded(tmp_path, monkeypatch):
    (tmp_path / "edited.py").write_text("class Mine: pass\ndef function(): pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    edited = importlib.import_module("edited")
    held = {"object": edited.Mine(), "class": edited.Mine, "function": edited.function}
    try:
        shardpickle.dump(held, tmp_path / "before")
        importlib.reload(edited)
        for each in held.values():
            with pytest.raises(shardpickle.UnpicklableError, match="was reloaded or defined again"):
                shardpickle.dump(each, tmp_path / "after")
        del edited.Mine
        with pytest.raises(shardpickle.UnpicklableError, match="not found under this name"):
            shardpickle.dump(held["object"], tmp_path / "after")
    finally:
        sys.modules.pop("edited", None)


# --- The operating system's errors name the file ---


@pytest.fixture
def stored(tmp_path):
    model = GaussianNB().fit(X, LABELS)
    shardpickle.dump(model, tmp_path / "model")
    return tmp_path / "model"


def html_of(path, target):
    shardpickle.cli.main(["inspect", str(path), "--html", str(target)])


WRITES = {
    "predict": (
        lambda path, target: shardpickle.predict(path, X, method="predict_proba", out=target),
        "out.npy",
    ),
    "export": (lambda path, target: shardpickle.export(path, target), "out.joblib"),
    "export of a pickle": (lambda path, target: shardpickle.export(path, target), "out.pkl"),
    "export, compressed": (
        lambda path, target: shardpickle.export(path, target, compress=3),
        "out.joblib",
    ),
    "export, gzip": (lambda path, target: shardpickle.export(path, target), "out.pkl.gz"),
    "pack": (lambda path, target: shardpickle.pack(path, target), "out.shpk"),
    "page": (
        lambda path, target: shardpickle.api.write_text(
            target, shardpickle.inspect(path).to_html()
        ),
        "out.html",
    ),
    "unpack": (lambda path, target: shardpickle.unpack(path, target), "out"),
    "dump": (lambda path, target: shardpickle.dump(np.arange(5000), target), "out"),
    "convert": (lambda path, target: shardpickle.convert(path / "x.pkl", target), "out"),
}


def assert_named(caught, target):
    error = caught.value
    assert isinstance(error, shardpickle.StorageError)
    assert target.name in str(error)
    assert str(target.parent) in str(error.filename)
    assert "cannot" in str(error)


def listing(folder):
    return sorted(str(each.relative_to(folder)) for each in folder.rglob("*"))


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("number", ["ENOSPC", "EDQUOT", "EIO", "EROFS"])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_refuses_is_named(name, number, call, stored, tmp_path, monkeypatch):
    write, file = WRITES[name]
    (stored / "x.pkl").write_bytes(pickle.dumps([1, 2, 3]))
    folder = tmp_path / "to"
    folder.mkdir()
    number = getattr(errno, number)

    def refuse(*_):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        with pytest.raises(OSError, match="cannot") as caught:
            write(stored, folder / file)
    assert_named(caught, folder / file)
    assert caught.value.errno == number
    assert listing(folder) == []


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process")
@pytest.mark.parametrize("name", WRITES)
def test_a_full_disk_for_real(name, tmp_path):
    # The kernel refuses files of more than 1 kB (EFBIG), also in the middle of a write.
    shardpickle.dump(GaussianNB().fit(X, LABELS), tmp_path / "model")
    (tmp_path / "model" / "x.pkl").write_bytes(pickle.dumps(np.random.default_rng(0).random(900)))
    before = listing(tmp_path)
    code = (
        "import resource, signal, sys, pathlib, test_errors as t\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))\n"
        "write, file = t.WRITES[sys.argv[1]]; folder = pathlib.Path(sys.argv[2])\n"
        "try: write(folder / 'model', folder / file)\n"
        "except t.shardpickle.StorageError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", code, name, str(tmp_path)],
        cwd=os.path.dirname(__file__),
        capture_output=True,
        text=True,
        check=True,
    )
    assert WRITES[name][1] in done.stdout, done.stderr
    assert "no file may be so large" in done.stdout
    assert listing(tmp_path) == before


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("place", ["no folder", "below a file", "too long", "a circle of links"])
def test_a_place_that_cannot_be_written_is_named(name, place, stored, tmp_path):
    write, file = WRITES[name]
    (stored / "x.pkl").write_bytes(pickle.dumps([1]))
    if place == "no folder":
        if name in ("dump", "unpack", "convert"):  # these make it
            return
        target = tmp_path / "nowhere" / file
    elif place == "below a file":
        (tmp_path / "notes").write_text("mine")
        target = tmp_path / "notes" / file
    elif place == "too long":
        target = tmp_path / ("n" * 300) / file
    else:
        (tmp_path / "circle").symlink_to("circle")
        target = tmp_path / "circle" / file
    before = listing(tmp_path)
    with pytest.raises(shardpickle.StorageError) as caught:
        write(stored, target)
    assert file in str(caught.value) or str(target.parent) in str(caught.value)
    assert caught.value.filename
    assert listing(tmp_path) == before


@pytest.mark.parametrize("name", [name for name, (_, file) in WRITES.items() if "." in file])
def test_a_directory_or_a_device_is_not_replaced_by_a_file(name, stored, tmp_path):
    write, file = WRITES[name]
    targets = [tmp_path / each / file for each in ("directory", "pipe", "link")]
    for each in targets:
        each.parent.mkdir()
    targets[0].mkdir()
    os.mkfifo(targets[1])
    targets[2].symlink_to(os.devnull)
    before = listing(tmp_path)
    for each in targets:
        with pytest.raises(shardpickle.StorageError, match="give another path") as caught:
            write(stored, each)
        assert_named(caught, each)
    assert listing(tmp_path) == before


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    shardpickle.dump(GaussianNB().fit(X, LABELS), tmp_path / "model")
    url = f"file://{tmp_path}/model"
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(shardpickle.StorageError, match="cache_dir") as caught:
        shardpickle.load(url, cache_dir=tmp_path / "cache")
    assert caught.value.filename == str(tmp_path / "cache")
    (tmp_path / "cache").unlink()
    calls = []

    def full(*_):
        calls.append(1)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(shardpickle.StorageError, match="free some space") as caught:
        shardpickle.load(url, cache_dir=tmp_path / "cache")
    assert str(tmp_path / "cache") in str(caught.value.filename)
    assert len(calls) == 1  # a full disk is no failure of the network: nothing is fetched again


@pytest.mark.parametrize("damage", ["missing", "cut", "flipped", "longer", "pipe", "git-lfs"])
@pytest.mark.parametrize("name", ["pack", "unpack"])
def test_a_damaged_model_is_not_copied_and_the_file_is_named(name, damage, stored, tmp_path):
    write, file = WRITES[name]
    (shard,) = (stored / "shards").iterdir()
    whole = shard.read_bytes()
    shard.unlink()
    if damage == "pipe":
        os.mkfifo(shard)
    elif damage != "missing":
        shard.write_bytes(
            {
                "cut": whole[:-1],
                "flipped": whole[:-1] + bytes([whole[-1] ^ 1]),
                "longer": whole + b"\0",
                "git-lfs": b"version https://git-lfs.github.com/spec/v1\n",
            }[damage]
        )
    kinds = {
        "missing": shardpickle.MissingShardError,
        "pipe": shardpickle.StorageError,
        "git-lfs": shardpickle.NotAModelError,
    }
    with pytest.raises(kinds.get(damage, shardpickle.CorruptShardError)) as caught:
        write(stored, tmp_path / file)
    assert shard.name in str(caught.value)
    assert file not in str(caught.value).replace(str(tmp_path), "")
    assert [each.name for each in tmp_path.iterdir()] == ["model"]
    (tmp_path / "out.shpk").write_bytes(b"the one before")
    with pytest.raises(shardpickle.ShardpickleError):
        shardpickle.pack(stored, tmp_path / "out.shpk")
    assert (tmp_path / "out.shpk").read_bytes() == b"the one before"


def test_a_place_of_a_url_that_is_not_there_is_named(tmp_path):
    url = f"file://{tmp_path}/nowhere/model"
    with pytest.raises(shardpickle.StorageError, match="this place is there") as caught:
        shardpickle.dump([1], url)
    assert caught.value.filename == url
    assert list(tmp_path.iterdir()) == []
