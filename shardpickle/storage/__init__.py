"""Where the bytes of a model are: folders, files, memory, URLs. No other room opens files."""

from shardpickle.storage.base import Shard, Store
from shardpickle.storage.files import ShardReader, ShardWriter
from shardpickle.storage.local import LocalStore
from shardpickle.storage.open import open_store
from shardpickle.storage.packed import MemoryStore, PackedStore
from shardpickle.storage.remote import RemoteStore

__all__ = [
    "LocalStore",
    "MemoryStore",
    "PackedStore",
    "RemoteStore",
    "Shard",
    "ShardReader",
    "ShardWriter",
    "Store",
    "open_store",
]
