"""Smaller models of fitted ones. Knows estimators; knows no file and no shard."""

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from shardpickle import lazy
from shardpickle.lazy import materialize
from shardpickle.shrink.cut import Limits, cut
from shardpickle.sklearn_support import classes
from shardpickle.sklearn_support.classes import Ensemble

Choose = Callable[[int], Sequence[int]]
Put = Callable[[Any], Any]


class _Replaced:
    """What has another in its place in a smaller model."""

    def __init__(self) -> None:
        self._by_identity: dict[int, Any] = {}
        self._alive: list[Any] = []  # so that identities stay theirs

    def note(self, old: Any, new: Any) -> Any:
        """Gives the new one."""
        if new is not old:
            self._by_identity[id(old)] = new
            self._alive.append(old)
        return new

    def everywhere(self, model: Any) -> Any:
        """The smaller model without the old ones, by whatever way they are reached.

        Histogram boosting keeps a bound method of itself, for example.
        """
        return materialize.rebound(model, self._by_identity)


def taken(model: Any, choose: Choose) -> Any:
    """A model of the same class with some of the estimators; the given one stays as it is.

    Parameters
    ----------
    model : estimator
        A fitted ensemble, or a pipeline that ends in one.
    choose : callable
        Given the number of estimators, the numbers of those to take, ascending.

    Returns
    -------
    estimator
        Shares the estimators with the given one. Attributes that tell of all estimators
        (out-of-bag scores) are left out; lists of one entry for each are cut to match.

    Raises
    ------
    TypeError
        If it is not known what the estimators of such a model are.
    ValueError
        If none would be left, or if boosting would begin after its start.
    """
    replaced = _Replaced()
    return replaced.everywhere(_taken(model, choose, replaced))


def _taken(model: Any, choose: Choose, replaced: _Replaced) -> Any:
    final, put = _ensemble_of(model, replaced)
    ensemble = _known(final)
    count = len(_items(final, ensemble))
    numbers = list(choose(count))
    if not numbers:
        raise ValueError(f"no estimator of {count} would be left")
    if not ensemble.averages and numbers != list(range(len(numbers))):
        raise ValueError(
            f"each estimator of a {type(final).__qualname__} corrects those before it: only the "
            "first ones make a model, as in estimators=slice(0, 100)"
        )
    smaller = copy.copy(final)
    state = smaller.__dict__
    _put_in(state, ensemble.estimators, _picked(state[ensemble.estimators], numbers))
    for name in ensemble.beside:
        if state.get(name) is not None:
            if len(state[name]) < count:
                raise ValueError(f"{name} has {len(state[name])} entries for {count} estimators")
            _put_in(state, name, _picked(state[name], numbers))
    for name in ensemble.scores:
        if len(state.get(name, ())):
            state[name] = state[name][: len(numbers) + 1]
    for name in _OF_ALL:
        state.pop(name, None)
    state[ensemble.parameter] = len(numbers)
    if ensemble.count in state:
        state[ensemble.count] = len(numbers)
    return put(smaller)


def pruned(model: Any, n_estimators: int | None, limits: Limits) -> Any:
    """A model of the same class with fewer estimators, or with smaller trees.

    Parameters
    ----------
    model : estimator
        A fitted tree or ensemble, or a pipeline that ends in one; stays as it is.
    n_estimators : int, optional
        How many of the first estimators to keep.
    limits : cutting.Limits
        How large each tree may be.

    Raises
    ------
    TypeError
        If it is not known how such a model is cut.
    ValueError
        If what is asked for would be wrong.
    """
    replaced = _Replaced()
    return replaced.everywhere(_pruned(model, n_estimators, limits, replaced))


def _pruned(model: Any, n_estimators: int | None, limits: Limits, replaced: _Replaced) -> Any:
    final, put = _ensemble_of(model, replaced)
    if classes.is_cut_alike(type(final)):
        if n_estimators not in (None, 1):
            raise ValueError(f"a {type(final).__qualname__} is one tree: it has no n_estimators")
        return put(_smaller_tree(final, limits))
    smaller = model if n_estimators is None else _taken(model, _first(n_estimators), replaced)
    if not limits:
        return smaller
    final, put = _ensemble_of(smaller, replaced)
    ensemble = _known(final)
    why = classes.why_not_cut(final)
    if why:
        raise ValueError(f"trees cannot be cut here: {why}; n_estimators= can be")
    _items(final, ensemble)
    made = copy.copy(final)
    held = final.__dict__[ensemble.estimators]
    items = held.ravel() if isinstance(held, np.ndarray) else lazy.items_of(held)
    trees: Any = [replaced.note(each, _smaller_tree(lazy.real(each), limits)) for each in items]
    if isinstance(held, np.ndarray):
        trees = np.array(trees, object).reshape(held.shape)
    _put_in(made.__dict__, ensemble.estimators, trees)
    if ensemble.pipelines in made.__dict__:
        held = made.__dict__[ensemble.pipelines]
        ends = [_ensemble_of(lazy.real(each), replaced) for each in lazy.items_of(held)]
        made.__dict__[ensemble.pipelines] = [put(_smaller_tree(end, limits)) for end, put in ends]
    for name in _OF_ALL:
        made.__dict__.pop(name, None)
    _limit(made, limits)
    if classes.is_bagging(final):
        made.estimator_ = _limit(copy.copy(lazy.real(final.estimator_)), limits)
        made.estimator = _limit(copy.copy(lazy.real(final.estimator or final.estimator_)), limits)
    return put(made)


def _put_in(state: dict[str, Any], name: str, value: Any) -> None:
    """Set an attribute, and the others that are the same object."""
    before = state[name]
    for other, held in state.items():
        if held is before:
            state[other] = value


def _first(count: int) -> Choose:
    def choose(of: int) -> Sequence[int]:
        if count > of:
            raise ValueError(f"n_estimators={count} of {of}")
        return range(count)

    return choose


def _smaller_tree(estimator: Any, limits: Limits) -> Any:
    if not classes.is_cut_alike(type(estimator)):
        raise TypeError(
            f"how a {type(estimator).__qualname__} is cut is not known; it is for "
            f"{classes.CUT_NAMES}, and for pipelines that end in one of them"
        )
    if not hasattr(estimator, "tree_"):
        raise ValueError(f"the {type(estimator).__qualname__} is not fitted")
    smaller = copy.copy(estimator)
    state = estimator.tree_.__getstate__()
    nodes, values, depth = cut(state["nodes"], state["values"], limits)
    if len(nodes) < len(state["nodes"]):
        smaller.tree_ = classes.regrow(estimator.tree_, nodes, values, depth)
    return _limit(smaller, limits)


def _limit(estimator: Any, limits: Limits) -> Any:
    """Set the parameters that a fit to such limits would have had, where there are any."""
    state = estimator.__dict__
    if limits.max_depth is not None and "max_depth" in state:
        before = state["max_depth"]
        state["max_depth"] = limits.max_depth if before is None else min(before, limits.max_depth)
    if limits.min_samples_leaf is not None and "min_samples_leaf" in state:
        before = state["min_samples_leaf"]
        given = limits.min_samples_leaf
        state["min_samples_leaf"] = max(before, given) if type(before) is int else given
    return estimator


_OF_ALL = ("oob_score_", "oob_decision_function_", "oob_prediction_")


def without(model: Any, lost: Callable[[Any], bool]) -> tuple[Any, int, int]:
    """An averaging ensemble without the estimators that are lost: it, their number, that of all.

    Parameters that hold a lost estimator, which is a template, hold a copy of another one.

    Raises
    ------
    TypeError, ValueError
        As `taken`; also if the estimators are not averaged.
    """
    final, _ = _ensemble_of(model, _Replaced())
    ensemble = _known(final)
    if not ensemble.averages:
        raise ValueError(f"a {type(final).__qualname__} needs all its estimators")
    items = _items(final, ensemble)
    left = [number for number, item in enumerate(items) if not lost(item)]
    smaller = taken(model, lambda _: left)
    final, _ = _ensemble_of(smaller, _Replaced())
    for name, value in final.__dict__.items():
        if lost(value):
            final.__dict__[name] = classes.template(final, name, lazy.real(items[left[0]]))
    return smaller, len(items) - len(left), len(items)


def _ensemble_of(model: Any, replaced: _Replaced) -> tuple[Any, Put]:
    """The ensemble that a model is or ends in, and what puts another one in its place."""
    if not classes.is_pipeline(model) or not model.steps:
        return model, lambda smaller: replaced.note(model, smaller)
    name, final = model.steps[-1]
    inner, put = _ensemble_of(lazy.real(final), replaced)

    def put_last(smaller: Any) -> Any:
        other = copy.copy(model)
        other.steps = [*model.steps[:-1], (name, put(smaller))]
        return replaced.note(model, other)

    return inner, put_last


def _known(model: Any) -> Ensemble:
    ensemble = classes.ensemble(type(model))
    if ensemble is None:
        raise TypeError(
            f"what a part of a {type(model).__qualname__} would be is not known; it is for "
            f"{classes.ENSEMBLE_NAMES}, and for pipelines that end in one of them"
        )
    return ensemble


def _items(model: Any, ensemble: Ensemble) -> list[Any]:
    held = getattr(model, ensemble.estimators, None)
    if held is None:
        raise ValueError(f"the {type(model).__qualname__} is not fitted")
    return list(lazy.items_of(held))


def _picked(values: Any, numbers: Iterable[int]) -> Any:
    if isinstance(values, np.ndarray):
        return values[np.asarray(list(numbers))]
    items = list(lazy.items_of(values))
    picked = [items[number] for number in numbers]
    return type(values)(picked)
