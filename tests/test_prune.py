"""Smaller models of fitted ones: beside walking the whole tree, and beside refits."""

import numpy as np
import pytest
from estimators import LABELS, X
from graphs import assert_same
from sklearn.datasets import make_friedman1
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    BaggingRegressor,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeRegressor

import shardpickle
from shardpickle.cli import main
from shardpickle.trust import checks

TARGET = X[:, 0] + X[:, 1] ** 2
GAPS = np.where(np.random.default_rng(0).random(X.shape) < 0.1, np.nan, X)
BOTH = np.column_stack([TARGET, -TARGET])


def walked(estimator, rows, max_depth=None, min_samples_leaf=None):
    """Values of rows by scikit-learn's attributes of a tree, one node after the other."""
    tree = estimator.tree_
    found = []
    for row in np.asarray(rows, np.float32):
        node, depth = 0, 0
        while tree.children_left[node] != -1:
            left, right = tree.children_left[node], tree.children_right[node]
            if max_depth is not None and depth >= max_depth:
                break
            if min_samples_leaf is not None and (
                min(tree.n_node_samples[left], tree.n_node_samples[right]) < min_samples_leaf
            ):
                break
            value = row[tree.feature[node]]
            if np.isnan(value):
                goes_left = tree.missing_go_to_left[node]
            else:
                goes_left = value <= tree.threshold[node]
            node, depth = (left if goes_left else right), depth + 1
        found.append(tree.value[node])
    return np.array(found)


LIMITS = [
    {"max_depth": 1},
    {"max_depth": 4},
    {"min_samples_leaf": 5},
    {"min_samples_leaf": 3, "max_depth": 5},
    {"max_depth": 1000},
    {"min_samples_leaf": 10_000},
]
SOME = {"n_estimators": 6, "random_state": 0}
TREES = {
    "classifier": DecisionTreeClassifier(random_state=0).fit(X, LABELS),
    "regressor": DecisionTreeRegressor(random_state=0).fit(X, TARGET),
    "absolute": DecisionTreeRegressor(criterion="absolute_error", random_state=0).fit(X, TARGET),
    "random": ExtraTreeRegressor(random_state=0).fit(X, TARGET),
    "gaps": DecisionTreeRegressor(random_state=0).fit(GAPS, TARGET),
    "outputs": DecisionTreeRegressor(random_state=0).fit(X, BOTH),
    "best first": DecisionTreeRegressor(max_leaf_nodes=15, random_state=0).fit(X, TARGET),
    "weighted": DecisionTreeClassifier(class_weight="balanced", random_state=0).fit(X, LABELS),
}
FORESTS = {
    "forest": RandomForestClassifier(**SOME).fit(X, LABELS),
    "regression": RandomForestRegressor(**SOME).fit(X, TARGET),
    "extra": ExtraTreesClassifier(**SOME).fit(X, LABELS),
    "extra regression": ExtraTreesRegressor(**SOME).fit(X, TARGET),
    "bagging": BaggingClassifier(DecisionTreeClassifier(), **SOME).fit(X, LABELS),
    "bagging by default": BaggingRegressor(**SOME).fit(X, TARGET),
}


def check_invariants(estimator):
    tree = estimator.tree_
    checks.check_tree_state(tree, tree.__getstate__())
    inner = tree.children_left != -1
    left, right = tree.children_left[inner], tree.children_right[inner]
    assert (
        tree.n_node_samples[left] + tree.n_node_samples[right] == tree.n_node_samples[inner]
    ).all()
    assert sorted([0, *left, *right]) == list(range(tree.node_count))
    assert (tree.feature[~inner] == -2).all()
    assert (tree.threshold[~inner] == -2).all()
    assert (tree.children_right[~inner] == -1).all()
    assert tree.max_depth == estimator.get_depth() == tree.compute_node_depths().max() - 1
    assert tree.n_leaves == (tree.node_count + 1) // 2


@pytest.mark.parametrize("limits", LIMITS, ids=str)
@pytest.mark.parametrize("name", TREES)
def test_a_cut_tree_gives_what_a_walk_that_stops_gives(name, limits):
    whole = TREES[name]
    rows = GAPS if name == "gaps" else X
    before = whole.tree_.__getstate__()["nodes"].tobytes()
    cut = shardpickle.prune(whole, **limits)
    assert type(cut) is type(whole)
    assert cut.tree_.predict(np.asarray(rows, np.float32)).squeeze().tobytes() == (
        walked(whole, rows, **limits).squeeze().tobytes()
    )
    check_invariants(cut)
    assert whole.tree_.__getstate__()["nodes"].tobytes() == before
    assert cut.max_depth == limits.get("max_depth")
    assert cut.min_samples_leaf == limits.get("min_samples_leaf", 1)
    if "min_samples_leaf" in limits:
        leaves = cut.tree_.children_left == -1
        assert cut.tree_.n_node_samples[leaves].min() >= min(limits["min_samples_leaf"], len(rows))


@pytest.mark.parametrize("limits", LIMITS[:4], ids=str)
@pytest.mark.parametrize("name", FORESTS)
def test_cut_forests_average_the_cut_trees(name, limits, tmp_path):
    whole = FORESTS[name]
    cut = shardpickle.prune(whole, n_estimators=4, **limits)
    assert len(cut.estimators_) == cut.n_estimators == 4
    assert len(whole.estimators_) == 6
    members = [walked(tree, X, **limits) for tree in whole.estimators_[:4]]
    mean = np.mean([each.reshape(len(X), -1) for each in members], axis=0)
    found = cut.predict_proba(X) if hasattr(cut, "predict_proba") else cut.predict(X)[:, None]
    np.testing.assert_allclose(found, mean, rtol=1e-12)
    shardpickle.dump(cut, tmp_path / "cut")
    assert_same(shardpickle.load(tmp_path / "cut"), cut)
    given = cut.estimator if "bagging" in name else cut
    for key, value in limits.items():
        assert getattr(given, key) == value


@pytest.mark.parametrize("depth", [1, 3, 5])
@pytest.mark.parametrize("kind", [DecisionTreeRegressor, DecisionTreeClassifier])
def test_a_depth_limit_is_that_of_a_refit(kind, depth):
    """All features at every split: nothing is random but which of equal splits is taken.

    These rows have none that deep. The order in which a node's rows are added up differs.
    """
    rows, target = make_friedman1(4000, random_state=0)
    target = target if kind is DecisionTreeRegressor else np.digitize(target, [10, 15, 20])
    cut = shardpickle.prune(kind(random_state=0).fit(rows, target), max_depth=depth)
    refit = kind(max_depth=depth, random_state=0).fit(rows, target)
    assert cut.get_params() == refit.get_params()
    mine, theirs = (each.tree_.__getstate__() for each in (cut, refit))
    assert mine["max_depth"] == theirs["max_depth"]
    np.testing.assert_allclose(mine["values"], theirs["values"], rtol=1e-12)
    np.testing.assert_allclose(mine["nodes"]["impurity"], theirs["nodes"]["impurity"], rtol=1e-9)
    inner = theirs["nodes"]["left_child"] != -1
    for field in ("left_child", "right_child", "n_node_samples"):
        assert (mine["nodes"][field] == theirs["nodes"][field]).all(), field
    for field in ("feature", "threshold"):
        assert (mine["nodes"][field] == theirs["nodes"][field])[inner].all(), field


def test_a_forest_without_randomness_is_a_refit_too():
    options = {"n_estimators": 3, "bootstrap": False, "max_features": None, "random_state": 0}
    cut = shardpickle.prune(RandomForestRegressor(**options).fit(X, TARGET), max_depth=3)
    refit = RandomForestRegressor(max_depth=3, **options).fit(X, TARGET)
    np.testing.assert_allclose(cut.predict(X), refit.predict(X), rtol=1e-12)
    assert cut.get_params() == refit.get_params()


def test_boosting_of_squared_errors_and_prefixes_of_any():
    model = GradientBoostingRegressor(n_estimators=8, random_state=0).fit(X, TARGET)
    cut = shardpickle.prune(model, n_estimators=5, max_depth=2)
    members = [walked(tree, X, max_depth=2) for (tree,) in model.estimators_[:5]]
    expected = model.init_.predict(X) + 0.1 * np.sum(members, axis=0)[:, 0, 0]
    np.testing.assert_allclose(cut.predict(X), expected, rtol=1e-12)
    classes = GradientBoostingClassifier(n_estimators=8, random_state=0).fit(X, LABELS)
    fewer = shardpickle.prune(classes, n_estimators=3)
    *_, expected = (
        each for each, _ in zip(classes.staged_predict_proba(X), range(3), strict=False)
    )
    assert fewer.predict_proba(X).tobytes() == expected.tobytes()


def test_pipelines_are_cut_at_their_end():
    model = make_pipeline(StandardScaler(), RandomForestClassifier(**SOME)).fit(X, LABELS)
    cut = shardpickle.prune(model, max_depth=2)
    assert max(tree.get_depth() for tree in cut[-1].estimators_) == 2
    assert max(tree.get_depth() for tree in model[-1].estimators_) > 2


def test_pipelines_of_each_tree_are_cut_with_it(tmp_path):
    """imblearn keeps a copy of each tree after its sampler."""
    kind = pytest.importorskip("imblearn.ensemble").BalancedRandomForestClassifier
    given = {"sampling_strategy": "all", "replacement": True, "bootstrap": False}
    whole = kind(**SOME, **given).fit(X, LABELS)
    shardpickle.dump(whole, tmp_path / "model")
    names = [
        "imblearn.under_sampling._prototype_selection._random_under_sampler.RandomUnderSampler",
        "imblearn.pipeline.Pipeline",
        "imblearn.ensemble._forest.BalancedRandomForestClassifier",
    ]
    lazy = shardpickle.load(tmp_path / "model", lazy=True, trusted=names)
    for model in (whole, lazy):
        cut = shardpickle.prune(model, n_estimators=4, max_depth=2)
        assert len(cut.pipelines_) == 4
        for tree, pipeline in zip(cut.estimators_, cut.pipelines_, strict=True):
            check_invariants(pipeline[-1])
            assert pipeline[-1].get_depth() == tree.get_depth() == 2
            assert pipeline[-1].tree_.predict(np.float32(X)).tobytes() == (
                tree.tree_.predict(np.float32(X)).tobytes()
            )
    assert max(pipeline[-1].get_depth() for pipeline in whole.pipelines_) > 2


def test_numbers_of_numpy_are_numbers():
    cut = shardpickle.prune(FORESTS["forest"], n_estimators=np.int64(3), max_depth=np.int32(2))
    assert (type(cut.n_estimators), type(cut.max_depth)) == (int, int)
    assert len(cut.estimators_) == 3
    for wrong in (True, 2.0, 0, np.int64(-1)):
        with pytest.raises(ValueError, match="n_estimators has to be a whole number"):
            shardpickle.prune(FORESTS["forest"], n_estimators=wrong)


@pytest.mark.filterwarnings("ignore:The SAMME.R algorithm:FutureWarning")  # of 1.5
def test_what_would_be_wrong_is_refused(tmp_path):
    few = {"n_estimators": 3, "random_state": 0}
    wrong = [
        GradientBoostingClassifier(**few).fit(X, LABELS),
        GradientBoostingRegressor(loss="huber", **few).fit(X, TARGET),
        HistGradientBoostingRegressor(max_iter=3).fit(X, TARGET),
        AdaBoostClassifier(**few).fit(X, LABELS),
        IsolationForest(**few).fit(X),
    ]
    for model in wrong:
        with pytest.raises(ValueError, match="trees cannot be cut"):
            shardpickle.prune(model, max_depth=1)
        assert shardpickle.prune(model, n_estimators=2) is not model
    with pytest.raises(TypeError, match="LogisticRegression"):
        shardpickle.prune(LogisticRegression().fit(X, LABELS), max_depth=1)
    bagged = BaggingClassifier(LogisticRegression(), n_estimators=2).fit(X, LABELS)
    with pytest.raises(TypeError, match="LogisticRegression"):
        shardpickle.prune(bagged, max_depth=1)
    with pytest.raises(ValueError, match="not fitted"):
        shardpickle.prune(RandomForestClassifier(), max_depth=1)
    with pytest.raises(ValueError, match="at most 6 here, not 7"):
        shardpickle.prune(FORESTS["forest"], n_estimators=7)
    with pytest.raises(ValueError, match="max_depth has to be a whole number"):
        shardpickle.prune(FORESTS["forest"], max_depth=0)
    with pytest.raises(ValueError, match="one tree"):
        shardpickle.prune(TREES["classifier"], n_estimators=2)
    assert shardpickle.prune(TREES["classifier"], n_estimators=1, max_depth=2).get_depth() == 2
    shardpickle.dump(FORESTS["forest"], tmp_path / "model", profile="inference")
    with pytest.warns(shardpickle.InferenceOnlyWarning):
        bare = shardpickle.load(tmp_path / "model")
    with pytest.raises(ValueError, match="profile='inference'"):
        shardpickle.prune(bare, max_depth=1)


def test_a_lazy_model_and_the_command(tmp_path, capsys):
    whole = FORESTS["regression"]
    shardpickle.dump(whole, tmp_path / "model", shard_size="20kB")
    lazy = shardpickle.load(tmp_path / "model", lazy=True, memory_limit="200kB")
    expected = shardpickle.prune(whole, max_depth=3)
    assert (
        shardpickle.prune(lazy, max_depth=3).predict(X).tobytes() == expected.predict(X).tobytes()
    )
    arguments = ["prune", str(tmp_path / "model"), str(tmp_path / "smaller"), "--max-depth", "3"]
    assert main(arguments) == 0
    assert "stored" in capsys.readouterr().out
    smaller = shardpickle.load(tmp_path / "smaller")
    assert smaller.predict(X).tobytes() == expected.predict(X).tobytes()
    assert smaller.max_depth == 3
    assert main([*arguments[:3], "--max-depth", "-1"]) == 2
    assert "1 or more" in capsys.readouterr().err
