"""What a path names: a directory, a single file, memory, or a URL."""

import os
from typing import Any

from shardpickle.storage import packed, remote
from shardpickle.storage.base import Store
from shardpickle.storage.local import LocalStore

PathLike = str | os.PathLike[str]


def open_store(
    path: PathLike,
    options: dict[str, Any] | None = None,
    cache_dir: PathLike | None = None,
) -> Store:
    """What a path names."""
    if isinstance(path, packed.MemoryStore):
        return path
    if isinstance(path, str) and remote.is_remote(path):
        return remote.RemoteStore(path, options, cache_dir)
    if options or cache_dir is not None:
        raise ValueError(f"storage_options and cache_dir are for URLs, and {path} is none")
    store = LocalStore(path)
    return packed.PackedStore(path) if packed.is_packed(store.start("")) else store
