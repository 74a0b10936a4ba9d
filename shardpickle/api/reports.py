"""What is in a model directory, how two differ, and whether one is sound."""

import os
from functools import partial
from typing import Any

from shardpickle._util.pool import Pool, check_workers
from shardpickle._util.progress import Listener
from shardpickle.api.models import checked_options
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
    """What a model directory holds, without unpickling or importing anything.

    Parameters
    ----------
    path : str or os.PathLike
        The model directory, a packed model, or a URL.
    trust : bool, default False
        Also do what a default `load` does, but on trees without nodes, and tell whether it would
        refuse: ``needs_trust`` and ``needs_unsafe`` of the result. Reads the whole model, and makes
        vetted things, as a default load does.
    storage_options : dict, optional
        As for `dump`.

    Returns
    -------
    ModelInfo
        Classes, versions, sizes in bytes, names in the pickles, metadata. ``str()`` of it is a
        readable page, ``to_dict()`` is for machines.

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
    """What `dump` would store, without writing anything.

    Takes the time of a dump: every shard is encoded, described and dropped.

    Parameters
    ----------
    model, workers, level, shard_size, profile, metadata, progress, on_progress
        As for `dump`.

    Returns
    -------
    ModelInfo
        What `inspect` would say of the directory, to the byte: sizes of parts and columns, names
        that need trust.

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
        *checked_options(level, shard_size, profile, metadata),
        progress=progress,
        on_progress=on_progress,
    )
    return inspecting.estimate_model(model, options)


def diff(one: PathLike, other: PathLike, *, workers: int | None = None) -> Difference:
    """How two models differ, without unpickling or importing anything.

    Parameters
    ----------
    one, other : str or os.PathLike
        Model directories, packed models, or URLs.
    workers : int, optional
        As for `load`.

    Returns
    -------
    Difference
        False if the models are the same: parameters, versions, estimators, metadata. It also tells
        the bytes that would travel to make the first directory the second.

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
    """Check every file of a model directory. What it names is not run or imported.

    Parameters
    ----------
    path : str or os.PathLike
        The model directory, a packed model, or a URL.
    deep : bool, default False
        Also decode every column, read every skeleton, and do what a default `load` does, on trees
        without nodes: ``needs_trust`` and ``needs_unsafe`` tell whether it would refuse.
    workers : int, optional
        As for `load`.
    storage_options : dict, optional
        As for `dump`.

    Returns
    -------
    VerifyReport
        True if the model is sound; ``problems`` has one for each file that is damaged, missing or
        exchanged.

    Raises
    ------
    NotAModelError, ModelNotFoundError
        If there is no model to verify.
    UnknownFormatError
        If another version of the format wrote it, which cannot be verified here.

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
    """What codes trees here: ``"Cython"``, or ``"NumPy"`` if there was no compiler."""
    name: str = _backend.loops.NAME
    return name
