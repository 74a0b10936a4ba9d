"""Random damage to manifests, shards and skeletons, with digests made right again.

    python tests/fuzz.py [COUNT] [SEED]       # COUNT inputs of each of the four kinds

Each batch runs in a forked process: a crash or a hang names the seed that repeats it. Whatever
loads in spite of the damage is asked to predict, which may raise but not crash.
"""

import copy
import hashlib
import json
import os
import pickle
import random
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path

import joblib
import numpy as np
from sklearn.ensemble import (
    GradientBoostingRegressor,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

import shardpickle
from shardpickle.io import convert, rebuild
from shardpickle.pickling import machine, parser
from shardpickle.sklearn_support import migrations
from shardpickle.trust.hardened import Ledger, Vetted
from shardpickle.trust.names import Callers

BATCH = 200
SECONDS = 120  # for a batch
RNG = np.random.RandomState(0)
X = RNG.rand(60, 4)
LABELS = RNG.randint(0, 3, 60)
TEXTS = ["a cat", "the dog ran", "no cat no dog"] * 20
MODELS = {
    "forest": (RandomForestClassifier(5, random_state=RNG), X, LABELS),
    "boosting": (GradientBoostingRegressor(n_estimators=5), X, X[:, 0]),
    "histograms": (HistGradientBoostingRegressor(max_iter=3, min_samples_leaf=5), X, X[:, 0]),
    "isolation": (IsolationForest(n_estimators=5, random_state=0), X, None),
    "neighbours": (KNeighborsClassifier(3, algorithm="kd_tree"), X, LABELS),
    "vectors": (SVC(), X, LABELS),
    "texts": (make_pipeline(TfidfVectorizer(), LogisticRegression()), TEXTS, LABELS),
}
INTERESTING = [b"R", b"b", b"\x81", b"\x93", b"Q", b"u", b"e", b"0", b"h\x00", b"K\x00", b"N", b"("]


def damaged(raw, chance):
    """Some bytes changed, taken out, put in or copied from elsewhere."""
    data = bytearray(raw)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        at = chance.randrange(len(data)) if data else 0
        kind = chance.randrange(5)
        if kind == 0:
            data[at : at + 1] = bytes([chance.randrange(256)])
        elif kind == 1:
            del data[at : at + chance.randrange(1, 9)]
        elif kind == 2:
            data[at:at] = chance.choice(INTERESTING)
        elif kind == 3:
            start = chance.randrange(len(data)) if data else 0
            data[at:at] = data[start : start + chance.randrange(1, 30)]
        elif data:
            data[at] ^= 1 << chance.randrange(8)
    return bytes(data)


class Inputs:
    """Good directories, and what their skeletons are read with."""

    def __init__(self, folder):
        self.folders, self.parts, self.asked, self.files = {}, [], {}, []
        members = rebuild.Hardened.members

        def noted(this, number, part, skeletons, values, references):
            names = {
                this._listed[name]: this._known[this._listed[name]].target for name in part.names
            }
            raw = skeletons.raw(part.slot)
            self.parts.append((raw, names, this._makers, list(values), list(references)))
            return members(this, number, part, skeletons, values, references)

        rebuild.Hardened.members = noted
        try:
            for name, (model, features, target) in MODELS.items():
                model.fit(features) if target is None else model.fit(features, target)
                self.folders[name] = folder / name
                self.asked[name] = features
                shardpickle.dump(model, folder / name, shard_size=20_000)
                shardpickle.load(folder / name)
                for protocol in (0, 2, 4, 5):
                    self.files.append((name, pickle.dumps(model, protocol)))
                joblib.dump(model, folder / "model.joblib")
                self.files.append((name, (folder / "model.joblib").read_bytes()))
        finally:
            rebuild.Hardened.members = members

    def skeleton(self, chance, here):
        raw, names, makers, values, references = chance.choice(self.parts)
        ledger = Ledger(10_000)
        made = Vetted(names, makers, values, references, migrations.state, ledger)
        steps = parser.parse(damaged(raw, chance), {}, 100_000)
        machine.run(steps, made)
        made.finish()

    def shard(self, chance, here):
        name = chance.choice(list(self.folders))
        manifest = (self.folders[name] / "manifest.json").read_text()
        files = sorted((self.folders[name] / "shards").iterdir())
        spoilt = chance.choice(files)
        (here / "shards").mkdir()
        for file in files:
            content = file.read_bytes()
            if file == spoilt:
                old, size = file.stem, len(content)
                content = damaged(content, chance)
                digest = hashlib.sha256(content).hexdigest()
                manifest = manifest.replace(f'["{old}",{size},', f'["{digest}",{len(content)},')
                file = here / "shards" / f"{digest}.shard"
            (here / "shards" / file.name).write_bytes(content)
        self.use(name, here, manifest)

    def manifest(self, chance, here):
        name = chance.choice(list(self.folders))
        document = json.loads((self.folders[name] / "manifest.json").read_text())
        change(document, chance)
        lines = [
            f'"{key}": {json.dumps(value)}' for key, value in document.items() if key != "sha256"
        ]
        os.symlink(self.folders[name] / "shards", here / "shards")
        self.use(name, here, "{\n" + ",\n".join(lines) + ',\n"sha256": "')

    def foreign(self, chance, here):
        name, content = chance.choice(self.files)
        (here / "model.pkl").write_bytes(damaged(content, chance))
        self.ask(name, convert.read(here / "model.pkl", Callers(), False))

    def use(self, name, here, manifest):
        body = manifest.rpartition(',\n"sha256": "')[0].encode()
        digest = hashlib.sha256(body).hexdigest()
        (here / "manifest.json").write_bytes(body + f',\n"sha256": "{digest}"\n}}\n'.encode())
        self.ask(name, shardpickle.load(here, workers=1))

    def ask(self, name, model):
        try:
            model.predict(self.asked[name])
        except Exception:  # an ordinary error of the library's is as good as a refusal
            return


def change(document, chance):
    """One value anywhere in a JSON document becomes another."""
    places = []

    def walk(value):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, each in items:
            places.append((value, key))
            if isinstance(each, (dict, list)):
                walk(each)

    walk(document)
    holder, key = chance.choice(places)
    old = holder[key]
    others = [0, 1, -1, 2**31, 2**62, 2**70, "", "x", None, True, [], {}, 0.5, "é", [[]]]
    if isinstance(old, int):
        others += [old + 1, old - 1, old * 2] * 3
    if isinstance(old, str):
        others += [*(value for value in document["names"] if value), old.upper(), old + "\0"]
    holder[key] = copy.deepcopy(chance.choice(others))


def batch(inputs, kind, seeds):
    """Run inputs in a process of their own; the seed that crashed or hung it, if one did."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        status = 1
        try:
            for seed in seeds:
                os.write(writing, b".")
                one(inputs, kind, seed)
            status = 0
        except BaseException as error:
            os.write(2, f"{kind} {seed}: {type(error).__name__}: {error}\n".encode()[:2000])
        finally:
            os._exit(status)
    os.close(writing)
    deadline = time.monotonic() + SECONDS
    while not (done := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.01)
    began = len(os.read(reading, 1 << 16))
    os.close(reading)
    return None if done[1] == 0 else seeds[max(0, began - 1)]


def one(inputs, kind, seed):
    chance = random.Random(f"{kind} {seed}")
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        try:
            getattr(inputs, kind)(chance, Path(folder))
        except shardpickle.ShardpickleError:
            return


def run(count, start=0, kinds=("skeleton", "shard", "manifest", "foreign")):
    """The (kind, seed) of what went wrong."""
    bad = []
    with tempfile.TemporaryDirectory() as folder:
        inputs = Inputs(Path(folder))
        for kind in kinds:
            for first in range(start, start + count, BATCH):
                seeds = range(first, min(first + BATCH, start + count))
                seed = batch(inputs, kind, seeds)
                if seed is not None:
                    bad.append((kind, seed))
    return bad


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    start = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    found = run(count, start)
    print(
        f"{count} inputs of each kind from {start}: {found or 'no crash, no hang, no other error'}"
    )
    sys.exit(bool(found))
