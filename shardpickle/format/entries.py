"""What a manifest says: shards, parts, what a load needs. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

HEAP = 1 << 28  # bytes of Python objects that skeletons may make without declaring them

_HEAP_OF_BYTE = 64  # and 64 more for each byte of the shards

_HEAP_OF_INDEX = 8  # bytes of the heap for each byte of an index


@dataclass(frozen=True, slots=True)
class ShardEntry:
    """One shard file: its SHA-256 (and so its name), its size, raw bytes, and number of parts.

    `table` is the part with the tables of this shard's trees; None if the shard has its own.
    `heap` is the bytes of Python objects that all of its parts make (`machine.Steps.heap` and the
    count of `hardened.Ledger`); None if the manifest does not say.
    """

    sha256: str
    nbytes: int
    raw: int
    parts: int
    table: int | None = None
    heap: int | None = None

    @property
    def most_index(self) -> int:
        """The most bytes that the shard's index may have."""
        heap = undeclared_heap(self) if self.heap is None else self.heap
        return (HEAP + heap) // _HEAP_OF_INDEX

    @property
    def file(self) -> str:
        return f"shards/{self.sha256}.shard"


@dataclass(frozen=True, slots=True)
class PartEntry:
    """One part: its class, where it is stored, the names it uses, and the parts it refers to."""

    kind: str
    shard: int
    slot: int
    objects: int
    names: tuple[int, ...]
    references: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Needs:
    """Reasons, known to the writer, why a default load refuses, besides names that are not vetted.

    `trust` has vetted names that do more than is vetted. `unsafe` is what no trusted name allows.
    Both are for messages and reports: a load checks for itself.
    """

    trust: tuple[str, ...] = ()
    unsafe: str = ""


NOTHING = Needs()


@dataclass(frozen=True)  # without slots, so that cached properties work
class Manifest:
    """Everything known about a model without reading a shard; the last part is the model.

    A file can be listed more than once, with different tables: `files` has each once.
    """

    writer: str
    profile: str
    environment: dict[str, str]
    metadata: dict[str, Any]
    names: tuple[tuple[str, str], ...]
    parts: tuple[PartEntry, ...]
    shards: tuple[ShardEntry, ...]
    needs: Needs = NOTHING

    @property
    def declared_heap(self) -> int:
        """Declared bytes of Python objects that a load makes, besides raw bytes."""
        return sum(shard.heap or 0 for shard in self.shards)

    @property
    def most_heap(self) -> int:
        """The most bytes of Python objects that a load may make; a model with more is corrupt."""
        return most_heap(self.shards)

    @property
    def raw(self) -> int:
        """Raw bytes of the whole model; a shard that serves several parts counts for each."""
        return sum(self.raw_of)

    @cached_property
    def raw_of(self) -> tuple[int, ...]:
        """Raw bytes of each shard's parts once loaded. Equal parts share bytes only on disk."""
        uses = Counter(part.shard for part in self.parts)
        return tuple(
            shard.raw * uses[number] // max(1, shard.parts)
            for number, shard in enumerate(self.shards)
        )

    def place(self, number: int) -> tuple[str | int, ...]:
        """A part's file and slot, and those of its tables. Parts with the same place are equal."""
        part = self.parts[number]
        shard = self.shards[part.shard]
        here = shard.sha256, part.slot
        return here if shard.table is None else (*here, *self.place(shard.table))

    @cached_property
    def tables(self) -> frozenset[int]:
        """The parts that are tables shared by several shards."""
        return frozenset(shard.table for shard in self.shards if shard.table is not None)

    @cached_property
    def files(self) -> dict[str, ShardEntry]:
        """Each shard file once, by its SHA-256."""
        entries: dict[str, ShardEntry] = {}
        for shard in self.shards:
            entries.setdefault(shard.sha256, shard)
        return entries

    @property
    def stored(self) -> int:
        """Bytes of the shard files."""
        return sum(shard.nbytes for shard in self.files.values())


def most_heap(shards: Sequence[ShardEntry]) -> int:
    """The most bytes of Python objects that the skeletons of a model may make."""
    return HEAP + sum(
        undeclared_heap(shard) if shard.heap is None else shard.heap for shard in shards
    )


def undeclared_heap(shard: ShardEntry) -> int:
    """Bytes that a shard may make without declaring them, besides `HEAP` for the whole model."""
    return shard.nbytes * _HEAP_OF_BYTE


_PART, _REFERENCE, _VALUE = 512, 64, 768  # bytes of the heap, besides the skeletons' objects


def part_heap(values: int, references: int) -> int:
    """Bytes of Python objects that a part takes, besides its skeleton's objects."""
    return _PART + values * _VALUE + references * _REFERENCE
