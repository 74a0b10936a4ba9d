"""The shape of binary trees numbered in preorder, from their leaf flags. NumPy only."""

from collections.abc import Iterator
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


class Shape:
    """Children, depths, and the inner nodes of every level, of one tree or of several in a row.

    Parameters
    ----------
    leaf : ndarray of bool
        Whether each node is a leaf: a node, its left subtree, its right one; then the next tree.
    sizes : sequence of int
        The nodes of each tree.

    Raises
    ------
    ValueError
        If a tree does not close exactly at its last node.
    """

    def __init__(self, leaf: Array, sizes: Array) -> None:
        n = len(leaf)
        roots = np.cumsum(sizes) - sizes
        # Nodes still to come in the tree, minus the number of trees before it.
        open_nodes = np.concatenate([[0], np.cumsum(np.where(leaf, -1, 1))])
        trees_before = np.repeat(np.arange(len(sizes)), sizes)
        closed = np.array_equal(open_nodes[roots + sizes], -1 - np.arange(len(sizes)))
        if not n or (sizes < 1).any() or not closed or (open_nodes[:-1] < -trees_before).any():
            raise ValueError("leaf flags that are no tree's")
        # A right child is the next node with as many open nodes as its parent.
        order = np.argsort(open_nodes[:-1], kind="stable")
        following = np.full(n, -1)
        is_next = open_nodes[order[1:]] == open_nodes[order[:-1]]
        following[order[:-1][is_next]] = order[1:][is_next]
        self.leaf = leaf
        self.leaves = np.flatnonzero(leaf)
        self.inner = np.flatnonzero(~leaf)
        self.upward = self.inner[::-1]
        self.right = np.where(leaf, -1, following)
        self.depths = np.zeros(n, np.int64)
        self.levels: list[Array] = []
        frontier = roots
        while True:
            self.depths[frontier] = len(self.levels)
            parents = frontier[~leaf[frontier]]
            if not len(parents):
                break
            self.levels.append(parents)
            frontier = np.concatenate([parents + 1, self.right[parents]])
        self.depth = len(self.levels)

    def bottom_up(self) -> Iterator[tuple[Array, Array, Array]]:
        """Yield parents, left and right children, the deepest first."""
        for parents in reversed(self.levels):
            yield parents, parents + 1, self.right[parents]

    def sum_up(self, items: Array) -> None:
        """Make every parent the sum of its children."""
        for parents, left, right in self.bottom_up():
            items[parents] = items[left] + items[right]
