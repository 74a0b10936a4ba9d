"""Contents to a shard's bytes, and back. Knows no file and no model.

The caller passes callables for reading and writing, and `map_parallel`, which applies a step to
every frame (on all idle threads).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from shardpickle.codecs import frames
from shardpickle.codecs.arrays import Column
from shardpickle.codecs.frames import Frame
from shardpickle.errors import CorruptShardError
from shardpickle.format import contents, layout
from shardpickle.format.columns import CODECS, Group, Labelled, TreeMemory
from shardpickle.format.contents import Contents
from shardpickle.format.layout import FrameRef, Index, Layer

ReadAt = Callable[[int, int], bytes]
Write = Callable[[bytes], None]
Advance = Callable[[int], None]


class ParallelMap(Protocol):
    """Applies a step to all items and returns the results in order."""

    def __call__(self, step: Callable[[Any], Any], items: Sequence[Any], /) -> list[Any]: ...


@dataclass(frozen=True, slots=True)
class Usage:
    """The size of one column of a shard, in bytes, raw and stored."""

    label: str
    raw: int
    stored: int


def encode(
    shard: Contents,
    *,
    level: int,
    map_parallel: ParallelMap,
    batch: int,
    write: Write,
    advance: Advance,
) -> None:
    """Write contents as a shard.

    Parameters
    ----------
    level : int
        zstd's compression level.
    map_parallel : callable
        Applies the encoding to frames, in parallel or not: the bytes are the same.
    batch : int
        Frames to encode before the first of them is written. It limits the frames in memory,
        however long a column is.
    write : callable
        Receives the shard's bytes in order.
    advance : callable
        Is called with the raw bytes that are done.
    """
    layer = Layer()
    write(layout.MAGIC)

    def step(job: tuple[Column, int, int]) -> Frame:
        column, start, stop = job
        frame = frames.encode(column.read(start, stop), column.leaf.width, level)
        advance(frame.nbytes)
        return frame

    def put(columns: Sequence[Labelled]) -> None:
        jobs = [
            [(labelled.column, a, b) for a, b in _cut_column(labelled.column)]
            for labelled in columns
        ]
        done = _run_batches(map_parallel, step, [job for group in jobs for job in group], batch)
        for group in jobs:
            layer.start_column()
            for _ in group:
                write(layer.place(next(done)))

    views: list[Labelled] = [*shard.directory_columns(), shard.skeleton_column()]
    for group in shard.groups():
        columns = CODECS[group.spec.codec].encode(group, shard.tables, map_parallel)
        if group.spec.codec == "array":
            views += columns
        else:
            put(views)
            views = []
            put(columns)
    put(views)
    write(layer.footer(shard.sizes))


def _run_batches(
    map_parallel: ParallelMap, step: Callable[[Any], Frame], jobs: Sequence[Any], size: int
) -> Iterator[Frame]:
    for start in range(0, len(jobs), size):
        yield from map_parallel(step, jobs[start : start + size])


def _cut_column(column: Column) -> list[tuple[int, int]]:
    if column.nbytes == 0:
        return []
    count = column.nbytes // column.item
    step = max(1, frames.FRAME_BYTES // column.item)
    return [(start, min(start + step, count)) for start in range(0, count, step)]


def read_index(read_at: ReadAt, size: int, most: int) -> Index:
    """Read the index, of at most `most` bytes, of a shard file of `size` bytes."""
    end = size - layout.TRAILER_BYTES
    if end < len(layout.MAGIC):
        raise CorruptShardError("the file is too short to be a shard", actual=size)
    head = read_at(0, len(layout.MAGIC))
    trailer = read_at(end, layout.TRAILER_BYTES)
    offset, stored, nbytes = layout.index_range(head, trailer, size, most)
    return layout.parse_index(read_at(offset, stored), nbytes, offset)


def open_contents(read_at: ReadAt, index: Index, raw: int, *, together: bool = False) -> Contents:
    """Read a shard's directory and allocate memory for the rest of its contents.

    `raw` is the size in the manifest; a shard of any other size is corrupt.
    `together` is passed to `contents.allocate`.
    """
    counts = contents.directory_counts(index.sizes)
    frames_of = [sum(ref.nbytes for ref in refs) for refs in index.columns]
    if [count * 8 for count in counts] != frames_of[: len(counts)]:
        raise CorruptShardError("the frames of its directory have the wrong total size")
    shard = contents.of_sizes(index.sizes)
    for labelled, refs in zip(shard.directory_columns(), index.columns, strict=False):
        _fill(read_at, [labelled.column], [refs], _map_in_order, ignore)
    contents.allocate(shard, raw, frames_of[len(counts) :], together=together)
    return shard


def fill(
    read_at: ReadAt,
    index: Index,
    shard: Contents,
    tree_memory: TreeMemory,
    *,
    map_parallel: ParallelMap,
    advance: Advance,
) -> None:
    """Decode the rest of the columns into the memory of the contents, trees into `tree_memory`."""
    refs = index.columns[len(shard.directory_columns()) :]
    views = [shard.skeleton_column()]
    view_refs: list[Sequence[FrameRef]] = list(refs[:1])
    for group, labelled, group_refs in _match_frames(shard, refs):
        if group.spec.codec == "array":
            views += labelled
            view_refs += group_refs
    _fill(read_at, [item.column for item in views], view_refs, map_parallel, advance)
    for group, labelled, group_refs in _match_frames(shard, refs):
        if group.spec.codec != "array":
            _fill(read_at, [item.column for item in labelled], group_refs, map_parallel, advance)
            CODECS[group.spec.codec].decode(
                group, labelled, shard.tables, tree_memory, map_parallel
            )


def fill_skeletons(
    read_at: ReadAt, index: Index, shard: Contents, *, map_parallel: ParallelMap
) -> None:
    """Decode only the column of skeletons."""
    refs = index.columns[len(shard.directory_columns())]
    _fill(read_at, [shard.skeleton_column().column], [refs], map_parallel, ignore)


def _match_frames(
    shard: Contents, refs: Sequence[Sequence[FrameRef]]
) -> Iterator[tuple[Group, list[Labelled], Sequence[Sequence[FrameRef]]]]:
    """Yield the columns of every group, to be filled, and their frames."""
    first = 1
    for group in shard.groups():
        codec = CODECS[group.spec.codec]
        group_refs = refs[first : first + codec.count(group.spec)]
        first += len(group_refs)
        sizes = [sum(ref.nbytes for ref in column) for column in group_refs]
        yield group, codec.room(group, sizes), group_refs


def usage(index: Index, shard: Contents) -> list[Usage]:
    """Measure each column of a shard, raw and stored."""
    rooms = _match_frames(shard, index.columns[len(shard.directory_columns()) :])
    columns = [*shard.directory_columns(), shard.skeleton_column()]
    labels = [column.label for column in columns]
    labels += [column.label for _, labelled, _ in rooms for column in labelled]
    return [
        Usage(label, sum(ref.nbytes for ref in refs), sum(ref.stored for ref in refs))
        for label, refs in zip(labels, index.columns, strict=False)
    ]


def _fill(
    read_at: ReadAt,
    columns: Sequence[Column],
    refs: Sequence[Sequence[FrameRef]],
    map_parallel: ParallelMap,
    advance: Advance,
) -> None:
    jobs: list[tuple[Column, int, int, FrameRef]] = []
    for column, group in zip(columns, refs, strict=True):
        cuts = _cut_column(column)
        sizes = [(stop - start) * column.item for start, stop in cuts]
        if sizes != [ref.nbytes for ref in group]:
            raise CorruptShardError("the frames of a column have the wrong total size")
        jobs += [(column, *cut, ref) for cut, ref in zip(cuts, group, strict=True)]

    def step(job: tuple[Column, int, int, FrameRef]) -> None:
        column, start, stop, ref = job
        frame = Frame(read_at(ref.offset, ref.stored), ref.nbytes, ref.form)
        column.write(start, stop, frames.decode(frame, column.leaf.width))
        advance(frame.nbytes)

    map_parallel(step, jobs)


def _map_in_order(step: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    return [step(item) for item in items]


def ignore(nbytes: int) -> None:
    """An `Advance` that reports no progress."""
