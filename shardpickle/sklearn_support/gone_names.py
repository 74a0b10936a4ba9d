"""Names of scikit-learn and joblib that later releases moved, renamed or dropped."""

import functools
from collections.abc import Callable, Iterable
from importlib.machinery import PathFinder
from typing import Any

import sklearn
from sklearn._loss import loss


class Gone:
    """Replaces an instance of a class that no longer exists, and keeps its attributes."""


def _make_gone(kind: str) -> type:
    return type(kind, (Gone,), {})


def _make_huber(old: Any, classes: int) -> Any:
    huber = loss.HuberLoss(quantile=float(old.alpha))
    huber.closs.delta = float(old.gamma)
    return huber


# How each loss through scikit-learn 1.3 (histogram boosting: 1.0) is made since, from what the old
# one kept and the number of classes. Source: both releases' `_get_loss`.
_LOSSES: dict[str, dict[str, Callable[[Any, int], Any]]] = {
    "sklearn.ensemble._gb_losses": {
        "LeastSquaresError": lambda old, classes: loss.HalfSquaredError(),
        "LeastAbsoluteError": lambda old, classes: loss.AbsoluteError(),
        "HuberLossFunction": _make_huber,
        "QuantileLossFunction": lambda old, classes: loss.PinballLoss(quantile=float(old.alpha)),
        "BinomialDeviance": lambda old, classes: loss.HalfBinomialLoss(),
        "MultinomialDeviance": lambda old, classes: loss.HalfMultinomialLoss(n_classes=classes),
        "ExponentialLoss": lambda old, classes: loss.ExponentialLoss(),
    },
    "sklearn.ensemble._hist_gradient_boosting.loss": {
        "LeastSquares": lambda old, classes: loss.HalfSquaredError(),
        "LeastAbsoluteDeviation": lambda old, classes: loss.AbsoluteError(),
        "Poisson": lambda old, classes: loss.HalfPoissonLoss(),
        "BinaryCrossEntropy": lambda old, classes: loss.HalfBinomialLoss(),
        "CategoricalCrossEntropy": lambda old, classes: loss.HalfMultinomialLoss(n_classes=classes),
    },
}

PASSTHROUGH = _make_gone("_passthrough_scorer")  # a function; a class with the estimator since 1.3

# (module, name) of older releases: the class that replaces it while a foreign pickle is read.
GONE: dict[tuple[str, str], type] = {
    ("sklearn.metrics._scorer", "_passthrough_scorer"): PASSTHROUGH,
    **{(module, name): _make_gone(name) for module, names in _LOSSES.items() for name in names},
}

MAKE = {name: make for names in _LOSSES.values() for name, make in names.items()}

_JOBLIB = "joblib.numpy_pickle", "NumpyArrayWrapper"

_MOVED_NAMES = {
    ("sklearn.utils", "Bunch"): ("sklearn.utils._bunch", "Bunch"),  # 1.2
    ("sklearn.externals.joblib.numpy_pickle", "NumpyArrayWrapper"): _JOBLIB,  # 0.23
}

_MOVED_MODULES = {"dill.dill": "dill._dill"}  # dill 0.2.8


def translate_name(module: str, name: str) -> tuple[str, str]:
    """Return the name that supported releases use for a name of an older one."""
    return _MOVED_NAMES.get((module, name), (_MOVED_MODULES.get(module, module), name))


def list_gone(names: Iterable[tuple[str, str]]) -> list[str]:
    """List modules that the installed scikit-learn does not have; imports none of them."""
    modules = dict.fromkeys(module for module, name in names if (module, name) not in GONE)
    return [module for module in modules if module.startswith("sklearn.") and not _is_here(module)]


@functools.lru_cache(maxsize=1024)
def _is_here(module: str) -> bool:
    name, _, rest = module.partition(".")
    places = sklearn.__path__
    while rest:
        step, _, rest = rest.partition(".")
        name = f"{name}.{step}"
        spec = PathFinder.find_spec(name, places) if step.isidentifier() else None
        if spec is None:
            return False
        places = spec.submodule_search_locations or []
    return True


def is_public(module: str) -> bool:
    """Whether no part of a module's name is private, as in estimators' modules before 0.24."""
    return not any(part.startswith("_") for part in module.split("."))
