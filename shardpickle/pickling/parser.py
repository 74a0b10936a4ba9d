"""Parses a skeleton's bytes into steps. Knows pickle's opcodes, and runs nothing."""

import struct
from collections.abc import Callable
from typing import Any

from shardpickle.errors import CorruptShardError
from shardpickle.pickling.machine import MISTAKES, Construct, Machine, Steps, run

SHARED_TEXT_BYTES = 1 << 20  # skeletons up to this size share equal strings with each other


def read(data: bytes, construct: Construct, texts: dict[bytes, str] | None = None) -> Any:
    """Parse a skeleton and run its steps."""
    return run(parse(data, texts), construct)


def parse(data: bytes, texts: dict[bytes, str] | None = None, most: int | None = None) -> "Steps":
    """Parse a skeleton into steps.

    Parameters
    ----------
    data : bytes
        One pickle, protocol 4 or 5, with nothing after its STOP.
    texts : dict, optional
        Strings seen in other skeletons, by their UTF-8 form; equal ones are shared, as they are
        within one pickle.
    most : int, optional
        The highest `Steps.heap` allowed: an opcode of one byte can make an object of hundreds.

    Raises
    ------
    CorruptShardError
        If the bytes are not a pickle that our writer could have made.
    """
    shared = texts if texts is not None and len(data) <= SHARED_TEXT_BYTES else {}
    parser = Parser(data, shared, most)
    try:
        steps = parser.parse()
    except MISTAKES as error:
        raise CorruptShardError(f"skeleton, byte {parser.at}: {error!r}") from error
    if parser.at != len(data):
        raise CorruptShardError("skeleton does not end where it should")
    return steps


U16 = struct.Struct("<H").unpack_from

I32 = struct.Struct("<i").unpack_from

U32 = struct.Struct("<I").unpack_from

U64 = struct.Struct("<Q").unpack_from

_F64 = struct.Struct(">d").unpack_from


# Bytes of `Steps.heap`: a constant and its place in a container, an entry of the memo, a container
# or anything else that a step makes, an instance.
_CONSTANT, _MEMO_ENTRY, _STEP, _INSTANCE = 64, 16, 160, 640

_STRIDE = range(1 << 14)  # opcodes between two checks of the estimate

MADE = object()  # replaces, in the parser's memo, what is not a constant


class Parser:
    """Parses bytes into steps. `run` has the constants on top of the stack without a step yet."""

    def __init__(self, data: bytes, texts: dict[bytes, str], most: int | None) -> None:
        self.data = data
        self.most = most
        self.at = 0
        self.texts = texts
        self.steps = Steps()
        self.run: list[Any] = []
        self.memoized: list[Any] = []
        self.memo: list[Any] = []

    def parse(self) -> Steps:
        # The commonest opcodes are inline: if each tree has its own skeleton (a seed, say), a call
        # for each would double the time of loading.
        data, texts, memo = self.data, self.texts, self.memo
        at = self.at
        while True:
            for _ in _STRIDE:
                code = data[at]
                at += 1
                if code == _TEXT1:
                    size = data[at]
                    at += 1 + size
                    chunk = data[at - size : at]
                    text = texts.get(chunk)
                    if text is None:
                        if len(chunk) != size:
                            raise IndexError("the skeleton is cut off")
                        text = texts[chunk] = chunk.decode("utf-8", "surrogatepass")
                    self.run.append(text)
                elif code == _INT1:
                    self.run.append(data[at])
                    at += 1
                elif code == _NONE:
                    self.run.append(None)
                elif code == _MEMOIZE and self.run:
                    self.memoized.append(self.run[-1])
                    memo.append(self.run[-1])
                elif code == STOP:
                    self.at = at
                    self.flush()
                    self.steps.heap += at
                    self.check(self.steps.heap)
                    return self.steps
                else:
                    self.at = at
                    self.other(code)
                    at = self.at
            waiting = len(self.run) * _CONSTANT + len(self.memoized) * _MEMO_ENTRY
            self.check(self.steps.heap + at + waiting)

    def check(self, heap: int) -> None:
        if self.most is not None and heap > self.most:
            raise CorruptShardError("its skeletons make more objects than the manifest declares")

    def other(self, code: int) -> None:
        read = READERS[code]
        if read is not None:
            read(self)
        elif code in STEPS:
            self.step(STEPS[code])
        else:
            raise CorruptShardError(f"skeleton, byte {self.at - 1}: opcode {code:#04x}")

    def step(self, step: Callable[[Machine, Any], None], argument: Any = None) -> None:
        self.flush()
        self.steps.append((step, argument, self.at))
        self.steps.heap += _INSTANCE if step in _INSTANCES else _STEP

    def flush(self) -> None:
        if self.run or self.memoized:
            self.steps.append((Machine.push, (self.run, self.memoized), self.at))
            self.steps.heap += len(self.run) * _CONSTANT + len(self.memoized) * _MEMO_ENTRY
            self.run, self.memoized = [], []

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

    def text(self, size: int) -> None:
        chunk = self.take(size)
        text = self.texts.get(chunk)
        if text is None:
            text = self.texts[chunk] = chunk.decode("utf-8", "surrogatepass")
        self.run.append(text)

    # Numbers, strings and constants

    def proto(self) -> None:
        if self.take(1)[0] not in (4, 5) or self.at != 2:
            raise IndexError("not protocol 4 or 5")

    def frame(self) -> None:
        if self.number(U64, 8) > len(self.data) - self.at:
            raise IndexError("a frame reaches past the end")

    def true(self) -> None:
        self.run.append(True)

    def false(self) -> None:
        self.run.append(False)

    def int2(self) -> None:
        self.run.append(self.number(U16, 2))

    def int4(self) -> None:
        self.run.append(self.number(I32, 4))

    def long1(self) -> None:
        self.run.append(int.from_bytes(self.take(self.take(1)[0]), "little", signed=True))

    def long4(self) -> None:
        self.run.append(int.from_bytes(self.take(self.number(U32, 4)), "little", signed=True))

    def float8(self) -> None:
        self.run.append(self.number(_F64, 8))

    def bytes1(self) -> None:
        self.run.append(self.take(self.take(1)[0]))

    def bytes4(self) -> None:
        self.run.append(self.take(self.number(U32, 4)))

    def bytes8(self) -> None:
        self.run.append(self.take(self.number(U64, 8)))

    def bytearray8(self) -> None:
        self.step(Machine.bytearray_, self.take(self.number(U64, 8)))

    def text4(self) -> None:
        self.text(self.number(U32, 4))

    def text8(self) -> None:
        self.text(self.number(U64, 8))

    def empty_tuple(self) -> None:
        self.run.append(())

    def tuple1(self) -> None:
        self.short_tuple(1)

    def tuple2(self) -> None:
        self.short_tuple(2)

    def tuple3(self) -> None:
        self.short_tuple(3)

    def short_tuple(self, count: int) -> None:
        items = self.run[-count:]
        if len(items) == count and not any(type(item) is tuple for item in items):
            self.run[-count:] = [tuple(items)]
        else:
            self.step(Machine.short_tuple, count)

    # The memo

    def memoize(self) -> None:
        self.step(Machine.memoize)  # `parse` handles constants
        self.memo.append(MADE)

    def get(self, number: int) -> None:
        known = self.memo[number]
        if known is MADE:
            self.step(Machine.get, number)
        else:
            self.run.append(known)

    def get1(self) -> None:
        self.get(self.take(1)[0])

    def get4(self) -> None:
        self.get(self.number(U32, 4))

    # The arguments of a global or a persistent id are constants, or the skeleton is not ours

    def stack_global(self) -> None:
        name, module = self.run.pop(), self.run.pop()
        if type(name) is not str or type(module) is not str:
            raise TypeError("a name that is not a string")
        self.step(Machine.find, (module, name))

    def binpersid(self) -> None:
        self.step(Machine.persistent, self.run.pop())


STOP, _NONE, _INT1, _TEXT1, _MEMOIZE = b".NK\x8c\x94"

READERS: list[Callable[[Parser], None] | None] = [None] * 256


for _code, _read in {
    b"\x80": Parser.proto,
    b"\x95": Parser.frame,
    b"\x88": Parser.true,
    b"\x89": Parser.false,
    b"M": Parser.int2,
    b"J": Parser.int4,
    b"\x8a": Parser.long1,
    b"\x8b": Parser.long4,
    b"G": Parser.float8,
    b"C": Parser.bytes1,
    b"B": Parser.bytes4,
    b"\x8e": Parser.bytes8,
    b"\x96": Parser.bytearray8,
    b"X": Parser.text4,
    b"\x8d": Parser.text8,
    b")": Parser.empty_tuple,
    b"\x85": Parser.tuple1,
    b"\x86": Parser.tuple2,
    b"\x87": Parser.tuple3,
    b"\x94": Parser.memoize,
    b"h": Parser.get1,
    b"j": Parser.get4,
    b"\x93": Parser.stack_global,
    b"Q": Parser.binpersid,
}.items():
    READERS[_code[0]] = _read
STEPS: dict[int, Callable[[Machine, Any], None]] = {
    b"("[0]: Machine.mark,
    b"0"[0]: Machine.pop,
    b"1"[0]: Machine.pop_mark,
    b"t"[0]: Machine.tuple_,
    b"]"[0]: Machine.empty_list,
    b"a"[0]: Machine.append,
    b"e"[0]: Machine.appends,
    b"}"[0]: Machine.empty_dict,
    b"s"[0]: Machine.setitem,
    b"u"[0]: Machine.setitems,
    b"\x8f"[0]: Machine.empty_set,
    b"\x90"[0]: Machine.additems,
    b"\x91"[0]: Machine.frozenset_,
    b"R"[0]: Machine.reduce,
    b"\x81"[0]: Machine.newobj,
    b"\x92"[0]: Machine.newobj_ex,
    b"b"[0]: Machine.build,
}

_INSTANCES = frozenset({Machine.reduce, Machine.newobj, Machine.newobj_ex})

OPCODES = frozenset({*STEPS, *(code for code, read in enumerate(READERS) if read), *b".NK\x8c\x94"})
