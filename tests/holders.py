"""Classes of a user's, in a module of their own: what they do with the models that they hold."""

from functools import partial

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.ensemble import RandomForestClassifier


class Weighted(ClassifierMixin, BaseEstimator):
    """Predicts from rows that are weighed by its forest's importances."""

    def __init__(self, forest=None):
        self.forest = forest

    def fit(self, rows, target):
        self.model_ = self.forest.fit(rows, target)
        self.classes_ = self.model_.classes_
        return self

    def predict_proba(self, rows):
        return self.model_.predict_proba(rows * (1 + self.model_.feature_importances_))

    def predict(self, rows):
        return self.classes_[self.predict_proba(rows).argmax(axis=1)]


class Narrowed(RandomForestClassifier):
    """A forest with a `predict` of its own."""

    def predict(self, rows):
        most = self.feature_importances_.argmax()
        return self.predict_proba(rows)[:, 0] + most


class Holder:
    """No estimator at all."""

    def __init__(self, model):
        self.model = model
        self.predict_fn = model.predict

    def predict(self, rows):
        return self.predict_fn(rows)


class Partial(TransformerMixin, BaseEstimator):
    """Holds its model by a partial function alone."""

    def fit(self, rows, target):
        self.model_ = RandomForestClassifier(5, random_state=0).fit(rows, target)
        self.predict_fn_ = partial(self.model_.predict_proba)
        return self

    def transform(self, rows):
        return self.predict_fn_(rows)


class Slotted:
    __slots__ = ("methods", "model")

    def __init__(self, model):
        self.model = model
        self.methods = [model.predict, {"proba": partial(call, model.predict_proba)}]

    def predict(self, rows):
        return np.column_stack([self.methods[0](rows), self.methods[1]["proba"](rows)])


def call(function, rows):
    return function(rows)


def important(model, rows):
    """Columns by a model's importances."""
    return rows[:, np.argsort(model.feature_importances_)[-3:]]
