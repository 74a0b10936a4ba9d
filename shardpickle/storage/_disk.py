"""The calls that change a disk, one function each. Knows nothing of what is written, and why.

No other module changes a model's files, so a test that replaces `os` here can observe, fail or drop
every change.
"""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

_INTERRUPTIONS = (
    100  # Python itself retries after a signal; more interruptions mean a broken system
)
_BUFFER = 1 << 20


def _retry(
    call: Callable[_Arguments, _Result], *args: _Arguments.args, **kwargs: _Arguments.kwargs
) -> _Result:
    """Make a call, and repeat it if it was interrupted."""
    for _ in range(_INTERRUPTIONS):
        try:
            return call(*args, **kwargs)
        except InterruptedError:
            continue
    return call(*args, **kwargs)


class NewFile:
    """A new file, written from its start to its end."""

    def __init__(self, path: Path) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        flags |= getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        self._number: int | None = _retry(os.open, path, flags, 0o666)
        self._waiting = bytearray()

    def write(self, data: bytes) -> None:
        self._waiting += data
        if len(self._waiting) >= _BUFFER:
            self._write_out()

    def _write_out(self) -> None:
        assert self._number is not None
        left = memoryview(bytes(self._waiting))
        self._waiting.clear()
        while left:
            written = _retry(os.write, self._number, left)
            if written == 0:
                raise OSError(errno.EIO, "nothing was written")
            left = left[written:]

    def finish(self) -> None:
        """Flush everything to the disk and close the file."""
        self._write_out()
        assert self._number is not None
        _retry(os.fsync, self._number)
        self.close()

    def close(self) -> None:
        number, self._number = self._number, None
        if number is not None:
            os.close(number)


def replace(source: Path, target: Path) -> None:
    """Rename a file, replacing a file of the new name."""
    _retry(os.replace, source, target)


def unlink(path: Path) -> None:
    _retry(os.unlink, path)


def mkdir(path: Path) -> None:
    _retry(os.mkdir, path)


def rmdir(path: Path) -> None:
    _retry(os.rmdir, path)


def flush_folder(path: Path) -> bool:
    """Flush a directory's entries to the disk; False where the system cannot.

    Windows does it on its own; some network and FUSE file systems do not do it at all.
    """
    if not hasattr(os, "O_DIRECTORY"):
        return True
    number = _retry(os.open, path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _retry(os.fsync, number)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):
            raise
        return False
    finally:
        os.close(number)
    return True
