"""One frame: up to 1 MiB of a column, compressed. Knows nothing of shards or files.

The bytes of numbers are shuffled first (all first bytes, then all second bytes, …) where a sample
says that this helps. zstd's own checksum is in every frame, and so is its size.

Source of byte shuffling: the Blosc and HDF5 filters of that name.
"""

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import zstandard

from shardpickle.errors import CorruptShardError

FRAME_BYTES = 1 << 20
SAMPLE_BYTES = 1 << 16
LEVELS = range(1, 23)

Bytes = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True, slots=True)
class Frame:
    """A compressed frame: its bytes, the bytes it decodes to, and whether they were shuffled."""

    data: bytes
    nbytes: int
    shuffled: bool


def encode(raw: Bytes, width: int, level: int) -> Frame:
    """Compress `raw` (flat uint8), which holds numbers of `width` bytes, at a zstd level."""
    shuffled = width > 1 and raw.nbytes % width == 0 and _shuffle_helps(raw, width)
    data = _compressor(level).compress((shuffle(raw, width) if shuffled else raw).data)
    return Frame(data, raw.nbytes, shuffled)


def decode(frame: Frame, width: int) -> Bytes:
    """The bytes of a frame, flat.

    Raises
    ------
    CorruptShardError
        If the frame is damaged, or holds more or less than `frame.nbytes`.
    """
    try:
        header = zstandard.get_frame_parameters(frame.data)
        # `decompress` ignores its own limit when the frame declares a size.
        if header.content_size != frame.nbytes or header.dict_id or not header.has_checksum:
            raise CorruptShardError(
                "a frame declares another size",
                expected=frame.nbytes,
                actual=header.content_size,
            )
        raw = _decompressor().decompress(frame.data, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise CorruptShardError(f"a frame does not decompress: {error}") from None
    flat = np.frombuffer(raw, np.uint8)
    return unshuffle(flat, width) if frame.shuffled else flat


def shuffle(raw: Bytes, width: int) -> Bytes:
    return np.ascontiguousarray(raw.reshape(-1, width).T).reshape(-1)


def unshuffle(raw: Bytes, width: int) -> Bytes:
    if raw.nbytes % width:
        raise CorruptShardError("a shuffled frame holds a fraction of a number")
    return np.ascontiguousarray(raw.reshape(width, -1).T).reshape(-1)


def _shuffle_helps(raw: Bytes, width: int) -> bool:
    start = (raw.nbytes // 2) // width * width if raw.nbytes > 2 * SAMPLE_BYTES else 0
    sample = raw[start : start + SAMPLE_BYTES // width * width]
    plain, shuffled = (
        len(_compressor(1).compress(each.data)) for each in (sample, shuffle(sample, width))
    )
    return shuffled < plain


# zstandard's contexts are not to be shared between threads, and cost more than a small frame.
_of_thread = threading.local()


def _compressor(level: int) -> zstandard.ZstdCompressor:
    known: dict[int, zstandard.ZstdCompressor] = _of_thread.__dict__.setdefault("by_level", {})
    if level not in known:
        known[level] = zstandard.ZstdCompressor(
            level=level, write_checksum=True, write_content_size=True
        )
    return known[level]


def _decompressor() -> zstandard.ZstdDecompressor:
    if not hasattr(_of_thread, "decompressor"):
        _of_thread.decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 27)
    return _of_thread.decompressor  # type: ignore[no-any-return]  # a thread's attributes are Any
