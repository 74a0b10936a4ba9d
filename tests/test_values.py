"""Arrays and strings that leave skeletons, and kin that stay: everything as pickle gives it."""

import pickle
import warnings

import numpy as np
import pytest
from graphs import assert_same, loaded_as_pickle
from value_cases import CASES, NODE, RNG

import shardpickle


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("frame_bytes", [1 << 22, 64])
def test_round_trip(case, frame_bytes, tmp_path, monkeypatch):
    monkeypatch.setattr("shardpickle.codecs.frames.FRAME_BYTES", frame_bytes)
    model = {"first": CASES[case], "again": CASES[case]}
    reference = pickle.loads(pickle.dumps(model, protocol=5))
    shardpickle.dump(model, tmp_path / "model")
    loaded = loaded_as_pickle(tmp_path / "model")
    assert_same(loaded, reference)
    assert shardpickle.verify(tmp_path / "model", deep=True)


def test_no_reconstructor_of_arrays_is_named(tmp_path):
    kinds = ("C order", "scalars", "dtypes", "structured, nested", "masked")
    shardpickle.dump([CASES[kind] for kind in kinds], tmp_path / "model")
    # numpy 2 says numpy.ma.MaskedArray, numpy 1.26 numpy.ma.core.MaskedArray
    (name,) = shardpickle.inspect(tmp_path / "model").names
    assert name in ("numpy.ma.MaskedArray", "numpy.ma.core.MaskedArray")


def test_memory_map(tmp_path):
    mapped = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", "<f8", (50, 3))
    mapped[:] = RNG.random((50, 3))
    model = {"X": mapped, "part": mapped[::2]}
    reference = pickle.loads(pickle.dumps(model, protocol=5))
    shardpickle.dump(model, tmp_path / "model")
    assert_same(loaded_as_pickle(tmp_path / "model"), reference)


def test_padding_is_not_data(tmp_path):
    clean, dirty = np.zeros(50, NODE), np.zeros(50, NODE)
    dirty.view(np.uint8).reshape(50, 24)[:, 1:8] = 0xAA
    dirty.view(np.uint8).reshape(50, 24)[:, 16:] = 0xAA
    first = shardpickle.dump(clean, tmp_path / "clean")
    second = shardpickle.dump(dirty, tmp_path / "dirty")
    assert first.digest == second.digest
    assert not loaded_as_pickle(tmp_path / "dirty").view(np.uint8).any()


def test_one_large_array_is_cut_into_frames(tmp_path):
    large = RNG.random(2_000_000)  # 16 MB: four frames of one part, which no shard size cuts
    shardpickle.dump(large, tmp_path / "model", workers=2, shard_size="1MB")
    assert shardpickle.inspect(tmp_path / "model").shards == 1
    assert_same(loaded_as_pickle(tmp_path / "model", workers=2), large)


@pytest.mark.long
def test_a_long_skeleton_stays_as_it_was_pickled(tmp_path):
    vocabulary = {f"word{number}": number for number in range(120_000)}
    shardpickle.dump(vocabulary, tmp_path / "model")
    assert loaded_as_pickle(tmp_path / "model") == vocabulary


@pytest.mark.skipif(not hasattr(np.dtypes, "StringDType"), reason="numpy 1.26 has no StringDType")
def test_unknown_arrays_stay_in_band(tmp_path):
    texts = np.array(["a", "longer than before"], np.dtypes.StringDType())
    shardpickle.dump(texts, tmp_path / "model")
    loaded = loaded_as_pickle(tmp_path / "model")
    assert loaded.dtype == texts.dtype
    assert loaded.tolist() == texts.tolist()


def test_renaming_the_fields_of_a_loaded_array_changes_nothing_else(tmp_path):
    model = [np.zeros(2, [("a", "i4"), ("b", "i4")]), np.ones(2, [("a", "i4"), ("b", "i4")])]
    shardpickle.dump(model, tmp_path / "model")
    loaded = loaded_as_pickle(tmp_path / "model")
    loaded[0].dtype.names = ("p", "q")
    assert loaded[1].dtype.names == ("a", "b")
    assert_same(loaded_as_pickle(tmp_path / "model"), pickle.loads(pickle.dumps(model, protocol=5)))
    shardpickle.dump(model, tmp_path / "again")


def test_dtypes_that_compare_equal_are_not_taken_for_each_other(tmp_path):
    aligned = np.dtype([("a", "i1"), ("b", "i1")], align=True)
    plain = np.dtype([("a", "i1"), ("b", "i1")])
    noted = np.dtype("i8", metadata={"a": 1})
    assert aligned == plain
    shardpickle.dump([plain, np.dtype("i8"), np.zeros(3, plain)], tmp_path / "first")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's, on pickling metadata
        shardpickle.dump([aligned, noted, np.rec.array(np.zeros(3, plain))], tmp_path / "second")
        loaded = loaded_as_pickle(tmp_path / "second")
    assert loaded[0].isalignedstruct
    assert loaded[1].metadata == {"a": 1}
    assert loaded[2].dtype.type is np.record


def test_what_was_dumped_before_does_not_change_the_bytes(tmp_path):
    first = shardpickle.dump(np.arange(5), tmp_path / "first")
    shardpickle.dump(np.zeros(2, np.longlong), tmp_path / "other")
    assert shardpickle.dump(np.arange(5), tmp_path / "second").digest == first.digest


def test_a_buffer_that_stands_twice_is_one(tmp_path):
    class Held:
        def __reduce__(self):
            return list, ([self.buffer, self.buffer],)

    model = Held()
    model.buffer = pickle.PickleBuffer(bytearray(b"ab" * 50_000))
    shardpickle.dump(model, tmp_path / "model")
    first, second = loaded_as_pickle(tmp_path / "model")
    assert first is second
    assert type(first) is bytearray


def test_masked_arrays_with_one_mask_have_masks_of_their_own(tmp_path):
    mask = np.array([False, False])
    model = [np.ma.masked_array([1, 2], mask, shrink=False) for _ in range(2)]
    shardpickle.dump(model, tmp_path / "model")
    loaded = loaded_as_pickle(tmp_path / "model")
    loaded[0][0] = np.ma.masked
    assert loaded[1].mask.tolist() == [False, False]
