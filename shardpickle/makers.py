"""How the things that a vetted name stands for may be made. Knows no bytes and no paths.

A skeleton can call a constructor, make an empty instance of a class, and give what it made its
state. For each name that is trusted, a `Maker` says which of these it may do, and with what: the
arguments are checked before anything is called. A name without a maker is a value and nothing
else. Nothing here decides which names are trusted.

What is checked, and what crashed or ran code where it was not, is told in docs/trust.md.
"""

import datetime
import sys
import types
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import BitGenerator

from shardpickle import natives
from shardpickle.errors import CorruptShardError
from shardpickle.natives import BrokenError, is_whole

Name = tuple[str, str]
Args = tuple[Any, ...]

_MOST_ARRAYS_IN_ARRAYS = 64


@dataclass(frozen=True, slots=True)
class Maker:
    """What may be done with a name; None: not that.

    ``call(*args)`` and ``new(args, kwargs)`` give an instance; ``build(instance, state)`` gives it
    its state. With `unfinished`, an instance without a state must not be handed out.
    """

    call: Callable[..., Any] | None = None
    new: Callable[[Args, Mapping[str, Any]], Any] | None = None
    build: Callable[[Any, Any], None] | None = None
    unfinished: bool = False


def refused(what: str) -> CorruptShardError:
    return CorruptShardError(f"a skeleton asks for what no model needs: {what}")


def _need(condition: Any, what: str) -> None:
    if not condition:
        raise refused(what)


# Classes whose instances are a dict of attributes -------------------------------------------------


def plain(cls: type) -> Maker:
    """Empty instances that are given attributes: scikit-learn's own classes, mostly."""
    if issubclass(cls, tuple):
        return Maker(new=lambda args, kwargs: _named_tuple(cls, args, kwargs))
    return Maker(new=lambda args, kwargs: _empty(cls, args, kwargs), build=_plain_state)


_REPLACED = frozenset({"positive"})  # a parameter that is a default of its class (LassoLars)


def _plain_state(instance: Any, state: Any) -> None:
    """Attributes, none of which takes the place of a method or of what a class says of itself."""
    _need(type(state) is dict or state is None, f"a state of {type(instance).__qualname__}")
    cls = type(instance)
    for name in state or ():
        _need(not hasattr(cls, name) or name in _REPLACED, f"an attribute {name[:40]} of its class")
    before = _BEFORE.get((cls.__module__, cls.__qualname__))
    if before is not None and state:
        before(state)
    set_state(instance, state)


def _isotonic(state: dict[str, Any]) -> None:
    for name in ("X_thresholds_", "y_thresholds_"):  # `__setstate__` interpolates between them
        value = state.get(name)
        plain_array = isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind == "f"
        _need(value is None or plain_array, name)


_BEFORE = {("sklearn.isotonic", "IsotonicRegression"): _isotonic}


def _empty(cls: Any, args: Args, kwargs: Mapping[str, Any]) -> Any:
    _need(not args and not kwargs, f"an instance of {cls.__qualname__} with arguments")
    return cls.__new__(cls)


def _named_tuple(cls: Any, args: Args, kwargs: Mapping[str, Any]) -> Any:
    _need(not kwargs and len(args) == len(cls._fields), f"a {cls.__qualname__} of other fields")
    return tuple.__new__(cls, args)


def trusted(cls: type) -> Maker:
    """Whatever the class's own code does: the caller trusts it by name."""
    own = any({"__reduce__", "__reduce_ex__"} & set(vars(base)) for base in cls.__mro__[:-1])
    return Maker(
        call=cls if own else None,
        new=lambda args, kwargs: cls.__new__(cls, *args, **kwargs),
        build=_trusted_state,
    )


def _trusted_state(instance: Any, state: Any) -> None:
    if getattr(instance, "__setstate__", None) is None:
        pair = state if type(state) is tuple and len(state) == 2 else (state, None)
        _need(all(each is None or type(each) is dict for each in pair), "a state that is no dict")
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
        _need(isinstance(member, types.MemberDescriptorType), f"a slot {name!s:.40}")
        setattr(instance, name, value)


# Constructors with checked arguments --------------------------------------------------------------


def _calls(check: Callable[[Args], Any]) -> Callable[[Any], Maker]:
    """Calls that get what the check lets through, and make finished things."""

    def maker(target: Any) -> Maker:
        def call(*args: Any) -> Any:
            _need(check(args), f"{getattr(target, '__qualname__', target)} with other arguments")
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
    zone = len(args) == 1 or isinstance(args[1], datetime.timezone)
    return 1 <= len(args) <= 2 and type(args[0]) is bytes and zone


_FACTORIES = (int, float, str, bool, list, dict, OrderedDict, set, tuple, None)


def _default_dict(args: Args) -> bool:
    return len(args) == 1 and any(args[0] is each for each in _FACTORIES)


def _deque(args: Args) -> bool:
    return len(args) in (1, 2) and args[0] == () and type(args[-1]) in (tuple, int)


def _counter(args: Args) -> bool:
    return len(args) <= 1 and all(type(each) is dict for each in args)


def _path(args: Args) -> bool:
    return len(args) < 100 and all(type(each) is str and len(each) < 4096 for each in args)


def _fraction(args: Args) -> bool:
    return _of(int, int)(args) and all(each.bit_length() <= 1 << 12 for each in args)


def _namespace(target: Any) -> Maker:
    def build(instance: Any, state: Any) -> None:
        _need(type(state) is dict and all(type(key) is str for key in state), "a namespace")
        instance.__dict__.update(state)

    return Maker(call=_calls(lambda args: not args)(target).call, build=build)


def _partial(target: Any) -> Maker:
    """Of a function that is a value by itself; it is not called."""

    def check(args: Args) -> bool:
        return len(args) == 1 and _is_harmless(args[0])

    def build(instance: Any, state: Any) -> None:
        fits = type(state) is tuple and len(state) == 4 and _is_harmless(state[0])
        _need(fits and type(state[1]) is tuple and type(state[2]) is dict, "a partial's state")
        _need(all(type(key) is str for key in state[2]), "keywords of a partial")
        _need(state[3] in (None, {}), "a partial with attributes")
        instance.__setstate__(state)

    return Maker(call=_calls(check)(target).call, build=build)


_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, np.ufunc)


def _is_harmless(function: Any) -> bool:
    """Whether any arguments will do: not with scikit-learn's functions that reach compiled code."""
    module = str(getattr(function, "__module__", ""))
    return isinstance(function, _FUNCTIONS) and not module.startswith(
        ("sklearn.cluster", "sklearn.metrics", "sklearn.feature_selection")
    )


_METHODS = frozenset(
    {"casefold", "capitalize", "lower", "split", "splitlines", "strip", "title", "upper"}
)


def _method(args: Args) -> bool:
    """A method of `str` as a value, as tokenizers are."""
    return len(args) == 2 and args[0] is str and type(args[1]) is str and args[1] in _METHODS


# NumPy's arrays of objects: their bytes never come from a skeleton


def _reconstruct(target: Any) -> Maker:
    def call(*args: Any) -> Any:
        fits = len(args) == 3 and args[1:] == ((0,), b"b") and args[0] in (np.ndarray, np.matrix)
        _need(fits, "an array with other arguments")
        return target(*args)

    return Maker(call=call, build=array_state, unfinished=True)


def array_state(array: Any, state: Any) -> None:
    _need(type(state) is tuple and len(state) == 5, "an array's state")
    version, shape, dtype, fortran, content = state
    _need(
        version == 1 and type(fortran) is bool and isinstance(dtype, np.dtype), "an array's state"
    )
    sizes = type(shape) is tuple and all(type(size) is int and size >= 0 for size in shape)
    _need(sizes and len(shape) <= 32, "an array's shape")
    count = 1
    for size in shape:
        _need(size < 1 << 40, "an array's shape")
        count *= size
        _need(count < 1 << 40, "an array's shape")
    if dtype.hasobject:
        _need(dtype.str == "|O" and type(content) is list, "an array of objects among other fields")
        _need(len(content) == count, "an array of another number of objects")
        depth = 1 + max(
            (_depth(each) for each in content if isinstance(each, np.ndarray)), default=0
        )
        _need(depth <= _MOST_ARRAYS_IN_ARRAYS, "arrays nested too deeply")
    else:
        _need(type(content) is bytes and len(content) == count * dtype.itemsize, "an array's bytes")
    array.__setstate__(state)


def _masked_array(target: Any) -> Maker:
    """NumPy's way to pickle a masked array; a skeleton of ours calls the class."""

    def call(*args: Any) -> Any:
        bases = [(np.ma.MaskedArray, base, (0,), "b") for base in (np.ndarray, np.memmap)]
        _need(args in bases, "a masked array")
        return target(*args)

    def build(instance: Any, state: Any) -> None:
        _need(type(state) is tuple and len(state) == 7 and state[0] == 1, "a masked array's state")
        _, shape, dtype, fortran, content, mask, fill = state
        for each, kept in ((dtype, content), (np.dtype(bool), mask)):
            array_state(np.ndarray(0), (1, shape, each, fortran, kept))
        _need(not dtype.names and not isinstance(fill, list), "a masked array of fields")
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
    return (callable(value) and getattr(value, "__name__", "").endswith("bit_generator_ctor")) or (
        getattr(value, "__module__", "") == "shardpickle.migrate"
    )


def _bit_generator_name(value: Any) -> bool:
    names = ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64")
    if isinstance(value, type):
        return value.__name__ in names and issubclass(value, BitGenerator)
    return value in names if type(value) is str else isinstance(value, BitGenerator)


def _generator_args(args: Args) -> bool:
    return 1 <= len(args) <= 2 and _bit_generator_name(args[0]) and all(map(_is_ctor, args[1:]))


def _generator(target: Any) -> Maker:
    return Maker(call=_calls(_generator_args)(target).call, build=_generator_state)


def _generator_state(instance: Any, state: Any) -> None:
    seed = state[1] if type(state) is tuple and len(state) == 2 else None
    _need(seed is None or type(seed) is np.random.SeedSequence, "a generator's seed")
    if type(state) is tuple:
        _need(len(state) == 2, "a generator's state")
    found = state[0] if type(state) is tuple else state
    _need(type(found) is dict and not _generator_problem(found), "a generator's state")
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
        _need(type(state) is tuple and len(state) == 5, "a seed's state")
        entropy, spawned, pool, size, key = state
        numbers = entropy if type(entropy) in (list, tuple) else (entropy,)
        fits = isinstance(pool, np.ndarray) and pool.dtype == np.uint32 and pool.shape == (size,)
        _need(fits and type(size) is int and size >= 4, "a seed's pool")
        _need(is_whole(spawned, 0, 1 << 62), "a seed's children")
        _need(
            type(key) is tuple and all(is_whole(each, 0, 1 << 62) for each in key), "a seed's key"
        )
        _need(
            all(each is None or is_whole(each, 0, 1 << 4096) for each in numbers),
            "a seed's entropy",
        )
        instance.__setstate__(state)

    return Maker(call=_calls(check)(target).call, build=build, unfinished=True)


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

        return Maker(call=_calls(check)(target).call)

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
        _checked(natives.tree_state, instance, state)
        instance.__setstate__(state)

    return Maker(call=_calls(check)(target).call, build=build, unfinished=True)


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

        return Maker(call=_calls(fits)(target).call, build=build, unfinished=True)

    return maker


def _checked(check: Callable[[Any, Any], None], instance: Any, state: Any) -> None:
    try:
        check(instance, state)
    except BrokenError as error:
        raise CorruptShardError(f"{type(instance).__name__}: {error}") from None


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
_DATES = _calls(_time)

CONSTRUCTORS: dict[Name, Callable[[Any], Maker]] = {
    ("builtins", "complex"): _calls(_of(_REAL, _REAL)),
    ("builtins", "getattr"): _calls(_method),
    ("builtins", "range"): _calls(_of(int, int, int)),
    ("builtins", "slice"): _calls(_of(_BOUND, _BOUND, _INT)),
    ("builtins", "type"): _calls(_type_of),
    ("builtins", "set"): _calls(lambda args: not args),
    ("collections", "Counter"): _calls(_counter),
    ("collections", "OrderedDict"): _calls(lambda args: not args),
    ("collections", "defaultdict"): _calls(_default_dict),
    ("collections", "deque"): _calls(_deque),
    ("datetime", "date"): _calls(_of(bytes)),
    ("datetime", "datetime"): _DATES,
    ("datetime", "time"): _DATES,
    ("datetime", "timedelta"): _calls(_of(int, int, int)),
    ("datetime", "timezone"): _calls(_of(datetime.timedelta, str)),
    ("decimal", "Decimal"): _calls(
        lambda args: _of(str)(args) and all(len(a) < 4096 for a in args)
    ),
    ("fractions", "Fraction"): _calls(_fraction),
    ("pathlib", "PosixPath"): _calls(_path),
    ("pathlib", "PurePosixPath"): _calls(_path),
    ("pathlib", "PureWindowsPath"): _calls(_path),
    ("pathlib", "WindowsPath"): _calls(_path),
    ("functools", "partial"): _partial,
    ("types", "SimpleNamespace"): _namespace,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.ma.core", "_mareconstruct"): _masked_array,
    ("numpy.ma", "MaskedArray"): _calls(_masked),
    ("numpy.ma.core", "MaskedArray"): _calls(_masked),
    (_RANDOM, "__bit_generator_ctor"): _generator,
    (_RANDOM, "__generator_ctor"): _generator,
    (_RANDOM, "__randomstate_ctor"): _generator,
    ("numpy.random.bit_generator", "__pyx_unpickle_SeedSequence"): _seed,
    ("sklearn.tree._tree", "Tree"): _tree,
    ("sklearn.neighbors._kd_tree", "newObj"): _new_obj(
        "sklearn.neighbors._kd_tree", ["KDTree"], natives.neighbor_tree_state
    ),
    ("sklearn.neighbors._ball_tree", "newObj"): _new_obj(
        "sklearn.neighbors._ball_tree", ["BallTree"], natives.neighbor_tree_state
    ),
    ("sklearn.metrics._dist_metrics", "newObj"): _new_obj(
        "sklearn.metrics._dist_metrics",
        [f"{name}Distance" for name in METRICS],
        natives.metric_state,
    ),
}
for _loss in LOSSES:
    for _module in ("_loss", _LOSS_MODULE):  # releases 1.5 to 1.8 name the first
        CONSTRUCTORS[_module, _loss] = _calls(_floats)
        CONSTRUCTORS[_module, f"__pyx_unpickle_{_loss}"] = _unpickled(_loss)
for _loss in SGD_LOSSES:
    CONSTRUCTORS["sklearn.linear_model._sgd_fast", _loss] = _calls(_floats)
