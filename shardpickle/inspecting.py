"""What shards say of themselves, put together. Wires rooms for `api`; unpickles nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from shardpickle import manifest, sealing, trust
from shardpickle.codecs import backend
from shardpickle.dumping import Dumper
from shardpickle.loading import check_file, in_file, open_index
from shardpickle.manifest import Manifest, ShardEntry
from shardpickle.packed import MemoryStore
from shardpickle.reports import ModelInfo
from shardpickle.sealing import Advance, Usage
from shardpickle.stores import Store
from shardpickle.workers import Pool


@dataclass(frozen=True, slots=True)
class Facts:
    """What a shard's columns take, and for each part its raw bytes and number of values."""

    usages: Sequence[Usage]
    parts: Sequence[tuple[int, int]]


def inspected(store: Store, data: bytes) -> ModelInfo:
    """What a model holds, by its manifest and the indices of its shards."""
    found = manifest.from_bytes(data)
    facts = [_facts(store, entry) for entry in found.shards]
    return _info(store.name, found, data, facts)


def estimated(
    dumper: Dumper, store: MemoryStore, metadata: dict[str, Any], pool: Pool, advance: Advance
) -> ModelInfo:
    """What `inspected` would say of the directory that a dump would write.

    Each shard is encoded and read back as in a dump, described, and dropped.
    """
    sealed, facts = [], []
    for entry, new in dumper.seal_all(store, pool, advance):
        sealed.append((entry, new))
        facts.append(_facts(store, entry))
        store.forget(entry.sha256)
    found = dumper.manifest(sealed, metadata)
    return _info("(an estimate)", found, manifest.to_bytes(found), facts)


def _facts(store: Store, entry: ShardEntry) -> Facts:
    with in_file(entry.file), store.open_shard(entry.sha256) as shard:
        check_file(shard, entry)
        index = open_index(shard, entry)
        held = sealing.open_contents(shard.read_at, index, entry.raw, together=True)
        values = [len(pieces) for pieces in held.pieces]
        return Facts(sealing.usage(index, held), list(zip(held.part_sizes(), values, strict=True)))


def _info(name: str, found: Manifest, data: bytes, facts: Sequence[Facts]) -> ModelInfo:
    of_tables = {found.parts[table].shard for table in found.tables}
    usages: list[Usage] = []
    slots: dict[tuple[int, int], tuple[int, int]] = {}
    for shard, each in enumerate(facts):
        tables = shard in of_tables
        usages += [replace(one, label="tables") if tables else one for one in each.usages]
        slots |= {(shard, slot): sizes for slot, sizes in enumerate(each.parts)}
    return ModelInfo.of(
        name,
        found,
        manifest.digest(data),
        len(data),
        usages,
        slots,
        backend.loops.NAME,
        {name: trust.verdict(name) or "untrusted" for name in found.names},
    )
