"""NumPy's arrays as other pickles hold them."""

from typing import Any

import numpy as np

from shardpickle.codecs.dtypes import has_apart
from shardpickle.trust.rules import Args, Maker, need

_MOST_ARRAYS_IN_ARRAYS = 64


def allow_reconstruct(target: Any) -> Maker:
    def call(*args: Any) -> Any:
        fits = len(args) == 3 and args[1:] == ((0,), b"b") and args[0] in (np.ndarray, np.matrix)
        need(fits, "an array with other arguments")
        return target(*args)

    return Maker(call=call, build=set_array_state, unfinished=True)


def set_array_state(array: Any, state: Any) -> None:
    need(type(state) is tuple and len(state) == 5, "an array's state")
    version, shape, dtype, fortran, content = state
    need(version == 1 and type(fortran) is bool and isinstance(dtype, np.dtype), "an array's state")
    sizes = type(shape) is tuple and all(type(size) is int and size >= 0 for size in shape)
    need(sizes and len(shape) <= 32, "an array's shape")
    count = 1
    for size in shape:
        need(size < 1 << 40, "an array's shape")
        count *= size
        need(count < 1 << 40, "an array's shape")
    if dtype.hasobject:
        are_items = dtype.names is None or all(type(item) is tuple for item in content)
        need(type(content) is list and has_apart(dtype) and are_items, "an array of objects")
        need(len(content) == count, "an array of another number of objects")
        depth = 1 + max(
            (_measure_depth(item) for item in content if isinstance(item, np.ndarray)), default=0
        )
        need(depth <= _MOST_ARRAYS_IN_ARRAYS, "arrays nested too deeply")
    elif is_string_dtype(dtype):
        need(type(content) is list and len(content) == count, "an array of another number")
        missing = getattr(dtype, "na_object", None)
        need(all(type(text) is str or text is missing for text in content), "an array of text")
    else:
        need(type(content) is bytes and len(content) == count * dtype.itemsize, "an array's bytes")
    array.__setstate__(state)


def is_string_dtype(dtype: Any) -> bool:
    """Whether a dtype is NumPy's `StringDType` (NumPy 2)."""
    return type(dtype).__name__ == "StringDType" and type(dtype).__module__ == "numpy.dtypes"


def is_string_dtype_call(args: Args) -> bool:
    known = all(option is None or type(option) in (bool, int, float, str) for option in args)
    return len(args) in (1, 2) and args[0] in (0, 1) and known


def allow_masked_array(target: Any) -> Maker:
    """Allow NumPy's own pickle of a masked array; our skeletons call the class instead."""

    def call(*args: Any) -> Any:
        bases = [(np.ma.MaskedArray, base, (0,), "b") for base in (np.ndarray, np.memmap)]
        need(args in bases, "a masked array")
        return target(*args)

    def build(instance: Any, state: Any) -> None:
        need(type(state) is tuple and len(state) == 7 and state[0] == 1, "a masked array's state")
        _, shape, dtype, fortran, content, mask, fill = state
        for item_type, items in ((dtype, content), (np.dtype(bool), mask)):
            set_array_state(np.ndarray(0), (1, shape, item_type, fortran, items))
        need(not dtype.names and not isinstance(fill, list), "a masked array of fields")
        instance.__setstate__(state)

    return Maker(call=call, build=build, unfinished=True)


def _measure_depth(array: Any) -> int:
    """How deep arrays of objects are nested. Freeing them recurses, so this is bounded."""
    depth = 0
    layer = {id(array): array}
    while layer and depth <= _MOST_ARRAYS_IN_ARRAYS:
        depth += 1
        layer = {
            id(item): item
            for outer in layer.values()
            if outer.dtype.hasobject
            for item in outer.flat
            if isinstance(item, np.ndarray)
        }
    return depth


def is_masked_call(args: Args) -> bool:
    if len(args) != 7 or args[2:6] != (None, False, True, 0):
        return False
    data, mask, fill = args[0], args[1], args[6]
    plain_arrays = type(data) in (np.ndarray, np.memmap) and type(mask) is np.ndarray
    scalar = fill is None or (isinstance(fill, (np.generic, np.ndarray)) and fill.dtype != object)
    return plain_arrays and scalar and mask.shape == data.shape
