"""Models that one release of scikit-learn and NumPy wrote, loaded under another: equal bits?

    python tests/releases.py write FOLDER    fits, dumps, predicts
    python tests/releases.py read FOLDER     loads under another release, predicts, compares

`.ci/run` calls it in both directions between the oldest and the newest supported releases. Models
whose name starts with "refused" must not load: the other release predicts something else.
"""

import copy
import sys
import warnings
from pathlib import Path

import numpy as np
import scipy.sparse
import sklearn
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    AdaBoostClassifier,
    AdaBoostRegressor,
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
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, MissingIndicator, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import (
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.tree import (
    DecisionTreeClassifier,
    DecisionTreeRegressor,
    ExtraTreeClassifier,
    ExtraTreeRegressor,
)

import shardpickle

METHODS = (
    "predict",
    "predict_proba",
    "predict_log_proba",
    "decision_function",
    "score_samples",
    "apply",
    "transform",
    "staged_predict",
    "staged_decision_function",
)
# Here NumPy's and SciPy's exp, log and powers have a say, and their last bits change with their
# releases. All else is compared bit for bit. (Start of the model's name, methods.)
CLOSE = (
    ("", ("predict_log_proba",)),
    ("adaboost classifier", ("predict_proba",)),
    ("boosting classifier", ("predict_proba", "decision_function", "staged_decision_function")),
    ("bagging classifier of boosting", ("predict_proba", "decision_function")),
    ("voting classifier", ("transform",)),
    ("stacking classifier", ("predict_proba", "decision_function", "transform")),
    ("histogram classifier", ("predict_proba",)),
    ("histogram regressor gamma", ("predict", "staged_predict")),
    ("histogram regressor poisson", ("predict", "staged_predict")),
    ("isolation", ("decision_function", "score_samples")),
    ("logistic", ("predict_proba",)),
)
ULPS = 16  # of the value, or of 1 where that is smaller


def data():
    """{name: inputs or target}"""
    rng = np.random.RandomState(7)
    plain = np.round(rng.standard_normal((300, 6)), 2)
    holes = np.where(rng.uniform(size=plain.shape) < 0.1, np.nan, plain)
    kinds = holes.copy()
    kinds[:, 0] = rng.randint(0, 5, len(plain))
    empty = holes.copy()
    empty[:, 2] = np.nan
    number = plain @ np.array([1.0, -2.0, 0.5, 0.0, 3.0, 1.0])
    third = np.digitize(number, [-2, 2])
    return {
        "plain": plain,
        "float32": plain.astype(np.float32),
        "holes": holes,
        "kinds": kinds,
        "empty": empty,
        "sparse": scipy.sparse.csr_matrix(np.where(plain > 0.5, plain, 0)),
        "two": (number > 0).astype(int),
        "three": np.array(["a", "b", "c"])[third],
        "number": number,
        "positive": np.abs(number) + 0.1,
        "numbers": np.column_stack([number, number**2]),
        "labels": np.column_stack([number > 0, third]).astype(int),
    }


def models():
    """(name, estimator, inputs, target)"""
    yield from both_kinds("classifier", "two", CLASSIFIERS)
    yield from both_kinds("regressor", "number", REGRESSORS)
    small = {"n_estimators": 7, "random_state": 3}
    for criterion in ("entropy", "log_loss"):
        forest = RandomForestClassifier(criterion=criterion, class_weight="balanced", **small)
        yield f"forest classifier {criterion}", forest, "plain", "three"
    old = [] if sklearn_is(1, 9) else ["friedman_mse"]
    for criterion in ("absolute_error", "poisson", *old):
        for cls in (RandomForestRegressor, ExtraTreesRegressor):
            forest = cls(criterion=criterion, **small)
            yield f"{cls.__name__} {criterion}", forest, "plain", "positive"
    for loss in ("absolute_error", "huber", "quantile"):
        boosting = GradientBoostingRegressor(loss=loss, **small)
        yield f"boosting regressor {loss}", boosting, "plain", "number"
    for loss in ("absolute_error", "gamma", "poisson", "quantile"):
        options = {"quantile": 0.7} if loss == "quantile" else {}
        boosting = HistGradientBoostingRegressor(loss=loss, max_iter=9, random_state=3, **options)
        yield f"histogram regressor {loss}", boosting, "plain", "positive"
    yield "forest classifier three", RandomForestClassifier(**small), "plain", "three"
    yield "forest classifier labels", RandomForestClassifier(**small), "plain", "labels"
    yield "forest regressor numbers", RandomForestRegressor(**small), "plain", "numbers"
    yield "boosting classifier three", GradientBoostingClassifier(**small), "plain", "three"
    boosting = GradientBoostingClassifier(loss="exponential", **small)
    yield "boosting classifier exponential", boosting, "plain", "two"
    boosting = GradientBoostingClassifier(init="zero", **small)
    yield "boosting classifier zero", boosting, "sparse", "three"
    # Its probabilities are float64 inside of (1e-7, 1 - 1e-7); scikit-learn 1.8 clips and rounds
    # all others in another way.
    init = DecisionTreeClassifier(max_depth=1)
    boosting = GradientBoostingClassifier(init=init, **small)
    yield "boosting classifier init", boosting, "plain", "two"
    boosting = HistGradientBoostingClassifier(max_iter=9, random_state=3)
    yield "histogram classifier three", boosting, "holes", "three"
    samme = {"algorithm": "SAMME"} if not sklearn_is(1, 6) else {}
    stump = DecisionTreeClassifier(max_depth=3)
    for target in ("two", "three"):
        boosting = AdaBoostClassifier(stump, **samme, **small)
        yield f"adaboost classifier {target}", boosting, "plain", target
    for loss in ("linear", "exponential"):
        yield f"adaboost regressor {loss}", AdaBoostRegressor(loss=loss, **small), "plain", "number"
    isolation = {"max_samples": 50, "contamination": 0.1, "max_features": 3, "bootstrap": True}
    yield "isolation forest", IsolationForest(**small), "plain", None
    yield "isolation forest part", IsolationForest(**isolation, **small), "plain", None
    yield "isolation forest sparse", IsolationForest(**small), "sparse", None
    generator = np.random.RandomState(5)
    isolation = IsolationForest(n_estimators=5, random_state=generator)
    yield "isolation forest generator", isolation, "plain", None
    yield "embedding", RandomTreesEmbedding(**small), "plain", None
    logistic = make_pipeline(StandardScaler(), LogisticRegression())
    yield "logistic", logistic, "plain", "three"
    columns = [
        ("kind", OneHotEncoder(handle_unknown="ignore"), [0]),
        ("order", OrdinalEncoder(), [0]),
        ("rest", make_union(SimpleImputer(), MissingIndicator(features="all")), [1, 2]),
    ]
    columns = ColumnTransformer(columns, remainder="passthrough")
    boosting = HistGradientBoostingClassifier(max_iter=9, random_state=3)
    yield "histogram classifier columns", make_pipeline(columns, boosting), "kinds", "two"
    if not sklearn_is(1, 6):
        yield "refused adaboost", AdaBoostClassifier(**small), "plain", "two"
        logistic = LogisticRegression(multi_class="ovr")
        yield "refused logistic", logistic, "plain", "three"
    if sklearn_is(1, 8):
        yield "refused imputer", SimpleImputer(strategy="constant"), "empty", None


CLASSIFIERS = {
    "tree": DecisionTreeClassifier,
    "extra tree": ExtraTreeClassifier,
    "forest": RandomForestClassifier,
    "extra trees": ExtraTreesClassifier,
    "boosting": GradientBoostingClassifier,
    "histogram": HistGradientBoostingClassifier,
    "bagging": BaggingClassifier,
    "voting": VotingClassifier,
    "stacking": StackingClassifier,
}
REGRESSORS = {
    "tree": DecisionTreeRegressor,
    "extra tree": ExtraTreeRegressor,
    "forest": RandomForestRegressor,
    "extra trees": ExtraTreesRegressor,
    "boosting": GradientBoostingRegressor,
    "histogram": HistGradientBoostingRegressor,
    "bagging": BaggingRegressor,
    "voting": VotingRegressor,
    "stacking": StackingRegressor,
}


def both_kinds(kind, target, classes):
    """(name, estimator, inputs, target) of what there is as a classifier and as a regressor"""
    seed = {"random_state": 3}
    few, monotonic = {"max_iter": 9, **seed}, [1, 0, 0, 0, 0, -1]
    shared = np.random.RandomState(5)
    estimators = [
        ("a", classes["tree"](**seed)),
        ("b", classes["boosting"](n_estimators=7, **seed)),
    ]
    stopping = {"early_stopping": True, "max_features": 0.5, "monotonic_cst": monotonic}
    table = (
        ("tree", "", "plain", seed),
        ("tree", " holes", "holes", seed),
        ("tree", " sparse", "sparse", seed),
        ("tree", " leaves", "plain", {"max_leaf_nodes": 9, **seed}),
        ("tree", " pruned", "plain", {"ccp_alpha": 0.01, **seed}),
        ("tree", " monotonic", "plain", {"monotonic_cst": monotonic, **seed}),
        ("extra tree", "", "plain", seed),
        ("forest", "", "plain", {"n_estimators": 7, "oob_score": True, **seed}),
        ("forest", " holes", "holes", {"n_estimators": 7, **seed}),
        ("forest", " float32", "float32", {"n_estimators": 7, "max_samples": 0.5, **seed}),
        ("forest", " generator", "plain", {"n_estimators": 5, "random_state": shared}),
        ("extra trees", "", "plain", {"n_estimators": 7, **seed}),
        ("boosting", "", "plain", {"n_estimators": 7, **seed}),
        ("boosting", " stopping", "plain", {"n_iter_no_change": 2, "subsample": 0.5, **seed}),
        ("boosting", " generator", "plain", {"n_estimators": 5, "random_state": shared}),
        ("histogram", "", "plain", few),
        ("histogram", " holes", "holes", few),
        ("histogram", " categories", "kinds", {"categorical_features": [0], **few}),
        ("histogram", " stopping", "plain", {**stopping, **few}),
        ("histogram", " grown", "plain", {"warm_start": True, **few}),
        ("histogram", " generator", "plain", {"max_iter": 4, "random_state": shared}),
        ("bagging", "", "plain", {"n_estimators": 7, "oob_score": True, **seed}),
        (
            "bagging",
            " of boosting",
            "plain",
            {"estimator": estimators[1][1], "max_features": 0.5, "n_estimators": 3, **seed},
        ),
        ("voting", "", "plain", {"estimators": estimators}),
        ("stacking", "", "plain", {"estimators": estimators, "cv": 2}),
    )
    for name, more, inputs, options in table:
        yield f"{name} {kind}{more}", classes[name](**options), inputs, target
    forest = classes["forest"](n_estimators=7, **seed)
    yield f"search {kind}", GridSearchCV(forest, {"max_depth": [2, 4]}, cv=2), "plain", target
    for step in (
        StandardScaler(),
        MinMaxScaler(),
        RobustScaler(),
        PowerTransformer(),
        QuantileTransformer(n_quantiles=20, **seed),
    ):
        pipeline = make_pipeline(SimpleImputer(), step, forest)
        yield f"pipeline {kind} {type(step).__name__}", pipeline, "holes", target
    for number, step in enumerate(
        (
            SimpleImputer(strategy="median", add_indicator=True),
            SimpleImputer(strategy="most_frequent"),
            SimpleImputer(strategy="constant", fill_value=-1),
            KNNImputer(),
            IterativeImputer(max_iter=2, random_state=shared),
            IterativeImputer(DecisionTreeRegressor(max_depth=2), max_iter=2, **seed),
        )
    ):
        pipeline = make_pipeline(step, forest)
        yield f"pipeline {kind} imputer {number}", pipeline, "holes", target
        if type(step) is not SimpleImputer or step.strategy != "constant":
            yield f"pipeline {kind} imputer {number} empty", clone(pipeline), "empty", target


def sklearn_is(*release):
    """Whether scikit-learn is of that release or a later one."""
    return tuple(int(part) for part in sklearn.__version__.split(".")[:2]) >= release


def outcomes(model, inputs):
    """{method: what it gives} of every method that the model has."""
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=RuntimeWarning)  # the logarithm of 0
        warnings.filterwarnings("ignore", message="Skipping features without any observed values")
        for method in METHODS:
            if hasattr(model, method):
                result = getattr(model, method)(inputs)
                result = result if isinstance(result, np.ndarray) else several(result)
                found[method] = result
        clone(model)
        assert type(model).__name__ in repr(model)
    return found


def several(result):
    """One array of a sparse matrix, a list, or stages."""
    if scipy.sparse.issparse(result):
        return result.toarray()
    return np.concatenate([np.asarray(part) for part in result], axis=-1)


def arrays(value, path=""):
    """{place: array} of the fitted state: trees, bins, generators' next draws."""
    if isinstance(value, np.ndarray) and value.dtype.names:  # not what lies between the fields
        return {f"{path}.{name}": value[name] for name in value.dtype.names}
    if isinstance(value, np.ndarray) and value.dtype != object:
        return {path: value}
    if isinstance(value, np.random.RandomState):
        return {path: copy.deepcopy(value).standard_normal(5)}
    if isinstance(value, np.random.Generator):
        return {path: copy.deepcopy(value).random(5)}
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, (list, tuple, np.ndarray)):
        items = enumerate(value)
    elif type(value).__module__.startswith("sklearn."):
        state = value.__getstate__()
        items = state.items() if isinstance(state, dict) else ()
    else:
        return {}
    return {place: a for key, each in items for place, a in arrays(each, f"{path}.{key}").items()}


def write(folder):
    folder.mkdir()
    have = data()
    count = 0
    for name, model, inputs, target in models():
        X = have[inputs]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(X, None if target is None else have[target])
        shardpickle.dump(model, folder / name, progress=False)
        sparse = scipy.sparse.issparse(X)
        given = {"X": X.toarray() if sparse else X, "sparse": sparse}
        np.savez(folder / f"{name}.npz", **given, **arrays(model), **outcomes(model, X))
        count += 1
    print(f"{count} models written under {environment()}")


def read(folder):
    files = sorted(folder.glob("*.npz"))
    problems, compared = [], 0
    for file in files:
        with np.load(file) as stored:
            expected = dict(stored)
        try:
            found, compared = compare(file.with_suffix(""), expected), compared + len(expected)
        except Exception as error:  # the other models are of interest too
            found = [f"{type(error).__name__}: {error}"]
        problems += [f"{file.stem}: {problem}" for problem in found]
    for problem in problems:
        print(problem)
    print(f"{len(files)} models, {compared} arrays, {len(problems)} problems: {environment()}")
    return 1 if problems or not files else 0


def compare(path, expected):
    """What is not as it was."""
    X, sparse = expected.pop("X"), expected.pop("sparse")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model = shardpickle.load(path, progress=False)
        except shardpickle.RebuildError as error:
            if path.name.startswith("refused") and "ValueError: it " in str(error):
                return []
            raise
    problems = [] if not path.name.startswith("refused") else ["it loads"]
    if [each.category for each in caught] != [shardpickle.VersionWarning]:
        problems.append(f"warnings: {[str(each.message) for each in caught]}")
    X = scipy.sparse.csr_matrix(X) if sparse else X
    now = {**arrays(model), **outcomes(model, X)}
    for name, then in expected.items():
        if name not in now:
            problems.append(f"{name}: not here")
        elif then.dtype != now[name].dtype or then.shape != now[name].shape:
            was, here = (f"{a.dtype} {a.shape}" for a in (then, now[name]))
            problems.append(f"{name}: {was}, here {here}")
        elif then.tobytes() != now[name].tobytes():
            ulps = apart(then, now[name])
            if not may_differ(path.name, name) or not ulps <= ULPS:
                problems.append(f"{name}: differs, by {ulps:.3g} ulp")
    return problems


def may_differ(model, method):
    return any(model.startswith(start) and method in methods for start, methods in CLOSE)


def apart(then, now):
    """The largest distance, in units of the last place of the value, or of 1 if that is larger."""
    if then.dtype.kind != "f" or not np.array_equal(np.isfinite(then), np.isfinite(now)):
        return np.inf
    finite = np.isfinite(then)
    if not np.array_equal(then[~finite], now[~finite], equal_nan=True):
        return np.inf
    then, now = then[finite], now[finite]
    return (np.abs(then - now) / np.spacing(np.maximum(1, np.abs(then)))).max(initial=0)


def environment():
    return f"scikit-learn {sklearn.__version__}, numpy {np.__version__}"


if __name__ == "__main__":
    command, folder = sys.argv[1:]
    sys.exit({"write": write, "read": read}[command](Path(folder)))
