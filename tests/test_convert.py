"""Files of pickle, joblib, cloudpickle, dill and skops become model directories, and back.

What is expected comes from the library that wrote the file: its own reader, or, for releases that
are gone, what the model predicted there (tests/foreign/models.py).
"""

import bz2
import copyreg
import errno
import gzip
import io
import lzma
import os
import pickle
import pickletools
import re
import struct
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path

import cloudpickle
import dill
import joblib
import numpy as np
import pytest
import skops.io
import zstandard
from estimators import LABELS, X
from graphs import assert_same
from sklearn.base import BaseEstimator
from sklearn.ensemble import (
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import ExtraTreeRegressor
from sklearn.tree._tree import Tree

import shardpickle
from shardpickle.cli import main
from shardpickle.io import convert, foreign
from shardpickle.trust.names import Callers

HERE = Path(__file__).parent
FOLDERS = [HERE / "foreign" / "sk102"]
# More of them, made by the same script under other releases: `.ci/run` does.
FOLDERS += (
    sorted(Path(os.environ["SHARDPICKLE_FOREIGN"]).iterdir())
    if ("SHARDPICKLE_FOREIGN" in os.environ)
    else []
)
FILES = [
    pytest.param(path, id=f"{path.parent.name}-{path.name}")
    for folder in FOLDERS
    for path in sorted(folder.iterdir())
    if path.suffix != ".npz"
]


def read(path, trusted=(), unsafe=False):
    return convert.read(Path(path), Callers(trusted), unsafe)


# Older releases -----------------------------------------------------------------------------------


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("path", FILES)
def test_models_of_older_releases_predict_as_they_did_there(path, tmp_path):
    expected = np.load(path.parent / "expected.npz")
    name = path.name.partition(".")[0]
    if name == "ada" and path.parent.name < "sk130":
        with pytest.raises(shardpickle.RebuildError, match="would predict something else"):
            shardpickle.convert(path, tmp_path / "model")
        assert not (tmp_path / "model").exists()
        return
    shardpickle.convert(path, tmp_path / "model")
    model = shardpickle.load(tmp_path / "model")
    if name == "table":
        assert model["again"] is model["model"]
        assert (model["score"], list(model["names"])) == (0.5, ["a", "b"])
        model = model["model"]
    gaps = name.startswith(("hist", "imputer", "columns"))
    rows = expected["gaps" if gaps else "X"][:40]
    methods = [key.partition("/")[2] for key in expected.files if key.startswith(f"{name}/")]
    assert methods
    for method in methods:
        wanted = expected[f"{name}/{method}"]
        found = getattr(model, method)(rows)
        if isinstance(found, list):
            found = np.concatenate(found, axis=1)
        found = found.toarray() if hasattr(found, "toarray") else np.asarray(found)
        assert found.shape == wanted.shape
        if wanted.dtype.kind != "f":
            assert (found == wanted).all(), method
            continue
        if method == "decision_function" and name in ("boosting-classes", "imputer-boosting"):
            # Since 1.4 the sum over classes is 0: a constant that no probability depends on.
            wanted = wanted - (wanted - found).mean(axis=1, keepdims=True)
        # The library's sums are not those of then, to the last bit.
        np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-13, err_msg=method)


def test_a_model_of_an_older_release_is_one_of_the_present_afterwards(tmp_path):
    shardpickle.convert(HERE / "foreign" / "sk102" / "forest-classifier.pkl", tmp_path / "model")
    forest = shardpickle.load(tmp_path / "model")
    shares = forest.estimators_[0].tree_.value.sum(axis=2)
    np.testing.assert_allclose(shares, 1.0, rtol=1e-12)
    forest.set_params(n_estimators=6, warm_start=True)
    rows = np.load(HERE / "foreign" / "sk102" / "expected.npz")["X"]
    assert len(forest.fit(rows, forest.predict(rows)).estimators_) == 6


# Dialects -----------------------------------------------------------------------------------------


def models():
    forest = RandomForestClassifier(4, max_depth=4, random_state=np.random.RandomState(0))
    yield "forest", forest.fit(X, LABELS)
    yield "boosting", GradientBoostingRegressor(n_estimators=4).fit(X, X[:, 0])
    yield "histograms", HistGradientBoostingClassifier(max_iter=3).fit(X, LABELS)
    texts = ["a cat", "the dog ran", "no cat, no dog"] * 5
    yield "texts", make_pipeline(TfidfVectorizer(), KNeighborsClassifier(1)).fit(texts, range(15))
    yield "neighbors", KNeighborsClassifier(3, algorithm="kd_tree").fit(X, LABELS)
    grid = {"max_depth": [2, None]}
    yield (
        "search",
        GridSearchCV(RandomForestClassifier(2, random_state=0), grid, cv=2).fit(X, LABELS),
    )
    yield "values", values()


def values():
    """What plain pickles carry in other ways than our skeletons do."""
    whole = np.arange(24, dtype="<i4").reshape(2, 3, 4)
    record = np.zeros(3, np.dtype([("a", "<f8"), ("b", "u1"), ("c", "S3")], align=True))
    same = np.arange(5.0)
    return {
        "numbers": [
            0,
            1,
            255,
            256,
            65536,
            -1,
            2**31,
            2**63,
            -(2**200),
            0.5,
            -0.0,
            1e300,
            True,
            None,
        ],
        "texts": ["", "a\nb", "\\u00e9", "é", "\U0001f333", "x" * 300, "\ud800"],
        "bytes": [b"", b"\x00\xff", b"y" * 300, bytearray(b"z" * 300), bytearray()],
        "sets": [set(), {1, "a"}, frozenset(), frozenset({(1, 2)})],
        "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
        "arrays": [whole, whole.T, np.asfortranarray(whole[0]), np.zeros((0, 3)), np.float32(1.5)],
        "more": [record, record[0:0], np.array(["ab", "c"]), np.array([b"ab"]), np.array(3)],
        "times": [np.array(["2020-01-01", "NaT"], "M8[D]"), np.array([1], "m8[10us]")],
        "objects": np.array([None, "a", 1.5, np.arange(3)], dtype=object),
        "swapped": np.arange(300, dtype=">i4"),
        "shared": [same, same],
        "large": np.arange(5000.0),
        "scalars": [
            np.float64(0.1),
            np.int64(3),
            np.bool_(True),
            np.str_("x"),
            np.datetime64(1, "s"),
        ],
        "masked": np.ma.array([1.0, 2.0], mask=[True, False]),
        "complex": 1 + 2j,
        "ranges": [range(3), slice(1, None)],
        "random": [np.random.RandomState(3), np.random.default_rng(3)],
    }


MODELS = dict(models())


def fast(model):
    """Without a memo: what is shared is written twice."""
    stream = io.BytesIO()
    pickler = pickle.Pickler(stream, 4)
    pickler.fast = True
    pickler.dump(model)
    return stream.getvalue()


def by_joblib(model, compress=0, protocol=None):
    stream = io.BytesIO()
    joblib.dump(model, stream, compress=compress, protocol=protocol)
    return stream.getvalue()


DIALECTS = {
    **{f"pickle-{n}": lambda model, n=n: pickle.dumps(model, n) for n in range(6)},
    "optimized": lambda model: pickletools.optimize(pickle.dumps(model, 4)),
    "article": lambda model: gzip.compress(pickletools.optimize(pickle.dumps(model, 5))),
    "fast": fast,
    "cloudpickle": cloudpickle.dumps,
    "dill": dill.dumps,
    "bz2": lambda model: bz2.compress(pickle.dumps(model)),
    "xz": lambda model: lzma.compress(pickle.dumps(model)),
    "zstd": lambda model: zstandard.compress(pickle.dumps(model)),
    "joblib": by_joblib,
    "joblib-2": lambda model: by_joblib(model, protocol=2),
    "joblib-5": lambda model: by_joblib(model, protocol=5),
    **{
        f"joblib-{kind}": lambda model, kind=kind: by_joblib(model, (kind, 3))
        for kind in ("zlib", "gzip", "bz2", "xz", "lzma")
    },
}


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", MODELS)
def test_each_dialect_gives_what_its_own_reader_gives(name, dialect, tmp_path):
    model = MODELS[name]
    if dialect == "fast" and name == "values":  # what its own reader would not share either
        model = {key: model[key] for key in ("numbers", "texts", "tuples", "arrays")}
    if "joblib" in dialect and name == "values":  # it swaps bytes; here they are as in the file
        model = {key: each for key, each in model.items() if key != "swapped"}
    content = DIALECTS[dialect](model)
    path = tmp_path / "model.pkl"
    path.write_bytes(content)
    theirs = joblib.load(path) if dialect.startswith("joblib") else pickle.loads(_plain(content))
    assert_same(read(path), theirs)
    assert_same(read(path, unsafe=True), theirs)


def _plain(content):
    for opener in (gzip.decompress, bz2.decompress, lzma.decompress, zstandard.decompress):
        try:
            return opener(content)
        except (OSError, lzma.LZMAError, zstandard.ZstdError):
            continue
    return content


def test_what_is_never_fetched_again_is_not_kept(tmp_path):
    arrays = [np.arange(2000.0) + number for number in range(50)]
    surveyed = foreign.survey(pickle.dumps(arrays, 4))
    written = sum(
        code.name == "MEMOIZE" for code, _, _ in pickletools.genops(pickle.dumps(arrays, 4))
    )
    assert written > 100
    assert len(surveyed.fetched) < 10


def test_skops_files(tmp_path):
    forest = MODELS["forest"]
    skops.io.dump(forest, tmp_path / "model.skops")
    shardpickle.convert(tmp_path / "model.skops", tmp_path / "model")
    found = shardpickle.load(tmp_path / "model")
    assert found.predict_proba(X).tobytes() == forest.predict_proba(X).tobytes()


def test_skops_files_with_classes_of_others_name_them(tmp_path):
    skops.io.dump(Own(), tmp_path / "model.skops")
    with pytest.raises(shardpickle.UntrustedTypeError, match="Own"):
        shardpickle.convert(tmp_path / "model.skops", tmp_path / "model")
    shardpickle.convert(tmp_path / "model.skops", tmp_path / "model", trusted=[Own])
    assert shardpickle.load(tmp_path / "model", trusted=[Own]).kept == 3


# Trust --------------------------------------------------------------------------------------------


class Own(BaseEstimator):
    def __init__(self, kept=3):
        self.kept = kept


class Touches:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("dialect", ["pickle-0", "pickle-2", "pickle-5", "joblib", "cloudpickle"])
def test_nothing_that_a_file_names_is_run(dialect, tmp_path, capsys):
    path = tmp_path / "model.pkl"
    path.write_bytes(DIALECTS[dialect]([MODELS["forest"], Touches(tmp_path / "ran")]))
    with pytest.raises(shardpickle.UntrustedTypeError) as caught:
        shardpickle.convert(path, tmp_path / "model")
    assert set(caught.value.names) <= {
        "pathlib.Path.touch",
        "pathlib.Path",
        "pathlib.PosixPath.touch",
    }
    assert "shardpickle.convert(" in str(caught.value)
    assert main(["convert", str(path), str(tmp_path / "model")]) == 2
    told = capsys.readouterr().err
    assert "--trusted" in told
    assert "--unsafe" in told
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "model").exists()
    assert main(["convert", str(path), str(tmp_path / "model"), "--unsafe"]) == 0
    assert (tmp_path / "ran").exists()


def test_names_that_are_trusted_by_the_caller(tmp_path):
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(make_pipeline(StandardScaler(), Own(7)), 2))
    name = f"{__name__}.Own"
    with pytest.raises(shardpickle.UntrustedTypeError, match=name):
        shardpickle.convert(path, tmp_path / "model")
    shardpickle.convert(path, tmp_path / "model", trusted=[name])
    assert shardpickle.load(tmp_path / "model", trusted=[name])[-1].kept == 7


def test_where_unsafe_is_forbidden(tmp_path, monkeypatch):
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps([1]))
    monkeypatch.setenv("SHARDPICKLE_FORBID_UNSAFE", "1")
    with pytest.raises(shardpickle.UnsafeForbiddenError):
        shardpickle.convert(path, tmp_path / "model", unsafe=True)
    shardpickle.convert(path, tmp_path / "model")


# Files that lie -----------------------------------------------------------------------------------


def wrapped(**changes):
    """A joblib file of one array whose wrapper says something else."""
    from joblib.numpy_pickle import NumpyArrayWrapper

    state = {
        "subclass": np.ndarray,
        "shape": (100,),
        "order": "C",
        "dtype": np.dtype("f8"),
        "allow_mmap": True,
        "numpy_array_alignment_bytes": None,
    }
    wrapper = NumpyArrayWrapper.__new__(NumpyArrayWrapper)
    wrapper.__dict__.update(state | changes)
    return pickle.dumps(wrapper, 4)[:-1] + bytes(800) + b"."


PROTO = b"\x80\x04"
LIES = {
    "no pickle": b"name,age\nx,3\n",
    "cut off": pickle.dumps(MODELS["forest"])[:-100],
    "nothing but a start": PROTO,
    "two pickles": pickle.dumps([1]) + pickle.dumps([2]),
    "a later protocol": b"\x80\x06N.",
    "a pickle of Python 2": b"(S'a'\np0\nl.",
    "an extension": PROTO + b"\x82\x01.",
    "an object elsewhere": PROTO + b"K\x01Q.",
    "a buffer elsewhere": b"\x80\x05\x97.",
    "a memo entry that there is not": PROTO + b"h\x07.",
    "two objects": PROTO + b"NN.",
    "no object": PROTO + b".",
    "a mark left": PROTO + b"(N.",
    "text longer than the file": PROTO + b"X\xff\xff\xff\x7fabc.",
    "bytes longer than any file": PROTO + b"\x8e" + struct.pack("<Q", 2**62) + b".",
    "a list's items for a dict": PROTO + b"}N" + b"a.",
    "a name that is a number": PROTO + b"K\x01K\x02\x93.",
    "an array's state for a list": PROTO + b"]}\x8c\x01aK\x01sb.",
    "a larger array": wrapped(shape=(101,)),
    "an array of other sizes": wrapped(shape=(-100,)),
    "an array of very many items": wrapped(shape=(2**39, 2**39)),
    "an array of no shape": wrapped(shape="x"),
    "an array of no dtype": wrapped(dtype="f8"),
    "an array of objects that are not there": wrapped(dtype=np.dtype("O")),
    "an array of another order": wrapped(order="K"),
    "an array with more attributes": wrapped(read=1),
    "padding past the end": wrapped(numpy_array_alignment_bytes=16, shape=(10**6,)),
    "gzip cut off": gzip.compress(pickle.dumps(values()))[:-20],
    "zlib cut off": zlib.compress(pickle.dumps(values()))[:-20],
    "xz cut off": lzma.compress(pickle.dumps(values()))[:-20],
    "zstd of nothing": zstandard.compress(b""),
    "a zip": b"PK\x03\x04" + bytes(100),
    "joblib of old": b"ZF0x10" + bytes(100),
    "nothing": b"",
    "deep": PROTO + b"]" * 5 + b"(" * 100_000 + b".",
}


@pytest.mark.parametrize("unsafe", [False, True])
@pytest.mark.parametrize("lie", LIES)
def test_files_that_lie_are_refused(lie, unsafe, tmp_path):
    path = tmp_path / "model.pkl"
    path.write_bytes(LIES[lie])
    with pytest.raises(
        (shardpickle.ForeignFileError, shardpickle.RebuildError), match=r"model\.pkl"
    ):
        shardpickle.convert(path, tmp_path / "model", unsafe=unsafe)
    assert not (tmp_path / "model").exists()


# What is no pickle --------------------------------------------------------------------------------


def zipped(*names):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for name in names:
            file.writestr(name, "x" * 50)
    return stream.getvalue()


def saved(save, *values):
    stream = io.BytesIO()
    save(stream, *values)
    return stream.getvalue()


def named(module, name, version=None):
    """A pickle of Python 3 that makes an instance of a class, in whatever release."""
    state = {"_sklearn_version": version} if version else {}
    body = pickle.dumps(state, 2)[2:-1]
    return b"\x80\x03c" + f"{module}\n{name}\n".encode() + b")\x81" + body + b"b."


FOREST = pickle.dumps(MODELS["forest"])
PAGE = b"\n<!DOCTYPE html>\n<html><body>Sign in</body></html>"
S3 = b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchKey</Code></Error>'
# What it is called and what to do, for `load` and the commands as for `convert`.
SURELY = {
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n", "git lfs pull"),
    "page": (PAGE, "web page .HTML.*[Dd]ownload it again"),
    "small page": (b"<html lang='en'>", "HTML"),
    "page after a comment": (b"<!-- 403 --><html></html>", "HTML"),
    "s3": (S3, "NoSuchKey.*[Dd]ownload it again"),
    "pmml": (b'<?xml version="1.0"?><PMML version="4.4"></PMML>', "PMML"),
    "xml": (b"<model/>", "XML"),
    "json": (b'{"learner": {}}', "JSON"),
    "json list": (b"[\n  1, 2]", "JSON"),
    "json of windows": (b'\xef\xbb\xbf{"a": 1}', "JSON"),
    "ubj": (b"{L\x00\x00\x00\x00\x00\x00\x00\x07learner{L", "XGBoost"),
    "npy": (saved(np.save, X), "NumPy.*numpy.load"),
    "npz": (saved(np.savez, X), "NumPy.*numpy.load"),
    "torch": (zipped("archive/data.pkl", "archive/version"), "PyTorch"),
    "old torch": (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.", "PyTorch"),
    "keras": (zipped("metadata.json", "config.json", "model.weights.h5"), "Keras"),
    "excel": (zipped("[Content_Types].xml", "xl/workbook.xml"), "Excel.*pandas"),
    "empty zip": (zipped(), "empty zip"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(50), "HDF5"),
    "parquet": (b"PAR1" + bytes(50), "Parquet.*pandas"),
    "arrow": (b"ARROW1" + bytes(50), "Arrow"),
    "onnx": (b"\x08\x07\x12\x07pytorch\x1a\x051.9.0:\xd2", "ONNX"),
    "onnx of skl2onnx": (b"\x08\x08\x12\x08skl2onnx", "ONNX"),
    "lightgbm": (b"tree\nversion=v3\nnum_class=1\n", "LightGBM"),
    "catboost": (b"CBM1" + bytes(20), "CatBoost"),
    "csv": (b"a,b\n1,2\n", "text.*pandas"),
    "csv with a start like a string's": (b"X1,X2,y\n1,2,3\n", "text"),
    "csv with a start like a string's of Python 2": (b"Time,Sum\n1,2\n", "text"),
    "csv with a start like a name's": (b"class\npositive\npositive\n", "text"),
    "csv of numbers": (b"0,1\n2,3\n", "text"),
    "csv of another encoding": ("Größe;naïve\n1;2\n".encode("cp1252"), "text"),
    "csv of Excel": ("a,b\n".encode("utf-16"), "text"),
    "not found": (b"404: Not Found", "text.*[Dd]ownload it again"),
    "empty": (b"", "empty file"),
}


@pytest.mark.parametrize("name", SURELY)
def test_what_is_no_pickle_is_called_by_its_name(name, tmp_path, capsys):
    content, words = SURELY[name]
    path = tmp_path / "model.file"
    path.write_bytes(content)
    target = tmp_path / "model"
    for unsafe in (False, True):
        with pytest.raises(
            shardpickle.ForeignFileError, match=rf"model\.file is .*{words}"
        ) as told:
            shardpickle.convert(path, target, unsafe=unsafe)
        assert "not a pickle" in str(told.value)
    assert main(["convert", str(path), str(target)]) == 2
    assert re.search(words, capsys.readouterr().err)
    if name != "excel":  # of a zip file's names, `load` sees the first
        words = words.partition(".*")[0]
    for function in (shardpickle.load, shardpickle.inspect, shardpickle.verify):
        with pytest.raises(shardpickle.NotAModelError, match=rf"model\.file is .*{words}"):
            function(path)
    assert not target.exists()


COMPRESSED = {
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "zlib": zlib.compress,
    "zstd": zstandard.compress,
    "zstd of unknown size": lambda data: zstandard.ZstdCompressor(
        write_content_size=False
    ).compress(data),
}


@pytest.mark.parametrize("kind", COMPRESSED)
def test_compressed_files_that_are_cut_off_or_damaged(kind, tmp_path):
    path, whole = tmp_path / "model.z", COMPRESSED[kind](FOREST)
    path.write_bytes(whole)
    assert_same(read(path), pickle.loads(FOREST))
    for left in (len(whole) - 1, len(whole) // 2, 20):
        path.write_bytes(whole[:left])
        with pytest.raises(
            shardpickle.ForeignFileError, match=rf"model\.z is cut off after {left} bytes"
        ):
            read(path)
    path.write_bytes(whole[:30] + b"\xff" * 400 + whole[430:])
    with pytest.raises(shardpickle.ForeignFileError, match=r"model\.z is (damaged|cut off)"):
        read(path)
    path.write_bytes(COMPRESSED[kind](FOREST[:1000]))
    with pytest.raises(shardpickle.ForeignFileError, match=r"model\.z is cut off after 1000 bytes"):
        read(path)
    path.write_bytes(COMPRESSED[kind](PAGE))
    with pytest.raises(shardpickle.ForeignFileError, match=r"HTML.*compressed with"):
        read(path)
    path.write_bytes(COMPRESSED[kind](gzip.compress(FOREST)))
    with pytest.raises(shardpickle.ForeignFileError, match="compressed twice"):
        read(path)


def test_several_frames_of_zstd_are_one_file(tmp_path):
    halves = FOREST[:1000], FOREST[1000:]
    (tmp_path / "m.zst").write_bytes(b"".join(map(zstandard.compress, halves)))
    assert_same(read(tmp_path / "m.zst"), pickle.loads(FOREST))


@pytest.mark.parametrize("dialect", ["pickle-0", "pickle-2", "pickle-5", "joblib", "cloudpickle"])
def test_pickles_that_are_cut_off(dialect, tmp_path):
    content = DIALECTS[dialect](MODELS["forest"])
    path = tmp_path / "model.pkl"
    for left in (3, 40, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:left])
        with pytest.raises(shardpickle.ForeignFileError, match=r"model\.pkl") as told:
            read(path)
        if left > 3 or content[:1] == b"\x80":
            assert f"cut off after {left} bytes" in str(told.value)
        assert "Error(" not in str(told.value)


def test_a_pickle_that_is_damaged(tmp_path):
    path = tmp_path / "model.pkl"
    path.write_bytes(FOREST[:500] + b"\xff" * 20 + FOREST[520:])
    with pytest.raises(shardpickle.ForeignFileError, match=r"model\.pkl is damaged") as told:
        read(path)
    assert "Error(" not in str(told.value)


PYTHON_2 = {
    "protocol 0": b"(dp0\nS'a'\np1\nI1\ns.",
    "protocol 2": b"\x80\x02}q\x00U\x01aq\x01K\x01s.",
    "of an old class": b"(i__main__\nFoo\np0\n(dp1\nb.",
    "a model": b"\x80\x02csklearn.svm.classes\nSVC\n)\x81}U\x01CK\x01sb.",
}


@pytest.mark.parametrize("unsafe", [False, True])
@pytest.mark.parametrize("name", PYTHON_2)
def test_pickles_of_python_2_are_called_so(name, unsafe, tmp_path):
    (tmp_path / "m.pkl").write_bytes(PYTHON_2[name])
    with pytest.raises(shardpickle.ForeignFileError, match=r"m\.pkl was pickled by Python 2"):
        read(tmp_path / "m.pkl", unsafe=unsafe)


OLD = {
    "forest": named("sklearn.ensemble.forest", "RandomForestClassifier", "0.20.3"),
    "without a version": named("sklearn.ensemble.forest", "RandomForestClassifier"),
    "svm": named("sklearn.svm.classes", "SVC"),
    "linear": named("sklearn.linear_model.logistic", "LogisticRegression"),
    "imputer": named("sklearn.preprocessing.imputation", "Imputer"),
    "search": named("sklearn.grid_search", "GridSearchCV"),
    "joblib": named("sklearn.externals.joblib.numpy_pickle", "NDArrayWrapper"),
    "by today's name": named("sklearn.linear_model._logistic", "LogisticRegression", "0.24.2"),
    "joblib's array": by_joblib({"a": np.arange(3.0)}, protocol=2).replace(
        b"cjoblib.", b"csklearn.externals.joblib."
    ),
}


@pytest.mark.parametrize("unsafe", [False, True])
@pytest.mark.parametrize("name", OLD)
def test_models_from_before_scikit_learn_1_are_called_so(name, unsafe, tmp_path):
    (tmp_path / "m.pkl").write_bytes(OLD[name])
    words = r"m\.pkl was written by scikit-learn before 1\.0 .*pip install"
    with pytest.raises(shardpickle.ForeignFileError, match=words):
        read(tmp_path / "m.pkl", unsafe=unsafe)


def test_a_module_of_a_later_release_is_called_so(tmp_path, monkeypatch):
    (tmp_path / "m.pkl").write_bytes(named("sklearn.conftest.later", "Thing", "7.1.0"))
    with pytest.raises(shardpickle.ForeignFileError, match=r"scikit-learn 7\.1\.0"):
        read(tmp_path / "m.pkl")
    assert "sklearn.conftest" not in sys.modules  # looked for, never imported


# Disks that refuse --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", COMPRESSED)
def test_no_room_to_unpack(kind, tmp_path, monkeypatch):
    path = tmp_path / "model.z"
    path.write_bytes(COMPRESSED[kind](FOREST))
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: open("/dev/full", "wb+", 100))  # noqa: SIM115
    with pytest.raises(shardpickle.StorageError, match=r"TMPDIR.*model\.z") as told:
        shardpickle.convert(path, tmp_path / "model")
    assert told.value.errno == errno.ENOSPC
    assert not (tmp_path / "model").exists()


def test_no_folder_for_temporary_files(tmp_path, monkeypatch):
    def nowhere():
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    path = tmp_path / "model.z"
    path.write_bytes(zlib.compress(FOREST))
    monkeypatch.setattr(tempfile, "TemporaryFile", nowhere)
    with pytest.raises(shardpickle.StorageError, match=r"TMPDIR.*model\.z"):
        shardpickle.convert(path, tmp_path / "model")


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EACCES, shardpickle.StoragePermissionError),
        (errno.EIO, shardpickle.StorageError),
    ],
)
def test_a_file_that_cannot_be_read(number, kind, tmp_path, monkeypatch):
    def refuse(path, mode):
        raise OSError(number, os.strerror(number), str(path))

    (tmp_path / "model.pkl").write_bytes(FOREST)
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(kind, match=r"model\.pkl"):
        shardpickle.convert(tmp_path / "model.pkl", tmp_path / "model")


def test_other_zip_files_are_not_skops_files(tmp_path):
    np.savez(tmp_path / "rows.npz", X=X)
    with pytest.raises(shardpickle.ForeignFileError, match="skops did not write"):
        shardpickle.convert(tmp_path / "rows.npz", tmp_path / "model")


def test_names_of_joblib_0_9_are_told_apart(tmp_path):
    path = tmp_path / "model.pkl"
    path.write_bytes(b"\x80\x02cjoblib.numpy_pickle\nNDArrayWrapper\n)\x81.")
    with pytest.raises(shardpickle.ForeignFileError, match=r"joblib 0\.9"):
        shardpickle.convert(path, tmp_path / "model")


def test_arrays_inside_of_arrays_end(tmp_path):
    """Each array of objects holds a pickle that holds the next."""
    start = wrapped(dtype=np.dtype("O"))[:-801]
    path = tmp_path / "model.joblib"
    path.write_bytes(start * 2000 + pickle.dumps(1) + b"." * 2000)
    with pytest.raises(shardpickle.ForeignFileError, match="RecursionError"):
        read(path)


def test_a_tree_that_would_crash_is_refused(tmp_path):
    forest = RandomForestClassifier(2, max_depth=3, random_state=0).fit(X, LABELS)
    held = forest.estimators_[0].tree_.__getstate__()
    held["nodes"]["left_child"][0] = 2**40  # the tree's own memory
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(forest))
    with pytest.raises(shardpickle.ForeignFileError, match="out of range"):
        shardpickle.convert(path, tmp_path / "model")


class Made:
    """Pickles as a call, with a state that may hold it."""

    def __init__(self, function, args):
        self.call, self.state = (function, args), None

    def __reduce__(self):
        return (*self.call, self.state)


def test_a_dtype_that_changes_under_its_array_is_refused(tmp_path):
    """An array of one item of 8 bytes, whose dtype is given 4096 when the array has it."""
    dtype = Made(np.dtype, ("V8", False, True))
    array = Made(np.zeros(0).__reduce__()[0], (np.ndarray, (0,), b"b"))
    array.state = (1, (1,), dtype, False, bytes(8))
    fields = {"a": (np.dtype("V4096"), 0), "unasked": array}
    dtype.state = (3, "|", None, ("a",), fields, 4096, 1, 16)
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps([dtype, array]))
    with pytest.raises(shardpickle.ForeignFileError, match="dtype"):
        read(path)


def test_an_older_forest_without_nodes_is_refused(tmp_path):
    """Its depths would be computed from memory that is not the tree's."""

    class Bare:
        def __reduce__(self):
            return Tree, (2, np.array([1]), 1)

    state = {"estimators_": [Holds(Bare())], "_sklearn_version": "1.2.2"}
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(Stated(IsolationForest, state)))
    with pytest.raises(shardpickle.RebuildError, match="not trees"):
        read(path)


class Stated:
    """Pickles as an instance of a class, with a state."""

    def __init__(self, kind, state):
        self.kind, self.state = kind, state

    def __reduce__(self):
        return copyreg._reconstructor, (self.kind, object, None), self.state


def Holds(tree):  # noqa: N802  # makes an estimator
    return Stated(ExtraTreeRegressor, {"tree_": tree, "_sklearn_version": "1.2.2"})


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(shardpickle.ModelNotFoundError, match=r"model\.pkl"):
        shardpickle.convert(tmp_path / "model.pkl", tmp_path / "model")
    with pytest.raises(shardpickle.ForeignFileError, match="directory"):
        shardpickle.convert(tmp_path, tmp_path / "model")


def test_load_of_a_foreign_file_names_the_command(tmp_path):
    joblib.dump([1], tmp_path / "model.joblib")
    with pytest.raises(shardpickle.NotAModelError, match="shardpickle convert"):
        shardpickle.load(tmp_path / "model.joblib")


# Back ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "opened"),
    [
        ("m.joblib", joblib.load),
        ("m.pkl", lambda path: pickle.loads(path.read_bytes())),
        ("m.pkl.gz", lambda path: pickle.loads(gzip.decompress(path.read_bytes()))),
    ],
)
def test_export(name, opened, tmp_path):
    forest = MODELS["forest"]
    shardpickle.dump(forest, tmp_path / "model")
    (tmp_path / name).write_bytes(b"an older file")
    assert main(["export", str(tmp_path / "model"), str(tmp_path / name)]) == 0
    assert_same(opened(tmp_path / name), pickle.loads(pickle.dumps(forest)))
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted(["model", name])


def test_export_to_something_else(tmp_path, capsys):
    shardpickle.dump([1], tmp_path / "model")
    assert main(["export", str(tmp_path / "model"), str(tmp_path / "m.onnx")]) == 2
    assert ".joblib" in capsys.readouterr().err
    with pytest.raises(ValueError, match="0 to 9"):
        shardpickle.export(tmp_path / "model", tmp_path / "m.pkl", compress=12)


def test_a_failed_export_leaves_the_older_file(tmp_path):
    shardpickle.dump(Own(), tmp_path / "model")
    (tmp_path / "m.pkl").write_bytes(b"an older file")
    with pytest.raises(shardpickle.UntrustedTypeError):
        shardpickle.export(tmp_path / "model", tmp_path / "m.pkl")
    assert (tmp_path / "m.pkl").read_bytes() == b"an older file"
