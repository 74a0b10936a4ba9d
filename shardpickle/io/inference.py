"""Whose trees are asked for predictions alone, by what stands in skeletons. Makes nothing of them.

A dump for inference leaves out what a tree keeps of its training. Some models read just that while
they predict (`SelectFromModel` its model's importances), and what a class of somebody else's reads,
nobody knows. So a tree is cut only where every object on every way to it is known to ask for
predictions and no more (`classes.asks_for_predictions`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from shardpickle.errors import CorruptShardError
from shardpickle.pickling import outline, parser
from shardpickle.pickling.outline import Made, Reference, Value
from shardpickle.sklearn_support import classes

_LONGEST = 500  # letters of a place; a chain of models has no end


@dataclass(frozen=True, slots=True)
class Holder:
    """What is known of a part.

    Attributes
    ----------
    skeleton : bytes, optional
        Its pickle; None for a part that is one of scikit-learn's own trees.
    trees : frozenset of int
        Which of its values are trees.
    references : tuple of int
        The parts that it refers to, which come before it.
    """

    skeleton: bytes | None
    trees: frozenset[int]
    references: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Kept:
    """The parts whose trees have to stay whole, and for each place the reason."""

    parts: frozenset[int]
    reasons: tuple[str, ...]


def whole(parts: Sequence[Holder]) -> Kept:
    """Which parts have trees that are asked for more than predictions. The last one is the model.

    Reasons read as ``"steps[0][1].estimator_: SelectFromModel reads its importances"``.
    """
    search = _Search(parts)
    search.run()
    return Kept(frozenset(search.kept), tuple(search.reasons()))


class _Search:
    """Follows every way from the model to its trees.

    Each part is entered once by a way of which all is known, and once by one of which it is not.
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
            for place in outline.join_paths(each.lstrip(".") for each in places):
                yield f"{place or 'the model'}: {reason}"

    def follow(self, number: int, path: str, reason: str | None) -> bool:
        """Enter a part later, if there is a reason to: whether there is."""
        state = number, reason is not None
        # What was reached below something unknown needs no other visit.
        new = self.bearing[number] and not self.reached & {state, (number, True)}
        if new:
            self.reached.add(state)
            self.todo.append((number, path, reason))
        return new

    def enter(self, number: int, path: str, reason: str | None) -> None:
        part = self.parts[number]
        if part.skeleton is None:
            if reason is not None:
                self.kept.add(number)
            for child in part.references:  # parameters, such as a generator that all trees share
                self.follow(child, path, reason)
            return
        try:
            walk = _Walk(parser.read(part.skeleton, _All()), reason)
        except CorruptShardError:  # the dump says so
            self.keep_all(number, path, "it cannot be looked into")
            return
        missed = {~tree for tree in part.trees}
        missed |= {at for at, other in enumerate(part.references) if self.bearing[other]}
        for place, found, why, here in walk.found():
            missed.discard(found)
            where = path + place if len(path) < _LONGEST else path
            if found >= 0:
                new = self.follow(part.references[found], where, why)
                if new and here and why is not None:
                    self.note(why, where)
            elif ~found in part.trees and why is not None:
                self.kept.add(number)
                if here:
                    self.note(why, where)
        if missed:
            self.keep_all(number, path, "it is held in a way that is not known")

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
    """What a part refers to, and its values: where, and why trees there stay whole.

    References have their numbers, values `~` theirs.
    """

    def __init__(self, members: Any, reason: str | None) -> None:
        self.given = reason
        self.seen: set[tuple[int, bool]] = set()
        self.todo: list[tuple[Any, str, str | None, Any]] = [
            (each, "", reason, None) for each in reversed(members)
        ]

    def found(self) -> Iterator[tuple[str, int, str | None, bool]]:
        """The place, the number, the reason, and whether it was found in this part."""
        while self.todo:
            obj, path, reason, holder = self.todo.pop()
            if isinstance(obj, Reference):
                yield path, obj.number, reason, self.given is None
            elif isinstance(obj, Value):
                if type(obj.pid) is int:
                    if reason is None and not classes.is_tree_name(holder):
                        reason = "it is no tree of a known estimator"
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
        below = [(each, path + step, reason, holder) for each, step in _held(obj)]
        self.todo.extend(reversed(below))


def _held(obj: Any) -> Iterator[tuple[Any, str]]:
    if isinstance(obj, Made):
        yield from ((each, f".{name}") for name, each in outline.attributes(obj).items())
        yield from ((each, "") for each in (obj.args, obj.items, obj.name))
        if isinstance(obj.state, tuple) and len(obj.state) == 5:  # an array of objects
            yield obj.state[4], ".flat"
        elif isinstance(obj.state, tuple):  # attributes, and those in slots
            yield from ((each, "") for each in obj.state[1:])
        elif not isinstance(obj.state, dict):
            yield obj.state, ""
    elif isinstance(obj, dict):
        yield from ((each, f"[{key!r}]") for key, each in obj.items())
    elif isinstance(obj, (list, tuple)):
        yield from ((each, f"[{at}]") for at, each in enumerate(obj))
    elif isinstance(obj, set):
        yield from ((each, "") for each in obj)
    elif isinstance(obj, _Items):
        yield from ((each, "") for each in obj.held)


@dataclass(frozen=True, slots=True, eq=False)
class _Items:
    """Things that stand in a set, or beside keys of any kind in a dict."""

    held: Sequence[Any]


class _All(outline.Plain):
    """Makes plain data in which nothing is left out, whatever it would be in a real object."""

    def new(self, cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return Made(cls, (*args, *kwargs.values()))

    def build(self, instance: Any, state: Any) -> None:
        if not isinstance(instance, Made):
            raise CorruptShardError("a state of what has none")
        instance.state = state

    def update(self, target: Any, items: list[tuple[Any, Any]]) -> None:
        plain = [pair for pair in items if isinstance(pair[0], (str, int, float, bytes))]
        odd = [pair for pair in items if not isinstance(pair[0], (str, int, float, bytes))]
        super().update(target, plain)
        if odd and isinstance(target, dict):
            target[f"a key {len(target)}"] = _Items(odd)
        elif odd and isinstance(target, Made):
            target.items.append(_Items(odd))

    def add(self, target: Any, items: list[Any]) -> None:
        if isinstance(target, set):
            target.add(_Items(items))
        else:
            super().add(target, items)


def _why_whole(name: Any) -> str | None:
    """Why trees below what is made of a name stay whole; None if they need not."""
    if isinstance(name, tuple) and classes.asks_for_predictions(*name):
        return None
    if isinstance(name, tuple) and classes.reads_importances(*name):
        return f"{name[1]} reads its importances"
    shown = name[1] if isinstance(name, tuple) else "what it is made of"
    return f"{shown} may read more than its predictions"
