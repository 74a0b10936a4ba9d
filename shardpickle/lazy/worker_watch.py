"""Ends the wait for joblib's worker processes once one of them has died.

loky notices a worker that dies, except one that dies while it sends a result: its parent then waits
for the rest of that result, which nobody will send (the worker also held the lock of the pipe).
CPython's executor has the same fault (python/cpython#94777). So a thread looks at the workers, and
where one is dead and loky has not said so for some seconds, it ends the others and closes the
pipes. loky then reports the executor as broken, as it does for any other death. The same goes for
an executor that does not come to its end after an interrupt.
"""

import os
import signal
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from joblib.externals.loky import reusable_executor

_INTERVAL = 0.5  # seconds between two looks
_GRACE = 5.0  # seconds that loky has: it needs 0.2 where it notices by itself


class WorkerWatch:
    """A context in which the present loky executor is watched.

    Attributes
    ----------
    ended_workers : bool
        Whether the watch had to end them.
    """

    def __init__(self) -> None:
        self.ended_workers = False
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="shardpickle-watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        since: dict[int, float] = {}  # executor -> when it was first seen so
        while not self._done.wait(_INTERVAL):
            executor = reusable_executor._executor
            if executor is None or not _is_stuck(executor):
                since.clear()
            elif time.monotonic() - since.setdefault(id(executor), time.monotonic()) > _GRACE:
                self.ended_workers = True
                _break_executor(executor)
                since.clear()


def _is_stuck(executor: Any) -> bool:
    """Whether loky has something to end: a worker that died unnoticed, or all at an interrupt."""
    if executor._flags.broken is not None:
        return False
    if executor._flags.shutdown:
        return True
    try:
        workers = list((executor._processes or {}).values())
    except RuntimeError:  # loky starts or joins one at this moment
        return False
    return any(worker.exitcode not in (None, 0) for worker in workers)


def _break_executor(executor: Any) -> None:
    """End all workers, and the pipes that loky may be waiting for."""
    for worker in list((executor._processes or {}).values()):
        if worker.pid is not None:
            with suppress(OSError):
                os.kill(worker.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
    for queue, end in ((executor._result_queue, "_writer"), (executor._call_queue, "_reader")):
        with suppress(OSError, AttributeError):
            getattr(queue, end).close()
