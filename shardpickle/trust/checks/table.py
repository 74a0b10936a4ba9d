"""Which checks are for which class, and what they find.

Each row of `CHECKS` is for one class and all that inherit from it, by its name: no library is
imported here for the sake of a check. docs/trust.md lists the rows, and the classes that need none.
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
    feature_hasher,
    function_transformer,
    multi_label,
    one_hot,
    polynomial,
    vocabulary,
)
from shardpickle.trust.checks.ensembles import (
    bin_mapper,
    decision_tree,
    forest,
    gradient_boosting,
    grown,
    hist_boosting,
    isolation_forest,
    predictor,
)
from shardpickle.trust.checks.neighbors import (
    birch,
    bisecting_k_means,
    k_means,
    neighbor_tree,
    neighbors,
    neighbors_classifier,
)
from shardpickle.trust.checks.others import descent, feature_agglomeration, linkage, voting
from shardpickle.trust.checks.sparse import sparse_matrix, spline
from shardpickle.trust.checks.svm import libsvm


@functools.cache
def checks_of(cls: type) -> tuple[Check, ...]:
    """The checks for instances of a class: what stands in it, then those of its row and its bases'.

    What the grammar lets through, the others can rely on.
    """
    rows = [(base.__module__, base.__qualname__) for base in cls.__mro__]
    checks = [CHECKS[row] for row in rows if row in CHECKS]
    return (*((_placed,) if grammar.knows(cls) else ()), *checks)


def _placed(instance: Any) -> None:
    misplaced = grammar.misplaced(instance, run.own, run.seen)
    if misplaced is not None:
        raise MisplacedError(misplaced)
    count = vars(instance).get("n_features_in_")
    if isinstance(count, (int, np.integer)) and count > _MANY_FEATURES:  # each is given a name
        arrays = (value for value in vars(instance).values() if hasattr(value, "shape"))
        need(any(count in array.shape for array in arrays), "n_features_in_ of no array's size")


_MANY_FEATURES = 1 << 24


_ENSEMBLE, _BOOSTING = "sklearn.ensemble", "sklearn.ensemble._hist_gradient_boosting"

CHECKS: dict[tuple[str, str], Check] = {
    ("sklearn.tree._classes", "BaseDecisionTree"): decision_tree,
    (f"{_ENSEMBLE}._forest", "BaseForest"): forest,
    (f"{_ENSEMBLE}._gb", "BaseGradientBoosting"): gradient_boosting,
    (f"{_ENSEMBLE}._iforest", "IsolationForest"): isolation_forest,
    (f"{_ENSEMBLE}._voting", "VotingClassifier"): voting,
    (f"{_BOOSTING}.predictor", "TreePredictor"): predictor,
    (f"{_BOOSTING}.binning", "_BinMapper"): bin_mapper,
    (f"{_BOOSTING}.gradient_boosting", "BaseHistGradientBoosting"): hist_boosting,
    **{
        (f"sklearn.neighbors.{module}", f"{name}{bits}"): neighbor_tree
        for module, name in (("_kd_tree", "KDTree"), ("_ball_tree", "BallTree"))
        for bits in ("", "32")
    },
    ("sklearn.neighbors._base", "NeighborsBase"): neighbors,
    ("sklearn.neighbors._classification", "KNeighborsClassifier"): neighbors_classifier,
    ("sklearn.neighbors._classification", "RadiusNeighborsClassifier"): neighbors_classifier,
    ("sklearn.cluster._birch", "Birch"): birch,
    ("sklearn.cluster._kmeans", "KMeans"): k_means,
    ("sklearn.cluster._kmeans", "MiniBatchKMeans"): k_means,
    ("sklearn.cluster._bisect_k_means", "BisectingKMeans"): bisecting_k_means,
    ("sklearn.cluster._feature_agglomeration", "AgglomerationTransform"): feature_agglomeration,
    ("sklearn.cluster._hdbscan.hdbscan", "HDBSCAN"): linkage,
    ("sklearn.svm._base", "BaseLibSVM"): libsvm,
    ("sklearn.linear_model._stochastic_gradient", "BaseSGD"): descent,
    ("sklearn.linear_model._coordinate_descent", "ElasticNet"): descent,
    ("scipy.sparse._base", "_spbase"): sparse_matrix,
    ("scipy.interpolate._bsplines", "BSpline"): spline,
    ("scipy.interpolate._bsplines", "_BSpline"): spline,
    ("sklearn.feature_extraction.text", "CountVectorizer"): vocabulary,
    ("sklearn.feature_extraction._dict_vectorizer", "DictVectorizer"): vocabulary,
    ("sklearn.feature_extraction._hash", "FeatureHasher"): feature_hasher,
    ("sklearn.feature_extraction.text", "HashingVectorizer"): feature_hasher,
    ("sklearn.preprocessing._encoders", "OneHotEncoder"): one_hot,
    ("sklearn.preprocessing._polynomial", "PolynomialFeatures"): polynomial,
    ("sklearn.preprocessing._label", "MultiLabelBinarizer"): multi_label,
    ("sklearn.preprocessing._function_transformer", "FunctionTransformer"): function_transformer,
}


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an instance must not be handed out, and what a caller may trust to have it."""

    text: str
    things: tuple[Any, ...] = ()
    crashes: bool = False


def problem(instance: Any, checks: Iterable[Check], later: Later | None = None) -> Problem | None:
    """Why an instance must not be handed out; None if nothing speaks against it.

    An ensemble's check gives what must hold of each of its estimators; of those that are not
    loaded, `later` is told.
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
            return _could_crash(instance, str(error))
        except ShardpickleError:  # of a lazy estimator that had to be loaded
            raise
        except Exception as error:  # what a file says can make any check stumble
            name = inspect.unwrap(check).__name__
            return _could_crash(instance, f"{name}: {type(error).__name__}: {error}")
    return None


def _could_crash(instance: Any, why: str) -> Problem:
    shown = type(instance).__qualname__
    return Problem(f"compiled code could crash on this {shown}: {why}", crashes=True)


def nodes_problem(nodes: Array, features: int, depth: int) -> str | None:
    """Why nodes that were stored as they are must not be walked; None if nothing says so."""
    broken = problem(nodes, [lambda array: grown(array, features, depth)])
    return None if broken is None else broken.text
