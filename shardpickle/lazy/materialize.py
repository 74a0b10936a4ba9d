"""A model's objects, walked as pickle walks them, and copies in which some stand for others.

What belongs to a model is what its pickle holds: attributes, items, and what bound methods,
partial functions and closures hold on to. A copy is made by pickling in memory, where everything
that cannot lead to a lazy list stays the very same object. Knows pickle; knows no file or shard.
"""

import copyreg
import io
import pickle
import sys
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from types import (
    BuiltinFunctionType,
    CellType,
    FunctionType,
    MethodType,
    MethodWrapperType,
    ModuleType,
)
from typing import Any

import numpy as np

from shardpickle import lazy
from shardpickle.sklearn_support import classes

Element = Callable[[Any], Any]

# Whether a partial function has a `__dict__` is not asked: asking makes one, which pickle keeps.
_CONTAINERS = (list, tuple, dict, set, frozenset, deque, lazy.LazyList, MethodType, partial)


def thawed(
    model: Any,
    *,
    enter: Element | None = None,
    element: Element | None = None,
    listed: Callable[[Sequence[Any]], None] | None = None,
    apart: Callable[[Any], bool] | None = None,
    fixed: Collection[int] = (),
) -> Any:
    """A copy of a model in which lists of estimators are lists.

    Parameters
    ----------
    enter : callable, optional
        What takes the place of an object and is copied in its stead; None for an object that is
        copied itself, and for a stand-in that stays.
    element : callable, optional
        What takes the place of a stand-in that is not entered, as it is.
    listed : callable, optional
        Is shown each lazy list, and each list of lazy lists before these, before any element.
    apart : callable, optional
        Whether `element` is asked what takes the place of an object, as for a stand-in.
    fixed : collection of int
        Identities of objects that stay as they are, whatever they hold.
    """
    pickler = _Pickler(enter=enter, listed=listed, fixed=fixed, apart=apart)
    pickler.dump(model)
    return _Unpickler(pickler, element).load()


def rebound(model: Any, instead: Mapping[int, Any]) -> Any:
    """A model in which objects, given by identity, are others, wherever they are referred to.

    The model itself if it refers to none of them. Lists stay lazy.
    """
    pickler = _Pickler(enter=lambda obj: instead.get(id(obj)), lists=False)
    pickler.dump(model)
    return _Unpickler(pickler, None).load() if pickler.entered else model


def referenced(model: Any) -> bytes:
    """A lazy model as a pickle that refers to its directory, for tasks of our own."""
    with lazy.referring():
        return pickle.dumps(model, protocol=5)


def from_reference(data: bytes) -> Any:
    """The lazy model that `referenced` refers to."""
    return pickle.loads(data)


def survives(error: Exception) -> bool:
    """Whether an error arrives in another process as what it is."""
    try:
        return type(pickle.loads(pickle.dumps(error))) is type(error)
    except Exception:
        return False


def is_lazy(model: Any) -> bool:
    """Whether there is a lazy list or a stand-in in a model."""
    lists: list[Any] = []
    pickler = _Pickler(listed=lists.append)
    try:
        pickler.dump(model)
    except Exception:  # it cannot be pickled at all, which is for others to tell
        return False
    return bool(lists) or any(map(lazy.is_stand_in, pickler.left))


def stand_ins(model: Any) -> list[Any]:
    """The stand-ins in a model, each once."""
    pickler = _Pickler()
    pickler.dump(model)
    return list(filter(lazy.is_stand_in, pickler.left))


def whole(model: Any) -> Any:
    """A copy of a model with everything in it."""
    return thawed(model, enter=loaded)


def loaded(obj: Any) -> Any:
    """What is entered in place of a stand-in in a whole model: the real estimator."""
    if not lazy.is_stand_in(obj):
        return None
    found = lazy.present(obj)
    return lazy.real(obj) if found is None else found


class _Pickler(pickle.Pickler):
    """Walks a model. What it does not go into is `left`, and stands in the pickle by number."""

    def __init__(
        self,
        *,
        enter: Element | None = None,
        listed: Callable[[Sequence[Any]], None] | None = None,
        fixed: Collection[int] = (),
        apart: Callable[[Any], bool] | None = None,
        lists: bool = True,
    ) -> None:
        self.buffer = io.BytesIO()
        super().__init__(self.buffer, protocol=5)
        self.enter = enter
        self.listed = listed
        self.fixed = fixed
        self.apart = apart
        self.lists = lists
        self.left: list[Any] = []  # alive, so that identities stay theirs
        self.numbers: dict[int, int] = {}
        self.instead: dict[int, Any] = {}
        self.entered: list[Any] = []

    def persistent_id(self, obj: Any) -> int | None:
        if type(obj) is _Left:
            obj = obj.obj
        elif id(obj) not in self.numbers and self.goes_into(obj):
            if self.listed is not None and _is_lazy(obj):
                self.listed(obj)
            return None
        number = self.numbers.get(id(obj))
        if number is None:
            number = self.numbers[id(obj)] = len(self.left)
            self.left.append(obj)
        return number

    def goes_into(self, obj: Any) -> bool:
        if id(obj) in self.instead:
            return True
        if self.enter is not None:
            other = self.enter(obj)
            if other is not None:
                self.instead[id(obj)] = other
                self.entered.append(obj)
                return True
        if not _leads_on(obj) or id(obj) in self.fixed:
            return False
        return self.apart is None or not self.apart(obj)

    def reducer_override(self, obj: Any) -> Any:
        if id(obj) in self.instead:
            return _same, (self.instead[id(obj)],)
        if type(obj) is lazy.LazyList and self.lists:
            return list, (), None, iter(lazy.items_of(obj))
        if type(obj) is MethodType:
            # Not as pickle does, which looks the name up before the owner has its attributes.
            return _bound, (obj.__func__, type(obj.__self__), obj.__self__)
        if type(obj) is FunctionType:
            return _same, (_Left(_Shell(obj)),), _held_by(obj), None, None, _fill
        try:
            reduce = copyreg.dispatch_table.get(type(obj))
            found = obj.__reduce_ex__(5) if reduce is None else reduce(obj)
        except Exception:  # what cannot be pickled stays as it is
            found = ""
        # A name (a str) stands for a global, which is nobody's copy.
        return (_same, (_Left(obj),)) if isinstance(found, str) else found


class _Unpickler(pickle.Unpickler):
    def __init__(self, pickler: _Pickler, element: Element | None) -> None:
        super().__init__(io.BytesIO(pickler.buffer.getvalue()))
        self.left = pickler.left
        self.apart = pickler.apart
        self.element = element
        self.cells: dict[int, CellType] = {}  # of functions; those that share one share its copy

    def persistent_load(self, number: int) -> Any:
        found = self.left[number]
        if type(found) is _Shell:
            return found.made(self.cells)
        if self.element is not None and (
            lazy.is_stand_in(found) or (self.apart is not None and self.apart(found))
        ):
            return self.element(found)
        return found


class _Left:
    """Around an object that stays as it is, whatever it is."""

    __slots__ = ("obj",)

    def __init__(self, obj: Any) -> None:
        self.obj = obj


class _Shell:
    """A function without what it holds on to."""

    __slots__ = ("function",)

    def __init__(self, function: FunctionType) -> None:
        self.function = function

    def made(self, cells: dict[int, CellType]) -> FunctionType:
        given = self.function
        closure = tuple(cells.setdefault(id(each), CellType()) for each in given.__closure__ or ())
        made = FunctionType(given.__code__, given.__globals__, given.__name__, None, closure)
        made.__qualname__, made.__module__ = given.__qualname__, given.__module__
        return made


def _held_by(function: FunctionType) -> tuple[Any, ...]:
    cells = {at: each for at, each in enumerate(function.__closure__ or ()) if _is_filled(each)}
    return (
        {at: each.cell_contents for at, each in cells.items()},
        function.__defaults__,
        function.__kwdefaults__,
        vars(function),
    )


def _fill(function: FunctionType, held: tuple[Any, ...]) -> None:
    contents, function.__defaults__, function.__kwdefaults__, attributes = held
    for at, value in contents.items():
        (function.__closure__ or ())[at].cell_contents = value
    function.__dict__.update(attributes)


def _is_filled(cell: CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018  # raises if it is empty
    except ValueError:
        return False
    return True


def _same(obj: Any) -> Any:
    return obj


def _bound(function: Callable[..., Any], kind: type, owner: Any) -> Any:
    """A method of an owner, which may be something else in its place."""
    if isinstance(owner, kind):
        return MethodType(function, owner)
    return getattr(owner, function.__name__)


def _leads_on(obj: Any) -> bool:
    """Whether an object may hold lazy lists or stand-ins, or what else is to be replaced."""
    kind = type(obj)
    if kind in _ATOMS or lazy.is_stand_in(obj) or isinstance(obj, (type, ModuleType)):
        return False
    if classes.is_tree_class(kind):
        return any(map(_leads_on_from_a_tree, vars(obj).values()))
    if isinstance(obj, np.ndarray):
        names = obj.dtype.names
        return bool(obj.dtype.hasobject) and (
            names is not None or any(type(each) not in _ATOMS for each in obj.flat)
        )
    if isinstance(obj, _CONTAINERS):
        return True
    if isinstance(obj, (BuiltinFunctionType, MethodWrapperType)):
        owner = obj.__self__
        return lazy.is_stand_in(owner) or _leads_on(owner)
    if kind is FunctionType:
        return _holds(obj)
    return hasattr(obj, "__dict__") or _has_slots(kind)


def _leads_on_from_a_tree(value: Any) -> bool:
    """The same of a tree's attribute; most have parameters and arrays alone."""
    items = [value]
    if type(value) in (list, tuple, dict):
        items = [*value, *value.values()] if type(value) is dict else value
    return any(lazy.is_stand_in(each) or _leads_on(each) for each in items)


def _holds(function: FunctionType) -> bool:
    """Whether a function holds on to something, and is not one that pickle knows by its name."""
    found: Any = sys.modules.get(function.__module__)
    for name in function.__qualname__.split("."):
        found = getattr(found, name, None)
    if found is function:
        return False
    contents, defaults, keywords, attributes = _held_by(function)
    held = [*contents.values(), *(defaults or ()), *(keywords or {}).values(), *attributes.values()]
    return any(
        type(each) is FunctionType or lazy.is_stand_in(each) or _leads_on(each) for each in held
    )


def _has_slots(kind: type) -> bool:
    return any(vars(base).get("__slots__") for base in kind.__mro__)


def _is_lazy(obj: Any) -> bool:
    kind = type(obj)
    return kind is lazy.LazyList or (
        kind is list and bool(obj) and all(type(each) is lazy.LazyList for each in obj)
    )


_ATOMS = frozenset({type(None), bool, int, float, str, bytes})
