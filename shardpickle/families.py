"""What shardpickle knows of estimator classes. Knows no bytes and no paths."""

from sklearn.base import BaseEstimator
from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor


def is_estimator(obj: object) -> bool:
    """Whether an object is cut off as a part of its own wherever it stands in a model."""
    return isinstance(obj, BaseEstimator | TreePredictor) and not isinstance(obj, type)
