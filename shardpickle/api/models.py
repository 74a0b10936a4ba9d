"""Dumps and loads models, and predicts with them."""

import io
import json
import os
import time
from collections.abc import Collection
from contextlib import nullcontext
from typing import Any

from shardpickle._util import sizes
from shardpickle._util.pool import check_workers
from shardpickle._util.progress import Listener
from shardpickle.codecs import frames
from shardpickle.format import manifest as manifests
from shardpickle.io.open_model import Access, LoadRequest, load_model, show_call
from shardpickle.io.pack import pack_model
from shardpickle.io.publish import DumpOptions, publish_model
from shardpickle.io.reader import ModelReader
from shardpickle.lazy import CACHE
from shardpickle.lazy import materialize as materializing
from shardpickle.lazy import predict as predicting
from shardpickle.lazy.rows import NpyFile
from shardpickle.reports.outcome import DumpReport
from shardpickle.storage import packed, sniff
from shardpickle.storage.open import open_store
from shardpickle.trust import names as trust

PathLike = str | os.PathLike[str]


@sniff.advise(sniff.DUMP_HABITS)
def dump(
    model: Any,
    path: PathLike,
    *,
    workers: int | None = None,
    level: int = 3,
    shard_size: int | str = "32MB",
    profile: str = "full",
    metadata: dict[str, Any] | None = None,
    require_safe: bool = False,
    progress: bool | None = None,
    on_progress: Listener | None = None,
    storage_options: dict[str, Any] | None = None,
) -> DumpReport:
    """Save a model as a directory of shards.

    Every shard is read back and compared before the manifest is published. Until then, a previous
    model in the directory stays whole.

    Parameters
    ----------
    model : object
        A fitted estimator, or any other object that pickle accepts.
    path : str or os.PathLike
        The directory: new, empty, or an earlier model, which is replaced. Parents are created.
        Or a URL (``"s3://bucket/model"``). Only shards that are missing there are uploaded.
    workers : int, optional
        Threads. Default: the cores this process may use; 1 inside a joblib, Dask, Ray or Spark
        task. The bytes written are the same for any number.
    level : int, default 3
        zstd's compression level, 1 to 22.
    shard_size : int or str, default "32MB"
        Raw bytes that go into one shard, as bytes or as text such as ``"32MB"`` or ``"32MiB"``.
        A single estimator is never cut.
    profile : {"full", "inference"}, default "full"
        "inference" stores smaller trees, without impurities, sample counts and weights, values of
        inner nodes, and gains. `predict`, `predict_proba`, `decision_function`, `apply` and
        `decision_path` give the same bits. The rest is NaN (or -1) in the loaded model, so
        `feature_importances_` is NaN. `load` warns, and `inspect` shows it. `model` does not
        change. Trees below a model that reads more than predictions (`SelectFromModel`), or that
        is unknown, are stored whole: `DumpReport.kept_whole` says where and why.
    metadata : dict, optional
        Stored in the manifest. Anything that JSON can hold, such as the version of the training
        data or the score (``float(score)``). The metadata of a replaced model is lost.
    require_safe : bool, default False
        Raise if `load` would refuse the model without `trusted`. Nothing is published then.
    progress : bool, optional
        Whether to draw a bar on stderr. Default: on a terminal and in a notebook.
    on_progress : callable, optional
        Called with a `shardpickle.Progress` after every step.
    storage_options : dict, optional
        For a URL: options of fsspec's file system (credentials, endpoints).

    Returns
    -------
    DumpReport
        Sizes in bytes, the ratio, seconds, and how many shards were written and reused.

    Raises
    ------
    UnpicklableError
        If parts of the model cannot be pickled. Lists their places. Nothing was written.
    StorageError
        If the directory cannot be written, holds something else, or is being written to.
    UntrustedTypeError
        With `require_safe`, if the model needs names that are not trusted by default.
    ReadBackError
        If encoded data did not decode to the same bytes. Nothing was published.

    Examples
    --------
    >>> import shardpickle
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> forest = RandomForestClassifier(5).fit([[0], [1], [2], [3]], [0, 0, 1, 1])
    >>> report = shardpickle.dump(forest, "forest")
    >>> report.shards_written
    1
    """
    started = time.perf_counter()
    options = DumpOptions(
        check_workers(workers),
        *check_options(level, shard_size, profile, metadata),
        require_safe,
        progress,
        on_progress,
    )
    store = open_store(path, storage_options)
    return DumpReport.of(store.name, publish_model(model, store, options), started)


@sniff.advise(sniff.LOAD_HABITS)
def load(
    path: PathLike,
    *,
    workers: int | None = None,
    lazy: bool = False,
    memory_limit: int | str | None = None,
    estimators: slice | None = None,
    trusted: Collection[str | type] = (),
    unsafe: bool = False,
    expect: str | None = None,
    skip_damaged: bool = False,
    check_memory: bool = True,
    progress: bool | None = None,
    on_progress: Listener | None = None,
    storage_options: dict[str, Any] | None = None,
    cache_dir: PathLike | None = None,
) -> Any:
    """Load a model that `dump` saved.

    By default, only allow-listed classes of scikit-learn, NumPy and SciPy load, and no code that
    the file names is run. Other names raise an error before anything is made. Trees and indices are
    validated, so a bad file cannot crash Python. docs/trust.md says what this proves.

    Parameters
    ----------
    path : str or os.PathLike
        The model directory, a file that `pack` wrote, or a URL. Only read, never written.
    workers : int, optional
        Threads, independent of the dump's. Default: the cores this process may use.
    lazy : bool, default False
        Load trees (and other estimators that fill shards of their own) when they are used. Lists of
        them become sequences of real estimators that load on access. Everything that scikit-learn
        does with the model works. See docs/lazy.md.
    memory_limit : int or str, optional
        For lazy models: bytes (or ``"2GB"``) that all lazy models of this process may hold
        together. The last given limit counts. Default: the limit of an earlier load. Without any,
        loaded parts stay in memory.
    estimators : slice, optional
        ``slice(0, 100)`` loads the first hundred estimators as a model of the same class. For
        ensembles that average (forests, Extra-Trees, bagging, isolation forests), for the first
        estimators of boosting, and for pipelines that end in one. Reads only their shards.
    trusted : collection of str or type, default ()
        Classes of yours or of other packages, as ``"mypkg.models.MyEstimator"`` or as the class
        itself. Imports their modules, and runs their own ``__setstate__``, ``__new__`` and
        ``__reduce__``, if any. A function can be named too. It is never called during the load.
    unsafe : bool, default False
        Trust this file as you trust code. CPython's own unpickler imports and runs whatever the
        file names, and only the digests of the files are checked.
    expect : str, optional
        The digest that the model must have, as `dump` and `inspect` give it (``"sha256:…"``).
    skip_damaged : bool, default False
        If shards are damaged or missing, load an averaging ensemble without their estimators, with
        a `DamagedModelWarning`. Its predictions differ from those of the whole model.
    check_memory : bool, default True
        Raise before loading if the model is larger than the memory that this process may use.
    progress, on_progress, storage_options
        As for `dump`.
    cache_dir : path, optional
        For a URL: a local directory that keeps downloaded shards. They are named by their contents,
        so many models can share it. You may empty it at any time.

    Returns
    -------
    object
        The model as `pickle` would load it: same types, arrays bit for bit, same sharing.

    Raises
    ------
    CorruptModelError
        If a file is damaged, missing or exchanged, or would crash the process. Names the file.
    NotAModelError
        If the path is something else: a pickle, a git-lfs pointer, an MLflow folder, …
    UntrustedTypeError
        If the model needs names that are not trusted. Lists all, with the line to type. Nothing
        was imported or made.
    UnsafeForbiddenError
        If `trusted` or `unsafe` is given where ``SHARDPICKLE_FORBID_UNSAFE=1`` forbids them.
    UnexpectedModelError
        If the model is not the one that `expect` names.
    MissingNameError
        If classes are not installed here. Lists all of them.
    ModelTooLargeError
        If the model does not fit into memory. Gives both sizes.
    MemoryLimitError
        If the memory limit is too small for the lazy model. Gives the least that works.
    ModelReplacedError
        From a lazy model, if its directory was replaced before all of it was loaded.

    Examples
    --------
    >>> import shardpickle
    >>> report = shardpickle.dump({"weights": [1, 2, 3]}, "model")
    >>> shardpickle.load("model")
    {'weights': [1, 2, 3]}
    """
    if memory_limit is not None and not lazy:
        raise ValueError("memory_limit is for lazy models: load(..., lazy=True, memory_limit=...)")
    _check_choice(estimators, lazy, skip_damaged)
    request = LoadRequest(
        check_workers(workers),
        lazy,
        None if memory_limit is None else sizes.parse(memory_limit, "memory_limit"),
        estimators,
        expect,
        skip_damaged,
        check_memory,
        progress,
        on_progress,
    )
    access = Access(path, trust.Callers(trusted), unsafe, storage_options, cache_dir)
    call = "load({path}, lazy=True, {trusted})" if lazy else "load({path}, {trusted})"
    with show_call(call, trusted):
        return load_model(access, request)


def materialize(model: Any) -> Any:
    """Load all of a lazy model into memory.

    Parameters
    ----------
    model : object
        A model loaded with ``lazy=True``, or an object that holds one, changed or not.

    Returns
    -------
    object
        The same model with everything in memory, regardless of the memory limit. Shares arrays and
        estimators with the lazy model.

    Examples
    --------
    >>> import shardpickle
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> forest = RandomForestClassifier(5).fit([[0], [1], [2], [3]], [0, 0, 1, 1])
    >>> report = shardpickle.dump(forest, "forest")
    >>> whole = shardpickle.materialize(shardpickle.load("forest", lazy=True))
    >>> type(whole.estimators_)
    <class 'list'>
    """
    return materializing.copy_whole(model)


def predict(
    model: Any,
    X: Any,  # noqa: N803  # the field's name for features
    *,
    method: str = "predict",
    workers: int | None = None,
    memory_limit: int | str | None = None,
    out: PathLike | None = None,
    trusted: Collection[str | type] = (),
    unsafe: bool = False,
    progress: bool | None = None,
    on_progress: Listener | None = None,
) -> Any:
    """Predict with a model that may be larger than memory, shard by shard.

    Each task opens its own shards. Tasks run on the active joblib backend: processes on this
    machine, or, with ``joblib.parallel_config(backend="dask")``, a cluster that sees the directory.
    scikit-learn's own code adds up the results in its own order, so they are the same bits for any
    number of workers. docs/lazy.md says which models are split into tasks.

    Parameters
    ----------
    model : str, os.PathLike or object
        A model directory, or a model that was loaded with ``lazy=True``.
    X : array, memory map, sparse matrix, DataFrame, or iterator of such
        Features, of shape (rows, features). An iterator yields chunks of rows.
    method : str, default "predict"
        Or ``"predict_proba"``, ``"predict_log_proba"``, ``"decision_function"``,
        ``"score_samples"``, ``"apply"``.
    workers : int, optional
        Tasks at a time. Default: the active backend's, else the cores this process may use.
    memory_limit : int or str, optional
        Bytes (or ``"2GB"``) that this process and its tasks may hold of lazy models during this
        call. The tasks share them.
    out : str or os.PathLike, optional
        A ``.npy`` file for the result, which is returned as a memory map.
    trusted, unsafe
        As for `load`, if `model` is a path.
    progress, on_progress
        As for `dump`. Counts rows.

    Returns
    -------
    numpy.ndarray
        The result of the model's own method for X.

    Examples
    --------
    >>> import shardpickle
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> forest = RandomForestClassifier(5, random_state=0).fit([[0], [1], [2]], [0, 1, 1])
    >>> report = shardpickle.dump(forest, "forest")
    >>> shardpickle.predict("forest", [[0], [2]])
    array([0, 1])
    """
    if method not in predicting.METHODS:
        raise ValueError(f"method has to be one of {sorted(predicting.METHODS)}, not {method!r}")
    limit = None if memory_limit is None else sizes.parse(memory_limit, "memory_limit")
    if workers is not None:
        check_workers(workers)
    file = None if out is None else NpyFile(out)
    prediction = predicting.Prediction(method, workers, file, progress, on_progress)
    with CACHE.within(limit) if limit is not None else nullcontext():
        model = open_lazily(model, trusted, unsafe, "predict({path}, X, {trusted})")
        return predicting.predict_rows(model, X, prediction)


def open_lazily(model: Any, trusted: Collection[str | type], unsafe: bool, call: str) -> Any:
    """Load the model lazily if it is given as a path."""
    if isinstance(model, (str, os.PathLike)):
        with show_call(call, trusted):
            return load(model, lazy=True, trusted=trusted, unsafe=unsafe, progress=False)
    if trusted or unsafe:
        raise ValueError("trusted and unsafe are for paths, and this model is loaded already")
    return model


def dumps(model: Any, **options: Any) -> bytes:
    """Dump a model to bytes: those of a packed model, as `pack` writes it.

    Parameters
    ----------
    model : object
        As for `dump`.
    **options
        As for `dump`.

    Examples
    --------
    >>> import shardpickle
    >>> shardpickle.loads(shardpickle.dumps([1, 2, 3]))
    [1, 2, 3]
    """
    store = packed.MemoryStore()
    dump(model, store, **options)  # type: ignore[arg-type]  # a store is taken as it is
    stream = io.BytesIO()
    pack_model(ModelReader.open(store), stream)
    return stream.getvalue()


def loads(data: bytes, **options: Any) -> Any:
    """Load a model from the bytes of `dumps`.

    Parameters
    ----------
    data : bytes
        Bytes from `dumps`, or of a packed model.
    **options
        As for `load`, except ``lazy``.
    """
    if options.get("lazy"):
        raise ValueError("lazy=True needs a file or a directory: use load(path, lazy=True)")
    with show_call("loads(data, {trusted})", options.get("trusted", ())):
        return load(packed.from_bytes(data), **options)  # type: ignore[arg-type]  # as above


def _check_choice(estimators: slice | None, lazy: bool, skip_damaged: bool) -> None:
    if estimators is not None and not isinstance(estimators, slice):
        raise TypeError(f"estimators has to be a slice, as in slice(0, 100), not {estimators!r}")
    if lazy and skip_damaged:
        raise ValueError("skip_damaged reads all shards, so it needs lazy=False")


def check_options(
    level: int, shard_size: int | str, profile: str, metadata: dict[str, Any] | None
) -> tuple[int, int, str, dict[str, Any]]:
    """Check the options of a dump: level, bytes of a shard, profile, metadata."""
    if isinstance(level, bool) or level not in frames.LEVELS:
        raise ValueError(f"level has to be a whole number from 1 to 22, not {level!r}")
    if profile not in manifests.PROFILES:
        raise ValueError(f"profile has to be one of {manifests.PROFILES}, not {profile!r}")
    return level, sizes.parse(shard_size, "shard_size"), profile, _check_metadata(metadata)


def _check_metadata(metadata: dict[str, Any] | None) -> dict[str, Any]:
    if metadata is None:
        return {}
    if not isinstance(metadata, dict):
        raise TypeError(f"metadata has to be a dict, not {type(metadata).__name__}")
    for key, value in metadata.items():
        if not isinstance(key, str):
            raise TypeError(f"metadata has to be JSON: its keys have to be text, not {key!r}")
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise type(error)(f"metadata[{key!r}] has to be JSON: {error}") from None
    notes: dict[str, Any] = json.loads(json.dumps(metadata))
    return notes
