"""Reads and writes other files: those of other libraries, and models in one file."""

import os
from collections.abc import Collection
from typing import Any

from shardpickle.api.models import check_options, dump, load
from shardpickle.errors import ForeignFileError, ModelNotFoundError
from shardpickle.io import convert as converting
from shardpickle.io.open_model import show_call
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
    """Convert a file of pickle, joblib, skops, cloudpickle or dill into a model directory.

    As with `load`, a name in the file is run or imported only if it is vetted, vouched for or
    `trusted`. Models pickled with scikit-learn 1.0 to 1.4, which later releases refuse or misread,
    are translated to the installed release.

    Parameters
    ----------
    source : str or os.PathLike
        A pickle of any protocol of Python 3, or a joblib file, also compressed (gzip, zlib, bz2,
        xz, lzma, zstd; lz4 with its package). Or a ``.skops`` file, with skops installed.
        Compressed files need space for their content in the folder for temporary files.
    path : str or os.PathLike
        The model directory, as for `dump`.
    trusted : collection of str or type
        Names to trust besides shardpickle's own, as for `load`.
    unsafe : bool, default False
        Load whatever the file names, as pickle does. It may run any code.
    **options
        As for `dump`.

    Returns
    -------
    DumpReport

    Raises
    ------
    ForeignFileError
        If the file is none of these, is damaged, or does something that shardpickle does not allow.
    UntrustedTypeError
        If the file needs names that are not trusted. Lists all. Nothing was made.
    RebuildError
        If the installed release cannot hold the model, or would predict something else with it.
    StorageError
        If the file cannot be read, or there is not enough space to decompress it: set ``TMPDIR``.

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
    check_options(
        options.get("level", 3),
        options.get("shard_size", "32MB"),
        options.get("profile", "full"),
        options.get("metadata"),
    )
    file = check_path(source)
    if os.path.isdir(file):
        raise ForeignFileError(f"{file} is a directory: give a file to convert")
    if not os.path.exists(file):
        raise ModelNotFoundError(f"there is no file {file}")
    check_regular(file, "read the file")
    with show_call(f"convert({{path}}, {_quote(path)}, {{trusted}})", trusted):
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
    """Write a model as a joblib or pickle file.

    Loading that file runs any code in it, as with every pickle. It fits the releases that are
    installed here.

    Parameters
    ----------
    path : str or os.PathLike
        The model directory, packed file or URL.
    target : str or os.PathLike
        The file to write: ``.joblib``, ``.pkl``, ``.pickle``, ``.pkl.gz`` or ``.pickle.gz``. An
        existing file is replaced when the new one is complete.
    compress : int, default 0
        Level of joblib or gzip, 0 to 9. At least 1 for ``.pkl.gz``.
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
        raise ValueError(f"{file} has to end in .joblib, .pkl, .pickle or .pkl.gz")
    if not 0 <= compress <= 9:
        raise ValueError(f"compress has to be from 0 to 9, not {compress}")
    if suffixes.endswith(".gz"):
        compress = max(compress, 1)
    with show_call(f"export({{path}}, {_quote(target)}, {{trusted}})", trusted):
        model = load(path, trusted=trusted, unsafe=unsafe, workers=workers)
    with replace_file(file) as stream:
        converting.write(model, stream, suffixes, compress)


def pack(path: PathLike, file: PathLike) -> None:
    """Pack a model directory into one file, which `load` opens directly, also lazily.

    Parameters
    ----------
    path : str or os.PathLike
        The model directory, or a URL.
    file : str or os.PathLike
        The file to write, such as ``"model.shpk"``: an uncompressed zip of the same files. The same
        model gives the same bytes.

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
    """Unpack a packed model into a model directory.

    Parameters
    ----------
    file : str or os.PathLike
        A packed model. Or a model directory or a URL, which is copied.
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
    """Delete files that the present model does not need. Returns numbers of files and bytes.

    These are shards of the previous model, which readers may still be using, and leftovers of
    killed dumps. The next dump does the same, except at a URL.
    """
    store = open_store(path, storage_options)
    ModelReader.open(store)  # before the lock: an error that says what else is there
    with store.writing() as publication:
        manifest = ModelReader.open(store).manifest
        return publication.collect({entry.sha256 for entry in manifest.shards})


def write_text(path: PathLike, text: str) -> None:
    """Write a text file completely, or leave it as it was."""
    with replace_file(check_path(path)) as stream:
        stream.write(text.encode())


def _quote(path: PathLike) -> str:
    """Quote a path for the template of a call."""
    return repr(os.fspath(path)).replace("{", "{{").replace("}", "}}")
