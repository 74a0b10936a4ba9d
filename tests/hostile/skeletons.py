"""Hostile skeletons: pickles written by hand, in directories whose digests are right.

An object is written by a function that returns its opcodes: `text`, `number`, `many`, `call`, …
A skeleton is a tuple of one object, unless a case says otherwise.
"""

import json
import random
import struct

import numpy as np
from case import Case
from forge import directory, run, shard, write

HARMLESS = frozenset({"refused", "loaded", "used-raised"})
SOUND = frozenset({"loaded"})
FRAME = 1 << 20
PRIME = 2**61 - 1  # hashes of integers are their remainders

# Opcodes ------------------------------------------------------------------------------------------

NONE, TRUE, FALSE, EMPTY_TUPLE, NOTED = b"N", b"\x88", b"\x89", b")", b"\x94"
_NAMES = {}


def text(value):
    data = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(data)) + data


def octets(data):
    return b"B" + struct.pack("<I", len(data)) + data


def number(value):
    if 0 <= value < 256:
        return b"K" + bytes([value])
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    if len(data) < 256:
        return b"\x8a" + bytes([len(data)]) + data
    return b"\x8b" + struct.pack("<I", len(data)) + data


def real(value):
    return b"G" + struct.pack(">d", value)


def many(*items):
    return b"(" + b"".join(items) + b"t"


def listed(*items):
    return b"](" + b"".join(items) + b"e"


def mapped(**items):
    return paired(*(each for key, value in items.items() for each in (text(key), value)))


def paired(*items):
    return b"}(" + b"".join(items) + b"u"


def grouped(*items):
    return b"\x8f(" + b"".join(items) + b"\x90"


def name(module, qualified):
    code = text(module) + text(qualified) + b"\x93"
    _NAMES[code] = [module, qualified]
    return code


def call(function, *args):
    return function + many(*args) + b"R"


def new(cls, *args):
    return cls + many(*args) + b"\x81"


def given(instance, state):
    return instance + state + b"b"


def made(cls, **state):
    return given(new(cls), mapped(**state))


def pid(content):
    return content + b"Q"


def pair(one, other):
    """A tuple that the parser takes as a constant, as persistent ids are."""
    return one + other + b"\x86"


def get(place):
    return b"j" + struct.pack("<I", place)


def noted(*codes):
    """Put into the memo in this order, and then taken off the stack."""
    return b"".join(code + NOTED + b"0" for code in codes)


def dag(depth=60, first=EMPTY_TUPLE, join=b"\x86", start=0):
    """A tuple that holds the one before it twice, and so on: 2**depth leaves."""
    code = first + NOTED
    for place in range(start, start + depth):
        code += get(place) + join + NOTED
    return code


def deep(depth=10**6, join=b"\x85", first=EMPTY_TUPLE):
    return first + join * depth


# Directories --------------------------------------------------------------------------------------


def forged(skeleton, *, names=None, values=(), padding=0, **changes):
    """Writes a directory of one part; `names` are those that the skeleton holds."""

    def write_it(path):
        data = skeleton() if callable(skeleton) else skeleton
        held = [*values]
        if padding:
            held.append(np.frombuffer(random.Random(0).randbytes(padding), np.uint8))
        columns = directory(b"", [size for each in held for size in each.shape])
        columns[0] = np.array([len(data)], "<i8").tobytes()
        counts = [1] * 4
        del columns[4:]
        for content, item in [(data, 1), *((each.tobytes(), each.itemsize) for each in held)]:
            step = FRAME // item * item
            chunks = [content[at : at + step] for at in range(0, len(content), step)]
            columns += chunks
            counts.append(len(chunks))

        def frames(entries):
            given_entries = iter(entries)
            return [[f for _ in range(count) for f in next(given_entries)] for count in counts]

        layout = [["array", "ndarray", v.dtype.str, v.ndim, "C", True] for v in held]
        content = shard(
            columns, layouts=[layout], dimensions=sum(v.ndim for v in held), frames=frames
        )
        table = [pair for code, pair in _NAMES.items() if code in data] if names is None else names
        members = {"names": table, "runs": [run(names=[*range(len(table))])], **changes}
        write(path, content, len(data) + sum(v.nbytes for v in held), **members)

    return write_it


def pickled(*code):
    return b"\x80\x05" + b"".join(code) + b"\x85."


def case(*code, may=None, use=None, **options):
    options = {"may": may, "use": use} | options
    chosen = {key: options.pop(key) for key in ("may", "use") if options[key]}
    for key in ("may", "use"):
        options.pop(key, None)
    return Case(forged(pickled(*code), **options), **chosen)


def later(build, may=None, use=None, **options):
    """A skeleton that is large: made when it is needed."""
    chosen = {key: value for key, value in (("may", may), ("use", use)) if value}
    return Case(forged(lambda: pickled(*build()), **options), **chosen)


def raw(data, **options):
    return Case(forged(data, **options))


# Things that models have --------------------------------------------------------------------------

SPACE = name("types", "SimpleNamespace")
PARTIAL = name("functools", "partial")
BASE = name("sklearn.base", "BaseEstimator")
RIDGE = name("sklearn.linear_model._ridge", "Ridge")
RBF = name("sklearn.gaussian_process.kernels", "RBF")
SUM_OF = name("sklearn.gaussian_process.kernels", "Sum")
LINK = name("sklearn._loss.link", "LogLink")
BUNCH = name("sklearn.utils._bunch", "Bunch")
ISOTONIC = name("sklearn.isotonic", "IsotonicRegression")
MAPPER = name("sklearn.ensemble._hist_gradient_boosting.binning", "_BinMapper")
PREDICTOR = name("sklearn.ensemble._hist_gradient_boosting.predictor", "TreePredictor")
ONE_HOT = name("sklearn.preprocessing._encoders", "OneHotEncoder")
ISOLATION = name("sklearn.ensemble._iforest", "IsolationForest")
NEIGHBORS = name("sklearn.neighbors._unsupervised", "NearestNeighbors")
ITERATIVE = name("sklearn.impute._iterative", "IterativeImputer")
VECTORIZER = name("sklearn.feature_extraction.text", "CountVectorizer")
DECISION = name("sklearn.tree._classes", "DecisionTreeClassifier")
CSR = name("scipy.sparse._csr", "csr_matrix")
CHECK_ARRAY = name("sklearn.utils.validation", "check_array")
COUNTER = name("collections", "Counter")
FRACTION = name("fractions", "Fraction")
ORDERED = name("collections", "OrderedDict")
DEFAULT = name("collections", "defaultdict")
DEQUE = name("collections", "deque")
DECIMAL = name("decimal", "Decimal")
PATH = name("pathlib", "PurePosixPath")
MASKED = name("numpy.ma", "MaskedArray")
GETATTR = name("builtins", "getattr")
NDARRAY = name("numpy", "ndarray")
MATRIX = name("numpy", "matrix")
POWER = name("numpy", "power")
LINSPACE = name("numpy", "linspace")
SORTED = name("builtins", "sorted")
MAX = name("builtins", "max")
STR = name("builtins", "str")
DATETIME = name("datetime", "datetime")
RECONSTRUCT = name("numpy._core.multiarray", "_reconstruct")
TREE = name("sklearn.tree._tree", "Tree")
KD, KD_NEW = (name("sklearn.neighbors._kd_tree", each) for each in ("KDTree", "newObj"))
BALL_NEW = name("sklearn.neighbors._ball_tree", "newObj")
METRIC_NEW = name("sklearn.metrics._dist_metrics", "newObj")
EUCLIDEAN = name("sklearn.metrics._dist_metrics", "EuclideanDistance64")
RANDOM = "numpy.random._pickle"
BITS, STATES = name(RANDOM, "__bit_generator_ctor"), name(RANDOM, "__randomstate_ctor")
SEQUENCE = name("numpy.random.bit_generator", "SeedSequence")
SEED = name("numpy.random.bit_generator", "__pyx_unpickle_SeedSequence")
LOSS = name("_loss", "__pyx_unpickle_CyHuberLoss")
HYPER = name("sklearn.gaussian_process.kernels", "Hyperparameter")
HUBER = name("sklearn._loss._loss", "CyHuberLoss")

BARE = call(RECONSTRUCT, NDARRAY, many(number(0)), octets(b"b"))


def array(dtype, content, *shape, fortran=FALSE, bare=BARE, version=1):
    """An array whose bytes stand in the skeleton, or whose objects do."""
    sizes = many(*(number(size) for size in shape))
    return given(bare, many(number(version), sizes, pid(text(dtype)), fortran, content))


def of_numbers(values):
    return array(values.dtype.str, octets(values.tobytes()), *values.shape)


def objects(*items, shape=None):
    return array("|O", listed(*items), *(shape or (len(items),)))


def forging(**state):
    """Attributes that have no meaning but the ones they shadow."""
    return given(call(SPACE), mapped(**state))


def bound(function, *args, **keywords):
    """A `functools.partial` of a vetted function."""
    return given(call(PARTIAL, function), many(function, many(*args), mapped(**keywords), NONE))


LONG_WORK = bound(POWER, objects(number(7)), objects(number(10**9)))  # 7 ** 10**9, when called
TAKES = bound(LINSPACE, number(0), number(1), number(130_000_000))  # 1 GB, when called
ADDRESS = mapped(
    shape=many(number(1 << 20)),
    typestr=text("<f8"),
    data=many(number(0xDEAD0000), FALSE),
    version=number(3),
)
WILD = forging(__array_interface__=ADDRESS)  # an array of any place in memory

TOUCH = text("touch PWNED")
CASES: dict[str, Case] = {}

# Names that are not trusted -----------------------------------------------------------------------

SMUGGLED = [
    *(("os", "system"), ("posix", "system"), ("nt", "system"), ("os", "popen"), ("os", "execv")),
    *(("builtins", "eval"), ("builtins", "exec"), ("builtins", "__import__"), ("builtins", "open")),
    *(("builtins", "compile"), ("builtins", "setattr"), ("builtins", "globals")),
    *(("__builtin__", "eval"), ("__builtin__", "getattr"), ("__builtin__", "set")),
    *(("subprocess", "Popen"), ("subprocess", "run"), ("pty", "spawn"), ("runpy", "run_path")),
    *(("importlib", "import_module"), ("pickle", "loads"), ("_pickle", "loads")),
    *(("joblib", "load"), ("numpy", "load"), ("numpy", "fromfile"), ("numpy", "save")),
    *(("numpy", "memmap"), ("numpy", "f2py"), ("numpy", "frompyfunc"), ("numpy", "dtype")),
    *(("numpy", "vectorize"), ("numpy", "apply_along_axis"), ("numpy", "fromfunction")),
    *(("numpy.testing._private.utils", "runstring"), ("numpy.lib.npyio", "load")),
    *(("copyreg", "_reconstructor"), ("copyreg", "__newobj__"), ("copyreg", "add_extension")),
    *(("functools", "reduce"), ("functools", "partialmethod"), ("operator", "methodcaller")),
    *(("operator", "attrgetter"), ("types", "FunctionType"), ("types", "CodeType")),
    *(("types", "MethodType"), ("ctypes", "CDLL"), ("ctypes", "string_at")),
    *(("sklearn.tree", "_classes.np.os.system"), ("sklearn.tree._classes", "np.os.system")),
    *(("sklearn.base", "os"), ("sklearn.base", "warnings"), ("sklearn.utils", "_joblib")),
    *(("sklearn.base", "BaseEstimator.__init__"), ("sklearn.base", "clone")),
    *(("sklearn.base", "BaseEstimator.__init__.__globals__"), ("numpy", "core.os.system")),
    *(("sklearn.datasets", "load_files"), ("sklearn.utils.fixes", "threadpool_limits")),
    *(("sklearn.utils._mocking", "CheckingClassifier"), ("sklearn.datasets._base", "load_files")),
    *(("sklearn.metrics", "get_scorer"), ("sklearn.metrics._scorer", "make_scorer")),
    *(("sklearn.tree", "DecisionTreeClassifier"), ("sklearn.utils", "check_array")),
    *(("shardpickle", "load"), ("shardpickle.trust.names", "_find"), ("shardpickle.api", "dump")),
    *(
        ("shardpickle.trust.unrestricted", "Objects"),
        ("shardpickle.trust.names", "importlib.import_module"),
    ),
    *(("", ""), ("", "eval"), ("builtins", ""), ("builtins", "."), ("builtins.", "eval")),
    *((".builtins", "eval"), ("..os", "system"), ("os.path", "os.system"), ("os", "\0system")),
    *(("builtin\u0455", "getattr"), ("\uff42uiltins", "getattr"), ("builtins\u200b", "getattr")),
    *(("builtins", "get\u0430ttr"), ("builtins ", "getattr"), ("Builtins", "getattr")),
    *(("sklearn.b\u0430se", "BaseEstimator"), ("builtins", "\ud800"), ("builtins", "getattr\n")),
    *(("antigravity", "fly"), ("this", "s"), ("__main__", "main"), ("site", "main")),
    *(("pdb", "run"), ("timeit", "timeit"), ("webbrowser", "open"), ("code", "interact")),
    *(("shutil", "rmtree"), ("tempfile", "mkdtemp"), ("pathlib", "Path"), ("io", "FileIO")),
    *(("pathlib", "PosixPath.write_text"), ("socket", "socket"), ("logging.config", "listen")),
    *(("weakref", "ref"), ("gc", "get_objects"), ("sys", "modules"), ("threading", "Thread")),
]
for _module, _name in SMUGGLED:
    CASES[f"name {ascii(_module + ' ' + _name)[1:-1]}"] = case(call(name(_module, _name), TOUCH))

CASES |= {
    "a smuggled name as a value": case(listed(name("os", "system"))),
    "a smuggled name that is dropped": case(name("os", "system"), b"0]"),
    "a smuggled name that no skeleton needs": Case(forged(pickled(b"]"), names=[["os", "system"]])),
    "a thousand smuggled names": Case(
        forged(pickled(b"]"), names=[["os", f"system{number}"] for number in range(1000)])
    ),
    "a trusted name that is not listed": Case(forged(pickled(new(RIDGE)), names=[])),
    "a smuggled name that is not listed": Case(
        forged(pickled(call(name("os", "system"), TOUCH)), names=[])
    ),
    "a smuggled name behind a trusted one": Case(
        forged(pickled(call(name("os", "system"), TOUCH)), names=[["builtins", "getattr"]])
    ),
    "a name that is a number": case(number(1), text("x"), b"\x93", names=[]),
    "a name that comes from the memo": case(
        noted(text("os"), text("system")), get(0), get(1), b"\x93", many(TOUCH), b"R", names=[]
    ),
    "a name that is computed": case(call(STR, text("os")), text("system"), b"\x93"),
    "GLOBAL": case(b"cos\nsystem\n", many(TOUCH), b"R", names=[]),
    "GLOBAL that is listed": case(b"cbuiltins\nset\n)R", names=[["builtins", "set"]]),
    "INST": case(b"(", TOUCH, b"ios\nsystem\n", names=[]),
    "OBJ": case(b"(", name("builtins", "set"), b"o"),
    "OBJ of a smuggled name": case(b"(", name("os", "system"), TOUCH, b"o"),
    "EXT1": case(b"\x82\x01"),
    "EXT2": case(b"\x83\x01\x00"),
    "EXT4": case(b"\x84\x01\x00\x00\x00"),
    "NEXT_BUFFER": case(b"\x97"),
    "READONLY_BUFFER": case(b"\x97\x98"),
    "PERSID": case(b"P0\n"),
    "STRING": case(b"S'a'\n"),
    "INT": case(b"I1\n"),
    "LONG": case(b"L1L\n"),
    "FLOAT": case(b"F1.0\n"),
    "UNICODE": case(b"Va\n"),
    "PUT": case(b"]p0\n"),
    "BINPUT": case(b"]q\x00"),
    "DUP": case(b"]2\x86"),
    "LIST": case(b"(Nl"),
    "DICT": case(b"(NNd"),
    "opcode 0": case(b"\x00"),
    "opcode 255": case(b"\xff"),
}

# Values are not called, and classes are only made empty -------------------------------------------

for _module, _name in (
    *(("builtins", each) for each in ("sorted", "max", "len", "str", "int", "bytes", "list")),
    *(("numpy", each) for each in ("array", "power", "linspace", "ndarray", "object_", "void")),
    *(("sklearn.metrics._classification", each) for each in ("accuracy_score", "log_loss")),
    *(("sklearn.linear_model._ridge", "Ridge"), ("sklearn.gaussian_process.kernels", "RBF")),
    *(("sklearn.utils._bunch", "Bunch"), ("sklearn.neighbors._kd_tree", "KDTree")),
    *(("scipy.sparse._csr", "csr_matrix"), ("scipy.interpolate._bsplines", "BSpline")),
    *(("sklearn.utils.validation", "check_array"), ("numpy.random._pcg64", "PCG64")),
    ("sklearn.metrics._dist_metrics", "EuclideanDistance64"),
):
    CASES[f"call of {_name}"] = case(call(name(_module, _name), listed(number(1))))
for _module, _name in (
    *(("builtins", each) for each in ("sorted", "int", "str", "dict", "bytes", "getattr", "type")),
    *(("numpy", each) for each in ("array", "ndarray", "object_", "void", "float64", "str_")),
    *(("sklearn.neighbors._kd_tree", "KDTree"), ("sklearn.tree._tree", "Tree")),
    *(("numpy.random._pcg64", "PCG64"), ("numpy.random.bit_generator", "SeedSequence")),
    *(("functools", "partial"), ("collections", "deque"), ("types", "SimpleNamespace")),
    *(("sklearn.metrics._dist_metrics", "EuclideanDistance64"), ("fractions", "Fraction")),
):
    CASES[f"instance of {_name}"] = case(new(name(_module, _name), number(1)))
CASES |= {
    "instance with arguments": case(new(RIDGE, number(1))),
    "instance with keywords": case(RIDGE, b")", mapped(alpha=number(1)), b"\x92"),
    "instance with keywords that are no dict": case(RIDGE, b")]\x92"),
    "instance with arguments that are no tuple": case(RIDGE, b"]\x81"),
    "call with arguments that are no tuple": case(GETATTR, b"]R"),
    "instance of an instance": case(new(new(RIDGE))),
    "instance of a number": case(new(number(1))),
    "call of an instance": case(call(made(RBF), number(1))),
    "call of a string": case(call(text("os.system"), TOUCH)),
    "call of a partial": case(call(bound(SORTED, listed(number(1))))),
    "call of a lifted array": case(call(pid(number(0))), values=[np.zeros(3)]),
    "call of a dtype": case(call(pid(text("<f8")), number(1))),
    "call of NoneType": case(call(call(name("builtins", "type"), NONE))),
    "an abstract class": case(new(name("scipy.sparse._base", "sparray")), may=HARMLESS),
    "a namedtuple of too many fields": case(new(HYPER, *[NONE] * 9)),
    "a namedtuple of no fields": case(new(HYPER)),
    "a namedtuple with a state": case(given(new(HYPER, *[NONE] * 5), mapped(a=NONE))),
}

# Constructors with arguments of other kinds -------------------------------------------------------

_TYPE = name("builtins", "type")
_RANGE, _SLICE = name("builtins", "range"), name("builtins", "slice")
_DELTA, _ZONE = name("datetime", "timedelta"), name("datetime", "timezone")
_DATE, _TIME = name("datetime", "date"), name("datetime", "time")
ARGUMENTS = {
    "getattr of an instance": (GETATTR, made(RIDGE), text("fit")),
    "getattr of a class": (GETATTR, RIDGE, text("__init__")),
    "getattr of str.format": (GETATTR, STR, text("format")),
    "getattr of str.__class__": (GETATTR, STR, text("__class__")),
    "getattr of str.mro": (GETATTR, STR, text("mro")),
    "getattr with a default": (GETATTR, STR, text("x"), NONE),
    "getattr of a path": (GETATTR, STR, text("lower.__self__")),
    "getattr of a string": (GETATTR, text("a"), text("lower")),
    "getattr without arguments": (GETATTR,),
    "getattr by a list": (GETATTR, STR, listed(text("lower"))),
    "type of a number": (_TYPE, number(1)),
    "type of a class": (_TYPE, RIDGE),
    "type with three arguments": (_TYPE, text("X"), b")", b"}"),
    "type without arguments": (_TYPE,),
    "range of a string": (_RANGE, text("1")),
    "range of nothing": (_RANGE,),
    "range with a step of 0": (_RANGE, number(0), number(1), number(0)),
    "range of floats": (_RANGE, real(1)),
    "range of a bool": (_RANGE, TRUE),
    "slice of a slice": (_SLICE, call(_SLICE, number(1)), number(1)),
    "slice of a list": (_SLICE, listed()),
    "slice of an instance": (_SLICE, made(RIDGE)),
    "complex of a string": (name("builtins", "complex"), text("1j")),
    "complex of a huge number": (name("builtins", "complex"), number(10**400)),
    "set of a list": (name("builtins", "set"), listed(number(1))),
    "Counter of a list": (COUNTER, listed(number(1))),
    "Counter of a string": (COUNTER, text("abc")),
    "Counter of an instance": (COUNTER, made(RIDGE)),
    "Counter of two dicts": (COUNTER, b"}", b"}"),
    "OrderedDict of a list": (ORDERED, listed(many(number(1), number(2)))),
    "defaultdict of a function": (DEFAULT, SORTED),
    "defaultdict of a class": (DEFAULT, RIDGE),
    "defaultdict of a partial": (DEFAULT, LONG_WORK),
    "defaultdict of getattr": (DEFAULT, GETATTR),
    "defaultdict with content": (DEFAULT, NONE, mapped(a=NONE)),
    "defaultdict of a string": (DEFAULT, text("list")),
    "deque of a list": (DEQUE, listed(number(1))),
    "deque of a negative length": (DEQUE, b")", number(-1)),
    "deque of a huge length": (DEQUE, b")", number(10**40)),
    "deque of an array": (DEQUE, objects(number(1))),
    "deque of a bool length": (DEQUE, b")", TRUE),
    "date of a number": (_DATE, number(2020), number(1), number(1)),
    "date of too few bytes": (_DATE, octets(b"\x07\xe4")),
    "date of month 77": (_DATE, octets(b"\x07\xe4\x4d\x01")),
    "datetime of too many bytes": (DATETIME, octets(bytes(11))),
    "datetime of text": (DATETIME, text("\x07\xe4\x01\x01\0\0\0\0\0\0")),
    "datetime of month 77": (DATETIME, octets(b"\x07\xe4\x4d\x01" + bytes(6))),
    "datetime with a zone of one's own": (
        *(DATETIME, octets(b"\x07\xe4\x01\x01" + bytes(6)), made(RIDGE)),
    ),
    "time of hour 77": (_TIME, octets(b"\x4d" + bytes(5))),
    "timedelta without end": (_DELTA, number(10**12)),
    "timedelta of floats": (_DELTA, real(float("nan"))),
    "timezone of a week": (_ZONE, call(_DELTA, number(7))),
    "timezone of a number": (_ZONE, number(1)),
    "Decimal of a number": (DECIMAL, number(1)),
    "Decimal of words": (DECIMAL, text("rm -rf")),
    "Decimal of a long text": (DECIMAL, text("1" * 10**6)),
    "Decimal of a tuple": (DECIMAL, many(number(0), many(number(1)), number(1))),
    "Fraction of 1 over 0": (FRACTION, number(1), number(0)),
    "Fraction of text": (FRACTION, text("1/3")),
    "Fraction of an instance": (FRACTION, made(RIDGE), made(RIDGE)),
    "path of bytes": (PATH, octets(b"a")),
    "path of an instance": (PATH, made(RIDGE)),
    "path of a namespace": (PATH, forging(__fspath__=STR)),
    "SimpleNamespace with arguments": (SPACE, mapped(a=NONE)),
    "partial of a class": (PARTIAL, RIDGE),
    "partial of nothing": (PARTIAL,),
    "partial with arguments": (PARTIAL, SORTED, listed()),
    "partial of a partial": (PARTIAL, bound(SORTED)),
    "partial of a string": (PARTIAL, text("sorted")),
    "partial of an instance": (PARTIAL, made(RBF)),
    "partial of a type": (PARTIAL, STR),
    "MaskedArray of a list": (MASKED, listed(), listed(), NONE, FALSE, TRUE, number(0), NONE),
    "MaskedArray of three": (MASKED, pid(number(0)), pid(number(0)), NONE),
    "MaskedArray without its own memory": (
        *(MASKED, pid(number(0)), pid(number(0)), NONE, TRUE, TRUE, number(0), NONE),
    ),
    "MaskedArray of another dtype": (
        *(MASKED, pid(number(0)), pid(number(0)), pid(text("|O")), FALSE, TRUE, number(0), NONE),
    ),
    "MaskedArray of more dimensions": (
        *(MASKED, pid(number(0)), pid(number(0)), NONE, FALSE, TRUE, number(10**6), NONE),
    ),
    "MaskedArray of another mask": (
        *(MASKED, pid(number(0)), pid(number(1)), NONE, FALSE, TRUE, number(0), NONE),
    ),
    "MaskedArray filled with an instance": (
        *(MASKED, pid(number(0)), pid(number(0)), NONE, FALSE, TRUE, number(0), made(RIDGE)),
    ),
    "_reconstruct of Tree": (RECONSTRUCT, TREE, many(number(0)), octets(b"b")),
    "_reconstruct of Ridge": (RECONSTRUCT, RIDGE, many(number(0)), octets(b"b")),
    "_reconstruct of MaskedArray": (RECONSTRUCT, MASKED, many(number(0)), octets(b"b")),
    "_reconstruct of a shape": (RECONSTRUCT, NDARRAY, many(number(8)), octets(b"b")),
    "_reconstruct of objects": (RECONSTRUCT, NDARRAY, many(number(8)), octets(b"O")),
    "_reconstruct of a huge shape": (RECONSTRUCT, NDARRAY, many(number(1 << 40)), octets(b"b")),
    "_reconstruct of a negative shape": (RECONSTRUCT, NDARRAY, many(number(-1)), octets(b"b")),
    "_reconstruct of a dtype": (RECONSTRUCT, NDARRAY, many(number(0)), pid(text("|O"))),
    "_reconstruct of an array as class": (RECONSTRUCT, BARE, many(number(0)), octets(b"b")),
    "Tree of no features": (TREE, number(-1), of_numbers(np.ones(1, np.intp)), number(1)),
    "Tree of no outputs": (TREE, number(1), of_numbers(np.ones(0, np.intp)), number(0)),
    "Tree of 2**60 outputs": (TREE, number(1), of_numbers(np.ones(1, np.intp)), number(1 << 60)),
    "Tree of more outputs than counts": (
        *(TREE, number(1), of_numbers(np.ones(1, np.intp)), number(9)),
    ),
    "Tree of negative classes": (TREE, number(1), of_numbers(-np.ones(1, np.intp)), number(1)),
    "Tree of 2**62 classes": (
        *(TREE, number(1), of_numbers(np.full(1, 1 << 62, np.intp)), number(1)),
    ),
    "Tree of 2**40 features": (TREE, number(1 << 40), of_numbers(np.ones(1, np.intp)), number(1)),
    "Tree of half classes": (TREE, number(1), of_numbers(np.ones(1)), number(1)),
    "Tree of a list of classes": (TREE, number(1), listed(number(1)), number(1)),
    "Tree without arguments": (TREE,),
    "Tree without a state": (TREE, number(1), of_numbers(np.ones(1, np.intp)), number(1)),
    "KDTree without a state": (KD_NEW, KD),
    "BallTree without a state": (BALL_NEW, name("sklearn.neighbors._ball_tree", "BallTree")),
    "a metric without a state": (METRIC_NEW, EUCLIDEAN),
    "newObj of Ridge": (KD_NEW, RIDGE),
    "newObj of an instance": (KD_NEW, made(RIDGE)),
    "newObj of a ball tree as k-d tree": (KD_NEW, name("sklearn.neighbors._ball_tree", "BallTree")),
    "newObj of nothing": (KD_NEW,),
    "newObj of a metric as tree": (KD_NEW, EUCLIDEAN),
    "newObj of a metric of a function": (
        *(METRIC_NEW, name("sklearn.metrics._dist_metrics", "PyFuncDistance")),
    ),
    "newObj of any metric": (
        *(METRIC_NEW, name("sklearn.metrics._dist_metrics", "DistanceMetric")),
    ),
    "a loss of another class": (LOSS, RIDGE, number(0), NONE),
    "a loss of a namespace as class": (
        *(LOSS, forging(__module__=text("_loss"), __name__=text("CyHuberLoss")), number(0), NONE),
    ),
    "a loss with a text": (LOSS, HUBER, number(0), many(text("a"))),
    "a loss with a wrong checksum": (LOSS, HUBER, number(0), many(real(1))),
    "a loss of a text": (HUBER, text("1")),
    "a loss of many numbers": (HUBER, *[real(1)] * 9),
    "SeedSequence of another class": (SEED, RIDGE, number(0), NONE),
    "SeedSequence with a state at once": (SEED, SEQUENCE, number(0), b")"),
    "SeedSequence of a wrong checksum": (SEED, SEQUENCE, number(0), NONE),
    "a bit generator of another class": (BITS, RIDGE),
    "a bit generator of another name": (BITS, text("SystemRandom")),
    "a bit generator of a path": (BITS, text("__class__")),
    "a RandomState of an array": (STATES, of_numbers(np.ones(3))),
    "a RandomState of another constructor": (STATES, text("MT19937"), SORTED),
    "a RandomState of a partial as constructor": (STATES, text("MT19937"), LONG_WORK),
    "a RandomState of a kernel as constructor": (
        *(STATES, text("MT19937")),
        made(SUM_OF, k1=LONG_WORK, k2=LONG_WORK, __name__=text("bit_generator_ctor")),
    ),
    "a RandomState of a kernel that takes memory": (
        *(STATES, text("MT19937")),
        made(SUM_OF, k1=TAKES, k2=TAKES, __name__=text("bit_generator_ctor")),
    ),
    "a RandomState of a namespace as constructor": (
        *(
            STATES,
            text("MT19937"),
            forging(__module__=text("shardpickle.sklearn_support.migrations")),
        ),
    ),
}
for _title, (_function, *_args) in ARGUMENTS.items():
    # A checksum is not looked at; what a dict lacks may be a model, or made of a type.
    _taken = ("a loss with a wrong checksum", "defaultdict of a class", "partial of a type")
    _may = HARMLESS if _title in _taken else None
    CASES[_title] = case(call(_function, *_args), values=[np.zeros(4), np.zeros(5)], may=_may)

# States -------------------------------------------------------------------------------------------

_RIDGE_STATE = mapped(alpha=number(1))
CASES |= {
    "a state for a class": case(given(RIDGE, mapped(fit=SORTED))),
    "a state for a class, by a pair": case(given(RIDGE, many(NONE, mapped(fit=SORTED)))),
    "a state for a function": case(given(SORTED, mapped(a=NONE))),
    "a state for a ufunc": case(given(POWER, mapped(a=NONE))),
    "a state for None": case(given(NONE, mapped(a=NONE))),
    "a state for a number": case(given(number(1), mapped(a=NONE))),
    "a state for a dict": case(given(b"}", mapped(a=NONE))),
    "a state for a dtype": case(given(pid(text("<f8")), many(number(3), *[NONE] * 6))),
    "a state for a lifted array": case(
        given(
            pid(number(0)),
            many(number(1), many(number(1)), pid(text("|O")), FALSE, listed(NONE)),
        ),
        values=[np.zeros(3)],
    ),
    "a second state": case(given(made(RIDGE), _RIDGE_STATE)),
    "a second state for an array": case(
        array("<f8", octets(bytes(8)), 1, bare=array("<f8", octets(bytes(8)), 1))
    ),
    "a second state for a namespace": case(given(forging(a=NONE), mapped(a=NONE))),
    "a second state from the memo": case(
        noted(new(RIDGE)), given(get(0), _RIDGE_STATE), b"0", given(get(0), _RIDGE_STATE)
    ),
    "a state for a Decimal": case(given(call(DECIMAL, text("1")), mapped(a=NONE))),
    "a state for a path": case(given(call(PATH, text("a")), mapped(a=NONE))),
    "a state for a loss": case(given(call(HUBER, real(1)), many(real(1)))),
    "a state for getattr's method": case(given(call(GETATTR, STR, text("lower")), mapped(a=NONE))),
    "a state of slots": case(given(new(RIDGE), many(NONE, mapped(fit=SORTED))), may=HARMLESS),
    "a state that sets __class__": case(given(new(LINK), many(NONE, mapped(__class__=RIDGE)))),
    "a state that sets __dict__": case(given(new(LINK), many(NONE, mapped(__dict__=b"}")))),
    "a state that sets a method by slots": case(given(new(LINK), many(NONE, mapped(link=SORTED)))),
    # `object.__class__` wins over the attribute of that name
    "a state with a __class__ inside": case(made(LINK, __class__=RIDGE), may=HARMLESS),
    "a state that is a list": case(given(new(RIDGE), listed(number(1)))),
    "a state that is a number": case(given(new(RIDGE), number(1))),
    "a state that is a string": case(given(new(LINK), text("abc"))),
    "a state that is a class": case(given(new(LINK), RIDGE)),
    "a state that is an instance": case(given(new(LINK), made(RIDGE))),
    "a state that is a range": case(given(new(LINK), call(_RANGE, number(10**9)))),
    "a state that is a lifted array": case(given(new(LINK), pid(number(0))), values=[np.zeros(9)]),
    "a state with keys that are no text": case(
        given(new(LINK), paired(number(1), number(2))), may=HARMLESS
    ),
    "a state with keys that are tuples": case(
        given(new(RIDGE), paired(many(number(1)), number(2))), may=HARMLESS
    ),
    "a state whose items() works for long": case(given(new(LINK), forging(items=LONG_WORK))),
    "slots whose items() works for long": case(
        given(new(LINK), many(NONE, forging(items=LONG_WORK)))
    ),
    "a state whose pop() takes memory": case(
        given(new(RIDGE), forging(pop=bound(LINSPACE, number(0), number(1), number(130_000_000))))
    ),
    "a state whose keys() works for long": case(
        given(new(RIDGE), forging(pop=STR, keys=LONG_WORK, items=LONG_WORK))
    ),
    "a namespace with a state that is no dict": case(given(call(SPACE), listed())),
    "a namespace with numbers for names": case(given(call(SPACE), paired(number(1), NONE))),
    "a namespace that is __getstate__": case(
        made(
            NEIGHBORS,
            _fit_X=of_numbers(np.zeros((2, 2))),
            n_features_in_=number(2),
            _tree=forging(__getstate__=LONG_WORK),
        )
    ),
    "an attribute that is a method of the check": case(
        made(ONE_HOT, _n_features_outs=listed(), _compute_n_features_outs=LONG_WORK)
    ),
    "an attribute that is a method of __setstate__": case(
        made(
            ISOTONIC,
            X_thresholds_=objects(number(7)),
            y_thresholds_=objects(number(10**9)),
            _build_f=POWER,
        )
    ),
    "an attribute that is a method of the matrix": case(
        made(
            CSR,
            _shape=many(number(2), number(2)),
            data=of_numbers(np.ones(2)),
            indices=of_numbers(np.array([1 << 28, 1 << 28], np.int32)),
            indptr=of_numbers(np.array([0, 1, 2], np.int32)),
            check_format=bound(MAX, number(1), number(2), default=NONE),
            _has_canonical_format=FALSE,
        ),
        use=lambda matrix: matrix @ np.ones(2),
    ),
    "a matrix that calls itself something else": case(
        made(
            CSR,
            _shape=many(number(2), number(2)),
            data=of_numbers(np.ones((1, 2))),
            indices=of_numbers(np.array([1 << 28, 1 << 28], np.int32)),
            indptr=of_numbers(np.array([0, 1, 2], np.int32)),
            offsets=of_numbers(np.array([0], np.int32)),
            _format=text("dia"),
            format=text("dia"),
        ),
        use=lambda matrix: matrix.__class__.toarray(matrix),
        may=HARMLESS,  # the class's own `format` wins
    ),
    "nodes that are cast by a function of the file's": case(
        made(PREDICTOR, nodes=forging(dtype=NONE, astype=bound(MAX, LONG_WORK)))
    ),
    "statistics whose cast works for long": case(
        made(
            ITERATIVE,
            _sklearn_version=text("1.5.0"),
            initial_imputer_=forging(
                statistics_=forging(astype=bound(MAX, objects(number(7)), key=LONG_WORK))
            ),
        ),
    ),
}

# Arrays that are anywhere in memory: numpy looks for `__array_interface__` on instances
CASES |= {
    "thresholds that are anywhere in memory": case(
        made(MAPPER, is_categorical_=of_numbers(np.ones(1, np.uint8)), bin_thresholds_=listed(WILD))
    ),
    "thresholds of a kernel that is anywhere in memory": case(
        made(
            MAPPER,
            is_categorical_=of_numbers(np.ones(1, np.uint8)),
            bin_thresholds_=listed(made(RBF, __array_interface__=ADDRESS)),
        )
    ),
    "an isotonic regression of anywhere in memory": case(
        made(ISOTONIC, X_thresholds_=WILD, y_thresholds_=WILD, out_of_bounds=text("clip"))
    ),
    "coefficients that are anywhere in memory": case(
        made(RIDGE, coef_=WILD, intercept_=real(0), n_features_in_=number(4), solver=text("auto")),
        use=lambda model: model.predict(np.zeros((3, 4))),
    ),
    "a namespace that is anywhere in memory": case(WILD, use=lambda found: np.asarray(found).sum()),
    "a link that is anywhere in memory": case(
        made(LINK, __array_interface__=ADDRESS), use=lambda found: np.asarray(found).sum()
    ),
    "a bunch that is anywhere in memory": case(
        BUNCH,
        b")\x81(",
        text("__array_interface__"),
        ADDRESS,
        b"u",
        use=lambda found: np.asarray(found).sum(),
    ),
}

# Hashes, comparisons and messages of what a file says ---------------------------------------------

_OLD = "_sklearn_version"
CASES |= {
    "a release that is a tuple of tuples": case(
        given(new(RIDGE), b"}" + text(_OLD) + dag() + b"s")
    ),
    "a release that is a deep tuple": later(
        lambda: [given(new(RIDGE), b"}" + text(_OLD) + deep(10**6, first=b"]") + b"s")]
    ),
    "a release that is deep and hashable": later(
        lambda: [given(new(RIDGE), b"}" + text(_OLD) + deep(10**6) + b"s")]
    ),
    "a release that is a huge number": case(made(RIDGE, _sklearn_version=text("9" * 5000 + ".1"))),
    "a release that is an array": case(made(RIDGE, _sklearn_version=of_numbers(np.ones(3)))),
    "a release that is None": case(made(RIDGE, _sklearn_version=NONE)),
    "a release that splits": case(made(RIDGE, _sklearn_version=made(LINK, split=TAKES))),
    "a name for messages that is a tuple of tuples": case(
        call(given(new(RBF), b"}" + text("__qualname__") + dag() + b"s"))
    ),
    "a name for messages that is deep": later(
        lambda: [call(given(new(RBF), b"}" + text("__qualname__") + deep(10**6) + b"s"))]
    ),
    "keywords that are a range without end": case(
        given(
            call(PARTIAL, CHECK_ARRAY), many(CHECK_ARRAY, b")", call(_RANGE, number(10**12)), NONE)
        )
    ),
    "a partial of a smuggled function": case(
        given(call(PARTIAL, SORTED), many(name("os", "system"), many(TOUCH), b"}", NONE))
    ),
    "a partial of a class in its state": case(
        given(call(PARTIAL, SORTED), many(RIDGE, b")", b"}", NONE))
    ),
    "a partial of a partial in its state": case(
        given(call(PARTIAL, SORTED), many(bound(SORTED), b")", b"}", NONE))
    ),
    "a partial of itself": case(
        noted(call(PARTIAL, SORTED)), given(get(0), many(get(0), b")", b"}", NONE))
    ),
    "a partial whose keywords are a Counter": case(
        given(call(PARTIAL, SORTED), many(SORTED, b")", call(COUNTER), NONE))
    ),
    "a partial whose keywords are numbers": case(
        given(call(PARTIAL, SORTED), many(SORTED, b")", paired(number(1), NONE), NONE)),
        may=HARMLESS,  # raises TypeError when called
        use=lambda function: function([]),
    ),
    "a partial whose arguments are a list": case(
        given(call(PARTIAL, SORTED), many(SORTED, b"]", b"}", NONE))
    ),
    "a partial with attributes": case(
        given(call(PARTIAL, SORTED), many(SORTED, b")", b"}", mapped(a=NONE)))
    ),
    "a partial with a state of three": case(given(call(PARTIAL, SORTED), many(SORTED, b")", b"}"))),
    "a partial with an array as attributes": case(
        given(call(PARTIAL, SORTED), many(SORTED, b")", b"}", of_numbers(np.ones(3))))
    ),
    "thresholds of a list of lists": case(
        # [[…], […]] of the same lists, 60 times over: as an array it has 2**60 numbers
        b"](K\x01K\x02e" + NOTED,
        *(b"](" + get(place) * 2 + b"e" + NOTED for place in range(50)),
        b"0" * 50 + b"0",
        made(
            MAPPER,
            is_categorical_=of_numbers(np.ones(1, np.uint8)),
            bin_thresholds_=listed(get(40)),
        ),
    ),
    "isotonic thresholds of a list of lists": case(
        b"](K\x01K\x02e" + NOTED,
        *(b"](" + get(place) * 2 + b"e" + NOTED for place in range(50)),
        b"0" * 51,
        made(ISOTONIC, X_thresholds_=get(40), y_thresholds_=get(40), out_of_bounds=text("clip")),
    ),
    "subsets that are a long range": case(
        made(
            ISOLATION,
            n_features_in_=number(1),
            _max_features=number(1),
            estimators_=listed(),
            estimators_features_=call(_RANGE, number(2 * 10**7)),
        ),
    ),
    "subsets that are a range without end": case(
        made(
            ISOLATION,
            n_features_in_=number(1),
            _max_features=number(1),
            estimators_=listed(),
            estimators_features_=call(_RANGE, number(1 << 62)),
        ),
    ),
    "subsets that are 2**40 values without bytes": case(
        made(
            ISOLATION,
            n_features_in_=number(1),
            _max_features=number(1),
            estimators_=listed(),
            estimators_features_=array("|S0", octets(b""), 1 << 40),
        ),
    ),
    "estimators that are 2**40 values without bytes": case(
        made(
            name("sklearn.ensemble._forest", "RandomForestClassifier"),
            n_features_in_=number(1),
            estimators_=array("|S0", octets(b""), 1 << 40),
        ),
    ),
    "a spline of 2**40 knots without bytes": case(
        made(
            name("scipy.interpolate._bsplines", "BSpline"),
            t=array("|S0", octets(b""), 1 << 40),
            c=of_numbers(np.ones(3)),
            k=number(1),
        )
    ),
}

# Keys ---------------------------------------------------------------------------------------------


def colliding(count, key):
    """A dict of so many keys."""
    return [b"}(", *(key(each) + NONE for each in range(count)), b"u"]


def _fraction(each):
    return call(FRACTION, number(each * PRIME + 1), number(1))


KEYS = {
    "integers": lambda each: number(each * PRIME + 1),
    "integers in tuples": lambda each: many(number(each * PRIME), number(1)),
    "fractions": _fraction,
    "decimals": lambda each: call(DECIMAL, text(str(each * PRIME + 1))),
    "complex scalars": lambda each: pid(
        text("<c16") + octets(np.complex128(1000003 * each - 1j * each).tobytes()) + b"\x86"
    ),
    "complex numbers": lambda each: call(
        name("builtins", "complex"), real(1000003.0 * each), real(-1.0 * each)
    ),
    "spans": lambda each: call(_DELTA, number(each), number(0), number(0)),
}
for _title, _key in KEYS.items():
    for _count in (9_900, 200_000):
        _may = frozenset({"refused", "loaded"}) if _count < 10**5 else None
        CASES[f"{_count} keys that are {_title} of one hash"] = later(
            lambda key=_key, count=_count: colliding(count, key),
            may=_may,  # so few may be let in, if it takes no time
        )
CASES |= {
    "a key of tuples of tuples": case(b"}" + dag() + b"Ns"),
    "an item of tuples of tuples": case(b"\x8f(" + dag() + b"\x90"),
    "a frozen item of tuples of tuples": case(b"(" + dag() + b"\x91"),
    "a key of frozensets of frozensets": case(
        b"}(N\x91\x94",
        *(b"((" + get(place) + get(place) + b"t\x91" + NOTED for place in range(60)),
        b"Ns",
    ),
    "a key of a deep tuple": later(lambda: [b"}", deep(10**6), b"Ns"]),
    "a key of a tuple of 19,000 levels": later(
        lambda: [b"}", deep(19_000), b"Ns"], may=frozenset({"refused", "loaded"})
    ),
    "equal keys of deep tuples": later(
        lambda: [b"}(", (deep(9_000) + b"N") * 2, b"u"], may=frozenset({"refused", "loaded"})
    ),
    "equal keys of deep frozensets": later(
        lambda: [b"}(", (b"(" * 4_000 + b"\x91" * 4_000 + b"N") * 2, b"u"],
        may=frozenset({"refused", "loaded"}),
    ),
    "a key of a deep frozenset": later(lambda: [b"}", b"(" * 10**5 + b"\x91" * 10**5, b"Ns"]),
    "a list as a key": case(paired(b"]", NONE)),
    "a dict as a key": case(paired(b"}", NONE)),
    "an array as a key": case(paired(pid(number(0)), NONE), values=[np.zeros(3)]),
    "a namespace as a key": case(paired(forging(__hash__=SORTED), NONE)),
    "an instance as a key": case(
        paired(made(LINK), NONE), may=frozenset({"refused", "loaded"})
    ),  # its hash is its identity
    "a kernel as a key": case(paired(made(RBF, theta=NONE), NONE)),
    "a datetime of a zone as a key": case(
        paired(call(DATETIME, octets(b"\xff\xff\x0c\xff" + b"\xff" * 6)), NONE),
        may=frozenset({"refused", "loaded"}),
    ),
    "a key of NaN": case(paired(*[real(float("nan")), NONE] * 100), may=SOUND),  # as pickle has it
    "a key twice": case(paired(number(1), NONE, number(1), TRUE), may=SOUND),  # as pickle has it
    "a key without a value": case(b"}(N", b"u"),
    "a Decimal that signals as a key": case(paired(call(DECIMAL, text("sNaN")), NONE)),
    "a Decimal of a huge exponent as a key": case(
        paired(call(DECIMAL, text("1E+999999999999999999")), NONE),
        may=frozenset({"refused", "loaded"}),
    ),
    "a Fraction of long numbers": later(
        lambda: [
            call(FRACTION, *(number(random.Random(seed).getrandbits(1 << 24)) for seed in (1, 2)))
        ]
    ),
    "an array of a shape of long numbers": later(
        lambda: [
            noted(number(random.Random(1).getrandbits(1 << 24))),
            given(
                BARE,
                many(number(1), b"(" + get(0) * 32 + b"t", pid(text("<f8")), FALSE, octets(b"")),
            ),
        ]
    ),
    "a list that holds itself": case(b"]\x94", get(0), b"a", may=SOUND),  # as pickle has it
    "a dict that holds itself": case(b"}\x94N", get(0), b"s", may=SOUND),
    "a set that holds a list that holds it": case(b"\x8f\x94(]", get(0), b"a\x90"),
    "a state that is the instance's own dict": case(
        new(LINK), b"\x94", b"}", text("own"), get(0), b"sb"
    ),
}

# Items for what is no container -------------------------------------------------------------------

TARGETS = {
    "None": NONE,
    "a number": number(1),
    "a string": text("a"),
    "a tuple": b")",
    "a class": RIDGE,
    "a function": SORTED,
    "an instance": made(RIDGE),
    "a bare instance": new(RIDGE),
    "an array": array("<f8", octets(bytes(8)), 1),
    "a lifted array": pid(number(0)),
    "a dtype": pid(text("<f8")),
    "a namespace that appends": forging(append=SORTED, extend=LONG_WORK, add=LONG_WORK),
    "a bytearray": b"\x96" + struct.pack("<Q", 3) + b"abc",
    "a path": call(PATH, text("a")),
    "a namedtuple": new(HYPER, *[NONE] * 5),
    "a frozenset": b"(\x91",
}
for _title, _target in TARGETS.items():
    CASES |= {
        f"items for {_title}": case(_target, b"(NNe", values=[np.zeros(3)]),
        f"an item for {_title}": case(_target, b"Na", values=[np.zeros(3)]),
        f"pairs for {_title}": case(_target, b"(", text("a"), b"Nu", values=[np.zeros(3)]),
        f"a pair for {_title}": case(_target, text("a"), b"Ns", values=[np.zeros(3)]),
        f"members for {_title}": case(_target, b"(NN\x90", values=[np.zeros(3)]),
    }
CASES |= {
    "pairs for a list": case(b"](NNu"),
    "items for a dict": case(b"}(NNe"),
    "members for a dict": case(b"}(N\x90"),
    "items for a set": case(b"\x8f(Ne"),
    "words for a Counter": case(
        call(COUNTER), b"(", text("a"), text("b"), b"u", may=SOUND
    ),  # a Counter takes any value
    "a default that is made while loading": case(
        call(DEFAULT, name("builtins", "list")), b"(", text("a"), b"Nu", may=SOUND
    ),
    "a bunch with __setstate__": case(
        new(BUNCH), b"(", text("__setstate__"), SORTED, b"u}b", may=HARMLESS
    ),
}

# Persistent ids -----------------------------------------------------------------------------------

for _title, _pid in {
    "a value that is not there": number(7),
    "a value of a negative number": number(-1),
    "a value of a huge number": number(10**400),
    "a value of True": TRUE,
    "a value of 0.0": real(0),
    "a value of None": NONE,
    "a value of bytes": octets(b"0"),
    "a reference that is not there": number(0) + b"\x85",
    "a reference of a negative number": number(-1) + b"\x85",
    "a reference of True": TRUE + b"\x85",
    "a reference of two": pair(number(0), number(0)),
    "a reference of a tuple": many(many(number(0))),
    "a pid of no tuple": EMPTY_TUPLE,
    "a pid of three": text("<f8") + octets(bytes(8)) + NONE + b"\x87",
    "a pid of texts": pair(text("<f8"), text("12345678")),
    "a pid of a number and bytes": pair(number(0), octets(bytes(8))),
}.items():
    CASES[_title] = case(_pid, b"Q", values=[np.zeros(3)])
CASES["a pid that is made"] = case(b"]Q")
CASES["a pid that is a name"] = case(SORTED, b"Q")
CASES["a pid of tuples of tuples"] = case(dag(), b"Q")
CASES["a pid of nothing"] = raw(b"\x80\x05Q\x85.")


def _struct(**changes):
    plain = {"names": ["a"], "formats": ["<i8"], "offsets": [0], "itemsize": 8, "aligned": False}
    return json.dumps(plain | changes)


def _nested(depth):
    found = "<i8"
    for _ in range(depth):
        found = {"names": ["a"], "formats": [found], "offsets": [0], "itemsize": 8, "aligned": True}
    return json.dumps(found)


DTYPES = {
    "of no text": "",
    "of text": "object",
    "of a type's name": "float64",
    "of a comma": "<i8,<i8",
    "of objects and more": "O,O",
    "of a native order": "f8",
    "of another order": "=f8",
    "of a huge string": "<U999999999999",
    "of a string too long": "|S2147483648",
    "of half a string": "<U2147483647",
    "of a negative string": "|S-1",
    "of an unknown unit": "<M8[xs]",
    "of a long unit": "<M8[99999999999999s]",
    "of a unit of 0": "<M8[0s]",
    "of a record": "|V8[a]",
    "of a surrogate": "\ud800",
    "of a zero": "<f8\0",
    "of a module": "numpy.float64",
    "of code": "(__import__('os').system('touch PWNED'),)",
    "of objects among fields": _struct(formats=["|O"]),
    "of objects over numbers": _struct(names=["a", "b"], formats=["|O", "<i8"], offsets=[0, 0]),
    "of two objects over each other": _struct(
        names=["a", "b"], formats=["|O", "|O"], offsets=[0, 4], itemsize=12
    ),
    "of objects that are not aligned": _struct(formats=["|O"], offsets=[1], itemsize=9),
    "of a list of objects": '["|O",[2]]',
    "of objects in a list in a field": _struct(formats=[["|O", [1]]]),
    "of a field at 2**30": _struct(offsets=[1 << 30]),
    "of a field at -8": _struct(offsets=[-8]),
    "of a field at 2**70": _struct(offsets=[1 << 70], itemsize=1 << 71),
    "of a negative size": _struct(itemsize=-8),
    "of a size of 2**31": _struct(itemsize=1 << 31),
    "of a size that is a float": _struct(itemsize=8.0),
    "of a size that is true": _struct(itemsize=True),
    "of a field too long": _struct(itemsize=4),
    "of equal names": _struct(names=["a", "a"], formats=["<i4", "<i4"], offsets=[0, 4]),
    "of fewer names": _struct(names=[]),
    "of more names": _struct(names=["a", "b"]),
    "of a name that is a tuple": _struct(names=[["title", "a"]], itemsize=0),
    "of titles": _struct(titles=["b"], itemsize=4),
    "of no members": "{}",
    "of no names": json.dumps({"formats": [], "offsets": [], "itemsize": 8, "aligned": False}),
    "of a list of nothing": "[]",
    "of a list of one": '["<f8"]',
    "of a shape of 2**31": '["<f8",[2147483648]]',
    "of a shape without end": '["<f8",[2147483647,2147483647,2147483647]]',
    "of a shape of -1": '["<f8",[-1]]',
    "of a shape of many": f'["<f8",{[1] * 99}]',
    "of a shape that is a text": '["<f8","12"]',
    "of lists in lists": '["<f8",[2]]'.replace('"<f8"', '["<f8",[2]]') * 2,
    "of thousands of lists": "[" * 10**5 + "]" * 10**5,
    "of thousands of objects": '{"formats":' * 10**5,
    "of depth 40": _nested(40),
    "of a number": "[1]",
    "of null": "[null,[1]]",
    "of NaN": '["<f8",[NaN]]',
    "of a huge number": '["<f8",[' + "9" * 10**5 + "]]",
}
_OBJECTS = (
    *("of objects among fields", "of objects that are not aligned", "of a list of objects"),
    "of objects in a list in a field",
)
for _title, _text in DTYPES.items():
    # Bytes without a field, and objects that share bytes with nothing.
    _may = HARMLESS if _title in ("of fewer names", *_OBJECTS) else None
    CASES[f"a dtype {_title}"] = case(pid(text(_text)), may=_may)
CASES |= {
    # It is a dtype, and no memory is taken for it
    "a dtype of 2 GB": case(pid(text(_struct(itemsize=2**31 - 1))), may=HARMLESS),
    "a dtype of no fields": case(
        pid(text(_struct(names=[], formats=[], offsets=[], itemsize=0))), may=HARMLESS
    ),
    "a dtype of a hundred thousand fields": later(
        lambda: [
            pid(
                text(
                    _struct(
                        names=[f"f{each}" for each in range(10**5)],
                        formats=["|u1"] * 10**5,
                        offsets=[*range(10**5)],
                        itemsize=10**5,
                    )
                )
            )
        ],
        may=HARMLESS,
    ),
    "a long dtype, many times": later(
        lambda: [
            noted(
                text(
                    _struct(
                        names=[f"f{each}" for each in range(5000)],
                        formats=["|u1"] * 5000,
                        offsets=[*range(5000)],
                        itemsize=5000,
                    )
                )
            ),
            b"]",
            (get(0) + b"Q0") * 20_000,
        ]
    ),
    "a dtype with spaces, many times": later(
        lambda: [noted(text('["<f8",' + " " * 2**20 + "[2]]")), b"]", (get(0) + b"Q0") * 50_000]
    ),
}
for _title, (_text, _content) in {
    "of objects": ("|O", bytes(8)),
    "of void": ("|V8", bytes(8)),
    "of fields": (_struct(), bytes(8)),
    "of a list": ('["<f8",[1]]', bytes(8)),
    "of too few bytes": ("<f8", bytes(7)),
    "of too many bytes": ("<f8", bytes(16)),
    "of no bytes": ("<f8", b""),
    "of letters that there are not": ("<U1", b"\xff\xff\xff\xff"),
    "of letters past the last": ("<U1", b"\x00\x00\x11\x00"),
    "of letters the other way round": (">U1", b"\xff\xff\xff\xff"),
    "of a unit without end": ("<M8[9223372036854775807Y]", bytes(8)),
}.items():
    CASES[f"a scalar {_title}"] = case(pid(text(_text) + octets(_content) + b"\x86"))
CASES |= {
    "a scalar of 64 KiB of text": case(
        pid(text("|S1000000") + octets(bytes(10**6)) + b"\x86"), may=HARMLESS
    ),
    "a scalar of a surrogate": case(
        pid(text("<U1") + octets(b"\x00\xd8\x00\x00") + b"\x86"), may=HARMLESS, use=repr
    ),
    "a bool that is neither": case(
        pid(text("|b1") + octets(b"\x02") + b"\x86"), may=HARMLESS, use=repr
    ),
    "a date out of range": case(
        pid(text("<M8[Y]") + octets(b"\xff" * 7 + b"\x7f") + b"\x86"), may=HARMLESS, use=repr
    ),
}

# The stream of opcodes ----------------------------------------------------------------------------

_ONE = b"\x80\x05]\x85."
RAW = {
    "no bytes": b"",
    "a STOP": b".",
    "a PROTO": b"\x80\x05",
    "no STOP": b"\x80\x05]\x85",
    "a byte behind STOP": _ONE + b"\x00",
    "two pickles": _ONE * 2,
    "two objects on the stack": b"\x80\x05]]\x85.",
    "an object too few": b"\x80\x05.",
    "a mark that stays": b"\x80\x05(]\x85.",
    "protocol 0": b"\x80\x00]\x85.",
    "protocol 3": b"\x80\x03]\x85.",
    "protocol 6": b"\x80\x06]\x85.",
    "a PROTO in the middle": b"\x80\x05]\x80\x05\x85.",
    "a second PROTO": b"\x80\x05\x80\x05]\x85.",
    "a frame that reaches past the end": b"\x80\x05\x95" + struct.pack("<Q", 100) + b"]\x85.",
    "a frame of 2**64 bytes": b"\x80\x05\x95" + b"\xff" * 8 + b"]\x85.",
    "a frame that is cut off": b"\x80\x05\x95\x00",
    "a string that is cut off": b"\x80\x05\x8c\xffabc\x85.",
    "a string of 4 GB": b"\x80\x05X\xff\xff\xff\xffabc\x85.",
    "a string of 2**64 bytes": b"\x80\x05\x8d" + b"\xff" * 8 + b"abc\x85.",
    "a string of 2**63 bytes": b"\x80\x05\x8d" + struct.pack("<Q", 1 << 63) + b"abc\x85.",
    "a string that is no UTF-8": b"\x80\x05\x8c\x02\xff\xfe\x85.",
    "a string of half a letter": b"\x80\x05\x8c\x01\xc3\x85.",
    "bytes of 4 GB": b"\x80\x05B\xff\xff\xff\xffabc\x85.",
    "bytes of 2**64 bytes": b"\x80\x05\x8e" + b"\xff" * 8 + b"abc\x85.",
    "a bytearray of 2**40 bytes": b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b"abc\x85.",
    "a number of 1 GB": b"\x80\x05\x8b" + struct.pack("<I", 1 << 30) + b"abc\x85.",
    "a number of 4 GB": b"\x80\x05\x8b\xff\xff\xff\xffabc\x85.",
    "a number that is cut off": b"\x80\x05M\x01",
    "a float that is cut off": b"\x80\x05G\x01\x02",
    "a memo out of range": b"\x80\x05h\x00\x85.",
    "a memo of 2**32": b"\x80\x05j\xff\xff\xff\xff\x85.",
    "a memo of itself": b"\x80\x05]\x94h\x01\x85.",
    "a memo of nothing": b"\x80\x05\x94]\x85.",
    "a POP of nothing": b"\x80\x050]\x85.",
    "a POP_MARK of nothing": b"\x80\x051]\x85.",
    "a TUPLE of nothing": b"\x80\x05t]\x85.",
    "a TUPLE2 of one": b"\x80\x05]\x86.",
    "a TUPLE3 of nothing": b"\x80\x05\x87.",
    "a TUPLE1 behind a mark": b"\x80\x05](\x85\x85.",
    "a BUILD of nothing": b"\x80\x05b.",
    "a REDUCE of nothing": b"\x80\x05R.",
    "a NEWOBJ of nothing": b"\x80\x05\x81.",
    "a NEWOBJ_EX of nothing": b"\x80\x05\x92.",
    "an APPEND of nothing": b"\x80\x05a.",
    "an APPENDS of nothing": b"\x80\x05e.",
    "a SETITEM of nothing": b"\x80\x05s.",
    "a SETITEMS of nothing": b"\x80\x05(u.",
    "an ADDITEMS of nothing": b"\x80\x05(\x90.",
    "a FROZENSET of nothing": b"\x80\x05\x91.",
    "a STACK_GLOBAL of nothing": b"\x80\x05\x93.",
    "a STACK_GLOBAL of one": b"\x80\x05\x8c\x01a\x93\x85.",
    "a list as the model": b"\x80\x05].",
    "a BINPERSID over a mark": b"\x80\x05K\x00(Q\x85.",
}
for _title, _data in RAW.items():
    CASES[_title] = raw(_data)

FEW = frozenset({"refused", "loaded"})  # under 1 GB, in time: no harm
CASES |= {
    "30 MB of lists": later(lambda: [b"]" * 30_000_000]),
    "30 MB of dicts": later(lambda: [b"}" * 30_000_000]),
    "30 MB of sets": later(lambda: [b"\x8f" * 30_000_000]),
    "30 MB of marks": later(lambda: [b"(" * 30_000_000]),
    "16 MB of lists": later(lambda: [b"]" * 16_000_000]),
    "16 MB of sets": later(lambda: [b"\x8f" * 16_000_000]),
    "16 MB of marks": later(lambda: [b"(" * 16_000_000]),
    "a million marks": later(lambda: [b"(" * 1_000_000]),
    "a million sets": later(lambda: [b"(", b"\x8f" * 1_000_000, b"t"], may=FEW),
    "a million deques": later(
        lambda: [b"(", noted(DEQUE), (get(0) + b")\x85R") * 150_000, b"t"], may=FEW
    ),
    "16 MB of None": later(lambda: [b"(", b"N" * 16_000_000, b"t"], may=FEW),
    "16 MB of notes": later(lambda: [b"N", NOTED * 16_000_000], may=FEW),
    "16 MB of tuples": later(lambda: [b"(", b"N\x85" * 8_000_000, b"t"], may=FEW),
    "16 MB of deep tuples": later(lambda: [b"N", b"\x85" * 16_000_000], may=FEW),
    "16 MB of numbers": later(lambda: [b"(", b"M\xff\xff" * 5_300_000, b"t"], may=FEW),
    "16 MB of floats": later(lambda: [b"(", real(1.1) * 1_700_000, b"t"], may=FEW),
    "20 MB of None": later(lambda: [b"(", b"N" * 20_000_000, b"t"], may=FEW),
    "150 MB of None behind 1 MB of noise": later(
        lambda: [b"(", b"N" * 150_000_000, b"t"], may=FEW, padding=1_000_000
    ),
    "150 MB of notes behind 1 MB of noise": later(
        lambda: [b"N", NOTED * 150_000_000], may=FEW, padding=1_000_000
    ),
    "a million deep lists": later(lambda: [b"]" * 500_000, b"a" * 499_999], may=FEW),
    "a million deep dicts": later(lambda: [b"}N" * 300_000, b"}", b"s" * 300_000], may=FEW),
    "deep frozensets": later(lambda: [b"(" * 300_000, b"\x91" * 300_000]),
    "deep instances": later(
        lambda: [
            noted(LINK),
            (get(0) + b")\x81}" + text("a")) * 100_000,
            b"N",
            b"sb" * 100_000,
        ],
        may=FEW,
    ),
    "deep namespaces": later(
        lambda: [
            noted(SPACE),
            (get(0) + b")R}" + text("a")) * 100_000,
            b"N",
            b"sb" * 100_000,
        ],
        may=FEW,
    ),
    "deep partials": later(
        lambda: [
            noted(PARTIAL, SORTED),
            (get(0) + get(1) + b"\x85R(" + get(1) + b"(") * 40_000,
            b"t}Ntb" * 40_000,
        ],
        may=FEW,
    ),
    "deep masked arrays": later(
        lambda: [
            noted(MASKED, RECONSTRUCT, NDARRAY, pid(text("|O")), octets(b"b"), many(number(0))),
            (get(1) + many(get(2), get(5), get(4)) + b"R(K\x01K\x01\x85" + get(3) + b"\x89]")
            * 1000,
            b"N",
            b"atb" * 1000,
        ],
    ),
    "arrays in lists in arrays": later(
        lambda: [
            noted(RECONSTRUCT, NDARRAY, pid(text("|O")), octets(b"b"), many(number(0))),
            (get(0) + many(get(1), get(4), get(3)) + b"R(K\x01K\x01\x85" + get(2) + b"\x89]]")
            * 40_000,
            b"N",
            b"aatb" * 40_000,
        ],
        may=FEW,
    ),
    "arrays in partials in arrays": later(
        lambda: [
            noted(
                RECONSTRUCT,
                NDARRAY,
                pid(text("|O")),
                octets(b"b"),
                many(number(0)),
                PARTIAL,
                SORTED,
            ),
            (
                get(0)
                + many(get(1), get(4), get(3))
                + b"R(K\x01K\x01\x85"
                + get(2)
                + b"\x89]"
                + get(5)
                + get(6)
                + b"\x85R("
                + get(6)
                + b"("
            )
            * 20_000,
            b"t}Ntbatb" * 20_000,
        ],
        may=FEW,
    ),
    "arrays in namespaces in arrays": later(
        lambda: [
            noted(RECONSTRUCT, NDARRAY, pid(text("|O")), octets(b"b"), many(number(0)), SPACE),
            (
                get(0)
                + many(get(1), get(4), get(3))
                + b"R(K\x01K\x01\x85"
                + get(2)
                + b"\x89]"
                + get(5)
                + b")R}"
                + text("a")
            )
            * 25_000,
            b"N",
            b"sbatb" * 25_000,
        ],
        may=FEW,
    ),
    "arrays of arrays, twice each": later(
        lambda: [
            b"(",
            objects(NONE) + NOTED,
            *(objects(get(place), get(place)) + NOTED for place in range(58)),
            b"t",
        ],
        may=FEW,  # no deeper than is let in
    ),
    "arrays of arrays, 66 deep": later(
        lambda: [objects(NONE) + NOTED, *(objects(get(n)) + NOTED for n in range(66)), b"0" * 66]
    ),
    "an array that holds itself": case(
        BARE,
        NOTED,
        many(number(1), many(number(1)), pid(text("|O")), FALSE, listed(get(0))),
        b"b",
        may=FEW,
    ),
    "an array in itself in an array": case(
        BARE,
        NOTED,
        many(number(1), many(number(1)), pid(text("|O")), FALSE, listed(get(0))),
        b"b0",
        objects(get(0)),
        may=FEW,
    ),
}

# More memory than the file says -------------------------------------------------------------------


def _attributes(count):
    return b"}(" + b"".join(text(f"a{each}") + NONE for each in range(count)) + b"u"


CASES |= {
    "attributes of one dict for a thousand instances": later(
        lambda: [
            noted(LINK, _attributes(50_000)),
            b"(",
            (get(0) + b")\x81" + get(1) + b"b") * 1000,
            b"t",
        ],
        may=FEW,
    ),
    "attributes of one dict for a thousand namespaces": later(
        lambda: [
            noted(SPACE, _attributes(50_000)),
            b"(",
            (get(0) + b")R" + get(1) + b"b") * 1000,
            b"t",
        ],
        may=FEW,
    ),
    "a thousand Counters of one dict": later(
        lambda: [
            noted(COUNTER, _attributes(50_000)),
            b"(",
            (get(0) + get(1) + b"\x85R") * 1000,
            b"t",
        ],
        may=FEW,
    ),
    "a thousand arrays of the same bytes": later(
        lambda: [
            noted(octets(bytes(2_000_000))),
            b"(",
            given(BARE, many(number(1), many(number(2_000_000)), pid(text("|u1")), FALSE, get(0)))
            * 1000,
            b"t",
        ],
        may=FEW,
    ),
    "a thousand trees with a million outputs": later(
        lambda: [
            noted(TREE),
            b"(",
            (get(0) + many(number(1), pid(number(0)), number(2**20 - 1)) + b"R") * 300,
            b"t",
        ],
        values=[np.ones(2**20 - 1, np.intp)],
    ),
    "paths of long texts": later(
        lambda: [
            noted(PATH, text("a/" * 100_000)),
            b"(",
            (get(0) + many(*[get(1)] * 900) + b"R") * 5,
            b"t",
        ],
    ),
    "a vocabulary of many vectorizers": later(
        lambda: [
            noted(
                VECTORIZER,
                b"}("
                + text("vocabulary_")
                + b"}("
                + b"".join(text(f"a{each}") + number(each) for each in range(50_000))
                + b"uu",
            ),
            b"(",
            (get(0) + b")\x81" + get(1) + b"b") * 20_000,
            b"t",
        ],
        may=FEW,
    ),
    "numbers of many clusterings": later(
        lambda: [
            noted(
                name("scipy.interpolate._bsplines", "BSpline"),
                mapped(t=pid(number(0)), c=pid(number(0)), k=number(1)),
            ),
            b"(",
            (get(0) + b")\x81" + get(1) + b"b") * 2000,
            b"t",
        ],
        values=[np.zeros(5_000_000)],
        may=FEW,
    ),
}

# NumPy's arrays and generators --------------------------------------------------------------------

ARRAYS = {
    "of objects and bytes": array("|O", octets(b"A" * 8), 1),
    "of objects and text": array("|O", text("a"), 1),
    "of objects and a tuple": array("|O", many(NONE), 1),
    "of too few objects": array("|O", listed(NONE), 9),
    "of too many objects": array("|O", listed(*[NONE] * 9), 1),
    "of objects among fields": array(_struct(formats=["|O"]), listed(NONE), 1),
    "of a negative shape": array("|O", listed(), -1),
    "of two negative shapes": array("|O", listed(NONE), -1, -1),
    "of a huge shape": array("|O", listed(), 1 << 62, 1 << 62),
    "of a huge shape of 0": array("|O", listed(), 0, 1 << 62, 1 << 62),
    "of a shape past 2**63": array("|O", listed(), 0, 1 << 64),
    "of 33 dimensions": array("|O", listed(NONE), *[1] * 33),
    "of 65 dimensions": array("|O", listed(NONE), *[1] * 65),
    "of too few bytes": array("<f8", octets(bytes(7)), 1),
    "of too many bytes": array("<f8", octets(bytes(9)), 1),
    "of a list of numbers": array("<f8", listed(real(1)), 1),
    "of another version": array("<f8", octets(bytes(8)), 1, version=2),
    "of a version before": array("<f8", octets(bytes(8)), 1, version=0),
    "of no dtype": given(BARE, many(number(1), many(number(1)), text("O"), FALSE, listed(NONE))),
    "of a class as dtype": given(
        BARE, many(number(1), many(number(1)), name("numpy", "object_"), FALSE, listed(NONE))
    ),
    "of four": given(BARE, many(number(1), many(number(1)), FALSE, listed(NONE))),
    "of a shape that is a list": given(
        BARE, many(number(1), listed(number(1)), pid(text("|O")), FALSE, listed(NONE))
    ),
    "of a shape of floats": given(
        BARE, many(number(1), many(real(1)), pid(text("|O")), FALSE, listed(NONE))
    ),
    "of a shape of bools": given(
        BARE, many(number(1), many(TRUE), pid(text("|O")), FALSE, listed(NONE))
    ),
    "of an order that is a number": array("|O", listed(NONE), 1, fortran=number(1)),
    "of a version that is an array": given(
        BARE, many(of_numbers(np.ones(3)), many(number(1)), pid(text("|O")), FALSE, listed(NONE))
    ),
    "of a state that is a dict": given(BARE, mapped(a=NONE)),
    "of no state": BARE,
    "of no state, as a matrix": call(RECONSTRUCT, MATRIX, many(number(0)), octets(b"b")),
}
for _title, _array in ARRAYS.items():
    _may = HARMLESS if _title == "of a huge shape of 0" else None  # it holds nothing
    CASES[f"an array {_title}"] = case(_array, may=_may, use=repr)
_MATRIX = call(RECONSTRUCT, MATRIX, many(number(0)), octets(b"b"))
CASES |= {
    "a matrix of three dimensions": case(
        array("<f8", octets(bytes(8)), 1, 1, 1, bare=_MATRIX), may=HARMLESS, use=repr
    ),
    "a matrix of no dimensions": case(
        array("<f8", octets(bytes(8)), bare=_MATRIX), may=HARMLESS, use=repr
    ),
    "an array of letters that there are not": case(
        array("<U1", octets(b"\xff" * 4), 1), may=HARMLESS, use=lambda found: found.tolist()
    ),
    "an array of bools that are neither": case(
        array("|b1", octets(b"\xff" * 4096), 4096),
        may=HARMLESS,
        use=lambda found: (np.arange(4096)[found].sum(), found.nonzero(), (~found).sum()),
    ),
    "an array of bools that count 256 as none": case(
        array("|b1", octets(b"\x02" * 100_000), 100_000),
        may=HARMLESS,
        use=lambda found: [np.arange(100_000.0)[found].sum() for _ in range(50)],
    ),
    "a masked array of objects for a mask": case(
        call(
            MASKED, of_numbers(np.ones(1)), objects(LONG_WORK), NONE, FALSE, TRUE, number(0), NONE
        ),
        may=HARMLESS,
        use=repr,
    ),
    "a masked array of fields for a mask": case(
        call(
            *(MASKED, of_numbers(np.ones(1)), array(_nested(8), octets(bytes(8)), 1)),
            *(NONE, FALSE, TRUE, number(0), NONE),
        ),
        may=HARMLESS,
        use=repr,
    ),
    "a masked array filled with an array": case(
        call(
            *(MASKED, of_numbers(np.ones(1)), of_numbers(np.zeros(1)), NONE, FALSE, TRUE),
            *(number(0), of_numbers(np.ones(3))),
        ),
        may=HARMLESS,
        use=repr,
    ),
    "a masked array filled with 2 GB": case(
        call(
            *(MASKED, of_numbers(np.ones(1)), of_numbers(np.zeros(1)), NONE, FALSE, TRUE),
            *(number(0), array("|S2147483647", octets(b""), 0)),
        ),
        may=HARMLESS,
        use=repr,
    ),
}

_KEY = of_numbers(np.arange(624, dtype=np.uint32))


def generator(kind, state, make=BITS):
    return given(call(make, text(kind)), state)


def twister(**changes):
    inner = {"key": _KEY, "pos": number(3)} | {
        key: changes.pop(key) for key in ("key", "pos") if key in changes
    }
    whole = {"bit_generator": text("MT19937"), "state": mapped(**inner)} | changes
    return mapped(**whole)


def philox(**changes):
    inner = {"counter": of_numbers(np.ones(4, np.uint64)), "key": of_numbers(np.ones(2, np.uint64))}
    whole = {
        "bit_generator": text("Philox"),
        "state": mapped(**inner),
        "buffer": of_numbers(np.ones(4, np.uint64)),
        "buffer_pos": number(4),
        "has_uint32": number(0),
        "uinteger": number(0),
    }
    return mapped(**(whole | changes))


def seed(**changes):
    whole = {
        "entropy": number(1),
        "spawned": number(0),
        "pool": of_numbers(np.ones(4, np.uint32)),
        "size": number(4),
        "key": b")",
    }
    state = many(*(whole | changes).values())
    return given(call(SEED, SEQUENCE, number(65708578), NONE), state)


GENERATORS = {
    "of position 625": generator("MT19937", twister(pos=number(625))),
    "of position -1": generator("MT19937", twister(pos=number(-1))),
    "of position 2**40": generator("MT19937", twister(pos=number(1 << 40))),
    "of position 1.5": generator("MT19937", twister(pos=real(1.5))),
    "of a short key": generator("MT19937", twister(key=of_numbers(np.ones(600, np.uint32)))),
    "of a key of floats": generator("MT19937", twister(key=of_numbers(np.ones(624)))),
    "of a key of objects": generator("MT19937", twister(key=objects(*[NONE] * 624))),
    "of a key that is a list": generator("MT19937", twister(key=listed(*[number(1)] * 624))),
    "of another name": generator("MT19937", twister(bit_generator=text("PCG64"))),
    "of a name that is no text": generator("MT19937", twister(bit_generator=number(1))),
    "of no state": generator("MT19937", b"}"),
    "of a state that is a list": generator("MT19937", b"]"),
    "of an inner state that is None": generator("MT19937", twister(state=NONE)),
    "of a seed that is none": generator("MT19937", many(twister(), made(RIDGE))),
    "of a third state": generator("MT19937", many(twister(), NONE, NONE)),
    "Philox of position 5": generator("Philox", philox(buffer_pos=number(5))),
    "Philox of position -1": generator("Philox", philox(buffer_pos=number(-1))),
    "Philox of a short buffer": generator(
        "Philox", philox(buffer=of_numbers(np.ones(3, np.uint64)))
    ),
    "Philox without a buffer": generator("Philox", philox(buffer=NONE)),
    "Philox of has_uint32 2**40": generator("Philox", philox(has_uint32=number(1 << 40))),
    "SFC64 of a short state": generator(
        "SFC64",
        mapped(
            bit_generator=text("SFC64"),
            state=mapped(state=of_numbers(np.ones(3, np.uint64))),
            has_uint32=number(0),
            uinteger=number(0),
        ),
    ),
    "PCG64 of a state that is an array": generator(
        "PCG64",
        mapped(bit_generator=text("PCG64"), state=mapped(state=_KEY, inc=number(1))),
    ),
    "PCG64 of a state of 2**200": generator(
        "PCG64",
        mapped(
            bit_generator=text("PCG64"),
            state=mapped(state=number(1 << 200), inc=number(1)),
            has_uint32=number(0),
            uinteger=number(0),
        ),
    ),
    "RandomState of position 625": generator("MT19937", twister(pos=number(625)), STATES),
    "RandomState of gauss as text": generator(
        "MT19937", twister(has_gauss=number(1), gauss=text("a")), STATES
    ),
    "RandomState of another kind": generator("PCG64", twister(), STATES),
    "seed of a short pool": seed(pool=of_numbers(np.ones(3, np.uint32))),
    "seed of a pool of another size": seed(size=number(400)),
    "seed of a pool of bytes": seed(pool=of_numbers(np.ones(4, np.uint8))),
    "seed of a pool that is a list": seed(pool=listed(*[number(1)] * 4)),
    "seed of a key of texts": seed(key=many(text("a"))),
    "seed of a key that is a list": seed(key=b"]"),
    "seed of entropy that is text": seed(entropy=text("a")),
    "seed of entropy of -1": seed(entropy=number(-1)),
    "seed of -1 children": seed(spawned=number(-1)),
    "seed without a state": call(SEED, SEQUENCE, number(65708578), NONE),
}
for _title, _code in GENERATORS.items():
    _may = HARMLESS if _title == "of a third state" else None  # NumPy takes the first
    CASES[f"a generator: {_title}"] = case(_code, may=_may)

# scikit-learn's compiled classes ------------------------------------------------------------------

_NODE = {
    "names": [
        *("left_child", "right_child", "feature", "threshold", "impurity", "n_node_samples"),
        *("weighted_n_node_samples", "missing_go_to_left"),
    ],
    "formats": ["<i8", "<i8", "<i8", "<f8", "<f8", "<i8", "<f8", "|u1"],
    "offsets": [*range(0, 64, 8)],
    "itemsize": 64,
    "aligned": False,
}
_NODES = json.dumps(_NODE)


def node(left=-1, right=-1, feature=-2):
    return struct.pack("<qqqddqdB7x", left, right, feature, 0.5, 0.0, 1, 1.0, 0)


_COUNTS = of_numbers(np.ones(1, np.intp))


def tree(*nodes, make=None, **changes):
    make = make or call(TREE, number(2), _COUNTS, number(1))
    state = {
        "max_depth": number(1),
        "node_count": number(len(nodes)),
        "nodes": array(_NODES, octets(b"".join(nodes)), len(nodes)),
        "values": of_numbers(np.zeros((len(nodes), 1, 1))),
    }
    return given(make, mapped(**(state | changes)))


_LEAF = node()
TREES = {
    "of a child past the end": tree(node(1, 9, 0), _LEAF, _LEAF),
    "of a child of 2**60": tree(node(1, 1 << 60, 0), _LEAF, _LEAF),
    "of a child of -7": tree(node(1, -7, 0), _LEAF, _LEAF),
    "of a left child of -2": tree(node(-2, 1, 0), _LEAF, _LEAF),
    "of a feature of 2": tree(node(1, 2, 2), _LEAF, _LEAF),
    "of a feature of -1": tree(node(1, 2, -1), _LEAF, _LEAF),
    "of a node that is its own child": tree(node(0, 0, 0)),
    "of nodes in a circle": tree(node(1, 2, 0), node(0, 2, 0), _LEAF),
    "of no nodes": tree(),
    "of more nodes than there are": tree(_LEAF, node_count=number(9)),
    "of fewer nodes than there are": tree(_LEAF, _LEAF, node_count=number(1)),
    "of -1 nodes": tree(_LEAF, node_count=number(-1)),
    "of a depth of -1": tree(_LEAF, max_depth=number(-1)),
    "of a depth of 2**40": tree(_LEAF, max_depth=number(1 << 40)),
    "of values of another shape": tree(_LEAF, values=of_numbers(np.zeros((1, 1, 2)))),
    "of values of another type": tree(_LEAF, values=of_numbers(np.zeros((1, 1, 1), "f4"))),
    "of values the other way round": tree(_LEAF, values=of_numbers(np.zeros((1, 1, 1), ">f8"))),
    "of values that are objects": tree(_LEAF, values=objects(NONE, shape=(1, 1, 1))),
    "of nodes that are numbers": tree(_LEAF, nodes=of_numbers(np.zeros(8))),
    "of nodes that are a list": tree(_LEAF, nodes=listed(NONE)),
    "of another member": tree(_LEAF, other=NONE),
    "of a state that is a tuple": given(call(TREE, number(2), _COUNTS, number(1)), many(NONE)),
    "of two states": given(tree(_LEAF), mapped(a=NONE)),
    "in a model of fewer features": made(DECISION, tree_=tree(_LEAF), n_features_in_=number(1)),
    "in a model of no features": made(DECISION, tree_=tree(_LEAF)),
}
for _title, _code in TREES.items():
    _may = HARMLESS if _title == "of values the other way round" else None  # they are turned
    CASES[f"a tree {_title}"] = case(_code, may=_may, use=lambda found: found.value.sum())

_FOREST_NAME = name("sklearn.ensemble._forest", "RandomForestRegressor")
_REGRESSOR = name("sklearn.tree._classes", "DecisionTreeRegressor")
_WIDE = tree(
    node(1, 2, 99_999_999),
    _LEAF,
    _LEAF,
    make=call(TREE, number(100_000_000), _COUNTS, number(1)),
)
_NARROW_X = np.zeros((1, 1), np.float32)
CASES |= {
    "a forest whose check of X is another function": case(
        made(
            _FOREST_NAME,
            estimators_=listed(
                made(
                    _REGRESSOR,
                    tree_=_WIDE,
                    n_features_in_=number(100_000_000),
                    n_outputs_=number(1),
                    _validate_X_predict=name("numpy", "asarray"),
                )
            ),
            n_features_in_=number(100_000_000),
            n_outputs_=number(1),
            n_jobs=NONE,
            verbose=number(0),
            estimator=new(_REGRESSOR),
            criterion=text("squared_error"),
            _validate_X_predict=name("numpy", "asarray"),
        ),
        use=lambda model: model.predict(_NARROW_X),
    ),
    "a forest that takes X as it is": case(
        made(
            _FOREST_NAME,
            estimators_=listed(
                made(
                    _REGRESSOR,
                    tree_=_WIDE,
                    n_features_in_=number(100_000_000),
                    n_outputs_=number(1),
                )
            ),
            n_features_in_=number(100_000_000),
            n_outputs_=number(1),
            n_jobs=NONE,
            verbose=number(0),
            estimator=new(_REGRESSOR),
            criterion=text("squared_error"),
            _validate_X_predict=name("numpy", "asarray"),
        ),
        use=lambda model: model.predict(_NARROW_X),
    ),
}


def metric(kind="EuclideanDistance64", power=None, vector=None, matrix=None):
    state = many(
        real(2.0) if power is None else power,
        of_numbers(np.zeros(1)) if vector is None else vector,
        of_numbers(np.zeros((1, 1))) if matrix is None else matrix,
    )
    return given(call(METRIC_NEW, name("sklearn.metrics._dist_metrics", kind)), state)


_NODE_DATA = json.dumps(
    {
        "names": ["idx_start", "idx_end", "is_leaf", "radius"],
        "formats": ["<i8", "<i8", "<i8", "<f8"],
        "offsets": [0, 8, 16, 24],
        "itemsize": 32,
        "aligned": False,
    }
)


def neighbors(**changes):
    whole = {
        "data": of_numbers(np.zeros((2, 2))),
        "index": of_numbers(np.array([0, 1])),
        "nodes": array(_NODE_DATA, octets(struct.pack("<qqqd", 0, 2, 1, 0.0)), 1),
        "bounds": of_numbers(np.zeros((2, 1, 2))),
        "leaf_size": number(40),
        "levels": number(1),
        "count": number(1),
        **dict.fromkeys(("trims", "leaves", "splits", "calls"), number(0)),
        "metric": metric(),
        "weights": NONE,
    }
    return given(call(KD_NEW, KD), many(*(whole | changes).values()))


NEIGHBORS_TREES = {
    "of an index past the end": neighbors(index=of_numbers(np.array([0, 9]))),
    "of an index of -1": neighbors(index=of_numbers(np.array([0, -1]))),
    "of too few indices": neighbors(index=of_numbers(np.array([0]))),
    "of indices that are floats": neighbors(index=of_numbers(np.zeros(2))),
    "of a node past the end": neighbors(
        nodes=array(_NODE_DATA, octets(struct.pack("<qqqd", 0, 99, 1, 0.0)), 1)
    ),
    "of a node before the start": neighbors(
        nodes=array(_NODE_DATA, octets(struct.pack("<qqqd", -9, 2, 1, 0.0)), 1)
    ),
    "of a leaf that is none": neighbors(
        nodes=array(_NODE_DATA, octets(struct.pack("<qqqd", 0, 2, 0, 0.0)), 1)
    ),
    "of more nodes": neighbors(count=number(3)),
    "of 2**50 levels": neighbors(levels=number(1 << 50)),
    "of leaves of 0": neighbors(leaf_size=number(0)),
    "of other bounds": neighbors(bounds=of_numbers(np.zeros((1, 1, 2)))),
    "of fewer bounds": neighbors(bounds=of_numbers(np.zeros((2, 1, 1)))),
    "of weights of another length": neighbors(weights=of_numbers(np.zeros(1))),
    "of objects": neighbors(data=objects(*[NONE] * 4, shape=(2, 2))),
    "of floats of 4 bytes": neighbors(data=of_numbers(np.zeros((2, 2), "f4"))),
    "of floats the other way round": neighbors(data=of_numbers(np.zeros((2, 2), ">f8"))),
    "of no data": neighbors(data=of_numbers(np.zeros((0, 2)))),
    "of a metric that is none": neighbors(metric=made(RIDGE)),
    "of a metric that is a function": neighbors(metric=SORTED),
    "of a metric without a state": neighbors(metric=call(METRIC_NEW, EUCLIDEAN)),
    "of a metric of other features": neighbors(metric=metric("SEuclideanDistance64")),
    "of a matrix of other features": neighbors(metric=metric("MahalanobisDistance64")),
    "of a metric of 4 bytes": neighbors(metric=metric("EuclideanDistance32")),
    "of a state too short": given(call(KD_NEW, KD), many(NONE)),
    "of a state that is a dict": given(call(KD_NEW, KD), mapped(a=NONE)),
}
for _title, _code in NEIGHBORS_TREES.items():
    _may = HARMLESS if _title == "of floats the other way round" else None  # they are turned
    CASES[f"a k-d tree {_title}"] = case(_code, may=_may, use=lambda found: found.query([[0, 0]]))
METRICS = {
    "of a power that is text": metric(power=text("a")),
    "of weights that are objects": metric(vector=objects(NONE)),
    "of weights that are a list": metric(vector=listed(NONE)),
    "of weights that are a namespace": metric(vector=WILD),
    "of a flat matrix": metric(matrix=of_numbers(np.zeros(1))),
    "of a matrix that is not square": metric(
        "MahalanobisDistance64", matrix=of_numbers(np.zeros((1, 2)))
    ),
    "of a state of four": given(call(METRIC_NEW, EUCLIDEAN), many(*[NONE] * 4)),
    "of a function": given(call(METRIC_NEW, EUCLIDEAN), many(SORTED, NONE, NONE)),
}
for _title, _code in METRICS.items():
    CASES[f"a metric {_title}"] = case(_code)

# What the forgeries above are made from is sound ------------------------------------------------

for _title, _code in {
    "a tree": tree(node(1, 2, 0), _LEAF, _LEAF),
    "a k-d tree": neighbors(),
    "a metric": metric(),
    "an array": of_numbers(np.ones(3)),
    "an array of objects": objects(NONE, number(1)),
    "a partial": bound(SORTED, number(1), key=NONE),
    "a namespace": forging(a=NONE),
    "a generator": generator("MT19937", twister()),
    "a Philox": generator("Philox", philox()),
    "a RandomState": generator("MT19937", twister(), STATES),
    "a seed": seed(),
    "a loss": call(LOSS, HUBER, number(0), many(real(1))),
    "a model": made(RIDGE, alpha=real(1)),
    "a kernel": made(RBF, length_scale=real(1)),
    "a namedtuple": new(HYPER, *[NONE] * 5),
    "a Counter": call(COUNTER, mapped(a=number(1))),
    "a method": call(GETATTR, STR, text("lower")),
    "a scalar": pid(pair(text("<f8"), octets(bytes(8)))),
    "a dtype": pid(text(_struct())),
}.items():
    CASES[f"sound: {_title}"] = case(_code, may=SOUND)
for _title, _unit in {"of no unit": "<M8[0s]", "of a span of no unit": "<m8[0s]"}.items():
    CASES[f"a date {_title}"] = case(
        pid(pair(text(_unit), octets(b"\x01" + bytes(7)))),
        use=lambda found: (repr(found), np.asarray(found).astype(f"{found.dtype.kind}8[s]")),
    )
