"""What one shard holds, as columns: skeletons, and the values that left them; and back.

Knows codecs and shapes; knows no pickle, no class, no manifest and no file. The same `Contents`
is built from a split model (to be read into frames) and from a shard's index (to be filled from
frames), so both directions walk the same columns in the same order.

Values that like parts have in the same place form one column: the k-th value of every part whose
values have the same specs (a *layout*). That is one field of one meaning over all trees of a
forest, found without knowing what a tree is.
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
_MOST_GROWTH = 4  # columns of trees are at most so many times the trees


@dataclass(frozen=True, slots=True)
class Sizes:
    """The counts that a shard's index states; everything else follows from columns."""

    parts: int
    skeletons: int
    dimensions: int
    layouts: tuple[Layout, ...]


class Contents:
    """The parts of one shard: for each its skeleton and its values' memory.

    `pieces` holds for each part its values' contents: arrays, and for a tree its arrays
    (`tree_arrays.Tree`) or, where they have not been read, its head. `tables` are those that the
    shard shares with others, None where it has its own.
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
        """The columns that say how large the others are."""
        return [
            Labelled(label, Column([array], arrays.Leaf((), _INTS)))
            for label, array in zip(_DIRECTORY, self.directory, strict=True)
        ]

    def skeleton_column(self) -> Labelled:
        return Labelled("skeletons", Column([self.skeletons], arrays.Leaf((), _BYTES)))

    def groups(self) -> Iterator[Group]:
        """The values of every layout, those of one meaning together (`columns.runs`)."""
        layout_of = self.directory[2]
        order = np.argsort(layout_of, kind="stable")
        edges = np.searchsorted(layout_of[order], np.arange(len(self.sizes.layouts) + 1))
        for number, layout in enumerate(self.sizes.layouts):
            parts = order[edges[number] : edges[number + 1]].tolist()
            for spec, places in columns.runs(layout):
                members = [(part, place) for place in places for part in parts]
                yield Group(spec, members, [self.pieces[part][place] for part, place in members])

    def tables_of_trees(self) -> Tables:
        """What repeats in the trees of this shard."""
        found = [
            piece for part in self.pieces for piece in part if isinstance(piece, tree_arrays.Tree)
        ]
        return tree_tables.tables_of(found) if found else tree_tables.NO_TABLES

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
        """Labels of what differs in two contents, bit for bit; trees aside (`Comparison`)."""
        if self.sizes != other.sizes:
            yield "sizes"
            return
        ours, theirs = ([*each.directory_columns(), *each._views()] for each in (self, other))
        for mine, yours in zip(ours, theirs, strict=True):
            if not _equal(mine.column, yours.column):
                yield mine.label

    def digest(self) -> bytes:
        """The SHA-256 of everything that is data: equal contents, and only these, have it."""
        whole = hashlib.sha256(repr(self.sizes).encode())
        for labelled in (*self.directory_columns(), *self._views()):
            column = labelled.column
            step = max(1, _STEP // max(1, column.item))
            count = column.nbytes // max(1, column.item)
            for start in range(0, count, step):
                whole.update(column.read(start, min(start + step, count)).tobytes())
        for piece in (each for part in self.pieces for each in part):
            if isinstance(piece, tree_arrays.Tree):
                whole.update(tree_arrays.digest(piece.head, *piece.memory))
        return whole.digest()

    def _views(self) -> Iterator[Labelled]:
        yield self.skeleton_column()
        for group in self.groups():
            if group.spec.codec != "trees":
                yield from columns.VIEWS.room(group, ())


def of_parts(
    parts: Sequence[tuple[bytes, Sequence[Value]]], *, inference: Collection[int] = ()
) -> Contents:
    """The contents of a shard that holds these parts: (skeleton, values) each.

    Those of `inference`, by their places here, without what trees keep of their training (copies;
    the model stays as it is).
    """
    skeletons: dict[bytes, int] = {}
    layouts: dict[Layout, int] = {}
    held: list[list[Any]] = []
    of_part: list[tuple[int, int]] = []
    shapes: list[int] = []
    for number, (skeleton, lifted) in enumerate(parts):
        cut = number in inference
        pieces = [_dropped(value) if cut else value.piece() for value in lifted]
        layout = tuple(
            values.spec_of(value.kind, piece) for value, piece in zip(lifted, pieces, strict=True)
        )
        held.append(pieces)
        shapes.extend(size for piece in pieces for size in values.shape_of(piece))
        of_part.append(
            (
                skeletons.setdefault(skeleton, len(skeletons)),
                layouts.setdefault(layout, len(layouts)),
            )
        )
    sizes = Sizes(len(held), len(skeletons), len(shapes), tuple(layouts))
    directory = [
        np.array([len(skeleton) for skeleton in skeletons], _INTS),
        np.array([pair[0] for pair in of_part], _INTS),
        np.array([pair[1] for pair in of_part], _INTS),
        np.array(shapes, _INTS),
    ]
    contents = Contents(sizes, directory)
    contents.skeletons = np.frombuffer(b"".join(skeletons), _BYTES)
    contents.pieces = held
    return contents


def _dropped(value: Value) -> Any:
    piece = value.piece()
    if isinstance(piece, tree_arrays.Tree):
        return tree_arrays.dropped(piece)
    return hist_nodes.dropped(piece) if _is_nodes(value.kind, piece) else piece


def _is_nodes(kind: str, piece: Any) -> bool:
    return values.spec_of(kind, piece).codec == "predictors"


def trees_in(lifted: Sequence[Value]) -> frozenset[int]:
    """Which values of a part are trees, or the nodes of histogram boosting's."""
    return frozenset(
        number
        for number, value in enumerate(lifted)
        if value.kind == "tree" or (value.kind == "ndarray" and _is_nodes("ndarray", value.piece()))
    )


def of_sizes(sizes: Sizes) -> Contents:
    """Contents to be filled: first `directory_columns`, then `allocate`, then the rest."""
    return Contents(sizes, [np.zeros(count, _INTS) for count in directory_counts(sizes)])


def directory_counts(sizes: Sizes) -> tuple[int, int, int, int]:
    """Numbers in each column of the directory."""
    return sizes.skeletons, sizes.parts, sizes.parts, sizes.dimensions


def allocate(
    contents: Contents, most: int, stored: Sequence[int], *, together: bool = False
) -> None:
    """Take the memory that the (filled) directory asks for, which is `most` bytes exactly.

    `stored` is what the frames of each column after the directory hold: memory is taken for what
    is there. Trees' memory is taken when they are read.

    `together` takes one block for all arrays: it is given back to the system at once, but every
    array holds the whole of it.
    """
    lengths, of_part, layout_of, shapes = contents.directory
    sizes = contents.sizes
    _in_range(lengths, most + 1, "a skeleton's size")
    _in_range(of_part, sizes.skeletons, "a skeleton's number")
    _in_range(layout_of, len(sizes.layouts), "a layout's number")
    _in_range(shapes, 1 << 62, "a dimension")
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
                raise CorruptShardError("there are fewer dimensions than values")
            planned.append(_plan(spec, shape, known))
        total += sum(each.nbytes for each in planned)
        needed += sum(each.data for each in planned)
        plan.append(planned)
    if total != most or at != sizes.dimensions:
        raise CorruptShardError("its values have another size", expected=most, actual=total)
    held = _held_by_arrays(sizes, stored, most)
    if needed != held:
        raise CorruptShardError("its frames hold another size", expected=needed, actual=held)
    contents.skeletons = np.empty(int(lengths.sum()), _BYTES)
    empty = _Block(most, sizes).empty if together else Spec.empty
    contents.pieces = [
        [each.head or empty(each.spec, each.shape, each.dtype) for each in planned]
        for planned in plan
    ]


@dataclass(frozen=True, slots=True)
class _Planned:
    spec: Spec
    shape: tuple[int, ...]
    nbytes: int
    dtype: np.dtype[Any]
    data: int  # bytes of its columns; 0 where they do not follow from the shape
    head: Head | None = None


@dataclass(frozen=True, slots=True)
class _Known:
    """A dtype of many values, and its bytes that are data (the rest is padding)."""

    dtype: np.dtype[Any]
    data: int

    def own(self) -> np.dtype[Any]:
        """For one array: names of fields can be changed, so each array has a dtype of its own."""
        return self.dtype if self.dtype.names is None else dtypes.copy(self.dtype)


def _plan(spec: Spec, shape: tuple[int, ...], known: dict[str, _Known]) -> _Planned:
    of_spec = known.get(spec.dtype)
    if of_spec is None:
        dtype = dtypes.from_text(spec.dtype)
        data = sum(leaf.dtype.itemsize for leaf in arrays.leaves(dtype))
        of_spec = known[spec.dtype] = _Known(dtype, data)
    if spec.kind == "tree":
        head = values.head_of(spec, shape)
        if max(head.nodes, 1) * (64 + 8 * head.width) >= 1 << 62:
            raise CorruptShardError("a tree is larger than any memory")
        return _Planned(spec, shape, head.nbytes, of_spec.dtype, 0, head)
    dtype = of_spec.own()
    if prod(max(1, size) for size in shape) * max(1, dtype.itemsize) >= 1 << 62:
        raise CorruptShardError("a value is larger than any memory")
    count = prod(shape)
    data = of_spec.data if spec.codec == "array" else 0
    return _Planned(spec, shape, count * dtype.itemsize, dtype, count * data)


def _held_by_arrays(sizes: Sizes, stored: Sequence[int], most: int) -> int:
    """Bytes of the columns whose sizes follow from shapes; the others must be within bounds."""
    at, held = 1, sum(stored[:1])
    for layout in sizes.layouts:
        for spec, _ in columns.runs(layout):
            count = columns.CODECS[spec.codec].count(spec)
            nbytes = sum(stored[at : at + count])
            if spec.codec == "array":
                held += nbytes
            elif nbytes > _MOST_GROWTH * most + (1 << 16):
                raise CorruptShardError("columns are larger than what they describe")
            at += count
    if at != len(stored):
        raise CorruptShardError("another number of columns", expected=at, actual=len(stored))
    return held


class _Block:
    """Memory for many arrays."""

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


def _in_range(numbers: Array, stop: int, what: str) -> None:
    if numbers.size and not (int(numbers.min()) >= 0 and int(numbers.max()) < stop):
        raise CorruptShardError(f"{what} is out of range")


_STEP = 1 << 18


def _equal(mine: Column, yours: Column, step: int = _STEP) -> bool:
    if mine.nbytes != yours.nbytes:
        return False
    count = mine.nbytes // mine.item if mine.item else 0
    items = max(1, step // mine.item) if mine.item else 1
    return all(
        np.array_equal(mine.read(a, min(a + items, count)), yours.read(a, min(a + items, count)))
        for a in range(0, count, items)
    )
