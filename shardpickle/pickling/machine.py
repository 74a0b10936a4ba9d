"""Runs skeletons. Knows pickle's bytes, and no class, module or file.

Only the opcodes that CPython's pickler emits at protocol 5 are known, without those of the
extension registry and of out-of-band buffers; any other byte is an error. A skeleton is parsed
once into steps, and a run of plain constants is one step. The trees of a forest share a few
skeletons, and each runs the same steps. The `Construct` decides what a global, a call or an
instance means: `unrestricted.Objects` makes real objects, `Names` only records names. So listing
and loading are one loop.

Source: CPython's ``Lib/pickletools.py`` (the reference of the opcodes) and PEP 3154, 574.
"""

import struct
from collections.abc import Callable
from typing import Any, Protocol

from shardpickle.errors import CorruptShardError, RefusedError


class Construct(Protocol):
    """Called by the loop for everything in a skeleton that is not plain data."""

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
    """Replaces the result of a global, a call or a reference."""


class Names:
    """A `Construct` that makes nothing: it records names and references."""

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

    # Containers stay empty: hashing or comparing a file's objects may take forever.

    def frozen(self, items: list[Any]) -> Any:
        return _Blank()

    def extend(self, target: Any, items: list[Any]) -> None:
        return None

    def update(self, target: Any, items: list[tuple[Any, Any]]) -> None:
        return None

    def add(self, target: Any, items: list[Any]) -> None:
        return None


def names(steps: "Steps") -> tuple[tuple[str, str], ...]:
    """List the globals that steps name, in the order of first use, without running them."""
    return tuple(dict.fromkeys(argument for step, argument, _ in steps if step is Machine.find))


def run(steps: "Steps", construct: Construct) -> Any:
    """Run the steps of a skeleton and return the object that they make.

    Parameters
    ----------
    steps : Steps
        From `parse`; they can be run any number of times.
    construct : Construct
        Decides what names, calls and persistent ids return.

    Raises
    ------
    CorruptShardError
        If the steps do not leave exactly one object.
    """
    machine = Machine(construct)
    at = 0
    try:
        for step, argument, at in steps:  # noqa: B007  # used where a step fails
            step(machine, argument)
    except RefusedError as error:
        error.step = at
        raise
    except MISTAKES as error:
        raise CorruptShardError(f"skeleton, byte {at}: {error!r}") from error
    if machine.marks or len(machine.stack) != 1:
        raise CorruptShardError("skeleton does not end where it should")
    return machine.stack[0]


MISTAKES = (
    IndexError,
    KeyError,
    TypeError,
    AttributeError,
    OverflowError,
    UnicodeDecodeError,
    struct.error,
)


class Machine:
    """A stack, its marks and the memo, and what each step does to them."""

    def __init__(self, construct: Construct) -> None:
        self.construct = construct
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: list[Any] = []

    def items(self) -> list[Any]:
        items = self.stack
        self.stack = self.marks.pop()
        return items

    def push(self, constants: tuple[list[Any], list[Any]]) -> None:
        self.stack += constants[0]
        self.memo += constants[1]

    def memoize(self, _: None) -> None:
        self.memo.append(self.stack[-1])

    def get(self, number: int) -> None:
        self.stack.append(self.memo[number])

    def bytearray_(self, content: bytes) -> None:
        self.stack.append(bytearray(content))

    # Containers

    def mark(self, _: None) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def pop(self, _: None) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.items()

    def pop_mark(self, _: None) -> None:
        self.items()

    def short_tuple(self, count: int) -> None:
        if len(self.stack) < count:
            raise IndexError("a tuple of more items than the stack has")
        self.stack[-count:] = [tuple(self.stack[-count:])]

    def tuple_(self, _: None) -> None:
        items = self.items()
        self.stack.append(tuple(items))

    def empty_list(self, _: None) -> None:
        self.stack.append([])

    def append(self, _: None) -> None:
        value = self.stack.pop()
        self.construct.extend(self.stack[-1], [value])

    def appends(self, _: None) -> None:
        items = self.items()
        self.construct.extend(self.stack[-1], items)

    def empty_dict(self, _: None) -> None:
        self.stack.append({})

    def setitem(self, _: None) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.construct.update(self.stack[-1], [(key, value)])

    def setitems(self, _: None) -> None:
        items = self.items()
        if len(items) % 2:
            raise IndexError("a key without a value")
        pairs = list(zip(items[::2], items[1::2], strict=True))
        self.construct.update(self.stack[-1], pairs)

    def empty_set(self, _: None) -> None:
        self.stack.append(set())

    def additems(self, _: None) -> None:
        items = self.items()
        self.construct.add(self.stack[-1], items)

    def frozenset_(self, _: None) -> None:
        items = self.items()
        self.stack.append(self.construct.frozen(items))

    # Names, instances and references

    def find(self, name: tuple[str, str]) -> None:
        self.stack.append(self.construct.find(*name))

    def reduce(self, _: None) -> None:
        args = self.stack.pop()
        self.stack[-1] = self.construct.call(self.stack[-1], _check_tuple(args))

    def newobj(self, _: None) -> None:
        args = self.stack.pop()
        self.stack[-1] = self.construct.new(self.stack[-1], _check_tuple(args), {})

    def newobj_ex(self, _: None) -> None:
        kwargs, args = self.stack.pop(), self.stack.pop()
        if type(kwargs) is not dict:
            raise TypeError("keyword arguments that are not a dict")
        self.stack[-1] = self.construct.new(self.stack[-1], _check_tuple(args), kwargs)

    def build(self, _: None) -> None:
        state = self.stack.pop()
        self.construct.build(self.stack[-1], state)

    def persistent(self, pid: Any) -> None:
        self.stack.append(self.construct.persistent(pid))


def _check_tuple(args: Any) -> tuple[Any, ...]:
    if type(args) is not tuple:
        raise TypeError("arguments that are not a tuple")
    return args


Step = tuple[Callable[[Machine, Any], None], Any, int]  # function, argument, and position in bytes


class Steps(list[Step]):
    """The steps of a skeleton.

    `heap` is an upper estimate of the bytes of Python objects that one run makes. Writer and reader
    count it in the same way; 160 bytes take about as long as one step.
    """

    heap: int = 0
