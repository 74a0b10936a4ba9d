"""Valid pieces wrongly put together: what compiled code would trust, and the call that trusts it.

Small models are fitted, their attributes are spoilt, and `writer` puts them into a directory. The
cases called "sane" are spoilt in nothing: they show that others are refused for the right reason.
"""

import contextlib
import functools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import writer
from case import Case
from scipy.interpolate import BSpline
from sklearn import (
    cluster,
    decomposition,
    dummy,
    ensemble,
    feature_extraction,
    feature_selection,
    frozen,
    isotonic,
    kernel_approximation,
    linear_model,
    mixture,
    neighbors,
    pipeline,
    preprocessing,
    semi_supervised,
    svm,
    tree,
)
from sklearn.cluster import _kmeans
from sklearn.metrics import pairwise, pairwise_distances_argmin
from writer import Made

REFUSED = frozenset({"refused"})
LOADED = frozenset({"loaded"})
RAISES = frozenset({"refused", "used-raised"})
HARMLESS = frozenset({"refused", "used-raised", "loaded"})
FAR = 10**9  # an index that is nobody's memory

CASES: dict[str, Case] = {}

RANDOM = np.random.RandomState(0)
X = RANDOM.normal(size=(120, 4))
Y = X[:, 0] + 0.1 * RANDOM.normal(size=120)
LABELS = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0.5)
TWO = (X[:, 0] > 0).astype(int)
COUNTS = sp.csr_matrix(RANDOM.poisson(0.5, size=(120, 4)).astype(float))
WORDS = ["the cat sat", "a dog ran far", "the dog sat", "no cat ran"]

Build = Callable[[], Any]
Use = Callable[[Any], Any]


def case(name: str, use: Use | None, may: frozenset[str] = REFUSED) -> Callable[[Build], Build]:
    """The model that the function builds, loaded, and then used so."""

    def known(build: Build) -> Build:
        assert name not in CASES, name
        CASES[name] = Case(lambda path: _write(path, build), use and _quiet(use), may)
        return build

    return known


def _quiet(use: Use) -> Use:
    """The global generator is drawn from by models that have no seed; it is left as it was."""

    def used(model: Any) -> None:
        state = np.random.get_state()
        try:
            use(model)
        finally:
            np.random.set_state(state)

    return used


def _write(path: Path, build: Build) -> None:
    writer.model(path, build())


def family(
    name: str,
    fitted: Build,
    spoils: dict[str, Callable[[Any], Any] | dict[str, Any]],
    use: Use,
    may: frozenset[str] = REFUSED,
) -> None:
    """One case for each way to spoil a fitted model: new attributes, or a function of the model."""
    for what, spoil in spoils.items():
        case(f"{name}: {what}", use, may)(lambda spoil=spoil: _spoilt(fitted(), spoil))


def _spoilt(model: Any, spoil: Any) -> Any:
    if isinstance(spoil, dict):
        model.__dict__.update(spoil)
        return model
    found = spoil(model)
    return model if found is None else found


def predict(model: Any) -> None:
    model.predict(X)


def predict_wide(model: Any) -> None:
    model.predict(np.repeat(X, 250, axis=0))


def proba(model: Any) -> None:
    model.predict_proba(X)


def transform(model: Any) -> None:
    found = model.transform(X)
    np.asarray(found.toarray() if sp.issparse(found) else found).sum()


def same(built: Build, method: str = "predict", data: Any = X) -> Use:
    """The loaded model says what the fitted one says."""

    def use(model: Any) -> None:
        expected, found = (getattr(each, method)(data) for each in (built(), model))
        expected, found = (
            each.toarray() if sp.issparse(each) else each for each in (expected, found)
        )
        np.testing.assert_array_equal(found, expected)

    return use


def sane(name: str, built: Build, method: str = "predict", data: Any = X) -> None:
    case(f"sane {name}", same(built, method, data), LOADED)(built)


def without(name: str) -> Callable[[Any], None]:
    def spoil(model: Any) -> None:
        del model.__dict__[name]

    return spoil


# Trees -------------------------------------------------------------------------------------------


def a_tree() -> Any:
    return tree.DecisionTreeRegressor(random_state=0).fit(X, Y)


def a_forest(cls: type = ensemble.RandomForestRegressor, **options: Any) -> Any:
    y = LABELS if "Classifier" in cls.__name__ else Y
    return cls(n_estimators=3, random_state=0, **options).fit(X, y)


def lied(found: Any, args: Any = None, **state: Any) -> Made:
    """A tree of other arguments or another state."""
    cls, own, was = found.__reduce__()
    return Made(cls, args or own, {**was, **state})


def nodes_of(found: Any, **fields: Any) -> np.ndarray:
    """Nodes whose inner ones have other fields."""
    nodes = found.__getstate__()["nodes"].copy()
    inner = nodes["left_child"] != -1
    for name, value in fields.items():
        nodes[name][inner] = value
    return nodes


def lie(**options: Any) -> Callable[[Any], None]:
    """Spoil `tree_` by functions of the tree, or by values."""

    def spoil(model: Any) -> None:
        own = model.tree_
        known = {name: make(own) if callable(make) else make for name, make in options.items()}
        model.tree_ = lied(own, known.pop("args", None), **known)

    return spoil


def node(**fields: Any) -> Callable[[Any], np.ndarray]:
    return lambda found: nodes_of(found, **fields)


def loop(found: Any) -> np.ndarray:
    nodes = nodes_of(found)
    inner = np.flatnonzero(nodes["left_child"] != -1)
    nodes["left_child"][inner[1:]] = nodes["right_child"][inner[1:]] = 1
    return nodes


def swapped(dtype: Any) -> Callable[[Any], np.ndarray]:
    return lambda found: nodes_of(found).astype(dtype)


REORDERED = np.dtype([(n, t) for n, t in reversed(tree._tree.NODE_DTYPE.descr) if n])

SPOILT_TREES = {
    "a cycle": lie(nodes=loop),
    "children out of range": lie(nodes=node(left_child=FAR)),
    "right children out of range": lie(nodes=node(right_child=1 << 40)),
    "negative children": lie(nodes=node(left_child=-5)),
    "children -2": lie(nodes=node(right_child=-2)),
    "features out of range": lie(nodes=node(feature=FAR)),
    "negative features": lie(nodes=node(feature=-FAR)),
    "one feature too many": lie(nodes=node(feature=4)),
    "more nodes than there are": lie(node_count=1 << 20),
    "fewer nodes": lie(node_count=1),
    "no nodes": lie(node_count=0, nodes=lambda t: nodes_of(t)[:0], values=np.zeros((0, 1, 1))),
    "half of the nodes": lie(nodes=lambda t: nodes_of(t)[: t.node_count // 2]),
    "half of the values": lie(values=lambda t: t.value[: t.node_count // 2].copy()),
    "values of another shape": lie(values=lambda t: t.value.reshape(1, -1, 1).copy()),
    "values of floats": lie(values=lambda t: t.value.astype("f4")),
    "more outputs": lie(args=lambda t: (4, np.ones(1000, np.intp), 1000)),
    "more classes": lie(args=lambda t: (4, np.array([1 << 20], np.intp), 1)),
    "negative classes": lie(args=lambda t: (4, np.array([-1], np.intp), 1)),
    "fewer classes than outputs": lie(args=lambda t: (4, np.ones(1, np.intp), 1 << 19)),
    "no outputs": lie(args=lambda t: (4, np.ones(0, np.intp), 0)),
    "classes of another type": lie(args=lambda t: (4, np.ones(1, np.int16), 1)),
    "nodes in another order of fields": lie(nodes=swapped(REORDERED)),
    "packed nodes": lie(nodes=swapped([(n, t) for n, t in tree._tree.NODE_DTYPE.descr if n])),
    "nodes of two dimensions": lie(nodes=lambda t: nodes_of(t).reshape(1, -1)),
    "no state": lambda m: m.__dict__.update(tree_=Made(*m.tree_.__reduce__()[:2])),
    "a list as state": lambda m: m.__dict__.update(tree_=Made(*m.tree_.__reduce__()[:2], [1])),
    "missing n_features_in_": without("n_features_in_"),
    **{
        f"n_features_in_ {value!r}": {"n_features_in_": value}
        for value in (2, "4", 4.0, None, -4, 0, np.int64(1 << 62), 1 << 80, True)
    },
    "n_features_in_ an array": {"n_features_in_": np.array([4])},
    "n_features_in_ a scalar of floats": {"n_features_in_": np.float64(4)},
    "a tree of more features": lie(args=lambda t: (FAR, np.ones(1, np.intp), 1)),
}


def deep_tree() -> Any:
    line = np.arange(64.0)[:, None]
    return tree.DecisionTreeRegressor(random_state=0).fit(line, 2.0 ** np.arange(64))


def path_of_many(model: Any) -> None:
    model.decision_path(np.full((200_000, 1), 0.0)).toarray()


def apply_all(model: Any) -> None:
    for method in (model.predict, model.apply, model.decision_path):
        method(X)


sane("tree", a_tree)
sane("deep tree", deep_tree, data=np.arange(64.0)[:, None])
family("tree", a_tree, SPOILT_TREES, apply_all)
family(
    "tree",
    deep_tree,
    {
        "max_depth 0, decision_path": lie(max_depth=0),
        "max_depth 1, decision_path": lie(max_depth=1),
        "max_depth one too few, decision_path": lie(max_depth=lambda t: t.max_depth - 1),
    },
    path_of_many,
)
family(
    "tree",
    a_tree,
    {"max_depth too large": lie(max_depth=lambda t: t.max_depth + 3)},
    apply_all,
    LOADED,
)
family(
    "tree",
    a_tree,
    {"max_depth negative": lie(max_depth=-1), "max_depth huge": lie(max_depth=1 << 40)},
    apply_all,
)


def far_tree(like: Any = None, features: int = FAR) -> Any:
    """A sound tree of very many features, and its splits look at the last one."""
    model = like or a_tree()
    found = model.tree_
    args = (features, *found.__reduce__()[1][1:])
    model.tree_ = lied(found, args, nodes=nodes_of(found, feature=features - 1))
    model.n_features_in_ = features
    return model


def foreign(model: Any) -> None:
    for place, estimator in enumerate(model.estimators_):
        model.estimators_[place] = far_tree(estimator)


def frozen_trees(model: Any) -> None:
    model.estimators_ = [frozen.FrozenEstimator(far_tree(each)) for each in model.estimators_]


def decoys(model: Any) -> None:
    found = []
    for each in model.estimators_:
        ice = frozen.FrozenEstimator(None)
        ice.tree_ = each.tree_
        ice.n_features_in_ = 4
        ice.estimator = far_tree(tree.DecisionTreeRegressor(random_state=0).fit(X, Y))
        found.append(ice)
    model.estimators_ = found


def narrowing(model: Any) -> None:
    first = feature_selection.SelectKBest(k=1).fit(X, LABELS)
    model.estimators_ = [
        pipeline.Pipeline([("narrow", first), ("tree", far_tree(each))])
        for each in model.estimators_
    ]


FORESTS = {
    "foreign trees": foreign,
    "fewer features than its trees": {"n_features_in_": 2},
    "missing n_features_in_": without("n_features_in_"),
    "methods of X's checks are other functions": lambda m: _unchecked(m),
    "one foreign tree, in a tuple": lambda m: m.__dict__.update(
        estimators_=(*m.estimators_[1:], far_tree(m.estimators_[0]))
    ),
    "estimators_ a dict": lambda m: m.__dict__.update(estimators_={far_tree(m.estimators_[0]): 1}),
}


WRAPPED = {
    "frozen foreign trees": frozen_trees,
    "frozen foreign trees with a decoy": decoys,
    "pipelines that narrow X": narrowing,
}


def _unchecked(model: Any) -> None:
    """Its trees are sound, but where X's width would be checked, numbers are added to X."""
    for each in model.estimators_:
        far_tree(each)._validate_X_predict = np.add
    model.n_features_in_ = FAR
    model._validate_X_predict = np.absolute


def predict_any(model: Any) -> None:
    model.predict(X.astype(np.float32))


def an_unchecked_tree() -> Any:
    model = far_tree()
    model._validate_X_predict = np.add
    return model


case("tree: the method that checks X is another function", predict_any)(an_unchecked_tree)


for _cls in (
    ensemble.RandomForestRegressor,
    ensemble.RandomForestClassifier,
    ensemble.ExtraTreesRegressor,
):
    sane(_cls.__name__, lambda cls=_cls: a_forest(cls))
    family(_cls.__name__, lambda cls=_cls: a_forest(cls), FORESTS, predict_any)
    family(_cls.__name__, lambda cls=_cls: a_forest(cls), WRAPPED, predict_any, RAISES)


def an_embedding() -> Any:
    return ensemble.RandomTreesEmbedding(n_estimators=3, max_depth=2, random_state=0).fit(X)


sane("embedding", an_embedding, "transform")
family(
    "RandomTreesEmbedding",
    an_embedding,
    {"foreign trees": foreign},
    transform,
)
family("RandomTreesEmbedding", an_embedding, WRAPPED, transform, RAISES)


def an_isolation(**options: Any) -> Any:
    return ensemble.IsolationForest(n_estimators=3, random_state=0, **options).fit(X)


def few_isolation() -> Any:
    return an_isolation(max_features=0.5)


def score(model: Any) -> None:
    model.score_samples(X)


ISOLATION = {
    "foreign trees": foreign,
    "another _max_features": {"_max_features": 3},
    "_max_features a float": {"_max_features": 2.0},
    "subsets of one feature": lambda m: m.__dict__.update(
        estimators_features_=[np.array([0])] * 3, _max_features=1
    ),
    "fewer subsets": lambda m: m.__dict__.update(estimators_features_=m.estimators_features_[:1]),
    "missing subsets": without("estimators_features_"),
    "missing n_features_in_": without("n_features_in_"),
}
sane("isolation forest", an_isolation, "score_samples")
sane("isolation forest of subsets", few_isolation, "score_samples")
family("IsolationForest", an_isolation, ISOLATION, score)
family("IsolationForest", an_isolation, WRAPPED, score, RAISES)
family("IsolationForest of subsets", few_isolation, ISOLATION, score)


def a_bagging() -> Any:
    return ensemble.BaggingRegressor(n_estimators=3, random_state=0, max_features=0.5).fit(X, Y)


def an_adaboost() -> Any:
    return ensemble.AdaBoostRegressor(n_estimators=3, random_state=0).fit(X, Y)


sane("bagging", a_bagging)
sane("adaboost", an_adaboost)
family("Bagging", a_bagging, {"foreign trees": foreign}, predict, RAISES)
family("AdaBoost", an_adaboost, {"foreign trees": foreign}, predict, RAISES)


# Gradient boosting -------------------------------------------------------------------------------


def a_boosting(**options: Any) -> Any:
    cls = ensemble.GradientBoostingClassifier
    return cls(n_estimators=3, random_state=0, **options).fit(X, LABELS)


def a_regression(**options: Any) -> Any:
    cls = ensemble.GradientBoostingRegressor
    return cls(n_estimators=3, random_state=0, **options).fit(X, Y)


def all_stages(model: Any) -> None:
    data = np.repeat(X, 1000, axis=0)
    model.predict(data)
    for _ in model.staged_predict(data):
        pass
    model.apply(data)


def columns(count: int, **more: Any) -> Callable[[Any], None]:
    def spoil(model: Any) -> None:
        model.estimators_ = np.repeat(model.estimators_[:, :1], count, axis=1)
        model.__dict__.update(more)

    return spoil


def filled(make: Callable[[Any], Any]) -> Callable[[Any], None]:
    def spoil(model: Any) -> None:
        for place in np.ndindex(model.estimators_.shape):
            model.estimators_[place] = make(model.estimators_[place])

    return spoil


def multi_output(_: Any) -> Any:
    return tree.DecisionTreeRegressor(max_depth=2).fit(X, np.c_[Y, Y, Y])


def decoy_of(estimator: Any) -> Any:
    """Its tree is the ensemble's, but X is checked by another one."""
    far = far_tree(estimator)
    ice = frozen.FrozenEstimator(tree.DecisionTreeRegressor(random_state=0).fit(X, Y))
    ice.tree_, ice.n_features_in_ = far.tree_, FAR
    return ice


def all_decoys(model: Any) -> None:
    filled(decoy_of)(model)
    model.n_features_in_ = FAR


def few_rows() -> Any:
    """Predicts one row, whatever X is."""
    narrow = preprocessing.FunctionTransformer(func=np.percentile, kw_args={"q": [50.0], "axis": 0})
    return pipeline.Pipeline(
        [("narrow", narrow.fit(X)), ("dummy", dummy.DummyRegressor().fit(X, Y))]
    )


def loss_of(make: Build, **more: Any) -> Callable[[Any], None]:
    def spoil(model: Any) -> None:
        model._loss = make()._loss
        model._loss.__dict__.update(more)

    return spoil


BOOSTINGS = {
    "500 columns": columns(500),
    "500 columns and n_trees_per_iteration_": columns(500, n_trees_per_iteration_=500),
    "n_trees_per_iteration_ 500": {"n_trees_per_iteration_": 500},
    "n_trees_per_iteration_ a float": {"n_trees_per_iteration_": 3.0},
    "missing n_trees_per_iteration_": without("n_trees_per_iteration_"),
    "one dimension": lambda m: m.__dict__.update(estimators_=m.estimators_[:, 0].copy()),
    "no rows": lambda m: m.__dict__.update(estimators_=m.estimators_[:0].copy()),
    "a list": lambda m: m.__dict__.update(estimators_=m.estimators_.tolist()),
    "other objects": filled(lambda each: "tree"),
    "trees instead of estimators": filled(lambda each: each.tree_),
    "trees of several outputs": filled(multi_output),
    "foreign trees": filled(far_tree),
    "_loss of a regression": loss_of(a_regression),
    "_loss of a regression that says it has classes": loss_of(a_regression, n_classes=3),
    "init_ of two classes": lambda m: m.__dict__.update(
        init_=dummy.DummyClassifier(strategy="prior").fit(X, TWO)
    ),
    "init_ of fewer rows": lambda m: m.__dict__.update(
        init_=pipeline.Pipeline([few_rows().steps[0], ("dummy", m.init_)])
    ),
    "init_ of two classes, 500 columns": lambda m: (
        columns(500, n_trees_per_iteration_=500)(m) or m._loss.__dict__.update(n_classes=500)
    ),
}


def unchecked_boosting(model: Any) -> None:
    """X is made as narrow as it has rows."""
    wide = 10_000_000
    filled(lambda each: far_tree(each, wide))(model)
    model.n_features_in_ = wide
    narrow = functools.partial(pairwise.pairwise_kernels, filter_params=True)
    model.estimators_[0, 0]._validate_X_predict = narrow


sane("gradient boosting", a_boosting)
family(
    "GradientBoosting",
    a_boosting,
    {"the method that checks X is another function": unchecked_boosting},
    lambda m: m.predict(np.zeros((2, 10_000_000), np.float32)),
)
family(
    "GradientBoosting",
    a_boosting,
    {
        "decoys whose X is checked elsewhere": all_decoys,
        "init_ of a regression": lambda m: m.__dict__.update(
            init_=dummy.DummyRegressor().fit(X, Y)
        ),
    },
    all_stages,
    RAISES,
)
sane("gradient boosting, zero", lambda: a_boosting(init="zero"))
sane("boosted regression", a_regression)
family("GradientBoosting", a_boosting, BOOSTINGS, all_stages)
family(
    "GradientBoosting from zero",
    lambda: a_boosting(init="zero"),
    {
        "500 columns": columns(500),
        "foreign trees": filled(far_tree),
        "n_trees_per_iteration_ 1": {"n_trees_per_iteration_": 1},
        "init_ is the classifier's": lambda m: m.__dict__.update(
            init_=dummy.DummyClassifier(strategy="prior").fit(X, TWO)
        ),
    },
    all_stages,
)
family(
    "GradientBoosting from zero",
    lambda: a_boosting(init="zero"),
    {"init_ another word": {"init_": "one"}},
    all_stages,
    RAISES,
)
family(
    "GradientBoostingRegressor",
    a_regression,
    {
        "several outputs": filled(multi_output),
        "foreign trees": filled(far_tree),
        "init_ of fewer rows": {"init_": few_rows()},
        "two columns": columns(500, n_trees_per_iteration_=500),
    },
    all_stages,
)


# Histogram boosting ------------------------------------------------------------------------------


def a_hist(**options: Any) -> Any:
    cls = ensemble.HistGradientBoostingRegressor
    return cls(max_iter=3, random_state=0, min_samples_leaf=5, **options).fit(X, Y)


def categories() -> np.ndarray:
    return np.c_[X[:, :3], np.arange(120) % 7]


def a_categorical() -> Any:
    cls = ensemble.HistGradientBoostingRegressor
    y = np.where(np.isin(np.arange(120) % 7, (1, 3, 4)), 5.0, 0.0)
    return cls(max_iter=2, categorical_features=[3], min_samples_leaf=5).fit(categories(), y)


def histogram(**fields: Any) -> Callable[[Any], None]:
    """Other fields of the inner nodes of all predictors."""

    def spoil(model: Any) -> None:
        for iteration in model._predictors:
            for predictor in iteration:
                inner = predictor.nodes["is_leaf"] == 0
                for name, value in fields.items():
                    predictor.nodes[name][inner] = value

    return spoil


def predictor(**attributes: Any) -> Callable[[Any], None]:
    def spoil(model: Any) -> None:
        for iteration in model._predictors:
            for each in iteration:
                own = {
                    name: make(getattr(each, name)) if callable(make) else make
                    for name, make in attributes.items()
                }
                each.__dict__.update(own)

    return spoil


def mapper(**attributes: Any) -> Callable[[Any], None]:
    return lambda model: model._bin_mapper.__dict__.update(attributes)


def hist_decoys(model: Any) -> None:
    """What is checked is a decoy's; what predicts is another predictor."""
    for iteration in model._predictors:
        for place, each in enumerate(iteration):
            ice = frozen.FrozenEstimator(None)
            ice.nodes = each.nodes.copy()
            each.nodes["feature_idx"][each.nodes["is_leaf"] == 0] = FAR
            ice.estimator = each
            iteration[place] = ice


def narrow_preprocessor(model: Any) -> None:
    wide = 1_000_000
    histogram(feature_idx=wide - 1)(model)
    model._preprocessor = preprocessing.FunctionTransformer(
        func=pairwise.linear_kernel, validate=False
    ).fit(X)
    model.n_features_in_ = wide
    model._bin_mapper.__dict__.update(
        is_categorical_=np.zeros(wide, np.uint8),
        bin_thresholds_=[None] * wide,
    )


def _packed(nodes: np.ndarray) -> np.ndarray:
    return nodes.astype(list(reversed(nodes.dtype.descr)))


def _fewer(nodes: np.ndarray) -> np.ndarray:
    return nodes[
        ["left", "right", "feature_idx", "is_leaf", "is_categorical", "bitset_idx"]
    ].astype(
        [(n, nodes.dtype[n]) for n in ("left", "right", "feature_idx", "is_leaf")]
        + [("is_categorical", "u1"), ("bitset_idx", "u4")]
    )


HISTOGRAMS: dict[str, Any] = {
    "feature_idx out of range": histogram(feature_idx=FAR),
    "feature_idx negative": histogram(feature_idx=-FAR),
    "feature_idx one too many": histogram(feature_idx=4),
    "left out of range": histogram(left=FAR),
    "right out of range": histogram(right=(1 << 32) - 1),
    "a cycle": histogram(left=0, right=0),
    "right to itself": histogram(right=1),
    "categorical without bitsets": histogram(is_categorical=1),
    "bitset_idx without bitsets": histogram(is_categorical=1, bitset_idx=FAR),
    "n_features_in_ 1": {"n_features_in_": 1},
    "missing n_features_in_": without("n_features_in_"),
    "n_features_in_ 5": {"n_features_in_": 5},
    "nodes in another order of fields": predictor(nodes=_packed),
    "nodes of fewer fields": predictor(nodes=_fewer),
    "no nodes": predictor(nodes=lambda nodes: nodes[:0].copy()),
    "nodes of two dimensions": predictor(nodes=lambda nodes: nodes.reshape(1, -1)),
    "nodes of bytes": predictor(nodes=lambda nodes: nodes.view("u1").copy()),
    "is_categorical_ short": mapper(is_categorical_=np.zeros(1, np.uint8)),
    "is_categorical_ a list": mapper(is_categorical_=[0, 0, 0, 0]),
    "missing is_categorical_": lambda m: without("is_categorical_")(m._bin_mapper),
    "bin_thresholds_ short": mapper(bin_thresholds_=[np.zeros(3)]),
    "categories out of range": mapper(
        is_categorical_=np.ones(4, np.uint8), bin_thresholds_=[np.array([1e9])] * 4
    ),
    "categories negative": mapper(
        is_categorical_=np.ones(4, np.uint8), bin_thresholds_=[np.array([-1e9])] * 4
    ),
    "decoys": hist_decoys,
    "a preprocessor that narrows X": narrow_preprocessor,
    "no mapper": without("_bin_mapper"),
}


def hist_predict(model: Any) -> None:
    width = model.__dict__.get("n_features_in_", 4)
    data = X if width < 6 else np.zeros((2, width))
    model.predict(data)


def predict_bytes(model: Any) -> None:
    model.predict(np.zeros((50, 1), np.uint8))


sane("histogram boosting", a_hist)
sane("histogram boosting of categories", a_categorical, data=categories())
family("HistGradientBoosting", a_hist, HISTOGRAMS, hist_predict)
family(
    "HistGradientBoosting of categories",
    a_categorical,
    {
        "bitset_idx out of range": histogram(bitset_idx=FAR),
        "bitset_idx one too many": histogram(bitset_idx=50),
        "raw_left_cat_bitsets short": predictor(raw_left_cat_bitsets=lambda b: b[:0].copy()),
        "raw_left_cat_bitsets narrow": predictor(raw_left_cat_bitsets=lambda b: b[:, :1].copy()),
        "raw_left_cat_bitsets missing": predictor(raw_left_cat_bitsets=None),
        "binned_left_cat_bitsets short": predictor(binned_left_cat_bitsets=lambda b: b[:0].copy()),
        "no known categories": mapper(is_categorical_=np.zeros(4, np.uint8)),
    },
    lambda m: m.predict(categories()),
)
family(
    "HistGradientBoosting in the middle of a fit",
    a_hist,
    {
        "X is never checked": lambda m: (
            m.__dict__.update(_in_fit=True)
            or predictor(
                nodes=lambda nodes: _last_feature(nodes),
            )(m)
            or m.__dict__.update(
                n_features_in_=1 << 18,
                _bin_mapper=_wide_mapper(m._bin_mapper, 1 << 18),
            )
        )
    },
    predict_bytes,
)


def _last_feature(nodes: np.ndarray) -> np.ndarray:
    found = nodes.copy()
    found["feature_idx"][found["is_leaf"] == 0] = (1 << 18) - 1
    return found


def _wide_mapper(found: Any, wide: int) -> Any:
    found.is_categorical_ = np.zeros(wide, np.uint8)
    found.bin_thresholds_ = [found.bin_thresholds_[0]] * wide
    found.missing_values_bin_idx_ = 255
    return found


# k-d and ball trees ------------------------------------------------------------------------------

NAMES = (
    *("data", "idx_array", "node_data", "node_bounds", "leaf_size", "n_levels", "n_nodes"),
    *("n_trims", "n_leaves", "n_splits", "n_calls", "dist_metric", "sample_weight"),
)


def neighbours(cls: type = neighbors.KDTree, of: np.ndarray = X, **options: Any) -> Any:
    return cls(of, leaf_size=5, **options)


def neighbour(cls: type = neighbors.KDTree, of: np.ndarray = X, **fields: Any) -> Build:
    """A tree whose state has other members."""
    options = fields.pop("options", {})

    def build() -> Any:
        own, args, state = neighbours(cls, of, **options).__reduce__()
        held = dict(zip(NAMES, state, strict=True))
        changed = {
            name: make(held[name]) if callable(make) else make for name, make in fields.items()
        }
        return Made(own, args, tuple({**held, **changed}.values()))

    return build


def altered(**fields: Any) -> Callable[[np.ndarray], np.ndarray]:
    def change(nodes: np.ndarray) -> np.ndarray:
        found = nodes.copy()
        for name, value in fields.items():
            found[name] = value
        return found

    return change


def query(found: Any) -> None:
    width = np.asarray(found.data).shape[1]
    found.query(X[:, :width], k=3)
    found.query_radius(X[:, :width], 0.5)
    found.kernel_density(X[:, :width], 0.5)


def metric(vector: Any = (), matrix: Any = ((0.0,),), power: float = 2.0) -> Any:
    """A change of a metric's state."""
    weights = np.array(vector, float), np.array(matrix, float)
    return lambda found: Made(*found.__reduce__()[:2], (power, *weights))


INDICES = {
    "idx_array out of range": {"idx_array": lambda a: a + (1 << 40)},
    "idx_array negative": {"idx_array": lambda a: a - (1 << 40)},
    "idx_array short": {"idx_array": lambda a: a[:3].copy()},
    "idx_array of int32": {"idx_array": lambda a: (a + FAR).astype("i4")},
    "idx_start out of range": {"node_data": altered(idx_start=FAR, idx_end=FAR + 5)},
    "idx_end out of range": {"node_data": altered(idx_end=FAR)},
    "idx_start negative": {"node_data": altered(idx_start=-FAR)},
    "ends before starts": {"node_data": altered(idx_start=50, idx_end=5)},
    "no leaves": {"node_data": altered(is_leaf=0)},
    "node_data short": {"node_data": lambda n: n[:1].copy()},
    "node_bounds short": {"node_bounds": lambda b: b[:, :1].copy()},
    "node_bounds narrow": {"node_bounds": lambda b: b[:, :, :1].copy()},
    "node_bounds empty": {"node_bounds": lambda b: b[:0].copy()},
    "n_levels 50": {"n_levels": 50},
    "n_levels and n_nodes": {"n_levels": 40, "n_nodes": (1 << 40) - 1},
    "n_nodes": {"n_nodes": FAR},
    "n_nodes negative": {"n_nodes": -1},
    "leaf_size 0": {"leaf_size": 0},
    "data narrow": {"data": lambda d: np.asarray(d)[:, :1].copy()},
    "data short": {"data": lambda d: np.asarray(d)[:2].copy()},
    "data empty": {"data": lambda d: np.zeros((0, 4))},
    "sample_weight short": {"sample_weight": np.ones(1)},
    "SEuclidean of one": {
        "dist_metric": lambda _: metric([1.0])(neighbors_metric("seuclidean", V=np.ones(4)))
    },
    "Minkowski of few weights": {
        "dist_metric": lambda _: metric([1.0, 2.0])(neighbors_metric("minkowski", p=3))
    },
    "Minkowski of one weight 0": {
        "dist_metric": lambda _: metric([0.0])(neighbors_metric("minkowski", p=3))
    },
    "Mahalanobis of one": {
        "dist_metric": lambda _: metric([], [[1.0]])(neighbors_metric("mahalanobis", V=np.eye(4)))
    },
    "no metric": {"dist_metric": None},
    "a metric without a state": {"dist_metric": lambda d: Made(*d.__reduce__()[:2])},
    "a word as metric": {"dist_metric": "euclidean"},
}


def neighbors_metric(name: str, **options: Any) -> Any:
    from sklearn.metrics import DistanceMetric

    return DistanceMetric.get_metric(name, **options)


for _cls in (neighbors.KDTree, neighbors.BallTree):
    _name = _cls.__name__
    case(f"sane {_name}", query, LOADED)(neighbour(_cls))
    for _what, _fields in INDICES.items():
        case(f"{_name}: {_what}", query)(neighbour(_cls, **_fields))
case("BallTree: Haversine over one feature", query)(
    neighbour(
        neighbors.BallTree,
        X[:, :1].copy(),
        dist_metric=lambda _: neighbors_metric("haversine"),
        node_bounds=lambda b: b,
    )
)


def density() -> Any:
    return neighbors.KernelDensity().fit(X)


sane("density", density, "score_samples")
family(
    "KernelDensity",
    density,
    {"a tree of other features": lambda m: m.__dict__.update(tree_=neighbours(of=X[:, :1].copy()))},
    score,
    RAISES,
)


# Neighbours --------------------------------------------------------------------------------------


def a_neighbour(cls: type = neighbors.KNeighborsClassifier, **options: Any) -> Any:
    y = Y if "Regressor" in cls.__name__ else LABELS
    return cls(**options).fit(X, y)


def brute(cls: type = neighbors.KNeighborsClassifier, **options: Any) -> Any:
    return a_neighbour(cls, algorithm="brute", **options)


def a_sparse_neighbour() -> Any:
    return neighbors.KNeighborsClassifier(algorithm="brute").fit(COUNTS, LABELS)


def many(model: Any) -> None:
    model.predict(np.repeat(X, 50, axis=0))


NEIGHBOURS = {
    "_fit_X narrow": lambda m: m.__dict__.update(_fit_X=m._fit_X[:, :1].copy()),
    "_fit_X short": lambda m: m.__dict__.update(_fit_X=m._fit_X[:7].copy()),
    "_y out of range": lambda m: m.__dict__.update(_y=m._y + (1 << 40)),
    "_y negative": lambda m: m.__dict__.update(_y=m._y - (1 << 40)),
    "_y short": lambda m: m.__dict__.update(_y=m._y[:3].copy()),
    "_y of floats": lambda m: m.__dict__.update(_y=m._y.astype(float) + 1e12),
    "classes_ short": lambda m: m.__dict__.update(classes_=m.classes_[:1].copy()),
    "n_samples_fit_": {"n_samples_fit_": FAR},
    "missing n_features_in_": without("n_features_in_"),
}
NORMS = {
    "short norms of the fitted X": lambda m: m.__dict__.update(
        _fit_X=np.zeros((30_000, 4)),
        n_samples_fit_=30_000,
        _y=np.zeros(30_000, int),
        effective_metric_params_={"Y_norm_squared": np.ones(1)},
    ),
    "short norms of X": lambda m: m.__dict__.update(
        effective_metric_params_={"X_norm_squared": np.ones(1)}
    ),
}
SHORT_X = {"short norms of X": NORMS.pop("short norms of X")}


def very_many(model: Any) -> None:
    model.kneighbors(np.zeros((3_000_000, 4)), n_neighbors=1)


sane("KNeighborsClassifier, brute", brute)
sane("KNeighborsClassifier", a_neighbour)
family("KNeighborsClassifier, brute", brute, {**NEIGHBOURS, **NORMS}, many)
family(
    "RadiusNeighborsClassifier, brute",
    lambda: brute(neighbors.RadiusNeighborsClassifier, radius=5.0),
    {**NEIGHBOURS, **SHORT_X},
    many,
)
family("KNeighborsRegressor, brute", lambda: brute(neighbors.KNeighborsRegressor), NORMS, many)
family("KNeighborsClassifier, brute", brute, SHORT_X, very_many)
family(
    "KNeighborsClassifier, brute",
    brute,
    {
        "classes_ a range": lambda m: m.__dict__.update(
            classes_=range(FAR), _y=np.full_like(m._y, FAR - 1)
        )
    },
    many,
    RAISES,
)
family(
    "KNeighborsClassifier, brute, metric",
    brute,
    {
        "seuclidean of one": {
            "effective_metric_": "seuclidean",
            "effective_metric_params_": {"V": np.ones(1)},
        },
        "mahalanobis of one": {
            "effective_metric_": "mahalanobis",
            "effective_metric_params_": {"VI": np.ones((1, 1))},
        },
        "minkowski of one": {
            "effective_metric_": "minkowski",
            "effective_metric_params_": {"p": 3, "w": np.ones(1)},
        },
        "haversine": {"effective_metric_": "haversine"},
        "nonsense": {"effective_metric_": "nonsense"},
        "precomputed": {"effective_metric_": "precomputed", "metric": "precomputed"},
        "a class": {"effective_metric_": neighbors_metric("haversine").__class__},
    },
    many,
    HARMLESS,
)
family(
    "NearestNeighbors, k-d tree",
    lambda: neighbors.NearestNeighbors(algorithm="kd_tree").fit(X),
    {
        "_tree of other features": lambda m: m.__dict__.update(
            _tree=neighbours(of=X[:, :1].copy())
        ),
        "_tree of more samples": lambda m: m.__dict__.update(
            _tree=neighbours(of=np.repeat(X, 9, axis=0))
        ),
        "_fit_X None, n_samples_fit_ 3": {"_fit_X": None, "n_samples_fit_": 3},
        "no _fit_X, n_samples_fit_ 3": lambda m: (
            without("_fit_X")(m) or m.__dict__.update(n_samples_fit_=3)
        ),
    },
    lambda m: m.kneighbors_graph(np.repeat(X, 300, axis=0), n_neighbors=1).toarray(),
)


def an_outlier() -> Any:
    return neighbors.LocalOutlierFactor(novelty=True, algorithm="brute").fit(X)


sane("LocalOutlierFactor", an_outlier)
family(
    "LocalOutlierFactor",
    an_outlier,
    {name: NEIGHBOURS[name] for name in ("_fit_X narrow", "_fit_X short")},
    predict,
)
family(
    "LocalOutlierFactor",
    an_outlier,
    {
        "_lrd short": lambda m: m.__dict__.update(_lrd=m._lrd[:2].copy()),
        "_distances_fit_X_ short": lambda m: m.__dict__.update(
            _distances_fit_X_=m._distances_fit_X_[:2].copy()
        ),
    },
    predict,
    RAISES,
)
family(
    "LabelPropagation",
    lambda: semi_supervised.LabelPropagation(kernel="knn").fit(X, LABELS),
    {
        "label_distributions_ short": lambda m: m.__dict__.update(
            label_distributions_=m.label_distributions_[:2].copy()
        )
    },
    predict,
    RAISES,
)


# Sparse matrices ---------------------------------------------------------------------------------


def times(matrix: Any) -> None:
    rows, width = matrix.shape
    matrix @ np.ones(width)
    matrix.T @ np.ones(rows)
    np.asarray(matrix.todense())
    (matrix @ matrix.T).toarray()


def each_way(matrix: Any) -> None:
    """Every way is tried, whatever the one before says."""
    ways = (
        lambda: matrix @ np.ones(matrix.shape[1]),
        lambda: matrix.toarray(),
        lambda: matrix.tocsr(),
        lambda: matrix.tocoo().tocsr().tocsc(),
        lambda: matrix.sum(axis=0),
        lambda: matrix[3:5],
        lambda: matrix.tolil().toarray(),
    )
    for way in ways:
        with contextlib.suppress(Exception):
            way()


FORMATS = ("csr", "csc", "bsr", "coo", "dia", "lil")


def matrix(form: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a DIA matrix of many diagonals
        return (sp.coo_array if form == "coo" else sp.coo_matrix)(COUNTS).asformat(form)


def _lists(value: Any) -> np.ndarray:
    found = np.empty(120, object)
    found[:] = [[value] for _ in range(120)]
    return found


SPOILT_PARTS: dict[str, dict[str, Any]] = {
    "csr": {"indices": np.full(COUNTS.nnz, FAR, "i4")},
    "csc": {"indices": np.full(COUNTS.nnz, FAR, "i4")},
    "bsr": {"indices": np.full(120 * 4, FAR, "i4")},
    "coo": {"coords": (np.full(COUNTS.nnz, FAR, "i4"), np.full(COUNTS.nnz, FAR, "i4"))},
    "dia": {"offsets": np.zeros(1, "i4")},
    "lil": {"rows": _lists(FAR), "data": _lists(1.0)},
}

for _form in FORMATS:
    case(f"sane {_form}", times, LOADED)(lambda form=_form: matrix(form))
    family(
        f"matrix {_form}",
        lambda form=_form: matrix(form),
        {
            "of fewer columns": {"_shape": (120, 1)} if _form != "dia" else {"_shape": None},
            "without a shape": without("_shape"),
            "a negative shape": {"_shape": (-120, 4)},
            "another format's name": {"_format": "dok", "_dict": {}, **SPOILT_PARTS[_form]},
        },
        each_way,
    )

COMPRESSED = {
    "indices out of range": lambda m: m.__dict__.update(indices=m.indices + np.int32(FAR)),
    "indices negative": lambda m: m.__dict__.update(indices=m.indices - np.int32(FAR)),
    "indices short": lambda m: m.__dict__.update(indices=m.indices[:2].copy()),
    "data short": lambda m: m.__dict__.update(data=m.data[:2].copy()),
    "indptr out of range": lambda m: m.__dict__.update(indptr=m.indptr * np.int32(1000)),
    "indptr negative": lambda m: m.__dict__.update(indptr=m.indptr - np.int32(FAR)),
    "indptr descending": lambda m: m.__dict__.update(indptr=_descending(m.indptr)),
    "indptr short": lambda m: m.__dict__.update(indptr=m.indptr[:2].copy()),
    "indptr of int64": lambda m: m.__dict__.update(indptr=m.indptr.astype("i8")),
    "data of objects": lambda m: m.__dict__.update(data=m.data.astype(object)),
    "check_format is dict": lambda m: m.__dict__.update(
        check_format=dict, indices=m.indices + np.int32(FAR)
    ),
    "another format's name, bad indices": lambda m: m.__dict__.update(
        _format="dok", _dict={}, indices=m.indices + np.int32(FAR)
    ),
    "COO's name, bad indices": lambda m: m.__dict__.update(
        _format="coo",
        coords=(np.zeros(m.data.size, "i4"), np.zeros(m.data.size, "i4")),
        indices=m.indices + np.int32(FAR),
    ),
}


def _descending(indptr: np.ndarray) -> np.ndarray:
    found = indptr.copy()
    found[3] = found[-1]
    found[4] = 0
    return found


for _form in ("csr", "csc", "bsr"):
    family(f"matrix {_form}", lambda form=_form: matrix(form), COMPRESSED, each_way)
family(
    "matrix csr",
    lambda: matrix("csr"),
    {
        "unsorted, but noted as canonical": lambda m: m.__dict__.update(
            indices=np.zeros_like(m.indices),
            _has_canonical_format=True,
            _has_sorted_indices=True,
        ),
        "unsorted, but noted as sorted": lambda m: m.__dict__.update(
            indices=m.indices[::-1].copy(), _has_sorted_indices=True
        ),
        "another array's class": lambda m: m.__dict__.update(indices=[1, 2]),
    },
    lambda m: [times(m), (m + m).toarray(), m[3:5].toarray(), m.sum(axis=0)],
)
family(
    "matrix coo",
    lambda: matrix("coo"),
    {
        "coords out of range": lambda m: m.__dict__.update(
            coords=tuple(c + np.int32(FAR) for c in m.coords)
        ),
        "coords negative": lambda m: m.__dict__.update(
            coords=tuple(c - np.int32(FAR) for c in m.coords)
        ),
        "one of coords short": lambda m: m.__dict__.update(coords=(m.coords[0], m.coords[1][:1])),
        "one coordinate": lambda m: m.__dict__.update(coords=m.coords[:1]),
        "data short": lambda m: m.__dict__.update(data=m.data[:1].copy()),
    },
    times,
)
family(
    "matrix dia",
    lambda: matrix("dia"),
    {
        "offsets short": lambda m: m.__dict__.update(offsets=m.offsets[:1].copy()),
        "data short": lambda m: m.__dict__.update(data=m.data[:1].copy()),
        "data of one dimension": lambda m: m.__dict__.update(data=m.data.reshape(-1)),
        "offsets of floats": lambda m: m.__dict__.update(offsets=m.offsets.astype(float)),
    },
    times,
)
family(
    "matrix dia",
    lambda: matrix("dia"),
    {
        "offsets far away": lambda m: m.__dict__.update(
            offsets=(m.offsets.astype("i8") + 2**31 - 200).astype("i4")
        ),
        "offsets far before": lambda m: m.__dict__.update(
            offsets=(m.offsets.astype("i8") - 2**31 + 200).astype("i4")
        ),
        "offsets of 64 bits": lambda m: m.__dict__.update(offsets=m.offsets.astype("i8") + 2**62),
        "data narrow": lambda m: m.__dict__.update(data=m.data[:, :1].copy()),
    },
    times,
    HARMLESS,
)
family(
    "matrix lil",
    lambda: matrix("lil"),
    {
        "columns out of range": lambda m: m.rows[0].append(FAR) or m.data[0].append(1.0),
        "columns negative": lambda m: m.rows[0].insert(0, -FAR) or m.data[0].insert(0, 1.0),
        "fewer values": lambda m: m.data[0].clear() or m.rows[0].append(3),
        "fewer rows": lambda m: m.__dict__.update(rows=m.rows[:2].copy()),
        "tuples": lambda m: m.__dict__.update(rows=_tuples(m.rows)),
    },
    times,
)
family(
    "matrix bsr",
    lambda: sp.bsr_matrix(COUNTS.toarray(), blocksize=(2, 2)),
    {
        "larger blocks": lambda m: m.__dict__.update(
            data=np.ones((len(m.data), 1000, 1000), "u1")[:1]
        ),
        "flat blocks": lambda m: m.__dict__.update(data=m.data.reshape(-1)),
    },
    times,
)
family(
    "matrix bsr",
    lambda: sp.bsr_matrix(COUNTS.toarray(), blocksize=(2, 2)),
    {
        "empty blocks": lambda m: m.__dict__.update(data=m.data[:, :0].copy()),
        "a shape that blocks do not fill": {"_shape": (121, 5)},
        "other blocks": lambda m: m.__dict__.update(data=np.ones((len(m.data), 2, 3))),
    },
    times,
    HARMLESS,
)


def _tuples(rows: np.ndarray) -> np.ndarray:
    found = np.empty(len(rows), object)
    found[:] = [tuple(row) for row in rows]
    return found


def bad_csr(like: Any) -> Any:
    like.indices = like.indices + np.int32(FAR)
    return like


def a_tfidf() -> Any:
    return feature_extraction.text.TfidfTransformer().fit(COUNTS)


sane("TfidfTransformer", a_tfidf, "transform", COUNTS)
sane("KNN of a sparse X", a_sparse_neighbour, data=COUNTS)
family(
    "KNeighborsClassifier of a sparse X",
    a_sparse_neighbour,
    {
        "indices out of range": lambda m: m.__dict__.update(_fit_X=bad_csr(m._fit_X)),
        "narrow": lambda m: m.__dict__.update(_fit_X=m._fit_X[:, :1]),
    },
    lambda m: m.predict(COUNTS),
)
family(
    "TfidfTransformer",
    a_tfidf,
    {"idf_ short": {"idf_": np.ones(1)}, "idf_ of text": {"idf_": "much"}},
    lambda m: m.transform(COUNTS),
    RAISES,
)


# Support vectors ---------------------------------------------------------------------------------


def a_machine(cls: type = svm.SVC, **options: Any) -> Any:
    y = Y if cls in (svm.SVR, svm.NuSVR) else LABELS
    return cls(**options).fit(X, y)


def a_sparse_machine() -> Any:
    return svm.SVC().fit(COUNTS, LABELS)


def decide(model: Any) -> None:
    data = sp.csr_matrix(X) if model.__dict__.get("_sparse") else X
    for method in ("predict", "decision_function", "predict_proba"):
        if hasattr(model, method):
            getattr(model, method)(data)


def kernelled(model: Any) -> None:
    model.decision_function(X)
    model.predict(X)


MACHINES: dict[str, Any] = {
    "_n_support too many": lambda m: m.__dict__.update(_n_support=m._n_support + np.int32(FAR)),
    "_n_support one more": lambda m: m.__dict__.update(_n_support=m._n_support + np.int32(1)),
    "_n_support negative": lambda m: m.__dict__.update(_n_support=m._n_support - np.int32(90)),
    "_n_support empty": lambda m: m.__dict__.update(_n_support=m._n_support[:0].copy()),
    "_dual_coef_ short": lambda m: m.__dict__.update(_dual_coef_=m._dual_coef_[:, :1].copy()),
    "_dual_coef_ of no rows": lambda m: m.__dict__.update(_dual_coef_=m._dual_coef_[:0].copy()),
    "dual_coef_ of one dimension": lambda m: m.__dict__.update(dual_coef_=m.dual_coef_[0].copy()),
    "support_vectors_ short": lambda m: m.__dict__.update(
        support_vectors_=m.support_vectors_[:1].copy()
    ),
    "support_vectors_ narrow": lambda m: m.__dict__.update(
        support_vectors_=m.support_vectors_[:, :1].copy()
    ),
    "support_vectors_ wide": lambda m: m.__dict__.update(
        support_vectors_=np.ones((len(m.support_), 400))
    ),
    "support_ short": lambda m: m.__dict__.update(support_=m.support_[:1].copy()),
    "_intercept_ short": lambda m: m.__dict__.update(_intercept_=m._intercept_[:0].copy()),
    "intercept_ long": lambda m: m.__dict__.update(intercept_=np.zeros(1000)),
    "_probA long": lambda m: m.__dict__.update(_probA=np.zeros(1000)),
    "_probB of other length": lambda m: m.__dict__.update(_probB=np.zeros(2)),
    "n_features_in_ 2": {"n_features_in_": 2},
    "missing n_features_in_": without("n_features_in_"),
    "precomputed of one row": lambda m: m.__dict__.update(
        kernel="precomputed", shape_fit_=(1, 4), n_features_in_=4
    ),
    "support_ out of range of shape_fit_": lambda m: m.__dict__.update(
        kernel="precomputed", support_=m.support_ + np.int32(FAR), shape_fit_=(4, 4)
    ),
    "sparse, but it is not": {"_sparse": True},
}
CLASSIFIERS = {
    "class_weight_ short": {"class_weight_": np.ones(1)},
    "classes_ short": {"classes_": np.array([0])},
    "one class too many": lambda m: m.__dict__.update(
        _n_support=np.append(m._n_support, np.int32(0))
    ),
    "_impl of a regression": {"_impl": "epsilon_svr"},
}
for _cls in (svm.SVC, svm.NuSVC, svm.SVR, svm.NuSVR, svm.OneClassSVM):
    _options = {"nu": 0.2} if _cls is svm.NuSVC else {}
    _fitted = functools.partial(a_machine, _cls, **_options)
    sane(_cls.__name__, _fitted)
    _known = MACHINES if _cls is svm.SVC else dict(list(MACHINES.items())[::3])
    if not issubclass(_cls, (svm.SVC, svm.NuSVC)):
        # libsvm leaves these counts as it finds them, and scikit-learn raises where it reads them.
        _counts = {"_n_support too many": _known.pop("_n_support too many")}
        family(_cls.__name__, _fitted, _counts, decide, may=HARMLESS)
    family(_cls.__name__, _fitted, _known, decide)
family("SVC", a_machine, CLASSIFIERS, decide)
family(
    "SVR",
    lambda: a_machine(svm.SVR),
    {"_impl of a classifier": {"_impl": "c_svc"}, "_impl of one class": {"_impl": "nu_svc"}},
    decide,
)
family(
    "SVC",
    a_machine,
    {
        "precomputed": {"kernel": "precomputed"},
        "_gamma a word": {"_gamma": "wide"},
        "_gamma an array": {"_gamma": np.ones(9)},
        "_impl unknown": {"_impl": "c_svm"},
        "an unknown kernel": {"kernel": "cosine"},
        "degree huge": {"kernel": "poly", "degree": 1 << 40},
        "support_vectors_ of float32": lambda m: m.__dict__.update(
            support_vectors_=m.support_vectors_.astype("f4")
        ),
        "_n_support of int64": lambda m: m.__dict__.update(_n_support=m._n_support.astype("i8")),
    },
    decide,
    RAISES,
)


def a_kernel_machine() -> Any:
    return svm.SVC(kernel=pairwise.linear_kernel).fit(X, LABELS)


def a_precomputed_machine() -> Any:
    return svm.SVC(kernel="precomputed").fit(X @ X.T, LABELS)


sane("SVC of a kernel", a_kernel_machine)
sane("SVC, precomputed", a_precomputed_machine, data=X @ X.T)
family(
    "SVC, precomputed",
    a_precomputed_machine,
    {
        "support_ out of range": lambda m: m.__dict__.update(support_=m.support_ + np.int32(FAR)),
        "shape_fit_ of four": {"shape_fit_": (4, 4), "n_features_in_": 4},
        "shape_fit_ a word": {"shape_fit_": "many"},
    },
    kernelled,
)
family(
    "SVC of a kernel",
    lambda: svm.SVC(kernel=pairwise.linear_kernel).fit(X, LABELS),
    {
        "one row is left": lambda m: m.__dict__.update(_BaseLibSVM__Xfit=X[:1].copy()),
        "one row is left, and support_ is far": lambda m: m.__dict__.update(
            _BaseLibSVM__Xfit=X[:1].copy(),
            support_=np.full_like(m.support_, 10**8),
            shape_fit_=(FAR, 4),
        ),
        "the kernel is another function": lambda m: m.__dict__.update(
            kernel=pairwise.paired_distances,
            support_=np.full_like(m.support_, 10**8),
            shape_fit_=(FAR, 4),
        ),
        "_sparse": {"_sparse": True},
    },
    kernelled,
)


def far_sparse_precomputed(model: Any) -> None:
    model.support_vectors_.data[:] = 1e8
    model.kernel = "precomputed"
    model.shape_fit_ = (120, 4)
    model.support_ = np.zeros_like(model.support_)


def wide_sparse(model: Any) -> None:
    model.predict(sp.csr_matrix(np.ones((5, 120))) if model.n_features_in_ == 120 else COUNTS)


sane("SVC of a sparse X", a_sparse_machine, data=COUNTS)
family(
    "SVC of a sparse X",
    a_sparse_machine,
    {
        "indices out of range": lambda m: m.__dict__.update(
            support_vectors_=bad_csr(m.support_vectors_)
        ),
        "_dual_coef_ short": lambda m: m.__dict__.update(_dual_coef_=m._dual_coef_[:, :1]),
        "_dual_coef_ with a hole": lambda m: m.__dict__.update(_dual_coef_=_holed(m._dual_coef_)),
        "vectors of CSC": lambda m: m.__dict__.update(support_vectors_=m.support_vectors_.tocsc()),
        "precomputed, of as many features as rows": lambda m: (
            far_sparse_precomputed(m) or m.__dict__.update(n_features_in_=120)
        ),
    },
    wide_sparse,
)
family(
    "SVC of a sparse X",
    a_sparse_machine,
    {
        "_sparse False": {"_sparse": False},
        "precomputed, and X is narrow": far_sparse_precomputed,
    },
    wide_sparse,
    RAISES,
)


def _holed(matrix: Any) -> Any:
    found = matrix.tolil()
    found[0, 0] = 0
    found[0, 1] = 0
    return found.tocsr()


# Clusters ----------------------------------------------------------------------------------------


def a_cluster(cls: type = cluster.KMeans) -> Any:
    return cls(n_clusters=3, random_state=0).fit(X)


CENTERS: dict[str, Any] = {
    "centers of one feature": lambda m: m.__dict__.update(
        cluster_centers_=m.cluster_centers_[:, :1].copy()
    ),
    "centers of more features": lambda m: m.__dict__.update(cluster_centers_=np.ones((3, 500))),
    "no centers": lambda m: m.__dict__.update(cluster_centers_=m.cluster_centers_[:0].copy()),
    "centers of one dimension": lambda m: m.__dict__.update(
        cluster_centers_=m.cluster_centers_[0].copy()
    ),
    "10**9 threads": {"_n_threads": 10**9},
    "no threads": {"_n_threads": 0},
    "threads that are no number": {"_n_threads": 2.5},
    "missing n_features_in_": without("n_features_in_"),
}
for _cls in (cluster.KMeans, cluster.MiniBatchKMeans, cluster.BisectingKMeans):
    sane(_cls.__name__, lambda cls=_cls: a_cluster(cls))
    family(_cls.__name__, lambda cls=_cls: a_cluster(cls), CENTERS, predict_wide)
    family(
        _cls.__name__,
        lambda cls=_cls: a_cluster(cls),
        {
            "centers of float32": lambda m: m.__dict__.update(
                cluster_centers_=m.cluster_centers_.astype("f4")
            )
        },
        predict_wide,
        HARMLESS,
    )
    family(
        _cls.__name__,
        lambda cls=_cls: a_cluster(cls),
        {"8000 threads": {"_n_threads": 8000}},
        predict_wide,
        frozenset({"refused", "loaded"}),
    )
    family(
        _cls.__name__,
        lambda cls=_cls: a_cluster(cls),
        {"_check_test_data is another function": lambda m: _wide_clusters(m)},
        predict_wide,
    )


def _wide_clusters(model: Any) -> None:
    model.cluster_centers_ = np.zeros((3, 40_000))
    model.n_features_in_ = 40_000
    model._check_test_data = np.absolute


def _node(model: Any, **attributes: Any) -> None:
    model._bisecting_tree.__dict__.update(attributes)
    model._bisecting_tree.left.__dict__.update(attributes)


family(
    "BisectingKMeans",
    lambda: a_cluster(cluster.BisectingKMeans),
    {
        "a center of one feature": lambda m: _node(m, center=np.ones(1)),
        "a center of two dimensions": lambda m: _node(m, center=np.ones((4, 1))),
        "a cycle": lambda m: m._bisecting_tree.__dict__.update(left=m._bisecting_tree),
    },
    predict_wide,
)


def a_birch() -> Any:
    return cluster.Birch(n_clusters=3, threshold=0.3).fit(X)


sane("Birch", a_birch)
family(
    "Birch",
    a_birch,
    {
        "short norms": {"_subcluster_norms": np.ones(1)},
        "norms of two dimensions": {"_subcluster_norms": np.ones((1, 1))},
        "narrow centers": lambda m: m.__dict__.update(
            subcluster_centers_=m.subcluster_centers_[:, :1].copy()
        ),
    },
    predict,
)
for _name, _model in {
    "AffinityPropagation": lambda: cluster.AffinityPropagation(random_state=0).fit(X[:40]),
    "MeanShift": lambda: cluster.MeanShift().fit(X[:40]),
}.items():
    family(
        _name,
        _model,
        {
            "narrow centers": lambda m: m.__dict__.update(
                cluster_centers_=m.cluster_centers_[:, :1].copy()
            )
        },
        predict,
        RAISES,
    )


def linked(**fields: Any) -> Callable[[Any], None]:
    def spoil(model: Any) -> None:
        found = model._single_linkage_tree_.copy()
        for name, value in fields.items():
            found[name] = value(found) if callable(value) else value
        model._single_linkage_tree_ = found

    return spoil


def a_hierarchy() -> Any:
    return cluster.HDBSCAN(copy=True).fit(X)


def cut(model: Any) -> None:
    model.dbscan_clustering(0.5)


case("sane HDBSCAN", cut, LOADED)(a_hierarchy)
family(
    "HDBSCAN",
    a_hierarchy,
    {
        "left_node out of range": linked(left_node=FAR),
        "right_node negative": linked(right_node=-FAR),
        "a node that comes later": linked(left_node=lambda t: 2 * len(t)),
        "other fields": lambda m: m.__dict__.update(
            _single_linkage_tree_=np.zeros(5, [("left_node", "i8"), ("right_node", "i8")])
        ),
    },
    cut,
    RAISES,
)
family(
    "HDBSCAN",
    a_hierarchy,
    {"distances that descend": lambda m: _unsorted(m)},
    cut,
    HARMLESS,
)


def _unsorted(model: Any) -> None:
    """A node that is skipped for its distance is a child of the next one."""
    found = model._single_linkage_tree_.copy()
    found["left_node"] = found["right_node"] = 0
    found["value"] = 0.0
    found["value"][0] = 100.0
    found["left_node"][1] = len(found) + 1
    model._single_linkage_tree_ = found


# Text and categories -----------------------------------------------------------------------------


def a_counter(cls: Any = feature_extraction.text.CountVectorizer) -> Any:
    return cls().fit(WORDS)


def dense(model: Any) -> None:
    model.transform(WORDS * 50).toarray()


def linear(model: Any) -> None:
    model.predict(WORDS * 50)


VOCABULARIES: dict[str, Any] = {
    "out of range": {"vocabulary_": {"cat": FAR, "dog": 1}},
    "one too many": {"vocabulary_": {"cat": 2, "dog": 1}},
    "negative": {"vocabulary_": {"cat": -FAR, "dog": 1}},
    "floats": {"vocabulary_": {"cat": 0.5, "dog": 1}},
    "text": {"vocabulary_": {"cat": "0", "dog": 1}},
    "a list": {"vocabulary_": ["cat"]},
    "huge": {"vocabulary_": {"cat": 1 << 80}},
    "a list of words in a dict": {"vocabulary_": {"cat": [1]}},
}
for _cls in (feature_extraction.text.CountVectorizer, feature_extraction.text.TfidfVectorizer):
    sane(_cls.__name__, lambda cls=_cls: a_counter(cls), "transform", WORDS)
    family(f"{_cls.__name__} vocabulary_", lambda cls=_cls: a_counter(cls), VOCABULARIES, dense)


def a_text_model() -> Any:
    labels = [0, 1, 1, 0]
    steps = feature_extraction.text.CountVectorizer(), linear_model.SGDClassifier(random_state=0)
    return pipeline.make_pipeline(*steps).fit(WORDS, labels)


sane("text model", a_text_model, data=WORDS)
family(
    "a linear model behind a vocabulary",
    a_text_model,
    {
        "out of range": lambda m: m.steps[0][1].__dict__.update(
            vocabulary_={"cat": FAR, **{str(n): n for n in range(8)}}
        )
    },
    linear,
)
family(
    "DictVectorizer",
    lambda: feature_extraction.DictVectorizer().fit([{"a": 1, "b": 2}]),
    {
        "out of range": {"vocabulary_": {"a": FAR, "b": 0}},
        "negative": {"vocabulary_": {"a": -5, "b": 0}},
    },
    lambda m: m.transform([{"a": 1, "b": 2}] * 50).toarray(),
)
for _cls in (feature_extraction.FeatureHasher, feature_extraction.text.HashingVectorizer):
    family(
        _cls.__name__,
        lambda cls=_cls: cls(n_features=16),
        {
            "no features": {"n_features": 0},
            "negative features": {"n_features": -5},
            "very many features": {"n_features": 1 << 40},
            "features of floats": {"n_features": 16.5},
        },
        lambda m: m.transform([["a", "b"]] if hasattr(m, "input_type") else WORDS),
    )


def an_encoder(**options: Any) -> Any:
    cls = preprocessing.OneHotEncoder
    return cls(handle_unknown="ignore", **options).fit(np.array([["a"], ["b"], ["c"], ["a"]]))


def a_grouping_encoder() -> Any:
    data = np.repeat(["a", "b", "c", "d"], [20, 20, 2, 2])[:, None]
    options = {"min_frequency": 5, "handle_unknown": "infrequent_if_exist"}
    return preprocessing.OneHotEncoder(**options).fit(data)


def encode(model: Any) -> None:
    model.transform(np.array([["a"], ["b"], ["c"], ["zzz"], ["c"]] * 1000)).toarray()


def encode_numbers(model: Any) -> None:
    model.transform(np.array([[1.0], [2.0], [3.0]] * 1000)).toarray()


def a_number_encoder(**options: Any) -> Any:
    cls = preprocessing.OneHotEncoder
    return cls(**options).fit(np.array([[1.0], [2.0], [3.0]]))


sane("OneHotEncoder", an_encoder, "transform", np.array([["a"], ["c"]]))
sane("OneHotEncoder that groups", a_grouping_encoder, "transform", np.array([["a"], ["c"]]))
family(
    "OneHotEncoder",
    an_encoder,
    {
        "_n_features_outs 1": {"_n_features_outs": [1]},
        "_n_features_outs negative": {"_n_features_outs": [-5]},
        "_n_features_outs 10**9": {"_n_features_outs": [FAR]},
    },
    encode,
)
family(
    "OneHotEncoder that groups",
    a_grouping_encoder,
    {
        "a mapping out of range": {
            "_default_to_infrequent_mappings": [np.array([FAR, FAR, FAR, FAR])]
        },
        "a negative mapping": {"_default_to_infrequent_mappings": [np.array([-FAR] * 4)]},
        "no mapping, and an infrequent index out of range": {
            "_default_to_infrequent_mappings": [None],
            "_infrequent_indices": [np.array([FAR])],
            "_n_features_outs": [4],
        },
        "no mappings, and an infrequent index out of range": {
            "_default_to_infrequent_mappings": [],
            "_infrequent_indices": [np.array([FAR])],
            "_n_features_outs": [4],
        },
    },
    encode,
)
family(
    "OneHotEncoder that groups",
    a_grouping_encoder,
    {
        "_compute_n_features_outs is another function": {
            "_compute_n_features_outs": list,
            "_n_features_outs": [],
        },
    },
    encode,
    RAISES,
)
family(
    "OneHotEncoder of numbers",
    a_number_encoder,
    {"categories_ that are not sorted": {"categories_": [np.array([3.0, 1.0, 2.0])]}},
    encode_numbers,
    RAISES,
)
family(
    "OneHotEncoder that drops",
    lambda: a_number_encoder(drop="first"),
    {
        "a dropped index out of range": {
            "_drop_idx_after_grouping": np.array([FAR], object),
            "drop_idx_": np.array([FAR], object),
        },
        "a negative dropped index": {
            "_drop_idx_after_grouping": np.array([-FAR], object),
            "drop_idx_": np.array([-FAR], object),
        },
    },
    encode_numbers,
    RAISES,
)


def a_multi_label() -> Any:
    return preprocessing.MultiLabelBinarizer().fit([["a", "b"], ["c"]])


def binarize(model: Any) -> None:
    model.transform([["a"], ["b", "c"]] * 1000)


case("sane MultiLabelBinarizer", binarize, LOADED)(a_multi_label)
family(
    "MultiLabelBinarizer",
    a_multi_label,
    {
        "out of range": {"_cached_dict": {"a": FAR}},
        "negative": {"_cached_dict": {"a": -FAR, "b": 0, "c": 1}},
    },
    binarize,
)
family(
    "MultiLabelBinarizer",
    a_multi_label,
    {
        "fewer words than classes": {
            "classes_": np.zeros(1 << 20, np.uint8),
            "_cached_dict": {"a": (1 << 20) - 1},
        },
        "classes_ a range": {"classes_": range(FAR), "_cached_dict": {"a": FAR - 1}},
    },
    binarize,
)
family(
    "MultiLabelBinarizer",
    a_multi_label,
    {
        "_build_cache is another function": lambda m: m.__dict__.update(
            _build_cache=dict, _cached_dict=None
        )
    },
    binarize,
    HARMLESS,
)


# Functions in the place of functions --------------------------------------------------------------


def a_function(func: Any, **options: Any) -> Build:
    def build() -> Any:
        return preprocessing.FunctionTransformer(func=func, kw_args=options, validate=False).fit(X)

    return build


def transform_long(model: Any) -> None:
    model.transform(np.zeros((5_000_000, 1)))


def transform_wide(model: Any) -> None:
    model.transform(np.zeros((5, 2_000_000)))


for _name, _func in {
    "lloyd": _kmeans._kmeans_single_lloyd,
    "elkan": _kmeans._kmeans_single_elkan,
}.items():
    case(f"FunctionTransformer: k-means of {_name} with narrow centers", transform_wide)(
        a_function(_func, sample_weight=np.ones(5), centers_init=np.ones((3, 1)), max_iter=2)
    )
    case(f"FunctionTransformer: k-means of {_name} with few weights", transform_long)(
        a_function(_func, sample_weight=np.ones(1), centers_init=np.ones((3, 1)), max_iter=2)
    )
case("FunctionTransformer: nearest rows with short norms", transform_long)(
    a_function(
        pairwise_distances_argmin,
        Y=np.zeros((300, 1)),
        metric_kwargs={"X_norm_squared": np.ones(1)},
    )
)


# Splines and the rest: what reads arrays in compiled code, or only looks so -----------------------


def a_spline() -> Any:
    return preprocessing.SplineTransformer(n_knots=5).fit(X)


def first_spline(**attributes: Any) -> Callable[[Any], None]:
    def spoil(model: Any) -> None:
        for spline in model.bsplines_:
            for name, make in attributes.items():
                held = getattr(spline, name.removeprefix("_"))
                spline.__dict__[name] = make(held) if callable(make) else make

    return spoil


SPLINES = {
    "few knots": first_spline(_t=lambda t: t[:3].copy()),
    "few coefficients": first_spline(_c=lambda c: c[:1].copy()),
    "no coefficients": first_spline(_c=lambda c: c[:0].copy()),
    "a huge degree": first_spline(k=1000),
    "a negative degree": first_spline(k=-3),
    "a degree that is no number": first_spline(k=2.5),
    "knots that descend": first_spline(_t=lambda t: t[::-1].copy()),
    "knots that are no numbers": first_spline(_t=lambda t: np.full_like(t, np.nan)),
    "few knots beside right ones": first_spline(t=lambda t: t, _t=lambda t: t[:3].copy()),
    "few coefficients beside right ones": first_spline(c=lambda c: c, _c=lambda c: c[:1].copy()),
    "another axis": first_spline(axis=1),
}
sane("SplineTransformer", a_spline, "transform")
family("SplineTransformer", a_spline, SPLINES, transform)
case("BSpline of few knots", lambda m: m(np.linspace(0, 1, 50)))(
    lambda: _spoilt(BSpline(np.arange(20.0), np.ones(16), 3), {"_t": np.arange(4.0)})
)


def an_isotonic() -> Any:
    return isotonic.IsotonicRegression(out_of_bounds="clip").fit(X[:, 0], Y)


sane("isotonic", an_isotonic, data=X[:, 0])
family(
    "IsotonicRegression",
    an_isotonic,
    {
        "X_thresholds_ short": lambda m: m.__dict__.update(
            X_thresholds_=m.X_thresholds_[:1].copy()
        ),
        "y_thresholds_ short": lambda m: m.__dict__.update(
            y_thresholds_=m.y_thresholds_[:1].copy()
        ),
        "thresholds of text": {"X_thresholds_": "low", "y_thresholds_": "high"},
    },
    lambda m: m.predict(X[:, 0]),
    HARMLESS,
)

POSITIVE = np.abs(X)


def narrow_components(model: Any) -> None:
    model.components_ = model.components_[:, :1].copy()


def few_components(model: Any) -> None:
    model.components_ = model.components_[:1].copy()


def more_components(model: Any) -> None:
    model.components_ = np.ones((50, model.components_.shape[1]))


OTHER_COMPONENTS = {
    "narrow components_": narrow_components,
    "few components_": few_components,
    "more components_": more_components,
}
for _model in (
    decomposition.LatentDirichletAllocation(3, max_iter=2, random_state=0),
    decomposition.NMF(3, max_iter=20, init="nndsvda", random_state=0),
    decomposition.NMF(3, max_iter=20, init="nndsvda", random_state=0, solver="mu"),
    decomposition.MiniBatchNMF(3, max_iter=2, random_state=0),
    decomposition.SparsePCA(3, max_iter=2, random_state=0),
    decomposition.MiniBatchSparsePCA(3, max_iter=2, random_state=0),
    decomposition.DictionaryLearning(3, max_iter=2, random_state=0),
    decomposition.DictionaryLearning(
        3, max_iter=2, random_state=0, transform_algorithm="lasso_cd", fit_algorithm="cd"
    ),
    decomposition.DictionaryLearning(
        3, max_iter=2, random_state=0, transform_algorithm="lasso_lars"
    ),
    decomposition.MiniBatchDictionaryLearning(3, max_iter=2, random_state=0),
):
    _name = type(_model).__name__
    _name += "".join(
        f", {getattr(_model, option)}"
        for option in ("solver", "transform_algorithm")
        if option in _model.__dict__
    )
    family(
        _name,
        lambda model=_model: model.fit(POSITIVE),
        OTHER_COMPONENTS,
        lambda m: m.transform(POSITIVE),
        HARMLESS,
    )
for _name, _model, _spoils in (
    (
        "GaussianMixture",
        lambda: mixture.GaussianMixture(2, random_state=0).fit(X),
        {
            "narrow means_": lambda m: m.__dict__.update(means_=m.means_[:, :1].copy()),
            "precisions_cholesky_ of other shape": {"precisions_cholesky_": np.ones((1, 1, 1))},
        },
    ),
    (
        "SGDClassifier",
        lambda: linear_model.SGDClassifier(random_state=0).fit(X, LABELS),
        {
            "narrow coef_": lambda m: m.__dict__.update(coef_=m.coef_[:, :1].copy()),
            "classes_ short": {"classes_": np.array([0])},
        },
    ),
):
    family(_name, _model, _spoils, predict, HARMLESS)
for _name, _model, _spoils in (
    (
        "QuantileTransformer",
        lambda: preprocessing.QuantileTransformer(n_quantiles=20).fit(X),
        {
            "quantiles_ short": lambda m: m.__dict__.update(quantiles_=m.quantiles_[:2].copy()),
            "references_ short": {"references_": np.zeros(1)},
        },
    ),
    (
        "TargetEncoder",
        lambda: preprocessing.TargetEncoder().fit(np.round(X), Y),
        {"encodings_ short": lambda m: m.__dict__.update(encodings_=[np.zeros(1)] * 4)},
    ),
    (
        "Nystroem",
        lambda: kernel_approximation.Nystroem(n_components=5, random_state=0).fit(X),
        {
            "narrow components_": narrow_components,
            "normalization_ of other shape": {"normalization_": np.ones((2, 2))},
        },
    ),
    (
        "PolynomialCountSketch",
        lambda: kernel_approximation.PolynomialCountSketch(random_state=0).fit(X),
        {"indexHash_ out of range": lambda m: m.__dict__.update(indexHash_=m.indexHash_ + FAR)},
    ),
    (
        "FeatureAgglomeration",
        lambda: cluster.FeatureAgglomeration(2).fit(X),
        {"negative labels_": {"labels_": np.array([-1, 0, 1, 0])}},
    ),
    (
        "KBinsDiscretizer",
        lambda: preprocessing.KBinsDiscretizer(3, quantile_method="linear").fit(X),
        {"bin_edges_ long": lambda m: m.__dict__.update(bin_edges_=_long_edges(m))},
    ),
):
    family(_name, _model, _spoils, transform, HARMLESS)


def _long_edges(model: Any) -> np.ndarray:
    found = np.empty(4, object)
    found[:] = [np.linspace(-9, 9, 5000)] * 4
    return found


def a_polynomial() -> Any:
    return preprocessing.PolynomialFeatures(2).fit(COUNTS)


sane("PolynomialFeatures", a_polynomial, "transform", COUNTS)
family(
    "PolynomialFeatures",
    a_polynomial,
    {
        "a larger _max_degree": {"_max_degree": 3},
        "a _max_degree of 5": {"_max_degree": 5},
        "_n_out_full 1": {"_n_out_full": 1, "n_output_features_": 1},
        "a negative _min_degree": {"_min_degree": -5},
    },
    lambda m: m.transform(COUNTS).toarray(),
    HARMLESS,
)
family(
    "PolynomialFeatures of a dense X",
    lambda: preprocessing.PolynomialFeatures(2).fit(X),
    {
        "a larger _max_degree": {"_max_degree": 3},
        "_n_out_full 1": {"_n_out_full": 1},
        "n_output_features_ 1": {"n_output_features_": 1},
    },
    transform,
    HARMLESS,
)
