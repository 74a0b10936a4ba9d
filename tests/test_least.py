"""The least memory limit of a lazy model is enough, for models within models and many threads."""

import gc
import threading

import pytest
from composition_cases import CASES
from estimators import LABELS, X, predictions
from graphs import assert_same
from sklearn.ensemble import BaggingClassifier, RandomForestClassifier
from sklearn.feature_selection import SelectFromModel
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import shardpickle
from shardpickle import lazy
from shardpickle.lazy import CACHE

FACTORS = (1, 1.1, 1.5)
SIZES = ("1kB", "20kB")


def _nested():
    """Attributes within attributes, each in a shard of its own kind."""
    inner = make_pipeline(StandardScaler(), BaggingClassifier(SVC(), 3, random_state=0))
    outer = BaggingClassifier(OneVsRestClassifier(inner), 3, random_state=0)
    return GridSearchCV(outer, {"n_estimators": [2, 3]}, cv=2).fit(X, LABELS)


MODELS = {
    **CASES,
    "search of bagged machines": lambda: GridSearchCV(
        BaggingClassifier(SVC(), random_state=0), {"n_estimators": [2, 4]}, cv=2
    ).fit(X, LABELS),
    "seven levels": _nested,
    "a selector in each of a bag": lambda: BaggingClassifier(
        make_pipeline(
            SelectFromModel(RandomForestClassifier(4, random_state=0)), OneVsRestClassifier(SVC())
        ),
        4,
        random_state=0,
    ).fit(X, LABELS),
}


def least_of(path, **options):
    with pytest.raises(shardpickle.MemoryLimitError) as caught:
        shardpickle.load(path, lazy=True, memory_limit=1, **options)
    return caught.value.least


def in_threads(count, work):
    """Run it in threads at once; what they raised."""
    raised = []

    def guarded():
        try:
            work()
        except BaseException as error:  # shown by the test
            raised.append(error)

    threads = [threading.Thread(target=guarded, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not any(thread.is_alive() for thread in threads)
    return raised


@pytest.mark.long
@pytest.mark.parametrize("case", MODELS)
@pytest.mark.filterwarnings("ignore")  # what libraries warn of, and fewer jobs under a limit
def test_the_least_limit_is_enough(case, tmp_path):
    model = MODELS[case]()
    expected = predictions(model, X)
    for size in SIZES:
        path = tmp_path / size
        report = shardpickle.dump(model, path, shard_size=size)
        options = {"trusted": report.needs_trust}
        if case == "voting over boosters":  # LightGBM keeps a `defaultdict` of a `partial`
            options = {"unsafe": True}
        least = least_of(path, **options)
        for factor in FACTORS:
            loaded = shardpickle.load(path, lazy=True, memory_limit=int(least * factor), **options)
            assert_same(predictions(loaded, X), expected)
            if factor == 1:
                found = []
                raised = in_threads(
                    4, lambda model=loaded, to=found: to.append(predictions(model, X))
                )
                assert not raised
                for each in found:
                    assert_same(each, expected)
            del loaded
            gc.collect()


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_several_models_open_and_predict_at_once_under_one_limit(tmp_path):
    model = MODELS["seven levels"]()
    shardpickle.dump(model, tmp_path / "model", shard_size="1kB")
    least = least_of(tmp_path / "model")
    expected = predictions(model, X)

    def work():
        loaded = shardpickle.load(tmp_path / "model", lazy=True, memory_limit=least)
        assert_same(predictions(loaded, X), expected)

    assert not in_threads(6, work)


def deferred(**options):
    given = {
        "costs": {0: 10, 1: 20, 2: 40},
        "parts": {0: [0, 3], 1: [1], 2: [2]},
        "kinds": dict.fromkeys(range(4), Thing),
        "inner": {0: [], 1: [0], 2: [1], 3: [2]},
        "resident": 1000,
    }
    return lazy.Deferred(**(given | options))


class Thing:
    pass


def test_the_least_counts_what_is_loaded_within_what_is_loaded():
    """Part 3 needs part 2, that part 1, and that part 0, which is in the shard of part 3."""
    assert deferred().needs() == {0: 10 + 40 + 20 + 10, 1: 20 + 10, 2: 40 + 20 + 10}
    assert deferred().least() == (1000 + 40 + 80) * 8 // 7 + 1
    flat = deferred(inner=dict.fromkeys(range(4), ()))
    assert flat.needs() == flat.costs
    assert flat.least() == (1000 + 2 * 40) * 8 // 7 + 1


def shelf_of(asked):
    """A shelf whose shards need each other in a circle, though no part needs itself."""
    found = deferred()

    def fetch(shard, ahead, only=None):
        made = {}
        for part in found.parts[shard] if only is None else [only]:
            asked.append(part)
            made[part] = Thing()
            made[part].inner = [
                made.get(other) or CACHE.get(shelf, other, scan=False)
                for other in found.inner[part]
            ]
        return {part: (thing, 5) for part, thing in made.items()}

    shelf = lazy.Shelf(found, fetch, lambda stood: None, (shelf_of, ()))
    return shelf


@pytest.mark.timeout(60)
def test_shards_that_need_each_other_do_not_wait_for_themselves():
    asked = []
    shelf = shelf_of(asked)
    CACHE.set_limit(shelf.least)
    last = CACHE.get(shelf, 3)
    first = last.inner[0].inner[0].inner[0]
    assert first is CACHE.get(shelf, 0)  # one object, though it was made within its own shard
    assert len(asked) < 8


@pytest.mark.timeout(60)
def test_threads_that_load_what_others_need_do_not_wait_for_each_other():
    for _ in range(20):
        shelf = shelf_of([])
        CACHE.set_limit(shelf.least)
        start = threading.Barrier(4)
        numbers = iter(range(4))

        def work(shelf=shelf, start=start, numbers=numbers):
            part = next(numbers)
            start.wait()
            assert type(CACHE.get(shelf, part)) is Thing

        assert not in_threads(4, work)


@pytest.mark.timeout(60)
def test_a_load_that_fails_lets_the_others_go_on():
    shelf = shelf_of([])
    fetch, failures = shelf.fetch, [OSError("gone"), OSError("gone")]

    def failing(shard, ahead, only=None):
        if failures:
            raise failures.pop()
        return fetch(shard, ahead, only)

    shelf.fetch = failing
    CACHE.set_limit(shelf.least)
    raised = in_threads(4, lambda: CACHE.get(shelf, 3))
    assert {type(each) for each in raised} <= {OSError}  # loads ahead keep theirs to themselves
    assert len(raised) <= 2
    assert type(CACHE.get(shelf, 3)) is Thing
