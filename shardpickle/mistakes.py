"""What people do by mistake: files they point at, told from their first bytes, and options of
other libraries. Opens nothing itself.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import ParamSpec, TypeVar

from shardpickle.errors import FormatError, NotAModelError

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

_LFS = b"version https://git-lfs"


def of_file(name: str, start: bytes) -> NotAModelError | None:
    """The error for a file that stands where a model (or its manifest) should; None if unknown."""
    if start.startswith(_LFS):
        return NotAModelError(
            f"{name} is a git-lfs pointer, not the file itself: run `git lfs pull`, then load again"
        )
    found = kind(start)
    if found is None:
        return None
    return NotAModelError(
        f"{name} is a {_CALLED.get(found, 'compressed joblib')} file, not a shardpickle directory. "
        f"Convert it once: shardpickle.convert({name!r}, 'model_dir'), or "
        f"python -m shardpickle convert {name} model_dir"
    )


def of_directory(name: str, holds: Callable[[str], bool]) -> NotAModelError:
    """The error for a directory without a manifest."""
    if holds("MLmodel"):
        return NotAModelError(
            f"{name} is an MLflow model folder (it holds MLmodel): point to the folder inside it "
            "that holds manifest.json, or load it with mlflow"
        )
    if holds("shards"):
        return NotAModelError(
            f"{name} holds shards but no manifest.json: its dump was interrupted before it was "
            "published, or the copy is incomplete. Dump the model again, or copy it whole"
        )
    return NotAModelError(f"{name} is not a shardpickle model: it holds no manifest.json")


def of_shard(file: str, start: bytes) -> FormatError | None:
    """The error for a shard whose bytes were never fetched."""
    return of_file(file, start) if start.startswith(_LFS) else None


def kind(start: bytes) -> str | None:
    """What a file of another library's is, from its first bytes; None if they tell nothing.

    ``"zip"``, ``"pickle"``, or how a pickle is compressed.
    """
    for found, firsts in _FIRST.items():
        if start.startswith(firsts):
            return found
    if start[:1] == b"\x78" and len(start) > 1 and start[1] in (0x01, 0x5E, 0x9C, 0xDA):
        return "zlib"
    return "pickle" if len(start) > 1 and start[0] == 0x80 and start[1] <= 5 else None


_FIRST = {
    "zip": b"PK\x03\x04",
    "gzip": b"\x1f\x8b",
    "bz2": b"BZh",
    "xz": b"\xfd7zXZ\x00",
    "lzma": b"]\x00\x00",
    "lz4": b"\x04\x22\x4d\x18",
    "zstd": b"\x28\xb5\x2f\xfd",
    "old joblib": b"ZF",
}
_CALLED = {
    "zip": "skops (or other zip)",
    "gzip": "gzip-compressed pickle",
    "pickle": "pickle or joblib",
}


DUMP_HABITS = {
    "compress": "a model is always compressed; level= is zstd's, 1 to 22",
    "protocol": "the format is shardpickle's own; whatever pickle accepts goes in",
    "cache_size": "joblib has dropped it, too",
    "n_jobs": "workers=, by default all usable cores",
}
LOAD_HABITS = {
    "mmap_mode": "lazy=True loads trees when they are asked for, within memory_limit=",
    "ensure_native_byte_order": "arrays keep the byte order that they were dumped with",
    "n_jobs": "workers=, by default all usable cores",
}


def advised(
    habits: Mapping[str, str],
) -> Callable[[Callable[_Arguments, _Result]], Callable[_Arguments, _Result]]:
    """Names what is meant where a function is given an option of joblib's or pickle's."""

    def decorate(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
        known = inspect.signature(function).parameters
        most = sum(each.kind is each.POSITIONAL_OR_KEYWORD for each in known.values())

        @functools.wraps(function)
        def wrapped(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
            names = [name for name in kwargs if name not in known and name in habits]
            if len(args) > most:
                names.append(next(iter(habits)))  # joblib's next one
            if names:
                advice = "; ".join(f"{name}: {habits[name]}" for name in names)
                raise TypeError(f"{function.__name__}() has options of its own ({advice})")
            return function(*args, **kwargs)

        return wrapped

    return decorate
