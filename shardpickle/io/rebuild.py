"""Makes a part's objects from its skeleton, values and references: hardened, or as pickle does.

Knows no files and no columns. It is given everything that left the skeleton.
"""

import io
import pickle
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from shardpickle.errors import CorruptModelError, CorruptShardError, RefusedError
from shardpickle.format.contents import Contents
from shardpickle.format.entries import PartEntry, part_heap
from shardpickle.pickling import machine, parser
from shardpickle.sklearn_support import migrations
from shardpickle.trust import checks
from shardpickle.trust.checks import Later
from shardpickle.trust.hardened import Ledger, Makers, Vetted, check_instances
from shardpickle.trust.names import Known
from shardpickle.trust.rules import Name
from shardpickle.trust.unrestricted import Migrate, Objects, find_outside, guard


class Skeletons:
    """The parsed skeletons of a shard. Each is parsed once, however many parts share it.

    `most` limits what one skeleton may make (`machine.Steps.heap`). None means no limit.
    """

    def __init__(self, contents: Contents, texts: dict[bytes, str], most: int | None) -> None:
        self._numbers: list[int] = contents.directory[1].tolist()
        self._skeletons = contents.skeleton_list()
        self._texts = texts
        self._left = Counter(self._numbers)
        self._parsed: dict[int, machine.Steps] = {}
        self._most = most

    def number(self, slot: int) -> int:
        """The number of a part's skeleton. Parts that share one have the same number."""
        return self._numbers[slot]

    def raw(self, slot: int) -> bytes:
        """The skeleton of a part, as a pickle."""
        return self._skeletons[self._numbers[slot]]

    def once(self, slot: int) -> machine.Steps:
        """Parse a part's skeleton, and do not keep its steps."""
        return parser.parse(self.raw(slot), self._texts, self._most)

    def steps(self, slot: int) -> machine.Steps:
        """The steps of a part's skeleton, kept as long as another part needs them."""
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
        raise CorruptShardError("a part has the wrong number of objects")


class Rebuilder(Protocol):
    """Makes the objects of one part after the other, children before parents."""

    most: int | None  # most bytes of Python objects that it may make; None for no limit

    def again(self, adapt: Migrate) -> "Rebuilder":
        """A new rebuilder with the same names.

        `adapt` translates states as `migrations.state` does, and may do more for a lazy model.
        """

    def target(self, part: PartEntry) -> Any:
        """The part's class by its name in the manifest. None if the name is not listed."""

    def members(
        self,
        number: int,
        part: PartEntry,
        skeletons: Skeletons,
        values: Sequence[Any],
        references: Sequence[Any],
    ) -> tuple[Any, ...]:
        """Make the objects of a part."""

    def check(self, odd: Sequence[Any], later: Later | None = None) -> None:
        """Refuse a whole model that could crash compiled code. `odd` are trees of any columns.

        Calls `later` with checks for estimators that are not loaded yet.
        """


class Hardened:
    """Makes what trusted names allow. Checks the whole model again.

    Parameters
    ----------
    listed : sequence
        The names that the manifest lists.
    known : mapping
        The target of each name.
    most : int or None
        Limit for what all skeletons make (`hardened.Ledger`). None means no limit.
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
        # By identity: like parts share a list of names, which may be long and is kept alive here.
        self._names: dict[int, tuple[Sequence[int], dict[Name, Any]]] = {}
        self.most = most
        self.ledger = Ledger(most)
        self._adapt = adapt

    def again(self, adapt: Migrate) -> "Hardened":
        return Hardened(self._listed, self._known, self.most, adapt)

    def target(self, part: PartEntry) -> Any:
        return _find_target(part, self._listed, lambda name: self._known[name].target)

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
            part_names = [self._listed[name] for name in part.names]
            names = {name: self._known[name].target for name in part_names}
            self._names[id(part.names)] = part.names, names
        self.ledger.part = number
        steps = skeletons.steps(part.slot)
        construct = Vetted(names, self._makers, values, references, self._adapt, self.ledger)
        return make_members(steps, construct)

    def check(self, odd: Sequence[Any], later: Later | None = None) -> None:
        with checks.share_run(own=self._makers.is_own):
            for tree in odd:
                problem = checks.find_problem(tree, [checks.check_tree])
                if problem:
                    raise CorruptModelError(f"invalid tree: {problem.text}")
            check_instances(self.ledger, self._makers, later)


def make_members(steps: machine.Steps, construct: Vetted) -> tuple[Any, ...]:
    """Make the objects of a part as a default load does, when reading and before publishing."""
    construct.ledger.spend(part_heap(len(construct.values), len(construct.references)) + steps.heap)
    try:
        members: tuple[Any, ...] = machine.run(steps, construct)
        construct.finish()
    except RefusedError as error:
        raise construct.listed(error) from None
    return members


class Anything:
    """Makes anything that the file names, as pickle does (`unsafe=True`).

    Uses CPython's unpickler if no state has to be translated between releases.
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
        return _find_target(part, self._listed, self._names.__getitem__)

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
        construct = Objects(self._names, values, references, self._adapt)
        objects: tuple[Any, ...] = machine.run(skeletons.steps(part.slot), construct)
        return objects

    def check(self, odd: Sequence[Any], later: Later | None = None) -> None:
        return None


def _find_target(part: PartEntry, names: Sequence[Name], target: Callable[[Name], Any]) -> Any:
    part_names = [names[number] for number in part.names]
    return next((target(name) for name in part_names if ".".join(name) == part.kind), None)


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
