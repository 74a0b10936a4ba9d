"""Ensembles inside pipelines inside searches, other libraries' ensembles, and what they share."""

import pickle
import warnings

import numpy as np
import pytest
from composition_cases import CASES
from estimators import X, predictions
from graphs import assert_same, loaded_as_pickle

import shardpickle


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore")  # what libraries warn of while they are fitted
def test_round_trip(case, tmp_path):
    model = CASES[case]()
    predictions(model, X)
    reference = pickle.loads(pickle.dumps(model, protocol=5))
    first = shardpickle.dump(model, tmp_path / "model", workers=2, shard_size="30kB")
    loaded = loaded_as_pickle(tmp_path / "model", workers=2)
    assert_same(loaded, reference)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_same(predictions(loaded, X), predictions(reference, X))
    assert first.shards_written > 1 or first.raw_bytes < 60_000


def count(node, name):
    return (node.count if node.name == name else 0) + sum(
        node.count * count(child, name) for child in node.children
    )


def test_a_forest_in_a_pipeline_in_a_search_is_cut_into_its_trees(tmp_path):
    shardpickle.dump(CASES["search of a pipeline of a forest"](), tmp_path / "model")
    info = shardpickle.inspect(tmp_path / "model")
    assert info.tree.name == "GridSearchCV"
    assert count(info.tree, "DecisionTreeClassifier") == 10


def test_equal_estimators_are_stored_once(tmp_path):
    # `pipelines_` holds a copy of every tree in `estimators_`.
    model = CASES["balanced forest"]()
    shardpickle.dump(model, tmp_path / "twice")
    twice = shardpickle.inspect(tmp_path / "twice")
    model.pipelines_ = []
    shardpickle.dump(model, tmp_path / "once")
    once = shardpickle.inspect(tmp_path / "once")
    assert twice.raw_bytes > 1.9 * once.raw_bytes
    assert twice.stored_bytes < 1.2 * once.stored_bytes
    loaded = loaded_as_pickle(tmp_path / "twice")
    tree, copy = loaded.estimators_[0].tree_, loaded.pipelines_[0][-1].tree_
    assert tree is not copy
    assert not np.shares_memory(tree.value, copy.value)


def test_one_generator_shared_by_all_trees_is_one_again(tmp_path):
    model = CASES["gradient boosting"]()
    generators = {id(tree.random_state) for tree in model.estimators_.ravel()}
    assert len(generators) == 1
    shardpickle.dump(model, tmp_path / "model", shard_size="4kB")
    loaded = loaded_as_pickle(tmp_path / "model")
    assert len({id(tree.random_state) for tree in loaded.estimators_.ravel()}) == 1


def test_long_strings_of_boosters_leave_the_skeletons(tmp_path):
    shardpickle.dump(CASES["voting over boosters"](), tmp_path / "model")
    columns = {usage.label: usage for usage in shardpickle.inspect(tmp_path / "model").columns}
    assert columns["bytearray"].raw > 65_536  # xgboost's
    assert columns["str"].raw > 65_536  # LightGBM's
    assert columns["skeletons"].raw < 40_000
