"""Every estimator that scikit-learn lists, fitted on small data."""

import inspect
import warnings

import numpy as np
import scipy.sparse
from sklearn.base import is_regressor
from sklearn.datasets import make_classification
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.utils import all_estimators

X, LABELS = make_classification(60, 6, n_informative=4, n_classes=3, random_state=0)
X = np.round(X, 3)
TARGET = X @ np.arange(6.0) + 0.5
POSITIVE = np.abs(X) + 0.1
TEXTS = ["a cat sat", "the dog ran off", "a cat and a dog", "nothing here at all"] * 15
DICTS = [{"word": text, "length": len(text)} for text in TEXTS]
TWO_TARGETS = np.column_stack([TARGET, TARGET**2])
TWO_LABELS = np.column_stack([LABELS, (LABELS + 1) % 2])
INDICATORS = (TWO_LABELS > 0).astype(int)


def one_for(cls):
    if "Regress" in cls.__name__:
        return DecisionTreeRegressor(max_depth=2)
    return LogisticRegression()


ARGUMENTS = {
    "estimator": lambda cls: one_for(cls),
    "base_estimator": lambda cls: one_for(cls),
    "estimators": lambda cls: (
        [("a", Ridge()), ("b", LinearRegression())]
        if "Regressor" in cls.__name__
        else [("a", LogisticRegression()), ("b", DecisionTreeClassifier(max_depth=3))]
    ),
    "steps": lambda cls: [("scale", StandardScaler()), ("tree", DecisionTreeClassifier())],
    "transformers": lambda cls: [("scale", StandardScaler(), [0, 1])],
    "transformer_list": lambda cls: [("scale", StandardScaler())],
    "param_grid": lambda cls: {"C": [0.1, 1.0]},
    "param_distributions": lambda cls: {"C": [0.1, 1.0]},
    "dictionary": lambda cls: np.eye(6),
}
SPECIAL = {
    "GaussianRandomProjection": {"n_components": 3},
    "SparseRandomProjection": {"n_components": 3},
    "TSNE": {"max_iter": 250, "perplexity": 5},
    "SelfTrainingClassifier": {"estimator": LogisticRegression()},
    "RandomizedSearchCV": {"n_iter": 2},
    "HalvingRandomSearchCV": {"n_candidates": 2},
    "RANSACRegressor": {"estimator": LinearRegression()},
    "SelectFromModel": {"estimator": DecisionTreeClassifier(max_depth=3)},
    "MultiOutputRegressor": {"estimator": Ridge()},
    "OrthogonalMatchingPursuitCV": {"max_iter": 3},
    "FrozenEstimator": {"estimator": LogisticRegression().fit(X, LABELS)},
}

# In this order: the first that fits is the data an estimator is tried on.
DATA = [
    (X, LABELS),
    (X, TARGET),
    (X, LABELS > 0),
    (POSITIVE, LABELS),
    (POSITIVE, np.abs(TARGET) + 0.1),
    (X, TWO_TARGETS),
    (X, TWO_LABELS),
    (X, INDICATORS),
    (X[:, 0], TARGET),
    (TEXTS, None),
    (DICTS, None),
    (LABELS, None),
    (INDICATORS, None),
    ([["a", "b"], ["c"]] * 5, None),
    (X @ X.T, None),
]
REGRESSION_FIRST = [DATA[1], DATA[4], DATA[5], *DATA]


def make(name, cls):
    """An instance with what its constructor requires; small."""
    parameters = inspect.signature(cls.__init__).parameters
    required = {
        key: ARGUMENTS[key](cls)
        for key, parameter in parameters.items()
        if parameter.default is parameter.empty and key in ARGUMENTS
    }
    small = {"n_estimators": 4, "max_iter": 30, "random_state": 0, "n_init": 1}
    known = {key: value for key, value in small.items() if key in parameters}
    special = {
        key if key in parameters else f"base_{key}": value  # its name before scikit-learn 1.6
        for key, value in SPECIAL.get(name, {}).items()
    }
    return cls(**{**required, **known, **special})


def fitted(name, cls):
    """(the fitted estimator, its data), or raises what the last attempt raised."""
    attempts = REGRESSION_FIRST if is_regressor(make(name, cls)) else DATA
    failure = None
    for features, target in attempts:
        model = make(name, cls)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model.fit(features) if target is None else model.fit(features, target)
        except Exception as error:  # the next data may suit it
            failure = error
            continue
        return model, features
    raise failure


def predictions(model, features):
    """What every method that takes features gives."""
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for method in (
            "predict",
            "predict_proba",
            "decision_function",
            "transform",
            "score_samples",
        ):
            if hasattr(model, method):
                try:
                    result = getattr(model, method)(features)
                except (ValueError, AttributeError, TypeError) as error:  # not for these features
                    found[method] = type(error)
                    continue
                found[method] = result.toarray() if scipy.sparse.issparse(result) else result
    return found


def everything():
    """(name, class) of each estimator, those behind scikit-learn's experimental switches too."""
    # To import them is to switch them on.
    from sklearn.experimental import enable_halving_search_cv, enable_iterative_imputer  # noqa: F401

    return all_estimators()
