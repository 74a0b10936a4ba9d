"""Loads part of a model: some estimators, or those that are not damaged.

Works on a lazy model, so it reads only the shards that it needs.
"""

from collections.abc import Mapping
from typing import Any

from shardpickle import lazy
from shardpickle._util.pool import Pool
from shardpickle._util.warn import warn_caller
from shardpickle.errors import CorruptModelError, DamagedModelWarning, StorageError
from shardpickle.format import shard as sealing
from shardpickle.format.shard import Advance
from shardpickle.io.load_lazy import Source
from shardpickle.lazy import materialize
from shardpickle.shrink import prune


def open_part(source: Source, estimators: slice | None) -> Any:
    """Open a lazy model with some of the estimators."""
    with source.reader.explain(), Pool(1) as pool:
        model, _ = source.open(pool, sealing.ignore)
    return model if estimators is None else cut_model(model, estimators)


def cut_model(model: Any, estimators: slice) -> Any:
    """Make a model of the same class with the estimators of a slice."""
    return prune.take_estimators(model, lambda count: range(count)[estimators])


def raw_bytes(source: Source, model: Any) -> int:
    """Raw bytes of the shards that `gather` would load."""
    return sum(source.manifest.raw_of[shard] for shard in _find_waiting(source, model))


def gather(source: Source, model: Any, pool: Pool, advance: Advance) -> Any:
    """Load a lazy model completely, without damaged estimators if the source skips them."""
    waiting = _find_waiting(source, model)

    def read(shard: int) -> tuple[int, Mapping[int, tuple[Any, int]]]:
        with source.note_damage(source.parts_of[shard]):
            return shard, source.fetch(shard, ahead=True)
        return shard, {}

    for shard, estimators in pool.stream(read, list(waiting)):
        advance(source.manifest.raw_of[shard])
        for stand_in in waiting[shard]:
            _, number = lazy.place(stand_in)
            if number in estimators:
                lazy.keep(stand_in, estimators[number][0])
    return materialize.copy_whole(_drop_damaged(source, model) if source.lost else model)


def _find_waiting(source: Source, model: Any) -> dict[int, list[Any]]:
    """Find the stand-ins whose parts have to be loaded, by shard."""
    waiting: dict[int, list[Any]] = {}
    for stand_in in materialize.stand_ins(model):
        shelf, number = lazy.place(stand_in)
        if lazy.kept(stand_in) is None and number not in source.lost:
            waiting.setdefault(shelf.home[number], []).append(stand_in)
    return waiting


def _drop_damaged(source: Source, model: Any) -> Any:
    def error_of(obj: Any) -> CorruptModelError | StorageError | None:
        is_missing = lazy.is_stand_in(obj) and lazy.kept(obj) is None
        return source.lost.get(lazy.place(obj)[1]) if is_missing else None

    first = next(iter(source.lost.values()))
    try:
        smaller, lost, count = prune.drop_lost(model, lambda obj: error_of(obj) is not None)
    except (TypeError, ValueError) as error:
        first.add_note(f"skip_damaged cannot help: {error}")
        raise first from None
    for stand_in in materialize.stand_ins(smaller):
        damage = error_of(stand_in)
        if damage is not None:
            raise damage
    reasons = sorted({str(error) for error in source.lost.values()})
    warn_caller(
        f"{source.reader.name} is damaged: {lost} of {count} estimators are lost "
        f"({'; '.join(reasons)}). The loaded model averages the other {count - lost}.",
        DamagedModelWarning,
    )
    return smaller
