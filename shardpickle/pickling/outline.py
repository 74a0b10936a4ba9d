"""A skeleton as plain data: what stands where. Makes nothing that the skeleton names."""

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
    """An array, a tree or a long string, which left the skeleton; or a dtype or scalar."""

    pid: Any


@dataclass(eq=False, slots=True)
class Made:
    """What the skeleton would make: of a name, with arguments, a state, and items."""

    name: Any
    args: tuple[Any, ...] = ()
    state: Any = None
    items: list[Any] = field(default_factory=list)


def members(steps: Steps) -> tuple[Any, ...]:
    """The objects of a part as dicts, lists, tuples, `Made`, `Reference` and `Value`."""
    found = opcodes.run(steps, Plain())
    return found if isinstance(found, tuple) else (found,)


def attributes(made: Any) -> dict[str, Any]:
    """The attributes of what a part makes, where they are plain to see."""
    state = made.state if isinstance(made, Made) else made
    if isinstance(state, tuple) and state and isinstance(state[0], dict):
        state = state[0]
    return (
        {name: value for name, value in state.items() if isinstance(name, str)}
        if (isinstance(state, dict))
        else {}
    )


def places(obj: Any) -> dict[int, str]:
    """Where each reference stands first below an object, as Python would write it."""
    found: dict[int, str] = {}
    for value, path in _walk([(value, name) for name, value in attributes(obj).items()]):
        if isinstance(value, Reference):
            found.setdefault(value.number, path)
    return found


def path_to_step(steps: Steps, step: int) -> str:
    """Where what is made at a step stands below the part's first object; empty if it is that."""
    machine = opcodes.Machine(Plain())
    target: Any = None
    for each, argument, at in steps:
        each(machine, argument)
        if at == step:
            target = machine.stack[-1] if machine.stack else None
    found = machine.stack[-1]
    for number, member in enumerate(found if isinstance(found, tuple) else ()):
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
    """What stands where, each thing once, in the order of a reader."""
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
            below = [(each, f"{path}[{key!r}]") for key, each in value.items()]
        elif isinstance(value, Made):
            below = [(each, f"{path}.{name}") for name, each in attributes(value).items()]
            below += [(value.args, path), (value.items, path)]
            if isinstance(value.state, tuple) and len(value.state) == 5:  # an array of objects
                below.append((value.state[4], f"{path}.flat"))
        elif isinstance(value, (list, tuple)):
            below = [(each, f"{path}[{at}]") for at, each in enumerate(value)]
        else:
            continue
        todo.extend(reversed(below))


def joined(paths: Iterable[str]) -> Iterator[str]:
    """Paths, those of neighbours in a list as one: ``estimators_[0:25]``."""
    by_list: dict[str, list[int]] = {}
    for path in paths:
        found = re.fullmatch(r"(.*)\[(\d+)\]", path, re.DOTALL)
        if found is None:
            yield path
        else:
            by_list.setdefault(found[1], []).append(int(found[2]))
    for name, numbers in by_list.items():
        for _, run in groupby(enumerate(sorted(numbers)), lambda pair: pair[1] - pair[0]):
            items = [number for _, number in run]
            one = len(items) == 1
            yield f"{name}[{items[0]}]" if one else f"{name}[{items[0]}:{items[-1] + 1}]"


_LONGEST = 500  # characters; nobody reads longer ones, and they would take memory


class Plain:
    """An `machine.Construct` that makes plain data."""

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
