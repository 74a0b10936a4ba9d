"""How the things that a vetted name stands for may be made. Knows no bytes and no paths.

A skeleton can call a constructor, make an empty instance of a class, and give what it made its
state. For each name that is trusted, a `Maker` says which of these it may do, and with what: the
arguments are checked before anything is called. A name without a maker is a value and nothing
else. Nothing here decides which names are trusted.

What is checked, and what crashed or ran code where it was not, is told in docs/trust.md.
"""

import copyreg
import datetime
import functools
import inspect
import re
import sys
import types
import zoneinfo
from abc import ABCMeta
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import BitGenerator
from sklearn.base import BaseEstimator

from shardpickle import lazy
from shardpickle.codecs.dtypes import has_apart
from shardpickle.errors import CorruptShardError, RefusedError
from shardpickle.trust import checks, grammar
from shardpickle.trust.checks import BrokenError, is_whole

Name = tuple[str, str]
Args = tuple[Any, ...]

_MOST_ARRAYS_IN_ARRAYS = 64
_GENERATOR_BYTES = 8192  # of a Mersenne Twister, which is seeded when it is made


@dataclass(frozen=True, slots=True)
class Maker:
    """What may be done with a name; None: not that.

    ``call(*args)`` and ``new(args, kwargs)`` give an instance; ``build(instance, state)`` gives it
    its state. With `unfinished`, an instance without a state must not be handed out. With `named`,
    the caller trusts the class by name: its attributes may be called ``__version__``.
    """

    call: Callable[..., Any] | None = None
    new: Callable[[Args, Mapping[str, Any]], Any] | None = None
    build: Callable[[Any, Any], None] | None = None
    unfinished: bool = False
    heap: int = 0  # bytes of what a call makes, where that is much
    named: bool = False


def refused(what: str, *names: str) -> RefusedError:
    """The error for what is not made by default; `names` are those that a caller may trust."""
    return RefusedError(what, names)


def need(condition: Any, what: str, *names: str) -> None:
    if not condition:
        raise refused(what, *names)


# Classes whose instances are a dict of attributes -------------------------------------------------


def plain(cls: type, trusts: "Trusts") -> Maker:
    """Empty instances that are given attributes: scikit-learn's own classes, mostly."""
    if issubclass(cls, tuple):
        return Maker(new=lambda args, kwargs: _named_tuple(cls, args, kwargs))

    def build(instance: Any, state: Any) -> None:
        _plain_state(instance, state, trusts)

    return Maker(new=lambda args, kwargs: _empty(cls, args, kwargs), build=build)


# Parameters that are defaults of their classes: of LassoLars, of joblib's stores.
_REPLACED = frozenset({"positive", "location"})


def _plain_state(instance: Any, state: Any, trusts: "Trusts") -> None:
    """Attributes, none of which changes what a class says of itself.

    Data may hide a method (``model.score = 0.93``), and so may the very method and what the caller
    trusts by name; nothing else that can be called may.
    """
    need(type(state) is dict or state is None, f"a state of {type(instance).__qualname__}")
    cls = type(instance)
    for name, value in (state or {}).items():
        if hasattr(cls, name) and name not in _REPLACED and not is_note(name, value):
            hidden = inspect.getattr_static(cls, name)
            itself = (
                isinstance(value, types.MethodType)
                and value.__self__ is instance
                and value.__func__ is hidden
            )
            things = grammar.things(value)
            allowed = itself or (things and all(map(trusts, things)))
            need(
                allowed or (hasattr(hidden, "__get__") and is_data(value)),
                f"an attribute {name[:40]} that hides what the class {cls.__qualname__} has there",
                *(called for each in things or (cls,) for called in name_of(each)),
            )
    before = _BEFORE.get((cls.__module__, cls.__qualname__))
    if before is not None and state:
        before(state)
    set_state(instance, state)


def _isotonic(state: dict[str, Any]) -> None:
    for name in ("X_thresholds_", "y_thresholds_"):  # `__setstate__` interpolates between them
        value = state.get(name)
        plain_array = isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind == "f"
        need(value is None or plain_array, name)


def is_note(name: Any, value: Any) -> bool:
    """Whether an attribute is one that objects may have of their own: text about them."""
    return name in _NOTES and (value is None or type(value) is str)


_NOTES = ("__author__", "__doc__", "__version__")  # not what functions are asked for by checks


def is_data(value: Any) -> bool:
    """Whether a value is numbers, text or arrays of these: nothing to call."""
    if isinstance(value, np.ndarray):
        return not value.dtype.hasobject
    return isinstance(value, _DATA) and type(value).__module__ in ("builtins", "numpy")


_DATA = (type(None), bool, int, float, complex, str, bytes, np.generic)


def name_of(target: Any) -> tuple[str, ...]:
    """The name by which a caller may trust a class or function; none if it has none."""
    if isinstance(target, np.ufunc):  # which say no module before NumPy 2
        home = "numpy" if getattr(np, target.__name__, None) is target else "scipy.special"
        return (f"{home}.{target.__name__}",)
    module = getattr(target, "__module__", None)
    name = getattr(target, "__qualname__", getattr(target, "__name__", None))
    if type(module) is not str or type(name) is not str:
        return ()
    return (f"{module}.{name}",)


_BEFORE = {("sklearn.isotonic", "IsotonicRegression"): _isotonic}


def _empty(cls: Any, args: Args, kwargs: Mapping[str, Any]) -> Any:
    need(not args and not kwargs, f"an instance of {cls.__qualname__} with arguments")
    return cls.__new__(cls)


def _named_tuple(cls: Any, args: Args, kwargs: Mapping[str, Any]) -> Any:
    need(not kwargs and len(args) == len(cls._fields), f"a {cls.__qualname__} of other fields")
    return tuple.__new__(cls, args)


def trusted(target: Any) -> Maker | None:
    """Whatever its own code does: the caller trusts it by name."""
    if isinstance(target, type):
        return _trusted_class(target)
    return Maker(call=target, build=_trusted_state) if callable(target) else None


def _trusted_class(cls: Any) -> Maker:
    own = any({"__reduce__", "__reduce_ex__"} & set(vars(base)) for base in cls.__mro__[:-1])
    array = issubclass(cls, (np.ndarray, np.dtype, np.generic))  # theirs take bytes as pointers
    bare = array and not any("__new__" in vars(base) for base in cls.__mro__ if _is_python(base))
    return Maker(
        call=cls if (own or cls in copyreg.dispatch_table) and not array else None,
        new=None if bare else lambda args, kwargs: cls.__new__(cls, *args, **kwargs),
        build=_trusted_state,
        named=True,
    )


def _is_python(cls: type) -> bool:
    """Whether Python code made a class."""
    return bool(cls.__flags__ & _HEAP_TYPE) and cls.__module__.partition(".")[0] != "numpy"


class Imitation:
    """Stands for what code that nobody vouches for would have made, and for that code."""

    def __call__(self, *args: Any) -> "Imitation":
        return Imitation()


def imitated(target: Any) -> Maker | None:
    """As `trusted`, but nothing of the target's own code runs."""
    if isinstance(target, type) and not _has_own_code(target):
        cls: Any = target
        return Maker(new=lambda args, kwargs: cls.__new__(cls), build=set_state)
    if not callable(target):
        return None

    def made(*args: Any) -> Imitation:
        return Imitation()

    return Maker(call=made, new=made, build=lambda instance, state: None)


_OWN_CODE = frozenset(
    {
        "__new__",
        "__reduce__",
        "__reduce_ex__",
        "__setstate__",
        "__getnewargs__",
        "__hash__",
        "__eq__",
    }
    | {"__getnewargs_ex__", "__setattr__", "__setitem__", "add", "append", "extend", "__getattr__"}
    | {"__getattribute__", "__slots__"}
)
_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: a class that Python code made


def _has_own_code(cls: type) -> bool:
    """Whether to make an instance may run code of a class that is not the libraries'."""
    for base in cls.__mro__:
        if base.__module__.partition(".")[0] in ("builtins", "sklearn", "abc", "typing"):
            continue
        if not base.__flags__ & _HEAP_TYPE or _OWN_CODE & set(vars(base)):
            return True
    return issubclass(cls, (tuple, str, bytes, int, float)) or type(cls) not in (type, ABCMeta)


def _trusted_state(instance: Any, state: Any) -> None:
    if getattr(instance, "__setstate__", None) is None:
        pair = state if type(state) is tuple and len(state) == 2 else (state, None)
        need(
            all(each is None or isinstance(each, dict) for each in pair), "a state that is no dict"
        )
    set_state(instance, state)


def set_state(instance: Any, state: Any) -> None:
    """As CPython's `load_build` does it (Lib/pickle.py); slots only where the class has them."""
    setstate = getattr(instance, "__setstate__", None)
    if setstate is not None:
        setstate(state)
        return
    slots = None
    if isinstance(state, tuple) and len(state) == 2:
        state, slots = state
    if state:
        attributes = instance.__dict__
        for name, value in state.items():
            attributes[sys.intern(name) if type(name) is str else name] = value
    for name, value in (slots or {}).items():
        member = getattr(type(instance), name, None)
        need(isinstance(member, types.MemberDescriptorType), f"a slot {name!s:.40}")
        setattr(instance, name, value)


# Constructors with checked arguments --------------------------------------------------------------


def calls(check: Callable[[Args], Any]) -> Callable[[Any], Maker]:
    """Calls that get what the check lets through, and make finished things."""

    def maker(target: Any) -> Maker:
        def call(*args: Any) -> Any:
            need(check(args), f"{getattr(target, '__qualname__', target)} with other arguments")
            return target(*args)

        return Maker(call=call)

    return maker


def _of(*kinds: Any) -> Callable[[Args], bool]:
    """Up to as many arguments as there are kinds, each of exactly one of its types."""
    allowed = [kind if isinstance(kind, tuple) else (kind,) for kind in kinds]

    def check(args: Args) -> bool:
        return len(args) <= len(allowed) and all(
            type(each) in kind for each, kind in zip(args, allowed, strict=False)
        )

    return check


_INT = (int, type(None))
_BOUND = (int, float, str, type(None))
_REAL = (int, float)


def _type_of(args: Args) -> bool:
    return len(args) == 1 and (args[0] is None or args[0] is ... or args[0] is NotImplemented)


def _time(args: Args) -> bool:
    zone = len(args) == 1 or isinstance(args[1], (datetime.timezone, zoneinfo.ZoneInfo))
    return 1 <= len(args) <= 2 and type(args[0]) is bytes and zone


def _deque(args: Args) -> bool:
    return not args or (len(args) <= 2 and args[0] == () and type(args[-1]) in (tuple, int))


def _counter(args: Args) -> bool:
    return len(args) <= 1 and all(type(each) is dict for each in args)


def _path(args: Args) -> bool:
    return len(args) < 100 and all(type(each) is str and len(each) < 4096 for each in args)


# All but DEBUG, which would print.
_PATTERN_FLAGS = int(re.A | re.I | re.L | re.M | re.S | re.U | re.X)


def _pattern(args: Args) -> bool:
    """A regular expression; one that would take for ever takes as long when it is used."""
    known = len(args) == 2 and type(args[0]) in (str, bytes) and len(args[0]) <= 1 << 16
    flags = (
        re.ASCII | re.IGNORECASE | re.LOCALE | re.MULTILINE | re.DOTALL | re.VERBOSE | re.UNICODE
    )
    return known and isinstance(args[1], int) and not args[1] & ~int(flags)  # DEBUG would print


def _logger(args: Args) -> bool:
    """A logger by its name, which the process keeps."""
    return len(args) <= 1 and all(type(each) is str and len(each) <= 200 for each in args)


def _fraction(args: Args) -> bool:
    return _of(int, int)(args) and all(each.bit_length() <= 1 << 12 for each in args)


def _spline(target: Any) -> Maker:
    """A spline: attributes, or, since SciPy 1.18, another spline and an array of a namespace."""
    plain_maker = plain(target, Trusts(()))

    def build(instance: Any, state: Any) -> None:
        if type(state) is not tuple:
            _plain_state(instance, state, Trusts(()))
            return
        delegates = len(state) == 2 and type(state[0]).__name__ == "_BSpline"
        known = delegates and type(state[0]).__module__ == target.__module__
        need(known and type(state[1]) is np.ndarray, "not a spline")
        need(type(vars(state[0]).get("t")) is np.ndarray, "a spline without knots")
        instance.__setstate__(state)

    return Maker(new=plain_maker.new, build=build)


def _uuid(target: Any) -> Maker:
    def build(instance: Any, state: Any) -> None:
        fits = type(state) is dict and set(state) == {"int"} and is_whole(state["int"], 0, 1 << 128)
        need(fits, "a UUID of another state")
        instance.__setstate__(state)

    return Maker(
        new=lambda args, kwargs: _empty(target, args, kwargs), build=build, unfinished=True
    )


def _namespace(target: Any) -> Maker:
    def build(instance: Any, state: Any) -> None:
        need(type(state) is dict and all(type(key) is str for key in state), "a namespace")
        instance.__dict__.update(state)

    return Maker(call=calls(lambda args: not args)(target).call, build=build)


# NumPy's arrays of objects: their bytes never come from a skeleton


def _reconstruct(target: Any) -> Maker:
    def call(*args: Any) -> Any:
        fits = len(args) == 3 and args[1:] == ((0,), b"b") and args[0] in (np.ndarray, np.matrix)
        need(fits, "an array with other arguments")
        return target(*args)

    return Maker(call=call, build=array_state, unfinished=True)


def array_state(array: Any, state: Any) -> None:
    need(type(state) is tuple and len(state) == 5, "an array's state")
    version, shape, dtype, fortran, content = state
    need(version == 1 and type(fortran) is bool and isinstance(dtype, np.dtype), "an array's state")
    sizes = type(shape) is tuple and all(type(size) is int and size >= 0 for size in shape)
    need(sizes and len(shape) <= 32, "an array's shape")
    count = 1
    for size in shape:
        need(size < 1 << 40, "an array's shape")
        count *= size
        need(count < 1 << 40, "an array's shape")
    if dtype.hasobject:
        fields = dtype.names is None or all(type(each) is tuple for each in content)
        need(type(content) is list and has_apart(dtype) and fields, "an array of objects")
        need(len(content) == count, "an array of another number of objects")
        depth = 1 + max(
            (_depth(each) for each in content if isinstance(each, np.ndarray)), default=0
        )
        need(depth <= _MOST_ARRAYS_IN_ARRAYS, "arrays nested too deeply")
    elif is_string_dtype(dtype):
        need(type(content) is list and len(content) == count, "an array of another number")
        missing = getattr(dtype, "na_object", None)
        need(all(type(each) is str or each is missing for each in content), "an array of text")
    else:
        need(type(content) is bytes and len(content) == count * dtype.itemsize, "an array's bytes")
    array.__setstate__(state)


def is_string_dtype(dtype: Any) -> bool:
    """Whether a dtype is NumPy's `StringDType` (NumPy 2)."""
    return type(dtype).__name__ == "StringDType" and type(dtype).__module__ == "numpy.dtypes"


def _string_dtype(args: Args) -> bool:
    known = all(each is None or type(each) in (bool, int, float, str) for each in args)
    return len(args) in (1, 2) and args[0] in (0, 1) and known


def _masked_array(target: Any) -> Maker:
    """NumPy's way to pickle a masked array; a skeleton of ours calls the class."""

    def call(*args: Any) -> Any:
        bases = [(np.ma.MaskedArray, base, (0,), "b") for base in (np.ndarray, np.memmap)]
        need(args in bases, "a masked array")
        return target(*args)

    def build(instance: Any, state: Any) -> None:
        need(type(state) is tuple and len(state) == 7 and state[0] == 1, "a masked array's state")
        _, shape, dtype, fortran, content, mask, fill = state
        for each, kept in ((dtype, content), (np.dtype(bool), mask)):
            array_state(np.ndarray(0), (1, shape, each, fortran, kept))
        need(not dtype.names and not isinstance(fill, list), "a masked array of fields")
        instance.__setstate__(state)

    return Maker(call=call, build=build, unfinished=True)


def _depth(array: Any) -> int:
    """How deep arrays of objects lie in each other: freeing them recurses."""
    depth = 0
    layer = {id(array): array}
    while layer and depth <= _MOST_ARRAYS_IN_ARRAYS:
        depth += 1
        layer = {
            id(each): each
            for one in layer.values()
            if one.dtype.hasobject
            for each in one.flat
            if isinstance(each, np.ndarray)
        }
    return depth


def _masked(args: Args) -> bool:
    if len(args) != 7 or args[2:6] != (None, False, True, 0):
        return False
    data, mask, fill = args[0], args[1], args[6]
    plain_arrays = type(data) in (np.ndarray, np.memmap) and type(mask) is np.ndarray
    scalar = fill is None or (isinstance(fill, (np.generic, np.ndarray)) and fill.dtype != object)
    return plain_arrays and scalar and mask.shape == data.shape


# NumPy's generators


def _is_ctor(value: Any) -> bool:
    function = isinstance(value, types.FunctionType | types.BuiltinFunctionType) or (
        type(value).__name__ == "cython_function_or_method"
    )
    return function and (
        value.__name__.endswith("bit_generator_ctor")
        or value.__module__ == "shardpickle.sklearn_support.migrations"
    )


def _bit_generator_name(value: Any) -> bool:
    names = ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64")
    if isinstance(value, type):
        return value.__name__ in names and issubclass(value, BitGenerator)
    return value in names if type(value) is str else isinstance(value, BitGenerator)


def _generator_args(args: Args) -> bool:
    return 1 <= len(args) <= 2 and _bit_generator_name(args[0]) and all(map(_is_ctor, args[1:]))


def _generator(target: Any) -> Maker:
    call = calls(_generator_args)(target).call
    return Maker(call=call, build=_generator_state, heap=_GENERATOR_BYTES)


def _generator_state(instance: Any, state: Any) -> None:
    seed = state[1] if type(state) is tuple and len(state) == 2 else None
    need(seed is None or type(seed) is np.random.SeedSequence, "a generator's seed")
    if type(state) is tuple:
        need(len(state) == 2, "a generator's state")
    found = state[0] if type(state) is tuple else state
    need(type(found) is dict and not _generator_problem(found), "a generator's state")
    instance.__setstate__(state)


_SIZES = {"key": {"MT19937": 624, "Philox": 2}, "counter": {"Philox": 4}, "state": {"SFC64": 4}}
_MOST_POSITIONS = 624  # of MT19937


def _generator_problem(state: dict[str, Any]) -> bool:
    """Whether a generator would read outside its state: positions are taken as they come."""
    name, inner = state.get("bit_generator"), state.get("state")
    if type(name) is not str or type(inner) is not dict:
        return True
    for key, value in inner.items():
        size = _SIZES.get(key, {}).get(name)
        if size is not None:
            if not isinstance(value, np.ndarray) or value.shape != (size,):
                return True
            if value.dtype.kind != "u":
                return True
        elif key == "pos":
            if not is_whole(value, 0, _MOST_POSITIONS + 1):
                return True
        elif not is_whole(value, 0, 1 << 128):
            return True
    needed = {"MT19937": {"key", "pos"}, "Philox": {"key", "counter"}, "SFC64": {"state"}}
    if set(inner) != needed.get(name, {"state", "inc"}):
        return True
    buffer, position = state.get("buffer"), state.get("buffer_pos")
    if name == "Philox":
        if not isinstance(buffer, np.ndarray) or buffer.shape != (4,) or buffer.dtype.kind != "u":
            return True
        if not is_whole(position, 0, 5):
            return True
    return not all(
        is_whole(state.get(key, 0), 0, 1 << 32) for key in ("has_uint32", "uinteger", "has_gauss")
    ) or not isinstance(state.get("gauss", 0.0), (int, float))


def _seed(target: Any) -> Maker:
    def check(args: Args) -> bool:
        exact = len(args) == 3 and args[0] is np.random.SeedSequence
        return exact and type(args[1]) is int and args[2] is None

    def build(instance: Any, state: Any) -> None:
        need(type(state) is tuple and len(state) == 5, "a seed's state")
        entropy, spawned, pool, size, key = state
        numbers = entropy if type(entropy) in (list, tuple) else (entropy,)
        fits = isinstance(pool, np.ndarray) and pool.dtype == np.uint32 and pool.shape == (size,)
        need(fits and type(size) is int and size >= 4, "a seed's pool")
        need(is_whole(spawned, 0, 1 << 62), "a seed's children")
        need(type(key) is tuple and all(is_whole(each, 0, 1 << 62) for each in key), "a seed's key")
        need(
            all(each is None or is_whole(each, 0, 1 << 4096) for each in numbers),
            "a seed's entropy",
        )
        instance.__setstate__(state)

    return Maker(call=calls(check)(target).call, build=build, unfinished=True)


# scikit-learn's compiled classes


def _floats(args: Args) -> bool:
    return len(args) <= 3 and all(type(each) in (int, float) for each in args)


def _unpickled(name: str) -> Callable[[Any], Maker]:
    """Cython's ``__pyx_unpickle_…``: its own class, a checksum, and numbers."""

    def maker(target: Any) -> Maker:
        def check(args: Args) -> bool:
            cls = args[0] if len(args) == 3 else None
            return (
                isinstance(cls, type)
                and (cls.__module__, cls.__name__) in (("_loss", name), (_LOSS_MODULE, name))
                and type(args[1]) is int
                and (args[2] is None or (type(args[2]) is tuple and _floats(args[2])))
            )

        return Maker(call=calls(check)(target).call)

    return maker


def _tree(target: Any) -> Maker:
    def check(args: Args) -> bool:
        if len(args) != 3 or not is_whole(args[0], 0, 1 << 31) or not is_whole(args[2], 1, 1 << 16):
            return False
        counts = args[1]
        return (
            isinstance(counts, np.ndarray)
            and counts.dtype == np.intp
            and counts.shape == (args[2],)
            and int(counts.min()) >= 1
            and int(counts.max()) < 1 << 31
        )

    def build(instance: Any, state: Any) -> None:
        _checked(checks.tree_state, instance, state)
        instance.__setstate__(state)

    return Maker(call=calls(check)(target).call, build=build, unfinished=True)


def _new_obj(
    module: str, names: Sequence[str], check: Callable[[Any, Any], None]
) -> Callable[[Any], Maker]:
    """``newObj(cls)``: an empty instance of one of a few classes, to be given a state."""

    def maker(target: Any) -> Maker:
        def fits(args: Args) -> bool:
            cls = args[0] if len(args) == 1 else None
            if not isinstance(cls, type) or cls.__module__ != module:
                return False
            return any(cls.__name__ in (name, name + "32", name + "64") for name in names)

        def build(instance: Any, state: Any) -> None:
            _checked(check, instance, state)
            instance.__setstate__(state)

        return Maker(call=calls(fits)(target).call, build=build, unfinished=True)

    return maker


def _checked(check: Callable[[Any, Any], None], instance: Any, state: Any) -> None:
    try:
        check(instance, state)
    except BrokenError as error:
        raise CorruptShardError(f"{type(instance).__name__}: {error}") from None


# What can be called: only how it may be put together; nothing of it is called by a load -----------


class Trusts:
    """Whether the caller trusts a thing by its name."""

    def __init__(self, targets: Iterable[Any]) -> None:
        self._targets = {id(target): target for target in targets}

    def add(self, target: Any) -> None:
        self._targets[id(target)] = target

    def __call__(self, target: Any) -> bool:
        return id(target) in self._targets


def _partial(target: Any, trusts: Trusts) -> Maker:
    """A function with some of its arguments."""

    def check(args: Args) -> bool:
        if len(args) != 1:
            return False
        return trusts(args[0]) or is_function(args[0]) or _is_container(args[0])

    def build(instance: Any, state: Any) -> None:
        need(type(state) is tuple and len(state) == 4, "a partial's state")
        function, args, keywords, attributes = state
        need(type(args) is tuple and type(keywords) is dict, "a partial's state")
        need(all(type(key) is str for key in keywords), "keywords of a partial")
        need(attributes in (None, {}), "a partial with attributes")
        if not (trusts(function) or is_own_method(function, trusts)):
            reason = partial_problem(function, args, keywords)
            shown = f"functools.partial of {grammar.name_shown(function)}"
            need(reason is None, f"{shown} with {reason}", *name_of(function))
        instance.__setstate__(state)

    return Maker(call=calls(check)(target).call, build=build)


def _vectorize(target: Any, trusts: Trusts) -> Maker:
    """NumPy's loop over a function of Python's."""

    def build(instance: Any, state: Any) -> None:
        need(type(state) is dict, "a state of vectorize")
        function = state.get("pyfunc")
        known = trusts(function) or is_function(function) or type(function) is functools.partial
        need(known, "vectorize of something that is no function")
        rest = [value for name, value in state.items() if name not in ("pyfunc", "excluded")]
        plain = all(_is_plain(value) or type(value) in (list, tuple) for value in rest)
        need(plain, "vectorize with other attributes")
        set_state(instance, state)

    def new(args: Args, kwargs: Mapping[str, Any]) -> Any:
        return _empty(target, args, kwargs)

    return Maker(new=new, build=build, named=True)


FUNCTIONS = (
    *(types.FunctionType, types.BuiltinFunctionType, types.MethodType, np.ufunc, type(np.clip)),
)


def _is_container(value: Any) -> bool:
    """Whether a value is a class of containers or numbers, as `defaultdict` takes them."""
    return value is defaultdict or any(value is each for each in _FACTORIES if each is not None)


def is_function(value: Any) -> bool:
    """Whether a vetted value is a function or a method, not a class."""
    return isinstance(value, FUNCTIONS)


def partial_problem(function: Any, args: Args, keywords: Mapping[str, Any]) -> str | None:
    """Why a vetted function may not be given these arguments; None if it may.

    They must not reach memory that is not theirs (``out=``), nor change what the function gives in
    a way that compiled code would trust: scikit-learn's take numbers and words, NumPy's plain data.
    """
    if _is_container(function):
        plain = all(_is_container(each) or _is_plain(each) for each in (*args, *keywords.values()))
        return None if plain else "arguments that are no plain data"
    if not is_function(function):
        return "something that is no function"
    odd = grammar.odd_argument(keywords)
    if odd is not None:
        return odd
    module = str(getattr(function, "__module__", ""))
    if module.startswith("sklearn.") and not module.startswith(_TAKES_DATA):
        data = not args and all(map(_is_scalar, keywords.values()))
        return None if data else "arguments that are no numbers or words"
    data = all(map(_is_plain, args)) and all(map(_is_plain, keywords.values()))
    return None if data else "arguments that are no plain data"


_TAKES_DATA = ("sklearn.utils.validation", "sklearn.preprocessing", "sklearn.model_selection")


def _is_scalar(value: Any) -> bool:
    return isinstance(value, _DATA) and is_data(value)


def _is_plain(value: Any, depth: int = 0) -> bool:
    if type(value) in (list, tuple, set, frozenset) and depth < 8:
        return all(_is_plain(each, depth + 1) for each in value)
    if type(value) is dict and depth < 8:
        return all(_is_plain(each, depth + 1) for pair in value.items() for each in pair)
    if isinstance(value, np.dtype):
        return not value.hasobject
    if isinstance(value, type):
        return value in (int, float, bool, str, complex) or (
            issubclass(value, np.generic) and value is not np.object_
        )
    return is_data(value) or isinstance(value, (slice, np.random.RandomState, np.random.Generator))


def is_own_method(function: Any, trusts: Trusts) -> bool:
    """Whether a method belongs to an object of a class that the caller trusts."""
    return isinstance(function, types.MethodType) and trusts(type(function.__self__))


_METHODS_OF: dict[Any, frozenset[str]] = {
    str: frozenset(
        {"casefold", "capitalize", "lower", "split", "splitlines", "strip", "title", "upper"}
    ),
    re.Pattern: frozenset({"findall", "finditer", "fullmatch", "match", "search", "split", "sub"}),
}
_OF_ESTIMATORS = frozenset(
    {"decision_function", "inverse_transform", "predict", "predict_log_proba", "predict_proba"}
    | {"score_samples", "transform", "_raw_predict"}
)


def method(target: Any, trusts: Trusts, of_classes: Mapping[tuple[str, str], Any]) -> Maker:
    """A method as a value: of text, of a pattern, of an estimator, of what the caller trusts.

    It is looked up in the class: an object that is not finished is not asked. `of_classes` are the
    class methods that a skeleton may call, by their class and name; what is given is a function of
    ours, which has a maker.
    """

    def call(*args: Any) -> Any:
        need(len(args) == 2 and type(args[1]) is str, "getattr with other arguments")
        owner, name = args
        owner = lazy.real(owner)
        shown = f"the method {name[:40]} of {type(owner).__qualname__}"
        own = trusts(owner) or trusts(type(owner))
        need(own or not name.startswith("__"), shown)
        if isinstance(owner, type) and (owner.__name__, name) in of_classes and not own:
            return of_classes[owner.__name__, name]
        if own or (owner is str and name in _METHODS_OF[str]):
            return getattr(owner, name)
        if type(owner) is re.Pattern:
            need(name in _METHODS_OF[re.Pattern], shown)
            return getattr(owner, name)
        need(
            isinstance(owner, BaseEstimator) and name in _OF_ESTIMATORS,
            shown,
            *name_of(type(owner)),
        )
        found = inspect.getattr_static(type(owner), name, None)
        found = getattr(found, "fn", found)  # of `available_if`
        need(isinstance(found, types.FunctionType), shown, *name_of(type(owner)))
        return types.MethodType(found, owner)

    return Maker(call=call)


def zone(key: str, from_cache: int) -> zoneinfo.ZoneInfo:
    """What ``ZoneInfo._unpickle`` gives."""
    return zoneinfo.ZoneInfo(key) if from_cache else zoneinfo.ZoneInfo.no_cache(key)


def _zone(args: Args) -> bool:
    fits = len(args) == 2 and type(args[0]) is str and args[1] in (0, 1, True, False)
    return fits and re.fullmatch(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*", args[0]) is not None


CLASS_METHODS: dict[tuple[str, str], Any] = {("ZoneInfo", "_unpickle"): zone}
# Makers of what `getattr` gives, which has no name of its own in a skeleton.
OF_CLASS_METHODS: list[tuple[Any, Maker]] = [(zone, calls(_zone)(zone))]


def _default_dict(target: Any, trusts: Trusts) -> Maker:
    """A dict that makes what it lacks: of plain containers, and of classes without arguments."""

    def check(args: Args) -> bool:
        if len(args) != 1:
            return False
        factory = args[0]
        known = any(factory is each for each in _FACTORIES) or trusts(factory)
        return known or (isinstance(factory, type) and issubclass(factory, BaseEstimator))

    return calls(check)(target)


_FACTORIES = (*(int, float, str, bool, list, dict, OrderedDict, set, tuple, Counter, deque, None),)

CALLABLES: dict[Name, Callable[[Any, Trusts], Maker]] = {
    ("collections", "defaultdict"): _default_dict,
    ("functools", "partial"): _partial,
    ("numpy", "vectorize"): _vectorize,
    ("numpy.lib.function_base", "vectorize"): _vectorize,  # before NumPy 1.25
}


METRICS = (
    *("Euclidean", "SEuclidean", "Manhattan", "Chebyshev", "Minkowski", "Mahalanobis"),
    *("Hamming", "Canberra", "BrayCurtis", "Jaccard", "Matching", "Dice", "Kulsinski"),
    *("RogersTanimoto", "RussellRao", "SokalMichener", "SokalSneath", "Haversine"),
)
_LOSS_MODULE = "sklearn._loss._loss"
LOSSES = (
    *("CyAbsoluteError", "CyExponentialLoss", "CyHalfBinomialLoss", "CyHalfGammaLoss"),
    *("CyHalfMultinomialLoss", "CyHalfPoissonLoss", "CyHalfSquaredError", "CyHalfTweedieLoss"),
    *("CyHalfTweedieLossIdentity", "CyHuberLoss", "CyPinballLoss"),
)
SGD_LOSSES = (
    *("EpsilonInsensitive", "Hinge", "Huber", "Log", "ModifiedHuber", "SquaredHinge"),
    *("SquaredEpsilonInsensitive", "SquaredLoss", "Classification", "Regression"),
)

_RANDOM = "numpy.random._pickle"
_DATES = calls(_time)

CONSTRUCTORS: dict[Name, Callable[[Any], Maker]] = {
    ("builtins", "complex"): calls(_of(_REAL, _REAL)),
    ("builtins", "range"): calls(_of(int, int, int)),
    ("builtins", "slice"): calls(_of(_BOUND, _BOUND, _INT)),
    ("builtins", "type"): calls(_type_of),
    ("builtins", "set"): calls(lambda args: not args),
    ("collections", "Counter"): calls(_counter),
    ("collections", "OrderedDict"): calls(lambda args: not args),
    ("collections", "deque"): calls(_deque),
    ("datetime", "date"): calls(_of(bytes)),
    ("datetime", "datetime"): _DATES,
    ("datetime", "time"): _DATES,
    ("datetime", "timedelta"): calls(_of(int, int, int)),
    ("datetime", "timezone"): calls(_of(datetime.timedelta, str)),
    ("decimal", "Decimal"): calls(lambda args: _of(str)(args) and all(len(a) < 4096 for a in args)),
    ("fractions", "Fraction"): calls(_fraction),
    ("logging", "getLogger"): calls(_logger),
    ("pathlib", "PosixPath"): calls(_path),
    ("pathlib", "PurePosixPath"): calls(_path),
    ("pathlib", "PureWindowsPath"): calls(_path),
    ("pathlib", "WindowsPath"): calls(_path),
    ("re", "_compile"): calls(_pattern),
    ("types", "SimpleNamespace"): _namespace,
    ("uuid", "UUID"): _uuid,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core._internal", "_convert_to_stringdtype_kwargs"): calls(_string_dtype),
    ("numpy.ma.core", "_mareconstruct"): _masked_array,
    ("numpy.ma", "MaskedArray"): calls(_masked),
    ("numpy.ma.core", "MaskedArray"): calls(_masked),
    (_RANDOM, "__bit_generator_ctor"): _generator,
    (_RANDOM, "__generator_ctor"): _generator,
    (_RANDOM, "__randomstate_ctor"): _generator,
    ("numpy.random.bit_generator", "__pyx_unpickle_SeedSequence"): _seed,
    ("scipy.interpolate._bsplines", "BSpline"): _spline,
    ("sklearn.tree._tree", "Tree"): _tree,
    ("sklearn.neighbors._kd_tree", "newObj"): _new_obj(
        "sklearn.neighbors._kd_tree", ["KDTree"], checks.neighbor_tree_state
    ),
    ("sklearn.neighbors._ball_tree", "newObj"): _new_obj(
        "sklearn.neighbors._ball_tree", ["BallTree"], checks.neighbor_tree_state
    ),
    ("sklearn.metrics._dist_metrics", "newObj"): _new_obj(
        "sklearn.metrics._dist_metrics",
        [f"{name}Distance" for name in METRICS],
        checks.metric_state,
    ),
}
for _loss in LOSSES:
    for _module in ("_loss", _LOSS_MODULE):  # releases 1.5 to 1.8 name the first
        CONSTRUCTORS[_module, _loss] = calls(_floats)
        CONSTRUCTORS[_module, f"__pyx_unpickle_{_loss}"] = _unpickled(_loss)
for _loss in SGD_LOSSES:
    CONSTRUCTORS["sklearn.linear_model._sgd_fast", _loss] = calls(_floats)
