"""Opens a model: whether it may be loaded, with which memory, and again from a pickle.

Knows no public signature; `api` gives it a store and what the caller trusts.
"""

import os
import threading
import warnings
import weakref
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from shardpickle._util import memory, versions
from shardpickle._util.pool import Pool, threads_for
from shardpickle._util.progress import Listener, Meter
from shardpickle.errors import (
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
from shardpickle.format import manifest
from shardpickle.format import shard as sealing
from shardpickle.format.manifest import Manifest
from shardpickle.format.shard import Advance
from shardpickle.io import load_part
from shardpickle.io.load import (
    explained,
    parsed_manifest,
    read_manifest,
)
from shardpickle.io.load_lazy import Source
from shardpickle.io.rebuild import Anything, Hardened, Rebuilder
from shardpickle.lazy import Shelf
from shardpickle.storage.base import Store
from shardpickle.storage.open import open_store
from shardpickle.trust import names as trust
from shardpickle.trust.rules import Name

PathLike = str | os.PathLike[str]


def sound_manifest(store: Store) -> tuple[bytes, Manifest]:
    data = read_manifest(store)
    return data, parsed_manifest(data)


def check_expected(store: Store, data: bytes, expect: str | None) -> None:
    if expect is not None and expect != manifest.digest(data):
        raise UnexpectedModelError(store.name, expect, manifest.digest(data))


def rebuilder_of(store: Store, found: Manifest, callers: trust.Callers, unsafe: bool) -> Rebuilder:
    if unsafe:
        here = versions.describe(module for module, _ in found.names)
        same = all(here.get(top) == version for top, version in found.environment.items())
        return Anything(found.names, trust.resolve_any(found.names), same_releases=same)
    unknown = trust.untrusted(found.names, callers)
    if unknown:
        beside = [name for name in found.names if ".".join(name) in found.needs.trust]
        names = first_uses(found, [*unknown, *beside])
        never = [trust.shown(name) for name in unknown if not trust.is_offered(name)]
        raise UntrustedTypeError(store.name, names, never=never, besides=found.needs.unsafe)
    return Hardened(found.names, trust.resolve(found.names, callers), found.most_heap)


@contextmanager
def called(call: str, trusted: Collection[str | type], path: str | None = None) -> Iterator[None]:
    """Names that are refused are told with the line for the function that was called."""
    try:
        yield
    except UntrustedTypeError as error:
        given = [
            each if isinstance(each, str) else f"{each.__module__}.{each.__qualname__}"
            for each in trusted
        ]
        raise error.called(call, path, given) from None


def first_uses(found: Manifest, names: Sequence[Name]) -> dict[str, str]:
    """Each name, and the first part that needs it."""
    wanted = set(names)
    first: dict[int, int] = {}  # name -> part
    seen: set[int] = set()  # lists of names, which like parts share
    for number, part in enumerate(found.parts):
        if id(part.names) not in seen:
            seen.add(id(part.names))
            for used in part.names:
                first.setdefault(used, number)
    uses: dict[str, str] = {}
    for at, name in enumerate(found.names):
        if name in wanted:
            uses[trust.shown(name)] = _place(found, first[at]) if at in first else "no part"
    return uses


def _place(found: Manifest, number: int) -> str:
    part = found.parts[number]
    return f"part {number} ({trust.text_shown(part.kind)}, {found.shards[part.shard].file})"


@dataclass(frozen=True, slots=True)
class Job:
    """A load: the raw bytes and those of Python objects that it takes, and what does it."""

    raw: int
    heap: int
    run: Callable[[Pool, Advance], Any]


def opened(source: Source, estimators: slice | None, pool: Pool, advance: Advance) -> Any:
    model, shelf = source.open(pool, advance)
    _, arguments = source.reference
    _REOPENED[repr(arguments)] = shelf  # its own tasks in this process need no other
    return model if estimators is None else load_part.cut(model, estimators)


def run_job(
    store: Store,
    found: Manifest,
    job: Job,
    threads: int,
    check_memory: bool,
    progress: bool | None,
    on_progress: Listener | None,
) -> Any:
    free = memory.available()
    needed = job.raw + job.heap
    if check_memory and free is not None and needed > free:
        raise ModelTooLargeError(store.name, needed, free)
    _warn_of_versions(store, found)
    if found.profile == manifest.INFERENCE:
        warnings.warn(
            f"{store.name} was dumped for inference: what its trees kept of their training "
            "(impurities, sample counts, inner values), and so feature importances, is NaN or -1, "
            "but where the dump kept trees whole. Predictions of trees, forests and boosting are "
            "the same.",
            InferenceOnlyWarning,
            stacklevel=4,
        )
    with (
        explained(store, found, free),
        Meter("load", job.raw, progress, on_progress) as meter,
        Pool(threads_for(job.raw, threads)) as pool,
    ):
        return job.run(pool, meter.advance)


def reopened(
    path: str,
    digest: str,
    trusted: tuple[str, ...],
    unsafe: bool,
    options: dict[str, Any] | None,
    cache_dir: str | None,
    limit: int | None,
) -> Shelf:
    """The shelf of a lazy model that was pickled; one for all that this process unpickles."""
    key = repr((path, digest, trusted, unsafe, options, cache_dir))
    with _REOPENING:
        shelf = _REOPENED.get(key)
        if shelf is None:
            callers = trust.Callers(trusted)
            trust.check_allowed(callers, unsafe)
            store = open_store(path, options, cache_dir)
            try:
                data = read_manifest(store)
            except StorageError as error:
                reason = "a lazy model was pickled as a reference to this directory, which this"
                raise ModelNotFoundError(2, f"{reason} process cannot read", path) from error
            if manifest.digest(data) != digest:
                raise ModelReplacedError(path)
            found = parsed_manifest(data)
            rebuilder = rebuilder_of(store, found, callers, unsafe)
            reference = reference_to(store, data, callers, unsafe, options, cache_dir)
            source = Source(store, data, found, rebuilder, 1, reference)
            source.keep_within(limit)
            with explained(store, found), Pool(1) as pool:
                _, shelf = source.open(pool, sealing.ignore)
            _REOPENED[key] = shelf
    return shelf


def reference_to(
    store: Store,
    data: bytes,
    callers: trust.Callers,
    unsafe: bool,
    options: dict[str, Any] | None,
    cache_dir: PathLike | None,
) -> Any:
    names = callers.texts | {".".join(name) for name in callers.objects}
    cache = None if cache_dir is None else os.path.abspath(cache_dir)
    digest = manifest.digest(data)
    return reopened, (store.absolute, digest, tuple(sorted(names)), unsafe, options, cache)


def _warn_of_versions(store: Store, found: Manifest) -> None:
    differing = versions.differences(found.environment, [module for module, _ in found.names])
    if differing:
        lines = ", ".join(f"{top} {then} (here {now})" for top, then, now in differing)
        warnings.warn(
            inert(
                f"{store.name} was dumped under {lines}. It loads, but may predict differently: "
                "compare predictions, or use the same versions."
            ),
            VersionWarning,
            stacklevel=5,
        )


_REOPENED: weakref.WeakValueDictionary[Any, Shelf] = weakref.WeakValueDictionary()
_REOPENING = threading.Lock()


def _after_fork() -> None:
    """The thread that held the lock is not in the child."""
    global _REOPENING
    _REOPENING = threading.Lock()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_after_fork)
