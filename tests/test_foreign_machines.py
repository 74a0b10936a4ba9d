"""Files of other machines: another byte order, 32 bits, memory maps, dill's main program.

The other machine is imitated: a pickler that hands out arrays as that machine has them. What is
expected comes from joblib, pickle, dill and scikit-learn: their own readers, or the model itself.
"""

import copyreg
import io
import os
import pickle
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path

import cloudpickle
import dill
import joblib
import numpy as np
import pytest
from estimators import LABELS, TARGET, TEXTS, X
from graphs import assert_same
from joblib.numpy_pickle import NumpyPickler
from scipy import sparse
from sklearn.cluster import HDBSCAN, KMeans
from sklearn.ensemble import (
    BaggingClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neighbors import (
    BallTree,
    KDTree,
    KernelDensity,
    KNeighborsClassifier,
    RadiusNeighborsClassifier,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    LabelEncoder,
    OneHotEncoder,
    SplineTransformer,
    StandardScaler,
)
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

import shardpickle
from shardpickle.io import convert, foreign
from shardpickle.trust.names import Callers

OTHER = ">" if sys.byteorder == "little" else "<"


def read(path, trusted=(), unsafe=False):
    return convert.read(Path(path), Callers(trusted), unsafe)


def swapped(array):
    """The same numbers as a machine of the other byte order has them in memory."""
    return array.byteswap().view(array.dtype.newbyteorder(OTHER))


def narrow(array):
    """What is 64 bits wide because pointers are, in 32."""
    if array.dtype.names:
        formats = [narrow(np.empty(0, array.dtype[name])).dtype for name in array.dtype.names]
        return array.astype(np.dtype({"names": list(array.dtype.names), "formats": formats}))
    return array.astype("i4") if array.dtype == np.intp else array


class OtherMachine(pickle.Pickler):
    """pickle there."""

    def __init__(self, stream, protocol, change):
        super().__init__(stream, protocol)
        self.protocol = protocol
        self.change = change
        self.alive = []  # so that no identity is used twice

    def reducer_override(self, value):
        if type(value) is not np.ndarray or value.dtype.hasobject:
            return NotImplemented
        self.alive.append(self.change(value))
        return self.alive[-1].__reduce_ex__(self.protocol)


class OtherJoblib(NumpyPickler):
    """joblib there: what is inside of arrays of objects is pickle's."""

    def save(self, value):
        plain = type(value) in (np.ndarray, np.memmap, np.matrix) and not value.dtype.hasobject
        super().save(swapped(value) if plain else value)


def by_pickle(change, protocol):
    def write(value):
        stream = io.BytesIO()
        OtherMachine(stream, protocol, change).dump(value)
        return stream.getvalue()

    return write


def by_joblib(value):
    stream = io.BytesIO()
    OtherJoblib(stream).dump(value)
    return stream.getvalue()


WRITERS = {
    "joblib": by_joblib,
    "joblib-zlib": lambda value: zlib.compress(by_joblib(value)),
    **{f"pickle-{n}": by_pickle(swapped, n) for n in (0, 2, 5)},
    "32 bits": by_pickle(narrow, 4),
    "32 bits, swapped": by_pickle(lambda array: swapped(narrow(array)), 5),
}


def models():
    whole = np.round(np.abs(X) * 3)
    yield "tree", DecisionTreeClassifier(max_depth=4).fit(X, LABELS)
    random = np.random.RandomState(1)
    yield "forest", RandomForestClassifier(3, max_depth=4, random_state=random).fit(X, LABELS)
    yield "boosting", GradientBoostingClassifier(n_estimators=3).fit(X, LABELS)
    yield "isolation", IsolationForest(n_estimators=3, random_state=0).fit(X)
    yield "bagging", BaggingClassifier(SVC(), 3, max_features=0.7).fit(X, LABELS)
    histograms = HistGradientBoostingClassifier(max_iter=3, categorical_features=[0])
    yield "histograms", histograms.fit(whole, LABELS)
    yield "svm", SVC().fit(X, LABELS)
    yield "sparse svm", SVC().fit(sparse.csr_matrix(X), LABELS)
    yield "centers", KMeans(3, n_init=1).fit(X)
    for algorithm in ("kd_tree", "ball_tree", "brute"):
        yield algorithm, KNeighborsClassifier(3, algorithm=algorithm).fit(X, LABELS)
    yield "radius", RadiusNeighborsClassifier(9.0).fit(X, LABELS)
    weights = {"V": np.ones(X.shape[1])}
    metric = KNeighborsClassifier(metric="seuclidean", metric_params=weights, algorithm="ball_tree")
    yield "metric", metric.fit(X, LABELS)
    several = np.column_stack([LABELS, LABELS == 1])
    yield "outputs", MultiOutputClassifier(KNeighborsClassifier(2)).fit(X, several)
    yield "process", GaussianProcessRegressor().fit(X, TARGET)
    yield "linear", make_pipeline(StandardScaler(), LogisticRegression()).fit(X, LABELS)
    bins = KBinsDiscretizer(3)
    if hasattr(bins, "quantile_method"):  # since scikit-learn 1.7, whose default warns
        bins.quantile_method = "averaged_inverted_cdf"
    yield "bins", make_pipeline(bins, LogisticRegression()).fit(X, LABELS)
    yield "splines", make_pipeline(SplineTransformer(), LogisticRegression()).fit(X, LABELS)
    known = OneHotEncoder(handle_unknown="ignore", min_frequency=4)
    yield "categories", make_pipeline(known, LogisticRegression()).fit(whole, LABELS)
    texts = make_pipeline(TfidfVectorizer(), KNeighborsClassifier(1))
    yield "texts", texts.fit(TEXTS, LABELS)


MODELS = dict(models())
USES = {
    **{name: (model, lambda model: model.predict(X)) for name, model in MODELS.items()},
    "histograms": (MODELS["histograms"], lambda model: model.predict(np.round(np.abs(X) * 3))),
    "categories": (MODELS["categories"], lambda model: model.predict(np.round(np.abs(X) * 3))),
    "sparse svm": (MODELS["sparse svm"], lambda model: model.predict(sparse.csr_matrix(X))),
    "texts": (MODELS["texts"], lambda model: model.predict(TEXTS)),
    "kd": (KDTree(X), lambda tree: tree.query(X, 3)[1]),
    "ball": (
        BallTree(X, metric="chebyshev"),
        lambda tree: tree.query_radius(X, 1, count_only=True),
    ),
    "density": (KernelDensity(algorithm="ball_tree").fit(X), lambda model: model.score_samples(X)),
    "linkage": (HDBSCAN(copy=True).fit(X), lambda model: model.dbscan_clustering(0.5)),
    "labels": (LabelEncoder().fit(["a", "é", "\U0001f333"]), lambda model: model.transform(["é"])),
    "csr": (sparse.csr_matrix(X), lambda matrix: matrix @ X.T[:, :2]),
    "csc": (sparse.csc_array(X), lambda matrix: (matrix.T @ matrix).toarray()),
    "coo": (sparse.coo_matrix(X), lambda matrix: matrix.toarray()),
    "dia": (sparse.dia_matrix(np.eye(5)), lambda matrix: matrix.toarray()),
    "random": (np.random.RandomState(3), lambda state: state.rand(700)),
    **{
        kind.__name__: (np.random.Generator(kind(4)), lambda source: source.random(9))
        for kind in (np.random.MT19937, np.random.PCG64, np.random.Philox, np.random.SFC64)
    },
    "seed": (np.random.SeedSequence(5), lambda seed: seed.generate_state(5)),
}


def arrays(value, seen):
    """All arrays in an object, however deep."""
    if id(value) in seen:
        return
    seen[id(value)] = value
    if isinstance(value, np.ndarray):
        yield value
        value = list(value.flat) if value.dtype == object else []
    if isinstance(value, (list, tuple)):
        inner = value
    elif isinstance(value, dict):
        inner = value.values()
    else:
        inner = [] if isinstance(value, type) else [getattr(value, "__dict__", None)]
    for each in inner:
        yield from arrays(each, seen)


def assert_equal(found, expected):
    if sparse.issparse(expected):
        found, expected = found.toarray(), expected.toarray()
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("name", USES)
def test_models_of_other_machines_are_used_here(name, writer, tmp_path):
    model, use = USES[name]
    expected = use(pickle.loads(pickle.dumps(model)))  # generators go on where they are used
    path = tmp_path / "model.pkl"
    path.write_bytes(WRITERS[writer](model))
    shardpickle.convert(path, tmp_path / "model", progress=False)
    found = shardpickle.load(tmp_path / "model", progress=False)
    assert type(found) is type(model)
    assert_equal(use(found), expected)
    found = shardpickle.load(tmp_path / "model", progress=False)
    assert all(each.dtype.isnative for each in arrays(found, {}))
    found = read(path, unsafe=True)
    assert all(each.dtype.isnative for each in arrays(found, {}))
    assert_equal(use(found), expected)


def test_a_bare_tree(tmp_path):
    tree = MODELS["tree"].tree_
    for name, write in WRITERS.items():
        (tmp_path / "tree").write_bytes(write(tree))
        found = read(tmp_path / "tree")
        np.testing.assert_array_equal(found.apply(X.astype("f4")), tree.apply(X.astype("f4")), name)


def plain_arrays():
    whole = np.arange(24, dtype="i4").reshape(2, 3, 4)
    pair = np.zeros(3, [("a", "f8"), ("b", "i2")])
    pair["a"], pair["b"] = 1.5, [1, 2, 3]
    mixed = np.zeros(3, np.dtype([("a", "f8"), ("b", "u1"), ("c", "S3")], align=True))
    mixed["a"], mixed["b"] = 2.5, 7
    return {
        "c": whole,
        "f": np.asfortranarray(whole[0]),
        "transposed": whole.T,
        "empty": np.zeros((0, 3)),
        "point": np.array(3.5),
        "texts": np.array(["ab", "c"]),
        "bytes": np.array([b"ab", b"c"]),
        "small": np.arange(3, dtype="u1"),
        "truths": np.array([True, False]),
        "times": np.array(["2020-01-01", "NaT"], "M8[D]"),
        "spans": np.array([1, 2], "m8[10us]"),
        "complex": np.array([1 + 2j]),
        "half": np.array([0.5], "f2"),
        "records of one order": pair,
        "records of both": mixed,
        "objects": np.array([np.arange(3), None, "a"], dtype=object),
        "shared": [whole, whole],
        "long": np.arange(5000.0),
        "number": np.float64(0.1),
    }


@pytest.mark.parametrize("pack", [bytes, zlib.compress])
@pytest.mark.parametrize("name", plain_arrays())
def test_joblibs_arrays_are_what_joblib_makes_of_them(name, pack, tmp_path):
    path = tmp_path / "arrays.joblib"
    path.write_bytes(pack(by_joblib({name: plain_arrays()[name]})))
    theirs = joblib.load(path)
    assert_same(read(path), theirs)
    assert_same(read(path, unsafe=True), theirs)
    shardpickle.convert(path, tmp_path / "model", progress=False)
    assert_same(shardpickle.load(tmp_path / "model", progress=False), theirs)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_arrays_that_are_no_models_are_what_pickle_makes_of_them(protocol, tmp_path):
    path = tmp_path / "arrays.pkl"
    path.write_bytes(by_pickle(swapped, protocol)(plain_arrays()))
    theirs = pickle.loads(path.read_bytes())
    assert theirs["c"].dtype.isnative == (protocol < 5)  # NumPy swaps what is no buffer
    assert_same(read(path), theirs)
    assert_same(read(path, unsafe=True), theirs)


def test_what_two_estimators_hold_is_one_array_still(tmp_path):
    scalers = [StandardScaler().fit(X), StandardScaler().fit(X)]
    scalers[1].mean_ = scalers[0].mean_
    path = tmp_path / "scalers.pkl"
    path.write_bytes(by_pickle(swapped, 4)(scalers))
    one, other = read(path)
    assert one.mean_ is other.mean_
    assert one.mean_.dtype.isnative
    np.testing.assert_array_equal(one.mean_, scalers[0].mean_)


# Memory maps --------------------------------------------------------------------------------------


def mapped(folder, array, order="C"):
    found = np.memmap(folder / "a.bin", array.dtype, "w+", shape=array.shape, order=order)
    found[...] = array
    return found


MAPPED = {
    "floats": (np.arange(6.0).reshape(2, 3), "C"),
    "fortran": (np.arange(6.0).reshape(2, 3), "F"),
    "swapped": (np.arange(6, dtype=f"{OTHER}i4"), "C"),
    "records": (np.zeros(3, [("a", "u1"), ("b", "f8")]), "C"),
    "texts": (np.array(["ab", "é"]), "C"),
    "times": (np.array(["2020-01-01"], "M8[s]"), "C"),
}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", MAPPED)
def test_pickled_memory_maps(name, protocol, tmp_path):
    array = mapped(tmp_path, *MAPPED[name])
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps([array, {"again": array}], protocol))
    os.unlink(tmp_path / "a.bin")  # nobody asks for it
    theirs = pickle.loads(path.read_bytes())
    assert type(theirs[0]) is np.memmap
    for found in (read(path), read(path, unsafe=True)):
        assert_same(found, theirs)
        assert vars(found[0]) == vars(theirs[0])  # no file, no mode
    shardpickle.convert(path, tmp_path / "model", progress=False)
    assert_same(shardpickle.load(tmp_path / "model", progress=False), theirs)


@pytest.mark.parametrize("protocol", [2, 5])
def test_masked_memory_maps(protocol, tmp_path):
    array = mapped(tmp_path, *MAPPED["floats"])
    masked = np.ma.array(array, mask=array > 3, fill_value=7.0)
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(masked, protocol))
    theirs = pickle.loads(path.read_bytes())
    assert type(theirs.data) is np.memmap
    shardpickle.convert(path, tmp_path / "model", progress=False)
    for found in (read(path), shardpickle.load(tmp_path / "model", progress=False)):
        assert_same(found, theirs)
        assert type(found.data) is np.memmap


@pytest.mark.parametrize("write", [pickle.dumps, cloudpickle.dumps])
@pytest.mark.parametrize("name", ["linear", "svm", "kd_tree", "histograms", "forest"])
def test_models_with_memory_maps(name, write, tmp_path):
    joblib.dump(MODELS[name], tmp_path / "model.joblib")
    model = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
    path = tmp_path / "model.pkl"
    path.write_bytes(write(model))
    assert_same(read(path), pickle.loads(path.read_bytes()))
    shardpickle.convert(path, tmp_path / "model", progress=False)
    found = shardpickle.load(tmp_path / "model", progress=False)
    use = USES[name][1]
    np.testing.assert_array_equal(use(found), use(MODELS[name]))


class Calls:
    """Pickles as a call."""

    def __init__(self, *reduced):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


RECONSTRUCT = np.zeros(0).__reduce__()[0]


def memory_maps_that_lie(folder):
    victim = str(folder / "victim")
    f8, plain = np.dtype("f8"), (RECONSTRUCT, (np.memmap, (0,), b"b"))
    yield "opens a file", Calls(np.memmap, (victim, "u1", "w+", 0, (4,)))
    text = pickle.dumps(victim, 2)[2:-1]  # without its protocol and its end
    yield "is made anew", b"\x80\x04cnumpy\nmemmap\n" + text + b"\x85\x81."
    keywords = pickle.dumps({"filename": victim, "mode": "w+", "shape": (4,)}, 2)[2:-1]
    yield "by keywords", b"\x80\x04cnumpy\nmemmap\n)" + keywords + b"\x92."
    called = b"\x80\x04ccopyreg\n__newobj__\ncnumpy\nmemmap\n" + text
    yield "by a function", called + b"\x86R."
    yield "by the oldest way", Calls(copyreg._reconstructor, (np.memmap, object, None))
    yield "is not empty at first", Calls(RECONSTRUCT, (np.memmap, (9,), b"d"))
    yield "has a file for letters", Calls(RECONSTRUCT, (np.memmap, (0,), victim))
    yield "is of objects", Calls(*plain, (1, (1,), np.dtype("O"), False, [None]))
    yield "is longer than it is", Calls(*plain, (1, (9,), f8, False, bytes(8)))
    yield "has no state", Calls(*plain)
    yield "has attributes", Calls(*plain, ((1, (1,), f8, False, bytes(8)), {"filename": victim}))


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("lie", [name for name, _ in memory_maps_that_lie(Path())])
def test_a_memory_map_in_a_file_never_opens_one(lie, protocol, tmp_path):
    (tmp_path / "victim").write_bytes(b"kept")
    path = tmp_path / "a.pkl"
    made = dict(memory_maps_that_lie(tmp_path))[lie]
    path.write_bytes(made if isinstance(made, bytes) else pickle.dumps(made, protocol))
    with pytest.raises(shardpickle.ShardpickleError, match=r"a\.pkl"):
        shardpickle.convert(path, tmp_path / "model", progress=False)
    assert (tmp_path / "victim").read_bytes() == b"kept"
    assert not (tmp_path / "model").exists()


# Files of other machines that lie -----------------------------------------------------------------


def tree_of_another_machine(change, **members):
    """A decision tree with other members in its state, as the other machine writes it."""
    made, args, state = MODELS["tree"].tree_.__reduce__()
    state = {
        key: np.copy(each) if isinstance(each, np.ndarray) else each for key, each in state.items()
    }
    for name, edit in members.items():
        if name in state["nodes"].dtype.names:
            state["nodes"][name][0] = edit
        else:
            state[name] = edit(state[name])
    return by_pickle(change, 4)(Calls(made, args, state))


def neighbors_of_another_machine(place, edit):
    made, args, state = KDTree(X, leaf_size=5).__reduce__()
    state = list(state)
    state[place] = edit(np.copy(state[place]))
    return by_pickle(narrow, 4)(Calls(made, args, tuple(state)))


def edited(**fields):
    def edit(records):
        for name, value in fields.items():
            records[name][0] = value
        return records

    return edit


def retyped(**formats):
    def edit(records):
        kinds = [(name, formats.get(name, records.dtype[name])) for name in records.dtype.names]
        return records.astype(kinds)

    return edit


def classes(counts):
    made, args, state = MODELS["tree"].tree_.__reduce__()
    return pickle.dumps(Calls(made, (args[0], counts, args[2]), state))


def predictor(**fields):
    model = pickle.loads(pickle.dumps(MODELS["histograms"]))
    nodes = model._predictors[0][0].nodes
    for name, value in fields.items():
        nodes[name][0] = value
    return by_pickle(narrow, 4)(model)


LIES = {
    "a child out of range": tree_of_another_machine(narrow, left_child=2**30),
    "a child before the first": tree_of_another_machine(narrow, right_child=-7),
    "a cycle": tree_of_another_machine(narrow, left_child=0),
    "a feature out of range": tree_of_another_machine(narrow, feature=9999),
    "a feature out of range, swapped": tree_of_another_machine(swapped, feature=9999),
    "a child in the wrong order": tree_of_another_machine(swapped, left_child=1 << 56),
    "fewer nodes": tree_of_another_machine(narrow, nodes=lambda nodes: nodes[:-1]),
    "children that are fractions": tree_of_another_machine(narrow, nodes=retyped(left_child="f8")),
    "a child far away": tree_of_another_machine(narrow, left_child=2**20),
    "values of 32 bits": tree_of_another_machine(narrow, values=lambda each: each.astype("f4")),
    "values of another shape": tree_of_another_machine(swapped, values=lambda each: each[:, :, :1]),
    "no classes": classes(np.zeros(1, "i4")),
    "very many classes": classes(np.array([2**31 - 1], "i4")),
    "classes less than none": classes(swapped(np.array([-3], "i8"))),
    "classes that are fractions": classes(np.array([3.0])),
    "classes of many outputs": classes(np.array([3, 3], "i4")),
    "classes without a sign": classes(np.array([3], "u8")),
    "a sample out of range": neighbors_of_another_machine(1, lambda each: each + 1),
    "samples before the first": neighbors_of_another_machine(1, lambda each: each - 1),
    "samples that are fractions": neighbors_of_another_machine(1, lambda each: each * 1.0),
    "a node past the end": neighbors_of_another_machine(2, edited(idx_end=10**6)),
    "a node before the start": neighbors_of_another_machine(2, edited(idx_start=-5)),
    "nodes that are fractions": neighbors_of_another_machine(2, retyped(idx_start="f8")),
    "fewer nodes of neighbors": neighbors_of_another_machine(2, lambda each: each[:1]),
    "bounds of other features": neighbors_of_another_machine(3, lambda each: each[:, :, 1:]),
    "a predictor's feature": predictor(feature_idx=10**6),
    "a predictor's child": predictor(left=10**6),
}


@pytest.mark.parametrize("lie", LIES)
def test_what_compiled_code_would_crash_on_is_refused(lie, tmp_path):
    path = tmp_path / "model.pkl"
    path.write_bytes(LIES[lie])
    refusals = shardpickle.ForeignFileError, shardpickle.RebuildError, shardpickle.RefusedError
    with pytest.raises(refusals, match=r"model\.pkl"):
        shardpickle.convert(path, tmp_path / "model", progress=False)
    assert not (tmp_path / "model").exists()


def test_byte_orders_that_lie(tmp_path):
    """A dtype that claims an order twice, of an array that has it by then."""
    for order in ("?", ">>", None, 3):
        dtype = Calls(np.dtype, ("f8", False, True), (3, order, None, None, None, -1, -1, 0))
        state = (1, (2,), dtype, False, bytes(16))
        array = Calls(RECONSTRUCT, (np.ndarray, (0,), b"b"), state)
        (tmp_path / "a.pkl").write_bytes(pickle.dumps(array))
        with pytest.raises(shardpickle.ForeignFileError, match="dtype"):
            read(tmp_path / "a.pkl")


def test_a_container_that_holds_itself_ends(tmp_path):
    """Its arrays are looked for, in a file that has arrays of the other order."""
    scaler, knot = StandardScaler().fit(X), []
    knot.append(knot)
    scaler.knot_, scaler.deep_ = knot, {"self": knot}
    nested = knot
    for _ in range(200):
        nested = [nested, nested]
    scaler.nested_ = nested
    (tmp_path / "a.pkl").write_bytes(by_pickle(swapped, 4)(scaler))
    found = read(tmp_path / "a.pkl")
    assert found.knot_[0] is found.knot_
    assert found.mean_.dtype.isnative


# dill's main program ------------------------------------------------------------------------------

SCRIPT = """
    import functools, sys
    import dill, numpy as np
    from sklearn.base import BaseEstimator
    from sklearn.preprocessing import FunctionTransformer
    from sklearn.feature_extraction.text import TfidfVectorizer

    K = 3
    def words(text): return text.split()
    def shifted(x): return x + K
    def adder(k):
        def add(x, *, y=2): return x + k + y
        return add
    class Clip(BaseEstimator):
        top = 2
        def __init__(self, low=0): self.low = low
        def fit(self, X, y=None): self.seen_ = np.asarray(X); return self
        def transform(self, X): return np.clip(X, self.low, self.top)
        @property
        def twice(self): return 2 * self.low
    class Doubled(Clip):
        def transform(self, X): return 2 * super().transform(X)

    made = {
        "function": words, "global": shifted, "lambda": lambda x: 2 * x, "closure": adder(5),
        "partial": functools.partial(adder(1), 4), "instance": Clip(1).fit([1, 2]),
        "child": Doubled(1), "class": Clip, "method": Clip(1).transform,
        "transformer": FunctionTransformer(lambda X: X * 2), "none": type(None),
        "texts": TfidfVectorizer(tokenizer=words, token_pattern=None).fit(["a b", "b c"]),
    }
    for settings in ({}, {"recurse": True}):
        for protocol in range(6):
            for name, each in made.items():
                file = f"{sys.argv[1]}/{name}-{'recurse' in settings}-{protocol}.dill"
                with open(file, "wb") as stream:
                    dill.dump(each, stream, protocol, byref=False, **settings)
"""
DILL_USES = {
    "function": lambda found: found("a b"),
    "global": lambda found: found(1),
    "lambda": lambda found: found(4),
    "closure": lambda found: found(1),
    "partial": lambda found: found(),
    "instance": lambda found: (found.twice, list(found.seen_), list(found.transform([0, 9]))),
    "child": lambda found: list(found.transform([0, 9])),
    "class": lambda found: (found(1).twice, found.__module__, found.__qualname__),
    "method": lambda found: list(found([0, 9])),
    "transformer": lambda found: found.transform(X).tolist(),
    "none": lambda found: found is type(None),
    "texts": lambda found: found.transform(["b b"]).toarray().tolist(),
}


@pytest.fixture(scope="module")
def by_dill(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dill")
    (folder / "train.py").write_text(textwrap.dedent(SCRIPT))
    command = [sys.executable, folder / "train.py", folder]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("recurse", [False, True])
@pytest.mark.parametrize("name", DILL_USES)
def test_what_dill_carries_of_a_script(name, recurse, by_dill, monkeypatch):
    monkeypatch.setattr(sys.modules["__main__"], "K", 3, raising=False)
    monkeypatch.setattr(sys.modules["__main__"], "np", np, raising=False)
    for protocol in range(6):
        path = by_dill / f"{name}-{recurse}-{protocol}.dill"
        theirs = dill.loads(path.read_bytes())
        assert DILL_USES[name](read(path, unsafe=True)) == DILL_USES[name](theirs)


@pytest.mark.parametrize("name", ["function", "lambda", "instance", "texts"])
def test_what_dill_carries_is_not_run_by_default(name, by_dill, tmp_path):
    path = by_dill / f"{name}-False-4.dill"
    with pytest.raises(shardpickle.UntrustedTypeError, match="unsafe=True"):
        shardpickle.convert(path, tmp_path / "model")
    names = [".".join(each) for each in foreign.survey(path.read_bytes()).names]
    trusted = [each for each in names if "__main__" not in each]
    with pytest.raises(shardpickle.ShardpickleError):  # no list of names lets code in
        shardpickle.convert(path, tmp_path / "model", trusted=trusted)


def test_an_instance_is_of_the_main_programs_class(by_dill, monkeypatch):
    class Clip:
        pass

    main = sys.modules["__main__"]
    monkeypatch.setattr(main, "Clip", Clip, raising=False)
    path = by_dill / "instance-False-4.dill"
    assert type(dill.loads(path.read_bytes())) is Clip
    assert type(read(path, unsafe=True)) is Clip


def test_functions_that_no_module_has_are_named(by_dill, tmp_path):
    """They can be read; a model directory holds no code."""
    with pytest.raises(shardpickle.UnpicklableError, match="words"):
        shardpickle.convert(by_dill / "texts-True-4.dill", tmp_path / "model", unsafe=True)
    assert not (tmp_path / "model").exists()


def test_without_dill_its_plain_files_are_read(tmp_path, monkeypatch):
    """As by default: arrays and ranges need nothing that dill makes."""
    path = tmp_path / "model.dill"
    path.write_bytes(dill.dumps({"rows": X, "range": range(4), "type": int}))
    monkeypatch.setattr(convert.importlib.util, "find_spec", lambda name: None)
    assert_same(read(path, unsafe=True), dill.loads(path.read_bytes()))


def test_cloudpickles_functions(tmp_path):
    k = 4
    (tmp_path / "f.pkl").write_bytes(cloudpickle.dumps({"f": lambda x: x + k}))
    assert read(tmp_path / "f.pkl", unsafe=True)["f"](3) == 7
    with pytest.raises(shardpickle.UntrustedTypeError, match="unsafe=True"):
        read(tmp_path / "f.pkl")


def test_a_function_transformer_of_numpy_needs_no_trust(tmp_path):
    path = tmp_path / "model.dill"
    model = make_pipeline(FunctionTransformer(np.log1p), StandardScaler()).fit(np.abs(X))
    path.write_bytes(dill.dumps(model))
    assert_same(read(path), dill.loads(path.read_bytes()))
