"""Describes a model from its manifest and the indices of its shards. Unpickles nothing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from shardpickle.codecs import _backend
from shardpickle.codecs.tree_arrays import Head
from shardpickle.format import manifest as manifests
from shardpickle.format import shard as sealing
from shardpickle.format.contents import Contents
from shardpickle.format.entries import Manifest, ShardEntry
from shardpickle.format.shard import Usage
from shardpickle.io.open_model import read_needs
from shardpickle.io.publish import DumpOptions, estimate_shards, make_dumper
from shardpickle.io.reader import ModelReader, check_file, in_file, open_index
from shardpickle.reports.text import ModelInfo, Size
from shardpickle.reports.verify import find_needs
from shardpickle.storage.base import Store
from shardpickle.storage.packed import PassingStore
from shardpickle.trust import names


@dataclass(frozen=True, slots=True)
class Facts:
    """A shard's columns with their sizes, its parts (raw bytes, number of values), its trees."""

    usages: Sequence[Usage]
    parts: Sequence[tuple[int, int]]
    trees: Sequence[Size]


def inspect_model(reader: ModelReader, *, trust: bool) -> ModelInfo:
    """Describe a model from its manifest and the indices of its shards."""
    needs = find_needs(reader) if trust else None
    facts = {
        sha256: _read_facts(reader.store, entry) for sha256, entry in reader.manifest.files.items()
    }
    return _make_info(reader.name, reader.manifest, reader.data, facts, needs)


def estimate_model(model: Any, options: DumpOptions) -> ModelInfo:
    """Describe the directory that a dump would write, as `inspect_model` would.

    Each shard is encoded and read back as in a dump, described, and dropped.
    """
    store = PassingStore()
    dumper, _ = make_dumper(model, store, options)
    facts: dict[str, Facts] = {}

    def describe(entry: ShardEntry) -> None:
        facts[entry.sha256] = _read_facts(store, entry)
        store.forget(entry.sha256)

    manifest = estimate_shards(dumper, store, options, describe)
    return _make_info("(an estimate)", manifest, manifests.to_bytes(manifest), facts, None)


def _read_facts(store: Store, entry: ShardEntry) -> Facts:
    with in_file(entry.file), store.open_shard(entry.sha256) as shard:
        check_file(shard, entry)
        index = open_index(shard, entry)
        contents = sealing.open_contents(shard.read_at, index, entry.raw, together=True)
        values = [len(pieces) for pieces in contents.pieces]
        sizes = list(zip(contents.part_sizes(), values, strict=True))
        return Facts(sealing.usage(index, contents), sizes, list(_tree_sizes(contents)))


def _tree_sizes(contents: Contents) -> Iterator[Size]:
    """Sizes of a shard's trees, from their heads. Decodes none of their columns."""
    for piece in chain.from_iterable(contents.pieces):
        if isinstance(piece, Head):
            yield Size(piece.nodes, piece.depth)
        elif "is_leaf" in (piece.dtype.names or ()):  # histogram boosting stores no depth
            yield Size(len(piece), None)


def _make_info(
    name: str,
    manifest: Manifest,
    data: bytes,
    facts: Mapping[str, Facts],
    needs: tuple[tuple[str, ...], str] | None,
) -> ModelInfo:
    table_shards = {manifest.parts[table].shard for table in manifest.tables}
    blocks: list[tuple[int, Usage]] = []
    counted: set[str] = set()
    for shard, entry in enumerate(manifest.shards):
        if entry.sha256 not in counted:  # count a file that is listed twice once
            counted.add(entry.sha256)
            tables = shard in table_shards
            usages = facts[entry.sha256].usages
            shard_usages = [replace(usage, label="tables") if tables else usage for usage in usages]
            blocks += [(shard, usage) for usage in shard_usages]
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
        needs or read_needs(manifest),
    )
