"""Reads models from other libraries' files, as hardened as our own, and writes such files.

Knows files and compression. `foreign` knows their contents, `sniff` the files that are no pickles.
"""

import bz2
import gzip
import importlib.util
import lzma
import mmap
import pickle
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from errno import EACCES, EDQUOT, EFBIG, ENOSPC, EPERM
from pathlib import Path
from typing import IO, Any

import joblib
import zstandard

from shardpickle._util import memory
from shardpickle._util.sizes import text as sizes_text
from shardpickle.errors import (
    CorruptShardError,
    ForeignFileError,
    ModelTooLargeError,
    RebuildError,
    RefusedError,
    StorageError,
    StoragePermissionError,
    UntrustedTypeError,
)
from shardpickle.io import foreign, foreign_makers
from shardpickle.pickling.dialects import Bytes, CutOffError, NoPickleError, Python2Error
from shardpickle.sklearn_support import gone_names, migrations
from shardpickle.storage import sniff
from shardpickle.trust import names as trust
from shardpickle.trust.names import Callers
from shardpickle.trust.rules import Name


def read(source: Path, callers: Callers, unsafe: bool) -> Any:
    """Read the object in a file of pickle, joblib or skops.

    Parameters
    ----------
    source : Path
        The file, compressed or not.
    callers : Callers
        Names that the caller trusts.
    unsafe : bool
        Load whatever the file names.

    Raises
    ------
    ForeignFileError
        If the file is none of these, is damaged, or does something that shardpickle does not allow.
    UntrustedTypeError
        If the file needs names that are not trusted. Nothing was loaded.
    MissingNameError
        If a named class or function is not installed.
    """
    start = _read_start(source)
    kind, mistake = sniff.detect_kind(start), sniff.explain_other_file(str(source), start)
    if kind == "zip":
        _check_skops(source, mistake)
        return _load_skops(source, callers, unsafe)
    if mistake is not None:
        raise mistake
    with _open_bytes(source, kind) as data:
        free = memory.available()
        if free is not None and len(data) > free:
            raise ModelTooLargeError(str(source), len(data), free)
        with _explain_errors(source, data, "" if kind in (None, "pickle") else str(kind)):
            return _load_object(source, data, callers, unsafe)


@contextmanager
def _explain_errors(source: Path, data: Bytes, inside: str) -> Iterator[None]:
    """Turn errors of the pickle reader into errors that say what the file is."""
    name, start = str(source), bytes(data[: sniff.ENOUGH])
    mistake = sniff.explain_other_file(name, start, inside) if inside else None
    if mistake is not None:
        raise mistake
    try:
        yield
    except CutOffError as error:
        raise sniff.explain_cut_off(name, start, len(data), inside) from error
    except NoPickleError as error:
        raise sniff.explain_unreadable(name, start, error.reason, inside) from error
    except Python2Error as error:
        raise sniff.explain_python_2(name, start, inside) from error
    except RefusedError as error:
        call = "convert({path}, 'model_dir', {trusted})"
        raise error.located(path=name, call=call) from error
    except CorruptShardError as error:
        raise ForeignFileError(f"{source}: {error}") from error
    except RebuildError as error:
        raise RebuildError(f"{source}: {error}") from error


def _load_object(source: Path, data: Bytes, callers: Callers, unsafe: bool) -> Any:
    survey = foreign.survey(data)
    _check_release(source, survey)
    carried = {
        name: foreign_makers.TRANSPORT[name]
        for name in survey.names
        if name in foreign_makers.TRANSPORT
    }
    names = [name for name in survey.names if name not in carried]
    if unsafe:
        return foreign.read_anything(data, survey, _resolve_any(survey.names, callers))
    _check_trusted(source, names, callers)
    return foreign.read(data, survey, carried | trust.resolve(names, callers))


def _resolve_any(names: tuple[Name, ...], callers: Callers) -> Mapping[Name, Any]:
    """Resolve each name in its own library: dill's names only if dill is installed."""
    dill = importlib.util.find_spec("dill") is not None
    ours: dict[Name, Any] = foreign.main_names() | {
        name: foreign_makers.TRANSPORT[name].target
        for name in names
        if name in foreign_makers.TRANSPORT and not (dill and name[0] == foreign.DILL)
    }
    others = [name for name in names if name not in ours]
    return ours | trust.resolve_any(others, callers)


def _check_release(source: Path, survey: foreign.Survey) -> None:
    """Refuse models of scikit-learn releases that `migrations` does not cover."""
    gone = gone_names.list_gone(survey.stored_names)
    old = next((version for version in survey.versions if version.startswith("0.")), None)
    if old or (gone and not survey.versions and gone_names.is_public(gone[0])):
        raise sniff.explain_too_old(str(source), old, gone[0] if gone else None)
    if gone:
        raise sniff.explain_other_release(str(source), gone[0], survey.versions, migrations.HERE)


_CARRIED = "the code of functions or classes, as dill and cloudpickle store it for __main__"


def _check_trusted(source: Path, names: list[Name], callers: Callers) -> None:
    unknown = trust.list_untrusted_foreign(names, callers)
    if unknown:
        call = "convert({path}, 'model_dir', {trusted})"
        never = [trust.show(name) for name in unknown if not trust.is_offered(name)]
        carried = any(foreign.carries_code(name) for name in unknown)  # their names are unknown
        raise UntrustedTypeError(
            str(source),
            {trust.show(name): "the file" for name in unknown},
            call,
            never=never,
            besides=_CARRIED if carried else "",
        )


def _read_start(source: Path) -> bytes:
    try:
        with source.open("rb") as file:
            return file.read(sniff.ENOUGH)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _storage_error(error, source) from error


def _storage_error(error: OSError, source: Path) -> StorageError:
    """Say what the system refused, and what to do."""
    if error.errno in (ENOSPC, EDQUOT, EFBIG):
        text = (
            f"not enough space to decompress the file in {tempfile.gettempdir()}, the folder for "
            "temporary files: set the environment variable TMPDIR to a folder with more space, or "
            "free some there, then convert again. The file"
        )
        return StorageError(error.errno, text, str(source))
    if error.errno in (EACCES, EPERM):
        return StoragePermissionError(error.errno, "no permission to read the file", str(source))
    return StorageError(error.errno or 0, f"cannot be read ({error.strerror})", str(source))


@contextmanager
def _open_bytes(source: Path, kind: str | None) -> Iterator[Bytes]:
    """Bytes of the pickle, which nobody else can change while they are read.

    A small file is read into memory. A large or compressed one is copied or decompressed into a
    temporary file without a name, which is mapped.
    """
    if kind in (None, "pickle"):
        free = memory.available()
        with source.open("rb") as file:
            size = file.seek(0, 2)
            if size <= _IN_MEMORY and (free is None or size < free // 4):
                file.seek(0)
                yield file.read()
                return
    with _open_decompressed(source, kind or "pickle") as file:
        if not file.seek(0, 2):
            yield b""
            return
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        yield data  # closed with the last array that views it


_IN_MEMORY = 1 << 30


@contextmanager
def _open_decompressed(source: Path, kind: str) -> Iterator[IO[bytes]]:
    with ExitStack() as open_files:
        try:
            with ExitStack() as failing:  # closing a file on a full disk fails again
                file = failing.enter_context(tempfile.TemporaryFile())
                _decompress(source, kind, file)
                file.flush()
                open_files.push(failing.pop_all())
        except EOFError as error:
            raise sniff.explain_cut_compressed(str(source), kind, source.stat().st_size) from error
        except FileNotFoundError as error:
            if source.exists():  # no folder for temporary files
                raise StorageError(
                    error.errno, f"{error.strerror}: set TMPDIR", str(source)
                ) from error
            raise
        except _DAMAGED as error:
            if isinstance(error, ForeignFileError):
                raise
            if isinstance(error, OSError) and error.errno:
                raise _storage_error(error, source) from error
            raise sniff.explain_damaged_compression(str(source), kind, error) from error
        yield file


_DAMAGED = (  # lz4 raises RuntimeError
    *(OSError, ValueError, RuntimeError),
    *(zlib.error, lzma.LZMAError, zstandard.ZstdError),
)


def _decompress(source: Path, kind: str, out: IO[bytes]) -> None:
    if kind not in _STREAMS and kind not in _LOOPS:
        raise ForeignFileError(
            f"{source} was written by joblib 0.9 or older: load it with joblib, then dump the model"
        )
    if kind in _LOOPS:
        with source.open("rb") as file:
            _LOOPS[kind](file, out)
        return
    with _STREAMS[kind](source, "rb") as stream:
        shutil.copyfileobj(stream, out, _PIECE)


def _inflate(file: IO[bytes], out: IO[bytes]) -> None:
    inflater = zlib.decompressobj()
    while piece := file.read(_PIECE):
        while piece and not inflater.eof:
            out.write(inflater.decompress(piece, _PIECE))
            piece = inflater.unconsumed_tail
    out.write(inflater.flush())
    if not inflater.eof:
        raise EOFError


def _unzstd(file: IO[bytes], out: IO[bytes]) -> None:
    """Decompress frame by frame: zstandard's own readers accept a frame that is cut off."""
    frame, piece = zstandard.ZstdDecompressor().decompressobj(), b""
    while piece := piece or file.read(_SMALL_PIECE):
        if frame.eof:
            frame = zstandard.ZstdDecompressor().decompressobj()
        out.write(frame.decompress(piece))
        piece = frame.unused_data
    if not frame.eof:
        raise EOFError


_PIECE = 1 << 20
_SMALL_PIECE = 1 << 12  # 4 bytes of zstd can decompress to 128 KiB


def _lz4(source: Path, mode: str) -> Any:
    try:
        import lz4.frame
    except ImportError:
        raise ForeignFileError(f"{source} is compressed with lz4: pip install lz4") from None
    return lz4.frame.open(source, mode)


_STREAMS: dict[str, Callable[[Path, str], Any]] = {
    "pickle": Path.open,
    "gzip": gzip.open,
    "bz2": bz2.open,
    "xz": lzma.open,
    "lzma": lzma.open,
    "lz4": _lz4,
}
_LOOPS: dict[str, Callable[[IO[bytes], IO[bytes]], None]] = {"zlib": _inflate, "zstd": _unzstd}


def _load_skops(source: Path, callers: Callers, unsafe: bool) -> Any:
    """Load with skops itself, which gets the names that we and the caller trust."""
    try:
        import skops.io
    except ImportError:
        raise ForeignFileError(f"{source} is a skops file: pip install skops") from None
    try:
        types = skops.io.get_untrusted_types(file=source)
        names = [(module, name) for module, _, name in (dotted.rpartition(".") for dotted in types)]
        if not unsafe:
            _check_trusted(source, names, callers)
        return skops.io.load(source, trusted=types)
    except UntrustedTypeError:
        raise
    except Exception as error:  # from any class in the file
        raise ForeignFileError(f"{source}: skops: {type(error).__name__}: {error}") from error


def _check_skops(source: Path, mistake: ForeignFileError | None) -> None:
    """Refuse zip files that skops did not write. `mistake` describes the first bytes."""
    try:
        with zipfile.ZipFile(source) as file:
            sizes = {member.filename: member.file_size for member in file.infolist()}
    except zipfile.BadZipFile:
        size = source.stat().st_size
        raise mistake or sniff.explain_cut_compressed(str(source), "zip", size) from None
    if "schema.json" not in sizes:
        raise sniff.explain_zip(str(source), list(sizes))
    free = memory.available()
    size = sizes["schema.json"]
    if size > _MOST_SCHEMA or (free is not None and size * _SCHEMA_GROWTH > free):
        raise ForeignFileError(
            f"{source} has a schema.json of {sizes_text(size)}, which is too large to read: load "
            "the file with skops itself, then dump the model"
        )


_MOST_SCHEMA = 256 << 20
_SCHEMA_GROWTH = 20  # bytes of memory for each byte of JSON


def write(model: Any, stream: IO[bytes], suffix: str, compress: int) -> None:
    """Write a model with joblib or pickle, by the suffix of the file."""
    if suffix == ".joblib":
        joblib.dump(model, stream, compress=compress)
    elif compress:
        with gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=compress, mtime=0) as file:
            pickle.dump(model, file, pickle.HIGHEST_PROTOCOL)
    else:
        pickle.dump(model, stream, pickle.HIGHEST_PROTOCOL)
