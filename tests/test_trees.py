"""Trees' columns: kernel and reference write the same bytes, and every bit of a tree comes back.

What is expected is always the arrays that went in, or what scikit-learn grew.
"""

import json
import struct
import subprocess
import sys
import warnings
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import reader
from graphs import assert_same
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import (
    AdaBoostClassifier,
    AdaBoostRegressor,
    BaggingClassifier,
    BaggingRegressor,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    RandomTreesEmbedding,
)
from sklearn.tree import (
    DecisionTreeClassifier,
    DecisionTreeRegressor,
    ExtraTreeClassifier,
    ExtraTreeRegressor,
)
from sklearn.tree._tree import NODE_DTYPE
from tree_cases import BITS, LOOPS, TREES, children, integers, leaf_flags, numbers

import shardpickle
from shardpickle._util import pool as workers
from shardpickle.codecs import _backend, _tree_cython, _tree_numpy, tree_tables, trees
from shardpickle.codecs.tree_arrays import Head, Tree
from shardpickle.codecs.tree_streams import COUNT, NODE, STREAMS, Rule
from shardpickle.codecs.tree_tables import NO_TABLES, Tables
from shardpickle.errors import CorruptShardError
from shardpickle.io.reader import ModelReader
from shardpickle.storage import local

FIELDS = [name for name in NODE.names if name != "padding"]


def each(step, items):
    return [step(item) for item in items]


def encoded(sample, tables=None):
    """The columns, which both loops write alike."""
    both = []
    for loops in LOOPS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_backend, "loops", loops)
            both.append(trees.encode(sample, tables, each))
    assert [column.tobytes() for column in both[0]] == [column.tobytes() for column in both[1]]
    return both[0]


def memory(head):
    """Full of what is not the tree, but for the padding, which is nobody's."""
    nodes = np.full(head.nodes, 0, NODE)
    for name in FIELDS:
        nodes[name] = 0xA5
    return nodes.view(np.uint8), np.full(head.nodes * head.width, 0.625)


def decoded(columns, heads, tables=None, loops=_tree_cython):
    """Nodes and values as bytes, of each tree."""
    taken = [memory(head) for head in heads]
    told = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_backend, "loops", loops)
        trees.decode(
            columns, heads, tables, taken.__getitem__, lambda number, _: told.append(number), each
        )
    assert told == list(range(len(heads)))
    return [(nodes.tobytes(), values.tobytes()) for nodes, values in taken]


def contents(tree):
    nodes = np.zeros(len(tree.nodes), NODE)
    for name in FIELDS:
        nodes[name] = tree.nodes[name]
    return nodes.tobytes(), tree.values.tobytes()


def items_of(columns, count):
    """{stream: items of each tree}."""
    numbers = columns[1].reshape(COUNT, count)
    return {stream.name: numbers[place] for place, stream in enumerate(STREAMS)}


# What each rule saves: these streams have no items.
SAVED = {
    Rule.WEIGHT_EQUAL: ("weight", "weight, plain"),
    Rule.WEIGHT_WHOLE: ("weight, plain",),
    Rule.COUNTS: ("value", "value, rank", "value, residual"),
    Rule.WHOLE_SUMS: ("value, residual", "class", "counts"),
    Rule.HAZARD: ("value", "value, rank", "value, residual"),
    Rule.GINI: ("impurity", "impurity of leaves", "impurity of inner nodes"),
    Rule.SQUARES: ("impurity", "impurity of inner nodes"),
    Rule.MISSING: ("missing",),
    Rule.RAW: [stream.name for stream in STREAMS if stream.name != "raw"],
}


def check_saved(sample, rules, items):
    for number, rule in enumerate(rules):
        leaves = int((sample[number].nodes["left_child"] == -1).sum())
        inner = len(sample[number].nodes) - leaves
        for one, fields in SAVED.items():
            for name in fields if rule & one else ():
                assert items[name][number] == 0, (rule, name)
                assert f"{name}, large" not in items or items[f"{name}, large"][number] == 0
        if not rule & (Rule.RAW | Rule.INFERENCE):
            assert items["samples"][number] == leaves + (0 if rule & Rule.SAMPLES else inner)
        if not rule & Rule.PERMUTED:
            assert items["order"][number] == 0


def round_trip(sample, tables=None):
    """The rules that were used and the items that were stored."""
    columns = encoded(sample, tables)
    heads = [tree.head for tree in sample]
    expected = [contents(tree) for tree in sample]
    for loops in LOOPS:
        assert decoded(columns, heads, tables, loops) == expected
    rules = [Rule(int(rule)) for rule in columns[0]]
    items = items_of(columns, len(sample))
    check_saved(sample, rules, items)
    return rules, items


# --- What scikit-learn grows ---

SEED = np.random.default_rng(0)
N = 240
X = SEED.normal(size=(N, 6))
HOLES = np.where(SEED.random((N, 6)) < 0.1, np.nan, X)
FLOATS = X @ np.arange(6.0) + SEED.normal(size=N)
WHOLE = np.round(3 * FLOATS)
TWO = (FLOATS > 0).astype(int)
FIVE = np.digitize(FLOATS, [-8, -3, 3, 8])
OUTPUTS = np.column_stack([FIVE, X[:, 0] > 0]).astype(int)
TARGETS = np.column_stack([FLOATS, X[:, 1] ** 2])
WEIGHTS = SEED.random(N) + 0.1
STAIRS = (FLOATS[:, None] < np.linspace(-9, 9, 12)).astype(int)  # outputs that are mostly alike

SUMS = Rule.SAMPLES | Rule.MISSING
BOOTSTRAP = SUMS | Rule.WEIGHT_WHOLE
ALL = SUMS | Rule.WEIGHT_EQUAL
GINI = Rule.COUNTS | Rule.GINI
SQUARES = Rule.WHOLE_SUMS | Rule.SQUARES
SPREAD = Rule.MEANS | Rule.SPREAD


def grown(cls, target, features=X, weights=None, **options):
    options = {"random_state": 0, **options}
    if "n_estimators" in cls().get_params():
        options = {"n_estimators": 4, **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if weights is None:
            return cls(**options).fit(features, target)
        return cls(**options).fit(features, target, sample_weight=weights)


def case(cls, target, *rules, **options):
    return cls, target, set(rules), options


# Of each: the rules that its trees use, exactly.
MODELS = {
    "two classes": case(RandomForestClassifier, TWO, BOOTSTRAP | GINI),
    "five classes": case(RandomForestClassifier, FIVE, BOOTSTRAP | GINI),
    "leaves that are not pure": case(
        RandomForestClassifier, FIVE, BOOTSTRAP | GINI, min_samples_leaf=7
    ),
    "no bootstrap": case(RandomForestClassifier, FIVE, ALL | GINI, bootstrap=False),
    "outputs of classes": case(RandomForestClassifier, OUTPUTS, BOOTSTRAP | GINI),
    "extra trees of classes": case(ExtraTreesClassifier, FIVE, ALL | GINI),
    "entropy": case(RandomForestClassifier, FIVE, BOOTSTRAP | Rule.COUNTS, criterion="entropy"),
    "log loss": case(RandomForestClassifier, FIVE, BOOTSTRAP | Rule.COUNTS, criterion="log_loss"),
    "class_weight": case(
        ExtraTreesClassifier, FIVE, SUMS | Rule.MEANS, class_weight="balanced", max_depth=5
    ),
    "class_weight of whole numbers": case(
        RandomForestClassifier, TWO, BOOTSTRAP | GINI, class_weight={0: 1, 1: 3}
    ),
    "sample_weight of classes": case(
        ExtraTreesClassifier, FIVE, SUMS | Rule.MEANS, weights=WEIGHTS
    ),
    "whole sample_weight": case(
        DecisionTreeClassifier, FIVE, BOOTSTRAP | GINI, weights=np.ceil(5 * WEIGHTS)
    ),
    "sample_weight of zero": case(
        DecisionTreeClassifier, FIVE, BOOTSTRAP | GINI, weights=np.round(2 * WEIGHTS), max_depth=5
    ),
    "outputs like the one before": case(
        ExtraTreesClassifier, STAIRS, SUMS | Rule.STEPS, weights=WEIGHTS
    ),
    "missing values": case(
        RandomForestClassifier, FIVE, BOOTSTRAP & ~Rule.MISSING | GINI, features=HOLES
    ),
    "pruned": case(RandomForestClassifier, FIVE, BOOTSTRAP | GINI, ccp_alpha=0.01),
    "floats": case(RandomForestRegressor, FLOATS, BOOTSTRAP | SPREAD),
    "whole numbers": case(RandomForestRegressor, WHOLE, BOOTSTRAP | SQUARES),
    "whole numbers, large leaves": case(
        RandomForestRegressor, WHOLE, BOOTSTRAP | SQUARES, min_samples_leaf=9
    ),
    "floats, large leaves": case(
        RandomForestRegressor, FLOATS, BOOTSTRAP | SPREAD, min_samples_leaf=9
    ),
    "two targets": case(RandomForestRegressor, TARGETS, BOOTSTRAP | SPREAD),
    "two whole targets": case(
        RandomForestRegressor, np.round(TARGETS), BOOTSTRAP | Rule.WHOLE_SUMS | Rule.SPREAD
    ),
    "extra trees": case(ExtraTreesRegressor, FLOATS, ALL | SPREAD),
    "sample_weight": case(ExtraTreesRegressor, FLOATS, SUMS | SPREAD, weights=WEIGHTS),
    "missing values, floats": case(
        RandomForestRegressor, FLOATS, BOOTSTRAP & ~Rule.MISSING | SPREAD, features=HOLES
    ),
    "poisson": case(
        RandomForestRegressor,
        np.abs(WHOLE) + 1,
        BOOTSTRAP | Rule.WHOLE_SUMS | Rule.SPREAD,
        criterion="poisson",
    ),
    "boosting": case(GradientBoostingRegressor, FLOATS, ALL | SPREAD),
    "boosting, huber": case(GradientBoostingRegressor, FLOATS, ALL, loss="huber"),
    "boosting of classes": case(GradientBoostingClassifier, FIVE, ALL),
    "boosting of two classes": case(GradientBoostingClassifier, TWO, ALL),
    "bagging": case(BaggingRegressor, WHOLE, BOOTSTRAP | SQUARES),
    "bagging of classes": case(BaggingClassifier, FIVE, BOOTSTRAP | GINI),
    "one tree of classes": case(DecisionTreeClassifier, FIVE, ALL | GINI),
    "one tree": case(DecisionTreeRegressor, FLOATS, ALL | SPREAD),
    "one random tree of classes": case(ExtraTreeClassifier, FIVE, ALL | GINI),
    "one random tree": case(ExtraTreeRegressor, WHOLE, ALL | SQUARES),
    "a stump": case(DecisionTreeClassifier, FIVE, ALL | GINI, max_depth=1),
    "a root": case(DecisionTreeClassifier, FIVE, ALL | GINI, min_samples_split=N + 1),
    "one class": case(RandomForestClassifier, 0 * FIVE, BOOTSTRAP | SQUARES),
    "more features than are sorted": case(
        ExtraTreesClassifier, FIVE, ALL | GINI, features=SEED.normal(size=(N, 5000))
    ),
    "few thresholds": case(
        RandomForestClassifier, FIVE, BOOTSTRAP | GINI, features=np.round(X), n_estimators=20
    ),
}


def trees_of(model):
    if hasattr(model, "tree_"):
        return [model.tree_]
    return [tree for member in np.ravel(model.estimators_) for tree in trees_of(member)]


def arrays_of(tree):
    state = tree.__getstate__()
    classes = tuple(tree.n_classes.tolist())
    head = Head(tree.node_count, tree.max_depth, tree.n_features, classes)
    return Tree(head, state["nodes"].view(NODE), state["values"])


def random_splits_take_missing_values():
    """Releases whose random splitter does not never say where they would go."""
    try:
        ExtraTreeRegressor().fit(HOLES, FLOATS)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("name", MODELS)
def test_trees_use_the_rules_that_are_promised(name):
    cls, target, expected, options = MODELS[name]
    rules, _ = round_trip([arrays_of(tree) for tree in trees_of(grown(cls, target, **options))])
    if "Extra" in cls.__name__ and not random_splits_take_missing_values():
        expected = {rule & ~Rule.MISSING for rule in expected}
    assert set(rules) == expected


# Trees of which some field follows no rule: that is stored, everything comes back.
OTHERS = {
    "isolation": lambda: IsolationForest(n_estimators=4, random_state=0).fit(X),
    "embedding": lambda: RandomTreesEmbedding(4, random_state=0).fit(X),
    "adaptive boosting": lambda: grown(AdaBoostRegressor, FLOATS),
    "adaptive boosting of classes": lambda: grown(AdaBoostClassifier, FIVE),
    "absolute error": lambda: grown(RandomForestRegressor, FLOATS, criterion="absolute_error"),
    "boosting, absolute error": lambda: grown(
        GradientBoostingRegressor, FLOATS, loss="absolute_error"
    ),
    "boosting, quantile": lambda: grown(GradientBoostingRegressor, FLOATS, loss="quantile"),
    "exponential": lambda: grown(GradientBoostingClassifier, TWO, loss="exponential"),
    "monotonic": lambda: grown(RandomForestRegressor, FLOATS, monotonic_cst=[0, 1, 1, 0, 0, -1]),
    "monotonic classes": lambda: grown(
        ExtraTreesClassifier, TWO, monotonic_cst=[0, 1, 1, 0, 0, -1]
    ),
    "best first": lambda: grown(RandomForestRegressor, FLOATS, max_leaf_nodes=20),
    "pruned, floats": lambda: grown(RandomForestRegressor, FLOATS, ccp_alpha=0.05),
    "huge weights": lambda: grown(ExtraTreesRegressor, WHOLE, weights=WEIGHTS * 1e200),
    "tiny targets": lambda: grown(RandomForestRegressor, FLOATS * 1e-160),
    "huge targets": lambda: grown(RandomForestRegressor, WHOLE * 1e150),
    "targets far from zero": lambda: grown(RandomForestRegressor, WHOLE + 2.0**50),
    "weights over 2**53": lambda: grown(
        ExtraTreesClassifier, FIVE, weights=np.round(WEIGHTS * 2.0**46)
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_trees_that_follow_only_some_rules(name):
    rules, _ = round_trip([arrays_of(tree) for tree in trees_of(OTHERS[name]())])
    assert not any(rule & Rule.RAW for rule in rules)


@pytest.mark.parametrize("target", [FIVE, WHOLE, FLOATS], ids=["classes", "whole", "floats"])
def test_a_tree_grown_best_first_stores_one_number_a_split(target):
    cls = RandomForestClassifier if target is FIVE else RandomForestRegressor
    sample = [arrays_of(tree) for tree in trees_of(grown(cls, target, max_leaf_nodes=20))]
    rules, items = round_trip(sample)
    assert all(rule & Rule.PERMUTED for rule in rules)
    assert items["order"].tolist() == [len(tree.nodes) // 2 for tree in sample]
    values = {"classes": Rule.COUNTS, "whole": Rule.WHOLE_SUMS, "floats": Rule.MEANS}
    expected = next(rule for rule in values.values() if rules[0] & rule)
    assert all(rule & expected for rule in rules)


# --- Any arrays ---

WAYS = {
    "samples": ("few", "few", "any"),
    "weights": ("equal", "more", "halves", "any"),
    "values": ("counts", "sums", "means", "steps", "any", "hazard"),
    "impurity": ("gini", "squares", "spread", "none", "any"),
    "missing": ("majority", "any"),
    "numbering": ("preorder", "preorder", "best first", "permuted"),
    "profile": ("all", "all", "all", "all", "inference"),
}
plans = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 1 << 32),
        "splits": st.integers(0, 14),
        "outputs": st.integers(1, 3),
        "classes": st.integers(1, 4),
        "bits": st.lists(numbers, min_size=1, max_size=4),
        "integers": st.lists(integers, min_size=1, max_size=3),
        "damage": st.lists(st.integers(0, 999), max_size=2),
        "broken": st.sampled_from((False,) * 7 + (True,)),
        **{key: st.sampled_from(ways) for key, ways in WAYS.items()},
    }
)
samples = st.tuples(
    st.lists(plans, min_size=1, max_size=3),
    st.one_of(st.sampled_from((3, 1, 7, 300, 0, 4096, 4097, 5000)), st.integers(1, 5000)),
    st.sampled_from(("none", "own", "foreign", "empty")),
)


class Planned:
    """A tree from a plan: fields that follow the rules, or not, with single numbers replaced."""

    def __init__(self, plan, features):
        self.plan, self.features = plan, features
        self.rng = np.random.default_rng(plan["seed"])
        self.bits = np.array(plan["bits"], np.uint64).view(np.float64)
        self.leaf = leaf_flags(plan["splits"], self.rng)
        self.left, self.right = children(self.leaf)
        self.inner = np.flatnonzero(~self.leaf)
        self.n = len(self.leaf)
        self.width = plan["outputs"] * plan["classes"]
        self.depths = np.zeros(self.n, int)
        for p in self.inner:
            self.depths[[self.left[p], self.right[p]]] = self.depths[p] + 1

    def pick(self, choices, count):
        return self.rng.choice(choices, count)

    def summed(self, leaves):
        found = np.array(leaves)
        for p in self.inner[::-1]:
            found[p] = found[self.left[p]] + found[self.right[p]]
        return found

    def samples(self):
        if self.plan["samples"] == "few":
            return self.summed(self.rng.integers(1, 9, self.n))
        return self.summed(self.pick(np.array(self.plan["integers"], np.int64), self.n))

    def weights(self, samples):
        match self.plan["weights"]:
            case "equal":
                return samples.astype(float)
            case "more":
                return self.summed(samples.astype(float) + self.rng.integers(0, 300, self.n))
            case "halves":
                return self.summed(self.rng.integers(0, 9, self.n) / 2)
        return self.pick(self.bits, self.n)

    def values(self, w):
        outputs, classes = self.plan["outputs"], self.plan["classes"]
        size = (self.n, outputs, classes)
        match self.plan["values"]:
            case "counts":
                whole = np.where(np.abs(w) < 2.0**60, w, 1).astype(np.int64)
                counts = np.zeros(size, np.int64)
                for p, k in np.ndindex(self.n, outputs):
                    if self.rng.random() < 0.5:
                        cuts = np.sort(self.rng.integers(0, max(whole[p], 0) + 1, classes - 1))
                        counts[p, k] = np.diff([0, *cuts, whole[p]])
                    else:
                        counts[p, k, self.rng.integers(classes)] = whole[p]
                return self.summed(counts) / w[:, None, None]
            case "sums":
                return self.summed(self.rng.integers(-99, 99, size)) / w[:, None, None]
            case "means":
                found = self.rng.normal(size=size).round(self.rng.integers(1, 17))
                for p in self.inner[::-1]:
                    a, b = self.left[p], self.right[p]
                    found[p] = (w[a] * found[a] + w[b] * found[b]) / w[p]
                return found
            case "hazard":
                return self.hazards(w, outputs, classes)
            case "steps":
                found = np.repeat(self.rng.normal(size=(self.n, 1, classes)), outputs, axis=1)
                found[self.rng.random(size) < 0.1] = self.bits[0]
                return found
        return self.pick(self.bits, self.n * self.width).reshape(size)

    def hazards(self, w, outputs, classes):
        """Cumulative hazard and survival; outputs are times, at which some of those left go."""
        found = np.zeros((self.n, outputs, classes))
        for p in range(self.n):
            left = int(w[p]) if 0 <= w[p] < 2.0**53 else 0
            hazard, survival = 0.0, 1.0
            for k in range(outputs):
                left -= int(self.rng.integers(0, left + 1)) if self.rng.random() < 0.3 else 0
                events = int(self.rng.integers(0, left + 1))
                if events:
                    hazard = hazard + events / left
                    survival = survival * (1.0 - events / left)
                    left -= events
                found[p, k] = np.resize([hazard, survival], classes)
        return found

    def impurity(self, values, w):
        rows = values.reshape(self.n, -1)
        match self.plan["impurity"]:
            case "gini":
                counts = np.rint(values * w[:, None, None])
                found = np.zeros(self.n)
                for k in range(values.shape[1]):
                    square = np.zeros(self.n)
                    for c in range(values.shape[2]):
                        square = square + counts[:, k, c] * counts[:, k, c]
                    found = found + (1.0 - square / (w * w))
                return found / float(values.shape[1])
            case "squares":
                least = np.rint(rows[:, 0] * rows[:, 0] * w) + self.rng.integers(0, 300, self.n)
                return self.summed(least) / w - rows[:, 0] * rows[:, 0]
            case "spread":
                found = self.rng.random(self.n) * (self.rng.random(self.n) < 0.5)
                square = (rows * rows).sum(1)
                for p in self.inner[::-1]:
                    a, b = self.left[p], self.right[p]
                    sums = w[a] * (found[a] + square[a]) + w[b] * (found[b] + square[b])
                    found[p] = sums / w[p] - square[p]
                return found
            case "none":
                return np.zeros(self.n)
        return self.pick(self.bits, self.n)

    def nodes(self):
        nodes = np.zeros(self.n, NODE)
        inner = self.inner
        nodes["left_child"], nodes["right_child"] = self.left, self.right
        nodes["feature"], nodes["threshold"] = -2, -2.0
        most = min(self.features, 300) if self.rng.random() < 0.5 else self.features
        nodes["feature"][inner] = self.rng.integers(0, max(1, most), len(inner))
        nodes["threshold"][inner] = self.pick(np.append(self.bits, [1.5, 2.5]), len(inner))
        nodes["n_node_samples"] = self.samples()
        nodes["weighted_n_node_samples"] = self.weights(nodes["n_node_samples"])
        n = nodes["n_node_samples"]
        majority = np.where(self.leaf, 0, n[self.left] > n[self.right])
        anything = self.rng.integers(0, 256, self.n)
        nodes["missing_go_to_left"] = majority if self.plan["missing"] == "majority" else anything
        return nodes

    def tree(self):
        with np.errstate(all="ignore"):
            nodes = self.nodes()
            w = nodes["weighted_n_node_samples"]
            values = self.values(w)
            nodes["impurity"] = self.impurity(values, w)
        if self.plan["profile"] == "inference":
            nodes["impurity"] = nodes["weighted_n_node_samples"] = np.nan
            nodes["n_node_samples"], values[self.inner] = -1, np.nan
        self.damage(nodes, values)
        nodes, values = self.numbered(nodes, values)
        if self.plan["broken"]:
            for _ in range(self.rng.integers(1, 4)):
                side = self.rng.choice(["left_child", "right_child"])
                wrong = [*range(-3, self.n + 2), *self.plan["integers"]]
                nodes[side][self.rng.integers(self.n)] = self.rng.choice(wrong)
        outputs, classes = self.plan["outputs"], self.plan["classes"]
        depth = int(self.depths.max()) + int(self.rng.choice([0] * 9 + [5, -1]))
        each = (classes, *[int(self.rng.integers(1, classes + 1)) for _ in range(outputs - 1)])
        return Tree(Head(self.n, depth, self.features, each), nodes, np.ascontiguousarray(values))

    def damage(self, nodes, values):
        for where in self.plan["damage"]:
            name = [*FIELDS[2:], "values"][where % 7]
            among = self.inner if len(self.inner) and where % 3 else np.arange(self.n)
            p = among[where % len(among)]
            if name == "values":
                values[p] = self.bits[0]
            elif name in ("feature", "n_node_samples"):
                nodes[name][p] = self.plan["integers"][0]
            elif name == "missing_go_to_left":
                nodes[name][p] ^= 1
            else:
                nodes[name][p] = self.bits[0]

    def numbered(self, nodes, values):
        """The same tree, whose nodes have other numbers."""
        order = np.arange(self.n)
        if self.plan["numbering"] == "permuted":
            order[1:] = 1 + self.rng.permutation(self.n - 1)
        elif self.plan["numbering"] == "best first":
            frontier, last = [0], 0
            while frontier:
                p = frontier.pop(self.rng.integers(len(frontier)))
                if not self.leaf[p]:
                    pair = [self.left[p], self.right[p]]
                    order[pair] = last + 1, last + 2
                    frontier, last = frontier + pair, last + 2
        moved, there = np.zeros_like(nodes), np.zeros_like(values)
        for side in ("left_child", "right_child"):
            nodes[side][self.inner] = order[nodes[side][self.inner]]
        moved[order], there[order] = nodes, values
        return moved, there


def tables_for(which, sample, features):
    if which == "none":
        return None
    if which == "own":
        return tree_tables.tables_of(sample)
    if which == "empty":
        return NO_TABLES
    rng = np.random.default_rng(len(sample[0].nodes))
    known = tree_tables._from_ordered(np.unique(tree_tables._to_ordered(np.array(BITS, np.uint64))))
    kept = known[rng.random(len(known)) < 0.6]
    counts = rng.integers(0, len(kept) + 1, features)
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Tables(starts, np.concatenate([kept[:0], *(kept[:count] for count in counts)]), kept)


def planted(plan):
    several, features, which = plan
    sample = [Planned(each, features).tree() for each in several]
    return sample, tables_for(which, sample, features)


@pytest.mark.long
@settings(max_examples=4 * TREES, derandomize=True, deadline=None)
@given(plan=samples)
def test_any_arrays(plan):
    round_trip(*planted(plan))


def of_shape(leaf, outputs=1, classes=1, features=9, right=None):
    """A tree whose numbers follow the rules, made of whole arrays."""
    rng = np.random.default_rng(0)
    leaf = np.asarray(leaf)
    inner = np.flatnonzero(~leaf)
    nodes = np.zeros(len(leaf), NODE)
    nodes["left_child"] = nodes["right_child"] = -1
    nodes["feature"], nodes["threshold"] = -2, -2.0
    nodes["left_child"][inner] = inner + 1
    nodes["right_child"][inner] = children(leaf)[1][inner] if right is None else right
    nodes["feature"][inner] = rng.integers(0, features, len(inner))
    nodes["threshold"][inner] = rng.normal(size=len(inner)).round(2)
    ends = np.arange(len(leaf))
    for p in inner[::-1]:
        ends[p] = ends[nodes["right_child"][p]]
    # The leaves of a subtree are neighbours: prefix sums give its sum.
    samples = np.concatenate([[0], np.cumsum(np.where(leaf, rng.integers(1, 5, len(leaf)), 0))])
    nodes["n_node_samples"] = samples[ends + 1] - samples[:-1]
    nodes["weighted_n_node_samples"] = nodes["n_node_samples"]
    n, right = nodes["n_node_samples"], nodes["right_child"]
    nodes["missing_go_to_left"][inner] = n[inner + 1] > n[right[inner]]
    counts = np.zeros((len(leaf), outputs, classes))
    counts[..., 0] = nodes["n_node_samples"][:, None]
    values = counts / nodes["weighted_n_node_samples"][:, None, None]
    return Tree(Head(len(leaf), len(leaf) // 2, features, (classes,) * outputs), nodes, values)


def chain(splits, left):
    """Splits one below the other, with one leaf beside each."""
    if left:
        leaf = np.arange(2 * splits + 1) >= splits
        return of_shape(leaf, right=2 * splits - np.arange(splits), classes=2)
    leaf = np.arange(2 * splits + 1) % 2 == 1
    leaf[-1] = True
    return of_shape(leaf, right=np.arange(2, 2 * splits + 1, 2))


@pytest.mark.long
@pytest.mark.parametrize("left", [True, False])
def test_a_chain(left):
    tree = chain(10_000, left)
    [rules], _ = round_trip([tree])
    assert rules & (Rule.COUNTS if left else Rule.WHOLE_SUMS)
    assert not rules & Rule.PERMUTED
    renumbered = np.append(0, 1 + np.random.default_rng(0).permutation(len(tree.nodes) - 1))
    moved, values = np.zeros_like(tree.nodes), np.zeros_like(tree.values)
    moved[renumbered], values[renumbered] = tree.nodes, tree.values
    inner = moved["left_child"] != -1
    for side in ("left_child", "right_child"):
        moved[side][inner] = renumbered[moved[side][inner]]
    [rules], items = round_trip([Tree(tree.head, moved, values)])
    assert rules & Rule.PERMUTED
    assert items["order"][0] == len(moved)


@pytest.mark.long
def test_millions_of_nodes():
    """Complete, so that it is wide: the reference takes a level at a time."""
    depth = 20
    leaf = np.ones(1, bool)
    for _ in range(depth):
        leaf = np.concatenate([[False], leaf, leaf])
    heights = np.ones(1, int)
    for height in range(1, depth + 1):
        heights = np.concatenate([[1 << height], heights, heights])
    inner = np.flatnonzero(~leaf)
    tree = of_shape(leaf, right=inner + heights[inner])
    tree.head = replace(tree.head, depth=depth)
    assert tree.head.nodes > 2_000_000
    [rules], _ = round_trip([tree])
    assert rules & ALL == ALL
    assert rules & Rule.SQUARES


def test_many_trees_of_many_chunks(monkeypatch):
    monkeypatch.setattr(trees, "CHUNK_BYTES", 3000)
    sample = [arrays_of(tree) for tree in trees_of(grown(RandomForestClassifier, FIVE))]
    whole = sample + [of_shape([True])] * 3 + sample
    columns = encoded(whole)
    monkeypatch.setattr(trees, "CHUNK_BYTES", 1 << 40)
    assert [column.tobytes() for column in encoded(whole)] == [each.tobytes() for each in columns]
    round_trip(whole)


def test_nothing_of_a_tree_is_changed():
    sample = [arrays_of(tree) for tree in trees_of(grown(RandomForestRegressor, FLOATS))]
    before = [(tree.nodes.tobytes(), tree.values.tobytes()) for tree in sample]
    round_trip(sample)
    assert [(tree.nodes.tobytes(), tree.values.tobytes()) for tree in sample] == before


def test_padding_is_nobodys():
    clean, dirty = of_shape([False, True, True]), of_shape([False, True, True])
    for one in (clean, dirty):
        one.nodes["left_child"][0], one.nodes["right_child"][0] = 2, 1  # PERMUTED
    dirty.nodes["padding"] = b"garbage"
    assert [each.tobytes() for each in encoded([clean])] == [
        each.tobytes() for each in encoded([dirty])
    ]
    for loops in LOOPS:
        assert loops.equal(clean.memory[0], dirty.memory[0])
        assert not loops.equal(clean.memory[0], dirty.memory[0][64:])
    dirty.nodes["left_child"][0] = 0  # RAW
    [rule], _ = round_trip([dirty])
    assert rule == Rule.RAW


@pytest.mark.parametrize("left", [[1, -1], [1, -1, 3, -1]])
def test_nodes_whose_last_right_subtree_is_missing(left):
    tree = of_shape([True] * len(left))
    tree.nodes["left_child"] = left
    for p in np.flatnonzero(tree.nodes["left_child"] >= 0):
        tree.nodes["right_child"][p], tree.nodes["feature"][p] = p + 2, 0
    tree.head = replace(tree.head, depth=9)
    [rules], _ = round_trip([tree])
    assert rules == Rule.RAW


@settings(max_examples=TREES // 2, derandomize=True, deadline=None)
@given(plan=samples, byte=st.integers(0, 63))
def test_equal_and_dropped(plan, byte):
    for tree in planted(plan)[0]:
        nodes = tree.memory[0]
        other = nodes.copy()
        other[64 * (len(tree.nodes) // 2) + byte] ^= 1
        assert [loops.equal(nodes, nodes.copy()) for loops in LOOPS] == [True, True]
        assert [loops.equal(nodes, other) for loops in LOOPS] == [byte > 56] * 2
        for loops in LOOPS:
            kept = Tree(tree.head, tree.nodes.copy(), tree.values.copy())
            loops.dropped(*kept.memory, tree.head.width)
            inner = tree.nodes["left_child"] != -1
            expected = Tree(tree.head, tree.nodes.copy(), tree.values.copy())
            expected.nodes["impurity"] = expected.nodes["weighted_n_node_samples"] = np.nan
            expected.nodes["n_node_samples"], expected.values[inner] = -1, np.nan
            assert contents(kept) == contents(expected)


# --- Columns that are no tree's ---


def outcome(columns, heads, tables, loops):
    """What is decoded, or None: nothing else may happen."""
    try:
        return decoded(columns, heads, tables, loops)
    except CorruptShardError:
        return None


def both_agree(columns, heads, tables=None):
    mine, other = (outcome(columns, heads, tables, loops) for loops in LOOPS)
    assert mine == other
    return mine


edits = st.lists(
    st.tuples(
        st.sampled_from(
            ("byte", "number", "rule", "swap rules", "length", "cut", "add", "swap", "head", "flip")
        ),
        st.integers(0, 9999),
        st.integers(0, 9999),
        st.one_of(integers, st.integers(0, 255)),
    ),
    min_size=1,
    max_size=4,
)


def edited(columns, heads, edits):
    """Columns and heads after some edits."""
    columns, heads = [column.copy() for column in columns], list(heads)
    widths = [width for _, width, _ in trees.COLUMNS]
    filled = [number for number, column in enumerate(columns) if len(column)]
    for kind, a, b, value in edits:
        which = filled[a % len(filled)]
        column = columns[which]
        raw = column.view(np.uint8)
        tree, stream = b % len(heads), a % COUNT
        match kind:
            case "byte" if len(raw):
                raw[b % len(raw)] = value & 255
            case "flip" if len(raw):
                raw[b % len(raw)] ^= 1 << (value & 7)
            case "number" if len(raw) >= 8:
                raw[: len(raw) // 8 * 8].view(np.int64)[b % (len(raw) // 8)] = value
            case "rule":
                columns[0][tree] ^= 1 << (a % 16)
            case "swap rules":
                columns[0][tree] = value & 0xFFFFFFFF if a % 3 == 0 else value & 0x7FFF
            case "length":
                at = b % len(columns[1])
                columns[1][at : at + 1] += value if a % 2 else value % 5 - 2
            case "cut" if which >= 5:
                count = max(1, value % 9)
                columns[which] = raw[: -count * widths[which]].copy()
                columns[1][(which - 5) * len(heads) + tree] -= count
            case "add":
                count = 1 + value % 9
                stream = columns[5 + stream].view(np.uint8)
                more = np.resize(np.frombuffer(struct.pack("<q", value), np.uint8), count * 8)
                columns[5 + a % COUNT] = np.concatenate(
                    [stream, more[: count * widths[5 + a % COUNT]]]
                )
                columns[1][(a % COUNT) * len(heads) + len(heads) - 1] += count
            case "swap":
                lengths = columns[1].reshape(COUNT, len(heads))
                lengths[stream, [tree, 0]] = lengths[stream, [0, tree]]
            case "head":
                heads[tree] = other_head(heads[tree], a, value)
    return columns, heads


def other_head(head, which, value):
    match which % 4:
        case 0:
            return replace(head, nodes=max(1, head.nodes + value % 7 - 3))
        case 1:
            return replace(head, depth=value)
        case 2:
            return replace(head, features=value)
    return replace(head, classes=(*head.classes[1:], 1 + value % 5))


@pytest.mark.long
@settings(max_examples=6 * TREES, derandomize=True, deadline=None)
@given(plan=samples, edits=edits)
def test_damaged_columns(plan, edits):
    sample, tables = planted(plan)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_backend, "loops", _tree_cython)
        columns = trees.encode(sample, tables, each)
    both_agree(*edited(columns, [tree.head for tree in sample], edits), tables)


class Inventing(_tree_numpy._Reader):
    """Gives whatever is asked for, and remembers it: columns of the right lengths."""

    def __init__(self, rng, leaf, bits):
        self.rng, self.leaf, self.bits = rng, leaf, bits
        self.taste = ((0.75, 0.05, 0.05, 0.05, 0.1), (0.2,) * 5)[rng.integers(2)]
        self.pieces = {stream.name: [np.zeros(0, np.uint8)] for stream in STREAMS}

    def plain(self, name, count, dtype=np.uint64):
        size = count * np.dtype(dtype).itemsize
        found = self.rng.integers(0, 256, size, np.uint8)
        style = self.rng.choice(5, p=self.taste)
        if name == "leaves":
            found = np.packbits(self.leaf)
        elif size == count:
            most = (2, 4, 256, 256, 3)[style]
            found = self.rng.integers(0, most, count, np.uint8)
            if style == 0:
                found[:] = self.rng.choice([0, 0, 2, 4])
        elif size == 4 * count and style < 4:
            found = self.rng.integers(0, style + 2, count, np.uint32).view(np.uint8)
        elif style == 1:
            found = self.rng.choice(self.bits, count).view(np.uint8)
        elif style == 2 or (style == 0 and "large" in name):
            found = self.rng.integers(0, 600, count, np.uint64).view(np.uint8)
        elif style in (0, 3):
            found = self.rng.integers(-9, 99, count).astype(float).view(np.uint8)
        self.pieces[name].append(found)
        return found.view(dtype).copy()

    def finish(self):
        pass


VALID = (
    *(
        0,
        Rule.SAMPLES,
        BOOTSTRAP | GINI,
        ALL | GINI,
        BOOTSTRAP | SQUARES,
        ALL | SPREAD,
        SUMS | SPREAD,
    ),
    *(
        BOOTSTRAP | Rule.WHOLE_SUMS | Rule.SPREAD,
        SUMS | Rule.STEPS,
        Rule.INFERENCE,
        ALL | Rule.HAZARD,
    ),
)
inventions = st.tuples(
    st.integers(0, 1 << 32),
    st.integers(0, 9),
    st.integers(1, 3),
    st.integers(1, 4),
    st.one_of(
        st.sampled_from([int(each) for each in VALID] * 3),
        st.sampled_from([int(each) ^ 1 << bit for each in VALID for bit in range(14)]),
    ),
    st.sampled_from(("none", "foreign", "foreign")),
    st.sampled_from((300, 5, 4097)),
)


def invented(invention):
    """Columns that any tree of this shape and these rules would have the lengths of."""
    seed, splits, outputs, classes, rules, which, features = invention
    rng = np.random.default_rng(seed)
    rules &= ~Rule.RAW
    leaf = leaf_flags(splits, rng)
    head = Head(len(leaf), len(leaf), features, (classes,) * outputs)
    made = Tree(head, np.zeros(len(leaf), NODE), np.zeros((len(leaf), outputs, classes)))
    tables = tables_for(which, [made], features)
    reader = Inventing(rng, leaf, np.array((*BITS, *range(1, 9)), np.uint64))
    found = (NO_TABLES if tables is None else tables).arrays
    nodes, values = made.memory
    with suppress(ValueError):
        _tree_numpy._decode(
            _tree_numpy._Tree(nodes, values, head.numbers(), *found), Rule(rules), reader
        )
    if rules & Rule.PERMUTED:
        count = [len(leaf), len(leaf) // 2][rng.integers(2)]
        reader.pieces["order"].append(rng.permutation(len(leaf))[:count].view(np.uint8))
    streams = [np.concatenate(reader.pieces[stream.name]) for stream in STREAMS]
    lengths = [len(stream) // STREAMS[place].width for place, stream in enumerate(streams)]
    columns = [np.array([rules], np.uint32), np.array(lengths), *NO_TABLES.arrays, *streams]
    return columns, head, NO_TABLES if tables is None else tables


@pytest.mark.long
@settings(max_examples=6 * TREES, derandomize=True, deadline=None)
@given(invention=inventions)
def test_invented_columns(invention):
    columns, head, tables = invented(invention)
    both_agree(columns, [head], tables)


@settings(max_examples=TREES, derandomize=True, deadline=None)
@given(
    lengths=st.lists(integers, min_size=COUNT, max_size=COUNT),
    rules=st.integers(0, (1 << 32) - 1),
    noise=st.lists(st.binary(max_size=40), min_size=COUNT, max_size=COUNT),
    nodes=st.integers(1, 9),
    honest=st.booleans(),
)
def test_noise(lengths, rules, noise, nodes, honest):
    streams = [
        np.frombuffer(data[: len(data) // stream.width * stream.width], np.uint8)
        for data, stream in zip(noise, STREAMS, strict=True)
    ]
    if honest:
        lengths = [len(data) // one.width for data, one in zip(streams, STREAMS, strict=True)]
    columns = [np.array([rules], np.uint32), np.array(lengths), *NO_TABLES.arrays, *streams]
    both_agree(columns, [Head(nodes, nodes, 3, (2,))], NO_TABLES)


def tiny(rules, features=1, depth=1, outputs=1, classes=1, **items):
    """Columns of one tree by hand, from the bytes of its streams; and its head."""
    nodes = {b"\x80": 1, b"\x81": 1, b"\x40": 2, b"\x50": 4}.get(items["leaves"], 3)
    streams = [np.frombuffer(items.get(stream.name, b""), np.uint8) for stream in STREAMS]
    lengths = [len(data) // STREAMS[place].width for place, data in enumerate(streams)]
    columns = [np.array([rules], np.uint32), np.array(lengths), *NO_TABLES.arrays, *streams]
    return columns, [Head(nodes, depth, features, (classes,) * outputs)]


ONE, TWO_POINTS, ENDLESS = (struct.pack("<d", x) for x in (1.0, 2.0, np.inf))
ROOT = {"leaves": b"\x80", "samples": b"\x01"}
STUMP = {"leaves": b"\x60", "feature": b"\0", "threshold": ONE, "samples": b"\1\1"}
BOTH = Rule.COUNTS | Rule.WHOLE_SUMS
DEFIANT = {
    "rules that do not exist": lambda: tiny(1 << 30 | ALL | SQUARES, **ROOT, value=ONE),
    "a rule over 2**31": lambda: tiny(1 << 31 | ALL | SQUARES, **ROOT, value=ONE),
    "counts and sums": lambda: tiny(
        ALL | BOTH | Rule.SQUARES,
        classes=2,
        **ROOT,
        **{"class": b"\0", "impurity of leaves": b"\0"},
    ),
    "steps and sums": lambda: tiny(
        ALL | Rule.STEPS | SQUARES,
        classes=2,
        **ROOT,
        **{"value, residual": b"\0\0", "impurity of leaves": b"\0"},
    ),
    "an impurity that is not a number": lambda: tiny(
        ALL | SPREAD, **ROOT, value=ENDLESS, **{"impurity of leaves": b"\1"}
    ),
    "raw words of a tree that is not": lambda: tiny(
        ALL | SQUARES | Rule.PERMUTED,
        **STUMP,
        value=ONE + ONE,
        order=b"\1" + bytes(7),
        **{"impurity of leaves": b"\0\0"},
        raw=ONE,
    ),
    "leaves behind the last node": lambda: tiny(
        ALL | SQUARES, **{**ROOT, "leaves": b"\x81"}, value=ONE, **{"impurity of leaves": b"\0"}
    ),
    "the last right subtree is missing": lambda: tiny(
        ALL | SQUARES, **{**STUMP, "leaves": b"\x40"}, value=ONE, **{"impurity of leaves": b"\0"}
    ),
    "a right subtree without its right": lambda: tiny(
        *(ALL | SQUARES, 1, 2),
        **{**STUMP, "leaves": b"\x50", "feature": b"\0\0", "threshold": ONE + ONE},
        value=ONE + ONE,
        **{"impurity of leaves": b"\0\0"},
    ),
    "a depth that is exceeded": lambda: tiny(
        ALL | SQUARES, depth=0, **STUMP, value=ONE + ONE, **{"impurity of leaves": b"\0\0"}
    ),
    "a negative number of features": lambda: tiny(
        ALL | SQUARES, features=-1, **ROOT, value=ONE, **{"impurity of leaves": b"\0"}
    ),
    "counts that wrap": lambda: tiny(
        BOOTSTRAP | GINI,
        classes=2049,
        **ROOT,
        **{"weight": b"\xff", "weight, large": struct.pack("<Q", (1 << 54) - 4)},
        **{"class": b"\xff", "class, large": struct.pack("<Q", 2049)},
        **{"counts": b"\xff" * 2048, "counts, large": struct.pack("<Q", (1 << 53) - 1) * 2048},
    ),
    "raw nodes with something in the padding": lambda: tiny(
        Rule.RAW, leaves=b"", raw=bytes(63) + b"\1" + bytes(2 * 64 + 3 * 8)
    ),
    "a number used twice": lambda: tiny(
        ALL | SQUARES | Rule.PERMUTED,
        **STUMP,
        value=ONE + ONE,
        order=struct.pack("<3q", 0, 1, 1),
        **{"impurity of leaves": b"\0\0"},
    ),
    "numbers near the end of all": lambda: tiny(
        ALL | SQUARES | Rule.PERMUTED,
        **STUMP,
        value=ONE + ONE,
        order=struct.pack("<q", (1 << 63) - 1),
        **{"impurity of leaves": b"\0\0"},
    ),
}


@pytest.mark.parametrize("name", DEFIANT)
def test_columns_against_the_rules(name):
    assert both_agree(*DEFIANT[name](), NO_TABLES) is None


def test_columns_by_hand():
    """The same ones with the fault taken out: what is refused above is refused for its fault."""
    leaves = {"impurity of leaves": b"\0\0"}
    stump = tiny(ALL | SQUARES, **STUMP, value=ONE + TWO_POINTS, **leaves)
    [(nodes, values)] = both_agree(*stump)
    found = np.frombuffer(nodes, NODE)
    assert (
        found["n_node_samples"].tolist() == found["weighted_n_node_samples"].tolist() == [2, 1, 1]
    )
    assert found["left_child"].tolist() == [1, -1, -1]
    assert found["right_child"].tolist() == [2, -1, -1]
    assert found["impurity"].tolist() == [0.25, 0.0, 0.0]
    assert np.frombuffer(values).tolist() == [1.5, 1.0, 2.0]
    moved = tiny(
        ALL | SQUARES | Rule.PERMUTED,
        **STUMP,
        value=ONE + TWO_POINTS,
        order=struct.pack("<3q", 2, 0, 1),
        **leaves,
    )
    [(nodes, values)] = both_agree(*moved)
    assert np.frombuffer(nodes, NODE)["left_child"].tolist() == [-1, -1, 0]
    assert np.frombuffer(values).tolist() == [1.0, 2.0, 1.5]


@pytest.mark.parametrize("loops", LOOPS, ids=lambda loops: loops.NAME)
@pytest.mark.parametrize(
    "head",
    [
        *((1 << 58, 1, 1, 1, 1), (1 << 60, 1, 1, 1, 1), ((1 << 63) - 1, 1, 1, 1, 1)),
        *((1, 1, 1, 1 << 62, 4), (1, 1, 1, 1 << 61, 8), (1, 1, 1, (1 << 63) - 1, 1)),
        *((1, 1, 1, 0, 1), (1, 1, 1, 1, 0), (1, 1, 1, 1, 1 << 62), (1, 1, 1, -1, -1)),
        *((0, 1, 1, 1, 1), (-1, 1, 1, 1, 1), (1 << 62, 1, 1, 4, 1), (1, 1, -1, 1, 1)),
        *((0, 1, 1, 1 << 62, 1 << 62), (3, 1, 1, 1, 1), (1, 1, 1, 2, 1), (1, 1, 1, 1, 2)),
    ],
)
@pytest.mark.parametrize("nodes", [0, 1])
def test_heads_that_do_not_fit_the_memory(loops, head, nodes):
    memory = np.zeros(64 * nodes, np.uint8), np.zeros(nodes)
    head, ends = np.array(head), np.zeros(COUNT, np.int64)
    streams, work = [np.zeros(0, np.uint8)] * COUNT, np.zeros(100, np.int64)
    room = np.zeros(1000, np.uint8)
    with pytest.raises(ValueError, match="size"):
        loops.encode(*memory, head, *NO_TABLES.arrays, room, ends, ends.copy(), work)
    with pytest.raises(ValueError, match="size"):
        loops.decode(streams, ends, ends, 0, head, *NO_TABLES.arrays, *memory, work)


@pytest.mark.parametrize("loops", LOOPS, ids=lambda loops: loops.NAME)
def test_more_features_than_memory(loops):
    columns, [head] = tiny(ALL | SQUARES, **ROOT, value=ONE, **{"impurity of leaves": b"\0"})
    head = replace(head, features=1 << 62, depth=(1 << 63) - 1)
    [(nodes, _)] = decoded(columns, [head], NO_TABLES, loops)
    assert np.frombuffer(nodes, NODE)["feature"].tolist() == [-2]


def test_tables_beside_those_that_are_shared():
    columns, heads = tiny(ALL | SQUARES, **ROOT, value=ONE, **{"impurity of leaves": b"\0"})
    columns[4] = np.zeros(1, np.uint64)
    assert both_agree(columns, heads, NO_TABLES) is None


@pytest.mark.parametrize(
    ("starts", "size"),
    [([0, 1], 2), ([0, 3], 2), ([1, 2], 2), ([0, -1, 2], 2), ([0, 2, 1, 2], 2), ([], 2)],
)
def test_tables_that_point_outside(starts, size):
    columns, heads = tiny(ALL | SQUARES, **ROOT, value=ONE, **{"impurity of leaves": b"\0"})
    columns[2:4] = np.array(starts, np.int64), np.zeros(size, np.uint64)
    assert both_agree(columns, heads) is None


# --- In a model ---


def files(path):
    return {str(each.relative_to(path)): each.read_bytes() for each in path.rglob("*.*")}


WITHOUT_KERNEL = """
import sys
sys.modules["shardpickle.codecs._tree_cython"] = None
import shardpickle
from shardpickle.codecs import _backend, _tree_numpy
assert _backend.loops is _tree_numpy
source, target = sys.argv[1:]
shardpickle.dump(shardpickle.load(source), target, shard_size="40kB")
"""


@pytest.mark.long
@pytest.mark.parametrize("name", ["five classes", "floats", "whole numbers", "few thresholds"])
def test_without_a_compiler_the_files_are_the_same(name, tmp_path):
    cls, target, _, options = MODELS[name]
    model = grown(cls, target, **options)
    shardpickle.dump(model, tmp_path / "kernel", shard_size="40kB")
    command = [sys.executable, "-c", WITHOUT_KERNEL, tmp_path / "kernel", tmp_path / "other"]
    subprocess.run(command, check=True, cwd=Path(__file__).parent)
    assert files(tmp_path / "kernel") == files(tmp_path / "other")
    assert_same(shardpickle.load(tmp_path / "other"), model)


def test_nodes_that_are_no_trees_are_arrays(tmp_path):
    """Of other releases, or of machines of the other byte order."""
    nodes = trees_of(grown(DecisionTreeRegressor, FLOATS))[0].__getstate__()["nodes"]
    names = [name for name in NODE_DTYPE.names if name != "missing_go_to_left"]
    older = np.dtype([(name, NODE_DTYPE[name]) for name in names])
    assert older.itemsize == 56
    before = np.zeros(len(nodes), older)
    for name in names:
        before[name] = nodes[name]
    swapped = nodes.astype(NODE_DTYPE.newbyteorder(">"))
    model = {"older": before, "swapped": swapped, "nodes": nodes, "again": nodes[::2]}
    shardpickle.dump(model, tmp_path / "model")
    loaded = shardpickle.load(tmp_path / "model")
    assert_same(loaded, {**model, "again": nodes[::2].copy()})
    assert loaded["older"].tobytes() == before.tobytes()


def test_what_is_loaded_is_the_same_at_each_load(tmp_path):
    """Padding too: `joblib.hash` and pickle see it."""
    forest = grown(RandomForestRegressor, FLOATS, max_leaf_nodes=30)
    shardpickle.dump(forest, tmp_path / "model")
    for tree in trees_of(shardpickle.load(tmp_path / "model")):
        nodes = tree.__getstate__()["nodes"].view(np.uint8).reshape(-1, 64)
        assert not nodes[:, 57:].any()


def shard_of_the_table(document):
    [part] = {entry[4] for entry in document["shards"]} - {None}
    shard, _ = reader.parts_of(document)[part]
    return document["shards"][shard][0]


@pytest.mark.long
def test_a_grown_forest_keeps_its_full_shards_and_its_table(tmp_path):
    rows = np.random.default_rng(0).normal(size=(300, 4))
    target = rows.sum(axis=1) + rows[:, 0]
    forest = RandomForestRegressor(60, warm_start=True, random_state=0).fit(rows, target)
    path = tmp_path / "model"
    first = shardpickle.dump(forest, path, shard_size="150kB")
    before, _ = reader.read_model(path)
    assert first.shards_written > 6
    forest.set_params(n_estimators=63).fit(rows, target)
    second = shardpickle.dump(forest, path, shard_size="150kB")
    after, _ = reader.read_model(path)
    names = [[entry[0] for entry in document["shards"]] for document in (before, after)]
    # The last, partly filled one and the root's are written again, besides what is new.
    assert len(set(names[0]) & set(names[1])) == second.shards_reused >= first.shards_written - 2
    assert second.shards_written <= 4
    assert shard_of_the_table(before) == shard_of_the_table(after)
    assert_same(shardpickle.load(path), forest)


def test_a_table_of_thresholds_serves_several_shards(tmp_path):
    # Whole numbers as features: thresholds repeat, so that they become a table of their own.
    rng = np.random.default_rng(0)
    X, target = rng.integers(0, 20, (400, 4)), rng.normal(size=400)
    model = RandomForestRegressor(30, random_state=0).fit(X, target)
    shardpickle.dump(model, tmp_path / "model", shard_size=200_000)
    document = json.loads((tmp_path / "model" / "manifest.json").read_text())
    users = [shard for shard in document["shards"] if shard[4] is not None]
    assert len(users) > 3
    model_reader = ModelReader.open(local.LocalStore(tmp_path / "model"))
    with workers.Pool(1) as pool:
        (tables,) = model_reader.tables(pool).values()
    distinct = {
        threshold
        for tree in model.estimators_
        for threshold in tree.tree_.threshold[tree.tree_.feature >= 0]
    }
    assert set(tables.thresholds.view(np.float64)) <= distinct
    assert len(tables.thresholds) > len(distinct) // 2
    assert_same(shardpickle.load(tmp_path / "model"), model)
