"""Trees' arrays to columns and back. Values that can be recomputed exactly are not stored.

Sees arrays only; knows no object, manifest or path. `_tree_cython.pyx` (`_tree_numpy.py` if it was
not compiled) codes one tree in preorder. This file codes the trees of a shard, their numbering, and
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
from shardpickle.codecs.tree_tables import NO_TABLES, Tables, check_tables, tables_of
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
    """Applies a step to all items and returns the results in order."""

    def __call__(self, step: Callable[[Any], Any], items: Sequence[Any], /) -> list[Any]: ...


def encode(trees: Sequence[Tree], tables: Tables | None, map_parallel: ParallelMap) -> list[Array]:
    """Encode trees as `COLUMNS`.

    Parameters
    ----------
    trees : sequence of Tree
        They are not changed.
    tables : Tables, optional
        Those that several shards share. Default: the values that repeat among these trees.
    map_parallel : callable
        Applies the coding to chunks of trees, in parallel or not: the columns are the same.
    """
    local = tables_of(trees) if tables is None else NO_TABLES
    shared = local if tables is None else tables

    def step(chunk: Sequence[Tree]) -> tuple[list[int], list[Array], list[Array]]:
        return _encode_chunk(chunk, shared)

    done = map_parallel(step, _split_chunks(trees))
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
    map_parallel: ParallelMap,
) -> None:
    """Fill the memory of trees from their columns.

    Parameters
    ----------
    columns : sequence of ndarray
        From `encode`.
    heads : sequence of Head
        One for each tree.
    tables : Tables, optional
        Those that several shards share.
    take : callable
        Returns a tree's memory: its nodes as bytes, its values flat.
    done : callable
        Is called with each tree whose memory is filled, and whether it is sound. The caller must
        check any other (one stored as it is, or numbered freely).
    map_parallel : callable
        As for `encode`.

    Raises
    ------
    CorruptShardError
        If the columns do not describe trees with these heads.
    """
    rules, items, starts, thresholds, values = columns[:5]
    streams = [column.view(np.uint8) for column in columns[5:]]
    shared = check_tables(Tables(starts, thresholds, values)) if tables is None else tables
    if tables is not None and (len(starts) or len(thresholds) or len(values)):
        raise CorruptShardError("a shard has its own tables besides the shared ones")
    ends = _find_ends(rules, items, streams, len(heads))
    if not all(_are_compatible(combination) for combination in set(rules.tolist())):
        raise CorruptShardError("rules that contradict each other")

    def step(numbers: Sequence[int]) -> None:
        for number in numbers:
            nodes, flat = take(number)
            begin = ends[number]
            end = ends[number + 1]
            try:
                _decode_one(
                    streams, begin, end, int(rules[number]), heads[number], shared, nodes, flat
                )
            except ValueError as error:
                raise CorruptShardError(f"tree {number}: {error}") from None
            done(number, _is_sound(int(rules[number]), heads[number], nodes))

    map_parallel(step, _cut_sizes([head.nbytes for head in heads]))


def _is_sound(rules: int, head: Head, nodes: Array) -> bool:
    """Whether these columns can only be one tree's, and its depth is at most its head's."""
    if rules & (Rule.RAW | Rule.PERMUTED):
        return False
    work = _get_scratch("work", max(1, head.nodes), np.int64)
    return bool(_backend.loops.depth(nodes, work) <= head.depth)


def _find_ends(rules: Array, items: Array, streams: Sequence[Array], count: int) -> Array:
    """Find where each tree's slice of each stream starts, and where the last one ends, in bytes."""
    if len(rules) != count or len(items) != count * COUNT:
        raise CorruptShardError("rules or lengths for the wrong number of trees")
    if (items < 0).any() or (items > 1 << 48).any():
        raise CorruptShardError("a stream's length is out of range")
    widths = np.array([stream.width for stream in STREAMS])
    sizes = items.reshape(COUNT, count).T * widths
    ends = np.zeros((count + 1, COUNT), np.int64)
    np.cumsum(sizes, axis=0, out=ends[1:])
    if ends[-1].tolist() != [len(stream) for stream in streams]:
        raise CorruptShardError("the trees' streams and their columns differ in size")
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


def _are_compatible(rules: int) -> bool:
    """Whether the encoder can verify these rules for one tree."""
    if rules & (Rule.RAW | Rule.INFERENCE):
        return rules in (Rule.RAW, Rule.INFERENCE, Rule.INFERENCE | Rule.PERMUTED)
    return (
        rules & ~_ALL_RULES == 0
        and all((rules & group).bit_count() < 2 for group in _ONE_OF)
        and all(rules & others for rule, others in _ONLY_WITH.items() if rules & rule)
    )


def _split_chunks(trees: Sequence[Tree]) -> list[Sequence[Tree]]:
    return [trees[cut.start : cut.stop] for cut in _cut_sizes([tree.head.nbytes for tree in trees])]


def _cut_sizes(sizes: Sequence[int]) -> list[range]:
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


def _get_scratch(name: str, count: int, dtype: Any) -> Array:
    """Return memory that this thread keeps: fresh memory costs a page fault each time."""
    memory: Array | None = getattr(_of_thread, name, None)
    if memory is None or len(memory) < count:
        memory = np.empty(count, dtype)
        setattr(_of_thread, name, memory)
    return memory[:count]


def _get_work(head: Head) -> Array:
    count = work_items(head.nodes, len(head.classes), head.width, head.features)
    return _get_scratch("work", count, np.int64)


def _encode_chunk(
    trees: Sequence[Tree], tables: Tables
) -> tuple[list[int], list[Array], list[Array]]:
    most = np.array([most_bytes(tree.head.nodes, tree.head.width) for tree in trees], np.int64)
    raw = [np.int64(0), *np.cumsum(most.sum(axis=0))]
    bases = np.array(raw[:-1], np.int64)
    room = _get_scratch("room", int(raw[-1]) + 1, np.uint8)
    places = bases.copy()
    rules: list[int] = []
    lengths: list[Array] = []
    extras: dict[str, list[Array]] = {"order": [], "raw": []}
    for tree in trees:
        length = np.zeros(COUNT, np.int64)
        rules_of_tree = _encode_tree(tree, tables, room, places, length, extras)
        places = places + np.where(_IN_ROOM, length, 0)
        rules.append(rules_of_tree)
        lengths.append(length)
    columns = [room[a:b].copy() for a, b in zip(bases, places, strict=True)]
    for name, pieces in extras.items():
        columns[INDEX[name]] = np.concatenate([np.zeros(0, np.uint8), *pieces])
    return rules, lengths, columns


_IN_ROOM = np.array([stream.name not in ("order", "raw") for stream in STREAMS])


def _encode_tree(
    tree: Tree,
    tables: Tables,
    room: Array,
    places: Array,
    length: Array,
    extras: dict[str, list[Array]],
) -> int:
    head = tree.head.numbers()
    nodes, values = tree.memory
    if NODE.itemsize * tree.head.nodes != len(nodes) or tree.head.nodes * tree.head.width != len(
        values
    ):
        raise ValueError("a tree's head and its arrays differ")
    rules: int = _backend.loops.encode(
        nodes, values, head, *tables.arrays, room, places, length, _get_work(tree.head)
    )
    if rules != Rule.RAW:
        return rules
    order = preorder(tree.nodes)
    if order is not None:
        nodes, values = _renumber(tree, order)
        rules = _backend.loops.encode(
            nodes, values, head, *tables.arrays, room, places, length, _get_work(tree.head)
        )
        if rules != Rule.RAW:
            _add_extra(extras, length, "order", _get_numbering(tree.nodes, order))
            return rules | Rule.PERMUTED
    _add_extra(extras, length, "raw", _to_words(tree))
    return int(Rule.RAW)


def _add_extra(extras: dict[str, list[Array]], length: Array, name: str, words: Array) -> None:
    data = words.view(np.uint8)
    extras[name].append(data)
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
        raise ValueError("its streams have data that no rule reads")
    elif rules & Rule.PERMUTED:
        # Zeros, because padding is copied too.
        preordered = np.zeros_like(nodes), np.empty_like(values)
        numbers = head.numbers()
        _backend.loops.decode(
            streams, begin, end, rules, numbers, *tables.arrays, *preordered, _get_work(head)
        )
        _restore_numbers(words("order").view(np.int64), head, *preordered, nodes, values)
    else:
        _backend.loops.decode(
            streams,
            begin,
            end,
            rules,
            head.numbers(),
            *tables.arrays,
            nodes,
            values,
            _get_work(head),
        )


# Numbering


def preorder(nodes: Array) -> Array | None:
    """Number the nodes in preorder; None if they are not one binary tree."""
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


def _renumber(tree: Tree, order: Array) -> tuple[Array, Array]:
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    nodes = tree.nodes[order]
    inner = nodes["left_child"] != -1
    for side in ("left_child", "right_child"):
        nodes[side][inner] = places[nodes[side][inner]]
    return nodes.view(np.uint8).reshape(-1), tree.values.reshape(len(order), -1)[order].reshape(-1)


def _get_numbering(nodes: Array, order: Array) -> Array:
    """Return the left children's numbers if siblings follow each other, else all, in preorder."""
    inner = order[nodes["left_child"][order] != -1]
    left = nodes["left_child"][inner]
    if (nodes["right_child"][inner] == left + 1).all() and order[0] == 0:
        return np.ascontiguousarray(left)
    return order


def _restore_numbers(
    stored: Array, head: Head, preordered: Array, values: Array, nodes: Array, flat: Array
) -> None:
    source = preordered.view(NODE)
    n = head.nodes
    inner = np.flatnonzero(source["left_child"] != -1)
    order = stored
    if len(stored) == len(inner) and n > 1:
        order = np.zeros(n, np.int64)
        order[inner + 1] = stored
        order[source["right_child"][inner]] = stored + 1
    if len(order) != n or (order < 0).any() or (order >= n).any():
        raise ValueError("a node's number is out of range")
    if (np.bincount(order, minlength=n) != 1).any():
        raise ValueError("two nodes have the same number")
    for side in ("left_child", "right_child"):
        source[side][inner] = order[source[side][inner]]
    nodes.view(NODE)[order] = source
    flat.reshape(n, -1)[order] = values.reshape(n, -1)


def _to_words(tree: Tree) -> Array:
    """Return every field as it is, except padding, and the values."""
    nodes = tree.nodes.copy()
    nodes.view(NODE)["padding"] = b""
    return np.concatenate([nodes.view(np.uint64), np.ascontiguousarray(tree.memory[1]).view("u8")])


def _from_words(words: Array, lengths: Array, nodes: Array, values: Array) -> None:
    if len(words) * 8 != len(nodes) + len(values) * 8 or lengths.sum() != len(words) * 8:
        raise ValueError("the wrong number of raw words")
    fields = words[: len(nodes) // 8].view(NODE)
    if (words[7 : len(nodes) // 8 : 8] > 255).any():  # `missing_go_to_left` and the padding
        raise ValueError("raw nodes with data in their padding")
    nodes.view(NODE)[:] = fields
    values[:] = words[len(nodes) // 8 :].view(np.float64)


# Tables
