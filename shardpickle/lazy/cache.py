"""What lazy models hold, within one limit. Knows threads and memory; no file, codec or class.

A `Shelf` knows the deferred parts of one model and is given `fetch`, which makes those of a shard.
What is fetched is held by the one `CACHE` of the process.
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

_HEADROOM = 8  # one of so many bytes of a limit is for what malloc keeps and what decoding takes
OBJECT_BYTES = 2048  # an estimator's own dict and small objects, beside its arrays
_SAME_VISIT = 4  # visits of other shards in between that do not make it another visit
_NEVER = 1 << 62
_A_WHILE = 0.05  # seconds after which room is looked for again: objects die without telling


@dataclass(slots=True)
class _Visit:
    """When a shard was asked for: the last time, and how long after the time before."""

    last: int = -_NEVER
    interval: int = _NEVER


class Fetch(Protocol):
    """Makes the deferred parts of a shard, in the background (`ahead`) or not, or one of them."""

    def __call__(self, shard: int, ahead: bool, only: int | None = None, /) -> Fetched: ...


@dataclass(eq=False, slots=True)
class _Ticket:
    """A shard that one thread is loading and others may wait for."""

    objects: dict[int, Any] | None = None


class _Loading(threading.local):
    """The shards that this thread is loading, each for the sake of the one before."""

    def __init__(self) -> None:
        self.keys: list[tuple[int, int]] = []


@dataclass(frozen=True, slots=True)
class Deferred:
    """The deferred parts of a model, by number.

    Attributes
    ----------
    costs : mapping of int to int
        For each shard, in the order of the model, the bytes that loading it takes.
    parts : mapping of int to sequence of int
        For each shard its deferred parts.
    kinds : mapping of int to type
        The class of each part.
    inner : mapping of int to sequence of int
        For each part the deferred ones that it refers to, which have lower numbers.
    resident : int
        Bytes of what is always in memory.
    """

    costs: Mapping[int, int]
    parts: Mapping[int, Sequence[int]]
    kinds: Mapping[int, type]
    inner: Mapping[int, Sequence[int]]
    resident: int

    def homes(self) -> dict[int, int]:
        """The shard of each part."""
        return {part: shard for shard, these in self.parts.items() for part in these}

    def needs(self) -> dict[int, int]:
        """For each shard, the bytes that loading it takes with the shards that are loaded within.

        A part is loaded while another one is made that holds it as an attribute, and so on.
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
                    for part in these
                    for other in self.inner[part]
                    if home[other] != shard
                ),
                default=0,
            )
            for shard, these in self.parts.items()
        }

    def least(self) -> int:
        """The least limit: one shard is used while another one is loaded."""
        needed = max(self.costs.values(), default=0) + max(self.needs().values(), default=0)
        return (self.resident + needed) * _HEADROOM // (_HEADROOM - 1) + 1


class Shelf:
    """The deferred parts of one model.

    Parameters
    ----------
    deferred : Deferred
        Which they are, and what they cost.
    fetch : callable
        ``fetch(shard, ahead)`` makes the deferred parts of a shard, in the background or not, and
        ``fetch(shard, ahead, only)`` one of them: for each part the object and its bytes.
    stored : callable
        For a stand-in, what a dump needs to copy its part.
    reference : tuple
        What pickle stores for the shelf: a callable and its arguments, but the memory limit.
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
        self.plain = {  # shards that are loaded without any other one
            shard
            for shard, these in deferred.parts.items()
            if not any(deferred.inner[part] for part in these)
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
        self.held: dict[int, dict[int, Any]] = {}  # shards in the cache
        self.visits: dict[int, _Visit] = {}
        self.ahead: set[int] = set()  # shards loaded before they were asked for, and not yet since
        self.stand_ins: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        CACHE.add(self)

    def __reduce__(self) -> tuple[Any, ...]:
        refuse_in_dumps(self)
        if not getattr(_REFERRING, "meant", False):
            warn_caller(
                "a lazy model is pickled as a reference to its directory, which whoever unpickles "
                "it has to see; shardpickle.materialize(model) makes it whole",
                LazyReferenceWarning,
            )
        make, arguments = self.reference
        return make, (*arguments, CACHE.limit)


_REFERRING = threading.local()


class ReferenceInDumpError(Exception):
    """What is dumped would refer to the directory of a lazy model: something of it was missed.

    Attributes
    ----------
    found : object
        The shelf, or the list of stand-ins, that was met.
    """

    def __init__(self, found: Any) -> None:
        super().__init__(
            "it belongs to a lazy model: shardpickle.materialize(model) makes it whole"
        )
        self.found = found


@contextmanager
def dumping() -> Iterator[None]:
    """Where this thread pickles for good, and a reference to a directory is an error."""
    before = getattr(_REFERRING, "refused", False)
    _REFERRING.refused = True
    try:
        yield
    finally:
        _REFERRING.refused = before


def refuse_in_dumps(found: Any) -> None:
    if getattr(_REFERRING, "refused", False):
        raise ReferenceInDumpError(found)


@contextmanager
def referring() -> Iterator[None]:
    """Where pickling references in this thread is meant, and no warning is given."""
    _REFERRING.meant = True
    try:
        yield
    finally:
        _REFERRING.meant = False


class Cache:
    """What the lazy models of a process hold. One limit, in bytes, for all of them.

    An object counts for as long as it lives, whoever holds it. When room is needed, the shard goes
    that will not be asked for again for the longest time, which is judged as LIRS does (Jiang and
    Zhang, "LIRS: an efficient low inter-reference recency set replacement policy", 2002): by the
    time between its last two visits, or since the last one if that is longer. Among equals the
    latest goes, so a scan over more than fits finds again what the scan before it left.
    """

    def __init__(self) -> None:
        self._own: int | None = None
        self._lent: tuple[list[int], ...] = ()
        # Visits of shards that were kept since another visit, decoded ahead, and not there.
        self.hits = self.ahead = self.misses = 0
        self._shelves: weakref.WeakSet[Shelf] = weakref.WeakSet()
        self._freed: deque[int] = deque()
        self._used = 0
        self.after_fork()

    def after_fork(self) -> None:
        """Locks and loads under way belong to threads that a forked process does not have."""
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
        """Bytes, or None: that of the call that began last, else that of the process."""
        lent = self._lent
        return lent[-1][0] if lent else self._own

    @limit.setter
    def limit(self, limit: int | None) -> None:
        self._own = limit

    @property
    def _most(self) -> int:
        """What the limit leaves for objects."""
        limit = self.limit or 0
        return limit - limit // _HEADROOM

    @property
    def used(self) -> int:
        """Bytes of what lives."""
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
        """Count bytes for as long as an object lives."""
        with self.lock:
            self._used += nbytes
        weakref.finalize(owner, self._freed.append, nbytes).atexit = False

    def get(self, shelf: Shelf, part: int, *, scan: bool = True) -> Any:
        """A deferred part, loaded if it is not here; in a `scan`, others are expected to follow."""
        shard = shelf.home[part]
        found = shelf.alive.get(part)
        here = found is not None
        if scan and (id(shelf), shard) != self._last:
            self._visit(shelf, shard, here)
        return found if here else self._load(shelf, shard, part)

    def _visit(self, shelf: Shelf, shard: int, here: bool) -> None:
        with self.lock:
            self._now += 1
            visit = shelf.visits.setdefault(shard, _Visit())
            since = self._now - visit.last
            kept = here and shard not in shelf.ahead
            shelf.ahead.discard(shard)
            if since > _SAME_VISIT:
                visit.interval = min(since, _NEVER)
                self.hits += kept
                self.ahead += here and not kept
                self.misses += not here
            visit.last = self._now
            self._last = id(shelf), shard
            following = shelf.after.get(shard)
            if (
                following is None
                or following in shelf.held
                or (id(shelf), following) in self._tickets
                or (id(shelf), following) in self._planned
                or not _in_order(shelf, shard)
                or not self._fits(shelf.costs[following] + (0 if here else shelf.costs[shard]))
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
        """Whether there is room, if all but the latest shards go."""
        if self.limit is None:
            return True
        return self.used + self._reserved - self._loose() + nbytes <= self._most

    def _loose(self) -> int:
        return sum(
            shelf.costs[shard]
            for shelf in self._shelves
            for shard in shelf.held
            if (id(shelf), shard) != self._last
        )

    def _load_ahead(self, shelf: Shelf, shard: int) -> None:
        try:
            self._load_whole(shelf, shard, ahead=True)
        except Exception:  # whoever needs the shard meets the same error
            return
        finally:
            self._planned.discard((id(shelf), shard))

    def _load(self, shelf: Shelf, shard: int, part: int) -> Any:
        """A part, with its shard, if that does not lead to further loads within this one.

        Loads within a load are what makes threads wait for each other, or for themselves. So they
        wait for nothing but a shard that is being loaded without any other one: their room is
        part of what the outermost load reserved. Of the other shards they load one part, which
        refers to parts of lower numbers only, so that this ends.
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
                held = shelf.held.get(shard)
                if held is None and ticket is not None:
                    held = ticket.objects  # loaded while this thread waited, and dropped again
                if held is not None:
                    return held
                ticket = self._tickets.get(key)
                if ticket is None and (within or self._makes_room(nbytes)):
                    break
                self._room.wait(_A_WHILE)
            mine = self._tickets[key] = _Ticket()
            self._reserved += nbytes
        within.append(key)
        try:
            fetched = shelf.fetch(shard, ahead)
            with self.lock:
                mine.objects = shelf.held[shard] = self._register(shelf, fetched)
        finally:
            within.pop()
            with self.lock:
                self._reserved -= nbytes
                del self._tickets[key]
                self._room.notify_all()
        return mine.objects

    def offer(self, shelf: Shelf, shard: int, fetched: Fetched) -> None:
        """Take in a shard that was loaded for another reason, if there is room."""
        with self.lock:
            if self.limit is None or self.used + shelf.costs[shard] <= self._most:
                shelf.held[shard] = self._register(shelf, fetched)

    def _register(self, shelf: Shelf, fetched: Fetched) -> dict[int, Any]:
        objects: dict[int, Any] = {}
        with self.lock:
            for part, (made, nbytes) in fetched.items():
                living = shelf.alive.get(part)  # somebody may have held it all the time
                objects[part] = made if living is None else living
                if living is None:
                    shelf.alive[part] = made
                    self.account(made, nbytes + OBJECT_BYTES)
        return objects

    def _makes_room(self, nbytes: int) -> bool:
        """Make room. With nothing left to give up, one load at a time goes on."""
        while self.limit is not None and self.used + self._reserved + nbytes > self._most:
            if not self._drop_one():
                return self._reserved == 0
        return True

    def _drop_one(self) -> bool:
        """Give up a shard; its objects stay with those who use them."""
        victims = [
            (max(visit.interval, self._now - visit.last), visit.last, shelf, shard)
            for shelf in self._shelves
            for shard in shelf.held
            for visit in [shelf.visits.setdefault(shard, _Visit(self._now))]
            if (id(shelf), shard) != self._last
        ]
        if not victims:
            return False
        *_, shelf, shard = max(victims, key=lambda each: each[:2])
        del shelf.held[shard]
        return True

    def set_limit(self, limit: int) -> None:
        with self.lock:
            self.limit = limit
            self._shrink()

    @contextmanager
    def within(self, limit: int) -> Iterator[None]:
        """A limit for as long as a call takes; limits that are set meanwhile count after it."""
        mine = [limit]
        with self.lock:
            self._lent += (mine,)
            self._shrink()
        try:
            yield
        finally:
            with self.lock:
                self._lent = tuple(each for each in self._lent if each is not mine)
                self._shrink()

    def _shrink(self) -> None:
        while self.limit is not None and self.used > self._most and self._drop_one():
            pass


def _in_order(shelf: Shelf, shard: int) -> bool:
    """Whether a shard is asked for after the one before it, or is the first."""
    before = shelf.before.get(shard)
    if before is None:
        return True
    return before in shelf.visits and shelf.visits[before].last >= shelf.visits[shard].last - 2


CACHE = Cache()
if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=CACHE.after_fork)
