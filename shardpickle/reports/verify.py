"""Checks a model's files, and says which estimators a damaged one holds. Wires rooms for `api`.

Unpickles and imports nothing.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from shardpickle._util.pool import Pool
from shardpickle.codecs.tree_streams import NODE
from shardpickle.codecs.trees import Head, Tables
from shardpickle.errors import (
    CorruptModelError,
    CorruptShardError,
    FormatError,
    ModelTooLargeError,
    StorageError,
)
from shardpickle.format import shard
from shardpickle.format.contents import Contents
from shardpickle.format.manifest import Manifest, PartEntry, ShardEntry
from shardpickle.format.tree_memory import Hollow, Passing
from shardpickle.io.load import (
    PartReader,
    check_skeletons,
    checked_manifest,
    explained,
    in_file,
    open_shard,
    parsed_manifest,
    read_skeletons,
    read_tables,
)
from shardpickle.io.rebuild import Skeletons
from shardpickle.io.rehearse import Rehearsal
from shardpickle.pickling import outline
from shardpickle.pickling.values import Array
from shardpickle.reports.outcome import Problem, VerifyReport
from shardpickle.storage.base import Store
from shardpickle.trust import checks


def verified(store: Store, data: bytes, deep: bool, threads: int) -> VerifyReport:
    """Check the files of a model."""
    try:
        found = parsed_manifest(checked_manifest(store, data))
    except CorruptModelError as error:
        damage = Problem("manifest.json", error.reason)
        return VerifyReport(store.name, deep, 0, len(data), (damage,))
    by_file: dict[tuple[str, int | None], list[PartEntry]] = {}
    entries: dict[tuple[str, int | None], ShardEntry] = {}  # a file may be listed twice
    for entry in found.shards:
        entries.setdefault((entry.sha256, entry.table), entry)
    for part in found.parts:
        entry = found.shards[part.shard]
        by_file.setdefault((entry.sha256, entry.table), []).append(part)
    with Pool(threads) as pool:
        tables, problem = _verified_tables(store, found, pool) if deep else ({}, None)
        read = deep and not problem

        def check(entry: ShardEntry) -> Problem | None:
            try:
                held = open_shard(
                    store,
                    entry,
                    pool,
                    shard.ignore,
                    nursery=(lambda _: Passing()) if read else None,
                    tables=tables.get(entry.table),
                    together=True,
                )
                if read:
                    with in_file(entry.file):
                        mine = by_file.get((entry.sha256, entry.table), [])
                        check_skeletons(held, mine, found.names, found.most_heap)
            except (FormatError, StorageError) as error:
                return Problem(entry.file, getattr(error, "reason", str(error)))
            return None

        asked = entries if read else found.files
        of_file: dict[str, Problem] = {}
        for each in pool.stream(check, asked.values()):
            if each:
                of_file.setdefault(each.file, each)
        if problem:
            of_file.setdefault(problem.file, problem)
        verdict = Verdict()
        if deep and not of_file:
            try:
                with explained(store, found):
                    verdict = default_load(store, found, tables, pool)
            except ModelTooLargeError:  # a load says so, too
                verdict = Verdict()
            except (FormatError, StorageError) as error:
                file = getattr(error, "file", None) or "manifest.json"
                of_file[file] = Problem(file, getattr(error, "reason", str(error)))
    stored = found.stored + len(data)
    problems = located(store, found, list(of_file.values())) if of_file else []
    return VerifyReport(
        store.name,
        deep,
        len(found.files),
        stored,
        tuple(problems),
        verdict.needs_trust,
        verdict.needs_unsafe,
    )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a default load does: the names it asks for, and what only ``unsafe=True`` loads."""

    needs_trust: tuple[str, ...] = ()
    needs_unsafe: str = ""


def default_load(
    store: Store, found: Manifest, tables: Mapping[int | None, Tables], pool: Pool
) -> Verdict:
    """Do what a default load does, on trees without nodes, and drop what it makes.

    Nothing is imported but what is vetted, and no code runs but that which a default load runs.
    """
    references = [part.references for part in found.parts]
    rehearsal = Rehearsal(references, most=found.most_heap, stored=True)
    numbers = [number for number in range(len(found.parts)) if number not in found.tables]

    def hollow(held: Contents) -> Hollow:
        return Hollow(held, _check_nodes)

    reader = PartReader(store, found, tables, found.most_heap, hollow)
    for number, skeletons, values in reader.parts(numbers, pool, shard.ignore):
        rehearsal.part(number, skeletons.steps(found.parts[number].slot), values)
    refusal = rehearsal.refusal
    unsafe = ""
    if refusal is not None:
        if refusal.part is not None:
            refusal = reader.locate(refusal, refusal.part)
        unsafe = refusal.short
    names = rehearsal.needs_trust
    if unsafe and not names:
        names = (found.parts[-1].kind,)
    return Verdict(names, unsafe)


def needs(store: Store, data: bytes) -> tuple[tuple[str, ...], str]:
    """What a default load of a model refuses (`DumpReport`)."""
    found = parsed_manifest(data)
    with explained(store, found), Pool(1) as pool:
        verdict = default_load(store, found, read_tables(store, found, pool), pool)
    return verdict.needs_trust, verdict.needs_unsafe


def _check_nodes(nodes: Array, head: Head) -> None:
    reason = checks.nodes_problem(nodes.view(NODE), head.features, head.depth)
    if reason:
        raise CorruptShardError(f"a tree that would crash: {reason}")


def _verified_tables(
    store: Store, found: Manifest, pool: Pool
) -> tuple[dict[int | None, Tables], Problem | None]:
    try:
        return read_tables(store, found, pool), None
    except CorruptModelError as error:
        return {}, Problem(error.file or "", error.reason)
    except StorageError as error:
        return {}, Problem("shards", str(error))


def located(store: Store, found: Manifest, problems: Sequence[Problem]) -> list[Problem]:
    """The problems, with the estimators that each file holds. Reads each other shard once."""
    damage = _Damage(store, found, [each.file for each in problems])
    places = damage.places()
    return [replace(each, estimators=tuple(places[each.file])) for each in problems]


class _Damage:
    """Where in a model the parts of damaged files stand."""

    def __init__(self, store: Store, found: Manifest, files: Collection[str]) -> None:
        self.store = store
        self.found = found
        self.files = set(files)
        self._skeletons: dict[str, Skeletons | None] = {}  # None: not to be read
        self.lost: dict[str, list[int]] = {file: [] for file in files}
        self.of_part: dict[int, list[str]] = {}  # the damaged files that a part needs
        for number, part in enumerate(found.parts):
            needed = [file for file in self._needed(number, part) if file in self.files]
            for file in needed:
                self.lost[file].append(number)
            if needed:
                self.of_part[number] = needed

    def _needed(self, number: int, part: PartEntry) -> Iterator[str]:
        """The file of a part and that of its tables; nobody asks where tables stand."""
        if number in self.found.tables:
            return
        entry = self.found.shards[part.shard]
        yield entry.file
        if entry.table is not None:
            yield self.found.shards[self.found.parts[entry.table].shard].file

    def places(self) -> dict[str, list[str]]:
        """For each file, where its parts stand in parts that are not damaged."""
        told: dict[str, list[str]] = {file: [] for file in self.files}
        placed: dict[str, set[int]] = {file: set() for file in self.files}
        for number, part in enumerate(self.found.parts):
            if self.found.shards[part.shard].file in self.files:
                continue
            wanted: dict[str, set[int]] = {}  # references to what each file holds
            for at, (other, _) in enumerate(part.references):
                for file in self.of_part.get(other, ()):
                    wanted.setdefault(file, set()).add(at)
                    placed[file].add(other)
            paths = self._paths(number) if wanted else None
            for file, ats in wanted.items():
                if paths is None:
                    told[file].append(f"{len(ats)} parts of {_kind(part)}")
                else:
                    told[file] += [
                        f"{path} of {_kind(part)}"
                        for each in paths
                        for path in outline.joined(p for at, p in each.items() if at in ats)
                    ]
        root = len(self.found.parts) - 1
        for file in self.files:
            below = Counter(
                _kind(self.found.parts[number])
                for number in self.lost[file]
                if number not in placed[file]
            )
            told[file] += [f"{n} × {kind}, below what is damaged too" for kind, n in below.items()]
            if root in self.lost[file]:
                told[file] = [f"the {_kind(self.found.parts[root])} itself"]
        return told

    def _paths(self, number: int) -> list[dict[int, str]] | None:
        """Where the references of a part stand in each of its objects; None if it is not read."""
        part = self.found.parts[number]
        entry = self.found.shards[part.shard]
        if entry.sha256 not in self._skeletons:
            self._skeletons[entry.sha256] = None
            with Pool(1) as pool, suppress(FormatError, StorageError):
                self._skeletons[entry.sha256] = read_skeletons(self.store, entry, pool)
        skeletons = self._skeletons[entry.sha256]
        try:
            made = outline.members(skeletons.once(part.slot)) if skeletons else None
        except FormatError:
            made = None
        return None if made is None else [outline.places(each) for each in made]


def _kind(part: PartEntry) -> str:
    return part.kind.rpartition(".")[2]
