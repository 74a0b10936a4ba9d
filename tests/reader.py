"""An independent reader of the format: standard library, numpy and zstandard, not the library.

Written from docs/format.md alone. It gives each part as (skeleton, list of arrays).
"""

import hashlib
import json
import struct
from itertools import pairwise
from pathlib import Path

import numpy as np
import zstandard


def read_model(path):
    """(the manifest, the parts of every shard)"""
    data = Path(path, "manifest.json").read_bytes()
    body, _, rest = data.rpartition(b',\n"sha256": "')
    assert rest[:64].decode() == hashlib.sha256(body).hexdigest()
    document = json.loads(data)
    assert (document["format"], document["version"], document["draft"]) == ("shardpickle", 0, 1)
    shards = []
    for sha256, nbytes, raw, parts in document["shards"]:
        content = Path(path, "shards", f"{sha256}.shard").read_bytes()
        assert hashlib.sha256(content).hexdigest() == sha256
        assert len(content) == nbytes
        found = read_shard(content)
        assert len(found) == parts
        assert raw == sum(len(s) + sum(a.nbytes for a in arrays) for s, arrays in found)
        shards.append(found)
    return document, shards


def read_shard(content):
    offset, stored, nbytes, magic = struct.unpack("<QII8s", content[-24:])
    assert content[:8] == magic == b"SHRDPKL0"
    assert offset + stored + 24 == len(content)
    index = json.loads(unpack(content[offset : offset + stored], nbytes))
    columns = Columns(content, index["columns"], offset)
    lengths, skeleton_of, layout_of, shapes = (columns.next("<i8") for _ in range(4))
    assert (len(lengths), len(skeleton_of)) == (index["skeletons"], index["parts"])
    assert len(shapes) == index["dimensions"]
    joined = columns.next("u1").tobytes()
    edges = [0, *np.cumsum(lengths)]
    skeletons = [joined[a:b] for a, b in pairwise(edges)]
    arrays = allocate(index["layouts"], layout_of, shapes)
    for number, layout in enumerate(index["layouts"]):
        members = np.flatnonzero(layout_of == number)
        for place in range(len(layout)):
            fill([arrays[member][place] for member in members], columns)
    columns.finish()
    return [(skeletons[s], each) for s, each in zip(skeleton_of, arrays, strict=True)]


def allocate(layouts, layout_of, shapes):
    shapes = iter(shapes.tolist())
    parts = []
    for number in layout_of:
        part = []
        for codec, kind, dtype, ndim, order, writeable in layouts[number]:
            assert codec == "array"
            assert kind in ("ndarray", "memmap", "bytes", "bytearray", "str")
            assert isinstance(writeable, bool)
            shape = [next(shapes) for _ in range(ndim)]
            part.append(np.zeros(shape, dtype_of(dtype), order=order))
        parts.append(part)
    assert not list(shapes)
    return parts


def dtype_of(text):
    spec = json.loads(text) if text[0] in "{[" else text
    return build(spec)


def build(spec):
    if isinstance(spec, str):
        return np.dtype(spec)
    if isinstance(spec, list):
        return np.dtype((build(spec[0]), tuple(spec[1])))
    return np.dtype(
        {
            "names": spec["names"],
            "formats": [build(each) for each in spec["formats"]],
            "offsets": spec["offsets"],
            "itemsize": spec["itemsize"],
        },
        align=spec["aligned"],
    )


def fill(arrays, columns):
    for path in paths(arrays[0].dtype):
        views = [view(array, path) for array in arrays]
        items = columns.next(views[0].dtype)
        at = 0
        for target in views:
            target[...] = items[at : at + target.size].reshape(target.shape)
            at += target.size
        assert at == len(items)


def paths(dtype):
    if dtype.names is None:
        return [()]
    return [(name, *rest) for name in dtype.names for rest in paths(dtype.fields[name][0])]


def view(array, path):
    """The items of one field, in memory order."""
    flat = array.T.reshape(-1) if array.flags.fnc else array.reshape(-1)
    for name in path:
        flat = flat[name]
    return flat


class Columns:
    def __init__(self, content, columns, end):
        self.content, self.columns, self.end = content, iter(columns), end
        self.at = 8
        self.known = []

    def next(self, dtype):
        dtype = np.dtype(dtype)
        width = {"U": 4, "S": 1, "V": 1, "c": dtype.itemsize // 2}.get(dtype.kind, dtype.itemsize)
        raw = b"".join(self.frame(entry, width) for entry in next(self.columns))
        return np.frombuffer(raw, dtype) if dtype.itemsize else np.zeros(0, dtype)

    def frame(self, entry, width):
        if isinstance(entry, int):
            data, nbytes, shuffled = self.known[entry]
        else:
            stored, nbytes, shuffled = entry
            data = self.content[self.at : self.at + stored]
            self.at += stored
            self.known.append((data, nbytes, shuffled))
        raw = unpack(data, nbytes)
        if shuffled:
            raw = np.frombuffer(raw, np.uint8).reshape(width, -1).T.tobytes()
        return raw

    def finish(self):
        assert self.at == self.end
        assert next(self.columns, None) is None


def unpack(data, nbytes):
    assert zstandard.get_frame_parameters(data).has_checksum
    raw = zstandard.ZstdDecompressor().decompress(data)
    assert len(raw) == nbytes
    return raw
