"""What compiled code assumes of arrays, checked once a model is assembled. Knows no bytes or paths.

scikit-learn's and SciPy's compiled loops index without bounds, so pieces that are each sound can
crash the process when they are put together wrongly. Each row of `CHECKS` is for one class and all
that inherit from it, by its name: no library is imported here for the sake of a check. The rows,
and the classes that need none, are listed in docs/trust.md. An attribute that is missing is an
unfitted model's; the libraries' own checks meet it.

Sources: the ``.pyx`` files of the modules named beside each row.
"""

import functools
import inspect
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.tree._tree import NODE_DTYPE, Tree

from shardpickle import grammar, lazy
from shardpickle.codecs.trees import preorder
from shardpickle.errors import ShardpickleError

Rest = Iterable[tuple[Any, "Check"]]  # estimators of an ensemble, and what must hold of each
Check = Callable[[Any], Rest | None]
Later = Callable[[Any, Check], None]
Array = np.ndarray[Any, np.dtype[Any]]


class BrokenError(Exception):
    """What compiled code would trust does not hold; says what."""


class _MisplacedError(BrokenError):
    def __init__(self, found: grammar.Misplaced) -> None:
        self.found = found


@functools.cache
def checks_of(cls: type) -> tuple[Check, ...]:
    """The checks for instances of a class: what stands in it, then those of its row and its bases'.

    What the grammar lets through, the others can rely on.
    """
    rows = [(base.__module__, base.__qualname__) for base in cls.__mro__]
    found = [CHECKS[row] for row in rows if row in CHECKS]
    return (*((_placed,) if grammar.knows(cls) else ()), *found)


def _placed(instance: Any) -> None:
    found = grammar.misplaced(instance, _run.own, _run.seen)
    if found is not None:
        raise _MisplacedError(found)
    count = vars(instance).get("n_features_in_")
    if isinstance(count, (int, np.integer)) and count > _MANY_FEATURES:  # each is given a name
        arrays = (each for each in vars(instance).values() if hasattr(each, "shape"))
        _need(any(count in each.shape for each in arrays), "n_features_in_ of no array's size")


_MANY_FEATURES = 1 << 24


def _need(condition: Any, reason: str) -> None:
    if not condition:
        raise BrokenError(reason)


def is_whole(value: Any, low: int, high: int) -> bool:
    return isinstance(value, (int, np.integer)) and low <= int(value) < high


def _array(value: Any, ndim: int, name: str, kinds: str = "f") -> Array:
    _need(
        isinstance(value, np.ndarray) and value.ndim == ndim and value.dtype.kind in kinds,
        f"{name} is no array of {ndim} dimensions of its kind",
    )
    found: Array = value
    return found


def _inside(value: Array, low: int, high: int, name: str) -> None:
    """All numbers of an array are in a range; read once in a run, however many objects hold it."""
    if value.size:
        least, most = _run.once(functools.partial(_bounds, value), value)
        _need(least >= low and most < high, f"{name} is out of range")


Found = TypeVar("Found")


def _nothing(thing: Any) -> bool:
    return False


class _Run(threading.local):
    """What was found of each array in this run of checks; outside one, nothing is kept.

    A small file can give one large array to very many objects: each is read once, so that the
    checks' work grows with what the file holds.
    """

    def __init__(self) -> None:
        self.known: dict[tuple[Any, ...], tuple[Any, Any]] | None = None
        self.hollow = False
        self.own: grammar.Own = _nothing
        self.seen: grammar.Seen = {}

    def once(self, find: Callable[[], Found], *seen: Any, what: Any = "bounds") -> Found:
        """What `find` says of objects and of `what`, a value that can be hashed."""
        if self.known is None:
            return find()
        key = what, *map(id, seen)
        if key not in self.known:
            self.known[key] = seen, find()  # alive, so that the identities stay their own
        found: Found = self.known[key][1]
        return found

    def first(self, what: Any, *seen: Any) -> bool:
        """Whether objects were not yet asked for something in this run."""
        news: list[bool] = []
        self.once(lambda: news.append(True), *seen, what=what)
        return bool(news)


_run = _Run()


@contextmanager
def one_run(*, own: grammar.Own = _nothing, hollow: bool = False) -> Iterator[None]:
    """Checks in here share what they know of arrays; nothing changes them meanwhile.

    `own` says what the caller trusts by name. With `hollow`, trees have no nodes: no estimator is
    asked to predict.
    """
    _run.known, _run.seen, _run.own, _run.hollow = {}, {}, own, hollow
    try:
        yield
    finally:
        _run.known, _run.seen, _run.own, _run.hollow = None, {}, _nothing, False


def is_a(instance: Any, module: str, name: str) -> bool:
    """Whether an instance is of a class, which may not be imported, or of one that inherits it."""
    return any(
        (base.__module__, base.__qualname__) == (module, name) for base in type(instance).__mro__
    )


def _features(model: Any) -> int:
    """`n_features_in_`; where it is missing, scikit-learn would not check X at all."""
    count = model.__dict__.get("n_features_in_")
    _need(is_whole(count, 1, 1 << 62), "n_features_in_ is not a number of features")
    return int(count or 0)


# Trees: tree/_tree.pyx (apply, predict and decision_path index without bounds) ------------------


def tree_nodes(nodes: Array, features: int) -> None:
    """One binary tree whose splits look at features that there are."""
    inner = nodes["left_child"] != -1
    left, right = nodes["left_child"][inner], nodes["right_child"][inner]
    n = len(nodes)
    if len(left):
        _need(min(left.min(), right.min()) >= 0, "a node's child is out of range")
        _need(max(left.max(), right.max()) < n, "a node's child is out of range")
        _inside(nodes["feature"][inner], 0, features, "a node's feature")
        _need(preorder(nodes) is not None, "nodes that are not one tree")


def _depth(nodes: Array) -> int:
    level, found = np.zeros(1, np.int64), -1
    while len(level):  # one tree: every level is new
        found += 1
        level = level[nodes["left_child"][level] != -1]
        level = np.concatenate([nodes["left_child"][level], nodes["right_child"][level]])
    return found


def tree_state(tree: Any, state: Any) -> None:
    """What `Tree.__setstate__` may be given."""
    _need(
        type(state) is dict and set(state) == {"max_depth", "node_count", "nodes", "values"},
        "a tree's state has other members",
    )
    nodes, values = state["nodes"], state["values"]
    count = state["node_count"]
    _need(type(count) is int and is_whole(state["max_depth"], 0, 1 << 31), "a tree's sizes")
    _need(isinstance(nodes, np.ndarray) and nodes.dtype == NODE_DTYPE, "a tree's nodes")
    _need(nodes.shape == (count,) and count > 0, "a tree's nodes are of another number")
    shape = (count, int(tree.n_outputs), int(tree.max_n_classes))
    _need(isinstance(values, np.ndarray) and values.dtype == np.float64, "a tree's values")
    _need(values.shape == shape, "a tree's values are of another shape")
    _need(nodes.flags.c_contiguous and values.flags.c_contiguous, "a tree's arrays have gaps")
    tree_nodes(nodes, int(tree.n_features))
    _need(_depth(nodes) <= state["max_depth"], "a tree is deeper than it says")


def tree(tree: Any) -> None:
    """A tree whose columns were stored as they are."""
    grown(tree.__getstate__()["nodes"], int(tree.n_features), int(tree.max_depth))


def grown(nodes: Array, features: int, depth: int) -> None:
    """The nodes of such a tree."""
    tree_nodes(nodes, features)
    _need(_depth(nodes) <= depth, "a tree is deeper than it says")


def nodes_problem(nodes: Array, features: int, depth: int) -> str | None:
    """Why nodes that were stored as they are must not be walked; None if nothing says so."""
    found = problem(nodes, [lambda each: grown(each, features, depth)])
    return None if found is None else found.text


def _decision_tree(model: Any) -> None:
    tree = model.__dict__.get("tree_")
    if not isinstance(tree, Tree):
        return
    _need(tree.n_features == _features(model), "tree_ splits another number of features")
    classes = model.__dict__.get("n_classes_", 1)
    of_outputs = classes if isinstance(classes, (list, tuple, np.ndarray)) else [classes]
    _need(tree.n_outputs == model.__dict__.get("n_outputs_"), "tree_ has other outputs")
    if is_a(model, "sklearn.base", "ClassifierMixin"):
        same = list(tree.n_classes) == [int(each) for each in of_outputs]
        _need(same, "tree_ is of another number of classes")
    else:
        _need(tree.max_n_classes == 1, "tree_ has classes")


def _of_trees(model: Any) -> Iterable[Any]:
    found = model.__dict__.get("estimators_", ())
    _need(_is_list(found) or isinstance(found, (tuple, np.ndarray)), "estimators_ is no list")
    return list(found.flat) if isinstance(found, np.ndarray) else lazy.items_of(found)


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, lazy.LazyList))


def _tree_of(estimator: Any) -> Any:
    tree = getattr(estimator, "__dict__", {}).get("tree_")
    return tree if isinstance(tree, Tree) else None


def _forest(model: Any) -> Rest:
    count = model.__dict__.get("n_features_in_")

    def member(estimator: Any) -> None:
        tree = _tree_of(estimator)
        if tree is not None:
            same = is_whole(count, 1, 1 << 62) and tree.n_features == count
            _need(same, "a tree splits another number of features than its forest")

    if not _run.first(("forest", count), model.__dict__.get("estimators_")):
        return ()
    return ((estimator, member) for estimator in _of_trees(model))


# ensemble/_gradient_boosting.pyx: predict_stages


def _gradient_boosting(model: Any) -> Rest:
    estimators = model.__dict__.get("estimators_")
    if estimators is None:
        return ()
    outputs = model.__dict__.get("n_trees_per_iteration_")
    _need(
        isinstance(estimators, np.ndarray) and estimators.ndim == 2 and len(estimators),
        "estimators_ is no array of two dimensions",
    )
    _need(is_whole(outputs, 1, 1 << 31), "n_trees_per_iteration_")
    _need(estimators.shape[1] == outputs, "estimators_ has another number of columns")
    _first_guess(model, int(outputs or 0))
    features = _features(model)

    def member(estimator: Any) -> None:
        tree = _tree_of(estimator)
        _need(tree is not None, "estimators_ holds something other than fitted trees")
        _need(
            tree.n_features == features and estimator.__dict__.get("n_features_in_") == features,
            "a tree splits another number of features than its ensemble",
        )
        _need(tree.n_outputs == 1 and tree.max_n_classes == 1, "a tree with several outputs")

    if not _run.first(("boosting", features), estimators):
        return ()
    return ((estimator, member) for estimator in estimators.flat)


def _first_guess(model: Any, outputs: int) -> None:
    """What `init_` predicts becomes the memory that compiled code adds to: a row for each of X's.

    So it has to be an estimator of which that is known. Another one (the `init` parameter takes
    any) is refused: `unsafe=True` loads it.
    """
    init, loss = lazy.real(model.__dict__.get("init_")), model.__dict__.get("_loss")
    regression = is_a(model, "sklearn.base", "RegressorMixin")
    _need(not regression or outputs == 1, "several trees in an iteration of a regressor")
    if outputs != 1:
        _need(type(loss).__name__ == "HalfMultinomialLoss", "_loss has no classes")
        _need(getattr(loss, "n_classes", None) == outputs, "_loss is of another number of classes")
    if init == "zero" and isinstance(init, str):
        return
    state = getattr(init, "__dict__", {})
    kind = type(init).__module__, type(init).__qualname__
    if kind[0] not in ("sklearn.dummy", "sklearn.tree._classes", "sklearn.ensemble._forest"):
        _answers(init, _features(model), 0 if regression else max(outputs, 2))
        return
    _need(state.get("n_outputs_") == 1, "init_ has several outputs")
    if kind[1] == "DummyRegressor":
        constant = _array(state.get("constant_"), 2, "constant_", "fiu")
        _need(constant.shape == (1, 1), "constant_ of init_")
    elif not regression:
        _need(state.get("n_classes_") == max(outputs, 2), "init_ is of another number of classes")
        _need(len(state.get("classes_", ())) == max(outputs, 2), "classes_ of init_")
    if kind[1] == "DummyClassifier":
        _need(
            state.get("_strategy") in ("prior", "most_frequent", "stratified", "uniform"), "init_"
        )
        prior = _array(state.get("class_prior_"), 1, "class_prior_")
        _need(len(prior) == max(outputs, 2), "class_prior_ of init_")


@contextmanager
def _counting_nothing(estimator: Any) -> Iterator[None]:
    """k-d and ball trees count what they are asked: they are given back as they were."""
    trees = [
        (each, each.__getstate__())
        for each in _below(estimator)
        if any(base.__name__.startswith("BinaryTree") for base in type(each).__mro__)
    ]
    try:
        yield
    finally:
        for tree, state in trees:
            tree.__setstate__(state)


def _below(thing: Any) -> Iterator[Any]:
    """What an object holds, itself included; of what is loaded, each thing once."""
    left, seen = [thing], set()
    while left:
        each = left.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        if isinstance(each, (list, tuple, set, frozenset)):
            left += each
        elif isinstance(each, dict):
            left += [*each, *each.values()]
        elif isinstance(each, np.ndarray):
            left += each.ravel().tolist() if each.dtype.hasobject else ()
        elif not lazy.is_stand_in(each):
            left += getattr(each, "__dict__", {}).values()


def _answers(estimator: Any, features: int, classes: int) -> None:
    """An estimator gives a row for each row, and a column for each class; asked about two rows."""
    rows = np.zeros((2, features))
    method = "predict_proba" if classes else "predict"
    shape = (2, classes) if classes else (2,)
    _need(isinstance(estimator, BaseEstimator), "init_ is no estimator")
    if _run.hollow or not _run.first((method, features, classes), estimator):
        return
    with warnings.catch_warnings(), _counting_nothing(estimator):
        warnings.simplefilter("ignore")
        answer = getattr(estimator, method)(rows)
    _need(isinstance(answer, np.ndarray) and answer.shape == shape, "init_ answers otherwise")
    _need(answer.dtype.kind in "fiu", "init_ answers otherwise")


def _isolation_forest(model: Any) -> Rest:
    if "estimators_" not in model.__dict__:
        return ()
    most = model.__dict__.get("_max_features")
    features = _features(model)
    subsets = model.__dict__.get("estimators_features_", ())
    if not _run.first(("isolation", most, features), model.__dict__["estimators_"], subsets):
        return ()
    estimators = list(_of_trees(model))
    _need(isinstance(subsets, (list, tuple, np.ndarray)), "estimators_features_ is no list")
    _need(len(subsets) == len(estimators), "estimators_features_ of another number")
    _need(is_whole(most, 1, features + 1), "_max_features is out of range")
    _need(all(len(subset) == most for subset in subsets), "estimators_features_ of other sizes")

    def member(estimator: Any) -> None:
        tree = _tree_of(estimator)
        _need(
            tree is not None and tree.n_features == most,
            "a tree splits another number of features than its subset",
        )

    return ((estimator, member) for estimator in estimators)


# ensemble/_hist_gradient_boosting/_predictor.pyx


def _predictor(model: Any) -> None:
    nodes = model.__dict__.get("nodes")
    categorical = _run.once(lambda: _histogram_nodes(nodes), nodes, what="nodes")
    for name in ("raw_left_cat_bitsets", "binned_left_cat_bitsets"):
        sets = _array(model.__dict__.get(name), 2, name, "u")
        _need(sets.shape[1] == 8, f"{name} is of another width")
        _inside(categorical, 0, len(sets), "bitset_idx")


def _histogram_nodes(nodes: Any) -> Array:
    """One binary tree, as prediction and partial dependence walk it; its numbers of bitsets."""
    needed = {"left", "right", "feature_idx", "is_leaf", "is_categorical", "bitset_idx"}
    _need(
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
        _need(not len(child) or int(child.max()) < len(nodes), "a node's child is out of range")
        _need((child.astype(np.int64) > own).all(), "a node's child stands before it")
    children = np.concatenate([nodes["left"][inner], nodes["right"][inner]])
    _need(not len(children) or int(np.bincount(children).max()) == 1, "a node with two parents")
    found: Array = nodes["bitset_idx"][inner & (nodes["is_categorical"] != 0)]
    return found


def _bin_mapper(model: Any) -> None:
    categorical = model.__dict__.get("is_categorical_")
    if categorical is None:
        return
    thresholds = model.__dict__.get("bin_thresholds_")
    flags = _array(categorical, 1, "is_categorical_", "bu")
    many = isinstance(thresholds, (list, tuple)) and len(thresholds) == len(flags)
    _need(many, "bin_thresholds_ of another number")
    if _run.first("categories", thresholds, flags):
        for place in np.flatnonzero(flags):
            values = _array(thresholds[place], 1, "bin_thresholds_", "fiu")
            _inside(values, 0, 256, "a category")


def _hist_boosting(model: Any) -> Rest:
    predictors = model.__dict__.get("_predictors")
    if predictors is None:
        return ()
    features = _features(model)
    _need(not model.__dict__.get("_in_fit", False), "_in_fit: X would not be checked")
    _categories_first(model.__dict__.get("_preprocessor"), features)
    mapper = model.__dict__.get("_bin_mapper")
    _need(type(mapper).__name__ == "_BinMapper", "_bin_mapper")
    flags = _array(mapper.__dict__.get("is_categorical_"), 1, "is_categorical_", "bu")
    _need(len(flags) == features, "_bin_mapper is of another number of features")
    known = _run.once(lambda: int(np.count_nonzero(flags)), flags, what="count")
    _need(isinstance(predictors, list), "_predictors is no list")
    if not _run.first(("predictors", features, bool(known)), predictors):
        return ()
    _need(all(map(_is_list, predictors)), "_predictors is no list of lists")

    def member(predictor: Any) -> None:
        _need(type(predictor).__name__ == "TreePredictor", "_predictors holds something else")
        nodes = predictor.__dict__["nodes"]
        inner = nodes["is_leaf"] == 0
        _inside(nodes["feature_idx"][inner], 0, features, "feature_idx")
        _need(
            known or not nodes["is_categorical"][inner].any(),
            "a split by categories of which there are none",
        )

    return ((one, member) for iteration in predictors for one in lazy.items_of(iteration))


def _categories_first(preprocessor: Any, features: int) -> None:
    """The preprocessor gives as many columns as it takes: categories as numbers, then the rest."""
    if preprocessor is None:
        return
    steps = preprocessor.__dict__.get("transformers_")
    _need(type(preprocessor).__name__ == "ColumnTransformer", "_preprocessor")
    _need(isinstance(steps, list) and len(steps) in (2, 3), "_preprocessor")
    _need(all(step[:2] == ("remainder", "drop") for step in steps[2:]), "_preprocessor")
    steps = steps[:2]
    names = [(name, type(step).__name__) for name, step, _ in steps]
    _need(names == [("encoder", "OrdinalEncoder"), ("numerical", "FunctionTransformer")], "steps")
    masks = [_array(mask, 1, "a mask of _preprocessor", "b") for _, _, mask in steps]
    _need(all(mask.shape == (features,) for mask in masks), "a mask of _preprocessor")
    whole = _run.once(lambda: bool((masks[0] ^ masks[1]).all()), *masks, what="masks")
    _need(whole, "_preprocessor leaves columns out")
    function = steps[1][1].__dict__.get("func")
    of = getattr(function, "func", None)
    _need(getattr(of, "__qualname__", "") == "check_array", "_preprocessor")
    _need(getattr(of, "__module__", "") == "sklearn.utils.validation", "_preprocessor")
    _need(not function.args and set(function.keywords) <= _OF_NUMBERS, "_preprocessor")


_OF_NUMBERS = {"dtype", "ensure_all_finite", "force_all_finite", "estimator", "ensure_min_features"}
_OF_NUMBERS |= {"ensure_min_samples", "accept_sparse"}


# neighbors/_binary_tree.pxi.tp: nodes are an implicit binary tree


def metric_state(metric: Any, state: Any) -> None:
    """What `DistanceMetric.__setstate__` may be given."""
    name = type(metric).__name__
    _need(type(state) is tuple and len(state) == 3, "a distance metric's state")
    power, vector, matrix = state
    _need(isinstance(power, float), "a distance metric's power")
    _need(vector.dtype == np.float64 and matrix.dtype == np.float64, "a distance metric's weights")
    _array(vector, 1, "a distance metric's weights")
    _array(matrix, 2, "a distance metric's weights")
    if name.startswith("Mahalanobis"):
        _need(matrix.shape[0] == matrix.shape[1], "a distance metric's matrix is not square")


def neighbor_tree_state(tree: Any, state: Any) -> None:
    """What ``__setstate__`` of a k-d or ball tree may be given."""
    _need(type(state) is tuple and len(state) == 13, "a k-d or ball tree's state")
    data, index, nodes, bounds, leaf_size, levels, count = state[:7]
    metric, weights = state[11], state[12]
    data = _array(data, 2, "a tree's data")
    samples, features = data.shape
    index = _array(index, 1, "idx_array", "iu")
    _need(len(index) == samples and samples > 0, "idx_array is of another length")
    _inside(index, 0, samples, "idx_array")
    _need(all(type(each) is int and abs(each) < 1 << 62 for each in state[4:11]), "sizes")
    _need(leaf_size >= 1 and 1 <= levels < 60 and count == 2**levels - 1, "n_nodes")
    _need(isinstance(nodes, np.ndarray) and nodes.ndim == 1 and len(nodes) == count, "node_data")
    _need(nodes.dtype.names == ("idx_start", "idx_end", "is_leaf", "radius"), "node_data")
    least, most, in_order, ends = _run.once(lambda: _node_data(nodes), nodes, what="node_data")
    _need(least >= 0 and most <= samples, "idx_start or idx_end is out of range")
    _need(in_order, "a node ends before it starts")
    _need(ends, "a node without children is no leaf")
    bounds = _array(bounds, 3, "node_bounds")
    _need(bounds.shape[0] >= 1 and bounds.shape[1:] == (count, features), "node_bounds")
    if "KDTree" in type(tree).__name__:
        _need(len(bounds) == 2, "node_bounds")
    if weights is not None:
        _need(len(_array(weights, 1, "sample_weight")) == samples, "sample_weight")
    names = [base.__name__ for base in type(metric).__mro__]
    _need(any(name.startswith("DistanceMetric") for name in names), "dist_metric is no metric")
    vector, matrix = metric.__getstate__()[1:3]
    kind = type(metric).__name__
    if kind.startswith("SEuclidean"):
        _need(len(vector) == features, "dist_metric is of another number of features")
    if kind.startswith("Minkowski"):
        _need(len(vector) in (0, features), "dist_metric is of another number of features")
    if kind.startswith("Haversine"):
        _need(features == 2, "dist_metric is of two features")
    if kind.startswith("Mahalanobis"):
        _need(len(matrix) == features, "dist_metric is of another number of features")


def _node_data(nodes: Array) -> tuple[int, int, bool, bool]:
    start, end, leaf = nodes["idx_start"], nodes["idx_end"], nodes["is_leaf"]
    least, most = min(start.min(), end.min()), max(start.max(), end.max())
    childless = leaf[len(nodes) // 2 :]
    return int(least), int(most), bool((start <= end).all()), bool((childless != 0).all())


def _neighbor_tree(tree: Any) -> None:
    """Nothing: its state is checked before it is given to it, and nothing changes it."""


# metrics/_pairwise_distances_reduction: features of the fitted X are read by those of X


def _rows(value: Any) -> tuple[int, int]:
    shape = getattr(value, "shape", None)
    _need(isinstance(shape, tuple) and len(shape) == 2, "the fitted X is no table")
    rows, columns = shape or (0, 0)
    return rows, columns


def _neighbors(model: Any) -> None:
    fitted, tree = model.__dict__.get("_fit_X"), model.__dict__.get("_tree")
    for name in ("metric_params", "effective_metric_params_"):
        options = model.__dict__.get(name)
        _need(options is None or type(options) is dict, name)
        _need(not _NORMS & set(options or ()), f"{name} holds norms of other rows")
    if "n_samples_fit_" not in model.__dict__ and tree is None and fitted is None:
        return
    rows, columns = _rows(fitted)
    _need(rows >= 1, "no rows")
    if "n_features_in_" not in model.__dict__ and tree is not None:  # fitted on another one's tree
        by_tree = model.__dict__.get("_fit_method") in ("kd_tree", "ball_tree")
        _need(by_tree, "n_features_in_ is not a number of features")  # trees look at X themselves
    else:
        _need(columns == _features(model), "_fit_X is of another number of features")
    if tree is not None:
        _need(type(tree).__name__[:6] in ("KDTree", "BallTr"), "_tree is no tree")
        data = tree.__getstate__()[0]
        _need(data.shape == (rows, columns), "_tree holds another number of samples or features")
    many = model.__dict__.get("n_samples_fit_")
    _need(many == rows, "n_samples_fit_")


_NORMS = {"X_norm_squared", "Y_norm_squared"}


def _neighbors_classifier(model: Any) -> None:
    labels, classes = model.__dict__.get("_y"), model.__dict__.get("classes_")
    if labels is None or model.__dict__.get("_fit_X") is None:
        return
    _need(isinstance(labels, np.ndarray) and labels.dtype.kind in "iu", "_y")
    _need(len(labels) == _rows(model.__dict__["_fit_X"])[0], "_y is of another length")
    of_each = classes if isinstance(classes, list) else [classes]
    columns = labels.reshape(len(labels), -1)
    _need(len(of_each) == columns.shape[1], "classes_")
    least, most = _run.once(lambda: (columns.min(0), columns.max(0)), labels, what="columns")
    fewest = np.array([len(known) for known in of_each])
    _need((least >= 0).all() and (most < fewest).all(), "a label of _y is out of range")


def _birch(model: Any) -> None:
    norms = model.__dict__.get("_subcluster_norms")
    if norms is not None:
        rows, columns = _rows(model.__dict__.get("subcluster_centers_"))
        _need(columns == _features(model), "subcluster_centers_")
        _need(len(_array(norms, 1, "_subcluster_norms")) == rows, "_subcluster_norms")


# cluster/_k_means_lloyd.pyx, _k_means_common.pyx


def _k_means(model: Any) -> None:
    centers = model.__dict__.get("cluster_centers_")
    if centers is None:
        return
    _need(_array(centers, 2, "cluster_centers_").shape[1] == _features(model), "cluster_centers_")
    _need(len(centers) > 0, "cluster_centers_")
    counts = model.__dict__.get("_counts")  # of a mini-batch, which another one adds to
    _need(counts is None or _array(counts, 1, "_counts").shape == (len(centers),), "_counts")
    _need(is_whole(model.__dict__.get("_n_threads"), 1, 1025), "_n_threads")


def _bisecting_k_means(model: Any) -> None:
    if "cluster_centers_" not in model.__dict__:
        return
    _k_means(model)
    features = _features(model)
    root = model.__dict__.get("_bisecting_tree")
    if not _run.first(("bisecting", features, len(model.cluster_centers_)), root):
        return
    left, count = [root], 0
    while left:
        node = getattr(left.pop(), "__dict__", {})
        count += 1
        _need(count <= 2 * len(model.cluster_centers_), "_bisecting_tree")
        center = node.get("center")
        if center is not None:
            shapes = ((features,), (1, features))  # the second of a sparse matrix: np.matrix
            known = isinstance(center, np.ndarray) and center.dtype.kind == "f"
            _need(known and center.shape in shapes, "a center")
        left += [node[side] for side in ("left", "right") if node.get(side) is not None]


# svm/_libsvm.pyx, src/libsvm/libsvm_helper.c: lengths are taken from one array for all


_KERNELS = (
    *("linear", "poly", "polynomial", "rbf", "sigmoid", "laplacian", "cosine", "chi2"),
    "additive_chi2",
)


def _kernel(model: Any, support: Array) -> None:
    """Support vectors are rows of a kernel matrix, which is asked for with as many columns."""
    kernel, fitted = model.__dict__.get("kernel"), model.__dict__.get("shape_fit_")
    _need(not model.__dict__["_sparse"], "a precomputed kernel of sparse support vectors")
    _need(isinstance(fitted, tuple) and is_whole(fitted[0], 1, 1 << 62), "shape_fit_")
    rows = int(fitted[0])
    _inside(support, 0, rows, "support_")
    if not callable(kernel):
        _need(rows == _features(model), "shape_fit_")
        return
    if isinstance(kernel, functools.partial):  # of which the result keeps its shape
        _need(not kernel.args and set(kernel.keywords) <= _OF_KERNELS, "a kernel that is none")
        kernel = kernel.func
    own = getattr(kernel, "__module__", "") != "sklearn.metrics.pairwise"
    known = {f"{name}_kernel" for name in _KERNELS} | {"cosine_similarity"}
    # A function that the caller trusts is the caller's; a vetted one has to give a whole matrix.
    vetted = str(getattr(kernel, "__module__", "")).split(".")[0] in ("sklearn", "numpy", "scipy")
    _need(not (own and vetted), "a kernel that is none")
    _need(own or getattr(kernel, "__name__", "") in known, "a kernel that is none")
    _need(_rows(model.__dict__.get("_BaseLibSVM__Xfit"))[0] == rows, "the fitted X")


_OF_KERNELS = {"gamma", "degree", "coef0"}


def _libsvm(model: Any) -> None:
    state = model.__dict__
    if "support_vectors_" not in state:
        return
    _need(isinstance(state.get("_sparse"), (bool, np.bool_)), "_sparse")
    _need(bool(state["_sparse"]) == hasattr(state["support_vectors_"], "indptr"), "_sparse")
    vectors, support, counts = (
        state.get(name) for name in ("support_vectors_", "support_", "_n_support")
    )
    rows, columns = _rows(vectors)
    kernel = state.get("kernel")
    sparse = state.get("_sparse")
    own = not callable(kernel) and kernel != "precomputed"
    support = _array(support, 1, "support_", "i")
    if own:
        _need(columns == _features(model), "support_vectors_ are of other features")
        _need(len(support) == rows, "support_")
    else:
        _need((rows, columns) == (0, 0) or len(support) == rows, "support_")
        rows = len(support)
        _kernel(model, support)
    counts = _array(counts, 1, "_n_support", "i")
    classifier = type(model)._impl in ("c_svc", "nu_svc")
    classes = len(counts) if classifier else 2
    _need(len(counts) >= (2 if sparse else 1) and classes >= 2, "_n_support")
    if classifier:  # others are given numbers that nobody wrote
        _inside(counts, 0, rows + 1, "_n_support")
        _need(int(counts.sum()) == rows, "_n_support")
        _need(len(state.get("classes_", ())) == classes, "classes_")
    pairs = classes * (classes - 1) // 2 if classifier else 1
    for name in ("dual_coef_", "_dual_coef_"):
        _need(_rows(state.get(name)) == (classes - 1, rows), name)
    if sparse:
        for name in ("support_vectors_", "_dual_coef_"):
            _need(getattr(state[name], "format", None) == "csr", name)
        _need(len(state["_dual_coef_"].data) == (classes - 1) * rows, "_dual_coef_")
    for name in ("intercept_", "_intercept_"):
        _need(_array(state.get(name), 1, name).shape == (pairs,), name)
    for name in ("_probA", "_probB"):
        _need(len(_array(state.get(name), 1, name)) in (0, pairs), name)
    if "class_weight_" in state:
        weights = _array(state["class_weight_"], 1, "class_weight_")
        _need(len(weights) in (0, classes), "class_weight_")


# NumPy's bincount counts up to the largest number and one more, which has to be a number, too


_LARGEST = np.iinfo(np.int64).max


def _feature_agglomeration(model: Any) -> None:
    labels = model.__dict__.get("labels_")
    if labels is not None:
        _inside(_array(labels, 1, "labels_", "iu"), 0, _features(model), "a label")


def _voting(model: Any) -> Rest:
    """What members of a vote say is counted; it is made of numbers that they hold."""
    if model.__dict__.get("voting") == "soft":
        return ()

    def member(estimator: Any) -> None:
        for each in _below(estimator):
            if isinstance(each, np.ndarray) and each.dtype.kind in "iu" and each.size:
                most = _run.once(functools.partial(_bounds, each), each)[1]
            else:
                most = int(each) if isinstance(each, (int, np.integer)) else 0
            _need(most != _LARGEST, "a member holds a number that cannot be counted")

    return ((estimator, member) for estimator in _of_trees(model))


def _bounds(numbers: Array) -> tuple[int, int]:
    return int(numbers.min()), int(numbers.max())


# linear_model/_sgd_fast.pyx, _cd_fast.pyx: another fit goes on with the coefficients


def _descent(model: Any) -> None:
    coefficients = model.__dict__.get("coef_")
    if coefficients is None:
        return
    shape = np.shape(coefficients)
    _need(len(shape) in (1, 2) and shape[-1] == _features(model), "coef_")
    for name in ("_standard_coef", "_average_coef"):
        others = model.__dict__.get(name)
        same = others is None or np.shape(others)[-1:] == shape[-1:]
        _need(same, f"{name} is of another number of features than coef_")


# SciPy: sparse matrices (sparse/sparsetools), splines (interpolate/_bspl.pyx)


def _sparse(matrix: Any) -> None:
    shape = matrix.__dict__.get("_shape")
    _need(
        isinstance(shape, tuple) and all(is_whole(size, 0, 1 << 62) for size in shape),
        "a sparse matrix without a shape",
    )
    _need(len(shape or ()) in (1, 2), "a sparse matrix of other dimensions")
    _need(not {"_format", "format"} & set(matrix.__dict__), "a sparse matrix of another format")
    form = matrix.format
    data = matrix.__dict__.get("data")
    if form in ("csr", "csc", "bsr"):
        for name in ("indices", "indptr"):
            _array(matrix.__dict__.get(name), 1, name, "i")
        _need(isinstance(data, np.ndarray) and data.dtype.kind in "biufc", "data")
        _need(matrix.indices.dtype == matrix.indptr.dtype, "indices of another type than indptr")
        notes = tuple(bool(matrix.__dict__.get(f"_{flag}")) for flag in _NOTES)
        if not _run.first((form, shape, notes), matrix.indices, matrix.indptr, data):
            return
        tried = object.__new__(type(matrix))  # SciPy's check puts other arrays in the place of some
        tried.__dict__.update(matrix.__dict__)
        tried.check_format(full_check=True)
        _need(matrix.indices.size <= len(data), "data")
        if form != "bsr":
            _need(len(data) >= matrix.indptr[-1] <= len(matrix.indices), "indptr")
        for flag in _NOTES:
            if tried.__dict__.pop(f"_{flag}", None):
                _need(getattr(tried, flag), flag)
    elif form == "coo":
        coords = matrix.__dict__.get("coords")
        if coords is None:  # before SciPy 1.13
            coords = matrix.__dict__.get("row"), matrix.__dict__.get("col")
        _need(isinstance(coords, tuple) and len(coords) == len(shape), "coords")
        data = _array(data, 1, "data", "biufc")
        for index, size in zip(coords, shape, strict=True):
            _need(len(_array(index, 1, "coords", "i")) == len(data), "coords")
            _inside(index, 0, size, "coords")
    elif form == "dia":
        data = _array(data, 2, "data", "biufc")
        offsets = _array(matrix.__dict__.get("offsets"), 1, "offsets", "i")
        _need(len(offsets) == len(data), "offsets")
        distinct = _run.once(lambda: len(np.unique(offsets)), offsets, what="distinct")
        _need(distinct == len(offsets), "offsets")
        _inside(offsets, -shape[0], shape[1] + data.shape[1] + 1, "offsets")
    elif form == "lil":
        rows = matrix.__dict__.get("rows")
        for cells in (rows, data):
            _need(isinstance(cells, np.ndarray) and cells.shape == shape[:1], "rows")
        if not _run.first(("lil", shape), rows, data):
            return
        for cells in (rows, data):
            _need(cells.dtype == object and all(type(row) is list for row in cells), "rows")
        for row, values in zip(rows, data, strict=True):
            _need(len(row) == len(values), "rows")
            whole = all(is_whole(column, 0, shape[1]) for column in row)
            _need(whole and all(a < b for a, b in pairwise(row)), "rows")
            _need(all(isinstance(each, (int, float, complex, np.number)) for each in values), "")
    else:
        raise BrokenError(f"a sparse matrix of format {form!s:.20}")


_NOTES = ("has_canonical_format", "has_sorted_indices")  # which SciPy believes


def _spline(spline: Any) -> None:
    state = spline.__dict__
    if state.get("_delegate_to") is not None:  # since SciPy 1.18: it is checked by itself
        _need(type(state["_delegate_to"]).__name__ == "_BSpline", "a spline that is none")
        return
    _need(not ({"t", "_t"} <= set(state) or {"c", "_c"} <= set(state)), "a spline of two kinds")
    knots, order = state.get("t", state.get("_t")), state.get("k")
    coefficients = state.get("c", state.get("_c"))
    _need(is_whole(order, 0, 1 << 10), "a spline's degree")
    knots = _array(knots, 1, "a spline's knots")
    _need(isinstance(coefficients, np.ndarray) and coefficients.dtype.kind in "fc", "a spline")
    _need(len(knots) >= 2 * order + 2, "a spline with too few knots")
    axis = state.get("axis", 0)
    _need(axis == 0 and coefficients.ndim >= 1, "a spline's axis")
    _need(len(coefficients) >= len(knots) - order - 1, "a spline with too few coefficients")
    ordered = _run.once(lambda: bool((np.diff(knots) >= 0).all()), knots, what="order")
    _need(ordered, "a spline's knots are not in order")


# Column numbers that become indices of sparse matrices, which SciPy does not check


def _vocabulary(model: Any) -> None:
    words = model.__dict__.get("vocabulary_")
    if words is None:
        return
    _need(isinstance(words, dict), "vocabulary_ is no dict")
    if words:
        least, most = _run.once(lambda: _places(words), words)
        _need(least >= 0 and most < len(words), "vocabulary_ is out of range")


def _places(words: dict[Any, Any]) -> tuple[int, int]:
    _need(
        all(isinstance(each, (int, np.integer)) for each in words.values()),
        "vocabulary_ gives something other than numbers",
    )
    return int(min(words.values())), int(max(words.values()))


def _feature_hasher(model: Any) -> None:
    many = model.__dict__.get("n_features")
    _need(is_whole(many, 1, 1 << 31), "n_features is out of range")


def _one_hot(model: Any) -> None:
    state = model.__dict__
    categories = state.get("categories_")
    if categories is None:
        return
    _need(isinstance(categories, (list, tuple)), "categories_")
    sizes = [len(_array(each, 1, "categories_", "biufOSU")) for each in categories]
    for each in categories:
        if each.dtype.kind not in "OSU":  # text is found by its hash
            ordered = _run.once(functools.partial(_in_order, each), each, what="order")
            _need(ordered, "categories_ are not in order")
    found = model._compute_n_features_outs()
    _need(list(state.get("_n_features_outs", found)) == list(found), "_n_features_outs")
    enabled = state.get("_infrequent_enabled", False)
    rare = state.get("_infrequent_indices", [None] * len(sizes)) if enabled else [None] * len(sizes)
    mappings = state.get("_default_to_infrequent_mappings", [None] * len(sizes))
    _need(len(rare) == len(mappings) == len(sizes), "_infrequent_indices")
    for size, indices, mapping in zip(sizes, rare, mappings, strict=True):
        _need((indices is None) == (mapping is None), "_default_to_infrequent_mappings")
        if mapping is not None:
            _inside(_array(indices, 1, "_infrequent_indices", "iu"), 0, size, "an infrequent index")
            _need(len(_array(mapping, 1, "a mapping", "iu")) == size, "a mapping")
            _inside(mapping, 0, size - len(indices) + 1, "a mapping")
    grouped = [
        size if indices is None else size - len(indices) + 1
        for size, indices in zip(sizes, rare, strict=True)
    ]
    for name, most in (("_drop_idx_after_grouping", grouped), ("drop_idx_", sizes)):
        dropped = state.get(name)
        if dropped is not None:
            _need(isinstance(dropped, np.ndarray) and dropped.shape == (len(sizes),), name)
            for size, index in zip(most, dropped, strict=True):
                _need(index is None or is_whole(index, 0, size), name)


def _in_order(categories: Array) -> bool:
    known = categories[~np.isnan(categories)] if categories.dtype.kind == "f" else categories
    return bool((known[1:] > known[:-1]).all())


# preprocessing/_csr_polynomial_expansion.pyx: columns are counted, and not looked at again


def _polynomial(model: Any) -> None:
    state = model.__dict__
    if "n_output_features_" not in state:
        return
    interactions, bias = state.get("interaction_only"), state.get("include_bias")
    _need(isinstance(interactions, (bool, np.bool_)), "interaction_only is no flag")
    _need(isinstance(bias, (bool, np.bool_)), "include_bias is no flag")
    low, high = state.get("_min_degree"), state.get("_max_degree")
    _need(is_whole(low, 0, 1 << 10) and is_whole(high, low or 0, 1 << 10), "the degree")
    features = _features(model)
    for name, least in (("n_output_features_", low), ("_n_out_full", 0)):
        terms = model._num_combinations(features, least, high, interactions, bias)
        _need(state.get(name) == terms, name)


def _function_transformer(model: Any) -> None:
    """Functions that take rows for granted stand where their own estimators put them, not here."""
    for name in ("func", "inverse_func"):
        function = model.__dict__.get(name)
        module = str(getattr(getattr(function, "func", function), "__module__", ""))
        _need(not module.startswith(("sklearn.cluster", "sklearn.metrics")), f"{name} of {module}")


def _multi_label(model: Any) -> None:
    places = model.__dict__.get("_cached_dict")
    if places is not None:
        _need(type(places) is dict, "_cached_dict")
        many = len(places)
        _need(many == len(model.__dict__.get("classes_", ())), "_cached_dict")
        if _run.first("places", places):
            _need(all(is_whole(place, 0, many) for place in places.values()), "_cached_dict")


def _linkage(model: Any) -> None:
    linked = model.__dict__.get("_single_linkage_tree_")
    if linked is None:
        return
    _need(isinstance(linked, np.ndarray) and linked.ndim == 1, "_single_linkage_tree_")
    _need({"left_node", "right_node"} <= set(linked.dtype.names or ()), "_single_linkage_tree_")
    backwards = _run.once(lambda: _joins_what_is_there(linked), linked, what="linkage")
    _need(backwards, "_single_linkage_tree_")


def _joins_what_is_there(linked: Array) -> bool:
    own = np.arange(len(linked)) + len(linked) + 1
    sides = (linked["left_node"], linked["right_node"])
    return all(bool(((side >= 0) & (side < own)).all()) for side in sides)


_ENSEMBLE, _BOOSTING = "sklearn.ensemble", "sklearn.ensemble._hist_gradient_boosting"

CHECKS: dict[tuple[str, str], Check] = {
    ("sklearn.tree._classes", "BaseDecisionTree"): _decision_tree,
    (f"{_ENSEMBLE}._forest", "BaseForest"): _forest,
    (f"{_ENSEMBLE}._gb", "BaseGradientBoosting"): _gradient_boosting,
    (f"{_ENSEMBLE}._iforest", "IsolationForest"): _isolation_forest,
    (f"{_ENSEMBLE}._voting", "VotingClassifier"): _voting,
    (f"{_BOOSTING}.predictor", "TreePredictor"): _predictor,
    (f"{_BOOSTING}.binning", "_BinMapper"): _bin_mapper,
    (f"{_BOOSTING}.gradient_boosting", "BaseHistGradientBoosting"): _hist_boosting,
    **{
        (f"sklearn.neighbors.{module}", f"{name}{bits}"): _neighbor_tree
        for module, name in (("_kd_tree", "KDTree"), ("_ball_tree", "BallTree"))
        for bits in ("", "32")
    },
    ("sklearn.neighbors._base", "NeighborsBase"): _neighbors,
    ("sklearn.neighbors._classification", "KNeighborsClassifier"): _neighbors_classifier,
    ("sklearn.neighbors._classification", "RadiusNeighborsClassifier"): _neighbors_classifier,
    ("sklearn.cluster._birch", "Birch"): _birch,
    ("sklearn.cluster._kmeans", "KMeans"): _k_means,
    ("sklearn.cluster._kmeans", "MiniBatchKMeans"): _k_means,
    ("sklearn.cluster._bisect_k_means", "BisectingKMeans"): _bisecting_k_means,
    ("sklearn.cluster._feature_agglomeration", "AgglomerationTransform"): _feature_agglomeration,
    ("sklearn.cluster._hdbscan.hdbscan", "HDBSCAN"): _linkage,
    ("sklearn.svm._base", "BaseLibSVM"): _libsvm,
    ("sklearn.linear_model._stochastic_gradient", "BaseSGD"): _descent,
    ("sklearn.linear_model._coordinate_descent", "ElasticNet"): _descent,
    ("scipy.sparse._base", "_spbase"): _sparse,
    ("scipy.interpolate._bsplines", "BSpline"): _spline,
    ("scipy.interpolate._bsplines", "_BSpline"): _spline,
    ("sklearn.feature_extraction.text", "CountVectorizer"): _vocabulary,
    ("sklearn.feature_extraction._dict_vectorizer", "DictVectorizer"): _vocabulary,
    ("sklearn.feature_extraction._hash", "FeatureHasher"): _feature_hasher,
    ("sklearn.feature_extraction.text", "HashingVectorizer"): _feature_hasher,
    ("sklearn.preprocessing._encoders", "OneHotEncoder"): _one_hot,
    ("sklearn.preprocessing._polynomial", "PolynomialFeatures"): _polynomial,
    ("sklearn.preprocessing._label", "MultiLabelBinarizer"): _multi_label,
    ("sklearn.preprocessing._function_transformer", "FunctionTransformer"): _function_transformer,
}


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an instance must not be handed out, and what a caller may trust to have it."""

    text: str
    things: tuple[Any, ...] = ()
    crashes: bool = False


def problem(instance: Any, checks: Iterable[Check], later: Later | None = None) -> Problem | None:
    """Why an instance must not be handed out; None if nothing speaks against it.

    An ensemble's check gives what must hold of each of its estimators; of those that are not
    loaded, `later` is told.
    """
    for check in checks:
        try:
            for member, its in check(instance) or ():
                if later is not None and lazy.is_stand_in(member):
                    later(member, its)
                else:
                    its(member)
        except _MisplacedError as error:
            return Problem(error.found.text, error.found.things)
        except BrokenError as error:
            return _could_crash(instance, str(error))
        except ShardpickleError:  # of a lazy estimator that had to be loaded
            raise
        except Exception as error:  # what a file says can make any check stumble
            name = inspect.unwrap(check).__name__
            return _could_crash(instance, f"{name}: {type(error).__name__}: {error}")
    return None


def _could_crash(instance: Any, why: str) -> Problem:
    shown = type(instance).__qualname__
    return Problem(f"compiled code could crash on this {shown}: {why}", crashes=True)
