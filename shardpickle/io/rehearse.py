"""Rehearses a default load of a model that is being dumped. Knows no files and no shards.

Runs the skeletons through the constructors, limits and checks of `rebuild.Hardened`, on the model's
own arrays, so a published model loads. Classes that are not trusted are imitated: none of their
code runs.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from shardpickle.errors import RebuildError, RefusedError
from shardpickle.io.rebuild import make_members
from shardpickle.pickling import machine
from shardpickle.pickling.values import Value
from shardpickle.sklearn_support import migrations
from shardpickle.trust import checks as natives
from shardpickle.trust import names, rules
from shardpickle.trust.hardened import Ledger, Makers, Vetted
from shardpickle.trust.rules import Imitation, Name

Reference = tuple[int, int]


class Rehearsal:
    """A default load of parts before they are stored, one after the other.

    Parameters
    ----------
    references : sequence
        Of each part: (part, object in it).
    equals : sequence of int, optional
        For each part the first equal one, mostly itself.
    most : int, optional
        Most bytes of Python objects that all parts may make (`hardened.Ledger`). Default: no limit.
    stored : bool, default False
        The parts come from a directory, which may be anybody's. Then names that are not trusted are
        not imported, and trees have no nodes, so nothing reads these.

    Attributes
    ----------
    names : dict
        Names that a default load asks for, in the order of their first use.
    lifted : dict
        Vetted names that need trust all the same, and what they do beyond what is vetted.
    refusal : RefusedError or None
        The first refusal that no trusted name lifts. Only ``unsafe=True`` loads such a model.
    heap : dict
        Bytes of Python objects that each part makes (`hardened.Ledger`).
    """

    def __init__(
        self,
        references: Sequence[Sequence[Reference]],
        equals: Sequence[int] = (),
        most: int | None = None,
        *,
        stored: bool = False,
    ) -> None:
        self.names: dict[Name, None] = {}
        self.lifted: dict[str, str] = {}
        self.refusal: RefusedError | None = None
        self.heap: dict[int, int] = {}
        self._references = references
        self._left = Counter(
            part for references_of_part in references for part, _ in references_of_part
        )
        self._equals = equals or range(len(references))
        self._left.update(self._equals)
        self._stored = stored
        self._objects: dict[int, Sequence[Any]] = {}
        self._known: dict[Name, Any] = {}
        self._makers = Makers(())
        self._trusts = rules.Trusts((Imitation,))
        self._ledger = Ledger(most)
        self._imitated = False
        self._last: tuple[machine.Steps, Sequence[Reference], Sequence[Any], int] | None = None

    def put(self, number: int, objects: Sequence[Any]) -> None:
        """Add the objects of a part that is not made here, since it stays in its shard."""
        self._objects[number] = objects

    def part(self, number: int, steps: machine.Steps, values: Sequence[Any]) -> None:
        """Make the objects of a part, after those that it refers to."""
        references = self._references[number]
        if (
            not values
            and self._last is not None
            and self._last[0] is steps
            and self._last[1] == references
        ):
            _, _, self._objects[number], self.heap[number] = self._last
            self._drop(number)
            return
        for name in machine.names(steps):
            self._know(name)
        before = self._ledger.spent
        while True:
            self._ledger.spent = before
            try:
                self._objects[number] = self._make(number, steps, values)
                break
            except RefusedError as error:
                lifted = [name for name in error.names if not self._lift(name, error.what)]
                if lifted or not error.names:
                    self.refuse(error, number)
                    self._objects[number] = _Unmade()
                    break
            except RebuildError as error:
                self.refuse(RefusedError(str(error)), number)
                self._objects[number] = _Unmade()
                break
            finally:
                self._ledger.checks.clear()
        self.heap[number] = self._ledger.spent - before
        self._last = steps, references, self._objects[number], self.heap[number]
        self._drop(number)

    def is_known(self, number: int) -> bool:
        """Whether an equal part with the same references has been made."""
        first = self._equals[number]
        return first in self.heap and self._references[first] == self._references[number]

    def repeat(self, number: int) -> None:
        """Use the objects of an equal part that has been made."""
        first = self._equals[number]
        self._objects[number] = self._objects[first]
        self.heap[number] = self.heap[first]
        self._drop(number)

    def _drop(self, number: int) -> None:
        """Drop objects that no part needs any more."""
        for part in (self._equals[number], *(part for part, _ in self._references[number])):
            self._left[part] -= 1
            if not self._left[part]:
                self._objects.pop(part, None)

    def _make(self, number: int, steps: machine.Steps, values: Sequence[Any]) -> Sequence[Any]:
        references = [self._objects[part][index] for part, index in self._references[number]]
        targets = {name: self._known[name].target for name in machine.names(steps)}
        construct = _Rehearsed(
            targets, self._makers, values, references, migrations.state, self._ledger
        )
        members = make_members(steps, construct)
        self._imitated |= construct.imitated
        with natives.share_run(own=self._makers.is_own, hollow=self._stored):
            for _, instance, checks in self._ledger.checks:
                problem = natives.find_problem(instance, checks, _skip_check)
                if problem and not (self._imitated and problem.crashes):
                    raise construct.listed(self._makers.refusal(problem))
        return members

    @property
    def needs_trust(self) -> tuple[str, ...]:
        """All names that a default load asks for."""
        return (*(".".join(name) for name in self.names), *self.lifted)

    def _know(self, name: Name) -> None:
        if name in self._known:
            return
        verdict = names.judge(name)
        if verdict is None:
            self.names[name] = None
        if verdict != "vetted" and self._stored:
            self._learn(name, names.imitate(name, Imitation()))
            return
        (target,) = names.resolve_any([name]).values()
        vetted = verdict == "vetted"
        self._learn(
            name,
            names.make_known(name, target, self._trusts) if vetted else names.imitate(name, target),
        )

    def _learn(self, name: Name, known: names.Known) -> None:
        self._known[name] = known
        if known.own:
            self._trusts.add(known.target)
        self._makers.add(known)

    def _lift(self, dotted: str, what: str) -> bool:
        """Imitate a vetted class, since it may do more if it is trusted by name."""
        for name, known in list(self._known.items()):
            if ".".join(name) == dotted and not known.own and names.is_offered(name):
                self.lifted[dotted] = what
                self._learn(name, names.imitate(name, known.target))
                return True
        return False

    def refuse(self, error: RefusedError, number: int | None = None) -> None:
        """Note a refusal that no trusted name lifts."""
        if self.refusal is None:
            error.part = number
            self.refusal = error


class _Unmade(Sequence[Any]):
    """The objects of a refused part: imitations at every index."""

    def __getitem__(self, index: Any) -> Any:
        return Imitation()

    def __len__(self) -> int:
        return 1


class _Rehearsed(Vetted):
    """Lets imitations take any arguments, states and items."""

    imitated = False

    def _register(self, instance: Any, maker: rules.Maker) -> Any:
        self.imitated |= type(instance) is Imitation
        return super()._register(instance, maker)

    def call(self, function: Any, args: tuple[Any, ...]) -> Any:
        if _holds_imitation(args):
            self.imitated = True
            return Imitation()
        return super().call(function, args)

    def build(self, instance: Any, state: Any) -> None:
        if type(instance) is Imitation:
            return
        if type(state) is tuple and _holds_imitation(state):
            self.fresh.pop(id(instance), None)
            self.imitated = True
        else:
            super().build(instance, state)

    def extend(self, target: Any, items: list[Any]) -> None:
        if type(target) is not Imitation:
            super().extend(target, items)

    def update(self, target: Any, items: list[tuple[Any, Any]]) -> None:
        if type(target) is not Imitation:
            super().update(target, items)

    def add(self, target: Any, items: list[Any]) -> None:
        if type(target) is not Imitation:
            super().add(target, items)


def _holds_imitation(args: tuple[Any, ...]) -> bool:
    return any(type(arg) is Imitation for arg in args)


def original(value: Value) -> Any:
    """The object that left the skeleton."""
    if isinstance(value.source, memoryview):  # of a pickle buffer
        return value.source.tobytes() if value.kind == "bytes" else bytearray(value.source)
    return value.source


def _skip_check(member: Any, check: natives.Check) -> None:
    """Skip checks of estimators in existing shards, which were checked when written."""
