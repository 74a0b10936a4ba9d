"""Neighbours and centers: k-d and ball trees, metrics, clusters that predict."""

from typing import Any

import numpy as np

from shardpickle.trust.checks.base import Array, array, count_features, inside, is_whole, need, run

# neighbors/_binary_tree.pxi.tp: nodes are an implicit binary tree


def metric_state(metric: Any, state: Any) -> None:
    """What `DistanceMetric.__setstate__` may be given."""
    name = type(metric).__name__
    need(type(state) is tuple and len(state) == 3, "a distance metric's state")
    power, vector, matrix = state
    need(isinstance(power, float), "a distance metric's power")
    need(vector.dtype == np.float64 and matrix.dtype == np.float64, "a distance metric's weights")
    array(vector, 1, "a distance metric's weights")
    array(matrix, 2, "a distance metric's weights")
    if name.startswith("Mahalanobis"):
        need(matrix.shape[0] == matrix.shape[1], "a distance metric's matrix is not square")


def neighbor_tree_state(tree: Any, state: Any) -> None:
    """What ``__setstate__`` of a k-d or ball tree may be given."""
    need(type(state) is tuple and len(state) == 13, "a k-d or ball tree's state")
    data, index, nodes, bounds, leaf_size, levels, count = state[:7]
    metric, weights = state[11], state[12]
    data = array(data, 2, "a tree's data")
    samples, features = data.shape
    index = array(index, 1, "idx_array", "iu")
    need(len(index) == samples and samples > 0, "idx_array is of another length")
    inside(index, 0, samples, "idx_array")
    need(all(type(number) is int and abs(number) < 1 << 62 for number in state[4:11]), "sizes")
    need(leaf_size >= 1 and 1 <= levels < 60 and count == 2**levels - 1, "n_nodes")
    need(isinstance(nodes, np.ndarray) and nodes.ndim == 1 and len(nodes) == count, "node_data")
    need(nodes.dtype.names == ("idx_start", "idx_end", "is_leaf", "radius"), "node_data")
    least, most, in_order, ends = run.once(lambda: _node_data(nodes), nodes, what="node_data")
    need(least >= 0 and most <= samples, "idx_start or idx_end is out of range")
    need(in_order, "a node ends before it starts")
    need(ends, "a node without children is no leaf")
    bounds = array(bounds, 3, "node_bounds")
    need(bounds.shape[0] >= 1 and bounds.shape[1:] == (count, features), "node_bounds")
    if "KDTree" in type(tree).__name__:
        need(len(bounds) == 2, "node_bounds")
    if weights is not None:
        need(len(array(weights, 1, "sample_weight")) == samples, "sample_weight")
    names = [base.__name__ for base in type(metric).__mro__]
    need(any(name.startswith("DistanceMetric") for name in names), "dist_metric is no metric")
    vector, matrix = metric.__getstate__()[1:3]
    kind = type(metric).__name__
    if kind.startswith("SEuclidean"):
        need(len(vector) == features, "dist_metric is of another number of features")
    if kind.startswith("Minkowski"):
        need(len(vector) in (0, features), "dist_metric is of another number of features")
    if kind.startswith("Haversine"):
        need(features == 2, "dist_metric is of two features")
    if kind.startswith("Mahalanobis"):
        need(len(matrix) == features, "dist_metric is of another number of features")


def _node_data(nodes: Array) -> tuple[int, int, bool, bool]:
    start, end, leaf = nodes["idx_start"], nodes["idx_end"], nodes["is_leaf"]
    least, most = min(start.min(), end.min()), max(start.max(), end.max())
    childless = leaf[len(nodes) // 2 :]
    return int(least), int(most), bool((start <= end).all()), bool((childless != 0).all())


def neighbor_tree(tree: Any) -> None:
    """Nothing: its state is checked before it is given to it, and nothing changes it."""


# metrics/_pairwise_distances_reduction: features of the fitted X are read by those of X


def table_shape(value: Any) -> tuple[int, int]:
    shape = getattr(value, "shape", None)
    need(isinstance(shape, tuple) and len(shape) == 2, "the fitted X is no table")
    rows, columns = shape or (0, 0)
    return rows, columns


def neighbors(model: Any) -> None:
    fitted, tree = model.__dict__.get("_fit_X"), model.__dict__.get("_tree")
    for name in ("metric_params", "effective_metric_params_"):
        options = model.__dict__.get(name)
        need(options is None or type(options) is dict, name)
        need(not _NORMS & set(options or ()), f"{name} holds norms of other rows")
    if "n_samples_fit_" not in model.__dict__ and tree is None and fitted is None:
        return
    rows, columns = table_shape(fitted)
    need(rows >= 1, "no rows")
    if "n_features_in_" not in model.__dict__ and tree is not None:  # fitted on another one's tree
        by_tree = model.__dict__.get("_fit_method") in ("kd_tree", "ball_tree")
        need(by_tree, "n_features_in_ is not a number of features")  # trees look at X themselves
    else:
        need(columns == count_features(model), "_fit_X is of another number of features")
    if tree is not None:
        need(type(tree).__name__[:6] in ("KDTree", "BallTr"), "_tree is no tree")
        data = tree.__getstate__()[0]
        need(data.shape == (rows, columns), "_tree holds another number of samples or features")
    many = model.__dict__.get("n_samples_fit_")
    need(many == rows, "n_samples_fit_")


_NORMS = {"X_norm_squared", "Y_norm_squared"}


def neighbors_classifier(model: Any) -> None:
    labels, classes = model.__dict__.get("_y"), model.__dict__.get("classes_")
    if labels is None or model.__dict__.get("_fit_X") is None:
        return
    need(isinstance(labels, np.ndarray) and labels.dtype.kind in "iu", "_y")
    need(len(labels) == table_shape(model.__dict__["_fit_X"])[0], "_y is of another length")
    of_each = classes if isinstance(classes, list) else [classes]
    columns = labels.reshape(len(labels), -1)
    need(len(of_each) == columns.shape[1], "classes_")
    least, most = run.once(lambda: (columns.min(0), columns.max(0)), labels, what="columns")
    fewest = np.array([len(known) for known in of_each])
    need((least >= 0).all() and (most < fewest).all(), "a label of _y is out of range")


def birch(model: Any) -> None:
    norms = model.__dict__.get("_subcluster_norms")
    if norms is not None:
        rows, columns = table_shape(model.__dict__.get("subcluster_centers_"))
        need(columns == count_features(model), "subcluster_centers_")
        need(len(array(norms, 1, "_subcluster_norms")) == rows, "_subcluster_norms")


# cluster/_k_means_lloyd.pyx, _k_means_common.pyx


def k_means(model: Any) -> None:
    centers = model.__dict__.get("cluster_centers_")
    if centers is None:
        return
    need(
        array(centers, 2, "cluster_centers_").shape[1] == count_features(model), "cluster_centers_"
    )
    need(len(centers) > 0, "cluster_centers_")
    counts = model.__dict__.get("_counts")  # of a mini-batch, which another one adds to
    need(counts is None or array(counts, 1, "_counts").shape == (len(centers),), "_counts")
    need(is_whole(model.__dict__.get("_n_threads"), 1, 1025), "_n_threads")


def bisecting_k_means(model: Any) -> None:
    if "cluster_centers_" not in model.__dict__:
        return
    k_means(model)
    features = count_features(model)
    root = model.__dict__.get("_bisecting_tree")
    if not run.first(("bisecting", features, len(model.cluster_centers_)), root):
        return
    left, count = [root], 0
    while left:
        node = getattr(left.pop(), "__dict__", {})
        count += 1
        need(count <= 2 * len(model.cluster_centers_), "_bisecting_tree")
        center = node.get("center")
        if center is not None:
            shapes = ((features,), (1, features))  # the second of a sparse matrix: np.matrix
            known = isinstance(center, np.ndarray) and center.dtype.kind == "f"
            need(known and center.shape in shapes, "a center")
        left += [node[side] for side in ("left", "right") if node.get(side) is not None]
