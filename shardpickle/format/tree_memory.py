"""Where the memory of trees comes from while a shard is read. Knows no bytes and no paths.

Loading fills scikit-learn's own trees in place; reading back and verifying need each tree for a
moment only, so every thread has memory for one.
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
    """Makes the trees of a shard; each takes its head's place in the contents when it is filled."""

    def __init__(self, held: Contents, grower: classes.Grower) -> None:
        self._held = held
        self._grower = grower
        self._young: dict[tuple[int, int], Any] = {}

    def take(self, part: int, place: int, head: Head) -> tuple[Array, Array]:
        tree, nodes, values = self._grower.grow(head)
        self._young[part, place] = tree
        return nodes, values

    def done(self, part: int, place: int, derived: bool) -> None:
        tree = self._held.pieces[part][place] = self._young.pop((part, place))
        if not derived:
            self._grower.odd.append(tree)


class Passing:
    """Memory for one tree in each thread, used again for the next."""

    def __init__(self) -> None:
        self._of_thread = threading.local()

    def take(self, part: int, place: int, head: Head) -> tuple[Array, Array]:
        here = self._of_thread.__dict__
        sizes = {"nodes": head.nodes * NODE.itemsize, "values": head.nodes * head.width * 8}
        for name, size in sizes.items():
            if len(here.get(name, ())) < size:
                here[name] = np.empty(size, np.uint8)
        here["last"] = (
            here["nodes"][: sizes["nodes"]],
            here["values"][: sizes["values"]].view(np.float64),
        )
        last: tuple[Array, Array] = here["last"]
        return last

    def done(self, part: int, place: int, derived: bool) -> None:
        return None

    def last(self) -> tuple[Array, Array]:
        found: tuple[Array, Array] = self._of_thread.last
        return found


class Hollow(Passing):
    """Leaves a tree without nodes in the place of each; `check` sees nodes that may be unsound."""

    def __init__(self, held: Contents, check: Callable[[Array, Head], None]) -> None:
        super().__init__()
        self._held = held
        self._check = check

    def done(self, part: int, place: int, derived: bool) -> None:
        head = self._held.pieces[part][place]
        if not derived:
            self._check(self.last()[0], head)
        self._held.pieces[part][place] = classes.hollow(head)


class Comparing(Passing):
    """Compares every tree with the one that was written."""

    def __init__(self, written: Contents) -> None:
        super().__init__()
        self._written = written
        self.differing: list[str] = []
        self.odd: list[tree_arrays.Tree] = []  # whose columns do not make sure that they are trees

    def done(self, part: int, place: int, derived: bool) -> None:
        if not derived:
            self.odd.append(self._written.pieces[part][place])
        if not tree_arrays.same(self._written.pieces[part][place], *self.last()):
            self.differing.append(f"tree {part}")
