"""The cache of lazy models, within one limit. Knows threads and memory; no file, codec or class.

A `Shelf` lists the deferred parts of one model. Its `fetch` loads those of a shard.
The one `CACHE` of the process keeps what is fetched.
"""

import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from shardpickle._util.warn import warn_caller
from shardpickle.errors import LazyReferenceWarning

Fetched = dict[int, tuple[Any, int]]  # part: the object, and its bytes

_HEADROOM = 8  # one byte in 8 of the limit is left for malloc's overhead and for decoding
OBJECT_BYTES = 2048  # an estimator's own dict and small objects, besides its arrays
_SAME_VISIT = 4  # a shard asked for again within so many visits is still the same visit
_NEVER = 1 << 62
_RETRY_SECONDS = 0.05  # memory is checked again this often: dying objects notify nobody


@dataclass(slots=True)
class _Visit:
    """When a shard was last asked for, and how long after the time before."""

    last: int = -_NEVER
    interval: int = _NEVER


class Fetch(Protocol):
    """Loads the deferred parts of a shard, or one of them; `ahead` means in the background."""

    def __call__(self, shard: int, ahead: bool, only: int | None = None, /) -> Fetched: ...


@dataclass(eq=False, slots=True)
class _Ticket:
    """A shard that one thread is loading and others may wait for."""

    objects: dict[int, Any] | None = None


class _Loading(threading.local):
    """The shards that this thread is loading, each because the one before needs it."""

    def __init__(self) -> None:
        self.keys: list[tuple[int, int]] = []


@dataclass(frozen=True, slots=True)
class Deferred:
    """The deferred parts of a model, by number.

    Attributes
    ----------
    costs : mapping of int to int
        For each shard, in the order of the model, the bytes needed to load it.
    parts : mapping of int to sequence of int
        The deferred parts of each shard.
    kinds : mapping of int to type
        The class of each part.
    inner : mapping of int to sequence of int
        The deferred parts that each part refers to. They have lower numbers.
    resident : int
        Bytes that are always in memory.
    """

    costs: Mapping[int, int]
    parts: Mapping[int, Sequence[int]]
    kinds: Mapping[int, type]
    inner: Mapping[int, Sequence[int]]
    resident: int

    def homes(self) -> dict[int, int]:
        """The shard of each part."""
        return {part: shard for shard, parts in self.parts.items() for part in parts}

    def needs(self) -> dict[int, int]:
        """For each shard, the bytes needed to load it and the shards that it loads meanwhile.

        A part that is an attribute of another one is loaded while that one is made, and so on.
        """
        home = self.homes()
        chain: dict[int, int] = {}
        for part in sorted(home):
            below = max((chain[other] for other in self.inner[part]), default=0)
            chain[part] = self.costs[home[part]] + below
        return {
            shard: self.costs[shard]
            + max(
                (
                    chain[other]
                    for part in parts
                    for other in self.inner[part]
                    if home[other] != shard
                ),
                default=0,
            )
            for shard, parts in self.parts.items()
        }

    def least(self) -> int:
        """The lowest limit that works: one shard is used while another one is loaded."""
        needed = max(self.costs.values(), default=0) + max(self.needs().values(), default=0)
        return (self.resident + needed) * _HEADROOM // (_HEADROOM - 1) + 1


class Shelf:
    """The deferred parts of one model.

    Parameters
    ----------
    deferred : Deferred
        The parts and their sizes.
    fetch : callable
        ``fetch(shard, ahead)`` loads the deferred parts of a shard, in the background or not.
        ``fetch(shard, ahead, only)`` loads one of them. Both return each part's object and bytes.
    stored : callable
        For a stand-in, what a dump needs to copy its part.
    reference : tuple
        What pickle stores for the shelf: a callable and its arguments, without the memory limit.
    """

    def __init__(
        self,
        deferred: Deferred,
        fetch: Fetch,
        stored: Callable[[Any], Any],
        reference: tuple[Callable[..., "Shelf"], tuple[Any, ...]],
    ) -> None:
        self.costs = dict(deferred.costs)
        self.needs = deferred.needs()
        self.least = deferred.least()
        self.plain = {  # shards whose loading loads no other shard
            shard
            for shard, parts in deferred.parts.items()
            if not any(deferred.inner[part] for part in parts)
        }
        self.kinds = deferred.kinds
        self.fetch = fetch
        self.stored = stored
        self.reference = reference
        self.home = deferred.homes()
        order = list(self.costs)
        self.before = dict(zip(order[1:], order, strict=False))
        self.after = {shard: other for other, shard in self.before.items()}
        self.alive: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        self.cached: dict[int, dict[int, Any]] = {}  # by shard
        self.visits: dict[int, _Visit] = {}
        self.ahead: set[int] = set()  # shards loaded in the background, not asked for yet
        self.stand_ins: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        CACHE.add(self)

    def __reduce__(self) -> tuple[Any, ...]:
        refuse_in_dumps(self)
        if not getattr(_REFERRING, "meant", False):
            warn_caller(
                "a lazy model is pickled as a reference to its directory, so the pickle loads only "
                "where that directory exists; shardpickle.materialize(model) loads all of it",
                LazyReferenceWarning,
            )
        make, arguments = self.reference
        return make, (*arguments, CACHE.limit)


_REFERRING = threading.local()


class ReferenceInDumpError(Exception):
    """The dump would refer to the directory of a lazy model, because part of that was missed.

    Attributes
    ----------
    lazy_object : object
        The shelf, or the list of stand-ins, that pickle reached.
    """

    def __init__(self, lazy_object: Any) -> None:
        super().__init__("it belongs to a lazy model; call shardpickle.materialize(model) first")
        self.lazy_object = lazy_object


@contextmanager
def dumping() -> Iterator[None]:
    """A context in which this thread pickles for a dump: references to directories are errors."""
    before = getattr(_REFERRING, "refused", False)
    _REFERRING.refused = True
    try:
        yield
    finally:
        _REFERRING.refused = before


def refuse_in_dumps(lazy_object: Any) -> None:
    if getattr(_REFERRING, "refused", False):
        raise ReferenceInDumpError(lazy_object)


@contextmanager
def referring() -> Iterator[None]:
    """A context in which this thread pickles references on purpose, without a warning."""
    _REFERRING.meant = True
    try:
        yield
    finally:
        _REFERRING.meant = False


class Cache:
    """The loaded estimators of a process's lazy models. One limit, in bytes, for all of them.

    An object counts for as long as it lives, whoever refers to it. When memory is needed, the
    cache drops the shard that it expects to be asked for last. It judges as LIRS does (Jiang and
    Zhang, "LIRS: an efficient low inter-reference recency set replacement policy", 2002): by the
    time between a shard's last two visits, or since the last one if that is longer. Among equals
    the latest goes, so repeated scans over more than fits find part of it in the cache.
    """

    def __init__(self) -> None:
        self._own: int | None = None
        self._lent: tuple[list[int], ...] = ()
        # Visits of shards that were in the cache, were loaded ahead, and were absent.
        self.hits = self.ahead = self.misses = 0
        self._shelves: weakref.WeakSet[Shelf] = weakref.WeakSet()
        self._freed: deque[int] = deque()
        self._used = 0
        self.after_fork()

    def after_fork(self) -> None:
        """Reset locks and unfinished loads: a forked process does not have their threads."""
        self._own, self._lent = self.limit, ()
        self.lock = threading.RLock()
        self._room = threading.Condition(self.lock)
        self._tickets: dict[tuple[int, int], _Ticket] = {}
        self._planned: set[tuple[int, int]] = set()  # for threads that load ahead
        self._loading = _Loading()
        self._reserved = 0
        self._now = 0
        self._last: tuple[int, int] | None = None

    @property
    def limit(self) -> int | None:
        """Bytes, or None. The limit of the latest running call, else that of the process."""
        lent = self._lent
        return lent[-1][0] if lent else self._own

    @limit.setter
    def limit(self, limit: int | None) -> None:
        self._own = limit

    @property
    def _capacity(self) -> int:
        """Bytes that the limit leaves for objects."""
        limit = self.limit or 0
        return limit - limit // _HEADROOM

    @property
    def used(self) -> int:
        """Bytes of the objects that are alive."""
        while True:
            try:
                self._used -= self._freed.popleft()
            except IndexError:
                return self._used

    def add(self, shelf: Shelf) -> None:
        with self.lock:
            self._shelves.add(shelf)

    def any(self) -> bool:
        """Whether there are lazy models in this process."""
        return len(self._shelves) > 0

    def account(self, owner: Any, nbytes: int) -> None:
        """Count bytes until an object dies."""
        with self.lock:
            self._used += nbytes
        weakref.finalize(owner, self._freed.append, nbytes).atexit = False

    def get(self, shelf: Shelf, part: int, *, scan: bool = True) -> Any:
        """Return a deferred part, loaded if need be; a `scan` expects others to follow."""
        shard = shelf.home[part]
        estimator = shelf.alive.get(part)
        is_loaded = estimator is not None
        if scan and (id(shelf), shard) != self._last:
            self._visit(shelf, shard, is_loaded)
        return estimator if is_loaded else self._load(shelf, shard, part)

    def _visit(self, shelf: Shelf, shard: int, is_loaded: bool) -> None:
        with self.lock:
            self._now += 1
            visit = shelf.visits.setdefault(shard, _Visit())
            since = self._now - visit.last
            kept = is_loaded and shard not in shelf.ahead
            shelf.ahead.discard(shard)
            if since > _SAME_VISIT:
                visit.interval = min(since, _NEVER)
                self.hits += kept
                self.ahead += is_loaded and not kept
                self.misses += not is_loaded
            visit.last = self._now
            self._last = id(shelf), shard
            following = shelf.after.get(shard)
            if (
                following is None
                or following in shelf.cached
                or (id(shelf), following) in self._tickets
                or (id(shelf), following) in self._planned
                or not _in_order(shelf, shard)
                or not self._fits(shelf.costs[following] + (0 if is_loaded else shelf.costs[shard]))
            ):
                return
            self._planned.add((id(shelf), following))
            shelf.ahead.add(following)
        try:
            threading.Thread(
                target=self._load_ahead, args=(shelf, following), name="shardpickle", daemon=True
            ).start()
        except RuntimeError:  # no more threads: at exit, or under a limit
            self._planned.discard((id(shelf), following))

    def _fits(self, nbytes: int) -> bool:
        """Whether there is memory, once all shards but the latest are dropped."""
        if self.limit is None:
            return True
        return self.used + self._reserved - self._loose() + nbytes <= self._capacity

    def _loose(self) -> int:
        return sum(
            shelf.costs[shard]
            for shelf in self._shelves
            for shard in shelf.cached
            if (id(shelf), shard) != self._last
        )

    def _load_ahead(self, shelf: Shelf, shard: int) -> None:
        try:
            self._load_whole(shelf, shard, ahead=True)
        except Exception:  # the thread that needs the shard gets the same error
            return
        finally:
            self._planned.discard((id(shelf), shard))

    def _load(self, shelf: Shelf, shard: int, part: int) -> Any:
        """Load a part with its shard, or by itself where that could lead to a deadlock.

        Nested loads make threads wait for each other, or for themselves. So a nested load waits
        only for shards whose loading loads no other shard. Its memory is part of what the
        outermost load reserved. Of other shards it loads one part, which refers only to parts of
        lower numbers, so the nesting ends.
        """
        within = self._loading.keys
        if within and (shard not in shelf.plain or (id(shelf), shard) in within):
            return self._register(shelf, shelf.fetch(shard, False, part))[part]
        return self._load_whole(shelf, shard)[part]

    def _load_whole(self, shelf: Shelf, shard: int, *, ahead: bool = False) -> dict[int, Any]:
        key = id(shelf), shard
        within = self._loading.keys
        nbytes = 0 if within else shelf.needs[shard] * 5 // 4  # columns beside the objects
        with self.lock:
            ticket = None
            while True:
                objects = shelf.cached.get(shard)
                if objects is None and ticket is not None:
                    objects = ticket.objects  # loaded and dropped while this thread waited
                if objects is not None:
                    return objects
                ticket = self._tickets.get(key)
                if ticket is None and (within or self._make_room(nbytes)):
                    break
                self._room.wait(_RETRY_SECONDS)
            own_ticket = self._tickets[key] = _Ticket()
            self._reserved += nbytes
        within.append(key)
        try:
            fetched = shelf.fetch(shard, ahead)
            with self.lock:
                own_ticket.objects = shelf.cached[shard] = self._register(shelf, fetched)
        finally:
            within.pop()
            with self.lock:
                self._reserved -= nbytes
                del self._tickets[key]
                self._room.notify_all()
        return own_ticket.objects

    def offer(self, shelf: Shelf, shard: int, fetched: Fetched) -> None:
        """Keep a shard that was loaded for another reason, if there is room."""
        with self.lock:
            if self.limit is None or self.used + shelf.costs[shard] <= self._capacity:
                shelf.cached[shard] = self._register(shelf, fetched)

    def _register(self, shelf: Shelf, fetched: Fetched) -> dict[int, Any]:
        objects: dict[int, Any] = {}
        with self.lock:
            for part, (estimator, nbytes) in fetched.items():
                known = shelf.alive.get(part)  # the caller may have kept it
                objects[part] = estimator if known is None else known
                if known is None:
                    shelf.alive[part] = estimator
                    self.account(estimator, nbytes + OBJECT_BYTES)
        return objects

    def _make_room(self, nbytes: int) -> bool:
        """Make room. With nothing left to drop, loads go on one at a time."""
        while self.limit is not None and self.used + self._reserved + nbytes > self._capacity:
            if not self._drop_one():
                return self._reserved == 0
        return True

    def _drop_one(self) -> bool:
        """Drop a shard. Its objects live on where they are used."""
        victims = [
            (max(visit.interval, self._now - visit.last), visit.last, shelf, shard)
            for shelf in self._shelves
            for shard in shelf.cached
            for visit in [shelf.visits.setdefault(shard, _Visit(self._now))]
            if (id(shelf), shard) != self._last
        ]
        if not victims:
            return False
        *_, shelf, shard = max(victims, key=lambda victim: victim[:2])
        del shelf.cached[shard]
        return True

    def set_limit(self, limit: int) -> None:
        with self.lock:
            self.limit = limit
            self._shrink()

    @contextmanager
    def within(self, limit: int) -> Iterator[None]:
        """Apply a limit for the length of a call; limits set meanwhile apply after it."""
        own_limit = [limit]
        with self.lock:
            self._lent += (own_limit,)
            self._shrink()
        try:
            yield
        finally:
            with self.lock:
                self._lent = tuple(lent for lent in self._lent if lent is not own_limit)
                self._shrink()

    def _shrink(self) -> None:
        while self.limit is not None and self.used > self._capacity and self._drop_one():
            pass


def _in_order(shelf: Shelf, shard: int) -> bool:
    """Whether shards are asked for in order: this one after the one before it, or the first."""
    before = shelf.before.get(shard)
    if before is None:
        return True
    return before in shelf.visits and shelf.visits[before].last >= shelf.visits[shard].last - 2


CACHE = Cache()
if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=CACHE.after_fork)
