"""What a skeleton may make by default: only what the makers of trusted names allow.

A skeleton sets the state only of instances that it has made itself, and only once. What compiled
code relies on is noted in the ledger, and checked when the model is whole.
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
from shardpickle.trust.rules import Imitation, Maker, Name, is_note, list_names, refused
from shardpickle.trust.unrestricted import Migrate, find_outside, guard, show, unlisted


class Makers:
    """What may be made with each trusted object on the stack, by its identity."""

    def __init__(self, known: Iterable[Known]) -> None:
        self._known = tuple(known)  # kept alive, so that no identity is reused
        self._of = {id(entry.target): entry.maker for entry in self._known if entry.maker}
        self._of |= {id(target): maker for target, maker in OF_CLASS_METHODS}
        self._own = {id(entry.target) for entry in self._known if entry.own}

    def add(self, known: Known) -> None:
        """Add a name, or replace its maker."""
        self._known = (*self._known, known)
        self._of.pop(id(known.target), None)
        if known.maker:
            self._of[id(known.target)] = known.maker
        if known.own:
            self._own.add(id(known.target))

    def of(self, target: Any) -> Maker | None:
        return self._of.get(id(target))

    def is_own(self, target: Any) -> bool:
        """Whether the caller, or a package that vouches for it, trusts a target by name."""
        return id(target) in self._own or target is Imitation

    def refusal(self, problem: Problem) -> RefusedError:
        """Return the error for an instance that a load must not return."""
        return refused(
            problem.text, *(name for thing in problem.things for name in list_names(thing))
        )


class Ledger:
    """The instances of a load that have to be checked in the end, and its budget of bytes.

    Parameters
    ----------
    most : int or None
        Bytes of Python objects that skeletons may make (`machine.Steps.heap`), with what they copy
        and hash; None for no limit. `spent` counts what they have used, which a writer declares.
    """

    def __init__(self, most: int | None) -> None:
        self.checks: list[tuple[int, Any, tuple[Check, ...]]] = []
        self.part = 0
        self.spent = 0
        # By identity, of deques, default dicts and arrays of objects, which are kept alive here.
        self.heights: dict[int, tuple[Any, int]] = {}
        self._most = most

    @property
    def left(self) -> int | None:
        return None if self._most is None else max(0, self._most - self.spent)

    def height_of(self, container: Any) -> int:
        """How deep containers are nested, counting those that C frees recursively."""
        return self.heights.get(id(container), (None, 0))[1]

    def spend(self, nbytes: int) -> None:
        """Count bytes that are made, copied or hashed; raise above what the manifest declares."""
        self.spent += nbytes
        if self._most is not None and self.spent > self._most:
            raise CorruptShardError(_TOO_MUCH)

    def note(self, instance: Any) -> None:
        """Note an instance that has to be checked when the model is whole."""
        checks = natives.get_checks(type(instance))  # type: ignore[arg-type]  # mypy: type[Any]
        if checks:
            self.checks.append((self.part, instance, checks))


def check_instances(ledger: Ledger, makers: Makers, later: Later | None = None) -> None:
    """Raise if an instance in a ledger is misplaced, or compiled code could crash on it."""
    for part, instance, checks in ledger.checks:
        problem = natives.find_problem(instance, checks, later)
        if problem:
            error = makers.refusal(problem)
            error.part = part
            raise error


class Keys:
    """Counts the cost of hashing and comparing keys, container by container.

    Tuples nested sixty deep, each holding the next one twice, have 2**60 items. Tuples and large
    integers can be made to have equal hashes, so that each is compared with all before it. Strings
    cannot, without knowing this process's hash secret.
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
            value = guard(key, hash, key)
            hashes[value] += 1
            if hashes[value] > 1:  # compared with the other keys of this hash
                self._ledger.spend(weight * _KEY * (hashes[value] - 1))

    def _weight(self, key: Any) -> int:
        """Count the objects of a key. Those that Python code hashes and compares count more."""
        count = 0
        left = [(key, 0)]
        most = self._ledger.left
        while left:
            item, depth = left.pop()
            count += 1
            if _get_hash(item) in (_get_hash(()), _get_hash(frozenset())):
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
                raise refused("a key of too many objects")
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


def _get_hash(key: Any) -> Any:
    return type(key).__hash__


def _is_value(key: Any) -> bool:
    if isinstance(key, int):
        return key.bit_length() <= 1 << 12
    return isinstance(key, _VALUE_KEYS) or _get_hash(key) is object.__hash__


class Vetted:
    """A `machine.Construct` for one part: does only what trusted names allow.

    Parameters
    ----------
    names : mapping
        The target of each global that the manifest lists for this part.
    makers : Makers
        The makers of all the model's names: a function can come from another part.
    values, references, migrate
        The same as those of `Objects`.
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
        self.fresh: dict[int, tuple[Any, Maker]] = {}  # made here, without a state so far
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
        value = find_outside(pid, self.values, self.references)
        if isinstance(value, _CONTAINERS):
            self.others.add(id(value))
        if isinstance(value, np.dtype) and value.hasobject and not has_apart(value):
            raise CorruptShardError("a dtype whose objects share bytes with other fields")
        return value

    def call(self, function: Any, args: tuple[Any, ...]) -> Any:
        maker = self.makers.of(function)
        if maker is None or maker.call is None:
            raise refused(f"a call of {show(function)}", *list_names(function))
        self.ledger.spend(maker.heap + _ITEM * sum(map(_count_items, args)))
        return self._register(guard(function, maker.call, *args), maker)

    def new(self, cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        maker = self.makers.of(cls)
        if maker is None or maker.new is None:
            raise refused(f"an instance of {show(cls)}", *list_names(cls))
        return self._register(guard(cls, maker.new, args, kwargs), maker)

    def _register(self, instance: Any, maker: Maker) -> Any:
        if maker.build is not None or isinstance(instance, _CONTAINERS):
            self.fresh[id(instance)] = instance, maker
        self.ledger.note(instance)
        return instance

    def build(self, instance: Any, state: Any) -> None:
        known, maker = self.fresh.pop(id(instance), (None, None))
        if maker is None or maker.build is None or known is not instance:
            raise CorruptShardError(f"a state for {show(instance)}, which was not made here")
        self.ledger.spend(_ITEM * _count_items(state))
        if maker.unfinished:  # compiled, and copies its arrays
            self.ledger.spend(sum(array.nbytes for array in _list_arrays(state)))
        if type(state) is dict:
            check_attributes(state, maker.named)
        elif maker.named and _is_pair(state) and not hasattr(type(instance), "__setstate__"):
            check_names(state[0] or {}, named=True)
        guard(instance, _build, maker.build, instance, state, self.migrate)
        if isinstance(instance, np.ndarray) and type(state) is tuple and type(state[-1]) is list:
            self._nest(instance, state[-1])

    def extend(self, target: Any, items: list[Any]) -> None:
        self._need_own(target)
        if type(target) is list:
            target += items
        elif id(target) in self.fresh and isinstance(target, (list, deque)):
            self._nest(target, items)
            guard(target, target.extend, items)
        else:
            raise CorruptShardError(f"items for {show(target)}")

    def update(self, target: Any, items: list[tuple[Any, Any]]) -> None:
        self._need_own(target)
        if type(target) is not dict and not (id(target) in self.fresh and isinstance(target, dict)):
            raise CorruptShardError(f"items for {show(target)}")
        self.keys.check(target, (key for key, _ in items))
        if type(target) is dict:
            guard(target, target.update, items)
            return
        if _items_are_attributes(type(target)):
            check_names(dict(items), named=self.fresh[id(target)][1].named)
        self._nest(target, [value for _, value in items])
        for key, value in items:
            guard(target, target.__setitem__, key, value)

    def _nest(self, target: Any, items: Iterable[Any]) -> None:
        """Bound how deep containers are nested that C frees recursively."""
        within = max(map(self.ledger.height_of, items), default=0)
        height = max(self.ledger.height_of(target), within + 1)
        if height > _DEEPEST_CONTAINER:
            raise refused("containers nested too deeply")
        self.ledger.heights[id(target)] = target, height

    def _need_own(self, target: Any) -> None:
        """Raise if another part made a container: what was checked must not change."""
        if id(target) in self.others:
            raise CorruptShardError(f"items for {show(target)} of another part")

    def frozen(self, items: list[Any]) -> Any:
        self.keys.check(items, items)
        return guard(frozenset, frozenset, items)

    def add(self, target: Any, items: list[Any]) -> None:
        self._need_own(target)
        if not (type(target) is set or (id(target) in self.fresh and isinstance(target, set))):
            raise CorruptShardError(f"items for {show(target)}")
        self.keys.check(target, items)
        for item in items:
            guard(target, target.add, item)

    def listed(self, error: RefusedError) -> RefusedError:
        """Return a refusal with the names that this file uses: a function can have several."""
        called = {}
        for name, target in self.names.items():
            called.update(dict.fromkeys(list_names(target), ".".join(name)))
        again = error.located(path=error.path)
        again.names = {called.get(name, name): place for name, place in error.names.items()}
        again.offered = tuple(again.names)
        return again

    def finish(self) -> None:
        """Raise if an instance never got its state: compiled code could crash on it."""
        for instance, maker in self.fresh.values():
            if maker.unfinished:
                raise CorruptShardError(f"{show(instance)} without a state")


def check_names(attributes: Mapping[Any, Any], *, named: bool) -> None:
    """Raise if Python or NumPy would look an attribute up by itself (``__array_interface__``).

    All of these begin and end with two underscores, so CatBoost's ``__model`` is allowed. If the
    caller trusts the class by name, harmless names are allowed, too (``__version__``): not
    callables, nothing that says what the object is, no memory that could be read.
    """
    for name, value in attributes.items():
        if not (isinstance(name, str) and name.startswith("__") and name.endswith("__")):
            continue
        if is_note(name, value):
            continue
        if not named or callable(value) or name in _PROTOCOLS or _MEMORY.search(name):
            raise refused(f"an attribute {name[:40]}")


# What Python looks up in objects, classes and functions, without what merely describes them.
_PROTOCOLS = frozenset(
    {name for kind in (object, type, FunctionType, MethodType) for name in dir(kind)}
    | {f"__{name}__" for name in ("weakref", "slots", "bases", "mro", "wrapped", "signature")}
) - {f"__{name}__" for name in ("doc", "name", "qualname", "module", "annotations")}
_MEMORY = re.compile("array|buffer|interface|struct|dlpack|arrow|dataframe|stream|capsule")


def _items_are_attributes(kind: Any) -> bool:
    """Whether a dict's class may serve its items as attributes, as `Bunch` does."""
    return hasattr(kind, "__getattr__") or type(kind.__getattribute__) is not WrapperDescriptorType


def _is_pair(state: Any) -> bool:
    """Whether a state is a pair of attributes and slots."""
    return (
        type(state) is tuple
        and len(state) == 2
        and all(half is None or type(half) is dict for half in state)
    )


def check_attributes(state: dict[Any, Any], named: bool = False) -> None:
    """Raise if attributes have invalid names, or an invalid scikit-learn version."""
    check_names(state, named=named)
    if any(type(name) is not str for name in state):
        raise refused("an attribute whose name is not a string")
    version = state.get("_sklearn_version")
    if version is not None and (type(version) is not str or len(version) > 40):
        raise refused("an invalid version")


def _count_items(value: Any) -> int:
    """Count the items that a call or a state copies. A dict's, which are hashed, count more."""
    if isinstance(value, np.ndarray):
        return value.size
    if type(value) in (tuple, list):
        return len(value) + sum(
            _weigh_items(item) for item in value if type(item) in (dict, list, tuple)
        )
    return _weigh_items(value) if isinstance(value, (dict, str, bytes)) else 1


def _list_arrays(state: Any) -> list[np.ndarray[Any, Any]]:
    values = state.values() if isinstance(state, dict) else state if type(state) is tuple else ()
    return [value for value in values if isinstance(value, np.ndarray)]


def _weigh_items(value: Any) -> int:
    return len(value) * (_OF_DICT if isinstance(value, dict) else 1)


def _build(build: Callable[[Any, Any], None], instance: Any, state: Any, migrate: Migrate) -> None:
    build(instance, migrate(instance, state))


_CONTAINERS = (list, dict, set, deque)
_ITEM = 16  # bytes of a ledger for each item that is copied
_OF_DICT = 8  # how many of these an item of a dict counts
_PARSED = 128  # bytes of a ledger for each letter of a dtype with fields
