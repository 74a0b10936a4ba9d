"""Which parts go into which shard. Knows sizes and kinds; knows no bytes, pickle or file.

Parts come in the order of `graph`: like parts are neighbours. A run of like parts that is large
enough has shards of its own, cut by raw size from its start, so a longer run begins with the same
shards; small runs share. Parts of equal skeletons and values are stored once, whatever they refer
to: references stand in the manifest.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from shardpickle.format import contents
from shardpickle.pickling.values import Value
from shardpickle.sklearn_support import classes

_OWN_SHARDS = 8  # a run of at least 1/8 of a shard's size shares its shards with no other run


@dataclass(frozen=True, slots=True)
class Item:
    """What packing needs to know of one part."""

    kind: str
    nbytes: int


@dataclass(frozen=True, slots=True)
class Box:
    """The parts of one shard, and the run that it is of: None where several share it."""

    numbers: list[int]
    run: int | None = None


def pack(items: Sequence[Item], numbers: Sequence[int], shard_size: int) -> list[Box]:
    """The parts of each shard.

    Parameters
    ----------
    items : sequence of Item
        All parts.
    numbers : sequence of int
        Those to store, ascending.
    shard_size : int
        Raw bytes after which a shard is full; a part is never cut.
    """
    boxes: list[Box] = []
    shared: list[int] = []
    for _, group in groupby(numbers, key=lambda number: items[number].kind):
        run = list(group)
        if sum(items[number].nbytes for number in run) * _OWN_SHARDS >= shard_size:
            boxes += [Box(shard) for shard in _cut(items, shared, shard_size)]
            boxes += [Box(shard, run[0]) for shard in _cut(items, run, shard_size)]
            shared = []
        else:
            shared += run
    return boxes + [Box(shard) for shard in _cut(items, shared, shard_size)]


def _cut(items: Sequence[Item], run: Sequence[int], shard_size: int) -> Iterator[list[int]]:
    shard: list[int] = []
    filled = 0
    for number in run:
        if shard and filled + items[number].nbytes > shard_size:
            yield shard
            shard, filled = [], 0
        shard.append(number)
        filled += items[number].nbytes
    if shard:
        yield shard


def equal_to(
    count: int, content: Callable[[int], tuple[Hashable, Sequence[Value]] | None]
) -> list[int]:
    """For each part the first part that it equals (itself, mostly).

    Parameters
    ----------
    count : int
        Number of parts.
    content : callable
        What has to be equal besides the values, and the values; None for a part that is not
        compared.
    """
    first: dict[Hashable, tuple[int, dict[bytes, int]]] = {}  # by sketch; then by digest
    found: list[int] = []
    for number in range(count):
        known = content(number)
        twin = number
        if known is not None:
            sketch = known[0], tuple(map(_sketch, known[1]))
            original, alike = first.setdefault(sketch, (number, {}))
            if original != number:
                twin = _twin(number, known[1], original, (content(original) or known)[1], alike)
        found.append(twin)
    return found


def _twin(
    number: int,
    mine: Sequence[Value],
    original: int,
    first: Sequence[Value],
    alike: dict[bytes, int],
) -> int:
    """The part of these values among those of one sketch, of which `original` was the first."""
    if all(a.source is b.source for a, b in zip(mine, first, strict=True)):
        return original
    if not alike:
        alike[contents.of_parts([(b"", first)]).digest()] = original
    return alike.setdefault(contents.of_parts([(b"", mine)]).digest(), number)


_SKETCHED_NODES = 64


def _sketch(value: Value) -> Hashable:
    """Cheap to make, and different for most values that differ."""
    source = value.source
    if value.kind == "tree":
        tree = classes.arrays(source)
        step = 1 + len(tree.nodes) // _SKETCHED_NODES
        return tree.head, tree.nodes["threshold"][::step].tobytes(), tree.values[::step].tobytes()
    if isinstance(source, np.ndarray):
        middle = source.flat[source.size // 2 : source.size // 2 + 4]
        return value.kind, source.dtype.str, source.shape, middle.tobytes()
    return value.kind, len(source), source[:64] if isinstance(source, str) else bytes(source[:64])
