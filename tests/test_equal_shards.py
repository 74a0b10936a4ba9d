"""Equal shards are one file, whatever made them, and everything that reads models knows it."""

import copy
import json
import pickle
import shutil
import warnings
from dataclasses import replace

import numpy as np
import pytest
from estimators import LABELS, TARGET, X
from graphs import assert_same
from sklearn.base import BaseEstimator
from sklearn.ensemble import (
    BaggingClassifier,
    GradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    VotingClassifier,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import shardpickle
from shardpickle.format import manifest
from shardpickle.io import dump
from shardpickle.storage import packed

SEED = {"random_state": 0}


class Fresh(BaseEstimator):
    """Its array is another one whenever it is pickled, so it is written again for its shard."""

    def __init__(self, fill=0):
        self.fill = fill

    def __getstate__(self):
        return {"fill": self.fill, "values": np.full(200_000, self.fill, "<f8")}


class Holder(BaseEstimator):
    """Equal skeletons and values, but another object that they refer to."""

    def __init__(self, other=None):
        self.other = other
        self.table = np.arange(5000.0)


def forest(count=12, **options):
    return RandomForestClassifier(count, **{**SEED, **options}).fit(X, LABELS)


def copies(model, count=3):
    return [model, *(copy.deepcopy(model) for _ in range(count - 1))]


def scaler(fill):
    made = StandardScaler()
    made.mean_ = np.full(4000, fill)
    return made


def twice_the_target():
    """Trees of the same thresholds and ranks: equal shards, which other tables give a meaning."""
    target = TARGET.round(3)
    return [
        RandomForestRegressor(40, **SEED).fit(X, target),
        make_pipeline(RandomForestRegressor(40, **SEED).fit(X, 2 * target)),
    ]


MODELS = {
    "deep copies of a forest": lambda: copies(forest()),
    "forests that were fitted alike": lambda: [forest(), forest()],
    "one model in several places": lambda: {"a": [forest(6)], "b": copies(forest(6))},
    "copies in pipelines": lambda: copies(make_pipeline(StandardScaler(), forest(6))),
    "boosting": lambda: copies(GradientBoostingRegressor(n_estimators=9, **SEED).fit(X, TARGET)),
    "bagging": lambda: copies(BaggingClassifier(n_estimators=5, **SEED).fit(X, LABELS)),
    "voting": lambda: copies(
        VotingClassifier([("a", forest(4)), ("b", forest(4, max_depth=2))]).fit(X, LABELS)
    ),
    "big equal arrays": lambda: [scaler(1.0) for _ in range(6)],
    "equal, but for what they refer to": lambda: [Holder(scaler(float(n))) for n in range(5)],
    "nothing but skeletons": lambda: [StandardScaler() for _ in range(3000)],
    "written again": lambda: [Fresh(1), Fresh(2), Fresh(1), Fresh(1)],
    "with tables": lambda: copies(RandomForestRegressor(40, **SEED).fit(X, TARGET)),
    "other tables": twice_the_target,
    "some equal trees": lambda: mixed(),
}


def mixed():
    model = forest(10)
    model.estimators_[3] = copy.deepcopy(model.estimators_[7])
    model.estimators_[4] = model.estimators_[7]
    return [model, forest(20)]


def trusted(model):
    return [Fresh, Holder]


@pytest.mark.long
@pytest.mark.parametrize("case", MODELS)
@pytest.mark.parametrize("size", ["4kB", "60kB"])
def test_everything_that_reads_a_model_takes_a_file_once(case, size, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = MODELS[case]()
    expected = pickle.loads(pickle.dumps(model, protocol=5))
    options = {"shard_size": size}
    reports = {n: shardpickle.dump(model, f"model{n}", workers=n, **options) for n in (1, 2, 3)}
    assert len({report.digest for report in reports.values()}) == 1
    report, path = reports[1], tmp_path / "model1"
    files = sorted((path / "shards").iterdir())
    nbytes = sum(each.stat().st_size for each in [*files, path / "manifest.json"])
    for each in reports.values():
        assert each.stored_bytes == each.written_bytes == nbytes
        assert (each.shards_written, each.shards_reused) == (len(files), 0)
    again = shardpickle.dump(model, path, **options)
    assert (again.shards_written, again.shards_reused, again.written_bytes) == (0, len(files), 0)

    trust = trusted(model)
    assert_same(shardpickle.load(path, trusted=trust), expected)
    assert_same(shardpickle.load(path, unsafe=True, workers=2), expected)
    assert_same(shardpickle.loads(shardpickle.dumps(model, **options), trusted=trust), expected)
    # A Bunch forgets its attributes when it is loaded, so that it is dumped as a loaded one is.
    loaded = shardpickle.dump(shardpickle.load(path, trusted=trust), "loaded", **options)
    lazy = shardpickle.load(path, lazy=True, trusted=trust)
    assert shardpickle.dump(lazy, "lazily", **options).digest == loaded.digest
    assert_same(shardpickle.materialize(lazy), expected)
    assert shardpickle.dump(lazy, "after", **options).digest == loaded.digest

    info = shardpickle.inspect(path)
    assert (info.stored_bytes, info.shards) == (nbytes, len(files))
    assert sum(each.stored for each in info.columns) <= nbytes
    for workers in (1, 2, 3):
        found = shardpickle.estimate(model, workers=workers, **options)
        assert {**found.to_dict(), "path": info.path} == info.to_dict()

    for deep in (False, True):
        verified = shardpickle.verify(path, deep=deep)
        assert verified.ok
        assert (verified.shards, verified.stored_bytes) == (len(files), nbytes)
    assert not shardpickle.diff(path, tmp_path / "model2")
    shardpickle.pack(path, "model.shpk")
    assert shardpickle.verify("model.shpk", deep=True).ok
    shardpickle.unpack("model.shpk", "unpacked")
    assert shardpickle.inspect("unpacked").digest == report.digest
    assert len(list((tmp_path / "unpacked" / "shards").iterdir())) == len(files)


@pytest.mark.parametrize("case", MODELS)
def test_copies_cost_a_few_lines_of_the_manifest(case, tmp_path):
    """And no shard is listed twice, unless its tables are others."""
    shardpickle.dump(MODELS[case](), tmp_path / "model", shard_size="30kB")
    document = json.loads((tmp_path / "model" / "manifest.json").read_bytes())
    keys = [(entry[0], entry[4]) for entry in document["shards"]]
    assert len(set(keys)) == len(keys)
    if case != "other tables":
        assert len({entry[0] for entry in document["shards"]}) == len(keys)


def test_ten_copies_take_hardly_more_than_one(tmp_path):
    one = shardpickle.dump(forest(), tmp_path / "one", shard_size="30kB")
    ten = shardpickle.dump(copies(forest(), 10), tmp_path / "ten", shard_size="30kB")
    assert ten.raw_bytes > 9.9 * one.raw_bytes
    shards = [
        sum(each.stat().st_size for each in (tmp_path / name / "shards").iterdir())
        for name in ("one", "ten")
    ]
    assert shards[1] < 1.15 * shards[0]


def test_other_tables_make_equal_files_two_shards(tmp_path):
    """Or this test would try nothing: the same file has two meanings."""
    model = twice_the_target()
    for place, each in zip(("one", "two"), model, strict=True):
        shardpickle.dump(each, tmp_path / place, shard_size="60kB")
    names = [
        {each.name for each in (tmp_path / place / "shards").iterdir()} for place in ("one", "two")
    ]
    assert names[0] & names[1]
    found = shardpickle.diff(tmp_path / "one", tmp_path / "two")
    assert found.changes
    lazy = [shardpickle.load(tmp_path / place, lazy=True) for place in ("one", "two")]
    shardpickle.dump(lazy, tmp_path / "both", shard_size="60kB")
    assert_same(shardpickle.load(tmp_path / "both"), model)


def test_the_damaged_file_is_named_once_with_all_that_it_holds(tmp_path):
    model = {"first": forest(6, max_depth=3), "second": [forest(6, max_depth=3)]}
    shardpickle.dump(model, tmp_path / "model", shard_size="2kB")
    found = manifest.from_bytes((tmp_path / "model" / "manifest.json").read_bytes())
    trees = [part for part in found.parts if part.kind.endswith(".DecisionTreeClassifier")]
    shard = max({part.shard for part in trees}, key=lambda n: found.shards[n].raw)
    file = tmp_path / "model" / found.shards[shard].file
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    for deep in (False, True):
        (problem,) = shardpickle.verify(tmp_path / "model", deep=deep).problems
        assert problem.file == found.shards[shard].file
        held = sum(part.shard == shard for part in trees)
        told = [each.partition(" of ") for each in problem.estimators]
        assert {kind for _, _, kind in told} == {"RandomForestClassifier"}
        count = 0
        for path, _, _ in told:
            numbers = path.partition("[")[2].rstrip("]").split(":")
            count += int(numbers[-1]) - int(numbers[0]) if len(numbers) == 2 else 1
        assert count == held >= 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(shardpickle.CorruptShardError, match=file.name):
            shardpickle.load(tmp_path / "model")


def test_a_damaged_table_of_two_runs_is_told(tmp_path):
    model = copies(RandomForestRegressor(40, **SEED).fit(X, TARGET), 2)
    shardpickle.dump(model, tmp_path / "model", shard_size="60kB")
    found = manifest.from_bytes((tmp_path / "model" / "manifest.json").read_bytes())
    (table,) = found.tables
    file = tmp_path / "model" / found.shards[found.parts[table].shard].file
    file.write_bytes(b"\0" + file.read_bytes()[1:])
    (problem,) = shardpickle.verify(tmp_path / "model").problems
    each = ("estimator of RandomForestRegressor", "estimators_[0:40] of RandomForestRegressor")
    assert problem.estimators == each * 2


def test_a_held_estimator_does_not_part_twins(tmp_path):
    """One of two equal trees is in memory, the other one is not."""
    model = copies(forest(), 2)
    digest = shardpickle.dump(model, tmp_path / "model", shard_size="9kB").digest
    lazy = shardpickle.load(tmp_path / "model", lazy=True, memory_limit="100MB")
    held = lazy[0].estimators_[5]
    assert held.tree_.node_count
    assert shardpickle.dump(lazy, tmp_path / "again", shard_size="9kB").digest == digest


def test_what_is_on_disk_and_what_is_in_memory_are_estimated_together(tmp_path):
    model = forest()
    shardpickle.dump(model, tmp_path / "model", shard_size="9kB")
    for workers in (1, 2, 3):
        both = [shardpickle.load(tmp_path / "model", lazy=True), model]
        found = shardpickle.estimate(both, workers=workers, shard_size="9kB")
        path = tmp_path / f"both{workers}"
        both = [shardpickle.load(tmp_path / "model", lazy=True), model]
        report = shardpickle.dump(both, path, workers=workers, shard_size="9kB")
        assert found.stored_bytes == report.stored_bytes
        assert found.stored_bytes == sum(each.stat().st_size for each in path.rglob("*.*"))
        assert found.digest == report.digest
        assert shardpickle.verify(path, deep=True).ok


def test_a_lazy_model_counts_what_its_equal_parts_become(tmp_path):
    shardpickle.dump(copies(forest(), 8), tmp_path / "model", shard_size="30kB")
    found = manifest.from_bytes((tmp_path / "model" / "manifest.json").read_bytes())
    raw = shardpickle.inspect(tmp_path / "model").raw_bytes
    assert 5 * sum(each.raw for each in found.shards) < sum(found.raw_of) <= raw
    largest = max(found.raw_of)
    with pytest.raises(shardpickle.MemoryLimitError):
        shardpickle.load(tmp_path / "model", lazy=True, memory_limit=largest)


def doubled(path):
    """As it was written before: each part of a copy in a shard entry of its own."""
    data = (path / "manifest.json").read_bytes()
    found = manifest.from_bytes(data)
    seen: set[tuple[int, int]] = set()
    parts = []
    for part in found.parts:
        place = part.shard, part.slot
        parts.append(replace(part, shard=part.shard + len(found.shards) * (place in seen)))
        seen.add(place)
    old = replace(found, parts=tuple(parts), shards=found.shards * 2)
    (path / "manifest.json").write_bytes(manifest.to_bytes(old))
    return old


@pytest.mark.parametrize(
    "case", ["deep copies of a forest", "boosting", "with tables", "copies in pipelines"]
)
def test_manifests_that_list_a_file_twice_stay_readable(case, tmp_path):
    model = MODELS[case]()
    expected = pickle.loads(pickle.dumps(model, protocol=5))
    path = tmp_path / "model"
    report = shardpickle.dump(model, path, shard_size="20kB")
    shutil.copytree(path, tmp_path / "other")
    old = doubled(path)
    assert len(old.shards) == 2 * len(list((path / "shards").iterdir()))
    assert_same(shardpickle.load(path), expected)
    assert_same(shardpickle.materialize(shardpickle.load(path, lazy=True)), expected)
    nbytes = sum(each.stat().st_size for each in path.rglob("*.*"))
    info = shardpickle.inspect(path)
    assert (info.stored_bytes, info.shards) == (nbytes, len(list((path / "shards").iterdir())))
    assert info.raw_bytes == report.raw_bytes
    assert info.columns == shardpickle.inspect(tmp_path / "other").columns
    assert "<html" in info.to_html()
    lazy = shardpickle.load(path, lazy=True)
    assert shardpickle.estimate(lazy, workers=2, shard_size="20kB").digest == report.digest
    assert shardpickle.dump(lazy, tmp_path / "new", shard_size="20kB").digest == report.digest
    found = shardpickle.diff(path, tmp_path / "other")
    assert found.changes == ()
    assert shardpickle.verify(path, deep=True).stored_bytes == nbytes
    shardpickle.pack(path, tmp_path / "model.shpk")
    assert_same(shardpickle.load(tmp_path / "model.shpk"), expected)
    shard = max(old.shards, key=lambda each: each.raw)
    (path / shard.file).unlink()
    for deep in (False, True):
        (problem,) = shardpickle.verify(path, deep=deep).problems
        assert problem.file == shard.file
        assert problem.estimators


def test_a_file_of_two_sizes_is_no_manifest(tmp_path):
    shardpickle.dump([forest(4)], tmp_path / "model")
    found = manifest.from_bytes((tmp_path / "model" / "manifest.json").read_bytes())
    other = replace(found.shards[0], parts=found.shards[0].parts + 1)
    forged = replace(found, shards=(*found.shards, other))
    with pytest.raises(shardpickle.CorruptModelError, match="different sizes"):
        manifest.from_bytes(manifest.to_bytes(forged))


def test_a_small_file_is_not_listed_a_hundred_thousand_times(tmp_path):
    shardpickle.dump([1], tmp_path / "model")
    found = manifest.from_bytes((tmp_path / "model" / "manifest.json").read_bytes())
    few = replace(found, shards=found.shards * 5_000)
    assert manifest.from_bytes(manifest.to_bytes(few)) == few
    forged = replace(found, shards=found.shards * 100_000)
    with pytest.raises(shardpickle.CorruptManifestError, match="repeated listings"):
        manifest.from_bytes(manifest.to_bytes(forged))


def test_equal_arrays_of_one_slot_have_memory_and_dtypes_of_their_own(tmp_path):
    made = [StandardScaler() for _ in range(3)]
    for each in made:
        each.table_ = np.ones(300, [("a", "i4"), ("b", "i4")])
        each.fixed_ = np.arange(400)
        each.fixed_.flags.writeable = False
        each.text_ = "x" * 100_000
    expected = pickle.loads(pickle.dumps(made, protocol=5))
    shardpickle.dump(made, tmp_path / "model")
    loaded = shardpickle.load(tmp_path / "model")
    assert_same(loaded, expected)
    loaded[0].table_["a"] = 7
    loaded[0].table_.dtype.names = ("p", "q")
    assert_same(loaded[1:], expected[1:])


def test_parts_that_look_alike_are_not_compared_with_each_other(tmp_path, monkeypatch):
    """Arrays that differ in their first number only: as many digests as parts, not pairs."""
    count = 200
    made = [scaler(1.0) for _ in range(count)]
    for number, each in enumerate(made):
        each.mean_[0] = number // 2
    calls = []
    plain = shardpickle.format.contents.Contents.digest
    monkeypatch.setattr(
        "shardpickle.format.contents.Contents.digest", lambda self: calls.append(1) or plain(self)
    )
    monkeypatch.setattr(
        "shardpickle.format.contents.Contents.differences",
        lambda self, other: pytest.fail("compared"),
    )
    parts, _ = dump.split_model(made, "full")
    dumper = dump.Dumper(packed.MemoryStore(), parts, 1 << 25, 3, "full")
    assert len(calls) <= count
    assert len(set(dumper.twins)) == count // 2 + 1
