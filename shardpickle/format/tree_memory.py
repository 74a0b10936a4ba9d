"""Supplies memory for trees while a shard is read. Knows no bytes and no paths.

Loading fills scikit-learn's own trees in place. Reading back and verifying need each tree only
briefly, so every thread has memory for one.
"""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from shardpickle.codecs import tree_arrays
from shardpickle.codecs.tree_arrays import Head
from shardpickle.codecs.tree_streams import NODE
from shardpickle.format.contents import Contents
from shardpickle.pickling.values import Array
from shardpickle.sklearn_support import classes


class Growing:
    """Makes the trees of a shard. A filled tree replaces its head in the contents."""

    def __init__(self, contents: Contents, grower: classes.Grower) -> None:
        self._contents = contents
        self._grower = grower
        self._growing: dict[tuple[int, int], Any] = {}

    def take(self, part: int, place: int, head: Head) -> tuple[Array, Array]:
        tree, nodes, values = self._grower.grow(head)
        self._growing[part, place] = tree
        return nodes, values

    def done(self, part: int, place: int, derived: bool) -> None:
        tree = self._contents.pieces[part][place] = self._growing.pop((part, place))
        if not derived:
            self._grower.odd.append(tree)


class Passing:
    """Memory for one tree in each thread, reused for the next."""

    def __init__(self) -> None:
        self._of_thread = threading.local()

    def take(self, part: int, place: int, head: Head) -> tuple[Array, Array]:
        memory = self._of_thread.__dict__
        sizes = {"nodes": head.nodes * NODE.itemsize, "values": head.nodes * head.width * 8}
        for name, size in sizes.items():
            if len(memory.get(name, ())) < size:
                memory[name] = np.empty(size, np.uint8)
        memory["last"] = (
            memory["nodes"][: sizes["nodes"]],
            memory["values"][: sizes["values"]].view(np.float64),
        )
        last: tuple[Array, Array] = memory["last"]
        return last

    def done(self, part: int, place: int, derived: bool) -> None:
        return None

    def last(self) -> tuple[Array, Array]:
        last: tuple[Array, Array] = self._of_thread.last
        return last


class Hollow(Passing):
    """Puts a tree without nodes in place of each; calls `check` on nodes that may be unsound."""

    def __init__(self, contents: Contents, check: Callable[[Array, Head], None]) -> None:
        super().__init__()
        self._contents = contents
        self._check = check

    def done(self, part: int, place: int, derived: bool) -> None:
        head = self._contents.pieces[part][place]
        if not derived:
            self._check(self.last()[0], head)
        self._contents.pieces[part][place] = classes.hollow(head)


class Comparing(Passing):
    """Compares every tree with the one that was written."""

    def __init__(self, written: Contents) -> None:
        super().__init__()
        self._written = written
        self.differing: list[str] = []
        self.odd: list[tree_arrays.Tree] = []  # the columns do not prove that these are trees

    def done(self, part: int, place: int, derived: bool) -> None:
        if not derived:
            self.odd.append(self._written.pieces[part][place])
        if not tree_arrays.same(self._written.pieces[part][place], *self.last()):
            self.differing.append(f"tree {part}")
