"""Support vectors, as libsvm reads them."""

import functools
from typing import Any

import numpy as np

from shardpickle.trust.checks.base import Array, array, count_features, inside, is_whole, need
from shardpickle.trust.checks.neighbors import table_shape

# svm/_libsvm.pyx, src/libsvm/libsvm_helper.c: lengths are taken from one array for all


_KERNELS = (
    *("linear", "poly", "polynomial", "rbf", "sigmoid", "laplacian", "cosine", "chi2"),
    "additive_chi2",
)


def _kernel(model: Any, support: Array) -> None:
    """Support vectors are rows of a kernel matrix, which is asked for with as many columns."""
    kernel, fitted = model.__dict__.get("kernel"), model.__dict__.get("shape_fit_")
    need(not model.__dict__["_sparse"], "a precomputed kernel of sparse support vectors")
    need(isinstance(fitted, tuple) and is_whole(fitted[0], 1, 1 << 62), "shape_fit_")
    rows = int(fitted[0])
    inside(support, 0, rows, "support_")
    if not callable(kernel):
        need(rows == count_features(model), "shape_fit_")
        return
    if isinstance(kernel, functools.partial):  # of which the result keeps its shape
        need(not kernel.args and set(kernel.keywords) <= _OF_KERNELS, "not a known kernel")
        kernel = kernel.func
    own = getattr(kernel, "__module__", "") != "sklearn.metrics.pairwise"
    known = {f"{name}_kernel" for name in _KERNELS} | {"cosine_similarity"}
    # A function that the caller trusts is the caller's; a vetted one has to give a whole matrix.
    vetted = str(getattr(kernel, "__module__", "")).split(".")[0] in ("sklearn", "numpy", "scipy")
    need(not (own and vetted), "not a known kernel")
    need(own or getattr(kernel, "__name__", "") in known, "not a known kernel")
    need(table_shape(model.__dict__.get("_BaseLibSVM__Xfit"))[0] == rows, "the fitted X")


_OF_KERNELS = {"gamma", "degree", "coef0"}


def libsvm(model: Any) -> None:
    state = model.__dict__
    if "support_vectors_" not in state:
        return
    need(isinstance(state.get("_sparse"), (bool, np.bool_)), "_sparse")
    need(bool(state["_sparse"]) == hasattr(state["support_vectors_"], "indptr"), "_sparse")
    vectors, support, counts = (
        state.get(name) for name in ("support_vectors_", "support_", "_n_support")
    )
    rows, columns = table_shape(vectors)
    kernel = state.get("kernel")
    sparse = state.get("_sparse")
    own = not callable(kernel) and kernel != "precomputed"
    support = array(support, 1, "support_", "i")
    if own:
        need(columns == count_features(model), "support_vectors_ are of other features")
        need(len(support) == rows, "support_")
    else:
        need((rows, columns) == (0, 0) or len(support) == rows, "support_")
        rows = len(support)
        _kernel(model, support)
    counts = array(counts, 1, "_n_support", "i")
    classifier = type(model)._impl in ("c_svc", "nu_svc")
    classes = len(counts) if classifier else 2
    need(len(counts) >= (2 if sparse else 1) and classes >= 2, "_n_support")
    if classifier:  # others are given numbers that nobody wrote
        inside(counts, 0, rows + 1, "_n_support")
        need(int(counts.sum()) == rows, "_n_support")
        need(len(state.get("classes_", ())) == classes, "classes_")
    pairs = classes * (classes - 1) // 2 if classifier else 1
    for name in ("dual_coef_", "_dual_coef_"):
        need(table_shape(state.get(name)) == (classes - 1, rows), name)
    if sparse:
        for name in ("support_vectors_", "_dual_coef_"):
            need(getattr(state[name], "format", None) == "csr", name)
        need(len(state["_dual_coef_"].data) == (classes - 1) * rows, "_dual_coef_")
    for name in ("intercept_", "_intercept_"):
        need(array(state.get(name), 1, name).shape == (pairs,), name)
    for name in ("_probA", "_probB"):
        need(len(array(state.get(name), 1, name)) in (0, pairs), name)
    if "class_weight_" in state:
        weights = array(state["class_weight_"], 1, "class_weight_")
        need(len(weights) in (0, classes), "class_weight_")
