"""Small inputs that would take minutes or gigabytes, and things that change after a check."""

import gzip
import pickle
import struct
import subprocess
import sys
import types
import zipfile
from collections import defaultdict, deque

import numpy as np
import pytest
import scipy.sparse
from estimators import LABELS, X
from sklearn.cluster import HDBSCAN, BisectingKMeans, FeatureAgglomeration, MiniBatchKMeans
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.linear_model import Lasso, LogisticRegression, Ridge, SGDClassifier, SGDRegressor
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MultiLabelBinarizer,
    OneHotEncoder,
    SplineTransformer,
    StandardScaler,
)
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

import shardpickle
from shardpickle.io import convert
from shardpickle.pickling import dialects
from shardpickle.trust import checks, hardened, names

# --- Files of others ---


def test_a_bomb_of_empty_lists_ends_at_a_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(dialects, "_MOST_STACK", 1 << 17)
    file = tmp_path / "bomb.gz"
    file.write_bytes(gzip.compress(b"\x80\x04" + b"]" * (1 << 18) + b"."))
    with pytest.raises(shardpickle.ForeignFileError, match="objects on its stack"):
        shardpickle.convert(file, tmp_path / "model", progress=False)


def test_a_tuple_below_the_bound_is_converted(tmp_path):
    file = tmp_path / "long.pickle"
    found = tuple(float(each) for each in range(200_000))
    file.write_bytes(pickle.dumps(found))
    shardpickle.convert(file, tmp_path / "model", progress=False)
    assert shardpickle.load(tmp_path / "model") == found


def test_a_schema_of_gigabytes_is_not_read(tmp_path, monkeypatch):
    pytest.importorskip("skops")
    monkeypatch.setattr(convert, "_MOST_SCHEMA", 1000)
    file = tmp_path / "model.skops"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("schema.json", '{"a": "' + "x" * 2000 + '"}')
    with pytest.raises(shardpickle.ForeignFileError, match=r"schema\.json of 2"):
        shardpickle.convert(file, tmp_path / "model", progress=False)


def test_a_file_that_is_cut_off_while_it_is_read_harms_nobody(tmp_path, monkeypatch):
    """A mapped file would end the process with a bus error."""
    model = StandardScaler().fit(np.random.RandomState(0).rand(50, 40_000))
    file = tmp_path / "model.pickle"
    file.write_bytes(pickle.dumps(model))
    original = convert.foreign.survey

    def cut_off(data):
        file.write_bytes(b"")
        return original(data)

    monkeypatch.setattr(convert.foreign, "survey", cut_off)
    shardpickle.convert(file, tmp_path / "model", progress=False)
    assert np.array_equal(shardpickle.load(tmp_path / "model").mean_, model.mean_)


@pytest.mark.parametrize("in_memory", [True, False])
def test_large_files_are_converted_too(in_memory, tmp_path, monkeypatch):
    if not in_memory:
        monkeypatch.setattr(convert, "_IN_MEMORY", 0)
    file = tmp_path / "model.pickle"
    file.write_bytes(pickle.dumps(Ridge().fit(X, LABELS)))
    shardpickle.convert(file, tmp_path / "model", progress=False)
    assert np.array_equal(
        shardpickle.load(tmp_path / "model").predict(X), pickle.loads(file.read_bytes()).predict(X)
    )


# --- What C frees one inside the other ---


def nested(kind, count):
    """A pickle of so many containers in each other, written from the inside."""

    def name(module, attribute):
        return b"\x8c%c%s\x8c%c%s\x93" % (len(module), module, len(attribute), attribute)

    start = {
        "deque": name(b"collections", b"deque") + b"\x94",
        "defaultdict": name(b"collections", b"defaultdict") + b"\x94",
    }[kind]
    made = b"h\x00" + (b")" if kind == "deque" else b"N\x85") + b"R\x94"
    pieces = [b"\x80\x04", start, b"0", made, b"0"]
    for number in range(1, count):
        before = b"j" + struct.pack("<I", number)
        pieces += [made, before + b"a" if kind == "deque" else b"K\x00" + before + b"s", b"0"]
    return b"".join([*pieces, b"j" + struct.pack("<I", count), b"."])


@pytest.mark.long
@pytest.mark.parametrize("kind", ["deque", "defaultdict"])
def test_deep_containers_are_refused_before_they_end_the_process(kind, tmp_path):
    file = tmp_path / "deep.pickle"
    file.write_bytes(nested(kind, 50))
    assert (
        type(pickle.loads(file.read_bytes())) is {"deque": deque, "defaultdict": defaultdict}[kind]
    )
    shardpickle.convert(file, tmp_path / "few", progress=False)
    file.write_bytes(nested(kind, 300_000))
    code = (
        "import sys, shardpickle\n"
        "try: shardpickle.convert(sys.argv[1], sys.argv[2], progress=False)\n"
        "except shardpickle.ShardpickleError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, file, tmp_path / "many"], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "nested too deeply" in done.stdout


def test_arrays_count_as_containers(tmp_path):
    deep = deque()
    for _ in range(150):
        array = np.empty(1, object)
        array[0] = deep
        deep = deque([array])
    with pytest.raises(shardpickle.ShardpickleError):
        shardpickle.dump(deep, tmp_path / "model", require_safe=True, progress=False)


# --- Work and memory that is charged ---


def test_trees_that_share_one_state_are_charged_for_their_copies():
    ledger = hardened.Ledger(10_000_000)
    known = names.resolve([("sklearn.tree._tree", "Tree")], names.Callers())
    tree = (
        DecisionTreeClassifier(max_leaf_nodes=4000)
        .fit(np.random.RandomState(0).rand(4000, 3), np.arange(4000) % 7)
        .tree_
    )
    state = tree.__getstate__()
    makers = hardened.Makers(known.values())
    made = hardened.Vetted({}, makers, (), (), lambda instance, state: state, ledger)
    cls = type(tree)
    arguments = tree.__reduce__()[1]

    def grow_many():
        for _ in range(1000):
            made.build(made.call(cls, arguments), state)

    with pytest.raises(shardpickle.CorruptModelError, match="more objects than"):
        grow_many()
    assert ledger.spent < 20_000_000


def test_a_long_range_is_no_list_of_classes(tmp_path):
    model = Ridge().fit(X, LABELS)
    model.places = range(1000)
    shardpickle.dump(model, tmp_path / "short", require_safe=True)
    model.places = range(10**8)
    with pytest.raises(shardpickle.RefusedError, match=r"holds a .*range, where"):
        shardpickle.dump(model, tmp_path / "long", require_safe=True)


def test_metadata_of_megabytes_is_shown_at_once(tmp_path):
    shardpickle.dump([1], tmp_path / "model", metadata={"note": "x" * 5_000_000})
    text = str(shardpickle.inspect(tmp_path / "model"))
    assert len(text) < 20_000
    assert "more letters" in text


# --- What was checked stays as it was ---


def test_no_part_fills_the_containers_of_another():
    other = {"a": 0}
    ledger = hardened.Ledger(None)
    made = hardened.Vetted({}, hardened.Makers(()), (), (other, [1], {2}), lambda a, b: b, ledger)
    for number, (fill, items) in enumerate(
        [(made.update, [("b", 10**9)]), (made.extend, [2]), (made.add, [3])]
    ):
        with pytest.raises(shardpickle.CorruptModelError, match="of another part"):
            fill(made.persistent((number,)), items)
    assert other == {"a": 0}


class Bare(np.ndarray):
    """Nothing of its own."""


def test_a_trusted_array_class_takes_no_bytes_for_objects():
    maker = names.resolve([(__name__, "Bare")], names.Callers([Bare]))[__name__, "Bare"].maker
    assert maker.call is None
    assert maker.new is None


def test_a_trusted_class_keeps_the_methods_of_its_base(tmp_path):
    """Its state may not put a function where scikit-learn looks for its own method."""
    model = Tree(max_depth=2).fit(X, LABELS)
    model._validate_X_predict = np.asarray
    shardpickle.dump(model, tmp_path / "model", progress=False)
    with pytest.raises(shardpickle.RefusedError, match="_validate_X_predict"):
        shardpickle.load(tmp_path / "model", trusted=[Tree])
    model = Tree(max_depth=2).fit(X, LABELS)
    model.helper, model.predict = np.asarray, 0.5
    model.notes = types.SimpleNamespace(a=1)
    shardpickle.dump(model, tmp_path / "model", progress=False)
    assert shardpickle.load(tmp_path / "model", trusted=[Tree]).helper is np.asarray


class Tree(DecisionTreeClassifier):
    """Somebody's own."""


def _holders_of_arrays():
    """What holds arrays or lists that a check of natives reads."""
    labels = LABELS
    sparse = scipy.sparse.csr_matrix(np.round(np.abs(X)))
    yield "csr", sparse
    for form in ("csc", "bsr", "coo", "dia", "lil"):
        yield form, sparse.asformat(form)
    boosted = HistGradientBoostingClassifier(max_iter=3).fit(X, labels)
    yield "histogram boosting", boosted
    yield "predictor", boosted._predictors[0][0]
    yield "forest", RandomForestClassifier(3).fit(X, labels)
    yield "isolation", IsolationForest(n_estimators=3).fit(X)
    yield "boosting", GradientBoostingClassifier(n_estimators=3).fit(X, labels)
    yield "neighbours", KNeighborsClassifier().fit(X, labels)
    yield "neighbours of two", KNeighborsClassifier().fit(X, np.c_[labels, labels])
    yield "one-hot", OneHotEncoder(min_frequency=3).fit(np.round(X))
    yield "linkage", HDBSCAN(copy=True).fit(X)
    yield "bisecting", BisectingKMeans(3).fit(X)
    yield "spline", SplineTransformer().fit(X).bsplines_[0]
    yield "support vectors", SVC().fit(X, labels)
    several = MultiLabelBinarizer().fit([[1, 2], [3]])
    several.transform([[1]])
    yield "many labels", several


HOLDERS = dict(_holders_of_arrays())


@pytest.mark.parametrize("name", HOLDERS)
def test_what_very_many_objects_share_is_read_once(name):
    one = HOLDERS[name]
    with checks.share_run():
        assert checks.find_problem(one, checks.get_checks(type(one))) is None
        read = len(checks.run.known)
        for _ in range(20):
            other = type(one).__new__(type(one))
            other.__dict__.update(vars(one))
            assert checks.find_problem(other, checks.get_checks(type(one))) is None
        assert len(checks.run.known) == read > 0


def test_a_histogram_tree_in_which_two_nodes_share_a_child_is_refused():
    """scikit-learn's partial dependence keeps as many places as there are nodes."""
    one = HOLDERS["predictor"]
    nodes = one.nodes.copy()
    inner = np.flatnonzero(nodes["is_leaf"] == 0)
    nodes["left"][inner[0]] = nodes["right"][inner[0]]
    other = type(one).__new__(type(one))
    other.__dict__.update(vars(one), nodes=nodes)
    found = checks.find_problem(other, checks.get_checks(type(one)))
    assert found is not None
    assert "two parents" in found.text


def _vote():
    members = [("a", LogisticRegression()), ("b", make_pipeline(GaussianNB()))]
    return VotingClassifier(members).fit(X, LABELS)


def test_numbers_that_cannot_be_counted_are_refused(tmp_path):
    """NumPy's bincount adds one to the largest, and writes where it must not."""
    largest = np.array([0, 1, np.iinfo(np.int64).max])
    vote, groups = _vote(), FeatureAgglomeration(3).fit(X)
    for model in (vote, groups):
        back = shardpickle.loads(shardpickle.dumps(model, progress=False), progress=False)
        assert type(back) is type(model)
    vote.estimators_[1][-1].classes_ = largest
    groups.labels_ = np.array([0, 1, 2, 0, 1, largest[-1]])
    for model in (vote, groups):
        with pytest.raises(shardpickle.RefusedError, match="intact"):
            shardpickle.loads(shardpickle.dumps(model, progress=False), progress=False)


@pytest.mark.parametrize(
    ("model", "attribute"),
    [
        (SGDClassifier(average=True), "_average_coef"),
        (SGDClassifier(average=True), "_standard_coef"),
        (SGDRegressor(average=True), "_average_coef"),
        (Lasso(warm_start=True), "coef_"),
        (MiniBatchKMeans(3, random_state=0), "_counts"),
    ],
    ids=str,
)
def test_what_another_fit_writes_to_is_of_the_size_that_it_takes(model, attribute, tmp_path):
    model.fit(X, LABELS)
    shardpickle.dump(model, tmp_path / "sound", progress=False)
    assert shardpickle.load(tmp_path / "sound", progress=False) is not None
    setattr(model, attribute, getattr(model, attribute)[..., :1])
    pickled = tmp_path / "model.pickle"
    pickled.write_bytes(pickle.dumps(model))
    with pytest.raises(shardpickle.RefusedError):
        shardpickle.convert(pickled, tmp_path / "converted", progress=False)
