"""Cuts a tree's arrays at a depth or a leaf size. Pure: arrays in, arrays out."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

LEAF, UNDEFINED = -1, -2  # sklearn/tree/_tree.pyx: TREE_LEAF, TREE_UNDEFINED


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a tree may be. None means no limit.

    Attributes
    ----------
    max_depth : int, optional
        Number of splits from the root to a leaf.
    min_samples_leaf : int, optional
        A split becomes a leaf if one side has fewer training samples (``n_node_samples``).
    """

    max_depth: int | None = None
    min_samples_leaf: int | None = None

    def __bool__(self) -> bool:
        return self.max_depth is not None or self.min_samples_leaf is not None


def compute_depths(nodes: Array) -> NDArray[np.int64]:
    """Compute the depth of each node. The root comes first and has depth 0.

    Parameters
    ----------
    nodes : structured ndarray of shape (nodes,)
        scikit-learn's node array.
    """
    depths = np.zeros(len(nodes), np.int64)
    frontier, depth = np.zeros(1, np.int64), 0
    while len(frontier):
        depths[frontier] = depth
        frontier = frontier[nodes["left_child"][frontier] != LEAF]
        frontier = np.concatenate([nodes["left_child"][frontier], nodes["right_child"][frontier]])
        depth += 1
    return depths


def find_leaves(nodes: Array, depth: NDArray[np.int64], limits: Limits) -> NDArray[np.bool_]:
    """Find the nodes that are leaves under these limits, reachable or not."""
    is_leaf: NDArray[np.bool_] = nodes["left_child"] == LEAF
    if limits.max_depth is not None:
        is_leaf = is_leaf | (depth >= limits.max_depth)
    if limits.min_samples_leaf is not None:
        left, right = nodes["left_child"], nodes["right_child"]
        samples = nodes["n_node_samples"]
        smaller_side = np.minimum(samples[left], samples[right])  # -1 for leaves: leaves anyway
        is_leaf = is_leaf | (smaller_side < limits.min_samples_leaf)
    return is_leaf


def find_reached(nodes: Array, is_leaf: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Find the nodes whose path from the root meets no leaf before them."""
    reached = np.zeros(len(nodes), np.bool_)
    frontier = np.zeros(1, np.int64)
    while len(frontier):
        reached[frontier] = True
        frontier = frontier[~is_leaf[frontier]]
        frontier = np.concatenate([nodes["left_child"][frontier], nodes["right_child"][frontier]])
    return reached


def find_ends(nodes: Array, is_leaf: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Find the node where the path from the root to each node ends: at or above it."""
    ends = np.arange(len(nodes))
    frontier = np.zeros(1, np.int64)
    while len(frontier):
        frontier = frontier[nodes["left_child"][frontier] != LEAF]
        leaf_above = ends[frontier]
        leaf_above = np.where(is_leaf[leaf_above], leaf_above, UNDEFINED)
        for side in ("left_child", "right_child"):
            child = nodes[side][frontier]
            ends[child] = np.where(leaf_above == UNDEFINED, child, leaf_above)
        frontier = np.concatenate([nodes["left_child"][frontier], nodes["right_child"][frontier]])
    return ends


def cut_tree(nodes: Array, values: Array, limits: Limits) -> tuple[Array, Array, int]:
    """Cut a tree to limits.

    Nodes keep their order. A node that becomes a leaf keeps its value, impurity and samples.

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
        Depth of the tree that is left.

    Raises
    ------
    ValueError
        If a node that becomes a leaf has no value, since the model was dumped for inference.
    """
    depth = compute_depths(nodes)
    is_leaf = find_leaves(nodes, depth, limits)
    keep = find_reached(nodes, is_leaf)
    new_leaf = is_leaf & keep & (nodes["left_child"] != LEAF)
    if np.isnan(values[new_leaf]).any():
        raise ValueError(
            "this model was dumped with profile='inference', so its inner nodes have no values: "
            "prune the model that it was dumped from"
        )
    new_number = np.cumsum(keep) - 1
    is_kept_leaf = is_leaf[keep]
    kept_nodes = nodes[keep]
    for side in ("left_child", "right_child"):
        kept_nodes[side] = np.where(is_kept_leaf, LEAF, new_number[kept_nodes[side]])
    is_new_leaf = new_leaf[keep]
    kept_nodes["feature"][is_new_leaf] = UNDEFINED
    kept_nodes["threshold"][is_new_leaf] = UNDEFINED
    if "missing_go_to_left" in (nodes.dtype.names or ()):
        kept_nodes["missing_go_to_left"][is_new_leaf] = 0
    return kept_nodes, values[keep], int(depth[keep].max())
