"""What NumPy counts, what another fit goes on with, and the linkage of HDBSCAN."""

import functools
from typing import Any

import numpy as np

from shardpickle.trust.checks.base import (
    Array,
    Rest,
    array,
    count_features,
    extremes,
    inside,
    need,
    run,
)
from shardpickle.trust.checks.ensembles import below, estimators_of

# NumPy's bincount counts up to the largest number and one more, which has to be a number, too


_LARGEST = np.iinfo(np.int64).max


def feature_agglomeration(model: Any) -> None:
    labels = model.__dict__.get("labels_")
    if labels is not None:
        inside(array(labels, 1, "labels_", "iu"), 0, count_features(model), "a label")


def voting(model: Any) -> Rest:
    """What members of a vote say is counted; it is made of numbers that they hold."""
    if model.__dict__.get("voting") == "soft":
        return ()

    def member(estimator: Any) -> None:
        for value in below(estimator):
            if isinstance(value, np.ndarray) and value.dtype.kind in "iu" and value.size:
                most = run.once(functools.partial(extremes, value), value)[1]
            else:
                most = int(value) if isinstance(value, (int, np.integer)) else 0
            need(most != _LARGEST, "a member holds a number that cannot be counted")

    return ((estimator, member) for estimator in estimators_of(model))


# linear_model/_sgd_fast.pyx, _cd_fast.pyx: another fit goes on with the coefficients


def descent(model: Any) -> None:
    coefficients = model.__dict__.get("coef_")
    if coefficients is None:
        return
    shape = np.shape(coefficients)
    need(len(shape) in (1, 2) and shape[-1] == count_features(model), "coef_")
    for name in ("_standard_coef", "_average_coef"):
        others = model.__dict__.get(name)
        same = others is None or np.shape(others)[-1:] == shape[-1:]
        need(same, f"{name} is of another number of features than coef_")


def linkage(model: Any) -> None:
    linked = model.__dict__.get("_single_linkage_tree_")
    if linked is None:
        return
    need(isinstance(linked, np.ndarray) and linked.ndim == 1, "_single_linkage_tree_")
    need({"left_node", "right_node"} <= set(linked.dtype.names or ()), "_single_linkage_tree_")
    backwards = run.once(lambda: _joins_what_is_there(linked), linked, what="linkage")
    need(backwards, "_single_linkage_tree_")


def _joins_what_is_there(linked: Array) -> bool:
    own = np.arange(len(linked)) + len(linked) + 1
    sides = (linked["left_node"], linked["right_node"])
    return all(bool(((side >= 0) & (side < own)).all()) for side in sides)
