"""Checks a model's files, and says which estimators a damaged one holds. Wires rooms for `api`.

Unpickles and imports nothing.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from shardpickle import natives, outline, sealing
from shardpickle.codecs.streams import NODE
from shardpickle.codecs.trees import Head, Tables
from shardpickle.contents import Contents
from shardpickle.errors import (
    CorruptModelError,
    CorruptShardError,
    FormatError,
    ModelTooLargeError,
    StorageError,
)
from shardpickle.loading import (
    PartReader,
    check_skeletons,
    checked_manifest,
    explained,
    in_file,
    open_shard,
    parsed_manifest,
    read_tables,
)
from shardpickle.manifest import Manifest, PartEntry
from shardpickle.nursery import Hollow, Passing
from shardpickle.rebuilding import Skeletons
from shardpickle.rehearsal import Rehearsal
from shardpickle.reports import Problem, VerifyReport
from shardpickle.stores import Store
from shardpickle.values import Array
from shardpickle.workers import Pool


def verified(store: Store, data: bytes, deep: bool, threads: int) -> VerifyReport:
    """Check the files of a model."""
    try:
        found = parsed_manifest(checked_manifest(store, data))
    except CorruptModelError as error:
        damage = Problem("manifest.json", error.reason)
        return VerifyReport(store.name, deep, 0, len(data), (damage,))
    by_shard: dict[int, list[PartEntry]] = {}
    for part in found.parts:
        by_shard.setdefault(part.shard, []).append(part)
    with Pool(threads) as pool:
        tables, problem = _verified_tables(store, found, pool) if deep else ({}, None)

        def check(number: int) -> Problem | None:
            entry = found.shards[number]
            try:
                held = open_shard(
                    store,
                    entry,
                    pool,
                    sealing.ignore,
                    nursery=(lambda _: Passing()) if deep and not problem else None,
                    tables=tables.get(entry.table),
                    together=True,
                )
                if deep and not problem:
                    with in_file(entry.file):
                        mine = by_shard.get(number, [])
                        check_skeletons(held, mine, found.names, found.most_heap)
            except (FormatError, StorageError) as error:
                return Problem(entry.file, getattr(error, "reason", str(error)))
            return None

        problems = [each for each in pool.stream(check, range(len(found.shards))) if each]
        if problem and problem.file not in {each.file for each in problems}:
            problems.append(problem)
        verdict = Verdict()
        if deep and not problems:
            try:
                with explained(store, found):
                    verdict = default_load(store, found, tables, pool)
            except ModelTooLargeError as error:
                verdict = Verdict((), f"more memory than this process may use: {error.needed}")
            except (FormatError, StorageError) as error:
                file = getattr(error, "file", None) or "manifest.json"
                problems.append(Problem(file, getattr(error, "reason", str(error))))
    stored = found.stored + len(data)
    problems = located(store, found, problems) if problems else problems
    return VerifyReport(
        store.name,
        deep,
        len(found.shards),
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
    rehearsal = Rehearsal(references, most=found.most_heap, hollow=True)
    numbers = [number for number in range(len(found.parts)) if number not in found.tables]

    def hollow(held: Contents) -> Hollow:
        return Hollow(held, _check_nodes)

    reader = PartReader(store, found, tables, found.most_heap, hollow)
    for number, skeletons, values in reader.parts(numbers, pool, sealing.ignore):
        rehearsal.part(number, skeletons.steps(found.parts[number].slot), values)
    refusal = rehearsal.refusal
    unsafe = ""
    if refusal is not None:
        unsafe = (reader.told(refusal, refusal.part) if refusal.part is not None else refusal).short
    names = rehearsal.needs_trust
    if refusal is not None and not names and refusal.part is not None:
        names = (found.parts[refusal.part].kind,)
    return Verdict(names, unsafe)


def needs(store: Store, data: bytes) -> tuple[tuple[str, ...], str]:
    """What a default load of a model refuses (`reports.DumpReport`)."""
    found = parsed_manifest(data)
    with explained(store, found), Pool(1) as pool:
        verdict = default_load(store, found, read_tables(store, found, pool), pool)
    return verdict.needs_trust, verdict.needs_unsafe


def _check_nodes(nodes: Array, head: Head) -> None:
    reason = natives.nodes_problem(nodes.view(NODE), head.features, head.depth)
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
    """The problems, with the estimators that each file holds."""
    damaged = {number for number, entry in enumerate(found.shards) if _told(entry.file, problems)}
    lost = [number for number, part in enumerate(found.parts) if part.shard in damaged]
    sharing = {
        number
        for number, part in enumerate(found.parts)
        if found.shards[part.shard].table in set(lost)
    }
    told = []
    for problem in problems:
        (shard,) = [n for n, entry in enumerate(found.shards) if entry.file == problem.file] or [-1]
        mine = {number for number in lost if found.parts[number].shard == shard}
        if mine & found.tables:
            mine = {n for n in sharing if found.shards[found.parts[n].shard].table in mine}
        told.append(replace(problem, estimators=tuple(_places(store, found, mine, damaged))))
    return told


def _told(file: str, problems: Sequence[Problem]) -> bool:
    return any(problem.file == file for problem in problems)


def _places(store: Store, found: Manifest, mine: set[int], damaged: set[int]) -> Iterator[str]:
    """Where parts stand in the model."""
    if len(found.parts) - 1 in mine:
        yield f"the {_kind(found.parts[-1])} itself"
        return
    placed: set[int] = set()
    for number, part in enumerate(found.parts):
        wanted = {at for at, (other, _) in enumerate(part.references) if other in mine}
        if not wanted or part.shard in damaged:
            continue
        placed |= {part.references[at][0] for at in wanted}
        try:
            made = _outlines(store, found, number)
        except (FormatError, StorageError):
            yield f"{len(wanted)} parts of {_kind(part)}"
            continue
        for each in made:
            found_at = [path for at, path in outline.places(each).items() if at in wanted]
            for path in outline.joined(found_at):
                yield f"{path} of {_kind(part)}"
    rest = Counter(_kind(found.parts[number]) for number in sorted(mine - placed))
    for kind, count in rest.items():
        yield f"{count} × {kind}, below what is damaged too"


def _outlines(store: Store, found: Manifest, number: int) -> Sequence[object]:
    part = found.parts[number]
    entry = found.shards[part.shard]
    with Pool(1) as pool:
        held = open_shard(
            store, entry, pool, sealing.ignore, nursery=lambda _: Passing(), together=True
        )
    with in_file(entry.file):
        return outline.members(Skeletons(held, {}, found.most_heap).steps(part.slot))


def _kind(part: PartEntry) -> str:
    return part.kind.rpartition(".")[2]
