"""A tree's arrays: nodes and values, their shapes and sizes."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from shardpickle.codecs import _backend
from shardpickle.codecs.tree_streams import (
    NODE,
)

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class Head:
    """A tree's sizes: everything about it besides its arrays."""

    nodes: int
    depth: int
    features: int
    classes: tuple[int, ...]  # of each output; 1 for regression

    @property
    def width(self) -> int:
        """Values of a node: outputs times the largest number of classes of an output."""
        return len(self.classes) * max(self.classes, default=0)

    @property
    def nbytes(self) -> int:
        return self.nodes * (NODE.itemsize + 8 * self.width)

    @property
    def shape(self) -> tuple[int, ...]:
        """The numbers that a shard stores."""
        return (self.nodes, self.depth, self.features, *self.classes)

    @classmethod
    def of_shape(cls, shape: Sequence[int]) -> "Head":
        nodes, depth, features, *classes = shape
        return cls(nodes, depth, features, tuple(classes))

    def numbers(self) -> Array:
        """The array that kernel and reference read."""
        outputs = len(self.classes)
        most = max(self.classes, default=0)
        return np.array([self.nodes, self.depth, self.features, outputs, most], np.int64)


@dataclass(slots=True)
class Tree:
    """A tree's head, its nodes (`NODE`, contiguous) and values (float64, a row for each node)."""

    head: Head
    nodes: Array
    values: Array

    @property
    def nbytes(self) -> int:
        return self.head.nbytes

    @property
    def memory(self) -> tuple[Array, Array]:
        """Nodes as bytes, values flat: the same memory."""
        return self.nodes.view(np.uint8).reshape(-1), self.values.reshape(-1)


def same(tree: Tree, nodes: Array, values: Array) -> bool:
    """Whether a tree's arrays equal these nodes (as bytes) and values (flat), bit for bit."""
    own_nodes, own_values = tree.memory
    equal: bool = _backend.loops.equal(own_nodes, nodes)
    return equal and bool(np.array_equal(own_values.view(np.uint64), values.view(np.uint64)))


def digest(head: Head, nodes: Array, values: Array) -> bytes:
    """The SHA-256 of a tree's nodes (as bytes) and values (flat), without padding."""
    hasher = hashlib.sha256(repr(head).encode())
    fields = nodes.view(NODE)
    for name in sorted(set(NODE.names or ()) - {"padding"}):  # not data
        hasher.update(fields[name].tobytes())
    hasher.update(values.tobytes())
    return hasher.digest()


def dropped(tree: Tree) -> Tree:
    """Copy a tree without what prediction does not need.

    NaN replaces impurities, weights and values of inner nodes; -1 replaces sample counts.
    """
    copy = Tree(tree.head, tree.nodes.copy(), tree.values.copy())
    _backend.loops.dropped(*copy.memory, tree.head.width)
    return copy
