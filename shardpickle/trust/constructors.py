"""How the things that a vetted name stands for may be made. Knows no bytes and no paths.

A skeleton can call a constructor, make an empty instance of a class, and give what it made its
state. For each name that is trusted, a `Maker` says which of these it may do, and with what: the
arguments are checked before anything is called. A name without a maker is a value and nothing
else. Nothing here decides which names are trusted.

What is checked, and what crashed or ran code where it was not, is told in docs/trust.md.
"""

import datetime
import re
import zoneinfo
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from shardpickle.errors import CorruptShardError
from shardpickle.trust import checks
from shardpickle.trust.checks import BrokenError, is_whole
from shardpickle.trust.functions import FACTORIES, partial, vectorize
from shardpickle.trust.numpy_objects import masked, masked_array, reconstruct, string_dtype
from shardpickle.trust.random_states import RANDOM, generator, seed
from shardpickle.trust.rules import (
    BOUND,
    INT,
    REAL,
    Args,
    Maker,
    Name,
    Trusts,
    calls,
    empty,
    need,
    of,
    plain,
    plain_state,
)

# Classes whose instances are a dict of attributes -------------------------------------------------


# Constructors with checked arguments --------------------------------------------------------------


def _type_of(args: Args) -> bool:
    return len(args) == 1 and (args[0] is None or args[0] is ... or args[0] is NotImplemented)


def _time(args: Args) -> bool:
    zone = len(args) == 1 or isinstance(args[1], (datetime.timezone, zoneinfo.ZoneInfo))
    return 1 <= len(args) <= 2 and type(args[0]) is bytes and zone


def _deque(args: Args) -> bool:
    return not args or (len(args) <= 2 and args[0] == () and type(args[-1]) in (tuple, int))


def _counter(args: Args) -> bool:
    return len(args) <= 1 and all(type(counts) is dict for counts in args)


def _path(args: Args) -> bool:
    return len(args) < 100 and all(type(segment) is str and len(segment) < 4096 for segment in args)


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
    return len(args) <= 1 and all(type(name) is str and len(name) <= 200 for name in args)


def _fraction(args: Args) -> bool:
    return of(int, int)(args) and all(number.bit_length() <= 1 << 12 for number in args)


def _spline(target: Any) -> Maker:
    """A spline: attributes, or, since SciPy 1.18, another spline and an array of a namespace."""
    plain_maker = plain(target, Trusts(()))

    def build(instance: Any, state: Any) -> None:
        if type(state) is not tuple:
            plain_state(instance, state, Trusts(()))
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

    return Maker(new=lambda args, kwargs: empty(target, args, kwargs), build=build, unfinished=True)


def _namespace(target: Any) -> Maker:
    def build(instance: Any, state: Any) -> None:
        need(type(state) is dict and all(type(key) is str for key in state), "a namespace")
        instance.__dict__.update(state)

    return Maker(call=calls(lambda args: not args)(target).call, build=build)


# NumPy's arrays of objects: their bytes never come from a skeleton


# NumPy's generators


# scikit-learn's compiled classes


def _floats(args: Args) -> bool:
    return len(args) <= 3 and all(type(number) in (int, float) for number in args)


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
        known = any(factory is known_factory for known_factory in FACTORIES) or trusts(factory)
        return known or (isinstance(factory, type) and issubclass(factory, BaseEstimator))

    return calls(check)(target)


CALLABLES: dict[Name, Callable[[Any, Trusts], Maker]] = {
    ("collections", "defaultdict"): _default_dict,
    ("functools", "partial"): partial,
    ("numpy", "vectorize"): vectorize,
    ("numpy.lib.function_base", "vectorize"): vectorize,  # before NumPy 1.25
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

_DATES = calls(_time)

CONSTRUCTORS: dict[Name, Callable[[Any], Maker]] = {
    ("builtins", "complex"): calls(of(REAL, REAL)),
    ("builtins", "range"): calls(of(int, int, int)),
    ("builtins", "slice"): calls(of(BOUND, BOUND, INT)),
    ("builtins", "type"): calls(_type_of),
    ("builtins", "set"): calls(lambda args: not args),
    ("collections", "Counter"): calls(_counter),
    ("collections", "OrderedDict"): calls(lambda args: not args),
    ("collections", "deque"): calls(_deque),
    ("datetime", "date"): calls(of(bytes)),
    ("datetime", "datetime"): _DATES,
    ("datetime", "time"): _DATES,
    ("datetime", "timedelta"): calls(of(int, int, int)),
    ("datetime", "timezone"): calls(of(datetime.timedelta, str)),
    ("decimal", "Decimal"): calls(lambda args: of(str)(args) and all(len(a) < 4096 for a in args)),
    ("fractions", "Fraction"): calls(_fraction),
    ("logging", "getLogger"): calls(_logger),
    ("pathlib", "PosixPath"): calls(_path),
    ("pathlib", "PurePosixPath"): calls(_path),
    ("pathlib", "PureWindowsPath"): calls(_path),
    ("pathlib", "WindowsPath"): calls(_path),
    ("re", "_compile"): calls(_pattern),
    ("types", "SimpleNamespace"): _namespace,
    ("uuid", "UUID"): _uuid,
    ("numpy._core.multiarray", "_reconstruct"): reconstruct,
    ("numpy.core.multiarray", "_reconstruct"): reconstruct,
    ("numpy._core._internal", "_convert_to_stringdtype_kwargs"): calls(string_dtype),
    ("numpy.ma.core", "_mareconstruct"): masked_array,
    ("numpy.ma", "MaskedArray"): calls(masked),
    ("numpy.ma.core", "MaskedArray"): calls(masked),
    (RANDOM, "__bit_generator_ctor"): generator,
    (RANDOM, "__generator_ctor"): generator,
    (RANDOM, "__randomstate_ctor"): generator,
    ("numpy.random.bit_generator", "__pyx_unpickle_SeedSequence"): seed,
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
