"""From a manifest and its shards to the model. Wires rooms for `api`; opens no file itself."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from shardpickle import environment, migrate, mistakes, opcodes, pickling, sealing
from shardpickle.construct import Objects
from shardpickle.contents import Contents
from shardpickle.errors import (
    CorruptManifestError,
    CorruptModelError,
    CorruptShardError,
    FormatError,
    ModelNotFoundError,
    NotADirectoryModelError,
    NotAModelError,
    RebuildError,
)
from shardpickle.manifest import Manifest, PartEntry, ShardEntry
from shardpickle.progress import Share
from shardpickle.sealing import Advance
from shardpickle.shardfile import Index
from shardpickle.storage import OPENING, LocalStore, ShardReader
from shardpickle.trust import Name
from shardpickle.workers import Pool


class Loader:
    """From shards to the model: parts in order, so that children come before parents."""

    def __init__(
        self,
        store: LocalStore,
        found: Manifest,
        names: dict[Name, Any],
        pool: Pool,
        advance: Advance,
    ) -> None:
        self.found = found
        self.names = names
        self.objects: list[tuple[Any, ...]] = []
        self.texts: dict[str, str] = {}
        self.uses = Counter((part.shard, part.slot) for part in found.parts)
        self.left = Counter(part.shard for part in found.parts)
        self.ready: dict[int, tuple[Contents, list[bytes]]] = {}
        order = list(dict.fromkeys(part.shard for part in found.parts))

        def read(number: int) -> tuple[int, Contents]:
            return number, open_shard(store, found.shards[number], pool, advance, whole=True)

        self.shards = pool.stream(read, order)

    def run(self) -> Any:
        for part in self.found.parts:
            while part.shard not in self.ready:
                number, held = next(self.shards)
                self.ready[number] = held, held.skeleton_list()
            self.objects.append(self._rebuild(part))
            self.left[part.shard] -= 1
            if not self.left[part.shard]:
                del self.ready[part.shard]
        return self.objects[-1][0]

    def _rebuild(self, part: PartEntry) -> tuple[Any, ...]:
        held, skeletons = self.ready[part.shard]
        file = self.found.shards[part.shard].file
        listed = [self.found.names[number] for number in part.names]
        with in_file(file):
            parts = Objects(
                {name: self.names[name] for name in listed},
                self._values(part, held),
                [self.objects[number][index] for number, index in part.references],
                migrate.state,
            )
            try:
                members = opcodes.read(held.skeleton_of(part.slot, skeletons), parts, self.texts)
            except RebuildError as error:
                raise RebuildError(
                    f"{part.kind} (part {len(self.objects)}, in {file}) refused its state: "
                    f"{str(error).rstrip('.')}. "
                    f"The model was dumped under {self._versions()}"
                ) from error
            _check_members(members, part)
        return tuple(members)

    def _versions(self) -> str:
        tops = environment.describe(module for module, _ in self.found.names)
        then = self.found.environment
        return ", ".join(f"{top} {then[top]} (here {tops.get(top, 'none')})" for top in then)

    def _values(self, part: PartEntry, held: Contents) -> list[Any]:
        place = (part.shard, part.slot)
        self.uses[place] -= 1
        arrays = held.arrays[part.slot]
        if self.uses[place]:  # an equal part comes later: it gets memory of its own
            arrays = [array.copy(order="K") for array in arrays]
        else:
            held.arrays[part.slot] = []
        specs = held.specs(part.slot)
        return [spec.finish(array) for spec, array in zip(specs, arrays, strict=True)]


def open_shard(
    store: LocalStore,
    entry: ShardEntry,
    pool: Pool,
    advance: Advance,
    *,
    whole: bool,
    together: bool = False,
) -> Contents:
    """A shard's contents, its digest checked before a byte is decoded; all of them if `whole`.

    `together` is for contents that are dropped as one (`contents.allocate`).
    """
    with in_file(entry.file), store.open_shard(entry.sha256) as shard:
        check_file(shard, entry)
        actual = shard.sha256()
        if actual != entry.sha256:
            raise CorruptShardError("damaged (SHA-256)", expected=entry.sha256, actual=actual)
        index = open_index(shard, entry)
        held = sealing.open_contents(shard.read_at, index, entry.raw, together=together)
        if whole:
            share = Share(advance, entry.raw)
            sealing.fill(shard.read_at, index, held, each=pool.map, advance=share)
            share.finish()
        return held


def check_file(shard: ShardReader, entry: ShardEntry) -> None:
    """Refuse what cannot be the shard, by its first bytes and its size."""
    mistake = mistakes.of_shard(entry.file, shard.read_at(0, 64))
    if mistake:
        raise mistake
    if shard.size != entry.nbytes:
        raise CorruptShardError("another size", expected=entry.nbytes, actual=shard.size)


def open_index(shard: ShardReader, entry: ShardEntry) -> Index:
    """What the shard says of itself, if it is what the manifest says."""
    index = sealing.read_index(shard.read_at, shard.size)
    if index.sizes.parts != entry.parts:
        raise CorruptShardError(
            "another number of parts", expected=entry.parts, actual=index.sizes.parts
        )
    return index


def check_skeletons(held: Contents, parts: Sequence[PartEntry], names: Sequence[Name]) -> None:
    skeletons = held.skeleton_list()
    for part in parts:
        listing = opcodes.Names()
        members = opcodes.read(held.skeleton_of(part.slot, skeletons), listing)
        _check_members(members, part)
        for spec, array in zip(held.specs(part.slot), held.arrays[part.slot], strict=True):
            if spec.kind == "str":
                spec.finish(array)
        listed = {names[number] for number in part.names}
        for name in listing.globals:
            if name not in listed:
                raise CorruptShardError(f"a skeleton names {'.'.join(name)}, which is not listed")
        for pid in listing.pids:
            pickling.check_pid(pid, len(held.arrays[part.slot]), len(part.references))


def _check_members(members: Any, part: PartEntry) -> None:
    if type(members) is not tuple or len(members) != part.objects:
        raise CorruptShardError("a part has another number of objects")


@contextmanager
def in_file(file: str) -> Iterator[None]:
    """Names the file in an error that comes from a room which knows no files."""
    try:
        yield
    except CorruptModelError as error:
        if error.file is not None:
            raise
        raise error.in_file(file) from error


def read_manifest(store: LocalStore) -> bytes:
    """The manifest's file, if it is one of ours; else the error that says what it is."""
    return checked_manifest(store, read_manifest_file(store))


def read_manifest_file(store: LocalStore) -> bytes:
    """The manifest's file, whatever it holds."""
    try:
        return store.read_manifest()
    except (ModelNotFoundError, NotADirectoryModelError):
        raise _why_no_manifest(store) from None


def checked_manifest(store: LocalStore, data: bytes) -> bytes:
    """The same bytes, if they begin as a manifest of ours does."""
    if not data.startswith(OPENING):
        raise mistakes.of_file(f"{store.path}/manifest.json", data[:256]) or _foreign(store, data)
    return data


def _foreign(store: LocalStore, data: bytes) -> FormatError:
    if b"shardpickle" in data[:64] or not data.strip():
        return CorruptManifestError("damaged: it does not begin as it should", file="manifest.json")
    return NotAModelError(f"{store.path}/manifest.json is not shardpickle's")


def _why_no_manifest(store: LocalStore) -> Exception:
    name = str(store.path)
    if store.is_file():
        unknown = NotAModelError(f"{name} is a file, and a shardpickle model is a directory")
        return mistakes.of_file(name, store.start("")) or unknown
    if store.holds(""):
        return mistakes.of_directory(name, store.holds)
    return ModelNotFoundError(2, "there is no model here", name)
