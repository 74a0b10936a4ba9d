"""What differs between two models, told from their directories."""

import json

import pytest
from estimators import LABELS, X
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import shardpickle
from shardpickle.cli import main

SEED = {"random_state": 0}


def forest(count=20, **options):
    return RandomForestClassifier(count, **{**SEED, **options}).fit(X, LABELS)


@pytest.fixture
def pair(tmp_path):
    def dump(one, other, *, sizes=("20kB", "20kB"), **options):
        shardpickle.dump(one, tmp_path / "one", shard_size=sizes[0])
        shardpickle.dump(other, tmp_path / "other", shard_size=sizes[1], **options)
        return tmp_path / "one", tmp_path / "other"

    return dump


def seen(difference):
    return {(one.path, one.what) for one in difference.changes}


@pytest.mark.parametrize("sizes", [("20kB", "20kB"), ("20kB", "5kB"), ("1MB", "9kB")])
def test_equal_models_in_whatever_shards(sizes, pair):
    one, other = pair(forest(), forest(), sizes=sizes)
    found = shardpickle.diff(one, other)
    assert not found
    assert found.changes == ()
    same = sizes[0] == sizes[1]
    assert (found.travels == 0) == same
    assert main(["diff", str(one), str(other)]) == 0


def test_a_grown_forest(pair, capsys):
    one, other = pair(forest(20), forest(30))
    found = shardpickle.diff(one, other)
    assert seen(found) == {
        ("the model", "differs"),
        ("estimators_[20:30]", "only in the second"),
    }
    assert found.changes[0].values == {"n_estimators": (20, 30)}
    mine, yours = ({each.name for each in (path / "shards").iterdir()} for path in (one, other))
    new = [other / "shards" / name for name in yours - mine]
    assert found.shards == len(new)
    manifest = (other / "manifest.json").stat().st_size
    assert found.travels == sum(each.stat().st_size for each in new) + manifest
    assert main(["diff", str(one), str(other)]) == 1
    text = capsys.readouterr().out
    assert "n_estimators: 20 › 30" in text
    assert "estimators_[20:30]: only in the second" in text
    assert main(["diff", "--json", str(one), str(other)]) == 1
    assert json.loads(capsys.readouterr().out)["equal"] is False


def test_single_estimators_that_differ(pair):
    first, second = forest(), forest()
    strangers = forest(20, random_state=7).estimators_
    for number in (3, 4, 5, 11):
        second.estimators_[number] = strangers[number]
    one, other = pair(first, second)
    found = shardpickle.diff(one, other)
    assert {path for path, _ in seen(found)} == {f"estimators_[{at}]" for at in (3, 4, 5, 11)}
    assert all("random_state" in change.values for change in found.changes)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (
            lambda n: make_pipeline(StandardScaler(), RandomForestClassifier(n, **SEED)),
            "steps[1][1].estimators_[4:6]",
        ),
        (
            lambda n: GradientBoostingClassifier(n_estimators=n, **SEED),
            "estimators_.flat[12:18]",
        ),
        (lambda n: HistGradientBoostingClassifier(max_iter=n), "_predictors[4:6][0]"),
    ],
)
def test_where_estimators_stand(make, expected, pair):
    one, other = pair(make(4).fit(X, LABELS), make(6).fit(X, LABELS))
    added = {path for path, what in seen(shardpickle.diff(one, other)) if "second" in what}
    if "_predictors" in expected:
        assert added == {f"_predictors[{at}][0:3]" for at in (4, 5)}
    else:
        assert added == {expected}


def test_classes_parameters_metadata_and_profiles(pair):
    one, other = pair(forest(4), LogisticRegression().fit(X, LABELS), metadata={"a": 1})
    found = shardpickle.diff(one, other)
    assert found.metadata
    kinds = found.changes[0].values["class"]
    assert [each.rpartition(".")[2] for each in kinds] == [
        "RandomForestClassifier",
        "LogisticRegression",
    ]
    one, other = pair(forest(4), forest(4), profile="inference")
    found = shardpickle.diff(one, other)
    assert found
    assert found.profiles == ("full", "inference")
    one, other = pair(LogisticRegression().fit(X, LABELS), LogisticRegression(C=2).fit(X, LABELS))
    (change,) = shardpickle.diff(one, other).changes
    assert change.values["C"] == (1.0, 2)


def test_damage_is_told(pair):
    one, other = pair(forest(4), forest(5))
    (other / "manifest.json").unlink()
    assert main(["diff", str(one), str(other)]) == 2
