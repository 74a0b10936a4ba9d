"""Opens a model for `api.load`: checks trust and memory, and loads what is asked for.

Also opens again the model that a pickled lazy model refers to.
"""

import os
import threading
import weakref
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from shardpickle._util import memory, versions
from shardpickle._util.pool import Pool, threads_for
from shardpickle._util.progress import Listener, Meter
from shardpickle._util.warn import warn_caller
from shardpickle.errors import (
    CorruptModelError,
    InferenceOnlyWarning,
    ModelNotFoundError,
    ModelReplacedError,
    ModelTooLargeError,
    StorageError,
    UnexpectedModelError,
    UntrustedTypeError,
    VersionWarning,
    inert,
)
from shardpickle.format import manifest as manifests
from shardpickle.format import shard as sealing
from shardpickle.format.entries import Manifest
from shardpickle.format.shard import Advance
from shardpickle.io import load_part
from shardpickle.io.load import load_whole
from shardpickle.io.load_lazy import Source
from shardpickle.io.reader import ModelReader, read_newest
from shardpickle.io.rebuild import Anything, Hardened, Rebuilder
from shardpickle.lazy import Shelf
from shardpickle.storage.base import Store
from shardpickle.storage.open import open_store
from shardpickle.trust import names as trust
from shardpickle.trust.rules import Name

PathLike = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class Access:
    """Where a model is, and what its caller trusts. Enough to open it in another process."""

    path: Any  # or a store
    callers: trust.Callers = field(default_factory=trust.Callers)
    unsafe: bool = False
    storage_options: dict[str, Any] | None = None
    cache_dir: PathLike | None = None

    def __post_init__(self) -> None:
        trust.check_allowed(self.callers, self.unsafe)

    def open_store(self) -> Store:
        return open_store(self.path, self.storage_options, self.cache_dir)

    def rebuilder(self, reader: ModelReader) -> Rebuilder:
        """Make the rebuilder of the model's parts. Refuses names that are not trusted."""
        names = reader.manifest.names
        if self.unsafe:
            installed = versions.describe(module for module, _ in names)
            environment = reader.manifest.environment
            same_releases = all(
                installed.get(top) == version for top, version in environment.items()
            )
            return Anything(names, trust.resolve_any(names), same_releases=same_releases)
        unknown = trust.list_untrusted(names, self.callers)
        if unknown:
            needs = reader.manifest.needs
            lifted = [name for name in names if ".".join(name) in needs.trust]
            uses = find_first_uses(reader.manifest, [*unknown, *lifted])
            never = [trust.show(name) for name in unknown if not trust.is_offered(name)]
            raise UntrustedTypeError(reader.name, uses, never=never, besides=needs.unsafe)
        return Hardened(names, trust.resolve(names, self.callers), reader.manifest.most_heap)

    def reference(self, reader: ModelReader) -> tuple[Callable[..., Shelf], tuple[Any, ...]]:
        """What pickle stores for a lazy model."""
        names = self.callers.texts | {".".join(name) for name in self.callers.objects}
        cache = None if self.cache_dir is None else os.path.abspath(self.cache_dir)
        place = reader.store.absolute, reader.digest
        return reopened, (*place, tuple(sorted(names)), self.unsafe, self.storage_options, cache)


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """Options of `load`; see there."""

    threads: int = 1
    lazy: bool = False
    limit: int | None = None
    estimators: slice | None = None
    expect: str | None = None
    skip_damaged: bool = False
    check_memory: bool = True
    progress: bool | None = None
    on_progress: Listener | None = None


def load_model(access: Access, request: LoadRequest) -> Any:
    """Load the model, or the requested part of it."""
    store = access.open_store()
    try:
        return read_newest(store, partial(_load_requested, access, request, skip_damaged=False))
    except (CorruptModelError, StorageError):
        if not request.skip_damaged:
            raise
    return read_newest(store, partial(_load_requested, access, request, skip_damaged=True))


@dataclass(frozen=True, slots=True)
class _Job:
    """A load: the bytes of raw data and of Python objects that it takes, and its function."""

    raw: int
    heap: int
    run: Callable[[Pool, Advance], Any]


def _load_requested(
    access: Access, request: LoadRequest, reader: ModelReader, *, skip_damaged: bool
) -> Any:
    if request.expect not in (None, reader.digest):
        raise UnexpectedModelError(reader.name, str(request.expect), reader.digest)
    rebuilder = access.rebuilder(reader)
    heap = reader.manifest.declared_heap
    if not request.lazy and request.estimators is None and not skip_damaged:
        whole = partial(load_whole, reader, rebuilder)
        return _run(reader, _Job(reader.manifest.raw, heap, whole), request)
    source = Source(reader, rebuilder, request.threads, access.reference(reader))
    source.skip_damaged = skip_damaged
    if request.lazy:
        source.keep_within(request.limit)
        load = partial(_load_lazy, source, request.estimators)
        return _run(reader, _Job(source.resident, source.heap, load), request)
    model = load_part.open_part(source, request.estimators)
    raw = load_part.raw_bytes(source, model)
    return _run(reader, _Job(raw, heap, partial(load_part.gather, source, model)), request)


def _load_lazy(source: Source, estimators: slice | None, pool: Pool, advance: Advance) -> Any:
    model, shelf = source.open(pool, advance)
    _, arguments = source.reference
    _REOPENED[repr(arguments)] = shelf  # tasks in this process use the same shelf
    return model if estimators is None else load_part.cut_model(model, estimators)


def _run(reader: ModelReader, job: _Job, request: LoadRequest) -> Any:
    free = memory.available()
    needed = job.raw + job.heap
    if request.check_memory and free is not None and needed > free:
        raise ModelTooLargeError(reader.name, needed, free)
    _warn_of_versions(reader)
    if reader.manifest.profile == manifests.INFERENCE:
        warn_caller(
            f"{reader.name} was dumped for inference: its trees have no training data. Impurities, "
            "sample counts, inner values and feature importances are NaN or -1, except in trees "
            "that the dump kept whole. Predictions of trees, forests and boosting are the same.",
            InferenceOnlyWarning,
        )
    with (
        reader.explain(free),
        Meter("load", job.raw, request.progress, request.on_progress) as meter,
        Pool(threads_for(job.raw, request.threads)) as pool,
    ):
        return job.run(pool, meter.advance)


def _warn_of_versions(reader: ModelReader) -> None:
    modules = [module for module, _ in reader.manifest.names]
    differing = versions.differences(reader.manifest.environment, modules)
    if differing:
        lines = ", ".join(f"{top} {then} (here {now})" for top, then, now in differing)
        warn_caller(
            inert(
                f"{reader.name} was dumped under {lines}. It loads, but may predict differently: "
                "compare predictions, or use the same versions."
            ),
            VersionWarning,
        )


def reopened(
    path: str,
    digest: str,
    trusted: tuple[str, ...],
    unsafe: bool,
    options: dict[str, Any] | None,
    cache_dir: str | None,
    limit: int | None,
) -> Shelf:
    """Open the shelf of a pickled lazy model, once for all its pickles in this process."""
    key = repr((path, digest, trusted, unsafe, options, cache_dir))
    with _REOPENING:
        shelf = _REOPENED.get(key)
        if shelf is None:
            access = Access(path, trust.Callers(trusted), unsafe, options, cache_dir)
            shelf = _REOPENED[key] = _reopen(access, digest, limit)
    return shelf


def _reopen(access: Access, digest: str, limit: int | None) -> Shelf:
    try:
        reader = ModelReader.open(access.open_store())
    except StorageError as error:
        reason = "this process cannot read the directory that a pickled lazy model refers to"
        raise ModelNotFoundError(2, reason, access.path) from error
    if reader.digest != digest:
        raise ModelReplacedError(access.path)
    source = Source(reader, access.rebuilder(reader), 1, access.reference(reader))
    source.keep_within(limit)
    with reader.explain(), Pool(1) as pool:
        _, shelf = source.open(pool, sealing.ignore)
    return shelf


@contextmanager
def show_call(
    call: str, trusted: Collection[str | type], path: str | None = None
) -> Iterator[None]:
    """Show the line to type for the called function in a refusal of names."""
    try:
        yield
    except UntrustedTypeError as error:
        trusted_names = [
            name if isinstance(name, str) else f"{name.__module__}.{name.__qualname__}"
            for name in trusted
        ]
        raise error.called(call, path, trusted_names) from None


def find_first_uses(manifest: Manifest, names: Sequence[Name]) -> dict[str, str]:
    """Find the first part that needs each name."""
    listed = set(names)
    first: dict[int, int] = {}  # name -> part
    seen: set[int] = set()  # lists of names, which like parts share
    for number, part in enumerate(manifest.parts):
        if id(part.names) not in seen:
            seen.add(id(part.names))
            for used in part.names:
                first.setdefault(used, number)
    uses: dict[str, str] = {}
    for at, name in enumerate(manifest.names):
        if name in listed:
            uses[trust.show(name)] = (
                _describe_part(manifest, first[at]) if at in first else "no part"
            )
    return uses


def _describe_part(manifest: Manifest, number: int) -> str:
    part = manifest.parts[number]
    return f"part {number} ({trust.show_text(part.kind)}, {manifest.shards[part.shard].file})"


def read_needs(manifest: Manifest) -> tuple[tuple[str, ...], str]:
    """What a default load refuses of a model (`DumpReport`), by its manifest."""
    names = [".".join(name) for name in trust.list_untrusted(manifest.names)]
    names += [name for name in manifest.needs.trust if name not in names]
    if manifest.needs.unsafe and not names:
        names = [manifest.parts[-1].kind]
    return tuple(names), manifest.needs.unsafe


_REOPENED: weakref.WeakValueDictionary[Any, Shelf] = weakref.WeakValueDictionary()
_REOPENING = threading.Lock()


def _after_fork() -> None:
    """Replace the lock: the thread that held it is not in the child."""
    global _REOPENING
    _REOPENING = threading.Lock()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_after_fork)
