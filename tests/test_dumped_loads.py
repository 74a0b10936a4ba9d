"""What is dumped, loads: by default, or with exactly what the dump said that it needs.

Each member of a kind is dumped, and everything that speaks of the directory is held to what a load
then does; what comes back is what pickle gives.
"""

import collections
import contextlib
import datetime
import decimal
import enum
import functools
import hashlib
import importlib
import itertools
import json
import logging
import math
import pickle
import random
import re
import shutil
import sys
import tempfile
import textwrap
import uuid
import zoneinfo

import estimators
import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import scipy.stats
from graphs import assert_same
from sklearn.base import BaseEstimator
from sklearn.cluster import BisectingKMeans, KMeans
from sklearn.compose import ColumnTransformer, make_column_selector, make_column_transformer
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.feature_selection import SelectKBest, SelectPercentile, chi2, mutual_info_classif
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.metrics import fbeta_score, make_scorer, mean_pinball_loss
from sklearn.metrics.pairwise import laplacian_kernel, polynomial_kernel, rbf_kernel
from sklearn.model_selection import RandomizedSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    LabelEncoder,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
)
from sklearn.svm import SVC, SVR, NuSVR, OneClassSVM
from sklearn.tree import DecisionTreeClassifier

import shardpickle
from shardpickle._util import memory
from shardpickle.format import entries, manifest

X = np.random.default_rng(0).random((60, 4))
Y = (X[:, 0] > 0.5).astype(int)
FRAME = pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "c": list("xyz") * 20})
TEXTS = ["a b c", "b c d", "c d e"]


class Mode(enum.Enum):
    FAST = 1
    SLOW = "slow"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Parts(enum.Flag):
    HEAD = 1
    TAIL = 2


class Own(BaseEstimator):
    """A class of the user's, without code that a load would run."""

    def __init__(self, **attributes):
        self.__dict__.update(attributes)

    def tokenize(self, text):
        return text.split()


class Restored:
    """A class whose state is set by code of its own."""

    def __init__(self, value):
        self.value = value

    def __setstate__(self, state):
        Restored.calls += 1
        self.__dict__.update(state)

    calls = 0


class Rebuilt:
    """A class that is made by a function."""

    def __init__(self, value):
        self.value = value

    def __reduce__(self):
        return rebuild, (self.value,), {"more": [self.value]}


def rebuild(value):
    return Rebuilt(value)


def calendars():
    model = Ridge().fit(X, Y)
    model.profile_ = {
        f"store{shop}": {f"2024-{day}": 0.0 for day in range(365)} for shop in range(3000)
    }
    return model


def encoders():
    found = collections.defaultdict(LabelEncoder)
    found["city"].fit(["a", "b"])
    return found


def scored(value):
    model = LogisticRegression().fit(X, Y)
    model.score = value
    return model


def shared_key():
    whole = tuple(range(300))
    return {(whole, number): number for number in range(2000)}


def colliding():
    """Large integers with one hash."""
    return {number * (2**61 - 1) + 7: number for number in range(1, 700)}


# Kinds 1 and 2: redundant, long, and many; all of it plain data.
PLAIN = {
    "a dict of 3,000 calendars": calendars,
    "a million equal floats": lambda: [0.5] * 1_000_000,
    "different floats": lambda: np.linspace(0, 1, 400_000).tolist(),
    "an object array of words": lambda: np.array([[f"w{n}" for n in range(900)]] * 600, object),
    "an object array of labels": lambda: np.array(["yes", "no"] * 700_000, dtype=object),
    "records": lambda: [{"name": 1.0, "threshold": 0.5, "left": None} for _ in range(100_000)],
    "counters of the same words": lambda: [
        collections.Counter({f"w{n}": n for n in range(400)}) for _ in range(700)
    ],
    "many small arrays": lambda: [np.full(2, n) for n in range(60_000)],
    "many arrays of many shapes": lambda: [np.zeros((n % 50, n % 7)) for n in range(20_000)],
    "many bare estimators": lambda: [Ridge() for _ in range(6000)],
    "many fitted estimators": lambda: [GaussianNB().fit(X[:9], Y[:9]) for _ in range(300)],
    "estimators by name": lambda: {f"shop-{n}": Ridge(alpha=n) for n in range(2000)},
    "many random states": lambda: [np.random.RandomState(n) for n in range(300)],
    "bigrams as keys": lambda: {(f"a{n}", f"b{n}"): n for n in range(30_000)},
    "pairs of pairs as keys": lambda: {((n, n + 1), (n, "x")): n for n in range(20_000)},
    "a long key that many share": shared_key,
    "keys of one hash": colliding,
    "frozensets as keys": lambda: {frozenset({n, str(n)}): n for n in range(5000)},
    "dates as keys": lambda: {
        datetime.date(2000, 1, 1) + datetime.timedelta(n): n for n in range(9000)
    },
    "times as keys": lambda: {
        datetime.datetime(2000, 1, 1) + datetime.timedelta(hours=n): n for n in range(3000)
    },
    "hashes as keys": lambda: {2**63 + 7919 * n: n for n in range(40_000)},
    "a set of hashes": lambda: {2**70 + 31 * n for n in range(30_000)},
    "decimals as keys": lambda: {decimal.Decimal(n) / 8: n for n in range(3000)},
    "uuids as keys": lambda: {uuid.UUID(int=n): n for n in range(3000)},
    "numpy scalars as keys": lambda: dict.fromkeys(np.arange(9000) * np.pi, 1),
    "dates of numpy as keys": lambda: dict.fromkeys(np.arange(2000).astype("M8[D]"), 1),
    "complex keys": lambda: {complex(n, -n): n for n in range(3000)},
    "deep lists": lambda: functools.reduce(lambda inner, _: [inner], range(200), []),
    "long text": lambda: ["x" * 140_000, "é" * 70_000],
    "one dict in many lists": lambda: [[{"a": 1}] * 3 for _ in range(20_000)],
    "an integer of many digits": lambda: [7**20_000],
}
# Kinds 2, 3, 12 and 13: what fits of scikit-learn hold, and what stands beside it.
NO_QUESTION = {
    "partial of mutual information": lambda: SelectKBest(
        functools.partial(mutual_info_classif, random_state=0), k=2
    ).fit(X, Y),
    "partial of chi2": lambda: SelectPercentile(functools.partial(chi2)).fit(X, Y),
    "a kernel with a parameter": lambda: SVC(kernel=functools.partial(rbf_kernel, gamma=2)).fit(
        X, Y
    ),
    "a polynomial kernel": lambda: SVC(
        kernel=functools.partial(polynomial_kernel, degree=2, coef0=1)
    ).fit(X, Y),
    "a laplacian kernel": lambda: SVR(kernel=functools.partial(laplacian_kernel, gamma=0.1)).fit(
        X, Y
    ),
    "clip": lambda: FunctionTransformer(functools.partial(np.clip, a_min=0, a_max=1)),
    "where to round": lambda: FunctionTransformer(functools.partial(np.round, decimals=2)),
    "quantiles": lambda: functools.partial(np.quantile, q=[0.1, 0.9], axis=0),
    "a ufunc with a constant": lambda: FunctionTransformer(functools.partial(np.power, 2.0)),
    "a scorer of a partial": lambda: make_scorer(functools.partial(fbeta_score, beta=2)),
    "a scorer with a parameter": lambda: make_scorer(mean_pinball_loss, alpha=0.9),
    "a partial of a partial": lambda: functools.partial(
        functools.partial(np.clip, a_min=0), a_max=1
    ),
    "defaultdict of encoders": encoders,
    "defaultdict of defaults": lambda: collections.defaultdict(
        collections.Counter, {"a": collections.Counter("aab")}
    ),
    "boosting from logistic regression": lambda: GradientBoostingClassifier(
        init=LogisticRegression(), n_estimators=2
    ).fit(X, Y),
    "boosting of three classes from a pipeline": lambda: GradientBoostingClassifier(
        init=make_pipeline(StandardScaler(), LogisticRegression()), n_estimators=2
    ).fit(X, np.arange(60) % 3),
    "boosting from neighbours": lambda: GradientBoostingClassifier(
        init=KNeighborsClassifier(), n_estimators=2
    ).fit(X, Y),
    "boosting from a line": lambda: GradientBoostingRegressor(
        init=LinearRegression(), n_estimators=2
    ).fit(X, X[:, 0]),
    "boosting from nothing": lambda: GradientBoostingRegressor(init="zero", n_estimators=2).fit(
        X, X[:, 0]
    ),
    "a number in a method's place": lambda: scored(0.93),
    "an array in a method's place": lambda: scored(np.arange(3.0)),
    "a dunder of text": lambda: scored(None).set_params(C=2),
    "structured array with objects": lambda: np.array(
        [("a", 1), (None, 2)], dtype=[("s", "O"), ("i", "i4")]
    ),
    "deques": lambda: [collections.deque([1, 2]), collections.deque("ab", maxlen=3)],
    "partials of containers": lambda: [
        functools.partial(collections.defaultdict, float),
        collections.defaultdict(functools.partial(collections.deque, maxlen=5)),
    ][:1],
    "a pattern": lambda: re.compile(r"\w+", re.IGNORECASE),
    "a pattern of bytes": lambda: re.compile(rb"[a-z]"),
    "a pattern's method": lambda: TfidfVectorizer(
        tokenizer=re.compile(r"\w+").findall, token_pattern=None
    ).fit(TEXTS),
    "a method of text": lambda: CountVectorizer(tokenizer=str.split, token_pattern=None).fit(TEXTS),
    "loggers": lambda: [logging.getLogger("some.library"), logging.getLogger()],
    "a zone": lambda: datetime.datetime(2024, 1, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
    "zones": lambda: {name: zoneinfo.ZoneInfo(name) for name in ("UTC", "Etc/GMT+3")},
    "distributions": lambda: [
        scipy.stats.randint(2, 5),
        scipy.stats.uniform(0, 2),
        scipy.stats.loguniform(1e-3, 1),
        scipy.stats.norm(loc=1, scale=2),
        scipy.stats.expon(scale=3),
        scipy.stats.gamma,
    ],
    "a search over distributions": lambda: RandomizedSearchCV(
        DecisionTreeClassifier(),
        {"max_depth": scipy.stats.randint(2, 5)},
        n_iter=2,
        cv=2,
        random_state=0,
    ).fit(X, Y),
    "selectors of columns": lambda: ColumnTransformer(
        [
            ("n", StandardScaler(), make_column_selector(dtype_include="number")),
            ("c", OneHotEncoder(), make_column_selector(pattern="c")),
        ]
    ).fit(FRAME),
    "columns as an index": lambda: make_column_transformer(
        (StandardScaler(), FRAME.select_dtypes("number").columns),
        (OneHotEncoder(), FRAME.select_dtypes(exclude="number").columns),
    ).fit(FRAME),
    "columns as a series": lambda: make_column_transformer(
        (StandardScaler(), pd.Series(["a", "b"])), (OrdinalEncoder(), ["c"])
    ).fit(FRAME),
    "pandas output": lambda: (
        make_pipeline(
            FeatureUnion([("one", StandardScaler()), ("two", StandardScaler())]),
            RandomForestClassifier(3),
        )
        .set_output(transform="pandas")
        .fit(FRAME[["a", "b"]], Y)
    ),
    "a missing value of pandas": lambda: SimpleImputer(
        missing_values=pd.NA, strategy="constant", fill_value="z"
    ).fit(FRAME[["c"]].astype("string")),
    "sgd": lambda: MLPClassifier(solver="sgd", max_iter=2).fit(X, Y),
    "memory": lambda: make_pipeline(
        StandardScaler(), GaussianNB(), memory=joblib.Memory(tempfile.gettempdir(), verbose=0)
    ),
    "no support vectors": lambda: [
        SVR(epsilon=10).fit(scipy.sparse.csr_array(X), Y),
        SVR(epsilon=10).fit(X, Y),
        NuSVR().fit(scipy.sparse.csr_matrix(X), Y),
        OneClassSVM().fit(scipy.sparse.csr_array(X)),
    ],
    "bisected sparse rows": lambda: [
        BisectingKMeans(3, random_state=0).fit(make(X))
        for make in (np.asarray, scipy.sparse.csr_array, scipy.sparse.csr_matrix)
    ],
    "neighbours of neighbours": lambda: NearestNeighbors(algorithm="kd_tree").fit(
        NearestNeighbors(algorithm="kd_tree").fit(X)
    ),
    "unsorted bytes": lambda: OneHotEncoder(categories=[np.array([b"b", b"a"])]).fit(
        np.array([[b"a"]])
    ),
    "boosting that holds its own method": lambda: HistGradientBoostingClassifier(
        max_iter=6, scoring="roc_auc", early_stopping=True, random_state=0
    ).fit(np.repeat(X, 8, 0), np.repeat(Y, 8)),
    "vectorize": lambda: [np.vectorize(np.sin), np.vectorize(math.floor)][:1],
    "zero widths": lambda: [np.zeros(3, "S0"), np.zeros((2, 0), "U0"), np.zeros(2, "V0")],
    "a kernel of a process": lambda: GaussianProcessRegressor().fit(X[:9], Y[:9]),
    "clusters of floats": lambda: KMeans(2, n_init=1).fit(X.astype(np.float32)),
}
TIMES = pd.date_range("2024", periods=4, freq="D", name="day")
PANDAS = {
    "index": lambda: FRAME.columns,
    "named index": lambda: pd.Index([1.5, 2.5], name="x"),
    "index of mixed things": lambda: pd.Index(["a", 1, None], dtype=object),
    "index of bools": lambda: pd.Index([True, False]),
    "ranges": lambda: [pd.RangeIndex(3), pd.RangeIndex(5, 1, -2, name="r")],
    "levels": lambda: pd.MultiIndex.from_product([[1, 2], ["a", "b"]], names=["p", None]),
    "times": lambda: [
        TIMES,
        TIMES.tz_localize("Europe/Berlin"),
        TIMES.tz_localize("UTC"),
        TIMES[:2],
    ],
    "spans": lambda: [TIMES - TIMES[0], pd.period_range("2024", periods=3, freq="M")],
    "intervals": lambda: [pd.interval_range(0, 3), pd.interval_range(0.0, 2.0, closed="both")],
    "categories": lambda: [
        pd.Categorical(["a", None, "b"], categories=["b", "a"], ordered=True),
        pd.CategoricalIndex([3, 1, 3], name="c"),
        pd.cut(pd.Series(X[:, 0]), 3),
        pd.CategoricalDtype(["u", "v"]),
    ],
    "series": lambda: [FRAME.a, FRAME.c, FRAME.c.astype("category"), pd.Series(dtype="float32")],
    "means by group": lambda: FRAME.groupby("c").a.mean(),
    "means by groups": lambda: FRAME.assign(d=FRAME.c).groupby(["c", "d"]).b.mean(),
    "frames": lambda: [FRAME, FRAME.describe(), FRAME.assign(t=pd.Timestamp("2024")), FRAME[:0]],
    "frame of levels": lambda: FRAME.groupby("c").agg({"a": ["mean", "max"]}),
    "frame without columns": lambda: pd.DataFrame(index=[1, 2]),
    "dtypes of a frame": lambda: FRAME.dtypes,
    "nullable": lambda: [
        pd.array([1, None], dtype="Int64"),
        pd.array([1.5, None], dtype="Float32"),
        pd.array([True, None], dtype="boolean"),
        pd.array(["a", None], dtype="string"),
        pd.Series([1, None], dtype="UInt8"),
    ],
    "scalars": lambda: [
        pd.Timestamp("2024-01-01", tz="UTC"),
        pd.Timestamp("2024-01-01", tz="Europe/Berlin"),
        pd.Timedelta("1D"),
        pd.Period("2024", freq="Q"),
        pd.Interval(0, 1),
        pd.NA,
        pd.NaT,
        pd.offsets.MonthEnd(2),
    ],
    "one index in two series": lambda: (
        lambda index: [pd.Series([1, 2], index), pd.Series([3, 4], index), index]
    )(pd.Index(["p", "q"])),
    "timestamps as keys": lambda: dict.fromkeys(TIMES, 1),
    "a seen frame": lambda: {"profile": FRAME, "columns": FRAME.columns, "first": FRAME.iloc[0]},
}
# Needs trust by name, and loads then.
BY_NAME = {
    "an own class": lambda: Own(a=1),
    "an own method": lambda: TfidfVectorizer(tokenizer=Own().tokenize, token_pattern=None).fit(
        TEXTS
    ),
    "enum": lambda: [Mode.FAST, Level.HIGH, Mode.SLOW],
    "enum as keys": lambda: {Mode.FAST: 1, Level.LOW: 2, (Mode.SLOW, 3): 4},
    "flags": lambda: [Parts.HEAD, Parts.HEAD | Parts.TAIL],
    "own state": lambda: [Restored(1), Restored([2])],
    "made by a function": lambda: Rebuilt(3),
    "own function in a partial": lambda: functools.partial(rebuild, 3),
    "own function in a transformer": lambda: FunctionTransformer(rebuild),
    "defaultdict of own": lambda: collections.defaultdict(Own),
    "own beside pandas": lambda: Own(columns=FRAME.columns, means=FRAME.groupby("c").a.mean()),
    "own beside much": lambda: Own(re_=re.compile("a"), log=logging.getLogger("x")),
    "notes": lambda: Own(__version__="1", __doc__="what it is"),
    "a function in a method's place": lambda: scored(rebuild),
    "vetted function in a method's place": lambda: scored(np.sum),
    "vectorized own": lambda: np.vectorize(rebuild),
    "sparse array of pandas": lambda: pd.arrays.SparseArray([0, 0, 1]),
    "series with attributes": lambda: pd.Series([1]).set_flags(allows_duplicate_labels=False),
    "string dtype of numpy": lambda: string_array(),
}


def string_array():
    if not hasattr(np.dtypes, "StringDType"):  # NumPy 1
        return Own()
    return Own(words=np.array(["a", "bc"], dtype=np.dtypes.StringDType()))


MEMBERS = {**PLAIN, **NO_QUESTION, **PANDAS, **BY_NAME}


def check(model, path, compare=assert_same):
    """Everything that speaks of a dumped model says what a load does; returns the report."""
    expected = pickle.loads(pickle.dumps(model))
    report = shardpickle.dump(model, path, progress=False)
    seen = shardpickle.inspect(path)
    verified = shardpickle.verify(path, deep=True)
    assert verified.ok, str(verified)
    assert seen.needs_trust == report.needs_trust
    assert bool(seen.needs_unsafe) == bool(report.needs_unsafe)
    assert (verified.needs_trust, verified.needs_unsafe) == (
        report.needs_trust,
        report.needs_unsafe,
    )
    if not report.needs_trust:
        compare(shardpickle.load(path, progress=False), expected)
        shardpickle.dump(model, path, require_safe=True, progress=False)
    else:
        with pytest.raises(shardpickle.UntrustedTypeError) as refused:
            shardpickle.load(path, progress=False)
        if not report.needs_unsafe:
            assert set(refused.value.names) <= set(report.needs_trust)
            found = shardpickle.load(path, trusted=refused.value.offered, progress=False)
            compare(found, expected)
        with pytest.raises(shardpickle.UntrustedTypeError):
            shardpickle.dump(model, path, require_safe=True, progress=False)
    compare(shardpickle.load(path, unsafe=True, progress=False), expected)
    return report


@pytest.mark.filterwarnings("ignore")  # of libraries, about what is fitted here
@pytest.mark.parametrize(
    "member",
    [
        pytest.param(member, marks=pytest.mark.long) if "3,000" in member else member
        for member in MEMBERS
    ],
)
def test_what_is_dumped_loads(member, tmp_path):
    report = check(MEMBERS[member](), tmp_path / "model")
    assert bool(report.needs_trust) == (member in BY_NAME)
    assert not report.needs_unsafe


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("member", [*NO_QUESTION, *PANDAS])
def test_the_same_lazily(member, tmp_path):
    model = MEMBERS[member]()
    shardpickle.dump(model, tmp_path / "model", shard_size="2kB", progress=False)
    found = shardpickle.materialize(shardpickle.load(tmp_path / "model", lazy=True, progress=False))
    assert_same(found, pickle.loads(pickle.dumps(model)))


def test_a_dump_runs_no_code_of_the_models(tmp_path):
    before = Restored.calls
    shardpickle.dump([Restored(1)], tmp_path / "model", progress=False)
    shardpickle.verify(tmp_path / "model", deep=True)
    shardpickle.inspect(tmp_path / "model", trust=True)
    assert Restored.calls == before


@pytest.mark.parametrize("read", [shardpickle.load, shardpickle.verify, shardpickle.inspect])
def test_a_directory_imports_nothing_that_it_names(read, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "imported_by_nobody.py"
    file.write_text("class Thing: pass\n")
    thing = importlib.import_module("imported_by_nobody").Thing
    shardpickle.dump([thing(), thing], tmp_path / "model", progress=False)
    del sys.modules["imported_by_nobody"]
    options = {"verify": {"deep": True}, "inspect": {"trust": True}, "load": {}}[read.__name__]
    with contextlib.suppress(shardpickle.UntrustedTypeError):
        found = read(tmp_path / "model", **options)
        assert found.needs_trust == ("imported_by_nobody.Thing",)
    assert "imported_by_nobody" not in sys.modules


def wrong_kernel():
    model = SVC().fit(X, Y)
    model.support_ = model.support_ + 1000
    model.kernel = "precomputed"
    return model


def outside_of_it():
    model = OneHotEncoder().fit([[1], [2]])
    model._n_features_outs = [7]
    return model


UNSAFE = {
    "a model that would crash": wrong_kernel,
    "an encoder that contradicts itself": outside_of_it,
    "a partial that writes": lambda: make_pipeline(
        FunctionTransformer(functools.partial(np.add, out=(np.zeros(3),)))
    ),
}


@pytest.mark.parametrize("member", UNSAFE)
def test_what_no_name_lifts_is_said_before_it_is_stored(member, tmp_path):
    model = UNSAFE[member]()
    report = check(model, tmp_path / "model")
    lifted = member == "a partial that writes"
    assert report.needs_trust
    assert bool(report.needs_unsafe) != lifted
    with pytest.raises(shardpickle.RefusedError) as refused:
        shardpickle.load(tmp_path / "model")
    told = str(refused.value)
    assert "is intact" in told
    assert "unsafe=True" in told
    assert ("trusted=" in told) == lifted
    assert not isinstance(refused.value, shardpickle.CorruptModelError)
    estimated = shardpickle.estimate(model, progress=False)
    assert estimated.needs_trust == report.needs_trust


def test_a_refusal_names_the_place(tmp_path):
    function = functools.partial(np.add, out=(np.zeros(3),))
    model = make_pipeline(StandardScaler(), FunctionTransformer(function))
    report = shardpickle.dump(model, tmp_path / "model", progress=False)
    (name,) = report.needs_trust  # NumPy 1 knows it by another module
    assert name.startswith("numpy.")
    assert name.endswith(".add")
    with pytest.raises(
        shardpickle.RefusedError, match=r"model\.steps\[1\]\[1\]\.func: .*add"
    ) as it:
        shardpickle.load(tmp_path / "model")
    assert it.value.place == "model.steps[1][1].func"
    found = shardpickle.load(tmp_path / "model", trusted=it.value.offered)
    assert found[1].func.keywords["out"][0].shape == (3,)


@pytest.mark.parametrize(
    "call", [eval, exec, __import__, pickle.loads, textwrap.dedent, itertools.chain]
)
def test_what_runs_any_code_is_never_offered(call, tmp_path):
    model = Own(call=Called(call))
    shardpickle.dump(model, tmp_path / "model", progress=False)
    with pytest.raises(shardpickle.UntrustedTypeError) as refused:
        shardpickle.load(tmp_path / "model")
    harmless = call in (textwrap.dedent, itertools.chain)
    assert bool(refused.value.offered) == harmless
    if not harmless:
        with pytest.raises(shardpickle.UntrustedTypeError):
            shardpickle.load(tmp_path / "model", trusted=list(refused.value.names))


class Called:
    """Pickles as a call of something."""

    def __init__(self, function):
        self.function = function

    def __reduce__(self):
        return self.function, ("1 + 1",)


# What the manifest declares ---------------------------------------------------------------------


def rewritten(path, change):
    """The manifest, changed, its own digest made right."""
    file = path / "manifest.json"
    body, _, _ = file.read_bytes().rpartition(b',\n"sha256": "')
    document = json.loads(body + b"}")
    change(document)
    lines = [f'"{key}": {json.dumps(value)}' for key, value in document.items()]
    body = ("{\n" + ",\n".join(lines)).encode()
    digest = hashlib.sha256(body).hexdigest()
    file.write_bytes(body + f',\n"sha256": "{digest}"\n}}\n'.encode())


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A model whose objects take more than a load expects of its few bytes."""
    path = tmp_path_factory.mktemp("large") / "model"
    whole = tuple(range(600))
    shardpickle.dump({(whole, n): n for n in range(5_000)}, path, progress=False)
    return path


def test_what_takes_much_is_declared_and_shown(large):
    found = shardpickle.inspect(large)
    assert found.stored_bytes < 1_000_000
    assert found.heap > 2**28
    assert "of Python objects" in str(found)


def test_a_file_is_held_to_what_it_declares(large, tmp_path):
    path = shutil.copytree(large, tmp_path / "model")
    rewritten(path, lambda document: document.update(heap=[1]))
    with pytest.raises(shardpickle.CorruptShardError, match="more objects than the manifest"):
        shardpickle.load(path, progress=False)
    assert not shardpickle.verify(path, deep=True)
    rewritten(path, lambda document: document.pop("heap"))
    with pytest.raises(shardpickle.CorruptShardError, match="more objects than the manifest"):
        shardpickle.load(path, progress=False)
    assert len(shardpickle.load(path, unsafe=True, progress=False)) == 5_000


def test_what_is_declared_is_compared_with_memory_first(large, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 2**28)
    with pytest.raises(shardpickle.ModelTooLargeError):
        shardpickle.load(large, progress=False)
    path = shutil.copytree(large, tmp_path / "model")
    monkeypatch.undo()
    rewritten(path, lambda document: document.update(heap=[2**60]))
    for read in (shardpickle.load, shardpickle.inspect, shardpickle.verify):
        with pytest.raises(shardpickle.ModelTooLargeError):
            read(path)


def test_parts_are_declared_before_they_are_listed(tmp_path):
    shardpickle.dump([Ridge(), Ridge()], tmp_path / "model", progress=False)

    def many(document):
        document["parts"][0]["count"] = 2**40
        document["shards"][0][3] = 2**41

    rewritten(tmp_path / "model", many)
    with pytest.raises(shardpickle.CorruptManifestError, match="more memory than it declares"):
        shardpickle.load(tmp_path / "model")


@pytest.mark.long
def test_a_manifest_of_very_many_parts_is_read():
    shard = entries.ShardEntry("0" * 64, 100, 9, 1, heap=10**9)
    part = entries.PartEntry("a.B", 0, 0, 1, (), ())
    root = entries.PartEntry("builtins.list", 0, 0, 1, (), tuple((n, 0) for n in range(140_000)))
    made = entries.Manifest("0", "full", {}, {}, (), (*[part] * 140_000, root), (shard,))
    assert manifest.from_bytes(manifest.to_bytes(made)) == made


@pytest.mark.long
@pytest.mark.parametrize(
    "metadata",
    [{"ids": list(range(1_100_000))}, {"note": "x" * 40_000_000}],
    ids=["many values", "long text"],
)
def test_metadata_of_any_size(metadata, tmp_path):
    shardpickle.dump([1], tmp_path / "model", metadata=metadata, progress=False)
    assert shardpickle.load(tmp_path / "model", progress=False) == [1]
    assert shardpickle.inspect(tmp_path / "model").metadata == metadata
    shardpickle.dump([2], tmp_path / "model", progress=False)
    assert shardpickle.load(tmp_path / "model", progress=False) == [2]


@pytest.mark.parametrize(
    "content",
    [b"", b'{\n"format": "shardpickle",\n"version": 1,\n', b'{\n"format": "shardpickle",\n' * 9],
    ids=["empty", "cut off", "repeated"],
)
def test_a_dump_replaces_a_manifest_that_cannot_be_read(content, tmp_path):
    path = tmp_path / "model"
    shardpickle.dump([Ridge(), 1], path, progress=False)
    before = sorted((path / "shards").iterdir())
    (path / "manifest.json").write_bytes(content)
    shardpickle.dump([2], path, progress=False)
    assert shardpickle.load(path) == [2]
    assert set(before) <= set((path / "shards").iterdir())  # whose they are, nobody can say


def test_a_member_that_is_not_known_is_refused_by_name(tmp_path):
    shardpickle.dump([1], tmp_path / "model", progress=False)
    rewritten(tmp_path / "model", lambda document: document.update(colour="red"))
    with pytest.raises(shardpickle.UnknownFormatError, match="colour"):
        shardpickle.load(tmp_path / "model")


def test_a_name_that_no_reader_takes_is_not_published(tmp_path):
    long = type("N" * 1200, (), {"__module__": __name__})
    globals()[long.__name__] = long
    with pytest.raises(shardpickle.ShardpickleError):
        shardpickle.dump(long(), tmp_path / "model", progress=False)
    assert not (tmp_path / "model" / "manifest.json").exists()


# The property: random graphs of what models hold ------------------------------------------------


class Graphs:
    """Random models: nested, repeated and long, with things that two places share."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.made = []

    def thing(self, depth=0):
        if self.made and self.random.random() < 0.12:
            return self.random.choice(self.made)
        makers = self.leaves if depth > 4 or self.random.random() < 0.35 else self.inner
        found = self.random.choice(makers)(self, depth)
        self.made.append(found)
        return found

    def key(self):
        number = self.random.randrange(1000)
        return self.random.choice(
            [
                f"k{number}",
                number,
                (number, f"t{number}"),
                2**62 + number,
                datetime.date(2000, 1, 1) + datetime.timedelta(number),
                np.float64(number / 7),
                frozenset({number, "f"}),
                pd.Timestamp(2000, 1, 1) + pd.Timedelta(days=number),
                None,
                True,
                Mode.FAST,
            ]
        )

    def some(self, depth):
        return [self.thing(depth + 1) for _ in range(self.random.randrange(5))]

    def mapping(self, depth):
        return {self.key(): self.thing(depth + 1) for _ in range(self.random.randrange(6))}

    def repeated(self, depth):
        return [self.thing(depth + 1)] * self.random.randrange(1, 3000)

    def objects(self, depth):
        found = np.empty(self.random.randrange(1, 5), dtype=object)
        for at in range(len(found)):
            found[at] = self.thing(depth + 1)
        return found

    def estimator(self, depth):
        made = self.random.choice(
            [Ridge, LogisticRegression, GaussianNB, StandardScaler, DecisionTreeClassifier]
        )()
        if self.random.random() < 0.6:
            made.fit(X[:12], Y[:12])
        if self.random.random() < 0.4:
            made.extra_ = self.thing(depth + 1)
        return made

    def own(self, depth):
        return Own(value=self.thing(depth + 1))

    def pipeline(self, depth):
        function = self.random.choice(
            [np.log1p, functools.partial(np.clip, a_min=0), rebuild, None]
        )
        return make_pipeline(FunctionTransformer(function), self.estimator(depth + 1))

    inner = (some, mapping, repeated, objects, estimator, own, pipeline)
    leaves = (
        lambda self, _: self.random.random(),
        lambda self, _: f"text {self.random.randrange(9)}" * self.random.randrange(1, 40),
        lambda self, _: np.arange(self.random.randrange(40), dtype="f4"),
        lambda self, _: np.random.RandomState(self.random.randrange(5)),
        lambda self, _: self.random.choice([None, True, 3, 2**80, -0.0, b"x", (), frozenset()]),
        lambda self, _: self.random.choice([FRAME, FRAME.columns, FRAME.a, FRAME.c.unique()]),
        lambda self, _: self.random.choice(
            [pd.Timestamp("2024"), pd.NA, Mode.SLOW, re.compile("x"), logging.getLogger("y")]
        ),
        lambda self, _: [0.25] * self.random.randrange(5000),
        lambda self, _: scipy.sparse.random(5, 4, 0.5, "csr", random_state=1),
        lambda self, _: functools.partial(rebuild, self.random.random()),
    )


@pytest.mark.parametrize("seed", range(60))
def test_a_random_graph(seed, tmp_path):
    check(Graphs(seed).thing(), tmp_path / "model")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "cls"), list(estimators.everything()))
def test_every_estimator(name, cls, tmp_path):
    model, _ = estimators.fitted(name, cls)
    report = check(model, tmp_path / "model")
    assert report.needs_trust == ()
