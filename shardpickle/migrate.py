"""Steps between releases of the libraries whose objects are stored. Knows no bytes and no paths.

Three tables: modules that moved, names that something here stands in for, and what estimators
keep. Each row says which release brought the change; `state` applies the rows between the release
that wrote an estimator and the one that is installed, upwards or downwards.
"""

import functools
import inspect
from collections import UserList
from collections.abc import Callable
from typing import Any

import numpy as np
import sklearn
from numpy.random import BitGenerator, Generator, RandomState, _pickle
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.tree._tree import NODE_DTYPE
from sklearn.utils import check_array

Release = tuple[int, ...]
State = dict[str, Any]
Change = Callable[[State], None]


def _release(version: str) -> Release:
    return tuple(int(number) for number in version.split(".")[:2])


_NUMPY = _release(np.__version__)
_SKLEARN = _release(sklearn.__version__)


# Names. -------------------------------------------------------------------------------------------

# (module prefix in the file, module prefix here), tried in order when the file's does not exist.
_MOVED = (
    ("numpy.core", "numpy._core"),  # numpy 2.0 renamed it; 1.26 knows only the old name
    ("numpy._core", "numpy.core"),
    ("_loss", "sklearn._loss._loss"),  # scikit-learn 1.5 to 1.8 name the compiled module so
)


def module_names(module: str) -> list[str]:
    """Where to look for a module that a file names: as it is, then where releases moved it."""
    moved = [
        new + module[len(old) :]
        for old, new in _MOVED
        if module == old or module.startswith(old + ".")
    ]
    return [module, *moved]


# NumPy 2 hands its constructors the class of a bit generator, or the bit generator itself; 1.26
# knows only the class's name.


def _bit_generator(kind: Any = "MT19937") -> Any:
    return kind() if isinstance(kind, type) else _pickle.__bit_generator_ctor(kind)


def _generator(kind: Any = "MT19937", *ctor: Any) -> Any:
    made = isinstance(kind, BitGenerator)
    return Generator(kind) if made else _pickle.__generator_ctor(kind, *ctor)


def _random_state(kind: Any = "MT19937", *ctor: Any) -> Any:
    made = isinstance(kind, BitGenerator)
    return RandomState(kind) if made else _pickle.__randomstate_ctor(kind, *ctor)


def _loss(cls: Any, checksum: int, parameters: tuple[float, ...]) -> Any:
    return cls(*parameters)


_STAND_INS: dict[tuple[str, str], Any] = {}
if _NUMPY < (2, 0):
    _STAND_INS |= {
        ("numpy.random._pickle", "__bit_generator_ctor"): _bit_generator,
        ("numpy.random._pickle", "__generator_ctor"): _generator,
        ("numpy.random._pickle", "__randomstate_ctor"): _random_state,
    }
if _SKLEARN >= (1, 6):  # losses are made by their classes
    _STAND_INS |= {
        ("_loss", f"__pyx_unpickle_Cy{name}"): _loss
        for name in (
            *("AbsoluteError", "ExponentialLoss", "HalfBinomialLoss", "HalfGammaLoss"),
            *("HalfPoissonLoss", "HalfSquaredError", "HalfTweedieLoss", "HalfTweedieLossIdentity"),
            *("HuberLoss", "PinballLoss"),
        )
    }
if _SKLEARN >= (1, 7):  # a plain list; `_plain_columns` makes it one
    _STAND_INS["sklearn.compose._column_transformer", "_RemainderColsList"] = UserList


def stand_in(module: str, name: str) -> Any:
    """What to use for a name of another release that is gone here, or knows less; or None."""
    return _STAND_INS.get((module, name))


# State. -------------------------------------------------------------------------------------------


def _gained(attribute: str, make: Callable[[State], Any], *, fitted: str) -> Change:
    def change(state: State) -> None:
        if fitted in state:
            state.setdefault(attribute, make(state))

    return change


def _value(parameter: str, old: str, new: str | None) -> Change:
    def change(state: State) -> None:
        value = state.get(parameter)
        if isinstance(value, str) and value == old:
            state[parameter] = new

    return change


def _renamed(old: str, new: str) -> Change:
    def change(state: State) -> None:
        if not isinstance(state.get(old, ""), str):  # "deprecated" where both names are known
            state[new] = state.pop(old)

    return change


def _nothing(state: State) -> None:
    """No change."""


def _array(value: Any) -> NDArray[Any]:
    if not isinstance(value, np.ndarray):  # what else has these methods may be anybody's
        raise ValueError("statistics that are no array")
    return value


def _empty_features(state: State) -> NDArray[np.bool_]:
    statistics = _array(state["initial_imputer_"].statistics_)
    empty: NDArray[np.bool_] = np.isnan(statistics.astype(np.float64))
    return empty


def _not_samme_r(state: State) -> None:
    if state.get("algorithm") == "SAMME.R" and "estimators_" in state:
        raise ValueError(
            "it was fitted with algorithm='SAMME.R', which is gone since scikit-learn 1.6: "
            "what is installed would predict something else"
        )


def _samme(state: State) -> None:
    if state.get("algorithm", "deprecated") == "deprecated":
        state["algorithm"] = "SAMME"  # not the default of then


def _not_one_for_each_class(state: State) -> None:
    kind, solver = state.get("multi_class"), state.get("solver")
    each = kind == "ovr" or (kind != "multinomial" and solver == "liblinear")
    many = len(state.get("classes_", ())) > 2
    if "classes_" in state and (each if many else kind == "multinomial"):
        raise ValueError(
            f"it was fitted with multi_class={kind!r}, solver={solver!r}, and what is installed "
            "would predict other probabilities (scikit-learn 1.8 dropped multi_class)"
        )


def _plain_columns(state: State) -> None:
    def plain(entry: Any) -> Any:
        name, transformer, columns = entry
        return (name, transformer, list(columns) if isinstance(columns, UserList) else columns)

    if "transformers_" in state:
        state["transformers_"] = [plain(entry) for entry in state["transformers_"]]
        state["_remainder"] = plain(state["_remainder"])


def _constant_statistics(state: State) -> None:
    if state.get("strategy") != "constant" or "statistics_" not in state:
        return
    statistics = _array(state["statistics_"])
    if not state["keep_empty_features"] and any(each != each for each in statistics):
        raise ValueError(
            "it drops columns that were empty at the fit, which strategy='constant' does since "
            "scikit-learn 1.8 only"
        )
    state["statistics_"] = statistics.astype(state["_fill_dtype"])


_NO_WEIGHTS = _gained("_sample_weight", _nothing, fitted="estimators_")
_FILL_DTYPE = _gained(
    "_fill_dtype", lambda state: _array(state["statistics_"]).dtype, fitted="statistics_"
)
_EMPTY = _gained("_is_empty_feature", _empty_features, fitted="initial_imputer_")
_SQUARED = _value("criterion", "friedman_mse", "squared_error")  # always the same, says 1.9
_TO_ESTIMATOR = _renamed("base_estimator", "estimator")
_TO_BASE = _renamed("estimator", "base_estimator")
_TO_ESTIMATOR_ = _renamed("base_estimator_", "estimator_")
_TO_BASE_ = _renamed("estimator_", "base_estimator_")
_UNSET = _value("criterion", "friedman_mse", "deprecated")
_SET = _value("criterion", "deprecated", "friedman_mse")

# (release of scikit-learn, a class or its base, change from before that release, change to before
# it), oldest first.
_STEPS: tuple[tuple[Release, str, Change, Change], ...] = (
    ((1, 6), "AdaBoostClassifier", _not_samme_r, _samme),
    ((1, 6), "BaseHistGradientBoosting", _value("categorical_features", "warn", None), _nothing),
    ((1, 6), "IterativeImputer", _EMPTY, _nothing),
    ((1, 6), "SelfTrainingClassifier", _TO_ESTIMATOR, _TO_BASE),
    ((1, 6), "SelfTrainingClassifier", _TO_ESTIMATOR_, _TO_BASE_),
    ((1, 7), "ColumnTransformer", _plain_columns, _nothing),
    ((1, 7), "_BaseChain", _TO_ESTIMATOR, _TO_BASE),
    ((1, 8), "BaseBagging", _NO_WEIGHTS, _nothing),
    ((1, 8), "LogisticRegression", _not_one_for_each_class, _nothing),
    ((1, 8), "SimpleImputer", _FILL_DTYPE, _constant_statistics),
    ((1, 9), "BaseForest", _NO_WEIGHTS, _nothing),
    ((1, 9), "BaseForest", _SQUARED, _nothing),
    ((1, 9), "BaseDecisionTree", _SQUARED, _nothing),
    ((1, 9), "BaseGradientBoosting", _UNSET, _SET),
)


@functools.lru_cache(maxsize=1024)
def _changes(cls: Any, version: str) -> tuple[Change, ...]:
    """From the release that wrote an estimator to the one that is installed."""
    written, bases = _release(version), {base.__name__ for base in cls.__mro__}
    rows = [row for row in _STEPS if row[1] in bases]
    up = [change for since, _, change, _ in rows if written < since <= _SKLEARN]
    down = [change for since, _, _, change in reversed(rows) if _SKLEARN < since <= written]
    return (*up, *down, functools.partial(_parameters, _defaults(cls)))


def _renamed_keywords(function: Any, args: Any, keywords: Any, attributes: Any) -> Any:
    # The preprocessor of histogram boosting holds such a `functools.partial`.
    old, new = "force_all_finite", "ensure_all_finite"
    if _SKLEARN < (1, 6):
        old, new = new, old
    if function is check_array and old in keywords:
        keywords = {new if key == old else key: value for key, value in keywords.items()}
    return function, args, keywords, attributes


def _defaults(cls: Any) -> State:
    parameters = inspect.signature(cls).parameters.values()
    return {each.name: each.default for each in parameters if each.default is not each.empty}


def _parameters(defaults: State, state: State) -> None:
    """Parameters that the other release did not have; `repr` and `clone` ask for them."""
    for name, value in defaults.items():
        state.setdefault(name, value)


def state(instance: Any, state: Any) -> Any:
    """The state of an instance as the installed releases expect it.

    scikit-learn stamps each estimator with its release and warns once for each when that differs;
    the manifest holds the release once, and `load` gives one warning.

    Raises
    ------
    ValueError
        If the installed release would predict something else from it, without a word.
    """
    if isinstance(instance, BitGenerator) and isinstance(state, tuple) and _NUMPY < (2, 0):
        return state[0]  # and not the seed sequence, which NumPy 2 adds for `spawn`
    if isinstance(instance, functools.partial) and type(state) is tuple and len(state) == 4:
        return _renamed_keywords(*state) if type(state[2]) is dict else state
    stamped = isinstance(state, dict) and "_sklearn_version" in state
    theirs = type(instance).__module__.startswith("sklearn.")
    if stamped and theirs and isinstance(instance, BaseEstimator):
        if state["_sklearn_version"] != sklearn.__version__:
            cls: Any = type(instance)
            for change in _changes(cls, state["_sklearn_version"]):
                change(state)
        state["_sklearn_version"] = sklearn.__version__
    return state


# Trees of older releases, for a converter of their pickles. ---------------------------------------


def nodes(array: NDArray[np.void]) -> NDArray[np.void]:
    """A tree's nodes in the present layout.

    Parameters
    ----------
    array : ndarray
        The structured array of a tree's state, in the layout of scikit-learn 1.3 and later or the
        one before it (no ``missing_go_to_left``), with any byte order and width of integers.

    Returns
    -------
    ndarray
        What lacks ``missing_go_to_left`` gets what scikit-learn (for random splits: since 1.6)
        sets where a fit met no missing value: they go with the larger child. Leaves get 0, though
        in a tree with ``max_leaf_nodes`` some leaves hold what the split they did without had.

    Raises
    ------
    ValueError
        If the fields are others.
    """
    names = array.dtype.names
    missing = "missing_go_to_left"
    if names is None or set(names) | {missing} != set(NODE_DTYPE.names) or array.ndim != 1:
        raise ValueError(f"not the nodes of a tree: {array.ndim} dimension(s), fields {names}")
    found = np.zeros(array.shape, NODE_DTYPE)
    for name in names:
        np.copyto(found[name], array[name], casting="same_kind")
    if missing not in names:
        inner = np.flatnonzero(found["left_child"] >= 0)
        left, right = (found[side][inner] for side in ("left_child", "right_child"))
        counts = found["n_node_samples"]
        found[missing][inner] = counts[left] > counts[right]
    return found


def fractions(
    values: NDArray[np.float64], weighted_n_node_samples: NDArray[np.float64]
) -> NDArray[np.float64]:
    """A classifier's values, through scikit-learn 1.3 the weight of each class, as fractions.

    Parameters
    ----------
    values : ndarray of shape (nodes, outputs, classes)
    weighted_n_node_samples : ndarray of shape (nodes,)
        A field of the nodes.

    Returns
    -------
    ndarray of shape (nodes, outputs, classes)
        Bit for bit what a fit gives since scikit-learn 1.4, which divides so, node by node.
    """
    with np.errstate(divide="ignore", invalid="ignore"):  # nodes without weight
        found: NDArray[np.float64] = values / weighted_n_node_samples[:, None, None]
    return found.astype(np.float64, copy=False)
