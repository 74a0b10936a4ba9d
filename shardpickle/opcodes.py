"""The opcode loop: reads a skeleton. Knows pickle's bytes, and no class, module or file.

Only the opcodes that CPython's pickler emits at protocol 5 are known, less those of the extension
registry and of out-of-band buffers; any other byte is an error. What a global, a call or an
instance means is decided by the `Construct` that the loop is given: `construct.Objects` makes the
real things, `Names` notes the names and makes nothing, so listing and loading are one loop.

Source: CPython's ``Lib/pickletools.py`` (the reference of the opcodes) and PEP 3154, 574.
"""

import struct
from collections.abc import Callable
from typing import Any, Protocol

from shardpickle.errors import CorruptShardError

SHARED_TEXT_BYTES = 1 << 20  # skeletons up to this size share equal strings with each other


class Construct(Protocol):
    """What the loop asks for whenever a skeleton says more than plain data."""

    def find(self, module: str, name: str) -> Any: ...
    def persistent(self, pid: Any) -> Any: ...
    def call(self, function: Any, args: tuple[Any, ...]) -> Any: ...
    def new(self, cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any: ...
    def build(self, instance: Any, state: Any) -> None: ...
    def frozen(self, items: list[Any]) -> Any: ...
    def extend(self, target: Any, items: list[Any]) -> None: ...
    def update(self, target: Any, items: list[tuple[Any, Any]]) -> None: ...
    def add(self, target: Any, items: list[Any]) -> None: ...


class _Blank:
    """Stands for whatever a global, a call or a reference would have given."""


class Names:
    """A `Construct` that makes nothing: it notes names and references."""

    def __init__(self) -> None:
        self.globals: dict[tuple[str, str], None] = {}
        self.pids: list[Any] = []

    def find(self, module: str, name: str) -> Any:
        self.globals[module, name] = None
        return _Blank()

    def persistent(self, pid: Any) -> Any:
        self.pids.append(pid)
        return _Blank()

    def call(self, function: Any, args: tuple[Any, ...]) -> Any:
        return _Blank()

    def new(self, cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return _Blank()

    def build(self, instance: Any, state: Any) -> None:
        return None

    # Containers stay empty: to hash or compare what a file says may take for ever.

    def frozen(self, items: list[Any]) -> Any:
        return _Blank()

    def extend(self, target: Any, items: list[Any]) -> None:
        return None

    def update(self, target: Any, items: list[tuple[Any, Any]]) -> None:
        return None

    def add(self, target: Any, items: list[Any]) -> None:
        return None


def read(data: bytes, construct: Construct, texts: dict[bytes, str] | None = None) -> Any:
    """What a skeleton describes.

    Parameters
    ----------
    data : bytes
        One pickle, protocol 4 or 5, with nothing behind its STOP.
    construct : Construct
        Decides what names, calls and persistent ids give.
    texts : dict, optional
        Strings seen in other skeletons, by their UTF-8 form; equal ones are shared, as they are
        within one pickle.

    Raises
    ------
    CorruptShardError
        If the bytes are not a pickle that our writer could have made.
    """
    shared = texts if texts is not None and len(data) <= SHARED_TEXT_BYTES else {}
    loop = _Loop(data, construct, shared)
    try:
        return loop.run()
    except (
        IndexError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        UnicodeDecodeError,
        struct.error,
    ) as error:
        raise CorruptShardError(f"skeleton, byte {loop.at}: {error!r}") from error


_U16 = struct.Struct("<H").unpack_from
_I32 = struct.Struct("<i").unpack_from
_U32 = struct.Struct("<I").unpack_from
_U64 = struct.Struct("<Q").unpack_from
_F64 = struct.Struct(">d").unpack_from


class _Loop:
    def __init__(self, data: bytes, construct: Construct, texts: dict[bytes, str]) -> None:
        self.data = data
        self.at = 0
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: list[Any] = []
        self.construct = construct
        self.texts = texts

    def run(self) -> Any:
        # The commonest opcodes stand here: a call for each would double a forest's loading time.
        data, memo = self.data, self.memo
        stack, at = self.stack, 0
        while True:
            code = data[at]
            at += 1
            if code == _TEXT1:
                size = data[at]
                at += 1 + size
                stack.append(self.shared(data[at - size : at], size))
            elif code == _MEMOIZE:
                memo.append(stack[-1])
            elif code == _GET1:
                stack.append(memo[data[at]])
                at += 1
            elif code == _INT1:
                stack.append(data[at])
                at += 1
            elif code == _NONE:
                stack.append(None)
            elif code == _STOP:
                break
            else:
                self.at = at
                self.step(code)
                stack, at = self.stack, self.at
        if at != len(data) or self.marks or len(stack) != 1:
            raise CorruptShardError("skeleton does not end where it should")
        return stack[0]

    def step(self, code: int) -> None:
        step = _STEPS[code]
        if step is None:
            raise CorruptShardError(f"skeleton, byte {self.at - 1}: opcode {code:#04x}")
        step(self)

    def shared(self, chunk: bytes, size: int) -> str:
        text = self.texts.get(chunk)
        if text is None:
            if len(chunk) != size:
                raise IndexError("the skeleton is cut off")
            text = self.texts[chunk] = chunk.decode("utf-8", "surrogatepass")
        return text

    def take(self, count: int) -> bytes:
        chunk = self.data[self.at : self.at + count]
        if len(chunk) != count:
            raise IndexError("the skeleton is cut off")
        self.at += count
        return chunk

    def number(self, unpack: Callable[[bytes, int], tuple[Any, ...]], width: int) -> Any:
        (value,) = unpack(self.data, self.at)
        self.at += width
        return value

    def items(self) -> list[Any]:
        items = self.stack
        self.stack = self.marks.pop()
        return items

    def text(self, size: int) -> None:
        self.stack.append(self.shared(self.take(size), size))

    # Numbers, strings and constants

    def proto(self) -> None:
        if self.take(1)[0] not in (4, 5) or self.at != 2:
            raise IndexError("not protocol 4 or 5")

    def frame(self) -> None:
        if self.number(_U64, 8) > len(self.data) - self.at:
            raise IndexError("a frame reaches past the end")

    def true(self) -> None:
        self.stack.append(True)

    def false(self) -> None:
        self.stack.append(False)

    def int2(self) -> None:
        self.stack.append(self.number(_U16, 2))

    def int4(self) -> None:
        self.stack.append(self.number(_I32, 4))

    def long1(self) -> None:
        self.stack.append(int.from_bytes(self.take(self.take(1)[0]), "little", signed=True))

    def long4(self) -> None:
        self.stack.append(int.from_bytes(self.take(self.number(_U32, 4)), "little", signed=True))

    def float8(self) -> None:
        self.stack.append(self.number(_F64, 8))

    def bytes1(self) -> None:
        self.stack.append(self.take(self.take(1)[0]))

    def bytes4(self) -> None:
        self.stack.append(self.take(self.number(_U32, 4)))

    def bytes8(self) -> None:
        self.stack.append(self.take(self.number(_U64, 8)))

    def bytearray8(self) -> None:
        self.stack.append(bytearray(self.take(self.number(_U64, 8))))

    def text4(self) -> None:
        self.text(self.number(_U32, 4))

    def text8(self) -> None:
        self.text(self.number(_U64, 8))

    # Containers

    def mark(self) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def pop(self) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.items()

    def pop_mark(self) -> None:
        self.items()

    def empty_tuple(self) -> None:
        self.stack.append(())

    def tuple1(self) -> None:
        self.stack[-1] = (self.stack[-1],)

    def tuple2(self) -> None:
        last = self.stack.pop()
        self.stack[-1] = (self.stack[-1], last)

    def tuple3(self) -> None:
        last, middle = self.stack.pop(), self.stack.pop()
        self.stack[-1] = (self.stack[-1], middle, last)

    def tuple_(self) -> None:
        items = self.items()
        self.stack.append(tuple(items))

    def empty_list(self) -> None:
        self.stack.append([])

    def append(self) -> None:
        value = self.stack.pop()
        self.construct.extend(self.stack[-1], [value])

    def appends(self) -> None:
        items = self.items()
        self.construct.extend(self.stack[-1], items)

    def empty_dict(self) -> None:
        self.stack.append({})

    def setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.construct.update(self.stack[-1], [(key, value)])

    def setitems(self) -> None:
        items = self.items()
        if len(items) % 2:
            raise IndexError("a key without a value")
        pairs = list(zip(items[::2], items[1::2], strict=True))
        self.construct.update(self.stack[-1], pairs)

    def empty_set(self) -> None:
        self.stack.append(set())

    def additems(self) -> None:
        items = self.items()
        self.construct.add(self.stack[-1], items)

    def frozenset_(self) -> None:
        items = self.items()
        self.stack.append(self.construct.frozen(items))

    # The memo

    def get4(self) -> None:
        self.stack.append(self.memo[self.number(_U32, 4)])

    # Names, instances and references

    def stack_global(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if type(name) is not str or type(module) is not str:
            raise TypeError("a name that is no string")
        self.stack.append(self.construct.find(module, name))

    def reduce(self) -> None:
        args = self.stack.pop()
        self.stack[-1] = self.construct.call(self.stack[-1], _tuple(args))

    def newobj(self) -> None:
        args = self.stack.pop()
        self.stack[-1] = self.construct.new(self.stack[-1], _tuple(args), {})

    def newobj_ex(self) -> None:
        kwargs, args = self.stack.pop(), self.stack.pop()
        if type(kwargs) is not dict:
            raise TypeError("keyword arguments that are no dict")
        self.stack[-1] = self.construct.new(self.stack[-1], _tuple(args), kwargs)

    def build(self) -> None:
        state = self.stack.pop()
        self.construct.build(self.stack[-1], state)

    def binpersid(self) -> None:
        self.stack[-1] = self.construct.persistent(self.stack[-1])


def _tuple(args: Any) -> tuple[Any, ...]:
    if type(args) is not tuple:
        raise TypeError("arguments that are no tuple")
    return args


_STOP, _NONE, _INT1, _TEXT1, _MEMOIZE, _GET1 = b".NK\x8c\x94h"
_STEPS: list[Callable[[_Loop], None] | None] = [None] * 256
for _code, _step in {
    b"\x80": _Loop.proto,
    b"\x95": _Loop.frame,
    b"\x88": _Loop.true,
    b"\x89": _Loop.false,
    b"M": _Loop.int2,
    b"J": _Loop.int4,
    b"\x8a": _Loop.long1,
    b"\x8b": _Loop.long4,
    b"G": _Loop.float8,
    b"C": _Loop.bytes1,
    b"B": _Loop.bytes4,
    b"\x8e": _Loop.bytes8,
    b"\x96": _Loop.bytearray8,
    b"X": _Loop.text4,
    b"\x8d": _Loop.text8,
    b"(": _Loop.mark,
    b"0": _Loop.pop,
    b"1": _Loop.pop_mark,
    b")": _Loop.empty_tuple,
    b"\x85": _Loop.tuple1,
    b"\x86": _Loop.tuple2,
    b"\x87": _Loop.tuple3,
    b"t": _Loop.tuple_,
    b"]": _Loop.empty_list,
    b"a": _Loop.append,
    b"e": _Loop.appends,
    b"}": _Loop.empty_dict,
    b"s": _Loop.setitem,
    b"u": _Loop.setitems,
    b"\x8f": _Loop.empty_set,
    b"\x90": _Loop.additems,
    b"\x91": _Loop.frozenset_,
    b"j": _Loop.get4,
    b"\x93": _Loop.stack_global,
    b"R": _Loop.reduce,
    b"\x81": _Loop.newobj,
    b"\x92": _Loop.newobj_ex,
    b"b": _Loop.build,
    b"Q": _Loop.binpersid,
}.items():
    _STEPS[_code[0]] = _step
