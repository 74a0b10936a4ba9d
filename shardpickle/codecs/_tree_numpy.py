"""The rules of `_tree_cython.pyx` in NumPy: one tree in preorder to streams and back.

The specification, the tests' oracle, and the code that runs if nothing was compiled.

Parents are computed level by level, all nodes of a depth at once. Every operation on floats is one
IEEE operation on elements, in the kernel's order.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from shardpickle.codecs.floats import ONE, bits_of, corrected, key, residual, unzigzag, zigzag
from shardpickle.codecs.tree_shape import Shape
from shardpickle.codecs.tree_streams import COUNT, INDEX, NODE, SORTED_FEATURES, SPLIT, Rule

NAME = "NumPy"

Array = np.ndarray[Any, np.dtype[Any]]

_MOST_WHOLE = 1 << 53
_MOST_STEPS = 1 << 40


# Numbers and their bits


def _is_whole(x: Array) -> Array:
    inside = (x >= 0.0) & (x < float(_MOST_WHOLE)) & (bits_of(x) >> np.uint64(63) == 0)
    whole: Array = inside & (np.rint(x) == x)
    return whole


def _quarter_ulp(x: Array) -> Array:
    exponent = (bits_of(x) >> np.uint64(52)) & np.uint64(2047)
    usable = (exponent > 54) & (exponent < 2047)
    return (
        np.where(usable, (exponent - np.uint64(54)) << np.uint64(52), 0)
        .astype(np.uint64)
        .view(np.float64)
    )


def _nearest(x: Array) -> tuple[Array, Array]:
    """Return the integers nearest to x, ties to even, and where they exist (|x| < 2**53)."""
    inside = (x > -float(_MOST_WHOLE)) & (x < float(_MOST_WHOLE))
    return np.rint(np.where(inside, x, 0.0)).astype(np.int64), inside


# Streams


class _Writer:
    def __init__(self) -> None:
        self.chunks: list[list[Array]] = [[] for _ in range(COUNT)]

    def plain(self, name: str, items: Array) -> None:
        self.chunks[INDEX[name]].append(np.ascontiguousarray(items).view(np.uint8).reshape(-1))

    def integers(self, name: str, items: Array) -> None:
        """Write one byte each, or 255 and the integer in the stream of large ones."""
        items = items.astype(np.uint64, copy=False).reshape(-1)
        large = items >= 255
        self.plain(name, np.where(large, 255, items).astype(np.uint8))
        self.plain(f"{name}, large", items[large])


class _Reader:
    def __init__(self, columns: list[Array], begin: Array, end: Array) -> None:
        self.slices = [column[a:b] for column, a, b in zip(columns, begin, end, strict=True)]
        self.at = [0] * COUNT

    def plain(self, name: str, count: int, dtype: Any = np.uint64) -> Array:
        number = INDEX[name]
        start = self.at[number]
        stop = start + count * np.dtype(dtype).itemsize
        if stop > len(self.slices[number]):
            raise _bad()
        self.at[number] = stop
        return self.slices[number][start:stop].copy().view(dtype)

    def integers(self, name: str, count: int) -> Array:
        items = self.plain(name, count, np.uint8).astype(np.uint64)
        large = items == 255
        items[large] = self.plain(f"{name}, large", int(large.sum()))
        return items

    def finish(self) -> None:
        left = [len(piece) != at for piece, at in zip(self.slices, self.at, strict=True)]
        left[INDEX["order"]] = left[INDEX["raw"]] = False
        if any(left):
            raise _bad()


def _bad() -> ValueError:
    return ValueError("the streams of a tree do not describe one")


# Structure


class _Tree:
    def __init__(
        self, nodes: Array, values: Array, head: Array, starts: Array, table_t: Array, table: Array
    ) -> None:
        self.n, self.max_depth, self.features, self.outputs, self.classes = map(int, head[:5])
        if min(self.n, self.outputs, self.classes) < 1 or self.features < 0:
            raise ValueError("a size out of range")
        if len(nodes) != self.n * 64 or len(values) != self.n * self.outputs * self.classes:
            raise ValueError("memory of another size than the tree's")
        self.nodes = nodes.view(NODE)
        self.values = values.reshape(self.n, self.outputs, self.classes)
        self.rows = values.reshape(self.n, self.outputs * self.classes)
        self.starts, self.table_thresholds = starts, table_t
        self.table = table[:0] if self.classes != 1 else table

    @property
    def has_thresholds(self) -> bool:
        return len(self.starts) - 1 == self.features and 0 < self.features <= SORTED_FEATURES

    def by_feature(self, inner: Array) -> Array:
        if self.features > SORTED_FEATURES:
            return inner
        return inner[np.argsort(self.nodes["feature"][inner], kind="stable")]


def _check_shape(tree: _Tree) -> Shape | None:
    """Return a tree's shape if a leaf bitmap can describe its nodes, else None."""
    nodes = tree.nodes
    leaf = nodes["left_child"] == -1
    try:
        shape = Shape(leaf, np.array([len(leaf)]))
    except ValueError:
        return None
    inner, leaves = shape.inner, shape.leaves
    feature = nodes["feature"]
    fits = (
        (nodes["left_child"][inner] == inner + 1).all()
        and (nodes["right_child"] == shape.right).all()
        and (feature[leaves] == -2).all()
        and (bits_of(nodes["threshold"][leaves]) == bits_of(np.array([-2.0]))).all()
        and ((feature[inner] >= 0) & (feature[inner] < tree.features)).all()
        and shape.depth <= tree.max_depth
    )
    return shape if fits else None


# Thresholds and leaf values in tables: rank + 1, or 0 and the number


def _ranks(table: Array, starts: Array, stops: Array, bits: Array) -> Array:
    """Find the ranks of bits in the part of a table from `starts` to `stops`; -1 if absent."""
    ranks = np.full(len(bits), -1)
    keys = key(table).view(np.int64)
    wanted = key(bits).view(np.int64)
    for start, stop in set(zip(starts.tolist(), stops.tolist(), strict=True)):
        members = np.flatnonzero((starts == start) & (stops == stop))
        positions = start + np.searchsorted(keys[start:stop], wanted[members])
        known = positions < stop
        known[known] = table[positions[known]] == bits[members[known]]
        ranks[members[known]] = positions[known]
    return ranks


def _groups(group: Array) -> list[Array]:
    return [np.flatnonzero(group == label) for label in np.unique(group)]


def _steps(ranks: Array, known: Array, group: Array, starts: Array) -> Array:
    """Return 1 + each rank's distance from the last one of its group or the start; 0 for none."""
    coded = np.zeros(len(ranks), np.uint64)
    for members in _groups(group):
        here = members[known[members]]
        if len(here):
            steps = np.diff(ranks[here], prepend=starts[here[0]])
            coded[here] = ONE + zigzag(steps.view(np.uint64))
    return coded.astype(np.uint32)


def _from_steps(coded: Array, group: Array, starts: Array) -> tuple[Array, Array]:
    """Return ranks, and where they exist."""
    known = coded > 0
    steps = unzigzag(coded.astype(np.uint64) - ONE).view(np.int64)
    ranks = np.full(len(coded), -1)
    for members in _groups(group):
        here = members[known[members]]
        if len(here):
            ranks[here] = starts[here[0]] + np.cumsum(steps[here])
    return ranks, known


def _put_thresholds(tree: _Tree, shape: Shape, out: _Writer) -> None:
    order = tree.by_feature(shape.inner)
    bits = bits_of(tree.nodes["threshold"][order])
    if tree.has_thresholds:
        features = tree.nodes["feature"][order]
        starts, stops = tree.starts[features], tree.starts[features + 1]
        ranks = _ranks(tree.table_thresholds, starts, stops, bits)
        known = ranks >= 0
        out.plain("threshold, rank", _steps(ranks, known, features, starts))
        bits = bits[~known]
    out.plain("threshold", bits)


def _get_thresholds(tree: _Tree, shape: Shape, read: _Reader) -> None:
    order = tree.by_feature(shape.inner)
    if not tree.has_thresholds:
        bits = read.plain("threshold", len(order))
    else:
        features = tree.nodes["feature"][order]
        coded = read.plain("threshold, rank", len(order), np.uint32)
        starts, stops = tree.starts[features], tree.starts[features + 1]
        ranks, known = _from_steps(coded, features, starts)
        if ((ranks < starts) | (ranks >= stops))[known].any():
            raise _bad()
        bits = np.zeros(len(order), np.uint64)
        bits[known] = tree.table_thresholds[ranks[known]]
        bits[~known] = read.plain("threshold", int((~known).sum()))
    tree.nodes["threshold"][order] = bits.view(np.float64)


def _put_elements(tree: _Tree, items: Array, out: _Writer) -> None:
    bits = bits_of(items.reshape(-1))
    if len(tree.table):
        zeros = np.zeros(len(bits), np.int64)
        ranks = _ranks(tree.table, zeros, zeros + len(tree.table), bits)
        known = ranks >= 0
        outputs = np.arange(len(bits)) % tree.outputs
        out.plain("value, rank", _steps(ranks, known, outputs, zeros))
        bits = bits[~known]
    out.plain("value", bits)


def _get_elements(tree: _Tree, count: int, read: _Reader) -> Array:
    if not len(tree.table):
        return read.plain("value", count).view(np.float64)
    coded = read.plain("value, rank", count, np.uint32)
    zeros = np.zeros(count, np.int64)
    ranks, known = _from_steps(coded, np.arange(count) % tree.outputs, zeros)
    if ((ranks < 0) | (ranks >= len(tree.table)))[known].any():
        raise _bad()
    bits = np.zeros(count, np.uint64)
    bits[known] = tree.table[ranks[known]]
    bits[~known] = read.plain("value", int((~known).sum()))
    return bits.view(np.float64)


# Samples and weights


def _put_samples(tree: _Tree, shape: Shape, out: _Writer) -> Rule:
    samples = bits_of(tree.nodes["n_node_samples"])
    out.integers("samples", samples[shape.leaves])
    up = shape.upward
    difference = samples[up] - (samples[up + 1] + samples[shape.right[up]])
    if not difference.any():
        return Rule.SAMPLES
    out.integers("samples", zigzag(difference))
    return Rule(0)


def _get_samples(tree: _Tree, shape: Shape, rules: Rule, read: _Reader) -> None:
    samples = np.zeros(tree.n, np.uint64)
    samples[shape.leaves] = read.integers("samples", len(shape.leaves))
    difference = np.zeros(tree.n, np.uint64)
    if not rules & Rule.SAMPLES:
        difference[shape.upward] = unzigzag(read.integers("samples", len(shape.inner)))
    for parents, left, right in shape.bottom_up():
        samples[parents] = samples[left] + samples[right] + difference[parents]
    tree.nodes["n_node_samples"] = samples.view(np.int64)


def _put_weights(tree: _Tree, shape: Shape, out: _Writer) -> Rule:
    weights = tree.nodes["weighted_n_node_samples"].copy()
    samples = tree.nodes["n_node_samples"]
    up = shape.upward
    sums = weights[up + 1] + weights[shape.right[up]]
    whole = bool(_is_whole(weights).all() and (weights[up] == sums).all())
    if whole and (bits_of(weights) == bits_of(samples.astype(np.float64))).all():
        return Rule.WEIGHT_EQUAL
    leaves = shape.leaves
    if whole:
        over = weights[leaves].astype(np.int64).view(np.uint64) - bits_of(samples[leaves])
        out.integers("weight", zigzag(over))
        return Rule.WEIGHT_WHOLE
    out.plain("weight, plain", weights[leaves])
    out.integers("weight", residual(weights[up], sums))
    return Rule(0)


def _get_weights(tree: _Tree, shape: Shape, rules: Rule, read: _Reader) -> None:
    samples = tree.nodes["n_node_samples"]
    leaves, n = shape.leaves, tree.n
    if rules & Rule.WEIGHT_EQUAL:
        weights = samples.astype(np.float64)
    else:
        weights = np.zeros(n)
        z = np.zeros(n, np.uint64)
        if rules & Rule.WEIGHT_WHOLE:
            over = unzigzag(read.integers("weight", len(leaves)))
            whole = (over + bits_of(samples[leaves])).view(np.int64)
            weights[leaves] = whole.astype(np.float64)
        else:
            weights[leaves] = read.plain("weight, plain", len(leaves), np.float64)
            z[shape.upward] = read.integers("weight", len(shape.inner))
        for parents, left, right in shape.bottom_up():
            weights[parents] = weights[left] + weights[right]
            if not rules & Rule.WEIGHT_WHOLE:
                weights[parents] = corrected(z[parents], weights[parents])
    if rules & (Rule.WEIGHT_EQUAL | Rule.WEIGHT_WHOLE) and not _is_whole(weights).all():
        raise _bad()
    tree.nodes["weighted_n_node_samples"] = weights


# Values


def _one_hot(rows: Array) -> Array:
    """Return the class with the whole weight, or the number of classes if none has it."""
    ones = bits_of(rows) == bits_of(np.ones(1))
    pure: Array = (ones.sum(-1) == 1) & ((bits_of(rows) == 0).sum(-1) == rows.shape[-1] - 1)
    classes: Array = np.where(pure, ones.argmax(-1), rows.shape[-1])
    return classes


def _put_rows(tree: _Tree, which: Array, out: _Writer) -> None:
    """Write the values of nodes: a class if one has all the weight, else numbers."""
    rows = tree.values[which].reshape(-1, tree.classes)
    if tree.classes > 1:
        pure = _one_hot(rows)
        out.integers("class", pure)
        rows = rows[pure == tree.classes]
    _put_elements(tree, rows, out)


def _get_rows(tree: _Tree, which: Array, read: _Reader) -> None:
    classes = tree.classes
    count = len(which) * tree.outputs
    rows = np.zeros((count, classes))
    mixed = np.ones(count, bool)
    if classes > 1:
        pure = read.integers("class", count)
        if (pure > classes).any():
            raise _bad()
        mixed = pure == classes
        rows[np.flatnonzero(~mixed), pure[~mixed].astype(np.int64)] = 1.0
    rows[mixed] = _get_elements(tree, int(mixed.sum()) * classes, read).reshape(-1, classes)
    tree.values[which] = rows.reshape(-1, tree.outputs, classes)


def _over_weights(tree: _Tree, whole: Array) -> Array:
    weights = tree.nodes["weighted_n_node_samples"].reshape(-1, 1)
    quotients: Array = whole.astype(np.float64) / weights
    return quotients


def _counts(tree: _Tree, shape: Shape) -> Array | None:
    """Return counts if each value is a count over the weight, parents are sums, rows add up."""
    weights = tree.nodes["weighted_n_node_samples"]
    if (weights < 1.0).any():
        return None
    leaves = shape.leaves
    counts = np.zeros(tree.rows.shape, np.int64)
    leaf_counts, inside = _nearest(tree.rows[leaves] * weights[leaves, None])
    by_class = leaf_counts.reshape(-1, tree.outputs, tree.classes)
    sums = np.cumsum(by_class, axis=-1)  # cumulative, so that overflow is noticed
    rest = weights[leaves].astype(np.int64)[:, None]
    fits = inside.all() and (leaf_counts >= 0).all() and (leaf_counts <= rest).all()
    if not fits or (sums > rest[..., None]).any() or (sums[..., -1] != rest).any():
        return None
    counts[leaves] = leaf_counts
    shape.sum_up(counts)
    return counts if (bits_of(_over_weights(tree, counts)) == bits_of(tree.rows)).all() else None


def _put_counts(tree: _Tree, shape: Shape, counts: Array, out: _Writer) -> None:
    weights = tree.nodes["weighted_n_node_samples"][shape.leaves].astype(np.int64)
    rows = counts[shape.leaves].reshape(-1, tree.classes)
    whole = rows == np.repeat(weights, tree.outputs)[:, None]
    pure = np.where(whole.any(-1), whole.argmax(-1), tree.classes)
    out.integers("class", pure)
    out.integers("counts", rows[pure == tree.classes, :-1])


def _get_counts(tree: _Tree, shape: Shape, read: _Reader) -> Array:
    leaves, classes = shape.leaves, tree.classes
    weights = tree.nodes["weighted_n_node_samples"]
    rest = np.repeat(weights[leaves].astype(np.int64), tree.outputs)
    pure = read.integers("class", len(rest))
    if classes < 2 or (pure > classes).any() or (weights < 1.0).any():
        raise _bad()
    rows = np.zeros((len(rest), classes), np.int64)
    mixed = pure == classes
    rows[np.flatnonzero(~mixed), pure[~mixed].astype(np.int64)] = rest[~mixed]
    stored = read.integers("counts", int(mixed.sum()) * (classes - 1)).reshape(-1, classes - 1)
    if (stored > _MOST_WHOLE).any():
        raise _bad()
    stored = stored.astype(np.int64)
    sums = np.cumsum(stored, axis=-1)  # cumulative, so that overflow is noticed
    if (sums > rest[mixed, None]).any():
        raise _bad()
    rows[mixed] = np.concatenate([stored, rest[mixed, None] - sums[:, -1:]], axis=1)
    counts = np.zeros(tree.rows.shape, np.int64)
    counts[leaves] = rows.reshape(len(leaves), -1)
    shape.sum_up(counts)
    tree.rows[...] = _over_weights(tree, counts)
    return counts


def _sums(tree: _Tree, shape: Shape) -> Array | None:
    """Return whole sums of the target if each value is one over the weight, parents are sums."""
    weights = tree.nodes["weighted_n_node_samples"]
    leaves = shape.leaves
    if (weights < 1.0).any():
        return None
    sums = np.zeros(tree.rows.shape, np.int64)
    sums[leaves], inside = _nearest(tree.rows[leaves] * weights[leaves, None])
    if not inside.all() or (np.abs(sums[leaves]) >= _MOST_WHOLE).any():
        return None
    for parents, left, right in shape.bottom_up():
        sums[parents] = sums[left] + sums[right]
        if (np.abs(sums[parents]) >= _MOST_WHOLE).any():
            return None
    return sums


def _mean_of_children(tree: _Tree, parents: Array, left: Array, right: Array) -> Array:
    weights = tree.nodes["weighted_n_node_samples"][:, None]
    rows = tree.rows
    of_both = weights[left] * rows[left] + weights[right] * rows[right]
    means: Array = of_both / weights[parents]
    return means


def _before(rows: Array, classes: int) -> Array:
    zeros = np.zeros((len(rows), classes))
    return np.concatenate([zeros, rows[:, :-classes]], axis=1)


def _find_events(before: Array, after: Array, at_risk: Array) -> tuple[Array, Array, Array]:
    """Find whole events and numbers at risk that explain growing hazards, and where they do.

    Takes the simplest fraction that explains the step (continued fractions), then its largest
    multiple.
    """
    x = after - before
    events, among = np.zeros(len(x), np.int64), np.ones(len(x), np.int64)
    is_explained = np.zeros(len(x), bool)
    todo = np.flatnonzero((x > 0.0) & (x <= 1.5))
    p0, p1 = np.zeros(len(x), np.int64), np.ones(len(x), np.int64)
    n0, n1 = np.ones(len(x), np.int64), np.zeros(len(x), np.int64)
    for _ in range(64):
        todo = todo[x[todo] < float(_MOST_WHOLE)]
        a = np.floor(x[todo]).astype(np.int64)
        bound = a.astype(np.float64) * n1[todo].astype(np.float64) + n0[todo].astype(np.float64)
        inside = bound <= at_risk[todo].astype(np.float64)
        todo, a = todo[inside], a[inside]
        p, n = a * p1[todo] + p0[todo], a * n1[todo] + n0[todo]
        rebuilt = before[todo] + p.astype(np.float64) / n.astype(np.float64)
        fits = (p >= 1) & (n >= 1) & (bits_of(rebuilt) == bits_of(after[todo]))
        done, times = todo[fits], at_risk[todo[fits]] // n[fits]
        events[done], among[done] = p[fits] * times, n[fits] * times
        is_explained[done] = events[done] <= among[done]
        part = x[todo] - a.astype(np.float64)
        more = ~fits & (part != 0.0)
        todo, p, n = todo[more], p[more], n[more]
        x[todo] = 1.0 / part[more]
        p0[todo], n0[todo] = p1[todo], n1[todo]
        p1[todo], n1[todo] = p, n
    return events, among, is_explained


def _put_hazard(tree: _Tree, out: _Writer) -> bool:
    """Write cumulative hazard and survival over outputs (times) by events and numbers at risk."""
    if tree.classes != 2 or tree.outputs < 2:
        return False
    left = tree.nodes["weighted_n_node_samples"].astype(np.int64)
    hazard, survival = np.zeros(tree.n), np.ones(tree.n)
    events = np.zeros((tree.n, tree.outputs), np.int64)
    gone = np.zeros((tree.n, tree.outputs), np.int64)
    for k in range(tree.outputs):
        after = tree.values[:, k, 0].copy()
        grew = np.flatnonzero(bits_of(after) != bits_of(hazard))
        new_events, among, is_explained = _find_events(hazard[grew], after[grew], left[grew])
        if not is_explained.all():
            return False
        events[grew, k], gone[grew, k] = new_events, left[grew] - among
        left[grew] = among - new_events
        survival[grew] = survival[grew] * (
            1.0 - new_events.astype(np.float64) / among.astype(np.float64)
        )
        if (bits_of(tree.values[:, k, 1]) != bits_of(survival)).any():
            return False
        hazard = after
    out.integers("counts", events)
    out.integers("class", gone[events > 0])
    return True


def _get_hazard(tree: _Tree, read: _Reader) -> None:
    shape = tree.n, tree.outputs
    events = read.integers("counts", tree.n * tree.outputs).reshape(shape)
    gone = np.zeros(shape, np.uint64)
    gone[events > 0] = read.integers("class", int((events > 0).sum()))
    left = tree.nodes["weighted_n_node_samples"].astype(np.uint64)
    hazard, survival = np.zeros(tree.n), np.ones(tree.n)
    for k in range(tree.outputs):
        grew = np.flatnonzero(events[:, k])
        if (gone[grew, k] >= left[grew]).any():
            raise _bad()
        left[grew] -= gone[grew, k]
        if (events[grew, k] > left[grew]).any():
            raise _bad()
        step = events[grew, k].astype(np.float64) / left[grew].astype(np.float64)
        hazard[grew] = hazard[grew] + step
        survival[grew] = survival[grew] * (1.0 - step)
        left[grew] -= events[grew, k]
        tree.values[:, k, 0], tree.values[:, k, 1] = hazard, survival


def _put_values(tree: _Tree, shape: Shape, rules: Rule, out: _Writer) -> tuple[Rule, Array | None]:
    rule = Rule(0)
    whole: Array | None = None
    rows, classes, up = tree.rows, tree.classes, shape.upward
    if rules & (Rule.WEIGHT_EQUAL | Rule.WEIGHT_WHOLE):
        if classes > 1:
            whole = _counts(tree, shape)
            if whole is not None:
                _put_counts(tree, shape, whole, out)
                return Rule.COUNTS, whole
            if _put_hazard(tree, out):
                return Rule.HAZARD, None
        else:
            whole = _sums(tree, shape)
            if whole is not None and (bits_of(_over_weights(tree, whole)) != bits_of(rows)).any():
                whole = None
            if whole is not None:
                rule = Rule.WHOLE_SUMS
    if not rule:
        residuals = residual(rows[up], _mean_of_children(tree, up, up + 1, shape.right[up]))
        same = bits_of(rows[:, classes:]) == bits_of(rows[:, :-classes])
        if int(same.sum()) * 2 > rows.size:
            out.integers("value, residual", residual(rows, _before(rows, classes)))
            return Rule.STEPS, None
        if int((residuals >> np.uint64(40) != 0).sum()) * 4 <= len(up) * rows.shape[1]:
            rule = Rule.MEANS
    _put_rows(tree, shape.leaves if rule else np.arange(tree.n), out)
    if rule == Rule.MEANS:
        out.integers("value, residual", residuals)
    return rule, whole


def _get_values(tree: _Tree, shape: Shape, rules: Rule, read: _Reader) -> Array | None:
    rows, classes = tree.rows, tree.classes
    is_whole = rules & (Rule.WEIGHT_EQUAL | Rule.WEIGHT_WHOLE)
    if rules & (Rule.COUNTS | Rule.WHOLE_SUMS) and not is_whole:
        raise _bad()
    if rules & Rule.COUNTS:
        return _get_counts(tree, shape, read)
    if rules & Rule.HAZARD:
        if classes != 2 or tree.outputs < 2 or not is_whole:
            raise _bad()
        _get_hazard(tree, read)
        return None
    if rules & Rule.STEPS:
        z = read.integers("value, residual", rows.size).reshape(rows.shape)
        before = np.zeros((len(rows), classes))
        for start in range(0, rows.shape[1], classes):
            before = corrected(z[:, start : start + classes], before)
            rows[:, start : start + classes] = before
        return None
    of_leaves = rules & (Rule.WHOLE_SUMS | Rule.MEANS)
    _get_rows(tree, shape.leaves if of_leaves else np.arange(tree.n), read)
    if rules & Rule.WHOLE_SUMS:
        whole = _sums(tree, shape) if classes == 1 else None
        if whole is None or (np.abs(whole) >= _MOST_WHOLE).any():
            raise _bad()
        rows[shape.inner] = _over_weights(tree, whole)[shape.inner]
        return whole
    if rules & Rule.MEANS:
        z = np.zeros(rows.shape, np.uint64)
        stored = read.integers("value, residual", len(shape.inner) * rows.shape[1])
        z[shape.upward] = stored.reshape(-1, rows.shape[1])
        for parents, left, right in shape.bottom_up():
            rows[parents] = corrected(z[parents], _mean_of_children(tree, parents, left, right))
    return None


# Impurity


def _gini(tree: _Tree, counts: Array) -> Array:
    weights = tree.nodes["weighted_n_node_samples"]
    by_class = counts.reshape(tree.n, tree.outputs, tree.classes).astype(np.float64)
    total = np.zeros(tree.n)
    for k in range(tree.outputs):
        squares = np.zeros(tree.n)
        for c in range(tree.classes):
            squares = squares + by_class[:, k, c] * by_class[:, k, c]
        total = total + (1.0 - squares / (weights * weights))
    return total / float(tree.outputs)


def _variance(tree: _Tree, squares: Array) -> Array:
    v = tree.rows[:, 0]
    variances: Array = squares.astype(np.float64) / tree.nodes["weighted_n_node_samples"] - v * v
    return variances


def _squares(tree: _Tree, shape: Shape, leaves: Array) -> Array | None:
    squares = np.zeros(tree.n, np.int64)
    squares[shape.leaves] = leaves
    if ((leaves < 0) | (leaves >= _MOST_WHOLE)).any():
        return None
    for parents, left, right in shape.bottom_up():
        squares[parents] = squares[left] + squares[right]
        if (squares[parents] >= _MOST_WHOLE).any():
            return None
    return squares


def _least_squares(tree: _Tree, leaves: Array) -> Array:
    v = tree.rows[leaves, 0]
    return _nearest((v * v) * tree.nodes["weighted_n_node_samples"][leaves])[0]


def _mean_square(tree: _Tree, which: Array) -> Array:
    total = np.zeros(len(which))
    for k in range(tree.outputs):
        v = tree.rows[which, k]
        total = total + v * v
    return total


def _square_sum(tree: _Tree, which: Array) -> Array:
    """Compute weighted sums of squared targets."""
    nodes = tree.nodes
    w = nodes["weighted_n_node_samples"][which]
    single = (nodes["left_child"][which] == -1) & (nodes["n_node_samples"][which] == 1)
    direct = np.zeros(len(which))
    for k in range(tree.outputs):
        v = tree.rows[which, k]
        direct = direct + (w * v) * v
    spread = (nodes["impurity"][which] * float(tree.outputs) + _mean_square(tree, which)) * w
    return np.where(single, direct, spread)


def _leaf_spread(tree: _Tree, shape: Shape) -> Array:
    """Compute the impurity of leaves as if each had one target."""
    outputs = tree.outputs
    leaves = shape.leaves
    w = tree.nodes["weighted_n_node_samples"]
    v = tree.rows
    squares = np.zeros(len(leaves))
    for k in range(outputs):
        squares = squares + (w[leaves] * v[leaves, k]) * v[leaves, k]
    total = squares / w[leaves]
    for k in range(outputs):
        total = total - v[leaves, k] * v[leaves, k]
    impurity = np.zeros(tree.n)
    impurity[leaves] = total / float(outputs)
    # If both children are leaves, scikit-learn subtracts the left one's sums from the parent's.
    right = shape.inner[shape.right[shape.inner] == shape.inner + 2] + 2
    right = right[shape.leaf[right]]
    left = right - 1
    left_squares = np.zeros(len(right))
    for k in range(outputs):
        left_squares = left_squares + (w[left] * v[left, k]) * v[left, k]
    both = left_squares
    for k in range(outputs):
        both = both + (w[right] * v[right, k]) * v[right, k]
    total = (both - left_squares) / w[right]
    for k in range(outputs):
        sums = w[left] * v[left, k]
        mean = ((sums + w[right] * v[right, k]) - sums) / w[right]
        total = total - mean * mean
    impurity[right] = total / float(outputs)
    return impurity[leaves]


def _inner_spread(tree: _Tree, parents: Array, left: Array, right: Array) -> Array:
    w = tree.nodes["weighted_n_node_samples"][parents]
    total: Array = (_square_sum(tree, left) + _square_sum(tree, right)) / w
    for k in range(tree.outputs):
        total = total - tree.rows[parents, k] * tree.rows[parents, k]
    return total / float(tree.outputs)


def _put_spread(tree: _Tree, name: str, which: Array, predicted: Array, out: _Writer) -> None:
    """Write 1 + the residual in quarters of the mean square's last place, or 0 and the number."""
    x = tree.nodes["impurity"][which]
    unit = _quarter_ulp(_mean_square(tree, which))
    steps, inside = _nearest((x - predicted) / unit)
    rebuilt = predicted + steps.astype(np.float64) * unit
    fits = (unit > 0.0) & (predicted == predicted) & inside & (np.abs(steps) < _MOST_STEPS)
    fits &= bits_of(rebuilt) == bits_of(x)
    coded = np.where(fits, ONE + zigzag(steps.view(np.uint64)), np.uint64(0))
    out.integers(name, coded)
    out.plain("impurity", x[~fits])


def _get_spread(tree: _Tree, which: Array, z: Array, plain: Array, predicted: Array) -> None:
    steps = unzigzag(z - ONE).view(np.int64)
    rebuilt = predicted + steps.astype(np.float64) * _quarter_ulp(_mean_square(tree, which))
    if np.isnan(rebuilt[z != 0]).any():
        raise _bad()
    tree.nodes["impurity"][which] = np.where(z == 0, plain, rebuilt)


def _put_impurity(
    tree: _Tree, shape: Shape, rules: Rule, whole: Array | None, out: _Writer
) -> Rule:
    impurity = tree.nodes["impurity"].copy()
    leaves, up = shape.leaves, shape.upward
    counts = whole if rules & Rule.COUNTS else None
    if counts is not None and (bits_of(_gini(tree, counts)) == bits_of(impurity)).all():
        return Rule.GINI
    if rules & Rule.WHOLE_SUMS and tree.outputs == 1:
        v = tree.rows[leaves, 0]
        weights = tree.nodes["weighted_n_node_samples"][leaves]
        of_leaves, inside = _nearest((impurity[leaves] + v * v) * weights)
        squares = _squares(tree, shape, of_leaves) if inside.all() else None
        if squares is not None and (bits_of(_variance(tree, squares)) == bits_of(impurity)).all():
            difference = squares[leaves] - _least_squares(tree, leaves)
            out.integers("impurity of leaves", zigzag(difference.view(np.uint64)))
            return Rule.SQUARES
    if tree.classes == 1 and rules & (Rule.MEANS | Rule.WHOLE_SUMS):
        _put_spread(tree, "impurity of leaves", leaves, _leaf_spread(tree, shape), out)
        predicted = _inner_spread(tree, up, up + 1, shape.right[up])
        _put_spread(tree, "impurity of inner nodes", up, predicted, out)
        return Rule.SPREAD
    stored = ~shape.leaf | (bits_of(impurity) != 0)
    out.plain("impurity of leaves", stored[leaves].astype(np.uint8))
    out.plain("impurity", impurity[stored])
    return Rule(0)


def _get_impurity(
    tree: _Tree, shape: Shape, rules: Rule, whole: Array | None, read: _Reader
) -> None:
    leaves = shape.leaves
    impurity = tree.nodes["impurity"]
    if rules & Rule.GINI:
        if whole is None or not rules & Rule.COUNTS:
            raise _bad()
        impurity[...] = _gini(tree, whole)
    elif rules & Rule.SQUARES:
        if not rules & Rule.WHOLE_SUMS or tree.outputs != 1:
            raise _bad()
        difference = unzigzag(read.integers("impurity of leaves", len(leaves))).view(np.int64)
        squares = _squares(tree, shape, difference + _least_squares(tree, leaves))
        if squares is None:
            raise _bad()
        impurity[...] = _variance(tree, squares)
    elif rules & Rule.SPREAD:
        if tree.classes != 1:
            raise _bad()
        _get_spreads(tree, shape, read)
    else:
        stored = np.ones(tree.n, bool)
        stored[leaves] = read.plain("impurity of leaves", len(leaves), np.uint8) != 0
        impurity[leaves] = 0.0
        impurity[stored] = read.plain("impurity", int(stored.sum()), np.float64)


def _get_spreads(tree: _Tree, shape: Shape, read: _Reader) -> None:
    leaves, up = shape.leaves, shape.upward
    z = np.zeros(tree.n, np.uint64)
    plain = np.zeros(tree.n)
    for name, which in (("impurity of leaves", leaves), ("impurity of inner nodes", up)):
        z[which] = read.integers(name, len(which))
        escaped = which[z[which] == 0]
        plain[escaped] = read.plain("impurity", len(escaped), np.float64)
    _get_spread(tree, leaves, z[leaves], plain[leaves], _leaf_spread(tree, shape))
    for parents, left, right in shape.bottom_up():
        predicted = _inner_spread(tree, parents, left, right)
        _get_spread(tree, parents, z[parents], plain[parents], predicted)


# Where missing values go


def _majority(tree: _Tree, shape: Shape) -> Array:
    samples = tree.nodes["n_node_samples"]
    to_left = np.zeros(tree.n, np.uint8)
    to_left[shape.inner] = samples[shape.inner + 1] > samples[shape.right[shape.inner]]
    return to_left


# One tree


def _quietly(function: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any) -> Any:
        with np.errstate(all="ignore"):
            return function(*args)

    return run


@_quietly
def _encode(tree: _Tree, out: _Writer) -> Rule:
    shape = _check_shape(tree)
    if shape is None:
        return Rule.RAW
    out.plain("leaves", np.packbits(shape.leaf))
    out.integers("feature", tree.nodes["feature"][shape.inner])
    _put_thresholds(tree, shape, out)
    missing = tree.nodes["missing_go_to_left"]
    if _is_dropped(tree, shape):
        _put_rows(tree, shape.leaves, out)
        out.plain("missing", missing)
        return Rule.INFERENCE
    rules = _put_samples(tree, shape, out)
    rules |= _put_weights(tree, shape, out)
    value_rules, whole = _put_values(tree, shape, rules, out)
    rules |= value_rules
    rules |= _put_impurity(tree, shape, rules, whole, out)
    if (missing == _majority(tree, shape)).all():
        rules |= Rule.MISSING
    else:
        out.plain("missing", missing)
    return rules


@_quietly
def _decode(tree: _Tree, rules: Rule, read: _Reader) -> None:
    flags = np.unpackbits(read.plain("leaves", (tree.n + 7) // 8, np.uint8)).astype(bool)
    shape = Shape(flags[: tree.n], np.array([tree.n]))
    if shape.depth > tree.max_depth or flags[tree.n :].any():
        raise _bad()
    nodes, inner, leaves = tree.nodes, shape.inner, shape.leaves
    features = read.integers("feature", len(inner))
    if (features >= tree.features).any():
        raise _bad()
    nodes["left_child"] = np.where(shape.leaf, -1, np.arange(1, tree.n + 1))
    nodes["right_child"] = shape.right
    nodes["feature"][leaves] = -2
    nodes["feature"][inner] = features.astype(np.int64)
    nodes["threshold"][leaves] = -2.0
    _get_thresholds(tree, shape, read)
    if rules & Rule.INFERENCE:
        _get_rows(tree, leaves, read)
        nodes["missing_go_to_left"] = read.plain("missing", tree.n, np.uint8)
        _drop(nodes, tree.rows)
    else:
        _get_samples(tree, shape, rules, read)
        _get_weights(tree, shape, rules, read)
        whole = _get_values(tree, shape, rules, read)
        _get_impurity(tree, shape, rules, whole, read)
        nodes["missing_go_to_left"] = (
            _majority(tree, shape)
            if rules & Rule.MISSING
            else read.plain("missing", tree.n, np.uint8)
        )
    read.finish()


def _is_dropped(tree: _Tree, shape: Shape) -> bool:
    nodes, nan = tree.nodes, bits_of(np.array([np.nan]))
    return bool(
        (nodes["n_node_samples"] == -1).all()
        and (bits_of(nodes["weighted_n_node_samples"]) == nan).all()
        and (bits_of(nodes["impurity"]) == nan).all()
        and (bits_of(tree.rows[shape.inner]) == nan).all()
    )


def _drop(nodes: Array, rows: Array) -> None:
    nodes["impurity"] = np.nan
    nodes["n_node_samples"] = -1
    nodes["weighted_n_node_samples"] = np.nan
    rows[nodes["left_child"] != -1] = np.nan


def encode(
    nodes: Array,
    values: Array,
    head: Array,
    starts: Array,
    thresholds: Array,
    table: Array,
    room: Array,
    places: Array,
    lengths: Array,
    work: Array,
) -> int:
    """Encode one tree in preorder, each stream at its place in `room`; returns its rules.

    `room` has `streams.most_bytes` from each place on; `work` is not used here.
    """
    out = _Writer()
    rules = _encode(_Tree(nodes, values, head, starts, thresholds, table), out)
    for number, chunks in enumerate(out.chunks):
        data = np.concatenate(chunks) if chunks else np.zeros(0, np.uint8)
        room[places[number] : places[number] + len(data)] = data
        lengths[number] = len(data)
    return int(rules)


def decode(
    columns: list[Array],
    begin: Array,
    end: Array,
    rules: int,
    head: Array,
    starts: Array,
    thresholds: Array,
    table: Array,
    nodes: Array,
    values: Array,
    work: Array,
) -> None:
    """Fill the memory of one tree from its slices (bytes from `begin` to `end`) of the columns."""
    for column, a, b in zip(columns, begin, end, strict=True):
        if not 0 <= a <= b <= len(column):
            raise ValueError("a stream outside its column")
    tree = _Tree(nodes, values, head, starts, thresholds, table)
    _decode(tree, Rule(rules), _Reader(columns, begin, end))


def equal(a: Array, b: Array) -> bool:
    """Whether two trees' nodes are the same, without padding."""
    if len(a) != len(b):
        return False
    fields, other_fields = (tree_nodes.reshape(-1, 64)[:, :57] for tree_nodes in (a, b))
    return bool((fields == other_fields).all())


def dropped(nodes: Array, values: Array, width: int) -> None:
    """Drop from a tree what the profile "inference" does not keep."""
    tree = nodes.view(NODE)
    _drop(tree, values.reshape(len(tree), width))


# Histogram boosting


class Forest:
    """Consecutive trees: their nodes in one array, their shape, and predictions of values."""

    def __init__(self, nodes: Array, shape: Shape, sizes: Array, shrinkage: Array) -> None:
        self.nodes = nodes
        self.shape = shape
        self.right = shape.right[shape.inner]
        self.left = shape.inner + 1
        # Leaves are stored shrunk by the learning rate, inner nodes are not.
        self.rate = np.where(shape.leaf, np.repeat(shrinkage, sizes), 1.0)
        self.first = np.repeat(np.cumsum(sizes) - sizes, sizes)[shape.inner]

    def means(self, parents: Array, left: Array, right: Array) -> Array:
        """Predict the values of parents: their children's means."""
        n, v = self.nodes["count"].astype(np.float64), self.nodes["value"]
        of_left = n[left] * (v[left] / self.rate[left])
        of_right = n[right] * (v[right] / self.rate[right])
        return (of_left + of_right) / n[parents]

    def gains(self, parents: Array, left: Array, right: Array) -> Array:
        """Predict the gains of splits: the children's squared sums minus the parent's."""
        n, v = self.nodes["count"].astype(np.float64), self.nodes["value"]
        mean = self.means(parents, left, right)
        u, w = v[left] / self.rate[left], v[right] / self.rate[right]
        return ((n[left] * u) * u + (n[right] * w) * w) - (n[parents] * mean) * mean

    def bitsets(self, categorical: Array) -> Array:
        """Number the bitsets of categorical splits within each tree."""
        counted = np.cumsum(categorical) - categorical
        before = np.searchsorted(self.shape.inner, self.first)
        numbers = counted - np.append(counted, 0)[before]
        return np.where(categorical, numbers, 0).astype(np.uint32)

    def majority(self) -> Array:
        count = self.nodes["count"]
        return (count[self.left] > count[self.right]).astype(np.uint8)


def depth(nodes: Array, work: Array) -> int:
    """Compute the depth of a tree whose children come after their parents."""
    a = nodes.view(NODE)
    left, right = a["left_child"], a["right_child"]
    level, levels = np.zeros(1, np.int64), -1
    while len(level):
        levels += 1
        level = level[left[level] != -1]
        level = np.concatenate([left[level], right[level]])
    return levels


@_quietly
def fill_predictors(
    sizes: Array,
    rates: Array,
    leaf: Array,
    leaf_counts: Array,
    more_counts: Array,
    features: Array,
    bins: Array,
    categorical: Array,
    bitsets: Array,
    missing: Array,
    thresholds: Array,
    leaf_values: Array,
    values: Array,
    leaf_gains: Array,
    gains: Array,
    nodes: Array,
) -> None:
    """Fill the nodes of consecutive trees; leaves' and inner nodes' numbers are in preorder."""
    shape = Shape(leaf != 0, sizes)
    a = nodes.view(SPLIT)
    forest = Forest(a, shape, sizes, rates)
    inner, leaves = shape.inner, shape.leaves
    starts = np.repeat(np.cumsum(sizes) - sizes, sizes)
    a["is_leaf"], a["depth"] = leaf, shape.depths
    a["left"][inner] = forest.left - starts[inner]
    a["right"][inner] = forest.right - starts[inner]
    count = np.zeros(len(a), np.uint32)
    more = np.zeros(len(a), np.uint32)
    count[leaves], more[inner] = leaf_counts, more_counts
    for parents, left, right in shape.bottom_up():
        count[parents] = count[left] + count[right] + more[parents]
    a["count"] = count
    a["feature_idx"][inner], a["bin_threshold"][inner] = features, bins
    a["is_categorical"][inner] = categorical
    a["bitset_idx"][inner] = bitsets + forest.bitsets(categorical)
    a["missing_go_to_left"][inner] = missing ^ forest.majority()
    a["num_threshold"][inner] = thresholds.view(np.float64)
    a["value"][leaves], a["gain"][leaves] = leaf_values, leaf_gains
    z = np.zeros(len(a), np.uint64)
    z[inner] = values
    for parents, left, right in shape.bottom_up():
        a["value"][parents] = corrected(z[parents], forest.means(parents, left, right))
    predicted = forest.gains(inner, forest.left, forest.right)
    a["gain"][inner] = corrected(gains, predicted)
