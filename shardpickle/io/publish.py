"""Dumps a model: seals shards, reads them back, then publishes the manifest."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from shardpickle._util import memory
from shardpickle._util.pool import Pool
from shardpickle._util.progress import Listener, Meter
from shardpickle._util.warn import warn_caller
from shardpickle.errors import (
    FormatError,
    MainModuleWarning,
    ModelNotFoundError,
    ReadBackError,
    RefusedError,
    StorageError,
    UntrustedTypeError,
)
from shardpickle.format import manifest as manifests
from shardpickle.format.entries import Manifest
from shardpickle.format.shard import Advance
from shardpickle.io.dump import Dumper, split_model
from shardpickle.io.open_model import find_first_uses, read_needs
from shardpickle.storage.base import Publication, Store
from shardpickle.trust import names as trust


@dataclass(frozen=True, slots=True)
class DumpOptions:
    """Options of `dump`; see there."""

    threads: int
    level: int
    shard_size: int
    profile: str
    metadata: dict[str, Any]
    require_safe: bool = False
    progress: bool | None = None
    on_progress: Listener | None = None

    @contextmanager
    def work(self, name: str, raw: int) -> Iterator[tuple[Pool, Advance]]:
        """The threads, and a function that counts the raw bytes done."""
        with (
            Meter(name, raw, self.progress, self.on_progress) as meter,
            Pool(self.threads) as pool,
        ):
            yield pool, meter.advance


@dataclass(frozen=True, slots=True)
class Dumped:
    """A published dump."""

    dumper: Dumper
    data: bytes
    manifest: Manifest
    new: frozenset[str]  # SHA-256 of the new shards
    is_new: bool  # whether the manifest changed


def make_dumper(model: Any, store: Store, options: DumpOptions) -> tuple[Dumper, set[str]]:
    """The dumper of a model, and the shards (SHA-256) that the model may still read."""
    parts, in_use = split_model(model, options.profile)
    return Dumper(store, parts, options.shard_size, options.level, options.profile), in_use


def publish_model(model: Any, store: Store, options: DumpOptions) -> Dumped:
    """Dump a model. The previous one stays whole until the new manifest replaces it."""
    store.check_writable()
    dumper, in_use = make_dumper(model, store, options)
    with (
        store.writing() as publication,
        options.work("dump", dumper.raw_to_seal) as (pool, advance),
    ):
        sealed = list(dumper.seal_all(publication, pool, advance))
        manifest = dumper.manifest(sealed, options.metadata)
        _warn_of_main(manifest)
        if options.require_safe:
            _require_safe(store, dumper, manifest)
        data = manifests.to_bytes(manifest)
        if manifests.from_bytes(data) != manifest:
            raise ReadBackError("the manifest does not read back as written; nothing was published")
        before = _previous(store)
        is_new = before is None or before[0] != data
        if is_new:
            publication.publish(data)
        else:
            publication.keep()
        if store.collects:
            _collect(publication, manifest, before, in_use)
    new_shards = frozenset(
        entry.sha256 for entry, fresh in sealed if fresh
    )  # equal shards are one file
    return Dumped(dumper, data, manifest, new_shards, is_new)


def estimate_shards(
    dumper: Dumper, store: Publication, options: DumpOptions, describe: Any
) -> Manifest:
    """Make the manifest of a dump that keeps nothing. Calls `describe` with each shard."""
    with options.work("estimate", dumper.raw_to_seal) as (pool, advance):
        sealed = list(dumper.seal_all(store, pool, advance, describe))
        return dumper.manifest(sealed, options.metadata)


def _require_safe(store: Store, dumper: Dumper, manifest: Manifest) -> None:
    """Refuse a model that a default load would refuse."""
    unknown = trust.list_untrusted(manifest.names)
    if unknown:
        call = "dump(model, {path})  # which is loaded with {trusted}"
        raise UntrustedTypeError(store.name, find_first_uses(manifest, unknown), call)
    needs_trust, needs_unsafe = read_needs(manifest)
    if needs_trust:
        names = () if needs_unsafe else needs_trust
        raise RefusedError(needs_unsafe or dumper.doubtful, names, path=store.name)


def _previous(store: Store) -> tuple[bytes, Manifest | None] | None:
    """The bytes and the contents of the old manifest. The contents are None if unreadable."""
    try:
        data = store.read_manifest()
    except ModelNotFoundError:
        return None
    try:
        return data, manifests.from_bytes(data, memory.available())
    except FormatError:
        return data, None


def _collect(
    publication: Publication,
    manifest: Manifest,
    before: tuple[bytes, Manifest | None] | None,
    in_use: set[str],
) -> None:
    """Remove the shards that neither this model nor the one before it needs."""
    if before is not None and before[1] is None:
        return  # its readers may need any shard
    replaced = before[1].shards if before and before[1] else ()
    with suppress(StorageError):  # the model is published: the next dump tries again
        publication.collect({entry.sha256 for entry in (*manifest.shards, *replaced)} | in_use)


def _warn_of_main(manifest: Manifest) -> None:
    names = [name for module, name in manifest.names if module == "__main__"]
    if names:
        warn_caller(
            f"the model needs {', '.join(names)} of __main__, the running script or notebook. It "
            "loads only where __main__ defines them too. Move them into a module.",
            MainModuleWarning,
        )
