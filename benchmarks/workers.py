"""What decided for threads: shards encoded by threads, by processes, and by one thread.

    python benchmarks/workers.py [FOLDER]

Each figure is a fresh process; "processes" sends each tree to a loky worker, which pickles,
compresses and reads back, as a design without `split` would have it. Median (minimum) of five.
"""

import json
import pickle
import pickletools
import sys
import tempfile
from pathlib import Path

import loky
import zstandard
from measure import around, environment, fresh, summary
from models import loaded, pickled

import shardpickle

NAMES = ("rfc-synthetic", "rfr-friedman", "gbr-friedman", "array")


def seal(parts):
    """What a worker process does with its trees."""
    raw = pickletools.optimize(pickle.dumps(parts, protocol=5))
    packed = zstandard.ZstdCompressor(level=3).compress(raw)
    assert zstandard.ZstdDecompressor().decompress(packed) == raw
    return packed


def with_processes(model, workers):
    parts = list(getattr(model, "estimators_", [model]))
    batches = [parts[start : start + 10] for start in range(0, len(parts), 10)]
    with loky.ProcessPoolExecutor(workers) as executor:
        return sum(map(len, executor.map(seal, batches)))


def one(path, way):
    model = loaded(path)
    with tempfile.TemporaryDirectory() as folder:
        if way == "2 processes":
            figures, _ = around(lambda: with_processes(model, 2))
        else:
            workers = int(way.split()[0])
            figures, _ = around(lambda: shardpickle.dump(model, f"{folder}/model", workers=workers))
            figures["load"] = around(lambda: shardpickle.load(f"{folder}/model", workers=workers))[
                0
            ]["seconds"]
    print(json.dumps({"load": float("nan"), **figures}))


def main(folder):
    print(environment())
    print(f"{'model':<16}{'way':<14}{'dump s':>18}{'load s':>18}{'dump peak MB':>18}")
    for name in NAMES:
        path = pickled(name, folder)
        for way in ("1 thread", "2 threads", "2 processes"):
            if (name, way) == ("array", "2 processes"):
                continue  # one estimator: there is nothing to send
            found = fresh(__file__, path, way)
            print(
                f"{name:<16}{way:<14}{summary(found['seconds']):>18}{summary(found['load']):>18}"
                f"{summary([each / 1e6 for each in found['peak']]):>18}"
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(*sys.argv[2:])
    else:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()))
