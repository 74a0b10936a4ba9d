"""docs/format.md is normative: a reader written from it alone finds every byte of a model."""

import hashlib
import json
import pickle

import numpy as np
import pytest
import reader
from estimators import LABELS, X
from graphs import bits, loaded_as_pickle
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from value_cases import CASES, NESTED, structured

import shardpickle
from shardpickle.format import entries, manifest
from shardpickle.storage import local

# --- Trees ---

SEED = np.random.default_rng(0)
N = 240
FEATURES = SEED.normal(size=(N, 6))
HOLES = np.where(SEED.random((N, 6)) < 0.1, np.nan, FEATURES)
FLOATS = FEATURES @ np.arange(6.0) + SEED.normal(size=N)
WHOLE = np.round(3 * FLOATS)
CLASSES = np.digitize(FLOATS, [-8, -3, 3, 8])
TWO_CLASSES = np.column_stack([CLASSES, FEATURES[:, 0] > 0]).astype(int)
TWO_FLOATS = np.column_stack([FLOATS, FEATURES[:, 1] ** 2])
STAIRS = (FLOATS[:, None] < np.linspace(-9, 9, 12)).astype(int)  # outputs that are mostly alike
WEIGHTS = SEED.random(N) + 0.1
WIDE = SEED.normal(size=(N, 300))
WIDER = SEED.normal(size=(N, 5000))
COARSE = np.round(FEATURES)
BIG = np.where(SEED.random((2000, 1)) < 0.01, np.nan, SEED.normal(size=(2000, 2)).round(1))
BIG_CLASSES = (np.nan_to_num(BIG[:, 0]) + SEED.normal(size=2000) > 0).astype(int)


def grown(cls, target, features=FEATURES, weights=None, **options):
    options = {"random_state": 0, **options}
    if "Decision" not in cls.__name__:
        options = {"n_estimators": 4, **options}
    return cls(**options).fit(features, target, sample_weight=weights)


def edited(model, edit):
    """The same model; its trees' nodes and values are what `edit` makes of them."""
    for tree in trees_of(model):
        state = tree.__getstate__()
        state = {**state, "nodes": state["nodes"].copy(), "values": state["values"].copy()}
        edit(state["nodes"], state["values"])
        tree.__setstate__(state)
    return model


def leaf_with_a_feature(nodes, values):
    nodes["feature"][np.flatnonzero(nodes["left_child"] < 0)[0]] = 5


def only_for_prediction(nodes, values):
    nodes["impurity"] = nodes["weighted_n_node_samples"] = np.nan
    nodes["n_node_samples"] = -1
    values[nodes["left_child"] >= 0] = np.nan


def samples_that_wrap(nodes, values):
    nodes["n_node_samples"][-1] = -(2**63)


def weights_of_any_size(nodes, values):
    nodes["weighted_n_node_samples"][1:] *= 2.0**45
    nodes["impurity"] *= 1 + 2**-20


def infinite_siblings(nodes, values):
    left, right = nodes["left_child"], nodes["right_child"]
    parent = next(n for n in range(len(nodes)) if left[left[n]] < 0 and left[right[n]] < 0)
    values[left[parent]], values[right[parent]] = np.inf, -np.inf


def minus_zeros(nodes, values):
    values[:] = nodes["impurity"] = -0.0


def curves(nodes, values):
    """Cumulative hazard and survival of made-up events, as survival forests keep them."""
    events = np.random.default_rng(0)
    for node, weight in enumerate(nodes["weighted_n_node_samples"]):
        at_risk, hazard, survival = int(weight), 0.0, 1.0
        for time in range(values.shape[1]):
            at_risk -= events.integers(0, at_risk // 4 + 1)
            some = int(events.integers(0, at_risk // 3 + 2)) if at_risk else 0
            if 0 < some <= at_risk:
                hazard += some / at_risk
                survival *= 1 - some / at_risk
                at_risk -= some
            values[node, time] = hazard, survival


TREES = {
    "survival": lambda: edited(grown(RandomForestClassifier, STAIRS, max_depth=6), curves),
    "classes": lambda: grown(RandomForestClassifier, CLASSES, n_estimators=20),
    "one class": lambda: grown(RandomForestClassifier, np.zeros(N, int)),
    "300 classes": lambda: grown(
        ExtraTreesClassifier, np.arange(600) % 300, SEED.normal(size=(600, 2)), n_estimators=2
    ),
    "many in a leaf": lambda: grown(RandomForestClassifier, BIG_CLASSES, BIG, max_depth=3),
    "outputs of different classes": lambda: grown(RandomForestClassifier, TWO_CLASSES),
    "outputs like the one before": lambda: grown(
        ExtraTreesClassifier, STAIRS, weights=WEIGHTS, max_depth=6
    ),
    "floats": lambda: grown(RandomForestRegressor, FLOATS),
    "whole numbers": lambda: grown(RandomForestRegressor, WHOLE),
    "huge whole numbers": lambda: grown(RandomForestRegressor, 1e5 * WHOLE),
    "two targets": lambda: grown(RandomForestRegressor, TWO_FLOATS),
    "extra trees": lambda: grown(ExtraTreesRegressor, FLOATS),
    "boosted": lambda: grown(GradientBoostingRegressor, FLOATS),
    "boosted classes": lambda: grown(GradientBoostingClassifier, CLASSES),
    "class_weight": lambda: grown(DecisionTreeClassifier, CLASSES, class_weight="balanced"),
    "sample_weight": lambda: grown(ExtraTreesRegressor, FLOATS, weights=WEIGHTS),
    "whole weights": lambda: grown(ExtraTreesRegressor, WHOLE, weights=np.ceil(5 * WEIGHTS)),
    "weights of classes": lambda: grown(ExtraTreesClassifier, CLASSES, weights=WEIGHTS),
    "weights of zero": lambda: grown(
        DecisionTreeClassifier, CLASSES, weights=np.round(2 * WEIGHTS), max_depth=5
    ),
    "best first": lambda: grown(RandomForestClassifier, CLASSES, max_leaf_nodes=20),
    "best first, floats": lambda: grown(RandomForestRegressor, FLOATS, max_leaf_nodes=20),
    "entropy": lambda: grown(RandomForestClassifier, CLASSES, criterion="entropy"),
    "absolute error": lambda: grown(
        RandomForestRegressor, FLOATS, criterion="absolute_error", max_depth=5
    ),
    "poisson": lambda: grown(RandomForestRegressor, np.abs(WHOLE) + 1, criterion="poisson"),
    "missing values": lambda: grown(RandomForestClassifier, CLASSES, HOLES),
    "missing values, floats": lambda: grown(RandomForestRegressor, FLOATS, HOLES),
    "few thresholds": lambda: grown(RandomForestClassifier, CLASSES, COARSE, n_estimators=20),
    "300 features": lambda: grown(ExtraTreesClassifier, CLASSES, WIDE),
    "5000 features": lambda: grown(ExtraTreesClassifier, CLASSES, WIDER, n_estimators=2),
    "monotonic": lambda: grown(RandomForestRegressor, FLOATS, monotonic_cst=[0, 1, 1, 0, 0, 1]),
    "a single tree": lambda: grown(DecisionTreeRegressor, FLOATS),
    "a stump": lambda: grown(DecisionTreeClassifier, CLASSES, max_depth=1),
    "isolation": lambda: IsolationForest(n_estimators=4, random_state=0).fit(FEATURES),
    "edited: raw": lambda: edited(grown(DecisionTreeRegressor, FLOATS), leaf_with_a_feature),
    "edited: inference": lambda: edited(
        grown(RandomForestRegressor, FLOATS, max_leaf_nodes=20), only_for_prediction
    ),
    "edited: samples": lambda: edited(grown(RandomForestRegressor, FLOATS), samples_that_wrap),
    "edited: weights": lambda: edited(grown(RandomForestRegressor, FLOATS), weights_of_any_size),
    "edited: infinite": lambda: edited(grown(RandomForestRegressor, FLOATS), infinite_siblings),
    "edited: -0.0": lambda: edited(grown(RandomForestRegressor, WHOLE), minus_zeros),
}


def trees_of(model):
    if hasattr(model, "tree_"):
        return [model.tree_]
    return [each.tree_ for each in np.ravel(model.estimators_)]


def read_trees(path):
    """Trees as an independent reader finds them, in the order of the manifest's parts."""
    document, shards = reader.read_model(path)
    values = [value for s, i in reader.parts_of(document) for value in shards[s][i][1]]
    return [value for value in values if isinstance(value, reader.Tree)]


def assert_tree(found, tree):
    state = tree.__getstate__()
    assert found.nodes.dtype == state["nodes"].dtype
    for name in reader.NODE.names:
        assert found.nodes[name].tobytes() == state["nodes"][name].tobytes(), name
    assert found.values.shape == state["values"].shape
    assert found.values.tobytes() == state["values"].tobytes()
    assert (found.max_depth, found.n_features) == (tree.max_depth, tree.n_features)
    assert found.n_classes == tree.n_classes.tolist()


def check_trees(model, path, **options):
    shardpickle.dump(model, path, **options)
    found = read_trees(path)
    for mine, tree in zip(found, trees_of(model), strict=True):
        assert_tree(mine, tree)
    return found


@pytest.mark.parametrize("case", TREES)
def test_trees_read_without_the_library(case, tmp_path):
    check_trees(TREES[case](), tmp_path / "model")
    check_trees(TREES[case](), tmp_path / "small", shard_size="30kB")


def test_together_they_use_every_rule_and_stream(tmp_path):
    rules, streams = set(), set()
    for case, make in TREES.items():
        for tree in check_trees(make(), tmp_path / case.replace(" ", "_")):
            rules |= tree.rules
            streams |= tree.streams
    assert rules == set(reader.RULES)
    assert streams == set(reader.STREAMS)


def test_a_table_that_shards_share(tmp_path):
    forest = grown(RandomForestRegressor, FLOATS, n_estimators=40)
    found = check_trees(forest, tmp_path / "model", shard_size="100kB")
    document, shards = reader.read_model(tmp_path / "model")
    [table] = {entry[4] for entry in document["shards"]} - {None}
    places = reader.parts_of(document)
    shard, slot = places[table]
    assert document["shards"][shard][4] is None
    starts, thresholds, values = shards[shard][slot][1]
    assert (starts.size, thresholds.size) == (0, 0)
    assert values.size > 100
    assert sum(entry[4] == table for entry in document["shards"]) > 2
    assert sum("value, rank" in tree.streams for tree in found) == 40


def test_trees_are_cloned_from_one_template(tmp_path):
    forest = RandomForestClassifier(9, random_state=0).fit(X, LABELS)
    shardpickle.dump(forest, tmp_path / "model", shard_size="10kB")
    document, shards = reader.read_model(tmp_path / "model")
    assert len(shards) > 2
    runs = [run for run in document["parts"] if run["class"].endswith("DecisionTreeClassifier")]
    assert sum(run["count"] for run in runs) == 10  # nine, and the template they are cloned from
    assert len(runs) < 10
    assert document["parts"][-1]["references"][0][3] >= 1


# --- Everything else ---


@pytest.mark.parametrize("case", ["C order", "Fortran order", "NaN payloads and -0.0", "text"])
def test_arrays_read_without_the_library(case, tmp_path):
    shardpickle.dump(CASES[case], tmp_path / "model")
    _, [[(_, [array])]] = reader.read_model(tmp_path / "model")
    assert array.dtype == CASES[case].dtype
    assert array.tobytes() == CASES[case].tobytes()
    assert array.flags.fnc == CASES[case].flags.fnc


def test_structured_arrays_read_without_the_library(tmp_path):
    nested = structured(NESTED, (50,))
    shardpickle.dump(nested, tmp_path / "model")
    _, [[(_, [array])]] = reader.read_model(tmp_path / "model")
    assert array.dtype == nested.dtype
    assert bits(array) == bits(nested)


# --- Histogram boosting ---

CATEGORIES = np.column_stack([SEED.integers(0, 6, N), FEATURES])


def boosted(cls, target, features=FEATURES, **options):
    options = {"max_iter": 6, "max_leaf_nodes": 12, "min_samples_leaf": 5, **options}
    return cls(**options).fit(features, target)


def leaf_with_a_bin(nodes):
    nodes["bin_threshold"][np.flatnonzero(nodes["is_leaf"])[0]] = 5


def counts_that_wrap(nodes):
    nodes["count"][np.flatnonzero(nodes["is_leaf"])] = 2**32 - 1


def leaves_with_gains(nodes):
    nodes["gain"][np.flatnonzero(nodes["is_leaf"])[::2]] = 0.25


def infinite_leaves(nodes):
    nodes["value"][nodes["is_leaf"] == 1] = np.inf


def with_nodes(model, edit):
    for nodes in nodes_of(model):
        edit(nodes)
    return model


def nodes_of(model):
    return [tree.nodes for stage in model._predictors for tree in stage]


HISTOGRAMS = {
    "classes": lambda: boosted(HistGradientBoostingClassifier, CLASSES),
    "floats": lambda: boosted(HistGradientBoostingRegressor, FLOATS),
    "two classes": lambda: boosted(HistGradientBoostingClassifier, CLASSES > 2),
    "poisson": lambda: boosted(HistGradientBoostingRegressor, np.abs(FLOATS), loss="poisson"),
    "absolute error": lambda: boosted(HistGradientBoostingRegressor, FLOATS, loss="absolute_error"),
    "no shrinkage": lambda: boosted(HistGradientBoostingRegressor, FLOATS, learning_rate=1.0),
    "missing values": lambda: boosted(HistGradientBoostingRegressor, FLOATS, HOLES),
    "categories": lambda: boosted(
        HistGradientBoostingRegressor,
        FLOATS + 9 * (CATEGORIES[:, 0] ** 2 % 5),
        CATEGORIES,
        categorical_features=[0],
    ),
    "a leaf": lambda: boosted(HistGradientBoostingRegressor, FLOATS, min_samples_leaf=N),
    "few thresholds": lambda: boosted(HistGradientBoostingRegressor, FLOATS, COARSE, max_iter=30),
    "edited: raw": lambda: with_nodes(HISTOGRAMS["floats"](), leaf_with_a_bin),
    "edited: counts": lambda: with_nodes(HISTOGRAMS["floats"](), counts_that_wrap),
    "edited: gains": lambda: with_nodes(HISTOGRAMS["floats"](), leaves_with_gains),
    "edited: infinite": lambda: with_nodes(HISTOGRAMS["floats"](), infinite_leaves),
}


def check_histograms(path, expected):
    document, shards = reader.read_model(path)
    values = [value for s, i in reader.parts_of(document) for value in shards[s][i][1]]
    found = [each for each in values if getattr(each, "dtype", None) == expected[0].dtype]
    for mine, theirs in zip(found, expected, strict=True):
        assert [mine[name].tobytes() for name in mine.dtype.names] == [
            theirs[name].tobytes() for name in theirs.dtype.names
        ]


@pytest.mark.parametrize("case", HISTOGRAMS)
def test_histogram_boosting_read_without_the_library(case, tmp_path):
    model = HISTOGRAMS[case]()
    shardpickle.dump(model, tmp_path / "model")
    check_histograms(tmp_path / "model", nodes_of(model))


# --- The profile "inference" ---


def test_trees_without_what_prediction_does_not_need(tmp_path):
    for case in ["classes", "two targets", "best first", "missing values"]:
        path = tmp_path / case.replace(" ", "_")
        shardpickle.dump(TREES[case](), path, profile="inference")
        expected = edited(TREES[case](), only_for_prediction)
        for mine, tree in zip(read_trees(path), trees_of(expected), strict=True):
            assert "INFERENCE" in mine.rules
            assert_tree(mine, tree)
        assert reader.read_model(path)[0]["profile"] == "inference"


def test_histograms_without_what_prediction_does_not_need(tmp_path):
    model = HISTOGRAMS["categories"]()
    shardpickle.dump(model, tmp_path / "model", profile="inference")
    expected = [nodes.copy() for nodes in nodes_of(model)]
    for nodes in expected:
        nodes["gain"] = np.nan
        nodes["value"][nodes["is_leaf"] == 0] = np.nan
    check_histograms(tmp_path / "model", expected)


# --- Skeletons and columns ---


@pytest.mark.parametrize("count", [7, 8, 9])
def test_equal_neighbours_share_columns(count, tmp_path):
    parts = [StandardScaler(), StandardScaler()]
    for start, part in zip((0, 50), parts, strict=True):
        arrays = [np.arange(n, n + 3.0) for n in range(start, start + count)]
        part.arrays_ = [*arrays, np.float32([start]), *(each + 20 for each in arrays[:3])]
    shardpickle.dump(parts, tmp_path / "model")
    _, [[*found, (_, [])]] = reader.read_model(tmp_path / "model")
    assert [[each.tobytes() for each in values] for _, values in found] == [
        [each.tobytes() for each in part.arrays_] for part in parts
    ]


@pytest.mark.parametrize("dtype", ["<f8", "<f4", "<i2", "<c16"])
def test_palettes(dtype, tmp_path, monkeypatch):
    used = []
    forms = [lambda *a, form=form: used.append(form) or form(*a) for form in reader.FORMS]
    monkeypatch.setattr(reader, "FORMS", forms)
    colours = (SEED.random(40) * 30_000).astype(dtype)
    array = SEED.choice(colours, 5000)
    shardpickle.dump(array, tmp_path / "model")
    _, [[(_, [found])]] = reader.read_model(tmp_path / "model")
    assert found.tobytes() == array.tobytes()
    assert reader.palette in used


def test_a_skeleton_is_an_ordinary_pickle(tmp_path):
    shardpickle.dump({"a": [1, 2], "b": "text"}, tmp_path / "model")
    _, [[(skeleton, [])]] = reader.read_model(tmp_path / "model")
    assert pickle.loads(skeleton) == ({"a": [1, 2], "b": "text"},)


def test_no_name_of_ours_stands_in_a_shard(tmp_path):
    forest = RandomForestClassifier(3, random_state=0).fit(X, LABELS)
    model = [
        forest,
        *(each for each in CASES.values() if not isinstance(each, pickle.PickleBuffer)),
    ]
    shardpickle.dump(model, tmp_path / "model")
    document, shards = reader.read_model(tmp_path / "model")
    assert not [name for name in document["names"] if name[0].startswith("shardpickle")]
    assert not [1 for shard in shards for skeleton, _ in shard if b"shardpickle" in skeleton]


def test_the_manifest_is_compact(tmp_path):
    forest = RandomForestClassifier(200, max_depth=2, random_state=0).fit(X, LABELS)
    shardpickle.dump(forest, tmp_path / "model")
    text = (tmp_path / "model" / "manifest.json").read_text()
    assert len(text) < 2000
    assert json.loads(text)["parts"][-1]["references"] == [[0, 0, 0, 201]]


# --- The manifest's rules ---


def entry(shard=0, slot=0, references=(), objects=1, kind="m.C"):
    return entries.PartEntry(kind, shard, slot, objects, (0,), tuple(references))


def make(parts, slots=10):
    return entries.Manifest(
        writer="0",
        profile="full",
        environment={"python": "3"},
        metadata={},
        names=(("m", "C"),),
        parts=tuple(parts),
        shards=(entries.ShardEntry("0" * 64, 1, 1, slots),),
    )


@pytest.mark.parametrize(
    "parts",
    [
        [entry()],
        [entry(slot=number) for number in range(5)],
        [entry(slot=0), entry(slot=0), entry(slot=1)],
        [*(entry(slot=n) for n in range(4)), entry(slot=4, references=[(n, 0) for n in range(4)])],
        [
            *(entry(slot=n) for n in range(4)),
            *(entry(slot=4 + n, references=[(n, 0), (0, 0)]) for n in range(4)),
        ],
        [entry(objects=3), entry(slot=1, references=[(0, 2), (0, 0)]), entry(slot=2, kind="m.D")],
        [entry(), entry(slot=1, references=[(0, 0), (0, 0)]), entry(slot=2, references=[(1, 0)])],
    ],
)
def test_runs_expand_to_what_they_were_made_of(parts):
    whole = make(parts)
    assert manifest.from_bytes(manifest.to_bytes(whole)) == whole
    assert manifest.to_bytes(whole).startswith(local.OPENING)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"count":1', '"count":11'),
        ('"count":1', '"count":-1'),
        ('"count":1', '"count":true'),
        ('"slot":0', '"slot":10'),
        ('"shard":0', '"shard":1'),
        ('"shard":0', '"shard":-1'),
        ('"names":[0]', '"names":[1]'),
        ('"references":[]', '"references":[[0,0,0,1]]'),
        ('"references":[]', '"references":[[-1,0,0,1]]'),
        ('"references":[]', '"references":[[0,0,0,99999999999]]'),
        ('["m","C"]', '["m",1]'),
        ('"' + "0" * 64 + '"', '"../../etc/passwd"'),
        ('"' + "0" * 64 + '"', '"' + "A" * 64 + '"'),
        ('"writer": "0"', '"writer": "0",\n"writer": "1"'),
        ('"metadata": {}', '"metadata": NaN'),
        ('"metadata": {}', '"metadata": []'),
    ],
)
def test_a_manifest_that_contradicts_itself(old, new):
    body, separator, _ = manifest.to_bytes(make([entry()])).rpartition(b',\n"sha256": "')
    assert body.count(old.encode()) == 1
    body = body.replace(old.encode(), new.encode())
    forged = body + separator + hashlib.sha256(body).hexdigest().encode() + b'"\n}\n'
    with pytest.raises(shardpickle.CorruptModelError):
        manifest.from_bytes(forged)


def test_frames_of_equal_columns_are_stored_once(tmp_path):
    block = np.random.default_rng(0).random(40_000)
    once = shardpickle.dump({"a": block}, tmp_path / "once")
    twice = shardpickle.dump({"a": block, "b": block.copy()}, tmp_path / "twice")
    assert twice.raw_bytes > 1.9 * once.raw_bytes
    assert twice.stored_bytes < 1.01 * once.stored_bytes
    loaded = loaded_as_pickle(tmp_path / "twice")
    assert not np.shares_memory(loaded["a"], loaded["b"])
