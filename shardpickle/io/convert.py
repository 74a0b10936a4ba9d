"""Models in other libraries' files: read as hardened as our own, written for those who need them.

Knows files and how they are compressed; `foreign` knows what is in them, and `sniff` what they
are if they are no pickles.
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
        If it is none of these, is damaged, or does what shardpickle does not allow.
    UntrustedTypeError
        If it names what nobody vouches for. Nothing was made.
    MissingNameError
        If what it names is not installed.
    """
    start = _start(source)
    kind, mistake = sniff.detect_kind(start), sniff.explain_other_file(str(source), start)
    if kind == "zip":
        _check_skops(source, mistake)
        return _skops(source, callers, unsafe)
    if mistake is not None:
        raise mistake
    with _bytes(source, kind) as data:
        free = memory.available()
        if free is not None and len(data) > free:
            raise ModelTooLargeError(str(source), len(data), free)
        with _explained(source, data, "" if kind in (None, "pickle") else str(kind)):
            return _object(source, data, callers, unsafe)


@contextmanager
def _explained(source: Path, data: Bytes, inside: str) -> Iterator[None]:
    """Errors of what reads a pickle become errors that say what the file is."""
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


def _object(source: Path, data: Bytes, callers: Callers, unsafe: bool) -> Any:
    surveyed = foreign.survey(data)
    _check_release(source, surveyed)
    carried = {
        name: foreign_makers.TRANSPORT[name]
        for name in surveyed.names
        if name in foreign_makers.TRANSPORT
    }
    names = [name for name in surveyed.names if name not in carried]
    if unsafe:
        return foreign.read_anything(data, surveyed, _anything(surveyed.names, callers))
    _check_trusted(source, names, callers)
    return foreign.read(data, surveyed, carried | trust.resolve(names, callers))


def _anything(names: tuple[Name, ...], callers: Callers) -> Mapping[Name, Any]:
    """What each name stands for as its own library has it: dill's, where dill is installed."""
    dill = importlib.util.find_spec("dill") is not None
    ours: dict[Name, Any] = foreign.of_main() | {
        name: foreign_makers.TRANSPORT[name].target
        for name in names
        if name in foreign_makers.TRANSPORT and not (dill and name[0] == foreign.DILL)
    }
    others = [name for name in names if name not in ours]
    return ours | trust.resolve_any(others, callers)


def _check_release(source: Path, surveyed: foreign.Survey) -> None:
    """Refuse models of scikit-learn that no step of `migrations` begins at, by name and version."""
    gone = gone_names.list_gone(surveyed.asked)
    old = next((version for version in surveyed.versions if version.startswith("0.")), None)
    if old or (gone and not surveyed.versions and gone_names.is_public(gone[0])):
        raise sniff.explain_too_old(str(source), old, gone[0] if gone else None)
    if gone:
        raise sniff.explain_other_release(str(source), gone[0], surveyed.versions, migrations.HERE)


_CARRIED = "functions or classes whole, as dill and cloudpickle store those of __main__"


def _check_trusted(source: Path, names: list[Name], callers: Callers) -> None:
    unknown = trust.list_untrusted_foreign(names, callers)
    if unknown:
        call = "convert({path}, 'model_dir', {trusted})"
        never = [trust.show(name) for name in unknown if not trust.is_offered(name)]
        carried = any(foreign.carries_code(name) for name in unknown)  # no name says which
        raise UntrustedTypeError(
            str(source),
            {trust.show(name): "the file" for name in unknown},
            call,
            never=never,
            besides=_CARRIED if carried else "",
        )


def _start(source: Path) -> bytes:
    try:
        with source.open("rb") as file:
            return file.read(sniff.ENOUGH)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _refusal(error, source) from error


def _refusal(error: OSError, source: Path) -> StorageError:
    """What the system refused, and what to do."""
    if error.errno in (ENOSPC, EDQUOT, EFBIG):
        text = (
            f"no room for what the file holds in {tempfile.gettempdir()}, the folder for temporary "
            "files: set the environment variable TMPDIR to a folder with more space (or make room "
            "there), then convert again. The file"
        )
        return StorageError(error.errno, text, str(source))
    if error.errno in (EACCES, EPERM):
        return StoragePermissionError(error.errno, "may not be read", str(source))
    return StorageError(error.errno or 0, f"cannot be read ({error.strerror})", str(source))


@contextmanager
def _bytes(source: Path, kind: str | None) -> Iterator[Bytes]:
    """The pickle's bytes, which nobody else can change or cut off while they are read.

    A small file is read into memory; what a compressed file holds, and a copy of a large one, is a
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
    with _decompressed(source, kind or "pickle") as file:
        if not file.seek(0, 2):
            yield b""
            return
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        yield data  # closed with the last array that looks into it


_IN_MEMORY = 1 << 30


@contextmanager
def _decompressed(source: Path, kind: str) -> Iterator[IO[bytes]]:
    with ExitStack() as held:
        try:
            with ExitStack() as failing:  # closing a file that found no room fails again
                file = failing.enter_context(tempfile.TemporaryFile())
                _decompress(source, kind, file)
                file.flush()
                held.push(failing.pop_all())
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
                raise _refusal(error, source) from error
            raise sniff.explain_damaged_compression(str(source), kind, error) from error
        yield file


_DAMAGED = (  # lz4 raises RuntimeError
    *(OSError, ValueError, RuntimeError),
    *(zlib.error, lzma.LZMAError, zstandard.ZstdError),
)


def _decompress(source: Path, kind: str, out: IO[bytes]) -> None:
    if kind not in _STREAMS and kind not in _LOOPS:
        raise ForeignFileError(
            f"{source} was written by joblib 0.9 or older: load it with joblib, and dump the model"
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
    """Frame by frame: a reader of zstandard's takes one that is cut off for a whole one."""
    frame, piece = zstandard.ZstdDecompressor().decompressobj(), b""
    while piece := piece or file.read(_SMALL_PIECE):
        if frame.eof:
            frame = zstandard.ZstdDecompressor().decompressobj()
        out.write(frame.decompress(piece))
        piece = frame.unused_data
    if not frame.eof:
        raise EOFError


_PIECE = 1 << 20
_SMALL_PIECE = 1 << 12  # 4 bytes of zstd's may stand for 128 KiB


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


def _skops(source: Path, callers: Callers, unsafe: bool) -> Any:
    """Through skops itself, which asks for names of its own; ours and the caller's are given it."""
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


def _check_skops(source: Path, mistake: ForeignFileError | None) -> None:
    """Refuse zip files that skops did not write; `mistake` is what the first bytes tell."""
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
            f"{source} has a schema.json of {sizes_text(size)}: that is more than skops writes of "
            "a model, and than can be read in good time. skops itself may load it"
        )


_MOST_SCHEMA = 256 << 20
_SCHEMA_GROWTH = 20  # bytes of memory for each byte of JSON


def write(model: Any, stream: IO[bytes], suffix: str, compress: int) -> None:
    """Write a model as joblib or pickle do, by the suffix of the file."""
    if suffix == ".joblib":
        joblib.dump(model, stream, compress=compress)
    elif compress:
        with gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=compress, mtime=0) as file:
            pickle.dump(model, file, pickle.HIGHEST_PROTOCOL)
    else:
        pickle.dump(model, stream, pickle.HIGHEST_PROTOCOL)
