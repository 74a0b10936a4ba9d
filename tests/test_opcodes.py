"""The opcode loop: equal to CPython's unpickler on what our writer emits, an error on all else."""

import pickle
import pickletools

import numpy as np
import pytest
from estimators import LABELS, X
from graphs import assert_same
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.tree import DecisionTreeClassifier

from shardpickle.errors import CorruptShardError, ShardpickleError
from shardpickle.pickling import machine, parser, pickler
from shardpickle.sklearn_support import migrations
from shardpickle.trust import names as trust
from shardpickle.trust.unrestricted import Objects


def read(data, values=(), references=()):
    names = trust.resolve_any(machine.names(parser.parse(data)))
    return parser.read(data, Objects(names, values, references, migrations.state), {})


atoms = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(2030, 2050).map(lambda bits: -(2**bits))
    | st.floats()
    | st.text()
    | st.binary()
    | st.binary(max_size=5).map(bytearray)
    | st.complex_numbers()
)
hashable = st.recursive(
    st.integers() | st.text() | st.booleans(),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner),
)
plain = st.recursive(
    atoms,
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(hashable, inner)
        | st.sets(hashable)
        | st.tuples(inner)
        | st.tuples(inner, inner)
        | st.tuples(inner, inner, inner, inner)
    ),
    max_leaves=20,
)


@pytest.mark.long
@settings(derandomize=True, deadline=None, max_examples=300)
@pytest.mark.filterwarnings("ignore:Generating overly large repr")  # only the report's trouble
@given(plain)
def test_plain_data_reads_as_pickle_reads_it(value):
    shared = [value, {"again": value}, (value,)]
    written = pickler.write([shared], lambda obj: None)
    assert_same(read(written.skeleton), pickle.loads(pickle.dumps((shared,), protocol=5)))


@pytest.mark.parametrize("protocol", [4, 5])
def test_what_cpython_writes_without_our_pickler(protocol):
    model = DecisionTreeClassifier(max_depth=3).fit(X.astype(object).astype(float), LABELS)
    model.tree_ = None
    model.classes_ = None
    data = pickle.dumps((model, [1, {"a": slice(1, 2)}]), protocol=protocol)
    assert_same(read(data), pickle.loads(data))


def test_recursive_containers():
    inner = []
    inner.append((inner, {"self": inner}))
    data = pickler.write([inner], lambda obj: None).skeleton
    assert_same(read(data), pickle.loads(pickle.dumps((inner,), protocol=5)))


def test_a_skeleton_is_a_pickle_that_cpython_reads_alike():
    values = [{"n": 1, "s": "text", "t": ("text", "text")}, "text"]
    skeleton = pickler.write([values], lambda obj: None).skeleton
    assert pickle.loads(skeleton) == (values,)
    assert skeleton.count(b"text") == 1  # equal strings stand once, whoever made them
    assert skeleton == pickletools.optimize(skeleton)


def test_equal_strings_give_equal_skeletons_whether_they_are_one_object_or_not():
    word = "".join(["cri", "terion"])
    first = pickler.write([[word, word, {"criterion": word}]], lambda obj: None).skeleton
    other = "".join(["crit", "erion"])
    second = pickler.write([[word, other, {"criterion": other}]], lambda obj: None).skeleton
    assert first == second


@pytest.mark.parametrize("code", sorted(set(range(256)) - parser.OPCODES))
def test_every_other_opcode_is_an_error(code):
    with pytest.raises(CorruptShardError):
        read(b"\x80\x05" + bytes([code]) + b"\x00\x00\x00\x00\x00\x00\x00\x00\n\n.")


def test_the_opcodes_are_those_of_cpythons_binary_pickler():
    names = {opcode.code.encode("latin-1")[0]: opcode.name for opcode in pickletools.opcodes}
    unknown = {names[code] for code in set(names) - parser.OPCODES}
    assert {"GLOBAL", "INST", "OBJ", "EXT1", "EXT2", "EXT4", "NEXT_BUFFER"} <= unknown
    assert len(parser.OPCODES) == 45


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b".",
        b"\x80\x05",
        b"\x80\x05.",
        b"\x80\x05N",
        b"\x80\x05NN.",
        b"\x80\x05N.N",
        b"\x80\x03N.",
        b"N\x80\x05.",
        b"\x80\x05(.",
        b"\x80\x05(N.",
        b"\x80\x05\x8c\xffab.",
        b"\x80\x05\x8d\xff\xff\xff\xff\xff\xff\xff\x7fab.",
        b"\x80\x05\x95\xff\x00\x00\x00\x00\x00\x00\x00N.",
        b"\x80\x05\x8c\x02\xff\xfe.",
        b"\x80\x05h\x00.",
        b"\x80\x05j\xff\xff\xff\xff.",
        b"\x80\x05e.",
        b"\x80\x05}(K\x01u.",
        b"\x80\x05]]\x93.",
        b"\x80\x05NNR.",
        b"\x80\x05N)R.",
        b"\x80\x05N)\x81.",
        b"\x80\x05NK\x01b.",
        b"\x80\x05](]\x91.",
        b"\x80\x05K\x07Q.",
        b"\x80\x05K\x07\x85Q.",
        b"\x80\x05NQ.",
        b"\x80\x05]Q.",
        b"\x80\x05\x88Q.",
        b"\x80\x05\x8c\x01?Q.",
        b"\x80\x05\x8c\x02|OC\x08AAAAAAAA\x86Q.",
    ],
)
def test_broken_skeletons(data):
    with pytest.raises(ShardpickleError):
        read(data)


@pytest.mark.long
@settings(derandomize=True, deadline=None, max_examples=1500)
@given(st.data())
def test_damaged_skeletons_give_our_errors(data):
    whole = pickler.write(
        [[1, "two", {"three": np.float64(4)}, np.dtype("f4"), {5}, 2**70]], lambda obj: None
    ).skeleton
    broken = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 3))):
        broken[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        parser.read(bytes(broken), machine.Names(), {})
    except CorruptShardError:
        return


def test_a_name_that_the_manifest_does_not_list_is_refused():
    data = pickler.write([np.log1p], lambda obj: None).skeleton
    with pytest.raises(CorruptShardError, match="does not list"):
        parser.read(data, Objects({}, (), (), migrations.state))
