"""Plans which parts go into which shard. Knows sizes and kinds, but no bytes, pickles or files.

Parts come in the order of `graph`: like parts are neighbours. A large run of like parts has shards
of its own. They are cut by raw size from its start, so a longer run begins with the same shards.
Small runs share shards. Parts with equal skeletons and values are stored once, whatever they refer
to: the manifest holds the references.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from shardpickle.format import contents
from shardpickle.pickling.values import Value
from shardpickle.sklearn_support import classes

_OWN_SHARDS = 8  # a run of at least 1/8 of a shard's size does not share its shards


@dataclass(frozen=True, slots=True)
class Item:
    """Kind and raw bytes of a part."""

    kind: str
    nbytes: int


@dataclass(frozen=True, slots=True)
class Box:
    """The parts of one shard, and its run: None if several runs share the shard."""

    numbers: list[int]
    run: int | None = None


def pack(items: Sequence[Item], numbers: Sequence[int], shard_size: int) -> list[Box]:
    """Distribute parts over shards.

    Parameters
    ----------
    items : sequence of Item
        All parts.
    numbers : sequence of int
        The parts to store, ascending.
    shard_size : int
        Raw bytes of a full shard. A part is never cut.
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


def find_equal_parts(
    count: int, content: Callable[[int], tuple[Hashable, Sequence[Value]] | None]
) -> list[int]:
    """Find the first part that each part equals, mostly itself.

    Parameters
    ----------
    count : int
        Number of parts.
    content : callable
        A key that has to be equal besides the values, and the values. None for a part that is
        not compared.
    """
    first: dict[Hashable, tuple[int, dict[bytes, int]]] = {}  # by sketch; then by digest
    twins: list[int] = []
    for number in range(count):
        key_and_values = content(number)
        twin = number
        if key_and_values is not None:
            sketch = key_and_values[0], tuple(map(_sketch, key_and_values[1]))
            original, by_digest = first.setdefault(sketch, (number, {}))
            if original != number:
                twin = _find_twin(
                    number,
                    key_and_values[1],
                    original,
                    (content(original) or key_and_values)[1],
                    by_digest,
                )
        twins.append(twin)
    return twins


def _find_twin(
    number: int,
    mine: Sequence[Value],
    original: int,
    first: Sequence[Value],
    by_digest: dict[bytes, int],
) -> int:
    """Find a part with equal values among those with one sketch. `original` was the first."""
    if all(a.source is b.source for a, b in zip(mine, first, strict=True)):
        return original
    if not by_digest:
        by_digest[contents.of_parts([(b"", first)]).digest()] = original
    return by_digest.setdefault(contents.of_parts([(b"", mine)]).digest(), number)


_SKETCHED_NODES = 64


def _sketch(value: Value) -> Hashable:
    """Make a cheap key that differs for most values that differ."""
    source = value.source
    if value.kind == "tree":
        tree = classes.arrays(source)
        step = 1 + len(tree.nodes) // _SKETCHED_NODES
        return tree.head, tree.nodes["threshold"][::step].tobytes(), tree.values[::step].tobytes()
    if isinstance(source, np.ndarray):
        middle = source.flat[source.size // 2 : source.size // 2 + 4]
        return value.kind, source.dtype.str, source.shape, middle.tobytes()
    return value.kind, len(source), source[:64] if isinstance(source, str) else bytes(source[:64])
