"""Model directories written by hand, from docs/format.md alone: not with the library's writer.

Digests are right unless a case spoils them, so nothing is refused for a wrong one.
"""

import hashlib
import json
import struct

import numpy as np
import zstandard

INTS = "<i8"


def pack(raw):
    return zstandard.ZstdCompressor(write_checksum=True).compress(bytes(raw))


def shard(columns, *, layouts=(), parts=1, skeletons=1, dimensions=0, frames=None, index_pad=0):
    body = b"SHRDPKL1"
    entries = []
    for column in columns:
        data = pack(column)
        entries.append([[len(data), len(column), 0]] if len(column) else [])
        body += data if len(column) else b""
    document = {
        "parts": parts,
        "skeletons": skeletons,
        "dimensions": dimensions,
        "layouts": layouts,
        "columns": frames(entries) if frames else entries,
    }
    raw = json.dumps(document).encode() + b" " * index_pad
    index = pack(raw)
    return body + index + struct.pack("<QII8s", len(body), len(index), len(raw), b"SHRDPKL1")


def ints(*numbers):
    return np.array(numbers, INTS).tobytes()


def directory(skeleton, shape=(), layout=0):
    return [ints(len(skeleton)), ints(0), ints(layout), ints(*shape), skeleton]


def run(**changes):
    plain = {
        "class": "builtins.list",
        "count": 1,
        "shard": 0,
        "slot": 0,
        "objects": 1,
        "names": [],
        "references": [],
    }
    return {**plain, **changes}


def write(path, content, raw, *, parts=1, runs=None, table=None, **changes):
    """A directory of one shard; its digests are right."""
    name = hashlib.sha256(content).hexdigest()
    (path / "shards").mkdir(parents=True)
    (path / "shards" / f"{name}.shard").write_bytes(content)
    members = {
        "format": "shardpickle",
        "version": 1,
        "writer": "0",
        "profile": "full",
        "environment": {},
        "metadata": {},
        "names": [],
        "parts": runs or [run()],
        "shards": [[name, len(content), raw, parts, table]],
        **changes,
    }
    lines = [f'"{key}": {json.dumps(value)}' for key, value in members.items()]
    body = ("{\n" + ",\n".join(lines)).encode()
    digest = hashlib.sha256(body).hexdigest()
    (path / "manifest.json").write_bytes(body + f',\n"sha256": "{digest}"\n}}\n'.encode())


EMPTY = b"\x80\x05]\x85."  # ([],)
U1 = ["array", "ndarray", "|u1", 1, "C", True]
U1_3D = ["array", "ndarray", "|u1", 3, "C", True]
TEXT = ["array", "str", "|u1", 1, "C", True]
VALUE = b"\x80\x05K\x00Q\x85."  # (value 0,)


def plain(skeleton, **options):
    return shard(directory(skeleton), layouts=[[]], **options)


def nested(depth, tail):
    return b"\x80\x05)" + b"\x85" * depth + tail


DAG = (
    b"\x80\x05)"
    + b"\x94h\x00\x86"
    + b"".join(b"\x94h" + bytes([n]) + b"\x86" for n in range(1, 60))
)

TREE = ["trees", "tree", "<f8", 4, "C", True]
STUMP = (1, 0, 1, 1)  # nodes, depth, features, classes of the one output
NODES = 64 + 8


def tree(path, columns, shape=STUMP, raw=NODES, spec=TREE):
    """A shard whose one value is a tree with these columns (31 are right)."""
    head = directory(VALUE, shape)
    write(path, shard([*head, *columns], layouts=[[spec]], dimensions=len(shape)), len(VALUE) + raw)


def lengths(**items):
    """Lengths of the 26 streams of one tree: 0 where nothing is said."""
    return ints(*(items.get(f"s{number}", 0) for number in range(26)))


def stump(leaf=b"\x80", rules=4 + 8 + 128 + 4096, samples=b"\x01", value=bytes(8), more=()):
    """The columns of a tree of one leaf."""
    streams = {0: leaf, 7: samples, 16: value, 21: b"\x00", **dict(more)}
    widths = {1: 8, 3: 8, 4: 8, 5: 4, 16: 8, 17: 4, 20: 8, 25: 8}
    items = {f"s{k}": len(each) // widths.get(k, 1) for k, each in streams.items()}
    heads = [np.array([rules], "<u4").tobytes(), lengths(**items), b"", b"", b""]
    return heads + [streams.get(number, b"") for number in range(26)]
