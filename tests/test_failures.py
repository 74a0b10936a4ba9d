"""What fails fails clearly, and nothing is lost: the previous model, and the disk's tidiness."""

import errno
import gzip
import io
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
import zipfile
from pathlib import Path

import joblib
import numpy as np
import pytest
from estimators import LABELS, X
from graphs import assert_same
from sklearn.base import BaseEstimator
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import shardpickle
from shardpickle._util import memory
from shardpickle._util import pool as workers
from shardpickle.format import shard as sealing
from shardpickle.io import dump as dumping
from shardpickle.io import load as loading
from shardpickle.io import open_model, publish, reader
from shardpickle.storage import files, local

OLD = {"old": np.arange(100.0), "list": [1, 2]}


class Callback(BaseEstimator):
    """An estimator that the test hangs things on."""


def forest(count=12):
    return RandomForestClassifier(count, random_state=0).fit(X, LABELS)


def listing(path):
    return sorted(str(each.relative_to(path)) for each in Path(path).rglob("*"))


def is_clean(path):
    """Only what the manifests of the present and the previous model name."""
    return not [name for name in listing(path) if ".tmp" in name]


# --- A dump that fails leaves the previous model ---

STEPS = {
    "compressing in a worker": (sealing.frames, "encode"),
    "writing a shard": (files.ShardWriter, "write"),
    "committing a shard": (files.ShardWriter, "commit"),
    "reading a shard back": (dumping, "read_shard"),
    "listing names": (dumping.Dumper, "_note_names"),
    "describing the environment": (dumping.versions, "describe"),
    "making the manifest": (publish.manifests, "to_bytes"),
    "publishing": (local.Publication, "publish"),
    "flushing": (local.os, "fsync"),
    "renaming": (local.os, "replace"),
}


class InjectedError(Exception):
    pass


ONCE = {"describing the environment", "making the manifest", "publishing"}  # in a dump


@pytest.mark.parametrize(
    ("step", "call"), [(step, call) for step in STEPS for call in (1, 3)[: 2 - (step in ONCE)]]
)
@pytest.mark.parametrize("workers", [1, 4])
def test_the_previous_model_survives(step, call, workers, tmp_path, monkeypatch):
    target = tmp_path / "model"
    shardpickle.dump(OLD, target)
    before = listing(target)
    place, name = STEPS[step]
    original = getattr(place, name)
    lock, calls = threading.Lock(), []

    def failing(*args, **kwargs):
        with lock:
            calls.append(name)
            if len(calls) >= call:
                raise InjectedError(step)
        return original(*args, **kwargs)

    model = forest()
    with monkeypatch.context() as patch:
        patch.setattr(place, name, failing)
        with pytest.raises(InjectedError):
            shardpickle.dump(model, target, workers=workers, shard_size="20kB")
        assert listing(target) == before
        assert_same(shardpickle.load(target), OLD)
        assert shardpickle.verify(target, deep=True).ok
    shardpickle.dump(model, target)
    assert is_clean(target)
    assert np.array_equal(shardpickle.load(target).predict_proba(X), model.predict_proba(X))


def test_a_first_dump_that_fails_leaves_no_directory(tmp_path, monkeypatch):
    def failing(*args):
        raise InjectedError

    monkeypatch.setattr(local.Publication, "publish", failing)
    with pytest.raises(InjectedError):
        shardpickle.dump(OLD, tmp_path / "deep" / "model")
    assert listing(tmp_path) == []


def test_what_does_not_read_back_is_not_published(tmp_path, monkeypatch):
    shardpickle.dump(OLD, tmp_path / "model")
    original = sealing.frames.decode

    def wrong(frame, width):
        raw = original(frame, width).copy()
        if raw.nbytes == 800:
            raw[17] ^= 1
        return raw

    with monkeypatch.context() as patch:
        patch.setattr(sealing.frames, "decode", wrong)
        with pytest.raises(shardpickle.ReadBackError, match="nothing was published"):
            shardpickle.dump({"new": np.arange(100.0)}, tmp_path / "model")
    assert_same(shardpickle.load(tmp_path / "model"), OLD)


def test_a_callback_that_raises_fails_the_dump(tmp_path):
    def refuse(event):
        raise InjectedError(event)

    with pytest.raises(InjectedError):
        shardpickle.dump(OLD, tmp_path / "model", on_progress=refuse)
    assert listing(tmp_path) == []


def test_a_killed_dump_does_not_block_the_next(tmp_path):
    target = tmp_path / "model"
    shardpickle.dump(OLD, target)
    code = (
        "import os, signal, sys, shardpickle, test_failures as t\n"
        "def die(self, manifest): os.kill(os.getpid(), signal.SIGKILL)\n"
        "t.local.Publication.publish = die\n"
        "t.shardpickle.dump(t.forest(), sys.argv[1], shard_size='20kB')\n"
    )
    command = [sys.executable, "-c", code, str(target)]
    done = subprocess.run(command, cwd=Path(__file__).parent, check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(listing(target)) > 4  # orphans are there
    assert_same(shardpickle.load(target), OLD)
    shardpickle.dump({"new": 1}, target)
    assert len(listing(target)) == 4  # manifest, shards/, the new shard, the previous one
    assert shardpickle.load(target) == {"new": 1}


def test_a_killed_first_dump_does_not_block_the_next(tmp_path):
    target = tmp_path / "model"
    (target / "shards").mkdir(parents=True)
    (target / "shards" / ("0" * 64 + ".shard")).write_bytes(b"half")
    (target / "shards" / ".shard-0123456789abcdef.tmp").write_bytes(b"half")
    with pytest.raises(shardpickle.NotAModelError, match="interrupted"):
        shardpickle.load(target)
    shardpickle.dump(OLD, target)
    assert len(listing(target)) == 3
    assert_same(shardpickle.load(target), OLD)


def test_an_interrupt_right_after_publishing_loses_nothing(tmp_path, monkeypatch):
    target = tmp_path / "model"
    shardpickle.dump(OLD, target)
    original = local.os.replace

    def interrupted(source, place):
        original(source, place)
        if str(place).endswith("manifest.json"):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(local.os, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            shardpickle.dump({"new": 1}, target)
    assert shardpickle.load(target) == {"new": 1}


@pytest.mark.parametrize("damage", ["missing", "flipped"])
def test_a_repaired_shard_stays_when_a_later_step_fails(damage, tmp_path, monkeypatch):
    target = tmp_path / "model"
    shardpickle.dump(OLD, target)
    (shard,) = (target / "shards").iterdir()
    if damage == "missing":
        shard.unlink()
    else:
        shard.write_bytes(b"damaged")

    def failing(*args):
        raise InjectedError

    with monkeypatch.context() as patch:
        patch.setattr(local.Publication, "collect", failing)
        with pytest.raises(InjectedError):
            shardpickle.dump(OLD, target)
    assert_same(shardpickle.load(target), OLD)


def test_a_child_forked_meanwhile_does_not_keep_the_lock(tmp_path):
    code = (
        "import os, sys, time, shardpickle\n"
        "def fork(event):\n"
        "    if event.done == event.total and os.fork() == 0:\n"
        "        time.sleep(20); os._exit(0)\n"
        "shardpickle.dump([1, 2], sys.argv[1], workers=1, on_progress=fork)\n"
        "shardpickle.dump([3, 4], sys.argv[1], workers=1)\n"
        "print('second dump done', flush=True)\n"
        "os.kill(0, 15)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "model")]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=False, start_new_session=True
    )
    assert done.stdout == "second dump done\n"


@pytest.mark.long
def test_dump_at_exit(tmp_path):
    code = (
        "import atexit, sys, shardpickle\n"
        "atexit.register(lambda: shardpickle.dump([1, 2], sys.argv[1], workers=2))\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "model")], check=True)
    assert shardpickle.load(tmp_path / "model") == [1, 2]


# --- Generations ---


def test_a_generation_is_kept_until_the_next_dump(tmp_path):
    target = tmp_path / "model"
    generations = []
    for number in range(4):
        shardpickle.dump([number] * 10, target)
        generations.append({each.name for each in (target / "shards").iterdir()})
    assert [len(each) for each in generations] == [1, 2, 2, 2]
    assert generations[2] & generations[3]
    assert not generations[1] & generations[3] - generations[2]


def test_a_reader_of_the_previous_generation_goes_on(tmp_path):
    target = tmp_path / "model"
    shardpickle.dump(OLD, target)
    model = reader.ModelReader.open(local.LocalStore(target))
    shardpickle.dump({"new": 1}, target)
    rebuilder = open_model.Access(target).rebuilder(model)
    with workers.Pool(1) as pool:
        assert_same(loading.load_whole(model, rebuilder, pool, sealing.ignore), OLD)


def overtake(monkeypatch, target):
    """Two dumps come between a reader's manifest and its shards."""
    original = local.LocalStore.read_manifest
    first = []

    def overtaken(store):
        data = original(store)
        if not first:
            first.append(data)
            shardpickle.dump({"generation": 2}, target)
            shardpickle.dump({"generation": 3}, target)
        return data

    monkeypatch.setattr(local.LocalStore, "read_manifest", overtaken)


READERS = {
    "load": (shardpickle.load, {"generation": 3}),
    "inspect": (lambda path: shardpickle.inspect(path).model, "builtins.dict"),
    "inspect --trust": (lambda path: shardpickle.inspect(path, trust=True).needs_trust, ()),
    "verify": (lambda path: shardpickle.verify(path, deep=True).ok, True),
    "diff": (lambda path: bool(shardpickle.diff(path, path)), False),
    "pack": (lambda path: _packed(path), {"generation": 3}),
    "unpack": (lambda path: _copied(path), {"generation": 3}),
    "export": (lambda path: _exported(path), {"generation": 3}),
}


def _packed(path):
    shardpickle.pack(path, path.with_name("model.shpk"))
    return shardpickle.load(path.with_name("model.shpk"))


def _copied(path):
    shardpickle.unpack(path, path.with_name("copy"))
    return shardpickle.load(path.with_name("copy"))


def _exported(path):
    shardpickle.export(path, path.with_name("model.pkl"))
    return pickle.loads(path.with_name("model.pkl").read_bytes())


@pytest.mark.parametrize("name", READERS)
def test_a_reader_that_was_overtaken_twice_gets_the_newest_model(name, tmp_path, monkeypatch):
    read, expected = READERS[name]
    target = tmp_path / "model"
    shardpickle.dump({"generation": 1}, target)
    overtake(monkeypatch, target)
    assert read(target) == expected


def test_foreign_files_in_a_model_directory_are_left_alone(tmp_path):
    target = tmp_path / "model"
    shardpickle.dump(OLD, target)
    (target / "README.md").write_text("a model card")
    (target / "shards" / "notes.txt").write_text("mine")
    shardpickle.dump({"new": 1}, target)
    shardpickle.dump({"new": 2}, target)
    assert (target / "README.md").read_text() == "a model card"
    assert (target / "shards" / "notes.txt").exists()


def test_a_damaged_shard_is_not_reused(tmp_path):
    target = tmp_path / "model"
    shardpickle.dump(OLD, target)
    (shard,) = (target / "shards").iterdir()
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    report = shardpickle.dump(OLD, target)
    assert report.shards_written == 1
    assert_same(shardpickle.load(target), OLD)


def test_a_second_writer_is_refused_and_a_dead_ones_lock_is_not_held(tmp_path):
    target = tmp_path / "model"
    shardpickle.dump(OLD, target)
    with local.LocalStore(target).writing():
        with pytest.raises(shardpickle.BusyDirectoryError, match="another process is writing"):
            shardpickle.dump({"new": 1}, target)
        assert_same(shardpickle.load(target), OLD)
    shardpickle.dump({"new": 1}, target)
    assert listing(target)[0] == "manifest.json"
    assert all("lock" not in name for name in listing(target))


# --- Paths ---


def test_a_path_that_is_a_file(tmp_path):
    (tmp_path / "model").write_text("something else")
    with pytest.raises(shardpickle.NotADirectoryModelError, match="is a file"):
        shardpickle.dump(OLD, tmp_path / "model")
    with pytest.raises(NotADirectoryError):
        shardpickle.dump(OLD, tmp_path / "model")
    with pytest.raises(shardpickle.NotAModelError, match="is a file"):
        shardpickle.load(tmp_path / "model")


@pytest.mark.parametrize("content", [{"data.csv": "1,2"}, {"manifest.json": "{}"}])
def test_a_directory_that_holds_something_else(content, tmp_path):
    for name, text in content.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(shardpickle.ForeignDirectoryError, match=r"data\.csv|manifest\.json"):
        shardpickle.dump(OLD, tmp_path)
    with pytest.raises(shardpickle.FormatError):
        shardpickle.load(tmp_path)
    assert listing(tmp_path) == sorted(content)


def test_a_path_that_is_not_there(tmp_path):
    for function in (shardpickle.load, shardpickle.inspect, shardpickle.verify):
        with pytest.raises(FileNotFoundError, match="nowhere"):
            function(tmp_path / "nowhere")


def test_a_path_may_be_text_or_path_and_its_parents_are_made(tmp_path):
    shardpickle.dump(OLD, str(tmp_path / "a" / "b"))
    assert_same(shardpickle.load(str(tmp_path / "a" / "b")), OLD)


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (errno.ENOSPC, shardpickle.StorageError, "disk is full"),
        (errno.EDQUOT, shardpickle.StorageError, "quota"),
        (errno.EACCES, PermissionError, "rights"),
        (errno.EROFS, shardpickle.StoragePermissionError, "read-only"),
        (errno.EIO, OSError, "cannot"),
    ],
)
def test_the_operating_system_refuses(number, kind, words, tmp_path, monkeypatch):
    def refuse(descriptor):
        raise OSError(number, os.strerror(number))

    target = tmp_path / "model"
    shardpickle.dump(OLD, target)
    with monkeypatch.context() as patch:
        patch.setattr(local.os, "fsync", refuse)
        with pytest.raises(kind, match=words) as caught:
            shardpickle.dump({"new": 1}, target)
    assert isinstance(caught.value, shardpickle.StorageError)
    assert caught.value.errno == number
    assert "model" in str(caught.value.filename)
    assert_same(shardpickle.load(target), OLD)


def test_a_full_disk_for_real(tmp_path):
    # RLIMIT_FSIZE makes the kernel refuse large files (EFBIG): a write fails half way.
    code = (
        "import resource, signal, sys, numpy as np, shardpickle\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try: shardpickle.dump(np.random.default_rng(0).random(100_000), sys.argv[1])\n"
        "except shardpickle.StorageError as error: print(error)\n"
    )
    target = tmp_path / "model"
    shardpickle.dump(OLD, target)
    before = listing(target)
    done = subprocess.run(
        [sys.executable, "-c", code, str(target)], capture_output=True, text=True, check=True
    )
    assert "cannot write a shard" in done.stdout
    assert listing(target) == before
    assert_same(shardpickle.load(target), OLD)


@pytest.fixture
def somebody():
    """A directory of a user who is not root: root may write everywhere."""
    root = os.geteuid() == 0
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        if root:
            os.seteuid(65534)
        try:
            yield Path(folder)
        finally:
            if root:
                os.seteuid(0)


def test_a_read_only_directory(somebody):
    target = somebody / "model"
    shardpickle.dump(OLD, target)
    os.chmod(target / "shards", 0o500)
    os.chmod(target, 0o500)
    assert_same(shardpickle.load(target), OLD)
    with pytest.raises(PermissionError, match="rights"):
        shardpickle.dump({"new": 1}, target)
    assert_same(shardpickle.load(target), OLD)
    os.chmod(target, 0o300)
    os.chmod(target / "manifest.json", 0o000)
    with pytest.raises(shardpickle.StoragePermissionError, match="rights"):
        shardpickle.load(target)


# --- What people point at by mistake ---


def write_pickle(path):
    path.write_bytes(pickle.dumps(OLD))


def write_gzip(path):
    path.write_bytes(gzip.compress(pickle.dumps(OLD)))


def write_skops(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("schema.json", "{}")


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (write_pickle, "is a pickle or joblib file"),
        (lambda path: joblib.dump(OLD, path), "is a pickle or joblib file"),
        (lambda path: joblib.dump(OLD, path, compress=3), "is a compressed joblib file"),
        (lambda path: joblib.dump(OLD, path, compress=("xz", 3)), "is a compressed joblib file"),
        (write_gzip, "gzip-compressed pickle"),
        (write_skops, "skops"),
        (
            lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"),
            "git lfs pull",
        ),
    ],
)
def test_another_kind_of_file(write, words, tmp_path):
    write(tmp_path / "model")
    for function in (shardpickle.load, shardpickle.inspect, shardpickle.verify):
        with pytest.raises(shardpickle.NotAModelError, match=words):
            function(tmp_path / "model")


def test_pointers_of_git_lfs_inside_a_directory(tmp_path):
    target = tmp_path / "model"
    shardpickle.dump(OLD, target)
    (shard,) = (target / "shards").iterdir()
    shard.write_text(
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{shard.stem}\nsize 1\n"
    )
    with pytest.raises(shardpickle.NotAModelError, match="git lfs pull"):
        shardpickle.load(target)
    (target / "manifest.json").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(shardpickle.NotAModelError, match="git lfs pull"):
        shardpickle.load(target)


def test_an_mlflow_folder(tmp_path):
    (tmp_path / "MLmodel").write_text("flavors: {}")
    with pytest.raises(shardpickle.NotAModelError, match="MLflow"):
        shardpickle.load(tmp_path)


# --- Damage ---


@pytest.fixture
def stored(tmp_path):
    shardpickle.dump(forest(), tmp_path / "model", shard_size="20kB")
    return tmp_path / "model"


def shards(path):
    return sorted((path / "shards").iterdir())


def refused(path, file):
    with pytest.raises(shardpickle.CorruptModelError) as caught:
        shardpickle.load(path)
    assert caught.value.file == f"shards/{file}"
    assert file in str(caught.value)
    report = shardpickle.verify(path)
    assert not report.ok
    assert [problem.file for problem in report.problems] == [f"shards/{file}"]
    return caught.value


def test_a_missing_shard(stored):
    shards(stored)[1].unlink()
    with pytest.raises(FileNotFoundError, match="missing"):
        shardpickle.load(stored)


def test_truncated_swapped_and_appended_shards(stored):
    first, second = shards(stored)[:2]
    whole = first.read_bytes()
    for damaged in (whole[:-1], whole[:40], b"", whole + b"\0", second.read_bytes()):
        first.write_bytes(damaged)
        error = refused(stored, first.name)
        assert error.expected != error.actual


def test_every_flipped_byte_of_a_shard_is_noticed(stored):
    first = shards(stored)[0]
    whole = first.read_bytes()
    for at in np.random.default_rng(0).integers(0, len(whole), 40):
        first.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        refused(stored, first.name)


@pytest.mark.long
def test_every_flipped_bit_and_every_cut_of_the_manifest_is_noticed(tmp_path):
    target = tmp_path / "model"
    shardpickle.dump(OLD, target, metadata={"score": 0.5})
    manifest = target / "manifest.json"
    whole = manifest.read_bytes()
    for at in range(len(whole)):
        manifest.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << at % 8)]) + whole[at + 1 :])
        with pytest.raises(shardpickle.FormatError):
            shardpickle.load(target)
        manifest.write_bytes(whole[:at])
        with pytest.raises(shardpickle.FormatError):
            shardpickle.load(target)


def test_a_newer_format(tmp_path):
    target = tmp_path / "model"
    shardpickle.dump(OLD, target)
    manifest = target / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"version": 1', b'"version": 7'))
    with pytest.raises(shardpickle.UnknownFormatError, match=r"version 7.*newer"):
        shardpickle.load(target)


# --- Objects that cannot be saved or made ---


def test_everything_that_cannot_be_pickled_is_named_at_once(tmp_path):
    model = make_pipeline(StandardScaler(), forest(5))
    model.steps[1][1].estimators_[3].callback = lambda: None
    model.steps[0][1].lock = {"held": [threading.Lock()]}
    with pytest.raises(shardpickle.UnpicklableError) as caught:
        shardpickle.dump(model, tmp_path / "model")
    paths = [path for path, _ in caught.value.problems]
    assert sorted(paths) == [
        "model.steps[0][1].lock['held'][0]",
        "model.steps[1][1].estimators_[3].callback",
    ]
    assert "<lambda>" in str(caught.value)
    assert isinstance(caught.value, pickle.PicklingError)
    assert not (tmp_path / "model").exists()


class Refusing:
    def __getstate__(self):
        raise RuntimeError("not now")


def test_a_class_that_refuses_to_be_pickled(tmp_path):
    model = Callback()
    model.inner = [Callback(), Refusing()]
    with pytest.raises(
        shardpickle.UnpicklableError, match=r"model\.inner\[1\]: RuntimeError: not now"
    ):
        shardpickle.dump(model, tmp_path / "model")


def test_classes_that_are_missing_are_named_at_once(tmp_path):
    (tmp_path / "elsewhere.py").write_text(
        "from sklearn.base import BaseEstimator\n"
        "class One(BaseEstimator): pass\nclass Two(BaseEstimator): pass\n"
        "class Three(BaseEstimator): pass\n"
    )
    sys.path.insert(0, str(tmp_path))
    import elsewhere

    try:
        model = [elsewhere.One(), elsewhere.Two(), elsewhere.Three()]
        shardpickle.dump(model, tmp_path / "model")
        del elsewhere.Two
        elsewhere.Three = None
        names = ["elsewhere.One", "elsewhere.Two", "elsewhere.Three"]
        with pytest.raises(shardpickle.MissingNameError) as caught:
            shardpickle.load(tmp_path / "model", trusted=names)
        assert caught.value.names == ["elsewhere.Two"]
        del sys.modules["elsewhere"]
        sys.path.remove(str(tmp_path))
        for options in ({"trusted": names}, {"unsafe": True}):
            with pytest.raises(ImportError) as caught:
                shardpickle.load(tmp_path / "model", **options)
            assert caught.value.names == names
        assert "elsewhere.One" in shardpickle.inspect(tmp_path / "model").names
        assert shardpickle.verify(tmp_path / "model", deep=True).ok
    finally:
        sys.modules.pop("elsewhere", None)


class Picky:
    strict = False

    def __setstate__(self, state):
        if Picky.strict:
            raise TypeError("an older state")
        self.__dict__.update(state)


def test_a_class_that_refuses_its_state(tmp_path, monkeypatch):
    model = Callback()
    model.inner = Picky()
    model.inner.number = 1
    shardpickle.dump(model, tmp_path / "model")
    monkeypatch.setattr(Picky, "strict", True)
    with pytest.raises(
        shardpickle.RebuildError, match=r"Callback.*Picky: TypeError: an older state"
    ):
        shardpickle.load(tmp_path / "model", trusted=[Callback, Picky])


# --- Versions and memory ---


def test_another_release_gives_one_warning(tmp_path, monkeypatch):
    model = make_pipeline(StandardScaler(), forest()).fit(X, LABELS)
    with monkeypatch.context() as patch:
        patch.setattr("sklearn.base.__version__", "1.5.9")
        patch.setattr("sklearn.__version__", "1.5.9")
        shardpickle.dump(model, tmp_path / "model")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loaded = shardpickle.load(tmp_path / "model")
    assert [each.category for each in caught] == [shardpickle.VersionWarning]
    assert "sklearn 1.5.9 (here " in str(caught[0].message)
    assert caught[0].filename == __file__
    assert "_sklearn_version" not in vars(loaded)
    assert np.array_equal(loaded.predict_proba(X), model.predict_proba(X))


def test_a_model_larger_than_memory_is_refused(tmp_path, monkeypatch):
    shardpickle.dump(np.zeros(1_000_000), tmp_path / "model")
    monkeypatch.setattr(memory, "available", lambda: 5_000_000)
    with pytest.raises(MemoryError, match=r"0\.01 GB.*0\.01 GB.*check_memory=False") as caught:
        shardpickle.load(tmp_path / "model")
    assert caught.value.needed == pytest.approx(8_000_000, rel=0.01)
    assert caught.value.available == 5_000_000
    assert shardpickle.load(tmp_path / "model", check_memory=False).size == 1_000_000


@pytest.mark.long
def test_the_limit_of_the_address_space_counts(tmp_path):
    shardpickle.dump(np.zeros(50_000_000), tmp_path / "model")
    code = (
        "import resource, sys, shardpickle\n"
        "limit = 2_000_000_000\n"
        "resource.setrlimit(resource.RLIMIT_AS, (limit, limit))\n"
        "hold = bytearray(limit - 900_000_000 - "
        "int(open('/proc/self/statm').read().split()[0]) * 4096 + 600_000_000)\n"
        "try: shardpickle.load(sys.argv[1])\n"
        "except shardpickle.ModelTooLargeError as error: print(error.available < 400_000_000)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "model")],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
    )
    assert done.stdout.strip() == "True"


# --- Arguments ---


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"workers": 0}, "at least 1"),
        ({"workers": "2"}, "number of threads"),
        ({"level": 0}, "from 1 to 22"),
        ({"level": True}, "from 1 to 22"),
        ({"shard_size": "32 megabytes"}, "'32MB'"),
        ({"shard_size": 0}, "at least 1 byte"),
        ({"metadata": [1]}, "a dict"),
        ({"metadata": {"when": object()}}, "JSON"),
        ({"metadata": {"score": float("nan")}}, "JSON"),
        ({"metadata": {1: 2}}, "keys have to be text"),
        ({"metadata": {"score": np.float32(1)}}, r"metadata\['score'\]"),
        ({"compress": 3}, "compress"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_written(arguments, words, tmp_path):
    with pytest.raises((TypeError, ValueError), match=words):
        shardpickle.dump(OLD, tmp_path / "model", **arguments)
    assert listing(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("model_dir", OLD), "model comes first"),
        ((OLD, io.BytesIO()), "not an open file"),
        ((OLD, ""), "path is empty"),
        ((OLD, "~/model"), "expanduser"),
        ((OLD, b"model"), "not bytes"),
    ],
)
def test_wrong_paths(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((TypeError, ValueError), match=words):
        shardpickle.dump(*arguments)
    assert listing(tmp_path) == []


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda path: shardpickle.dump([1], path, compress=3), "level="),
        (lambda path: shardpickle.dump([1], path, 3), "level="),
        (lambda path: shardpickle.dump([1], path, protocol=4), "own"),
        (lambda path: shardpickle.dump([1], path, n_jobs=2), "workers="),
        (lambda path: shardpickle.load(path, mmap_mode="r"), "lazy=True"),
        (lambda path: shardpickle.load(path, "r"), "lazy=True"),
        (lambda path: shardpickle.load(path, nonsense=1), "nonsense"),
        (lambda path: shardpickle.dump([1], io.BytesIO()), "a model is a directory"),
        (lambda path: shardpickle.load(io.BytesIO()), "a model is a directory"),
    ],
)
def test_habits_from_joblib_are_told_what_is_meant(call, words, tmp_path):
    with pytest.raises(TypeError, match=words):
        call(tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_plain_calls_take_arguments_in_joblibs_order(tmp_path):
    for dump, load in ((joblib.dump, joblib.load), (shardpickle.dump, shardpickle.load)):
        path = tmp_path / dump.__module__.partition(".")[0]
        dump(OLD, path)
        assert_same(load(path), OLD)
        dump(OLD, str(path))
        assert_same(load(str(path)), OLD)


@pytest.mark.long
def test_classes_of_main_are_warned_of(tmp_path):
    code = "import sys, shardpickle\nclass Mine: pass\nshardpickle.dump(Mine(), sys.argv[1])\n"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "model")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "needs Mine of __main__" in done.stderr
    with pytest.raises(shardpickle.MissingNameError, match="move into a module"):
        shardpickle.load(tmp_path / "model", trusted=["__main__.Mine"])


def test_an_empty_manifest_may_be_dumped_over(tmp_path):
    target = tmp_path / "model"
    shardpickle.dump(OLD, target)
    (target / "manifest.json").write_bytes(b"")
    report = shardpickle.verify(target)
    assert not report
    assert report.problems[0].file == "manifest.json"
    shardpickle.dump(OLD, target)
    assert_same(shardpickle.load(target), OLD)


def test_metadata_is_kept(tmp_path):
    notes = {"data": "digits 2026", "score": 0.97, "tags": ["a", "é"]}
    shardpickle.dump(OLD, tmp_path / "model", metadata=notes)
    assert shardpickle.inspect(tmp_path / "model").metadata == notes
    assert json.loads((tmp_path / "model" / "manifest.json").read_text())["metadata"] == notes


def test_loading_writes_nothing(stored):
    def state():
        return {each: each.stat() for each in stored.rglob("*")}

    before = {each: (found.st_mtime_ns, found.st_size) for each, found in state().items()}
    time.sleep(0.01)
    shardpickle.load(stored)
    shardpickle.inspect(stored)
    shardpickle.verify(stored, deep=True)
    assert {each: (found.st_mtime_ns, found.st_size) for each, found in state().items()} == before


def test_a_copied_directory_loads(stored, tmp_path):
    shutil.copytree(stored, tmp_path / "copy")
    loaded = shardpickle.load(tmp_path / "copy")
    assert np.array_equal(loaded.predict_proba(X), forest().predict_proba(X))
