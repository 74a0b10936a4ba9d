"""A tree's arrays without what is too deep or has too few samples. Pure: arrays in, arrays out."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

LEAF, UNDEFINED = -1, -2  # sklearn/tree/_tree.pyx: TREE_LEAF, TREE_UNDEFINED


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a tree may be; None: as large as it is.

    Attributes
    ----------
    max_depth : int, optional
        Splits from the root to a leaf.
    min_samples_leaf : int, optional
        A split of which a side has fewer training samples (``n_node_samples``) becomes a leaf.
    """

    max_depth: int | None = None
    min_samples_leaf: int | None = None

    def __bool__(self) -> bool:
        return self.max_depth is not None or self.min_samples_leaf is not None


def depths(nodes: Array) -> NDArray[np.int64]:
    """The depth of each node; 0 for the root, which comes first.

    Parameters
    ----------
    nodes : structured ndarray of shape (nodes,)
        With the fields of scikit-learn's.
    """
    found = np.zeros(len(nodes), np.int64)
    level, depth = np.zeros(1, np.int64), 0
    while len(level):
        found[level] = depth
        level = level[nodes["left_child"][level] != LEAF]
        level = np.concatenate([nodes["left_child"][level], nodes["right_child"][level]])
        depth += 1
    return found


def stops(nodes: Array, depth: NDArray[np.int64], limits: Limits) -> NDArray[np.bool_]:
    """Whether each node is a leaf under these limits, if it is reached at all."""
    found: NDArray[np.bool_] = nodes["left_child"] == LEAF
    if limits.max_depth is not None:
        found = found | (depth >= limits.max_depth)
    if limits.min_samples_leaf is not None:
        left, right = nodes["left_child"], nodes["right_child"]
        samples = nodes["n_node_samples"]
        smaller = np.minimum(samples[left], samples[right])  # -1 of leaves: they stop anyway
        found = found | (smaller < limits.min_samples_leaf)
    return found


def reached(nodes: Array, stop: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether the way from the root to each node meets no node that stops."""
    found = np.zeros(len(nodes), np.bool_)
    level = np.zeros(1, np.int64)
    while len(level):
        found[level] = True
        level = level[~stop[level]]
        level = np.concatenate([nodes["left_child"][level], nodes["right_child"][level]])
    return found


def ends(nodes: Array, stop: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Where the way from the root to each node stops: itself, or the first that stops before it."""
    found = np.arange(len(nodes))
    level = np.zeros(1, np.int64)
    while len(level):
        level = level[nodes["left_child"][level] != LEAF]
        over = found[level]
        over = np.where(stop[over], over, UNDEFINED)
        for side in ("left_child", "right_child"):
            child = nodes[side][level]
            found[child] = np.where(over == UNDEFINED, child, over)
        level = np.concatenate([nodes["left_child"][level], nodes["right_child"][level]])
    return found


def cut(nodes: Array, values: Array, limits: Limits) -> tuple[Array, Array, int]:
    """A tree within limits: the nodes, the values and the depth that are left.

    Nodes keep their order; one that becomes a leaf keeps its value, impurity and samples.

    Parameters
    ----------
    nodes : structured ndarray of shape (nodes,)
    values : ndarray of shape (nodes, ...)
    limits : Limits

    Returns
    -------
    nodes, values : ndarray
        New arrays.
    depth : int

    Raises
    ------
    ValueError
        If a node that becomes a leaf has no value: the model was dumped for inference.
    """
    depth = depths(nodes)
    stop = stops(nodes, depth, limits)
    keep = reached(nodes, stop)
    new = stop & keep & (nodes["left_child"] != LEAF)
    if np.isnan(values[new]).any():
        raise ValueError(
            "its inner nodes have no values (it was dumped with profile='inference'): prune the "
            "model it was dumped from"
        )
    number = np.cumsum(keep) - 1
    ends = stop[keep]
    kept = nodes[keep]
    for side in ("left_child", "right_child"):
        kept[side] = np.where(ends, LEAF, number[kept[side]])
    fresh = new[keep]
    kept["feature"][fresh] = UNDEFINED
    kept["threshold"][fresh] = UNDEFINED
    if "missing_go_to_left" in (nodes.dtype.names or ()):
        kept["missing_go_to_left"][fresh] = 0
    return kept, values[keep], int(depth[keep].max())
