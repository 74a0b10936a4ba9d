"""docs/format.md is normative: a reader written from it alone finds every byte of a model."""

import hashlib
import json
import pickle

import numpy as np
import pytest
import reader
from estimators import LABELS, X
from graphs import bits
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from test_values import CASES, NESTED, structured

import shardpickle
from shardpickle import manifest, storage


def test_a_forest_read_without_the_library(tmp_path):
    forest = RandomForestClassifier(9, random_state=0).fit(X, LABELS)
    shardpickle.dump(forest, tmp_path / "model", shard_size="10kB")
    document, shards = reader.read_model(tmp_path / "model")
    assert len(shards) > 2
    trees = [arrays for shard in shards for _, arrays in shard if len(arrays) == 4]
    assert len(trees) == 9
    for estimator, arrays in zip(forest.estimators_, trees, strict=True):
        nodes = next(each for each in arrays if each.dtype.names)
        state = estimator.tree_.__getstate__()
        for name in nodes.dtype.names:
            assert nodes[name].tobytes() == state["nodes"][name].tobytes()
        values = next(each for each in arrays if each.ndim == 3)
        assert values.tobytes() == state["values"].tobytes()
    runs = [run for run in document["parts"] if run["class"].endswith("DecisionTreeClassifier")]
    assert sum(run["count"] for run in runs) == 10  # nine, and the template they are cloned from
    assert len(runs) < 10
    assert document["parts"][-1]["references"][0][3] >= 1


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


def test_histogram_boosting_read_without_the_library(tmp_path):
    model = HistGradientBoostingClassifier(max_iter=4, max_leaf_nodes=8).fit(X, LABELS)
    shardpickle.dump(model, tmp_path / "model")
    _, shards = reader.read_model(tmp_path / "model")
    nodes = [
        arrays[0]
        for shard in shards
        for _, arrays in shard
        if arrays and arrays[0].dtype.names and "gain" in arrays[0].dtype.names
    ]
    expected = [tree.nodes for stage in model._predictors for tree in stage]
    assert len(nodes) == len(expected) == 12
    for mine, theirs in zip(nodes, expected, strict=True):
        for name in theirs.dtype.names:
            assert mine[name].tobytes() == theirs[name].tobytes()


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
    return manifest.PartEntry(kind, shard, slot, objects, (0,), tuple(references))


def make(parts, slots=10):
    return manifest.Manifest(
        writer="0",
        environment={"python": "3"},
        metadata={},
        names=(("m", "C"),),
        parts=tuple(parts),
        shards=(manifest.ShardEntry("0" * 64, 1, 1, slots),),
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
    assert manifest.to_bytes(whole).startswith(storage.OPENING)


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
    loaded = shardpickle.load(tmp_path / "twice")
    assert not np.shares_memory(loaded["a"], loaded["b"])
