"""Shapes and numbers that trees of any kind are made of."""

import os
import struct

import numpy as np
from hypothesis import strategies as st

from shardpickle.codecs import _tree_cython, _tree_numpy

TREES = int(os.environ.get("SHARDPICKLE_TREES", "200"))  # more in the long run
LOOPS = (_tree_cython, _tree_numpy)
BITS = (
    *(0, 1 << 63, 0x3FF0000000000000, 0xBFF0000000000000, 0x7FF0000000000000, 0xFFF0000000000000),
    *(0x7FF8000000000000, 0xFFF8000000000000, 0x7FF00000DEADBEEF, 0x7FFFFFFFFFFFFFFF),  # NaNs
    *(1, 0x8000000000000001, 0x000FFFFFFFFFFFFF, 0x0010000000000000, 0x7FEFFFFFFFFFFFFF),
    *(struct.unpack("<Q", struct.pack("<d", x))[0] for x in (0.5, 0.1, 1 / 3, -2.0, 3.0, 254.0)),
    *(struct.unpack("<Q", struct.pack("<d", 2.0**53 + x))[0] for x in (-1.0, 0.0, 2.0)),
)
INTEGERS = (
    *(0, 1, 2, 3, 254, 255, 256, -1, -2, 1 << 31, 1 << 32),
    *((1 << 53) - 1, 1 << 53, (1 << 53) + 1, 1 << 62, (1 << 63) - 1, -(1 << 63), -(1 << 53)),
)
numbers = st.one_of(
    st.sampled_from(BITS),
    st.floats().map(lambda x: struct.unpack("<Q", struct.pack("<d", x))[0]),
    st.integers(0, (1 << 64) - 1),
)
integers = st.one_of(st.sampled_from(INTEGERS), st.integers(-(1 << 63), (1 << 63) - 1))


def leaf_flags(splits, rng):
    """Whether each node is a leaf, in preorder, of a random tree with so many splits."""
    leaf, open_nodes = [], 1
    while open_nodes:
        is_leaf = not splits or (open_nodes > 1 and rng.random() < 0.5)
        leaf.append(is_leaf)
        open_nodes += -1 if is_leaf else 1
        splits -= not is_leaf
    return np.array(leaf)


def children(leaf):
    left, right, owners = np.full(len(leaf), -1), np.full(len(leaf), -1), []
    for p in range(len(leaf)):
        if not leaf[p]:
            left[p] = p + 1
            owners.append(p)
        elif owners:
            right[owners.pop()] = p + 1
    return left, right
