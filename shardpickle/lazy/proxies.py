"""Stand-ins for the deferred estimators of a model, which load on access.

A `StandIn` replaces a deferred part wherever the model refers to it; a `LazyList` replaces a list
of them. Knows sequences and shelves; no file, codec or class.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, MutableSequence
from functools import cache
from typing import Any, SupportsIndex, overload

from shardpickle.lazy.cache import (
    CACHE,
    Shelf,
    refuse_in_dumps,
)


class StandIn:
    """Replaces an estimator and loads it when an attribute is asked for.

    `isinstance` sees the real class. Setting an attribute makes the stand-in keep the real
    estimator, so the change stays.
    """

    __slots__ = ("__weakref__", "_kept", "_part", "_shelf")
    kind: type

    def __init__(self, shelf: Shelf, part: int) -> None:
        object.__setattr__(self, "_shelf", shelf)
        object.__setattr__(self, "_part", part)
        object.__setattr__(self, "_kept", None)

    def __getattribute__(self, name: str) -> Any:
        if name in _OWN:
            return object.__getattribute__(self, name)
        kind = type(self).kind
        if name == "__class__":
            return kind
        if name.startswith("__") and name != "__dict__" and not hasattr(kind, name):
            raise AttributeError(name)  # NumPy and others ask for protocols
        return getattr(real(self), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(keep(self), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(keep(self), name)

    def __repr__(self) -> str:
        return repr(real(self))

    def __copy__(self) -> Any:
        return copy.copy(real(self))

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        estimator = _slot(self, "_kept")
        if estimator is not None:
            return copy.deepcopy(estimator, memo)
        return type(self)(_slot(self, "_shelf"), _slot(self, "_part"))

    def __reduce_ex__(self, protocol: Any) -> Any:
        estimator = _slot(self, "_kept")
        if estimator is not None:
            return estimator.__reduce_ex__(protocol)
        refuse_in_dumps(self)
        return stand_in, (_slot(self, "_shelf"), _slot(self, "_part"))


_OWN = frozenset({"__copy__", "__deepcopy__", "__reduce_ex__"})
_slot = object.__getattribute__


def is_stand_in(obj: Any) -> bool:
    return issubclass(type(obj), StandIn)


def place(placeholder: Any) -> tuple[Shelf, int]:
    """The shelf of the real object, and its part there."""
    return _slot(placeholder, "_shelf"), _slot(placeholder, "_part")


def real(obj: Any) -> Any:
    """The real object of a stand-in, loaded if need be; anything else as it is."""
    if not is_stand_in(obj):
        return obj
    estimator = _slot(obj, "_kept")
    return CACHE.get(*place(obj)) if estimator is None else estimator


def settled(obj: Any) -> Any:
    """The real object that a stand-in keeps; if it keeps none, the argument as it is."""
    estimator = kept(obj) if is_stand_in(obj) else None
    return obj if estimator is None else estimator


def kept(placeholder: Any) -> Any:
    """The real object that a stand-in keeps, or None."""
    return _slot(placeholder, "_kept")


def present(placeholder: Any) -> Any:
    """The real object if it is in memory, else None."""
    shelf, part = place(placeholder)
    estimator = kept(placeholder)
    return shelf.alive.get(part) if estimator is None else estimator


def kind_of(obj: Any) -> type:
    """The class of the real object."""
    kind: type = type(obj).kind if is_stand_in(obj) else type(obj)
    return kind


def keep(placeholder: Any, estimator: Any = None) -> Any:
    """Make a stand-in keep its real object (default: load it) and return that."""
    if estimator is None:
        estimator = kept(placeholder)
    if estimator is None:
        estimator = CACHE.get(*place(placeholder), scan=False)
    object.__setattr__(placeholder, "_kept", estimator)
    return estimator


def stand_in(shelf: Shelf, part: int) -> Any:
    """Return the one stand-in of a part."""
    with CACHE.lock:
        placeholder = shelf.stand_ins.get(part)
        if placeholder is None:
            placeholder = shelf.stand_ins[part] = _make_class(shelf.kinds[part])(shelf, part)
    return placeholder


_stand_in = stand_in  # the name in pickles of earlier versions


@cache
def _make_class(kind: type) -> type[StandIn]:
    """Make the stand-in of a class. Methods that Python looks up on types (``len``) forward."""
    members: dict[str, Any] = {"__slots__": (), "kind": kind, "__module__": kind.__module__}
    for name in dir(kind):
        special = name.startswith("__") and name.endswith("__")
        if special and not hasattr(StandIn, name) and callable(getattr(kind, name)):
            members[name] = _forward(name)
    return type(kind.__name__, (StandIn,), members)


def _forward(name: str) -> Callable[..., Any]:
    return lambda self, *args, **kwargs: getattr(real(self), name)(*args, **kwargs)


class LazyList(MutableSequence[Any]):
    """A list of estimators that load when you take them out.

    To keep a change to an estimator, assign it to its place: with a memory limit, estimators that
    nobody uses are dropped, and changes with them. `load` keeps all.
    """

    __slots__ = ("_items",)

    def __init__(self, items: Iterable[Any] = ()) -> None:
        self._items = list(items)

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, index: SupportsIndex) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> "LazyList": ...
    def __getitem__(self, index: Any) -> Any:
        selected = self._items[index]
        return LazyList(selected) if isinstance(index, slice) else real(selected)

    def __setitem__(self, index: Any, value: Any) -> None:
        self._items[index] = items_of(value) if isinstance(index, slice) else value

    def __delitem__(self, index: Any) -> None:
        del self._items[index]

    def insert(self, index: SupportsIndex, value: Any) -> None:
        self._items.insert(index, value)

    def extend(self, values: Iterable[Any]) -> None:
        self._items.extend(items_of(values))

    def __iter__(self) -> Iterator[Any]:
        return map(real, iter(self._items))

    def __reversed__(self) -> Iterator[Any]:
        return map(real, reversed(self._items))

    def __contains__(self, value: Any) -> bool:
        return any(map(self._make_finder(value), self._items))

    def index(self, value: Any, start: int = 0, stop: int | None = None) -> int:
        same = self._make_finder(value)
        for at in range(*slice(start, stop).indices(len(self))):
            if same(self._items[at]):
                return at
        raise ValueError("the estimator is not in this list")

    def count(self, value: Any) -> int:
        return sum(map(self._make_finder(value), self._items))

    def _make_finder(self, value: Any) -> Callable[[Any], bool]:
        """Make a test for items equal to a value. Nothing loads: estimators compare by identity."""

        def is_value(item: Any) -> bool:
            if item is value or not is_stand_in(item):
                return bool(item is value or item == value)
            return value is present(item)

        return is_value

    def __add__(self, other: Any) -> "LazyList":
        if not isinstance(other, (list, LazyList)):
            return NotImplemented
        return LazyList([*self._items, *items_of(other)])

    def __radd__(self, other: Any) -> "LazyList":
        if not isinstance(other, list):
            return NotImplemented
        return LazyList([*other, *self._items])

    def __mul__(self, times: SupportsIndex) -> "LazyList":
        return LazyList(self._items * times)

    def __eq__(self, other: Any) -> bool:
        if not isinstance(other, (list, LazyList)):
            return NotImplemented
        other_items = list(items_of(other))
        return len(other_items) == len(self) and all(
            self._make_finder(other_item)(item) or (item is other_item)
            for item, other_item in zip(self._items, other_items, strict=True)
        )

    # Like a list it can be changed and compares by content; typeshed wants a function here.
    __hash__ = None  # type: ignore[assignment]

    def copy(self) -> "LazyList":
        return LazyList(self._items)

    __copy__ = copy

    def __repr__(self) -> str:
        kinds = sorted({(item.__class__).__name__ for item in self._items})
        waiting = sum(is_stand_in(item) and kept(item) is None for item in self._items)
        return f"<{len(self)} × {', '.join(kinds)}, {waiting} of them loaded on access>"

    def __reduce__(self) -> tuple[Any, ...]:
        refuse_in_dumps(self)
        return LazyList, (self._items,)

    def load(self) -> "LazyList":
        """Load all and keep them, whatever the memory limit. Returns the list itself."""
        for item in self._items:
            if is_stand_in(item):
                keep(item)
        return self


def items_of(values: Iterable[Any]) -> Iterable[Any]:
    """The items of a sequence as they are stored: nothing is loaded."""
    return values._items if isinstance(values, LazyList) else values


def relisted(value: Any, done: dict[int, tuple[Any, Any]]) -> Any:
    """Return a list of stand-ins as a lazy one, also in a list of lists; anything else as it is.

    `done` maps each list to its result, so that a list in two places stays one list.
    """
    if type(value) is list:
        if id(value) not in done:
            inner = any(type(item) is list for item in value)
            lazy_list: Any = value
            if inner:
                value[:] = [relisted(item, done) for item in value]
            elif any(map(is_stand_in, value)):
                lazy_list = LazyList(value)
            done[id(value)] = value, lazy_list
        return done[id(value)][1]
    return value
