"""What shards say of themselves, put together. Wires rooms for `api`; unpickles nothing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from shardpickle import manifest, sealing, trust
from shardpickle.codecs import backend
from shardpickle.codecs.trees import Head
from shardpickle.contents import Contents
from shardpickle.dumping import Dumper
from shardpickle.loading import check_file, in_file, open_index, parsed_manifest
from shardpickle.manifest import Manifest, ShardEntry
from shardpickle.packed import MemoryStore
from shardpickle.reports import ModelInfo, Size
from shardpickle.sealing import Advance, Usage
from shardpickle.stores import Store
from shardpickle.workers import Pool


@dataclass(frozen=True, slots=True)
class Facts:
    """What a shard's columns take; for each part its raw bytes and number of values; its trees."""

    usages: Sequence[Usage]
    parts: Sequence[tuple[int, int]]
    trees: Sequence[Size]


def inspected(
    store: Store, data: bytes, needs: tuple[tuple[str, ...], str] | None = None
) -> ModelInfo:
    """What a model holds, by its manifest and the indices of its shards."""
    found = parsed_manifest(data)
    facts = [_facts(store, entry) for entry in found.shards]
    return _info(store.name, found, data, facts, needs)


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
    refusal = dumper.refusal()
    needs = dumper.needs_trust(), "" if refusal is None else refusal.short
    return _info("(an estimate)", found, manifest.to_bytes(found), facts, needs)


def _facts(store: Store, entry: ShardEntry) -> Facts:
    with in_file(entry.file), store.open_shard(entry.sha256) as shard:
        check_file(shard, entry)
        index = open_index(shard, entry)
        held = sealing.open_contents(shard.read_at, index, entry.raw, together=True)
        values = [len(pieces) for pieces in held.pieces]
        sizes = list(zip(held.part_sizes(), values, strict=True))
        return Facts(sealing.usage(index, held), sizes, list(_trees(held)))


def _trees(held: Contents) -> Iterator[Size]:
    """The sizes of a shard's trees, from their heads: no column of theirs is decoded."""
    for piece in chain.from_iterable(held.pieces):
        if isinstance(piece, Head):
            yield Size(piece.nodes, piece.depth)
        elif "is_leaf" in (piece.dtype.names or ()):  # histogram boosting says no depth
            yield Size(len(piece), None)


def _info(
    name: str,
    found: Manifest,
    data: bytes,
    facts: Sequence[Facts],
    needs: tuple[tuple[str, ...], str] | None,
) -> ModelInfo:
    of_tables = {found.parts[table].shard for table in found.tables}
    slots: dict[tuple[int, int], tuple[int, int]] = {}
    blocks: list[tuple[int, Usage]] = []
    for shard, each in enumerate(facts):
        tables = shard in of_tables
        own = [replace(one, label="tables") if tables else one for one in each.usages]
        blocks += [(shard, one) for one in own]
        slots |= {(shard, slot): sizes for slot, sizes in enumerate(each.parts)}
    return ModelInfo.of(
        name,
        found,
        manifest.digest(data),
        len(data),
        blocks,
        slots,
        [size for each in facts for size in each.trees],
        backend.loops.NAME,
        {name: trust.verdict(name) or "untrusted" for name in found.names},
        needs,
    )
