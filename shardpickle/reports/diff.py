"""Compares two models by the files in their directories. Unpickles nothing.

A part's own content is its skeleton and its values. Two parts are the same if their own contents
are the same, and the parts that they refer to. Shards that both models have are not read for that.
"""

import hashlib
from collections import deque
from collections.abc import Iterator
from typing import Any

from shardpickle._util.pool import Pool
from shardpickle.codecs import tree_arrays
from shardpickle.codecs.tree_arrays import Head
from shardpickle.format.entries import Manifest
from shardpickle.format.tree_memory import Passing
from shardpickle.io.reader import ModelReader, in_file, read_newest
from shardpickle.pickling import outline
from shardpickle.reports.difference import Change, Difference
from shardpickle.storage.base import Store

_MOST_CHANGES = 1000  # differing parts that are reported


def compare_models(first_store: Store, second_store: Store, pool: Pool) -> Difference:
    """Find what differs between two models."""
    return read_newest(
        first_store,
        lambda first: read_newest(second_store, lambda second: _compare(first, second, pool)),
    )


def _compare(first: ModelReader, second: ModelReader, pool: Pool) -> Difference:
    common = {entry.sha256 for entry in first.manifest.shards} & {
        entry.sha256 for entry in second.manifest.shards
    }
    with first.explain():
        changes = list(_find_changes(_Side(first, pool), _Side(second, pool)))
    new_sizes = {
        entry.sha256: entry.nbytes for entry in second.manifest.shards if entry.sha256 not in common
    }
    manifests = first.manifest, second.manifest
    environments = first.manifest.environment, second.manifest.environment
    names = sorted(environments[0].keys() | environments[1].keys())
    versions = {
        name: (environments[0].get(name), environments[1].get(name))
        for name in names
        if environments[0].get(name) != environments[1].get(name)
    }
    return Difference(
        paths=(first.name, second.name),
        digests=(first.digest, second.digest),
        profiles=(manifests[0].profile, manifests[1].profile),
        versions=versions,
        metadata=manifests[0].metadata != manifests[1].metadata,
        changes=tuple(changes),
        travels=0 if first.data == second.data else sum(new_sizes.values()) + len(second.data),
        shards=len(new_sizes),
    )


class _Side:
    """One of the two models, with the digests of its parts' own contents."""

    def __init__(self, reader: ModelReader, pool: Pool) -> None:
        self.reader = reader
        self.manifest = reader.manifest
        self.pool = pool
        self._digests: dict[int, list[str]] = {}
        reader.tables(pool)

    def digest_of(self, number: int) -> str:
        """Digest of a part's own content."""
        part = self.manifest.parts[number]
        if part.shard not in self._digests:
            self._digests[part.shard] = self._hash_parts(part.shard)
        return self._digests[part.shard][part.slot]

    def _hash_parts(self, shard: int) -> list[str]:
        entry = self.manifest.shards[shard]
        hashing = _Hashing()
        contents = self.reader.shard(entry, self.pool, grow=lambda _: hashing, together=True)
        with in_file(entry.file):
            self.reader.keep_skeletons(entry, contents)
        numbers = contents.directory[1].tolist()
        skeletons = [hashlib.sha256(skeleton).digest() for skeleton in contents.skeleton_list()]
        digests = []
        for slot, pieces in enumerate(contents.pieces):
            digest = hashlib.sha256(skeletons[numbers[slot]])
            for place, (spec, piece) in enumerate(zip(contents.specs(slot), pieces, strict=True)):
                tree = hashing.digests.get((slot, place))
                digest.update(repr(spec).encode())
                if tree is not None:
                    digest.update(tree)
                else:
                    digest.update(repr(piece.shape).encode() + piece.tobytes())
            digests.append(digest.hexdigest())
        return digests

    def outline(self, number: int) -> Any:
        """The first object of a part, as plain data."""
        objects = self.reader.outline(number)
        return objects[0] if objects else None

    def below(self, number: int, obj: Any) -> dict[str, int]:
        """The parts that a part refers to, by their places in it."""
        places = outline.find_places(obj)
        references = self.manifest.parts[number].references
        return {places.get(at, f"[{at}]"): other for at, (other, _) in enumerate(references)}


class _Hashing(Passing):
    """Tree memory that computes the SHA-256 of every tree."""

    def __init__(self) -> None:
        super().__init__()
        self.digests: dict[tuple[int, int], bytes] = {}

    def take(self, part: int, place: int, head: Head) -> tuple[Any, Any]:
        self._of_thread.head = head
        return super().take(part, place, head)

    def done(self, part: int, place: int, derived: bool) -> None:
        self.digests[part, place] = tree_arrays.digest(self._of_thread.head, *self.last())


class _Pairs:
    """Finds which parts of two models are the same.

    Two parts that are both the same as a third one are not compared again. So there are at most as
    many comparisons of equal parts as there are parts.
    """

    def __init__(self, first: _Side, second: _Side) -> None:
        self._sides = first, second
        self._differ: set[tuple[int, int]] = set()
        self._leader: dict[tuple[int, int], tuple[int, int]] = {}  # side and number

    def have_same_content(self, mine: int, yours: int) -> bool:
        """Compare the parts' own contents. Reads no common shards."""
        first, second = self._sides
        is_common = first.manifest.place(mine) == second.manifest.place(yours)
        return is_common or first.digest_of(mine) == second.digest_of(yours)

    def are_same(self, mine: int, yours: int) -> bool:
        """Compare the parts and everything that they refer to, at any depth."""
        if self._is_known_same(mine, yours):
            return True
        walk = [(mine, yours, self._pair_references(mine, yours))]
        while walk:
            mine, yours, below = walk[-1]
            pair = (
                None
                if below is None
                else next((p for p in below if not self._is_known_same(*p)), None)
            )
            if below is None or pair in self._differ:
                self._differ |= {(a, b) for a, b, _ in walk}
                return False
            if pair is not None:
                walk.append((*pair, self._pair_references(*pair)))
                continue
            walk.pop()
            self._leader[self._find_leader(0, mine)] = self._find_leader(1, yours)
        return True

    def _pair_references(self, mine: int, yours: int) -> Iterator[tuple[int, int]] | None:
        """Pairs of parts that two parts refer to. None if the two differ by themselves."""
        first, second = self._sides
        my_references, your_references = (
            first.manifest.parts[mine].references,
            second.manifest.parts[yours].references,
        )
        if (mine, yours) in self._differ or len(my_references) != len(your_references):
            return None
        if any(a != b for (_, a), (_, b) in zip(my_references, your_references, strict=True)):
            return None
        if not self.have_same_content(mine, yours):
            return None
        return ((a, b) for (a, _), (b, _) in zip(my_references, your_references, strict=True))

    def _is_known_same(self, mine: int, yours: int) -> bool:
        return self._find_leader(0, mine) == self._find_leader(1, yours)

    def _find_leader(self, side: int, number: int) -> tuple[int, int]:
        """Find the part that represents all parts that are the same as this one."""
        at = side, number
        while (above := self._leader.get(at, at)) != at:
            self._leader[at] = self._leader.get(above, above)  # shortens later searches
            at = above
        return at


def _find_changes(first: _Side, second: _Side) -> Iterator[Change]:
    pairs = _Pairs(first, second)
    seen: set[tuple[int, int]] = set()  # an estimator in many places is reported once
    todo = deque([("", first.reader.root, second.reader.root)])
    count = 0
    # Parts can be paired in very many ways: stop after a few times the models' parts.
    pairs_left = _MOST_CHANGES + 4 * (_size(first.manifest) + _size(second.manifest))
    while todo and count < _MOST_CHANGES and pairs_left > 0:
        path, mine, yours = todo.popleft()
        if (mine, yours) in seen or pairs.are_same(mine, yours):
            continue
        seen.add((mine, yours))
        kinds = first.manifest.parts[mine].kind, second.manifest.parts[yours].kind
        leaves = not (
            first.manifest.parts[mine].references or second.manifest.parts[yours].references
        )
        if leaves and count > _FEW:
            yield Change(path or "the model", "differs", {})
            count += 1
            continue
        objects = first.outline(mine), second.outline(yours)
        if not pairs.have_same_content(mine, yours) or kinds[0] != kinds[1]:
            count += 1
            values = _compare_attributes(*objects) if kinds[0] == kinds[1] else {"class": kinds}
            yield Change(path or "the model", "differs", values)
        below = first.below(mine, objects[0]), second.below(yours, objects[1])
        pairs_left -= 1 + len(below[0]) + len(below[1])
        prefix = f"{path}." if path else ""
        for what, gone in (
            ("only in the first", below[0].keys() - below[1].keys()),
            ("only in the second", below[1].keys() - below[0].keys()),
        ):
            yield from (Change(prefix + place, what, {}) for place in outline.join_paths(gone))
        todo += [
            (prefix + place, below[0][place], below[1][place])
            for place in below[0]
            if place in below[1]
        ]
    if seen and not count:
        yield Change("the model", "differs", {})


def _size(manifest: Manifest) -> int:
    return len(manifest.parts) + sum(len(part.references) for part in manifest.parts)


_FEW = 20  # estimators whose parameters are compared


def _compare_attributes(first: Any, second: Any) -> dict[str, tuple[Any, Any]]:
    """Attributes whose plain values differ."""
    mine, yours = outline.attributes(first), outline.attributes(second)
    return {
        name: (_plain(mine.get(name)), _plain(yours.get(name)))
        for name in sorted(mine.keys() | yours.keys())
        if _plain(mine.get(name)) != _plain(yours.get(name))
    }


def _plain(value: Any) -> Any:
    return value if isinstance(value, (bool, int, float, str, type(None))) else "…"
