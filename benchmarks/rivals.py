"""Every way to save a forest that is compared, each as a dump and a load of a path."""

import gzip
import pickle
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import joblib
import skops.io
import slim_trees
from models import loaded

import shardpickle

TRUSTED = [  # what skops asks about in the benchmarks' forests
    "imblearn.ensemble._forest.BalancedRandomForestClassifier",
    "imblearn.pipeline.Pipeline",
    "imblearn.under_sampling._prototype_selection._random_under_sampler.RandomUnderSampler",
    "quantile_forest._quantile_forest.RandomForestQuantileRegressor",
    "quantile_forest._quantile_forest_fast.QuantileForest",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.tree._tree.Tree",
    "sksurv.ensemble.forest.RandomSurvivalForest",
    "sksurv.tree.tree.SurvivalTree",
]


THIRD_PARTY = [name for name in TRUSTED if not name.startswith("sklearn.")]


@dataclass(frozen=True, slots=True)
class Method:
    """`once`: too slow to repeat. `lossy`: what comes back may differ from what was saved."""

    dump: Callable[[Any, str], object]
    load: Callable[[str], Any]
    once: bool = False
    lossy: bool = False


def dump_pickle(model, path):
    with open(path, "wb") as stream:
        pickle.dump(model, stream, protocol=5)


def dump_article(model, path):
    with gzip.open(path, "wb") as stream:
        stream.write(pickletools.optimize(pickle.dumps(model)))


def load_article(path):
    with gzip.open(path, "rb") as stream:
        return pickle.load(stream)


def sharded(workers):
    return Method(
        partial(shardpickle.dump, workers=workers, progress=False),
        partial(shardpickle.load, workers=workers, progress=False, trusted=THIRD_PARTY),
    )


def slim(compression, once=False):
    return Method(
        partial(slim_trees.dump_sklearn_compressed, compression=compression),
        partial(slim_trees.load_compressed, compression=compression),
        once,
        lossy=True,
    )


METHODS = {
    "shardpickle, 1 worker": sharded(1),
    "shardpickle, 2 workers": sharded(2),
    "pickle 5": Method(dump_pickle, loaded),
    "gzip + optimize": Method(dump_article, load_article, once=True),
    "joblib": Method(joblib.dump, joblib.load),
    "joblib, zlib 3": Method(partial(joblib.dump, compress=("zlib", 3)), joblib.load),
    "joblib, lz4": Method(partial(joblib.dump, compress="lz4"), joblib.load),
    "skops": Method(skops.io.dump, partial(skops.io.load, trusted=TRUSTED)),
    "slim-trees, gzip": slim("gzip"),
    "slim-trees, lzma": slim("lzma", once=True),
}
