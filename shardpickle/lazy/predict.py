"""Predictions of lazy models in tasks, each of which opens its own shards. Knows no file.

scikit-learn's own code combines the results. A private copy of the model has lists of proxies in
place of its lazy lists. The first call of a proxy's method sends the same call for all estimators
of the list to tasks, one shard each. Every proxy returns its own result, in the list's order. So
results are those of scikit-learn bit for bit, whatever the number of workers.

Gradient boosting reads the trees in compiled code, and bagging gives each tree features of its own.
There, tasks take rows instead of shards: each has its own lazy model and a block of rows. A tree's
prediction for a row does not depend on other rows.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import joblib
from joblib.externals.loky import BrokenProcessPool
from joblib.externals.loky.process_executor import TerminatedWorkerError
from joblib.parallel import LokyBackend, get_active_backend

from shardpickle import lazy
from shardpickle._util.pool import check_workers
from shardpickle._util.progress import Listener, Meter
from shardpickle.errors import WorkerLostError
from shardpickle.lazy import Shelf
from shardpickle.lazy import rows as results
from shardpickle.lazy.materialize import (
    copy_model,
    load_reference,
    pickle_reference,
    stand_ins,
    survives_pickling,
)
from shardpickle.lazy.worker_watch import WorkerWatch
from shardpickle.sklearn_support import classes

METHODS = frozenset(
    {"predict", "predict_proba", "predict_log_proba", "decision_function", "score_samples", "apply"}
)


@dataclass(frozen=True, slots=True)
class Prediction:
    """The arguments of `shardpickle.predict`."""

    method: str
    workers: int | None
    file: results.NpyFile | None
    progress: bool | None
    on_progress: Listener | None


def predict_rows(model: Any, features: Any, request: Prediction) -> Any:
    """Predict rows with a lazy model, a block of them at a time."""
    file = request.file
    chosen = request.workers is not None or is_backend_chosen()
    task_limit = request.workers if chosen else check_workers(None)
    predictor = make_proxies(model, task_limit, lazy.CACHE.limit)
    total = 0 if hasattr(features, "__next__") else results.count_rows(features)
    answers: list[Any] = []
    with (
        calm(),
        file or nullcontext(),
        Meter("predict", total, request.progress, request.on_progress, unit="rows") as meter,
    ):
        for block in results.split_rows(features, _ROWS):
            answer = getattr(predictor, request.method)(block)
            if file is None:
                answers.append(answer)
            else:
                file.append(answer)
            meter.advance(results.count_rows(block))
    if file is not None:
        return file.array()
    if not answers:
        raise ValueError("no rows to predict: pass at least one row of features")
    return results.join_answers(answers)


_ROWS = 1 << 16  # rows at a time: 14 trees' predictions for 5 classes take 37 MB


def make_proxies(model: Any, workers: int | None, limit: int | None) -> Any:
    """Copy a lazy model so that its lists of estimators predict in tasks.

    Parameters
    ----------
    workers : int, optional
        Tasks at a time, on the joblib backend that is active. Default: that backend's own number.
    limit : int, optional
        Bytes that all tasks may hold together.
    """
    proxies: dict[int, Proxy] = {}
    replacements: dict[int, tuple[Any, Any]] = {}  # by id: models, and their replacements

    def make_list_proxies(estimators: Sequence[Any]) -> None:
        lists = [estimators] if isinstance(estimators, lazy.LazyList) else estimators
        items = [item for inner in lists for item in lazy.items_of(inner)]
        waiting = [item for item in items if lazy.is_stand_in(item) and lazy.kept(item) is None]
        waiting = [item for item in waiting if id(item) not in proxies]
        calls = _Calls([lazy.place(item) for item in waiting], workers, limit)
        proxies.update({id(item): Proxy(item, calls, at) for at, item in enumerate(waiting)})

    def replace_element(element: Any) -> Any:
        if id(element) in proxies:
            return proxies[id(element)]
        if lazy.is_stand_in(element):
            if classes.is_tree_class(lazy.kind_of(element)):
                return lazy.settled(element)
            element = lazy.real(element)  # a model by itself, whose own trees are not loaded
        if id(element) not in replacements:
            replacements[id(element)] = element, replace_model(element)
        return replacements[id(element)][1]

    def replace_model(part: Any) -> Any:
        if _takes_rows(part):
            return ByRows(part, workers, limit)
        return copy_model(
            part, replace=replace_element, on_list=make_list_proxies, apart=_takes_rows
        )

    return replace_model(model)


def _takes_rows(model: Any) -> bool:
    """Whether tasks take rows of a model: it defers only trees."""
    if not classes.asks_apart(model):
        return False
    waiting = stand_ins(model)
    return bool(waiting) and all(classes.is_tree_class(lazy.kind_of(tree)) for tree in waiting)


def _count_tasks(shelves: Iterable[Shelf], workers: int | None, limit: int | None) -> int:
    """Count the tasks that may run at a time, so that each has the memory that it needs."""
    count: int = joblib.effective_n_jobs(workers)
    if limit is not None:
        count = min(count, limit // max((shelf.least for shelf in shelves), default=1))
    return max(1, count)


def is_backend_chosen() -> bool:
    """Whether the caller has chosen a joblib backend."""
    backend, _ = get_active_backend()
    return not isinstance(backend, LokyBackend)


def calm() -> Any:
    """A context in which scikit-learn starts no threads, so that it adds results in order."""
    return joblib.parallel_config(backend="sequential")


class Proxy:
    """Replaces one estimator: methods that predict run in a task."""

    def __init__(self, stand_in: Any, calls: "_Calls", number: int) -> None:
        self._stand_in = stand_in
        self._calls = calls
        self._number = number

    def __getattr__(self, name: str) -> Any:
        if name not in METHODS:
            return getattr(self._stand_in, name)
        if not classes.is_tree_class(lazy.kind_of(self._stand_in)):
            getattr(self._stand_in, name)  # some have a method only if their inner estimator has it

        def method(*args: Any, **kwargs: Any) -> Any:
            return self._calls.answer(self._number, (name, args, kwargs))

        return method


class ByRows:
    """Replaces an ensemble: methods that predict run in tasks, one block of rows each."""

    def __init__(self, model: Any, workers: int | None, limit: int | None) -> None:
        self._model = model
        shelves = {id(shelf): shelf for shelf, _ in map(lazy.place, stand_ins(model))}
        self._task_count = _count_tasks(shelves.values(), workers, limit)
        self._share = None if limit is None else limit // self._task_count
        self._parallel = joblib.Parallel(n_jobs=workers, max_nbytes=None)

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._model, name)
        if name not in METHODS or self._task_count == 1:
            return attribute

        def method(X: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N803
            size = -(-results.count_rows(X) // self._task_count)
            if size == 0 or size < _LEAST_ROWS:
                return attribute(X, *args, **kwargs)
            model = pickle_reference(self._model)
            tasks = [
                (_task_of_rows, model, self._share, (name, (rows, *args), kwargs))
                for rows in results.split_rows(X, size)
            ]
            return results.join_answers(_run(self._parallel, tasks))

        return method

    def __sklearn_is_fitted__(self) -> bool:
        return True  # it has trees


_LEAST_ROWS = 64  # fewer rows are not worth a task


_Call = tuple[str, tuple[Any, ...], dict[str, Any]]


class _Calls:
    """The calls of one list's estimators. Equal calls run ahead in tasks."""

    def __init__(
        self, places: Sequence[tuple[Shelf, int]], workers: int | None, limit: int | None
    ) -> None:
        self._places = places
        self._parallel = joblib.Parallel(n_jobs=workers, max_nbytes=None)  # X is small: a block
        self._task_count = _count_tasks((shelf for shelf, _ in places), workers, limit)
        self._limit = limit
        self._call: _Call | None = None
        self._answers: Iterator[Any] = iter(())
        self._next = 0
        self._alike = True

    def answer(self, number: int, call: _Call) -> Any:
        """Return one estimator's answer."""
        if self._call is None or number != self._next or not _are_equal(call, self._call):
            self._alike = self._alike and self._next in (0, len(self._places))
            self._close()
            if not self._alike:
                shelf, part = self._places[number]
                return _call_parts(shelf, [part], call)[0]
            self._call, self._next = call, number
            self._answers = self._start(number, call)
        self._next += 1
        answer = next(self._answers)
        if self._next == len(self._places):
            self._close()
        return answer

    def _close(self) -> None:
        close = getattr(self._answers, "close", None)
        if close is not None:
            close()
        self._call, self._answers = None, iter(())

    def _start(self, first: int, call: _Call) -> Iterator[Any]:
        jobs = []
        for _, group in groupby(self._places[first:], key=_get_shard):
            places = list(group)
            jobs.append((places[0][0], [part for _, part in places]))
        if self._task_count == 1:
            for shelf, parts in jobs:
                for part in parts:
                    yield from _call_parts(shelf, [part], call)
            return
        share = None if self._limit is None else self._limit // self._task_count
        for start in range(0, len(jobs), 2 * self._task_count):
            wave = jobs[start : start + 2 * self._task_count]
            tasks = [(_task, *shelf.reference, share, parts, call) for shelf, parts in wave]
            for answers in _run(self._parallel, tasks):
                yield from answers


def _get_shard(place: tuple[Shelf, int]) -> tuple[int, int]:
    shelf, part = place
    return id(shelf), shelf.home[part]


def _are_equal(call: _Call, other: _Call) -> bool:
    values = [*call[1], *call[2].values()]
    others = [*other[1], *other[2].values()]
    return (
        (call[0], len(call[1]), list(call[2])) == (other[0], len(other[1]), list(other[2]))
        and len(values) == len(others)
        and all(a is b or _are_plain_and_equal(a, b) for a, b in zip(values, others, strict=True))
    )


def _are_plain_and_equal(value: Any, other: Any) -> bool:
    return type(value) in (bool, int, float, str, type(None)) and value == other


def _run(parallel: joblib.Parallel, tasks: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Run tasks, each a function and its arguments; returns their answers."""
    watch = WorkerWatch()
    try:
        with nullcontext() if is_backend_chosen() else watch:
            answers: list[Any] = parallel(
                joblib.delayed(_run_task)(os.getpid(), *task) for task in tasks
            )
    except BrokenProcessPool as error:  # also where a task cannot be unpickled in the worker
        if watch.ended_workers or isinstance(error, TerminatedWorkerError):
            raise WorkerLostError from error
        raise
    return answers


def _run_task(home: int, task: Callable[..., Any], *args: Any) -> Any:
    """Run a task; an error that cannot be pickled becomes a RuntimeError with its text.

    A pool takes such an error for the end of the worker, or waits forever.
    """
    try:
        return task(*args)
    except Exception as error:
        if os.getpid() == home or survives_pickling(error):
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
        return _call_parts(make(*arguments, None), parts, call)


def _task_of_rows(model: bytes, limit: int | None, call: _Call) -> Any:
    with _within(limit):
        lazy_model = load_reference(model)
        method, args, kwargs = call
        return getattr(lazy_model, method)(*args, **kwargs)


def _within(limit: int | None) -> AbstractContextManager[None]:
    """Apply a task's limit. It may run in its caller's process, which has its own limit."""
    return nullcontext() if limit is None else lazy.CACHE.within(limit)


def _call_parts(shelf: Shelf, parts: Sequence[int], call: _Call) -> list[Any]:
    method, args, kwargs = call
    return [getattr(lazy.CACHE.get(shelf, part), method)(*args, **kwargs) for part in parts]
