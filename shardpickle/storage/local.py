"""A model directory on a local disk: read, write, publish. Knows nothing of what files mean.

The commit protocol: every shard is written under a temporary name, flushed and renamed to the name
that its content gives it; the manifest is written last in the same way, and its rename publishes
the model. Files are closed before they are renamed. Nothing is deleted before that.
"""

import errno
import hashlib
import os
import re
import secrets
import stat
import threading
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BufferedWriter, FileIO
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from shardpickle.errors import (
    BusyDirectoryError,
    DurabilityWarning,
    ForeignDirectoryError,
    MissingShardError,
    ModelNotFoundError,
    NotADirectoryModelError,
    ShardpickleError,
    StorageError,
    StoragePermissionError,
)
from shardpickle.storage import _disk
from shardpickle.storage.base import (
    MANIFEST,
    OPENING,
    SHARDS,
    check_manifest_size,
    digest_of,
    shard_file,
)

try:
    import fcntl
except ImportError:  # Windows: writers are not kept apart there (untested)
    fcntl = None  # type: ignore[assignment]

_SHARD_NAME = re.compile(r"[0-9a-f]{64}\.shard")
_TEMPORARY_NAME = re.compile(r"\.(manifest|shard)-[0-9a-f]{16}\.tmp")
_CHUNK = 1 << 20


@contextmanager
def named(path: Path, doing: str) -> Iterator[None]:
    """Give the operating system's errors the file, what was tried, and what to do."""
    try:
        yield
    except ShardpickleError:  # a missing shard is an OSError, too
        raise
    except OSError as error:
        kind = (
            StoragePermissionError
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
            else StorageError
        )
        advice = {
            errno.ENOSPC: "; the disk is full: free some space and try again",
            errno.EDQUOT: "; the disk quota is used up: free some space and try again",
            errno.EFBIG: "; no file may be so large here (ulimit -f, or the file system)",
            errno.EACCES: "; check the owner and the rights of the directory",
            errno.EPERM: "; check the owner and the rights of the directory",
            errno.EROFS: "; the file system is mounted read-only: give another path",
            errno.ENOENT: "; check that the directory is there",
            errno.ENOTDIR: "; part of the path is a file, not a directory",
            errno.EISDIR: "; a directory has this name: give another path",
            errno.EEXIST: "; something else has this name: give another path",
            errno.ENAMETOOLONG: "; give a shorter path",
            errno.EMFILE: "; too many files are open (ulimit -n)",
            errno.ENXIO: "; it is a socket, or a device that is not there",
            errno.ELOOP: "; its links lead in a circle",
        }.get(error.errno or 0, "")
        reason = f"cannot {doing}: {error.strerror or error}{advice}"
        raise kind(error.errno or errno.EIO, reason, str(path)) from error


def _opened(path: Path) -> FileIO:
    """A regular file, or a link to one; a pipe or a device could keep a reader for ever."""
    number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        mode = os.fstat(number).st_mode
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, f"it is {_kind(mode)}, not a regular file", str(path))
    except BaseException:
        os.close(number)
        raise
    return FileIO(number, "rb")


def _kind(mode: int) -> str:
    """What is at a path, in a word."""
    if stat.S_ISFIFO(mode):
        return "a pipe"
    if stat.S_ISSOCK(mode):
        return "a socket"
    if stat.S_ISDIR(mode):
        return "a directory"
    return "a file" if stat.S_ISREG(mode) else "a device"


def check_regular(path: Path, doing: str) -> None:
    """Refuse what cannot be opened, or would be waited for."""
    with named(path, doing):
        _opened(path).close()


class ShardReader:
    """An open shard file; reads at any offset, from any thread."""

    def __init__(self, path: Path, file: str) -> None:
        self.path = path
        try:
            self.stream = _opened(path)  # closed by __exit__
        except FileNotFoundError:
            raise MissingShardError("the shard is missing", file=file) from None
        except OSError as error:
            with named(path, "read the shard"):
                raise error from None
        self.size = os.fstat(self.stream.fileno()).st_size
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stream.close()

    def read_at(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset`; fewer where the file ends."""
        with named(self.path, "read the shard"):
            chunks = []
            while size > 0:
                chunk = self._read_once(offset, size)
                if not chunk:
                    break
                chunks.append(chunk)
                offset += len(chunk)
                size -= len(chunk)
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _read_once(self, offset: int, size: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(self.stream.fileno(), size, offset)
        with self._lock:
            self.stream.seek(offset)
            return self.stream.read(size)

    def sha256(self) -> str:
        """Of the whole file."""
        return digest_of(self)


class ShardWriter:
    """A shard under a temporary name, until `commit` gives it the name of its content."""

    def __init__(self, folder: Path, created: Callable[[Path], object]) -> None:
        self._folder = folder
        self._created = created
        self._path = folder / f".shard-{secrets.token_hex(8)}.tmp"
        self._digest = hashlib.sha256()
        self._moved = False
        with named(self._path, "create a shard"):
            self._file = _disk.NewFile(self._path)
        self.nbytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()
        if not self._moved:
            with suppress(OSError):
                _disk.unlink(self._path)

    def write(self, data: bytes) -> None:
        with named(self._path, "write a shard"):
            self._file.write(data)
        self._digest.update(data)
        self.nbytes += len(data)

    def commit(self) -> tuple[str, bool]:
        """The file's SHA-256, and whether it is new (a sound file of that name was not there)."""
        sha256 = self._digest.hexdigest()
        target = self._folder / f"{sha256}.shard"
        if is_sound(target, sha256):
            return sha256, False
        if not target.exists():  # else it is another dump's, and damaged: it stays once repaired
            self._created(target)
        with named(target, "write a shard"):
            self._file.finish()
            _disk.replace(self._path, target)
            self._moved = True
        return sha256, True


def is_sound(path: Path, sha256: str) -> bool:
    """Whether a shard file has the content that its name says."""
    try:
        with ShardReader(path, path.name) as shard:
            return shard.sha256() == sha256
    except (OSError, MissingShardError):
        return False


class LocalStore:
    """A model directory on a local file system."""

    collects = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        given = checked(path)
        self.path = anchored(given)
        self.name = str(given)

    @property
    def absolute(self) -> str:
        return str(self.path.absolute())

    def read_manifest(self) -> bytes:
        """The manifest's file; `FileNotFoundError` if there is none."""
        path = self.path / MANIFEST
        with named(path, "read the manifest"):
            try:
                with _opened(path) as stream:
                    data = bytearray()
                    while chunk := stream.read(_CHUNK):
                        data += chunk
                        check_manifest_size(self.name, len(data))
                    return bytes(data)
            except FileNotFoundError:
                raise ModelNotFoundError(
                    errno.ENOENT, "no manifest.json here", str(self.path)
                ) from None
            except NotADirectoryError:
                self._refuse_no_file()
                raise NotADirectoryModelError(
                    errno.ENOTDIR, "a file, not a model directory", str(self.path)
                ) from None

    def _refuse_no_file(self) -> None:
        """Name what stands in place of the directory, if nothing can be read from it."""
        try:
            kind = _kind(self.path.stat().st_mode)
        except OSError:
            return
        if kind not in ("a file", "a directory"):
            raise StorageError(errno.EINVAL, f"is {kind}, not a model directory", str(self.path))

    def open_shard(self, sha256: str) -> ShardReader:
        file = shard_file(sha256)
        return ShardReader(self.path / file, file)

    def start(self, of: str) -> bytes:
        """The first bytes of a file of the directory (or of the path itself); empty if none."""
        try:
            with _opened(self.path / of if of else self.path) as stream:
                return stream.read(256)
        except OSError:
            return b""

    def holds(self, name: str) -> bool:
        with named(self.path, "look into the directory"):
            return (self.path / name).exists()

    def is_file(self) -> bool:
        with named(self.path, "look at the path"):
            return self.path.is_file()

    def check_writable(self) -> None:
        """Refuse a path that `writing` would refuse, before any work is done for it."""
        with named(self.path, "look at the directory"):
            if self.path.exists():
                self._check_own()

    @contextmanager
    def writing(self) -> Iterator["Publication"]:
        """Take the directory for one dump; what an exception leaves unpublished is removed."""
        created = self._prepare()
        with _locked(self.path):
            publication = Publication(self.path, created)
            try:
                yield publication
            except BaseException:
                publication.undo()
                for folder in (self.path / SHARDS, *created):
                    with suppress(OSError):  # not empty: there is a previous model
                        _disk.rmdir(folder)
                raise

    def _prepare(self) -> list[Path]:
        with named(self.path, "create the directory"):
            missing = [each for each in (self.path, *self.path.parents) if not each.exists()]
            if not missing:
                self._check_own()
            for folder in (*reversed(missing), self.path / SHARDS):
                with suppress(FileExistsError):  # another process was faster
                    _disk.mkdir(folder)
        return missing

    def _check_own(self) -> None:
        if not self.path.is_dir():
            raise NotADirectoryModelError(
                errno.ENOTDIR,
                "is a file, and a model is a directory; give another path, or remove the file",
                str(self.path),
            )
        with named(self.path, "list the directory"):
            if not self.path.joinpath(MANIFEST).exists():
                self._refuse_foreign()
            elif not self._is_own(self.path.joinpath(MANIFEST)):
                raise ForeignDirectoryError(
                    errno.EEXIST,
                    "holds a manifest.json that is not shardpickle's; dump to another directory",
                    str(self.path),
                )

    def _is_own(self, path: Path) -> bool:
        with _opened(path) as stream:
            start = stream.read(len(OPENING))
        return start == OPENING or (not start and self.holds(SHARDS))  # empty after a power cut

    def _refuse_foreign(self) -> None:
        """Without a manifest, only what a killed dump leaves may be there."""
        strangers = [
            entry.name
            for entry in self.path.iterdir()
            if not _TEMPORARY_NAME.fullmatch(entry.name)
            and not (entry.name == SHARDS and entry.is_dir() and _only_shards(entry))
        ]
        if strangers:
            raise ForeignDirectoryError(
                errno.EEXIST,
                f"is not empty and is not a shardpickle model (it holds {sorted(strangers)[0]!r}); "
                "dump to a new or an empty directory",
                str(self.path),
            )


def checked(path: str | os.PathLike[str]) -> Path:
    """A path, if it is one; a mistake is told before it is taken for the present directory."""
    if hasattr(path, "write"):
        raise TypeError("a model is a directory: give its path, not an open file")
    if not isinstance(path, str | os.PathLike):
        kind = type(path).__name__
        raise TypeError(f"path is text or os.PathLike, not {kind}; the model comes first")
    text = os.fspath(path)
    if not text:
        raise ValueError("not a path: it is empty ('.' is the present directory)")
    if "\0" in text:
        raise ValueError(f"not a path: {text!r} (it holds a NUL character)")
    if text.startswith("~"):
        raise ValueError(f"not a path: {text!r} (write ~ as os.path.expanduser('~/…'))")
    return Path(text)


def anchored(path: Path) -> Path:
    """The path that goes on meaning the same, whatever becomes of the current directory."""
    if path.is_absolute():
        return path
    try:
        here = os.getcwd()
        if os.path.samestat(os.stat(here), os.stat(os.curdir)):
            return Path(here, path)
    except OSError:  # it was removed, or may not be reached by its name
        pass
    return path


def _only_shards(folder: Path) -> bool:
    return all(
        _SHARD_NAME.fullmatch(entry.name) or _TEMPORARY_NAME.fullmatch(entry.name)
        for entry in folder.iterdir()
    )


class _NamedFile(FileIO):
    """A file that says which it is when it cannot be written."""

    def __init__(self, temporary: Path, target: Path) -> None:
        super().__init__(temporary, "xb")
        self.target = target

    def write(self, data: Any, /) -> int:
        with named(self.target, "write the file"):
            return super().write(data)


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes its name when it is whole."""
    path = anchored(path)
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(8)}.tmp")
    try:
        with named(path, "write the file"):
            _check_replaceable(path)
            file = _NamedFile(temporary, path)
        with BufferedWriter(file) as stream:  # what else its user does may fail for other reasons
            yield stream
            stream.flush()
            with named(path, "write the file"):
                os.fsync(stream.fileno())
        with named(path, "write the file"):
            _disk.replace(temporary, path)
            _disk.flush_folder(path.parent)
    except BaseException:
        with suppress(OSError):
            _disk.unlink(temporary)
        raise


def _check_replaceable(path: Path) -> None:
    """A link to a device, as /dev/stdout is one, is not replaced by a file either."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EEXIST
        raise OSError(number, os.strerror(number), str(path))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other writers out, with a lock on the directory itself: no lock file, none left over."""
    if fcntl is None:
        yield
        return
    with named(path, "open the directory"):
        descriptor = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyDirectoryError(
                errno.EAGAIN,
                "another process is writing a model here; dump again when it is done",
                str(path),
            ) from None
        except OSError:
            pass  # a file system without locks (some network mounts): writers are on their own
        yield
    finally:
        with suppress(OSError):  # a child forked meanwhile holds the descriptor too
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


class Publication:
    """One dump into a locked directory."""

    def __init__(self, path: Path, created: Sequence[Path]) -> None:
        self._path = path
        self._created = created  # directories that were not there before
        self._new: list[Path] = []  # shards that were not there before, for `undo`
        self._warned = False

    def shard(self) -> ShardWriter:
        return ShardWriter(self._path / SHARDS, self._new.append)

    def has(self, sha256: str, nbytes: int) -> bool:
        """Whether a sound shard of this content is here."""
        return is_sound(self._path / SHARDS / f"{sha256}.shard", sha256)

    def keep(self) -> None:
        """The published manifest is the wanted one already: its shards stay, repaired ones too."""
        self._new.clear()
        with named(self._path, "flush the directory"):
            self._flush(self._path / SHARDS)

    def publish(self, manifest: bytes) -> None:
        """Make this manifest the model; from here on the previous one is history."""
        with named(self._path, "flush the directory"):
            # The directories above first, then what the manifest will refer to.
            self._flush(*{each.parent for each in self._created}, self._path / SHARDS, self._path)
        target = self._path / MANIFEST
        temporary = self._path / f".manifest-{secrets.token_hex(8)}.tmp"
        try:
            with named(target, "publish the manifest"):
                file = _disk.NewFile(temporary)
                try:
                    file.write(manifest)
                    file.finish()
                finally:
                    file.close()
                # An interrupt may come when the manifest is in its place: from here on `undo` must
                # leave its shards, unless the system says that the manifest is not.
                mine, self._new = self._new, []
                try:
                    _disk.replace(temporary, target)
                except OSError:
                    self._new = mine
                    raise
        except BaseException:
            with suppress(OSError):
                _disk.unlink(temporary)
            raise
        with named(
            self._path, "make sure that the new model, which is in its place, outlasts a power cut"
        ):
            self._flush(self._path)

    def _flush(self, *folders: Path) -> None:
        """Make entries last, or say once that they may not."""
        done = [_disk.flush_folder(folder) for folder in folders]
        if not all(done) and not self._warned:
            self._warned = True
            warnings.warn(
                f"{self._path}: this file system cannot flush directories, so a power cut may undo "
                "the dump (the model before it would be there, or none)",
                DurabilityWarning,
                stacklevel=5,
            )

    def undo(self) -> None:
        for path in self._new:
            with suppress(OSError):
                _disk.unlink(path)

    def collect(self, keep: Collection[str]) -> tuple[int, int]:
        """Remove temporary files, and shards whose SHA-256 is not in `keep`: (files, bytes)."""
        count = nbytes = 0
        folder = self._path / SHARDS
        with named(self._path, "list the directory"):
            entries = [*self._path.iterdir(), *folder.iterdir()]
        for entry in entries:
            ours = entry.parent == folder and _SHARD_NAME.fullmatch(entry.name)
            if not (ours and entry.stem not in keep) and not _TEMPORARY_NAME.fullmatch(entry.name):
                continue
            if entry.is_dir():
                continue
            with named(entry, "remove an old file"):
                nbytes += entry.lstat().st_size
                _disk.unlink(entry)
            count += 1
        return count, nbytes
