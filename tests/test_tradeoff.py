"""What smaller versions would cost and score: beside the versions that `prune` makes."""

import json
import tracemalloc

import numpy as np
import pandas
import pytest
import scipy.sparse
from estimators import LABELS, X
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import (
    BaggingClassifier,
    BaggingRegressor,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import check_scoring, get_scorer, r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

import shardpickle
from shardpickle.cli import main
from shardpickle.shrink import measure
from shardpickle.shrink import table as tradeoffs


class Told(ClassifierMixin, BaseEstimator):
    """Gives the probabilities that it is made with."""

    def __init__(self, answers):
        self.answers = answers

    def fit(self, X, y):  # noqa: N803
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):  # noqa: N803
        return self.classes_[self.answers.argmax(axis=1)]

    def predict_proba(self, X):  # noqa: N803
        return self.answers


def own(estimator, X, y):  # noqa: N803
    """A scorer without weights."""
    return float((estimator.predict(X) == y).mean() ** 2)


TARGET = X[:, 0] + X[:, 1] ** 2
BOTH = np.column_stack([TARGET, -TARGET])
SOME = {"n_estimators": 12, "random_state": 0}
HALF = len(X) // 2
MODELS = {
    "forest": (RandomForestClassifier(**SOME), LABELS),
    "extra": (ExtraTreesClassifier(**SOME), LABELS),
    "regression": (RandomForestRegressor(**SOME), TARGET),
    "outputs": (RandomForestRegressor(**SOME), BOTH),
    "bagging": (BaggingClassifier(DecisionTreeClassifier(), max_features=0.7, **SOME), LABELS),
    "bagged regression": (BaggingRegressor(**SOME), TARGET),
    "tree": (DecisionTreeClassifier(random_state=0), LABELS),
    "tree of values": (DecisionTreeRegressor(random_state=0), TARGET),
    "pipeline": (make_pipeline(StandardScaler(), RandomForestClassifier(**SOME)), LABELS),
    "boosting": (GradientBoostingClassifier(**SOME), LABELS),
}


def pruned(model, row):
    last = model[-1] if hasattr(model, "steps") else model
    count = {"n_estimators": row.n_estimators} if hasattr(last, "n_estimators") else {}
    return shardpickle.prune(
        model, max_depth=row.max_depth, min_samples_leaf=row.min_samples_leaf, **count
    )


def trees(model):
    last = model[-1] if hasattr(model, "steps") else model
    return np.ravel(getattr(last, "estimators_", [last]))


@pytest.mark.parametrize("name", MODELS)
def test_each_row_is_the_model_that_prune_makes(name):
    model, target = MODELS[name]
    model.fit(X[:HALF], target[:HALF])
    rows, truth = X[HALF:], target[HALF:]
    found = shardpickle.tradeoff(model, rows, truth, progress=False)
    assert found.samples == len(rows)
    assert found.whole.score == pytest.approx(model.score(rows, truth), abs=1e-12)
    assert (found.whole.difference, found.whole.interval) == (0, 0)
    for row in found.rows[:: max(1, len(found.rows) // 12)]:
        made = pruned(model, row)
        assert row.score == pytest.approx(made.score(rows, truth), abs=1e-9), row.name
        states = [tree.tree_.__getstate__() for tree in trees(made)]
        arrays = sum(state["nodes"].nbytes + state["values"].nbytes for state in states)
        assert row.memory_bytes == arrays, row.name
        assert row.difference == pytest.approx(row.score - found.whole.score)
        assert row.seconds > 0


def test_stored_bytes_are_near_those_of_the_dump():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(3000, 6))
    target = rows[:, 0] * 3 + np.abs(rows[:, 1]) + rng.normal(size=3000)
    forest = RandomForestRegressor(25, random_state=0).fit(rows[:2000], target[:2000])
    found = shardpickle.tradeoff(forest, rows[2000:], target[2000:], progress=False)
    for row in found.rows[::15]:
        real = shardpickle.estimate(pruned(forest, row), progress=False).stored_bytes
        assert 0.75 < row.stored_bytes / real < 1.35, row.name


def test_the_best_rows_are_those_that_no_other_one_beats():
    model, target = MODELS["forest"]
    found = shardpickle.tradeoff(model.fit(X[:HALF], target[:HALF]), X[HALF:], target[HALF:])
    for row in found.rows:
        beaten = any(
            (other.stored_bytes <= row.stored_bytes and other.score > row.score)
            or (other.stored_bytes < row.stored_bytes and other.score >= row.score)
            for other in found.rows
        )
        assert row.best is not beaten or (not row.best and _twin(found, row)), row.name
    assert found.best
    assert found.best[-1].score == max(row.score for row in found.rows)


def _twin(found, row):
    return any(
        other is not row and (other.stored_bytes, other.score) == (row.stored_bytes, row.score)
        for other in found.rows
    )


def test_scores_of_resamples_are_those_of_the_drawn_rows():
    rng = np.random.default_rng(1)
    truth, answers = rng.normal(size=(50, 2)), rng.normal(size=(50, 2))
    draws = tradeoffs.resamples(50)
    assert (draws[0] == 1).all()
    assert (draws.sum(axis=1) == 50).all()
    forest = RandomForestRegressor(2).fit(answers, truth)
    mine = measure.Scores(forest, None, truth, len(draws) - 1).of(answers)
    for number in (0, 1, 7, 100):
        chosen = np.repeat(np.arange(50), draws[number])
        assert mine[number] == pytest.approx(r2_score(truth[chosen], answers[chosen]))


@pytest.mark.parametrize("scoring", [None, "balanced_accuracy", "neg_log_loss", "rand_score", own])
def test_scorers_with_weights_and_without_them_score_the_drawn_rows(scoring):
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 60)
    forest = RandomForestClassifier(2, random_state=0).fit(rng.normal(size=(60, 2)), labels)
    answers = rng.dirichlet(np.ones(3), 60)
    mine = measure.Scores(forest, scoring, labels, 3).of(answers)
    for number, draw in enumerate(tradeoffs.resamples(60, 3)):
        rows = np.repeat(np.arange(60), draw)
        told = Told(answers[rows]).fit(rows[:, None], labels)
        expected = check_scoring(told, scoring or "accuracy")(told, rows[:, None], labels[rows])
        assert mine[number] == pytest.approx(expected)


def test_the_interval_covers_what_other_rows_would_have_shown():
    """Of 60 validation sets, about 95 % hold the difference of the whole population."""
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(60):
        one, other = rng.random(300) < 0.8, rng.random(300) < 0.75
        draws = tradeoffs.resamples(300, 200).astype(float)
        scores = [draws @ right / 300 for right in (one, other)]
        difference = scores[0][0] - scores[1][0]
        covered += abs(difference - 0.05) <= tradeoffs.half_interval(*scores)
    assert 50 <= covered <= 60


@pytest.mark.long
@pytest.mark.parametrize("scoring", ["neg_log_loss", "balanced_accuracy"])
def test_a_scoring_of_the_callers(scoring):
    model, target = MODELS["forest"]
    model.fit(X[:HALF], target[:HALF])
    found = shardpickle.tradeoff(model, X[HALF:], target[HALF:], scoring=scoring, progress=False)
    expected = get_scorer(scoring)(model, X[HALF:], target[HALF:])
    assert found.whole.score == pytest.approx(expected)
    assert found.scoring == scoring


@pytest.mark.long
def test_a_lazy_model_within_a_limit_and_the_command(tmp_path, capsys):
    model, target = MODELS["regression"]
    model.fit(X[:HALF], target[:HALF])
    shardpickle.dump(model, tmp_path / "model", shard_size="20kB")
    expected = shardpickle.tradeoff(model, X[HALF:], target[HALF:], progress=False)
    found = shardpickle.tradeoff(
        tmp_path / "model", X[HALF:], target[HALF:], memory_limit="2MB", progress=False
    )
    for mine, theirs in zip(found.rows, expected.rows, strict=True):
        assert (mine.name, mine.score, mine.stored_bytes) == (
            *(theirs.name, theirs.score, theirs.stored_bytes),
        )
    np.savez(tmp_path / "validation.npz", X=X[HALF:], y=target[HALF:])
    page = tmp_path / "page.html"
    arguments = ["tradeoff", str(tmp_path / "model"), str(tmp_path / "validation.npz")]
    assert main([*arguments, "--html", str(page)]) == 0
    assert f"R² on {len(X) - HALF} rows" in capsys.readouterr().out
    text = page.read_text()
    assert "<script" not in text
    assert text.count("<tr id=") == len(expected.rows)
    table = pandas.DataFrame(X[HALF:]).rename(columns=str).assign(goal=target[HALF:])
    table.to_csv(tmp_path / "v.csv", index=False)
    model.fit(pandas.DataFrame(X[:HALF]).rename(columns=str), target[:HALF])
    shardpickle.dump(model, tmp_path / "named")
    arguments[1:] = [str(tmp_path / "named"), str(tmp_path / "v.csv")]
    assert main([*arguments, "--target", "goal", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert rows[0]["score"] == pytest.approx(expected.rows[0].score)
    assert main([*arguments, "--target", "price"]) == 2
    assert "--target" in capsys.readouterr().err


def _score(model, rows, truth, **options):
    return shardpickle.tradeoff(model, rows, truth, progress=False, **options).whole.score


def test_rows_that_the_model_refuses_are_refused():
    """Compiled trees check nothing: of a short row they would read the memory behind it."""
    table = pandas.DataFrame(X).rename(columns=lambda number: f"c{number}")
    named = RandomForestClassifier(**SOME).fit(table, LABELS)
    wrong = [
        (named, table[table.columns[::-1]], "feature names should match"),
        (named, table.iloc[:0], "0 sample"),
    ]
    for name in ("forest", "bagging", "tree", "boosting"):
        model, target = MODELS[name]
        model.fit(X, target)
        wrong += [
            (model, X[:, :-1], "features"),
            (model, np.hstack([X, X]), "features"),
            (model, np.where(X > 1, np.inf, X), "infinity"),
        ]
    for model, rows, message in wrong:
        with pytest.raises(ValueError, match=message):
            _score(model, rows, LABELS[: len(rows)])
    assert _score(named, table, LABELS) == named.score(table, LABELS)


@pytest.mark.long
def test_targets_that_do_not_belong_to_the_rows_are_refused():
    forest, values = MODELS["forest"][0].fit(X, LABELS), MODELS["regression"][0].fit(X, TARGET)
    for model, truth in ((forest, LABELS[:-1]), (forest, BOTH), (values, BOTH), (values, 1.0)):
        with pytest.raises(ValueError, match="y_val has the shape"):
            _score(model, X, truth)
    assert _score(forest, X, LABELS[:, None]) == forest.score(X, LABELS)
    assert _score(values, X, TARGET[:, None]) == pytest.approx(values.score(X, TARGET), abs=1e-12)


@pytest.mark.long
@pytest.mark.parametrize("name", ["forest", "bagging", "tree", "boosting"])
def test_sparse_rows(name):
    model, target = MODELS[name]
    model.fit(X[:HALF], target[:HALF])
    sparse = scipy.sparse.csr_matrix(X[HALF:])
    mine = shardpickle.tradeoff(model, sparse, target[HALF:], progress=False)
    dense = shardpickle.tradeoff(model, X[HALF:], target[HALF:], progress=False)
    assert [row.score for row in mine.rows] == [row.score for row in dense.rows]
    assert mine.whole.score == pytest.approx(model.score(sparse, target[HALF:]))


@pytest.mark.long
def test_resamples_without_a_score_do_not_count():
    """A third of the resamples draw none of the one positive row: these have no ROC."""
    truth = np.arange(HALF) == 3
    model = RandomForestClassifier(**SOME).fit(X[HALF:], LABELS[HALF:] == 1)
    found = shardpickle.tradeoff(model, X[:HALF], truth, scoring="roc_auc", progress=False)
    assert found.whole.score == pytest.approx(get_scorer("roc_auc")(model, X[:HALF], truth))
    assert all(np.isfinite(row.interval) for row in found.rows)
    assert max(row.interval for row in found.rows) > 0
    assert np.isnan(tradeoffs.half_interval(np.array([1.0, np.nan, 1.0]), np.ones(3)))


def test_a_models_versions_stay_within_the_limit():
    """All answers of 30 versions in two prefixes would be 96 MB, the draws as numbers 32 MB."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(20_000, 2)).astype(np.float32)
    forest = RandomForestRegressor(11, max_depth=6, random_state=0)
    forest.fit(rows[:500], np.column_stack([rows[:500]] * 5))
    truth = np.column_stack([rows] * 5)
    tracemalloc.start()
    try:
        found = shardpickle.tradeoff(
            forest, rows, truth, memory_limit="25MB", workers=1, progress=False
        )
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 2 < len(found.rows) < 30
    assert peak < 25e6


def test_costs_are_those_of_as_many_trees_as_the_limit_holds():
    model, _ = MODELS["regression"]
    ensemble = measure.Ensemble(model.fit(X, TARGET), X)
    largest = max(
        sum(part.nbytes for part in tree.tree_.__getstate__().values() if hasattr(part, "nbytes"))
        for tree in model.estimators_
    )
    assert [len(ensemble.sample(most)) for most in (1, 10**9)] == [1, 8]
    assert 1 < len(ensemble.sample(3 * largest)) < 8


def test_a_lazy_tree_is_not_opened_for_every_limit(tmp_path, monkeypatch):
    model, target = MODELS["regression"]
    model.fit(X, target)
    shardpickle.dump(model, tmp_path / "model", shard_size="1kB")
    lazy = shardpickle.load(tmp_path / "model", lazy=True)
    opened = []
    monkeypatch.setattr(
        measure.Ensemble,
        "trees",
        lambda self, number, trees=measure.Ensemble.trees: (
            opened.append(number) or trees(self, number)
        ),
    )
    found = shardpickle.tradeoff(lazy, X, target, progress=False)
    assert len(found.rows) > 20
    assert max(opened.count(number) for number in range(12)) <= 5
    assert found.whole.score == pytest.approx(model.score(X, target), abs=1e-12)


def test_the_rows_as_a_data_frame():
    model, target = MODELS["regression"]
    model.fit(X[:HALF], target[:HALF])
    found = shardpickle.tradeoff(model, X[HALF:], target[HALF:], progress=False)
    table = found.to_pandas()
    assert table["name"].tolist() == [row.name for row in found.rows]
    chosen = table.dropna().iloc[0]
    made = shardpickle.prune(
        model, **chosen[["n_estimators", "max_depth", "min_samples_leaf"]].to_dict()
    )
    assert made.score(X[HALF:], target[HALF:]) == pytest.approx(chosen["score"], abs=1e-9)


def test_little_memory_leaves_fewer_versions():
    model, target = MODELS["forest"]
    model.fit(X[:HALF], target[:HALF])
    few = shardpickle.tradeoff(model, X[HALF:], target[HALF:], memory_limit="5kB", progress=False)
    many = shardpickle.tradeoff(model, X[HALF:], target[HALF:], progress=False)
    assert 2 <= len(few.rows) < len(many.rows)
    assert few.whole.score == many.whole.score


def test_plot():
    mpl = pytest.importorskip("matplotlib", reason="plots are an extra: shardpickle[plot]")
    mpl.use("agg")
    model, target = MODELS["tree"]
    found = shardpickle.tradeoff(model.fit(X[:HALF], target[:HALF]), X[HALF:], target[HALF:])
    drawn = found.plot().lines
    assert sum(len(line.get_xdata()) for line in drawn) == len(found.rows)


def test_other_models_are_refused():
    model = HistGradientBoostingRegressor(max_iter=2).fit(X, TARGET)
    with pytest.raises(TypeError, match="HistGradientBoostingRegressor"):
        shardpickle.tradeoff(model, X, TARGET)
    both = RandomForestClassifier(2).fit(X, np.column_stack([LABELS, LABELS]))
    with pytest.raises(TypeError, match="several outputs"):
        shardpickle.tradeoff(both, X, LABELS)
    bagged = BaggingClassifier(LogisticRegression(), n_estimators=2).fit(X, LABELS)
    with pytest.raises(TypeError, match="LogisticRegression"):
        shardpickle.tradeoff(bagged, X, LABELS)
    with pytest.raises(ValueError, match="not fitted"):
        shardpickle.tradeoff(RandomForestClassifier(), X, LABELS)
