"""Models whose estimators load when they are used, within one memory limit.

Pickles of lazy models refer to this package, so its exports stay.
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
