"""Explains common mistakes: files that are not models, recognized by their first bytes, and
options of other libraries. Opens nothing itself.

`load` and the commands call `explain_file` when they find a file in place of a model. `convert`
calls `explain_other_file` before it reads a file, and the other functions when it cannot read it.
All describe a file by the same `_Sight`.
"""

import functools
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from shardpickle.errors import ForeignFileError, FormatError, NotAModelError

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

ENOUGH = 4096  # bytes of a file's start that suffice to recognize it
_LFS = b"version https://git-lfs"


# Files. -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Sight:
    """What a file is, and what to do with it."""

    what: str
    advice: str


def explain_file(name: str, start: bytes) -> NotAModelError | None:
    """Return the error for a file in place of a model (or its manifest); None if unknown."""
    if not start:
        what = "an empty file (or one that may not be read)"
        return NotAModelError(f"{name} is {what}, not a shardpickle model")
    file_kind = detect_kind(start) or ("pickle" if _begins_as_pickle(start) else None)
    sight = _other_file(start) or (None if file_kind else _text(start))
    if sight is not None:
        return NotAModelError(f"{name} is {sight.what}, not a shardpickle model: {sight.advice}")
    if file_kind is None:
        return None
    shown = _CALLED.get(file_kind, "compressed joblib")
    return NotAModelError(
        f"{name} is a {shown} file, not a shardpickle directory. "
        f"Convert it once: shardpickle.convert({name!r}, 'model_dir'), or "
        f"python -m shardpickle convert {name} model_dir"
    )


def explain_other_file(name: str, start: bytes, inside: str = "") -> ForeignFileError | None:
    """Return the error for a file that is certainly not a pickle; None if it may be one.

    Parameters
    ----------
    name : str
        The file.
    start : bytes
        Its first bytes (`ENOUGH` of them), decompressed.
    inside : str
        How it was compressed.
    """
    sight = _other_file(start)
    if sight is not None:
        return _not_a_pickle(name, sight, inside)
    if inside and detect_kind(start) not in (None, "pickle"):
        return ForeignFileError(
            f"{name} is compressed twice: decompress it once (it is {inside}), and convert what "
            "comes out"
        )
    return None


def explain_unreadable(name: str, start: bytes, reason: str, inside: str = "") -> ForeignFileError:
    """Return the error for a file that could not be read as a pickle."""
    sight = None if _begins_as_pickle(start) else _text(start)
    if sight is not None:
        return _not_a_pickle(name, sight, inside)
    if _begins_as_pickle(start):
        return ForeignFileError(f"{name} is damaged: {reason}. {_AGAIN}")
    unknown = _Sight("of a kind that shardpickle does not know", _WRITTEN_BY)
    return _not_a_pickle(name, unknown, inside)


def explain_cut_off(name: str, start: bytes, nbytes: int, inside: str = "") -> ForeignFileError:
    """Return the error for a file that ends too early, after `nbytes`."""
    sight = None if _begins_as_pickle(start) else _text(start)
    if sight is not None:
        return _not_a_pickle(name, sight, inside)
    where = f" of what its {inside} compression holds" if inside else ""
    return ForeignFileError(
        f"{name} is cut off after {nbytes} bytes{where} (or damaged): its pickle goes on where "
        f"they end. {_AGAIN}"
    )


def explain_cut_compressed(name: str, kind: str, nbytes: int) -> ForeignFileError:
    """Return the error for a compressed file that ends too early."""
    return ForeignFileError(
        f"{name} is cut off after {nbytes} bytes: its {kind} compression goes on where they end. "
        f"{_AGAIN}"
    )


def explain_damaged_compression(name: str, kind: str, reason: object) -> ForeignFileError:
    """Return the error for a compressed file whose bytes were changed."""
    return ForeignFileError(
        f"{name} is damaged: its compression ({kind}) cannot be undone ({reason}). {_AGAIN}"
    )


def explain_python_2(name: str, start: bytes, inside: str = "") -> ForeignFileError:
    """The error for a pickle of Python 2, or for a text that begins like one."""
    sight = None if _begins_as_pickle(start) else _text(start)
    if sight is not None:
        return _not_a_pickle(name, sight, inside)
    return ForeignFileError(
        f"{name} was pickled by Python 2, which shardpickle does not read. Fit the model again "
        "under Python 3: scikit-learn of today does not read models of Python 2 either. Plain data "
        "is read by pickle.load(file, encoding='latin1'), and dump takes it from there"
    )


def explain_too_old(name: str, version: str | None, named: str | None) -> ForeignFileError:
    """The error for a model of scikit-learn before 1.0."""
    hint = "; ".join([*([version] if version else []), *([f"it names {named}"] if named else [])])
    pip = f"scikit-learn=={version}" if version else "scikit-learn<0.23"
    return ForeignFileError(
        f"{name} was written by scikit-learn before 1.0 ({hint}), and shardpickle reads models of "
        "scikit-learn 1.0 and later. Fit the model again with a current scikit-learn. To look at "
        f"what the file holds, load it where the old one is installed (pip install '{pip}')"
    )


def explain_other_release(
    name: str, module: str, versions: Iterable[str], here: str
) -> ForeignFileError:
    """The error for a module that the installed scikit-learn does not have."""
    written = " and ".join(sorted(versions)) or "another release"
    return ForeignFileError(
        f"{name} names {module}, which scikit-learn {here} (installed here) does not have. It was "
        f"written by scikit-learn {written}: convert it where that release is installed"
    )


def explain_zip(name: str, members: Iterable[str]) -> ForeignFileError:
    """The error for a zip that skops did not write."""
    sight = _of_members(members) or _Sight("a zip file that skops did not write", _WRITTEN_BY)
    return _not_a_pickle(name, sight)


def _not_a_pickle(name: str, sight: _Sight, inside: str = "") -> ForeignFileError:
    packed = f" (compressed with {inside})" if inside else ""
    return ForeignFileError(f"{name} is {sight.what}{packed}, not a pickle: {sight.advice}")


_AGAIN = "Copy or download it again, whole; if it was written so, dump the model again"
_WRITTEN_BY = "point to the file that pickle, joblib, cloudpickle, dill or skops wrote"
_OWN_READER = "read it with the library that wrote it, and dump the object that you get"
_PAGE = _Sight(
    "a web page (HTML)",
    "a server answered the download with a page instead of the file. Download it again, with the "
    "link of the file itself, and signed in if that is needed",
)
_FAILED = "the download failed. Download it again, signed in if that is needed"
_TABLE = "it holds data, not a model: read it with pandas. " + _WRITTEN_BY.capitalize()


def _other_file(start: bytes) -> _Sight | None:
    """What a file surely is, if it is nothing that pickle, joblib or skops write."""
    if not start:
        return _Sight("an empty file", "it was not written to the end, or not copied. " + _AGAIN)
    if start.startswith(_LFS):
        return _Sight("a git-lfs pointer", "run `git lfs pull` for the file itself, and try again")
    for first, sight in _MAGIC:
        if start.startswith(first):
            return sight
    if start[:4] == _ZIP:
        member = _first_member(start)
        return None if _BY_SKOPS.fullmatch(member) else _of_members([member])
    if start[257:262] == b"ustar":
        return _Sight("a tar archive", "unpack it, and convert the file inside it")
    if start[4:8] == b"TFL3":
        return _Sight("a TensorFlow Lite model", _OWN_READER)
    if re.match(rb"\x08[\x01-\x20][\x12\x1a\x22\x3a]", start):
        return _Sight(
            "an ONNX model (or of another library that writes protobuf)",
            "scikit-learn's objects cannot be made from it. " + _WRITTEN_BY.capitalize(),
        )
    if start[8:10] == b'{"' and start[3:8] == bytes(5):
        return _Sight("a safetensors file", _OWN_READER)
    return _markup(start.removeprefix(b"\xef\xbb\xbf").lstrip())


def _markup(start: bytes) -> _Sight | None:
    """HTML, XML and JSON: none of them begins as a pickle can."""
    if re.match(rb"<(!doctype html|html|head|body|script|title)\b", start, re.IGNORECASE):
        return _PAGE
    if start[:1] == b"<":
        if re.search(rb"<html\b", start, re.IGNORECASE):
            return _PAGE
        if b"<PMML" in start:
            return _Sight("a PMML model", "scikit-learn's objects cannot be made from it")
        code = re.search(rb"<Code>(\w{1,60})</Code>", start)
        if code or b"<Error" in start:
            said = f", {code[1].decode()}" if code else ""
            return _Sight(f"an error message of a server (XML{said})", _FAILED)
        return _Sight("an XML file", _OWN_READER)
    if start[:2] == b"{L" or (start[:2] == b"{i" and start[3:4].isalpha()):
        return _Sight("a UBJSON file (XGBoost writes such)", _OWN_READER)
    if re.match(rb'[\[{]\s*(["\[\]{}\d\-]|true|false|null|$)', start):
        return _Sight(
            "a JSON file",
            "if a library wrote its model so, " + _OWN_READER + ". If a server sent it in place of "
            "the file, download the file again",
        )
    return None


def _text(start: bytes) -> _Sight | None:
    """Text, of which a pickle of protocol 0 may be one: only for what cannot be read as one."""
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return _Sight("a file of text (UTF-16)", _WRITTEN_BY)
    if not start or re.search(rb"[^\t\n\f\r\x1b -\xff]", start):
        return None
    plain = len(re.findall(rb"[\t\n\r -~]", start))
    try:
        start[: start.rfind(b"\n") + 1].decode("utf-8")
    except UnicodeDecodeError:
        plain -= len(start) // 10  # of an older encoding, if it is text
    if plain < 0.7 * len(start):
        return None
    if start.startswith(b"tree\nversion="):
        return _Sight("a LightGBM model (text)", _OWN_READER)
    if re.match(rb"[45]\d\d:? [A-Z]", start):  # 404: Not Found
        return _Sight("a file of text, an error message of a server", _FAILED)
    return _Sight(
        "a file of text (CSV, for example)",
        "if it holds data, read it with pandas. " + _WRITTEN_BY.capitalize(),
    )


def _first_member(start: bytes) -> str:
    length = int.from_bytes(start[26:28], "little")
    return start[30 : 30 + length].decode("utf-8", "replace")


def _of_members(members: Iterable[str]) -> _Sight | None:
    """What a zip is by the names of its files; None if skops may have written it."""
    names = list(members)
    if "schema.json" in names or not names:
        return None
    if "manifest.json" in names:
        return _Sight(
            "a packed shardpickle model (or another zip file)",
            "shardpickle.load takes it as it is; if that fails, it is damaged",
        )
    for ending, sight in _MEMBERS.items():
        if any(name.endswith(ending) for name in names):
            return sight
    return None


_BY_SKOPS = re.compile(r"\d+\.npy")  # it writes its arrays before the file that tells it is its own
_MEMBERS = {
    ".npy": _Sight(
        "a NumPy file of arrays (.npz), or a zip file that skops did not write",
        "read it with numpy.load, and dump what you get",
    ),
    "/data.pkl": _Sight("a PyTorch file", _OWN_READER),
    "/version": _Sight("a PyTorch file", _OWN_READER),
    "/byteorder": _Sight("a PyTorch file", _OWN_READER),
    ".weights.h5": _Sight("a Keras model", _OWN_READER),
    "config.json": _Sight("a Keras model", _OWN_READER),
    "metadata.json": _Sight("a Keras model", _OWN_READER),
    "[Content_Types].xml": _Sight("an Excel file (or another one of Office)", _TABLE),
    "model.ini": _Sight("an H2O model", _OWN_READER),
}
_MAGIC: tuple[tuple[bytes, _Sight], ...] = (
    (b"\x93NUMPY", _Sight("a NumPy array (.npy)", "read it with numpy.load, and dump the array")),
    (
        b"\x89HDF\r\n\x1a\n",
        _Sight("an HDF5 file (Keras and pandas write such)", _OWN_READER),
    ),
    (b"PK\x05\x06", _Sight("an empty zip file", _WRITTEN_BY)),
    (b"PAR1", _Sight("a Parquet file", _TABLE)),
    (b"ARROW1", _Sight("an Arrow (Feather) file", _TABLE)),
    (b"ORC", _Sight("an ORC file", _TABLE)),
    (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        _Sight("an Excel file (or another one of Office)", _TABLE),
    ),
    (b"SQLite format 3\x00", _Sight("an SQLite database", _TABLE)),
    (b"CBM1", _Sight("a CatBoost model", _OWN_READER)),
    (b"binf", _Sight("an XGBoost model (binary)", _OWN_READER)),
    (b"RDX", _Sight("an R file", "it is read by R only")),
    (b"%PDF", _Sight("a PDF file", _WRITTEN_BY)),
    (b"\x89PNG", _Sight("a picture", _WRITTEN_BY)),
    (b"\xff\xd8\xff", _Sight("a picture", _WRITTEN_BY)),
    (b"\x7fELF", _Sight("a program", _WRITTEN_BY)),
    (b"7z\xbc\xaf\x27\x1c", _Sight("a 7z archive", "unpack it, and convert the file inside it")),
    (b"Rar!", _Sight("a RAR archive", "unpack it, and convert the file inside it")),
    (
        b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.",
        _Sight("a PyTorch file (of torch 1.5 or older)", _OWN_READER),
    ),
)


def explain_directory(name: str, holds: Callable[[str], bool]) -> NotAModelError:
    """Return the error for a directory without a manifest."""
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


def explain_lfs(file: str, start: bytes) -> FormatError | None:
    """Return the error for a git-lfs pointer in place of a shard; None if it is something else."""
    return explain_file(file, start) if start.startswith(_LFS) else None


def detect_kind(start: bytes) -> str | None:
    """Return the kind of another library's file, by its first bytes; None if unknown.

    ``"zip"``, ``"pickle"``, or how a pickle is compressed.
    """
    for file_kind, firsts in _FIRST.items():
        if start.startswith(firsts):
            return file_kind
    if start[:1] == b"\x78" and len(start) > 1 and start[1] in (0x01, 0x5E, 0x9C, 0xDA):
        return "zlib"
    return "pickle" if len(start) > 1 and start[0] == 0x80 and start[1] <= 5 else None


def _begins_as_pickle(start: bytes) -> bool:
    return start[:1] == b"\x80" or _OLD_PICKLE.match(start) is not None


# How pickles of protocols 0 and 1 begin: a name and what is made of it, or a container.
_OLD_PICKLE = re.compile(
    rb"\(*(c[A-Za-z_][\w.]*\n[A-Za-z_][\w.]*\n(p\d+\n|q.|[()])|[dl](p\d+\n|\.)|[\]}]([q.]|p\d+\n)"
    rb"|i[a-z_][\w.]*\n|[SV]['\"].*['\"]\np\d+\n)"
)
_ZIP = b"PK\x03\x04"
_FIRST = {
    "zip": _ZIP,
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


# Options. -----------------------------------------------------------------------------------------

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


def advise(
    habits: Mapping[str, str],
) -> Callable[[Callable[_Arguments, _Result]], Callable[_Arguments, _Result]]:
    """Make a function explain what to use in place of an option of joblib's or pickle's."""

    def decorate(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
        known = inspect.signature(function).parameters
        most = sum(
            parameter.kind is parameter.POSITIONAL_OR_KEYWORD for parameter in known.values()
        )

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
