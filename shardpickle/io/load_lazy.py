"""From a model's shards to a lazy model.

Trees are deferred, and so are other estimators that fill shards of their own; everything else is
loaded.
"""

import weakref
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import joblib

from shardpickle import lazy
from shardpickle._util.pool import Pool, threads_for
from shardpickle._util.warn import warn_caller
from shardpickle.errors import (
    CorruptModelError,
    CorruptShardError,
    MemoryLimitError,
    MemoryLimitWarning,
    StorageError,
)
from shardpickle.format import shard as sealing
from shardpickle.format.manifest import Manifest
from shardpickle.format.shard import Advance
from shardpickle.io.dump_lazy import Stored
from shardpickle.io.load import Loader, locate
from shardpickle.io.reader import ModelReader
from shardpickle.io.rebuild import Rebuilder
from shardpickle.lazy import CACHE, Deferred, Shelf
from shardpickle.sklearn_support import classes, migrations
from shardpickle.trust import checks
from shardpickle.trust.checks import Check
from shardpickle.trust.rules import refused


class Source:
    """Where a lazy model comes from, and how its parts are made.

    Parameters
    ----------
    threads : int
        For a load in the foreground.
    reference : tuple
        What pickle stores for the model's shelf.
    """

    def __init__(
        self,
        reader: ModelReader,
        rebuilder: Rebuilder,
        threads: int,
        reference: tuple[Callable[..., Shelf], tuple[Any, ...]],
    ) -> None:
        self.reader = reader
        manifest = self.manifest = reader.manifest
        self.rebuilder = rebuilder
        self.threads = threads
        self.kinds = _deferred(manifest, rebuilder)
        self.conditions: dict[int, list[Check]] = {}  # what ensembles ask of each estimator
        self.made: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        self.most_jobs: int | None = None
        self.skip_damaged = False
        self.lost: dict[int, CorruptModelError | StorageError] = {}  # parts that are damaged
        deferred: dict[int, list[int]] = {}
        for number in self.kinds:
            deferred.setdefault(manifest.parts[number].shard, []).append(number)
        self.parts_of = deferred
        places = [part.shard for part in manifest.parts]
        self._eager = [number for number in reader.made_parts if number not in self.kinds]
        self._opened = {places[number] for number in self._eager}
        self.heap = sum(manifest.shards[shard].heap or 0 for shard in self._opened)
        self.resident = self._raw(self._opened | {places[table] for table in manifest.tables})
        self.deferred = Deferred(
            costs={shard: self._cost(shard) for shard in deferred},
            parts=deferred,
            kinds=self.kinds,
            inner={
                number: [
                    other for other, _ in manifest.parts[number].references if other in self.kinds
                ]
                for number in self.kinds
            },
            resident=self.resident,
        )
        self.reference = reference
        self._sizes: dict[int, list[int]] = {}  # of the parts of a shard
        self.objects = _Objects()

    def open(self, pool: Pool, advance: Advance) -> tuple[Any, Shelf]:
        """The model, with what is deferred left out, and the shelf where it will be."""
        shelf = Shelf(self.deferred, self.fetch, self.stored, self.reference)
        self.objects.shelf = weakref.ref(shelf)  # what a model holds must not hold the model
        CACHE.account(shelf, self.resident)
        self.reader.tables(pool)
        beside = [number for shard in self._opened for number in self.parts_of.get(shard, ())]
        made: dict[int, Any] = {}
        loader = self._loader(made)
        for number, members in loader.build(sorted([*self._eager, *beside]), pool, advance):
            if number in self.kinds:
                made[number] = members[0]
            else:
                self.objects[number] = (lazy.relisted(members[0], {}), *members[1:])
        self._check(loader, made)
        for shard in sorted(self._opened & set(self.parts_of)):
            CACHE.offer(
                shelf,
                shard,
                self._weighed(loader, {number: made[number] for number in self.parts_of[shard]}),
            )
        model = self.objects[self.reader.root][0]
        parts = self.manifest.parts
        needed = {other for number in self.kinds for other, _ in parts[number].references}
        for number in self.objects.keys() - needed:
            del self.objects[number]
        return model, shelf

    def fetch(self, shard: int, ahead: bool, only: int | None = None) -> dict[int, tuple[Any, int]]:
        """The deferred parts of a shard, or one of them, and the bytes of each."""
        entry = self.manifest.shards[shard]
        threads = 1 if ahead else threads_for(entry.raw, self.threads)
        numbers = self.parts_of[shard] if only is None else [only]
        made: dict[int, Any] = {}
        loader = self._loader(made)
        with self.reader.expect_same(), self.reader.explain(), Pool(threads) as pool:
            for number, members in loader.build(numbers, pool, sealing.ignore):
                made[number] = members[0]
            self._check(loader, made)
        return self._weighed(loader, made)

    def stored(self, stood: Any) -> Stored:
        """What a dump needs to copy a part without loading it."""
        _, number = lazy.place(stood)
        part = self.manifest.parts[number]
        if part.shard not in self._sizes:
            entry = self.manifest.shards[part.shard]
            with self.reader.expect_same(), Pool(1) as pool:
                contents = self.reader.shard(entry, pool, grow=None, together=True)
            self._sizes[part.shard] = contents.part_sizes()
        return Stored(
            reader=self.reader,
            number=number,
            nbytes=self._sizes[part.shard][part.slot],
            referred=tuple(self.objects[other][index] for other, index in part.references),
            stood=stood,
        )

    def _weighed(self, loader: Loader, made: Mapping[int, Any]) -> dict[int, tuple[Any, int]]:
        found: dict[int, tuple[Any, int]] = {}
        for number, estimator in made.items():
            part = self.manifest.parts[number]
            found[number] = estimator, loader.parts.nbytes[part.shard][part.slot]
        return found

    def _loader(self, made: Mapping[int, Any]) -> Loader:
        """One that puts what is deferred into states; `made` is what it makes of that itself."""
        lists: dict[int, tuple[Any, Any]] = {}

        def adapt(instance: Any, state: Any) -> Any:
            state = migrations.state(instance, state)
            slotted = type(state) is tuple and len(state) == 2  # attributes, and those in slots
            for each in state if slotted else (state,):
                if type(each) is dict:
                    for name, value in each.items():
                        each[name] = lazy.relisted(self._settled(value, made), lists)
            if type(state) is dict and self.most_jobs is not None:
                _lower_jobs(state, self.most_jobs)
            return state

        rebuilder = self.rebuilder.again(adapt)
        return Loader(self.reader, rebuilder, self.objects)

    def _settled(self, value: Any, made: Mapping[int, Any]) -> Any:
        """An attribute's value, with real estimators where scikit-learn asks for their types.

        That is, for what is an attribute by itself, and for what has been made anyway in a list of
        tuples (a pipeline's steps).
        """
        if lazy.is_stand_in(value):
            _, number = lazy.place(value)
            here = lazy.present(value)  # what is there already is the one; another is a copy
            with self.tolerating([number]):
                return lazy.keep(value, made.get(number) if here is None else here)
        elif type(value) is list and value and type(value[0]) is tuple:
            value[:] = [
                self._settled_in(each, made) if type(each) is tuple else each for each in value
            ]
        return value

    def _settled_in(self, items: tuple[Any, ...], made: Mapping[int, Any]) -> tuple[Any, ...]:
        here = [lazy.is_stand_in(item) and lazy.place(item)[1] in made for item in items]
        if not any(here):
            return items
        return tuple(
            self._settled(item, made) if known else item
            for item, known in zip(items, here, strict=True)
        )

    def _check(self, loader: Loader, made: Mapping[int, Any]) -> None:
        """Check what has been made, and what ensembles ask of it."""
        for number, estimator in made.items():
            kind = self.kinds[number]
            if type(estimator) is not kind:
                raise CorruptShardError(f"part {number} is no {kind.__qualname__}")

        # An estimator is put into `made` before it is checked, and a condition among the others
        # before an estimator is looked for: so they meet, whichever thread comes first.
        asked: list[tuple[int, Any, Check]] = []

        def later(stood: Any, check: Check) -> None:
            _, number = lazy.place(stood)
            self.conditions.setdefault(number, []).append(check)
            estimator = self.made.get(number)
            if estimator is not None:
                asked.append((number, estimator, check))

        self.made.update(made)
        loader.check(later)
        asked += [
            (number, estimator, check)
            for number, estimator in made.items()
            for check in self.conditions.get(number, ())
        ]
        with checks.share_run():
            for number, estimator, check in asked:
                problem = checks.find_problem(estimator, [check])
                if problem:
                    raise locate(self.reader, refused(problem.text), number)

    @contextmanager
    def tolerating(self, numbers: Collection[int]) -> Iterator[None]:
        """Notes the parts that are damaged, if damage is to be skipped."""
        try:
            yield
        except (CorruptModelError, StorageError) as error:
            if not self.skip_damaged:
                raise
            self.lost.update(dict.fromkeys(numbers, error))

    def keep_within(self, limit: int | None) -> None:
        """Set the limit for the process; without one, the present one is kept.

        Raises
        ------
        MemoryLimitError
            If the limit is less than what the model needs at least.
        """
        least = self.deferred.least()
        asked, limit = limit, CACHE.limit if limit is None else limit
        if limit is None:
            return
        if limit < least:
            raise MemoryLimitError(self.reader.name, limit, least)
        if asked is not None:
            CACHE.set_limit(limit)
        one = max(
            (self._raw([shard]) // len(parts) for shard, parts in self.parts_of.items()), default=0
        )
        self.most_jobs = max(1, (limit - least) // (_TREES_PER_JOB * max(1, one)))

    def _cost(self, shard: int) -> int:
        return self._raw([shard]) + len(self.parts_of[shard]) * lazy.OBJECT_BYTES

    def _raw(self, shards: Collection[int]) -> int:
        return sum(self.manifest.raw_of[shard] for shard in shards)


_TREES_PER_JOB = 4  # joblib dispatches two tasks a thread ahead of those that run


class _Objects(dict[int, tuple[Any, ...]]):
    """The objects of parts that are loaded; of others their stand-ins."""

    shelf: weakref.ref[Shelf]

    def __missing__(self, number: int) -> tuple[Any, ...]:
        shelf = self.shelf()
        if shelf is None:
            raise KeyError(number)
        return (lazy.stand_in(shelf, number),)


def _deferred(manifest: Manifest, rebuilder: Rebuilder) -> dict[int, type]:
    """The parts to defer, and their classes: what other parts may hold in a list of estimators."""
    kinds_of: dict[int, set[str]] = {}
    for part in manifest.parts:
        kinds_of.setdefault(part.shard, set()).add(part.kind)
    targets: dict[tuple[str, int], Any] = {}
    chosen: dict[int, type] = {}
    for number, part in enumerate(manifest.parts[:-1]):
        if part.objects != 1 or number in manifest.tables:
            continue
        key = part.kind, id(part.names)  # like parts share a list of names
        if key not in targets:
            targets[key] = rebuilder.target(part)
        kind = targets[key]
        if classes.is_tree_class(kind) or (
            classes.is_estimator_class(kind) and len(kinds_of[part.shard]) == 1
        ):
            chosen[number] = kind
    return chosen


def _lower_jobs(state: dict[str, Any], most: int) -> None:
    if "n_jobs" in state and any(isinstance(each, lazy.LazyList) for each in state.values()):
        asked = joblib.effective_n_jobs(state["n_jobs"])
        if asked > most:
            warn_caller(
                f"n_jobs is {most} instead of {asked}: each thread holds estimators, and more "
                "would not stay within the memory limit",
                MemoryLimitWarning,
            )
            state["n_jobs"] = most
