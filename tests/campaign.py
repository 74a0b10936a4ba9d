"""A search for models of vetted pieces that do harm when they are used.

    python tests/campaign.py [COUNT] [SEED]     # compositions; 0 for SEED by default

A fitted model of any class is taken, and things change places in it: an attribute of one of its
objects is given a thing from another place (of this or of another model), something that can be
called, or an array of another shape, dtype or range. The model is dumped and loaded by default; if
it loads, every public method is called with data, and its repr, clone, pickle and dump are made.

That happens in forked processes, in a folder of their own with canary files, with bounds of
memory and time, and with an audit hook that notes every write, process, connection and import of
a file from that folder. What is counted: crashes, hangs, and harm that the hook or the canaries
saw. Errors are no harm.
"""

import collections
import contextlib
import copy
import functools
import io
import json
import os
import pathlib
import pickle
import random
import re
import resource
import signal
import sys
import tempfile
import types
import warnings
from pathlib import Path

import composition_cases
import estimators
import joblib
import numpy as np
import scipy.sparse
from sklearn import neighbors, pipeline, preprocessing, svm
from sklearn.base import clone
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    StackingRegressor,
)
from sklearn.inspection import partial_dependence
from sklearn.linear_model import Ridge
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.metrics.pairwise import linear_kernel, rbf_kernel
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import Bunch

import shardpickle

BATCH = 100
SECONDS = 20  # for one composition
MEMORY = 6 << 30
METHODS = (
    *("predict", "predict_proba", "predict_log_proba", "decision_function", "transform"),
    *("inverse_transform", "score_samples", "kneighbors", "radius_neighbors", "apply"),
    *("decision_path", "staged_predict", "staged_predict_proba", "staged_decision_function"),
    *("kneighbors_graph", "radius_neighbors_graph", "sample", "get_feature_names_out"),
    *("mahalanobis", "reconstruct", "get_leaf_indices", "densify", "perplexity", "gibbs"),
    *("correct_covariance", "error_norm", "get_n_splits", "get_support", "predict_joint_log_proba"),
)


def rows_like(features):
    """The data that a model was fitted on, in other forms."""
    yield features
    if isinstance(features, np.ndarray) and features.ndim == 2:
        yield scipy.sparse.csr_matrix(features)
        yield features[:1]
        if len(features) < 1000:
            yield np.repeat(features, 40, axis=0)


def models():
    """Pickles of fitted models, and the data of each."""
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, cls in estimators.everything():
            with contextlib.suppress(Exception):  # what needs other data is left out
                model, features = estimators.fitted(name, cls)
                found.append((name, pickle.dumps(model), features))
        for name, make in composition_cases.CASES.items():
            with contextlib.suppress(Exception):
                found.append((name, pickle.dumps(make()), estimators.X))
        found += [("H01 " + name, pickle.dumps(model), rows) for name, model, rows in special()]
    return found


def special():
    """Members that the lists above do not have: sparse data, trees of neighbours, texts."""
    sparse = scipy.sparse.csr_matrix(np.round(np.abs(estimators.X)))
    labels = estimators.LABELS
    yield "sparse vectors", svm.SVC(probability=False).fit(sparse, labels), sparse
    yield "sparse regression", svm.SVR().fit(sparse, estimators.TARGET), sparse
    for algorithm in ("kd_tree", "ball_tree", "brute"):
        model = neighbors.KNeighborsClassifier(algorithm=algorithm)
        yield algorithm, model.fit(estimators.X, labels), estimators.X
    model = neighbors.RadiusNeighborsRegressor(radius=3.0, algorithm="brute")
    yield "radius", model.fit(sparse, estimators.TARGET), sparse
    steps = preprocessing.FunctionTransformer(np.abs), preprocessing.PolynomialFeatures(3)
    yield "functions", pipeline.make_pipeline(*steps).fit(estimators.X), estimators.X
    yield "polynomials", preprocessing.PolynomialFeatures(2).fit(sparse), sparse
    yield (
        "three classes",
        GradientBoostingClassifier(n_estimators=3).fit(estimators.X, labels),
        estimators.X,
    )
    codes = np.column_stack([labels, estimators.X])
    model = HistGradientBoostingClassifier(max_iter=3, categorical_features=[0], min_samples_leaf=5)
    yield "categories", model.fit(codes, labels), codes
    yield "kernel", svm.SVC(kernel=rbf_kernel).fit(estimators.X, labels), estimators.X


def objects_of(model):
    """(object, attribute) of all that a model holds."""
    left, seen, found = [model], set(), []
    while left:
        each = left.pop()
        if id(each) in seen or hasattr(each, "__name__") or not hasattr(each, "__dict__"):
            continue  # a class or a function is everybody's, and none is stored
        seen.add(id(each))
        for name, value in vars(each).items():
            found.append((each, name))
            left += list(inside(value))
    return found


def inside(value, depth=0):
    """What containers hold."""
    if isinstance(value, (list, tuple, set)) and depth < 6:
        items = value
    elif isinstance(value, dict) and depth < 6:
        items = value.values()
    elif isinstance(value, np.ndarray) and value.dtype == object and depth < 6:
        items = value.flat
    else:
        yield value
        return
    for item in items:
        yield from inside(item, depth + 1)


def odd_things(rng):
    """What does harm in a place where something calls, indexes or writes it."""
    return rng.choice(
        [
            lambda: pathlib.PosixPath("canary"),
            lambda: [pathlib.PosixPath("canary")],
            lambda: types.SimpleNamespace(shape=(3, 3), data=np.zeros(3), indptr=np.arange(9)),
            lambda: types.SimpleNamespace(link=np.max, take=np.argmax, predict=np.sum),
            lambda: Bunch(predict=np.sum, transform=np.exp, n_features_in_=3),
            lambda: functools.partial(np.sum, axis=0),
            lambda: re.compile("a+").findall,
            lambda: re.compile("(a+)+$"),
            lambda: make_scorer(accuracy_score),
            lambda: np.random.RandomState(0),
            lambda: range(10**6),
            lambda: slice(None),
            lambda: np.dtype("f4"),
            lambda: collections.defaultdict(list, {"a": [1]}),
            lambda: rng.choice(
                [np.exp, np.add, np.matmul, np.sum, np.full_like, np.ndarray, np.void, len, max]
            ),
            lambda: rng.choice(
                [rbf_kernel, accuracy_score, np.where, np.clip, str, list, np.repeat]
            ),
            lambda: rng.choice(["unlink", "write_text", "__init__", "fit", "set_params", "tofile"]),
            lambda: rng.choice(["polars", "pandas", "kd_tree", "ball_tree", "precomputed", "rbf"]),
            lambda: rng.choice([-1, 0, 1, 2, 3, 2**31 - 1, 2**31, 2**62, -(2**63), 1.5, -0.5]),
            lambda: rng.choice([float("nan"), float("inf"), None, True, False, "", b"", 10**30]),
            lambda: scipy.sparse.eye(3).tocsr(),
            lambda: {"out": np.zeros(4), "dtype": np.dtype("O")},
            lambda: {"metric": np.exp, "p": 3, "VI": np.eye(2), "V": np.ones(2), "w": np.ones(1)},
            lambda: [[], [[]], ()],
        ]
    )()


def other_array(array, rng):
    """Of another shape, dtype or range."""
    choice = rng.randrange(10)
    if choice == 0:
        return array[: rng.randrange(len(array) + 1)] if array.ndim else array
    if choice == 1 and array.size:
        return np.concatenate([array.ravel()] * rng.randrange(1, 5))
    if choice == 2:
        return array.reshape(-1) if rng.random() < 0.5 else array[None]
    if choice == 3:
        return array.T
    if choice == 4:
        kinds = ["i1", "i4", "i8", "u1", "f4", "f8", "c16", "b", "U5", "M8[s]", "O"]
        with contextlib.suppress(Exception):
            return array.astype(rng.choice(kinds))
        return array
    if choice == 5:
        return np.zeros((0, *array.shape[1:]), array.dtype)
    if choice == 6:
        return np.asfortranarray(array)
    if choice == 7 and array.dtype.kind in "f":
        return array * rng.choice([np.nan, np.inf, 1e300, -1, 0])
    made = array.copy()
    if made.size and made.dtype.kind in "iuf":
        limits = np.iinfo(made.dtype) if made.dtype.kind in "iu" else np.finfo(made.dtype)
        worst = [limits.min, limits.max, 0, 1, len(made), made.size]
        for _ in range(rng.randrange(1, 4)):
            with np.errstate(all="ignore"), contextlib.suppress(OverflowError):
                made.flat[rng.randrange(made.size)] = rng.choice(worst)
    return made


def changed(value, rng):
    """Another value of the same kind, or the same with something else inside."""
    if isinstance(value, np.ndarray) and value.dtype != object:
        return other_array(value, rng)
    if scipy.sparse.issparse(value):
        made = copy.copy(value)
        name = rng.choice(list(vars(made)))
        vars(made)[name] = changed(vars(made)[name], rng)
        return made
    if isinstance(value, (list, tuple)) and value:
        made = list(value)
        at = rng.randrange(len(made))
        choice = rng.randrange(4)
        if choice == 0:
            made.pop(at)
        elif choice == 1:
            made.append(made[at])
        elif choice == 2:
            made[at] = odd_things(rng)
        else:
            made[at] = changed(made[at], rng)
        return type(value)(made) if type(value) in (list, tuple) else made
    if isinstance(value, dict) and value:
        made = dict(value)
        made[rng.choice(list(made))] = odd_things(rng)
        return made
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return type(value)(rng.choice([0, 1, 2, max(0, value - 1), value + 1, 2 * value, 1000]))
    return odd_things(rng)


def stacked(rng):
    model = StackingRegressor([("a", Ridge())], final_estimator=Ridge())
    model.fit(estimators.X, estimators.TARGET)
    model.estimators_ = [rng.choice([pathlib.PosixPath("canary"), odd_things(rng)])]
    model.stack_method_ = [rng.choice(["unlink", "write_text", "touch", "rmdir", "predict", "fit"])]
    return model, estimators.X


def transformed(rng):
    functions = [np.ndarray, np.sum, np.exp, np.full_like, np.cumsum, np.where, np.void, np.clip]
    arguments = [
        {"dtype": np.dtype("O"), "buffer": b"A" * 4096},
        {"out": np.zeros(6), "axis": 0},
        {"fill_value": "a", "dtype": np.dtype("O")},
        odd_things(rng) if rng.random() < 0.5 else {},
    ]
    steps = [
        preprocessing.FunctionTransformer(rng.choice(functions), kw_args=each)
        for each in rng.sample(arguments, 2)
        if isinstance(each, dict)
    ]
    steps.insert(0, preprocessing.FunctionTransformer(rng.choice([len, np.abs, np.max])))
    return pipeline.make_pipeline(*steps), estimators.X


def boosted(rng):
    model = GradientBoostingClassifier(n_estimators=3).fit(estimators.X, estimators.LABELS)
    if rng.random() < 0.5:
        model._loss.link = rng.choice([types.SimpleNamespace(link=np.max), odd_things(rng)])
        return model, np.repeat(estimators.X, 2000, axis=0)
    many = rng.choice([1, 2, 4, 50, 2000])
    model.estimators_ = np.repeat(model.estimators_[:, :1], many, axis=1)
    model.n_trees_per_iteration_ = model._loss.n_classes = model.n_classes_ = many
    model.classes_ = np.arange(many)
    guest = DecisionTreeClassifier(max_depth=1).fit(estimators.X, estimators.LABELS > 1)
    guest.n_classes_, guest.classes_ = np.int64(many), np.arange(many)
    model.init_ = rng.choice([guest, model.init_, odd_things(rng)])
    return model, estimators.X


def vectors(rng):
    sparse = scipy.sparse.csr_matrix(np.round(np.abs(estimators.X)))
    model = svm.SVC().fit(sparse, estimators.LABELS)
    found = model.support_vectors_
    pointers = found.indptr.copy()
    pointers[1:] = rng.choice([10**9, -1, len(found.data) + 1])
    kind = rng.choice([types.SimpleNamespace, Bunch])
    model.support_vectors_ = kind(
        shape=found.shape, format="csr", data=found.data, indices=found.indices, indptr=pointers
    )
    return model, sparse


def kernels(rng):
    many = rng.choice([60, 4_000_000])
    model = svm.SVC(kernel=linear_kernel).fit(estimators.X, estimators.LABELS > 0)
    model.kernel = rng.choice([functools.partial(np.matmul), np.sum, np.dot, odd_things(rng)])
    model.shape_fit_, model.n_features_in_ = (many, many), many
    model._BaseLibSVM__Xfit = np.ones((many, 1))
    model.support_ = np.array([many - 1, many - 2], np.int32)
    model.support_vectors_, model._n_support = np.zeros((0, 0)), np.array([1, 1], np.int32)
    model._dual_coef_ = model.dual_coef_ = np.ones((1, 2))
    return model, np.ones((1, many))


def neighbours(rng):
    sparse = scipy.sparse.csr_matrix(np.round(np.abs(estimators.X)))
    model = neighbors.NearestNeighbors(algorithm="brute").fit(sparse)
    if rng.random() < 0.5:
        model.radius = rng.choice([model._fit_X.indptr, model._fit_X.indices])
        return model, sparse
    model = neighbors.NearestNeighbors(algorithm="brute").fit(estimators.X)
    model._fit_X, model.n_samples_fit_ = estimators.X[: rng.choice([0, 0, 1])], 0
    return model, estimators.X


RECIPES = [stacked, transformed, boosted, vectors, kernels, neighbours]


def composed(pool, rng):
    """A model with a few things in other places, and its data."""
    if rng.random() < 0.1:  # several attributes at once, as an attacker would choose them
        recipe = rng.choice(RECIPES)
        model, features = recipe(rng)
        return model, features, recipe.__name__
    name, data, features = rng.choice(pool)
    model = pickle.loads(data)
    told = [name]
    for _ in range(rng.choice([1, 1, 1, 2, 2, 3])):
        places = objects_of(model)
        owner, attribute = rng.choice(places)
        choice = rng.randrange(10)
        if choice < 4:
            value = changed(vars(owner)[attribute], rng)
        elif choice < 6:
            other, where = rng.choice(places)
            value = vars(other)[where]
        elif choice < 8:
            guest = pickle.loads(rng.choice(pool)[1])
            other, where = rng.choice(objects_of(guest))
            value = rng.choice([vars(other)[where], other])
        else:
            value = odd_things(rng)
        if choice == 5 and isinstance(vars(owner)[attribute], list):
            value = [value] * len(vars(owner)[attribute])
        vars(owner)[attribute] = value
        told.append(f"{type(owner).__name__}.{attribute} = {type(value).__name__}")
    return model, features, "; ".join(told)


def use(model, features):
    """Call what can be called; errors are no harm."""
    calls = [
        functools.partial(repr, model),
        lambda: model._repr_html_() if hasattr(model, "_repr_html_") else None,
        functools.partial(clone, model),
        functools.partial(pickle.dumps, model),
        functools.partial(copy.deepcopy, model),
        lambda: shardpickle.dumps(model, progress=False),
    ]
    for method in METHODS:
        for rows in rows_like(features):
            calls.append(functools.partial(_call, model, method, rows))
    calls.append(lambda: partial_dependence(model, features, [0], method="recursion"))
    for targets in (estimators.LABELS, estimators.TARGET):  # last, as it changes the model
        calls.append(lambda targets=targets: model.partial_fit(features, targets))
    for call in calls:
        try:
            call()
        except (Exception, RecursionError):
            continue


def _call(model, method, rows):
    found = getattr(model, method, None)
    if found is None:
        return
    if method in ("get_feature_names_out", "get_support", "sample", "get_n_splits"):
        answer = found()
    else:
        answer = found(rows)
    if isinstance(answer, types.GeneratorType):
        answer = [each for each, _ in zip(answer, range(20), strict=False)]
    repr(answer)


class Watch:
    """An audit hook: notes what touches the world. It stays for the life of the process."""

    def __init__(self, folder):
        self.folder = str(folder)
        self.on = False
        self.seen = []
        sys.addaudithook(self._hook)

    def _hook(self, event, args):
        if not self.on:
            return
        if event == "open":
            path, mode, flags = args
            writes = isinstance(mode, str) and set(mode) & set("wax+")
            writes = writes or (isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR))
            if writes and path not in ("/dev/null", os.devnull):
                self.seen.append(f"open {path!r:.60} {mode}")
        elif event == "import":
            if self.folder in str(args[1] or "") or args[0] == "trap":
                self.seen.append(f"import {args[0]}")
        elif event in _HARMFUL or event.startswith(("subprocess.", "socket.connect", "shutil.")):
            self.seen.append(f"{event} {args!r:.80}")


_HARMFUL = {
    *("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.chmod", "os.chown", "os.link"),
    *("os.symlink", "os.truncate", "os.utime", "os.system", "os.exec", "os.posix_spawn", "os.fork"),
    *("os.putenv", "os.unsetenv", "ctypes.dlopen", "code.__new__"),
}


def canaries(folder):
    """What the folder holds, as it has to stay."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(Path(folder).rglob("*"))
    }


def outcome(pool, seed, watch):
    """What becomes of one composition: (what, description)."""
    rng = random.Random(seed)
    try:
        model, features, told = composed(pool, rng)
    except Exception as error:  # slots, properties and getstate of what was changed may object
        return "not composed", f"{error!r:.80}"
    try:
        data = shardpickle.dumps(model, progress=False)
    except Exception as error:  # is one of ours, or a finding: told apart below
        known = isinstance(error, (shardpickle.ShardpickleError, MemoryError))
        return ("not dumped" if known else "FOREIGN ERROR"), f"{told}: {error!r:.200}"
    watch.on = True
    try:
        try:
            loaded = shardpickle.loads(data, progress=False)
        except (shardpickle.UntrustedTypeError, shardpickle.RebuildError):
            return "refused", told
        except Exception as error:  # likewise
            known = isinstance(error, (shardpickle.ShardpickleError, MemoryError))
            return ("LOST" if known else "FOREIGN ERROR"), f"{told}: {error!r:.200}"
        use(loaded, features)
    finally:
        watch.on = False
    if watch.seen:
        told = f"{told}: {watch.seen[:3]}"
        watch.seen.clear()
        return "TOUCHED", told
    return "loaded", told


def _child(pool, seeds, folder, report):
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    warnings.simplefilter("ignore")
    sys.stdout = sys.stderr = io.StringIO()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    watch = Watch(folder)
    before = canaries(folder)
    with joblib.parallel_config("sequential"):
        for seed in seeds:
            os.write(report, f"{seed}\n".encode())
            signal.setitimer(signal.ITIMER_REAL, SECONDS)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process
            what, told = outcome(pool, seed, watch)
            if canaries(folder) != before:
                what, told = "FILES CHANGED", told
            os.write(report, json.dumps([seed, what, told]).encode() + b"\n")
            signal.setitimer(signal.ITIMER_REAL, 0)
    os._exit(0)


def run(count, seed=0, pool=None, *, says=False):
    """(outcomes and how often, what was found) of so many compositions."""
    pool = models() if pool is None else pool
    counts, found = collections.Counter(), []
    todo = list(range(seed, seed + count))
    while todo:
        batch = todo[:BATCH]
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "canary").write_text("canary")
            Path(folder, "trap.py").write_text("raise SystemExit")
            reading, writing = os.pipe()
            child = os.fork()
            if child == 0:
                os.close(reading)
                try:
                    _child(pool, batch, folder, writing)
                finally:
                    os._exit(1)
            os.close(writing)
            with os.fdopen(reading) as lines:
                said = lines.read().splitlines()
            _, status = os.waitpid(child, 0)
        done = [json.loads(line) for line in said if line.startswith("[")]
        for number, what, told in done:
            counts[what] += 1
            if what.isupper():
                found.append((number, what, told))
        todo = todo[len(done) :]
        if says:
            print(sum(counts.values()), dict(counts), found[-1:], file=sys.stderr, flush=True)
        if status:
            name = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else status
            counts["HUNG" if name == "SIGALRM" else "CRASHED"] += 1
            number = todo.pop(0) if todo else None
            found.append((number, str(name), describe(pool, number)))
    return counts, found


def describe(pool, seed):
    try:
        return composed(pool, random.Random(seed))[2]
    except Exception as error:  # as in `outcome`: such a seed made no model
        return repr(error)


if __name__ == "__main__":
    many = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    totals, findings = run(many, int(sys.argv[2]) if len(sys.argv) > 2 else 0, says=True)
    print(dict(totals.most_common()))
    for finding in findings:
        print(*finding)
    sys.exit(bool(findings))
