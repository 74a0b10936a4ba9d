"""Pickles that others wrote, to their objects: pickle, joblib, cloudpickle, dill; protocols 0 to 5.

The loop is that of our skeletons (`machine`), with the opcodes that Python 3's picklers emit beside
those of ours, and NumPy's and joblib's ways to store arrays. What names mean is decided as for our
own files: `hardened` by default, as pickle would where the caller says so.

A file is read twice. The first time nothing is made: which names it has, and which memo entries it
fetches, so that the second time holds no more than the model. States of compiled classes are lifted
on their way and brought to the installed release's layout (`migrations`).
"""

import _codecs
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from shardpickle.errors import CorruptShardError
from shardpickle.format.manifest import HEAP
from shardpickle.io.foreign_makers import (
    BY_DILL,
    DILL_TYPES,
    TRANSPORT,
    dill_array,
    dtype_state,
    latin,
    made_dtype,
    wrapper_state,
)
from shardpickle.pickling.dialects import LONG, SKIPPED, Bytes, Reader, Wrapper, need
from shardpickle.sklearn_support import foreign_states, gone_names, migrations
from shardpickle.trust import checks
from shardpickle.trust.hardened import Ledger, Makers, Vetted, check_instances
from shardpickle.trust.names import Known
from shardpickle.trust.rules import Name, refused, set_state
from shardpickle.trust.unrestricted import Objects, guard


@dataclass(frozen=True, slots=True)
class Survey:
    """What a pickle names, and the memo entries (counted as they are written) that it fetches.

    `asked` are the names as the file has them, `names` what they are called today. `versions` are
    those of scikit-learn that estimators were fitted under; `swapped` tells whether there are
    arrays of another byte order than this machine's.
    """

    names: tuple[Name, ...]
    fetched: frozenset[int]
    asked: tuple[Name, ...]
    versions: frozenset[str]
    swapped: bool


def survey(data: Bytes) -> Survey:
    """What a pickle names. Makes nothing of it.

    Raises
    ------
    CorruptShardError
        If it is no pickle that Python 3 could have written.
    """
    listing = _Listing()
    reader = Reader(data, listing, None)
    reader.whole()
    return Survey(
        tuple(listing.names),
        frozenset(reader.fetched),
        tuple(listing.asked),
        frozenset(listing.versions),
        listing.swapped,
    )


def read(data: Bytes, surveyed: Survey, known: Mapping[Name, Known]) -> Any:
    """The object of a pickle, made of what trusted names allow, and checked.

    Parameters
    ----------
    data : bytes or mmap
        The pickle.
    surveyed : Survey
        What `survey` said of it.
    known : mapping
        What each of its names stands for, and how it may be made; `TRANSPORT` beside the model's.

    Raises
    ------
    CorruptShardError
        If it does what shardpickle does not allow, or is no pickle.
    """
    ledger = Ledger(HEAP + len(data) * _HEAP_OF_BYTE)
    targets = {name: each.target for name, each in known.items()}
    makers = Makers([*BY_DILL, *TRANSPORT.values(), *known.values()])
    made = _VettedForeign(targets, makers, (), (), _Adapted(surveyed.swapped), ledger)
    found = Reader(data, made, surveyed.fetched).whole()
    made.finish()
    with checks.share_run(own=makers.is_own):
        check_instances(ledger, makers)
    return found


def read_anything(data: Bytes, surveyed: Survey, targets: Mapping[Name, Any]) -> Any:
    """The object of a pickle, as pickle itself would make it: runs whatever the file says."""
    made = _AnyForeign(targets, (), (), _Adapted(surveyed.swapped))
    found = Reader(data, made, surveyed.fetched).whole()
    if any(module == DILL for module, _ in surveyed.names):
        _point_to_main(found)
    return found


def _point_to_main(found: Any) -> None:
    """As dill does: an instance is of the class that ``__main__`` has, not of the file's copy."""
    cls = type(found)
    if cls.__module__ == "__main__" and hasattr(sys.modules["__main__"], cls.__name__):
        with suppress(AttributeError, TypeError):  # of another layout
            found.__class__ = getattr(sys.modules["__main__"], cls.__name__)


DILL = "dill._dill"


def of_main() -> dict[Name, Any]:
    """What only dill's files name: the namespace of the program that reads them, and a type.

    Sources: ``find_class`` and ``save_module_dict`` of dill's ``_dill.py``. In protocols that call
    things as Python 2 did, the module is ``builtins`` once that is undone.
    """
    main = vars(sys.modules["__main__"])
    return {
        (module, name): target
        for module in ("__builtin__", "builtins")
        for name, target in (("__main__", main), ("NoneType", type(None)))
    }


def carries_code(name: Name) -> bool:
    """Whether a name tells that code itself is in the file, which `unsafe` alone reads."""
    module, function = name
    by_others = module in (DILL, "cloudpickle.cloudpickle", "cloudpickle.cloudpickle_fast")
    return by_others or function in ("CodeType", "FunctionType") or name in of_main()


_HEAP_OF_BYTE = 1 << 10  # a byte makes that much at most, and most bytes are read once


# Names that stand for how a pickle carries things, not for what a model is made of. ---------------


DILL_TYPES |= {each.__name__: each for each in (frozenset, range, slice)}


_TOO_OLD = {("joblib.numpy_pickle", "NDArrayWrapper"), ("joblib.numpy_pickle", "ZNDArrayWrapper")}


class _AnyForeign(Objects):
    def find(self, module: str, name: str) -> Any:
        return super().find(*gone_names.translate_name(module, name))

    def build(self, instance: Any, state: Any) -> None:
        guard(instance, _any_state, instance, state, self.migrate)


def _any_state(instance: Any, state: Any, adapted: Callable[[Any, Any], Any]) -> None:
    """As pickle does it: what dill keeps of a function are no slots, but is set as if it were."""
    state = adapted(instance, state)
    own = getattr(instance, "__setstate__", None) is not None
    if own or type(state) is not tuple or len(state) != 2:
        set_state(instance, state)
        return
    set_state(instance, (state[0], None))
    for name, value in (state[1] or {}).items():
        setattr(instance, name, value)


class _VettedForeign(Vetted):
    """Also the ways in which older protocols make instances and sets."""

    def find(self, module: str, name: str) -> Any:
        return super().find(*gone_names.translate_name(module, name))

    def call(self, function: Any, args: tuple[Any, ...]) -> Any:
        name = getattr(function, "__name__", "")
        if function is TRANSPORT["copyreg", "_reconstructor"].target:
            need(len(args) == 3 and args[1:] == (object, None), "an instance of something else")
            return self.new(args[0], (), {})
        if name in ("__newobj__", "__newobj_ex__") and function in _NEW:
            need(args, "an instance of nothing")
            if name == "__newobj__":
                return self.new(args[0], args[1:], {})
            need(len(args) == 3 and type(args[1]) is tuple and type(args[2]) is dict, name)
            return self.new(*args)
        if function is dill_array:
            need(
                3 <= len(args) <= 4 and type(args[1]) is tuple and not any(args[3:]),
                "an array of dill's",
            )
            array = self.call(*args[:2])
            self.build(array, args[2])
            return array
        if function is set or function is frozenset:
            need(not args or (len(args) == 1 and type(args[0]) is list), "a set of other things")
            members = args[0] if args else []
            made = super().frozen(members)
            return made if function is frozenset else set(made)
        return super().call(function, foreign_states.translate_arguments(function, args))


_NEW = tuple(TRANSPORT["copyreg", name].target for name in ("__newobj__", "__newobj_ex__"))


class _Adapted:
    """States as the installed release and this machine have them.

    What two estimators hold is changed only once, and stays what both of them hold.
    """

    def __init__(self, swapped: bool) -> None:
        self.changed: dict[int, Any] = {}  # trees, alive, so that identities stay theirs
        self.native = _Native().of if swapped else None

    def __call__(self, instance: Any, state: Any) -> Any:
        if self.native is not None and migrations.is_a_librarys(instance):
            state = self.native(state)
        state = foreign_states.translate_state(instance, state)
        tree = foreign_states.find_counting_tree(instance, state)
        if tree is not None and id(tree) not in self.changed:
            self.changed[id(tree)] = tree
            foreign_states.to_fractions(tree)
        return migrations.state(instance, state)


class _Native:
    """Arrays in a state, also in the containers in it, in this machine's byte order.

    pickle itself leaves them as they were written. NumPy computes with such arrays; what is
    compiled refuses them.
    """

    def __init__(self) -> None:
        self.seen: dict[int, tuple[Any, Any]] = {}  # what was there, alive, and what is now

    def of(self, value: Any, depth: int = 0) -> Any:
        if type(value) not in _HOLDING or depth > _DEEPEST:
            return value
        if id(value) not in self.seen:
            self.seen[id(value)] = value, value  # a container that holds itself
            self.seen[id(value)] = value, self._made(value, depth + 1)
        return self.seen[id(value)][1]

    def _made(self, value: Any, depth: int) -> Any:
        if type(value) is tuple:
            made = tuple(self.of(each, depth) for each in value)
            return made if any(a is not b for a, b in zip(made, value, strict=True)) else value
        if type(value) in (list, dict):
            pairs: Iterable[Any] = value.items() if type(value) is dict else enumerate(value)
            for key, each in list(pairs):
                if type(each) in _HOLDING:
                    value[key] = self.of(each, depth)
            return value
        if value.dtype.hasobject:
            flat = value.reshape(-1, order="A") if value.flags.forc else value.flat
            for place, each in enumerate(flat):
                if type(each) in _HOLDING:
                    flat[place] = self.of(each, depth)
            return value
        if value.dtype.isnative:
            return value
        # Zeros: between the fields of a record, memory must not be left as it was found.
        made = np.zeros_like(value, dtype=value.dtype.newbyteorder("="))
        made[...] = value
        return made


_HOLDING = (tuple, list, dict, np.ndarray, np.memmap, np.matrix)
_DEEPEST = 8


# Reading. -----------------------------------------------------------------------------------------


class _Listing:
    """A `Construct` that makes nothing but what it takes to find the ends of joblib's arrays."""

    def __init__(self) -> None:
        self.names: dict[Name, None] = {}
        self.asked: dict[Name, None] = {}
        self.versions: set[str] = set()
        self.swapped = False
        self.unknown: list[np.dtype[Any]] = []

    def find(self, module: str, name: str) -> Any:
        if (module, name) in _TOO_OLD:
            raise CorruptShardError(
                "written by joblib 0.9 or older, which keeps arrays in files beside it: load it "
                "with joblib, and dump the model"
            )
        self.asked[module, name] = None
        module, name = gone_names.translate_name(module, name)
        self.names[module, name] = None
        known = TRANSPORT.get((module, name))
        return known.target if known else SKIPPED

    def persistent(self, pid: Any) -> Any:
        return SKIPPED

    def call(self, function: Any, args: tuple[Any, ...]) -> Any:
        if function is np.dtype or function is _codecs.encode:
            with suppress(CorruptShardError):
                return made_dtype(*args) if function is np.dtype else latin(*args)
        if function in _MAKING and args and args[0] is Wrapper:
            return Wrapper()
        return SKIPPED

    def new(self, cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return Wrapper() if cls is Wrapper else SKIPPED

    def build(self, instance: Any, state: Any) -> None:
        if isinstance(instance, Wrapper):
            wrapper_state(instance, state)
            if any(instance.dtype is each for each in self.unknown):
                raise refused("an array of a dtype that is not described as NumPy does it")
        elif isinstance(instance, np.dtype):
            try:
                dtype_state(instance, state)
            except CorruptShardError:  # of no matter unless an array of joblib's has it
                self.unknown.append(instance)
            self.swapped |= not instance.isnative

    def frozen(self, items: list[Any]) -> Any:
        return SKIPPED

    def extend(self, target: Any, items: list[Any]) -> None:
        return None

    def update(self, target: Any, items: list[tuple[Any, Any]]) -> None:
        for key, value in items:
            if type(key) is str and key == _VERSION and type(value) is str:
                self.versions.add(value)
        # A wrapper's attributes, and a dtype's fields.
        if type(target) is dict and len(target) + len(items) <= LONG:
            target.update((key, value) for key, value in items if type(key) is str)

    def add(self, target: Any, items: list[Any]) -> None:
        return None


_MAKING = (TRANSPORT["copyreg", "_reconstructor"].target, *_NEW)
_VERSION = "_sklearn_version"
