"""What converting a file of another library costs, beside loading it there and dumping it here.

    python benchmarks/convert.py [FOLDER [NAME ...]]

Each figure is a fresh process that has converted a small file before. Median (minimum) of five;
the peak is what the process took above what it had before.
"""

import json
import pickle
import statistics
import sys
import tempfile
from pathlib import Path

import joblib
from measure import around, environment, fresh, summary
from models import loaded, pickled

import shardpickle

NAMES = ("rfc-synthetic", "rfr-friedman")
FILES = {
    "pickle": lambda model, path: path.write_bytes(pickle.dumps(model, 5)),
    "joblib": joblib.dump,
    "joblib zlib-3": lambda model, path: joblib.dump(model, path, compress=3),
}


def converted(source, target):
    shardpickle.convert(source, target, workers=2)


def dumped(source, target):
    shardpickle.dump(joblib.load(source), target, workers=2)


WAYS = {"convert": converted, "load, dump": dumped}


def one(source, way):
    with tempfile.TemporaryDirectory() as folder:
        joblib.dump({"a": [1, 2]}, f"{folder}/small")
        for each in WAYS.values():
            each(f"{folder}/small", f"{folder}/first")
        figures, _ = around(lambda: WAYS[way](source, f"{folder}/model"))
    print(json.dumps(figures))


def main(folder, names):
    print(environment())
    print(f"{'model':<16}{'file':<16}{'way':<12}{'s':>18}{'peak / file':>13}")
    for name in names:
        model = loaded(pickled(name, folder))
        for kind, write in FILES.items():
            source = folder / "model.file"
            write(model, source)
            raw = len(pickle.dumps(model, 5))
            for way in WAYS:
                found = fresh(__file__, source, way)
                peak = statistics.median(found["peak"]) / raw
                print(f"{name:<16}{kind:<16}{way:<12}{summary(found['seconds']):>18}{peak:>13.2f}")
        source.unlink()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(*sys.argv[2:])
    else:
        chosen = sys.argv[1:] or [tempfile.mkdtemp()]
        main(Path(chosen[0]), chosen[1:] or NAMES)
