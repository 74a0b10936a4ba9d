"""Inspects, estimates, compares and verifies models."""

import os
from functools import partial
from typing import Any

from shardpickle._util.pool import Pool, check_workers
from shardpickle._util.progress import Listener
from shardpickle.api.models import check_options
from shardpickle.codecs import _backend
from shardpickle.io.publish import DumpOptions
from shardpickle.io.reader import read_newest
from shardpickle.reports import diff as comparing
from shardpickle.reports import inspect as inspecting
from shardpickle.reports import verify as verifying
from shardpickle.reports.difference import Difference
from shardpickle.reports.outcome import VerifyReport
from shardpickle.reports.text import ModelInfo
from shardpickle.storage.open import open_store

PathLike = str | os.PathLike[str]


def inspect(
    path: PathLike, *, trust: bool = False, storage_options: dict[str, Any] | None = None
) -> ModelInfo:
    """Describe a model directory, without unpickling or importing anything.

    Parameters
    ----------
    path : str or os.PathLike
        The model directory, a packed model, or a URL.
    trust : bool, default False
        Also check whether a default `load` would refuse the model: ``needs_trust`` and
        ``needs_unsafe`` of the result. Reads the whole model, and makes vetted objects as a default
        load does, but trees without nodes.
    storage_options : dict, optional
        As for `dump`.

    Returns
    -------
    ModelInfo
        Classes, versions, sizes in bytes, names in the pickles, metadata. ``str()`` gives a
        readable page, ``to_dict()`` gives JSON.

    Examples
    --------
    >>> import shardpickle
    >>> report = shardpickle.dump([1, 2, 3], "model")
    >>> shardpickle.inspect("model").model
    'builtins.list'
    """
    store = open_store(path, storage_options)
    return read_newest(store, partial(inspecting.inspect_model, trust=trust))


def estimate(
    model: Any,
    *,
    workers: int | None = None,
    level: int = 3,
    shard_size: int | str = "32MB",
    profile: str = "full",
    metadata: dict[str, Any] | None = None,
    progress: bool | None = None,
    on_progress: Listener | None = None,
) -> ModelInfo:
    """Estimate what `dump` would store, without writing anything.

    Takes as long as a dump: every shard is encoded, described and dropped.

    Parameters
    ----------
    model, workers, level, shard_size, profile, metadata, progress, on_progress
        As for `dump`.

    Returns
    -------
    ModelInfo
        The report of `inspect` on such a directory, exact to the byte: sizes of parts and columns,
        names that need trust.

    Examples
    --------
    >>> import shardpickle
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> forest = RandomForestClassifier(5).fit([[0], [1], [2], [3]], [0, 0, 1, 1])
    >>> stored = shardpickle.estimate(forest).stored_bytes
    >>> stored == shardpickle.dump(forest, "forest").stored_bytes
    True
    """
    options = DumpOptions(
        check_workers(workers),
        *check_options(level, shard_size, profile, metadata),
        progress=progress,
        on_progress=on_progress,
    )
    return inspecting.estimate_model(model, options)


def diff(one: PathLike, other: PathLike, *, workers: int | None = None) -> Difference:
    """Compare two models, without unpickling or importing anything.

    Parameters
    ----------
    one, other : str or os.PathLike
        Model directories, packed models, or URLs.
    workers : int, optional
        As for `load`.

    Returns
    -------
    Difference
        False if the models are the same: parameters, versions, estimators, metadata. It also has
        the number of bytes that the second directory has and the first one lacks.

    Examples
    --------
    >>> import shardpickle
    >>> report = shardpickle.dump({"a": 1}, "one"), shardpickle.dump({"a": 2}, "other")
    >>> bool(shardpickle.diff("one", "other"))
    True
    """
    with Pool(check_workers(workers)) as pool:
        return comparing.compare_models(open_store(one), open_store(other), pool)


def verify(
    path: PathLike,
    *,
    deep: bool = False,
    workers: int | None = None,
    storage_options: dict[str, Any] | None = None,
) -> VerifyReport:
    """Check every file of a model directory. Runs and imports nothing that the files name.

    Parameters
    ----------
    path : str or os.PathLike
        The model directory, a packed model, or a URL.
    deep : bool, default False
        Also decode every column, read every skeleton, and check whether a default `load` would
        refuse the model (``needs_trust`` and ``needs_unsafe``). This makes trees without nodes.
    workers : int, optional
        As for `load`.
    storage_options : dict, optional
        As for `dump`.

    Returns
    -------
    VerifyReport
        True if the model is sound. ``problems`` has one entry for each damaged, missing or
        exchanged file.

    Raises
    ------
    NotAModelError, ModelNotFoundError
        If there is no model to verify.
    UnknownFormatError
        If the model has another version of the format, which cannot be verified here.

    Examples
    --------
    >>> import shardpickle
    >>> report = shardpickle.dump([1, 2, 3], "model")
    >>> shardpickle.verify("model").ok
    True
    """
    store = open_store(path, storage_options)
    return verifying.verify_model(store, deep, check_workers(workers))


def loops() -> str:
    """The code that encodes and decodes trees: ``"Cython"``, or ``"NumPy"`` without a compiler."""
    name: str = _backend.loops.NAME
    return name
