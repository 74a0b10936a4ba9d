"""From a part's skeleton, values and references to its objects: hardened, or as pickle would.

Knows no file and no column; is given all that left the skeleton.
"""

import io
import pickle
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from shardpickle.errors import CorruptModelError, CorruptShardError, RefusedError
from shardpickle.format.contents import Contents
from shardpickle.format.manifest import PartEntry, part_heap
from shardpickle.pickling import machine, parser
from shardpickle.sklearn_support import migrations
from shardpickle.trust import checks
from shardpickle.trust.checks import Later
from shardpickle.trust.hardened import Ledger, Makers, Vetted, check_instances
from shardpickle.trust.names import Known
from shardpickle.trust.rules import Name
from shardpickle.trust.unrestricted import Migrate, Objects, find_outside, guard


class Skeletons:
    """The skeletons of a shard, parsed: each once, whatever the number of parts that share it.

    `most` is what one of them may make (`machine.Steps.heap`); None for no limit.
    """

    def __init__(self, held: Contents, texts: dict[bytes, str], most: int | None) -> None:
        self._numbers: list[int] = held.directory[1].tolist()
        self._skeletons = held.skeleton_list()
        self._texts = texts
        self._left = Counter(self._numbers)
        self._parsed: dict[int, machine.Steps] = {}
        self._most = most

    def number(self, slot: int) -> int:
        """Which skeleton a part has; parts that share one have the same number."""
        return self._numbers[slot]

    def raw(self, slot: int) -> bytes:
        """The skeleton of a part, a pickle."""
        return self._skeletons[self._numbers[slot]]

    def once(self, slot: int) -> machine.Steps:
        """The steps of a part's skeleton, which are not kept."""
        return parser.parse(self.raw(slot), self._texts, self._most)

    def steps(self, slot: int) -> machine.Steps:
        """The steps of a part's skeleton; kept for as long as another part needs them."""
        number = self._numbers[slot]
        parsed = self._parsed.get(number)
        if parsed is None:
            parsed = parser.parse(self._skeletons[number], self._texts, self._most)
            self._parsed[number] = parsed
        self._left[number] -= 1
        if self._left[number] <= 0:
            del self._parsed[number]
        return parsed


def check_members(members: Any, part: PartEntry) -> None:
    if type(members) is not tuple or len(members) != part.objects:
        raise CorruptShardError("a part has another number of objects")


class Rebuilder(Protocol):
    """Makes the objects of one part after the other, children before parents."""

    most: int | None  # bytes of Python objects that it may make; None for no limit

    def again(self, adapt: Migrate) -> "Rebuilder":
        """One with the same names that has made nothing yet.

        `adapt` does what `migrations.state` does, and may do more to the states of a lazy model.
        """

    def target(self, part: PartEntry) -> Any:
        """What the part's class, as the manifest calls it, is here; None if it is not named."""

    def members(
        self,
        number: int,
        part: PartEntry,
        skeletons: Skeletons,
        values: Sequence[Any],
        references: Sequence[Any],
    ) -> tuple[Any, ...]:
        """The objects of a part."""

    def check(self, odd: Sequence[Any], later: Later | None = None) -> None:
        """Refuse a whole model that compiled code could not bear; `odd` trees are any columns'.

        `later` is told what has to be checked of estimators that are not loaded yet.
        """


class Hardened:
    """What trusted names allow, checked again when the model is whole.

    Parameters
    ----------
    listed : sequence
        The names that the manifest lists.
    known : mapping
        What each of them stands for.
    most : int or None
        What all skeletons may make (`hardened.Ledger`); None for no limit.
    """

    def __init__(
        self,
        listed: Sequence[Name],
        known: Mapping[Name, Known],
        most: int | None,
        adapt: Migrate = migrations.state,
    ) -> None:
        self._listed = listed
        self._known = known
        self._makers = Makers(known.values())
        # By identity, as like parts share a list of names that may be long; it is kept with them.
        self._names: dict[int, tuple[Sequence[int], dict[Name, Any]]] = {}
        self.most = most
        self.ledger = Ledger(most)
        self._adapt = adapt

    def again(self, adapt: Migrate) -> "Hardened":
        return Hardened(self._listed, self._known, self.most, adapt)

    def target(self, part: PartEntry) -> Any:
        return _named(part, self._listed, lambda name: self._known[name].target)

    def members(
        self,
        number: int,
        part: PartEntry,
        skeletons: Skeletons,
        values: Sequence[Any],
        references: Sequence[Any],
    ) -> tuple[Any, ...]:
        _, names = self._names.get(id(part.names), (None, None))
        if names is None:
            listed = [self._listed[name] for name in part.names]
            names = {name: self._known[name].target for name in listed}
            self._names[id(part.names)] = part.names, names
        self.ledger.part = number
        steps = skeletons.steps(part.slot)
        made = Vetted(names, self._makers, values, references, self._adapt, self.ledger)
        return members_of(steps, made)

    def check(self, odd: Sequence[Any], later: Later | None = None) -> None:
        with checks.share_run(own=self._makers.is_own):
            for tree in odd:
                problem = checks.find_problem(tree, [checks.check_tree])
                if problem:
                    raise CorruptModelError(f"a tree that would crash: {problem.text}")
            check_instances(self.ledger, self._makers, later)


def members_of(steps: machine.Steps, made: Vetted) -> tuple[Any, ...]:
    """The objects of one part, as a default load makes them: for reading, and before publishing."""
    made.ledger.spend(part_heap(len(made.values), len(made.references)) + steps.heap)
    try:
        members: tuple[Any, ...] = machine.run(steps, made)
        made.finish()
    except RefusedError as error:
        raise made.listed(error) from None
    return members


class Anything:
    """Whatever the file says, as pickle does; `unsafe=True`.

    CPython's unpickler serves where nothing has to be translated between releases.
    """

    def __init__(
        self,
        listed: Sequence[Name],
        names: Mapping[Name, Any],
        *,
        same_releases: bool,
        adapt: Migrate = migrations.state,
    ) -> None:
        self.most: int | None = None
        self._listed = listed
        self._names = names
        self._same_releases = same_releases
        self._adapt = adapt

    def again(self, adapt: Migrate) -> "Anything":
        return Anything(self._listed, self._names, same_releases=False, adapt=adapt)

    def target(self, part: PartEntry) -> Any:
        return _named(part, self._listed, self._names.__getitem__)

    def members(
        self,
        number: int,
        part: PartEntry,
        skeletons: Skeletons,
        values: Sequence[Any],
        references: Sequence[Any],
    ) -> tuple[Any, ...]:
        if self._same_releases:
            reader = _Unpickler(skeletons.raw(part.slot), self._names, values, references)
            members: tuple[Any, ...] = guard(reader, reader.load)
            return members
        made = Objects(self._names, values, references, self._adapt)
        found: tuple[Any, ...] = machine.run(skeletons.steps(part.slot), made)
        return found

    def check(self, odd: Sequence[Any], later: Later | None = None) -> None:
        return None


def _named(part: PartEntry, listed: Sequence[Name], target: Callable[[Name], Any]) -> Any:
    names = [listed[number] for number in part.names]
    return next((target(name) for name in names if ".".join(name) == part.kind), None)


class _Unpickler(pickle.Unpickler):
    def __init__(
        self,
        skeleton: bytes,
        names: Mapping[Name, Any],
        values: Sequence[Any],
        references: Sequence[Any],
    ) -> None:
        super().__init__(io.BytesIO(skeleton))
        self._names = names
        self._outside = values, references

    def find_class(self, module: str, name: str) -> Any:
        return self._names[module, name]

    def persistent_load(self, pid: Any) -> Any:
        return find_outside(pid, *self._outside)
