"""A lazy model as it is dumped: what is in memory is pickled, the rest stays in its shard files.

To `graph`, an estimator that is not in memory is a part whose content is known already.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from shardpickle import lazy
from shardpickle.format.manifest import Manifest, PartEntry, ShardEntry
from shardpickle.io.reader import ModelReader
from shardpickle.lazy import materialize
from shardpickle.pickling import pickler
from shardpickle.pickling.pickler import Outside, Written
from shardpickle.sklearn_support import classes

Wanted = Callable[[Manifest], bool]


@dataclass(frozen=True, slots=True)
class Stored:
    """The content of a part that is in a shard file.

    Attributes
    ----------
    reader : ModelReader
        The model that it is a part of.
    nbytes : int
        What the pickled part would have: the skeleton's bytes and those of its values.
    referred : tuple
        The objects that the part's references mean.
    """

    reader: ModelReader
    number: int
    nbytes: int
    referred: tuple[Any, ...]
    stood: Any

    @property
    def manifest(self) -> Manifest:
        return self.reader.manifest

    @property
    def values(self) -> tuple[()]:
        return ()

    @property
    def part(self) -> PartEntry:
        return self.manifest.parts[self.number]

    @property
    def shard(self) -> ShardEntry:
        return self.manifest.shards[self.part.shard]

    @property
    def place(self) -> tuple[str | int, ...]:
        """Where it is stored: what tells equal parts."""
        return self.manifest.place(self.number)

    @property
    def nested(self) -> bool:
        """Whether it refers to what is not loaded: it has to be loaded with all that is below."""
        return any(map(lazy.is_stand_in, self.referred))

    def written(self) -> Written:
        """The same, loaded and pickled."""
        numbers = {id(obj): number for number, obj in enumerate(self.referred)}
        return pickler.write([lazy.real(self.stood)], lambda obj: numbers.get(id(obj)))


def _files(manifest: Manifest, number: int, reached: set[tuple[int, int]]) -> set[str]:
    """SHA-256 of the shards that a part needs, with those of the parts that it refers to.

    `reached` has the manifests (by identity) and parts that were there before.
    """
    files: set[str] = set()
    todo = [number]
    while todo:
        part = manifest.parts[todo.pop()]
        shard = manifest.shards[part.shard]
        files.add(shard.sha256)
        if shard.table is not None:
            files.add(manifest.shards[manifest.parts[shard.table].shard].sha256)
        for other, _ in part.references:
            if (id(manifest), other) not in reached:
                reached.add((id(manifest), other))
                todo.append(other)
    return files


class EntangledError(Exception):
    """A part that is not in memory would have to be written together with others."""


class Unloaded:
    """What of a model is not in memory, for `graph`.

    Parameters
    ----------
    model : object
        Any model, lazy or not.
    wanted : callable
        Whether shards that a manifest describes may be copied. Others are loaded.

    Attributes
    ----------
    model : object
        A copy with plain lists, in which stand-ins are left for what is not in memory.
    files : set of str
        SHA-256 of the shards that the given model may still read.
    """

    def __init__(self, model: Any, wanted: Wanted) -> None:
        self.stored: dict[int, Stored] = {}  # by the identity of the stand-in
        self.referred: dict[int, Any] = {}
        self.files: set[str] = set()
        of_model = [
            (stand_in, lazy.place(stand_in)[0].stored(stand_in))
            for stand_in in materialize.stand_ins(model)
        ]
        # What equals a part in memory is loaded too: they are one in the file.
        here = {stored.place for stand_in, stored in of_model if lazy.present(stand_in) is not None}
        if any(stored.nested for _, stored in of_model):
            manifests = {id(stored.manifest): stored.manifest for _, stored in of_model}
            for manifest in manifests.values():
                uses = Counter(map(manifest.place, range(len(manifest.parts))))
                here |= {place for place, count in uses.items() if count > 1}
        reached: set[tuple[int, int]] = set()
        for stand_in, stored in of_model:
            self.files |= _files(stored.manifest, stored.number, reached)
            copied = stored.place not in here and wanted(stored.manifest)
            if copied and not stored.nested:
                self.stored[id(stand_in)] = stored
                self.referred.update((id(obj), obj) for obj in stored.referred)
        if any(map(materialize.is_lazy, self.referred.values())):
            self.stored.clear()
        self.model = materialize.copy_model(
            model,
            enter=lambda obj: None if id(obj) in self.stored else materialize.load_stand_in(obj),
            fixed=self.referred,
        )

    def is_boundary(self, obj: object) -> bool:
        """Whether an object is always a part of its own."""
        return id(obj) in self.referred or classes.is_estimator(obj)

    def write(self, objects: Sequence[object], outside: Outside) -> Written | Stored:
        """The content of a part."""
        stored = [self.stored[id(obj)] for obj in objects if id(obj) in self.stored]
        if not stored:
            return pickler.write(objects, outside)
        if len(objects) > 1:
            raise EntangledError
        for number, obj in enumerate(stored[0].referred):
            if outside(obj) != number:
                raise EntangledError
        return stored[0]
