"""Integers that NumPy counts, coefficients for further fits, and the linkage of HDBSCAN."""

import functools
from typing import Any

import numpy as np

from shardpickle.trust.checks.base import (
    Array,
    Rest,
    check_array,
    check_range,
    count_features,
    find_extremes,
    need,
    run,
)
from shardpickle.trust.checks.ensembles import list_estimators, walk

# NumPy's bincount computes the largest number plus one, which must not overflow


_LARGEST = np.iinfo(np.int64).max


def check_feature_agglomeration(model: Any) -> None:
    labels = model.__dict__.get("labels_")
    if labels is not None:
        check_range(check_array(labels, 1, "labels_", "iu"), 0, count_features(model), "a label")


def check_voting(model: Any) -> Rest:
    """Check that votes can be counted: they are made of numbers that the members hold."""
    if model.__dict__.get("voting") == "soft":
        return ()

    def member(estimator: Any) -> None:
        for value in walk(estimator):
            if isinstance(value, np.ndarray) and value.dtype.kind in "iu" and value.size:
                most = run.once(functools.partial(find_extremes, value), value)[1]
            else:
                most = int(value) if isinstance(value, (int, np.integer)) else 0
            need(most != _LARGEST, "a member holds an integer too large for bincount")

    return ((estimator, member) for estimator in list_estimators(model))


# linear_model/_sgd_fast.pyx, _cd_fast.pyx: a further fit continues from the coefficients


def check_coefficients(model: Any) -> None:
    coefficients = model.__dict__.get("coef_")
    if coefficients is None:
        return
    shape = np.shape(coefficients)
    need(len(shape) in (1, 2) and shape[-1] == count_features(model), "coef_")
    for name in ("_standard_coef", "_average_coef"):
        others = model.__dict__.get(name)
        same = others is None or np.shape(others)[-1:] == shape[-1:]
        need(same, f"{name} has another number of features than coef_")


def check_linkage(model: Any) -> None:
    linked = model.__dict__.get("_single_linkage_tree_")
    if linked is None:
        return
    need(isinstance(linked, np.ndarray) and linked.ndim == 1, "_single_linkage_tree_")
    need({"left_node", "right_node"} <= set(linked.dtype.names or ()), "_single_linkage_tree_")
    is_ordered = run.once(lambda: _joins_earlier_clusters(linked), linked, what="linkage")
    need(is_ordered, "_single_linkage_tree_")


def _joins_earlier_clusters(linked: Array) -> bool:
    own = np.arange(len(linked)) + len(linked) + 1
    sides = (linked["left_node"], linked["right_node"])
    return all(bool(((side >= 0) & (side < own)).all()) for side in sides)
