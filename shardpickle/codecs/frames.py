"""One frame: up to 1 MiB of a column, compressed. Knows nothing of shards or files.

The bytes of numbers are shuffled first (all first bytes, then all second bytes, …), and zstd
looks for matches, where a sample says that this helps. zstd's own checksum is in every frame, and
so is its size.

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
BY_FREQUENCY = 0  # not one of zstd's levels: a search that finds next to nothing

Bytes = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True, slots=True)
class Frame:
    """A compressed frame: its bytes, the bytes it decodes to, and whether they were shuffled."""

    data: bytes
    nbytes: int
    shuffled: bool


def encode(raw: Bytes, width: int, level: int) -> Frame:
    """Compress `raw` (flat uint8), which holds numbers of `width` bytes, at a zstd level.

    A sample decides whether its bytes are shuffled first, and whether zstd looks for matches at
    all: where there are none but chance ones, coding each byte by its frequency alone is shorter.
    """
    ways = [(False, level), (False, BY_FREQUENCY)]
    if width > 1 and raw.nbytes % width == 0:
        ways = [(False, level), (True, level), (True, BY_FREQUENCY)]
    sizes = [len(_compressed(_sample(raw, width), width, *way)) for way in ways]
    shuffled, how = ways[sizes.index(min(sizes))]
    return Frame(_compressed(raw, width, shuffled, how), raw.nbytes, shuffled)


def _compressed(raw: Bytes, width: int, shuffled: bool, level: int) -> bytes:
    data: bytes = _compressor(level).compress((shuffle(raw, width) if shuffled else raw).data)
    return data


def _sample(raw: Bytes, width: int) -> Bytes:
    if raw.nbytes <= 2 * SAMPLE_BYTES:
        return raw
    start = (raw.nbytes // 2) // width * width
    return raw[start : start + SAMPLE_BYTES // width * width]


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


# zstandard's contexts are not to be shared between threads, and cost more than a small frame.
_of_thread = threading.local()


def _compressor(level: int) -> zstandard.ZstdCompressor:
    known: dict[int, zstandard.ZstdCompressor] = _of_thread.__dict__.setdefault("by_level", {})
    if level not in known:
        flags: Any = {"write_checksum": True, "write_content_size": True}
        if level == BY_FREQUENCY:
            found = zstandard.ZstdCompressionParameters.from_level(
                1, min_match=7, hash_log=6, **flags
            )
            known[level] = zstandard.ZstdCompressor(compression_params=found)
        else:
            known[level] = zstandard.ZstdCompressor(level=level, **flags)
    return known[level]


def _decompressor() -> zstandard.ZstdDecompressor:
    if not hasattr(_of_thread, "decompressor"):
        _of_thread.decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 27)
    return _of_thread.decompressor  # type: ignore[no-any-return]  # a thread's attributes are Any
