"""Files: read at any offset, written under a temporary name and renamed. Errors name the file."""

import errno
import hashlib
import os
import secrets
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedWriter, FileIO
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from shardpickle.errors import (
    MissingShardError,
    ShardpickleError,
    StorageError,
    StoragePermissionError,
)
from shardpickle.storage import _disk
from shardpickle.storage.base import (
    compute_digest,
)

CHUNK = 1 << 20


@contextmanager
def name_errors(path: Path, doing: str) -> Iterator[None]:
    """Add the file, what was tried, and what to do to the operating system's errors."""
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


def open_regular(path: Path) -> FileIO:
    """Open a regular file, or a link to one. Reading a pipe or a device could block for ever."""
    number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        mode = os.fstat(number).st_mode
        if not stat.S_ISREG(mode):
            raise OSError(
                errno.EINVAL, f"it is {kind_of_file(mode)}, not a regular file", str(path)
            )
    except BaseException:
        os.close(number)
        raise
    return FileIO(number, "rb")


def kind_of_file(mode: int) -> str:
    """Describe a file's type for a message."""
    if stat.S_ISFIFO(mode):
        return "a pipe"
    if stat.S_ISSOCK(mode):
        return "a socket"
    if stat.S_ISDIR(mode):
        return "a directory"
    return "a file" if stat.S_ISREG(mode) else "a device"


def check_regular(path: Path, doing: str) -> None:
    """Raise if a file cannot be opened, or reading it could block."""
    with name_errors(path, doing):
        open_regular(path).close()


class ShardReader:
    """An open shard file; reads at any offset, from any thread."""

    def __init__(self, path: Path, file: str) -> None:
        self.path = path
        try:
            self.stream = open_regular(path)  # closed by __exit__
        except FileNotFoundError:
            raise MissingShardError("the shard is missing", file=file) from None
        except OSError as error:
            with name_errors(path, "read the shard"):
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
        with name_errors(self.path, "read the shard"):
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
        """Return the SHA-256 of the whole file."""
        return compute_digest(self)


class ShardWriter:
    """A shard under a temporary name, until `commit` gives it the name of its content."""

    def __init__(self, folder: Path, created: Callable[[Path], object]) -> None:
        self._folder = folder
        self._created = created
        self._path = folder / f".shard-{secrets.token_hex(8)}.tmp"
        self._digest = hashlib.sha256()
        self._moved = False
        with name_errors(self._path, "create a shard"):
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
        with name_errors(self._path, "write a shard"):
            self._file.write(data)
        self._digest.update(data)
        self.nbytes += len(data)

    def commit(self) -> tuple[str, bool]:
        """Return the SHA-256, and whether it is new (no sound file of that name existed)."""
        sha256 = self._digest.hexdigest()
        target = self._folder / f"{sha256}.shard"
        if is_sound(target, sha256):
            return sha256, False
        if not target.exists():  # else another dump's damaged file: it stays, repaired
            self._created(target)
        with name_errors(target, "write a shard"):
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


def check_path(path: str | os.PathLike[str]) -> Path:
    """Return a path, or raise: an empty path would mean the current directory."""
    if hasattr(path, "write"):
        raise TypeError("a model is a directory: give its path, not an open file")
    if not isinstance(path, str | os.PathLike):
        kind = type(path).__name__
        raise TypeError(f"path must be str or os.PathLike, not {kind}; the model comes first")
    text = os.fspath(path)
    if not text:
        raise ValueError("path is empty; give '.' for the current directory")
    if "\0" in text:
        raise ValueError(f"not a path: {text!r} (it holds a NUL character)")
    if text.startswith("~"):
        raise ValueError(f"not a path: {text!r} (write ~ as os.path.expanduser('~/…'))")
    return Path(text)


def anchor(path: Path) -> Path:
    """Make a path absolute, so that it survives a change of the current directory."""
    if path.is_absolute():
        return path
    try:
        here = os.getcwd()
        if os.path.samestat(os.stat(here), os.stat(os.curdir)):
            return Path(here, path)
    except OSError:  # the directory was removed, or cannot be reached by its name
        pass
    return path


class _NamedFile(FileIO):
    """A file whose errors name it when it cannot be written."""

    def __init__(self, temporary: Path, target: Path) -> None:
        super().__init__(temporary, "xb")
        self.target = target

    def write(self, data: Any, /) -> int:
        with name_errors(self.target, "write the file"):
            return super().write(data)


@contextmanager
def replace_file(path: Path) -> Iterator[IO[bytes]]:
    """Write a file that gets its name only when it is complete."""
    path = anchor(path)
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(8)}.tmp")
    try:
        with name_errors(path, "write the file"):
            _check_replaceable(path)
            file = _NamedFile(temporary, path)
        with BufferedWriter(file) as stream:  # the caller's own errors are not the file's
            yield stream
            stream.flush()
            with name_errors(path, "write the file"):
                os.fsync(stream.fileno())
        with name_errors(path, "write the file"):
            _disk.replace(temporary, path)
            _disk.flush_folder(path.parent)
    except BaseException:
        with suppress(OSError):
            _disk.unlink(temporary)
        raise


def _check_replaceable(path: Path) -> None:
    """Raise if a path is not a regular file. Links to devices, as /dev/stdout, are not replaced."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EEXIST
        raise OSError(number, os.strerror(number), str(path))
