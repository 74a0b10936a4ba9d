"""Models for the benchmarks, fitted once and kept as plain pickles in a folder."""

import pickle
from pathlib import Path

import numpy as np
from sklearn.datasets import make_classification, make_friedman1
from sklearn.ensemble import (
    GradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_extraction.text import CountVectorizer


def rfc_synthetic():
    X, y = make_classification(
        60_000, 30, n_informative=12, n_classes=5, flip_y=0.1, random_state=0
    )
    return RandomForestClassifier(100, n_jobs=-1, random_state=0).fit(X, y)


def rfr_friedman():
    X, y = make_friedman1(50_000, noise=1.0, random_state=0)
    return RandomForestRegressor(30, n_jobs=-1, random_state=0).fit(X, y)


def gbr_friedman():
    X, y = make_friedman1(20_000, noise=1.0, random_state=0)
    return GradientBoostingRegressor(n_estimators=300, max_depth=6, random_state=0).fit(X, y)


def array():
    """400 MB in one array: half noise, half counting."""
    return np.concatenate([np.random.default_rng(0).random(25_000_000), np.arange(25e6)])


def vocabulary():
    """A vectorizer whose vocabulary pickles to about 20 MB."""
    vectorizer = CountVectorizer()
    vectorizer.vocabulary_ = {f"term{number:09d}": number for number in range(1_000_000)}
    return vectorizer


MODELS = {
    "rfc-synthetic": rfc_synthetic,
    "rfr-friedman": rfr_friedman,
    "gbr-friedman": gbr_friedman,
    "array": array,
    "vocabulary": vocabulary,
}


def pickled(name, folder):
    """The path of a model's pickle; fitted if it is not there yet."""
    path = Path(folder, f"{name}.pickle")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as stream:
            pickle.dump(MODELS[name](), stream, protocol=5)
    return path


def loaded(path):
    with open(path, "rb") as stream:
        return pickle.load(stream)
