"""An independent reader of the format: standard library, numpy and zstandard, not the library.

Written from docs/format.md and docs/trees.md alone. It gives each part as (skeleton, list of
values); a value is an array (nodes of histogram boosting too) or a `Tree`.
"""

import hashlib
import json
import struct
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import zstandard

NODE = np.dtype(
    {
        "names": [
            "left_child",
            "right_child",
            "feature",
            "threshold",
            "impurity",
            "n_node_samples",
            "weighted_n_node_samples",
            "missing_go_to_left",
        ],
        "formats": ["<i8", "<i8", "<i8", "<f8", "<f8", "<i8", "<f8", "u1"],
        "itemsize": 64,
    }
)
PREDICTOR = np.dtype(
    [
        ("value", "<f8"),
        ("count", "<u4"),
        ("feature_idx", "<i8"),
        ("num_threshold", "<f8"),
        ("missing_go_to_left", "u1"),
        ("left", "<u4"),
        ("right", "<u4"),
        ("gain", "<f8"),
        ("depth", "<u4"),
        ("is_leaf", "u1"),
        ("bin_threshold", "u1"),
        ("is_categorical", "u1"),
        ("bitset_idx", "<u4"),
    ]
)
RULES = [
    "PERMUTED",
    "RAW",
    "SAMPLES",
    "WEIGHT_EQUAL",
    "WEIGHT_WHOLE",
    "COUNTS",
    "WHOLE_SUMS",
    "MEANS",
    "STEPS",
    "GINI",
    "SQUARES",
    "SPREAD",
    "MISSING",
    "INFERENCE",
    "HAZARD",
]
STREAMS = {
    "leaves": "u1",
    "order": "<i8",
    "feature": "u1",
    "feature, large": "<u8",
    "threshold": "<u8",
    "threshold, rank": "<u4",
    "missing": "u1",
    "samples": "u1",
    "samples, large": "<u8",
    "weight": "u1",
    "weight, large": "<u8",
    "weight, plain": "<u8",
    "class": "u1",
    "class, large": "<u8",
    "counts": "u1",
    "counts, large": "<u8",
    "value": "<u8",
    "value, rank": "<u4",
    "value, residual": "u1",
    "value, residual, large": "<u8",
    "impurity": "<u8",
    "impurity of leaves": "u1",
    "impurity of leaves, large": "<u8",
    "impurity of inner nodes": "u1",
    "impurity of inner nodes, large": "<u8",
    "raw": "<u8",
}


# --- Files ---


def read_model(path):
    """(the manifest, the parts of every shard)"""
    data = Path(path, "manifest.json").read_bytes()
    body, _, rest = data.rpartition(b',\n"sha256": "')
    assert rest[:64].decode() == hashlib.sha256(body).hexdigest()
    document = json.loads(data)
    assert (document["format"], document["version"]) == ("shardpickle", 1)
    assert document["profile"] in ("full", "inference")
    shards = [None] * len(document["shards"])
    places = parts_of(document)
    # Those that hold tables have none themselves: first.
    for number in sorted(range(len(shards)), key=lambda n: document["shards"][n][4] is not None):
        at = document["shards"][number][4]
        table = None if at is None else shards[places[at][0]][places[at][1]][1]
        shards[number] = read_file(path, document["shards"][number], table)
    return document, shards


def parts_of(document):
    """(shard, slot) of each part."""
    return [
        (run["shard"], run["slot"] + place)
        for run in document["parts"]
        for place in range(run["count"])
    ]


def read_file(path, entry, table):
    sha256, nbytes, raw, parts, _ = entry
    content = Path(path, "shards", f"{sha256}.shard").read_bytes()
    assert hashlib.sha256(content).hexdigest() == sha256
    assert len(content) == nbytes
    found = read_shard(content, table)
    assert len(found) == parts
    assert raw == sum(len(s) + sum(v.nbytes for v in values) for s, values in found)
    return found


def read_shard(content, table=None):
    offset, stored, nbytes, magic = struct.unpack("<QII8s", content[-24:])
    assert content[:8] == magic == b"SHRDPKL1"
    assert offset + stored + 24 == len(content)
    assert nbytes <= max(1 << 20, 500 * stored)
    text = unpack(content[offset : offset + stored])
    assert len(text) == nbytes
    index = json.loads(text)
    columns = Columns(content, index["columns"], offset)
    lengths, skeleton_of, layout_of, shapes = (columns.next("<i8") for _ in range(4))
    assert (len(lengths), len(skeleton_of)) == (index["skeletons"], index["parts"])
    assert len(shapes) == index["dimensions"]
    joined = columns.next("u1").tobytes()
    edges = [0, *np.cumsum(lengths)]
    skeletons = [joined[a:b] for a, b in pairwise(edges)]
    values = allocate(index["layouts"], layout_of, shapes)
    for number, layout in enumerate(index["layouts"]):
        members = np.flatnonzero(layout_of == number)
        for group in groups(layout):
            fill(
                [values[m][place] for place in group for m in members],
                layout[group[0]],
                table,
                columns,
            )
    columns.finish()
    return [(skeletons[s], each) for s, each in zip(skeleton_of, values, strict=True)]


def groups(layout):
    """The places whose values share columns: eight or more neighbours of equal specs."""
    runs = []
    for place, spec in enumerate(layout):
        if runs and layout[runs[-1][0]] == spec:
            runs[-1].append(place)
        else:
            runs.append([place])
    return [
        group for run in runs for group in ([run] if len(run) >= 8 else [[place] for place in run])
    ]


def fill(values, spec, table, columns):
    if spec[0] == "trees":
        fill_trees(values, columns, table)
    elif spec[0] == "predictors":
        fill_predictors(values, columns)
    else:
        fill_arrays(values, columns)


def allocate(layouts, layout_of, shapes):
    shapes = iter(shapes.tolist())
    parts = [
        [empty(*spec, [next(shapes) for _ in range(spec[3])]) for spec in layouts[number]]
        for number in layout_of
    ]
    assert not list(shapes)
    return parts


def empty(codec, kind, dtype, ndim, order, writeable, shape):
    if codec == "trees":
        assert (kind, dtype, order, writeable) == ("tree", "<f8", "C", True)
        return Tree.empty(*shape[:3], shape[3:])
    if codec == "predictors":
        assert (kind, len(shape), dtype_of(dtype)) == ("ndarray", 1, PREDICTOR)
    else:
        assert codec == "array"
        assert kind in ("ndarray", "memmap", "bytes", "bytearray", "str")
    assert isinstance(writeable, bool)
    made = np.ndarray(shape, dtype_of(dtype), order=order)  # np.zeros makes S1 of S0
    if made.itemsize:
        made[...] = np.zeros((), made.dtype)
    return made


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


def fill_arrays(arrays, columns):
    for path in paths(arrays[0].dtype):
        views = [view(array, path) for array in arrays]
        items = columns.next(views[0].dtype)
        if not views[0].dtype.itemsize:
            continue
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
            data, nbytes, form = self.known[entry]
        else:
            stored, nbytes, form = entry
            data = self.content[self.at : self.at + stored]
            self.at += stored
            self.known.append((data, nbytes, form))
        raw = FORMS[form](unpack(data), width)
        assert len(raw) == nbytes
        return raw

    def finish(self):
        assert self.at == self.end
        assert next(self.columns, None) is None


def unpack(data):
    parameters = zstandard.get_frame_parameters(data)
    assert parameters.has_checksum
    raw = zstandard.ZstdDecompressor().decompress(data)
    assert len(raw) == parameters.content_size <= len(data) << 16
    return raw


def plain(content, width):
    return content


def shuffled(content, width):
    return np.frombuffer(content, np.uint8).reshape(width, -1).T.tobytes()


def palette(content, width):
    assert width in (2, 4, 8)
    start = 1 + (content[0] + 1) * width
    colours = np.frombuffer(content[1:start], f"V{width}")
    return colours[np.frombuffer(content[start:], np.uint8)].tobytes()


FORMS = (plain, shuffled, palette)


# --- Trees ---


@dataclass
class Tree:
    """A tree's head, its nodes and values; how it was stored."""

    max_depth: int
    n_features: int
    n_classes: list
    nodes: np.ndarray
    values: np.ndarray
    rules: frozenset = frozenset()
    streams: frozenset = frozenset()  # those with items

    @classmethod
    def empty(cls, n, max_depth, n_features, n_classes):
        assert n >= 1
        assert n_classes
        values = np.zeros((n, len(n_classes), max(n_classes)))
        return cls(max_depth, n_features, n_classes, np.zeros(n, NODE), values)

    @property
    def nbytes(self):
        return self.nodes.nbytes + self.values.nbytes


@dataclass
class Table:
    starts: list
    thresholds: list
    values: list


def fill_trees(trees, columns, shared):
    rules = columns.next("<u4").tolist()
    lengths = columns.next("<i8").reshape(len(STREAMS), len(trees)).tolist()
    own = [columns.next(dtype) for dtype in ("<i8", "<u8", "<u8")]
    assert shared is None or not any(map(len, own))
    table = Table(*(each.view("<u8").tolist() for each in (shared or own)))
    streams = {name: iter(columns.next(STREAMS[name]).tolist()) for name in STREAMS}
    for place, tree in enumerate(trees):
        assert rules[place] < 1 << len(RULES)
        tree.rules = frozenset(r for bit, r in enumerate(RULES) if rules[place] >> bit & 1)
        items = {
            name: list(islice(stream, counts[place]))
            for (name, stream), counts in zip(streams.items(), lengths, strict=True)
        }
        for name, counts in zip(STREAMS, lengths, strict=True):
            assert len(items[name]) == counts[place]
        tree.streams = frozenset(name for name in STREAMS if items[name])
        Decoder(tree, Streams(items), table).run()
    assert not any(list(stream) for stream in streams.values())


class Streams:
    """The items of one tree."""

    def __init__(self, items):
        self.lengths = {name: len(each) for name, each in items.items()}
        self.items = {name: iter(each) for name, each in items.items()}

    def next(self, name):
        return next(self.items[name])

    def all(self, name):
        return list(self.items[name])

    def integer(self, name):
        small = self.next(name)
        large = self.next(f"{name}, large") if small == 255 else None
        assert large is None or large >= 255
        return small if large is None else large

    def signed(self, name):
        return unzigzag(self.integer(name))

    def corrected(self, name, prediction):
        return corrected(self.signed(name), prediction)

    def finish(self):
        assert not any(list(stream) for stream in self.items.values())


def shape_of(is_leaf):
    """(left child, right child, parent, depth) of each node in preorder; -1 where there is none."""
    left, right, parents, depths = ([-1] * len(is_leaf) for _ in range(4))
    waiting = [(-1, False, 0)]  # (parent, whether a right child comes, depth)
    for node in range(len(is_leaf)):
        parents[node], is_right, depths[node] = waiting.pop()
        if is_right:
            right[parents[node]] = node
        if not is_leaf[node]:
            left[node] = node + 1
            waiting += [(node, True, depths[node] + 1), (node, False, depths[node] + 1)]
    assert not waiting
    return left, right, parents, depths


class Decoder:
    """One tree, from its streams; lists are in preorder."""

    def __init__(self, tree, streams, table):
        self.tree, self.streams, self.table = tree, streams, table
        self.n, self.K, self.C = tree.values.shape
        self.samples = [-1] * self.n
        self.weight = [UNKNOWN] * self.n
        self.impurity = [UNKNOWN] * self.n
        self.value = [[UNKNOWN] * (self.K * self.C) for _ in range(self.n)]

    def has(self, *rules):
        return not self.tree.rules.isdisjoint(rules)

    def run(self):
        if self.has("RAW"):
            self.read_raw()
        else:
            self.read_structure()
            self.read_features()
            self.read_thresholds()
            if self.has("INFERENCE"):
                self.read_rows(self.leaves)
                self.missing = self.plain_missing()
            else:
                self.read_statistics()
            self.store(self.read_order())
        self.streams.finish()

    def read_statistics(self):
        self.read_samples()
        self.read_weights()
        self.read_values()
        self.read_impurities()
        self.read_missing()

    def read_raw(self):
        data = np.array(self.streams.all("raw"), "<u8").tobytes()
        size = self.tree.nodes.nbytes
        self.tree.nodes[:] = np.frombuffer(data[:size], NODE)
        self.tree.values[:] = np.frombuffer(data[size:], "<f8").reshape(self.tree.values.shape)
        assert not np.frombuffer(data[:size], "u1").reshape(-1, 64)[:, 57:].any()

    def read_structure(self):
        packed = np.array(self.streams.all("leaves"), np.uint8)
        assert len(packed) == -(-self.n // 8)
        bits = np.unpackbits(packed)
        assert not bits[self.n :].any()
        self.is_leaf = bits[: self.n].astype(bool).tolist()
        self.leaves = [node for node in range(self.n) if self.is_leaf[node]]
        self.inner = [node for node in range(self.n) if not self.is_leaf[node]]
        self.up = self.inner[::-1]
        self.left, self.right, self.parent, depth = shape_of(self.is_leaf)
        assert max(depth) <= self.tree.max_depth

    def read_features(self):
        self.feature = [-2] * self.n
        for node in self.inner:
            self.feature[node] = self.streams.integer("feature")
            assert self.feature[node] < self.tree.n_features

    def read_thresholds(self):
        self.threshold = [-2.0] * self.n
        ordered = self.inner
        if self.tree.n_features <= 4096:
            ordered = sorted(self.inner, key=self.feature.__getitem__)
        starts = self.table.starts
        ranked = len(starts) == self.tree.n_features + 1
        last = dict(enumerate(starts))
        for node in ordered:
            feature = self.feature[node]
            if ranked:
                bits = self.ranked(
                    "threshold", self.table.thresholds, last, feature, starts[feature : feature + 2]
                )
            else:
                bits = self.streams.next("threshold")
            self.threshold[node] = from_bits(bits)

    def ranked(self, name, table, last, group, bounds):
        item = self.streams.next(f"{name}, rank")
        if item == 0:
            return self.streams.next(name)
        last[group] += unzigzag(item - 1)
        assert bounds[0] <= last[group] < bounds[1]
        return table[last[group]]

    def read_samples(self):
        for node in self.leaves:
            self.samples[node] = self.streams.integer("samples")
        for node, left, right in self.families():
            extra = 0 if self.has("SAMPLES") else self.streams.signed("samples")
            self.samples[node] = self.samples[left] + self.samples[right] + extra
        self.samples = [signed(number) for number in self.samples]

    def families(self):
        """(inner node, left child, right child), children before parents."""
        return [(node, self.left[node], self.right[node]) for node in self.up]

    def read_weights(self):
        if self.has("WEIGHT_EQUAL"):
            self.weight = [float(number) for number in self.samples]
            assert all(map(whole, self.weight))
            return
        known = self.has("WEIGHT_WHOLE")
        for node in self.leaves:
            if known:
                self.weight[node] = float(
                    signed(self.samples[node] + self.streams.signed("weight"))
                )
            else:
                self.weight[node] = from_bits(self.streams.next("weight, plain"))
        for node, left, right in self.families():
            total = self.weight[left] + self.weight[right]
            self.weight[node] = total if known else self.streams.corrected("weight", total)
        assert not known or all(map(whole, self.weight))

    def read_values(self):
        if self.has("COUNTS"):
            self.read_counts()
        elif self.has("HAZARD"):
            self.read_hazard()
        elif self.has("STEPS"):
            self.read_steps()
        elif self.has("WHOLE_SUMS"):
            self.read_rows(self.leaves)
            self.read_sums()
        elif self.has("MEANS"):
            self.read_rows(self.leaves)
            self.read_means()
        else:
            self.read_rows(range(self.n))

    def read_counts(self):
        assert self.has("WEIGHT_EQUAL", "WEIGHT_WHOLE")
        assert self.C > 1
        assert min(self.weight) >= 1
        self.count = [None] * self.n
        for node in self.leaves:
            outputs = [self.read_output_counts(int(self.weight[node])) for _ in range(self.K)]
            self.count[node] = [count for output in outputs for count in output]
        for node, left, right in self.families():
            both = zip(self.count[left], self.count[right], strict=True)
            self.count[node] = [a + b for a, b in both]
        for node in range(self.n):
            self.value[node] = [count / self.weight[node] for count in self.count[node]]

    def read_output_counts(self, weight):
        winner = self.streams.integer("class")
        if winner < self.C:
            return [weight * (number == winner) for number in range(self.C)]
        assert winner == self.C
        counts = [self.streams.integer("counts") for _ in range(self.C - 1)]
        assert sum(counts) <= weight
        return [*counts, weight - sum(counts)]

    def read_hazard(self):
        assert self.has("WEIGHT_EQUAL", "WEIGHT_WHOLE")
        assert self.C == 2
        assert self.K > 1
        for node in range(self.n):
            hazard, survival, at_risk = 0.0, 1.0, int(self.weight[node])
            self.value[node] = []
            for _ in range(self.K):
                events = self.streams.integer("counts")
                if events:
                    at_risk -= self.streams.integer("class")
                    assert 1 <= events <= at_risk
                    hazard += events / at_risk
                    survival *= 1.0 - events / at_risk
                    at_risk -= events
                self.value[node] += [hazard, survival]

    def read_steps(self):
        for node in range(self.n):
            row = [0.0] * self.C
            for _ in range(self.K * self.C):
                row.append(self.streams.corrected("value, residual", row[-self.C]))
            self.value[node] = row[self.C :]

    def read_rows(self, nodes):
        last = dict.fromkeys(range(self.K), 0)
        for node in nodes:
            self.value[node] = [v for k in range(self.K) for v in self.read_output(last, k)]

    def read_output(self, last, k):
        if self.C > 1:
            winner = self.streams.integer("class")
            if winner < self.C:
                return [float(number == winner) for number in range(self.C)]
            assert winner == self.C
        elif self.table.values:
            bounds = (0, len(self.table.values))
            return [from_bits(self.ranked("value", self.table.values, last, k, bounds))]
        return [from_bits(self.streams.next("value")) for _ in range(self.C)]

    def read_sums(self):
        assert self.C == 1
        assert all(whole(weight) and weight >= 1 for weight in self.weight)
        sums = [None] * self.n
        for node in self.leaves:
            sums[node] = [round(v * self.weight[node]) for v in self.value[node]]
            assert all(abs(s) < 1 << 53 for s in sums[node])
        for node, left, right in self.families():
            sums[node] = [a + b for a, b in zip(sums[left], sums[right], strict=True)]
            assert all(abs(s) < 1 << 53 for s in sums[node])
            self.value[node] = [s / self.weight[node] for s in sums[node]]

    def read_means(self):
        for node, left, right in self.families():
            w_l, w_r, w = self.weight[left], self.weight[right], self.weight[node]
            for place in range(self.K * self.C):
                v_l, v_r = self.value[left][place], self.value[right][place]
                mean = over(w_l * v_l + w_r * v_r, w)
                self.value[node][place] = self.streams.corrected("value, residual", mean)

    def read_impurities(self):
        if self.has("GINI"):
            self.read_gini()
        elif self.has("SQUARES"):
            self.read_squares()
        elif self.has("SPREAD"):
            self.read_spread()
        else:
            for node in range(self.n):
                zero = self.is_leaf[node] and self.streams.next("impurity of leaves") == 0
                self.impurity[node] = 0.0 if zero else self.plain_impurity()

    def plain_impurity(self):
        return from_bits(self.streams.next("impurity"))

    def read_gini(self):
        assert self.has("COUNTS")
        for node in range(self.n):
            w, counts, gini = self.weight[node], self.count[node], 0.0
            for k in range(self.K):
                squares = total(float(c) * c for c in counts[k * self.C : (k + 1) * self.C])
                gini += 1.0 - squares / (w * w)
            self.impurity[node] = gini / self.K

    def read_squares(self):
        assert self.has("WHOLE_SUMS")
        assert self.K == 1
        squares = [0] * self.n
        for node in self.leaves:
            v = self.value[node][0]
            guess = (v * v) * self.weight[node]
            guess = round(guess) if guess < 1 << 53 else 0
            squares[node] = guess + self.streams.signed("impurity of leaves")
        for node, left, right in self.families():
            squares[node] = squares[left] + squares[right]
        for node, q in enumerate(squares):
            assert 0 <= q < 1 << 53
            v = self.value[node][0]
            self.impurity[node] = q / self.weight[node] - v * v

    def read_spread(self):
        assert self.C == 1
        for node in self.leaves:
            predicted = self.right_leaf if self.beside_a_leaf(node) else self.lone_leaf
            self.spread(node, "impurity of leaves", predicted)
        for node in self.up:
            self.spread(node, "impurity of inner nodes", self.inner_node)

    def beside_a_leaf(self, node):
        """Whether it is a right child, and the left one is a leaf."""
        parent = self.parent[node]
        return parent >= 0 and self.right[parent] == node and self.is_leaf[self.left[parent]]

    def spread(self, node, stream, predicted):
        item = self.streams.integer(stream)
        if item == 0:
            self.impurity[node] = self.plain_impurity()
        else:
            quarter = quarter_ulp(total(v * v for v in self.value[node]))
            self.impurity[node] = predicted(node) + float(unzigzag(item - 1)) * quarter

    def less_squares(self, numerator, node, means):
        result = over(numerator, self.weight[node])
        for mean in means:
            result -= mean * mean
        return result / self.K

    def lone_leaf(self, node):
        return self.less_squares(self.weighted_squares(node), node, self.value[node])

    def weighted_squares(self, node):
        return total((self.weight[node] * v) * v for v in self.value[node])

    def right_leaf(self, node):
        left = self.left[self.parent[node]]
        before = after = self.weighted_squares(left)
        w, x = self.weight[node], self.weight[left]
        means = []
        for u, v in zip(self.value[left], self.value[node], strict=True):
            after += (w * v) * v
            means.append(over((x * u + w * v) - x * u, w))
        return self.less_squares(after - before, node, means)

    def inner_node(self, node):
        q = self.child_squares(self.left[node]) + self.child_squares(self.right[node])
        return self.less_squares(q, node, self.value[node])

    def child_squares(self, node):
        if self.is_leaf[node] and self.samples[node] == 1:
            return self.weighted_squares(node)
        squares = total(v * v for v in self.value[node])
        return (self.impurity[node] * self.K + squares) * self.weight[node]

    def read_missing(self):
        if not self.has("MISSING"):
            self.missing = self.plain_missing()
            return
        self.missing = [0] * self.n
        for node, left, right in self.families():
            self.missing[node] = int(self.samples[left] > self.samples[right])

    def plain_missing(self):
        return [self.streams.next("missing") for _ in range(self.n)]

    def read_order(self):
        """The number of each node."""
        order = self.streams.all("order")
        if not self.has("PERMUTED"):
            assert not order
            return list(range(self.n))
        if len(order) == self.n:
            assert sorted(order) == list(range(self.n))
            return order
        numbers = [0] * self.n
        for node, number in zip(self.inner, order, strict=True):
            numbers[self.left[node]] = number
            numbers[self.right[node]] = number + 1
        assert sorted(numbers) == list(range(self.n))
        return numbers

    def store(self, order):
        nodes = np.zeros(self.n, NODE)
        nodes["left_child"] = [-1 if child < 0 else order[child] for child in self.left]
        nodes["right_child"] = [-1 if child < 0 else order[child] for child in self.right]
        nodes["feature"] = self.feature
        nodes["threshold"] = self.threshold
        nodes["impurity"] = self.impurity
        nodes["n_node_samples"] = self.samples
        nodes["weighted_n_node_samples"] = self.weight
        nodes["missing_go_to_left"] = self.missing
        self.tree.nodes[order] = nodes
        self.tree.values[order] = np.reshape(self.value, self.tree.values.shape)


# --- Histogram boosting ---

PREDICTOR_COLUMNS = {
    "rules": "u1",
    "shrinkage": "<f8",
    "leaves": "u1",
    "count of leaves": "<u4",
    "count": "<u4",
    "feature": "<i8",
    "bin": "u1",
    "categorical": "u1",
    "bitset": "<u4",
    "missing": "u1",
    "table of thresholds, places": "<i8",
    "table of thresholds": "<f8",
    "threshold, known": "u1",
    "threshold": "<f8",
    "value of leaves": "<f8",
    "value": "<u8",
    "gain, none": "u1",
    "gain of leaves": "<f8",
    "gain": "<u8",
    "raw": "u1",
}


def fill_predictors(trees, columns):
    found = {name: columns.next(dtype) for name, dtype in PREDICTOR_COLUMNS.items()}
    places = found.pop("table of thresholds, places").tolist()
    assert places == sorted(set(places))
    table = dict(zip(places, found.pop("table of thresholds").tolist(), strict=True))
    bits = iter(np.unpackbits(found.pop("leaves")).tolist())
    items = {name: iter(each.tolist()) for name, each in found.items() if name != "raw"}
    raw = found["raw"].tobytes()
    for tree in trees:
        rule = next(items["rules"])
        assert rule in (0, 1, 2)
        if rule == 1:
            tree[:] = np.frombuffer(raw[: tree.nbytes], PREDICTOR)
            raw = raw[tree.nbytes :]
        else:
            leaves = list(islice(bits, len(tree)))
            assert len(leaves) == len(tree)
            Predictor(leaves, items, table).store(tree, rule == 2)
    assert not raw
    assert not any(bits)
    assert not any(list(each) for each in items.values())


class Predictor:
    """One tree of histogram boosting, from its group's columns; lists are in preorder."""

    def __init__(self, is_leaf, items, table):
        self.is_leaf, self.items, self.table = is_leaf, items, table
        self.left, self.right, _, self.depth = shape_of(is_leaf)
        self.inner = [node for node in range(len(is_leaf)) if not is_leaf[node]]
        self.shrinkage = self.next("shrinkage")
        self.read_counts()
        self.read_splits()
        self.read_values()

    def next(self, name):
        return next(self.items[name])

    def at(self, leaves=None, inner=None):
        """Items of two columns, each for its nodes; 0 for nodes without a column."""
        names = [inner, leaves]
        return [self.next(names[leaf]) if names[leaf] else 0 for leaf in self.is_leaf]

    def read_counts(self):
        self.count = self.at(leaves="count of leaves", inner="count")
        for node in self.inner[::-1]:
            below = self.count[self.left[node]] + self.count[self.right[node]]
            self.count[node] = (self.count[node] + below) % 2**32

    def read_splits(self):
        self.feature, self.bin = self.at(inner="feature"), self.at(inner="bin")
        self.categorical, self.bitset = self.at(inner="categorical"), self.at(inner="bitset")
        self.missing, self.threshold = self.at(inner="missing"), self.at(inner="threshold, known")
        before = 0
        for node in self.inner:
            if self.categorical[node]:
                self.bitset[node] = (self.bitset[node] + before) % 2**32
            before += self.categorical[node]
            self.missing[node] ^= self.count[self.left[node]] > self.count[self.right[node]]
            known = self.threshold[node]
            place = signed(self.feature[node] << 8 | self.bin[node])
            self.threshold[node] = self.table[place] if known else self.next("threshold")

    def read_values(self):
        self.value = self.at(leaves="value of leaves", inner="value")
        self.gain = self.at(leaves="gain, none", inner="gain")
        for node in self.inner[::-1]:
            mean, gain = self.predicted(node)
            self.value[node] = corrected(unzigzag(self.value[node]), mean)
            self.gain[node] = corrected(unzigzag(self.gain[node]), gain)
        for node, leaf in enumerate(self.is_leaf):
            if leaf:
                self.gain[node] = -1.0 if self.gain[node] else self.next("gain of leaves")

    def predicted(self, node):
        """(value, gain)"""
        left, right = self.left[node], self.right[node]
        n, n_l, n_r = (float(self.count[each]) for each in (node, left, right))
        u_l, u_r = self.before_shrinkage(left), self.before_shrinkage(right)
        mean = over(n_l * u_l + n_r * u_r, n)
        return mean, ((n_l * u_l) * u_l + (n_r * u_r) * u_r) - (n * mean) * mean

    def before_shrinkage(self, node):
        return over(self.value[node], self.shrinkage) if self.is_leaf[node] else self.value[node]

    def store(self, tree, inference):
        tree["count"], tree["depth"], tree["is_leaf"] = self.count, self.depth, self.is_leaf
        tree["left"], tree["right"] = np.maximum(self.left, 0), np.maximum(self.right, 0)
        tree["feature_idx"], tree["bin_threshold"] = self.feature, self.bin
        tree["is_categorical"], tree["bitset_idx"] = self.categorical, self.bitset
        tree["num_threshold"], tree["missing_go_to_left"] = self.threshold, self.missing
        tree["value"], tree["gain"] = self.value, self.gain
        if inference:
            tree["gain"] = UNKNOWN
            tree["value"][self.inner] = UNKNOWN


# --- Numbers ---

MASK = (1 << 64) - 1


def to_bits(number):
    return struct.unpack("<Q", struct.pack("<d", number))[0]


def from_bits(bits):
    return struct.unpack("<d", struct.pack("<Q", bits))[0]


def corrected(residual, prediction):
    prediction = 0.0 if prediction != prediction else prediction
    return from_bits(key((key(to_bits(prediction)) + residual) & MASK))


UNKNOWN = from_bits(0x7FF8000000000000)


def key(bits):
    return bits ^ (-(bits >> 63) & MASK) >> 1


def signed(number):
    number &= MASK
    return number - (1 << 64) if number >> 63 else number


def unzigzag(number):
    return number >> 1 if number % 2 == 0 else -(number >> 1) - 1


def over(a, b):
    with np.errstate(all="ignore"):
        return float(np.divide(a, b))


def total(numbers):
    """One addition at a time: the built-in sum of floats compensates since Python 3.12."""
    result = 0.0
    for number in numbers:
        result += number
    return result


def quarter_ulp(number):
    exponent = to_bits(number) >> 52 & 0x7FF
    return from_bits((exponent - 54) << 52) if 54 < exponent < 2047 else 0.0


def whole(number):
    """An integer below 2⁵³, and not −0.0."""
    return 0 <= number < 1 << 53 and number == int(number) and not to_bits(number) >> 63
