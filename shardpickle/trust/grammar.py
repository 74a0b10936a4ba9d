"""Which kinds of values each attribute of a class may hold. Knows no bytes and no paths.

It is not enough that each piece of a model is vetted: scikit-learn calls what it finds in an
attribute, by a name that it finds in another one. So every attribute of a known class has a set of
kinds: what scikit-learn declares of the parameter (``_parameter_constraints``), and what fits
leave there (`grammar_table`, written by tests/vet.py). Any other attribute takes plain data.
docs/places.md says what this keeps out.
"""

import functools
import numbers
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils import _param_validation as declared

from shardpickle import lazy
from shardpickle.trust import grammar_table
from shardpickle.trust.kinds import LONG_RANGE, PLAIN, Own, kind_of, walk_leaves

# What a class's attributes take -------------------------------------------------------------------


class Row:
    """The kinds of a class's attributes.

    Attributes
    ----------
    kinds : dict
        The kinds that each known attribute may hold.
    classes : dict
        Classes that scikit-learn declares of a parameter: their instances are allowed, too.
    open : bool
        Whether the class is a third party's, whose other attributes may hold anything.
    methods : frozenset
        What such a class inherits from a known class: these attributes are judged all the same.
    """

    def __init__(self, cls: type) -> None:
        self.kinds: dict[str, frozenset[str]] = {}
        self.classes: dict[str, tuple[type, ...]] = {}
        self.open = not _is_known(cls)
        self.methods = _list_methods(cls) if self.open else frozenset()
        for base in reversed(cls.__mro__):
            if _is_known(base):
                self._add(base)

    def _add(self, cls: type) -> None:
        constraints = vars(cls).get("_parameter_constraints")
        for name, constraint in (constraints if isinstance(constraints, dict) else {}).items():
            self._declare(name, constraint)
        called = f"{_get_package(cls)}.{cls.__qualname__}"
        for table in (grammar_table.ROWS, BY_HAND):
            for name, kinds in table.get(called, {}).items():
                self.kinds[name] = self.kinds.get(name, frozenset()) | set(kinds.split())

    def _declare(self, name: str, constraints: Any) -> None:
        kinds: set[str] = set()
        classes: list[type] = []
        if isinstance(constraints, str):  # "no_validation"
            kinds |= PLAIN
            constraints = []
        for constraint in constraints:
            names, instances_of = _read_constraint(constraint)
            kinds |= names
            classes += instances_of
        self.kinds[name] = frozenset(kinds)
        self.classes[name] = tuple(classes)


def _is_known(cls: type) -> bool:
    """Whether a class is one of those whose attributes have kinds."""
    return f"{cls.__module__}.".startswith(_KNOWN)


def _list_methods(cls: type) -> frozenset[str]:
    """List what a class inherits from known classes and does not override."""
    first: dict[str, type] = {}
    for base in cls.__mro__:
        for name in vars(base):
            first.setdefault(name, base)
    return frozenset(name for name, base in first.items() if _is_known(base))


_KNOWN = ("sklearn.", "scipy.sparse.", "scipy.interpolate.", "joblib.")


def knows(cls: type) -> bool:
    """Whether attributes of a class, or of one that it inherits, have kinds."""
    known = any(_is_known(base) for base in cls.__mro__)
    return known and bool(cls.__dictoffset__) and not issubclass(cls, (dict, tuple))


def _get_package(cls: type) -> str:
    return cls.__module__.partition(".")[0]


def _read_constraint(constraint: Any) -> tuple[set[str], list[type]]:
    """Return the kinds and classes that one of scikit-learn's parameter constraints allows."""
    if isinstance(constraint, declared.Hidden):
        return _read_constraint(constraint.constraint)
    if isinstance(constraint, declared.MissingValues):
        return {"scalar", "value"}, []
    if isinstance(constraint, declared.HasMethods):
        of = "splitter" if "split" in constraint.methods else "estimator"
        return {"scalar", of}, []
    if isinstance(constraint, declared.Options):
        return {"scalar", *(("type",) if constraint.type is type else ())}, []
    if constraint is callable or constraint is type:
        return {"scalar", "function" if constraint is callable else "type"}, []
    if isinstance(constraint, str):
        return set(_DECLARED.get(constraint, ("scalar",))), []
    if not isinstance(constraint, type):
        return {"scalar"}, []
    if constraint in (list, tuple, dict, set):
        return set(PLAIN), []
    if constraint is np.ndarray:
        return {"scalar", "array"}, []
    plain = constraint in (str, bool, np.bool_) or issubclass(constraint, numbers.Number)
    return {"scalar"}, [] if plain else [constraint]


_DECLARED: dict[str, tuple[str, ...]] = {
    "array-like": ("scalar", "array", "table", "value"),
    "sparse matrix": ("scalar", "sparse"),
    "random_state": ("scalar", "random_state"),
    "cv_object": ("scalar", "array", "splitter"),
    "missing_values": ("scalar", "value"),
}


# What an attribute may hold that its class is not known to have: nothing that calls anything.
_UNKNOWN = PLAIN | {"random_state", "sparse"}


@functools.cache
def get_row(cls: type) -> Row:
    return Row(cls)


@dataclass(frozen=True, slots=True)
class Misplaced:
    """A value that an attribute must not hold, and what a caller may trust to allow it."""

    text: str
    things: tuple[Any, ...] = ()


Seen = dict[Any, set[int]]


def find_misplaced(instance: Any, own: Own, seen: Seen) -> Misplaced | None:
    """Find a value that an attribute of an instance must not hold; None if there is none.

    Parameters
    ----------
    instance : object
        With all its attributes.
    own : callable
        Whether the caller trusts a class or a function by its name: these are allowed anywhere.
    seen : dict
        Containers that have been judged, which must stay alive; empty at first. Each is walked
        once for one set of kinds, however many instances hold it.
    """
    cls: Any = type(instance)
    attributes = vars(instance)
    alike = cls, tuple(attributes), tuple(map(type, attributes.values()))
    open_names = _OPEN_NAMES.get(alike)
    if open_names is None:
        known = get_row(cls)
        open_names = tuple(
            (name, "array" in known.kinds.get(name, _UNKNOWN))
            for name, value in attributes.items()
            if not _is_settled(known, name, value)
        )
        if len(_OPEN_NAMES) >= _MOST_ALIKE:
            _OPEN_NAMES.clear()
        _OPEN_NAMES[alike] = open_names
    for name, takes_arrays in open_names:
        value = attributes[name]
        if takes_arrays and type(value) is np.ndarray and value.dtype != object:
            continue
        fault = _find_misplaced(cls, name, value, own, seen)
        if fault is not None:
            return fault
    return None


# For instances of one class with the same attributes of the same types: the attributes to judge in
# each instance, and whether they take arrays.
_OPEN_NAMES: dict[tuple[Any, ...], tuple[tuple[str, bool], ...]] = {}
_MOST_ALIKE = 4096


def _is_settled(known: Row, name: str, value: Any) -> bool:
    """Whether the type of a value is enough to allow it there."""
    if value is None:
        return True
    kinds = known.kinds.get(name)
    if kinds is None:
        if known.open and name not in known.methods:
            return True
        kinds = _UNKNOWN
    if isinstance(value, (np.ndarray, range)):
        return False
    kind = kind_of(value)
    return kind in kinds and kind in _SETTLED and name not in _NAMES_OF_METHODS


def _find_misplaced(cls: type, name: str, value: Any, own: Own, seen: Seen) -> Misplaced | None:
    known = get_row(cls)
    kinds = known.kinds.get(name) or _UNKNOWN
    classes = known.classes.get(name, ())
    if _ANY in kinds:
        return None
    settled = not classes and kinds <= _SETTLED and name not in _NAMES_OF_METHODS
    judged = seen.setdefault(kinds if settled else (kinds, name, classes), set())
    for kind, thing in walk_leaves(value, judged, own):
        if kind in kinds and kind in _SETTLED and name not in _NAMES_OF_METHODS:
            continue
        fault = _find_fault(name, kind, thing, kinds, classes, own)
        if fault is not None:
            shown = f"{cls.__qualname__}.{name[:60]} holds {_show(thing, kind)}"
            return Misplaced(f"{shown}, where {fault}", list_things(thing))
    if name in _KEYWORDS and isinstance(value, dict):
        odd = find_odd_argument(value)
        if odd is not None:
            return Misplaced(f"{cls.__qualname__}.{name[:60]} has the argument {odd}")
    return None


def find_odd_argument(keywords: Mapping[Any, Any]) -> str | None:
    """Find an argument that no file may pass: memory to write or read, or ``dtype=`` of objects."""
    odd = sorted(str(key)[:40] for key in keywords if key in _WRITES)
    if odd:
        return f"{odd[0]}="
    try:
        objects = np.dtype(keywords.get("dtype", float)).hasobject
    except (TypeError, ValueError):  # a word or a list that scikit-learn's functions take
        return None
    return "dtype= of objects" if objects else None


# Attributes that hold arguments of functions which scikit-learn calls, and the names that these
# arguments must not have: memory that a function would write to, or read from.
_KEYWORDS = frozenset(
    {"kw_args", "inv_kw_args", "kernel_params", "metric_params", "effective_metric_params_"}
    | {"fun_args", "kernel_kwds", "_kwargs", "affinity_params"}
)
_WRITES = frozenset(
    {"out", "buffer", "like", "subok", "where", "casting", "signature", "sig", "extobj"}
)


_SETTLED = PLAIN | {"estimator", "sparse", "random_state", "splitter", "kernel", "loss", "link"}


def _find_fault(
    name: str,
    kind: str,
    value: Any,
    kinds: frozenset[str],
    classes: tuple[type, ...],
    own: Own,
) -> str | None:
    """Return why an attribute may not hold a value; None if it may."""
    if any(map(own, list_things(value))) or (classes and isinstance(value, classes)):
        return None
    if value is None:
        return None
    if kind not in kinds:
        known = ", ".join(sorted(kind_name.replace("_", " ") for kind_name in kinds))
        return f"only these are allowed: {known}"
    if kind == "function":
        return _find_function_fault(name, value, own)
    if name in _NAMES_OF_METHODS and not (isinstance(value, str) and value in _METHODS):
        return "only the name of an estimator's method is allowed"
    return None


def list_things(value: Any) -> tuple[Any, ...]:
    """List what a caller may trust by name so that a value is allowed anywhere."""
    if isinstance(value, functools.partial):
        return list_things(value.func)
    if isinstance(value, np.vectorize):
        return list_things(value.pyfunc)
    if isinstance(value, types.MethodType):
        return (type(value.__self__),)
    kind = kind_of(value)
    if kind in ("function", "type"):
        return (value,)
    return () if kind in PLAIN or kind == LONG_RANGE else (lazy.kind_of(value),)


def show_name(function: Any) -> str:
    """Return a function's name for a message; ufuncs have only a short one before NumPy 2."""
    return f"{getattr(function, '__qualname__', getattr(function, '__name__', '?')):.80}"


def _show(value: Any, kind: str) -> str:
    if kind == "scalar":
        return f"{value!r:.40}"
    if kind == "function":
        return f"the function {show_name(_unwrap_function(value))}"
    cls = lazy.kind_of(value)
    return (
        f"a {cls.__module__}.{cls.__qualname__}" if kind not in PLAIN else f"a {cls.__qualname__}"
    )


def _unwrap_function(value: Any) -> Any:
    while isinstance(value, functools.partial):
        value = value.func
    return value.pyfunc if isinstance(value, np.vectorize) else value


# Which attributes hold the name of a method that scikit-learn calls with rows.
_NAMES_OF_METHODS = frozenset(
    {"stack_method", "stack_method_", "chain_method", "chain_method_", "response_method"}
    | {"_response_method"}
)
_METHODS = frozenset(
    {"auto", "passthrough", "predict", "predict_proba", "predict_log_proba", "decision_function"}
    | {"score_samples", "transform", "predict_joint_log_proba"}
)


def _find_function_fault(name: str, value: Any, own: Own) -> str | None:
    """Return why an attribute may not hold a vetted function. Its arguments are already checked."""
    function = _unwrap_function(value)
    if isinstance(function, types.MethodType):
        return None  # of an object of the model: `functions.allow_method` has checked it
    modules = FUNCTIONS_AT.get(name, ())
    module = str(getattr(function, "__module__", None) or "builtins")
    if isinstance(function, np.ufunc):
        module = "numpy"
    fits = any(f"{module}.".startswith(f"{allowed}.") for allowed in modules)
    return None if fits else _NO_FUNCTION


_NO_FUNCTION = "no function of its module is allowed"
# Attributes that hold functions, and the modules of these: a function of rows returns rows or
# fails, a function of two arguments returns a number or a table of numbers.
_ROWS = ("numpy", "scipy.special")
_SCORES = ("sklearn.metrics", "sklearn.feature_selection")
_PAIRS = ("sklearn.metrics", "scipy.spatial")
_WORDS = ("sklearn.feature_extraction.text", "builtins")
FUNCTIONS_AT: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("func", "inverse_func"),
        (*_ROWS, "builtins", "sklearn.preprocessing", "sklearn.utils.validation"),
    ),
    **dict.fromkeys(("strategy", "pooling_func", "weights"), _ROWS),
    **dict.fromkeys(("score_func", "_score_func", "oob_score", "scoring", "scorer_"), _SCORES),
    **dict.fromkeys(("loss", "_scorer", "scorers", "_scorers"), _SCORES),
    **dict.fromkeys(("metric", "effective_metric_", "kernel", "affinity"), _PAIRS),
    **dict.fromkeys(("analyzer", "preprocessor", "strip_accents", "tokenizer"), _WORDS),
    "connectivity": ("sklearn.neighbors",),
    "f_": ("sklearn.isotonic",),
    "_asarray": ("scipy._lib", "sklearn.externals"),
    "_kmeans_single": ("sklearn.cluster",),
}
# In addition to what fits leave: what every estimator may have, and the results of a search, which
# are not called before the next fit.
_ANY = "any"
BY_HAND: Mapping[str, dict[str, str]] = {
    "sklearn.BaseEstimator": {
        "_metadata_request": "MetadataRequest",
        "_skl_callbacks": "ProgressBar ScoringMonitor scalar",
    },
    "sklearn.IsotonicRegression": {"f_": "interp1d function"},  # made anew by a load
    "sklearn.SparseCoefMixin": {"coef_": "array scalar sparse"},
    "sklearn.ColumnTransformer": {
        "transformers": "make_column_selector",
        "transformers_": "make_column_selector",
    },
    "sklearn.FunctionTransformer": {"kw_args": "type", "inv_kw_args": "type"},  # as dtype=
    "sklearn.CompoundKernel": {"kernels": "kernel"},
    "sklearn.Exponentiation": {"kernel": "kernel"},
    "sklearn.KernelOperator": {"k1": "kernel", "k2": "kernel"},
    "sklearn.PairwiseKernel": {"metric": "function scalar"},
    "sklearn._RepeatedSplits": {"cv": "type"},
    "sklearn.BaseLoss": {
        "interval_y_pred": "Interval scalar",
        "interval_y_true": "Interval scalar",
        "link": "link",
    },
    "sklearn.make_column_selector": dict.fromkeys(
        ("dtype_include", "dtype_exclude"), "scalar type value"
    ),
    "sklearn.BaseSearchCV": {
        **dict.fromkeys(("param_grid", "param_distributions", "cv_results_"), _ANY),
        "best_params_": _ANY,
    },
    "sklearn.BaseSuccessiveHalving": {"_search_results": _ANY},
    "joblib.Memory": {"location": "PosixPath WindowsPath PurePosixPath PureWindowsPath scalar"},
}
