"""Peak memory of dump and load: at most (workers + 1) shards above the model.

    python benchmarks/memory.py [FOLDER]

The peak is ``VmHWM`` above what the process held before the call, after a reset: without the model
for a dump, with it for a load. Each figure is the median of five fresh processes. The bound beside
it is (workers + 1) shards, of `shard_size` or of the largest estimator if that is larger, and the
model for a load. Exits 1 if a bound is exceeded at the default shard size.
"""

import json
import statistics
import sys
import tempfile
from pathlib import Path

from measure import around, environment, fresh
from models import loaded, pickled

import shardpickle

NAMES = ("rfc-synthetic", "rfr-friedman", "gbr-friedman", "array")


def load(stored, workers):
    shardpickle.dump([1], tempfile.mkdtemp())  # imports, threads' first use
    figures, _ = around(lambda: shardpickle.load(stored, workers=int(workers)))
    print(json.dumps(figures))


def one(path, workers, shard_size):
    if shard_size == "load":
        load(path, workers)
        return
    model = loaded(path)
    shardpickle.dump([1], tempfile.mkdtemp())  # imports, threads' first use
    with tempfile.TemporaryDirectory() as folder:
        figures, _ = around(
            lambda: shardpickle.dump(
                model, f"{folder}/model", workers=int(workers), shard_size=shard_size
            )
        )
    print(json.dumps(figures))


def main(folder):
    print(environment())
    print(
        f"{'model':<16}{'action':<8}{'shards of':<11}{'workers':>8}{'peak MB':>10}{'bound MB':>10}"
    )
    exceeded = False
    for name in NAMES:
        path = pickled(name, folder)
        with tempfile.TemporaryDirectory() as stored:
            shardpickle.dump(loaded(path), stored)
            info = shardpickle.inspect(stored)
            raw, largest = info.raw_bytes / 1e6, info.largest[0][1] / 1e6
            for workers, shard_size in ((1, "32MB"), (2, "32MB"), (4, "32MB"), (2, "8MB")):
                peak = statistics.median(fresh(__file__, path, workers, shard_size)["peak"]) / 1e6
                bound = (workers + 1) * max(largest, float(shard_size.removesuffix("MB")))
                exceeded |= peak > bound and shard_size == "32MB"
                print(
                    f"{name:<16}{'dump':<8}{shard_size:<11}{workers:>8}{peak:>10.1f}{bound:>10.1f}"
                )
            for workers in (1, 2, 4):
                peak = statistics.median(fresh(__file__, stored, workers, "load")["peak"]) / 1e6
                bound = raw + (workers + 1) * max(largest, 32.0)
                exceeded |= peak > bound
                print(f"{name:<16}{'load':<8}{'32MB':<11}{workers:>8}{peak:>10.1f}{bound:>10.1f}")
    return int(exceeded)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(*sys.argv[2:])
    else:
        sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())))
