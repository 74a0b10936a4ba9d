"""The interface of a store, which reads and writes a manifest and content-named shards.

The stores are in `local` (directories), `remote` (what fsspec reaches) and `packed` (single files
and memory).
"""

import hashlib
import threading
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Protocol, Self

from shardpickle._util import memory
from shardpickle.errors import CorruptShardError, ModelTooLargeError

MANIFEST = "manifest.json"
SHARDS = "shards"
OPENING = b'{\n"format": "shardpickle",\n'  # how every manifest of ours begins, in any version
_MANIFEST_GROWTH = 8  # bytes of memory for each byte of a manifest that is being read


def shard_file(sha256: str) -> str:
    """A shard's file, relative to the model."""
    return f"{SHARDS}/{sha256}.shard"


class Shard(Protocol):
    """An open shard; reads at any offset, from any thread."""

    @property
    def size(self) -> int: ...
    def read_at(self, offset: int, size: int) -> bytes: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class ShardWriter(Protocol):
    """A shard that is being written. It exists, and can be read, only after `commit`."""

    @property
    def nbytes(self) -> int: ...
    def write(self, data: bytes) -> None: ...
    def commit(self) -> tuple[str, bool]:
        """Return the SHA-256, and whether it is new (no sound file of that name existed)."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class Publication(Protocol):
    """One dump into a store."""

    def shard(self) -> ShardWriter: ...
    def has(self, sha256: str, nbytes: int) -> bool:
        """Whether a sound shard with this content and size exists."""

    def keep(self) -> None:
        """Keep the published manifest, which is already the right one, and its shards."""

    def publish(self, manifest: bytes) -> None:
        """Make this manifest the model."""

    def collect(self, keep: Collection[str]) -> tuple[int, int]:
        """Remove shards whose SHA-256 is not in `keep`, and leftovers; return (files, bytes)."""


class Store(Protocol):
    """Where one model is."""

    @property
    def name(self) -> str:
        """For messages."""

    @property
    def absolute(self) -> str:
        """The name by which another process finds it."""

    @property
    def collects(self) -> bool:
        """Whether a dump removes files that no model uses."""

    def read_manifest(self) -> bytes:
        """The manifest's file; `ModelNotFoundError` if there is none."""

    def open_shard(self, sha256: str) -> Shard: ...
    def start(self, of: str) -> bytes:
        """The first bytes of a file of the model (or of its path itself); empty if none."""

    def holds(self, name: str) -> bool: ...
    def is_file(self) -> bool: ...
    def check_writable(self) -> None:
        """Raise what `writing` would raise, before any work is done."""

    def writing(self) -> AbstractContextManager[Publication]: ...


def check_manifest_size(name: str, size: int) -> None:
    """Raise if this process has no memory to read the manifest."""
    free = memory.available()
    if free is not None and size * _MANIFEST_GROWTH > free:
        raise ModelTooLargeError(name, size * _MANIFEST_GROWTH, free)


def read_pieces(shard: Shard) -> Iterator[bytes]:
    """Yield the bytes of a shard, in order."""
    for offset in range(0, shard.size, _CHUNK):
        yield shard.read_at(offset, _CHUNK)


def compute_digest(shard: Shard) -> str:
    """Return the SHA-256 of a whole shard."""
    whole = hashlib.sha256()
    for data in read_pieces(shard):
        whole.update(data)
    return whole.hexdigest()


class CheckedShard:
    """A shard whose bytes stay as they were hashed, even if its file changes meanwhile.

    Up to 64 MiB, it is read once, into memory. In a larger one each chunk is hashed in addition to
    the whole, and again when a frame is read from it.
    """

    def __init__(self, shard: Shard) -> None:
        self._shard = shard
        self.size = shard.size
        self._data: bytes | None = None
        self._chunks: list[bytes] = []
        self._last: tuple[int, bytes] = -1, b""
        self._lock = threading.Lock()
        if self.size <= _IN_MEMORY:
            self._data = shard.read_at(0, self.size)
            self.sha256 = hashlib.sha256(self._data).hexdigest()
            return
        whole = hashlib.sha256()
        for data in read_pieces(shard):
            whole.update(data)
            self._chunks.append(hashlib.sha256(data).digest())
        self.sha256 = whole.hexdigest()

    def read_at(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset`; fewer where the shard ends."""
        if self._data is not None:
            return self._data[offset : offset + size]
        first, end = offset // _CHUNK, -(-min(offset + size, self.size) // _CHUNK)
        data = b"".join(map(self._chunk, range(first, end)))
        start = offset - first * _CHUNK
        return data[start : start + size]

    def _chunk(self, number: int) -> bytes:
        with self._lock:
            at, data = self._last
        if at != number:
            data = self._shard.read_at(number * _CHUNK, _CHUNK)
            if hashlib.sha256(data).digest() != self._chunks[number]:
                raise CorruptShardError("the file changes while it is read")
            with self._lock:
                self._last = number, data
        return data


_IN_MEMORY = 64 << 20


def copy_shard(shard: Shard, publication: Publication) -> tuple[str, bool]:
    """Copy a shard; return its SHA-256, and whether it is new there."""
    with publication.shard() as writer:
        for data in read_pieces(shard):
            writer.write(data)
        return writer.commit()


_CHUNK = 1 << 20
