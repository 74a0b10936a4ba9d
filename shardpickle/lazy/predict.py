"""Predictions of lazy models in tasks, each of which opens its own shards. Knows no file.

scikit-learn's own code adds up: a private copy of the model holds, in place of its lazy lists,
lists of proxies. The first call of a proxy's method sends the same call for all estimators of the
list to tasks, a shard each, and every proxy gives its own result, in the list's order. So results
are those of scikit-learn bit for bit, whatever the number of workers.

Where scikit-learn's compiled code reads the trees themselves (gradient boosting), or asks each tree
about features of its own (bagging), tasks take rows instead of shards: each has a lazy model of its
own and a block of rows, and what trees say of a row does not depend on the others.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import joblib
from joblib.externals.loky.process_executor import TerminatedWorkerError
from joblib.parallel import LokyBackend, get_active_backend

from shardpickle import lazy
from shardpickle._util.pool import check_workers
from shardpickle._util.progress import Listener, Meter
from shardpickle.errors import WorkerLostError
from shardpickle.lazy import Shelf
from shardpickle.lazy import rows as results
from shardpickle.lazy.materialize import from_reference, referenced, stand_ins, survives, thawed
from shardpickle.sklearn_support import classes

METHODS = frozenset(
    {"predict", "predict_proba", "predict_log_proba", "decision_function", "score_samples", "apply"}
)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a caller of `predict` asks for; see there."""

    method: str
    workers: int | None
    out: Any  # a path, or None
    progress: bool | None
    on_progress: Listener | None


def predict_rows(model: Any, features: Any, asked: Prediction) -> Any:
    """What a lazy model answers to rows, a block of them at a time."""
    file = None if asked.out is None else results.NpyFile(asked.out)
    chosen = asked.workers is not None or is_backend_chosen()
    tasks = asked.workers if chosen else check_workers(None)
    spread = proxied(model, tasks, lazy.CACHE.limit)
    total = 0 if hasattr(features, "__next__") else results.rows(features)
    answers: list[Any] = []
    with (
        calm(),
        file or nullcontext(),
        Meter("predict", total, asked.progress, asked.on_progress, unit="rows") as meter,
    ):
        for block in results.blocks(features, _ROWS):
            answer = getattr(spread, asked.method)(block)
            if file is None:
                answers.append(answer)
            else:
                file.append(answer)
            meter.advance(results.rows(block))
    if file is not None:
        return file.array()
    if not answers:
        raise ValueError("there are no rows to predict")
    return results.joined(answers)


_ROWS = 1 << 16  # of features at a time: what 14 trees say of 5 classes is 37 MB


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
    made: dict[int, tuple[Any, Any]] = {}  # models, and what takes their places

    def listed(found: Sequence[Any]) -> None:
        nested = not isinstance(found, lazy.LazyList)
        items = [each for inner in (found if nested else [found]) for each in lazy.items_of(inner)]
        waiting = [each for each in items if lazy.is_stand_in(each) and lazy.kept(each) is None]
        waiting = [each for each in waiting if id(each) not in proxies]
        calls = _Calls([lazy.place(each) for each in waiting], workers, limit)
        proxies.update({id(one): Proxy(one, calls, number) for number, one in enumerate(waiting)})

    def element(found: Any) -> Any:
        if id(found) in proxies:
            return proxies[id(found)]
        if lazy.is_stand_in(found):
            if classes.is_tree_class(lazy.kind_of(found)):
                return lazy.settled(found)
            found = lazy.real(found)  # a model by itself, whose own trees are not loaded
        if id(found) not in made:
            made[id(found)] = found, spread(found)
        return made[id(found)][1]

    def spread(found: Any) -> Any:
        if _takes_rows(found):
            return ByRows(found, workers, limit)
        return thawed(found, element=element, listed=listed, apart=_takes_rows)

    return spread(model)


def _takes_rows(model: Any) -> bool:
    """Whether a model is one that tasks ask about rows: what it defers are trees only."""
    if not classes.asks_apart(model):
        return False
    waiting = stand_ins(model)
    return bool(waiting) and all(classes.is_tree_class(lazy.kind_of(one)) for one in waiting)


def _tasks(shelves: Iterable[Shelf], workers: int | None, limit: int | None) -> int:
    """How many tasks run at a time: none would have less than it needs."""
    many: int = joblib.effective_n_jobs(workers)
    if limit is not None:
        many = min(many, limit // max((shelf.least for shelf in shelves), default=1))
    return max(1, many)


def is_backend_chosen() -> bool:
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
        if not classes.is_tree_class(lazy.kind_of(self._stood)):
            getattr(self._stood, name)  # some have a method only if what they hold has it

        def method(*args: Any, **kwargs: Any) -> Any:
            return self._calls.answer(self._number, (name, args, kwargs))

        return method


class ByRows:
    """In place of an ensemble: methods that predict are answered by tasks, a block of rows each."""

    def __init__(self, model: Any, workers: int | None, limit: int | None) -> None:
        self._model = model
        shelves = {id(shelf): shelf for shelf, _ in map(lazy.place, stand_ins(model))}
        self._many = _tasks(shelves.values(), workers, limit)
        self._share = None if limit is None else limit // self._many
        self._parallel = joblib.Parallel(n_jobs=workers, max_nbytes=None)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._model, name)
        if name not in METHODS or self._many == 1:
            return found

        def method(X: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N803
            size = -(-results.rows(X) // self._many)
            if size == 0 or size < _LEAST_ROWS:
                return found(X, *args, **kwargs)
            model = referenced(self._model)
            tasks = [
                (_task_of_rows, model, self._share, (name, (rows, *args), kwargs))
                for rows in results.blocks(X, size)
            ]
            return results.joined(_run(self._parallel, tasks))

        return method

    def __sklearn_is_fitted__(self) -> bool:
        return True  # it has trees


_LEAST_ROWS = 64  # what a task is worth


_Call = tuple[str, tuple[Any, ...], dict[str, Any]]


class _Calls:
    """The calls of one list's estimators: those that are alike run in tasks, ahead."""

    def __init__(
        self, places: Sequence[tuple[Shelf, int]], workers: int | None, limit: int | None
    ) -> None:
        self._places = places
        self._parallel = joblib.Parallel(n_jobs=workers, max_nbytes=None)  # X is small: a block
        self._many = _tasks((shelf for shelf, _ in places), workers, limit)
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
            tasks = [(_task, *shelf.reference, share, parts, call) for shelf, parts in wave]
            for answers in _run(self._parallel, tasks):
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


def _run(parallel: joblib.Parallel, tasks: Sequence[tuple[Any, ...]]) -> list[Any]:
    """What tasks, each a function and its arguments, answer."""
    try:
        answers: list[Any] = parallel(joblib.delayed(_told)(os.getpid(), *task) for task in tasks)
    except TerminatedWorkerError as error:
        raise WorkerLostError from error
    return answers


def _told(home: int, task: Callable[..., Any], *args: Any) -> Any:
    """Run a task; an error that would not arrive in another process becomes text.

    Pools take one for the end of the worker, or wait for ever.
    """
    try:
        return task(*args)
    except Exception as error:
        if os.getpid() == home or survives(error):
            raise
        raise RuntimeError(f"{type(error).__qualname__}: {error}") from error


def _task(
    make: Callable[..., Shelf],
    arguments: tuple[Any, ...],
    limit: int | None,
    parts: list[int],
    call: _Call,
) -> list[Any]:
    with _within(limit):
        return _asked(make(*arguments, None), parts, call)


def _task_of_rows(model: bytes, limit: int | None, call: _Call) -> Any:
    with _within(limit):
        found = from_reference(model)
        method, args, kwargs = call
        return getattr(found, method)(*args, **kwargs)


def _within(limit: int | None) -> AbstractContextManager[None]:
    """A task may run in the process of its caller, who has a limit of his own."""
    return nullcontext() if limit is None else lazy.CACHE.within(limit)


def _asked(shelf: Shelf, parts: Sequence[int], call: _Call) -> list[Any]:
    method, args, kwargs = call
    return [getattr(lazy.CACHE.get(shelf, part), method)(*args, **kwargs) for part in parts]
