"""profile="inference": predictions keep their bits, and what was dropped looks like no number."""

import warnings

import numpy as np
import pytest
from scipy.sparse import issparse
from sklearn.datasets import make_classification, make_friedman1
from sklearn.ensemble import (
    AdaBoostRegressor,
    BaggingRegressor,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.inspection import partial_dependence
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

import shardpickle

CLASSES = make_classification(600, 12, n_informative=6, n_classes=3, random_state=0)
NUMBERS = make_friedman1(600, random_state=0)
MODELS = {
    "forest": (RandomForestClassifier(5, min_samples_leaf=3, random_state=0), CLASSES),
    "regression forest": (RandomForestRegressor(5, random_state=0), NUMBERS),
    "extra trees": (ExtraTreesRegressor(5, random_state=0), NUMBERS),
    "boosting": (GradientBoostingRegressor(n_estimators=5, random_state=0), NUMBERS),
    "boosting, classes": (GradientBoostingClassifier(n_estimators=5, random_state=0), CLASSES),
    "histogram boosting": (HistGradientBoostingRegressor(max_iter=5, random_state=0), NUMBERS),
    "histogram boosting, classes": (
        HistGradientBoostingClassifier(max_iter=5, random_state=0),
        CLASSES,
    ),
    "isolation forest": (IsolationForest(n_estimators=5, random_state=0), CLASSES),
    "one tree": (DecisionTreeClassifier(random_state=0), CLASSES),
    "best first": (DecisionTreeClassifier(max_leaf_nodes=20, random_state=0), CLASSES),
    "AdaBoost": (AdaBoostRegressor(n_estimators=4, random_state=0), NUMBERS),
    "bagging": (BaggingRegressor(n_estimators=4, random_state=0), NUMBERS),
    "pipeline": (
        make_pipeline(StandardScaler(), RandomForestRegressor(4, random_state=0)),
        NUMBERS,
    ),
}
METHODS = (
    *("predict", "predict_proba", "decision_function", "score_samples", "staged_predict"),
    *("apply", "decision_path"),
)


def slim(model, path):
    """The model as `load` gives it after a dump for inference."""
    shardpickle.dump(model, path, profile="inference")
    with pytest.warns(shardpickle.InferenceOnlyWarning):
        return shardpickle.load(path)


def answers(model, name, data):
    found = getattr(model, name)(data)
    found = list(found) if name == "staged_predict" or isinstance(found, tuple) else [found]
    return [each.toarray() if issparse(each) else np.asarray(each) for each in found]


@pytest.mark.long
@pytest.mark.parametrize("case", MODELS)
def test_predictions_keep_their_bits(case, tmp_path):
    model, (X, y) = MODELS[case]
    model.fit(X, y)
    loaded = slim(model, tmp_path / "model")
    holes = X.copy()
    holes[::3, 0] = np.nan
    asked = 0
    for name in METHODS:
        if not hasattr(model, name):
            continue
        for data in (X, holes):
            try:
                expected = answers(model, name, data)
            except ValueError:  # this one takes no missing values
                continue
            for mine, theirs in zip(expected, answers(loaded, name, data), strict=True):
                assert mine.dtype == theirs.dtype
                assert mine.tobytes() == theirs.tobytes(), name
            asked += 1
    assert asked


IMPORTANT = ("forest", "regression forest", "extra trees", "boosting", "one tree", "AdaBoost")


@pytest.mark.long
@pytest.mark.parametrize("case", IMPORTANT)
def test_importances_are_nan_not_zero(case, tmp_path):
    model, (X, y) = MODELS[case]
    model.fit(X, y)
    assert np.isnan(slim(model, tmp_path / "model").feature_importances_).all()
    assert np.isfinite(model.feature_importances_).all()  # the model itself stays whole


def test_fields_are_nan_or_minus_one(tmp_path):
    X, y = NUMBERS
    model = RandomForestRegressor(3, random_state=0).fit(X, y)
    for tree in slim(model, tmp_path / "model").estimators_:
        inner = tree.tree_.children_left != -1
        assert np.isnan(tree.tree_.impurity).all()
        assert np.isnan(tree.tree_.weighted_n_node_samples).all()
        assert (tree.tree_.n_node_samples == -1).all()
        assert np.isnan(tree.tree_.value[inner]).all()
        assert np.isfinite(tree.tree_.value[~inner]).all()


def test_fields_of_histogram_boosting(tmp_path):
    X, y = NUMBERS
    model = HistGradientBoostingRegressor(max_iter=3, random_state=0).fit(X, y)
    loaded = slim(model, tmp_path / "model")
    for (old,), (new,) in zip(model._predictors, loaded._predictors, strict=True):
        leaf = old.nodes["is_leaf"] == 1
        assert np.isnan(new.nodes["gain"]).all()
        assert np.isnan(new.nodes["value"][~leaf]).all()
        assert (new.nodes["value"][leaf] == old.nodes["value"][leaf]).all()
        assert (new.nodes["count"] == old.nodes["count"]).all()  # partial dependence weighs by it


def test_partial_dependence_by_recursion(tmp_path):
    X, y = NUMBERS
    forest = RandomForestRegressor(3, random_state=0).fit(X, y)
    with pytest.raises(ValueError, match="nan"):
        partial_dependence(slim(forest, tmp_path / "forest"), X, [0], method="recursion")
    boosting = HistGradientBoostingRegressor(max_iter=3, random_state=0).fit(X, y)
    loaded = slim(boosting, tmp_path / "boosting")
    expected = partial_dependence(boosting, X, [0], method="recursion")["average"]
    assert (partial_dependence(loaded, X, [0], method="recursion")["average"] == expected).all()


def test_it_is_recorded_and_smaller(tmp_path):
    X, y = NUMBERS
    model = RandomForestRegressor(5, min_samples_leaf=5, random_state=0).fit(X, y)
    full = shardpickle.dump(model, tmp_path / "full")
    less = shardpickle.dump(model, tmp_path / "less", profile="inference")
    assert less.stored_bytes < 0.8 * full.stored_bytes
    assert shardpickle.inspect(tmp_path / "less").profile == "inference"
    assert "inference" in str(shardpickle.inspect(tmp_path / "less"))
    assert shardpickle.inspect(tmp_path / "full").profile == "full"
    assert "inference" not in str(shardpickle.inspect(tmp_path / "full"))
    assert shardpickle.verify(tmp_path / "less", deep=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shardpickle.load(tmp_path / "full")


def test_what_was_dropped_stays_dropped(tmp_path):
    X, y = NUMBERS
    model = GradientBoostingRegressor(n_estimators=4, random_state=0).fit(X, y)
    loaded = slim(model, tmp_path / "less")
    shardpickle.dump(loaded, tmp_path / "again")  # "full": all that this model has
    again = shardpickle.load(tmp_path / "again")
    assert np.isnan(again.feature_importances_).all()
    assert (again.predict(X) == model.predict(X)).all()


def test_an_unknown_profile_is_refused(tmp_path):
    with pytest.raises(ValueError, match="profile has to be one of"):
        shardpickle.dump([1], tmp_path / "model", profile="small")
    assert not (tmp_path / "model").exists()
