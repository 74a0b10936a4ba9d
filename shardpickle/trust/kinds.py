"""The kind of a value, such as "scalar", "array" or "estimator", by which attributes are judged."""

import datetime
import decimal
import fractions
import functools
import types
import uuid
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from shardpickle import lazy

Own = Callable[[Any], bool]

PLAIN = frozenset({"scalar", "array", "value", "table"})

_DICTS = (dict, OrderedDict, defaultdict, Counter, types.MappingProxyType)

_CONTAINERS = frozenset({*_DICTS, list, tuple, set, frozenset, deque, lazy.LazyList})

_SCALARS = frozenset({type(None), bool, int, float, complex, str, bytes, bytearray})

_VALUES: tuple[type, ...] = (
    *(slice, range, np.dtype, type(...), type(NotImplemented), uuid.UUID, decimal.Decimal),
    *(datetime.date, datetime.time, datetime.timedelta, datetime.tzinfo, fractions.Fraction),
)

_ARRAYS = (np.ndarray, np.matrix, np.memmap, np.recarray, np.ma.MaskedArray)

_RANDOM = (np.random.RandomState, np.random.Generator, np.random.BitGenerator)

_FUNCTIONS = (
    *(types.FunctionType, types.BuiltinFunctionType, types.MethodType, np.ufunc, np.vectorize),
    *(type(np.clip), functools.partial, types.MethodDescriptorType, types.BuiltinMethodType),
)

# Base classes in scikit-learn and SciPy, and the kind of all their subclasses.
FAMILIES = {
    **dict.fromkeys(("BaseCrossValidator", "BaseShuffleSplit", "_RepeatedSplits"), "splitter"),
    "_BaseScorer": "scorer",
    "BaseLoss": "loss",
    "BaseLink": "link",
    "Kernel": "kernel",
    "BaseOptimizer": "optimizer",
    "_spbase": "sparse",
    "DistanceMetric": "metric",
    "BinaryTree": "neighbor_tree",
    "BinaryTree32": "neighbor_tree",
    "BinaryTree64": "neighbor_tree",
    "rv_frozen": "distribution",
}


@functools.cache
def _kind_of_class(cls: type) -> str:
    """The kind of a class's instances; "" for containers."""
    if cls in _SCALARS or (issubclass(cls, np.generic) and cls is not np.object_):
        return "scalar"
    if cls in _CONTAINERS:
        return ""
    if issubclass(cls, BaseEstimator):
        return "estimator"
    if issubclass(cls, _FUNCTIONS):
        return "function"
    if issubclass(cls, type):
        return "type"
    if issubclass(cls, _RANDOM):
        return "random_state"
    if issubclass(cls, _VALUES):
        return "value"
    if cls.__module__.partition(".")[0] == "pandas":
        return "value" if cls.__name__ in _PANDAS_VALUES or not _has_rows(cls) else "table"
    for base in cls.__mro__:
        if base.__name__ in FAMILIES and base.__module__.partition(".")[0] in ("sklearn", "scipy"):
            return FAMILIES[base.__name__]
    return cls.__qualname__


_PANDAS_VALUES = frozenset({"Timestamp", "Timedelta", "Period", "Interval", "NaTType", "NAType"})


def _has_rows(cls: type) -> bool:
    return hasattr(cls, "__len__")


def kind_of(value: Any) -> str:
    """The kind of a value; "" if it is a container, whose items are judged instead."""
    if isinstance(value, np.ndarray) and not lazy.is_stand_in(value):
        if type(value) in _ARRAYS:
            return "" if value.dtype == object else "array"
        return type(value).__qualname__
    if type(value) is range and len(value) > _LONG:
        return LONG_RANGE  # a library could make a list of it
    return _kind_of_class(lazy.kind_of(value))


_LONG = 1 << 20

LONG_RANGE = "long range"


def walk_leaves(
    value: Any, seen: set[int] | None = None, own: Own | None = None
) -> Iterator[tuple[str, Any]]:
    """Yield (kind, value) of all that a value's containers hold, or of the value itself.

    Skips the containers in `seen`, by identity, and adds those that it meets. Does not look into
    objects of an `own` class.
    """
    seen = set() if seen is None else seen
    left = [value]
    while left:
        item = left.pop()
        kind = kind_of(item)
        if kind and kind not in _NAMED_CONTAINERS and not isinstance(item, tuple):
            yield kind, item
        elif id(item) not in seen:
            seen.add(id(item))
            if kind:
                yield kind, item
                if own is not None and own(type(item)):
                    continue
            left += _list_items(item, kind)


_NAMED_CONTAINERS = ("Bunch", "SimpleNamespace")


def _list_items(value: Any, kind: str) -> Iterable[Any]:
    """List what a container holds."""
    if kind in _NAMED_CONTAINERS:
        return list(value.values() if isinstance(value, dict) else vars(value).values())
    if isinstance(value, _DICTS):
        factory = getattr(value, "default_factory", None)
        return [*value.keys(), *value.values(), *([] if factory in _FACTORIES else [factory])]
    if isinstance(value, np.ndarray):
        return list(np.ma.getdata(value).flat)
    return list(lazy.items_of(value))


_FACTORIES = (None, int, float, str, bool, list, dict, set, tuple, OrderedDict, defaultdict)
