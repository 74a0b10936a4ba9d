"""What was hashed is what is decoded: a file that changes meanwhile is never loaded."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

import shardpickle
from shardpickle.storage import base, files

RANDOM = np.random.RandomState(0)


def twins(here):
    """Two models of equal sizes, and the shards of each: one file can take the other's place."""
    models, files = [], []
    for which in "ab":  # bytes that nothing makes smaller
        models.append({"weights": np.frombuffer(RANDOM.bytes(1_000_000), np.uint8)})
        shardpickle.dump(models[-1], here / which)
        files.append(next(iter(Path(here, which, "shards").iterdir())))
    assert files[0].stat().st_size == files[1].stat().st_size
    return here / "a", models, files


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("lazy", [True, False])
def test_a_file_that_changes_at_any_read_is_not_loaded(in_memory, lazy, tmp_path, monkeypatch):
    path, (model, _), (mine, other) = twins(tmp_path)
    digest = shardpickle.inspect(path).digest
    sound, changed = mine.read_bytes(), other.read_bytes()
    if not in_memory:
        monkeypatch.setattr(base, "_IN_MEMORY", 0)
        monkeypatch.setattr(base, "_CHUNK", 4096)
    original = files.ShardReader._read_once
    reads = []

    def load(change_at):
        mine.write_bytes(sound)
        reads.clear()

        def reading(self, offset, size):
            if len(reads) == change_at:
                mine.write_bytes(changed)
            reads.append(offset)
            return original(self, offset, size)

        with monkeypatch.context() as patch:
            patch.setattr(files.ShardReader, "_read_once", reading)
            return shardpickle.load(path, expect=digest, lazy=lazy)

    found = load(None)
    assert np.array_equal(found["weights"], model["weights"])
    many = len(reads)
    assert many == 1 if in_memory else many > 100
    outcomes = set()
    for at in {*range(min(many, 6)), many // 2, many - 1, many}:
        try:
            found = load(at)
        except shardpickle.CorruptModelError:
            outcomes.add("refused")
        else:
            assert np.array_equal(found["weights"], model["weights"])
            outcomes.add("loaded")
    assert outcomes == {"refused", "loaded"}


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 20_000])
def test_ranges_are_those_of_the_file(size, tmp_path, monkeypatch):
    data = RANDOM.bytes(size)
    file = tmp_path / "file"
    file.write_bytes(data)
    monkeypatch.setattr(base, "_CHUNK", 4096)
    for limit in (0, 1 << 20):
        monkeypatch.setattr(base, "_IN_MEMORY", limit)
        with files.ShardReader(file, "file") as shard:
            checked = base.CheckedShard(shard)
            assert checked.sha256 == hashlib.sha256(data).hexdigest()
            for _ in range(50):
                start, length = RANDOM.randint(0, size + 10), RANDOM.randint(0, size + 10)
                assert checked.read_at(start, length) == data[start : start + length]
