"""Nodes of histogram boosting: kernel and reference give the same, and every bit comes back."""

import warnings

import numpy as np
import pytest
from graphs import assert_same, loaded_as_pickle
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.ensemble._hist_gradient_boosting.common import PREDICTOR_RECORD_DTYPE
from tree_cases import BITS, LOOPS, TREES, children, integers, leaf_flags, numbers

import shardpickle
from shardpickle.codecs import _backend, _tree_cython, hist_nodes
from shardpickle.codecs.tree_streams import SPLIT
from shardpickle.errors import CorruptShardError

NAMES = [name for name, _, _ in hist_nodes.COLUMNS]
WIDTHS = [width for _, width, _ in hist_nodes.COLUMNS]


def encoded(pieces):
    """The columns, as bytes: they do not depend on the loops."""
    both = []
    for loops in LOOPS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_backend, "loops", loops)
            both.append([column.view(np.uint8) for column in hist_nodes.encode(pieces)])
    assert [column.tobytes() for column in both[0]] == [column.tobytes() for column in both[1]]
    assert [len(column) % width for column, width in zip(both[0], WIDTHS, strict=True)] == [
        0 for _ in WIDTHS
    ]
    return both[0]


def decoded(columns, pieces, loops=_tree_cython):
    """The bytes of arrays of the pieces' lengths and dtypes."""
    found = [np.zeros(len(piece), piece.dtype) for piece in pieces]
    for piece in found:
        piece.view(np.uint8)[:] = 0xA5
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_backend, "loops", loops)
        hist_nodes.decode(columns, found)
    return [fields_of(piece) for piece in found]


def fields_of(piece):
    return [np.ascontiguousarray(piece[name]).tobytes() for name in SPLIT.names]


def round_trip(pieces):
    """{column: items}, after every bit came back."""
    columns = encoded(pieces)
    for loops in LOOPS:
        assert decoded(columns, pieces, loops) == [fields_of(piece) for piece in pieces]
    found = {
        name: column.view(f"u{width}")
        for name, width, column in zip(NAMES, WIDTHS, columns, strict=True)
    }
    raw = sum(len(piece) for piece, rule in zip(pieces, found["rules"], strict=True) if rule == 1)
    assert len(found["raw"]) == raw * SPLIT.itemsize
    return found


def pieces_of(model):
    return [tree.nodes for stage in model._predictors for tree in stage]


# --- What scikit-learn grows ---

SEED = np.random.default_rng(0)
N = 400
X = SEED.normal(size=(N, 5))
X[:, 3] = SEED.integers(0, 12, N)
X[:, 4] = SEED.integers(0, 200, N)
HOLES = np.where(SEED.random((N, 5)) < 0.1, np.nan, X)
FLOATS = X[:, 0] + (X[:, 3] % 3) + SEED.normal(size=N)
FIVE = np.digitize(FLOATS, [-1, 0, 1, 2])
WEIGHTS = SEED.random(N) + 0.1


def grown(cls, target, features=X, weights=None, **options):
    options = {"max_iter": 5, "random_state": 0, "min_samples_leaf": 4, **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return cls(**options).fit(features, target, sample_weight=weights)


REGRESSION, CLASSES = HistGradientBoostingRegressor, HistGradientBoostingClassifier
MODELS = {
    "regression": lambda: grown(REGRESSION, FLOATS),
    "learning rate": lambda: grown(REGRESSION, FLOATS, learning_rate=0.37),
    "learning rate of 1": lambda: grown(REGRESSION, FLOATS, learning_rate=1.0),
    "two classes": lambda: grown(CLASSES, FLOATS > 0),
    "five classes": lambda: grown(CLASSES, FIVE),
    "missing values": lambda: grown(REGRESSION, FLOATS, HOLES),
    "categories": lambda: grown(REGRESSION, FLOATS, categorical_features=[3, 4]),
    "categories and missing values": lambda: grown(
        CLASSES, FIVE, HOLES, categorical_features=[3, 4]
    ),
    "monotonic": lambda: grown(REGRESSION, FLOATS, monotonic_cst=[1, -1, 0, 0, 0]),
    "sample_weight": lambda: grown(REGRESSION, FLOATS, weights=WEIGHTS),
    "absolute error": lambda: grown(REGRESSION, FLOATS, loss="absolute_error"),
    "quantile": lambda: grown(REGRESSION, FLOATS, loss="quantile", quantile=0.2),
    "poisson": lambda: grown(REGRESSION, np.abs(FLOATS), loss="poisson"),
    "gamma": lambda: grown(REGRESSION, np.abs(FLOATS) + 0.1, loss="gamma"),
    "regularized": lambda: grown(REGRESSION, FLOATS, l2_regularization=3.0, max_depth=3),
    "few bins": lambda: grown(REGRESSION, FLOATS, max_bins=3),
    "features by chance": lambda: grown(REGRESSION, FLOATS, max_features=0.5),
    "interactions": lambda: grown(REGRESSION, FLOATS, interaction_cst=[{0, 1}, {2, 3, 4}]),
    "only roots": lambda: grown(REGRESSION, np.zeros(N)),
    "stumps": lambda: grown(CLASSES, FIVE, max_leaf_nodes=2),
}


@pytest.mark.long
@pytest.mark.parametrize("name", MODELS)
def test_fitted_trees(name, tmp_path):
    model = MODELS[name]()
    pieces = pieces_of(model)
    assert all(hist_nodes.fits(piece.dtype) for piece in pieces)
    found = round_trip(pieces)
    # Nothing is raw, and what follows from the rest is not in the columns.
    assert not found["rules"].any()
    assert not found["raw"].size
    for follows in ("count", "bitset", "threshold"):
        assert not found[follows].any(), follows
    shardpickle.dump(model, tmp_path / "model")
    assert_same(loaded_as_pickle(tmp_path / "model"), model)


@pytest.mark.parametrize("name", ["regression", "learning rate", "learning rate of 1", "few bins"])
def test_values_and_gains_of_squared_error_are_predicted(name):
    model = MODELS[name]()
    found = round_trip(pieces_of(model))
    grown_trees = [len(piece) > 1 for piece in pieces_of(model)]
    rates = found["shrinkage"].view(float)[grown_trees]
    assert np.unique(rates).tolist() == [model.learning_rate]
    # The rest is rounding: of sums of single-precision gradients in the values.
    assert np.median(found["value"]) < 2.0**40
    leaves = [piece[piece["is_leaf"] == 1] for piece in pieces_of(model)]
    assert found["gain, none"].tolist() == (np.concatenate(leaves)["gain"] == -1).tolist()


def test_where_missing_values_go_is_with_the_majority():
    assert not round_trip(pieces_of(MODELS["regression"]()))["missing"].any()
    assert round_trip(pieces_of(MODELS["missing values"]()))["missing"].any()


def test_trees_without_gains_and_inner_values():
    pieces = [piece.copy() for piece in pieces_of(MODELS["five classes"]())]
    expected = [piece.copy() for piece in pieces]
    for piece in expected:
        piece["gain"] = np.nan
        piece["value"][piece["is_leaf"] == 0] = np.nan
    kept = [hist_nodes.dropped(piece) for piece in pieces]
    assert [fields_of(piece) for piece in kept] == [fields_of(piece) for piece in expected]
    found = round_trip([*kept[:3], *pieces[3:]])
    assert found["rules"].tolist() == [hist_nodes.INFERENCE] * 3 + [0] * (len(pieces) - 3)
    inner = sum(int((piece["is_leaf"] == 0).sum()) for piece in kept[:3])
    assert not found["value"][:inner].any()
    assert not found["gain"][:inner].any()
    assert found["gain, none"][: sum(map(len, kept[:3])) - inner].all()


# --- Any arrays ---

DTYPES = (
    SPLIT,
    PREDICTOR_RECORD_DTYPE,
    np.dtype([(name, SPLIT[name]) for name in SPLIT.names], align=True),
)
plans = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 1 << 32),
        "splits": st.integers(0, 12),
        "dtype": st.integers(0, len(DTYPES) - 1),
        "bits": st.lists(numbers, min_size=1, max_size=4),
        "integers": st.lists(integers, min_size=1, max_size=3),
        "rate": st.one_of(st.sampled_from((1.0, 0.1, 0.0, -3.0, 1e308)), st.floats()),
        "any": st.lists(st.sampled_from(SPLIT.names), max_size=3),
        "damage": st.lists(st.tuples(st.sampled_from(SPLIT.names), st.integers(0, 99)), max_size=2),
        "profile": st.sampled_from(("all", "all", "all", "inference")),
        "reordered": st.sampled_from((False, False, False, False, True)),
    }
)


def planted(plan):
    """Nodes from a plan: fields that follow the rules, or not, with single numbers replaced."""
    rng = np.random.default_rng(plan["seed"])
    leaf = leaf_flags(plan["splits"], rng)
    left, right = children(leaf)
    bits = np.array(plan["bits"], np.uint64)
    piece = np.zeros(len(leaf), DTYPES[plan["dtype"]])
    inner = np.flatnonzero(~leaf)
    with np.errstate(all="ignore"):
        fill(piece, leaf, left, right, rng, plan["rate"])
    for name in plan["any"]:
        field = piece[name].dtype
        source = bits if field.kind == "f" else np.array(plan["integers"], np.int64)
        chosen = rng.choice(source, len(piece)).view(np.uint64)
        where = inner if name in hist_nodes._OF_SPLITS else np.arange(len(piece))
        made = chosen.view(float) if field.kind == "f" else chosen.astype(f"u{field.itemsize}")
        piece[name][where] = made.astype(field)[where] if field.kind != "f" else made[where]
    if plan["profile"] == "inference":
        piece["gain"], piece["value"][inner] = np.nan, np.nan
    for name, where in plan["damage"]:
        raw = np.ascontiguousarray(piece[name])
        raw.view(np.uint8)[where % raw.nbytes] ^= 1 << (where & 7)
        piece[name] = raw
    return piece[::-1].copy()[::-1] if plan["reordered"] else piece


def fill(piece, leaf, left, right, rng, rate):
    inner = np.flatnonzero(~leaf)
    piece["is_leaf"], piece["left"], piece["right"] = leaf, left * ~leaf, right * ~leaf
    piece["count"] = rng.integers(1, 9, len(piece))
    value = rng.normal(size=len(piece)).round(rng.integers(1, 17))
    piece["gain"] = -1
    for p in inner:
        piece["depth"][[left[p], right[p]]] = piece["depth"][p] + 1
    for p in inner[::-1]:
        a, b = left[p], right[p]
        n = piece["count"].astype(float)
        piece["count"][p] = piece["count"][a] + piece["count"][b]
        value[p] = (n[a] * value[a] + n[b] * value[b]) / (n[a] + n[b])
        between = (value[a] - value[b]) ** 2
        piece["gain"][p] = n[a] * n[b] / (n[a] + n[b]) * between
        piece["missing_go_to_left"][p] = n[a] > n[b]
    piece["value"] = np.where(leaf, value * rate, value)
    piece["feature_idx"][inner] = rng.integers(0, 3, len(inner))
    piece["bin_threshold"][inner] = rng.integers(0, 4, len(inner))
    piece["num_threshold"][inner] = (10 * piece["feature_idx"] + piece["bin_threshold"])[inner]
    categorical = rng.random(len(inner)) < 0.3
    piece["is_categorical"][inner] = categorical
    piece["bitset_idx"][inner] = np.where(categorical, np.cumsum(categorical) - categorical, 0)


@pytest.mark.long
@settings(max_examples=2 * TREES, derandomize=True, deadline=None)
@given(several=st.lists(plans, min_size=1, max_size=3))
def test_any_arrays(several):
    round_trip([planted(plan) for plan in several])


@settings(max_examples=TREES, derandomize=True, deadline=None)
@given(
    noise=st.lists(st.binary(min_size=1, max_size=56 * 5), min_size=1, max_size=3),
    dtype=st.sampled_from(DTYPES),
)
def test_records_of_noise(noise, dtype):
    pieces = []
    for data in noise:
        packed = np.resize(np.frombuffer(data, np.uint8), -(-len(data) // 56) * 56).view(SPLIT)
        piece = np.zeros(len(packed), dtype)
        for name in SPLIT.names:
            piece[name] = packed[name]
        pieces.append(piece)
    round_trip(pieces)


def test_a_chain_and_a_large_tree():
    splits = 3_000
    leaf = np.arange(2 * splits + 1) % 2 == 1
    leaf[-1] = True
    for flags in (leaf, np.arange(2 * splits + 1) >= splits, leaf_flags(6_000, SEED)):
        left, right = children(flags)
        piece = np.zeros(len(flags), SPLIT)
        with np.errstate(all="ignore"):
            fill(piece, flags, left, right, SEED, 0.1)
        assert round_trip([piece])["rules"].tolist() == [0]


def test_nodes_that_lie_apart_in_memory():
    pieces = [np.repeat(piece, 2)[::2] for piece in pieces_of(MODELS["regression"]())]
    assert not round_trip(pieces)["rules"].any()


def test_other_dtypes_are_not_taken_for_nodes(tmp_path):
    nodes = pieces_of(MODELS["regression"]())[0]
    older = np.dtype([(name, SPLIT[name]) for name in SPLIT.names if name != "bitset_idx"])
    shorter = np.zeros(len(nodes), older)
    for name in older.names:
        shorter[name] = nodes[name]
    swapped = nodes.astype(nodes.dtype.newbyteorder(">"))
    assert not hist_nodes.fits(older)
    assert not hist_nodes.fits(swapped.dtype)
    model = {
        "older": shorter,
        "swapped": swapped,
        "empty": nodes[:0],
        "square": nodes[:4].reshape(2, 2),
    }
    shardpickle.dump(model, tmp_path / "model")
    assert_same(loaded_as_pickle(tmp_path / "model"), model)


# --- Columns that are no tree's ---


def both_agree(columns, pieces):
    """What is decoded, or None: nothing else may happen."""
    found = []
    for loops in LOOPS:
        try:
            found.append(decoded(columns, pieces, loops))
        except CorruptShardError:
            found.append(None)
    assert found[0] == found[1]
    return found[0]


edits = st.lists(
    st.tuples(
        st.sampled_from(("byte", "flip", "number", "cut", "add", "swap", "size", "empty")),
        st.integers(0, 9999),
        st.integers(0, 9999),
        st.one_of(integers, st.integers(0, 255)),
    ),
    min_size=1,
    max_size=4,
)


def edited(columns, pieces, edits):
    columns, pieces = [column.copy() for column in columns], list(pieces)
    for kind, a, b, value in edits:
        filled = [number for number, column in enumerate(columns) if len(column)]
        if not filled:
            break
        which = filled[a % len(filled)]
        column, width = columns[which], WIDTHS[which]
        match kind:
            case "byte":
                column[b % len(column)] = value & 255
            case "flip":
                column[b % len(column)] ^= 1 << (value & 7)
            case "number" if width == 8:
                column.view(np.int64)[b % (len(column) // 8)] = value
            case "cut":
                columns[which] = column[: -width * (1 + value % 3)].copy()
            case "add":
                columns[which] = np.append(column, column[-width:])
            case "swap":
                items = column.view(f"u{width}")
                items[[b % len(items), 0]] = items[[0, b % len(items)]]
            case "size":
                piece = pieces[b % len(pieces)]
                size = max(0, len(piece) + value % 5 - 2)
                pieces[b % len(pieces)] = np.zeros(size, piece.dtype)
            case "empty":
                columns[which] = column[:0]
    return columns, pieces


@pytest.mark.long
@settings(max_examples=3 * TREES, derandomize=True, deadline=None)
@given(several=st.lists(plans, min_size=1, max_size=3), edits=edits)
def test_damaged_columns(several, edits):
    pieces = [planted(plan) for plan in several]
    both_agree(*edited(encoded(pieces), pieces, edits))


@settings(max_examples=2 * TREES, derandomize=True, deadline=None)
@given(
    seed=st.integers(0, 1 << 32),
    splits=st.lists(st.integers(0, 6), min_size=1, max_size=3),
    rates=st.lists(numbers, min_size=3, max_size=3),
    rules=st.lists(st.sampled_from((0, 0, 0, 2)), min_size=3, max_size=3),
)
def test_invented_columns(seed, splits, rates, rules):
    """Of the right lengths, full of anything: they decode to something."""
    rng = np.random.default_rng(seed)
    several = [leaf_flags(count, rng) for count in splits]
    leaf = np.concatenate(several)
    leaves, inner = int(leaf.sum()), int((~leaf).sum())
    no_gain = rng.integers(0, 2, leaves).astype(np.uint8)
    known = rng.integers(0, 2, inner).astype(np.uint8)
    feature = rng.choice([-1, 0, 1, 5, 1 << 55, -(1 << 63)], inner)
    bins = rng.choice([0, 1, 255], inner).astype(np.uint8)
    table = np.unique((feature << 8) | bins)

    def words(count):
        return rng.choice([*BITS, *range(9)], count).astype(np.uint64)

    def small(count, most, dtype=np.uint8):
        return rng.integers(0, most, count).astype(dtype)

    columns = [
        *(np.array(rules[: len(several)], np.uint8), np.array(rates[: len(several)], np.uint64)),
        *(np.packbits(leaf), small(leaves, 1 << 32, np.uint32), small(inner, 3, np.uint32)),
        *(feature, bins, small(inner, 4), small(inner, 1 << 32, np.uint32), small(inner, 256)),
        *(table, words(len(table)), known, words(int((known == 0).sum()))),
        *(words(leaves), words(inner), no_gain, words(int((no_gain == 0).sum())), words(inner)),
        np.zeros(0, np.uint8),
    ]
    raw = [column.view(np.uint8) for column in columns]
    assert both_agree(raw, [np.zeros(len(each), SPLIT) for each in several]) is not None


@settings(max_examples=TREES, derandomize=True, deadline=None)
@given(
    noise=st.lists(st.binary(max_size=24), min_size=len(NAMES), max_size=len(NAMES)),
    sizes=st.lists(st.integers(0, 5), min_size=1, max_size=3),
)
@example(noise=[b""] * len(NAMES), sizes=[0])
@example(noise=[b"\0", bytes(8), *[b""] * 18], sizes=[0])
@example(noise=[b"\0", bytes(8), *[b""] * 18], sizes=[1])
def test_noise(noise, sizes):
    columns = [np.frombuffer(data, np.uint8) for data in noise]
    columns[0] = np.resize(columns[0], len(sizes)) if len(columns[0]) else columns[0]
    both_agree(columns, [np.zeros(size, SPLIT) for size in sizes])


def stump(**changes):
    """Columns of one tree by hand: a split into two leaves."""
    items = {
        "rules": np.zeros(1, np.uint8),
        "shrinkage": np.array([0.5]),
        "leaves": np.array([0b01100000], np.uint8),
        "count of leaves": np.array([3, 1], np.uint32),
        "value of leaves": np.array([1.0, -1.0]),
        "gain, none": np.ones(2, np.uint8),
        "table of thresholds, places": np.array([(7 << 8) | 5]),
        "table of thresholds": np.array([2.5]),
        "threshold, known": np.ones(1, np.uint8),
        "feature": np.array([7]),
        "bin": np.array([5], np.uint8),
        "threshold": np.zeros(0),
        "gain of leaves": np.zeros(0),
        "raw": np.zeros(0, np.uint8),
        **changes,
    }
    return [
        items.get(name, np.zeros(1, f"u{width}")).view(np.uint8)
        for name, width in zip(NAMES, WIDTHS, strict=True)
    ]


def test_columns_by_hand():
    [fields] = both_agree(stump(), [np.zeros(3, SPLIT)])
    found = dict(zip(SPLIT.names, fields, strict=True))
    assert np.frombuffer(found["count"], "<u4").tolist() == [4, 3, 1]
    assert np.frombuffer(found["value"]).tolist() == [1.0, 1.0, -1.0]  # (3·2 − 1·2) / 4
    assert np.frombuffer(found["gain"]).tolist() == [12.0, -1.0, -1.0]  # 3·2² + 1·2² − 4·1²
    assert np.frombuffer(found["num_threshold"]).tolist() == [2.5, 0.0, 0.0]
    assert np.frombuffer(found["left"], "<u4").tolist() == [1, 0, 0]
    assert np.frombuffer(found["right"], "<u4").tolist() == [2, 0, 0]
    assert np.frombuffer(found["depth"], "<u4").tolist() == [0, 1, 1]
    assert found["missing_go_to_left"] == b"\1\0\0"


MINUS_ONE = {"feature": np.array([-1]), "bin": np.array([255], np.uint8)}
DEFIANT = {
    "a threshold behind the table": stump(
        **MINUS_ONE, **{"table of thresholds, places": np.array([-5])}
    ),
    "a threshold of an empty table": stump(
        **MINUS_ONE,
        **{"table of thresholds, places": np.zeros(0, int), "table of thresholds": np.zeros(0)},
    ),
    "a table without thresholds": stump(**{"table of thresholds": np.zeros(0)}),
    "a rule that does not exist": stump(rules=np.array([3], np.uint8)),
    "a missing leaf": stump(leaves=np.array([0b01000000], np.uint8)),
    "a leaf too many": stump(leaves=np.array([0b11100000], np.uint8)),
    "records beside": stump(raw=np.zeros(56, np.uint8)),
    "too few records": stump(rules=np.ones(1, np.uint8), raw=np.zeros(56, np.uint8)),
    "two rules": stump(rules=np.zeros(2, np.uint8)),
    "a fraction of a number": stump(feature=np.zeros(7, np.uint8)),
}


@pytest.mark.parametrize("name", DEFIANT)
def test_columns_against_the_rules(name):
    assert both_agree(DEFIANT[name], [np.zeros(3, SPLIT)]) is None
