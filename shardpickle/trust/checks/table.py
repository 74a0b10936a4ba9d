"""The table of classes and their checks, and the run of these on an instance.

Each row of `CHECKS` names one class and holds for all its subclasses. Classes are named by text, so
no library is imported for a check. docs/trust.md lists the rows, and the classes that need none.
"""

import functools
import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from shardpickle import lazy
from shardpickle.errors import ShardpickleError
from shardpickle.trust import grammar
from shardpickle.trust.checks.base import (
    Array,
    BrokenError,
    Check,
    Later,
    MisplacedError,
    need,
    run,
)
from shardpickle.trust.checks.encoders import (
    check_feature_hasher,
    check_function_transformer,
    check_multi_label,
    check_one_hot,
    check_polynomial,
    check_vocabulary,
)
from shardpickle.trust.checks.ensembles import (
    check_bin_mapper,
    check_decision_tree,
    check_forest,
    check_gradient_boosting,
    check_hist_boosting,
    check_isolation_forest,
    check_nodes,
    check_predictor,
)
from shardpickle.trust.checks.neighbors import (
    check_birch,
    check_bisecting_k_means,
    check_k_means,
    check_neighbor_tree,
    check_neighbors,
    check_neighbors_classifier,
)
from shardpickle.trust.checks.others import (
    check_coefficients,
    check_feature_agglomeration,
    check_linkage,
    check_voting,
)
from shardpickle.trust.checks.sparse import check_sparse_matrix, check_spline
from shardpickle.trust.checks.svm import check_libsvm


@functools.cache
def get_checks(cls: type) -> tuple[Check, ...]:
    """List the checks of a class: first its attributes' kinds, then its own and its bases' rows.

    The later checks rely on the first one.
    """
    rows = [(base.__module__, base.__qualname__) for base in cls.__mro__]
    checks = [CHECKS[row] for row in rows if row in CHECKS]
    return (*((_check_places,) if grammar.knows(cls) else ()), *checks)


def _check_places(instance: Any) -> None:
    misplaced = grammar.find_misplaced(instance, run.own, run.seen)
    if misplaced is not None:
        raise MisplacedError(misplaced)
    count = vars(instance).get("n_features_in_")
    if isinstance(count, (int, np.integer)) and count > _MANY_FEATURES:  # each gets a name
        arrays = (value for value in vars(instance).values() if hasattr(value, "shape"))
        need(any(count in array.shape for array in arrays), "no array has n_features_in_ columns")


_MANY_FEATURES = 1 << 24


_ENSEMBLE, _BOOSTING = "sklearn.ensemble", "sklearn.ensemble._hist_gradient_boosting"

CHECKS: dict[tuple[str, str], Check] = {
    ("sklearn.tree._classes", "BaseDecisionTree"): check_decision_tree,
    (f"{_ENSEMBLE}._forest", "BaseForest"): check_forest,
    (f"{_ENSEMBLE}._gb", "BaseGradientBoosting"): check_gradient_boosting,
    (f"{_ENSEMBLE}._iforest", "IsolationForest"): check_isolation_forest,
    (f"{_ENSEMBLE}._voting", "VotingClassifier"): check_voting,
    (f"{_BOOSTING}.predictor", "TreePredictor"): check_predictor,
    (f"{_BOOSTING}.binning", "_BinMapper"): check_bin_mapper,
    (f"{_BOOSTING}.gradient_boosting", "BaseHistGradientBoosting"): check_hist_boosting,
    **{
        (f"sklearn.neighbors.{module}", f"{name}{bits}"): check_neighbor_tree
        for module, name in (("_kd_tree", "KDTree"), ("_ball_tree", "BallTree"))
        for bits in ("", "32")
    },
    ("sklearn.neighbors._base", "NeighborsBase"): check_neighbors,
    ("sklearn.neighbors._classification", "KNeighborsClassifier"): check_neighbors_classifier,
    ("sklearn.neighbors._classification", "RadiusNeighborsClassifier"): check_neighbors_classifier,
    ("sklearn.cluster._birch", "Birch"): check_birch,
    ("sklearn.cluster._kmeans", "KMeans"): check_k_means,
    ("sklearn.cluster._kmeans", "MiniBatchKMeans"): check_k_means,
    ("sklearn.cluster._bisect_k_means", "BisectingKMeans"): check_bisecting_k_means,
    (
        "sklearn.cluster._feature_agglomeration",
        "AgglomerationTransform",
    ): check_feature_agglomeration,
    ("sklearn.cluster._hdbscan.hdbscan", "HDBSCAN"): check_linkage,
    ("sklearn.svm._base", "BaseLibSVM"): check_libsvm,
    ("sklearn.linear_model._stochastic_gradient", "BaseSGD"): check_coefficients,
    ("sklearn.linear_model._coordinate_descent", "ElasticNet"): check_coefficients,
    ("scipy.sparse._base", "_spbase"): check_sparse_matrix,
    ("scipy.interpolate._bsplines", "BSpline"): check_spline,
    ("scipy.interpolate._bsplines", "_BSpline"): check_spline,
    ("sklearn.feature_extraction.text", "CountVectorizer"): check_vocabulary,
    ("sklearn.feature_extraction._dict_vectorizer", "DictVectorizer"): check_vocabulary,
    ("sklearn.feature_extraction._hash", "FeatureHasher"): check_feature_hasher,
    ("sklearn.feature_extraction.text", "HashingVectorizer"): check_feature_hasher,
    ("sklearn.preprocessing._encoders", "OneHotEncoder"): check_one_hot,
    ("sklearn.preprocessing._polynomial", "PolynomialFeatures"): check_polynomial,
    ("sklearn.preprocessing._label", "MultiLabelBinarizer"): check_multi_label,
    (
        "sklearn.preprocessing._function_transformer",
        "FunctionTransformer",
    ): check_function_transformer,
}


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an instance must not be returned, and what a caller may trust to get it."""

    text: str
    things: tuple[Any, ...] = ()
    crashes: bool = False


def find_problem(
    instance: Any, checks: Iterable[Check], later: Later | None = None
) -> Problem | None:
    """Return why an instance must not be returned by a load, or None.

    An ensemble's check yields its estimators with a check of each. For estimators that are not
    loaded yet, `later` is called instead.
    """
    for check in checks:
        try:
            for member, check_member in check(instance) or ():
                if later is not None and lazy.is_stand_in(member):
                    later(member, check_member)
                else:
                    check_member(member)
        except MisplacedError as error:
            return Problem(error.misplaced.text, error.misplaced.things)
        except BrokenError as error:
            return _describe_crash(instance, str(error))
        except ShardpickleError:  # from a lazy estimator that had to be loaded
            raise
        except Exception as error:  # a file's content can make any check raise anything
            name = inspect.unwrap(check).__name__
            return _describe_crash(instance, f"{name}: {type(error).__name__}: {error}")
    return None


def _describe_crash(instance: Any, why: str) -> Problem:
    shown = type(instance).__qualname__
    return Problem(f"compiled code could crash on this {shown}: {why}", crashes=True)


def find_nodes_problem(nodes: Array, features: int, depth: int) -> str | None:
    """Return why nodes that were stored unchanged must not be walked, or None."""
    broken = find_problem(nodes, [lambda array: check_nodes(array, features, depth)])
    return None if broken is None else broken.text
