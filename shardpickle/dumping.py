"""From a model to sealed shards and their manifest. Wires rooms for `api`; opens no file itself."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from shardpickle import (
    contents,
    environment,
    families,
    lazy,
    manifest,
    packing,
    pickling,
    purposes,
    sealing,
    thawing,
    unpicklable,
)
from shardpickle._version import __version__
from shardpickle.codecs import trees
from shardpickle.codecs.trees import Tables
from shardpickle.contents import Contents
from shardpickle.copying import EntangledError, Reading, Stored, Unloaded
from shardpickle.errors import (
    CorruptModelError,
    CorruptShardError,
    FormatError,
    ModelNotFoundError,
    ReadBackError,
    ShardpickleError,
    UnpicklableError,
)
from shardpickle.loading import in_file, open_shard
from shardpickle.makers import Name
from shardpickle.manifest import Manifest, PartEntry, ShardEntry
from shardpickle.nursery import Comparing
from shardpickle.pickling import Written
from shardpickle.progress import Share
from shardpickle.sealing import Advance
from shardpickle.split import Part, Write, split
from shardpickle.stores import Publication, Store, copy_shard
from shardpickle.values import Value
from shardpickle.workers import Pool


class Dumper:
    """From parts to sealed shards and their manifest."""

    def __init__(
        self,
        store: Store,
        parts: Sequence[Part],
        shard_size: int,
        level: int,
        profile: str,
    ) -> None:
        self.store = store
        self.parts = parts
        self.level = level
        self.profile = profile
        self.names: dict[Name, int] = {}
        self.part_names: dict[int, tuple[int, ...]] = {}
        contents = {number: part.content() for number, part in enumerate(parts) if part.kept}
        self.stored = {
            number: held for number, held in contents.items() if isinstance(held, Stored)
        }
        # Trees that are asked for more than predictions; the others lose what these do not need.
        self.kept = purposes.Kept(frozenset(range(len(parts))), ())
        if profile == manifest.INFERENCE:
            self.kept = purposes.whole([_holder(part) for part in parts])
        self.twins = packing.equal_to(len(parts), self._comparable)
        items = [
            packing.Item(_class_name(lazy.kind_of(part.members[0])), part.nbytes) for part in parts
        ]
        self.kinds = [item.kind for item in items]
        originals = [number for number, twin in enumerate(self.twins) if number == twin]
        self.raw = sum(part.nbytes for part in parts)
        self.raw_to_seal = sum(parts[number].nbytes for number in originals)
        self.boxes = packing.pack(items, originals, shard_size)
        self.places: dict[int, tuple[int, int]] = {}  # part -> shard and slot
        self.tables: list[int] = []  # shards that hold tables
        self.uses: list[int | None] = []  # for each shard the number of the tables it uses

    def _comparable(self, number: int) -> tuple[Hashable, Sequence[Value]] | None:
        part = self.parts[number]
        if not part.kept:
            return None
        content: Written | Stored = part.content()
        whole = number in self.kept.parts
        if isinstance(content, Stored):
            return (content.shard.sha256, content.part.slot, part.references, whole), ()
        if not content.values:
            return None
        return (content.skeleton, part.references, whole), content.values

    def seal_all(
        self, publication: Publication, pool: Pool, advance: Advance
    ) -> Iterator[tuple[ShardEntry, bool]]:
        def seal(job: "Contents | _Copy") -> tuple[ShardEntry, bool]:
            if isinstance(job, _Copy):
                return self._copy(job, publication, advance)
            return self._seal(job, publication, pool, advance)

        return pool.stream(seal, self._jobs())

    def _jobs(self) -> Iterator["Contents | _Copy"]:
        for run, group in groupby(self.boxes, key=lambda box: box.run):
            boxes = list(group)
            copies = [self._copied(box) for box in boxes]
            first = None if copies[0] else self._contents(boxes[0].numbers)
            tables, job = self._tables_of(run, first, copies)
            table = None
            if job is not None:
                table = len(self.tables)
                self.tables.append(len(self.uses))
                self.uses.append(None)
                yield job
            shared = job.entry if isinstance(job, _Copy) else None
            for box, copy in zip(boxes, copies, strict=True):
                for slot, number in enumerate(box.numbers):
                    self.places[number] = len(self.uses), slot
                if copy is not None and copy.table in (None, shared):
                    self.uses.append(None if copy.table is None else table)
                    self._name_copied(box)
                    yield copy
                else:
                    self.uses.append(table)
                    held, first = first or self._contents(box.numbers), None
                    held.tables = tables
                    yield held

    def _tables_of(
        self, run: int | None, first: Contents | None, copies: Sequence["_Copy | None"]
    ) -> tuple[Tables | None, "Contents | _Copy | None"]:
        """The tables that the shards of a run share, and what makes a shard of them.

        They are those of the first shard; of shards that are copied, those that these share.
        """
        for copy in copies:
            if copy is not None and copy.table is not None:
                return copy.tables, _Copy(copy.reading, copy.table, None, None)
        if run is None:
            return None, None  # each shard has its own
        tables = trees.NO_TABLES if first is None else first.tables_of_trees()
        return tables, _contents_of_tables(tables) if tables else None

    def _copied(self, box: packing.Box) -> "_Copy | None":
        """The shard file that holds just this box, if there is one."""
        first = self.stored.get(box.numbers[0])
        if first is None or first.shard.parts != len(box.numbers):
            return None
        for slot, number in enumerate(box.numbers):
            each = self.stored.get(number)
            if each is None or (each.shard.sha256, each.part.slot) != (first.shard.sha256, slot):
                return None
        shards, parts, table = first.found.shards, first.found.parts, first.shard.table
        of_table = None if table is None else replace(shards[parts[table].shard], table=None)
        return _Copy(first.reading, first.shard, of_table, first.tables)

    def _name_copied(self, box: packing.Box) -> None:
        for number in box.numbers:
            each = self.stored[number]
            self.part_names[number] = tuple(
                self.names.setdefault(each.found.names[name], len(self.names))
                for name in each.part.names
            )

    def _copy(
        self, copy: "_Copy", publication: Publication, advance: Advance
    ) -> tuple[ShardEntry, bool]:
        entry = replace(copy.entry, table=None)
        new = False
        if not publication.has(entry.sha256, entry.nbytes):
            with in_file(entry.file), copy.reading(entry.sha256) as shard:
                sha256, new = copy_shard(shard, publication)
            if sha256 != entry.sha256:
                raise CorruptShardError("damaged (SHA-256)", file=entry.file)
            if not publication.has(entry.sha256, entry.nbytes):
                raise ReadBackError(f"{entry.file} does not read back as it was copied")
        advance(entry.raw)
        return entry, new

    def _contents(self, numbers: Sequence[int]) -> Contents:
        written = [self._written(number) for number in numbers]
        for number, each in zip(numbers, written, strict=True):
            try:
                found = pickling.names(each.skeleton)
            except CorruptShardError as error:  # copyreg's extension codes, for example
                raise UnpicklableError([(self.kinds[number], error.reason)]) from error
            self.part_names[number] = tuple(
                self.names.setdefault(name, len(self.names)) for name in found
            )
        return contents.of_parts(
            [(each.skeleton, each.values) for each in written],
            inference={at for at, number in enumerate(numbers) if number not in self.kept.parts},
        )

    def _written(self, number: int) -> Written:
        content: Written | Stored = self.parts[number].content()
        return content.written() if isinstance(content, Stored) else content

    def _seal(
        self, held: Contents, publication: Publication, pool: Pool, advance: Advance
    ) -> tuple[ShardEntry, bool]:
        share = Share(advance, held.nbytes)
        with publication.shard() as writer:
            sealing.encode(
                held,
                level=self.level,
                each=pool.map,
                batch=pool.workers,
                write=writer.write,
                advance=share,
            )
            share.finish()
            sha256, new = writer.commit()
            entry = ShardEntry(sha256, writer.nbytes, held.nbytes, held.sizes.parts)
            self._read_back(entry, held, pool)
        return entry, new

    def _read_back(self, entry: ShardEntry, held: Contents, pool: Pool) -> None:
        try:
            trees = Comparing(held)
            back = open_shard(
                self.store,
                entry,
                pool,
                sealing.ignore,
                nursery=lambda _: trees,
                tables=held.tables,
                together=True,
            )
            differing = [*held.differences(back), *trees.differing]
        except CorruptModelError as error:
            raise ReadBackError(f"a shard does not read back: {error.reason}") from error
        if differing:
            raise ReadBackError(
                f"{entry.file} does not read back as it was written (columns {differing}); "
                "nothing was published. This is a bug: please report it with the model's class"
            )

    def manifest(
        self, sealed: Sequence[tuple[ShardEntry, bool]], metadata: dict[str, Any]
    ) -> Manifest:
        # Tables are parts too; they come first, so every other part's number moves.
        entries = [
            PartEntry(_TABLE, shard, 0, objects=len(Tables.__slots__), names=(), references=())
            for shard in self.tables
        ]
        moved = len(entries)
        entries += [self._entry(number, part, moved) for number, part in enumerate(self.parts)]
        shards = [
            replace(entry, table=table) for (entry, _), table in zip(sealed, self.uses, strict=True)
        ]
        return Manifest(
            writer=__version__,
            profile=self.profile,
            environment=environment.describe(module for module, _ in self.names),
            metadata=metadata,
            names=tuple(self.names),
            parts=tuple(entries),
            shards=tuple(shards),
        )

    def _entry(self, number: int, part: Part, moved: int) -> PartEntry:
        twin = self.twins[number]
        shard, slot = self.places[twin]
        return PartEntry(
            kind=self.kinds[number],
            shard=shard,
            slot=slot,
            objects=len(part.members),
            names=self.part_names[twin],
            references=tuple((other + moved, index) for other, index in part.references),
        )


def _holder(part: Part) -> purposes.Holder:
    content: Written | Stored = part.content()
    kind = lazy.kind_of(part.members[0])
    references = tuple(other for other, _ in part.references)
    if isinstance(content, Stored):
        if families.is_own_tree(kind) or not families.is_tree_class(kind):
            trees = frozenset({0} if families.is_own_tree(kind) else ())
            return purposes.Holder(None, trees, references)
        content = content.written()
    trees = contents.trees_in(content.values)
    plain = families.is_own_tree(kind) and len(part.members) == len(trees) == 1
    return purposes.Holder(None if plain else content.skeleton, trees, references)


@dataclass(frozen=True, slots=True)
class _Copy:
    """A shard file that is to be copied.

    `table` is the shard of the tables that it shares with others, `tables` what that holds.
    """

    reading: Reading
    entry: ShardEntry
    table: ShardEntry | None
    tables: Tables | None


_TABLE = "numpy.ndarray"  # what a part of tables holds


def _contents_of_tables(tables: Tables) -> Contents:
    written = pickling.write(tables.arrays, lambda _: None)
    return contents.of_parts([(written.skeleton, written.values)])


def split_model(model: Any, profile: str) -> tuple[list[Part], set[str]]:
    """The parts of a model, and the shards (SHA-256) that it may still read, if it is lazy."""
    try:
        with lazy.dumping():
            return _split(model, profile)
    except (MemoryError, ShardpickleError):
        raise
    except Exception as error:  # whatever a class of the model raises while it is pickled
        raise unpicklable.explain(model, error) from error


def _split(model: Any, profile: str) -> tuple[list[Part], set[str]]:
    if not (lazy.CACHE.any() and thawing.is_lazy(model)):
        return _cut(model, families.is_estimator, pickling.write, type), set()
    found = Unloaded(model, lambda made: _may_be_copied(made, profile))
    try:
        parts = _cut(found.model, found.is_boundary, found.write, lazy.kind_of)
    except EntangledError:
        found = Unloaded(model, lambda _: False)
        parts = _cut(found.model, families.is_estimator, pickling.write, type)
    return parts, found.files


def _cut(
    model: Any, is_boundary: Callable[[object], bool], write: Write, kind: Callable[[object], type]
) -> list[Part]:
    try:
        return split(model, is_boundary=is_boundary, write=write, kind=kind)
    except lazy.ReferenceInDumpError as error:
        raise unpicklable.explain_reference(model, error.found, error) from error


def _may_be_copied(made: Manifest, profile: str) -> bool:
    """Whether a dump would write the same: the same columns, states of the same releases."""
    here = environment.describe(module for module, _ in made.names)
    return made.profile == profile and made.environment == here


def _class_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def previous(store: Store) -> tuple[bytes, Manifest | None] | None:
    """The manifest that is about to be replaced; None for its meaning where it has none."""
    try:
        data = store.read_manifest()
    except ModelNotFoundError:
        return None
    try:
        return data, manifest.from_bytes(data)
    except FormatError:
        return data, None
