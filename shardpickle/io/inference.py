"""Finds trees that are only used for predictions, by the skeletons. Makes no objects.

A dump for inference leaves out a tree's training data. Some models read it while they predict
(`SelectFromModel` reads importances), and third-party classes may read it. So a tree loses it only
if every object on every path to it is known to ask for predictions alone
(`classes.asks_for_predictions`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from shardpickle.errors import CorruptShardError
from shardpickle.pickling import outline, parser
from shardpickle.pickling.outline import Made, Reference, Value
from shardpickle.sklearn_support import classes

_LONGEST = 500  # letters of a place; a chain of models can be endless


@dataclass(frozen=True, slots=True)
class Holder:
    """A part, for the search.

    Attributes
    ----------
    skeleton : bytes, optional
        Its pickle. None for a part that is one of scikit-learn's own trees.
    trees : frozenset of int
        Which of its values are trees.
    references : tuple of int
        The parts that it refers to. They come before it.
    """

    skeleton: bytes | None
    trees: frozenset[int]
    references: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Kept:
    """The parts whose trees stay whole, and the reason for each place."""

    parts: frozenset[int]
    reasons: tuple[str, ...]


def find_whole_trees(parts: Sequence[Holder]) -> Kept:
    """Find the parts whose trees are used for more than predictions. The last part is the model.

    Reasons read as ``"steps[0][1].estimator_: SelectFromModel reads its importances"``.
    """
    search = _Search(parts)
    search.run()
    return Kept(frozenset(search.kept), tuple(search.reasons()))


class _Search:
    """Follows every path from the model to its trees.

    Enters each part at most once by a path of known objects, and once by a path with unknown ones.
    """

    def __init__(self, parts: Sequence[Holder]) -> None:
        self.parts = parts
        self.bearing: list[bool] = []  # whether there is a tree in a part or below it
        for part in parts:
            below = any(self.bearing[other] for other in part.references)
            self.bearing.append(bool(part.trees) or below)
        self.kept: set[int] = set()
        self.reached: set[tuple[int, bool]] = set()
        self.places: dict[str, list[str]] = {}  # for each reason
        self.todo: list[tuple[int, str, str | None]] = []

    def run(self) -> None:
        self.follow(len(self.parts) - 1, "", None)
        while self.todo:
            number, path, reason = self.todo.pop()
            before = len(self.todo)
            self.enter(number, path, reason)
            self.todo[before:] = reversed(self.todo[before:])  # in the order of the model

    def reasons(self) -> Iterator[str]:
        for reason, places in self.places.items():
            for place in outline.join_paths(path.lstrip(".") for path in places):
                yield f"{place or 'the model'}: {reason}"

    def follow(self, number: int, path: str, reason: str | None) -> bool:
        """Plan to enter a part, if needed. Returns whether it is."""
        state = number, reason is not None
        # A part that was reached below something unknown needs no other visit.
        is_new = self.bearing[number] and not self.reached & {state, (number, True)}
        if is_new:
            self.reached.add(state)
            self.todo.append((number, path, reason))
        return is_new

    def enter(self, number: int, path: str, reason: str | None) -> None:
        part = self.parts[number]
        if part.skeleton is None:
            if reason is not None:
                self.kept.add(number)
            for child in part.references:  # parameters, such as a generator that all trees share
                self.follow(child, path, reason)
            return
        try:
            walk = _Walk(parser.read(part.skeleton, _Everything()), reason)
        except CorruptShardError:  # the dump says so
            self.keep_all(number, path, "its pickle cannot be read")
            return
        missed = {~tree for tree in part.trees}
        missed |= {at for at, other in enumerate(part.references) if self.bearing[other]}
        for place, target, why, is_here in walk.targets():
            missed.discard(target)
            where = path + place if len(path) < _LONGEST else path
            if target >= 0:
                is_new = self.follow(part.references[target], where, why)
                if is_new and is_here and why is not None:
                    self.note(why, where)
            elif ~target in part.trees and why is not None:
                self.kept.add(number)
                if is_here:
                    self.note(why, where)
        if missed:
            self.keep_all(number, path, "something unknown holds it")

    def keep_all(self, number: int, path: str, reason: str) -> None:
        part = self.parts[number]
        self.note(reason, path)
        if part.trees:
            self.kept.add(number)
        for child in part.references:
            self.follow(child, path, reason)

    def note(self, reason: str, place: str) -> None:
        self.places.setdefault(reason, []).append(place)


class _Walk:
    """Walks the references and values of a part: their places, and why trees there stay whole.

    A reference is given by its number, a value by `~` its number.
    """

    def __init__(self, members: Any, reason: str | None) -> None:
        self.given = reason
        self.seen: set[tuple[int, bool]] = set()
        self.todo: list[tuple[Any, str, str | None, Any]] = [
            (member, "", reason, None) for member in reversed(members)
        ]

    def targets(self) -> Iterator[tuple[str, int, str | None, bool]]:
        """Yield the place, the number, the reason, and whether the reason is in this part."""
        while self.todo:
            obj, path, reason, holder = self.todo.pop()
            if isinstance(obj, Reference):
                yield path, obj.number, reason, self.given is None
            elif isinstance(obj, Value):
                if type(obj.pid) is int:
                    if reason is None and not classes.is_tree_name(holder):
                        reason = "it is not a tree of a known estimator"
                    yield path, ~obj.pid, reason, self.given is None
            else:
                self.go_into(obj, path, reason, holder)

    def go_into(self, obj: Any, path: str, reason: str | None, holder: Any) -> None:
        if isinstance(obj, Made):
            holder = obj.name
            if reason is None:
                reason = _why_whole(obj.name)
        state = id(obj), reason is not None
        if self.seen & {state, (id(obj), True)}:
            return
        self.seen.add(state)
        below = [(child, path + step, reason, holder) for child, step in _children(obj)]
        self.todo.extend(reversed(below))


def _children(obj: Any) -> Iterator[tuple[Any, str]]:
    if isinstance(obj, Made):
        yield from ((child, f".{name}") for name, child in outline.attributes(obj).items())
        yield from ((child, "") for child in (obj.args, obj.items, obj.name))
        if isinstance(obj.state, tuple) and len(obj.state) == 5:  # an array of objects
            yield obj.state[4], ".flat"
        elif isinstance(obj.state, tuple):  # attributes, and those in slots
            yield from ((child, "") for child in obj.state[1:])
        elif not isinstance(obj.state, dict):
            yield obj.state, ""
    elif isinstance(obj, dict):
        yield from ((child, f"[{key!r}]") for key, child in obj.items())
    elif isinstance(obj, (list, tuple)):
        yield from ((child, f"[{at}]") for at, child in enumerate(obj))
    elif isinstance(obj, set):
        yield from ((child, "") for child in obj)
    elif isinstance(obj, _Items):
        yield from ((child, "") for child in obj.items)


@dataclass(frozen=True, slots=True, eq=False)
class _Items:
    """Items of a set, or of a dict with keys of any kind."""

    items: Sequence[Any]


class _Everything(outline.Plain):
    """Makes plain data of everything in a skeleton."""

    def new(self, cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return Made(cls, (*args, *kwargs.values()))

    def build(self, instance: Any, state: Any) -> None:
        if not isinstance(instance, Made):
            raise CorruptShardError("a state of what has none")
        instance.state = state

    def update(self, target: Any, items: list[tuple[Any, Any]]) -> None:
        plain = [pair for pair in items if isinstance(pair[0], (str, int, float, bytes))]
        other = [pair for pair in items if not isinstance(pair[0], (str, int, float, bytes))]
        super().update(target, plain)
        if other and isinstance(target, dict):
            target[f"a key {len(target)}"] = _Items(other)
        elif other and isinstance(target, Made):
            target.items.append(_Items(other))

    def add(self, target: Any, items: list[Any]) -> None:
        if isinstance(target, set):
            target.add(_Items(items))
        else:
            super().add(target, items)


def _why_whole(name: Any) -> str | None:
    """Why trees below an object of this class stay whole. None if they need not."""
    if isinstance(name, tuple) and classes.asks_for_predictions(*name):
        return None
    if isinstance(name, tuple) and classes.reads_importances(*name):
        return f"{name[1]} reads its importances"
    shown = name[1] if isinstance(name, tuple) else "what it is made of"
    return f"{shown} may read more than its predictions"
