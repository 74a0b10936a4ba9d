"""Support vectors, which libsvm reads without checks."""

import functools
from typing import Any

import numpy as np

from shardpickle.trust.checks.base import (
    Array,
    check_array,
    check_range,
    count_features,
    is_whole,
    need,
)
from shardpickle.trust.checks.neighbors import get_table_shape

# svm/_libsvm.pyx, src/libsvm/libsvm_helper.c take the lengths of all arrays from one of them


_KERNELS = (
    *("linear", "poly", "polynomial", "rbf", "sigmoid", "laplacian", "cosine", "chi2"),
    "additive_chi2",
)


def _check_kernel(model: Any, support: Array) -> None:
    """Check a precomputed or callable kernel: `support_` selects columns of its matrix."""
    kernel, fitted = model.__dict__.get("kernel"), model.__dict__.get("shape_fit_")
    need(not model.__dict__["_sparse"], "a precomputed kernel of sparse support vectors")
    need(isinstance(fitted, tuple) and is_whole(fitted[0], 1, 1 << 62), "shape_fit_")
    rows = int(fitted[0])
    check_range(support, 0, rows, "support_")
    if not callable(kernel):
        need(rows == count_features(model), "shape_fit_")
        return
    if isinstance(kernel, functools.partial):  # these arguments do not change the result's shape
        need(not kernel.args and set(kernel.keywords) <= _OF_KERNELS, "not a known kernel")
        kernel = kernel.func
    own = getattr(kernel, "__module__", "") != "sklearn.metrics.pairwise"
    known = {f"{name}_kernel" for name in _KERNELS} | {"cosine_similarity"}
    # A function that the caller trusts may do anything; a vetted one has to return a full matrix.
    vetted = str(getattr(kernel, "__module__", "")).split(".")[0] in ("sklearn", "numpy", "scipy")
    need(not (own and vetted), "not a known kernel")
    need(own or getattr(kernel, "__name__", "") in known, "not a known kernel")
    need(get_table_shape(model.__dict__.get("_BaseLibSVM__Xfit"))[0] == rows, "the fitted X")


_OF_KERNELS = {"gamma", "degree", "coef0"}


def check_libsvm(model: Any) -> None:
    state = model.__dict__
    if "support_vectors_" not in state:
        return
    need(isinstance(state.get("_sparse"), (bool, np.bool_)), "_sparse")
    need(bool(state["_sparse"]) == hasattr(state["support_vectors_"], "indptr"), "_sparse")
    vectors, support, counts = (
        state.get(name) for name in ("support_vectors_", "support_", "_n_support")
    )
    rows, columns = get_table_shape(vectors)
    kernel = state.get("kernel")
    sparse = state.get("_sparse")
    own = not callable(kernel) and kernel != "precomputed"
    support = check_array(support, 1, "support_", "i")
    if own:
        need(columns == count_features(model), "support_vectors_ has the wrong number of features")
        need(len(support) == rows, "support_")
    else:
        need((rows, columns) == (0, 0) or len(support) == rows, "support_")
        rows = len(support)
        _check_kernel(model, support)
    counts = check_array(counts, 1, "_n_support", "i")
    classifier = type(model)._impl in ("c_svc", "nu_svc")
    classes = len(counts) if classifier else 2
    need(len(counts) >= (2 if sparse else 1) and classes >= 2, "_n_support")
    if classifier:  # a regressor's counts are uninitialized numbers
        check_range(counts, 0, rows + 1, "_n_support")
        need(int(counts.sum()) == rows, "_n_support")
        need(len(state.get("classes_", ())) == classes, "classes_")
    pairs = classes * (classes - 1) // 2 if classifier else 1
    for name in ("dual_coef_", "_dual_coef_"):
        need(get_table_shape(state.get(name)) == (classes - 1, rows), name)
    if sparse:
        for name in ("support_vectors_", "_dual_coef_"):
            need(getattr(state[name], "format", None) == "csr", name)
        need(len(state["_dual_coef_"].data) == (classes - 1) * rows, "_dual_coef_")
    for name in ("intercept_", "_intercept_"):
        need(check_array(state.get(name), 1, name).shape == (pairs,), name)
    for name in ("_probA", "_probB"):
        need(len(check_array(state.get(name), 1, name)) in (0, pairs), name)
    if "class_weight_" in state:
        weights = check_array(state["class_weight_"], 1, "class_weight_")
        need(len(weights) in (0, classes), "class_weight_")
