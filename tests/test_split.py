"""Random object graphs, cut into parts at every estimator, come back isomorphic to pickle's."""

import copyreg
import os
import pickle

import numpy as np
import pytest
from graphs import assert_same, loaded_as_pickle
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator

import shardpickle
from shardpickle.pickling import graph as split
from shardpickle.pickling import pickler
from shardpickle.sklearn_support import classes

GRAPHS = int(os.environ.get("SHARDPICKLE_GRAPHS", "250"))  # more in the long run


class Estimator(BaseEstimator):
    """A part of its own wherever it stands."""


class Box:
    """Inlined by the first part that reaches it."""


class Fresh:
    """Its state is made anew at every call, arrays included: ids of dead objects are reused."""

    def __getstate__(self):
        return {"array": np.full(3, self.number), "list": [self.number], "held": self.held}

    def __setstate__(self, state):
        self.number = state["list"][0]
        self.held = state["held"]
        assert (state["array"] == self.number).all()


class Slotted:
    __slots__ = ("left", "right")


class Hashed:
    """Rebuilt by a call with arguments."""

    def __init__(self, number):
        self.number = number

    def __reduce__(self):
        return Hashed, (self.number,), {"held": self.held}


def build(kinds, edges):
    """Objects of these kinds; an edge makes the one hold the other."""
    objects = []
    for number, kind in enumerate(kinds):
        match kind:
            case "estimator":
                made = Estimator()
                made.held = []
            case "box":
                made = Box()
                made.held = []
            case "fresh":
                made = Fresh()
                made.number, made.held = number, []
            case "hashed":
                made = Hashed(number)
                made.held = []
            case "slotted":
                made = Slotted()
                made.left, made.right = [], (number, [])
            case "list":
                made = []
            case "dict":
                made = {}
            case "array":
                made = np.arange(number, number + 3.0)
            case "objects":
                made = np.empty(2, object)
                made[0] = []
            case "text":
                made = f"text {number % 3}"
            case "generator":
                made = np.random.RandomState(number)
        objects.append(made)
    for source, target in edges:
        hold(objects[source % len(objects)], objects[target % len(objects)])
    return objects[0]


def hold(source, target):
    if isinstance(source, list):
        source.append(target)
    elif isinstance(source, dict):
        source[len(source)] = (target,)
    elif isinstance(source, np.ndarray) and source.dtype == object:
        source[0].append(target)
    elif isinstance(source, Slotted):
        source.right[1].append(target)
    elif hasattr(source, "held"):
        source.held.append(target)


KINDS = ("estimator", "box", "fresh", "hashed", "slotted", "list", "dict", "array", "objects")
graphs = st.tuples(
    st.lists(st.sampled_from((*KINDS, "text", "generator", "estimator")), min_size=1, max_size=14),
    st.lists(st.tuples(st.integers(0, 13), st.integers(0, 13)), max_size=40),
)


@settings(
    max_examples=GRAPHS,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(graph=graphs)
@example(graph=(["estimator", "estimator"], [(0, 1), (1, 0)]))
@example(graph=(["estimator", "estimator", "list"], [(0, 1), (0, 2), (1, 2), (2, 0)]))
@example(graph=(["list", "estimator", "array", "estimator"], [(0, 1), (0, 3), (1, 2), (3, 2)]))
@example(graph=(["estimator"] * 4, [(0, 1), (1, 2), (2, 3), (3, 1)]))
def test_random_graphs(graph, tmp_path):
    model = build(*graph)
    reference = pickle.loads(pickle.dumps(model, protocol=5))
    report = shardpickle.dump(model, tmp_path / "model", workers=1, shard_size=200)
    loaded = loaded_as_pickle(tmp_path / "model", workers=1)
    assert_same(loaded, reference)
    assert_same(loaded, model)
    again = shardpickle.dump(loaded, tmp_path / "model", workers=1, shard_size=200)
    assert again.parts == report.parts


def parts_of(model):
    return split.split(model, is_boundary=classes.is_estimator, write=pickler.write)


def test_each_part_is_pickled_once_but_for_owners_of_shared_objects():
    root = Estimator()
    shared = Box()
    root.parts = [Estimator() for _ in range(50)]
    for part in root.parts:
        part.shared = shared
    calls = []

    def write(objects, outside):
        calls.append(objects)
        return pickler.write(objects, outside)

    parts = split.split(root, is_boundary=classes.is_estimator, write=write)
    assert len(parts) == 52  # the root, 50 estimators, the box
    assert len(calls) == 53  # the first owner of the box twice


def test_children_come_before_parents_and_like_parts_are_neighbours():
    root = Estimator()
    root.pairs = [[Estimator(), Box()] for _ in range(5)]
    for estimator, box in root.pairs:
        estimator.box = box
        estimator.array = np.arange(4)
    parts = parts_of(root)
    for number, part in enumerate(parts):
        assert all(child < number for child, _ in part.references)
    kinds = [type(part.members[0]).__name__ for part in parts]
    assert kinds == ["Box"] * 5 + ["Estimator"] * 6


def test_an_estimator_that_points_back_at_its_ensemble_is_folded(tmp_path):
    root = Estimator()
    root.parts = [Estimator() for _ in range(3)]
    root.parts[1].parent = root
    parts = parts_of(root)
    assert [len(part.members) for part in parts] == [1, 1, 2]
    shardpickle.dump(root, tmp_path / "model")
    loaded = loaded_as_pickle(tmp_path / "model")
    assert loaded.parts[1].parent is loaded
    info = shardpickle.inspect(tmp_path / "model")
    assert info.folded == 1
    assert "refer to each other in a cycle" in str(info)


class Serialized:
    """Like a booster: its state is a large string made for pickle alone."""

    def __init__(self, number, size):
        self.number, self.size = number, size

    def __getstate__(self):
        return {"raw": bytearray([self.number]) * self.size, "size": self.size}

    def __setstate__(self, state):
        self.number, self.size = state["raw"][0], state["size"]


def test_large_temporaries_are_not_kept(tmp_path):
    root = Estimator()
    root.parts = [Estimator() for _ in range(6)]
    for number, part in enumerate(root.parts):
        part.booster = Serialized(number, 2_000_000)
    parts = parts_of(root)
    assert [part.kept for part in parts] == [False] * 6 + [True]
    shardpickle.dump(root, tmp_path / "model", workers=2, shard_size="4MB")
    loaded = loaded_as_pickle(tmp_path / "model")
    assert [part.booster.number for part in loaded.parts] == list(range(6))


def test_arrays_that_the_model_holds_are_kept():
    root = Estimator()
    root.array = np.zeros(1_000_000)
    assert [part.kept for part in parts_of(root)] == [True]


def test_a_deep_chain_of_parts(tmp_path):
    root = Estimator()
    last = root
    for _ in range(3000):
        last.next = Estimator()
        last = last.next
    shardpickle.dump(root, tmp_path / "model")
    loaded = loaded_as_pickle(tmp_path / "model")
    depth = 0
    while hasattr(loaded, "next"):
        loaded, depth = loaded.next, depth + 1
    assert depth == 3000


@pytest.mark.parametrize("kind", [dict, list, set])
def test_containers_with_state_of_their_own(kind, tmp_path):
    holder = type(f"My{kind.__name__}", (kind,), {"__module__": __name__})
    globals()[holder.__name__] = holder
    model = holder([(1, 2), (3, 4)])
    model.extra = [1]
    shardpickle.dump(model, tmp_path / "model")
    loaded = loaded_as_pickle(tmp_path / "model")
    assert type(loaded) is holder
    assert loaded == model
    assert loaded.extra == [1]


class Made(BaseEstimator):
    """Pickling makes an estimator that refers back to its maker."""

    def __getstate__(self):
        other = Estimator()
        other.maker = self
        return {**self.__dict__, "other": other}


def test_an_estimator_made_by_pickling_that_refers_back(tmp_path):
    model = [Made(), Estimator()]
    model[1].held = model[0]
    shardpickle.dump(model, tmp_path / "model")
    loaded = loaded_as_pickle(tmp_path / "model")
    assert loaded[0].other.maker is loaded[0] is loaded[1].held


class Appending(list):
    def append(self, item):
        raise AssertionError("pickle extends a list")


class Meta(type):
    pass


def rebuild(name):
    return Meta(name, (), {"__module__": __name__})


copyreg.pickle(Meta, lambda cls: (rebuild, (cls.__name__,)))


def test_classes_of_a_metaclass_that_pickles_them_are_shared(tmp_path):
    cls = rebuild("Dynamic")
    model = [Estimator(), Estimator()]
    for each in model:
        each.held = cls
    shardpickle.dump(model, tmp_path / "model")
    loaded = loaded_as_pickle(tmp_path / "model")
    assert loaded[0].held is loaded[1].held


def test_a_list_that_refuses_append(tmp_path):
    shardpickle.dump(Appending([1, 2]), tmp_path / "model")
    assert loaded_as_pickle(tmp_path / "model") == [1, 2]


class Versioned(BaseEstimator):
    """Not scikit-learn's, with an attribute of that name."""


def test_versions_of_other_libraries_are_theirs(tmp_path):
    model = Versioned()
    model._sklearn_version = "mine"
    shardpickle.dump(model, tmp_path / "model")
    assert loaded_as_pickle(tmp_path / "model")._sklearn_version == "mine"
