"""From a manifest and its shards to the model. Wires rooms for `api`; opens no file itself."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from shardpickle._util import memory, versions
from shardpickle._util.pool import Pool
from shardpickle._util.progress import Share
from shardpickle.codecs import trees
from shardpickle.codecs.trees import Tables
from shardpickle.errors import (
    CorruptManifestError,
    CorruptModelError,
    CorruptShardError,
    FormatError,
    ModelNotFoundError,
    ModelTooLargeError,
    NotADirectoryModelError,
    NotAModelError,
    RebuildError,
    RefusedError,
    ShardpickleError,
    StorageError,
)
from shardpickle.format import manifest, tree_memory
from shardpickle.format import shard as sealing
from shardpickle.format.columns import Nursery
from shardpickle.format.contents import Contents
from shardpickle.format.layout import Index
from shardpickle.format.manifest import Manifest, PartEntry, ShardEntry
from shardpickle.format.shard import Advance
from shardpickle.io.rebuild import Rebuilder, Skeletons, check_members
from shardpickle.pickling import machine, pickler, places
from shardpickle.sklearn_support import classes
from shardpickle.storage import sniff
from shardpickle.storage.base import OPENING, CheckedShard, Shard, Store
from shardpickle.trust import names as trust
from shardpickle.trust.checks import Later
from shardpickle.trust.rules import Name

Objects = dict[int, tuple[Any, ...]]  # of each part


def whole(store: Store, found: Manifest, rebuilder: Rebuilder, pool: Pool, advance: Advance) -> Any:
    """The model."""
    objects: Objects = {}
    tables = read_tables(store, found, pool)
    loader = Loader(store, found, rebuilder, tables, objects)
    numbers = [number for number in range(len(found.parts)) if number not in found.tables]
    for number, members in loader.build(numbers, pool, advance):
        objects[number] = members
    loader.check()
    return objects[len(found.parts) - 1][0]


class PartReader:
    """Reads parts from their shards: skeletons and values, of which nothing is made yet.

    Parameters
    ----------
    tables : mapping
        What `read_tables` gave.
    most : int or None
        Bytes of Python objects that a skeleton may make.
    grow : callable
        Where the trees of a shard grow.
    """

    def __init__(
        self,
        store: Store,
        found: Manifest,
        tables: Mapping[int | None, Tables],
        most: int | None,
        grow: Callable[[Contents], Nursery],
    ) -> None:
        self.store = store
        self.found = found
        self.tables = tables
        self.most = most
        self.grow = grow
        self.texts: dict[bytes, str] = {}
        self.uses: Counter[tuple[int, int]] = Counter()
        self.ready: dict[int, tuple[Contents, Skeletons]] = {}
        self.nbytes: dict[int, list[int]] = {}  # of a shard's parts

    def parts(
        self, numbers: Sequence[int], pool: Pool, advance: Advance
    ) -> Iterator[tuple[int, Skeletons, list[Any]]]:
        """Some parts, in ascending order: number, skeletons of its shard, its values."""
        needed = [self.found.parts[number] for number in numbers]
        self.uses = Counter((part.shard, part.slot) for part in needed)
        left = Counter(part.shard for part in needed)

        def read(shard: int) -> tuple[int, Contents]:
            return shard, self._open(shard, pool, advance)

        shards = pool.stream(read, list(left))
        for number, part in zip(numbers, needed, strict=True):
            while part.shard not in self.ready:
                shard, held = next(shards)
                with in_file(self.found.shards[shard].file):
                    self.ready[shard] = held, Skeletons(held, self.texts, self.most)
            held, skeletons = self.ready[part.shard]
            with in_file(self.file_of(number)):
                values = self._values(part, held)
            yield number, skeletons, values
            left[part.shard] -= 1
            if not left[part.shard]:
                del self.ready[part.shard]

    def locate(self, error: RefusedError, number: int) -> RefusedError:
        """A refusal that names the model and the place in it."""
        references = [part.references for part in self.found.parts]

        read: dict[int, Skeletons] = {}

        def steps_of(part: int) -> machine.Steps:
            place = self.found.parts[part]
            if place.shard not in read:
                with Pool(1) as pool:
                    read[place.shard] = read_skeletons(
                        self.store, self.found.shards[place.shard], pool
                    )
            return read[place.shard].once(place.slot)

        try:
            place = places.place(number, error.step, references, steps_of)
        except (FormatError, StorageError):  # another file is damaged
            place = f"part {number}"
        return error.located(path=self.store.name, place=place)

    def file_of(self, part: int) -> str:
        return self.found.shards[self.found.parts[part].shard].file

    def _open(self, shard: int, pool: Pool, advance: Advance) -> Contents:
        entry = self.found.shards[shard]

        def grow(held: Contents) -> Nursery:
            self.nbytes[shard] = held.part_sizes()
            return self.grow(held)

        tables = self.tables.get(entry.table)
        return open_shard(self.store, entry, pool, advance, nursery=grow, tables=tables)

    def _values(self, part: PartEntry, held: Contents) -> list[Any]:
        place = (part.shard, part.slot)
        self.uses[place] -= 1
        pieces, specs = held.pieces[part.slot], held.specs(part.slot)
        if self.uses[place]:  # an equal part comes later: it gets memory of its own
            pieces = [spec.copied(piece) for spec, piece in zip(specs, pieces, strict=True)]
        else:
            held.pieces[part.slot] = []
        return [spec.finish(piece) for spec, piece in zip(specs, pieces, strict=True)]


class Loader:
    """Makes parts from their shards, children before parents.

    Parameters
    ----------
    objects : dict
        What references are looked up in: the caller puts there what `build` gives.
    """

    def __init__(
        self,
        store: Store,
        found: Manifest,
        rebuilder: Rebuilder,
        tables: Mapping[int | None, Tables],
        objects: Objects,
    ) -> None:
        self.found = found
        self.rebuilder = rebuilder
        self.objects = objects
        grower = self.grower = classes.Grower()

        def grow(held: Contents) -> Nursery:  # holds no loader: what is loaded is freed at once
            return tree_memory.Growing(held, grower)

        self.reader = PartReader(store, found, tables, rebuilder.most, grow)

    def build(
        self, numbers: Sequence[int], pool: Pool, advance: Advance
    ) -> Iterator[tuple[int, tuple[Any, ...]]]:
        """The objects of some parts, in ascending order."""
        for number, skeletons, values in self.reader.parts(numbers, pool, advance):
            yield number, self._rebuild(number, skeletons, values)

    def check(self, later: Later | None = None) -> None:
        """Refuse what has been built if compiled code could not bear it."""
        try:
            self.rebuilder.check(self.grower.odd, later)
        except RefusedError as error:
            raise self.reader.locate(error, error.part or 0) from error

    def _rebuild(self, number: int, skeletons: Skeletons, values: Sequence[Any]) -> tuple[Any, ...]:
        part = self.found.parts[number]
        file = self.reader.file_of(number)
        with in_file(file):
            references = [self.objects[other][index] for other, index in part.references]
            try:
                members = self.rebuilder.members(number, part, skeletons, values, references)
            except RefusedError as error:
                raise self.reader.locate(error, number) from error
            except RebuildError as error:
                raise RebuildError(
                    f"{part.kind} (part {number}, in {file}) refused its state: "
                    f"{str(error).rstrip('.')}. "
                    f"The model was dumped under {self._versions()}"
                ) from error
            check_members(members, part)
        return members

    def _versions(self) -> str:
        tops = versions.describe(module for module, _ in self.found.names)
        then = self.found.environment
        return ", ".join(f"{top} {then[top]} (here {tops.get(top, 'none')})" for top in then)


def read_tables(store: Store, found: Manifest, pool: Pool) -> dict[int | None, Tables]:
    """The tables that shards share, by their parts."""
    tables: dict[int | None, Tables] = {}
    in_shards: dict[int, list[int]] = {}
    for part in sorted(found.tables):
        in_shards.setdefault(found.parts[part].shard, []).append(part)
    for shard, parts in in_shards.items():
        entry = found.shards[shard]
        held = open_shard(store, entry, pool, sealing.ignore, nursery=_no_trees)
        with in_file(entry.file):
            for part in parts:
                tables[part] = _table(held.pieces[found.parts[part].slot])
    return tables


def _table(pieces: Sequence[Any]) -> Tables:
    if [getattr(piece, "dtype", None) for piece in pieces] != ["<i8", "<u8", "<u8"] or any(
        piece.ndim != 1 for piece in pieces
    ):
        raise CorruptShardError("a table is not one")
    return trees.checked(Tables(*pieces))


def _no_trees(held: Contents) -> Nursery:
    return tree_memory.Passing()


def open_shard(
    store: Store,
    entry: ShardEntry,
    pool: Pool,
    advance: Advance,
    *,
    nursery: Callable[[Contents], Nursery] | None,
    tables: Tables | None = None,
    together: bool = False,
) -> Contents:
    """A shard's contents, its digest checked before a byte is decoded.

    All of them if there is a `nursery`, which is where trees grow; else their sizes.
    `tables` are those that the shard shares; `together` is for contents that are dropped as one
    (`contents.allocate`).
    """
    with in_file(entry.file), store.open_shard(entry.sha256) as shard:
        checked = check_digest(shard, entry)
        index = open_index(checked, entry)
        held = sealing.open_contents(checked.read_at, index, entry.raw, together=together)
        held.tables = tables
        if nursery is not None:
            share = Share(advance, entry.raw)
            sealing.fill(checked.read_at, index, held, nursery(held), each=pool.map, advance=share)
            share.finish()
        return held


def read_skeletons(
    store: Store, entry: ShardEntry, pool: Pool, most: int | None = None
) -> Skeletons:
    """A shard's skeletons, its digest checked; nothing else of it is decoded."""
    with in_file(entry.file), store.open_shard(entry.sha256) as shard:
        checked = check_digest(shard, entry)
        index = open_index(checked, entry)
        held = sealing.open_contents(checked.read_at, index, entry.raw, together=True)
        sealing.fill_skeletons(checked.read_at, index, held, each=pool.map)
        return Skeletons(held, {}, most)


def check_digest(shard: Shard, entry: ShardEntry) -> CheckedShard:
    """What the shard's file holds, if that is the shard: no later change of the file is seen."""
    check_file(shard, entry)
    checked = CheckedShard(shard)
    if checked.sha256 != entry.sha256:
        raise CorruptShardError("damaged (SHA-256)", expected=entry.sha256, actual=checked.sha256)
    return checked


def check_file(shard: Shard, entry: ShardEntry) -> None:
    """Refuse what cannot be the shard, by its first bytes and its size."""
    if shard.size != entry.nbytes:
        mistake = sniff.of_shard(entry.file, shard.read_at(0, 64)) if shard.size < 4096 else None
        raise mistake or CorruptShardError("another size", expected=entry.nbytes, actual=shard.size)


def open_index(shard: Shard | CheckedShard, entry: ShardEntry) -> Index:
    """What the shard says of itself, if it is what the manifest says."""
    index = sealing.read_index(shard.read_at, shard.size, entry.most_index)
    if index.sizes.parts != entry.parts:
        raise CorruptShardError(
            "another number of parts", expected=entry.parts, actual=index.sizes.parts
        )
    return index


def check_skeletons(
    held: Contents, parts: Sequence[PartEntry], names: Sequence[Name], most: int
) -> None:
    """Read every skeleton of a shard once, which may make `most`, without making anything of it."""
    skeletons = Skeletons(held, {}, most)
    listings: dict[int, tuple[Any, machine.Names]] = {}
    sound: set[tuple[int, ...]] = set()  # what has been checked of a skeleton that others share
    slots: set[int] = set()
    for part in parts:
        number = skeletons.number(part.slot)
        if number not in listings:
            listing = machine.Names()
            members = machine.run(skeletons.once(part.slot), listing)
            count = len(members) if type(members) is tuple else 0
            listings[number] = (None,) * count, listing
        members, listing = listings[number]
        check_members(members, part)
        values, references = len(held.pieces[part.slot]), len(part.references)
        if (number, -1, id(part.names)) not in sound:
            listed = {names[each] for each in part.names}
            for name in listing.globals:
                if name not in listed:
                    raise CorruptShardError(
                        f"a skeleton names {'.'.join(name)}, which is not listed"
                    )
            sound.add((number, -1, id(part.names)))
        if (number, values, references) not in sound:
            for pid in listing.pids:
                pickler.check_pid(pid, values, references)
            sound.add((number, values, references))
        if part.slot not in slots:
            slots.add(part.slot)
            for spec, array in zip(held.specs(part.slot), held.pieces[part.slot], strict=True):
                if spec.kind == "str":
                    spec.finish(array)


@contextmanager
def explained(store: Store, found: Manifest, free: int | None = None) -> Iterator[None]:
    """Errors of the interpreter that a model leads to become ours."""
    try:
        yield
    except ShardpickleError:
        raise
    except MemoryError as error:
        raise ModelTooLargeError(store.name, found.raw, free or 0) from error
    except RecursionError as error:
        raise CorruptModelError("objects are nested too deeply in each other") from error


@contextmanager
def in_file(file: str) -> Iterator[None]:
    """Names the file in an error that comes from a room which knows no files."""
    try:
        yield
    except CorruptModelError as error:
        if error.file is not None:
            raise
        raise error.in_file(file) from error


def needs_of(found: Manifest) -> tuple[tuple[str, ...], str]:
    """What a default load refuses of a model (`DumpReport`), as its manifest tells it."""
    names = [".".join(name) for name in trust.untrusted(found.names)]
    names += [name for name in found.needs.trust if name not in names]
    if found.needs.unsafe and not names:
        names = [found.parts[-1].kind]
    return tuple(names), found.needs.unsafe


def parsed_manifest(data: bytes) -> Manifest:
    """The meaning of a manifest's file, if this process has the memory for it."""
    return manifest.from_bytes(data, memory.available())


def read_manifest(store: Store) -> bytes:
    """The manifest's file, if it is one of ours; else the error that says what it is."""
    return checked_manifest(store, read_manifest_file(store))


def read_manifest_file(store: Store) -> bytes:
    """The manifest's file, whatever it holds."""
    try:
        return store.read_manifest()
    except (ModelNotFoundError, NotADirectoryModelError):
        raise _why_no_manifest(store) from None


def checked_manifest(store: Store, data: bytes) -> bytes:
    """The same bytes, if they begin as a manifest of ours does."""
    if not data.startswith(OPENING):
        own = not data.strip() or data[:1] == b"{" or b"shardpickle" in data[:64]
        mistake = None if own else sniff.of_file(f"{store.name}/manifest.json", data[:256])
        raise mistake or _foreign(store, data)
    return data


def _foreign(store: Store, data: bytes) -> FormatError:
    if b"shardpickle" in data[:64] or not data.strip():
        return CorruptManifestError("damaged: it does not begin as it should", file="manifest.json")
    return NotAModelError(f"{store.name}/manifest.json is not shardpickle's")


def _why_no_manifest(store: Store) -> Exception:
    name = store.name
    if store.is_file():
        unknown = NotAModelError(f"{name} is a file, and a shardpickle model is a directory")
        return sniff.of_file(name, store.start("")) or unknown
    if store.holds(""):
        return sniff.of_directory(name, store.holds)
    return ModelNotFoundError(2, "there is no model here", name)
