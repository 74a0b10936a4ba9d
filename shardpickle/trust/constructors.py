"""How objects of vetted names may be made. Knows no bytes and no paths.

A skeleton can call a constructor, make an empty instance of a class, and set the state of what it
made. For each trusted name, a `Maker` says which of these are allowed and with which arguments.
Arguments are checked before anything is called. A name without a maker is only a value. Nothing
here decides which names are trusted.

docs/trust.md lists what is checked, and what crashed or ran code before it was.
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
from shardpickle.trust.functions import FACTORIES, allow_partial, allow_vectorize
from shardpickle.trust.numpy_objects import (
    allow_masked_array,
    allow_reconstruct,
    is_masked_call,
    is_string_dtype_call,
)
from shardpickle.trust.random_states import RANDOM, allow_generator, allow_seed
from shardpickle.trust.rules import (
    BOUND,
    INT,
    REAL,
    Args,
    Maker,
    Name,
    Trusts,
    allow_calls,
    allow_plain,
    make_empty,
    match_types,
    need,
    set_plain_state,
)

# Classes whose instances are a dict of attributes -------------------------------------------------


# Constructors with checked arguments --------------------------------------------------------------


def _is_singleton_type(args: Args) -> bool:
    return len(args) == 1 and (args[0] is None or args[0] is ... or args[0] is NotImplemented)


def _is_time(args: Args) -> bool:
    zone = len(args) == 1 or isinstance(args[1], (datetime.timezone, zoneinfo.ZoneInfo))
    return 1 <= len(args) <= 2 and type(args[0]) is bytes and zone


def _is_deque(args: Args) -> bool:
    return not args or (len(args) <= 2 and args[0] == () and type(args[-1]) in (tuple, int))


def _is_counter(args: Args) -> bool:
    return len(args) <= 1 and all(type(counts) is dict for counts in args)


def _is_path(args: Args) -> bool:
    return len(args) < 100 and all(type(segment) is str and len(segment) < 4096 for segment in args)


# All but DEBUG, which would print.
_PATTERN_FLAGS = int(re.A | re.I | re.L | re.M | re.S | re.U | re.X)


def _is_pattern(args: Args) -> bool:
    """Allow any regular expression: a slow one is slow when it is used, not when it is loaded."""
    known = len(args) == 2 and type(args[0]) in (str, bytes) and len(args[0]) <= 1 << 16
    flags = (
        re.ASCII | re.IGNORECASE | re.LOCALE | re.MULTILINE | re.DOTALL | re.VERBOSE | re.UNICODE
    )
    return known and isinstance(args[1], int) and not args[1] & ~int(flags)  # DEBUG would print


def _is_logger(args: Args) -> bool:
    """Allow a logger by its name; the process keeps it."""
    return len(args) <= 1 and all(type(name) is str and len(name) <= 200 for name in args)


def _is_fraction(args: Args) -> bool:
    return match_types(int, int)(args) and all(number.bit_length() <= 1 << 12 for number in args)


def _allow_spline(target: Any) -> Maker:
    """Allow a spline: attributes or, since SciPy 1.18, a `_BSpline` and an array."""
    plain_maker = allow_plain(target, Trusts(()))

    def build(instance: Any, state: Any) -> None:
        if type(state) is not tuple:
            set_plain_state(instance, state, Trusts(()))
            return
        delegates = len(state) == 2 and type(state[0]).__name__ == "_BSpline"
        known = delegates and type(state[0]).__module__ == target.__module__
        need(known and type(state[1]) is np.ndarray, "a spline with another state")
        need(type(vars(state[0]).get("t")) is np.ndarray, "a spline without knots")
        instance.__setstate__(state)

    return Maker(new=plain_maker.new, build=build)


def _allow_uuid(target: Any) -> Maker:
    def build(instance: Any, state: Any) -> None:
        fits = type(state) is dict and set(state) == {"int"} and is_whole(state["int"], 0, 1 << 128)
        need(fits, "a UUID with another state")
        instance.__setstate__(state)

    return Maker(
        new=lambda args, kwargs: make_empty(target, args, kwargs), build=build, unfinished=True
    )


def _allow_namespace(target: Any) -> Maker:
    def build(instance: Any, state: Any) -> None:
        need(
            type(state) is dict and all(type(key) is str for key in state),
            "a namespace whose state is not a dict of names",
        )
        instance.__dict__.update(state)

    return Maker(call=allow_calls(lambda args: not args)(target).call, build=build)


# NumPy's arrays of objects: their bytes never come from a skeleton


# NumPy's generators


# scikit-learn's compiled classes


def _are_floats(args: Args) -> bool:
    return len(args) <= 3 and all(type(number) in (int, float) for number in args)


def _allow_loss(name: str) -> Callable[[Any], Maker]:
    """Allow Cython's ``__pyx_unpickle_…`` with its own class, a checksum, and numbers."""

    def maker(target: Any) -> Maker:
        def check(args: Args) -> bool:
            cls = args[0] if len(args) == 3 else None
            return (
                isinstance(cls, type)
                and (cls.__module__, cls.__name__) in (("_loss", name), (_LOSS_MODULE, name))
                and type(args[1]) is int
                and (args[2] is None or (type(args[2]) is tuple and _are_floats(args[2])))
            )

        return Maker(call=allow_calls(check)(target).call)

    return maker


def _allow_tree(target: Any) -> Maker:
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
        _check_state(checks.check_tree_state, instance, state)
        instance.__setstate__(state)

    return Maker(call=allow_calls(check)(target).call, build=build, unfinished=True)


def _allow_new_obj(
    module: str, names: Sequence[str], check: Callable[[Any, Any], None]
) -> Callable[[Any], Maker]:
    """Allow ``newObj(cls)``: an empty instance of one of a few classes, without a state so far."""

    def maker(target: Any) -> Maker:
        def fits(args: Args) -> bool:
            cls = args[0] if len(args) == 1 else None
            if not isinstance(cls, type) or cls.__module__ != module:
                return False
            return any(cls.__name__ in (name, name + "32", name + "64") for name in names)

        def build(instance: Any, state: Any) -> None:
            _check_state(check, instance, state)
            instance.__setstate__(state)

        return Maker(call=allow_calls(fits)(target).call, build=build, unfinished=True)

    return maker


def _check_state(check: Callable[[Any, Any], None], instance: Any, state: Any) -> None:
    try:
        check(instance, state)
    except BrokenError as error:
        raise CorruptShardError(f"{type(instance).__name__}: {error}") from None


# Callables: a load only puts them together and never calls them -----------------------------------


def zone(key: str, from_cache: int) -> zoneinfo.ZoneInfo:
    """Return what ``ZoneInfo._unpickle`` returns."""
    return zoneinfo.ZoneInfo(key) if from_cache else zoneinfo.ZoneInfo.no_cache(key)


def _is_zone(args: Args) -> bool:
    fits = len(args) == 2 and type(args[0]) is str and args[1] in (0, 1, True, False)
    return fits and re.fullmatch(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*", args[0]) is not None


CLASS_METHODS: dict[tuple[str, str], Any] = {("ZoneInfo", "_unpickle"): zone}
# Makers of class methods, which a skeleton gets by `getattr` and not by a name.
OF_CLASS_METHODS: list[tuple[Any, Maker]] = [(zone, allow_calls(_is_zone)(zone))]


def _allow_default_dict(target: Any, trusts: Trusts) -> Maker:
    """Allow a `defaultdict` whose factory is a plain container, an estimator, or trusted."""

    def check(args: Args) -> bool:
        if len(args) != 1:
            return False
        factory = args[0]
        known = any(factory is known_factory for known_factory in FACTORIES) or trusts(factory)
        return known or (isinstance(factory, type) and issubclass(factory, BaseEstimator))

    return allow_calls(check)(target)


CALLABLES: dict[Name, Callable[[Any, Trusts], Maker]] = {
    ("collections", "defaultdict"): _allow_default_dict,
    ("functools", "partial"): allow_partial,
    ("numpy", "vectorize"): allow_vectorize,
    ("numpy.lib.function_base", "vectorize"): allow_vectorize,  # before NumPy 1.25
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

_DATES = allow_calls(_is_time)

CONSTRUCTORS: dict[Name, Callable[[Any], Maker]] = {
    ("builtins", "complex"): allow_calls(match_types(REAL, REAL)),
    ("builtins", "range"): allow_calls(match_types(int, int, int)),
    ("builtins", "slice"): allow_calls(match_types(BOUND, BOUND, INT)),
    ("builtins", "type"): allow_calls(_is_singleton_type),
    ("builtins", "set"): allow_calls(lambda args: not args),
    ("collections", "Counter"): allow_calls(_is_counter),
    ("collections", "OrderedDict"): allow_calls(lambda args: not args),
    ("collections", "deque"): allow_calls(_is_deque),
    ("datetime", "date"): allow_calls(match_types(bytes)),
    ("datetime", "datetime"): _DATES,
    ("datetime", "time"): _DATES,
    ("datetime", "timedelta"): allow_calls(match_types(int, int, int)),
    ("datetime", "timezone"): allow_calls(match_types(datetime.timedelta, str)),
    ("decimal", "Decimal"): allow_calls(
        lambda args: match_types(str)(args) and all(len(a) < 4096 for a in args)
    ),
    ("fractions", "Fraction"): allow_calls(_is_fraction),
    ("logging", "getLogger"): allow_calls(_is_logger),
    ("pathlib", "PosixPath"): allow_calls(_is_path),
    ("pathlib", "PurePosixPath"): allow_calls(_is_path),
    ("pathlib", "PureWindowsPath"): allow_calls(_is_path),
    ("pathlib", "WindowsPath"): allow_calls(_is_path),
    ("re", "_compile"): allow_calls(_is_pattern),
    ("types", "SimpleNamespace"): _allow_namespace,
    ("uuid", "UUID"): _allow_uuid,
    ("numpy._core.multiarray", "_reconstruct"): allow_reconstruct,
    ("numpy.core.multiarray", "_reconstruct"): allow_reconstruct,
    ("numpy._core._internal", "_convert_to_stringdtype_kwargs"): allow_calls(is_string_dtype_call),
    ("numpy.ma.core", "_mareconstruct"): allow_masked_array,
    ("numpy.ma", "MaskedArray"): allow_calls(is_masked_call),
    ("numpy.ma.core", "MaskedArray"): allow_calls(is_masked_call),
    (RANDOM, "__bit_generator_ctor"): allow_generator,
    (RANDOM, "__generator_ctor"): allow_generator,
    (RANDOM, "__randomstate_ctor"): allow_generator,
    ("numpy.random.bit_generator", "__pyx_unpickle_SeedSequence"): allow_seed,
    ("scipy.interpolate._bsplines", "BSpline"): _allow_spline,
    ("sklearn.tree._tree", "Tree"): _allow_tree,
    ("sklearn.neighbors._kd_tree", "newObj"): _allow_new_obj(
        "sklearn.neighbors._kd_tree", ["KDTree"], checks.check_neighbor_tree_state
    ),
    ("sklearn.neighbors._ball_tree", "newObj"): _allow_new_obj(
        "sklearn.neighbors._ball_tree", ["BallTree"], checks.check_neighbor_tree_state
    ),
    ("sklearn.metrics._dist_metrics", "newObj"): _allow_new_obj(
        "sklearn.metrics._dist_metrics",
        [f"{name}Distance" for name in METRICS],
        checks.check_metric_state,
    ),
}
for _loss in LOSSES:
    for _module in ("_loss", _LOSS_MODULE):  # releases 1.5 to 1.8 name the first
        CONSTRUCTORS[_module, _loss] = allow_calls(_are_floats)
        CONSTRUCTORS[_module, f"__pyx_unpickle_{_loss}"] = _allow_loss(_loss)
for _loss in SGD_LOSSES:
    CONSTRUCTORS["sklearn.linear_model._sgd_fast", _loss] = allow_calls(_are_floats)
