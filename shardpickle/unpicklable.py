"""Finds what in a model cannot be pickled, and where it stands. Used only after a failure."""

import pickle
from collections import deque
from collections.abc import Iterator
from functools import partial
from types import MethodType
from typing import Any

import numpy as np

from shardpickle.errors import UnpicklableError

_MOST = 20


def explain(model: object, error: BaseException) -> UnpicklableError:
    """The error that names every object of the model that pickle refuses (at most 20)."""
    skipped: dict[int, Any] = {}
    problems: list[tuple[object, BaseException]] = []
    failure: BaseException | None = error
    while len(problems) < _MOST:
        probe = _Probe(skipped)
        try:
            probe.dump(model)
            break
        except Exception as refusal:  # whatever a class raises while it is pickled
            failure = refusal
        culprit = probe.trail[-1] if probe.trail else model
        if id(culprit) in skipped:
            break
        skipped[id(culprit)] = culprit
        problems.append((_nearest(model, probe.trail), failure))
    if not problems:
        problems.append((model, error))
    places = _paths(model, {id(culprit) for culprit, _ in problems})
    return UnpicklableError(
        [
            (places.get(id(culprit), "model"), f"{type(reason).__name__}: {reason}")
            for culprit, reason in problems
        ]
    )


def explain_reference(model: object, found: Any, error: BaseException) -> UnpicklableError:
    """The error that names where an object stands that must not be in a dump."""
    place = _paths(model, {id(found)}).get(id(found), "model")
    return UnpicklableError([(place, str(error))])


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


def _nearest(model: object, trail: list[Any]) -> object:
    """The last object of the trail that the model itself holds (not one made by a reduce)."""
    known = _paths(model, {id(obj) for obj in trail})
    return next((obj for obj in reversed(trail) if id(obj) in known), model)


def _paths(model: object, wanted: set[int]) -> dict[int, str]:
    """Where in the model each wanted object stands, nearest the root."""
    found: dict[int, str] = {}
    seen = {id(model)}
    queue: deque[tuple[Any, str]] = deque([(model, "model")])
    while queue and len(found) < len(wanted):
        obj, path = queue.popleft()
        if id(obj) in wanted:
            found[id(obj)] = path
        for child, step in _children(obj):
            if id(child) not in seen:
                seen.add(id(child))
                queue.append((child, path + step))
    return found


def _children(obj: Any) -> Iterator[tuple[Any, str]]:
    if isinstance(obj, dict):
        for key, value in obj.items():
            yield value, f"[{key!r}]"
            yield key, f".key({key!r:.40})"
    elif isinstance(obj, MethodType):
        yield obj.__self__, ".__self__"
    elif isinstance(obj, partial):
        yield from ((obj.func, ".func"), (obj.args, ".args"), (obj.keywords, ".keywords"))
    elif isinstance(obj, Iterator):
        try:
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
    for name in _slots(type(obj)):
        if hasattr(obj, name):
            yield getattr(obj, name), f".{name}"


def _slots(cls: type) -> Iterator[str]:
    for base in cls.__mro__:
        slots = base.__dict__.get("__slots__", ())
        yield from (slots,) if isinstance(slots, str) else slots
