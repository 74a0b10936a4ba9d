"""From a model to sealed shards and their manifest. Wires rooms for `api`; opens no file itself."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from shardpickle import (
    contents,
    environment,
    families,
    manifest,
    packing,
    pickling,
    sealing,
    unpicklable,
)
from shardpickle._version import __version__
from shardpickle.codecs.trees import Tables
from shardpickle.contents import Contents
from shardpickle.errors import (
    CorruptModelError,
    CorruptShardError,
    FormatError,
    ModelNotFoundError,
    ReadBackError,
    UnpicklableError,
)
from shardpickle.loading import open_shard
from shardpickle.makers import Name
from shardpickle.manifest import Manifest, PartEntry, ShardEntry
from shardpickle.nursery import Comparing
from shardpickle.pickling import Written
from shardpickle.progress import Share
from shardpickle.sealing import Advance
from shardpickle.split import Part, split
from shardpickle.storage import LocalStore, Publication
from shardpickle.values import Value
from shardpickle.workers import Pool


class Dumper:
    """From parts to sealed shards and their manifest."""

    def __init__(
        self,
        store: LocalStore,
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
        self.twins = packing.equal_to(len(parts), self._comparable)
        items = [packing.Item(_class_name(part.members[0]), part.nbytes) for part in parts]
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
        written: Written = part.content()
        return (written.skeleton, part.references), written.values

    def seal_all(
        self, publication: Publication, pool: Pool, advance: Advance
    ) -> Iterator[tuple[ShardEntry, bool]]:
        def seal(held: Contents) -> tuple[ShardEntry, bool]:
            return self._seal(held, publication, pool, advance)

        return pool.stream(seal, self._jobs())

    def _jobs(self) -> Iterator[Contents]:
        run: int | None = None
        tables: Tables | None = None
        for box in self.boxes:
            held = self._contents(box.numbers)
            if box.run is None:
                tables = None  # each shard has its own
            elif box.run != run:
                tables = held.tables_of_trees()
                if tables:
                    self.tables.append(len(self.uses))
                    self.uses.append(None)
                    yield _contents_of_tables(tables)
            run = box.run
            held.tables = tables
            for slot, number in enumerate(box.numbers):
                self.places[number] = len(self.uses), slot
            self.uses.append(len(self.tables) - 1 if tables else None)
            yield held

    def _contents(self, numbers: Sequence[int]) -> Contents:
        written: list[Written] = [self.parts[number].content() for number in numbers]
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
            inference=self.profile == manifest.INFERENCE,
        )

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
        return entry, new

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


_TABLE = "numpy.ndarray"  # what a part of tables holds


def _contents_of_tables(tables: Tables) -> Contents:
    written = pickling.write(tables.arrays, lambda _: None)
    return contents.of_parts([(written.skeleton, written.values)])


def split_model(model: Any) -> list[Part]:
    try:
        return split(model, is_boundary=families.is_estimator, write=pickling.write)
    except MemoryError:
        raise
    except Exception as error:  # whatever a class of the model raises while it is pickled
        raise unpicklable.explain(model, error) from error


def _class_name(obj: object) -> str:
    return f"{type(obj).__module__}.{type(obj).__qualname__}"


def previous(store: LocalStore) -> tuple[bytes, Manifest | None] | None:
    """The manifest that is about to be replaced; None for its meaning where it has none."""
    try:
        data = store.read_manifest()
    except ModelNotFoundError:
        return None
    try:
        return data, manifest.from_bytes(data)
    except FormatError:
        return data, None
