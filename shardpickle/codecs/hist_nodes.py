"""Histogram boosting's nodes to columns and back. Recomputable values are not stored.

Sees arrays only. All trees of a shard are coded at once, level by level. The rules are in
docs/trees.md; their source is scikit-learn's `TreeGrower` (`grower.py`, `splitting.pyx`).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from shardpickle.codecs import _backend
from shardpickle.codecs._tree_numpy import Forest
from shardpickle.codecs.floats import bits_of, residual
from shardpickle.codecs.tree_shape import Shape
from shardpickle.codecs.tree_streams import SPLIT
from shardpickle.errors import CorruptShardError

Array = np.ndarray[Any, np.dtype[Any]]

_OF_SPLITS = (
    *("feature_idx", "num_threshold", "missing_go_to_left"),
    *("bin_threshold", "is_categorical", "bitset_idx"),
)

INFERENCE = 2  # gains and inner values are NaN because they were dropped
RAW = 1  # not a tree in preorder with scikit-learn's marks: records are stored as they are

# Name, bytes of an item, and its field in `inspect`.
COLUMNS = (
    ("rules", 1, "structure"),
    ("shrinkage", 8, "value"),
    ("leaves", 1, "structure"),
    ("count of leaves", 4, "count"),
    ("count", 4, "count"),
    ("feature", 8, "feature_idx"),
    ("bin", 1, "bin_threshold"),
    ("categorical", 1, "is_categorical"),
    ("bitset", 4, "bitset_idx"),
    ("missing", 1, "missing_go_to_left"),
    ("table of thresholds, places", 8, "num_threshold"),
    ("table of thresholds", 8, "num_threshold"),
    ("threshold, known", 1, "num_threshold"),
    ("threshold", 8, "num_threshold"),
    ("value of leaves", 8, "value"),
    ("value", 8, "value"),
    ("gain, none", 1, "gain"),
    ("gain of leaves", 8, "gain"),
    ("gain", 8, "gain"),
    ("raw", 1, "raw"),
)


def fits(dtype: np.dtype[Any]) -> bool:
    """Whether arrays of this dtype are nodes of histogram boosting."""
    if dtype.names != SPLIT.names:
        return False
    return all(dtype[name] == SPLIT[name] for name in SPLIT.names or ())


def encode(pieces: Sequence[Array]) -> list[Array]:
    """Encode trees' nodes (one-dimensional arrays of at least one node) as `COLUMNS`."""
    with np.errstate(all="ignore"):
        rules = np.array([_find_rule(piece) for piece in pieces], np.uint8)
        plain = [piece for piece, rule in zip(pieces, rules, strict=True) if rule != RAW]
        raw = [piece for piece, rule in zip(pieces, rules, strict=True) if rule == RAW]
        known = rules[rules != RAW] != INFERENCE
        columns = _encode(plain, known) if plain else [np.zeros(0, np.uint8)] * (len(COLUMNS) - 2)
        records = [np.ascontiguousarray(_pack(piece)).view(np.uint8) for piece in raw]
        return [rules, *columns, np.concatenate([np.zeros(0, np.uint8), *records])]


def decode(columns: Sequence[Array], pieces: Sequence[Array]) -> None:
    """Fill arrays of nodes from their columns (as bytes).

    Raises
    ------
    CorruptShardError
        If the columns do not describe trees of these sizes.
    """
    rules = columns[0]
    if len(rules) != len(pieces) or (rules > INFERENCE).any():
        raise CorruptShardError("rules for the wrong number of trees")
    plain = [piece for piece, rule in zip(pieces, rules, strict=True) if rule != RAW]
    raw = [piece for piece, rule in zip(pieces, rules, strict=True) if rule == RAW]
    try:
        with np.errstate(all="ignore"):
            _decode(columns[1:-1], plain)
        _decode_raw(columns[-1], raw)
        for piece, rule in zip(pieces, rules, strict=True):
            if rule == INFERENCE:
                _drop(piece)
    except ValueError as error:
        if isinstance(error, CorruptShardError):
            raise
        raise CorruptShardError(f"nodes of histogram boosting: {error}") from None


def dropped(piece: Array) -> Array:
    """Copy nodes without what prediction does not need: gains, and values of inner nodes."""
    copy = piece.copy()
    _drop(copy)
    return copy


def _drop(piece: Array) -> None:
    piece["gain"] = np.nan
    piece["value"][piece["is_leaf"] == 0] = np.nan


def _find_rule(piece: Array) -> int:
    if not _is_plain(piece):
        return RAW
    remainder = dropped(piece)
    is_inference = all(
        (bits_of(remainder[name]) == bits_of(np.ascontiguousarray(piece[name]))).all()
        for name in ("gain", "value")
    )
    return INFERENCE if is_inference else 0


def _pack(piece: Array) -> Array:
    return piece.astype(SPLIT)


def _is_plain(piece: Array) -> bool:
    leaf = piece["is_leaf"] == 1
    try:
        shape = Shape(leaf, np.array([len(piece)]))
    except ValueError:
        return False
    leaves, inner = shape.leaves, shape.inner
    return bool(
        (piece["is_leaf"][inner] == 0).all()
        and (piece["left"] == np.where(leaf, 0, np.arange(1, len(piece) + 1))).all()
        and (piece["right"] == np.where(leaf, 0, shape.right)).all()
        and (piece["depth"] == shape.depths).all()
        and all(
            not piece[name][leaves].view(_make_unsigned(piece[name])).any() for name in _OF_SPLITS
        )
    )


def _make_unsigned(array: Array) -> np.dtype[Any]:
    return np.dtype(f"u{array.itemsize}")


def _encode(pieces: Sequence[Array], known_gains: Array) -> list[Array]:
    nodes = np.concatenate([_pack(piece) for piece in pieces])
    sizes = np.array([len(piece) for piece in pieces])
    shape = Shape(nodes["is_leaf"] == 1, sizes)
    shrinkage = np.array([_find_shrinkage(piece) for piece in pieces])
    forest = Forest(nodes, shape, sizes, shrinkage)
    inner, leaves, left, right = shape.inner, shape.leaves, forest.left, forest.right
    count = nodes["count"]
    places = (nodes["feature_idx"][inner] << 8) | nodes["bin_threshold"][inner]
    thresholds = bits_of(nodes["num_threshold"][inner])
    table, known, table_thresholds = _make_table(places, thresholds)
    of_training = np.repeat(known_gains, sizes)
    no_gain = bits_of(nodes["gain"][leaves]) == bits_of(np.array([-1.0]))
    no_gain |= ~of_training[leaves]
    categorical = nodes["is_categorical"][inner]
    return [
        shrinkage,
        np.packbits(shape.leaf),
        count[leaves],
        count[inner] - (count[left] + count[right]),
        nodes["feature_idx"][inner],
        nodes["bin_threshold"][inner],
        categorical,
        nodes["bitset_idx"][inner] - forest.bitsets(categorical),
        nodes["missing_go_to_left"][inner] ^ forest.majority(),
        table,
        table_thresholds,
        known.astype(np.uint8),
        thresholds[~known],
        nodes["value"][leaves],
        residual(nodes["value"][inner], forest.means(inner, left, right)) * of_training[inner],
        no_gain.astype(np.uint8),
        nodes["gain"][leaves][~no_gain],
        residual(nodes["gain"][inner], forest.gains(inner, left, right)) * of_training[inner],
    ]


def _make_table(places: Array, thresholds: Array) -> tuple[Array, Array, Array]:
    """Make the table: ordered places (feature, bin), splits with their threshold, thresholds."""
    table, first, back = np.unique(places, return_index=True, return_inverse=True)
    of_place = thresholds[first]
    return table, of_place[back.reshape(-1)] == thresholds, of_place


def _find_shrinkage(piece: Array) -> float:
    """Find the learning rate, if leaves are inner nodes' values times a short number; else 1."""
    inner = np.flatnonzero(piece["is_leaf"] == 0)
    n, v = piece["count"].astype(np.float64), piece["value"]
    left, right = piece["left"][inner], piece["right"][inner]
    both = (piece["is_leaf"][left] == 1) & (piece["is_leaf"][right] == 1)
    inner, left, right = inner[both], left[both], right[both]
    if not len(inner):
        return 1.0
    rates = (n[left] * v[left] + n[right] * v[right]) / n[inner] / v[inner]
    rate = float(f"{np.median(rates):.9g}")
    return rate if np.isfinite(rate) and rate != 0.0 else 1.0


def _decode(columns: Sequence[Array], pieces: Sequence[Array]) -> None:
    take = _Taker(columns)
    sizes = np.array([len(piece) for piece in pieces], np.int64)
    total = int(sizes.sum())
    rates = take.next(np.float64, len(pieces))
    leaf = np.unpackbits(take.next(np.uint8, (total + 7) // 8), count=total)
    if not total:
        take.check_end()
        return
    leaves = int(leaf.sum())
    inner = total - leaves
    counts = take.next(np.uint32, leaves), take.next(np.uint32, inner)
    feature, bins = take.next(np.int64, inner), take.next(np.uint8, inner)
    categorical, bitsets = take.next(np.uint8, inner), take.next(np.uint32, inner)
    missing = take.next(np.uint8, inner)
    thresholds = _decode_thresholds((feature << 8) | bins, take)
    values = take.next(np.float64, leaves), take.next(np.uint64, inner)
    no_gain = take.next(np.uint8, leaves) != 0
    gains = np.full(leaves, -1.0)
    gains[~no_gain] = take.next(np.float64, leaves - int(no_gain.sum()))
    splits = feature, bins, categorical, bitsets, missing, thresholds
    nodes = np.zeros(total, SPLIT)
    memory = nodes.view(np.uint8)
    more = take.next(np.uint64, inner)
    _backend.loops.fill_predictors(
        sizes, rates, leaf, *counts, *splits, *values, gains, more, memory
    )
    take.check_end()
    for piece, end in zip(pieces, np.cumsum(sizes).tolist(), strict=True):
        piece[...] = nodes[end - len(piece) : end]


def _decode_thresholds(places: Array, take: "_Taker") -> Array:
    table, of_table = take.next(np.int64), take.next(np.uint64)
    known = take.next(np.uint8, len(places)) != 0
    plain = take.next(np.uint64, len(places) - int(known.sum()))
    positions = np.searchsorted(table, places)
    inside = positions < len(table)
    inside[inside] = table[positions[inside]] == places[inside]
    if len(of_table) != len(table) or not inside[known].all():
        raise ValueError("thresholds that are not in the table")
    thresholds = np.zeros(len(places), np.uint64)
    thresholds[known] = of_table[positions[known]]
    thresholds[~known] = plain
    return thresholds


def _decode_raw(records: Array, pieces: Sequence[Array]) -> None:
    if len(records) != sum(len(piece) for piece in pieces) * SPLIT.itemsize:
        raise ValueError("the wrong number of raw records")
    start = 0
    for piece in pieces:
        stop = start + len(piece) * SPLIT.itemsize
        piece[...] = records[start:stop].view(SPLIT)
        start = stop


class _Taker:
    """Returns columns in order and checks their sizes."""

    def __init__(self, columns: Sequence[Array]) -> None:
        self._columns = iter(columns)

    def next(self, dtype: Any, count: int | None = None) -> Array:
        column: Array = next(self._columns).view(dtype)
        if count is not None and len(column) != count:
            raise ValueError("a column of the wrong length")
        return column

    def check_end(self) -> None:
        if any(len(column) for column in self._columns):
            raise ValueError("its columns have data that no tree reads")
