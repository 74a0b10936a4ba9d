"""Translates states in pickles of other machines and older releases to this one's."""

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

from shardpickle.sklearn_support import migrations, tree_states


def to_native_indices(value: Any) -> Any:
    """Convert signed 32- or 64-bit integers of any byte order to this machine's `intp`."""
    known = isinstance(value, np.ndarray) and value.dtype.kind == "i" and value.itemsize in (4, 8)
    return value.astype(np.intp, casting="same_kind") if known else value


def translate_state(instance: Any, state: Any) -> Any:
    """Return the state of a compiled class, or of one that holds its arrays, in this layout.

    Pickles of 32-bit Pythons have 32-bit indices. Those of other machines have another byte order,
    which scikit-learn's own trees accept, too.
    """
    kind = type(instance).__module__, type(instance).__name__
    if kind[0] in _NEIGHBOR_TREES and type(state) is tuple and len(state) == 13:
        data, index, nodes_, *rest = state
        return data, to_native_indices(index), _convert_records(nodes_, _get_node_dtype()), *rest
    if type(state) is not dict:
        return state
    if isinstance(instance, Tree):
        translated = {**state}
        if isinstance(state.get("nodes"), np.ndarray):
            translated["nodes"] = tree_states.nodes(state["nodes"])
        values = state.get("values")
        if isinstance(values, np.ndarray) and values.dtype.str[1:] == "f8":
            translated["values"] = values.astype(np.float64, copy=False)
        return translated
    if isinstance(instance, TreePredictor):
        return {**state, "nodes": _convert_records(state.get("nodes"), PREDICTOR_RECORD_DTYPE)}
    for name, change in _OF_THIS_MACHINE.get(kind, {}).items():
        if name in state:
            state = {**state, name: change(state[name])}
    return state


_NEIGHBOR_TREES = ("sklearn.neighbors._kd_tree", "sklearn.neighbors._ball_tree")


@functools.cache
def _get_node_dtype() -> np.dtype[Any]:
    dtype: np.dtype[Any] = KDTree([[0.0]]).__getstate__()[2].dtype
    return dtype


def _convert_records(array: Any, dtype: np.dtype[Any]) -> Any:
    other = isinstance(array, np.ndarray) and array.dtype != dtype
    return _copy_fields(array, dtype) if other else array


# Arrays that compiled loops take only with this machine's own integers, by class and attribute.
_OF_THIS_MACHINE: dict[tuple[str, str], dict[str, Callable[[Any], Any]]] = {
    ("sklearn.neighbors._classification", "KNeighborsClassifier"): {"_y": to_native_indices},
    ("sklearn.neighbors._classification", "RadiusNeighborsClassifier"): {"_y": to_native_indices},
    ("sklearn.cluster._hdbscan.hdbscan", "HDBSCAN"): {
        "_single_linkage_tree_": lambda array: _convert_records(array, HIERARCHY_dtype)
    },
}


def _copy_fields(array: NDArray[np.void], dtype: np.dtype[Any]) -> NDArray[np.void]:
    """Copy records to a dtype with the same fields, which may have other widths."""
    if array.dtype.names is None or set(array.dtype.names) != set(dtype.names or ()):
        raise ValueError(f"nodes with other fields: {array.dtype.names}")
    converted = np.zeros(array.shape, dtype)
    for name in array.dtype.names:
        np.copyto(converted[name], array[name], casting="same_kind")
    return converted


def find_counting_tree(instance: Any, state: Any) -> Any:
    """Return the tree of a classifier's state if it holds the weight of each class; else None."""
    if not isinstance(instance, DecisionTreeClassifier) or type(state) is not dict:
        return None
    version, tree = state.get("_sklearn_version"), state.get("tree_")
    old = type(version) is str and migrations.release(version) < (1, 4)
    return tree if old and isinstance(tree, Tree) and tree.node_count > 0 else None


def to_fractions(tree: Any) -> None:
    """Make a tree's values fractions, in place; see `tree_states.fractions`."""
    own_state = tree.__getstate__()  # the tree's own memory
    own_state["values"][...] = tree_states.fractions(
        own_state["values"], own_state["nodes"]["weighted_n_node_samples"]
    )


def translate_arguments(function: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Convert the arguments of a compiled class to this machine's (``_check_n_classes``)."""
    if function is not Tree or len(args) != 3:
        return args
    return args[0], to_native_indices(args[1]), args[2]
