"""Beside the rivals: bytes, seconds and memory of every way to save every forest.

    python benchmarks/compare.py [--folder F] [--json FILE] [--repeats N] [--targets] [NAME ...]

Needs the ``bench`` extra. Each dump and each load has a process of its own, which has imported the
libraries and used the method once on a stump; a load's process has not held the model. Files are
in the page cache, and nothing is left to be written back. Repeats are outermost, so that noise hits
all methods alike. After every load all the model's arrays are compared with the original's, bit by
bit; a difference ends the run unless the method is known to be lossy.

``*``: run once, because a run takes over 20 s or the method is known for it. ``~``: what came back
is not what was saved. The ratio is to the bytes of pickle 5. Peaks are above what the process held.
"""

import argparse
import io
import json
import os
import pickle
import statistics
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

import numpy as np
from forests import FORESTS
from measure import around, environment, fresh, summary, tidied
from models import loaded, pickled
from rivals import METHODS
from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
from sklearn.tree import DecisionTreeRegressor
from sklearn.tree._tree import Tree

SLOW = 20  # seconds
FLOOR = "memory floor"
LIBRARIES = ("sklearn.ensemble", "sksurv.ensemble", "quantile_forest", "imblearn.ensemble")
OURS = "shardpickle, 2 workers"
TARGETS = {  # heading: figure, of what, divided by that of what
    "load/floor": ("load", OURS, FLOOR),
    "load/joblib": ("load", OURS, "joblib"),
    "load/pickle": ("load", OURS, "pickle 5"),
    "dump/lz4": ("dump", OURS, "joblib, lz4"),
    "dump/article": ("dump", OURS, "gzip + optimize"),
    "dump 1/2": ("dump", "shardpickle, 1 worker", OURS),
}


class Finder(pickle.Pickler):
    """Goes through a model as pickle does and keeps what is of some types.

    A random generator's own state is left out: skops gives every estimator a copy of a shared one.
    """

    def __init__(self, model, *types):
        super().__init__(io.BytesIO(), protocol=5)
        self.types = types
        self.found = []
        self.dump(model)

    def persistent_id(self, obj):
        if isinstance(obj, np.random.RandomState):
            return True
        if not isinstance(obj, self.types) or (isinstance(obj, np.ndarray) and obj.dtype.hasobject):
            return None
        self.found.append(obj)
        return True


def bits(array):
    """Type, shape and bytes of an array; of a record's fields, since the gaps mean nothing."""
    fields = [array[name] for name in array.dtype.names] if array.dtype.names else [array]
    return array.dtype, array.shape, [field.tobytes() for field in fields]


def equal(model, other):
    first, second = Finder(model, np.ndarray).found, Finder(other, np.ndarray).found
    return len(first) == len(second) and all(
        bits(one) == bits(its) for one, its in zip(first, second, strict=True)
    )


def prepare(method):
    """Import what the models and the method need, and write back what others wrote."""
    for library in LIBRARIES:
        import_module(library)
    with tempfile.TemporaryDirectory() as folder:
        method.dump(DecisionTreeRegressor(max_depth=1).fit([[0], [1]], [0, 1]), f"{folder}/stump")
        method.load(f"{folder}/stump")
    os.sync()


def dump(path, name, stored):
    method = METHODS[name]
    prepare(method)
    model = tidied(lambda: loaded(path))
    figures, _ = around(lambda: method.dump(model, stored))
    return {"dump": figures["seconds"], "dump peak": figures["peak"]}


def load(path, name, stored):
    method = METHODS[name]
    prepare(method)
    figures, model = around(lambda: method.load(stored))
    same = equal(model, loaded(path))
    if not same and not method.lossy:
        raise SystemExit(f"{path} came back from {name} with other arrays")
    return {"load": figures["seconds"], "load peak": figures["peak"], "same": same}


def ready(path):
    """The arrays of a model's trees: those of histogram boosting, and what builds the others."""
    found = Finder(loaded(path), Tree, TreePredictor).found
    nodes = [each.nodes for each in found if isinstance(each, TreePredictor)]
    return nodes, [each.__reduce__() for each in found if isinstance(each, Tree)]


def floor(path):
    """Seconds that no load can go below: the arrays are ready, and new trees take copies."""
    nodes, trees = tidied(lambda: ready(path))
    started = time.perf_counter()
    built = [array.copy() for array in nodes]
    for make, arguments, state in trees:
        built.append(make(*arguments))
        built[-1].__setstate__(state)
    return {"load": time.perf_counter() - started}


def measure(path, name):
    """A dump into an empty place and a load of it, in two processes."""
    with tempfile.TemporaryDirectory() as folder:
        stored = Path(folder, "model")
        dumped = fresh(__file__, "dump", path, name, stored, repeats=1)
        files = [file for file in (stored, *stored.rglob("*")) if file.is_file()]
        size = sum(len(file.read_bytes()) for file in files)  # into the page cache
        return dumped | {"bytes": [size]} | fresh(__file__, "load", path, name, stored, repeats=1)


def run_once(name, row):
    return METHODS[name].once or max(row["dump"] + row["load"]) > SLOW


def measure_all(path, repeats, methods):
    """For each method, and the floor, lists of figures."""
    rows = {name: {} for name in methods}
    floors = []
    for _ in range(repeats):
        for name, row in rows.items():
            if not row or not run_once(name, row):
                for key, values in measure(path, name).items():
                    row.setdefault(key, []).extend(values)
        floors += fresh(__file__, "floor", path, repeats=1)["load"]
    return {**rows, FLOOR: {"load": floors}}


def middle(row, key):
    return statistics.median(row[key])


def print_model(model, rows):
    plain = rows["pickle 5"]["bytes"][0]
    print(f"\n{model:<26}{'bytes':>12}{'ratio':>8}{'dump s':>18}{'load s':>18}", end="")
    print(f"{'dump MB':>10}{'load MB':>10}")
    for name, row in rows.items():
        if name == FLOOR:
            continue
        label = name + "*" * run_once(name, row) + "~" * (not all(row["same"]))
        print(
            f"{label:<26}{row['bytes'][0]:>12,}{plain / row['bytes'][0]:>8.2f}"
            f"{summary(row['dump']):>18}{summary(row['load']):>18}"
            f"{middle(row, 'dump peak') / 1e6:>10.1f}{middle(row, 'load peak') / 1e6:>10.1f}"
        )
    print(f"{FLOOR:<64}{summary(rows[FLOOR]['load']):>18}")


def print_targets(models):
    print(f"\n{'':<14}" + "".join(f"{each:>13}" for each in (*TARGETS, "load peak")))
    for model, rows in models.items():
        ratios = [middle(rows[us], key) / middle(rows[it], key) for key, us, it in TARGETS.values()]
        ratios.append(middle(rows[OURS], "load peak") / middle(rows["pickle 5"], "bytes"))
        print(f"{model:<14}" + "".join(f"{each:>13.2f}" for each in ratios))


def chosen():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", help="where the models' pickles are kept")
    parser.add_argument("--json", type=Path, help="where the raw figures go")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--targets", action="store_true", help="only what a target names")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(FORESTS))
    options = parser.parse_args()
    if unknown := set(options.names) - set(FORESTS):
        parser.error(f"no such forest: {', '.join(sorted(unknown))}")
    return options


def main():
    options = chosen()
    folder = options.folder or tempfile.mkdtemp()
    models = {}
    compared = {each for _, *names in TARGETS.values() for each in names}
    methods = [name for name in METHODS if name in compared or not options.targets]
    print(environment())
    for name in options.names or FORESTS:
        models[name] = measure_all(pickled(name, folder), options.repeats, methods)
        print_model(name, models[name])
        if options.json:
            options.json.write_text(json.dumps({"in": environment(), "models": models}, indent=1))
    print_targets(models)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        action, *rest = sys.argv[2:]
        print(json.dumps({"dump": dump, "load": load, "floor": floor}[action](*rest)))
    else:
        main()
