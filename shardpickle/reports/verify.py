"""Checks a model's files, and says which estimators a damaged one holds.

Unpickles and imports nothing.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from shardpickle._util.pool import Pool
from shardpickle.codecs.tree_arrays import Head
from shardpickle.codecs.tree_streams import NODE
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
from shardpickle.io.load import PartReader, locate
from shardpickle.io.reader import ModelReader, in_file
from shardpickle.io.rebuild import Skeletons, check_members
from shardpickle.io.rehearse import Rehearsal
from shardpickle.pickling import machine, outline, pickler
from shardpickle.pickling.values import Array
from shardpickle.reports.outcome import Problem, VerifyReport
from shardpickle.storage.base import Store
from shardpickle.trust import checks


def verify_model(store: Store, deep: bool, threads: int) -> VerifyReport:
    """Check a model's files; those of the newer one where it is replaced meanwhile."""
    reader = ModelReader(store)
    while True:
        report = _verify(reader, deep, threads)
        newer = None if report else ModelReader(store)
        if newer is None or newer.data == reader.data:
            return report
        reader = newer


def _verify(reader: ModelReader, deep: bool, threads: int) -> VerifyReport:
    try:
        manifest = reader.manifest
    except CorruptModelError as error:
        damage = Problem("manifest.json", error.reason)
        return VerifyReport(reader.name, deep, 0, len(reader.data), (damage,))
    with Pool(threads) as pool:
        files = _Files(reader, deep, pool)
        problems = files.problems()
        verdict = Verdict()
        if deep and not problems:
            try:
                with reader.explain():
                    verdict = default_load(reader, pool)
            except ModelTooLargeError:  # a load says so, too
                verdict = Verdict()
            except (FormatError, StorageError) as error:
                file = getattr(error, "file", None) or "manifest.json"
                problems[file] = Problem(file, getattr(error, "reason", str(error)))
    return VerifyReport(
        reader.name,
        deep,
        len(manifest.files),
        manifest.stored + len(reader.data),
        tuple(_with_places(reader, list(problems.values())) if problems else ()),
        verdict.needs_trust,
        verdict.needs_unsafe,
    )


class _Files:
    """The files of a model, checked one by one."""

    def __init__(self, reader: ModelReader, deep: bool, pool: Pool) -> None:
        self.reader = reader
        self.pool = pool
        self.entries: dict[tuple[str, int | None], ShardEntry] = {}  # a file may be listed twice
        self.parts: dict[tuple[str, int | None], list[PartEntry]] = {}
        shards = reader.manifest.shards
        for entry in shards:
            self.entries.setdefault((entry.sha256, entry.table), entry)
        for part in reader.manifest.parts:
            entry = shards[part.shard]
            self.parts.setdefault((entry.sha256, entry.table), []).append(part)
        self.damaged_table = self._read_tables() if deep else None
        self.reads = deep and self.damaged_table is None

    def problems(self) -> dict[str, Problem]:
        """What is wrong with each file."""
        asked = self.entries if self.reads else self.reader.manifest.files
        problems: dict[str, Problem] = {}
        for problem in (*self.pool.stream(self._check, asked.values()), self.damaged_table):
            if problem:
                problems.setdefault(problem.file, problem)
        return problems

    def _check(self, entry: ShardEntry) -> Problem | None:
        try:
            grow = (lambda _: Passing()) if self.reads else None
            contents = self.reader.shard(entry, self.pool, grow=grow, together=True)
            if self.reads:
                with in_file(entry.file):
                    parts = self.parts.get((entry.sha256, entry.table), [])
                    _check_skeletons(contents, parts, self.reader.manifest)
        except (FormatError, StorageError) as error:
            return Problem(entry.file, getattr(error, "reason", str(error)))
        return None

    def _read_tables(self) -> Problem | None:
        try:
            self.reader.tables(self.pool)
        except CorruptModelError as error:
            return Problem(error.file or "", error.reason)
        except StorageError as error:
            return Problem("shards", str(error))
        return None


def _check_skeletons(contents: Contents, parts: Sequence[PartEntry], manifest: Manifest) -> None:
    """Read every skeleton of a shard once, without making anything of it."""
    skeletons = Skeletons(contents, {}, manifest.most_heap)
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
        values, references = len(contents.pieces[part.slot]), len(part.references)
        if (number, -1, id(part.names)) not in sound:
            listed = {manifest.names[name] for name in part.names}
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
            for spec, array in zip(
                contents.specs(part.slot), contents.pieces[part.slot], strict=True
            ):
                if spec.kind == "str":
                    spec.finish(array)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a default load does: the names it asks for, and what only ``unsafe=True`` loads."""

    needs_trust: tuple[str, ...] = ()
    needs_unsafe: str = ""


def default_load(reader: ModelReader, pool: Pool) -> Verdict:
    """Do what a default load does, on trees without nodes, and drop what it makes.

    Nothing is imported but what is vetted, and no code runs but that which a default load runs.
    """
    manifest = reader.manifest
    reader.tables(pool)
    references = [part.references for part in manifest.parts]
    rehearsal = Rehearsal(references, most=manifest.most_heap, stored=True)

    def hollow(contents: Contents) -> Hollow:
        return Hollow(contents, _check_nodes)

    parts = PartReader(reader, manifest.most_heap, hollow)
    for number, skeletons, values in parts.parts(reader.made_parts, pool, shard.ignore):
        rehearsal.part(number, skeletons.steps(manifest.parts[number].slot), values)
    refusal = rehearsal.refusal
    unsafe = ""
    if refusal is not None:
        if refusal.part is not None:
            refusal = locate(reader, refusal, refusal.part)
        unsafe = refusal.short
    names = rehearsal.needs_trust
    if unsafe and not names:
        names = (manifest.parts[-1].kind,)
    return Verdict(names, unsafe)


def default_load_needs(reader: ModelReader) -> tuple[tuple[str, ...], str]:
    """What a default load of a model refuses (`DumpReport`)."""
    with reader.explain(), Pool(1) as pool:
        verdict = default_load(reader, pool)
    return verdict.needs_trust, verdict.needs_unsafe


def _check_nodes(nodes: Array, head: Head) -> None:
    reason = checks.find_nodes_problem(nodes.view(NODE), head.features, head.depth)
    if reason:
        raise CorruptShardError(f"a tree that would crash: {reason}")


def _with_places(reader: ModelReader, problems: Sequence[Problem]) -> list[Problem]:
    """The problems, with the estimators that each file holds. Reads each other shard once."""
    places = _Damage(reader, [problem.file for problem in problems]).places()
    return [replace(problem, estimators=tuple(places[problem.file])) for problem in problems]


class _Damage:
    """Where in a model the parts of damaged files stand."""

    def __init__(self, reader: ModelReader, files: Collection[str]) -> None:
        self.reader = reader
        self.manifest = reader.manifest
        self.files = set(files)
        self._unreadable: set[str] = set()
        self.lost: dict[str, list[int]] = {file: [] for file in files}
        self.of_part: dict[int, list[str]] = {}  # the damaged files that a part needs
        for number, part in enumerate(self.manifest.parts):
            needed = [file for file in self._needed(number, part) if file in self.files]
            for file in needed:
                self.lost[file].append(number)
            if needed:
                self.of_part[number] = needed

    def _needed(self, number: int, part: PartEntry) -> Iterator[str]:
        """The file of a part and that of its tables; nobody asks where tables stand."""
        if number in self.manifest.tables:
            return
        entry = self.manifest.shards[part.shard]
        yield entry.file
        if entry.table is not None:
            yield self.manifest.shards[self.manifest.parts[entry.table].shard].file

    def places(self) -> dict[str, list[str]]:
        """For each file, where its parts stand in parts that are not damaged."""
        told: dict[str, list[str]] = {file: [] for file in self.files}
        placed: dict[str, set[int]] = {file: set() for file in self.files}
        for number, part in enumerate(self.manifest.parts):
            if self.manifest.shards[part.shard].file in self.files:
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
        root = len(self.manifest.parts) - 1
        for file in self.files:
            below = Counter(
                _kind(self.manifest.parts[number])
                for number in self.lost[file]
                if number not in placed[file]
            )
            told[file] += [f"{n} × {kind}, below what is damaged too" for kind, n in below.items()]
            if root in self.lost[file]:
                told[file] = [f"the {_kind(self.manifest.parts[root])} itself"]
        return told

    def _paths(self, number: int) -> list[dict[int, str]] | None:
        """Where the references of a part stand in each of its objects; None if it is not read."""
        file = self.reader.entry_of(number).file
        if file in self._unreadable:
            return None
        try:
            self.reader.skeletons(self.reader.entry_of(number))
        except (FormatError, StorageError):
            self._unreadable.add(file)
            return None
        with suppress(FormatError):
            return [outline.places(made) for made in self.reader.outline(number)]
        return None


def _kind(part: PartEntry) -> str:
    return part.kind.rpartition(".")[2]
