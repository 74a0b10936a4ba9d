"""Tables of distinct values that the trees of several shards share."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shardpickle.codecs import floats
from shardpickle.codecs.tree_arrays import Array, Tree
from shardpickle.codecs.tree_streams import (
    SORTED_FEATURES,
)
from shardpickle.errors import CorruptShardError


@dataclass(frozen=True, slots=True)
class Tables:
    """Numbers that repeat, as sorted bit patterns: thresholds of each feature, values of leaves."""

    starts: Array  # int64, features + 1: where the thresholds of each feature start
    thresholds: Array  # uint64
    values: Array  # uint64

    @property
    def arrays(self) -> tuple[Array, Array, Array]:
        return self.starts, self.thresholds, self.values

    def __bool__(self) -> bool:
        return bool(len(self.starts) or len(self.values))


NO_TABLES = Tables(np.zeros(0, np.int64), np.zeros(0, np.uint64), np.zeros(0, np.uint64))


_SAMPLE = 1 << 14


def tables_of(trees: Sequence[Tree]) -> Tables:
    """Find the values that repeat in trees; `NO_TABLES` if tables would not save bytes.

    A rank takes two or three bytes, a number about seven, and an entry of a table as much.
    """
    features = {tree.head.features for tree in trees}
    starts, thresholds = NO_TABLES.starts, NO_TABLES.thresholds
    if len(features) == 1 and 0 < min(features) <= SORTED_FEATURES:
        starts, thresholds = _make_threshold_table(trees, features.pop())
    leaves = [_get_leaf_values(tree) for tree in trees if max(tree.head.classes, default=0) == 1]
    values_of_leaves = np.concatenate([np.zeros(0, np.uint64), *leaves])
    values = np.zeros(0, np.uint64)
    if len(values_of_leaves):
        distinct = np.unique(_to_ordered(values_of_leaves))
        if len(distinct) * 2 <= len(values_of_leaves) and len(distinct) < 1 << 31:
            values = _from_ordered(distinct)
    return Tables(starts, thresholds, values)


def check_tables(tables: Tables) -> Tables:
    """Return the tables; raise an error if a lookup could leave them."""
    starts, size = tables.starts, len(tables.thresholds)
    if len(starts) and (
        starts[0] != 0 or starts[-1] != size or (np.diff(starts) < 0).any() or (starts < 0).any()
    ):
        raise CorruptShardError("a table of thresholds has invalid starts")
    if not len(starts) and size:
        raise CorruptShardError("a table of thresholds without features")
    return tables


def _get_leaf_values(tree: Tree) -> Array:
    leaf = tree.nodes["left_child"] == -1
    rows = tree.values.reshape(tree.head.nodes, -1)
    return np.ascontiguousarray(rows[leaf]).reshape(-1).view(np.uint64)


def _make_threshold_table(trees: Sequence[Tree], features: int) -> tuple[Array, Array]:
    if not _repeat(trees, features):
        return NO_TABLES.starts, NO_TABLES.thresholds
    splits = [_get_splits(tree, features) for tree in trees]
    feature, bits = (np.concatenate(arrays) for arrays in zip(*splits, strict=True))
    order = np.lexsort((bits, feature))
    feature, bits = feature[order], bits[order]
    new = np.ones(len(bits), bool)
    new[1:] = (feature[1:] != feature[:-1]) | (bits[1:] != bits[:-1])
    if int(new.sum()) * 4 > len(bits):
        return NO_TABLES.starts, NO_TABLES.thresholds
    starts = np.searchsorted(feature[new], np.arange(features + 1)).astype(np.int64)
    return starts, _from_ordered(bits[new])


def _get_splits(tree: Tree, features: int) -> tuple[Array, Array]:
    """Return the features and thresholds (as ordered integers) of the inner nodes."""
    inner = (tree.nodes["feature"] >= 0) & (tree.nodes["feature"] < features)
    threshold = np.ascontiguousarray(tree.nodes["threshold"][inner])
    return tree.nodes["feature"][inner], _to_ordered(threshold.view(np.uint64))


def _repeat(trees: Sequence[Tree], features: int) -> bool:
    """Whether thresholds repeat in the first trees; in most models they do not."""
    sample: list[Array] = []
    for tree in trees:
        sample.append(_get_splits(tree, features)[1])
        if sum(map(len, sample)) >= _SAMPLE:
            break
    thresholds = np.concatenate([np.zeros(0, np.int64), *sample])
    return len(np.unique(thresholds)) < 0.9 * len(thresholds)


def _to_ordered(bits: Array) -> Array:
    """Map bits of doubles to integers of the same order."""
    return floats.key(bits).view(np.int64)


def _from_ordered(ordered: Array) -> Array:
    return floats.key(ordered.view(np.uint64))
