"""Models larger than the memory they may use: dump, load, and lazy prediction of one forest.

    python benchmarks/scale.py [--gb 8] [--small 0.2] [--rows 10000] [--limit 512MB] [--folder F]

A forest of `make_friedman1` data is fitted and grown to the size asked for with copies whose
thresholds and values are perturbed, tree by tree, so that nothing repeats. Every figure is that of
a fresh process; peaks are ``VmHWM`` of the whole process (dump and load: above what it held
before). Cost per GB is compared with that of the small forest.
"""

import argparse
import json
import mmap
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from measure import HERE, environment, peak, reset_peak
from sklearn.datasets import make_friedman1
from sklearn.ensemble import RandomForestRegressor
from sklearn.tree import DecisionTreeRegressor
from sklearn.tree._tree import Tree

import shardpickle
from shardpickle.lazy import CACHE

SEED_TREES = 24  # some 110 MB


def grown(nbytes):
    """A forest of that many bytes."""
    features, target = make_friedman1(50_000, noise=1.0, random_state=0)
    forest = RandomForestRegressor(SEED_TREES, random_state=0, n_jobs=-1).fit(features, target)
    seeds = list(forest.estimators_)
    rng = np.random.default_rng(0)
    held = sum(size(tree) for tree in seeds)
    while held < nbytes:
        tree = perturbed(seeds[len(forest.estimators_) % SEED_TREES], rng)
        forest.estimators_.append(tree)
        held += size(tree)
    forest.n_estimators = len(forest.estimators_)
    return forest


def size(tree):
    return tree.tree_.node_count * 72


def perturbed(tree, rng):
    """A tree of the same shape with thresholds and values of its own."""
    state = tree.tree_.__getstate__()
    nodes, values = state["nodes"].copy(), state["values"].copy()
    inner = nodes["left_child"] != -1
    nodes["threshold"][inner] *= 1 + 1e-3 * rng.standard_normal(int(inner.sum()))
    values *= 1 + 1e-3 * rng.standard_normal(values.shape)
    new = Tree(tree.tree_.n_features, tree.tree_.n_classes, tree.tree_.n_outputs)
    new.__setstate__({**state, "nodes": nodes, "values": values})
    other = DecisionTreeRegressor(**tree.get_params())
    other.__dict__.update({**tree.__dict__, "tree_": new})
    other.random_state = int(rng.integers(1 << 31))
    return other


def rows_of(count):
    return make_friedman1(int(count), random_state=1)[0]


def timed(call):
    before = reset_peak()
    started = time.perf_counter()
    result = call()
    return result, time.perf_counter() - started, peak() - before


def warm():
    """Imports and first uses, on a stump."""
    with tempfile.TemporaryDirectory() as folder:
        stump = RandomForestRegressor(2, max_depth=1).fit([[0.0], [1.0]], [0.0, 1.0])
        shardpickle.dump(stump, f"{folder}/stump", progress=False)
        shardpickle.load(f"{folder}/stump", lazy=True).predict([[0.0]])


def one(action, stored, gb, rows, limit):
    warm()
    if action == "dump":
        forest = grown(float(gb) * 1e9)
        report, seconds, above = timed(
            lambda: shardpickle.dump(forest, stored, workers=2, progress=False)
        )
        found = {"seconds": seconds, "peak": above, "raw": report.raw_bytes}
        found["stored"] = report.stored_bytes
    elif action == "load":
        model, seconds, above = timed(lambda: shardpickle.load(stored, workers=2, progress=False))
        found = {"seconds": seconds, "peak": above}
        features = rows_of(rows)
        _, found["predict"], _ = timed(lambda: model.predict(features))
    elif action == "touch":
        nbytes = shardpickle.inspect(stored).raw_bytes // mmap.PAGESIZE * mmap.PAGESIZE
        block = np.frombuffer(mmap.mmap(-1, nbytes), np.uint8)
        started = time.perf_counter()
        block[:: mmap.PAGESIZE] = 1
        found = {"seconds": time.perf_counter() - started}
    elif action == "lazy":
        before = peak()
        model, seconds, above = timed(lambda: shardpickle.load(stored, lazy=True, progress=False))
        found = {"seconds": seconds, "peak": above, "process": before}
    else:
        features = rows_of(rows)
        before = peak()
        model = shardpickle.load(stored, lazy=True, memory_limit=limit, progress=False)
        answers, seconds, _ = timed(lambda: model.predict(features))
        found = {"seconds": seconds, "process": peak(), "start": before}
        found["again"] = timed(lambda: model.predict(features))[1]
        visits = CACHE.hits + CACHE.ahead + CACHE.misses
        found["kept"], found["ahead"] = CACHE.hits / visits, CACHE.ahead / visits
        found["sum"] = float(answers.sum())
    print(json.dumps(found))


def measured(action, *arguments, repeats=5):
    rows = []
    for _ in range(repeats):
        command = [sys.executable, __file__, "--one", action, *map(str, arguments)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=HERE)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
    return {key: statistics.median(row[key] for row in rows) for key in rows[0]}


def main(options):
    print(environment())
    costs = {}
    for gb in (options.small, options.gb):
        stored = Path(options.folder, f"forest-{gb}").resolve()
        arguments = stored, gb, options.rows, options.limit
        repeats = 5 if gb < 1 else options.repeats
        if not stored.exists() or gb < 1:
            dump = measured("dump", *arguments, repeats=1 if gb >= 1 else 5)
            raw = dump["raw"] / 1e9
            print(
                f"{raw:.2f} GB, stored in {dump['stored'] / 1e6:.0f} MB: dump "
                f"{dump['seconds'] / raw:.2f} s/GB, peak {dump['peak'] / 1e6:.0f} MB above it"
            )
            costs.setdefault("dump", []).append(dump["seconds"] / raw)
        raw = shardpickle.inspect(stored).raw_bytes / 1e9
        os.sync()
        load = measured("load", *arguments, repeats=repeats)
        costs.setdefault("load", []).append(load["seconds"] / raw)
        touch = measured("touch", *arguments, repeats=repeats)
        costs.setdefault("first touch of as much memory", []).append(touch["seconds"] / raw)
        print(
            f"{raw:.2f} GB: load {load['seconds'] / raw:.2f} s/GB, peak "
            f"{load['peak'] / 1e9:.2f} GB; predict {options.rows} rows {load['predict']:.2f} s"
        )
        lazy = measured("lazy", *arguments, repeats=repeats)
        print(f"lazy: {lazy['seconds']:.3f} s, peak {lazy['peak'] / 1e6:.1f} MB above the process")
        limited = measured("limited", *arguments, repeats=repeats)
        whole = load["seconds"] + load["predict"]
        print(
            f"lazy within {options.limit}: predict {limited['seconds']:.2f} s, "
            f"{limited['seconds'] / whole:.2f} of load + predict; again {limited['again']:.2f} s; "
            f"peak of the process {limited['process'] / 1e6:.0f} MB "
            f"({limited['start'] / 1e6:.0f} MB before); shards found in "
            f"memory {limited['kept']:.3f} kept + {limited['ahead']:.3f} decoded ahead"
        )
    for action, found in costs.items():
        if len(found) == 2:  # a forest that is stored already is not dumped again
            print(
                f"{action}: s/GB at {options.gb} GB is {found[1] / found[0]:.2f} of that at "
                f"{options.small}"
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(*sys.argv[2:])
    else:
        parser = argparse.ArgumentParser()
        parser.add_argument("--gb", type=float, default=8)
        parser.add_argument("--small", type=float, default=0.2)
        parser.add_argument("--rows", type=int, default=10_000)
        parser.add_argument("--limit", default="512MB")
        parser.add_argument("--folder", default=tempfile.gettempdir())
        parser.add_argument("--repeats", type=int, default=1)
        main(parser.parse_args())
