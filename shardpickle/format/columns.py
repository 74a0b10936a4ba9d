"""Values of one place as columns, by the codec that their spec names; and back.

Knows codecs and layouts; knows no pickle, class, manifest or file. Adding a codec is adding a class
here and a name to `CODECS`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from shardpickle.codecs import arrays, dtypes, hist_nodes, trees
from shardpickle.codecs.arrays import Column, Leaf
from shardpickle.codecs.tree_arrays import Head
from shardpickle.codecs.tree_tables import Tables
from shardpickle.codecs.trees import Each
from shardpickle.errors import CorruptShardError
from shardpickle.pickling.values import Array, Spec


@dataclass(frozen=True, slots=True)
class Labelled:
    """A column, and what `inspect` calls it."""

    label: str
    column: Column


@dataclass(frozen=True, slots=True)
class Group:
    """Values of one meaning: their spec, where they stand (part, place), and their contents."""

    spec: Spec
    members: Sequence[tuple[int, int]]
    pieces: Sequence[Any]


def runs(layout: Sequence[Spec]) -> Iterator[tuple[Spec, range]]:
    """The places of a layout whose values go into the same columns.

    Each place is by itself, but for long runs of equal specs: what an ensemble keeps for each of
    its estimators.
    """
    start = 0
    while start < len(layout):
        stop = start + 1
        while stop < len(layout) and layout[stop] == layout[start]:
            stop += 1
        step = stop - start if stop - start >= _LONG_RUN else 1
        for first in range(start, stop, step):
            yield layout[start], range(first, first + step)
        start = stop


_LONG_RUN = 8


class TreeMemory(Protocol):
    """Where trees' memory comes from while a shard is read, and who is told when it is filled.

    `derived` says that the columns cannot describe anything but one tree over its features.
    """

    def take(self, part: int, place: int, head: Head) -> tuple[Array, Array]: ...
    def done(self, part: int, place: int, derived: bool) -> None: ...


class Codec(Protocol):
    """How the values of a group become columns."""

    def encode(self, group: Group, tables: Tables | None, each: Each) -> list[Labelled]:
        """Columns to be written."""

    def count(self, spec: Spec) -> int:
        """How many columns there are."""

    def room(self, group: Group, sizes: Sequence[int]) -> list[Labelled]:
        """Columns of these bytes, to be filled."""

    def decode(
        self,
        group: Group,
        columns: Sequence[Labelled],
        tables: Tables | None,
        tree_memory: TreeMemory,
        each: Each,
    ) -> None:
        """From filled columns to values, where filling was not all."""


class Arrays:
    """One column for each leaf field of the dtype: a view of the values' own memory."""

    def encode(self, group: Group, tables: Tables | None, each: Each) -> list[Labelled]:
        return self._views(group)

    def count(self, spec: Spec) -> int:
        return len(list(arrays.leaves(dtypes.from_text(spec.dtype))))

    def room(self, group: Group, sizes: Sequence[int]) -> list[Labelled]:
        return self._views(group)

    def decode(
        self,
        group: Group,
        columns: Sequence[Labelled],
        tables: Tables | None,
        tree_memory: TreeMemory,
        each: Each,
    ) -> None:
        return None

    def _views(self, group: Group) -> list[Labelled]:
        columns = [
            Column(group.pieces, leaf) for leaf in arrays.leaves(dtypes.from_text(group.spec.dtype))
        ]
        plain = group.spec.kind in ("ndarray", "memmap")
        return [Labelled(each.leaf.label if plain else group.spec.kind, each) for each in columns]


_WIDTHS = {width: np.dtype(f"<u{width}") for width in (1, 4, 8)}


class Nodes:
    """What does not follow from the rest of nodes: columns of plain numbers, named beforehand."""

    columns: Sequence[tuple[str, int, str]]  # name, bytes of an item, field

    def encode(self, group: Group, tables: Tables | None, each: Each) -> list[Labelled]:
        encoded = self.encode_arrays(group, tables, each)
        return [
            Labelled(field, _column(array.view(np.uint8), width))
            for array, (_, width, field) in zip(encoded, self.columns, strict=True)
        ]

    def encode_arrays(self, group: Group, tables: Tables | None, each: Each) -> list[Array]:
        raise NotImplementedError

    def count(self, spec: Spec) -> int:
        return len(self.columns)

    def room(self, group: Group, sizes: Sequence[int]) -> list[Labelled]:
        return _room(self.columns, sizes)

    def decode(
        self,
        group: Group,
        columns: Sequence[Labelled],
        tables: Tables | None,
        tree_memory: TreeMemory,
        each: Each,
    ) -> None:
        raise NotImplementedError


class Trees(Nodes):
    """Trees (`codecs.trees`)."""

    columns = trees.COLUMNS

    def encode_arrays(self, group: Group, tables: Tables | None, each: Each) -> list[Array]:
        return trees.encode(group.pieces, tables, each)

    def decode(
        self,
        group: Group,
        columns: Sequence[Labelled],
        tables: Tables | None,
        tree_memory: TreeMemory,
        each: Each,
    ) -> None:
        bytes_of = [labelled.column.whole() for labelled in columns]
        numbers = [bytes_of[0], *(array.view(np.int64) for array in bytes_of[1:3])]
        bits = [array.view(np.uint64) for array in bytes_of[3:5]]

        def take(number: int) -> tuple[Array, Array]:
            return tree_memory.take(*group.members[number], group.pieces[number])

        def done(number: int, derived: bool) -> None:
            tree_memory.done(*group.members[number], derived)

        trees.decode([*numbers, *bits, *bytes_of[5:]], group.pieces, tables, take, done, each)


class HistNodes(Nodes):
    """Histogram boosting's nodes (`codecs.hist_nodes`)."""

    columns = hist_nodes.COLUMNS

    def encode_arrays(self, group: Group, tables: Tables | None, each: Each) -> list[Array]:
        return hist_nodes.encode(group.pieces)

    def decode(
        self,
        group: Group,
        columns: Sequence[Labelled],
        tables: Tables | None,
        tree_memory: TreeMemory,
        each: Each,
    ) -> None:
        hist_nodes.decode(
            [labelled.column.whole().view(np.uint8) for labelled in columns], group.pieces
        )


def _room(columns: Sequence[tuple[str, int, str]], sizes: Sequence[int]) -> list[Labelled]:
    if any(size % width for size, (_, width, _) in zip(sizes, columns, strict=True)):
        raise CorruptShardError("a column holds a fraction of a number")
    return [
        Labelled(field, _column(np.empty(size, np.uint8), width))
        for size, (_, width, field) in zip(sizes, columns, strict=True)
    ]


def _column(data: Array, width: int) -> Column:
    return Column([data.view(_WIDTHS[width])], Leaf((), _WIDTHS[width]))


VIEWS = Arrays()
CODECS: dict[str, Codec] = {"array": VIEWS, "trees": Trees(), "predictors": HistNodes()}
