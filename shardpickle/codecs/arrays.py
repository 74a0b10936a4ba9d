"""Arrays of one dtype, one after the other, as columns: one for each field of the dtype.

A column reads and writes byte ranges of its arrays in place. So columns over thousands of small
arrays and over one of 5 GB are cut into frames in the same way, without a copy of the whole.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np

from shardpickle.codecs.frames import Bytes

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class Leaf:
    """A field without inner fields: its path in the dtype, and the dtype of its numbers."""

    path: tuple[str, ...]
    dtype: np.dtype[Any]

    @property
    def label(self) -> str:
        return ".".join(self.path) if self.path else self.dtype.name

    @property
    def width(self) -> int:
        """Bytes of the unit to shuffle."""
        base = self.dtype.base
        if base.kind == "U":
            return 4
        if base.kind == "c":
            return base.itemsize // 2
        return 1 if base.kind in "SV" else base.itemsize


def leaves(dtype: np.dtype[Any], path: tuple[str, ...] = ()) -> Iterator[Leaf]:
    """Yield the leaf fields of a dtype, in its own order; a plain dtype is its own leaf."""
    if dtype.names is None or dtype.subdtype is not None:
        yield Leaf(path, dtype)
        return
    for name in dtype.names:
        field: np.dtype[Any] = dtype.fields[name][0]  # type: ignore[index]  # it has names
        yield from leaves(field, (*path, name))


class Column:
    """One leaf of every array, in memory order, as one run of bytes."""

    def __init__(self, arrays: Sequence[Array], leaf: Leaf) -> None:
        self.leaf = leaf
        self.item = leaf.dtype.itemsize
        self._pieces = [_flatten(array, leaf.path) for array in arrays]
        self._starts = [0, *accumulate(array.size for array in arrays)]

    @property
    def nbytes(self) -> int:
        return self._starts[-1] * self.item

    def whole(self) -> Array:
        """Return all items: the memory itself if the column has one piece, else a copy."""
        pieces = [np.asarray(piece[:]) for piece in self._pieces]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def read(self, start: int, stop: int) -> Bytes:
        """Read the bytes of items `start` to `stop`, contiguous; a view where possible."""
        chunks = [
            np.ascontiguousarray(self._pieces[index][a:b]).reshape(-1).view(np.uint8)
            for index, a, b in self._iterate_ranges(start, stop)
        ]
        return chunks[0] if len(chunks) == 1 else np.concatenate(chunks)

    def write(self, start: int, stop: int, raw: Bytes) -> None:
        """Write bytes to where `read` takes them from."""
        offset = 0
        for index, a, b in self._iterate_ranges(start, stop):
            size = (b - a) * self.item
            items = raw[offset : offset + size].view(self.leaf.dtype.base)
            self._pieces[index][a:b] = items.reshape(b - a, *self.leaf.dtype.shape)
            offset += size

    def _iterate_ranges(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        index = bisect_right(self._starts, start) - 1
        while start < stop:
            end = min(stop, self._starts[index + 1])
            if start < end:
                yield index, start - self._starts[index], end - self._starts[index]
            start, index = end, index + 1


def _flatten(array: Array, path: tuple[str, ...]) -> Any:
    """Return the items of an array in memory order, without a copy."""
    if array.flags.c_contiguous:
        return _get_field(array.reshape(-1), path)
    if array.flags.f_contiguous:
        return _get_field(array.T.reshape(-1), path)
    return _Strided(array, path)


def _get_field(array: Array, path: tuple[str, ...]) -> Array:
    for name in path:
        array = array[name]
    return array


class _Strided:
    """Slices of an array that is not contiguous, in C order, each made on access."""

    def __init__(self, array: Array, path: tuple[str, ...]) -> None:
        self.array = array
        self.path = path

    def __getitem__(self, items: slice) -> Array:
        return _get_field(self.array.flat[items], self.path)
