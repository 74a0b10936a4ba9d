"""What one shard holds, as columns: skeletons, and the values that left them; and back.

Knows codecs and shapes; knows no pickle, no class, no manifest and no file. The same `Contents`
is built from a split model (to be read into frames) and from a shard's index (to be filled from
frames), so both directions walk the same columns in the same order.

Values that like parts have in the same place form one column: the k-th value of every part whose
values have the same specs (a *layout*). That is one field of one meaning over all trees of a
forest, found without knowing what a tree is.
"""

import mmap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from shardpickle import dtypes, values
from shardpickle.codecs import arrays
from shardpickle.codecs.arrays import Column
from shardpickle.errors import CorruptShardError
from shardpickle.values import Array, Spec, Value

Layout = tuple[Spec, ...]

_INTS = np.dtype("<i8")
_BYTES = np.dtype("u1")
_ALIGNED = 64
_DIRECTORY = ("skeleton sizes", "skeleton of part", "layout of part", "shapes")

# How the arrays of a kind of value become columns; a shard names the codec of each value.
CODECS: dict[str, Callable[[Sequence[Array], np.dtype[Any]], list[Column]]] = {
    "array": lambda pieces, dtype: [Column(pieces, leaf) for leaf in arrays.leaves(dtype)],
}


@dataclass(frozen=True, slots=True)
class Labelled:
    """A column, and what `inspect` calls it."""

    label: str
    column: Column


@dataclass(frozen=True, slots=True)
class Sizes:
    """The counts that a shard's index states; everything else follows from columns."""

    parts: int
    skeletons: int
    dimensions: int
    layouts: tuple[Layout, ...]


class Contents:
    """The parts of one shard: for each its skeleton and its values' memory."""

    def __init__(self, sizes: Sizes, directory: list[Array]) -> None:
        self.sizes = sizes
        self.directory = directory
        self.skeletons: Array = np.zeros(0, _BYTES)
        self.arrays: list[list[Array]] = []

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

    def content_columns(self) -> Iterator[Labelled]:
        """The skeletons' column, then those of every value of every layout."""
        yield Labelled("skeletons", Column([self.skeletons], arrays.Leaf((), _BYTES)))
        layout_of = self.directory[2]
        for number, layout in enumerate(self.sizes.layouts):
            members = np.flatnonzero(layout_of == number)
            for place, spec in enumerate(layout):
                pieces = [self.arrays[part][place] for part in members]
                for column in CODECS[spec.codec](pieces, dtypes.from_text(spec.dtype)):
                    yield Labelled(_label(spec, column), column)

    def skeleton_list(self) -> list[bytes]:
        """The distinct skeletons, in order."""
        edges = np.concatenate([[0], np.cumsum(self.directory[0])])
        return [self.skeletons[a:b].tobytes() for a, b in pairwise(edges)]

    def skeleton_of(self, part: int, skeletons: list[bytes]) -> bytes:
        """The skeleton of a part, from `skeleton_list`."""
        return skeletons[int(self.directory[1][part])]

    def part_sizes(self) -> list[int]:
        """Raw bytes of each part."""
        lengths, of_part = self.directory[0], self.directory[1]
        return [
            int(lengths[of_part[number]]) + sum(array.nbytes for array in part)
            for number, part in enumerate(self.arrays)
        ]

    def specs(self, part: int) -> Layout:
        return self.sizes.layouts[int(self.directory[2][part])]

    def differences(self, other: "Contents") -> Iterator[str]:
        """Labels of the columns in which two contents differ, bit for bit."""
        if self.sizes != other.sizes:
            yield "sizes"
            return
        ours = [*self.directory_columns(), *self.content_columns()]
        theirs = [*other.directory_columns(), *other.content_columns()]
        for mine, yours in zip(ours, theirs, strict=True):
            if not _equal(mine.column, yours.column):
                yield mine.label


def of_parts(parts: Sequence[tuple[bytes, Sequence[Value]]]) -> Contents:
    """The contents of a shard that holds these parts: (skeleton, values) each."""
    skeletons: dict[bytes, int] = {}
    layouts: dict[Layout, int] = {}
    held: list[list[Array]] = []
    of_part: list[tuple[int, int]] = []
    shapes: list[int] = []
    for skeleton, lifted in parts:
        pieces = [value.array() for value in lifted]
        layout = tuple(
            values.spec_of(value.kind, piece) for value, piece in zip(lifted, pieces, strict=True)
        )
        held.append(pieces)
        shapes.extend(size for piece in pieces for size in piece.shape)
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
    contents.arrays = held
    return contents


def of_sizes(sizes: Sizes) -> Contents:
    """Contents to be filled: first `directory_columns`, then `allocate`, then the rest."""
    return Contents(sizes, [np.zeros(count, _INTS) for count in directory_counts(sizes)])


def directory_counts(sizes: Sizes) -> tuple[int, int, int, int]:
    """Numbers in each column of the directory."""
    return sizes.skeletons, sizes.parts, sizes.parts, sizes.dimensions


def allocate(contents: Contents, most: int, held: int, *, together: bool = False) -> None:
    """Take the memory that the (filled) directory asks for, which is `most` bytes exactly.

    `held` is what the shard's frames hold: memory is taken for what is there.

    `together` takes one block for all arrays: it is given back to the system at once, but every
    array holds the whole of it.
    """
    lengths, of_part, layout_of, shapes = contents.directory
    sizes = contents.sizes
    _in_range(lengths, most + 1, "a skeleton's size")
    _in_range(of_part, sizes.skeletons, "a skeleton's number")
    _in_range(layout_of, len(sizes.layouts), "a layout's number")
    _in_range(shapes, 1 << 62, "a dimension")
    plan: list[list[tuple[Spec, tuple[int, ...]]]] = []
    total, needed = int(lengths[of_part].sum()), int(lengths.sum())
    at = 0
    for number in layout_of:
        entries = []
        for spec in sizes.layouts[int(number)]:
            dtype = dtypes.from_text(spec.dtype)
            itemsize, data = dtype.itemsize, _without_padding(dtype)
            shape = tuple(int(size) for size in shapes[at : at + spec.ndim])
            at += spec.ndim
            if len(shape) != spec.ndim:
                raise CorruptShardError("there are fewer dimensions than values")
            if prod(max(1, size) for size in shape) * max(1, itemsize) >= 1 << 62:
                raise CorruptShardError("a value is larger than any memory")
            total += prod(shape) * itemsize
            needed += prod(shape) * data
            entries.append((spec, shape))
        plan.append(entries)
    if needed != held:
        raise CorruptShardError("its frames hold another size", expected=needed, actual=held)
    if total != most or at != sizes.dimensions:
        raise CorruptShardError("its values have another size", expected=most, actual=total)
    contents.skeletons = np.empty(int(lengths.sum()), _BYTES)
    empty = _Block(most, sizes).empty if together else Spec.empty
    contents.arrays = [[empty(spec, shape) for spec, shape in entries] for entries in plan]


def _without_padding(dtype: np.dtype[Any]) -> int:
    return sum(leaf.dtype.itemsize for leaf in arrays.leaves(dtype))


class _Block:
    """Memory for many arrays."""

    def __init__(self, nbytes: int, sizes: Sizes) -> None:
        # Up to 64 bytes before each array, so that it is aligned.
        most = max((len(layout) for layout in sizes.layouts), default=0) * sizes.parts
        # Not from malloc: freeing tens of MB makes glibc keep as much for later
        # (M_MMAP_THRESHOLD is dynamic, mallopt(3)).
        self._memory = mmap.mmap(-1, nbytes + _ALIGNED * (most + 1))
        self._at = 0  # pages are aligned

    def empty(self, spec: Spec, shape: tuple[int, ...]) -> Array:
        dtype = dtypes.from_text(spec.dtype)
        order: Any = spec.order
        array: Array = np.ndarray(shape, dtype, self._memory, self._at, order=order)
        self._at += -(-array.nbytes // _ALIGNED) * _ALIGNED
        return array


def _in_range(numbers: Array, stop: int, what: str) -> None:
    if numbers.size and not (int(numbers.min()) >= 0 and int(numbers.max()) < stop):
        raise CorruptShardError(f"{what} is out of range")


def _label(spec: Spec, column: Column) -> str:
    return column.leaf.label if spec.kind in ("ndarray", "memmap") else spec.kind


def _equal(mine: Column, yours: Column, step: int = 1 << 18) -> bool:
    if mine.nbytes != yours.nbytes:
        return False
    count = mine.nbytes // mine.item if mine.item else 0
    items = max(1, step // mine.item) if mine.item else 1
    return all(
        np.array_equal(mine.read(a, min(a + items, count)), yours.read(a, min(a + items, count)))
        for a in range(0, count, items)
    )
