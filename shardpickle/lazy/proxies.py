"""What stands in a model in place of its deferred estimators: they load on access.

A `StandIn` stands for a deferred part wherever the model refers to it, and a `LazyList` for a list
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
    """In place of an estimator: every attribute is that of the real one, loaded when asked for.

    `isinstance` says the real class. What is set on a stand-in stays: from then on it holds the
    real one.
    """

    __slots__ = ("__weakref__", "_mine", "_part", "_shelf")
    kind: type

    def __init__(self, shelf: Shelf, part: int) -> None:
        object.__setattr__(self, "_shelf", shelf)
        object.__setattr__(self, "_part", part)
        object.__setattr__(self, "_mine", None)

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
        mine = _slot(self, "_mine")
        if mine is not None:
            return copy.deepcopy(mine, memo)
        return type(self)(_slot(self, "_shelf"), _slot(self, "_part"))

    def __reduce_ex__(self, protocol: Any) -> Any:
        mine = _slot(self, "_mine")
        if mine is not None:
            return mine.__reduce_ex__(protocol)
        refuse_in_dumps(self)
        return stand_in, (_slot(self, "_shelf"), _slot(self, "_part"))


_OWN = frozenset({"__copy__", "__deepcopy__", "__reduce_ex__"})
_slot = object.__getattribute__


def is_stand_in(obj: Any) -> bool:
    return issubclass(type(obj), StandIn)


def place(stood: Any) -> tuple[Shelf, int]:
    """Where the real one is: its shelf, and its part there."""
    return _slot(stood, "_shelf"), _slot(stood, "_part")


def real(obj: Any) -> Any:
    """The real object, where a stand-in is given; anything else as it is."""
    if not is_stand_in(obj):
        return obj
    mine = _slot(obj, "_mine")
    return CACHE.get(*place(obj)) if mine is None else mine


def settled(obj: Any) -> Any:
    """The real object that a stand-in holds itself, in place of that; else what is given."""
    mine = kept(obj) if is_stand_in(obj) else None
    return obj if mine is None else mine


def kept(stood: Any) -> Any:
    """The real object that a stand-in holds itself; None if it holds none."""
    return _slot(stood, "_mine")


def present(stood: Any) -> Any:
    """The real object, if it is in memory; else None."""
    shelf, part = place(stood)
    mine = kept(stood)
    return shelf.alive.get(part) if mine is None else mine


def kind_of(obj: Any) -> type:
    """The class of the real object."""
    kind: type = type(obj).kind if is_stand_in(obj) else type(obj)
    return kind


def keep(stood: Any, found: Any = None) -> Any:
    """Make a stand-in hold its real object, which may have been `found`; gives that."""
    if found is None:
        mine = kept(stood)
        found = CACHE.get(*place(stood), scan=False) if mine is None else mine
    object.__setattr__(stood, "_mine", found)
    return found


def stand_in(shelf: Shelf, part: int) -> Any:
    """The one object that stands for a part."""
    with CACHE.lock:
        found = shelf.stand_ins.get(part)
        if found is None:
            found = shelf.stand_ins[part] = _class_of(shelf.kinds[part])(shelf, part)
    return found


_stand_in = stand_in  # as pickles of earlier versions say


@cache
def _class_of(kind: type) -> type[StandIn]:
    """Stand-ins of a class; what Python looks up on types (``len``, iteration) is forwarded."""
    members: dict[str, Any] = {"__slots__": (), "kind": kind, "__module__": kind.__module__}
    for name in dir(kind):
        special = name.startswith("__") and name.endswith("__")
        if special and not hasattr(StandIn, name) and callable(getattr(kind, name)):
            members[name] = _forwarded(name)
    return type(kind.__name__, (StandIn,), members)


def _forwarded(name: str) -> Callable[..., Any]:
    return lambda self, *args, **kwargs: getattr(real(self), name)(*args, **kwargs)


class LazyList(MutableSequence[Any]):
    """A list of estimators that are loaded when they are taken out.

    With a memory limit they are dropped again when nobody uses them, and with them what was
    changed on them: assign an estimator to its place to keep it. `load` keeps all.
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
        found = self._items[index]
        return LazyList(found) if isinstance(index, slice) else real(found)

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
        return any(map(self._finder(value), self._items))

    def index(self, value: Any, start: int = 0, stop: int | None = None) -> int:
        same = self._finder(value)
        for at in range(*slice(start, stop).indices(len(self))):
            if same(self._items[at]):
                return at
        raise ValueError("the estimator is not in this list")

    def count(self, value: Any) -> int:
        return sum(map(self._finder(value), self._items))

    def _finder(self, value: Any) -> Callable[[Any], bool]:
        """Whether an item is a value; estimators are equal if they are the same, so none loads."""

        def same(item: Any) -> bool:
            if item is value or not is_stand_in(item):
                return bool(item is value or item == value)
            return value is present(item)

        return same

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
        theirs = list(items_of(other))
        return len(theirs) == len(self) and all(
            self._finder(yours)(mine) or (mine is yours)
            for mine, yours in zip(self._items, theirs, strict=True)
        )

    # Like a list it can be changed and compares by content; typeshed wants a function here.
    __hash__ = None  # type: ignore[assignment]

    def copy(self) -> "LazyList":
        return LazyList(self._items)

    __copy__ = copy

    def __repr__(self) -> str:
        kinds = sorted({(each.__class__).__name__ for each in self._items})
        waiting = sum(is_stand_in(each) and kept(each) is None for each in self._items)
        return f"<{len(self)} × {', '.join(kinds)}, {waiting} of them loaded on access>"

    def __reduce__(self) -> tuple[Any, ...]:
        refuse_in_dumps(self)
        return LazyList, (self._items,)

    def load(self) -> "LazyList":
        """Load all and keep them, whatever the memory limit. Gives the list itself."""
        for item in self._items:
            if is_stand_in(item):
                keep(item)
        return self


def items_of(values: Iterable[Any]) -> Iterable[Any]:
    """The items of a sequence as they stand in it: nothing is loaded."""
    return values._items if isinstance(values, LazyList) else values


def relisted(value: Any, done: dict[int, tuple[Any, Any]]) -> Any:
    """A list of stand-ins as a lazy one, also in a list of lists; anything else as it is.

    `done` has what was made of each list, so that lists that were one stay one.
    """
    if type(value) is list:
        if id(value) not in done:
            inner = any(type(each) is list for each in value)
            made: Any = value
            if inner:
                value[:] = [relisted(each, done) for each in value]
            elif any(map(is_stand_in, value)):
                made = LazyList(value)
            done[id(value)] = value, made
        return done[id(value)][1]
    return value
