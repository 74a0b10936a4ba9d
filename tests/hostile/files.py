"""Files that lie: manifests, indexes and frames, links, and what stands in the place of a file.

Digests are right unless a case spoils them. Written from docs/format.md alone.
"""

import hashlib
import json
import os
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import zstandard
from case import Case
from forge import EMPTY, U1, VALUE, directory, ints, pack, plain, run, shard, write

LOADED = frozenset({"loaded"})
EITHER = frozenset({"loaded", "refused"})
MAGIC = b"SHRDPKL1"
MIB = 1 << 20

CASES: dict[str, Case] = {}


def case(name: str, write: Callable[[Path], Any], may: Iterable[str] = ("refused",)) -> None:
    assert name not in CASES, name
    CASES[name] = Case(write, None, frozenset(may))


def good(path: Path) -> None:
    write(path, plain(EMPTY), len(EMPTY))


def the_shard(path: Path) -> Path:
    return next((path / "shards").iterdir())


def the_members(path: Path) -> dict[str, Any]:
    members: dict[str, Any] = json.loads((path / "manifest.json").read_bytes())
    del members["sha256"]
    return members


def publish(path: Path, lines: Iterable[str] | bytes) -> None:
    """A manifest of these lines, and its digest."""
    body = lines if isinstance(lines, bytes) else ("{\n" + ",\n".join(lines)).encode()
    digest = hashlib.sha256(body).hexdigest()
    (path / "manifest.json").write_bytes(body + f',\n"sha256": "{digest}"\n}}\n'.encode())


def lines_of(members: dict[str, Any]) -> list[str]:
    return [f'"{key}": {json.dumps(value)}' for key, value in members.items()]


# Manifests ---------------------------------------------------------------------------------------


def members(name: str, may: Iterable[str] = ("refused",), **changes: Any) -> None:
    """Other members; a function gets the member as it is."""

    def spoil(path: Path) -> None:
        good(path)
        own = the_members(path)
        for key, value in changes.items():
            own[key] = value(own[key]) if callable(value) else value
        publish(path, lines_of(own))

    case(name, spoil, may)


def line(name: str, key: str, text: str, may: Iterable[str] = ("refused",)) -> None:
    """One member as this JSON text."""

    def spoil(path: Path) -> None:
        good(path)
        own = the_members(path)
        publish(
            path,
            [f'"{k}": {text if k == key else json.dumps(value)}' for k, value in own.items()],
        )

    case(name, spoil, may)


def in_run(name: str, may: Iterable[str] = ("refused",), **changes: Any) -> None:
    members(name, may, parts=[run(**changes)])


def in_shard(name: str, place: int, value: Any, may: Iterable[str] = ("refused",)) -> None:
    def changed(entries: list[list[Any]]) -> list[list[Any]]:
        entries[0][place] = value(entries[0][place]) if callable(value) else value
        return entries

    members(name, may, shards=changed)


case("sane", good, LOADED)
in_shard("shard: another size", 1, lambda size: size + 1)
in_shard("shard: size 0", 1, 0)
in_shard("shard: negative size", 1, -1)
in_shard("shard: size of 10**30", 1, 10**30)
in_shard("shard: size as text", 1, "157")
in_shard("shard: size as a float", 1, float)
in_shard("shard: size as true", 1, True)
in_shard("shard: more raw bytes", 2, lambda raw: raw + 1)
in_shard("shard: raw bytes 2**61", 2, 1 << 61)
in_shard("shard: raw bytes null", 2, None)
in_shard("shard: two parts", 3, 2)
in_shard("shard: no parts", 3, 0)
in_shard("shard: a million parts", 3, 10**6)
in_shard("shard: its table is the model", 4, 0)
in_shard("shard: its table is far away", 4, 10**9)
in_shard("shard: its table is negative", 4, -1)
in_shard("shard: its table is false", 4, False)
in_shard("shard: digest in capitals", 0, str.upper)
in_shard("shard: name climbs out", 0, "../../x")
in_shard("shard: name climbs out, of right length", 0, ("../" * 22)[:64])
in_shard("shard: an absolute path", 0, "/dev/zero")
in_shard("shard: an absolute path of right length", 0, "/" * 56 + "dev/zero")
in_shard("shard: no name", 0, "")
in_shard("shard: a very long name", 0, "0" * 10**6)
in_shard("shard: a name with NUL", 0, "0" * 63 + "\0")
in_shard("shard: a name with a line break", 0, "0" * 63 + "\n")
in_shard("shard: a line break behind the name", 0, lambda name: name + "\n")
in_shard("shard: letters that look alike", 0, lambda name: name[:-1] + "\uff10")
in_shard("shard: Arabic digits", 0, "\u0660" * 64)
in_shard("shard: a lone surrogate", 0, "0" * 63 + "\ud800")
in_shard("shard: another digest", 0, "0" * 64)
in_shard("shard: a name that is a list", 0, ["0"] * 64)
members("shard: too few members", shards=lambda found: [found[0][:4]])
members("shard: too many members", shards=lambda found: [[*found[0], None]])
members("shard: an object", shards=lambda found: [{"sha256": found[0][0]}])
members("shard: none", shards=[])
members("shard: the same twice", EITHER, shards=lambda found: found * 2)
members(
    "shard: the same once more in capitals", shards=lambda f: [f[0], [f[0][0].upper(), *f[0][1:]]]
)
in_run("run: negative count", count=-1)
in_run("run: no parts", count=0)
in_run("run: count of 10**9", count=10**9)
in_run("run: count of 10**18", count=10**18)
in_run("run: count as a float", count=1.0)
in_run("run: count as true", count=True)
in_run("run: slot out of range", slot=1)
in_run("run: negative slot", slot=-1)
in_run("run: slot of 2**61", slot=1 << 61)
in_run("run: shard out of range", shard=1)
in_run("run: negative shard", shard=-1)
in_run("run: no objects", objects=0)
in_run("run: two objects", objects=2)
in_run("run: 2**61 objects", objects=1 << 61)
in_run("run: a name that is not listed", names=[0])
in_run("run: a negative name", names=[-1])
in_run("run: names as text", names="0")
in_run("run: a class that is a list", **{"class": []})
in_run("run: a reference to itself", references=[[0, 0, 0, 1]])
in_run("run: a reference to a later part", references=[[5, 0, 0, 1]])
in_run("run: a negative reference", references=[[-1, 0, 0, 1]])
in_run("run: 10**18 references", references=[[0, 0, 0, 10**18]])
in_run("run: many references to nothing", references=[[0, 0, 0, 10**6]] * 3)
in_run("run: a short reference", references=[[0, 0, 0]])
in_run("run: references as text", references="0000")
members("run: another member", parts=[{**run(), "more": 1}])
members("run: a member is missing", parts=[{k: v for k, v in run().items() if k != "slot"}])
members("run: a list", parts=[[0]])
members("run: none", parts=[])
members("run: an object of runs", parts={"0": run()})
members(
    "run: steps that lead before the first part",
    shards=lambda found: [[*found[0][:3], 1, None]],
    parts=[run(), run(references=[[0, 0, -5, 1]], count=2)],
)
members("names: one that is no pair", names=[["builtins"]])
members("names: an empty one", names=[["builtins", ""]])
members("names: one of 10**6 letters", names=[["builtins", "x" * 10**6]])
members("names: the same twice", names=[["builtins", "set"]] * 2)
members("names: unknown ones", names=[["no.such.module", "thing"]])
members("names: Cyrillic letters", names=[["builtins", "\u0441\u043emplex"]])
members("names: an object", names={"a": "b"})
members("names: control characters", names=[["built\0ins", "\u202e\n"]])
members("names: text of two letters", names=["ab"])
members("metadata: a list", metadata=[])
members("environment: numbers", environment={"python": 3})
members("profile: another", profile="half")
members("profile: a list", profile=[])
members("writer: null", writer=None)
members("format: another", format="shardpickle2")
members("version: 2", version=2)
members("version: 1.0", version=1.0)
members("version: true", version=True)
members("version: text", version="1")
members("version: 10**400", version=10**400)
members("another member", more=1)
line("NaN", "metadata", '{"a": NaN}')
line("Infinity", "metadata", '{"a": [-Infinity]}')
line("a key twice in the metadata", "metadata", '{"a": 1, "a": 2}')
line("a float of 1e999", "metadata", '{"a": 1e999}', EITHER)
line("an integer of 5,000 digits", "metadata", '{"a": ' + "9" * 5000 + "}")
line("an integer of a million digits", "metadata", '{"a": ' + "9" * 10**6 + "}")
line("lists in lists", "metadata", '{"a": ' + "[" * 10**6 + "]" * 10**6 + "}")
line("objects in objects", "metadata", '{"a":' * 10**5 + "1" + "}" * 10**5)
line("lists that do not end", "metadata", "[" * 10**6)
line("lists of ten thousand", "metadata", '{"a": ' + "[" * 900 + "]" * 900 + "}", EITHER)
line("a lone surrogate in the metadata", "metadata", '{"a": "\\ud800"}', EITHER)
line("a comma too many", "metadata", "{},")


def twice(path: Path) -> None:
    good(path)
    lines = lines_of(the_members(path))
    publish(path, [*lines, lines[3]])


def missing(path: Path, key: str) -> None:
    good(path)
    found = the_members(path)
    del found[key]
    publish(path, lines_of(found))


def edited(name: str, change: Callable[[bytes], bytes], may: Iterable[str] = ("refused",)) -> None:
    """The manifest's bytes are changed when all is written."""

    def spoil(path: Path) -> None:
        good(path)
        file = path / "manifest.json"
        file.write_bytes(change(file.read_bytes()))

    case(name, spoil, may)


case("a member twice", twice)
for _key in ("format", "version", "names", "parts", "shards", "metadata", "environment", "writer"):
    case(f"a member is missing: {_key}", lambda path, key=_key: missing(path, key))
edited("manifest: a wrong digest", lambda data: data.replace(b'"full"', b'"fulL"'))
edited("manifest: a digest in capitals", lambda data: data[:-70] + data[-70:].upper())
edited("manifest: a space behind it", lambda data: data + b" ")
edited("manifest: a line break behind it", lambda data: data + b"\n")
edited("manifest: no line break at its end", lambda data: data[:-1])
edited("manifest: NUL behind it", lambda data: data + b"\0")
edited("manifest: CRLF", lambda data: data.replace(b"\n", b"\r\n"))
edited("manifest: a byte order mark", lambda data: b"\xef\xbb\xbf" + data)
edited("manifest: UTF-16", lambda data: data.decode().encode("utf-16"))
edited("manifest: UTF-32", lambda data: data.decode().encode("utf-32-le"))
edited("manifest: Latin-1", lambda data: data.replace(b'"full"', b'"f\xfcll"'))
edited("manifest: cut", lambda data: data[: len(data) // 2])
edited("manifest: cut in its digest", lambda data: data[:-20])
edited("manifest: empty", lambda data: b"")
edited("manifest: only its beginning", lambda data: data[:26])
edited("manifest: two of them", lambda data: data * 2)
edited("manifest: zeros", lambda data: bytes(len(data)))
edited("manifest: a second digest before it", lambda d: d[:-70] + d[-80:-70] + d[-70:])


def sparse(path: Path) -> None:
    good(path)
    with open(path / "manifest.json", "r+b") as stream:
        stream.truncate(300 * MIB)


def huge(filler: bytes, size: int) -> Callable[[Path], None]:
    """A manifest of right digest whose metadata are `size` bytes of filler."""

    def spoil(path: Path) -> None:
        good(path)
        own = the_members(path)
        before = lines_of({k: v for k, v in own.items() if k != "metadata"})
        text = filler * (size // len(filler))
        head = ("{\n" + ",\n".join(before)).encode()
        publish(path, head + b',\n"metadata": {"a": [' + text + b"0]}")

    return spoil


case("manifest: 300 MB, sparse", sparse)
case("manifest: 300 MB of spaces", huge(b" ", 300 * MIB))
case("manifest: 250 MB of spaces", huge(b" ", 250 * MIB), EITHER)
case("manifest: 100 MB of zeros in a list", huge(b"0,", 100 * MIB), EITHER)
case("manifest: 250 MB of zeros in a list", huge(b"0,", 250 * MIB), EITHER)
case("manifest: 100 MB of empty lists", huge(b"[],", 100 * MIB), EITHER)
case("manifest: 250 MB of empty objects", huge(b"{},", 250 * MIB), EITHER)
case("manifest: 250 MB of floats", huge(b"1.5,", 250 * MIB), EITHER)


def many_shards(path: Path) -> None:
    good(path)
    own = the_members(path)
    entry = own["shards"][0]
    text = json.dumps(entry)
    own["shards"] = "@"
    lines = [one.replace('"@"', f"[{text}" + f",{text}" * 2_500_000 + "]") for one in lines_of(own)]
    publish(path, lines)


case("manifest: 2.5 million shards", many_shards, EITHER)
members("manifest: a million runs", EITHER, parts=[run()] * 10**6)


# Shards ------------------------------------------------------------------------------------------

Frames = list[tuple[bytes, int, int]]


def frame(raw: bytes) -> tuple[bytes, int, int]:
    return pack(raw), len(raw), 0


def layered(
    columns: list[Frames],
    *,
    entries: Callable[[list[Any]], Any] = lambda found: found,
    document: Callable[[dict[str, Any]], Any] = lambda found: found,
    index: Callable[[bytes], bytes] = pack,
    layouts: Any = ((),),
    dimensions: int = 0,
    end: Callable[[int, int, int], bytes] = lambda a, b, c: struct.pack("<QII8s", a, b, c, MAGIC),
    tail: bytes = b"",
) -> bytes:
    """A shard of these frames; each step can be another one."""
    body = MAGIC + b"".join(data for column in columns for data, _, _ in column)
    listed = [[[len(data), raw, form] for data, raw, form in column] for column in columns]
    found = {
        "parts": 1,
        "skeletons": 1,
        "dimensions": dimensions,
        "layouts": layouts,
        "columns": entries(listed),
    }
    text = json.dumps(document(found)).encode()
    packed = index(text)
    return body + packed + end(len(body), len(packed), len(text)) + tail


def base(skeleton: Frames | None = None) -> list[Frames]:
    own = skeleton if skeleton is not None else [frame(EMPTY)]
    size = sum(raw for _, raw, _ in own)
    return [[frame(ints(size))], [frame(ints(0))], [frame(ints(0))], [], own]


def content(
    name: str, make: Callable[[], bytes], may: Iterable[str] = ("refused",), raw: int | None = None
) -> None:
    """A shard of these bytes, in a directory whose digests are right."""
    size = len(EMPTY) if raw is None else raw
    case(name, lambda path: write(path, make(), size), may)


def columns(name: str, **options: Any) -> None:
    content(name, lambda: layered(base(), **options))


def entry(name: str, place: int, value: Any) -> None:
    def changed(listed: list[Any]) -> list[Any]:
        listed[4][0][place] = value(listed[4][0][place]) if callable(value) else value
        return listed

    columns(name, entries=changed)


content("sane shard", lambda: layered(base()), LOADED)
entry("index: a larger frame", 0, lambda size: size + 1)
entry("index: a smaller frame", 0, lambda size: size - 1)
entry("index: a frame of 2**61 bytes", 0, 1 << 61)
entry("index: a negative frame", 0, -5)
entry("index: a frame of no bytes", 0, 0)
entry("index: more raw bytes", 1, lambda size: size + 1)
entry("index: fewer raw bytes", 1, lambda size: size - 1)
entry("index: 2**61 raw bytes", 1, 1 << 61)
entry("index: as many raw bytes as zstd can hold", 1, (1 << 16) * 20)
entry("index: form 1, of 1 byte", 2, 3)
entry("index: a negative form", 2, -1)
entry("index: a palette", 2, 2)
entry("index: form true", 2, True)
entry("index: form as text", 2, "0")
entry("index: form 0.0", 2, 0.0)
columns("index: a frame that comes later", entries=lambda found: [*found[:4], [1]])
columns("index: a frame of 2**61", entries=lambda found: [[1 << 61], *found[1:]])
columns("index: a negative reference to a frame", entries=lambda found: [*found[:4], [-1]])
columns("index: the last frame again", entries=lambda found: [*found, [-1]])
columns("index: a frame twice in a column", entries=lambda found: [*found[:4], found[4] * 2])
columns("index: a frame again in its column", entries=lambda f: [*f[:4], [f[4][0], 3]])
columns("index: a column too many", entries=lambda found: [*found, []])
columns("index: a column too few", entries=lambda found: found[:-1])
columns("index: no columns", entries=lambda found: [])
columns("index: columns as text", entries=lambda found: "columns")
columns("index: a short entry", entries=lambda found: [*found[:4], [[1, 2]]])
columns("index: an entry null", entries=lambda found: [*found[:4], [None]])
columns("index: more parts", document=lambda found: {**found, "parts": 2})
columns("index: 2**61 parts", document=lambda found: {**found, "parts": 1 << 61})
columns("index: 10**9 parts", document=lambda found: {**found, "parts": 10**9})
columns("index: 2**61 skeletons", document=lambda found: {**found, "skeletons": 1 << 61})
columns("index: 10**9 dimensions", document=lambda found: {**found, "dimensions": 10**9})
columns("index: no skeletons", document=lambda found: {**found, "skeletons": 0})
columns("index: no layouts", document=lambda found: {**found, "layouts": []})
columns("index: layouts as numbers", document=lambda found: {**found, "layouts": [1]})
columns("index: a value that is not there", document=lambda f: {**f, "layouts": [[U1]]})
columns("index: 10**5 values that are not there", layouts=[[U1] * 10**5])
columns("index: another member", document=lambda found: {**found, "more": 1})
columns("index: a member is missing", document=lambda found: {"parts": 1})
columns("index: a list", document=lambda found: [found])
columns("index: deep lists", index=lambda text: pack(b"[" * 10**6))
columns("index: NUL behind it", index=lambda text: pack(text + b"\0"))
columns("index: a key twice", index=lambda text: pack(text[:-1] + b',"parts":1}'))
columns("index: not UTF-8", index=lambda text: pack(text.replace(b"parts", b"p\xffrts")))
columns("index: NaN", index=lambda text: pack(text.replace(b'"parts": 1', b'"parts": NaN')))
columns("index: no zstd", index=lambda text: text)
columns("index: empty", index=lambda text: b"")
columns("trailing bytes", tail=b"\0" * 8)
columns("another shard behind it", tail=plain(EMPTY))
columns("trailer: other offset", end=lambda a, b, c: struct.pack("<QII8s", a + 1, b, c, MAGIC))
columns("trailer: offset 0", end=lambda a, b, c: struct.pack("<QII8s", 0, b, c, MAGIC))
columns(
    "trailer: offset 2**64-1", end=lambda a, b, c: struct.pack("<QII8s", 2**64 - 1, b, c, MAGIC)
)
columns("trailer: 4 GB of index", end=lambda a, b, c: struct.pack("<QII8s", a, b, 2**32 - 1, MAGIC))
columns("trailer: a larger index", end=lambda a, b, c: struct.pack("<QII8s", a, b + 1, c, MAGIC))
columns(
    "trailer: a smaller raw index", end=lambda a, b, c: struct.pack("<QII8s", a, b, c - 1, MAGIC)
)
columns("trailer: 1 MB of raw index", end=lambda a, b, c: struct.pack("<QII8s", a, b, MIB, MAGIC))
columns("trailer: other magic", end=lambda a, b, c: struct.pack("<QII8s", a, b, c, b"SHRDPKL2"))
columns("trailer: none", end=lambda a, b, c: b"")
content("a hole between frames", lambda: _holed())
content("a shard of nothing", lambda: b"")
content("a shard of its magic", lambda: MAGIC)
content("a shard of two magics", lambda: MAGIC * 4)
content("a shard of zeros", lambda: bytes(1000))
content("a shard cut", lambda: plain(EMPTY)[:-1])
content("a shard without its first byte", lambda: plain(EMPTY)[1:])


def _holed() -> bytes:
    return layered(
        [*base()[:4], [(pack(EMPTY) + b"\0" * 8, len(EMPTY), 0)]],
        entries=lambda found: [*found[:4], [[found[4][0][0] - 8, *found[4][0][1:]]]],
    )


# Frames of zstd ----------------------------------------------------------------------------------


def compressed(raw: bytes, **options: Any) -> bytes:
    return zstandard.ZstdCompressor(**options).compress(raw)


def with_dictionary(raw: bytes) -> bytes:
    samples = [bytes([n % 251, n % 7, 3, 4, 5]) * 20 for n in range(2000)]
    dictionary = zstandard.train_dictionary(1024, samples)
    made = zstandard.ZstdCompressor(dict_data=dictionary, write_checksum=True, write_dict_id=True)
    return made.compress(raw)


def by_hand(
    raw: bytes, *, size: int | None = None, window: int = 10, checksum: bool = True
) -> bytes:
    """A frame of one plain block that says this size and this window (its logarithm)."""
    header = struct.pack(
        "<IBBI", 0xFD2FB528, 0x84, (window - 10) << 3, len(raw) if size is None else size
    )
    block = struct.pack("<I", 1 | len(raw) << 3)[:3] + raw
    return header + block + (pack(raw)[-4:] if checksum else b"")


def skippable(data: bytes) -> bytes:
    return struct.pack("<II", 0x184D2A50, len(data)) + data


def skeleton_frame(name: str, make: Callable[[], bytes], may: Iterable[str] = ("refused",)) -> None:
    """The frame of the skeleton is another one, which the index says to be right."""
    content(name, lambda: layered(base([(make(), len(EMPTY), 0)])), may)


skeleton_frame("frame: sane, by hand", lambda: by_hand(EMPTY), LOADED)
skeleton_frame(
    "frame: no content size",
    lambda: compressed(EMPTY, write_checksum=True, write_content_size=False),
)
skeleton_frame("frame: another content size", lambda: by_hand(EMPTY, size=7))
skeleton_frame("frame: content size of 4 GB", lambda: by_hand(EMPTY, size=2**32 - 1))
skeleton_frame("frame: no checksum", lambda: compressed(EMPTY, write_checksum=False))
skeleton_frame("frame: a wrong checksum", lambda: pack(EMPTY)[:-1] + b"\x99")
skeleton_frame("frame: a cut checksum", lambda: pack(EMPTY)[:-1])
skeleton_frame("frame: a dictionary", lambda: with_dictionary(EMPTY))
skeleton_frame("frame: a skippable one", lambda: skippable(EMPTY))
skeleton_frame("frame: a skippable one before it", lambda: skippable(b"xx") + pack(EMPTY))
skeleton_frame("frame: a skippable one behind it", lambda: pack(EMPTY) + skippable(b"xx"))
skeleton_frame("frame: two of them", lambda: pack(EMPTY) * 2)
skeleton_frame("frame: an empty one before it", lambda: pack(b"") + pack(EMPTY))
skeleton_frame("frame: bytes behind it", lambda: pack(EMPTY) + b"\0")
skeleton_frame("frame: a window of 2 GB", lambda: by_hand(EMPTY, window=31), EITHER)
skeleton_frame("frame: a window of 2 TB", lambda: by_hand(EMPTY, window=41))
skeleton_frame("frame: a window of 128 MB", lambda: by_hand(EMPTY, window=27), EITHER)
skeleton_frame("frame: no zstd", lambda: EMPTY)
skeleton_frame("frame: a reserved block", lambda: by_hand(EMPTY)[:10] + b"\x07\0\0" + bytes(9))


def zeros_frame(size: int) -> tuple[bytes, int, int]:
    made = zstandard.ZstdCompressor(write_checksum=True).compressobj(size=size)
    parts = [made.compress(bytes(MIB)) for _ in range(size // MIB)]
    return b"".join([*parts, made.flush()]), size, 0


def bomb(size: int, *, frames: int = 1) -> bytes:
    """An array of zeros in frames of `size` bytes."""
    one = zeros_frame(size)
    head = [[frame(part)] if part else [] for part in directory(VALUE, (size * frames,))]
    return layered(
        [*head, [one]],
        entries=lambda found: [*found[:5], [*found[5], *[5] * (frames - 1)]],
        layouts=[[U1]],
        dimensions=1,
    )


def many_parts(path: Path, frames: int) -> None:
    """A small file of many equal parts: 131,072 for each frame of their numbers."""
    columns = [[frame(ints(len(EMPTY)))], [frame(bytes(MIB))], [], [], [frame(EMPTY)]]
    count = MIB // 8 * frames
    made = layered(
        columns,
        entries=lambda found: [
            found[0],
            [*found[1], *[1] * (frames - 1)],
            [1] * frames,
            *found[3:],
        ],
        document=lambda found: {**found, "parts": count},
    )
    write(path, made, len(EMPTY) * count, parts=count, runs=[run(count=count)])


case("bomb: 131,072 parts in a small file", lambda path: many_parts(path, 1), EITHER)
case("bomb: 917,504 parts in a small file", lambda path: many_parts(path, 7), EITHER)
GIB = 1 << 30
content("bomb: 64 MB of zeros in one frame", lambda: bomb(64 * MIB), EITHER, len(VALUE) + 64 * MIB)
content("bomb: 1 GB of zeros in one frame", lambda: bomb(GIB), EITHER, len(VALUE) + GIB)
content(
    "bomb: 16 GB of zeros in frames",
    lambda: bomb(MIB, frames=16_384),
    EITHER,
    len(VALUE) + 16 * GIB,
)
content("bomb: 1 GB of zeros in frames", lambda: bomb(MIB, frames=1024), EITHER, len(VALUE) + GIB)
content("bomb: raw bytes are not said", lambda: bomb(64 * MIB))


def skeleton_of(size: int) -> bytes:
    return layered(base([zeros_frame(size)]))


content("bomb: a skeleton of 1 GB", lambda: skeleton_of(GIB), raw=GIB)
content("bomb: a skeleton of 100 MB", lambda: skeleton_of(100 * MIB), raw=100 * MIB)
content("bomb: an index of 1 GB", lambda: _large_index(900 * MIB, b" "), EITHER)
content("bomb: an index of 300 MB of lists", lambda: _large_index(300 * MIB, b"[],"), EITHER)
content("bomb: an index of 400 MB of zeros", lambda: _large_index(400 * MIB, b"0,"), EITHER)


def _large_index(size: int, filler: bytes) -> bytes:
    """Random letters make the index large enough to be allowed that much."""
    letters = np.random.RandomState(0).bytes(size // 500 + MIB).hex().encode()

    def packed(text: bytes) -> bytes:
        spaces = b" " * size if filler == b" " else b""
        lists = b"" if filler == b" " else b"[" + filler * (size // len(filler)) + b"0],"
        return pack(b'{"layouts": [' + lists + b'"' + letters + b'"]' + spaces + text[1:])

    lengths: list[int] = []

    def measured(text: bytes) -> bytes:
        made = packed(text)
        lengths.append(zstandard.frame_content_size(made))
        return made

    return layered(
        base(),
        index=measured,
        end=lambda a, b, c: struct.pack("<QII8s", a, b, lengths[0], MAGIC),
    )


# Links, and what is no file -----------------------------------------------------------------------


def moved(change: Callable[[Path, Path], Any]) -> Callable[[Path], None]:
    """The shard is moved away; `change` gets its old place and its new one."""

    def spoil(path: Path) -> None:
        good(path)
        own = the_shard(path)
        aside = path / "aside"
        own.rename(aside)
        change(own, aside)

    return spoil


def manifest(change: Callable[[Path, Path], Any]) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        good(path)
        own, aside = path / "manifest.json", path / "aside"
        own.rename(aside)
        change(own, aside)

    return spoil


def folder(change: Callable[[Path, Path], Any]) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        good(path)
        own, aside = path / "shards", path / "aside"
        own.rename(aside)
        change(own, aside)

    return spoil


for _what, _of in {"shard": moved, "manifest": manifest}.items():
    case(f"{_what}: a link to a file", _of(lambda own, aside: own.symlink_to(aside)), LOADED)
    case(f"{_what}: a relative link", _of(lambda own, aside: _relative(own, aside)), LOADED)
    case(f"{_what}: a hard link", _of(lambda own, aside: own.hardlink_to(aside)), LOADED)
    for _device in ("zero", "random", "null", "tty", "stdin", "full"):
        case(
            f"{_what}: a link to /dev/{_device}",
            _of(lambda own, aside, device=_device: own.symlink_to(f"/dev/{device}")),
        )
    case(f"{_what}: a link to nothing", _of(lambda own, aside: own.symlink_to("nothing")))
    case(f"{_what}: a link to itself", _of(lambda own, aside: own.symlink_to(own.name)))
    case(f"{_what}: a link to a folder", _of(lambda own, aside: own.symlink_to(aside.parent)))
    case(
        f"{_what}: a link to /proc/self/mem",
        _of(lambda own, aside: own.symlink_to("/proc/self/mem")),
    )
    case(f"{_what}: a pipe", _of(lambda own, aside: os.mkfifo(own)))
    case(f"{_what}: a folder", _of(lambda own, aside: own.mkdir()))
    case(f"{_what}: missing", _of(lambda own, aside: None))
    case(f"{_what}: of no bytes", _of(lambda own, aside: own.touch()))
    case(f"{_what}: a socket", _of(lambda own, aside: _socket(own)))
    case(f"{_what}: a sparse file of 1 TB", _of(lambda own, aside: _sparse(own, aside)))
case("shards: a link to a folder", folder(lambda own, aside: own.symlink_to(aside)), LOADED)
case("shards: a link to itself", folder(lambda own, aside: own.symlink_to("shards")))
case("shards: a file", folder(lambda own, aside: own.touch()))
case("shards: a pipe", folder(lambda own, aside: os.mkfifo(own)))
case("shards: missing", folder(lambda own, aside: None))
case("shards: empty", folder(lambda own, aside: own.mkdir()))
case("an empty folder", lambda path: None)
case("shard: appended", moved(lambda own, aside: own.write_bytes(aside.read_bytes() + b"\0")))
case("shard: cut", moved(lambda own, aside: own.write_bytes(aside.read_bytes()[:-1])))
case("shard: one bit", moved(lambda own, aside: own.write_bytes(_flipped(aside.read_bytes()))))
case("shard: in capitals", moved(lambda own, aside: aside.rename(own.with_name(own.name.upper()))))


def _relative(own: Path, aside: Path) -> None:
    own.symlink_to(os.path.relpath(aside, own.parent))


def _socket(own: Path) -> None:
    os.mknod(own, 0o140644)


def _sparse(own: Path, aside: Path) -> None:
    own.write_bytes(aside.read_bytes())
    os.truncate(own, 1 << 40)


def _flipped(data: bytes) -> bytes:
    return data[:40] + bytes([data[40] ^ 1]) + data[41:]


def two_shards(path: Path, *, upper: bool = False) -> None:
    """A second shard that no part uses."""
    good(path)
    other = shard(directory(b"\x80\x05}\x85."), layouts=[[]])
    name = hashlib.sha256(other).hexdigest()
    (path / "shards" / f"{name}.shard").write_bytes(other)
    own = the_members(path)
    own["shards"].append([name.upper() if upper else name, len(other), 5, 1, None])
    publish(path, lines_of(own))


case("shards: one that no part uses", two_shards, EITHER)
case("shards: one that no part uses, in capitals", lambda path: two_shards(path, upper=True))
