"""Copies models unchanged, into another store or into one file."""

from typing import IO

from shardpickle.errors import CorruptShardError
from shardpickle.io.reader import ModelReader, check_file, in_file
from shardpickle.storage import packed
from shardpickle.storage.base import Shard, Store, copy_shard


def pack_model(reader: ModelReader, stream: IO[bytes]) -> None:
    """Write a model as one file."""
    entries = reader.manifest.files

    def check(sha256: str, shard: Shard) -> None:
        with in_file(entries[sha256].file):
            check_file(shard, entries[sha256])

    packed.pack(reader.store, reader.data, list(entries), stream, check)


def copy_model(reader: ModelReader, target: Store) -> None:
    """Publish a model in another store. Copies only the shards that are missing there."""
    files = reader.manifest.files
    target.check_writable()
    with target.writing() as publication:
        for entry in files.values():
            if not publication.has(entry.sha256, entry.nbytes):
                with in_file(entry.file), reader.store.open_shard(entry.sha256) as shard:
                    check_file(shard, entry)
                    sha256, _ = copy_shard(shard, publication)
                    if sha256 != entry.sha256:
                        raise CorruptShardError("damaged (SHA-256)", file=entry.file)
        publication.publish(reader.data)
