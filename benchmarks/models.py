"""Models for the benchmarks, fitted once and kept as plain pickles in a folder."""

import pickle
from pathlib import Path

import numpy as np
from forests import FORESTS
from sklearn.datasets import make_friedman1
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.feature_extraction.text import CountVectorizer


def array():
    """400 MB in one array: half noise, half counting."""
    return np.concatenate([np.random.default_rng(0).random(25_000_000), np.arange(25e6)])


def vocabulary():
    """A vectorizer whose vocabulary pickles to about 20 MB."""
    vectorizer = CountVectorizer()
    vectorizer.vocabulary_ = {f"term{number:09d}": number for number in range(1_000_000)}
    return vectorizer


def boosting():
    """10,000 small trees."""
    features, target = make_friedman1(1000, noise=1.0, random_state=0)
    return GradientBoostingRegressor(n_estimators=10_000, random_state=0).fit(features, target)


MODELS = {**FORESTS, "array": array, "vocabulary": vocabulary, "gbr-10000": boosting}


def pickled(name, folder):
    """The path of a model's pickle; fitted if it is not there yet."""
    path = Path(folder, f"{name}.pickle").resolve()
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as stream:
            pickle.dump(MODELS[name](), stream, protocol=5)
    return path


def loaded(path):
    with open(path, "rb") as stream:
        return pickle.load(stream)
