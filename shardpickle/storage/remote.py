"""A model where fsspec reaches: object stores, HTTP. Knows nothing of what shards mean.

Nothing is renamed: shards are there under the names of their contents before the manifest, one
object that is written as a whole, makes them the model. A dump deletes nothing, since another
writer may be about to publish what looks unused; `gc` does on request.
"""

import errno
import hashlib
import io
import os
import random
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from shardpickle.errors import (
    ForeignDirectoryError,
    MissingShardError,
    ModelNotFoundError,
    ShardpickleError,
    StorageError,
    StoragePermissionError,
)
from shardpickle.storage import web
from shardpickle.storage.base import (
    MANIFEST,
    OPENING,
    SHARDS,
    Shard,
    check_manifest_size,
    shard_file,
)
from shardpickle.storage.files import (
    ShardReader,
    ShardWriter,
    anchor,
    check_path,
    is_sound,
    name_errors,
)
from shardpickle.storage.packed import Bytes

_Result = TypeVar("_Result")

ATTEMPTS = 5
_FIRST_WAIT = 0.2  # seconds; doubles with every attempt, and is drawn at random up to that


def is_remote(path: str) -> bool:
    """Whether a path is a URL that fsspec opens."""
    return "://" in path or "::" in path


class RemoteStore:
    """A model at a URL.

    Parameters
    ----------
    url : str
        ``"s3://bucket/model"``, ``"https://host/model"``, …
    options : mapping, optional
        What fsspec's file system takes: credentials, endpoints.
    cache_dir : path, optional
        A local directory that keeps the shards that are fetched.
    """

    collects = False

    def __init__(
        self,
        url: str,
        options: Mapping[str, Any] | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        self.name = _show(url)
        self.absolute = url
        self._options = dict(options or {})
        self._cache = None if cache_dir is None else anchor(check_path(cache_dir))
        self._process = -1
        self.fresh: dict[str, bytes] = {}  # shards under way, until they have been read back
        system, root = self._system()
        protocol = system.protocol
        names = (protocol,) if isinstance(protocol, str) else protocol
        if "file" in names and "::" not in url:
            self.absolute = f"file://{root}"  # the path in the URL may have been a relative one

    def _system(self) -> tuple[Any, str]:
        """Return the file system, reopened after a fork, and the path in it."""
        if self._process != os.getpid():
            try:
                import fsspec
            except ImportError:
                raise ImportError(
                    f"{self.name} is opened through fsspec: pip install 'shardpickle[remote]'"
                ) from None
            try:
                with self._translate_errors("open"):
                    options = web.bound_options(self.absolute, self._options)
                    self._fs, root = fsspec.core.url_to_fs(self.absolute, **options)
            except StorageError as error:
                if isinstance(error.__cause__, ImportError):
                    raise ImportError(f"{self.name}: {error.__cause__}") from error
                raise
            self._root = root.rstrip("/")
            self._process = os.getpid()
        return self._fs, self._root

    def call(self, doing: str, method: str, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the file system on a file, and repeat it as `retry` does."""

        def once() -> Any:
            system, root = self._system()
            return getattr(system, method)(f"{root}/{name}" if name else root, *args, **kwargs)

        return self.retry(doing, once)

    def write(self, doing: str, name: str, data: bytes) -> None:
        """Write a file as a whole."""
        try:
            self.call(doing, "pipe_file", name, data)
        except FileNotFoundError as error:
            raise StorageError(
                errno.ENOENT, f"cannot {doing}: {error}; check that this place is there", self.name
            ) from error

    def retry(self, doing: str, once: Callable[[], _Result]) -> _Result:
        """Call a function, and repeat it after passing failures of network or server."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with self._translate_errors(doing):
                    return once()
            except StorageError as error:
                if attempt == ATTEMPTS or not _can_pass(error.__cause__ or error):
                    raise
                time.sleep(random.uniform(0, _FIRST_WAIT * 2**attempt))
        raise AssertionError

    @contextmanager
    def _translate_errors(self, doing: str) -> Iterator[None]:
        """Turn what fsspec's file systems raise into errors of ours, except for missing files."""
        try:
            yield
        except (ShardpickleError, FileNotFoundError):
            raise
        except PermissionError as error:
            raise StoragePermissionError(
                errno.EACCES, f"cannot {doing}: {error}; check the credentials", self.name
            ) from error
        except Exception as error:
            number = getattr(error, "errno", None)
            reason = str(error) or type(error).__name__
            raise StorageError(
                number or errno.EIO, f"cannot {doing}: {reason}", self.name
            ) from error

    def read_manifest(self) -> bytes:
        """The manifest's file; `ModelNotFoundError` if there is none."""

        def read() -> bytes:
            size = self.size_of(MANIFEST)
            check_manifest_size(self.name, size)
            return self.read(MANIFEST, size)

        try:
            return self.retry("read the manifest", read)
        except FileNotFoundError:
            raise ModelNotFoundError(errno.ENOENT, "no manifest.json here", self.name) from None

    def size_of(self, name: str) -> int:
        """Bytes of a file."""
        system, root = self._system()
        system.invalidate_cache()
        try:
            size = system.info(f"{root}/{name}").get("size")
        except FileNotFoundError as error:  # fsspec raises this for any failure of HTTP
            cause = error.__cause__
            missing = isinstance(cause, FileNotFoundError) or getattr(cause, "status", 0) in _GONE
            if cause is None or missing:
                raise
            raise cause from None
        if size is None:
            raise OSError(errno.EIO, "the server does not say how large it is")
        return int(size)

    def read(self, name: str, size: int) -> bytes:
        """Read a whole file, which must have `size` bytes."""
        system, root = self._system()
        with system.open(f"{root}/{name}", "rb", cache_type="none") as stream:
            data: bytes = stream.read(size + 1)
        if len(data) != size:
            raise OSError(errno.EIO, f"{len(data)} of {size} bytes arrived")
        return data

    def open_shard(self, sha256: str) -> Shard:
        if sha256 in self.fresh:
            return Bytes(self.fresh[sha256])
        kept = self._open_cached(sha256)
        return RemoteShard(self, sha256) if kept is None else kept

    def _open_cached(self, sha256: str) -> Shard | None:
        """Open a shard in the cache; None if it is missing or damaged."""
        if self._cache is None or not is_sound(self._cache / f"{sha256}.shard", sha256):
            return None
        return ShardReader(self._cache / f"{sha256}.shard", shard_file(sha256))

    def keep(self, data: bytes) -> None:
        """Put a shard into the cache."""
        if self._cache is not None:
            with name_errors(self._cache, "make the cache_dir"):
                self._cache.mkdir(parents=True, exist_ok=True)
            with ShardWriter(self._cache, lambda _: None) as writer:
                writer.write(data)
                writer.commit()

    def start(self, of: str) -> bytes:
        try:
            start: bytes = self.call("read", "cat_file", of, start=0, end=256)
        except (OSError, ShardpickleError):
            return b""
        return start

    def holds(self, name: str) -> bool:
        return bool(self.call("look", "exists", name))

    def is_file(self) -> bool:
        return False

    def check_writable(self) -> None:
        try:
            start: bytes = self.call("read the manifest", "cat_file", MANIFEST, start=0, end=256)
        except FileNotFoundError:
            self._refuse_foreign()
        else:
            if not start.startswith(OPENING):
                raise ForeignDirectoryError(
                    errno.EEXIST,
                    "holds a manifest.json that is not shardpickle's; dump elsewhere",
                    self.name,
                )

    def _refuse_foreign(self) -> None:
        try:
            paths = self.call("list", "ls", "", detail=False)
        except FileNotFoundError:
            return
        strangers = sorted({str(path).rstrip("/").rpartition("/")[2] for path in paths} - {SHARDS})
        if strangers:
            raise ForeignDirectoryError(
                errno.EEXIST,
                f"is not empty and is not a shardpickle model (it holds {strangers[0]!r}); dump to "
                "a new or an empty place",
                self.name,
            )

    @contextmanager
    def writing(self) -> Iterator["RemotePublication"]:
        """One dump. Nothing that it has uploaded is removed, whatever happens."""
        yield RemotePublication(self)


class RemoteShard:
    """A shard that is fetched, whole, when it is read."""

    def __init__(self, store: RemoteStore, sha256: str) -> None:
        self._store = store
        self._sha256 = sha256
        self._file = shard_file(sha256)
        self._data: bytes | None = None
        try:
            self.size = store.retry("read a shard", lambda: store.size_of(self._file))
        except FileNotFoundError:
            raise MissingShardError("the shard is missing", file=self._file) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._data = None

    def read_at(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset`; fewer where the shard ends."""
        if self._data is None:
            self._data = self._fetch()
        return self._data[offset : offset + size]

    def _fetch(self) -> bytes:
        def read() -> bytes:
            return self._store.read(self._file, self.size)

        try:
            data = self._store.retry("read a shard", read)
        except FileNotFoundError:
            raise MissingShardError("the shard is missing", file=self._file) from None
        if hashlib.sha256(data).hexdigest() == self._sha256:
            self._store.keep(data)
        return data


class RemotePublication:
    """One dump to a URL: shards first, the manifest last."""

    def __init__(self, store: RemoteStore) -> None:
        self._store = store

    def shard(self) -> "RemoteWriter":
        return RemoteWriter(self._store)

    def has(self, sha256: str, nbytes: int) -> bool:
        """Whether a shard of this name and size is there; such stores write whole objects."""
        try:
            return (
                self._store.retry("look", lambda: self._store.size_of(shard_file(sha256))) == nbytes
            )
        except FileNotFoundError:
            return False

    def keep(self) -> None:
        pass

    def publish(self, manifest: bytes) -> None:
        """Make this manifest the model."""
        self._store.write("publish the manifest", MANIFEST, manifest)

    def collect(self, keep: Collection[str]) -> tuple[int, int]:
        """Remove shards whose SHA-256 is not in `keep`: (files, bytes)."""
        try:
            entries = self._store.call("list the shards", "ls", SHARDS, detail=True)
        except FileNotFoundError:
            return 0, 0
        count = nbytes = 0
        for entry in entries:
            name = entry["name"].rpartition("/")[2]
            if name.removesuffix(".shard") in keep or not name.endswith(".shard"):
                continue
            self._store.call("remove a shard", "rm_file", f"{SHARDS}/{name}")
            count += 1
            nbytes += entry.get("size") or 0
        return count, nbytes


class RemoteWriter:
    """A shard that is uploaded as a whole; until it is done, it is read from memory."""

    def __init__(self, store: RemoteStore) -> None:
        self._store = store
        self._stream = io.BytesIO()
        self._sha256 = ""
        self.nbytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._store.fresh.pop(self._sha256, None)
        self._stream.close()

    def write(self, data: bytes) -> None:
        self._stream.write(data)
        self.nbytes += len(data)

    def commit(self) -> tuple[str, bool]:
        """The SHA-256, and whether it had to travel."""
        data = self._stream.getvalue()
        self._sha256 = hashlib.sha256(data).hexdigest()
        self._store.fresh[self._sha256] = data
        publication = RemotePublication(self._store)
        if publication.has(self._sha256, len(data)):
            return self._sha256, False
        self._store.write("write a shard", shard_file(self._sha256), data)
        if not publication.has(self._sha256, len(data)):
            raise StorageError(
                errno.EIO, f"{shard_file(self._sha256)} did not arrive whole", self._store.name
            )
        return self._sha256, True


def _can_pass(error: BaseException) -> bool:
    """Whether another attempt may do better: not where a server or a file system said no."""
    status = getattr(error, "status", None)
    if isinstance(status, int):
        return status in _TRY_AGAIN or status >= 500
    # A certificate that does not verify, a URL or an option that is wrong, a server without ranges
    # (fsspec's ValueError), an operation that the file system lacks: the next attempt is the same.
    if isinstance(error, (PermissionError, ValueError, TypeError, NotImplementedError)):
        return False
    return getattr(error, "errno", None) not in _REFUSALS


_GONE = (404, 410)
_TRY_AGAIN = (408, 425, 429)  # RFC 9110, 8470 and 6585: timeout, too early, too many requests
_REFUSALS = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.EINVAL, errno.ENOSPC, errno.EEXIST),
    *(errno.ENOTDIR, errno.EISDIR),
)


def _show(url: str) -> str:
    """A URL without the password that may stand in it."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    return url.replace(f":{parts.password}@", ":***@", 1)
