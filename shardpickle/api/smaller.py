"""Makes and compares smaller versions of a fitted model."""

import os
from collections.abc import Collection
from contextlib import nullcontext
from numbers import Integral
from typing import Any

from shardpickle._util import sizes
from shardpickle._util.pool import check_workers
from shardpickle.api.models import open_lazily
from shardpickle.api.reports import estimate
from shardpickle.lazy import CACHE
from shardpickle.shrink import measure
from shardpickle.shrink import prune as pruning
from shardpickle.shrink.cut import Limits
from shardpickle.shrink.table import Tradeoff
from shardpickle.shrink.versions import compare_versions

PathLike = str | os.PathLike[str]


def prune(
    model: Any,
    *,
    n_estimators: int | None = None,
    max_depth: int | None = None,
    min_samples_leaf: int | None = None,
) -> Any:
    """Make a smaller model of the same class, without refitting.

    An inner node holds the value that a leaf in its place would have. So a tree can be cut where a
    limit on its fit would have stopped it. The smaller model predicts as if it walked the original
    trees and stopped early.

    Parameters
    ----------
    model : estimator
        A fitted decision tree, forest, Extra-Trees, bagging of such trees, or a pipeline that ends
        in one. It does not change. Boosting can lose its last estimators (`n_estimators`), but its
        trees can be cut with ``loss="squared_error"`` only. May be lazy.
    n_estimators : int, optional
        Number of estimators to keep, the first ones.
    max_depth : int, optional
        Maximum number of splits from the root to a leaf, 1 or more.
    min_samples_leaf : int, optional
        A split becomes a leaf if one side has fewer training samples. A fit with this limit would
        look for other splits, but this only removes some.

    Returns
    -------
    estimator
        Its parameters are set to match. It shares uncut estimators with the given model, and has no
        out-of-bag scores.

    Raises
    ------
    TypeError
        If shardpickle cannot cut such a model.
    ValueError
        If the smaller model would be wrong: leaves have other values than inner nodes (boosting
        with other losses, AdaBoost), or inner nodes have none (`profile="inference"`).

    Examples
    --------
    >>> import shardpickle
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> forest = RandomForestClassifier(20, random_state=0).fit(*load_digits(return_X_y=True))
    >>> smaller = shardpickle.prune(forest, n_estimators=10, max_depth=5)
    >>> len(smaller.estimators_), max(tree.get_depth() for tree in smaller.estimators_)
    (10, 5)
    """
    limits = Limits(
        _check_count(max_depth, "max_depth"), _check_count(min_samples_leaf, "min_samples_leaf")
    )
    return pruning.prune_model(model, _check_count(n_estimators, "n_estimators"), limits)


def _check_count(value: Any, name: str) -> int | None:
    """Check a count. Takes NumPy's integers too, since tables give these."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ValueError(f"{name} has to be a whole number of 1 or more, not {value!r}")
    return int(value)


def tradeoff(
    model: Any,
    X_val: Any,  # noqa: N803  # scikit-learn's name
    y_val: Any,
    *,
    scoring: Any = None,
    memory_limit: int | str | None = None,
    workers: int | None = None,
    trusted: Collection[str | type] = (),
    unsafe: bool = False,
    progress: bool | None = None,
) -> Tradeoff:
    """Show how accuracy and size change as you shrink a model, without refitting.

    Compares prefixes of the ensemble, and limits on depth and samples per leaf, alone and together.
    It makes none of these models, and visits each tree once. `prune` makes the one you choose.

    Parameters
    ----------
    model : estimator, str or os.PathLike
        A fitted forest, Extra-Trees, bagging of trees, single tree, or gradient boosting (prefixes
        only), or a pipeline that ends in one. May be lazy. A path is loaded lazily.
    X_val : array-like of shape (rows, features)
        Rows that the model was not fitted with.
    y_val : array-like of shape (rows,) or (rows, outputs)
    scoring : str or callable, optional
        As in scikit-learn. Default: accuracy or R².
    memory_limit : int or str, default "1GB"
        Memory for the predictions of all versions, resamples of the rows and a sample of the trees.
        A low limit allows fewer of each, but at least the prefixes with 50 resamples. If `model` is
        a path, half of the limit is for its trees.
    workers : int, optional
        Threads. Default: the cores this process may use.
    trusted, unsafe
        As for `load`, if `model` is a path.
    progress : bool, optional
        As in `dump`.

    Returns
    -------
    Tradeoff
        The table, with ``.rows``, ``.best``, ``.plot()`` and ``.to_html()``. Each difference has
        the half width of its 95 % interval, from a paired bootstrap over the rows.

    Raises
    ------
    TypeError
        If shardpickle cannot shrink such a model.
    ValueError
        If the model refuses `X_val`, or `y_val` has another shape.

    Examples
    --------
    >>> import shardpickle
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> forest = RandomForestClassifier(50, random_state=0).fit(X[:1000], y[:1000])
    >>> table = shardpickle.tradeoff(forest, X[1000:], y[1000:], progress=False)
    >>> table.whole.n_estimators, table.best[0].stored_bytes < table.whole.stored_bytes
    (50, True)
    """
    limit = sizes.parse("1GB" if memory_limit is None else memory_limit, "memory_limit")
    threads = check_workers(workers)
    is_path = isinstance(model, (str, os.PathLike))
    if is_path:
        limit = max(1, limit // 2)
    with CACHE.within(limit) if is_path else nullcontext():
        model = open_lazily(model, trusted, unsafe, "tradeoff({path}, X_val, y_val, {trusted})")
        ensemble = measure.Ensemble(model, X_val)
        truth = ensemble.targets(y_val)
        share = measure.share(limit, ensemble.samples, ensemble.width(), threads)
        scores = measure.Scores(ensemble.model, scoring, truth, share.resamples)
        return compare_versions(
            ensemble, scores, share, _stored_bytes, threads=threads, progress=progress
        )


def _stored_bytes(model: Any) -> int:
    """Bytes on disk of the columns of a model."""
    return sum(usage.stored for usage in estimate(model, workers=1, progress=False).columns)
