"""Arrays and strings that leave skeletons, and kin that stay: everything as pickle gives it."""

import pickle
import struct
import warnings

import numpy as np
import pytest
import scipy.sparse
from graphs import assert_same, loaded_as_pickle
from numpy.lib.recfunctions import repack_fields

import shardpickle

RNG = np.random.default_rng(0)
NODE = np.dtype({"names": ["a", "b"], "formats": ["u1", "<f8"], "offsets": [0, 8], "itemsize": 24})
NESTED = np.dtype(
    [("x", "<i4"), ("y", [("p", ">f4"), ("q", "S3", (2, 2))]), ("z", "?")], align=True
)


def structured(dtype, shape):
    array = np.zeros(shape, dtype)
    for index, _ in np.ndenumerate(array):
        raw = RNG.integers(0, 2, dtype.itemsize, np.uint8)
        array[index] = np.frombuffer(raw.tobytes(), dtype)[0]
    return array


def read_only(array):
    array.flags.writeable = False
    return array


NANS = np.array(
    [0x7FF8000000000001, 0x7FF00000DEADBEEF, 0xFFF8000000000000, 0x8000000000000000], "<u8"
).view("<f8")  # two payloads (one signalling), a negative NaN, and -0.0

CASES = {
    "C order": RNG.random((30, 7)),
    "Fortran order": np.asfortranarray(RNG.random((30, 7))),
    "not contiguous": RNG.random((30, 8))[::3, ::2],
    "transposed 3-d": RNG.random((4, 5, 6)).transpose(1, 0, 2),
    "negative stride": np.arange(10)[::-1],
    "broadcast": np.broadcast_to(np.arange(3.0), (4, 3)),
    "no items": np.zeros((0, 5)),
    "no items, Fortran": np.zeros((5, 0, 3), order="F"),
    "no dimensions": np.array(3.5),
    "items of no bytes": np.zeros(4, "S0"),
    "read-only": read_only(np.arange(5)),
    "NaN payloads and -0.0": NANS,
    "big-endian": np.arange(9, dtype=">i4"),
    "half": RNG.random(9).astype("f2"),
    "long double": np.array([1, np.pi, -0.0], np.longdouble),
    "complex": RNG.random(9) + 1j,
    "bool": RNG.random(9) > 0.5,
    "dates": np.array(["2020-01-01", "NaT"], "M8[ns]"),
    "durations": np.array([1, 2], "m8[25s]"),
    "text": np.array(["ä", "", "longer"]),
    "bytes": np.array([b"ab", b"c\0"]),
    "void": np.zeros(3, "V5"),
    "structured": structured(NODE, (11,)),
    "structured, nested": structured(NESTED, (3, 4)),
    "structured, Fortran": np.asfortranarray(structured(NODE, (3, 4))),
    "structured, not contiguous": structured(NESTED, (6, 4))[::2, ::3],
    "structured, packed": repack_fields(structured(NODE, (5,))),
    "structured, objects": np.array([(1, "a"), (2, None)], [("n", "i4"), ("o", "O")]),
    "titles": np.zeros(3, [(("title", "name"), "i4")]),
    "objects": np.array([1, "two", None, [3]], object),
    "objects, 2-d Fortran": np.asfortranarray(np.array([[1, "b"], [None, 2.5]], object)),
    "masked": np.ma.masked_array(RNG.random(5), [0, 1, 0, 0, 1], fill_value=-1.0),
    "masked, no mask": np.ma.masked_array(np.arange(4)),
    "masked, 2-d objects": np.ma.masked_array(np.array([["a", 2]], object), [[True, False]]),
    "masked constant": np.ma.masked,
    "matrix": np.matrix(RNG.random((3, 2))),
    "records": np.rec.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
    "sparse": scipy.sparse.random(20, 20, 0.2, random_state=0, format="csc"),
    "scalars": [np.float64(-0.0), np.int8(3), np.str_("é"), np.bytes_(b"x"), np.bool_(True)],
    "empty scalars": [np.str_(""), np.bytes_(b""), np.unique(["", "a"])[0]],
    "long scalars": [np.str_("x" * 20_000), np.bytes_(b"y" * 70_000)],
    "other integers": [np.zeros(3, np.longlong), np.longlong(3), np.zeros(3, np.int64)],
    "more scalars": [np.datetime64("NaT"), np.complex64(1j), structured(NODE, (1,))[0], NANS[1]],
    "dtypes": [np.dtype("f4"), NODE, NESTED, np.dtype("O"), np.dtype(("i4", (2, 3)))],
    "long bytes": b"ab" * 50_000,
    "long bytearray": bytearray(b"ab" * 50_000),
    "long text": "aé\udc80" * 50_000,
    "empty ones": [b"", bytearray(), "", (), frozenset(), set(), {}, []],
    "floats": [
        struct.unpack("<d", struct.pack("<Q", 0x7FF800000000BEEF))[0],
        float("-inf"),
        1e-320,
    ],
    "integers": [0, -1, 255, 256, 65536, -(2**31), 2**63, -(10**400)],
    "buffers": pickle.PickleBuffer(b"12345"),
    "names": [np.log1p, len, dict.get, struct.Struct, np.random.default_rng],
    "generators": [np.random.RandomState(0), np.random.default_rng(1), np.random.MT19937(2)],
}


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
