"""Trees, and what is made of them: forests, boosting, histogram boosting, isolation forests."""

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
    array,
    count_features,
    inside,
    is_a,
    is_whole,
    need,
    run,
)

# Trees: tree/_tree.pyx (apply, predict and decision_path index without bounds) ------------------


def tree_nodes(nodes: Array, features: int) -> None:
    """One binary tree whose splits look at features that there are."""
    inner = nodes["left_child"] != -1
    left, right = nodes["left_child"][inner], nodes["right_child"][inner]
    n = len(nodes)
    if len(left):
        need(min(left.min(), right.min()) >= 0, "a node's child is out of range")
        need(max(left.max(), right.max()) < n, "a node's child is out of range")
        inside(nodes["feature"][inner], 0, features, "a node's feature")
        need(preorder(nodes) is not None, "nodes that are not one tree")


def _depth(nodes: Array) -> int:
    level, depth = np.zeros(1, np.int64), -1
    while len(level):  # one tree: every level is new
        depth += 1
        level = level[nodes["left_child"][level] != -1]
        level = np.concatenate([nodes["left_child"][level], nodes["right_child"][level]])
    return depth


def tree_state(tree: Any, state: Any) -> None:
    """What `Tree.__setstate__` may be given."""
    need(
        type(state) is dict and set(state) == {"max_depth", "node_count", "nodes", "values"},
        "a tree's state has other members",
    )
    nodes, values = state["nodes"], state["values"]
    count = state["node_count"]
    need(type(count) is int and is_whole(state["max_depth"], 0, 1 << 31), "a tree's sizes")
    need(isinstance(nodes, np.ndarray) and nodes.dtype == NODE_DTYPE, "a tree's nodes")
    need(nodes.shape == (count,) and count > 0, "a tree's nodes are of another number")
    shape = (count, int(tree.n_outputs), int(tree.max_n_classes))
    need(isinstance(values, np.ndarray) and values.dtype == np.float64, "a tree's values")
    need(values.shape == shape, "a tree's values are of another shape")
    need(nodes.flags.c_contiguous and values.flags.c_contiguous, "a tree's arrays have gaps")
    tree_nodes(nodes, int(tree.n_features))
    need(_depth(nodes) <= state["max_depth"], "a tree is deeper than it says")


def tree(tree: Any) -> None:
    """A tree whose columns were stored as they are."""
    grown(tree.__getstate__()["nodes"], int(tree.n_features), int(tree.max_depth))


def grown(nodes: Array, features: int, depth: int) -> None:
    """The nodes of such a tree."""
    tree_nodes(nodes, features)
    need(_depth(nodes) <= depth, "a tree is deeper than it says")


def decision_tree(model: Any) -> None:
    tree = model.__dict__.get("tree_")
    if not isinstance(tree, Tree):
        return
    need(tree.n_features == count_features(model), "tree_ splits another number of features")
    classes = model.__dict__.get("n_classes_", 1)
    of_outputs = classes if isinstance(classes, (list, tuple, np.ndarray)) else [classes]
    need(tree.n_outputs == model.__dict__.get("n_outputs_"), "tree_ has other outputs")
    if is_a(model, "sklearn.base", "ClassifierMixin"):
        same = list(tree.n_classes) == [int(count) for count in of_outputs]
        need(same, "tree_ is of another number of classes")
    else:
        need(tree.max_n_classes == 1, "tree_ has classes")


def estimators_of(model: Any) -> Iterable[Any]:
    estimators = model.__dict__.get("estimators_", ())
    is_array = isinstance(estimators, np.ndarray)
    need(is_array or is_list(estimators) or isinstance(estimators, tuple), "estimators_ is no list")
    return list(estimators.flat) if is_array else lazy.items_of(estimators)


def is_list(value: Any) -> bool:
    return isinstance(value, (list, lazy.LazyList))


def _tree_of(estimator: Any) -> Any:
    tree = getattr(estimator, "__dict__", {}).get("tree_")
    return tree if isinstance(tree, Tree) else None


def forest(model: Any) -> Rest:
    count = model.__dict__.get("n_features_in_")

    def member(estimator: Any) -> None:
        tree = _tree_of(estimator)
        if tree is not None:
            same = is_whole(count, 1, 1 << 62) and tree.n_features == count
            need(same, "a tree splits another number of features than its forest")

    if not run.first(("forest", count), model.__dict__.get("estimators_")):
        return ()
    return ((estimator, member) for estimator in estimators_of(model))


# ensemble/_gradient_boosting.pyx: predict_stages


def gradient_boosting(model: Any) -> Rest:
    estimators = model.__dict__.get("estimators_")
    if estimators is None:
        return ()
    outputs = model.__dict__.get("n_trees_per_iteration_")
    need(
        isinstance(estimators, np.ndarray) and estimators.ndim == 2 and len(estimators),
        "estimators_ is no array of two dimensions",
    )
    need(is_whole(outputs, 1, 1 << 31), "n_trees_per_iteration_")
    need(estimators.shape[1] == outputs, "estimators_ has another number of columns")
    _first_guess(model, int(outputs or 0))
    features = count_features(model)

    def member(estimator: Any) -> None:
        tree = _tree_of(estimator)
        need(tree is not None, "estimators_ holds something other than fitted trees")
        need(
            tree.n_features == features and estimator.__dict__.get("n_features_in_") == features,
            "a tree splits another number of features than its ensemble",
        )
        need(tree.n_outputs == 1 and tree.max_n_classes == 1, "a tree with several outputs")

    if not run.first(("boosting", features), estimators):
        return ()
    return ((estimator, member) for estimator in estimators.flat)


def _first_guess(model: Any, outputs: int) -> None:
    """What `init_` predicts becomes the memory that compiled code adds to: a row for each of X's.

    So it has to be an estimator of which that is known. Another one (the `init` parameter takes
    any) is refused: `unsafe=True` loads it.
    """
    init, loss = lazy.real(model.__dict__.get("init_")), model.__dict__.get("_loss")
    regression = is_a(model, "sklearn.base", "RegressorMixin")
    need(not regression or outputs == 1, "several trees in an iteration of a regressor")
    if outputs != 1:
        need(type(loss).__name__ == "HalfMultinomialLoss", "_loss has no classes")
        need(getattr(loss, "n_classes", None) == outputs, "_loss is of another number of classes")
    if init == "zero" and isinstance(init, str):
        return
    state = getattr(init, "__dict__", {})
    kind = type(init).__module__, type(init).__qualname__
    if kind[0] not in ("sklearn.dummy", "sklearn.tree._classes", "sklearn.ensemble._forest"):
        _answers(init, count_features(model), 0 if regression else max(outputs, 2))
        return
    need(state.get("n_outputs_") == 1, "init_ has several outputs")
    if kind[1] == "DummyRegressor":
        constant = array(state.get("constant_"), 2, "constant_", "fiu")
        need(constant.shape == (1, 1), "constant_ of init_")
    elif not regression:
        need(state.get("n_classes_") == max(outputs, 2), "init_ is of another number of classes")
        need(len(state.get("classes_", ())) == max(outputs, 2), "classes_ of init_")
    if kind[1] == "DummyClassifier":
        need(state.get("_strategy") in ("prior", "most_frequent", "stratified", "uniform"), "init_")
        prior = array(state.get("class_prior_"), 1, "class_prior_")
        need(len(prior) == max(outputs, 2), "class_prior_ of init_")


@contextmanager
def _counting_nothing(estimator: Any) -> Iterator[None]:
    """k-d and ball trees count what they are asked: they are given back as they were."""
    trees = [
        (tree, tree.__getstate__())
        for tree in below(estimator)
        if any(base.__name__.startswith("BinaryTree") for base in type(tree).__mro__)
    ]
    try:
        yield
    finally:
        for tree, state in trees:
            tree.__setstate__(state)


def below(thing: Any) -> Iterator[Any]:
    """What an object holds, itself included; of what is loaded, each thing once."""
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


def _answers(estimator: Any, features: int, classes: int) -> None:
    """An estimator gives a row for each row, and a column for each class; asked about two rows."""
    rows = np.zeros((2, features))
    method = "predict_proba" if classes else "predict"
    shape = (2, classes) if classes else (2,)
    need(isinstance(estimator, BaseEstimator), "init_ is no estimator")
    if run.hollow or not run.first((method, features, classes), estimator):
        return
    with warnings.catch_warnings(), _counting_nothing(estimator):
        warnings.simplefilter("ignore")
        answer = getattr(estimator, method)(rows)
    need(isinstance(answer, np.ndarray) and answer.shape == shape, "init_ answers otherwise")
    need(answer.dtype.kind in "fiu", "init_ answers otherwise")


def isolation_forest(model: Any) -> Rest:
    if "estimators_" not in model.__dict__:
        return ()
    most = model.__dict__.get("_max_features")
    features = count_features(model)
    subsets = model.__dict__.get("estimators_features_", ())
    if not run.first(("isolation", most, features), model.__dict__["estimators_"], subsets):
        return ()
    estimators = list(estimators_of(model))
    need(isinstance(subsets, (list, tuple, np.ndarray)), "estimators_features_ is no list")
    need(len(subsets) == len(estimators), "estimators_features_ of another number")
    need(is_whole(most, 1, features + 1), "_max_features is out of range")
    need(all(len(subset) == most for subset in subsets), "estimators_features_ of other sizes")

    def member(estimator: Any) -> None:
        tree = _tree_of(estimator)
        need(
            tree is not None and tree.n_features == most,
            "a tree splits another number of features than its subset",
        )

    return ((estimator, member) for estimator in estimators)


# ensemble/_hist_gradient_boosting/_predictor.pyx


def predictor(model: Any) -> None:
    nodes = model.__dict__.get("nodes")
    categorical = run.once(lambda: _histogram_nodes(nodes), nodes, what="nodes")
    for name in ("raw_left_cat_bitsets", "binned_left_cat_bitsets"):
        sets = array(model.__dict__.get(name), 2, name, "u")
        need(sets.shape[1] == 8, f"{name} is of another width")
        inside(categorical, 0, len(sets), "bitset_idx")


def _histogram_nodes(nodes: Any) -> Array:
    """One binary tree, as prediction and partial dependence walk it; its numbers of bitsets."""
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
        need((child.astype(np.int64) > own).all(), "a node's child stands before it")
    children = np.concatenate([nodes["left"][inner], nodes["right"][inner]])
    need(not len(children) or int(np.bincount(children).max()) == 1, "a node with two parents")
    bitsets: Array = nodes["bitset_idx"][inner & (nodes["is_categorical"] != 0)]
    return bitsets


def bin_mapper(model: Any) -> None:
    categorical = model.__dict__.get("is_categorical_")
    if categorical is None:
        return
    thresholds = model.__dict__.get("bin_thresholds_")
    flags = array(categorical, 1, "is_categorical_", "bu")
    many = isinstance(thresholds, (list, tuple)) and len(thresholds) == len(flags)
    need(many, "bin_thresholds_ of another number")
    if run.first("categories", thresholds, flags):
        for place in np.flatnonzero(flags):
            values = array(thresholds[place], 1, "bin_thresholds_", "fiu")
            inside(values, 0, 256, "a category")


def hist_boosting(model: Any) -> Rest:
    predictors = model.__dict__.get("_predictors")
    if predictors is None:
        return ()
    features = count_features(model)
    need(not model.__dict__.get("_in_fit", False), "_in_fit: X would not be checked")
    _categories_first(model.__dict__.get("_preprocessor"), features)
    mapper = model.__dict__.get("_bin_mapper")
    need(type(mapper).__name__ == "_BinMapper", "_bin_mapper")
    flags = array(mapper.__dict__.get("is_categorical_"), 1, "is_categorical_", "bu")
    need(len(flags) == features, "_bin_mapper is of another number of features")
    known = run.once(lambda: int(np.count_nonzero(flags)), flags, what="count")
    need(isinstance(predictors, list), "_predictors is no list")
    if not run.first(("predictors", features, bool(known)), predictors):
        return ()
    need(all(map(is_list, predictors)), "_predictors is no list of lists")

    def member(predictor: Any) -> None:
        need(type(predictor).__name__ == "TreePredictor", "_predictors holds something else")
        nodes = predictor.__dict__["nodes"]
        inner = nodes["is_leaf"] == 0
        inside(nodes["feature_idx"][inner], 0, features, "feature_idx")
        need(
            known or not nodes["is_categorical"][inner].any(),
            "a split by categories of which there are none",
        )

    return ((tree, member) for iteration in predictors for tree in lazy.items_of(iteration))


def _categories_first(preprocessor: Any, features: int) -> None:
    """The preprocessor gives as many columns as it takes: categories as numbers, then the rest."""
    if preprocessor is None:
        return
    steps = preprocessor.__dict__.get("transformers_")
    need(type(preprocessor).__name__ == "ColumnTransformer", "_preprocessor")
    need(isinstance(steps, list) and len(steps) in (2, 3), "_preprocessor")
    need(all(step[:2] == ("remainder", "drop") for step in steps[2:]), "_preprocessor")
    steps = steps[:2]
    names = [(name, type(step).__name__) for name, step, _ in steps]
    need(names == [("encoder", "OrdinalEncoder"), ("numerical", "FunctionTransformer")], "steps")
    masks = [array(mask, 1, "a mask of _preprocessor", "b") for _, _, mask in steps]
    need(all(mask.shape == (features,) for mask in masks), "a mask of _preprocessor")
    whole = run.once(lambda: bool((masks[0] ^ masks[1]).all()), *masks, what="masks")
    need(whole, "_preprocessor leaves columns out")
    function = steps[1][1].__dict__.get("func")
    of = getattr(function, "func", None)
    need(getattr(of, "__qualname__", "") == "check_array", "_preprocessor")
    need(getattr(of, "__module__", "") == "sklearn.utils.validation", "_preprocessor")
    need(not function.args and set(function.keywords) <= _OF_NUMBERS, "_preprocessor")


_OF_NUMBERS = {"dtype", "ensure_all_finite", "force_all_finite", "estimator", "ensure_min_features"}
_OF_NUMBERS |= {"ensure_min_samples", "accept_sparse"}
