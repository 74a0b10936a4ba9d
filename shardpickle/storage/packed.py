"""A model in one file (an uncompressed zip) or in memory. Knows nothing of what shards mean.

The zip holds the files of the directory: the manifest first, then the shards in its order, all
uncompressed, so that shards are read in place. The same model gives the same bytes.
"""

import errno
import hashlib
import io
import os
import struct
import threading
import zipfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from shardpickle.errors import (
    CorruptModelError,
    CorruptShardError,
    MissingShardError,
    ModelNotFoundError,
    NotAModelError,
    StorageError,
)
from shardpickle.storage.base import (
    MANIFEST,
    OPENING,
    SHARDS,
    Publication,
    Shard,
    Store,
    check_manifest_size,
    read_pieces,
    shard_file,
)
from shardpickle.storage.files import ShardReader, anchor

_LOCAL_HEADER = struct.Struct("<4s5H3I2H")  # of a zip's member; APPNOTE.TXT 4.3.7
_EPOCH = (1980, 1, 1, 0, 0, 0)


def is_packed(start: bytes) -> bool:
    """Whether a file with this start is a packed model."""
    body = start[_LOCAL_HEADER.size + len(MANIFEST) :]
    name = start[_LOCAL_HEADER.size : _LOCAL_HEADER.size + len(MANIFEST)]
    return start[:4] == b"PK\x03\x04" and name == MANIFEST.encode() and body.startswith(OPENING)


def pack(
    store: Store,
    manifest: bytes,
    shards: Sequence[str],
    stream: IO[bytes],
    check: Callable[[str, Shard], None],
) -> None:
    """Write a model as a zip.

    Parameters
    ----------
    shards : sequence of str
        SHA-256 of the shards, in the manifest's order.
    check : callable
        Called with each SHA-256 and its open shard; raises if the shard cannot be that one.
    """
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as file:
        file.writestr(_member(MANIFEST), manifest)
        for sha256 in dict.fromkeys(shards):
            name = shard_file(sha256)
            digest = hashlib.sha256()
            with store.open_shard(sha256) as shard:
                check(sha256, shard)
                with file.open(_member(name, shard.size), "w") as out:
                    for data in read_pieces(shard):
                        digest.update(data)
                        out.write(data)
            if digest.hexdigest() != sha256:
                raise CorruptShardError(
                    "damaged (SHA-256)", file=name, expected=sha256, actual=digest.hexdigest()
                )


def _member(name: str, size: int = 0) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name, _EPOCH)
    member.create_system = 3  # Unix, wherever it is written
    member.external_attr = 0o644 << 16
    member.file_size = size  # tells zipfile whether zip64 is needed
    return member


class Piece:
    """A range of a file as a shard."""

    def __init__(self, reader: ShardReader, start: int, size: int) -> None:
        self._reader = reader  # closed by __exit__
        self._start = start
        self.size = size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._reader.__exit__(kind, error, traceback)

    def read_at(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset`; fewer where the shard ends."""
        return self._reader.read_at(self._start + offset, max(0, min(size, self.size - offset)))


class PackedStore:
    """A model in a zip file."""

    collects = False

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = anchor(Path(path))
        self.name = str(path)
        self._stamp: tuple[int, ...] = ()
        self._members: dict[str, tuple[int, int]] = {}

    @property
    def absolute(self) -> str:
        return str(self.path.absolute())

    def read_manifest(self) -> bytes:
        """The manifest's file."""
        with self._open(MANIFEST) as piece:
            check_manifest_size(self.name, piece.size)
            return piece.read_at(0, piece.size)

    def open_shard(self, sha256: str) -> Piece:
        return self._open(shard_file(sha256))

    def _open(self, name: str) -> Piece:
        try:
            reader = ShardReader(self.path, self.name)
        except MissingShardError:
            raise ModelNotFoundError(errno.ENOENT, "there is no model here", self.name) from None
        try:
            status = os.fstat(reader.stream.fileno())
            stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
            if stamp != self._stamp:  # another file took its place
                self._members = _read_members(reader.stream, reader.read_at, self.name)
                self._stamp = stamp
            place = self._members.get(name)
            if place is None:
                raise MissingShardError(f"not in {self.name}", file=name)
            return Piece(reader, *place)
        except BaseException:
            reader.__exit__(None, None, None)
            raise

    def start(self, of: str) -> bytes:
        return b""

    def holds(self, name: str) -> bool:
        return True

    def is_file(self) -> bool:
        return True

    def check_writable(self) -> None:
        raise StorageError(
            errno.EROFS,
            "is a packed model, which is not written to: unpack it, or dump to a directory and "
            "pack that",
            self.name,
        )

    def writing(self) -> AbstractContextManager[Publication]:
        self.check_writable()
        raise AssertionError


def from_bytes(data: bytes) -> "MemoryStore":
    """Return a store of the packed model in these bytes."""
    if not is_packed(data[:256]):
        raise NotAModelError("the bytes are not a packed shardpickle model")
    places = _read_members(io.BytesIO(data), lambda at, size: data[at : at + size], "bytes")
    store = MemoryStore()
    for name, (start, size) in places.items():
        if name == MANIFEST:
            check_manifest_size("the packed model", size)
            store.manifest = data[start : start + size]
        else:
            sha256 = name.removeprefix(f"{SHARDS}/").removesuffix(".shard")
            store.shards[sha256] = data[start : start + size]
    return store


def _read_members(
    stream: IO[bytes], read_at: Callable[[int, int], bytes], name: str
) -> dict[str, tuple[int, int]]:
    """Return where each member of a zip begins, and its size; raise if members overlap."""
    places: dict[str, tuple[int, int]] = {}
    try:
        with zipfile.ZipFile(stream) as file:
            end = 0  # of the member before
            for member in sorted(file.infolist(), key=lambda entry: entry.header_offset):
                head = read_at(member.header_offset, _LOCAL_HEADER.size)
                lengths = _LOCAL_HEADER.unpack(head)[-2:]
                if member.compress_type != zipfile.ZIP_STORED or member.filename in places:
                    raise ValueError(f"{member.filename} is compressed, or there twice")
                start = member.header_offset + _LOCAL_HEADER.size + sum(lengths)
                if member.header_offset < end:
                    raise ValueError(f"{member.filename} overlaps another file")
                end = start + member.file_size
                if end > file.start_dir:
                    raise ValueError(f"{member.filename} reaches past the end")
                places[member.filename] = start, member.file_size
    except Exception as error:  # whatever zipfile's parts raise: struct's errors, Unicode's, …
        raise CorruptModelError(f"not a sound packed model: {error}", file=name) from error
    return places


class MemoryStore:
    """A model in memory: where `dumps` dumps to, and `loads` loads from."""

    name = absolute = "memory"
    collects = False

    def __init__(self, manifest: bytes | None = None) -> None:
        self.manifest = manifest
        self.shards: dict[str, bytes] = {}

    def read_manifest(self) -> bytes:
        """The manifest."""
        if self.manifest is None:
            raise ModelNotFoundError(errno.ENOENT, "there is no model here", self.name)
        return self.manifest

    def open_shard(self, sha256: str) -> "Bytes":
        if sha256 not in self.shards:
            raise MissingShardError("the shard is missing", file=shard_file(sha256))
        return Bytes(self.shards[sha256])

    def start(self, of: str) -> bytes:
        return b""

    def holds(self, name: str) -> bool:
        return self.manifest is not None

    def is_file(self) -> bool:
        return False

    def check_writable(self) -> None:
        pass

    @contextmanager
    def writing(self) -> Iterator["MemoryStore"]:
        """The store is its own publication."""
        yield self

    def shard(self) -> "_BytesWriter":
        return _BytesWriter(self.shards)

    def has(self, sha256: str, nbytes: int) -> bool:
        return sha256 in self.shards

    def forget(self, sha256: str) -> None:
        """Drop a shard."""
        self.shards.pop(sha256, None)

    def keep(self) -> None:
        pass

    def publish(self, manifest: bytes) -> None:
        self.manifest = manifest

    def collect(self, keep: Collection[str]) -> tuple[int, int]:
        return 0, 0


class PassingStore(threading.local, MemoryStore):
    """A store in which each thread sees the shards that it has put there, and no others.

    Equal shards can be dropped by one thread while another one reads them.
    """


class Bytes:
    """Bytes as a shard."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass

    def read_at(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset`; fewer where the shard ends."""
        return self._data[offset : offset + size]


class _BytesWriter:
    def __init__(self, shards: dict[str, bytes]) -> None:
        self._shards = shards
        self._stream = io.BytesIO()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stream.close()

    @property
    def nbytes(self) -> int:
        return self._stream.tell()

    def write(self, data: bytes) -> None:
        self._stream.write(data)

    def commit(self) -> tuple[str, bool]:
        """The SHA-256, and whether it is new."""
        data = self._stream.getvalue()
        sha256 = hashlib.sha256(data).hexdigest()
        new = sha256 not in self._shards
        self._shards[sha256] = data
        return sha256, new
