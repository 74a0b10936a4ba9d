"""Finds the objects of a model that cannot be pickled, their places, and what to do about them.

Used only after a failure.
"""

import io
import mmap
import pickle
import queue
import socket
import sys
import threading
import traceback
from collections import deque
from collections.abc import Iterator
from functools import partial
from types import (
    AsyncGeneratorType,
    CoroutineType,
    FrameType,
    FunctionType,
    GeneratorType,
    MethodType,
    ModuleType,
    TracebackType,
)
from typing import Any

import numpy as np

from shardpickle.errors import UnpicklableError

_MOST = 20


def explain(model: object, error: BaseException) -> UnpicklableError:
    """Make the error that names every object of the model that pickle refuses (at most 20)."""
    skipped: dict[int, Any] = {}
    problems: list[tuple[object, BaseException]] = []
    advice: dict[str, None] = {}  # in order, each once
    failure: BaseException = error
    while len(problems) < _MOST:
        probe = _Probe(skipped)
        try:
            probe.dump(model)
            break
        except Exception as refusal:  # classes may raise anything while they are pickled
            failure = refusal
        culprit = probe.trail[-1] if probe.trail else model
        if id(culprit) in skipped:
            break
        skipped[id(culprit)] = culprit
        problems.append((_find_nearest(model, probe.trail), failure))
        advice[_advise(culprit, failure)] = None
        if isinstance(failure, RecursionError):  # each equally deep object would be reported
            break
    if not problems:
        problems.append((model, error))
        advice[_advise(model, error)] = None
    places = _find_paths(model, {id(culprit) for culprit, _ in problems})
    return UnpicklableError(
        [
            (places.get(id(culprit), "model"), f"{type(reason).__name__}: {reason}")
            for culprit, reason in problems
        ],
        list(advice),
    )


def explain_reference(model: object, obj: Any, error: BaseException) -> UnpicklableError:
    """Make the error that names the place of an object that must not be in a dump."""
    place = _find_paths(model, {id(obj)}).get(id(obj), "model")
    return UnpicklableError([(place, str(error))])


def _advise(culprit: object, error: BaseException) -> str:
    """Say what to do about an object that pickle refused."""
    if isinstance(error, RecursionError):
        return _advise_on_depth(error)
    if isinstance(culprit, (type, FunctionType)):
        return _advise_on_name(culprit)
    if isinstance(culprit, ModuleType):
        return (
            "A module cannot be part of a model: remove the attribute and import it where it is "
            "used."
        )
    if _is_connection(culprit):
        return (
            "A database connection belongs to this process: store its address instead, and "
            "connect where it is used."
        )
    if isinstance(culprit, _ITERATORS):
        return "A generator, an iterator or a view cannot be stored: keep a list of its items."
    if isinstance(culprit, _PROCESS_BOUND):
        return (
            "Locks, threads, files and sockets belong to this process: remove them, or omit them "
            "in their class's __getstate__ and create them again in its __setstate__."
        )
    return "Remove them from the model, or give their classes a __getstate__."


def _advise_on_depth(error: RecursionError) -> str:
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    if len(frames) > _OWN_FRAMES:  # pickle itself has none: a method calls itself
        return (
            f"{_shorten(frames[-1].f_code.co_qualname)} calls itself without end: correct it (a "
            "__getattr__ often does so while its object is still empty)."
        )
    return (
        "Objects are nested deeper than Python's stack allows: call "
        f"sys.setrecursionlimit({10 * sys.getrecursionlimit()}) before the dump (loading does not "
        "need it)."
    )


def _advise_on_name(culprit: type | FunctionType) -> str:
    """Say what to do about a class or function, which pickle stores by name."""
    what = "class" if isinstance(culprit, type) else "function"
    if culprit.__name__ == "<lambda>":
        return "A lambda has no name to store: define a named function in a module."
    if "<locals>" in culprit.__qualname__:
        return (
            f"A local {what}, defined inside a function, has no name to store: define it at the "
            "top of a module."
        )
    name = f"{culprit.__module__}.{culprit.__qualname__}"
    named: Any = sys.modules.get(culprit.__module__)
    for step in culprit.__qualname__.split("."):
        named = getattr(named, step, None)
    if named is None:
        return (
            f"{_shorten(name)} is not found under this name: set the __qualname__ of the {what} to "
            "its name in its module."
        )
    if getattr(named, "__wrapped__", None) is culprit:
        return (
            f"A decorator replaced {_shorten(name)}: give the undecorated one a name of its own, "
            "or keep the decorated one in the model."
        )
    return (
        f"{_shorten(name)} was reloaded or defined again since the model was made: restart Python, "
        "or recreate the model with the current one."
    )


def _shorten(name: str) -> str:
    return name if len(name) <= 100 else f"…{name[-99:]}"


def _is_connection(culprit: object) -> bool:
    """Whether an object looks like a connection (PEP 249) or one of its cursors."""
    kind = type(culprit)
    return callable(getattr(kind, "close", None)) and (
        all(callable(getattr(kind, method, None)) for method in ("cursor", "commit"))
        or all(callable(getattr(kind, method, None)) for method in ("execute", "fetchone"))
    )


_OWN_FRAMES = 50
_ITERATORS: tuple[type, ...] = (
    GeneratorType,
    CoroutineType,
    AsyncGeneratorType,
    map,
    filter,
    zip,
    enumerate,
    reversed,
    type({}.keys()),
    type({}.values()),
    type({}.items()),
)
_PROCESS_BOUND: tuple[type, ...] = (
    type(threading.Lock()),
    type(threading.RLock()),
    threading.Thread,
    threading.local,
    queue.SimpleQueue,
    io.IOBase,
    mmap.mmap,
    socket.socket,
    FrameType,
    TracebackType,
)


class _Sink:
    def write(self, data: Any) -> int:
        return len(data)


class _Probe(pickle.Pickler):
    def __init__(self, skipped: dict[int, Any]) -> None:
        super().__init__(_Sink(), protocol=5)
        self.skipped = skipped
        self.trail: list[Any] = []

    def persistent_id(self, obj: Any) -> Any:
        if id(obj) in self.skipped or (type(obj) is np.ndarray and not obj.dtype.hasobject):
            return 0
        if type(obj) not in (str, int, float, bool, bytes, type(None)):
            self.trail.append(obj)
        return None


def _find_nearest(model: object, trail: list[Any]) -> object:
    """Find the last object of the trail that is in the model (not made by a reduce)."""
    known = _find_paths(model, {id(obj) for obj in trail})
    return next((obj for obj in reversed(trail) if id(obj) in known), model)


def _find_paths(model: object, wanted: set[int]) -> dict[int, str]:
    """Find the path of each wanted object in the model, the one nearest to the root."""
    paths: dict[int, str] = {}
    seen = {id(model)}
    queue: deque[tuple[Any, str]] = deque([(model, "model")])
    while queue and len(paths) < len(wanted):
        obj, path = queue.popleft()
        if id(obj) in wanted:
            paths[id(obj)] = path
        for child, step in _iterate_children(obj):
            if id(child) not in seen:
                seen.add(id(child))
                queue.append((child, path + step))
    return paths


def _iterate_children(obj: Any) -> Iterator[tuple[Any, str]]:
    if isinstance(obj, ModuleType):
        return  # a module leads to everything imported
    if isinstance(obj, dict):
        for key, value in obj.items():
            yield value, f"[{key!r}]"
            yield key, f".key({key!r:.40})"
    elif isinstance(obj, MethodType):
        yield obj.__self__, ".__self__"
    elif isinstance(obj, partial):
        yield from ((obj.func, ".func"), (obj.args, ".args"), (obj.keywords, ".keywords"))
    elif isinstance(obj, Iterator) and type(obj).__module__ in ("builtins", "itertools"):
        try:  # no other iterators: a file would wrap itself, and be closed with the wrapper
            yield obj.__reduce__()[1], ""
        except Exception:  # most cannot be pickled
            return
    elif isinstance(obj, list | tuple | set | frozenset):
        for index, value in enumerate(obj):
            yield value, f"[{index}]"
    elif isinstance(obj, np.ndarray) and obj.dtype.hasobject and obj.dtype.names is None:
        for place, value in np.ndenumerate(obj):
            yield value, "[" + ", ".join(map(str, place)) + "]"
    for name, value in getattr(obj, "__dict__", {}).items() if not isinstance(obj, type) else ():
        yield value, f".{name}"
    for name in _iterate_slots(type(obj)):
        if hasattr(obj, name):
            yield getattr(obj, name), f".{name}"


def _iterate_slots(cls: type) -> Iterator[str]:
    for base in cls.__mro__:
        slots = base.__dict__.get("__slots__", ())
        yield from (slots,) if isinstance(slots, str) else slots
