"""An estimate is what a dump would store, to the byte."""

import pytest
from composition_cases import CASES
from estimators import TARGET, X
from sklearn.ensemble import RandomForestRegressor

import shardpickle


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore")  # what libraries warn of while they are fitted
def test_an_estimate_is_what_a_dump_stores(case, tmp_path, monkeypatch):
    model = CASES[case]()
    options = {"shard_size": "30kB", "metadata": {"score": 1}}
    monkeypatch.chdir(tmp_path)
    found = shardpickle.estimate(model, workers=2, **options)
    assert not list(tmp_path.iterdir())
    report = shardpickle.dump(model, "model", **options)
    expected = shardpickle.inspect("model")
    assert found.stored_bytes == report.stored_bytes
    assert found.stored_bytes == sum(each.stat().st_size for each in tmp_path.rglob("*.*"))
    assert {**found.to_dict(), "path": "model"} == expected.to_dict()


def test_profiles_levels_and_progress(tmp_path):
    model = RandomForestRegressor(30, random_state=0).fit(X, TARGET)
    full = shardpickle.estimate(model)
    assert shardpickle.estimate(model, profile="inference").stored_bytes < full.stored_bytes
    seen = []
    shardpickle.estimate(model, level=19, on_progress=seen.append)
    assert (seen[0].action, seen[-1].done) == ("estimate", seen[-1].total)
    with pytest.raises(ValueError, match="level has to be a whole number"):
        shardpickle.estimate(model, level=23)
