"""The contents of one shard as columns: skeletons and the values that they refer to.

Knows codecs and shapes; knows no pickle, no class, no manifest and no file. The same `Contents`
is built from a split model (to be read into frames) and from a shard's index (to be filled from
frames), so both directions walk the same columns in the same order.

The k-th values of all parts whose values have the same specs (a *layout*) form one column. That is
one field of all trees of a forest, found without knowing what a tree is.
"""

import hashlib
import mmap
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from shardpickle.codecs import arrays, dtypes, hist_nodes, tree_arrays, tree_tables
from shardpickle.codecs.arrays import Column
from shardpickle.codecs.tree_arrays import Head
from shardpickle.codecs.tree_tables import Tables
from shardpickle.errors import CorruptShardError
from shardpickle.format import columns
from shardpickle.format.columns import Group, Labelled
from shardpickle.pickling import values
from shardpickle.pickling.values import Array, Spec, Value

Layout = tuple[Spec, ...]

_INTS = np.dtype("<i8")
_BYTES = np.dtype("u1")
_ALIGNED = 64
_DIRECTORY = ("skeleton sizes", "skeleton of part", "layout of part", "shapes")
_MOST_GROWTH = 4  # columns of trees are at most 4 times the size of the trees


@dataclass(frozen=True, slots=True)
class Sizes:
    """The counts that a shard's index states; everything else follows from columns."""

    parts: int
    skeletons: int
    dimensions: int
    layouts: tuple[Layout, ...]


class Contents:
    """The parts of one shard: for each its skeleton and its values' memory.

    `pieces` has the values of each part: arrays, and for a tree its arrays (`tree_arrays.Tree`)
    or, before they are read, its head. `tables` are those that the shard shares with others, None
    if it has its own.
    """

    def __init__(self, sizes: Sizes, directory: list[Array]) -> None:
        self.sizes = sizes
        self.directory = directory
        self.skeletons: Array = np.zeros(0, _BYTES)
        self.pieces: list[list[Any]] = []
        self.tables: Tables | None = None
        self.heap: int | None = None  # bytes of Python objects that its skeletons make

    @property
    def nbytes(self) -> int:
        """Raw bytes: each part's skeleton and values."""
        return sum(self.part_sizes())

    def directory_columns(self) -> list[Labelled]:
        """The columns with the sizes of the others."""
        return [
            Labelled(label, Column([array], arrays.Leaf((), _INTS)))
            for label, array in zip(_DIRECTORY, self.directory, strict=True)
        ]

    def skeleton_column(self) -> Labelled:
        return Labelled("skeletons", Column([self.skeletons], arrays.Leaf((), _BYTES)))

    def groups(self) -> Iterator[Group]:
        """Yield the values of every layout, those of one meaning together (`columns.runs`)."""
        layout_of = self.directory[2]
        order = np.argsort(layout_of, kind="stable")
        edges = np.searchsorted(layout_of[order], np.arange(len(self.sizes.layouts) + 1))
        for number, layout in enumerate(self.sizes.layouts):
            parts = order[edges[number] : edges[number + 1]].tolist()
            for spec, places in columns.runs(layout):
                members = [(part, place) for place in places for part in parts]
                yield Group(spec, members, [self.pieces[part][place] for part, place in members])

    def find_tables(self) -> Tables:
        """Find the values that repeat in the trees of this shard."""
        trees = [
            piece for part in self.pieces for piece in part if isinstance(piece, tree_arrays.Tree)
        ]
        return tree_tables.tables_of(trees) if trees else tree_tables.NO_TABLES

    def skeleton_list(self) -> list[bytes]:
        """The distinct skeletons, in order."""
        edges = np.concatenate([[0], np.cumsum(self.directory[0])])
        return [self.skeletons[a:b].tobytes() for a, b in pairwise(edges)]

    def part_sizes(self) -> list[int]:
        """Raw bytes of each part."""
        lengths, of_part = self.directory[0], self.directory[1]
        return [
            int(lengths[of_part[number]]) + sum(piece.nbytes for piece in part)
            for number, part in enumerate(self.pieces)
        ]

    def specs(self, part: int) -> Layout:
        return self.sizes.layouts[int(self.directory[2][part])]

    def differences(self, other: "Contents") -> Iterator[str]:
        """Yield the labels of columns that differ in any bit, except trees (`Comparison`)."""
        if self.sizes != other.sizes:
            yield "sizes"
            return
        ours, theirs = (
            [*contents.directory_columns(), *contents._view_columns()] for contents in (self, other)
        )
        for column, other_column in zip(ours, theirs, strict=True):
            if not _are_equal(column.column, other_column.column):
                yield column.label

    def digest(self) -> bytes:
        """The SHA-256 of all data. Only equal contents have the same."""
        hasher = hashlib.sha256(repr(self.sizes).encode())
        for labelled in (*self.directory_columns(), *self._view_columns()):
            column = labelled.column
            step = max(1, _STEP // max(1, column.item))
            count = column.nbytes // max(1, column.item)
            for start in range(0, count, step):
                hasher.update(column.read(start, min(start + step, count)).tobytes())
        for piece in (content for part in self.pieces for content in part):
            if isinstance(piece, tree_arrays.Tree):
                hasher.update(tree_arrays.digest(piece.head, *piece.memory))
        return hasher.digest()

    def _view_columns(self) -> Iterator[Labelled]:
        yield self.skeleton_column()
        for group in self.groups():
            if group.spec.codec != "trees":
                yield from columns.VIEWS.room(group, ())


def of_parts(
    parts: Sequence[tuple[bytes, Sequence[Value]]], *, inference: Collection[int] = ()
) -> Contents:
    """Build the contents of a shard from its parts, each (skeleton, values).

    Parts whose positions are in `inference` go without the trees' training statistics. They are
    copies; the model does not change.
    """
    skeletons: dict[bytes, int] = {}
    layouts: dict[Layout, int] = {}
    all_pieces: list[list[Any]] = []
    of_part: list[tuple[int, int]] = []
    shapes: list[int] = []
    for number, (skeleton, lifted) in enumerate(parts):
        cut = number in inference
        pieces = [_drop_training(value) if cut else value.piece() for value in lifted]
        layout = tuple(
            values.spec_of(value.kind, piece) for value, piece in zip(lifted, pieces, strict=True)
        )
        all_pieces.append(pieces)
        shapes.extend(size for piece in pieces for size in values.shape_of(piece))
        of_part.append(
            (
                skeletons.setdefault(skeleton, len(skeletons)),
                layouts.setdefault(layout, len(layouts)),
            )
        )
    sizes = Sizes(len(all_pieces), len(skeletons), len(shapes), tuple(layouts))
    directory = [
        np.array([len(skeleton) for skeleton in skeletons], _INTS),
        np.array([pair[0] for pair in of_part], _INTS),
        np.array([pair[1] for pair in of_part], _INTS),
        np.array(shapes, _INTS),
    ]
    contents = Contents(sizes, directory)
    contents.skeletons = np.frombuffer(b"".join(skeletons), _BYTES)
    contents.pieces = all_pieces
    return contents


def _drop_training(value: Value) -> Any:
    piece = value.piece()
    if isinstance(piece, tree_arrays.Tree):
        return tree_arrays.dropped(piece)
    return hist_nodes.dropped(piece) if _is_nodes(value.kind, piece) else piece


def _is_nodes(kind: str, piece: Any) -> bool:
    return values.spec_of(kind, piece).codec == "predictors"


def find_trees(lifted: Sequence[Value]) -> frozenset[int]:
    """Find the values of a part that are trees or histogram boosting's nodes."""
    return frozenset(
        number
        for number, value in enumerate(lifted)
        if value.kind == "tree" or (value.kind == "ndarray" and _is_nodes("ndarray", value.piece()))
    )


def of_sizes(sizes: Sizes) -> Contents:
    """Make contents to fill: first `directory_columns`, then `allocate`, then the rest."""
    return Contents(sizes, [np.zeros(count, _INTS) for count in directory_counts(sizes)])


def directory_counts(sizes: Sizes) -> tuple[int, int, int, int]:
    """Count the numbers in each column of the directory."""
    return sizes.skeletons, sizes.parts, sizes.parts, sizes.dimensions


def allocate(
    contents: Contents, most: int, stored: Sequence[int], *, together: bool = False
) -> None:
    """Allocate the memory that the (filled) directory asks for, which must be `most` bytes.

    `stored` is the raw bytes in the frames of each column after the directory. Memory is taken only
    for data that is there. Trees' memory is taken when they are read.

    `together` takes one block for all arrays: the system gets it back at once, but any array keeps
    all of it alive.
    """
    lengths, of_part, layout_of, shapes = contents.directory
    sizes = contents.sizes
    _check_range(lengths, most + 1, "a skeleton's size")
    _check_range(of_part, sizes.skeletons, "a skeleton's number")
    _check_range(layout_of, len(sizes.layouts), "a layout's number")
    _check_range(shapes, 1 << 62, "a dimension")
    plan: list[list[_Planned]] = []
    known: dict[str, _Known] = {}
    rows = shapes.tolist()
    total, needed = int(lengths[of_part].sum()), int(lengths.sum())
    at = 0
    for number in layout_of.tolist():
        planned = []
        for spec in sizes.layouts[number]:
            shape = tuple(rows[at : at + spec.ndim])
            at += spec.ndim
            if len(shape) != spec.ndim:
                raise CorruptShardError("it has fewer dimensions than its values need")
            planned.append(_plan_value(spec, shape, known))
        total += sum(value.nbytes for value in planned)
        needed += sum(value.data for value in planned)
        plan.append(planned)
    if total != most or at != sizes.dimensions:
        raise CorruptShardError("its values have the wrong size", expected=most, actual=total)
    available = _count_array_bytes(sizes, stored, most)
    if needed != available:
        raise CorruptShardError("its frames have the wrong size", expected=needed, actual=available)
    contents.skeletons = np.empty(int(lengths.sum()), _BYTES)
    empty = _Block(most, sizes).empty if together else Spec.empty
    contents.pieces = [
        [value.head or empty(value.spec, value.shape, value.dtype) for value in planned]
        for planned in plan
    ]


@dataclass(frozen=True, slots=True)
class _Planned:
    spec: Spec
    shape: tuple[int, ...]
    nbytes: int
    dtype: np.dtype[Any]
    data: int  # bytes of its columns; 0 if the shape does not determine them
    head: Head | None = None


@dataclass(frozen=True, slots=True)
class _Known:
    """A dtype that many values share, and its bytes of data (the rest is padding)."""

    dtype: np.dtype[Any]
    data: int

    def copy_dtype(self) -> np.dtype[Any]:
        """Return a dtype for one array. Field names are mutable, so arrays must not share it."""
        return self.dtype if self.dtype.names is None else dtypes.copy(self.dtype)


def _plan_value(spec: Spec, shape: tuple[int, ...], known: dict[str, _Known]) -> _Planned:
    of_spec = known.get(spec.dtype)
    if of_spec is None:
        dtype = dtypes.from_text(spec.dtype)
        data = sum(leaf.dtype.itemsize for leaf in arrays.leaves(dtype))
        of_spec = known[spec.dtype] = _Known(dtype, data)
    if spec.kind == "tree":
        head = values.head_of(spec, shape)
        if max(head.nodes, 1) * (64 + 8 * head.width) >= 1 << 62:
            raise CorruptShardError("a tree is too large for any memory")
        return _Planned(spec, shape, head.nbytes, of_spec.dtype, 0, head)
    dtype = of_spec.copy_dtype()
    if prod(max(1, size) for size in shape) * max(1, dtype.itemsize) >= 1 << 62:
        raise CorruptShardError("a value is too large for any memory")
    count = prod(shape)
    data = of_spec.data if spec.codec == "array" else 0
    return _Planned(spec, shape, count * dtype.itemsize, dtype, count * data)


def _count_array_bytes(sizes: Sizes, stored: Sequence[int], most: int) -> int:
    """Count the bytes of columns whose sizes follow from shapes, and check bounds of the others."""
    first, total = 1, sum(stored[:1])
    for layout in sizes.layouts:
        for spec, _ in columns.runs(layout):
            count = columns.CODECS[spec.codec].count(spec)
            nbytes = sum(stored[first : first + count])
            if spec.codec == "array":
                total += nbytes
            elif nbytes > _MOST_GROWTH * most + (1 << 16):
                raise CorruptShardError(
                    "its columns are too large for the trees that they describe"
                )
            first += count
    if first != len(stored):
        raise CorruptShardError("wrong number of columns", expected=first, actual=len(stored))
    return total


class _Block:
    """One block of memory for many arrays."""

    def __init__(self, nbytes: int, sizes: Sizes) -> None:
        # Up to 64 bytes before each array, so that it is aligned.
        most = max((len(layout) for layout in sizes.layouts), default=0) * sizes.parts
        # Not from malloc: freeing tens of MB makes glibc keep as much for later
        # (M_MMAP_THRESHOLD is dynamic, mallopt(3)).
        self._memory = mmap.mmap(-1, nbytes + _ALIGNED * (most + 1))
        self._at = 0  # pages are aligned

    def empty(self, spec: Spec, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        order: Any = spec.order
        array: Array = np.ndarray(shape, dtype, self._memory, self._at, order=order)
        self._at += -(-array.nbytes // _ALIGNED) * _ALIGNED
        return array


def _check_range(numbers: Array, stop: int, what: str) -> None:
    if numbers.size and not (int(numbers.min()) >= 0 and int(numbers.max()) < stop):
        raise CorruptShardError(f"{what} is out of range")


_STEP = 1 << 18


def _are_equal(column: Column, other: Column, step: int = _STEP) -> bool:
    if column.nbytes != other.nbytes:
        return False
    count = column.nbytes // column.item if column.item else 0
    items = max(1, step // column.item) if column.item else 1
    return all(
        np.array_equal(column.read(a, min(a + items, count)), other.read(a, min(a + items, count)))
        for a in range(0, count, items)
    )
