"""A shard's bytes: frames, index, trailer. Pure; knows no file, no pickle and no manifest.

::

    magic "SHRDPKL1" | frame | frame | … | index (one zstd frame of JSON) | trailer (24 bytes)

Frames lie one behind the other in the order of the columns, so their offsets follow from their
sizes: they cannot overlap or leave a hole. The trailer ends the file, so a shard can be written
while it is made, and the index can be read without the rest.
"""

import hashlib
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from shardpickle.codecs import frames
from shardpickle.codecs.frames import Frame
from shardpickle.errors import CorruptShardError
from shardpickle.format import columns
from shardpickle.format.contents import Layout, Sizes
from shardpickle.pickling import values

MAGIC = b"SHRDPKL1"
_TRAILER = struct.Struct("<QII8s")  # offset, stored and raw size of the index; magic
TRAILER_BYTES = _TRAILER.size
_MOST_RATIO = 1 << 16  # a zstd block of 128 KiB takes at least 4 bytes (RFC 8878, 3.1.1.2)
_FORMS = (frames.PLAIN, frames.SHUFFLED, frames.PALETTE)
_MEMBERS = {"parts", "skeletons", "dimensions", "layouts", "columns"}


@dataclass(frozen=True, slots=True)
class FrameRef:
    """Where a frame lies in its shard, what it decodes to, and how it is arranged."""

    offset: int
    stored: int
    nbytes: int
    form: int


@dataclass(frozen=True, slots=True)
class Index:
    """What a shard says of itself: its sizes, and the frames of each column in order."""

    sizes: Sizes
    columns: tuple[tuple[FrameRef, ...], ...]


class Layer:
    """Lays frames one behind the other; equal frames once."""

    def __init__(self) -> None:
        self.end = len(MAGIC)
        self.columns: list[list[Any]] = []
        self._known: dict[bytes, int] = {}

    def start_column(self) -> None:
        self.columns.append([])

    def place(self, frame: Frame) -> bytes:
        """The bytes to write for this frame: none if an equal one is there already."""
        key = hashlib.sha256(frame.data).digest() + bytes([frame.form])
        known = self._known.get(key)
        if known is not None:
            self.columns[-1].append(known)
            return b""
        self._known[key] = len(self._known)
        self.columns[-1].append([len(frame.data), frame.nbytes, frame.form])
        self.end += len(frame.data)
        return frame.data

    def footer(self, sizes: Sizes) -> bytes:
        """Index and trailer, which end the file."""
        document = {
            "parts": sizes.parts,
            "skeletons": sizes.skeletons,
            "dimensions": sizes.dimensions,
            "layouts": [[_spec_document(spec) for spec in layout] for layout in sizes.layouts],
            "columns": self.columns,
        }
        raw = json.dumps(document, separators=(",", ":")).encode()
        packed = frames.encode(np.frombuffer(raw, np.uint8), 1, 3)
        return packed.data + _TRAILER.pack(self.end, len(packed.data), len(raw), MAGIC)


def index_range(head: bytes, trailer: bytes, size: int, most: int) -> tuple[int, int, int]:
    """Offset, stored and raw size of the index, from a file's first 8 and last 24 bytes.

    `most` is the raw size that it may have.
    """
    if head != MAGIC or len(trailer) != TRAILER_BYTES:
        raise CorruptShardError("not a shard of this format")
    offset, stored, nbytes, magic = _TRAILER.unpack(trailer)
    if nbytes > most:
        raise CorruptShardError("its index declares too large a size", actual=nbytes)
    if magic != MAGIC or offset + stored + TRAILER_BYTES != size or offset < len(MAGIC):
        raise CorruptShardError("the end of the file is not a shard's")
    return offset, stored, nbytes


def parse_index(data: bytes, nbytes: int, end: int) -> Index:
    """The index of a shard whose frames end at `end`.

    Raises
    ------
    CorruptShardError
        If it is not an index that `Layer` could have written.
    """
    raw = frames.decode(Frame(data, nbytes, frames.PLAIN), 1).tobytes()
    try:
        document = json.loads(raw, object_pairs_hook=_closed)
        layouts = tuple(_layout(each) for each in document["layouts"])
        sizes = Sizes(
            _count(document["parts"]),
            _count(document["skeletons"]),
            _count(document["dimensions"]),
            layouts,
        )
        refs = _frame_refs(document["columns"], end)
    except (KeyError, IndexError, TypeError, ValueError, RecursionError) as error:
        if isinstance(error, CorruptShardError):
            raise
        raise CorruptShardError(f"its index is not valid: {error!r}") from None
    return Index(sizes, refs)


def _closed(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if set(document) != _MEMBERS or len(pairs) != len(_MEMBERS):
        raise ValueError("other members than an index has")
    return document


def _frame_refs(columns: Any, end: int) -> tuple[tuple[FrameRef, ...], ...]:
    at = len(MAGIC)
    known: list[FrameRef] = []
    found: list[tuple[FrameRef, ...]] = []
    for column in columns:
        refs: list[FrameRef] = []
        for entry in column:
            if type(entry) is int:
                refs.append(known[_count(entry)])
                continue
            stored, nbytes, form = entry
            if type(form) is not int or form not in _FORMS:
                raise ValueError(f"no form of a frame: {form!r:.80}")
            ref = FrameRef(at, _count(stored), _count(nbytes), form)
            if ref.nbytes > ref.stored * _MOST_RATIO:
                raise ValueError("a frame declares more than zstd can hold")
            at += ref.stored
            known.append(ref)
            refs.append(ref)
        found.append(tuple(refs))
    if at != end:
        raise CorruptShardError(
            "its frames do not end where the index starts", expected=end, actual=at
        )
    return tuple(found)


def _spec_document(spec: values.Spec) -> list[Any]:
    return [spec.codec, spec.kind, spec.dtype, spec.ndim, spec.order, spec.writeable]


def _layout(entries: Sequence[Any]) -> Layout:
    layout = []
    for codec, kind, dtype, ndim, order, writeable in entries:
        if codec not in columns.CODECS:
            raise CorruptShardError(f"no codec of this version is called {codec!r}")
        if not all(type(text) is str for text in (kind, dtype, order)):
            raise ValueError("a spec of other types")
        if type(writeable) is not bool:
            raise ValueError("an invalid flag")
        layout.append(values.check(values.Spec(kind, dtype, _count(ndim), order, writeable, codec)))
    return tuple(layout)


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise ValueError(f"not a count: {value!r}")
    return value
