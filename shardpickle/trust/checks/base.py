"""What every check uses: errors, ranges, and a cache of results for each array.

A missing attribute means an unfitted model, which the libraries' own checks catch.
"""

import functools
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np

from shardpickle.errors import make_need
from shardpickle.trust import grammar, kinds

Rest = Iterable[tuple[Any, "Check"]]  # an ensemble's estimators, and the check of each
Check = Callable[[Any], Rest | None]
Later = Callable[[Any, Check], None]
Array = np.ndarray[Any, np.dtype[Any]]


class BrokenError(Exception):
    """Something that compiled code would rely on does not hold. The message says what."""


class MisplacedError(BrokenError):
    def __init__(self, misplaced: grammar.Misplaced) -> None:
        self.misplaced = misplaced


need = make_need(BrokenError)


def is_whole(value: Any, low: int, high: int) -> bool:
    return isinstance(value, (int, np.integer)) and low <= int(value) < high


def check_array(value: Any, ndim: int, name: str, kinds: str = "f") -> Array:
    need(
        isinstance(value, np.ndarray) and value.ndim == ndim and value.dtype.kind in kinds,
        f"{name} is not an array of {ndim} dimensions and the expected dtype",
    )
    checked: Array = value
    return checked


def check_range(value: Array, low: int, high: int, name: str) -> None:
    """Raise if a number of an array is out of range. Each array is read once in a run."""
    if value.size:
        least, most = run.once(functools.partial(find_extremes, value), value)
        need(least >= low and most < high, f"{name} is out of range")


Found = TypeVar("Found")


def _nothing(thing: Any) -> bool:
    return False


class Run(threading.local):
    """Results of this run of checks, for each array. Outside of a run, nothing is kept.

    A small file can give one large array to very many objects. Each array is read once, so the
    checks' work grows with the size of the file.
    """

    def __init__(self) -> None:
        self.known: dict[tuple[Any, ...], tuple[Any, Any]] | None = None
        self.hollow = False
        self.own: kinds.Own = _nothing
        self.seen: grammar.Seen = {}

    def once(self, find: Callable[[], Found], *seen: Any, what: Any = "bounds") -> Found:
        """Return `find()`, called once in a run for these objects and `what`, a hashable value."""
        if self.known is None:
            return find()
        key = what, *map(id, seen)
        if key not in self.known:
            self.known[key] = seen, find()  # kept alive, so that no identity is reused
        known: Found = self.known[key][1]
        return known

    def first(self, what: Any, *seen: Any) -> bool:
        """Whether a check of these objects comes up for the first time in this run.

        `what` has to hold every other number that the check compares them with. A failed check
        ends the load, so nothing relies on a result that is missing.
        """
        calls: list[bool] = []
        self.once(lambda: calls.append(True), *seen, what=what)
        return bool(calls)


run = Run()


@contextmanager
def share_run(*, own: kinds.Own = _nothing, hollow: bool = False) -> Iterator[None]:
    """Let the checks in this block share their results. Nothing may change the arrays meanwhile.

    `own` says what the caller trusts by name. With `hollow`, trees have no nodes, so no estimator
    predicts.
    """
    run.known, run.seen, run.own, run.hollow = {}, {}, own, hollow
    try:
        yield
    finally:
        run.known, run.seen, run.own, run.hollow = None, {}, _nothing, False


def is_a(instance: Any, module: str, name: str) -> bool:
    """Whether an instance is of a class or a subclass of it. The class need not be imported."""
    return any(
        (base.__module__, base.__qualname__) == (module, name) for base in type(instance).__mro__
    )


def count_features(model: Any) -> int:
    """Return `n_features_in_`. Without it, scikit-learn would not check X at all."""
    count = model.__dict__.get("n_features_in_")
    need(is_whole(count, 1, 1 << 62), "n_features_in_ is not a number of features")
    return int(count or 0)


def find_extremes(numbers: Array) -> tuple[int, int]:
    return int(numbers.min()), int(numbers.max())
