"""Trees and ensembles of them: forests, boosting, histogram boosting, isolation forests."""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.tree._tree import NODE_DTYPE, Tree

from shardpickle import lazy
from shardpickle.codecs.trees import preorder
from shardpickle.trust.checks.base import (
    Array,
    Rest,
    check_array,
    check_range,
    count_features,
    is_a,
    is_whole,
    need,
    run,
)

# Trees: tree/_tree.pyx (apply, predict and decision_path index without bounds) ------------------


def _check_structure(nodes: Array, features: int) -> None:
    """Raise unless nodes form one binary tree whose splits use existing features."""
    inner = nodes["left_child"] != -1
    left, right = nodes["left_child"][inner], nodes["right_child"][inner]
    n = len(nodes)
    if len(left):
        need(min(left.min(), right.min()) >= 0, "a node's child is out of range")
        need(max(left.max(), right.max()) < n, "a node's child is out of range")
        check_range(nodes["feature"][inner], 0, features, "a node's feature")
        need(preorder(nodes) is not None, "the nodes do not form one tree")


def _measure_depth(nodes: Array) -> int:
    level, depth = np.zeros(1, np.int64), -1
    while len(level):  # ends, since the nodes form one tree
        depth += 1
        level = level[nodes["left_child"][level] != -1]
        level = np.concatenate([nodes["left_child"][level], nodes["right_child"][level]])
    return depth


def check_tree_state(tree: Any, state: Any) -> None:
    """Raise unless `Tree.__setstate__` may be given this state."""
    need(
        type(state) is dict and set(state) == {"max_depth", "node_count", "nodes", "values"},
        "a tree's state has other members",
    )
    nodes, values = state["nodes"], state["values"]
    count = state["node_count"]
    need(type(count) is int and is_whole(state["max_depth"], 0, 1 << 31), "a tree's sizes")
    need(isinstance(nodes, np.ndarray) and nodes.dtype == NODE_DTYPE, "a tree's nodes")
    need(nodes.shape == (count,) and count > 0, "a tree's nodes are not node_count")
    shape = (count, int(tree.n_outputs), int(tree.max_n_classes))
    need(isinstance(values, np.ndarray) and values.dtype == np.float64, "a tree's values")
    need(values.shape == shape, "a tree's values have the wrong shape")
    need(nodes.flags.c_contiguous and values.flags.c_contiguous, "a tree's arrays have gaps")
    _check_structure(nodes, int(tree.n_features))
    need(_measure_depth(nodes) <= state["max_depth"], "a tree is deeper than it says")


def check_tree(tree: Any) -> None:
    """Check a tree whose columns were stored unchanged."""
    check_nodes(tree.__getstate__()["nodes"], int(tree.n_features), int(tree.max_depth))


def check_nodes(nodes: Array, features: int, depth: int) -> None:
    """Check the nodes of such a tree."""
    _check_structure(nodes, features)
    need(_measure_depth(nodes) <= depth, "a tree is deeper than it says")


def check_decision_tree(model: Any) -> None:
    tree = model.__dict__.get("tree_")
    if not isinstance(tree, Tree):
        return
    need(tree.n_features == count_features(model), "tree_ has the wrong number of features")
    classes = model.__dict__.get("n_classes_", 1)
    of_outputs = classes if isinstance(classes, (list, tuple, np.ndarray)) else [classes]
    need(tree.n_outputs == model.__dict__.get("n_outputs_"), "tree_ has the wrong outputs")
    if is_a(model, "sklearn.base", "ClassifierMixin"):
        same = list(tree.n_classes) == [int(count) for count in of_outputs]
        need(same, "tree_ has the wrong number of classes")
    else:
        need(tree.max_n_classes == 1, "tree_ has classes")


def list_estimators(model: Any) -> Iterable[Any]:
    estimators = model.__dict__.get("estimators_", ())
    is_array = isinstance(estimators, np.ndarray)
    need(
        is_array or is_list(estimators) or isinstance(estimators, tuple),
        "estimators_ is not a list",
    )
    return list(estimators.flat) if is_array else lazy.items_of(estimators)


def is_list(value: Any) -> bool:
    return isinstance(value, (list, lazy.LazyList))


def _get_tree(estimator: Any) -> Any:
    tree = getattr(estimator, "__dict__", {}).get("tree_")
    return tree if isinstance(tree, Tree) else None


def check_forest(model: Any) -> Rest:
    count = model.__dict__.get("n_features_in_")

    def member(estimator: Any) -> None:
        tree = _get_tree(estimator)
        if tree is not None:
            same = is_whole(count, 1, 1 << 62) and tree.n_features == count
            need(same, "a tree has another number of features than its forest")

    if not run.first(("forest", count), model.__dict__.get("estimators_")):
        return ()
    return ((estimator, member) for estimator in list_estimators(model))


# ensemble/_gradient_boosting.pyx: predict_stages


def check_gradient_boosting(model: Any) -> Rest:
    estimators = model.__dict__.get("estimators_")
    if estimators is None:
        return ()
    outputs = model.__dict__.get("n_trees_per_iteration_")
    need(
        isinstance(estimators, np.ndarray) and estimators.ndim == 2 and len(estimators),
        "estimators_ is not an array of two dimensions",
    )
    need(is_whole(outputs, 1, 1 << 31), "n_trees_per_iteration_")
    need(estimators.shape[1] == outputs, "estimators_ has the wrong number of columns")
    _check_init(model, int(outputs or 0))
    features = count_features(model)

    def member(estimator: Any) -> None:
        tree = _get_tree(estimator)
        need(tree is not None, "estimators_ holds something that is not a fitted tree")
        need(
            tree.n_features == features and estimator.__dict__.get("n_features_in_") == features,
            "a tree has another number of features than its ensemble",
        )
        need(tree.n_outputs == 1 and tree.max_n_classes == 1, "a tree with several outputs")

    if not run.first(("boosting", features), estimators):
        return ()
    return ((estimator, member) for estimator in estimators.flat)


def _check_init(model: Any, outputs: int) -> None:
    """Check `init_`: compiled code adds to the array that it predicts, one row for each of X's.

    scikit-learn's dummies, trees and forests are checked by their attributes. Any other estimator
    (the `init` parameter takes any) is asked to predict two rows; if it fails, it is refused, and
    `unsafe=True` loads it.
    """
    init, loss = lazy.real(model.__dict__.get("init_")), model.__dict__.get("_loss")
    regression = is_a(model, "sklearn.base", "RegressorMixin")
    need(not regression or outputs == 1, "several trees in an iteration of a regressor")
    if outputs != 1:
        need(type(loss).__name__ == "HalfMultinomialLoss", "_loss has no classes")
        need(getattr(loss, "n_classes", None) == outputs, "_loss has the wrong number of classes")
    if init == "zero" and isinstance(init, str):
        return
    state = getattr(init, "__dict__", {})
    kind = type(init).__module__, type(init).__qualname__
    if kind[0] not in ("sklearn.dummy", "sklearn.tree._classes", "sklearn.ensemble._forest"):
        _check_predictions(init, count_features(model), 0 if regression else max(outputs, 2))
        return
    need(state.get("n_outputs_") == 1, "init_ has several outputs")
    if kind[1] == "DummyRegressor":
        constant = check_array(state.get("constant_"), 2, "constant_", "fiu")
        need(constant.shape == (1, 1), "constant_ of init_")
    elif not regression:
        need(state.get("n_classes_") == max(outputs, 2), "init_ has the wrong number of classes")
        need(len(state.get("classes_", ())) == max(outputs, 2), "classes_ of init_")
    if kind[1] == "DummyClassifier":
        need(state.get("_strategy") in ("prior", "most_frequent", "stratified", "uniform"), "init_")
        prior = check_array(state.get("class_prior_"), 1, "class_prior_")
        need(len(prior) == max(outputs, 2), "class_prior_ of init_")


@contextmanager
def _keep_call_counts(estimator: Any) -> Iterator[None]:
    """Restore k-d and ball trees afterwards: they count the queries that they answer."""
    trees = [
        (tree, tree.__getstate__())
        for tree in walk(estimator)
        if any(base.__name__.startswith("BinaryTree") for base in type(tree).__mro__)
    ]
    try:
        yield
    finally:
        for tree, state in trees:
            tree.__setstate__(state)


def walk(thing: Any) -> Iterator[Any]:
    """Yield an object and all that it holds, each once. Deferred estimators are not loaded."""
    left, seen = [thing], set()
    while left:
        member = left.pop()
        if id(member) in seen:
            continue
        seen.add(id(member))
        yield member
        if isinstance(member, (list, tuple, set, frozenset)):
            left += member
        elif isinstance(member, dict):
            left += [*member, *member.values()]
        elif isinstance(member, np.ndarray):
            left += member.ravel().tolist() if member.dtype.hasobject else ()
        elif not lazy.is_stand_in(member):
            left += getattr(member, "__dict__", {}).values()


def _check_predictions(estimator: Any, features: int, classes: int) -> None:
    """Raise unless an estimator predicts two rows, with a column for each class."""
    rows = np.zeros((2, features))
    method = "predict_proba" if classes else "predict"
    shape = (2, classes) if classes else (2,)
    need(isinstance(estimator, BaseEstimator), "init_ is not an estimator")
    if run.hollow or not run.first((method, features, classes), estimator):
        return
    with warnings.catch_warnings(), _keep_call_counts(estimator):
        warnings.simplefilter("ignore")
        predicted = getattr(estimator, method)(rows)
    need(
        isinstance(predicted, np.ndarray) and predicted.shape == shape,
        "init_ predicts an array of the wrong shape",
    )
    need(predicted.dtype.kind in "fiu", "init_ predicts something other than numbers")


def check_isolation_forest(model: Any) -> Rest:
    if "estimators_" not in model.__dict__:
        return ()
    most = model.__dict__.get("_max_features")
    features = count_features(model)
    subsets = model.__dict__.get("estimators_features_", ())
    if not run.first(("isolation", most, features), model.__dict__["estimators_"], subsets):
        return ()
    estimators = list(list_estimators(model))
    need(isinstance(subsets, (list, tuple, np.ndarray)), "estimators_features_ is not a list")
    need(len(subsets) == len(estimators), "estimators_features_ has the wrong length")
    need(is_whole(most, 1, features + 1), "_max_features is out of range")
    need(all(len(subset) == most for subset in subsets), "estimators_features_ has other sizes")

    def member(estimator: Any) -> None:
        tree = _get_tree(estimator)
        need(
            tree is not None and tree.n_features == most,
            "a tree has another number of features than its subset",
        )

    return ((estimator, member) for estimator in estimators)


# ensemble/_hist_gradient_boosting/_predictor.pyx


def check_predictor(model: Any) -> None:
    nodes = model.__dict__.get("nodes")
    categorical = run.once(lambda: _check_histogram_nodes(nodes), nodes, what="nodes")
    for name in ("raw_left_cat_bitsets", "binned_left_cat_bitsets"):
        sets = check_array(model.__dict__.get(name), 2, name, "u")
        need(sets.shape[1] == 8, f"{name} has the wrong width")
        check_range(categorical, 0, len(sets), "bitset_idx")


def _check_histogram_nodes(nodes: Any) -> Array:
    """Check that nodes form one binary tree, which prediction and partial dependence walk.

    Returns the bitset numbers of its categorical splits.
    """
    needed = {"left", "right", "feature_idx", "is_leaf", "is_categorical", "bitset_idx"}
    need(
        isinstance(nodes, np.ndarray)
        and nodes.ndim == 1
        and nodes.dtype.names is not None
        and needed <= set(nodes.dtype.names)
        and 0 < len(nodes) < 1 << 31,
        "nodes of a predictor",
    )
    inner = nodes["is_leaf"] == 0
    own = np.flatnonzero(inner)
    for side in ("left", "right"):
        child = nodes[side][inner]
        need(not len(child) or int(child.max()) < len(nodes), "a node's child is out of range")
        need((child.astype(np.int64) > own).all(), "a node's child comes before it")
    children = np.concatenate([nodes["left"][inner], nodes["right"][inner]])
    need(not len(children) or int(np.bincount(children).max()) == 1, "a node with two parents")
    bitsets: Array = nodes["bitset_idx"][inner & (nodes["is_categorical"] != 0)]
    return bitsets


def check_bin_mapper(model: Any) -> None:
    categorical = model.__dict__.get("is_categorical_")
    if categorical is None:
        return
    thresholds = model.__dict__.get("bin_thresholds_")
    flags = check_array(categorical, 1, "is_categorical_", "bu")
    same_length = isinstance(thresholds, (list, tuple)) and len(thresholds) == len(flags)
    need(same_length, "bin_thresholds_ has the wrong length")
    if run.first("categories", thresholds, flags):
        for feature in np.flatnonzero(flags):
            values = check_array(thresholds[feature], 1, "bin_thresholds_", "fiu")
            check_range(values, 0, 256, "a category")


def check_hist_boosting(model: Any) -> Rest:
    predictors = model.__dict__.get("_predictors")
    if predictors is None:
        return ()
    features = count_features(model)
    need(not model.__dict__.get("_in_fit", False), "_in_fit is set, so X would not be checked")
    _check_preprocessor(model.__dict__.get("_preprocessor"), features)
    mapper = model.__dict__.get("_bin_mapper")
    need(type(mapper).__name__ == "_BinMapper", "_bin_mapper")
    flags = check_array(mapper.__dict__.get("is_categorical_"), 1, "is_categorical_", "bu")
    need(len(flags) == features, "_bin_mapper has the wrong number of features")
    n_categorical = run.once(lambda: int(np.count_nonzero(flags)), flags, what="count")
    need(isinstance(predictors, list), "_predictors is not a list")
    if not run.first(("predictors", features, bool(n_categorical)), predictors):
        return ()
    need(all(map(is_list, predictors)), "_predictors is not a list of lists")

    def member(predictor: Any) -> None:
        need(type(predictor).__name__ == "TreePredictor", "_predictors holds something else")
        nodes = predictor.__dict__["nodes"]
        inner = nodes["is_leaf"] == 0
        check_range(nodes["feature_idx"][inner], 0, features, "feature_idx")
        need(
            n_categorical or not nodes["is_categorical"][inner].any(),
            "a split by categories, but no feature is categorical",
        )

    return ((tree, member) for iteration in predictors for tree in lazy.items_of(iteration))


def _check_preprocessor(preprocessor: Any, features: int) -> None:
    """Check that the preprocessor keeps all columns: encoded categories first, then the rest."""
    if preprocessor is None:
        return
    steps = preprocessor.__dict__.get("transformers_")
    need(type(preprocessor).__name__ == "ColumnTransformer", "_preprocessor")
    need(isinstance(steps, list) and len(steps) in (2, 3), "_preprocessor")
    need(all(step[:2] == ("remainder", "drop") for step in steps[2:]), "_preprocessor")
    steps = steps[:2]
    names = [(name, type(step).__name__) for name, step, _ in steps]
    need(names == [("encoder", "OrdinalEncoder"), ("numerical", "FunctionTransformer")], "steps")
    masks = [check_array(mask, 1, "a mask of _preprocessor", "b") for _, _, mask in steps]
    need(all(mask.shape == (features,) for mask in masks), "a mask of _preprocessor")
    whole = run.once(lambda: bool((masks[0] ^ masks[1]).all()), *masks, what="masks")
    need(whole, "_preprocessor leaves columns out")
    function = steps[1][1].__dict__.get("func")
    inner = getattr(function, "func", None)
    need(getattr(inner, "__qualname__", "") == "check_array", "_preprocessor")
    need(getattr(inner, "__module__", "") == "sklearn.utils.validation", "_preprocessor")
    need(not function.args and set(function.keywords) <= _OF_NUMBERS, "_preprocessor")


_OF_NUMBERS = {"dtype", "ensure_all_finite", "force_all_finite", "estimator", "ensure_min_features"}
_OF_NUMBERS |= {"ensure_min_samples", "accept_sparse"}
