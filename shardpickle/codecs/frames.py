"""One frame: up to 1 MiB of a column, compressed. Knows nothing of shards or files.

Numbers are arranged first, where a sample says that this helps: shuffled (all first bytes, then all
second bytes, …), or, where few are distinct, as a palette and a byte for each. zstd's own checksum
is in every frame, and so is its size.

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


PLAIN, SHUFFLED, PALETTE = range(3)
_MOST_COLOURS = 256
_MOST_PALETTE = 1 + _MOST_COLOURS * 8
_NUMBERS = {width: np.dtype(f"<u{width}") for width in (2, 4, 8)}


@dataclass(frozen=True, slots=True)
class Frame:
    """A compressed frame: its bytes, the bytes it decodes to, and how they were arranged."""

    data: bytes
    nbytes: int
    form: int


def encode(raw: Bytes, width: int, level: int) -> Frame:
    """Compress `raw` (flat uint8), which holds numbers of `width` bytes, at a zstd level.

    A sample decides how its bytes are arranged, and whether zstd looks for matches at all: where
    there are none but chance ones, coding each byte by its frequency alone is shorter.
    """
    sample = _sample(raw, width)
    best = min(_ways(sample, width, level), key=lambda way: len(_compressed(sample, width, *way)))
    try:
        return Frame(_compressed(raw, width, *best), raw.nbytes, best[0])
    except _TooManyError:
        return Frame(_compressed(raw, width, SHUFFLED, level), raw.nbytes, SHUFFLED)


def _ways(sample: Bytes, width: int, level: int) -> list[tuple[int, int]]:
    if width == 1 or sample.nbytes % width:
        return [(PLAIN, level), (PLAIN, BY_FREQUENCY)]
    ways = [(PLAIN, level), (SHUFFLED, level), (SHUFFLED, BY_FREQUENCY)]
    if _has_few(sample[: width << 10], width) and _has_few(sample, width):
        ways += [(PALETTE, level), (PALETTE, BY_FREQUENCY)]
    return ways


def _has_few(sample: Bytes, width: int) -> bool:
    """Whether a palette is likely to hold all the numbers of a frame."""
    most = _MOST_COLOURS // 2
    return width in _NUMBERS and len(np.unique(sample.view(_NUMBERS[width]))) <= most


def _compressed(raw: Bytes, width: int, form: int, level: int) -> bytes:
    if form == SHUFFLED:
        raw = shuffle(raw, width)
    elif form == PALETTE:
        raw = paint(raw, width)
    data: bytes = _compressor(level).compress(raw.data)
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
        size = header.content_size
        fits = (
            size == frame.nbytes if frame.form != PALETTE else size <= frame.nbytes + _MOST_PALETTE
        )
        if not fits or header.dict_id or not header.has_checksum:
            raise CorruptShardError(
                "a frame declares another size",
                expected=frame.nbytes,
                actual=size,
            )
        raw = _decompressor().decompress(frame.data, allow_extra_data=False)
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
        raise CorruptShardError("a shuffled frame holds a fraction of a number")
    return np.ascontiguousarray(raw.reshape(width, -1).T).reshape(-1)


def paint(raw: Bytes, width: int) -> Bytes:
    """Numbers as a palette (how many less 1, the distinct ones ascending) and a byte for each."""
    colours, at = np.unique(raw.view(_NUMBERS[width]), return_inverse=True)
    if len(colours) > _MOST_COLOURS:
        raise _TooManyError
    count = np.array([len(colours) - 1], np.uint8)
    return np.concatenate([count, colours.view(np.uint8), at.reshape(-1).astype(np.uint8)])


def unpaint(painted: Bytes, width: int, nbytes: int) -> Bytes:
    start = 1 + (int(painted[0]) + 1) * width if len(painted) and width in _NUMBERS else 0
    if not start or len(painted) < start or (len(painted) - start) * width != nbytes:
        raise CorruptShardError("a frame with a palette holds another size")
    colours = painted[1:start].copy().view(_NUMBERS[width])
    at = painted[start:]
    if len(at) and int(at.max()) >= len(colours):
        raise CorruptShardError("a colour that is not in the palette")
    return colours[at].view(np.uint8)


class _TooManyError(Exception):
    """A palette was too small after all: the sample had fewer distinct numbers."""


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
