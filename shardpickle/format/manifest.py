"""The manifest and its JSON. Pure; knows no file, no pickle and no class.

`graph` puts like parts next to each other, so a run of them is one entry: 100 trees of a forest in
7 shards are 7 entries. A reference range gives ``count`` consecutive parts, and the step by which
they shift in each following part of the run.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from shardpickle.errors import (
    CorruptManifestError,
    ModelTooLargeError,
    ShardpickleError,
    UnknownFormatError,
)
from shardpickle.format.entries import (
    NOTHING,
    Manifest,
    Needs,
    PartEntry,
    ShardEntry,
    most_heap,
    part_heap,
)

FORMAT = "shardpickle"
VERSION = 1
FULL, INFERENCE = PROFILES = ("full", "inference")
_JSON_VALUE = 100  # bytes of Python objects for one value of the manifest
_MOST_LETTERS = 1000  # characters of a name
MOST_NEEDS = 2000  # characters of `Needs.unsafe`
_OPTIONAL = {"heap", "needs"}
_MEMBERS = {
    *("format", "version", "writer", "profile", "environment", "metadata"),
    *("names", "parts", "shards", "sha256"),
}
_RUN = {"class", "count", "shard", "slot", "objects", "names", "references"}
_CLOSING = ',\n"sha256": "'


def to_bytes(manifest: Manifest) -> bytes:
    """Write a manifest as JSON, one line for each entry, its own SHA-256 last."""
    lists: dict[str, list[Any]] = {
        "names": [list(name) for name in manifest.names],
        "parts": list(_join_runs(manifest.parts)),
        "shards": [
            [entry.sha256, entry.nbytes, entry.raw, entry.parts, entry.table]
            for entry in manifest.shards
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
    lines = [f'"{key}": {_to_json(value)}' for key, value in values.items()]
    lines += [
        f'"{key}": [\n' + ",\n".join(map(_to_json, entries)) + "\n]"
        for key, entries in lists.items()
    ]
    body = ("{\n" + ",\n".join(lines)).encode()
    return body + f'{_CLOSING}{hashlib.sha256(body).hexdigest()}"\n}}\n'.encode()


def _to_json(value: Any) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def digest(data: bytes) -> str:
    """The digest that identifies this manifest: ``"sha256:…"`` of its file."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def from_bytes(data: bytes, free: int | None = None) -> Manifest:
    """Parse a manifest file.

    Parameters
    ----------
    data : bytes
        The file.
    free : int, optional
        Bytes that this process may still use; None if unknown.

    Raises
    ------
    ModelTooLargeError
        If it, or the memory that it declares, does not fit into `free`.
    UnknownFormatError
        If another version of the format wrote it.
    CorruptManifestError
        If it is damaged or contradicts itself.
    """
    try:
        values = sum(map(data.count, (b",", b"[", b"{")))
        _check_fits(len(data) + values * _JSON_VALUE, free)
        document = json.loads(
            data, object_pairs_hook=_refuse_duplicates, parse_constant=_refuse_constants
        )
        if document["format"] != FORMAT:
            raise ValueError("not a shardpickle manifest")
        _check_version(document)
        _check_digest(data, document)
        _check_members(document)
        manifest = _parse_manifest(document, free)
    except (KeyError, IndexError, TypeError, ValueError, RecursionError) as error:
        if isinstance(error, ShardpickleError):
            raise
        raise CorruptManifestError(f"not valid: {error!r:.300}", file="manifest.json") from None
    return manifest


def _check_fits(nbytes: int, free: int | None) -> None:
    if free is not None and nbytes > free:
        raise ModelTooLargeError("the model", nbytes, free)


def _check_members(document: dict[str, Any]) -> None:
    missing = _MEMBERS - set(document)
    if missing:
        raise ValueError(f"missing members: {sorted(missing)}")
    unknown = set(document) - _MEMBERS - _OPTIONAL
    if unknown:
        raise UnknownFormatError(
            f"manifest.json: this model has {sorted(unknown)!a:.200}, which this shardpickle "
            f"does not know. Install shardpickle {document['writer']!a:.40}, which wrote it, or a "
            "newer one."
        )


def _check_version(document: dict[str, Any]) -> None:
    version = document["version"]
    if type(version) is not int:
        raise ValueError("the version is not an integer")
    if version != VERSION:
        raise UnknownFormatError(
            f"manifest.json: this model is in format version {version!r:.40}, written by "
            f"shardpickle {document.get('writer')!a:.40}; this shardpickle reads version "
            f"{VERSION}. Install the shardpickle that wrote it, or a newer one."
        )


def _check_digest(data: bytes, document: dict[str, Any]) -> None:
    body, separator, rest = data.rpartition(_CLOSING.encode())
    actual = hashlib.sha256(body).hexdigest()
    if not separator or document["sha256"] != actual or rest != f'{actual}"\n}}\n'.encode():
        raise CorruptManifestError(
            "damaged", file="manifest.json", expected=document["sha256"], actual=actual
        )


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("duplicate key")
    return document


def _refuse_constants(name: str) -> Any:
    raise ValueError(f"{name} is not a valid number")


def _parse_manifest(document: dict[str, Any], free: int | None) -> Manifest:
    names = tuple((_check_name(module), _check_name(name)) for module, name in document["names"])
    if len(set(names)) != len(names):
        raise ValueError("duplicate name")
    shards = tuple(_parse_shard(*entry) for entry in document["shards"])
    files = {value.sha256 for value in shards}
    if len({(value.sha256, value.nbytes, value.raw, value.parts) for value in shards}) != len(
        files
    ):
        raise ValueError("one file is listed with different sizes")
    if len(shards) - len(files) > _MOST_AGAIN:
        raise ValueError("too many repeated listings of files")
    parts: list[PartEntry] = []
    if "heap" in document:
        shards = tuple(
            replace(shard, heap=_check_count(heap))
            for shard, heap in zip(shards, document["heap"], strict=True)
        )
        _check_fits(sum(shard.heap or 0 for shard in shards), free)
    if sum(map(_count_heap, document["parts"])) > most_heap(shards):
        raise ValueError("its parts and references need more memory than it declares")
    lists: dict[tuple[int, ...], tuple[int, ...]] = {}  # equal lists of names share one object
    for run in document["parts"]:
        _expand_run(run, parts, names, shards, lists)
    if not parts:
        raise ValueError("no parts")
    _check_tables(parts, shards)
    return Manifest(
        writer=_check_text(document["writer"]),
        profile=PROFILES[PROFILES.index(document["profile"])],
        environment={
            _check_text(key): _check_text(value)
            for key, value in _check_dict(document["environment"]).items()
        },
        metadata=_check_dict(document["metadata"]),
        names=names,
        parts=tuple(parts),
        shards=shards,
        needs=_parse_needs(document.get("needs", [[], ""])),
    )


def _parse_needs(value: Any) -> Needs:
    trust, unsafe = value
    if len(_check_text(unsafe)) > MOST_NEEDS:
        raise ValueError(f"needs of more than {MOST_NEEDS} characters")
    return Needs(tuple(map(_check_name, trust)), unsafe)


# A listing costs about a millisecond, however small the file is. A writer lists a file again only
# for parts with other tables.
_MOST_AGAIN = 5_000


def _check_tables(parts: Sequence[PartEntry], shards: Sequence[ShardEntry]) -> None:
    tables = {shard.table for shard in shards if shard.table is not None}
    if any(table >= len(parts) - 1 for table in tables):
        raise ValueError("a table that is not a part, or is the model")
    if any(shards[parts[table].shard].table is not None for table in tables):
        raise ValueError("a table that needs a table")
    if any(part in tables for entry in parts for part, _ in entry.references):
        raise ValueError("a reference to a table")


def _parse_shard(sha256: Any, nbytes: Any, raw: Any, parts: Any, table: Any) -> ShardEntry:
    if len(_check_text(sha256)) != 64 or set(sha256) - set("0123456789abcdef"):
        raise ValueError(f"not a digest: {sha256[:80]!r}")
    part = None if table is None else _check_count(table)
    return ShardEntry(sha256, _check_count(nbytes), _check_count(raw), _check_count(parts), part)


def _join_runs(parts: Sequence[PartEntry]) -> Iterator[dict[str, Any]]:
    start = 0
    while start < len(parts):
        steps: list[int] | None = None
        end = start + 1
        while end < len(parts) and _are_alike(parts[end - 1], parts[end]):
            difference = _get_steps(parts[end - 1], parts[end])
            if difference is None or (steps is not None and difference != steps):
                break
            steps = difference
            end += 1
        yield _make_run(parts[start], end - start, steps)
        start = end


def _are_alike(before: PartEntry, after: PartEntry) -> bool:
    return (before.kind, before.shard, before.slot + 1, before.objects, before.names) == (
        after.kind,
        after.shard,
        after.slot,
        after.objects,
        after.names,
    )


def _get_steps(before: PartEntry, after: PartEntry) -> list[int] | None:
    pairs = list(zip(before.references, after.references, strict=False))
    same = len(before.references) == len(after.references)
    if not same or any(old[1] != new[1] for old, new in pairs):
        return None
    return [new[0] - old[0] for old, new in pairs]


def _make_run(first: PartEntry, count: int, steps: list[int] | None) -> dict[str, Any]:
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


def _count_heap(run: dict[str, Any]) -> int:
    references = sum(_check_count(reference[3]) for reference in run["references"])
    return _check_count(run["count"]) * part_heap(0, references)


def _expand_run(
    run: dict[str, Any],
    parts: list[PartEntry],
    names: Sequence[tuple[str, str]],
    shards: Sequence[ShardEntry],
    lists: dict[tuple[int, ...], tuple[int, ...]],
) -> None:
    if set(run) != _RUN:
        raise ValueError(f"a run has exactly the members {sorted(_RUN)}")
    count, slot, shard = (
        _check_count(run["count"]),
        _check_count(run["slot"]),
        _check_count(run["shard"]),
    )
    objects = _check_count(run["objects"])
    used = tuple(_check_count(number) for number in run["names"])
    used = lists.setdefault(used, used)
    ranges = [
        (_check_count(a), _check_count(b), _check_integer(c), _check_count(d))
        for a, b, c, d in run["references"]
    ]
    if slot + count > shards[shard].parts:
        raise ValueError("more parts than the shard has")
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
                raise ValueError("a reference to a part that does not come earlier")
        parts.append(
            PartEntry(
                kind=_check_text(run["class"]),
                shard=shard,
                slot=slot + offset,
                objects=objects,
                names=used,
                references=references,
            )
        )


def _check_text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"not a string: {value!r:.80}")
    return value


def _check_name(value: Any) -> str:
    text = _check_text(value)
    if not text or len(text) > _MOST_LETTERS:
        raise ValueError(f"invalid name {text!r:.40}")
    return text


def _check_integer(value: Any) -> int:
    if type(value) is not int or not -(1 << 62) < value < 1 << 62:
        raise ValueError(f"not an integer: {value!r:.80}")
    return value


def _check_dict(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"not an object: {value!r:.80}")
    return value


def _check_count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise ValueError(f"not a count: {value!r:.80}")
    return value
