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
from sklearn.dummy import DummyClassifier
from sklearn.ensemble._iforest import _average_path_length
from sklearn.metrics._scorer import _PassthroughScorer
from sklearn.tree._tree import Tree
from sklearn.utils import check_array
from sklearn.utils._mask import _get_mask

from shardpickle.sklearn_support.gone_names import MAKE, PASSTHROUGH, Gone

Release = tuple[int, ...]
State = dict[str, Any]
Change = Callable[[State], None]


def release(version: str) -> Release:
    return tuple(int(number) for number in version.split(".")[:2])


_NUMPY = release(np.__version__)
_SKLEARN = release(sklearn.__version__)


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
    is_made = isinstance(kind, BitGenerator)
    return Generator(kind) if is_made else _pickle.__generator_ctor(kind, *ctor)


def _random_state(kind: Any = "MT19937", *ctor: Any) -> Any:
    is_made = isinstance(kind, BitGenerator)
    return RandomState(kind) if is_made else _pickle.__randomstate_ctor(kind, *ctor)


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
        (module, f"__pyx_unpickle_Cy{name}"): _loss
        for module in ("_loss", "sklearn._loss._loss")
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


def _value(parameter: str, old: str, new: str | float | None) -> Change:
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
        state["algorithm"] = "SAMME"  # not the default of that release


def _not_one_for_each_class(state: State) -> None:
    kind, solver = state.get("multi_class"), state.get("solver")
    one_vs_rest = kind == "ovr" or (kind != "multinomial" and solver == "liblinear")
    multiclass = len(state.get("classes_", ())) > 2
    if "classes_" in state and (one_vs_rest if multiclass else kind == "multinomial"):
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
    if not state["keep_empty_features"] and any(value != value for value in statistics):
        raise ValueError(
            "it drops columns that were empty at the fit, which strategy='constant' does since "
            "scikit-learn 1.8 only"
        )
    state["statistics_"] = statistics.astype(state["_fill_dtype"])


def _present_loss(state: State) -> None:
    """Gradient boosting through 1.3, histogram boosting in 1.0: losses had classes of their own."""
    old = state.pop("loss_", None) or state.get("_loss")
    if not isinstance(old, Gone):
        return
    classes = len(state["classes_"]) if "classes_" in state else 1
    state["_loss"] = MAKE[type(old).__name__](old, classes)


def _boosting(state: State) -> None:
    if "estimators_" not in state:
        return
    _present_loss(state)
    state["n_trees_per_iteration_"] = _array(state["estimators_"]).shape[1]
    init = state.get("init_")
    if "classes_" in state and not (isinstance(init, str) or type(init) is DummyClassifier):
        raise ValueError(
            "its init is a classifier of its own, whose probabilities scikit-learn 1.4 and later "
            "clip elsewhere: what is installed would predict something else"
        )


def _histogram(state: State) -> None:
    _present_loss(state)
    baseline = state.get("_baseline_prediction")
    if baseline is not None:  # 1.0: a number, or a column with a row for each class
        state["_baseline_prediction"] = np.array(baseline, np.float64).reshape(1, -1)


def _no_preprocessor(state: State) -> None:
    """Through 1.3, categories are the numbers in X themselves."""
    state.setdefault("_preprocessor", None)
    state.setdefault("_is_categorical_remapped", state.get("is_categorical_"))


def _depths(state: State) -> None:
    """Isolation forests keep what they know of each tree since 1.3, as their fit computes it."""
    trees = [estimator.tree_ for estimator in state.get("estimators_", ())]
    if not trees or "_decision_path_lengths" in state:
        return
    if not all(isinstance(tree, Tree) and tree.node_count > 0 for tree in trees):
        raise ValueError("estimators that are not trees")
    state["_average_path_length_per_tree"] = tuple(
        _average_path_length(tree.n_node_samples) for tree in trees
    )
    state["_decision_path_lengths"] = tuple(tree.compute_node_depths() for tree in trees)


def _sparse_output(state: State) -> None:
    old = state.pop("sparse", "deprecated")
    if isinstance(old, bool):
        state["sparse_output"] = old


def _groups(state: State) -> None:
    """One-hot encoders tell apart since 1.2 what is dropped before and after rare categories."""
    if "categories_" not in state:
        return
    if state.setdefault("_infrequent_enabled", False) and state.get("drop_idx_") is not None:
        raise ValueError("it drops categories and groups rare ones, which 1.1 kept otherwise")
    state.setdefault("_drop_idx_after_grouping", state.get("drop_idx_"))
    dropped = state["drop_idx_"] if state.get("drop_idx_") is not None else ()
    counts = [len(categories) for categories in state["categories_"]]
    for place, index in enumerate(dropped):
        counts[place] -= index is not None
    state.setdefault("_n_features_outs", counts)


def _gaps_at_fit(state: State) -> None:
    if "_fit_X" in state:
        state["_mask_fit_X"] = _get_mask(_array(state["_fit_X"]), state["missing_values"])
        state["_valid_mask"] = ~state["_mask_fit_X"].all(axis=0)


def _other_decisions(state: State) -> None:
    if "estimators_" in state:
        raise ValueError(
            "scikit-learn 1.3 changed what AdaBoostClassifier's probabilities and decisions are: "
            "what is installed would predict something else"
        )


def _scorer(state: State) -> None:
    if state.get("scorer_") is PASSTHROUGH:
        state["scorer_"] = _PassthroughScorer(state["estimator"])


def _all_of(*changes: Change) -> Change:
    def change(state: State) -> None:
        for change_one in changes:
            change_one(state)

    return change


_NO_WEIGHTS = _gained("_sample_weight", _nothing, fitted="estimators_")
_FILL_DTYPE = _gained(
    "_fill_dtype", lambda state: _array(state["statistics_"]).dtype, fitted="statistics_"
)
_FIT_DTYPE = _gained(
    "_fit_dtype", lambda state: _array(state["statistics_"]).dtype, fitted="statistics_"
)
_EMPTY = _gained("_is_empty_feature", _empty_features, fitted="initial_imputer_")
_CRITERIA = _all_of(
    _value("criterion", "mse", "squared_error"), _value("criterion", "mae", "absolute_error")
)
_OLD_LOSSES = _all_of(
    *(_value("loss", "ls", "squared_error"), _value("loss", "lad", "absolute_error")),
    *(_value("loss", "least_squares", "squared_error"), _value("loss", "auto", "log_loss")),
    *(_value("loss", "least_absolute_deviation", "absolute_error"),),
    *(_value("loss", "deviance", "log_loss"), _value("loss", "binary_crossentropy", "log_loss")),
    *(_value("loss", "categorical_crossentropy", "log_loss"),),
)
_AUTO_ROOT = _value("max_features", "auto", "sqrt")
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
    ((1, 1), "BaseHistGradientBoosting", _histogram, _nothing),
    ((1, 1), "KNNImputer", _gaps_at_fit, _nothing),
    ((1, 1), "SimpleImputer", _FIT_DTYPE, _nothing),
    ((1, 2), "AdaBoostClassifier", _TO_ESTIMATOR_, _nothing),
    ((1, 2), "AdaBoostRegressor", _TO_ESTIMATOR_, _nothing),
    ((1, 2), "BaseBagging", _TO_ESTIMATOR_, _nothing),
    ((1, 2), "BaseEnsemble", _TO_ESTIMATOR, _nothing),
    ((1, 2), "BaseForest", _TO_ESTIMATOR_, _nothing),
    ((1, 2), "BaseDecisionTree", _CRITERIA, _nothing),
    ((1, 2), "BaseForest", _CRITERIA, _nothing),
    ((1, 2), "BaseGradientBoosting", _CRITERIA, _nothing),
    ((1, 2), "BaseHistGradientBoosting", _OLD_LOSSES, _nothing),
    ((1, 2), "OneHotEncoder", _groups, _nothing),
    ((1, 3), "AdaBoostClassifier", _other_decisions, _nothing),
    ((1, 3), "BaseGradientBoosting", _OLD_LOSSES, _nothing),
    ((1, 3), "BaseSearchCV", _scorer, _nothing),
    ((1, 3), "DecisionTreeClassifier", _AUTO_ROOT, _nothing),
    ((1, 3), "DecisionTreeRegressor", _value("max_features", "auto", None), _nothing),
    ((1, 3), "ForestClassifier", _AUTO_ROOT, _nothing),
    ((1, 3), "ForestRegressor", _value("max_features", "auto", 1.0), _nothing),
    ((1, 3), "IsolationForest", _depths, _nothing),
    ((1, 4), "BaseEnsemble", _TO_ESTIMATOR, _nothing),
    ((1, 4), "BaseGradientBoosting", _boosting, _nothing),
    ((1, 4), "BaseHistGradientBoosting", _no_preprocessor, _nothing),
    ((1, 4), "OneHotEncoder", _sparse_output, _nothing),
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
    written, bases = release(version), {base.__name__ for base in cls.__mro__}
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
    return {
        parameter.name: parameter.default
        for parameter in parameters
        if parameter.default is not parameter.empty
    }


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


# Trees of older releases. -------------------------------------------------------------------------


# What only pickles of others need: shardpickle's own files begin with scikit-learn 1.5. --------


HERE: str = sklearn.__version__


# What other machines write. -----------------------------------------------------------------------


def is_a_librarys(instance: Any) -> bool:
    """Whether the arrays in an instance are the business of scikit-learn's or SciPy's loops.

    NumPy's generators among them; its arrays are what the user put there.
    """
    module = type(instance).__module__
    known = module.startswith(("sklearn.", "scipy.", "numpy.random"))
    return known or isinstance(instance, BaseEstimator)
