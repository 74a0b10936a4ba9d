"""Models whose estimators are loaded when they are used, within one limit of memory.

Pickles of lazy models name this package: what it exports stays.
"""

from shardpickle.lazy.cache import (
    CACHE,
    OBJECT_BYTES,
    Deferred,
    Fetch,
    ReferenceInDumpError,
    Shelf,
    dumping,
    referring,
)
from shardpickle.lazy.proxies import (
    LazyList,
    StandIn,
    _stand_in,
    is_stand_in,
    items_of,
    keep,
    kept,
    kind_of,
    place,
    present,
    real,
    relisted,
    settled,
    stand_in,
)

__all__ = [
    "CACHE",
    "OBJECT_BYTES",
    "Deferred",
    "Fetch",
    "LazyList",
    "ReferenceInDumpError",
    "Shelf",
    "StandIn",
    "_stand_in",
    "dumping",
    "is_stand_in",
    "items_of",
    "keep",
    "kept",
    "kind_of",
    "place",
    "present",
    "real",
    "referring",
    "relisted",
    "settled",
    "stand_in",
]
