"""Lazy models: the same predictions, real estimators on access, one limit for the process."""

import copy
import gc
import os
import pickle
import threading
import warnings

import numpy as np
import pytest
from composition_cases import CASES
from estimators import LABELS, TARGET, X, predictions
from graphs import assert_same
from settling import settle, settled_below
from sklearn.base import clone
from sklearn.ensemble import (
    GradientBoostingRegressor,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    VotingClassifier,
)
from sklearn.inspection import permutation_importance
from sklearn.model_selection import cross_val_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.tree import DecisionTreeClassifier
from sklearn.tree._tree import Tree

import shardpickle
from shardpickle.format import manifest
from shardpickle.io import load_lazy
from shardpickle.lazy import CACHE, OBJECT_BYTES, LazyList, is_stand_in, items_of, place

SEED = {"random_state": 0}


@pytest.fixture
def stored(tmp_path):
    """A forest in several shards."""
    model = RandomForestClassifier(30, **SEED).fit(X, LABELS)
    report = shardpickle.dump(model, tmp_path / "forest", shard_size="30kB")
    assert report.shards_written >= 4
    return model, tmp_path / "forest"


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore")  # what libraries warn of while they are fitted
def test_predicts_as_the_model(case, tmp_path):
    model = CASES[case]()
    report = shardpickle.dump(model, tmp_path / "model", shard_size="30kB")
    options = {"trusted": report.needs_trust}
    if case == "voting over boosters":  # LightGBM keeps a `defaultdict` of a `partial`
        options = {"unsafe": True}
    lazy = shardpickle.load(tmp_path / "model", lazy=True, **options)
    expected = predictions(model, X)
    assert_same(predictions(lazy, X), expected)
    assert_same(predictions(lazy, X), expected)
    assert_same(predictions(copy.deepcopy(lazy), X), expected)
    whole = shardpickle.materialize(shardpickle.load(tmp_path / "model", lazy=True, **options))
    assert_same(whole, shardpickle.load(tmp_path / "model", **options))
    assert_same(predictions(whole, X), expected)


@pytest.mark.long
def test_nothing_is_decoded_before_it_is_asked_for(stored):
    _, path = stored
    gc.collect()
    before = CACHE.used
    lazy = shardpickle.load(path, lazy=True)
    # A forest's parameter `estimator` is a tree too: its shard, and no other, is there.
    assert CACHE.used - before < 31_000 + 12 * OBJECT_BYTES
    assert type(lazy) is RandomForestClassifier
    assert "30 of them loaded on access" in repr(lazy.estimators_)


def test_a_lazy_list_is_a_sequence_of_real_estimators(stored):
    model, path = stored
    trees = shardpickle.load(path, lazy=True).estimators_
    assert type(trees[3]) is DecisionTreeClassifier
    assert trees[3] is trees[3]
    assert trees[-1] is trees[29]
    assert len(trees) == len(list(trees)) == len(list(reversed(trees))) == 30
    assert isinstance(trees[2:5], LazyList)
    assert trees[2:5][0] is trees[2]
    assert trees[2] in trees
    assert model.estimators_[2] not in trees
    assert trees.index(trees[7]) == 7
    with pytest.raises(ValueError, match="not in this list"):
        trees.index(model.estimators_[2])
    assert trees == trees.copy() == trees[:]
    assert trees != trees[1:]
    assert len([*model.estimators_, *trees]) == len(model.estimators_ + trees) == 60
    with pytest.raises(IndexError):
        trees[30]
    assert_same(
        [each.tree_.__getstate__() for each in trees],
        [each.tree_.__getstate__() for each in model.estimators_],
    )


def test_changes_of_the_list_stay(stored):
    model, path = stored
    lazy = shardpickle.load(path, lazy=True)
    lazy.estimators_[0] = model.estimators_[5]
    del lazy.estimators_[1]
    lazy.estimators_.append(model.estimators_[6])
    lazy.estimators_.insert(0, model.estimators_[7])
    assert lazy.estimators_[1] is model.estimators_[5]
    assert lazy.estimators_[-1] is model.estimators_[6]
    expected = copy.copy(model)
    expected.estimators_ = [
        model.estimators_[7],
        model.estimators_[5],
        *model.estimators_[2:],
        model.estimators_[6],
    ]
    assert (lazy.predict_proba(X) == expected.predict_proba(X)).all()


@pytest.mark.long
def test_the_array_of_gradient_boosting_gives_real_trees(tmp_path):
    model = GradientBoostingRegressor(n_estimators=12, **SEED).fit(X, TARGET)
    shardpickle.dump(model, tmp_path / "model")
    lazy = shardpickle.load(tmp_path / "model", lazy=True)
    one = lazy.estimators_[3, 0]
    assert is_stand_in(one)
    assert isinstance(one, type(model.estimators_[3, 0]))
    assert type(one.tree_) is Tree
    assert one.random_state is lazy.estimators_[4, 0].random_state
    assert (one.predict(X) == model.estimators_[3, 0].predict(X)).all()
    assert_same(list(lazy.staged_predict(X)), list(model.staged_predict(X)))
    one.note = "mine"
    gc.collect()
    assert lazy.estimators_[3, 0].note == "mine"


@pytest.mark.long
def test_what_scikit_learn_does_with_a_fitted_forest(stored):
    model, path = stored
    lazy = shardpickle.load(path, lazy=True)
    assert (lazy.apply(X) == model.apply(X)).all()
    assert (lazy.decision_path(X)[0] != model.decision_path(X)[0]).nnz == 0
    assert (lazy.feature_importances_ == model.feature_importances_).all()
    assert_same(clone(lazy).get_params(), clone(model).get_params())
    found, expected = (
        permutation_importance(one, X, LABELS, n_repeats=2, random_state=0).importances
        for one in (lazy, model)
    )
    assert (found == expected).all()
    assert cross_val_score(lazy, X, LABELS, cv=2).tolist() == (
        cross_val_score(model, X, LABELS, cv=2).tolist()
    )
    for one in (lazy, model):
        one.set_params(n_estimators=40, warm_start=True).fit(X, LABELS)
    assert len(lazy.estimators_) == 40
    assert (lazy.predict_proba(X) == model.predict_proba(X)).all()
    assert "RandomForestClassifier" in repr(lazy)


@pytest.mark.long
@pytest.mark.parametrize("jobs", [1, 2])
def test_threads_and_processes_of_scikit_learn(stored, jobs):
    model, path = stored
    lazy = shardpickle.load(path, lazy=True).set_params(n_jobs=jobs)
    assert (lazy.predict_proba(X) == model.predict_proba(X)).all()


@pytest.mark.long
@pytest.mark.parametrize(
    ("model", "attribute"),
    [
        (HistGradientBoostingRegressor(max_iter=8), "_predictors"),
        (IsolationForest(n_estimators=10, **SEED), "estimators_"),
    ],
)
def test_every_list_of_trees_is_lazy(model, attribute, tmp_path):
    model.fit(X, TARGET)
    shardpickle.dump(model, tmp_path / "model")
    lists = getattr(shardpickle.load(tmp_path / "model", lazy=True), attribute)
    lists = [lists] if isinstance(lists, LazyList) else lists
    assert all(isinstance(each, LazyList) for each in lists)


def test_a_lazy_model_is_pickled_as_a_reference(stored):
    model, path = stored
    lazy = shardpickle.load(path, lazy=True)
    with pytest.warns(shardpickle.LazyReferenceWarning, match="reference"):
        data = pickle.dumps(lazy)
    assert len(data) < 5_000 < len(pickle.dumps(model))
    again, twice = pickle.loads(data), pickle.loads(data)
    assert (again.predict_proba(X) == model.predict_proba(X)).all()
    assert again.estimators_[0] is twice.estimators_[0] is lazy.estimators_[0]

    path.rename(path.with_name("elsewhere"))
    del again, twice, lazy
    gc.collect()
    with pytest.raises(shardpickle.ModelNotFoundError, match="pickled lazy model refers to"):
        pickle.loads(data)


@pytest.mark.long
def test_a_model_that_was_replaced_is_never_mixed(stored):
    model, path = stored
    lazy = shardpickle.load(path, lazy=True)
    first = lazy.estimators_[0]
    with pytest.warns(shardpickle.LazyReferenceWarning):
        data = pickle.dumps(lazy)
    for seed in (1, 2):  # the shards of the generation before stay until the second
        other = RandomForestClassifier(30, random_state=seed).fit(X, LABELS)
        shardpickle.dump(other, path, shard_size="30kB")
    with pytest.raises(shardpickle.ModelReplacedError, match="Load it again"):
        lazy.predict(X)
    assert (first.predict(X) == model.estimators_[0].predict(X)).all()
    del lazy, first
    gc.collect()
    with pytest.raises(shardpickle.ModelReplacedError):
        pickle.loads(data)


def test_a_damaged_shard_is_met_when_it_is_needed(stored):
    _, path = stored
    lazy = shardpickle.load(path, lazy=True)
    for shard in (path / "shards").iterdir():
        data = bytearray(shard.read_bytes())
        data[len(data) // 2] ^= 1
        shard.write_bytes(data)
    with pytest.raises(shardpickle.CorruptShardError, match=r"shards/[0-9a-f]{64}\.shard"):
        lazy.predict(X)


# The limit -----------------------------------------------------------------------------------


@pytest.fixture
def large(tmp_path):
    """A forest of 64 shards, about 95 kB each."""
    rng = np.random.default_rng(0)
    features, target = rng.random((600, 5)), rng.random(600)
    model = RandomForestRegressor(64, **SEED).fit(features, target)
    report = shardpickle.dump(model, tmp_path / "large", shard_size="60kB")
    assert report.shards_written >= 64
    return model, tmp_path / "large", features


def test_a_limit_that_is_too_small_says_what_would_do(large):
    _, path, _ = large
    with pytest.raises(shardpickle.MemoryLimitError, match="memory_limit=") as caught:
        shardpickle.load(path, lazy=True, memory_limit="1kB")
    shardpickle.load(path, lazy=True, memory_limit=caught.value.least)
    with pytest.raises(shardpickle.MemoryLimitError):
        shardpickle.load(path, lazy=True, memory_limit=caught.value.least - 1)
    with pytest.raises(ValueError, match="lazy=True"):
        shardpickle.load(path, memory_limit="1GB")


def test_the_limit_is_held_and_a_second_scan_finds_what_the_first_left(large):
    model, path, features = large
    whole = sum(each.tree_.node_count * (64 + 8) for each in model.estimators_)
    limit = whole // 2
    lazy = shardpickle.load(path, lazy=True, memory_limit=limit)
    expected = model.predict(features)
    assert (lazy.predict(features) == expected).all()
    CACHE.hits = CACHE.ahead = CACHE.misses = 0
    for _ in range(4):
        assert (lazy.predict(features) == expected).all()
        assert CACHE.used <= limit
        settle()  # a thread that loads ahead is no shard at work of the next scan
    visits = CACHE.hits + CACHE.ahead + CACHE.misses
    assert visits >= 4 * 64
    assert (CACHE.hits + CACHE.ahead) / visits >= 0.9 * limit / whole
    # Kept since the last scan: what an eighth of the limit and two shards at work leave.
    one = max(each.tree_.node_count for each in model.estimators_) * (64 + 8) + OBJECT_BYTES
    assert CACHE.hits / visits >= 0.9 * (limit * 7 / 8 - 2 * one) / whole


@pytest.mark.long
def test_another_model_takes_the_room_of_one_that_is_not_used(large):
    model, path, features = large
    whole = sum(each.tree_.node_count * (64 + 8) for each in model.estimators_)
    first = shardpickle.load(path, lazy=True, memory_limit=int(1.3 * whole))
    second = shardpickle.load(path, lazy=True)
    first.predict(features)
    for _ in range(3):
        second.predict(features)
    CACHE.hits = CACHE.ahead = CACHE.misses = 0
    second.predict(features)
    assert CACHE.hits / (CACHE.hits + CACHE.ahead + CACHE.misses) > 0.9


@pytest.mark.long
def test_estimators_in_use_count(large):
    _, path, _ = large
    settle()
    others = CACHE.used  # models of other tests
    lazy = shardpickle.load(path, lazy=True)
    mine = list(lazy.estimators_[10:18])
    sizes = sum(each.tree_.node_count * (64 + 8) for each in mine)
    assert CACHE.used >= sizes
    settle()  # else what is loaded ahead is still somebody's
    CACHE.set_limit(1)
    without = CACHE.used
    assert without >= sizes
    mine.clear()
    assert settled_below(others + (without - others) / 4)  # the shard that was used last stays


@pytest.mark.long
def test_a_limit_lowers_the_number_of_threads(large, tmp_path):
    model, path, features = large
    model.set_params(n_jobs=64)
    shardpickle.dump(model, path, shard_size="60kB")
    with pytest.warns(shardpickle.MemoryLimitWarning, match="instead of 64"):
        lazy = shardpickle.load(path, lazy=True, memory_limit="2MB")
    assert 1 <= lazy.n_jobs < 64
    assert (lazy.apply(features) == model.apply(features)).all()


@pytest.mark.long
def test_many_threads_get_right_answers_within_the_limit(large):
    model, path, features = large
    expected = model.predict(features)
    per_tree = [each.predict(features[:20]) for each in model.estimators_]
    lazy = shardpickle.load(path, lazy=True, memory_limit="3MB")
    wrong, most = [], []

    def hammer(seed):
        for at in np.random.default_rng(seed).integers(0, 64, 25):
            if not (lazy.estimators_[at].predict(features[:20]) == per_tree[at]).all():
                wrong.append(at)
            most.append(CACHE.used)

    threads = [threading.Thread(target=hammer, args=(seed,)) for seed in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not any(thread.is_alive() for thread in threads)
    assert not wrong
    one = max(each.tree_.node_count for each in model.estimators_) * (64 + 8) + 4096
    assert max(most) <= 3_000_000 + 64 * one
    assert (lazy.predict(features) == expected).all()


def test_threads_that_ask_for_one_shard_decode_it_once(large):
    _, path, _ = large
    lazy = shardpickle.load(path, lazy=True)
    shelf, _ = place(items_of(lazy.estimators_)[0])
    fetched, fetch = [], shelf.fetch

    def counting(shard, ahead):
        fetched.append(shard)
        return fetch(shard, ahead)

    shelf.fetch = counting
    start = threading.Barrier(8)

    def ask():
        start.wait()
        return lazy.estimators_[30].tree_

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(fetched) == 1


@pytest.mark.long
@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows does not fork")
@pytest.mark.parametrize("lazy", [False, True])
def test_models_work_in_forked_processes(large, lazy):
    model, path, features = large
    expected = model.predict(features)
    loaded = shardpickle.load(path, lazy=lazy)
    if lazy:
        threading.Thread(target=loaded.predict, args=(features,)).start()  # forked in the middle
    children = []
    for _ in range(4):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python 3.12 warns of threads beside a fork
            child = os.fork()
        if child == 0:
            good = False
            try:
                good = bool((loaded.predict(features) == expected).all())
            finally:
                os._exit(0 if good else 1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4


def files_of(root):
    return {each.relative_to(root): each.read_bytes() for each in root.rglob("*.*")}


@pytest.fixture
def fetched(monkeypatch):
    """Counts what is decoded from now on."""
    counts = []
    fetch = load_lazy.Source.fetch

    def counting(self, shard, ahead):
        counts.append(shard)
        return fetch(self, shard, ahead)

    monkeypatch.setattr(load_lazy.Source, "fetch", counting)
    return counts


@pytest.mark.long
@pytest.mark.parametrize("touched", [False, True])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore")  # what libraries warn of while they are fitted
def test_a_lazy_model_is_dumped_as_the_model_was(case, touched, tmp_path):
    model = CASES[case]()
    report = shardpickle.dump(model, tmp_path / "model", shard_size="30kB")
    options = {"trusted": report.needs_trust}
    if case == "voting over boosters":
        options = {"unsafe": True}
    lazy = shardpickle.load(tmp_path / "model", lazy=True, **options)
    if touched:
        predictions(lazy, X)
    shardpickle.dump(lazy, tmp_path / "lazy", shard_size="30kB")
    # A loaded model is not dumped to the same bytes where its own classes change it on the way.
    whole = shardpickle.load(tmp_path / "model", **options)
    if touched:
        predictions(whole, X)  # trees of neighbours count their calls
    shardpickle.dump(whole, tmp_path / "whole", shard_size="30kB")
    assert files_of(tmp_path / "lazy") == files_of(tmp_path / "whole")


def test_shards_are_copied_without_decoding_them(stored, fetched, tmp_path):
    model, path = stored
    lazy = shardpickle.load(path, lazy=True, memory_limit="10MB")
    fetched.clear()  # the parameter `estimator` is a tree too
    shardpickle.dump(lazy, tmp_path / "again", shard_size="30kB")
    assert not fetched
    assert files_of(tmp_path / "again") == files_of(path)
    lazy.set_params(n_estimators=40, warm_start=True).fit(X, LABELS)
    report = shardpickle.dump(lazy, path, shard_size="30kB")
    last_two = 2  # the partly filled one, and the forest's own
    assert len(set(fetched)) == 1
    assert report.shards_reused == len(files_of(tmp_path / "again")) - 1 - last_two
    model.set_params(n_estimators=40, warm_start=True).fit(X, LABELS)
    shardpickle.dump(model, tmp_path / "grown", shard_size="30kB")
    assert shardpickle.inspect(path).digest == shardpickle.inspect(tmp_path / "grown").digest


def test_a_lazy_model_outlives_dumps_to_its_own_directory(stored):
    model, path = stored
    lazy = shardpickle.load(path, lazy=True, memory_limit="1MB")
    for count in (33, 36, 39):
        for one in (model, lazy):
            one.set_params(n_estimators=count, warm_start=True).fit(X, LABELS)
        shardpickle.dump(lazy, path, shard_size="30kB")
        CACHE.set_limit(1)  # nothing is kept in memory
        assert (lazy.predict_proba(X) == model.predict_proba(X)).all()
        CACHE.set_limit(1_000_000)
    found = shardpickle.load(path)
    assert (found.predict_proba(X) == model.predict_proba(X)).all()


def test_parts_within_parts_outlive_dumps_to_their_own_directory(tmp_path):
    model = OneVsRestClassifier(RandomForestClassifier(5, **SEED)).fit(X, LABELS)
    shardpickle.dump(model, tmp_path / "model", shard_size="2kB")
    lazy = shardpickle.load(tmp_path / "model", lazy=True)
    for size in ("5kB", "9kB", "20kB"):  # other files each time
        shardpickle.dump(lazy, tmp_path / "model", shard_size=size)
    CACHE.set_limit(1)  # nothing is kept in memory
    assert (lazy.predict_proba(X) == model.predict_proba(X)).all()


def test_changes_are_dumped(stored, tmp_path):
    model, path = stored
    lazy = shardpickle.load(path, lazy=True)
    lazy.estimators_[3].note = "on one in memory"
    del lazy.estimators_[20]
    shardpickle.dump(lazy, tmp_path / "one", shard_size="30kB")
    shardpickle.dump(copy.deepcopy(lazy), tmp_path / "copied", shard_size="30kB")
    assert files_of(tmp_path / "copied") == files_of(tmp_path / "one")
    lazy.estimators_.append(lazy.estimators_[0])
    shardpickle.dump(lazy, tmp_path / "changed", shard_size="30kB")
    found = shardpickle.load(tmp_path / "changed")
    assert found.estimators_[3].note == "on one in memory"
    assert found.estimators_[-1] is found.estimators_[0]
    expected = copy.copy(model)
    expected.estimators_ = [
        *model.estimators_[:20],
        *model.estimators_[21:],
        model.estimators_[0],
    ]
    assert (found.predict_proba(X) == expected.predict_proba(X)).all()


@pytest.mark.long
@pytest.mark.parametrize(
    "options", [{"shard_size": "9kB"}, {"profile": "inference"}, {"shard_size": "32MB"}]
)
def test_a_lazy_model_is_dumped_in_another_way(options, stored, tmp_path):
    model, path = stored
    shardpickle.dump(shardpickle.load(path, lazy=True), tmp_path / "lazy", **options)
    shardpickle.dump(model, tmp_path / "model", **options)
    assert files_of(tmp_path / "lazy") == files_of(tmp_path / "model")


@pytest.mark.long
def test_shards_that_share_a_table_are_copied(tmp_path, fetched):
    rng = np.random.default_rng(0)
    features, target = rng.random((300, 5)), rng.random(300)
    model = RandomForestRegressor(60, **SEED).fit(features, target)
    shardpickle.dump(model, tmp_path / "model", shard_size="300kB")
    entries = manifest.from_bytes((tmp_path / "model" / "manifest.json").read_bytes()).shards
    assert sum(entry.table is not None for entry in entries) >= 4
    lazy = shardpickle.load(tmp_path / "model", lazy=True)
    fetched.clear()
    shardpickle.dump(lazy, tmp_path / "lazy", shard_size="300kB")
    assert not fetched
    assert files_of(tmp_path / "lazy") == files_of(tmp_path / "model")
    # Without the trees of its first shard, the rest still refers to the table.
    del lazy.estimators_[:12]
    del model.estimators_[:12]
    shardpickle.dump(lazy, tmp_path / "rest", shard_size="300kB")
    found = shardpickle.load(tmp_path / "rest")
    assert (found.predict(features) == model.predict(features)).all()
    # A table of another model is not mixed up with it.
    other = RandomForestRegressor(60, random_state=1).fit(features + 1, target + 1)
    shardpickle.dump(other, tmp_path / "other", shard_size="300kB")
    mixed = shardpickle.load(tmp_path / "other", lazy=True)
    mixed.estimators_ += lazy.estimators_
    shardpickle.dump(mixed, tmp_path / "mixed", shard_size="300kB")
    found = shardpickle.load(tmp_path / "mixed")
    assert_same(
        [each.tree_.__getstate__() for each in found.estimators_],
        [each.tree_.__getstate__() for each in other.estimators_ + model.estimators_],
    )


def test_damage_is_not_copied(stored, tmp_path):
    _, path = stored
    lazy = shardpickle.load(path, lazy=True)
    for shard in (path / "shards").iterdir():
        data = bytearray(shard.read_bytes())
        data[len(data) // 2] ^= 1
        shard.write_bytes(data)
    with pytest.raises(shardpickle.CorruptShardError, match=r"shards/[0-9a-f]{64}\.shard"):
        shardpickle.dump(lazy, tmp_path / "copy", shard_size="30kB")
    assert not (tmp_path / "copy").exists()


def test_an_object_that_stored_trees_share_stays_shared(tmp_path):
    model = GradientBoostingRegressor(n_estimators=12, **SEED).fit(X, TARGET)
    shardpickle.dump(model, tmp_path / "model")
    lazy = shardpickle.load(tmp_path / "model", lazy=True)
    lazy.mine = shared = lazy.estimators_[0, 0].random_state
    lazy.estimators_ = lazy.estimators_[:7]
    shardpickle.dump(lazy, tmp_path / "lazy")
    found = shardpickle.load(tmp_path / "lazy")
    assert type(shared) is type(found.mine)
    assert {id(one.random_state) for one in found.estimators_.flat} == {id(found.mine)}


def test_aliases_are_one_estimator(tmp_path):
    model = VotingClassifier(
        [("a", DecisionTreeClassifier(**SEED)), ("b", RandomForestClassifier(4, **SEED))]
    ).fit(X, LABELS)
    shardpickle.dump(model, tmp_path / "model")
    lazy = shardpickle.load(tmp_path / "model", lazy=True)
    assert lazy.named_estimators_["b"] is lazy.estimators_[1]
    whole = shardpickle.materialize(lazy)
    assert whole.named_estimators_["a"] is whole.estimators_[0]
    assert (lazy.predict(X) == model.predict(X)).all()
