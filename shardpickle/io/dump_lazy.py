"""Dumps a lazy model: pickles what is in memory, leaves the rest in its shard files.

For `graph`, an estimator that is not in memory is a part whose content is known already.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from shardpickle import lazy
from shardpickle.format.entries import Manifest, PartEntry, ShardEntry
from shardpickle.io.reader import ModelReader
from shardpickle.lazy import materialize
from shardpickle.pickling import pickler
from shardpickle.pickling.pickler import Outside, Written
from shardpickle.sklearn_support import classes

MayCopy = Callable[[Manifest], bool]


@dataclass(frozen=True, slots=True)
class Stored:
    """The content of a part in a shard file.

    Attributes
    ----------
    reader : ModelReader
        The model of the part.
    nbytes : int
        Bytes of the part's skeleton and values.
    referred : tuple
        The objects that the part refers to.
    """

    reader: ModelReader
    number: int
    nbytes: int
    referred: tuple[Any, ...]
    stand_in: Any

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
        """Where it is stored. Equal parts have the same place."""
        return self.manifest.place(self.number)

    @property
    def nested(self) -> bool:
        """Whether it refers to unloaded parts: it has to be loaded with all parts below it."""
        return any(map(lazy.is_stand_in, self.referred))

    def pickle_part(self) -> Written:
        """Load and pickle the part."""
        numbers = {id(obj): number for number, obj in enumerate(self.referred)}
        return pickler.write([lazy.real(self.stand_in)], lambda obj: numbers.get(id(obj)))


def _find_files(manifest: Manifest, number: int, reached: set[tuple[int, int]]) -> set[str]:
    """SHA-256 of the shards of a part, and of the parts that it refers to.

    `reached` has the manifests (by identity) and parts that earlier calls have visited.
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
    """A part that is not in memory would be pickle_part together with others."""


class Unloaded:
    """The parts of a model that are not in memory, for `graph`.

    Parameters
    ----------
    model : object
        Any model, lazy or not.
    may_copy : callable
        Whether the shards of a manifest may be copied. Others are loaded.

    Attributes
    ----------
    model : object
        A copy with plain lists, and with stand-ins for what is not in memory.
    files : set of str
        SHA-256 of the shards that the given model may still read.
    """

    def __init__(self, model: Any, may_copy: MayCopy) -> None:
        self.stored: dict[int, Stored] = {}  # by the identity of the stand-in
        self.referred: dict[int, Any] = {}
        self.files: set[str] = set()
        stored_parts = [
            (stand_in, lazy.place(stand_in)[0].stored(stand_in))
            for stand_in in materialize.stand_ins(model)
        ]
        # A part that equals one in memory is loaded too: they are one in the file.
        loaded_places = {
            stored.place for stand_in, stored in stored_parts if lazy.present(stand_in) is not None
        }
        if any(stored.nested for _, stored in stored_parts):
            manifests = {id(stored.manifest): stored.manifest for _, stored in stored_parts}
            for manifest in manifests.values():
                uses = Counter(map(manifest.place, range(len(manifest.parts))))
                loaded_places |= {place for place, count in uses.items() if count > 1}
        reached: set[tuple[int, int]] = set()
        for stand_in, stored in stored_parts:
            self.files |= _find_files(stored.manifest, stored.number, reached)
            is_copied = stored.place not in loaded_places and may_copy(stored.manifest)
            if is_copied and not stored.nested:
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
