"""Reads pickles of other libraries: pickle, joblib, cloudpickle, dill; protocols 0 to 5.

The loop is that of our skeletons (`machine`), with all opcodes that Python 3's picklers emit, and
with the ways in which NumPy and joblib store arrays. Names are resolved as for our own files:
`hardened` by default, or as pickle does if the caller says so.

A file is read twice. The first reading makes nothing. It lists the names and the memo entries that
the file fetches, so the second reading holds no more than the model. States of compiled classes are
translated on their way to the installed release's layout (`migrations`).
"""

import _codecs
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from shardpickle.errors import CorruptShardError
from shardpickle.format.entries import HEAP
from shardpickle.io.foreign_makers import (
    BY_DILL,
    DILL_TYPES,
    TRANSPORT,
    dill_array,
    dtype_state,
    latin,
    make_dtype,
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
    """The names in a pickle, and the memo entries (numbered as they are written) that it fetches.

    `stored_names` are the names as in the file, `names` are today's names for them. `versions` are
    the scikit-learn versions of its estimators. `swapped` says whether some arrays have another
    byte order than this machine.
    """

    names: tuple[Name, ...]
    fetched: frozenset[int]
    stored_names: tuple[Name, ...]
    versions: frozenset[str]
    swapped: bool


def survey(data: Bytes) -> Survey:
    """List the names in a pickle. Makes no objects.

    Raises
    ------
    CorruptShardError
        If Python 3 cannot have written the pickle.
    """
    listing = _Listing()
    reader = Reader(data, listing, None)
    reader.read_file()
    return Survey(
        tuple(listing.names),
        frozenset(reader.fetched),
        tuple(listing.stored_names),
        frozenset(listing.versions),
        listing.swapped,
    )


def read(data: Bytes, listing: Survey, known: Mapping[Name, Known]) -> Any:
    """Load the object of a pickle with trusted names only, and check it.

    Parameters
    ----------
    data : bytes or mmap
        The pickle.
    listing : Survey
        The result of `survey`.
    known : mapping
        The target of each name and how it may be made, with those of `TRANSPORT`.

    Raises
    ------
    CorruptShardError
        If it does something that shardpickle does not allow, or is no pickle.
    """
    ledger = Ledger(HEAP + len(data) * _HEAP_OF_BYTE)
    targets = {name: entry.target for name, entry in known.items()}
    makers = Makers([*BY_DILL, *TRANSPORT.values(), *known.values()])
    construct = _VettedForeign(targets, makers, (), (), _Adapter(listing.swapped), ledger)
    obj = Reader(data, construct, listing.fetched).read_file()
    construct.finish()
    with checks.share_run(own=makers.is_own):
        check_instances(ledger, makers)
    return obj


def read_anything(data: Bytes, listing: Survey, targets: Mapping[Name, Any]) -> Any:
    """Load the object of a pickle as pickle itself does. Runs any code in the file."""
    construct = _AnyForeign(targets, (), (), _Adapter(listing.swapped))
    obj = Reader(data, construct, listing.fetched).read_file()
    if any(module == DILL for module, _ in listing.names):
        _point_to_main(obj)
    return obj


def _point_to_main(obj: Any) -> None:
    """Give an instance the class in ``__main__``, not the file's copy of it, as dill does."""
    cls = type(obj)
    if cls.__module__ == "__main__" and hasattr(sys.modules["__main__"], cls.__name__):
        with suppress(AttributeError, TypeError):  # of another layout
            obj.__class__ = getattr(sys.modules["__main__"], cls.__name__)


DILL = "dill._dill"


def main_names() -> dict[Name, Any]:
    """Names that only dill's files have: the namespace of the reading program, and a type.

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
    """Whether a name shows that the file holds code, which only `unsafe` loads."""
    module, function = name
    by_others = module in (DILL, "cloudpickle.cloudpickle", "cloudpickle.cloudpickle_fast")
    return by_others or function in ("CodeType", "FunctionType") or name in main_names()


_HEAP_OF_BYTE = 1 << 10  # the most that a byte can make; most bytes are read once


# Names of pickle's own machinery, which are not part of a model. ----------------------------------


DILL_TYPES |= {each.__name__: each for each in (frozenset, range, slice)}


_TOO_OLD = {("joblib.numpy_pickle", "NDArrayWrapper"), ("joblib.numpy_pickle", "ZNDArrayWrapper")}


class _AnyForeign(Objects):
    def find(self, module: str, name: str) -> Any:
        return super().find(*gone_names.translate_name(module, name))

    def build(self, instance: Any, state: Any) -> None:
        guard(instance, _set_any_state, instance, state, self.migrate)


def _set_any_state(instance: Any, state: Any, adapt: Callable[[Any, Any], Any]) -> None:
    """Set a state as pickle does: dill's states of functions are set like slots."""
    state = adapt(instance, state)
    has_setstate = getattr(instance, "__setstate__", None) is not None
    if has_setstate or type(state) is not tuple or len(state) != 2:
        set_state(instance, state)
        return
    set_state(instance, (state[0], None))
    for name, value in (state[1] or {}).items():
        setattr(instance, name, value)


class _VettedForeign(Vetted):
    """Also makes instances and sets as older protocols do."""

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
            frozen = super().frozen(members)
            return frozen if function is frozenset else set(frozen)
        return super().call(function, foreign_states.translate_arguments(function, args))


_NEW = tuple(TRANSPORT["copyreg", name].target for name in ("__newobj__", "__newobj_ex__"))


class _Adapter:
    """Translates states to the installed release and this machine.

    An object that two estimators share is changed once, and stays shared.
    """

    def __init__(self, swapped: bool) -> None:
        self.changed: dict[int, Any] = {}  # trees, kept alive so that identities are not reused
        self.native = _Native().convert if swapped else None

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
    """Converts the arrays in a state and its containers to this machine's byte order.

    pickle leaves arrays as they were written. NumPy computes with such arrays, but compiled code
    refuses them.
    """

    def __init__(self) -> None:
        self.seen: dict[int, tuple[Any, Any]] = {}  # old value (kept alive) and new value

    def convert(self, value: Any, depth: int = 0) -> Any:
        if type(value) not in _CONTAINERS or depth > _DEEPEST:
            return value
        if id(value) not in self.seen:
            self.seen[id(value)] = value, value  # a container that holds itself
            self.seen[id(value)] = value, self._convert(value, depth + 1)
        return self.seen[id(value)][1]

    def _convert(self, value: Any, depth: int) -> Any:
        if type(value) is tuple:
            converted = tuple(self.convert(item, depth) for item in value)
            return (
                converted
                if any(a is not b for a, b in zip(converted, value, strict=True))
                else value
            )
        if type(value) in (list, dict):
            pairs: Iterable[Any] = value.items() if type(value) is dict else enumerate(value)
            for key, item in list(pairs):
                if type(item) in _CONTAINERS:
                    value[key] = self.convert(item, depth)
            return value
        if value.dtype.hasobject:
            flat = value.reshape(-1, order="A") if value.flags.forc else value.flat
            for place, item in enumerate(flat):
                if type(item) in _CONTAINERS:
                    flat[place] = self.convert(item, depth)
            return value
        if value.dtype.isnative:
            return value
        # Zeros: between the fields of a record, memory must not be left as it was found.
        converted = np.zeros_like(value, dtype=value.dtype.newbyteorder("="))
        converted[...] = value
        return converted


_CONTAINERS = (tuple, list, dict, np.ndarray, np.memmap, np.matrix)
_DEEPEST = 8


# Reading. -----------------------------------------------------------------------------------------


class _Listing:
    """A `Construct` that makes only what it needs to find the ends of joblib's arrays."""

    def __init__(self) -> None:
        self.names: dict[Name, None] = {}
        self.stored_names: dict[Name, None] = {}
        self.versions: set[str] = set()
        self.swapped = False
        self.unknown: list[np.dtype[Any]] = []

    def find(self, module: str, name: str) -> Any:
        if (module, name) in _TOO_OLD:
            raise CorruptShardError(
                "written by joblib 0.9 or older, which keeps arrays in separate files: load it "
                "with joblib, then dump the model"
            )
        self.stored_names[module, name] = None
        module, name = gone_names.translate_name(module, name)
        self.names[module, name] = None
        carrier = TRANSPORT.get((module, name))
        return carrier.target if carrier else SKIPPED

    def persistent(self, pid: Any) -> Any:
        return SKIPPED

    def call(self, function: Any, args: tuple[Any, ...]) -> Any:
        if function is np.dtype or function is _codecs.encode:
            with suppress(CorruptShardError):
                return make_dtype(*args) if function is np.dtype else latin(*args)
        if function in _MAKING and args and args[0] is Wrapper:
            return Wrapper()
        return SKIPPED

    def new(self, cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return Wrapper() if cls is Wrapper else SKIPPED

    def build(self, instance: Any, state: Any) -> None:
        if isinstance(instance, Wrapper):
            wrapper_state(instance, state)
            if any(instance.dtype is dtype for dtype in self.unknown):
                raise refused("an array of a dtype that is not described as NumPy does it")
        elif isinstance(instance, np.dtype):
            try:
                dtype_state(instance, state)
            except CorruptShardError:  # harmless unless one of joblib's arrays has it
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
