"""What every check uses: refusals, ranges, and what was found of each array in one run.

An attribute that is missing is an unfitted model's; the libraries' own checks meet it.
"""

import functools
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np

from shardpickle.trust import grammar, kinds

Rest = Iterable[tuple[Any, "Check"]]  # estimators of an ensemble, and what must hold of each
Check = Callable[[Any], Rest | None]
Later = Callable[[Any, Check], None]
Array = np.ndarray[Any, np.dtype[Any]]


class BrokenError(Exception):
    """What compiled code would trust does not hold; says what."""


class MisplacedError(BrokenError):
    def __init__(self, misplaced: grammar.Misplaced) -> None:
        self.misplaced = misplaced


def need(condition: Any, reason: str) -> None:
    if not condition:
        raise BrokenError(reason)


def is_whole(value: Any, low: int, high: int) -> bool:
    return isinstance(value, (int, np.integer)) and low <= int(value) < high


def array(value: Any, ndim: int, name: str, kinds: str = "f") -> Array:
    need(
        isinstance(value, np.ndarray) and value.ndim == ndim and value.dtype.kind in kinds,
        f"{name} is no array of {ndim} dimensions of its kind",
    )
    checked: Array = value
    return checked


def inside(value: Array, low: int, high: int, name: str) -> None:
    """All numbers of an array are in a range; read once in a run, however many objects hold it."""
    if value.size:
        least, most = run.once(functools.partial(extremes, value), value)
        need(least >= low and most < high, f"{name} is out of range")


Found = TypeVar("Found")


def _nothing(thing: Any) -> bool:
    return False


class Run(threading.local):
    """What was found of each array in this run of checks; outside one, nothing is kept.

    A small file can give one large array to very many objects: each is read once, so that the
    checks' work grows with what the file holds.
    """

    def __init__(self) -> None:
        self.known: dict[tuple[Any, ...], tuple[Any, Any]] | None = None
        self.hollow = False
        self.own: kinds.Own = _nothing
        self.seen: grammar.Seen = {}

    def once(self, find: Callable[[], Found], *seen: Any, what: Any = "bounds") -> Found:
        """What `find` says of objects and of `what`, a value that can be hashed."""
        if self.known is None:
            return find()
        key = what, *map(id, seen)
        if key not in self.known:
            self.known[key] = seen, find()  # alive, so that the identities stay their own
        known: Found = self.known[key][1]
        return known

    def first(self, what: Any, *seen: Any) -> bool:
        """Whether objects were not yet asked for something in this run.

        `what` has to hold every other number that the check compares them with. A check that fails
        ends the load, so nobody relies on the verdict that it did not give.
        """
        news: list[bool] = []
        self.once(lambda: news.append(True), *seen, what=what)
        return bool(news)


run = Run()


@contextmanager
def one_run(*, own: kinds.Own = _nothing, hollow: bool = False) -> Iterator[None]:
    """Checks in here share what they know of arrays; nothing changes them meanwhile.

    `own` says what the caller trusts by name. With `hollow`, trees have no nodes: no estimator is
    asked to predict.
    """
    run.known, run.seen, run.own, run.hollow = {}, {}, own, hollow
    try:
        yield
    finally:
        run.known, run.seen, run.own, run.hollow = None, {}, _nothing, False


def is_a(instance: Any, module: str, name: str) -> bool:
    """Whether an instance is of a class, which may not be imported, or of one that inherits it."""
    return any(
        (base.__module__, base.__qualname__) == (module, name) for base in type(instance).__mro__
    )


def count_features(model: Any) -> int:
    """`n_features_in_`; where it is missing, scikit-learn would not check X at all."""
    count = model.__dict__.get("n_features_in_")
    need(is_whole(count, 1, 1 << 62), "n_features_in_ is not a number of features")
    return int(count or 0)


def extremes(numbers: Array) -> tuple[int, int]:
    return int(numbers.min()), int(numbers.max())
