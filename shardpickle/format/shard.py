"""Contents to a shard's bytes, and a shard's bytes to contents. Knows no file and no model.

Reading and writing are given as callables, and so is `each`, which applies a step to every frame
(on all threads that have nothing else to do).
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


class Each(Protocol):
    """Applies a step to all items and gives the results in order."""

    def __call__(self, step: Callable[[Any], Any], items: Sequence[Any], /) -> list[Any]: ...


@dataclass(frozen=True, slots=True)
class Usage:
    """What one column of a shard takes."""

    label: str
    raw: int
    stored: int


def encode(
    held: Contents, *, level: int, each: Each, batch: int, write: Write, advance: Advance
) -> None:
    """Write contents as a shard.

    Parameters
    ----------
    level : int
        zstd's compression level.
    each : callable
        Applies the encoding to frames, in parallel or not: the bytes are the same.
    batch : int
        Frames that are encoded before the first of them is written: few are held in memory,
        however long a column is.
    write : callable
        Receives the shard's bytes in order.
    advance : callable
        Is told the raw bytes that are done.
    """
    layer = Layer()
    write(layout.MAGIC)

    def step(job: tuple[Column, int, int]) -> Frame:
        column, start, stop = job
        frame = frames.encode(column.read(start, stop), column.leaf.width, level)
        advance(frame.nbytes)
        return frame

    def put(columns: Sequence[Labelled]) -> None:
        jobs = [[(one.column, a, b) for a, b in _cuts(one.column)] for one in columns]
        done = _in_batches(each, step, [job for group in jobs for job in group], batch)
        for group in jobs:
            layer.start_column()
            for _ in group:
                write(layer.place(next(done)))

    views: list[Labelled] = [*held.directory_columns(), held.skeleton_column()]
    for group in held.groups():
        columns = CODECS[group.spec.codec].encode(group, held.tables, each)
        if group.spec.codec == "array":
            views += columns
        else:
            put(views)
            views = []
            put(columns)
    put(views)
    write(layer.footer(held.sizes))


def _in_batches(
    each: Each, step: Callable[[Any], Frame], jobs: Sequence[Any], size: int
) -> Iterator[Frame]:
    for start in range(0, len(jobs), size):
        yield from each(step, jobs[start : start + size])


def _cuts(column: Column) -> list[tuple[int, int]]:
    if column.nbytes == 0:
        return []
    count = column.nbytes // column.item
    step = max(1, frames.FRAME_BYTES // column.item)
    return [(start, min(start + step, count)) for start in range(0, count, step)]


def read_index(read_at: ReadAt, size: int, most: int) -> Index:
    """The index, of at most `most` bytes, of a shard file of `size` bytes."""
    end = size - layout.TRAILER_BYTES
    if end < len(layout.MAGIC):
        raise CorruptShardError("too short to be a shard", actual=size)
    head = read_at(0, len(layout.MAGIC))
    trailer = read_at(end, layout.TRAILER_BYTES)
    offset, stored, nbytes = layout.index_range(head, trailer, size, most)
    return layout.parse_index(read_at(offset, stored), nbytes, offset)


def open_contents(read_at: ReadAt, index: Index, raw: int, *, together: bool = False) -> Contents:
    """The contents of a shard, with its directory read and memory for the rest, not yet filled.

    `raw` is the size that the manifest gives; a shard that would take another is corrupt.
    `together` is that of `contents.allocate`.
    """
    counts = contents.directory_counts(index.sizes)
    frames_of = [sum(ref.nbytes for ref in refs) for refs in index.columns]
    if [count * 8 for count in counts] != frames_of[: len(counts)]:
        raise CorruptShardError("the frames of its directory do not add up to it")
    held = contents.of_sizes(index.sizes)
    for labelled, refs in zip(held.directory_columns(), index.columns, strict=False):
        _fill(read_at, [labelled.column], [refs], _one_by_one, ignore)
    contents.allocate(held, raw, frames_of[len(counts) :], together=together)
    return held


def fill(
    read_at: ReadAt,
    index: Index,
    held: Contents,
    tree_memory: TreeMemory,
    *,
    each: Each,
    advance: Advance,
) -> None:
    """Decode the rest of the columns into the memory of the contents, trees into `tree_memory`."""
    refs = index.columns[len(held.directory_columns()) :]
    views = [held.skeleton_column()]
    of_views: list[Sequence[FrameRef]] = list(refs[:1])
    for group, labelled, theirs in _rooms(held, refs):
        if group.spec.codec == "array":
            views += labelled
            of_views += theirs
    _fill(read_at, [one.column for one in views], of_views, each, advance)
    for group, labelled, theirs in _rooms(held, refs):
        if group.spec.codec != "array":
            _fill(read_at, [one.column for one in labelled], theirs, each, advance)
            CODECS[group.spec.codec].decode(group, labelled, held.tables, tree_memory, each)


def fill_skeletons(read_at: ReadAt, index: Index, held: Contents, *, each: Each) -> None:
    """Decode the column of skeletons, and nothing else."""
    refs = index.columns[len(held.directory_columns())]
    _fill(read_at, [held.skeleton_column().column], [refs], each, ignore)


def _rooms(
    held: Contents, refs: Sequence[Sequence[FrameRef]]
) -> Iterator[tuple[Group, list[Labelled], Sequence[Sequence[FrameRef]]]]:
    """The columns of every group, to be filled, and their frames."""
    at = 1
    for group in held.groups():
        codec = CODECS[group.spec.codec]
        theirs = refs[at : at + codec.count(group.spec)]
        at += len(theirs)
        sizes = [sum(ref.nbytes for ref in column) for column in theirs]
        yield group, codec.room(group, sizes), theirs


def usage(index: Index, held: Contents) -> list[Usage]:
    """What each column of a shard takes, raw and stored."""
    rooms = _rooms(held, index.columns[len(held.directory_columns()) :])
    columns = [*held.directory_columns(), held.skeleton_column()]
    labels = [each.label for each in columns]
    labels += [each.label for _, labelled, _ in rooms for each in labelled]
    return [
        Usage(label, sum(ref.nbytes for ref in refs), sum(ref.stored for ref in refs))
        for label, refs in zip(labels, index.columns, strict=False)
    ]


def _fill(
    read_at: ReadAt,
    columns: Sequence[Column],
    refs: Sequence[Sequence[FrameRef]],
    each: Each,
    advance: Advance,
) -> None:
    jobs: list[tuple[Column, int, int, FrameRef]] = []
    for column, group in zip(columns, refs, strict=True):
        cuts = _cuts(column)
        sizes = [(stop - start) * column.item for start, stop in cuts]
        if sizes != [ref.nbytes for ref in group]:
            raise CorruptShardError("the frames of a column do not add up to it")
        jobs += [(column, *cut, ref) for cut, ref in zip(cuts, group, strict=True)]

    def step(job: tuple[Column, int, int, FrameRef]) -> None:
        column, start, stop, ref = job
        frame = Frame(read_at(ref.offset, ref.stored), ref.nbytes, ref.form)
        column.write(start, stop, frames.decode(frame, column.leaf.width))
        advance(frame.nbytes)

    each(step, jobs)


def _one_by_one(step: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    return [step(item) for item in items]


def ignore(nbytes: int) -> None:
    """An `Advance` that nobody listens to."""
