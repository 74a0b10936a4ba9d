"""Loads a lazy model from its shards.

Trees are deferred, and other estimators that fill shards of their own. The rest is loaded.
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
from shardpickle.format.entries import Manifest
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
    """Where a lazy model comes from, and how to make its parts.

    Parameters
    ----------
    threads : int
        Threads of a load in the foreground.
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
        self.kinds = _find_deferred(manifest, rebuilder)
        self.conditions: dict[int, list[Check]] = {}  # what ensembles require of each estimator
        self.made: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        self.most_jobs: int | None = None
        self.skip_damaged = False
        self.lost: dict[int, CorruptModelError | StorageError] = {}  # damaged parts
        deferred: dict[int, list[int]] = {}
        for number in self.kinds:
            deferred.setdefault(manifest.parts[number].shard, []).append(number)
        self.parts_of = deferred
        places = [part.shard for part in manifest.parts]
        self._eager = [number for number in reader.made_parts if number not in self.kinds]
        self._opened = {places[number] for number in self._eager}
        self.heap = sum(manifest.shards[shard].heap or 0 for shard in self._opened)
        self.resident = self._raw_bytes(self._opened | {places[table] for table in manifest.tables})
        self.deferred = Deferred(
            costs={shard: self._shard_cost(shard) for shard in deferred},
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
        """Load the model without its deferred parts, and the shelf that will hold these."""
        shelf = Shelf(self.deferred, self.fetch, self.describe_stored, self.reference)
        self.objects.shelf = weakref.ref(
            shelf
        )  # a weak reference, so the model does not keep itself alive
        CACHE.account(shelf, self.resident)
        self.reader.tables(pool)
        beside = [number for shard in self._opened for number in self.parts_of.get(shard, ())]
        estimators: dict[int, Any] = {}
        loader = self._make_loader(estimators)
        for number, members in loader.build(sorted([*self._eager, *beside]), pool, advance):
            if number in self.kinds:
                estimators[number] = members[0]
            else:
                self.objects[number] = (lazy.relisted(members[0], {}), *members[1:])
        self._check(loader, estimators)
        for shard in sorted(self._opened & set(self.parts_of)):
            CACHE.offer(
                shelf,
                shard,
                self._add_sizes(
                    loader, {number: estimators[number] for number in self.parts_of[shard]}
                ),
            )
        model = self.objects[self.reader.root][0]
        parts = self.manifest.parts
        referred = {other for number in self.kinds for other, _ in parts[number].references}
        for number in self.objects.keys() - referred:
            del self.objects[number]
        return model, shelf

    def fetch(self, shard: int, ahead: bool, only: int | None = None) -> dict[int, tuple[Any, int]]:
        """Load the deferred parts of a shard, or one of them, with the bytes of each."""
        entry = self.manifest.shards[shard]
        threads = 1 if ahead else threads_for(entry.raw, self.threads)
        numbers = self.parts_of[shard] if only is None else [only]
        estimators: dict[int, Any] = {}
        loader = self._make_loader(estimators)
        with self.reader.expect_same(), self.reader.explain(), Pool(threads) as pool:
            for number, members in loader.build(numbers, pool, sealing.ignore):
                estimators[number] = members[0]
            self._check(loader, estimators)
        return self._add_sizes(loader, estimators)

    def describe_stored(self, stand_in: Any) -> Stored:
        """Describe a part, so that a dump can copy it without loading it."""
        _, number = lazy.place(stand_in)
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
            stand_in=stand_in,
        )

    def _add_sizes(
        self, loader: Loader, estimators: Mapping[int, Any]
    ) -> dict[int, tuple[Any, int]]:
        weighed: dict[int, tuple[Any, int]] = {}
        for number, estimator in estimators.items():
            part = self.manifest.parts[number]
            weighed[number] = estimator, loader.parts.nbytes[part.shard][part.slot]
        return weighed

    def _make_loader(self, estimators: Mapping[int, Any]) -> Loader:
        """Make a loader that puts stand-ins into states. It makes `estimators` itself."""
        lists: dict[int, tuple[Any, Any]] = {}

        def adapt(instance: Any, state: Any) -> Any:
            state = migrations.state(instance, state)
            slotted = type(state) is tuple and len(state) == 2  # attributes, and those in slots
            for attributes in state if slotted else (state,):
                if type(attributes) is dict:
                    for name, value in attributes.items():
                        attributes[name] = lazy.relisted(self._settle(value, estimators), lists)
            if type(state) is dict and self.most_jobs is not None:
                _lower_jobs(state, self.most_jobs)
            return state

        rebuilder = self.rebuilder.again(adapt)
        return Loader(self.reader, rebuilder, self.objects)

    def _settle(self, value: Any, estimators: Mapping[int, Any]) -> Any:
        """Put real estimators into an attribute where scikit-learn asks for their types.

        These are estimators that are attributes themselves, and those that have been made anyway in
        a list of tuples (a pipeline's steps).
        """
        if lazy.is_stand_in(value):
            _, number = lazy.place(value)
            loaded = lazy.present(value)  # prefer the loaded one: another is a copy
            with self.note_damage([number]):
                return lazy.keep(value, estimators.get(number) if loaded is None else loaded)
        elif type(value) is list and value and type(value[0]) is tuple:
            value[:] = [
                self._settle_items(item, estimators) if type(item) is tuple else item
                for item in value
            ]
        return value

    def _settle_items(
        self, items: tuple[Any, ...], estimators: Mapping[int, Any]
    ) -> tuple[Any, ...]:
        is_loaded = [lazy.is_stand_in(item) and lazy.place(item)[1] in estimators for item in items]
        if not any(is_loaded):
            return items
        return tuple(
            self._settle(item, estimators) if loaded else item
            for item, loaded in zip(items, is_loaded, strict=True)
        )

    def _check(self, loader: Loader, estimators: Mapping[int, Any]) -> None:
        """Check new estimators, and what ensembles require of them."""
        for number, estimator in estimators.items():
            kind = self.kinds[number]
            if type(estimator) is not kind:
                raise CorruptShardError(f"part {number} is not a {kind.__qualname__}")

        # An estimator is put into `self.made` before its check, and a condition into
        # `self.conditions` before the search for its estimator. So one of two threads sees both.
        due: list[tuple[int, Any, Check]] = []

        def later(stand_in: Any, check: Check) -> None:
            _, number = lazy.place(stand_in)
            self.conditions.setdefault(number, []).append(check)
            estimator = self.made.get(number)
            if estimator is not None:
                due.append((number, estimator, check))

        self.made.update(estimators)
        loader.check(later)
        due += [
            (number, estimator, check)
            for number, estimator in estimators.items()
            for check in self.conditions.get(number, ())
        ]
        with checks.share_run():
            for number, estimator, check in due:
                problem = checks.find_problem(estimator, [check])
                if problem:
                    raise locate(self.reader, refused(problem.text), number)

    @contextmanager
    def note_damage(self, numbers: Collection[int]) -> Iterator[None]:
        """Note damaged parts instead of raising, if damage is skipped."""
        try:
            yield
        except (CorruptModelError, StorageError) as error:
            if not self.skip_damaged:
                raise
            self.lost.update(dict.fromkeys(numbers, error))

    def keep_within(self, limit: int | None) -> None:
        """Set the memory limit of the process. None keeps the present one.

        Raises
        ------
        MemoryLimitError
            If the limit is less than the model's minimum.
        """
        least = self.deferred.least()
        given, limit = limit, CACHE.limit if limit is None else limit
        if limit is None:
            return
        if limit < least:
            raise MemoryLimitError(self.reader.name, limit, least)
        if given is not None:
            CACHE.set_limit(limit)
        largest = max(
            (self._raw_bytes([shard]) // len(parts) for shard, parts in self.parts_of.items()),
            default=0,
        )
        self.most_jobs = max(1, (limit - least) // (_TREES_PER_JOB * max(1, largest)))

    def _shard_cost(self, shard: int) -> int:
        return self._raw_bytes([shard]) + len(self.parts_of[shard]) * lazy.OBJECT_BYTES

    def _raw_bytes(self, shards: Collection[int]) -> int:
        return sum(self.manifest.raw_of[shard] for shard in shards)


_TREES_PER_JOB = 4  # joblib dispatches two tasks a thread ahead of those that run


class _Objects(dict[int, tuple[Any, ...]]):
    """The objects of loaded parts, and stand-ins for the others."""

    shelf: weakref.ref[Shelf]

    def __missing__(self, number: int) -> tuple[Any, ...]:
        shelf = self.shelf()
        if shelf is None:
            raise KeyError(number)
        return (lazy.stand_in(shelf, number),)


def _find_deferred(manifest: Manifest, rebuilder: Rebuilder) -> dict[int, type]:
    """Find the parts to defer, and their classes: those in lists of estimators of other parts."""
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
    if "n_jobs" in state and any(isinstance(value, lazy.LazyList) for value in state.values()):
        n_jobs = joblib.effective_n_jobs(state["n_jobs"])
        if n_jobs > most:
            warn_caller(
                f"n_jobs is {most} instead of {n_jobs}: each thread holds estimators, and more "
                "threads would exceed the memory limit",
                MemoryLimitWarning,
            )
            state["n_jobs"] = most
