"""Whether two object graphs are the same: types, bits, and which objects are one object.

Walks both sides at once through what pickle itself would see (`__reduce_ex__`), so nothing of an
object's state is left out, and keeps a one-to-one map of every object whose identity matters.
"""

import re
import struct
import types

import numpy as np
import pandas as pd

import shardpickle

# Changed by the library itself, whoever loads: CountVectorizer keeps the id() of its stop words.
VOLATILE = frozenset({"_stop_words_id"})

_BY_NAME = (type, types.FunctionType, types.BuiltinFunctionType, types.ModuleType, np.ufunc)
_METHODS = (types.MethodType, types.BuiltinMethodType)
_PANDAS = (
    *(pd.Index, pd.Series, pd.DataFrame, pd.api.extensions.ExtensionArray),
    *(pd.api.extensions.ExtensionDtype, pd.Timestamp, pd.Timedelta, pd.Period, pd.Interval),
    *(pd.offsets.BaseOffset, type(pd.NA), type(pd.NaT)),
)
_VALUES = (type(None), bool, int, str, bytes, range, slice, type(Ellipsis), np.dtype)


class DifferentError(AssertionError):
    pass


def assert_same(mine, theirs):
    """Raise `DifferentError`, with the path, unless the graphs are the same."""
    walk = _Walk()
    todo = [(mine, theirs, "model")]
    while todo:
        a, b, path = todo.pop()
        for child in reversed(list(walk.children(a, b, path))):
            todo.append(child)


class _Walk:
    def __init__(self):
        self.forward = {}
        self.backward = {}
        self.alive = []

    def children(self, a, b, path):
        if type(a) is not type(b):
            raise DifferentError(f"{path}: {type(a)} and {type(b)}")
        if isinstance(a, _METHODS) and not isinstance(a.__self__, types.ModuleType | None):
            self.check(a.__name__ == b.__name__, path, a, b)
            return [(a.__self__, b.__self__, f"{path}.__self__")]
        if isinstance(a, _BY_NAME) or a is np.ma.masked:
            self.check(a is b, path, a, b)
            return []
        if isinstance(a, re.Pattern):
            self.check(a == b, path, a, b)
            return []
        if isinstance(a, _PANDAS):
            self.tables(a, b, path)
            return []
        if isinstance(a, np.generic) and not a.dtype.hasobject:
            self.check((a.dtype, a.tobytes()) == (b.dtype, b.tobytes()), path, a, b)
            return []
        if type(a) in (float, complex):
            halves = [struct.pack("dd", each.real, each.imag) for each in (a, b)]
            self.check(halves[0] == halves[1], path, a, b)
            return []
        if isinstance(a, _VALUES) and type(a).__module__ in ("builtins", "numpy", "numpy.dtypes"):
            self.check(a == b, path, a, b)
            return []
        if type(a) in (tuple, frozenset):
            return self.items(a, b, path)
        if id(a) in self.forward or id(b) in self.backward:
            one = self.forward.get(id(a)) is b and self.backward.get(id(b)) is a
            self.check(one, path + " (sharing)", a, b)
            return []
        self.forward[id(a)], self.backward[id(b)] = b, a
        self.alive += [a, b]
        return self.inside(a, b, path)

    def tables(self, a, b, path):
        """Equal to pandas: how it keeps them inside is its own."""
        try:
            if isinstance(a, pd.DataFrame):
                pd.testing.assert_frame_equal(a, b, check_exact=True)
            elif isinstance(a, pd.Series):
                pd.testing.assert_series_equal(a, b, check_exact=True)
            elif isinstance(a, pd.Index):
                pd.testing.assert_index_equal(a, b, exact=True, check_exact=True)
                self.check(getattr(a, "freq", None) == getattr(b, "freq", None), path, a, b)
            elif isinstance(a, pd.api.extensions.ExtensionArray):
                pd.testing.assert_extension_array_equal(a, b, check_exact=True)
            else:
                self.check(a is b or a == b or (a != a and b != b), path, a, b)
        except AssertionError as error:
            raise DifferentError(f"{path}: {error}") from None

    def inside(self, a, b, path):
        if isinstance(a, np.ma.MaskedArray):
            return [
                (a.data, b.data, path + ".data"),
                (np.ma.getmaskarray(a), np.ma.getmaskarray(b), path + ".mask"),
                (a.fill_value, b.fill_value, path + ".fill_value"),
            ]
        if isinstance(a, np.ndarray):
            return self.array(a, b, path)
        if type(a) in (list, set, dict):
            return self.items(a, b, path)
        if type(a) is bytearray:
            self.check(a == b, path, a, b)
            return []
        return self.reduced(a, b, path)

    def items(self, a, b, path):
        self.check(len(a) == len(b), path + " (length)", len(a), len(b))
        if isinstance(a, dict):
            pairs = [*zip(a, b, strict=True), *zip(a.values(), b.values(), strict=True)]
            names = [f"{path}.key({key!r:.30})" for key in a] + [
                f"{path}[{key!r:.30}]" for key in a
            ]
            volatile = [*a, *a]
            return [
                (x, y, name)
                for (x, y), name, key in zip(pairs, names, volatile, strict=True)
                if not (isinstance(key, str) and key in VOLATILE)
            ]
        if isinstance(a, set | frozenset):
            a, b = sorted(a, key=repr), sorted(b, key=repr)
        return [(x, y, f"{path}[{index}]") for index, (x, y) in enumerate(zip(a, b, strict=True))]

    def array(self, a, b, path):
        self.check(a.dtype == b.dtype, path + ".dtype", a.dtype, b.dtype)
        self.check(a.shape == b.shape, path + ".shape", a.shape, b.shape)
        self.check(a.flags.writeable == b.flags.writeable, path + ".writeable", a, b)
        self.check(a.flags.fnc == b.flags.fnc, path + ".order", a.strides, b.strides)
        if a.dtype.hasobject:
            return [
                (x, y, f"{path}[{index}]")
                for index, (x, y) in enumerate(
                    zip(a.ravel().tolist(), b.ravel().tolist(), strict=True)
                )
            ]
        for name, x, y in zip(fields(a), bits(a), bits(b), strict=True):
            self.check(x == y, f"{path}{name} (bits)", a, b)
        return []

    def reduced(self, a, b, path):
        x, y = a.__reduce_ex__(5), b.__reduce_ex__(5)
        if isinstance(x, str):
            self.check(a is b, path, a, b)
            return []
        x, y = [self.spread(each) for each in (x, y)]
        self.alive += [x, y]
        self.check(len(x) == len(y), path + " (reduce)", x, y)
        return [
            (p, q, f"{path}.reduce[{index}]" if index != 2 else path)
            for index, (p, q) in enumerate(zip(x, y, strict=True))
        ]

    @staticmethod
    def spread(reduced):
        parts = list(reduced) + [None] * (6 - len(reduced))
        parts[3] = None if parts[3] is None else list(parts[3])
        parts[4] = None if parts[4] is None else [list(pair) for pair in parts[4]]
        return parts

    @staticmethod
    def check(equal, path, a, b):
        if not equal:
            raise DifferentError(f"{path}: {a!r:.200} and {b!r:.200}")


def fields(array, path=""):
    """Names of the leaf fields of an array's dtype."""
    if array.dtype.names is None:
        return [path]
    return [name for field in array.dtype.names for name in fields(array[field], f"{path}.{field}")]


def bits(array):
    """The bytes of each leaf field: what is between fields is nobody's data."""
    if array.dtype.names is None:
        return [array.tobytes()]
    return [data for field in array.dtype.names for data in bits(array[field])]


def loaded_as_pickle(path, **options):
    """The model, whatever it names; and where the default load gives one, the same."""
    found = shardpickle.load(path, unsafe=True, **options)
    try:
        vetted = shardpickle.load(path, **options)
    except shardpickle.UntrustedTypeError:
        return found
    assert_same(vetted, found)
    return found
