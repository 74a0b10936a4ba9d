"""How two models differ, by what their directories hold. Wires rooms for `api`; unpickles nothing.

A part's own content is its skeleton and its values; a part is the same as another one if its own
content is, and the parts that it refers to are. Shards that both models have are not read for that.
"""

import hashlib
from collections import deque
from collections.abc import Iterator
from typing import Any

from shardpickle._util.pool import Pool
from shardpickle.codecs import trees
from shardpickle.codecs.trees import Head, Tables
from shardpickle.format import manifest
from shardpickle.format import shard as sealing
from shardpickle.format.manifest import Manifest
from shardpickle.format.tree_memory import Passing
from shardpickle.io.load import (
    explained,
    in_file,
    open_shard,
    parsed_manifest,
    read_manifest,
    read_skeletons,
    read_tables,
)
from shardpickle.io.rebuild import Skeletons
from shardpickle.pickling import outline
from shardpickle.reports.difference import Change, Difference
from shardpickle.storage.base import Store

_MOST_CHANGES = 1000  # parts that are described


def compared(one: Store, other: Store, pool: Pool) -> Difference:
    """What differs between two models."""
    stored = [read_manifest(store) for store in (one, other)]
    found = [parsed_manifest(data) for data in stored]
    common = {each.sha256 for each in found[0].shards} & {each.sha256 for each in found[1].shards}
    sides = [_Side(store, made, pool) for store, made in zip((one, other), found, strict=True)]
    with explained(one, found[0]):
        changes = list(_changes(*sides))
    new = {each.sha256: each.nbytes for each in found[1].shards if each.sha256 not in common}
    same = stored[0] == stored[1]
    environments = found[0].environment, found[1].environment
    names = sorted(environments[0].keys() | environments[1].keys())
    versions = {
        name: (environments[0].get(name), environments[1].get(name))
        for name in names
        if environments[0].get(name) != environments[1].get(name)
    }
    return Difference(
        paths=(one.name, other.name),
        digests=(manifest.digest(stored[0]), manifest.digest(stored[1])),
        profiles=(found[0].profile, found[1].profile),
        versions=versions,
        metadata=found[0].metadata != found[1].metadata,
        changes=tuple(changes),
        travels=0 if same else sum(new.values()) + len(stored[1]),
        shards=len(new),
    )


class _Side:
    """One of the models: digests of its parts' own contents, and skeletons as plain data."""

    def __init__(self, store: Store, found: Manifest, pool: Pool) -> None:
        self.store = store
        self.found = found
        self.pool = pool
        self.tables = read_tables(store, found, pool)
        self._digests: dict[int, list[str]] = {}
        self._skeletons: dict[str, Skeletons] = {}  # by file

    @property
    def root(self) -> int:
        return len(self.found.parts) - 1

    def own(self, number: int) -> str:
        """The digest of a part's skeleton and values."""
        part = self.found.parts[number]
        if part.shard not in self._digests:
            self._digests[part.shard] = self._digests_of(part.shard)
        return self._digests[part.shard][part.slot]

    def _digests_of(self, shard: int) -> list[str]:
        entry = self.found.shards[shard]
        tables: Tables | None = self.tables.get(entry.table)
        hashing = _Hashing()
        held = open_shard(
            self.store,
            entry,
            self.pool,
            sealing.ignore,
            nursery=lambda _: hashing,
            tables=tables,
            together=True,
        )
        with in_file(entry.file):
            self._skeletons[entry.sha256] = Skeletons(held, {}, self.found.most_heap)
        numbers = held.directory[1].tolist()
        skeletons = [hashlib.sha256(each).digest() for each in held.skeleton_list()]
        found = []
        for slot, pieces in enumerate(held.pieces):
            whole = hashlib.sha256(skeletons[numbers[slot]])
            for place, (spec, piece) in enumerate(zip(held.specs(slot), pieces, strict=True)):
                tree = hashing.found.get((slot, place))
                whole.update(repr(spec).encode())
                if tree is not None:
                    whole.update(tree)
                else:
                    whole.update(repr(piece.shape).encode() + piece.tobytes())
            found.append(whole.hexdigest())
        return found

    def outline(self, number: int) -> Any:
        """The first object of a part, as plain data."""
        part = self.found.parts[number]
        entry = self.found.shards[part.shard]
        if entry.sha256 not in self._skeletons:
            self._skeletons[entry.sha256] = read_skeletons(self.store, entry, self.pool)
        with in_file(entry.file):
            made = outline.members(self._skeletons[entry.sha256].once(part.slot))
        return made[0] if made else None

    def below(self, number: int, made: Any) -> dict[str, int]:
        """The parts that a part refers to, by where they stand."""
        places = outline.places(made)
        references = self.found.parts[number].references
        return {places.get(at, f"[{at}]"): other for at, (other, _) in enumerate(references)}


class _Hashing(Passing):
    """The SHA-256 of every tree."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[tuple[int, int], bytes] = {}

    def take(self, part: int, place: int, head: Head) -> tuple[Any, Any]:
        self._of_thread.head = head
        return super().take(part, place, head)

    def done(self, part: int, place: int, derived: bool) -> None:
        self.found[part, place] = trees.digest(self._of_thread.head, *self.last())


class _Pairs:
    """Which parts of two models are the same.

    Parts that are the same as a third one are not compared again, so there are no more comparisons
    of whole parts than there are parts, but for those that differ.
    """

    def __init__(self, one: _Side, other: _Side) -> None:
        self._sides = one, other
        self._differ: set[tuple[int, int]] = set()
        self._leader: dict[tuple[int, int], tuple[int, int]] = {}  # side and number

    def own(self, mine: int, yours: int) -> bool:
        """Whether the parts' own contents are the same; common shards are not read for that."""
        one, other = self._sides
        here = one.found.place(mine) == other.found.place(yours)
        return here or one.own(mine) == other.own(yours)

    def same(self, mine: int, yours: int) -> bool:
        """Whether the parts are the same, with all that they refer to, however deep that is."""
        if self._known(mine, yours):
            return True
        walk = [(mine, yours, self._below(mine, yours))]
        while walk:
            mine, yours, below = walk[-1]
            pair = None if below is None else next((p for p in below if not self._known(*p)), None)
            if below is None or pair in self._differ:
                self._differ |= {(a, b) for a, b, _ in walk}
                return False
            if pair is not None:
                walk.append((*pair, self._below(*pair)))
                continue
            walk.pop()
            self._leader[self._led(0, mine)] = self._led(1, yours)
        return True

    def _below(self, mine: int, yours: int) -> Iterator[tuple[int, int]] | None:
        """What two parts refer to, in pairs; None if they differ by themselves."""
        one, other = self._sides
        these, those = one.found.parts[mine].references, other.found.parts[yours].references
        if (mine, yours) in self._differ or len(these) != len(those):
            return None
        if any(a != b for (_, a), (_, b) in zip(these, those, strict=True)):
            return None
        if not self.own(mine, yours):
            return None
        return ((a, b) for (a, _), (b, _) in zip(these, those, strict=True))

    def _known(self, mine: int, yours: int) -> bool:
        return self._led(0, mine) == self._led(1, yours)

    def _led(self, side: int, number: int) -> tuple[int, int]:
        """What stands for all parts that are the same as this one."""
        at = side, number
        while (above := self._leader.get(at, at)) != at:
            self._leader[at] = self._leader.get(above, above)  # shorter ways for those to come
            at = above
        return at


def _changes(one: _Side, other: _Side) -> Iterator[Change]:
    pairs = _Pairs(one, other)
    seen: set[tuple[int, int]] = set()  # an estimator that stands in many places is told once
    todo = deque([("", one.root, other.root)])
    told = 0
    # Parts can be paired in more ways than anybody reads: a few times what the models hold.
    left = _MOST_CHANGES + 4 * (_size(one.found) + _size(other.found))
    while todo and told < _MOST_CHANGES and left > 0:
        path, mine, yours = todo.popleft()
        if (mine, yours) in seen or pairs.same(mine, yours):
            continue
        seen.add((mine, yours))
        kinds = one.found.parts[mine].kind, other.found.parts[yours].kind
        leaves = not (one.found.parts[mine].references or other.found.parts[yours].references)
        if leaves and told > _FEW:
            yield Change(path or "the model", "differs", {})
            told += 1
            continue
        made = one.outline(mine), other.outline(yours)
        if not pairs.own(mine, yours) or kinds[0] != kinds[1]:
            told += 1
            values = _scalars(*made) if kinds[0] == kinds[1] else {"class": kinds}
            yield Change(path or "the model", "differs", values)
        below = one.below(mine, made[0]), other.below(yours, made[1])
        left -= 1 + len(below[0]) + len(below[1])
        prefix = f"{path}." if path else ""
        for what, gone in (
            ("only in the first", below[0].keys() - below[1].keys()),
            ("only in the second", below[1].keys() - below[0].keys()),
        ):
            yield from (Change(prefix + each, what, {}) for each in outline.joined(gone))
        todo += [
            (prefix + each, below[0][each], below[1][each]) for each in below[0] if each in below[1]
        ]
    if seen and not told:
        yield Change("the model", "differs", {})


def _size(found: Manifest) -> int:
    return len(found.parts) + sum(len(part.references) for part in found.parts)


_FEW = 20  # estimators whose parameters are compared


def _scalars(one: Any, other: Any) -> dict[str, tuple[Any, Any]]:
    """Attributes with another plain value."""
    mine, yours = outline.attributes(one), outline.attributes(other)
    return {
        name: (_plain(mine.get(name)), _plain(yours.get(name)))
        for name in sorted(mine.keys() | yours.keys())
        if _plain(mine.get(name)) != _plain(yours.get(name))
    }


def _plain(value: Any) -> Any:
    return value if isinstance(value, (bool, int, float, str, type(None))) else "…"
