"""Names and rules of a tree's columns, shared by kernel and reference.

Knows no bytes; `docs/format.md` lists the content of each stream under each rule.
"""

from dataclasses import dataclass
from enum import IntFlag

import numpy as np


class Rule(IntFlag):
    """Facts that the encoder verified for one tree, so that values need not be stored."""

    PERMUTED = 1  # not numbered in preorder: the numbers are stored
    RAW = 2  # not a tree, or without scikit-learn's marks: every field is stored as it is
    SAMPLES = 4  # n_node_samples: parents are sums
    WEIGHT_EQUAL = 8  # weighted_n_node_samples is n_node_samples
    WEIGHT_WHOLE = 16  # … is whole, parents are sums
    COUNTS = 32  # value: whole counts over the weight, parents are sums
    WHOLE_SUMS = 64  # value: whole sums over the weight, parents are sums
    MEANS = 128  # value: inner ones as differences from their children's weighted mean
    STEPS = 256  # value: each as the difference from the one before it in its row
    GINI = 512  # impurity: from the counts
    SQUARES = 1024  # impurity: whole sums of squares over the weight, less the mean's square
    SPREAD = 2048  # impurity: the difference from the children's, in last places
    MISSING = 4096  # missing_go_to_left: to the side with more samples
    INFERENCE = 8192  # values that prediction does not need were dropped
    HAZARD = 16384  # value: cumulative hazard and survival, from events and numbers at risk


@dataclass(frozen=True, slots=True)
class Stream:
    """A column: its name, the bytes of an item, and the field of the tree it belongs to."""

    name: str
    width: int
    field: str


STREAMS = (
    Stream("leaves", 1, "structure"),
    Stream("order", 8, "structure"),
    Stream("feature", 1, "feature"),
    Stream("feature, large", 8, "feature"),
    Stream("threshold", 8, "threshold"),
    Stream("threshold, rank", 4, "threshold"),
    Stream("missing", 1, "missing_go_to_left"),
    Stream("samples", 1, "n_node_samples"),
    Stream("samples, large", 8, "n_node_samples"),
    Stream("weight", 1, "weighted_n_node_samples"),
    Stream("weight, large", 8, "weighted_n_node_samples"),
    Stream("weight, plain", 8, "weighted_n_node_samples"),
    Stream("class", 1, "value"),
    Stream("class, large", 8, "value"),
    Stream("counts", 1, "value"),
    Stream("counts, large", 8, "value"),
    Stream("value", 8, "value"),
    Stream("value, rank", 4, "value"),
    Stream("value, residual", 1, "value"),
    Stream("value, residual, large", 8, "value"),
    Stream("impurity", 8, "impurity"),
    Stream("impurity of leaves", 1, "impurity"),
    Stream("impurity of leaves, large", 8, "impurity"),
    Stream("impurity of inner nodes", 1, "impurity"),
    Stream("impurity of inner nodes, large", 8, "impurity"),
    Stream("raw", 8, "raw"),
)
COUNT = len(STREAMS)
INDEX = {stream.name: number for number, stream in enumerate(STREAMS)}
SORTED_FEATURES = 4096  # up to this many features, thresholds are ordered by feature

NODE = np.dtype(
    [
        ("left_child", "<i8"),
        ("right_child", "<i8"),
        ("feature", "<i8"),
        ("threshold", "<f8"),
        ("impurity", "<f8"),
        ("n_node_samples", "<i8"),
        ("weighted_n_node_samples", "<f8"),
        ("missing_go_to_left", "u1"),
        ("padding", "V7"),
    ]
)

SPLIT = np.dtype(  # a node of histogram boosting
    [
        ("value", "<f8"),
        ("count", "<u4"),
        ("feature_idx", "<i8"),
        ("num_threshold", "<f8"),
        ("missing_go_to_left", "u1"),
        ("left", "<u4"),
        ("right", "<u4"),
        ("gain", "<f8"),
        ("depth", "<u4"),
        ("is_leaf", "u1"),
        ("bin_threshold", "u1"),
        ("is_categorical", "u1"),
        ("bitset_idx", "<u4"),
    ]
)


def most_bytes(nodes: int, width: int) -> list[int]:
    """The most bytes that each stream of a tree takes; `width`: values of a node."""
    values = nodes * width
    items = {
        "leaves": (nodes + 7) // 8,
        "order": nodes,
        "value": values,
        "value, rank": values,
        "value, residual": values,
        "value, residual, large": values,
        "class": values,
        "class, large": values,
        "counts": values,
        "counts, large": values,
        "raw": 0,
    }
    return [stream.width * items.get(stream.name, nodes) for stream in STREAMS]


def work_items(nodes: int, outputs: int, width: int, features: int) -> int:
    """The int64 items of scratch memory that coding a tree needs."""
    return nodes * (width + 7) + outputs + min(features, SORTED_FEATURES) + 16
