"""The campaigns: each tries to lose a model, and counts what became of it.

`tests/faults` runs some of each, `benchmarks/faults.py` all. What is counted: models that were
found to be the ``old`` or the ``new`` one, bit for bit, clear errors (``refused``), and what must
not be: ``wrong`` models or errors, processes that ``crashed`` or ``hung``.
"""

import contextlib
import errno
import hashlib
import itertools
import json
import os
import random
import select
import shutil
import signal
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from sklearn.ensemble import RandomForestClassifier

import shardpickle
from shardpickle.storage import _disk

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from shim import ERRORS, VARIANTS, Disk, Faulty, Recorder, put_on_disk  # noqa: E402

RNG = np.random.default_rng(0)
X, LABELS = RNG.random((60, 5)), RNG.integers(0, 3, 60)
OPTIONS = {"shard_size": "12kB", "workers": 1, "progress": False}
BAD = ("wrong", "crashed", "hung")


def forest(seed, count=8):
    return RandomForestClassifier(count, random_state=seed).fit(X, LABELS)


def fingerprint(model):
    """Of every bit of a forest's trees, and its classes: what pickle would hold of them."""
    whole = hashlib.sha256(model.classes_.tobytes())
    for tree in model.estimators_:
        state = tree.tree_.__getstate__()
        whole.update(state["nodes"].tobytes() + state["values"].tobytes())
    return whole.hexdigest()


OLD, NEW, NEXT = forest(0), forest(1), forest(2)
KNOWN = {fingerprint(OLD): "old", fingerprint(NEW): "new", fingerprint(NEXT): "next"}


def state(path, **options):
    """What is at a path: "old", "new", "none", or "wrong"."""
    try:
        found = shardpickle.load(path, progress=False, **options)
        return KNOWN.get(fingerprint(found), "wrong")
    except (shardpickle.ModelNotFoundError, shardpickle.NotAModelError):
        return "none"
    except shardpickle.ModelReplacedError:
        raise
    except shardpickle.ShardpickleError:
        return "wrong"


def files_of(path):
    return {str(each.relative_to(path)) for each in Path(path).rglob("*") if each.is_file()}


def named_by(*manifests):
    shards = [each[0] for one in manifests for each in json.loads(one)["shards"]]
    return {"manifest.json", *(f"shards/{name}.shard" for name in shards)}


@contextlib.contextmanager
def disk_of(shim):
    real = _disk.os
    _disk.os = shim
    try:
        yield shim
    finally:
        _disk.os = real


def recovered(path):
    """Whether the next dump succeeds, and leaves nothing behind but it and the one before."""
    previous = Path(path, "manifest.json")
    old = previous.read_bytes() if previous.exists() and previous.stat().st_size else None
    try:
        shardpickle.dump(NEXT, path, **OPTIONS)
    except shardpickle.ShardpickleError:
        return False
    new = previous.read_bytes()
    expected = named_by(new, *([old] if old else []))
    return state(path) == "next" and files_of(path) <= expected and named_by(new) <= files_of(path)


# Every call fails --------------------------------------------------------------------------------


def calls(folder, kinds=ERRORS, step=1, start=1):
    """Each change of a dump fails: over an old model, and at a new place."""
    found = Counter()
    folder = Path(folder)
    shardpickle.dump(OLD, folder / "template", **OPTIONS)
    for kind, persistent, replaced in itertools.product(kinds, (False, True), (True, False)):
        for number in itertools.count(start, step):
            path = folder / "model" if replaced else folder / "deep" / "er" / "model"
            if replaced:
                shutil.copytree(folder / "template", path)
            shim = Faulty(number, kind, persistent=persistent)
            outcome = _dumped_with(shim, path)
            after = state(path)
            allowed = ("old", "new") if replaced else ("none", "new")
            good = after in allowed and outcome is not None
            if outcome == "done":
                good = good and after == "new"
            elif outcome == "refused" and after == "new":
                good = good and shim.names[number - 1] in ("fsync", "unlink")
            good = good and recovered(path)
            found["wrong" if not good else after if after != "none" else "refused"] += 1
            shutil.rmtree(path if replaced else folder / "deep")
            if shim.count < number:
                break
    shutil.rmtree(folder / "template")
    return found


def _dumped_with(shim, path):
    """What a dump says: "done", "refused" (a clear error), None for any other."""
    with disk_of(shim):
        try:
            shardpickle.dump(NEW, path, **OPTIONS)
            return "done"
        except shardpickle.StorageError as error:
            words = os.strerror(getattr(errno, shim.kind, 0))
            clear = words in str(error) and (error.filename or "").startswith(str(path.parents[1]))
            return "refused" if clear else None


# Power loss --------------------------------------------------------------------------------------


def power(folder, seeds=1, step=1):
    """The power goes after each call of a dump: over an old model, and at a new place."""
    found = Counter()
    folder = Path(folder)
    for replaced in (True, False):
        root = folder / "root"
        root.mkdir()
        path = root / "model"
        if replaced:
            shardpickle.dump(NEXT, path, **OPTIONS)
            shardpickle.dump(OLD, path, **OPTIONS)  # so that this dump removes a generation
        before = Disk(root)
        with disk_of(Recorder(root)) as recorder:
            shardpickle.dump(NEW, path, **OPTIONS)
        last = max((at for at, one in enumerate(recorder.log) if one[0] == "flush"), default=0)
        for number in range(0, len(recorder.log) + 1, step):
            if number:
                for entry in recorder.log[max(0, number - step) : number]:
                    before.apply(entry)
            for variant in VARIANTS:
                for seed in range(seeds if variant == "some" else 1):
                    place = folder / "after"
                    put_on_disk(before.found(variant, seed), root, place)
                    after = state(place / "model")
                    allowed = ("old", "new") if replaced else ("none", "new")
                    if number > last:
                        allowed = ("new",)  # the dump has returned: it lasts
                    good = after in allowed and recovered(place / "model")
                    found["wrong" if not good else after if after != "none" else "refused"] += 1
                    shutil.rmtree(place)
        shutil.rmtree(root)
    return found


# Processes that die ------------------------------------------------------------------------------


def kills(folder, count, number=signal.SIGKILL, seed=0):
    """A process that dumps is killed at random moments."""
    found = Counter()
    rng = random.Random(seed)
    path = Path(folder, "model")
    shardpickle.dump(OLD, path, **OPTIONS)
    started = time.perf_counter()
    shardpickle.dump(OLD, path, **OPTIONS)
    shardpickle.dump(NEW, path, **OPTIONS)
    longest = 2 * (time.perf_counter() - started)
    for _ in range(count):
        child = _forked(lambda: _dump_for_ever(path))
        time.sleep(rng.uniform(0, longest))
        # Python drops a Ctrl-C that arrives in a destructor: people press it again.
        ended = None
        for _ in range(20):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, number)
            ended = _waited(child, 1)
            if ended is not None:
                break
        else:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        after = state(path)
        sound = shardpickle.verify(path, deep=True).ok
        good = ended is not None and after in ("old", "new") and sound
        found["hung" if ended is None else after if good else "wrong"] += 1
    found["wrong"] += not recovered(path)
    return found


def _dump_for_ever(path):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    while True:
        for model in (NEW, OLD):
            shardpickle.dump(model, path, **OPTIONS)


def _forked(run):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer Pythons warn of threads beside a fork
        child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            with open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), 2)
            run()
        os._exit(3)
    return child


def _waited(child, seconds):
    """How a child ended; None if it has not."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.001)
    return None


# Readers and writers -----------------------------------------------------------------------------


def readers(folder, count):
    """Readers look on while another process overwrites the model."""
    found = Counter()
    path = Path(folder, "model")
    shardpickle.dump(OLD, path, **OPTIONS)

    def overwrite():
        for number in range(count):
            shardpickle.dump((NEW, OLD)[number % 2], path, **OPTIONS)
        os._exit(0)

    child = _forked(overwrite)
    status = 0
    for kind in itertools.cycle(("full", "lazy", "verify")):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        found[_read(path, kind)] += 1
    found["crashed"] += status != 0
    return found


def _read(path, kind):
    try:
        if kind == "verify":
            return "sound" if shardpickle.verify(path, deep=True).ok else "wrong"
        return state(path, lazy=kind == "lazy")
    except shardpickle.ModelReplacedError:
        return "refused" if kind == "lazy" else "wrong"


def writers(folder, count):
    """Two processes dump to one path at the same time."""
    found = Counter()
    path = Path(folder, "model")
    shardpickle.dump(OLD, path, **OPTIONS)

    def write(model):
        refused = 0
        for _ in range(count):
            try:
                shardpickle.dump(model, path, **OPTIONS)
            except shardpickle.BusyDirectoryError:
                refused += 1
        os._exit(10 + (refused > 0))

    children = [_forked(lambda model=model: write(model)) for model in (OLD, NEW)]
    while children:
        for child in list(children):
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                children.remove(child)
                code = os.waitstatus_to_exitcode(status)
                found["refused" if code == 11 else "alone" if code == 10 else "crashed"] += 1
        found[_read(path, "full")] += 1
    found["wrong"] += not shardpickle.verify(path, deep=True).ok
    found["wrong"] += not recovered(path)
    return found


# Damage ------------------------------------------------------------------------------------------


def flips(path, count, seed=0):
    """Random bits of random shards: {file: bytes}."""
    rng = random.Random(seed)
    shards = {each.name: each.read_bytes() for each in sorted(Path(path, "shards").iterdir())}
    names = sorted(shards)
    weights = [len(shards[name]) for name in names]
    for _ in range(count):
        (name,) = rng.choices(names, weights)
        data = bytearray(shards[name])
        at = rng.randrange(len(data) * 8)
        data[at // 8] ^= 1 << at % 8
        yield {f"shards/{name}": bytes(data)}


def manifest_bits(path, step=1):
    data = Path(path, "manifest.json").read_bytes()
    for at in range(0, len(data) * 8, step):
        changed = bytearray(data)
        changed[at // 8] ^= 1 << at % 8
        yield {"manifest.json": bytes(changed)}


def manifest_cuts(path, step=1):
    data = Path(path, "manifest.json").read_bytes()
    for size in range(0, len(data), step):
        yield {"manifest.json": data[:size]}


def shard_cuts(path, count):
    for shard in sorted(Path(path, "shards").iterdir()):
        data = shard.read_bytes()
        for number in range(count):
            yield {f"shards/{shard.name}": data[: len(data) * number // count]}


def other_damage(path, stale):
    """Swapped shards, those of another model, appended bytes, blocks of zeros, missing files."""
    shards = sorted(Path(path, "shards").iterdir())
    for one, other in itertools.permutations(shards, 2):
        yield {f"shards/{one.name}": other.read_bytes()}
    for one, other in zip(shards, sorted(Path(stale, "shards").iterdir()), strict=False):
        yield {f"shards/{one.name}": other.read_bytes()}
    for one in shards:
        data = one.read_bytes()
        yield {f"shards/{one.name}": None}
        for extra in (b"\0", b"\n", data[:1], data, b"\0" * 5000):
            yield {f"shards/{one.name}": data + extra}
        for size in (512, 4096):
            for start in range(0, len(data), size):
                zeros = data[:start] + bytes(min(size, len(data) - start)) + data[start + size :]
                if zeros != data:
                    yield {f"shards/{one.name}": zeros}
    yield {"manifest.json": Path(stale, "manifest.json").read_bytes()}


def damage(path, cases, seconds=20):
    """Load each damaged model in full, lazily, and verify it; in children, a batch each."""
    found = Counter()
    cases = list(cases)
    at = 0
    while at < len(cases):
        at += _batch(Path(path), cases[at:], found, seconds)
    return found


def _batch(path, cases, found, seconds):
    """How many cases a child got through."""
    reading, writing = os.pipe()
    child = _forked(lambda: _judge(path, cases, reading, writing))
    os.close(writing)
    done = 0
    stream = b""
    while done < len(cases):
        ready, _, _ = select.select([reading], [], [], seconds)
        data = os.read(reading, 1 << 16) if ready else b""
        if not data:
            found["crashed" if ready else "hung"] += 1
            done += 1
            break
        stream += data
        *lines, stream = stream.split(b"\n")
        for line in lines:
            found[line.decode()] += 1
        done += len(lines)
    os.close(reading)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    for name in {name for case in cases for name in case}:  # what the child left damaged
        (path / name).write_bytes((path.with_name("sound") / name).read_bytes())
    return done


def _judge(path, cases, reading, writing):
    os.close(reading)
    warnings.simplefilter("ignore")
    for case in cases:
        saved = {name: (path / name).read_bytes() for name in case}
        for name, data in case.items():
            if data is None:
                (path / name).unlink()
            else:
                (path / name).write_bytes(data)
        verdict = _verdict(path, case)
        for name, data in saved.items():
            (path / name).write_bytes(data)
        os.write(writing, verdict.encode() + b"\n")
    os._exit(0)


def _verdict(path, case):
    """What became of a damaged model; it must be told, and the error must name the file."""
    (name,) = case
    for options in ({}, {"lazy": True}):
        try:
            found = shardpickle.load(path, progress=False, **options)
            if fingerprint(found) != FORESTS[path.name]:
                return "wrong"
            return "unnoticed"
        except (shardpickle.FormatError, shardpickle.ModelReplacedError) as error:
            if Path(name).name not in str(error) and "manifest" not in name:
                return "wrong"
        except shardpickle.ModelNotFoundError:
            return "wrong"
    try:
        if shardpickle.verify(path).ok:
            return "wrong"
    except (shardpickle.NotAModelError, shardpickle.UnknownFormatError):
        pass  # that is what a flipped bit of its first lines makes of a manifest
    return "refused"


FORESTS = {}


def damaged_forest(folder):
    """A forest of 20 trees to damage, its sound copy, and another one, for stale shards."""
    model = forest(0, 20)
    path = Path(folder, "damaged")
    shardpickle.dump(model, path, shard_size="40kB", workers=1)
    shutil.copytree(path, path.with_name("sound"))
    shardpickle.dump(forest(5, 20), path.with_name("stale"), shard_size="40kB", workers=1)
    FORESTS["damaged"] = fingerprint(model)
    return path
