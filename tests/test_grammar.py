"""What may stand in which attribute: vetted things that no fit puts together are refused."""

import collections
import functools
import logging
import pathlib
import pickle
import re
import types
import warnings
from pathlib import Path

import estimators
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import vet
from graphs import assert_same
from sklearn import linear_model, multioutput, neighbors, pipeline, preprocessing, svm, tree
from sklearn.cluster import BisectingKMeans
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.decomposition import KernelPCA
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    RandomForestClassifier,
    StackingRegressor,
    VotingClassifier,
)
from sklearn.gaussian_process import GaussianProcessRegressor, kernels
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.metrics.pairwise import linear_kernel, rbf_kernel
from sklearn.model_selection import GridSearchCV, RepeatedKFold
from sklearn.pipeline import make_pipeline
from sklearn.utils import Bunch

import shardpickle
from shardpickle.trust import grammar, kinds

X = np.random.RandomState(0).normal(size=(60, 4))
TARGET = X[:, 0]
LABELS = (TARGET > 0).astype(int)
COUNTS = scipy.sparse.csr_matrix(np.round(np.abs(X)))


def changed(model, **attributes):
    vars(model).update(attributes)
    return model


def stacked(**attributes):
    model = StackingRegressor([("a", linear_model.Ridge())], final_estimator=linear_model.Ridge())
    return changed(model.fit(X, TARGET), **attributes)


def function(func, **arguments):
    return preprocessing.FunctionTransformer(func, kw_args=arguments or None)


def boosted(kind=GradientBoostingRegressor, y=TARGET):
    return kind(n_estimators=3, random_state=0).fit(X, y)


def linked(link):
    model = boosted()
    model._loss.link = link
    return model


def many_classes():
    """What `init_` answers has 2000 columns for the caller, and two in its tree."""
    model = boosted(GradientBoostingClassifier, LABELS + (X[:, 1] > 0.5))
    small = tree.DecisionTreeClassifier(max_depth=1).fit(X, LABELS)
    changed(small, n_classes_=np.int64(2000), classes_=np.arange(2000))
    changed(model, n_trees_per_iteration_=2000, n_classes_=2000, classes_=np.arange(2000))
    model._loss.n_classes = 2000
    return changed(model, init_=small, estimators_=np.repeat(model.estimators_[:, :1], 2000, 1))


def look_alike():
    model = svm.SVC().fit(COUNTS, LABELS)
    found = model.support_vectors_
    pointers = np.full_like(found.indptr, 10**9)
    vectors = types.SimpleNamespace(
        shape=found.shape, format="csr", data=found.data, indices=found.indices, indptr=pointers
    )
    return changed(model, support_vectors_=vectors)


def kernel_of_anything(kernel):
    return changed(svm.SVC(kernel=linear_kernel).fit(X, LABELS), kernel=kernel)


def bunches():
    model = BisectingKMeans(3, random_state=0).fit(X)
    node = model._bisecting_tree
    node.left = Bunch(**vars(node.left))
    return model


def beyond_the_grouped():
    words = np.array([["a"]] * 9 + [["b"]] * 9 + [["c"], ["d"], ["e"]], object)
    model = preprocessing.OneHotEncoder(min_frequency=5, drop="first").fit(words)
    model._drop_idx_after_grouping[0] = 4
    return model


WRONG = {
    "a path as an estimator": lambda: stacked(estimators_=[pathlib.PurePosixPath("a")]),
    "a method that deletes": lambda: stacked(stack_method_=["unlink"]),
    "a method in a list of lists": lambda: stacked(stack_method_=[["predict", "__init__"]]),
    "a namespace as an estimator": lambda: stacked(
        estimators_=[types.SimpleNamespace(predict=linear_model.Ridge().fit(X, TARGET).predict)]
    ),
    "a function as an estimator": lambda: stacked(estimators_=[np.sum]),
    "a word as a fitted estimator": lambda: stacked(estimators_=["abc"]),
    "an array as a fitted estimator": lambda: stacked(estimators_=[np.zeros(3)]),
    "a partial as an estimator": lambda: stacked(final_estimator_=functools.partial(np.add, 1)),
    "a pattern in a pipeline": lambda: changed(
        pipeline.make_pipeline(linear_model.Ridge().fit(X, TARGET)), steps=[("a", re.compile("a"))]
    ),
    "a logger in a vote": lambda: changed(
        VotingClassifier([("a", linear_model.LogisticRegression())]).fit(X, LABELS),
        estimators_=[logging.getLogger("a")],
    ),
    "an array's class as a function": lambda: function(np.ndarray),
    "a class of numbers as a function": lambda: function(np.void),
    "memory to write to": lambda: function(np.sum, out=np.zeros(4)),
    "memory to read from": lambda: function(np.cumsum, dtype=np.dtype("O")),
    "memory through a partial": lambda: function(functools.partial(np.sum, out=np.zeros(4))),
    "scores of rows": lambda: function(accuracy_score),
    "a namespace as a link": lambda: linked(types.SimpleNamespace(link=np.max)),
    "a function as a link": lambda: linked(np.max),
    "a method name as a link": lambda: linked("inverse"),
    "classes that a tree does not have": many_classes,
    "a namespace as a sparse matrix": look_alike,
    "a kernel of another size": lambda: kernel_of_anything(np.matmul),
    "a kernel of one number": lambda: kernel_of_anything(functools.partial(np.sum, axis=0)),
    "an array as a radius": lambda: changed(
        neighbors.NearestNeighbors(algorithm="brute").fit(COUNTS), radius=COUNTS.indptr
    ),
    "neighbours of nothing": lambda: changed(
        neighbors.NearestNeighbors(algorithm="brute").fit(X), _fit_X=X[:0], n_samples_fit_=0
    ),
    "bunches as a tree": bunches,
    "a namespace as classes": lambda: changed(
        RandomForestClassifier(2).fit(X, LABELS), classes_=types.SimpleNamespace(take=np.argmax)
    ),
    "a function nobody knows": lambda: changed(linear_model.Ridge().fit(X, TARGET), helper=np.sum),
    "an estimator nobody knows": lambda: changed(
        linear_model.Ridge().fit(X, TARGET), helper=linear_model.Ridge()
    ),
    "a metric that writes into its second argument": lambda: changed(
        neighbors.KNeighborsClassifier(algorithm="brute").fit(X, LABELS), metric=np.exp
    ),
    "a kernel that writes into its second argument": lambda: changed(
        KernelPCA(kernel="rbf").fit(X), kernel=np.exp
    ),
    "a flag that is two": lambda: changed(
        preprocessing.PolynomialFeatures(2).fit(COUNTS), interaction_only=2
    ),
    "a degree without end": lambda: changed(
        preprocessing.PolynomialFeatures(2).fit(X), _max_degree=10**9
    ),
    "another number of terms": lambda: changed(
        preprocessing.PolynomialFeatures(3).fit(COUNTS), n_output_features_=3
    ),
    "a category beyond those that are grouped": beyond_the_grouped,
    "a scorer as a transformer": lambda: changed(
        preprocessing.FunctionTransformer(), func=make_scorer(accuracy_score)
    ),
    "a chain that calls fit": lambda: changed(
        multioutput.ClassifierChain(linear_model.LogisticRegression()).fit(
            X, np.column_stack([LABELS, LABELS])
        ),
        chain_method_="fit",
    ),
}


def load(path, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return shardpickle.load(path, progress=False, **options)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("name", WRONG)
def test_what_no_fit_puts_together_is_refused(name, lazy, tmp_path):
    path = tmp_path / "model"
    report = shardpickle.dump(WRONG[name](), path, progress=False)
    assert report.needs_trust or report.needs_unsafe
    with pytest.raises(shardpickle.RefusedError) as caught:
        shardpickle.materialize(load(path, lazy=lazy))
    text = str(caught.value)
    assert "is intact" in text
    assert "unsafe=True" in text
    assert shardpickle.verify(path, deep=True).needs_trust == report.needs_trust
    with pytest.raises(shardpickle.RefusedError):
        shardpickle.dump(WRONG[name](), tmp_path / "safe", require_safe=True)


@pytest.mark.parametrize("name", WRONG)
def test_what_is_announced_loads(name, tmp_path):
    """The names of the report, or unsafe=True where nothing but that is offered."""
    model = WRONG[name]()
    report = shardpickle.dump(model, tmp_path / "model", progress=False)
    options = {"unsafe": True} if report.needs_unsafe else {"trusted": report.needs_trust}
    assert_same(load(tmp_path / "model", **options), pickle.loads(pickle.dumps(model)))


@pytest.mark.long
@pytest.mark.parametrize("name", WRONG)
def test_the_same_in_a_pickle(name, tmp_path):
    file = tmp_path / "model.pickle"
    file.write_bytes(pickle.dumps(WRONG[name]()))
    with pytest.raises(shardpickle.UntrustedTypeError):
        shardpickle.convert(file, tmp_path / "model", progress=False)
    assert not (tmp_path / "model").exists()


def test_the_refusal_names_the_attribute_and_what_may_stand_there(tmp_path):
    shardpickle.dump(stacked(estimators_=[pathlib.PurePosixPath("a")]), tmp_path / "model")
    with pytest.raises(shardpickle.RefusedError) as caught:
        load(tmp_path / "model")
    text = str(caught.value)
    assert "StackingRegressor.estimators_ holds a pathlib.PurePosixPath" in text
    assert "only these are allowed: estimator" in text
    assert "trusted=['pathlib.PurePosixPath']" in text


SOUND = {
    "data of one's own": lambda: changed(
        linear_model.Ridge().fit(X, TARGET),
        threshold=0.5,
        names=["a", "b"],
        table={"a": [np.arange(3), ("b", 1.5)]},
        frame=pd.DataFrame({"a": [1, 2]}),
        rare=scipy.sparse.eye(2).tocsr(),
        made=np.array(["x", None], object),
        state=np.random.RandomState(0),
    ),
    "a function of rows": lambda: function(np.log1p),
    "rows of another type": lambda: function(np.asarray, dtype=np.float32),
    "rows of another shape": lambda: function(np.reshape, shape=(-1, 1)),
    "a function and its arguments": lambda: function(np.clip, a_min=0, a_max=1),
    "columns by their types": lambda: ColumnTransformer(
        [
            (
                "a",
                "drop",
                make_column_selector(dtype_include=[bool, "category"], dtype_exclude=[object]),
            )
        ],
        remainder=make_pipeline(preprocessing.StandardScaler()),
    ).fit(pd.DataFrame({"a": [True, False], "b": [1.0, 2.0]})),
    "kernels of kernels": lambda: GaussianProcessRegressor(
        (kernels.RBF() + kernels.WhiteKernel()) ** 2 * kernels.PairwiseKernel(metric="rbf"),
        optimizer=None,
    ).fit(X, TARGET),
    "compound kernels": lambda: kernels.CompoundKernel([kernels.RBF(), kernels.Matern()]),
    "repeated splits": lambda: GridSearchCV(
        linear_model.Ridge(), {"alpha": [1.0]}, cv=RepeatedKFold(n_splits=2, n_repeats=2)
    ).fit(X, TARGET),
    "columns of objects": lambda: make_column_selector(dtype_include=object),
    "columns of numbers": lambda: ColumnTransformer(
        [("a", preprocessing.StandardScaler(), make_column_selector(dtype_include=np.number))]
    ).fit(pd.DataFrame({"a": ["x", "y"], "b": [1.0, 2.0]})),
    "a partial": lambda: function(functools.partial(np.round, decimals=2)),
    "a kernel": lambda: svm.SVC(kernel=rbf_kernel).fit(X, LABELS),
    "neighbours by weights": lambda: neighbors.KNeighborsRegressor(
        weights=np.reciprocal, metric="manhattan"
    ).fit(X, TARGET),
    "generators": lambda: RandomForestClassifier(3, random_state=np.random.RandomState(0)).fit(
        X, LABELS
    ),
    "dropped and passed through": lambda: VotingClassifier(
        [("a", linear_model.LogisticRegression()), ("b", "drop")]
    ).fit(X, LABELS),
    "sparse coefficients": lambda: (
        linear_model.SGDClassifier(random_state=0).fit(X, LABELS).sparsify()
    ),
    "what belongs to nobody": lambda: {
        "path": pathlib.PurePosixPath("a"),
        "pattern": re.compile("a"),
        "models": [linear_model.Ridge(), np.sum],
        "more": collections.deque([types.SimpleNamespace(a=1)]),
    },
}


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")  # of libraries, about what is fitted here
@pytest.mark.parametrize("name", SOUND)
def test_what_fits_leave_loads_by_default(name, tmp_path):
    model = SOUND[name]()
    report = shardpickle.dump(model, tmp_path / "model", progress=False, require_safe=True)
    assert not report.needs_trust
    found = load(tmp_path / "model")
    assert_same(found, pickle.loads(pickle.dumps(model)))


def test_a_subclass_that_is_trusted_keeps_the_rules_of_its_base(tmp_path):
    """The classes of a caller may hold what they like, but not where scikit-learn looks."""
    shardpickle.dump(changed(Stack([("a", linear_model.Ridge())]), mine=np.sum), tmp_path / "a")
    trusted = {"trusted": [Stack]}
    assert load(tmp_path / "a", **trusted).mine is np.sum
    model = Stack([("a", linear_model.Ridge())], final_estimator=linear_model.Ridge())
    model = changed(model.fit(X, TARGET), estimators_=[pathlib.PurePosixPath("a")])
    shardpickle.dump(model, tmp_path / "b")
    with pytest.raises(shardpickle.RefusedError, match="estimators_ holds"):
        load(tmp_path / "b", **trusted)


class Stack(StackingRegressor):
    """Somebody's own."""


def test_a_container_is_walked_once_for_all_that_hold_it(monkeypatch):
    words = {str(each): each for each in range(1000)}
    held = [changed(linear_model.Ridge(), words=words) for _ in range(100)]
    steps = []
    original = kinds.kind_of
    monkeypatch.setattr(grammar, "kind_of", lambda value: steps.append(1) or original(value))
    seen = {}
    for each in held:
        assert grammar.find_misplaced(each, lambda thing: False, seen) is None
    assert len(steps) < 4000


def test_a_container_that_holds_itself_ends():
    loop = [1]
    loop.append(loop)
    assert grammar.find_misplaced(changed(linear_model.Ridge(), loop=loop), bool, {}) is None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [name for name, _ in estimators.everything()])
def test_swapped_things_are_refused_in_every_estimator(name):
    """An estimator in the place of data, and a path in the place of an estimator."""
    model, _ = estimators.fitted(name, dict(estimators.everything())[name])
    model = pickle.loads(pickle.dumps(model))
    assert grammar.find_misplaced(model, lambda thing: False, {}) is None
    for attribute, value in list(vars(model).items()):
        for wrong in (pathlib.PurePosixPath("a"), types.SimpleNamespace(), len):
            vars(model)[attribute] = wrong
            found = grammar.find_misplaced(model, lambda thing: False, {})
            assert found is not None or not _is_refusable(model, attribute, wrong)
        vars(model)[attribute] = value


def _is_refusable(model, attribute, wrong):
    kinds = grammar.get_row(type(model)).kinds.get(attribute, ())
    return "any" not in kinds and not (wrong is len and "function" in kinds)


def test_the_page_shows_the_table():
    page = Path(__file__).parents[1].joinpath("docs", "places.md").read_text()
    assert page.partition(vet.HEADING)[2] == vet.page_of_places()
