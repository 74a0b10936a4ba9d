"""Arrays, strings and other values that models hold."""

import pickle
import struct
import warnings

import numpy as np
import scipy.sparse
from numpy.lib.recfunctions import repack_fields

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

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # NumPy 2.5 deprecates dates without a unit; models hold them
    UNITLESS = np.datetime64("NaT")

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
    "more scalars": [UNITLESS, np.complex64(1j), structured(NODE, (1,))[0], NANS[1]],
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
