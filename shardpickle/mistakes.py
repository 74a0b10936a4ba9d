"""What people point at by mistake, told from a file's first bytes. Opens nothing itself."""

from collections.abc import Callable

from shardpickle.errors import FormatError, NotAModelError

_LFS = b"version https://git-lfs"


def of_file(name: str, start: bytes) -> NotAModelError | None:
    """The error for a file that stands where a model (or its manifest) should; None if unknown."""
    if start.startswith(_LFS):
        return NotAModelError(
            f"{name} is a git-lfs pointer, not the file itself: run `git lfs pull`, then load again"
        )
    what = _what(start)
    if what is None:
        return None
    tool, line = what
    return NotAModelError(
        f"{name} is a {tool} file, not a shardpickle directory. Convert it once: "
        f"shardpickle.dump({line.format(name)}, 'model_dir')"
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


def _what(start: bytes) -> tuple[str, str] | None:
    if start.startswith(b"PK\x03\x04"):
        return "skops (or other zip)", "skops.io.load({0!r})"
    if start.startswith(b"\x1f\x8b"):
        return "gzip-compressed pickle", "pickle.load(gzip.open({0!r}))"
    zlib = start[:1] == b"\x78" and len(start) > 1 and start[1] in (0x01, 0x5E, 0x9C, 0xDA)
    compressed = (b"BZh", b"\xfd7zXZ\x00", b"]\x00\x00", b"\x04\x22\x4d\x18", b"ZF")
    if zlib or start.startswith(compressed):
        return "compressed joblib", "joblib.load({0!r})"
    if len(start) > 1 and start[0] == 0x80 and start[1] <= 5:
        return "pickle or joblib", "joblib.load({0!r})"
    return None
