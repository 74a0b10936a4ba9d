"""Makers for names that only other pickles hold: arrays, dtypes, bytes, dill's types."""

import _codecs
import copyreg
import functools
import json
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

from shardpickle.codecs import dtypes
from shardpickle.errors import CorruptShardError
from shardpickle.pickling.dialects import Wrapper, count_items, need
from shardpickle.sklearn_support import gone_names
from shardpickle.trust.constructors import CALLABLES, CONSTRUCTORS
from shardpickle.trust.names import Known
from shardpickle.trust.numpy_objects import set_array_state
from shardpickle.trust.rules import Maker, Name, Trusts, allow_plain, refused


def _wrapper(target: Any) -> Maker:
    return Maker(new=lambda args, kwargs: Wrapper(), build=wrapper_state, unfinished=True)


def wrapper_state(wrapper: Any, state: Any) -> None:
    need(type(state) is dict and set(state) <= _WRAPPER, "an unknown form of joblib's arrays")
    wrapper.__dict__.update(state)


_WRAPPER = {"subclass", "shape", "order", "dtype", "allow_mmap", "numpy_array_alignment_bytes"}


def _dtype(target: Any) -> Maker:
    return Maker(call=make_dtype, build=dtype_state)


def make_dtype(*args: Any) -> np.dtype[Any]:
    fits = 1 <= len(args) <= 3 and type(args[0]) is str and len(args[0]) < 32
    need(fits and all(type(arg) in (bool, int) for arg in args[1:]), "a dtype")
    with suppress(TypeError, ValueError, SyntaxError):
        dtype = np.dtype(args[0])
        if dtype.kind in "biufcmMSUVO" and dtype.names is None and dtype.subdtype is None:
            return dtypes.copy(dtype)
    raise refused("an unknown dtype")


def dtype_state(dtype: Any, state: Any) -> None:
    need(type(state) is tuple and len(state) in (8, 9) and state[0] in (3, 4), "a dtype's state")
    order, subdtype, names, fields = state[1:5]
    need(order in ("<", ">", "|", "=") and subdtype is None, "a dtype's state")
    if names is not None:
        meant = _structured(names, fields, state[5], state[6])
    elif dtype.kind in "mM":
        meant = np.dtype(f"{order}{dtype.kind}8{_unit(state[8])}")
    else:
        meant = dtype.newbyteorder(order)
    # An array may have this dtype already: the size of its items must not change.
    need(meant.kind == dtype.kind and meant.itemsize == dtype.itemsize, "a dtype's state")
    dtype.__setstate__(meant.__reduce__()[2])


def _structured(names: Any, fields: Any, itemsize: Any, alignment: Any) -> np.dtype[Any]:
    need(type(names) is tuple and type(fields) is dict and type(itemsize) is int, "fields")
    pairs: list[Any] = [fields.get(name) if type(name) is str else () for name in names]
    need(all(type(pair) is tuple and len(pair) == 2 for pair in pairs), "fields")
    need(all(isinstance(pair, np.dtype) and not pair.hasobject for pair, _ in pairs), "fields")
    layout = {
        "names": names,
        "formats": [json.loads(_text(pair[0])) for pair in pairs],
        "offsets": [pair[1] for pair in pairs],
        "itemsize": itemsize,
    }
    plain = dtypes.from_text(json.dumps({**layout, "aligned": False}))
    with suppress(CorruptShardError):  # NumPy pickles the alignment of all, aligned or not
        aligned = dtypes.from_text(json.dumps({**layout, "aligned": True}))
        if aligned.alignment == alignment and aligned.itemsize == itemsize:
            return aligned
    return plain


def _text(dtype: np.dtype[Any]) -> str:
    text = dtypes.to_text(dtype) or ""
    return text if text[:1] in ("{", "[") else json.dumps(text)


def _unit(metadata: Any) -> str:
    fits = type(metadata) is tuple and len(metadata) == 2 and type(metadata[1]) is tuple
    need(fits and len(metadata[1]) == 4 and type(metadata[1][0]) is bytes, "a dtype of times")
    unit, count = metadata[1][0].decode("ascii", "replace"), metadata[1][1]
    need(unit.isalpha() and type(count) is int and 0 < count < 1 << 31, "a dtype of times")
    return "" if unit == "generic" else f"[{count}{unit}]"


def scalar(target: Any) -> Maker:
    def call(*args: Any) -> Any:
        fits = len(args) == 2 and isinstance(args[0], np.dtype) and type(args[1]) is bytes
        need(fits, "a scalar")
        return dtypes.scalar(args[0].str, args[1])

    return Maker(call=call)


def from_buffer(target: Any) -> Maker:
    def call(*args: Any) -> Any:
        need(len(args) == 4 and type(args[0]) in (bytes, bytearray), "an array's buffer")
        buffer, dtype, shape, order = args
        count = count_items(dtype, shape, order)
        need(len(buffer) == count * dtype.itemsize, "an array's buffer of another length")
        array = np.frombuffer(buffer, dtype).reshape(shape, order=order).copy(order)
        array.flags.writeable = (
            type(buffer) is bytearray
        )  # as in the pickle, where the type says so
        return array

    return Maker(call=call)


def reconstruct(target: Any) -> Maker:
    """Also for memory maps: a pickled one is an array without a file, and opens none."""

    def call(*args: Any) -> Any:
        kinds = np.ndarray, np.matrix, np.memmap
        fits = (
            len(args) == 3 and args[1:] == ((0,), b"b") and any(args[0] is kind for kind in kinds)
        )
        need(fits, "an array with other arguments")
        return target(*args)

    return Maker(call=call, build=_array_state, unfinished=True)


def _array_state(array: Any, state: Any) -> None:
    mapped = isinstance(array, np.memmap) and type(state) is tuple and len(state) == 5
    need(not (mapped and getattr(state[2], "hasobject", True)), "a memory map of objects")
    set_array_state(array, state)


def _encode(target: Any) -> Maker:
    return Maker(call=latin)


def latin(*args: Any) -> bytes:
    need(len(args) == 2 and type(args[0]) is str and args[1] == "latin1", "encoded text")
    try:
        return bytes(args[0], "latin1")
    except UnicodeEncodeError:
        raise refused("invalid bytes") from None


def _dill_type(name: str) -> type:
    """dill's `_load_type`: a type by its name in dill."""
    return DILL_TYPES[name]


DILL_TYPES: dict[str, type] = {
    each.__name__: each
    for each in (object, bool, int, float, complex, str, bytes, bytearray, list, tuple, dict, set)
}

DILL_TYPES["PartialType"] = functools.partial


def dill_array(function: Any, args: Any, state: Any, attributes: Any = None) -> Any:
    """dill's `_create_array`: an array with its state, and its attributes if any."""
    array = function(*args)
    array.__setstate__(state)
    if attributes:
        array.__dict__.update(attributes)
    return array


def _dill_repr(text: str) -> range:
    """dill's `_eval_repr`, which evaluates text. Here it takes ranges only."""
    match = _RANGE.fullmatch(text) if type(text) is str and len(text) < 200 else None
    if match is None:
        raise refused("text that dill would evaluate")
    return range(*(int(number) for number in match[1].split(", ")))


_RANGE = re.compile(r"range\((-?\d{1,40}(?:, -?\d{1,40}){0,2})\)")


def _one_of_dills_types(target: Any) -> Maker:
    def call(*args: Any) -> Any:
        need(len(args) == 1 and type(args[0]) is str and args[0] in DILL_TYPES, "a type of dill's")
        return target(*args)

    return Maker(call=call)


def _bytes(target: Any) -> Maker:
    def call(*args: Any) -> Any:
        fits = not args or (len(args) == 1 and type(args[0]) in (bytes, bytearray))
        need(fits, "bytes with other arguments")
        return target(*args)

    return Maker(call=call)


_TRANSPORT: dict[Name, tuple[Any, Callable[[Any], Maker] | None]] = {
    ("_codecs", "encode"): (_codecs.encode, _encode),
    ("builtins", "bytearray"): (bytearray, _bytes),
    ("builtins", "bytes"): (bytes, _bytes),
    ("builtins", "frozenset"): (frozenset, None),
    ("builtins", "object"): (object, None),
    ("builtins", "set"): (set, CONSTRUCTORS["builtins", "set"]),
    ("copyreg", "__newobj__"): (copyreg.__newobj__, None),  # type: ignore[attr-defined]
    ("copyreg", "__newobj_ex__"): (copyreg.__newobj_ex__, None),  # type: ignore[attr-defined]
    ("copyreg", "_reconstructor"): (copyreg._reconstructor, None),  # type: ignore[attr-defined]
    ("dill._dill", "_create_array"): (dill_array, None),
    ("dill._dill", "_eval_repr"): (_dill_repr, lambda target: Maker(call=target)),
    ("dill._dill", "_load_type"): (_dill_type, _one_of_dills_types),
    ("joblib.numpy_pickle", "NumpyArrayWrapper"): (Wrapper, _wrapper),
    ("numpy", "dtype"): (np.dtype, _dtype),
    ("numpy", "memmap"): (np.memmap, None),
}


for _module in ("numpy._core", "numpy.core"):
    _reduced = np.dtype("f8").type(0).__reduce__()[0]
    _TRANSPORT[f"{_module}.multiarray", "scalar"] = (_reduced, scalar)
    _TRANSPORT[f"{_module}.multiarray", "_reconstruct"] = (
        np.zeros(0).__reduce__()[0],
        reconstruct,
    )
    _TRANSPORT[f"{_module}.numeric", "_frombuffer"] = (
        np.zeros(1).__reduce_ex__(5)[0],
        from_buffer,
    )
TRANSPORT: dict[Name, Known] = {
    name: Known(target, maker(target) if maker else None)
    for name, (target, maker) in _TRANSPORT.items()
}


TRANSPORT |= {
    name: Known(target, allow_plain(target, Trusts(()))) for name, target in gone_names.GONE.items()
}
PARTIAL = CALLABLES["functools", "partial"](functools.partial, Trusts(()))
BY_DILL = [
    *(Known(cls, CONSTRUCTORS["builtins", cls.__name__](cls)) for cls in (complex, range, slice)),
    Known(functools.partial, PARTIAL),
]
