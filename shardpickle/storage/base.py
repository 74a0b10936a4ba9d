"""What a store of models is: where a manifest and content-named shards are read and written.

Only what they have in common: `local` has directories, `remote` what fsspec reaches, `packed`
single files and memory.
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
    """Where a shard stands, below the model."""
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
    """A shard that is being written; it is not there before `commit`, and can be read after it."""

    @property
    def nbytes(self) -> int: ...
    def write(self, data: bytes) -> None: ...
    def commit(self) -> tuple[str, bool]:
        """The SHA-256, and whether it is new (a sound file of that name was not there)."""

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
        """Whether a sound shard of this content, and so of these bytes, is there."""

    def keep(self) -> None:
        """The published manifest is the wanted one already: its shards stay."""

    def publish(self, manifest: bytes) -> None:
        """Make this manifest the model."""

    def collect(self, keep: Collection[str]) -> tuple[int, int]:
        """Remove shards whose SHA-256 is not in `keep`, and what was left over: (files, bytes)."""


class Store(Protocol):
    """Where one model is."""

    @property
    def name(self) -> str:
        """For messages."""

    @property
    def absolute(self) -> str:
        """What names it in another process."""

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
        """Refuse what `writing` would refuse, before any work is done for it."""

    def writing(self) -> AbstractContextManager[Publication]: ...


def check_manifest_size(name: str, size: int) -> None:
    """Refuse to read a manifest for which this process has no memory."""
    free = memory.available()
    if free is not None and size * _MANIFEST_GROWTH > free:
        raise ModelTooLargeError(name, size * _MANIFEST_GROWTH, free)


def pieces_of(shard: Shard) -> Iterator[bytes]:
    """The bytes of a shard, in order."""
    for offset in range(0, shard.size, _CHUNK):
        yield shard.read_at(offset, _CHUNK)


def digest_of(shard: Shard) -> str:
    """The SHA-256 of a whole shard."""
    whole = hashlib.sha256()
    for data in pieces_of(shard):
        whole.update(data)
    return whole.hexdigest()


class CheckedShard:
    """A shard's bytes as they were hashed, whoever may write to its file meanwhile.

    Up to 64 MiB it is read once, into memory. Of a larger one each chunk is hashed beside the
    whole, and again when a frame is read from it.
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
        for data in pieces_of(shard):
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
    """Take a shard in as it is: its SHA-256, and whether it is new there."""
    with publication.shard() as writer:
        for data in pieces_of(shard):
            writer.write(data)
        return writer.commit()


_CHUNK = 1 << 20
