"""XGBoost's, LightGBM's and CatBoost's scikit-learn classes: alone and in pipelines."""

import pickle
from collections import OrderedDict, defaultdict

import joblib
import numpy as np
import pytest
from estimators import LABELS, TARGET, X
from sklearn.base import BaseEstimator
from sklearn.ensemble import StackingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import shardpickle

pytestmark = pytest.mark.filterwarnings("ignore")  # what the libraries warn of while they fit

OPTIONS = {
    "xgboost": {"n_estimators": 40, "n_jobs": 1, "random_state": 0},
    "lightgbm": {"n_estimators": 40, "n_jobs": 1, "random_state": 0, "verbose": -1},
    "catboost": {
        "iterations": 40,
        "thread_count": 1,
        "random_seed": 0,
        "verbose": False,
        "allow_writing_files": False,
    },
}
# What has to be trusted, as docs/boosters.md says.
NAMES = {
    "xgboost.XGBClassifier": {"xgboost.sklearn.XGBClassifier", "xgboost.core.Booster"},
    "xgboost.XGBRegressor": {"xgboost.sklearn.XGBRegressor", "xgboost.core.Booster"},
    "xgboost.XGBRFClassifier": {"xgboost.sklearn.XGBRFClassifier", "xgboost.core.Booster"},
    "lightgbm.LGBMClassifier": {"lightgbm.sklearn.LGBMClassifier", "lightgbm.basic.Booster"},
    "lightgbm.LGBMRegressor": {"lightgbm.sklearn.LGBMRegressor", "lightgbm.basic.Booster"},
    "catboost.CatBoostClassifier": {"catboost.core.CatBoostClassifier"},
    "catboost.CatBoostRegressor": {"catboost.core.CatBoostRegressor"},
}


def unfitted(name):
    library, kind = name.split(".")
    module = pytest.importorskip(library, reason=f"{library} is not installed")
    return getattr(module, kind)(**OPTIONS[library])


def target(name):
    return TARGET if name.endswith("Regressor") else LABELS


def answers(model):
    return np.asarray(getattr(model, "predict_proba", model.predict)(X)).tobytes()


def stored(model, folder):
    shardpickle.dump(model, folder)
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


class LikeCatBoost(BaseEstimator):
    """Keeps its content as CatBoost does, which not everybody has installed."""

    def __getstate__(self):
        return {"__model": self.content}

    def __setstate__(self, state):
        self.content = state.pop("__model")


def test_a_state_with_names_that_only_begin_with_underscores(tmp_path):
    model = LikeCatBoost()
    model.content = b"trees"
    shardpickle.dump(model, tmp_path / "model")
    assert shardpickle.load(tmp_path / "model", trusted=[LikeCatBoost]).content == b"trees"


def test_a_dict_of_ordered_dicts_as_lightgbm_keeps_its_scores(tmp_path):
    scores = defaultdict(OrderedDict)
    scores["training"]["l2"] = 0.5
    shardpickle.dump(scores, tmp_path / "scores")
    loaded = shardpickle.load(tmp_path / "scores")
    assert loaded == scores
    assert loaded.default_factory is OrderedDict


@pytest.mark.parametrize("name", NAMES)
def test_alone(name, tmp_path):
    model = unfitted(name).fit(X, target(name))
    report = shardpickle.dump(model, tmp_path / "model")
    assert set(report.needs_trust) == NAMES[name]
    with pytest.raises(shardpickle.UntrustedTypeError) as refused:
        shardpickle.load(tmp_path / "model")
    assert set(refused.value.names) == NAMES[name]
    for options in ({"trusted": NAMES[name]}, {"unsafe": True}):
        loaded = shardpickle.load(tmp_path / "model", **options)
        assert type(loaded) is type(model)
        assert answers(loaded) == answers(pickle.loads(pickle.dumps(model))) == answers(model)
        assert loaded.get_params() == model.get_params() or name.startswith("xgboost")  # NaN


@pytest.mark.parametrize("name", NAMES)
def test_in_a_pipeline(name, tmp_path):
    model = make_pipeline(StandardScaler(), unfitted(name)).fit(X, target(name))
    shardpickle.dump(model, tmp_path / "model")
    for options in ({}, {"lazy": True}):
        loaded = shardpickle.load(tmp_path / "model", trusted=NAMES[name], **options)
        assert answers(loaded) == answers(model)


def test_in_a_stack(tmp_path):
    names = ("xgboost.XGBClassifier", "lightgbm.LGBMClassifier")
    model = StackingClassifier([(name[:3], unfitted(name)) for name in names], cv=2).fit(X, LABELS)
    shardpickle.dump(model, tmp_path / "model")
    trusted = set().union(*(NAMES[name] for name in names))
    assert answers(shardpickle.load(tmp_path / "model", trusted=trusted)) == answers(model)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_bytes_again(name, tmp_path):
    model = unfitted(name).fit(X, target(name))
    first = shardpickle.dump(model, tmp_path / "first")
    loaded = shardpickle.load(tmp_path / "first", trusted=NAMES[name])
    assert shardpickle.dump(model, tmp_path / "second", workers=2).digest == first.digest
    assert answers(loaded) == answers(model)


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("catboost")])
def test_smaller_than_what_joblib_is_told_to_compress(name, tmp_path):
    """By zlib at joblib's own level for `compress=True`; lzma is smaller (docs/boosters.md)."""
    model = unfitted(name).set_params(**{next(iter(OPTIONS[name.split(".")[0]])): 300})
    model.fit(X, target(name))
    joblib.dump(model, tmp_path / "joblib", compress=True)
    assert stored(model, tmp_path / "model") < (tmp_path / "joblib").stat().st_size


def test_damage_is_noticed_before_the_library_sees_it(tmp_path):
    name = "xgboost.XGBClassifier"
    shardpickle.dump(unfitted(name).fit(X, LABELS), tmp_path / "model")
    (shard,) = (tmp_path / "model" / "shards").iterdir()
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(shardpickle.CorruptShardError):
        shardpickle.load(tmp_path / "model", trusted=NAMES[name])
