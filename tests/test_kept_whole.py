"""profile="inference" below models that read more of their trees than predictions."""

import warnings
from functools import partial

import numpy as np
import pytest
from composition_cases import CASES
from estimators import LABELS, TARGET, X, predictions
from graphs import assert_same
from holders import Holder, Narrowed, Partial, Weighted, important
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    RandomTreesEmbedding,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_selection import RFE, RFECV, SelectFromModel, SequentialFeatureSelector
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.tree import DecisionTreeClassifier

import shardpickle

SEED = {"random_state": 0}


def forest(count=6):
    return RandomForestClassifier(count, **SEED)


def selected(model, **options):
    return make_pipeline(SelectFromModel(model, **options), LogisticRegression())


def top(model):
    return selected(model, max_features=2, threshold=-np.inf)


def _shared():
    """One fitted forest, as what a selector reads and as what a vote asks."""
    model = VotingClassifier([("plain", forest()), ("selected", top(forest()))], voting="soft")
    model.fit(X, LABELS)
    model.estimators_[0] = model.estimators_[1][0].estimator_
    return model


def _chosen():
    """A function of the user's that gets the model by way of scikit-learn's transformer."""
    fitted = forest().fit(X, LABELS)
    chosen = FunctionTransformer(partial(important, fitted))
    return make_pipeline(chosen, LogisticRegression()).fit(X, LABELS)


READERS = {
    "select from a forest": lambda: top(forest()).fit(X, LABELS),
    "select by the mean": lambda: selected(ExtraTreesClassifier(8, **SEED)).fit(X, LABELS),
    "select from boosting": lambda: top(GradientBoostingClassifier(n_estimators=4, **SEED)).fit(
        X, LABELS
    ),
    "select from AdaBoost": lambda: top(AdaBoostClassifier(n_estimators=4, **SEED)).fit(X, LABELS),
    "select from a tree": lambda: top(DecisionTreeClassifier(**SEED)).fit(X, LABELS),
    "prefit": lambda: (
        top(forest().fit(X, LABELS)).set_params(selectfrommodel__prefit=True).fit(X, LABELS)
    ),
    "a pipeline's importances": lambda: (
        top(make_pipeline(StandardScaler(), forest()))
        .set_params(
            selectfrommodel__importance_getter="named_steps.randomforestclassifier.feature_importances_"
        )
        .fit(X, LABELS)
    ),
    "a search of a selector": lambda: GridSearchCV(
        top(forest()), {"selectfrommodel__max_features": [1, 3]}, cv=2
    ).fit(X, LABELS),
    "in a union in a stack": lambda: StackingClassifier(
        [("a", make_pipeline(FeatureUnion([("b", SelectFromModel(forest()))]), forest()))], cv=2
    ).fit(X, LABELS),
    "of columns, in a bag": lambda: BaggingClassifier(
        make_pipeline(
            ColumnTransformer([("a", SelectFromModel(forest(3)), [0, 1, 2])], remainder="drop"),
            DecisionTreeClassifier(**SEED),
        ),
        2,
        **SEED,
    ).fit(X, LABELS),
    "below AdaBoost": lambda: AdaBoostClassifier(
        DecisionTreeClassifier(max_depth=2), n_estimators=2, **SEED
    ).fit(X, LABELS),
    "shared": _shared,
    "a class of a user": lambda: Weighted(forest()).fit(X, LABELS),
    "a user's in a search": lambda: GridSearchCV(Weighted(forest()), {}, cv=2).fit(X, LABELS),
    "a forest of a user": lambda: Narrowed(5, **SEED).fit(X, LABELS),
    "no estimator": lambda: Holder(forest().fit(X, LABELS)),
    "a partial function": lambda: make_pipeline(Partial(), LogisticRegression()).fit(X, LABELS),
    "a function of a model": _chosen,
    "recursive elimination of a selector": lambda: RFE(top(forest()), importance_getter=_first).fit(
        X, LABELS
    ),
}
ALSO_CUT = {"below AdaBoost"}  # it is no reader: its trees are asked for predictions alone


def _first(pipeline):
    return np.arange(pipeline.n_features_in_)[::-1]


def slim(model, path, **options):
    report = shardpickle.dump(model, path, profile="inference", **options)
    with pytest.warns(shardpickle.InferenceOnlyWarning):
        return report, shardpickle.load(path, unsafe=True)


@pytest.mark.long
@pytest.mark.parametrize("case", READERS)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_predictions_are_those_of_the_model(case, tmp_path):
    model = READERS[case]()
    expected = predictions(model, X)
    assert expected
    report, loaded = slim(model, tmp_path / "model", shard_size="20kB")
    assert_same(predictions(loaded, X), expected)
    assert bool(report.kept_whole) == (case not in ALSO_CUT)
    for place in report.kept_whole:
        assert place in str(report)
    # A lazy model, whose parts are in files, is dumped for inference in the same way.
    shardpickle.dump(model, tmp_path / "full", shard_size="20kB")
    lazy = shardpickle.load(tmp_path / "full", lazy=True, unsafe=True)
    report, loaded = slim(lazy, tmp_path / "again", shard_size="20kB")
    assert_same(predictions(loaded, X), expected)
    lazy = shardpickle.load(tmp_path / "model", lazy=True, unsafe=True)
    report, loaded = slim(lazy, tmp_path / "third", shard_size="20kB")
    assert_same(predictions(loaded, X), expected)


@pytest.mark.long
def test_the_report_says_what_and_where(tmp_path):
    def kept(model):
        report = shardpickle.dump(model, tmp_path / "model", profile="inference")
        assert report.to_dict()["kept_whole"] == report.kept_whole
        return report.kept_whole

    reads = "SelectFromModel reads its importances"
    assert kept(READERS["select from a forest"]()) == (f"steps[0][1].estimator_: {reads}",)
    searched = READERS["a search of a selector"]()
    assert kept(searched) == (f"best_estimator_.steps[0][1].estimator_: {reads}",)
    assert kept({"one": [searched], "two": READERS["select from a tree"]()}) == (
        f"['one'][0].best_estimator_.steps[0][1].estimator_: {reads}",
        f"['two'].steps[0][1].estimator_: {reads}",
    )
    unknown = "may read more than its predictions"
    assert kept(Weighted(forest()).fit(X, LABELS)) == (f"forest: Weighted {unknown}",)
    assert kept(Narrowed(5).fit(X, LABELS)) == (f"estimators_[0:5]: Narrowed {unknown}",)
    assert kept(forest().fit(X, LABELS)) == ()
    full = shardpickle.dump(READERS["select from a tree"](), tmp_path / "model")
    assert full.kept_whole == ()
    assert "whole" not in str(full)


def tree_is_whole(model):
    trees = model.estimators_ if hasattr(model, "estimators_") else [model]
    return bool(np.isfinite(trees[0].tree_.impurity).all())


def test_only_what_is_read_is_kept(tmp_path):
    model = make_pipeline(SelectFromModel(forest()), forest()).fit(X, LABELS)
    _, loaded = slim(model, tmp_path / "model")
    assert tree_is_whole(loaded[0].estimator_)
    assert not tree_is_whole(loaded[1])
    assert (
        loaded[0].estimator_.feature_importances_ == model[0].estimator_.feature_importances_
    ).all()
    assert np.isnan(loaded[1].feature_importances_).all()


def test_equal_trees_are_cut_in_one_place_and_whole_in_the_other(tmp_path):
    equal = [forest().fit(X, LABELS) for _ in range(2)]
    model = {"plain": equal[0], "read": SelectFromModel(equal[1], prefit=True)}
    _, loaded = slim(model, tmp_path / "model")
    assert not tree_is_whole(loaded["plain"])
    assert tree_is_whole(loaded["read"].estimator)


def test_what_is_reached_both_ways_is_whole(tmp_path):
    one = forest().fit(X, LABELS)
    for model in (
        [one, SelectFromModel(one, prefit=True)],
        [SelectFromModel(one, prefit=True), one],
    ):
        report, loaded = slim(model, tmp_path / "model")
        assert len(report.kept_whole) == 1
        found = next(each for each in loaded if isinstance(each, RandomForestClassifier))
        assert tree_is_whole(found)


CUT = {
    "elimination": lambda: RFE(forest(), n_features_to_select=3).fit(X, LABELS),
    "elimination by validation": lambda: RFECV(forest(4), cv=2).fit(X, LABELS),
    "sequential": lambda: make_pipeline(
        SequentialFeatureSelector(
            DecisionTreeClassifier(max_depth=2), n_features_to_select=2, cv=2
        ),
        forest(),
    ).fit(X, LABELS),
    "embedding": lambda: make_pipeline(RandomTreesEmbedding(5, **SEED), LogisticRegression()).fit(
        X, LABELS
    ),
    "isolation": lambda: IsolationForest(n_estimators=6, **SEED).fit(X),
    "histogram boosting with a scorer": lambda: HistGradientBoostingClassifier(
        max_iter=6, scoring="accuracy", early_stopping=True, **SEED
    ).fit(X, LABELS),
    "regression": lambda: ExtraTreesRegressor(4, **SEED).fit(X, TARGET),
    **{
        case: CASES[case]
        for case in CASES
        if case not in ("columns", "voting over boosters", "bagging of neighbours")
    },
}


@pytest.mark.long
@pytest.mark.parametrize("case", CUT)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_what_needs_predictions_alone_is_cut(case, tmp_path):
    model = CUT[case]()
    expected = predictions(model, X)
    report, loaded = slim(model, tmp_path / "model")
    assert report.kept_whole == ()
    assert_same(predictions(loaded, X), expected)


def test_what_is_held_in_odd_ways_is_kept(tmp_path):
    fitted = forest().fit(X, LABELS)
    odd = [
        ({(1, 2): Holder(fitted)}, "Holder"),
        ({frozenset([1]): [Narrowed(2).fit(X, LABELS)]}, "Narrowed"),
        (make_pipeline(FunctionTransformer(kw_args={"a": fitted})), "FunctionTransformer"),
        ([fitted.estimators_[0].tree_], "not a tree"),
    ]
    for model, reason in odd:
        report = shardpickle.dump(model, tmp_path / "model", profile="inference")
        assert reason in " ".join(report.kept_whole), model
    plain = {(1, 2): fitted, frozenset([3]): {4: fitted}}
    assert shardpickle.dump(plain, tmp_path / "model", profile="inference").kept_whole == ()


def test_the_warning_claims_what_is_so(tmp_path):
    shardpickle.dump(READERS["shared"](), tmp_path / "model", profile="inference")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        shardpickle.load(tmp_path / "model")
    (message,) = [str(each.message) for each in caught]
    assert "it predicts as the model did" not in message
    assert "the dump kept whole" in message
