"""A lazy model with plain lists again. Knows pickle; knows no file and no shard.

The copy is made by pickling in memory, where everything that cannot lead to a lazy list stays the
very same object.
"""

import io
import pickle
from collections import deque
from collections.abc import Callable, Collection, Sequence
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from shardpickle import families, lazy

Element = Callable[[Any], Any]

_CONTAINERS = (list, tuple, dict, set, frozenset, deque, lazy.LazyList)


def thawed(
    model: Any,
    element: Element,
    *,
    listed: Callable[[Sequence[Any]], None] | None = None,
    apart: Callable[[Any], bool] | None = None,
    fixed: Collection[int] = (),
) -> Any:
    """A copy of a model in which lists of estimators are lists.

    Parameters
    ----------
    element : callable
        What takes the place of a stand-in.
    listed : callable, optional
        Is shown each lazy list, and each list of lazy lists before these, before any element.
    apart : callable, optional
        Whether `element` is asked what takes the place of an object, as for a stand-in.
    fixed : collection of int
        Identities of objects that stay as they are, whatever they hold.
    """
    pickler = _Pickler(listed, fixed, apart)
    pickler.dump(model)
    return _Unpickler(pickler, element).load()


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
    pickler = _Pickler(lists.append, ())
    try:
        pickler.dump(model)
    except Exception:  # it cannot be pickled at all, which is for others to tell
        return False
    return bool(lists) or any(map(lazy.is_stand_in, pickler.left))


def stand_ins(model: Any) -> list[Any]:
    """The stand-ins in a model, each once."""
    pickler = _Pickler(None, ())
    pickler.dump(model)
    return list(filter(lazy.is_stand_in, pickler.left))


def whole(model: Any) -> Any:
    """A copy of a model with everything in it."""
    return thawed(model, loaded())


def loaded() -> Element:
    """What takes the place of a stand-in in a whole model: the real estimator, whole itself."""
    done: dict[int, tuple[Any, Any]] = {}  # estimators that may hold lazy lists themselves

    def element(stood: Any) -> Any:
        found = lazy.present(stood)
        if found is None:
            found = lazy.real(stood)
        if families.is_tree_class(type(found)):
            return found
        if id(found) not in done:
            done[id(found)] = found, thawed(found, element)
        return done[id(found)][1]

    return element


class _Pickler(pickle.Pickler):
    def __init__(
        self,
        listed: Callable[[Sequence[Any]], None] | None,
        fixed: Collection[int],
        apart: Callable[[Any], bool] | None = None,
    ) -> None:
        self.buffer = io.BytesIO()
        super().__init__(self.buffer, protocol=5)
        self.listed = listed
        self.fixed = fixed
        self.apart = apart
        self.left: list[Any] = []  # alive, so that identities stay theirs
        self.numbers: dict[int, int] = {}

    def persistent_id(self, obj: Any) -> int | None:
        if self.goes_into(obj):
            if self.listed is not None and _is_lazy(obj):
                self.listed(obj)
            return None
        number = self.numbers.get(id(obj))
        if number is None:
            number = self.numbers[id(obj)] = len(self.left)
            self.left.append(obj)
        return number

    def goes_into(self, obj: Any) -> bool:
        if not _leads_on(obj) or id(obj) in self.fixed:
            return False
        return self.apart is None or not self.apart(obj)

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is lazy.LazyList:
            return list, (), None, iter(lazy.items_of(obj))
        return NotImplemented


class _Unpickler(pickle.Unpickler):
    def __init__(self, pickler: _Pickler, element: Element) -> None:
        super().__init__(io.BytesIO(pickler.buffer.getvalue()))
        self.left = pickler.left
        self.apart = pickler.apart
        self.element = element

    def persistent_load(self, number: int) -> Any:
        found = self.left[number]
        if lazy.is_stand_in(found) or (self.apart is not None and self.apart(found)):
            return self.element(found)
        return found


def _leads_on(obj: Any) -> bool:
    """Whether an object may hold lazy lists or stand-ins."""
    kind = type(obj)
    if kind in _ATOMS or lazy.is_stand_in(obj) or families.is_tree_class(kind):
        return False
    if isinstance(obj, np.ndarray):
        return bool(obj.dtype.hasobject)
    if isinstance(obj, _CONTAINERS):
        return True
    return not isinstance(obj, _CODE) and hasattr(obj, "__dict__")


def _is_lazy(obj: Any) -> bool:
    kind = type(obj)
    return kind is lazy.LazyList or (
        kind is list and bool(obj) and all(type(each) is lazy.LazyList for each in obj)
    )


_ATOMS = frozenset({type(None), bool, int, float, str, bytes})
_CODE = (type, FunctionType, BuiltinFunctionType, MethodType, ModuleType, partial)
