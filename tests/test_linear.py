"""Work in proportion to a model: counted in calls and bytes, not in seconds."""

import dataclasses
import hashlib
import json
import struct
import sys
import zipfile
from collections import Counter

import numpy as np
import pytest
from estimators import LABELS, X
from sklearn.base import BaseEstimator
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

import shardpickle
from shardpickle.format import contents, manifest
from shardpickle.format import shard as sealing
from shardpickle.format.entries import Manifest, PartEntry, ShardEntry
from shardpickle.io import open_model
from shardpickle.pickling import machine
from shardpickle.storage import packed

SEED = {"random_state": 0}


class Linked(BaseEstimator):
    def __init__(self, below=None, value=0):
        self.below = below
        self.value = value


class Both(BaseEstimator):
    def __init__(self, left=None, right=None, value=0):
        self.left = left
        self.right = right
        self.value = value


@pytest.fixture
def work(monkeypatch):
    """How often each shard was opened, and how many columns of which were decoded."""
    found = Counter()

    def counted(module, name):
        plain = getattr(module, name)

        def call(*args, **kwargs):
            found[name] += 1
            return plain(*args, **kwargs)

        monkeypatch.setattr(module, name, call)

    counted(sealing, "fill")
    counted(sealing, "read_index")
    counted(sealing, "open_contents")
    return found


# Names --------------------------------------------------------------------------------------------


class Listed(tuple):
    """A list of names that counts how often it is gone through or hashed as a whole."""

    walks = 0

    def __iter__(self):
        type(self).walks += 1
        return super().__iter__()

    def __hash__(self):
        type(self).walks += 1
        return super().__hash__()

    def index(self, *args):
        raise AssertionError("a search for one name")


def many_names(count, parts):
    """A manifest whose parts use all of many names."""
    names = Listed(("m", f"C{number}") for number in range(count))
    used = Listed(range(count))
    entries = [PartEntry("m.C0", 0, slot, 1, used, ()) for slot in range(parts)]
    shards = (ShardEntry("0" * 64, 1 << 20, 1 << 20, parts),)
    return Manifest("0", "full", {}, {}, names, tuple(entries), shards)


def test_names_that_are_not_trusted_are_told_in_one_pass():
    found = many_names(2000, 500)
    Listed.walks = 0
    told = open_model.find_first_uses(found, list(tuple.__iter__(found.names)))
    assert len(told) == 2000
    assert set(told.values()) == {f"part 0 (m.C0, shards/{'0' * 64}.shard)"}
    assert Listed.walks <= 4


def test_the_first_part_that_uses_a_name_is_told():
    entries = [
        PartEntry("m.A", 0, 0, 1, (2,), ()),
        PartEntry("m.B", 0, 1, 1, (0, 2), ()),
        PartEntry("m.C", 1, 0, 1, (0, 1), ()),
    ]
    shards = tuple(ShardEntry(digit * 64, 9, 9, 2) for digit in "ab")
    names = (("m", "x"), ("m", "y"), ("m", "z"), ("m", "none"))
    found = Manifest("0", "full", {}, {}, names, tuple(entries), shards)
    told = open_model.find_first_uses(found, [names[0], names[1], names[2], names[3]])
    files = [f"shards/{digit * 64}.shard" for digit in "ab"]
    assert told == {
        "m.x": f"part 1 (m.B, {files[0]})",
        "m.y": f"part 2 (m.C, {files[1]})",
        "m.z": f"part 0 (m.A, {files[0]})",
        "m.none": "no part",
    }


def test_like_runs_share_one_list_of_names():
    """So that what is done for a list is done once, however many parts have it."""
    found = many_names(50, 40)
    parts = [dataclasses.replace(part, kind=f"m.C{n}") for n, part in enumerate(found.parts)]
    whole = dataclasses.replace(found, parts=tuple(parts), names=tuple(found.names))
    read = manifest.from_bytes(manifest.to_bytes(whole))
    assert read == whole
    assert len({id(part.names) for part in read.parts}) == 1


def test_a_load_makes_the_names_of_like_parts_once(tmp_path, monkeypatch):
    model = [Linked(value=np.full(3, number)) for number in range(60)]
    shardpickle.dump(model, tmp_path / "model")
    plain = manifest.from_bytes

    def read(data, free=None):
        found = plain(data, free)
        lists = {id(part.names): Listed(part.names) for part in found.parts}
        parts = tuple(
            dataclasses.replace(part, names=lists[id(part.names)]) for part in found.parts
        )
        return dataclasses.replace(found, parts=parts)

    monkeypatch.setattr(manifest, "from_bytes", read)
    for options in ({}, {"lazy": True}):
        Listed.walks = 0
        shardpickle.load(tmp_path / "model", trusted=[Linked], **options)
        assert Listed.walks <= 12
    Listed.walks = 0
    assert shardpickle.verify(tmp_path / "model", deep=True).ok
    assert Listed.walks <= 4


def test_what_follows_from_a_manifest_is_worked_out_once():
    found = many_names(3, 3)
    for name in ("tables", "files", "raw_of"):
        assert getattr(found, name) is getattr(found, name)


# Shards -------------------------------------------------------------------------------------------


def grown(count, **options):
    return RandomForestClassifier(count, **{**SEED, **options}).fit(X, LABELS)


def shards_of(path):
    return len(list((path / "shards").iterdir()))


def test_diff_decodes_each_shard_once(tmp_path, work):
    one, other = ([Linked(scaler(float(n)), v) for n in range(40)] for v in (0, 1))
    for name, model in (("one", one), ("other", other)):
        shardpickle.dump(model, tmp_path / name, shard_size="8kB")
    work.clear()
    found = shardpickle.diff(tmp_path / "one", tmp_path / "other", workers=1)
    assert len(found.changes) == 40
    shards = shards_of(tmp_path / "one") + shards_of(tmp_path / "other")
    assert shards > 8
    assert work["fill"] <= shards
    assert work["read_index"] <= 2 * shards


def scaler(fill):
    made = StandardScaler()
    made.mean_ = np.full(50, fill)
    return made


def test_verify_reads_the_skeletons_of_what_is_not_damaged_once(tmp_path, work):
    model = [Linked(scaler(float(n)), n) for n in range(60)]
    shardpickle.dump(model, tmp_path / "model", shard_size="8kB")
    found = manifest.from_bytes((tmp_path / "model" / "manifest.json").read_bytes())
    damaged = {part.shard for part in found.parts if part.kind.endswith(".StandardScaler")}
    held = {part.shard for part in found.parts if part.kind.endswith(".Linked")}
    damaged -= held
    assert len(damaged) > 2
    for number in damaged:
        file = tmp_path / "model" / found.shards[number].file
        file.write_bytes(b"\0" + file.read_bytes()[1:])
    work.clear()
    report = shardpickle.verify(tmp_path / "model")
    assert len(report.problems) == len(damaged)
    told = [line for each in report.problems for line in each.estimators]
    lost = sum(part.shard in damaged for part in found.parts)
    assert told.count("below of Linked") == lost
    sound = len(found.shards) - len(damaged)
    assert work["fill"] == 0
    assert work["read_index"] <= 2 * sound + len(damaged)


def test_deep_verify_runs_a_skeleton_once_for_all_parts_that_share_it(tmp_path, monkeypatch):
    shardpickle.dump([scaler(float(n)) for n in range(200)], tmp_path / "model")
    calls = Counter()
    plain = machine.run
    monkeypatch.setattr(machine, "run", lambda *a: calls.update(run=1) or plain(*a))
    assert shardpickle.verify(tmp_path / "model", deep=True).ok
    assert calls["run"] <= 3 + 201  # listed once; made once for each part, as a load does


def test_deep_verify_checks_every_part_of_a_skeleton(tmp_path):
    """Parts that share a skeleton, but not what it may refer to."""
    model = [Linked(scaler(float(n)), 0) for n in range(9)]
    shardpickle.dump(model, tmp_path / "model")
    path = tmp_path / "model" / "manifest.json"
    found = manifest.from_bytes(path.read_bytes())
    linked = [n for n, part in enumerate(found.parts) if part.kind.endswith(".Linked")]
    for change in ({"references": ()}, {"names": ()}, {"objects": 2}):
        parts = list(found.parts)
        parts[linked[5]] = dataclasses.replace(parts[linked[5]], **change)
        path.write_bytes(manifest.to_bytes(dataclasses.replace(found, parts=tuple(parts))))
        assert not shardpickle.verify(tmp_path / "model", deep=True).ok
    path.write_bytes(manifest.to_bytes(found))
    assert shardpickle.verify(tmp_path / "model", deep=True).ok


def test_many_tables_in_one_shard_are_read_at_once(tmp_path, work):
    """No writer of ours makes this, but a manifest can say it."""
    shardpickle.dump([np.arange(3, dtype="<i8"), 1], tmp_path / "model")
    from_disk = manifest.from_bytes((tmp_path / "model" / "manifest.json").read_bytes())
    held = [
        (b"\x80\x05K\x00.", [shardpickle.pickling.values.Value("ndarray", each) for each in arrays])
        for arrays in [
            [np.zeros(1, "<i8"), np.zeros(0, "<u8"), np.arange(n, n + 5, dtype="<u8")]
            for n in range(40)
        ]
    ]
    shard = contents.of_parts(held)
    data = bytearray()
    sealing.encode(
        shard,
        level=3,
        map_parallel=lambda f, xs: [f(x) for x in xs],
        batch=1,
        write=data.extend,
        advance=sealing.ignore,
    )
    sha256 = hashlib.sha256(data).hexdigest()
    (tmp_path / "model" / "shards" / f"{sha256}.shard").write_bytes(data)
    tables = [PartEntry("numpy.ndarray", 0, slot, 3, (), ()) for slot in range(40)]
    entries = (
        ShardEntry(sha256, len(data), shard.nbytes, 40),
        *(dataclasses.replace(from_disk.shards[0], table=n) for n in range(40)),
    )
    parts = (*tables, *(dataclasses.replace(p, shard=1) for p in from_disk.parts))
    forged = dataclasses.replace(from_disk, parts=parts, shards=entries)
    (tmp_path / "model" / "manifest.json").write_bytes(manifest.to_bytes(forged))
    work.clear()
    assert shardpickle.load(tmp_path / "model")[1] == 1
    assert work["fill"] <= 2


def test_columns_of_many_layouts_are_found_in_one_pass(monkeypatch):
    parts = [
        (
            b"",
            [
                shardpickle.pickling.values.Value(
                    "ndarray", np.zeros((1,) * (n % 30), f"V{1 + n // 30}")
                )
            ],
        )
        for n in range(600)
    ]
    held = contents.of_parts(parts)
    assert len(held.sizes.layouts) == 600
    monkeypatch.setattr(np, "flatnonzero", lambda *a: pytest.fail("a pass for each layout"))
    assert [each.members for each in held.groups()] == [[(n, 0)] for n in range(600)]


# Depth --------------------------------------------------------------------------------------------


def chain(depth, value=0, kind="linked"):
    made = scaler(float(value))
    for level in range(depth):
        made = Linked(made, level) if kind == "linked" else Pipeline([("a", made)])
    return made


@pytest.mark.long
@pytest.mark.parametrize("kind", ["linked", "pipeline"])
@pytest.mark.parametrize("depth", [500, 3000])
def test_diff_of_deep_chains(kind, depth, tmp_path):
    assert depth > sys.getrecursionlimit() // 3
    for name, value in (("one", 0), ("same", 0), ("other", 1)):
        model = [chain(depth, value, kind), 1 + (name == "same")]
        shardpickle.dump(model[0], tmp_path / name)
    shardpickle.dump(chain(depth, 0, kind), tmp_path / "small", shard_size="2kB")
    assert not shardpickle.diff(tmp_path / "one", tmp_path / "same")
    assert not shardpickle.diff(tmp_path / "one", tmp_path / "small")
    found = shardpickle.diff(tmp_path / "one", tmp_path / "other")
    (change,) = found.changes
    step = "below" if kind == "linked" else "steps[0][1]"
    assert change.path == ".".join([step] * depth)


def lattice(levels, value):
    """Each level refers to the one below twice: 2**levels ways down."""
    made = scaler(float(value))
    for level in range(levels):
        made = Both(Linked(made, level), Linked(made, -level), level)
    return made


def test_diff_compares_what_is_shared_once(tmp_path, monkeypatch):
    shardpickle.dump(lattice(40, 0), tmp_path / "one")
    shardpickle.dump(lattice(40, 1), tmp_path / "other")
    shardpickle.dump(lattice(40, 0), tmp_path / "small", shard_size="2kB")
    assert not shardpickle.diff(tmp_path / "one", tmp_path / "small")
    calls = Counter()
    plain = shardpickle.pickling.outline.members
    monkeypatch.setattr(
        shardpickle.pickling.outline, "members", lambda steps: calls.update(made=1) or plain(steps)
    )
    (change,) = shardpickle.diff(tmp_path / "one", tmp_path / "other").changes
    assert change.path.startswith("left.below.left.below.")
    assert calls["made"] <= 2 * (3 * 40 + 1)


# Packed files -------------------------------------------------------------------------------------


def overlapping(data, copies):
    """A zip whose directory lists its first shard under many names."""
    end = data.rfind(b"PK\x05\x06")
    count, size, offset = struct.unpack("<HII", data[end + 10 : end + 20])
    entries = data[offset : offset + size]
    at = entries.index(b"PK\x01\x02", 4)
    length = struct.unpack("<H", entries[at + 28 : at + 30])[0]
    entry = entries[at : at + 46 + length]
    more = b"".join(entry[:46] + f"shards/{number:064x}.shard".encode() for number in range(copies))
    total = count + copies
    tail = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, total, total, size + len(more), offset, 0)
    return data[:offset] + entries + more + tail


def test_files_of_a_packed_model_do_not_overlap(tmp_path, monkeypatch):
    data = shardpickle.dumps(np.random.default_rng(0).random(20_000))
    bomb = overlapping(data, 500)
    assert len(bomb) < 2 * len(data)
    (tmp_path / "bomb.shpk").write_bytes(bomb)
    with zipfile.ZipFile(tmp_path / "bomb.shpk") as file:
        assert sum(each.file_size for each in file.infolist()) > 100 * len(bomb)
    for read in (
        lambda: shardpickle.loads(bomb),
        lambda: shardpickle.load(tmp_path / "bomb.shpk"),
        lambda: shardpickle.inspect(tmp_path / "bomb.shpk"),
        lambda: shardpickle.unpack(tmp_path / "bomb.shpk", tmp_path / "out"),
    ):
        with pytest.raises(shardpickle.CorruptModelError, match="overlaps"):
            read()


def test_a_file_of_a_packed_model_ends_before_the_directory():
    data = bytearray(shardpickle.dumps([1, 2, 3]))
    at = data.rfind(b"PK\x01\x02")  # the last shard's entry
    for place in (20, 24):  # compressed and plain size
        size = struct.unpack("<I", data[at + place : at + place + 4])[0]
        data[at + place : at + place + 4] = struct.pack("<I", size + 30)
    with pytest.raises(shardpickle.CorruptModelError, match="past the end"):
        shardpickle.loads(bytes(data))


def test_what_is_in_memory_is_no_more_than_the_file():
    data = shardpickle.dumps(grown(10), shard_size="9kB")
    store = packed.from_bytes(data)
    assert sum(map(len, store.shards.values())) + len(store.manifest) < len(data)
    assert json.loads(store.manifest)["format"] == "shardpickle"


# Lazy models --------------------------------------------------------------------------------------


def test_a_dump_of_a_lazy_model_asks_for_versions_once(tmp_path, monkeypatch):
    shardpickle.dump(grown(40), tmp_path / "model", shard_size="9kB")
    lazy = shardpickle.load(tmp_path / "model", lazy=True)
    calls = []
    plain = shardpickle._util.versions.describe
    monkeypatch.setattr(
        shardpickle._util.versions, "describe", lambda modules: calls.append(1) or plain(modules)
    )
    shardpickle.dump(lazy, tmp_path / "again", shard_size="9kB")
    assert len(calls) <= 3
