"""Checks a model's files, and says which estimators a damaged one holds. Wires rooms for `api`.

Unpickles and imports nothing.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from shardpickle import outline, sealing
from shardpickle.codecs.trees import Tables
from shardpickle.errors import CorruptModelError, FormatError, StorageError
from shardpickle.loading import (
    check_skeletons,
    checked_manifest,
    in_file,
    open_shard,
    parsed_manifest,
    read_tables,
)
from shardpickle.manifest import Manifest, PartEntry
from shardpickle.nursery import Passing
from shardpickle.rebuilding import Skeletons
from shardpickle.reports import Problem, VerifyReport
from shardpickle.stores import Store
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
    stored = found.stored + len(data)
    problems = located(store, found, problems) if problems else problems
    return VerifyReport(store.name, deep, len(found.shards), stored, tuple(problems))


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
