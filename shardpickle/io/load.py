"""Loads a model from its shards."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from shardpickle._util import versions
from shardpickle._util.pool import Pool
from shardpickle.errors import FormatError, RebuildError, RefusedError, StorageError
from shardpickle.format import tree_memory
from shardpickle.format.columns import TreeMemory
from shardpickle.format.contents import Contents
from shardpickle.format.entries import PartEntry
from shardpickle.format.shard import Advance
from shardpickle.io.reader import Growing, ModelReader, in_file
from shardpickle.io.rebuild import Rebuilder, Skeletons, check_members
from shardpickle.pickling import machine, places
from shardpickle.sklearn_support import classes
from shardpickle.trust.checks import Later

Objects = dict[int, tuple[Any, ...]]  # of each part


def load_whole(reader: ModelReader, rebuilder: Rebuilder, pool: Pool, advance: Advance) -> Any:
    """Load the whole model."""
    objects: Objects = {}
    reader.tables(pool)
    loader = Loader(reader, rebuilder, objects)
    for number, members in loader.build(reader.made_parts, pool, advance):
        objects[number] = members
    loader.check()
    return objects[reader.root][0]


class PartReader:
    """Reads skeletons and values of parts from their shards. Makes no objects.

    Parameters
    ----------
    reader : ModelReader
        A reader that has read its tables.
    most : int or None
        Most bytes of Python objects that a skeleton may make.
    grow : callable
        Gives the memory for the trees of a shard.
    """

    def __init__(self, reader: ModelReader, most: int | None, grow: Growing) -> None:
        self.reader = reader
        self.manifest = reader.manifest
        self.most = most
        self.grow = grow
        self.texts: dict[bytes, str] = {}
        self.uses: Counter[tuple[int, int]] = Counter()
        self.ready: dict[int, tuple[Contents, Skeletons]] = {}
        self.nbytes: dict[int, list[int]] = {}  # of a shard's parts

    def parts(
        self, numbers: Sequence[int], pool: Pool, advance: Advance
    ) -> Iterator[tuple[int, Skeletons, list[Any]]]:
        """Read parts in ascending order. Yields number, skeletons of its shard, values."""
        parts = [self.manifest.parts[number] for number in numbers]
        self.uses = Counter((part.shard, part.slot) for part in parts)
        parts_left = Counter(part.shard for part in parts)

        def read(shard: int) -> tuple[int, Contents]:
            return shard, self._read(shard, pool, advance)

        shards = pool.stream(read, list(parts_left))
        for number, part in zip(numbers, parts, strict=True):
            while part.shard not in self.ready:
                shard, contents = next(shards)
                with in_file(self.manifest.shards[shard].file):
                    self.ready[shard] = contents, Skeletons(contents, self.texts, self.most)
            contents, skeletons = self.ready[part.shard]
            with in_file(self.reader.entry_of(number).file):
                values = self._values(part, contents)
            yield number, skeletons, values
            parts_left[part.shard] -= 1
            if not parts_left[part.shard]:
                del self.ready[part.shard]

    def _read(self, shard: int, pool: Pool, advance: Advance) -> Contents:
        def grow(contents: Contents) -> TreeMemory:
            self.nbytes[shard] = contents.part_sizes()
            return self.grow(contents)

        return self.reader.shard(self.manifest.shards[shard], pool, advance, grow=grow)

    def _values(self, part: PartEntry, contents: Contents) -> list[Any]:
        place = (part.shard, part.slot)
        self.uses[place] -= 1
        pieces, specs = contents.pieces[part.slot], contents.specs(part.slot)
        if self.uses[place]:  # an equal part comes later and needs its own memory
            pieces = [spec.copy(piece) for spec, piece in zip(specs, pieces, strict=True)]
        else:
            contents.pieces[part.slot] = []
        return [spec.finish(piece) for spec, piece in zip(specs, pieces, strict=True)]


def locate(reader: ModelReader, error: RefusedError, number: int) -> RefusedError:
    """Add the model and the place in it to a refusal."""

    def steps_of(part: int) -> machine.Steps:
        slot = reader.manifest.parts[part].slot
        return reader.skeletons(reader.entry_of(part)).once(slot)

    references = [part.references for part in reader.manifest.parts]
    try:
        place = places.describe_place(number, error.step, references, steps_of)
    except (FormatError, StorageError):  # another file is damaged
        place = f"part {number}"
    return error.located(path=reader.name, place=place)


class Loader:
    """Makes the objects of parts from their shards, children before parents.

    Parameters
    ----------
    objects : dict
        The objects of each part, for references. The caller adds what `build` yields.
    """

    def __init__(self, reader: ModelReader, rebuilder: Rebuilder, objects: Objects) -> None:
        self.reader = reader
        self.rebuilder = rebuilder
        self.objects = objects
        grower = self.grower = classes.Grower()

        def grow(
            contents: Contents,
        ) -> TreeMemory:  # holds no loader, so loaded parts are freed at once
            return tree_memory.Growing(contents, grower)

        self.parts = PartReader(reader, rebuilder.most, grow)

    def build(
        self, numbers: Sequence[int], pool: Pool, advance: Advance
    ) -> Iterator[tuple[int, tuple[Any, ...]]]:
        """Make the objects of parts, in ascending order."""
        for number, skeletons, values in self.parts.parts(numbers, pool, advance):
            yield number, self._rebuild(number, skeletons, values)

    def check(self, later: Later | None = None) -> None:
        """Refuse objects that could crash compiled code."""
        try:
            self.rebuilder.check(self.grower.odd, later)
        except RefusedError as error:
            raise locate(self.reader, error, error.part or 0) from error

    def _rebuild(self, number: int, skeletons: Skeletons, values: Sequence[Any]) -> tuple[Any, ...]:
        part = self.reader.manifest.parts[number]
        file = self.reader.entry_of(number).file
        with in_file(file):
            references = [self.objects[other][index] for other, index in part.references]
            try:
                members = self.rebuilder.members(number, part, skeletons, values, references)
            except RefusedError as error:
                raise locate(self.reader, error, number) from error
            except RebuildError as error:
                raise RebuildError(
                    f"{part.kind} (part {number}, in {file}) refused its state: "
                    f"{str(error).rstrip('.')}. "
                    f"The model was dumped under {self._versions()}"
                ) from error
            check_members(members, part)
        return members

    def _versions(self) -> str:
        manifest = self.reader.manifest
        tops = versions.describe(module for module, _ in manifest.names)
        then = manifest.environment
        return ", ".join(f"{top} {then[top]} (here {tops.get(top, 'none')})" for top in then)
