"""Loads hostile directories, each in a forked child, and tells what became of it.

    python tests/hostile/judge.py

Reads a JSON line for each case, ``{"module": "skeletons", "case": NAME, "folder": EMPTY_FOLDER}``,
and answers with one. It starts no thread: a child of a process with threads is not its equal.
"""

import os

# NumPy reads these when it is imported.
os.environ |= {f"{each}_NUM_THREADS": "1" for each in ("OPENBLAS", "OMP", "MKL")}

import builtins
import contextlib
import copy
import encodings.ascii
import gc
import importlib
import json
import pickle
import resource
import select
import signal
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import sklearn.base
import sklearn.cluster
import sklearn.ensemble
import sklearn.feature_extraction.text
import sklearn.gaussian_process
import sklearn.isotonic
import sklearn.linear_model
import sklearn.metrics
import sklearn.neighbors
import sklearn.pipeline
import sklearn.preprocessing
import sklearn.svm
import sklearn.tree
import writer as writing
from forge import EMPTY, plain, write

import shardpickle
from shardpickle.trust import table

SECONDS = 10  # of the processor, for `load` and `use`: the machine may have other work
SECONDS_IN_ALL = 60
ROOM = 1 << 30
WATCHED = (
    *(np.ndarray, np.matrix, np.dtype, np.random.Generator, sklearn.base.BaseEstimator),
    *(sklearn.ensemble.RandomForestClassifier, sklearn.tree.DecisionTreeClassifier),
    *(sklearn.tree._tree.Tree, sklearn.linear_model.Ridge, sklearn.pipeline.Pipeline),
    *(sklearn.gaussian_process.kernels.RBF, sklearn.neighbors.KDTree, dict, list, tuple, str),
    *(shardpickle.errors.ShardpickleError, shardpickle.trust.hardened.Vetted, pickle.Unpickler),
)
MODULES = (
    builtins,
    encodings.ascii,
    os,
    np,
    copy,
    sklearn,
    sklearn.tree,
    sklearn.metrics,
    shardpickle,
)


def main():
    for each in (*table.CLASSES, *table.VALUES):  # so that what a load imports is its own doing
        with contextlib.suppress(ImportError):
            importlib.import_module(each)
    for line in sys.stdin:
        print(json.dumps(judged(**json.loads(line))), flush=True)


def judged(module, case, folder, lazy):
    """What becomes of a case, in a process of its own."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        _child(writer, module, case, Path(folder), lazy)  # does not return
    os.close(writer)
    said, seconds = _listen(reader, child)
    os.close(reader)
    signalled = os.WTERMSIG(status) if os.WIFSIGNALED(status := os.waitpid(child, 0)[1]) else 0
    found = {"outcome": "other", "growth": 0, "modules": [], "clean": True}
    lines = said.decode().splitlines()
    if len(lines) > 1:
        found |= json.loads(lines[1])
    elif seconds is None or signalled == signal.SIGXCPU:
        found |= {"outcome": "hung"}
    elif signalled:
        found |= {"outcome": "crashed", "what": signal.Signals(signalled).name}
    else:
        found |= {"what": f"it ended, status {status}, after {lines}"}
    pwned = (Path(folder) / "PWNED").exists()
    return {"case": case, **found, "pwned": pwned, "seconds": round(seconds or SECONDS_IN_ALL, 1)}


def _listen(reader, child):
    """What the child says, and its seconds since it was ready; None if it had to be killed."""
    said, start = b"", time.monotonic()
    while True:
        left = start + SECONDS_IN_ALL - time.monotonic()
        if left <= 0 or not select.select([reader], [], [], left)[0]:
            os.kill(child, signal.SIGKILL)
            return said, None
        chunk = os.read(reader, 1 << 16)
        if not chunk:
            return said, time.monotonic() - start
        if not said:
            start = time.monotonic()
        said += chunk


def _child(writer, module, name, folder, lazy):
    try:
        found = _tried(writer, importlib.import_module(module).CASES[name], folder, lazy)
        os.write(writer, json.dumps(found).encode() + b"\n")
    except BaseException as error:
        os.write(2, f"{name}: {error!r:.500}\n".encode())
        os._exit(1)
    os._exit(0)


def _tried(writer, case, folder, lazy):
    good = folder / "good"
    good.mkdir()
    write(good, plain(EMPTY), len(EMPTY))
    model = folder / "model"
    model.mkdir()
    warnings.simplefilter("ignore")
    if lazy:  # written by hand, a model is one part, and nothing of it would be deferred
        writing.model = _in_parts
    case.write(model)
    os.chdir(folder)
    gc.collect()
    modules, before, listing = set(sys.modules), _facts(), _files(folder)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    taken, size = _status("VmRSS"), _status("VmSize")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (size + ROOM, resource.RLIM_INFINITY))
    spent = int(time.process_time())
    resource.setrlimit(resource.RLIMIT_CPU, (spent + SECONDS, spent + SECONDS + 1))
    os.write(writer, b"ready\n")
    found = _outcome(case, model, lazy)
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    found["processor"] = round(time.process_time() - spent, 1)
    found["growth"] = (_status("VmHWM") - taken) // 10**6
    found["modules"] = sorted(set(sys.modules) - modules)
    after = _facts()
    found["changed"] = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    found["clean"] = not found["changed"] and _files(folder) == listing
    found["clean"] = found["clean"] and shardpickle.load(good, workers=1) == []
    return found


by_hand = writing.model


def _in_parts(path, thing):
    """A model with every estimator in a part of its own, written by the library."""
    try:
        shardpickle.dump(thing, path, workers=1, shard_size="4kB", progress=False)
    except Exception:  # the library does not write every nonsense
        by_hand(path, thing)


def _outcome(case, model, lazy):
    try:
        loaded = shardpickle.load(model, workers=1, lazy=lazy)
    except shardpickle.ShardpickleError as error:
        return {"outcome": "refused", "what": f"{type(error).__name__}: {error!s:.300}"}
    except BaseException as error:
        return {"outcome": "other", "what": f"{type(error).__name__}: {error!s:.300}"}
    if lazy:
        try:
            shardpickle.materialize(loaded)
        except shardpickle.ShardpickleError as error:
            # Refused; but what was handed out before must be harmless to use.
            if case.use is not None:
                with contextlib.suppress(Exception):
                    case.use(loaded)
            return {"outcome": "refused", "what": f"{type(error).__name__}: {error!s:.300}"}
        except BaseException as error:
            return {"outcome": "other", "what": f"{type(error).__name__}: {error!s:.300}"}
    if case.use is None:
        return {"outcome": "loaded"}
    try:
        case.use(loaded)
    except (
        shardpickle.CorruptShardError,
        shardpickle.RefusedError,
    ) as error:  # a lazy model may be refused this late
        return {"outcome": "refused", "what": f"{type(error).__name__}: {error!s:.300}"}
    except Exception as error:  # a model of nonsense may raise anything; it must not crash
        return {"outcome": "used-raised", "what": f"{type(error).__name__}: {error!s:.300}"}
    return {"outcome": "loaded"}


def _facts():
    """What a load must leave as it is."""
    found = {}
    for each in (*WATCHED, *MODULES):
        # Python itself caches the methods of abstract classes, and `_` is the shell's
        kept = {
            key: id(value) for key, value in vars(each).items() if key not in ("_abc_impl", "_")
        }
        found |= {f"{each!r:.60} {key}": value for key, value in kept.items()}
    found["folder"], found["variables"] = os.getcwd(), dict(os.environ)
    found["settings"] = repr([np.geterr(), np.get_printoptions(), sklearn.get_config()])
    found["random"] = pickle.dumps(np.random.get_state())
    found["python"] = list(sys.path), sys.getrecursionlimit()
    return found


def _files(folder):
    return sorted(str(each) for each in folder.rglob("*"))


def _status(key):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(key)


if __name__ == "__main__":
    main()
