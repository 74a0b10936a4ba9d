"""Steps between releases, each under whatever is installed; tests/releases.py crosses for real."""

import functools
import pickle
from collections import UserList

import numpy as np
import pytest
import sklearn
from numpy.random import PCG64, Generator, RandomState
from sklearn._loss import loss as losses
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingRegressor,
    RandomForestRegressor,
)
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.multioutput import RegressorChain
from sklearn.pipeline import Pipeline
from sklearn.semi_supervised import SelfTrainingClassifier
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.tree._tree import NODE_DTYPE
from sklearn.utils import check_array

from shardpickle.errors import RebuildError
from shardpickle.sklearn_support import migrations, tree_states
from shardpickle.trust import names
from shardpickle.trust.unrestricted import Objects

OLD, NEW = "1.5.0", "1.9.1"


@pytest.fixture
def here(monkeypatch):
    """Makes a release the installed one, as far as `migrations.state` can tell."""

    def pretend(version):
        monkeypatch.setattr(sklearn, "__version__", version)
        monkeypatch.setattr(migrations, "_SKLEARN", migrations.release(version))
        migrations._changes.cache_clear()

    yield pretend
    migrations._changes.cache_clear()


def migrated(instance, written, **attributes):
    return migrations.state(instance, {"_sklearn_version": written, **attributes})


# (instance, written under, installed, its attributes, some of the attributes that it gets)
TREE = DecisionTreeRegressor()
FRIEDMAN, SQUARED = {"criterion": "friedman_mse"}, {"criterion": "squared_error"}
UNSET = {"criterion": "deprecated"}
NUMBERS, EMPTY = np.array([1.0, 2.0]), np.array([np.nan, 2.0])
CONSTANT = {"strategy": "constant", "keep_empty_features": False}
INITIAL = SimpleImputer()
INITIAL.statistics_ = EMPTY
REMAINDER = ("remainder", "drop", UserList([0, 2]))
PLAIN = ("remainder", "drop", [0, 2])
STEPS = [
    (AdaBoostClassifier(), NEW, OLD, {}, {"algorithm": "SAMME"}),
    (AdaBoostClassifier(), "1.6.1", OLD, {"algorithm": "deprecated"}, {"algorithm": "SAMME"}),
    (AdaBoostClassifier(), OLD, NEW, {"algorithm": "SAMME.R"}, {"algorithm": "SAMME.R"}),
    (BaggingClassifier(), OLD, NEW, {"estimators_": []}, {"_sample_weight": None}),
    (RandomForestRegressor(), "1.8.0", NEW, {"estimators_": []}, {"_sample_weight": None}),
    (RandomForestRegressor(), OLD, NEW, FRIEDMAN, SQUARED),
    (RandomForestRegressor(), OLD, "1.8.0", FRIEDMAN, FRIEDMAN),
    (TREE, OLD, NEW, FRIEDMAN, SQUARED),
    (GradientBoostingRegressor(), OLD, NEW, FRIEDMAN, UNSET),
    (GradientBoostingRegressor(), NEW, OLD, UNSET, FRIEDMAN),
    (
        HistGradientBoostingRegressor(),
        OLD,
        NEW,
        {"categorical_features": "warn"},
        {"categorical_features": None},
    ),
    (SimpleImputer(), OLD, NEW, {"statistics_": NUMBERS}, {"_fill_dtype": np.dtype("f8")}),
    (
        SimpleImputer(),
        NEW,
        OLD,
        {**CONSTANT, "statistics_": NUMBERS.astype(object), "_fill_dtype": np.dtype("f4")},
        {"statistics_": NUMBERS.astype("f4")},
    ),
    (
        SimpleImputer(),
        NEW,
        OLD,
        {"strategy": "mean", "statistics_": NUMBERS},
        {"statistics_": NUMBERS},
    ),
    (
        IterativeImputer(),
        OLD,
        NEW,
        {"initial_imputer_": INITIAL},
        {"_is_empty_feature": np.array([True, False])},
    ),
    (
        ColumnTransformer([]),
        OLD,
        NEW,
        {"transformers_": [REMAINDER], "_remainder": REMAINDER},
        {"transformers_": [PLAIN], "_remainder": PLAIN},
    ),
    (
        LogisticRegression(),
        OLD,
        NEW,
        {"classes_": "ab", "multi_class": "ovr"},
        {"multi_class": "ovr"},
    ),
    (RegressorChain(TREE), OLD, NEW, {"base_estimator": TREE}, {"estimator": TREE}),
    (
        RegressorChain(TREE),
        "1.8.0",
        OLD,
        {"base_estimator": "deprecated", "estimator": TREE},
        {"base_estimator": TREE},
    ),
    (
        SelfTrainingClassifier(TREE),
        OLD,
        NEW,
        {"base_estimator": TREE, "base_estimator_": TREE},
        {"estimator": TREE, "estimator_": TREE},
    ),
    (
        SelfTrainingClassifier(TREE),
        NEW,
        OLD,
        {"estimator": TREE, "estimator_": TREE},
        {"base_estimator": TREE, "base_estimator_": TREE},
    ),
]


@pytest.mark.parametrize(
    ("instance", "written", "installed", "attributes", "expected"),
    STEPS,
    ids=[f"{type(step[0]).__name__} {step[1]}-{step[2]}" for step in STEPS],
)
def test_a_step(here, instance, written, installed, attributes, expected):
    here(installed)
    state = migrated(instance, written, **attributes)
    np.testing.assert_equal({name: state[name] for name in expected}, expected)
    assert state["_sklearn_version"] == installed
    for name, value in expected.items():
        if isinstance(value, np.ndarray):
            assert state[name].dtype == value.dtype


@pytest.mark.parametrize("step", STEPS, ids=[type(step[0]).__name__ for step in STEPS])
def test_nothing_changes_within_a_release(here, step):
    instance, _, installed, attributes, _ = step
    here(installed)
    expected = {"_sklearn_version": installed, **attributes}
    assert migrated(instance, installed, **attributes).keys() == expected.keys()
    assert all(
        migrated(instance, installed, **attributes)[name] is value
        for name, value in expected.items()
    )


REFUSED = [
    (AdaBoostClassifier(), OLD, "1.6.0", {"algorithm": "SAMME.R", "estimators_": []}),
    (LogisticRegression(), OLD, NEW, {"multi_class": "ovr", "classes_": "abc"}),
    (LogisticRegression(), OLD, NEW, {"multi_class": "multinomial", "classes_": "ab"}),
    (LogisticRegression(), OLD, NEW, {"solver": "liblinear", "classes_": "abc"}),
    (SimpleImputer(), NEW, OLD, {**CONSTANT, "statistics_": EMPTY, "_fill_dtype": np.dtype("f8")}),
]


@pytest.mark.parametrize(
    ("instance", "written", "installed", "attributes"),
    REFUSED,
    ids=[type(step[0]).__name__ for step in REFUSED],
)
def test_what_would_predict_otherwise_is_refused(here, instance, written, installed, attributes):
    here(installed)
    state = {"_sklearn_version": written, **attributes}
    with pytest.raises(RebuildError, match=type(instance).__name__):
        Objects({}, (), (), migrations.state).build(instance, state)


def test_columns_of_the_remainder_become_a_plain_list(here):
    here(NEW)
    state = migrated(ColumnTransformer([]), OLD, transformers_=[REMAINDER], _remainder=REMAINDER)
    for _, _, columns in (state["_remainder"], *state["transformers_"]):
        assert type(columns) is list


def test_parameters_of_the_installed_release_get_their_defaults(here):
    here("1.4.0")
    state = migrated(Pipeline([]), OLD, steps=[])
    assert state.keys() - {"_sklearn_version"} == Pipeline([]).get_params(deep=False).keys()
    here("99.0")
    assert migrated(Pipeline([]), OLD, steps=[])["verbose"] is False


def test_classes_of_others_are_left_alone():
    class Mine(SimpleImputer):
        pass

    assert migrated(Mine(), "1.0", x=1) == {"_sklearn_version": "1.0", "x": 1}
    assert migrations.state(object(), (1, 2)) == (1, 2)


def test_a_keyword_of_check_array_has_the_name_of_the_release(here):
    for installed, old, new in (
        (NEW, "force_all_finite", "ensure_all_finite"),
        (OLD, "ensure_all_finite", "force_all_finite"),
    ):
        here(installed)
        partial = functools.partial(check_array)
        state = (check_array, (), {old: False, "order": "C"}, None)
        assert migrations.state(partial, state)[2] == {new: False, "order": "C"}
        state = (print, (), {old: False}, None)
        assert migrations.state(functools.partial(print), state) == state


def test_a_bit_generator_is_made_from_its_name_or_its_class():
    for kind in ("PCG64", PCG64):
        assert type(migrations._bit_generator(kind)) is PCG64


def test_generators_are_made_from_names_or_bit_generators():
    expected = Generator(PCG64(3)).random(4)
    drawn = migrations._generator(PCG64(3)).random(4)
    np.testing.assert_array_equal(drawn, expected)
    expected = RandomState(PCG64(3)).random_sample(4)
    drawn = migrations._random_state(PCG64(3)).random_sample(4)
    np.testing.assert_array_equal(drawn, expected)
    assert type(migrations._generator("PCG64", migrations._bit_generator)) is Generator
    assert type(migrations._random_state("MT19937", migrations._bit_generator)) is RandomState


def test_numpy_1_gets_the_state_of_a_bit_generator_without_the_seed(monkeypatch):
    inner = PCG64(3).state
    monkeypatch.setattr(migrations, "_NUMPY", (1, 26))
    assert migrations.state(PCG64(), (inner, "seed sequence")) == inner
    monkeypatch.setattr(migrations, "_NUMPY", (2, 0))
    assert migrations.state(PCG64(), (inner, "seed sequence")) == (inner, "seed sequence")
    assert migrations.state(PCG64(), inner) == inner


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("HalfBinomialLoss", ()), ("HalfSquaredError", ()), ("PinballLoss", (0.3,))],
)
def test_a_loss_of_the_oldest_release_is_found_and_made(name, parameters):
    cls = getattr(losses, f"Cy{name}")
    function = ("_loss", f"__pyx_unpickle_Cy{name}")
    make = names.resolve_any([function])[function]
    checksum = {0: 238750788, 1: 232784418}[len(parameters)]  # Cython's, of the class's fields
    made = make(cls, checksum, parameters)
    assert type(made) is cls
    assert made.__reduce__()[1][-1:] in (parameters, (parameters,))
    assert pickle.loads(pickle.dumps(made)).__reduce__()[1] == made.__reduce__()[1]


# DecisionTreeClassifier(max_depth=2, random_state=0), fitted by scikit-learn 1.2.2 (nodes) and
# 1.3.2 (the same, and the counts); by 1.5.0 and 1.9.1 (the same, and the fractions):
# X = [[0, 3], [1, 1], [2, 4], [3, 1], [4, 5], [5, 9], [6, 2], [7, 6]]
# y = [0, 1, 2, 1, 2, 0, 0, 1], sample_weight = [.1, .7, 1.3, .2, .9, .3, .6, 1.1]
NODES = [
    (1, 4, 0, 4.5, 0.6360946745562129, 8, 5.199999999999999, 1),
    (2, 3, 1, 3.5, 0.44726562499999967, 5, 3.2, 1),
    (-1, -1, -2, -2.0, 0.18000000000000016, 3, 0.9999999999999999, 0),
    (-1, -1, -2, -2.0, 0.0, 2, 2.2, 0),
    (5, 6, 0, 6.5, 0.4949999999999999, 3, 2.0, 1),
    (-1, -1, -2, -2.0, 0.0, 2, 0.8999999999999999, 0),
    (-1, -1, -2, -2.0, 0.0, 1, 1.1, 0),
]
COUNTS = [
    [1.0, 2.0, 2.2],
    [0.1, 0.8999999999999999, 2.2],
    [0.1, 0.8999999999999999, 0.0],
    [0.0, 0.0, 2.2],
    [0.8999999999999999, 1.1, 0.0],
    [0.8999999999999999, 0.0, 0.0],
    [0.0, 1.1, 0.0],
]
FRACTIONS = [
    [0.19230769230769235, 0.3846153846153847, 0.4230769230769232],
    [0.03125, 0.28124999999999994, 0.6875],
    [0.10000000000000002, 0.9, 0.0],
    [0.0, 0.0, 1.0],
    [0.44999999999999996, 0.55, 0.0],
    [1.0, 0.0, 0.0],
    [0.0, 1.0, 0.0],
]
FIELDS = list(NODE_DTYPE.names)
OLDER = {
    "1.2": [(name, NODE_DTYPE[name]) for name in FIELDS[:7]],
    "big-endian": [(name, NODE_DTYPE[name].newbyteorder(">")) for name in FIELDS[:7]],
    "32 bits": [
        (name, "i4" if NODE_DTYPE[name].kind == "i" else NODE_DTYPE[name]) for name in FIELDS[:7]
    ],
    "1.3": NODE_DTYPE,
    "1.3, big-endian": NODE_DTYPE.newbyteorder(">"),
}


@pytest.mark.parametrize("layout", OLDER.values(), ids=OLDER)
def test_nodes_of_an_older_layout(layout):
    dtype = np.dtype(layout)
    old = np.array([row[: len(dtype.names)] for row in NODES], dtype)
    found = tree_states.nodes(old)
    assert found.dtype == NODE_DTYPE
    assert found.tolist() == NODES


def test_nodes_of_a_fitted_tree_get_what_the_fit_gave():
    rng = np.random.RandomState(0)
    X, y = rng.standard_normal((300, 4)), rng.randint(0, 3, 300)
    fitted = DecisionTreeClassifier(random_state=0).fit(X, y).tree_.__getstate__()["nodes"]
    old = np.zeros(len(fitted), OLDER["1.2"])
    for name in old.dtype.names:
        old[name] = fitted[name]
    found = tree_states.nodes(old)
    assert found["missing_go_to_left"].any()
    for name in FIELDS:
        np.testing.assert_array_equal(found[name], fitted[name])


def test_a_single_leaf_is_a_tree():
    leaf = np.array([(-1, -1, -2, -2.0, 0.5, 3, 3.0)], OLDER["1.2"])
    assert tree_states.nodes(leaf).tolist() == [(-1, -1, -2, -2.0, 0.5, 3, 3.0, 0)]


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(3),
        np.zeros(3, OLDER["1.2"][:6]),
        np.zeros(3, [*OLDER["1.2"], ("more", "i8")]),
        np.zeros((3, 1), NODE_DTYPE),
    ],
    ids=["no fields", "a field too few", "a field too many", "two dimensions"],
)
def test_other_arrays_are_not_nodes(array):
    with pytest.raises(ValueError, match="not the nodes of a tree"):
        tree_states.nodes(array)


def test_fractions_are_what_later_releases_fit():
    weights = np.array([row[6] for row in NODES])
    found = tree_states.fractions(np.array(COUNTS)[:, None, :], weights)
    assert found.tobytes() == np.array(FRACTIONS)[:, None, :].tobytes()


def test_fractions_of_two_outputs_and_of_no_weight():
    counts = np.array([[[2.0, 6.0], [8.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    found = tree_states.fractions(counts, np.array([8.0, 0.0]))
    np.testing.assert_array_equal(found[0], [[0.25, 0.75], [1.0, 0.0]])
    assert np.isnan(found[1]).all()
