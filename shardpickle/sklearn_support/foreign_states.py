"""States in pickles of other machines and older releases, as this one has them."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster._hdbscan._tree import HIERARCHY_dtype
from sklearn.ensemble._hist_gradient_boosting.common import PREDICTOR_RECORD_DTYPE
from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
from sklearn.neighbors import KDTree
from sklearn.tree import DecisionTreeClassifier
from sklearn.tree._tree import Tree

from shardpickle.sklearn_support import migrations


def indices(value: Any) -> Any:
    """Signed integers of 32 or 64 bits, in whatever byte order, as wide as this machine's own."""
    known = isinstance(value, np.ndarray) and value.dtype.kind == "i" and value.itemsize in (4, 8)
    return value.astype(np.intp, casting="same_kind") if known else value


def foreign_state(instance: Any, state: Any) -> Any:
    """The state of a compiled class, or of one that holds its arrays, in the present layout.

    Pickles of Pythons of 32 bits have indices of 32 bits; those of other machines another byte
    order, which scikit-learn's own trees accept, too.
    """
    kind = type(instance).__module__, type(instance).__name__
    if kind[0] in _NEIGHBOR_TREES and type(state) is tuple and len(state) == 13:
        data, index, nodes_, *rest = state
        return data, indices(index), _records(nodes_, _neighbor_nodes()), *rest
    if type(state) is not dict:
        return state
    if isinstance(instance, Tree):
        found = {**state}
        if isinstance(state.get("nodes"), np.ndarray):
            found["nodes"] = migrations.nodes(state["nodes"])
        values = state.get("values")
        if isinstance(values, np.ndarray) and values.dtype.str[1:] == "f8":
            found["values"] = values.astype(np.float64, copy=False)
        return found
    if isinstance(instance, TreePredictor):
        return {**state, "nodes": _records(state.get("nodes"), PREDICTOR_RECORD_DTYPE)}
    for name, change in _OF_THIS_MACHINE.get(kind, {}).items():
        if name in state:
            state = {**state, name: change(state[name])}
    return state


_NEIGHBOR_TREES = ("sklearn.neighbors._kd_tree", "sklearn.neighbors._ball_tree")


@functools.cache
def _neighbor_nodes() -> np.dtype[Any]:
    found: np.dtype[Any] = KDTree([[0.0]]).__getstate__()[2].dtype
    return found


def _records(array: Any, dtype: np.dtype[Any]) -> Any:
    other = isinstance(array, np.ndarray) and array.dtype != dtype
    return _fields(array, dtype) if other else array


# What compiled loops take only as wide as this machine's own integers, by class and attribute.
_OF_THIS_MACHINE: dict[tuple[str, str], dict[str, Callable[[Any], Any]]] = {
    ("sklearn.neighbors._classification", "KNeighborsClassifier"): {"_y": indices},
    ("sklearn.neighbors._classification", "RadiusNeighborsClassifier"): {"_y": indices},
    ("sklearn.cluster._hdbscan.hdbscan", "HDBSCAN"): {
        "_single_linkage_tree_": lambda array: _records(array, HIERARCHY_dtype)
    },
}


def _fields(array: NDArray[np.void], dtype: np.dtype[Any]) -> NDArray[np.void]:
    """The same fields, each as wide as the present release has it."""
    if array.dtype.names is None or set(array.dtype.names) != set(dtype.names or ()):
        raise ValueError(f"nodes with other fields: {array.dtype.names}")
    found = np.zeros(array.shape, dtype)
    for name in array.dtype.names:
        np.copyto(found[name], array[name], casting="same_kind")
    return found


def counting_tree(instance: Any, state: Any) -> Any:
    """The tree of a classifier's state, where it holds the weight of each class; else None."""
    if not isinstance(instance, DecisionTreeClassifier) or type(state) is not dict:
        return None
    version, tree = state.get("_sklearn_version"), state.get("tree_")
    old = type(version) is str and migrations.release(version) < (1, 4)
    return tree if old and isinstance(tree, Tree) and tree.node_count > 0 else None


def to_fractions(tree: Any) -> None:
    """Make a tree's values fractions, where they stand; see `fractions`."""
    held = tree.__getstate__()  # the tree's own memory
    held["values"][...] = migrations.fractions(
        held["values"], held["nodes"]["weighted_n_node_samples"]
    )


def foreign_arguments(function: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """What a compiled class is called with, as this machine has it (``_check_n_classes``)."""
    if function is not Tree or len(args) != 3:
        return args
    return args[0], indices(args[1]), args[2]
