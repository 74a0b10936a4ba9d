"""NumPy dtypes as plain data, and back. Knows nothing of arrays' contents.

A plain dtype is its array-protocol string (``"<f8"``, ``"|O"``, ``"<M8[ns]"``); a structured one is
a JSON object with the names, formats and offsets of its fields; a sub-array is a JSON list.
Skeletons and shards store this text, so no pickle needs ``numpy.dtype``.
"""

import functools
import json
from itertools import pairwise
from typing import Any

import numpy as np

from shardpickle.errors import CorruptShardError

_KINDS = frozenset("biufcmMSUVO")
_MAX_DEPTH = 16
_MOST_LETTERS, _MOST_PLAIN = 1 << 20, 64


def to_text(dtype: np.dtype[Any]) -> str | None:
    """Write a dtype as text; None if the text would not give the same dtype back.

    >>> to_text(np.dtype("<f8"))
    '<f8'
    """
    try:
        spec = _to_spec(dtype)
        text = spec if isinstance(spec, str) else json.dumps(spec, separators=(",", ":"))
        back = from_text(text)
    except (TypeError, ValueError):  # metadata, titles, user dtypes: pickle stores these itself
        return None
    return text if back == dtype and back.isalignedstruct == dtype.isalignedstruct else None


def from_text(text: str) -> np.dtype[Any]:
    """Read a dtype from text; a new one if it has fields, because field names are mutable.

    Raises
    ------
    CorruptShardError
        If the text is not that of a dtype.

    >>> from_text('["<f8",[2,3]]').shape
    (2, 3)
    """
    try:
        structured = text[:1] in ("{", "[")
        if len(text) > (_MOST_LETTERS if structured else _MOST_PLAIN):
            raise ValueError("too long")
        return _from_spec(json.loads(text), 0) if structured else _parse_plain(text)
    except (KeyError, TypeError, ValueError, RecursionError, OverflowError, SyntaxError) as error:
        raise CorruptShardError(f"not a dtype: {text[:80]!r} ({error})") from None


def copy(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Copy a dtype, faster than through its text."""
    if dtype.isalignedstruct:
        return from_text(to_text(dtype) or "")
    # `np.dtype(…, copy=True)` may return the same one; swapping bytes twice makes a new one.
    return dtype.newbyteorder("S").newbyteorder("S")


def has_apart(dtype: np.dtype[Any]) -> bool:
    """Whether no field of a dtype overlaps its objects' bytes."""
    if dtype.subdtype is not None:
        return has_apart(dtype.subdtype[0])
    if dtype.names is None or not dtype.hasobject:
        return True
    fields: Any = dtype.fields
    spans = sorted((fields[name][1], fields[name][0].itemsize) for name in dtype.names)
    apart = all(at + size <= following for (at, size), (following, _) in pairwise(spans))
    return apart and all(has_apart(fields[name][0]) for name in dtype.names)


def scalar(text: str, content: bytes) -> Any:
    """Make a NumPy scalar from its dtype's text and its bytes."""
    dtype = from_text(text)
    fits = dtype.names is None and dtype.subdtype is None and dtype.kind not in "OV"
    if not fits or dtype.itemsize != len(content):
        raise CorruptShardError(f"not a scalar of dtype {text[:80]}")
    try:
        return np.frombuffer(content, dtype)[0] if content else np.zeros((), dtype)[()]
    except (ValueError, OverflowError, SystemError) as error:  # invalid characters
        raise CorruptShardError(f"not a scalar of dtype {text[:80]}: {error}") from None


@functools.lru_cache(maxsize=256)
def _parse_plain(text: str) -> np.dtype[Any]:
    dtype = np.dtype(text)
    if dtype.str != text or dtype.kind not in _KINDS or "[0" in text:  # a unit of 0 seconds
        raise ValueError("not the array-protocol string of a dtype")
    return dtype


def _to_spec(dtype: np.dtype[Any]) -> Any:
    if dtype.metadata or dtype.kind not in _KINDS or dtype.type is np.record:
        raise ValueError("no plain text")
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return [_to_spec(base), list(shape)]
    if dtype.names is None:
        return dtype.str
    fields = [dtype.fields[name] for name in dtype.names]  # type: ignore[index]  # it has names
    if any(len(field) > 2 for field in fields):
        raise ValueError("titles")
    return {
        "names": list(dtype.names),
        "formats": [_to_spec(field[0]) for field in fields],
        "offsets": [field[1] for field in fields],
        "itemsize": dtype.itemsize,
        "aligned": dtype.isalignedstruct,
    }


def _from_spec(spec: Any, depth: int) -> np.dtype[Any]:
    if depth > _MAX_DEPTH:
        raise ValueError("nested too deeply")
    if isinstance(spec, str):
        return _parse_plain(spec)
    if isinstance(spec, list):
        base, shape = spec
        return np.dtype((_from_spec(base, depth + 1), tuple(map(_check_size, shape))))
    formats = [_from_spec(item, depth + 1) for item in spec["formats"]]
    offsets = [_check_size(offset) for offset in spec["offsets"]]
    if len(spec["names"]) != len(formats):
        raise ValueError("the numbers of names and formats differ")
    itemsize = _check_size(spec["itemsize"])
    if any(at + part.itemsize > itemsize for at, part in zip(offsets, formats, strict=True)):
        raise ValueError("a field reaches past the end")
    layout = {
        "names": [str(name) for name in spec["names"]],
        "formats": formats,
        "offsets": offsets,
        "itemsize": itemsize,
    }
    whole: np.dtype[Any] = np.dtype(layout, align=bool(spec["aligned"]))  # type: ignore[call-overload]  # dict form
    return whole


def _check_size(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**31:
        raise ValueError(f"not a size: {value!r}")
    return value
