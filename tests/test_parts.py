"""Part of a model: the first estimators, or those that are not damaged."""

import copy
import warnings

import numpy as np
import pytest
from estimators import LABELS, TARGET, X
from graphs import assert_same
from imblearn.ensemble import BalancedRandomForestClassifier
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
    VotingClassifier,
)
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

import shardpickle
from shardpickle.io import load_lazy

SEED = {"random_state": 0}
ENSEMBLES = {
    "forest": lambda n: RandomForestClassifier(n, **SEED),
    "regression": lambda n: RandomForestRegressor(n, **SEED),
    "extra trees": lambda n: ExtraTreesClassifier(n, **SEED),
    "extra regression": lambda n: ExtraTreesRegressor(n, **SEED),
    "bagging": lambda n: BaggingClassifier(DecisionTreeClassifier(), n, max_features=0.5, **SEED),
    "bagged neighbours": lambda n: BaggingRegressor(KNeighborsRegressor(), n, **SEED),
    "isolation": lambda n: IsolationForest(n_estimators=n, **SEED),
    "balanced": lambda n: BalancedRandomForestClassifier(
        n, sampling_strategy="all", replacement=True, bootstrap=False, **SEED
    ),
    "AdaBoost": lambda n: AdaBoostClassifier(n_estimators=n, **SEED),
    "AdaBoost regression": lambda n: AdaBoostRegressor(n_estimators=n, **SEED),
    "boosting": lambda n: GradientBoostingClassifier(n_estimators=n, **SEED),
    "boosting regression": lambda n: GradientBoostingRegressor(n_estimators=n, **SEED),
    "histogram": lambda n: HistGradientBoostingClassifier(max_iter=n, **SEED),
    "histogram regression": lambda n: HistGradientBoostingRegressor(max_iter=n, **SEED),
    "pipeline": lambda n: make_pipeline(StandardScaler(), RandomForestClassifier(n, **SEED)),
}
REGRESSIONS = {
    "regression",
    "extra regression",
    "bagged neighbours",
    "AdaBoost regression",
    "boosting regression",
    "histogram regression",
}
BOOSTING = {name for name in ENSEMBLES if "oost" in name or "histogram" in name}


def fitted(name, count):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # imbalanced-learn uses what scikit-learn deprecates
        return ENSEMBLES[name](count).fit(X, TARGET if name in REGRESSIONS else LABELS)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("name", ENSEMBLES)
def test_the_first_estimators_are_what_fitting_so_many_gives(name, lazy, tmp_path):
    report = shardpickle.dump(fitted(name, 12), tmp_path / "model", shard_size="20kB")
    trusted = report.needs_trust
    found = shardpickle.load(tmp_path / "model", lazy=lazy, estimators=slice(0, 5), trusted=trusted)
    expected = fitted(name, 5)
    for method in ("predict", "predict_proba", "decision_function", "score_samples"):
        if hasattr(expected, method):
            assert_same(getattr(found, method)(X), getattr(expected, method)(X))
    if not lazy and not name.startswith("boosting"):  # its trees share one generator, which goes on
        ours, theirs = (_comparable(one) for one in (found, expected))
        assert ours.keys() == theirs.keys()
        for attribute in ours:
            assert_same(ours[attribute], theirs[attribute])
    shardpickle.dump(found, tmp_path / "small")
    assert_same(
        shardpickle.load(tmp_path / "small", trusted=trusted).predict(X), expected.predict(X)
    )


def _comparable(model):
    """What tells of the estimators; generators have moved on."""
    final = model[-1] if hasattr(model, "steps") else model
    skipped = ("rng", "random_seed", "_bin_mapper", "_preprocessor", "_loss")
    return {
        name: value
        for name, value in vars(final).items()
        if not any(each in name for each in skipped) and name != "init_"
    }


def test_any_estimators_of_an_average(tmp_path):
    model = RandomForestRegressor(12, oob_score=True, **SEED).fit(X, TARGET)
    shardpickle.dump(model, tmp_path / "model", shard_size="20kB")
    found = shardpickle.load(tmp_path / "model", estimators=slice(-1, None, -3))
    answers = [model.estimators_[number].predict(X) for number in (11, 8, 5, 2)]
    assert (found.predict(X) == np.mean(answers, axis=0)).all() or np.allclose(
        found.predict(X), np.mean(answers, axis=0), rtol=1e-15
    )
    assert found.n_estimators == 4
    assert not hasattr(found, "oob_score_")
    assert model.oob_score_ == shardpickle.load(tmp_path / "model").oob_score_


def test_only_the_shards_that_are_needed_are_read(tmp_path, monkeypatch):
    model = RandomForestClassifier(40, **SEED).fit(X, LABELS)
    shardpickle.dump(model, tmp_path / "model", shard_size="20kB")
    fetched = set()
    fetch = load_lazy.Source.fetch

    def counting(self, shard, ahead):
        fetched.add(shard)
        return fetch(self, shard, ahead)

    monkeypatch.setattr(load_lazy.Source, "fetch", counting)
    seen = []
    shardpickle.load(tmp_path / "model", estimators=slice(3), on_progress=seen.append)
    assert len(fetched) == 1
    assert seen[-1].done == seen[-1].total


@pytest.mark.parametrize(
    ("model", "estimators", "error", "match"),
    [
        (GradientBoostingRegressor(n_estimators=4), slice(1, 3), ValueError, "take the first ones"),
        (
            HistGradientBoostingRegressor(max_iter=4),
            slice(0, 4, 2),
            ValueError,
            "take the first ones",
        ),
        (RandomForestRegressor(4), slice(4, 8), ValueError, "none of the 4 estimators"),
        (RandomForestRegressor(4), 3, TypeError, "has to be a slice"),
        (RandomTreesEmbedding(4), slice(2), TypeError, "of a RandomTreesEmbedding:"),
        (KNeighborsRegressor(), slice(2), TypeError, "of a KNeighborsRegressor:"),
        (
            VotingClassifier([("a", DecisionTreeClassifier()), ("b", DecisionTreeClassifier())]),
            slice(1),
            TypeError,
            "of a VotingClassifier:",
        ),
    ],
)
def test_what_would_be_meaningless_is_refused(model, estimators, error, match, tmp_path):
    model.fit(X, LABELS if isinstance(model, VotingClassifier) else TARGET)
    shardpickle.dump(model, tmp_path / "model")
    with pytest.raises(error, match=match):
        shardpickle.load(tmp_path / "model", estimators=estimators)


def test_an_unfitted_ensemble_has_no_estimators(tmp_path):
    shardpickle.dump(RandomForestClassifier(), tmp_path / "model")
    with pytest.raises(ValueError, match="not fitted"):
        shardpickle.load(tmp_path / "model", estimators=slice(2))


# Damage ------------------------------------------------------------------------------------------


AVERAGES = [name for name in ENSEMBLES if name not in BOOSTING]


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("name", AVERAGES)
def test_what_is_not_damaged_is_given_back(name, missing, tmp_path):
    model = fitted(name, 12)
    report = shardpickle.dump(model, tmp_path / "model", shard_size="20kB")
    trusted = report.needs_trust
    files = sorted((tmp_path / "model" / "shards").iterdir())
    saved = 0
    for file in files:
        data = file.read_bytes()
        _break(file, data, missing)
        with pytest.raises(shardpickle.CorruptShardError):
            shardpickle.load(tmp_path / "model", trusted=trusted)
        found, told = _salvaged(tmp_path / "model", trusted)
        if isinstance(found, shardpickle.CorruptShardError):
            assert file.name in str(found)  # it holds what all estimators need
        else:
            saved += 1
            assert "of 12 estimators are lost" in told
            assert file.name in told
            final = found[-1] if hasattr(found, "steps") else found
            kept = [
                number
                for number, one in enumerate(_estimators(model))
                if any(_alike(one, other) for other in final.estimators_)
            ]
            assert 0 < len(kept) == len(final.estimators_) == final.n_estimators < 12
            assert_same(found.predict(X), _only(model, kept).predict(X))
            assert_same(final.estimator, _final(model).estimator)
        file.write_bytes(data)
    assert saved >= 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = shardpickle.load(tmp_path / "model", skip_damaged=True, trusted=trusted)
    assert_same(found.predict(X), model.predict(X))


def _salvaged(path, trusted):
    """What is loaded of a damaged model, or the error; and the warning."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", shardpickle.DamagedModelWarning)
        try:
            found = shardpickle.load(path, skip_damaged=True, trusted=trusted)
        except shardpickle.CorruptShardError as error:
            return error, ""
    assert caught[0].filename == __file__
    return found, str(caught[0].message)


def _break(file, data, missing):
    if missing:
        file.unlink()
    else:
        file.write_bytes(data[: len(data) // 2] + b"\0" + data[len(data) // 2 + 1 :])


def _final(model):
    return model[-1] if hasattr(model, "steps") else model


def _estimators(model):
    return _final(model).estimators_


def _alike(one, other):
    if not hasattr(one, "tree_"):
        return (one._fit_X.shape == other._fit_X.shape) and (one._fit_X == other._fit_X).all()
    mine, yours = one.tree_.__getstate__(), other.tree_.__getstate__()
    return mine["nodes"].tobytes() == yours["nodes"].tobytes()


def _only(model, numbers):
    """The model with some estimators, by hand."""
    smaller = copy.deepcopy(model)
    final = _final(smaller)
    for name in ("estimators_", "estimators_features_"):
        if hasattr(final, name):
            values = getattr(final, name)
            setattr(final, name, [values[number] for number in numbers])
    for name in ("_average_path_length_per_tree", "_decision_path_lengths"):
        if hasattr(final, name):
            values = getattr(final, name)
            setattr(final, name, type(values)(values[number] for number in numbers))
    final.n_estimators = len(numbers)
    return smaller


@pytest.mark.long
def test_boosting_is_not_given_back_in_part(tmp_path):
    model = GradientBoostingRegressor(n_estimators=300, **SEED).fit(X, TARGET)
    shardpickle.dump(model, tmp_path / "model", shard_size="20kB")
    for file in (tmp_path / "model" / "shards").iterdir():
        data = file.read_bytes()
        _break(file, data, False)
        with pytest.raises(shardpickle.CorruptShardError, match=file.name):
            shardpickle.load(tmp_path / "model", skip_damaged=True)
        file.write_bytes(data)


def test_a_damaged_manifest_is_not_skipped(tmp_path):
    shardpickle.dump(RandomForestClassifier(3, **SEED).fit(X, LABELS), tmp_path / "model")
    file = tmp_path / "model" / "manifest.json"
    file.write_bytes(file.read_bytes().replace(b'"count":4', b'"count":3'))
    with pytest.raises(shardpickle.CorruptManifestError):
        shardpickle.load(tmp_path / "model", skip_damaged=True)


def test_options_that_exclude_each_other(tmp_path):
    shardpickle.dump([1], tmp_path / "model")
    with pytest.raises(ValueError, match="needs lazy=False"):
        shardpickle.load(tmp_path / "model", lazy=True, skip_damaged=True)
