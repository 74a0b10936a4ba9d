"""The manifest and its JSON. Pure; knows no file, no pickle and no class.

Like parts are neighbours (`graph` sees to it), so a run of them is one entry: 100 trees of a
forest in 7 shards are 7 entries. A reference range says ``count`` consecutive parts and by how
much each following part of the run shifts them.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from shardpickle.errors import (
    CorruptManifestError,
    ModelTooLargeError,
    ShardpickleError,
    UnknownFormatError,
)

FORMAT = "shardpickle"
VERSION = 1
FULL, INFERENCE = PROFILES = ("full", "inference")
HEAP = 1 << 28  # bytes of Python objects that skeletons may make without saying so
_HEAP_OF_BYTE = 64  # and so many more for each byte of the shards
_PART, _REFERENCE, _VALUE = 512, 64, 768  # bytes of the heap, besides what skeletons make
_HEAP_OF_INDEX = 8  # bytes of the heap for each byte of an index
_JSON_VALUE = 100  # bytes of Python objects for one value of the manifest
_MOST_LETTERS = 1000  # of a name
MOST_NEEDS = 2000  # letters of what no name lifts
_OPTIONAL = {"heap", "needs"}
_MEMBERS = {
    *("format", "version", "writer", "profile", "environment", "metadata"),
    *("names", "parts", "shards", "sha256"),
}
_RUN = {"class", "count", "shard", "slot", "objects", "names", "references"}
_CLOSING = ',\n"sha256": "'


@dataclass(frozen=True, slots=True)
class ShardEntry:
    """One shard file: its SHA-256 (and so its name), its size, raw bytes, and number of parts.

    `table` is the part that holds the tables of this shard's trees; None where they are its own.
    `heap` is what all parts that are in it make of Python objects, in bytes (`machine.Steps.heap`
    and what `hardened.Ledger` counts); None where the manifest does not say.
    """

    sha256: str
    nbytes: int
    raw: int
    parts: int
    table: int | None = None
    heap: int | None = None

    @property
    def most_index(self) -> int:
        """Bytes that the shard's index may have."""
        heap = undeclared_heap(self) if self.heap is None else self.heap
        return (HEAP + heap) // _HEAP_OF_INDEX

    @property
    def file(self) -> str:
        return f"shards/{self.sha256}.shard"


@dataclass(frozen=True, slots=True)
class PartEntry:
    """One part: its class, where it is stored, the names it uses, and what it refers to."""

    kind: str
    shard: int
    slot: int
    objects: int
    names: tuple[int, ...]
    references: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Needs:
    """What the writer found that a default load refuses, besides names that are not vetted.

    `trust` are vetted names that do more than is vetted, `unsafe` is what no name lifts. For
    messages and reports: a load finds out by itself.
    """

    trust: tuple[str, ...] = ()
    unsafe: str = ""


NOTHING = Needs()


@dataclass(frozen=True)  # without slots: what follows from the members is worked out once
class Manifest:
    """All that is known of a model without reading a shard; the last part is the model.

    A file can be listed more than once, with other tables: `files` has each once.
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
        """Bytes of Python objects that the manifest says a load makes, besides raw bytes."""
        return sum(shard.heap or 0 for shard in self.shards)

    @property
    def most_heap(self) -> int:
        """Bytes of Python objects that a load may make; what makes more is corrupt."""
        return most_heap(self.shards)

    @property
    def raw(self) -> int:
        """Raw bytes of the whole model; a shard that serves several parts counts for each."""
        return sum(self.raw_of)

    @cached_property
    def raw_of(self) -> tuple[int, ...]:
        """Raw bytes of what the parts of each shard become: equal parts share it on disk only."""
        uses = Counter(part.shard for part in self.parts)
        return tuple(
            shard.raw * uses[number] // max(1, shard.parts)
            for number, shard in enumerate(self.shards)
        )

    def place(self, number: int) -> tuple[str | int, ...]:
        """A part's file and slot, and those of its tables: parts of one place are equal."""
        part = self.parts[number]
        shard = self.shards[part.shard]
        here = shard.sha256, part.slot
        return here if shard.table is None else (*here, *self.place(shard.table))

    @cached_property
    def tables(self) -> frozenset[int]:
        """The parts that are tables, which several shards use."""
        return frozenset(shard.table for shard in self.shards if shard.table is not None)

    @cached_property
    def files(self) -> dict[str, ShardEntry]:
        """Each shard file once, by its SHA-256."""
        found: dict[str, ShardEntry] = {}
        for shard in self.shards:
            found.setdefault(shard.sha256, shard)
        return found

    @property
    def stored(self) -> int:
        """Bytes of the shard files."""
        return sum(shard.nbytes for shard in self.files.values())


def most_heap(shards: Sequence[ShardEntry]) -> int:
    """Bytes of Python objects that the skeletons of a model may make."""
    return HEAP + sum(
        undeclared_heap(shard) if shard.heap is None else shard.heap for shard in shards
    )


def undeclared_heap(shard: ShardEntry) -> int:
    """What a shard may make without saying so, besides `HEAP` for the whole model."""
    return shard.nbytes * _HEAP_OF_BYTE


def part_heap(values: int, references: int) -> int:
    """Bytes of Python objects that a part takes, besides what its skeleton makes."""
    return _PART + values * _VALUE + references * _REFERENCE


def to_bytes(manifest: Manifest) -> bytes:
    """The file of a manifest: JSON, a line for each entry, its own SHA-256 last."""
    lists: dict[str, list[Any]] = {
        "names": [list(name) for name in manifest.names],
        "parts": list(_runs(manifest.parts)),
        "shards": [
            [each.sha256, each.nbytes, each.raw, each.parts, each.table] for each in manifest.shards
        ],
    }
    values: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "writer": manifest.writer,
        "profile": manifest.profile,
        "environment": manifest.environment,
        "metadata": manifest.metadata,
    }
    if any(shard.heap is not None for shard in manifest.shards):
        values["heap"] = [shard.heap for shard in manifest.shards]
    if manifest.needs != NOTHING:
        values["needs"] = [manifest.needs.trust, manifest.needs.unsafe]
    lines = [f'"{key}": {_json(value)}' for key, value in values.items()]
    lines += [
        f'"{key}": [\n' + ",\n".join(map(_json, entries)) + "\n]" for key, entries in lists.items()
    ]
    body = ("{\n" + ",\n".join(lines)).encode()
    return body + f'{_CLOSING}{hashlib.sha256(body).hexdigest()}"\n}}\n'.encode()


def _json(value: Any) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def digest(data: bytes) -> str:
    """What names this very manifest: ``"sha256:…"`` of its file."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def from_bytes(data: bytes, free: int | None = None) -> Manifest:
    """The manifest of a file.

    Parameters
    ----------
    data : bytes
        The file.
    free : int, optional
        Bytes that this process may still use; None if nobody says.

    Raises
    ------
    ModelTooLargeError
        If it, or what it declares, would not fit into that.
    UnknownFormatError
        If another version of the format wrote it.
    CorruptManifestError
        If it is damaged or contradicts itself.
    """
    try:
        values = sum(map(data.count, (b",", b"[", b"{")))
        _check_fits(len(data) + values * _JSON_VALUE, free)
        document = json.loads(data, object_pairs_hook=_no_duplicates, parse_constant=_no_constants)
        if document["format"] != FORMAT:
            raise ValueError("not a shardpickle manifest")
        _check_version(document)
        _check_digest(data, document)
        _check_members(document)
        found = _manifest(document, free)
    except (KeyError, IndexError, TypeError, ValueError, RecursionError) as error:
        if isinstance(error, ShardpickleError):
            raise
        raise CorruptManifestError(f"not valid: {error!r:.300}", file="manifest.json") from None
    return found


def _check_fits(nbytes: int, free: int | None) -> None:
    if free is not None and nbytes > free:
        raise ModelTooLargeError("the model", nbytes, free)


def _check_members(document: dict[str, Any]) -> None:
    missing = _MEMBERS - set(document)
    if missing:
        raise ValueError(f"without {sorted(missing)}")
    unknown = set(document) - _MEMBERS - _OPTIONAL
    if unknown:
        raise UnknownFormatError(
            f"manifest.json: this model has {sorted(unknown)!a:.200}, which this shardpickle "
            f"does not know; shardpickle {document['writer']!a:.40} wrote it. Install that, or a "
            "newer one."
        )


def _check_version(document: dict[str, Any]) -> None:
    version = document["version"]
    if type(version) is not int:
        raise ValueError("the version is no number")
    if version != VERSION:
        raise UnknownFormatError(
            f"manifest.json: this model is in format version {version!r:.40}, written by "
            f"shardpickle {document.get('writer')!a:.40}; this shardpickle reads version "
            f"{VERSION}. Install the shardpickle that wrote it, or a newer one."
        )


def _check_digest(data: bytes, document: dict[str, Any]) -> None:
    body, found, rest = data.rpartition(_CLOSING.encode())
    actual = hashlib.sha256(body).hexdigest()
    if not found or document["sha256"] != actual or rest != f'{actual}"\n}}\n'.encode():
        raise CorruptManifestError(
            "damaged", file="manifest.json", expected=document["sha256"], actual=actual
        )


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key stands twice")
    return document


def _no_constants(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _manifest(document: dict[str, Any], free: int | None) -> Manifest:
    names = tuple((_name(module), _name(name)) for module, name in document["names"])
    if len(set(names)) != len(names):
        raise ValueError("a name stands twice")
    shards = tuple(_shard(*entry) for entry in document["shards"])
    files = {each.sha256 for each in shards}
    if len({(each.sha256, each.nbytes, each.raw, each.parts) for each in shards}) != len(files):
        raise ValueError("a file of two sizes")
    if len(shards) - len(files) > _MOST_AGAIN:
        raise ValueError("files that are listed again and again")
    parts: list[PartEntry] = []
    if "heap" in document:
        shards = tuple(
            replace(shard, heap=_count(heap))
            for shard, heap in zip(shards, document["heap"], strict=True)
        )
        _check_fits(sum(shard.heap or 0 for shard in shards), free)
    if sum(map(_heap_of, document["parts"])) > most_heap(shards):
        raise ValueError("more parts and references than it declares memory for")
    lists: dict[tuple[int, ...], tuple[int, ...]] = {}  # equal lists of names become one object
    for run in document["parts"]:
        _expand(run, parts, names, shards, lists)
    if not parts:
        raise ValueError("there are no parts")
    _check_tables(parts, shards)
    return Manifest(
        writer=_text(document["writer"]),
        profile=PROFILES[PROFILES.index(document["profile"])],
        environment={
            _text(key): _text(each) for key, each in _dict(document["environment"]).items()
        },
        metadata=_dict(document["metadata"]),
        names=names,
        parts=tuple(parts),
        shards=shards,
        needs=_needs(document.get("needs", [[], ""])),
    )


def _needs(value: Any) -> Needs:
    trust, unsafe = value
    if len(_text(unsafe)) > MOST_NEEDS:
        raise ValueError("needs of very many letters")
    return Needs(tuple(map(_name, trust)), unsafe)


# A listing costs about a millisecond, however small the file is. A writer lists a file again only
# for parts with other tables.
_MOST_AGAIN = 5_000


def _check_tables(parts: Sequence[PartEntry], shards: Sequence[ShardEntry]) -> None:
    tables = {shard.table for shard in shards if shard.table is not None}
    if any(table >= len(parts) - 1 for table in tables):
        raise ValueError("a table that is no part, or is the model")
    if any(shards[parts[table].shard].table is not None for table in tables):
        raise ValueError("a table that needs a table")
    if any(part in tables for each in parts for part, _ in each.references):
        raise ValueError("a reference to a table")


def _shard(sha256: Any, nbytes: Any, raw: Any, parts: Any, table: Any) -> ShardEntry:
    if len(_text(sha256)) != 64 or set(sha256) - set("0123456789abcdef"):
        raise ValueError(f"not a digest: {sha256[:80]!r}")
    part = None if table is None else _count(table)
    return ShardEntry(sha256, _count(nbytes), _count(raw), _count(parts), part)


def _runs(parts: Sequence[PartEntry]) -> Iterator[dict[str, Any]]:
    at = 0
    while at < len(parts):
        steps: list[int] | None = None
        end = at + 1
        while end < len(parts) and _alike(parts[end - 1], parts[end]):
            found = _steps(parts[end - 1], parts[end])
            if found is None or (steps is not None and found != steps):
                break
            steps = found
            end += 1
        yield _run(parts[at], end - at, steps)
        at = end


def _alike(before: PartEntry, after: PartEntry) -> bool:
    return (before.kind, before.shard, before.slot + 1, before.objects, before.names) == (
        after.kind,
        after.shard,
        after.slot,
        after.objects,
        after.names,
    )


def _steps(before: PartEntry, after: PartEntry) -> list[int] | None:
    pairs = list(zip(before.references, after.references, strict=False))
    same = len(before.references) == len(after.references)
    if not same or any(old[1] != new[1] for old, new in pairs):
        return None
    return [new[0] - old[0] for old, new in pairs]


def _run(first: PartEntry, count: int, steps: list[int] | None) -> dict[str, Any]:
    ranges: list[list[int]] = []  # part, object, step, count
    for (part, index), step in zip(
        first.references, steps or [0] * len(first.references), strict=True
    ):
        if ranges and ranges[-1][1:3] == [index, step] and part == ranges[-1][0] + ranges[-1][3]:
            ranges[-1][3] += 1
        else:
            ranges.append([part, index, step, 1])
    return {
        "class": first.kind,
        "count": count,
        "shard": first.shard,
        "slot": first.slot,
        "objects": first.objects,
        "names": list(first.names),
        "references": ranges,
    }


def _heap_of(run: dict[str, Any]) -> int:
    references = sum(_count(each[3]) for each in run["references"])
    return _count(run["count"]) * part_heap(0, references)


def _expand(
    run: dict[str, Any],
    parts: list[PartEntry],
    names: Sequence[tuple[str, str]],
    shards: Sequence[ShardEntry],
    lists: dict[tuple[int, ...], tuple[int, ...]],
) -> None:
    if set(run) != _RUN:
        raise ValueError("other members than a run has")
    count, slot, shard = _count(run["count"]), _count(run["slot"]), _count(run["shard"])
    objects = _count(run["objects"])
    used = tuple(_count(number) for number in run["names"])
    used = lists.setdefault(used, used)
    ranges = [(_count(a), _count(b), _integer(c), _count(d)) for a, b, c, d in run["references"]]
    if slot + count > shards[shard].parts:
        raise ValueError("more parts than the shard holds")
    if objects < 1 or any(number >= len(names) for number in used):
        raise ValueError("a part without objects, or a name that is not listed")
    for offset in range(count):
        references = tuple(
            (part + step * offset + further, index)
            for part, index, step, many in ranges
            for further in range(many)
        )
        for part, index in references:
            if not 0 <= part < len(parts) or index >= parts[part].objects:
                raise ValueError("a reference to a part that does not come before")
        parts.append(
            PartEntry(
                kind=_text(run["class"]),
                shard=shard,
                slot=slot + offset,
                objects=objects,
                names=used,
                references=references,
            )
        )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"not a string: {value!r:.80}")
    return value


def _name(value: Any) -> str:
    text = _text(value)
    if not text or len(text) > _MOST_LETTERS:
        raise ValueError(f"invalid name {text!r:.40}")
    return text


def _integer(value: Any) -> int:
    if type(value) is not int or not -(1 << 62) < value < 1 << 62:
        raise ValueError(f"not an integer: {value!r:.80}")
    return value


def _dict(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"not an object: {value!r:.80}")
    return value


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise ValueError(f"not a count: {value!r:.80}")
    return value
