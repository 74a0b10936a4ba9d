"""Directories that contradict themselves, with sound digests: one of our errors, and soon.

They are written here by hand, not with the library's writer.
"""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

import shardpickle

sys.path.insert(0, str(Path(__file__).parent / "hostile"))
from forge import (  # it stands beside the cases that run without pytest
    DAG,
    EMPTY,
    TEXT,
    TREE,
    U1,
    U1_3D,
    VALUE,
    directory,
    nested,
    plain,
    run,
    shard,
    stump,
    tree,
    write,
)

CASES = {
    "a tree without columns": lambda p: tree(p, [b""] * 31),
    "a tree with too few columns": lambda p: tree(p, stump()[:-1]),
    "a tree that does not close": lambda p: tree(p, stump(leaf=b"\x00")),
    "a tree of unknown rules": lambda p: tree(p, stump(rules=1 << 20)),
    "a tree of rules that exclude each other": lambda p: tree(
        p, stump(rules=4 + 8 + 32 + 64 + 4096)
    ),
    "a tree with a stream too many": lambda p: tree(p, stump(more={2: b"\x00"})),
    "a tree of half a number": lambda p: tree(p, stump(value=bytes(7))),
    "a tree of no nodes": lambda p: tree(p, stump(), shape=(0, 0, 1, 1), raw=0),
    "a tree of no classes": lambda p: tree(p, stump(), shape=(1, 0, 1, 0), raw=64),
    "a tree larger than memory": lambda p: tree(p, stump(), shape=(1 << 56, 0, 1, 1), raw=1 << 61),
    "a tree with many classes": lambda p: tree(p, stump(), shape=(1, 0, 1, 1 << 58), raw=1 << 61),
    "a tree that is an array": lambda p: tree(p, stump(), spec=["array", *TREE[1:]]),
    "columns far larger than the tree": lambda p: tree(p, stump(more={25: bytes(1 << 20)})),
    "a table that is the model": lambda p: write(p, plain(EMPTY), len(EMPTY), table=0),
    "a table that is no part": lambda p: write(p, plain(EMPTY), len(EMPTY), table=7),
    "a table that needs a table": lambda p: write(
        p, plain(EMPTY), len(EMPTY), runs=[run(), run()], table=0
    ),
    "deep tuple as key": lambda p: forged_skeleton(p, b"\x80\x05}" + nested(10**6, b"Ns\x85.")[2:]),
    "deep tuple in a frozenset": lambda p: forged_skeleton(
        p, b"\x80\x05(" + nested(10**6, b"\x91\x85.")[2:]
    ),
    "deep tuple as reference": lambda p: forged_skeleton(p, nested(10**5, b"Q\x85.")),
    "tuples of tuples as reference": lambda p: forged_skeleton(p, DAG + b"Q\x85."),
    "a scalar of objects": lambda p: forged_skeleton(
        p, b"\x80\x05\x8c\x02|OC\x08AAAAAAAA\x86Q\x85."
    ),
    "not a tuple": lambda p: forged_skeleton(p, b"\x80\x05]."),
    "no objects": lambda p: write(p, plain(b"\x80\x05)."), 4, runs=[run(objects=0)]),
    "another number of objects": lambda p: forged_skeleton(p, b"\x80\x05]]\x86."),
    "references without end": lambda p: write(
        p,
        plain(EMPTY),
        len(EMPTY),
        parts=1,
        runs=[run(), *[run(references=[[0, 0, 0, 10**7]])] * 50],
    ),
    "an infinite step": lambda p: infinite(p),
    "a step of text": lambda p: write(
        p, plain(EMPTY), 5, runs=[run(), run(references=[[0, 0, "5", 1]])]
    ),
    "version false": lambda p: write(p, plain(EMPTY), len(EMPTY), version=False),
    "version 1.0": lambda p: write(p, plain(EMPTY), len(EMPTY), version=1.0),
    "more parts than there are": lambda p: write(
        p, plain(EMPTY), len(EMPTY), parts=5, runs=[run(count=5)]
    ),
    "2**40 parts": lambda p: write(p, plain(EMPTY, parts=2**40), len(EMPTY)),
    "2**61 skeletons": lambda p: write(p, plain(EMPTY, skeletons=2**61), len(EMPTY)),
    "2**61 dimensions": lambda p: write(p, plain(EMPTY, dimensions=2**61), len(EMPTY)),
    "a value of 2**40 bytes": lambda p: write(
        p,
        shard([*directory(VALUE, [2**40]), b""], layouts=[[U1]], dimensions=1),
        len(VALUE) + 2**40,
    ),
    "a value of 0 x 2**61 x 2**61": lambda p: write(
        p,
        shard([*directory(VALUE, [0, 2**61, 2**61]), b""], layouts=[[U1_3D]], dimensions=3),
        len(VALUE),
    ),
    "negative dimensions": lambda p: write(
        p,
        shard([*directory(VALUE, [-1, -5, 1]), b"12345"], layouts=[[U1_3D]], dimensions=3),
        len(VALUE) + 5,
    ),
    "text that is not UTF-8": lambda p: write(
        p,
        shard([*directory(VALUE, [2]), b"\xff\xfe"], layouts=[[TEXT]], dimensions=1),
        len(VALUE) + 2,
    ),
    "a frame that declares 2**50 bytes": lambda p: write(
        p,
        shard(
            [*directory(VALUE, [2]), b"12"],
            layouts=[[U1]],
            dimensions=1,
            frames=lambda columns: [*columns[:-1], [[columns[-1][0][0], 2**50, 0]]],
        ),
        len(VALUE) + 2,
    ),
    "an index of spaces": lambda p: write(p, plain(EMPTY, index_pad=10**9), len(EMPTY)),
    "an unknown codec": lambda p: write(
        p,
        shard([*directory(VALUE, [2]), b"12"], layouts=[[["other", *U1[1:]]]], dimensions=1),
        len(VALUE) + 2,
    ),
    "a dtype of objects": lambda p: write(
        p,
        shard(
            [*directory(VALUE, [1]), b"A" * 8],
            layouts=[[["array", "ndarray", "|O", 1, "C", True]]],
            dimensions=1,
        ),
        len(VALUE) + 8,
    ),
    "columns missing": lambda p: write(
        p,
        shard(directory(VALUE, [2]), layouts=[[U1]], dimensions=1),
        len(VALUE) + 2,
    ),
    "columns too many": lambda p: write(
        p, shard([*directory(EMPTY), b"123"], layouts=[[]]), len(EMPTY)
    ),
}


def forged_skeleton(path, skeleton):
    write(path, plain(skeleton), len(skeleton))


def infinite(path):
    write(path, plain(EMPTY), len(EMPTY), runs=[run(), run(references=[[0, 0, 7, 1]])])
    manifest = path / "manifest.json"
    body = (
        manifest.read_bytes()
        .rpartition(b',\n"sha256": "')[0]
        .replace(b"[0, 0, 7, 1]", b"[0, 0, 1e999, 1]")
    )
    digest = hashlib.sha256(body).hexdigest()
    manifest.write_bytes(body + f',\n"sha256": "{digest}"\n}}\n'.encode())


JUDGE = """
import resource, sys, shardpickle
resource.setrlimit(resource.RLIMIT_AS, (3_000_000_000, 3_000_000_000))
report = ""
try:
    report = "sound" if shardpickle.verify(sys.argv[1], deep=True, workers=1) else "problem"
except shardpickle.ShardpickleError as error:
    report = "error"
try:
    shardpickle.inspect(sys.argv[1])
    report += " inspected"
except shardpickle.ShardpickleError as error:
    report += " refused"
print(report)
"""


def test_the_hand_written_directories_are_otherwise_sound(tmp_path):
    write(tmp_path / "a", plain(EMPTY), len(EMPTY))
    assert shardpickle.load(tmp_path / "a") == []
    content = shard([*directory(VALUE, [2]), b"12"], layouts=[[U1]], dimensions=1)
    write(tmp_path / "b", content, len(VALUE) + 2)
    assert shardpickle.load(tmp_path / "b").tolist() == [49, 50]
    assert shardpickle.verify(tmp_path / "b", deep=True)
    tree(tmp_path / "c", stump())
    assert shardpickle.verify(tmp_path / "c", deep=True)
    loaded = shardpickle.load(tmp_path / "c")
    assert (loaded.node_count, loaded.n_node_samples[0], loaded.impurity[0]) == (1, 1, 0.0)


@pytest.mark.long
@pytest.mark.parametrize("case", CASES)
def test_verify_and_inspect(case, tmp_path):
    CASES[case](tmp_path / "model")
    done = subprocess.run(
        [sys.executable, "-c", JUDGE, str(tmp_path / "model")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(Path(shardpickle.__file__).parents[1])},
    )
    assert done.returncode == 0, done.stderr[-500:]
    # A deep container breaks no rule of the format; verify makes nothing of it and survives it.
    harmless = case in ("deep tuple as key", "deep tuple in a frozenset")
    assert done.stdout.split()[0] in (("sound",) if harmless else ("problem", "error"))


@pytest.mark.parametrize("case", CASES)
def test_load(case, tmp_path):
    CASES[case](tmp_path / "model")
    with pytest.raises(shardpickle.ShardpickleError):
        shardpickle.load(tmp_path / "model")
