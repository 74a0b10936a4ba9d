"""dump, load, inspect, verify: the only place that wires the rooms together."""

import io
import json
import os
import time
import warnings
from collections.abc import Collection
from contextlib import nullcontext, suppress
from functools import partial
from numbers import Integral
from typing import IO, Any

from shardpickle._util import sizes
from shardpickle._util.pool import Pool, checked_workers
from shardpickle._util.progress import Listener, Meter
from shardpickle.codecs import _backend, frames
from shardpickle.errors import (
    CorruptModelError,
    CorruptShardError,
    ForeignFileError,
    MainModuleWarning,
    MissingShardError,
    ModelNotFoundError,
    ModelReplacedError,
    ReadBackError,
    RefusedError,
    StorageError,
    UntrustedTypeError,
)
from shardpickle.format import manifest
from shardpickle.format.manifest import Manifest
from shardpickle.io import convert as converting
from shardpickle.io import load_part
from shardpickle.io.dump import Dumper, previous, split_model
from shardpickle.io.load import (
    check_file,
    in_file,
    needs_of,
    parsed_manifest,
    read_manifest,
    read_manifest_file,
    whole,
)
from shardpickle.io.load_lazy import Source
from shardpickle.io.open_model import (
    Job,
    called,
    check_expected,
    first_uses,
    opened,
    rebuilder_of,
    reference_to,
    reopened,
    run_job,
    sound_manifest,
)
from shardpickle.lazy import CACHE
from shardpickle.lazy import materialize as thawing
from shardpickle.lazy import predict as scoring
from shardpickle.lazy import rows as results
from shardpickle.reports import (
    diff as comparing,
)
from shardpickle.reports import (
    inspect as inspecting,
)
from shardpickle.reports import (
    verify as verifying,
)
from shardpickle.reports.difference import Difference
from shardpickle.reports.outcome import DumpReport, VerifyReport
from shardpickle.reports.text import ModelInfo
from shardpickle.shrink import measure, table
from shardpickle.shrink import prune as pruning
from shardpickle.shrink.cut import Limits
from shardpickle.shrink.table import Smaller, Tradeoff
from shardpickle.storage import packed, sniff
from shardpickle.storage.base import Shard, Store, copy_shard
from shardpickle.storage.files import check_regular, checked, replacing
from shardpickle.storage.open import open_store
from shardpickle.trust import names as trust

PathLike = str | os.PathLike[str]


@sniff.advised(sniff.DUMP_HABITS)
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

    Every shard is read back and compared before the manifest is published; the previous model in
    the directory, if there is one, stays whole until then.

    Parameters
    ----------
    model : object
        A fitted estimator, or any other object that pickle accepts.
    path : str or os.PathLike
        The directory: new, empty, or an earlier model, which is replaced. Parents are created.
        Or a URL (``"s3://bucket/model"``), where only shards that are not there travel.
    workers : int, optional
        Threads. Default: the cores this process may use; 1 inside a joblib, Dask, Ray or Spark
        task. The bytes written are the same for any number.
    level : int, default 3
        zstd's compression level, 1 to 22.
    shard_size : int or str, default "32MB"
        Raw bytes that go into one shard, as bytes or as text such as ``"32MB"`` or ``"32MiB"``.
        A single estimator is never cut.
    profile : {"full", "inference"}, default "full"
        "inference" stores trees without what `predict`, `predict_proba`, `decision_function`,
        `apply` and `decision_path` do not need: impurities, sample counts and weights, values of
        inner nodes, gains. These give the same bits; the loaded model has NaN (or -1) where the
        rest was, so `feature_importances_` is NaN. `load` warns, `inspect` shows it. `model` itself
        stays whole. Trees below a model that reads more than predictions (`SelectFromModel`), or
        of which that is not known, are stored whole: `DumpReport.kept_whole` says where and why.
    metadata : dict, optional
        Kept in the manifest: whatever JSON can hold, such as the training data's version or the
        score (``float(score)``). That of the model that is replaced goes with it.
    require_safe : bool, default False
        Raise if `load` would refuse the model without `trusted`. Nothing is published then.
    progress : bool, optional
        Whether to draw a bar on stderr. Default: on a terminal and in a notebook.
    on_progress : callable, optional
        Called with a `shardpickle.Progress` after every step.
    storage_options : dict, optional
        For a URL: what fsspec's file system takes (credentials, endpoints).

    Returns
    -------
    DumpReport
        Sizes in bytes, the ratio, seconds, and how many shards were written and reused.

    Raises
    ------
    UnpicklableError
        If parts of the model cannot be pickled; lists where they stand. Nothing was written.
    StorageError
        If the directory cannot be written, holds something else, or is being written to.
    UntrustedTypeError
        With `require_safe`, if the model needs names that nobody vouches for.
    ReadBackError
        If what was encoded did not decode to the same bytes. Nothing was published.

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
    store = open_store(path, storage_options)
    threads = checked_workers(workers)
    most = _checked_options(level, shard_size, profile)
    notes = _checked_metadata(metadata)
    store.check_writable()
    parts, in_use = split_model(model, profile)
    dumper = Dumper(store, parts, most, level, profile)
    with (
        store.writing() as publication,
        Meter("dump", dumper.raw_to_seal, progress, on_progress) as meter,
        Pool(threads) as pool,
    ):
        sealed = list(dumper.seal_all(publication, pool, meter.advance))
        found = dumper.manifest(sealed, notes)
        _warn_of_main(found)
        unknown = trust.untrusted(found.names)
        needs_trust, needs_unsafe = needs_of(found)
        if unknown and require_safe:
            call = "dump(model, {path})  # which is loaded with {trusted}"
            raise UntrustedTypeError(store.name, first_uses(found, unknown), call)
        if needs_trust and require_safe:
            names = () if needs_unsafe else needs_trust
            raise RefusedError(needs_unsafe or dumper.doubtful, names, path=store.name)
        data = manifest.to_bytes(found)
        if manifest.from_bytes(data) != found:
            raise ReadBackError("the manifest does not read back; nothing was published")
        old = previous(store)
        changed = old is None or old[0] != data
        if changed:
            publication.publish(data)
        else:
            publication.keep()
        if store.collects and (
            old is None or old[1]
        ):  # else nobody can say what its readers still need
            before = old[1].shards if old and old[1] else ()
            with suppress(StorageError):  # the model is published: the next dump tries again
                needed = {each.sha256 for each in (*found.shards, *before)}
                publication.collect(needed | in_use)
    new = {entry.sha256 for entry, fresh in sealed if fresh}  # equal shards are one file
    return DumpReport(
        path=store.name,
        raw_bytes=dumper.raw,
        stored_bytes=found.stored + len(data),
        seconds=time.perf_counter() - started,
        parts=len(parts),
        shards_written=len(new),
        shards_reused=len(found.files) - len(new),
        written_bytes=sum(found.files[sha256].nbytes for sha256 in new) + changed * len(data),
        digest=manifest.digest(data),
        needs_trust=needs_trust,
        needs_unsafe=needs_unsafe,
        kept_whole=dumper.kept.reasons,
    )


@sniff.advised(sniff.LOAD_HABITS)
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

    By default, nothing that the file names is run: classes of scikit-learn, NumPy and SciPy are
    made from a closed table, trees and whatever else compiled code relies on are checked, and any
    other name is refused before anything is made. docs/trust.md says what this proves.

    Parameters
    ----------
    path : str or os.PathLike
        The model directory, a file that `pack` wrote, or a URL. Nothing there is written.
    workers : int, optional
        Threads; any number, whatever the dump used. Default: the cores this process may use.
    lazy : bool, default False
        Load trees (and other estimators that fill shards of their own) when they are asked for.
        Lists of them become sequences of real estimators that load on access; everything that
        scikit-learn does with the model works. docs/lazy.md has the rest.
    memory_limit : int or str, optional
        For lazy models: bytes (or ``"2GB"``) that all lazy models of this process may hold
        together; the last one given counts. Default: that of an earlier load; without any, what
        was loaded once is kept.
    estimators : slice, optional
        ``slice(0, 100)``: the first hundred estimators as a model of the same class, for
        ensembles that average (forests, Extra-Trees, bagging, isolation forests), and the first
        ones of boosting; also where a pipeline ends in one. Only their shards are read.
    trusted : collection of str or type, default ()
        Classes of yours or of other packages, as ``"mypkg.models.MyEstimator"`` or as the class
        itself. Their modules are imported; their own ``__setstate__``, ``__new__`` and
        ``__reduce__``, if they have any, are run. A function can be named too; it is never called
        while the model is loaded.
    unsafe : bool, default False
        "I trust this file as I trust code": whatever it names is imported and run, by CPython's
        own unpickler, and nothing is checked but the files' digests.
    expect : str, optional
        The digest that the model must have, as `dump` and `inspect` give it (``"sha256:…"``).
    skip_damaged : bool, default False
        If shards are damaged or missing, give an ensemble that averages without the estimators
        in them, with a `DamagedModelWarning`. It predicts otherwise than the whole one.
    check_memory : bool, default True
        Refuse before starting if the model is larger than the memory this process may use.
    progress, on_progress, storage_options
        As for `dump`.
    cache_dir : path, optional
        For a URL: a local directory that keeps the shards that were fetched. Their names are their
        contents, so it may serve many models, and may be emptied at any time.

    Returns
    -------
    object
        What `pickle` would have given back: the same types, arrays bit for bit, the same sharing.

    Raises
    ------
    CorruptModelError
        If a file is damaged, missing or exchanged, or would crash the process; names the file.
    NotAModelError
        If the path is something else: a pickle, a git-lfs pointer, an MLflow folder, …
    UntrustedTypeError
        If the model needs names that nobody vouches for; lists all, with the line to type.
        Nothing was imported or made.
    UnsafeForbiddenError
        If `trusted` or `unsafe` is given where ``SHARDPICKLE_FORBID_UNSAFE=1`` forbids them.
    UnexpectedModelError
        If the model is not the one that `expect` names.
    MissingNameError
        If classes are not installed here; lists all of them.
    ModelTooLargeError
        If the model does not fit; gives both sizes.
    MemoryLimitError
        If the memory limit is too small for the lazy model; names the least that works.
    ModelReplacedError
        From a lazy model, when what it has not loaded yet was replaced.

    Examples
    --------
    >>> import shardpickle
    >>> report = shardpickle.dump({"weights": [1, 2, 3]}, "model")
    >>> shardpickle.load("model")
    {'weights': [1, 2, 3]}
    """
    threads = checked_workers(workers)
    callers = trust.Callers(trusted)
    trust.check_allowed(callers, unsafe)
    if memory_limit is not None and not lazy:
        raise ValueError("memory_limit is for lazy models: load(..., lazy=True, memory_limit=...)")
    limit = None if memory_limit is None else sizes.parse(memory_limit, "memory_limit")
    _check_choice(estimators, lazy, skip_damaged)
    store = open_store(path, storage_options, cache_dir)
    data = read_manifest(store)
    salvage = False
    call = "load({path}, lazy=True, {trusted})" if lazy else "load({path}, {trusted})"
    while True:
        check_expected(store, data, expect)
        try:
            found = parsed_manifest(data)
            with called(call, trusted):
                rebuilder = rebuilder_of(store, found, callers, unsafe)
            if lazy or salvage or estimators is not None:
                reference = reference_to(store, data, callers, unsafe, storage_options, cache_dir)
                source = Source(store, data, found, rebuilder, threads, reference)
                source.skip_damaged = salvage
            if lazy:
                source.keep_within(limit)
                job = Job(source.resident, source.heap, partial(opened, source, estimators))
            elif salvage or estimators is not None:
                part = load_part.opened(source, estimators)
                raw = load_part.raw(source, part)
                job = Job(raw, found.declared_heap, partial(load_part.gathered, source, part))
            else:
                job = Job(found.raw, found.declared_heap, partial(whole, store, found, rebuilder))
            return run_job(store, found, job, threads, check_memory, progress, on_progress)
        except (CorruptModelError, StorageError, ModelReplacedError) as error:
            if isinstance(error, (MissingShardError, ModelReplacedError)):
                # Replaced twice since the manifest was read? Then there is a newer one, which is
                # whole.
                newer = read_manifest(store)
                if newer != data:
                    data = newer
                    continue
            if salvage or not skip_damaged:
                raise
            salvage = True


def materialize(model: Any) -> Any:
    """A lazy model as a whole one.

    Parameters
    ----------
    model : object
        What `load` gave with ``lazy=True``, or something that holds it, changed or not.

    Returns
    -------
    object
        The same model with everything in memory, whatever the memory limit. Arrays and estimators
        are those of the lazy model, not copies.

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
    return thawing.whole(model)


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

    Each task opens its own shards; they run on the joblib backend that is active (processes on
    this machine; with ``joblib.parallel_config(backend="dask")``, on a cluster that sees the
    directory). scikit-learn's own code adds the results up, in its own order: they are the same
    bits for any number of workers. docs/lazy.md says which models are spread over tasks.

    Parameters
    ----------
    model : str, os.PathLike or object
        A model directory, or a model that was loaded with ``lazy=True``.
    X : array, memory map, sparse matrix, DataFrame, or iterator of such
        Features, (rows, features); an iterator gives chunks of rows.
    method : str, default "predict"
        Or ``"predict_proba"``, ``"predict_log_proba"``, ``"decision_function"``,
        ``"score_samples"``, ``"apply"``.
    workers : int, optional
        Tasks at a time. Default: what the active backend says; the cores this process may use.
    memory_limit : int or str, optional
        Bytes (or ``"2GB"``) that this process and its tasks may hold of lazy models during this
        call; shared out among the tasks.
    out : str or os.PathLike, optional
        A ``.npy`` file for the result, which is given back as a memory map.
    trusted, unsafe
        As for `load`, where `model` is a path.
    progress, on_progress
        As for `dump`; counts rows.

    Returns
    -------
    numpy.ndarray
        What the model's own method gives for X.

    Examples
    --------
    >>> import shardpickle
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> forest = RandomForestClassifier(5, random_state=0).fit([[0], [1], [2]], [0, 1, 1])
    >>> report = shardpickle.dump(forest, "forest")
    >>> shardpickle.predict("forest", [[0], [2]])
    array([0, 1])
    """
    if method not in scoring.METHODS:
        raise ValueError(f"method is one of {sorted(scoring.METHODS)}, not {method!r}")
    limit = None if memory_limit is None else sizes.parse(memory_limit, "memory_limit")
    if workers is not None:
        checked_workers(workers)
    file = None if out is None else results.NpyFile(out)
    with CACHE.within(limit) if limit is not None else nullcontext():
        model = _lazily(model, trusted, unsafe, "predict({path}, X, {trusted})")
        chosen = workers is not None or scoring.is_backend_chosen()
        tasks = workers if chosen else checked_workers(None)
        spread = scoring.proxied(model, tasks, CACHE.limit)
        total = 0 if hasattr(X, "__next__") else results.rows(X)
        answers: list[Any] = []
        with (
            scoring.calm(),
            file or nullcontext(),
            Meter("predict", total, progress, on_progress, unit="rows") as meter,
        ):
            for block in results.blocks(X, _ROWS):
                answer = getattr(spread, method)(block)
                if file is None:
                    answers.append(answer)
                else:
                    file.append(answer)
                meter.advance(results.rows(block))
    if file is not None:
        return file.array()
    if not answers:
        raise ValueError("there are no rows to predict")
    return results.joined(answers)


def _lazily(model: Any, trusted: Collection[str | type], unsafe: bool, call: str) -> Any:
    """The model; loaded lazily, where a path is given."""
    if isinstance(model, (str, os.PathLike)):
        with called(call, trusted):
            return load(model, lazy=True, trusted=trusted, unsafe=unsafe, progress=False)
    if trusted or unsafe:
        raise ValueError("trusted and unsafe are for a path: this model has been loaded already")
    return model


_ROWS = 1 << 16  # of X at a time: what 14 trees say of 5 classes is 37 MB


def prune(
    model: Any,
    *,
    n_estimators: int | None = None,
    max_depth: int | None = None,
    min_samples_leaf: int | None = None,
) -> Any:
    """A smaller model of the same class, without fitting again.

    An inner node holds the value that a leaf in its place would have had, so a tree can be cut
    where a limit on its fit would have ended it. Predictions are those of walking the original
    trees and stopping early.

    Parameters
    ----------
    model : estimator
        A fitted decision tree, forest, Extra-Trees, bagging of such trees, or a pipeline that ends
        in one; it stays as it is. Boosting can lose its last estimators (`n_estimators`); its trees
        can be cut with ``loss="squared_error"`` only. May be lazy.
    n_estimators : int, optional
        Keep the first so many.
    max_depth : int, optional
        Splits from the root to a leaf, 1 or more.
    min_samples_leaf : int, optional
        A split of which a side has fewer training samples becomes a leaf. A fit with this limit
        would have looked for other splits; this only takes some away.

    Returns
    -------
    estimator
        Its parameters are set to match. What is not cut is shared with the given model; out-of-bag
        scores are left out.

    Raises
    ------
    TypeError
        If it is not known how such a model is cut.
    ValueError
        If the model would be wrong: where leaves were given other values than inner nodes have
        (boosting of other losses, AdaBoost), or inner nodes hold none (`profile="inference"`).

    Examples
    --------
    >>> import shardpickle
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> forest = RandomForestClassifier(20, random_state=0).fit(*load_digits(return_X_y=True))
    >>> smaller = shardpickle.prune(forest, n_estimators=10, max_depth=5)
    >>> len(smaller.estimators_), max(tree.get_depth() for tree in smaller.estimators_)
    (10, 5)
    """
    limits = Limits(
        _checked_count(max_depth, "max_depth"), _checked_count(min_samples_leaf, "min_samples_leaf")
    )
    return pruning.pruned(model, _checked_count(n_estimators, "n_estimators"), limits)


def _checked_count(value: Any, name: str) -> int | None:
    """NumPy's integers are taken, too: tables give these."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ValueError(f"{name} is 1 or more, not {value!r}")
    return int(value)


def tradeoff(
    model: Any,
    X_val: Any,  # noqa: N803  # scikit-learn's name
    y_val: Any,
    *,
    scoring: Any = None,
    memory_limit: int | str | None = None,
    workers: int | None = None,
    trusted: Collection[str | type] = (),
    unsafe: bool = False,
    progress: bool | None = None,
) -> Tradeoff:
    """What smaller versions of a model would cost, and how well they would predict.

    Prefixes of the ensemble, limits on depth and on samples per leaf, alone and together, without
    fitting or making any of them: each tree is looked at once. `prune` makes the one you choose.

    Parameters
    ----------
    model : estimator, str or os.PathLike
        A fitted forest, Extra-Trees, bagging of trees, single tree, or gradient boosting (prefixes
        only), or a pipeline that ends in one; lazy or not. Or the path of one, which is loaded
        lazily.
    X_val : array-like of shape (rows, features)
        Rows that the model was not fitted with.
    y_val : array-like of shape (rows,) or (rows, outputs)
    scoring : str or callable, optional
        As in scikit-learn. Default: accuracy, or R².
    memory_limit : int or str, default "1GB"
        What the answers of all versions may take, with resamples of the rows and a sample of the
        trees; under a low limit there are fewer of each, but never less than the prefixes with 50
        resamples. Half of it is for the trees where `model` is a path.
    workers : int, optional
        Threads. Default: the cores this process may use.
    trusted, unsafe
        As for `load`, where `model` is a path.
    progress : bool, optional
        As in `dump`.

    Returns
    -------
    Tradeoff
        The table; ``.rows``, ``.best``, ``.plot()``, ``.to_html()``. Differences have the half
        width of a 95 % interval, by a paired bootstrap over the rows.

    Raises
    ------
    TypeError
        If smaller versions of such a model are not known.
    ValueError
        If the model refuses `X_val`, or `y_val` does not belong to it.

    Examples
    --------
    >>> import shardpickle
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> forest = RandomForestClassifier(50, random_state=0).fit(X[:1000], y[:1000])
    >>> found = shardpickle.tradeoff(forest, X[1000:], y[1000:], progress=False)
    >>> found.whole.n_estimators, found.best[0].stored_bytes < found.whole.stored_bytes
    (50, True)
    """
    limit = sizes.parse("1GB" if memory_limit is None else memory_limit, "memory_limit")
    threads = checked_workers(workers)
    is_path = isinstance(model, (str, os.PathLike))
    if is_path:
        limit = max(1, limit // 2)
    with CACHE.within(limit) if is_path else nullcontext():
        model = _lazily(model, trusted, unsafe, "tradeoff({path}, X_val, y_val, {trusted})")
        return _weighed(model, X_val, y_val, scoring, limit, threads, progress)


def _weighed(
    model: Any,
    X_val: Any,  # noqa: N803
    y_val: Any,
    scoring: Any,
    limit: int,
    threads: int,
    progress: bool | None,
) -> Tradeoff:
    ensemble = measure.Ensemble(model, X_val)
    truth = ensemble.targets(y_val)
    share = measure.share(limit, ensemble.samples, ensemble.width(), threads)
    sample = ensemble.sample(share.sample)
    limits = ensemble.limits(sample, share.limits)

    def stored(trees: Any) -> int:
        found = estimate(trees, workers=1, progress=False)
        return sum(usage.stored for usage in found.columns)

    costs = [ensemble.costs(sample, each, stored) for each in limits]
    del sample
    score = measure.Scores(ensemble.model, scoring, truth, share.resamples)
    rows = []
    with (
        Meter("tradeoff", ensemble.count, progress, None, unit="tree") as meter,
        Pool(threads) as pool,
    ):
        for version, answers in ensemble.versions(limits, pool.map, meter.advance):
            rows.append((version, score.of(answers)))
    whole = next(
        scores
        for version, scores in rows
        if version.estimators == ensemble.count and version.limits == 0
    )
    return table.table(
        score.name,
        ensemble.samples,
        [
            Smaller(
                n_estimators=version.estimators,
                max_depth=limits[version.limits].max_depth,
                min_samples_leaf=limits[version.limits].min_samples_leaf,
                stored_bytes=round(costs[version.limits].stored * version.nodes),
                memory_bytes=version.nbytes,
                seconds=costs[version.limits].seconds * version.estimators,
                score=float(scores[0]),
                difference=float(scores[0] - whole[0]),
                interval=table.half_interval(scores, whole),
            )
            for version, scores in rows
        ],
    )


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
    data = read_manifest(store)
    while True:
        try:
            needs = verifying.needs(store, data) if trust else None
            return inspecting.inspected(store, data, needs)
        except MissingShardError:  # as in `load`
            newer = read_manifest(store)
            if newer == data:
                raise
            data = newer


def write_text(path: PathLike, text: str) -> None:
    """Write a file of text that is whole, or as it was before."""
    with replacing(checked(path)) as stream:
        stream.write(text.encode())


def loops() -> str:
    """What codes trees here: ``"Cython"``, or ``"NumPy"`` if there was no compiler."""
    name: str = _backend.loops.NAME
    return name


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
    threads = checked_workers(workers)
    most = _checked_options(level, shard_size, profile)
    notes = _checked_metadata(metadata)
    parts, _ = split_model(model, profile)
    store = packed.PassingStore()
    dumper = Dumper(store, parts, most, level, profile)
    with (
        Meter("estimate", dumper.raw_to_seal, progress, on_progress) as meter,
        Pool(threads) as pool,
    ):
        return inspecting.estimated(dumper, store, notes, pool, meter.advance)


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
    with Pool(checked_workers(workers)) as pool:
        return comparing.compared(open_store(one), open_store(other), pool)


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
    threads = checked_workers(workers)
    store = open_store(path, storage_options)
    while True:
        data = read_manifest_file(store)
        report = verifying.verified(store, data, deep, threads)
        if report or read_manifest_file(store) == data:
            return report  # else the model was replaced meanwhile


def collect_garbage(
    path: PathLike, *, storage_options: dict[str, Any] | None = None
) -> tuple[int, int]:
    """Remove what the present model does not need: (files, bytes) removed.

    These are the shards of the generation before, which readers may still be using, and what a
    killed dump left behind. The next dump does the same, but not at a URL.
    """
    store = open_store(path, storage_options)
    data = read_manifest(store)
    with store.writing() as publication:
        found = parsed_manifest(data)
        return publication.collect({each.sha256 for each in found.shards})


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
    target = checked(file)
    store = open_store(path)
    with replacing(target) as stream:
        _pack(store, stream)


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
    data, found = sound_manifest(source)
    target.check_writable()
    with target.writing() as publication:
        for entry in found.files.values():
            if not publication.has(entry.sha256, entry.nbytes):
                with in_file(entry.file), source.open_shard(entry.sha256) as shard:
                    check_file(shard, entry)
                    sha256, _ = copy_shard(shard, publication)
                    if sha256 != entry.sha256:
                        raise CorruptShardError("damaged (SHA-256)", file=entry.file)
        publication.publish(data)


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
    _checked_options(
        options.get("level", 3), options.get("shard_size", "32MB"), options.get("profile", "full")
    )
    file = checked(source)
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
    file = checked(target)
    suffixes = "".join(file.suffixes[-2:]).lower() if file.suffix == ".gz" else file.suffix.lower()
    if suffixes not in (".joblib", ".pkl", ".pickle", ".pkl.gz", ".pickle.gz"):
        raise ValueError(f"{file} is to be .joblib, .pkl, .pickle or .pkl.gz")
    if not 0 <= compress <= 9:
        raise ValueError(f"compress is 0 to 9, not {compress}")
    if suffixes.endswith(".gz"):
        compress = max(compress, 1)
    with called(f"export({{path}}, {_quoted(target)}, {{trusted}})", trusted):
        model = load(path, trusted=trusted, unsafe=unsafe, workers=workers)
    with replacing(file) as stream:
        converting.write(model, stream, suffixes, compress)


def dumps(model: Any, **options: Any) -> bytes:
    """A model as bytes: what `pack` would write of what `dump` would.

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
    _pack(store, stream)
    return stream.getvalue()


def loads(data: bytes, **options: Any) -> Any:
    """The model of `dumps`.

    Parameters
    ----------
    data : bytes
        What `dumps` gave, or what is in a packed model.
    **options
        As for `load`, but ``lazy``.
    """
    if options.get("lazy"):
        raise ValueError("a lazy model is loaded from a file or a directory, not from bytes")
    with called("loads(data, {trusted})", options.get("trusted", ())):
        return load(packed.from_bytes(data), **options)  # type: ignore[arg-type]  # as above


def _pack(store: Store, stream: IO[bytes]) -> None:
    data, found = sound_manifest(store)
    entries = {each.sha256: each for each in found.shards}

    def check(sha256: str, shard: Shard) -> None:
        with in_file(entries[sha256].file):
            check_file(shard, entries[sha256])

    packed.pack(store, data, list(entries), stream, check)


def _quoted(path: PathLike) -> str:
    """A path as it stands in the template of a call."""
    return repr(os.fspath(path)).replace("{", "{{").replace("}", "}}")


def _check_choice(estimators: slice | None, lazy: bool, skip_damaged: bool) -> None:
    if estimators is not None and not isinstance(estimators, slice):
        raise TypeError(f"estimators is a slice, as in slice(0, 100), not {estimators!r}")
    if lazy and skip_damaged:
        raise ValueError("skip_damaged reads all shards: it is not for lazy models")


def _warn_of_main(found: Manifest) -> None:
    names = [name for module, name in found.names if module == "__main__"]
    if names:
        warnings.warn(
            f"{', '.join(names)} stand in __main__, the script or notebook that is running: the "
            "model loads only where __main__ defines them too. Move them into a module.",
            MainModuleWarning,
            stacklevel=4,
        )


def _checked_options(level: int, shard_size: int | str, profile: str) -> int:
    if isinstance(level, bool) or level not in frames.LEVELS:
        raise ValueError(f"level is zstd's, a whole number from 1 to 22, not {level!r}")
    if profile not in manifest.PROFILES:
        raise ValueError(f"profile is one of {manifest.PROFILES}, not {profile!r}")
    return sizes.parse(shard_size, "shard_size")


def _checked_metadata(metadata: dict[str, Any] | None) -> dict[str, Any]:
    if metadata is None:
        return {}
    if not isinstance(metadata, dict):
        raise TypeError(f"metadata is a dict, not {type(metadata).__name__}")
    for key, value in metadata.items():
        if not isinstance(key, str):
            raise TypeError(f"metadata has to be JSON: its keys are text, not {key!r}")
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise type(error)(f"metadata[{key!r}] has to be JSON: {error}") from None
    notes: dict[str, Any] = json.loads(json.dumps(metadata))
    return notes


_reopened = reopened  # pickles of lazy models name it here
