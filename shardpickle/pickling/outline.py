"""A skeleton as plain data. Makes nothing that the skeleton names."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from shardpickle.pickling import machine as opcodes
from shardpickle.pickling.machine import Steps


@dataclass(frozen=True, slots=True)
class Reference:
    """An object of another part: the part's number among the references of this one."""

    number: int


@dataclass(frozen=True, slots=True)
class Value:
    """An array, a tree or a long string that left the skeleton; or a dtype or scalar."""

    pid: Any


@dataclass(eq=False, slots=True)
class Made:
    """An object that the skeleton would make: its name, arguments, state and items."""

    name: Any
    args: tuple[Any, ...] = ()
    state: Any = None
    items: list[Any] = field(default_factory=list)


def members(steps: Steps) -> tuple[Any, ...]:
    """List the objects of a part as dicts, lists, tuples, `Made`, `Reference` and `Value`."""
    result = opcodes.run(steps, Plain())
    return result if isinstance(result, tuple) else (result,)


def attributes(outlined: Any) -> dict[str, Any]:
    """Return the attributes of an object of a part, if its state has them."""
    state = outlined.state if isinstance(outlined, Made) else outlined
    if isinstance(state, tuple) and state and isinstance(state[0], dict):
        state = state[0]
    return (
        {name: value for name, value in state.items() if isinstance(name, str)}
        if (isinstance(state, dict))
        else {}
    )


def find_places(obj: Any) -> dict[int, str]:
    """Find the first path of each reference below an object, in Python's notation."""
    paths: dict[int, str] = {}
    for value, path in _walk([(value, name) for name, value in attributes(obj).items()]):
        if isinstance(value, Reference):
            paths.setdefault(value.number, path)
    return paths


def path_to_step(steps: Steps, step: int) -> str:
    """Find the path, below the part's first object, of what a step makes; empty for that object."""
    machine = opcodes.Machine(Plain())
    target: Any = None
    for step_function, argument, position in steps:
        step_function(machine, argument)
        if position == step:
            target = machine.stack[-1] if machine.stack else None
    result = machine.stack[-1]
    for number, member in enumerate(result if isinstance(result, tuple) else ()):
        if member is target:
            return ""
        top = [(value, f".{name}") for name, value in attributes(member).items()]
        if not top:
            top = [(member, f"[{number}]" if number else "")]
        for value, path in _walk(top):
            if value is target:
                return path
    return ""


def _walk(todo: list[tuple[Any, str]]) -> Iterator[tuple[Any, str]]:
    """Yield values and their paths, each value once, in reading order."""
    seen: set[int] = set()
    todo.reverse()
    while todo:
        value, path = todo.pop()
        if isinstance(value, Reference):
            yield value, path
            continue
        if id(value) in seen or len(path) > _LONGEST:
            continue
        seen.add(id(value))
        yield value, path
        if isinstance(value, dict):
            below = [(item, f"{path}[{key!r}]") for key, item in value.items()]
        elif isinstance(value, Made):
            below = [(item, f"{path}.{name}") for name, item in attributes(value).items()]
            below += [(value.args, path), (value.items, path)]
            if isinstance(value.state, tuple) and len(value.state) == 5:  # an array of objects
                below.append((value.state[4], f"{path}.flat"))
        elif isinstance(value, (list, tuple)):
            below = [(item, f"{path}[{index}]") for index, item in enumerate(value)]
        else:
            continue
        todo.extend(reversed(below))


def join_paths(paths: Iterable[str]) -> Iterator[str]:
    """Join the paths of neighbours in a list into one: ``estimators_[0:25]``."""
    by_list: dict[str, list[int]] = {}
    for path in paths:
        match = re.fullmatch(r"(.*)\[(\d+)\]", path, re.DOTALL)
        if match is None:
            yield path
        else:
            by_list.setdefault(match[1], []).append(int(match[2]))
    for name, numbers in by_list.items():
        for _, run in groupby(enumerate(sorted(numbers)), lambda pair: pair[1] - pair[0]):
            items = [number for _, number in run]
            single = len(items) == 1
            yield f"{name}[{items[0]}]" if single else f"{name}[{items[0]}:{items[-1] + 1}]"


_LONGEST = 500  # characters; nobody reads longer paths, and they take memory


class Plain:
    """A `machine.Construct` that makes plain data."""

    def find(self, module: str, name: str) -> Any:
        return (module, name)

    def persistent(self, pid: Any) -> Any:
        if type(pid) is tuple and len(pid) == 1 and type(pid[0]) is int:
            return Reference(pid[0])
        return Value(pid)

    def call(self, function: Any, args: tuple[Any, ...]) -> Any:
        return Made(function, args)

    def new(self, cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return Made(cls, args)

    def build(self, instance: Any, state: Any) -> None:
        if isinstance(instance, Made):
            instance.state = state

    def frozen(self, items: list[Any]) -> Any:
        return items

    def extend(self, target: Any, items: list[Any]) -> None:
        (target.items if isinstance(target, Made) else target).extend(items)

    def update(self, target: Any, items: list[tuple[Any, Any]]) -> None:
        for key, value in items:
            if isinstance(target, dict) and isinstance(key, (str, int, float, bytes)):
                target[key] = value
            elif isinstance(target, Made):
                target.items.append(value)

    def add(self, target: Any, items: list[Any]) -> None:
        if isinstance(target, Made):
            target.items.extend(items)
