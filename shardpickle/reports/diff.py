"""How two models differ, by what their directories hold. Unpickles nothing.

A part's own content is its skeleton and its values; a part is the same as another one if its own
content is, and the parts that it refers to are. Shards that both models have are not read for that.
"""

import hashlib
from collections import deque
from collections.abc import Iterator
from typing import Any

from shardpickle._util.pool import Pool
from shardpickle.codecs import tree_arrays
from shardpickle.codecs.tree_arrays import Head
from shardpickle.format.manifest import Manifest
from shardpickle.format.tree_memory import Passing
from shardpickle.io.reader import ModelReader, in_file, read_newest
from shardpickle.pickling import outline
from shardpickle.reports.difference import Change, Difference
from shardpickle.storage.base import Store

_MOST_CHANGES = 1000  # parts that are described


def compare_models(one: Store, other: Store, pool: Pool) -> Difference:
    """What differs between two models."""
    return read_newest(
        one, lambda first: read_newest(other, lambda second: _compare(first, second, pool))
    )


def _compare(one: ModelReader, other: ModelReader, pool: Pool) -> Difference:
    common = {entry.sha256 for entry in one.manifest.shards} & {
        entry.sha256 for entry in other.manifest.shards
    }
    with one.explain():
        changes = list(_changes(_Side(one, pool), _Side(other, pool)))
    new = {
        entry.sha256: entry.nbytes for entry in other.manifest.shards if entry.sha256 not in common
    }
    manifests = one.manifest, other.manifest
    environments = one.manifest.environment, other.manifest.environment
    names = sorted(environments[0].keys() | environments[1].keys())
    versions = {
        name: (environments[0].get(name), environments[1].get(name))
        for name in names
        if environments[0].get(name) != environments[1].get(name)
    }
    return Difference(
        paths=(one.name, other.name),
        digests=(one.digest, other.digest),
        profiles=(manifests[0].profile, manifests[1].profile),
        versions=versions,
        metadata=manifests[0].metadata != manifests[1].metadata,
        changes=tuple(changes),
        travels=0 if one.data == other.data else sum(new.values()) + len(other.data),
        shards=len(new),
    )


class _Side:
    """One of the models: digests of its parts' own contents."""

    def __init__(self, reader: ModelReader, pool: Pool) -> None:
        self.reader = reader
        self.manifest = reader.manifest
        self.pool = pool
        self._digests: dict[int, list[str]] = {}
        reader.tables(pool)

    def own(self, number: int) -> str:
        """The digest of a part's skeleton and values."""
        part = self.manifest.parts[number]
        if part.shard not in self._digests:
            self._digests[part.shard] = self._digests_of(part.shard)
        return self._digests[part.shard][part.slot]

    def _digests_of(self, shard: int) -> list[str]:
        entry = self.manifest.shards[shard]
        hashing = _Hashing()
        held = self.reader.shard(entry, self.pool, grow=lambda _: hashing, together=True)
        with in_file(entry.file):
            self.reader.keep_skeletons(entry, held)
        numbers = held.directory[1].tolist()
        skeletons = [hashlib.sha256(each).digest() for each in held.skeleton_list()]
        digests = []
        for slot, pieces in enumerate(held.pieces):
            whole = hashlib.sha256(skeletons[numbers[slot]])
            for place, (spec, piece) in enumerate(zip(held.specs(slot), pieces, strict=True)):
                tree = hashing.digests.get((slot, place))
                whole.update(repr(spec).encode())
                if tree is not None:
                    whole.update(tree)
                else:
                    whole.update(repr(piece.shape).encode() + piece.tobytes())
            digests.append(whole.hexdigest())
        return digests

    def outline(self, number: int) -> Any:
        """The first object of a part, as plain data."""
        made = self.reader.outline(number)
        return made[0] if made else None

    def below(self, number: int, made: Any) -> dict[str, int]:
        """The parts that a part refers to, by where they stand."""
        places = outline.find_places(made)
        references = self.manifest.parts[number].references
        return {places.get(at, f"[{at}]"): other for at, (other, _) in enumerate(references)}


class _Hashing(Passing):
    """The SHA-256 of every tree."""

    def __init__(self) -> None:
        super().__init__()
        self.digests: dict[tuple[int, int], bytes] = {}

    def take(self, part: int, place: int, head: Head) -> tuple[Any, Any]:
        self._of_thread.head = head
        return super().take(part, place, head)

    def done(self, part: int, place: int, derived: bool) -> None:
        self.digests[part, place] = tree_arrays.digest(self._of_thread.head, *self.last())


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
        here = one.manifest.place(mine) == other.manifest.place(yours)
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
        these, those = one.manifest.parts[mine].references, other.manifest.parts[yours].references
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
    todo = deque([("", one.reader.root, other.reader.root)])
    told = 0
    # Parts can be paired in more ways than anybody reads: a few times what the models hold.
    left = _MOST_CHANGES + 4 * (_size(one.manifest) + _size(other.manifest))
    while todo and told < _MOST_CHANGES and left > 0:
        path, mine, yours = todo.popleft()
        if (mine, yours) in seen or pairs.same(mine, yours):
            continue
        seen.add((mine, yours))
        kinds = one.manifest.parts[mine].kind, other.manifest.parts[yours].kind
        leaves = not (one.manifest.parts[mine].references or other.manifest.parts[yours].references)
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
            yield from (Change(prefix + each, what, {}) for each in outline.join_paths(gone))
        todo += [
            (prefix + each, below[0][each], below[1][each]) for each in below[0] if each in below[1]
        ]
    if seen and not told:
        yield Change("the model", "differs", {})


def _size(manifest: Manifest) -> int:
    return len(manifest.parts) + sum(len(part.references) for part in manifest.parts)


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
