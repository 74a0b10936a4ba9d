"""Predictions of lazy models in tasks, each of which opens its own shards. Knows no file.

scikit-learn's own code adds up: a private copy of the model holds, in place of its lazy lists,
lists of proxies. The first call of a proxy's method sends the same call for all estimators of the
list to tasks, a shard each, and every proxy gives its own result, in the list's order. So results
are those of scikit-learn bit for bit, whatever the number of workers.

Estimators that are each called with other arguments (bagging's, of features of their own) and
those of object arrays (gradient boosting's) are loaded and asked in this process instead.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

import joblib
from joblib.parallel import LokyBackend, get_active_backend

from shardpickle import lazy
from shardpickle.lazy import Shelf
from shardpickle.thawing import thawed

METHODS = frozenset(
    {"predict", "predict_proba", "predict_log_proba", "decision_function", "score_samples", "apply"}
)


def proxied(model: Any, workers: int | None, limit: int | None) -> Any:
    """A copy of a lazy model whose lists of estimators ask tasks.

    Parameters
    ----------
    workers : int, optional
        Tasks at a time, on the joblib backend that is active. Default: that backend's own number.
    limit : int, optional
        Bytes that all tasks may hold together.
    """
    proxies: dict[int, Proxy] = {}

    def listed(found: Sequence[Any]) -> None:
        nested = not isinstance(found, lazy.LazyList)
        items = [each for inner in (found if nested else [found]) for each in lazy.items_of(inner)]
        waiting = [each for each in items if lazy.is_stand_in(each) and lazy.kept(each) is None]
        waiting = [each for each in waiting if id(each) not in proxies]
        calls = _Calls([lazy.place(each) for each in waiting], workers, limit)
        proxies.update({id(one): Proxy(one, calls, number) for number, one in enumerate(waiting)})

    def element(stood: Any) -> Any:
        return proxies.get(id(stood)) or lazy.settled(stood)

    return thawed(model, element, listed=listed)


def told() -> bool:
    """Whether the caller has chosen a joblib backend."""
    backend, _ = get_active_backend()
    return not isinstance(backend, LokyBackend)


def calm() -> Any:
    """A context in which scikit-learn starts no threads: what it adds up, it adds in order."""
    return joblib.parallel_config(backend="sequential")


class Proxy:
    """In place of one estimator: methods that predict are answered by a task."""

    def __init__(self, stood: Any, calls: "_Calls", number: int) -> None:
        self._stood = stood
        self._calls = calls
        self._number = number

    def __getattr__(self, name: str) -> Any:
        if name not in METHODS:
            return getattr(self._stood, name)

        def method(*args: Any, **kwargs: Any) -> Any:
            return self._calls.answer(self._number, (name, args, kwargs))

        return method


_Call = tuple[str, tuple[Any, ...], dict[str, Any]]


class _Calls:
    """The calls of one list's estimators: those that are alike run in tasks, ahead."""

    def __init__(
        self, places: Sequence[tuple[Shelf, int]], workers: int | None, limit: int | None
    ) -> None:
        self._places = places
        self._parallel = joblib.Parallel(n_jobs=workers, max_nbytes=None)  # X is small: a block
        self._many = max(1, joblib.effective_n_jobs(workers))
        self._limit = limit
        self._call: _Call | None = None
        self._answers: Iterator[Any] = iter(())
        self._next = 0
        self._alike = True

    def answer(self, number: int, call: _Call) -> Any:
        """What one estimator answers."""
        if self._call is None or number != self._next or not _same(call, self._call):
            self._alike = self._alike and self._next in (0, len(self._places))
            self._close()
            if not self._alike:
                shelf, part = self._places[number]
                return _asked(shelf, [part], call)[0]
            self._call, self._next = call, number
            self._answers = self._started(number, call)
        self._next += 1
        found = next(self._answers)
        if self._next == len(self._places):
            self._close()
        return found

    def _close(self) -> None:
        close = getattr(self._answers, "close", None)
        if close is not None:
            close()
        self._call, self._answers = None, iter(())

    def _started(self, first: int, call: _Call) -> Iterator[Any]:
        jobs = []
        for _, group in groupby(self._places[first:], key=_shard_of):
            places = list(group)
            jobs.append((places[0][0], [part for _, part in places]))
        if self._many == 1:
            for shelf, parts in jobs:
                for part in parts:
                    yield from _asked(shelf, [part], call)
            return
        share = None if self._limit is None else self._limit // self._many
        for start in range(0, len(jobs), 2 * self._many):
            wave = jobs[start : start + 2 * self._many]
            tasks = [
                joblib.delayed(_task)(*shelf.reference, share, parts, call) for shelf, parts in wave
            ]
            for answers in self._parallel(tasks):
                yield from answers


def _shard_of(place: tuple[Shelf, int]) -> tuple[int, int]:
    shelf, part = place
    return id(shelf), shelf.home[part]


def _same(one: _Call, other: _Call) -> bool:
    values = [*one[1], *one[2].values()]
    others = [*other[1], *other[2].values()]
    return (
        (one[0], len(one[1]), list(one[2])) == (other[0], len(other[1]), list(other[2]))
        and len(values) == len(others)
        and all(a is b or _plainly_equal(a, b) for a, b in zip(values, others, strict=True))
    )


def _plainly_equal(one: Any, other: Any) -> bool:
    return type(one) in (bool, int, float, str, type(None)) and one == other


def _task(
    make: Callable[..., Shelf],
    arguments: tuple[Any, ...],
    limit: int | None,
    parts: list[int],
    call: _Call,
) -> list[Any]:
    return _asked(make(*arguments, limit), parts, call)


def _asked(shelf: Shelf, parts: Sequence[int], call: _Call) -> list[Any]:
    method, args, kwargs = call
    return [getattr(lazy.CACHE.get(shelf, part), method)(*args, **kwargs) for part in parts]
