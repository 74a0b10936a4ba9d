"""Other files: those of other libraries, and models in one file."""

import os
from collections.abc import Collection
from typing import Any

from shardpickle.api.models import checked_options, dump, load
from shardpickle.errors import ForeignFileError, ModelNotFoundError
from shardpickle.io import convert as converting
from shardpickle.io.open_model import called
from shardpickle.io.pack import copy_model, pack_model
from shardpickle.io.reader import ModelReader, read_newest
from shardpickle.reports.outcome import DumpReport
from shardpickle.storage.files import check_path, check_regular, replace_file
from shardpickle.storage.open import open_store
from shardpickle.trust import names as trust

PathLike = str | os.PathLike[str]


def convert(
    source: PathLike,
    path: PathLike,
    *,
    trusted: Collection[str | type] = (),
    unsafe: bool = False,
    **options: Any,
) -> DumpReport:
    """Make a model directory of a file that pickle, joblib, skops, cloudpickle or dill wrote.

    Nothing that the file names is run or imported unless it is vetted, vouched for or `trusted`,
    as with `load`. Models that were pickled under scikit-learn 1.0 to 1.4, which later releases
    refuse or misread, are brought to the installed release.

    Parameters
    ----------
    source : str or os.PathLike
        The file: a pickle of any protocol of Python 3's, or joblib's, also compressed (gzip, zlib,
        bz2, xz, lzma, zstd; lz4 with its package); or a ``.skops`` file, with skops installed.
        Compressed files need room for their content in the folder for temporary files.
    path : str or os.PathLike
        The model directory, as for `dump`.
    trusted : collection of str or type
        Names beside those that `shardpickle` vouches for, as for `load`.
    unsafe : bool, default False
        Make whatever the file names, as pickle does: it may run any code.
    **options
        As for `dump`.

    Returns
    -------
    DumpReport

    Raises
    ------
    ForeignFileError
        If the file is no such file, is damaged, or does what shardpickle does not allow.
    UntrustedTypeError
        If it names what nobody vouches for, with all names. Nothing was made.
    RebuildError
        If what is installed cannot hold the model, or would predict something else from it.
    StorageError
        If the file cannot be read, or there is no room to decompress it: set ``TMPDIR``.

    Examples
    --------
    >>> import joblib, shardpickle
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> forest = RandomForestClassifier(5).fit([[0], [1], [2], [3]], [0, 0, 1, 1])
    >>> files = joblib.dump(forest, "forest.joblib", compress=3)
    >>> report = shardpickle.convert("forest.joblib", "forest")
    >>> shardpickle.load("forest")
    RandomForestClassifier(n_estimators=5)
    """
    callers = trust.Callers(trusted)
    trust.check_allowed(callers, unsafe)
    checked_options(
        options.get("level", 3),
        options.get("shard_size", "32MB"),
        options.get("profile", "full"),
        options.get("metadata"),
    )
    file = check_path(source)
    if os.path.isdir(file):
        raise ForeignFileError(f"{file} is a directory, not a file to convert")
    if not os.path.exists(file):
        raise ModelNotFoundError(f"there is no file {file}")
    check_regular(file, "read the file")
    with called(f"convert({{path}}, {_quoted(path)}, {{trusted}})", trusted):
        model = converting.read(file, callers, unsafe)
    return dump(model, path, **options)


def export(
    path: PathLike,
    target: PathLike,
    *,
    compress: int = 0,
    trusted: Collection[str | type] = (),
    unsafe: bool = False,
    workers: int | None = None,
) -> None:
    """Write a model as a file of joblib's or pickle's, for those who need one.

    Whoever loads that file runs what it says, as with every pickle; and it loads as the release
    that is installed here wrote it.

    Parameters
    ----------
    path : str or os.PathLike
        The model directory, packed file or URL.
    target : str or os.PathLike
        The file to write: ``.joblib``, ``.pkl`` or ``.pickle``, ``.pkl.gz``. A file of that name is
        replaced when the new one is whole.
    compress : int, default 0
        joblib's and gzip's level, 0 to 9. ``.pkl.gz`` has at least 1.
    trusted, unsafe, workers
        As for `load`.

    Examples
    --------
    >>> import pickle, shardpickle
    >>> report = shardpickle.dump([1, 2, 3], "model")
    >>> shardpickle.export("model", "model.pkl")
    >>> with open("model.pkl", "rb") as file:
    ...     pickle.load(file)
    [1, 2, 3]
    """
    file = check_path(target)
    suffixes = "".join(file.suffixes[-2:]).lower() if file.suffix == ".gz" else file.suffix.lower()
    if suffixes not in (".joblib", ".pkl", ".pickle", ".pkl.gz", ".pickle.gz"):
        raise ValueError(f"{file} is to be .joblib, .pkl, .pickle or .pkl.gz")
    if not 0 <= compress <= 9:
        raise ValueError(f"compress is 0 to 9, not {compress}")
    if suffixes.endswith(".gz"):
        compress = max(compress, 1)
    with called(f"export({{path}}, {_quoted(target)}, {{trusted}})", trusted):
        model = load(path, trusted=trusted, unsafe=unsafe, workers=workers)
    with replace_file(file) as stream:
        converting.write(model, stream, suffixes, compress)


def pack(path: PathLike, file: PathLike) -> None:
    """Put a model directory into one file, which `load` opens as it is, lazily too.

    Parameters
    ----------
    path : str or os.PathLike
        The model directory, or a URL.
    file : str or os.PathLike
        The file to write, ``"model.shpk"``: a zip of the same files, uncompressed. The same model
        gives the same bytes.

    Examples
    --------
    >>> import shardpickle
    >>> report = shardpickle.dump([1, 2, 3], "model")
    >>> shardpickle.pack("model", "model.shpk")
    >>> shardpickle.load("model.shpk")
    [1, 2, 3]
    """
    target = check_path(file)

    def write(reader: ModelReader) -> None:
        with replace_file(target) as stream:
            pack_model(reader, stream)

    read_newest(open_store(path), write)


def unpack(
    file: PathLike, path: PathLike, *, storage_options: dict[str, Any] | None = None
) -> None:
    """Make a model directory of a packed model.

    Parameters
    ----------
    file : str or os.PathLike
        What `pack` wrote; also a model directory or a URL, which is copied.
    path : str or os.PathLike
        As for `dump`.
    storage_options : dict, optional
        As for `dump`, for `path`.

    Examples
    --------
    >>> import shardpickle
    >>> report = shardpickle.dump([1, 2, 3], "model")
    >>> shardpickle.pack("model", "model.shpk")
    >>> shardpickle.unpack("model.shpk", "again")
    >>> shardpickle.inspect("again").digest == shardpickle.inspect("model").digest
    True
    """
    source, target = open_store(file), open_store(path, storage_options)
    read_newest(source, lambda reader: copy_model(reader, target))


def collect_garbage(
    path: PathLike, *, storage_options: dict[str, Any] | None = None
) -> tuple[int, int]:
    """Remove what the present model does not need: (files, bytes) removed.

    These are the shards of the generation before, which readers may still be using, and what a
    killed dump left behind. The next dump does the same, but not at a URL.
    """
    store = open_store(path, storage_options)
    ModelReader.open(store)  # an error that says what else is there, before the lock
    with store.writing() as publication:
        manifest = ModelReader.open(store).manifest
        return publication.collect({entry.sha256 for entry in manifest.shards})


def write_text(path: PathLike, text: str) -> None:
    """Write a file of text that is whole, or as it was before."""
    with replace_file(check_path(path)) as stream:
        stream.write(text.encode())


def _quoted(path: PathLike) -> str:
    """A path as it stands in the template of a call."""
    return repr(os.fspath(path)).replace("{", "{{").replace("}", "}}")
