"""A model directory on a local disk: read, write, publish. Knows nothing of what files mean.

The commit protocol: every shard is written under a temporary name, flushed and renamed to the name
that its content gives it; the manifest is written last in the same way, and its rename publishes
the model. Files are closed before they are renamed. Nothing is deleted before that.
"""

import errno
import os
import re
import secrets
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from shardpickle._util.warn import warn_caller
from shardpickle.errors import (
    BusyDirectoryError,
    DurabilityWarning,
    ForeignDirectoryError,
    ModelNotFoundError,
    NotADirectoryModelError,
    StorageError,
)
from shardpickle.storage import _disk
from shardpickle.storage.base import (
    MANIFEST,
    OPENING,
    SHARDS,
    check_manifest_size,
    shard_file,
)
from shardpickle.storage.files import (
    CHUNK,
    ShardReader,
    ShardWriter,
    anchor,
    check_path,
    is_sound,
    kind_of_file,
    name_errors,
    open_regular,
)

try:
    import fcntl
except ImportError:  # Windows: writers are not kept apart there (untested)
    fcntl = None  # type: ignore[assignment]

_SHARD_NAME = re.compile(r"[0-9a-f]{64}\.shard")
_TEMPORARY_NAME = re.compile(r"\.(manifest|shard)-[0-9a-f]{16}\.tmp")


class LocalStore:
    """A model directory on a local file system."""

    collects = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        given = check_path(path)
        self.path = anchor(given)
        self.name = str(given)

    @property
    def absolute(self) -> str:
        return str(self.path.absolute())

    def read_manifest(self) -> bytes:
        """The manifest's file; `FileNotFoundError` if there is none."""
        path = self.path / MANIFEST
        with name_errors(path, "read the manifest"):
            try:
                with open_regular(path) as stream:
                    data = bytearray()
                    while chunk := stream.read(CHUNK):
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
            kind = kind_of_file(self.path.stat().st_mode)
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
            with open_regular(self.path / of if of else self.path) as stream:
                return stream.read(256)
        except OSError:
            return b""

    def holds(self, name: str) -> bool:
        with name_errors(self.path, "look into the directory"):
            return (self.path / name).exists()

    def is_file(self) -> bool:
        with name_errors(self.path, "look at the path"):
            return self.path.is_file()

    def check_writable(self) -> None:
        """Refuse a path that `writing` would refuse, before any work is done for it."""
        with name_errors(self.path, "look at the directory"):
            if self.path.exists():
                self._check_own()

    @contextmanager
    def writing(self) -> Iterator["Publication"]:
        """Lock the directory for one dump. After an exception, unpublished files are removed."""
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
        with name_errors(self.path, "create the directory"):
            missing = [path for path in (self.path, *self.path.parents) if not path.exists()]
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
        with name_errors(self.path, "list the directory"):
            if not self.path.joinpath(MANIFEST).exists():
                self._refuse_foreign()
            elif not self._is_own(self.path.joinpath(MANIFEST)):
                raise ForeignDirectoryError(
                    errno.EEXIST,
                    "holds a manifest.json that is not shardpickle's; dump to another directory",
                    str(self.path),
                )

    def _is_own(self, path: Path) -> bool:
        with open_regular(path) as stream:
            start = stream.read(len(OPENING))
        return start == OPENING or (not start and self.holds(SHARDS))  # empty after a power cut

    def _refuse_foreign(self) -> None:
        """Raise if a directory without a manifest holds more than a killed dump leaves."""
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


def _only_shards(folder: Path) -> bool:
    return all(
        _SHARD_NAME.fullmatch(entry.name) or _TEMPORARY_NAME.fullmatch(entry.name)
        for entry in folder.iterdir()
    )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other writers out with a lock on the directory itself, so no lock file is left over."""
    if fcntl is None:
        yield
        return
    with name_errors(path, "open the directory"):
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
        """Keep the published manifest, which is already the right one, and its repaired shards."""
        self._new.clear()
        with name_errors(self._path, "flush the directory"):
            self._flush(self._path / SHARDS)

    def publish(self, manifest: bytes) -> None:
        """Make this manifest the model, in place of the previous one."""
        with name_errors(self._path, "flush the directory"):
            # The directories above first, then what the manifest will refer to.
            self._flush(
                *{folder.parent for folder in self._created}, self._path / SHARDS, self._path
            )
        target = self._path / MANIFEST
        temporary = self._path / f".manifest-{secrets.token_hex(8)}.tmp"
        try:
            with name_errors(target, "publish the manifest"):
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
        with name_errors(
            self._path, "make sure that the new model, which is in its place, outlasts a power cut"
        ):
            self._flush(self._path)

    def _flush(self, *folders: Path) -> None:
        """Make entries last, or say once that they may not."""
        done = [_disk.flush_folder(folder) for folder in folders]
        if not all(done) and not self._warned:
            self._warned = True
            warn_caller(
                f"{self._path}: this file system cannot flush directories, so a power cut may undo "
                "the dump (the model before it would be there, or none)",
                DurabilityWarning,
            )

    def undo(self) -> None:
        for path in self._new:
            with suppress(OSError):
                _disk.unlink(path)

    def collect(self, keep: Collection[str]) -> tuple[int, int]:
        """Remove temporary files, and shards whose SHA-256 is not in `keep`: (files, bytes)."""
        count = nbytes = 0
        folder = self._path / SHARDS
        with name_errors(self._path, "list the directory"):
            entries = [*self._path.iterdir(), *folder.iterdir()]
        for entry in entries:
            ours = entry.parent == folder and _SHARD_NAME.fullmatch(entry.name)
            if not (ours and entry.stem not in keep) and not _TEMPORARY_NAME.fullmatch(entry.name):
                continue
            if entry.is_dir():
                continue
            with name_errors(entry, "remove an old file"):
                nbytes += entry.lstat().st_size
                _disk.unlink(entry)
            count += 1
        return count, nbytes
