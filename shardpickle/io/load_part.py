"""Part of a model, loaded for good: some estimators, or those that are not damaged.

Works on a lazy model, so only the shards that are needed are read.
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
    """A lazy model, of some estimators."""
    with source.reader.explain(), Pool(1) as pool:
        model, _ = source.open(pool, sealing.ignore)
    return model if estimators is None else cut(model, estimators)


def cut(model: Any, estimators: slice) -> Any:
    """A model of the same class with the estimators of a slice."""
    return prune.taken(model, lambda count: range(count)[estimators])


def raw(source: Source, model: Any) -> int:
    """Raw bytes of the shards that `gather` would load."""
    return sum(source.manifest.raw_of[shard] for shard in _waiting(source, model))


def gather(source: Source, model: Any, pool: Pool, advance: Advance) -> Any:
    """A lazy model as a whole one, without what is damaged if the source skips that."""
    waiting = _waiting(source, model)

    def read(shard: int) -> tuple[int, Mapping[int, tuple[Any, int]]]:
        with source.tolerating(source.parts_of[shard]):
            return shard, source.fetch(shard, ahead=True)
        return shard, {}

    for shard, made in pool.stream(read, list(waiting)):
        advance(source.manifest.raw_of[shard])
        for stood in waiting[shard]:
            _, number = lazy.place(stood)
            if number in made:
                lazy.keep(stood, made[number][0])
    return materialize.copy_whole(_undamaged(source, model) if source.lost else model)


def _waiting(source: Source, model: Any) -> dict[int, list[Any]]:
    """The stand-ins whose parts have to be loaded, by shard."""
    waiting: dict[int, list[Any]] = {}
    for stood in materialize.stand_ins(model):
        shelf, number = lazy.place(stood)
        if lazy.kept(stood) is None and number not in source.lost:
            waiting.setdefault(shelf.home[number], []).append(stood)
    return waiting


def _undamaged(source: Source, model: Any) -> Any:
    def error_of(obj: Any) -> CorruptModelError | StorageError | None:
        gone = lazy.is_stand_in(obj) and lazy.kept(obj) is None
        return source.lost.get(lazy.place(obj)[1]) if gone else None

    first = next(iter(source.lost.values()))
    try:
        smaller, lost, count = prune.without(model, lambda obj: error_of(obj) is not None)
    except (TypeError, ValueError) as error:
        first.add_note(f"skip_damaged cannot help: {error}")
        raise first from None
    for stood in materialize.stand_ins(smaller):
        missing = error_of(stood)
        if missing is not None:
            raise missing
    reasons = sorted({str(error) for error in source.lost.values()})
    warn_caller(
        f"{source.reader.name} is damaged: {lost} of {count} estimators are lost "
        f"({'; '.join(reasons)}). What is loaded averages the other {count - lost}.",
        DamagedModelWarning,
    )
    return smaller
