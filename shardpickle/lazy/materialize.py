"""Walks a model's objects as pickle does, and copies models with some objects replaced.

A model's objects are those in its pickle: attributes, items, and what bound methods, partial
functions and closures capture. A copy is made by pickling in memory. Everything that cannot lead
to a lazy list stays the same object. Knows pickle; knows no file or shard.
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

# Never ask whether a partial function has a `__dict__`: asking makes one, which pickle keeps.
_CONTAINERS = (list, tuple, dict, set, frozenset, deque, lazy.LazyList, MethodType, partial)


def copy_model(
    model: Any,
    *,
    enter: Element | None = None,
    replace: Element | None = None,
    on_list: Callable[[Sequence[Any]], None] | None = None,
    apart: Callable[[Any], bool] | None = None,
    fixed: Collection[int] = (),
) -> Any:
    """Copy a model so that its lists of estimators are plain lists.

    Parameters
    ----------
    enter : callable, optional
        Returns the object to copy instead of the one given; None to copy that one itself, or to
        leave a stand-in.
    replace : callable, optional
        Returns the object to put, uncopied, in place of a stand-in that is not entered.
    on_list : callable, optional
        Is called with each lazy list, before any element. A list of lazy lists comes before these.
    apart : callable, optional
        Whether `replace` applies to an object, as it does to a stand-in.
    fixed : collection of int
        Identities of objects that stay as they are, whatever they contain.
    """
    pickler = _Pickler(enter=enter, on_list=on_list, fixed=fixed, apart=apart)
    pickler.dump(model)
    return _Unpickler(pickler, replace).load()


def replace_objects(model: Any, instead: Mapping[int, Any]) -> Any:
    """Replace objects, given by identity, wherever the model refers to them.

    Returns the model itself if it refers to none of them. Lists stay lazy.
    """
    pickler = _Pickler(enter=lambda obj: instead.get(id(obj)), lists=False)
    pickler.dump(model)
    return _Unpickler(pickler, None).load() if pickler.entered else model


def pickle_reference(model: Any) -> bytes:
    """Pickle a lazy model as a reference to its directory, for tasks of our own."""
    with lazy.referring():
        return pickle.dumps(model, protocol=5)


def load_reference(data: bytes) -> Any:
    """Load the lazy model that `pickle_reference` refers to."""
    return pickle.loads(data)


def survives_pickling(error: Exception) -> bool:
    """Whether an error reaches another process as the same class."""
    try:
        return type(pickle.loads(pickle.dumps(error))) is type(error)
    except Exception:
        return False


def is_lazy(model: Any) -> bool:
    """Whether there is a lazy list or a stand-in in a model."""
    lazy_lists: list[Any] = []
    pickler = _Pickler(on_list=lazy_lists.append)
    try:
        pickler.dump(model)
    except Exception:  # it cannot be pickled at all, which the dump reports
        return False
    return bool(lazy_lists) or any(map(lazy.is_stand_in, pickler.left))


def stand_ins(model: Any) -> list[Any]:
    """List the stand-ins in a model, each once."""
    pickler = _Pickler()
    pickler.dump(model)
    return list(filter(lazy.is_stand_in, pickler.left))


def copy_whole(model: Any) -> Any:
    """Copy a model with all of its estimators loaded."""
    return copy_model(model, enter=load_stand_in)


def load_stand_in(obj: Any) -> Any:
    """Return the real estimator of a stand-in, loaded if need be; None for other objects."""
    if not lazy.is_stand_in(obj):
        return None
    estimator = lazy.present(obj)
    return lazy.real(obj) if estimator is None else estimator


class _Pickler(pickle.Pickler):
    """Walks a model. Objects that it does not enter are in `left`; the pickle has their numbers."""

    def __init__(
        self,
        *,
        enter: Element | None = None,
        on_list: Callable[[Sequence[Any]], None] | None = None,
        fixed: Collection[int] = (),
        apart: Callable[[Any], bool] | None = None,
        lists: bool = True,
    ) -> None:
        self.buffer = io.BytesIO()
        super().__init__(self.buffer, protocol=5)
        self.enter = enter
        self.on_list = on_list
        self.fixed = fixed
        self.apart = apart
        self.lists = lists
        self.left: list[Any] = []  # kept alive, so that their ids are not reused
        self.numbers: dict[int, int] = {}
        self.instead: dict[int, Any] = {}
        self.entered: list[Any] = []

    def persistent_id(self, obj: Any) -> int | None:
        if type(obj) is _Left:
            obj = obj.obj
        elif id(obj) not in self.numbers and self.goes_into(obj):
            if self.on_list is not None and _is_lazy(obj):
                self.on_list(obj)
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
            replacement = self.enter(obj)
            if replacement is not None:
                self.instead[id(obj)] = replacement
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
            # Unlike pickle, which looks the name up before the owner has its attributes.
            return _bind, (obj.__func__, type(obj.__self__), obj.__self__)
        if type(obj) is FunctionType:
            return _same, (_Left(_Shell(obj)),), _get_captured(obj), None, None, _fill
        try:
            reduce = copyreg.dispatch_table.get(type(obj))
            reduced = obj.__reduce_ex__(5) if reduce is None else reduce(obj)
        except Exception:  # what cannot be pickled stays as it is
            reduced = ""
        # A str names a global, which is not copied.
        return (_same, (_Left(obj),)) if isinstance(reduced, str) else reduced


class _Unpickler(pickle.Unpickler):
    def __init__(self, pickler: _Pickler, replace: Element | None) -> None:
        super().__init__(io.BytesIO(pickler.buffer.getvalue()))
        self.left = pickler.left
        self.apart = pickler.apart
        self.replace = replace
        # Cells of functions; functions that share a cell share its copy.
        self.cells: dict[int, CellType] = {}

    def persistent_load(self, number: int) -> Any:
        obj = self.left[number]
        if type(obj) is _Shell:
            return obj.make(self.cells)
        if self.replace is not None and (
            lazy.is_stand_in(obj) or (self.apart is not None and self.apart(obj))
        ):
            return self.replace(obj)
        return obj


class _Left:
    """Wraps an object that stays as it is, whatever it is."""

    __slots__ = ("obj",)

    def __init__(self, obj: Any) -> None:
        self.obj = obj


class _Shell:
    """A function without what it captures."""

    __slots__ = ("function",)

    def __init__(self, function: FunctionType) -> None:
        self.function = function

    def make(self, cells: dict[int, CellType]) -> FunctionType:
        function = self.function
        closure = tuple(
            cells.setdefault(id(cell), CellType()) for cell in function.__closure__ or ()
        )
        copy = FunctionType(
            function.__code__, function.__globals__, function.__name__, None, closure
        )
        copy.__qualname__, copy.__module__ = function.__qualname__, function.__module__
        return copy


def _get_captured(function: FunctionType) -> tuple[Any, ...]:
    cells = {
        index: cell for index, cell in enumerate(function.__closure__ or ()) if _is_filled(cell)
    }
    return (
        {index: cell.cell_contents for index, cell in cells.items()},
        function.__defaults__,
        function.__kwdefaults__,
        vars(function),
    )


def _fill(function: FunctionType, state: tuple[Any, ...]) -> None:
    contents, function.__defaults__, function.__kwdefaults__, attributes = state
    for index, value in contents.items():
        (function.__closure__ or ())[index].cell_contents = value
    function.__dict__.update(attributes)


def _is_filled(cell: CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018  # raises if it is empty
    except ValueError:
        return False
    return True


def _same(obj: Any) -> Any:
    return obj


def _bind(function: Callable[..., Any], kind: type, owner: Any) -> Any:
    """Make a method of an owner, which may be a replacement."""
    if isinstance(owner, kind):
        return MethodType(function, owner)
    return getattr(owner, function.__name__)


def _leads_on(obj: Any) -> bool:
    """Whether an object may lead to lazy lists, stand-ins or other objects to replace."""
    kind = type(obj)
    if kind in _ATOMS or lazy.is_stand_in(obj) or isinstance(obj, (type, ModuleType)):
        return False
    if classes.is_tree_class(kind):
        return any(map(_leads_on_from_tree, vars(obj).values()))
    if isinstance(obj, np.ndarray):
        names = obj.dtype.names
        return bool(obj.dtype.hasobject) and (
            names is not None or any(type(item) not in _ATOMS for item in obj.flat)
        )
    if isinstance(obj, _CONTAINERS):
        return True
    if isinstance(obj, (BuiltinFunctionType, MethodWrapperType)):
        owner = obj.__self__
        return lazy.is_stand_in(owner) or _leads_on(owner)
    if kind is FunctionType:
        return _holds(obj)
    return hasattr(obj, "__dict__") or _has_slots(kind)


def _leads_on_from_tree(value: Any) -> bool:
    """The same for a tree's attribute; most are only parameters and arrays."""
    items = [value]
    if type(value) in (list, tuple, dict):
        items = [*value, *value.values()] if type(value) is dict else value
    return any(lazy.is_stand_in(item) or _leads_on(item) for item in items)


def _holds(function: FunctionType) -> bool:
    """Whether a function captures objects, and pickle does not find it by its name."""
    named: Any = sys.modules.get(function.__module__)
    for name in function.__qualname__.split("."):
        named = getattr(named, name, None)
    if named is function:
        return False
    contents, defaults, keywords, attributes = _get_captured(function)
    captured = [
        *contents.values(),
        *(defaults or ()),
        *(keywords or {}).values(),
        *attributes.values(),
    ]
    return any(
        type(item) is FunctionType or lazy.is_stand_in(item) or _leads_on(item) for item in captured
    )


def _has_slots(kind: type) -> bool:
    return any(vars(base).get("__slots__") for base in kind.__mro__)


def _is_lazy(obj: Any) -> bool:
    kind = type(obj)
    return kind is lazy.LazyList or (
        kind is list and bool(obj) and all(type(item) is lazy.LazyList for item in obj)
    )


_ATOMS = frozenset({type(None), bool, int, float, str, bytes})
