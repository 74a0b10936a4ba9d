"""One frame: up to 1 MiB of a column, compressed. Knows nothing of shards or files.

Numbers are arranged first if a sample shows that this helps: shuffled (all first bytes, then all
second bytes, …), or, if few are distinct, as a palette and a byte for each. Every frame has zstd's
own checksum and its size.

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
BY_FREQUENCY = 0  # not one of zstd's levels: a search that finds almost no matches

Bytes = np.ndarray[Any, np.dtype[np.uint8]]


PLAIN, SHUFFLED, PALETTE = range(3)
_MOST_COLOURS = 256
_MOST_PALETTE = 1 + _MOST_COLOURS * 8
_NUMBERS = {width: np.dtype(f"<u{width}") for width in (2, 4, 8)}


@dataclass(frozen=True, slots=True)
class Frame:
    """A compressed frame: its bytes, its raw size, and how the raw bytes were arranged."""

    data: bytes
    nbytes: int
    form: int


def encode(raw: Bytes, width: int, level: int) -> Frame:
    """Compress `raw` (flat uint8), numbers of `width` bytes, at a zstd level.

    A sample decides how the bytes are arranged, and whether zstd looks for matches at all. If all
    matches are by chance, coding each byte by its frequency alone is shorter.
    """
    sample = _take_sample(raw, width)
    best = min(
        _list_ways(sample, width, level), key=lambda way: len(_compress(sample, width, *way))
    )
    try:
        return Frame(_compress(raw, width, *best), raw.nbytes, best[0])
    except _TooManyError:
        return Frame(_compress(raw, width, SHUFFLED, level), raw.nbytes, SHUFFLED)


def _list_ways(sample: Bytes, width: int, level: int) -> list[tuple[int, int]]:
    if width == 1 or sample.nbytes % width:
        return [(PLAIN, level), (PLAIN, BY_FREQUENCY)]
    ways = [(PLAIN, level), (SHUFFLED, level), (SHUFFLED, BY_FREQUENCY)]
    if _has_few(sample[: width << 10], width) and _has_few(sample, width):
        ways += [(PALETTE, level), (PALETTE, BY_FREQUENCY)]
    return ways


def _has_few(sample: Bytes, width: int) -> bool:
    """Whether a palette probably has room for all the numbers of a frame."""
    most = _MOST_COLOURS // 2
    return width in _NUMBERS and len(np.unique(sample.view(_NUMBERS[width]))) <= most


def _compress(raw: Bytes, width: int, form: int, level: int) -> bytes:
    if form == SHUFFLED:
        raw = shuffle(raw, width)
    elif form == PALETTE:
        raw = paint(raw, width)
    data: bytes = _get_compressor(level).compress(raw.data)
    return data


def _take_sample(raw: Bytes, width: int) -> Bytes:
    if raw.nbytes <= 2 * SAMPLE_BYTES:
        return raw
    start = (raw.nbytes // 2) // width * width
    return raw[start : start + SAMPLE_BYTES // width * width]


def decode(frame: Frame, width: int) -> Bytes:
    """Decode a frame to flat bytes.

    Raises
    ------
    CorruptShardError
        If the frame is damaged, or has more or less than `frame.nbytes`.
    """
    try:
        header = zstandard.get_frame_parameters(frame.data)
        # `decompress` ignores its own limit when the frame declares a size.
        size = header.content_size
        fits = (
            size == frame.nbytes if frame.form != PALETTE else size <= frame.nbytes + _MOST_PALETTE
        )
        if not fits or header.dict_id or not header.has_checksum:
            raise CorruptShardError(
                "a frame declares the wrong size",
                expected=frame.nbytes,
                actual=size,
            )
        raw = _get_decompressor().decompress(frame.data, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise CorruptShardError(f"a frame does not decompress: {error}") from None
    flat = np.frombuffer(raw, np.uint8)
    if frame.form == PALETTE:
        return unpaint(flat, width, frame.nbytes)
    return unshuffle(flat, width) if frame.form == SHUFFLED else flat


def shuffle(raw: Bytes, width: int) -> Bytes:
    return np.ascontiguousarray(raw.reshape(-1, width).T).reshape(-1)


def unshuffle(raw: Bytes, width: int) -> Bytes:
    if raw.nbytes % width:
        raise CorruptShardError("a shuffled frame's size is not a whole number of items")
    return np.ascontiguousarray(raw.reshape(width, -1).T).reshape(-1)


def paint(raw: Bytes, width: int) -> Bytes:
    """Encode numbers as a palette (its size less 1, then its numbers, ascending) and indices."""
    colours, indices = np.unique(raw.view(_NUMBERS[width]), return_inverse=True)
    if len(colours) > _MOST_COLOURS:
        raise _TooManyError
    count = np.array([len(colours) - 1], np.uint8)
    return np.concatenate([count, colours.view(np.uint8), indices.reshape(-1).astype(np.uint8)])


def unpaint(painted: Bytes, width: int, nbytes: int) -> Bytes:
    start = 1 + (int(painted[0]) + 1) * width if len(painted) and width in _NUMBERS else 0
    if not start or len(painted) < start or (len(painted) - start) * width != nbytes:
        raise CorruptShardError("a frame with a palette has the wrong size")
    colours = painted[1:start].copy().view(_NUMBERS[width])
    indices = painted[start:]
    if len(indices) and int(indices.max()) >= len(colours):
        raise CorruptShardError("a frame uses a colour outside its palette")
    return colours[indices].view(np.uint8)


class _TooManyError(Exception):
    """A palette is too small: the sample had fewer distinct numbers than the frame."""


# Threads must not share zstandard's contexts, and making one costs more than a small frame.
_of_thread = threading.local()


def _get_compressor(level: int) -> zstandard.ZstdCompressor:
    known: dict[int, zstandard.ZstdCompressor] = _of_thread.__dict__.setdefault("by_level", {})
    if level not in known:
        flags: Any = {"write_checksum": True, "write_content_size": True}
        if level == BY_FREQUENCY:
            parameters = zstandard.ZstdCompressionParameters.from_level(
                1, min_match=7, hash_log=6, **flags
            )
            known[level] = zstandard.ZstdCompressor(compression_params=parameters)
        else:
            known[level] = zstandard.ZstdCompressor(level=level, **flags)
    return known[level]


def _get_decompressor() -> zstandard.ZstdDecompressor:
    if not hasattr(_of_thread, "decompressor"):
        _of_thread.decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 27)
    return _of_thread.decompressor  # type: ignore[no-any-return]  # a thread's attributes are Any
