"""Checks a model's files, and says which estimators are in damaged ones.

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
from shardpickle.format.entries import Manifest, PartEntry, ShardEntry
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
    """Check a model's files. If the model is replaced meanwhile, check the new one."""
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
                    verdict = try_default_load(reader, pool)
            except ModelTooLargeError:  # a load raises it, too
                verdict = Verdict()
            except (FormatError, StorageError) as error:
                file = getattr(error, "file", None) or "manifest.json"
                problems[file] = Problem(file, getattr(error, "reason", str(error)))
    return VerifyReport(
        reader.name,
        deep,
        len(manifest.files),
        manifest.stored + len(reader.data),
        tuple(_add_places(reader, list(problems.values())) if problems else ()),
        verdict.needs_trust,
        verdict.needs_unsafe,
    )


class _Files:
    """Checks the files of a model one by one."""

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
        """The problem of each damaged file."""
        entries = self.entries if self.reads else self.reader.manifest.files
        problems: dict[str, Problem] = {}
        for problem in (*self.pool.stream(self._check, entries.values()), self.damaged_table):
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
    """Read every skeleton of a shard once, and make no objects."""
    skeletons = Skeletons(contents, {}, manifest.most_heap)
    listings: dict[int, tuple[Any, machine.Names]] = {}
    checked: set[tuple[int, ...]] = set()  # checks of skeletons that several parts share
    checked_slots: set[int] = set()
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
        if (number, -1, id(part.names)) not in checked:
            listed_names = {manifest.names[name] for name in part.names}
            for name in listing.globals:
                if name not in listed_names:
                    raise CorruptShardError(
                        f"a skeleton names {'.'.join(name)}, which is not listed"
                    )
            checked.add((number, -1, id(part.names)))
        if (number, values, references) not in checked:
            for pid in listing.pids:
                pickler.check_pid(pid, values, references)
            checked.add((number, values, references))
        if part.slot not in checked_slots:
            checked_slots.add(part.slot)
            for spec, array in zip(
                contents.specs(part.slot), contents.pieces[part.slot], strict=True
            ):
                if spec.kind == "str":
                    spec.finish(array)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Result of a default load: the names it asks for, and what only ``unsafe=True`` loads."""

    needs_trust: tuple[str, ...] = ()
    needs_unsafe: str = ""


def try_default_load(reader: ModelReader, pool: Pool) -> Verdict:
    """Run a default load on trees without nodes, and drop what it makes.

    Imports only what is vetted, and runs only the code that a default load runs.
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


def find_needs(reader: ModelReader) -> tuple[tuple[str, ...], str]:
    """Find what a default load of a model refuses (`DumpReport`)."""
    with reader.explain(), Pool(1) as pool:
        verdict = try_default_load(reader, pool)
    return verdict.needs_trust, verdict.needs_unsafe


def _check_nodes(nodes: Array, head: Head) -> None:
    reason = checks.find_nodes_problem(nodes.view(NODE), head.features, head.depth)
    if reason:
        raise CorruptShardError(f"invalid tree: {reason}")


def _add_places(reader: ModelReader, problems: Sequence[Problem]) -> list[Problem]:
    """Add to each problem the estimators in its file. Reads each other shard once."""
    places = _Damage(reader, [problem.file for problem in problems]).find_places()
    return [replace(problem, estimators=tuple(places[problem.file])) for problem in problems]


class _Damage:
    """Finds the places in a model of what damaged files hold."""

    def __init__(self, reader: ModelReader, files: Collection[str]) -> None:
        self.reader = reader
        self.manifest = reader.manifest
        self.files = set(files)
        self._unreadable: set[str] = set()
        self.lost: dict[str, list[int]] = {file: [] for file in files}
        self.of_part: dict[int, list[str]] = {}  # the damaged files that a part needs
        for number, part in enumerate(self.manifest.parts):
            damaged = [file for file in self._needed_files(number, part) if file in self.files]
            for file in damaged:
                self.lost[file].append(number)
            if damaged:
                self.of_part[number] = damaged

    def _needed_files(self, number: int, part: PartEntry) -> Iterator[str]:
        """The files of a part and of its tables. Tables themselves have no place in the model."""
        if number in self.manifest.tables:
            return
        entry = self.manifest.shards[part.shard]
        yield entry.file
        if entry.table is not None:
            yield self.manifest.shards[self.manifest.parts[entry.table].shard].file

    def find_places(self) -> dict[str, list[str]]:
        """For each file, the places of its parts in parts that are not damaged."""
        places: dict[str, list[str]] = {file: [] for file in self.files}
        placed: dict[str, set[int]] = {file: set() for file in self.files}
        for number, part in enumerate(self.manifest.parts):
            if self.manifest.shards[part.shard].file in self.files:
                continue
            references: dict[str, set[int]] = {}  # references to what each file holds
            for position, (child, _) in enumerate(part.references):
                for file in self.of_part.get(child, ()):
                    references.setdefault(file, set()).add(position)
                    placed[file].add(child)
            paths = self._find_places(number) if references else None
            for file, positions in references.items():
                if paths is None:
                    places[file].append(f"{len(positions)} parts of {_class_name(part)}")
                else:
                    places[file] += [
                        f"{path} of {_class_name(part)}"
                        for place_of in paths
                        for path in outline.join_paths(
                            p for position, p in place_of.items() if position in positions
                        )
                    ]
        root = len(self.manifest.parts) - 1
        for file in self.files:
            below = Counter(
                _class_name(self.manifest.parts[number])
                for number in self.lost[file]
                if number not in placed[file]
            )
            places[file] += [
                f"{n} × {kind}, inside other damaged parts" for kind, n in below.items()
            ]
            if root in self.lost[file]:
                places[file] = [f"the {_class_name(self.manifest.parts[root])} itself"]
        return places

    def _find_places(self, number: int) -> list[dict[int, str]] | None:
        """Places of the references in each object of a part. None if the part is unreadable."""
        file = self.reader.entry_of(number).file
        if file in self._unreadable:
            return None
        try:
            self.reader.skeletons(self.reader.entry_of(number))
        except (FormatError, StorageError):
            self._unreadable.add(file)
            return None
        with suppress(FormatError):
            return [outline.find_places(obj) for obj in self.reader.outline(number)]
        return None


def _class_name(part: PartEntry) -> str:
    return part.kind.rpartition(".")[2]
