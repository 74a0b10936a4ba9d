"""What a skeleton may make by default: what the makers of trusted names allow, and nothing else.

State is given only to instances that this very skeleton has made, and once. What compiled code
would trust is noted in the ledger, to be checked when the model is whole.
"""

import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePath
from types import BuiltinFunctionType, FunctionType, MethodType, WrapperDescriptorType
from typing import Any
from uuid import UUID

import numpy as np

from shardpickle.codecs.dtypes import has_apart
from shardpickle.errors import CorruptShardError, RefusedError
from shardpickle.trust import checks as natives
from shardpickle.trust.checks import Check, Later, Problem
from shardpickle.trust.names import OF_CLASS_METHODS, Known
from shardpickle.trust.rules import Imitation, Maker, Name, is_note, name_of, refused
from shardpickle.trust.unrestricted import Migrate, guarded, outside, shown, unlisted


class Makers:
    """What may be made with each trusted thing that stands on the stack, by its identity."""

    def __init__(self, known: Iterable[Known]) -> None:
        self._known = tuple(known)  # alive, so that identities stay theirs
        self._of = {id(entry.target): entry.maker for entry in self._known if entry.maker}
        self._of |= {id(target): maker for target, maker in OF_CLASS_METHODS}
        self._own = {id(entry.target) for entry in self._known if entry.own}

    def add(self, known: Known) -> None:
        """Another one, or another maker of one that is known."""
        self._known = (*self._known, known)
        self._of.pop(id(known.target), None)
        if known.maker:
            self._of[id(known.target)] = known.maker
        if known.own:
            self._own.add(id(known.target))

    def of(self, target: Any) -> Maker | None:
        return self._of.get(id(target))

    def is_own(self, target: Any) -> bool:
        """Whether the caller (or a package that vouches for it) trusts it by name."""
        return id(target) in self._own or target is Imitation

    def refusal(self, problem: Problem) -> RefusedError:
        """The error for an instance that must not be handed out."""
        return refused(problem.text, *(name for thing in problem.things for name in name_of(thing)))


class Ledger:
    """What a load has made that has to be checked in the end, and what it may still make.

    Parameters
    ----------
    most : int or None
        Bytes of Python objects that skeletons may make (`machine.Steps.heap`), with what they copy
        and hash; None for no limit. `spent` is what they have taken so far: what a writer declares.
    """

    def __init__(self, most: int | None) -> None:
        self.checks: list[tuple[int, Any, tuple[Check, ...]]] = []
        self.part = 0
        self.spent = 0
        # By identity, of deques, dicts that make values, and arrays of objects, which live on here.
        self.heights: dict[int, tuple[Any, int]] = {}
        self._most = most

    @property
    def left(self) -> int | None:
        return None if self._most is None else max(0, self._most - self.spent)

    def height_of(self, container: Any) -> int:
        """How many containers stand in each other, as far as they are freed one in the other."""
        return self.heights.get(id(container), (None, 0))[1]

    def spend(self, nbytes: int) -> None:
        """Count what is made, copied or hashed; refuse more than the manifest declares."""
        self.spent += nbytes
        if self._most is not None and self.spent > self._most:
            raise CorruptShardError(_TOO_MUCH)

    def made(self, instance: Any) -> None:
        checks = natives.checks_of(type(instance))  # type: ignore[arg-type]  # mypy: type[Any]
        if checks:
            self.checks.append((self.part, instance, checks))


def check_instances(ledger: Ledger, makers: Makers, later: Later | None = None) -> None:
    """Refuse what a ledger holds if it stands where it must not, or compiled code could crash."""
    for part, instance, checks in ledger.checks:
        problem = natives.problem(instance, checks, later)
        if problem:
            error = makers.refusal(problem)
            error.part = part
            raise error


class Keys:
    """Counts what hashing and comparing keys takes, container by container.

    A tuple that holds itself twice, sixty times over, has 2**60 items; and tuples and large numbers
    can be made to have equal hashes, so that each is compared with all before it. Strings cannot,
    without knowing this process's secret.
    """

    def __init__(self, ledger: Ledger, makers: Makers) -> None:
        self._ledger = ledger
        self._makers = makers
        self._hashes: dict[int, tuple[Any, Counter[int]]] = {}  # of odd keys, by their container

    def check(self, target: Any, keys: Iterable[Any]) -> None:
        for key in keys:
            kind = type(key)
            if kind in _PLAIN_KEYS and (kind is not int or -_PRIME < key < _PRIME):
                continue
            weight = self._weight(key)
            self._ledger.spend(weight * _KEY)
            known = self._hashes.get(id(target))
            if known is None:
                known = self._hashes[id(target)] = target, Counter()
            hashes = known[1]
            value = guarded(key, hash, key)
            hashes[value] += 1
            if hashes[value] > 1:  # compared with the others of this hash
                self._ledger.spend(weight * _KEY * (hashes[value] - 1))

    def _weight(self, key: Any) -> int:
        """How many objects a key is made of; those that Python code compares count more."""
        count = 0
        left = [(key, 0)]
        most = self._ledger.left
        while left:
            item, depth = left.pop()
            count += 1
            if _hash_of(item) in (_hash_of(()), _hash_of(frozenset())):
                if depth >= _DEEPEST_KEY:
                    raise refused("a key nested too deeply")
                odd = [(inner, depth + 1) for inner in item if type(inner) not in _PLAIN_KEYS]
                count += len(item) - len(odd)
                left += odd
            elif type(item) not in _PLAIN_KEYS:
                if not (_is_value(item) or self._makers.is_own(type(item))):
                    raise refused(f"a key of type {type(item).__qualname__}")
                count += 1 if isinstance(item, _COMPILED_KEYS) else _SLOW_KEY
            if most is not None and count * _KEY > most:
                raise CorruptShardError(_TOO_MUCH)
            if count * _KEY > _MOST_KEY:
                raise refused("a key of very many objects")
        return count


_DEEPEST_CONTAINER = 200
_TOO_MUCH = "its skeletons make more objects than the manifest declares"
_KEY = 128  # bytes of a ledger that stand for hashing one object of a key
_MOST_KEY = 1 << 30
_DEEPEST_KEY = 1000  # hashing recurses in C; pickle's own recursion ends before
_PRIME = 2**61 - 1  # sys.hash_info.modulus: larger integers can have equal hashes
_PLAIN_KEYS = frozenset(
    {str, bytes, int, float, bool, type(None), type(...), np.str_, np.bytes_, np.bool_}
    | {np.dtype(code).type for code in "bhilqBHILQefd"}
)
_COMPILED_KEYS = (np.generic, np.ufunc, complex, int, date, time, timedelta, Decimal, type)
_VALUE_KEYS = (*_COMPILED_KEYS, Fraction, PurePath, UUID, FunctionType, BuiltinFunctionType)
_SLOW_KEY = 40  # hashed and compared by Python code


def _hash_of(key: Any) -> Any:
    return type(key).__hash__


def _is_value(key: Any) -> bool:
    if isinstance(key, int):
        return key.bit_length() <= 1 << 12
    return isinstance(key, _VALUE_KEYS) or _hash_of(key) is object.__hash__


class Vetted:
    """An `machine.Construct` for one part: what trusted names allow, and nothing else.

    Parameters
    ----------
    names : mapping
        What each global that the manifest lists for this part stands for.
    makers : Makers
        Of all the model's names: a function can come from another part.
    values, references, migrate
        As for `Objects`.
    ledger : Ledger
        Notes what has to be checked once the model is whole.
    """

    def __init__(
        self,
        names: Mapping[Name, Any],
        makers: Makers,
        values: Sequence[Any],
        references: Sequence[Any],
        migrate: Migrate,
        ledger: Ledger,
    ) -> None:
        self.names = names
        self.makers = makers
        self.values = values
        self.references = references
        self.migrate = migrate
        self.ledger = ledger
        self.keys = Keys(ledger, makers)
        self.fresh: dict[int, tuple[Any, Maker]] = {}  # what was made here and has no state yet
        self.others: set[int] = set()  # containers of other parts, which have been checked

    def find(self, module: str, name: str) -> Any:
        try:
            return self.names[module, name]
        except KeyError:
            raise unlisted(module, name) from None

    def persistent(self, pid: Any) -> Any:
        if type(pid) in (str, tuple):
            text = pid if type(pid) is str else str(pid[0]) if pid else ""
            self.ledger.spend(len(text) * (_PARSED if text[:1] in ("{", "[") else 1))
        value = outside(pid, self.values, self.references)
        if isinstance(value, _CONTAINERS):
            self.others.add(id(value))
        if isinstance(value, np.dtype) and value.hasobject and not has_apart(value):
            raise CorruptShardError("a dtype whose objects share bytes with other fields")
        return value

    def call(self, function: Any, args: tuple[Any, ...]) -> Any:
        maker = self.makers.of(function)
        if maker is None or maker.call is None:
            raise refused(f"a call of {shown(function)}", *name_of(function))
        self.ledger.spend(maker.heap + _ITEM * sum(map(_length, args)))
        return self._made(guarded(function, maker.call, *args), maker)

    def new(self, cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        maker = self.makers.of(cls)
        if maker is None or maker.new is None:
            raise refused(f"an instance of {shown(cls)}", *name_of(cls))
        return self._made(guarded(cls, maker.new, args, kwargs), maker)

    def _made(self, instance: Any, maker: Maker) -> Any:
        if maker.build is not None or isinstance(instance, _CONTAINERS):
            self.fresh[id(instance)] = instance, maker
        self.ledger.made(instance)
        return instance

    def build(self, instance: Any, state: Any) -> None:
        known, maker = self.fresh.pop(id(instance), (None, None))
        if maker is None or maker.build is None or known is not instance:
            raise CorruptShardError(f"a state for {shown(instance)}, which was not made here")
        self.ledger.spend(_ITEM * _length(state))
        if maker.unfinished:  # compiled, and copies its arrays
            self.ledger.spend(sum(array.nbytes for array in _arrays_of(state)))
        if type(state) is dict:
            check_attributes(state, maker.named)
        elif maker.named and _is_pair(state) and not hasattr(type(instance), "__setstate__"):
            check_names(state[0] or {}, named=True)
        guarded(instance, _build, maker.build, instance, state, self.migrate)
        if isinstance(instance, np.ndarray) and type(state) is tuple and type(state[-1]) is list:
            self._nest(instance, state[-1])

    def extend(self, target: Any, items: list[Any]) -> None:
        self._need_own(target)
        if type(target) is list:
            target += items
        elif id(target) in self.fresh and isinstance(target, (list, deque)):
            self._nest(target, items)
            guarded(target, target.extend, items)
        else:
            raise CorruptShardError(f"items for {shown(target)}")

    def update(self, target: Any, items: list[tuple[Any, Any]]) -> None:
        self._need_own(target)
        if type(target) is not dict and not (id(target) in self.fresh and isinstance(target, dict)):
            raise CorruptShardError(f"items for {shown(target)}")
        self.keys.check(target, (key for key, _ in items))
        if type(target) is dict:
            guarded(target, target.update, items)
            return
        if _items_are_attributes(type(target)):
            check_names(dict(items), named=self.fresh[id(target)][1].named)
        self._nest(target, [value for _, value in items])
        for key, value in items:
            guarded(target, target.__setitem__, key, value)

    def _nest(self, target: Any, items: Iterable[Any]) -> None:
        """Bound how deep containers stand in each other that C frees one inside the other."""
        within = max(map(self.ledger.height_of, items), default=0)
        height = max(self.ledger.height_of(target), within + 1)
        if height > _DEEPEST_CONTAINER:
            raise refused("containers nested too deeply in each other")
        self.ledger.heights[id(target)] = target, height

    def _need_own(self, target: Any) -> None:
        """Only the skeleton that makes a container fills it: what was checked stays as it was."""
        if id(target) in self.others:
            raise CorruptShardError(f"items for {shown(target)} of another part")

    def frozen(self, items: list[Any]) -> Any:
        self.keys.check(items, items)
        return guarded(frozenset, frozenset, items)

    def add(self, target: Any, items: list[Any]) -> None:
        self._need_own(target)
        if not (type(target) is set or (id(target) in self.fresh and isinstance(target, set))):
            raise CorruptShardError(f"items for {shown(target)}")
        self.keys.check(target, items)
        for item in items:
            guarded(target, target.add, item)

    def listed(self, error: RefusedError) -> RefusedError:
        """A refusal that calls names as this file does: a function can have several."""
        called = {}
        for name, target in self.names.items():
            called.update(dict.fromkeys(name_of(target), ".".join(name)))
        again = error.located(path=error.path)
        again.names = {called.get(name, name): place for name, place in error.names.items()}
        again.offered = tuple(again.names)
        return again

    def finish(self) -> None:
        """Refuse what compiled code cannot bear: instances that never got their state."""
        for instance, maker in self.fresh.values():
            if maker.unfinished:
                raise CorruptShardError(f"{shown(instance)} without a state")


def check_names(attributes: Mapping[Any, Any], *, named: bool) -> None:
    """Refuse attributes that Python and NumPy ask for by themselves (``__array_interface__``).

    All of these end as they begin; CatBoost's ``__model`` is nobody's but its own. Where the
    caller trusts the class by name, what is asked for by nobody is taken (``__version__``): no
    method, which would be called, nothing that says what the object is, no memory to be read.
    """
    for name, value in attributes.items():
        if not (isinstance(name, str) and name.startswith("__") and name.endswith("__")):
            continue
        if is_note(name, value):
            continue
        if not named or callable(value) or name in _PROTOCOLS or _MEMORY.search(name):
            raise refused(f"an attribute {name[:40]}")


# What objects, classes and functions are asked for, but for what merely describes them.
_PROTOCOLS = frozenset(
    {name for kind in (object, type, FunctionType, MethodType) for name in dir(kind)}
    | {f"__{name}__" for name in ("weakref", "slots", "bases", "mro", "wrapped", "signature")}
) - {f"__{name}__" for name in ("doc", "name", "qualname", "module", "annotations")}
_MEMORY = re.compile("array|buffer|interface|struct|dlpack|arrow|dataframe|stream|capsule")


def _items_are_attributes(kind: Any) -> bool:
    """Whether a dict's class may look its items up as attributes, as `Bunch` does."""
    return hasattr(kind, "__getattr__") or type(kind.__getattribute__) is not WrapperDescriptorType


def _is_pair(state: Any) -> bool:
    """Whether a state is attributes and slots."""
    return (
        type(state) is tuple
        and len(state) == 2
        and all(half is None or type(half) is dict for half in state)
    )


def check_attributes(state: dict[Any, Any], named: bool = False) -> None:
    """Refuse names that no class gives its attributes, and a release that none is called."""
    check_names(state, named=named)
    if any(type(name) is not str for name in state):
        raise refused("an attribute whose name is no string")
    version = state.get("_sklearn_version")
    if version is not None and (type(version) is not str or len(version) > 40):
        raise refused("an invalid version")


def _length(value: Any) -> int:
    """Items that a call or a state copies; those of a dict are hashed, too."""
    if isinstance(value, np.ndarray):
        return value.size
    if type(value) in (tuple, list):
        return len(value) + sum(_items(item) for item in value if type(item) in (dict, list, tuple))
    return _items(value) if isinstance(value, (dict, str, bytes)) else 1


def _arrays_of(state: Any) -> list[np.ndarray[Any, Any]]:
    values = state.values() if isinstance(state, dict) else state if type(state) is tuple else ()
    return [value for value in values if isinstance(value, np.ndarray)]


def _items(value: Any) -> int:
    return len(value) * (_OF_DICT if isinstance(value, dict) else 1)


def _build(build: Callable[[Any, Any], None], instance: Any, state: Any, migrate: Migrate) -> None:
    build(instance, migrate(instance, state))


_CONTAINERS = (list, dict, set, deque)
_ITEM = 16  # bytes of a ledger for each item that is copied, and how much one of a dict counts
_OF_DICT = 8
_PARSED = 128  # bytes of a ledger for each letter of a dtype with fields
