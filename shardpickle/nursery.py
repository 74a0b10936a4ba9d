"""Where the memory of trees comes from while a shard is read. Knows no bytes and no paths.

Loading fills scikit-learn's own trees in place; reading back and verifying need each tree for a
moment only, so every thread has memory for one.
"""

import threading
from typing import Any

import numpy as np

from shardpickle import families
from shardpickle.codecs import trees
from shardpickle.codecs.streams import NODE
from shardpickle.codecs.trees import Head
from shardpickle.contents import Contents
from shardpickle.values import Array


class Growing:
    """Makes the trees of a shard; each takes its head's place in the contents when it is filled."""

    def __init__(self, held: Contents, grower: families.Grower) -> None:
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


class Comparing(Passing):
    """Compares every tree with the one that was written."""

    def __init__(self, written: Contents) -> None:
        super().__init__()
        self._written = written
        self.differing: list[str] = []

    def done(self, part: int, place: int, derived: bool) -> None:
        if not trees.same(self._written.pieces[part][place], *self.last()):
            self.differing.append(f"tree {part}")
