"""scikit-learn's classes: what is an estimator, and a tree's arrays. Knows no bytes or paths."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn import config_context
from sklearn.base import BaseEstimator, clone
from sklearn.base import is_classifier as _is_classifier
from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
from sklearn.metrics import check_scoring
from sklearn.pipeline import Pipeline
from sklearn.tree import (
    BaseDecisionTree,
    DecisionTreeClassifier,
    DecisionTreeRegressor,
    ExtraTreeClassifier,
    ExtraTreeRegressor,
)
from sklearn.tree._tree import NODE_DTYPE
from sklearn.tree._tree import Tree as SklearnTree

from shardpickle.codecs.tree_arrays import Head, Tree
from shardpickle.codecs.tree_streams import NODE

_STATE = {"max_depth", "node_count", "nodes", "values"}


def _layout(dtype: np.dtype[Any]) -> dict[str, Any]:
    fields: Any = dtype.fields or {}
    return {name: field[:2] for name, field in fields.items() if name != "padding"}


# A release with other nodes keeps its trees as pickle has them.
_KNOWN_NODES = _layout(NODE_DTYPE) == _layout(NODE) and NODE_DTYPE.itemsize == NODE.itemsize


def is_estimator(obj: object) -> bool:
    """Whether an object below the root is always a part of its own."""
    return isinstance(obj, (BaseEstimator, TreePredictor))


def is_estimator_class(kind: Any) -> bool:
    """The same of a class."""
    return isinstance(kind, type) and issubclass(kind, (BaseEstimator, TreePredictor))


def is_tree_class(kind: Any) -> bool:
    """Whether the instances of a class are one tree each."""
    return isinstance(kind, type) and issubclass(kind, (BaseDecisionTree, TreePredictor))


def template(model: Any, name: str, estimator: Any) -> Any:
    """What a parameter held from which an ensemble's `estimator` was made.

    Forests hold a tree as it is by default; others one with the parameters of all.
    """
    default = getattr(type(model)(), name, None)
    if type(default) is type(estimator):
        return default
    copy = clone(estimator)
    return copy.set_params(random_state=None) if "random_state" in copy.get_params() else copy


def is_classifier(model: Any) -> bool:
    return bool(_is_classifier(model))


def is_pipeline(obj: object) -> bool:
    return isinstance(obj, Pipeline)


@dataclass(frozen=True, slots=True)
class Ensemble:
    """How a class keeps its estimators.

    Attributes
    ----------
    averages : bool
        Whether any of the estimators make a model; else only the first ones do.
    estimators, parameter : str
        The attribute that holds them, and the parameter that says how many to fit.
    beside : tuple of str
        Attributes with one entry for each estimator.
    scores : tuple of str
        Attributes with one entry before the first estimator and one after each.
    count : str
        The attribute that holds their number, if there is one.
    pipelines : str
        One of `beside` that holds pipelines, each ending in a copy of an estimator.
    """

    averages: bool
    estimators: str = "estimators_"
    parameter: str = "n_estimators"
    beside: tuple[str, ...] = ()
    scores: tuple[str, ...] = ()
    count: str = ""
    pipelines: str = ""


def is_bagging(model: Any) -> bool:
    """Whether the parameters of an ensemble's trees are those of its `estimator`."""
    return ensemble(type(model)) is _BAGGING


def asks_apart(model: Any) -> bool:
    """Whether an ensemble's estimators are not asked one after the other about the same rows.

    That is gradient boosting, whose compiled code reads the trees, and bagging (with isolation
    forests), where each knows features of its own.
    """
    known = ensemble(type(model))
    if known is _ISOLATION:
        count = getattr(model, "n_features_in_", None)
        return getattr(model, "_max_features", count) != count
    return known in (_GRADIENT_BOOSTING, _BAGGING)


def ensemble(kind: type) -> Ensemble | None:
    """How a class keeps its estimators, if that is known of this very class."""
    top = kind.__module__.partition(".")[0]
    return _ENSEMBLES.get((top, kind.__qualname__))


_FOREST = Ensemble(averages=True)
_BAGGING = Ensemble(averages=True, beside=("estimators_features_", "_seeds"))
_ISOLATION = Ensemble(
    averages=True,
    beside=(*_BAGGING.beside, "_average_path_length_per_tree", "_decision_path_lengths"),
)
_ADABOOST = Ensemble(averages=False, beside=("estimator_weights_", "estimator_errors_"))
_GRADIENT_BOOSTING = Ensemble(
    averages=False,
    beside=("train_score_", "oob_improvement_", "oob_scores_"),
    count="n_estimators_",
)
_HISTOGRAM_BOOSTING = Ensemble(
    averages=False,
    estimators="_predictors",
    parameter="max_iter",
    scores=("train_score_", "validation_score_"),
)
_ENSEMBLES = {
    ("sklearn", "RandomForestClassifier"): _FOREST,
    ("sklearn", "RandomForestRegressor"): _FOREST,
    ("sklearn", "ExtraTreesClassifier"): _FOREST,
    ("sklearn", "ExtraTreesRegressor"): _FOREST,
    ("sklearn", "BaggingClassifier"): _BAGGING,
    ("sklearn", "BaggingRegressor"): _BAGGING,
    ("sklearn", "IsolationForest"): _ISOLATION,
    ("sklearn", "AdaBoostClassifier"): _ADABOOST,
    ("sklearn", "AdaBoostRegressor"): _ADABOOST,
    ("sklearn", "GradientBoostingClassifier"): _GRADIENT_BOOSTING,
    ("sklearn", "GradientBoostingRegressor"): _GRADIENT_BOOSTING,
    ("sklearn", "HistGradientBoostingClassifier"): _HISTOGRAM_BOOSTING,
    ("sklearn", "HistGradientBoostingRegressor"): _HISTOGRAM_BOOSTING,
    ("imblearn", "BalancedRandomForestClassifier"): Ensemble(
        averages=True, beside=("samplers_", "pipelines_"), pipelines="pipelines_"
    ),
    ("sksurv", "RandomSurvivalForest"): _FOREST,
    ("sksurv", "ExtraSurvivalTrees"): _FOREST,
}
CUT_NAMES = "decision trees, forests, Extra-Trees, bagging of trees, boosting of squared errors"


def is_cut_alike(kind: type) -> bool:
    """Whether an inner node of such a tree holds what a leaf in its place would have held."""
    return kind in _CUT_ALIKE


_CUT_ALIKE = (
    *(DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor),
)


def why_not_cut(model: Any) -> str | None:
    """Why the trees of an ensemble must stay whole; None if they may be cut."""
    known = ensemble(type(model))
    name = type(model).__qualname__
    if known is _GRADIENT_BOOSTING:
        if model.loss == "squared_error":
            return None
        return (
            f"the leaves of a {name} with loss={model.loss!r} were given other values than the "
            "inner nodes have"
        )
    if known is _HISTOGRAM_BOOSTING:
        return f"the inner nodes of a {name} hold no predictions"
    if known is _ADABOOST:
        return f"the weights of a {name} are those of its whole trees"
    if known is _ISOLATION:
        return f"the scores of a {name} are depths"
    if type(model).__module__.startswith("sksurv"):
        return f"the inner nodes of a {name} are not known to hold predictions"
    return None


def is_average_of_trees(model: Any) -> bool:
    """Whether a model answers with the mean of what its trees answer."""
    known = ensemble(type(model))
    return known in (_FOREST, _BAGGING) and why_not_cut(model) is None


def has_stages(model: Any) -> bool:
    return ensemble(type(model)) is _GRADIENT_BOOSTING


def stages(model: Any, rows: Any) -> Any:
    """What the prefixes of gradient boosting answer, one after the other."""
    return (model.staged_predict_proba if is_classifier(model) else model.staged_predict)(rows)


def inputs(rows: Any) -> Any:
    """Rows as compiled trees take them, sparse or not; these check nothing."""
    if hasattr(rows, "tocsr"):
        return rows.tocsr().astype(np.float32)
    return np.ascontiguousarray(np.asarray(rows), np.float32)


def member_of(model: Any, number: int, tree: Any) -> tuple[Any, Any]:
    """The features that an ensemble's tree is given (None: all), and the columns it answers."""
    if not is_cut_alike(type(tree)):
        raise TypeError(f"how a {type(tree).__qualname__} is cut is not known")
    if ensemble(type(model)) is not _BAGGING:
        return None, slice(None)
    features = model.estimators_features_[number]
    every = np.array_equal(features, np.arange(model.n_features_in_))
    columns = np.asarray(tree.classes_, int) if is_classifier(model) else slice(None)
    return None if every else features, columns


class _Answers(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A fitted model that gives answers which are known already, to scikit-learn's scorers."""

    def __init__(self, model: Any, answers: Any) -> None:
        self.model = model
        self.answers = answers
        self._estimator_type = "classifier" if is_classifier(model) else "regressor"
        if is_classifier(model):
            self.classes_ = model.classes_

    def __sklearn_tags__(self) -> Any:
        return self.model.__sklearn_tags__()

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def fit(self, rows: Any, target: Any = None) -> Any:
        raise TypeError("it is fitted")

    def predict(self, rows: Any) -> Any:
        return labels(self.model, self.answers)

    def predict_proba(self, rows: Any) -> Any:
        return self.answers


def labels(model: Any, answers: Any) -> Any:
    """What `predict` makes of the mean answers."""
    if is_classifier(model):
        return model.classes_.take(answers.argmax(axis=1))
    return answers[:, 0] if answers.shape[1] == 1 else answers


class AnswerScorer:
    """scikit-learn's score of answers that a model has given already.

    Parameters
    ----------
    model : estimator
    scoring : str or callable, optional
        As in scikit-learn. Default: accuracy, or R².
    """

    def __init__(self, model: Any, scoring: Any) -> None:
        default = "accuracy" if is_classifier(model) else "r2"
        self._model = model
        self._scorer = check_scoring(_Answers(model, None), default if scoring is None else scoring)
        self._takes_weights = True

    def score(self, answers: Any, truth: Any) -> float:
        return float(self._scorer(_Answers(self._model, answers), _no_features(answers), truth))

    def score_drawn(self, answers: Any, truth: Any, counts: Any) -> float:
        """The score where each row stands as often as it was drawn; NaN if that has none."""
        drawn = counts > 0
        try:
            if self._takes_weights:
                return self._weighted(answers[drawn], truth[drawn], counts[drawn])
        except TypeError:  # a scorer of the caller's, or of a metric without weights
            self._takes_weights = False
        except ValueError:
            return float("nan")
        rows = np.repeat(np.arange(len(counts)), counts)
        try:
            return self.score(answers[rows], truth[rows])
        except ValueError:
            return float("nan")

    def _weighted(self, answers: Any, truth: Any, counts: Any) -> float:
        known = _Answers(self._model, answers)
        with config_context(assume_finite=True, skip_parameter_validation=True):
            return float(self._scorer(known, _no_features(answers), truth, sample_weight=counts))


def _no_features(answers: Any) -> Any:
    return np.zeros((len(answers), 1))


def asks_for_predictions(module: str, name: str) -> bool:
    """Whether what is made of a name asks what it holds for predictions, and for nothing else.

    Of estimators a closed list of very classes, read in scikit-learn's sources from 1.5 to 1.9;
    `RFE`, `RFECV` and `SequentialFeatureSelector` keep what they chose while they were fitted.
    """
    top = module.partition(".")[0]
    return top in ("numpy", "scipy") or name in _PREDICTIONS_ALONE.get(top, ())


def reads_importances(module: str, name: str) -> bool:
    """Whether a class of this name is known to read importances while it predicts."""
    return (module.partition(".")[0], name) == ("sklearn", "SelectFromModel")


def is_tree_name(name: object) -> bool:
    """Whether a name (module, name) is that of one of scikit-learn's own trees."""
    if not isinstance(name, tuple):
        return False
    return name[0].partition(".")[0] == "sklearn" and name[1] in _TREE_NAMES


def is_own_tree(kind: type) -> bool:
    """The same of a class."""
    return is_tree_name((kind.__module__, kind.__qualname__))


_TREE_NAMES = frozenset(kind.__name__ for kind in (*_CUT_ALIKE, TreePredictor))
_PREDICTIONS_ALONE: dict[str, frozenset[str]] = {
    "builtins": frozenset(
        {"list", "dict", "tuple", "set", "frozenset", "getattr", "bytearray", "slice", "range"}
    ),
    "collections": frozenset({"OrderedDict", "defaultdict", "deque"}),
    "copyreg": frozenset({"_reconstructor"}),
    "sklearn": _TREE_NAMES
    | {name for top, name in _ENSEMBLES if top == "sklearn"}
    | {
        *("RandomTreesEmbedding", "Pipeline", "FeatureUnion", "ColumnTransformer"),
        *("GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV"),
        *("VotingClassifier", "VotingRegressor", "StackingClassifier", "StackingRegressor"),
        *("CalibratedClassifierCV", "FixedThresholdClassifier", "TunedThresholdClassifierCV"),
        *("MultiOutputClassifier", "MultiOutputRegressor", "ClassifierChain", "RegressorChain"),
        *("OneVsRestClassifier", "OneVsOneClassifier", "OutputCodeClassifier"),
        *("TransformedTargetRegressor", "RANSACRegressor", "SelfTrainingClassifier"),
        *("FrozenEstimator", "IterativeImputer", "RFE", "RFECV", "SequentialFeatureSelector"),
        # What some of these keep their estimators in.
        *("Bunch", "_CalibratedClassifier", "_ImputerTriplet"),
    },
    "imblearn": frozenset(
        {"BalancedRandomForestClassifier", "BalancedBaggingClassifier", "EasyEnsembleClassifier"}
        | {"RUSBoostClassifier", "Pipeline"}
    ),
}


def regrow(tree: Any, nodes: Any, values: Any, depth: int) -> Any:
    """A tree of the same inputs and outputs, with other nodes."""
    grown = SklearnTree(tree.n_features, np.array(tree.n_classes, np.intp), tree.n_outputs)
    state = {"max_depth": depth, "node_count": len(nodes), "nodes": nodes, "values": values}
    grown.__setstate__(state)
    return grown


ENSEMBLE_NAMES = "forests, Extra-Trees, bagging, isolation forests, AdaBoost and gradient boosting"


def is_tree(obj: Any) -> bool:
    """Whether an object is a grown tree of the layout that the tree codec knows."""
    return (
        type(obj) is SklearnTree
        and _KNOWN_NODES
        and obj.node_count > 0
        and obj.n_outputs > 0
        and int(obj.n_classes.min()) > 0
    )


def head(tree: Any) -> Head:
    """What a tree says of itself."""
    classes = tuple(int(count) for count in tree.n_classes)
    return Head(int(tree.node_count), int(tree.max_depth), int(tree.n_features), classes)


def arrays(tree: Any) -> Tree:
    """A tree's head and its own memory."""
    state = tree.__getstate__()
    if set(state) != _STATE:
        raise TypeError(f"a Tree with a state of {sorted(state)}")
    return Tree(head(tree), state["nodes"].view(NODE), state["values"])


def hollow(head: Head) -> Any:
    """A tree of these inputs and outputs, without nodes."""
    return SklearnTree(head.features, np.array(head.classes, np.intp), len(head.classes))


class Grower:
    """Makes trees whose memory is to be filled: scikit-learn copies zeros, which are made once.

    A tree takes its arrays only by copying them (`Tree.__setstate__`); zeros of one block cost
    least, and what `Tree.__getstate__` gives is the tree's own memory, which can be written to.
    """

    def __init__(self) -> None:
        self._nodes = np.zeros(0, NODE_DTYPE)
        self._values = np.zeros(0)
        self.odd: list[Any] = []  # trees whose columns do not make sure that they are trees

    def grow(self, head: Head) -> tuple[Any, np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """A tree, its nodes as bytes, and its values, flat."""
        outputs, most = len(head.classes), max(head.classes)
        tree = SklearnTree(head.features, np.array(head.classes, np.intp), outputs)
        state = {
            "max_depth": head.depth,
            "node_count": head.nodes,
            "nodes": self._zeros("_nodes", head.nodes),
            "values": self._zeros("_values", head.nodes * outputs * most).reshape(
                -1, outputs, most
            ),
        }
        tree.__setstate__(state)
        own = tree.__getstate__()
        return tree, own["nodes"].view(np.uint8), own["values"].reshape(-1)

    def _zeros(self, name: str, count: int) -> np.ndarray[Any, Any]:
        block: np.ndarray[Any, Any] = getattr(self, name)
        if len(block) < count:  # two threads may both make one: either serves
            block = np.zeros(count, block.dtype)
            setattr(self, name, block)
        return block[:count]
