"""Nearest neighbors and clusters: k-d and ball trees, metrics, cluster centers."""

from typing import Any

import numpy as np

from shardpickle.trust.checks.base import (
    Array,
    check_array,
    check_range,
    count_features,
    is_whole,
    need,
    run,
)

# neighbors/_binary_tree.pxi.tp: nodes are an implicit binary tree


def check_metric_state(metric: Any, state: Any) -> None:
    """Raise unless `DistanceMetric.__setstate__` may be given this state."""
    name = type(metric).__name__
    need(type(state) is tuple and len(state) == 3, "a distance metric's state")
    power, vector, matrix = state
    need(isinstance(power, float), "a distance metric's power")
    need(vector.dtype == np.float64 and matrix.dtype == np.float64, "a distance metric's weights")
    check_array(vector, 1, "a distance metric's weights")
    check_array(matrix, 2, "a distance metric's weights")
    if name.startswith("Mahalanobis"):
        need(matrix.shape[0] == matrix.shape[1], "a distance metric's matrix is not square")


def check_neighbor_tree_state(tree: Any, state: Any) -> None:
    """Raise unless ``__setstate__`` of a k-d or ball tree may be given this state."""
    need(type(state) is tuple and len(state) == 13, "a k-d or ball tree's state")
    data, index, nodes, bounds, leaf_size, levels, count = state[:7]
    metric, weights = state[11], state[12]
    data = check_array(data, 2, "a tree's data")
    samples, features = data.shape
    index = check_array(index, 1, "idx_array", "iu")
    need(len(index) == samples and samples > 0, "idx_array has the wrong length")
    check_range(index, 0, samples, "idx_array")
    need(all(type(number) is int and abs(number) < 1 << 62 for number in state[4:11]), "sizes")
    need(leaf_size >= 1 and 1 <= levels < 60 and count == 2**levels - 1, "n_nodes")
    need(isinstance(nodes, np.ndarray) and nodes.ndim == 1 and len(nodes) == count, "node_data")
    need(nodes.dtype.names == ("idx_start", "idx_end", "is_leaf", "radius"), "node_data")
    least, most, in_order, ends = run.once(lambda: _summarize_nodes(nodes), nodes, what="node_data")
    need(least >= 0 and most <= samples, "idx_start or idx_end is out of range")
    need(in_order, "a node ends before it starts")
    need(ends, "a node without children is not a leaf")
    bounds = check_array(bounds, 3, "node_bounds")
    need(bounds.shape[0] >= 1 and bounds.shape[1:] == (count, features), "node_bounds")
    if "KDTree" in type(tree).__name__:
        need(len(bounds) == 2, "node_bounds")
    if weights is not None:
        need(len(check_array(weights, 1, "sample_weight")) == samples, "sample_weight")
    names = [base.__name__ for base in type(metric).__mro__]
    need(any(name.startswith("DistanceMetric") for name in names), "dist_metric is not a metric")
    vector, matrix = metric.__getstate__()[1:3]
    kind = type(metric).__name__
    if kind.startswith("SEuclidean"):
        need(len(vector) == features, "dist_metric has the wrong number of features")
    if kind.startswith("Minkowski"):
        need(len(vector) in (0, features), "dist_metric has the wrong number of features")
    if kind.startswith("Haversine"):
        need(features == 2, "dist_metric needs two features")
    if kind.startswith("Mahalanobis"):
        need(len(matrix) == features, "dist_metric has the wrong number of features")


def _summarize_nodes(nodes: Array) -> tuple[int, int, bool, bool]:
    start, end, leaf = nodes["idx_start"], nodes["idx_end"], nodes["is_leaf"]
    least, most = min(start.min(), end.min()), max(start.max(), end.max())
    childless = leaf[len(nodes) // 2 :]
    return int(least), int(most), bool((start <= end).all()), bool((childless != 0).all())


def check_neighbor_tree(tree: Any) -> None:
    """Check nothing: the state was checked before the tree got it, and nothing changes it."""


# metrics/_pairwise_distances_reduction reads as many features of the fitted X as X has


def get_table_shape(value: Any) -> tuple[int, int]:
    shape = getattr(value, "shape", None)
    need(isinstance(shape, tuple) and len(shape) == 2, "the fitted X is not a table")
    rows, columns = shape or (0, 0)
    return rows, columns


def check_neighbors(model: Any) -> None:
    fitted, tree = model.__dict__.get("_fit_X"), model.__dict__.get("_tree")
    for name in ("metric_params", "effective_metric_params_"):
        options = model.__dict__.get(name)
        need(options is None or type(options) is dict, name)
        need(not _NORMS & set(options or ()), f"{name} holds norms of other rows")
    if "n_samples_fit_" not in model.__dict__ and tree is None and fitted is None:
        return
    rows, columns = get_table_shape(fitted)
    need(rows >= 1, "no rows")
    if "n_features_in_" not in model.__dict__ and tree is not None:  # fitted on another's tree
        uses_tree = model.__dict__.get("_fit_method") in ("kd_tree", "ball_tree")
        need(uses_tree, "n_features_in_ is not a number of features")  # trees check X themselves
    else:
        need(columns == count_features(model), "_fit_X has the wrong number of features")
    if tree is not None:
        need(type(tree).__name__[:6] in ("KDTree", "BallTr"), "_tree is not a tree")
        data = tree.__getstate__()[0]
        need(data.shape == (rows, columns), "_tree has the wrong number of samples or features")
    samples = model.__dict__.get("n_samples_fit_")
    need(samples == rows, "n_samples_fit_")


_NORMS = {"X_norm_squared", "Y_norm_squared"}


def check_neighbors_classifier(model: Any) -> None:
    labels, classes = model.__dict__.get("_y"), model.__dict__.get("classes_")
    if labels is None or model.__dict__.get("_fit_X") is None:
        return
    need(isinstance(labels, np.ndarray) and labels.dtype.kind in "iu", "_y")
    need(len(labels) == get_table_shape(model.__dict__["_fit_X"])[0], "_y has the wrong length")
    outputs = classes if isinstance(classes, list) else [classes]
    columns = labels.reshape(len(labels), -1)
    need(len(outputs) == columns.shape[1], "classes_")
    least, most = run.once(lambda: (columns.min(0), columns.max(0)), labels, what="columns")
    counts = np.array([len(names) for names in outputs])
    need((least >= 0).all() and (most < counts).all(), "a label of _y is out of range")


def check_birch(model: Any) -> None:
    norms = model.__dict__.get("_subcluster_norms")
    if norms is not None:
        rows, columns = get_table_shape(model.__dict__.get("subcluster_centers_"))
        need(columns == count_features(model), "subcluster_centers_")
        need(len(check_array(norms, 1, "_subcluster_norms")) == rows, "_subcluster_norms")


# cluster/_k_means_lloyd.pyx, _k_means_common.pyx


def check_k_means(model: Any) -> None:
    centers = model.__dict__.get("cluster_centers_")
    if centers is None:
        return
    need(
        check_array(centers, 2, "cluster_centers_").shape[1] == count_features(model),
        "cluster_centers_",
    )
    need(len(centers) > 0, "cluster_centers_")
    counts = model.__dict__.get("_counts")  # `partial_fit` of MiniBatchKMeans adds to these
    need(counts is None or check_array(counts, 1, "_counts").shape == (len(centers),), "_counts")
    need(is_whole(model.__dict__.get("_n_threads"), 1, 1025), "_n_threads")


def check_bisecting_k_means(model: Any) -> None:
    if "cluster_centers_" not in model.__dict__:
        return
    check_k_means(model)
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
            is_array = isinstance(center, np.ndarray) and center.dtype.kind == "f"
            need(is_array and center.shape in shapes, "a center")
        left += [node[side] for side in ("left", "right") if node.get(side) is not None]
