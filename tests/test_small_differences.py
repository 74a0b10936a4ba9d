"""Where a loaded model differed from what pickle gives, in something small."""

import copyreg
import pickle
import sys
import threading
import types
from collections import Counter, OrderedDict, defaultdict

import numpy as np
import pytest
import reader
from graphs import assert_same
from sklearn.base import BaseEstimator
from sklearn.preprocessing import StandardScaler
from sklearn.utils import Bunch

import shardpickle

# Strings of no characters ------------------------------------------------------------------------

WIDTHLESS = ("S0", "<U0", "V0")


def bare(shape, dtype, **options):
    return np.ndarray(shape, np.dtype(dtype), **options)  # np.zeros makes S1 of S0


def read_only(array):
    array.flags.writeable = False
    return array


def with_field(dtype):
    return np.zeros(2, [("a", dtype), ("b", "i4")])


ARRAYS = {
    "one dimension": lambda d: bare(3, d),
    "no items": lambda d: bare(0, d),
    "no dimensions": lambda d: bare((), d),
    "two dimensions": lambda d: bare((2, 3), d),
    "no rows": lambda d: bare((0, 4), d),
    "Fortran": lambda d: bare((2, 3), d, order="F"),
    "strided": lambda d: bare(6, d)[::2],
    "read-only": lambda d: read_only(bare(3, d)),
    "a field": with_field,
    "a field by itself": lambda d: with_field(d)["a"],
    "the only field": lambda d: bare(2, [("a", d)]),
    "only such fields": lambda d: np.zeros(2, [("a", d), ("b", d)]),
    "nested": lambda d: np.zeros(2, [("x", [("a", d), ("b", "i4")]), ("y", d)]),
    "aligned": lambda d: np.zeros(3, np.dtype([("a", d), ("b", "f8")], align=True)),
    "structure in Fortran order": lambda d: np.zeros((3, 2), [("a", d), ("b", "f8")], order="F"),
    "no dimensions, a field": lambda d: np.zeros((), [("a", d), ("b", "i4")]),
    "masked": lambda d: np.ma.MaskedArray(bare(3, d), [0, 1, 0]),
    "matrix": lambda d: bare((2, 2), d).view(np.matrix),
    "among objects": lambda d: np.array([bare(2, d), 1], object),
    "dtype": np.dtype,
    "one item": lambda d: with_field(d)[0],
    "no fields": lambda d: np.zeros(3, np.dtype([])),
    "long": lambda d: bare(1_000_000, d),
    "many": lambda d: [bare(n, d) for n in range(20)],
}


@pytest.mark.parametrize("dtype", WIDTHLESS)
@pytest.mark.parametrize("case", ARRAYS)
def test_strings_of_no_characters(case, dtype, tmp_path):
    made = ARRAYS[case](dtype)
    equal = [StandardScaler(), StandardScaler()]  # one slot, of which the first gets a copy
    for each in equal:
        each.mean_ = ARRAYS[case](dtype)
    model = {"a": made, "b": [made, np.arange(3)], "c": equal}
    expected = pickle.loads(pickle.dumps(model, protocol=5))
    report = shardpickle.dump(model, tmp_path / "model")
    loaded = shardpickle.load(tmp_path / "model", unsafe=True)
    if int(np.__version__.partition(".")[0]) >= 2:  # NumPy 1 gives some of them other flags
        assert shardpickle.dump(loaded, tmp_path / "again").digest == report.digest
    assert_same(loaded, expected)
    if isinstance(made, np.ndarray):
        assert (loaded["a"].dtype, loaded["a"].shape) == (made.dtype, made.shape)
        assert (loaded["a"].dtype.itemsize, loaded["a"].nbytes) == (made.itemsize, made.nbytes)
    if case not in ("matrix", "one item"):  # whose names are not vetted
        assert_same(shardpickle.load(tmp_path / "model"), expected)
    assert shardpickle.verify(tmp_path / "model", deep=True).ok
    assert shardpickle.inspect(tmp_path / "model").raw_bytes == report.raw_bytes


@pytest.mark.parametrize("dtype", WIDTHLESS)
@pytest.mark.parametrize("case", ["one dimension", "Fortran", "a field", "only such fields"])
def test_they_are_read_without_the_library(case, dtype, tmp_path):
    made = ARRAYS[case](dtype)
    shardpickle.dump(made, tmp_path / "model")
    _, [[(_, [array])]] = reader.read_model(tmp_path / "model")
    assert (array.dtype, array.shape, array.nbytes) == (made.dtype, made.shape, made.nbytes)


@pytest.mark.parametrize("shape", [3, 0, (2, 3)])
def test_byte_order_is_kept_where_there_is_nothing_to_order(shape):
    made = bare(shape, ">U0")
    loaded = shardpickle.loads(shardpickle.dumps(made))
    assert (loaded.dtype.str, loaded.shape) == (">U0", made.shape)


# Numbers of copyreg.add_extension ----------------------------------------------------------------

SOURCE = """
class Plain: pass
class Outer:
    class Inner: pass
class Named(str): pass
def function(x): return x
class Single:
    def __reduce__(self): return "single"
single = Single()
"""
CODES = {
    "Plain": 0xABC,
    "Outer": 7,
    "Outer.Inner": 0x12345678,
    "Named": 255,
    "function": 256,
    "single": 200,
}


@pytest.fixture
def module(monkeypatch):
    made = types.ModuleType("extended")
    monkeypatch.setitem(sys.modules, "extended", made)
    exec(SOURCE, made.__dict__)
    return made


@pytest.fixture
def codes(module):
    def add():
        for name, code in CODES.items():
            copyreg.add_extension("extended", name, code)

    yield add
    for name, code in CODES.items():
        if ("extended", name) in copyreg._extension_registry:
            copyreg.remove_extension("extended", name, code)


def extended(module, more=0):
    first, inner = module.Plain(), module.Outer.Inner()
    first.items = ["extended", "Plain", 1, {"Plain": "extended"}]
    inner.other = first
    return {
        "instances": [first, first, module.Plain(), inner, module.Outer.Inner()],
        "values": [module.Plain, module.Plain, module.function, module.Outer.Inner],
        "strings": ("extended", "Outer.Inner", first.items, module.Named("text")),
        "single": [module.single, module.single],
        "estimators": [StandardScaler().set_params(copy=module.Plain()) for _ in range(3)],
        "many": [module.Plain() for _ in range(300)],  # more than one byte of the memo
        "long": list(range(more)),
    }


@pytest.mark.long
@pytest.mark.parametrize("more", [0, 400_000])  # a skeleton that is not compacted
def test_names_with_a_number_are_written_as_names(more, module, codes):
    model = extended(module, more)
    plain = shardpickle.dumps(model)
    codes()
    before = dict(copyreg._extension_registry)
    data = shardpickle.dumps(model)
    if not more:
        assert data == plain
    assert copyreg._extension_registry == before
    expected = pickle.loads(pickle.dumps(model, protocol=5))
    assert b"\x84" in pickle.dumps(module.Plain) or b"\x83" in pickle.dumps(module.Plain)
    assert_same(shardpickle.loads(data, unsafe=True), expected)
    trusted = [f"extended.{name}" for name in (*CODES, "Single")]
    assert_same(shardpickle.loads(data, trusted=trusted), expected)
    for name, code in CODES.items():
        copyreg.remove_extension("extended", name, code)
    assert_same(shardpickle.loads(data, unsafe=True), expected)  # of a process without numbers


def test_vetted_names_with_a_number_are_loaded_by_default():
    copyreg.add_extension("collections", "OrderedDict", 240)
    copyreg.add_extension("sklearn.preprocessing._data", "StandardScaler", 241)
    try:
        model = [OrderedDict(a=1), StandardScaler(), StandardScaler]
        assert_same(shardpickle.loads(shardpickle.dumps(model)), model)
    finally:
        copyreg.remove_extension("collections", "OrderedDict", 240)
        copyreg.remove_extension("sklearn.preprocessing._data", "StandardScaler", 241)


def test_the_registry_is_left_alone_while_threads_dump(module, codes):
    codes()
    before = dict(copyreg._extension_registry)
    model = extended(module, 1000)
    expected = shardpickle.dumps(model)
    found, seen = [], []
    done = threading.Event()

    def watch():
        while not done.is_set():
            seen.append(dict(copyreg._extension_registry) == before)

    watcher = threading.Thread(target=watch)
    dumping = [
        threading.Thread(target=lambda: found.append(shardpickle.dumps(model))) for _ in range(4)
    ]
    for each in (watcher, *dumping):
        each.start()
    for each in dumping:
        each.join()
    done.set()
    watcher.join()
    assert found == [expected] * 4
    assert all(seen)


def test_no_reader_knows_the_numbers(module, codes):
    codes()
    numbered = pickle.dumps((module.Plain,), protocol=5)
    with pytest.raises(shardpickle.CorruptShardError, match="opcode"):
        shardpickle.pickling.parser.read(numbered, shardpickle.pickling.machine.Names())


# Attributes with two underscores ------------------------------------------------------------------


class Mine(BaseEstimator):
    pass


class Slotted:
    __slots__ = ("__dict__", "inside")


class MyDict(dict):
    pass


class MyBunch(Bunch):
    pass


HARMLESS = {
    "__version__": "1.2",
    "__doc__": "what it is",
    "__author__": ["me", "you"],
    "__name__": "mine",
    "__qualname__": "mine",
    "__module__": "elsewhere",
    "__annotations__": {"x": "int"},
    "__schema__": {"columns": ["a"]},
    "__fitted_at__": 12.5,
    "__": 1,
}
MINE = [Mine, Slotted, MyDict, MyBunch]


@pytest.mark.parametrize("name", HARMLESS)
def test_a_trusted_class_may_describe_its_instances(name):
    mine, slotted = Mine(), Slotted()
    mine.__dict__[name] = slotted.__dict__[name] = HARMLESS[name]
    slotted.inside = 3
    model = [mine, slotted, MyDict({name: HARMLESS[name]})]
    data = shardpickle.dumps(model)
    expected = pickle.loads(pickle.dumps(model, protocol=5))
    assert_same(shardpickle.loads(data, trusted=MINE), expected)
    loaded = shardpickle.loads(data, trusted=MINE)
    assert loaded[0].__dict__[name] == loaded[1].__dict__[name] == HARMLESS[name]
    assert loaded[1].inside == 3


ASKED_FOR = {
    "__class__": int,
    "__dict__": {},
    "__weakref__": None,
    "__slots__": (),
    "__bases__": (),
    "__code__": 1,
    "__reduce__": 1,
    "__getstate__": 1,
    "__wrapped__": 1,
    "__array_interface__": {"shape": (1,), "typestr": "<i8", "data": (0, False), "version": 3},
    "__array_struct__": 0,
    "__array__": np.log1p,
    "__array_priority__": 1e9,
    "__cuda_array_interface__": {},
    "__dlpack__": np.log1p,
    "__dlpack_device__": (1, 0),
    "__arrow_c_stream__": np.log1p,
    "__dataframe__": 1,
    "__deepcopy__": np.log1p,
    "__setstate__": np.log1p,
    "__sklearn_tags__": np.log1p,
    "__sklearn_is_fitted__": len,
    "__custom__": np.log1p,
}


@pytest.mark.parametrize("name", ASKED_FOR)
def test_what_is_asked_for_is_refused_of_trusted_classes_too(name):
    for make in (Mine, Slotted):
        mine = make()
        mine.__dict__[name] = ASKED_FOR[name]
        try:
            data = shardpickle.dumps([mine])
        except (shardpickle.ShardpickleError, TypeError):
            continue  # pickle asks for it, too
        with pytest.raises(shardpickle.RefusedError, match="an attribute __"):
            shardpickle.loads(data, trusted=MINE)
    bunch = MyBunch()
    dict.__setitem__(bunch, name, ASKED_FOR[name])
    try:
        data = shardpickle.dumps([bunch])
    except (shardpickle.ShardpickleError, TypeError, ValueError):
        return
    with pytest.raises(shardpickle.RefusedError, match="an attribute __"):
        shardpickle.loads(data, trusted=MINE)


@pytest.mark.parametrize(
    ("name", "value"), [("__schema__", "1"), ("__version__", [1]), ("__doc__", len)]
)
def test_a_vetted_class_has_notes_of_text_and_no_others(name, value):
    scaler = StandardScaler()
    scaler.__dict__["__version__"] = "1"
    assert shardpickle.loads(shardpickle.dumps(scaler)).__version__ == "1"
    scaler.__dict__[name] = value
    for model in (scaler, Bunch(**{name: value})):
        data = shardpickle.dumps(model)
        with pytest.raises(shardpickle.RefusedError, match="an attribute __"):
            shardpickle.loads(data)


def test_items_of_a_dict_are_no_attributes():
    words = ["__init__", "__array_interface__", "__class__"]
    model = [
        OrderedDict.fromkeys(words, 1),
        Counter(words),
        defaultdict(int, dict.fromkeys(words, 2)),
        MyDict(dict.fromkeys(words, 3)),
    ]
    expected = pickle.loads(pickle.dumps(model, protocol=5))
    assert_same(shardpickle.loads(shardpickle.dumps(model), trusted=[MyDict]), expected)
