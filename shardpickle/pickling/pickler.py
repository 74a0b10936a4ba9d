"""Pickles a part as a skeleton, without arrays, trees, long strings and other parts.

Knows pickle; knows no shard, no file and no other part: `outside` decides what is outside.

In the skeleton, a persistent id replaces whatever leaves it:

==================  ======================================================
``k`` (int)         the k-th value that left this part (`values.Value`)
``(k,)``            the k-th reference of this part to an object elsewhere
text (str)          a NumPy dtype (`dtypes.to_text`)
``(text, bytes)``   a NumPy scalar of that dtype
==================  ======================================================

Ids are numbered within the part, so a skeleton never changes when other parts do.
"""

import copyreg
import functools
import io
import pickle
import pickletools
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from shardpickle.codecs import dtypes
from shardpickle.errors import CorruptShardError
from shardpickle.pickling.values import Value
from shardpickle.sklearn_support import classes
from shardpickle.trust import distributions, pandas_objects

LONG_STRING_BYTES = 1 << 16  # bytes, bytearrays and strings from here on leave the skeleton
OPTIMIZE_BYTES = 1 << 20  # skeletons up to here are optimized; docs/performance.md has the figures

Outside = Callable[[object], int | None]

# Objects without identity: only their value counts, so two parts may each have a copy.
_PLAIN = frozenset(
    {
        type(None),
        type(Ellipsis),
        type(NotImplemented),
        bool,
        int,
        float,
        complex,
        str,
        bytes,
        tuple,
        frozenset,
        range,
        slice,
        type,
        types.FunctionType,
        types.BuiltinFunctionType,
        types.MethodDescriptorType,
        types.ModuleType,
        np.ufunc,
    }
)
_SCALARS = frozenset(set(np.sctypeDict.values()) - {np.object_, np.void})  # a void is mutable
_LONG: dict[type, str] = {str: "str", bytes: "bytes", bytearray: "bytearray"}
_ARRAY_KINDS: dict[type, str] = {np.ndarray: "ndarray", np.memmap: "memmap"}


@dataclass(frozen=True, slots=True)
class Written:
    """A pickled part: its skeleton and the values that left it."""

    skeleton: bytes
    values: tuple[Value, ...]

    @property
    def nbytes(self) -> int:
        return len(self.skeleton) + sum(value.nbytes for value in self.values)


def write(objects: Sequence[object], outside: Outside) -> Written:
    """Pickle the objects of one part.

    Parameters
    ----------
    objects : sequence
        They are written as one tuple.
    outside : callable
        Is called with every object whose identity matters. Returns the number of the reference
        that replaces it, or None if the object belongs inside.
    """
    buffer = io.BytesIO()
    pickler = _Pickler(buffer, outside)
    pickler.dump(tuple(objects))
    skeleton = buffer.getvalue()
    if _EXTENSIONS:
        skeleton = _name_extensions(skeleton)
    return Written(compact(skeleton), tuple(pickler.values))


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, outside: Outside) -> None:
        super().__init__(file, protocol=5)
        self.outside = outside
        self.values: list[Value] = []
        self.numbers: dict[int, int] = {}
        self.buffers: dict[int, tuple[pickle.PickleBuffer, memoryview]] = {}

    def persistent_id(self, obj: Any) -> Any:
        kind = type(obj)
        if kind in _PLAIN:
            if kind in _LONG and len(obj) >= LONG_STRING_BYTES:
                return self.lift(_LONG[kind], obj)
            return None
        if kind in _SCALARS:
            return _encode_scalar(obj)
        if isinstance(obj, np.dtype):
            return dtypes.to_text(obj)
        if isinstance(obj, type) and kind not in copyreg.dispatch_table:
            return None
        reference = self.outside(obj)
        if reference is not None:
            return (reference,)
        if kind in _ARRAY_KINDS:
            plain = not obj.dtype.hasobject and dtypes.to_text(obj.dtype) is not None
            return self.lift(_ARRAY_KINDS[kind], obj) if plain else None
        if classes.is_tree(obj):
            return self.lift("tree", obj)
        if kind is bytearray and len(obj) >= LONG_STRING_BYTES:
            return self.lift("bytearray", obj)
        if kind is pickle.PickleBuffer:
            return self.lift_buffer(obj)
        return None

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is np.ma.MaskedArray:
            # NumPy's own reduce puts data and mask in band, as bytes.
            return np.ma.MaskedArray, _get_masked_arguments(obj)
        for reduce in (pandas_objects.reduce, distributions.reduce):
            reduced = reduce(obj)
            if reduced is not None:
                return reduced
        return NotImplemented

    def lift(self, kind: str, obj: Any) -> int:
        number = self.numbers.get(id(obj))
        if number is None:
            number = self.numbers[id(obj)] = len(self.values)
            self.values.append(Value(kind, obj))
        return number

    def lift_buffer(self, buffer: pickle.PickleBuffer) -> int | None:
        # In band, pickle turns a read-only buffer into bytes and any other into a bytearray.
        with memoryview(buffer) as view:
            if view.nbytes < LONG_STRING_BYTES or not view.contiguous:
                return None
            kind = "bytes" if view.readonly else "bytearray"
        raw = self.buffers.setdefault(id(buffer), (buffer, buffer.raw()))[1]
        return self.lift(kind, raw)


def _encode_scalar(scalar: np.generic) -> tuple[str, bytes] | None:
    text = dtypes.to_text(scalar.dtype)
    if text is None or scalar.dtype.itemsize >= LONG_STRING_BYTES:
        return None
    # `tobytes` of an empty string gives one character, though its dtype has none.
    return text, scalar.tobytes()[: scalar.dtype.itemsize]


def _get_masked_arguments(array: np.ma.MaskedArray[Any, Any]) -> tuple[Any, ...]:
    # NumPy's own state has `_fill_value`: None until `fill_value` is first read.
    fill_value: Any = array._fill_value  # type: ignore[attr-defined]  # not in NumPy's stubs
    return (array.data, np.ma.getmaskarray(array).copy(), None, False, True, 0, fill_value)


def compact(skeleton: bytes) -> bytes:
    """Shorten a skeleton to one form, the same for equal models, fresh or loaded.

    Skeletons above `OPTIMIZE_BYTES` do not change.
    """
    if len(skeleton) > OPTIMIZE_BYTES:
        return skeleton
    return _compact(skeleton) if len(skeleton) > _KEPT_BYTES else _kept_compact(skeleton)


def check_pid(pid: Any, values: int, references: int) -> None:
    """Raise an error unless a part with so many values and references has this persistent id."""
    match pid:
        case int() if 0 <= pid < values:
            return
        case (int() as number,) if 0 <= number < references:
            return
        case str():
            dtypes.from_text(pid)
        case (str() as text, bytes() as content):
            dtypes.scalar(text, content)
        case _:  # not shown: its repr may take forever
            raise CorruptShardError(f"a persistent id ({type(pid).__name__}) refers to nothing")


def _compact(skeleton: bytes) -> bytes:
    return pickletools.optimize(_share_equal_strings(skeleton))


# Names that have a number in this process (copyreg.add_extension). The file has the full names: a
# number has a meaning only in this process.
_EXTENSIONS: Mapping[int, tuple[str, str]] = copyreg._inverted_registry  # type: ignore[attr-defined]


def _name_extensions(skeleton: bytes) -> bytes:
    """Rewrite a pickle so that globals with an extension number are stored by name.

    The first use enters the memo, with its name's strings, so later entries get other numbers.
    """
    operations = _list_operations(skeleton)
    if not any(opcode.name in _NUMBERED for opcode, *_ in operations):
        return skeleton
    out: list[bytes] = []
    moved: list[int] = []  # new numbers of the memo's entries
    named: dict[int, int] = {}  # of the numbered names
    count = 0
    for opcode, argument, start, end in operations:
        chunk = skeleton[start:end]
        if opcode.name == "MEMOIZE":
            moved.append(count)
            count += 1
        elif opcode.name in ("BINGET", "LONG_BINGET"):
            chunk = _encode_get(moved[argument])
        elif opcode.name == "FRAME":
            chunk = b""  # of another length now, and not needed
        elif opcode.name in _NUMBERED:
            if argument in named:
                chunk = _encode_get(named[argument])
            else:
                chunk = b"".join(_encode_text(name) + b"\x94" for name in _EXTENSIONS[argument])
                chunk += b"\x93\x94"  # STACK_GLOBAL, MEMOIZE
                named[argument] = count + 2
                count += 3
        out.append(chunk)
    return b"".join(out)


_NUMBERED = frozenset({"EXT1", "EXT2", "EXT4"})


def _encode_text(text: str) -> bytes:
    data = text.encode("utf-8", "surrogatepass")
    short = len(data) < 256
    size = bytes([len(data)]) if short else len(data).to_bytes(4, "little")
    return (b"\x8c" if short else b"X") + size + data


_STRING_OPCODES = frozenset({"SHORT_BINUNICODE", "BINUNICODE"})


def _share_equal_strings(skeleton: bytes) -> bytes:
    """Fetch repeated strings from the memo.

    The interpreter decides whether two equal strings are one object (attribute names are interned,
    strings read from a file are not). The bytes of a shard must not depend on that.
    """
    out: list[bytes] = []
    first: dict[str, int] = {}  # string -> memo number of its first copy
    same: dict[int, int] = {}  # memo number of a later copy -> that of the first
    memoized = 0
    text: str | None = None
    for opcode, argument, start, end in _list_operations(skeleton):
        name, chunk = opcode.name, skeleton[start:end]
        if name == "MEMOIZE":
            if text is not None:
                number = first.setdefault(text, memoized)
                if number != memoized:
                    same[memoized] = number
                    out[-1] = _encode_get(number)
            memoized += 1
        elif name in ("BINGET", "LONG_BINGET"):
            chunk = _encode_get(same.get(argument, argument))
        text = argument if name in _STRING_OPCODES else None
        out.append(b"" if name == "FRAME" else chunk)
    return b"".join(out)


def _list_operations(skeleton: bytes) -> list[tuple[pickletools.OpcodeInfo, Any, int, int]]:
    operations = [(opcode, arg, start or 0) for opcode, arg, start in pickletools.genops(skeleton)]
    ends = [start for _, _, start in operations[1:]] + [len(skeleton)]
    return [
        (opcode, arg, start, end)
        for (opcode, arg, start), end in zip(operations, ends, strict=True)
    ]


def _encode_get(number: int) -> bytes:
    return b"h" + bytes([number]) if number < 256 else b"j" + number.to_bytes(4, "little")


# Thousands of small trees share a handful of skeletons.
_KEPT_BYTES = 1 << 14
_kept_compact = functools.lru_cache(maxsize=64)(_compact)
