"""Models in other libraries' files: read as hardened as our own, written for those who need them.

Knows files and how they are compressed; `foreign` knows what is in them.
"""

import bz2
import gzip
import lzma
import mmap
import pickle
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import joblib
import zstandard

from shardpickle import foreign, memory, mistakes, trust
from shardpickle.dialects import Bytes
from shardpickle.errors import (
    CorruptShardError,
    ForeignFileError,
    ModelTooLargeError,
    RebuildError,
    RefusedError,
    UntrustedTypeError,
)
from shardpickle.makers import Name
from shardpickle.trust import Callers


def read(source: Path, callers: Callers, unsafe: bool) -> Any:
    """The object in a file of pickle's, joblib's or skops's.

    Parameters
    ----------
    source : Path
        The file, compressed or not.
    callers : Callers
        The names that the caller trusts.
    unsafe : bool
        Make whatever the file names.

    Raises
    ------
    ForeignFileError
        If it is none of these, is damaged, or asks for what no model needs.
    UntrustedTypeError
        If it names what nobody vouches for. Nothing was made.
    MissingNameError
        If what it names is not installed.
    """
    with source.open("rb") as file:
        kind = mistakes.kind(file.read(8))
    if kind == "zip":
        return _skops(source, callers, unsafe)
    with _bytes(source, kind) as data:
        free = memory.available()
        if free is not None and len(data) > free:
            raise ModelTooLargeError(str(source), len(data), free)
        try:
            return _object(source, data, callers, unsafe)
        except RefusedError as error:
            call = "convert({path}, 'model_dir', {trusted})"
            raise error.told(path=str(source), call=call) from error
        except CorruptShardError as error:
            raise ForeignFileError(f"{source}: {error}") from error
        except RebuildError as error:
            raise RebuildError(f"{source}: {error}") from error


def _object(source: Path, data: Bytes, callers: Callers, unsafe: bool) -> Any:
    surveyed = foreign.survey(data)
    carried = {
        name: foreign.TRANSPORT[name] for name in surveyed.names if name in foreign.TRANSPORT
    }
    names = [name for name in surveyed.names if name not in carried]
    if unsafe:
        targets = {name: each.target for name, each in carried.items()}
        return foreign.read_anything(data, surveyed, targets | trust.resolve_any(names, callers))
    _check_trusted(source, names, callers)
    return foreign.read(data, surveyed, carried | trust.resolve(names, callers))


def _check_trusted(source: Path, names: list[Name], callers: Callers) -> None:
    unknown = trust.untrusted_foreign(names, callers)
    if unknown:
        call = "convert({path}, 'model_dir', {trusted})"
        raise UntrustedTypeError(
            str(source), {trust.shown(name): "the file" for name in unknown}, call
        )


@contextmanager
def _bytes(source: Path, kind: str | None) -> Iterator[Bytes]:
    """The pickle's bytes, mapped: of a compressed file those of a temporary one."""
    with _plain(source, kind) as file:
        if not file.seek(0, 2):
            raise ForeignFileError(f"{source} is empty")
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        yield data  # closed with the last array that looks into it


@contextmanager
def _plain(source: Path, kind: str | None) -> Iterator[IO[bytes]]:
    if kind in (None, "pickle"):
        with source.open("rb") as file:
            yield file
        return
    with tempfile.TemporaryFile() as file:
        try:
            _decompress(source, str(kind), file)
        except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
            if isinstance(error, ForeignFileError) or (isinstance(error, OSError) and error.errno):
                raise  # the disk's own
            raise ForeignFileError(
                f"{source}: its compression ({kind}) is damaged: {error}"
            ) from error
        except zstandard.ZstdError as error:
            raise ForeignFileError(
                f"{source}: its compression ({kind}) is damaged: {error}"
            ) from error
        yield file


def _decompress(source: Path, kind: str, out: IO[bytes]) -> None:
    if kind == "zlib":
        _inflate(source, out)
        return
    openers: dict[str, Any] = {
        "gzip": gzip.open,
        "bz2": bz2.open,
        "xz": lzma.open,
        "lzma": lzma.open,
        "lz4": _lz4,
        "zstd": zstandard.open,
    }
    if kind not in openers:
        raise ForeignFileError(
            f"{source} was written by joblib 0.9 or older: load it with joblib, and dump the model"
        )
    with openers[kind](source, "rb") as stream:
        shutil.copyfileobj(stream, out, _PIECE)


def _inflate(source: Path, out: IO[bytes]) -> None:
    inflater = zlib.decompressobj()
    with source.open("rb") as file:
        while piece := file.read(_PIECE):
            while piece and not inflater.eof:
                out.write(inflater.decompress(piece, _PIECE))
                piece = inflater.unconsumed_tail
    out.write(inflater.flush())
    if not inflater.eof:
        raise EOFError("it ends too soon")


_PIECE = 1 << 20


def _lz4(source: Path, mode: str) -> Any:
    try:
        import lz4.frame
    except ImportError:
        raise ForeignFileError(f"{source} is compressed with lz4: pip install lz4") from None
    return lz4.frame.open(source, mode)


def _skops(source: Path, callers: Callers, unsafe: bool) -> Any:
    """Through skops itself, which asks for names of its own; ours and the caller's are given it."""
    if not _is_skops(source):
        raise ForeignFileError(f"{source} is a zip file that skops did not write")
    try:
        import skops.io
    except ImportError:
        raise ForeignFileError(f"{source} is a skops file: pip install skops") from None
    try:
        asked = skops.io.get_untrusted_types(file=source)
        names = [(module, name) for module, _, name in (each.rpartition(".") for each in asked)]
        if not unsafe:
            _check_trusted(source, names, callers)
        return skops.io.load(source, trusted=asked)
    except UntrustedTypeError:
        raise
    except Exception as error:  # of whatever the file holds
        raise ForeignFileError(f"{source}: skops: {type(error).__name__}: {error}") from error


def _is_skops(source: Path) -> bool:
    if not zipfile.is_zipfile(source):
        return False
    with zipfile.ZipFile(source) as file:
        return "schema.json" in file.namelist()


def write(model: Any, stream: IO[bytes], suffix: str, compress: int) -> None:
    """Write a model as joblib or pickle do, by the suffix of the file."""
    if suffix == ".joblib":
        joblib.dump(model, stream, compress=compress)
    elif compress:
        with gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=compress, mtime=0) as file:
            pickle.dump(model, file, pickle.HIGHEST_PROTOCOL)
    else:
        pickle.dump(model, stream, pickle.HIGHEST_PROTOCOL)
