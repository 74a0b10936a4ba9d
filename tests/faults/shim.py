"""Another `os` for `storage._disk`: it numbers the calls that change the disk, and fails them.

`Faulty` makes the k-th call fail, once or from there on. `Recorder` lets all succeed and remembers
them, so that `found_after` can say what would be found if the power had gone after any of them.
"""

import errno
import os
import random
import threading
from pathlib import Path

CHANGING = ("open", "write", "fsync", "replace", "rename", "link", "unlink", "mkdir", "rmdir")
ERRORS = ("EIO", "ENOSPC", "EINTR", "EACCES", "short")


class Shim:
    """Passes everything on to the real `os`; counts changes."""

    def __init__(self):
        self.count = 0
        self.names = []
        self.lock = threading.Lock()

    def __getattr__(self, name):
        return getattr(os, name)

    def called(self, name, *args):
        """Number a call; a subclass may raise."""
        with self.lock:
            self.count += 1
            self.names.append(name)
            return self.count

    def open(self, path, flags, mode=0o777):
        if flags & os.O_CREAT:
            self.called("open", path)
        return os.open(path, flags, mode)

    def write(self, number, data):
        self.called("write", number, data)
        return os.write(number, data)

    def fsync(self, number):
        self.called("fsync", number)
        return os.fsync(number)

    def replace(self, source, target):
        self.called("replace", source, target)
        return os.replace(source, target)

    def rename(self, source, target):
        self.called("rename", source, target)
        return os.rename(source, target)

    def link(self, source, target):
        self.called("link", source, target)
        return os.link(source, target)

    def unlink(self, path):
        self.called("unlink", path)
        return os.unlink(path)

    def mkdir(self, path, mode=0o777):
        self.called("mkdir", path)
        return os.mkdir(path, mode)

    def rmdir(self, path):
        self.called("rmdir", path)
        return os.rmdir(path)


class Faulty(Shim):
    """The k-th change fails, and with `persistent` all that follow."""

    def __init__(self, number, kind, *, persistent):
        super().__init__()
        self.number = number
        self.kind = kind
        self.persistent = persistent

    def fails(self, number):
        return number >= self.number if self.persistent else number == self.number

    def called(self, name, *args):
        number = super().called(name, *args)
        if self.kind != "short" and self.fails(number):
            code = getattr(errno, self.kind)
            raise OSError(code, os.strerror(code), *map(str, args[:1]))
        return number

    def write(self, number, data):
        count = self.called("write", number, data)
        if self.kind == "short" and self.fails(count):
            data = data[: -(-len(data) // 2)]
        return os.write(number, data)


class NoFolderFlush(Shim):
    """A file system that cannot flush directories."""

    def fsync(self, number):
        if os.path.isdir(f"/proc/self/fd/{number}"):
            raise OSError(errno.EINVAL, "Invalid argument")
        return super().fsync(number)


# Power loss --------------------------------------------------------------------------------------


class Recorder(Shim):
    """Remembers every change below a folder, in order."""

    def __init__(self, root):
        super().__init__()
        self.root = Path(root)
        self.log = []

    def note(self, *entry):
        with self.lock:
            self.log.append(entry)

    def path_of(self, number):
        return Path(os.readlink(f"/proc/self/fd/{number}"))

    def open(self, path, flags, mode=0o777):
        number = super().open(path, flags, mode)
        if flags & os.O_CREAT:
            self.note("create", Path(path), os.fstat(number).st_ino)
        return number

    def write(self, number, data):
        written = super().write(number, data)
        self.note("write", os.fstat(number).st_ino, bytes(data[:written]))
        return written

    def fsync(self, number):
        super().fsync(number)
        if os.path.isdir(f"/proc/self/fd/{number}"):
            self.note("flush", self.path_of(number))
        else:
            self.note("sync", os.fstat(number).st_ino)

    def replace(self, source, target):
        super().replace(source, target)
        self.note("replace", Path(source), Path(target))

    def unlink(self, path):
        super().unlink(path)
        self.note("unlink", Path(path))

    def mkdir(self, path, mode=0o777):
        super().mkdir(path, mode)
        self.note("mkdir", Path(path))

    def rmdir(self, path):
        super().rmdir(path)
        self.note("rmdir", Path(path))


class Disk:
    """What is in the system's memory, and what is on the disk for good.

    A directory entry is a name and what it refers to: the number of a file, or "folder". An entry
    lasts when its directory was flushed, a file's bytes when the file was.
    """

    def __init__(self, root):
        """The state before the first call: everything that is there lasts."""
        self.files = {}  # number: bytes
        self.safe_files = {}
        self.entries = {}  # folder: {name: number or "folder"}
        self.pending = []  # (folder, name, what) of entries that do not last yet, in order
        self.last_write = None
        for folder, folders, files in os.walk(root):
            here = self.entries[Path(folder)] = dict.fromkeys(folders, "folder")
            for name in files:
                path = Path(folder, name)
                inode = -len(self.files) - 1
                here[name] = inode
                self.files[inode] = path.read_bytes()
        self.entries.setdefault(Path(root), {})
        self.safe_files = dict(self.files)
        self.safe = {folder: dict(names) for folder, names in self.entries.items()}
        self.numbers = {}

    def set(self, path, what):
        names = self.entries.setdefault(path.parent, {})
        if what is None:
            names.pop(path.name, None)
        else:
            names[path.name] = what
        self.pending.append((path.parent, path.name, what))

    def apply(self, entry):
        """One recorded call."""
        kind, *args = entry
        if kind == "create":
            path, inode = args
            self.numbers[inode] = number = len(self.files) + 1
            self.files[number] = b""
            self.safe_files[number] = b""
            self.set(path, number)
        elif kind == "write":
            number = self.numbers[args[0]]
            self.last_write = number, len(self.files[number])
            self.files[number] += args[1]
        elif kind == "sync":
            number = self.numbers[args[0]]
            self.safe_files[number] = self.files[number]
        elif kind == "replace":
            source, target = args
            what = self.entries[source.parent][source.name]
            self.set(source, None)
            self.set(target, what)
        elif kind == "unlink":
            self.set(args[0], None)
        elif kind == "mkdir":
            self.set(args[0], "folder")
            self.entries.setdefault(args[0], {})
        elif kind == "rmdir":
            self.set(args[0], None)
        elif kind == "flush":
            folder = args[0]
            self.safe[folder] = dict(self.entries.get(folder, {}))
            self.pending = [each for each in self.pending if each[0] != folder]

    def found(self, variant, seed=0):
        """What may be found after a power cut: {path: bytes or None for a folder}."""
        rng = random.Random(seed)
        entries = {folder: dict(names) for folder, names in self.safe.items()}
        survives = {
            "nothing unsynced": lambda: False,
            "renames, not data": lambda: True,
            "data, not renames": lambda: False,
            "torn at 512": lambda: True,
            "torn at 4096": lambda: True,
            "some": lambda: rng.random() < 0.5,
        }[variant]
        for folder, name, what in self.pending:
            if survives():
                names = entries.setdefault(folder, {})
                if what is None:
                    names.pop(name, None)
                else:
                    names[name] = what
        content = dict(self.safe_files)
        if variant in ("data, not renames", "torn at 512", "torn at 4096"):
            content = dict(self.files)
        if variant.startswith("torn") and self.last_write is not None:
            number, start = self.last_write
            if self.safe_files[number] != self.files[number]:
                size = int(variant.rpartition(" ")[2])
                whole = self.files[number]
                content[number] = whole[: start + max(0, len(whole) - start - 1) // size * size]
        if variant == "some":
            for number, data in self.files.items():
                safe = self.safe_files[number]
                if data != safe:
                    content[number] = data[: rng.randrange(len(safe), len(data) + 1)]
        return entries, content


VARIANTS = (
    "nothing unsynced",
    "renames, not data",
    "data, not renames",
    "torn at 512",
    "torn at 4096",
    "some",
)


def put_on_disk(found, root, place):
    """Make what was found below `root` a real directory at `place`."""
    entries, content = found
    todo = [(Path(root), Path(place))]
    Path(place).mkdir(parents=True)
    while todo:
        folder, real = todo.pop()
        for name, what in entries.get(folder, {}).items():
            if what == "folder":
                (real / name).mkdir()
                todo.append((folder / name, real / name))
            else:
                (real / name).write_bytes(content[what])
