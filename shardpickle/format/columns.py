"""Values to columns and back, by the codec that their spec names.

Knows codecs and layouts; knows no pickle, class, manifest or file. To add a codec, add a class
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
from shardpickle.codecs.trees import ParallelMap
from shardpickle.errors import CorruptShardError
from shardpickle.pickling.values import Array, Spec


@dataclass(frozen=True, slots=True)
class Labelled:
    """A column, and its name in `inspect`."""

    label: str
    column: Column


@dataclass(frozen=True, slots=True)
class Group:
    """Values of one meaning: their spec, their positions (part, place), and their contents."""

    spec: Spec
    members: Sequence[tuple[int, int]]
    pieces: Sequence[Any]


def runs(layout: Sequence[Spec]) -> Iterator[tuple[Spec, range]]:
    """Yield the places of a layout whose values go into the same columns.

    Places are separate, except in long runs of equal specs: an ensemble's value for each of its
    estimators.
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
    """Supplies memory for trees while a shard is read; `done` is called when it is filled.

    `derived` means that the columns can only describe one tree over its features.
    """

    def take(self, part: int, place: int, head: Head) -> tuple[Array, Array]: ...
    def done(self, part: int, place: int, derived: bool) -> None: ...


class Codec(Protocol):
    """Turns the values of a group into columns and back."""

    def encode(
        self, group: Group, tables: Tables | None, map_parallel: ParallelMap
    ) -> list[Labelled]:
        """Make the columns to write."""

    def count(self, spec: Spec) -> int:
        """Count the columns."""

    def room(self, group: Group, sizes: Sequence[int]) -> list[Labelled]:
        """Make columns of these bytes, to be filled."""

    def decode(
        self,
        group: Group,
        columns: Sequence[Labelled],
        tables: Tables | None,
        tree_memory: TreeMemory,
        map_parallel: ParallelMap,
    ) -> None:
        """Turn filled columns into values, if filling does not do it already."""


class Arrays:
    """One column for each leaf field of the dtype: a view of the values' own memory."""

    def encode(
        self, group: Group, tables: Tables | None, map_parallel: ParallelMap
    ) -> list[Labelled]:
        return self._view_fields(group)

    def count(self, spec: Spec) -> int:
        return len(list(arrays.leaves(dtypes.from_text(spec.dtype))))

    def room(self, group: Group, sizes: Sequence[int]) -> list[Labelled]:
        return self._view_fields(group)

    def decode(
        self,
        group: Group,
        columns: Sequence[Labelled],
        tables: Tables | None,
        tree_memory: TreeMemory,
        map_parallel: ParallelMap,
    ) -> None:
        return None

    def _view_fields(self, group: Group) -> list[Labelled]:
        columns = [
            Column(group.pieces, leaf) for leaf in arrays.leaves(dtypes.from_text(group.spec.dtype))
        ]
        plain = group.spec.kind in ("ndarray", "memmap")
        return [
            Labelled(column.leaf.label if plain else group.spec.kind, column) for column in columns
        ]


_WIDTHS = {width: np.dtype(f"<u{width}") for width in (1, 4, 8)}


class Nodes:
    """The values of nodes that cannot be recomputed: a fixed list of columns of plain numbers."""

    columns: Sequence[tuple[str, int, str]]  # name, bytes of an item, field

    def encode(
        self, group: Group, tables: Tables | None, map_parallel: ParallelMap
    ) -> list[Labelled]:
        encoded = self.encode_arrays(group, tables, map_parallel)
        return [
            Labelled(field, _make_column(array.view(np.uint8), width))
            for array, (_, width, field) in zip(encoded, self.columns, strict=True)
        ]

    def encode_arrays(
        self, group: Group, tables: Tables | None, map_parallel: ParallelMap
    ) -> list[Array]:
        raise NotImplementedError

    def count(self, spec: Spec) -> int:
        return len(self.columns)

    def room(self, group: Group, sizes: Sequence[int]) -> list[Labelled]:
        return _make_columns(self.columns, sizes)

    def decode(
        self,
        group: Group,
        columns: Sequence[Labelled],
        tables: Tables | None,
        tree_memory: TreeMemory,
        map_parallel: ParallelMap,
    ) -> None:
        raise NotImplementedError


class Trees(Nodes):
    """Trees (`codecs.trees`)."""

    columns = trees.COLUMNS

    def encode_arrays(
        self, group: Group, tables: Tables | None, map_parallel: ParallelMap
    ) -> list[Array]:
        return trees.encode(group.pieces, tables, map_parallel)

    def decode(
        self,
        group: Group,
        columns: Sequence[Labelled],
        tables: Tables | None,
        tree_memory: TreeMemory,
        map_parallel: ParallelMap,
    ) -> None:
        bytes_of = [labelled.column.whole() for labelled in columns]
        numbers = [bytes_of[0], *(array.view(np.int64) for array in bytes_of[1:3])]
        bits = [array.view(np.uint64) for array in bytes_of[3:5]]

        def take(number: int) -> tuple[Array, Array]:
            return tree_memory.take(*group.members[number], group.pieces[number])

        def done(number: int, derived: bool) -> None:
            tree_memory.done(*group.members[number], derived)

        trees.decode(
            [*numbers, *bits, *bytes_of[5:]], group.pieces, tables, take, done, map_parallel
        )


class HistNodes(Nodes):
    """Histogram boosting's nodes (`codecs.hist_nodes`)."""

    columns = hist_nodes.COLUMNS

    def encode_arrays(
        self, group: Group, tables: Tables | None, map_parallel: ParallelMap
    ) -> list[Array]:
        return hist_nodes.encode(group.pieces)

    def decode(
        self,
        group: Group,
        columns: Sequence[Labelled],
        tables: Tables | None,
        tree_memory: TreeMemory,
        map_parallel: ParallelMap,
    ) -> None:
        hist_nodes.decode(
            [labelled.column.whole().view(np.uint8) for labelled in columns], group.pieces
        )


def _make_columns(columns: Sequence[tuple[str, int, str]], sizes: Sequence[int]) -> list[Labelled]:
    if any(size % width for size, (_, width, _) in zip(sizes, columns, strict=True)):
        raise CorruptShardError("a column's size is not a whole number of items")
    return [
        Labelled(field, _make_column(np.empty(size, np.uint8), width))
        for size, (_, width, field) in zip(sizes, columns, strict=True)
    ]


def _make_column(data: Array, width: int) -> Column:
    return Column([data.view(_WIDTHS[width])], Leaf((), _WIDTHS[width]))


VIEWS = Arrays()
CODECS: dict[str, Codec] = {"array": VIEWS, "trees": Trees(), "predictors": HistNodes()}
