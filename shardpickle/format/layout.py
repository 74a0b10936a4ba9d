"""A shard's bytes: frames, index, trailer. Pure; knows no file, no pickle and no manifest.

::

    magic "SHRDPKL1" | frame | frame | … | index (one zstd frame of JSON) | trailer (24 bytes)

Frames follow each other in the order of the columns, so their sizes give their offsets: they
cannot overlap or leave a gap. The trailer ends the file, so a shard can be written while it is
made, and the index can be read without the rest.
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
    """A frame's offset and stored size in its shard, its raw size, and its byte arrangement."""

    offset: int
    stored: int
    nbytes: int
    form: int


@dataclass(frozen=True, slots=True)
class Index:
    """A shard's own description: its sizes, and the frames of each column in order."""

    sizes: Sizes
    columns: tuple[tuple[FrameRef, ...], ...]


class Layer:
    """Places frames one after the other. Equal frames are stored once."""

    def __init__(self) -> None:
        self.end = len(MAGIC)
        self.columns: list[list[Any]] = []
        self._known: dict[bytes, int] = {}

    def start_column(self) -> None:
        self.columns.append([])

    def place(self, frame: Frame) -> bytes:
        """Return the bytes to write for this frame: none if an equal one is there already."""
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
        """Make the index and trailer, which end the file."""
        document = {
            "parts": sizes.parts,
            "skeletons": sizes.skeletons,
            "dimensions": sizes.dimensions,
            "layouts": [[_spec_to_json(spec) for spec in layout] for layout in sizes.layouts],
            "columns": self.columns,
        }
        raw = json.dumps(document, separators=(",", ":")).encode()
        packed = frames.encode(np.frombuffer(raw, np.uint8), 1, 3)
        return packed.data + _TRAILER.pack(self.end, len(packed.data), len(raw), MAGIC)


def index_range(head: bytes, trailer: bytes, size: int, most: int) -> tuple[int, int, int]:
    """Read the index's offset, stored and raw size from a file's first 8 and last 24 bytes.

    `most` is the largest raw size allowed.
    """
    if head != MAGIC or len(trailer) != TRAILER_BYTES:
        raise CorruptShardError("not a shard of this format")
    offset, stored, nbytes, magic = _TRAILER.unpack(trailer)
    if nbytes > most:
        raise CorruptShardError("its index declares a size that is too large", actual=nbytes)
    if magic != MAGIC or offset + stored + TRAILER_BYTES != size or offset < len(MAGIC):
        raise CorruptShardError("the file does not end as a shard does")
    return offset, stored, nbytes


def parse_index(data: bytes, nbytes: int, end: int) -> Index:
    """Parse the index of a shard whose frames end at `end`.

    Raises
    ------
    CorruptShardError
        If it is not an index that `Layer` could have written.
    """
    raw = frames.decode(Frame(data, nbytes, frames.PLAIN), 1).tobytes()
    try:
        document = json.loads(raw, object_pairs_hook=_check_members)
        layouts = tuple(_parse_layout(layout_entry) for layout_entry in document["layouts"])
        sizes = Sizes(
            _check_count(document["parts"]),
            _check_count(document["skeletons"]),
            _check_count(document["dimensions"]),
            layouts,
        )
        refs = _parse_frames(document["columns"], end)
    except (KeyError, IndexError, TypeError, ValueError, RecursionError) as error:
        if isinstance(error, CorruptShardError):
            raise
        raise CorruptShardError(f"its index is not valid: {error!r}") from None
    return Index(sizes, refs)


def _check_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if set(document) != _MEMBERS or len(pairs) != len(_MEMBERS):
        raise ValueError(f"an index has exactly the members {sorted(_MEMBERS)}")
    return document


def _parse_frames(columns: Any, end: int) -> tuple[tuple[FrameRef, ...], ...]:
    offset = len(MAGIC)
    known: list[FrameRef] = []
    all_refs: list[tuple[FrameRef, ...]] = []
    for column in columns:
        refs: list[FrameRef] = []
        for entry in column:
            if type(entry) is int:
                refs.append(known[_check_count(entry)])
                continue
            stored, nbytes, form = entry
            if type(form) is not int or form not in _FORMS:
                raise ValueError(f"unknown form of a frame: {form!r:.80}")
            ref = FrameRef(offset, _check_count(stored), _check_count(nbytes), form)
            if ref.nbytes > ref.stored * _MOST_RATIO:
                raise ValueError("a frame declares a larger size than zstd can reach")
            offset += ref.stored
            known.append(ref)
            refs.append(ref)
        all_refs.append(tuple(refs))
    if offset != end:
        raise CorruptShardError(
            "its frames do not end where the index starts", expected=end, actual=offset
        )
    return tuple(all_refs)


def _spec_to_json(spec: values.Spec) -> list[Any]:
    return [spec.codec, spec.kind, spec.dtype, spec.ndim, spec.order, spec.writeable]


def _parse_layout(entries: Sequence[Any]) -> Layout:
    layout = []
    for codec, kind, dtype, ndim, order, writeable in entries:
        if codec not in columns.CODECS:
            raise CorruptShardError(f"this version has no codec {codec!r}")
        if not all(type(text) is str for text in (kind, dtype, order)):
            raise ValueError("a spec's kind, dtype and order must be strings")
        if type(writeable) is not bool:
            raise ValueError("a spec's writeable flag must be true or false")
        layout.append(
            values.check(values.Spec(kind, dtype, _check_count(ndim), order, writeable, codec))
        )
    return tuple(layout)


def _check_count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise ValueError(f"not a count: {value!r}")
    return value
