"""Models written by hand into directories: a pickler and the columns of arrays, no more.

Written from docs/format.md alone, not with the library's writer: one part, one layout, one column
for each leaf field. Trees stay in band: they are calls of their constructor with a state.
"""

import io
import json
import pickle
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
from forge import ints, run, shard, write

_MOST = 1 << 20  # of a frame


class Made:
    """Pickles as a call with these arguments, and with a state if one is given."""

    def __init__(self, function: Any, args: tuple, *state: Any) -> None:
        self.reduced = (function, args, *state)

    def __reduce__(self) -> Any:
        return self.reduced


class Bare:
    """Pickles as an empty instance of a class, given this dict of attributes as they are."""

    def __init__(self, cls: type, **attributes: Any) -> None:
        self.cls, self.attributes = cls, attributes

    def __reduce_ex__(self, protocol: int) -> Any:
        return new_object, (self.cls,), self.attributes


def new_object(cls: type) -> Any:
    return cls.__new__(cls)


new_object.__name__ = "__newobj__"  # pickle then writes NEWOBJ, and no name


class _Pickler(pickle._Pickler):
    """Lifts arrays, dtypes and scalars out of the pickle; notes what it names."""

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream, 5)
        self.values: list[np.ndarray] = []
        self.named: dict[tuple[str, str], None] = {}
        self._places: dict[int, int] = {}
        self._alive: list[Any] = []

    def persistent_id(self, obj: Any) -> Any:
        if isinstance(obj, np.dtype) and obj.str != "|O":
            return text_of(obj)
        if isinstance(obj, np.generic) and obj.dtype.names is None and obj.dtype.kind not in "OV":
            return obj.dtype.str, obj.tobytes()
        if type(obj) is np.ndarray and not obj.dtype.hasobject:
            if id(obj) not in self._places:
                self._places[id(obj)] = len(self.values)
                self._alive.append(obj)
                contiguous = obj.flags.c_contiguous or obj.flags.f_contiguous
                self.values.append(obj if contiguous else np.ascontiguousarray(obj))
            return self._places[id(obj)]
        if isinstance(obj, np.dtype):
            return "|O"
        return None

    def save_global(self, obj: Any, name: str | None = None) -> None:
        if obj not in (type(None), type(...), type(NotImplemented)):
            qualified = name or getattr(obj, "__qualname__", None) or obj.__name__
            self.named[pickle.whichmodule(obj, qualified), qualified] = None
        super().save_global(obj, name)

    def save_type(self, obj: Any) -> None:
        if obj in (type(None), type(...), type(NotImplemented)):
            self.named["builtins", "type"] = None
        super().save_type(obj)

    # pickle's own name for it, and a class attribute there too
    dispatch = {**pickle._Pickler.dispatch, FunctionType: save_global, type: save_type}  # noqa: RUF012


def text_of(dtype: np.dtype) -> str:
    document = _document(dtype)
    return document if isinstance(document, str) else json.dumps(document)


def _document(dtype: np.dtype) -> Any:
    if dtype.subdtype is not None:
        return [_document(dtype.subdtype[0]), list(dtype.subdtype[1])]
    if dtype.names is None:
        return dtype.str
    return {
        "names": list(dtype.names),
        "formats": [_document(dtype.fields[name][0]) for name in dtype.names],
        "offsets": [dtype.fields[name][1] for name in dtype.names],
        "itemsize": dtype.itemsize,
        "aligned": dtype.isalignedstruct,
    }


def pickled(model: Any) -> tuple[bytes, list[np.ndarray], list[list[str]]]:
    """The skeleton of a part with this one object, the arrays that left it, the names it uses."""
    stream = io.BytesIO()
    pickler = _Pickler(stream)
    pickler.dump((model,))
    return stream.getvalue(), pickler.values, [list(name) for name in pickler.named]


def model(path: Path, thing: Any) -> None:
    """Write a directory that holds this model."""
    skeleton, arrays, names = pickled(thing)
    orders = ["F" if a.flags.f_contiguous and not a.flags.c_contiguous else "C" for a in arrays]
    layout = [
        ["array", "ndarray", text_of(array.dtype), array.ndim, order, True]
        for array, order in zip(arrays, orders, strict=True)
    ]
    shapes = [size for array in arrays for size in array.shape]
    columns = [ints(len(skeleton)), ints(0), ints(0), ints(*shapes), skeleton]
    flat = [
        each.T.reshape(-1) if order == "F" else each.reshape(-1)
        for each, order in zip(arrays, orders, strict=True)
    ]
    for places in _groups(layout):
        for leaf in _leaves(arrays[places[0]].dtype):
            columns.append(b"".join(_field(flat[place], leaf).tobytes() for place in places))
    assert all(len(column) <= _MOST for column in columns), "more than one frame"
    content = shard(columns, layouts=[layout], dimensions=len(shapes))
    raw = len(skeleton) + sum(array.nbytes for array in arrays)
    write(path, content, raw, runs=[run(names=list(range(len(names))))], names=names)


def _groups(layout: list[Any]) -> list[list[int]]:
    runs: list[list[int]] = []
    for place, spec in enumerate(layout):
        if runs and layout[runs[-1][0]] == spec:
            runs[-1].append(place)
        else:
            runs.append([place])
    return [group for each in runs for group in ([each] if len(each) >= 8 else [[p] for p in each])]


def _leaves(dtype: np.dtype) -> list[tuple[str, ...]]:
    if dtype.names is None:
        return [()]
    return [(n, *rest) for n in dtype.names for rest in _leaves(dtype.fields[n][0])]


def _field(array: np.ndarray, path: tuple[str, ...]) -> np.ndarray:
    for name in path:
        array = array[name]
    return array
