"""Steps between releases of the libraries whose objects are stored. Knows no bytes and no paths."""

from typing import Any

import sklearn
from sklearn.base import BaseEstimator

# (module prefix in the file, module prefix here), tried in order when the file's does not exist.
_MOVED = (
    ("numpy.core", "numpy._core"),  # numpy 2.0 renamed it; 1.26 knows only the old name
    ("numpy._core", "numpy.core"),
    ("_loss", "sklearn._loss._loss"),  # scikit-learn 1.5 to 1.7 name the compiled module so
)


def module_names(module: str) -> list[str]:
    """Where to look for a module that a file names: as it is, then where releases moved it."""
    moved = [
        new + module[len(old) :]
        for old, new in _MOVED
        if module == old or module.startswith(old + ".")
    ]
    return [module, *moved]


def state(instance: Any, state: Any) -> Any:
    """The state of an instance as the installed release expects it.

    scikit-learn stamps each estimator with its release and warns once for each when that differs;
    the manifest holds the release once, and `load` gives one warning.
    """
    stamped = isinstance(state, dict) and "_sklearn_version" in state
    theirs = type(instance).__module__.startswith("sklearn.")
    if stamped and theirs and isinstance(instance, BaseEstimator):
        state["_sklearn_version"] = sklearn.__version__
    return state
