"""Bounded parallel maps over threads; the first error wins. Knows nothing of what the work is.

Threads, because the heavy work (zstd, NumPy) leaves the GIL and an estimator sent to a process
would be pickled twice; docs/performance.md has the figures that decided it.
"""

import multiprocessing
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self, TypeVar

import loky
from joblib.parallel import get_active_backend

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def default_workers() -> int:
    """The cores this process may use (affinity and container limits counted); 1 inside a task.

    A task is one of joblib, multiprocessing pools, Dask, Ray or Spark: they use all cores already.
    """
    return 1 if _inside_a_task() else int(loky.cpu_count())


def check_workers(workers: int | None) -> int:
    """Return the number of workers for the argument `workers`."""
    if workers is None:
        return default_workers()
    if isinstance(workers, bool) or not isinstance(workers, int):
        raise TypeError(f"workers must be a number of threads or None, not {workers!r}")
    if workers < 1:
        raise ValueError(f"workers must be at least 1, not {workers}; None means all usable cores")
    return workers


def threads_for(nbytes: int, most: int) -> int:
    """Return how many threads to use for a load of so many bytes."""
    return max(1, min(most, nbytes // _BYTES_PER_THREAD))


_BYTES_PER_THREAD = 32 * 10**6  # a second thread for less only waits for the first one's GIL


def _inside_a_task() -> bool:
    backend, _ = get_active_backend()
    if (getattr(backend, "nesting_level", None) or 0) > 0:
        return True
    if multiprocessing.current_process().daemon or "loky" in type(
        multiprocessing.current_process()
    ).__module__.split("."):
        return True
    return any(check() for check in (_in_dask, _in_ray, _in_spark))


def _in_dask() -> bool:
    worker = sys.modules.get("distributed.worker")
    return worker is not None and hasattr(getattr(worker, "thread_state", None), "key")


def _in_ray() -> bool:
    ray: Any = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return False
    return ray.get_runtime_context().get_task_id() is not None


def _in_spark() -> bool:
    pyspark: Any = sys.modules.get("pyspark")
    return pyspark is not None and pyspark.TaskContext.get() is not None


class Pool:
    """Threads for one dump or load. With one worker everything runs in the caller's thread.

    `stream` runs tasks on the threads and yields results in order. A task may call `map` for its
    own steps: it works on them itself, and idle threads help. So many small shards keep all threads
    busy, as one huge shard does, and no task can deadlock on itself.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._stopped = threading.Event()
        self._executor: ThreadPoolExecutor | None = None

    def __enter__(self) -> Self:
        if self.workers > 1:
            executor = ThreadPoolExecutor(self.workers, thread_name_prefix="shardpickle")
            try:
                executor.submit(int).result()
            except RuntimeError:  # the interpreter is shutting down (atexit): no new threads
                return self
            self._executor = executor
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._stopped.set()
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)

    def stream(self, task: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
        """Results in the order of the items; at most `workers` + 1 items are under way."""
        if self._executor is None:
            yield from map(task, items)
            return
        waiting: deque[Future[_Result]] = deque()
        for item in items:
            waiting.append(self._executor.submit(task, item))
            if len(waiting) > self.workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def map(self, step: Callable[[_Item], _Result], items: Sequence[_Item]) -> list[_Result]:
        """All results, in order. May be called from inside a task."""
        if self._executor is None or len(items) < 2:
            return [step(item) for item in items]
        shared = _Shared(step, items, self._stopped)
        helpers = [
            self._executor.submit(shared.work) for _ in range(min(self.workers, len(items)) - 1)
        ]
        try:
            shared.work()
        finally:
            for helper in helpers:
                if not helper.cancel():
                    helper.result()
        return shared.take_results()


class Stopped(BaseException):
    """Raised in a task when another one has failed, since its result is not needed."""


class _Shared:
    """A list of steps that several threads take from."""

    def __init__(
        self, step: Callable[[Any], Any], items: Sequence[Any], stopped: threading.Event
    ) -> None:
        self._step = step
        self._items = items
        self._stopped = stopped
        self._next = iter(range(len(items)))
        self._lock = threading.Lock()
        self._results: list[Any] = [None] * len(items)
        self._error: BaseException | None = None

    def work(self) -> None:
        while self._error is None and not self._stopped.is_set():
            with self._lock:
                index = next(self._next, None)
            if index is None:
                return
            try:
                self._results[index] = self._step(self._items[index])
            except BaseException as error:  # handed to the thread that asked for the map
                with self._lock:
                    self._error = self._error or error

    def take_results(self) -> list[Any]:
        # A cancelled helper stays in the executor's queue for a while: it must hold nothing.
        results, self._results = self._results, []
        self._items = ()
        del self._step
        if self._error is not None:
            raise self._error
        if self._stopped.is_set():
            raise Stopped
        return results
