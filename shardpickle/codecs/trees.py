"""Trees' arrays as columns in which what follows from the rest is left out, and back.

Sees arrays only; knows no object, manifest or path. `_tree_cython.pyx` (or `_tree_numpy.py` where
it was not compiled) codes one tree in preorder; here are the trees of a shard, their numbering, and
the tables of values that repeat. The rules and their sources are in docs/trees.md.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from shardpickle.codecs import _backend
from shardpickle.codecs.tree_arrays import Array, Head, Tree
from shardpickle.codecs.tree_streams import (
    COUNT,
    INDEX,
    NODE,
    STREAMS,
    Rule,
    most_bytes,
    work_items,
)
from shardpickle.codecs.tree_tables import NO_TABLES, Tables, checked, tables_of
from shardpickle.errors import CorruptShardError

CHUNK_BYTES = 4 << 20  # raw bytes of trees that one step codes
HEAD = 4  # node count, depth, features, outputs; then the classes of each output

_LENGTHS, _RULES = "lengths", "rules"
_TABLES = ("table of thresholds, starts", "table of thresholds", "table of values")
COLUMNS = (
    (_RULES, 4, "structure"),
    (_LENGTHS, 8, "structure"),
    (_TABLES[0], 8, "threshold"),
    (_TABLES[1], 8, "threshold"),
    (_TABLES[2], 8, "value"),
    *((stream.name, stream.width, stream.field) for stream in STREAMS),
)


class ParallelMap(Protocol):
    """Applies a step to all items and gives the results in order."""

    def __call__(self, step: Callable[[Any], Any], items: Sequence[Any], /) -> list[Any]: ...


def encode(trees: Sequence[Tree], tables: Tables | None, each: ParallelMap) -> list[Array]:
    """The `COLUMNS` of some trees.

    Parameters
    ----------
    trees : sequence of Tree
        They are not changed.
    tables : Tables, optional
        Those that several shards share. Default: what repeats among these trees.
    each : callable
        Applies the coding to chunks of trees, in parallel or not: the columns are the same.
    """
    local = tables_of(trees) if tables is None else NO_TABLES
    used = local if tables is None else tables

    def step(chunk: Sequence[Tree]) -> tuple[list[int], list[Array], list[Array]]:
        return _encode_chunk(chunk, used)

    done = each(step, _chunks(trees))
    rules = np.array([rule for chunk in done for rule in chunk[0]], np.uint32)
    lengths = np.array([row for chunk in done for row in chunk[1]], np.int64).reshape(-1, COUNT)
    columns = [np.concatenate(pieces) for pieces in zip(*(chunk[2] for chunk in done), strict=True)]
    widths = np.array([stream.width for stream in STREAMS])
    items = np.ascontiguousarray((lengths // widths).T)
    return [rules, items.reshape(-1), *local.arrays, *columns]


def decode(
    columns: Sequence[Array],
    heads: Sequence[Head],
    tables: Tables | None,
    take: Callable[[int], tuple[Array, Array]],
    done: Callable[[int, bool], None],
    each: ParallelMap,
) -> None:
    """Fill the memory of trees from their columns.

    Parameters
    ----------
    columns : sequence of ndarray
        As `encode` gave them.
    heads : sequence of Head
        One for each tree.
    tables : Tables, optional
        Those that several shards share.
    take : callable
        Gives a tree's memory: its nodes as bytes, its values flat.
    done : callable
        Is told each tree whose memory is filled, and whether it is sound: any other
        (one that was stored as it is, or numbered freely) has to be checked by the caller.
    each : callable
        As for `encode`.

    Raises
    ------
    CorruptShardError
        If the columns do not describe trees with these heads.
    """
    rules, items, starts, thresholds, values = columns[:5]
    streams = [column.view(np.uint8) for column in columns[5:]]
    used = checked(Tables(starts, thresholds, values)) if tables is None else tables
    if tables is not None and (len(starts) or len(thresholds) or len(values)):
        raise CorruptShardError("tables beside those that shards share")
    ends = _ends(rules, items, streams, len(heads))
    if not all(_go_together(each) for each in set(rules.tolist())):
        raise CorruptShardError("rules that no tree follows together")

    def step(numbers: Sequence[int]) -> None:
        for number in numbers:
            nodes, flat = take(number)
            begin = ends[number]
            end = ends[number + 1]
            try:
                _decode_one(
                    streams, begin, end, int(rules[number]), heads[number], used, nodes, flat
                )
            except ValueError as error:
                raise CorruptShardError(f"tree {number}: {error}") from None
            done(number, _is_sound(int(rules[number]), heads[number], nodes))

    each(step, _cut([head.nbytes for head in heads]))


def _is_sound(rules: int, head: Head, nodes: Array) -> bool:
    """Whether these columns could only be one tree's, and it is no deeper than its head says."""
    if rules & (Rule.RAW | Rule.PERMUTED):
        return False
    work = _scratch("work", max(1, head.nodes), np.int64)
    return bool(_backend.loops.depth(nodes, work) <= head.depth)


def _ends(rules: Array, items: Array, streams: Sequence[Array], count: int) -> Array:
    """Where each tree's slice of each stream starts, and where the last one ends, in bytes."""
    if len(rules) != count or len(items) != count * COUNT:
        raise CorruptShardError("rules or lengths of another number of trees")
    if (items < 0).any() or (items > 1 << 48).any():
        raise CorruptShardError("a stream's length is out of range")
    widths = np.array([stream.width for stream in STREAMS])
    sizes = items.reshape(COUNT, count).T * widths
    ends = np.zeros((count + 1, COUNT), np.int64)
    np.cumsum(sizes, axis=0, out=ends[1:])
    if ends[-1].tolist() != [len(stream) for stream in streams]:
        raise CorruptShardError("the streams of the trees do not add up to their columns")
    return ends


_ONE_OF = (
    Rule.WEIGHT_EQUAL | Rule.WEIGHT_WHOLE,
    Rule.COUNTS | Rule.WHOLE_SUMS | Rule.MEANS | Rule.STEPS | Rule.HAZARD,
    Rule.GINI | Rule.SQUARES | Rule.SPREAD,
)
_ONLY_WITH = {
    Rule.WEIGHT_EQUAL: Rule.SAMPLES,
    Rule.COUNTS | Rule.WHOLE_SUMS | Rule.HAZARD: Rule.WEIGHT_EQUAL | Rule.WEIGHT_WHOLE,
    Rule.GINI: Rule.COUNTS,
    Rule.SQUARES: Rule.WHOLE_SUMS,
}
_ALL_RULES = sum(Rule)


def _go_together(rules: int) -> bool:
    """Whether the encoder could have verified these rules of one tree."""
    if rules & (Rule.RAW | Rule.INFERENCE):
        return rules in (Rule.RAW, Rule.INFERENCE, Rule.INFERENCE | Rule.PERMUTED)
    return (
        rules & ~_ALL_RULES == 0
        and all((rules & group).bit_count() < 2 for group in _ONE_OF)
        and all(rules & others for rule, others in _ONLY_WITH.items() if rules & rule)
    )


def _chunks(trees: Sequence[Tree]) -> list[Sequence[Tree]]:
    return [trees[cut.start : cut.stop] for cut in _cut([tree.head.nbytes for tree in trees])]


def _cut(sizes: Sequence[int]) -> list[range]:
    cuts: list[range] = []
    start = filled = 0
    for number, size in enumerate(sizes):
        if filled and filled + size > CHUNK_BYTES:
            cuts.append(range(start, number))
            start, filled = number, 0
        filled += size
    cuts.append(range(start, len(sizes)))
    return cuts


# One tree

_of_thread = threading.local()


def _scratch(name: str, count: int, dtype: Any) -> Array:
    """Memory of this thread, for as long as it lives: fresh memory costs a page fault each time."""
    known: Array | None = getattr(_of_thread, name, None)
    if known is None or len(known) < count:
        known = np.empty(count, dtype)
        setattr(_of_thread, name, known)
    return known[:count]


def _work(head: Head) -> Array:
    count = work_items(head.nodes, len(head.classes), head.width, head.features)
    return _scratch("work", count, np.int64)


def _encode_chunk(
    trees: Sequence[Tree], tables: Tables
) -> tuple[list[int], list[Array], list[Array]]:
    most = np.array([most_bytes(tree.head.nodes, tree.head.width) for tree in trees], np.int64)
    raw = [np.int64(0), *np.cumsum(most.sum(axis=0))]
    bases = np.array(raw[:-1], np.int64)
    room = _scratch("room", int(raw[-1]) + 1, np.uint8)
    places = bases.copy()
    rules: list[int] = []
    lengths: list[Array] = []
    besides: dict[str, list[Array]] = {"order": [], "raw": []}
    for tree in trees:
        length = np.zeros(COUNT, np.int64)
        found = _encode_tree(tree, tables, room, places, length, besides)
        places = places + np.where(_IN_ROOM, length, 0)
        rules.append(found)
        lengths.append(length)
    columns = [room[a:b].copy() for a, b in zip(bases, places, strict=True)]
    for name, pieces in besides.items():
        columns[INDEX[name]] = np.concatenate([np.zeros(0, np.uint8), *pieces])
    return rules, lengths, columns


_IN_ROOM = np.array([stream.name not in ("order", "raw") for stream in STREAMS])


def _encode_tree(
    tree: Tree,
    tables: Tables,
    room: Array,
    places: Array,
    length: Array,
    besides: dict[str, list[Array]],
) -> int:
    head = tree.head.numbers()
    nodes, values = tree.memory
    if NODE.itemsize * tree.head.nodes != len(nodes) or tree.head.nodes * tree.head.width != len(
        values
    ):
        raise ValueError("a tree's head and its arrays differ")
    rules: int = _backend.loops.encode(
        nodes, values, head, *tables.arrays, room, places, length, _work(tree.head)
    )
    if rules != Rule.RAW:
        return rules
    order = preorder(tree.nodes)
    if order is not None:
        nodes, values = _renumbered(tree, order)
        rules = _backend.loops.encode(
            nodes, values, head, *tables.arrays, room, places, length, _work(tree.head)
        )
        if rules != Rule.RAW:
            _beside(besides, length, "order", _numbering(tree.nodes, order))
            return rules | Rule.PERMUTED
    _beside(besides, length, "raw", _words(tree))
    return int(Rule.RAW)


def _beside(besides: dict[str, list[Array]], length: Array, name: str, words: Array) -> None:
    data = words.view(np.uint8)
    besides[name].append(data)
    length[INDEX[name]] = len(data)


def _decode_one(
    streams: list[Array],
    begin: Array,
    end: Array,
    rules: int,
    head: Head,
    tables: Tables,
    nodes: Array,
    values: Array,
) -> None:
    def words(name: str) -> Array:
        number = INDEX[name]
        return streams[number][begin[number] : end[number]].view(np.uint64)

    if rules & Rule.RAW:
        _from_words(words("raw"), end - begin, nodes, values)
    elif len(words("raw")) or (len(words("order")) and not rules & Rule.PERMUTED):
        raise ValueError("streams that no rule reads")
    elif rules & Rule.PERMUTED:
        there = np.zeros_like(nodes), np.empty_like(values)  # padding is copied with the rest
        numbers = head.numbers()
        _backend.loops.decode(
            streams, begin, end, rules, numbers, *tables.arrays, *there, _work(head)
        )
        _number(words("order").view(np.int64), head, *there, nodes, values)
    else:
        _backend.loops.decode(
            streams, begin, end, rules, head.numbers(), *tables.arrays, nodes, values, _work(head)
        )


# Numbering


def preorder(nodes: Array) -> Array | None:
    """Numbers of the nodes in preorder; None if they are not one binary tree."""
    n = len(nodes)
    left, right = nodes["left_child"], nodes["right_child"]
    levels: list[Array] = []
    frontier = np.zeros(min(n, 1), np.int64)
    seen = len(frontier)
    while len(frontier):
        parents = frontier[left[frontier] != -1]
        children = np.concatenate([left[parents], right[parents]])
        seen += len(children)
        if seen > n or ((children < 0) | (children >= n)).any():
            return None
        levels.append(parents)
        frontier = children
    sizes = np.ones(n, np.int64)
    for parents in reversed(levels):
        sizes[parents] += sizes[left[parents]] + sizes[right[parents]]
    places = np.zeros(n, np.int64)
    for parents in levels:
        places[left[parents]] = places[parents] + 1
        places[right[parents]] = places[parents] + 1 + sizes[left[parents]]
    order = np.full(n, -1)
    order[np.minimum(places, n - 1)] = np.arange(n)
    return order if seen == n and n and (order >= 0).all() else None


def _renumbered(tree: Tree, order: Array) -> tuple[Array, Array]:
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    nodes = tree.nodes[order]
    inner = nodes["left_child"] != -1
    for side in ("left_child", "right_child"):
        nodes[side][inner] = places[nodes[side][inner]]
    return nodes.view(np.uint8).reshape(-1), tree.values.reshape(len(order), -1)[order].reshape(-1)


def _numbering(nodes: Array, order: Array) -> Array:
    """The left children's numbers where siblings follow each other, else all, in preorder."""
    inner = order[nodes["left_child"][order] != -1]
    left = nodes["left_child"][inner]
    if (nodes["right_child"][inner] == left + 1).all() and order[0] == 0:
        return np.ascontiguousarray(left)
    return order


def _number(
    stored: Array, head: Head, there: Array, values: Array, nodes: Array, flat: Array
) -> None:
    source = there.view(NODE)
    n = head.nodes
    inner = np.flatnonzero(source["left_child"] != -1)
    order = stored
    if len(stored) == len(inner) and n > 1:
        order = np.zeros(n, np.int64)
        order[inner + 1] = stored
        order[source["right_child"][inner]] = stored + 1
    if len(order) != n or (order < 0).any() or (order >= n).any():
        raise ValueError("numbers of nodes out of range")
    if (np.bincount(order, minlength=n) != 1).any():
        raise ValueError("a node's number stands twice")
    for side in ("left_child", "right_child"):
        source[side][inner] = order[source[side][inner]]
    nodes.view(NODE)[order] = source
    flat.reshape(n, -1)[order] = values.reshape(n, -1)


def _words(tree: Tree) -> Array:
    """Every field as it is, padding aside, and the values."""
    nodes = tree.nodes.copy()
    nodes.view(NODE)["padding"] = b""
    return np.concatenate([nodes.view(np.uint64), np.ascontiguousarray(tree.memory[1]).view("u8")])


def _from_words(words: Array, lengths: Array, nodes: Array, values: Array) -> None:
    if len(words) * 8 != len(nodes) + len(values) * 8 or lengths.sum() != len(words) * 8:
        raise ValueError("raw words of another number")
    fields = words[: len(nodes) // 8].view(NODE)
    if (words[7 : len(nodes) // 8 : 8] > 255).any():  # `missing_go_to_left` and the padding
        raise ValueError("raw nodes with something between them")
    nodes.view(NODE)[:] = fields
    values[:] = words[len(nodes) // 8 :].view(np.float64)


# Tables
