"""Makes smaller models of fitted ones. Knows estimators, but no files and no shards."""

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from shardpickle import lazy
from shardpickle.lazy import materialize
from shardpickle.shrink.cut import Limits, cut_tree
from shardpickle.sklearn_support import classes
from shardpickle.sklearn_support.classes import Ensemble

Choose = Callable[[int], Sequence[int]]
Put = Callable[[Any], Any]


class _Replacements:
    """The objects of a model that a smaller model replaces."""

    def __init__(self) -> None:
        self._by_identity: dict[int, Any] = {}
        self._alive: list[Any] = []  # keeps identities from being reused

    def note(self, old: Any, new: Any) -> Any:
        """Note a replacement, and return the new object."""
        if new is not old:
            self._by_identity[id(old)] = new
            self._alive.append(old)
        return new

    def apply(self, model: Any) -> Any:
        """Replace the old objects wherever the smaller model reaches them.

        For example, histogram boosting keeps a bound method of itself.
        """
        return materialize.replace_objects(model, self._by_identity)


def take_estimators(model: Any, choose: Choose) -> Any:
    """Make a model of the same class with some of the estimators. The given one does not change.

    Parameters
    ----------
    model : estimator
        A fitted ensemble, or a pipeline that ends in one.
    choose : callable
        Takes the number of estimators, returns the numbers of those to take, ascending.

    Returns
    -------
    estimator
        Shares its estimators with the given model. Attributes that describe all estimators
        (out-of-bag scores) are left out. Lists with one entry per estimator are cut to match.

    Raises
    ------
    TypeError
        If shardpickle does not know the estimators of such a model.
    ValueError
        If no estimator would be left, or boosting would lose its first estimators.
    """
    replacements = _Replacements()
    return replacements.apply(_take(model, choose, replacements))


def _take(model: Any, choose: Choose, replacements: _Replacements) -> Any:
    final, put = _find_ensemble(model, replacements)
    ensemble = _ensemble_spec(final)
    count = len(_items(final, ensemble))
    numbers = list(choose(count))
    if not numbers:
        raise ValueError(f"none of the {count} estimators would be left: choose at least one")
    if not ensemble.averages and numbers != list(range(len(numbers))):
        raise ValueError(
            f"a {type(final).__qualname__} needs its first estimators, since each one corrects "
            "those before it: take the first ones, as in estimators=slice(0, 100)"
        )
    smaller = copy.copy(final)
    state = smaller.__dict__
    _put_in(state, ensemble.estimators, _pick(state[ensemble.estimators], numbers))
    for name in ensemble.beside:
        if state.get(name) is not None:
            if len(state[name]) < count:
                raise ValueError(f"{name} has {len(state[name])} entries for {count} estimators")
            _put_in(state, name, _pick(state[name], numbers))
    for name in ensemble.scores:
        if len(state.get(name, ())):
            state[name] = state[name][: len(numbers) + 1]
    for name in _OF_ALL:
        state.pop(name, None)
    state[ensemble.parameter] = len(numbers)
    if ensemble.count in state:
        state[ensemble.count] = len(numbers)
    return put(smaller)


def prune_model(model: Any, n_estimators: int | None, limits: Limits) -> Any:
    """Make a model of the same class with fewer estimators or smaller trees.

    Parameters
    ----------
    model : estimator
        A fitted tree or ensemble, or a pipeline that ends in one. It does not change.
    n_estimators : int, optional
        How many of the first estimators to keep.
    limits : Limits
        How large each tree may be.

    Raises
    ------
    TypeError
        If shardpickle cannot cut such a model.
    ValueError
        If the smaller model would be wrong.
    """
    replacements = _Replacements()
    return replacements.apply(_prune(model, n_estimators, limits, replacements))


def _prune(
    model: Any, n_estimators: int | None, limits: Limits, replacements: _Replacements
) -> Any:
    final, put = _find_ensemble(model, replacements)
    if classes.is_cut_alike(type(final)):
        if n_estimators not in (None, 1):
            raise ValueError(f"a {type(final).__qualname__} is one tree: leave out n_estimators")
        return put(_cut_estimator(final, limits))
    smaller = (
        model if n_estimators is None else _take(model, _choose_first(n_estimators), replacements)
    )
    if not limits:
        return smaller
    final, put = _find_ensemble(smaller, replacements)
    ensemble = _ensemble_spec(final)
    why = classes.why_not_cut(final)
    if why:
        raise ValueError(f"its trees cannot be cut: {why}. Use n_estimators= alone")
    _items(final, ensemble)
    pruned = copy.copy(final)
    members = final.__dict__[ensemble.estimators]
    items = members.ravel() if isinstance(members, np.ndarray) else lazy.items_of(members)
    trees: Any = [
        replacements.note(tree, _cut_estimator(lazy.real(tree), limits)) for tree in items
    ]
    if isinstance(members, np.ndarray):
        trees = np.array(trees, object).reshape(members.shape)
    _put_in(pruned.__dict__, ensemble.estimators, trees)
    if ensemble.pipelines in pruned.__dict__:
        members = pruned.__dict__[ensemble.pipelines]
        pipeline_ends = [
            _find_ensemble(lazy.real(tree), replacements) for tree in lazy.items_of(members)
        ]
        pruned.__dict__[ensemble.pipelines] = [
            put(_cut_estimator(end, limits)) for end, put in pipeline_ends
        ]
    for name in _OF_ALL:
        pruned.__dict__.pop(name, None)
    _limit_parameters(pruned, limits)
    if classes.is_bagging(final):
        pruned.estimator_ = _limit_parameters(copy.copy(lazy.real(final.estimator_)), limits)
        pruned.estimator = _limit_parameters(
            copy.copy(lazy.real(final.estimator or final.estimator_)), limits
        )
    return put(pruned)


def _put_in(state: dict[str, Any], name: str, value: Any) -> None:
    """Set an attribute, and every other attribute that is the same object."""
    before = state[name]
    for other, attribute in state.items():
        if attribute is before:
            state[other] = value


def _choose_first(count: int) -> Choose:
    def choose(total: int) -> Sequence[int]:
        if count > total:
            raise ValueError(f"n_estimators is at most {total} here, not {count}")
        return range(count)

    return choose


def _cut_estimator(estimator: Any, limits: Limits) -> Any:
    if not classes.is_cut_alike(type(estimator)):
        raise TypeError(
            f"cannot cut a {type(estimator).__qualname__}: this works for {classes.CUT_NAMES}, "
            "and for pipelines that end in one of them"
        )
    if not hasattr(estimator, "tree_"):
        raise ValueError(f"the {type(estimator).__qualname__} is not fitted")
    smaller = copy.copy(estimator)
    state = estimator.tree_.__getstate__()
    nodes, values, depth = cut_tree(state["nodes"], state["values"], limits)
    if len(nodes) < len(state["nodes"]):
        smaller.tree_ = classes.regrow(estimator.tree_, nodes, values, depth)
    return _limit_parameters(smaller, limits)


def _limit_parameters(estimator: Any, limits: Limits) -> Any:
    """Set the parameters that a fit with these limits would have, if the class has them."""
    state = estimator.__dict__
    if limits.max_depth is not None and "max_depth" in state:
        before = state["max_depth"]
        state["max_depth"] = limits.max_depth if before is None else min(before, limits.max_depth)
    if limits.min_samples_leaf is not None and "min_samples_leaf" in state:
        before = state["min_samples_leaf"]
        least = limits.min_samples_leaf
        state["min_samples_leaf"] = max(before, least) if type(before) is int else least
    return estimator


_OF_ALL = ("oob_score_", "oob_decision_function_", "oob_prediction_")


def drop_lost(model: Any, lost: Callable[[Any], bool]) -> tuple[Any, int, int]:
    """Drop the lost estimators of an averaging ensemble.

    A parameter that holds a lost estimator, which is a template, gets a copy of another one.

    Returns
    -------
    model : estimator
    lost, total : int
        Numbers of estimators.

    Raises
    ------
    TypeError, ValueError
        As `take_estimators`; also if the estimators are not averaged.
    """
    final, _ = _find_ensemble(model, _Replacements())
    ensemble = _ensemble_spec(final)
    if not ensemble.averages:
        raise ValueError(f"a {type(final).__qualname__} needs all its estimators")
    items = _items(final, ensemble)
    kept = [number for number, item in enumerate(items) if not lost(item)]
    smaller = take_estimators(model, lambda _: kept)
    final, _ = _find_ensemble(smaller, _Replacements())
    for name, value in final.__dict__.items():
        if lost(value):
            final.__dict__[name] = classes.template(final, name, lazy.real(items[kept[0]]))
    return smaller, len(items) - len(kept), len(items)


def _find_ensemble(model: Any, replacements: _Replacements) -> tuple[Any, Put]:
    """Find the ensemble that a model is or ends in, and the function that replaces it."""
    if not classes.is_pipeline(model) or not model.steps:
        return model, lambda smaller: replacements.note(model, smaller)
    name, final = model.steps[-1]
    inner, put = _find_ensemble(lazy.real(final), replacements)

    def put_last(smaller: Any) -> Any:
        pipeline = copy.copy(model)
        pipeline.steps = [*model.steps[:-1], (name, put(smaller))]
        return replacements.note(model, pipeline)

    return inner, put_last


def _ensemble_spec(model: Any) -> Ensemble:
    ensemble = classes.ensemble(type(model))
    if ensemble is None:
        raise TypeError(
            f"cannot keep only some estimators of a {type(model).__qualname__}: this works for "
            f"{classes.ENSEMBLE_NAMES}, and for pipelines that end in one of them"
        )
    return ensemble


def _items(model: Any, ensemble: Ensemble) -> list[Any]:
    members = getattr(model, ensemble.estimators, None)
    if members is None:
        raise ValueError(f"the {type(model).__qualname__} is not fitted")
    return list(lazy.items_of(members))


def _pick(values: Any, numbers: Iterable[int]) -> Any:
    if isinstance(values, np.ndarray):
        return values[np.asarray(list(numbers))]
    items = list(lazy.items_of(values))
    picked = [items[number] for number in numbers]
    return type(values)(picked)
