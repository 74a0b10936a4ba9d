"""What shards say of themselves, put together. Unpickles nothing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from shardpickle.codecs import _backend
from shardpickle.codecs.tree_arrays import Head
from shardpickle.format import manifest as manifests
from shardpickle.format import shard as sealing
from shardpickle.format.contents import Contents
from shardpickle.format.manifest import Manifest, ShardEntry
from shardpickle.format.shard import Usage
from shardpickle.io.open_model import needs_of
from shardpickle.io.publish import DumpOptions, estimate_shards, make_dumper
from shardpickle.io.reader import ModelReader, check_file, in_file, open_index
from shardpickle.reports.text import ModelInfo, Size
from shardpickle.reports.verify import default_load_needs
from shardpickle.storage.base import Store
from shardpickle.storage.packed import PassingStore
from shardpickle.trust import names


@dataclass(frozen=True, slots=True)
class Facts:
    """What a shard's columns take; for each part its raw bytes and number of values; its trees."""

    usages: Sequence[Usage]
    parts: Sequence[tuple[int, int]]
    trees: Sequence[Size]


def inspect_model(reader: ModelReader, *, trust: bool) -> ModelInfo:
    """What a model holds, by its manifest and the indices of its shards."""
    needs = default_load_needs(reader) if trust else None
    facts = {sha256: _facts(reader.store, entry) for sha256, entry in reader.manifest.files.items()}
    return _info(reader.name, reader.manifest, reader.data, facts, needs)


def estimate_model(model: Any, options: DumpOptions) -> ModelInfo:
    """What `inspect_model` would say of the directory that a dump would write.

    Each shard is encoded and read back as in a dump, described, and dropped.
    """
    store = PassingStore()
    dumper, _ = make_dumper(model, store, options)
    facts: dict[str, Facts] = {}

    def describe(entry: ShardEntry) -> None:
        facts[entry.sha256] = _facts(store, entry)
        store.forget(entry.sha256)

    manifest = estimate_shards(dumper, store, options, describe)
    return _info("(an estimate)", manifest, manifests.to_bytes(manifest), facts, None)


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
    manifest: Manifest,
    data: bytes,
    facts: Mapping[str, Facts],
    needs: tuple[tuple[str, ...], str] | None,
) -> ModelInfo:
    of_tables = {manifest.parts[table].shard for table in manifest.tables}
    blocks: list[tuple[int, Usage]] = []
    counted: set[str] = set()
    for shard, entry in enumerate(manifest.shards):
        if entry.sha256 not in counted:  # a file that is listed twice takes its bytes once
            counted.add(entry.sha256)
            tables = shard in of_tables
            usages = facts[entry.sha256].usages
            own = [replace(one, label="tables") if tables else one for one in usages]
            blocks += [(shard, one) for one in own]
    slots = {
        (part.shard, part.slot): facts[manifest.shards[part.shard].sha256].parts[part.slot]
        for part in manifest.parts
    }
    return ModelInfo.of(
        name,
        manifest,
        manifests.digest(data),
        len(data),
        blocks,
        slots,
        [size for sha256 in manifest.files for size in facts[sha256].trees],
        _backend.loops.NAME,
        {name: names.judge(name) or "untrusted" for name in manifest.names},
        needs or needs_of(manifest),
    )
