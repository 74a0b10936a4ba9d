"""Writes models as older releases of scikit-learn pickle them, with what they predict there.

    python tests/foreign/models.py FOLDER

Needs nothing but the release under which it runs (1.0 and later) and imports nothing of this
package. FOLDER gets one file for each model, each in another dialect of pickle, and
``expected.npz``: the rows, and what each model gives for them in its own environment.

The folders beside this file were made so, once, and are never made again: sk102 with Python 3.10
(1.0 has no wheels for 3.11), the others with 3.11.
"""

import gzip
import inspect
import io
import pickle
import pickletools
import sys
import warnings
from pathlib import Path

import joblib
import numpy as np
import sklearn
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    BaggingRegressor,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    RandomTreesEmbedding,
    StackingRegressor,
    VotingClassifier,
)
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

ROWS = 160
METHODS = ("predict", "predict_proba", "decision_function", "transform", "apply", "score_samples")


def data():
    """Rows, classes, targets; column 3 is a category, and `gaps` lacks some entries."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(ROWS, 4)).round(3)
    X[:, 3] = rng.integers(0, 5, ROWS)
    target = X[:, 0] * 2 + np.abs(X[:, 1]) + (X[:, 3] > 2) + rng.normal(0, 0.1, ROWS)
    classes = np.digitize(target, np.quantile(target, [0.4, 0.7]))
    gaps = X.copy()
    gaps[rng.random(X.shape) < 0.1] = np.nan
    gaps[:, 3] = X[:, 3]
    return X, classes, target, gaps


def models(X, classes, target, gaps):  # noqa: N803
    """Name, fitted model, rows to predict."""
    two = classes > 0
    words = np.array(["no", "maybe", "yes"])[classes]
    weights = np.linspace(0.5, 2, ROWS)
    small = {"n_estimators": 4, "random_state": 0}
    boosted = {"n_estimators": 5, "max_depth": 2, "random_state": 0}
    hist = {"max_iter": 4, "max_leaf_nodes": 6, "random_state": 0}
    known = inspect.signature(AdaBoostClassifier).parameters
    samme = {"algorithm": "SAMME"} if "algorithm" in known else {}
    both = np.column_stack([classes, two.astype(int)])
    pairs = [
        ("forest-classifier", RandomForestClassifier(max_depth=5, **small), X, words),
        ("forest-multioutput", RandomForestClassifier(max_depth=4, **small), X, both),
        ("forest-regressor", RandomForestRegressor(max_depth=5, **small), X, target),
        ("forest-best-first", RandomForestRegressor(max_leaf_nodes=8, **small), X, target),
        ("extra-classifier", ExtraTreesClassifier(max_depth=4, **small), X, classes),
        (
            "extra-regressor",
            ExtraTreesRegressor(max_depth=4, oob_score=True, bootstrap=True, **small),
            X,
            target,
        ),
        ("tree-classifier", DecisionTreeClassifier(min_samples_leaf=4, random_state=0), X, classes),
        ("tree-regressor", DecisionTreeRegressor(min_samples_leaf=4, random_state=0), X, target),
        ("embedding", RandomTreesEmbedding(max_depth=3, **small), X, None),
        ("isolation-forest", IsolationForest(max_samples=32, **small), X, None),
        ("boosting-binary", GradientBoostingClassifier(**boosted), X, two),
        ("boosting-classes", GradientBoostingClassifier(**boosted), X, words),
        ("boosting-exponential", GradientBoostingClassifier(loss="exponential", **boosted), X, two),
        ("boosting-regressor", GradientBoostingRegressor(**boosted), X, target),
        ("boosting-huber", GradientBoostingRegressor(loss="huber", **boosted), X, target),
        (
            "boosting-quantile",
            GradientBoostingRegressor(loss="quantile", alpha=0.8, **boosted),
            X,
            target,
        ),
        (
            "boosting-absolute",
            GradientBoostingRegressor(loss="absolute_error", **boosted),
            X,
            target,
        ),
        ("boosting-zero", GradientBoostingClassifier(init="zero", **boosted), X, two),
        ("hist-binary", HistGradientBoostingClassifier(**hist), gaps, two),
        (
            "hist-classes",
            HistGradientBoostingClassifier(categorical_features=[3], **hist),
            gaps,
            words,
        ),
        (
            "hist-regressor",
            HistGradientBoostingRegressor(categorical_features=[3], **hist),
            gaps,
            target,
        ),
        (
            "hist-poisson",
            HistGradientBoostingRegressor(loss="poisson", **hist),
            gaps,
            np.abs(target),
        ),
        ("hist-stopped", HistGradientBoostingRegressor(early_stopping=True, **hist), gaps, target),
        ("ada", AdaBoostClassifier(n_estimators=4, random_state=0, **samme), X, classes),
        ("bagging", BaggingClassifier(DecisionTreeClassifier(max_depth=3), **small), X, classes),
        (
            "bagging-features",
            BaggingRegressor(max_features=0.5, max_samples=0.3, **small),
            X,
            target,
        ),
        (
            "voting",
            VotingClassifier(
                [("a", RandomForestClassifier(max_depth=3, **small)), ("b", LogisticRegression())],
                voting="soft",
            ),
            X,
            classes,
        ),
        (
            "stacking",
            StackingRegressor(
                [("a", RandomForestRegressor(max_depth=3, **small)), ("b", Ridge())],
                final_estimator=LinearRegression(),
            ),
            X,
            target,
        ),
        (
            "search",
            GridSearchCV(
                RandomForestClassifier(max_depth=3, **small), {"min_samples_leaf": [2, 8]}, cv=2
            ),
            X,
            classes,
        ),
        (
            "imputer-forest",
            make_pipeline(SimpleImputer(), RandomForestClassifier(max_depth=4, **small)),
            gaps,
            classes,
        ),
        (
            "imputer-boosting",
            make_pipeline(
                SimpleImputer(strategy="median", add_indicator=True),
                StandardScaler(),
                GradientBoostingClassifier(**boosted),
            ),
            gaps,
            classes,
        ),
        (
            "imputer-most-frequent",
            make_pipeline(SimpleImputer(strategy="most_frequent"), LogisticRegression()),
            gaps,
            two,
        ),
        (
            "imputer-constant",
            make_pipeline(SimpleImputer(strategy="constant", fill_value=-1.0), Ridge()),
            gaps,
            target,
        ),
        (
            "imputer-neighbors",
            make_pipeline(
                KNNImputer(n_neighbors=3), DecisionTreeRegressor(max_depth=3, random_state=0)
            ),
            gaps,
            target,
        ),
        (
            "imputer-iterative",
            make_pipeline(IterativeImputer(max_iter=2, random_state=0), Ridge()),
            gaps,
            target,
        ),
        (
            "columns",
            make_pipeline(
                ColumnTransformer(
                    [
                        ("numbers", SimpleImputer(), [0, 1, 2]),
                        ("kinds", OneHotEncoder(handle_unknown="ignore"), [3]),
                    ]
                ),
                LogisticRegression(),
            ),
            gaps,
            classes,
        ),
        ("svc", make_pipeline(StandardScaler(), SVC(probability=False)), X, classes),
    ]
    for name, model, rows, goal in pairs:
        model.fit(rows, goal) if goal is not None else model.fit(rows)
        yield name, model, rows
    yield (
        "weighted",
        RandomForestClassifier(max_depth=4, class_weight="balanced", **small).fit(
            X, classes, sample_weight=weights
        ),
        X,
    )
    yield "table", _table(X, classes), None


def _table(X, classes):  # noqa: N803
    """A dict of models and numbers, as people keep them."""
    forest = RandomForestClassifier(3, max_depth=3, random_state=0).fit(X, classes)
    return {
        "model": forest,
        "again": forest,
        "score": np.float64(0.5),
        "names": np.array(["a", "b"], dtype=object),
    }


def dumped(model, number):
    """The model as a file, each in the next dialect: its bytes and the file's suffix."""
    dialects = [
        lambda: (pickle.dumps(model), ".pkl"),
        lambda: (pickle.dumps(model, 0), ".pkl"),
        lambda: (pickle.dumps(model, 2), ".pkl"),
        lambda: (pickle.dumps(model, 5), ".pkl"),
        lambda: (gzip.compress(pickletools.optimize(pickle.dumps(model, 4)), mtime=0), ".pkl.gz"),
        lambda: (_by_joblib(model, 0), ".joblib"),
        lambda: (_by_joblib(model, ("zlib", 9)), ".joblib"),
        lambda: (_by_joblib(model, ("xz", 6)), ".joblib"),
    ]
    return dialects[number % len(dialects)]()


def _by_joblib(model, compress):
    file = io.BytesIO()
    joblib.dump(model, file, compress=compress)
    return file.getvalue()


def answers(model, rows):
    """What a model says of rows, by method."""
    found = {}
    for method in METHODS:
        if hasattr(model, method):
            values = getattr(model, method)(rows)
            if isinstance(values, list):  # one array for each output
                values = np.concatenate(values, axis=1)
            values = values.toarray() if hasattr(values, "toarray") else np.asarray(values)
            found[method] = values
    return found


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True)
    warnings.simplefilter("ignore")
    X, classes, target, gaps = data()
    expected = {"X": X, "gaps": gaps}
    for number, (name, model, rows) in enumerate(models(X, classes, target, gaps)):
        content, suffix = dumped(model, number)
        (folder / (name + suffix)).write_bytes(content)
        kept = model["model"] if isinstance(model, dict) else model
        rows = X if rows is None else rows
        for method, values in answers(kept, rows[:40]).items():
            expected[f"{name}/{method}"] = values
    np.savez_compressed(folder / "expected.npz", **expected)
    print(f"scikit-learn {sklearn.__version__}, numpy {np.__version__}: {number + 1} models")


if __name__ == "__main__":
    main()
