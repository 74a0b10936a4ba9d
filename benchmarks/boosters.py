"""Other libraries' boosters: bytes of their own files, of joblib's best, and of shardpickle.

    python benchmarks/boosters.py [xgboost lightgbm catboost]

Each dump and each load has a process of its own, which has imported the library and has used the
method once on a small model. What comes back has to predict the same bits. ``own`` is the library's
own `save_model`, which keeps the booster and not the scikit-learn object around it.
"""

import json
import pickle
import sys
import tempfile
import warnings
from importlib import import_module
from pathlib import Path

import joblib
import numpy as np
from measure import around, environment, fresh, summary, tidied
from sklearn.datasets import make_classification, make_regression

import shardpickle

TREES = 500
REPEATS = 3
LEVEL = 19
JOBLIB = {"joblib, zlib 9": ("zlib", 9), "joblib, lzma 9": ("lzma", 9)}
METHODS = ("own", *JOBLIB, "shardpickle", f"shardpickle, level {LEVEL}")


def xgboost(kind, trees):
    from xgboost import XGBClassifier, XGBRegressor

    make = XGBClassifier if kind == "classifier" else XGBRegressor
    return make(n_estimators=trees, max_depth=6, n_jobs=1, random_state=0)


def lightgbm(kind, trees):
    from lightgbm import LGBMClassifier, LGBMRegressor

    make = LGBMClassifier if kind == "classifier" else LGBMRegressor
    return make(n_estimators=trees, num_leaves=63, n_jobs=1, random_state=0, verbose=-1)


def catboost(kind, trees):
    from catboost import CatBoostClassifier, CatBoostRegressor

    make = CatBoostClassifier if kind == "classifier" else CatBoostRegressor
    return make(
        iterations=trees,
        depth=6,
        thread_count=1,
        random_seed=0,
        verbose=False,
        allow_writing_files=False,
    )


LIBRARIES = {"xgboost": xgboost, "lightgbm": lightgbm, "catboost": catboost}
KINDS = ("classifier", "regressor")


def data(kind, rows=5000):
    if kind == "classifier":
        return make_classification(rows, 20, n_informative=10, n_classes=3, random_state=0)
    return make_regression(rows, 20, noise=1.0, random_state=0)


def fitted(library, kind, trees=TREES):
    return LIBRARIES[library](kind, trees).fit(*data(kind))


def own_file(model, path):
    """The library's own way, to the smallest of its complete formats."""
    if hasattr(model, "booster_"):
        model.booster_.save_model(path)
    else:
        model.save_model(f"{path}.ubj" if "XGB" in type(model).__name__ else path)


def own_again(model, path):
    if hasattr(model, "booster_"):
        from lightgbm import Booster

        return Booster(model_file=str(path))
    again = type(model)()
    again.load_model(f"{path}.ubj" if "XGB" in type(model).__name__ else path)
    return again


def dump_with(method, model, path):
    if method == "own":
        own_file(model, path)
    elif method in JOBLIB:
        joblib.dump(model, path, compress=JOBLIB[method])
    else:
        shardpickle.dump(model, path, level=LEVEL if "level" in method else 3)


def load_with(method, path, model, trusted):
    if method == "own":
        return own_again(model, path)
    return joblib.load(path) if method in JOBLIB else shardpickle.load(path, trusted=trusted)


def answers(model, rows):
    return np.asarray(getattr(model, "predict_proba", model.predict)(rows))


def size(path):
    """Bytes of a file or a directory, or of the file that got a suffix."""
    found = [*path.parent.glob(f"{path.name}*"), *path.rglob("*")]
    return sum(file.stat().st_size for file in found if file.is_file())


def one(action, library, kind, method, pickled, path):
    """Dump or load once, in this process, after a small model has gone the same way."""
    model = tidied(lambda: pickle.loads(Path(pickled).read_bytes()))
    with tempfile.TemporaryDirectory() as folder:
        small = fitted(library, kind, 2)
        dump_with(method, small, f"{folder}/small")
        trusted = shardpickle.dump(small, f"{folder}/ours").needs_trust
        load_with(method, f"{folder}/small", small, trusted)
    if action == "dump":
        figures, _ = around(lambda: dump_with(method, model, path))
    else:
        figures, again = around(lambda: load_with(method, path, model, trusted))
        rows = data(kind)[0]
        if method != "own" and answers(again, rows).tobytes() != answers(model, rows).tobytes():
            raise SystemExit(f"{library} came back from {method} with other predictions")
    print(json.dumps(figures))


def report(library, kind, folder):
    pickled = folder / f"{library}-{kind}.pickle"
    pickled.write_bytes(pickle.dumps(fitted(library, kind), protocol=5))
    print(f"\n{library + ' ' + kind:<26}{'bytes':>12}{'dump s':>18}{'load s':>18}")
    print(f"{'pickle 5':<26}{pickled.stat().st_size:>12,}")
    for number, method in enumerate(METHODS):
        path = folder / f"{library}-{kind}-{number}"
        rest = library, kind, method, pickled, path
        texts = [
            summary(fresh(__file__, action, *rest, repeats=REPEATS)["seconds"])
            for action in ("dump", "load")
        ]
        print(f"{method:<26}{size(path):>12,}" + "".join(f"{text:>18}" for text in texts))


def main(libraries):
    print(environment())
    for library in libraries:
        print(library, import_module(library).__version__)
    with tempfile.TemporaryDirectory() as folder:
        for library in libraries:
            for kind in KINDS:
                report(library, kind, Path(folder))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    if sys.argv[1:2] == ["--one"]:
        one(*sys.argv[2:])
    else:
        main(sys.argv[1:] or LIBRARIES)
