"""Reads pickles of all protocols, with joblib's arrays in them, and runs each step at once.

The opcodes that Python 3's picklers emit: protocols 0 to 5, with and without a memo. Knows no
classes: the caller's `Construct` decides what is made, as for our own skeletons (`machine`), which
have fewer opcodes.

Sources: CPython's ``Lib/pickletools.py``; joblib's ``numpy_pickle.py`` (``NumpyArrayWrapper``: the
array's bytes follow the wrapper's BUILD, after one byte with the number of padding bytes).
"""

import _compat_pickle
import functools
import sys
from collections.abc import Callable
from mmap import mmap
from typing import Any

import numpy as np

from shardpickle.errors import CorruptShardError, make_need
from shardpickle.pickling.machine import MISTAKES, Construct, Machine, Step
from shardpickle.pickling.parser import READERS, STEPS, STOP, U32, U64, Parser

Bytes = bytes | mmap


class CutOffError(CorruptShardError):
    """The bytes end before the pickle does."""


class NoPickleError(CorruptShardError):
    """The bytes are not what any pickler writes."""


class Python2Error(CorruptShardError):
    """Only Python 2's picklers write these bytes."""


class Wrapper:
    """Replaces joblib's `NumpyArrayWrapper`: describes the array that follows."""

    subclass: Any = np.ndarray
    shape: Any = ()
    order: Any = "C"
    dtype: Any = None
    numpy_array_alignment_bytes: Any = None


def _forbid(what: str) -> CorruptShardError:
    return CorruptShardError(f"shardpickle does not allow this in a pickle: {what}")


need = make_need(_forbid)


def count_items(dtype: Any, shape: Any, order: Any) -> int:
    """Count the items of an array.

    Raises
    ------
    CorruptShardError
        If it is not an array of plain numbers, text or fields.
    """
    need(isinstance(dtype, np.dtype) and not dtype.hasobject and dtype.itemsize, "an array")
    need(type(shape) is tuple and len(shape) <= 32 and order in ("C", "F"), "an array's shape")
    count = 1
    for size in shape:
        need(isinstance(size, (int, np.integer)) and 0 <= size < 1 << 40, "an array's shape")
        count *= int(size)
        need(count < 1 << 40, "an array's shape")
    return count


class _Skipped:
    """Replaces bytes and text that the first reading does not copy."""


SKIPPED = _Skipped()
LONG = 256


class _Now:
    """Takes a parser's steps, runs each at once and keeps none."""

    heap = 0  # each step takes a byte of the file

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def append(self, step: Step) -> None:
        step[0](self.machine, step[1])


_MOST_STACK = 1 << 22  # only a tuple could need more, and it takes a minute to read


class Reader(Parser):
    """Parses and runs. `fetched`: the memo entries that are needed; None records them instead."""

    def __init__(self, data: Bytes, construct: Construct, fetched: frozenset[int] | None) -> None:
        super().__init__(data, {}, None)  # type: ignore[arg-type]  # an mmap reads as bytes
        self.construct = construct
        self.machine = Machine(construct)
        self.steps = _Now(self.machine)  # type: ignore[assignment]
        self.listing = fetched is None
        self.wanted = fetched
        self.fetched: set[int] = set()
        self.writes = 0  # memo entries so far, in this pickle and those inside it
        # By the pickle's number: which write it was, and its value.
        self.entries: dict[int, tuple[int, Any]] = {}
        self.protocol = 0

    def read_file(self) -> Any:
        """Read the one object of the file."""
        obj = self.read_pickle()
        if self.at != len(self.data):
            raise CorruptShardError(
                f"the file goes on after its first object (byte {self.at} of {len(self.data)}): "
                "it has several pickles, or other data"
            )
        return obj

    def read_pickle(self) -> Any:
        """Read the object of the pickle that starts here."""
        steps = 0
        try:
            while (code := self.data[self.at]) != STOP:
                self.at += 1
                steps += 1
                if not steps & 0xFFFF and len(self.machine.stack) > _MOST_STACK:
                    raise CorruptShardError("it has more than 4 million objects on its stack")
                read = _READERS[code]
                if read is None:
                    raise _make_refusal(code, self.at - 1)
                read(self)
            self.at += 1
            self.flush()
        except CorruptShardError:
            raise
        except RecursionError as error:
            raise CorruptShardError("its objects are nested too deeply (RecursionError)") from error
        except (*MISTAKES, ValueError) as error:
            if self.at >= len(self.data):
                raise CutOffError(_CUT_OFF) from error
            raise NoPickleError(f"byte {self.at} is not part of a valid pickle") from error
        if self.machine.marks or len(self.machine.stack) != 1:
            raise NoPickleError("the pickle does not end where it should")
        return self.machine.stack[0]

    def take(self, count: int) -> bytes:
        self._need_bytes(count)
        return super().take(count)

    def number(self, unpack: Callable[[bytes, int], tuple[Any, ...]], width: int) -> Any:
        self._need_bytes(width)
        return super().number(unpack, width)

    def frame(self) -> None:
        self._need_bytes(self.number(U64, 8))

    def _need_bytes(self, count: int) -> None:
        if count > len(self.data) - self.at:
            raise CutOffError(_CUT_OFF)

    def text(self, size: int) -> None:
        if self.listing and size > LONG:
            self._skip(size)
        else:
            self.run.append(_share_text(self, self.take(size)))

    def _long_bytes(self, size: int) -> None:
        if self.listing and size > LONG:
            self._skip(size)
        else:
            self.run.append(self.take(size))

    def _skip(self, size: int) -> None:
        self._need_bytes(size)
        self.at += size
        self.run.append(SKIPPED)

    def text1(self) -> None:
        self.text(self.take(1)[0])

    def bytes4(self) -> None:
        self._long_bytes(self.number(U32, 4))

    def bytes8(self) -> None:
        self._long_bytes(self.number(U64, 8))

    def bytearray8(self) -> None:
        size = self.number(U64, 8)
        if self.listing:
            self._skip(size)
        else:
            self.step(Machine.bytearray_, self.take(size))

    def proto(self) -> None:
        self.protocol = self.take(1)[0]
        if self.protocol > 5:
            raise NoPickleError(f"unknown pickle protocol {self.protocol}; the highest is 5")

    def int1(self) -> None:
        self.run.append(self.take(1)[0])

    def none(self) -> None:
        self.run.append(None)

    # Protocols 0 and 1: lines of text

    def _read_line(self) -> bytes:
        end = self.data.find(b"\n", self.at)
        if end < 0:
            raise CutOffError(_CUT_OFF)
        return self.take(end + 1 - self.at)[:-1]

    def int_line(self) -> None:
        line = self._read_line()
        self.run.append(line == b"01" if line in (b"00", b"01") else int(line))

    def long_line(self) -> None:
        self.run.append(int(self._read_line().removesuffix(b"L")))

    def float_line(self) -> None:
        self.run.append(float(self._read_line()))

    def text_line(self) -> None:
        line = self._read_line()
        skipped = self.listing and len(line) > LONG
        self.run.append(SKIPPED if skipped else str(line, "raw-unicode-escape"))

    def global_line(self) -> None:
        module, name = self._read_line().decode("utf-8"), self._read_line().decode("utf-8")
        self._add_name(module, name)

    def stack_global(self) -> None:
        name, module = self.run.pop(), self.run.pop()
        if type(name) is not str or type(module) is not str:
            raise TypeError("a name that is not a string")
        self._add_name(module, name)

    def _add_name(self, module: str, name: str) -> None:
        if self.protocol < 3:  # names are those of Python 2
            if (module, name) in _compat_pickle.NAME_MAPPING:
                module, name = _compat_pickle.NAME_MAPPING[module, name]
            else:
                module = _compat_pickle.IMPORT_MAPPING.get(module, module)
        self.step(Machine.find, (module, name))

    # The memo: a dict, without the values of entries that are never fetched

    def memoize(self) -> None:
        self._put(len(self.entries))

    def put1(self) -> None:
        self._put(self.take(1)[0])

    def put4(self) -> None:
        self._put(self.number(U32, 4))

    def put_line(self) -> None:
        self._put(int(self._read_line()))

    def _put(self, number: int) -> None:
        entry, self.writes = self.writes, self.writes + 1
        if self.wanted is not None and entry not in self.wanted:
            self.entries[number] = entry, None
        elif self.run:
            self.entries[number] = entry, (self.run[-1],)
        else:
            self.entries[number] = entry, len(self.machine.memo)
            self.step(Machine.memoize)

    def get(self, number: int) -> None:
        entry, kept = self.entries[number]
        self.fetched.add(entry)
        if type(kept) is tuple:
            self.run.append(kept[0])
        else:
            self.step(Machine.get, kept)

    def get_line(self) -> None:
        self.get(int(self._read_line()))

    # Containers of protocol 0

    def list_(self) -> None:
        self.step(_make_list)

    def dict_(self) -> None:
        self.step(_make_dict)

    # joblib's arrays

    def build(self) -> None:
        self.step(Machine.build)
        if type(self.machine.stack[-1]) is Wrapper:
            self.machine.stack[-1] = self._read_array(self.machine.stack[-1])

    def _read_array(self, wrapper: Wrapper) -> Any:
        if isinstance(wrapper.dtype, np.dtype) and wrapper.dtype.hasobject:
            return self._read_inner()
        count = count_items(wrapper.dtype, wrapper.shape, wrapper.order)
        if wrapper.numpy_array_alignment_bytes is not None:
            self.take(self.take(1)[0])
        nbytes = count * wrapper.dtype.itemsize
        self._need_bytes(nbytes)
        start, self.at = self.at, self.at + nbytes
        if self.listing:
            return SKIPPED
        if nbytes:
            flat = np.frombuffer(self.data, wrapper.dtype, count, start)
        else:
            flat = np.zeros(count, wrapper.dtype)
        shape = tuple(map(int, wrapper.shape))
        array = np.empty(shape, wrapper.dtype, wrapper.order)
        array[...] = flat.reshape(shape, order=wrapper.order)
        if _is_swapped(array.dtype):
            array = array.byteswap(inplace=True).view(array.dtype.newbyteorder("="))
        return array.view(np.matrix) if wrapper.subclass is np.matrix else array

    def _read_inner(self) -> Any:
        """Read a pickle in the pickle: an array of objects."""
        inner = Reader(self.data, self.construct, self.wanted)
        inner.at, inner.writes, inner.fetched = self.at, self.writes, self.fetched
        obj = inner.read_pickle()
        self.at, self.writes = inner.at, inner.writes
        return obj


def _is_swapped(dtype: np.dtype[Any]) -> bool:
    """Whether joblib converts arrays of this dtype to this machine's byte order.

    Source: ``_is_numpy_array_byte_order_mismatch`` of joblib's ``numpy_pickle_utils.py``. Records
    stay as they are unless all of their fields have the other order.
    """
    if dtype.names is None:
        return dtype.byteorder == _OTHER_ORDER
    fields = [entry[0] for entry in (dtype.fields or {}).values()]
    return bool(fields) and all(field.byteorder == _OTHER_ORDER for field in fields)


_OTHER_ORDER = ">" if sys.byteorder == "little" else "<"
_CUT_OFF = "it ends in the middle of a pickle"


def _make_refusal(code: int, at: int) -> CorruptShardError:
    if code in _PYTHON_2:
        return Python2Error(f"byte {at}: only Python 2 writes opcode {code:#04x}")
    if code in _REFUSED:
        return CorruptShardError(_REFUSED[code])
    return NoPickleError(f"byte {at} is not part of a valid pickle")


def _share_text(reader: Reader, chunk: bytes) -> str:
    if len(chunk) > LONG:
        return chunk.decode("utf-8", "surrogatepass")
    text = reader.texts.get(chunk)
    if text is None:
        text = reader.texts[chunk] = chunk.decode("utf-8", "surrogatepass")
    return text


def _make_list(machine: Machine, _: None) -> None:
    items = machine.items()
    machine.stack.append([])
    machine.construct.extend(machine.stack[-1], items)


def _make_dict(machine: Machine, _: None) -> None:
    items = machine.items()
    if len(items) % 2:
        raise IndexError("a key without a value")
    machine.stack.append({})
    pairs = list(zip(items[::2], items[1::2], strict=True))
    machine.construct.update(machine.stack[-1], pairs)


_READERS: list[Callable[[Any], None] | None] = list(READERS)
for _code, _step in STEPS.items():
    _READERS[_code] = functools.partial(Reader.step, step=_step)
for _opcode, _read in {
    b"\x80": Reader.proto,
    b"N": Reader.none,
    b"K": Reader.int1,
    b"I": Reader.int_line,
    b"L": Reader.long_line,
    b"F": Reader.float_line,
    b"V": Reader.text_line,
    b"\x8c": Reader.text1,
    b"B": Reader.bytes4,
    b"\x8e": Reader.bytes8,
    b"\x96": Reader.bytearray8,
    b"c": Reader.global_line,
    b"\x93": Reader.stack_global,
    b"\x94": Reader.memoize,
    b"q": Reader.put1,
    b"r": Reader.put4,
    b"p": Reader.put_line,
    b"g": Reader.get_line,
    b"l": Reader.list_,
    b"d": Reader.dict_,
    b"b": Reader.build,
    b"\x95": Reader.frame,
    b"Q": None,
}.items():
    _READERS[_opcode[0]] = _read
_PYTHON_2 = frozenset(b"STUio")
_REFUSED = {
    **dict.fromkeys(b"PQ", "it refers to objects that are not in the file"),
    **dict.fromkeys(b"\x82\x83\x84", "it needs an extension registry that is not in the file"),
    **dict.fromkeys(b"\x97\x98", "it needs buffers that are not in the file"),
}
