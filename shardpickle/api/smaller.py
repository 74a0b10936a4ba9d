"""Smaller versions of a fitted model."""

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
    """A smaller model of the same class, without fitting again.

    An inner node holds the value that a leaf in its place would have had, so a tree can be cut
    where a limit on its fit would have ended it. Predictions are those of walking the original
    trees and stopping early.

    Parameters
    ----------
    model : estimator
        A fitted decision tree, forest, Extra-Trees, bagging of such trees, or a pipeline that ends
        in one; it stays as it is. Boosting can lose its last estimators (`n_estimators`); its trees
        can be cut with ``loss="squared_error"`` only. May be lazy.
    n_estimators : int, optional
        Keep the first so many.
    max_depth : int, optional
        Splits from the root to a leaf, 1 or more.
    min_samples_leaf : int, optional
        A split of which a side has fewer training samples becomes a leaf. A fit with this limit
        would have looked for other splits; this only takes some away.

    Returns
    -------
    estimator
        Its parameters are set to match. What is not cut is shared with the given model; out-of-bag
        scores are left out.

    Raises
    ------
    TypeError
        If it is not known how such a model is cut.
    ValueError
        If the model would be wrong: where leaves were given other values than inner nodes have
        (boosting of other losses, AdaBoost), or inner nodes hold none (`profile="inference"`).

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
        _checked_count(max_depth, "max_depth"), _checked_count(min_samples_leaf, "min_samples_leaf")
    )
    return pruning.pruned(model, _checked_count(n_estimators, "n_estimators"), limits)


def _checked_count(value: Any, name: str) -> int | None:
    """NumPy's integers are taken, too: tables give these."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ValueError(f"{name} is 1 or more, not {value!r}")
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
    """What smaller versions of a model would cost, and how well they would predict.

    Prefixes of the ensemble, limits on depth and on samples per leaf, alone and together, without
    fitting or making any of them: each tree is looked at once. `prune` makes the one you choose.

    Parameters
    ----------
    model : estimator, str or os.PathLike
        A fitted forest, Extra-Trees, bagging of trees, single tree, or gradient boosting (prefixes
        only), or a pipeline that ends in one; lazy or not. Or the path of one, which is loaded
        lazily.
    X_val : array-like of shape (rows, features)
        Rows that the model was not fitted with.
    y_val : array-like of shape (rows,) or (rows, outputs)
    scoring : str or callable, optional
        As in scikit-learn. Default: accuracy, or R².
    memory_limit : int or str, default "1GB"
        What the answers of all versions may take, with resamples of the rows and a sample of the
        trees; under a low limit there are fewer of each, but never less than the prefixes with 50
        resamples. Half of it is for the trees where `model` is a path.
    workers : int, optional
        Threads. Default: the cores this process may use.
    trusted, unsafe
        As for `load`, where `model` is a path.
    progress : bool, optional
        As in `dump`.

    Returns
    -------
    Tradeoff
        The table; ``.rows``, ``.best``, ``.plot()``, ``.to_html()``. Differences have the half
        width of a 95 % interval, by a paired bootstrap over the rows.

    Raises
    ------
    TypeError
        If smaller versions of such a model are not known.
    ValueError
        If the model refuses `X_val`, or `y_val` does not belong to it.

    Examples
    --------
    >>> import shardpickle
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> forest = RandomForestClassifier(50, random_state=0).fit(X[:1000], y[:1000])
    >>> found = shardpickle.tradeoff(forest, X[1000:], y[1000:], progress=False)
    >>> found.whole.n_estimators, found.best[0].stored_bytes < found.whole.stored_bytes
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
    """What the columns of a model would take on disk."""
    return sum(usage.stored for usage in estimate(model, workers=1, progress=False).columns)
