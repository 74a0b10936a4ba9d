"""Models that hold themselves by another way: bound methods, partial functions, closures, aliases.

Loads are `unsafe` where the default load does not make bound methods of everything.
"""

import functools
import gc
import pickle
import shutil
import warnings

import numpy as np
import pytest
from estimators import LABELS, TARGET, X
from holders import Holder, Partial, Slotted, call
from sklearn.datasets import make_classification
from sklearn.ensemble import (
    BaggingClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import shardpickle
from shardpickle.format import manifest
from shardpickle.lazy import LazyList

SEED = {"random_state": 0}
ROWS, CLASSES = make_classification(200, 6, **SEED)
EARLY = {"early_stopping": True, "n_iter_no_change": 30, "max_iter": 8, **SEED}


def boosted(scoring="roc_auc"):
    return HistGradientBoostingClassifier(scoring=scoring, **EARLY).fit(ROWS, CLASSES)


def regressed(scoring="neg_mean_absolute_error"):
    return HistGradientBoostingRegressor(scoring=scoring, **EARLY).fit(X, TARGET)


def staged(model, rows, count, method="predict"):
    return list(getattr(model, f"staged_{method}")(rows))[count - 1]


def loads(path, **options):
    return shardpickle.load(path, unsafe=True, **options)


def dumped(model, path, **options):
    """No dump names the package, so none refers to a directory."""
    shardpickle.dump(model, path, **options)
    found = manifest.from_bytes((path / "manifest.json").read_bytes())
    assert not [name for name in found.names if name[0].startswith("shardpickle")]
    return path


# Smaller models: what the first stages say, by scikit-learn ---------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("scoring", ["loss", "roc_auc", "accuracy", "f1"])
def test_the_first_stages_of_histogram_boosting(scoring, tmp_path):
    model = boosted(scoring)
    expected = staged(model, ROWS, 5, "predict_proba")
    assert (expected != model.predict_proba(ROWS)).any()
    dumped(model, tmp_path / "model", shard_size="3kB")
    smaller = [
        shardpickle.prune(model, n_estimators=5),
        loads(tmp_path / "model", estimators=slice(0, 5)),
        loads(tmp_path / "model", estimators=slice(0, 5), lazy=True),
        shardpickle.prune(loads(tmp_path / "model", lazy=True), n_estimators=5),
        loads(dumped(shardpickle.prune(model, n_estimators=5), tmp_path / "smaller")),
        pickle.loads(pickle.dumps(shardpickle.prune(model, n_estimators=5))),
    ]
    for each in smaller:
        assert each.n_iter_ == 5
        assert each.predict_proba(ROWS).tobytes() == expected.tobytes()
    assert len(pickle.dumps(smaller[0])) < len(pickle.dumps(model))
    assert len(model._predictors) == model.n_iter_  # the given one stays as it is


@pytest.mark.long
def test_in_a_pipeline_and_by_squared_errors(tmp_path):
    model = make_pipeline(StandardScaler(), regressed()).fit(X, TARGET)
    expected = staged(model[-1], model[:-1].transform(X), 4)
    dumped(model, tmp_path / "model", shard_size="2kB")
    for smaller in (
        shardpickle.prune(model, n_estimators=4),
        loads(tmp_path / "model", estimators=slice(0, 4)),
    ):
        assert smaller.predict(X).tobytes() == expected.tobytes()


def test_a_pruned_model_has_no_way_to_the_whole_one():
    forest = RandomForestClassifier(8, **SEED).fit(X, LABELS)
    forest.answer = forest.predict_proba
    forest.first = {"tree": [forest.estimators_[0].predict]}
    forest.all = forest.estimators_
    forest.partial = functools.partial(call, forest.predict)
    fewer = shardpickle.prune(forest, n_estimators=3)
    assert fewer.answer(X).tobytes() == fewer.predict_proba(X).tobytes()
    assert fewer.answer.__self__ is fewer
    assert fewer.partial.args[0].__self__ is fewer
    assert fewer.all is fewer.estimators_
    assert fewer.estimators_[0] is forest.estimators_[0]  # shared, as before
    cut = shardpickle.prune(forest, n_estimators=3, max_depth=2)
    assert cut.answer.__self__ is cut
    assert cut.first["tree"][0].__self__ is cut.estimators_[0]
    assert cut.all is cut.estimators_
    assert max(tree.get_depth() for tree in cut.all) == 2
    assert forest.answer.__self__ is forest
    assert len(forest.all) == 8


def test_a_pipeline_that_holds_itself_and_its_last_step():
    model = make_pipeline(StandardScaler(), GradientBoostingClassifier(n_estimators=6, **SEED))
    model.fit(X, LABELS)
    model.answer, model[0].look = model.predict_proba, model[1].apply
    expected = staged(model[1], model[:-1].transform(X), 2, "predict_proba")
    smaller = shardpickle.prune(model, n_estimators=2)
    assert smaller.answer(X).tobytes() == expected.tobytes()
    assert smaller.answer.__self__ is smaller
    assert smaller[0].look.__self__ is smaller[1]
    assert smaller[0].look(X).shape == (len(X), 2, 3)


def test_what_holds_nothing_of_itself_is_shared():
    model = BaggingClassifier(KNeighborsClassifier(), 4, **SEED).fit(X, LABELS)
    smaller = shardpickle.prune(model, n_estimators=2)
    assert all(
        mine is its for mine, its in zip(smaller.estimators_, model.estimators_[:2], strict=True)
    )


def test_prune_of_a_model_that_cannot_be_pickled():
    forest = RandomForestClassifier(4, **SEED).fit(X, LABELS)
    forest.function = lambda rows: forest.predict(rows)
    forest.stream = (each for each in ())
    smaller = shardpickle.prune(forest, n_estimators=2)
    assert (smaller.function(X) == smaller.predict(X)).all()


# Lazy models, made whole and dumped ---------------------------------------------------------------


def forest(count=5, seed=0):
    return RandomForestClassifier(count, random_state=seed).fit(X, LABELS)


def _nested():
    model = Holder(Slotted(forest()))
    model.again = [model.predict, {"inner": model.model.predict}]
    return model


MODELS = {
    "boosting": (boosted, ROWS),
    "boosting in a pipeline": (
        lambda: make_pipeline(
            StandardScaler(), HistGradientBoostingClassifier(scoring="f1", **EARLY)
        ).fit(ROWS, CLASSES),
        ROWS,
    ),
    "boosting in a vote": (
        lambda: VotingClassifier(
            [
                ("a", HistGradientBoostingClassifier(scoring="f1", **EARLY)),
                ("b", LogisticRegression()),
            ]
        ).fit(ROWS, CLASSES),
        ROWS,
    ),
    "boosting in a stack in a search": (
        lambda: GridSearchCV(
            StackingClassifier(
                [("a", HistGradientBoostingClassifier(scoring="f1", **EARLY)), ("b", forest())],
                cv=2,
            ),
            {"passthrough": [True]},
            cv=2,
        ).fit(ROWS, CLASSES),
        ROWS,
    ),
    "bag of boosting": (
        lambda: BaggingClassifier(
            HistGradientBoostingClassifier(scoring="accuracy", **EARLY), 3, **SEED
        ).fit(ROWS, CLASSES),
        ROWS,
    ),
    "a method of its model": (lambda: Holder(forest()), X),
    "a method of a boosted model": (lambda: Holder(boosted()), ROWS),
    "slots": (lambda: Slotted(forest()), X),
    "holders of holders": (_nested, X),
    "a partial function": (
        lambda: make_pipeline(Partial(), LogisticRegression()).fit(X, LABELS),
        X,
    ),
    "a list of holders of one model": (lambda: Many(forest()), X),
    "a bag of partial functions": (
        lambda: BaggingClassifier(make_pipeline(Partial(), LogisticRegression()), 3, **SEED).fit(
            X, LABELS
        ),
        X,
    ),
}


class Many:
    def __init__(self, model):
        self.holders = [Holder(model), Slotted(model), model.predict]
        self.by_name = {"first": self.holders[0].predict}

    def predict(self, rows):
        first, second, third = self.holders
        return np.column_stack(
            [first.predict(rows), second.predict(rows), third(rows), self.by_name["first"](rows)]
        )


def lazies(model, seen=None):
    """Lazy lists and stand-ins that can be reached from a model by whatever way there is."""
    found, seen, todo = [], {}, [model]
    while todo:
        obj = todo.pop()
        if id(obj) in seen or isinstance(obj, type) or type(obj).__name__ == "module":
            continue
        seen[id(obj)] = obj
        if type(obj).__module__ == "shardpickle.lazy" or "StandIn" in str(type(obj).__mro__):
            found.append(obj)
        elif callable(obj) and hasattr(obj, "__globals__"):
            todo += [*(obj.__closure__ or ()), *(obj.__defaults__ or ()), obj.__dict__]
        elif isinstance(obj, np.ndarray):
            todo += obj.ravel().tolist() if obj.dtype.hasobject else []
        else:
            todo += gc.get_referents(obj)
    return found


@pytest.mark.long
@pytest.mark.parametrize(("size", "touched"), [("1kB", False), ("6kB", True)])
@pytest.mark.parametrize("case", MODELS)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_lazy_model_is_dumped_and_made_whole(case, size, touched, tmp_path):
    make, rows = MODELS[case]
    model = make()
    expected = model.predict(rows)
    dumped(model, tmp_path / "model", shard_size=size)
    lazy = loads(tmp_path / "model", lazy=True)
    if touched:
        assert (lazy.predict(rows) == expected).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error", shardpickle.LazyReferenceWarning)
        whole = shardpickle.materialize(lazy)
        assert not lazies(whole)
        data = pickle.dumps(whole)
        assert b"shardpickle" not in data
        dumped(lazy, tmp_path / "lazy", shard_size=size)
        dumped(whole, tmp_path / "whole", shard_size=size)
    del lazy
    gc.collect()
    shutil.rmtree(tmp_path / "model")
    for found in (
        whole,
        pickle.loads(data),
        *(loads(tmp_path / name) for name in ("lazy", "whole")),
        loads(tmp_path / "lazy", lazy=True),
    ):
        assert (found.predict(rows) == expected).all()


@pytest.mark.parametrize("size", ["1kB", "30kB"])
def test_what_was_one_object_is_one_again(size, tmp_path):
    dumped(Many(forest()), tmp_path / "model", shard_size=size)
    lazy = loads(tmp_path / "model", lazy=True)
    dumped(lazy, tmp_path / "lazy")
    for found in (
        loads(tmp_path / "model"),
        lazy,
        shardpickle.materialize(lazy),
        loads(tmp_path / "lazy"),
    ):
        first, second, third = found.holders
        assert first.model is second.model is first.predict_fn.__self__ is third.__self__
        assert second.methods[1]["proba"].args[0].__self__ is first.model
        assert found.by_name["first"].__self__ is first


def test_an_estimator_that_was_taken_out_is_the_one_in_the_list(tmp_path):
    model = BaggingClassifier(KNeighborsClassifier(), 6, **SEED).fit(X, LABELS)
    dumped(model, tmp_path / "model", shard_size="4kB")
    lazy = loads(tmp_path / "model", lazy=True)
    assert isinstance(lazy.estimators_, LazyList)
    lazy.mine, lazy.ask = lazy.estimators_[2], lazy.estimators_[4].predict
    whole = shardpickle.materialize(lazy)
    assert whole.mine is whole.estimators_[2]
    assert whole.ask.__self__ is whole.estimators_[4]
    found = loads(dumped(lazy, tmp_path / "again"))
    assert found.mine is found.estimators_[2]
    assert found.ask.__self__ is found.estimators_[4]


def test_closures_over_a_lazy_model_are_over_the_whole_one(tmp_path):
    dumped(forest(), tmp_path / "model")
    lazy = loads(tmp_path / "model", lazy=True)
    expected = lazy.predict(X)

    def again(rows, times=2, models=(lazy,)):
        return models[0].predict(rows) if times == 0 else again(rows, times - 1)

    lazy.again = again
    lazy.asked = lambda rows: lazy.predict(rows)
    whole = shardpickle.materialize(lazy)
    assert not lazies(whole)
    assert (whole.again(X) == expected).all()
    assert (whole.asked(X) == expected).all()
    assert lazy.again is again


@pytest.mark.parametrize("case", ["boosting", "bag of boosting", "a method of its model"])
def test_predictions_in_tasks(case, tmp_path):
    make, rows = MODELS[case]
    model = make()
    dumped(model, tmp_path / "model", shard_size="2kB")
    lazy = loads(tmp_path / "model", lazy=True)
    found = shardpickle.predict(lazy, rows, workers=1)
    assert (found == model.predict(rows)).all()


def test_damage_is_skipped_where_a_forest_holds_itself(tmp_path):
    model = IsolationForest(n_estimators=30, **SEED).fit(X)
    model.answer = model.predict
    dumped(model, tmp_path / "model", shard_size="20kB")
    shards = manifest.from_bytes((tmp_path / "model" / "manifest.json").read_bytes()).shards
    (tmp_path / "model" / shards[1].file).write_bytes(b"")
    with pytest.warns(shardpickle.DamagedModelWarning):
        found = loads(tmp_path / "model", skip_damaged=True)
    assert 0 < len(found.estimators_) < 30
    assert found.answer.__self__ is found


# What would refer to a directory ------------------------------------------------------------------


def test_a_dump_that_would_refer_to_a_directory_says_where(tmp_path):
    dumped(forest(), tmp_path / "model")
    for place in ("rest", "deep"):
        lazy = loads(tmp_path / "model", lazy=True)
        held = iter([lazy.estimators_])  # what an iterator has left is nowhere to be seen
        lazy.rest, lazy.deep = (held, None) if place == "rest" else (None, {"a": [held]})
        where = "model.rest" if place == "rest" else r"model.deep\['a'\]\[0\]"
        with pytest.raises(shardpickle.UnpicklableError, match=f"{where}.*materialize"):
            shardpickle.dump(lazy, tmp_path / "other")
        assert not (tmp_path / "other").exists()
    lazy = loads(tmp_path / "model", lazy=True)
    with pytest.raises(shardpickle.UnpicklableError, match="materialize"):
        shardpickle.dump([iter((lazy.estimators_,))], tmp_path / "other")
