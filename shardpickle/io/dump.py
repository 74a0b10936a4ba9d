"""Turns a model into sealed shards and their manifest."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from shardpickle import lazy
from shardpickle._util import versions
from shardpickle._util.pool import Pool
from shardpickle._util.progress import Share
from shardpickle._version import __version__
from shardpickle.codecs import tree_tables
from shardpickle.codecs.tree_tables import Tables
from shardpickle.errors import (
    CorruptModelError,
    CorruptShardError,
    ReadBackError,
    RefusedError,
    ShardpickleError,
    UnpicklableError,
)
from shardpickle.format import contents as encoding
from shardpickle.format import manifest as manifests
from shardpickle.format import shard as sealing
from shardpickle.format.contents import Contents
from shardpickle.format.entries import (
    Manifest,
    Needs,
    PartEntry,
    ShardEntry,
    most_heap,
    undeclared_heap,
)
from shardpickle.format.shard import Advance
from shardpickle.format.tree_memory import Comparing
from shardpickle.io import inference, plan
from shardpickle.io.dump_lazy import EntangledError, MayCopy, Stored, Unloaded
from shardpickle.io.reader import ModelReader, in_file, read_shard
from shardpickle.io.rehearse import Rehearsal, original
from shardpickle.lazy import materialize
from shardpickle.pickling import diagnose, machine, parser, pickler, places
from shardpickle.pickling.graph import Part, Write, split
from shardpickle.pickling.pickler import Written
from shardpickle.pickling.values import Value
from shardpickle.sklearn_support import classes
from shardpickle.storage.base import Publication, Store, copy_shard
from shardpickle.trust import checks
from shardpickle.trust.rules import Name, refused


class Dumper:
    """Turns parts into sealed shards and their manifest."""

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
        self.lists: dict[tuple[int, ...], tuple[int, ...]] = {}  # equal lists become one object
        contents = {number: part.content() for number, part in enumerate(parts) if part.kept}
        self.stored = {
            number: content for number, content in contents.items() if isinstance(content, Stored)
        }
        # Parts whose trees stay whole. Other trees lose what predictions do not need.
        self.kept = inference.Kept(frozenset(range(len(parts))), ())
        if profile == manifests.INFERENCE:
            self.kept = inference.find_whole_trees([_make_holder(part) for part in parts])
        self.twins = plan.find_equal_parts(len(parts), self._comparison_key)
        items = [
            plan.Item(_class_name(lazy.kind_of(part.members[0])), part.nbytes) for part in parts
        ]
        self.kinds = [item.kind for item in items]
        originals = [number for number, twin in enumerate(self.twins) if number == twin]
        self.raw = sum(part.nbytes for part in parts)
        self.raw_to_seal = sum(parts[number].nbytes for number in originals)
        self.boxes = plan.pack(items, originals, shard_size)
        self.places: dict[int, tuple[int, int]] = {}  # part -> shard and slot
        self.tables: list[int] = []  # shards that hold tables
        self.uses: list[int | None] = []  # for each shard the number of the tables it uses
        self.rehearsal = Rehearsal([part.references for part in parts], self.twins)
        self._texts: dict[bytes, str] = {}
        self._parsed: dict[bytes, machine.Steps] = {}  # thousands of parts share a few skeletons
        self._rehearsed = 0  # parts so far

    def _comparison_key(self, number: int) -> tuple[Hashable, Sequence[Value]] | None:
        part = self.parts[number]
        if not part.kept:
            return None
        content: Written | Stored = part.content()
        whole = number in self.kept.parts
        if isinstance(content, Stored):
            return (content.place, whole), ()
        # A part without values is smaller than its line in the manifest: it stays in its run.
        return ((content.skeleton, whole), content.values) if content.values else None

    def seal_all(
        self,
        publication: Publication,
        pool: Pool,
        advance: Advance,
        sealed: Callable[[ShardEntry], object] = lambda entry: None,
    ) -> Iterator[tuple[ShardEntry, bool]]:
        """Seal the shards in order. Yields each, and whether its file is new.

        Equal shards come more than once. Calls `sealed` with each shard, in its own thread.
        """

        def seal(job: "Contents | _Copy") -> tuple[ShardEntry, bool]:
            if isinstance(job, _Copy):
                entry, is_new = self._copy(job, publication, advance)
            else:
                entry, is_new = self._seal(job, publication, pool, advance)
            sealed(entry)
            return entry, is_new

        return pool.stream(seal, self._plan_jobs())

    def _plan_jobs(self) -> Iterator["Contents | _Copy"]:
        for run, group in groupby(self.boxes, key=lambda box: box.run):
            boxes = list(group)
            copies = [self._find_copy(box) for box in boxes]
            first = None if copies[0] else self._make_contents(boxes[0].numbers)
            tables, job = self._share_tables(run, first, copies)
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
                    self._note_copied_names(box)
                    yield copy
                else:
                    self.uses.append(table)
                    contents, first = first or self._make_contents(box.numbers), None
                    contents.tables = tables
                    yield contents

    def _share_tables(
        self, run: int | None, first: Contents | None, copies: Sequence["_Copy | None"]
    ) -> tuple[Tables | None, "Contents | _Copy | None"]:
        """The tables that the shards of a run share, and the job that makes a shard of them.

        They come from the first shard. Copied shards keep the tables that they share.
        """
        for copy in copies:
            if copy is not None and copy.table is not None:
                return copy.tables, _Copy(copy.reader, copy.table, None, None)
        if run is None:
            return None, None  # each shard has its own
        tables = tree_tables.NO_TABLES if first is None else first.find_tables()
        return tables, _make_table_contents(tables) if tables else None

    def _find_copy(self, box: plan.Box) -> "_Copy | None":
        """Find the shard file that holds exactly this box, if any."""
        first = self.stored.get(box.numbers[0])
        if first is None or first.shard.parts != len(box.numbers):
            return None
        for slot, number in enumerate(box.numbers):
            stored = self.stored.get(number)
            if stored is None or (stored.shard.sha256, stored.part.slot) != (
                first.shard.sha256,
                slot,
            ):
                return None
        table = first.shard.table
        if table is None:
            return _Copy(first.reader, first.shard, None, None)
        of_table = replace(first.reader.entry_of(table), table=None)
        with Pool(1) as pool:
            tables = first.reader.tables(pool)[table]
        return _Copy(first.reader, first.shard, of_table, tables)

    def _note_copied_names(self, box: plan.Box) -> None:
        for number in box.numbers:
            stored = self.stored[number]
            self._note_names(number, (stored.manifest.names[name] for name in stored.part.names))

    def _note_names(self, number: int, names: Iterable[Name]) -> None:
        numbers = tuple(self.names.setdefault(name, len(self.names)) for name in names)
        self.part_names[number] = self.lists.setdefault(numbers, numbers)

    def _copy(
        self, copy: "_Copy", publication: Publication, advance: Advance
    ) -> tuple[ShardEntry, bool]:
        entry = replace(copy.entry, table=None)
        is_new = False
        if not publication.has(entry.sha256, entry.nbytes):
            with (
                in_file(entry.file),
                copy.reader.expect_same(),
                copy.reader.store.open_shard(entry.sha256) as shard,
            ):
                sha256, is_new = copy_shard(shard, publication)
            if sha256 != entry.sha256:
                raise CorruptShardError("damaged (SHA-256)", file=entry.file)
            if not publication.has(entry.sha256, entry.nbytes):
                raise ReadBackError(f"{entry.file} does not read back as it was copied")
        advance(entry.raw)
        return entry, is_new

    def _make_contents(self, numbers: Sequence[int]) -> Contents:
        written = [self._get_written(number) for number in numbers]
        for number, part in zip(numbers, written, strict=True):
            steps = self._parse(number, part)
            self._note_names(number, machine.names(steps))
            self._rehearse(number, steps, part.values)
        shard_contents = encoding.of_parts(
            [(part.skeleton, part.values) for part in written],
            inference={at for at, number in enumerate(numbers) if number not in self.kept.parts},
        )
        shard_contents.heap = sum(self.rehearsal.heap[number] for number in numbers)
        return shard_contents

    def _parse(self, number: int, written: Written) -> machine.Steps:
        skeleton = written.skeleton
        try:
            steps = self._parsed.get(skeleton)
            if steps is None:
                steps = parser.parse(skeleton, self._texts)
                if len(skeleton) <= _KEPT_BYTES:
                    self._parsed[skeleton] = steps
                    if len(self._parsed) > _KEPT:
                        del self._parsed[next(iter(self._parsed))]
            return steps
        except CorruptShardError as error:  # copyreg's extension codes, for example
            raise UnpicklableError([(self.kinds[number], error.reason)]) from error

    def _rehearse(self, number: int, steps: machine.Steps, values: Sequence[Value]) -> None:
        """Load a part as a default load will, after the parts before it."""
        for other in range(self._rehearsed, number):
            self._rehearse_again(other)
        self.rehearsal.part(number, steps, [original(value) for value in values])
        self._rehearsed = number + 1

    def _rehearse_again(self, number: int) -> None:
        """Rehearse a part that is stored already: as an equal part, or in a shard."""
        stored = self.stored.get(number)
        if stored is not None:
            self.rehearsal.put(number, self.parts[number].members)
        elif self.rehearsal.is_known(number):
            self.rehearsal.repeat(number)
        elif self.twins[number] != number:
            written = self._get_written(self.twins[number])
            values = [original(value) for value in written.values]
            self.rehearsal.part(number, self._parse(number, written), values)

    def finish_rehearsal(self) -> None:
        for other in range(self._rehearsed, len(self.parts)):
            self._rehearse_again(other)
        self._rehearsed = len(self.parts)

    def refusal(self) -> RefusedError | None:
        """What only ``unsafe=True`` loads, and its place."""
        error = self.rehearsal.refusal
        if error is None or error.part is None:
            return error
        place = places.describe_place(
            error.part,
            error.step,
            [part.references for part in self.parts],
            lambda number: self._parse(number, self._get_written(number)),
        )
        return error.located(path=self.store.name, place=place)

    def _get_written(self, number: int) -> Written:
        content: Written | Stored = self.parts[number].content()
        return content.pickle_part() if isinstance(content, Stored) else content

    def _seal(
        self, contents: Contents, publication: Publication, pool: Pool, advance: Advance
    ) -> tuple[ShardEntry, bool]:
        share = Share(advance, contents.nbytes)
        with publication.shard() as writer:
            sealing.encode(
                contents,
                level=self.level,
                map_parallel=pool.map,
                batch=pool.workers,
                write=writer.write,
                advance=share,
            )
            share.finish()
            sha256, is_new = writer.commit()
            nbytes, parts = contents.nbytes, contents.sizes.parts
            entry = ShardEntry(sha256, writer.nbytes, nbytes, parts, heap=contents.heap)
            self._read_back(entry, contents, pool)
        return entry, is_new

    def _read_back(self, entry: ShardEntry, contents: Contents, pool: Pool) -> None:
        try:
            trees = Comparing(contents)
            read = read_shard(
                self.store,
                entry,
                pool,
                grow=lambda _: trees,
                tables=contents.tables,
                together=True,
            )
            differing = [*contents.differences(read), *trees.differing]
        except CorruptModelError as error:
            raise ReadBackError(f"a shard does not read back: {error.reason}") from error
        for tree in trees.odd:
            reason = checks.find_nodes_problem(tree.nodes, tree.head.features, tree.head.depth)
            if reason:
                self.rehearsal.refuse(refused(f"compiled code could crash on a tree: {reason}"))
        if differing:
            raise ReadBackError(
                f"{entry.file} does not read back as it was written (columns {differing}); "
                "nothing was published. This is a bug: please report it with the model's class"
            )

    def manifest(
        self, sealed: Sequence[tuple[ShardEntry, bool]], metadata: dict[str, Any]
    ) -> Manifest:
        self.finish_rehearsal()
        # Equal files are one shard, unless they use different tables.
        files = [entry.sha256 for entry, _ in sealed]
        file_numbers: dict[str, int] = {}
        tables = [file_numbers.setdefault(files[shard], len(file_numbers)) for shard in self.tables]
        uses = [None if table is None else tables[table] for table in self.uses]
        numbers: dict[tuple[str, int | None], int] = {}
        new_numbers = [
            numbers.setdefault(key, len(numbers)) for key in zip(files, uses, strict=True)
        ]
        entry_of = {entry.sha256: entry for entry, _ in sealed}
        shards = [replace(entry_of[file], table=table) for file, table in numbers]
        # Tables are parts too. They come first, so every other part's number moves.
        entries = [
            PartEntry(_TABLE, numbers[file, None], 0, len(Tables.__slots__), (), ())
            for file in file_numbers
        ]
        count = len(entries)
        entries += [
            self._make_entry(number, part, count, new_numbers)
            for number, part in enumerate(self.parts)
        ]
        shards = self._declare_heap(shards, entries)
        return Manifest(
            writer=__version__,
            profile=self.profile,
            environment=versions.describe(module for module, _ in self.names),
            metadata=metadata,
            names=tuple(self.names),
            parts=tuple(entries),
            shards=tuple(shards),
            needs=self._find_needs(),
        )

    @property
    def doubtful(self) -> str:
        """The first thing that needs trust by name, though all names are vetted."""
        return next(
            iter(self.rehearsal.lifted.values()), "parts of an earlier dump that needed trust"
        )

    def _find_needs(self) -> Needs:
        """What a default load refuses besides names, also in copied parts."""
        refusal = self.refusal()
        text = "" if refusal is None else refusal.short[: manifests.MOST_NEEDS]
        all_needs = [Needs(tuple(self.rehearsal.lifted), text)]
        all_needs += dict.fromkeys(stored.manifest.needs for stored in self.stored.values())
        names = dict.fromkeys(name for needs in all_needs for name in needs.trust)
        return Needs(tuple(names), next((needs.unsafe for needs in all_needs if needs.unsafe), ""))

    def _declare_heap(
        self, shards: Sequence[ShardEntry], entries: Sequence[PartEntry]
    ) -> list[ShardEntry]:
        """Declare what the shards make, if it is more than a load expects."""
        heap = [0] * len(shards)
        count = len(entries) - len(self.parts)
        for number, entry in enumerate(entries[count:]):
            heap[entry.shard] += self.rehearsal.heap.get(number, 0)
        for number, stored in self.stored.items():
            stored_heap = stored.shard.heap
            shard = entries[count + number].shard
            heap[shard] = undeclared_heap(shards[shard]) if stored_heap is None else stored_heap
        plain = [replace(shard, heap=None) for shard in shards]
        if sum(heap) <= most_heap(plain):
            return plain
        return [replace(shard, heap=nbytes) for shard, nbytes in zip(plain, heap, strict=True)]

    def _make_entry(
        self, number: int, part: Part, tables: int, new_numbers: Sequence[int]
    ) -> PartEntry:
        twin = self.twins[number]
        shard, slot = self.places[twin]
        return PartEntry(
            kind=self.kinds[number],
            shard=new_numbers[shard],
            slot=slot,
            objects=len(part.members),
            names=self.part_names[twin],
            references=tuple((other + tables, index) for other, index in part.references),
        )


def _make_holder(part: Part) -> inference.Holder:
    content: Written | Stored = part.content()
    kind = lazy.kind_of(part.members[0])
    references = tuple(other for other, _ in part.references)
    if isinstance(content, Stored):
        if classes.is_own_tree(kind) or not classes.is_tree_class(kind):
            trees = frozenset({0} if classes.is_own_tree(kind) else ())
            return inference.Holder(None, trees, references)
        content = content.pickle_part()
    trees = encoding.find_trees(content.values)
    plain = classes.is_own_tree(kind) and len(part.members) == len(trees) == 1
    return inference.Holder(None if plain else content.skeleton, trees, references)


@dataclass(frozen=True, slots=True)
class _Copy:
    """A job: copy a shard file.

    `table` is the shard of the tables that it shares with others, `tables` are these tables.
    """

    reader: ModelReader
    entry: ShardEntry
    table: ShardEntry | None
    tables: Tables | None


_KEPT, _KEPT_BYTES = 64, 1 << 14  # parsed skeletons: their number and size

_TABLE = "numpy.ndarray"  # class of the objects in a part of tables


def _make_table_contents(tables: Tables) -> Contents:
    written = pickler.write(tables.arrays, lambda _: None)
    return encoding.of_parts([(written.skeleton, written.values)])


def split_model(model: Any, profile: str) -> tuple[list[Part], set[str]]:
    """Split a model into parts. A lazy model may still read the returned shards (SHA-256)."""
    verdicts: dict[int, bool] = {}  # by identity of the manifest, which its shelf keeps alive

    def may_copy(manifest: Manifest) -> bool:
        if id(manifest) not in verdicts:
            verdicts[id(manifest)] = _may_copy_shards(manifest, profile)
        return verdicts[id(manifest)]

    try:
        with lazy.dumping():
            return _split(model, may_copy)
    except (MemoryError, ShardpickleError):
        raise
    except Exception as error:  # any class of the model may raise anything
        raise diagnose.explain(model, error) from error


def _split(model: Any, may_copy: MayCopy) -> tuple[list[Part], set[str]]:
    if not (lazy.CACHE.any() and materialize.is_lazy(model)):
        return _split_parts(model, classes.is_estimator, pickler.write, type), set()
    unloaded = Unloaded(model, may_copy)
    try:
        parts = _split_parts(unloaded.model, unloaded.is_boundary, unloaded.write, lazy.kind_of)
    except EntangledError:
        unloaded = Unloaded(model, lambda _: False)
        parts = _split_parts(unloaded.model, classes.is_estimator, pickler.write, type)
    return parts, unloaded.files


def _split_parts(
    model: Any, is_boundary: Callable[[object], bool], write: Write, kind: Callable[[object], type]
) -> list[Part]:
    try:
        return split(model, is_boundary=is_boundary, write=write, kind=kind)
    except lazy.ReferenceInDumpError as error:
        raise diagnose.explain_reference(model, error.lazy_object, error) from error


def _may_copy_shards(manifest: Manifest, profile: str) -> bool:
    """Whether a dump would write the same: same columns, states of the same releases."""
    environment = versions.describe(module for module, _ in manifest.names)
    return manifest.profile == profile and manifest.environment == environment


def _class_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
